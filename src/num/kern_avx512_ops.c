/* sd_kern_ops for AVX-512 F. Scores and mixes are register tiles: 6 rows by 4 vectors of 16 sums (24 chains hide the
 * four cycles of a multiply-add; 4 loads and 6 broadcasts a step of 24 keep the load ports half idle). */
#include "num/kern_ops.h"

#include "num/kern_act_plain.h"
#include "num/kern_avx512_soft.h"
#include "num/kern_ops_plain.h"

static void silu_mul(float *out, const float *g, const float *u, int64_t n)
{
    const __m512 one = _mm512_set1_ps(1.0f);
    for (int64_t i = 0; i < n; i += W) {
        __mmask16 k = tail_mask(n - i);
        __m512 a = _mm512_maskz_loadu_ps(k, g + i);
        __m512 e = exp_ps(_mm512_sub_ps(_mm512_setzero_ps(), a));
        __m512 s = _mm512_div_ps(a, _mm512_add_ps(one, e));
        _mm512_mask_storeu_ps(out + i, k, _mm512_mul_ps(s, _mm512_maskz_loadu_ps(k, u + i)));
    }
}

static void softmax(float *x, int64_t n)
{
    const __m512 r = _mm512_set1_ps(soft_exp(x, n));
    for (int64_t i = 0; i < n; i += W) {
        __mmask16 k = tail_mask(n - i);
        _mm512_mask_storeu_ps(x + i, k, _mm512_mul_ps(_mm512_maskz_loadu_ps(k, x + i), r));
    }
}

