/* Properties of the forward pass on a tiny random model: what may not change a bit (hooks that do nothing, splits of a
 * prompt, batches, threads), and what hooks promise (every site in order, edits that reach all readers). */
#include "tiny_gguf.h"

#include "model/session.h"
#include "num/stats.h"

enum { N = 70, V = TINY_VOCAB };

typedef struct world {
    char dir[256], gguf[300];
    sd_exec *ex;
    sd_model *m;
    sd_runner *run;
    int32_t tok[N];
} world;

/* dtype 0: the Hugging Face folder; else a GGUF of that type. */
static world *open_world(sd_mode mode, sd_dtype dtype, int threads, const char *cpu)
{
    world *w = calloc(1, sizeof *w);
    sd_err err = {0};
    tiny_spec s = tiny_default;
    snprintf(w->dir, sizeof w->dir, "%s", t_tmpdir());
    snprintf(w->gguf, sizeof w->gguf, "%s/tiny.gguf", w->dir);
    s.dtype = dtype;
    if (dtype)
        tiny_write_gguf(w->gguf, &s);
    else
        tiny_write_hf(w->dir, &s);
    t_ok(sd_exec_new(&w->ex, &(sd_exec_opt){.n_threads = threads, .cpu = cpu}, &err), err);
    t_ok(sd_model_open(&w->m, w->ex, dtype ? w->gguf : w->dir, &(sd_model_opt){.mode = mode}, &err), err);
    t_ok(sd_runner_new(&w->run, w->ex, w->m, &(sd_runner_opt){.max_rows = 2 * N, .max_logit_rows = 2 * N}, &err), err);
    sd_rng r = sd_rng_make(9, "test_forward", 0);
    for (int i = 0; i < N; i++) w->tok[i] = (int32_t)sd_rng_below(&r, V);
    return w;
}

static void close_world(world *w)
{
    sd_runner_free(w->run);
    sd_model_close(w->m);
    sd_exec_free(w->ex);
    t_rmtree(w->dir);
    free(w);
}

static sd_session *new_session(const world *w)
{
    sd_err err = {0};
    sd_session *s;
    t_ok(sd_session_new(&s, w->m, NULL, &err), err);
    return s;
}

/* Runs tokens [from, to) of the world's text and appends their logits at out [to - from, V]. */
static void step(const world *w, sd_session *s, int64_t from, int64_t to, float *out)
{
    sd_err err = {0};
    sd_segment seg = {.s = s, .tok = w->tok + from, .n = to - from, .want = SD_LOGITS_ALL};
    t_ok(sd_runner_step(w->run, &seg, 1, -1, &err), err);
    assert_int_equal(seg.logits.rows, to - from);
    for (int64_t i = 0; i < to - from; i++) memcpy(out + i * V, sd_mat_row(seg.logits, i), V * sizeof(float));
}

static float *whole(const world *w)
{
    float *out = malloc(N * V * sizeof(float));
    sd_session *s = new_session(w);
    step(w, s, 0, N, out);
    sd_session_free(s);
    for (int i = 0; i < N * V; i++) assert_true(isfinite(out[i]));
    return out;
}

static void same_bits(const float *a, const float *b)
{
    assert_memory_equal(a, b, N * V * sizeof(float));
}

static sd_site all_sites[SD_SITE_KIND_COUNT * 8];
static int list_sites(const world *w)
{
    int n = 0;
    for (int l = 0; l < sd_model_get_config(w->m)->n_layer; l++)
        for (int k = 0; k < SD_SITE_KIND_COUNT; k++)
            if (l == 0 || sd_site_is_layered((sd_site_kind)k)) all_sites[n++] = (sd_site){(sd_site_kind)k, l};
    return n;
}

static sd_status nothing(void *self, sd_act *act, sd_err *err)
{
    (void)act, (void)err;
    (*(int *)self)++;
    return SD_OK;
}

/* A no-op hook at every site, READ and EDIT, on the whole prompt and token by token. */
static void check_noop(sd_mode mode, sd_dtype dtype)
{
    world *w = open_world(mode, dtype, 2, NULL);
    float *plain = whole(w), *out = malloc(N * V * sizeof(float));
    for (int edit = 0; edit < 2; edit++) {
        int calls = 0, id;
        sd_err err = {0};
        sd_session *s = new_session(w);
        t_ok(sd_session_attach(
                 s,
                 &(sd_hook){"nothing", all_sites, list_sites(w), edit ? SD_HOOK_EDIT : SD_HOOK_READ, nothing, &calls},
                 &id, &err),
             err);
        step(w, s, 0, N, out);
        assert_int_equal(calls, list_sites(w));
        same_bits(plain, out);
        sd_session_detach(s, id);
        sd_session_rewind(s, 0);
        step(w, s, 0, N, out);
        assert_int_equal(calls, list_sites(w));
        same_bits(plain, out);
        sd_session_free(s);
    }
    free(plain), free(out);
    close_world(w);
}

