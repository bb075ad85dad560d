/* Products of bf16 as fused multiply-adds of halves widened to f32: the bits of VDPBF16PS where that instruction is the slower way
 * (SD_CPU_BF16_SLOW). A pair costs one AND, one shift and two multiply-adds a vector; the left side is widened once for all columns. */
#include "num/kern_avx512_widen.h"
#include "num/kern_ops.h" /* SD_MIX_ROWS */

#include "num/kern_avx512_soft.h"

#define UNROLLED static inline __attribute__((always_inline)) /* sizes are constants at every call */
#define APART    static __attribute__((noinline))

enum { TILE_ROWS = 12, CHUNK = 128 }; /* pairs of the left side that are widened at a time: 12 KB at most */

/* Pairs c of the right side: vector p lies at at + c * step + p * next; the last one has these lanes. */
typedef struct right { const uint32_t *at; int64_t step, next; __mmask16 last; } right;

/* VDPBF16PS takes subnormals for zero, in and out, and rounds to nearest; so does what is called until the way back. Tiles are functions of
 * their own, or the compiler, which knows nothing of MXCSR, could move their products past its changes. */
static unsigned flush_on(void)
{
    const unsigned old = _mm_getcsr();
    _mm_setcsr(_MM_MASK_MASK | _MM_FLUSH_ZERO_ON | _MM_DENORMALS_ZERO_ON);
    return old;
}

/* wide[2c], wide[2c + 1] = the even and the odd one of pair c. */
UNROLLED void widen(float *wide, const uint16_t *pairs, int64_t n)
{
    for (int64_t c = 0; c < n; c += W / 2) {
        const __mmask8 m = (__mmask8)(n - c < W / 2 ? (1u << (n - c)) - 1 : 0xffu);
        const __m256i two = _mm256_maskz_loadu_epi32(m, pairs + 2 * c);
        _mm512_storeu_ps(wide + 2 * c, _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(two), 16)));
    }
}

/* acc[r][p] += the products of pairs [c0, c0 + n) of M rows, whose widened pairs lie 2 CHUNK apart, with P vectors. */
UNROLLED void products(const int M, const int P, __m512 acc[][4], const float *wide, const right *b, int64_t c0, int64_t n)
{
    const __m512i high = _mm512_set1_epi32((int)0xffff0000u);
    for (int64_t c = 0; c < n; c++, wide += 2) {
        const uint32_t *at = b->at + (c0 + c) * b->step;
        __m512 v[4];
#pragma GCC unroll 4
        for (int p = 0; p < P; p++)
            v[p] = _mm512_castsi512_ps(_mm512_maskz_and_epi32(p + 1 < P ? 0xffff : b->last, _mm512_maskz_loadu_epi32(p + 1 < P ? 0xffff : b->last, at + p * b->next), high));
#pragma GCC unroll 12
        for (int r = 0; r < M; r++) {
            const __m512 x = _mm512_set1_ps(wide[r * 2 * CHUNK + 1]);
#pragma GCC unroll 4
            for (int p = 0; p < P; p++) acc[r][p] = _mm512_fmadd_ps(x, v[p], acc[r][p]);
        }
#pragma GCC unroll 4
        for (int p = 0; p < P; p++)
            v[p] = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_maskz_loadu_epi32(p + 1 < P ? 0xffff : b->last, at + p * b->next), 16));
#pragma GCC unroll 12
        for (int r = 0; r < M; r++) {
            const __m512 x = _mm512_set1_ps(wide[r * 2 * CHUNK]);
#pragma GCC unroll 4
            for (int p = 0; p < P; p++) acc[r][p] = _mm512_fmadd_ps(x, v[p], acc[r][p]);
        }
    }
}

/* The same of all n pairs of M rows that lie ld halves apart. */
UNROLLED void all_products(const int M, const int P, __m512 acc[][4], const uint16_t *rows, int64_t ld, const right *b, int64_t n)
{
    float wide[TILE_ROWS * 2 * CHUNK] __attribute__((aligned(64)));
    for (int64_t c0 = 0; c0 < n; c0 += CHUNK) {
        const int64_t some = n - c0 < CHUNK ? n - c0 : CHUNK;
        for (int r = 0; r < M; r++) widen(wide + r * 2 * CHUNK, rows + r * ld + 2 * c0, some);
        products(M, P, acc, wide, b, c0, some);
    }
}

/* ---- sd_kern.tile_bf16 ---- */

UNROLLED void tile_rows(const sd_tile *t, int64_t r0, const int M)
{
    float *y = t->y + r0 * t->ldy;
    const right b = {t->w, SD_PANEL, W, 0xffff};
    __m512 acc[TILE_ROWS][4];
#pragma GCC unroll 12
    for (int r = 0; r < M; r++)
#pragma GCC unroll 2
        for (int p = 0; p < 2; p++) acc[r][p] = t->carry ? _mm512_loadu_ps(y + r * t->ldy + W * p) : _mm512_setzero_ps();
    all_products(M, 2, acc, (const uint16_t *)t->x + r0 * t->ldx, t->ldx, &b, t->k / 2);
#pragma GCC unroll 12
    for (int r = 0; r < M; r++)
#pragma GCC unroll 2
        for (int p = 0; p < 2; p++) _mm512_storeu_ps(y + r * t->ldy + W * p, acc[r][p]);
}

