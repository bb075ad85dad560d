/* sd_linear and sd_gemm_nt against sums in double, and the promise of equal bits: any number of threads, any split of
 * the rows; faithful and fast also any instruction set. `test_linear --bench [LEVEL]` prints GFLOP/s and GB/s of each
 * mode. */
#include "num/linear_int.h"
#include "num/kern_i16.h"
#include "num/ops.h"
#include "num/stats.h"
#include "base/log.h"
#include "base/par.h"
#include "base/rng.h"
#include "t.h"
#include <math.h>
#include <pthread.h>

/* Several levels in one process, which sd_exec_new does not allow because of oneDNN: sd_linear itself does not call it.
 */
static sd_exec exec_of(const char *level, int n_threads)
{
    sd_exec ex = {.n_threads = n_threads};
    if (!sd_cpu_detect(&ex.cpu, level)) return (sd_exec){0}; /* this CPU lacks it */
    ex.kern = sd_kern_select(ex.cpu.flags);
    return ex;
}

/* Normal numbers out of a pool, from a place that the seed chooses: drawing each anew was most of this program's time. */
enum { N_NORMAL = 99991 }; /* a prime: no row length divides it */
static const float *normals(void)
{
    static float pool[N_NORMAL];
    static bool drawn;
    sd_rng r = sd_rng_make(0, "test_linear", 0);
    for (int i = 0; !drawn && i < N_NORMAL; i++) pool[i] = sd_rng_normal(&r);
    drawn = true;
    return pool;
}

static float *random_f32(int64_t n, uint64_t seed)
{
    float *x = sd_malloc((size_t)(n ? n : 1) * sizeof *x);
    const uint64_t at = seed * 7919;
    for (int64_t i = 0; i < n; i++) x[i] = normals()[(at + (uint64_t)i) % N_NORMAL];
    return x;
}

/* A weight matrix of some type with random content. Quantised blocks get random bytes and sane scales. */
static void *random_weights(sd_dtype t, int64_t rows, int64_t cols, uint64_t seed)
{
    const sd_dtype_info *info = sd_dtype_get(t);
    const size_t row = sd_dtype_row_bytes(t, cols);
    uint8_t *p = sd_malloc((size_t)rows * row);
    sd_rng r = sd_rng_make(seed, "weights", 0);
    for (size_t i = 0; i < (size_t)rows * row; i++) p[i] = (uint8_t)sd_rng_u32(&r);
    for (int64_t b = 0; b < rows * cols / info->block; b++) {
        uint8_t *q = p + (size_t)b * info->bytes;
        const uint16_t d = sd_f32_to_f16(0.01f + 0.001f * sd_rng_normal(&r)), m = sd_f32_to_f16(-0.07f);
        if (t == SD_F32) {
            const float v = 0.05f * normals()[(seed * 7919 + (uint64_t)b) % N_NORMAL];
            memcpy(q, &v, 4);
        } else if (t == SD_BF16 || t == SD_F16) {
            const float v = 0.05f * normals()[(seed * 7919 + (uint64_t)b) % N_NORMAL];
            const uint16_t h = t == SD_F16 ? sd_f32_to_f16(v) : sd_f32_to_bf16(v);
            memcpy(q, &h, 2);
        } else {
            /* Where a type keeps its f16 scale and minimum (dtype_blocks.h); super-blocks multiply them by up to 63. */
            const int at = t == SD_Q2_K ? 80 : t == SD_Q3_K ? 108 : t == SD_Q6_K ? 208 : 0;
            const bool super = info->block == 256;
            const uint16_t small = sd_f32_to_f16(0.0005f + 0.0001f * sd_rng_normal(&r)), dm = sd_f32_to_f16(0.001f);
            memcpy(q + at, super ? &small : &d, 2);
            if (t == SD_Q4_1 || t == SD_Q5_1) memcpy(q + 2, &m, 2);
            if (t == SD_Q2_K || t == SD_Q4_K || t == SD_Q5_K) memcpy(q + at + 2, &dm, 2);
        }
    }
    return p;
}

/* y = x W^T + b (+ y) in double on decoded weights; *mag gets sum |x w|, the scale of rounding errors. */
static void reference(double *y, double *mag, const sd_wmat *w, const float *bias, const float *x, int64_t n,
                      const float *old)
{
    float *row = sd_malloc((size_t)w->cols * sizeof *row);
    for (int64_t j = 0; j < w->rows; j++) {
        sd_wmat_decode_row(row, w, j);
        for (int64_t i = 0; i < n; i++) {
            double s = 0, a = 0;
            for (int64_t t = 0; t < w->cols; t++) {
                s += (double)x[i * w->cols + t] * row[t];
                a += fabs((double)x[i * w->cols + t] * row[t]);
            }
            y[i * w->rows + j] = s + (bias ? bias[j] : 0) + (old ? old[i * w->rows + j] : 0);
            mag[i * w->rows + j] = a + 1e-30;
        }
    }
    sd_free(row);
}

static sd_linear *linear_of(const sd_exec *ex, const sd_wmat *w, const float *bias, sd_mode mode)
{
    sd_linear *l;
    sd_err err = {0};
    t_ok(sd_linear_new(&l, ex, w, bias, mode, &err), err);
    return l;
}

static void forward(const sd_exec *ex, const sd_linear *l, sd_mat y, sd_mat x, bool acc)
{
    void *scratch = sd_malloc(sd_linear_scratch(l, x.rows));
    sd_linear_fwd(ex, l, y, x, acc, scratch);
    sd_free(scratch);
}

