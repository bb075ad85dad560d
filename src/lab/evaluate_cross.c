/* Owns: the hooks at every site and the order of the runs. */
#include "lab/evaluate_cross.h"

#include "model/sample.h"
#include "num/stats.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

enum what { READ, REPLACE, ZERO };
struct sums { double plain, ce[2], kl; int64_t n; };

struct cross;
struct at { struct cross *of; int part; int64_t col; }; /* a hook's self */

struct cross {
    const sd_exec *ex;
    const sd_cross_eval *in;
    sd_runner *runner[2];
    sd_session *session[2];
    struct at at[SD_CROSS_PARTS];
    enum what what;
    int target;            /* the site that is replaced or zeroed */
    sd_mat x, kept, y;     /* [longest, d] rows of all sites; those that are replaced, and by what */
    int64_t *row, n_kept;  /* places of the kept ones */
    float *plain[2];       /* [longest, vocab] */
    double limit;
    sd_codes codes;
    struct sums sum[SD_CROSS_PARTS];
};

static sd_status visit(void *self, sd_act *act, sd_err *err)
{
    struct at *a = self;
    struct cross *c = a->of;
    const size_t bytes = (size_t)act->x.cols * sizeof(float);
    (void)err;
    if (c->what == READ)
        for (int64_t i = 0; i < act->x.rows; i++) memcpy(sd_mat_row(c->x, act->pos0 + i) + a->col, sd_mat_row(act->x, i), bytes);
    else if (a->part == c->target && c->what == ZERO)
        for (int64_t i = 0; i < act->x.rows; i++) memset(sd_mat_row(act->x, i), 0, bytes);
    else if (a->part == c->target)
        for (int64_t i = 0; i < c->n_kept; i++) memcpy(sd_mat_row(act->x, c->row[i]), sd_mat_row(c->y, i) + a->col, bytes);
    return SD_OK;
}

static sd_status run(struct cross *c, int model, const int32_t *ids, int64_t n, sd_mat *logits, sd_err *err)
{
    sd_session_rewind(c->session[model], 0);
    sd_segment seg = {.s = c->session[model], .tok = ids, .n = n, .want = SD_LOGITS_ALL};
    const sd_status st = sd_runner_step(c->runner[model], &seg, 1, -1, err);
    *logits = seg.logits;
    return st;
}

static double cross_entropy(const sd_exec *ex, const float *row, int64_t n_vocab, int32_t next) { return sd_logsumexp(ex, row, n_vocab) - (double)row[next]; }

/* What every site gave, and its reconstruction; special tokens and sinks stay. */
static sd_status reconstruct(struct cross *c, const int32_t *ids, int64_t n, sd_err *err)
{
    const int64_t d = c->x.cols;
    c->n_kept = 0;
    if (!(c->limit > 0)) {
        const sd_status st = sd_median_norm(&c->limit, sd_mat_rows(c->x, 0, n), err);
        if (st) return st;
        c->limit *= SD_SINK_FACTOR;
    }
    for (int64_t i = 0; i < n; i++) {
        const float *row = sd_mat_row(c->x, i);
        if (sd_tok_is_special(c->in->m[0]->tok, ids[i]) || (double)c->ex->kern->dot(row, row, d) > c->limit * c->limit) continue;
        memcpy(sd_mat_row(c->kept, c->n_kept), row, (size_t)d * sizeof *row);
        c->row[c->n_kept++] = i;
    }
    if (c->n_kept == 0) return SD_OK;
    const sd_mat kept = sd_mat_rows(c->kept, 0, c->n_kept);
    const sd_status st = sd_dict_encode(&c->codes, c->ex, c->in->dict, kept, err);
    if (!st) sd_dict_reconstruct(sd_mat_rows(c->y, 0, c->n_kept), c->ex, c->in->dict, &c->codes, kept);
    return st;
}

