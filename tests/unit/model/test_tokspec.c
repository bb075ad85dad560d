/* Tokenizers out of tokenizer.json and GGUF metadata: what each component does to ids, and what is refused by name. The
 * same over real files: golden/model/test_tokenizer_files.c. */
#include "tiny_gguf.h"

#include "model/tokspec.h"

static const char *dir;

static int setup(void **state)
{
    (void)state;
    dir = t_tmpdir();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    t_rmtree(dir);
    return 0;
}

static void save(const char *name, const char *text)
{
    char path[512];
    sd_err err = {0};
    assert_true(sd_path_join(path, sizeof path, dir, name));
    t_ok(sd_file_write_atomic(path, text, strlen(text), &err), err);
}

#define BYTE_LEVEL "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": true}"
#define SPECIAL                                                                                                        \
    "{\"id\": 0, \"content\": \"<|endoftext|>\", \"special\": true}, {\"id\": 260, \"content\": \"<user>\", "          \
    "\"special\": false, \"rstrip\": true}"

typedef struct parts {
    const char *added, *pre, *normalizer, *post, *decoder, *model;
} parts;

/* A tokenizer.json over tiny_model.h's vocabulary; parts that are NULL are plain. */
static void save_json(const parts *p)
{
    sd_buf b;
    sd_buf_init(&b, 1 << 20);
    sd_buf_printf(
        &b,
        "{\"added_tokens\": [%s], \"normalizer\": %s, \"pre_tokenizer\": %s, \"post_processor\": %s, \"decoder\": %s, "
        "\"model\": {\"type\": \"BPE\", %s \"vocab\": {",
        p->added ? p->added : SPECIAL, p->normalizer ? p->normalizer : "null", p->pre ? p->pre : BYTE_LEVEL,
        p->post ? p->post : "null", p->decoder ? p->decoder : "null", p->model ? p->model : "");
    for (int id = 0; id < TINY_VOCAB; id++) {
        char piece[32];
        tiny_piece(id, piece);
        sd_buf_printf(&b, "%s\"%s%s\": %d", id ? ", " : "", piece[0] == '"' || piece[0] == '\\' ? "\\" : "", piece, id);
    }
    sd_buf_puts(&b, "}, \"merges\": [\"\xc4\xa0 t\", [\"h\", \"e\"], \"i n\"]}}");
    save("tokenizer.json", sd_buf_str(&b));
    sd_buf_release(&b);
}

static sd_tok *open_dir(sd_chat_found *chat)
{
    sd_err err = {0};
    sd_tok *t;
    t_ok(sd_tokenizer_open(&t, chat, dir, &err), err);
    return t;
}

static void ids_are(const sd_tok *t, const char *text, const char *want)
{
    sd_ids ids = {0};
    sd_err err = {0};
    char got[512] = "";
    size_t n = 0;
    t_ok(sd_tok_encode(t, sd_slice_of(text), NULL, &ids, &err), err);
    for (int64_t i = 0; i < ids.n; i++)
        n += (size_t)snprintf(got + n, sizeof got - n, "%s%d", i ? " " : "", (int)ids.v[i]);
    if (strcmp(got, want) != 0) fail_msg("\"%s\": %s, expected %s", text, got, want);
    sd_ids_release(&ids);
}

static void check(const parts *p, const char *text, const char *want)
{
    save_json(p);
    sd_tok *t = open_dir(NULL);
    ids_are(t, text, want);
    sd_tok_free(t);
}

/* Byte b is id b + 1; " t" 257, "he" 258, "in" 259. */
static void test_json(void **state)
{
    (void)state;
    save_json(&(parts){0});
    sd_tok *t = open_dir(NULL);
    assert_int_equal(sd_tok_n_vocab(t), 261);
    assert_true(sd_tok_is_special(t, 0));
    assert_false(sd_tok_is_special(t, 260));
    ids_are(t, "the in", "117 258 33 259");
    ids_are(t, " t<|endoftext|><user> \n he", "257 0 260 258");
    sd_tok_free(t);
    char path[512];
    sd_err err = {0};
    assert_true(sd_path_join(path, sizeof path, dir, "tokenizer.json"));
    t_ok(sd_tokenizer_open(&t, NULL, path, &err), err); /* the file itself */
    ids_are(t, "he", "258");
    sd_tok_free(t);
}

