/* A model with an adapter: MODEL+ADAPTER. Each adapted matrix becomes W + scale B A in f32, once, when the model is
 * opened; what runs afterwards does not know of it. */
#include "model/adapt.h"

#include "model/lora.h"

/* W + scale B A of one matrix; *out by sd_free. */
static sd_status merged(float **out, const sd_matrix *w, const sd_lora_mat *a, sd_err *err)
{
    const int64_t rows = w->w.rows, cols = w->w.cols;
    sd_status st = sd_alloc(out, (size_t)rows * (size_t)cols * sizeof **out, "a matrix with its adapter", err);
    for (int64_t r = 0; !st && r < rows; r++) sd_wmat_decode_row(*out + r * cols, &w->w, r);
    if (!st) sd_lora_merge(*out, cols, a, 0, rows);
    return st;
}

static sd_status pack(sd_model *m, sd_matrix *w, const sd_lora_mat *a, bool views, sd_err *err)
{
    float *own = NULL;
    sd_status st = SD_OK;
    sd_wmat view = w->w;
    if (!w->w.data) return SD_OK;
    if (a->rank) {
        if ((st = merged(&own, w, a, err))) return st;
        view = (sd_wmat){.data = own, .dtype = SD_F32, .rows = w->w.rows, .cols = w->w.cols};
    }
    if (views) {
        if (own) sd_free(w->own);
        w->w = view;
        w->own = own ? own : w->own;
        return SD_OK;
    }
    st = sd_linear_new(&w->l, m->ex, &view, w->bias, m->mode, err);
    sd_free(own);
    if (w->own) { /* an adapter below this one: its sum is packed, the view goes with it */
        sd_free(w->own);
        w->own = NULL;
        w->w.data = NULL;
    }
    return st;
}

sd_status sd_model__join(sd_model *m, const sd_lora *lora, bool views, bool head, sd_err *err)
{
    sd_status st = SD_OK;
    for (int l = 0; !st && l < m->n_layer_loaded; l++)
        for (int i = 0; !st && i < SD_MAT_COUNT; i++) st = pack(m, &m->block[l].mat[i], &lora->mat[l][i], views, err);
    if (!st && head && !views) st = sd_linear_new(&m->head, m->ex, &m->head_w, NULL, m->mode, err);
    return st;
}

sd_status sd_model__adapt(sd_model *m, const char *dir, bool views, bool head, sd_err *err)
{
    sd_lora *lora = NULL;
    sd_status st = sd_lora_read(&lora, m, dir, err);
    if (!st) st = sd_model__join(m, lora, views, head, err);
    sd_lora_free(lora);
    return st;
}
