/* The scan against brute force over every feature with the same dot: the same features, the same bits, on data as trained
 * dictionaries make it and on data made to break the margin: rows equal to the last bit, differences far below a bf16 step, wild
 * norms, zero rows, thousands of ties, every place of a row rounded the same way. Level avx2 runs in a child process, since oneDNN takes its level once. */
#include "t.h"

#include "base/rng.h"
#include "dict/dict_step.h"
#include "dict/scan.h"
#include "num/kern_scan8.h"

#include <math.h>
#include <sys/wait.h>

static sd_exec *ex;
static bool int8;
static sd_scan_how how(void) { return int8 ? SD_SCAN_INT8 : SD_SCAN_PROVEN; }

typedef struct data { int64_t n, m, d; float *x, *W, *b, *sub; } data;

static data make(int64_t n, int64_t m, int64_t d)
{
    data a = {n, m, d, sd_malloc((size_t)(n * d) * 4), sd_malloc((size_t)(m * d) * 4), sd_malloc((size_t)m * 4), sd_malloc((size_t)d * 4)};
    sd_rng r = sd_rng_make(5, "scan", (uint64_t)(n * 31 + m * 7 + d));
    for (int64_t i = 0; i < n * d; i++) a.x[i] = sd_rng_normal(&r);
    for (int64_t i = 0; i < m * d; i++) a.W[i] = sd_rng_normal(&r) / sqrtf((float)d);
    for (int64_t i = 0; i < m; i++) a.b[i] = 0.1f * sd_rng_normal(&r);
    for (int64_t i = 0; i < d; i++) a.sub[i] = 0.3f * sd_rng_normal(&r);
    return a;
}
static void drop(data *a) { sd_free(a->x), sd_free(a->W), sd_free(a->b), sd_free(a->sub); }

typedef struct scored { float p; int32_t f; } scored;
static int by_value(const void *pa, const void *pb)
{
    const scored *a = pa, *b = pb;
    if (a->p != b->p) return a->p > b->p ? -1 : 1;
    return a->f < b->f ? -1 : 1;
}
static int by_feature(const void *pa, const void *pb) { return ((const scored *)pa)->f < ((const scored *)pb)->f ? -1 : 1; }

static void exact_row(const data *a, int64_t r, const float *sub, scored *s)
{
    float *xc = sd_malloc((size_t)a->d * 4);
    for (int64_t i = 0; i < a->d; i++) xc[i] = sub ? a->x[r * a->d + i] - sub[i] : a->x[r * a->d + i];
    for (int64_t f = 0; f < a->m; f++) s[f] = (scored){ex->kern->dot(xc, a->W + f * a->d, a->d) + a->b[f] + 0.0f, (int32_t)f};
    sd_free(xc);
}

static sd_scan_count check_topk(const data *a, int k, const char *what)
{
    sd_err err = {0};
    sd_scan *s;
    int32_t *idx = sd_malloc((size_t)(a->n * k) * 4);
    float *val = sd_malloc((size_t)(a->n * k) * 4);
    scored *all = sd_malloc((size_t)a->m * sizeof *all);
    t_ok(sd_scan_new(&s, ex, a->m, a->d, k, how(), &err), err);
    sd_scan_pack(s, ex, a->W, a->b, NULL);
    for (int use_sub = 0; use_sub < 2; use_sub++) {
        const float *sub = use_sub ? a->sub : NULL;
        assert_int_equal(sd_scan_topk(s, ex, idx, val, sd_mat_of(a->x, a->n, a->d), sub), -1);
        for (int64_t r = 0; r < a->n; r++) {
            exact_row(a, r, sub, all);
            qsort(all, (size_t)a->m, sizeof *all, by_value);
            qsort(all, (size_t)k, sizeof *all, by_feature);
            for (int i = 0; i < k; i++)
                if (idx[r * k + i] != all[i].f || val[r * k + i] != all[i].p)
                    fail_msg("%s, row %lld, place %d: feature %d (%.9g), expected %d (%.9g)", what, (long long)r, i, idx[r * k + i],
                             (double)val[r * k + i], all[i].f, (double)all[i].p);
        }
    }
    const sd_scan_count c = sd_scan_take_count(s);
    sd_scan_free(s);
    sd_free(idx), sd_free(val), sd_free(all);
    return c;
}

