/* The faithful form: panels [k, SD_PANEL] of f32.
 * Every output is one chain of fused multiply-adds over k; a long k is cut so that a piece of the panel and of the rows
 * stay in L2, and the chain goes on from the stored sums, which changes no bit. oneDNN's matmul on the same tiles is no
 * faster (512x1536x576 on two Zen 5 cores: 459-483 GFLOP/s, here 478-489) and sums in another order at every height, so
 * that its rows could not equal those of single-token steps. */
#include "num/linear_int.h"

#include <string.h>

enum { K_PIECE = 2048 }; /* panel piece 256 KB, row piece 768 KB at most */

static bool panel_bytes(const sd_linear *l, size_t *bytes)
{
    return sd_mul_size((size_t)l->cols, SD_PANEL * sizeof(float), bytes);
}

static void pack(const sd_linear *l, uint8_t *dst, const sd_wmat *w, int64_t p, float *rows)
{
    const void *src[SD_PANEL];
    const bool as_is = w->dtype == SD_F32 && !w->stored_cols && w->rows - p * SD_PANEL >= SD_PANEL;
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

static void tile(const sd_linear_job *j, const uint8_t *panel, int64_t r0, int64_t m, float *y, int64_t ld)
{
    const int64_t k = j->l->cols;
    const float *w = (const float *)(const void *)panel, *x = sd_mat_row(j->x, r0);
    sd_tile t = {.y = y, .ldy = ld, .ldx = j->x.ld, .m = m};
    for (int64_t k0 = 0; k0 < k; k0 += K_PIECE) {
        t.x = x + k0;
        t.w = w + k0 * SD_PANEL;
        t.k = k - k0 < K_PIECE ? k - k0 : K_PIECE;
        t.carry = k0 > 0;
        j->ex->kern->tile_f32(&t);
    }
}

const sd_linear_form sd_linear__f32 = {SD_MODE_FAITHFUL, SD_ROW_TILE, panel_bytes, pack, scratch, NULL, prepare_part, tile};
