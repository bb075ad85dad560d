/* Configurations in a GGUF's metadata: keys NAME.* as llama.cpp's converter writes them (gguf-py constants.py), and what
 * llama.cpp itself knows by heart of an architecture (llama-model.cpp, load_hparams). */
#include "model/config_int.h"

#include <stdio.h>

typedef struct kv_reader {
    const sd_weights *w;
    const sd_arch *arch;
    sd_err *err;
} kv_reader;

static const char *kv_key(char out[96], const kv_reader *r, const char *key)
{
    snprintf(out, 96, "%s.%s", r->arch->gguf, key);
    return out;
}

static bool kv_has(const kv_reader *r, const char *key)
{
    return sd_weights_has_kv(r->w, kv_key((char[96]){0}, r, key));
}

static sd_status kv_int(const kv_reader *r, const char *key, int64_t *out)
{
    uint64_t v;
    sd_status st = sd_weights_kv_u64(r->w, kv_key((char[96]){0}, r, key), &v, r->err);
    if (!st) *out = v > INT64_MAX ? INT64_MAX : (int64_t)v; /* the range check refuses it */
    return st;
}

static sd_status kv_float(const kv_reader *r, const char *key, double *out)
{
    return sd_weights_kv_f64(r->w, kv_key((char[96]){0}, r, key), out, r->err);
}

/* The forms with opt leave *out alone when the key is absent. */
static sd_status opt_int(const kv_reader *r, const char *key, int64_t *out)
{
    return kv_has(r, key) ? kv_int(r, key, out) : SD_OK;
}

static sd_status opt_float(const kv_reader *r, const char *key, double *out)
{
    return kv_has(r, key) ? kv_float(r, key, out) : SD_OK;
}

static sd_status refuse(const kv_reader *r)
{
    static const char *const counts[] = {"expert_count", "attention.alibi_bias_max", "attention.clamp_kqv"};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        double v = 0;
        int64_t n = 0;
        bool count = i == 0;
        sd_status st = count ? opt_int(r, counts[i], &n) : opt_float(r, counts[i], &v);
        if (st) return st;
        if (n > 0 || v > 0)
            return sd_fail(r->err, SD_E_UNSUPPORTED, "%s.%s is %g, which is not supported", r->arch->gguf, counts[i],
                           count ? (double)n : v);
    }
    return SD_OK;
}

/* sliding_window_pattern is the period, or a flag a layer. */
static sd_status read_windows(const kv_reader *r, sd_raw_config *c)
{
    static const char key[] = "attention.sliding_window_pattern";
    const sd_arch *a = r->arch;
    sd_kv_array flags;
    sd_status st;
    int64_t period = a->window_rule == SD_WINDOW_PERIOD ? a->window_period : 0;
    c->window = a->def.window;
    if ((st = opt_int(r, "attention.sliding_window", &c->window))) return st;
    if ((st = sd_config__range("the number of layers", c->n_layer, 1, SD_MAX_LAYERS, r->err))) return st;
    if (kv_has(r, key) && sd_weights_kv_arr(r->w, kv_key((char[96]){0}, r, key), &flags, NULL) == SD_OK) {
        if (flags.type != 7 || flags.n != c->n_layer) /* 7: GGUF's bool, a byte */
            return sd_fail(r->err, SD_E_FORMAT, "%s.%s: expected %lld booleans, one a layer", a->gguf, key,
                           (long long)c->n_layer);
        for (int64_t l = 0; l < c->n_layer; l++) c->windowed[l] = flags.p[l] != 0;
        return SD_OK;
    }
    if ((st = opt_int(r, key, &period))) return st;
    sd_config__windows(c, period);
    return SD_OK;
}

