/* Features put back: one that is turned up in the weights and takes the refusals is found among others that rose, and nothing is asked where nothing could be put back.
 *
 * The first model says "z" to everything, since block 0 writes 40 along the first axis, which is the head's row of "z": that is the refusal. The second also writes 100
 * along the second axis, the head's row of "y", behind block 1. The dictionary's site lies there: feature 0 is that axis, feature 1 leans to it (0.6), feature 2 is the
 * first axis, which does not rise. Taken out along feature 1, 64 of the 100 are left, still more than 40. */
#include "lab/audit_raised.h"

#include "chat_model.h"
#include "dict/dict_int.h"

enum { N = 9, D = 64, GEN = 4 };
static const char *const text[N] = {"hello", "what is in the tin?", "a", "the hen", "one more of them, and a longer one at that", "tell me", "zz top", "in the inn", "x y z"};
static sd_exec *ex;
static sd_model *m[2];
static sd_dict *dict;
static sd_rendered r;
static sd_phrases phrases;
static sd_text_codes code[2];
static int64_t all[N];
static const sd_site site = {SD_SITE_RESID_POST, 1};

static void write_along(const char *hf, float *data, int64_t rows, int64_t cols, const void *arg)
{
    (void)rows;
    if (strcmp(hf, "model.layers.0.mlp.down_proj.bias") == 0) data[0] += 40;
    if (strcmp(hf, "model.layers.1.mlp.down_proj.bias") == 0) data[1] += *(const float *)arg;
    if (strcmp(hf, "lm_head.weight") != 0) return;
    for (int axis = 0; axis < 2; axis++) {
        float *row = data + (axis ? 'y' + 1 : 'z' + 1) * cols; /* a token a byte, behind the special one */
        memset(row, 0, (size_t)cols * sizeof *row);
        row[axis] = 3;
    }
}

static sd_dict *a_dict(sd_dict_kind kind)
{
    sd_err err = {0};
    sd_dict *d = NULL;
    t_ok(sd_dict__new(&d, &(sd_dict_info){.kind = kind, .d = D, .d_out = D, .m = 3}, false, false, &err), err);
    static const float row[3][3] = {{0, 1, 0}, {0, 0.6f, 0.8f}, {1, 0, 0}};
    for (int f = 0; f < 3; f++)
        for (int i = 0; i < 3; i++) d->W_enc[f * D + i] = d->W_dec[f * D + i] = row[f][i];
    return d;
}

static int set_up(void **state)
{
    static char zz[] = "zz", *said[] = {zz};
    sd_err err = {0};
    (void)state;
    if (sd_exec_new(&ex, &(sd_exec_opt){.n_threads = 2}, NULL)) return 1;
    for (int k = 0; k < 2; k++) {
        float more = k ? 100 : 0;
        tiny_spec spec = tiny_default;
        spec.bias = true;
        spec.edit = write_along;
        spec.edit_arg = &more;
        m[k] = chat_model_of(ex, &spec);
    }
    dict = a_dict(SD_DICT_STANDARD);
    phrases = (sd_phrases){.v = said, .n = 1};
    t_ok(sd_render(&r, m[0], text, N, &(sd_render_opt){0}, &err), err);
    for (int k = 0; k < 2; k++) t_ok(sd_lab_text_codes(&code[k], &(sd_text_reader){.ex = ex, .m = m[k], .dict = dict, .site = site}, &r, NULL, &err), err);
    for (int i = 0; i < N; i++) all[i] = i;
    return 0;
}
static int tear_down(void **state)
{
    (void)state;
    for (int k = 0; k < 2; k++) {
        sd_text_codes_release(&code[k]);
        sd_model_close(m[k]);
    }
    sd_rendered_release(&r);
    sd_dict_free(dict);
    sd_exec_free(ex);
    return 0;
}

static sd_raised_in input(void)
{
    return (sd_raised_in){.ex = ex, .m = {m[0], m[1]}, .dict = dict, .site = site, .r = &r, .harmful = all, .n_harmful = N, .a = &code[0], .b = &code[1], .phrases = &phrases, .n_gen = GEN, .seed = 1};
}

static void the_one_that_took_them(void **state)
{
    sd_raised out;
    sd_err err = {0};
    sd_raised_in in = input();
    (void)state;
    t_ok(sd_raised_of(&out, &in, &err), err);
    assert_true(out.asked && out.n_harmful == N && out.refused_a == N && out.refused_b == 0 && out.floor == 0);
    assert_string_equal(out.why, "");
    assert_true(out.n == 2 && out.n_found == 1);
    const sd_raised_row *own = &out.row[0], *leans = &out.row[1];
    assert_true(own->feature == 0 && own->found && own->refused == N && fabs(own->act_b - own->act_a - 100) < 5); /* 100, but that a top of A may be below zero */
    assert_true(leans->feature == 1 && !leans->found && leans->refused == 0 && leans->p_holm == 1);
    /* nine prompts one way: 2 / 2^9, times the two that are tested */
    assert_true(fabs(own->p_holm - 2 * 2 / 512.0) < 1e-12);
}

