/* Tokenizers from a Hugging Face folder: tokenizer.json (pieces, merges, post-processor; the way of a text is
 * tokspec_parts.c's), tokenizer_config.json (names of special tokens, add_bos_token) and the chat template
 * (chat_template.jinja, or inside tokenizer_config.json).
 *
 * Only what is reproduced exactly is read; any other component is SD_E_UNSUPPORTED with its name. */
#include "model/tokspec_int.h"

#include "base/hash.h"

#include <stdio.h>

#define MAX_TOKENIZER_BYTES (256u << 20) /* gemma's, the largest in use, has 33 MB */
#define MAX_CONFIG_BYTES    (16u << 20)
#define MAX_VOCAB           (1 << 22) /* the largest have 262,144 */

typedef sd_hf hf;

void sd_hf__release(sd_hf *h)
{
    json_decref(h->tok);
    json_decref(h->cfg);
    sd_free(h->piece);
    sd_free(h->merge);
    sd_free(h->type);
    sd_free(h->added);
    sd_free(h->logprob);
    sd_free(h->left);
    sd_free(h->end);
    sd_table_free(h->by_text);
    sd_buf_release(&h->joined);
    for (int i = 0; i < h->n_kept; i++) sd_free(h->kept[i]);
}

static sd_slice slice_of_json(const json_t *s)
{
    return (sd_slice){json_string_value(s), json_string_length(s)};
}

static sd_status bad(const hf *h, const char *what, sd_err *err)
{
    return sd_fail(err, SD_E_FORMAT, "%s: %s", h->what, what);
}

/* ---- pieces ---- */

static sd_status check_id(const hf *h, const json_t *v, sd_slice text, int64_t *max, sd_err *err)
{
    json_int_t id = json_integer_value(v);
    if (!json_is_integer(v) || id < 0 || id >= MAX_VOCAB)
        return sd_fail(err, SD_E_FORMAT, "%s: the piece \"%.*s\" has no id from 0 to %d", h->what,
                       (int)(text.n > 64 ? 64 : text.n), text.p ? text.p : "", MAX_VOCAB - 1);
    if (id > *max) *max = id;
    return SD_OK;
}

/* The pieces: an object of ids, or a list of [piece, score] in the order of ids (Unigram). */
static sd_status count_pieces(hf *h, json_t *vocab, const json_t *added, sd_err *err)
{
    const char *key;
    json_t *v;
    int64_t max = -1;
    sd_status st = SD_OK;
    if (json_array_size(vocab) > MAX_VOCAB) return bad(h, "the vocabulary has more than 4194304 pieces", err);
    if (json_is_array(vocab)) max = (int64_t)json_array_size(vocab) - 1;
    json_object_foreach(vocab, key, v)
    {
        st = check_id(h, v, sd_slice_of(key), &max, err);
        if (st) return st;
    }
    for (size_t i = 0; i < json_array_size(added) && !st; i++) {
        const json_t *a = json_array_get(added, i);
        if (!json_is_string(json_object_get(a, "content"))) return bad(h, "an added token has no content", err);
        st = check_id(h, json_object_get(a, "id"), slice_of_json(json_object_get(a, "content")), &max, err);
    }
    if (!st && max < 0) return bad(h, "the vocabulary is empty", err);
    h->spec.n_vocab = (int32_t)(max + 1);
    return st;
}

static sd_status read_list(hf *h, const json_t *vocab, sd_err *err)
{
    sd_status st = sd_alloc_zero(&h->logprob, (size_t)(h->spec.n_vocab + sd_hf__n_added(h)) * sizeof *h->logprob, "the scores", err);
    for (size_t i = 0; i < json_array_size(vocab) && !st; i++) {
        const json_t *one = json_array_get(vocab, i), *text = json_array_get(one, 0), *score = json_array_get(one, 1);
        if (!json_is_string(text) || !json_is_number(score))
            return sd_fail(err, SD_E_FORMAT, "%s: piece %zu is no pair of a string and a score", h->what, i);
        h->piece[i] = slice_of_json(text);
        h->type[i] = SD_PIECE_NORMAL;
        h->logprob[i] = json_number_value(score);
    }
    h->spec.logprob = h->logprob;
    return st;
}