/* A tensor of divisors, [n_rot/2] f32. *found says whether there is one. */
static sd_status read_divisors(const kv_reader *r, const char *name, int64_t n_rot, float *out, bool *found)
{
    const sd_tensor *t = sd_weights_find(r->w, name);
    *found = t != NULL;
    if (!t) return SD_OK;
    if (t->dtype != SD_F32 || t->rank != 1 || t->dim[0] != n_rot / 2 || n_rot / 2 > SD_MAX_FREQS)
        return sd_fail(r->err, SD_E_SHAPE, "%s: expected %lld F32 divisors of the rotary frequencies, file has %lld %s",
                       name, (long long)(n_rot / 2), (long long)t->dim[0], t->type_name);
    memcpy(out, t->data, (size_t)t->dim[0] * sizeof *out);
    return SD_OK;
}

static sd_status read_scaling(const kv_reader *r, sd_raw_config *c, sd_rope_spec *s)
{
    sd_status st;
    bool one = false, two = false;
    double ext = 1;
    s->type = SD_ROPE_DEFAULT, s->factor = 1, s->beta_fast = 32, s->beta_slow = 1;
    s->max_ctx = (double)c->n_ctx, s->original_ctx = (double)c->n_ctx;
    if (kv_has(r, "rope.scaling.type")) {
        sd_slice type;
        if ((st = sd_weights_kv_str(r->w, kv_key((char[96]){0}, r, "rope.scaling.type"), &type, r->err))) return st;
        if (!sd_rope_type_of(&s->type, type) || s->type == SD_ROPE_DYNAMIC || s->type == SD_ROPE_LLAMA3)
            return sd_fail(r->err, SD_E_UNSUPPORTED, "%s.rope.scaling.type is \"%.*s\", which is not supported",
                           r->arch->gguf, SD_SLICE(type));
    } else if (kv_has(r, "rope.scale_linear"))
        s->type = SD_ROPE_LINEAR;
    if ((st = opt_float(r, "rope.scale_linear", &s->factor))) return st;
    if ((st = opt_float(r, "rope.scaling.factor", &s->factor))) return st;
    if ((st = opt_float(r, "rope.scaling.original_context_length", &s->original_ctx))) return st;
    if ((st = opt_float(r, "rope.scaling.attn_factor", &s->attn_factor))) return st;
    if (s->type == SD_ROPE_YARN) {
        /* The converter leaves context_length at max_position_embeddings, which may be the length of pretraining, as in config_hf.c. */
        if (kv_has(r, "rope.scaling.original_context_length")) sd_config__reach(c, s->factor * s->original_ctx);
        /* llama.cpp multiplies attn_factor by what it derives. yarn_attn_factor is transformers' attention_factor, which the converter
         * keeps and llama.cpp does not read. */
        if (s->attn_factor > 0) s->attn_factor *= sd_rope_factor(&(sd_rope_spec){.type = SD_ROPE_YARN, .factor = s->factor});
        if ((st = opt_float(r, "rope.scaling.yarn_attn_factor", &s->attn_factor))) return st;
    }
    if ((st = opt_float(r, "rope.scaling.yarn_ext_factor", &ext))) return st;
    if (ext != 1 && s->type == SD_ROPE_YARN)
        return sd_fail(r->err, SD_E_UNSUPPORTED, "%s.rope.scaling.yarn_ext_factor is %g: only 1 is supported", r->arch->gguf, ext);
    if ((st = opt_float(r, "rope.scaling.yarn_beta_fast", &s->beta_fast))) return st;
    if ((st = opt_float(r, "rope.scaling.yarn_beta_slow", &s->beta_slow))) return st;
    if ((st = read_divisors(r, "rope_freqs.weight", c->n_rot, s->shorter, &one))) return st;
    if (one) {
        if (s->type != SD_ROPE_DEFAULT)
            return sd_fail(r->err, SD_E_UNSUPPORTED, "rope_freqs.weight together with %s.rope.scaling.type is not supported",
                           r->arch->gguf);
        s->type = SD_ROPE_FACTORS;
        return SD_OK;
    }
    if ((st = read_divisors(r, "rope_factors_short.weight", c->n_rot, s->shorter, &one))) return st;
    if ((st = read_divisors(r, "rope_factors_long.weight", c->n_rot, s->longer, &two))) return st;
    if (one != two || (s->type == SD_ROPE_LONGROPE && !one))
        return sd_fail(r->err, SD_E_NOTFOUND, "of rope_factors_short.weight and rope_factors_long.weight %s",
                       one == two ? "both are missing" : "one is missing");
    if (one) {
        s->type = SD_ROPE_LONGROPE;
        s->factor = (double)c->n_ctx / s->original_ctx;
    }
    return SD_OK;
}

