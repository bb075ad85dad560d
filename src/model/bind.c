/* Binding: every tensor of the file is either bound with the shape that the blueprint gives it, or on its architecture's
 * list of tensors that nothing needs, or an error. Parts of fused tensors, transposed matrices and rows in another order
 * become views (sd_wmat) in Hugging Face's order; nothing is copied but norms and biases. */
#include "model/arch.h"

#include "base/log.h"

#include <stdio.h>

enum { MAX_TENSOR_NAME = 256 };

static bool is_gguf(const sd_binder *b)
{
    return sd_weights_container(b->m->weights) == SD_CONTAINER_GGUF;
}

static const char *pattern_of(const sd_binder *b, sd_role role)
{
    const sd_arch_tensor *t = &b->arch->tensor[role];
    if (is_gguf(b)) return t->gguf;
    return t->hf && b->strip && strncmp(t->hf, b->arch->hf_prefix, b->strip) == 0 ? t->hf + b->strip : t->hf; /* the head has no prefix */
}

static const sd_tensor *find(const sd_binder *b, sd_role role, int layer, const char *kind, char name[MAX_TENSOR_NAME])
{
    const char *pattern = pattern_of(b, role), *hole = strstr(pattern, "%d");
    if (hole)
        snprintf(name, MAX_TENSOR_NAME, "%.*s%d%s.%s", (int)(hole - pattern), pattern, layer, hole + 2, kind);
    else
        snprintf(name, MAX_TENSOR_NAME, "%s.%s", pattern, kind);
    return sd_weights_find(b->m->weights, name);
}

/* ---- shapes ---- */

/* The sizes of a configuration by the names that the container gives them. */
typedef enum dim { D_NONE, D_MODEL, D_FFN, D_Q, D_KV, D_HEAD, D_VOCAB, D_CTX, D_QKV, D_2FFN, D_COUNT } dim;

static int64_t size_of(const sd_config *c, dim d)
{
    int64_t q = (int64_t)c->n_head * c->d_head, kv = (int64_t)c->n_head_kv * c->d_head;
    const int64_t size[D_COUNT] = {[D_MODEL] = c->d_model, [D_FFN] = c->d_ffn,   [D_Q] = q,           [D_KV] = kv,
                                   [D_HEAD] = c->d_head,   [D_VOCAB] = c->n_vocab, [D_CTX] = c->n_ctx, [D_QKV] = q + 2 * kv,
                                   [D_2FFN] = 2 * c->d_ffn};
    return size[d];
}

/* rows and columns of a tensor by its role; a vector has no columns. */
static void dims_of(const sd_binder *b, sd_role role, dim *rows, dim *cols)
{
    static const dim table[SD_ROLE_COUNT][2] = {
        [SD_ROLE_EMBED] = {D_VOCAB, D_MODEL}, [SD_ROLE_POS] = {D_CTX, D_MODEL},   [SD_ROLE_FINAL_NORM] = {D_MODEL, D_NONE},
        [SD_ROLE_HEAD] = {D_VOCAB, D_MODEL},  [SD_ROLE_ATTN_NORM] = {D_MODEL, D_NONE}, [SD_ROLE_ATTN_POST] = {D_MODEL, D_NONE},
        [SD_ROLE_MLP_NORM] = {D_MODEL, D_NONE}, [SD_ROLE_MLP_POST] = {D_MODEL, D_NONE}, [SD_ROLE_Q_NORM] = {D_HEAD, D_NONE},
        [SD_ROLE_K_NORM] = {D_HEAD, D_NONE},  [SD_ROLE_Q] = {D_Q, D_MODEL},       [SD_ROLE_K] = {D_KV, D_MODEL},
        [SD_ROLE_V] = {D_KV, D_MODEL},        [SD_ROLE_O] = {D_MODEL, D_Q},       [SD_ROLE_GATE] = {D_FFN, D_MODEL},
        [SD_ROLE_UP] = {D_FFN, D_MODEL},      [SD_ROLE_DOWN] = {D_MODEL, D_FFN},  [SD_ROLE_QKV] = {D_QKV, D_MODEL},
        [SD_ROLE_GATE_UP] = {D_2FFN, D_MODEL}};
    *rows = table[role][0], *cols = table[role][1];
    if (b->arch->qk_norm == SD_QK_NORM_ROW && role == SD_ROLE_Q_NORM) *rows = D_Q;
    if (b->arch->qk_norm == SD_QK_NORM_ROW && role == SD_ROLE_K_NORM) *rows = D_KV;
}