static void test_components(void **state)
{
    (void)state;
    check(&(parts){.pre = "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Digits\", \"individual_digits\": "
                          "true}, " BYTE_LEVEL "]}"},
          " t12", "257 50 51");
    check(&(parts){.pre = "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": "
                          "\"h\"}, \"behavior\": "
                          "\"Isolated\", \"invert\": false}, {\"type\": \"ByteLevel\", \"add_prefix_space\": false, "
                          "\"use_regex\": false}]}"},
          "he in t", "105 102 33 259 257"); /* "he" is cut apart, the rest is one word */
    check(&(parts){.pre = "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": "
                          "{\"String\": \"h.\"}, \"behavior\": "
                          "\"Isolated\", \"invert\": false}, {\"type\": \"ByteLevel\", \"add_prefix_space\": false, "
                          "\"use_regex\": false}]}"},
          "heh.e", "258 105 47 102"); /* the dot is a dot */
    check(&(parts){.pre = "{\"type\": \"ByteLevel\", \"add_prefix_space\": true}"}, "t<|endoftext|>t", "257 0 257");
    /* What a token of whole words covers inside of a word is read by no other token. */
    check(&(parts){.added = "{\"id\": 260, \"content\": \"eh\", \"single_word\": true}, {\"id\": 261, \"content\": \"h\"}"}, "eh h xehx",
          "260 33 261 33 121 102 105 121");
    check(&(parts){.added = "{\"id\": 260, \"content\": \"eh\", \"single_word\": true}"}, "\xe2\x92\xb6" "eh", "227 147 183 102 105"); /* a circled letter */
    check(&(parts){.normalizer = "{\"type\": \"NFC\"}"}, "e\xcc\x81", "196 170");
    check(
        &(parts){.model = "\"ignore_merges\": true, \"unk_token\": null, \"dropout\": null, \"byte_fallback\": false,"},
        "he", "258");
}

/* tokenizer.json with `added`, another file beside it, and what they make of a text; ids and what is left without control tokens are those of transformers 5.23. */
static void check_named(const char *added, const char *file, const char *body, const char *text, const char *want, const char *shown)
{
    sd_ids ids = {0};
    sd_err err = {0};
    sd_buf b;
    save_json(&(parts){.added = added});
    save(file, body);
    sd_tok *t = open_dir(NULL);
    ids_are(t, text, want);
    sd_buf_init(&b, 256);
    t_ok(sd_tok_encode(t, sd_slice_of(text), NULL, &ids, &err), err);
    t_ok(sd_tok_decode(t, ids.v, ids.n, false, &b, &err), err);
    assert_string_equal(sd_buf_str(&b), shown);
    sd_buf_release(&b);
    sd_ids_release(&ids);
    sd_tok_free(t);
    char path[512];
    assert_true(sd_path_join(path, sizeof path, dir, file));
    remove(path);
}

