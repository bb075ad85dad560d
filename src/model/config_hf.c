/* Configurations in a folder's config.json, with the defaults of transformers 5 (configuration_*.py) where a key is
 * absent, and the names that older files use. */
#include "model/config_int.h"

static const char config_what[] = "config.json";

static const struct {
    const char *name;
    sd_nonlin f;
} acts[] = {{"silu", SD_NONLIN_SILU},
            {"swish", SD_NONLIN_SILU},
            {"gelu", SD_NONLIN_GELU_ERF},
            {"gelu_new", SD_NONLIN_GELU_TANH},
            {"gelu_fast", SD_NONLIN_GELU_TANH},
            {"gelu_pytorch_tanh", SD_NONLIN_GELU_TANH},
            {"quick_gelu", SD_NONLIN_GELU_QUICK},
            {"relu", SD_NONLIN_RELU}};

static sd_status read_act(sd_raw_config *c, const sd_arch *arch, const json_t *j, sd_err *err)
{
    const char *name = NULL;
    sd_status st = sd_json_opt_str(j, arch->keys.act, &name, config_what, err);
    if (st || !name) return st;
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++)
        if (strcmp(acts[i].name, name) == 0) {
            c->act = acts[i].f;
            return SD_OK;
        }
    sd_fail(err, SD_E_UNSUPPORTED, "config.json: %s is \"%s\", which is not supported", arch->keys.act, name);
    return sd_hint(err, "supported: silu, gelu, gelu_new, gelu_fast, gelu_pytorch_tanh, quick_gelu, relu");
}

/* ---- rotary embedding ---- */

static sd_status read_factors(float *out, int64_t n_rot, const json_t *rope, const char *key, sd_err *err)
{
    const json_t *a = json_object_get(rope, key);
    if (!json_is_array(a) || (int64_t)json_array_size(a) != n_rot / 2 || n_rot / 2 > SD_MAX_FREQS)
        return sd_fail(err, SD_E_FORMAT, "config.json: %s: expected %lld numbers, half of the %lld rotary columns of a head",
                       key, (long long)(n_rot / 2), (long long)n_rot);
    for (size_t i = 0; i < json_array_size(a); i++) {
        const json_t *v = json_array_get(a, i);
        if (!json_is_number(v)) return sd_fail(err, SD_E_FORMAT, "config.json: %s: element %zu is no number", key, i);
        out[i] = (float)json_number_value(v);
    }
    return SD_OK;
}

static sd_status read_part(sd_raw_config *c, const sd_arch *arch, const json_t *j, const char *key, sd_err *err)
{
    double part = -1;
    sd_status st = key ? sd_json_opt_f64(j, key, &part, config_what, err) : SD_OK;
    if (st || part == -1) return st;
    if (!(part > 0) || part > 1)
        return sd_fail(err, SD_E_FORMAT, "config.json: %s is %g, expected a share of a head above 0", key, part);
    if (part != 1 && !arch->partial_rope)
        return sd_fail(err, SD_E_UNSUPPORTED, "config.json: %s is %g, which is not supported for %s", key, part,
                       arch->name);
    c->n_rot = (int64_t)((double)c->d_head * part);
    return SD_OK;
}

