/* Words of the pre-tokenisers, the dialect they are written in, and that no text makes them slow. */
#include "t.h"

#include "text/pretok.h"

typedef struct words {
    char text[4096];
    size_t n;
    long count, bytes;
} words;

static sd_status collect(void *self, sd_slice word, sd_err *err)
{
    (void)err;
    words *w = self;
    w->count++;
    w->bytes += (long)word.n;
    if (w->n + word.n + 2 < sizeof w->text)
        w->n += (size_t)snprintf(w->text + w->n, sizeof w->text - w->n, "%.*s|", SD_SLICE(word));
    return SD_OK;
}

static words split(const sd_pretok *p, sd_slice text)
{
    words w = {.n = 0};
    sd_err err = {0};
    sd_pretok_scratch s = {0};
    t_ok(sd_pretok_scratch_init(&s, p, &err), err);
    t_ok(sd_pretok_split(p, &s, text, true, collect, &w, &err), err);
    sd_pretok_scratch_release(&s);
    assert_int_equal(w.bytes, text.n); /* words cover the text */
    return w;
}

static void cuts(const char *name, const char *text, const char *want)
{
    sd_err err = {0};
    sd_pretok *p;
    t_ok(sd_pretok_named(&p, sd_slice_of(name), &err), err);
    words w = split(p, sd_slice_of(text));
    if (strcmp(w.text, want) != 0) fail_msg("%s of \"%s\": \"%s\", expected \"%s\"", name, text, w.text, want);
    sd_pretok_free(p);
}

static void test_words(void **state)
{
    (void)state;
    cuts("gpt-2", "it's IT'S  a 1234, b!!", "it|'s| IT|'|S| | a| 1234|,| b|!!|");
    cuts("gpt-2", "a \n\n b  ", "a| \n\n| b|  |");
    cuts("smollm", "in 1969 a", "in| |1|9|6|9| a|");
    cuts("llama-bpe", "it's IT'S 12345 a\n\nb", "it|'s| IT|'S| |123|45| a|\n\n|b|");
    cuts("qwen2", "x123!\n y", "x|1|2|3|!\n| y|");
    cuts("falcon", "a1234$b", "a|123|4|$|b|");
    cuts("default", "12345 ab.", "123|45| ab|.|");
    cuts("deepseek-coder", "ab 12\r\n.", "ab| |1|2|\r|\n|.|");
    cuts("deepseek-llm", "ab  12\nc  ", "ab|  |12|\n|c|  |");
    cuts("gpt-4o", "HelloWORLD's x", "Hello|WORLD's| x|");
    cuts("tekken", "HelloWORLD 42", "Hello|WORLD| |4|2|");
    cuts("afmoe", "1234567 12", "1|234|567| |12|");
    cuts("superbpe", "ab 12345 c", "ab |12|345| c|");
    cuts("tiny_aya", "12345 1234a", "12|345| |123|4|a|");
    cuts("kimi-k2",
         "ab\xe6\xbc\xa2"
         "cd",
         "ab|\xe6\xbc\xa2|cd|");
    cuts("poro-chat", "a, b", "a|,| b|");
    cuts("chameleon", "a<b    c 7", "a|<|b|    |c| |7|");
    /* U+180E is no white space since Unicode 6.3, U+3000 is. */
    cuts("gpt-2",
         "a\xe3\x80\x80\xe1\xa0\x8e"
         "b",
         "a|\xe3\x80\x80|\xe1\xa0\x8e|b|");
}