static void test_noop_hooks(void **state)
{
    (void)state;
    check_noop(SD_MODE_FAITHFUL, 0);
    check_noop(SD_MODE_BF16, 0);
    check_noop(SD_MODE_FAST, SD_Q4_1);
}

/* ---- capture and splice ---- */

typedef struct store {
    float *x[SD_SITE_KIND_COUNT * 8];
    int64_t rows, cols;
    int n;
    bool write;
} store;

static sd_status capture_or_splice(void *self, sd_act *act, sd_err *err)
{
    (void)err;
    store *st = self;
    int64_t floats = act->x.rows * act->x.cols;
    if (!st->write) {
        st->x[st->n] = malloc((size_t)floats * sizeof(float));
        for (int64_t i = 0; i < act->x.rows; i++)
            memcpy(st->x[st->n] + i * act->x.cols, sd_mat_row(act->x, i), (size_t)act->x.cols * sizeof(float));
    } else
        for (int64_t i = 0; i < act->x.rows; i++)
            memcpy(sd_mat_row(act->x, i), st->x[st->n] + i * act->x.cols, (size_t)act->x.cols * sizeof(float));
    st->n++;
    return SD_OK;
}

/* Every site alone: its values put back are the identity; those of another text at resid_post give that text's logits.
 */
static void test_capture_and_splice(void **state)
{
    (void)state;
    world *w = open_world(SD_MODE_FAITHFUL, 0, 2, NULL);
    sd_err err = {0};
    float *plain = whole(w), *out = malloc(N * V * sizeof(float));
    store st = {0};
    int n = list_sites(w);
    sd_session *s = new_session(w);
    int id;
    t_ok(sd_session_attach(s, &(sd_hook){"capture", all_sites, n, SD_HOOK_READ, capture_or_splice, &st}, &id, &err),
         err);
    step(w, s, 0, N, out);
    assert_int_equal(st.n, n);
    sd_session_detach(s, id);
    st.write = true, st.n = 0;
    t_ok(sd_session_attach(s, &(sd_hook){"splice", all_sites, n, SD_HOOK_EDIT, capture_or_splice, &st}, &id, &err),
         err);
    sd_session_rewind(s, 0);
    step(w, s, 0, N, out);
    same_bits(plain, out);
    sd_session_detach(s, id);
    /* Another text, with this text's last residual stream put in: this text's logits. */
    int last = sd_model_get_config(w->m)->n_layer - 1;
    sd_site post = {SD_SITE_RESID_POST, last};
    store only = {.write = true};
    only.x[0] = st.x[n - 3]; /* in order of visits only final_norm and logits come after it */
    t_ok(sd_session_attach(s, &(sd_hook){"splice", &post, 1, SD_HOOK_EDIT, capture_or_splice, &only}, &id, &err), err);
    sd_session_rewind(s, 0);
    int32_t first = w->tok[0];
    w->tok[0] = (first + 1) % V;
    step(w, s, 0, N, out);
    w->tok[0] = first;
    same_bits(plain, out);
    for (int i = 0; i < n; i++) free(st.x[i]);
    sd_session_free(s);
    free(plain), free(out);
    close_world(w);
}

/* ---- splits, batches, threads ---- */

static void check_split(sd_mode mode, sd_dtype dtype, const char *cpu)
{
    world *w = open_world(mode, dtype, 2, cpu);
    float *plain = whole(w), *out = malloc(N * V * sizeof(float));
    static const int64_t cuts[][6] = {{0, 1, 2, 17, 64, N}, {0, 33, 34, 35, 66, N}};
    sd_session *s = new_session(w);
    for (size_t c = 0; c < 2; c++) {
        for (int i = 0; i < 5; i++) step(w, s, cuts[c][i], cuts[c][i + 1], out + cuts[c][i] * V);
        same_bits(plain, out);
        sd_session_rewind(s, 0);
    }
    for (int64_t i = 0; i < N; i++) step(w, s, i, i + 1, out + i * V); /* token by token */
    same_bits(plain, out);
    /* Rewind and replay. */
    memset(out + 20 * V, 0, (N - 20) * V * sizeof(float));
    sd_session_rewind(s, 20);
    assert_int_equal(sd_session_pos(s), 20);
    step(w, s, 20, 50, out + 20 * V), step(w, s, 50, N, out + 50 * V);
    same_bits(plain, out);
    sd_session_free(s);
    free(plain), free(out);
    close_world(w);
}

