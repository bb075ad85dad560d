/* Tokenizers read from files against ids that other programs made: llama.cpp's vocabularies with its own test texts,
 * and the same vocabulary from a GGUF and from a tokenizer.json. Files of the shared folder; skipped aloud elsewhere.
 */
#include "t.h"

#include "base/map.h"
#include "model/tokspec.h"

typedef struct texts {
    sd_buf inp, out;
} texts;

static sd_slice whole(const sd_buf *b)
{
    return (sd_slice){b->p, b->n};
}

static bool read_pair(texts *t, const char *name)
{
    char rel[256];
    sd_err err = {0};
    snprintf(rel, sizeof rel, "data/tokenizers/ggml-vocab-%s.gguf.inp", name);
    const char *inp = t_shared(rel);
    snprintf(rel, sizeof rel, "data/tokenizers/ggml-vocab-%s.gguf.out", name);
    const char *out = t_shared(rel);
    if (!inp || !out) return false;
    sd_buf_init(&t->inp, 1 << 20);
    sd_buf_init(&t->out, 1 << 20);
    t_ok(sd_file_read(&t->inp, inp, &err), err);
    t_ok(sd_file_read(&t->out, out, &err), err);
    return true;
}

/* Texts are separated by a line of their own; ids stand one text a line. */
static bool next_text(sd_slice *rest, sd_slice *text)
{
    static const char separator[] = "\n__ggml_vocab_test__\n";
    if (!rest->p) return false;
    const char *at = memmem(rest->p, rest->n, separator, sizeof separator - 1);
    if (!at) {
        *text = *rest;
        *rest = (sd_slice){NULL, 0};
        return text->n > 0;
    }
    *text = (sd_slice){rest->p, (size_t)(at - rest->p)};
    size_t used = text->n + sizeof separator - 1;
    *rest = (sd_slice){rest->p + used, rest->n - used};
    return true;
}

/* With BOS and EOS left out; the text comes back unless the vocabulary normalises it. */
static int check_texts(const sd_tok *tok, const texts *t, const char *name, bool comes_back)
{
    sd_err err = {0};
    sd_slice rest = whole(&t->inp), lines = whole(&t->out), text, line, word;
    int n = 0;
    while (next_text(&rest, &text)) {
        sd_ids ids = {0};
        assert_true(sd_slice_cut(&lines, '\n', &line));
        /* llama.cpp's goldens were made with add_special = false and with special tokens read from the text. */
        t_ok(sd_tok_encode(tok, text, NULL, &ids, &err), err);
        int64_t from = sd_tok_add_bos(tok) ? 1 : 0, k = from;
        if (!comes_back) ids.n--; /* BERT's SEP */
        sd_slice want = line;
        while (sd_slice_cut(&want, ' ', &word)) {
            int64_t id;
            if (word.n == 0) continue;
            assert_true(sd_parse_i64(word, &id));
            if (k >= ids.n || ids.v[k] != id)
                fail_msg("%s, text %d \"%.*s\": token %lld is %d, expected %lld (line \"%.*s\")", name, n,
                         SD_SLICE(text), (long long)(k - from), k < ids.n ? (int)ids.v[k] : -1, (long long)id,
                         SD_SLICE(line));
            k++;
        }
        if (k != ids.n)
            fail_msg("%s, text %d: %lld tokens, expected %lld", name, n, (long long)(ids.n - from),
                     (long long)(k - from));
        sd_buf back;
        sd_buf_init(&back, 1 << 20);
        t_ok(sd_tok_decode_text(tok, ids.v + from, ids.n - from, true, &back, &err), err);
        if (comes_back && !sd_slice_eq(whole(&back), text))
            fail_msg("%s, text %d: \"%.*s\" came back as \"%.*s\"", name, n, SD_SLICE(text), SD_SLICE(whole(&back)));
        sd_buf_release(&back);
        sd_ids_release(&ids);
        n++;
    }
    return n;
}