static sd_status read_vocab(hf *h, json_t *vocab, sd_err *err)
{
    const char *key;
    json_t *v;
    if (json_is_array(vocab)) return read_list(h, vocab, err);
    json_object_foreach(vocab, key, v)
    {
        json_int_t id = json_integer_value(v);
        if (h->piece[id].p)
            return sd_fail(err, SD_E_FORMAT, "%s: the pieces \"%.64s\" and \"%.64s\" share the id %lld", h->what,
                           h->piece[id].p, key, (long long)id);
        h->piece[id] = sd_slice_of(key);
        h->type[id] = SD_PIECE_NORMAL;
    }
    return SD_OK;
}

uint8_t sd_hf__added_flags(const json_t *token, bool outside)
{
    return (uint8_t)((sd_hf__is_true(token, "lstrip", false) ? SD_ADDED_LEFT : 0) | (sd_hf__is_true(token, "rstrip", false) ? SD_ADDED_RIGHT : 0) |
                     (sd_hf__is_true(token, "single_word", false) ? SD_ADDED_SINGLE_WORD : 0) |
                     (sd_hf__is_true(token, "normalized", false) ? SD_ADDED_NORMALIZED : 0) | (outside ? SD_ADDED_OUTSIDE : 0));
}

static sd_status read_added(hf *h, const json_t *added, sd_err *err)
{
    for (size_t i = 0; i < json_array_size(added); i++) {
        const json_t *a = json_array_get(added, i);
        json_int_t id = json_integer_value(json_object_get(a, "id"));
        sd_slice text = slice_of_json(json_object_get(a, "content"));
        bool outside = !h->piece[id].p;
        if (text.n == 0) return bad(h, "an added token is empty", err);
        h->piece[id] = text;
        h->type[id] = sd_hf__is_true(a, "special", false) ? SD_PIECE_CONTROL : SD_PIECE_USER;
        h->added[id] = sd_hf__added_flags(a, outside);
    }
    return SD_OK;
}

static sd_status read_pieces(hf *h, const json_t *model, sd_err *err)
{
    json_t *vocab = json_object_get(model, "vocab");
    const json_t *added = json_object_get(h->tok, "added_tokens");
    if (h->spec.kind == SD_TOK_UGM ? !json_is_array(vocab) : !json_is_object(vocab))
        return bad(h, h->spec.kind == SD_TOK_UGM ? "model.vocab is not a list" : "model.vocab is not an object", err);
    sd_status st = count_pieces(h, vocab, added, err);
    if (st) return st;
    const size_t n = (size_t)h->spec.n_vocab, room = n + (size_t)sd_hf__n_added(h);
    st = sd_alloc_zero(&h->piece, room * sizeof *h->piece, "the vocabulary", err);
    if (!st) st = sd_alloc(&h->type, room, "the vocabulary", err);
    if (!st) st = sd_alloc_zero(&h->added, room, "the vocabulary", err);
    if (st) return st;
    memset(h->type, SD_PIECE_UNUSED, room); /* ids that no piece has */
    st = read_vocab(h, vocab, err);
    if (!st) st = read_added(h, added, err);
    if (!st) st = sd_table_new(&h->by_text, (int64_t)room, err);
    for (size_t i = 0; i < n && !st; i++)
        if (h->piece[i].n) st = sd_table_set(h->by_text, h->piece[i], (int64_t)i, NULL, err);
    if (!st) st = sd_hf__added(h, err);
    h->spec.piece = h->piece;
    h->spec.type = h->type;
    h->spec.added = h->added;
    return st;
}

/* ---- merges: "a b" lines, or ["a", "b"] pairs ---- */

