#include "lab/planted.h"

struct sd_planted {
    sd_planted_opt opt;
    int64_t d;
    int max_docs;
    uint32_t *without; /* [max_docs] */
    sd_site *site;
    sd_grad_hook hook;
};

static void take_out(float *row, const float *u, int64_t d)
{
    double s = 0;
    for (int64_t i = 0; i < d; i++) s += (double)row[i] * (double)u[i];
    for (int64_t i = 0; i < d; i++) row[i] -= (float)(s * (double)u[i]);
}

static sd_status on_site(void *self, const sd_grad_act *act, sd_err *err)
{
    const sd_planted *p = self;
    const sd_mat m = act->dx.data ? act->dx : act->x;
    if (act->n_doc > p->max_docs) return sd_fail(err, SD_E_ARG, "more documents than were planned");
    for (int b = 0; b < act->n_doc; b++)
        for (int i = 0; i < p->opt.n && p->without[b]; i++)
            for (int64_t r = act->row0[b]; r < act->row0[b + 1] && (p->without[b] >> i & 1); r++) take_out(sd_mat_row(m, r), p->opt.u + i * p->d, p->d);
    return SD_OK;
}

sd_status sd_planted_new(sd_planted **out, const sd_model *m, const sd_planted_opt *opt, int max_docs, sd_err *err)
{
    sd_planted *p = NULL;
    const int n_layer = (int)m->cfg.n_layer;
    *out = NULL;
    SD_ASSERT(opt->n <= SD_PLANTED_MOST);
    sd_status st = sd_alloc_zero(&p, sizeof *p, "planted directions", err);
    if (st) return st;
    *p = (sd_planted){.opt = *opt, .d = m->cfg.d_model, .max_docs = max_docs};
    st = sd_alloc_zero(&p->without, (size_t)max_docs * sizeof *p->without, "planted directions", err);
    if (!st) st = sd_alloc(&p->site, (size_t)(2 * n_layer + 1) * sizeof *p->site, "planted directions", err);
    if (st) {
        sd_planted_free(p);
        return st;
    }
    p->site[0] = (sd_site){SD_SITE_RESID_PRE, 0};
    for (int l = 0; l < n_layer; l++) {
        p->site[2 * l + 1] = (sd_site){SD_SITE_RESID_MID, l};
        p->site[2 * l + 2] = (sd_site){SD_SITE_RESID_POST, l};
    }
    p->hook = (sd_grad_hook){.at = p->site, .n_at = 2 * n_layer + 1, .fn = on_site, .self = p};
    *out = p;
    return SD_OK;
}

void sd_planted_free(sd_planted *p)
{
    if (!p) return;
    sd_free(p->without);
    sd_free(p->site);
    sd_free(p);
}

const sd_grad_hook *sd_planted_hook(const sd_planted *p) { return &p->hook; }
void sd_planted_set(sd_planted *p, int doc, uint32_t without) { p->without[doc] = without; }
