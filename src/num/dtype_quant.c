/* Decoders of quantised blocks. The order of the f32 operations is the one of the `gguf` Python package
 * (gguf/quants.py, dequantize_blocks), so that values equal it bit for bit; tests/golden/num/test_quants.c compares.
 * In all plain types element i < 16 of a block is a low nibble and element 16 + i the high nibble of the same byte. */
#include "num/dtype.h"
#include "num/dtype_blocks.h"

static inline float half_at(const uint8_t p[2])
{
    return sd_f16_to_f32((uint16_t)(p[0] | p[1] << 8));
}

void sd_decode_q4_0(float *dst, const void *src, int64_t n)
{
    const sd_block_q4_0 *b = src;
    for (int64_t k = 0; k < n / SD_QK; k++, b++, dst += SD_QK) {
        const float d = half_at(b->d);
        for (int i = 0; i < 16; i++) {
            dst[i] = d * (float)((b->qs[i] & 15) - 8);
            dst[i + 16] = d * (float)((b->qs[i] >> 4) - 8);
        }
    }
}

void sd_decode_q4_1(float *dst, const void *src, int64_t n)
{
    const sd_block_q4_1 *b = src;
    for (int64_t k = 0; k < n / SD_QK; k++, b++, dst += SD_QK) {
        const float d = half_at(b->d), m = half_at(b->m);
        for (int i = 0; i < 16; i++) {
            dst[i] = d * (float)(b->qs[i] & 15) + m;
            dst[i + 16] = d * (float)(b->qs[i] >> 4) + m;
        }
    }
}

/* The fifth bit of element i is bit i of the four bytes qh. */
static inline int bit5(const uint8_t qh[4], int i)
{
    return (qh[i >> 3] >> (i & 7) & 1) << 4;
}

void sd_decode_q5_0(float *dst, const void *src, int64_t n)
{
    const sd_block_q5_0 *b = src;
    for (int64_t k = 0; k < n / SD_QK; k++, b++, dst += SD_QK) {
        const float d = half_at(b->d);
        for (int i = 0; i < 16; i++) {
            dst[i] = d * (float)(((b->qs[i] & 15) | bit5(b->qh, i)) - 16);
            dst[i + 16] = d * (float)(((b->qs[i] >> 4) | bit5(b->qh, i + 16)) - 16);
        }
    }
}

void sd_decode_q5_1(float *dst, const void *src, int64_t n)
{
    const sd_block_q5_1 *b = src;
    for (int64_t k = 0; k < n / SD_QK; k++, b++, dst += SD_QK) {
        const float d = half_at(b->d), m = half_at(b->m);
        for (int i = 0; i < 16; i++) {
            dst[i] = d * (float)((b->qs[i] & 15) | bit5(b->qh, i)) + m;
            dst[i + 16] = d * (float)((b->qs[i] >> 4) | bit5(b->qh, i + 16)) + m;
        }
    }
}

void sd_decode_q8_0(float *dst, const void *src, int64_t n)
{
    const sd_block_q8_0 *b = src;
    for (int64_t k = 0; k < n / SD_QK; k++, b++, dst += SD_QK) {
        const float d = half_at(b->d);
        for (int i = 0; i < SD_QK; i++) dst[i] = (float)b->qs[i] * d;
    }
}

/* Super-blocks. 16 groups of 16: scale and minimum are the nibbles of a byte; the 2-bit fields of 32 bytes give
 * four runs of 32 elements, shift by shift. */
void sd_decode_q2_k(float *dst, const void *src, int64_t n)
{
    const sd_block_q2_k *b = src;
    for (int64_t k = 0; k < n / SD_QKK; k++, b++, dst += SD_QKK) {
        const float d = half_at(b->d), dmin = half_at(b->dmin);
        for (int g = 0; g < 16; g++) {
            const float dl = d * (float)(b->scales[g] & 15), ml = dmin * (float)(b->scales[g] >> 4);
            const uint8_t *q = b->qs + 32 * (g >> 3) + 16 * (g & 1);
            const int shift = 2 * (g >> 1 & 3);
            for (int i = 0; i < 16; i++) dst[16 * g + i] = dl * (float)(q[i] >> shift & 3) - ml;
        }
    }
}

/* 16 six-bit scales: the low nibbles lie in bytes 0..7 (low then high halves), the two high bits in bytes 8..11.
 * The third bit of a value is in hmask and counts -4 where it is clear. */
void sd_decode_q3_k(float *dst, const void *src, int64_t n)
{
    const sd_block_q3_k *b = src;
    for (int64_t k = 0; k < n / SD_QKK; k++, b++, dst += SD_QKK) {
        const float d = half_at(b->d);
        for (int g = 0; g < 16; g++) {
            const int low = g < 8 ? b->scales[g] & 15 : b->scales[g - 8] >> 4;
            const int high = b->scales[8 + (g & 3)] >> 2 * (g >> 2) & 3;
            const float dl = d * (float)((low | high << 4) - 32);
            const uint8_t *q = b->qs + 32 * (g >> 3) + 16 * (g & 1), *h = b->hmask + 16 * (g & 1);
            const int shift = 2 * (g >> 1 & 3), bit = g >> 1;
            for (int i = 0; i < 16; i++)
                dst[16 * g + i] = dl * (float)((q[i] >> shift & 3) - (h[i] >> bit & 1 ? 0 : 4));
        }
    }
}

