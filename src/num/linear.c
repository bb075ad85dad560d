/* sd_linear: choosing the form, packing, and what all forms share at the end of a tile (bias, accumulate, ragged edges).
 * Packed weights are panels of SD_PANEL outputs, so that one tile kernel call owns its outputs alone and no sum is ever
 * split between threads. */
#include "num/linear_int.h"
#include "base/par.h"
#include <string.h>

const char *sd_mode_name(sd_mode m)
{
    static const char *const names[] = {"default", "faithful", "bf16", "fast"};
    SD_ASSERT((unsigned)m < sizeof names / sizeof *names);
    return names[m];
}

typedef struct pack_arg { sd_linear *l; const sd_wmat *w; float *rows; } pack_arg;

/* [SD_PANEL, k] decoded rows -> [k, SD_PANEL]; rows above w.rows are zero. */
static void pack_f32(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const pack_arg *a = arg;
    const int64_t k = a->l->cols;
    float *buf = a->rows + sd_par_worker() * SD_PANEL * k;
    (void)chunk;
    for (int64_t p = begin; p < end; p++) {
        float *dst = (float *)(void *)(a->l->packed + (size_t)p * a->l->panel_bytes);
        for (int64_t j = 0; j < SD_PANEL; j++) {
            if (p * SD_PANEL + j < a->l->rows)
                sd_wmat_decode_row(buf + j * k, a->w, p * SD_PANEL + j);
            else
                memset(buf + j * k, 0, (size_t)k * sizeof *buf);
        }
        for (int64_t t = 0; t < k; t++)
            for (int64_t j = 0; j < SD_PANEL; j++) dst[t * SD_PANEL + j] = buf[j * k + t];
    }
}

static sd_status check(const sd_wmat *w, sd_err *err)
{
    const sd_dtype_info *info = sd_dtype_get(w->dtype);
    if (!info->decode)
        return sd_fail(err, SD_E_UNSUPPORTED, "a weight matrix of type %s cannot be decoded.", info->name ? info->name : "none");
    if (w->rows < 1 || w->cols < 1)
        return sd_fail(err, SD_E_SHAPE, "a weight matrix of %lld x %lld elements has no product.", (long long)w->rows,
                       (long long)w->cols);
    if (w->cols % info->block != 0)
        return sd_fail(err, SD_E_SHAPE, "rows of %lld elements are no multiple of the %s block of %d.", (long long)w->cols,
                       info->name, info->block);
    return SD_OK;
}

static sd_status plan(sd_linear *l, const sd_wmat *w, size_t *total, sd_err *err)
{
    size_t panel;
    l->mode = SD_MODE_FAITHFUL;
    l->rows = w->rows;
    l->cols = w->cols;
    l->n_panel = (w->rows + SD_PANEL - 1) / SD_PANEL;
    if (!sd_mul_size((size_t)l->cols, SD_PANEL * sizeof(float), &panel) || !sd_mul_size(panel, (size_t)l->n_panel, total))
        return sd_fail(err, SD_E_NOMEM, "a weight matrix of %lld x %lld elements does not fit in the address space.",
                       (long long)w->rows, (long long)w->cols);
    l->panel_bytes = panel;
    return SD_OK;
}

sd_status sd_linear_new(sd_linear **out, const sd_exec *ex, const sd_wmat *w, const float *bias, sd_mode mode, sd_err *err)
{
    sd_linear *l = NULL;
    float *rows = NULL;
    size_t total;
    sd_status st = check(w, err);
    (void)mode;
    *out = NULL;
    if (st) goto done;
    st = sd_alloc_zero(&l, sizeof *l, "a linear layer", err);
    if (st) goto done;
    st = plan(l, w, &total, err);
    if (st) goto done;
    st = sd_alloc(&l->packed, total, "packed weights", err);
    if (st) goto done;
    st = sd_alloc(&rows, (size_t)ex->n_threads * SD_PANEL * (size_t)l->cols * sizeof *rows, "decoding weights", err);
    if (st) goto done;
    if (bias) {
        st = sd_alloc_zero(&l->bias, (size_t)l->n_panel * SD_PANEL * sizeof *l->bias, "a bias", err);
        if (st) goto done;
        memcpy(l->bias, bias, (size_t)l->rows * sizeof *bias);
    }
    sd_parallel_for(ex->n_threads, l->n_panel, 1, pack_f32, &(pack_arg){l, w, rows});
    *out = l;
    l = NULL;
done:
    sd_free(rows);
    sd_linear_free(l);
    return st;
}

void sd_linear_free(sd_linear *l)
{
    if (!l) return;
    sd_free(l->packed);
    sd_free(l->bias);
    sd_free(l);
}

static size_t bias_bytes(const sd_linear *l) { return l->bias ? (size_t)l->n_panel * SD_PANEL * sizeof *l->bias : 0; }
size_t sd_linear_bytes(const sd_linear *l) { return sizeof *l + sd_linear_read_bytes(l); }
size_t sd_linear_read_bytes(const sd_linear *l) { return (size_t)l->n_panel * l->panel_bytes + bias_bytes(l); }
sd_mode sd_linear_mode(const sd_linear *l) { return l->mode; }

size_t sd_linear_scratch(const sd_linear *l, int64_t n_rows)
{
    (void)l;
    (void)n_rows;
    return 0;
}

void sd_linear__store(const sd_linear_run_arg *a, int64_t p, int64_t r0, int64_t m, const float *tile, int64_t ld)
{
    const int64_t j0 = p * SD_PANEL, n = a->l->rows - j0 < SD_PANEL ? a->l->rows - j0 : SD_PANEL;
    const float *b = a->l->bias ? a->l->bias + j0 : NULL;
    float *y = sd_mat_row(a->y, r0) + j0;
    if (y == tile && !b) return;
    for (int64_t i = 0; i < m; i++, y += a->y.ld, tile += ld) {
        if (b && a->accumulate)
            for (int64_t j = 0; j < n; j++) y[j] += tile[j] + b[j];
        else if (a->accumulate)
            for (int64_t j = 0; j < n; j++) y[j] += tile[j];
        else if (b)
            for (int64_t j = 0; j < n; j++) y[j] = tile[j] + b[j];
        else
            for (int64_t j = 0; j < n; j++) y[j] = tile[j];
    }
}

void sd_linear_prepare(const sd_exec *ex, const sd_linear *l, sd_mat x, void *scratch)
{
    SD_ASSERT(x.cols == l->cols);
    (void)ex;
    (void)scratch;
}

void sd_linear_run(const sd_exec *ex, const sd_linear *l, sd_mat y, sd_mat x, bool accumulate, const void *scratch)
{
    SD_ASSERT(y.rows == x.rows && y.cols == l->rows && x.cols == l->cols);
    const sd_linear_run_arg a = {.ex = ex, .l = l, .y = y, .x = x, .accumulate = accumulate, .scratch = scratch};
    if (x.rows > 0) sd_linear__run_f32(&a);
}

void sd_linear_fwd(const sd_exec *ex, const sd_linear *l, sd_mat y, sd_mat x, bool accumulate, void *scratch)
{
    sd_linear_prepare(ex, l, x, scratch);
    sd_linear_run(ex, l, y, x, accumulate, scratch);
}