/* Tokens that stand beside tokenizer.json alone. */
static void test_named(void **state)
{
    (void)state;
    static const char cfg[] = "tokenizer_config.json", none[] = "", x260[] = "{\"id\": 260, \"content\": \"<X>\", \"special\": true}";
#define DECODER(id, content, special, rstrip) "{\"added_tokens_decoder\": {\"" id "\": {\"content\": \"" content "\", \"special\": " special ", \"rstrip\": " rstrip "}}}"
    check_named(none, cfg, DECODER("260", "<X>", "true", "true"), "t<X> t", "117 260 117", "tt");
    check_named(none, cfg, DECODER("300", "<X>", "false", "false"), "t<X>", "117 260", "t<X>"); /* the id written beside it does not count */
    check_named(none, cfg, DECODER("300", "he", "true", "false"), "the", "117 258", "t");       /* one that is a piece */
    check_named(x260, cfg, DECODER("260", "<X>", "false", "true"), "<X> t", "260 117", "t");    /* the flags are replaced, special stays special */
    check_named(x260, cfg, DECODER("260", "<Z>", "true", "false"), "<X><Z>", "260 261", "");
    check_named(none, cfg, "{\"added_tokens_decoder\": {\"1000\": {\"content\": \"<X>\"}, \"259\": {\"content\": \"<Y>\"}}}", "<X><Y>", "261 260", "<X><Y>");
    check_named(none, cfg, "{\"eos_token\": \"he\", \"pad_token\": \"<X>\"}", "the<X>", "117 258 260", "t");
    check_named(none, cfg, "{\"additional_special_tokens\": [\"<X>\"], \"extra_special_tokens\": {\"tool\": \"<Y>\"}}", "<X><Y>t", "260 261 117", "t");
    check_named(none, "special_tokens_map.json", "{\"eos_token\": {\"content\": \"<X>\", \"rstrip\": true}}", "<X> t", "260 117", "t");
    check_named(none, "added_tokens.json", "{\"<X>\": 260}", "t<X>", "117 260", "t<X>");
    sd_tok *t;
    sd_err err = {0};
    save_json(&(parts){0});
    save(cfg, "{\"added_tokens_decoder\": {\"258\": \"<X>\"}}");
    assert_int_equal(sd_tokenizer_open(&t, NULL, dir, &err), SD_E_FORMAT);
    assert_non_null(strstr(err.msg, "added_tokens_decoder: \"258\""));
}

/* Characters instead of bytes, as Llama 2's and gemma's files have them: U+2581 for a space, "<0x..>" for what has no piece. */
static void test_characters(void **state)
{
    (void)state;
    static const char model[] =
        "\"model\": {\"type\": \"BPE\", \"unk_token\": \"<unk>\", \"fuse_unk\": true, \"byte_fallback\": %s, "
        "\"vocab\": {\"<unk>\": 0, \"<0xC3>\": 1, \"<0xA9>\": 2, \"\xe2\x96\x81\": 3, \"h\": 4, \"e\": 5, \"he\": 6, "
        "\"\xe2\x96\x81he\": 7}, \"merges\": [\"h e\", [\"\xe2\x96\x81\", \"he\"]]}}";
    char json[2048];
    size_t n = (size_t)snprintf(json, sizeof json, "%s",
                                "{\"added_tokens\": [{\"id\": 8, \"content\": \"<s>\", \"special\": true}, "
                                "{\"id\": 9, \"content\": \"eh\", \"single_word\": true, \"normalized\": true}], "
                                "\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Replace\", "
                                "\"pattern\": {\"String\": \" \"}, \"content\": \"\xe2\x96\x81\"}]}, "
                                "\"decoder\": {\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Replace\", \"pattern\": "
                                "{\"String\": \"\xe2\x96\x81\"}, \"content\": \" \"}, {\"type\": \"ByteFallback\"}, "
                                "{\"type\": \"Fuse\"}]}, ");
    snprintf(json + n, sizeof json - n, model, "true");
    save("tokenizer.json", json);
    sd_tok *t = open_dir(NULL);
    ids_are(t, "he he<s>\xc3\xa9", "6 7 8 1 2");
    ids_are(t, "\xc3\xab\xc3\xab", "0"); /* bytes of which one has no piece; neighbours are fused */
    ids_are(t, "eh heh eh", "9 7 4 3 9");
    sd_buf b;
    sd_err err = {0};
    sd_buf_init(&b, 64);
    t_ok(sd_tok_decode(t, (const int32_t[]){7, 1, 2}, 3, true, &b, &err), err);
    assert_string_equal(sd_buf_str(&b), " he\xc3\xa9");
    sd_buf_release(&b);
    sd_tok_free(t);
    snprintf(json + n, sizeof json - n, model, "false");
    save("tokenizer.json", json);
    t = open_dir(NULL);
    ids_are(t, "\xc3\xa9he", "0 6");
    sd_tok_free(t);
}

