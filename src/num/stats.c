/* Comparing and summarising numbers. */
#include "num/stats.h"

#include "base/mem.h"
#include <math.h>
#include <stdlib.h>

sd_diff sd_diff_f32(const float *a, const float *b, int64_t n)
{
    sd_diff d = {.n = n, .worst = n > 0 ? 0 : -1};
    double diff2 = 0, ref2 = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(a[i]) || !isfinite(b[i])) {
            if (d.n_nonfinite++ == 0 && d.max_abs == 0) d.worst = i;
            continue;
        }
        const double x = a[i], y = b[i], e = fabs(x - y);
        diff2 += e * e;
        ref2 += y * y;
        if (fabs(y) > d.max_ref) d.max_ref = fabs(y);
        if (e > d.max_abs) {
            d.max_abs = e;
            d.worst = i;
        }
    }
    if (d.worst >= 0) {
        d.a_worst = a[d.worst];
        d.b_worst = b[d.worst];
    }
    d.rel = d.max_abs == 0 ? 0 : d.max_abs / d.max_ref;
    d.l2_rel = diff2 == 0 ? 0 : sqrt(diff2 / ref2);
    return d;
}

/* An order over all floats: NaN is larger than anything, so selection ends whatever the data. */
static inline int before(float a, float b)
{
    return a < b || (isnan(b) && !isnan(a));
}
static inline void swap(float *a, float *b)
{
    const float t = *a;
    *a = *b;
    *b = t;
}

/* Hoare's selection with the median of three as pivot; data of this project is no adversary, so no guard against n^2.
 */
float sd_select_f32(float *x, int64_t n, int64_t k)
{
    int64_t lo = 0, hi = n - 1;
    if (n <= 0) return NAN;
    k = k < 0 ? 0 : k >= n ? n - 1 : k;
    while (lo < hi) {
        const int64_t mid = lo + (hi - lo) / 2;
        if (before(x[mid], x[lo])) swap(&x[mid], &x[lo]);
        if (before(x[hi], x[lo])) swap(&x[hi], &x[lo]);
        if (before(x[hi], x[mid])) swap(&x[hi], &x[mid]);
        const float pivot = x[mid];
        int64_t i = lo, j = hi;
        while (i <= j) {
            while (before(x[i], pivot)) i++;
            while (before(pivot, x[j])) j--;
            if (i <= j) swap(&x[i++], &x[j--]);
        }
        if (k <= j)
            hi = j;
        else if (k >= i)
            lo = i;
        else
            break;
    }
    return x[k];
}

sd_status sd_median_norm(double *out, sd_mat x, sd_err *err)
{
    float *norm;
    SD_ASSERT(x.rows > 0);
    sd_status st = sd_alloc(&norm, (size_t)x.rows * sizeof *norm, "norms", err);
    if (st) return st;
    for (int64_t i = 0; i < x.rows; i++) {
        double s = 0;
        for (int64_t j = 0; j < x.cols; j++) s += (double)sd_mat_row(x, i)[j] * (double)sd_mat_row(x, i)[j];
        norm[i] = (float)sqrt(s);
    }
    *out = sd_median_f32(norm, x.rows);
    sd_free(norm);
    return SD_OK;
}

double sd_median_f32(float *x, int64_t n)
{
    if (n <= 0) return NAN;
    const double upper = sd_select_f32(x, n, n / 2);
    if (n % 2 == 1) return upper;
    double lower = sd_select_f32(x, n / 2, n / 2 - 1); /* selection leaves everything below n/2 in front */
    return (lower + upper) / 2;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    if (isnan(x) || isnan(y)) return (isnan(x) != 0) - (isnan(y) != 0);
    return (x > y) - (x < y);
}

void sd_sort_f64(double *x, int64_t n)
{
    if (n > 1) qsort(x, (size_t)n, sizeof *x, by_value);
}
