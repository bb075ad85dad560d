/* The slots of sd_kern_half against the reference bit for bit, with odd and unaligned sizes, guard words behind each output, and the
 * numbers that VDPBF16PS treats apart: subnormals, NaN and infinities. */
#include "t.h"

#include "base/cpu.h"
#include "base/rng.h"
#include "num/kern.h"
#include "num/kern_half.h"
#include "num/kern_ops.h"

#include <math.h>

enum { GUARD = 16, MOST_D = 81, MOST_PAIR = 141, MOST_PANEL = 6, MOST_ROWS = 13 };
static const uint32_t guard_value = 0x5a5a5a5au;

/* The CPU's own table, or with this flag, which both need no more of a CPU. */
static const sd_kern_half *table(uint32_t slow)
{
    sd_cpu cpu;
    assert_true(sd_cpu_detect(&cpu, NULL));
    const sd_kern_half *k = sd_kern_half_select((cpu.flags & ~(uint32_t)SD_CPU_BF16_SLOW) | slow);
    if (!k) t_skip("this CPU does not multiply bf16");
    return k;
}

static void put_guard(void *p)
{
    for (int i = 0; i < GUARD; i++) memcpy((uint32_t *)p + i, &guard_value, 4);
}

static void check_guard(const void *p)
{
    for (int i = 0; i < GUARD; i++) assert_memory_equal((const uint32_t *)p + i, &guard_value, 4);
}

/* Normal numbers; odd: some of them as small as the smallest, and infinite. */
static void fill(float *x, int64_t n, bool odd, uint64_t index)
{
    sd_rng r = sd_rng_make(7, "test_kern_half", index);
    for (int64_t i = 0; i < n; i++) {
        x[i] = sd_rng_normal(&r);
        if (odd && i % 5 == 0) x[i] *= 1e-38f;
        if (odd && i % 7 == 3) x[i] *= 1e-20f;
    }
}

/* NaN for NaN, else the same bits. */
static void same(const float *a, const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (isnan(a[i]) ? !isnan(b[i]) : memcmp(&a[i], &b[i], 4) != 0) fail_msg("element %d: %a, expected %a", (int)i, (double)a[i], (double)b[i]);
}

static void test_select(void **state)
{
    (void)state;
    assert_null(sd_kern_half_select(0));
    assert_null(sd_kern_half_select(SD_CPU_AVX2 | SD_CPU_AVX512 | SD_CPU_AVX512_VNNI));
}

static void test_pairs(void **state)
{
    (void)state;
    const sd_kern_half *k = table(0), *ref = &sd_kern_half_ref;
    static const int64_t widths[] = {1, 2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 80, 81};
    static float x[1 + 2 * MOST_D];
    static uint32_t a[MOST_D + GUARD], b[MOST_D];
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
        for (int odd = 0; odd < 2; odd++) {
            const int64_t d = widths[w], half = (d + 1) / 2;
            float *at = x + 1;
            fill(at, 2 * d, odd, (uint64_t)d);
            if (odd) at[0] = INFINITY, at[d / 2] = -INFINITY, at[d - 1] = 3.4e38f;
            put_guard(a + half);
            k->row(a, at, d), ref->row(b, at, d);
            check_guard(a + half);
            assert_memory_equal(a, b, (size_t)half * 4);
            if (d % 2) assert_true(a[half - 1] >> 16 == 0);
            put_guard(a + d);
            k->pair(a, at, at + d, d), ref->pair(b, at, at + d, d);
            check_guard(a + d);
            assert_memory_equal(a, b, (size_t)d * 4);
            for (int64_t i = 0; i < d; i++) { /* pair and row round alike */
                const float two[2] = {at[i], at[d + i]};
                ref->row(b, two, 2);
                assert_int_equal(a[i], b[0]);
            }
            float in_place[MOST_D + 1];
            memcpy(in_place, at, (size_t)d * 4);
            ref->row(b, at, d);
            k->row((uint32_t *)(void *)in_place, in_place, d);
            assert_memory_equal(in_place, b, (size_t)half * 4);
        }
    float one[2] = {1, NAN};
    k->row(a, one, 2);
    assert_true((a[0] & 0xffff) == 0x3f80 && (a[0] >> 16 & 0x7fff) > 0x7f80);
}