static void test_around(void **state)
{
    (void)state;
    const char *bos = "{\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"<|endoftext|>\", "
                      "\"type_id\": 0}}, "
                      "{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}]}";
    check(&(parts){.post = bos}, "he", "0 258");
    check(
        &(parts){.post =
                     "{\"type\": \"RobertaProcessing\", \"sep\": [\"<user>\", 260], \"cls\": [\"<|endoftext|>\", 0]}"},
        "he", "0 258 260");
    char sequence[512];
    snprintf(sequence, sizeof sequence, "{\"type\": \"Sequence\", \"processors\": [{\"type\": \"ByteLevel\"}, %s]}",
             bos);
    check(&(parts){.post = sequence}, "he", "0 258");
    /* add_bos_token in the config takes the post-processor's place (transformers 5). */
    save("tokenizer_config.json",
         "{\"bos_token\": {\"content\": \"<|endoftext|>\"}, \"eos_token\": \"<user>\", \"add_bos_token\": false}");
    check(&(parts){.post = bos}, "he", "258");
    save("tokenizer_config.json", "{\"bos_token\": \"<|endoftext|>\", \"eos_token\": \"<user>\", \"add_bos_token\": "
                                  "true, \"add_eos_token\": true}");
    check(&(parts){0}, "he", "0 258 260");
    sd_tok *t = open_dir(NULL);
    assert_int_equal(sd_tok_bos(t), 0);
    assert_int_equal(sd_tok_eos(t), 260);
    sd_tok_free(t);
}

static void refused(const parts *p, sd_status want, const char *say)
{
    sd_err err = {0};
    sd_tok *t = (sd_tok *)&err;
    save_json(p);
    sd_status st = sd_tokenizer_open(&t, NULL, dir, &err);
    assert_null(t);
    if (st != want || !strstr(err.msg, say)) fail_msg("status %d: \"%s\", expected \"%s\"", (int)st, err.msg, say);
    assert_non_null(strstr(err.msg, "tokenizer.json"));
    if (strncmp(say, "the pre-tokeniser \"", 19) == 0) assert_non_null(strstr(err.hint, "supported: ByteLevel, Split, Metaspace"));
    if (strncmp(say, "the decoder \"", 13) == 0) assert_non_null(strstr(err.hint, "supported: ByteLevel, ByteFallback"));
}