/* One rope_parameters or rope_scaling object. */
static sd_status read_rope_object(sd_raw_config *c, sd_rope_spec *s, const sd_arch *arch, const json_t *o,
                                  const char *where, sd_err *err)
{
    const char *type = "default";
    sd_status st;
    if (!json_is_object(o)) return sd_fail(err, SD_E_FORMAT, "config.json: %s is no object", where);
    if ((st = sd_json_opt_str(o, "type", &type, config_what, err))) return st;
    if ((st = sd_json_opt_str(o, "rope_type", &type, config_what, err))) return st;
    if (!sd_rope_type_of(&s->type, sd_slice_of(type))) {
        sd_fail(err, SD_E_UNSUPPORTED, "config.json: %s has type \"%.64s\", which is not supported", where, type);
        return sd_hint(err, "supported: default, linear, dynamic, yarn, longrope, llama3");
    }
    if (s->type == SD_ROPE_YARN && arch->yarn_is_longrope) s->type = SD_ROPE_LONGROPE;
    if ((st = sd_json_opt_f64(o, "rope_theta", &s->theta, config_what, err))) return st;
    if ((st = read_part(c, arch, o, "partial_rotary_factor", err))) return st;
    if (s->type == SD_ROPE_DEFAULT) return SD_OK;
    double original = 0;
    if ((st = sd_json_opt_f64(o, "original_max_position_embeddings", &original, config_what, err))) return st;
    if (original != 0 && s->original_ctx == 0) s->original_ctx = original;
    if (s->original_ctx == 0) s->original_ctx = (double)c->n_ctx;
    s->factor = s->type == SD_ROPE_YARN || s->type == SD_ROPE_LONGROPE ? (double)c->n_ctx / s->original_ctx : 0;
    if ((st = sd_json_opt_f64(o, "factor", &s->factor, config_what, err))) return st;
    if ((st = sd_json_opt_f64(o, "attention_factor", &s->attn_factor, config_what, err))) return st;
    if ((st = sd_json_opt_f64(o, "low_freq_factor", &s->low, config_what, err))) return st;
    if ((st = sd_json_opt_f64(o, "high_freq_factor", &s->high, config_what, err))) return st;
    if ((st = sd_json_opt_f64(o, "beta_fast", &s->beta_fast, config_what, err))) return st;
    if ((st = sd_json_opt_f64(o, "beta_slow", &s->beta_slow, config_what, err))) return st;
    if ((st = sd_json_opt_f64(o, "mscale", &s->mscale, config_what, err))) return st;
    if ((st = sd_json_opt_f64(o, "mscale_all_dim", &s->mscale_all, config_what, err))) return st;
    bool truncate = true;
    if ((st = sd_json_opt_bool(o, "truncate", &truncate, config_what, err))) return st;
    s->no_truncate = !truncate;
    return SD_OK;
}

static sd_status read_long(sd_raw_config *c, sd_rope_spec *s, const json_t *o, sd_err *err)
{
    if (s->type != SD_ROPE_LONGROPE) return SD_OK;
    sd_status st = read_factors(s->shorter, c->n_rot, o, "short_factor", err);
    return st ? st : read_factors(s->longer, c->n_rot, o, "long_factor", err);
}

/* transformers 5: rope_parameters, with an object a kind of layer where there are two ropes; before: rope_theta,
 * rope_local_base_freq and rope_scaling (of the layers without a window). */
static sd_status read_rope_objects(sd_raw_config *c, const sd_arch *arch, const json_t *j, sd_err *err)
{
    const json_t *p = json_object_get(j, "rope_parameters"), *old = json_object_get(j, "rope_scaling");
    const json_t *full = json_object_get(p, "full_attention"), *local = json_object_get(p, "sliding_attention");
    sd_status st;
    if (arch->two_ropes && (full || local)) {
        if (full && (st = read_rope_object(c, &c->rope[0], arch, full, "rope_parameters.full_attention", err))) return st;
        if (local && (st = read_rope_object(c, &c->rope[1], arch, local, "rope_parameters.sliding_attention", err)))
            return st;
        if ((st = read_long(c, &c->rope[1], local, err))) return st;
        return read_long(c, &c->rope[0], full, err);
    }
    if (p && !json_is_null(p) && (st = read_rope_object(c, &c->rope[0], arch, p, "rope_parameters", err))) return st;
    if (old && !json_is_null(old)) {
        if ((st = read_rope_object(c, &c->rope[0], arch, old, "rope_scaling", err))) return st;
        p = old;
    }
    return read_long(c, &c->rope[0], p, err);
}

