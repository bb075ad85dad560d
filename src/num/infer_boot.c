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

/* One side of a table. full [n_full]: those that have a cell; times [n]: how often each was drawn. */
typedef struct side { int64_t *full, *times, n_full; } side;

static sd_status side_of(side *s, const int32_t *at, int64_t n, int64_t most, const char *what, sd_err *err)
{
    sd_status st = sd_alloc_zero(&s->times, (size_t)most * sizeof(int64_t), "a table's sides", err);
    if (!st) st = sd_alloc(&s->full, (size_t)most * sizeof(int64_t), "a table's sides", err);
    for (int64_t i = 0; i < n && !st; i++) {
        if (at[i] < 0 || at[i] >= most) return sd_fail(err, SD_E_ARG, "bootstrap: row %lld is of %s %d, there are %lld", (long long)i, what, at[i], (long long)most);
        if (!s->times[at[i]]++) s->full[s->n_full++] = at[i];
    }
    return st;
}

static void draw_side(side *s, sd_rng *rng)
{
    for (int64_t i = 0; i < s->n_full; i++) s->times[s->full[i]] = 0;
    for (int64_t i = 0; i < s->n_full; i++) s->times[s->full[sd_rng_below(rng, (uint64_t)s->n_full)]]++;
}

/* Draws whose cells are all missing are made again. */
static double draw_table(const double *x, int64_t n, const sd_boot_opt *o, side *group, side *member, sd_rng *rng)
{
    double sum = 0;
    int64_t count = 0;
    while (!count) {
        draw_side(group, rng);
        draw_side(member, rng);
        for (int64_t i = 0; i < n; i++) {
            int64_t w = group->times[o->group[i]] * member->times[o->member[i]];
            sum += (double)w * x[i];
            count += w;
        }
    }
    return sum / (double)count;
}

sd_status sd_ci_bootstrap(sd_ci *out, const double *x, int64_t n, const sd_boot_opt *opt, sd_rng rng, sd_err *err)
{
    int draws = opt->n_draws ? opt->n_draws : DEFAULT_DRAWS;
    double level = opt->level > 0 ? opt->level : 0.95, sum = 0, *mean = NULL;
    side group = {0}, member = {0};
    *out = (sd_ci){NAN, -INFINITY, INFINITY};
    if (n < 1) return SD_OK;
    sd_status st = sd_alloc(&mean, (size_t)draws * sizeof *mean, "bootstrap means", err);
    if (!st && opt->group) st = side_of(&group, opt->group, n, opt->n_groups, "group", err);
    if (!st && opt->group) st = side_of(&member, opt->member, n, opt->n_members, "member", err);
    if (st) goto done;
    for (int64_t i = 0; i < n; i++) sum += x[i];
    for (int b = 0; b < draws; b++) mean[b] = opt->group ? draw_table(x, n, opt, &group, &member, &rng) : draw_flat(x, n, &rng);
    sd_sort_f64(mean, draws);
    *out = (sd_ci){sum / (double)n, quantile(mean, draws, (1 - level) / 2), quantile(mean, draws, 1 - (1 - level) / 2)};
done:
    sd_free(mean);
    void *const all[] = {group.full, group.times, member.full, member.times};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) sd_free(all[i]);
    return st;
}