static void test_random(void **state)
{
    (void)state;
    const int64_t shape[][4] = {{300, 1500, 64, 8}, {130, 3000, 100, 32}, {5, 700, 33, 1}, {3, 2500, 48, 16}, {64, 513, 16, 100},
                                {40, 40, 8, 40},    {20, 5, 3, 5},        {129, 600, 24, 300}, {10, 1, 4, 1}};
    for (size_t i = 0; i < sizeof shape / sizeof *shape; i++) {
        data a = make(shape[i][0], shape[i][1], shape[i][2]);
        const sd_scan_count c = check_topk(&a, (int)shape[i][3], "random");
        /* The margin is no licence to look at everything. */
        if (shape[i][0] > 4 && shape[i][1] > 1000) assert_true(c.n_exact < 2 * shape[i][0] * (4 * shape[i][3] + 64));
        drop(&a);
    }
}

/* The k best of a group's list, bit for bit those of a scan of a dictionary of that list alone; rows of no group are left as they are. */
static void test_listed(void **state)
{
    (void)state;
    enum { N = 300, M = 2600, D = 70, K = 12, P = 3, L = 1030 };
    sd_err err = {0};
    data a = make(N, M, D);
    sd_scan *s;
    int32_t idx[N * K], row[N], list[P * L];
    float val[N * K];
    const int64_t col[P + 1] = {0, 1, 1, N - 40};
    scored *all = sd_malloc(M * sizeof *all);
    for (int i = 0; i < N; i++) row[i] = (i * 7) % N;
    for (int p = 0; p < P; p++)
        for (int i = 0; i < L; i++) list[p * L + i] = 2 * i + i / 2 + p % 2;
    for (int64_t f = 5; f < M; f += 3) memcpy(a.W + f * D, a.W + 2 * D, D * 4), a.b[f] = a.b[2]; /* ties, more than a list of candidates holds */
    t_ok(sd_scan_new(&s, ex, M, D, K, int8 ? SD_SCAN_LISTED : SD_SCAN_PROVEN, &err), err);
    sd_scan_pack(s, ex, a.W, a.b, NULL);
    for (int64_t u = 0; u < P * 4; u++) { /* parts of all features in turn; of the fourth group of these there are none */
        sd_scan_lists lists = {col, row, list, P, L, {0, 0}};
        const int64_t p = u % P;
        if (u / P < 3) sd_scan_turn(s, u / P, 3, lists.in_turn);
        for (int i = 0; i < N * K; i++) idx[i] = -7;
        assert_int_equal(sd_scan_topk_listed(s, ex, idx, val, sd_mat_of(a.x, N, D), &lists), -1);
        for (int64_t i = N - 40; i < N; i++) assert_int_equal(idx[(int64_t)row[i] * K], -7);
        for (int64_t i = col[p]; i < col[p + 1]; i++) {
            const int64_t r = row[i];
            int n = 0, at = 0;
            exact_row(&a, r, NULL, all);
            for (int f = 0; f < M; f++) { /* a list ascends, so nothing is overwritten before it is read */
                const bool listed = at < L && list[p * L + at] == f;
                at += listed;
                if (listed || (f >= lists.in_turn[0] && f < lists.in_turn[1])) all[n++] = all[f];
            }
            qsort(all, (size_t)n, sizeof *all, by_value);
            qsort(all, K, sizeof *all, by_feature);
            for (int j = 0; j < K; j++)
                if (idx[r * K + j] != all[j].f || val[r * K + j] != all[j].p) fail_msg("row %lld, place %d: feature %d, expected %d", (long long)r, j, idx[r * K + j], all[j].f);
        }
    }
    int64_t range[2], end = 0;
    for (int turn = 0; turn < 7; turn++, end = range[1]) {
        sd_scan_turn(s, turn, 7, range);
        assert_true(range[0] == end && range[1] >= end); /* parts follow each other */
    }
    assert_int_equal(end, M);
    sd_scan_free(s);
    sd_free(all);
    drop(&a);
}

