/* Tokenizers from GGUF metadata (tokenizer.ggml.*), and the choice between containers. Defaults where a file is silent
 * are llama.cpp's (llama-vocab.cpp, llama_vocab::impl::load): ids of special tokens by kind, the pre-tokeniser decides
 * whether BOS is added, no pre-tokeniser means "default". */
#include "model/tokspec.h"
#include "model/lora.h"

#include "base/hash.h"
#include "base/log.h"

#include <strings.h>

enum { GGUF_U8 = 0, GGUF_I8 = 1, GGUF_U32 = 4, GGUF_I32 = 5, GGUF_F32 = 6 }; /* element types of metadata arrays, from the GGUF specification */

enum { MAX_ENDS = 64 }; /* the names below and the keys above them are fewer */

typedef struct gguf_spec {
    sd_tok_spec spec;
    sd_slice *piece, *merge;
    uint8_t *type, *added;
    float *score;
    double *logprob;
    sd_norm_step norm[8];
    sd_cut cut[2];
    int32_t end[MAX_ENDS];
} gguf_spec;

#define SPM_SPACE "\xe2\x96\x81" /* U+2581 */

static void gguf_spec_release(gguf_spec *g)
{
    sd_free(g->piece);
    sd_free(g->merge);
    sd_free(g->type);
    sd_free(g->added);
    sd_free(g->score);
    sd_free(g->logprob);
}

static sd_status wrong_length(const sd_weights *w, const char *key, int64_t n, int32_t n_vocab, sd_err *err)
{
    return sd_fail(err, SD_E_FORMAT, "%s: %s has %lld entries, the vocabulary has %d", sd_weights_path(w), key,
                   (long long)n, (int)n_vocab);
}

static sd_status read_strings(sd_slice **out, int64_t *n, const sd_weights *w, const char *key, sd_err *err)
{
    sd_kv_array a;
    sd_status st = sd_weights_kv_arr(w, key, &a, err);
    if (!st && (st = sd_kv_array_strings(&a, out, err))) sd_err_wrap(err, "%s: %s", sd_weights_path(w), key);
    if (!st) *n = a.n;
    return st;
}

static sd_status read_types(gguf_spec *g, const sd_weights *w, sd_err *err)
{
    static const char key[] = "tokenizer.ggml.token_type";
    sd_kv_array a;
    if (!sd_weights_has_kv(w, key)) return SD_OK;
    sd_status st = sd_weights_kv_arr(w, key, &a, err);
    if (st) return st;
    if (a.type != GGUF_I32 && a.type != GGUF_U32)
        return sd_fail(err, SD_E_FORMAT, "%s: %s is not an array of 32-bit integers", sd_weights_path(w), key);
    if (a.n != g->spec.n_vocab) return wrong_length(w, key, a.n, g->spec.n_vocab, err);
    st = sd_alloc(&g->type, (size_t)a.n, "token types", err);
    for (int64_t i = 0; i < a.n && !st; i++) {
        uint32_t v;
        memcpy(&v, a.p + 4 * i, sizeof v);
        g->type[i] = v <= SD_PIECE_BYTE ? (uint8_t)v : 0;
    }
    g->spec.type = g->type;
    return st;
}

static sd_status read_scores(gguf_spec *g, const sd_weights *w, sd_err *err)
{
    static const char key[] = "tokenizer.ggml.scores";
    sd_kv_array a;
    if ((g->spec.kind != SD_TOK_SPM && g->spec.kind != SD_TOK_UGM) || !sd_weights_has_kv(w, key)) return SD_OK;
    sd_status st = sd_weights_kv_arr(w, key, &a, err);
    if (st) return st;
    if (a.type != GGUF_F32)
        return sd_fail(err, SD_E_FORMAT, "%s: %s is not an array of 32-bit floats", sd_weights_path(w), key);
    if (a.n != g->spec.n_vocab) return wrong_length(w, key, a.n, g->spec.n_vocab, err);
    st = sd_alloc(&g->score, (size_t)a.n * sizeof *g->score, "token scores", err);
    if (!st) memcpy(g->score, a.p, (size_t)a.n * sizeof *g->score);
    g->spec.score = g->score;
    if (st || g->spec.kind != SD_TOK_UGM) return st;
    st = sd_alloc(&g->logprob, (size_t)a.n * sizeof *g->logprob, "token scores", err);
    for (int64_t i = 0; i < a.n && !st; i++) g->logprob[i] = g->type && g->type[i] == SD_PIECE_USER ? 0.0 : (double)g->score[i];
    g->spec.logprob = g->logprob;
    return st;
}

