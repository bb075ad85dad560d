/* Sampling against its definition on small vocabularies: which tokens stay, how often each is drawn. */
#include "t.h"

#include "base/mem.h"
#include "model/sample.h"

#include <math.h>

static sd_exec ex;

/* Draws 40,000 times: the share of a token of probability p stays within four standard errors of p. */
static void shares(const sd_sample_opt *o, const float *logits, int n, const double *want)
{
    enum { DRAWS = 40000 };
    int count[16] = {0};
    float scratch[16];
    for (int i = 0; i < DRAWS; i++) {
        sd_rng r = sd_rng_make(11, "sample", (uint64_t)i);
        int32_t id = sd_sample(&ex, o, logits, n, &r, scratch);
        assert_true(id >= 0 && id < n);
        count[id]++;
    }
    for (int i = 0; i < n; i++) {
        double se = sqrt(want[i] * (1 - want[i]) / DRAWS), got = (double)count[i] / DRAWS;
        if (want[i] == 0 ? count[i] != 0 : fabs(got - want[i]) > 4 * se)
            fail_msg("token %d: drawn %g, expected %g", i, got, want[i]);
    }
}

/* p = .4 .3 .2 .1 in the order of tokens 2 0 3 1 */
static const float four[4] = {-1.2039728f, -2.3025851f, -0.9162907f, -1.6094379f};

static void test_filters(void **state)
{
    (void)state;
    shares(&(sd_sample_opt){.temp = 1}, four, 4, (double[]){.3, .1, .4, .2});
    shares(&(sd_sample_opt){.temp = 1, .top_k = 2}, four, 4, (double[]){3. / 7, 0, 4. / 7, 0});
    shares(&(sd_sample_opt){.temp = 1, .top_k = 9, .top_p = 1}, four, 4, (double[]){.3, .1, .4, .2});
    shares(&(sd_sample_opt){.temp = 1, .top_p = 0.75}, four, 4, (double[]){3. / 9, 0, 4. / 9, 2. / 9});
    shares(&(sd_sample_opt){.temp = 1, .top_p = 0.3}, four, 4, (double[]){0, 0, 1, 0});
    shares(&(sd_sample_opt){.temp = 1, .top_p = sd_sample_share(0)}, four, 4, (double[]){0, 0, 1, 0});
    shares(&(sd_sample_opt){.temp = 1, .top_p = sd_sample_share(1)}, four, 4, (double[]){.3, .1, .4, .2});
    shares(&(sd_sample_opt){.temp = 1, .min_p = 0.6}, four, 4, (double[]){3. / 7, 0, 4. / 7, 0});
    /* top-p of what top-k left: .4/.7 = 0.571 alone reaches 0.5 */
    shares(&(sd_sample_opt){.temp = 1, .top_k = 2, .top_p = 0.5}, four, 4, (double[]){0, 0, 1, 0});
    /* temperature first: p^2 renormalised */
    shares(&(sd_sample_opt){.temp = 0.5}, four, 4, (double[]){.09 / .30, .01 / .30, .16 / .30, .04 / .30});
    shares(&(sd_sample_opt){.temp = 1}, (float[]){-INFINITY, 0, 0}, 3, (double[]){0, .5, .5});
    /* equals at the edge stay together */
    shares(&(sd_sample_opt){.temp = 1, .top_k = 1}, (float[]){1, 0, 1}, 3, (double[]){.5, 0, .5});
}

