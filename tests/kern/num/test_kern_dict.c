/* Every slot of sd_kern_dict on every ISA of this CPU against the plain one: odd and unaligned sizes, guard bytes. What a slot
 * promises bit for bit is compared bit for bit; a sum in lanes within its roundings. */
#include "t.h"

#include "base/cpu.h"
#include "base/rng.h"
#include "num/dtype.h"
#include "num/kern_dict.h"

#include <float.h>
#include <math.h>

static const int64_t sizes[] = {0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 576, 1000, 4097};
enum { N_SIZES = sizeof sizes / sizeof *sizes, MOST = 4097 + 64 };

static const sd_kern_dict *table(void **state)
{
    sd_cpu cpu;
    if (!sd_cpu_detect(&cpu, *state)) t_skip("this CPU has no %s", (const char *)*state);
    return sd_kern_dict_select(cpu.flags);
}

static void fill(float *x, int64_t n, float scale, uint64_t index)
{
    sd_rng r = sd_rng_make(11, "test_kern_dict", index);
    for (int64_t i = 0; i < n; i++) x[i] = scale * sd_rng_normal(&r);
}

static float a[MOST], b[MOST], c[MOST], p1[MOST], p2[MOST], m1[MOST], m2[MOST], v1[MOST], v2[MOST];
static uint16_t h1[MOST], h2[MOST];
static int32_t i1[MOST], i2[MOST];

static void test_to_bf16(void **state)
{
    const sd_kern_dict *k = table(state), *ref = &sd_kern_dict_ref;
    for (int s = 0; s < N_SIZES; s++)
        for (int shift = 0; shift < 2; shift++) {
            const int64_t n = sizes[s];
            float *x = a + shift;
            fill(x, n, 30.0f, (uint64_t)n);
            if (n > 8) x[1] = 0.0f, x[2] = -0.0f, x[3] = 1e-40f, x[4] = -1e-39f, x[5] = 1.00390625f, x[6] = 1.01171875f, x[7] = 3e18f;
            h1[n] = h2[n] = 0xabcd;
            const float e = k->to_bf16(h1, x, n), want = ref->to_bf16(h2, x, n);
            assert_memory_equal(h1, h2, (size_t)(n + 1) * 2);
            /* Sums of n positive squares, each with at most n roundings of 2^-24. */
            assert_true(fabsf(e - want) <= (float)n * 0x1p-23f * want);
            double exact = 0;
            for (int64_t i = 0; i < n; i++) exact += pow((double)x[i] - (double)sd_bf16_to_f32(h1[i]), 2);
            assert_true(fabs((double)e - exact) <= 1e-3 * exact);
        }
}

static void test_scan(void **state)
{
    const sd_kern_dict *k = table(state), *ref = &sd_kern_dict_ref;
    const float cuts[] = {-FLT_MAX, -1.0f, 0.0f, 2.5f, 1e9f};
    for (int s = 0; s < N_SIZES; s++)
        for (int t = 0; t < 5; t++) {
            const int64_t n = sizes[s];
            fill(a, n, 1.0f, 1), fill(b, n, 0.1f, 2), fill(c, n, 1.0f, 3);
            if (n > 9) a[9] = NAN, a[3] = INFINITY, a[4] = -INFINITY;
            const sd_scan_in in = {a, b, c, 0.05f, cuts[t], n};
            for (int64_t i = 0; i < n + 17; i++) i1[i] = -7;
            const int64_t got = k->scan(i1, p1, &in), want = ref->scan(i2, p2, &in);
            assert_int_equal(got, want);
            assert_memory_equal(i1, i2, (size_t)got * 4);
            for (int64_t i = 0; i < got; i++) assert_true(p1[i] == p2[i] || (isnan(p1[i]) && isnan(p2[i])));
            assert_int_equal(i1[n + 16], -7); /* 16 to spare, no more */
            assert_int_equal(k->count_ge(a, cuts[t], n), ref->count_ge(a, cuts[t], n));
        }
}

static void test_group_max(void **state)
{
    const sd_kern_dict *k = table(state), *ref = &sd_kern_dict_ref;
    for (int64_t g = 16; g <= 128; g *= 2)
        for (int64_t n = g; n <= 1024; n += g) {
            fill(a, n, 1.0f, (uint64_t)n), fill(b, n, 0.1f, 2), fill(c, n, 1.0f, 3);
            a[5] = NAN;
            const sd_scan_in in = {a, b, c, -0.05f, 0, n};
            k->group_max(p1, g, &in), ref->group_max(p2, g, &in);
            assert_memory_equal(p1, p2, (size_t)g * 4);
        }
}

