/* A trained vocabulary as a tokenizer, and as the files that transformers reads. */
#include "base/json.h"
#include "base/map.h"
#include "text/tok_train_int.h"

const char sd_tok_chatml[] =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

#define MAX_FILE_BYTES ((size_t)1 << 30) /* a million pieces take 0.1 GB */

int32_t sd_tok_trained_n_vocab(const sd_tok_trained *v)
{
    return v->n_vocab;
}
int64_t sd_tok_trained_n_merge(const sd_tok_trained *v)
{
    return v->n_merge;
}
sd_slice sd_tok_trained_merge(const sd_tok_trained *v, int64_t rank)
{
    return (sd_slice){v->lines.p + v->line[rank], v->line[rank + 1] - v->line[rank]};
}

sd_status sd_tok_trained_make(sd_tok **out, const sd_tok_trained *v, sd_err *err)
{
    sd_slice *piece = NULL, *merge = NULL;
    uint8_t *type = NULL;
    size_t n = (size_t)v->n_vocab;
    *out = NULL;
    sd_status st = sd_alloc(&piece, n * sizeof *piece, "a vocabulary", err);
    if (!st) st = sd_alloc(&type, n, "a vocabulary", err);
    if (!st) st = sd_alloc(&merge, (size_t)v->n_merge * sizeof *merge, "a vocabulary", err);
    if (st) goto done;
    for (size_t i = 0; i < n; i++) {
        piece[i] = sd_slice_of(v->piece[i]);
        type[i] = (int32_t)i < v->n_special ? SD_PIECE_CONTROL : SD_PIECE_NORMAL;
    }
    for (int64_t i = 0; i < v->n_merge; i++) merge[i] = sd_tok_trained_merge(v, i);
    sd_tok_spec spec = {.kind = SD_TOK_BPE, .n_vocab = v->n_vocab, .piece = piece, .type = type, .merge = merge,
                        .n_merge = v->n_merge, .pre = SD_LIT("gpt-2"), .bos = v->bos, .eos = v->eos, .unk = -1,
                        .pad = v->pad, .add_bos = v->add_bos, .skip_missing = true};
    st = sd_tok_new(out, &spec, err);
done:
    sd_free(piece);
    sd_free(type);
    sd_free(merge);
    return st;
}

static void put_byte_level(sd_jw *w, const char *key)
{
    sd_jw_key(w, key);
    sd_jw_obj(w);
    sd_jw_kstr(w, "type", "ByteLevel");
    sd_jw_kbool(w, "add_prefix_space", false);
    sd_jw_kbool(w, "trim_offsets", true);
    sd_jw_kbool(w, "use_regex", true);
    sd_jw_end(w);
}

static void put_part(sd_jw *w, const char *kind, const char *id)
{
    sd_jw_obj(w);
    sd_jw_key(w, kind);
    sd_jw_obj(w);
    sd_jw_kstr(w, "id", id);
    sd_jw_ki64(w, "type_id", 0);
    sd_jw_end(w);
    sd_jw_end(w);
}

/* BOS in front of a text (and of a pair's first). */
static void put_template(sd_jw *w, const char *bos, int32_t id)
{
    sd_jw_key(w, "post_processor");
    sd_jw_obj(w);
    sd_jw_kstr(w, "type", "TemplateProcessing");
    sd_jw_key(w, "single");
    sd_jw_arr(w);
    put_part(w, "SpecialToken", bos);
    put_part(w, "Sequence", "A");
    sd_jw_end(w);
    sd_jw_key(w, "pair");
    sd_jw_arr(w);
    put_part(w, "SpecialToken", bos);
    put_part(w, "Sequence", "A");
    put_part(w, "Sequence", "B");
    sd_jw_end(w);
    sd_jw_key(w, "special_tokens");
    sd_jw_obj(w);
    sd_jw_key(w, bos);
    sd_jw_obj(w);
    sd_jw_kstr(w, "id", bos);
    sd_jw_key(w, "ids");
    sd_jw_arr(w);
    sd_jw_i64(w, id);
    sd_jw_end(w);
    sd_jw_key(w, "tokens");
    sd_jw_arr(w);
    sd_jw_str(w, bos);
    sd_jw_end(w);
    sd_jw_end(w);
    sd_jw_end(w);
    sd_jw_end(w);
}

static void put_added(sd_jw *w, const sd_tok_trained *v)
{
    static const char *const off[] = {"single_word", "lstrip", "rstrip", "normalized"};
    sd_jw_key(w, "added_tokens");
    sd_jw_arr(w);
    for (int32_t i = 0; i < v->n_special; i++) {
        sd_jw_obj(w);
        sd_jw_ki64(w, "id", i);
        sd_jw_kstr(w, "content", v->piece[i]);
        for (size_t k = 0; k < sizeof off / sizeof off[0]; k++) sd_jw_kbool(w, off[k], false);
        sd_jw_kbool(w, "special", true);
        sd_jw_end(w);
    }
    sd_jw_end(w);
}

