/* AVX2 for the quantised tile: 8 outputs a register, 4 rows a pass, one group of 8 outputs after the other; products are
 * summed in 16 bits as long as they fit, then widened. */
#include "num/kern.h"
#include <float.h>
#include <immintrin.h>
#include <math.h>
#include <string.h>

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

/* How large values may be decides how many products fit 16 bits: maddubs adds two, at most 2 x top x 127. */
enum { SMALL = 31 /* four lines: 4 x 2 x 31 x 127 = 31,496 */, MIDDLE = 63 /* two: 32,004 */, LARGE = 255 };

/* Integer sums of n lines for mr rows and the 8 outputs whose lines begin at v. */
UNROLLED void sum_lines(__m256i s[], const uint8_t *v, const int8_t *q, int64_t ldq, const int n, const int mr,
                        const int top)
{
    const __m256i flip = _mm256_set1_epi8((char)0x80), one = _mm256_set1_epi16(1);
    const int step = top == SMALL ? 4 : top == MIDDLE ? 2 : 1;
    for (int i = 0; i < mr; i++) s[i] = _mm256_setzero_si256();
    for (int l = 0; l < n; l += step) {
        __m256i w[4], mag[4];
        for (int k = 0; k < step; k++) {
            w[k] = load(v + 64 * (l + k));
            if (top == LARGE) w[k] = _mm256_xor_si256(w[k], flip), mag[k] = _mm256_abs_epi8(w[k]);
        }
        for (int i = 0; i < mr; i++) {
            __m256i sum = _mm256_setzero_si256();
            for (int k = 0; k < step; k++) {
                const __m256i a = word_at(q + i * ldq + 4 * (l + k));
                /* maddubs(|w|, sign(a, w)) is at most 2 x 128 x 127 = 32,512: no saturation. */
                const __m256i p = top == LARGE ? _mm256_maddubs_epi16(mag[k], _mm256_sign_epi8(a, w[k]))
                                               : _mm256_maddubs_epi16(w[k], a);
                sum = k == 0 ? p : _mm256_add_epi16(sum, p);
            }
            s[i] = _mm256_add_epi32(s[i], _mm256_madd_epi16(sum, one));
        }
    }
}

/* -zero times the activations that a sum runs over; LARGE values count from 128 already. */
UNROLLED int32_t offset(const sd_qact *a, const bool halves, const int h, int zero)
{
    return zero * (!halves ? a->nsum : h == 0 ? a->nlow : a->nsum - a->nlow);
}

/* Outputs 8g..8g+7 of the panel. */
UNROLLED void q8_rows(const sd_qtile *t, int64_t row, int g, const int mr, const sd_qform f, const int top)
{
    float *y = t->y + row * t->ldy + 8 * g;
    const int8_t *q = t->q + row * t->ldq;
    const sd_qact *act = t->act + row * t->ld_act;
    const uint8_t *v = t->values + 512 * (g >> 1) + 32 * (g & 1);
    const float *sc = t->scales + 8 * g;
    const int n_half = f.halves ? 2 : 1;
    __m256 sum[4];
    for (int i = 0; i < mr; i++) sum[i] = t->carry ? _mm256_loadu_ps(y + i * t->ldy) : _mm256_setzero_ps();
    for (int64_t b = 0; b < t->n_block; b++, q += SD_QBLOCK, act++, v += t->value_step, sc += sd_qscale_floats(f))
        for (int h = 0; h < n_half; h++) {
            __m256i s[4];
            const __m256 dw = _mm256_loadu_ps(sc + h * SD_PANEL);
            const __m256 mw = f.min ? _mm256_loadu_ps(sc + (n_half + h) * SD_PANEL) : dw;
            sum_lines(s, v + 64 * (h * 8 / n_half), q + 4 * (h * 8 / n_half), t->ldq, 8 / n_half, mr, top);
            for (int i = 0; i < mr; i++) {
                const sd_qact *a = &act[i * t->ld_act];
                if (top != LARGE && !f.min)
                    s[i] = _mm256_add_epi32(s[i], _mm256_set1_epi32(offset(a, f.halves, h, f.zero)));
                sum[i] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(s[i]), _mm256_mul_ps(dw, _mm256_set1_ps(a->d)), sum[i]);
                if (!f.min) continue;
                const float ds = f.halves ? a->d * (float)-offset(a, true, h, 1) : a->ds;
                sum[i] = _mm256_fmadd_ps(mw, _mm256_set1_ps(ds), sum[i]);
            }
        }
    for (int i = 0; i < mr; i++) _mm256_storeu_ps(y + i * t->ldy, sum[i]);
}