/* A few strong features a row, rows of W with norms over two decades, biases of their size: what training gives. */
static void test_trained_like(void **state)
{
    (void)state;
    data a = make(200, 4096, 96);
    sd_rng r = sd_rng_make(1, "trained", 0);
    for (int64_t f = 0; f < a.m; f++) {
        const float scale = expf(1.5f * sd_rng_normal(&r));
        for (int64_t i = 0; i < a.d; i++) a.W[f * a.d + i] *= scale;
        a.b[f] = -scale * (float)sd_rng_uniform(&r);
    }
    for (int64_t i = 0; i < a.n; i++)
        for (int j = 0; j < 12; j++) {
            const int64_t f = (int64_t)sd_rng_below(&r, (uint64_t)a.m);
            for (int64_t c = 0; c < a.d; c++) a.x[i * a.d + c] += 3.0f * a.W[f * a.d + c];
        }
    check_topk(&a, 32, "trained-like");
    drop(&a);
}

/* Copies of a row, and copies that differ by one unit in the last place: bf16 sees none of it, f32 decides, then the index. */
static void test_near_ties(void **state)
{
    (void)state;
    data a = make(40, 2100, 64);
    for (int64_t f = 1; f < a.m; f++) {
        memcpy(a.W + f * a.d, a.W, (size_t)a.d * 4);
        a.b[f] = a.b[0];
        const uint32_t h = (uint32_t)f * 2654435761u;
        if (h % 3 == 1) a.W[f * a.d + (int64_t)(h % 64)] = nextafterf(a.W[(int64_t)(h % 64)], 10.0f);
        if (h % 3 == 2) a.b[f] = nextafterf(a.b[0], h & 64 ? 1.0f : -1.0f);
    }
    check_topk(&a, 20, "near ties");
    drop(&a);
}

/* Thousands of features that any cheap score takes for one, and f32 does not: no list holds them, but only they are looked at, not the whole dictionary. */
static void test_many_near_ties(void **state)
{
    (void)state;
    data a = make(40, 9000, 64);
    sd_rng r = sd_rng_make(2, "near ties", 0);
    for (int64_t i = a.d; i < a.m * a.d; i++) a.W[i] = i / a.d % 4 ? 0.1f * a.W[i] : a.W[i % a.d] * (1.0f + 1e-4f * sd_rng_normal(&r));
    for (int64_t i = 0; i < a.n * a.d; i++) a.x[i] += 2.0f * a.W[i % a.d];
    memset(a.b, 0, (size_t)a.m * 4);
    const sd_scan_count c = check_topk(&a, 20, "many near ties");
    assert_int_equal(c.n_overflow, 0);
    assert_true(c.n_exact < a.n * a.m); /* of 2 n m */
    drop(&a);
}

static void test_hostile(void **state)
{
    (void)state;
    data a = make(30, 1600, 40);
    for (int64_t i = 0; i < 40; i++) {
        a.W[7 * a.d + i] *= 1e6f;    /* one row that dwarfs the rest */
        a.W[900 * a.d + i] *= 1e-30f; /* one whose squares underflow */
        a.x[3 * a.d + i] = 0;
        a.x[4 * a.d + i] *= 1e12f;
        a.x[5 * a.d + i] *= 1e-25f;
        a.x[6 * a.d + i] = i ? 0.0f : 1e5f; /* all in one place, as a sink has it */
    }
    memset(a.W + 1000 * a.d, 0, (size_t)(100 * a.d) * 4);
    for (int64_t f = 0; f < a.m; f++) a.b[f] *= f % 2 ? 1.0f : 1000.0f;
    check_topk(&a, 25, "hostile");
    for (int64_t f = 0; f < a.m; f++) a.b[f] = f % 2 ? -0.0f : 0.0f;
    memset(a.W, 0, (size_t)(a.m * a.d) * 4); /* every score is +0 or -0: the first k features */
    assert_int_equal(check_topk(&a, 25, "all equal").n_overflow, 2 * a.n); /* no list can hold them */
    drop(&a);
}

