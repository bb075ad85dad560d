#include "lab/logistic.h"

#include "base/mem.h"

#include <math.h>

enum { STEPS = 400 };

/* One step's gradient at w, b; e is the step's scratch of n + d. */
typedef struct work { double *w, *before, *scale, *mean, *grad; int64_t d; } work;

static double gradient(work *k, const float *const x[2], const int64_t n_of[2], double lambda, double b)
{
    double n = (double)(n_of[0] + n_of[1]), error_sum = 0;
    for (int64_t j = 0; j < k->d; j++) k->grad[j] = lambda * k->w[j];
    for (int c = 0; c < 2; c++)
        for (int64_t i = 0; i < n_of[c]; i++) {
            const float *r = x[c] + i * k->d;
            double z = b;
            for (int64_t j = 0; j < k->d; j++) z += k->w[j] * ((double)r[j] - k->mean[j]) * k->scale[j];
            double e = (1 / (1 + exp(-z)) - (c == 0)) / n;
            error_sum += e;
            for (int64_t j = 0; j < k->d; j++) k->grad[j] += e * ((double)r[j] - k->mean[j]) * k->scale[j];
        }
    return error_sum;
}

static void standardise(work *k, const float *const x[2], const int64_t n_of[2])
{
    double n = (double)(n_of[0] + n_of[1]);
    for (int64_t j = 0; j < k->d; j++) {
        double sum = 0, var = 0;
        for (int c = 0; c < 2; c++)
            for (int64_t i = 0; i < n_of[c]; i++) sum += (double)x[c][i * k->d + j];
        k->mean[j] = sum / n;
        for (int c = 0; c < 2; c++)
            for (int64_t i = 0; i < n_of[c]; i++) var += pow((double)x[c][i * k->d + j] - k->mean[j], 2) / n;
        k->scale[j] = var > 0 ? 1 / sqrt(var) : 0;
    }
}

sd_status sd_logistic_fit(float *w, double *bias, const float *const x[2], const int64_t n[2], int64_t d, sd_err *err)
{
    double *all = NULL, b = 0, b_before = 0, lambda = 1 / (double)(n[0] + n[1]), step = 4 / ((double)d + 4); /* the loss is (d + 1)/4-smooth on standardised columns */
    sd_status st = sd_alloc_zero(&all, (size_t)(5 * d) * sizeof *all, "a fit", err);
    if (st) return st;
    work k = {all, all + d, all + 2 * d, all + 3 * d, all + 4 * d, d};
    standardise(&k, x, n);
    for (int t = 0; t < STEPS; t++) {
        double m = (double)t / (t + 3.0), at = b + m * (b - b_before);
        for (int64_t j = 0; j < d; j++) {
            double y = k.w[j] + m * (k.w[j] - k.before[j]);
            k.before[j] = k.w[j];
            k.w[j] = y;
        }
        double error_sum = gradient(&k, x, n, lambda, at);
        for (int64_t j = 0; j < d; j++) k.w[j] -= step * k.grad[j];
        b_before = b;
        b = at - step * error_sum;
    }
    *bias = b;
    for (int64_t j = 0; j < d; j++) {
        w[j] = (float)(k.w[j] * k.scale[j]);
        *bias -= k.w[j] * k.scale[j] * k.mean[j];
    }
    sd_free(all);
    return SD_OK;
}
