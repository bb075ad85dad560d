/* Opening a model: blueprint, strict binding of every tensor, packing, tokenizer. Every tensor of the file is either
 * bound with the shape that the blueprint gives it, or on its architecture's list of tensors that nothing needs, or an
 * error. */
#include "model/model.h"

#include "base/log.h"
#include "model/arch.h"
#include "model/tokspec.h"

#include <stdio.h>

enum { MAX_TENSOR_NAME = 256 };

typedef struct binder {
    sd_model *m;
    const sd_arch *arch;
    const sd_model_opt *opt;
    sd_err *err;
} binder;

/* The shape of a tensor [rows, cols] by its role; cols 0: a vector. */
static void shape_of(const sd_config *c, sd_role role, int64_t *rows, int64_t *cols)
{
    int64_t q = (int64_t)c->n_head * c->d_head, kv = (int64_t)c->n_head_kv * c->d_head, d = c->d_model;
    const int64_t shape[SD_ROLE_COUNT][2] = {
        [SD_ROLE_EMBED] = {c->n_vocab, d},
        [SD_ROLE_FINAL_NORM] = {d, 0},
        [SD_ROLE_HEAD] = {c->n_vocab, d},
        [SD_ROLE_ATTN_NORM] = {d, 0},
        [SD_ROLE_MLP_NORM] = {d, 0},
        [SD_ROLE_Q] = {q, d},
        [SD_ROLE_K] = {kv, d},
        [SD_ROLE_V] = {kv, d},
        [SD_ROLE_O] = {d, q},
        [SD_ROLE_GATE] = {c->d_ffn, d},
        [SD_ROLE_UP] = {c->d_ffn, d},
        [SD_ROLE_DOWN] = {d, c->d_ffn},
    };
    *rows = shape[role][0];
    *cols = shape[role][1];
}

static void print_shape(char out[96], int rank, const int64_t *dim)
{
    int n = snprintf(out, 96, "[");
    for (int i = 0; i < rank && n < 80; i++)
        n += snprintf(out + n, 96 - (size_t)n, "%s%lld", i ? ", " : "", (long long)dim[i]);
    snprintf(out + n, 96 - (size_t)n, "]");
}

static const sd_tensor *find(const binder *b, sd_role role, int layer, const char *kind, char name[MAX_TENSOR_NAME])
{
    const sd_arch_tensor *t = &b->arch->tensor[role];
    const char *pattern = sd_weights_container(b->m->weights) == SD_CONTAINER_GGUF ? t->gguf : t->hf,
               *hole = strstr(pattern, "%d");
    if (hole)
        snprintf(name, MAX_TENSOR_NAME, "%.*s%d%s.%s", (int)(hole - pattern), pattern, layer, hole + 2, kind);
    else
        snprintf(name, MAX_TENSOR_NAME, "%s.%s", pattern, kind);
    return sd_weights_find(b->m->weights, name);
}

/* A tensor of this shape (cols 0: a vector) whose elements can be decoded. */
static sd_status check_tensor(const sd_tensor *t, const char *name, int64_t rows, int64_t cols, sd_err *err)
{
    const int64_t want[2] = {rows, cols};
    int rank = cols ? 2 : 1;
    if (t->rank != rank || t->dim[0] != rows || (cols && t->dim[1] != cols)) {
        char a[96], b[96];
        print_shape(a, rank, want), print_shape(b, t->rank, t->dim);
        return sd_fail(err, SD_E_SHAPE, "%s: expected %s, file has %s", name, a, b);
    }
    const sd_dtype_info *info = sd_dtype_get(t->dtype);
    if (!info->decode)
        return sd_fail(err, SD_E_UNSUPPORTED, "%s: elements of type %s are no weights", name, t->type_name);
    if (t->dim[rank - 1] % info->block != 0)
        return sd_fail(err, SD_E_FORMAT, "%s: rows of %lld elements are no whole number of %s blocks", name,
                       (long long)t->dim[rank - 1], t->type_name);
    return SD_OK;
}

static sd_status take(const binder *b, sd_role role, int layer, const sd_tensor **out, char name[MAX_TENSOR_NAME])
{
    int64_t rows, cols;
    shape_of(&b->m->cfg, role, &rows, &cols);
    *out = find(b, role, layer, "weight", name);
    if (!*out) return sd_fail(b->err, SD_E_NOTFOUND, "tensor %s is missing", name);
    return check_tensor(*out, name, rows, cols, b->err);
}

