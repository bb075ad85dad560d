/* Every slot of sd_kern_ops on every ISA of this CPU: random, odd and unaligned sizes, guard bytes behind each output,
 * compared with double arithmetic within a stated number of roundings, or with the reference bit for bit. */
#include "t.h"

#include "base/cpu.h"
#include "base/rng.h"
#include "num/dtype.h"
#include "num/kern_ops.h"

#include <math.h>

static const int64_t sizes[] = {1, 2, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 576, 1000, 4097};
enum { N_SIZES = sizeof sizes / sizeof *sizes, MOST = 4097, GUARD = 16 };
static const float guard_value = -12345.5f;

static const sd_kern_ops *table(void **state)
{
    sd_cpu cpu;
    if (!sd_cpu_detect(&cpu, *state)) t_skip("this CPU has no %s", (const char *)*state);
    return sd_kern_ops_select(cpu.flags);
}

static void fill(float *x, int64_t n, float scale, uint64_t index)
{
    sd_rng r = sd_rng_make(7, "test_kern_ops", index);
    for (int64_t i = 0; i < n; i++) x[i] = scale * sd_rng_normal(&r);
}

static void put_guard(float *p)
{
    for (int i = 0; i < GUARD; i++) p[i] = guard_value;
}

static void check_guard(const float *p)
{
    for (int i = 0; i < GUARD; i++) assert_true(p[i] == guard_value);
}

/* |a - b| <= tol * max(|b|, floor) */
static void near_at(double a, double b, double tol, double floor_, int64_t n, int64_t i)
{
    double scale = fabs(b) > floor_ ? fabs(b) : floor_;
    if (!(fabs(a - b) <= tol * scale))
        fail_msg("n=%lld, element %lld: %.9g, expected %.9g", (long long)n, (long long)i, a, b);
}

static float buf_x[MOST + 1], buf_g[MOST + 1], buf_y[MOST + 1 + GUARD], buf_z[MOST + 1 + GUARD];

