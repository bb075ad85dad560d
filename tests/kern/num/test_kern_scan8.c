/* Every slot of sd_kern_scan8 of this CPU against the plain one, bit for bit, with guards behind what is written. */
#include "t.h"

#include "base/cpu.h"
#include "base/rng.h"
#include "num/kern_scan8.h"

#include <math.h>

static const sd_kern_scan8 *k, *ref = &sd_kern_scan8_ref;

static void test_rotate_round(void **state)
{
    (void)state;
    enum { MOST = 640 };
    sd_rng r = sd_rng_make(1, "scan8", 0);
    for (int64_t d = 1; d <= 600; d += d < 70 ? 1 : 53) {
        float x[MOST], u[MOST], y[MOST + 1], z[MOST + 1];
        int8_t p[MOST + 1], q[MOST + 1];
        const int64_t n = (d + 63) / 64 * 64;
        for (int64_t i = 0; i < n; i++) x[i] = i < d ? sd_rng_normal(&r) : NAN, u[i] = (float)(sd_rng_u32(&r) >> 16) * 0x1p-16f;
        y[n] = z[n] = 7, p[n] = q[n] = 7;
        const float top = k->rotate(y, x, d, n);
        assert_true(top == ref->rotate(z, x, d, n));
        assert_memory_equal(y, z, (size_t)(n + 1) * 4);
        double before = 0, after = 0;
        for (int64_t i = 0; i < n; i++) before += i < d ? (double)x[i] * (double)x[i] : 0, after += (double)y[i] * (double)y[i];
        assert_true(fabs(before - after) < 1e-5 * before); /* a rotation */
        assert_int_equal(k->round(p, y, u, 126.9f / top, n), ref->round(q, z, u, 126.9f / top, n));
        assert_memory_equal(p, q, (size_t)(n + 1));
    }
}

/* The largest numbers there are, and a cut among the scores. */
static void test_scan(void **state)
{
    (void)state;
    enum { D = 192, F = 96, T_ = 96, CAP = F + 16 };
    static uint8_t w[F * D];
    static int8_t x[T_ * D];
    static float scale[F], b[F], share[F], unit[T_], c[T_], cut[T_], s1[F * T_ + 1], s2[F * T_ + 1], up1[T_][CAP], up2[T_][CAP];
    static int32_t start[T_], i1[T_][CAP], i2[T_][CAP];
    sd_rng r = sd_rng_make(2, "scan8", 0);
    for (int rep = 0; rep < 20; rep++) {
        for (int i = 0; i < F * D; i++) w[i] = rep ? (uint8_t)(1 + sd_rng_below(&r, 255)) : 255;
        for (int i = 0; i < T_ * D; i++) x[i] = rep ? (int8_t)((int)sd_rng_below(&r, 255) - 127) : 127;
        for (int f = 0; f < F; f++) scale[f] = 0.01f * (float)sd_rng_uniform(&r), b[f] = sd_rng_normal(&r), share[f] = (float)sd_rng_uniform(&r);
        b[F - 1] = -INFINITY, scale[F - 1] = share[F - 1] = 0; /* padding */
        for (int t = 0; t < T_; t++) {
            unit[t] = 0.02f * (float)sd_rng_uniform(&r), c[t] = 0.1f, cut[t] = rep == 1 ? -3e38f : rep == 2 ? INFINITY : 2.0f * sd_rng_normal(&r), start[t] = 0;
            for (int i = 0; i < D; i++) start[t] -= 128 * x[t / k->wide * k->wide * D + i / 4 * 4 * k->wide + t % k->wide * 4 + i % 4];
        }
        const sd_scan8_in in = {w, x, scale, b, share, unit, c, cut, start, D, F, T_, k->wide};
        s1[F * T_] = s2[F * T_] = 3;
        k->score(s1, &in), ref->score(s2, &in);
        assert_memory_equal(s1, s2, sizeof s1);
        sd_scan8_out o1[T_], o2[T_];
        for (int t = 0; t < T_; t++) o1[t] = (sd_scan8_out){i1[t], up1[t], 0}, o2[t] = (sd_scan8_out){i2[t], up2[t], 0};
        k->scan(o1, &in, 4096), ref->scan(o2, &in, 4096);
        for (int t = 0; t < T_; t++) {
            assert_int_equal(o1[t].n, o2[t].n);
            if (rep == 1) assert_int_equal(o1[t].n, F - 1);
            if (rep == 2) assert_int_equal(o1[t].n, 0);
            assert_memory_equal(i1[t], i2[t], (size_t)o1[t].n * 4);
            assert_memory_equal(up1[t], up2[t], (size_t)o1[t].n * 4);
        }
    }
}

int main(void)
{
    sd_cpu cpu;
    assert_true(sd_cpu_detect(&cpu, NULL));
    const struct CMUnitTest tests[] = {T(test_rotate_round), T(test_scan)};
    int bad = 0, n = 0;
    const uint32_t flags[] = {cpu.flags & ~(uint32_t)SD_CPU_AMX, cpu.flags};
    for (int i = 0; i < 2; i++) {
        const sd_kern_scan8 *last = k;
        k = sd_kern_scan8_select(flags[i]);
        if (!k || k == last) continue;
        bad += cmocka_run_group_tests(tests, NULL, NULL);
        n++;
    }
    if (n) return bad;
    printf("skip: this CPU has no products of int8; the plain kernels are tested against themselves\n");
    k = ref;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