static sd_status decode_vector(float **out, const sd_tensor *t, const int32_t *perm, sd_err *err)
{
    int64_t n = t->dim[0];
    float *plain = NULL;
    sd_status st = sd_alloc(out, (size_t)n * sizeof(float), "a norm's or bias' weights", err);
    if (st) return st;
    if (!perm) {
        sd_dtype_get(t->dtype)->decode(*out, t->data, n);
        return SD_OK;
    }
    if ((st = sd_alloc(&plain, (size_t)n * sizeof(float), "a bias", err))) goto fail;
    sd_dtype_get(t->dtype)->decode(plain, t->data, n);
    for (int64_t i = 0; i < n; i++) (*out)[i] = plain[perm[i]];
    sd_free(plain);
    return SD_OK;
fail:
    sd_free(*out);
    *out = NULL;
    return st;
}

/* keep: false only checks (blocks that an early exit never reaches). */
static sd_status bind_vector(const binder *b, sd_role role, int layer, bool keep, float **out)
{
    char name[MAX_TENSOR_NAME];
    const sd_tensor *t;
    sd_status st = take(b, role, layer, &t, name);
    return st || !keep ? st : decode_vector(out, t, NULL, b->err);
}

static sd_status bind_matrix(const binder *b, sd_role role, int layer, bool keep, sd_linear **out)
{
    char name[MAX_TENSOR_NAME];
    const sd_tensor *t, *bias = NULL;
    float *bias_v = NULL;
    const int32_t *perm = role == SD_ROLE_Q ? b->m->perm_q : role == SD_ROLE_K ? b->m->perm_k : NULL;
    sd_status st = take(b, role, layer, &t, name);
    if (st) return st;
    sd_wmat w = {.data = t->data, .dtype = t->dtype, .rows = t->dim[0], .cols = t->dim[1], .perm = perm};
    if (b->arch->tensor[role].bias && (bias = find(b, role, layer, "bias", name))) {
        if ((st = check_tensor(bias, name, w.rows, 0, b->err))) return st;
        if (keep && (st = decode_vector(&bias_v, bias, perm, b->err))) return st;
    }
    if (keep && (st = sd_linear_new(out, b->m->ex, &w, bias_v, b->m->mode, b->err)))
        sd_err_wrap(b->err, "%.*s", SD_SLICE(t->name));
    sd_free(bias_v);
    return st;
}

static sd_status bind_block(const binder *b, int l, bool keep)
{
    sd_block *k = &b->m->block[l];
    sd_status st;
    if ((st = bind_vector(b, SD_ROLE_ATTN_NORM, l, keep, &k->attn_norm))) return st;
    if ((st = bind_vector(b, SD_ROLE_MLP_NORM, l, keep, &k->mlp_norm))) return st;
    if ((st = bind_matrix(b, SD_ROLE_Q, l, keep, &k->wq))) return st;
    if ((st = bind_matrix(b, SD_ROLE_K, l, keep, &k->wk))) return st;
    if ((st = bind_matrix(b, SD_ROLE_V, l, keep, &k->wv))) return st;
    if ((st = bind_matrix(b, SD_ROLE_O, l, keep, &k->wo))) return st;
    if ((st = bind_matrix(b, SD_ROLE_GATE, l, keep, &k->w_gate))) return st;
    if ((st = bind_matrix(b, SD_ROLE_UP, l, keep, &k->w_up))) return st;
    return bind_matrix(b, SD_ROLE_DOWN, l, keep, &k->w_down);
}

/* llama.cpp's converter (LlamaModel.permute) turns each head's rows [2, d/2] into [d/2, 2]: our row t*d/2 + j is stored
 * row 2j + t. */
static sd_status make_perm(int32_t **out, int n_head, int d_head, sd_err *err)
{
    sd_status st = sd_alloc(out, (size_t)n_head * (size_t)d_head * sizeof(int32_t), "the order of rows", err);
    for (int i = 0; !st && i < n_head * d_head; i++) {
        int in_head = i % d_head, half = d_head / 2;
        (*out)[i] = i - in_head + 2 * (in_head % half) + in_head / half;
    }
    return st;
}

