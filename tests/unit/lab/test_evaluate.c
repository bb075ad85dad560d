/* Which text a dictionary is evaluated on: all of it, or what lies wholly among a run's held-out rows. */
#include "tiny_open.h"

#include "dict/dict_kinds.h"
#include "lab/evaluate.h"

enum { D = 64, CTX = 32, WORDS = 100 };
static sd_exec *ex;
static sd_model *model;

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

static void held_out_text_alone(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_corpus *corpus;
    sd_harvest *h;
    sd_dict *d;
    char text[8 * WORDS + 1] = "";
    float rows[16 * D];
    sd_rng r = sd_rng_make(1, "rows", 0);
    for (int i = 0; i < WORDS; i++) snprintf(text + strlen(text), 9, "w%d ", i);
    for (int i = 0; i < 16 * D; i++) rows[i] = sd_rng_normal(&r);
    t_ok(sd_corpus_of_text(&corpus, sd_slice_of(text), "words", &err), err);
    t_ok(sd_harvest_open(&h, ex, model, corpus, &(sd_harvest_opt){.site = {SD_SITE_RESID_POST, 1}, .n_ctx = CTX}, &err), err);
    t_ok(sd_dict_identity(&d, ex, sd_mat_of(rows, 16, D), &(sd_dict_info){.site = "resid_post.1"}, &err), err);
    const int64_t n = sd_harvest_contexts(h), all = sd_harvest_rows(h);
    assert_true(n > 6 && sd_harvest_context_row(h, 0) == 0);
    static const int64_t last[] = {0, 1, CTX - 1, CTX, 2 * CTX + 5, 3 * CTX};
    for (size_t i = 0; i < sizeof last / sizeof *last; i++)
        for (int64_t most = 0; most < 3; most += 2) {
            sd_evaluation e;
            t_ok(sd_lab_evaluate(&e, ex, model, d, h, &(sd_evaluate_opt){.max_contexts = most, .last_rows = last[i]}, &err), err);
            int64_t want = 0; /* contexts from the end on as long as they lie among the last rows */
            for (int64_t c = n; c > 0 && last[i] && all - sd_harvest_context_row(h, c - 1) <= last[i]; c--) want++;
            want = !last[i] ? n : want ? want : 1;
            assert_int_equal(e.n_contexts, most && most < want ? most : want);
            if (last[i] >= CTX) assert_true(e.n_replaced + e.n_kept <= last[i]);
        }
    sd_dict_free(d);
    sd_harvest_close(h);
    sd_corpus_close(corpus);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(held_out_text_alone)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
