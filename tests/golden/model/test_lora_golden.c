/* fixtures/adapters/llama-lora against PEFT in float32: logits of the model with its adapter, loss and gradients of A
 * and B; what we write is read back the same; adapters of other models are refused. Bounds: CONTRACT section 4. */
#include "t.h"

#include "file/weights.h"
#include "model/learner.h"
#include "model/session.h"
#include "num/stats.h"

#include <math.h>

enum { ROWS = 2, N = 48 };

static const char *model_dir(void)
{
    const char *p = t_shared("fixtures/models/llama"), *a = t_shared("fixtures/adapters/llama-lora");
    if (!p || !a) t_skip("no fixtures/adapters under SONDE_SHARED");
    return p;
}

static void close_to(const char *what, const float *got, const sd_tensor *want, int64_t n, double bound)
{
    sd_diff d = sd_diff_f32(got, want->data, n);
    if (d.n_nonfinite || !(d.rel <= bound))
        fail_msg("%s: rel %g at %lld: %g, expected %g", what, d.rel, (long long)d.worst, d.a_worst, d.b_worst);
}

static void test_logits(void **state)
{
    char spec[2100];
    sd_err err = {0};
    sd_exec *ex;
    sd_model *m;
    sd_weights *golden;
    sd_runner *run;
    (void)state;
    const char *base = model_dir();
    snprintf(spec, sizeof spec, "%s+%s", base, t_shared("fixtures/adapters/llama-lora"));
    t_ok(sd_exec_new(&ex, NULL, &err), err);
    t_ok(sd_model_open(&m, ex, spec, NULL, &err), err);
    t_ok(sd_weights_open(&golden, t_shared("fixtures/adapters/llama-lora/golden.safetensors"), &err), err);
    const int64_t V = sd_model_get_config(m)->n_vocab;
    const sd_tensor *ids = sd_weights_find(golden, "ids");
    t_ok(sd_runner_new(&run, ex, m, &(sd_runner_opt){.max_logit_rows = ROWS * N}, &err), err);
    sd_segment seg[ROWS];
    for (int r = 0; r < ROWS; r++) {
        sd_session *s;
        t_ok(sd_session_new(&s, m, NULL, &err), err);
        seg[r] = (sd_segment){.s = s, .tok = (const int32_t *)ids->data + r * N, .n = N, .want = SD_LOGITS_ALL};
    }
    t_ok(sd_runner_step(run, seg, ROWS, -1, &err), err);
    close_to("logits", seg[0].logits.data, sd_weights_find(golden, "logits"), ROWS * N * V, 1e-5);
    for (int r = 0; r < ROWS; r++) sd_session_free(seg[r].s);
    sd_runner_free(run);
    sd_weights_close(golden);
    sd_model_close(m);
    sd_exec_free(ex);
}

static void test_grads(void **state)
{
    sd_err err = {0};
    sd_exec *ex;
    sd_model *m;
    sd_lora *lora;
    sd_learner *t;
    sd_weights *golden;
    (void)state;
    const char *base = model_dir();
    t_ok(sd_exec_new(&ex, NULL, &err), err);
    t_ok(sd_model_open(&m, ex, base, &(sd_model_opt){.views = true}, &err), err);
    t_ok(sd_lora_read(&lora, m, t_shared("fixtures/adapters/llama-lora"), &err), err);
    t_ok(sd_weights_open(&golden, t_shared("fixtures/adapters/llama-lora/golden.safetensors"), &err), err);
    t_ok(sd_learner_new(&t, ex, m, &(sd_learner_opt){.mode = SD_MODE_FAITHFUL, .lora = lora, .max_rows = ROWS * N},
                        &err),
         err);
    const int32_t *ids = sd_weights_find(golden, "ids")->data;
    int32_t target[ROWS][N];
    sd_doc doc[ROWS];
    for (int r = 0; r < ROWS; r++) {
        for (int i = 0; i < N; i++) target[r][i] = i + 1 < N ? ids[r * N + i + 1] : -1;
        doc[r] = (sd_doc){ids + r * N, target[r], N};
    }
    const float *lp;
    int64_t n;
    float row[ROWS * N];
    double loss = 0;
    t_ok(sd_learner_forward(t, &(sd_learner_batch){.doc = doc, .n_doc = ROWS, .grad = true, .step = 1}, &lp, &n, &err), err);
    for (int64_t i = 0; i < n; i++) {
        loss -= (double)lp[i] / (double)n;
        row[i] = -1.0f / (float)n;
    }
    const double want = (double)*(const float *)sd_weights_find(golden, "loss")->data;
    assert_true(fabs(loss - want) <= 1e-5 * want);
    t_ok(sd_learner_backward(t, row, &err), err);
    assert_int_equal(lora->n_group, 16);
    for (int64_t i = 0; i < lora->n_group; i++)
        for (int b = 0; b < 2; b++) {
            const sd_lora_group *g = &lora->group[i];
            char name[256];
            snprintf(name, sizeof name, "grad.base_model.model.%s.lora_%s.weight", g->name, b ? "B" : "A");
            const sd_tensor *w = sd_weights_find(golden, name);
            assert_non_null(w);
            close_to(name, sd_learner_g(t) + ((b ? g->b : g->a) - lora->data), w,
                     b ? g->out * lora->opt.rank : g->in * lora->opt.rank, 1e-3);
        }
    sd_learner_free(t);
    sd_lora_free(lora);
    sd_weights_close(golden);
    sd_model_close(m);
    sd_exec_free(ex);
}

