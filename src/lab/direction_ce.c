/* Floors of equal damage: random directions that cost as much cross-entropy of a text as the chosen one when they are taken out.
 *
 * A direction of no meaning may cost less than the chosen one, so that its ablation is no fair floor even when it takes the same variance away. Each random mixture of
 * the validation prompts' activations is taken out with the strength, up to 2 (a reflection), at which its cost is the chosen one's; then the refusals that are left
 * are scored. A mixture that never costs as much is counted as unmatched and scored at strength 2. */
#include "lab/direction_int.h"

#include "base/rng.h"
#include "lab/ablate_cost.h"

#include <math.h>

sd_status sd_direction__ce_floor(direction_study *s, const float *x, int64_t n_x, int n, sd_err *err)
{
    sd_direction *o = s->out;
    double plain = NAN, chosen = NAN, bypass, w, cost;
    bool matched;
    float *u = NULL;
    const sd_cost_text text = {s->m, s->opt->text, s->opt->n_text};
    sd_status st = sd_alloc(&u, (size_t)s->d * sizeof *u, "a floor", err);
    if (!st) st = sd_ablate_cross_entropy(&plain, &text, NULL, 0, 0, err);
    if (!st && sd_unit(u, o->vector, s->d)) st = sd_ablate_cross_entropy(&chosen, &text, u, 1, 1, err);
    o->ce_plain = plain;
    o->ce_chosen = chosen;
    cost = chosen - plain;
    for (int i = 0; i < n && cost >= SD_COST_LEAST && !st; i++) {
        sd_rng rng = sd_rng_make(s->opt->seed, "direction of equal cost", (uint64_t)i);
        memset(u, 0, (size_t)s->d * sizeof *u);
        for (int64_t k = 0; k < n_x; k++) {
            float g = sd_rng_normal(&rng);
            for (int64_t j = 0; j < s->d; j++) u[j] += g * x[k * s->d + j];
        }
        sd_unit(u, u, s->d);
        st = sd_ablate_strength(&w, &matched, &text, u, 1, (const double[2]){plain, cost}, err);
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
