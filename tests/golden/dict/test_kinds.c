/* Loss and gradients of every kind that is trained, against PyTorch's (tests/interop/dict_kinds.py made the files), by sparse and by
 * dense products; and both ways against each other where blocks and tiles are not full. SONDE_DICT_KINDS names other files. */
#include "t.h"

#include "dict/dict_train_int.h"
#include "dict/dict_trans_int.h"
#include "file/weights.h"
#include "num/stats.h"

#include <math.h>
#include <unistd.h>

static sd_exec *ex;

static const void *tensor(const sd_weights *w, const char *name, int64_t n)
{
    const sd_tensor *t = sd_weights_find(w, name);
    if (!t) fail_msg("%s has no %s", sd_weights_path(w), name);
    assert_int_equal(t->dim[0] * (t->rank > 1 ? t->dim[1] : 1), n);
    return t->data;
}

/* Sums of up to some hundred f32 products in another order: 1e-6 of the largest element; one wrong entry is 1e-3 of it. */
static const double TOL = 1e-5;

static void same(const float *got, const float *want, int64_t n, const char *kind, const char *what, bool dense)
{
    const sd_diff d = sd_diff_f32(got, want, n);
    if (!(d.rel <= TOL) || d.n_nonfinite)
        fail_msg("%s, %s products: %s differs by %g of the largest at %lld: %g, %g", kind, dense ? "dense" : "sparse", what, d.rel, (long long)d.worst, d.a_worst, d.b_worst);
}

static sd_dict_train *make(sd_dict_kind kind, int64_t n, int64_t d, int64_t m, const double setting[3], const float *x)
{
    sd_err err = {0};
    sd_dict_train *t;
    const sd_dict_train_opt o = {.kind = kind, .d = d, .m = m, .k = (int)setting[0], .batch = n, .n_tokens = n * 100, .aux_alpha = -1,
                                 .sparsity = setting[1], .bandwidth = setting[2]};
    sd_mat rows = sd_mat_of(sd_malloc((size_t)(n * d) * 4), n, d);
    memcpy(rows.data, x, (size_t)(n * d) * 4);
    t_ok(sd_dict_train_new(&t, ex, &o, &err), err);
    t_ok(sd_dict_train_calibrate(t, ex, rows, &err), err);
    sd_free(rows.data);
    memset(t->mean, 0, (size_t)d * 4);
    t->scale = 1;
    return t;
}

static sd_train_tap tap_new(int64_t m, int64_t d)
{
    return (sd_train_tap){sd_calloc((size_t)(m * d) * 4), sd_calloc((size_t)(m * d) * 4), sd_calloc((size_t)m * 4), sd_calloc((size_t)d * 4),
                          {sd_calloc((size_t)m * 4), sd_calloc((size_t)m * 4)}};
}
static void tap_free(sd_train_tap *p)
{
    sd_free(p->W), sd_free(p->D), sd_free(p->b), sd_free(p->bd), sd_free(p->own[0]), sd_free(p->own[1]);
}