static void check_vocabulary(const char *name)
{
    char rel[256];
    sd_err err = {0};
    texts t;
    sd_tok *tok;
    snprintf(rel, sizeof rel, "data/tokenizers/ggml-vocab-%s.gguf", name);
    const char *path = t_shared(rel);
    if (!path || !read_pair(&t, name)) t_skip("no vocabulary %s in the shared folder", name);
    t_ok(sd_tokenizer_open(&tok, NULL, path, &err), err);
    int n = check_texts(tok, &t, name, strcmp(name, "bert-bge") != 0);
    assert_true(n >= 40); /* 46 texts in each file */
    sd_tok_free(tok);
    sd_buf_release(&t.inp);
    sd_buf_release(&t.out);
}

static void test_gpt2(void **s)
{
    (void)s;
    check_vocabulary("gpt-2");
}
static void test_falcon(void **s)
{
    (void)s;
    check_vocabulary("falcon");
}
static void test_refact(void **s)
{
    (void)s;
    check_vocabulary("refact");
}
static void test_deepseek_coder(void **s)
{
    (void)s;
    check_vocabulary("deepseek-coder");
}
static void test_deepseek_llm(void **s)
{
    (void)s;
    check_vocabulary("deepseek-llm");
}

/* GPT-2's vocabulary also lies there as a tokenizer.json: llama.cpp's texts give the same ids. */
static void test_gpt2_json(void **s)
{
    (void)s;
    sd_err err = {0};
    texts t;
    sd_tok *tok;
    const char *path = t_shared("data/tokenizers/gpt2_tokenizer.json");
    if (!path || !read_pair(&t, "gpt-2")) t_skip("no gpt2_tokenizer.json in the shared folder");
    t_ok(sd_tokenizer_open(&tok, NULL, path, &err), err);
    assert_true(check_texts(tok, &t, "gpt2_tokenizer.json", true) >= 40);
    sd_tok_free(tok);
    sd_buf_release(&t.inp);
    sd_buf_release(&t.out);
}

/* A folder and a GGUF of the same model. */
static void test_folder_equals_gguf(void **s)
{
    (void)s;
    static const char text[] = "Hello, hello! The cat's 123 hats <|endoftext|> caf\xc3\xa9\n\n  end";
    sd_err err = {0};
    sd_tok *a, *b;
    const char *dir = t_shared("fixtures/models/llama"), *file = t_shared("fixtures/models/llama/model.gguf");
    if (!dir || !file) t_skip("no fixtures/models/llama in the shared folder");
    t_ok(sd_tokenizer_open(&a, NULL, dir, &err), err);
    t_ok(sd_tokenizer_open(&b, NULL, file, &err), err);
    assert_int_equal(sd_tok_n_vocab(a), sd_tok_n_vocab(b));
    assert_int_equal(sd_tok_eos(a), sd_tok_eos(b));
    for (int32_t i = 0; i < sd_tok_n_vocab(a); i++) assert_true(sd_slice_eq(sd_tok_bytes(a, i), sd_tok_bytes(b, i)));
    for (int plain = 0; plain < 2; plain++) {
        sd_ids x = {0}, y = {0};
        sd_encode_opt opt = {.no_special = plain};
        t_ok(sd_tok_encode(a, SD_LIT(text), &opt, &x, &err), err);
        t_ok(sd_tok_encode(b, SD_LIT(text), &opt, &y, &err), err);
        assert_int_equal(x.n, y.n);
        assert_memory_equal(x.v, y.v, (size_t)x.n * sizeof *x.v);
        sd_ids_release(&x);
        sd_ids_release(&y);
    }
    sd_tok_free(a);
    sd_tok_free(b);
}

static void test_llama_spm(void **s)
{
    (void)s;
    check_vocabulary("llama-spm");
}
static void test_phi3(void **s)
{
    (void)s;
    check_vocabulary("phi-3");
}
static void test_bert_bge(void **s)
{
    (void)s;
    check_vocabulary("bert-bge");
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(test_gpt2),
                                       T(test_falcon),
                                       T(test_refact),
                                       T(test_deepseek_coder),
                                       T(test_deepseek_llm),
                                       T(test_gpt2_json),
                                       T(test_folder_equals_gguf),
                                       T(test_llama_spm),
                                       T(test_phi3),
                                       T(test_bert_bge)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
