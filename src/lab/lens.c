/* Owns: a block of logits at a time. Positions go in blocks, so that memory is a few blocks of [POSITIONS, V] whatever the prompt. */
#include "lab/lens.h"

#include "base/par.h"
#include "lab/look_text.h"
#include "lab/record.h"
#include "model/peek.h"
#include <math.h>
#include <stdio.h>

enum { POSITIONS = 16, DEFAULT_TOP = 5 };

void sd_lens_release(sd_lens *l)
{
    sd_free(l->id);
    sd_free(l->next);
    sd_free(l->cell);
    sd_free(l->top);
    *l = (sd_lens){0};
}

typedef struct block {
    sd_lens *out;
    int row;
    int64_t p0, V;
    const float *logits; /* [POSITIONS, V] of this row of the lens */
    const float *final;  /* of the model */
    const double *lse_final;
    const sd_exec *ex;
} block;

static void best_tokens(sd_lens_top *top, int n_top, const float *x, int64_t V, double lse)
{
    int have = 0;
    for (int64_t t = 0; t < V; t++) {
        if (have == n_top && !(x[t] > top[have - 1].p)) continue;
        int at = have < n_top ? have++ : n_top - 1;
        for (; at > 0 && x[t] > top[at - 1].p; at--) top[at] = top[at - 1];
        top[at] = (sd_lens_top){(int32_t)t, x[t]};
    }
    for (int k = 0; k < have; k++) top[k].p = (float)exp((double)top[k].p - lse);
}

static void study_rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const block *b = arg;
    (void)chunk;
    for (int64_t i = begin; i < end; i++) {
        const float *x = b->logits + i * b->V, *f = b->final + i * b->V;
        int64_t at = (int64_t)b->row * b->out->n + b->p0 + i;
        int32_t next = b->out->next[b->p0 + i];
        double lse = sd_logsumexp(b->ex, x, b->V);
        int64_t above = 0;
        for (int64_t t = 0; t < b->V && next >= 0; t++) above += x[t] > x[next];
        sd_lens_cell *c = &b->out->cell[at];
        c->kl = sd_divergence(b->ex, f, b->lse_final[i], x, lse, b->V);
        c->entropy = -sd_divergence(b->ex, x, lse, NULL, 0, b->V);
        c->rank = next >= 0 ? above + 1 : 0;
        c->p_next = next >= 0 ? exp((double)x[next] - lse) : NAN;
        best_tokens(b->out->top + at * b->out->n_top, b->out->n_top, x, b->V, lse);
    }
}

static sd_mat row_of_lens(const sd_record *rec, int row)
{
    return sd_record_get(rec, row ? (sd_site){SD_SITE_RESID_POST, row - 1} : (sd_site){SD_SITE_RESID_PRE, 0});
}

static sd_status study(sd_lens *out, const sd_exec *ex, const sd_model *m, const sd_record *rec, const sd_progress *progress, sd_err *err)
{
    int64_t V = m->cfg.n_vocab;
    float *logits = NULL, *final = NULL;
    double lse[POSITIONS];
    sd_status st = sd_alloc(&logits, (size_t)(POSITIONS * V) * sizeof *logits, "a block of logits", err);
    if (!st) st = sd_alloc(&final, (size_t)(POSITIONS * V) * sizeof *final, "a block of logits", err);
    for (int64_t p0 = 0; p0 < out->n && !st; p0 += POSITIONS) {
        int64_t n = out->n - p0 < POSITIONS ? out->n - p0 : POSITIONS;
        if ((st = sd_model_unembed(sd_mat_of(final, n, V), ex, m, sd_mat_rows(row_of_lens(rec, out->n_row - 1), p0, n), err))) break;
        for (int64_t i = 0; i < n; i++) lse[i] = sd_logsumexp(ex, final + i * V, V);
        for (int row = 0; row < out->n_row && !st; row++) {
            if (sd_progress_cancelled(progress)) st = sd_fail(err, SD_E_CANCELLED, "interrupted");
            if (!st) st = sd_model_unembed(sd_mat_of(logits, n, V), ex, m, sd_mat_rows(row_of_lens(rec, row), p0, n), err);
            if (!st) sd_parallel_for(ex->n_threads, n, 1, study_rows, &(block){out, row, p0, V, logits, final, lse, ex});
            sd_progress_update(progress, "lens", (double)(p0 * out->n_row + n * (row + 1)), (double)(out->n * out->n_row), NULL);
        }
    }
    sd_free(logits);
    sd_free(final);
    return st;
}