static void one_file(sd_dict_kind kind, const char *name)
{
    const char *dir = getenv("SONDE_DICT_KINDS");
    char path[1024];
    sd_err err = {0};
    sd_weights *w;
    snprintf(path, sizeof path, "%s/%s.safetensors", dir ? dir : "tests/data/dict_kinds", name);
    t_ok(sd_weights_open(&w, path, &err), err);
    const sd_tensor *xt = sd_weights_find(w, "x"), *wt = sd_weights_find(w, "W_enc");
    const int64_t n = xt->dim[0], d = xt->dim[1], m = wt->dim[0];
    const float *x = xt->data;
    sd_dict_train *t = make(kind, n, d, m, tensor(w, "setting", 3), x);
    sd_dict_train_set_weights(t, wt->data, tensor(w, "W_dec", m * d), tensor(w, "b_enc", m), tensor(w, "b_dec", d));
    for (int i = 0; t->gate && i < SD_GATE_OWN && t->gate->own[i]; i++) memcpy(t->own[i], tensor(w, t->gate->own[i], m), (size_t)m * 4);
    sd_train_tap tap = tap_new(m, d);
    t->tap = &tap;
    for (int dense = 0; dense <= (t->gate != NULL); dense++) {
        sd_dict_stats st;
        float *copy = sd_malloc((size_t)(n * d) * 4);
        memcpy(copy, x, (size_t)(n * d) * 4);
        t->sparse = !dense;
        t_ok(sd_dict_train_step(t, ex, sd_mat_of(copy, n, d), &st, &err), err);
        if (t->gate) assert_true(t->sparse); /* the files hold few active features, so the sparse path was taken */
        const double want = *(const double *)tensor(w, "loss", 1);
        if (!(fabs(st.loss - want) <= TOL * want)) fail_msg("%s, %s products: the loss is %.9g, not %.9g", name, dense ? "dense" : "sparse", st.loss, want);
        same(tap.W, tensor(w, "grad.W_enc", m * d), m * d, name, "the gradient of W_enc", dense);
        same(tap.D, tensor(w, "grad.W_dec", m * d), m * d, name, "the gradient of W_dec", dense);
        same(tap.b, tensor(w, "grad.b_enc", m), m, name, "the gradient of b_enc", dense);
        same(tap.bd, tensor(w, "grad.b_dec", d), d, name, "the gradient of b_dec", dense);
        for (int i = 0; t->gate && i < SD_GATE_OWN && t->gate->own[i]; i++) {
            snprintf(path, sizeof path, "grad.%s", t->gate->own[i]);
            same(tap.own[i], tensor(w, path, m), m, name, path, dense);
        }
        sd_free(copy);
    }
    t->tap = NULL;
    tap_free(&tap);
    sd_dict_train_free(t);
    sd_weights_close(w);
}

static void one_kind(sd_dict_kind kind) { one_file(kind, sd_dict_kind_name(kind)); }
static void test_standard(void **s) { (void)s; one_kind(SD_DICT_STANDARD); }
static void test_gated(void **s) { (void)s; one_kind(SD_DICT_GATED); }
static void test_jumprelu(void **s) { (void)s; one_kind(SD_DICT_JUMPRELU); }
static void test_topk(void **s) { (void)s; one_kind(SD_DICT_TOPK); }
static void test_batchtopk(void **s) { (void)s; one_kind(SD_DICT_BATCHTOPK); }
static void test_matryoshka(void **s) { (void)s; one_kind(SD_DICT_MATRYOSHKA); }

/* The rows of two sites side by side through the trainer of batchtopk. */
static void test_crosscoder(void **s) { (void)s; one_file(SD_DICT_BATCHTOPK, "crosscoder"); }

static sd_trans *make_trans(sd_dict_kind kind, const sd_mat xy, int64_t d, int64_t m, int k, int64_t n_tokens)
{
    sd_err err = {0};
    sd_trans *t;
    const sd_dict_train_opt o = {.kind = kind, .d = d, .d_out = xy.cols - d, .m = m, .k = k, .batch = xy.rows, .n_tokens = n_tokens, .lr = 2e-3};
    t_ok(sd_trans_new(&t, ex, &o, &err), err);
    t_ok(sd_trans_calibrate(t, ex, xy, &err), err);
    return t;
}