static void test_prefill_equals_token_by_token(void **state)
{
    (void)state;
    check_split(SD_MODE_FAITHFUL, 0, NULL);
    check_split(SD_MODE_FAITHFUL, SD_Q8_0, NULL);
    check_split(SD_MODE_FAITHFUL, 0, "ref");
}

/* fast: the same integer sums for one row and for many, and an f16 cache that does not depend on the split. bf16: one chain of pairs an
 * output, of a head's width and of a row's keys as well. */
static void test_split_in_bf16_and_fast(void **state)
{
    (void)state;
    check_split(SD_MODE_FAST, SD_Q4_0, NULL);
    check_split(SD_MODE_FAST, SD_Q4_1, NULL);
    check_split(SD_MODE_FAST, SD_Q8_0, NULL);
    check_split(SD_MODE_BF16, 0, NULL);
    check_split(SD_MODE_BF16, 0, "ref");
}

static void check_threads(sd_mode mode, sd_dtype dtype)
{
    float *ref = NULL;
    for (int t = 1; t <= 4; t++) {
        world *w = open_world(mode, dtype, t, NULL);
        float *out = whole(w);
        if (!ref)
            ref = out;
        else {
            same_bits(ref, out);
            free(out);
        }
        close_world(w);
    }
    free(ref);
}

static void test_any_thread_count(void **state)
{
    (void)state;
    check_threads(SD_MODE_FAITHFUL, 0);
    check_threads(SD_MODE_BF16, 0);
    check_threads(SD_MODE_FAST, SD_Q4_1);
}

/* Two sessions at different positions, one of them edited, in one step: each as alone. */
static void test_batch_equals_alone(void **state)
{
    (void)state;
    world *w = open_world(SD_MODE_FAITHFUL, 0, 2, NULL);
    sd_err err = {0};
    float *plain = whole(w), *out = malloc(N * V * sizeof(float)), *sink = malloc(N * V * sizeof(float));
    sd_session *a = new_session(w), *b = new_session(w);
    step(w, a, 0, 10, out);
    sd_segment seg[2] = {{.s = b, .tok = w->tok, .n = N, .want = SD_LOGITS_ALL},
                         {.s = a, .tok = w->tok + 10, .n = 25, .want = SD_LOGITS_LAST}};
    t_ok(sd_runner_step(w->run, seg, 2, -1, &err), err);
    assert_memory_equal(seg[0].logits.data, plain, N * V * sizeof(float));
    assert_int_equal(seg[1].logits.rows, 1);
    assert_memory_equal(seg[1].logits.data, plain + 34 * V, V * sizeof(float));
    assert_int_equal(sd_session_pos(a), 35);
    sd_segment none = {.s = a, .tok = w->tok + 35, .n = 5};
    t_ok(sd_runner_step(w->run, &none, 1, -1, &err), err);
    assert_null(none.logits.data);
    step(w, a, 40, N, sink);
    assert_memory_equal(sink, plain + 40 * V, (N - 40) * V * sizeof(float));
    sd_session_free(a), sd_session_free(b);
    free(plain), free(out), free(sink);
    close_world(w);
}

/* ---- sums of the stream, and where edits go ---- */

typedef struct sums {
    float mid[N * 64], pre[N * 64], add[N * 64];
    int checked;
} sums;

static sd_status follow(void *self, sd_act *act, sd_err *err)
{
    (void)err;
    sums *s = self;
    size_t bytes = N * 64 * sizeof(float);
    assert_int_equal(act->x.cols, 64);
    switch (act->site.kind) {
    case SD_SITE_RESID_PRE:
        memcpy(s->pre, act->x.data, bytes);
        break;
    case SD_SITE_ATTN_OUT:
    case SD_SITE_MLP_OUT:
        memcpy(s->add, act->x.data, bytes);
        break;
    case SD_SITE_RESID_MID:
        for (int i = 0; i < N * 64; i++) assert_true(act->x.data[i] == s->pre[i] + s->add[i]);
        memcpy(s->mid, act->x.data, bytes);
        break;
    default:
        for (int i = 0; i < N * 64; i++) assert_true(act->x.data[i] == s->mid[i] + s->add[i]);
        s->checked++;
    }
    return SD_OK;
}