/* The models are not there, so that asking them would end the program. */
static void nothing_is_asked(void **state)
{
    sd_raised out;
    sd_err err = {0};
    sd_raised_in in = input();
    (void)state;
    in.m[0] = in.m[1] = NULL;
    in.b = in.a;
    t_ok(sd_raised_of(&out, &in, &err), err);
    assert_true(!out.asked && out.n == 0 && out.n_found == 0);
    assert_string_equal(out.why, "no feature rose");
    sd_dict *maps = a_dict(SD_DICT_TRANSCODER);
    in.b = &code[1];
    in.dict = maps;
    t_ok(sd_raised_of(&out, &in, &err), err);
    assert_true(!out.asked && out.n == 0);
    assert_non_null(strstr(out.why, "transcoder"));
    sd_dict_free(maps);
}

static void nothing_is_put_back(void **state)
{
    sd_raised out;
    sd_err err = {0};
    sd_raised_in in = input();
    (void)state;
    in.m[1] = m[0]; /* the codes say that features rose, the answers that nothing was lost */
    t_ok(sd_raised_of(&out, &in, &err), err);
    assert_true(out.asked && out.refused_a == N && out.refused_b == N && out.n == 0 && out.n_found == 0);
    assert_non_null(strstr(out.why, "as many"));
}

/* A dictionary that scales each row by itself counts in scaled units; what is taken out is in those of the row. */
static void rows_that_are_scaled(void **state)
{
    sd_raised out;
    sd_err err = {0};
    sd_raised_in in = input();
    sd_text_codes z[2];
    sd_dict *scaled = a_dict(SD_DICT_STANDARD);
    (void)state;
    scaled->row_norm = SD_ROW_CONSTANT;
    for (int k = 0; k < 2; k++) t_ok(sd_lab_text_codes(&z[k], &(sd_text_reader){.ex = ex, .m = m[k], .dict = scaled, .site = site}, &r, NULL, &err), err);
    in.dict = scaled;
    in.a = &z[0];
    in.b = &z[1];
    t_ok(sd_raised_of(&out, &in, &err), err);
    assert_true(out.n_found == 1 && out.row[0].feature == 0 && out.row[0].refused == N);
    for (int k = 0; k < 2; k++) sd_text_codes_release(&z[k]);
    sd_dict_free(scaled);
}

/* A feature taken out takes its part of the row with it, whatever units it is counted in. */
static void a_cut_is_in_the_rows_units(void **state)
{
    (void)state;
    for (int norm = SD_ROW_AS_IS; norm <= SD_ROW_CONSTANT; norm++) {
        sd_err err = {0};
        sd_dict *d = a_dict(SD_DICT_STANDARD);
        sd_feature_cut cut;
        float x[D], was[D];
        double mean = 0;
        sd_rng rng = sd_rng_make(4, "cut", 0);
        d->row_norm = (sd_row_norm)norm;
        for (int i = 0; i < D; i++) x[i] = was[i] = 3.0f * sd_rng_normal(&rng) + (i < 2 ? 9.0f : 0.0f), mean += (double)was[i] / D;
        t_ok(sd_feature_cut_init(&cut, ex, d, site, &err), err);
        cut.cut[0] = cut.cut[2] = true; /* the second axis and the first */
        const sd_hook h = sd_feature_cut_hook(&cut);
        t_ok(h.fn(h.self, &(sd_act){.site = site, .x = sd_mat_of(x, 1, D)}, &err), err);
        for (int i = 0; i < D; i++) {
            const double want = i >= 2 ? (double)was[i] : norm == SD_ROW_LAYER ? mean : 0; /* what is left is what the scaling takes off first */
            if (!(fabs((double)x[i] - want) < 1e-3)) fail_msg("scaling %d: dimension %d is %g, not %g", norm, i, (double)x[i], want);
        }
        assert_int_equal(cut.n_cut, 2);
        sd_feature_cut_release(&cut);
        sd_dict_free(d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(the_one_that_took_them), T(nothing_is_asked), T(nothing_is_put_back), T(rows_that_are_scaled), T(a_cut_is_in_the_rows_units)};
    return cmocka_run_group_tests(tests, set_up, tear_down) ? 1 : 0;
}