static void one_transcoder(sd_dict_kind kind)
{
    const char *dir = getenv("SONDE_DICT_KINDS"), *name = sd_dict_kind_name(kind);
    char path[1024];
    sd_err err = {0};
    sd_weights *w;
    snprintf(path, sizeof path, "%s/%s.safetensors", dir ? dir : "tests/data/dict_kinds", name);
    t_ok(sd_weights_open(&w, path, &err), err);
    const sd_tensor *xt = sd_weights_find(w, "x"), *wt = sd_weights_find(w, "W_enc");
    const int64_t n = xt->dim[0], d = wt->dim[1], o = xt->dim[1] - d, m = wt->dim[0];
    const double *setting = tensor(w, "setting", 3);
    float *copy = sd_malloc((size_t)(n * (d + o)) * 4);
    memcpy(copy, xt->data, (size_t)(n * (d + o)) * 4);
    sd_trans *t = make_trans(kind, sd_mat_of(copy, n, d + o), d, m, (int)setting[0], 100 * n);
    memset(t->mean, 0, (size_t)(d + o) * 4);
    t->scale = t->scale_out = 1;
    memcpy(t->W.p, wt->data, (size_t)(m * d) * 4);
    memcpy(t->D.p, tensor(w, "W_dec", m * o), (size_t)(m * o) * 4);
    memcpy(t->b.p, tensor(w, "b_enc", m), (size_t)m * 4);
    memcpy(t->bd.p, tensor(w, "b_dec", o), (size_t)o * 4);
    if (t->skip) memcpy(t->S.p, tensor(w, "W_skip", o * d), (size_t)(o * d) * 4);
    const sd_trans_tap tap = {sd_calloc((size_t)(m * d) * 4), sd_calloc((size_t)(m * o) * 4), sd_calloc((size_t)(o * d) * 4), sd_calloc((size_t)m * 4), sd_calloc((size_t)o * 4)};
    sd_dict_stats st;
    t->tap = &tap;
    t_ok(sd_trans_step(t, ex, sd_mat_of(copy, n, d + o), &st, &err), err);
    const double want = *(const double *)tensor(w, "loss", 1);
    if (!(fabs(st.loss - want) <= TOL * want)) fail_msg("%s: the loss is %.9g, not %.9g", name, st.loss, want);
    same(tap.W, tensor(w, "grad.W_enc", m * d), m * d, name, "the gradient of W_enc", false);
    same(tap.D, tensor(w, "grad.W_dec", m * o), m * o, name, "the gradient of W_dec", false);
    same(tap.b, tensor(w, "grad.b_enc", m), m, name, "the gradient of b_enc", false);
    same(tap.bd, tensor(w, "grad.b_dec", o), o, name, "the gradient of b_dec", false);
    if (t->skip) same(tap.S, tensor(w, "grad.W_skip", o * d), o * d, name, "the gradient of W_skip", false);
    sd_free(tap.W), sd_free(tap.D), sd_free(tap.S), sd_free(tap.b), sd_free(tap.bd), sd_free(copy);
    sd_trans_free(t);
    sd_weights_close(w);
}
static void test_transcoder(void **s) { (void)s; one_transcoder(SD_DICT_TRANSCODER); }
static void test_skip_transcoder(void **s) { (void)s; one_transcoder(SD_DICT_SKIP_TRANSCODER); }

/* --proven is of the run: a trainer that was saved with it multiplies no int8 after it is loaded either, and gives the same bits. */
static void test_transcoder_proven(void **state)
{
    (void)state;
    enum { N = 64, D = 16, O = 12, M = 96, STEPS = 20 };
    sd_err err = {0};
    static float xy[N * (D + O)];
    sd_rng r = sd_rng_make(6, "transcoder", 1);
    for (int i = 0; i < N * (D + O); i++) xy[i] = sd_rng_normal(&r);
    const sd_mat rows = sd_mat_of(xy, N, D + O);
    sd_dict *d[3];
    for (int run = 0; run < 3; run++) { /* int8; proven; proven with a stop */
        const sd_dict_train_opt o = {.kind = SD_DICT_TRANSCODER, .d = D, .d_out = O, .m = M, .k = 3, .batch = N, .n_tokens = N * STEPS, .seed = 2, .proven = run > 0};
        sd_dict_stats st;
        sd_trans *t;
        t_ok(sd_trans_new(&t, ex, &o, &err), err);
        t_ok(sd_trans_calibrate(t, ex, rows, &err), err);
        for (int s = 0; s < STEPS; s++) {
            if (run == 2 && s == 7) {
                char path[64];
                snprintf(path, sizeof path, "/tmp/sonde-test-trans-%d.safetensors", (int)getpid());
                t_ok(sd_trans_save(t, path, &err), err);
                sd_trans_free(t);
                t_ok(sd_trans_load(&t, ex, path, &err), err);
                unlink(path);
            }
            assert_true(!run || !sd_scan_is_int8(t->scan));
            t_ok(sd_trans_step(t, ex, rows, &st, &err), err);
        }
        assert_true(!run || st.n_audited == 0); /* nothing that could miss one */
        t_ok(sd_trans_finish(t, ex, rows, &(sd_dict_info){.model_name = "m"}, &d[run], &err), err);
        sd_trans_free(t);
    }
    for (int f = 0; f < M; f++)
        for (int run = 1; run < 3; run++) {
            assert_memory_equal(sd_dict_enc_row(d[0], f), sd_dict_enc_row(d[run], f), D * 4);
            assert_memory_equal(sd_dict_dec_row(d[0], f), sd_dict_dec_row(d[run], f), O * 4);
        }
    for (int run = 0; run < 3; run++) sd_dict_free(d[run]);
}

