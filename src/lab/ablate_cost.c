#include "lab/ablate_cost.h"

#include "lab/score.h"

#include <math.h>

enum { WINDOW = 256, BISECT = 8 };
#define NEAR 0.05 /* of the cost: matched */

sd_status sd_ablate_cross_entropy(double *out, const sd_cost_text *t, const float *basis, int n_dir, double w, sd_err *err)
{
    sd_ablate a = {0};
    sd_hook h;
    sd_score_result r = {0};
    int64_t window = t->m->max_ctx < WINDOW ? t->m->max_ctx : WINDOW;
    sd_status st = n_dir ? sd_ablate_init_space(&a, t->m, basis, n_dir, w, err) : SD_OK;
    h = sd_ablate_hook(&a);
    if (!st) st = sd_lab_score(&r, t->m->ex, t->m, t->ids, t->n, &(sd_score_opt){.window = window, .edit = n_dir ? &h : NULL}, err);
    sd_ablate_release(&a);
    *out = r.ce_loss;
    return st;
}

sd_status sd_ablate_strength(double *w, bool *matched, const sd_cost_text *t, const float *basis, int n_dir, const double plain_cost[2], sd_err *err)
{
    double lo = 0, hi = SD_COST_MOST, ce, plain = plain_cost[0], cost = plain_cost[1];
    sd_status st = sd_ablate_cross_entropy(&ce, t, basis, n_dir, SD_COST_MOST, err);
    *w = SD_COST_MOST;
    *matched = fabs(ce - plain - cost) <= NEAR * cost;
    if (st || *matched || ce - plain < cost) return st;
    for (int i = 0; i < BISECT && !st && !*matched; i++) {
        *w = (lo + hi) / 2;
        st = sd_ablate_cross_entropy(&ce, t, basis, n_dir, *w, err);
        *matched = fabs(ce - plain - cost) <= NEAR * cost;
        if (ce - plain < cost) lo = *w;
        else hi = *w;
    }
    return st;
}
