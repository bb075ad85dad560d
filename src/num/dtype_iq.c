/* Decoders of the types in dtype_iq.h. Roundings in the order of the `gguf` Python package, whose values these equal bit for bit
 * (tests/golden/num/test_quants.c). Any bytes decode: an index has no more bits than its book has entries. */
#include "num/dtype_iq.h"

#include "num/dtype.h"

#include <math.h>

static float half_at(const uint8_t *p)
{
    return sd_f16_to_f32((uint16_t)(p[0] | p[1] << 8));
}

static unsigned u16_at(const uint8_t *p)
{
    return (unsigned)p[0] | (unsigned)p[1] << 8;
}

static uint32_t u32_at(const uint8_t *p)
{
    return u16_at(p) | (uint32_t)u16_at(p + 2) << 16;
}

static int nibble(const uint8_t *p, int i)
{
    return p[i / 2] >> 4 * (i & 1) & 15;
}

/* Eight signs in seven bits: the last one makes the number of minuses even. */
static unsigned even_signs(unsigned seven)
{
    unsigned odd = seven ^ seven >> 4;
    odd ^= odd >> 2;
    odd ^= odd >> 1;
    return seven | (odd & 1) << 7;
}

static float signed_as(float x, unsigned signs, int i)
{
    return signs >> i & 1 ? -x : x;
}

/* Eight numbers of a book of IQ2. */
static void put_iq2(float *dst, unsigned entry, float d, unsigned signs)
{
    static const float value[4] = {8, 25, 43, 0};
    for (int i = 0; i < 8; i++) dst[i] = signed_as(d * value[entry >> 2 * i & 3], signs, i);
}

void sd_decode_iq2_xxs(float *dst, const void *src, int64_t n)
{
    const sd_block_iq2_xxs *b = src;
    for (int64_t k = 0; k < n / SD_QKK; k++, b++) {
        const float d = half_at(b->d);
        for (int g = 0; g < 8; g++) {
            const uint32_t rest = u32_at(b->qs + 8 * g + 4);
            const float db = d * (0.5f + (float)(rest >> 28)) * 0.25f;
            for (int j = 0; j < 4; j++, dst += 8) put_iq2(dst, sd_book_iq2_xxs[b->qs[8 * g + j]], db, even_signs(rest >> 7 * j & 127));
        }
    }
}

void sd_decode_iq2_xs(float *dst, const void *src, int64_t n)
{
    const sd_block_iq2_xs *b = src;
    for (int64_t k = 0; k < n / SD_QKK; k++, b++) {
        const float d = half_at(b->d);
        for (int l = 0; l < 32; l++, dst += 8) {
            const unsigned q = u16_at(b->qs + 2 * l);
            put_iq2(dst, sd_book_iq2_xs[q & 511], d * (0.5f + (float)nibble(b->scales, l / 2)) * 0.25f, even_signs(q >> 9));
        }
    }
}

void sd_decode_iq2_s(float *dst, const void *src, int64_t n)
{
    const sd_block_iq2_s *b = src;
    for (int64_t k = 0; k < n / SD_QKK; k++, b++) {
        const float d = half_at(b->d);
        for (int l = 0; l < 32; l++, dst += 8) {
            const int q = b->qs[l] | (b->qh[l / 4] >> 2 * (l & 3) & 3) << 8;
            put_iq2(dst, sd_book_iq2_s[q], d * (0.5f + (float)nibble(b->scales, l / 2)) * 0.25f, b->signs[l]);
        }
    }
}

void sd_decode_iq3_xxs(float *dst, const void *src, int64_t n)
{
    static const float value[8] = {4, 12, 20, 28, 36, 44, 52, 62};
    const sd_block_iq3_xxs *b = src;
    for (int64_t k = 0; k < n / SD_QKK; k++, b++) {
        const float d = half_at(b->d);
        for (int l = 0; l < 32; l++, dst += 8) {
            const uint32_t rest = u32_at(b->scales + l / 4 * 4);
            const float db = d * (0.5f + (float)(rest >> 28)) * 0.5f;
            const unsigned signs = even_signs(rest >> 7 * (l & 3) & 127);
            for (int i = 0; i < 8; i++)
                dst[i] = signed_as(db * value[sd_book_iq3_xxs[b->qs[2 * l + i / 4]] >> 3 * (i & 3) & 7], signs, i);
        }
    }
}

void sd_decode_iq3_s(float *dst, const void *src, int64_t n)
{
    const sd_block_iq3_s *b = src;
    for (int64_t k = 0; k < n / SD_QKK; k++, b++) {
        const float d = half_at(b->d);
        for (int l = 0; l < 32; l++, dst += 8) {
            const float db = d * (float)(1 + 2 * nibble(b->scales, l / 4));
            for (int i = 0; i < 8; i++) {
                const int at = 2 * l + i / 4, q = b->qs[at] | (b->qh[at / 8] >> (at & 7) & 1) << 8;
                dst[i] = signed_as(db * (float)(1 + 2 * (sd_book_iq3_s[q] >> 3 * (i & 3) & 7)), b->signs[l], i);
            }
        }
    }
}

