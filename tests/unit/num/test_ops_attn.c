/* Attention against its definition in double, and its promise: a row's bits depend neither on the split of a prompt,
 * nor on the other sequences of a batch, nor on threads. */
#include "t.h"

#include "base/rng.h"
#include "num/dtype.h"
#include "num/kern_half.h"
#include "num/ops.h"

#include <math.h>

/* A sequence with its cache and rows of all positions. */
typedef struct seq {
    sd_attn_opt o;
    int64_t n;
    sd_mat q, k, v, out;
    sd_kv kv;
    float *pattern;
    void *scratch;
} seq;

static void make_exec(sd_exec *ex, int threads, const char *level)
{
    *ex = (sd_exec){.n_threads = threads};
    if (!sd_cpu_detect(&ex->cpu, level)) t_skip("this CPU has no %s", level);
}

static sd_mat random_rows(int64_t n, int64_t cols, uint64_t index)
{
    float *p = sd_malloc((size_t)(n * cols) * 4);
    assert_non_null(p);
    sd_rng r = sd_rng_make(5, "test_ops_attn", index);
    for (int64_t i = 0; i < n * cols; i++) p[i] = 1.5f * sd_rng_normal(&r);
    return sd_mat_of(p, n, cols);
}

static const sd_kv_type types[] = {SD_KV_F32, SD_KV_F16, SD_KV_Q8, SD_KV_BF16};
enum { N_TYPES = 4 };

static seq make_seq(sd_attn_opt o, int64_t n, sd_kv_type type, uint64_t index)
{
    seq s = {.o = o, .n = n};
    s.q = random_rows(n, o.n_head * o.d_head, index), s.out = random_rows(n, o.n_head * o.d_head, index + 1);
    s.k = random_rows(n, o.n_head_kv * o.d_head, index + 2), s.v = random_rows(n, o.n_head_kv * o.d_head, index + 3);
    size_t bytes;
    s.kv = (sd_kv){.cap = sd_kv_cap(n), .n_head = o.n_head_kv, .d_head = o.d_head, .type = type};
    assert_true(sd_kv_bytes(&bytes, s.kv.cap, o.n_head_kv, o.d_head, type));
    s.kv.k = sd_calloc(bytes), s.kv.v = sd_calloc(bytes);
    sd_exec most;
    make_exec(&most, 4, "auto");
    s.scratch = sd_malloc(sd_attn_scratch(&most, &o, n));
    s.pattern = sd_malloc((size_t)(o.n_head * n * n) * 4);
    return s;
}

static void free_seq(seq *s)
{
    sd_free(s->q.data), sd_free(s->k.data), sd_free(s->v.data), sd_free(s->out.data);
    sd_free(s->kv.k), sd_free(s->kv.v), sd_free(s->pattern), sd_free(s->scratch);
}

/* Positions [from, to) in one call. */
static void run(const sd_exec *ex, seq *s, int64_t from, int64_t to, float *pattern)
{
    int64_t n = to - from;
    sd_kv_write(ex, s->kv, from, sd_mat_rows(s->k, from, n), sd_mat_rows(s->v, from, n));
    sd_attn_seq a = {.out = sd_mat_rows(s->out, from, n),
                     .q = sd_mat_rows(s->q, from, n),
                     .kv = s->kv,
                     .pos0 = from,
                     .pattern = pattern};
    sd_attn(ex, &s->o, &a, 1, s->scratch);
}

/* A query as it is multiplied. */
static double taken(const seq *s, float x)
{
    return (double)(s->kv.type == SD_KV_BF16 ? sd_bf16_to_f32(sd_f32_to_bf16(x)) : x);
}

/* Number c of a head's row x as the cache gives it back. */
static double stored(const seq *s, const float *x, int64_t c)
{
    if (s->kv.type == SD_KV_BF16) return taken(s, x[c]);
    if (s->kv.type != SD_KV_Q8) return (double)(s->kv.type == SD_KV_F16 ? sd_f16_to_f32(sd_f32_to_f16(x[c])) : x[c]);
    int8_t q[256];
    uint16_t scale[8];
    sd_kern_ops_ref.to_q8(q, scale, x, s->o.d_head);
    return (double)q[c] * (double)sd_bf16_to_f32(scale[c / SD_KV_BLOCK]);
}

