/* Rendering and batches: what prompts share, answers that equal those of one prompt alone, rows that are shown, edits. */
#include "lab/ablate.h"
#include "lab/batch.h"
#include "lab/generate.h"

#include "chat_model.h"

static sd_exec *ex;
static sd_model *m;
static const char *const text[] = {"hello", "what is in the tin?", "a", "the hen", "one more of them, and a longer one at that", "hello", "zz top",
                                   "in the inn", "x y z"};
enum { N = 9, GEN = 12, V = TINY_VOCAB };

static int set_up(void **state)
{
    (void)state;
    if (sd_exec_new(&ex, &(sd_exec_opt){.n_threads = 2}, NULL)) return 1;
    m = chat_model(ex, 3);
    return 0;
}
static int tear_down(void **state)
{
    (void)state;
    sd_model_close(m);
    sd_exec_free(ex);
    return 0;
}

static void rendered(sd_rendered *r, sd_system sys)
{
    sd_err err = {0};
    t_ok(sd_render(r, m, text, N, &(sd_render_opt){.system = sys}, &err), err);
}

static void what_prompts_share(void **state)
{
    sd_rendered a, b, c;
    sd_err err = {0};
    (void)state;
    rendered(&a, (sd_system){0});
    /* "\n<|endoftext|>assistant\n": a token a letter */
    assert_int_equal(a.n_after, 1 + 1 + 9 + 1);
    assert_int_equal(a.n_prefix, strlen("system\nbe k") + 1 + strlen("nd\n") + strlen("user\n") + 1); /* "in" is a token */
    for (int i = 0; i < N; i++) {
        int64_t n, k;
        sd_ids ids = {0};
        const int32_t *v = sd_rendered_ids(&a, i, &n);
        t_ok(sd_lab_prompt_ids(&ids, m, sd_slice_of(text[i]), (sd_slice){0}, SD_PROMPT_CHAT, &err), err);
        assert_int_equal(n, ids.n);
        assert_memory_equal(v, ids.v, (size_t)n * sizeof *v);
        assert_true(n <= a.longest);
        assert_memory_equal(v, sd_rendered_ids(&a, 0, &k), (size_t)a.n_prefix * sizeof *v);
        sd_ids_release(&ids);
    }
    rendered(&b, (sd_system){SD_SYSTEM_NONE, NULL});
    rendered(&c, (sd_system){SD_SYSTEM_TEXT, "be kind"});
    assert_true(b.longest < a.longest && strcmp(a.sha256, b.sha256) != 0);
    assert_string_equal(a.sha256, c.sha256);
    sd_rendered_release(&a);
    sd_rendered_release(&b);
    sd_rendered_release(&c);
    const char *long_text = chat_template;
    assert_int_equal(sd_render(&a, m, &long_text, 1, &(sd_render_opt){.n_ctx = 50}, &err), SD_E_ARG);
    t_ok(sd_render(&a, m, text, N, &(sd_render_opt){.wrap = "say {}!"}, &err), err);
    sd_rendered_release(&a);
}

typedef struct answers { int32_t id[N][GEN]; int64_t n[N]; float logits[N][V]; int seen; } answers;

static sd_status keep_answer(void *self, int64_t prompt, const int32_t *ids, int64_t n, bool ended, sd_err *err)
{
    answers *a = self;
    (void)err;
    (void)ended;
    memcpy(a->id[prompt], ids, (size_t)n * sizeof *ids);
    a->n[prompt] = n;
    a->seen++;
    return SD_OK;
}
static sd_status keep_logits(void *self, int64_t prompt, const float *logits, sd_err *err)
{
    (void)err;
    memcpy(((answers *)self)->logits[prompt], logits, V * sizeof *logits);
    return SD_OK;
}

/* Three lanes for nine prompts of different lengths, against each prompt alone. */
static void answers_are_those_of_one_prompt_alone(void **state)
{
    static answers a;
    sd_rendered r;
    sd_batch *b = NULL;
    sd_err err = {0};
    (void)state;
    rendered(&r, (sd_system){0});
    t_ok(sd_batch_open(&b, ex, m, &r, &(sd_batch_opt){.n_lanes = 3, .n_gen = GEN, .max_rows = 64}, &err), err);
    for (int pass = 0; pass < 2; pass++) { /* the second one uses the prefix that is there */
        a = (answers){0};
        t_ok(sd_batch_run(b, &(sd_batch_want){.n_gen = GEN, .self = &a, .on_answer = keep_answer, .on_first = keep_logits}, &err), err);
        assert_int_equal(a.seen, N);
        for (int i = 0; i < N; i++) {
            sd_generate_result g;
            int64_t n;
            const int32_t *ids = sd_rendered_ids(&r, i, &n);
            t_ok(sd_lab_generate(&g, ex, m, ids, n, &(sd_generate_opt){.n_gen = GEN}, &err), err);
            assert_int_equal(a.n[i], g.lane[0].ids.n);
            assert_memory_equal(a.id[i], g.lane[0].ids.v, (size_t)a.n[i] * sizeof(int32_t));
            sd_generate_release(&g);
        }
    }
    assert_memory_equal(a.logits[0], a.logits[5], sizeof a.logits[0]); /* the same prompt in another lane */
    int64_t which[2] = {7, 2};
    a = (answers){0};
    t_ok(sd_batch_run(b, &(sd_batch_want){.which = which, .n = 2, .n_gen = 1, .self = &a, .on_answer = keep_answer}, &err), err);
    assert_int_equal(a.seen, 2);
    sd_batch_close(b);
    sd_rendered_release(&r);
}