static sd_status read_merges(hf *h, const json_t *model, sd_err *err)
{
    const json_t *list = json_object_get(model, "merges");
    size_t n = json_array_size(list), bytes = 0;
    if (!json_is_array(list)) return bad(h, "model.merges is not an array", err);
    sd_status st = sd_alloc(&h->merge, n * sizeof *h->merge, "the merges", err);
    if (!st) st = sd_alloc(&h->left, n * sizeof *h->left, "the merges", err);
    if (st) return st;
    for (size_t i = 0; i < n; i++) {
        const json_t *m = json_array_get(list, i);
        const json_t *a = json_array_get(m, 0), *b = json_array_get(m, 1);
        if (json_is_string(m)) continue;
        if (json_array_size(m) != 2 || !json_is_string(a) || !json_is_string(b))
            return sd_fail(err, SD_E_FORMAT, "%s: merge %zu is neither a string nor a pair of strings", h->what, i);
        sd_buf_put(&h->joined, json_string_value(a), json_string_length(a));
        sd_buf_putc(&h->joined, ' ');
        sd_buf_put(&h->joined, json_string_value(b), json_string_length(b));
    }
    st = sd_buf_check(&h->joined, "the merges", err);
    /* The buffer has stopped moving: slices of it are final. */
    for (size_t i = 0; i < n && !st; i++) {
        const json_t *m = json_array_get(list, i);
        if (json_is_string(m)) {
            h->merge[i] = slice_of_json(m);
            const char *gap = h->merge[i].n > 1 ? memchr(h->merge[i].p + 1, ' ', h->merge[i].n - 1) : NULL;
            h->left[i] = gap ? (uint32_t)(gap - h->merge[i].p) : 0;
            continue;
        }
        h->left[i] = (uint32_t)json_string_length(json_array_get(m, 0));
        size_t len = json_string_length(json_array_get(m, 0)) + 1 + json_string_length(json_array_get(m, 1));
        h->merge[i] = (sd_slice){h->joined.p + bytes, len};
        bytes += len;
    }
    h->spec.merge = h->merge;
    h->spec.merge_left = h->left;
    h->spec.n_merge = (int64_t)n;
    return st;
}

/* "<0x0A>" pieces stand for bytes. */
static void mark_bytes(hf *h)
{
    for (int32_t i = 0; i < h->spec.n_vocab; i++) {
        sd_slice p = h->piece[i];
        if (p.n == 6 && sd_slice_starts(p, "<0x") && p.p[5] == '>' && h->type[i] == SD_PIECE_NORMAL) h->type[i] = SD_PIECE_BYTE;
    }
}

static sd_status read_bpe(hf *h, const json_t *model, sd_err *err)
{
    if (json_number_value(json_object_get(model, "dropout")) != 0) return sd_hf__unsupported(h, "option", "dropout", err);
    if (json_string_length(json_object_get(model, "continuing_subword_prefix")) > 0)
        return sd_hf__unsupported(h, "option", "continuing_subword_prefix", err);
    if (json_string_length(json_object_get(model, "end_of_word_suffix")) > 0)
        return sd_hf__unsupported(h, "option", "end_of_word_suffix", err);
    h->spec.ignore_merges = sd_hf__is_true(model, "ignore_merges", false);
    h->spec.fuse_unk = sd_hf__is_true(model, "fuse_unk", false);
    sd_status st = read_pieces(h, model, err);
    return st ? st : read_merges(h, model, err);
}

static sd_status read_wordpiece(hf *h, const json_t *model, sd_err *err)
{
    const json_t *prefix = json_object_get(model, "continuing_subword_prefix");
    const json_t *most = json_object_get(model, "max_input_chars_per_word");
    h->spec.continuing = json_is_string(prefix) ? slice_of_json(prefix) : SD_LIT("##");
    if (h->spec.continuing.n == 0) return sd_hf__unsupported(h, "option", "an empty continuing_subword_prefix", err);
    h->spec.max_word_chars = json_is_integer(most) && json_integer_value(most) > 0 ? json_integer_value(most) : 100;
    h->spec.strip_space = true;
    return read_pieces(h, model, err);
}