static void test_stream_sums(void **state)
{
    (void)state;
    world *w = open_world(SD_MODE_FAITHFUL, 0, 2, NULL);
    static const sd_site_kind kinds[] = {SD_SITE_RESID_PRE, SD_SITE_ATTN_OUT, SD_SITE_RESID_MID, SD_SITE_MLP_OUT,
                                         SD_SITE_RESID_POST};
    sd_site at[15];
    for (int i = 0; i < 15; i++) at[i] = (sd_site){kinds[i % 5], i / 5};
    sums *s = calloc(1, sizeof *s);
    sd_err err = {0};
    sd_session *ses = new_session(w);
    t_ok(sd_session_attach(ses, &(sd_hook){"follow", at, 15, SD_HOOK_READ, follow, s}, NULL, &err), err);
    float *out = malloc(N * V * sizeof(float));
    step(w, ses, 0, N, out);
    assert_int_equal(s->checked, 3);
    sd_session_free(ses);
    free(s), free(out);
    close_world(w);
}

static sd_status twice(void *self, sd_act *act, sd_err *err)
{
    (void)err, (void)self;
    for (int64_t i = 0; i < act->x.rows; i++)
        for (int64_t c = 0; c < act->x.cols; c++) sd_mat_row(act->x, i)[c] *= 2;
    return SD_OK;
}

/* An edit at any site changes the logits of its rows; edits of keys and values also those of later, unedited steps. */
static void test_edits_reach_their_readers(void **state)
{
    (void)state;
    world *w = open_world(SD_MODE_FAITHFUL, 0, 2, NULL);
    sd_err err = {0};
    float *plain = whole(w), *out = malloc(N * V * sizeof(float));
    for (int k = 0; k < SD_SITE_KIND_COUNT; k++) {
        sd_site at = {(sd_site_kind)k, sd_site_is_layered((sd_site_kind)k) ? 1 : 0};
        sd_session *s = new_session(w);
        int id;
        t_ok(sd_session_attach(s, &(sd_hook){"twice", &at, 1, SD_HOOK_EDIT, twice, NULL}, &id, &err), err);
        step(w, s, 0, 30, out);
        sd_diff d = sd_diff_f32(out, plain, 30 * V);
        if (!(d.rel > 1e-3)) fail_msg("an edit at %s changed nothing", sd_site_print((char[48]){0}, 48, at));
        sd_session_detach(s, id);
        step(w, s, 30, 60, out);
        d = sd_diff_f32(out, plain + 30 * V, 30 * V);
        /* What is in the cache: keys and values of layer 1 (edited there, or later layers fed by an edited stream). */
        bool kept = k != SD_SITE_FINAL_NORM && k != SD_SITE_LOGITS;
        if (kept != (d.max_abs > 0))
            fail_msg("after an edit at %s: later rows differ by %g", sd_site_print((char[48]){0}, 48, at), d.max_abs);
        sd_session_free(s);
    }
    free(plain), free(out);
    close_world(w);
}

/* All attention on the row itself: z is its own value row of the group's head. */
static sd_status self_only(void *self, sd_act *act, sd_err *err)
{
    (void)err;
    const int *n_head = self;
    int64_t n = act->x.rows / *n_head;
    for (int64_t r = 0; r < act->x.rows; r++) {
        memset(sd_mat_row(act->x, r), 0, (size_t)act->x.cols * sizeof(float));
        sd_mat_row(act->x, r)[act->pos0 + r % n] = 1.0f;
    }
    return SD_OK;
}

typedef struct vz {
    float v[N * 32];
    int checked;
    int64_t from;
} vz;

static sd_status compare_z(void *self, sd_act *act, sd_err *err)
{
    (void)err;
    vz *s = self;
    if (act->site.kind == SD_SITE_ATTN_V) {
        memcpy(s->v, act->x.data, (size_t)(act->x.rows * 32) * sizeof(float));
        return SD_OK;
    }
    for (int64_t i = 0; i < act->x.rows; i++)
        for (int h = 0; h < 4; h++)
            assert_memory_equal(sd_mat_row(act->x, i) + h * 16, s->v + i * 32 + h / 2 * 16, 16 * sizeof(float));
    s->checked++;
    return SD_OK;
}