typedef struct tail { float row[N][4][64]; int n[N]; } tail;

static sd_status keep_rows(void *self, int64_t prompt, const sd_act *act, int64_t from_end, sd_err *err)
{
    tail *t = self;
    (void)err;
    for (int64_t i = 0; i < act->x.rows; i++) {
        memcpy(t->row[prompt][from_end - i - 1], sd_mat_row(act->x, i), 64 * sizeof(float));
        t->n[prompt]++;
    }
    return SD_OK;
}

/* The last rows of a prompt at a site; of a prompt that is alone (all of it but one token is shared) too; nothing of the answer. */
static void rows_are_shown_from_the_end(void **state)
{
    static tail all, one;
    sd_rendered r, single;
    sd_batch *b = NULL, *c = NULL;
    sd_site site = {SD_SITE_RESID_POST, 1};
    sd_err err = {0};
    (void)state;
    rendered(&r, (sd_system){0});
    t_ok(sd_batch_open(&b, ex, m, &r, &(sd_batch_opt){.n_lanes = 4, .n_gen = 3}, &err), err);
    t_ok(sd_batch_run(b, &(sd_batch_want){.n_gen = 3, .self = &all, .site = &site, .n_site = 1, .n_tail = 4, .on_rows = keep_rows}, &err), err);
    for (int i = 0; i < N; i++) assert_int_equal(all.n[i], 4);
    t_ok(sd_render(&single, m, &text[4], 1, &(sd_render_opt){0}, &err), err);
    t_ok(sd_batch_open(&c, ex, m, &single, &(sd_batch_opt){0}, &err), err);
    t_ok(sd_batch_run(c, &(sd_batch_want){.self = &one, .site = &site, .n_site = 1, .n_tail = 4, .on_rows = keep_rows, .last_layer = 1}, &err), err);
    assert_memory_equal(one.row[0], all.row[4], sizeof one.row[0]);
    sd_batch_close(b);
    sd_batch_close(c);
    sd_rendered_release(&r);
    sd_rendered_release(&single);
}

/* An ablated direction is nowhere in the stream; taken off again, the model is what it was, bit for bit. */
static void ablation_leaves_nothing_of_a_direction(void **state)
{
    static answers plain, cut, again;
    static tail t;
    float u[64];
    sd_rendered r;
    sd_batch *b = NULL;
    sd_ablate a;
    sd_err err = {0};
    sd_site site = {SD_SITE_RESID_PRE, 2};
    (void)state;
    for (int i = 0; i < 64; i++) u[i] = (float)((i * 7) % 11) - 5;
    assert_true(sd_unit(u, u, 64));
    rendered(&r, (sd_system){0});
    t_ok(sd_batch_open(&b, ex, m, &r, &(sd_batch_opt){.n_lanes = 4}, &err), err);
    t_ok(sd_batch_run(b, &(sd_batch_want){.self = &plain, .on_first = keep_logits}, &err), err);
    t_ok(sd_ablate_init(&a, m, u, 1, &err), err);
    sd_hook h = sd_ablate_hook(&a);
    t_ok(sd_batch_edit(b, &h, 1, &err), err);
    t_ok(sd_batch_run(b, &(sd_batch_want){.self = &cut, .on_first = keep_logits}, &err), err);
    t_ok(sd_batch_run(b, &(sd_batch_want){.self = &t, .site = &site, .n_site = 1, .n_tail = 4, .on_rows = keep_rows, .last_layer = 2}, &err), err);
    for (int i = 0; i < N; i++)
        for (int k = 0; k < 4; k++) /* f32 rounding of a dot of 64 numbers of size 1 */
            assert_true(sd_dot(u, t.row[i][k], 64) < 1e-5 && sd_dot(u, t.row[i][k], 64) > -1e-5);
    assert_true(memcmp(plain.logits, cut.logits, sizeof plain.logits) != 0);
    assert_true(a.n_rows > 0);
    t_ok(sd_batch_edit(b, NULL, 0, &err), err);
    sd_ablate_release(&a);
    t_ok(sd_ablate_init(&a, m, u, 0, &err), err); /* nothing of it is taken: h - 0 u = h */
    h = sd_ablate_hook(&a);
    t_ok(sd_batch_edit(b, &h, 1, &err), err);
    t_ok(sd_batch_run(b, &(sd_batch_want){.self = &again, .on_first = keep_logits}, &err), err);
    assert_memory_equal(plain.logits, again.logits, sizeof plain.logits);
    t_ok(sd_batch_edit(b, NULL, 0, &err), err);
    sd_ablate_release(&a);
    sd_batch_close(b);
    sd_rendered_release(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(what_prompts_share), T(answers_are_those_of_one_prompt_alone), T(rows_are_shown_from_the_end),
                                       T(ablation_leaves_nothing_of_a_direction)};
    return cmocka_run_group_tests(tests, set_up, tear_down) ? 1 : 0;
}
