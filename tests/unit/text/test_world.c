/* A world's grammar: what it writes, where its labels stand, what is refused and where, and labels of tokens. */
#include "t.h"

#include "text/world.h"

static sd_world *world_of(const char *text)
{
    sd_err err = {0};
    sd_world *w;
    t_ok(sd_world_parse(&w, sd_slice_of(text), "w", &err), err);
    return w;
}

static sd_world_text text_of(const sd_world *w, const char *rule, uint64_t index)
{
    sd_err err = {0};
    sd_world_text t;
    sd_rng rng = sd_rng_make(7, "test", index);
    sd_world_text_init(&t);
    assert_true(sd_world_find_rule(w, rule) >= 0);
    t_ok(sd_world_expand(&t, w, sd_world_find_rule(w, rule), &rng, &err), err);
    return t;
}

static void says(const char *body, const char *want)
{
    char text[1024];
    snprintf(text, sizeof text,
             "world 1 t\nconcept c token a thing\nconcept d context another\na = x\nb.x = deep\n%s\n", body);
    sd_world *w = world_of(text);
    sd_world_text t = text_of(w, "r", 0);
    if (strcmp(sd_buf_str(&t.text), want) != 0) fail_msg("\"%s\" gives \"%s\", expected \"%s\"", body, sd_buf_str(&t.text), want);
    sd_world_text_release(&t);
    sd_world_free(w);
}

static void test_writes(void **state)
{
    (void)state;
    says("r: plain", "plain");
    says("r: one {a} two", "one x two");
    says("r = only ", "only");
    says("r: {3 a}{0 a}.", "xxx.");
    says("r: {v=a}{$v}{$v}", "xxx");
    says("r: {v:=a}\\[{$v}\\] \\{\\}\\\\\\n.", "[x] {}\\\n.");
    says("r: {v:='quoted text'}{$v}", "quoted text");
    says("r: {v=a}{b.$v}{w:=b.$v}{$w}", "xdeepdeep");
    says("r: {^b.x} {+b.x} {^v='lo'}{$v}", "DEEP Deep LOLO");
    says("r: [c: one [d:two]] {a}", "one two x");
    says("# note\nr:\n  only this\n", "only this");
    says("r: end\\s", "end ");
    says("r = end\\s", "end ");
    says("r = two\\s  ", "two ");
    says("r = {a} | {a}", "x");
    says("x.b = put together\nr: {v=a}{$v.b}", "xput together"); /* a variable's name ends at a dot */
    says("r: 3\\* a", "3* a");
    says("r: {v:='it\\'s'}{$v}", "it's");
}

/* Every alternative comes up as often as its weight says. */
static void test_weights(void **state)
{
    (void)state;
    sd_world *w = world_of("world 1 t\nr = 3* a | b\n");
    int n = 0;
    enum { DRAWS = 4000 };
    for (int i = 0; i < DRAWS; i++) {
        sd_world_text t = text_of(w, "r", (uint64_t)i);
        n += t.text.p[0] == 'a';
        sd_world_text_release(&t);
    }
    /* Five standard deviations of a binomial with p = 3/4: sqrt(4000 * 3/16) = 27. */
    assert_in_range(n, 3000 - 137, 3000 + 137);
    sd_world_free(w);
}

static void test_same_bytes(void **state)
{
    (void)state;
    sd_world *w = world_of("world 1 t\nr: {2-9 s}\ns = {q} and | {q} or | {q}\nq = 1 | 2 | 3\n");
    char first[64];
    bool differ = false;
    for (uint64_t i = 0; i < 8; i++) {
        sd_world_text a = text_of(w, "r", i), b = text_of(w, "r", i);
        assert_string_equal(sd_buf_str(&a.text), sd_buf_str(&b.text));
        if (i == 0) snprintf(first, sizeof first, "%s", sd_buf_str(&a.text));
        else differ |= strcmp(first, sd_buf_str(&a.text)) != 0;
        sd_world_text_release(&a);
        sd_world_text_release(&b);
    }
    assert_true(differ);
    sd_world_free(w);
}

static void span_is(const sd_world_text *t, int64_t i, int concept, const char *want)
{
    sd_world_span s = t->span[i];
    assert_int_equal(s.concept, concept);
    assert_int_equal(s.end - s.begin, strlen(want));
    assert_memory_equal(t->text.p + s.begin, want, strlen(want));
}

