/* Softmax, log-sum-exp and argmax of a row, with the edges: infinities, NaN, ties, a vocabulary's length. */
#include "t.h"

#include "base/rng.h"
#include "num/ops.h"

#include <math.h>

enum { V = 49152 };

static void test_vocabulary(void **state)
{
    (void)state;
    float *x = sd_malloc(V * sizeof(float)), *p = sd_malloc(V * sizeof(float));
    sd_rng r = sd_rng_make(1, "test_ops_reduce", 0);
    for (int i = 0; i < V; i++) x[i] = p[i] = 5.0f * sd_rng_normal(&r);
    long double sum = 0;
    for (int i = 0; i < V; i++) sum += expl((long double)x[i]);
    double lse = sd_logsumexp(x, V);
    assert_true(fabs(lse - (double)logl(sum)) < 1e-12 * lse);
    sd_softmax(p, V);
    double total = 0;
    for (int i = 0; i < V; i++) {
        total += (double)p[i];
        /* x - max is rounded at magnitude 32 (2e-6), expf and the quotient add an ulp each */
        assert_true(fabs((double)p[i] - exp((double)x[i] - lse)) <= 2.5e-6 * (double)p[i]);
    }
    assert_true(fabs(total - 1) < 1e-6);
    int64_t best = sd_argmax(x, V);
    for (int i = 0; i < V; i++) assert_true(x[i] <= x[best]);
    sd_free(x), sd_free(p);
}

static void test_edges(void **state)
{
    (void)state;
    float big[3] = {1000.0f, 1000.0f, -1e30f};
    assert_true(fabs(sd_logsumexp(big, 3) - (1000 + log(2.0))) < 1e-12);
    float none[2] = {-INFINITY, -INFINITY}, inf[2] = {1, INFINITY}, bad[3] = {1, NAN, 3};
    assert_true(sd_logsumexp(none, 2) == -INFINITY);
    assert_true(sd_logsumexp(inf, 2) == INFINITY);
    assert_true(isnan(sd_logsumexp(bad, 3)));
    assert_int_equal(sd_argmax(bad, 3), 2);
    assert_int_equal(sd_argmax((float[]){NAN, NAN}, 2), -1);
    assert_int_equal(sd_argmax((float[]){2, 5, 5, 1}, 4), 1);
    assert_int_equal(sd_argmax((float[]){-INFINITY, -INFINITY}, 2), 0);
    float one[1] = {-7};
    sd_softmax(one, 1);
    assert_true(one[0] == 1.0f);
}

static const struct CMUnitTest tests[] = {T(test_vocabulary), T(test_edges)};
T_MAIN(tests)