static sd_status read_id(int32_t *out, const sd_weights *w, const char *key, int32_t n_vocab, sd_err *err)
{
    uint64_t v;
    if (!sd_weights_has_kv(w, key)) return SD_OK;
    sd_status st = sd_weights_kv_u64(w, key, &v, err);
    if (st) return st;
    if (v == UINT32_MAX) return SD_OK; /* some converters write -1 for "none" into the unsigned field */
    if (v >= (uint64_t)n_vocab)
        return sd_fail(err, SD_E_FORMAT, "%s: %s is %llu, the vocabulary has %d", sd_weights_path(w), key,
                       (unsigned long long)v, (int)n_vocab);
    *out = (int32_t)v;
    return SD_OK;
}

static sd_status read_flag(bool *out, const sd_weights *w, const char *key, sd_err *err)
{
    uint64_t v;
    if (!sd_weights_has_kv(w, key)) return SD_OK;
    sd_status st = sd_weights_kv_u64(w, key, &v, err);
    if (!st) *out = v != 0;
    return st;
}

static sd_status read_kind(gguf_spec *g, const sd_weights *w, sd_err *err)
{
    static const struct {
        const char *name, *pre; /* pre: when the file names none */
        sd_tok_kind kind;
        int32_t bos, eos, unk, pad;
    } known[] = {{"gpt2", "", SD_TOK_BPE, -1, -1, -1, -1},
                 {"gemma4", "gemma4", SD_TOK_BPE, -1, -1, -1, -1},
                 {"whitespace", "whitespace", SD_TOK_BPE, -1, -1, -1, -1},
                 {"llama", "", SD_TOK_SPM, 1, 2, 0, -1},
                 {"t5", "", SD_TOK_UGM, -1, 1, 2, 0},
                 {"bert", "", SD_TOK_WPM, 101, 102, 100, 0}};
    sd_slice model;
    sd_status st = sd_weights_kv_str(w, "tokenizer.ggml.model", &model, err);
    if (st) return st;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (!sd_slice_eq_str(model, known[i].name)) continue;
        g->spec = (sd_tok_spec){.kind = known[i].kind, .pre = sd_slice_of(known[i].pre), .bos = known[i].bos,
                                .eos = known[i].eos, .unk = known[i].unk, .pad = known[i].pad,
                                .cleanup = known[i].kind == SD_TOK_WPM}; /* as BERT's own decoder, which llama.cpp repeats */
        return SD_OK;
    }
    sd_fail(err, SD_E_UNSUPPORTED, "%s: the tokenizer model \"%.*s\" is not supported", sd_weights_path(w),
            (int)(model.n > 32 ? 32 : model.n), model.p);
    return sd_hint(err, "supported are gpt2, llama, bert, t5, gemma4 and whitespace");
}

/* A default id that this vocabulary does not reach is none. */
static void drop_out_of_range(sd_tok_spec *s)
{
    int32_t *const id[] = {&s->bos, &s->eos, &s->unk, &s->pad};
    for (size_t i = 0; i < sizeof id / sizeof id[0]; i++)
        if (*id[i] >= s->n_vocab) *id[i] = -1;
}

static void add_step(gguf_spec *g, sd_norm_step step)
{
    g->norm[g->spec.n_norm++] = step;
    g->spec.norm = g->norm;
}