static void test_refused(void **state)
{
    (void)state;
    const sd_status no = SD_E_UNSUPPORTED, bad = SD_E_FORMAT;
    refused(&(parts){.pre = "{\"type\": \"UnicodeScripts\"}"}, no, "the pre-tokeniser \"UnicodeScripts\"");
    refused(&(parts){.pre = "{\"type\": \"Metaspace\", \"replacement\": \"_\"}"}, no, "the Metaspace replacement \"_\"");
    refused(&(parts){.pre = "{\"type\": \"Sequence\", \"pretokenizers\": [" BYTE_LEVEL ", {\"type\": \"Digits\"}]}"},
            no, "after ByteLevel \"Digits\"");
    refused(&(parts){.pre = "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"a\"}, \"behavior\": \"Sideways\"}"},
            no, "the Split behaviour \"Sideways\"");
    refused(&(parts){.pre = "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": "
                            "{\"Regex\": \"\\\\h\"}, \"behavior\": "
                            "\"Isolated\"}, " BYTE_LEVEL "]}"},
            no, "another dialect");
    refused(&(parts){.normalizer = "{\"type\": \"Nmt\"}"}, no, "the normaliser \"Nmt\"");
    refused(&(parts){.normalizer =
                         "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFC\"}, {\"type\": \"Replace\"}]}"},
            bad, "a Replace needs a pattern");
    refused(&(parts){.normalizer = "{\"type\": \"Precompiled\", \"precompiled_charsmap\": \"AAAA*\"}"}, bad, "not base64");
    refused(&(parts){.normalizer = "{\"type\": \"Precompiled\", \"precompiled_charsmap\": \"AAAAAAAA\"}"}, bad,
            "cut short");
    refused(&(parts){.decoder = "{\"type\": \"CTC\"}"}, no, "the decoder \"CTC\"");
    refused(&(parts){.decoder = "{\"type\": \"Strip\", \"content\": \"_\", \"start\": 1, \"stop\": 0}"}, no, "Strip of more");
    refused(&(parts){.decoder = "{\"type\": \"Strip\", \"content\": \" \", \"start\": 2, \"stop\": 0}"}, no, "Strip of more");
    refused(&(parts){.decoder = "{\"type\": \"Strip\", \"content\": \" \", \"start\": 0, \"stop\": 1}"}, no, "Strip of more");
    refused(&(parts){.decoder = "{\"type\": \"Replace\", \"pattern\": {\"String\": \"\xe2\x96\x81\"}, \"content\": \"_\"}"}, no, "by another than a space");
    refused(&(parts){.post = "{\"type\": \"Mystery\"}"}, no, "the post-processor \"Mystery\"");
    refused(
        &(parts){.post = "{\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"<no>\"}}]}"},
        bad, "adds \"<no>\"");
    refused(&(parts){.model = "\"dropout\": 0.1,"}, no, "dropout");
    refused(&(parts){.model = "\"end_of_word_suffix\": \"</w>\","}, no, "end_of_word_suffix");
    refused(&(parts){.added = "{\"id\": -1, \"content\": \"<x>\"}"}, bad, "\"<x>\" has no id");
    refused(&(parts){.added = "{\"id\": 5000000, \"content\": \"<x>\"}"}, bad, "\"<x>\" has no id");
    refused(&(parts){.added = "{\"id\": 260}"}, bad, "no content");
}

static void broken(const char *json, const char *say)
{
    sd_err err = {0};
    sd_tok *t;
    save("tokenizer.json", json);
    sd_status st = sd_tokenizer_open(&t, NULL, dir, &err);
    if (!st || !strstr(err.msg, say)) fail_msg("%s: status %d: \"%s\", expected \"%s\"", json, (int)st, err.msg, say);
}

static void test_broken(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_tok *t;
    assert_int_equal(sd_tokenizer_open(&t, NULL, dir, &err), SD_E_NOTFOUND);
    assert_non_null(strstr(err.msg, "tokenizer.json"));
    assert_true(err.hint[0] != '\0');
    broken("{", "tokenizer.json");
    broken("[]", "there is no model");
    broken("{\"model\": {\"type\": \"Unigram\"}}", "model.vocab is not a list");
    broken("{\"model\": {\"type\": \"Unigram\", \"vocab\": [[\"a\", 0], [\"b\"]]}}", "piece 1 is no pair");
    broken("{\"model\": {\"type\": \"Unigram\", \"vocab\": [[\"a\", 0]], \"unk_id\": 1}}", "unk_id is no piece");
    broken("{\"model\": {\"type\": \"WordPiece\", \"vocab\": {\"a\": 0}}}", "needs an unknown token");
    broken("{\"model\": {\"type\": \"WordLevel\", \"vocab\": {\"a\": 0}}}", "the model \"WordLevel\"");
    broken("{\"model\": {\"type\": \"BPE\", \"vocab\": []}}", "model.vocab");
    broken("{\"model\": {\"type\": \"BPE\", \"vocab\": {}}}", "the vocabulary is empty");
    broken("{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 0}, \"merges\": []}}", "share the id 0");
    broken("{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": \"x\"}}}", "has no id");
    broken("{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}}}", "model.merges");
    broken("{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [[\"a\"]]}}", "merge 0");
    broken("{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1}, \"merges\": [\"a b\"]}}", "merge 0, \"a b\"");
    broken("{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [\"a\"]}, \"pre_tokenizer\": " BYTE_LEVEL
           "}",
           "merge 0");
}

