/* The bootstrap. Draws come from the caller's stream in order, one thread: a resample is a few thousand additions. */
#include "num/infer.h"
#include "num/stats.h"

#include <math.h>

enum { DEFAULT_DRAWS = 2000 };

/* Linear between order statistics (numpy's default; Hyndman and Fan 1996, type 7). x sorted. */
static double quantile(const double *x, int64_t n, double q)
{
    double at = q * (double)(n - 1);
    int64_t i = (int64_t)floor(at);
    if (i + 1 >= n) return x[n - 1];
    return x[i] + (at - (double)i) * (x[i + 1] - x[i]);
}

static double draw_flat(const double *x, int64_t n, sd_rng *rng)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[sd_rng_below(rng, (uint64_t)n)];
    return sum / (double)n;
}

/* start [n_groups + 1], order [n]: members of each group. Empty groups are not drawn: `full` lists the others. */
typedef struct groups { int64_t *start, *order, *full; int64_t n_full; } groups;

static double draw_nested(const double *x, const groups *g, sd_rng *rng)
{
    double sum = 0;
    int64_t count = 0;
    for (int64_t i = 0; i < g->n_full; i++) {
        int64_t k = g->full[sd_rng_below(rng, (uint64_t)g->n_full)], a = g->start[k], n = g->start[k + 1] - a;
        for (int64_t j = 0; j < n; j++) sum += x[g->order[a + (int64_t)sd_rng_below(rng, (uint64_t)n)]];
        count += n;
    }
    return sum / (double)count;
}

static sd_status sort_groups(groups *g, const int32_t *group, int64_t n, int64_t n_groups, sd_err *err)
{
    sd_status st = sd_alloc_zero(&g->start, (size_t)(n_groups + 2) * sizeof(int64_t), "groups", err);
    if (!st) st = sd_alloc(&g->order, (size_t)n * sizeof(int64_t), "groups", err);
    if (!st) st = sd_alloc(&g->full, (size_t)n_groups * sizeof(int64_t), "groups", err);
    if (st) return st;
    for (int64_t i = 0; i < n; i++) g->start[group[i] + 2]++;
    for (int64_t k = 0; k < n_groups; k++) {
        if (g->start[k + 2]) g->full[g->n_full++] = k;
        g->start[k + 2] += g->start[k + 1];
    }
    for (int64_t i = 0; i < n; i++) g->order[g->start[group[i] + 1]++] = i;
    return SD_OK;
}

sd_status sd_ci_bootstrap(sd_ci *out, const double *x, int64_t n, const sd_boot_opt *opt, sd_rng rng, sd_err *err)
{
    int draws = opt->n_draws ? opt->n_draws : DEFAULT_DRAWS;
    double level = opt->level > 0 ? opt->level : 0.95, sum = 0, *mean = NULL;
    groups g = {0};
    *out = (sd_ci){NAN, -INFINITY, INFINITY};
    if (n < 1) return SD_OK;
    for (int64_t i = 0; opt->group && i < n; i++)
        if (opt->group[i] < 0 || opt->group[i] >= opt->n_groups)
            return sd_fail(err, SD_E_ARG, "bootstrap: row %lld is of group %d, there are %lld", (long long)i, opt->group[i], (long long)opt->n_groups);
    sd_status st = sd_alloc(&mean, (size_t)draws * sizeof *mean, "bootstrap means", err);
    if (!st && opt->group) st = sort_groups(&g, opt->group, n, opt->n_groups, err);
    if (st) goto done;
    for (int64_t i = 0; i < n; i++) sum += x[i];
    for (int b = 0; b < draws; b++) mean[b] = opt->group ? draw_nested(x, &g, &rng) : draw_flat(x, n, &rng);
    sd_sort_f64(mean, draws);
    *out = (sd_ci){sum / (double)n, quantile(mean, draws, (1 - level) / 2), quantile(mean, draws, 1 - (1 - level) / 2)};
done:
    sd_free(mean);
    sd_free(g.start);
    sd_free(g.order);
    sd_free(g.full);
    return st;
}