/* Norms beyond f32, as a file of weights to start from may have them: no bound is finite, every feature is looked at, and nothing is written beyond its lists. */
static void test_norms_that_overflow(void **state)
{
    (void)state;
    data a = make(37, 3000, 64);
    for (int64_t i = 0; i < a.m * a.d; i++) a.W[i] *= 1e22f;
    check_topk(&a, 8, "norms that overflow");
    drop(&a);
}

/* Rounding to nearest would err the same way in every place: rows of equal numbers, a quarter of a step of int8 off. */
static void test_one_way(void **state)
{
    (void)state;
    data a = make(40, 1500, 256);
    for (int64_t i = 0; i < a.n * a.d; i++) a.x[i] = i % a.d ? 1.0f : 127.0f / 8;
    for (int64_t f = 0; f < a.m; f++)
        for (int64_t c = 0; c < a.d; c++) a.W[f * a.d + c] = c ? 0.01f + 1e-6f * (float)((f * 7919) % a.m) : 1.0f;
    check_topk(&a, 16, "one way");
    drop(&a);
}

/* Rows that changed are packed one by one; biases always. */
static void test_repack(void **state)
{
    (void)state;
    sd_err err = {0};
    data a = make(64, 1200, 80);
    sd_scan *s, *fresh;
    int32_t idx[2][64 * 8];
    float val[2][64 * 8];
    t_ok(sd_scan_new(&s, ex, a.m, a.d, 8, how(), &err), err);
    t_ok(sd_scan_new(&fresh, ex, a.m, a.d, 8, how(), &err), err);
    sd_scan_repack(s, ex, a.W, a.b, NULL); /* the first time all of them */
    for (int64_t f = 3; f < a.m; f += 5) {
        for (int64_t i = 0; i < a.d; i++) a.W[f * a.d + i] *= 2.0f;
        sd_scan_pack_row(s, a.W, f);
    }
    for (int64_t f = 0; f < a.m; f++) a.b[f] += 0.01f * (float)(f % 9);
    sd_scan_repack(s, ex, a.W, a.b, NULL);
    sd_scan_pack(fresh, ex, a.W, a.b, NULL);
    assert_int_equal(sd_scan_topk(s, ex, idx[0], val[0], sd_mat_of(a.x, 64, a.d), NULL), -1);
    assert_int_equal(sd_scan_topk(fresh, ex, idx[1], val[1], sd_mat_of(a.x, 64, a.d), NULL), -1);
    assert_memory_equal(idx[0], idx[1], sizeof idx[0]);
    assert_memory_equal(val[0], val[1], sizeof val[0]);
    const sd_scan_count c = sd_scan_take_count(s), c2 = sd_scan_take_count(fresh);
    assert_int_equal(c.n_exact, c2.n_exact); /* the same bounds */
    sd_scan_free(s), sd_scan_free(fresh);
    drop(&a);
}