typedef struct shape {
    int64_t n, rows, cols;
} shape;
static const shape shapes[] = {{1, 1, 32},   {1, 33, 64},   {5, 32, 96},    {7, 31, 32},
                               {3, 64, 576}, {13, 97, 160}, {97, 65, 2080}, {1, 200, 4096}, {9, 40, 391}, /* odd */
                               {700, 33, 32}}; /* several blocks of rows */

/* An f32 chain of k roundings errs by at most gamma_k times the sum of magnitudes (Higham 2002, sec. 3.1) and typically
 * by its square root; 4 sqrt(k) u catches any lost term. 3 u more for bias and accumulation. */
static double chain_bound(int64_t k)
{
    return 4 * sqrt((double)k) * 0x1p-24;
}

static void check_close(const float *y, const double *ref, const double *mag, int64_t n, double unit, const char *what)
{
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(y[i] - ref[i]) <= unit * mag[i] + 3 * 0x1p-24 * (fabs(ref[i]) + 3)))
            fail_msg("%s: element %lld is %.9g, reference %.9g, bound %.3g", what, (long long)i, (double)y[i], ref[i],
                     unit * mag[i]);
}

/* Whole numbers of kern_i16.h: a block's largest magnitude is SD_I16_TOP. */
static void on_grid(float *dst, const float *x, int64_t n)
{
    for (int64_t k0 = 0; k0 < n; k0 += SD_I16_BLOCK) {
        const int64_t m = n - k0 < SD_I16_BLOCK ? n - k0 : SD_I16_BLOCK;
        float top = 0;
        for (int64_t i = 0; i < m; i++) top = fmaxf(top, fabsf(x[k0 + i]));
        for (int64_t i = 0; i < m; i++) dst[k0 + i] = top > 0 ? top / SD_I16_TOP * rintf(x[k0 + i] * (SD_I16_TOP / top)) : 0;
    }
}

static bool whole_numbers(const sd_exec *ex, sd_mode used)
{
    return used == SD_MODE_BF16 && sd_kern_i16_select(ex->kern->cpu_flags);
}

/* What the mode makes of the activations, so that the rest is a sum of f32: bf16 rounds them, fast puts them on the
 * grid of a block. */
static void as_seen(float *dst, const float *x, int64_t n, sd_mode mode)
{
    int8_t q[SD_QBLOCK];
    sd_qact act;
    for (int64_t i = 0; i < n; i += mode == SD_MODE_FAST ? SD_QBLOCK : 1) {
        if (mode == SD_MODE_FAITHFUL) dst[i] = x[i];
        if (mode == SD_MODE_BF16) dst[i] = sd_bf16_to_f32(sd_f32_to_bf16(x[i]));
        if (mode != SD_MODE_FAST) continue;
        sd_kern_select(0)->quantise(q, &act, x + i, 1);
        for (int t = 0; t < SD_QBLOCK; t++) dst[i + t] = act.d * (float)q[t];
    }
}

typedef struct problem {
    sd_wmat w;
    void *data;
    float *x, *seen, *bias, *old, *y, *y2;
    double *ref, *mag;
    int64_t n;
} problem;

static problem problem_new(sd_dtype t, const shape *s, uint64_t seed)
{
    const size_t ny = (size_t)(s->n * s->rows);
    problem p = {.data = random_weights(t, s->rows, s->cols, seed),
                 .x = random_f32(s->n * s->cols, seed + 1),
                 .n = s->n,
                 .seen = sd_malloc((size_t)(s->n * s->cols) * 4),
                 .bias = random_f32(s->rows, seed + 2),
                 .old = random_f32((int64_t)ny, seed + 3),
                 .y = sd_malloc(ny * 4),
                 .y2 = sd_malloc(ny * 4),
                 .ref = sd_malloc(ny * 8),
                 .mag = sd_malloc(ny * 8)};
    p.w = (sd_wmat){p.data, t, s->rows, s->cols, NULL, 0};
    return p;
}

static void problem_free(problem *p)
{
    sd_free(p->data), sd_free(p->x), sd_free(p->seen), sd_free(p->bias), sd_free(p->old);
    sd_free(p->y), sd_free(p->y2), sd_free(p->ref), sd_free(p->mag);
}

/* bf16 (and what stands in for it) rounds the weights too: the reference reads the same matrix in bf16. */
static void reference_of(const sd_exec *ex, problem *p, sd_mode used, const float *bias, const float *old)
{
    const int64_t n = p->w.rows, k = p->w.cols;
    if (whole_numbers(ex, used)) {
        float *row = sd_malloc((size_t)k * 4), *w = sd_malloc((size_t)(n * k) * 4);
        for (int64_t r = 0; r < p->n; r++) on_grid(p->seen + r * k, p->x + r * k, k);
        for (int64_t r = 0; r < n; r++) {
            sd_wmat_decode_row(row, &p->w, r);
            on_grid(w + r * k, row, k);
        }
        reference(p->ref, p->mag, &(sd_wmat){w, SD_F32, n, k, NULL, 0}, bias, p->seen, p->n, old);
        sd_free(row), sd_free(w);
        return;
    }
    as_seen(p->seen, p->x, p->n * k, used);
    if (used != SD_MODE_BF16) {
        reference(p->ref, p->mag, &p->w, bias, p->seen, p->n, old);
        return;
    }
    float *row = sd_malloc((size_t)p->w.cols * 4);
    uint16_t *b = sd_malloc((size_t)(p->w.rows * p->w.cols) * 2);
    for (int64_t r = 0; r < p->w.rows; r++) {
        sd_wmat_decode_row(row, &p->w, r);
        for (int64_t i = 0; i < p->w.cols; i++) b[r * p->w.cols + i] = sd_f32_to_bf16(row[i]);
    }
    reference(p->ref, p->mag, &(sd_wmat){b, SD_BF16, p->w.rows, p->w.cols, NULL, 0}, bias, p->seen, p->n, old);
    sd_free(row), sd_free(b);
}