static const char *const names[] = {"default",
                                    "gpt-2",
                                    "mpt",
                                    "olmo",
                                    "phi-2",
                                    "jais",
                                    "trillion",
                                    "exaone4",
                                    "smollm",
                                    "starcoder",
                                    "refact",
                                    "command-r",
                                    "codeshell",
                                    "exaone",
                                    "minerva-7b",
                                    "mellum2",
                                    "llama3",
                                    "llama-v3",
                                    "llama-bpe",
                                    "falcon3",
                                    "tekken",
                                    "pixtral",
                                    "lfm2",
                                    "dbrx",
                                    "smaug-bpe",
                                    "glm4",
                                    "chatglm-bpe",
                                    "minicpm5",
                                    "jais-2",
                                    "qwen2",
                                    "deepseek-r1-qwen",
                                    "stablelm2",
                                    "hunyuan",
                                    "megrez",
                                    "grok-2",
                                    "qwen35",
                                    "ufakzeka",
                                    "laguna",
                                    "seed-coder",
                                    "bailingmoe",
                                    "bailingmoe2",
                                    "llada-moe",
                                    "exaone-moe",
                                    "falcon",
                                    "deepseek-coder",
                                    "deepseek-llm",
                                    "deepseek-v3",
                                    "hunyuan-dense",
                                    "spark2_5",
                                    "youtu",
                                    "poro-chat",
                                    "bloom",
                                    "gpt3-finnish",
                                    "viking",
                                    "chameleon",
                                    "gpt-4o",
                                    "llama4",
                                    "granite-embed-multi-97m",
                                    "tiny_aya",
                                    "cohere2moe",
                                    "superbpe",
                                    "afmoe",
                                    "kimi-k2",
                                    "roberta-bpe",
                                    "modern-bert"};

/* A long run of one kind of character: a pattern that took n^2 steps would need hours for all of them, not seconds. */
static void test_long_runs(void **state)
{
    (void)state;
    static const char *const unit[] = {"a", " ", "1", "\n", "!", "\xe6\x97\xa5", "A", "\xcc\x81", " a", "'"};
    enum { BYTES = 250000 };
    char *text = malloc(BYTES + 16);
    assert_non_null(text);
    for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
        sd_err err = {0};
        sd_pretok *p;
        t_ok(sd_pretok_named(&p, sd_slice_of(names[k]), &err), err);
        for (size_t u = 0; u < sizeof unit / sizeof unit[0]; u++) {
            size_t n = 0, len = strlen(unit[u]);
            for (; n + len <= BYTES; n += len) memcpy(text + n, unit[u], len);
            text[n++] = 'x'; /* the end of the run is not the end of the text */
            assert_true(split(p, (sd_slice){text, n}).count >= 1);
        }
        sd_pretok_free(p);
    }
    free(text);
}

static void test_traits(void **state)
{
    (void)state;
    sd_pretok_traits t;
    assert_true(sd_pretok_known(SD_LIT("llama-bpe"), &t));
    assert_true(t.ignore_merges && t.add_bos);
    assert_true(sd_pretok_known(SD_LIT("qwen2"), &t));
    assert_false(t.ignore_merges || t.add_bos);
    assert_false(sd_pretok_known(SD_LIT("llama"), &t)); /* whole names only */
    assert_false(sd_pretok_known(SD_LIT(""), &t));
    assert_false(sd_pretok_known(SD_LIT("qwen2 kormo"), &t));
}

/* \w is Oniguruma's (tokenizers 0.23 gave these): marks, circled letters, connectors; by itself it has the superscripts too. */
static void test_word_characters(void **state)
{
    (void)state;
    static const char text[] = "e\xcc\x81\xe0\xa4\x95\xe0\xa5\x8d \xe2\x92\xb6\xe2\x85\xa7\xe2\x80\xbf_7\xc2\xb2\xe2\x80\x8d" "a";
    static const char whole[] = "e\xcc\x81\xe0\xa4\x95\xe0\xa5\x8d| |\xe2\x92\xb6\xe2\x85\xa7\xe2\x80\xbf_7\xc2\xb2|\xe2\x80\x8d|a|";
    static const char in_class[] = "e\xcc\x81\xe0\xa4\x95\xe0\xa5\x8d| |\xe2\x92\xb6\xe2\x85\xa7\xe2\x80\xbf_7|\xc2\xb2\xe2\x80\x8d|a|";
    static const char *const pattern[] = {"\\w+", "\\W", "\\b", "[\\w]+"};
    for (int i = 0; i < 4; i++) {
        sd_err err = {0};
        sd_pretok *p;
        t_ok(sd_pretok_new(&p, &(sd_cut){.pattern = sd_slice_of(pattern[i])}, 1, &err), err);
        assert_string_equal(split(p, sd_slice_of(text)).text, i < 3 ? whole : in_class);
        sd_pretok_free(p);
    }
}

