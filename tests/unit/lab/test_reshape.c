/* Rows reshaped for a dictionary: rare tokens come as often as they should, variances are evened out, the same rows come after a seek, and the dictionary that is folded back has the
 * codes it had on the reshaped rows. */
#include "t.h"

#include "base/rng.h"
#include "dict/dict_int.h"
#include "lab/reshape.h"

#include <math.h>

enum { D = 8, N = 20000, V = 4, BLOCK = 512 };

typedef struct rows {
    float *x;
    int32_t *token, *zero;
    int64_t at;
} rows;

static sd_status next(void *self, sd_act_block *out, sd_err *err)
{
    rows *k = self;
    (void)err;
    const int64_t n = N - k->at < BLOCK ? N - k->at : BLOCK;
    *out = (sd_act_block){.x = sd_mat_of(k->x + k->at * D, n, D), .token_id = k->token + k->at, .doc = k->zero, .pos = k->zero};
    k->at += n;
    return SD_OK;
}
static int64_t tell(void *self) { return ((rows *)self)->at; }
static sd_status seek(void *self, int64_t row, sd_err *err)
{
    (void)err;
    ((rows *)self)->at = row;
    return SD_OK;
}

/* Column j has the standard deviation 2^-j and the mean j, turned by a fixed rotation of columns 0 and 7; tokens 0, 1, 2 in the ratio 100 : 10 : 1. */
static void fill(rows *k)
{
    sd_rng rng = sd_rng_make(3, "rows", 0);
    k->x = sd_malloc(N * D * sizeof *k->x);
    k->token = sd_malloc(N * sizeof *k->token);
    k->zero = sd_calloc(N * sizeof *k->zero);
    k->at = 0;
    for (int i = 0; i < N; i++) {
        float *x = k->x + i * D;
        for (int j = 0; j < D; j++) x[j] = (float)j + ldexpf(sd_rng_normal(&rng), -j);
        const float a = x[0], b = x[7];
        x[0] = 0.8f * a - 0.6f * b;
        x[7] = 0.6f * a + 0.8f * b;
        const int64_t t = (int64_t)sd_rng_below(&rng, 111);
        k->token[i] = t < 100 ? 0 : t < 110 ? 1 : 2;
    }
}

static void empty(rows *k)
{
    sd_free(k->x);
    sd_free(k->token);
    sd_free(k->zero);
}

static void test_balance_and_seek(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_exec *ex;
    sd_reshape *r;
    rows k;
    int64_t there[V] = {0}, given[V] = {0}, n = 0;
    fill(&k);
    t_ok(sd_exec_new(&ex, &(sd_exec_opt){.n_threads = 2}, &err), err);
    const sd_act_source src = {.self = &k, .d = D, .next = next, .tell = tell, .seek = seek};
    t_ok(sd_reshape_open(&r, ex, src, N, &(sd_reshape_opt){.balance = 0.5, .n_vocab = V, .seed = 1}, &err), err);
    sd_act_source s = sd_reshape_source(r);
    for (;;) {
        sd_act_block b;
        t_ok(s.next(s.self, &b, &err), err);
        if (b.x.rows == 0) break;
        for (int64_t i = 0; i < b.x.rows; i++) given[b.token_id[i]]++;
        n += b.x.rows;
    }
    for (int i = 0; i < N; i++) there[k.token[i]]++;
    /* Three sigma of whether a row comes once more: sqrt(N) / 2 rows each. */
    assert_true(llabs(n - N) < 3 * 71);
    const double one = (double)given[0] / (double)there[0];
    for (int t = 1; t < 3; t++) {
        const double want = one * sqrt((double)there[0] / (double)there[t]), is = (double)given[t] / (double)there[t];
        if (fabs(is - want) > 1.5 / sqrt((double)there[t])) fail_msg("token %d: %.3f times, expected %.3f", t, is, want);
    }
    float first[BLOCK * 16 * D];
    sd_act_block b;
    t_ok(s.seek(s.self, 2 * BLOCK, &err), err);
    t_ok(s.next(s.self, &b, &err), err);
    const int64_t m = b.x.rows;
    memcpy(first, b.x.data, (size_t)(m * D) * sizeof *first);
    t_ok(s.next(s.self, &b, &err), err);
    t_ok(s.seek(s.self, 2 * BLOCK, &err), err);
    t_ok(s.next(s.self, &b, &err), err);
    assert_int_equal(b.x.rows, m);
    assert_memory_equal(first, b.x.data, (size_t)(m * D) * sizeof *first);
    sd_reshape_close(r);
    assert_int_equal(sd_reshape_open(&r, ex, src, N, &(sd_reshape_opt){.whiten = 1.5, .n_vocab = V}, &err), SD_E_ARG);
    sd_exec_free(ex);
    empty(&k);
}

