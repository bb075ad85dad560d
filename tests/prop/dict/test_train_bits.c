/* Bits that must not move: any number of threads gives the same dictionary; a run saved and loaded anywhere gives the one that
 * was never stopped; a dictionary saved and opened encodes the same; permuted features are the same features. */
#include "t.h"

#include "dict/act.h"
#include "dict/dict_train_int.h"

#include <math.h>

enum { D = 40, M = 700, K = 6, B = 150, STEPS = 24 };

static sd_exec *exec_of(int threads)
{
    sd_err err = {0};
    sd_exec *ex;
    t_ok(sd_exec_new(&ex, &(sd_exec_opt){NULL, threads}, &err), err);
    return ex;
}

/* Sums of 4 out of 90 planted directions and some noise. */
static void rows_of(float *x, int64_t n, uint64_t seed)
{
    sd_rng r = sd_rng_make(seed, "bits", 0);
    for (int64_t i = 0; i < n; i++) {
        for (int c = 0; c < D; c++) x[i * D + c] = 2.0f + 0.3f * sd_rng_normal(&r);
        for (int j = 0; j < 4; j++) {
            sd_rng dir = sd_rng_make(1, "planted", sd_rng_below(&r, 90));
            const float strength = 1.0f + (float)sd_rng_uniform(&r);
            for (int c = 0; c < D; c++) x[i * D + c] += strength * sd_rng_normal(&dir);
        }
    }
}

static sd_dict_kind kind = SD_DICT_TOPK;
static bool moments8, proven, frozen;
static uint32_t without;
static sd_rest rest;
static int k_start;
static int64_t k_anneal, sparsity_warmup, routes;
static double sparsity;

/* dead_after is short, so that dead features and their loss take part. */
static sd_dict_train *fresh(const sd_exec *ex)
{
    static float x[512 * D];
    sd_err err = {0};
    sd_dict_train *t;
    rows_of(x, 512, 99);
    t_ok(sd_dict_train_new(&t, ex, &(sd_dict_train_opt){.kind = kind, .d = D, .m = M, .k = K, .batch = B, .n_tokens = B * STEPS, .dead_after = 3 * B, .seed = 5, .lr = 5e-3, .moments8 = moments8, .proven = proven,
                                                          .rest = rest, .frozen_decoder = frozen, .without = without, .k_start = k_start, .k_anneal = k_anneal, .sparsity = sparsity, .sparsity_warmup = sparsity_warmup,
                                                          .routes = routes, .listed = routes ? 90 : 0, .in_turn = 4}, &err), err);
    t_ok(sd_dict_train_calibrate(t, ex, sd_mat_of(x, 512, D), &err), err);
    return t;
}

static sd_dict_stats steps(sd_dict_train *t, const sd_exec *ex, int from, int to)
{
    static float x[B * D];
    sd_err err = {0};
    sd_dict_stats st = {0};
    for (int s = from; s < to; s++) {
        rows_of(x, B, (uint64_t)s);
        t_ok(sd_dict_train_step(t, ex, sd_mat_of(x, s == 9 ? B - 7 : B, D), &st, &err), err);
    }
    return st;
}

static sd_dict *finish(sd_dict_train *t, const sd_exec *ex)
{
    static float x[300 * D];
    sd_err err = {0};
    sd_dict *d;
    rows_of(x, 300, 1234);
    t_ok(sd_dict_train_finish(t, ex, sd_mat_of(x, 300, D), &(sd_dict_info){.model_name = "m", .site = "resid_post.1"}, &d, &err), err);
    return d;
}

static void same(const sd_dict *a, const sd_dict *b)
{
    assert_memory_equal(a->W_enc, b->W_enc, sizeof(float) * M * D);
    assert_memory_equal(a->W_dec, b->W_dec, sizeof(float) * M * D);
    assert_memory_equal(a->b_enc, b->b_enc, sizeof(float) * M);
    assert_memory_equal(a->b_dec, b->b_dec, sizeof(float) * D);
    assert_memory_equal(a->threshold, b->threshold, sizeof(float) * M);
    assert_memory_equal(a->max_act, b->max_act, sizeof(float) * M);
    assert_memory_equal(a->density, b->density, sizeof(float) * M);
    assert_true(a->info.fvu == b->info.fvu && a->info.l0 == b->info.l0 && a->info.n_dead == b->info.n_dead);
}

