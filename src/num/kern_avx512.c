/* AVX-512 (F, BW, DQ, VL). The f32 tile holds 12 x 32 sums in 24 of 32 registers. */
#include "num/kern.h"
#include <immintrin.h>

static float dot_avx512(const float *a, const float *b, int64_t n)
{
    __m512 s[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
    int64_t i = 0;
    for (; i + 64 <= n; i += 64)
        for (int j = 0; j < 4; j++)
            s[j] = _mm512_fmadd_ps(_mm512_loadu_ps(a + i + 16 * j), _mm512_loadu_ps(b + i + 16 * j), s[j]);
    for (; i + 16 <= n; i += 16) s[0] = _mm512_fmadd_ps(_mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i), s[0]);
    if (i < n) {
        const __mmask16 m = (__mmask16)((1u << (n - i)) - 1);
        s[1] = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(m, a + i), _mm512_maskz_loadu_ps(m, b + i), s[1]);
    }
    return _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(s[0], s[1]), _mm512_add_ps(s[2], s[3])));
}

static void axpy_avx512(float *y, float a, const float *x, int64_t n)
{
    const __m512 va = _mm512_set1_ps(a);
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        _mm512_storeu_ps(y + i, _mm512_fmadd_ps(va, _mm512_loadu_ps(x + i), _mm512_loadu_ps(y + i)));
    if (i < n) {
        const __mmask16 m = (__mmask16)((1u << (n - i)) - 1);
        _mm512_mask_storeu_ps(y + i, m,
                              _mm512_fmadd_ps(va, _mm512_maskz_loadu_ps(m, x + i), _mm512_maskz_loadu_ps(m, y + i)));
    }
}

/* mr rows x 32 outputs; mr is a constant at every call, so the loops unroll and s stays in registers. */
static inline __attribute__((always_inline)) void f32_rows(const sd_tile *t, int64_t row, const int mr)
{
    float *y = t->y + row * t->ldy;
    const float *x = (const float *)t->x + row * t->ldx, *w = t->w;
    __m512 s[12][2];
    for (int i = 0; i < mr; i++)
        for (int j = 0; j < 2; j++) s[i][j] = t->carry ? _mm512_loadu_ps(y + i * t->ldy + 16 * j) : _mm512_setzero_ps();
    for (int64_t p = 0; p < t->k; p++, w += SD_PANEL) {
        const __m512 w0 = _mm512_loadu_ps(w), w1 = _mm512_loadu_ps(w + 16);
        for (int i = 0; i < mr; i++) {
            const __m512 a = _mm512_set1_ps(x[i * t->ldx + p]);
            s[i][0] = _mm512_fmadd_ps(a, w0, s[i][0]);
            s[i][1] = _mm512_fmadd_ps(a, w1, s[i][1]);
        }
    }
    for (int i = 0; i < mr; i++)
        for (int j = 0; j < 2; j++) _mm512_storeu_ps(y + i * t->ldy + 16 * j, s[i][j]);
}

static void tile_f32_avx512(const sd_tile *t)
{
    int64_t r = 0;
    for (; r + 12 <= t->m; r += 12) f32_rows(t, r, 12);
    for (; r + 6 <= t->m; r += 6) f32_rows(t, r, 6);
    switch (t->m - r) {
    case 5:
        f32_rows(t, r, 5);
        break;
    case 4:
        f32_rows(t, r, 4);
        break;
    case 3:
        f32_rows(t, r, 3);
        break;
    case 2:
        f32_rows(t, r, 2);
        break;
    case 1:
        f32_rows(t, r, 1);
        break;
    default:
        break;
    }
}

void sd_kern_fill_avx512(sd_kern *k, uint32_t cpu_flags)
{
    k->cpu_flags = cpu_flags;
    k->dot = dot_avx512;
    k->axpy = axpy_avx512;
    k->tile_f32 = tile_f32_avx512;
    sd_kern_fill_avx512_q(k, cpu_flags);
}
