/* Products of learning against sums in double: three kinds, odd sizes, every type of b, f32 and bf16, carried sums, and
 * the same bits for one thread and several. */
#include "t.h"

#include "base/mem.h"
#include "base/rng.h"
#include "num/exec.h"
#include "num/product.h"
#include "num/stats.h"

#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>

/* By hand: sd_exec_new settles the CPU level of oneDNN once a process, and nothing here calls it. */
static sd_exec *make(const char *cpu, int threads)
{
    sd_exec *ex = sd_calloc(sizeof *ex);
    assert_true(sd_cpu_detect(&ex->cpu, cpu));
    ex->kern = sd_kern_select(ex->cpu.flags);
    ex->n_threads = threads;
    return ex;
}

static float *fill(int64_t n, uint64_t index)
{
    float *x = sd_malloc((size_t)n * sizeof *x);
    sd_rng r = sd_rng_make(5, "test_product", index);
    for (int64_t i = 0; i < n; i++) x[i] = sd_rng_normal(&r);
    return x;
}

/* a_ij of the product, whatever the kind. */
static double at_a(const sd_prod *p, int64_t i, int64_t t)
{
    return (double)(p->kind == SD_PROD_TN ? sd_mat_row(p->a, t)[i] : sd_mat_row(p->a, i)[t]);
}

/* b [rows, cols] decoded. */
static void expect(double *c, double *mag, const sd_prod *p, const float *b, int64_t k)
{
    for (int64_t i = 0; i < p->c.rows; i++)
        for (int64_t j = 0; j < p->c.cols; j++) {
            double s = p->accumulate ? (double)sd_mat_row(p->c, i)[j] : 0, m = fabs(s);
            for (int64_t t = 0; t < k; t++) {
                const double v = at_a(p, i, t) * (double)(p->kind == SD_PROD_NT ? b[j * k + t] : b[t * p->c.cols + j]);
                s += v;
                m += fabs(v);
            }
            c[i * p->c.cols + j] = s;
            mag[i * p->c.cols + j] = m;
        }
}

/* unit: the relative error of a product of two rounded factors; plus one rounding a step of the chain. */
static void compare(const sd_prod *p, const double *want, const double *mag, int64_t k, double unit)
{
    for (int64_t i = 0; i < p->c.rows; i++)
        for (int64_t j = 0; j < p->c.cols; j++) {
            const double got = (double)sd_mat_row(p->c, i)[j], w = want[i * p->c.cols + j];
            const double tol = mag[i * p->c.cols + j] * (unit + (double)(k + 1) * 0x1p-24);
            if (!(fabs(got - w) <= tol))
                fail_msg("kind %d [%ld,%ld]: %g, expected %g", (int)p->kind, (long)i, (long)j, got, w);
        }
}

static void run_one(sd_exec *ex, sd_prod_kind kind, const int64_t s[3], bool bf16, bool accumulate)
{
    const int64_t m = s[0], n = s[1], k = s[2], guard = 7;
    float *a = fill(m * k, 1), *b = fill(n * k, 2), *c = fill(m * (n + guard), 3), *before = fill(m * (n + guard), 3);
    double *want = sd_malloc((size_t)(m * n) * sizeof *want), *mag = sd_malloc((size_t)(m * n) * sizeof *mag);
    sd_prod p = {.kind = kind, .accumulate = accumulate, .bf16 = bf16};
    p.c = (sd_mat){c, m, n, n + guard};
    p.a = kind == SD_PROD_TN ? sd_mat_of(a, k, m) : sd_mat_of(a, m, k);
    p.b = kind == SD_PROD_NT ? sd_wmat_of(b, n, k) : sd_wmat_of(b, k, n);
    expect(want, mag, &p, b, k);
    void *scratch = sd_malloc(sd_prod_scratch(ex, m, k));
    sd_prod_run(ex, &p, scratch);
    compare(&p, want, mag, k, bf16 ? 2 * 0x1p-8 : 0);
    for (int64_t i = 0; i < m; i++) /* nothing beside c is touched */
        assert_memory_equal(c + i * (n + guard) + n, before + i * (n + guard) + n, (size_t)guard * sizeof *c);
    sd_free(a), sd_free(b), sd_free(c), sd_free(before), sd_free(want), sd_free(mag), sd_free(scratch);
}

static const int64_t shapes[][3] = {{1, 1, 1},     {3, 32, 2},     {5, 33, 7},      {97, 64, 31},  {12, 96, 64},
                                    {193, 40, 65}, {64, 31, 1025}, {200, 256, 100}, {7, 300, 1030}, {5, 40, 0} /* a sum of nothing */};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

