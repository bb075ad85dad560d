/* Philox against the published known answers of Random123 (kat_vectors, philox4x32 with 10 rounds), and what the
 * streams promise: a pure function of position, unbiased ranges, moments of the distributions. */
#include "base/rng.h"

#include "t.h"

#include <math.h>

static void known_answers(void **state)
{
    (void)state;
    static const struct {
        uint32_t ctr[4], key[2], out[4];
    } kat[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof kat / sizeof *kat; i++) {
        uint32_t out[4];
        sd_philox(out, kat[i].ctr, kat[i].key);
        assert_memory_equal(out, kat[i].out, sizeof out);
    }
}

static void words_are_a_function_of_position(void **state)
{
    (void)state;
    sd_rng r = sd_rng_make(7, "shuffle", 3);
    uint32_t w[64];
    for (int i = 0; i < 64; i++) w[i] = sd_rng_u32(&r);
    for (uint64_t i = 0; i + 1 < 64; i++) {
        sd_rng at = sd_rng_make(7, "shuffle", 3);
        at.pos = i;
        assert_int_equal(sd_rng_u32(&at), w[i]);
        at.pos = i;
        assert_true(sd_rng_u64(&at) == ((uint64_t)w[i + 1] << 32 | w[i]));
        assert_true(at.pos == i + 2);
    }
}

static void streams_differ(void **state)
{
    (void)state;
    sd_rng a = sd_rng_make(1, "init", 0), b = sd_rng_make(2, "init", 0), c = sd_rng_make(1, "inis", 0),
           d = sd_rng_make(1, "init", 1);
    uint64_t v = sd_rng_u64(&a);
    assert_true(v != sd_rng_u64(&b) && v != sd_rng_u64(&c) && v != sd_rng_u64(&d));
    sd_rng again = sd_rng_make(1, "init", 0);
    assert_true(v == sd_rng_u64(&again));
    assert_true(sd_seed_of(7, 0) == 7 && sd_seed_of(7, 1) != sd_seed_of(7, 2) && sd_seed_of(7, 1) != sd_seed_of(8, 1) && sd_seed_of(7, 1) != 8);
}

static void below_is_uniform(void **state)
{
    (void)state;
    sd_rng r = sd_rng_make(1, "test", 0);
    int64_t count[7] = {0};
    const int64_t n = 70000;
    for (int64_t i = 0; i < n; i++) {
        uint64_t v = sd_rng_below(&r, 7);
        assert_true(v < 7);
        count[v]++;
    }
    double chi2 = 0;
    for (int i = 0; i < 7; i++) chi2 += pow((double)count[i] - 1e4, 2) / 1e4;
    assert_true(chi2 < 22.5); /* 99.9 % point of chi-square with 6 degrees of freedom */
    for (int i = 0; i < 100; i++) assert_true(sd_rng_below(&r, 1) == 0);
    /* A range just over half of 2^64 rejects almost every second draw: still inside. */
    for (int i = 0; i < 1000; i++) assert_true(sd_rng_below(&r, ((uint64_t)1 << 63) + 1) <= (uint64_t)1 << 63);
}

static void moments(void **state)
{
    (void)state;
    sd_rng r = sd_rng_make(5, "test", 1);
    const int n = 100000;
    double u1 = 0, s1 = 0, s2 = 0, s4 = 0;
    for (int i = 0; i < n; i++) {
        double u = sd_rng_uniform(&r), z = (double)sd_rng_normal(&r);
        assert_true(u >= 0 && u < 1 && isfinite(z) && fabs(z) < 6.9);
        u1 += u;
        s1 += z;
        s2 += z * z;
        s4 += z * z * z * z;
    }
    /* Five standard errors each: 0.289, 1, sqrt 2 and sqrt 96 over sqrt n. */
    assert_true(fabs(u1 / n - 0.5) < 5 * 0.289 / sqrt(n));
    assert_true(fabs(s1 / n) < 5 / sqrt(n));
    assert_true(fabs(s2 / n - 1) < 5 * 1.415 / sqrt(n));
    assert_true(fabs(s4 / n - 3) < 5 * 9.8 / sqrt(n));
}

static void shuffle_is_a_permutation(void **state)
{
    (void)state;
    enum { n = 1000 };
    int64_t v[n], moved = 0;
    uint8_t seen[n] = {0};
    for (int i = 0; i < n; i++) v[i] = i;
    sd_rng r = sd_rng_make(9, "shuffle", 0);
    sd_rng_shuffle_i64(&r, v, n);
    for (int i = 0; i < n; i++) {
        assert_true(v[i] >= 0 && v[i] < n && !seen[v[i]]);
        seen[v[i]] = 1;
        moved += v[i] != i;
    }
    assert_true(moved > 980); /* one fixed point on average */
    sd_rng_shuffle_i64(&r, v, 0);
    sd_rng_shuffle_i64(&r, v, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(known_answers), T(words_are_a_function_of_position), T(streams_differ), T(below_is_uniform),
        T(moments),       T(shuffle_is_a_permutation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