/* "config.json: hidden_size is 64, intermediate_size is 160": what gave a tensor its shape. */
static void print_source(char out[256], const sd_binder *b, dim rows, dim cols)
{
    const sd_config *c = &b->m->cfg;
    const sd_arch_keys *k = &b->arch->keys;
    bool gguf = is_gguf(b), used[D_COUNT] = {false};
    used[rows] = used[cols] = true;
    const struct {
        const char *hf, *gguf;
        int64_t v;
        bool shown;
    } parts[] = {
        {k->d_model, "embedding_length", c->d_model, used[D_MODEL]},
        {k->d_ffn, "feed_forward_length", c->d_ffn, used[D_FFN] || used[D_2FFN]},
        {k->n_head, "attention.head_count", c->n_head, used[D_Q] || used[D_QKV]},
        {k->n_head_kv, "attention.head_count_kv", c->n_head_kv, used[D_KV] || used[D_QKV]},
        {k->d_head, "attention.key_length", c->d_head, used[D_Q] || used[D_KV] || used[D_QKV] || used[D_HEAD]},
        {"vocab_size", "vocab_size", c->n_vocab, used[D_VOCAB]},
        {k->n_ctx, "context_length", c->n_ctx, used[D_CTX]},
    };
    int n = snprintf(out, 256, "%s:", gguf ? "the metadata" : "config.json");
    const char *sep = " ";
    for (size_t i = 0; i < sizeof parts / sizeof *parts && n < 200; i++) {
        const char *key = gguf ? parts[i].gguf : parts[i].hf;
        if (!parts[i].shown || !key) continue;
        n += snprintf(out + n, 256 - (size_t)n, "%s%s is %lld", sep, key, (long long)parts[i].v);
        sep = ", ";
    }
}

static void print_shape(char out[96], int rank, const int64_t *dims)
{
    int n = snprintf(out, 96, "[");
    for (int i = 0; i < rank && n < 80; i++)
        n += snprintf(out + n, 96 - (size_t)n, "%s%lld", i ? ", " : "", (long long)dims[i]);
    snprintf(out + n, 96 - (size_t)n, "]");
}

/* What is said of the blueprint and what lies in the tensors are not of one model. */
static sd_status contradiction(const sd_binder *b)
{
    return sd_hint(b->err, is_gguf(b) ? "the file's metadata and tensors contradict each other: convert or download it again"
                                      : "config.json and the weights are not of one model: take both from the same download");
}

/* A folder's matrices of blocks in [inputs, outputs]. */
static bool transposed(const sd_binder *b, sd_role role)
{
    return b->arch->hf_transposed && !is_gguf(b) && role >= SD_ROLE_Q;
}

/* A tensor of its role's shape (or, as a bias, of its rows) whose elements can be decoded. */
static sd_status check_tensor(const sd_binder *b, sd_role role, bool bias, const sd_tensor *t, const char *name)
{
    dim rows, cols;
    dims_of(b, role, &rows, &cols);
    if (bias) cols = D_NONE;
    int64_t want[2] = {size_of(&b->m->cfg, rows), size_of(&b->m->cfg, cols)};
    int rank = cols == D_NONE ? 1 : 2;
    if (rank == 2 && transposed(b, role)) {
        int64_t swap = want[0];
        want[0] = want[1], want[1] = swap;
    }
    if (t->rank != rank || t->dim[0] != want[0] || (rank == 2 && t->dim[1] != want[1])) {
        char x[96], y[96], z[256];
        print_shape(x, rank, want), print_shape(y, t->rank, t->dim), print_source(z, b, rows, cols);
        sd_fail(b->err, SD_E_SHAPE, "%s: expected %s, file has %s; %s", name, x, y, z);
        return contradiction(b);
    }
    const sd_dtype_info *info = sd_dtype_get(t->dtype);
    if (!info->decode || (rank == 2 && transposed(b, role) && info->block != 1)) {
        sd_fail(b->err, SD_E_UNSUPPORTED, "%s: elements of type %s are no weights", name, t->type_name);
        return is_gguf(b) ? SD_E_UNSUPPORTED : sd_hint(b->err, "supported in a folder: F32, F16, BF16; quantised weights are read from GGUF files");
    }
    if (t->dim[rank - 1] % info->block != 0)
        return sd_fail(b->err, SD_E_FORMAT, "%s: rows of %lld elements are no whole number of %s blocks", name,
                       (long long)t->dim[rank - 1], t->type_name);
    return SD_OK;
}