static void test_threads(void **state)
{
    (void)state;
    sd_dict *first = NULL;
    sd_dict_stats st0 = {0};
    static const int threads[] = {1, 2, 3, 7};
    for (int i = 0; i < 4; i++) {
        sd_exec *ex = exec_of(threads[i]);
        sd_dict_train *t = fresh(ex);
        const sd_dict_stats st = steps(t, ex, 0, STEPS);
        sd_dict *d = finish(t, ex);
        if (!first) {
            first = d;
            st0 = st;
            if (!t->gate && !without) assert_true(t->aux.n_used > 0); /* the auxiliary loss took part */
        } else {
            same(first, d);
            assert_memory_equal(&st0, &st, sizeof st);
            sd_dict_free(d);
        }
        sd_dict_train_free(t);
        sd_exec_free(ex);
    }
    sd_dict_free(first);
}

static void test_resume(void **state)
{
    (void)state;
    sd_err err = {0};
    char path[512];
    const char *dir = t_tmpdir();
    snprintf(path, sizeof path, "%s/trainer.safetensors", dir);
    sd_exec *ex = exec_of(2);
    sd_dict_train *t = fresh(ex), *u;
    const sd_dict_stats want_st = steps(t, ex, 0, STEPS);
    sd_dict *want = finish(t, ex);
    sd_dict_train_free(t);
    static const int stops[] = {0, 1, 8, 17, STEPS};
    for (int i = 0; i < 5; i++) {
        sd_exec *other = exec_of(1 + i % 3);
        t = fresh(ex);
        (void)steps(t, ex, 0, stops[i]);
        t_ok(sd_dict_train_save(t, path, &err), err);
        sd_dict_train_free(t);
        t_ok(sd_dict_train_load(&u, other, path, &err), err);
        const sd_dict_stats st = steps(u, other, stops[i], STEPS);
        if (stops[i] < STEPS) assert_memory_equal(&st, &want_st, sizeof st);
        sd_dict *d = finish(u, other);
        same(want, d);
        sd_dict_free(d);
        sd_dict_train_free(u);
        sd_exec_free(other);
    }
    sd_dict_free(want);
    sd_exec_free(ex);
    t_rmtree(dir);
}

static void test_save_and_open(void **state)
{
    (void)state;
    sd_err err = {0};
    const char *dir = t_tmpdir();
    static float x[40 * D];
    sd_exec *ex = exec_of(2);
    sd_dict_train *t = fresh(ex);
    (void)steps(t, ex, 0, 6);
    sd_dict *a = finish(t, ex), *b;
    t_ok(sd_dict_save(a, dir, &err), err);
    t_ok(sd_dict_open(&b, dir, &err), err);
    same(a, b);
    assert_true(sd_dict_has_threshold(b));
    assert_string_equal(sd_dict_get_info(b)->site, "resid_post.1");
    assert_int_equal(sd_dict_get_info(b)->seed, 5);
    assert_int_equal(sd_dict_get_info(b)->n_tokens, 6 * B);
    assert_true(sd_dict_get_info(b)->site_rms == sd_dict_get_info(a)->site_rms);
    sd_codes p = {0}, q = {0};
    rows_of(x, 40, 77);
    t_ok(sd_dict_encode(&p, ex, a, sd_mat_of(x, 40, D), &err), err);
    t_ok(sd_dict_encode(&q, ex, b, sd_mat_of(x, 40, D), &err), err);
    assert_int_equal(p.nnz, q.nnz);
    assert_memory_equal(p.idx, q.idx, (size_t)p.nnz * 4);
    assert_memory_equal(p.val, q.val, (size_t)p.nnz * 4);
    /* One row at a time, or two, or all: the same codes. */
    for (int64_t step = 1; step <= 7; step += 3) {
        for (int64_t r = 0; r + step <= 40; r += step) {
            t_ok(sd_dict_encode(&q, ex, a, sd_mat_of(x + r * D, step, D), &err), err);
            assert_memory_equal(q.idx, p.idx + p.row_ptr[r], (size_t)q.nnz * 4);
            assert_memory_equal(q.val, p.val + p.row_ptr[r], (size_t)q.nnz * 4);
        }
    }
    sd_codes_release(&p), sd_codes_release(&q);
    sd_dict_free(a), sd_dict_free(b);
    sd_dict_train_free(t);
    sd_exec_free(ex);
    t_rmtree(dir);
}