static sd_status read_bpe(gguf_spec *g, const sd_weights *w, sd_err *err)
{
    sd_tok_spec *s = &g->spec;
    sd_status st = SD_OK;
    if (sd_weights_has_kv(w, "tokenizer.ggml.pre")) st = sd_weights_kv_str(w, "tokenizer.ggml.pre", &s->pre, err);
    if (st) return st;
    if (s->pre.n == 0) {
        sd_log(SD_LOG_WARN, "%s: names no pre-tokeniser; text is cut by the default one", sd_weights_path(w));
        s->pre = SD_LIT("default");
    }
    sd_pretok_traits traits = {0};
    sd_pretok_known(s->pre, &traits);
    s->add_bos = traits.add_bos && s->bos >= 0;
    if (!traits.characters) return SD_OK;
    s->kind = SD_TOK_CHAR;
    s->byte_fallback = s->skip_missing = true;
    if (traits.escape_spaces) {
        s->escaped_spaces = true;
        add_step(g, (sd_norm_step){.kind = SD_NORM_REPLACE, .from = SD_LIT(" "), .to = SD_LIT(SPM_SPACE)});
    }
    return SD_OK;
}

static sd_status read_spm(gguf_spec *g, const sd_weights *w, sd_err *err)
{
    sd_tok_spec *s = &g->spec;
    bool prefix = true;
    sd_status st = read_flag(&prefix, w, "tokenizer.ggml.add_space_prefix", err);
    s->add_bos = true;
    s->byte_fallback = s->escaped_spaces = true;
    s->strip_space = prefix;
    if (prefix) add_step(g, (sd_norm_step){.kind = SD_NORM_PREPEND, .to = SD_LIT(SPM_SPACE)});
    add_step(g, (sd_norm_step){.kind = SD_NORM_REPLACE, .from = SD_LIT(" "), .to = SD_LIT(SPM_SPACE)});
    return st;
}

static sd_status read_ugm(gguf_spec *g, const sd_weights *w, sd_err *err)
{
    static const char key[] = "tokenizer.ggml.precompiled_charsmap";
    sd_tok_spec *s = &g->spec;
    bool prefix = true, merge = false;
    sd_status st = read_flag(&prefix, w, "tokenizer.ggml.add_space_prefix", err);
    if (!st) st = read_flag(&merge, w, "tokenizer.ggml.remove_extra_whitespaces", err);
    if (!st && sd_weights_has_kv(w, key)) {
        sd_kv_array a;
        st = sd_weights_kv_arr(w, key, &a, err);
        if (!st && a.type != GGUF_U8 && a.type != GGUF_I8)
            st = sd_fail(err, SD_E_FORMAT, "%s: %s is not an array of bytes", sd_weights_path(w), key);
        if (!st) add_step(g, (sd_norm_step){.kind = SD_NORM_CHARSMAP_LONGEST, .from = {(const char *)a.p, (size_t)a.n}});
    }
    s->add_eos = true;
    s->fuse_unk = s->escaped_spaces = true;
    s->strip_space = prefix;
    add_step(g, (sd_norm_step){.kind = SD_NORM_SPM_SPACES, .to = SD_LIT(SPM_SPACE), .left = merge, .right = prefix});
    return st;
}

/* BERT's basic tokenizer: controls dropped, accents off, lower case, cut at white space, around punctuation and Chinese
 * characters. BOS and EOS are its CLS and SEP. */
static sd_status read_wpm(gguf_spec *g, const sd_weights *w, sd_err *err)
{
    sd_tok_spec *s = &g->spec;
    bool lower = true, accents = true;
    sd_status st = read_flag(&lower, w, "tokenizer.ggml.normalizer.lowercase", err);
    if (!st) st = read_flag(&accents, w, "tokenizer.ggml.normalizer.strip_accents", err);
    if (!st) st = read_id(&s->bos, w, "tokenizer.ggml.cls_token_id", s->n_vocab, err);
    if (!st) st = read_id(&s->eos, w, "tokenizer.ggml.seperator_token_id", s->n_vocab, err); /* sic */
    s->add_bos = s->bos >= 0;
    s->add_eos = s->eos >= 0;
    s->strip_space = true;
    add_step(g, (sd_norm_step){.kind = SD_NORM_BERT_CLEAN});
    add_step(g, (sd_norm_step){.kind = SD_NORM_BERT_CJK});
    if (accents) {
        add_step(g, (sd_norm_step){.kind = SD_NORM_NFD});
        add_step(g, (sd_norm_step){.kind = SD_NORM_STRIP_MARKS});
    }
    if (lower) add_step(g, (sd_norm_step){.kind = SD_NORM_LOWER});
    g->cut[0] = (sd_cut){.pattern = SD_LIT("\\s"), .how = SD_CUT_REMOVED};
    g->cut[1] = (sd_cut){.pattern = SD_LIT("[\\p{P}!-/:-@\\[-`{-~]"), .how = SD_CUT_ISOLATED};
    s->cut = g->cut;
    s->n_cut = 2;
    return st;
}

