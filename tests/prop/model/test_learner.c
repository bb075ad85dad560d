/* What must hold of a learner whatever the model: the number of threads, the packing of documents and what is kept
 * change no log- probability; a watcher that does nothing changes no bit; the derivative that a watcher sees at a site
 * is the slope of the loss there. */
#include "tiny_model.h"

#include "model/learner.h"
#include "num/exec.h"

#include <math.h>

enum { N = 40, N_DOC = 3 };

typedef struct setup {
    sd_exec *ex;
    sd_model *m;
    int32_t tok[N_DOC][N], target[N_DOC][N];
    sd_doc doc[N_DOC];
} setup;

static void documents(setup *s, uint32_t n_vocab)
{
    sd_rng r = sd_rng_make(1, "test_learner", 0);
    for (int d = 0; d < N_DOC; d++) {
        const int n = N - 7 * d;
        for (int i = 0; i < n; i++) s->tok[d][i] = (int32_t)sd_rng_below(&r, n_vocab);
        for (int i = 0; i < n; i++) s->target[d][i] = i + 1 < n && i % 3 ? s->tok[d][i + 1] : -1;
        s->doc[d] = (sd_doc){s->tok[d], s->target[d], n};
    }
}

static void begin(setup *s, const char *arch, int threads)
{
    char rel[100];
    sd_err err = {0};
    snprintf(rel, sizeof rel, "fixtures/models/%s", arch);
    const char *path = t_shared(rel);
    if (!path) t_skip("no %s under SONDE_SHARED", rel);
    t_ok(sd_exec_new(&s->ex, &(sd_exec_opt){.n_threads = threads}, &err), err);
    t_ok(sd_model_open(&s->m, s->ex, path, &(sd_model_opt){.views = true}, &err), err);
    documents(s, 320);
}

static void end(setup *s)
{
    sd_model_close(s->m);
    sd_exec_free(s->ex);
}

/* Loss -sum lp of all documents; lp and gradients copied out where wanted. */
static double pass(const setup *s, const sd_learner_opt *o, const sd_grad_hook *hook, float *lp_out, float *g_out)
{
    sd_err err = {0};
    sd_learner *t;
    const float *lp;
    int64_t n;
    float row[N_DOC * N];
    double loss = 0;
    t_ok(sd_learner_new(&t, s->ex, s->m, o, &err), err);
    t_ok(sd_learner_watch(t, hook, &err), err);
    t_ok(sd_learner_forward(t, &(sd_learner_batch){.doc = s->doc, .n_doc = N_DOC, .grad = true, .step = 1}, &lp, &n, &err), err);
    for (int64_t i = 0; i < n; i++) {
        row[i] = -1.0f;
        loss -= (double)lp[i];
        if (lp_out) lp_out[i] = lp[i];
    }
    t_ok(sd_learner_backward(t, row, &err), err);
    if (g_out) memcpy(g_out, sd_learner_g(t), (size_t)sd_learner_n(t) * sizeof *g_out);
    sd_learner_free(t);
    return loss;
}

static const sd_learner_opt all = {.mode = SD_MODE_FAITHFUL, .full = true, .max_rows = N_DOC * N, .max_docs = N_DOC};

/* One thread and three give the same bits. */
static void same_bits(sd_mode mode, size_t keep, size_t other_keep)
{
    setup a = {0}, b = {0};
    begin(&a, "llama", 1);
    begin(&b, "llama", 3);
    enum { MOST = 400000 };
    float lp[2][N_DOC * N] = {{0}}, *g1 = malloc(MOST * sizeof *g1), *g2 = malloc(MOST * sizeof *g2);
    memset(g1, 0, MOST * sizeof *g1), memset(g2, 0, MOST * sizeof *g2);
    sd_learner_opt one = all, other = all;
    one.mode = other.mode = mode;
    one.keep_bytes = keep, other.keep_bytes = other_keep;
    pass(&a, &one, NULL, lp[0], g1);
    pass(&b, &other, NULL, lp[1], g2);
    assert_memory_equal(lp[0], lp[1], sizeof lp[0]);
    assert_memory_equal(g1, g2, MOST * sizeof *g1);
    free(g1), free(g2);
    end(&a), end(&b);
}

#define KEEP_ALL ((size_t)1 << 30)
static void test_bits(void **state)
{
    (void)state;
    same_bits(SD_MODE_FAITHFUL, 0, KEEP_ALL); /* nothing computed again */
    same_bits(SD_MODE_BF16, 0, 0);            /* what is kept is rounded */
    same_bits(SD_MODE_BF16, KEEP_ALL, KEEP_ALL);
}

