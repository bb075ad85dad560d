/* Products in whole numbers of 13 bits (kern_i16.h): the tile holds 6 x 16 sums in 12 of 16 registers. */
#include "num/kern_i16.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

/* Magnitudes in bits: they grow as the floats do, NaN and infinity above all. */
enum { MAGNITUDE = 0x7fffffff, NOT_FINITE = 0x7f800000 };

typedef struct grid { float scale, up; } grid;

static inline grid grid_of(uint32_t top)
{
    float max;
    memcpy(&max, &top, sizeof max);
    if (top >= NOT_FINITE) return (grid){NAN, 0.0f};
    if (max < SD_I16_LEAST) return (grid){0.0f, 0.0f};
    return (grid){max / (float)SD_I16_TOP, (float)SD_I16_TOP / max};
}

static inline __m256i whole(const float *x, __m256 up)
{
    return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x), up));
}

static inline __m256i magnitude(const float *x)
{
    return _mm256_and_si256(_mm256_loadu_si256((const __m256i *)(const void *)x), _mm256_set1_epi32(MAGNITUDE));
}

/* A whole block of one row. What is not finite becomes some number: its scale is NaN. */
static void row_block(int16_t *q, float *scale, const float *x)
{
    __m256i top = _mm256_setzero_si256();
    uint32_t lane[8], most = 0;
    for (int i = 0; i < SD_I16_BLOCK; i += 8) top = _mm256_max_epi32(top, magnitude(x + i));
    _mm256_storeu_si256((__m256i *)(void *)lane, top);
    for (int i = 0; i < 8; i++) most = lane[i] > most ? lane[i] : most;
    const grid g = grid_of(most);
    const __m256 up = _mm256_set1_ps(g.up);
    for (int i = 0; i < SD_I16_BLOCK; i += 16) {
        const __m256i both = _mm256_packs_epi32(whole(x + i, up), whole(x + i + 8, up)); /* by halves: 0-3 8-11 4-7 12-15 */
        _mm256_storeu_si256((__m256i *)(void *)(q + i), _mm256_permute4x64_epi64(both, 0xd8));
    }
    *scale = g.scale;
}

static void row_avx2(int16_t *q, float *scale, const float *x, int64_t n)
{
    const int64_t full = n / SD_I16_BLOCK * SD_I16_BLOCK, rest = n - full;
    for (int64_t k0 = 0; k0 < full; k0 += SD_I16_BLOCK) row_block(q + k0, scale++, x + k0);
    if (!rest) return;
    float last[SD_I16_BLOCK] = {0};
    int16_t own[SD_I16_BLOCK];
    memcpy(last, x + full, (size_t)rest * sizeof *x);
    row_block(own, scale, last);
    memcpy(q + full, own, (size_t)(rest + (rest & 1)) * sizeof *q);
}

/* Eight columns of one block of k inputs. */
static inline void panel_block(uint32_t *w, float *scale, const float *from, int64_t k)
{
    static const float none[8];
    __m256i top = _mm256_setzero_si256();
    uint32_t most[8];
    float up[8];
    for (int64_t i = 0; i < k; i++) top = _mm256_max_epi32(top, magnitude(from + i * SD_PANEL));
    _mm256_storeu_si256((__m256i *)(void *)most, top);
    for (int j = 0; j < 8; j++) {
        const grid g = grid_of(most[j]);
        scale[j] = g.scale, up[j] = g.up;
    }
    const __m256 by = _mm256_loadu_ps(up);
    for (int64_t i = 0; i < k; i += 2, from += 2 * SD_PANEL, w += SD_PANEL) {
        const __m256i even = whole(from, by), odd = whole(i + 1 < k ? from + SD_PANEL : none, by);
        _mm256_storeu_si256((__m256i *)(void *)w, _mm256_blend_epi16(even, _mm256_slli_epi32(odd, 16), 0xaa));
    }
}

static void panel_avx2(uint32_t *w, float *scale, const float *from, int64_t k)
{
    for (int64_t k0 = 0; k0 < k; k0 += SD_I16_BLOCK, scale += SD_PANEL) {
        const int64_t n = k - k0 < SD_I16_BLOCK ? k - k0 : SD_I16_BLOCK;
        for (int j = 0; j < SD_PANEL; j += 8) panel_block(w + k0 / 2 * SD_PANEL + j, scale + j, from + k0 * SD_PANEL + j, n);
    }
}

/* s += the products of a's pairs with w's. Written out because the compiler, left alone, keeps sums in memory. */
static inline __attribute__((always_inline)) void add_pairs(__m256i *s, __m256i a, __m256i w)
{
    __m256i product;
    __asm__("vpmaddwd %2, %3, %1\n\tvpaddd %1, %0, %0" : "+x"(*s), "=&x"(product) : "x"(w), "x"(a));
}