#define TILE(M)                                      \
    APART void tile_##M(const sd_tile *t, int64_t r) \
    {                                                \
        tile_rows(t, r, M);                          \
    }
TILE(1) TILE(2) TILE(3) TILE(4) TILE(5) TILE(6) TILE(12)

void sd_widen_tile_bf16(const sd_tile *t)
{
    static void (*const rest[])(const sd_tile *, int64_t) = {NULL, tile_1, tile_2, tile_3, tile_4, tile_5};
    const unsigned old = flush_on();
    int64_t r = 0;
    for (; r + 12 <= t->m; r += 12) tile_12(t, r);
    for (; r + 6 <= t->m; r += 6) tile_6(t, r);
    if (r < t->m) rest[t->m - r](t, r);
    _mm_setcsr(old);
}

/* ---- sd_kern_half ---- */

UNROLLED void score_tile(const int M, const int P, const sd_half_scores *a, int64_t r0, int64_t p0)
{
    float *s = a->s + r0 * a->lds + p0 * W;
    const right b = {a->k + p0 * a->n_pair * W, W, a->n_pair * W, 0xffff};
    __m512 acc[SD_MIX_ROWS][4];
#pragma GCC unroll 6
    for (int r = 0; r < M; r++)
#pragma GCC unroll 4
        for (int p = 0; p < P; p++) acc[r][p] = _mm512_setzero_ps();
    all_products(M, P, acc, (const uint16_t *)(a->q + r0 * a->n_pair), 2 * a->n_pair, &b, a->n_pair);
#pragma GCC unroll 6
    for (int r = 0; r < M; r++)
#pragma GCC unroll 4
        for (int p = 0; p < P; p++) _mm512_storeu_ps(s + r * a->lds + p * W, acc[r][p]);
}

UNROLLED void mix_tile(const int M, const int V, const sd_half_mix *a, int64_t c0)
{
    float *o = a->o + c0;
    const right b = {a->v + c0, a->ldv, W, tail_mask(a->d - c0 - (V - 1) * W)};
    __m512 acc[SD_MIX_ROWS][4];
#pragma GCC unroll 6
    for (int r = 0; r < M; r++)
#pragma GCC unroll 4
        for (int p = 0; p < V; p++) acc[r][p] = _mm512_maskz_loadu_ps(p + 1 < V ? 0xffff : b.last, o + r * a->d + p * W);
    all_products(M, V, acc, (const uint16_t *)a->p, 2 * a->ldp, &b, a->n);
#pragma GCC unroll 6
    for (int r = 0; r < M; r++)
#pragma GCC unroll 4
        for (int p = 0; p < V; p++) _mm512_mask_storeu_ps(o + r * a->d + p * W, p + 1 < V ? 0xffff : b.last, acc[r][p]);
}

static void scale_rows(const sd_half_scores *a)
{
    for (int64_t r = 0; r < a->m; r++)
        for (float *s = a->s + r * a->lds, *end = s + a->n_panel * W; s < end; s += W) _mm512_storeu_ps(s, _mm512_mul_ps(_mm512_loadu_ps(s), _mm512_set1_ps(a->scale)));
}

#define ROWS(X, V) X(1, V) X(2, V) X(3, V) X(4, V) X(5, V) X(6, V)
#define ALL(X)     ROWS(X, 1) ROWS(X, 2) ROWS(X, 3) ROWS(X, 4)
#define DEFINE(M, V)                                                            \
    APART void score_##M##_##V(const sd_half_scores *a, int64_t r0, int64_t p0) \
    {                                                                           \
        score_tile(M, V, a, r0, p0);                                            \
    }                                                                           \
    APART void mix_##M##_##V(const sd_half_mix *a, int64_t c0)                  \
    {                                                                           \
        mix_tile(M, V, a, c0);                                                  \
    }
ALL(DEFINE)
#define SCORE_ROW(M, V) [V - 1][M - 1] = score_##M##_##V,
#define MIX_ROW(M, V)   [V - 1][M - 1] = mix_##M##_##V,
static void (*const score_table[4][SD_MIX_ROWS])(const sd_half_scores *, int64_t, int64_t) = {ALL(SCORE_ROW)};
static void (*const mix_table[4][SD_MIX_ROWS])(const sd_half_mix *, int64_t) = {ALL(MIX_ROW)};

void sd_widen_scores(const sd_half_scores *a)
{
    const unsigned old = flush_on();
    for (int64_t p = 0; p < a->n_panel; p += 4) {
        const int64_t np = a->n_panel - p < 4 ? a->n_panel - p : 4;
        for (int64_t r = 0; r < a->m; r += SD_MIX_ROWS) score_table[np - 1][(a->m - r < SD_MIX_ROWS ? a->m - r : SD_MIX_ROWS) - 1](a, r, p);
    }
    _mm_setcsr(old);
    scale_rows(a);
}

void sd_widen_mix(const sd_half_mix *a)
{
    const unsigned old = flush_on();
    for (int64_t c = 0; c < a->d; c += 4 * W) mix_table[(a->d - c < 4 * W ? (a->d - c + W - 1) / W : 4) - 1][a->m - 1](a, c);
    _mm_setcsr(old);
}
