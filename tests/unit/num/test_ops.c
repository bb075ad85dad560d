/* Norms, gates, sums, rotary embedding through their public form: strides, aliasing, threads. The arithmetic of the
 * inner loops is tested in tests/kern/num/test_kern_ops.c. */
#include "t.h"

#include "base/rng.h"
#include "num/ops.h"

#include <math.h>

enum { ROWS = 150, COLS = 480, LD = 487 };

static void make_exec(sd_exec *ex, int threads)
{
    *ex = (sd_exec){.n_threads = threads};
    assert_true(sd_cpu_detect(&ex->cpu, "auto"));
}

static sd_mat random_mat(uint64_t index)
{
    float *p = sd_malloc((size_t)ROWS * LD * 4);
    assert_non_null(p);
    sd_rng r = sd_rng_make(3, "test_ops", index);
    for (int64_t i = 0; i < (int64_t)ROWS * LD; i++) p[i] = sd_rng_normal(&r);
    return (sd_mat){p, ROWS, COLS, LD};
}

static sd_mat copy_mat(sd_mat m)
{
    float *p = sd_malloc((size_t)ROWS * LD * 4);
    assert_non_null(p);
    memcpy(p, m.data, (size_t)ROWS * LD * 4);
    return (sd_mat){p, ROWS, COLS, LD};
}

/* Same bits, also between the columns and the next row (where nothing may be written). */
static void same(sd_mat a, sd_mat b)
{
    assert_memory_equal(a.data, b.data, (size_t)ROWS * LD * 4);
}

static void test_threads_strides(void **state)
{
    (void)state;
    sd_exec one, three;
    make_exec(&one, 1), make_exec(&three, 3);
    sd_mat x = random_mat(0), u = random_mat(1), a = copy_mat(x), b = copy_mat(x);
    float g[COLS];
    for (int i = 0; i < COLS; i++) g[i] = 1.0f + 0.01f * (float)i;

    sd_rmsnorm(&one, a, x, g, 1e-5f), sd_rmsnorm(&three, b, x, g, 1e-5f);
    same(a, b);
    double ss = 0;
    for (int i = 0; i < COLS; i++) ss += pow((double)sd_mat_row(x, 149)[i], 2);
    assert_float_equal(sd_mat_row(a, 149)[7], g[7] * (float)((double)sd_mat_row(x, 149)[7] / sqrt(ss / COLS + 1e-5)),
                       1e-6f);
    assert_true(sd_mat_row(a, 3)[COLS] == sd_mat_row(x, 3)[COLS]);

    sd_silu_mul(&one, a, x, u);
    memcpy(b.data, x.data, (size_t)ROWS * LD * 4);
    sd_silu_mul(&three, b, b, u); /* in place */
    same(a, b);

    memcpy(a.data, x.data, (size_t)ROWS * LD * 4), memcpy(b.data, x.data, (size_t)ROWS * LD * 4);
    sd_add(&one, a, u), sd_add(&three, b, u);
    same(a, b);
    assert_true(sd_mat_row(a, 5)[9] == sd_mat_row(x, 5)[9] + sd_mat_row(u, 5)[9]);
    sd_free(x.data), sd_free(u.data), sd_free(a.data), sd_free(b.data);
}

static void test_rope(void **state)
{
    (void)state;
    sd_exec one, two;
    make_exec(&one, 1), make_exec(&two, 2);
    enum { HEADS = 5, D = COLS / HEADS, ROT = 32 };
    sd_rope r;
    sd_err err = {0};
    t_ok(sd_rope_init(&r, ROT, 10000.0, &err), err);
    assert_int_equal(r.half, ROT / 2);
    int32_t pos[ROWS];
    for (int i = 0; i < ROWS; i++) pos[i] = 7 * i;
    float *cs = sd_malloc(sizeof(float) * ROWS * ROT), *sn = cs + ROWS * ROT / 2;
    sd_rope_angles(cs, sn, &r, pos, ROWS);
    sd_mat x = random_mat(2), a = copy_mat(x), b = copy_mat(x);
    sd_rope_apply(&one, a, HEADS, r.half, cs, sn), sd_rope_apply(&two, b, HEADS, r.half, cs, sn);
    same(a, b);
    for (int i = 0; i < ROWS; i += 13)
        for (int h = 0; h < HEADS; h++) {
            const float *from = sd_mat_row(x, i) + h * D, *to = sd_mat_row(a, i) + h * D;
            for (int j = 0; j < ROT / 2; j++) {
                double angle = pos[i] * pow(10000.0, -2.0 * j / ROT), c = cos(angle), s = sin(angle);
                /* f32 angles: up to 1050 * 6e-8 twice; values up to 4 */
                assert_float_equal(to[j], (float)((double)from[j] * c - (double)from[j + ROT / 2] * s), 8e-4f);
                assert_float_equal(to[j + ROT / 2], (float)((double)from[j + ROT / 2] * c + (double)from[j] * s),
                                   8e-4f);
                /* a turn keeps lengths */
                double before = hypot((double)from[j], (double)from[j + ROT / 2]),
                       after = hypot((double)to[j], (double)to[j + ROT / 2]);
                assert_float_equal(before, after, 2e-6);
            }
            assert_memory_equal(from + ROT, to + ROT, (D - ROT) * 4); /* the rest of a head does not turn */
        }
    assert_memory_equal(sd_mat_row(x, 0), sd_mat_row(a, 0), COLS * 4); /* position 0 */
    sd_free(cs), sd_free(x.data), sd_free(a.data), sd_free(b.data);
    sd_rope_release(&r);
    sd_rope_release(&r);
    sd_mem_fail_nth(1);
    assert_int_equal(sd_rope_init(&r, ROT, 10000.0, &err), SD_E_NOMEM);
    sd_mem_fail_nth(0);
}

static const struct CMUnitTest tests[] = {T(test_threads_strides), T(test_rope)};
T_MAIN(tests)
