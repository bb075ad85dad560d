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
        assert_int_equal(k->round(p, y, u, ((float)k->most - 0.1f) / top, n), ref->round(q, z, u, ((float)k->most - 0.1f) / top, n));
        assert_memory_equal(p, q, (size_t)(n + 1));
    }
}

/* 64 numbers that the table may be given, and where it sets a norm with all of it used: the largest first (rep 0: no others, all positive, from place 0 on), all
 * alike, or any. */
static void draw64(int8_t *q, sd_rng *r, int rep)
{
    for (int half = 0; half < 2; half++) {
        const uint64_t shape = rep ? sd_rng_below(r, 3) : 0, at = rep ? sd_rng_below(r, 32) : 0;
        int64_t left = k->longest ? (int64_t)k->longest * k->longest : INT64_MAX;
        for (uint64_t n = at; n < at + 32; n++) {
            const int64_t i = (int64_t)(n % 32);
            int v = shape == 0 ? k->most : shape == 1 && k->longest ? (int)(k->longest / sqrt(32.0)) : (int)sd_rng_below(r, (uint64_t)k->most + 1);
            while ((int64_t)v * v > left) v--;
            left -= (int64_t)v * v;
            q[i / 2 * 4 + half * 2 + i % 2] = (int8_t)(rep && sd_rng_below(r, 2) ? -v : v);
        }
    }
}

/* Row t's (feature f's) numbers into their places; what w is stored as is `add` more. */
static void put(uint8_t *to, const int8_t *q, int64_t at, int64_t wide, int64_t d, int add)
{
    for (int64_t i = 0; i < d; i++) to[at / wide * wide * d + i / 4 * 4 * wide + at % wide * 4 + i % 4] = (uint8_t)(q[i] + add);
}

static int32_t lift_of(const int8_t *q)
{
    int32_t a = 0, b = 0;
    for (int i = 0; i < 64; i++) *(i & 2 ? &b : &a) -= k->zero * q[i];
    return (int32_t)((uint32_t)b << 16 | ((uint32_t)a & 0xffffu));
}

/* The largest numbers there are, and a cut among the scores. */
static void test_scan(void **state)
{
    (void)state;
    enum { D = 192, F = 96, T_ = 96, CAP = F + 16 };
    static uint8_t w[F * D];
    static int8_t x[T_ * D];
    static float scale[F], b[F], share[F], unit[T_], c[T_], cut[T_], s1[F * T_ + 1], s2[F * T_ + 1], up1[T_][CAP], up2[T_][CAP];
    static int32_t start[T_], lift[T_ * (D / 64)], i1[T_][CAP], i2[T_][CAP];
    sd_rng r = sd_rng_make(2, "scan8", 0);
    for (int rep = 0; rep < 20; rep++) {
        int8_t q[D];
        for (int f = 0; f < F; f++) {
            for (int g = 0; g < D; g += 64) draw64(q + g, &r, rep);
            put(w, q, f, SD_SCAN8_PANEL, D, k->zero);
        }
        for (int f = 0; f < F; f++) scale[f] = 0.01f * (float)sd_rng_uniform(&r), b[f] = sd_rng_normal(&r), share[f] = (float)sd_rng_uniform(&r);
        b[F - 1] = -INFINITY, scale[F - 1] = share[F - 1] = 0; /* padding */
        for (int t = 0; t < T_; t++) {
            unit[t] = 0.02f * (float)sd_rng_uniform(&r), c[t] = 0.1f, cut[t] = rep == 1 ? -3e38f : rep == 2 ? INFINITY : 2.0f * sd_rng_normal(&r), start[t] = 0;
            for (int g = 0; g < D; g += 64) {
                draw64(q + g, &r, rep);
                for (int i = g; i < g + 64 && rep == 0 && t % 2; i++) q[i] = (int8_t)-q[i];
                lift[t / k->wide * k->wide * (D / 64) + g / 64 * k->wide + t % k->wide] = lift_of(q + g);
            }
            for (int i = 0; i < D; i++) start[t] -= k->zero * q[i];
            put((uint8_t *)x, q, t, k->wide, D, 0);
        }
        const sd_scan8_in in = {w, x, scale, b, share, unit, c, cut, start, lift, D, F, T_, k->wide};
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
    const uint32_t flags[] = {cpu.flags & SD_CPU_AVX2, cpu.flags & ~(uint32_t)SD_CPU_AMX, cpu.flags};
    for (int i = 0; i < 3; i++) {
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
