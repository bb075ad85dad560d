/* L1 logistic regression on sparse rows by FISTA (Beck & Teboulle 2009): mean log-loss + LAMBDA |w|_1 with a free bias, which is convex, so the answer does
 * not depend on how it is found. The step is one over a quarter of the largest eigenvalue of X^T X / n (the bound of log-loss's curvature). */
#include "lab/absorption_int.h"

#include <math.h>

enum { STEPS = 300, POWER_STEPS = 30 };
static const double LAMBDA = 0.01, SLACK = 1.1; /* the power method's value is from below */

void sd_absorb__columns(float *to, const absorb_words *w, int64_t i, const int64_t *feature, int k)
{
    memset(to, 0, (size_t)k * sizeof *to);
    for (int64_t e = w->z.row_ptr[i]; e < w->z.row_ptr[i + 1]; e++)
        for (int q = 0; q < k; q++)
            if (w->z.idx[e] == feature[q]) to[q] = w->z.val[e];
}

/* s = X v + b for the words to learn from; features over their largest activation. */
static void forward(double *s, const absorb_words *w, const double *by, const double *v, double b)
{
    for (int64_t i = 0; i < w->n_train; i++) {
        s[i] = b;
        for (int64_t e = w->z.row_ptr[i]; e < w->z.row_ptr[i + 1]; e++) s[i] += (double)w->z.val[e] * by[w->z.idx[e]] * v[w->z.idx[e]];
    }
}

/* g = X^T r; returns the sum of r. */
static double backward(double *g, const absorb_words *w, const double *by, const double *r)
{
    double sum = 0;
    memset(g, 0, (size_t)w->m * sizeof *g);
    for (int64_t i = 0; i < w->n_train; i++) {
        sum += r[i];
        for (int64_t e = w->z.row_ptr[i]; e < w->z.row_ptr[i + 1]; e++) g[w->z.idx[e]] += (double)w->z.val[e] * by[w->z.idx[e]] * r[i];
    }
    return sum;
}

static double largest_eigenvalue(const absorb_words *w, const double *by, double *v, double *g, double *s)
{
    double value = 0, b = 1;
    for (int64_t f = 0; f < w->m; f++) v[f] = by[f] > 0 ? 1 : 0;
    for (int t = 0; t < POWER_STEPS; t++) {
        double len = b * b;
        for (int64_t f = 0; f < w->m; f++) len += v[f] * v[f];
        len = 1 / sqrt(len);
        for (int64_t f = 0; f < w->m; f++) v[f] *= len;
        forward(s, w, by, v, b * len);
        b = backward(g, w, by, s) / (double)w->n_train;
        value = b * b;
        for (int64_t f = 0; f < w->m; f++) {
            v[f] = g[f] / (double)w->n_train;
            value += v[f] * v[f];
        }
        value = sqrt(value);
    }
    return value;
}

static void take_best(int64_t order[SD_ABSORB_MAIN], int *n, const double *w, int64_t m)
{
    *n = 0;
    for (int64_t f = 0; f < m; f++) {
        if (!(w[f] > 0) || (*n == SD_ABSORB_MAIN && !(w[f] > w[order[*n - 1]]))) continue;
        int at = *n < SD_ABSORB_MAIN ? (*n)++ : SD_ABSORB_MAIN - 1;
        for (; at > 0 && w[f] > w[order[at - 1]]; at--) order[at] = order[at - 1];
        order[at] = f;
    }
}

sd_status sd_absorb__rank(int64_t order[SD_ABSORB_MAIN], int *n, const absorb_words *w, int l, sd_err *err)
{
    const int64_t m = w->m, rows = w->n_train;
    double *all = NULL, b = 0, b_before = 0, momentum = 1;
    sd_status st = sd_alloc_zero(&all, (size_t)(5 * m + rows) * sizeof *all, "a sparse regression", err);
    if (st) return st;
    double *by = all, *v = all + m, *before = all + 2 * m, *at = all + 3 * m, *g = all + 4 * m, *s = all + 5 * m;
    for (int64_t e = 0; e < w->z.row_ptr[rows]; e++) by[w->z.idx[e]] = fmax(by[w->z.idx[e]], (double)w->z.val[e]);
    for (int64_t f = 0; f < m; f++) by[f] = by[f] > 0 ? 1 / by[f] : 0;
    const double step = 4 / (SLACK * largest_eigenvalue(w, by, v, g, s));
    memset(v, 0, (size_t)m * sizeof *v);
    double b_at = 0;
    for (int t = 0; t < STEPS; t++) {
        forward(s, w, by, at, b_at);
        for (int64_t i = 0; i < rows; i++) s[i] = (1 / (1 + exp(-s[i])) - (w->letter[i] == l)) / (double)rows;
        const double sum = backward(g, w, by, s), next = 0.5 * (1 + sqrt(1 + 4 * momentum * momentum)), m1 = (momentum - 1) / next;
        momentum = next;
        b_before = b;
        b = b_at - step * sum;
        b_at = b + m1 * (b - b_before);
        for (int64_t f = 0; f < m; f++) {
            const double z = at[f] - step * g[f], cut = step * LAMBDA;
            before[f] = v[f];
            v[f] = z > cut ? z - cut : z < -cut ? z + cut : 0;
            at[f] = v[f] + m1 * (v[f] - before[f]);
        }
    }
    take_best(order, n, v, m);
    sd_free(all);
    return SD_OK;
}