/* Eight of -1, 0, 1, moved by an eighth. */
static void put_iq1(float *dst, unsigned entry, float d, bool down)
{
    for (int i = 0; i < 8; i++) dst[i] = d * ((float)((int)(entry >> 2 * i & 3) - 1) + (down ? -0.125f : 0.125f));
}

void sd_decode_iq1_s(float *dst, const void *src, int64_t n)
{
    const sd_block_iq1_s *b = src;
    for (int64_t k = 0; k < n / SD_QKK; k++, b++) {
        const float d = half_at(b->d);
        for (int l = 0; l < 32; l++, dst += 8) {
            const unsigned h = u16_at(b->qh + l / 4 * 2), q = b->qs[l] | (h >> 3 * (l & 3) & 7) << 8;
            put_iq1(dst, sd_book_iq1_s[q], d * (float)(2 * (h >> 12 & 7) + 1), h >> 15);
        }
    }
}

void sd_decode_iq1_m(float *dst, const void *src, int64_t n)
{
    const sd_block_iq1_m *b = src;
    for (int64_t k = 0; k < n / SD_QKK; k++, b++) {
        unsigned h = 0; /* the scale: the upper nibble of each of the four */
        for (int i = 0; i < 4; i++) h |= u16_at(b->scales + 2 * i) >> 12 << 4 * i;
        const float d = sd_f16_to_f32((uint16_t)h);
        for (int l = 0; l < 32; l++, dst += 8) {
            const unsigned s = u16_at(b->scales + l / 8 * 2) >> 3 * (l / 2 & 3) & 7, top = (unsigned)nibble(b->qh, l);
            put_iq1(dst, sd_book_iq1_s[b->qs[l] | (top & 7) << 8], d * (float)(2 * s + 1), top >> 3);
        }
    }
}

/* Number i of those in a byte, as a fraction of 256 of base 3: the byte times 3^i is cut to its low eight bits. */
static float ternary(uint8_t byte, int i)
{
    static const uint8_t pow3[5] = {1, 3, 9, 27, 81};
    const uint8_t q = (uint8_t)(byte * pow3[i]);
    return (float)((q * 3 >> 8) - 1);
}

void sd_decode_tq1_0(float *dst, const void *src, int64_t n)
{
    const sd_block_tq1_0 *b = src;
    for (int64_t k = 0; k < n / SD_QKK; k++, b++, dst += SD_QKK) {
        const float d = half_at(b->d);
        for (int i = 0; i < 160; i++) dst[i] = d * ternary(b->qs[i % 32], i / 32);
        for (int i = 0; i < 80; i++) dst[160 + i] = d * ternary(b->qs[32 + i % 16], i / 16);
        for (int i = 0; i < 16; i++) dst[240 + i] = d * ternary(b->qh[i % 4], i / 4);
    }
}

void sd_decode_tq2_0(float *dst, const void *src, int64_t n)
{
    const sd_block_tq2_0 *b = src;
    for (int64_t k = 0; k < n / SD_QKK; k++, b++, dst += SD_QKK) {
        const float d = half_at(b->d);
        for (int i = 0; i < SD_QKK; i++) dst[i] = d * (float)((b->qs[i / 128 * 32 + i % 32] >> 2 * (i / 32 & 3) & 3) - 1);
    }
}

/* Floats of one sign, two exponent and one mantissa bit, doubled (OCP Microscaling Formats 1.0, table 5). */
static const float fp4[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* 2^(e - 128): half of the format's scale, since the values are doubled. */
static float half_e8m0(uint8_t e)
{
    return ldexpf(1.0f, (int)e - 128);
}

void sd_decode_mxfp4(float *dst, const void *src, int64_t n)
{
    const sd_block_mxfp4 *b = src;
    for (int64_t k = 0; k < n / SD_QK; k++, b++, dst += SD_QK) {
        const float d = half_e8m0(b->e);
        for (int i = 0; i < 16; i++) {
            dst[i] = d * fp4[b->qs[i] & 15];
            dst[i + 16] = d * fp4[b->qs[i] >> 4];
        }
    }
}

/* Half of an unsigned float of four exponent (bias 7) and three mantissa bits; its NaN, as in ggml, is 0. */
static float half_ue4m3(uint8_t x)
{
    const int e = x >> 3 & 15, m = x & 7;
    if (x == 0x7f) return 0;
    return e ? ldexpf((float)(8 + m), e - 11) : ldexpf((float)m, -10);
}

void sd_decode_nvfp4(float *dst, const void *src, int64_t n)
{
    const sd_block_nvfp4 *b = src;
    for (int64_t k = 0; k < n / SD_QNV; k++, b++)
        for (int g = 0; g < 4; g++, dst += 16) {
            const float d = half_ue4m3(b->d[g]);
            for (int i = 0; i < 8; i++) {
                dst[i] = d * fp4[b->qs[8 * g + i] & 15];
                dst[i + 8] = d * fp4[b->qs[8 * g + i] >> 4];
            }
        }
}