/* The vocabulary is the embedding's rows; what the metadata says of it must agree. */
static sd_status bind_embedding(const binder *b)
{
    sd_model *m = b->m;
    char name[MAX_TENSOR_NAME];
    const sd_tensor *t = find(b, SD_ROLE_EMBED, 0, "weight", name);
    sd_status st;
    if (!t) return sd_fail(b->err, SD_E_NOTFOUND, "tensor %s is missing", name);
    if (t->rank != 2 || t->dim[0] < 1 || t->dim[0] > INT32_MAX)
        return sd_fail(b->err, SD_E_SHAPE, "%s: expected a matrix with a row a token", name);
    m->cfg.n_vocab = t->dim[0];
    if ((st = take(b, SD_ROLE_EMBED, 0, &t, name))) return st;
    int64_t said = m->cfg.n_vocab;
    const char *where = "config.json: vocab_size";
    if (sd_weights_container(m->weights) == SD_CONTAINER_GGUF) {
        char key[96];
        uint64_t v;
        snprintf(key, sizeof key, "%s.vocab_size", b->arch->name);
        where = "the metadata's vocab_size";
        if (sd_weights_has_kv(m->weights, key)) {
            if ((st = sd_weights_kv_u64(m->weights, key, &v, b->err))) return st;
            said = v > INT64_MAX ? INT64_MAX : (int64_t)v;
        }
    } else if ((st = sd_json_opt_i64(sd_weights_config(m->weights), "vocab_size", &said, "config.json", b->err)))
        return st;
    if (said != m->cfg.n_vocab)
        return sd_fail(b->err, SD_E_SHAPE, "%s is %lld, but %s has %lld rows", where, (long long)said, name,
                       (long long)m->cfg.n_vocab);
    m->embed = (sd_wmat){.data = t->data, .dtype = t->dtype, .rows = t->dim[0], .cols = t->dim[1]};
    return SD_OK;
}

static sd_status bind_head(const binder *b)
{
    sd_model *m = b->m;
    char name[MAX_TENSOR_NAME];
    sd_status st;
    bool keep = b->opt->keep_head || (!b->opt->no_head && m->n_layer_loaded == m->cfg.n_layer);
    if (sd_weights_container(m->weights) == SD_CONTAINER_GGUF)
        m->cfg.tied = !find(b, SD_ROLE_HEAD, 0, "weight", name);
    else {
        m->cfg.tied = b->arch->tied_by_default;
        if ((st = sd_json_opt_bool(sd_weights_config(m->weights), "tie_word_embeddings", &m->cfg.tied, "config.json",
                                   b->err)))
            return st;
    }
    if (!m->cfg.tied) return bind_matrix(b, SD_ROLE_HEAD, 0, keep, &m->head);
    if (keep && (st = sd_linear_new(&m->head, m->ex, &m->embed, NULL, m->mode, b->err)))
        return sd_err_wrap(b->err, "the output head");
    return SD_OK;
}

/* rope_freqs of ones change nothing; any other value is scaled rotary embedding (llama 3.1 and later). */
static sd_status check_rope_freqs(const sd_tensor *t, sd_err *err)
{
    if (t->dtype != SD_F32)
        return sd_fail(err, SD_E_FORMAT, "rope_freqs.weight: expected F32, file has %s", t->type_name);
    for (size_t i = 0; i < t->bytes / sizeof(float); i++) {
        float f;
        memcpy(&f, (const uint8_t *)t->data + i * sizeof f, sizeof f);
        if (f != 1.0f)
            return sd_fail(err, SD_E_UNSUPPORTED,
                           "rope_freqs.weight: factor %zu is %g: scaled rotary embedding is not supported", i,
                           (double)f);
    }
    return SD_OK;
}

static bool is_leftover(const sd_arch *arch, sd_slice name)
{
    for (const char *const *p = arch->leftover; *p; p++)
        if (**p == '*' ? sd_slice_ends(name, *p + 1) : sd_slice_eq_str(name, *p)) return true;
    return false;
}

