/* A tiny random llama, written as a Hugging Face folder (or as a GGUF: tiny_gguf.h), so that model tests always run.
 * Tokenizer: byte-level BPE with one special token, 256 bytes and three merges. Weights are a function of the seed and
 * of the tensor's name. */
#ifndef SD_TEST_TINY_MODEL_H
#define SD_TEST_TINY_MODEL_H

#include "t.h"

#include "base/map.h"
#include "base/rng.h"
#include "file/weights.h"

#include <math.h>

typedef struct tiny_spec {
    int n_layer, n_head, n_head_kv, d_head;
    int64_t d, ffn, n_ctx;
    bool tied, bias;
    bool own_head; /* a head in the file though config.json ties it */
    uint64_t seed;
    sd_dtype dtype;           /* GGUF: of the matrices; 0: F32. Q8_0, Q4_0, Q4_1 need widths that are multiples of 32 */
    const char *drop, *extra; /* Hugging Face name, or what ends at a dot of it, of tensors to leave out; of a [3] tensor to add */
    const char *stretch;      /* of a tensor that gets one row more */
    const char *config_extra; /* JSON members for config.json, with a comma in front: a later duplicate is an error */
    const char *model_type;   /* NULL: llama */
    void (*edit)(const char *hf, float *data, int64_t rows, int64_t cols, const void *arg); /* of every tensor; NULL: none */
    const void *edit_arg;
} tiny_spec;

enum { TINY_VOCAB = 260, TINY_MAX_TENSORS = 256 };

static const tiny_spec tiny_default = {
    .n_layer = 3, .n_head = 4, .n_head_kv = 2, .d_head = 16, .d = 64, .ffn = 96, .n_ctx = 512, .seed = 1};

typedef struct tiny_tensor {
    char hf[96], gguf[96];
    int rank;
    int64_t dim[2];
    float *data;
    int permute_heads; /* GGUF: q and k rows in llama.cpp's order; 0: no */
} tiny_tensor;

typedef struct tiny {
    const tiny_spec *s;
    int layer; /* of the tensors being added; -1: of none */
    tiny_tensor t[TINY_MAX_TENSORS];
    int n;
} tiny;

static inline bool tiny_drops(const char *drop, const char *name)
{
    const size_t n = strlen(drop);
    return strncmp(drop, name, n) == 0 && (!name[n] || name[n] == '.');
}

static inline void tiny_add(tiny *m, const char *hf, const char *gguf, int64_t rows, int64_t cols, int heads)
{
    const tiny_spec *s = m->s;
    int layer = m->layer;
    tiny_tensor *t = &m->t[m->n];
    if (m->n == TINY_MAX_TENSORS) abort();
    if (layer >= 0) {
        snprintf(t->hf, sizeof t->hf, "model.layers.%d.%s", layer, hf);
        snprintf(t->gguf, sizeof t->gguf, "blk.%d.%s", layer, gguf);
    } else {
        snprintf(t->hf, sizeof t->hf, "%s", hf);
        snprintf(t->gguf, sizeof t->gguf, "%s", gguf);
    }
    if (s->drop && tiny_drops(s->drop, t->hf)) return;
    if (s->stretch && strcmp(s->stretch, t->hf) == 0) rows++;
    t->rank = cols ? 2 : 1, t->dim[0] = rows, t->dim[1] = cols, t->permute_heads = heads;
    int64_t n = rows * (cols ? cols : 1);
    t->data = malloc((size_t)n * sizeof(float));
    if (!t->data) abort();
    sd_rng r = sd_rng_make(s->seed, t->hf, 0);
    bool norm = strstr(hf, "norm") != NULL;
    float scale = norm ? 0.1f : !cols ? 0.2f : 1.5f / sqrtf((float)cols);
    for (int64_t i = 0; i < n; i++) t->data[i] = (norm ? 1.0f : 0.0f) + scale * sd_rng_normal(&r);
    m->n++;
}

static inline void tiny_matrix(tiny *m, const char *hf, const char *gguf, int64_t rows, int64_t cols, int heads)
{
    char a[64], b[64];
    snprintf(a, sizeof a, "%s.weight", hf), snprintf(b, sizeof b, "%s.weight", gguf);
    tiny_add(m, a, b, rows, cols, heads);
    if (!m->s->bias) return;
    snprintf(a, sizeof a, "%s.bias", hf), snprintf(b, sizeof b, "%s.bias", gguf);
    tiny_add(m, a, b, rows, 0, heads);
}