/* y = relu(A x) B + (skip) C x is learnt; the finished dictionary, in raw units, gives what training gave; a run saved and restored in the
 * middle gives the same bits, with one thread or two. */
static void test_transcoder_run(void **state)
{
    (void)state;
    enum { N = 256, D = 24, O = 16, H = 12, M = 64, STEPS = 300, K = 4 };
    sd_err err = {0};
    static float xy[N * (D + O)], a[H * D], b[H * O], c[O * D];
    for (sd_dict_kind kind = SD_DICT_TRANSCODER; kind <= SD_DICT_SKIP_TRANSCODER; kind++) {
        sd_rng r = sd_rng_make(5, "transcoder", kind);
        for (int i = 0; i < H * D; i++) a[i] = sd_rng_normal(&r);
        for (int i = 0; i < H * O; i++) b[i] = sd_rng_normal(&r);
        for (int i = 0; i < O * D; i++) c[i] = kind == SD_DICT_SKIP_TRANSCODER ? sd_rng_normal(&r) : 0.0f;
        for (int n = 0; n < N; n++) {
            float *x = xy + n * (D + O), *y = x + D;
            for (int i = 0; i < D; i++) x[i] = sd_rng_normal(&r);
            for (int i = 0; i < O; i++) y[i] = 7.0f;
            for (int h = 0; h < H; h++) {
                float p = -4.0f;
                for (int i = 0; i < D; i++) p += a[h * D + i] * x[i];
                for (int i = 0; i < O && p > 0; i++) y[i] += p * b[h * O + i];
            }
            for (int i = 0; i < O; i++)
                for (int k = 0; k < D; k++) y[i] += c[i * D + k] * x[k];
            for (int i = 0; i < D; i++) x[i] = 3.0f * x[i] + 5.0f;
        }
        const sd_mat rows = sd_mat_of(xy, N, D + O);
        sd_dict *d[2];
        sd_dict_stats st, last;
        for (int again = 0; again < 2; again++) {
            sd_trans *t = make_trans(kind, rows, D, M, K, N * STEPS);
            const bool int8 = sd_scan_is_int8(t->scan);
            for (int s = 0; s < STEPS; s++) {
                if (again && s == STEPS / 2) {
                    char path[64];
                    snprintf(path, sizeof path, "/tmp/sonde-test-trans-%d.safetensors", (int)getpid());
                    t_ok(sd_trans_save(t, path, &err), err);
                    sd_trans_free(t);
                    t_ok(sd_trans_load(&t, ex, path, &err), err);
                    unlink(path);
                }
                ex->n_threads = again ? 1 : 2;
                t_ok(sd_trans_step(t, ex, rows, &st, &err), err);
            }
            ex->n_threads = 2;
            if (int8) assert_true(st.n_audited > STEPS / 16 && st.n_missed == 0); /* a stop must not begin the count anew */
            if (again) assert_memory_equal(&st, &last, sizeof st);
            last = st;
            t->pick.theta = t->pick.cut / 0.9; /* the last step's own smallest value, so that the dictionary chooses what that step chose */
            t_ok(sd_trans_finish(t, ex, rows, &(sd_dict_info){.model_name = "m"}, &d[again], &err), err);
            sd_trans_free(t);
        }
        const sd_dict_info *i = sd_dict_get_info(d[0]);
        /* The last step moved the weights a little after it was measured. */
        if (!(st.fvu < 0.35) || !(fabs(i->fvu - st.fvu) < 0.03 * st.fvu + 1e-3) || !(fabs(i->l0 - K) < 0.1))
            fail_msg("%s: FVU %g in training; FVU %g and L0 %g of the dictionary", sd_dict_kind_name(kind), st.fvu, i->fvu, i->l0);
        assert_int_equal(i->d_out, O);
        assert_true((sd_dict_skip(d[0]) != NULL) == (kind == SD_DICT_SKIP_TRANSCODER));
        for (int f = 0; f < M; f++) {
            assert_memory_equal(sd_dict_enc_row(d[0], f), sd_dict_enc_row(d[1], f), D * 4);
            assert_memory_equal(sd_dict_dec_row(d[0], f), sd_dict_dec_row(d[1], f), O * 4);
        }
        sd_dict_free(d[0]), sd_dict_free(d[1]);
    }
}