static void test_shapes(void **state)
{
    sd_exec *ex = make(*state, 2);
    for (int i = 0; i < N_SHAPES; i++)
        for (int kind = SD_PROD_NT; kind <= SD_PROD_TN; kind++)
            for (int f = 0; f < 4; f++) run_one(ex, (sd_prod_kind)kind, shapes[i], f & 1, f & 2);
    sd_free(ex);
}

/* A typed b gives the bits of its decoded values. */
static void test_types(void **state)
{
    sd_exec *ex = make(*state, 2);
    const sd_dtype types[] = {SD_F16, SD_BF16, SD_Q4_0, SD_Q4_1, SD_Q5_0, SD_Q8_0, SD_Q4_K, SD_Q6_K};
    const int64_t rows = 512, cols = 512, m = 50;
    sd_rng r = sd_rng_make(6, "test_product", 0);
    void *scratch = sd_malloc(sd_prod_scratch(ex, m, rows));
    float *a = fill(m * rows, 4), *c1 = fill(m * rows, 5), *c2 = fill(m * rows, 6), *dense = fill(rows * cols, 7);
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        const sd_dtype_info *info = sd_dtype_get(types[t]);
        const size_t bytes = sd_dtype_row_bytes(types[t], cols) * (size_t)rows;
        uint8_t *data = sd_malloc(bytes);
        for (size_t i = 0; i < bytes; i++)
            data[i] = (uint8_t)(sd_rng_u32(&r) & 0x3f); /* no half or bfloat of it is infinite */
        info->decode(dense, data, rows * cols);
        for (int f = 0; f < 4; f++) {
            sd_prod p = {.kind = f & 1 ? SD_PROD_NN : SD_PROD_NT, .bf16 = f & 2, .a = sd_mat_of(a, m, cols)};
            p.c = sd_mat_of(c1, m, rows);
            p.b = (sd_wmat){.data = data, .dtype = types[t], .rows = rows, .cols = cols};
            sd_prod_run(ex, &p, scratch);
            p.c = sd_mat_of(c2, m, rows);
            p.b = sd_wmat_of(dense, rows, cols);
            sd_prod_run(ex, &p, scratch);
            assert_memory_equal(c1, c2, (size_t)(m * rows) * sizeof *c1);
        }
        sd_free(data);
    }
    sd_free(a), sd_free(c1), sd_free(c2), sd_free(dense), sd_free(scratch);
    sd_free(ex);
}

static void test_threads(void **state)
{
    sd_exec *one = make(*state, 1), *two = make(*state, 3);
    const int64_t m = 500, n = 200, k = 333;
    float *a = fill(m * k, 8), *b = fill(n * k, 9), *c1 = fill(m * n, 10), *c2 = fill(m * n, 10);
    void *s = sd_malloc(sd_prod_scratch(two, m, k));
    for (int kind = SD_PROD_NT; kind <= SD_PROD_TN; kind++)
        for (int bf16 = 0; bf16 < 2; bf16++) {
            sd_prod p = {.kind = (sd_prod_kind)kind, .bf16 = bf16, .accumulate = true};
            p.a = kind == SD_PROD_TN ? sd_mat_of(a, k, m) : sd_mat_of(a, m, k);
            p.b = kind == SD_PROD_NT ? sd_wmat_of(b, n, k) : sd_wmat_of(b, k, n);
            p.c = sd_mat_of(c1, m, n);
            sd_prod_run(one, &p, s);
            p.c = sd_mat_of(c2, m, n);
            sd_prod_run(two, &p, s);
            assert_memory_equal(c1, c2, (size_t)(m * n) * sizeof *c1);
        }
    sd_free(a), sd_free(b), sd_free(c1), sd_free(c2), sd_free(s);
    sd_free(one), sd_free(two);
}

