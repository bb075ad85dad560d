/* AVX2 for the quantised tile of bytes, 3 rows by 16 outputs a pass, for unpacking and for quantising. */
#include "num/kern.h"
#include "num/kern_avx2_q.h"
#include <float.h>
#include <math.h>

enum {
    NEAR = 24,     /* blocks of a stretch: 24 KB, all that a caller unpacks at a time */
    BYTE_ROWS = 3, /* 6 sums in 16 bits and 6 in floats, two lines, an activation, a product: all 16 registers */
};

/* A stretch of blocks: their weights stay in the first cache while all rows pass. */
typedef struct stretch {
    int64_t b0, n;
} stretch;

/* mr rows by 16 outputs (group g) of a panel of bytes; form has a kind's flags and zero. */
UNROLLED void byte_rows(const sd_qtile *t, const stretch of, int64_t row, int g, const int mr, const sd_qform form)
{
    float *to = t->y + row * t->ldy + 16 * g;
    const int8_t *q = t->q + row * t->ldq + of.b0 * SD_QBLOCK;
    const sd_qact *act = t->act + row * t->ld_act + of.b0;
    const uint8_t *v = t->values + of.b0 * t->value_step + 512 * g;
    const float *sc = t->scales + of.b0 * sd_qscale_floats(form) + 16 * g;
    const int top = top_of(form), n_half = form.halves ? 2 : 1;
    const bool carry = t->carry || of.b0 > 0;
    sd_qform f = form;
    f.bits = 8, f.book = false;
    __m256 y[BYTE_ROWS][2];
#pragma GCC unroll 3
    for (int i = 0; i < mr; i++)
        for (int j = 0; j < 2; j++) y[i][j] = carry ? _mm256_loadu_ps(to + i * t->ldy + 8 * j) : _mm256_setzero_ps();
    for (int64_t b = 0; b < of.n; b++, q += SD_QBLOCK, act++, v += t->value_step, sc += sd_qscale_floats(f))
#pragma GCC unroll 2
        for (int h = 0; h < n_half; h++) {
            const part p = {f, top, h, 0};
            __m256i s[BYTE_ROWS][2];
            __m256 scale[4];
            sum_lines(s, &v, q, t->ldq, p, mr, 1);
            for (int j = 0; j < 2; j++) {
                scale[j] = _mm256_loadu_ps(sc + h * SD_PANEL + 8 * j);
                scale[2 + j] = f.min ? _mm256_loadu_ps(sc + (n_half + h) * SD_PANEL + 8 * j) : scale[j];
            }
#pragma GCC unroll 3
            for (int i = 0; i < mr; i++) add_part(y[i], s[i], &act[i * t->ld_act], p, scale);
        }
#pragma GCC unroll 3
    for (int i = 0; i < mr; i++)
        for (int j = 0; j < 2; j++) _mm256_storeu_ps(to + i * t->ldy + 8 * j, y[i][j]);
}

UNROLLED void byte_all(const sd_qtile *t, const sd_qkind kind)
{
    const sd_qform f = sd_qform_of(kind);
    stretch of = {0, 0};
    do {
        int64_t r = 0;
        of.n = t->n_block - of.b0 < NEAR ? t->n_block - of.b0 : NEAR;
        for (; r + 3 <= t->m; r += 3)
            for (int g = 0; g < 2; g++) byte_rows(t, of, r, g, 3, f);
        for (int g = 0; g < 2; g++) {
            if (t->m - r == 2)
                byte_rows(t, of, r, g, 2, f);
            else if (t->m - r == 1)
                byte_rows(t, of, r, g, 1, f);
        }
        of.b0 += NEAR;
    } while (of.b0 < t->n_block);
}

/* ---- unpacking ---- */

UNROLLED void unpack_all(const sd_qunpack *u, const sd_qkind kind)
{
    const sd_qform f = sd_qform_of(kind);
    const uint8_t *p = u->packed;
    uint8_t *to = u->bytes;
    float *s = u->scales;
    for (int64_t k = 0; k < u->n_block; k += f.blocks, p += sd_qsuper_bytes(f))
        for (int b = 0; b < f.blocks; b++) {
            const uint8_t *v = p + sd_qhead_bytes(f) + b * sd_qvalue_bytes(f);
            for (int min = 0; min <= f.min; min++)
                for (int h = 0; h <= f.halves; h++)
                    for (int j = 0; j < 4; j++, s += 8) _mm256_storeu_ps(s, scale_at(p, f, b, h, j, min));
            if (!u->bytes) continue;
            for (int g = 0; g < 2; g++)
#pragma GCC unroll 8
                for (int l = 0; l < 8; l++)
#pragma GCC unroll 2
                    for (int at = 0; at < 64; at += 32, to += 32)
                        _mm256_storeu_si256((__m256i *)(void *)to, line_at(v, f, g, l, at));
        }
}

