/* Dictionaries as sae-lens writes and runs them: features and reconstruction of 64 rows, six kinds; and the same after our own
 * writer has written them again. */
#include "t.h"

#include "dict/dict_int.h"
#include "file/weights.h"
#include "num/stats.h"

static const char *const kinds[] = {"standard", "gated", "jumprelu", "topk", "batchtopk", "matryoshka_batchtopk"};

static const float *tensor(const sd_weights *w, const char *name, int64_t rows, int64_t cols)
{
    const sd_tensor *t = sd_weights_find(w, name);
    assert_non_null(t);
    assert_int_equal(t->dtype, SD_F32);
    assert_int_equal(t->dim[0], rows);
    assert_int_equal(t->dim[1], cols);
    return t->data;
}

/* 32 products of f32 in another order: 32 * 2^-24 * |x| |w| = 2e-6 of a value in the worst case; the reconstruction adds up to
 * 50 such values. 1e-5 of the largest is above both and far below one wrong feature (the smallest is 1e-3 of it). */
static const double TOL = 1e-5;

static void compare(const sd_exec *ex, const sd_dict *d, const sd_weights *g, const char *what)
{
    sd_err err = {0};
    const sd_dict_info *i = sd_dict_get_info(d);
    enum { N = 64 };
    const float *x = tensor(g, "x", N, i->d), *want = tensor(g, "features", N, i->m), *y_want = tensor(g, "reconstruction", N, i->d);
    float *f = sd_calloc((size_t)(N * i->m) * 4), *y = sd_calloc((size_t)(N * i->d) * 4), *xc = sd_malloc((size_t)(N * i->d) * 4);
    sd_codes z = {0};
    memcpy(xc, x, (size_t)(N * i->d) * 4);
    for (int64_t step = 64; step >= 1; step /= 4) { /* tiles, and the path for few rows */
        memset(f, 0, (size_t)(N * i->m) * 4);
        for (int64_t r0 = 0; r0 < N; r0 += step) {
            t_ok(sd_dict_encode(&z, ex, d, sd_mat_of(xc + r0 * i->d, step, i->d), &err), err);
            for (int64_t r = 0; r < step; r++)
                for (int64_t e = z.row_ptr[r]; e < z.row_ptr[r + 1]; e++) {
                    f[(r0 + r) * i->m + z.idx[e]] = z.val[e];
                    assert_true(e == z.row_ptr[r] || z.idx[e] > z.idx[e - 1]);
                    const float p = sd_dict_preact(d, z.idx[e], xc + (r0 + r) * i->d);
                    assert_true(p > z.val[e] * 0.999f - 1e-4f && p < z.val[e] * 1.001f + 1e-4f);
                }
            sd_dict_decode(sd_mat_of(y + r0 * i->d, step, i->d), ex, d, &z);
        }
        const sd_diff df = sd_diff_f32(f, want, N * i->m), dy = sd_diff_f32(y, y_want, N * i->d);
        if (!(df.rel <= TOL)) fail_msg("%s: features differ by %g at %lld: %g, %g", what, df.rel, (long long)df.worst, df.a_worst, df.b_worst);
        if (!(dy.rel <= TOL)) fail_msg("%s: reconstruction differs by %g at %lld: %g, %g", what, dy.rel, (long long)dy.worst, dy.a_worst, dy.b_worst);
        assert_int_equal(df.n_nonfinite + dy.n_nonfinite, 0);
    }
    sd_codes_release(&z);
    sd_free(f), sd_free(y), sd_free(xc);
}

static void test_kinds(void **state)
{
    sd_err err = {0};
    sd_exec *ex;
    sd_cpu cpu;
    if (!sd_cpu_detect(&cpu, *state)) t_skip("this CPU has no %s", (const char *)*state);
    t_ok(sd_exec_new(&ex, &(sd_exec_opt){*state, 2}, &err), err);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        char rel[128], path[512], again[512];
        snprintf(rel, sizeof rel, "fixtures/dictionaries/%s", kinds[k]);
        const char *dir = t_shared(rel);
        if (!dir) t_skip("no %s", rel);
        sd_dict *d, *d2;
        sd_weights *g;
        snprintf(path, sizeof path, "%s/golden.safetensors", dir);
        t_ok(sd_weights_open(&g, path, &err), err);
        t_ok(sd_dict_open(&d, dir, &err), err);
        compare(ex, d, g, kinds[k]);
        const char *tmp = t_tmpdir();
        snprintf(again, sizeof again, "%s/again", tmp);
        t_ok(sd_dict_save(d, again, &err), err);
        t_ok(sd_dict_open(&d2, again, &err), err);
        compare(ex, d2, g, kinds[k]);
        const size_t cells = (size_t)(d->info.m * d->info.d) * 4;
        assert_memory_equal(d->W_enc, d2->W_enc, cells);
        assert_memory_equal(d->W_dec, d2->W_dec, cells);
        if (k >= 4) assert_true(sd_dict_threshold(d, 5) == 0.7f);
        assert_int_equal(sd_dict_has_threshold(d), k != 3);
        sd_dict_free(d), sd_dict_free(d2);
        sd_weights_close(g);
        t_rmtree(tmp);
    }
    sd_exec_free(ex);
}

int main(void)
{
    const struct CMUnitTest tests[] = {{"kinds ref", test_kinds, NULL, NULL, (void *)(uintptr_t)"ref"}, {"kinds auto", test_kinds, NULL, NULL, (void *)(uintptr_t)"auto"}};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
