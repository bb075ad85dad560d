/* Random weights of a configuration, tensor by tensor in Hugging Face's names and shapes. */
#include "model/model_init.h"

#include "base/rng.h"
#include "model/arch.h"

#include <math.h>
#include <stdio.h>

typedef struct plan {
    const sd_blueprint *bp;
    const json_t *config;
    int64_t n_vocab;
    sd_st_tensor *t; /* NULL: only counted */
    char (*name)[160];
    float *scale; /* [n] of the normal; 0: ones (or zeros, see fill) */
    float *fill;
    int64_t n;
} plan;

typedef struct shape {
    int64_t rows, cols; /* cols 0: a vector */
} shape;

/* scale 0: filled with `fill`. */
static void add(plan *p, sd_role role, int layer, bool bias, shape s, float scale, float fill)
{
    const char *pattern = p->bp->arch->tensor[role].hf, *hole = strstr(pattern, "%d"), *kind = bias ? "bias" : "weight";
    if (p->t) {
        char *name = p->name[p->n];
        if (hole)
            snprintf(name, sizeof *p->name, "%.*s%d%s.%s", (int)(hole - pattern), pattern, layer, hole + 2, kind);
        else
            snprintf(name, sizeof *p->name, "%s.%s", pattern, kind);
        p->t[p->n] = (sd_st_tensor){.name = name, .dtype = SD_F32, .rank = s.cols ? 2 : 1, .dim = {s.rows, s.cols}};
        p->scale[p->n] = scale;
        p->fill[p->n] = fill;
    }
    p->n++;
}

static bool has_bias(const plan *p, sd_role role)
{
    const sd_arch *a = p->bp->arch;
    const bool attn =
        role == SD_ROLE_Q || role == SD_ROLE_K || role == SD_ROLE_V || role == SD_ROLE_O || role == SD_ROLE_QKV;
    const char *key = role < SD_ROLE_Q ? NULL : attn ? a->keys.attn_bias : a->keys.mlp_bias;
    const json_t *v = key ? json_object_get(p->config, key) : NULL;
    if (v && a->tensor[role].bias != SD_BIAS_NONE) return json_is_true(v);
    return a->tensor[role].bias == SD_BIAS_ALWAYS;
}

static void add_matrix(plan *p, sd_role role, int layer, int64_t rows, int64_t cols, float scale)
{
    if (!p->bp->arch->tensor[role].hf) return;
    const bool turn = p->bp->arch->hf_transposed && role >= SD_ROLE_Q;
    add(p, role, layer, false, turn ? (shape){cols, rows} : (shape){rows, cols}, scale, 0);
    if (has_bias(p, role)) add(p, role, layer, true, (shape){rows, 0}, 0, 0);
}

static void add_norm(plan *p, sd_role role, int layer, int64_t n)
{
    if (!p->bp->arch->tensor[role].hf) return;
    add(p, role, layer, false, (shape){n, 0}, 0, p->bp->wire.norm_plus_one ? 0.0f : 1.0f);
    if (has_bias(p, role)) add(p, role, layer, true, (shape){n, 0}, 0, 0);
}

static void walk(plan *p, float scale, float embed)
{
    const sd_config *c = &p->bp->cfg;
    const int64_t q = (int64_t)c->n_head * c->d_head, kv = (int64_t)c->n_head_kv * c->d_head, d = c->d_model,
                  ffn = c->d_ffn;
    const bool row = p->bp->wire.qk_norm == SD_QK_NORM_ROW;
    const float narrow = scale / sqrtf(2.0f * (float)c->n_layer);
    p->n = 0;
    add_matrix(p, SD_ROLE_EMBED, 0, p->n_vocab, d, embed);
    add_matrix(p, SD_ROLE_POS, 0, c->n_ctx, d, scale);
    for (int l = 0; l < c->n_layer; l++) {
        add_norm(p, SD_ROLE_ATTN_NORM, l, d);
        add_matrix(p, SD_ROLE_Q, l, q, d, scale);
        add_matrix(p, SD_ROLE_K, l, kv, d, scale);
        add_matrix(p, SD_ROLE_V, l, kv, d, scale);
        add_matrix(p, SD_ROLE_QKV, l, q + 2 * kv, d, scale);
        add_norm(p, SD_ROLE_Q_NORM, l, row ? q : c->d_head);
        add_norm(p, SD_ROLE_K_NORM, l, row ? kv : c->d_head);
        add_matrix(p, SD_ROLE_O, l, d, q, narrow);
        add_norm(p, SD_ROLE_ATTN_POST, l, d);
        add_norm(p, SD_ROLE_MLP_NORM, l, d);
        add_matrix(p, SD_ROLE_GATE, l, ffn, d, scale);
        add_matrix(p, SD_ROLE_UP, l, ffn, d, scale);
        add_matrix(p, SD_ROLE_GATE_UP, l, 2 * ffn, d, scale);
        add_matrix(p, SD_ROLE_DOWN, l, d, ffn, narrow);
        add_norm(p, SD_ROLE_MLP_POST, l, d);
    }
    add_norm(p, SD_ROLE_FINAL_NORM, 0, d);
    const json_t *tied = json_object_get(p->config, "tie_word_embeddings");
    if (tied ? !json_is_true(tied) : !p->bp->arch->def.tied) add_matrix(p, SD_ROLE_HEAD, 0, p->n_vocab, d, scale);
}

