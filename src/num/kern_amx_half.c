/* sd_kern_tiles over AMX. A panel of keys is a column of tiles as it lies, and so are 16 pairs of rows of values; queries and probabilities
 * are the other operand. Sums of 16 rows x 64 keys or columns stay in four tiles: five loads from the first cache a step take 40 cycles, its four
 * products 64. VDPBF16PS takes two cycles on these CPUs, so that vectors are half as fast in bf16 as in f32. */
#include "num/kern_half.h"

#include "num/kern_amx.h"
#include <immintrin.h>

#define UNROLLED static inline __attribute__((always_inline)) /* sizes are constants at every call */

enum { ROWS = 16, PAIRS = 16, ACROSS = 4 /* tiles of sums */ };

/* Sums in 0..3 and, of the last columns, in 5 (mixes); rows in 4, their last pairs in 5 (scores); the other operand in 6, its rest in 7. */
static void shape_tiles(int64_t m, int64_t last_pairs, int64_t last_cols)
{
    sd_amx_shapes s = {.palette = 1};
    for (int i = 0; i <= ACROSS; i++) s.rows[i] = (uint8_t)m, s.row_bytes[i] = 64;
    s.rows[6] = PAIRS, s.row_bytes[6] = 64;
    if (last_pairs) {
        s.rows[5] = (uint8_t)m, s.row_bytes[5] = (uint16_t)(4 * last_pairs);
        s.rows[7] = (uint8_t)last_pairs, s.row_bytes[7] = 64;
    } else if (last_cols) {
        s.rows[5] = (uint8_t)m, s.row_bytes[5] = (uint16_t)(4 * last_cols);
        s.rows[7] = PAIRS, s.row_bytes[7] = (uint16_t)(4 * last_cols);
    }
    sd_amx_load_shapes(&s);
}