static void dialect(const char *pattern, sd_status want, const char *say)
{
    sd_err err = {0};
    sd_pretok *p;
    sd_status st = sd_pretok_new(&p, &(sd_cut){.pattern = sd_slice_of(pattern)}, 1, &err);
    if (st != want || (say && !strstr(err.msg, say))) fail_msg("%s: status %d, \"%s\"", pattern, (int)st, err.msg);
    sd_pretok_free(p);
}

static void test_dialect(void **state)
{
    (void)state;
    dialect("(?i:'s)|\\p{L}+|[^\\s\\p{N}]|\\u00e9|\\x{e9}|a{1,3}|a++|(?<!a)b(?=c)", SD_OK, NULL);
    dialect("\\h+", SD_E_UNSUPPORTED, "another dialect"); /* a hexadecimal digit in Ruby, a blank in PCRE2 */
    dialect("\\R", SD_E_UNSUPPORTED, "another dialect");
    dialect("(a)\\1", SD_E_UNSUPPORTED, "another dialect");
    dialect("\\A", SD_E_UNSUPPORTED, "another dialect");
    dialect("[a&&b]", SD_E_UNSUPPORTED, "an intersection");
    dialect("[a-[b]]", SD_E_UNSUPPORTED, "class inside a class");
    dialect("[a[^b]]", SD_E_UNSUPPORTED, "class inside a class");
    dialect("[a[b]c]", SD_OK, NULL);
    dialect("[\\W]", SD_E_UNSUPPORTED, "in a class");
    dialect("[]a]", SD_E_UNSUPPORTED, "begins with ]");
    dialect("a{1,3}+", SD_E_UNSUPPORTED, "further quantifier");
    dialect("a{3}?", SD_E_UNSUPPORTED, "further quantifier");
    dialect("(?m:.)", SD_E_UNSUPPORTED, "kind of group");
    dialect("a(?i)b|c", SD_E_UNSUPPORTED, "kind of group");
    dialect("(*UTF)a", SD_E_UNSUPPORTED, "(*");
    dialect("^a", SD_E_UNSUPPORTED, "anchor");
    dialect("a\\", SD_E_UNSUPPORTED, "backslash");
    dialect("\\p{L", SD_E_UNSUPPORTED, "brace");
    dialect("(a", SD_E_UNSUPPORTED, "parenthesis");
    dialect("\\p{Nonsense}", SD_E_UNSUPPORTED, "Nonsense");
    dialect("", SD_E_UNSUPPORTED, "0 bytes");
}

/* Patterns in turn see a piece as the whole text; empty matches are boundaries. */
static void test_in_turn(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_pretok *p;
    const sd_cut two[] = {{.pattern = SD_LIT("-")}, {.pattern = SD_LIT("\\s+$")}}, empty[] = {{.pattern = SD_LIT("(?=b)")}};
    t_ok(sd_pretok_new(&p, two, 2, &err), err);
    assert_string_equal(split(p, SD_LIT("a b  -  c ")).text, "a b|  |-|  c| |");
    sd_pretok_free(p);
    t_ok(sd_pretok_new(&p, empty, 1, &err), err);
    assert_string_equal(split(p, SD_LIT("b\xc3\xa9"
                                        "bab"))
                            .text,
                        "b\xc3\xa9|ba|b|");
    sd_pretok_free(p);
    t_ok(sd_pretok_new(&p, NULL, 0, &err), err);
    assert_string_equal(split(p, SD_LIT("a b")).text, "a b|");
    sd_pretok_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(test_words), T(test_long_runs), T(test_traits), T(test_word_characters), T(test_dialect),
                                       T(test_in_turn)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