/* The number in "blk.3.attn_q.weight", "model.layers.3.mlp..", -1 when there is none. */
static int64_t layer_of(sd_slice name)
{
    sd_slice part;
    int64_t v;
    while (sd_slice_cut(&name, '.', &part))
        if (part.n < 8 && sd_parse_i64(part, &v) && v >= 0) return v;
    return -1;
}

static sd_status missing(const sd_binder *b, const char *name)
{
    static const char damaged[] = "the file may be incomplete or damaged: compare its size and SHA-256 with its source";
    const int64_t layer = layer_of(sd_slice_of(name));
    bool any = layer < 0;
    for (int64_t i = 0; !any && i < sd_weights_count(b->m->weights); i++) any = layer_of(sd_weights_at(b->m->weights, i)->name) == layer;
    if (any) {
        sd_fail(b->err, SD_E_NOTFOUND, "tensor %s is missing", name);
        return sd_hint(b->err, damaged);
    }
    sd_fail(b->err, SD_E_SHAPE, "there is no tensor of layer %lld (%s), but %s is %d", (long long)layer, name,
            is_gguf(b) ? "the metadata's block_count" : b->arch->keys.n_layer, b->m->cfg.n_layer);
    return contradiction(b);
}

static sd_status take(const sd_binder *b, sd_role role, int layer, const sd_tensor **out, char name[MAX_TENSOR_NAME])
{
    *out = find(b, role, layer, "weight", name);
    if (!*out) return missing(b, name);
    return check_tensor(b, role, false, *out, name);
}

/* ---- vectors ---- */

/* Elements [from, from + n) of a vector, or those that perm names. */
static sd_status decode_vector(float **out, const sd_tensor *t, int64_t from, int64_t n, const int32_t *perm, sd_err *err)
{
    float *all = NULL;
    sd_status st = sd_alloc(&all, (size_t)t->dim[0] * sizeof(float), "a norm's or bias' weights", err);
    if (!st) st = sd_alloc(out, (size_t)n * sizeof(float), "a norm's or bias' weights", err);
    if (!st) {
        sd_dtype_get(t->dtype)->decode(all, t->data, t->dim[0]);
        for (int64_t i = 0; i < n; i++) (*out)[i] = all[perm ? perm[i] : from + i];
    }
    sd_free(all);
    return st;
}

/* The tensor of a bias, NULL when there is none; what config.json says of biases decides where it says something. */
static sd_status find_bias(const sd_binder *b, sd_role role, int layer, const sd_tensor **out)
{
    char name[MAX_TENSOR_NAME];
    sd_bias_rule rule = b->arch->tensor[role].bias;
    const sd_arch_keys *k = &b->arch->keys;
    const char *key = NULL;
    bool said = false;
    if (role == SD_ROLE_Q || role == SD_ROLE_K || role == SD_ROLE_V || role == SD_ROLE_O || role == SD_ROLE_QKV)
        key = k->attn_bias;
    if (role == SD_ROLE_GATE || role == SD_ROLE_UP || role == SD_ROLE_DOWN || role == SD_ROLE_GATE_UP) key = k->mlp_bias;
    *out = NULL;
    if (is_gguf(b) || rule == SD_BIAS_NONE || !json_object_get(sd_weights_config(b->m->weights), key ? key : "")) key = NULL;
    if (key) {
        sd_status st = sd_json_opt_bool(sd_weights_config(b->m->weights), key, &said, "config.json", b->err);
        if (st) return st;
        rule = said ? SD_BIAS_ALWAYS : SD_BIAS_NONE;
    }
    if (rule == SD_BIAS_NONE && !key) return SD_OK;
    *out = find(b, role, layer, "bias", name);
    if (!*out && rule == SD_BIAS_ALWAYS) {
        if (!key) return missing(b, name);
        sd_fail(b->err, SD_E_NOTFOUND, "tensor %s is missing, but config.json: %s is true", name, key);
        return contradiction(b);
    }
    if (*out && rule == SD_BIAS_NONE) {
        sd_fail(b->err, SD_E_FORMAT, "there is a tensor %s, but config.json: %s is false", name, key);
        return contradiction(b);
    }
    return *out ? check_tensor(b, role, true, *out, name) : SD_OK;
}

