/* The tokenizer on vocabularies small enough to work out by hand. */
#include "vocab.h"

static sd_tok *make(const vocab *v)
{
    sd_err err = {0};
    sd_tok *t;
    t_ok(sd_tok_new(&t, &v->spec, &err), err);
    return t;
}

/* No pre-tokeniser: the whole text is one word. */
static void test_lowest_rank_first(void **state)
{
    (void)state;
    vocab v;
    vocab_init(&v);
    int32_t bc = vocab_merge(&v, "b", "c", true), ab = vocab_merge(&v, "a", "b", true);
    int32_t abc = vocab_merge(&v, "a", "bc", true);
    sd_tok *t = make(&v);
    char want[64];
    assert_int_equal(sd_tok_n_vocab(t), 259);
    snprintf(want, sizeof want, "%d", abc);
    assert_string_equal(vocab_encode(t, "abc", false), want);
    snprintf(want, sizeof want, "%d %d", ab, abc); /* "ab" before another "a" has no "c" to lose its "b" to */
    assert_string_equal(vocab_encode(t, "ababc", false), want);
    snprintf(want, sizeof want, "%d %d", 'x', bc);
    assert_string_equal(vocab_encode(t, "xbc", false), want);
    sd_tok_free(t);
}

static void test_leftmost_of_equals(void **state)
{
    (void)state;
    vocab v;
    vocab_init(&v);
    int32_t aa = vocab_merge(&v, "a", "a", true);
    sd_tok *t = make(&v);
    char want[64];
    snprintf(want, sizeof want, "%d %d %d", aa, aa, 'a');
    assert_string_equal(vocab_encode(t, "aaaaa", false), want);
    sd_tok_free(t);
}

/* A piece that the merges do not lead to is not used, unless merges are ignored for whole words. */
static void test_unreachable_piece(void **state)
{
    (void)state;
    vocab v;
    vocab_init(&v);
    int32_t bc = vocab_merge(&v, "b", "c", true);
    vocab_merge(&v, "a", "b", true);
    int32_t abc = vocab_merge(&v, "ab", "c", true);
    sd_tok *t = make(&v);
    char want[64];
    snprintf(want, sizeof want, "%d %d", 'a', bc);
    assert_string_equal(vocab_encode(t, "abc", false), want);
    sd_tok_free(t);
    v.spec.ignore_merges = true;
    t = make(&v);
    snprintf(want, sizeof want, "%d", abc);
    assert_string_equal(vocab_encode(t, "abc", false), want);
    sd_tok_free(t);
}

/* A merge whose product is no piece is made all the same, and written out in bytes (llama.cpp). */
static void test_product_without_piece(void **state)
{
    (void)state;
    vocab v;
    vocab_init(&v);
    vocab_merge(&v, "a", "b", false);
    int32_t bc = vocab_merge(&v, "b", "c", true);
    sd_tok *t = make(&v);
    char want[64];
    assert_string_equal(vocab_encode(t, "abc", false), "97 98 99");
    snprintf(want, sizeof want, "98 %d", bc);
    assert_string_equal(vocab_encode(t, "bbc", false), want);
    sd_tok_free(t);
}

static void test_byte_without_token(void **state)
{
    (void)state;
    vocab v;
    vocab_init(&v);
    v.piece['q'] = SD_LIT("(nothing)");
    v.type['q'] = SD_PIECE_UNUSED;
    int32_t ab = vocab_merge(&v, "a", "b", true);
    char want[64];
    sd_tok *t = make(&v);
    assert_string_equal(vocab_encode(t, "aqbq", false), "97 98"); /* left out, but it parts a and b */
    sd_tok_free(t);
    v.spec.skip_missing = true;
    t = make(&v);
    snprintf(want, sizeof want, "%d", ab);
    assert_string_equal(vocab_encode(t, "aqbq", false), want);
    assert_string_equal(vocab_encode(t, "qqq", false), "");
    sd_tok_free(t);
    v.spec.unk = vocab_special(&v, "<unk>", SD_PIECE_UNKNOWN);
    t = make(&v);
    snprintf(want, sizeof want, "97 %d 98 %d", v.spec.unk, v.spec.unk);
    assert_string_equal(vocab_encode(t, "aqbq", false), want);
    sd_tok_free(t);
}

