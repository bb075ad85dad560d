/* Logistic regression is at its optimum: the gradient that is left is nothing, on rows that tell little, on dense probes of many columns, on columns that almost
 * repeat each other, and on more columns than rows, where the kinds come apart. */
#include "t.h"

#include "base/rng.h"
#include "lab/logistic.h"

#include <math.h>

typedef struct data { float *x[2], *w; int64_t n[2], d; } data;

/* Rows of a few common causes and a noise of their own in every column; a direction that tells the kinds apart; columns of many sizes and means. */
static data make(int64_t n0, int64_t n1, int64_t d, double noise, double apart)
{
    enum { CAUSES = 20 };
    data a = {{NULL}, malloc((size_t)d * sizeof(float)), {n0, n1}, d};
    sd_rng r = sd_rng_make(4, "logistic", (uint64_t)(n0 * 31 + n1 * 7 + d));
    float *mix = malloc((size_t)(d * CAUSES) * sizeof *mix);
    for (int64_t i = 0; i < d * CAUSES; i++) mix[i] = sd_rng_normal(&r);
    for (int k = 0; k < 2; k++) {
        a.x[k] = malloc((size_t)(a.n[k] * d) * sizeof(float));
        for (int64_t i = 0; i < a.n[k]; i++) {
            double cause[CAUSES];
            for (int c = 0; c < CAUSES; c++) cause[c] = (double)sd_rng_normal(&r) / (1 + c) + (k || c != 7 ? 0 : apart);
            for (int64_t j = 0; j < d; j++) {
                double v = noise * (double)sd_rng_normal(&r);
                for (int c = 0; c < CAUSES; c++) v += (double)mix[j * CAUSES + c] * cause[c];
                a.x[k][i * d + j] = (float)(pow(10, (double)(j % 5) - 2) * (v + (double)(j % 3) * 10));
            }
        }
    }
    free(mix);
    return a;
}

static void drop(data *a) { free(a->x[0]), free(a->x[1]), free(a->w); }

/* |grad| of mean log-loss + |v|^2 / 2n on standardised columns, the bias's too, over |v| / n: how far v may be from the optimum, of |v|. */
static double left(const data *a, double bias)
{
    const int64_t n = a->n[0] + a->n[1], d = a->d;
    double *mean = calloc((size_t)d, sizeof *mean), *sd = calloc((size_t)d, sizeof *sd), *g = calloc((size_t)d, sizeof *g), gb = 0, gg = 0, vv = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < d; j++) mean[j] += (double)(i < a->n[0] ? a->x[0] + i * d : a->x[1] + (i - a->n[0]) * d)[j] / (double)n;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < d; j++) sd[j] += pow((double)(i < a->n[0] ? a->x[0] + i * d : a->x[1] + (i - a->n[0]) * d)[j] - mean[j], 2) / (double)n;
    for (int64_t i = 0; i < n; i++) {
        const float *x = i < a->n[0] ? a->x[0] + i * d : a->x[1] + (i - a->n[0]) * d;
        double z = bias;
        for (int64_t j = 0; j < d; j++) z += (double)a->w[j] * (double)x[j];
        const double e = (1 / (1 + exp(-z)) - (i < a->n[0] ? 1 : 0)) / (double)n;
        gb += e;
        for (int64_t j = 0; j < d; j++) g[j] += e * ((double)x[j] - mean[j]) / sqrt(sd[j]);
    }
    gg = gb * gb;
    for (int64_t j = 0; j < d; j++) {
        const double v = (double)a->w[j] * sqrt(sd[j]);
        gg += pow(g[j] + v / (double)n, 2);
        vv += v * v;
    }
    free(mean), free(sd), free(g);
    return sqrt(gg) * (double)n / sqrt(vv);
}

static void the_gradient_is_gone(void **state)
{
    (void)state;
    static const struct { int64_t n0, n1, d; double noise, apart; } t[] = {
        {40, 60, 1, 1, 0.1}, {300, 200, 8, 1, 0.2}, {500, 500, 576, 1, 0.1}, {100, 900, 576, 0.3, 0.1}, {600, 600, 64, 0.01, 0.05}, {30, 50, 576, 1, 1}, {2, 1, 5, 1, 1},
    };
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        sd_err err = {0};
        double bias = 0;
        data a = make(t[i].n0, t[i].n1, t[i].d, t[i].noise, t[i].apart);
        t_ok(sd_logistic_fit(a.w, &bias, (const float *const[]){a.x[0], a.x[1]}, a.n, a.d, &err), err);
        const double far = left(&a, bias), n = (double)(t[i].n0 + t[i].n1), d = (double)t[i].d;
        /* 1e-4 by the fit's rule; and its weights were rounded to f32, which moves the gradient by up to 2^-24 of |v| times the largest curvature, (d + 1)/4 where all
         * columns are one. */
        const double may = 1e-4 + 0x1p-24 * n * (d + 1) / 4;
        if (!(far <= may)) fail_msg("case %zu: up to %g of |w| from the optimum", i, far);
        drop(&a);
    }
}

/* One column of -1 and 1, 16 rows on their side and 4 on the other: the optimum is a root in one dimension, found by halving. */
static void a_single_column(void **state)
{
    (void)state;
    float x0[10], x1[10], w;
    double bias, lo = 0, hi = 10;
    sd_err err = {0};
    for (int i = 0; i < 10; i++) x0[i] = i < 8 ? 1.0f : -1.0f, x1[i] = -x0[i];
    t_ok(sd_logistic_fit(&w, &bias, (const float *const[]){x0, x1}, (const int64_t[]){10, 10}, 1, &err), err);
    while (hi - lo > 1e-13) {
        const double v = (lo + hi) / 2, g = -0.8 / (1 + exp(v)) + 0.2 / (1 + exp(-v)) + v / 20; /* of log(1 + e^-v) 16 times, log(1 + e^v) 4 times, v^2 / 40 */
        *(g > 0 ? &hi : &lo) = v;
    }
    assert_true(fabs((double)w - lo) < 1e-4 * lo);
    assert_true(fabs(bias) < 1e-9);
}

static void what_has_no_optimum(void **state)
{
    (void)state;
    sd_err err = {0};
    double bias;
    data a = make(20, 20, 4, 1, 1);
    assert_int_equal(sd_logistic_fit(a.w, &bias, (const float *const[]){a.x[0], a.x[1]}, (const int64_t[]){20, 0}, 4, &err), SD_E_ARG);
    a.x[0][5] = NAN;
    assert_int_equal(sd_logistic_fit(a.w, &bias, (const float *const[]){a.x[0], a.x[1]}, a.n, 4, &err), SD_E_FAIL);
    a.x[0][5] = INFINITY;
    assert_int_equal(sd_logistic_fit(a.w, &bias, (const float *const[]){a.x[0], a.x[1]}, a.n, 4, &err), SD_E_FAIL);
    a.x[0][5] = 0;
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < 80; i++) a.x[k][i] = 3; /* nothing to tell them apart by */
    t_ok(sd_logistic_fit(a.w, &bias, (const float *const[]){a.x[0], a.x[1]}, (const int64_t[]){20, 10}, 4, &err), err);
    assert_true(a.w[0] == 0 && a.w[3] == 0 && fabs(bias - log(2)) < 1e-12);
    drop(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(the_gradient_is_gone), T(a_single_column), T(what_has_no_optimum)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
