/* Scaled rotary embeddings against their papers' formulas in double, and what is refused. Their agreement with
 * transformers, bit for bit of the order of roundings, is tests/interop/arch.sh's. */
#include "t.h"

#include "model/rope.h"

#include <math.h>

enum { ROT = 16, HALF = ROT / 2 };

static sd_rope_spec spec_of(sd_rope_type type)
{
    sd_rope_spec s = {.type = type, .n_rot = ROT, .theta = 10000, .factor = 4, .original_ctx = 64, .max_ctx = 256,
                      .low = 1, .high = 4, .beta_fast = 32, .beta_slow = 1};
    for (int i = 0; i < HALF; i++) s.shorter[i] = 1.0f + (float)i, s.longer[i] = 10.0f + (float)i;
    return s;
}

/* Frequencies within a few f32 roundings, and the factor of cos and sin. */
static void check(const sd_rope_spec *s, int64_t n_ctx, const double want[HALF], double scale)
{
    sd_rope r;
    sd_err err = {0};
    t_ok(sd_rope_make(&r, s, n_ctx, &err), err);
    assert_int_equal(r.half, HALF);
    for (int i = 0; i < HALF; i++) assert_true(fabs((double)r.inv_freq[i] / want[i] - 1) <= 1e-6);
    assert_true(fabs((double)r.scale - scale) <= 1e-6);
    sd_rope_release(&r);
}

static void test_plain_linear_dynamic(void **state)
{
    (void)state;
    double want[HALF];
    sd_rope_spec s = spec_of(SD_ROPE_DEFAULT);
    for (int i = 0; i < HALF; i++) want[i] = pow(10000, -2.0 * i / ROT);
    check(&s, 1000, want, 1);
    s = spec_of(SD_ROPE_DYNAMIC); /* bloc97's NTK-aware base, once the session is longer than the configuration */
    check(&s, 256, want, 1);
    double theta = 10000 * pow(4.0 * 512 / 256 - 3, ROT / (ROT - 2.0));
    for (int i = 0; i < HALF; i++) want[i] = pow(theta, -2.0 * i / ROT);
    check(&s, 512, want, 1);
    s = spec_of(SD_ROPE_LINEAR);
    for (int i = 0; i < HALF; i++) want[i] = pow(10000, -2.0 * i / ROT) / 4;
    check(&s, 256, want, 1);
}

static void test_longrope_and_factors(void **state)
{
    (void)state;
    double want[HALF];
    sd_rope_spec s = spec_of(SD_ROPE_LONGROPE);
    double scale = sqrt(1 + log(4) / log(64));
    for (int i = 0; i < HALF; i++) want[i] = pow(10000, -2.0 * i / ROT) / (1 + i);
    check(&s, 64, want, scale);
    s.attn_factor = 1.25;
    check(&s, 1, want, 1.25);
    for (int i = 0; i < HALF; i++) want[i] = pow(10000, -2.0 * i / ROT) / (10 + i);
    check(&s, 65, want, 1.25);
    s = spec_of(SD_ROPE_FACTORS);
    for (int i = 0; i < HALF; i++) want[i] = pow(10000, -2.0 * i / ROT) / (1 + i);
    check(&s, 4096, want, 1);
}

/* YaRN (Peng et al. 2023), eq. 23-25: a ramp over dimensions between beta_fast and beta_slow turns in original_ctx. */
static void test_yarn(void **state)
{
    (void)state;
    double want[HALF];
    sd_rope_spec s = spec_of(SD_ROPE_YARN);
    double turn = 6.283185307179586, low = floor(ROT * log(64 / (32 * turn)) / (2 * log(10000))),
           high = ceil(ROT * log(64 / turn) / (2 * log(10000)));
    low = fmax(low, 0);
    for (int i = 0; i < HALF; i++) {
        double ramp = fmin(1, fmax(0, (i - low) / (high - low))), f = pow(10000, -2.0 * i / ROT);
        want[i] = f / 4 * ramp + f * (1 - ramp);
    }
    check(&s, 256, want, 0.1 * log(4) + 1);
    s.mscale = 1, s.mscale_all = 0.5;
    check(&s, 256, want, (0.1 * log(4) + 1) / (0.05 * log(4) + 1));
}

static void test_llama3(void **state)
{
    (void)state;
    double want[HALF];
    sd_rope_spec s = spec_of(SD_ROPE_LLAMA3);
    for (int i = 0; i < HALF; i++) {
        double f = pow(10000, -2.0 * i / ROT), wave = 6.283185307179586 / f, smooth = (64 / wave - 1) / 3;
        want[i] = wave > 64 ? f / 4 : wave < 16 ? f : (1 - smooth) * f / 4 + smooth * f;
    }
    check(&s, 256, want, 1);
}

static void test_refused(void **state)
{
    (void)state;
    sd_err err = {0};
    for (int t = SD_ROPE_NONE; t <= SD_ROPE_FACTORS; t++) {
        sd_rope_spec s = spec_of((sd_rope_type)t);
        t_ok(sd_rope_check(&s, &err), err);
        s.theta = NAN;
        assert_int_equal(sd_rope_check(&s, &err), t == SD_ROPE_NONE ? SD_OK : SD_E_FORMAT);
        s = spec_of((sd_rope_type)t);
        s.factor = 0, s.shorter[HALF - 1] = -1;
        assert_int_equal(sd_rope_check(&s, &err), t <= SD_ROPE_DEFAULT ? SD_OK : SD_E_FORMAT);
    }
    sd_rope_type type;
    assert_true(sd_rope_type_of(&type, sd_slice_of("su")) && type == SD_ROPE_LONGROPE);
    assert_false(sd_rope_type_of(&type, sd_slice_of("mrope")));
    sd_rope r;
    sd_rope_spec s = spec_of(SD_ROPE_LINEAR);
    sd_mem_fail_nth(1);
    assert_int_equal(sd_rope_make(&r, &s, 8, &err), SD_E_NOMEM);
    sd_mem_fail_nth(0);
}

static const struct CMUnitTest tests[] = {T(test_plain_linear_dynamic), T(test_longrope_and_factors), T(test_yarn),
                                          T(test_llama3), T(test_refused)};
T_MAIN(tests)
