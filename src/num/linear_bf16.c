/* The bf16 form: panels [k/2, SD_PANEL, 2] of bf16, activations rounded to bf16 once for all matrices that read them.
 * An odd k is padded with one zero. Only chosen where the CPU multiplies bf16. */
#include "num/linear_int.h"
#include "num/kern_half.h"
#include "num/product.h"

enum { K_PIECE = 4096 }; /* panel piece 256 KB, row piece 768 KB at most; a multiple of the 32 of kern_slots.h */

static inline int64_t even(int64_t k)
{
    return k + (k & 1);
}

static bool panel_bytes(const sd_linear *l, size_t *bytes)
{
    return sd_mul_size((size_t)even(l->cols), SD_PANEL * sizeof(uint16_t), bytes);
}

/* The rows of the panel as bf16, in pairs: as they lie in the file where they are that, else rounded in place. */
static void pack(const sd_linear *l, uint8_t *dst, const sd_wmat *w, int64_t p, float *rows)
{
    const int64_t k = l->cols, n = w->rows - p * SD_PANEL;
    const bool as_is = w->dtype == SD_BF16 && !w->stored_cols && k % 2 == 0 && n >= SD_PANEL;
    const void *src[SD_PANEL];
    if (!as_is) sd_linear__decode_panel(rows, w, p);
    for (int64_t j = 0; j < SD_PANEL; j++) {
        uint16_t *h = (uint16_t *)(void *)(rows + j * k);
        src[j] = as_is ? sd_wmat_row(w, p * SD_PANEL + j) : h;
        if (as_is) continue;
        l->kern->to_bf16(h, rows + j * k, k); /* each number is read before its place is written */
        if (k & 1) h[k] = 0;
    }
    l->turn->transpose((uint32_t *)(void *)dst, SD_PANEL, src, even(k) / 2);
}

static size_t scratch(const sd_linear *l, int64_t n_rows)
{
    return sd_prod_half_bytes(n_rows, l->cols);
}

static void prepare(const sd_exec *ex, const sd_linear *l, sd_mat x, void *s)
{
    (void)l;
    (void)sd_prod_round(ex, x, s);
}

static void prepare_part(const sd_exec *ex, const sd_linear *l, const sd_linear_part *part)
{
    const int64_t n = sd_linear__panel_cols(l->cols, part->p), ld = sd_prod_half_ld(l->cols);
    uint16_t *to = (uint16_t *)part->scratch + part->r0 * ld + part->p * SD_PANEL;
    for (int64_t i = 0; i < part->m; i++, to += ld) {
        ex->kern->to_bf16(to, part->tile + i * SD_PANEL, n);
        if (n & 1) to[n] = 0;
    }
}

static void tile(const sd_linear_job *j, const uint8_t *panel, int64_t r0, int64_t m, float *y, int64_t ld)
{
    const int64_t k = even(j->l->cols), step = sd_prod_half_ld(j->l->cols);
    const uint16_t *w = (const uint16_t *)(const void *)panel,
                   *x = (const uint16_t *)j->scratch + r0 * step;
    const sd_kern_tiles *tiles = sd_kern_tiles_select(j->ex->kern->cpu_flags);
    sd_tile t = {.y = y, .ldy = ld, .ldx = step, .m = m};
    /* These rows' share of the next panel; behind the last one lies the next matrix, as a rule. */
    const int64_t block = j->rows * j->block_tiles, lines = (int64_t)j->l->panel_bytes / 64, from = lines * (r0 % block) / block;
    int64_t n_ahead = lines * (r0 % block + m) / block - from;
    for (int64_t k0 = 0; k0 < k; k0 += K_PIECE) {
        t.x = x + k0;
        t.w = w + k0 * SD_PANEL;
        t.k = k - k0 < K_PIECE ? k - k0 : K_PIECE;
        t.carry = k0 > 0;
        if (tiles)
            tiles->tile_bf16(&t, panel + (int64_t)j->l->panel_bytes + from * 64, n_ahead);
        else
            j->ex->kern->tile_bf16(&t);
        n_ahead = 0;
    }
}

const sd_linear_form sd_linear__bf16 = {SD_MODE_BF16, SD_ROW_TILE, panel_bytes, pack, scratch, prepare, prepare_part, tile, NULL};