static void test_greedy_and_broken(void **state)
{
    (void)state;
    float scratch[4];
    sd_rng r = sd_rng_make(1, "sample", 0), before = r;
    assert_int_equal(sd_sample(&ex, &(sd_sample_opt){0}, four, 4, &r, scratch), 2);
    assert_memory_equal(&r, &before, sizeof r);
    assert_int_equal(sd_sample(&ex, &(sd_sample_opt){0}, (float[]){1, 3, 3}, 3, &r, scratch), 1);
    for (int temp = 0; temp < 2; temp++) {
        sd_sample_opt o = {.temp = temp};
        assert_int_equal(sd_sample(&ex, &o, (float[]){1, NAN, 3}, 3, &r, scratch), -1);
        assert_int_equal(sd_sample(&ex, &o, (float[]){1, INFINITY, 3}, 3, &r, scratch), -1);
        assert_int_equal(sd_sample(&ex, &o, (float[]){-INFINITY, -INFINITY}, 2, &r, scratch), -1);
    }
    sd_err err = {0};
    assert_int_equal(sd_sample_check(&(sd_sample_opt){.temp = -1}, &err), SD_E_ARG);
    assert_int_equal(sd_sample_check(&(sd_sample_opt){.temp = INFINITY}, &err), SD_E_ARG);
    assert_int_equal(sd_sample_check(&(sd_sample_opt){.top_k = -1}, &err), SD_E_ARG);
    assert_int_equal(sd_sample_check(&(sd_sample_opt){.top_p = 1.5}, &err), SD_E_ARG);
    assert_int_equal(sd_sample_check(&(sd_sample_opt){.min_p = -0.1}, &err), SD_E_ARG);
    t_ok(sd_sample_check(&(sd_sample_opt){.temp = 1, .top_k = 40, .top_p = 1, .min_p = 1}, &err), err);
}

static int descending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

/* p = (.3 .1 .4 .2), q uniform: sum p ln(4 p); a shift of all logits changes nothing. */
static void test_kl(void **state)
{
    (void)state;
    const float even[4] = {7, 7, 7, 7}, broken[4] = {0, NAN, 0, 0};
    const double want = .3 * log(1.2) + .1 * log(.4) + .4 * log(1.6) + .2 * log(.8);
    assert_true(fabs(sd_kl(&ex, four, even, 4) - want) < 1e-7); /* four's logits are f32 logarithms */
    assert_true(sd_kl(&ex, four, four, 4) == 0);
    assert_true(sd_kl(&ex, even, four, 4) > 0);
    assert_true(isnan(sd_kl(&ex, four, broken, 4)));
}

/* The selection against a full sort on a whole vocabulary: only tokens at or above the threshold are drawn. */
static void test_vocabulary(void **state)
{
    (void)state;
    enum { V = 49152 };
    float *x = sd_malloc(V * sizeof(float)), *sorted = sd_malloc(V * sizeof(float)),
          *scratch = sd_malloc(V * sizeof(float));
    sd_rng r = sd_rng_make(2, "test_sample", 0);
    for (int i = 0; i < V; i++) x[i] = sorted[i] = 3.0f * sd_rng_normal(&r);
    qsort(sorted, V, sizeof(float), descending);
    double total = 0, sum = 0;
    for (int i = 0; i < V; i++) total += exp((double)sorted[i]);
    int n_p = 0;
    while (sum < 0.7 * total) sum += exp((double)sorted[n_p++]);
    for (int i = 0; i < 300; i++) {
        sd_rng u = sd_rng_make(3, "sample", (uint64_t)i);
        sd_rng again = u;
        int32_t k = sd_sample(&ex, &(sd_sample_opt){.temp = 1, .top_k = 100}, x, V, &u, scratch);
        assert_true(x[k] >= sorted[99]);
        assert_int_equal(k, sd_sample(&ex, &(sd_sample_opt){.temp = 1, .top_k = 100}, x, V, &again, scratch));
        int32_t p = sd_sample(&ex, &(sd_sample_opt){.temp = 1, .top_p = 0.7}, x, V, &u, scratch);
        assert_true(x[p] >= sorted[n_p]); /* one more than the count: sums are grouped otherwise here */
    }
    assert_true(fabs(sd_logprob(&ex, x, V, 5) - ((double)x[5] - log(total))) < 1e-9);
    sd_free(x), sd_free(sorted), sd_free(scratch);
}