/* Every architecture's adapter survives the disk, fused and head-by-head tensors too. */
static void test_round_trip(void **state)
{
    static const char *const archs[] = {"llama", "phi3", "gpt2", "gpt_neox", "gemma2"};
    sd_err err = {0};
    sd_exec *ex;
    (void)state;
    (void)model_dir();
    t_ok(sd_exec_new(&ex, NULL, &err), err);
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++) {
        char rel[100];
        sd_model *m;
        sd_lora *a, *b;
        snprintf(rel, sizeof rel, "fixtures/models/%s", archs[i]);
        const char *dir = t_tmpdir();
        t_ok(sd_model_open(&m, ex, t_shared(rel), &(sd_model_opt){.views = true}, &err), err);
        t_ok(sd_lora_new(&a, m, &(sd_lora_opt){.rank = 3, .alpha = 5, .rslora = true}, 7, &err), err);
        for (int64_t k = 0; k < a->n_data; k++) a->data[k] += (float)(k % 17) * 0.01f;
        t_ok(sd_lora_write(a, m, dir, "base", &err), err);
        t_ok(sd_lora_read(&b, m, dir, &err), err);
        assert_int_equal(a->n_data, b->n_data);
        assert_memory_equal(a->data, b->data, (size_t)a->n_data * sizeof *a->data);
        assert_true(a->scale == b->scale);
        assert_string_equal(a->targets, b->targets);
        sd_lora_free(b);
        a->opt.alpha = 0; /* in a file it is a scale of 0, not the default of sd_lora_opt */
        t_ok(sd_lora_write(a, m, dir, "base", &err), err);
        assert_int_equal(sd_lora_read(&b, m, dir, &err), SD_E_FORMAT);
        assert_non_null(strstr(err.msg, "lora_alpha is 0"));
        sd_lora_free(a);
        sd_model_close(m);
        t_rmtree(dir);
    }
    sd_exec_free(ex);
}

static void test_refused(void **state)
{
    sd_err err = {0};
    sd_exec *ex;
    sd_model *m;
    sd_lora *lora;
    (void)state;
    (void)model_dir();
    t_ok(sd_exec_new(&ex, NULL, &err), err);
    const char *adapter = t_shared("fixtures/adapters/llama-lora");
    t_ok(sd_model_open(&m, ex, t_shared("fixtures/models/gpt2"), &(sd_model_opt){.views = true}, &err), err);
    assert_int_equal(sd_lora_read(&lora, m, adapter, &err), SD_E_ARG);
    assert_non_null(strstr(err.msg, "gpt2 has no module"));
    assert_int_equal(sd_lora_new(&lora, m, &(sd_lora_opt){.rank = 0}, 0, &err), SD_E_ARG);
    sd_model_close(m);
    t_ok(sd_model_open(&m, ex, t_shared("fixtures/models/gemma3_text"), &(sd_model_opt){.views = true}, &err), err);
    assert_int_equal(sd_lora_read(&lora, m, adapter, &err), SD_E_SHAPE);
    assert_non_null(strstr(err.hint, "another model"));
    sd_model_close(m);
    sd_exec_free(ex);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(test_logits), T(test_grads), T(test_round_trip), T(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
