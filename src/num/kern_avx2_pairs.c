/* sd_kern_pairs for AVX2. */
#include "num/kern_pairs.h"

#include <immintrin.h>

/* Eight weights of a line of pairs: shifted, those of the even input; masked, those of the odd one. */
static inline __m256 half_of(__m256i pair, bool odd)
{
    return _mm256_castsi256_ps(odd ? _mm256_and_si256(pair, _mm256_set1_epi32((int)0xffff0000u)) : _mm256_slli_epi32(pair, 16));
}

static inline __attribute__((always_inline)) void pair_rows(const sd_tile *t, int col, const int mr, const int nv)
{
    float *y = t->y + col;
    const float *x = t->x;
    const uint32_t *w = (const uint32_t *)t->w + col;
    __m256 s[6][4];
    for (int i = 0; i < mr; i++)
        for (int j = 0; j < nv; j++) s[i][j] = t->carry ? _mm256_loadu_ps(y + i * t->ldy + 8 * j) : _mm256_setzero_ps();
    for (int64_t p = 0; p < t->k; p += 2, w += SD_PANEL) {
        const bool both = p + 1 < t->k;
        for (int j = 0; j < nv; j++) {
            const __m256i pair = _mm256_loadu_si256((const __m256i *)(const void *)(w + 8 * j));
            const __m256 even = half_of(pair, false), odd = half_of(pair, true);
            for (int i = 0; i < mr; i++) s[i][j] = _mm256_fmadd_ps(_mm256_broadcast_ss(x + i * t->ldx + p), even, s[i][j]);
            for (int i = 0; both && i < mr; i++) s[i][j] = _mm256_fmadd_ps(_mm256_broadcast_ss(x + i * t->ldx + p + 1), odd, s[i][j]);
        }
    }
    for (int i = 0; i < mr; i++)
        for (int j = 0; j < nv; j++) _mm256_storeu_ps(y + i * t->ldy + 8 * j, s[i][j]);
}

static void few_avx2(const sd_tile *t)
{
    switch (t->m) {
    case 6: pair_rows(t, 0, 6, 2), pair_rows(t, 16, 6, 2); break;
    case 5: pair_rows(t, 0, 5, 2), pair_rows(t, 16, 5, 2); break;
    case 4: pair_rows(t, 0, 4, 2), pair_rows(t, 16, 4, 2); break;
    case 3: pair_rows(t, 0, 3, 4); break;
    case 2: pair_rows(t, 0, 2, 4); break;
    case 1: pair_rows(t, 0, 1, 4); break;
    default: break;
    }
}

static inline __attribute__((always_inline)) void pair_panels(const sd_spread *t, const int n)
{
    const float *x = t->x;
    const uint32_t *w[SD_SPREAD];
    __m256 s[SD_SPREAD][4];
    for (int i = 0; i < n; i++) {
        w[i] = t->w[i];
        for (int j = 0; j < 4; j++) s[i][j] = _mm256_setzero_ps();
    }
    for (int64_t p = 0; p < t->k; p += 2) {
        const bool both = p + 1 < t->k;
        const __m256 a = _mm256_broadcast_ss(x + p), b = _mm256_broadcast_ss(x + p + both);
        for (int i = 0; i < n; i++)
            for (int j = 0; j < 4; j++) {
                const __m256i pair = _mm256_loadu_si256((const __m256i *)(const void *)(w[i] + p / 2 * SD_PANEL + 8 * j));
                s[i][j] = _mm256_fmadd_ps(a, half_of(pair, false), s[i][j]);
                if (both) s[i][j] = _mm256_fmadd_ps(b, half_of(pair, true), s[i][j]);
            }
    }
    for (int i = 0; i < n; i++)
        for (int j = 0; j < 4; j++) _mm256_storeu_ps(t->y[i] + 8 * j, s[i][j]);
}

static void spread_avx2(const sd_spread *t)
{
    SD_SPREAD_BY_N(pair_panels, t)
}

const sd_kern_pairs sd_kern_pairs_avx2 = {few_avx2, spread_avx2, sd_pairs__widen};