static inline void tiny_make(tiny *m, const tiny_spec *s)
{
    int64_t q = (int64_t)s->n_head * s->d_head, kv = (int64_t)s->n_head_kv * s->d_head;
    *m = (tiny){.s = s, .layer = -1};
    tiny_add(m, "model.embed_tokens.weight", "token_embd.weight", TINY_VOCAB, s->d, 0);
    tiny_add(m, "model.norm.weight", "output_norm.weight", s->d, 0, 0);
    if (!s->tied || s->own_head) tiny_add(m, "lm_head.weight", "output.weight", TINY_VOCAB, s->d, 0);
    for (int l = 0; l < s->n_layer; l++) {
        m->layer = l;
        tiny_add(m, "input_layernorm.weight", "attn_norm.weight", s->d, 0, 0);
        tiny_add(m, "post_attention_layernorm.weight", "ffn_norm.weight", s->d, 0, 0);
        tiny_matrix(m, "self_attn.q_proj", "attn_q", q, s->d, s->n_head);
        tiny_matrix(m, "self_attn.k_proj", "attn_k", kv, s->d, s->n_head_kv);
        tiny_matrix(m, "self_attn.v_proj", "attn_v", kv, s->d, 0);
        tiny_matrix(m, "self_attn.o_proj", "attn_output", s->d, q, 0);
        tiny_matrix(m, "mlp.gate_proj", "ffn_gate", s->ffn, s->d, 0);
        tiny_matrix(m, "mlp.up_proj", "ffn_up", s->ffn, s->d, 0);
        tiny_matrix(m, "mlp.down_proj", "ffn_down", s->d, s->ffn, 0);
    }
    m->layer = -1;
    if (s->extra) tiny_add(m, s->extra, s->extra, 3, 0, 0);
    for (int i = 0; i < m->n && s->edit; i++) s->edit(m->t[i].hf, m->t[i].data, m->t[i].dim[0], m->t[i].rank == 2 ? m->t[i].dim[1] : 1, s->edit_arg);
}

static inline void tiny_release(tiny *m)
{
    for (int i = 0; i < m->n; i++) free(m->t[i].data);
    m->n = 0;
}

/* Piece of token id in GPT-2's byte-to-unicode alphabet (Radford et al. 2019, encoder.py). */
static inline int tiny_piece(int id, char out[32])
{
    static const char *const merged[] = {"\xc4\xa0t", "he", "in"};
    if (id == 0) return snprintf(out, 32, "<|endoftext|>");
    if (id > 256) return snprintf(out, 32, "%s", merged[id - 257]);
    int b = id - 1, shifted = 0;
    for (int i = 0; i < b; i++) shifted += !((i >= 33 && i <= 126) || (i >= 161 && i <= 172) || i >= 174);
    bool plain = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    int n = sd_utf8_encode(plain ? (uint32_t)b : 256u + (uint32_t)shifted, out);
    out[n] = '\0';
    return n;
}
static const char *const tiny_merges[] = {"\xc4\xa0 t", "h e", "i n"};

static inline void tiny_save(const char *dir, const char *name, sd_buf *b)
{
    char path[512];
    sd_err err = {0};
    snprintf(path, sizeof path, "%s/%s", dir, name);
    t_ok(sd_buf_check(b, name, &err), err);
    t_ok(sd_file_write_atomic(path, b->p, b->n, &err), err);
    sd_buf_reset(b);
}

static inline void tiny_write_hf(const char *dir, const tiny_spec *s)
{
    tiny m;
    sd_buf b;
    sd_err err = {0};
    static sd_st_tensor st[TINY_MAX_TENSORS];
    tiny_make(&m, s);
    for (int i = 0; i < m.n; i++)
        st[i] = (sd_st_tensor){.name = m.t[i].hf,
                               .dtype = SD_F32,
                               .rank = m.t[i].rank,
                               .dim = {m.t[i].dim[0], m.t[i].dim[1]},
                               .data = m.t[i].data};
    sd_buf_init(&b, 1 << 20);
    sd_buf_printf(
        &b,
        "{\"model_type\": \"%s\", \"hidden_act\": \"silu\", \"hidden_size\": %d, \"intermediate_size\": %d, "
        "\"num_hidden_layers\": %d,"
        " \"num_attention_heads\": %d, \"num_key_value_heads\": %d, \"head_dim\": %d, \"max_position_embeddings\": %d,"
        " \"rms_norm_eps\": 1e-5, \"vocab_size\": %d, \"tie_word_embeddings\": %s, \"bos_token_id\": 0, "
        "\"eos_token_id\": 0%s}",
        s->model_type ? s->model_type : "llama", (int)s->d, (int)s->ffn, s->n_layer, s->n_head, s->n_head_kv, s->d_head,
        (int)s->n_ctx, TINY_VOCAB, s->tied ? "true" : "false", s->config_extra ? s->config_extra : "");
    tiny_save(dir, "config.json", &b);
    sd_buf_puts(&b, "{\"version\": \"1.0\", \"added_tokens\": [{\"id\": 0, \"content\": \"<|endoftext|>\", "
                    "\"single_word\": false, \"lstrip\": false,"
                    " \"rstrip\": false, \"normalized\": false, \"special\": true}], \"normalizer\": null, "
                    "\"pre_tokenizer\": {\"type\": \"ByteLevel\","
                    " \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": true}, \"post_processor\": "
                    "null, \"decoder\": {\"type\":"
                    " \"ByteLevel\"}, \"model\": {\"type\": \"BPE\", \"vocab\": {");
    for (int id = 0; id < TINY_VOCAB; id++) {
        char piece[32];
        tiny_piece(id, piece);
        sd_buf_printf(&b, "%s\"%s%s\": %d", id ? ", " : "", piece[0] == '"' || piece[0] == '\\' ? "\\" : "", piece, id);
    }
    sd_buf_puts(&b, "}, \"merges\": [");
    for (int i = 0; i < 3; i++) sd_buf_printf(&b, "%s\"%s\"", i ? ", " : "", tiny_merges[i]);
    sd_buf_puts(&b, "]}}");
    tiny_save(dir, "tokenizer.json", &b);
    char path[512];
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    t_ok(sd_safetensors_write(path, st, m.n, NULL, &err), err);
    sd_buf_release(&b);
    tiny_release(&m);
}

#endif
