/* sd_gather_add and sd_gather_dot against calls of axpy and dot one by one, at every level: the same bits, nothing written beside. */
#include "t.h"

#include "base/cpu.h"
#include "base/rng.h"
#include "num/gather.h"

enum { ROWS = 40, MOST = 650 };
static float base[ROWS * MOST], x[MOST], y1[MOST + 1], y2[MOST + 1];

static void check(const char *level)
{
    static const int64_t width[] = {1, 15, 16, 17, 63, 64, 100, 128, 129, 144, 576, 650}, count[] = {0, 1, 3, 4, 5, 32, 40};
    sd_cpu cpu;
    sd_rng r = sd_rng_make(3, "gather", 0);
    if (!sd_cpu_detect(&cpu, level)) return;
    const sd_kern *k = sd_kern_select(cpu.flags);
    for (int64_t i = 0; i < ROWS * MOST; i++) base[i] = sd_rng_normal(&r);
    for (size_t w = 0; w < sizeof width / sizeof *width; w++)
        for (size_t c = 0; c < sizeof count / sizeof *count; c++) {
            const int64_t d = width[w], n = count[c];
            int32_t idx[ROWS];
            float coef[ROWS], out[ROWS + 1];
            for (int64_t i = 0; i < n; i++) idx[i] = (int32_t)sd_rng_below(&r, ROWS), coef[i] = sd_rng_normal(&r);
            for (int64_t i = 0; i <= d; i++) x[i % MOST] = sd_rng_normal(&r), y1[i] = y2[i] = sd_rng_normal(&r);
            const sd_gather g = {base, idx, n, d};
            sd_gather_add(k, y1, &g, coef);
            for (int64_t i = 0; i < n; i++) k->axpy(y2, coef[i], base + idx[i] * d, d);
            assert_memory_equal(y1, y2, (size_t)(d + 1) * 4);
            out[n] = 7.0f;
            sd_gather_dot(k, out, &g, x);
            for (int64_t i = 0; i < n; i++) assert_true(out[i] == k->dot(x, base + idx[i] * d, d));
            assert_true(out[n] == 7.0f);
        }
}

static void test_gather(void **state)
{
    (void)state;
    check("ref");
    check("avx2");
    check("auto");
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(test_gather)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