/* keep: false only checks (blocks that an early exit never reaches). */
static sd_status bind_norm(const sd_binder *b, sd_role role, int layer, bool keep, sd_norm *out)
{
    char name[MAX_TENSOR_NAME];
    const sd_tensor *t, *bias;
    if (!pattern_of(b, role)) return SD_OK;
    sd_status st = take(b, role, layer, &t, name);
    if (!st) st = find_bias(b, role, layer, &bias);
    if (st || !keep) return st;
    if ((st = decode_vector(&out->g, t, 0, t->dim[0], NULL, b->err))) return st;
    if (b->arch->norm_plus_one && !is_gguf(b))
        for (int64_t i = 0; i < t->dim[0]; i++) out->g[i] += 1.0f;
    return bias ? decode_vector(&out->b, bias, 0, bias->dim[0], NULL, b->err) : SD_OK;
}

/* ---- matrices ---- */

/* The tensor that holds a matrix, and its first row there. */
static sd_role holder(const sd_binder *b, sd_mat_role mat, int64_t *row0)
{
    const sd_config *c = &b->m->cfg;
    int64_t q = size_of(c, D_Q), kv = size_of(c, D_KV);
    const int64_t first[SD_MAT_COUNT] = {[SD_MAT_K] = q, [SD_MAT_V] = q + kv, [SD_MAT_UP] = c->d_ffn};
    sd_role own = (sd_role)(SD_ROLE_Q + mat), fused = mat <= SD_MAT_V ? SD_ROLE_QKV : SD_ROLE_GATE_UP;
    *row0 = 0;
    if (pattern_of(b, own) || mat == SD_MAT_O || mat == SD_MAT_DOWN || !pattern_of(b, fused)) return own;
    *row0 = first[mat];
    return fused;
}

static sd_status bind_matrix(const sd_binder *b, sd_mat_role mat, int layer, bool keep, sd_matrix *out)
{
    char name[MAX_TENSOR_NAME];
    const sd_tensor *t, *bias;
    const int32_t *perm = mat <= SD_MAT_V ? b->m->perm[mat] : NULL;
    int64_t row0;
    dim rows, cols;
    sd_role role = holder(b, mat, &row0);
    if (!pattern_of(b, role)) return SD_OK; /* an MLP without gate has no W_up */
    sd_status st = take(b, role, layer, &t, name);
    if (!st) st = find_bias(b, role, layer, &bias);
    if (st) return st;
    dims_of(b, (sd_role)(SD_ROLE_Q + mat), &rows, &cols);
    if (perm) row0 = 0; /* its rows count from the tensor's first */
    sd_wmat w = {.dtype = t->dtype, .rows = size_of(&b->m->cfg, rows), .cols = size_of(&b->m->cfg, cols), .perm = perm};
    bool turn = transposed(b, role);
    if (turn) w.stored_cols = t->dim[1];
    w.data = (const uint8_t *)t->data + (size_t)row0 * (turn ? sd_dtype_get(t->dtype)->bytes : sd_dtype_row_bytes(t->dtype, w.cols));
    out->w = w;
    if (!keep) return SD_OK;
    if (bias && (st = decode_vector(&out->bias, bias, row0, w.rows, perm, b->err))) return st;
    if (!b->views && (st = sd_linear_new_within(&out->l, b->m->ex, &w, out->bias, &b->m->pool, b->m->mode, b->err))) sd_err_wrap(b->err, "%s", name);
    return st;
}

static sd_status bind_block(const sd_binder *b, int l, bool keep)
{
    sd_block *k = &b->m->block[l];
    const struct {
        sd_role role;
        sd_norm *norm;
    } norms[] = {{SD_ROLE_ATTN_NORM, &k->attn_norm}, {SD_ROLE_ATTN_POST, &k->attn_post}, {SD_ROLE_MLP_NORM, &k->mlp_norm},
                 {SD_ROLE_MLP_POST, &k->mlp_post},   {SD_ROLE_Q_NORM, &k->q_norm},       {SD_ROLE_K_NORM, &k->k_norm}};
    sd_status st;
    k->window = b->windowed[l] ? b->m->cfg.window : 0;
    k->rope = b->windowed[l] && b->m->wire.n_rope == 2;
    for (size_t i = 0; i < sizeof norms / sizeof *norms; i++)
        if ((st = bind_norm(b, norms[i].role, l, keep, norms[i].norm))) return st;
    for (int i = 0; i < SD_MAT_COUNT; i++)
        if ((st = bind_matrix(b, (sd_mat_role)i, l, keep, &k->mat[i]))) return st;
    return SD_OK;
}