/* The definition, row i of head h, in double; also checks the pattern. */
static void check_row(const seq *s, int64_t i, int h)
{
    int64_t d = s->o.d_head, g = h / (s->o.n_head / s->o.n_head_kv), lo = 0;
    if (s->o.window > 0 && i + 1 > s->o.window) lo = i + 1 - s->o.window;
    double p[1024], max = -INFINITY, sum = 0, z[256] = {0}, mag[256] = {0};
    assert_true(i < 1024 && d <= 256);
    for (int64_t j = lo; j <= i; j++) {
        p[j] = 0;
        for (int64_t c = 0; c < d; c++)
            p[j] += taken(s, sd_mat_row(s->q, i)[h * d + c]) * stored(s, sd_mat_row(s->k, j) + g * d, c);
        p[j] *= (double)s->o.scale;
        max = fmax(max, p[j]);
    }
    for (int64_t j = lo; j <= i; j++) sum += p[j] = exp(p[j] - max);
    for (int64_t j = 0; j < s->n; j++) {
        double want = j < lo || j > i ? 0 : p[j] / sum, got = (double)s->pattern[(h * s->n + i) * s->n + j];
        /* scores reach 40: their rounding (5e-6) is the exponential's relative error */
        if (!(fabs(got - want) <= 1e-5 * want))
            fail_msg("pattern head %d row %d key %d: %g, expected %g", h, (int)i, (int)j, got, want);
        if (j >= lo && j <= i)
            for (int64_t c = 0; c < d; c++) {
                const double v = want * stored(s, sd_mat_row(s->v, j) + g * d, c);
                z[c] += v, mag[c] += fabs(v);
            }
    }
    for (int64_t c = 0; c < d; c++) {
        double got = (double)sd_mat_row(s->out, i)[h * d + c];
        /* Over bf16 a probability is off by up to 2^-8 of itself. */
        if (!(fabs(got - z[c]) <= 3e-5 + (s->kv.type == SD_KV_BF16 ? 0x1p-8 * mag[c] : 0)))
            fail_msg("out head %d row %d col %d: %g, expected %g", h, (int)i, (int)c, got, z[c]);
    }
}

static const sd_attn_opt shapes[] = {
    {9, 3, 64, 0.125f, 0, 0}, {4, 2, 16, 0.25f, 0, 0}, {2, 2, 24, 0.2f, 0, 0},   {4, 1, 33, 0.17f, 0, 0},
    {64, 1, 8, 0.35f, 0, 0},  {4, 2, 16, 0.25f, 7, 0}, {3, 3, 16, 0.25f, 33, 0}, {8, 4, 80, 0.11f, 1, 0},
};

static void check_shapes(const char *level)
{
    sd_exec ex;
    make_exec(&ex, 2, level);
    for (size_t t = 0; t < sizeof shapes / sizeof *shapes; t++)
        for (int k = 0; k < N_TYPES; k++) {
            if (!sd_kv_can(&ex, types[k])) continue;
            seq s = make_seq(shapes[t], 75, types[k], 100 * t);
            run(&ex, &s, 0, 75, s.pattern);
            for (int64_t i = 0; i < s.n; i++)
                for (int h = 0; h < s.o.n_head; h++) check_row(&s, i, h);
            free_seq(&s);
        }
}

static void test_definition(void **state)
{
    check_shapes(*state);
}

/* One prompt whole, in pieces, token by token, on other thread counts: the same bits. */
static void test_split_and_threads(void **state)
{
    (void)state;
    sd_exec one, two, four;
    make_exec(&one, 1, "auto"), make_exec(&two, 2, "auto"), make_exec(&four, 4, "auto");
    for (size_t t = 0; t < sizeof shapes / sizeof *shapes; t++)
        for (int k = 0; k < N_TYPES; k++) {
            enum { N = 205 };
            if (!sd_kv_can(&one, types[k])) continue;
            seq a = make_seq(shapes[t], N, types[k], 7), b = make_seq(shapes[t], N, types[k], 7);
            size_t bytes = (size_t)(N * a.q.cols) * 4;
            run(&one, &a, 0, N, NULL);
            run(&four, &b, 0, N, b.pattern);
            assert_memory_equal(a.out.data, b.out.data, bytes);
            memset(b.out.data, 0, bytes);
            run(&two, &b, 0, 100, NULL), run(&two, &b, 100, 117, NULL), run(&four, &b, 117, N, NULL);
            assert_memory_equal(a.out.data, b.out.data, bytes);
            memset(b.out.data, 0, bytes);
            for (int64_t i = 0; i < N; i++) run(&two, &b, i, i + 1, NULL);
            assert_memory_equal(a.out.data, b.out.data, bytes);
            free_seq(&a), free_seq(&b);
        }
}

static void test_bf16_only_where_it_is(void **state)
{
    (void)state;
    static const char *const levels[] = {"ref", "avx2"};
    for (int i = 0; i < 2; i++) {
        sd_exec ex;
        make_exec(&ex, 1, levels[i]);
        assert_false(sd_kv_can(&ex, SD_KV_BF16));
        assert_true(sd_kv_can(&ex, SD_KV_F16));
    }
}

