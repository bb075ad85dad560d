/* fixtures/models/llama against transformers in float32: every hidden state and the logits, from the folder and from
 * the GGUF, both rows of ids as two segments of one batch. Bound: 1e-5 relative (CONTRACT section 4). */
#include "t.h"

#include "file/weights.h"
#include "model/session.h"
#include "num/stats.h"

enum { ROWS = 2, N = 48, MAX_HIDDEN = 64 };

/* What a hook copies: hidden.l is what enters block l, the last one is after the final norm. */
typedef struct keep {
    float *x;
    int row;
    int64_t d;
    int n_layer;
} keep;

static sd_status copy(void *self, sd_act *act, sd_err *err)
{
    (void)err;
    keep *k = self;
    int at = act->site.kind == SD_SITE_FINAL_NORM ? k->n_layer : act->site.layer;
    assert_int_equal(act->pos0, 0);
    assert_int_equal(act->x.rows, N);
    for (int64_t i = 0; i < N; i++)
        memcpy(k->x + ((int64_t)(at * ROWS + k->row) * N + i) * k->d, sd_mat_row(act->x, i),
               (size_t)k->d * sizeof(float));
    return SD_OK;
}

static void check(const char *what, const float *got, const sd_tensor *want, int64_t n)
{
    int64_t total = 1;
    for (int i = 0; i < want->rank; i++) total *= want->dim[i];
    assert_int_equal(total, n);
    sd_diff d = sd_diff_f32(got, want->data, n);
    printf("%s: rel %.2e, max abs %.2e of %.3g\n", what, d.rel, d.max_abs, d.max_ref);
    if (d.n_nonfinite || !(d.rel <= 1e-5))
        fail_msg("%s: rel %g at %lld: %g, expected %g", what, d.rel, (long long)d.worst, d.a_worst, d.b_worst);
}

static void compare(const char *rel, sd_mode mode)
{
    const char *path = t_shared(rel), *golden_path = t_shared("fixtures/models/llama/golden.safetensors");
    if (!path || !golden_path) t_skip("no %s under SONDE_SHARED", rel);
    sd_err err = {0};
    sd_exec *ex;
    sd_model *m;
    sd_weights *golden;
    t_ok(sd_exec_new(&ex, NULL, &err), err);
    t_ok(sd_model_open(&m, ex, path, &(sd_model_opt){.mode = mode}, &err), err);
    t_ok(sd_weights_open(&golden, golden_path, &err), err);
    const sd_config *c = sd_model_get_config(m);
    const sd_tensor *ids = sd_weights_find(golden, "ids");
    assert_non_null(ids);
    float *hidden = calloc((size_t)((c->n_layer + 1) * ROWS * N * c->d_model), sizeof(float));
    sd_session *s[ROWS];
    sd_segment seg[ROWS];
    keep k[ROWS];
    for (int r = 0; r < ROWS; r++) {
        sd_site at[MAX_HIDDEN];
        for (int l = 0; l < c->n_layer; l++) at[l] = (sd_site){SD_SITE_RESID_PRE, l};
        at[c->n_layer] = (sd_site){SD_SITE_FINAL_NORM, 0};
        k[r] = (keep){hidden, r, c->d_model, c->n_layer};
        t_ok(sd_session_new(&s[r], m, NULL, &err), err);
        t_ok(sd_session_attach(s[r], &(sd_hook){"golden", at, c->n_layer + 1, SD_HOOK_READ, copy, &k[r]}, NULL, &err),
             err);
        seg[r] = (sd_segment){.s = s[r], .tok = (const int32_t *)ids->data + r * N, .n = N, .want = SD_LOGITS_ALL};
    }
    sd_runner *run;
    t_ok(sd_runner_new(&run, ex, m, &(sd_runner_opt){.max_logit_rows = ROWS * N}, &err), err);
    t_ok(sd_runner_step(run, seg, ROWS, -1, &err), err);
    for (int l = 0; l <= c->n_layer; l++) {
        char name[32];
        snprintf(name, sizeof name, "hidden.%d", l);
        check(name, hidden + (int64_t)l * ROWS * N * c->d_model, sd_weights_find(golden, name), ROWS * N * c->d_model);
    }
    /* The rows of logits of a batch lie one after another. */
    check("logits", seg[0].logits.data, sd_weights_find(golden, "logits"), ROWS * N * c->n_vocab);
    free(hidden);
    sd_runner_free(run);
    for (int r = 0; r < ROWS; r++) sd_session_free(s[r]);
    sd_weights_close(golden);
    sd_model_close(m);
    sd_exec_free(ex);
}

static void test_folder(void **state)
{
    (void)state;
    compare("fixtures/models/llama", SD_MODE_FAITHFUL);
}

static void test_gguf(void **state)
{
    (void)state;
    compare("fixtures/models/llama/model.gguf", SD_MODE_DEFAULT);
}

static const struct CMUnitTest tests[] = {T(test_folder), T(test_gguf)};
T_MAIN(tests)