/* What tokenizers 0.23.3's decoders.WordPiece(cleanup=..) gives for these pieces. */
static void test_wordpiece_cleanup(void **state)
{
    (void)state;
    static const char *const piece[] = {"[UNK]", "hello", "##s", ",", "world", "!", "it", "'", "s", "'s", "n't", "don", "##.", ".", "do not", "a 'm b"};
    enum { N = sizeof piece / sizeof *piece };
    for (int cleanup = 0; cleanup < 2; cleanup++) {
        sd_slice p[N];
        int32_t id[N];
        sd_err err = {0};
        sd_buf b;
        for (int i = 0; i < N; i++) p[i] = sd_slice_of(piece[i]), id[i] = i;
        sd_tok *t = NULL;
        t_ok(sd_tok_new(&t, &(sd_tok_spec){.kind = SD_TOK_WPM, .piece = p, .n_vocab = N, .continuing = SD_LIT("##"), .bos = -1, .eos = -1, .unk = 0, .pad = -1, .strip_space = true, .cleanup = cleanup}, &err), err);
        sd_buf_init(&b, 1 << 10);
        t_ok(sd_tok_decode_text(t, id + 1, N - 1, false, &b, &err), err);
        assert_string_equal(sd_buf_str(&b), cleanup ? "hellos, world! it ' s'sn't don.. don't a'm b" : "hellos , world ! it ' s 's n't don. . do not a 'm b");
        sd_buf_release(&b);
        sd_tok_free(t);
    }
}

/* Merges are learnt over tokens: one of a byte that has no token shows that the vocabulary lost it. */
static void test_lost_byte(void **state)
{
    (void)state;
    static const char *const merge[][2] = {{"q", "u"}, {"s", "q"}};
    for (size_t i = 0; i < sizeof merge / sizeof *merge; i++) {
        vocab v;
        sd_err err = {0};
        sd_tok *t = NULL;
        vocab_init(&v);
        v.piece['q'] = SD_LIT("(nothing)");
        v.type['q'] = SD_PIECE_UNUSED;
        sd_tok_free(make(&v)); /* learnt from a text without a q */
        vocab_merge(&v, merge[i][0], merge[i][1], true);
        assert_int_equal(sd_tok_new(&t, &v.spec, &err), SD_E_FORMAT);
        assert_null(t);
        assert_non_null(strstr(err.msg, "is of a byte that has no token"));
        assert_true(err.hint[0]);
        v.spec.unk = vocab_special(&v, "<unk>", SD_PIECE_UNKNOWN);
        sd_tok_free(make(&v));
    }
}

static void test_special_tokens(void **state)
{
    (void)state;
    vocab v;
    char want[128];
    vocab_init(&v);
    int32_t a = vocab_special(&v, "<|a|>", SD_PIECE_CONTROL), ab = vocab_special(&v, "<|a|>b", SD_PIECE_CONTROL);
    int32_t user = vocab_special(&v, "  ", SD_PIECE_USER);
    v.spec.bos = a;
    v.spec.eos = ab;
    v.spec.add_bos = v.spec.add_eos = true;
    sd_tok *t = make(&v);
    assert_int_equal(sd_tok_bos(t), a);
    assert_int_equal(sd_tok_eos(t), ab);
    assert_true(sd_tok_add_bos(t));
    snprintf(want, sizeof want, "%d 120 %d %d %d 121 %d", a, ab, a, user, ab); /* the longest at a place wins */
    assert_string_equal(vocab_encode(t, "x<|a|>b<|a|>  y", false), want);
    snprintf(want, sizeof want, "60 124 97 124 62 %d", user); /* user tokens are text, control tokens are not */
    assert_string_equal(vocab_encode(t, "<|a|>  ", true), want);
    snprintf(want, sizeof want, "%d 60 124 97 124 %d", a, ab);
    assert_string_equal(vocab_encode(t, "<|a|", false), want);
    snprintf(want, sizeof want, "%d %d", a, ab);
    assert_string_equal(vocab_encode(t, "", false), want);
    assert_true(sd_tok_is_special(t, a));
    assert_false(sd_tok_is_special(t, user));
    assert_false(sd_tok_is_special(t, 97));
    assert_false(sd_tok_is_special(t, -1));
    assert_false(sd_tok_is_special(t, 100000));
    assert_int_equal(sd_tok_find(t, SD_LIT("<|a|>")), a);
    assert_int_equal(sd_tok_find(t, SD_LIT("<|a|>b")), ab);
    assert_int_equal(sd_tok_find(t, SD_LIT("<|a|")), -1);
    assert_int_equal(sd_tok_find(t, SD_LIT("<|a|>c")), -1);
    sd_tok_free(t);
}