static void test_whitens_and_folds(void **state)
{
    (void)state;
    enum { M = 12, ROWS = 256 };
    sd_err err = {0};
    sd_exec *ex;
    sd_reshape *r;
    sd_dict *d;
    rows k;
    sd_codes before = {0}, after = {0};
    double sum[D] = {0}, square[D] = {0}, cross = 0;
    float x[ROWS * D];
    int64_t n = 0;
    fill(&k);
    t_ok(sd_exec_new(&ex, &(sd_exec_opt){.n_threads = 2}, &err), err);
    const sd_act_source src = {.self = &k, .d = D, .next = next, .tell = tell, .seek = seek};
    t_ok(sd_reshape_open(&r, ex, src, N, &(sd_reshape_opt){.whiten = 1, .n_vocab = V}, &err), err);
    sd_act_source s = sd_reshape_source(r);
    for (;;) {
        sd_act_block b;
        t_ok(s.next(s.self, &b, &err), err);
        if (b.x.rows == 0) break;
        for (int64_t i = 0; i < b.x.rows; i++) {
            const float *row = sd_mat_row(b.x, i);
            if (n + i < ROWS) memcpy(x + (n + i) * D, row, D * sizeof *x);
            for (int j = 0; j < D; j++) sum[j] += (double)row[j], square[j] += (double)row[j] * (double)row[j];
            cross += (double)row[0] * (double)row[7];
        }
        n += b.x.rows;
    }
    assert_int_equal(n, N); /* without balance every row comes once */
    /* All directions equal; those below a thousandth of the mean variance (columns 5 and up, before the turn) stay smaller. */
    for (int j = 1; j < 5; j++) {
        assert_true(fabs(sum[j] / N) < 0.03 * sqrt(square[j] / N));
        assert_true(fabs(square[j] / square[1] - 1) < 0.03);
    }
    assert_true(fabs(cross) < 0.6 * 0.8 * square[1]); /* the turned column 7 has little of its own left */
    const sd_dict_info info = {.kind = SD_DICT_TOPK, .d = D, .m = M, .k = 3};
    t_ok(sd_dict__new(&d, &info, true, false, &err), err);
    sd_rng rng = sd_rng_make(4, "dictionary", 0);
    for (int i = 0; i < M * D; i++) d->W_enc[i] = d->W_dec[i] = sd_rng_normal(&rng);
    for (int i = 0; i < D; i++) d->b_dec[i] = d->b_in[i] = 0.1f * sd_rng_normal(&rng);
    t_ok(sd_dict_encode(&before, ex, d, sd_mat_of(x, ROWS, D), &err), err);
    t_ok(sd_reshape_fold(r, d, &err), err);
    t_ok(sd_dict_encode(&after, ex, d, sd_mat_of(k.x, ROWS, D), &err), err);
    assert_int_equal(before.nnz, after.nnz);
    for (int64_t e = 0; e < before.nnz; e++) {
        assert_int_equal(before.idx[e], after.idx[e]);
        /* f32 rounding of W A, whose entries are up to 30 times those of W, against rows of norm 12 */
        assert_true(fabsf(before.val[e] - after.val[e]) < 1e-3f);
    }
    assert_true(isfinite(sd_dict_get_info(d)->fvu) && sd_dict_get_info(d)->site_rms > 11 && sd_dict_get_info(d)->site_rms < 13);
    sd_codes_release(&before);
    sd_codes_release(&after);
    sd_dict_free(d);
    sd_reshape_close(r);
    sd_exec_free(ex);
    empty(&k);
}

static const struct CMUnitTest tests[] = {T(test_balance_and_seek), T(test_whitens_and_folds)};
T_MAIN(tests)
