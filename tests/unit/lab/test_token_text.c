#include "t.h"
#include "lab/token_text.h"

static const char *const piece[] = {" Par", "is", ",", " don", "'t", "\n", "\xe2\x82", "\xac", " caf", "\xc3\xa9", "\xe2\x80\x94", "New",
                                    " well", "-", "known", "\x1b[31m", "\t", " "};
static sd_slice bytes(const void *self, int32_t id)
{
    (void)self;
    return sd_slice_of(piece[id]);
}
static const sd_vocab vocab = {bytes, NULL};

static void shown(const char *in, const char *want)
{
    sd_buf b;
    sd_buf_init(&b, 1000);
    sd_token_show(&b, sd_slice_of(in));
    assert_string_equal(sd_buf_str(&b), want);
    sd_buf_release(&b);
}

static void what_cannot_be_seen_has_a_mark(void **state)
{
    (void)state;
    shown(" plain", " plain");
    shown("a\n\nb", "a\xe2\x86\xb5\xe2\x86\xb5" "b");
    shown("\xe2\x82", "\xe2\x9f\xa8" "E2 82" "\xe2\x9f\xa9");
    shown("x\xff\xfey", "x\xe2\x9f\xa8" "FF FE\xe2\x9f\xa9y");
    shown("\x1b[0m", "\xe2\x9f\xa8" "1B\xe2\x9f\xa9[0m");
    shown("\xc2\x85", "\xe2\x9f\xa8" "C2 85\xe2\x9f\xa9"); /* a C1 control */
    shown("\xe2\x82\xac", "\xe2\x82\xac");
    shown("a\xc2\xa0" "b\xe2\x80\x8b", "a\xe2\x9f\xa8U+00A0\xe2\x9f\xa9" "b\xe2\x9f\xa8U+200B\xe2\x9f\xa9");
    shown("\xe2\x80\xae", "\xe2\x9f\xa8U+202E\xe2\x9f\xa9"); /* right-to-left override */
    shown("", "");
}

static void named(const char *in, const char *want)
{
    sd_buf b;
    sd_buf_init(&b, 1000);
    sd_token_name(&b, sd_slice_of(in));
    assert_string_equal(sd_buf_str(&b), want);
    sd_buf_release(&b);
}

static void names_show_their_spaces(void **state)
{
    (void)state;
    named(" the", "\xc2\xb7the");
    named("the", "the");
    named("  a b ", "\xc2\xb7\xc2\xb7" "a b "); /* in front only */
    named(" ", "\xc2\xb7");
    named(" \n", "\xc2\xb7\xe2\x86\xb5");
    named("", "");
}

static void word(const int32_t *tok, int n, int at, const char *want)
{
    sd_buf b;
    sd_buf_init(&b, 1000);
    sd_word_at(&b, &vocab, tok, n, at);
    assert_string_equal(sd_buf_str(&b), want);
    sd_buf_release(&b);
}

static void words_are_completed(void **state)
{
    (void)state;
    const int32_t a[] = {11, 0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13, 14, -1, 6, 7};
    word(a, 17, 1, "Paris");
    word(a, 17, 2, "Paris");
    word(a, 17, 3, ",");
    word(a, 17, 4, "don't");
    word(a, 17, 5, "don't");
    word(a, 17, 6, "\xe2\x86\xb5");
    word(a, 17, 8, "caf\xc3\xa9");
    word(a, 17, 10, "New"); /* a dash is no letter */
    word(a, 17, 9, "\xe2\x80\x94");
    word(a, 17, 11, "well-known");
    word(a, 17, 13, "well-known");
    word(a, 17, 14, ""); /* a gap */
    const int32_t b[] = {17, 16, 15};
    word(b, 3, 0, "\xc2\xb7"); /* nothing but a space: still a name */
    word(b, 3, 1, "\xe2\x87\xa5");
}

static void text_is_whole_characters(void **state)
{
    (void)state;
    const int32_t a[] = {7, 11, 0, 1, 5, -1, 6, 7, 15, 6};
    sd_buf b;
    sd_buf_init(&b, 1000);
    sd_buf_puts(&b, "kept:");
    sd_tokens_text(&b, &vocab, a, 0, 10);
    assert_string_equal(sd_buf_str(&b), "kept:New Paris  \xe2\x82\xac [31m");
    sd_buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(what_cannot_be_seen_has_a_mark), T(names_show_their_spaces), T(words_are_completed), T(text_is_whole_characters)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