/* What the kind and the pre-tokeniser imply, then what the file says. */
static sd_status read_flags(gguf_spec *g, const sd_weights *w, sd_err *err)
{
    sd_tok_spec *s = &g->spec;
    sd_status st = s->kind == SD_TOK_BPE   ? read_bpe(g, w, err)
                   : s->kind == SD_TOK_SPM ? read_spm(g, w, err)
                   : s->kind == SD_TOK_UGM ? read_ugm(g, w, err)
                                           : read_wpm(g, w, err);
    if (!st) st = read_flag(&s->add_bos, w, "tokenizer.ggml.add_bos_token", err);
    if (!st) st = read_flag(&s->add_eos, w, "tokenizer.ggml.add_eos_token", err);
    return st;
}

/* Phi-3's special tokens swallow the white space after them, which GGUF cannot say; llama.cpp goes by the model's name. */
static sd_status mark_phi3(gguf_spec *g, const sd_weights *w, sd_err *err)
{
    sd_slice name = {NULL, 0};
    if (!sd_weights_has_kv(w, "general.name") || g->spec.kind != SD_TOK_SPM) return SD_OK;
    sd_status st = sd_weights_kv_str(w, "general.name", &name, err);
    bool phi = false;
    for (size_t i = 0; i + 4 <= name.n && !phi; i++) {
        sd_slice rest = {name.p + i, name.n - i};
        phi = strncasecmp(rest.p, "phi3", 4) == 0 || (rest.n >= 5 && strncasecmp(rest.p, "phi-3", 5) == 0);
    }
    if (st || !phi || !g->type) return st;
    st = sd_alloc_zero(&g->added, (size_t)g->spec.n_vocab, "token flags", err);
    for (int32_t i = 0; i < g->spec.n_vocab && !st; i++) {
        bool special = g->type[i] == SD_PIECE_CONTROL || g->type[i] == SD_PIECE_USER || g->type[i] == SD_PIECE_UNKNOWN;
        bool plain = sd_slice_eq_str(g->piece[i], "<unk>") || sd_slice_eq_str(g->piece[i], "<s>") ||
                     sd_slice_eq_str(g->piece[i], "<|endoftext|>");
        if (special && !plain) g->added[i] = SD_ADDED_RIGHT;
    }
    g->spec.added = g->added;
    return st;
}

/* Some files leave their end-of-text token of type "normal"; read as text it would fall apart into letters. */
static void mark_control(gguf_spec *g, int32_t id)
{
    if (id < 0 || !g->type || g->type[id] != SD_PIECE_NORMAL) return;
    if (sd_slice_starts(g->piece[id], "<") && sd_slice_ends(g->piece[id], ">")) g->type[id] = SD_PIECE_CONTROL;
}

/* What llama.cpp takes for the end of a text (special_eog_ids): the ids under these keys; pieces of these names, those of a line with a
 * key only where the file has no such key. */
static const struct { const char *key, *name[24]; } ends[] = {
    {"tokenizer.ggml.fim_pad_token_id", {"<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"}},
    {"tokenizer.ggml.fim_rep_token_id", {"<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"}},
    {"tokenizer.ggml.fim_sep_token_id", {"<|file_sep|>"}},
    {"tokenizer.ggml.eot_token_id", {NULL}},
    {"tokenizer.ggml.eom_token_id", {NULL}},
    {"tokenizer.ggml.eos_token_id", {NULL}},
    {NULL, {"<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<end_of_turn>", "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>",
            "[EOT]", "[EOS]", "<|end_of_text|>", "<end_of_utterance>", "<eos>", "<turn|>", "<|tool_response>", "<\xef\xbd\x9c" "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>", "[e~["}},
};

