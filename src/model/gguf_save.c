/* The tensors of a GGUF, streamed: rows are decoded, put into the order of llama.cpp's converter and encoded by a few
 * hundred kilobytes at a time, so a model is written in little more memory than it is mapped in. */
#include "model/gguf_save.h"

#include "num/quantize.h"

#include <stdio.h>

enum { CHUNK = 1 << 18 }; /* elements that are encoded at once */

/* What a tensor is made of: matrices one below the other, or vectors one behind the other. */
typedef struct item {
    sd_wmat w[3];
    const float *v[3];
    int64_t n[3]; /* elements of v */
    int n_part;
    int pair_d; /* width of a head whose rotary pairs are stored side by side; 0: rows as they are */
} item;

typedef struct saver {
    const sd_model *m;
    const sd_arch *to;
    sd_dtype type;
    sd_gguf_divisors div[2];
    sd_gguf_tensor *t; /* [n] */
    item *it;          /* [n] */
    int64_t n, cap;
    float *wide;
    uint8_t *coded;
    sd_gguf_writer *file;
} saver;

/* The matrix that gives the logits is the one whose errors show most; llama.cpp (llama-quant.cpp) does the same. */
static sd_dtype type_of(const saver *s, sd_role role, int64_t cols)
{
    static const sd_dtype coarse[] = {SD_Q4_0, SD_Q4_1, SD_Q5_0, SD_Q5_1, SD_Q4_K, SD_Q5_K};
    sd_dtype t = s->type;
    if (role == SD_ROLE_HEAD || (role == SD_ROLE_EMBED && s->m->cfg.tied))
        for (size_t i = 0; i < sizeof coarse / sizeof *coarse; i++)
            if (s->type == coarse[i]) t = SD_Q6_K;
    return sd_quantize_fallback(t, cols);
}

static void add(saver *s, sd_role role, int layer, const char *kind, const item *it)
{
    const char *pattern = s->to->tensor[role].gguf, *hole = strstr(pattern, "%d");
    sd_gguf_tensor *t = &s->t[s->n];
    SD_ASSERT(s->n < s->cap);
    *t = (sd_gguf_tensor){0};
    if (hole)
        snprintf(t->name, sizeof t->name, "%.*s%d%s.%s", (int)(hole - pattern), pattern, layer, hole + 2, kind);
    else
        snprintf(t->name, sizeof t->name, "%s.%s", pattern, kind);
    for (int i = 0; i < it->n_part; i++) t->dim[0] += it->v[0] ? it->n[i] : it->w[i].rows;
    t->rank = it->v[0] ? 1 : 2;
    t->dim[1] = it->v[0] ? 0 : it->w[0].cols;
    t->dtype = t->rank == 1 || role == SD_ROLE_POS ? SD_F32 : type_of(s, role, t->dim[1]);
    s->it[s->n++] = *it;
}

static void add_wmat(saver *s, sd_role role, const sd_wmat *w)
{
    if (w->data) add(s, role, 0, "weight", &(item){.w = {*w}, .n_part = 1});
}

static void add_norm(saver *s, sd_role role, int layer, const sd_norm *norm)
{
    const sd_config *c = &s->m->cfg;
    const bool row = s->m->wire.qk_norm == SD_QK_NORM_ROW;
    int64_t n = c->d_model;
    if (role == SD_ROLE_Q_NORM) n = row ? (int64_t)c->n_head * c->d_head : c->d_head;
    if (role == SD_ROLE_K_NORM) n = row ? (int64_t)c->n_head_kv * c->d_head : c->d_head;
    if (norm->b) add(s, role, layer, "bias", &(item){.v = {norm->b}, .n = {n}, .n_part = 1});
    if (norm->g) add(s, role, layer, "weight", &(item){.v = {norm->g}, .n = {n}, .n_part = 1});
}

