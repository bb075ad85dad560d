/* Owns: rows of many texts to lists of features. A text's rows come in one piece; its maxima lie in one dense scratch that is emptied
 * feature by feature. */
#include "lab/text_codes.h"

#include "num/stats.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

typedef struct work {
    sd_text_codes *out;
    const sd_exec *ex;
    const sd_model *m;
    const sd_dict *dict;
    const uint8_t *only;
    const int64_t *start;
    sd_codes codes;
    float *top;        /* [m] zero between texts */
    int32_t *at;       /* [m] */
    int32_t *touched;  /* [m] */
} work;

void sd_text_codes_release(sd_text_codes *c)
{
    for (int64_t i = 0; c->v && i < c->n; i++) {
        sd_free(c->v[i].feature);
        sd_free(c->v[i].at);
        sd_free(c->v[i].act);
    }
    sd_free(c->v);
    *c = (sd_text_codes){0};
}

static int by_index(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return x < y ? -1 : x > y;
}

static sd_status keep(work *w, int64_t prompt, int64_t n, sd_err *err)
{
    sd_text_code *c = &w->out->v[prompt];
    size_t k = (size_t)(n ? n : 1);
    qsort(w->touched, (size_t)n, sizeof *w->touched, by_index);
    sd_status st = sd_alloc(&c->feature, k * sizeof *c->feature, "features of a text", err);
    if (!st) st = sd_alloc(&c->at, k * sizeof *c->at, "features of a text", err);
    if (!st) st = sd_alloc(&c->act, k * sizeof *c->act, "features of a text", err);
    for (int64_t i = 0; i < n; i++) {
        int32_t f = w->touched[i];
        if (!st) {
            c->feature[i] = f;
            c->at[i] = w->at[f];
            c->act[i] = w->top[f];
        }
        w->top[f] = 0;
    }
    c->n = st ? 0 : n;
    return st;
}

static sd_status on_rows(void *self, int64_t prompt, const sd_act *act, int64_t from_end, sd_err *err)
{
    work *w = self;
    int64_t n = 0;
    (void)from_end;
    sd_status st = sd_dict_encode(&w->codes, w->ex, w->dict, act->x, err);
    if (st) return st;
    for (int64_t i = 0; i < act->x.rows; i++) {
        const float *x = sd_mat_row(act->x, i);
        double rms = sd_dict_get_info(w->dict)->site_rms, norm = sqrt((double)w->ex->kern->dot(x, x, act->x.cols));
        if (w->only && !w->only[w->start[prompt] + act->pos0 + i]) continue;
        if (sd_tok_is_special(w->m->tok, act->tok[i]) || (rms > 0 && norm > SD_SINK_FACTOR * rms)) continue;
        for (int64_t e = w->codes.row_ptr[i]; e < w->codes.row_ptr[i + 1]; e++) {
            int32_t f = w->codes.idx[e];
            if (w->top[f] == 0) w->touched[n++] = f;
            if (w->codes.val[e] > w->top[f]) {
                w->top[f] = w->codes.val[e];
                w->at[f] = (int32_t)(act->pos0 + i);
            }
        }
    }
    return keep(w, prompt, n, err);
}