static sd_status plan(sd_lens *out, const sd_model *m, const sd_ids *ids, const sd_lens_opt *opt, sd_err *err)
{
    out->n = ids->n;
    out->n_row = m->cfg.n_layer + 1;
    out->n_top = opt->n_top ? opt->n_top : DEFAULT_TOP;
    if (opt->has_answer && (opt->answer < 0 || opt->answer >= m->cfg.n_vocab))
        return sd_fail(err, SD_E_ARG, "token %d is outside of the vocabulary of %lld", (int)opt->answer, (long long)m->cfg.n_vocab);
    if (out->n_top < 1 || out->n_top > SD_LENS_MAX_TOP || out->n_top > m->cfg.n_vocab)
        return sd_fail(err, SD_E_ARG, "%d tokens a cell, from 1 to %d can be kept", out->n_top, SD_LENS_MAX_TOP);
    size_t cells = (size_t)out->n_row * (size_t)out->n;
    sd_status st = sd_alloc(&out->id, (size_t)out->n * sizeof *out->id, "a prompt", err);
    if (!st) st = sd_alloc(&out->next, (size_t)out->n * sizeof *out->next, "a prompt", err);
    if (!st) st = sd_alloc_zero(&out->cell, cells * sizeof *out->cell, "what the lens sees", err);
    if (!st) st = sd_alloc_zero(&out->top, cells * (size_t)out->n_top * sizeof *out->top, "what the lens sees", err);
    for (int64_t i = 0; !st && i < out->n; i++) {
        out->id[i] = ids->v[i];
        out->next[i] = opt->has_answer ? opt->answer : i + 1 < out->n ? ids->v[i + 1] : -1;
    }
    return st;
}

sd_status sd_lab_lens(sd_lens *out, const sd_exec *ex, const sd_model *m, const sd_ids *ids, const sd_lens_opt *opt, sd_err *err)
{
    sd_session *s = NULL;
    sd_runner *r = NULL;
    sd_record rec = {0};
    *out = (sd_lens){0};
    sd_status st = sd_record_check(m, ids, SD_LENS_MAX_TOKENS, err);
    if (!st) st = plan(out, m, ids, opt, err);
    if (!st) st = sd_record_kind(&rec, m, SD_SITE_RESID_PRE, err);
    if (!st) st = sd_record_kind(&rec, m, SD_SITE_RESID_POST, err);
    if (!st) st = sd_session_new(&s, m, &(sd_session_opt){.n_ctx = ids->n}, err);
    if (!st) st = sd_runner_new(&r, ex, m, &(sd_runner_opt){.max_rows = ids->n, .n_ctx = ids->n}, err);
    if (!st) st = sd_record_step(&rec, r, &(sd_segment){.s = s, .tok = ids->v, .n = ids->n}, -1, err);
    if (!st) st = study(out, ex, m, &rec, opt->progress, err);
    sd_record_release(&rec);
    sd_runner_free(r);
    sd_session_free(s);
    if (st) sd_lens_release(out);
    return st;
}

const char *sd_lens_row_name(char out[16], int row)
{
    snprintf(out, 16, row ? "%d" : "embed", row - 1);
    return out;
}

static double value_of(const sd_lens *l, int64_t at, sd_lens_value value)
{
    const sd_lens_cell *c = &l->cell[at];
    switch (value) {
    case SD_LENS_P_NEXT: return c->p_next;
    case SD_LENS_RANK: return c->rank ? log10((double)c->rank) : NAN;
    case SD_LENS_KL: return c->kl;
    case SD_LENS_P_TOP: return (double)l->top[at * l->n_top].p;
    case SD_LENS_ENTROPY: return c->entropy;
    }
    return NAN;
}

sd_status sd_lens_grid(sd_grid *g, const sd_lens *l, const sd_tok *tok, sd_lens_value value, sd_err *err)
{
    static const char *const name[] = {
        [SD_LENS_P_NEXT] = "probability of the next token", [SD_LENS_RANK] = "log10 of the rank of the next token",
        [SD_LENS_KL] = "KL to the model's own prediction, nats", [SD_LENS_P_TOP] = "probability of the likeliest token",
        [SD_LENS_ENTROPY] = "entropy, nats"};
    char row[16];
    *g = (sd_grid){.title = "logit lens", .rows_are = "layer", .cols_are = "token", .value = name[value], .up = true};
    sd_status st = sd_grid_init(g, l->n_row, l->n, true, err);
    if (st) return st;
    for (int i = 0; i < l->n_row && !st; i++) st = sd_grid_name(&g->row[i], err, "%s", sd_lens_row_name(row, i));
    for (int64_t k = 0; k < l->n && !st; k++) st = sd_look_name(&g->col[k], tok, l->id[k], err);
    for (int64_t at = 0; at < l->n_row * l->n && !st; at++) {
        g->v[at] = value_of(l, at, value);
        st = sd_look_name(&g->cell[at], tok, l->top[at * l->n_top].id, err);
    }
    if (st) sd_grid_release(g);
    else sd_grid_fit(g);
    if (!st && (value == SD_LENS_P_NEXT || value == SD_LENS_P_TOP)) g->hi = 1;
    return st;
}