static sd_status read_unigram(hf *h, const json_t *model, sd_err *err)
{
    const json_t *unk = json_object_get(model, "unk_id");
    sd_status st = read_pieces(h, model, err);
    if (st || sd_hf__is_absent(unk)) return st;
    if (!json_is_integer(unk) || json_integer_value(unk) < 0 || json_integer_value(unk) >= h->spec.n_vocab)
        return bad(h, "model.unk_id is no piece", err);
    h->spec.unk = (int32_t)json_integer_value(unk);
    h->spec.fuse_unk = true;
    return SD_OK;
}

static sd_status read_model(hf *h, sd_err *err)
{
    const json_t *model = json_object_get(h->tok, "model");
    if (!json_is_object(model)) return bad(h, "there is no model", err);
    const char *type = sd_hf__type_of(model); /* files of 2020 have none; they are BPE when they have merges */
    bool bpe = strcmp(type, "BPE") == 0 || (!*type && json_object_get(model, "merges"));
    bool wordpiece = strcmp(type, "WordPiece") == 0, unigram = strcmp(type, "Unigram") == 0;
    if (!bpe && !wordpiece && !unigram) return sd_hf__unsupported(h, "model", *type ? type : "(unnamed)", err);
    h->spec.kind = bpe ? SD_TOK_BPE : wordpiece ? SD_TOK_WPM : SD_TOK_UGM;
    h->spec.byte_fallback = sd_hf__is_true(model, "byte_fallback", false);
    sd_status st = bpe ? read_bpe(h, model, err) : wordpiece ? read_wordpiece(h, model, err) : read_unigram(h, model, err);
    if (!st && h->spec.byte_fallback) mark_bytes(h);
    const json_t *unk = json_object_get(model, "unk_token");
    if (!st && json_is_string(unk)) h->spec.unk = (int32_t)sd_table_get(h->by_text, slice_of_json(unk));
    return st;
}

/* ---- what is added around a text ---- */

static sd_status find_token(const hf *h, const json_t *name, int32_t *out, sd_err *err)
{
    sd_slice text = slice_of_json(name);
    int64_t id = json_is_string(name) ? sd_table_get(h->by_text, text) : -1;
    if (id < 0)
        return sd_fail(err, SD_E_FORMAT, "%s: the post-processor adds \"%.*s\", which is no piece", h->what,
                       (int)(text.n > 64 ? 64 : text.n), text.p ? text.p : "");
    *out = (int32_t)id;
    return SD_OK;
}

/* TemplateProcessing: at most one token in front of sequence A and one after it. */
static sd_status read_template(hf *h, const json_t *p, sd_err *err)
{
    const json_t *list = json_object_get(p, "single");
    bool seen = false;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i), *special = json_object_get(item, "SpecialToken");
        if (json_object_get(item, "Sequence")) {
            if (seen) return sd_hf__unsupported(h, "post-processor", "TemplateProcessing with two sequences", err);
            seen = true;
            continue;
        }
        if ((seen && h->spec.add_eos) || (!seen && h->spec.add_bos))
            return sd_hf__unsupported(h, "post-processor", "TemplateProcessing with several tokens on a side", err);
        sd_status st = find_token(h, json_object_get(special, "id"), seen ? &h->spec.eos : &h->spec.bos, err);
        if (st) return st;
        *(seen ? &h->spec.add_eos : &h->spec.add_bos) = true;
    }
    return SD_OK;
}

static sd_status read_post(hf *h, const json_t *p, int depth, sd_err *err)
{
    sd_status st = SD_OK;
    if (sd_hf__is_absent(p)) return SD_OK;
    const char *type = sd_hf__type_of(p);
    if (strcmp(type, "ByteLevel") == 0) return SD_OK;
    if (strcmp(type, "TemplateProcessing") == 0) return read_template(h, p, err);
    if (strcmp(type, "RobertaProcessing") == 0 || strcmp(type, "BertProcessing") == 0) {
        st = find_token(h, json_array_get(json_object_get(p, "cls"), 0), &h->spec.bos, err);
        if (!st) st = find_token(h, json_array_get(json_object_get(p, "sep"), 0), &h->spec.eos, err);
        h->spec.add_bos = h->spec.add_eos = true;
        return st;
    }
    if (strcmp(type, "Sequence") != 0 || depth > 0) return sd_hf__unsupported(h, "post-processor", type, err);
    const json_t *list = json_object_get(p, "processors");
    for (size_t i = 0; i < json_array_size(list) && !st; i++)
        st = read_post(h, json_array_get(list, i), depth + 1, err);
    return st;
}

