/* sd_kern_ops for AVX2 with FMA and F16C. Scores and mixes are register tiles: 6 rows by 2 vectors of 8 sums, which
 * with two vectors of keys or values and one broadcast fill 15 of the 16 registers; up to 3 rows by 4 vectors. */
#include "num/kern_ops.h"

#include "num/kern_act_plain.h"
#include "num/kern_avx2_vec.h"
#include "num/kern_ops_plain.h"

#include <immintrin.h>
#include <string.h>

enum { W = 8, PANEL = 16 }; /* floats a vector; keys a panel */

/* exp(x) = 2^n exp(r), n = round(x log2 e), |r| <= ln2/2; the polynomial and the split of ln 2 are Cephes' expf
 * (Moshier). Operands are clamped to where f32 overflows or is zero; NaN passes through (max and min return their
 * second operand). 2^n is applied as two factors, since n reaches below the exponents of normal numbers. */
static inline __m256 exp_ps(__m256 x)
{
    x = _mm256_min_ps(_mm256_set1_ps(100.0f), _mm256_max_ps(_mm256_set1_ps(-110.0f), x));
    __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504088896341f)),
                               _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
    __m256 p = _mm256_set1_ps(1.9875691500e-4f);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.3981999507e-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(8.3334519073e-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(4.1665795894e-2f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.6666665459e-1f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(5.0000001201e-1f));
    p = _mm256_fmadd_ps(_mm256_mul_ps(p, r), r, r);
    p = _mm256_add_ps(p, _mm256_set1_ps(1.0f));
    __m256i i = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(i, 1), bias = _mm256_set1_epi32(127);
    __m256i a = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
    __m256i b = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(i, half), bias), 23);
    return _mm256_mul_ps(_mm256_mul_ps(p, _mm256_castsi256_ps(a)), _mm256_castsi256_ps(b));
}

/* Whole vectors are loaded and stored whole: a masked store takes a dozen cycles on AMD's CPUs. What is a tail's own is the mask only. */
static inline __m256 take(const float *p, int64_t n)
{
    return n >= W ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, live8(n));
}
static inline void put(float *p, int64_t n, __m256 v)
{
    if (n >= W)
        _mm256_storeu_ps(p, v);
    else
        _mm256_maskstore_ps(p, live8(n), v);
}

static void silu_mul(float *out, const float *g, const float *u, int64_t n)
{
    const __m256 one = _mm256_set1_ps(1.0f);
    for (int64_t i = 0; i < n; i += W) {
        __m256 a = take(g + i, n - i);
        __m256 e = exp_ps(_mm256_sub_ps(_mm256_setzero_ps(), a));
        __m256 s = _mm256_div_ps(a, _mm256_add_ps(one, e));
        put(out + i, n - i, _mm256_mul_ps(s, take(u + i, n - i)));
    }
}

/* The largest of x, NaN where there is one. */
static float largest(const float *x, int64_t n)
{
    const __m256 low = _mm256_set1_ps(-__builtin_inff());
    __m256 m = low, nan = _mm256_setzero_ps();
    for (int64_t i = 0; i < n; i += W) {
        __m256 a = take(x + i, n - i);
        if (n - i < W) a = _mm256_blendv_ps(low, a, _mm256_castsi256_ps(live8(n - i)));
        nan = _mm256_or_ps(nan, _mm256_cmp_ps(a, a, _CMP_UNORD_Q));
        m = _mm256_max_ps(m, a);
    }
    float lane[W], max = -__builtin_inff();
    _mm256_storeu_ps(lane, m);
    for (int i = 0; i < W; i++) max = lane[i] > max ? lane[i] : max;
    return _mm256_movemask_ps(nan) ? __builtin_nanf("") : max;
}

static void softmax(float *x, int64_t n)
{
    const __m256 max = _mm256_set1_ps(largest(x, n));
    __m256 sum = _mm256_setzero_ps();
    for (int64_t i = 0; i < n; i += W) {
        __m256 e = exp_ps(_mm256_sub_ps(take(x + i, n - i), max));
        put(x + i, n - i, e);
        if (n - i < W) e = _mm256_and_ps(e, _mm256_castsi256_ps(live8(n - i)));
        sum = _mm256_add_ps(sum, e);
    }
    const __m256 r = _mm256_set1_ps(1.0f / hsum8(sum));
    for (int64_t i = 0; i < n; i += W) put(x + i, n - i, _mm256_mul_ps(take(x + i, n - i), r));
}

