/* Owns: the splice hook and the three runs. The plain run's logits are kept for one context, for the KL. */
#include "lab/evaluate.h"

#include "base/par.h"
#include "model/sample.h"
#include "num/stats.h"

#include <inttypes.h>
#include <math.h>

enum variant { PLAIN, SPLICED, ZEROED };

struct splice {
    const sd_exec *ex;
    const sd_model *m;
    const sd_dict *dict;
    sd_runner *runner;
    enum variant variant;
    double max_norm;
    sd_mat x, y, want;  /* rows that are read, their reconstruction, what it should be (x itself but for transcoders); owned */
    int64_t *at, n;     /* places of the rows to replace */
    double *each;       /* [3, n] the plain run's log-sum-exp, cross-entropy and divergence of a context's predictions */
    bool maps;
    sd_codes codes;
    sd_dict_metrics *recon;
    int64_t n_replaced, n_kept;
};

static double norm_of(const float *x, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += (double)x[i] * (double)x[i];
    return sqrt(s);
}

/* Rows that the dictionary reads, special tokens and sinks left out, into s->x and s->at. */
static sd_status take(struct splice *s, const sd_act *act, sd_err *err)
{
    s->n = 0;
    if (!(s->max_norm > 0)) {
        sd_status st = sd_median_norm(&s->max_norm, act->x, err);
        if (st) return st;
        s->max_norm *= SD_SINK_FACTOR;
    }
    for (int64_t i = 0; i < act->x.rows; i++) {
        const float *row = sd_mat_row(act->x, i);
        if (sd_tok_is_special(s->m->tok, act->tok[i]) || norm_of(row, act->x.cols) > s->max_norm) {
            s->n_kept++;
            continue;
        }
        memcpy(sd_mat_row(s->x, s->n), row, (size_t)act->x.cols * sizeof(float));
        s->at[s->n++] = i;
    }
    return SD_OK;
}

static sd_status edit(void *self, sd_act *act, sd_err *err)
{
    struct splice *s = self;
    int64_t d = act->x.cols;
    if (s->variant == PLAIN) return SD_OK;
    if (s->variant == ZEROED) {
        for (int64_t i = 0; i < act->x.rows; i++) memset(sd_mat_row(act->x, i), 0, (size_t)d * sizeof(float));
        return SD_OK;
    }
    sd_status st = s->maps ? SD_OK : take(s, act, err);
    if (st || s->n == 0) return st;
    sd_mat x = sd_mat_rows(s->x, 0, s->n), y = sd_mat_rows(s->y, 0, s->n), want = s->maps ? sd_mat_rows(s->want, 0, s->n) : x;
    for (int64_t i = 0; i < s->n && s->maps; i++) memcpy(sd_mat_row(want, i), sd_mat_row(act->x, s->at[i]), (size_t)d * sizeof(float));
    if ((st = sd_dict_encode(&s->codes, s->ex, s->dict, x, err))) return st;
    sd_dict_reconstruct(y, s->ex, s->dict, &s->codes, x);
    sd_dict_metrics_add(s->recon, want, y, &s->codes);
    for (int64_t i = 0; i < s->n; i++) memcpy(sd_mat_row(act->x, s->at[i]), sd_mat_row(y, i), (size_t)d * sizeof(float));
    s->n_replaced += s->n;
    return SD_OK;
}

/* What a transcoder reads, before the site that it writes is visited. */
static sd_status watch(void *self, sd_act *act, sd_err *err)
{
    struct splice *s = self;
    return s->variant == SPLICED ? take(s, act, err) : SD_OK;
}

struct sums { double ce[3], kl[3]; int64_t n, n_finite[3]; };

/* The predictions of one run: cross-entropy, and the divergence from the plain run's logits; a row each, by any thread. */
struct predictions { const sd_exec *ex; enum variant variant; sd_mat logits; const int32_t *ids; float *plain; double *lse_plain, *ce, *kl; };

static void look_at_rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const struct predictions *p = arg;
    const int64_t V = p->logits.cols;
    (void)chunk;
    for (int64_t i = begin; i < end; i++) {
        const float *row = sd_mat_row(p->logits, i);
        const double lse = sd_logsumexp(p->ex, row, V);
        p->ce[i] = lse - (double)row[p->ids[i + 1]];
        if (p->variant == PLAIN) memcpy(p->plain + i * V, row, (size_t)V * sizeof(float)), p->lse_plain[i] = lse;
        else p->kl[i] = sd_divergence(p->ex, p->plain + i * V, p->lse_plain[i], row, lse, V);
    }
}

