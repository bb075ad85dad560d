/* The faithful form: panels [k, SD_PANEL] of f32.
 * Every output is one chain of fused multiply-adds over k; a long k is cut so that a piece of the panel and of the rows stay in
 * L2, and the chain goes on from the stored sums, which changes no bit. */
#include "num/linear_int.h"
#include "base/par.h"

enum {
    ROW_TILE = 96,  /* a multiple of the tile kernels' 12 and 6 rows */
    K_PIECE = 2048, /* panel piece 256 KB, row piece 768 KB at most */
};

static void task(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const sd_linear_run_arg *a = arg;
    const sd_linear *l = a->l;
    float tile[ROW_TILE * SD_PANEL];
    (void)chunk;
    for (int64_t i = begin; i < end; i++) {
        const int64_t p = i / a->row_tiles, r0 = i % a->row_tiles * ROW_TILE;
        const int64_t m = a->x.rows - r0 < ROW_TILE ? a->x.rows - r0 : ROW_TILE;
        const bool direct = !a->accumulate && (p + 1) * SD_PANEL <= l->rows;
        const float *w = (const float *)(const void *)(l->packed + (size_t)p * l->panel_bytes), *x = sd_mat_row(a->x, r0);
        sd_tile t = {.y = direct ? sd_mat_row(a->y, r0) + p * SD_PANEL : tile, .ldy = direct ? a->y.ld : SD_PANEL,
                     .ldx = a->x.ld, .m = m};
        for (int64_t k0 = 0; k0 < l->cols; k0 += K_PIECE) {
            t.x = x + k0;
            t.w = w + k0 * SD_PANEL;
            t.k = l->cols - k0 < K_PIECE ? l->cols - k0 : K_PIECE;
            t.carry = k0 > 0;
            a->ex->kern->tile_f32(&t);
        }
        sd_linear__store(a, p, r0, m, t.y, t.ldy);
    }
}

void sd_linear__run_f32(const sd_linear_run_arg *arg)
{
    sd_linear_run_arg a = *arg;
    a.row_tiles = (a.x.rows + ROW_TILE - 1) / ROW_TILE;
    sd_parallel_for(a.ex->n_threads, a.row_tiles * a.l->n_panel, 1, task, &a);
}