/* The softmax of the same ISA, rounded; in place, and a few words before its place. */
static void test_softmax(void **state)
{
    (void)state;
    enum { MOST = 301 };
    sd_cpu cpu;
    const sd_kern_half *k = table(0);
    assert_true(sd_cpu_detect(&cpu, NULL));
    for (int64_t n = 1; n <= MOST; n += n < 70 ? 1 : 77)
        for (int64_t at = 0; at < 8; at += 2) {
            float x[MOST + 8 + GUARD], y[MOST];
            uint32_t want[MOST];
            fill(y, n, false, (uint64_t)n);
            for (int64_t i = 0; i < n; i++) y[i] *= 9;
            memcpy(x + at, y, (size_t)n * 4);
            put_guard(x + at + n);
            sd_kern_ops_select(cpu.flags)->softmax(y, n);
            k->row(want, y, n);
            k->softmax((uint32_t *)(void *)x + at / 2, x + at, n);
            check_guard(x + at + n);
            assert_memory_equal(x + at / 2, want, (size_t)(n + 1) / 2 * 4);
        }
    float x[3] = {0, NAN, 1};
    k->softmax((uint32_t *)(void *)x, x, 3);
    for (int i = 0; i < 2; i++) assert_true(isnan(x[i]));
}

static void scores_of(uint32_t slow)
{
    const sd_kern_half *k = table(slow);
    static const int64_t pairs[] = {1, 2, 8, 32, 141}, rows[] = {1, 2, 3, 4, 5, 6, 7, 13};
    static float x[MOST_PANEL * 2 * MOST_PAIR * 16], s[MOST_ROWS * (MOST_PANEL + 1) * 16 + GUARD], want[MOST_ROWS * (MOST_PANEL + 1) * 16];
    static uint32_t q[MOST_ROWS * MOST_PAIR], keys[MOST_PANEL * MOST_PAIR * 16];
    for (size_t w = 0; w < sizeof pairs / sizeof *pairs; w++)
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
            for (int64_t np = 1; np <= MOST_PANEL; np++)
                for (int odd = 0; odd < 2; odd++) {
                    const int64_t n = pairs[w], m = rows[r], lds = np * 16 + 16;
                    fill(x, m * n * 2, odd, 10), sd_kern_half_ref.row(q, x, m * n * 2);
                    fill(x, np * n * 32, odd, 11);
                    if (odd) x[0] = NAN, x[17] = INFINITY;
                    sd_kern_half_ref.row(keys, x, np * n * 32);
                    sd_half_scores a = {.s = s, .q = q, .k = keys, .lds = lds, .m = m, .n_panel = np, .n_pair = n, .scale = 0.125f};
                    put_guard(s + (m - 1) * lds + np * 16);
                    k->scores(&a);
                    check_guard(s + (m - 1) * lds + np * 16);
                    a.s = want;
                    sd_kern_half_ref.scores(&a);
                    for (int64_t i = 0; i < m; i++) same(s + i * lds, want + i * lds, np * 16);
                    if (odd) assert_true(isnan(s[0]) && isfinite(s[2]));
                }
}

static void test_scores(void **state)
{
    (void)state;
    scores_of(0);
    scores_of(SD_CPU_BF16_SLOW);
}

