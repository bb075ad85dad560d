/* Forward and backward of the forecast: first tokens of prompts, rows of data. The learner takes the gradient of one target a position, so a prompt goes through once for every token of R there. */
#include "lab/forecast_int.h"

#include <math.h>

enum { MAX_DOCS = 64 };
#define EPS 1e-8 /* of lab/refusal.c */

static sd_status on_site(void *self, const sd_grad_act *act, sd_err *err)
{
    sd_forecast_pass *p = self;
    (void)err;
    if (!p->act || act->dx.data) return SD_OK;
    for (int b = 0; b < act->n_doc; b++)
        memcpy(p->act + ((int64_t)b * p->n_layer + act->site.layer) * p->d, sd_mat_row(act->x, act->row0[b + 1] - 1), (size_t)p->d * sizeof(float));
    return SD_OK;
}

sd_status sd_forecast__pass_init(sd_forecast_pass *p, sd_learner *l, const sd_model *m, const sd_refusal_set *set, int64_t max_rows, sd_err *err)
{
    *p = (sd_forecast_pass){.l = l, .n_layer = m->cfg.n_layer, .d = m->cfg.d_model, .max_rows = max_rows, .set = set};
    sd_status st = sd_alloc(&p->target, (size_t)max_rows * sizeof *p->target, "targets", err);
    if (!st) st = sd_alloc(&p->row, (size_t)max_rows * sizeof *p->row, "targets", err);
    if (!st) st = sd_alloc(&p->site, (size_t)p->n_layer * sizeof *p->site, "sites", err);
    for (int i = 0; i < p->n_layer && !st; i++) p->site[i] = (sd_site){SD_SITE_RESID_PRE, i};
    return st;
}

void sd_forecast__pass_release(sd_forecast_pass *p)
{
    sd_free(p->target);
    sd_free(p->row);
    sd_free(p->site);
    *p = (sd_forecast_pass){0};
}

/* As many prompts from v on as fit; their targets are -1 but the last, which is `id`. */
static int pack(sd_forecast_pass *p, const sd_forecast_prompt *v, int64_t n, int32_t id)
{
    int n_doc = 0;
    int64_t at = 0;
    while (n_doc < n && n_doc < MAX_DOCS && at + v[n_doc].n <= p->max_rows) {
        for (int64_t i = 0; i < v[n_doc].n; i++) p->target[at + i] = i + 1 < v[n_doc].n ? -1 : id;
        p->doc[n_doc] = (sd_doc){v[n_doc].tok, p->target + at, v[n_doc].n};
        at += v[n_doc++].n;
    }
    return n_doc;
}

static sd_status too_long(const sd_forecast_pass *p, int64_t n, sd_err *err)
{
    return sd_fail(err, SD_E_ARG, "a prompt of %lld tokens, at most %lld", (long long)n, (long long)p->max_rows);
}

sd_status sd_forecast__first(sd_forecast_pass *p, const sd_forecast_prompt *v, int64_t n, float *lp, float *act, sd_err *err)
{
    const sd_grad_hook hook = {.at = p->site, .n_at = p->n_layer, .fn = on_site, .self = p};
    sd_status st = act ? sd_learner_watch(p->l, &hook, err) : SD_OK;
    for (int64_t i = 0; i < n && !st;) {
        const float *got;
        int64_t n_lp;
        int m = pack(p, v + i, n - i, 0);
        const sd_learner_look look = {.id = p->set->id, .n_id = p->set->n, .lp = lp + i * p->set->n};
        if (!m) st = too_long(p, v[i].n, err);
        p->act = act ? act + i * p->n_layer * p->d : NULL;
        if (!st) st = sd_learner_forward(p->l, &(sd_learner_batch){.doc = p->doc, .n_doc = m, .look = &look}, &got, &n_lp, err);
        i += m;
    }
    p->act = NULL;
    sd_status end = act ? sd_learner_watch(p->l, NULL, st ? NULL : err) : SD_OK;
    return st ? st : end;
}

