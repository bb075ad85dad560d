/* AVX-512 of gather.h. Lanes and order are those of axpy_avx512 and dot_avx512 (kern_avx512.c). */
#include "num/gather.h"
#include <immintrin.h>

enum { AHEAD = 4 }; /* rows asked for in advance; they come from L3 or memory */

#define EACH8(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7)
#define LOAD(j) __m512 s##j = _mm512_loadu_ps(y + at + 16 * j);
#define ASK(j) _mm_prefetch((const char *)(next + 16 * j), _MM_HINT_T0);
#define ADD(j) s##j = _mm512_fmadd_ps(a, _mm512_loadu_ps(row + 16 * j), s##j);
#define STORE(j) _mm512_storeu_ps(y + at + 16 * j, s##j);

static inline const float *row_at(const sd_gather *g, int64_t i) { return g->base + g->idx[i < g->n ? i : g->n - 1] * g->d; }

void sd_gather_add_avx512(float *y, const sd_gather *g, const float *c)
{
    int64_t at = 0;
    for (; at + 128 <= g->d; at += 128) {
        EACH8(LOAD)
        for (int64_t i = 0; i < g->n; i++) {
            const __m512 a = _mm512_set1_ps(c[i]);
            const float *row = row_at(g, i) + at, *next = row_at(g, i + AHEAD) + at;
            EACH8(ASK)
            EACH8(ADD)
        }
        EACH8(STORE)
    }
    for (; at < g->d; at += 16) {
        const __mmask16 live = (__mmask16)(g->d - at >= 16 ? 0xffffu : (1u << (g->d - at)) - 1);
        __m512 s = _mm512_maskz_loadu_ps(live, y + at);
        for (int64_t i = 0; i < g->n; i++) s = _mm512_fmadd_ps(_mm512_set1_ps(c[i]), _mm512_maskz_loadu_ps(live, row_at(g, i) + at), s);
        _mm512_mask_storeu_ps(y + at, live, s);
    }
}

#define EACH4(M) M(0) M(1) M(2) M(3)
#define ZERO(r) __m512 a##r = _mm512_setzero_ps(), b##r = a##r, c##r = a##r, e##r = a##r; const float *w##r = row_at(g, i + r), *n##r = row_at(g, i + 4 + r);
#define FOUR(r) \
    a##r = _mm512_fmadd_ps(x0, _mm512_loadu_ps(w##r + at), a##r); \
    b##r = _mm512_fmadd_ps(x1, _mm512_loadu_ps(w##r + at + 16), b##r); \
    c##r = _mm512_fmadd_ps(x2, _mm512_loadu_ps(w##r + at + 32), c##r); \
    e##r = _mm512_fmadd_ps(x3, _mm512_loadu_ps(w##r + at + 48), e##r); \
    _mm_prefetch((const char *)(n##r + at), _MM_HINT_T0); \
    _mm_prefetch((const char *)(n##r + at + 16), _MM_HINT_T0); \
    _mm_prefetch((const char *)(n##r + at + 32), _MM_HINT_T0); \
    _mm_prefetch((const char *)(n##r + at + 48), _MM_HINT_T0);
#define ONE(r) a##r = _mm512_fmadd_ps(x0, _mm512_loadu_ps(w##r + at), a##r);
#define LAST(r) b##r = _mm512_fmadd_ps(x0, _mm512_maskz_loadu_ps(live, w##r + at), b##r);
#define SUM(r) if (i + r < g->n) out[i + r] = _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(a##r, b##r), _mm512_add_ps(c##r, e##r)));

void sd_gather_dot_avx512(float *out, const sd_gather *g, const float *x)
{
    for (int64_t i = 0; i < g->n; i += 4) { /* behind the last row the last again */
        int64_t at = 0;
        EACH4(ZERO)
        for (; at + 64 <= g->d; at += 64) {
            const __m512 x0 = _mm512_loadu_ps(x + at), x1 = _mm512_loadu_ps(x + at + 16), x2 = _mm512_loadu_ps(x + at + 32), x3 = _mm512_loadu_ps(x + at + 48);
            EACH4(FOUR)
        }
        for (; at + 16 <= g->d; at += 16) {
            const __m512 x0 = _mm512_loadu_ps(x + at);
            EACH4(ONE)
        }
        if (at < g->d) {
            const __mmask16 live = (__mmask16)((1u << (g->d - at)) - 1);
            const __m512 x0 = _mm512_maskz_loadu_ps(live, x + at);
            EACH4(LAST)
        }
        EACH4(SUM)
    }
}
