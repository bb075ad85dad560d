/* f(w) = min over b of (1/n) sum_i log(1 + exp(-s_i (w.x_i + b))) + lambda/2 |w|^2 by Newton's method, each step from conjugate gradients on
 * f's Hessian and shortened until it descends (Nocedal & Wright 2006, algorithm 7.1). The bias is solved out at every w, so that f is lambda-strongly
 * convex and a gradient bounds the distance that is left: |w - w*| <= |grad f(w)| / lambda (Nesterov 2004, theorem 2.1.10). It stops where that is
 * CLOSE of |w|, which no count of steps and no change of the loss would say: on 576 columns of 1,000 rows, steps of momentum creep for thousands.
 *
 * Columns are standardised in the weights, never in the rows: w.x_i is (w scale).x_i up to a number that the bias takes. One thread, fixed order. */
#include "lab/logistic.h"

#include "base/mem.h"

#include <float.h>
#include <math.h>

enum { MOST_STEPS = 100, MOST_HALVINGS = 40, BIAS_STEPS = 200, LANES = 8 };
static const double CLOSE = 1e-4;
static const double DESCENT = 1e-4;    /* of the slope's promise: Nocedal & Wright's c1 */
static const double ROUNDING = 1e-13;  /* of a mean of up to 10^5 numbers in double */

typedef struct fit {
    const float *const *x;
    const int64_t *n;
    int64_t d, rows;
    double lambda, b, loss;
    double *scale, *mean, *u;           /* [d] 1 / standard deviation (0: a constant column), mean; scratch */
    double *w, *grad, *p, *r, *v, *hv;  /* [d] weights on standardised columns, gradient; a step, its residual, direction and H v */
    double *z, *zp, *e, *h, *t;         /* [rows] w.x, p.x, error, p (1 - p); scratch */
} fit;

static const float *row_of(const fit *k, int64_t i) { return i < k->n[0] ? k->x[0] + i * k->d : k->x[1] + (i - k->n[0]) * k->d; }

static double dot(const double *a, const double *b, int64_t n)
{
    double s = 0;
    for (int64_t j = 0; j < n; j++) s += a[j] * b[j];
    return s;
}

/* z_i = sum_j v_j scale_j x_ij */
static void forth(const fit *k, double *z, const double *v)
{
    for (int64_t j = 0; j < k->d; j++) k->u[j] = v[j] * k->scale[j];
    for (int64_t i = 0; i < k->rows; i++) {
        const float *x = row_of(k, i);
        double s[LANES] = {0}, sum = 0;
        int64_t j = 0;
        for (; j + LANES <= k->d; j += LANES)
            for (int l = 0; l < LANES; l++) s[l] += k->u[j + l] * (double)x[j + l];
        for (; j < k->d; j++) sum += k->u[j] * (double)x[j];
        for (int l = 0; l < LANES; l++) sum += s[l];
        z[i] = sum;
    }
}

/* g_j = lambda v_j + (1/n) sum_i c_i scale_j (x_ij - mean_j) */
static void back(const fit *k, double *g, const double *c, const double *v)
{
    double sum = 0, n = (double)k->rows;
    for (int64_t j = 0; j < k->d; j++) k->u[j] = 0;
    for (int64_t i = 0; i < k->rows; i++) {
        const float *x = row_of(k, i);
        const double ci = c[i];
        sum += ci;
        for (int64_t j = 0; j < k->d; j++) k->u[j] += ci * (double)x[j];
    }
    for (int64_t j = 0; j < k->d; j++) g[j] = k->lambda * v[j] + k->scale[j] * (k->u[j] - sum * k->mean[j]) / n;
}

static void standardise(fit *k)
{
    const double n = (double)k->rows;
    for (int64_t i = 0; i < k->rows; i++)
        for (int64_t j = 0; j < k->d; j++) k->mean[j] += (double)row_of(k, i)[j];
    for (int64_t j = 0; j < k->d; j++) k->mean[j] /= n;
    for (int64_t i = 0; i < k->rows; i++)
        for (int64_t j = 0; j < k->d; j++) {
            const double off = (double)row_of(k, i)[j] - k->mean[j];
            k->scale[j] += off * off / n;
        }
    for (int64_t j = 0; j < k->d; j++) k->scale[j] = k->scale[j] > 0 ? 1 / sqrt(k->scale[j]) : 0;
}

static double probability(double z) { return 1 / (1 + exp(-z)); }

/* Newton's steps within a bracket that is halved where they leave it. */
double sd_logistic_bias(const double *z, int64_t rows, int64_t n0, double b)
{
    double least = z[0], most = z[0], odds = log((double)n0 / (double)(rows - n0));
    for (int64_t i = 1; i < rows; i++) {
        least = fmin(least, z[i]);
        most = fmax(most, z[i]);
    }
    double lo = odds - most, hi = odds - least;
    for (int t = 0; t < BIAS_STEPS; t++) {
        double sum = -(double)n0, slope = 0;
        if (!(b > lo && b < hi)) b = lo + (hi - lo) / 2;
        for (int64_t i = 0; i < rows; i++) {
            const double p = probability(z[i] + b);
            sum += p;
            slope += p * (1 - p);
        }
        if (fabs(sum) <= DBL_EPSILON * (double)rows || !(hi - lo > DBL_EPSILON * fabs(b))) break;
        *(sum > 0 ? &hi : &lo) = b;
        b -= sum / slope; /* out of the bracket where the slope is lost */
    }
    return b;
}