static void to_f16(uint16_t *dst, const float *src, int64_t n)
{
    for (int64_t i = 0; i < n; i += W) {
        __m128i h = _mm256_cvtps_ph(take(src + i, n - i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        uint16_t lane[W];
        if (n - i >= W) {
            _mm_storeu_si128((__m128i *)(void *)(dst + i), h);
            continue;
        }
        _mm_storeu_si128((__m128i *)(void *)lane, h);
        memcpy(dst + i, lane, (size_t)(n - i) * sizeof *dst);
    }
}

/* Vector i of a typed array of which n elements are left from i. */
static inline __m256 load(const void *p, bool f16, int64_t i, int64_t n)
{
    if (!f16)
        return n >= W ? _mm256_loadu_ps((const float *)p + i) : _mm256_maskload_ps((const float *)p + i, live8(n));
    const uint16_t *h = (const uint16_t *)p + i;
    if (n >= W) return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)h));
    uint16_t part[W] = {0};
    memcpy(part, h, (size_t)n * sizeof *h);
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)part));
}

/* Up to this many rows (a decoded token's heads) tiles are twice as wide: else there are too few sums to keep the multipliers busy. */
enum { FEW = 3, NEAR = 64 /* rows of values whose columns a few rows go through in parts: 8 to 32 KB */ };

/* A decoded token's keys and values come from memory: asks for element i of a typed array, which may be past its end. */
static inline void fetch(const void *p, bool f16, int64_t i)
{
    _mm_prefetch((const char *)p + i * (f16 ? 2 : 4), _MM_HINT_T0);
}

