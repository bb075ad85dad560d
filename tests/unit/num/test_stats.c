/* Comparison of arrays, selection and median. */
#include "num/stats.h"
#include "base/rng.h"
#include "t.h"
#include <math.h>

static void diff_finds_the_worst(void **state)
{
    static const float b[4] = {1, -4, 2, 0}, a[4] = {1, -4.5f, 2.25f, 0};
    (void)state;
    const sd_diff d = sd_diff_f32(a, b, 4);
    assert_true(d.max_abs == 0.5 && d.max_ref == 4 && d.rel == 0.125 && d.worst == 1);
    assert_true(d.a_worst == -4.5 && d.b_worst == -4 && d.n == 4 && d.n_nonfinite == 0);
    assert_true(fabs(d.l2_rel - sqrt(0.3125 / 21)) < 1e-15);
    const sd_diff same = sd_diff_f32(b, b, 4);
    assert_true(same.rel == 0 && same.l2_rel == 0 && same.max_abs == 0);
    assert_int_equal(sd_diff_f32(a, b, 0).worst, -1);
}

static void diff_counts_what_is_not_finite(void **state)
{
    static const float a[4] = {1, NAN, INFINITY, 2}, b[4] = {1, NAN, INFINITY, 5}, zero[2] = {0, 0}, one[2] = {0, 1};
    (void)state;
    const sd_diff d = sd_diff_f32(a, b, 4);
    assert_int_equal(d.n_nonfinite, 2);
    assert_true(d.max_abs == 3 && d.worst == 3);
    const sd_diff only = sd_diff_f32(a, b, 3);
    assert_true(only.n_nonfinite == 2 && only.worst == 1 && only.max_abs == 0);
    assert_true(isinf(sd_diff_f32(one, zero, 2).rel)); /* no scale to be relative to */
}

static int by_value(const void *p, const void *q)
{
    const float a = *(const float *)p, b = *(const float *)q;
    return (a > b) - (a < b);
}

/* Against qsort, for random values, many equal ones, rising and falling order. */
static void selection_equals_sorting(void **state)
{
    enum { N = 257 };
    float x[N], sorted[N], work[N];
    sd_rng r = sd_rng_make(5, "select", 0);
    (void)state;
    for (int kind = 0; kind < 4; kind++)
        for (int64_t n = 1; n <= N; n += n < 12 ? 1 : 49) {
            for (int64_t i = 0; i < n; i++)
                x[i] = kind == 0   ? sd_rng_normal(&r)
                       : kind == 1 ? (float)sd_rng_below(&r, 4)
                                   : (float)(kind == 2 ? i : -i);
            memcpy(sorted, x, sizeof x);
            qsort(sorted, (size_t)n, sizeof *sorted, by_value);
            for (int64_t k = 0; k < n; k++) {
                memcpy(work, x, sizeof x);
                assert_true(sd_select_f32(work, n, k) == sorted[k]);
                for (int64_t i = 0; i < n; i++) assert_true(i < k ? work[i] <= sorted[k] : work[i] >= sorted[k]);
                qsort(work, (size_t)n, sizeof *work, by_value);
                assert_memory_equal(work, sorted, (size_t)n * sizeof *work); /* nothing lost */
            }
            memcpy(work, x, sizeof x);
            assert_true(sd_median_f32(work, n) == ((double)sorted[(n - 1) / 2] + sorted[n / 2]) / 2);
        }
}

static void selection_ends_with_nan(void **state)
{
    float x[5] = {NAN, 2, NAN, 1, 3}, one = 7;
    (void)state;
    assert_true(sd_select_f32(x, 5, 1) == 2);
    assert_true(isnan(sd_select_f32(x, 5, 4)));
    assert_true(sd_select_f32(x, 5, -3) == 1); /* k is clamped */
    assert_true(isnan(sd_select_f32(x, 0, 0)) && isnan(sd_median_f32(x, 0)));
    assert_true(sd_median_f32(&one, 1) == 7);
}

/* A fifth of the rows are sinks that pull a mean along and leave the median where it is. */
static void median_norm_is_that_of_usual_rows(void **state)
{
    float x[10][2] = {{0}};
    double m = 0;
    sd_err err = {0};
    (void)state;
    for (int i = 0; i < 10; i++) x[i][0] = i % 5 ? 3 : 3e6f, x[i][1] = i % 5 ? 4 : 4e6f;
    t_ok(sd_median_norm(&m, sd_mat_of(&x[0][0], 10, 2), &err), err);
    assert_true(m == 5);
    assert_true(5e6 > SD_SINK_FACTOR * m);
}

static void sorting_puts_nan_last(void **state)
{
    double x[6] = {NAN, 2, -INFINITY, NAN, -1, INFINITY};
    (void)state;
    sd_sort_f64(x, 6);
    assert_true(isinf(x[0]) && x[0] < 0 && x[1] == -1 && x[2] == 2 && isinf(x[3]) && isnan(x[4]) && isnan(x[5]));
    sd_sort_f64(NULL, 0);
}

T_MAIN(((const struct CMUnitTest[]){T(diff_finds_the_worst), T(diff_counts_what_is_not_finite),
                                    T(selection_equals_sorting), T(selection_ends_with_nan),
                                    T(median_norm_is_that_of_usual_rows),
                                    T(sorting_puts_nan_last)}))