/* The form's flags and `top` are constants, its zero need not be. */
UNROLLED void q8_all(const sd_qtile *t, const bool halves, const bool min, const int top)
{
    const sd_qform f = {.halves = halves, .min = min, .zero = sd_qform_of(t->kind).zero};
    for (int g = 0; g < SD_PANEL / 8; g++) {
        int64_t r = 0;
        for (; r + 4 <= t->m; r += 4) q8_rows(t, r, g, 4, f, top);
        switch (t->m - r) {
        case 3:
            q8_rows(t, r, g, 3, f, top);
            break;
        case 2:
            q8_rows(t, r, g, 2, f, top);
            break;
        case 1:
            q8_rows(t, r, g, 1, f, top);
            break;
        default:
            break;
        }
    }
}

static void small_plain(const sd_qtile *t)
{
    q8_all(t, false, false, SMALL);
}
static void small_min(const sd_qtile *t)
{
    q8_all(t, false, true, SMALL);
}
static void small_halves(const sd_qtile *t)
{
    q8_all(t, true, false, SMALL);
}
static void small_halves_min(const sd_qtile *t)
{
    q8_all(t, true, true, SMALL);
}
static void middle_halves(const sd_qtile *t)
{
    q8_all(t, true, false, MIDDLE);
}
static void large_plain(const sd_qtile *t)
{
    q8_all(t, false, false, LARGE);
}

static void tile_q8_avx2(const sd_qtile *t)
{
    static void (*const table[SD_QKIND_COUNT])(const sd_qtile *) = {
        [SD_QKIND_4_0] = small_plain,      [SD_QKIND_4_1] = small_min,    [SD_QKIND_5_0] = small_plain,
        [SD_QKIND_5_1] = small_min,        [SD_QKIND_8_0] = large_plain,  [SD_QKIND_4_NL] = large_plain,
        [SD_QKIND_2_K] = small_halves_min, [SD_QKIND_3_K] = small_halves, [SD_QKIND_4_K] = small_min,
        [SD_QKIND_5_K] = small_min,        [SD_QKIND_6_K] = middle_halves, [SD_QKIND_4_XS] = large_plain};
    table[t->kind](t);
}

/* ---- packed blocks ---- */

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

UNROLLED __m256i down(__m256i v, int n, const char mask)
{
    return _mm256_and_si256(_mm256_srl_epi16(v, _mm_cvtsi32_si128(n)), _mm256_set1_epi8(mask));
}

static const uint8_t book16[16] __attribute__((aligned(16))) = {SD_QBOOK};

/* 32 bytes from byte `at` (0 or 32) of line l of group g. */
UNROLLED __m256i line_at(const uint8_t *v, const sd_qform f, int g, int l, int at)
{
    if (f.bits == 8) return load(v + 512 * g + 64 * l + at);
    if (f.bits < 4) {
        const __m256i low = down(load(v + 128 * g + 64 * (l & 1) + at), 2 * (l >> 1), 3);
        return f.bits == 2 ? low : _mm256_or_si256(low, spread_bits(v + 256 + 64 * g + 8 * l + at / 8, 4));
    }
    const __m256i low = down(load(v + 256 * g + 64 * (l & 3) + at), l < 4 ? 0 : 4, 15);
    if (f.bits == 5) return _mm256_or_si256(low, spread_bits(v + 512 + 64 * g + 8 * l + at / 8, 16));
    if (f.bits == 6)
        return _mm256_or_si256(
            low, _mm256_slli_epi16(down(load(v + 512 + 128 * g + 64 * (l & 1) + at), 2 * (l >> 1), 3), 4));
    const __m256i book = _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *)(const void *)book16));
    return f.book ? _mm256_shuffle_epi8(book, low) : low;
}