static sd_status write_all(const plan *p, const char *path, uint64_t seed, sd_err *err)
{
    enum { PIECE = 1 << 16 };
    sd_st_writer *w = NULL;
    float *x = NULL;
    sd_status st = sd_alloc(&x, PIECE * sizeof *x, "random weights", err);
    if (!st) st = sd_safetensors_begin(&w, path, p->t, p->n, (const char *const[]){"format", "pt", NULL}, err);
    for (int64_t i = 0; !st && i < p->n; i++) {
        const int64_t n = p->t[i].dim[0] * (p->t[i].rank == 2 ? p->t[i].dim[1] : 1);
        sd_rng r = sd_rng_make(seed, "init", (uint64_t)i);
        for (int64_t at = 0; !st && at < n; at += PIECE) {
            const int64_t m = n - at < PIECE ? n - at : PIECE;
            for (int64_t k = 0; k < m; k++) x[k] = p->scale[i] > 0 ? p->scale[i] * sd_rng_normal(&r) : p->fill[i];
            st = sd_safetensors_append(w, x, (size_t)m * sizeof *x, err);
        }
    }
    if (!st) {
        st = sd_safetensors_end(w, err);
        w = NULL;
    }
    sd_safetensors_abort(w);
    sd_free(x);
    return st;
}

sd_status sd_model_init_random(const char *dir, const char *path, uint64_t seed, sd_err *err)
{
    sd_weights *w = NULL;
    sd_blueprint *bp = NULL;
    plan p = {0};
    double scale = 0.02, embed = 0;
    sd_status st = sd_weights_open_opt(&w, dir, &(sd_weights_opt){.meta_only = true}, err);
    if (!st && !sd_weights_config(w))
        st = sd_fail(err, SD_E_ARG, "%s: random weights need a folder with a config.json", dir);
    if (!st) st = sd_alloc(&bp, sizeof *bp, "a configuration", err);
    if (!st) st = sd_config__read(bp, w, err);
    if (!st) {
        p.bp = bp;
        p.config = sd_weights_config(w);
        st = sd_json_get_i64(p.config, "vocab_size", &p.n_vocab, "config.json", err);
    }
    if (!st) st = sd_json_opt_f64(p.config, "initializer_range", &scale, "config.json", err);
    if (!st) st = sd_json_opt_f64(p.config, "embedding_initializer_range", &embed, "config.json", err);
    if (embed == 0) embed = scale;
    if (!st && (p.n_vocab < 1 || !(scale > 0) || !(embed > 0)))
        st = sd_fail(err, SD_E_FORMAT, "%s: config.json: vocab_size is %lld, initializer_range %g", dir,
                     (long long)p.n_vocab, scale);
    if (st) goto done;
    walk(&p, (float)scale, (float)embed);
    if ((st = sd_alloc_zero(&p.t, (size_t)p.n * sizeof *p.t, "the list of tensors", err))) goto done;
    if ((st = sd_alloc(&p.name, (size_t)p.n * sizeof *p.name, "the list of tensors", err))) goto done;
    if ((st = sd_alloc(&p.scale, (size_t)p.n * sizeof *p.scale, "the list of tensors", err))) goto done;
    if ((st = sd_alloc(&p.fill, (size_t)p.n * sizeof *p.fill, "the list of tensors", err))) goto done;
    walk(&p, (float)scale, (float)embed);
    st = write_all(&p, path, seed, err);
done:
    sd_free(p.t);
    sd_free(p.name);
    sd_free(p.scale);
    sd_free(p.fill);
    sd_free(bp);
    sd_weights_close(w);
    return st;
}
