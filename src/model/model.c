/* Opening a model: blueprint, binding, packing, tokenizer; closing; and what it says about itself. */
#include "model/model.h"

#include "model/adapt.h"
#include "model/arch.h"
#include "model/lora.h"
#include "model/tokspec.h"

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
    m->kv = opt->kv ? opt->kv : m->mode == SD_MODE_FAST ? SD_KV_F16 : m->mode == SD_MODE_BF16 && sd_kv_can(m->ex, SD_KV_BF16) ? SD_KV_BF16 : SD_KV_F32;
    m->pool.left = opt->memory_bytes ? opt->memory_bytes : sd_model_default_memory();
    return SD_OK;
}

/* adapter: a folder, or empty; lora: one in memory on top of it, or NULL. */
static sd_status read_and_bind(sd_model *m, const char *adapter, const sd_lora *lora, const sd_model_opt *opt, sd_err *err)
{
    sd_blueprint *bp = NULL;
    sd_status st = sd_alloc(&bp, sizeof *bp, "a configuration", err);
    if (!st) st = sd_config__read(bp, m->weights, err);
    if (!st) {
        m->cfg = bp->cfg, m->wire = bp->wire, m->arch = bp->arch;
        memcpy(m->rope, bp->rope, sizeof m->rope);
        st = check_opt(m, opt, err);
    }
    if (!st) {
        bool all = m->n_layer_loaded == m->cfg.n_layer;
        st = sd_model__bind(&(sd_binder){.m = m,
                                         .arch = bp->arch,
                                         .windowed = bp->windowed,
                                         .views = opt->views || *adapter || lora,
                                         .keep_head = opt->keep_head || (!opt->no_head && all),
                                         .stream_head = opt->keep_head,
                                         .err = err});
    }
    const bool head = opt->keep_head || (!opt->no_head && m->n_layer_loaded == m->cfg.n_layer);
    if (!st && *adapter) st = sd_model__adapt(m, adapter, opt->views || lora, head, err);
    if (!st && lora) st = sd_model__join(m, lora, opt->views, head, err);
    sd_free(bp);
    return st;
}

/* A quarter is left for caches, scratch and the map's pages. */
size_t sd_model_default_memory(void)
{
    const uint64_t free_bytes = sd_mem_query().available;
    return free_bytes ? (size_t)(free_bytes / 4 * 3) : SIZE_MAX;
}

sd_status sd_model_open(sd_model **out, const sd_exec *ex, const char *path, const sd_model_opt *opt, sd_err *err)
{
    return sd_model_open_with(out, ex, path, opt, NULL, err);
}

/* random: a seed, NULL for the weights as they are. */
static sd_status open_as(sd_model **out, const sd_exec *ex, const char *path, const sd_model_opt *opt, const sd_lora *lora, const uint64_t *random, sd_err *err)
{
    static const sd_model_opt none;
    sd_model *m = NULL;
    sd_model_spec spec;
    sd_chat_found found;
    *out = NULL;
    if (!opt) opt = &none;
    sd_status st = sd_alloc_zero(&m, sizeof *m, "a model", err);
    if (st) return st;
    m->ex = ex;
    if ((st = sd_model_spec_parse(&spec, path, err))) goto done;
    memcpy(m->path, spec.model, sizeof m->path);
    path = m->path;
    if (random && spec.adapter[0]) {
        st = sd_fail(err, SD_E_ARG, "%s: an adapter of a model says nothing about one with random weights", path);
        goto done;
    }
    if ((st = sd_weights_open(&m->weights, path, err))) goto done;
    if (random && (st = sd_weights_randomise(m->weights, *random, ex->n_threads, err))) goto done;
    if ((st = read_and_bind(m, spec.adapter, lora, opt, err))) {
        /* Readers of the container name the file themselves. */
        if (err && strncmp(err->msg, path, strlen(path)) != 0) sd_err_wrap(err, "%s", path);
        goto done;
    }
    st = sd_model__tokenizer(&m->tok, &found, m->weights, err);
    m->chat = found.chat;
    memcpy(m->no_chat, found.why, sizeof m->no_chat);
    if (st) goto done;
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

sd_status sd_model_open_with(sd_model **out, const sd_exec *ex, const char *path, const sd_model_opt *opt, const sd_lora *lora, sd_err *err)
{
    return open_as(out, ex, path, opt, lora, NULL, err);
}

sd_status sd_model_open_random(sd_model **out, const sd_exec *ex, const char *path, const sd_model_opt *opt, uint64_t seed, sd_err *err)
{
    return open_as(out, ex, path, opt, NULL, &seed, err);
}

static void free_norm(sd_norm *n)
{
    sd_free(n->g);
    sd_free(n->b);
}

void sd_model_close(sd_model *m)
{
    if (!m) return;
    for (int l = 0; m->block && l < m->cfg.n_layer; l++) {
        sd_block *b = &m->block[l];
        sd_norm *const norms[] = {&b->attn_norm, &b->attn_post, &b->mlp_norm, &b->mlp_post, &b->q_norm, &b->k_norm};
        for (size_t i = 0; i < sizeof norms / sizeof *norms; i++) free_norm(norms[i]);
        for (int i = 0; i < SD_MAT_COUNT; i++) {
            sd_linear_free(b->mat[i].l);
            sd_free(b->mat[i].bias);
            sd_free(b->mat[i].own);
        }
    }
    sd_free(m->block);
    sd_linear_free(m->head);
    sd_linear_pool_release(&m->pool);
    free_norm(&m->final_norm);
    for (int i = 0; i <= SD_MAT_V; i++) sd_free(m->perm[i]);
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
        [SD_SITE_MLP_IN] = c->d_model,
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
    if (s.kind == SD_SITE_MLP_UP && !c->gated)
        return sd_fail(err, SD_E_ARG, "%s: the MLP of %s has no gate, so no linear half beside it",
                       sd_site_print((char[48]){0}, 48, s), c->arch);
    if (s.kind == SD_SITE_RESID_MID && c->parallel) {
        sd_fail(err, SD_E_ARG, "%s: attention and MLP of %s read the same stream, there is nothing between them",
                sd_site_print((char[48]){0}, 48, s), c->arch);
        return sd_hint(err, "take resid_pre.%d or resid_post.%d", s.layer, s.layer);
    }
    *cols = table[s.kind];
    return SD_OK;
}

/* Sums f over every packed matrix. */
static size_t sum_linears(const sd_model *m, size_t (*f)(const sd_linear *))
{
    size_t sum = m->head ? f(m->head) : 0;
    for (int l = 0; l < m->n_layer_loaded; l++)
        for (int i = 0; i < SD_MAT_COUNT; i++) sum += m->block[l].mat[i].l ? f(m->block[l].mat[i].l) : 0;
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