/* A name in tokenizer_config.json: a string, or an object with "content". */
static void find_named(const hf *h, const char *key, int32_t *out)
{
    const json_t *v = json_object_get(h->cfg, key);
    if (json_is_object(v)) v = json_object_get(v, "content");
    if (json_is_string(v)) *out = (int32_t)sd_table_get(h->by_text, slice_of_json(v));
}

static void find_in_config(const hf *h, const json_t *config, const char *key, int32_t *out)
{
    const json_t *v = json_object_get(config, key);
    if (json_is_array(v)) v = json_array_get(v, 0);
    if (*out < 0 && json_is_integer(v) && json_integer_value(v) >= 0 && json_integer_value(v) < h->spec.n_vocab)
        *out = (int32_t)json_integer_value(v);
}

/* Where transformers' generate ends: eos_token_id of generation_config.json, a number or a list, before that of config.json. Where
 * both are silent it goes on for ever; here the tokenizer's EOS ends. An id that no piece has is left out. */
static sd_status read_ends(hf *h, const json_t *config, sd_err *err)
{
    char path[4096];
    json_t *own = NULL;
    sd_status st = SD_OK;
    if (sd_path_join(path, sizeof path, h->dir, "generation_config.json") && sd_file_exists(path))
        st = sd_json_load(&own, path, MAX_CONFIG_BYTES, err);
    const json_t *v = json_object_get(own, "eos_token_id");
    if (sd_hf__is_absent(v)) v = json_object_get(config, "eos_token_id");
    const size_t n = json_is_array(v) ? json_array_size(v) : 1;
    if (!st) st = sd_alloc(&h->end, n * sizeof *h->end, "the ends of a text", err);
    for (size_t i = 0; i < n && !st; i++) {
        const json_t *one = json_is_array(v) ? json_array_get(v, i) : v;
        const json_int_t id = json_is_integer(one) ? json_integer_value(one) : -1;
        if (id >= 0 && id < h->spec.n_vocab) h->end[h->spec.n_end++] = (int32_t)id;
    }
    h->spec.end = h->end;
    json_decref(own);
    return st;
}

/* As transformers 5: add_bos_token or add_eos_token in the config take the post-processor's place. */
static sd_status read_specials(hf *h, const json_t *config, sd_err *err)
{
    sd_tok_spec *s = &h->spec;
    bool named = json_is_boolean(json_object_get(h->cfg, "add_bos_token")) ||
                 json_is_boolean(json_object_get(h->cfg, "add_eos_token"));
    find_named(h, "bos_token", &s->bos);
    find_named(h, "eos_token", &s->eos);
    find_named(h, "pad_token", &s->pad);
    find_in_config(h, config, "bos_token_id", &s->bos);
    find_in_config(h, config, "eos_token_id", &s->eos);
    if (named) {
        s->add_bos = sd_hf__is_true(h->cfg, "add_bos_token", false) && s->bos >= 0;
        s->add_eos = sd_hf__is_true(h->cfg, "add_eos_token", false) && s->eos >= 0;
        return SD_OK;
    }
    return read_post(h, json_object_get(h->tok, "post_processor"), 0, err);
}

static sd_status read_all(hf *h, const json_t *config, sd_err *err)
{
    h->spec = (sd_tok_spec){.bos = -1, .eos = -1, .unk = -1, .pad = -1, .skip_missing = true, .merges_closed = true};
    sd_status st = read_model(h, err);
    if (!st) st = sd_hf__pre_tokenizers(h, err);
    if (!st) st = sd_hf__normalizers(h, err);
    if (!st) st = sd_hf__decoders(h, err);
    if (!st) st = read_specials(h, config, err);
    if (!st) st = read_ends(h, config, err);
    return st;
}