/* The three runs of one context. plain [n, V] keeps the logits of the first. */
static sd_status run_context(struct sums *sum, struct splice *sp, sd_session *s, float *plain, const int32_t *ids, int64_t n, sd_err *err)
{
    enum { ROWS = 8 };
    for (int v = PLAIN; v <= ZEROED; v++) {
        sp->variant = (enum variant)v;
        sd_session_rewind(s, 0);
        sd_segment seg = {.s = s, .tok = ids, .n = n, .want = SD_LOGITS_ALL};
        sd_status st = sd_runner_step(sp->runner, &seg, 1, -1, err);
        if (st) return st;
        struct predictions p = {sp->ex, (enum variant)v, seg.logits, ids, plain, sp->each, sp->each + n, sp->each + 2 * n};
        sd_parallel_for(sp->ex->n_threads, n - 1, ROWS, look_at_rows, &p);
        for (int64_t i = 0; i + 1 < n; i++) {
            if (isfinite(p.ce[i])) sum->n_finite[v]++, sum->ce[v] += p.ce[i];
            if (v != PLAIN) sum->kl[v] += p.kl[i];
        }
    }
    sum->n += n - 1;
    return SD_OK;
}

static void conclude(sd_evaluation *out, const struct sums *sum, const struct splice *sp)
{
    sd_dict_metrics_finish(sp->recon);
    out->ce_plain = sum->ce[PLAIN] / (double)sum->n_finite[PLAIN];
    out->ce_spliced = sum->ce[SPLICED] / (double)sum->n_finite[SPLICED];
    out->ce_zero = sum->ce[ZEROED] / (double)sum->n_finite[ZEROED];
    out->ce_recovered = (out->ce_zero - out->ce_spliced) / (out->ce_zero - out->ce_plain);
    out->kl = sum->kl[SPLICED] / (double)sum->n;
    out->kl_zero = sum->kl[ZEROED] / (double)sum->n;
    out->kl_recovered = (out->kl_zero - out->kl) / out->kl_zero;
    out->n_predictions = sum->n;
    out->n_nonfinite = 3 * sum->n - sum->n_finite[PLAIN] - sum->n_finite[SPLICED] - sum->n_finite[ZEROED];
    out->n_replaced = sp->n_replaced;
    out->n_kept = sp->n_kept;
}

/* The first context that is read: all, or those at the end that opt->last_rows holds, of which the last max_contexts. */
static int64_t first_context(const sd_harvest *h, const sd_evaluate_opt *opt)
{
    const int64_t total = sd_harvest_contexts(h), most = opt->max_contexts && opt->max_contexts < total ? opt->max_contexts : total;
    int64_t i = total - 1;
    if (!opt->last_rows) return 0;
    while (i > 0 && total - i < most && sd_harvest_rows(h) - sd_harvest_context_row(h, i - 1) <= opt->last_rows) i--;
    return i;
}

/* Where a transcoder writes; its width must be the dictionary's. */
static sd_status out_site(sd_site *to, const sd_model *m, const sd_dict *dict, sd_err *err)
{
    const char *name = sd_dict_site_out_name(dict);
    int64_t cols = 0;
    if (!*name) return sd_fail(err, SD_E_ARG, "the transcoder does not say at which site its reconstruction belongs");
    sd_status st = sd_site_parse(to, name, strlen(name), err);
    if (!st) st = sd_model_site_cols(m, *to, &cols, err);
    if (st || cols == sd_dict_get_info(dict)->d_out) return st;
    return sd_fail(err, SD_E_SHAPE, "the transcoder writes rows of %" PRId64 ", %s has %" PRId64, sd_dict_get_info(dict)->d_out, name, cols);
}