static sd_status check_leftovers(const binder *b)
{
    const sd_tensor *t;
    while ((t = sd_weights_unasked(b->m->weights))) {
        char name[MAX_TENSOR_NAME];
        if (t->name.n >= sizeof name || !is_leftover(b->arch, t->name)) {
            int shown = t->name.n < 200 ? (int)t->name.n : 200;
            sd_fail(b->err, SD_E_FORMAT, "tensor %.*s is not part of a %s model", shown, t->name.p, b->arch->name);
            return sd_hint(b->err, "the file is of another architecture or variant than it says");
        }
        memcpy(name, t->name.p, t->name.n);
        name[t->name.n] = '\0';
        if (strcmp(name, "rope_freqs.weight") == 0) {
            sd_status st = check_rope_freqs(t, b->err);
            if (st) return st;
        }
        sd_log(SD_LOG_INFO, "%s: tensor %s is not needed and left alone", b->m->path, name);
        sd_weights_find(b->m->weights, name); /* asked for */
    }
    return SD_OK;
}

static sd_status bind(const binder *b)
{
    sd_model *m = b->m;
    sd_config *c = &m->cfg;
    sd_status st = bind_embedding(b);
    if (st) return st;
    if (sd_weights_container(m->weights) == SD_CONTAINER_GGUF && b->arch->gguf_permutes_qk) {
        if (c->n_rot != c->d_head)
            return sd_fail(b->err, SD_E_UNSUPPORTED, "a rotary part of %d of %d columns a head is not supported",
                           c->n_rot, c->d_head);
        if ((st = make_perm(&m->perm_q, c->n_head, c->d_head, b->err))) return st;
        if ((st = make_perm(&m->perm_k, c->n_head_kv, c->d_head, b->err))) return st;
    }
    if ((st = sd_alloc_zero(&m->block, (size_t)c->n_layer * sizeof *m->block, "the table of layers", b->err)))
        return st;
    for (int l = 0; l < c->n_layer; l++)
        if ((st = bind_block(b, l, l < m->n_layer_loaded))) return st;
    if ((st = bind_vector(b, SD_ROLE_FINAL_NORM, 0, true, &m->final_norm))) return st;
    if ((st = bind_head(b))) return st;
    return check_leftovers(b);
}

static sd_status check_opt(sd_model *m, const sd_model_opt *opt, sd_err *err)
{
    if (opt->max_layer < 0 || opt->max_layer > m->cfg.n_layer)
        return sd_fail(err, SD_E_ARG, "%d layers of a model with %d", opt->max_layer, m->cfg.n_layer);
    if (opt->n_ctx < 0 || opt->n_ctx > m->cfg.n_ctx)
        return sd_fail(err, SD_E_ARG, "a context of %lld positions, the model's limit is %lld", (long long)opt->n_ctx,
                       (long long)m->cfg.n_ctx);
    m->n_layer_loaded = opt->max_layer ? opt->max_layer : m->cfg.n_layer;
    m->max_ctx = opt->n_ctx ? opt->n_ctx : m->cfg.n_ctx;
    m->mode = opt->mode ? opt->mode : SD_MODE_FAITHFUL;
    return SD_OK;
}

sd_status sd_model_open(sd_model **out, const sd_exec *ex, const char *path, const sd_model_opt *opt, sd_err *err)
{
    static const sd_model_opt none;
    sd_model *m = NULL;
    const sd_arch *arch;
    *out = NULL;
    if (!opt) opt = &none;
    sd_status st = sd_alloc_zero(&m, sizeof *m, "a model", err);
    if (st) return st;
    m->ex = ex;
    if (strlen(path) >= sizeof m->path) {
        st = sd_fail(err, SD_E_ARG, "a path of %zu bytes is longer than the limit of %zu", strlen(path),
                     sizeof m->path - 1);
        goto done;
    }
    memcpy(m->path, path, strlen(path) + 1);
    if ((st = sd_weights_open(&m->weights, path, err))) goto done;
    st = sd_config__read(&m->cfg, &arch, m->weights, err);
    if (!st) st = check_opt(m, opt, err);
    if (!st) st = bind(&(binder){m, arch, opt, err});
    if (!st) st = sd_rope_init(&m->rope, m->cfg.n_rot, m->cfg.rope_theta, err);
    if (st) {
        /* Readers of the container name the file themselves. */
        if (err && strncmp(err->msg, path, strlen(path)) != 0) sd_err_wrap(err, "%s", path);
        goto done;
    }
    if ((st = sd_model__tokenizer(&m->tok, &m->chat, m->weights, err))) goto done;
    if (sd_tok_n_vocab(m->tok) > m->cfg.n_vocab) {
        st = sd_fail(err, SD_E_FORMAT, "%s: the tokenizer has %d pieces, the model %lld", path,
                     (int)sd_tok_n_vocab(m->tok), (long long)m->cfg.n_vocab);
        goto done;
    }
    *out = m;
    m = NULL;
done:
    sd_model_close(m);
    return st;
}