static void mix_of(uint32_t slow)
{
    const sd_kern_half *k = table(slow);
    static const int64_t widths[] = {1, 3, 8, 16, 24, 33, 64, 81}, ns[] = {1, 2, 3, 20, 140};
    static float x[2 * 140 * (MOST_D + 5)], o[SD_MIX_ROWS * MOST_D + GUARD], want[SD_MIX_ROWS * MOST_D];
    static uint32_t p[SD_MIX_ROWS * 144], v[140 * (MOST_D + 5)];
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
        for (size_t l = 0; l < sizeof ns / sizeof *ns; l++)
            for (int64_t m = 1; m <= SD_MIX_ROWS; m++)
                for (int odd = 0; odd < 2; odd++) {
                    const int64_t d = widths[w], n = ns[l], ldp = n + 4, ldv = d + (int64_t)l;
                    fill(x, m * ldp * 2, odd, 20), sd_kern_half_ref.row(p, x, m * ldp * 2);
                    fill(x, 2 * n * ldv, odd, 21), sd_kern_half_ref.row(v, x, 2 * n * ldv);
                    fill(o, m * d, false, 22), memcpy(want, o, (size_t)(m * d) * 4);
                    put_guard(o + m * d);
                    sd_half_mix a = {.o = o, .p = p, .v = v, .ldp = ldp, .ldv = ldv, .m = m, .n = n, .d = d};
                    k->mix(&a);
                    check_guard(o + m * d);
                    a.o = want;
                    sd_kern_half_ref.mix(&a);
                    same(o, want, m * d);
                }
}

static void test_mix(void **state)
{
    (void)state;
    mix_of(0);
    mix_of(SD_CPU_BF16_SLOW);
}

static const sd_kern_tiles *tiles(void)
{
    sd_cpu cpu;
    assert_true(sd_cpu_detect(&cpu, NULL));
    const sd_kern_tiles *k = sd_kern_tiles_select(cpu.flags);
    assert_null(sd_kern_tiles_select(cpu.flags & ~(uint32_t)SD_CPU_AMX));
    if (!k) t_skip("this CPU has no AMX");
    return k;
}

/* Half i of pairs `step` words apart. */
static float half_of(const uint32_t *x, int64_t step, int64_t i)
{
    const uint32_t u = i % 2 ? x[i / 2 * step] & 0xffff0000u : x[i / 2 * step] << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}

/* n <= 16 pairs as AMX adds them: a chain of the even ones and one of the odd ones, then their sum (kern_slots.h). */
static float step_of(float y, const uint32_t *a, const uint32_t *b, int64_t b_step, int64_t n)
{
    float s[2] = {0, 0};
    for (int64_t i = 0; i < 2 * n; i++) s[i % 2] = fmaf(half_of(a, 1, i), half_of(b, b_step, i), s[i % 2]);
    return y + (s[0] + s[1]);
}

static void test_tiles_scores(void **state)
{
    (void)state;
    const sd_kern_tiles *k = tiles();
    static const int64_t pairs[] = {1, 8, 16, 32, 41}, rows[] = {1, 3, 13, 16, 17, 35};
    enum { M = 35 };
    static float x[MOST_PANEL * 2 * MOST_PAIR * 16], s[M * (MOST_PANEL + 1) * 16 + GUARD];
    static uint32_t q[M * MOST_PAIR], keys[MOST_PANEL * MOST_PAIR * 16];
    for (size_t w = 0; w < sizeof pairs / sizeof *pairs; w++)
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
            for (int64_t np = 1; np <= MOST_PANEL; np++) {
                const int64_t n = pairs[w], m = rows[r], lds = np * 16 + 16;
                fill(x, m * n * 2, false, 10), sd_kern_half_ref.row(q, x, m * n * 2);
                fill(x, np * n * 32, false, 11);
                x[17] = INFINITY;
                sd_kern_half_ref.row(keys, x, np * n * 32);
                put_guard(s + (m - 1) * lds + np * 16);
                k->scores(&(sd_half_scores){.s = s, .q = q, .k = keys, .lds = lds, .m = m, .n_panel = np, .n_pair = n, .scale = 0.3f});
                check_guard(s + (m - 1) * lds + np * 16);
                for (int64_t i = 0; i < m; i++)
                    for (int64_t j = 0; j < np * 16; j++) {
                        float y = 0;
                        for (int64_t c = 0; c < n; c += 16) y = step_of(y, q + i * n + c, keys + (j / 16 * n + c) * 16 + j % 16, 16, n - c < 16 ? n - c : 16);
                        y *= 0.3f;
                        same(&s[i * lds + j], &y, 1);
                    }
            }
}