/* One block of mr rows x 8 nv outputs; mr and nv are constants at every call. */
static inline __attribute__((always_inline)) void block_rows(const sd_itile *t, int64_t row, int col, const int mr, const int nv)
{
    const int16_t *x = t->x + row * t->ldx;
    const uint32_t *w = t->w + col;
    float *y = t->y + row * t->ldy + col;
    __m256i s[6][4];
    for (int i = 0; i < mr; i++)
        for (int j = 0; j < nv; j++) s[i][j] = _mm256_setzero_si256();
    for (int64_t p = 0; p < t->k; p += 2, w += SD_PANEL) {
        __m256i v[4];
        for (int j = 0; j < nv; j++) v[j] = _mm256_loadu_si256((const __m256i *)(const void *)(w + 8 * j));
        for (int i = 0; i < mr; i++) {
            int32_t pair;
            memcpy(&pair, x + i * t->ldx + p, sizeof pair);
            const __m256i a = _mm256_set1_epi32(pair);
            for (int j = 0; j < nv; j++) add_pairs(&s[i][j], a, v[j]);
        }
    }
    for (int i = 0; i < mr; i++) {
        const __m256 sx = _mm256_broadcast_ss(t->sx + (row + i) * t->ldsx);
        for (int j = 0; j < nv; j++) {
            float *to = y + i * t->ldy + 8 * j;
            const __m256 old = t->carry ? _mm256_loadu_ps(to) : _mm256_setzero_ps();
            const __m256 scale = _mm256_mul_ps(sx, _mm256_loadu_ps(t->sw + col + 8 * j));
            _mm256_storeu_ps(to, _mm256_fmadd_ps(_mm256_cvtepi32_ps(s[i][j]), scale, old));
        }
    }
}

static void one_block(const sd_itile *t)
{
    int64_t r = 0;
    for (; r + 6 <= t->m; r += 6) {
        block_rows(t, r, 0, 6, 2);
        if (!t->narrow) block_rows(t, r, 16, 6, 2);
    }
    switch (t->m - r) {
    case 5: block_rows(t, r, 0, 5, 2), block_rows(t, r, 16, 5, 2); break;
    case 4: block_rows(t, r, 0, 4, 2), block_rows(t, r, 16, 4, 2); break;
    case 3: block_rows(t, r, 0, 3, 2), block_rows(t, r, 16, 3, 2); break;
    case 2: block_rows(t, r, 0, 2, 4); break;
    case 1: block_rows(t, r, 0, 1, 4); break;
    default: break;
    }
}

static void tile_avx2(const sd_itile *t)
{
    sd_itile q = *t;
    for (int64_t left = t->k; left > 0; left -= q.k) {
        q.k = left < SD_I16_BLOCK ? left : SD_I16_BLOCK;
        one_block(&q);
        q.x += q.k, q.sx++;
        q.w += q.k / 2 * SD_PANEL, q.sw += SD_PANEL;
        q.carry = true;
    }
}

static inline __attribute__((always_inline)) void spread_panels(const sd_spread *t, const int n)
{
    const int16_t *x = t->x;
    const float *sx = t->act, *sw[SD_SPREAD];
    const uint32_t *w[SD_SPREAD];
    for (int i = 0; i < n; i++) {
        w[i] = t->w[i], sw[i] = (const float *)(const void *)(w[i] + t->k / 2 * SD_PANEL);
        for (int j = 0; j < SD_PANEL; j++) t->y[i][j] = 0.0f;
    }
    for (int64_t k0 = 0; k0 < t->k; k0 += SD_I16_BLOCK, sx++) {
        const int64_t end = t->k - k0 < SD_I16_BLOCK ? t->k : k0 + SD_I16_BLOCK;
        __m256i s[SD_SPREAD][4];
        for (int i = 0; i < n; i++)
            for (int j = 0; j < 4; j++) s[i][j] = _mm256_setzero_si256();
        for (int64_t p = k0; p < end; p += 2) {
            int32_t pair;
            memcpy(&pair, x + p, sizeof pair);
            const __m256i a = _mm256_set1_epi32(pair);
            for (int i = 0; i < n; i++)
                for (int j = 0; j < 4; j++) add_pairs(&s[i][j], a, _mm256_loadu_si256((const __m256i *)(const void *)(w[i] + p / 2 * SD_PANEL + 8 * j)));
        }
        for (int i = 0; i < n; i++, sw[i - 1] += SD_PANEL)
            for (int j = 0; j < 4; j++) {
                float *to = t->y[i] + 8 * j;
                const __m256 scale = _mm256_mul_ps(_mm256_broadcast_ss(sx), _mm256_loadu_ps(sw[i] + 8 * j));
                _mm256_storeu_ps(to, _mm256_fmadd_ps(_mm256_cvtepi32_ps(s[i][j]), scale, _mm256_loadu_ps(to)));
            }
    }
}

static void spread_avx2(const sd_spread *t)
{
    SD_SPREAD_BY_N(spread_panels, t)
}

const sd_kern_i16 sd_kern_i16_avx2 = {row_avx2, panel_avx2, tile_avx2, spread_avx2};