/* Matrices first .. first + n_part of a block as one tensor. */
static void add_matrix(saver *s, sd_role role, int layer, sd_mat_role first, int n_part)
{
    const sd_matrix *mat = &s->m->block[layer].mat[first];
    item w = {.n_part = n_part}, b = {.n_part = n_part};
    if (!s->to->tensor[role].gguf || !mat->w.data) return;
    for (int i = 0; i < n_part; i++) {
        w.w[i] = mat[i].w;
        b.v[i] = mat[i].bias;
        b.n[i] = mat[i].w.rows;
    }
    if (s->to->gguf_permutes_qk && (role == SD_ROLE_Q || role == SD_ROLE_K)) w.pair_d = b.pair_d = s->m->cfg.d_head;
    if (b.v[0]) add(s, role, layer, "bias", &b);
    add(s, role, layer, "weight", &w);
}

/* In the order of llama.cpp's converter, which goes through names in the order of the alphabet. */
static void add_all(saver *s)
{
    const sd_model *m = s->m;
    if (!m->cfg.tied) add_wmat(s, SD_ROLE_HEAD, &m->head_w);
    add_wmat(s, SD_ROLE_EMBED, &m->embed);
    add_wmat(s, SD_ROLE_POS, &m->pos);
    for (int l = 0; l < m->cfg.n_layer; l++) {
        const sd_block *b = &m->block[l];
        add_norm(s, SD_ROLE_ATTN_NORM, l, &b->attn_norm);
        add_matrix(s, SD_ROLE_DOWN, l, SD_MAT_DOWN, 1);
        add_matrix(s, SD_ROLE_GATE, l, SD_MAT_GATE, 1);
        add_matrix(s, SD_ROLE_UP, l, SD_MAT_UP, 1);
        add_matrix(s, SD_ROLE_GATE_UP, l, SD_MAT_GATE, 2);
        add_norm(s, SD_ROLE_ATTN_POST, l, &b->attn_post);
        add_norm(s, SD_ROLE_MLP_POST, l, &b->mlp_post);
        add_norm(s, SD_ROLE_MLP_NORM, l, &b->mlp_norm);
        add_norm(s, SD_ROLE_K_NORM, l, &b->k_norm);
        add_matrix(s, SD_ROLE_K, l, SD_MAT_K, 1);
        add_matrix(s, SD_ROLE_O, l, SD_MAT_O, 1);
        add_norm(s, SD_ROLE_Q_NORM, l, &b->q_norm);
        add_matrix(s, SD_ROLE_Q, l, SD_MAT_Q, 1);
        add_matrix(s, SD_ROLE_V, l, SD_MAT_V, 1);
        add_matrix(s, SD_ROLE_QKV, l, SD_MAT_Q, 3);
    }
    add_norm(s, SD_ROLE_FINAL_NORM, 0, &m->final_norm);
    for (int i = 0; i < 2 && s->div[i].name; i++) {
        s->t[s->n] = (sd_gguf_tensor){.dtype = SD_F32, .rank = 1, .dim = {s->div[i].n}};
        snprintf(s->t[s->n].name, sizeof s->t[s->n].name, "%s", s->div[i].name);
        s->it[s->n++] = (item){.v = {s->div[i].v}, .n = {s->div[i].n}, .n_part = 1};
    }
}

/* Our row of stored row r: 2j + t of a head holds t d/2 + j (bind.c, make_perms). */
static int64_t row_at(const item *it, int64_t r)
{
    const int64_t d = it->pair_d, in = d ? r % d : 0;
    return d ? r - in + in % 2 * (d / 2) + in / 2 : r;
}

static sd_status write_vectors(saver *s, const item *it, sd_err *err)
{
    sd_status st = SD_OK;
    for (int i = 0; i < it->n_part; i++)
        for (int64_t k = 0; k < it->n[i] && !st; k++)
            st = sd_gguf_append(s->file, &it->v[i][row_at(it, k)], sizeof(float), err);
    return st;
}

