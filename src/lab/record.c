/* Owns: copies of activations. */
#include "lab/record.h"

sd_status sd_record_kind(sd_record *rec, const sd_model *m, sd_site_kind kind, sd_err *err)
{
    int n = sd_site_is_layered(kind) ? m->cfg.n_layer : 1, total = rec->n_at + n;
    sd_site *at = sd_realloc(rec->at, (size_t)total * sizeof *at);
    if (at) rec->at = at;
    sd_mat *x = sd_realloc(rec->x, (size_t)total * sizeof *x);
    if (x) rec->x = x;
    if (!at || !x) return sd_fail(err, SD_E_NOMEM, "out of memory: a table of %d sites", total);
    for (int i = 0; i < n; i++) {
        rec->at[rec->n_at] = (sd_site){kind, i};
        rec->x[rec->n_at++] = (sd_mat){0};
    }
    return SD_OK;
}

void sd_record_release(sd_record *rec)
{
    for (int i = 0; i < rec->n_at; i++) sd_free(rec->x[i].data);
    sd_free(rec->at);
    sd_free(rec->x);
    *rec = (sd_record){0};
}

static int find(const sd_record *rec, sd_site site)
{
    for (int i = 0; i < rec->n_at; i++)
        if (rec->at[i].kind == site.kind && rec->at[i].layer == site.layer) return i;
    return -1;
}

static sd_status keep(void *self, sd_act *act, sd_err *err)
{
    sd_record *rec = self;
    int i = find(rec, act->site);
    SD_ASSERT(i >= 0);
    float *v;
    sd_status st = sd_alloc(&v, (size_t)(act->x.rows * act->x.cols) * sizeof *v, "activations of a prompt", err);
    if (st) return st;
    for (int64_t k = 0; k < act->x.rows; k++) memcpy(v + k * act->x.cols, sd_mat_row(act->x, k), (size_t)act->x.cols * sizeof *v);
    sd_free(rec->x[i].data);
    rec->x[i] = sd_mat_of(v, act->x.rows, act->x.cols);
    return SD_OK;
}

sd_status sd_record_step(sd_record *rec, sd_runner *r, sd_segment *seg, int last_layer, sd_err *err)
{
    int id = -1;
    sd_hook hook = {.name = "record", .at = rec->at, .n_at = rec->n_at, .mode = SD_HOOK_READ, .fn = keep, .self = rec};
    sd_status st = sd_session_attach(seg->s, &hook, &id, err);
    if (st) return st;
    st = sd_runner_step(r, seg, 1, last_layer, err);
    sd_session_detach(seg->s, id);
    return st;
}

sd_mat sd_record_get(const sd_record *rec, sd_site site)
{
    int i = find(rec, site);
    SD_ASSERT(i >= 0 && rec->x[i].data);
    return rec->x[i];
}

sd_status sd_record_check(const sd_model *m, const sd_ids *ids, int64_t max, sd_err *err)
{
    if (max > m->max_ctx) max = m->max_ctx;
    if (ids->n < 1) {
        sd_fail(err, SD_E_ARG, "the prompt has no tokens");
        return sd_hint(err, "give a text of at least one word");
    }
    if (ids->n > max) {
        sd_fail(err, SD_E_ARG, "a prompt of %lld tokens, at most %lld can be looked at", (long long)ids->n, (long long)max);
        return sd_hint(err, "shorten it to the part in question");
    }
    for (int64_t i = 0; i < ids->n; i++)
        if (ids->v[i] < 0 || ids->v[i] >= m->cfg.n_vocab)
            return sd_fail(err, SD_E_ARG, "token id %d is outside the vocabulary of %lld", (int)ids->v[i], (long long)m->cfg.n_vocab);
    return SD_OK;
}