static const char *const levels[] = {"ref", "avx2", "avx512", "amx"};
enum { N_LEVELS = 4 };
static const sd_dtype types[] = {SD_F32, SD_F16, SD_BF16, SD_Q4_0, SD_Q4_1, SD_Q8_0, SD_Q5_0, SD_Q5_1, SD_IQ4_NL,
                                 SD_Q2_K, SD_Q3_K, SD_Q4_K, SD_Q5_K, SD_Q6_K, SD_IQ4_XS};
/* The shape with rows of whole blocks of the type. */
static shape whole(const shape *s, sd_dtype t)
{
    const int64_t block = sd_dtype_get(t)->block;
    return (shape){s->n, s->rows, (s->cols + block - 1) / block * block};
}
static const sd_mode modes[] = {SD_MODE_FAITHFUL, SD_MODE_BF16, SD_MODE_FAST};

static void check_values(const sd_exec *ex, const char *level, sd_dtype t, sd_mode mode, const shape *s)
{
    problem p = problem_new(t, s, 3);
    int32_t *perm = sd_malloc((size_t)s->rows * sizeof *perm);
    char what[160];
    for (int64_t i = 0; i < s->rows; i++) perm[i] = (int32_t)(s->rows - 1 - i);
    const int step = s->rows * s->cols > 50000 ? 7 : 1; /* the large shapes with all or nothing */
    for (int v = 0; v < 8; v += step) {                  /* bias, accumulate, row order */
        const float *bias = v & 1 ? p.bias : NULL, *old = v & 2 ? p.old : NULL;
        p.w.perm = v & 4 ? perm : NULL;
        sd_linear *l = linear_of(ex, &p.w, bias, mode);
        memcpy(p.y, p.old, (size_t)(s->n * s->rows) * 4);
        forward(ex, l, sd_mat_of(p.y, s->n, s->rows), sd_mat_of(p.x, s->n, s->cols), old != NULL);
        reference_of(ex, &p, sd_linear_mode(l), bias, old);
        snprintf(what, sizeof what, "%s %s %s as %s, n=%lld rows=%lld cols=%lld variant %d", level,
                 sd_dtype_get(t)->name, sd_mode_name(mode), sd_mode_name(sd_linear_mode(l)), (long long)s->n,
                 (long long)s->rows, (long long)s->cols, v);
        check_close(p.y, p.ref, p.mag, s->n * s->rows, chain_bound(s->cols), what);
        sd_linear_free(l);
    }
    sd_free(perm);
    problem_free(&p);
}

static void every_mode_is_close(void **state)
{
    (void)state;
    for (size_t c = 0; c < N_LEVELS; c++) {
        const sd_exec ex = exec_of(levels[c], 1);
        if (!ex.kern) printf("skip: this CPU has no %s\n", levels[c]);
        for (size_t i = 0; ex.kern && i < sizeof shapes / sizeof *shapes; i++)
            for (size_t t = 0; t < sizeof types / sizeof *types; t++)
                for (size_t m = 0; m < 3; m++)
                    if ((i < 5 && (t < 6 || m == 2)) || (t >= 3 && m == 2 && (c > 0 || t < 6)) || (t < 3 && i == 8) || t == 0)
                        check_values(&ex, levels[c], types[t], modes[m], &(shape[]){whole(&shapes[i], types[t])}[0]);
    }
}