/* Eight six-bit scales and minima in 12 bytes: groups 0..3 in the low six bits of bytes 0..3 and 4..7; groups 4..7 have
 * their low nibbles in bytes 8..11 and their two high bits on top of bytes 0..7. */
static inline void scale_min(const uint8_t s[12], int g, int *sc, int *mn)
{
    if (g < 4) {
        *sc = s[g] & 63;
        *mn = s[g + 4] & 63;
    } else {
        *sc = (s[g + 4] & 15) | (s[g - 4] >> 6) << 4;
        *mn = (s[g + 4] >> 4) | (s[g] >> 6) << 4;
    }
}

void sd_decode_q4_k(float *dst, const void *src, int64_t n)
{
    const sd_block_q4_k *b = src;
    for (int64_t k = 0; k < n / SD_QKK; k++, b++, dst += SD_QKK) {
        const float d = half_at(b->d), dmin = half_at(b->dmin);
        for (int g = 0; g < 8; g++) {
            int sc, mn;
            scale_min(b->scales, g, &sc, &mn);
            const float dl = d * (float)sc, ml = dmin * (float)mn;
            const uint8_t *q = b->qs + 32 * (g >> 1);
            for (int i = 0; i < 32; i++) dst[32 * g + i] = dl * (float)(q[i] >> 4 * (g & 1) & 15) - ml;
        }
    }
}

void sd_decode_q5_k(float *dst, const void *src, int64_t n)
{
    const sd_block_q5_k *b = src;
    for (int64_t k = 0; k < n / SD_QKK; k++, b++, dst += SD_QKK) {
        const float d = half_at(b->d), dmin = half_at(b->dmin);
        for (int g = 0; g < 8; g++) {
            int sc, mn;
            scale_min(b->scales, g, &sc, &mn);
            const float dl = d * (float)sc, ml = dmin * (float)mn;
            const uint8_t *q = b->qs + 32 * (g >> 1);
            for (int i = 0; i < 32; i++)
                dst[32 * g + i] = dl * (float)((q[i] >> 4 * (g & 1) & 15) | (b->qh[i] >> g & 1) << 4) - ml;
        }
    }
}

/* Two halves of 128: 64 bytes of nibbles, 32 bytes of 2-bit tops; runs of 32 elements. */
void sd_decode_q6_k(float *dst, const void *src, int64_t n)
{
    const sd_block_q6_k *b = src;
    for (int64_t k = 0; k < n / SD_QKK; k++, b++, dst += SD_QKK) {
        const float d = half_at(b->d);
        for (int r = 0; r < 8; r++) { /* run r: half r/4, within it r%4 */
            const uint8_t *l = b->ql + 64 * (r >> 2) + 32 * (r & 1), *h = b->qh + 32 * (r >> 2);
            const int ls = 4 * (r >> 1 & 1), hs = 2 * (r & 3);
            for (int i = 0; i < 32; i++) {
                const float dl = d * (float)b->scales[2 * r + (i >> 4)];
                dst[32 * r + i] = dl * (float)(((l[i] >> ls & 15) | (h[i] >> hs & 3) << 4) - 32);
            }
        }
    }
}

/* The non-linear 4-bit code book (ggml-common.h, kvalues_iq4nl). */
static const int8_t iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

void sd_decode_iq4_nl(float *dst, const void *src, int64_t n)
{
    const sd_block_iq4_nl *b = src;
    for (int64_t k = 0; k < n / SD_QK; k++, b++, dst += SD_QK) {
        const float d = half_at(b->d);
        for (int i = 0; i < 16; i++) {
            dst[i] = d * (float)iq4_values[b->qs[i] & 15];
            dst[i + 16] = d * (float)iq4_values[b->qs[i] >> 4];
        }
    }
}

void sd_decode_iq4_xs(float *dst, const void *src, int64_t n)
{
    const sd_block_iq4_xs *b = src;
    for (int64_t k = 0; k < n / SD_QKK; k++, b++, dst += SD_QKK) {
        const float d = half_at(b->d);
        const int top = b->scales_h[0] | b->scales_h[1] << 8;
        for (int g = 0; g < 8; g++) {
            const int sc = (b->scales_l[g >> 1] >> 4 * (g & 1) & 15) | (top >> 2 * g & 3) << 4;
            const float dl = d * (float)(sc - 32);
            const uint8_t *q = b->qs + 16 * g;
            for (int i = 0; i < 16; i++) {
                dst[32 * g + i] = dl * (float)iq4_values[q[i] & 15];
                dst[32 * g + 16 + i] = dl * (float)iq4_values[q[i] >> 4];
            }
        }
    }
}
