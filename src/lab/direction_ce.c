/* Floors of equal damage: random directions that cost as much cross-entropy of a text as the chosen one when they are taken out.
 *
 * A direction of no meaning may cost less than the chosen one, so that its ablation is no fair floor even when it takes the same variance away. Each random mixture of
 * the validation prompts' activations is taken out with the strength, up to 2 (a reflection), at which its cost is the chosen one's; then the refusals that are left
 * are scored. A mixture that never costs as much is counted as unmatched and scored at strength 2. */
#include "lab/direction_int.h"

#include "base/rng.h"
#include "lab/score.h"

#include <math.h>

enum { WINDOW = 256, BISECT = 8 };
#define MOST 2.0      /* strength */
#define LEAST 0.0005  /* nats: a cost below it is nothing that could be matched */
#define NEAR 0.05     /* of the cost: matched */

static sd_status cross_entropy(double *out, direction_study *s, const float *u, double w, sd_err *err)
{
    sd_ablate a = {0};
    sd_hook h;
    sd_score_result r = {0};
    int64_t window = s->m->max_ctx < WINDOW ? s->m->max_ctx : WINDOW;
    sd_status st = u ? sd_ablate_init(&a, s->m, u, w, err) : SD_OK;
    h = sd_ablate_hook(&a);
    if (!st) st = sd_lab_score(&r, s->m->ex, s->m, s->opt->text, s->opt->n_text, &(sd_score_opt){.window = window, .edit = u ? &h : NULL}, err);
    sd_ablate_release(&a);
    *out = r.ce_loss;
    return st;
}

/* The strength at which taking u out costs `cost`; *matched says whether it does. Cost grows with the strength near enough that halving finds a crossing. */
static sd_status strength(double *w, bool *matched, direction_study *s, const float *u, double plain, double cost, sd_err *err)
{
    double lo = 0, hi = MOST, ce;
    sd_status st = cross_entropy(&ce, s, u, MOST, err);
    *w = MOST;
    *matched = fabs(ce - plain - cost) <= NEAR * cost;
    if (st || *matched || ce - plain < cost) return st;
    for (int i = 0; i < BISECT && !st && !*matched; i++) {
        *w = (lo + hi) / 2;
        st = cross_entropy(&ce, s, u, *w, err);
        *matched = fabs(ce - plain - cost) <= NEAR * cost;
        if (ce - plain < cost) lo = *w;
        else hi = *w;
    }
    return st;
}

sd_status sd_direction__ce_floor(direction_study *s, const float *x, int64_t n_x, int n, sd_err *err)
{
    sd_direction *o = s->out;
    double plain = NAN, chosen = NAN, bypass, w, cost;
    bool matched;
    float *u = NULL;
    sd_status st = sd_alloc(&u, (size_t)s->d * sizeof *u, "a floor", err);
    if (!st) st = cross_entropy(&plain, s, NULL, 0, err);
    if (!st && sd_unit(u, o->vector, s->d)) st = cross_entropy(&chosen, s, u, 1, err);
    o->ce_plain = plain;
    o->ce_chosen = chosen;
    cost = chosen - plain;
    for (int i = 0; i < n && cost >= LEAST && !st; i++) {
        sd_rng rng = sd_rng_make(s->opt->seed, "direction of equal cost", (uint64_t)i);
        memset(u, 0, (size_t)s->d * sizeof *u);
        for (int64_t k = 0; k < n_x; k++) {
            float g = sd_rng_normal(&rng);
            for (int64_t j = 0; j < s->d; j++) u[j] += g * x[k * s->d + j];
        }
        sd_unit(u, u, s->d);
        st = strength(&w, &matched, s, u, plain, cost, err);
        if (!st) st = sd_direction__bypass(&bypass, s, u, w, err);
        if (st) break;
        o->equal_cost.n_unmatched += !matched;
        sd_direction__count(&o->equal_cost, bypass, o->cand[o->best].bypass);
        sd_progress_update(s->opt->progress, "floors of equal cost", i + 1, n, "directions");
        if (sd_progress_cancelled(s->opt->progress)) st = sd_fail(err, SD_E_CANCELLED, "stopped after %d of %d floors of equal cost", i + 1, n);
    }
    sd_free(u);
    return st;
}