static sd_status read_rope(const kv_reader *r, sd_raw_config *c)
{
    sd_status st;
    sd_rope_spec *s = &c->rope[0];
    if (r->arch->no_rope) return SD_OK;
    c->n_rot = c->d_head;
    if ((st = opt_int(r, "rope.dimension_count", &c->n_rot))) return st;
    s->theta = r->arch->def.theta > 0 ? r->arch->def.theta : 10000.0; /* llama.cpp's and transformers' default */
    if ((st = opt_float(r, "rope.freq_base", &s->theta))) return st;
    if ((st = read_scaling(r, c, s))) return st;
    if (!r->arch->two_ropes) return SD_OK;
    c->rope[1] = (sd_rope_spec){.type = SD_ROPE_DEFAULT, .theta = r->arch->def.theta_local};
    return opt_float(r, "rope.freq_base_swa", &c->rope[1].theta);
}

static sd_status read_heads(const kv_reader *r, sd_raw_config *c)
{
    sd_status st;
    if ((st = kv_int(r, "attention.head_count", &c->n_head))) return st;
    c->n_head_kv = c->n_head;
    if ((st = opt_int(r, "attention.head_count_kv", &c->n_head_kv))) return st;
    c->d_head = c->n_head > 0 ? c->d_model / c->n_head : 0;
    if ((st = opt_int(r, "attention.key_length", &c->d_head))) return st;
    int64_t d_value = c->d_head;
    if ((st = opt_int(r, "attention.value_length", &d_value))) return st;
    if (d_value != c->d_head)
        return sd_fail(r->err, SD_E_UNSUPPORTED,
                       "keys of %lld and values of %lld columns a head: only equal widths are supported",
                       (long long)c->d_head, (long long)d_value);
    return SD_OK;
}

sd_status sd_config__gguf(sd_raw_config *c, const sd_arch *arch, const sd_weights *w, sd_err *err)
{
    kv_reader r = {w, arch, err};
    sd_status st;
    int64_t parallel = c->parallel;
    const char *eps = arch->norm == SD_NORM_RMS ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon";
    if ((st = kv_int(&r, "block_count", &c->n_layer))) return st;
    if ((st = kv_int(&r, "context_length", &c->n_ctx))) return st;
    if ((st = kv_int(&r, "embedding_length", &c->d_model))) return st;
    if ((st = kv_int(&r, "feed_forward_length", &c->d_ffn))) return st;
    if ((st = read_heads(&r, c))) return st;
    if ((st = kv_float(&r, eps, &c->norm_eps))) return st;
    c->attn_cap = arch->def.attn_cap, c->logit_cap = arch->def.logit_cap;
    if ((st = opt_float(&r, "attn_logit_softcapping", &c->attn_cap))) return st;
    if ((st = opt_float(&r, "final_logit_softcapping", &c->logit_cap))) return st;
    if (arch->keys.parallel && (st = opt_int(&r, "use_parallel_residual", &parallel))) return st;
    c->parallel = parallel != 0;
    if (arch->gguf_wide_scale_at && c->n_layer == arch->gguf_wide_scale_at && c->n_head > 0)
        c->score_dim = (double)(c->d_model / c->n_head);
    if ((st = read_windows(&r, c))) return st;
    if ((st = read_rope(&r, c))) return st;
    return refuse(&r);
}
