/* AMX: products of tiles of 16 rows x 64 bytes. A panel [k/2, SD_PANEL, 2] holds two of them side by side, rows of x are the other
 * operand as they lie, so nothing is copied but the end of a k that is no multiple of 32.
 * Sums of 32 rows x 32 outputs stay in four tiles; each step loads two tiles of x and two of w for four products. */
#include "num/kern.h"
#include "num/kern_amx.h"
#include <immintrin.h>
#include <string.h>

enum { ROWS = 16, STEP = 32 /* of k */, LINE = 2 * SD_PANEL /* a pair of inputs of a panel */ };

/* Sums in tiles 0, 1 (the first 16 rows) and 2, 3, rows of x in 4 and 5, w in 6 and 7; m: 1..32 rows. */
static void shape_tiles(int64_t m)
{
    sd_amx_shapes s = {.palette = 1};
    const uint8_t r[2] = {(uint8_t)(m < ROWS ? m : ROWS), (uint8_t)(m < ROWS ? 0 : m - ROWS)};
    const uint8_t rows[8] = {r[0], r[0], r[1], r[1], r[0], r[1], ROWS, ROWS};
    for (int i = 0; i < 8; i++) s.rows[i] = rows[i], s.row_bytes[i] = rows[i] ? 64 : 0;
    sd_amx_load_shapes(&s);
}

/* Sums += one step of k. w_step: bytes between lines of w. */
static inline __attribute__((always_inline)) void bf16_step(const uint16_t *x, int64_t ldx, const uint16_t *w, bool lower)
{
    const long x_step = (long)ldx * 2, w_step = LINE * 2;
    _tile_loadd(6, w, w_step);
    _tile_loadd(4, x, x_step);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, w + LINE / 2, w_step);
    _tile_dpbf16ps(1, 4, 7);
    if (!lower) return;
    _tile_loadd(5, x + ROWS * ldx, x_step);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
}

/* The last k % 32 inputs of m rows, filled up with zeros. */
static void bf16_rest(const sd_tile *t, const uint16_t *x, int64_t m, bool lower)
{
    _Alignas(64) uint16_t xs[2 * ROWS * STEP] = {0}, ws[STEP / 2 * LINE] = {0};
    const int64_t done = t->k / STEP * STEP, n = t->k - done;
    for (int64_t i = 0; i < m; i++) memcpy(xs + i * STEP, x + i * t->ldx + done, (size_t)n * 2);
    memcpy(ws, (const uint16_t *)t->w + done * SD_PANEL, (size_t)(n * SD_PANEL) * 2);
    __asm__ volatile("" : : "r"(xs), "r"(ws) : "memory"); /* what the loads of tiles read is written */
    bf16_step(xs, STEP, ws, lower);
}

/* What is multiplied next, and the lines of it that were asked for. */
typedef struct ahead {
    const char *data;
    int64_t n, done;
} ahead;

static inline void fetch(ahead *a, int64_t to)
{
    for (; a->done < to; a->done++) _mm_prefetch(a->data + 64 * a->done, _MM_HINT_T1);
}

static inline __attribute__((always_inline)) void bf16_rows(const sd_tile *t, int64_t row, int64_t m, const bool lower, ahead *next)
{
    float *y = t->y + row * t->ldy;
    const uint16_t *x = (const uint16_t *)t->x + row * t->ldx, *w = t->w;
    const long y_step = (long)t->ldy * 4;
    if (t->carry) {
        _tile_loadd(0, y, y_step);
        _tile_loadd(1, y + ROWS, y_step);
        if (lower) {
            _tile_loadd(2, y + ROWS * t->ldy, y_step);
            _tile_loadd(3, y + ROWS * t->ldy + ROWS, y_step);
        }
    } else {
        _tile_zero(0);
        _tile_zero(1);
        if (lower) {
            _tile_zero(2);
            _tile_zero(3);
        }
    }
    const int64_t steps = t->k / STEP, first = next->n * row / t->m, n = next->n * (row + m) / t->m - first;
    for (int64_t k = 0; k < steps; k++) {
        fetch(next, first + n * (k + 1) / steps);
        bf16_step(x + k * STEP, t->ldx, w + k * STEP * SD_PANEL, lower);
    }
    if (t->k % STEP) bf16_rest(t, x, m, lower);
    _tile_stored(0, y, y_step);
    _tile_stored(1, y + ROWS, y_step);
    if (!lower) return;
    _tile_stored(2, y + ROWS * t->ldy, y_step);
    _tile_stored(3, y + ROWS * t->ldy + ROWS, y_step);
}

void sd_amx_tile_bf16(const sd_tile *t, const void *ahead_data, int64_t n_ahead)
{
    int64_t r = 0;
    ahead next = {ahead_data, n_ahead, 0};
    if (t->m >= 2 * ROWS) shape_tiles(2 * ROWS);
    for (; r + 2 * ROWS <= t->m; r += 2 * ROWS) bf16_rows(t, r, 2 * ROWS, true, &next);
    const int64_t m = t->m - r;
    if (m > 0) {
        shape_tiles(m);
        if (m > ROWS)
            bf16_rows(t, r, m, true, &next);
        else
            bf16_rows(t, r, m, false, &next);
    }
    if (t->m > 0) _tile_release();
}

static void tile_bf16_amx(const sd_tile *t)
{
    sd_amx_tile_bf16(t, NULL, 0);
}

void sd_kern_fill_amx(sd_kern *k)
{
    k->tile_bf16 = tile_bf16_amx;
    sd_kern_fill_amx_q(k);
}