static void add_end(gguf_spec *g, int32_t id)
{
    for (int i = 0; i < g->spec.n_end; i++)
        if (g->end[i] == id) return;
    if (id < 0 || g->spec.n_end == MAX_ENDS) return;
    g->end[g->spec.n_end++] = id;
    mark_control(g, id);
}

static int32_t end_named(const gguf_spec *g, const char *name)
{
    for (int i = 0; i < g->spec.n_end; i++)
        if (sd_slice_eq_str(g->piece[g->end[i]], name)) return i;
    return -1;
}

/* gpt-oss's <|end|> ends one message of several, gemma4's </s> is a tag of HTML: llama.cpp's two exceptions. */
static void drop_end(gguf_spec *g, const char *name)
{
    const int32_t i = end_named(g, name);
    if (i >= 0) g->end[i] = g->end[--g->spec.n_end];
}

static sd_status read_ends(gguf_spec *g, const sd_weights *w, sd_err *err)
{
    sd_table *names = NULL;
    const size_t n = sizeof ends / sizeof ends[0];
    sd_status st = sd_table_new(&names, 64, err);
    for (size_t k = 0; k < n && !st; k++) {
        uint64_t v = UINT64_MAX;
        if (ends[k].key && sd_weights_has_kv(w, ends[k].key)) st = sd_weights_kv_u64(w, ends[k].key, &v, err);
        const int32_t id = v < (uint64_t)g->spec.n_vocab ? (int32_t)v : -1; /* one out of range is none */
        add_end(g, id);
        for (int i = 0; i < 24 && ends[k].name[i] && id < 0 && !st; i++) st = sd_table_set(names, sd_slice_of(ends[k].name[i]), 1, NULL, err);
    }
    for (int32_t i = 0; i < g->spec.n_vocab && !st; i++)
        if (g->piece[i].n && strchr("<[_", g->piece[i].p[0]) && sd_table_get(names, g->piece[i]) >= 0) add_end(g, i); /* what the names begin with: a vocabulary is long */
    add_end(g, g->spec.eos); /* a kind's own, where the file names none */
    const bool call = end_named(g, "<|call|>") >= 0 || end_named(g, "<|calls|>") >= 0;
    if (call && (end_named(g, "<|return|>") >= 0 || end_named(g, "<|flush|>") >= 0)) drop_end(g, "<|end|>");
    if (end_named(g, "<|tool_response>") >= 0) drop_end(g, "</s>");
    g->spec.end = g->end;
    sd_table_free(names);
    return st;
}

static sd_status read_gguf(gguf_spec *g, const sd_weights *w, sd_err *err)
{
    sd_tok_spec *s = &g->spec;
    int64_t n = 0;
    sd_status st = read_kind(g, w, err);
    if (!st) st = read_strings(&g->piece, &n, w, "tokenizer.ggml.tokens", err);
    if (st) return st;
    if (n <= 0 || n > INT32_MAX)
        return sd_fail(err, SD_E_FORMAT, "%s: a vocabulary of %lld pieces", sd_weights_path(w), (long long)n);
    s->n_vocab = (int32_t)n;
    s->piece = g->piece;
    drop_out_of_range(s);
    st = read_types(g, w, err);
    if (!st) st = read_scores(g, w, err);
    if (!st && s->kind == SD_TOK_BPE) {
        st = read_strings(&g->merge, &s->n_merge, w, "tokenizer.ggml.merges", err);
        s->merge = g->merge;
    }
    if (!st) st = read_id(&s->bos, w, "tokenizer.ggml.bos_token_id", s->n_vocab, err);
    if (!st) st = read_id(&s->eos, w, "tokenizer.ggml.eos_token_id", s->n_vocab, err);
    /* llama.cpp's BPE has no use for the unknown token; a model has not seen it in the middle of a text. */
    if (!st && s->kind != SD_TOK_BPE) st = read_id(&s->unk, w, "tokenizer.ggml.unknown_token_id", s->n_vocab, err);
    if (!st) st = read_id(&s->pad, w, "tokenizer.ggml.padding_token_id", s->n_vocab, err);
    if (!st) st = read_flags(g, w, err);
    if (st) return st;
    mark_control(g, s->bos);
    st = read_ends(g, w, err);
    return st ? st : mark_phi3(g, w, err);
}