static double loss_of(const fit *k, const double *z, double b, double w_sq)
{
    double sum = 0;
    for (int64_t i = 0; i < k->rows; i++) {
        const double a = i < k->n[0] ? -(z[i] + b) : z[i] + b;
        sum += a > 0 ? a + log1p(exp(-a)) : log1p(exp(a));
    }
    return sum / (double)k->rows + k->lambda / 2 * w_sq;
}

/* Errors, curvatures and gradient at w. */
static void look(fit *k)
{
    for (int64_t i = 0; i < k->rows; i++) {
        const double p = probability(k->z[i] + k->b);
        k->e[i] = i < k->n[0] ? p - 1 : p;
        k->h[i] = p * (1 - p);
    }
    back(k, k->grad, k->e, k->w);
}

/* hv = H v, H = lambda + (1/n) sum_i h_i (x_i - x~)(x_i - x~)', x~ the mean of the x_i by h: what the bias follows is out. */
static void curve(const fit *k)
{
    double sum = 0, all = 0;
    forth(k, k->t, k->v);
    for (int64_t i = 0; i < k->rows; i++) {
        sum += k->h[i] * k->t[i];
        all += k->h[i];
    }
    const double mid = all > 0 ? sum / all : 0;
    for (int64_t i = 0; i < k->rows; i++) k->t[i] = k->h[i] * (k->t[i] - mid);
    back(k, k->hv, k->t, k->v);
}

/* p with |H p + grad| <= enough, or after d steps: every one of its iterates descends. */
static void find_step(const fit *k, double enough)
{
    double rr = 0;
    for (int64_t j = 0; j < k->d; j++) {
        k->p[j] = 0;
        k->r[j] = k->v[j] = -k->grad[j];
        rr += k->r[j] * k->r[j];
    }
    for (int64_t t = 0; t < k->d + 10 && rr > enough * enough; t++) {
        curve(k);
        const double a = rr / dot(k->v, k->hv, k->d), before = rr;
        for (int64_t j = 0; j < k->d; j++) {
            k->p[j] += a * k->v[j];
            k->r[j] -= a * k->hv[j];
        }
        rr = dot(k->r, k->r, k->d);
        for (int64_t j = 0; j < k->d; j++) k->v[j] = k->r[j] + rr / before * k->v[j];
    }
}

/* Moves along p as far as it keeps its promise. False: it does not, however short. */
static bool move(fit *k)
{
    const double slope = dot(k->grad, k->p, k->d), ww = dot(k->w, k->w, k->d), wp = dot(k->w, k->p, k->d), pp = dot(k->p, k->p, k->d);
    double a = 1;
    forth(k, k->zp, k->p);
    for (int t = 0; t < MOST_HALVINGS; t++, a /= 2) {
        for (int64_t i = 0; i < k->rows; i++) k->t[i] = k->z[i] + a * k->zp[i];
        const double b = sd_logistic_bias(k->t, k->rows, k->n[0], k->b), loss = loss_of(k, k->t, b, ww + 2 * a * wp + a * a * pp);
        if (!(loss <= k->loss + DESCENT * a * slope + ROUNDING * k->loss)) continue;
        k->b = b;
        k->loss = loss;
        for (int64_t i = 0; i < k->rows; i++) k->z[i] = k->t[i];
        for (int64_t j = 0; j < k->d; j++) k->w[j] += a * k->p[j];
        return true;
    }
    return false;
}

/* w, b at the optimum, to CLOSE. */
static bool solve(fit *k)
{
    double first = 0;
    k->b = sd_logistic_bias(k->z, k->rows, k->n[0], 0);
    k->loss = loss_of(k, k->z, k->b, 0);
    for (int t = 0; t < MOST_STEPS; t++) {
        look(k);
        const double g = sqrt(dot(k->grad, k->grad, k->d)), goal = CLOSE * k->lambda * sqrt(dot(k->w, k->w, k->d));
        if (g <= goal) return true;
        if (t == 0) first = g;
        find_step(k, fmax(goal / 2, fmin(0.5, sqrt(g / first)) * g)); /* superlinear: Nocedal & Wright, theorem 7.2 */
        if (!move(k)) return false;
    }
    return false;
}

sd_status sd_logistic_fit(float *w, double *bias, const float *const x[2], const int64_t n[2], int64_t d, sd_err *err)
{
    double *all = NULL;
    if (n[0] < 1 || n[1] < 1) return sd_fail(err, SD_E_ARG, "a logistic regression of %lld rows of one kind and %lld of the other has no optimum", (long long)n[0], (long long)n[1]);
    fit k = {.x = x, .n = n, .d = d, .rows = n[0] + n[1], .lambda = 1 / (double)(n[0] + n[1])};
    double **const of_d[] = {&k.scale, &k.mean, &k.u, &k.w, &k.grad, &k.p, &k.r, &k.v, &k.hv}, **const of_rows[] = {&k.z, &k.zp, &k.e, &k.h, &k.t};
    enum { OF_D = sizeof of_d / sizeof *of_d, OF_ROWS = sizeof of_rows / sizeof *of_rows };
    sd_status st = sd_alloc_zero(&all, (size_t)(OF_D * d + OF_ROWS * k.rows) * sizeof *all, "a fit", err);
    if (st) return st;
    for (int i = 0; i < OF_D; i++) *of_d[i] = all + i * d;
    for (int i = 0; i < OF_ROWS; i++) *of_rows[i] = all + OF_D * d + i * k.rows;
    standardise(&k);
    if (!solve(&k)) st = sd_fail(err, SD_E_FAIL, "a logistic regression of %lld rows of %lld numbers found no optimum: one of them may not be finite", (long long)k.rows, (long long)d);
    for (int64_t j = 0; j < d; j++) w[j] = (float)(k.w[j] * k.scale[j]);
    *bias = k.b;
    sd_free(all);
    return st;
}
