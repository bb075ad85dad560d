/* The parts of interest on features whose parts are known. */
#include "feature_sample.h"
#include "lab/feature_words.h"
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
    const int32_t one[] = {50}, twenty[] = {20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39};
    make(&c, one, 1, 0);
    sd_interest_parts p = sd_interest_of(s, &c.f, 0);
    assert_true(p.density == 1 && p.logits == 0 && p.fresh >= 0.9 && fabs(p.n_tokens - 1) < 1e-12);
    assert_true(p.context < 0.2); /* random surroundings share little */
    make(&c, twenty, 20, 5);
    sd_interest_parts theme = sd_interest_of(s, &c.f, 0);
    assert_true(fabs(theme.n_tokens - 20) < 1e-9);
    assert_true(theme.context >= 0.2 && theme.context > p.context); /* one of five words at full strength */
    make(&c, one, 1, 50);
    assert_true(sd_interest_of(s, &c.f, 0).context < 0.2); /* the peak's own word is no context */
    make(&c, twenty, 20, 0);
    assert_true(sd_interest_of(s, &c.f, 8).logits == 1 && sd_interest_of(s, &c.f, 6).logits == 0.5);
    for (int i = 10; i < N; i++) memcpy(c.tok[i], c.tok[i - 10], 16 * sizeof(int32_t)), memcpy(c.tok[i] + 17, c.tok[i - 10] + 17, 10 * sizeof(int32_t));
    p = sd_interest_of(s, &c.f, 8);
    assert_true(p.fresh <= 0.5 && p.fresh >= 0.4); /* half of them are near copies */
    c.f.stats.density = 1e-5;
    assert_true(fabs(sd_interest_of(s, &c.f, 0).density - 0.1) < 1e-9);
    c.f.stats.density = 0.5;
    assert_true(fabs(sd_interest_of(s, &c.f, 0).density - 0.02) < 1e-9);
    c.f.n_example = 1;
    p = sd_interest_of(s, &c.f, 8);
    assert_true(sd_interest_score(&p, 10, 1) == 0); /* nothing to compare */
    sd_interest_free(s);
    sd_tok_free(tok);
}

static void formula(void **state)
{
    (void)state;
    const sd_interest_parts p = {.density = 0.5, .n_tokens = 9, .fresh = 0.8, .context = 0.6, .logits = 0.4};
    assert_true(fabs(sd_interest_score(&p, 2.5, 0.5) - 0.5 * 0.5 * 0.8 * 0.625 * (0.2 + 0.3 + 0.12)) < 1e-12);
    assert_true(sd_interest_score(&p, 1, 1) == 0);                                /* one word */
    assert_true(sd_interest_score(&p, 4, 1) == sd_interest_score(&p, 40, 1));     /* four are enough */
    const sd_interest_parts prefix = {.density = 1, .n_tokens = 1, .fresh = 1, .context = 1, .logits = 1}, best = {1, 9, 1, 1, 1};
    assert_true(sd_interest_score(&prefix, 9, 1) == 0); /* one token that begins nine words */
    assert_true(fabs(sd_interest_score(&best, 20, 1) - 1) < 1e-12);
}

/* Words at the peaks, as feature_words counts them. */
static sd_slice bytes(const void *self, int32_t id) { return sd_slice_of(((const char *const *)self)[id]); }

static void words_are_counted_folded(void **state)
{
    (void)state;
    static const char *const piece[] = {" Annabel", "'s", " annabella", " bob", ".", " 12", " the", "\n"};
    const sd_vocab vocab = {bytes, piece};
    /* peaks: Annabel, Annabel's, annabella, bob, "." */
    static const int32_t tok[5][3] = {{6, 0, 6}, {0, 1, 6}, {6, 2, 6}, {6, 3, 4}, {6, 4, 7}};
    static const float val[3];
    sd_example ex[5];
    const sd_token_logit top[1] = {{3, 1.0f}};
    for (int i = 0; i < 5; i++) ex[i] = (sd_example){.rank = i, .doc = i, .pos = 1, .n = 3, .act = 1, .tok = tok[i], .val = val};
    sd_feature f = {.n_example = 5, .example = ex, .n_top = 1, .top = top};
    sd_feature_words w;
    sd_feature_text text;
    sd_err err = {0};
    sd_feature_words_init(&w);
    t_ok(sd_feature_words_of(&w, &f, &vocab, &text, &err), err);
    const double h = -(0.6 * log(0.6) + 2 * 0.2 * log(0.2)); /* ann 3, bob 1, "." 1 */
    assert_true(fabs(w.n_words - exp(h)) < 1e-12);
    assert_true(fabs(w.letters - 0.8) < 1e-12);
    assert_string_equal(f.words, "Annabel, Annabel's, annabella, bob, .");
    assert_true(sd_slice_eq_str(text.peak, "Annabel Annabel's annabella bob . "));
    assert_true(sd_slice_eq_str(text.logits, " bob "));
    assert_true(sd_slice_starts(text.context, " the Annabel the\n Annabel's the\n"));
    f.n_example = 0;
    t_ok(sd_feature_words_of(&w, &f, &vocab, &text, &err), err);
    assert_string_equal(f.words, "");
    assert_true(w.n_words == 0 && w.letters == 0);
    sd_feature_words_release(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(parts), T(formula), T(words_are_counted_folded)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