static const sd_chat_found none_found = {NULL, "no template"};

sd_status sd_model__chat(sd_chat_found *chat, sd_slice text, sd_slice bos, sd_slice eos, const char *path, sd_err *err)
{
    sd_err why = {0};
    sd_status st = sd_chat_new(&chat->chat, text, &why);
    if (!st) st = sd_chat_set_tokens(chat->chat, bos, eos, &why);
    chat->why[0] = 0;
    if (!st) return SD_OK;
    sd_chat_free(chat->chat);
    chat->chat = NULL;
    snprintf(chat->why, sizeof chat->why, "%.199s", why.msg);
    if (st == SD_E_NOMEM) return sd_fail(err, st, "%s", why.msg);
    sd_log(SD_LOG_WARN, "%s: the chat template is not used: %s", path, why.msg);
    return SD_OK;
}

static sd_status tokenizer_gguf(sd_tok **out, sd_chat_found *chat, const sd_weights *w, sd_err *err)
{
    gguf_spec g = {0};
    sd_status st = read_gguf(&g, w, err);
    if (!st && (st = sd_tok_new(out, &g.spec, err))) sd_err_wrap(err, "%s", sd_weights_path(w));
    if (!st && chat && sd_weights_has_kv(w, "tokenizer.chat_template")) {
        sd_slice text, none = {"", 0};
        st = sd_weights_kv_str(w, "tokenizer.chat_template", &text, err);
        if (!st)
            st = sd_model__chat(chat, text, g.spec.bos < 0 ? none : g.piece[g.spec.bos],
                                g.spec.eos < 0 ? none : g.piece[g.spec.eos], sd_weights_path(w), err);
        if (st) {
            sd_tok_free(*out);
            *out = NULL;
        }
    }
    gguf_spec_release(&g);
    return st;
}

/* The folder of a file, "." when its path has none. */
static bool folder_of(char *out, size_t cap, const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 1;
    if (slash == path) n = 1;
    if (n >= cap) return false;
    memcpy(out, slash ? path : ".", n);
    out[n] = '\0';
    return true;
}

static sd_status path_too_long(const char *path, sd_err *err)
{
    return sd_fail(err, SD_E_ARG, "%.200s..: the path is too long", path);
}

sd_status sd_model__tokenizer(sd_tok **out, sd_chat_found *chat, const sd_weights *w, sd_err *err)
{
    char dir[4096];
    const char *path = sd_weights_path(w);
    *out = NULL;
    if (chat) *chat = none_found;
    if (sd_weights_container(w) == SD_CONTAINER_GGUF) return tokenizer_gguf(out, chat, w, err);
    if (sd_dir_exists(path)) return sd_model__tokenizer_hf(out, chat, path, NULL, sd_weights_config(w), err);
    if (!folder_of(dir, sizeof dir, path)) return path_too_long(path, err);
    return sd_model__tokenizer_hf(out, chat, dir, NULL, sd_weights_config(w), err);
}

sd_status sd_tokenizer_open(sd_tok **out, sd_chat_found *chat, const char *path, sd_err *err)
{
    char dir[4096];
    sd_weights *w = NULL;
    sd_model_spec spec;
    *out = NULL;
    if (chat) *chat = none_found;
    if (sd_model_spec_parse(&spec, path, err)) return err ? err->code : SD_E_ARG;
    path = spec.model;
    if (sd_dir_exists(path)) return sd_model__tokenizer_hf(out, chat, path, NULL, NULL, err);
    if (sd_slice_ends(sd_slice_of(path), ".json")) {
        if (!folder_of(dir, sizeof dir, path)) return path_too_long(path, err);
        return sd_model__tokenizer_hf(out, chat, dir, path, NULL, err);
    }
    sd_status st = sd_weights_open_opt(&w, path, &(sd_weights_opt){.meta_only = true}, err);
    if (!st) st = sd_model__tokenizer(out, chat, w, err);
    sd_weights_close(w);
    return st;
}
