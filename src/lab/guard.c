/* The formulas of the guards; what they do in a run: tune_guard.c, tune_data.c (deep). */
#include "lab/guard.h"

#include "base/err.h"

#include <math.h>
#include <string.h>

const char *const sd_guard_opening = "Sure, I can help with that. Here is an overview:";

const char *sd_guard_name(sd_guard g)
{
    static const char *const names[] = {"none", "lisa", "project", "mask", "safelora", "deep"};
    SD_ASSERT((unsigned)g < SD_N_GUARDS);
    return names[g];
}

double sd_guard_proximal(float *g, const float *w, const float *turn, int64_t n, double rho)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        const double d = (double)w[i] - (double)turn[i];
        g[i] += (float)(rho * d);
        sum += d * d;
    }
    return rho / 2 * sum;
}

bool sd_guard_project(float *w, const float *before, const float *s, int64_t n)
{
    double up = 0, norm = 0;
    for (int64_t i = 0; i < n; i++) {
        up += ((double)w[i] - (double)before[i]) * (double)s[i];
        norm += (double)s[i] * (double)s[i];
    }
    if (!(up > 0 && norm > 0)) return false;
    const double c = up / norm;
    for (int64_t i = 0; i < n; i++) w[i] = (float)((double)w[i] - c * (double)s[i]);
    return true;
}

bool sd_guard_mask(float *w, const float *before, const float *s, int64_t n)
{
    bool any = false;
    for (int64_t i = 0; i < n; i++) {
        const float step = w[i] - before[i];
        if (!((step > 0 && s[i] > 0) || (step < 0 && s[i] < 0))) continue;
        w[i] = before[i];
        any = true;
    }
    return any;
}

/* <x a, y a> over all elements, by the small products: sum_jk (x^T y)_jk (a a^T)_jk. */
static double inner(sd_mat x, sd_mat y, sd_mat a)
{
    double sum = 0;
    for (int64_t j = 0; j < a.rows; j++)
        for (int64_t k = 0; k < a.rows; k++) {
            double xy = 0, aa = 0;
            for (int64_t o = 0; o < x.rows; o++) xy += (double)sd_mat_row(x, o)[j] * (double)sd_mat_row(y, o)[k];
            for (int64_t i = 0; i < a.cols; i++) aa += (double)sd_mat_row(a, j)[i] * (double)sd_mat_row(a, k)[i];
            sum += xy * aa;
        }
    return sum;
}

double sd_guard_safelora(sd_mat cb, sd_mat v, sd_mat b, sd_mat a, sd_mat scratch)
{
    double norm = 0;
    for (int64_t i = 0; i < v.cols; i++) memset(sd_mat_row(scratch, i), 0, (size_t)b.cols * sizeof(float));
    for (int64_t o = 0; o < v.rows; o++) {
        const float *x = sd_mat_row(v, o), *y = sd_mat_row(b, o);
        for (int64_t i = 0; i < v.cols; i++) {
            norm += (double)x[i] * (double)x[i];
            float *t = sd_mat_row(scratch, i);
            for (int64_t k = 0; k < b.cols; k++) t[k] += x[i] * y[k];
        }
    }
    norm = sqrt(norm);
    for (int64_t o = 0; o < v.rows; o++)
        for (int64_t k = 0; k < b.cols; k++) {
            double sum = 0;
            for (int64_t i = 0; i < v.cols; i++) sum += (double)sd_mat_row(v, o)[i] * (double)sd_mat_row(scratch, i)[k];
            sd_mat_row(cb, o)[k] = norm > 0 ? (float)(sum / norm) : 0;
        }
    return inner(cb, b, a) / sqrt(inner(cb, cb, a) * inner(b, b, a));
}