static void put_model(sd_jw *w, const sd_tok_trained *v)
{
    static const char *const none[] = {"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"};
    sd_jw_key(w, "model");
    sd_jw_obj(w);
    sd_jw_kstr(w, "type", "BPE");
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        sd_jw_key(w, none[i]);
        sd_jw_null(w);
    }
    sd_jw_kbool(w, "fuse_unk", false);
    sd_jw_kbool(w, "byte_fallback", false);
    sd_jw_kbool(w, "ignore_merges", false);
    sd_jw_key(w, "vocab");
    sd_jw_obj(w);
    for (int32_t i = 0; i < v->n_vocab; i++) sd_jw_ki64(w, v->piece[i], i);
    sd_jw_end(w);
    sd_jw_key(w, "merges");
    sd_jw_arr(w);
    for (int64_t i = 0; i < v->n_merge; i++) {
        sd_jw_arr(w);
        sd_jw_str(w, v->piece[v->merge[i][0]]);
        sd_jw_str(w, v->piece[v->merge[i][1]]);
        sd_jw_end(w);
    }
    sd_jw_end(w);
    sd_jw_end(w);
}

static void put_tokenizer(sd_buf *b, const sd_tok_trained *v)
{
    static const char *const none[] = {"truncation", "padding", "normalizer"};
    sd_jw jw, *w = &jw;
    sd_jw_init(w, b);
    sd_jw_obj(w);
    sd_jw_kstr(w, "version", "1.0");
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        sd_jw_key(w, none[i]);
        sd_jw_null(w);
    }
    put_added(w, v);
    put_byte_level(w, "pre_tokenizer");
    if (v->add_bos)
        put_template(w, v->piece[v->bos], v->bos);
    else
        put_byte_level(w, "post_processor");
    put_byte_level(w, "decoder");
    put_model(w, v);
    sd_jw_end(w);
}

static void put_names(sd_jw *w, const sd_tok_trained *v)
{
    const struct {
        const char *key;
        int32_t id;
    } name[] = {{"bos_token", v->bos}, {"eos_token", v->eos}, {"pad_token", v->pad}, {"unk_token", v->unk}};
    for (size_t i = 0; i < sizeof name / sizeof name[0]; i++)
        if (name[i].id >= 0) sd_jw_kstr(w, name[i].key, v->piece[name[i].id]);
}

static void put_config(sd_buf *b, const sd_tok_trained *v, sd_slice chat_template)
{
    sd_jw jw, *w = &jw;
    sd_jw_init(w, b);
    sd_jw_obj(w);
    sd_jw_kstr(w, "tokenizer_class", "PreTrainedTokenizerFast");
    sd_jw_kbool(w, "add_bos_token", v->add_bos);
    sd_jw_kbool(w, "add_eos_token", false);
    sd_jw_kbool(w, "clean_up_tokenization_spaces", false);
    put_names(w, v);
    if (chat_template.n) {
        sd_jw_key(w, "chat_template");
        sd_jw_slice(w, chat_template);
    }
    sd_jw_end(w);
}

static sd_status save(sd_buf *b, const char *dir, const char *name, sd_err *err)
{
    char path[4096];
    sd_status st = sd_buf_check(b, name, err);
    if (st) return st;
    if (!sd_path_join(path, sizeof path, dir, name)) return sd_fail(err, SD_E_ARG, "%.200s..: the path is too long", dir);
    return sd_file_write_atomic(path, b->p ? b->p : "", b->n, err);
}

sd_status sd_tok_trained_write(const sd_tok_trained *v, const char *dir, sd_slice chat_template, sd_err *err)
{
    sd_buf b;
    sd_jw w;
    sd_buf_init(&b, MAX_FILE_BYTES);
    put_tokenizer(&b, v);
    sd_status st = save(&b, dir, "tokenizer.json", err);
    if (!st) {
        sd_buf_reset(&b);
        put_config(&b, v, chat_template);
        st = save(&b, dir, "tokenizer_config.json", err);
    }
    if (!st) {
        sd_buf_reset(&b);
        sd_jw_init(&w, &b);
        sd_jw_obj(&w);
        put_names(&w, v);
        sd_jw_end(&w);
        st = save(&b, dir, "special_tokens_map.json", err);
    }
    if (!st && chat_template.n) {
        sd_buf_reset(&b);
        sd_buf_put(&b, chat_template.p, chat_template.n);
        st = save(&b, dir, "chat_template.jinja", err);
    }
    sd_buf_release(&b);
    return st;
}