/* The same for every other kind that is trained; those with a gate begin dense. */
static void test_kinds(void **state)
{
    for (kind = 0; kind < SD_DICT_ENCODER_COUNT; kind++) {
        if (kind == SD_DICT_TOPK) continue;
        test_threads(state);
        test_resume(state);
        test_save_and_open(state);
    }
    kind = SD_DICT_TOPK;
}

static void test_permuted_features(void **state)
{
    (void)state;
    sd_err err = {0};
    static float x[100 * D];
    int64_t perm[M];
    sd_exec *ex = exec_of(2);
    sd_dict_train *t = fresh(ex);
    (void)steps(t, ex, 0, 6);
    sd_dict *a = finish(t, ex), *b;
    sd_rng r = sd_rng_make(4, "perm", 0);
    for (int64_t f = 0; f < M; f++) perm[f] = f;
    sd_rng_shuffle_i64(&r, perm, M);
    t_ok(sd_dict__new(&b, &a->info, true, false, &err), err);
    for (int64_t f = 0; f < M; f++) {
        memcpy(b->W_enc + f * D, a->W_enc + perm[f] * D, D * 4);
        memcpy(b->W_dec + f * D, a->W_dec + perm[f] * D, D * 4);
        b->b_enc[f] = a->b_enc[perm[f]];
    }
    memcpy(b->b_dec, a->b_dec, D * 4), memcpy(b->b_in, a->b_in, D * 4);
    sd_codes p = {0}, q = {0};
    rows_of(x, 100, 78);
    t_ok(sd_dict_encode(&p, ex, a, sd_mat_of(x, 100, D), &err), err);
    t_ok(sd_dict_encode(&q, ex, b, sd_mat_of(x, 100, D), &err), err);
    assert_int_equal(p.nnz, q.nnz);
    for (int64_t i = 0; i < 100; i++) {
        float za[M] = {0}, zb[M] = {0};
        for (int64_t e = p.row_ptr[i]; e < p.row_ptr[i + 1]; e++) za[p.idx[e]] = p.val[e];
        for (int64_t e = q.row_ptr[i]; e < q.row_ptr[i + 1]; e++) zb[perm[q.idx[e]]] = q.val[e];
        assert_memory_equal(za, zb, sizeof za);
    }
    sd_codes_release(&p), sd_codes_release(&q);
    sd_dict_free(a), sd_dict_free(b);
    sd_dict_train_free(t);
    sd_exec_free(ex);
}

/* What the threshold promises: alone above it as often as among the k best, and mostly on the same rows. */
static void test_threshold(void **state)
{
    (void)state;
    sd_err err = {0};
    enum { N = 3000 };
    float *x = sd_malloc(N * D * 4);
    sd_exec *ex = exec_of(2);
    sd_dict_train *t = fresh(ex);
    (void)steps(t, ex, 0, STEPS);
    sd_dict *d = finish(t, ex);
    rows_of(x, N, 4321);
    t_ok(sd_dict_calibrate(d, ex, sd_mat_of(x, N, D), &err), err);
    sd_codes z = {0};
    t_ok(sd_dict_encode(&z, ex, d, sd_mat_of(x, N, D), &err), err);
    int64_t above = 0, both = 0;
    float top[M] = {0};
    int64_t count[M] = {0};
    for (int64_t i = 0; i < N; i++)
        for (int64_t f = 0, e = z.row_ptr[i]; f < M; f++) {
            const bool in = e < z.row_ptr[i + 1] && z.idx[e] == f, over = sd_dict_preact(d, f, x + i * D) > sd_dict_threshold(d, f);
            if (in && z.val[e] > top[f]) top[f] = z.val[e];
            count[f] += in;
            e += in;
            above += over;
            both += in && over;
        }
    assert_true(fabs((double)above / (double)z.nnz - 1) < 0.05); /* L0 by threshold is L0 */
    /* 700 features share 90 directions after 24 steps, so near copies compete for places; chance would be K / M = 0.009. */
    const double agree = (double)both / (double)z.nnz;
    if (!(agree > 0.5)) fail_msg("%.3f of the active features are above their threshold", agree);
    for (int64_t f = 0; f < M; f++) {
        assert_true(sd_dict_max_act(d, f) == top[f]);
        assert_true(sd_dict_density(d, f) == (float)((double)count[f] / N));
    }
    sd_codes_release(&z);
    sd_dict_free(d);
    sd_dict_train_free(t);
    sd_exec_free(ex);
    sd_free(x);
}

