/* L1 logistic regression on sparse rows: mean log-loss + LAMBDA |w|_1 with a free bias, which is convex, so the answer does not depend on how it is found: by
 * FISTA (Beck & Teboulle 2009), whose momentum begins anew where it points uphill (O'Donoghue & Candes 2015, section 3.2), until a dual feasible point proves
 * that no more than CLOSE of the loss without features is left to gain. The step is one over a quarter of the largest eigenvalue of X^T X / n (the bound of
 * log-loss's curvature). */
#include "lab/absorption_int.h"

#include "lab/logistic.h"

#include <math.h>

enum { MOST_STEPS = 10000, LOOK_EVERY = 20, POWER_STEPS = 30 };
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

static double xlogx(double x) { return x > 0 ? x * log(x) : 0; }

/* What is left to gain at v, at most, of the loss without features. With b at its optimum and r_i = (p_i - y_i) / n, which sum to 0, u_i = y_i + c n r_i is dual
 * feasible for c = min(1, LAMBDA / max_f |X^T r|_f), and minus the mean of u log u + (1 - u) log(1 - u) is no more than the optimum (Koh, Kim & Boyd 2007,
 * section 3.1). s [rows], g [m]: scratch. */
static double gap(const absorb_words *w, int l, const double *by, const double *v, double b, double *s, double *g)
{
    const int64_t rows = w->n_train, there = w->count[0][l];
    const double n = (double)rows, share = (double)there / n;
    double primal = 0, dual = 0, most = 0;
    forward(s, w, by, v, 0);
    b = sd_logistic_bias(s, rows, there, b);
    for (int64_t i = 0; i < rows; i++) {
        const double z = s[i] + b, y = w->letter[i] == l;
        primal += (z > 0 ? z + log1p(exp(-z)) : log1p(exp(z))) - y * z;
        s[i] = (1 / (1 + exp(-z)) - y) / n;
    }
    primal /= n;
    (void)backward(g, w, by, s);
    for (int64_t f = 0; f < w->m; f++) {
        primal += LAMBDA * fabs(v[f]);
        most = fmax(most, fabs(g[f]));
    }
    const double c = most > LAMBDA ? LAMBDA / most : 1;
    for (int64_t i = 0; i < rows; i++) {
        const double u = (w->letter[i] == l) + c * n * s[i];
        dual -= xlogx(u) + xlogx(1 - u);
    }
    return (primal - dual / n) / -(xlogx(share) + xlogx(1 - share));
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

sd_status sd_absorb__rank(int64_t order[SD_ABSORB_MAIN], int *n, double *left, const absorb_words *w, int l, sd_err *err)
{
    const int64_t m = w->m, rows = w->n_train;
    double *all = NULL, b = 0, b_at = 0, momentum = 1;
    sd_status st = sd_alloc_zero(&all, (size_t)(5 * m + rows) * sizeof *all, "a sparse regression", err);
    if (st) return st;
    double *by = all, *v = all + m, *before = all + 2 * m, *at = all + 3 * m, *g = all + 4 * m, *s = all + 5 * m;
    for (int64_t e = 0; e < w->z.row_ptr[rows]; e++) by[w->z.idx[e]] = fmax(by[w->z.idx[e]], (double)w->z.val[e]);
    for (int64_t f = 0; f < m; f++) by[f] = by[f] > 0 ? 1 / by[f] : 0;
    const double step = 4 / (SLACK * largest_eigenvalue(w, by, v, g, s)), cut = step * LAMBDA;
    memset(v, 0, (size_t)m * sizeof *v);
    *left = INFINITY;
    for (int t = 1; t <= MOST_STEPS && *left > SD_ABSORB_CLOSE; t++) {
        forward(s, w, by, at, b_at);
        for (int64_t i = 0; i < rows; i++) s[i] = (1 / (1 + exp(-s[i])) - (w->letter[i] == l)) / (double)rows;
        const double b_before = b;
        b = b_at - step * backward(g, w, by, s);
        double uphill = (b_at - b) * (b - b_before);
        for (int64_t f = 0; f < m; f++) {
            const double z = at[f] - step * g[f];
            before[f] = v[f];
            v[f] = z > cut ? z - cut : z < -cut ? z + cut : 0;
            uphill += (at[f] - v[f]) * (v[f] - before[f]);
        }
        if (uphill > 0) momentum = 1;
        const double next = 0.5 * (1 + sqrt(1 + 4 * momentum * momentum)), on = (momentum - 1) / next;
        momentum = next;
        b_at = b + on * (b - b_before);
        for (int64_t f = 0; f < m; f++) at[f] = v[f] + on * (v[f] - before[f]);
        if (t % LOOK_EVERY == 0) *left = gap(w, l, by, v, b, s, g);
    }
    take_best(order, n, v, m);
    sd_free(all);
    return SD_OK;
}