static sd_status one_context(struct cross *c, const int32_t *ids, int64_t n, sd_err *err)
{
    const sd_cross_sites *sites = c->in->sites;
    sd_mat logits;
    sd_status st = SD_OK;
    c->what = READ;
    for (int k = 0; k < 2 && c->in->m[k] && !st; k++) {
        const int64_t V = c->in->m[k]->cfg.n_vocab;
        if ((st = run(c, k, ids, n, &logits, err))) break;
        for (int64_t i = 0; i < n; i++) memcpy(c->plain[k] + i * V, sd_mat_row(logits, i), (size_t)V * sizeof(float));
    }
    if (!st) st = reconstruct(c, ids, n, err);
    for (c->target = 0; c->target < sites->n && !st; c->target++) {
        const int k = sites->second[c->target];
        const int64_t V = c->in->m[k]->cfg.n_vocab;
        struct sums *s = &c->sum[c->target];
        for (int v = 0; v < 2 && !st; v++) {
            c->what = v ? ZERO : REPLACE;
            if ((st = run(c, k, ids, n, &logits, err))) break;
            for (int64_t i = 0; i + 1 < n; i++) {
                const float *row = sd_mat_row(logits, i), *plain = c->plain[k] + i * V;
                s->ce[v] += cross_entropy(c->ex, row, V, ids[i + 1]);
                if (!v) s->plain += cross_entropy(c->ex, plain, V, ids[i + 1]), s->kl += sd_kl(c->ex, plain, row, V);
            }
        }
        s->n += n - 1;
    }
    return st;
}

static sd_status open_cross(struct cross *c, int64_t longest, sd_err *err)
{
    const sd_cross_sites *sites = c->in->sites;
    const int64_t d = sd_dict_get_info(c->in->dict)->d;
    sd_mat *const all[] = {&c->x, &c->kept, &c->y};
    sd_status st = sd_alloc(&c->row, (size_t)longest * sizeof *c->row, "rows", err);
    for (int i = 0; i < 3 && !st; i++) {
        st = sd_alloc(&all[i]->data, (size_t)(longest * d) * sizeof(float), "rows of all sites", err);
        *all[i] = sd_mat_of(all[i]->data, longest, d);
    }
    for (int k = 0; k < 2 && c->in->m[k] && !st; k++) {
        st = sd_session_new(&c->session[k], c->in->m[k], &(sd_session_opt){.n_ctx = longest}, err);
        if (!st) st = sd_runner_new(&c->runner[k], c->ex, c->in->m[k], &(sd_runner_opt){.max_rows = longest, .max_logit_rows = longest, .n_ctx = longest}, err);
        if (!st) st = sd_alloc(&c->plain[k], (size_t)(longest * c->in->m[k]->cfg.n_vocab) * sizeof(float), "logits of a context", err);
    }
    for (int p = 0, col = 0; p < sites->n && !st; col += (int)c->in->width[p++]) {
        c->at[p] = (struct at){c, p, col};
        st = sd_session_attach(c->session[sites->second[p]], &(sd_hook){.name = "crosscoder", .at = &sites->site[p], .n_at = 1, .mode = SD_HOOK_EDIT, .fn = visit, .self = &c->at[p]}, NULL, err);
    }
    return st;
}

sd_status sd_lab_evaluate_cross(sd_cross_ce *out, const sd_exec *ex, const sd_cross_eval *in, sd_err *err)
{
    struct cross c = {.ex = ex, .in = in, .limit = SD_SINK_FACTOR * sd_dict_get_info(in->dict)->site_rms};
    const int64_t count = sd_harvest_contexts(in->contexts);
    int64_t longest = 0, n;
    for (int64_t i = 0; i < count; i++) {
        sd_harvest_context(in->contexts, i, &n);
        if (n > longest) longest = n;
    }
    sd_status st = open_cross(&c, longest, err);
    for (int64_t i = 0; i < count && !st; i++) {
        const int32_t *ids = sd_harvest_context(in->contexts, i, &n);
        st = one_context(&c, ids, n, err);
        sd_progress_update(in->progress, "evaluate", (double)(i + 1), (double)count, "contexts");
        if (!st && sd_progress_cancelled(in->progress)) st = sd_fail(err, SD_E_CANCELLED, "stopped after %" PRId64 " of %" PRId64 " contexts", i + 1, count);
    }
    for (int p = 0; p < in->sites->n; p++) {
        const struct sums *s = &c.sum[p];
        const double k = (double)s->n;
        out[p] = (sd_cross_ce){s->plain / k, s->ce[0] / k, s->ce[1] / k, (s->ce[1] - s->ce[0]) / (s->ce[1] - s->plain), s->kl / k};
    }
    for (int k = 0; k < 2; k++) {
        sd_runner_free(c.runner[k]);
        sd_session_free(c.session[k]);
        sd_free(c.plain[k]);
    }
    sd_codes_release(&c.codes);
    sd_free(c.x.data);
    sd_free(c.kept.data);
    sd_free(c.y.data);
    sd_free(c.row);
    return st;
}
