/* sd_kern_half with VDPBF16PS: register tiles of 6 rows by 4 vectors of 16 sums, as in kern_avx512_ops.c, two inputs a step. */
#include "num/kern_half.h"

#include "num/kern_avx512_soft.h"
#include "num/kern_avx512_widen.h"
#include "num/kern_ops.h" /* SD_MIX_ROWS */

/* Of src times r. */
static inline __attribute__((always_inline)) void round_row(uint32_t *dst, const float *src, int64_t n, float r)
{
    const __m512 by = _mm512_set1_ps(r);
    for (int64_t i = 0; i < n; i += 2 * W) {
        __m512 lo = _mm512_maskz_loadu_ps(tail_mask(n - i), src + i), hi = _mm512_setzero_ps();
        if (n - i > W) hi = _mm512_maskz_loadu_ps(tail_mask(n - i - W), src + i + W);
        if (r != 1.0f) lo = _mm512_mul_ps(lo, by), hi = _mm512_mul_ps(hi, by);
        _mm512_mask_storeu_epi32(dst + i / 2, tail_mask((n - i + 1) / 2), (__m512i)_mm512_cvtne2ps_pbh(hi, lo));
    }
}

static void row(uint32_t *dst, const float *src, int64_t n)
{
    round_row(dst, src, n, 1.0f);
}

static void softmax(uint32_t *dst, float *x, int64_t n)
{
    round_row(dst, x, n, soft_exp(x, n));
}

static void pair(uint32_t *dst, const float *even, const float *odd, int64_t n)
{
    for (int64_t i = 0; i < n; i += W) {
        const __mmask16 m = tail_mask(n - i);
        const __m512i lo = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(m, even + i)));
        const __m512i hi = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(m, odd + i)));
        _mm512_mask_storeu_epi32(dst + i, m, _mm512_or_si512(lo, _mm512_slli_epi32(hi, 16)));
    }
}

/* Score tile: rows [r0, r0 + M) by panels [p0, p0 + P); M and P are constants after inlining. */
static inline __attribute__((always_inline)) void score_tile(int M, int P, const sd_half_scores *a, int64_t r0, int64_t p0)
{
    const int64_t n = a->n_pair, lds = a->lds;
    const uint32_t *q = a->q + r0 * n, *k = a->k + p0 * n * W;
    float *s = a->s + r0 * lds + p0 * W;
    const __m512 scale = _mm512_set1_ps(a->scale);
    __m512 acc[SD_MIX_ROWS][4];
#pragma GCC unroll 6
    for (int r = 0; r < M; r++)
#pragma GCC unroll 4
        for (int p = 0; p < P; p++) acc[r][p] = _mm512_setzero_ps();
    for (int64_t c = 0; c < n; c++) {
        __m512bh kv[4];
#pragma GCC unroll 4
        for (int p = 0; p < P; p++) kv[p] = (__m512bh)_mm512_loadu_si512(k + (p * n + c) * W);
#pragma GCC unroll 6
        for (int r = 0; r < M; r++) {
            const __m512bh b = (__m512bh)_mm512_set1_epi32((int)q[r * n + c]);
#pragma GCC unroll 4
            for (int p = 0; p < P; p++) acc[r][p] = _mm512_dpbf16_ps(acc[r][p], b, kv[p]);
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < M; r++)
#pragma GCC unroll 4
        for (int p = 0; p < P; p++) _mm512_storeu_ps(s + r * lds + p * W, _mm512_mul_ps(acc[r][p], scale));
}

/* Mix tile: M rows by V vectors of columns from c0; the mask is of the last vector. */
static inline __attribute__((always_inline)) void mix_tile(int M, int V, const sd_half_mix *a, int64_t c0)
{
    const int64_t d = a->d, n = a->n, ldp = a->ldp, ldv = a->ldv;
    const uint32_t *p = a->p, *v = a->v + c0;
    float *o = a->o + c0;
    const __mmask16 whole = 0xffff, last = tail_mask(d - c0 - (V - 1) * W);
    __m512 acc[SD_MIX_ROWS][4];
#pragma GCC unroll 6
    for (int r = 0; r < M; r++)
#pragma GCC unroll 4
        for (int j = 0; j < V; j++) acc[r][j] = _mm512_maskz_loadu_ps(j + 1 < V ? whole : last, o + r * d + j * W);
    for (int64_t i = 0; i < n; i++) {
        __m512bh x[4];
#pragma GCC unroll 4
        for (int j = 0; j < V; j++) x[j] = (__m512bh)_mm512_maskz_loadu_epi32(j + 1 < V ? whole : last, v + i * ldv + j * W);
#pragma GCC unroll 6
        for (int r = 0; r < M; r++) {
            const __m512bh b = (__m512bh)_mm512_set1_epi32((int)p[r * ldp + i]);
#pragma GCC unroll 4
            for (int j = 0; j < V; j++) acc[r][j] = _mm512_dpbf16_ps(acc[r][j], b, x[j]);
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < M; r++)
#pragma GCC unroll 4
        for (int j = 0; j < V; j++) _mm512_mask_storeu_ps(o + r * d + j * W, j + 1 < V ? whole : last, acc[r][j]);
}

/* One function a (rows, vectors): the tile with its constants. */
#define ROWS(X, V) X(1, V) X(2, V) X(3, V) X(4, V) X(5, V) X(6, V)
#define ALL(X)     ROWS(X, 1) ROWS(X, 2) ROWS(X, 3) ROWS(X, 4)

typedef void score_fn(const sd_half_scores *a, int64_t r0, int64_t p0);
typedef void mix_fn(const sd_half_mix *a, int64_t c0);
#define DEFINE(M, V)                                                            \
    static void score_##M##_##V(const sd_half_scores *a, int64_t r0, int64_t p0) \
    {                                                                           \
        score_tile(M, V, a, r0, p0);                                            \
    }                                                                           \
    static void mix_##M##_##V(const sd_half_mix *a, int64_t c0)                 \
    {                                                                           \
        mix_tile(M, V, a, c0);                                                  \
    }
ALL(DEFINE)
#define SCORE_ROW(M, V) [V - 1][M - 1] = score_##M##_##V,
#define MIX_ROW(M, V)   [V - 1][M - 1] = mix_##M##_##V,
static score_fn *const score_table[4][SD_MIX_ROWS] = {ALL(SCORE_ROW)};
static mix_fn *const mix_table[4][SD_MIX_ROWS] = {ALL(MIX_ROW)};

static void scores(const sd_half_scores *a)
{
    for (int64_t p = 0; p < a->n_panel; p += 4) {
        const int64_t np = a->n_panel - p < 4 ? a->n_panel - p : 4;
        for (int64_t r = 0; r < a->m; r += SD_MIX_ROWS) {
            const int64_t mr = a->m - r < SD_MIX_ROWS ? a->m - r : SD_MIX_ROWS;
            score_table[np - 1][mr - 1](a, r, p);
        }
    }
}

static void mix(const sd_half_mix *a)
{
    for (int64_t c = 0; c < a->d; c += 4 * W) {
        const int64_t nv = a->d - c < 4 * W ? (a->d - c + W - 1) / W : 4;
        mix_table[nv - 1][a->m - 1](a, c);
    }
}

const sd_kern_half sd_kern_half_avx512 = {row, softmax, pair, scores, mix};
const sd_kern_half sd_kern_half_widen = {row, softmax, pair, sd_widen_scores, sd_widen_mix};