/* A document's log-probabilities do not depend on its neighbours. */
static void test_packing(void **state)
{
    (void)state;
    setup s = {0};
    sd_err err = {0};
    sd_learner *t;
    const float *lp;
    float together[N_DOC * N];
    int64_t n, at = 0;
    begin(&s, "gemma2", 2);
    pass(&s, &all, NULL, together, NULL);
    t_ok(sd_learner_new(&t, s.ex, s.m, &all, &err), err);
    for (int d = 0; d < N_DOC; d++) {
        t_ok(sd_learner_forward(t, &(sd_learner_batch){.doc = &s.doc[d], .n_doc = 1}, &lp, &n, &err), err);
        assert_memory_equal(together + at, lp, (size_t)n * sizeof *lp);
        at += n;
    }
    sd_learner_free(t);
    end(&s);
}

/* Moves one element of a site by eps in the forward pass; remembers the derivative there in the backward pass. */
typedef struct probe {
    int64_t row, col;
    float eps, dx;
    int seen;
} probe;
static sd_status touch(void *self, const sd_grad_act *a, sd_err *err)
{
    probe *p = self;
    (void)err;
    if (!a->dx.data)
        sd_mat_row(a->x, p->row)[p->col] += p->eps;
    else
        p->dx = sd_mat_row(a->dx, p->row)[p->col];
    p->seen++;
    return SD_OK;
}

static void slope_at(const setup *s, sd_site_kind kind, int layer)
{
    const sd_site at = {kind, layer};
    double best = 1;
    for (int64_t col = 0; col < 6;
         col += 5) { /* kept: a derivative per column; f32 losses near 400 resolve 1e-3 of a step of 0.02 */
        probe p = {.row = 9, .col = col};
        const sd_grad_hook h = {.at = &at, .n_at = 1, .fn = touch, .self = &p};
        sd_learner_opt o = all;
        o.keep_bytes = (size_t)1 << 30;
        pass(s, &o, &h, NULL, NULL);
        assert_int_equal(p.seen, 2);
        const double dx = (double)p.dx;
        p.eps = 0.02f;
        const double up = pass(s, &o, &h, NULL, NULL);
        p.eps = -0.02f;
        const double down = pass(s, &o, &h, NULL, NULL), slope = (up - down) / 0.04;
        const double off = fabs(slope - dx) / (fabs(dx) + 0.05);
        best = off < best ? off : best;
    }
    char name[48];
    if (!(best < 0.05))
        fail_msg("%s: the slope is %.1f %% from the derivative", sd_site_print(name, sizeof name, at), 100 * best);
}

static void test_sites(void **state)
{
    static const char *const archs[] = {"llama", "gemma2", "gpt_neox"};
    static const sd_site_kind kinds[] = {SD_SITE_RESID_PRE, SD_SITE_ATTN_Q,     SD_SITE_ATTN_K,    SD_SITE_ATTN_V,
                                         SD_SITE_ATTN_Z,    SD_SITE_ATTN_OUT,   SD_SITE_MLP_PRE,   SD_SITE_MLP_POST,
                                         SD_SITE_MLP_OUT,   SD_SITE_RESID_POST, SD_SITE_FINAL_NORM};
    (void)state;
    for (int a = 0; a < 3; a++) {
        setup s = {0};
        begin(&s, archs[a], 2);
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
            slope_at(&s, kinds[k], sd_site_is_layered(kinds[k]) ? 2 : 0);
        end(&s);
    }
}

/* Of all adapters, or of B of the MLPs' linear half alone. */
static double length_of(const sd_lora *lora, float *g, bool up_alone)
{
    double square = 0;
    for (int64_t i = 0; i < lora->n_data; i++) {
        bool in = !up_alone;
        for (int l = 0; l < lora->n_layer && !in; l++) in = i >= lora->mat[l][SD_MAT_UP].b - lora->data && i < lora->mat[l][SD_MAT_UP].b - lora->data + tiny_default.ffn * lora->opt.rank;
        g[i] = in ? g[i] : 0.0f;
        square += (double)g[i] * (double)g[i];
    }
    return sqrt(square);
}

/* Watched inside, an MLP of bf16 mode takes another way, to the same bits; where it is computed again only forward. */
static void test_watched_mlp(void **state)
{
    (void)state;
    const sd_site at[] = {{SD_SITE_MLP_POST, 0}, {SD_SITE_MLP_PRE, 1}, {SD_SITE_MLP_UP, 2}};
    enum { MOST = 400000 };
    for (int keep = 0; keep < 2; keep++) {
        setup s = {0};
        probe p = {0};
        begin(&s, "llama", 2);
        float lp[2][N_DOC * N] = {{0}}, *g1 = calloc(MOST, sizeof *g1), *g2 = calloc(MOST, sizeof *g2);
        sd_learner_opt o = all;
        o.mode = SD_MODE_BF16, o.keep_bytes = keep ? KEEP_ALL : 0;
        pass(&s, &o, NULL, lp[0], g1);
        pass(&s, &o, &(sd_grad_hook){.at = at, .n_at = 3, .fn = touch, .self = &p}, lp[1], g2);
        assert_int_equal(p.seen, 6);
        assert_memory_equal(lp[0], lp[1], sizeof lp[0]);
        if (keep) assert_memory_equal(g1, g2, MOST * sizeof *g1);
        free(g1), free(g2);
        end(&s);
    }
}

