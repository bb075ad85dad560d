/* Parts of machine labels: the area under the curve, what is left of an answer, words that overlap. */
#include "t.h"
#include "lab/label_int.h"

static void area_under_the_curve(void **state)
{
    (void)state;
    static const bool truth[] = {1, 0, 1, 0};
    assert_true(sd_label__auc((double[]){2, 1, 2, 1}, truth, 4) == 1);
    assert_true(sd_label__auc((double[]){1, 2, 1, 2}, truth, 4) == 0);
    assert_true(sd_label__auc((double[]){1, 1, 1, 1}, truth, 4) == 0.5);
    assert_true(sd_label__auc((double[]){3, 2, 1, 0}, truth, 4) == 0.75);
    /* A judge that says yes or no: the balanced share of right answers. */
    assert_true(sd_label__auc((double[]){1, 1, 1, 0}, truth, 4) == 0.75);
    assert_true(sd_label__auc((double[]){1, 0}, (const bool[]){1, 1}, 2) == 0.5); /* nothing to compare with */
}

static void one_clean_line(void **state)
{
    (void)state;
    static const struct { const char *said, *want; } t[] = {
        {"\"Suspension bridges.\"\nThey are", "Suspension bridges"}, {"  \n\n**names of rivers** ", "names of rivers"}, {"", ""}, {"\x1b[31mred\x1b[0m", "[31mred[0m"},
        {"caf\xc3\xa9s", "caf\xc3\xa9s"}, {"half \xc3", "half"},
    };
    char out[SD_LABEL_MAX + 1], long_text[400];
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        sd_label__clean(out, sd_slice_of(t[i].said));
        assert_string_equal(out, t[i].want);
    }
    memset(long_text, 'a', sizeof long_text);
    memcpy(long_text + SD_LABEL_MAX - 1, "\xc3\xa9", 2); /* a character across the limit */
    sd_label__clean(out, (sd_slice){long_text, sizeof long_text});
    assert_int_equal(strlen(out), SD_LABEL_MAX - 1);
}

static void words_that_overlap(void **state)
{
    (void)state;
    assert_true(sd_label__overlap("Paris, France", "the road to paris is long", false) == 1.0 / 6);
    assert_true(sd_label__overlap("Paris, France", "no such word", false) == 0);
    assert_true(sd_label__overlap("Paris", "to \xc2\xabParis\xc2\xbb and \xc2\xab" "Rome\xc2\xbb", true) == 0.5);
    assert_true(sd_label__overlap("and", "to \xc2\xabParis\xc2\xbb and Rome", true) == 0);
    assert_true(sd_label__overlap("paris", "", false) == 0);
    assert_true(sd_label__overlap("", "paris", false) == 0);
}

/* Ranks by turns of "alpha" and "beta": of "beta" a label is judged, so its maker must not know it. */
static void a_label_of_tokens_knows_no_held_out_example(void **state)
{
    (void)state;
    enum { N = 20 };
    static const int32_t tok[2][3] = {{2, 0, 2}, {2, 1, 2}};
    static const float val[3] = {0, 1, 0};
    static const char *const text[] = {" alpha", " beta", " \xc2\xabthe\xc2\xbb"};
    sd_err err = {0};
    sd_store *s = NULL;
    sd_store_info in = {.model = {.n_vocab = 3}, .dict = {.m = 1}};
    sd_example ex[N];
    sd_buf out;
    const char *dir = t_tmpdir();
    char path[300];
    snprintf(path, sizeof path, "%s/s.db", dir);
    t_ok(sd_store_create(&s, path, false, &err), err);
    t_ok(sd_store_put_info(s, &in, &err), err);
    for (int i = 0; i < 3; i++) t_ok(sd_store_put_token(s, i, sd_slice_of(text[i]), false, &err), err);
    t_ok(sd_store_commit(s, &err), err);
    t_ok(sd_store_open(&s, path, &err), err);
    for (int i = 0; i < N; i++) ex[i] = (sd_example){.rank = i, .doc = i, .pos = 1, .n = 3, .act = 1, .tok = tok[i % 2], .val = val};
    const sd_token_logit top = {.id = 1, .value = 1};
    sd_feature f = {.n_example = N, .example = ex, .words = "alpha, beta"};
    const sd_labeler by = sd_label_by_tokens(s);
    sd_buf_init(&out, 1 << 16);
    t_ok(by.explain(by.self, &f, "", &out, &err), err);
    assert_string_equal(sd_buf_str(&out), "alpha");
    /* What it promotes is a part of the label; what says so is no word of it. */
    sd_buf_reset(&out);
    f.n_top = 1, f.top = &top;
    t_ok(by.explain(by.self, &f, "", &out, &err), err);
    double score;
    t_ok(by.judge(by.self, &(sd_label_ask){.label = sd_buf_str(&out), .passage = "alpha and then gamma"}, 1, &score, &err), err);
    assert_true(score == 1.0 / 4);
    /* Marks stand around what the feature is on, around nothing else: a text's own become plain quotes. */
    sd_buf_reset(&out);
    t_ok(sd_label__question(&out, s, &f, &err), err);
    assert_non_null(strstr(sd_buf_str(&out), "\n1.  \"the\" \xc2\xab" "alpha\xc2\xbb \"the\"\n"));
    sd_buf_release(&out);
    sd_store_close(s);
    t_rmtree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(area_under_the_curve), T(one_clean_line), T(words_that_overlap), T(a_label_of_tokens_knows_no_held_out_example)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