void sd_model_close(sd_model *m)
{
    if (!m) return;
    for (int l = 0; m->block && l < m->cfg.n_layer; l++) {
        sd_block *b = &m->block[l];
        sd_linear *const all[] = {b->wq, b->wk, b->wv, b->wo, b->w_gate, b->w_up, b->w_down};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) sd_linear_free(all[i]);
        sd_free(b->attn_norm);
        sd_free(b->mlp_norm);
    }
    sd_free(m->block);
    sd_linear_free(m->head);
    sd_free(m->final_norm);
    sd_free(m->perm_q);
    sd_free(m->perm_k);
    sd_rope_release(&m->rope);
    sd_tok_free(m->tok);
    sd_chat_free(m->chat);
    sd_weights_close(m->weights);
    sd_free(m);
}

const sd_config *sd_model_get_config(const sd_model *m)
{
    return &m->cfg;
}

sd_mode sd_model_get_mode(const sd_model *m)
{
    return m->mode;
}

sd_status sd_model_site_cols(const sd_model *m, sd_site s, int64_t *cols, sd_err *err)
{
    const sd_config *c = &m->cfg;
    int64_t q = (int64_t)c->n_head * c->d_head, kv = (int64_t)c->n_head_kv * c->d_head;
    const int64_t table[SD_SITE_KIND_COUNT] = {
        [SD_SITE_EMBED] = c->d_model,
        [SD_SITE_RESID_PRE] = c->d_model,
        [SD_SITE_ATTN_Q] = q,
        [SD_SITE_ATTN_K] = kv,
        [SD_SITE_ATTN_V] = kv,
        [SD_SITE_ROT_Q] = q,
        [SD_SITE_ROT_K] = kv,
        [SD_SITE_ATTN_PATTERN] = 0,
        [SD_SITE_ATTN_Z] = q,
        [SD_SITE_ATTN_OUT] = c->d_model,
        [SD_SITE_RESID_MID] = c->d_model,
        [SD_SITE_MLP_PRE] = c->d_ffn,
        [SD_SITE_MLP_UP] = c->d_ffn,
        [SD_SITE_MLP_POST] = c->d_ffn,
        [SD_SITE_MLP_OUT] = c->d_model,
        [SD_SITE_RESID_POST] = c->d_model,
        [SD_SITE_FINAL_NORM] = c->d_model,
        [SD_SITE_LOGITS] = c->n_vocab,
    };
    if (sd_site_is_layered(s.kind) && (s.layer < 0 || s.layer >= c->n_layer)) {
        sd_fail(err, SD_E_ARG, "%s: layer %d of a model with %d", sd_site_print((char[48]){0}, 48, s), s.layer,
                c->n_layer);
        return sd_hint(err, "layers count from 0 to %d", c->n_layer - 1);
    }
    *cols = table[s.kind];
    return SD_OK;
}

/* Sums f over every packed matrix. */
static size_t sum_linears(const sd_model *m, size_t (*f)(const sd_linear *))
{
    size_t sum = m->head ? f(m->head) : 0;
    for (int l = 0; l < m->n_layer_loaded; l++) {
        const sd_block *b = &m->block[l];
        sum += f(b->wq) + f(b->wk) + f(b->wv) + f(b->wo) + f(b->w_gate) + f(b->w_up) + f(b->w_down);
    }
    return sum;
}

size_t sd_model_packed_bytes(const sd_model *m)
{
    return sum_linears(m, sd_linear_bytes);
}

size_t sd_model_read_bytes(const sd_model *m)
{
    size_t norms = (size_t)(2 * m->n_layer_loaded + 1) * (size_t)m->cfg.d_model * sizeof(float);
    return sum_linears(m, sd_linear_read_bytes) + norms + sd_dtype_row_bytes(m->embed.dtype, m->embed.cols);
}
