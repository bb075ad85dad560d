/* The meaning of sd_kern_half, in plain C. */
#include "num/kern_half.h"

#include "base/cpu.h"
#include "num/dtype.h"
#include "num/kern_ops.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { LANES = 16 };

static float flush(float x)
{
    return fabsf(x) < FLT_MIN ? copysignf(0.0f, x) : x;
}

static uint32_t pair_of(float even, float odd)
{
    return sd_f32_to_bf16(flush(even)) | (uint32_t)sd_f32_to_bf16(flush(odd)) << 16;
}

/* sum + both products, as VDPBF16PS adds them (Intel SDM). */
static float add_pair(float sum, uint32_t a, uint32_t b)
{
    sum = flush(fmaf(sd_bf16_to_f32((uint16_t)(a >> 16)), sd_bf16_to_f32((uint16_t)(b >> 16)), sum));
    return flush(fmaf(sd_bf16_to_f32((uint16_t)a), sd_bf16_to_f32((uint16_t)b), sum));
}

static void row(uint32_t *dst, const float *src, int64_t n)
{
    for (int64_t i = 0; i < n; i += 2) {
        float x[2] = {0, 0}; /* both are read before the pair is written */
        memcpy(x, src + i, (size_t)(n - i < 2 ? 1 : 2) * sizeof *x);
        dst[i / 2] = pair_of(x[0], x[1]);
    }
}

static void softmax(uint32_t *dst, float *x, int64_t n)
{
    sd_kern_ops_ref.softmax(x, n);
    row(dst, x, n);
}

static void pair(uint32_t *dst, const float *even, const float *odd, int64_t n)
{
    for (int64_t i = 0; i < n; i++) dst[i] = pair_of(even[i], odd[i]);
}

static void scores(const sd_half_scores *a)
{
    for (int64_t r = 0; r < a->m; r++)
        for (int64_t p = 0; p < a->n_panel; p++)
            for (int64_t j = 0; j < LANES; j++) {
                float sum = 0;
                for (int64_t c = 0; c < a->n_pair; c++)
                    sum = add_pair(sum, a->q[r * a->n_pair + c], a->k[(p * a->n_pair + c) * LANES + j]);
                a->s[r * a->lds + p * LANES + j] = a->scale * sum;
            }
}

static void mix(const sd_half_mix *a)
{
    for (int64_t r = 0; r < a->m; r++)
        for (int64_t c = 0; c < a->d; c++) {
            float sum = a->o[r * a->d + c];
            for (int64_t i = 0; i < a->n; i++) sum = add_pair(sum, a->p[r * a->ldp + i], a->v[i * a->ldv + c]);
            a->o[r * a->d + c] = sum;
        }
}

const sd_kern_half sd_kern_half_ref = {row, softmax, pair, scores, mix};

const sd_kern_half *sd_kern_half_select(uint32_t cpu_flags)
{
#if defined(__x86_64__)
    if ((cpu_flags & SD_CPU_AVX512) && (cpu_flags & SD_CPU_AVX512_BF16)) return cpu_flags & SD_CPU_BF16_SLOW ? &sd_kern_half_widen : &sd_kern_half_avx512;
#endif
    (void)cpu_flags;
    return NULL;
}

const sd_kern_tiles *sd_kern_tiles_select(uint32_t cpu_flags)
{
#if defined(__x86_64__)
    if (sd_kern_half_select(cpu_flags) && (cpu_flags & SD_CPU_AMX)) return &sd_kern_tiles_amx;
#endif
    (void)cpu_flags;
    return NULL;
}