/* Where row i of q, k or v is stored. llama.cpp's converter (LlamaModel.permute) turns each head's rows [2, d/2] of q and
 * k into [d/2, 2]: row t*d/2 + j is stored row 2j + t. A fused tensor by head holds, for each head, its q, k and v. */
static sd_status make_perms(const sd_binder *b)
{
    const sd_config *c = &b->m->cfg;
    bool pairs = b->arch->gguf_permutes_qk && is_gguf(b), by_head = b->arch->hf_qkv_by_head && !is_gguf(b);
    for (int mat = SD_MAT_Q; mat <= SD_MAT_V; mat++) {
        int n_head = mat == SD_MAT_Q ? c->n_head : c->n_head_kv, d = c->d_head, half = d / 2;
        if (!by_head && (!pairs || mat == SD_MAT_V)) continue;
        int32_t *p;
        sd_status st = sd_alloc(&p, (size_t)n_head * (size_t)d * sizeof *p, "the order of rows", b->err);
        if (st) return st;
        b->m->perm[mat] = p;
        for (int i = 0; i < n_head * d; i++) {
            int in = i % d, head = i / d;
            p[i] = by_head ? (3 * head + mat) * d + in : i - in + 2 * (in % half) + in / half;
        }
    }
    return SD_OK;
}

/* ---- embedding, head, what is left ---- */

/* The vocabulary is the embedding's rows; what the metadata says of it must agree. */
static sd_status bind_embedding(sd_binder *b)
{
    sd_model *m = b->m;
    char name[MAX_TENSOR_NAME];
    sd_status st;
    const char *prefix = b->arch->hf_prefix;
    if (prefix && !is_gguf(b) && !find(b, SD_ROLE_EMBED, 0, "weight", name)) b->strip = strlen(prefix);
    const sd_tensor *t = find(b, SD_ROLE_EMBED, 0, "weight", name);
    if (!t && b->strip) {
        b->strip = 0; /* neither: the full name goes into the sentence */
        t = find(b, SD_ROLE_EMBED, 0, "weight", name);
    }
    if (!t) return missing(b, name);
    if (t->rank != 2 || t->dim[0] < 1 || t->dim[0] > INT32_MAX)
        return sd_fail(b->err, SD_E_SHAPE, "%s: expected a matrix with a row a token", name);
    m->cfg.n_vocab = t->dim[0];
    if ((st = take(b, SD_ROLE_EMBED, 0, &t, name))) return st;
    int64_t said = m->cfg.n_vocab;
    const char *where = "config.json: vocab_size";
    if (is_gguf(b)) {
        char key[96];
        uint64_t v;
        snprintf(key, sizeof key, "%s.vocab_size", b->arch->gguf);
        where = "the metadata's vocab_size";
        if (sd_weights_has_kv(m->weights, key)) {
            if ((st = sd_weights_kv_u64(m->weights, key, &v, b->err))) return st;
            said = v > INT64_MAX ? INT64_MAX : (int64_t)v;
        }
    } else if ((st = sd_json_opt_i64(sd_weights_config(m->weights), "vocab_size", &said, "config.json", b->err)))
        return st;
    if (said != m->cfg.n_vocab) {
        sd_fail(b->err, SD_E_SHAPE, "%s is %lld, but %s has %lld rows", where, (long long)said, name, (long long)m->cfg.n_vocab);
        return contradiction(b);
    }
    m->embed = (sd_wmat){.data = t->data, .dtype = t->dtype, .rows = t->dim[0], .cols = t->dim[1]};
    if (!pattern_of(b, SD_ROLE_POS)) return SD_OK;
    if ((st = take(b, SD_ROLE_POS, 0, &t, name))) return st;
    m->pos = (sd_wmat){.data = t->data, .dtype = t->dtype, .rows = t->dim[0], .cols = t->dim[1]};
    return SD_OK;
}

/* A head in the file of a tied model that is no copy of the embedding: transformers takes it, and says so. All of a copy is compared, which
 * reads both; a model that is opened without its last layers has no use for a head, and reads neither. */
