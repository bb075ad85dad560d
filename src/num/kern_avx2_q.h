/* What the AVX2 tiles of bytes and of packed blocks share: lines of weights and scales, sums of lines, and what a block's sums are worth.
 * 16 outputs at a time are two registers; products are summed in 16 bits as long as they fit, then widened. */
#ifndef SD_NUM_KERN_AVX2_Q_H
#define SD_NUM_KERN_AVX2_Q_H

#include "num/kern_quant.h"

#include <immintrin.h>
#include <string.h>

#define SD_AVX2_KINDS(X) X(4_0) X(4_1) X(5_0) X(5_1) X(8_0) X(4_NL) X(2_K) X(3_K) X(4_K) X(5_K) X(6_K) X(4_XS)

#define UNROLLED static inline __attribute__((always_inline)) /* sizes are constants at every call */

UNROLLED __m256i word_at(const int8_t *q)
{
    int32_t v;
    memcpy(&v, q, 4);
    return _mm256_set1_epi32(v);
}
UNROLLED __m256i load(const uint8_t *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}
UNROLLED __m256 halves_at(const uint8_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}
/* Sums are added in the order written: reordered into a tree, as gcc does, they need more registers than there are. */
UNROLLED __m256i pinned(__m256i v)
{
    __asm__("" : "+x"(v));
    return v;
}

/* How large values may be decides how many products fit 16 bits: maddubs adds two, at most 2 x top x 127. */
typedef enum sd_avx2_top {
    FEW = 15,    /* eight lines: 8 x 2 x 15 x 127 = 30,480 */
    SMALL = 31,  /* four: 31,496 */
    MIDDLE = 63, /* two: 32,004 */
    LARGE = 255  /* one, from 128: 2 x 128 x 127 = 32,512 */
} sd_avx2_top;

UNROLLED int top_of(const sd_qform f)
{
    return f.book || f.bits == 8 ? LARGE : f.bits == 6 ? MIDDLE : f.bits == 5 ? SMALL : FEW;
}

/* 32 bits, one a byte: `value` where the bit is set. */
UNROLLED __m256i spread_bits(const uint8_t *p, const char value)
{
    int32_t bits;
    memcpy(&bits, p, 4);
    const __m256i which = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i mask = _mm256_set1_epi64x((int64_t)0x8040201008040201u);
    const __m256i byte = _mm256_shuffle_epi8(_mm256_set1_epi32(bits), which);
    const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(byte, mask), mask);
    return _mm256_and_si256(set, _mm256_set1_epi8(value));
}

/* Counts are constants after inlining, but not yet where the compiler wants immediates. */
UNROLLED __m256i down(__m256i v, const int n)
{
    return n == 0 ? v : _mm256_srl_epi16(v, _mm_cvtsi32_si128(n));
}
UNROLLED __m256i up(__m256i v, const int n)
{
    return n == 0 ? v : _mm256_sll_epi16(v, _mm_cvtsi32_si128(n));
}

static const uint8_t sd_avx2_book[16] __attribute__((aligned(16))) = {SD_QBOOK};

/* 32 bytes from byte `at` (0 or 32) of line l of group g. */
UNROLLED __m256i line_at(const uint8_t *v, const sd_qform f, int g, const int l, const int at)
{
    if (f.bits == 8) return load(v + 512 * g + 64 * l + at);
    if (f.bits < 4) {
        const __m256i low = _mm256_and_si256(down(load(v + 128 * g + 64 * (l & 1) + at), 2 * (l >> 1)), _mm256_set1_epi8(3));
        return f.bits == 2 ? low : _mm256_or_si256(low, spread_bits(v + 256 + 64 * g + 8 * l + at / 8, 4));
    }
    const __m256i low = _mm256_and_si256(down(load(v + 256 * g + 64 * (l & 3) + at), l < 4 ? 0 : 4), _mm256_set1_epi8(15));
    if (f.bits == 5) return _mm256_or_si256(low, spread_bits(v + 512 + 64 * g + 8 * l + at / 8, 16));
    if (f.bits == 6) {
        const __m256i two = load(v + 512 + 128 * g + 64 * (l & 1) + at);
        const __m256i top = l < 4 ? up(two, 4 - 2 * (l >> 1)) : down(two, 2 * (l >> 1) - 4);
        return _mm256_or_si256(low, _mm256_and_si256(top, _mm256_set1_epi8(0x30)));
    }
    const __m256i book = _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *)(const void *)sd_avx2_book));
    return f.book ? _mm256_shuffle_epi8(book, low) : low;
}