sd_status sd_lab_evaluate(sd_evaluation *out, const sd_exec *ex, const sd_model *m, const sd_dict *dict, const sd_harvest *h,
                          const sd_evaluate_opt *opt, sd_err *err)
{
    const sd_dict_info *info = sd_dict_get_info(dict);
    struct splice sp = {.ex = ex, .m = m, .dict = dict, .max_norm = SD_SINK_FACTOR * info->site_rms, .recon = &out->recon, .maps = sd_dict_kind_maps(info->kind)};
    struct sums sum = {0};
    sd_session *s = NULL;
    float *plain = NULL;
    const int64_t begin = first_context(h, opt), left = sd_harvest_contexts(h) - begin, count = opt->max_contexts && opt->max_contexts < left ? opt->max_contexts : left;
    int64_t longest = 0, n, cols = 0;
    sd_site site = opt->site ? *opt->site : sd_harvest_site(h), to = site;
    *out = (sd_evaluation){0};
    sd_status st = sd_model_site_cols(m, site, &cols, err);
    if (st) return st;
    if (cols != info->d) {
        sd_fail(err, SD_E_SHAPE, "the dictionary is for rows of %" PRId64 ", %s has %" PRId64, info->d, sd_site_print((char[64]){0}, 64, site), cols);
        return sd_hint(err, "give the model and the site that it was trained on");
    }
    if (sp.maps && (st = out_site(&to, m, dict, err))) return st;
    for (int64_t i = 0; i < count; i++) {
        sd_harvest_context(h, begin + i, &n);
        if (n > longest) longest = n;
    }
    if ((st = sd_dict_metrics_init(&out->recon, info->d_out, info->m, err))) goto done;
    if ((st = sd_alloc(&sp.x.data, (size_t)(longest * cols) * 4, "rows", err))) goto done;
    if ((st = sd_alloc(&sp.y.data, (size_t)(longest * info->d_out) * 4, "rows", err))) goto done;
    if ((st = sd_alloc(&sp.want.data, (size_t)(longest * info->d_out) * 4, "rows", err))) goto done;
    if ((st = sd_alloc(&sp.at, (size_t)longest * sizeof *sp.at, "rows", err))) goto done;
    if ((st = sd_alloc(&plain, (size_t)(longest * m->cfg.n_vocab) * 4, "logits of a context", err))) goto done;
    if ((st = sd_alloc(&sp.each, (size_t)(3 * longest) * sizeof *sp.each, "predictions of a context", err))) goto done;
    sp.x = sd_mat_of(sp.x.data, longest, cols);
    sp.y = sd_mat_of(sp.y.data, longest, info->d_out);
    sp.want = sd_mat_of(sp.want.data, longest, info->d_out);
    if ((st = sd_session_new(&s, m, &(sd_session_opt){.n_ctx = longest}, err))) goto done;
    if ((st = sd_runner_new(&sp.runner, ex, m, &(sd_runner_opt){.max_rows = longest, .max_logit_rows = longest, .n_ctx = longest}, err))) goto done;
    if (sp.maps && (st = sd_session_attach(s, &(sd_hook){.name = "read", .at = &site, .n_at = 1, .mode = SD_HOOK_READ, .fn = watch, .self = &sp}, NULL, err))) goto done;
    if ((st = sd_session_attach(s, &(sd_hook){.name = "splice", .at = &to, .n_at = 1, .mode = SD_HOOK_EDIT, .fn = edit, .self = &sp}, NULL, err)))
        goto done;
    for (int64_t i = 0; i < count; i++) {
        const int32_t *ids = sd_harvest_context(h, begin + i, &n);
        if ((st = run_context(&sum, &sp, s, plain, ids, n, err))) goto done;
        sd_progress_update(opt->progress, "evaluate", (double)(i + 1), (double)count, "contexts");
        if (sd_progress_cancelled(opt->progress)) {
            st = sd_fail(err, SD_E_CANCELLED, "stopped after %" PRId64 " of %" PRId64 " contexts", i + 1, count);
            goto done;
        }
    }
    out->n_contexts = count;
    conclude(out, &sum, &sp);
done:
    sd_runner_free(sp.runner);
    sd_session_free(s);
    sd_codes_release(&sp.codes);
    sd_dict_metrics_release(&out->recon);
    sd_free(sp.x.data);
    sd_free(sp.y.data);
    sd_free(sp.want.data);
    sd_free(sp.at);
    sd_free(plain);
    sd_free(sp.each);
    return st;
}