static void modes_say_what_they_are(void **state)
{
    static const struct {
        sd_dtype t;
        sd_mode asked;
        int64_t stored_cols;
        sd_mode with_bf16, without;
    } cases[] = {
        {SD_F32, SD_MODE_DEFAULT, 0, SD_MODE_FAITHFUL, SD_MODE_FAITHFUL},
        {SD_Q4_1, SD_MODE_FAITHFUL, 0, SD_MODE_FAITHFUL, SD_MODE_FAITHFUL},
        {SD_BF16, SD_MODE_FAITHFUL, 0, SD_MODE_FAITHFUL, SD_MODE_FAITHFUL},
        {SD_Q4_1, SD_MODE_BF16, 0, SD_MODE_BF16, SD_MODE_FAITHFUL},
        {SD_Q4_1, SD_MODE_FAST, 0, SD_MODE_FAST, SD_MODE_FAST},
        {SD_Q4_0, SD_MODE_FAST, 0, SD_MODE_FAST, SD_MODE_FAST},
        {SD_Q8_0, SD_MODE_FAST, 0, SD_MODE_FAST, SD_MODE_FAST},
        {SD_F32, SD_MODE_FAST, 0, SD_MODE_BF16, SD_MODE_FAITHFUL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t c = 0; c < N_LEVELS; c++) {
            const sd_exec ex = exec_of(levels[c], 1);
            if (!ex.kern) continue;
            void *data = random_weights(cases[i].t, 40, 64, 1);
            sd_linear *l =
                linear_of(&ex, &(sd_wmat){data, cases[i].t, 40, 64, NULL, cases[i].stored_cols}, NULL, cases[i].asked);
            const bool bf16 = ex.kern->cpu_flags & SD_CPU_AVX512_BF16 || sd_kern_i16_select(ex.kern->cpu_flags);
            assert_int_equal(sd_linear_mode(l), bf16 ? cases[i].with_bf16 : cases[i].without);
            assert_true(sd_linear_bytes(l) >= sd_linear_read_bytes(l));
            /* 64 padded outputs of 64 inputs, 5 bits each and so on */
            if (cases[i].t == SD_Q4_1 && cases[i].asked == SD_MODE_FAST)
                assert_int_equal(sd_linear_read_bytes(l), 64 * 64 * 5 / 8);
            if (cases[i].asked == SD_MODE_FAITHFUL) assert_int_equal(sd_linear_read_bytes(l), 64 * 64 * (cases[i].t == SD_BF16 ? 2 : 4)); /* bf16 stays it */
            sd_linear_free(l);
            sd_free(data);
        }
    assert_string_equal(sd_mode_name(SD_MODE_FAST), "fast");
}

/* Rows one by one, in odd pieces, with 1, 2, 3 threads: the same bits as all at once; and across levels where the
 * contract says. */
static void bits_do_not_depend_on_the_way(void **state)
{
    static const shape base = {101, 40, 2144}; /* two row tiles, two panels, ragged; more than one piece of k */
    static const int64_t pieces[] = {101, 1, 5, 13, 97};
    (void)state;
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        for (size_t m = 0; m < 3; m++) {
            if (t >= 6 && m != 2) continue; /* the other modes only decode: a type is like another */
            const shape s = whole(&base, types[t]);
            problem p = problem_new(types[t], &s, 9);
            const size_t ny = (size_t)(s.n * s.rows);
            bool have = false;
            for (size_t c = N_LEVELS; c-- > 0;) {
                const sd_exec first = exec_of(levels[c], 1);
                if (!first.kern || (c == 0 && t % 3 != 1)) continue; /* plain C takes its time */
                sd_linear *l = linear_of(&first, &p.w, p.bias, modes[m]);
                const bool across = sd_linear_mode(l) != SD_MODE_BF16;
                for (int threads = 1; threads <= 3; threads++)
                    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
                        const sd_exec ex = exec_of(levels[c], threads);
                        float *y = have ? p.y2 : p.y;
                        if ((c == 0 && i > 1) || (threads > 1 && i > 0 && i != 3)) continue;
                        for (int64_t r = 0; r < s.n; r += pieces[i]) {
                            const int64_t n = s.n - r < pieces[i] ? s.n - r : pieces[i];
                            forward(&ex, l, sd_mat_of(y + r * s.rows, n, s.rows),
                                    sd_mat_of(p.x + r * s.cols, n, s.cols), false);
                        }
                        if (have && memcmp(p.y, p.y2, ny * 4) != 0) {
                            const sd_diff d = sd_diff_f32(p.y2, p.y, (int64_t)ny);
                            fail_msg("%s %s %s threads %d pieces %lld: other bits, e.g. [%lld] %.9g / %.9g", levels[c],
                                     sd_dtype_get(types[t])->name, sd_mode_name(modes[m]), threads,
                                     (long long)pieces[i], (long long)d.worst, d.a_worst, d.b_worst);
                        }
                        have = true;
                    }
                if (!across) have = false; /* below, the mode falls back to f32 */
                sd_linear_free(l);
            }
            problem_free(&p);
        }
}

/* prepare once, run for several matrices of the same width = fwd of each. */
static void prepare_serves_several(void **state)
{
    (void)state;
    const sd_exec ex = exec_of(NULL, 2);
    for (size_t m = 0; m < 3; m++) {
        problem a = problem_new(SD_Q4_1, &(shape){9, 70, 96}, 1), b = problem_new(SD_Q4_1, &(shape){9, 33, 96}, 2);
        sd_linear *la = linear_of(&ex, &a.w, NULL, modes[m]), *lb = linear_of(&ex, &b.w, NULL, modes[m]);
        void *scratch = sd_malloc(sd_linear_scratch(la, 9));
        assert_int_equal(sd_linear_scratch(la, 9), sd_linear_scratch(lb, 9));
        sd_mat x = sd_mat_of(a.x, 9, 96);
        sd_linear_prepare(&ex, la, x, scratch);
        sd_linear_run(&ex, la, sd_mat_of(a.y, 9, 70), x, false, scratch);
        sd_linear_run(&ex, lb, sd_mat_of(b.y, 9, 33), x, false, scratch);
        forward(&ex, la, sd_mat_of(a.y2, 9, 70), sd_mat_of(a.x, 9, 96), false);
        forward(&ex, lb, sd_mat_of(b.y2, 9, 33), sd_mat_of(a.x, 9, 96), false);
        assert_memory_equal(a.y, a.y2, 9 * 70 * 4);
        assert_memory_equal(b.y, b.y2, 9 * 33 * 4);
        sd_free(scratch);
        sd_linear_free(la), sd_linear_free(lb);
        problem_free(&a), problem_free(&b);
    }
}