/* Eight scales, outputs 8j..8j+7; see kern_quant.h. */
UNROLLED __m256 scale_at(const uint8_t *p, const sd_qform f, int b, int h, int j, bool min)
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
            for (int i = 0; u->bytes && i < 32; i++, to += 32)
                _mm256_storeu_si256((__m256i *)(void *)to, line_at(v, f, i >> 4, i >> 1 & 7, 32 * (i & 1)));
        }
}

#define KINDS(X) X(4_0) X(4_1) X(5_0) X(5_1) X(8_0) X(4_NL) X(2_K) X(3_K) X(4_K) X(5_K) X(6_K) X(4_XS)
#define DEFINE(K)                                                                                                      \
    static void unpack_##K(const sd_qunpack *u)                                                                        \
    {                                                                                                                  \
        unpack_all(u, SD_QKIND_##K);                                                                                   \
    }
KINDS(DEFINE)

static void unpack_q_avx2(const sd_qunpack *u)
{
#define UNPACK_ROW(K) [SD_QKIND_##K] = unpack_##K,
    static void (*const table[SD_QKIND_COUNT])(const sd_qunpack *) = {KINDS(UNPACK_ROW)};
    table[u->kind](u);
}

/* A super at a time through the first cache: 16 registers leave no room to unpack in. */
static void tile_qpack_avx2(const sd_qtile *t)
{
    uint8_t bytes[SD_QSUPER * SD_QBYTE_BYTES] __attribute__((aligned(64)));
    float scales[SD_QSUPER * SD_PANEL * 4] __attribute__((aligned(64)));
    const sd_qform f = sd_qform_of(t->kind);
    sd_qtile piece = *t;
    const int64_t step = SD_QSUPER;
    piece.scales = scales, piece.carry = t->carry, piece.n_block = 0;
    piece.value_step = f.bits == 8 ? sd_qsuper_bytes(f) : (int64_t)SD_QBYTE_BYTES;
    if (t->n_block == 0) tile_q8_avx2(&piece);
    for (int64_t b = 0; b < t->n_block; b += step) {
        const uint8_t *from = t->values + b / f.blocks * sd_qsuper_bytes(f);
        piece.n_block = t->n_block - b < step ? t->n_block - b : step;
        unpack_q_avx2(&(sd_qunpack){f.bits == 8 ? NULL : bytes, scales, from, piece.n_block, t->kind});
        piece.values = f.bits == 8 ? from + sd_qhead_bytes(f) : bytes;
        piece.q = t->q + b * SD_QBLOCK, piece.act = t->act + b, piece.carry = t->carry || b > 0;
        tile_q8_avx2(&piece);
    }
}

static uint32_t top_of(__m256i a)
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
        } top = {top_of(m)};
        const bool finite = top.u < 0x7f800000u;
        const float d = finite ? top.f / 127.0f : 0.0f;
        const bool live = d >= FLT_MIN; /* below, 1/d overflows */
        const __m256 inv = _mm256_set1_ps(live ? 1.0f / d : 0.0f);
        for (int i = 0; i < 4; i++)
            v[i] = live ? _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), inv)) : _mm256_setzero_si256();
        /* The packs work within 128-bit halves; `order` puts the words back in sequence. */
        const __m256i p = _mm256_packs_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3]));
        _mm256_storeu_si256((__m256i *)(void *)q, _mm256_permutevar8x32_epi32(p, order));
        int low = 0, sum = 0;
        for (int i = 0; i < SD_QBLOCK / 2; i++) low += q[i], sum += q[SD_QBLOCK / 2 + i];
        sum += low;
        act[b].d = live ? d : finite ? 0.0f : NAN;
        act[b].ds = act[b].d * (float)sum;
        act[b].nsum = -sum;
        act[b].nlow = -low;
    }
}

void sd_kern_fill_avx2_q(sd_kern *k)
{
    k->tile_q8 = tile_q8_avx2;
    k->tile_qpack = tile_qpack_avx2;
    k->unpack_q = unpack_q_avx2;
    k->quantise = quantise_avx2;
}