static bool head_is_another(const sd_binder *b)
{
    char name[MAX_TENSOR_NAME];
    const sd_wmat *e = &b->m->embed;
    const sd_tensor *t = find(b, SD_ROLE_HEAD, 0, "weight", name);
    if (!t || !(b->keep_head || b->m->n_layer_loaded == b->m->cfg.n_layer)) return false;
    const bool same = t->dtype == e->dtype && t->rank == 2 && t->dim[0] == e->rows && t->dim[1] == e->cols &&
                      memcmp(t->data, e->data, (size_t)e->rows * sd_dtype_row_bytes(e->dtype, e->cols)) == 0;
    if (same) sd_log(SD_LOG_INFO, "%s: tensor %s is a copy of the embedding and left alone", b->m->path, name);
    else sd_log(SD_LOG_WARN, "%s: config.json ties the head to the embedding (tie_word_embeddings), but %s is another matrix: it is used", b->m->path, name);
    return !same;
}

static sd_status bind_head(const sd_binder *b)
{
    sd_model *m = b->m;
    char name[MAX_TENSOR_NAME];
    const sd_tensor *t = NULL;
    sd_wmat w = m->embed;
    sd_status st;
    if (is_gguf(b))
        m->cfg.tied = !find(b, SD_ROLE_HEAD, 0, "weight", name);
    else {
        m->cfg.tied = b->arch->def.tied;
        if ((st = sd_json_opt_bool(sd_weights_config(m->weights), "tie_word_embeddings", &m->cfg.tied, "config.json",
                                   b->err)))
            return st;
        m->cfg.tied = m->cfg.tied && !head_is_another(b);
    }
    if (!m->cfg.tied) {
        st = take(b, SD_ROLE_HEAD, 0, &t, name);
        if (st == SD_E_NOTFOUND) {
            sd_fail(b->err, st, "tensor %s is missing, but config.json does not tie the head to the embedding "
                    "(tie_word_embeddings)", name);
            return contradiction(b);
        }
        if (st) return st;
        w = (sd_wmat){.data = t->data, .dtype = t->dtype, .rows = t->dim[0], .cols = t->dim[1]};
    }
    m->head_w = w;
    sd_linear_pool none = {0}; /* no room: it is packed in every product */
    if (b->keep_head && !b->views && (st = sd_linear_new_within(&m->head, m->ex, &w, NULL, b->stream_head ? &none : &m->pool, m->mode, b->err)))
        return sd_err_wrap(b->err, "the output head");
    return SD_OK;
}

static bool is_leftover(const sd_arch *arch, sd_slice name)
{
    for (const char *const *p = arch->leftover; *p; p++)
        if (**p == '*' ? sd_slice_ends(name, *p + 1) : sd_slice_eq_str(name, *p)) return true;
    return false;
}

static sd_status check_leftovers(const sd_binder *b)
{
    const sd_tensor *t;
    while ((t = sd_weights_unasked(b->m->weights))) {
        char name[MAX_TENSOR_NAME];
        if (t->name.n >= sizeof name || !is_leftover(b->arch, t->name)) {
            int shown = t->name.n < 200 ? (int)t->name.n : 200;
            if (layer_of(t->name) >= b->m->cfg.n_layer) {
                sd_fail(b->err, SD_E_FORMAT, "there is a tensor %.*s, but %s is %d", shown, t->name.p,
                        is_gguf(b) ? "the metadata's block_count" : b->arch->keys.n_layer, b->m->cfg.n_layer);
                return contradiction(b);
            }
            sd_fail(b->err, SD_E_FORMAT, "tensor %.*s is not part of a %s model", shown, t->name.p, b->arch->name);
            return sd_hint(b->err, "the file is of another architecture or variant than it says");
        }
        memcpy(name, t->name.p, t->name.n);
        name[t->name.n] = '\0';
        sd_log(SD_LOG_INFO, "%s: tensor %s is not needed and left alone", b->m->path, name);
        sd_weights_find(b->m->weights, name); /* asked for */
    }
    return SD_OK;
}

sd_status sd_model__bind(sd_binder *b)
{
    sd_model *m = b->m;
    sd_status st = bind_embedding(b);
    if (!st) st = make_perms(b);
    if (!st)
        st = sd_alloc_zero(&m->block, (size_t)m->cfg.n_layer * sizeof *m->block, "the table of layers", b->err);
    for (int l = 0; !st && l < m->cfg.n_layer; l++) st = bind_block(b, l, l < m->n_layer_loaded);
    if (!st) st = bind_norm(b, SD_ROLE_FINAL_NORM, 0, true, &m->final_norm);
    if (!st) st = bind_head(b);
    return st ? st : check_leftovers(b);
}