/* Ids that nothing names are pieces without text; a tokenizer with a hole is a tokenizer. */
static void test_hole(void **state)
{
    (void)state;
    save_json(&(parts){.added = "{\"id\": 0, \"content\": \"<|endoftext|>\", \"special\": true}, {\"id\": 300, "
                                "\"content\": \"<x>\", \"special\": true}"});
    sd_tok *t = open_dir(NULL);
    assert_int_equal(sd_tok_n_vocab(t), 301);
    assert_int_equal(sd_tok_bytes(t, 280).n, 0);
    ids_are(t, "he<x>", "258 300");
    sd_tok_free(t);
}

static void renders(const char *want)
{
    sd_chat_found chat;
    sd_err err = {0};
    sd_buf out;
    const sd_message msg = {SD_LIT("user"), SD_LIT("hi")};
    sd_tok *t = open_dir(&chat);
    sd_buf_init(&out, 4096);
    assert_non_null(chat.chat);
    t_ok(sd_chat_render(chat.chat, &msg, 1, true, &out, &err), err);
    assert_string_equal(sd_buf_str(&out), want);
    sd_buf_release(&out);
    sd_chat_free(chat.chat);
    sd_tok_free(t);
}

/* A file of its own wins over the config; of several in the config the one named "default" counts. */
static void test_chat(void **state)
{
    (void)state;
    sd_chat_found chat;
    save_json(&(parts){0});
    sd_tok *t = open_dir(&chat);
    assert_null(chat.chat);
    assert_string_equal(chat.why, "no template");
    sd_tok_free(t);
    save("tokenizer_config.json",
         "{\"bos_token\": \"<|endoftext|>\", \"chat_template\": \"{{ bos_token }}A{{ messages[0].content }}\"}");
    renders("<|endoftext|>Ahi");
    save("tokenizer_config.json", "{\"chat_template\": [{\"name\": \"tool\", \"template\": \"T\"}, {\"name\": "
                                  "\"default\", \"template\": \"D\"}]}");
    renders("D");
    save("chat_template.jinja", "F{{ messages[0].role }}\n");
    renders("Fuser");
    save("chat_template.jinja", "{% nonsense %}");
    t = open_dir(&chat); /* a template beyond us is no error: there is none to be used, and it is said why */
    assert_null(chat.chat);
    assert_non_null(strstr(chat.why, "nonsense"));
    sd_tok_free(t);
}

/* ---- GGUF ---- */

static void kv_strings(sd_buf *b, const char *key, const char *const *v, uint64_t n)
{
    tiny_kv_arr(b, key, 8, n);
    for (uint64_t i = 0; i < n; i++) tiny_str(b, v[i]);
}

static void kv_types(sd_buf *b, const uint32_t *v, uint64_t n)
{
    tiny_kv_arr(b, "tokenizer.ggml.token_type", 5, n);
    for (uint64_t i = 0; i < n; i++) tiny_u32(b, v[i]);
}

static void kv_bool(sd_buf *b, const char *key, bool v)
{
    tiny_str(b, key), tiny_u32(b, 7), sd_buf_putc(b, (char)v);
}

static void gguf_head(sd_buf *b, uint64_t n_kv)
{
    sd_buf_reset(b);
    sd_buf_puts(b, "GGUF");
    tiny_u32(b, 3), tiny_u64(b, 0), tiny_u64(b, n_kv);
}

static const char *gguf_save(sd_buf *b)
{
    static char path[512];
    sd_err err = {0};
    snprintf(path, sizeof path, "%s/vocab.gguf", dir);
    t_ok(sd_file_write_atomic(path, b->p, b->n, &err), err);
    return path;
}