static void test_dense_equals_sparse(void **state)
{
    (void)state;
    enum { N = 150, D = 40, M = 700 };
    static const double setting[3] = {4, 0.2, 0.5};
    sd_err err = {0};
    static float x[N * D];
    sd_rng r = sd_rng_make(1, "kinds", 0);
    for (int i = 0; i < N * D; i++) x[i] = sd_rng_normal(&r);
    for (sd_dict_kind kind = SD_DICT_STANDARD; kind <= SD_DICT_JUMPRELU; kind++) {
        sd_dict_train *t = make(kind, N, D, M, setting, x);
        sd_train_tap a = tap_new(M, D), b = tap_new(M, D);
        sd_dict_stats sa, sb;
        for (int f = 0; f < M; f++) { /* 1 % of the pre-activations pass */
            t->b[f] = kind == SD_DICT_JUMPRELU ? 0.0f : -2.4f;
            if (kind == SD_DICT_JUMPRELU) t->own[0][f] = 2.6f;
            if (kind == SD_DICT_GATED) t->own[1][f] = 1.0f;
        }
        t->sparse = true;
        t->tap = &a;
        t_ok(sd_dict_train_step(t, ex, sd_mat_of(x, N, D), &sa, &err), err);
        assert_true(t->sparse && sa.l0 > 1);
        t->sparse = false;
        t->tap = &b;
        t_ok(sd_dict_train_step(t, ex, sd_mat_of(x, N, D), &sb, &err), err);
        assert_true(fabs(sa.loss - sb.loss) < TOL * sa.loss && sa.l0 == sb.l0);
        same(a.W, b.W, M * D, sd_dict_kind_name(kind), "the gradient of W_enc", false);
        same(a.D, b.D, M * D, sd_dict_kind_name(kind), "the gradient of W_dec", false);
        same(a.b, b.b, M, sd_dict_kind_name(kind), "the gradient of b_enc", false);
        same(a.bd, b.bd, D, sd_dict_kind_name(kind), "the gradient of b_dec", false);
        tap_free(&a), tap_free(&b);
        t->tap = NULL;
        sd_dict_train_free(t);
    }
}

/* n k entries of a batch stay, no more and no fewer, unevenly over its rows; also where every value comes many times. */
static void test_batch_choice(void **state)
{
    (void)state;
    enum { N = 130, D = 16, M = 300, K = 3 };
    static const double setting[3] = {K, 0, 0};
    sd_err err = {0};
    static float x[N * D];
    sd_rng r = sd_rng_make(2, "choice", 0);
    for (int i = 0; i < N * D; i++) x[i] = sd_rng_normal(&r) * (float)(1 + i / D % 5); /* rows of different size use different numbers of features */
    sd_dict_train *t = make(SD_DICT_BATCHTOPK, N, D, M, setting, x);
    sd_dict_stats st;
    for (int s = 0; s < 3; s++) {
        t_ok(sd_dict_train_step(t, ex, sd_mat_of(x, N, D), &st, &err), err);
        assert_true(st.l0 == K);
        int64_t least = N, most = 0;
        for (int i = 0; i < N; i++) {
            const int64_t n = t->ptr[i + 1] - t->ptr[i];
            if (n < least) least = n;
            if (n > most) most = n;
        }
        assert_true(least < K && most > K);
    }
    for (int i = D; i < N * D; i++) x[i] = x[i % D]; /* every row the same */
    assert_int_equal(sd_dict_train_step(t, ex, sd_mat_of(x, N, D), &st, &err), SD_OK);
    assert_true(st.l0 == K);
    sd_dict_train_free(t);
}