static void test_strip(void **state)
{
    (void)state;
    vocab v;
    char want[64];
    vocab_init(&v);
    int32_t left = vocab_special(&v, "<l>", SD_PIECE_CONTROL), right = vocab_special(&v, "<r>", SD_PIECE_CONTROL);
    v.added[left] = SD_ADDED_LEFT;
    v.added[right] = SD_ADDED_RIGHT;
    sd_tok *t = make(&v);
    snprintf(want, sizeof want, "97 %d 32 98 32 %d 99", left, right);
    assert_string_equal(vocab_encode(t, "a \xe3\x80\x80<l> b <r>\n\t c", false), want);
    snprintf(want, sizeof want, "%d %d", right, left); /* the white space between them is taken once */
    assert_string_equal(vocab_encode(t, "<r>  <l>", false), want);
    sd_tok_free(t);
}

static void test_decode(void **state)
{
    (void)state;
    vocab v;
    sd_err err = {0};
    vocab_init(&v);
    int32_t a = vocab_special(&v, "<|\xc3\xa9|>", SD_PIECE_CONTROL),
            odd = vocab_add(&v, SD_LIT("a b"), SD_PIECE_NORMAL);
    sd_tok *t = make(&v);
    int32_t ids[] = {'h', a, 0xc3, 0xa9, odd};
    sd_buf b;
    sd_buf_init(&b, 1024);
    t_ok(sd_tok_decode(t, ids, 5, true, &b, &err), err);
    assert_string_equal(sd_buf_str(&b), "h<|\xc3\xa9|>\xc3\xa9"
                                        "a b"); /* a piece outside the alphabet is its own text */
    sd_buf_reset(&b);
    t_ok(sd_tok_decode(t, ids, 3, false, &b, &err), err);
    assert_string_equal(sd_buf_str(&b), "h\xc3"); /* may end inside a character */
    ids[1] = odd + 1;
    assert_int_equal(sd_tok_decode(t, ids, 5, true, &b, &err), SD_E_ARG);
    assert_non_null(strstr(err.msg, "token 1 of 5 is 258"));
    assert_int_equal(sd_tok_bytes(t, odd + 1).n, 0);
    assert_int_equal(sd_tok_bytes(t, -1).n, 0);
    assert_true(sd_slice_eq(sd_tok_bytes(t, odd), SD_LIT("a b")));
    sd_buf_release(&b);
    sd_tok_free(t);
}

/* Every byte, alone and among others, valid UTF-8 or not, comes back. */
static void test_bytes_come_back(void **state)
{
    (void)state;
    vocab v;
    sd_err err = {0};
    vocab_init(&v);
    vocab_merge(&v, "a", "b", true);
    v.spec.pre = SD_LIT("gpt-2");
    sd_tok *t = make(&v);
    char text[1024];
    sd_ids ids = {0};
    sd_buf back;
    sd_buf_init(&back, 4096);
    for (int b = 0; b < 256; b++) {
        char all[] = {(char)b, 'a', 'b', (char)b, (char)b, ' ', (char)0xe6, (char)b, (char)0x97};
        memcpy(text, all, sizeof all);
        ids.n = 0;
        sd_buf_reset(&back);
        t_ok(sd_tok_encode(t, (sd_slice){text, sizeof all}, NULL, &ids, &err), err);
        t_ok(sd_tok_decode(t, ids.v, ids.n, true, &back, &err), err);
        assert_int_equal(back.n, sizeof all);
        assert_memory_equal(back.p, all, sizeof all);
    }
    sd_buf_release(&back);
    sd_ids_release(&ids);
    sd_tok_free(t);
}

static void test_space_prefix_and_nfc(void **state)
{
    (void)state;
    vocab v;
    char want[64];
    vocab_init(&v);
    int32_t s = vocab_special(&v, "<s>", SD_PIECE_CONTROL);
    v.spec.add_space_prefix = true;
    sd_tok *t = make(&v);
    snprintf(want, sizeof want, "32 97 %d 32 98 %d", s, s); /* each stretch of text begins with a space, once */
    assert_string_equal(vocab_encode(t, "a<s> b<s>", false), want);
    sd_tok_free(t);
    v.spec.add_space_prefix = false;
    v.spec.norm = &(sd_norm_step){.kind = SD_NORM_NFC};
    v.spec.n_norm = 1;
    t = make(&v);
    assert_string_equal(vocab_encode(t, "e\xcc\x81", false), "195 169"); /* e + U+0301 -> U+00E9 */
    assert_string_equal(vocab_encode(t,
                                     "\xff"
                                     "e\xcc\x81\xff",
                                     false),
                        "255 195 169 255");
    sd_tok_free(t);
}

