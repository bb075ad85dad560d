/* Sums over a row of logits on every ISA: bit for bit those of plain C, each exponential within an ulp of the long double's, sums
 * within the bound of 16 chains; NaN, infinities, what is below the flush, any length, nothing read or written behind it. */
#include "t.h"

#include "base/cpu.h"
#include "base/mem.h"
#include "base/rng.h"
#include "num/kern_train.h"

#include <float.h>
#include <math.h>

enum { MOST = 262144 };
static const double U = DBL_EPSILON / 2;

static float *p, *q;
static double *e, *e_ref;

static int make_rows(void **state)
{
    (void)state;
    p = sd_malloc((MOST + 1) * sizeof *p), q = sd_malloc((MOST + 1) * sizeof *q);
    e = sd_malloc((MOST + 1) * sizeof *e), e_ref = sd_malloc((MOST + 1) * sizeof *e_ref);
    return 0;
}

static int free_rows(void **state)
{
    (void)state;
    sd_free(p), sd_free(q), sd_free(e), sd_free(e_ref);
    return 0;
}

static const sd_kern_train *kern_of(void **state)
{
    sd_cpu cpu;
    if (!sd_cpu_detect(&cpu, *state)) t_skip("no %s", (const char *)*state);
    return sd_kern_train_select(cpu.flags);
}

static void fill(float *x, int64_t n, float spread, uint64_t index)
{
    sd_rng r = sd_rng_make(6, "probs", index);
    for (int64_t i = 0; i < n; i++) x[i] = spread * sd_rng_normal(&r);
}

static bool same(double a, double b) { return memcmp(&a, &b, sizeof a) == 0; }

/* A sum of n in 16 chains and a fold of four errs by n / 16 + 4 roundings, each term by its exponential's ulp and two more. */
static double bound(int64_t n) { return ((double)n / 16 + 8) * U; }

static void check(const sd_kern_train *k, int64_t n, float spread)
{
    const sd_kern_train *ref = &sd_kern_train_ref;
    fill(p, n, spread, 2 * (uint64_t)n), fill(q, n, spread, 2 * (uint64_t)n + 1);
    p[n] = q[n] = NAN; /* one more is not read */
    const float max = k->max(p, n);
    for (int64_t i = 0; i < n; i++) assert_true(p[i] <= max);
    const double sum = k->exp_total(p, (double)max, n), lq = (double)spread * 3 + 1, lp = (double)max + log(sum);
    assert_true(same(sum, ref->exp_total(p, (double)max, n)));
    const double kl = k->kl(p, lp, q, lq, n), minus_h = k->kl(p, lp, NULL, 0, n);
    assert_true(same(kl, ref->kl(p, lp, q, lq, n)) && same(minus_h, ref->kl(p, lp, NULL, 0, n)));
    e[n] = e_ref[n] = 5;
    k->probs(e, p, lp, n), ref->probs(e_ref, p, lp, n);
    assert_memory_equal(e, e_ref, (size_t)(n + 1) * sizeof *e);
    assert_true(e[n] == 5);
    long double want = 0, want_kl = 0, want_h = 0, all_kl = 0, all_h = 0;
    for (int64_t i = 0; i < n; i++) {
        const double a = (double)p[i] - lp, b = (double)q[i] - lq;
        const long double x = expl((long double)a);
        if (a >= -708) assert_true(fabsl((long double)e[i] - x) <= x * 2 * (long double)U);
        else assert_true(e[i] == 0);
        want += expl((long double)p[i] - (long double)max);
        want_kl += x * ((long double)a - (long double)b), all_kl += x * fabsl((long double)a - (long double)b);
        want_h += x * (long double)a, all_h += x * fabsl((long double)a);
    }
    assert_true(fabsl((long double)sum - want) <= want * (long double)bound(n));
    assert_true(fabsl((long double)kl - want_kl) <= all_kl * (long double)bound(n));
    assert_true(fabsl((long double)minus_h - want_h) <= all_h * (long double)bound(n));
}

static void test_sums(void **state)
{
    const sd_kern_train *k = kern_of(state);
    static const float spread[] = {1e-3f, 1, 5, 300, 1e30f};
    for (size_t s = 0; s < sizeof spread / sizeof *spread; s++) {
        for (int64_t n = 1; n <= 70; n++) check(k, n, spread[s]);
        check(k, 49152, spread[s]);
    }
    check(k, MOST, 5);
    assert_true(k->exp_total(p, 0, 0) == 0 && k->max(p, 0) == -INFINITY);
}

/* Every step of the exponent, its halves and the ends of the range. */
static void test_exp(void **state)
{
    const sd_kern_train *k = kern_of(state);
    for (int i = -70800; i <= 1000; i++) {
        const float x = (float)i / 100;
        const long double want = expl((long double)x);
        k->probs(e, &x, 0, 1);
        assert_true(x < -708.0f ? e[0] == 0 : fabsl((long double)e[0] - want) <= want * 2 * (long double)U);
    }
    const float ends[] = {0, -0.0f, -708.0f, nextafterf(-708.0f, -INFINITY), -1e4f, -FLT_MAX, -INFINITY, NAN};
    k->probs(e, ends, 0, 8);
    assert_true(e[0] == 1 && e[1] == 1 && e[2] > DBL_MIN);
    for (int i = 3; i < 7; i++) assert_true(same(e[i], 0));
    assert_true(isnan(e[7]));
}

static void test_edges(void **state)
{
    const sd_kern_train *k = kern_of(state);
    for (int64_t n = 1; n <= 40; n++) {
        for (int64_t i = 0; i < n; i++) p[i] = q[i] = -3;
        assert_true(k->exp_total(p, -3, n) == (double)n); /* ties */
        const double lse = log((double)n) - 3;
        assert_true(k->kl(p, lse, q, lse, n) == 0);
        for (int64_t at = 0; at < n; at++) {
            p[at] = -INFINITY;
            assert_true(k->exp_total(p, -3, n) == (double)(n - 1));
            assert_true(isnan(k->kl(p, lse, q, lse, n))); /* 0 times an infinity */
            assert_true(k->kl(q, lse, p, lse, n) == INFINITY);
            p[at] = NAN;
            assert_true(isnan(k->exp_total(p, -3, n)));
            assert_true(isnan(k->kl(p, lse, q, lse, n)) && isnan(k->kl(q, lse, p, lse, n)) && isnan(k->kl(p, lse, NULL, 0, n)));
            assert_true(k->max(p, n) == (n == 1 ? -INFINITY : -3.0f));
            p[at] = -3;
        }
    }
}

#define K(f, isa) {#f "/" isa, f, NULL, NULL, (void *)(uintptr_t)isa}
#define ALL(f) K(f, "ref"), K(f, "avx2"), K(f, "avx512"), K(f, "auto")

int main(void)
{
    const struct CMUnitTest tests[] = {ALL(test_sums), ALL(test_exp), ALL(test_edges)};
    return cmocka_run_group_tests(tests, make_rows, free_rows) ? 1 : 0;
}
