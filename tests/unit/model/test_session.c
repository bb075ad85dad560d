/* Sessions, hooks and runners: what a step refuses and with which sentence, that nothing moves then, the order of
 * hooks, the scores of a given text, memory running out. */
#include "tiny_open.h"

#include "base/log.h"
#include "model/sample.h"
#include "model/session.h"

#include <math.h>

enum { V = TINY_VOCAB };

static sd_exec *ex;
static sd_model *model;
static const int32_t text[12] = {5, 9, 200, 3, 77, 77, 0, 255, 31, 8, 120, 1};

static int set_up(void **state)
{
    (void)state;
    return tiny_open(&ex, &model, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    sd_model_close(model);
    sd_exec_free(ex);
    return 0;
}

static sd_session *new_session(int64_t n_ctx)
{
    sd_err err = {0};
    sd_session *s;
    t_ok(sd_session_new(&s, model, &(sd_session_opt){.n_ctx = n_ctx}, &err), err);
    return s;
}

static sd_runner *new_runner(int64_t rows, int64_t logit_rows)
{
    sd_err err = {0};
    sd_runner *r;
    t_ok(sd_runner_new(&r, ex, model, &(sd_runner_opt){.max_rows = rows, .max_logit_rows = logit_rows}, &err), err);
    return r;
}

static void refused(sd_runner *r, sd_segment *seg, int n_seg, int last, const char *sentence)
{
    sd_err err = {0};
    int64_t before[4];
    for (int i = 0; i < n_seg; i++) before[i] = sd_session_pos(seg[i].s);
    if (sd_runner_step(r, seg, n_seg, last, &err) != SD_E_ARG || !strstr(err.msg, sentence))
        fail_msg("\"%s\", expected \"%s\"", err.msg, sentence);
    for (int i = 0; i < n_seg; i++) assert_int_equal(before[i], sd_session_pos(seg[i].s));
}

static void test_refusals(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_session *a = new_session(8), *b = new_session(0);
    sd_runner *r = new_runner(10, 2);
    assert_int_equal(sd_session_ctx(b), 512);
    sd_segment seg[2] = {{.s = a, .tok = text, .n = 9}, {.s = b, .tok = text, .n = 2}};
    refused(r, seg, 1, -1, "context overrun: 9 more tokens at position 0 of 8");
    seg[0].n = 8;
    t_ok(sd_runner_step(r, seg, 2, -1, &err), err);
    seg[0].n = 1, seg[1].n = 2;
    refused(r, seg, 2, -1, "context overrun: 1 more tokens at position 8 of 8");
    seg[0].s = b;
    refused(r, seg, 2, -1, "segments 0 and 1 are of the same session");
    sd_session_rewind(a, 0);
    seg[0].s = a, seg[0].n = 0;
    refused(r, seg, 1, -1, "segment 0 has no tokens");
    refused(r, seg, 0, -1, "without segments");
    static const int32_t bad[3] = {1, V, 2}, negative[1] = {-1};
    seg[0] = (sd_segment){.s = b, .tok = bad, .n = 3};
    refused(r, seg, 1, -1, "token 260 at position 3 is outside of the vocabulary of 260");
    seg[0] = (sd_segment){.s = b, .tok = negative, .n = 1};
    refused(r, seg, 1, -1, "token -1 at position 2");
    seg[0] = (sd_segment){.s = a, .tok = text, .n = 6}, seg[1] = (sd_segment){.s = b, .tok = text, .n = 6};
    refused(r, seg, 2, -1, "more than the runner's 10 rows");
    seg[0].n = seg[1].n = 3, seg[0].want = SD_LOGITS_ALL;
    refused(r, seg, 2, -1, "3 rows of logits, the runner has memory for 2");
    seg[0].want = SD_LOGITS_LAST;
    refused(r, seg, 2, 1, "logits are wanted of a step that ends after 2 of 3 blocks");
    refused(r, seg, 2, 3, "last layer 3 of a model with 3");
    refused(r, seg, 2, -2, "last layer -2");
    sd_runner *small;
    t_ok(sd_runner_new(&small, ex, model, &(sd_runner_opt){.n_ctx = 4}, &err), err);
    seg[0] = (sd_segment){.s = b, .tok = text, .n = 3};
    refused(small, seg, 1, -1, "position 4 of a runner for 4");
    sd_runner_free(small);
    sd_session *none;
    assert_int_equal(sd_session_new(&none, model, &(sd_session_opt){.n_ctx = 513}, &err), SD_E_ARG);
    assert_non_null(strstr(err.msg, "a session of 513 positions, the model's limit is 512"));
    assert_int_equal(sd_session_new(&none, model, &(sd_session_opt){.n_ctx = -1}, &err), SD_E_ARG);
    assert_int_equal(sd_runner_new(&small, ex, model, &(sd_runner_opt){.max_rows = -1}, &err), SD_E_ARG);
    assert_null(small);
    sd_runner_free(r), sd_session_free(a), sd_session_free(b);
}

/* Notes who was called where; fails at a chosen call. */
typedef struct note {
    char *log;
    const char *name;
    int calls, fail_at;
} note;

static sd_status write_note(void *self, sd_act *act, sd_err *err)
{
    note *n = self;
    char where[48];
    snprintf(n->log + strlen(n->log), 4096 - strlen(n->log), "%s:%s ", n->name,
             sd_site_print(where, sizeof where, act->site));
    if (++n->calls == n->fail_at) return sd_fail(err, SD_E_FAIL, "%s had enough", n->name);
    return SD_OK;
}

static void test_order_and_detach(void **state)
{
    (void)state;
    static char log[4096];
    sd_err err = {0};
    sd_session *s = new_session(0);
    sd_runner *r = new_runner(16, 1);
    sd_site every[SD_SITE_KIND_COUNT], two[2] = {{SD_SITE_RESID_POST, 2}, {SD_SITE_EMBED, 0}};
    for (int k = 0; k < SD_SITE_KIND_COUNT; k++) every[k] = (sd_site){(sd_site_kind)k, 0};
    note a = {log, "a", 0, 0}, b = {log, "b", 0, 0}, c = {log, "c", 0, 0};
    int id_a, id_b, id_c;
    t_ok(sd_session_attach(s, &(sd_hook){"a", every, SD_SITE_KIND_COUNT, SD_HOOK_READ, write_note, &a}, &id_a, &err),
         err);
    t_ok(sd_session_attach(s, &(sd_hook){"b", two, 2, SD_HOOK_EDIT, write_note, &b}, &id_b, &err), err);
    t_ok(sd_session_attach(s, &(sd_hook){"c", two, 1, SD_HOOK_READ, write_note, &c}, &id_c, &err), err);
    two[0].layer = 77; /* borrowed only during attach */
    sd_segment seg = {.s = s, .tok = text, .n = 3, .want = SD_LOGITS_LAST};
    t_ok(sd_runner_step(r, &seg, 1, -1, &err), err);
    assert_string_equal(
        log, "a:embed b:embed a:resid_pre.0 a:attn_q.0 a:attn_k.0 a:attn_v.0 a:rot_q.0 a:rot_k.0 a:attn_pattern.0 "
             "a:attn_z.0 "
             "a:attn_out.0 a:resid_mid.0 a:mlp_in.0 a:mlp_pre.0 a:mlp_up.0 a:mlp_post.0 a:mlp_out.0 a:resid_post.0 b:resid_post.2 "
             "c:resid_post.2 a:final_norm a:logits ");
    log[0] = '\0';
    sd_session_detach(s, id_a);
    sd_session_detach(s, id_a); /* gone already */
    t_ok(sd_runner_step(r, &seg, 1, -1, &err), err);
    assert_string_equal(log, "b:embed b:resid_post.2 c:resid_post.2 ");
    sd_site far_ = {SD_SITE_RESID_POST, 3};
    assert_int_equal(sd_session_attach(s, &(sd_hook){"x", &far_, 1, SD_HOOK_READ, write_note, &a}, NULL, &err),
                     SD_E_ARG);
    assert_string_equal(err.msg, "resid_post.3: layer 3 of a model with 3");
    sd_runner_free(r), sd_session_free(s);
}

/* A hook's error stops the step with its sentence; no session has moved, and the step can be made again with the same
 * bits. */
static void test_hook_error(void **state)
{
    (void)state;
    static char log[4096];
    sd_err err = {0};
    sd_session *s = new_session(0), *other = new_session(0);
    sd_runner *r = new_runner(16, 16);
    sd_site at = {SD_SITE_MLP_OUT, 1};
    float first[V];
    sd_segment seg[2] = {{.s = s, .tok = text, .n = 5, .want = SD_LOGITS_LAST},
                         {.s = other, .tok = text, .n = 5, .want = SD_LOGITS_LAST}};
    t_ok(sd_runner_step(r, seg, 1, -1, &err), err);
    memcpy(first, seg[0].logits.data, sizeof first);
    sd_session_rewind(s, 0);
    note n = {log, "n", 0, 2};
    t_ok(sd_session_attach(s, &(sd_hook){"n", &at, 1, SD_HOOK_READ, write_note, &n}, NULL, &err), err);
    seg[0].n = 3;
    t_ok(sd_runner_step(r, seg, 1, -1, &err), err);
    seg[0].tok = text + 3, seg[0].n = 2;
    assert_int_equal(sd_runner_step(r, seg, 2, -1, &err), SD_E_FAIL);
    assert_string_equal(err.msg, "n had enough");
    assert_int_equal(sd_session_pos(s), 3);
    assert_int_equal(sd_session_pos(other), 0);
    t_ok(sd_runner_step(r, seg, 2, -1, &err), err);
    assert_memory_equal(seg[0].logits.data, first, sizeof first);
    assert_memory_equal(seg[1].logits.data, first, sizeof first);
    sd_runner_free(r), sd_session_free(s), sd_session_free(other);
}

static bool stop_soon(void *self) { return --*(int *)self == 0; }

/* A step that is stopped between blocks leaves sessions where they were, and made again gives the bits of one that was not. */
static void test_stopped_step(void **state)
{
    (void)state;
    sd_err err = {0};
    int left = 0; /* never reaches 0 from below */
    sd_session *s = new_session(0), *plain = new_session(0);
    sd_runner *r, *whole = new_runner(16, 1);
    float want[V];
    t_ok(sd_runner_new(&r, ex, model, &(sd_runner_opt){.max_rows = 16, .max_logit_rows = 1, .stop = stop_soon, .self = &left}, &err), err);
    sd_segment seg = {.s = plain, .tok = text, .n = 8, .want = SD_LOGITS_LAST};
    t_ok(sd_runner_step(whole, &seg, 1, -1, &err), err);
    memcpy(want, seg.logits.data, sizeof want);
    seg.s = s;
    for (int k = 1; k <= model->cfg.n_layer; k++) {
        left = k;
        assert_int_equal(sd_runner_step(r, &seg, 1, -1, &err), SD_E_CANCELLED);
        assert_int_equal(sd_session_pos(s), 0);
    }
    t_ok(sd_runner_step(r, &seg, 1, -1, &err), err);
    assert_memory_equal(seg.logits.data, want, sizeof want);
    sd_runner_free(r), sd_runner_free(whole), sd_session_free(s), sd_session_free(plain);
}

typedef struct seen {
    int64_t rows, cols, pos0;
    int32_t tok0;
} seen;
static sd_status look(void *self, sd_act *act, sd_err *err)
{
    (void)err;
    *(seen *)self = (seen){act->x.rows, act->x.cols, act->pos0, act->tok[0]};
    return SD_OK;
}

/* At logits a hook sees the rows that were asked for, at final_norm all. */
static void test_rows_at_the_end(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_session *s = new_session(0);
    sd_runner *r = new_runner(16, 16);
    sd_site at[2] = {{SD_SITE_LOGITS, 0}, {SD_SITE_FINAL_NORM, 0}};
    seen logits = {0}, norm = {0};
    t_ok(sd_session_attach(s, &(sd_hook){"l", &at[0], 1, SD_HOOK_READ, look, &logits}, NULL, &err), err);
    t_ok(sd_session_attach(s, &(sd_hook){"n", &at[1], 1, SD_HOOK_READ, look, &norm}, NULL, &err), err);
    sd_segment seg = {.s = s, .tok = text, .n = 5, .want = SD_LOGITS_LAST};
    t_ok(sd_runner_step(r, &seg, 1, -1, &err), err);
    assert_true(logits.rows == 1 && logits.cols == V && logits.pos0 == 4 && logits.tok0 == text[4]);
    assert_true(norm.rows == 5 && norm.cols == 64 && norm.pos0 == 0 && norm.tok0 == text[0]);
    logits.rows = 0;
    seg.want = SD_LOGITS_NONE;
    t_ok(sd_runner_step(r, &seg, 1, -1, &err), err);
    assert_true(logits.rows == 0 && norm.rows == 5 && norm.pos0 == 5);
    sd_runner_free(r), sd_session_free(s);
}

static void test_logprob_of_text(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_session *s = new_session(0);
    sd_runner *whole = new_runner(16, 16), *parts = new_runner(16, 5);
    double a[12], b[12];
    t_ok(sd_logprob_ids(a, whole, s, text, 12, &err), err);
    sd_session_rewind(s, 0);
    t_ok(sd_logprob_ids(b, parts, s, text, 12, &err), err);
    assert_true(isnan(a[0]) && isnan(b[0]));
    assert_memory_equal(a + 1, b + 1, 11 * sizeof(double));
    sd_session_rewind(s, 0);
    sd_segment seg = {.s = s, .tok = text, .n = 12, .want = SD_LOGITS_ALL};
    t_ok(sd_runner_step(whole, &seg, 1, -1, &err), err);
    for (int i = 1; i < 12; i++) {
        double sum = 0;
        for (int v = 0; v < V; v++) sum += exp((double)sd_mat_row(seg.logits, i - 1)[v]);
        assert_true(fabs(a[i] - ((double)sd_mat_row(seg.logits, i - 1)[text[i]] - log(sum))) < 1e-9);
    }
    assert_int_equal(sd_logprob_ids(a, parts, s, (const int32_t[]){1, V}, 2, &err), SD_E_ARG);
    sd_runner_free(whole), sd_runner_free(parts), sd_session_free(s);
}

static sd_status spoil(void *self, sd_act *act, sd_err *err)
{
    (void)err;
    if (act->pos0 <= 3) sd_mat_row(act->x, 3 - act->pos0)[7] = *(const float *)self;
    return SD_OK;
}

/* Logits that are NaN or infinite are an error that names where it began; the session has not moved. Without logits
 * nobody looks. */
static void test_not_finite(void **state)
{
    (void)state;
    static const float bad[] = {NAN, INFINITY};
    sd_err err = {0};
    for (int i = 0; i < 2; i++) {
        sd_session *s = new_session(64), *plain = new_session(64);
        sd_runner *r = new_runner(32, 12);
        sd_site at = {SD_SITE_RESID_MID, 1};
        int id;
        float v = bad[i];
        t_ok(sd_session_attach(s, &(sd_hook){"spoil", &at, 1, SD_HOOK_EDIT, spoil, &v}, &id, &err), err);
        sd_segment seg[2] = {{.s = plain, .tok = text, .n = 5, .want = SD_LOGITS_LAST},
                             {.s = s, .tok = text, .n = 6, .want = SD_LOGITS_ALL}};
        assert_int_equal(sd_runner_step(r, seg, 2, -1, &err), SD_E_FORMAT);
        assert_string_equal(err.msg, "the activations are not finite: the first NaN or infinity is at resid_mid.1, "
                                     "position 3, token 3");
        assert_string_equal(err.hint, "they were edited: take a smaller value for the steer");
        assert_true(sd_session_pos(s) == 0 && sd_session_pos(plain) == 0);
        seg[1].want = SD_LOGITS_NONE;
        t_ok(sd_runner_step(r, seg, 2, -1, &err), err);
        sd_session_rewind(s, 0);
        sd_session_detach(s, id);
        seg[1].want = SD_LOGITS_ALL;
        t_ok(sd_runner_step(r, seg + 1, 1, -1, &err), err);
        sd_runner_free(r), sd_session_free(s), sd_session_free(plain);
    }
}

/* Out of memory names the bytes and what they are for; nothing is left behind. */
static void test_out_of_memory(void **state)
{
    (void)state;
    int64_t live = sd_mem_live_blocks();
    for (int n = 1; n < 11; n++) {
        sd_err err = {0};
        sd_session *s = NULL;
        sd_runner *r = NULL;
        sd_mem_fail_nth(n);
        sd_status st = sd_session_new(&s, model, NULL, &err);
        if (!st) st = sd_runner_new(&r, ex, model, NULL, &err);
        sd_site at = {SD_SITE_ATTN_PATTERN, 1};
        static char log[4096];
        note note_ = {log, "p", 0, 0};
        if (!st) st = sd_session_attach(s, &(sd_hook){"p", &at, 1, SD_HOOK_READ, write_note, &note_}, NULL, &err);
        sd_segment seg = {.s = s, .tok = text, .n = 12};
        if (!st) st = sd_runner_step(r, &seg, 1, -1, &err);
        sd_mem_fail_nth(0);
        if (n == 3) assert_non_null(strstr(err.msg, "for the key-value cache"));
        if (n == 7) assert_non_null(strstr(err.msg, "for a runner's scratch"));
        if (n == 10) assert_non_null(strstr(err.msg, "for attention patterns"));
        assert_int_equal(st, SD_E_NOMEM);
        if (s) assert_int_equal(sd_session_pos(s), 0);
        sd_runner_free(r), sd_session_free(s);
        assert_int_equal(sd_mem_live_blocks(), live);
    }
}

static const struct CMUnitTest tests[] = {
    T(test_refusals),        T(test_order_and_detach), T(test_hook_error),
    T(test_rows_at_the_end), T(test_logprob_of_text),  T(test_out_of_memory), T(test_not_finite), T(test_stopped_step),
};
int main(void)
{
    return cmocka_run_group_tests(tests, set_up, tear_down) ? 1 : 0;
}
