/* A whole spectrum, and its ends, against a matrix made of known eigenvalues and vectors, and against one that lacks directions. */
#include "num/eig.h"

#include "base/mem.h"
#include "base/rng.h"
#include "t.h"

#include <math.h>

enum { D = 60 };

/* Orthonormal rows q, then a = sum_i w_i q_i q_i^T. */
static void make(double *a, double *q, const double *w)
{
    sd_rng rng = sd_rng_make(7, "test", 0);
    for (int i = 0; i < D; i++) {
        for (int t = 0; t < D; t++) q[i * D + t] = (double)sd_rng_normal(&rng);
        for (int pass = 0; pass < 2; pass++)
            for (int j = 0; j < i; j++) {
                double c = 0;
                for (int t = 0; t < D; t++) c += q[i * D + t] * q[j * D + t];
                for (int t = 0; t < D; t++) q[i * D + t] -= c * q[j * D + t];
            }
        double n = 0;
        for (int t = 0; t < D; t++) n += q[i * D + t] * q[i * D + t];
        for (int t = 0; t < D; t++) q[i * D + t] /= sqrt(n);
    }
    for (int r = 0; r < D; r++)
        for (int c = 0; c < D; c++) {
            a[r * D + c] = 0;
            for (int i = 0; i < D; i++) a[r * D + c] += w[i] * q[i * D + r] * q[i * D + c];
        }
}

static double alike(const double *x, const double *y)
{
    double c = 0;
    for (int t = 0; t < D; t++) c += x[t] * y[t];
    return fabs(c);
}

/* All of them, a pair of equal values and one of 0 among them. */
static void known_spectrum(void **state)
{
    static double a[D * D], q[D * D], w[D], vec[D * D];
    (void)state;
    for (int i = 0; i < D; i++) w[i] = i < 2 ? 3 : 0.01 * (i - 2) * i;
    make(a, q, w);
    sd_eig_all(a, vec, D);
    for (int i = 0; i < D; i++) {
        int at = 0;
        double in_pair = 0, sum = 0;
        for (int k = 0; k < D; k++) /* ours that is nearest to the i-th */
            if (fabs(a[k * D + k] - w[i]) < fabs(a[at * D + at] - w[i])) at = k;
        assert_true(fabs(a[at * D + at] - w[i]) < 1e-11); /* rounding of sums of 60 terms up to 34 */
        for (int k = 0; k < 2; k++) in_pair += alike(vec + at * D, q + k * D) * alike(vec + at * D, q + k * D);
        for (int k = 0; k < D; k++) sum += alike(vec + i * D, vec + k * D);
        assert_true((i < 2 ? in_pair : alike(vec + at * D, q + i * D)) > 1 - 1e-12);
        assert_true(fabs(sum - 1) < 1e-12); /* rows of length 1, at right angles */
    }
}

static void known_ends(void **state)
{
    static double a[D * D], q[D * D], w[D], value[4], vec[4 * D];
    void *scratch = sd_malloc(sd_eig_scratch(D));
    (void)state;
    for (int i = 0; i < D; i++) w[i] = i < 3 ? 0.01 * (i + 1) : i < D - 2 ? 1 + 0.01 * i : 4.0 * (i - D + 3);
    make(a, q, w);
    sd_eig_highest(value, vec, a, D, 2, scratch);
    /* 20 steps at a ratio of at most 1.6 / 4 leave (0.4)^20 = 1e-8 of the vector's error */
    assert_true(fabs(value[0] - 8) < 1e-9 && fabs(value[1] - 4) < 1e-9);
    assert_true(alike(vec, q + (D - 1) * D) > 1 - 1e-9 && alike(vec + D, q + (D - 2) * D) > 1 - 1e-9);
    sd_eig_lowest(value, vec, a, D, 3, scratch);
    for (int i = 0; i < 3; i++) {
        assert_true(fabs(value[i] - w[i]) < 1e-8);
        assert_true(alike(vec + i * D, q + i * D) > 1 - 1e-9);
    }
    sd_free(scratch);
}

static void a_direction_that_is_not_there(void **state)
{
    static double a[D * D], q[D * D], w[D], value[4], vec[4 * D];
    void *scratch = sd_malloc(sd_eig_scratch(D));
    (void)state;
    for (int i = 0; i < D; i++) w[i] = i ? 0.5 + 0.02 * i : 0;
    make(a, q, w);
    sd_eig_lowest(value, vec, a, D, 2, scratch);
    assert_true(value[0] < 1e-9 && alike(vec, q) > 1 - 1e-9);
    if (fabs(value[1] - 0.52) > 5e-3) fail_msg("%g", value[1]); /* the first one left out is 0.62: (0.52 / 0.62)^24 = 1.5e-2 of the vector's square, times 0.1 */
    memset(a, 0, sizeof a);
    sd_eig_lowest(value, vec, a, D, 1, scratch); /* nothing at all: finite numbers, no trap */
    assert_true(isfinite(vec[0]) && value[0] < 1e-9);
    sd_free(scratch);
}

static const struct CMUnitTest tests[] = {T(known_spectrum), T(known_ends), T(a_direction_that_is_not_there)};
T_MAIN(tests)