/* Moments in 8 bits: the same bits for any threads and after a stop, and not those of 32. */
static void test_moments8(void **state)
{
    sd_exec *ex = exec_of(2);
    sd_dict_train *t = fresh(ex);
    (void)steps(t, ex, 0, STEPS);
    sd_dict *a = finish(t, ex), *b;
    sd_dict_train_free(t);
    moments8 = true;
    test_threads(state);
    test_resume(state);
    t = fresh(ex);
    (void)steps(t, ex, 0, STEPS);
    b = finish(t, ex);
    sd_dict_train_free(t);
    moments8 = false;
    assert_true(memcmp(a->W_dec, b->W_dec, sizeof(float) * M * D) != 0);
    assert_true(b->info.fvu < 1.1 * a->info.fvu);
    sd_dict_free(a), sd_dict_free(b);
    sd_exec_free(ex);
}

/* Lists are learned, used, renewed and left within the run, and nothing is allocated on the way (MODE=dev stops at it). Some of the exact choice is lost,
 * which is counted; k that anneals leaves places of the memory empty. */
static void test_routes(void **state)
{
    sd_exec *ex = exec_of(2);
    sd_dict_train *t;
    routes = 9;
    test_threads(state);
    test_resume(state);
    t = fresh(ex);
    const sd_dict_stats st = steps(t, ex, 0, STEPS);
    assert_true(t->route.n_won > 3 * B && st.n_missed > 0 && st.n_missed < st.n_audited / 2);
    for (int p = 0; p < routes; p++)
        for (int i = 1; i < 90; i++) assert_true(t->route.list[p * 90 + i - 1] < t->route.list[p * 90 + i]);
    sd_dict_train_free(t);
    k_start = 3 * K, k_anneal = 15;
    test_resume(state);
    k_start = 0, k_anneal = 0, routes = 0;
    sd_exec_free(ex);
}

/* Whether the encoder's scores are int8 or better, what is chosen is the same: so is the dictionary. */
static void test_proven(void **state)
{
    (void)state;
    sd_exec *ex = exec_of(2);
    for (kind = 0; kind < SD_DICT_ENCODER_COUNT; kind++) {
        sd_dict *d[2];
        for (int i = 0; i < 2; i++) {
            proven = i == 1;
            sd_dict_train *t = fresh(ex);
            const sd_dict_stats st = steps(t, ex, 0, STEPS);
            assert_int_equal(st.n_missed, 0);
            if (sd_scan_is_int8(t->scan) && !t->gate) assert_true(st.n_audited > 0);
            if (proven) assert_true(!sd_scan_is_int8(t->scan));
            d[i] = finish(t, ex);
            sd_dict_train_free(t);
        }
        same(d[0], d[1]);
        sd_dict_free(d[0]), sd_dict_free(d[1]);
    }
    kind = SD_DICT_TOPK;
    proven = false;
    sd_exec_free(ex);
}

/* Annealing, what is left out and the frozen decoder are of the run: any threads, a stop anywhere, the same bits. */
static void test_options(void **state)
{
    k_start = 3 * K, k_anneal = 15;
    test_threads(state);
    test_resume(state);
    kind = SD_DICT_BATCHTOPK, without = (1u << SD_WITHOUT_COUNT) - 1;
    test_resume(state);
    kind = SD_DICT_JUMPRELU, without = 0, frozen = true;
    test_resume(state);
    k_start = 0, k_anneal = 0, frozen = false;
    for (kind = SD_DICT_TOPK, rest = SD_REST_SPARSE; rest < SD_REST_COUNT; rest++) {
        test_threads(state);
        test_resume(state);
    }
    moments8 = true, rest = SD_REST_DENSE;
    test_resume(state);
    moments8 = false, rest = SD_REST_DRIFT;
    kind = SD_DICT_STANDARD, sparsity = 0.5, sparsity_warmup = 10;
    test_resume(state);
    kind = SD_DICT_TOPK, sparsity = 0, sparsity_warmup = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(test_threads), T(test_resume), T(test_moments8), T(test_routes), T(test_options), T(test_proven), T(test_save_and_open), T(test_kinds), T(test_permuted_features), T(test_threshold)};
    const int rc = cmocka_run_group_tests(tests, NULL, NULL);
    if (sd_mem_live_blocks() != 0) return printf("%lld blocks left\n", (long long)sd_mem_live_blocks()), 1;
    return rc ? 1 : 0;
}