static void to_f16(uint16_t *dst, const float *src, int64_t n)
{
    for (int64_t i = 0; i < n; i += W) {
        __mmask16 k = tail_mask(n - i);
        __m256i h = _mm512_cvtps_ph(_mm512_maskz_loadu_ps(k, src + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        _mm256_mask_storeu_epi16(dst + i, k, h);
    }
}

/* Vector i of a typed array; the mask guards the end of the array. */
static inline __m512 load(const void *p, bool f16, int64_t i, __mmask16 k)
{
    if (f16) return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(k, (const uint16_t *)p + i));
    return _mm512_maskz_loadu_ps(k, (const float *)p + i);
}

/* Score tile: rows [r0, r0 + M) by panels [p0, p0 + P); M, P and f16 are constants after inlining. */
static inline __attribute__((always_inline)) void score_tile(int M, int P, bool f16, const sd_score_args *a, int64_t r0,
                                                             int64_t p0)
{
    const int64_t d = a->d, lds = a->lds;
    const float *q = a->q + r0 * d;
    const void *k = a->k;
    float *s = a->s + r0 * lds + p0 * W;
    const __m512 scale = _mm512_set1_ps(a->scale);
    __m512 acc[SD_MIX_ROWS][4];
#pragma GCC unroll 6
    for (int r = 0; r < M; r++)
#pragma GCC unroll 4
        for (int p = 0; p < P; p++) acc[r][p] = _mm512_setzero_ps();
    for (int64_t c = 0; c < d; c++) {
        __m512 kv[4];
#pragma GCC unroll 4
        for (int p = 0; p < P; p++) kv[p] = load(k, f16, ((p0 + p) * d + c) * W, 0xffff);
#pragma GCC unroll 6
        for (int r = 0; r < M; r++) {
            __m512 b = _mm512_set1_ps(q[r * d + c]);
#pragma GCC unroll 4
            for (int p = 0; p < P; p++) acc[r][p] = _mm512_fmadd_ps(b, kv[p], acc[r][p]);
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < M; r++)
#pragma GCC unroll 4
        for (int p = 0; p < P; p++) _mm512_storeu_ps(s + r * lds + p * W, _mm512_mul_ps(acc[r][p], scale));
}

/* Mix tile: M rows by V vectors of columns from c0; the mask is of the last vector. */
static inline __attribute__((always_inline)) void mix_tile(int M, int V, bool f16, const sd_mix_args *a, int64_t c0)
{
    const int64_t d = a->d, n = a->n, ldp = a->ldp;
    const float *p = a->p;
    const void *v = a->v;
    float *o = a->o + c0;
    const __mmask16 whole = 0xffff, last = tail_mask(d - c0 - (V - 1) * W);
    __m512 acc[SD_MIX_ROWS][4];
#pragma GCC unroll 6
    for (int r = 0; r < M; r++)
#pragma GCC unroll 4
        for (int j = 0; j < V; j++) acc[r][j] = load(o, false, r * d + j * W, j + 1 < V ? whole : last);
    for (int64_t i = 0; i < n; i++) {
        __m512 x[4];
#pragma GCC unroll 4
        for (int j = 0; j < V; j++) x[j] = load(v, f16, i * d + c0 + j * W, j + 1 < V ? whole : last);
#pragma GCC unroll 6
        for (int r = 0; r < M; r++) {
            __m512 b = _mm512_set1_ps(p[r * ldp + i]);
#pragma GCC unroll 4
            for (int j = 0; j < V; j++) acc[r][j] = _mm512_fmadd_ps(b, x[j], acc[r][j]);
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < M; r++)
#pragma GCC unroll 4
        for (int j = 0; j < V; j++) _mm512_mask_storeu_ps(o + r * d + j * W, j + 1 < V ? whole : last, acc[r][j]);
}

/* One function a (rows, vectors, type): the tile with its constants. */
#define ROWS(X, f16, V) X(1, V, f16) X(2, V, f16) X(3, V, f16) X(4, V, f16) X(5, V, f16) X(6, V, f16)
#define ALL(X)                                                                                                         \
    ROWS(X, 0, 1) ROWS(X, 0, 2) ROWS(X, 0, 3) ROWS(X, 0, 4) ROWS(X, 1, 1) ROWS(X, 1, 2) ROWS(X, 1, 3) ROWS(X, 1, 4)

typedef void score_fn(const sd_score_args *a, int64_t r0, int64_t p0);
typedef void mix_fn(const sd_mix_args *a, int64_t c0);
#define DEFINE(M, V, H)                                                                                                \
    static void score_##M##_##V##_##H(const sd_score_args *a, int64_t r0, int64_t p0)                                  \
    {                                                                                                                  \
        score_tile(M, V, H, a, r0, p0);                                                                                \
    }                                                                                                                  \
    static void mix_##M##_##V##_##H(const sd_mix_args *a, int64_t c0)                                                  \
    {                                                                                                                  \
        mix_tile(M, V, H, a, c0);                                                                                      \
    }
ALL(DEFINE)
#define SCORE_ROW(M, V, H) [H][V - 1][M - 1] = score_##M##_##V##_##H,
#define MIX_ROW(M, V, H)   [H][V - 1][M - 1] = mix_##M##_##V##_##H,
static score_fn *const score_table[2][4][SD_MIX_ROWS] = {ALL(SCORE_ROW)};
static mix_fn *const mix_table[2][4][SD_MIX_ROWS] = {ALL(MIX_ROW)};

static void scores(const sd_score_args *a)
{
    /* Four panels of keys (16 KB at a width of 64) stay in the first cache while all rows pass. */
    for (int64_t p = 0; p < a->n_panel; p += 4) {
        int64_t np = a->n_panel - p < 4 ? a->n_panel - p : 4;
        for (int64_t r = 0; r < a->m; r += SD_MIX_ROWS) {
            int64_t mr = a->m - r < SD_MIX_ROWS ? a->m - r : SD_MIX_ROWS;
            score_table[a->f16][np - 1][mr - 1](a, r, p);
        }
    }
}

static void mix(const sd_mix_args *a)
{
    for (int64_t c = 0; c < a->d; c += 4 * W) {
        int64_t nv = a->d - c < 4 * W ? (a->d - c + W - 1) / W : 4;
        mix_table[a->f16][nv - 1][a->m - 1](a, c);
    }
}

const sd_kern_ops sd_kern_ops_avx512 = {
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
