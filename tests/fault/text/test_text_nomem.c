/* Every request for memory of the text layer fails once: an error with a sentence, nothing leaked, and then success. */
#include "../../unit/text/vocab.h"

#include "base/map.h"
#include "text/chat.h"
#include "text/corpus.h"
#include "text/tok_train.h"

enum { MOST = 4000 };

/* Runs `once` with the 1st, 2nd, .. request failing until it succeeds. */
static void exhaust(sd_status (*once)(void *arg, sd_err *err), void *arg)
{
    for (int64_t n = 1; n < MOST; n++) {
        sd_err err = {0};
        int64_t before = sd_mem_live_blocks();
        sd_mem_fail_nth(n);
        sd_status st = once(arg, &err);
        sd_mem_fail_nth(0);
        assert_int_equal(sd_mem_live_blocks(), before);
        if (st == SD_OK) {
            assert_true(n > 1); /* there was something to fail */
            return;
        }
        if (st != SD_E_NOMEM) fail_msg("request %lld: status %d, \"%s\"", (long long)n, (int)st, err.msg);
        assert_true(err.msg[0] != '\0');
    }
    fail_msg("still failing after %d requests", MOST);
}

static sd_status tokenize_once(void *arg, sd_err *err)
{
    const vocab *v = arg;
    sd_tok *t;
    sd_ids ids = {0};
    sd_buf back;
    static char text[4096];
    memset(text, 'a', sizeof text);           /* one word longer than the scan takes, ... */
    memcpy(text + 3000, " e\xcc\x81<s> ", 8); /* ... something to normalise, a special token */
    sd_buf_init(&back, 1 << 16);
    sd_status st = sd_tok_new(&t, &v->spec, err);
    if (st) {
        assert_null(t);
        return st;
    }
    st = sd_tok_encode(t, (sd_slice){text, sizeof text}, NULL, &ids, err);
    if (!st) st = sd_tok_decode(t, ids.v, ids.n, true, &back, err);
    sd_buf_release(&back);
    sd_ids_release(&ids);
    sd_tok_free(t);
    return st;
}

static void test_tokenizer(void **state)
{
    (void)state;
    static vocab v;
    vocab_init(&v);
    vocab_merge(&v, "a", "a", true);
    vocab_merge(&v, "aa", "aa", false);
    vocab_special(&v, "<s>", SD_PIECE_CONTROL);
    v.spec.norm = &(sd_norm_step){.kind = SD_NORM_NFC};
    v.spec.n_norm = 1;
    v.spec.pre = SD_LIT("smollm");
    exhaust(tokenize_once, &v);
}

static sd_status train_once(void *arg, sd_err *err)
{
    static const sd_slice special = {"<s>", 3};
    const char *dir = arg;
    sd_tok_trainer *t;
    sd_tok_trained *v = NULL;
    sd_tok *tok = NULL;
    sd_status st = sd_tok_trainer_new(&t, &(sd_tok_train_opt){.n_vocab = 262, .special = &special, .n_special = 1}, err);
    if (st) return st;
    st = sd_tok_trainer_add(t, SD_LIT("aaaa abab <s> aab abab"), err);
    if (!st) st = sd_tok_trainer_finish(&v, t, err);
    if (!st) st = sd_tok_trained_make(&tok, v, err);
    if (!st) st = sd_tok_trained_write(v, dir, SD_LIT("x"), err);
    sd_tok_free(tok);
    sd_tok_trained_free(v);
    sd_tok_trainer_free(t);
    return st;
}

static void test_trainer(void **state)
{
    (void)state;
    const char *dir = t_tmpdir();
    exhaust(train_once, (void *)(uintptr_t)dir);
    t_rmtree(dir);
}