sd_status sd_lab_text_codes(sd_text_codes *out, const sd_text_reader *by, const sd_rendered *r, const sd_progress *progress, sd_err *err)
{
    const sd_dict_info *in = sd_dict_get_info(by->dict);
    const sd_site site = by->site;
    work w = {.out = out, .ex = by->ex, .m = by->m, .dict = by->dict, .only = by->only, .start = r->start};
    sd_batch *b = NULL;
    int64_t cols = 0;
    *out = (sd_text_codes){0};
    sd_status st = sd_model_site_cols(by->m, site, &cols, err);
    if (st) return st;
    if (cols != in->d) return sd_fail(err, SD_E_SHAPE, "the dictionary is of vectors of %" PRId64 " numbers, the site has %" PRId64, in->d, cols);
    st = sd_alloc_zero(&out->v, (size_t)(r->n + 1) * sizeof *out->v, "features of texts", err);
    if (!st) st = sd_alloc_zero(&w.top, (size_t)in->m * sizeof *w.top, "features of texts", err);
    if (!st) st = sd_alloc(&w.at, (size_t)in->m * sizeof *w.at, "features of texts", err);
    if (!st) st = sd_alloc(&w.touched, (size_t)in->m * sizeof *w.touched, "features of texts", err);
    if (st) goto done;
    out->n = r->n;
    if ((st = sd_batch_open(&b, by->ex, by->m, r, &(sd_batch_opt){0}, err))) goto done;
    st = sd_batch_run(b, &(sd_batch_want){.last_layer = sd_site_is_layered(site.kind) ? site.layer : 0, .self = &w, .site = &site, .n_site = 1,
                                          .n_tail = r->longest, .on_rows = on_rows, .progress = progress, .what = "texts"}, err);
done:
    sd_batch_close(b);
    sd_codes_release(&w.codes);
    sd_free(w.top);
    sd_free(w.at);
    sd_free(w.touched);
    if (st) sd_text_codes_release(out);
    return st;
}

sd_status sd_lab_text_prompts(sd_rendered *out, const sd_model *m, const char *const *text, int64_t n, bool chat, sd_err *err)
{
    sd_ids ids = {0};
    *out = (sd_rendered){0};
    if (chat) return sd_render(out, m, text, n, &(sd_render_opt){.n_ctx = m->max_ctx}, err);
    sd_status st = sd_alloc_zero(&out->start, (size_t)(n + 1) * sizeof *out->start, "prompts", err);
    for (int64_t i = 0; i < n && !st; i++) {
        st = sd_tok_encode(m->tok, sd_slice_of(text[i]), &(sd_encode_opt){0}, &ids, err);
        int64_t len = ids.n - out->start[i];
        if (!st && len < 1) st = sd_fail(err, SD_E_ARG, "text %" PRId64 " has no token", i + 1);
        if (!st && len >= m->max_ctx)
            st = sd_fail(err, SD_E_ARG, "text %" PRId64 " has %" PRId64 " tokens, the model's context is %" PRId64, i + 1, len, (int64_t)m->max_ctx);
        out->start[i + 1] = ids.n;
        if (len > out->longest) out->longest = len;
    }
    out->ids = ids.v;
    out->n = n;
    if (st) {
        sd_rendered_release(out);
    }
    return st;
}

sd_status sd_feature_cut_init(sd_feature_cut *c, const sd_exec *ex, const sd_dict *dict, sd_site site, sd_err *err)
{
    *c = (sd_feature_cut){.ex = ex, .dict = dict, .site = site};
    if (sd_dict_kind_maps(sd_dict_get_info(dict)->kind)) return sd_fail(err, SD_E_UNSUPPORTED, "features of a transcoder cannot be taken out of the rows that it reads: it writes at another site");
    return sd_alloc_zero(&c->cut, (size_t)sd_dict_get_info(dict)->m, "features to take out", err);
}

void sd_feature_cut_release(sd_feature_cut *c)
{
    sd_free(c->cut);
    sd_codes_release(&c->codes);
    *c = (sd_feature_cut){0};
}

static sd_status take_out(void *self, sd_act *act, sd_err *err)
{
    sd_feature_cut *c = self;
    sd_status st = sd_dict_encode(&c->codes, c->ex, c->dict, act->x, err);
    for (int64_t i = 0; i < act->x.rows && !st; i++) {
        float *h = sd_mat_row(act->x, i);
        const float scale = (float)sd_dict_row_scale(c->dict, h); /* of the row as it was encoded */
        for (int64_t e = c->codes.row_ptr[i]; e < c->codes.row_ptr[i + 1]; e++) {
            int32_t f = c->codes.idx[e];
            if (!c->cut[f]) continue;
            c->ex->kern->axpy(h, -c->codes.val[e] * scale, sd_dict_dec_row(c->dict, f), act->x.cols);
            c->n_cut++;
        }
    }
    return st;
}

sd_hook sd_feature_cut_hook(sd_feature_cut *c)
{
    return (sd_hook){.name = "features taken out", .at = &c->site, .n_at = 1, .mode = SD_HOOK_EDIT, .fn = take_out, .self = c};
}