/* Spans follow a value into and out of a variable; a silent value leaves none where it was made. */
static void test_spans(void **state)
{
    (void)state;
    sd_world *w = world_of("world 1 t\nconcept c token x\nconcept d context y\n"
                           "name: [c: Ada]\nk = d\nr: {n:=name}{k:=k}ab [$k: {$n} and {$n}].\n");
    sd_world_text t = text_of(w, "r", 0);
    assert_string_equal(sd_buf_str(&t.text), "ab Ada and Ada.");
    assert_int_equal(t.n_span, 3);
    span_is(&t, 0, 1, "Ada and Ada");
    span_is(&t, 1, 0, "Ada");
    span_is(&t, 2, 0, "Ada");
    assert_int_equal(t.span[2].begin, 11);
    sd_world_text_release(&t);
    sd_world_free(w);
}

static void test_turns(void **state)
{
    (void)state;
    sd_world *w = world_of("world 1 t\nset n 12\nset s two words\nr: {t:='x'}{@user}Hello{@assistant}Good day\n");
    sd_world_text t = text_of(w, "r", 0);
    int64_t n;
    sd_err err = {0};
    assert_int_equal(t.n_turn, 2);
    assert_string_equal(t.turn[0].role, "user");
    assert_string_equal(t.turn[1].role, "assistant");
    assert_int_equal(t.turn[1].begin, 5);
    assert_int_equal(t.turn[1].end, 13);
    assert_true(sd_slice_eq_str(sd_world_var(&t, w, "t"), "x"));
    assert_int_equal(sd_world_var(&t, w, "unknown").n, 0);
    t_ok(sd_world_number(&n, w, "n", 5, 1, 20, &err), err);
    assert_int_equal(n, 12);
    t_ok(sd_world_number(&n, w, "m", 5, 1, 20, &err), err);
    assert_int_equal(n, 5);
    assert_int_equal(sd_world_number(&n, w, "n", 5, 1, 11, &err), SD_E_FORMAT);
    assert_int_equal(sd_world_number(&n, w, "s", 5, 1, 11, &err), SD_E_FORMAT);
    assert_string_equal(sd_world_setting(w, "s"), "two words");
    sd_world_text_release(&t);
    sd_world_free(w);
}

static void refused(const char *text, const char *say)
{
    sd_err err = {0};
    sd_world *w = (sd_world *)&err;
    sd_status st = sd_world_parse(&w, sd_slice_of(text), "some.world", &err);
    assert_null(w);
    if (st != SD_E_FORMAT || !strstr(err.msg, say)) fail_msg("status %d: \"%s\", expected \"%s\"", (int)st, err.msg, say);
    assert_non_null(strstr(err.msg, "some.world"));
}

static void test_refuses(void **state)
{
    (void)state;
    refused("", "line 1: an empty file");
    refused("hello\n", "line 1: the first line must be");
    refused("world 2 t\n", "line 1: the first line must be");
    refused("world 1 t\nr: {none}\n", "line 2: no rule \"none\"");
    refused("world 1 t\n  early\n", "line 2: an alternative without a rule");
    refused("world 1 t\nr: {open\n", "line 2: {..} does not end");
    refused("world 1 t\nr: [c: x]\n", "a label of no concept: \"c\"");
    refused("world 1 t\nconcept c token x\nr: [c: x\n", "line 3: the line ends inside the label \"c\"");
    refused("world 1 t\nconcept c maybe x\n", "line 2: a concept is");
    refused("world 1 t\nconcept c token x\nconcept c token x\n", "line 3: a concept twice");
    refused("world 1 t\nset a 1\nset a 2\n", "line 3: set twice");
    refused("world 1 t\nr: {65 a}\n", "a repeat is 0 to 64");
    refused("world 1 t\nr: {3-2 a}\n", "a repeat is {3 rule}");
    refused("world 1 t\nr: 0* a\n", "a weight is 1 to 10000");
    refused("world 1 t\nr: 10001* a\n", "a weight is 1 to 10000");
    refused("world 1 t\nv = x\nr: {w=v}{2 $w}\n", "line 3: a rule is repeated");
    refused("world 1 t\nr: {2 w='x'}\n", "a rule is repeated");
    refused("world 1 t\nv = x\nr: {w.x=v}\n", "a variable's name is");
    sd_err err = {0};
    sd_world *w;
    assert_int_equal(sd_world_parse(&w, (sd_slice){"world 1 t\nr: a\0b\n", 17}, "some.world", &err), SD_E_FORMAT);
    assert_string_equal(err.msg, "some.world: no text: byte 14 is 0");
    refused("world 1 t\nr: \\q\n", "unknown escape \"q\"");
    refused("world 1 t\nr: x\\\n", "a backslash with nothing behind it");
    refused("world 1 t\nr: {v='x}\n", "a quoted value does not end");
    refused("world 1 t\nr: {@}\n", "{@role} needs a role");
    refused("world 1 t\nnonsense\n", "line 2: a line is");
    refused("world 1 t\nr: \xff\n", "not UTF-8 text (byte 13)");
}