/* Sums of n tiles side by side, 1 or ACROSS of them. */
UNROLLED void zero_sums(const int n)
{
    _tile_zero(0);
    if (n > 1) {
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
}

/* Tile 4 by n tiles, the first at w and `next` words from one to the other. */
UNROLLED void add_products(const uint32_t *w, int64_t next, long step, const int n)
{
    _tile_loadd(6, w, step);
    _tile_dpbf16ps(0, 4, 6);
    if (n == 1) return;
    _tile_loadd(6, w + next, step);
    _tile_dpbf16ps(1, 4, 6);
    _tile_loadd(6, w + 2 * next, step);
    _tile_dpbf16ps(2, 4, 6);
    _tile_loadd(6, w + 3 * next, step);
    _tile_dpbf16ps(3, 4, 6);
}

UNROLLED void store_sums(float *to, long step, const int n)
{
    _tile_stored(0, to, step);
    if (n == 1) return;
    _tile_stored(1, to + ROWS, step);
    _tile_stored(2, to + 2 * ROWS, step);
    _tile_stored(3, to + 3 * ROWS, step);
}

/* Rows at r by n panels at p, before they are scaled. */
UNROLLED void score_tile(const sd_half_scores *a, int64_t r, int64_t p, const int n)
{
    const int64_t step = a->n_pair * PAIRS, whole = a->n_pair / PAIRS;
    const uint32_t *q = a->q + r * a->n_pair, *k = a->k + p * step;
    float *s = a->s + r * a->lds + p * ROWS;
    const long q_step = (long)a->n_pair * 4, s_step = (long)a->lds * 4, line = 64;
    zero_sums(n);
    for (int64_t c = 0; c < whole; c++, q += PAIRS, k += PAIRS * ROWS) {
        _tile_loadd(4, q, q_step);
        add_products(k, step, line, n);
    }
    if (a->n_pair % PAIRS) {
        _tile_loadd(5, q, q_step);
        _tile_loadd(7, k, line);
        _tile_dpbf16ps(0, 5, 7);
        if (n > 1) {
            _tile_loadd(7, k + step, line);
            _tile_dpbf16ps(1, 5, 7);
            _tile_loadd(7, k + 2 * step, line);
            _tile_dpbf16ps(2, 5, 7);
            _tile_loadd(7, k + 3 * step, line);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    store_sums(s, s_step, n);
}

/* Rows [r0, r1) in tiles of one shape; four panels of keys (16 KB at a width of 64) stay in the first cache while all rows pass. */
static void score_rows(const sd_half_scores *a, int64_t r0, int64_t r1)
{
    const __m512 scale = _mm512_set1_ps(a->scale);
    for (int64_t p = 0, n; p < a->n_panel; p += n) {
        n = a->n_panel - p < ACROSS ? 1 : ACROSS;
        for (int64_t r = r0; r < r1; r += ROWS) {
            if (n == 1)
                score_tile(a, r, p, 1);
            else
                score_tile(a, r, p, ACROSS);
        }
        for (int64_t r = r0; r < r1; r++) {
            float *s = a->s + r * a->lds + p * ROWS;
            for (int64_t i = 0; i < n * ROWS; i += ROWS) _mm512_storeu_ps(s + i, _mm512_mul_ps(_mm512_loadu_ps(s + i), scale));
        }
    }
}

static void scores(const sd_half_scores *a)
{
    const int64_t whole = a->m / ROWS * ROWS, rest = a->n_pair % PAIRS;
    if (whole) {
        shape_tiles(ROWS, rest, 0);
        score_rows(a, 0, whole);
    }
    if (whole < a->m) {
        shape_tiles(a->m - whole, rest, 0);
        score_rows(a, whole, a->m);
    }
    _tile_release();
}

/* Rows at r by n tiles of columns at c. */
UNROLLED void mix_tile(const sd_tiles_mix *a, int64_t r, int64_t c, const int n)
{
    const uint32_t *p = a->p + r * a->ldp;
    zero_sums(n);
    for (int64_t i = 0; i < a->n; i++, p += PAIRS) {
        _tile_loadd(4, p, (long)a->ldp * 4);
        add_products(a->v[i] + c, ROWS, (long)a->ldv * 4, n);
    }
    store_sums(a->o + r * a->d + c, (long)a->d * 4, n);
}

/* The last columns, fewer than a tile has. */
static void mix_last(const sd_tiles_mix *a, int64_t r, int64_t c)
{
    const uint32_t *p = a->p + r * a->ldp;
    _tile_zero(5);
    for (int64_t i = 0; i < a->n; i++, p += PAIRS) {
        _tile_loadd(4, p, (long)a->ldp * 4);
        _tile_loadd(7, a->v[i] + c, (long)a->ldv * 4);
        _tile_dpbf16ps(5, 4, 7);
    }
    _tile_stored(5, a->o + r * a->d + c, (long)a->d * 4);
}

static void mix_rows(const sd_tiles_mix *a, int64_t r0, int64_t r1)
{
    for (int64_t r = r0; r < r1; r += ROWS) {
        int64_t c = 0;
        for (; c + ACROSS * ROWS <= a->d; c += ACROSS * ROWS) mix_tile(a, r, c, ACROSS);
        for (; c + ROWS <= a->d; c += ROWS) mix_tile(a, r, c, 1);
        if (c < a->d) mix_last(a, r, c);
    }
}

static void mix(const sd_tiles_mix *a)
{
    const int64_t whole = a->m / ROWS * ROWS, rest = a->d % ROWS;
    if (whole) {
        shape_tiles(ROWS, 0, rest);
        mix_rows(a, 0, whole);
    }
    if (whole < a->m) {
        shape_tiles(a->m - whole, 0, rest);
        mix_rows(a, whole, a->m);
    }
    _tile_release();
}

static bool copy_finite(uint32_t *dst, const uint32_t *src, int64_t n)
{
    const __m512i top = _mm512_set1_epi16(0x7f80);
    bool all = true;
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 k = _cvtu32_mask16(n - i >= 16 ? 0xffffu : (1u << (n - i)) - 1u);
        const __m512i v = _mm512_maskz_loadu_epi32(k, src + i);
        const __mmask32 bad = _mm512_cmpeq_epi16_mask(_mm512_and_si512(v, top), top);
        all &= !bad;
        _mm512_mask_storeu_epi32(dst + i, k, _mm512_maskz_mov_epi16(~bad, v));
    }
    return all;
}

const sd_kern_tiles sd_kern_tiles_amx = {sd_amx_tile_bf16, scores, mix, copy_finite};