/* Score tile: rows [r0, r0 + M) by P panels of 16 keys from p0 on. */
static inline __attribute__((always_inline)) void score_tile(int M, int P, bool f16, const sd_score_args *a, int64_t r0,
                                                             int64_t p0)
{
    const int64_t d = a->d, lds = a->lds;
    const float *q = a->q + r0 * d;
    const void *k = a->k;
    float *s = a->s + r0 * lds + p0 * PANEL;
    const __m256 scale = _mm256_set1_ps(a->scale);
    __m256 acc[SD_MIX_ROWS][4];
#pragma GCC unroll 6
    for (int r = 0; r < M; r++)
#pragma GCC unroll 4
        for (int j = 0; j < 2 * P; j++) acc[r][j] = _mm256_setzero_ps();
    for (int64_t c = 0; c < d; c++) {
        __m256 x[4];
#pragma GCC unroll 4
        for (int j = 0; j < 2 * P; j++) x[j] = load(k, f16, ((p0 + j / 2) * d + c) * PANEL + j % 2 * W, W);
        if (P == 2) fetch(k, f16, ((p0 + 2) * d + 2 * c) * PANEL), fetch(k, f16, ((p0 + 2) * d + 2 * c + 1) * PANEL);
#pragma GCC unroll 6
        for (int r = 0; r < M; r++) {
            __m256 b = _mm256_set1_ps(q[r * d + c]);
#pragma GCC unroll 4
            for (int j = 0; j < 2 * P; j++) acc[r][j] = _mm256_fmadd_ps(b, x[j], acc[r][j]);
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < M; r++)
#pragma GCC unroll 4
        for (int j = 0; j < 2 * P; j++) _mm256_storeu_ps(s + r * lds + j * W, _mm256_mul_ps(acc[r][j], scale));
}

/* Mix tile: M rows by V vectors of columns from c0; full: the last vector is whole. */
static inline __attribute__((always_inline)) void mix_tile(int M, int V, bool full, bool f16, const sd_mix_args *a,
                                                           int64_t c0)
{
    const int64_t d = a->d, n = a->n, ldp = a->ldp, left = full ? V * W : d - c0;
    const float *p = a->p;
    const void *v = a->v;
    float *o = a->o + c0;
    const __m256i last = live8(left - (V - 1) * W);
    __m256 acc[SD_MIX_ROWS][4];
#pragma GCC unroll 6
    for (int r = 0; r < M; r++)
#pragma GCC unroll 4
        for (int j = 0; j < V; j++) acc[r][j] = load(o, false, r * d + j * W, left - j * W);
    for (int64_t i = 0; i < n; i++) {
        __m256 x[4];
#pragma GCC unroll 4
        for (int j = 0; j < V; j++) x[j] = load(v, f16, i * d + c0 + j * W, left - j * W);
        if (V == 4) fetch(v, f16, (i + NEAR) * d + c0);
#pragma GCC unroll 6
        for (int r = 0; r < M; r++) {
            __m256 b = _mm256_set1_ps(p[r * ldp + i]);
#pragma GCC unroll 4
            for (int j = 0; j < V; j++) acc[r][j] = _mm256_fmadd_ps(b, x[j], acc[r][j]);
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < M; r++)
#pragma GCC unroll 4
        for (int j = 0; j < V; j++) {
            float *to = o + r * d + j * W;
            if (full || j + 1 < V)
                _mm256_storeu_ps(to, acc[r][j]);
            else
                _mm256_maskstore_ps(to, last, acc[r][j]);
        }
}

/* One function a (rows, type): the tile with its constants. A tail of columns takes one vector at a time. */
#define ALL(X) X(1, 0) X(2, 0) X(3, 0) X(4, 0) X(5, 0) X(6, 0) X(1, 1) X(2, 1) X(3, 1) X(4, 1) X(5, 1) X(6, 1)
typedef void score_fn(const sd_score_args *a, int64_t r0, int64_t p0);
typedef void mix_fn(const sd_mix_args *a);
#define DEFINE(M, H)                                                                                                   \
    static void score_##M##_##H(const sd_score_args *a, int64_t r0, int64_t p0)                                        \
    {                                                                                                                  \
        score_tile(M, 1, H, a, r0, p0);                                                                                \
    }                                                                                                                  \
    static void mix_##M##_##H(const sd_mix_args *a)                                                                    \
    {                                                                                                                  \
        int64_t c = 0;                                                                                                 \
        for (; M <= FEW && c + 4 * W <= a->d; c += 4 * W) mix_tile(M, 4, true, H, a, c);                               \
        for (; c + 2 * W <= a->d; c += 2 * W) mix_tile(M, 2, true, H, a, c);                                           \
        for (; c < a->d; c += W) mix_tile(M, 1, false, H, a, c);                                                       \
    }
ALL(DEFINE)
#define SCORE_ROW(M, H) [H][M - 1] = score_##M##_##H,
#define MIX_ROW(M, H)   [H][M - 1] = mix_##M##_##H,
#define FEW_ROWS(X) X(1, 0) X(2, 0) X(3, 0) X(1, 1) X(2, 1) X(3, 1)
#define DEFINE_FEW(M, H)                                                                                               \
    static void score_few_##M##_##H(const sd_score_args *a, int64_t r0, int64_t p0)                                    \
    {                                                                                                                  \
        score_tile(M, 2, H, a, r0, p0);                                                                                \
    }
FEW_ROWS(DEFINE_FEW)
#define SCORE_FEW_ROW(M, H) [H][M - 1] = score_few_##M##_##H,
static score_fn *const score_few_table[2][FEW] = {FEW_ROWS(SCORE_FEW_ROW)};
static score_fn *const score_table[2][SD_MIX_ROWS] = {ALL(SCORE_ROW)};
static mix_fn *const mix_table[2][SD_MIX_ROWS] = {ALL(MIX_ROW)};

static void scores(const sd_score_args *a)
{
    int64_t p = 0;
    for (; a->m <= FEW && p + 2 <= a->n_panel; p += 2) score_few_table[a->f16][a->m - 1](a, 0, p);
    /* A panel of keys (4 KB at a width of 64) stays in the first cache while all rows pass. */
    for (; p < a->n_panel; p++)
        for (int64_t r = 0; r < a->m; r += SD_MIX_ROWS) {
            int64_t mr = a->m - r < SD_MIX_ROWS ? a->m - r : SD_MIX_ROWS;
            score_table[a->f16][mr - 1](a, r, p);
        }
}

static void mix(const sd_mix_args *a)
{
    sd_mix_args part = *a;
    for (int64_t i = 0; i < a->n; i += part.n) {
        part.n = a->m <= FEW && a->n - i > NEAR ? NEAR : a->n - i;
        part.p = a->p + i;
        part.v = (const char *)a->v + i * a->d * (a->f16 ? 2 : 4);
        mix_table[a->f16][a->m - 1](&part);
    }
}

const sd_kern_ops sd_kern_ops_avx2 = {
    .rmsnorm = plain_rmsnorm,
    .silu_mul = silu_mul,
    .nonlin = plain_nonlin,
    .softcap = plain_softcap,
    .layernorm = plain_layernorm,
    .softmax = softmax,
    .add = plain_add,
    .to_f16 = to_f16,
    .to_q8 = plain_to_q8,
    .keys_q8 = plain_keys_q8,
    .values_q8 = plain_values_q8,
    .rope = plain_rope,
    .scores = scores,
    .mix = mix,
};
