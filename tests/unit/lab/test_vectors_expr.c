/* Expressions of words: what they compute in a plane where it can be seen, and what is refused. */
#include "t.h"
#include "lab/vectors.h"

#include <math.h>

/* Words a..f as fixed points of the plane. */
static const double place[6][2] = {{3, 4}, {1, 0}, {0, 2}, {-1, 1}, {0, 0}, {2, 2}};

static sd_status value(double out[2], const char *text, sd_err *err)
{
    sd_expr e;
    double vec[SD_VECTORS_MAX_WORDS][2], stack[SD_VECTORS_MAX_WORDS][2];
    sd_status st = sd_expr_parse(&e, text, err);
    for (int w = 0; !st && w < e.n_word; w++) memcpy(vec[w], place[e.word[w][0] - 'a'], sizeof vec[w]);
    return st ? st : sd_expr_eval(out, &e, &vec[0][0], &stack[0][0], 2, err);
}

static void it_computes(void **state)
{
    (void)state;
    static const struct { const char *text; double x, y; } t[] = {
        {"a", 3, 4},           {"a + b - c", 4, 2},    {"a |- b", 0, 4},      {"a | b", 3, 0},      {"a - b |- c", 2, 0},
        {"a - (b |- c)", 2, 4}, {"2*a - 0.5*c", 6, 7},  {"-1*b + a", 2, 4},    {"'a' + \"b\"", 4, 4}, {" (( a )) ", 3, 4},
        {"a|-b", 0, 4},        {"a+b", 4, 4},          {"2*(a + b) | f", 8, 8}, {"c |- b + b", 1, 2}};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        double out[2];
        sd_err err = {0};
        t_ok(value(out, t[i].text, &err), err);
        if (out[0] != t[i].x || out[1] != t[i].y) fail_msg("%s: %g %g", t[i].text, out[0], out[1]);
    }
}

static void a_hyphen_is_no_minus(void **state)
{
    (void)state;
    sd_expr e;
    sd_err err = {0};
    t_ok(sd_expr_parse(&e, "well-known - 'New York' + \xc3\xa9t\xc3\xa9 + 3d", &err), err);
    assert_int_equal(e.n_word, 4);
    assert_string_equal(e.word[0], "well-known");
    assert_string_equal(e.word[1], "New York");
    assert_string_equal(e.word[2], "\xc3\xa9t\xc3\xa9");
    assert_string_equal(e.word[3], "3d");
}

static void faults_are_told_with_their_place(void **state)
{
    (void)state;
    static const struct { const char *text, *says; } t[] = {
        {"", "byte 0: a word is missing"}, {"a +", "byte 3: a word is missing"}, {"a b", "byte 2: an operator is wanted"}, {"(a", "not closed"}, {"a)", "not opened"},
        {"'a", "byte 0: a quote"}, {"a + ''", "an empty word"}, {"1.2.3*a", "no number"}, {"a |- e", "length 0"}, {"a + + b", "a word is wanted"},
        {"((((((((((((((((((a))))))))))))))))))", "16 brackets"}};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        double out[2];
        sd_err err = {0};
        assert_int_equal(value(out, t[i].text, &err), SD_E_ARG);
        if (!strstr(err.msg, t[i].says)) fail_msg("%s: %s", t[i].text, err.msg);
    }
    char many[1024] = "a";
    for (int i = 0; i < 64; i++) snprintf(many + strlen(many), sizeof many - strlen(many), " + a");
    sd_err err = {0};
    double out[2];
    assert_int_equal(value(out, many, &err), SD_E_ARG);
    assert_non_null(strstr(err.msg, "more than 64 words"));
    memset(many, 'x', 200);
    many[200] = '\0';
    assert_int_equal(value(out, many, &err), SD_E_ARG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(it_computes), T(a_hyphen_is_no_minus), T(faults_are_told_with_their_place)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