static void test_pattern_edit(void **state)
{
    (void)state;
    world *w = open_world(SD_MODE_FAITHFUL, 0, 2, NULL);
    sd_err err = {0};
    int n_head = 4;
    vz *s = calloc(1, sizeof *s);
    float *out = malloc(N * V * sizeof(float));
    sd_session *ses = new_session(w), *other = new_session(w);
    sd_site pattern = {SD_SITE_ATTN_PATTERN, 1}, seen[2] = {{SD_SITE_ATTN_V, 1}, {SD_SITE_ATTN_Z, 1}};
    t_ok(sd_session_attach(ses, &(sd_hook){"self", &pattern, 1, SD_HOOK_EDIT, self_only, &n_head}, NULL, &err), err);
    t_ok(sd_session_attach(ses, &(sd_hook){"z", seen, 2, SD_HOOK_READ, compare_z, s}, NULL, &err), err);
    float *plain = whole(w);
    step(w, ses, 0, 40, out);
    /* In a batch the edit stays with its session. */
    sd_segment seg[2] = {{.s = ses, .tok = w->tok + 40, .n = 10, .want = SD_LOGITS_ALL},
                         {.s = other, .tok = w->tok, .n = N, .want = SD_LOGITS_ALL}};
    t_ok(sd_runner_step(w->run, seg, 2, -1, &err), err);
    assert_memory_equal(seg[1].logits.data, plain, N * V * sizeof(float));
    assert_int_equal(s->checked, 2);
    sd_session_free(ses), sd_session_free(other);
    free(s), free(out), free(plain);
    close_world(w);
}

/* Rows of a pattern are probabilities of keys that the row may see. */
static sd_status sums_to_one(void *self, sd_act *act, sd_err *err)
{
    (void)err;
    int64_t n = act->x.rows / 4;
    assert_int_equal(act->x.cols, act->pos0 + n);
    for (int64_t r = 0; r < act->x.rows; r++) {
        double sum = 0;
        for (int64_t j = 0; j < act->x.cols; j++) {
            float p = sd_mat_row(act->x, r)[j];
            assert_true(j <= act->pos0 + r % n ? p >= 0 : p == 0);
            sum += (double)p;
        }
        assert_true(fabs(sum - 1) < 1e-5);
    }
    (*(int *)self)++;
    return SD_OK;
}

static void test_pattern_rows(void **state)
{
    (void)state;
    world *w = open_world(SD_MODE_FAITHFUL, 0, 2, NULL);
    sd_err err = {0};
    int calls = 0;
    float *out = malloc(N * V * sizeof(float));
    sd_site at[3] = {{SD_SITE_ATTN_PATTERN, 0}, {SD_SITE_ATTN_PATTERN, 1}, {SD_SITE_ATTN_PATTERN, 2}};
    sd_session *s = new_session(w);
    t_ok(sd_session_attach(s, &(sd_hook){"rows", at, 3, SD_HOOK_READ, sums_to_one, &calls}, NULL, &err), err);
    step(w, s, 0, 50, out), step(w, s, 50, 51, out), step(w, s, 51, N, out);
    assert_int_equal(calls, 9);
    sd_session_free(s);
    free(out);
    close_world(w);
}

