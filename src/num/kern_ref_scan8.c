/* Plain C of the int8 scan, and the choice of table. Compiled without contraction; fmaf says where one is meant. */
#include "num/kern_scan8.h"
#include "base/cpu.h"
#include <math.h>
#include <stddef.h>
#include <string.h>

static float rotate_ref(float *y, const float *x, int64_t d, int64_t n)
{
    float top = 0.0f;
    memcpy(y, x, (size_t)d * sizeof *y);
    memset(y + d, 0, (size_t)(n - d) * sizeof *y);
    for (int64_t i = 0; i < n; i += SD_SCAN8_ROTATE)
        for (int64_t h = SD_SCAN8_ROTATE / 2; h > 0; h /= 2)
            for (int64_t j = 0; j < SD_SCAN8_ROTATE; j++) {
                if (j & h) continue;
                const float a = y[i + j], b = y[i + j + h];
                y[i + j] = a + b;
                y[i + j + h] = a - b;
            }
    for (int64_t i = 0; i < n; i++) {
        y[i] *= 0.125f;
        if (fabsf(y[i]) > top) top = fabsf(y[i]);
    }
    return top;
}

static int32_t round_ref(int8_t *q, const float *x, const float *u, float inverse, int64_t n)
{
    int32_t sum = 0;
    for (int64_t i = 0; i < n; i++) {
        q[i] = (int8_t)floorf(fmaf(x[i], inverse, u[i]));
        sum += q[i];
    }
    return sum;
}

static float score_of(const sd_scan8_in *in, int64_t t, int64_t f)
{
    const uint8_t *w = in->w + f / SD_SCAN8_PANEL * SD_SCAN8_PANEL * in->d + f % SD_SCAN8_PANEL * 4;
    const int8_t *x = in->x + t / in->wide * in->wide * in->d + t % in->wide * 4;
    int32_t sum = in->start[t];
    for (int64_t i = 0; i < in->d; i++) sum += (int32_t)w[i / 4 * SD_SCAN8_PANEL * 4 + i % 4] * x[i / 4 * in->wide * 4 + i % 4];
    return in->unit[t] * ((float)sum * in->scale[f]);
}

static void score_ref(float *s, const sd_scan8_in *in)
{
    for (int64_t t = 0; t < in->n_row; t++)
        for (int64_t f = 0; f < in->n_feat; f++) s[t * in->n_feat + f] = score_of(in, t, f);
}

static void scan_ref(sd_scan8_out *out, const sd_scan8_in *in, int32_t first)
{
    for (int64_t t = 0; t < in->n_row; t++)
        for (int64_t f = 0; f < in->n_feat; f++) {
            const float up = fmaf(in->c[t], in->r[f], score_of(in, t, f) + in->b[f]);
            if (up < in->cut[t]) continue;
            out[t].idx[out[t].n] = first + (int32_t)f;
            out[t].up[out[t].n++] = up;
        }
}

const sd_kern_scan8 sd_kern_scan8_ref = {rotate_ref, round_ref, score_ref, scan_ref, 1, 1, 127, 128, 0};

const sd_kern_scan8 *sd_kern_scan8_select(uint32_t cpu_flags)
{
#if defined(__x86_64__)
    if (cpu_flags & SD_CPU_AMX) return &sd_kern_scan8_amx;
    if ((cpu_flags & SD_CPU_AVX512) && (cpu_flags & SD_CPU_AVX512_VNNI)) return &sd_kern_scan8_avx512;
    if (cpu_flags & SD_CPU_AVX2) return &sd_kern_scan8_avx2;
#endif
    (void)cpu_flags;
    return NULL;
}
