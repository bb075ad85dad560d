/* A trained tokenizer written, and read back as any other folder: the same ids and the same chat. */
#include "t.h"

#include "base/map.h"
#include "model/tokspec.h"
#include "text/tok_train.h"

static const char corpus[] = "The bridge over the strait is red. The bridge is long, the strait is cold; it's 1937's bridge.\n\n"
                             "\xec\x84\x9c\xec\x9a\xb8 \xec\x84\x9c\xec\x9a\xb8 caf\xc3\xa9 caf\xc3\xa9\n";

static void same_ids(const sd_tok *a, const sd_tok *b, sd_slice text)
{
    sd_err err = {0};
    for (int plain = 0; plain < 2; plain++) {
        sd_ids x = {0}, y = {0};
        t_ok(sd_tok_encode(a, text, &(sd_encode_opt){.no_special = plain}, &x, &err), err);
        t_ok(sd_tok_encode(b, text, &(sd_encode_opt){.no_special = plain}, &y, &err), err);
        assert_int_equal(x.n, y.n);
        assert_memory_equal(x.v, y.v, (size_t)x.n * sizeof *x.v);
        sd_ids_release(&x);
        sd_ids_release(&y);
    }
}

static void check(bool add_bos)
{
    static const sd_slice special[] = {{"<|bos|>", 7}, {"<|eos|>", 7}, {"<|user|>", 8}};
    const char *dir = t_tmpdir();
    sd_err err = {0};
    sd_tok_trainer *t;
    sd_tok_trained *v;
    sd_tok *made, *read;
    sd_chat_found chat;
    sd_tok_train_opt opt = {.n_vocab = 300, .special = special, .n_special = 3, .bos = special[0], .eos = special[1],
                            .pad = special[1], .add_bos = add_bos};
    t_ok(sd_tok_trainer_new(&t, &opt, &err), err);
    t_ok(sd_tok_trainer_add(t, SD_LIT(corpus), &err), err);
    t_ok(sd_tok_trainer_finish(&v, t, &err), err);
    assert_int_equal(sd_tok_trainer_finish(&(sd_tok_trained *){NULL}, t, &err), SD_E_ARG); /* it has done its work */
    t_ok(sd_tok_trained_make(&made, v, &err), err);
    t_ok(sd_tok_trained_write(v, dir, SD_LIT("{{ bos_token }}{{ messages[0].content }}"), &err), err);
    t_ok(sd_tokenizer_open(&read, &chat, dir, &err), err);
    assert_non_null(chat.chat);
    assert_int_equal(sd_tok_n_vocab(made), sd_tok_n_vocab(read));
    assert_int_equal(sd_tok_bos(read), 0);
    assert_int_equal(sd_tok_eos(read), 1);
    assert_int_equal(sd_tok_add_bos(read), add_bos);
    for (int32_t i = 0; i < sd_tok_n_vocab(made); i++) assert_true(sd_slice_eq(sd_tok_bytes(made, i), sd_tok_bytes(read, i)));
    same_ids(made, read, SD_LIT(corpus));
    same_ids(made, read, SD_LIT("<|user|> The strait<|eos|>\xff\xc3 \n\n\n  x<|bos|>"));
    sd_chat_free(chat.chat);
    sd_tok_free(made);
    sd_tok_free(read);
    sd_tok_trained_free(v);
    sd_tok_trainer_free(t);
    t_rmtree(dir);
}

static void test_round_trip(void **state)
{
    (void)state;
    check(true);
    check(false);
}

static void test_no_folder(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_tok_trainer *t;
    sd_tok_trained *v;
    t_ok(sd_tok_trainer_new(&t, &(sd_tok_train_opt){.n_vocab = 256}, &err), err);
    t_ok(sd_tok_trainer_finish(&v, t, &err), err);
    assert_true(sd_tok_trained_write(v, "/nowhere/at/all", (sd_slice){"", 0}, &err) != SD_OK);
    assert_non_null(strstr(err.msg, "/nowhere/at/all"));
    sd_tok_trained_free(v);
    sd_tok_trainer_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(test_round_trip), T(test_no_folder)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
