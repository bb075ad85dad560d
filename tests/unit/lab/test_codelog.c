/* Codes in, postings out, against the plain definition. */
#include "t.h"
#include "base/rng.h"
#include "lab/codelog.h"
#include "base/map.h"

enum { M = 37, ROWS = 500 };

static sd_codes random_codes(int64_t n, uint64_t seed)
{
    sd_rng r = sd_rng_make(seed, "codes", 0);
    sd_codes z = {.n = n};
    z.row_ptr = calloc((size_t)n + 1, sizeof *z.row_ptr);
    z.idx = calloc((size_t)n * M, sizeof *z.idx);
    z.val = calloc((size_t)n * M, sizeof *z.val);
    for (int64_t i = 0; i < n; i++) {
        for (int32_t f = 0; f < M - 1; f++) /* the last feature is silent */
            if (sd_rng_below(&r, (uint64_t)(2 + f)) == 0) {
                z.idx[z.nnz] = f;
                z.val[z.nnz++] = 0.001f + (float)sd_rng_uniform(&r);
            }
        z.row_ptr[i + 1] = z.nnz;
    }
    return z;
}

static void free_codes(sd_codes *z)
{
    free(z->row_ptr);
    free(z->idx);
    free(z->val);
}

static void postings_equal_the_codes(void **state)
{
    (void)state;
    sd_err err = {0};
    const char *dir = t_tmpdir();
    char path[512];
    sd_codelog *l = NULL;
    snprintf(path, sizeof path, "%s/x.db", dir);
    t_ok(sd_codelog_new(&l, path, M, &err), err);
    sd_codes z[3] = {random_codes(200, 1), random_codes(1, 2), random_codes(ROWS - 201, 3)};
    uint8_t keep[200];
    for (int i = 0; i < 200; i++) keep[i] = i % 7 != 3;
    for (int i = 0; i < 3; i++) t_ok(sd_codelog_put(l, &z[i], i == 0 ? keep : NULL, &err), err);
    assert_int_equal(sd_codelog_rows(l), ROWS);
    sd_postings p = {0};
    const int64_t cut[] = {0, 1, 9, 30, M};
    int64_t total = 0;
    for (int c = 0; c < 4; c++) {
        t_ok(sd_codelog_postings(&p, l, cut[c], cut[c + 1], &err), err);
        for (int64_t f = cut[c]; f < cut[c + 1]; f++) {
            int64_t at = p.start[f - cut[c]], row = 0;
            for (int k = 0; k < 3; k++)
                for (int64_t i = 0; i < z[k].n; i++, row++)
                    for (int64_t j = z[k].row_ptr[i]; j < z[k].row_ptr[i + 1]; j++) {
                        if (z[k].idx[j] != f || (k == 0 && !keep[i])) continue;
                        assert_int_equal(p.row[at], row);
                        assert_true(p.val[at] == z[k].val[j]);
                        at++;
                    }
            assert_int_equal(at, p.start[f - cut[c] + 1]);
            assert_int_equal(at - p.start[f - cut[c]], sd_codelog_counts(l)[f]);
            total += sd_codelog_counts(l)[f];
        }
    }
    assert_int_equal(total, sd_codelog_nnz(l));
    assert_int_equal(sd_codelog_counts(l)[M - 1], 0);
    sd_postings_release(&p);
    for (int i = 0; i < 3; i++) free_codes(&z[i]);
    sd_paths paths;
    t_ok(sd_dir_list(&paths, dir, &err), err);
    assert_int_equal(paths.n, 0); /* the file has no name */
    sd_paths_free(&paths);
    sd_codelog_free(l);
    t_rmtree(dir);
}

static void ranges_keep_the_budget(void **state)
{
    (void)state;
    sd_err err = {0};
    const char *dir = t_tmpdir();
    char path[512];
    sd_codelog *l = NULL;
    snprintf(path, sizeof path, "%s/x.db", dir);
    t_ok(sd_codelog_new(&l, path, M, &err), err);
    sd_codes z = random_codes(300, 5);
    t_ok(sd_codelog_put(l, &z, NULL, &err), err);
    const size_t budget = 800;
    int64_t ranges = 0;
    for (int64_t f0 = 0, f1; f0 < M; f0 = f1, ranges++) {
        int64_t n = 0;
        f1 = sd_codelog_range(l, f0, budget);
        assert_true(f1 > f0 && f1 <= M);
        for (int64_t f = f0; f < f1; f++) n += sd_codelog_counts(l)[f];
        assert_true(n * 8 <= (int64_t)budget || f1 == f0 + 1);
        if (f1 < M) assert_true((n + sd_codelog_counts(l)[f1]) * 8 > (int64_t)budget);
    }
    assert_true(ranges > 3);
    assert_int_equal(sd_codelog_range(l, 0, 1 << 20), M);
    free_codes(&z);
    sd_codelog_free(l);
    t_rmtree(dir);
}

static void an_empty_log_has_empty_postings(void **state)
{
    (void)state;
    sd_err err = {0};
    const char *dir = t_tmpdir();
    char path[512];
    sd_codelog *l = NULL;
    sd_postings p = {0};
    snprintf(path, sizeof path, "%s/x.db", dir);
    t_ok(sd_codelog_new(&l, path, M, &err), err);
    t_ok(sd_codelog_postings(&p, l, 0, M, &err), err);
    assert_int_equal(p.start[M], 0);
    sd_postings_release(&p);
    sd_codelog_free(l);
    snprintf(path, sizeof path, "%s/nowhere/x.db", dir);
    assert_int_equal(sd_codelog_new(&l, path, M, &err), SD_E_NOTFOUND);
    assert_null(l);
    t_rmtree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(postings_equal_the_codes), T(ranges_keep_the_budget), T(an_empty_log_has_empty_postings)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
