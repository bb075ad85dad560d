/* Tokenizers from GGUF metadata (tokenizer.ggml.*), and the choice between containers. Defaults where a file is silent
 * are llama.cpp's: the pre-tokeniser decides whether BOS is added, no pre-tokeniser means "default". */
#include "model/tokspec.h"

#include "base/log.h"

enum { GGUF_U32 = 4, GGUF_I32 = 5, GGUF_F32 = 6 }; /* element types of metadata arrays, from the GGUF specification */

typedef struct gguf_spec {
    sd_tok_spec spec;
    sd_slice *piece, *merge;
    uint8_t *type;
    float *score;
} gguf_spec;

static void gguf_spec_release(gguf_spec *g)
{
    sd_free(g->piece);
    sd_free(g->merge);
    sd_free(g->type);
    sd_free(g->score);
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
    if (g->spec.kind != SD_TOK_SPM || !sd_weights_has_kv(w, key)) return SD_OK;
    sd_status st = sd_weights_kv_arr(w, key, &a, err);
    if (st) return st;
    if (a.type != GGUF_F32)
        return sd_fail(err, SD_E_FORMAT, "%s: %s is not an array of 32-bit floats", sd_weights_path(w), key);
    if (a.n != g->spec.n_vocab) return wrong_length(w, key, a.n, g->spec.n_vocab, err);
    st = sd_alloc(&g->score, (size_t)a.n * sizeof *g->score, "token scores", err);
    if (!st) memcpy(g->score, a.p, (size_t)a.n * sizeof *g->score);
    g->spec.score = g->score;
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
        const char *name;
        sd_tok_kind kind;
    } known[] = {{"gpt2", SD_TOK_BPE}, {"llama", SD_TOK_SPM}, {"bert", SD_TOK_WPM}};
    sd_slice model;
    sd_status st = sd_weights_kv_str(w, "tokenizer.ggml.model", &model, err);
    if (st) return st;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (!sd_slice_eq_str(model, known[i].name)) continue;
        g->spec.kind = known[i].kind;
        return SD_OK;
    }
    return sd_fail(err, SD_E_UNSUPPORTED, "%s: the tokenizer model \"%.*s\" is not supported", sd_weights_path(w),
                   (int)(model.n > 32 ? 32 : model.n), model.p);
}

/* What the kind and the pre-tokeniser imply, then what the file says. */
static sd_status read_flags(gguf_spec *g, const sd_weights *w, sd_err *err)
{
    sd_tok_spec *s = &g->spec;
    sd_status st = SD_OK;
    if (s->kind == SD_TOK_BPE) {
        if (sd_weights_has_kv(w, "tokenizer.ggml.pre")) {
            st = sd_weights_kv_str(w, "tokenizer.ggml.pre", &s->pre, err);
            if (st) return st;
        }
        if (s->pre.n == 0) {
            sd_log(SD_LOG_WARN, "%s: names no pre-tokeniser; text is cut by the default one", sd_weights_path(w));
            s->pre = SD_LIT("default");
        }
        sd_tok_pre_defaults(s->pre, &s->add_bos);
    } else {
        s->add_bos = true;
        s->add_space_prefix = s->kind == SD_TOK_SPM;
        st = read_flag(&s->add_space_prefix, w, "tokenizer.ggml.add_space_prefix", err);
    }
    if (!st) st = read_flag(&s->add_bos, w, "tokenizer.ggml.add_bos_token", err);
    if (!st) st = read_flag(&s->add_eos, w, "tokenizer.ggml.add_eos_token", err);
    return st;
}

/* Some files leave their end-of-text token of type "normal"; read as text it would fall apart into letters. */
static void mark_control(gguf_spec *g, int32_t id)
{
    if (id < 0 || !g->type || g->type[id] != SD_PIECE_NORMAL) return;
    if (sd_slice_starts(g->piece[id], "<") && sd_slice_ends(g->piece[id], ">")) g->type[id] = SD_PIECE_CONTROL;
}

static sd_status read_gguf(gguf_spec *g, const sd_weights *w, sd_err *err)
{
    sd_tok_spec *s = &g->spec;
    int64_t n = 0;
    *s = (sd_tok_spec){.bos = -1, .eos = -1, .unk = -1, .pad = -1};
    sd_status st = read_kind(g, w, err);
    if (!st) st = read_strings(&g->piece, &n, w, "tokenizer.ggml.tokens", err);
    if (st) return st;
    if (n <= 0 || n > INT32_MAX)
        return sd_fail(err, SD_E_FORMAT, "%s: a vocabulary of %lld pieces", sd_weights_path(w), (long long)n);
    s->n_vocab = (int32_t)n;
    s->piece = g->piece;
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
    mark_control(g, s->eos);
    return SD_OK;
}

sd_status sd_model__chat(sd_chat **chat, sd_slice text, sd_slice bos, sd_slice eos, const char *path, sd_err *err)
{
    sd_err why = {0};
    sd_status st = sd_chat_new(chat, text, &why);
    if (!st) st = sd_chat_set_tokens(*chat, bos, eos, &why);
    if (!st) return SD_OK;
    sd_chat_free(*chat);
    *chat = NULL;
    if (st == SD_E_NOMEM) return sd_fail(err, st, "%s", why.msg);
    sd_log(SD_LOG_WARN, "%s: the chat template is not used: %s", path, why.msg);
    return SD_OK;
}

static sd_status tokenizer_gguf(sd_tok **out, sd_chat **chat, const sd_weights *w, sd_err *err)
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

sd_status sd_model__tokenizer(sd_tok **out, sd_chat **chat, const sd_weights *w, sd_err *err)
{
    char dir[4096];
    const char *path = sd_weights_path(w);
    *out = NULL;
    if (chat) *chat = NULL;
    if (sd_weights_container(w) == SD_CONTAINER_GGUF) return tokenizer_gguf(out, chat, w, err);
    if (sd_dir_exists(path)) return sd_model__tokenizer_hf(out, chat, path, NULL, sd_weights_config(w), err);
    if (!folder_of(dir, sizeof dir, path)) return path_too_long(path, err);
    return sd_model__tokenizer_hf(out, chat, dir, NULL, sd_weights_config(w), err);
}

sd_status sd_tokenizer_open(sd_tok **out, sd_chat **chat, const char *path, sd_err *err)
{
    char dir[4096];
    sd_weights *w = NULL;
    *out = NULL;
    if (chat) *chat = NULL;
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