/* Matrices that were rounded before give the bits of products that round for themselves; f32 products don't look at them. */
static void test_rounded(void **state)
{
    sd_exec *ex = make(*state, 2);
    const int64_t sizes[][3] = {{1, 1, 1}, {97, 33, 31}, {64, 300, 65}, {200, 1100, 96}, {33, 40, 1100}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int kind = SD_PROD_NT; kind <= SD_PROD_TN; kind++)
            for (int f = 0; f < 4; f++) {
                const int64_t m = sizes[i][0], n = sizes[i][1], k = sizes[i][2];
                sd_prod p = {.kind = (sd_prod_kind)kind, .accumulate = f & 1, .bf16 = f & 2};
                float *a = fill(m * k, 11), *b = fill(n * k, 12), *c1 = fill(m * n, 13), *c2 = fill(m * n, 13);
                p.a = kind == SD_PROD_TN ? sd_mat_of(a, k, m) : sd_mat_of(a, m, k);
                p.b = kind == SD_PROD_NT ? sd_wmat_of(b, n, k) : sd_wmat_of(b, k, n);
                uint16_t *ah = sd_malloc(sd_prod_half_bytes(p.a.rows, p.a.cols)), *bh = sd_malloc(sd_prod_half_bytes(k, n));
                void *s = sd_malloc(sd_prod_scratch(ex, m, k));
                p.c = sd_mat_of(c1, m, n);
                sd_prod_run(ex, &p, s);
                p.c = sd_mat_of(c2, m, n);
                p.a_half = sd_prod_round(ex, p.a, ah);
                if (kind != SD_PROD_NT) p.b_half = sd_prod_round(ex, sd_mat_of(b, k, n), bh);
                const bool half = p.bf16 && (kind != SD_PROD_TN || !sd_kern_i16_select(ex->kern->cpu_flags));
                if (p.a_half.data) memset(half ? (void *)a : (void *)ah, 0xff, half ? (size_t)(m * k) * sizeof *a : (size_t)p.a.rows * 2); /* is not read */
                sd_prod_run(ex, &p, s);
                assert_memory_equal(c1, c2, (size_t)(m * n) * sizeof *c1);
                sd_free(a), sd_free(b), sd_free(c1), sd_free(c2), sd_free(ah), sd_free(bh), sd_free(s);
            }
    sd_free(ex);
}

/* A second term gives the bits of a second product that adds to the first. */
static void test_second(void **state)
{
    sd_exec *ex = make(*state, 2);
    const int64_t sizes[][4] = {{1, 1, 1, 1}, {97, 33, 31, 16}, {64, 16, 65, 3}, {500, 300, 130, 8}, {33, 40, 9, 1100}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int f = 0; f < 8; f++) {
            const int64_t m = sizes[i][0], n = sizes[i][1], k = sizes[i][2], k2 = sizes[i][3];
            const bool nn = f & 4;
            sd_prod p = {.kind = nn ? SD_PROD_NN : SD_PROD_NT, .accumulate = f & 1, .bf16 = f & 2};
            float *a = fill(m * k, 14), *b = fill(n * k, 15), *a2 = fill(m * k2, 16), *b2 = fill(n * k2, 17), *c1 = fill(m * n, 18), *c2 = fill(m * n, 18);
            void *s = sd_malloc(sd_prod_scratch(ex, m, k > k2 ? k : k2) + sd_prod_second_scratch(m, k2));
            p.a = sd_mat_of(a, m, k), p.b = nn ? sd_wmat_of(b, k, n) : sd_wmat_of(b, n, k), p.c = sd_mat_of(c1, m, n);
            sd_prod last = {.kind = p.kind, .accumulate = true, .bf16 = p.bf16, .c = p.c, .a = sd_mat_of(a2, m, k2)};
            last.b = nn ? sd_wmat_of(b2, k2, n) : sd_wmat_of(b2, n, k2);
            sd_prod_run(ex, &p, s);
            sd_prod_run(ex, &last, s);
            p.c = sd_mat_of(c2, m, n), p.a2 = last.a, p.b2 = last.b;
            sd_prod_run(ex, &p, s);
            assert_memory_equal(c1, c2, (size_t)(m * n) * sizeof *c1);
            sd_free(a), sd_free(b), sd_free(a2), sd_free(b2), sd_free(c1), sd_free(c2), sd_free(s);
        }
    sd_free(ex);
}

/* Parts handed over: the numbers of c and of the twin's c, each once. */
typedef struct seen {
    sd_mat c, twin;
    atomic_int n;
} seen;
static void take_part(void *arg, const sd_prod_part *p)
{
    seen *s = arg;
    for (int64_t r = 0; r < p->m; r++) {
        memcpy(sd_mat_row(s->c, p->row + r) + p->col, p->y + r * SD_PANEL, (size_t)p->n * sizeof(float));
        if (s->twin.data) memcpy(sd_mat_row(s->twin, p->row + r) + p->col, p->twin + r * SD_PANEL, (size_t)p->n * sizeof(float));
    }
    atomic_fetch_add(&s->n, (int)(p->m * p->n));
}