static void test_rmsnorm(void **state)
{
    const sd_kern_ops *k = table(state);
    for (int s = 0; s < N_SIZES; s++)
        for (int shift = 0; shift < 2; shift++) {
            int64_t n = sizes[s];
            float *x = buf_x + shift, *g = buf_g + shift, *y = buf_y + shift;
            fill(x, n, 3.0f, (uint64_t)n), fill(g, n, 1.0f, (uint64_t)n + 1);
            put_guard(y + n);
            k->rmsnorm(y, x, g, 1e-5f, n);
            check_guard(y + n);
            sd_kern_ops_ref.rmsnorm(buf_z, x, g, 1e-5f, n);
            assert_memory_equal(y, buf_z, (size_t)n * 4);
            double sum = 0;
            for (int64_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
            double r = 1.0 / sqrt(sum / (double)n + 1e-5f);
            /* The sum's error is at most n/16 + 8 roundings a lane in theory, far fewer in practice for equal signs:
             * half of it comes through the root. 3e-6 leaves a chain of 4097 additions (the reference) its sqrt(n)
             * growth. */
            for (int64_t i = 0; i < n; i++) near_at((double)y[i], (double)g[i] * (double)x[i] * r, 3e-6, 0, n, i);
            k->rmsnorm(x, x, g, 1e-5f, n); /* in place */
            assert_memory_equal(x, y, (size_t)n * 4);
        }
}

static void test_silu_mul(void **state)
{
    const sd_kern_ops *k = table(state);
    for (int s = 0; s < N_SIZES; s++) {
        int64_t n = sizes[s];
        float *g = buf_x, *u = buf_g, *y = buf_y;
        fill(g, n, 20.0f, (uint64_t)n + 2), fill(u, n, 1.0f, (uint64_t)n + 3);
        put_guard(y + n);
        k->silu_mul(y, g, u, n);
        check_guard(y + n);
        /* exp 2 ulp, sum, quotient, product half an ulp each: 3.5 ulp of 1.2e-7 */
        for (int64_t i = 0; i < n; i++)
            near_at((double)y[i], (double)g[i] / (1.0 + exp(-(double)g[i])) * (double)u[i], 4.2e-7, 1e-37, n, i);
        k->silu_mul(g, g, u, n);
        assert_memory_equal(g, y, (size_t)n * 4);
    }
    float edge[] = {0.0f, -0.0f, 200.0f, -200.0f, 1e30f, -1e30f, NAN}, one[7] = {1, 1, 1, 1, 1, 1, 1}, out[7];
    k->silu_mul(out, edge, one, 7);
    assert_true(out[0] == 0 && out[1] == 0 && out[2] == 200.0f && fabsf(out[3]) < 1e-37f && out[4] == 1e30f &&
                fabsf(out[5]) < 1e-37f);
    assert_true(isnan(out[6]));
}

static double nonlin_of(sd_nonlin f, double x)
{
    switch (f) {
    case SD_NONLIN_SILU:
        return x / (1 + exp(-x));
    case SD_NONLIN_GELU_TANH:
        return x / (1 + exp(-2 * sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
    case SD_NONLIN_GELU_ERF:
        return 0.5 * x * (1 + erf(x / sqrt(2)));
    case SD_NONLIN_GELU_QUICK:
        return x / (1 + exp(-1.702 * x));
    default:
        return x > 0 ? x : 0;
    }
}

static void test_nonlin(void **state)
{
    const sd_kern_ops *k = table(state), *ref = &sd_kern_ops_ref;
    for (int f = SD_NONLIN_SILU; f <= SD_NONLIN_RELU; f++)
        for (int s = 0; s < N_SIZES; s++)
            for (int with_u = 0; with_u < 2; with_u++) {
                int64_t n = sizes[s];
                float *g = buf_x + 1, *u = with_u ? buf_g : NULL, *y = buf_y;
                fill(g, n, f == SD_NONLIN_GELU_ERF ? 2.0f : 8.0f, (uint64_t)n + 40), fill(buf_g, n, 1.0f, (uint64_t)n + 41);
                put_guard(y + n);
                k->nonlin((sd_nonlin)f, y, g, u, n), ref->nonlin((sd_nonlin)f, buf_z, g, u, n);
                check_guard(y + n);
                assert_memory_equal(y, buf_z, (size_t)n * 4);
                /* exp 2 ulp, the argument's rounding at up to 60 (tanh's cube), sum, quotient, product: 1e-5 relative where
                 * the function falls off exponentially; erf's 1 + erf loses |x| ulp, so x scales it. */
                for (int64_t i = 0; i < n; i++) {
                    double x = (double)g[i], m = with_u ? (double)u[i] : 1;
                    if (f == SD_NONLIN_GELU_ERF)
                        near_at((double)y[i], nonlin_of((sd_nonlin)f, x) * m, 2.4e-7, fabs(x * m), n, i);
                    else
                        near_at((double)y[i], nonlin_of((sd_nonlin)f, x) * m, 1e-5, 1e-30, n, i);
                }
                k->nonlin((sd_nonlin)f, g, g, u, n); /* in place */
                assert_memory_equal(g, y, (size_t)n * 4);
            }
    float edge[] = {0.0f, 200.0f, -200.0f, 1e30f, NAN}, out[5];
    for (int f = SD_NONLIN_SILU; f <= SD_NONLIN_GELU_QUICK; f++) {
        k->nonlin((sd_nonlin)f, out, edge, NULL, 5);
        assert_true(out[0] == 0 && out[1] == 200.0f && fabsf(out[2]) < 1e-30f && out[3] == 1e30f && isnan(out[4]));
    }
}

static void test_softcap(void **state)
{
    const sd_kern_ops *k = table(state), *ref = &sd_kern_ops_ref;
    for (int s = 0; s < N_SIZES; s++) {
        int64_t n = sizes[s];
        fill(buf_x, n, 60.0f, (uint64_t)n + 42);
        for (int64_t i = 0; i < n; i += 3) buf_x[i] *= 1e-3f;
        memcpy(buf_y, buf_x, (size_t)n * 4), memcpy(buf_z, buf_x, (size_t)n * 4);
        put_guard(buf_y + n);
        k->softcap(buf_y, 30.0f, n), ref->softcap(buf_z, 30.0f, n);
        check_guard(buf_y + n);
        assert_memory_equal(buf_y, buf_z, (size_t)n * 4);
        /* tanh 2 ulp, the quotient as a product with a rounded inverse 1.5, the last product half an ulp */
        for (int64_t i = 0; i < n; i++) near_at((double)buf_y[i], 30 * tanh((double)buf_x[i] / 30), 5e-7, 0, n, i);
    }
    float edge[] = {0.0f, INFINITY, -INFINITY, NAN};
    k->softcap(edge, 5.0f, 4);
    assert_true(edge[0] == 0 && edge[1] == 5.0f && edge[2] == -5.0f && isnan(edge[3]));
}

static void test_layernorm(void **state)
{
    const sd_kern_ops *k = table(state), *ref = &sd_kern_ops_ref;
    static float b[MOST];
    for (int s = 0; s < N_SIZES; s++) {
        int64_t n = sizes[s];
        float *x = buf_x + 1, *y = buf_y + 1;
        fill(x, n, 3.0f, (uint64_t)n + 43), fill(buf_g, n, 1.0f, (uint64_t)n + 44), fill(b, n, 1.0f, (uint64_t)n + 45);
        for (int64_t i = 0; i < n; i++) x[i] += 2;
        put_guard(y + n);
        k->layernorm(y, x, buf_g, b, 1e-5f, n), ref->layernorm(buf_z, x, buf_g, b, 1e-5f, n);
        check_guard(y + n);
        assert_memory_equal(y, buf_z, (size_t)n * 4);
        double mean = 0, var = 0;
        for (int64_t i = 0; i < n; i++) mean += (double)x[i] / (double)n;
        for (int64_t i = 0; i < n; i++) var += ((double)x[i] - mean) * ((double)x[i] - mean) / (double)n;
        double r = 1 / sqrt(var + (double)1e-5f), top = 0;
        for (int64_t i = 0; i < n; i++) top = fmax(top, fabs((double)x[i]));
        /* The mean is off by a few ulp of the largest number, which r and g carry into the result. */
        for (int64_t i = 0; i < n; i++)
            near_at((double)y[i], ((double)x[i] - mean) * r * (double)buf_g[i] + (double)b[i], 6e-7,
                    1 + top * r * fabs((double)buf_g[i]), n, i);
        k->layernorm(x, x, buf_g, b, 1e-5f, n); /* in place */
        assert_memory_equal(x, y, (size_t)n * 4);
    }
}

static void test_softmax(void **state)
{
    const sd_kern_ops *k = table(state);
    for (int s = 0; s < N_SIZES; s++)
        for (int shift = 0; shift < 2; shift++) {
            int64_t n = sizes[s];
            float *x = buf_x, *y = buf_y + shift;
            fill(x, n, 8.0f, (uint64_t)n + 4);
            memcpy(y, x, (size_t)n * 4);
            put_guard(y + n);
            k->softmax(y, n);
            check_guard(y + n);
            double max = -INFINITY, sum = 0;
            for (int64_t i = 0; i < n; i++) max = fmax(max, (double)x[i]);
            for (int64_t i = 0; i < n; i++) sum += exp((double)x[i] - max);
            /* x - max is rounded at magnitude up to 64: 64 * 6e-8 = 4e-6 relative in the exponential; the sum adds a
             * few ulp. */
            for (int64_t i = 0; i < n; i++) near_at((double)y[i], exp((double)x[i] - max) / sum, 8e-6, 1e-37, n, i);
        }
    float far_[3] = {0.0f, -1e30f, -300.0f};
    k->softmax(far_, 3);
    assert_true(far_[0] == 1.0f && far_[1] == 0.0f && far_[2] == 0.0f);
    float nan_[20];
    fill(nan_, 20, 1.0f, 5);
    nan_[18] = NAN;
    k->softmax(nan_, 20);
    for (int i = 0; i < 20; i++) assert_true(isnan(nan_[i]));
}

static void test_add_rope_f16(void **state)
{
    const sd_kern_ops *k = table(state), *ref = &sd_kern_ops_ref;
    static uint16_t h[MOST + GUARD], h_ref[MOST];
    for (int s = 0; s < N_SIZES; s++) {
        int64_t n = sizes[s];
        float *x = buf_x, *y = buf_y, *z = buf_z;
        fill(x, n, 1.0f, (uint64_t)n + 6), fill(y, n, 1.0f, (uint64_t)n + 7);
        memcpy(z, y, (size_t)n * 4);
        put_guard(y + n);
        k->add(y, x, n), ref->add(z, x, n);
        check_guard(y + n);
        assert_memory_equal(y, z, (size_t)n * 4);
        if (n % 2 == 0) {
            k->rope(y, x, buf_g, n / 2), ref->rope(z, x, buf_g, n / 2);
            check_guard(y + n);
            assert_memory_equal(y, z, (size_t)n * 4);
        }
        x[0] = 1e6f, x[n - 1] = 3e-8f; /* overflows, a denormal f16 */
        memset(h + n, 0x5a, GUARD * 2);
        k->to_f16(h, x, n), ref->to_f16(h_ref, x, n);
        for (int i = 0; i < GUARD; i++) assert_int_equal(h[n + i], 0x5a5a);
        assert_memory_equal(h, h_ref, (size_t)n * 2);
    }
}

/* Numbers of a q8 cache: within half a step of what went in, the same bits on every ISA, and all that is decoded is scale times q. */
static void test_q8(void **state)
{
    const sd_kern_ops *k = table(state), *ref = &sd_kern_ops_ref;
    static const int64_t widths[] = {1, 8, 31, 32, 33, 64, 80, 256};
    enum { D = 256, B = 8 };
    static int8_t q[D + GUARD], q_ref[D];
    static uint16_t scale[B], scale_ref[B];
    static uint8_t panel[1 + 16 * (D + 2 * B)];
    static float dst[16 * D + GUARD];
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
        for (int kind = 0; kind < 4; kind++) {
            const int64_t d = widths[w], nb = sd_kv_blocks(d);
            fill(buf_x, d, kind == 1 ? 1e20f : kind == 2 ? 1e-33f : 1.0f, (uint64_t)(d + kind));
            if (kind == 3) buf_x[d / 2] = d % 2 ? NAN : -INFINITY;
            memset(q + d, 0x5a, GUARD);
            k->to_q8(q, scale, buf_x, d), ref->to_q8(q_ref, scale_ref, buf_x, d);
            for (int i = 0; i < GUARD; i++) assert_int_equal(q[d + i], 0x5a);
            assert_memory_equal(q, q_ref, (size_t)d);
            assert_memory_equal(scale, scale_ref, (size_t)nb * 2);
            for (int64_t c = 0; c < d; c++) {
                const float s = sd_bf16_to_f32(scale[c / SD_KV_BLOCK]);
                if (kind == 3 && c / SD_KV_BLOCK == d / 2 / SD_KV_BLOCK)
                    assert_true(isnan((float)q[c] * s));
                else if (kind == 2)
                    assert_true(q[c] == 0 && s == 0);
                else /* half a step and the rounding of x / s */
                    assert_true(fabs((double)q[c] * (double)s - (double)buf_x[c]) <= 0.50001 * (double)s);
            }
            /* The same row as values and as lane j of a panel, at an odd address. */
            uint8_t *row = panel + 1;
            for (int64_t c = 0; c < d; c++) row[c] = (uint8_t)q[c];
            for (int64_t b = 0; b < nb; b++) memcpy(row + d + 2 * b, &scale[b], 2);
            put_guard(dst + d);
            k->values_q8(dst, row, d);
            check_guard(dst + d);
            for (int64_t c = 0; c < d; c++) {
                const float want = (float)q[c] * sd_bf16_to_f32(scale[c / SD_KV_BLOCK]);
                assert_memory_equal(&dst[c], &want, isnan(want) ? 0 : 4);
                assert_true(isnan(want) == isnan(dst[c]));
            }
            for (int64_t j = 0; j < 16; j++) {
                for (int64_t c = 0; c < d; c++) row[c * 16 + j] = (uint8_t)q[(c + j) % d];
                for (int64_t b = 0; b < nb; b++) memcpy(row + 16 * d + (b * 16 + j) * 2, &scale[(b + j) % nb], 2);
            }
            put_guard(dst + 16 * d);
            k->keys_q8(dst, row, d);
            check_guard(dst + 16 * d);
            for (int64_t i = 0; i < 16 * d; i++) {
                const float want = (float)q[(i / 16 + i % 16) % d] * sd_bf16_to_f32(scale[(i / 16 / SD_KV_BLOCK + i % 16) % nb]);
                assert_true(isnan(want) ? isnan(dst[i]) : memcmp(&dst[i], &want, 4) == 0);
            }
        }
}

enum { MOST_ROWS = 13, MOST_D = 80, MOST_PANEL = 6, MOST_KEYS = 96 };

/* Scores: against double, and bit for bit against the reference. */
static void test_scores(void **state)
{
    const sd_kern_ops *k = table(state);
    static const int64_t widths[] = {1, 8, 16, 33, 64, 80}, rows[] = {1, 2, 3, 5, 6, 7, 13},
                         panels[] = {1, 2, 3, 4, 5, 6};
    static float q[MOST_ROWS * MOST_D], keys[MOST_PANEL * MOST_D * 16], s[MOST_ROWS * (MOST_KEYS + 16) + GUARD],
        ref[MOST_ROWS * (MOST_KEYS + 16)];
    static uint16_t half[MOST_PANEL * MOST_D * 16];
    for (int f16 = 0; f16 < 2; f16++)
        for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
            for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
                for (size_t p = 0; p < sizeof panels / sizeof *panels; p++) {
                    int64_t d = widths[w], m = rows[r], np = panels[p], lds = np * 16 + 16;
                    fill(q, m * d, 1.0f, 10), fill(keys, np * d * 16, 1.0f, 11);
                    sd_kern_ops_ref.to_f16(half, keys, np * d * 16);
                    const void *kp = f16 ? (const void *)half : keys;
                    float *end = s + (m - 1) * lds + np * 16;
                    put_guard(end);
                    sd_score_args a = {.s = s,
                                       .q = q,
                                       .k = kp,
                                       .lds = lds,
                                       .m = m,
                                       .n_panel = np,
                                       .d = d,
                                       .scale = 0.125f,
                                       .f16 = f16};
                    k->scores(&a);
                    check_guard(end);
                    a.s = ref;
                    sd_kern_ops_ref.scores(&a);
                    for (int64_t i = 0; i < m; i++) {
                        assert_memory_equal(s + i * lds, ref + i * lds, (size_t)np * 64);
                        for (int64_t j = 0; j < np * 16; j++) {
                            double sum = 0, mag = 0;
                            for (int64_t c = 0; c < d; c++) {
                                int64_t at = (j / 16 * d + c) * 16 + j % 16;
                                double kv = f16 ? (double)sd_f16_to_f32(half[at]) : (double)keys[at];
                                sum += (double)q[i * d + c] * kv, mag += fabs((double)q[i * d + c] * kv);
                            }
                            /* a chain of d roundings of partial sums: d * 6e-8 of the sum of magnitudes */
                            near_at((double)s[i * lds + j], 0.125 * sum, (double)(d + 1) * 6e-8, 0.125 * mag, d, j);
                        }
                    }
                }
}

static void test_mix(void **state)
{
    const sd_kern_ops *k = table(state);
    static const int64_t widths[] = {1, 3, 8, 12, 16, 24, 33, 64, 80}, keys_n[] = {1, 2, 15, 16, 96};
    static float p[SD_MIX_ROWS * (MOST_KEYS + 3)], v[MOST_KEYS * MOST_D], o[SD_MIX_ROWS * MOST_D + GUARD],
        ref[SD_MIX_ROWS * MOST_D];
    static uint16_t half[MOST_KEYS * MOST_D];
    for (int f16 = 0; f16 < 2; f16++)
        for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
            for (int64_t m = 1; m <= SD_MIX_ROWS; m++)
                for (size_t kn = 0; kn < sizeof keys_n / sizeof *keys_n; kn++) {
                    int64_t d = widths[w], n = keys_n[kn], ldp = n + 3;
                    fill(p, m * ldp, 1.0f, 20), fill(v, n * d, 1.0f, 21), fill(o, m * d, 1.0f, 22);
                    sd_kern_ops_ref.to_f16(half, v, n * d);
                    memcpy(ref, o, (size_t)(m * d) * 4);
                    put_guard(o + m * d);
                    const void *vp = f16 ? (const void *)half : v;
                    sd_mix_args a = {.o = o, .p = p, .v = vp, .ldp = ldp, .m = m, .n = n, .d = d, .f16 = f16};
                    k->mix(&a);
                    check_guard(o + m * d);
                    for (int64_t i = 0; i < m * d; i++) {
                        double sum = (double)ref[i], mag = fabs(sum);
                        for (int64_t j = 0; j < n; j++) {
                            double x = (double)p[i / d * ldp + j] *
                                       (f16 ? (double)sd_f16_to_f32(half[j * d + i % d]) : (double)v[j * d + i % d]);
                            sum += x, mag += fabs(x);
                        }
                        near_at((double)o[i], sum, (double)(n + 1) * 6e-8, mag, d, i);
                    }
                    a.o = ref;
                    sd_kern_ops_ref.mix(&a);
                    assert_memory_equal(o, ref, (size_t)(m * d) * 4);
                }
}

#define K(f, isa)                                                                                                      \
    {                                                                                                                  \
#f "/" isa, f, NULL, NULL, (void *)(uintptr_t)isa                                                              \
    }
#define ALL(f) K(f, "ref"), K(f, "avx2"), K(f, "avx512")

int main(void)
{
    const struct CMUnitTest tests[] = {ALL(test_rmsnorm),      ALL(test_silu_mul), ALL(test_softmax),
                                       ALL(test_nonlin), ALL(test_softcap), ALL(test_layernorm),
                                       ALL(test_add_rope_f16), ALL(test_q8), ALL(test_scores),   ALL(test_mix)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
