/* Quantisers: what comes back is within the step of each type, zeros and constants stay, NaN is counted, threads change nothing. */
#include "num/quantize.h"
#include "base/rng.h"
#include "t.h"
#include <math.h>

static const sd_dtype types[] = {SD_F32, SD_F16, SD_BF16, SD_Q8_0, SD_Q4_0, SD_Q4_1, SD_Q5_0, SD_Q5_1, SD_Q4_K, SD_Q5_K, SD_Q6_K};
enum { N_TYPES = sizeof types / sizeof *types, N = 1024 };

static float x[N], y[N];
static uint8_t packed[N * 4];

static void fill(float scale, uint64_t seed)
{
    sd_rng r = sd_rng_make(seed, "test_quantize", 0);
    for (int i = 0; i < N; i++) x[i] = scale * sd_rng_normal(&r);
}

static void back(sd_dtype t)
{
    assert_int_equal(sd_quantize_row(packed, t, x, N), 0);
    sd_dtype_get(t)->decode(y, packed, N);
}

/* Largest error over the span of its block (32 or 256 elements): half a step, and what f16 and six-bit scales add. */
static double bound_of(sd_dtype t)
{
    switch (t) {
    case SD_F32: return 0;
    case SD_F16: return 0x1p-11;
    case SD_BF16: return 0x1p-8;
    case SD_Q8_0: return 0.5 / 127 + 0x1p-11;
    case SD_Q4_0: return 1.0 / 8 + 0x1p-11; /* the side opposite to the extreme lacks one step */
    case SD_Q5_0: return 1.0 / 16 + 0x1p-11;
    case SD_Q4_1: return 2 * (0.5 / 15 + 0x1p-10); /* a step is (max - min) / 15, at most 2 max / 15 */
    case SD_Q5_1: return 2 * (0.5 / 31 + 0x1p-10);
    /* K: sub-blocks of 32 within the largest of 256: scale and minimum are 63rds of the largest, half a 63rd each at 15 steps. */
    case SD_Q4_K: return 2 * (0.5 / 15 + 1.0 / 63);
    case SD_Q5_K: return 2 * (0.5 / 31 + 1.0 / 63);
    default: return 0.5 / 31 + 1.0 / 128;
    }
}

static void errors_stay_within_a_step(void **state)
{
    (void)state;
    for (int k = 0; k < N_TYPES; k++)
        for (uint64_t seed = 0; seed < 4; seed++) {
            const int block = sd_dtype_get(types[k])->block;
            fill(powf(10.0f, (float)seed - 2), seed);
            back(types[k]);
            for (int b = 0; b < N; b += block) {
                double top = 0;
                for (int i = b; i < b + block; i++) top = fmax(top, fabs((double)x[i]));
                for (int i = b; i < b + block; i++)
                    if (!(fabs((double)y[i] - x[i]) <= bound_of(types[k]) * top + 0x1p-25)) /* half a subnormal f16 */
                        fail_msg("%s: element %d of %g comes back as %g, bound %g", sd_dtype_get(types[k])->name, i, (double)x[i], (double)y[i],
                                 bound_of(types[k]) * top);
            }
        }
}

/* Where f16 is coarse, or has nothing but 0, a K type's scale is the next one that reaches the block's largest number: cut off, or as zeros, they would come back otherwise. */
static void small_blocks_are_kept(void **state)
{
    (void)state;
    static const sd_dtype k_type[] = {SD_Q4_K, SD_Q5_K, SD_Q6_K};
    for (int k = 0; k < 3; k++)
        for (float top = 4e-6f; top < 1e-3f; top *= 1.37f) {
            double off = 0, all = 0;
            for (int i = 0; i < N; i++) x[i] = top * (float)(i % 31 - 15) / 15;
            back(k_type[k]);
            for (int i = 0; i < N; i++) off += ((double)y[i] - x[i]) * ((double)y[i] - x[i]), all += (double)x[i] * x[i];
            if (!(sqrt(off / all) <= 0.25)) fail_msg("%s of at most %g: off by %g", sd_dtype_get(k_type[k])->name, (double)top, sqrt(off / all));
        }
}