/* A row never reads what comes after it: poison there stays there. */
static void test_no_leak_from_the_future(void **state)
{
    (void)state;
    sd_exec ex;
    make_exec(&ex, 2, "auto");
    for (size_t t = 0; t < N_TYPES * sizeof shapes / sizeof *shapes; t++) {
        if (!sd_kv_can(&ex, types[t % N_TYPES])) continue;
        seq a = make_seq(shapes[t / N_TYPES], 40, types[t % N_TYPES], 11), b = make_seq(shapes[t / N_TYPES], 40, types[t % N_TYPES], 11);
        for (int64_t i = 20; i < 40; i++)
            for (int64_t c = 0; c < b.k.cols; c++) sd_mat_row(b.k, i)[c] = sd_mat_row(b.v, i)[c] = NAN;
        run(&ex, &a, 0, 40, NULL), run(&ex, &b, 0, 40, NULL);
        assert_memory_equal(a.out.data, b.out.data, (size_t)(20 * a.q.cols) * 4);
        assert_true(isnan(sd_mat_row(b.out, 20)[0]));
        free_seq(&a), free_seq(&b);
    }
}

/* The decoded numbers are exact: a q8 cache has the bits of an f32 cache that holds them. */
static void test_q8_is_f32_of_its_numbers(void **state)
{
    (void)state;
    enum { N = 150 };
    sd_exec ex;
    make_exec(&ex, 2, "auto");
    for (size_t t = 0; t < sizeof shapes / sizeof *shapes; t++) {
        seq a = make_seq(shapes[t], N, SD_KV_Q8, 71), b = make_seq(shapes[t], N, SD_KV_F32, 71);
        const int64_t d = b.o.d_head;
        run(&ex, &a, 0, N, NULL);
        for (int64_t i = 0; i < N; i++)
            for (int64_t c = 0; c < b.k.cols; c += d) {
                float k[256], v[256];
                for (int64_t x = 0; x < d; x++) {
                    k[x] = (float)stored(&a, sd_mat_row(b.k, i) + c, x);
                    v[x] = (float)stored(&a, sd_mat_row(b.v, i) + c, x);
                }
                memcpy(sd_mat_row(b.k, i) + c, k, (size_t)d * 4), memcpy(sd_mat_row(b.v, i) + c, v, (size_t)d * 4);
            }
        run(&ex, &b, 0, N, NULL);
        assert_memory_equal(a.out.data, b.out.data, (size_t)(N * a.q.cols) * 4);
        free_seq(&a), free_seq(&b);
    }
}

static void test_batch(void **state)
{
    (void)state;
    sd_exec ex;
    make_exec(&ex, 2, "auto");
    enum { S = 4 };
    const int64_t n[S] = {70, 1, 23, 41};
    seq alone[S], both[S];
    sd_attn_seq a[S];
    for (int i = 0; i < S; i++) {
        const sd_kv_type type = sd_kv_can(&ex, types[i]) ? types[i] : SD_KV_F32;
        alone[i] = make_seq(shapes[0], n[i], type, 31 + (uint64_t)i), both[i] = make_seq(shapes[0], n[i], type, 31 + (uint64_t)i);
        run(&ex, &alone[i], 0, n[i], NULL);
        sd_kv_write(&ex, both[i].kv, 0, both[i].k, both[i].v);
        a[i] = (sd_attn_seq){.out = both[i].out, .q = both[i].q, .kv = both[i].kv};
    }
    sd_attn(&ex, &shapes[0], a, S, both[0].scratch);
    for (int i = 0; i < S; i++)
        assert_memory_equal(alone[i].out.data, both[i].out.data, (size_t)(n[i] * both[i].out.cols) * 4);
    for (int i = 0; i < S; i++) free_seq(&alone[i]), free_seq(&both[i]);
}