static const char *const pieces[] = {"a", "b", "ab", "<s>", "</s>", "1"};
static const char *const merges[] = {"a b"};

static void test_gguf(void **state)
{
    (void)state;
    static const uint32_t types[] = {1, 1, 1, 3, 1, 1};
    sd_buf b;
    sd_err err = {0};
    sd_tok *t;
    sd_chat_found chat;
    sd_buf_init(&b, 1 << 16);
    gguf_head(&b, 8);
    tiny_kv_str(&b, "tokenizer.ggml.model", "gpt2");
    tiny_kv_str(&b, "tokenizer.ggml.pre", "smollm");
    kv_strings(&b, "tokenizer.ggml.tokens", pieces, 6);
    kv_types(&b, types, 6);
    kv_strings(&b, "tokenizer.ggml.merges", merges, 1);
    tiny_kv_u32(&b, "tokenizer.ggml.bos_token_id", 3);
    tiny_kv_u32(&b, "tokenizer.ggml.eos_token_id", 4);
    tiny_kv_str(&b, "tokenizer.chat_template", "{{ bos_token }}{{ eos_token }}");
    t_ok(sd_tokenizer_open(&t, &chat, gguf_save(&b), &err), err);
    assert_int_equal(sd_tok_n_vocab(t), 6);
    assert_true(sd_tok_is_special(t, 4)); /* typed normal, but it is the end token and looks like one */
    assert_false(sd_tok_add_bos(t));
    ids_are(t, "ab<s>a11</s>", "2 3 0 5 5 4");
    sd_buf out;
    sd_buf_init(&out, 64);
    t_ok(sd_chat_render(chat.chat, NULL, 0, false, &out, &err), err);
    assert_string_equal(sd_buf_str(&out), "<s></s>");
    sd_buf_release(&out);
    sd_chat_free(chat.chat);
    sd_tok_free(t);
    /* A name that implies BOS, and a file that says otherwise. */
    for (int given = 0; given < 2; given++) {
        gguf_head(&b, 5 + (uint64_t)given);
        tiny_kv_str(&b, "tokenizer.ggml.model", "gpt2");
        tiny_kv_str(&b, "tokenizer.ggml.pre", "llama-bpe");
        kv_strings(&b, "tokenizer.ggml.tokens", pieces, 6);
        kv_strings(&b, "tokenizer.ggml.merges", merges, 1);
        tiny_kv_u32(&b, "tokenizer.ggml.bos_token_id", 3);
        if (given) kv_bool(&b, "tokenizer.ggml.add_bos_token", false);
        t_ok(sd_tokenizer_open(&t, NULL, gguf_save(&b), &err), err);
        ids_are(t, "ab", given ? "2" : "3 2");
        sd_tok_free(t);
    }
    sd_buf_release(&b);
}

/* llama.cpp's end-of-generation tokens: by key, and by name where no key says otherwise. */
static void test_gguf_ends(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "<|im_start|>", "<|im_end|>", "<|end|>", "<|eot_id|>", "<|call|>", "<PAD>", "<|return|>", "</s>"};
    static const char *const keys[] = {NULL, "tokenizer.ggml.eot_token_id", "tokenizer.ggml.fim_pad_token_id", "tokenizer.ggml.eos_token_id"};
    static const char *const want[] = {"001011111", "101011111", "101011011", "101011111"}; /* without <|end|>: <|call|> and <|return|> are there */
    sd_buf b;
    sd_err err = {0};
    sd_tok *t;
    sd_buf_init(&b, 1 << 16);
    for (int k = 0; k < 4; k++) {
        gguf_head(&b, 3 + (keys[k] != NULL));
        tiny_kv_str(&b, "tokenizer.ggml.model", "gpt2");
        kv_strings(&b, "tokenizer.ggml.tokens", names, 9);
        kv_strings(&b, "tokenizer.ggml.merges", names, 0);
        if (keys[k]) tiny_kv_u32(&b, keys[k], 0);
        t_ok(sd_tokenizer_open(&t, NULL, gguf_save(&b), &err), err);
        for (int i = 0; i < 9; i++)
            if (sd_tok_ends(t, i) != (want[k][i] == '1')) fail_msg("key %d: %s", k, names[i]);
        sd_tok_free(t);
    }
    sd_buf_release(&b);
}