/* The audit finds nothing missing in right lists, and what is taken out of them. */
static void test_audit(void **state)
{
    (void)state;
    enum { N = 40, K = 8 };
    sd_err err = {0};
    data a = make(N, 900, 60);
    sd_scan *s;
    int32_t idx[N * K];
    float val[N * K];
    t_ok(sd_scan_new(&s, ex, a.m, a.d, K, how(), &err), err);
    sd_scan_pack(s, ex, a.W, a.b, NULL);
    assert_int_equal(sd_scan_topk(s, ex, idx, val, sd_mat_of(a.x, N, a.d), NULL), -1);
    sd_scan_audit got = sd_scan_check(s, ex, sd_mat_of(a.x, N, a.d), idx, NULL, 10, 5);
    assert_true(got.n_rows == 5 && got.n_right == 5 * K && got.n_missed == 0);
    idx[10 * K]++, idx[14 * K + 3]++; /* still ascending or not: these two are gone */
    if (idx[10 * K] == idx[10 * K + 1]) idx[10 * K] -= 2;
    if (idx[14 * K + 3] == idx[14 * K + 4]) idx[14 * K + 3] -= 2;
    got = sd_scan_check(s, ex, sd_mat_of(a.x, N, a.d), idx, NULL, 10, 5);
    assert_int_equal(got.n_missed, 2);
    got = sd_scan_check(s, ex, sd_mat_of(a.x, N, a.d), idx, NULL, 15, 5);
    assert_int_equal(got.n_missed, 0);
    sd_scan_free(s);
    drop(&a);
}

static void test_bad_rows(void **state)
{
    (void)state;
    sd_err err = {0};
    data a = make(300, 600, 16);
    sd_scan *s;
    int32_t idx[300 * 4];
    float val[300 * 4];
    t_ok(sd_scan_new(&s, ex, a.m, a.d, 4, how(), &err), err);
    sd_scan_pack(s, ex, a.W, a.b, NULL);
    a.x[290 * 16 + 3] = INFINITY;
    a.x[170 * 16] = NAN;
    assert_int_equal(sd_scan_topk(s, ex, idx, val, sd_mat_of(a.x, 300, 16), NULL), 170);
    assert_int_equal(sd_scan_topk(s, ex, idx, val, sd_mat_of(a.x + 168 * 16, 3, 16), NULL), 2);
    a.x[290 * 16 + 3] = a.x[170 * 16] = 0;
    assert_int_equal(sd_scan_topk(s, ex, idx, val, sd_mat_of(a.x, 300, 16), NULL), -1);
    sd_scan_free(s);
    drop(&a);
}

static void test_above(void **state)
{
    (void)state;
    sd_err err = {0};
    for (int use_gate = 0; use_gate < 2; use_gate++) {
        data a = make(150, 1300, 50);
        float *gate = sd_malloc((size_t)a.m * 4);
        sd_scan *s;
        int64_t bad;
        int64_t *ptr = sd_malloc(151 * sizeof *ptr);
        scored *all = sd_malloc((size_t)a.m * sizeof *all);
        sd_scan_list out = {.row_ptr = ptr};
        for (int64_t f = 0; f < a.m; f++) gate[f] = f % 5 ? 1.2f : -0.5f;
        t_ok(sd_scan_new(&s, ex, a.m, a.d, 0, how(), &err), err);
        sd_scan_pack(s, ex, a.W, a.b, use_gate ? gate : NULL);
        t_ok(sd_scan_above(s, ex, &out, sd_mat_of(a.x, a.n, a.d), a.sub, &bad, &err), err);
        assert_int_equal(bad, -1);
        for (int64_t r = 0; r < a.n; r++) {
            int64_t at = ptr[r];
            exact_row(&a, r, a.sub, all);
            for (int64_t f = 0; f < a.m; f++) {
                if (!(all[f].p > 0) || (use_gate && !(all[f].p > gate[f]))) continue;
                assert_true(at < ptr[r + 1]);
                assert_int_equal(out.idx[at], f);
                assert_true(out.val[at] == all[f].p);
                at++;
            }
            assert_int_equal(at, ptr[r + 1]);
        }
        const sd_scan_count c = sd_scan_take_count(s);
        assert_true(c.n_exact < ptr[a.n] + ptr[a.n] / 3 + 1000); /* few looked at in vain */
        sd_scan_free(s);
        sd_free(out.idx), sd_free(out.val), sd_free(ptr), sd_free(all), sd_free(gate);
        drop(&a);
    }
}

