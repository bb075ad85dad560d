/* Moments in 8 bits on every ISA against the plain loops, bit for bit; what comes back is near what went in; 0 stays 0 and nothing
 * else in v becomes it. */
#include "t.h"

#include "base/cpu.h"
#include "base/rng.h"
#include "num/kern_train.h"

#include <math.h>

enum { MOST = 600 };

static void check(const char *level)
{
    static const int64_t size[] = {1, 2, 15, 16, 17, 64, 100, 576};
    sd_cpu cpu;
    sd_rng r = sd_rng_make(4, "moments", 0);
    if (!sd_cpu_detect(&cpu, level)) return;
    const sd_kern_train *k = sd_kern_train_select(cpu.flags), *ref = &sd_kern_train_ref;
    for (int rep = 0; rep < 40; rep++)
        for (size_t s = 0; s < sizeof size / sizeof *size; s++) {
            const int64_t n = size[s];
            float m[MOST], v[MOST], m1[MOST + 1], v1[MOST + 1], m2[MOST], v2[MOST], s1[2], s2[2];
            int8_t q1[MOST + 1], q2[MOST + 1];
            uint8_t u1[MOST + 1], u2[MOST + 1];
            const float size_m = expf(20.0f * sd_rng_normal(&r)), size_v = expf(20.0f * sd_rng_normal(&r));
            for (int64_t i = 0; i < n; i++) {
                m[i] = rep == 0 ? 0.0f : size_m * expf(2.0f * sd_rng_normal(&r)) * (sd_rng_u32(&r) & 1 ? 1.0f : -1.0f);
                v[i] = rep == 0 ? 0.0f : size_v * expf(4.0f * sd_rng_normal(&r));
            }
            q1[n] = q2[n] = 3, u1[n] = u2[n] = 3, m1[n] = v1[n] = 9;
            k->pack8(q1, u1, s1, m, v, n), ref->pack8(q2, u2, s2, m, v, n);
            assert_memory_equal(s1, s2, sizeof s1);
            assert_memory_equal(q1, q2, (size_t)(n + 1));
            assert_memory_equal(u1, u2, (size_t)(n + 1));
            k->unpack8(m1, v1, q1, u1, s1, n), ref->unpack8(m2, v2, q1, u1, s1, n);
            assert_memory_equal(m1, m2, (size_t)n * 4);
            assert_memory_equal(v1, v2, (size_t)n * 4);
            assert_true(m1[n] == 9 && v1[n] == 9);
            for (int64_t i = 0; i < n; i++) {
                assert_true((v[i] == 0.0f) == (v1[i] == 0.0f));
                /* half a step of three bits of mantissa, of four squared; a few roundings; what is below the range */
                assert_true(fabsf(m1[i] - m[i]) <= 0.0626f * fabsf(m[i]) + s1[0] * 0x1p-15f);
                assert_true(fabsf(v1[i] - v[i]) <= 0.0636f * v[i] + s1[1] * s1[1] * 0x1p-30f);
            }
        }
}

static void test_moments(void **state)
{
    (void)state;
    check("ref");
    check("avx2");
    check("auto");
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(test_moments)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