static sd_status read_rope(sd_raw_config *c, const sd_arch *arch, const json_t *j, sd_err *err)
{
    sd_status st;
    bool interleaved = false;
    if (arch->no_rope) return SD_OK;
    for (int i = 0; i < 2; i++)
        c->rope[i] = (sd_rope_spec){.type = SD_ROPE_DEFAULT,
                                    .theta = 10000.0,
                                    .factor = 1,
                                    .beta_fast = 32,
                                    .beta_slow = 1,
                                    .max_ctx = (double)c->n_ctx};
    if (arch->def.theta > 0) c->rope[0].theta = arch->def.theta;
    if (arch->def.theta_local > 0) c->rope[1].theta = arch->def.theta_local;
    c->n_rot = arch->def.rotary_part > 0 ? (int64_t)((double)c->d_head * arch->def.rotary_part) : c->d_head;
    if ((st = read_part(c, arch, j, arch->keys.rotary_part, err))) return st;
    if ((st = read_part(c, arch, j, "partial_rotary_factor", err))) return st;
    if (arch->keys.rotary_base && (st = sd_json_opt_f64(j, arch->keys.rotary_base, &c->rope[0].theta, config_what, err)))
        return st;
    if ((st = sd_json_opt_f64(j, "rope_theta", &c->rope[0].theta, config_what, err))) return st;
    if ((st = sd_json_opt_f64(j, "rope_local_base_freq", &c->rope[1].theta, config_what, err))) return st;
    c->rope[0].original_ctx = (double)arch->def.original_ctx;
    if ((st = sd_json_opt_f64(j, "original_max_position_embeddings", &c->rope[0].original_ctx, config_what, err)))
        return st;
    if ((st = sd_json_opt_bool(j, "rope_interleaved", &interleaved, config_what, err))) return st;
    if (interleaved) return sd_fail(err, SD_E_UNSUPPORTED, "config.json: rope_interleaved is not supported");
    if ((st = read_rope_objects(c, arch, j, err))) return st;
    /* YaRN and dynamic scaling reach beyond max_position_embeddings, which such files leave at the length of
     * pretraining. */
    double reach = c->rope[0].type == SD_ROPE_YARN      ? c->rope[0].factor * c->rope[0].original_ctx
                   : c->rope[0].type == SD_ROPE_DYNAMIC ? c->rope[0].factor * c->rope[0].max_ctx
                                                        : 0;
    sd_config__reach(c, reach);
    return SD_OK;
}

/* ---- windows ---- */

static sd_status read_layer_types(sd_raw_config *c, const json_t *types, sd_err *err)
{
    if (!json_is_array(types) || (int64_t)json_array_size(types) != c->n_layer)
        return sd_fail(err, SD_E_FORMAT, "config.json: layer_types: expected %lld strings, one a layer",
                       (long long)c->n_layer);
    for (int64_t l = 0; l < c->n_layer; l++) {
        const char *t = json_string_value(json_array_get(types, (size_t)l));
        if (!t || (strcmp(t, "sliding_attention") != 0 && strcmp(t, "full_attention") != 0))
            return sd_fail(err, SD_E_UNSUPPORTED, "config.json: layer_types[%lld] is \"%.64s\": sliding_attention and "
                           "full_attention are supported", (long long)l, t ? t : "no string");
        c->windowed[l] = t[0] == 's';
        if (c->windowed[l] && c->window <= 0)
            return sd_fail(err, SD_E_FORMAT,
                           "config.json: layer_types[%lld] is \"sliding_attention\", but sliding_window is not set",
                           (long long)l);
    }
    return SD_OK;
}

static sd_status read_windows(sd_raw_config *c, const sd_arch *arch, const json_t *j, sd_err *err)
{
    const json_t *window = json_object_get(j, "sliding_window"), *types = json_object_get(j, "layer_types");
    int64_t from = 0, period = arch->window_period;
    bool use = true;
    sd_status st;
    c->window = window ? 0 : arch->def.window; /* null: none */
    if ((st = sd_json_opt_i64(j, "sliding_window", &c->window, config_what, err))) return st;
    if ((st = sd_config__range("the number of layers", c->n_layer, 1, SD_MAX_LAYERS, err))) return st;
    if (arch->window_rule == SD_WINDOW_NONE) c->window = 0;
    if (arch->window_rule <= SD_WINDOW_ALL) {
        sd_config__windows(c, 0);
        return SD_OK;
    }
    if (arch->window_rule == SD_WINDOW_FROM) {
        use = false;
        from = 28; /* transformers' default of max_window_layers */
        if ((st = sd_json_opt_bool(j, "use_sliding_window", &use, config_what, err))) return st;
        if ((st = sd_json_opt_i64(j, "max_window_layers", &from, config_what, err))) return st;
        if (!use) c->window = 0;
    }
    if (types && !json_is_null(types)) return read_layer_types(c, types, err);
    if ((st = sd_json_opt_i64(j, "sliding_window_pattern", &period, config_what, err))) return st;
    if (period < 1) period = 1;
    if (arch->window_rule == SD_WINDOW_PERIOD)
        sd_config__windows(c, period);
    else
        for (int64_t l = 0; l < c->n_layer; l++) c->windowed[l] = l >= from;
    return SD_OK;
}

/* ---- the rest ---- */