#define DEFINE(K)                                                                                                      \
    static void unpack_##K(const sd_qunpack *u)                                                                        \
    {                                                                                                                  \
        unpack_all(u, SD_QKIND_##K);                                                                                   \
    }
SD_AVX2_KINDS(DEFINE)

/* Kinds whose bytes differ in nothing share a function. */
#define BYTE_KINDS(X) X(4_0) X(4_1) X(5_0) X(5_1) X(8_0) X(2_K) X(3_K) X(6_K)
#define DEFINE_BYTE(K)                                                                                                 \
    static void byte_##K(const sd_qtile *t)                                                                            \
    {                                                                                                                  \
        byte_all(t, SD_QKIND_##K);                                                                                     \
    }
BYTE_KINDS(DEFINE_BYTE)

static void tile_q8_avx2(const sd_qtile *t)
{
    static void (*const table[SD_QKIND_COUNT])(const sd_qtile *) = {
        [SD_QKIND_4_0] = byte_4_0, [SD_QKIND_4_1] = byte_4_1,  [SD_QKIND_5_0] = byte_5_0, [SD_QKIND_5_1] = byte_5_1,
        [SD_QKIND_8_0] = byte_8_0, [SD_QKIND_4_NL] = byte_8_0, [SD_QKIND_2_K] = byte_2_K, [SD_QKIND_3_K] = byte_3_K,
        [SD_QKIND_4_K] = byte_4_1, [SD_QKIND_5_K] = byte_5_1,  [SD_QKIND_6_K] = byte_6_K, [SD_QKIND_4_XS] = byte_8_0};
    table[t->kind](t);
}

static void unpack_q_avx2(const sd_qunpack *u)
{
#define UNPACK_ROW(K) [SD_QKIND_##K] = unpack_##K,
    static void (*const table[SD_QKIND_COUNT])(const sd_qunpack *) = {SD_AVX2_KINDS(UNPACK_ROW)};
    table[u->kind](u);
}

static uint32_t largest(__m256i a)
{
    __m128i m = _mm_max_epu32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0x4e));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(m);
}

static void quantise_avx2(int8_t *q, sd_qact *act, const float *x, int64_t n_block)
{
    const __m256i mag = _mm256_set1_epi32(0x7fffffff), order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    for (int64_t b = 0; b < n_block; b++, q += SD_QBLOCK, x += SD_QBLOCK) {
        __m256i v[4], m = _mm256_setzero_si256();
        /* As integers magnitudes are in order, and NaN and infinity stand above all numbers. */
        for (int i = 0; i < 4; i++)
            m = _mm256_max_epu32(m, _mm256_and_si256(_mm256_castps_si256(_mm256_loadu_ps(x + 8 * i)), mag));
        const union {
            uint32_t u;
            float f;
        } top = {largest(m)};
        const bool finite = top.u < 0x7f800000u;
        const float d = finite ? top.f / 127.0f : 0.0f;
        const bool live = d >= FLT_MIN; /* below, 1/d overflows */
        const __m256 inv = _mm256_set1_ps(live ? 1.0f / d : 0.0f);
        for (int i = 0; i < 4; i++)
            v[i] = live ? _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), inv)) : _mm256_setzero_si256();
        /* The packs work within 128-bit halves; `order` puts the words back in sequence. */
        const __m256i p = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3])), order);
        /* Sums of eight bytes each with 128 added, in one instruction. */
        const __m256i sad = _mm256_sad_epu8(_mm256_xor_si256(p, _mm256_set1_epi8(-128)), _mm256_setzero_si256());
        const __m256i halves = _mm256_add_epi64(sad, _mm256_unpackhi_epi64(sad, sad));
        const int low = _mm256_extract_epi32(halves, 0) - 16 * 128, sum = low + _mm256_extract_epi32(halves, 4) - 16 * 128;
        _mm256_storeu_si256((__m256i *)(void *)q, p);
        act[b].d = live ? d : finite ? 0.0f : NAN;
        act[b].ds = act[b].d * (float)sum;
        act[b].nsum = -sum;
        act[b].nlow = -low;
    }
}

void sd_kern_fill_avx2_q(sd_kern *k)
{
    k->tile_q8 = tile_q8_avx2;
    k->tile_qpack = sd_kern__tile_qpack_avx2;
    k->spread_q = sd_kern__spread_q_avx2;
    k->unpack_q = unpack_q_avx2;
    k->quantise = quantise_avx2;
}