static void gguf_refused(sd_buf *b, sd_status want, const char *say)
{
    sd_err err = {0};
    sd_tok *t = (sd_tok *)&err;
    const char *path = gguf_save(b);
    sd_status st = sd_tokenizer_open(&t, NULL, path, &err);
    assert_null(t);
    if (st != want || !strstr(err.msg, say) || !strstr(err.msg, path))
        fail_msg("status %d: \"%s\", expected \"%s\"", (int)st, err.msg, say);
}

static void test_gguf_refused(void **state)
{
    (void)state;
    static const uint32_t types[] = {1, 1};
    static const char *const bad_merge[] = {"ab"};
    sd_buf b;
    sd_buf_init(&b, 1 << 16);
    gguf_head(&b, 1);
    tiny_kv_str(&b, "general.architecture", "llama");
    gguf_refused(&b, SD_E_NOTFOUND, "tokenizer.ggml.model");
    gguf_head(&b, 1);
    tiny_kv_str(&b, "tokenizer.ggml.model", "rwkv");
    gguf_refused(&b, SD_E_UNSUPPORTED, "\"rwkv\"");
    gguf_head(&b, 2);
    tiny_kv_str(&b, "tokenizer.ggml.model", "gpt2");
    kv_strings(&b, "tokenizer.ggml.tokens", pieces, 6);
    gguf_refused(&b, SD_E_NOTFOUND, "tokenizer.ggml.merges");
    gguf_head(&b, 4);
    tiny_kv_str(&b, "tokenizer.ggml.model", "gpt2");
    kv_strings(&b, "tokenizer.ggml.tokens", pieces, 6);
    kv_strings(&b, "tokenizer.ggml.merges", merges, 1);
    kv_types(&b, types, 2);
    gguf_refused(&b, SD_E_FORMAT, "token_type has 2 entries, the vocabulary has 6");
    gguf_head(&b, 4);
    tiny_kv_str(&b, "tokenizer.ggml.model", "gpt2");
    kv_strings(&b, "tokenizer.ggml.tokens", pieces, 6);
    kv_strings(&b, "tokenizer.ggml.merges", merges, 1);
    tiny_kv_u32(&b, "tokenizer.ggml.eos_token_id", 6);
    gguf_refused(&b, SD_E_FORMAT, "eos_token_id is 6, the vocabulary has 6");
    gguf_head(&b, 4);
    tiny_kv_str(&b, "tokenizer.ggml.model", "gpt2");
    tiny_kv_str(&b, "tokenizer.ggml.pre", "no-such");
    kv_strings(&b, "tokenizer.ggml.tokens", pieces, 6);
    kv_strings(&b, "tokenizer.ggml.merges", merges, 1);
    gguf_refused(&b, SD_E_UNSUPPORTED, "\"no-such\" is not known");
    gguf_head(&b, 4);
    tiny_kv_str(&b, "tokenizer.ggml.model", "gpt2");
    tiny_kv_str(&b, "tokenizer.ggml.pre", "gpt-2");
    kv_strings(&b, "tokenizer.ggml.tokens", pieces, 6);
    kv_strings(&b, "tokenizer.ggml.merges", bad_merge, 1);
    gguf_refused(&b, SD_E_FORMAT, "merge 0 is \"ab\"");
    sd_buf_release(&b);
}

int main(void)
{
#define C(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {C(test_json),    C(test_components), C(test_named), C(test_around),
                                       C(test_characters),
                                       C(test_refused), C(test_broken),     C(test_hole),
                                       C(test_chat),    C(test_gguf),       C(test_gguf_ends), C(test_gguf_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
