/* The meaning of the quantised and bf16 slots, in plain C. */
#include "num/kern.h"
#include "num/dtype.h"
#include <float.h>
#include <math.h>
#include <string.h>

static void tile_bf16_ref(const sd_tile *t)
{
    for (int64_t i = 0; i < t->m; i++) {
        const uint16_t *x = (const uint16_t *)t->x + i * t->ldx, *w = t->w;
        float *y = t->y + i * t->ldy;
        if (!t->carry) memset(y, 0, SD_PANEL * sizeof *y);
        for (int64_t p = 0; p < t->k; p += 2, w += 2 * SD_PANEL) {
            const float even = sd_bf16_to_f32(x[p]), odd = sd_bf16_to_f32(x[p + 1]);
            for (int j = 0; j < SD_PANEL; j++) {
                y[j] = fmaf(odd, sd_bf16_to_f32(w[2 * j + 1]), y[j]);
                y[j] = fmaf(even, sd_bf16_to_f32(w[2 * j]), y[j]);
            }
        }
    }
}

static void to_bf16_ref(uint16_t *dst, const float *src, int64_t n)
{
    for (int64_t i = 0; i < n; i++) dst[i] = sd_f32_to_bf16(src[i]);
}

static inline float half_at(const uint8_t *p)
{
    return sd_f16_to_f32((uint16_t)(p[0] | p[1] << 8));
}

/* Weight of output j and input t of a block, without its offset. */
static inline int value_at(const uint8_t *v, bool nibbles, int j, int t)
{
    const int group = j / 16, at = j % 16 * 4 + t % 4, line = t / 4;
    if (!nibbles) return v[group * 512 + line * 64 + at];
    const uint8_t byte = v[group * 256 + line % 4 * 64 + at];
    return line < 4 ? byte & 15 : byte >> 4;
}

static void tile_q8_ref(const sd_qtile *t)
{
    const int zero = t->kind == SD_QKIND_4_0 ? 8 : t->kind == SD_QKIND_8_0 ? 128 : 0;
    for (int64_t i = 0; i < t->m; i++) {
        float *y = t->y + i * t->ldy;
        if (!t->carry) memset(y, 0, SD_PANEL * sizeof *y);
        for (int64_t b = 0; b < t->n_block; b++) {
            const uint8_t *v = t->values + b * t->value_step, *s = t->scales + b * t->scale_step;
            const int8_t *q = t->q + i * t->ldq + b * SD_QBLOCK;
            const sd_qact *a = &t->act[i * t->ld_act + b];
            for (int j = 0; j < SD_PANEL; j++) {
                int sum = zero * a->nsum;
                for (int k = 0; k < SD_QBLOCK; k++) sum += value_at(v, t->nibbles, j, k) * q[k];
                y[j] = fmaf((float)sum, half_at(s + 2 * j) * a->d, y[j]);
                if (t->kind == SD_QKIND_4_1) y[j] = fmaf(half_at(s + SD_QSCALE_BYTES + 2 * j), a->ds, y[j]);
            }
        }
    }
}

static void unpack_q4_ref(uint8_t *dst, const uint8_t *values, int64_t value_step, int64_t n_block)
{
    for (int64_t b = 0; b < n_block; b++, values += value_step, dst += SD_QBYTE_BYTES)
        for (int i = 0; i < 256; i++) {
            dst[i] = values[i] & 15;
            dst[256 + i] = values[i] >> 4;
            dst[512 + i] = values[256 + i] & 15;
            dst[768 + i] = values[256 + i] >> 4;
        }
}

static void quantise_ref(int8_t *q, sd_qact *act, const float *x, int64_t n_block)
{
    for (int64_t b = 0; b < n_block; b++, q += SD_QBLOCK, x += SD_QBLOCK) {
        float top = 0.0f;
        int sum = 0;
        bool finite = true;
        for (int i = 0; i < SD_QBLOCK; i++) {
            const float v = fabsf(x[i]);
            finite = finite && isfinite(v);
            top = v > top ? v : top;
        }
        const float d = top / 127.0f;
        const bool live = finite && d >= FLT_MIN; /* below, 1/d overflows */
        const float inv = live ? 1.0f / d : 0.0f;
        for (int i = 0; i < SD_QBLOCK; i++) {
            q[i] = live ? (int8_t)lrintf(x[i] * inv) : 0;
            sum += q[i];
        }
        act[b].d = live ? d : finite ? 0.0f : NAN;
        act[b].ds = act[b].d * (float)sum;
        act[b].nsum = -sum;
    }
}

void sd_kern_fill_ref_q(sd_kern *k)
{
    k->tile_bf16 = tile_bf16_ref;
    k->to_bf16 = to_bf16_ref;
    k->tile_q8 = tile_q8_ref;
    k->unpack_q4 = unpack_q4_ref;
    k->quantise = quantise_ref;
}
