/* AdamW against its formula in double, its 8-bit form against it, schedules, the sum of squares. */
#include "t.h"

#include "base/mem.h"
#include "base/rng.h"
#include "num/optim.h"

#include <math.h>

enum { N = 1000, STEPS = 30 };

static sd_exec *make(void)
{
    sd_exec *ex = sd_calloc(sizeof *ex);
    assert_true(sd_cpu_detect(&ex->cpu, NULL));
    ex->kern = sd_kern_select(ex->cpu.flags);
    ex->n_threads = 2;
    return ex;
}

static void gradient(float *g, int step)
{
    sd_rng r = sd_rng_make(4, "test_optim", (uint64_t)step);
    for (int i = 0; i < N; i++)
        g[i] = sd_rng_normal(&r) * powf(10.0f, (float)(i % 5) - 3.0f) + 0.3f * powf(10.0f, (float)(i % 5) - 3.0f);
}

static void test_adamw(void **state)
{
    (void)state;
    sd_exec *ex = make();
    static float p[N], m[N], v[N], g[N], p8[N], scale[2 * (N / SD_ADAM8_BLOCK + 1)];
    static double P[N], M[N], V[N];
    static int8_t qm[N];
    static uint8_t qv[N];
    for (int i = 0; i < N; i++) P[i] = (double)(p[i] = p8[i] = (float)(i % 7) - 3.0f);
    for (int t = 1; t <= STEPS; t++) {
        const sd_adamw_opt o = {
            .lr = 0.01, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1, .scale = 0.5, .step = t};
        gradient(g, t);
        sd_adamw(ex, p, m, v, g, N, &o);
        sd_adamw8(ex, p8, (sd_adam8){qm, qv, scale}, g, N, &o);
        for (int i = 0; i < N; i++) {
            const double d = 0.5 * (double)g[i];
            M[i] = 0.9 * M[i] + 0.1 * d;
            V[i] = 0.95 * V[i] + 0.05 * d * d;
            P[i] =
                P[i] * (1 - 0.01 * 0.1) - 0.01 * (M[i] / (1 - pow(0.9, t))) / (sqrt(V[i] / (1 - pow(0.95, t))) + 1e-8);
        }
    }
    double moved = 0, off8 = 0;
    for (int i = 0; i < N; i++) {
        const double start = (double)((float)(i % 7) - 3.0f);
        assert_true(fabs((double)p[i] - P[i]) < 1e-5); /* thirty steps of a few roundings of numbers near 3 */
        moved += fabs(P[i] - start);
        off8 += fabs((double)p8[i] - P[i]);
    }
    /* A block mixes gradients over four decades; 8 bits with square roots keep a few percent each. */
    if (!(off8 < 0.15 * moved)) fail_msg("8-bit moments: %.1f %% of the way off", 100 * off8 / moved);
    sd_free(ex);
}

static void test_schedule(void **state)
{
    (void)state;
    assert_true(fabs(sd_schedule_at(SD_SCHEDULE_LINEAR, 1, 100, 10, 0) - 0.1) < 1e-12);
    assert_true(fabs(sd_schedule_at(SD_SCHEDULE_LINEAR, 10, 100, 10, 0) - 1.0) < 1e-12);
    assert_true(fabs(sd_schedule_at(SD_SCHEDULE_LINEAR, 11, 100, 10, 0) - 1.0) < 1e-12);
    assert_true(fabs(sd_schedule_at(SD_SCHEDULE_LINEAR, 100, 100, 10, 0) - 1.0 / 90) < 1e-12);
    assert_true(fabs(sd_schedule_at(SD_SCHEDULE_COSINE, 56, 100, 10, 0.2) - 0.6) < 1e-12);
    assert_true(sd_schedule_at(SD_SCHEDULE_CONSTANT, 77, 100, 0, 0) == 1.0);
    for (int s = 2; s <= 100; s++)
        assert_true(sd_schedule_at(SD_SCHEDULE_COSINE, s, 100, 0, 0.1) <
                    sd_schedule_at(SD_SCHEDULE_COSINE, s - 1, 100, 0, 0.1));
}

static void test_square_sum(void **state)
{
    (void)state;
    sd_exec *ex = make();
    const int64_t n = 100003;
    float *x = sd_malloc((size_t)n * sizeof *x);
    double *part = sd_malloc((size_t)sd_square_sum_parts(n) * sizeof *part), want = 0;
    sd_rng r = sd_rng_make(4, "test_optim", 99);
    for (int64_t i = 0; i < n; i++) want += pow((double)(x[i] = sd_rng_normal(&r)), 2);
    const double got = sd_square_sum(ex, x, n, part);
    assert_true(fabs(got - want) < 1e-9 * want);
    ex->n_threads = 1;
    assert_true(sd_square_sum(ex, x, n, part) == got);
    x[77] = NAN;
    assert_true(isnan(sd_square_sum(ex, x, n, part)));
    sd_free(x), sd_free(part), sd_free(ex);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(test_adamw), T(test_schedule), T(test_square_sum)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
