/* AMX of the int8 scan. 32 rows x 32 features are summed in four tiles: a step of 64 places is four loads and four products, which keeps
 * the tile unit busy from L1. Sums go through 4 KB of L1 and are compared there while the next tiles are multiplied. Sums are whole
 * numbers below 2^31, so the order of their addition is of no account. */
#include "num/kern_amx.h"
#include "num/kern_avx512_scan8.h"
#include <string.h>

enum { P = SD_SCAN8_PANEL, ROWS = 32, STEP = 64 };

/* Eight tiles of 16 rows of 64 bytes. */
static void begin(void)
{
    sd_amx_shapes s = {.palette = 1};
    for (int i = 0; i < 8; i++) s.row_bytes[i] = 64, s.rows[i] = 16;
    sd_amx_load_shapes(&s);
}

/* A step: x rows 0-15 and 16-31 by features 0-15 and 16-31. A panel holds both halves of 16 features side by side, as tiles want them. */
static inline void multiply(const int8_t *x, const uint8_t *w, int64_t d)
{
    _tile_loadd(4, x, (size_t)d);
    _tile_loadd(6, w, P * 4);
    _tile_dpbsud(0, 4, 6);
    _tile_loadd(7, w + 64, P * 4);
    _tile_dpbsud(1, 4, 7);
    _tile_loadd(5, x + 16 * d, (size_t)d);
    _tile_dpbsud(2, 5, 6);
    _tile_dpbsud(3, 5, 7);
}

static inline void clear(void)
{
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
}
static inline void put(int32_t *sum)
{
    _tile_stored(0, sum, P * 4);
    _tile_stored(1, sum + 16, P * 4);
    _tile_stored(2, sum + 16 * P, P * 4);
    _tile_stored(3, sum + 16 * P + 16, P * 4);
}

/* What is to be done with sums that are there: rows t0 .. t0 + 31 with the panel at f. */
typedef struct waiting { const int32_t *sum; int64_t f, t0; sd_scan8_panel p; } waiting;

static inline void look(sd_scan8_out *out, float *s, const sd_scan8_in *in, const waiting *w, int64_t from, int64_t to, int32_t first)
{
    for (int64_t j = from; j < to; j++) {
        const int64_t t = w->t0 + j;
        const __m512i start = _mm512_set1_epi32(in->start[t]);
        const __m512i lo = _mm512_add_epi32(start, _mm512_load_si512(w->sum + j * P)), hi = _mm512_add_epi32(start, _mm512_load_si512(w->sum + j * P + 16));
        if (s) sd_scan8__store(s + w->f, in, &w->p, t, lo, hi);
        else sd_scan8__compare(out, in, &w->p, t, lo, hi, first + (int32_t)w->f);
    }
}

/* The next panel comes from L3 or memory, a few lines with every step. */
static inline void ask(const uint8_t *next, int64_t lines)
{
    for (int64_t i = 0; i < lines; i++) _mm_prefetch((const char *)next + 64 * i, _MM_HINT_T0);
}

static inline void all_tiles(sd_scan8_out *out, float *s, const sd_scan8_in *in, int32_t first)
{
    _Alignas(64) int32_t sum[2][ROWS * P];
    waiting last = {0};
    const int64_t n_step = in->d / STEP, n_row = in->n_row, d = in->d, lines = (P * ROWS + n_row - 1) / n_row;
    const int64_t share = (ROWS + n_step - 1) / n_step;
    int turn = 0;
    begin();
    for (int64_t f = 0; f < in->n_feat; f += P) {
        const uint8_t *w = in->w + f * d, *next = w + P * d, *end = f + P < in->n_feat ? next + P * d - 64 * lines : next;
        for (int64_t t = 0; t < n_row; t += ROWS, turn ^= 1) {
            const int8_t *x = in->x + t * d;
            clear();
            for (int64_t i = 0, j = 0; i < n_step; i++) {
                multiply(x + i * STEP, w + i * STEP * P, d);
                if (next < end) ask(next, lines), next += 64 * lines;
                const int64_t to = j + share < ROWS ? j + share : ROWS;
                if (last.sum) look(out, s, in, &last, j, to, first);
                j = to;
            }
            put(sum[turn]);
            last = (waiting){sum[turn], f, t, sd_scan8__panel(in, f)};
        }
    }
    if (last.sum) look(out, s, in, &last, 0, ROWS, first);
    _tile_release();
}

static void score_amx(float *s, const sd_scan8_in *in) { all_tiles(NULL, s, in, 0); }
static void scan_amx(sd_scan8_out *out, const sd_scan8_in *in, int32_t first) { all_tiles(out, NULL, in, first); }

const sd_kern_scan8 sd_kern_scan8_amx = {sd_scan8_rotate_avx512, sd_scan8_round_avx512, score_amx, scan_amx, 1, ROWS, 127, 128, 0};
