/* AVX2 of gather.h. Lanes and order are those of axpy_avx2 and dot_avx2 (kern_avx2.c). Rows come from L3 or memory; a row's lines are asked for
 * while the rows before it are added. */
#include "num/gather.h"
#include "num/kern_avx2_vec.h"
#include <immintrin.h>

enum { AHEAD = 4 };

static inline const float *row_at(const sd_gather *g, int64_t i) { return g->base + g->idx[i < g->n ? i : g->n - 1] * g->d; }

#define EACH8(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7)
#define LOAD(j) __m256 s##j = _mm256_loadu_ps(y + at + 8 * j);
#define ADD(j) s##j = _mm256_fmadd_ps(a, _mm256_loadu_ps(row + 8 * j), s##j);
#define STORE(j) _mm256_storeu_ps(y + at + 8 * j, s##j);

static inline void ask64(const float *at)
{
    for (int j = 0; j < 64; j += 16) _mm_prefetch((const char *)(at + j), _MM_HINT_T0);
}

void sd_gather_add_avx2(float *y, const sd_gather *g, const float *c)
{
    int64_t at = 0;
    for (; at + 64 <= g->d; at += 64) {
        EACH8(LOAD)
        for (int64_t i = 0; i < g->n; i++) {
            const __m256 a = _mm256_set1_ps(c[i]);
            const float *row = row_at(g, i) + at;
            ask64(row_at(g, i + AHEAD) + at);
            EACH8(ADD)
        }
        EACH8(STORE)
    }
    for (; at < g->d; at += 8) {
        const __m256i live = live8(g->d - at);
        __m256 s = _mm256_maskload_ps(y + at, live);
        for (int64_t i = 0; i < g->n; i++) s = _mm256_fmadd_ps(_mm256_set1_ps(c[i]), _mm256_maskload_ps(row_at(g, i) + at, live), s);
        _mm256_maskstore_ps(y + at, live, s);
    }
}

#define EACH2(M) M(0) M(1)
#define ZERO(r) __m256 a##r = _mm256_setzero_ps(), b##r = a##r, c##r = a##r, e##r = a##r; const float *w##r = row_at(g, i + r), *n##r = row_at(g, i + AHEAD + r);
#define FOUR(r) \
    a##r = _mm256_fmadd_ps(x0, _mm256_loadu_ps(w##r + at), a##r); \
    b##r = _mm256_fmadd_ps(x1, _mm256_loadu_ps(w##r + at + 8), b##r); \
    c##r = _mm256_fmadd_ps(x2, _mm256_loadu_ps(w##r + at + 16), c##r); \
    e##r = _mm256_fmadd_ps(x3, _mm256_loadu_ps(w##r + at + 24), e##r); \
    _mm_prefetch((const char *)(n##r + at), _MM_HINT_T0); \
    _mm_prefetch((const char *)(n##r + at + 16), _MM_HINT_T0);
#define ONE(r) a##r = _mm256_fmadd_ps(x0, _mm256_loadu_ps(w##r + at), a##r);
#define LAST(r) b##r = _mm256_fmadd_ps(x0, _mm256_maskload_ps(w##r + at, live), b##r);
#define SUM(r) if (i + r < g->n) out[i + r] = hsum8(_mm256_add_ps(_mm256_add_ps(a##r, b##r), _mm256_add_ps(c##r, e##r)));

void sd_gather_dot_avx2(float *out, const sd_gather *g, const float *x)
{
    for (int64_t i = 0; i < g->n; i += 2) { /* behind the last row the last again */
        int64_t at = 0;
        EACH2(ZERO)
        for (; at + 32 <= g->d; at += 32) {
            const __m256 x0 = _mm256_loadu_ps(x + at), x1 = _mm256_loadu_ps(x + at + 8), x2 = _mm256_loadu_ps(x + at + 16), x3 = _mm256_loadu_ps(x + at + 24);
            EACH2(FOUR)
        }
        for (; at + 8 <= g->d; at += 8) {
            const __m256 x0 = _mm256_loadu_ps(x + at);
            EACH2(ONE)
        }
        if (at < g->d) {
            const __m256i live = live8(g->d - at);
            const __m256 x0 = _mm256_maskload_ps(x + at, live);
            EACH2(LAST)
        }
        EACH2(SUM)
    }
}