/* Along the gradient of an adapter the loss rises by the gradient's length. dead: the MLPs' linear half is exactly 0, and so is the input of what comes next. */
static void slope_with_dropout(tiny_spec spec, bool dead)
{
    setup s = {0};
    sd_err err = {0};
    sd_lora *lora = NULL;
    const char *dir = t_tmpdir();
    tiny_write_hf(dir, &spec);
    t_ok(sd_exec_new(&s.ex, &(sd_exec_opt){.n_threads = 2}, &err), err);
    t_ok(sd_model_open(&s.m, s.ex, dir, &(sd_model_opt){.views = true}, &err), err);
    t_rmtree(dir);
    documents(&s, TINY_VOCAB);
    t_ok(sd_lora_new(&lora, s.m, &(sd_lora_opt){.rank = 8, .dropout = 0.5}, 3, &err), err);
    sd_rng r = sd_rng_make(2, "test_learner", 1);
    for (int64_t i = 0; i < lora->n_data; i++) lora->data[i] = 0.05f * sd_rng_normal(&r);
    for (int l = 0; l < lora->n_layer && dead; l++) {
        memset(lora->mat[l][SD_MAT_UP].b, 0, (size_t)(spec.ffn * 8) * sizeof(float));
        for (int64_t i = 0; i < spec.d * 8; i++) lora->mat[l][SD_MAT_DOWN].b[i] *= 10; /* so that its path weighs as much as the matrix's own */
    }
    const sd_learner_opt o = {.mode = SD_MODE_FAITHFUL, .lora = lora, .max_rows = 3 * N - 21, .max_docs = N_DOC, .seed = 5};
    float *g = malloc((size_t)lora->n_data * sizeof *g), *at = malloc((size_t)lora->n_data * sizeof *at);
    double loss[2];
    pass(&s, &o, NULL, NULL, g);
    memcpy(at, lora->data, (size_t)lora->n_data * sizeof *at);
    const double length = length_of(lora, g, dead), step = 2e-3; /* the loss is some 400 nats in f32, its curve is not yet seen */
    for (int k = 0; k < 2; k++) {
        for (int64_t i = 0; i < lora->n_data; i++) lora->data[i] = at[i] + (float)((k ? -step : step) * (double)g[i] / length);
        loss[k] = pass(&s, &o, NULL, NULL, NULL);
    }
    const double slope = (loss[0] - loss[1]) / (2 * step);
    if (!(fabs(slope / length - 1) < 0.01)) fail_msg("slope %g, gradient %g", slope, length);
    free(g), free(at);
    sd_lora_free(lora);
    end(&s);
}

/* Where heads together are wider than the stream and the MLP: 192 columns of heads, 64 of the stream, 96 of the MLP. */
static void test_dropout_slope(void **state)
{
    (void)state;
    tiny_spec spec = tiny_default;
    spec.n_head = 8, spec.d_head = 24;
    slope_with_dropout(spec, false);
}

static void no_linear_half(const char *hf, float *data, int64_t rows, int64_t cols, const void *arg)
{
    (void)arg;
    if (strstr(hf, "up_proj")) memset(data, 0, (size_t)(rows * cols) * sizeof *data);
}

/* An input that is 0 and stays is not one that was dropped. */
static void test_dropout_of_zeros(void **state)
{
    (void)state;
    tiny_spec spec = tiny_default;
    spec.edit = no_linear_half;
    slope_with_dropout(spec, true);
}

static void test_watch_refuses(void **state)
{
    (void)state;
    setup s = {0};
    sd_err err = {0};
    sd_learner *t;
    const sd_site at[] = {{SD_SITE_ATTN_PATTERN, 0}};
    begin(&s, "llama", 1);
    t_ok(sd_learner_new(&t, s.ex, s.m, &all, &err), err);
    assert_int_equal(sd_learner_watch(t, &(sd_grad_hook){.at = at, .n_at = 1, .fn = touch}, &err), SD_E_ARG);
    sd_learner_free(t);
    end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(test_bits), T(test_packing), T(test_sites), T(test_watched_mlp), T(test_dropout_slope), T(test_dropout_of_zeros), T(test_watch_refuses)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
