/* A tokenizer of a Hugging Face folder as tokenizer.ggml.*.
 *
 * GGUF names a pre-tokeniser where tokenizer.json has patterns. llama.cpp's converter knows names by the hash of the ids
 * of one text; here the ids themselves decide: of the names, the first under which the written metadata, read back,
 * give the ids of the folder's tokenizer on a text of hard cases. */
#include "model/gguf_save.h"
#include "model/tokspec_int.h"

#include <stdio.h>

/* Numbers, cases, contractions, runs of spaces and line ends, scripts without spaces, marks, emoji, code. NFC, so that a
 * tokenizer that normalises (which llama.cpp does not) gives the ids of one that does not. */
static const char hard[] =
    "Hello world, it's I'LL we've THEY'RE don'T 1 22 333 4444 1234567 3.14 \xc2\xbd \xd9\xa3\xd9\xa4 x2y 10km\n\n\n  "
    "indented\tby\ttabs   and    spaces \r\n end . ... !? (a+b)*c == d_e->f[0]; // caf\xc3\xa9 na\xc3\xafve "
    "\xc3\x9c" "BER stra\xc3\x9f" "e \xd0\x9f\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82 \xe4\xbd\xa0\xe5\xa5\xbd\xe4\xb8\x96"
    "\xe7\x95\x8c 2024\xe5\xb9\xb4 \xe3\x81\x93\xe3\x82\x93\xe3\x81\xab \xed\x95\x9c\xea\xb5\xad\xec\x96\xb4 "
    "\xe0\xb8\xaa\xe0\xb8\xa7\xe0\xb8\xb1\xe0\xb8\xaa\xe0\xb8\x94\xe0\xb8\xb5 \xf0\x9f\x98\x80\xf0\x9f\x91\xa9\xe2\x80\x8d"
    "\xf0\x9f\x92\xbb \xe2\x80\x9cquotes\xe2\x80\x9d \xe2\x80\x94 CamelCaseWord HTTPServer snake_case\n\tif (x<y) {\n"
    "        return \"a\\n\";\n    }\n\n@user #tag $5 50% http://example.com/a?b=c&d  \n ";

/* Every set of patterns that llama.cpp has, by the name most in use (pretok_tab.c). */
static const char *const names[] = {
    "gpt-2",      "smollm", "llama-bpe",  "qwen2",    "tekken",   "gpt-4o",     "dbrx",     "deepseek-v3", "deepseek-llm",
    "deepseek-coder", "falcon", "default", "bloom",    "viking",   "kimi-k2",    "superbpe", "seed-coder",  "bailingmoe",
    "exaone-moe", "minicpm5", "jais-2",   "qwen35",   "ufakzeka", "laguna",     "spark2_5", "youtu",       "chameleon",
    "tiny_aya",   "granite-embed-multi-97m"};

static void put_id(sd_gguf_meta *out, const char *key, int32_t id)
{
    if (id >= 0) sd_gguf_put_u32(out, key, (uint32_t)id);
}

/* SentencePiece's scores: merges by falling score, so a piece made by the i-th merge has -i; others are never made. */
static sd_status put_scores(sd_gguf_meta *out, const sd_hf *h, int64_t n, sd_err *err)
{
    float *score = NULL;
    sd_buf piece;
    sd_status st = sd_alloc(&score, (size_t)n * sizeof *score, "token scores", err);
    if (st) return st;
    sd_buf_init(&piece, 1 << 20);
    for (int64_t i = 0; i < n; i++) score[i] = h->spec.n_merge ? -(float)h->spec.n_merge - 1 : 0;
    for (int64_t i = h->spec.n_merge - 1; i >= 0; i--) { /* of two ways to a piece the first counts */
        const sd_slice m = h->merge[i];
        const size_t left = h->left[i];
        if (left == 0 || left + 1 >= m.n) continue;
        sd_buf_reset(&piece);
        sd_buf_put(&piece, m.p, left);
        sd_buf_put(&piece, m.p + left + 1, m.n - left - 1);
        const int64_t id = sd_table_get(h->by_text, (sd_slice){piece.p, piece.n});
        if (id >= 0) score[id] = -(float)i;
    }
    st = sd_buf_check(&piece, "a piece", err);
    if (!st) sd_gguf_put_f32s(out, "tokenizer.ggml.scores", score, n);
    sd_buf_release(&piece);
    sd_free(score);
    return st;
}

/* llama.cpp counts the vocabulary by these lists, so rows of the embedding without a piece get one. */
static sd_status put_pieces(sd_gguf_meta *out, const sd_hf *h, int64_t n, sd_err *err)
{
    sd_slice *piece = NULL;
    int32_t *type = NULL;
    char(*pad)[32] = NULL;
    sd_status st = sd_alloc(&piece, (size_t)n * sizeof *piece, "the vocabulary", err);
    if (!st) st = sd_alloc(&type, (size_t)n * sizeof *type, "the vocabulary", err);
    if (!st) st = sd_alloc(&pad, (size_t)n * sizeof *pad, "the vocabulary", err);
    for (int64_t i = 0; i < n && !st; i++) {
        const bool there = i < h->spec.n_vocab && h->piece[i].n;
        snprintf(pad[i], sizeof pad[i], "[PAD%lld]", (long long)i);
        piece[i] = there ? h->piece[i] : sd_slice_of(pad[i]);
        type[i] = there ? h->type[i] : SD_PIECE_UNUSED;
        if (there && h->spec.kind == SD_TOK_CHAR && i == h->spec.unk) type[i] = SD_PIECE_UNKNOWN;
    }
    if (!st) {
        sd_gguf_put_strings(out, "tokenizer.ggml.tokens", piece, n);
        if (h->spec.kind == SD_TOK_CHAR) st = put_scores(out, h, n, err);
        sd_gguf_put_i32s(out, "tokenizer.ggml.token_type", type, n);
    }
    sd_free(piece);
    sd_free(type);
    sd_free(pad);
    return st;
}

