/* Random subspaces beside the best directions. Of equal variance: k directions that hold as much mean square of the harmful prompts' activations. Of equal cost: k random
 * mixtures of those activations, taken out with the strength at which they cost a text as much cross-entropy. */
#include "lab/firmness_int.h"

#include "base/rng.h"

#include <inttypes.h>
#include <math.h>

enum { BISECT = 24 };

double sd_firm__removed(const firm_study *s, const float *basis, int k)
{
    double sum = 0;
    for (int64_t i = 0; i < s->n_test[0]; i++)
        for (int q = 0; q < k; q++) sum += pow(sd_dot(basis + q * s->d, s->x + i * s->d, s->d), 2) / (double)s->n_test[0];
    return sum;
}

/* A random mixture of the activations, at unit norm. */
static void mixture(const firm_study *s, float *to, sd_rng *rng)
{
    memset(to, 0, (size_t)s->d * sizeof *to);
    for (int64_t i = 0; i < s->n_test[0]; i++) {
        float g = sd_rng_normal(rng);
        for (int64_t j = 0; j < s->d; j++) to[j] += g * s->x[i * s->d + j];
    }
    sd_unit(to, to, s->d);
}

/* k random directions between isotropic ones (little mean square) and mixtures of activations (much), where together they hold `target`. */
static void of_variance(const firm_study *s, float *basis, float *ends, int k, double target, sd_rng *rng)
{
    int64_t d = s->d;
    double lo = 0, hi = 1;
    for (int q = 0; q < k; q++) {
        float *a = ends + 2 * q * d;
        for (int64_t j = 0; j < d; j++) a[j] = sd_rng_normal(rng);
        sd_unit(a, a, d);
        mixture(s, a + d, rng);
    }
    for (int t = 0; t < BISECT; t++) {
        double mid = (lo + hi) / 2;
        for (int q = 0; q < k; q++) {
            const float *a = ends + 2 * q * d, *b = a + d;
            for (int64_t j = 0; j < d; j++) basis[q * d + j] = (float)((1 - mid) * (double)a[j] + mid * (double)b[j]);
            sd_firm__orthonormal(basis, q, d);
        }
        if (sd_firm__removed(s, basis, k) < target) lo = mid;
        else hi = mid;
    }
}

static sd_status count(firm_study *s, sd_firm_floor *f, double best, const float *basis, int k, double w, sd_err *err)
{
    double share_kl[2];
    sd_status st = sd_firm__measure(s, basis, k, w, share_kl, err);
    if (st) return st;
    f->refused += share_kl[0];
    f->kl += share_kl[1];
    f->removed += sd_firm__removed(s, basis, k);
    f->n_not_above += share_kl[0] <= best;
    if (share_kl[0] < f->lowest) f->lowest = share_kl[0];
    f->n++;
    return SD_OK;
}

static void mean(sd_firm_floor *f)
{
    const double n = f->n ? (double)f->n : (double)NAN;
    f->refused /= n;
    f->kl /= n;
    f->removed /= n;
    f->ce_cost /= n;
    if (!f->n) f->lowest = NAN;
}

static sd_status of_cost(firm_study *s, sd_firm_cut *cut, float *space, int k, sd_rng *rng, sd_err *err)
{
    const sd_cost_text text = {s->m, s->o->text, s->o->n_text};
    double w, ce;
    bool matched;
    for (int q = 0; q < k; q++) {
        mixture(s, space + q * s->d, rng);
        sd_firm__orthonormal(space, q, s->d);
    }
    sd_status st = sd_ablate_strength(&w, &matched, &text, space, k, (const double[2]){s->ce_plain, cut->ce_cost}, err);
    if (!st) st = sd_ablate_cross_entropy(&ce, &text, space, k, w, err);
    if (!st) st = count(s, &cut->cost, cut->refused.est, space, k, w, err);
    if (st) return st;
    cut->cost.ce_cost += ce - s->ce_plain;
    cut->cost.n_unmatched += !matched;
    return SD_OK;
}

sd_status sd_firm__floors(firm_study *s, int c, int k, sd_err *err)
{
    sd_firm_cut *cut = &s->out->cut[c];
    float *space = NULL, *ends = NULL;
    int n = s->out->n_floor;
    size_t d = (size_t)s->d;
    sd_status st = sd_alloc(&space, (size_t)(k + 1) * d * sizeof *space, "directions", err);
    if (!st) st = sd_alloc(&ends, 2 * (size_t)(k + 1) * d * sizeof *ends, "directions", err);
    cut->variance = cut->cost = (sd_firm_floor){.lowest = 1};
    cut->variance.ce_cost = NAN;
    if (!k) n = 0; /* no direction was found: there is nothing to be matched */
    for (int f = 0; f < n && !st; f++) {
        sd_rng rng = sd_rng_make(s->o->seed, "random subspace", (uint64_t)(c * 1000 + f)), other = sd_rng_make(s->o->seed, "subspace of equal cost", (uint64_t)(c * 1000 + f));
        of_variance(s, space, ends, k, cut->removed, &rng);
        st = count(s, &cut->variance, cut->refused.est, space, k, 1, err);
        if (!st && cut->ce_cost >= SD_COST_LEAST) st = of_cost(s, cut, space, k, &other, err);
        sd_progress_update(s->o->progress, "subspaces", c * n + f + 1, SD_FIRM_K * n, "random ones");
        if (!st && sd_progress_cancelled(s->o->progress)) st = sd_fail(err, SD_E_CANCELLED, "stopped after %d of %d random subspaces", c * n + f + 1, SD_FIRM_K * n);
    }
    mean(&cut->variance);
    mean(&cut->cost);
    sd_free(space);
    sd_free(ends);
    return st;
}
