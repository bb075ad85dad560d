/* The parts of interest on features whose parts are known. */
#include "feature_sample.h"
#include "lab/interest.h"

#include <math.h>

enum { N = 20, WIN = 33 };

/* 20 examples of 33 tokens: peaks from `peak` in turn; the rest drawn from the vocabulary, token `theme` at four places of each. */
typedef struct feature_case { sd_feature f; sd_example ex[N]; int32_t tok[N][WIN]; float val[N][WIN]; } feature_case;
static void make(feature_case *c, const int32_t *peak, int n_peak, int32_t theme)
{
    sd_rng r = sd_rng_make(11, "interest", 0);
    for (int i = 0; i < N; i++) {
        for (int t = 0; t < WIN; t++) c->tok[i][t] = 10 + (int32_t)sd_rng_below(&r, 100);
        for (int t = 0; t < 4 && theme; t++) c->tok[i][3 + 7 * t] = theme;
        c->tok[i][16] = peak[i % n_peak];
        c->ex[i] = (sd_example){.group = 0, .rank = i, .doc = i, .pos = 116, .pos0 = 100, .n = WIN, .act = 1, .tok = c->tok[i], .val = c->val[i]};
    }
    c->f = (sd_feature){.stats = {.density = 1e-3, .n_fire = 1000}, .n_example = N, .example = c->ex};
}

static sd_interest *counts(const sd_tok *tok)
{
    sd_err err = {0};
    sd_interest *s = NULL;
    sd_rows rows = {0};
    sd_rng r = sd_rng_make(12, "text", 0);
    for (int32_t i = 0; i < 20000; i++) {
        int32_t token = i % 1000 == 0 ? 5 : 10 + (int32_t)sd_rng_below(&r, 100), doc = 0; /* token 5 is rare: 1 in 1000 */
        t_ok(sd_rows_put(&rows, &token, &doc, &i, 1, &err), err);
    }
    t_ok(sd_interest_new(&s, &rows, tok, &err), err);
    sd_rows_release(&rows);
    return s;
}

static void parts(void **state)
{
    (void)state;
    static feature_case c;
    sd_tok *tok = fs_tok();
    sd_interest *s = counts(tok);
    const int32_t one[] = {50}, four[] = {50, 51, 52, 53}, twenty[] = {20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39};
    make(&c, one, 1, 0);
    sd_interest_parts p = sd_interest_of(s, &c.f, 0);
    assert_true(p.variety == 0 && p.score == 0); /* a feature of one word */
    make(&c, four, 4, 0);
    p = sd_interest_of(s, &c.f, 0);
    assert_true(fabs(p.variety - 1) < 1e-9 && p.density == 1 && p.logits == 0);
    assert_true(p.context < 0.2); /* random surroundings share little */
    make(&c, twenty, 20, 5);
    sd_interest_parts theme = sd_interest_of(s, &c.f, 0);
    assert_true(theme.context >= 0.2); /* one of five words at full strength */
    assert_true(theme.context > p.context && theme.score > p.score);
    p = sd_interest_of(s, &c.f, 8);
    assert_true(p.logits == 1 && fabs(p.score - (theme.score + 0.4)) < 1e-9);
    assert_true(sd_interest_of(s, &c.f, 6).logits == 0.5);
    c.f.stats.density = 1e-5;
    assert_true(fabs(sd_interest_of(s, &c.f, 0).density - 0.1) < 1e-9);
    c.f.stats.density = 0.5;
    assert_true(fabs(sd_interest_of(s, &c.f, 0).density - 0.02) < 1e-9);
    c.f.n_example = 1;
    assert_true(sd_interest_of(s, &c.f, 8).score == 0); /* nothing to compare */
    sd_interest_free(s);
    sd_tok_free(tok);
}

static void case_and_spaces_are_folded(void **state)
{
    (void)state;
    static feature_case c;
    sd_err err = {0};
    const sd_slice piece[] = {SD_LIT("the"), SD_LIT("\xc4\xa0The"), SD_LIT("THE"), SD_LIT("\xc4\xa0the"), SD_LIT("."), SD_LIT("\xc4\xa0.")};
    sd_tok *tok = NULL;
    t_ok(sd_tok_new(&tok, &(sd_tok_spec){.kind = SD_TOK_BPE, .n_vocab = 6, .piece = piece, .pre = SD_LIT("gpt-2"), .bos = -1, .eos = -1,
                                         .unk = -1, .pad = -1}, &err), err);
    sd_rows rows = {0};
    for (int32_t i = 0; i < 60; i++) {
        int32_t token = i % 6, doc = 0;
        t_ok(sd_rows_put(&rows, &token, &doc, &i, 1, &err), err);
    }
    sd_interest *s = NULL;
    t_ok(sd_interest_new(&s, &rows, tok, &err), err);
    const int32_t same[] = {0, 1, 2, 3}, signs[] = {4, 5};
    make(&c, same, 4, 0);
    assert_true(sd_interest_of(s, &c.f, 8).variety < 1e-9);
    make(&c, signs, 2, 0);
    assert_true(fabs(sd_interest_of(s, &c.f, 8).variety - 1.0 / 3) < 1e-9); /* signs are themselves */
    sd_interest_free(s);
    sd_rows_release(&rows);
    sd_tok_free(tok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(parts), T(case_and_spaces_are_folded)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