/* The token that the definition draws, in long double over a sorted copy. */
static int32_t by_definition(const sd_sample_opt *o, const float *x, int n, double u, float *y, float *sorted)
{
    float max = -INFINITY, t = -INFINITY;
    long double all = 0, sum = 0;
    int kept = n, last = -1;
    for (int i = 0; i < n; i++) max = x[i] > max ? x[i] : max;
    for (int i = 0; i < n; i++) y[i] = sorted[i] = (float)((double)(x[i] - max) / o->temp);
    qsort(sorted, (size_t)n, sizeof(float), descending);
    if (o->top_k > 0 && o->top_k < n) {
        t = sorted[o->top_k - 1];
        for (kept = o->top_k; kept < n && sorted[kept] == t;) kept++;
    }
    if (o->top_p > 0 && o->top_p < 1) {
        for (int i = 0; i < kept; i++) all += expl((long double)sorted[i]);
        int i = 0;
        for (; sum < (long double)o->top_p * all; i++) sum += expl((long double)sorted[i]);
        t = fmaxf(t, sorted[i - 1]);
    }
    if (o->min_p > 0) t = fmaxf(t, (float)log(o->min_p));
    all = sum = 0;
    for (int i = 0; i < n; i++) all += y[i] >= t ? expl((long double)y[i]) : 0;
    for (int i = 0; i < n && sum <= (long double)u * all; i++)
        if (y[i] >= t && y[i] > -INFINITY) sum += expl((long double)y[i]), last = i;
    return last;
}

static void test_definition(void **state)
{
    (void)state;
    enum { V = 49152 };
    static const int sizes[] = {1, 2, 17, 513, 3000, V};
    static const sd_sample_opt opts[] = {{.temp = 1}, {.temp = 0.3}, {.temp = 3}, {.temp = 1, .top_k = 1}, {.temp = 1, .top_k = 40}, {.temp = 1, .top_k = 400},
                                         {.temp = 1, .top_k = 5000}, {.temp = 1, .top_p = 0.01}, {.temp = 1, .top_p = 0.5}, {.temp = 1, .top_p = 0.95},
                                         {.temp = 2, .top_p = 0.999}, {.temp = 1, .top_p = 1 - 1e-12}, {.temp = 1, .min_p = 0.05}, {.temp = 1, .top_k = 40, .top_p = 0.9},
                                         {.temp = 0.8, .top_k = 100, .top_p = 0.99, .min_p = 0.01}};
    float *x = sd_malloc(V * sizeof *x), *y = sd_malloc(V * sizeof *y), *sorted = sd_malloc(V * sizeof *sorted), *scratch = sd_malloc(V * sizeof *scratch);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int kind = 0; kind < 3; kind++) { /* normal; full of ties; with -inf */
            const int n = sizes[s];
            sd_rng r = sd_rng_make(4, "test_sample", s * 3 + (size_t)kind);
            for (int i = 0; i < n; i++) {
                x[i] = 3.0f * sd_rng_normal(&r);
                if (kind == 1) x[i] = rintf(x[i]);
                if (kind == 2 && i && sd_rng_u32(&r) % 4 == 0) x[i] = -INFINITY;
            }
            for (size_t k = 0; k < sizeof opts / sizeof *opts; k++)
                for (uint64_t i = 0; i < 6; i++) {
                    sd_rng u = sd_rng_make(5, "sample", i), same = u;
                    const int32_t id = sd_sample(&ex, &opts[k], x, n, &u, scratch);
                    assert_int_equal(id, by_definition(&opts[k], x, n, sd_rng_uniform(&same), y, sorted));
                }
        }
    sd_free(x), sd_free(y), sd_free(sorted), sd_free(scratch);
}

static const struct CMUnitTest tests[] = {T(test_definition), T(test_filters), T(test_greedy_and_broken), T(test_kl), T(test_vocabulary)};

static int detect(void **state)
{
    (void)state;
    return sd_cpu_detect(&ex.cpu, "auto") ? 0 : 1;
}

int main(void) { return cmocka_run_group_tests(tests, detect, NULL) ? 1 : 0; }