static void refused(vocab *v, sd_status want, const char *words)
{
    sd_err err = {0};
    sd_tok *t = (sd_tok *)v;
    assert_int_equal(sd_tok_new(&t, &v->spec, &err), want);
    assert_null(t);
    if (!strstr(err.msg, words)) fail_msg("\"%s\" does not say \"%s\"", err.msg, words);
}

static void test_bad_specs(void **state)
{
    (void)state;
    vocab v;
    vocab_init(&v);
    v.spec.bos = 256;
    refused(&v, SD_E_FORMAT, "the BOS token is 256");
    v.spec.bos = -1;
    v.spec.add_bos = true;
    refused(&v, SD_E_FORMAT, "names none");
    v.spec.add_bos = false;
    v.spec.n_vocab = 0;
    refused(&v, SD_E_FORMAT, "a vocabulary of 0");
    v.spec.n_vocab = 256;
    v.spec.kind = SD_TOK_WPM;
    refused(&v, SD_E_FORMAT, "the WordPiece vocabulary has no piece for byte 0x00 and no unknown token");
    v.spec.kind = SD_TOK_BPE;
    v.spec.pre = SD_LIT("no-such-name");
    refused(&v, SD_E_UNSUPPORTED, "no-such-name");
    v.spec.pre = SD_LIT("gpt-2");
    static const char *const bad[] = {"ab", "a ", "", " ", "a"};
    v.spec.n_merge = 1;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        v.merge[0] = sd_slice_of(bad[i]);
        refused(&v, SD_E_FORMAT, "merge 0");
    }
}

static void test_ids_stay_on_error(void **state)
{
    (void)state;
    vocab v;
    sd_err err = {0};
    vocab_init(&v);
    sd_tok *t = make(&v);
    sd_ids ids = {0};
    t_ok(sd_ids_push(&ids, 7, &err), err);
    char *text = malloc(100000);
    assert_non_null(text);
    memset(text, 'a', 100000);
    sd_mem_fail_nth(4);
    assert_int_equal(sd_tok_encode(t, (sd_slice){text, 100000}, NULL, &ids, &err), SD_E_NOMEM);
    sd_mem_fail_nth(0);
    assert_int_equal(ids.n, 1);
    assert_int_equal(ids.v[0], 7);
    free(text);
    sd_ids_release(&ids);
    sd_tok_free(t);
}

static void test_ids_add(void **state)
{
    (void)state;
    enum { N = 1000 };
    int32_t many[N];
    sd_err err = {0};
    sd_ids ids = {0};
    for (int i = 0; i < N; i++) many[i] = 3 * i;
    t_ok(sd_ids_add(&ids, NULL, 0, &err), err);
    assert_int_equal(ids.n, 0);
    t_ok(sd_ids_push(&ids, 7, &err), err);
    for (int64_t n = 0; n < N; n += 37) {
        int64_t before = ids.n;
        t_ok(sd_ids_add(&ids, many, n, &err), err);
        assert_int_equal(ids.n, before + n);
        for (int64_t i = 0; i < n; i++) assert_int_equal(ids.v[before + i], 3 * i);
    }
    assert_int_equal(ids.v[0], 7);
    int64_t before = ids.n;
    sd_mem_fail_nth(1);
    assert_int_equal(sd_ids_add(&ids, many, ids.cap - ids.n + 1 < N ? ids.cap - ids.n + 1 : N, &err), SD_E_NOMEM);
    sd_mem_fail_nth(0);
    assert_int_equal(ids.n, before);
    sd_ids_release(&ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(test_lowest_rank_first),
                                       T(test_leftmost_of_equals),
                                       T(test_unreachable_piece),
                                       T(test_product_without_piece),
                                       T(test_byte_without_token),
                                       T(test_lost_byte),
                                       T(test_wordpiece_cleanup),
                                       T(test_special_tokens),
                                       T(test_strip),
                                       T(test_decode),
                                       T(test_bytes_come_back),
                                       T(test_space_prefix_and_nfc),
                                       T(test_bad_specs),
                                       T(test_ids_stay_on_error),
                                       T(test_ids_add)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