/* Gate, up, function and rounding in one pass leave the next layer what they leave as steps of their own. */
static void check_glu(const sd_exec *ex, sd_dtype t, sd_mode mode, int64_t n, int64_t ffn, bool gated)
{
    enum { D = 64, OUT = 40 };
    const sd_nonlin f = gated && n % 2 ? SD_NONLIN_SILU : SD_NONLIN_GELU_TANH;
    problem g = problem_new(t, &(shape){n, ffn, D}, 1), u = problem_new(t, &(shape){n, ffn, D}, 2), d = problem_new(t, &(shape){n, OUT, ffn}, 3);
    sd_linear *gate = linear_of(ex, &g.w, g.bias, mode), *up = linear_of(ex, &u.w, NULL, mode), *down = linear_of(ex, &d.w, d.bias, mode);
    void *scratch = sd_malloc(sd_linear_scratch(gate, n)), *next = sd_malloc(sd_linear_scratch(down, n));
    const sd_linear_glu all = {gate, gated ? up : NULL, down, f};
    const sd_mat x = sd_mat_of(g.x, n, D), z = sd_mat_of(g.y, n, ffn), z2 = sd_mat_of(g.y2, n, ffn), none = {0};
    sd_linear_prepare(ex, gate, x, scratch);
    sd_linear_run(ex, gate, z, x, false, scratch);
    if (gated) sd_linear_run(ex, up, sd_mat_of(u.y, n, ffn), x, false, scratch);
    sd_nonlin_mul(ex, f, z, z, gated ? sd_mat_of(u.y, n, ffn) : none);
    forward(ex, down, sd_mat_of(d.y, n, OUT), z, false);
    assert_int_equal(sd_linear_glu_fits(&all, n), !whole_numbers(ex, sd_linear_mode(down)));
    if (sd_linear_glu_fits(&all, n)) {
        sd_linear_run_glu(ex, &all, z2, x, scratch, next);
        sd_linear_run(ex, down, sd_mat_of(d.y2, n, OUT), z2, false, next);
        assert_memory_equal(d.y, d.y2, (size_t)(n * OUT) * 4);
    }
    sd_free(scratch), sd_free(next);
    sd_linear_free(gate), sd_linear_free(up), sd_linear_free(down);
    problem_free(&g), problem_free(&u), problem_free(&d);
}

static void one_pass_equals_steps(void **state)
{
    (void)state;
    for (int v = 0; v < N_LEVELS; v++) {
        const sd_exec ex = exec_of(levels[v], 2);
        if (!ex.kern) continue;
        for (int m = 0; m < 3; m++)
            for (int64_t n = 17; n < 500; n = 3 * n + 1) {
                check_glu(&ex, SD_Q4_1, modes[m], n, 96, n % 4 > 0);
                check_glu(&ex, SD_F32, modes[m], n, 71, n % 4 > 0);
            }
        check_glu(&ex, SD_Q8_0, SD_MODE_FAST, 385, 160, true);
    }
    /* Few rows, and weights that are not packed, are not for it. */
    const sd_exec ex = exec_of(NULL, 2);
    problem p = problem_new(SD_Q4_1, &(shape){1, 64, 64}, 1);
    sd_linear_pool pool = {0};
    sd_err err = {0};
    sd_linear *l = linear_of(&ex, &p.w, NULL, SD_MODE_FAST), *unpacked;
    t_ok(sd_linear_new_within(&unpacked, &ex, &p.w, NULL, &pool, SD_MODE_FAST, &err), err);
    assert_true(sd_linear_glu_fits(&(sd_linear_glu){l, l, l, SD_NONLIN_SILU}, 17));
    assert_false(sd_linear_glu_fits(&(sd_linear_glu){l, l, l, SD_NONLIN_SILU}, 16));
    assert_false(sd_linear_glu_fits(&(sd_linear_glu){l, unpacked, l, SD_NONLIN_SILU}, 17));
    assert_false(sd_linear_glu_fits(&(sd_linear_glu){unpacked, NULL, l, SD_NONLIN_SILU}, 17));
    sd_linear_free(l), sd_linear_free(unpacked);
    sd_linear_pool_release(&pool);
    problem_free(&p);
}

/* In a pool the second product packs; over the budget nothing does; and every panel on its way gives the bits of ones packed at once. */
static void streamed_equals_packed(void **state)
{
    static const sd_dtype ts[] = {SD_F32, SD_BF16, SD_Q4_1, SD_Q5_K};
    (void)state;
    for (size_t t = 0; t < 4; t++)
        for (size_t m = 0; m < 3; m++)
            for (int threads = 1; threads <= 3; threads++) {
                const sd_exec ex = exec_of(NULL, 3), fewer = exec_of(NULL, threads);
                problem p = problem_new(ts[t], &(shape){101, 70, 256}, 21); /* two row tiles, a ragged panel */
                size_t need = sd_linear_plan_bytes(&p.w, modes[m], ex.kern->cpu_flags);
                sd_linear_pool pool = {.left = need};
                sd_linear *packed, *streamed;
                sd_err err = {0};
                t_ok(sd_linear_new_within(&packed, &ex, &p.w, p.bias, &pool, modes[m], &err), err);
                assert_int_equal(pool.left, 0);
                assert_false(sd_linear_is_streamed(packed));
                pool.left = need - 1;
                t_ok(sd_linear_new_within(&streamed, &ex, &p.w, p.bias, &pool, modes[m], &err), err);
                assert_int_equal(pool.left, need - 1);
                assert_true(sd_linear_is_streamed(streamed) && sd_linear_bytes(streamed) < 2048);
                sd_linear *at_once = linear_of(&ex, &p.w, p.bias, modes[m]);
                for (int turn = 0; turn < 6; turn++) { /* packed: from its third turn on, and left by its second one */
                    const int64_t n = turn % 2 ? 101 : 1;
                    sd_mat x = sd_mat_of(p.x, n, 256), want = sd_mat_of(p.y, n, 70), got = sd_mat_of(p.y2, n, 70);
                    forward(&fewer, at_once, want, x, false);
                    forward(&fewer, packed, got, x, false);
                    assert_memory_equal(p.y, p.y2, (size_t)(n * 70) * 4);
                    assert_int_equal(atomic_load(&packed->state), turn == 0 ? SD_LINEAR_USED : SD_LINEAR_PACKED);
                    forward(&fewer, streamed, got, x, false);
                    assert_memory_equal(p.y, p.y2, (size_t)(n * 70) * 4);
                    assert_int_equal(atomic_load(&streamed->state), SD_LINEAR_FRESH);
                }
                assert_memory_equal(packed->packed, at_once->packed, need);
                sd_linear_free(packed), sd_linear_free(streamed), sd_linear_free(at_once);
                sd_linear_pool_release(&pool);
                problem_free(&p);
            }
}