/* Values on a type's own grid are kept: what was decoded quantises to numbers that decode no further away than f16 rounds. */
static void grids_are_kept(void **state)
{
    (void)state;
    for (int k = 3; k < 8; k++) {
        float once[N];
        fill(1, 9);
        back(types[k]);
        memcpy(once, y, sizeof y);
        memcpy(x, y, sizeof y);
        back(types[k]);
        for (int i = 0; i < N; i++) assert_true(fabsf(once[i] - y[i]) <= 0x1p-9f * 4.0f);
    }
}

static void zeros_and_constants_stay(void **state)
{
    (void)state;
    for (int k = 0; k < N_TYPES; k++) {
        memset(x, 0, sizeof x);
        back(types[k]);
        for (int i = 0; i < N; i++) assert_true(fabsf(y[i]) <= 1e-39f); /* bf16 rounds up */
        for (int i = 0; i < N; i++) x[i] = -0.5f;
        back(types[k]);
        for (int i = 0; i < N; i++) assert_true(fabsf(y[i] + 0.5f) <= 0.5f / 64);
        for (int i = 0; i < N; i++) x[i] = i % 2 ? 1e-30f : 1e-38f; /* below what f16 scales can say */
        back(types[k]);
        for (int i = 0; i < N; i++) assert_true(isfinite(y[i]) && fabsf(y[i]) <= 1e-6f);
        for (int i = 0; i < N; i++) x[i] = i % 2 ? 1e-40f : 0; /* the reciprocal of its scale is infinite */
        back(types[k]);
        for (int i = 0; i < N; i++) assert_true(fabsf(y[i]) <= 1e-39f); /* bf16 rounds up */
    }
}

static void nan_is_counted(void **state)
{
    (void)state;
    for (int k = 3; k < N_TYPES; k++) {
        fill(1, 3);
        x[0] = NAN, x[300] = INFINITY, x[301] = -INFINITY;
        x[302] = 1e6f, x[303] = -65520.0f, x[304] = 65519.0f; /* f16 ends between the last two */
        assert_int_equal(sd_quantize_row(packed, types[k], x, N), 5);
        sd_dtype_get(types[k])->decode(y, packed, N);
        for (int i = 0; i < N; i++) assert_true(isfinite(y[i]));
    }
}

static void types_fall_back_as_in_llama_cpp(void **state)
{
    (void)state;
    assert_int_equal(sd_quantize_fallback(SD_Q4_K, 576), SD_Q5_0);
    assert_int_equal(sd_quantize_fallback(SD_Q5_K, 576), SD_Q5_1);
    assert_int_equal(sd_quantize_fallback(SD_Q6_K, 576), SD_Q8_0);
    assert_int_equal(sd_quantize_fallback(SD_Q6_K, 1536), SD_Q6_K);
    assert_int_equal(sd_quantize_fallback(SD_Q4_0, 576), SD_Q4_0);
    assert_int_equal(sd_quantize_fallback(SD_Q4_K, 33), SD_F16);
    assert_int_equal(sd_quantize_fallback(SD_Q8_0, 16), SD_F16);
    assert_int_equal(sd_quantize_fallback(SD_BF16, 7), SD_BF16);
    assert_false(sd_quantize_can(SD_Q2_K));
    assert_false(sd_quantize_can(SD_I8));
    for (int k = 0; k < N_TYPES; k++) assert_true(sd_quantize_can(types[k]));
}

static void threads_change_nothing(void **state)
{
    (void)state;
    sd_exec ex = {.n_threads = 1};
    uint8_t one[sizeof packed];
    int64_t bad = -1;
    fill(1, 5);
    x[77] = NAN;
    for (int k = 0; k < N_TYPES; k++) {
        ex.n_threads = 1;
        memset(one, 0, sizeof one), memset(packed, 0, sizeof packed);
        sd_quantize_rows(&ex, one, types[k], sd_mat_of(x, 4, 256), NULL);
        ex.n_threads = 3;
        sd_quantize_rows(&ex, packed, types[k], sd_mat_of(x, 4, 256), &bad);
        assert_memory_equal(one, packed, sizeof one);
        assert_int_equal(bad, 1);
    }
}

T_MAIN(((const struct CMUnitTest[]){T(errors_stay_within_a_step), T(small_blocks_are_kept), T(grids_are_kept), T(zeros_and_constants_stay), T(nan_is_counted),
                                   T(types_fall_back_as_in_llama_cpp), T(threads_change_nothing)}))