/* A cap that is null is no cap; one that is absent is the architecture's. */
static sd_status read_cap(double *out, double by_default, const json_t *j, const char *key, sd_err *err)
{
    *out = json_object_get(j, key) ? 0 : by_default;
    return sd_json_opt_f64(j, key, out, config_what, err);
}

static sd_status refuse(const json_t *j, sd_err *err)
{
    static const char *const flags[] = {"scale_attn_by_inverse_layer_idx", "use_bidirectional_attention",
                                        "add_cross_attention"};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        bool v = false;
        sd_status st = sd_json_opt_bool(j, flags[i], &v, config_what, err);
        if (st) return st;
        if (v) return sd_fail(err, SD_E_UNSUPPORTED, "config.json: %s is true, which is not supported", flags[i]);
    }
    const json_t *quantised = json_object_get(j, "quantization_config");
    if (!json_is_object(quantised)) return SD_OK;
    const char *method = json_string_value(json_object_get(quantised, "quant_method"));
    sd_fail(err, SD_E_UNSUPPORTED, "config.json: quantization_config: weights quantised by \"%.64s\" are not supported", method ? method : "?");
    return sd_hint(err, "supported in a folder: F32, F16, BF16; quantised weights are read from GGUF files");
}

/* A size that must be there, but where the architecture has a default of transformers. */
static sd_status or_default(int64_t *out, int64_t by_default, const json_t *j, const char *key, sd_err *err)
{
    *out = by_default;
    return by_default ? sd_json_opt_i64(j, key, out, config_what, err) : sd_json_get_i64(j, key, out, config_what, err);
}

sd_status sd_config__hf(sd_raw_config *c, const sd_arch *arch, const json_t *j, sd_err *err)
{
    const sd_arch_keys *k = &arch->keys;
    sd_status st;
    bool scaled = true;
    if ((st = sd_json_get_i64(j, k->n_layer, &c->n_layer, config_what, err))) return st;
    if ((st = or_default(&c->n_ctx, arch->def.n_ctx, j, k->n_ctx, err))) return st;
    if ((st = sd_json_get_i64(j, k->d_model, &c->d_model, config_what, err))) return st;
    c->d_ffn = c->d_model > 0 && c->d_model <= INT64_MAX / 4 ? 4 * c->d_model : c->d_model; /* gpt2: n_inner is null */
    if (arch->no_d_ffn)
        st = sd_json_opt_i64(j, k->d_ffn, &c->d_ffn, config_what, err);
    else
        st = sd_json_get_i64(j, k->d_ffn, &c->d_ffn, config_what, err);
    if (st) return st;
    if ((st = or_default(&c->n_head, arch->def.n_head, j, k->n_head, err))) return st;
    c->norm_eps = arch->def.norm_eps;
    st = c->norm_eps > 0 ? sd_json_opt_f64(j, k->norm_eps, &c->norm_eps, config_what, err) : sd_json_get_f64(j, k->norm_eps, &c->norm_eps, config_what, err);
    if (st) return st;
    c->n_head_kv = arch->def.n_head_kv ? arch->def.n_head_kv : c->n_head;
    if (k->n_head_kv && (st = sd_json_opt_i64(j, k->n_head_kv, &c->n_head_kv, config_what, err))) return st;
    c->d_head = arch->def.d_head ? arch->def.d_head : c->n_head > 0 ? c->d_model / c->n_head : 0;
    if (k->d_head && (st = sd_json_opt_i64(j, k->d_head, &c->d_head, config_what, err))) return st;
    if (k->parallel && (st = sd_json_opt_bool(j, k->parallel, &c->parallel, config_what, err))) return st;
    if ((st = read_cap(&c->attn_cap, arch->def.attn_cap, j, "attn_logit_softcapping", err))) return st;
    if ((st = read_cap(&c->logit_cap, arch->def.logit_cap, j, "final_logit_softcapping", err))) return st;
    c->score_dim = arch->def.query_scale;
    if (arch->def.query_scale > 0 && (st = sd_json_opt_f64(j, "query_pre_attn_scalar", &c->score_dim, config_what, err)))
        return st;
    if ((st = sd_json_opt_bool(j, "scale_attn_weights", &scaled, config_what, err))) return st;
    c->scores_plain = !scaled;
    if ((st = read_act(c, arch, j, err))) return st;
    if ((st = read_windows(c, arch, j, err))) return st;
    if ((st = read_rope(c, arch, j, err))) return st;
    return refuse(j, err);
}
