/* The trainer against tokenizers' BpeTrainer: the same merges in the same order on a corpus full of equal counts (made by
 * gen_train.py), whatever the order of documents; special tokens; what is refused. */
#include "t.h"

#include "base/map.h"
#include "text/tok_train.h"
#include "train_cases.h"

enum { N_DOCS = sizeof train_docs / sizeof train_docs[0], N_MERGES = sizeof train_merges / sizeof train_merges[0] };

static const sd_slice special[] = {{"<s>", 3}, {"</s>", 4}};

static sd_tok_trained *train(const char *const *docs, int n, bool backwards, int32_t n_vocab)
{
    sd_err err = {0};
    sd_tok_trainer *t;
    sd_tok_trained *v;
    sd_tok_train_opt opt = {.n_vocab = n_vocab, .special = special, .n_special = 2, .bos = special[0], .eos = special[1], .add_bos = true};
    t_ok(sd_tok_trainer_new(&t, &opt, &err), err);
    for (int i = 0; i < n; i++) t_ok(sd_tok_trainer_add(t, sd_slice_of(docs[backwards ? n - 1 - i : i]), &err), err);
    t_ok(sd_tok_trainer_finish(&v, t, &err), err);
    sd_tok_trainer_free(t);
    return v;
}

static void test_merges(void **state)
{
    (void)state;
    for (int backwards = 0; backwards < 2; backwards++) {
        sd_tok_trained *v = train(train_docs, N_DOCS, backwards, TRAIN_VOCAB);
        assert_int_equal(sd_tok_trained_n_vocab(v), TRAIN_VOCAB);
        assert_int_equal(sd_tok_trained_n_merge(v), N_MERGES);
        for (int i = 0; i < N_MERGES; i++) {
            sd_slice m = sd_tok_trained_merge(v, i);
            if (!sd_slice_eq_str(m, train_merges[i])) fail_msg("merge %d is \"%.*s\", expected \"%s\"", i, SD_SLICE(m), train_merges[i]);
        }
        sd_tok_trained_free(v);
    }
}

/* Ids of the tokenizer: specials, bytes in the order of the alphabet, merges; texts come back. */
static void test_tokenizer(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_tok *tok;
    sd_ids ids = {0};
    sd_buf back;
    sd_tok_trained *v = train(train_docs, N_DOCS, false, TRAIN_VOCAB);
    t_ok(sd_tok_trained_make(&tok, v, &err), err);
    assert_int_equal(sd_tok_bos(tok), 0);
    assert_int_equal(sd_tok_eos(tok), 1);
    assert_true(sd_slice_eq_str(sd_tok_bytes(tok, 2), "!"));
    assert_true(sd_slice_eq_str(sd_tok_bytes(tok, 2 + 188 + 32), " ")); /* after 188 printable ones, 0x00 to 0x1f */
    sd_buf_init(&back, 1 << 16);
    for (int i = 0; i < N_DOCS; i++) {
        ids.n = 0;
        sd_buf_reset(&back);
        t_ok(sd_tok_encode(tok, sd_slice_of(train_docs[i]), NULL, &ids, &err), err);
        assert_int_equal(ids.v[0], 0);
        t_ok(sd_tok_decode(tok, ids.v, ids.n, false, &back, &err), err);
        assert_string_equal(sd_buf_str(&back), train_docs[i]);
    }
    sd_buf_release(&back);
    sd_ids_release(&ids);
    sd_tok_free(tok);
    sd_tok_trained_free(v);
}

/* Text of special tokens takes no part; pairs run out before the vocabulary is full. */
static void test_small(void **state)
{
    (void)state;
    static const char *const docs[] = {"ab<s>ab</s>ab", "\xff\xfe ab"};
    sd_tok_trained *v = train(docs, 2, false, 1000);
    assert_int_equal(sd_tok_trained_n_merge(v), 2);
    assert_true(sd_slice_eq_str(sd_tok_trained_merge(v, 0), "a b"));
    assert_true(sd_slice_eq_str(sd_tok_trained_merge(v, 1), "\xc4\xa0 ab"));
    assert_int_equal(sd_tok_trained_n_vocab(v), 260);
    sd_tok_trained_free(v);
    v = train(docs, 0, false, 258); /* no documents: the bytes */
    assert_int_equal(sd_tok_trained_n_vocab(v), 258);
    sd_tok_trained_free(v);
}

static void refused(sd_tok_train_opt o, const char *say)
{
    sd_err err = {0};
    sd_tok_trainer *t;
    assert_int_equal(sd_tok_trainer_new(&t, &o, &err), SD_E_ARG);
    assert_null(t);
    if (!strstr(err.msg, say)) fail_msg("\"%s\" does not say \"%s\"", err.msg, say);
}

static void test_refused(void **state)
{
    (void)state;
    static const sd_slice twice[] = {{"<s>", 3}, {"<s>", 3}}, empty[] = {{"", 0}};
    refused((sd_tok_train_opt){.n_vocab = 257, .special = special, .n_special = 2}, "expected 258");
    refused((sd_tok_train_opt){.n_vocab = 300, .special = twice, .n_special = 2}, "given twice");
    refused((sd_tok_train_opt){.n_vocab = 300, .special = empty, .n_special = 1}, "special token 0 is empty");
    refused((sd_tok_train_opt){.n_vocab = 300, .special = special, .n_special = 2, .eos = SD_LIT("<e>")}, "no special token");
    refused((sd_tok_train_opt){.n_vocab = 300, .special = special, .n_special = 2, .add_bos = true}, "names none");
}

/* For tests/interop: trains on a file, a document a line, and writes the tokenizer. */
static void test_files(void **state)
{
    (void)state;
    const char *corpus = getenv("SONDE_TRAIN_CORPUS"), *dir = getenv("SONDE_TRAIN_DIR"), *size = getenv("SONDE_TRAIN_VOCAB");
    int64_t n_vocab = 0;
    sd_err err = {0};
    if (!corpus || !dir || !size || !sd_parse_i64(sd_slice_of(size), &n_vocab)) t_skip("SONDE_TRAIN_CORPUS, _DIR and _VOCAB name nothing");
    sd_buf b;
    sd_slice line;
    sd_tok_trainer *t;
    sd_tok_trained *v;
    sd_tok_train_opt opt = {.n_vocab = (int32_t)n_vocab, .special = special, .n_special = 2, .bos = special[0], .eos = special[1], .add_bos = true};
    sd_buf_init(&b, 1 << 30);
    t_ok(sd_file_read(&b, corpus, &err), err);
    t_ok(sd_tok_trainer_new(&t, &opt, &err), err);
    for (sd_slice rest = {b.p, b.n}; sd_slice_cut(&rest, '\n', &line);) t_ok(sd_tok_trainer_add(t, line, &err), err);
    t_ok(sd_tok_trainer_finish(&v, t, &err), err);
    t_ok(sd_tok_trained_write(v, dir, SD_LIT("{% for m in messages %}{{ bos_token }}{{ m.content }}{% endfor %}"), &err), err);
    sd_tok_trained_free(v);
    sd_tok_trainer_free(t);
    sd_buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest all[] = {T(test_merges), T(test_tokenizer), T(test_small), T(test_refused)}, files[] = {T(test_files)};
    if (getenv("SONDE_TRAIN_DIR")) return cmocka_run_group_tests(files, NULL, NULL) ? 1 : 0;
    return cmocka_run_group_tests(all, NULL, NULL) ? 1 : 0;
}
