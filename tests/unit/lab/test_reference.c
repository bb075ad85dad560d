/* Reference text: its rows are the site's rows on that text without special tokens and sinks, measured once. */
#include "tiny_open.h"

#include "lab/reference.h"

enum { D = 64 };
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

static float seen[256 * D];
static sd_status look(void *self, sd_act *act, sd_err *err)
{
    (void)self;
    (void)err;
    memcpy(seen + act->pos0 * D, act->x.data, sizeof(float) * (size_t)(act->x.rows * D));
    return SD_OK;
}

static void rows_are_the_sites(void **state)
{
    (void)state;
    static const char text[] = "the cat and the gate; a word, another one, 12 of them";
    sd_err err = {0};
    sd_reference *r;
    sd_session *s;
    sd_runner *by;
    sd_ids ids = {0};
    sd_mat x, again;
    const sd_site at = {SD_SITE_RESID_POST, 1};
    t_ok(sd_reference_new(&r, ex, model, sd_slice_of(text), &err), err);
    t_ok(sd_reference_rows(r, &x, at, &err), err);
    t_ok(sd_tok_encode(model->tok, sd_slice_of(text), &(sd_encode_opt){0}, &ids, &err), err);
    t_ok(sd_session_new(&s, model, &(sd_session_opt){.n_ctx = 256}, &err), err);
    t_ok(sd_runner_new(&by, ex, model, &(sd_runner_opt){.max_rows = 256}, &err), err);
    t_ok(sd_session_attach(s, &(sd_hook){.name = "look", .at = &at, .n_at = 1, .mode = SD_HOOK_READ, .fn = look}, NULL, &err), err);
    t_ok(sd_runner_step(by, &(sd_segment){.s = s, .tok = ids.v, .n = ids.n}, 1, -1, &err), err);
    int64_t k = 0;
    for (int64_t i = 0; i < ids.n; i++) {
        if (sd_tok_is_special(model->tok, ids.v[i])) continue;
        assert_true(k < x.rows); /* this random model has no sinks */
        assert_memory_equal(sd_mat_row(x, k++), seen + i * D, D * sizeof(float));
    }
    assert_int_equal(k, x.rows);
    t_ok(sd_reference_rows(r, &again, at, &err), err);
    assert_ptr_equal(again.data, x.data);
    assert_int_equal(sd_reference_rows(r, &again, (sd_site){SD_SITE_ATTN_PATTERN, 0}, &err), SD_E_ARG);
    assert_int_equal(sd_reference_rows(r, &again, (sd_site){SD_SITE_LOGITS, 0}, &err), SD_E_ARG);
    sd_ids_release(&ids);
    sd_runner_free(by);
    sd_session_free(s);
    sd_reference_free(r);
}

static void the_built_in_text(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_reference *r;
    sd_mat x;
    t_ok(sd_reference_new(&r, ex, model, SD_LIT(""), &err), err);
    t_ok(sd_reference_rows(r, &x, (sd_site){SD_SITE_EMBED, 0}, &err), err);
    assert_true(x.rows > 64); /* cut to the tiny model's context */
    sd_reference_free(r);
    assert_int_equal(sd_reference_new(&r, ex, model, SD_LIT("a"), &err), SD_E_FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(rows_are_the_sites), T(the_built_in_text)};
    return cmocka_run_group_tests(tests, set_up, tear_down) ? 1 : 0;
}