sd_status sd_hf__read(sd_hf *h, const char *dir, const char *json, const json_t *config, sd_err *err)
{
    char cfg[4096];
    *h = (hf){.dir = dir};
    sd_buf_init(&h->joined, MAX_TOKENIZER_BYTES);
    if (json ? (size_t)snprintf(h->what, sizeof h->what, "%s", json) >= sizeof h->what
             : !sd_path_join(h->what, sizeof h->what, dir, "tokenizer.json"))
        return sd_fail(err, SD_E_ARG, "%.200s..: the path is too long", dir);
    if (!sd_file_exists(h->what)) {
        if (!json && sd_path_join(cfg, sizeof cfg, dir, "tokenizer.model") && sd_file_exists(cfg)) {
            sd_fail(err, SD_E_UNSUPPORTED, "%s has its tokenizer as tokenizer.model (SentencePiece) alone, and tokenizer.json is what is read", dir);
            return sd_hint(err, "convert it (pip install transformers sentencepiece protobuf): python3 -c 'from transformers import AutoTokenizer as T; T.from_pretrained(\"%s\").save_pretrained(\"%s\")'", dir, dir);
        }
        sd_fail(err, SD_E_NOTFOUND, "%s: there is no such file", h->what);
        return sd_hint(err, "a folder needs tokenizer.json; save the tokenizer again with a current transformers");
    }
    sd_status st = sd_json_load(&h->tok, h->what, MAX_TOKENIZER_BYTES, err);
    if (!st) st = sd_hf__config(h, err);
    h->n_rows = json_integer_value(json_object_get(config, "vocab_size"));
    return st ? st : read_all(h, config, err);
}

/* chat_template.jinja wins over tokenizer_config.json, as in transformers 5. */
sd_status sd_hf__template(sd_slice *text, sd_buf *hold, const sd_hf *h, sd_err *err)
{
    char path[4096];
    *text = (sd_slice){NULL, 0};
    sd_buf_init(hold, MAX_CONFIG_BYTES);
    if (sd_path_join(path, sizeof path, h->dir, "chat_template.jinja") && sd_file_exists(path)) {
        sd_status st = sd_file_read(hold, path, err);
        if (!st) *text = (sd_slice){hold->p, hold->n};
        return st;
    }
    const json_t *t = json_object_get(h->cfg, "chat_template");
    for (size_t i = 0; json_is_array(t) && i < json_array_size(t); i++) {
        const json_t *one = json_array_get(t, i);
        const char *name = json_string_value(json_object_get(one, "name"));
        if (name && strcmp(name, "default") == 0) t = json_object_get(one, "template");
    }
    if (json_is_string(t)) *text = slice_of_json(t);
    return SD_OK;
}

static sd_status read_chat(sd_chat_found *chat, const hf *h, sd_err *err)
{
    sd_buf b;
    sd_slice text, none = {"", 0};
    sd_status st = sd_hf__template(&text, &b, h, err);
    if (!st && text.p)
        st = sd_model__chat(chat, text, h->spec.bos < 0 ? none : h->piece[h->spec.bos],
                            h->spec.eos < 0 ? none : h->piece[h->spec.eos], h->dir, err);
    sd_buf_release(&b);
    return st;
}

sd_status sd_model__tokenizer_hf(sd_tok **out, sd_chat_found *chat, const char *dir, const char *json, const json_t *config,
                                 sd_err *err)
{
    hf h;
    sd_status st = sd_hf__read(&h, dir, json, config, err);
    if (!st && (st = sd_tok_new(out, &h.spec, err))) sd_err_wrap(err, "%s", h.what);
    if (!st && chat && (st = read_chat(chat, &h, err))) {
        sd_tok_free(*out);
        *out = NULL;
    }
    sd_hf__release(&h);
    return st;
}
