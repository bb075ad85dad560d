/* The faithful form: panels [k, SD_PANEL] of f32, or, of a matrix that is bf16 in its file, [k/2, SD_PANEL, 2] of that: half
 * the bytes for the same numbers. A few rows widen it in registers; many have it widened a piece at a time, once a tile.
 * Every output is one chain of fused multiply-adds over k; a long k is cut so that a piece of the panel and of the rows
 * stay in L2, and the chain goes on from the stored sums, which changes no bit. oneDNN's matmul on the same tiles is no
 * faster (512x1536x576 on two Zen 5 cores: 459-483 GFLOP/s, here 478-489) and sums in another order at every height, so
 * that its rows could not equal those of single-token steps. */
#include "num/linear_int.h"
#include "num/kern_pairs.h"

#include <string.h>

enum {
    K_PIECE = 2048, /* panel piece 256 KB, row piece 768 KB at most */
    K_WIDE = 192,   /* of a piece that is widened: 24 KB, read from L1 by all rows of the tile; even */
};

static bool in_pairs(const sd_linear *l)
{
    return l->w.dtype == SD_BF16;
}

static bool panel_bytes(const sd_linear *l, size_t *bytes)
{
    if (in_pairs(l)) return sd_mul_size((size_t)(l->cols + (l->cols & 1)), SD_PANEL * sizeof(uint16_t), bytes);
    return sd_mul_size((size_t)l->cols, SD_PANEL * sizeof(float), bytes);
}

/* Rows of bf16 as they lie in the file; else from f32, whose upper halves they are. */
static void pack_pairs(const sd_linear *l, uint8_t *dst, const sd_wmat *w, int64_t p, float *rows)
{
    const int64_t k = l->cols, even = k + (k & 1);
    const bool as_is = !w->stored_cols && k % 2 == 0 && w->rows - p * SD_PANEL >= SD_PANEL;
    const void *src[SD_PANEL];
    if (!as_is) sd_linear__decode_panel(rows, w, p);
    for (int64_t j = 0; j < SD_PANEL; j++) {
        const float *from = rows + j * k;
        uint16_t *h = (uint16_t *)(void *)(rows + j * k);
        src[j] = as_is ? sd_wmat_row(w, p * SD_PANEL + j) : h;
        if (as_is) continue;
        for (int64_t i = 0; i < k; i++) { /* each number is read before its place is written */
            uint32_t u;
            memcpy(&u, from + i, sizeof u);
            h[i] = (uint16_t)(u >> 16);
        }
        if (k & 1) h[k] = 0;
    }
    l->turn->transpose((uint32_t *)(void *)dst, SD_PANEL, src, even / 2);
}

static void pack(const sd_linear *l, uint8_t *dst, const sd_wmat *w, int64_t p, float *rows)
{
    const void *src[SD_PANEL];
    const bool as_is = w->dtype == SD_F32 && !w->stored_cols && w->rows - p * SD_PANEL >= SD_PANEL;
    if (in_pairs(l)) {
        pack_pairs(l, dst, w, p, rows);
        return;
    }
    if (!as_is) sd_linear__decode_panel(rows, w, p);
    for (int64_t j = 0; j < SD_PANEL; j++) src[j] = as_is ? sd_wmat_row(w, p * SD_PANEL + j) : rows + j * l->cols;
    l->turn->transpose((uint32_t *)(void *)dst, SD_PANEL, src, l->cols);
}

static size_t scratch(const sd_linear *l, int64_t n_rows)
{
    (void)l;
    (void)n_rows;
    return 0;
}

static void prepare_part(const sd_exec *ex, const sd_linear *l, const sd_linear_part *part)
{
    const int64_t n = sd_linear__panel_cols(l->cols, part->p);
    (void)ex;
    for (int64_t i = 0; i < part->m; i++)
        memcpy(sd_mat_row(part->x, part->r0 + i) + part->p * SD_PANEL, part->tile + i * SD_PANEL, (size_t)n * sizeof(float));
}

/* As tile_f32 with the panel in pairs. */
static void pairs(const sd_linear_job *j, sd_tile t)
{
    float wide[K_WIDE * SD_PANEL] __attribute__((aligned(64)));
    const int64_t k = t.k;
    const float *x = t.x;
    const uint32_t *w = t.w;
    const sd_kern_pairs *kern = sd_kern_pairs_select(j->ex->kern->cpu_flags);
    if (t.m <= SD_PAIR_ROWS) {
        kern->few(&t);
        return;
    }
    t.w = wide;
    for (int64_t k0 = 0; k0 < k; k0 += K_WIDE) {
        t.k = k - k0 < K_WIDE ? k - k0 : K_WIDE;
        t.x = x + k0;
        t.carry = k0 > 0;
        kern->unpair(wide, w + k0 / 2 * SD_PANEL, (t.k + 1) / 2);
        j->ex->kern->tile_f32(&t);
    }
}

static void tile(const sd_linear_job *j, const uint8_t *panel, int64_t r0, int64_t m, float *y, int64_t ld)
{
    const int64_t k = j->l->cols;
    const float *w = (const float *)(const void *)panel, *x = sd_mat_row(j->x, r0);
    sd_tile t = {.y = y, .x = x, .w = w, .ldy = ld, .ldx = j->x.ld, .m = m, .k = k};
    if (in_pairs(j->l)) {
        pairs(j, t);
        return;
    }
    for (int64_t k0 = 0; k0 < k; k0 += K_PIECE) {
        t.x = x + k0;
        t.w = w + k0 * SD_PANEL;
        t.k = k - k0 < K_PIECE ? k - k0 : K_PIECE;
        t.carry = k0 > 0;
        j->ex->kern->tile_f32(&t);
    }
}

/* Panels of a kind together. */
static void spread(const sd_linear_job *const *job, const uint8_t *const *w, float *const *y, int n)
{
    const sd_kern *kern = job[0]->ex->kern;
    for (int pairs = 0; pairs < 2; pairs++) {
        sd_spread t = {.x = job[0]->x.data, .k = job[0]->x.cols};
        for (int i = 0; i < n; i++)
            if (in_pairs(job[i]->l) == pairs) t.y[t.n] = y[i], t.w[t.n++] = w[i];
        if (t.n) (pairs ? sd_kern_pairs_select(kern->cpu_flags)->spread : kern->spread_f32)(&t);
    }
}

const sd_linear_form sd_linear__f32 = {SD_MODE_FAITHFUL, SD_ROW_TILE, panel_bytes, pack, scratch, NULL, prepare_part, tile, spread};