static void test_mix(void **state)
{
    (void)state;
    sd_exec ex;
    make_exec(&ex, 2, "auto");
    for (size_t t = 0; t < 2 * sizeof shapes / sizeof *shapes; t++) {
        enum { N = 60, FROM = 21 };
        if (!sd_kv_can(&ex, t % 2 ? SD_KV_BF16 : SD_KV_F32)) continue;
        seq s = make_seq(shapes[t / 2], N, t % 2 ? SD_KV_BF16 : SD_KV_F32, 41);
        run(&ex, &s, 0, FROM, NULL);
        run(&ex, &s, FROM, N, s.pattern);
        size_t bytes = (size_t)(N * s.q.cols) * 4;
        float *before = sd_malloc(bytes);
        memcpy(before, s.out.data, bytes);
        sd_attn_seq a = {.out = sd_mat_rows(s.out, FROM, N - FROM),
                         .q = sd_mat_rows(s.q, FROM, N - FROM),
                         .kv = s.kv,
                         .pos0 = FROM,
                         .pattern = s.pattern};
        memset(a.out.data, 0, (size_t)((N - FROM) * s.q.cols) * 4);
        s.pattern[N - 1] = 0.5f; /* head 0, row 0: in the future, not read */
        sd_attn_mix(&ex, &s.o, &a, s.scratch);
        assert_memory_equal(before, s.out.data, bytes);
        /* All attention of the last row's last head on key N - 1 = itself: out is that value. */
        float *row = s.pattern + ((int64_t)s.o.n_head * (N - FROM) - 1) * N;
        memset(row, 0, N * 4);
        row[N - 1] = 1.0f;
        sd_attn_mix(&ex, &s.o, &a, s.scratch);
        int64_t d = s.o.d_head;
        for (int64_t c = 0; c < d; c++)
            assert_true((double)sd_mat_row(s.out, N - 1)[(s.o.n_head - 1) * d + c] ==
                        stored(&s, sd_mat_row(s.v, N - 1) + (s.o.n_head_kv - 1) * d, c));
        assert_memory_equal(before, s.out.data, (size_t)((N - 1) * s.q.cols) * 4);
        sd_free(before), free_seq(&s);
    }
}

/* So many keys that a task is a single position: its scratch is then a function of the keys. */
static void test_long_context(void **state)
{
    (void)state;
    sd_exec one, two;
    make_exec(&one, 1, "auto"), make_exec(&two, 2, "auto");
    enum { N = 15000, LAST = 5 };
    sd_attn_opt o = {8, 1, 8, 0.35f, 0, 0};
    seq s = {.o = o, .n = N, .kv = {.cap = sd_kv_cap(N), .n_head = 1, .d_head = 8, .type = SD_KV_F32}};
    size_t bytes;
    assert_true(sd_kv_bytes(&bytes, s.kv.cap, 1, 8, SD_KV_F32));
    s.kv.k = sd_calloc(bytes), s.kv.v = sd_calloc(bytes);
    s.k = random_rows(N, 8, 51), s.v = random_rows(N, 8, 52), s.q = random_rows(LAST, 64, 53);
    sd_mat a = random_rows(LAST, 64, 54), b = random_rows(LAST, 64, 55);
    s.scratch = sd_malloc(sd_attn_scratch(&two, &o, N));
    sd_kv_write(&two, s.kv, 0, s.k, s.v);
    sd_attn(&two, &o, &(sd_attn_seq){.out = a, .q = s.q, .kv = s.kv, .pos0 = N - LAST}, 1, s.scratch);
    for (int64_t i = 0; i < LAST; i++)
        sd_attn(
            &one, &o,
            &(sd_attn_seq){.out = sd_mat_rows(b, i, 1), .q = sd_mat_rows(s.q, i, 1), .kv = s.kv, .pos0 = N - LAST + i},
            1, s.scratch);
    assert_memory_equal(a.data, b.data, LAST * 64 * 4);
    sd_free(a.data), sd_free(b.data), free_seq(&s);
}

/* Room for tiles is taken where there are tiles, and nowhere else. */
static void test_scratch(void **state)
{
    (void)state;
    const sd_attn_opt o = {8, 4, 64, 0.125f, 0, 0};
    sd_exec all, ref;
    make_exec(&all, 2, "auto"), make_exec(&ref, 2, "ref");
    const size_t a = sd_attn_scratch(&all, &o, 4096), b = sd_attn_scratch(&ref, &o, 4096);
    if (sd_kern_tiles_select(all.cpu.flags)) assert_true(a > b);
    else assert_int_equal(a, b);
    assert_null(sd_kern_tiles_select(ref.cpu.flags));
}

static const struct CMUnitTest tests[] = {
    {"test_definition/ref", test_definition, NULL, NULL, (void *)(uintptr_t) "ref"},
    {"test_definition/avx2", test_definition, NULL, NULL, (void *)(uintptr_t) "avx2"},
    {"test_definition/avx512", test_definition, NULL, NULL, (void *)(uintptr_t) "avx512"},
    {"test_definition/amx", test_definition, NULL, NULL, (void *)(uintptr_t) "amx"},
    T(test_scratch),
    T(test_split_and_threads),
    T(test_bf16_only_where_it_is),
    T(test_no_leak_from_the_future),
    T(test_q8_is_f32_of_its_numbers),
    T(test_batch),
    T(test_mix),
    T(test_long_context),
};
T_MAIN(tests)