typedef struct crowd { const sd_linear *l; const problem *p; float *y; } crowd;

static void *multiply_often(void *arg)
{
    const crowd *c = arg;
    const sd_exec ex = exec_of(NULL, 1);
    for (int i = 0; i < 8; i++) forward(&ex, c->l, sd_mat_of(c->y, 5, 70), sd_mat_of(c->p->x, 5, 256), false);
    return NULL;
}

/* Sessions of one model step at the same time: one product fills the pool, the others pack for themselves. */
static void packing_meets_other_products(void **state)
{
    enum { CROWD = 4 };
    (void)state;
    for (int again = 0; again < 20; again++) {
        const sd_exec ex = exec_of(NULL, 1);
        problem p = problem_new(SD_F32, &(shape){5, 70, 256}, 4);
        sd_linear_pool pool = {.left = sd_linear_plan_bytes(&p.w, SD_MODE_FAITHFUL, ex.kern->cpu_flags)};
        sd_linear *l, *at_once = linear_of(&ex, &p.w, p.bias, SD_MODE_FAITHFUL);
        sd_err err = {0};
        pthread_t thread[CROWD];
        crowd c[CROWD];
        t_ok(sd_linear_new_within(&l, &ex, &p.w, p.bias, &pool, SD_MODE_FAITHFUL, &err), err);
        for (int i = 0; i < CROWD; i++) {
            c[i] = (crowd){l, &p, sd_malloc(5 * 70 * 4)};
            assert_int_equal(pthread_create(&thread[i], NULL, multiply_often, &c[i]), 0);
        }
        forward(&ex, at_once, sd_mat_of(p.y, 5, 70), sd_mat_of(p.x, 5, 256), false);
        for (int i = 0; i < CROWD; i++) {
            assert_int_equal(pthread_join(thread[i], NULL), 0);
            assert_memory_equal(c[i].y, p.y, 5 * 70 * 4);
            sd_free(c[i].y);
        }
        assert_int_equal(atomic_load(&l->state), SD_LINEAR_PACKED);
        assert_memory_equal(l->packed, at_once->packed, (size_t)l->n_panel * l->panel_bytes);
        sd_linear_free(l), sd_linear_free(at_once);
        sd_linear_pool_release(&pool);
        problem_free(&p);
    }
}

/* Strided x and y; what lies between the rows stays. */
static void strides_are_kept(void **state)
{
    (void)state;
    const sd_exec ex = exec_of(NULL, 2);
    for (size_t m = 0; m < 3; m++)
        for (int acc = 0; acc < 2; acc++) {
            problem p = problem_new(SD_Q8_0, &(shape){7, 45, 64}, 1);
            sd_linear *l = linear_of(&ex, &p.w, p.bias, modes[m]);
            float *x = random_f32(7 * 71, 8), *y = random_f32(7 * 50, 9), *y0 = sd_malloc(7 * 50 * 4);
            void *scratch = sd_malloc(sd_linear_scratch(l, 7));
            memcpy(y0, y, 7 * 50 * 4);
            for (int i = 0; i < 7; i++) {
                memcpy(x + i * 71, p.x + i * 64, 64 * 4);
                memcpy(p.y + i * 45, y + i * 50, 45 * 4);
            }
            sd_linear_fwd(&ex, l, (sd_mat){y, 7, 45, 50}, (sd_mat){x, 7, 64, 71}, acc, scratch);
            forward(&ex, l, sd_mat_of(p.y, 7, 45), sd_mat_of(p.x, 7, 64), acc);
            for (int i = 0; i < 7; i++) {
                assert_memory_equal(y + i * 50, p.y + i * 45, 45 * 4);
                assert_memory_equal(y + i * 50 + 45, y0 + i * 50 + 45, 5 * 4);
            }
            sd_free(x), sd_free(y), sd_free(y0), sd_free(scratch);
            sd_linear_free(l);
            problem_free(&p);
        }
}

/* int8 activations against exact ones: each is off by at most d/2, so the product by at most sum |w| d/2 over its
 * blocks. */