sd_status sd_forecast__first_gradient(sd_forecast_pass *p, const sd_forecast_prompt *v, int64_t n, const float *weight, sd_err *err)
{
    sd_status st = SD_OK;
    for (int k = 0; k < p->set->n && !st; k++)
        for (int64_t i = 0; i < n && !st;) {
            const float *got;
            int64_t n_lp;
            int m = pack(p, v + i, n - i, p->set->id[k]);
            if (!m) st = too_long(p, v[i].n, err);
            if (!st) st = sd_learner_forward(p->l, &(sd_learner_batch){.doc = p->doc, .n_doc = m, .grad = true}, &got, &n_lp, err);
            for (int j = 0; j < m && !st; j++) p->row[j] = weight[(i + j) * p->set->n + k];
            if (!st) st = sd_learner_backward(p->l, p->row, err);
            i += m;
        }
    return st;
}

sd_status sd_forecast__row(sd_forecast_pass *p, const sd_tune_set *set, int64_t sample, double share, double *loss, sd_err *err)
{
    const sd_tune_sample *s = &set->sample[sample];
    const sd_doc doc = {set->tok + s->at, set->target + s->at, s->n};
    const float *lp;
    int64_t n_lp;
    sd_status st = sd_learner_forward(p->l, &(sd_learner_batch){.doc = &doc, .n_doc = 1, .grad = true}, &lp, &n_lp, err);
    *loss = 0;
    for (int64_t i = 0; i < n_lp && !st; i++) {
        *loss -= (double)lp[i];
        p->row[i] = (float)(-1 / share);
    }
    return st ? st : sd_learner_backward(p->l, p->row, err);
}

/* As many of rows which[i ..] as one pass takes; i goes on. */
static int pack_rows(sd_forecast_pass *p, const sd_tune_set *set, const int64_t *which, int64_t n, int64_t *i)
{
    int m = 0;
    for (int64_t at = 0; *i < n && m < MAX_DOCS && at + set->sample[which[*i]].n <= p->max_rows; ++*i) {
        const sd_tune_sample *s = &set->sample[which[*i]];
        p->doc[m++] = (sd_doc){set->tok + s->at, set->target + s->at, s->n};
        at += s->n;
    }
    return m;
}

sd_status sd_forecast__rows(sd_forecast_pass *p, const sd_tune_set *set, const int64_t *which, int64_t n, double share, sd_err *err)
{
    sd_status st = SD_OK;
    for (int64_t i = 0; i < n && !st;) {
        const float *lp;
        int64_t n_lp;
        int m = pack_rows(p, set, which, n, &i);
        st = sd_learner_forward(p->l, &(sd_learner_batch){.doc = p->doc, .n_doc = m, .grad = true}, &lp, &n_lp, err);
        for (int64_t j = 0; j < n_lp && !st; j++) p->row[j] = (float)(-1 / share);
        if (!st) st = sd_learner_backward(p->l, p->row, err);
    }
    return st;
}

sd_status sd_forecast__loss(sd_forecast_pass *p, const sd_tune_set *set, const int64_t *which, int64_t n, double *loss, sd_err *err)
{
    double sum = 0, count = 0;
    sd_status st = SD_OK;
    for (int64_t i = 0; i < n && !st;) {
        const float *lp;
        int64_t n_lp;
        int m = pack_rows(p, set, which, n, &i);
        st = sd_learner_forward(p->l, &(sd_learner_batch){.doc = p->doc, .n_doc = m}, &lp, &n_lp, err);
        for (int64_t j = 0; j < n_lp && !st; j++) sum -= (double)lp[j];
        count += st ? 0 : (double)n_lp;
    }
    *loss = sum / count;
    return st;
}

double sd_forecast__score(const float *lp, int k, float *slope)
{
    double p = 0;
    for (int i = 0; i < k; i++) p += exp((double)lp[i]);
    if (p > 1) p = 1; /* NaN stays; f32 log-probabilities of all there is */
    for (int i = 0; i < k && slope; i++) slope[i] = (float)(exp((double)lp[i]) * (1 / (p + EPS) + 1 / (1 - p + EPS)));
    return log(p + EPS) - log(1 - p + EPS);
}