static void test_adam(void **state)
{
    const sd_kern_dict *k = table(state), *ref = &sd_kern_dict_ref;
    const sd_adam_k o = {0.9f, 0.999f, 0.1f, 0.001f, 4e-3f, 31.6f, 1e-8f};
    const float idle[4] = {0.3f, 1e-8f, 0.6f, 0.99f};
    for (int s = 0; s < N_SIZES; s++) {
        const int64_t n = sizes[s];
        fill(p1, n + 1, 1.0f, 1), fill(m1, n + 1, 1e-3f, 2), fill(a, n, 1e-2f, 4), fill(v1, n + 1, 1e-3f, 3);
        for (int64_t i = 0; i <= n; i++) v1[i] *= v1[i];
        if (n > 2) a[2] = 0, m1[2] = 0, v1[2] = 0;
        memcpy(p2, p1, sizeof p1), memcpy(m2, m1, sizeof m1), memcpy(v2, v1, sizeof v1);
        for (int step = 0; step < 3; step++) {
            k->adam(p1, m1, v1, a, &o, n), ref->adam(p2, m2, v2, a, &o, n);
            k->idle(p1, m1, v1, idle, n), ref->idle(p2, m2, v2, idle, n);
        }
        assert_memory_equal(p1, p2, sizeof p1);
        assert_memory_equal(m1, m2, sizeof m1);
        assert_memory_equal(v1, v2, sizeof v1);
    }
}

static void test_span_compact(void **state)
{
    const sd_kern_dict *k = table(state), *ref = &sd_kern_dict_ref;
    enum { CAP = 700 };
    int32_t at1[CAP], at2[CAP];
    float w1[CAP], w2[CAP], s1[2], s2[2];
    for (int s = 0; s < N_SIZES; s++) {
        const int64_t n = sizes[s];
        if (n < 1 || n > CAP - 16) continue;
        fill(a, n, 1.0f, (uint64_t)n);
        for (int64_t i = 0; i < n; i++) a[i] += s % 2 ? 5.0f : -5.0f; /* nothing near the zeros of a masked load */
        k->span(s1, a, n), ref->span(s2, a, n);
        assert_memory_equal(s1, s2, sizeof s1);
        for (int cut = 0; cut < 4; cut++) {
            for (int64_t i = 0; i < n; i++) at1[i] = at2[i] = (int32_t)(7 * i), w1[i] = w2[i] = (float)i, p1[i] = p2[i] = a[i];
            if (cut == 3) p1[0] = p2[0] = NAN;
            const float limit = cut == 0 ? -INFINITY : cut == 1 ? INFINITY : a[n / 2];
            const int64_t kept = k->compact(at1, p1, w1, n, limit);
            assert_int_equal(kept, ref->compact(at2, p2, w2, n, limit));
            if (cut < 2) assert_int_equal(kept, cut ? 0 : n);
            assert_memory_equal(at1, at2, (size_t)kept * 4);
            assert_memory_equal(w1, w2, (size_t)kept * 4);
            assert_memory_equal(p1, p2, (size_t)kept * 4);
        }
    }
}

/* The formula of Kingma & Ba 2015, algorithm 1, in double. */
static void test_adam_formula(void **state)
{
    const sd_kern_dict *k = table(state);
    const double lr = 4e-4, beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
    double p = 0.3, m = 0, v = 0;
    float pf = 0.3f, mf = 0, vf = 0;
    for (int t = 1; t <= 20; t++) {
        const double g = 1e-3 * cos(t);
        const float gf = (float)g;
        m = beta1 * m + (1 - beta1) * g, v = beta2 * v + (1 - beta2) * g * g;
        p -= lr * (m / (1 - pow(beta1, t))) / (sqrt(v / (1 - pow(beta2, t))) + eps);
        const sd_adam_k o = {(float)beta1, (float)beta2, (float)(1 - beta1), (float)(1 - beta2), (float)(lr / (1 - pow(beta1, t))), (float)(1 / sqrt(1 - pow(beta2, t))), (float)eps};
        k->adam(&pf, &mf, &vf, &gf, &o, 1);
        /* A dozen roundings in a step of at most 4e-4, and half an ulp of p (0.3: 1.5e-8) a step. */
        assert_true(fabs((double)pf - p) < t * (4e-4 * 1e-6 + 1.6e-8));
    }
}

static void test_f16(void **state)
{
    const sd_kern_dict *k = table(state), *ref = &sd_kern_dict_ref;
    for (int s = 0; s < N_SIZES; s++) {
        const int64_t n = sizes[s];
        fill(a, n, 100.0f, (uint64_t)n);
        if (n > 8) a[0] = 65504.0f, a[1] = 65519.0f, a[2] = 65520.0f, a[3] = 6e-8f, a[4] = -2.9e-8f, a[5] = 1e-6f, a[6] = -1e9f;
        h1[n] = h2[n] = 0x1234;
        k->f32_to_f16(h1, a, n), ref->f32_to_f16(h2, a, n);
        assert_memory_equal(h1, h2, (size_t)(n + 1) * 2);
        p1[n] = p2[n] = 5;
        k->f16_to_f32(p1, h1, n), ref->f16_to_f32(p2, h1, n);
        assert_memory_equal(p1, p2, (size_t)(n + 1) * 4);
    }
}

#define TS(f) {#f " ref", f, NULL, NULL, (void *)(uintptr_t)"ref"}, {#f " avx2", f, NULL, NULL, (void *)(uintptr_t)"avx2"}, {#f " avx512", f, NULL, NULL, (void *)(uintptr_t)"avx512"}

int main(void)
{
    const struct CMUnitTest tests[] = {TS(test_to_bf16), TS(test_scan), TS(test_group_max), TS(test_span_compact), TS(test_adam), TS(test_adam_formula), TS(test_f16)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