static void test_tiles_mix(void **state)
{
    (void)state;
    const sd_kern_tiles *k = tiles();
    static const int64_t widths[] = {1, 8, 16, 33, 64, 81}, rows[] = {1, 3, 16, 35};
    enum { M = 35, N = 3, LDV = MOST_D + 3, LDP = 16 * N + 4 };
    static float x[2 * N * 16 * LDV], o[M * MOST_D + GUARD];
    static uint32_t p[M * LDP], v[N * 16 * LDV];
    const uint32_t *const block[N] = {v + 2 * 16 * LDV, v, v + 16 * LDV};
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
            for (int64_t n = 0; n <= N; n++) {
                const int64_t d = widths[w], m = rows[r];
                fill(x, M * LDP * 2, false, 20), sd_kern_half_ref.row(p, x, M * LDP * 2);
                fill(x, 2 * N * 16 * LDV, false, 21), sd_kern_half_ref.row(v, x, 2 * N * 16 * LDV);
                put_guard(o + m * d);
                k->mix(&(sd_tiles_mix){.o = o, .p = p, .v = block, .ldp = LDP, .ldv = LDV, .m = m, .n = n, .d = d});
                check_guard(o + m * d);
                for (int64_t i = 0; i < m; i++)
                    for (int64_t c = 0; c < d; c++) {
                        float y = 0;
                        for (int64_t b = 0; b < n; b++) y = step_of(y, p + i * LDP + 16 * b, block[b] + c, LDV, 16);
                        same(&o[i * d + c], &y, 1);
                    }
            }
}

/* Asking for what comes next changes nothing. */
static void test_tiles_product(void **state)
{
    (void)state;
    enum { M = 75, K = 106 };
    const sd_kern_tiles *k = tiles();
    sd_cpu cpu;
    assert_true(sd_cpu_detect(&cpu, NULL));
    static float x[M * K], y[M * SD_PANEL + GUARD], want[M * SD_PANEL];
    static uint32_t a[M * K / 2], w[K / 2 * SD_PANEL], next[16 * 41];
    fill(x, M * K, false, 30), sd_kern_half_ref.row(a, x, M * K);
    fill(x, K * SD_PANEL, false, 31), sd_kern_half_ref.row(w, x, K * SD_PANEL);
    for (int64_t m = 1; m <= M; m += 37)
        for (int64_t n = 0; n <= 41; n += 41) {
            sd_tile t = {.y = y, .x = a, .w = w, .ldy = SD_PANEL, .ldx = K, .m = m, .k = K};
            put_guard(y + m * SD_PANEL);
            k->tile_bf16(&t, next, n);
            check_guard(y + m * SD_PANEL);
            t.y = want;
            sd_kern_select(cpu.flags)->tile_bf16(&t);
            assert_memory_equal(y, want, (size_t)(m * SD_PANEL) * 4);
        }
}

static void test_copy_finite(void **state)
{
    (void)state;
    const sd_kern_tiles *k = tiles();
    for (int64_t n = 1; n < 70; n++) {
        uint32_t src[70], dst[70 + GUARD];
        for (int64_t i = 0; i < n; i++) src[i] = 0x3f800040u + (uint32_t)i;
        put_guard(dst + n);
        assert_true(k->copy_finite(dst, src, n));
        check_guard(dst + n);
        assert_memory_equal(dst, src, (size_t)n * 4);
        src[n / 2] = 0xff803f80u, src[n - 1] = 0x12347fc1u; /* -inf over 1; NaN under a number */
        assert_false(k->copy_finite(dst, src, n));
        check_guard(dst + n);
        if (n > 2) assert_true(dst[n / 2] == 0x3f80u && dst[0] == src[0]);
        assert_true(dst[n - 1] == 0x12340000u);
    }
}

static const struct CMUnitTest tests[] = {T(test_select), T(test_pairs), T(test_softmax), T(test_scores), T(test_mix), T(test_tiles_scores), T(test_tiles_mix), T(test_tiles_product), T(test_copy_finite)};
T_MAIN(tests)