static void fast_errs_within_its_grid(void **state)
{
    (void)state;
    const sd_exec ex = exec_of(NULL, 2);
    enum { COLS = 768 }; /* a multiple of every block */
    for (size_t t = 3; t < sizeof types / sizeof *types; t++) {
        problem p = problem_new(types[t], &(shape){8, 96, COLS}, 77);
        sd_linear *l = linear_of(&ex, &p.w, NULL, SD_MODE_FAST);
        float row[COLS];
        forward(&ex, l, sd_mat_of(p.y, 8, 96), sd_mat_of(p.x, 8, COLS), false);
        reference(p.ref, p.mag, &p.w, NULL, p.x, 8, NULL);
        for (int64_t j = 0; j < 96; j++) {
            sd_wmat_decode_row(row, &p.w, j);
            for (int64_t i = 0; i < 8; i++) {
                double bound = 0;
                for (int64_t b = 0; b < COLS; b += SD_QBLOCK) {
                    float top = 0, sum = 0;
                    for (int64_t k = b; k < b + SD_QBLOCK; k++)
                        top = fmaxf(top, fabsf(p.x[i * COLS + k])), sum += fabsf(row[k]);
                    bound += 0.5001 * (double)(top / 127) * (double)sum;
                }
                assert_true(fabs(p.y[i * 96 + j] - p.ref[i * 96 + j]) <= bound + chain_bound(COLS) * p.mag[i * 96 + j]);
            }
        }
        sd_linear_free(l);
        problem_free(&p);
    }
}

static void nan_and_infinity_show(void **state)
{
    (void)state;
    for (size_t c = 0; c < N_LEVELS; c++)
        for (size_t m = 0; m < 3; m++)
            for (int bad = 0; bad < 2; bad++) {
                const sd_exec ex = exec_of(levels[c], 1);
                if (!ex.kern) continue;
                problem p = problem_new(SD_Q4_0, &(shape){3, 40, 96}, 5);
                sd_linear *l = linear_of(&ex, &p.w, NULL, modes[m]);
                p.x[96 + 50] = bad ? NAN : INFINITY;
                forward(&ex, l, sd_mat_of(p.y, 3, 40), sd_mat_of(p.x, 3, 96), false);
                for (int64_t j = 0; j < 40; j++) {
                    assert_true(!isfinite(p.y[40 + j]));
                    assert_true(isfinite(p.y[j]) && isfinite(p.y[80 + j]));
                }
                sd_linear_free(l);
                problem_free(&p);
            }
}

static void refuses_what_it_cannot(void **state)
{
    static const float w[64] = {0};
    static const sd_wmat bad[] = {{w, SD_I32, 2, 4, NULL, 0},
                                  {w, SD_F32, 0, 4, NULL, 0},
                                  {w, SD_F32, 2, 0, NULL, 0},
                                  {w, SD_Q4_1, 1, 33, NULL, 0},
                                  {w, SD_F32, INT64_MAX / 4, INT64_MAX / 4, NULL, 0}};
    static const sd_status want[] = {SD_E_UNSUPPORTED, SD_E_SHAPE, SD_E_SHAPE, SD_E_SHAPE, SD_E_NOMEM};
    const sd_exec ex = exec_of(NULL, 2);
    (void)state;
    for (size_t i = 0; i < 5; i++) {
        sd_linear *l = (sd_linear *)(uintptr_t)&ex;
        sd_err err = {0};
        assert_int_equal(sd_linear_new(&l, &ex, &bad[i], NULL, SD_MODE_FAITHFUL, &err), want[i]);
        assert_null(l);
        assert_true(strlen(err.msg) > 20);
    }
    sd_linear_free(NULL);
}

/* ---- sd_gemm_nt, which calls oneDNN ---- */

static void gemm_is_close(void **state)
{
    static const shape gs[] = {
        {1, 1, 1}, {3, 5, 7}, {0, 4, 4}, {193, 385, 65}, {200, 400, 577}}; /* tiles are 192 x 384 */
    (void)state;
    for (size_t i = 0; i < 5; i++)
        for (int level = 0; level < 2; level++) {
            float *first = NULL;
            for (int threads = 1; threads <= 3; threads++) {
                sd_exec *ex;
                sd_err err = {0};
                t_ok(sd_exec_new(&ex, &(sd_exec_opt){level ? NULL : "ref", threads}, &err), err);
                const shape *s = &gs[i];
                problem p = problem_new(SD_F32, &(shape){s->n, s->rows, s->cols}, 4);
                sd_gemm_nt(ex, sd_mat_of(p.y, s->n, s->rows), sd_mat_of(p.x, s->n, s->cols),
                           sd_mat_of(p.data, s->rows, s->cols));
                reference(p.ref, p.mag, &p.w, NULL, p.x, s->n, NULL);
                check_close(p.y, p.ref, p.mag, s->n * s->rows, chain_bound(s->cols), "sd_gemm_nt");
                if (first)
                    assert_memory_equal(first, p.y, (size_t)(s->n * s->rows) * 4);
                else
                    first = p.y, p.y = NULL;
                problem_free(&p);
                sd_exec_free(ex);
            }
            sd_free(first);
        }
}

