/* Owns: intervals and tests for rates. Each function is the formula of its source and nothing else; tests/interop/infer.py holds them
 * against scipy, statsmodels and published tables. */
#include "num/infer.h"
#include "num/stats.h"

#include <math.h>
#include <stdlib.h>

double sd_norm_cdf(double z)
{
    return 0.5 * erfc(-z / sqrt(2.0));
}

/* Bisection to a bracket, then Newton's steps on the cdf: slow and exact to the last bits; called a few times an interval. */
double sd_norm_quantile(double p)
{
    if (isnan(p) || p < 0 || p > 1) return NAN;
    if (p == 0) return -INFINITY;
    if (p == 1) return INFINITY;
    bool upper = p > 0.5;
    double q = upper ? 1 - p : p, lo = -40, hi = 0;
    for (int i = 0; i < 40; i++) {
        double mid = (lo + hi) / 2;
        if (sd_norm_cdf(mid) < q) lo = mid;
        else hi = mid;
    }
    double z = (lo + hi) / 2;
    for (int i = 0; i < 4; i++) {
        double density = exp(-z * z / 2) / sqrt(2 * M_PI);
        if (density > 0) z -= (sd_norm_cdf(z) - q) / density;
    }
    return upper ? -z : z;
}

static double z_of(double level)
{
    return sd_norm_quantile(1 - (1 - level) / 2);
}

/* The score interval for a rate p of n that need not be a whole count. */
static sd_ci wilson(double p, double n, double z)
{
    if (!(n > 0)) return (sd_ci){NAN, 0, 1};
    double z2 = z * z, mid = p + z2 / (2 * n), half = z * sqrt(p * (1 - p) / n + z2 / (4 * n * n)), d = 1 + z2 / n;
    sd_ci c = {p, (mid - half) / d, (mid + half) / d};
    if (p <= 0 || c.lo < 0) c.lo = 0;
    if (p >= 1 || c.hi > 1) c.hi = 1;
    return c;
}

sd_ci sd_ci_wilson(int64_t k, int64_t n, double level)
{
    return wilson(n > 0 ? (double)k / (double)n : NAN, (double)n, z_of(level));
}

/* A table of shares times n. */
typedef struct table { double both, first, second, neither; } table;

static sd_ci newcombe(table t, double z)
{
    double n = t.both + t.first + t.second + t.neither;
    if (!(n > 0)) return (sd_ci){NAN, -1, 1};
    sd_ci a = wilson((t.both + t.first) / n, n, z), b = wilson((t.both + t.second) / n, n, z);
    double d = (t.first - t.second) / n, phi = 0, cross = t.both * t.neither - t.first * t.second;
    double margins = (t.both + t.first) * (t.second + t.neither) * (t.both + t.second) * (t.first + t.neither);
    if (cross > 0) cross = cross > n / 2 ? cross - n / 2 : 0;
    if (margins > 0) phi = cross / sqrt(margins);
    double dl = a.est - a.lo, du = a.hi - a.est, el = b.est - b.lo, eu = b.hi - b.est;
    return (sd_ci){d, d - sqrt(fmax(0, dl * dl - 2 * phi * dl * eu + eu * eu)), d + sqrt(fmax(0, du * du - 2 * phi * du * el + el * el))};
}

static table table_of(sd_paired t)
{
    return (table){(double)t.both, (double)t.first, (double)t.second, (double)t.neither};
}

sd_ci sd_ci_newcombe(sd_paired t, double level)
{
    return newcombe(table_of(t), z_of(level));
}

double sd_mcnemar_exact(sd_paired t)
{
    int64_t n = t.first + t.second, k = t.first < t.second ? t.first : t.second;
    double p = 0;
    if (n == 0) return 1;
    for (int64_t i = 0; i <= k; i++)
        p += exp(lgamma((double)n + 1) - lgamma((double)i + 1) - lgamma((double)(n - i) + 1) - (double)n * M_LN2);
    return fmin(1, 2 * p);
}