static sd_status write_matrices(saver *s, const sd_gguf_tensor *t, const item *it, sd_err *err)
{
    const int64_t cols = t->dim[1], most = cols < CHUNK ? CHUNK / cols : 1;
    const size_t row_bytes = sd_dtype_row_bytes(t->dtype, cols);
    sd_status st = SD_OK;
    for (int i = 0; i < it->n_part; i++)
        for (int64_t r0 = 0; r0 < it->w[i].rows && !st; r0 += most) {
            const int64_t n = it->w[i].rows - r0 < most ? it->w[i].rows - r0 : most;
            int64_t n_bad = 0;
            for (int64_t r = 0; r < n; r++) sd_wmat_decode_row(s->wide + r * cols, &it->w[i], row_at(it, r0 + r));
            sd_quantize_rows(s->m->ex, s->coded, t->dtype, sd_mat_of(s->wide, n, cols), &n_bad);
            if (n_bad)
                return sd_fail(err, SD_E_FAIL, "%s: %lld elements of rows %lld to %lld are not finite, or no %s number holds them", t->name,
                               (long long)n_bad, (long long)r0, (long long)(r0 + n - 1), sd_dtype_get(t->dtype)->name);
            st = sd_gguf_append(s->file, s->coded, (size_t)n * row_bytes, err);
        }
    return st;
}

/* llama.cpp's numbers of whole files (llama.h, llama_ftype). */
static uint32_t file_type(sd_dtype t)
{
    static const uint8_t number[SD_DTYPE_COUNT] = {[SD_F32] = 0,  [SD_F16] = 1,   [SD_Q4_0] = 2,  [SD_Q4_1] = 3,
                                                   [SD_Q8_0] = 7, [SD_Q5_0] = 8,  [SD_Q5_1] = 9,  [SD_Q4_K] = 14,
                                                   [SD_Q5_K] = 16, [SD_Q6_K] = 18, [SD_BF16] = 32};
    return number[t];
}

static sd_status prepare(saver *s, sd_err *err)
{
    const sd_model *m = s->m;
    int64_t widest = CHUNK;
    const int64_t cols[] = {m->cfg.d_model, m->cfg.d_ffn, (int64_t)m->cfg.n_head * m->cfg.d_head};
    for (size_t i = 0; i < sizeof cols / sizeof *cols; i++) widest = cols[i] > widest ? cols[i] : widest;
    s->cap = 8 + (int64_t)m->cfg.n_layer * 2 * SD_ROLE_COUNT;
    sd_status st = sd_alloc_zero(&s->t, (size_t)s->cap * sizeof *s->t, "the list of tensors", err);
    if (!st) st = sd_alloc_zero(&s->it, (size_t)s->cap * sizeof *s->it, "the list of tensors", err);
    if (!st) st = sd_alloc(&s->wide, (size_t)widest * sizeof *s->wide, "rows of a tensor", err);
    if (!st) st = sd_alloc(&s->coded, (size_t)widest * sizeof *s->wide, "rows of a tensor", err);
    return st;
}

sd_status sd_model_save_gguf(const sd_model *m, const char *path, sd_dtype type, sd_err *err)
{
    saver *s = NULL;
    sd_gguf_meta meta;
    sd_gguf_meta_init(&meta);
    sd_status st = sd_alloc_zero(&s, sizeof *s, "a GGUF", err);
    if (st) return st;
    s->m = m, s->to = sd_gguf__arch(m), s->type = type;
    if (!sd_quantize_can(type)) {
        st = sd_fail(err, SD_E_ARG, "%s: weights cannot be written as %s", path, sd_dtype_get(type)->name);
        goto done;
    }
    if ((st = prepare(s, err))) goto done;
    if ((st = sd_gguf__metadata(&meta, s->div, m, err))) goto done;
    sd_gguf_put_u32(&meta, "general.file_type", file_type(type));
    sd_gguf_put_u32(&meta, "general.quantization_version", 2); /* ggml.h, GGML_QNT_VERSION */
    add_all(s);
    st = sd_gguf_begin(&s->file, path, &meta, s->t, s->n, err);
    for (int64_t i = 0; i < s->n && !st; i++)
        st = s->t[i].rank == 1 ? write_vectors(s, &s->it[i], err) : write_matrices(s, &s->t[i], &s->it[i], err);
    if (!st) {
        st = sd_gguf_end(s->file, err);
        s->file = NULL;
    }
done:
    sd_gguf_abort(s->file);
    sd_free(s->t);
    sd_free(s->it);
    sd_free(s->wide);
    sd_free(s->coded);
    sd_free(s);
    sd_gguf_meta_release(&meta);
    return st;
}