static void exec_refuses(void **state)
{
    sd_exec *ex, *other;
    sd_err err = {0};
    (void)state;
    assert_int_equal(sd_exec_new(&ex, &(sd_exec_opt){"sse9", 0}, &err), SD_E_ARG);
    assert_non_null(strstr(err.msg, "sse9"));
    assert_int_equal(sd_exec_new(&ex, &(sd_exec_opt){NULL, -1}, &err), SD_E_ARG);
    assert_null(ex);
    t_ok(sd_exec_new(&ex, NULL, &err), err);
    assert_true(ex->n_threads >= 1 && ex->kern);
    if (ex->cpu.flags & SD_CPU_AVX512) {
        assert_int_equal(sd_exec_new(&other, &(sd_exec_opt){"avx2", 1}, &err), SD_E_ARG);
        assert_non_null(strstr(err.hint, "--cpu"));
    }
    t_ok(sd_exec_new(&other, &(sd_exec_opt){"ref", 1}, &err), err);
    sd_exec_free(other);
    sd_exec_free(ex);
}

/* ---- bench ---- */

/* Seconds of the fastest of many products; `copies` matrices in turn, so that with many the weights come from memory.
 */
static double time_product(const sd_exec *ex, sd_linear *const *l, int copies, sd_mat y, sd_mat x, void *scratch)
{
    double best = 1e9;
    const double until = sd_now() + 0.5;
    const int inner = copies > 1 ? copies : y.rows * y.cols * x.cols < 50000000 ? 20 : 1;
    do {
        const double t0 = sd_now();
        for (int i = 0; i < inner; i++) sd_linear_fwd(ex, l[i % copies], y, x, false, scratch);
        const double t = (sd_now() - t0) / inner;
        if (t < best) best = t;
    } while (sd_now() < until);
    return best;
}

static int bench(const char *level)
{
    static const shape bs[] = {{512, 1536, 576}, {512, 576, 1536}, {64, 1536, 576}, {16, 1536, 576},
                               {4, 1536, 576},   {1, 1536, 576},   {1, 576, 576},   {1, 192, 576}};
    static const sd_dtype bt[] = {SD_F32, SD_BF16, SD_Q4_0, SD_Q4_1, SD_Q8_0, SD_Q5_0, SD_Q5_1, SD_IQ4_NL,
                                  SD_Q2_K, SD_Q3_K, SD_Q4_K, SD_Q5_K, SD_Q6_K, SD_IQ4_XS};
    enum { MANY = 160 }; /* of 1536 x 576 in 5 bits: 88 MB, above any L3 here */
    const sd_exec ex = exec_of(level, sd_par_hw_threads());
    if (!ex.kern) return 1;
    printf("%s, %s, %d threads\n%-6s %-9s %18s %10s %10s %8s\n", ex.cpu.name, sd_cpu_level(&ex.cpu), ex.n_threads,
           "type", "mode", "n x rows x cols", "us", "GFLOP/s", "GB/s");
    for (size_t t = 0; t < sizeof bt / sizeof *bt; t++)
        for (size_t i = 0; i <= sizeof bs / sizeof *bs; i++) {
            const bool cold = i == sizeof bs / sizeof *bs;
            const shape fits = whole(cold ? &bs[5] : &bs[i], bt[t]), *s = &fits;
            const int copies = cold ? (t < 2 ? MANY / 4 : MANY) : 1;
            problem p = problem_new(bt[t], s, 1);
            sd_linear *l[MANY];
            for (int c = 0; c < copies; c++)
                l[c] = linear_of(&ex, &p.w, NULL, t == 0 ? SD_MODE_FAITHFUL : t == 1 ? SD_MODE_BF16 : SD_MODE_FAST);
            void *scratch = sd_malloc(sd_linear_scratch(l[0], s->n));
            const double sec =
                time_product(&ex, l, copies, sd_mat_of(p.y, s->n, s->rows), sd_mat_of(p.x, s->n, s->cols), scratch);
            printf("%-6s %-9s %5lld x %4lld x %4lld%s %10.1f %10.0f %8.1f\n", sd_dtype_get(bt[t])->name,
                   sd_mode_name(sd_linear_mode(l[0])), (long long)s->n, (long long)s->rows, (long long)s->cols,
                   cold ? "*" : " ", sec * 1e6, 2e-9 * (double)(s->n * s->rows * s->cols) / sec,
                   1e-9 * (double)sd_linear_read_bytes(l[0]) / sec);
            for (int c = 0; c < copies; c++) sd_linear_free(l[c]);
            sd_free(scratch);
            problem_free(&p);
        }
    printf("* weights from memory\n");
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {T(every_mode_is_close),
                                       T(modes_say_what_they_are),
                                       T(bits_do_not_depend_on_the_way),
                                       T(prepare_serves_several), T(one_pass_equals_steps),
                                       T(streamed_equals_packed), T(packing_meets_other_products),
                                       T(strides_are_kept),
                                       T(fast_errs_within_its_grid),
                                       T(nan_and_infinity_show),
                                       T(refuses_what_it_cannot),
                                       T(gemm_is_close),
                                       T(exec_refuses)};
    if (argc > 1 && strcmp(argv[1], "--bench") == 0) return bench(argc > 2 ? argv[2] : NULL);
#ifdef __SANITIZE_THREAD__
    /* tools/run-tests holds OpenMP to one thread there, so that the others are serial and have nothing to race with: fifteen minutes for nothing. */
    const struct CMUnitTest threaded[] = {T(packing_meets_other_products)};
    (void)tests;
    printf("skip: under ThreadSanitizer test_linear runs only what starts threads of its own\n");
    return cmocka_run_group_tests(threaded, NULL, NULL) ? 1 : 0;
#endif
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