typedef struct ranked { double p; int64_t at; } ranked;

static int by_p(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->p != y->p) return x->p < y->p ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

sd_status sd_holm(double *adjusted, const double *p, int64_t n, sd_err *err)
{
    ranked *r = NULL;
    int64_t m = 0;
    double most = 0;
    sd_status st = sd_alloc(&r, (size_t)(n > 0 ? n : 1) * sizeof *r, "a family of tests", err);
    if (st) return st;
    for (int64_t i = 0; i < n; i++)
        if (!isnan(p[i])) r[m++] = (ranked){p[i], i};
    qsort(r, (size_t)m, sizeof *r, by_p);
    for (int64_t i = 0; i < n; i++) adjusted[i] = p[i];
    for (int64_t i = 0; i < m; i++) {
        most = fmax(most, fmin(1, (double)(m - i) * r[i].p));
        adjusted[r[i].at] = most;
    }
    sd_free(r);
    return SD_OK;
}

double sd_drop_visible(int64_t n, double p_first, double limit, double level)
{
    double z = z_of(level);
    int64_t yes = (int64_t)llround(p_first * (double)n);
    for (int64_t lost = 0; lost <= yes; lost++) {
        table t = {(double)(yes - lost), (double)lost, 0, (double)(n - yes)};
        if (newcombe(t, z).lo > limit) return (double)lost / (double)n;
    }
    return NAN;
}

static bool decides(sd_paired t, int64_t n, double limit, double z)
{
    double f = (double)n / (double)sd_paired_n(t);
    table u = table_of(t);
    sd_ci c = newcombe((table){u.both * f, u.first * f, u.second * f, u.neither * f}, z);
    return c.lo > limit || c.hi <= limit;
}

int64_t sd_drop_prompts(sd_paired t, double limit, double level, int64_t max_n)
{
    double z = z_of(level);
    int64_t lo = 0, hi = 8;
    if (sd_paired_n(t) < 1) return -1;
    while (hi < max_n && !decides(t, hi, limit, z)) lo = hi, hi *= 2;
    if (hi > max_n) hi = max_n;
    if (!decides(t, hi, limit, z)) return -1;
    while (hi - lo > 1) {
        int64_t mid = lo + (hi - lo) / 2;
        if (decides(t, mid, limit, z)) hi = mid;
        else lo = mid;
    }
    return hi;
}

sd_ci sd_ci_ppi(double mean_f, double var_f, int64_t n_unlabelled, const sd_ppi_stratum *s, int n_strata, double level)
{
    double est = mean_f, var = n_unlabelled > 0 ? var_f / (double)n_unlabelled : 0, z = z_of(level);
    for (int i = 0; i < n_strata; i++) {
        if (s[i].n < 1) continue;
        est += s[i].weight * s[i].mean_diff;
        var += s[i].weight * s[i].weight * s[i].var_diff / (double)s[i].n;
    }
    double half = z * sqrt(var);
    return (sd_ci){est, est - half, est + half};
}

double sd_rogan_gladen(double observed, double fpr, double fnr)
{
    double d = 1 - fpr - fnr;
    return d > 0 ? fmin(1, fmax(0, (observed - fpr) / d)) : NAN;
}

double sd_auroc(double *a, int64_t n_a, double *b, int64_t n_b)
{
    double sum = 0;
    int64_t below = 0, same = 0;
    if (n_a < 1 || n_b < 1) return NAN;
    sd_sort_f64(a, n_a);
    sd_sort_f64(b, n_b);
    for (int64_t i = 0; i < n_a; i++) {
        while (below < n_b && b[below] < a[i]) below++;
        for (same = below; same < n_b && b[same] == a[i];) same++;
        sum += (double)below + 0.5 * (double)(same - below);
    }
    return sum / ((double)n_a * (double)n_b);
}
