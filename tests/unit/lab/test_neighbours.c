/* Neighbours against the definition in double, and what has no direction. */
#include "feature_sample.h"
#include "lab/neighbours.h"

#include <math.h>

static double cosine(const sd_dict *d, int64_t f, int64_t g)
{
    double fg = 0, ff = 0, gg = 0;
    for (int64_t k = 0; k < d->info.d; k++) {
        double a = (double)sd_dict_dec_row(d, f)[k], b = (double)sd_dict_dec_row(d, g)[k];
        fg += a * b, ff += a * a, gg += b * b;
    }
    return ff > 0 && gg > 0 ? fg / sqrt(ff * gg) : -2;
}

/* Every list holds the n highest cosines: sorted, right to rounding, and nothing outside it is higher than its last. */
static void check_lists(int64_t m, int n, int threads)
{
    sd_err err = {0};
    sd_exec *ex = NULL;
    t_ok(sd_exec_new(&ex, &(sd_exec_opt){.n_threads = threads}, &err), err);
    sd_dict *d = fs_dict(m, FS_D);
    for (int64_t k = 0; k < FS_D; k++) d->W_dec[5 * FS_D + k] = 0;                           /* no direction */
    for (int64_t k = 0; k < FS_D; k++) d->W_dec[9 * FS_D + k] = -2 * d->W_dec[8 * FS_D + k]; /* the opposite one */
    int32_t *index = calloc((size_t)(m * n), sizeof *index);
    float *cos_of = calloc((size_t)(m * n), sizeof *cos_of);
    t_ok(sd_lab_neighbours(index, cos_of, n, ex, d, NULL, &err), err);
    for (int64_t f = 0; f < m; f++) {
        double last = 2;
        int have = 0;
        for (; have < n && index[f * n + have] >= 0; have++) {
            int64_t g = index[f * n + have];
            double c = cosine(d, f, g);
            assert_true(g != f && g != 5 && g < m);
            /* 16 f32 products and two norms: a few ulp of 1 */
            assert_true(fabs(c - (double)cos_of[f * n + have]) < 4e-6);
            assert_true(c <= last + 8e-6);
            last = c;
        }
        assert_int_equal(have, f == 5 ? 0 : m - 2 < n ? m - 2 : n);
        int64_t better = 0;
        for (int64_t g = 0; g < m; g++) better += g != f && g != 5 && cosine(d, f, g) > last + 8e-6;
        if (f != 5) assert_true(better < n);
    }
    free(index);
    free(cos_of);
    sd_dict_free(d);
    sd_exec_free(ex);
}

static void small_and_large(void **state)
{
    (void)state;
    check_lists(10, 20, 1);   /* more asked for than there are */
    check_lists(96, 10, 1);
    check_lists(2500, 10, 2); /* several blocks both ways, with rests */
}

static void equal_rows_come_by_index(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_exec *ex = NULL;
    t_ok(sd_exec_new(&ex, NULL, &err), err);
    sd_dict *d = fs_dict(40, FS_D);
    for (int64_t f = 20; f < 30; f++) memcpy(d->W_dec + f * FS_D, d->W_dec + 3 * FS_D, FS_D * sizeof(float));
    int32_t index[40 * 4];
    float c[40 * 4];
    t_ok(sd_lab_neighbours(index, c, 4, ex, d, NULL, &err), err);
    for (int k = 0; k < 4; k++) assert_int_equal(index[3 * 4 + k], 20 + k);
    assert_int_equal(index[25 * 4], 3);
    assert_true(fabs((double)c[25 * 4] - 1) < 1e-6);
    sd_dict_free(d);
    sd_exec_free(ex);
}

static void threads_do_not_matter(void **state)
{
    (void)state;
    sd_err err = {0};
    enum { N = 700 };
    static int32_t a[N * 10], b[N * 10];
    static float ca[N * 10], cb[N * 10];
    sd_dict *d = fs_dict(N, FS_D);
    for (int t = 1; t <= 2; t++) {
        sd_exec *ex = NULL;
        t_ok(sd_exec_new(&ex, &(sd_exec_opt){.n_threads = t}, &err), err);
        t_ok(sd_lab_neighbours(t == 1 ? a : b, t == 1 ? ca : cb, 10, ex, d, NULL, &err), err);
        sd_exec_free(ex);
    }
    assert_memory_equal(a, b, sizeof a);
    assert_memory_equal(ca, cb, sizeof ca);
    sd_dict_free(d);
}

static void can_be_interrupted(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_exec *ex = NULL;
    volatile int cancel = 1;
    static int32_t a[FS_M * 3];
    static float c[FS_M * 3];
    t_ok(sd_exec_new(&ex, NULL, &err), err);
    sd_dict *d = fs_dict(FS_M, FS_D);
    assert_int_equal(sd_lab_neighbours(a, c, 3, ex, d, &(sd_progress){.cancel = &cancel}, &err), SD_E_CANCELLED);
    sd_dict_free(d);
    sd_exec_free(ex);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(small_and_large), T(equal_rows_come_by_index), T(threads_do_not_matter), T(can_be_interrupted)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