/* Every normaliser step, cuts that join and drop, merges by score with bytes for what no piece holds. */
static void test_spm(void **state)
{
    (void)state;
    static vocab v;
    static float score[VOCAB_MAX];
    const sd_norm_step norm[] = {{.kind = SD_NORM_NFKC}, {.kind = SD_NORM_LOWER}, {.kind = SD_NORM_STRIP, .left = true},
                                        {.kind = SD_NORM_BERT_CLEAN}, {.kind = SD_NORM_STRIP_MARKS},
                                        {.kind = SD_NORM_REPLACE_PATTERN, .from = SD_LIT(" {2,}"), .to = SD_LIT(" ")}};
    const sd_cut cut[] = {{.pattern = SD_LIT("x"), .how = SD_CUT_WITH_NEXT},
                                 {.how = SD_CUT_METASPACE, .space = SD_LIT("\xe2\x96\x81"), .prepend = SD_PREPEND_ALWAYS, .split = true}};
    vocab_init(&v);
    v.spec.n_vocab = 0;
    for (int b = 0; b < 256; b++) {
        char piece[8];
        snprintf(piece, sizeof piece, "<0x%02X>", (unsigned)b);
        vocab_add(&v, sd_slice_of(piece), SD_PIECE_BYTE);
    }
    static const char *const more[] = {"a", "aa", "e", "\xe2\x96\x81", "\xe2\x96\x81" "e"};
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++) vocab_add(&v, sd_slice_of(more[i]), SD_PIECE_NORMAL);
    vocab_special(&v, "<s>", SD_PIECE_CONTROL);
    v.spec.kind = SD_TOK_SPM;
    v.spec.score = score;
    v.spec.byte_fallback = v.spec.escaped_spaces = true;
    v.spec.norm = norm;
    v.spec.n_norm = sizeof norm / sizeof norm[0];
    v.spec.cut = cut;
    v.spec.n_cut = 2;
    v.added[v.spec.n_vocab - 1] = SD_ADDED_NORMALIZED;
    exhaust(tokenize_once, &v);
    v.spec.kind = SD_TOK_UGM;
    static double logprob[VOCAB_MAX];
    v.spec.logprob = logprob;
    exhaust(tokenize_once, &v);
    v.spec.kind = SD_TOK_WPM;
    v.spec.unk = v.spec.n_vocab - 1;
    v.spec.continuing = SD_LIT("##");
    exhaust(tokenize_once, &v);
}

static sd_status chat_once(void *arg, sd_err *err)
{
    sd_chat *c;
    sd_buf out;
    const sd_message msg[] = {{SD_LIT("user"), SD_LIT("hello")}, {SD_LIT("assistant"), SD_LIT("hi")}};
    (void)arg;
    sd_buf_init(&out, 1 << 16);
    sd_status st =
        sd_chat_new(&c,
                    SD_LIT("{% set a = 'x' %}{% for m in messages %}{{ bos_token + m.role ~ a + m['content'] | trim }}"
                           "{% if loop.last and add_generation_prompt %}G{% endif %}{% endfor %}"),
                    err);
    if (st) {
        assert_null(c);
        return st;
    }
    st = sd_chat_set_tokens(c, SD_LIT("<s>"), SD_LIT("</s>"), err);
    if (!st) st = sd_chat_render(c, msg, 2, true, &out, err);
    if (!st) assert_string_equal(sd_buf_str(&out), "<s>userxhello<s>assistantxhiG");
    sd_buf_release(&out);
    sd_chat_free(c);
    return st;
}

static void test_chat(void **state)
{
    (void)state;
    exhaust(chat_once, NULL);
}

static sd_status corpus_once(void *arg, sd_err *err)
{
    const char *const dir = arg;
    sd_corpus *c;
    sd_status st = sd_corpus_open(&c, &dir, 1, err);
    if (st) {
        assert_null(c);
        return st;
    }
    assert_int_equal(sd_corpus_count(c), 4);
    sd_corpus_close(c);
    return SD_OK;
}

static void write_file(const char *dir, const char *name, const char *text)
{
    char path[512];
    sd_err err = {0};
    assert_true(sd_path_join(path, sizeof path, dir, name));
    t_ok(sd_file_write_atomic(path, text, strlen(text), &err), err);
}

static void test_corpus(void **state)
{
    (void)state;
    const char *dir = t_tmpdir();
    write_file(dir, "a.txt", "Some text.\n");
    write_file(dir, "b.jsonl", "{\"text\": \"one\"}\n");
    write_file(dir, "c.csv", "id,text\n1,\"a\nb\"\n2,c\n");
    exhaust(corpus_once, (void *)(uintptr_t)dir);
    t_rmtree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(test_tokenizer), T(test_spm), T(test_trainer), T(test_chat), T(test_corpus)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