static void stops(const char *rules, const char *say)
{
    char text[512];
    sd_err err = {0};
    snprintf(text, sizeof text, "world 1 t\nconcept c token x\n%s\n", rules);
    sd_world *w = world_of(text);
    sd_world_text t;
    sd_rng rng = sd_rng_make(1, "test", 0);
    sd_world_text_init(&t);
    sd_status st = sd_world_expand(&t, w, sd_world_find_rule(w, "r"), &rng, &err);
    if (st != SD_E_FORMAT || !strstr(err.msg, say)) fail_msg("status %d: \"%s\", expected \"%s\"", (int)st, err.msg, say);
    sd_world_text_release(&t);
    sd_world_free(w);
}

static void test_stops(void **state)
{
    (void)state;
    stops("r: {r}", "nested more than 64 deep");
    stops("a: {64 b}\nb: {64 d}\nd: {64 e}\ne: {64 f}\nf: {0 a}\nr: {a}", "more than 100,000 steps");
    stops("a: {64 b}\nb: {64 d}\nd: a text of a certain length, said again\nr: {a}", "longer than 64 KiB");
    stops("a: {64 b}\nb: {64 d}\nd: [c:]\ne: {64 f}\nf: {64 g}\ng: {$v}\nr: {v=a}{e}", "more than 65536 labels");
    stops("v = x\nr: {$w} {w=v}", "nothing is in the variable w");
    stops("v = x\nr: {w=v}{no.$w}", "no rule no.x");
    stops("v = x\nr: {w=v}[$w: y]", "no concept x");
    stops("r: text{@user}", "text before the first turn");
    stops("r: [c: {@user}]", "inside a label");
}

/* "ab cd" in tokens "ab", " c", "d": a token is labelled when more than half of it, its leading blank apart, is inside. */
static void test_label_tokens(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_tok *tok;
    enum { BYTES = 256 };
    static char name[BYTES][8];
    sd_slice piece[BYTES + 2];
    int32_t n = 0;
    for (int c = 33; c < 127; c++) { /* printable bytes stand for themselves in the byte alphabet */
        name[n][0] = (char)c;
        piece[n] = (sd_slice){name[n], 1};
        n++;
    }
    piece[n++] = SD_LIT("ab");
    piece[n++] = SD_LIT("\xc4\xa0" "c"); /* a blank is U+0120 */
    sd_tok_spec spec = {.kind = SD_TOK_BPE, .n_vocab = n, .piece = piece, .pre = SD_LIT("gpt-2"), .bos = -1, .eos = -1,
                        .unk = -1, .pad = -1};
    t_ok(sd_tok_new(&tok, &spec, &err), err);
    int32_t id[] = {n - 2, n - 1, 'd' - 33};
    sd_ids ids = {id, 3, 3}, two = {id, 2, 2};
    uint64_t mask[3];
    sd_world_span all[] = {{0, 0, 5}, {1, 3, 4}, {2, 0, 1}, {3, 2, 3}};
    t_ok(sd_world_label(mask, tok, &ids, SD_LIT("ab cd"), all, 4, &err), err);
    assert_int_equal(mask[0], 1); /* half of "ab" is not more than half */
    assert_int_equal(mask[1], 3); /* the blank alone does not count */
    assert_int_equal(mask[2], 1);
    assert_int_equal(sd_world_label(mask, tok, &two, SD_LIT("ab cd"), all, 4, &err), SD_E_FORMAT);
    assert_int_equal(sd_world_label(mask, tok, &ids, SD_LIT("ab ce"), all, 4, &err), SD_E_FORMAT);
    sd_tok_free(tok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(test_writes), T(test_weights), T(test_same_bytes), T(test_spans), T(test_turns),
                                       T(test_refuses), T(test_stops), T(test_label_tokens)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
