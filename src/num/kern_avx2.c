/* AVX2 + FMA. The f32 tile holds 6 x 16 sums in 12 of 16 registers. */
#include "num/kern.h"
#include <immintrin.h>

static float hsum(__m256 v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

/* Loads n < 8 floats, zero above. */
static inline __m256i mask8(int64_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static float dot_avx2(const float *a, const float *b, int64_t n)
{
    __m256 s[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
    int64_t i = 0;
    for (; i + 32 <= n; i += 32)
        for (int j = 0; j < 4; j++)
            s[j] = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 8 * j), _mm256_loadu_ps(b + i + 8 * j), s[j]);
    for (; i + 8 <= n; i += 8) s[0] = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), s[0]);
    if (i < n) {
        const __m256i m = mask8(n - i);
        s[1] = _mm256_fmadd_ps(_mm256_maskload_ps(a + i, m), _mm256_maskload_ps(b + i, m), s[1]);
    }
    return hsum(_mm256_add_ps(_mm256_add_ps(s[0], s[1]), _mm256_add_ps(s[2], s[3])));
}

static void axpy_avx2(float *y, float a, const float *x, int64_t n)
{
    const __m256 va = _mm256_set1_ps(a);
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(y + i, _mm256_fmadd_ps(va, _mm256_loadu_ps(x + i), _mm256_loadu_ps(y + i)));
    if (i < n) {
        const __m256i m = mask8(n - i);
        _mm256_maskstore_ps(y + i, m, _mm256_fmadd_ps(va, _mm256_maskload_ps(x + i, m), _mm256_maskload_ps(y + i, m)));
    }
}

/* mr rows x 16 outputs; mr is a constant at every call, so the loops unroll and s stays in registers. */
static inline __attribute__((always_inline)) void f32_rows(const sd_tile *t, int64_t row, int col, const int mr)
{
    float *y = t->y + row * t->ldy + col;
    const float *x = (const float *)t->x + row * t->ldx, *w = (const float *)t->w + col;
    __m256 s[6][2];
    for (int i = 0; i < mr; i++)
        for (int j = 0; j < 2; j++) s[i][j] = t->carry ? _mm256_loadu_ps(y + i * t->ldy + 8 * j) : _mm256_setzero_ps();
    for (int64_t p = 0; p < t->k; p++, w += SD_PANEL) {
        const __m256 w0 = _mm256_loadu_ps(w), w1 = _mm256_loadu_ps(w + 8);
        for (int i = 0; i < mr; i++) {
            const __m256 a = _mm256_broadcast_ss(x + i * t->ldx + p);
            s[i][0] = _mm256_fmadd_ps(a, w0, s[i][0]);
            s[i][1] = _mm256_fmadd_ps(a, w1, s[i][1]);
        }
    }
    for (int i = 0; i < mr; i++)
        for (int j = 0; j < 2; j++) _mm256_storeu_ps(y + i * t->ldy + 8 * j, s[i][j]);
}

static void tile_f32_avx2(const sd_tile *t)
{
    int64_t r = 0;
    for (; r + 6 <= t->m; r += 6)
        for (int c = 0; c < SD_PANEL; c += 16) f32_rows(t, r, c, 6);
    for (int c = 0; c < SD_PANEL; c += 16) switch (t->m - r) {
        case 5:
            f32_rows(t, r, c, 5);
            break;
        case 4:
            f32_rows(t, r, c, 4);
            break;
        case 3:
            f32_rows(t, r, c, 3);
            break;
        case 2:
            f32_rows(t, r, c, 2);
            break;
        case 1:
            f32_rows(t, r, c, 1);
            break;
        default:
            break;
        }
}

void sd_kern_fill_avx2(sd_kern *k, uint32_t cpu_flags)
{
    k->cpu_flags = cpu_flags;
    k->dot = dot_avx2;
    k->axpy = axpy_avx2;
    k->tile_f32 = tile_f32_avx2;
    sd_kern_fill_avx2_q(k);
}