static void test_end(void **state)
{
    sd_exec *ex = make(*state, 2);
    const int64_t sizes[][4] = {{1, 1, 1, 1}, {97, 33, 31, 16}, {500, 300, 130, 8}, {64, 16, 65, 0}, {33, 700, 2047, 3}, {3, 5, 9000, 0}, {33, 4096, 512, 512}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int f = 0; f < 8; f++) {
            const int64_t m = sizes[i][0], n = sizes[i][1], k = sizes[i][2], k2 = sizes[i][3];
            const bool nn = f & 1, twins = f & 2, alone = f & 4 /* the second term is the twin's */;
            float *a = fill(m * k, 20), *a2 = fill(m * k2 + 1, 21), *c[4], *bs[4];
            for (int j = 0; j < 4; j++) c[j] = fill(m * n, 22);
            sd_prod p[2];
            for (int j = 0; j < 2; j++) {
                float *b = bs[j] = fill(n * k, 23 + (uint64_t)j), *b2 = bs[2 + j] = fill(n * k2 + 1, 25 + (uint64_t)j);
                p[j] = (sd_prod){.kind = nn ? SD_PROD_NN : SD_PROD_NT, .bf16 = true, .a = sd_mat_of(a, m, k), .c = sd_mat_of(c[j], m, n)};
                p[j].b = nn ? sd_wmat_of(b, k, n) : sd_wmat_of(b, n, k);
                if (k2 && !(alone && j == 0)) p[j].a2 = sd_mat_of(a2, m, k2), p[j].b2 = nn ? sd_wmat_of(b2, k2, n) : sd_wmat_of(b2, n, k2);
            }
            void *s = sd_malloc(sd_prod_scratch(ex, m, k > k2 ? k : k2) + 2 * sd_prod_second_scratch(m, k2));
            for (int j = 0; j < 2; j++) sd_prod_run(ex, &p[j], s);
            seen got = {.c = sd_mat_of(c[2], m, n), .twin = twins ? sd_mat_of(c[3], m, n) : (sd_mat){0}};
            sd_prod first = p[0], second = p[1];
            first.c.data = second.c.data = NULL;
            first.end = take_part, first.end_arg = &got, first.twin = twins ? &second : NULL;
            if (!sd_prod_can_end(ex, &first)) {
                assert_true(!sd_prod_multiplies_bf16(ex) || k == 9000);
            } else {
                sd_prod_run(ex, &first, s);
                assert_int_equal(atomic_load(&got.n), m * n);
                assert_memory_equal(c[0], c[2], (size_t)(m * n) * sizeof(float));
                if (twins) assert_memory_equal(c[1], c[3], (size_t)(m * n) * sizeof(float));
            }
            for (int j = 0; j < 4; j++) sd_free(c[j]), sd_free(bs[j]);
            sd_free(a), sd_free(a2), sd_free(s);
        }
    sd_free(ex);
}

/* Parts are handed over and added to nothing: a product that asks for both is a mistake of the program. */
static void test_end_and_accumulate(void **state)
{
    enum { M = 40, N = 48, K = 32 };
    sd_exec *ex = make(*state, 1);
    float *a = fill(M * K, 30), *b = fill(N * K, 31);
    void *s = sd_malloc(sd_prod_scratch(ex, M, K));
    sd_prod p[2];
    for (int j = 0; j < 2; j++) p[j] = (sd_prod){.kind = SD_PROD_NT, .bf16 = true, .a = sd_mat_of(a, M, K), .b = sd_wmat_of(b, N, K), .c = sd_mat_of(NULL, M, N)};
    seen got = {.c = sd_mat_of(fill(M * N, 32), M, N)};
    p[0].end = take_part, p[0].end_arg = &got;
    for (int which = 0; which < 3 && sd_prod_can_end(ex, &p[0]); which++) { /* none accumulates, the product, its twin */
        int status;
        fflush(NULL);
        const pid_t pid = fork();
        if (pid == 0) {
            if (!freopen("/dev/null", "w", stderr)) _exit(1);
            signal(SIGABRT, SIG_DFL); /* cmocka has its own */
            p[0].accumulate = which == 1, p[1].accumulate = which == 2;
            if (which == 2) p[0].twin = &p[1];
            sd_prod_run(ex, &p[0], s);
            _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(WIFSIGNALED(status) ? WTERMSIG(status) : 0, which ? SIGABRT : 0);
    }
    sd_free(a), sd_free(b), sd_free(s), sd_free(got.c.data);
    sd_free(ex);
}

int main(void)
{
    static const char *const levels[] = {"ref", "avx2", "avx512", "auto"};
    int failed = 0;
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        sd_cpu cpu;
        union {
            const char *c;
            void *v;
        } level = {levels[i]};
        if (!sd_cpu_detect(&cpu, levels[i])) continue;
        const struct CMUnitTest tests[] = {cmocka_unit_test_prestate(test_shapes, level.v),
                                           cmocka_unit_test_prestate(test_types, level.v),
                                           cmocka_unit_test_prestate(test_threads, level.v),
                                           cmocka_unit_test_prestate(test_rounded, level.v),
                                           cmocka_unit_test_prestate(test_second, level.v), cmocka_unit_test_prestate(test_end, level.v),
                                           cmocka_unit_test_prestate(test_end_and_accumulate, level.v)};
        failed += cmocka_run_group_tests_name(levels[i], tests, NULL, NULL);
    }
    return failed ? 1 : 0;
}