static sd_status put_all(sd_gguf_meta *out, const sd_hf *h, const char *pre, int64_t n, sd_err *err)
{
    const sd_tok_spec *s = &h->spec;
    const bool chars = s->kind == SD_TOK_CHAR;
    sd_gguf_put_str(out, "tokenizer.ggml.model", chars ? SD_LIT("llama") : SD_LIT("gpt2"));
    sd_gguf_put_str(out, "tokenizer.ggml.pre", sd_slice_of(pre));
    sd_status st = put_pieces(out, h, n, err);
    if (st) return st;
    if (!chars) sd_gguf_put_strings(out, "tokenizer.ggml.merges", h->merge, s->n_merge);
    put_id(out, "tokenizer.ggml.bos_token_id", s->bos);
    put_id(out, "tokenizer.ggml.eos_token_id", s->eos);
    static const char *const more[] = {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}; /* what else ends a text; of more than these llama.cpp knows the usual names */
    for (int i = 0, k = 0; i < s->n_end && k < 2; i++)
        if (s->end[i] != s->eos) put_id(out, more[k++], s->end[i]);
    put_id(out, "tokenizer.ggml.unknown_token_id", s->unk);
    put_id(out, "tokenizer.ggml.padding_token_id", s->pad);
    sd_gguf_put_bool(out, "tokenizer.ggml.add_bos_token", s->add_bos);
    sd_gguf_put_bool(out, "tokenizer.ggml.add_eos_token", s->add_eos);
    if (!chars) return SD_OK;
    bool prefix = false;
    for (int i = 0; i < s->n_norm; i++) prefix = prefix || s->norm[i].kind == SD_NORM_PREPEND;
    for (int i = 0; i < s->n_cut; i++) prefix = prefix || (s->cut[i].how == SD_CUT_METASPACE && s->cut[i].prepend != SD_PREPEND_NEVER);
    sd_gguf_put_bool(out, "tokenizer.ggml.add_space_prefix", prefix);
    return SD_OK;
}

/* Do these metadata give the ids of `want`? */
static sd_status gives(bool *same, const sd_gguf_meta *meta, const sd_ids *want, sd_err *err)
{
    sd_buf file;
    sd_weights *w = NULL;
    sd_tok *tok = NULL;
    sd_ids ids = {0};
    *same = false;
    sd_buf_init(&file, (size_t)1 << 30);
    sd_status st = sd_gguf_header(&file, meta, NULL, 0, err);
    if (!st) st = sd_weights_open_bytes(&w, file.p, file.n, "the written tokenizer", &(sd_weights_opt){.meta_only = true}, err);
    if (!st) st = sd_model__tokenizer(&tok, NULL, w, err);
    if (!st) st = sd_tok_encode(tok, SD_LIT(hard), NULL, &ids, err);
    if (!st) *same = ids.n == want->n && memcmp(ids.v, want->v, (size_t)ids.n * sizeof *ids.v) == 0;
    sd_ids_release(&ids);
    sd_tok_free(tok);
    sd_weights_close(w);
    sd_buf_release(&file);
    return st;
}

/* A name whose words are looked up before merges are (ignore_merges) comes first where tokenizer.json does so. */
static sd_status choose(const char **pre, const sd_hf *h, const sd_model *m, sd_err *err)
{
    sd_ids want = {0};
    bool same = false;
    const bool chars = h->spec.kind == SD_TOK_CHAR;
    const size_t n = chars ? 1 : sizeof names / sizeof *names;
    sd_status st = sd_tok_encode(m->tok, SD_LIT(hard), NULL, &want, err);
    for (int pass = 0; pass < 2 && !st && !same; pass++)
        for (size_t i = 0; i < n && !st && !same; i++) {
            sd_gguf_meta meta;
            sd_pretok_traits traits = {0};
            *pre = chars ? "default" : names[i];
            sd_pretok_known(sd_slice_of(*pre), &traits);
            if (!chars && (traits.ignore_merges != h->spec.ignore_merges) == (pass == 0)) continue;
            sd_gguf_meta_init(&meta);
            st = put_all(&meta, h, *pre, m->cfg.n_vocab, err);
            if (!st) st = gives(&same, &meta, &want, err);
            sd_gguf_meta_release(&meta);
        }
    sd_ids_release(&want);
    if (st || same) return st;
    sd_fail(err, SD_E_UNSUPPORTED, "%s: no pre-tokeniser that a GGUF can name cuts text as this one does", h->what);
    return sd_hint(err, "a folder keeps the tokenizer as it is: give an -o that does not end in .gguf");
}

sd_status sd_gguf__tokenizer(sd_gguf_meta *out, const sd_model *m, sd_err *err)
{
    sd_hf h;
    sd_slice text;
    sd_buf hold;
    const char *pre = "";
    sd_status st = sd_hf__read(&h, m->path, NULL, sd_weights_config(m->weights), err);
    if (!st && h.spec.kind != SD_TOK_BPE && h.spec.kind != SD_TOK_CHAR)
        st = sd_fail(err, SD_E_UNSUPPORTED, "%s: only tokenizers of merges are written into a GGUF", h.what);
    if (!st) st = choose(&pre, &h, m, err);
    if (!st) st = put_all(out, &h, pre, m->cfg.n_vocab, err);
    if (!st) {
        st = sd_hf__template(&text, &hold, &h, err);
        if (!st && text.p) sd_gguf_put_str(out, "tokenizer.chat_template", text);
        sd_buf_release(&hold);
    }
    sd_hf__release(&h);
    return st;
}