/* Eight scales, outputs 8j..8j+7; see kern_quant.h. */
UNROLLED __m256 scale_at(const uint8_t *p, const sd_qform f, int b, const int h, int j, const bool min)
{
    const __m256 d = halves_at(p + (min ? 2 * SD_PANEL : 0) + 16 * j);
    const uint8_t *sub = p + (f.min ? 4 : 2) * SD_PANEL + b * f.subs * SD_PANEL + 8 * j;
    if (f.subs == 0) return d;
    const int row = !f.min || f.bits == 2 ? h : min;
    const __m128i c = _mm_loadl_epi64((const __m128i *)(const void *)(sub + row * SD_PANEL));
    __m256i i = f.min ? _mm256_cvtepu8_epi32(c) : _mm256_cvtepi8_epi32(c);
    if (f.bits == 2) i = min ? _mm256_srli_epi32(i, 4) : _mm256_and_si256(i, _mm256_set1_epi32(15));
    return _mm256_mul_ps(d, _mm256_cvtepi32_ps(i));
}

/* A form, how large its values are, which half of a block (0 where a block is one), and which group of 16 outputs (the last need not be a constant). */
typedef struct part {
    sd_qform f;
    int top, h, g;
} part;

/* Both numbers of a plane's byte come one after the other. */
UNROLLED int line_of(const part p, const int k)
{
    if (p.f.halves) return 4 * p.h + k;
    return p.f.bits == 8 ? k : (k >> 1) + 4 * (k & 1);
}

/* Integer sums of a part, LARGE values counting from 128: of mr rows with v[0], or of one row with each of np panels, a line of each in turn. */
UNROLLED void sum_lines(__m256i s[][2], const uint8_t *const *v, const int8_t *q, int64_t ldq, const part p, const int mr, const int np)
{
    const __m256i flip = _mm256_set1_epi8((char)0x80), one = _mm256_set1_epi16(1);
    const int n = p.f.halves ? 4 : 8, step = p.top == FEW ? n : p.top == SMALL ? 4 : p.top == MIDDLE ? 2 : 1;
#pragma GCC unroll 8
    for (int k = 0; k < n; k += step) {
        __m256i sum[4][2];
#pragma GCC unroll 8
        for (int c = 0; c < step; c++) {
            const int l = line_of(p, k + c);
            __m256i w[2], mag[2], a;
#pragma GCC unroll 4
            for (int i = 0; i < mr * np; i++) {
                const int panel = np > 1 ? i : 0, row = np > 1 ? 0 : i;
                if (panel == i)
#pragma GCC unroll 2
                    for (int j = 0; j < 2; j++) {
                        w[j] = line_at(v[panel], p.f, p.g, l, 32 * j);
                        if (p.top == LARGE) w[j] = _mm256_xor_si256(w[j], flip), mag[j] = _mm256_abs_epi8(w[j]);
                    }
                if (row == i) a = word_at(q + row * ldq + 4 * l);
#pragma GCC unroll 2
                for (int j = 0; j < 2; j++) {
                    const __m256i x = p.top == LARGE ? _mm256_maddubs_epi16(mag[j], _mm256_sign_epi8(a, w[j]))
                                                     : _mm256_maddubs_epi16(w[j], a);
                    sum[i][j] = c == 0 ? x : pinned(_mm256_add_epi16(sum[i][j], x));
                }
            }
        }
#pragma GCC unroll 4
        for (int i = 0; i < mr * np; i++)
#pragma GCC unroll 2
            for (int j = 0; j < 2; j++) {
                const __m256i x = _mm256_madd_epi16(sum[i][j], one);
                s[i][j] = k == 0 ? x : pinned(_mm256_add_epi32(s[i][j], x));
            }
    }
}

/* -sum of the activations that a sum runs over, in all lanes. */
UNROLLED __m256i negated(const sd_qact *a, const part p)
{
    if (!p.f.halves) return _mm256_set1_epi32(a->nsum);
    return p.h == 0 ? _mm256_set1_epi32(a->nlow) : _mm256_set1_epi32(a->nsum - a->nlow);
}

/* y += what the integer sums s of a row are worth; sc: the vectors' scales, then their minima. */
UNROLLED void add_part(__m256 *y, __m256i *s, const sd_qact *a, const part p, const __m256 sc[4])
{
    const __m256 d = _mm256_set1_ps(a->d);
    __m256 ds = d;
    if (p.f.min)
        ds = p.f.halves ? _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_setzero_si256(), negated(a, p)))) : _mm256_set1_ps(a->ds);
    const __m256i zero = p.top != LARGE && !p.f.min ? _mm256_slli_epi32(negated(a, p), __builtin_ctz(p.f.zero)) : negated(a, p);
#pragma GCC unroll 2
    for (int j = 0; j < 2; j++) {
        if (p.top != LARGE && !p.f.min) s[j] = _mm256_add_epi32(s[j], zero);
        y[j] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(s[j]), _mm256_mul_ps(sc[j], d), y[j]);
        if (p.f.min) y[j] = _mm256_fmadd_ps(sc[2 + j], ds, y[j]);
    }
}

/* kern_avx2_qpack.c */
void sd_kern__tile_qpack_avx2(const sd_qtile *t);
void sd_kern__spread_q_avx2(const sd_spread *t);

#endif