/* The n k best of a batch that has fewer values above 0: all of them are taken, from wherever the last batch cut. */
static void test_best_of_few(void **state)
{
    (void)state;
    enum { K = 8 };
    sd_err err = {0};
    data a = make(64, 512, 32);
    const int64_t cap = 4 * a.n * K;
    scored *all = sd_malloc((size_t)a.m * sizeof *all);
    sd_choice c = {.kern = ex->kern, .W = a.W, .b = a.b, .m = a.m, .cap = cap, .n_step = 100, .k = K, .ptr = sd_malloc((size_t)(a.n + 1) * 8), .idx = sd_malloc((size_t)cap * 4), .val = sd_malloc((size_t)cap * 4),
                   .spare = sd_malloc((size_t)cap * 4), .floor = sd_malloc((size_t)a.m * 4)};
    for (int64_t f = 0; f < a.m; f++) a.b[f] = -2.5f;
    t_ok(sd_scan_new(&c.scan, ex, a.m, a.d, 0, how(), &err), err);
    t_ok(sd_scan_reserve(c.scan, a.n, cap, &err), err);
    int64_t above = 0, bad;
    for (int64_t r = 0; r < a.n; r++) {
        exact_row(&a, r, NULL, all);
        for (int64_t f = 0; f < a.m; f++) above += all[f].p > 0;
    }
    assert_in_range(above, 1, a.n * K - 1);
    static const double last[] = {0, 1e-3, 1, 1e6};
    for (size_t i = 0; i < sizeof last / sizeof *last; i++) {
        c.cut = last[i];
        t_ok(sd_choice__best(&c, ex, sd_mat_of(a.x, a.n, a.d), 2, &bad, &err), err);
        assert_int_equal(bad, -1);
        assert_int_equal(c.ptr[a.n], above);
    }
    sd_scan_free(c.scan);
    sd_free(c.ptr), sd_free(c.idx), sd_free(c.val), sd_free(c.spare), sd_free(c.floor), sd_free(all);
    drop(&a);
}

static int run_level(const char *level)
{
    sd_err err = {0};
    sd_cpu cpu;
    char name[64];
    if (!sd_cpu_detect(&cpu, level)) {
        printf("skip: this CPU has no %s\n[  SKIPPED ] scan at %s\n", level, level);
        return 0;
    }
    if (int8 && !sd_kern_scan8_select(cpu.flags)) {
        printf("skip: this CPU has no products of int8\n[  SKIPPED ] scan with int8\n");
        return 0;
    }
    if (sd_exec_new(&ex, &(sd_exec_opt){level, 2}, &err)) return printf("%s\n", err.msg), 1;
    const struct CMUnitTest tests[] = {T(test_random), T(test_trained_like), T(test_near_ties), T(test_many_near_ties), T(test_hostile), T(test_norms_that_overflow), T(test_one_way), T(test_repack), T(test_audit), T(test_bad_rows), T(test_above), T(test_listed), T(test_best_of_few)};
    snprintf(name, sizeof name, "scan at %s%s", level, int8 ? ", int8" : "");
    const int rc = cmocka_run_group_tests_name(name, tests, NULL, NULL);
    sd_exec_free(ex);
    if (sd_mem_live_blocks() != 0) return printf("%lld blocks left\n", (long long)sd_mem_live_blocks()), 1;
    return rc ? 1 : 0;
}

int main(void)
{
    static const struct { const char *name; bool int8; } level[] = {{"ref", false}, {"avx2", false}, {"avx2", true}, {"avx512", true}, {"auto", false}, {"auto", true}};
    int bad = 0, st;
    for (size_t i = 0; i < sizeof level / sizeof *level; i++) {
        int8 = level[i].int8;
        fflush(stdout);
        const pid_t p = fork();
        if (p == 0) {
            st = run_level(level[i].name);
            fflush(stdout);
            exit(st);
        }
        if (p < 0 || waitpid(p, &st, 0) != p || st != 0) bad = 1;
    }
    return bad;
}