/* A finished dictionary, in raw units and read back through the encoder, activates what the trainer activated. */
static void test_finish(void **state)
{
    (void)state;
    enum { N = 256, D = 32, M = 300 };
    static const double setting[3] = {5, 0, 0};
    sd_err err = {0};
    static float x[N * D];
    sd_rng r = sd_rng_make(3, "finish", 0);
    for (int i = 0; i < N * D; i++) x[i] = 4.0f + 3.0f * sd_rng_normal(&r);
    for (sd_dict_kind kind = 0; kind < SD_DICT_ENCODER_COUNT; kind++) {
        sd_dict_train *t = make(kind, N, D, M, setting, x);
        sd_dict_stats st;
        sd_dict *d;
        for (int i = 0; i < D; i++) t->mean[i] = 4.0f;
        t->scale = 0.35;
        for (int i = 0; i < 99; i++) t_ok(sd_dict_train_step(t, ex, sd_mat_of(x, N, D), &st, &err), err);
        t->opt.lr = 1e-12; /* the step that counts moves nothing */
        t->opt.rest = SD_REST_SPARSE;
        t->pick.theta = 0;
        t_ok(sd_dict_train_step(t, ex, sd_mat_of(x, N, D), &st, &err), err);
        t_ok(sd_dict_train_finish(t, ex, sd_mat_of(x, N, D), &(sd_dict_info){.model_name = "m"}, &d, &err), err);
        const sd_dict_info *i = sd_dict_get_info(d);
        /* The rounding of another unit may move an entry in a thousand across its threshold. */
        if (!(fabs(i->l0 - st.l0) < 2e-3 * st.l0 + 1.0 / N) || !(fabs(i->fvu - st.fvu) < 2e-3 * st.fvu))
            fail_msg("%s: L0 %g and FVU %g in training, %g and %g of the dictionary", sd_dict_kind_name(kind), st.l0, st.fvu, i->l0, i->fvu);
        sd_dict_free(d);
        sd_dict_train_free(t);
    }
}

/* The values fall by half in the first steps: a short run's threshold is that of its end. */
static void test_short_run(void **state)
{
    (void)state;
    enum { N = 256, D = 32, M = 300, STEPS = 40 };
    sd_err err = {0};
    static float x[N * D];
    sd_rng r = sd_rng_make(4, "short", 0);
    for (int i = 0; i < N * D; i++) x[i] = sd_rng_normal(&r);
    sd_dict_train *t;
    sd_dict *d;
    const sd_dict_train_opt o = {.kind = SD_DICT_BATCHTOPK, .d = D, .m = M, .k = 5, .batch = N, .n_tokens = N * STEPS, .lr = 1e-2};
    t_ok(sd_dict_train_new(&t, ex, &o, &err), err);
    t_ok(sd_dict_train_calibrate(t, ex, sd_mat_of(x, N, D), &err), err);
    double first = 0;
    for (int i = 0; i < STEPS; i++) {
        t_ok(sd_dict_train_step(t, ex, sd_mat_of(x, N, D), NULL, &err), err);
        if (i == 0) first = t->pick.theta;
    }
    t_ok(sd_dict_train_finish(t, ex, sd_mat_of(x, N, D), &(sd_dict_info){.model_name = "m"}, &d, &err), err);
    assert_true(fabs(t->pick.theta / first - 1) > 0.1); /* it moved, or this says nothing */
    assert_true(fabs(sd_dict_get_info(d)->l0 - 5) < 0.5); /* a twentieth of the run: two steps */
    sd_dict_free(d);
    sd_dict_train_free(t);
}

int main(void)
{
    sd_err err = {0};
    if (sd_exec_new(&ex, &(sd_exec_opt){NULL, 2}, &err)) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_standard), cmocka_unit_test(test_gated), cmocka_unit_test(test_jumprelu), cmocka_unit_test(test_topk),
        cmocka_unit_test(test_batchtopk), cmocka_unit_test(test_matryoshka), cmocka_unit_test(test_crosscoder), cmocka_unit_test(test_transcoder),
        cmocka_unit_test(test_skip_transcoder), cmocka_unit_test(test_transcoder_run), cmocka_unit_test(test_transcoder_proven), cmocka_unit_test(test_dense_equals_sparse), cmocka_unit_test(test_batch_choice),
        cmocka_unit_test(test_finish), cmocka_unit_test(test_short_run),
    };
    const int rc = cmocka_run_group_tests(tests, NULL, NULL);
    sd_exec_free(ex);
    return rc;
}
