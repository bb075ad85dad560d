/* Log-sum-exp, probabilities, divergence and argmax of a row, with the edges: infinities, NaN, ties, a vocabulary's length. */
#include "t.h"

#include "base/rng.h"
#include "num/ops.h"

#include <math.h>

enum { V = 49152 };
static sd_exec ex;

static int detect(void **state)
{
    (void)state;
    return sd_cpu_detect(&ex.cpu, "auto") ? 0 : 1;
}

static void test_vocabulary(void **state)
{
    (void)state;
    float *x = sd_malloc(V * sizeof(float));
    double *p = sd_malloc(V * sizeof(double));
    sd_rng r = sd_rng_make(1, "test_ops_reduce", 0);
    for (int i = 0; i < V; i++) x[i] = 5.0f * sd_rng_normal(&r);
    long double sum = 0;
    for (int i = 0; i < V; i++) sum += expl((long double)x[i]);
    double lse = sd_logsumexp(&ex, x, V);
    assert_true(fabs(lse - (double)logl(sum)) < 1e-12 * lse);
    sd_probs(p, &ex, x, lse, V);
    double total = 0;
    for (int i = 0; i < V; i++) {
        total += p[i];
        assert_true(fabs(p[i] - exp((double)x[i] - lse)) <= 4.5e-16 * p[i]); /* an ulp each */
    }
    assert_true(fabs(total - 1) < 1e-11);
    int64_t best = sd_argmax(x, V);
    for (int i = 0; i < V; i++) assert_true(x[i] <= x[best]);
    sd_free(x), sd_free(p);
}

static void test_edges(void **state)
{
    (void)state;
    float big[3] = {1000.0f, 1000.0f, -1e30f};
    assert_true(fabs(sd_logsumexp(&ex, big, 3) - (1000 + log(2.0))) < 1e-12);
    float none[2] = {-INFINITY, -INFINITY}, inf[2] = {1, INFINITY}, bad[3] = {1, NAN, 3};
    assert_true(sd_logsumexp(&ex, none, 2) == -INFINITY);
    assert_true(sd_logsumexp(&ex, inf, 2) == INFINITY);
    assert_true(isnan(sd_logsumexp(&ex, bad, 3)));
    assert_int_equal(sd_argmax(bad, 3), 2);
    assert_int_equal(sd_argmax((float[]){NAN, NAN}, 2), -1);
    assert_int_equal(sd_argmax((float[]){2, 5, 5, 1}, 4), 1);
    assert_int_equal(sd_argmax((float[]){-INFINITY, -INFINITY}, 2), 0);
    const float even[4] = {7, 7, 7, 7}, some[4] = {7, 7, 7, -INFINITY};
    const double l4 = sd_logsumexp(&ex, even, 4), l3 = sd_logsumexp(&ex, some, 4);
    assert_true(l4 == 7 + log(4.0) && l3 == 7 + log(3.0));
    assert_true(fabs(sd_divergence(&ex, even, l4, NULL, 0, 4) + log(4.0)) < 1e-14);
    assert_true(sd_divergence(&ex, even, l4, even, l4, 4) == 0);
    assert_true(sd_divergence(&ex, even, l4, some, l3, 4) == INFINITY);
    assert_true(isnan(sd_divergence(&ex, some, l3, even, l4, 4)));
}

static const struct CMUnitTest tests[] = {T(test_vocabulary), T(test_edges)};

int main(void) { return cmocka_run_group_tests(tests, detect, NULL) ? 1 : 0; }