/* Early exit: the sites up to there have the bits of the whole pass. */
static void test_early_exit(void **state)
{
    (void)state;
    world *w = open_world(SD_MODE_FAITHFUL, 0, 2, NULL);
    sd_err err = {0};
    sd_site at = {SD_SITE_RESID_POST, 1};
    store full = {0}, early = {0};
    sd_session *a = new_session(w), *b = new_session(w);
    float *out = malloc(N * V * sizeof(float));
    t_ok(sd_session_attach(a, &(sd_hook){"a", &at, 1, SD_HOOK_READ, capture_or_splice, &full}, NULL, &err), err);
    t_ok(sd_session_attach(b, &(sd_hook){"b", &at, 1, SD_HOOK_READ, capture_or_splice, &early}, NULL, &err), err);
    step(w, a, 0, N, out);
    sd_segment seg = {.s = b, .tok = w->tok, .n = N};
    t_ok(sd_runner_step(w->run, &seg, 1, 1, &err), err);
    assert_true(full.n == 1 && early.n == 1);
    assert_memory_equal(full.x[0], early.x[0], N * 64 * sizeof(float));
    /* Its cache has no keys of the last block: going on with all blocks is refused, after a rewind it is not. */
    sd_session_rewind(b, 60);
    sd_segment more = {.s = b, .tok = w->tok + 60, .n = 1, .want = SD_LOGITS_LAST};
    assert_int_equal(sd_runner_step(w->run, &more, 1, -1, &err), SD_E_ARG);
    assert_non_null(strstr(err.msg, "2 blocks"));
    more.want = SD_LOGITS_NONE;
    t_ok(sd_runner_step(w->run, &more, 1, 1, &err), err);
    sd_session_rewind(b, 0);
    step(w, b, 0, N, out);
    /* A model opened with its first two blocks only. */
    sd_model *half;
    sd_runner *run;
    t_ok(sd_model_open(&half, w->ex, w->dir, &(sd_model_opt){.max_layer = 2}, &err), err);
    t_ok(sd_runner_new(&run, w->ex, half, NULL, &err), err);
    sd_session *c;
    t_ok(sd_session_new(&c, half, NULL, &err), err);
    store part = {0};
    t_ok(sd_session_attach(c, &(sd_hook){"c", &at, 1, SD_HOOK_READ, capture_or_splice, &part}, NULL, &err), err);
    seg.s = c;
    t_ok(sd_runner_step(run, &seg, 1, -1, &err), err);
    assert_memory_equal(full.x[0], part.x[0], N * 64 * sizeof(float));
    sd_session_free(a), sd_session_free(b), sd_session_free(c);
    sd_runner_free(run);
    sd_model_close(half);
    for (int i = 0; i < early.n; i++) free(early.x[i]);
    free(full.x[0]), free(part.x[0]), free(out);
    close_world(w);
}

/* llama.cpp's order of q and k rows undone: the same model as folder and as GGUF, the same bits at every site. */
static void test_folder_equals_gguf(void **state)
{
    (void)state;
    world *hf = open_world(SD_MODE_FAITHFUL, 0, 2, NULL), *gguf = open_world(SD_MODE_FAITHFUL, SD_F32, 2, NULL);
    sd_err err = {0};
    float *out = malloc(N * V * sizeof(float));
    store a = {0}, b = {0};
    int n = list_sites(hf);
    sd_session *sa = new_session(hf), *sb = new_session(gguf);
    t_ok(sd_session_attach(sa, &(sd_hook){"a", all_sites, n, SD_HOOK_READ, capture_or_splice, &a}, NULL, &err), err);
    t_ok(sd_session_attach(sb, &(sd_hook){"b", all_sites, n, SD_HOOK_READ, capture_or_splice, &b}, NULL, &err), err);
    step(hf, sa, 0, N, out), step(gguf, sb, 0, N, out);
    assert_int_equal(a.n, n);
    assert_int_equal(b.n, n);
    /* Every site has at least 32 columns. */
    for (int i = 0; i < n; i++) assert_memory_equal(a.x[i], b.x[i], N * 32 * sizeof(float));
    for (int i = 0; i < n; i++) free(a.x[i]), free(b.x[i]);
    sd_session_free(sa), sd_session_free(sb);
    free(out);
    close_world(hf), close_world(gguf);
}

/* The paths of each instruction set agree within their roundings. */
static void test_ref_close_to_vectors(void **state)
{
    (void)state;
    world *a = open_world(SD_MODE_FAITHFUL, 0, 2, NULL), *b = open_world(SD_MODE_FAITHFUL, 0, 2, "ref");
    float *x = whole(a), *y = whole(b);
    sd_diff d = sd_diff_f32(x, y, N * V);
    printf("ref against vectors: rel %.2e\n", d.rel);
    assert_true(d.n_nonfinite == 0 && d.rel <= 1e-5); /* norms and exp differ by a few ulp a block */
    free(x), free(y);
    close_world(a), close_world(b);
}

static const struct CMUnitTest tests[] = {
    T(test_noop_hooks),
    T(test_capture_and_splice),
    T(test_prefill_equals_token_by_token),
    T(test_split_in_bf16_and_fast),
    T(test_any_thread_count),
    T(test_batch_equals_alone),
    T(test_stream_sums),
    T(test_edits_reach_their_readers),
    T(test_pattern_edit),
    T(test_pattern_rows),
    T(test_early_exit),
    T(test_folder_equals_gguf),
    T(test_ref_close_to_vectors),
};
T_MAIN(tests)
