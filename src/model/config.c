/* The blueprint of a model, from a GGUF's metadata or a folder's config.json.
 *
 * What would change the numbers and is not computed here (scaled rotary embedding, experts, another activation) is
 * refused by name: a model that runs gives its own numbers, never nearly its own. */
#include "model/arch.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>

/* Sizes above these are no model but a damaged file: each is ten times the largest published one. */
enum { MAX_LAYERS = 2000, MAX_HEADS = 4096, MAX_WIDTH = 1 << 20, MAX_CTX = 1 << 28 };

/* ---- GGUF ---- */

typedef struct kv_reader {
    const sd_weights *w;
    const char *arch;
    sd_err *err;
} kv_reader;

static const char *kv_key(char out[96], const kv_reader *r, const char *key)
{
    snprintf(out, 96, "%s.%s", r->arch, key);
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

/* Blueprint in wide integers, before the range check. */
typedef struct raw_config {
    int64_t n_layer, n_head, n_head_kv, d_head, d_model, d_ffn, n_ctx, n_rot;
    double rope_theta, norm_eps;
} raw_config;

static sd_status refuse_kv(const kv_reader *r)
{
    static const char *const counts[] = {"expert_count", "attention.sliding_window"};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        int64_t v = 0;
        sd_status st = kv_has(r, counts[i]) ? kv_int(r, counts[i], &v) : SD_OK;
        if (st) return st;
        if (v > 0)
            return sd_fail(r->err, SD_E_UNSUPPORTED, "%s.%s is %lld, which is not supported", r->arch, counts[i],
                           (long long)v);
    }
    if (kv_has(r, "rope.scaling.type")) {
        sd_slice type;
        sd_status st = sd_weights_kv_str(r->w, kv_key((char[96]){0}, r, "rope.scaling.type"), &type, r->err);
        if (st) return st;
        if (!sd_slice_eq_str(type, "none"))
            return sd_fail(r->err, SD_E_UNSUPPORTED,
                           "%s.rope.scaling.type is \"%.*s\": scaled rotary embedding is not supported", r->arch,
                           SD_SLICE(type));
    }
    double linear = 1;
    sd_status st = kv_has(r, "rope.scale_linear") ? kv_float(r, "rope.scale_linear", &linear) : SD_OK;
    if (!st && linear != 1)
        st = sd_fail(r->err, SD_E_UNSUPPORTED, "%s.rope.scale_linear is %g: scaled rotary embedding is not supported",
                     r->arch, linear);
    return st;
}

static sd_status read_gguf(raw_config *c, const sd_arch *arch, const sd_weights *w, sd_err *err)
{
    kv_reader r = {w, arch->name, err};
    sd_status st;
    if ((st = kv_int(&r, "block_count", &c->n_layer))) return st;
    if ((st = kv_int(&r, "context_length", &c->n_ctx))) return st;
    if ((st = kv_int(&r, "embedding_length", &c->d_model))) return st;
    if ((st = kv_int(&r, "feed_forward_length", &c->d_ffn))) return st;
    if ((st = kv_int(&r, "attention.head_count", &c->n_head))) return st;
    if ((st = kv_float(&r, "attention.layer_norm_rms_epsilon", &c->norm_eps))) return st;
    c->n_head_kv = c->n_head;
    if (kv_has(&r, "attention.head_count_kv") && (st = kv_int(&r, "attention.head_count_kv", &c->n_head_kv))) return st;
    c->d_head = c->n_head > 0 ? c->d_model / c->n_head : 0;
    if (kv_has(&r, "attention.key_length") && (st = kv_int(&r, "attention.key_length", &c->d_head))) return st;
    int64_t d_value = c->d_head;
    if (kv_has(&r, "attention.value_length") && (st = kv_int(&r, "attention.value_length", &d_value))) return st;
    if (d_value != c->d_head)
        return sd_fail(err, SD_E_UNSUPPORTED,
                       "keys of %lld and values of %lld columns a head: only equal widths are supported",
                       (long long)c->d_head, (long long)d_value);
    c->n_rot = c->d_head;
    if (kv_has(&r, "rope.dimension_count") && (st = kv_int(&r, "rope.dimension_count", &c->n_rot))) return st;
    c->rope_theta = 10000.0; /* llama.cpp's and transformers' default */
    if (kv_has(&r, "rope.freq_base") && (st = kv_float(&r, "rope.freq_base", &c->rope_theta))) return st;
    return refuse_kv(&r);
}

/* ---- config.json ---- */

static const char config_what[] = "config.json";

static sd_status refuse_partial(const json_t *j, sd_err *err)
{
    double part = 1;
    sd_status st = sd_json_opt_f64(j, "partial_rotary_factor", &part, config_what, err);
    if (!st && part != 1)
        st = sd_fail(err, SD_E_UNSUPPORTED, "config.json: partial_rotary_factor is %g, which is not supported", part);
    return st;
}

/* rope_parameters (transformers 5) or rope_theta and rope_scaling (before). */
static sd_status read_rope(raw_config *c, const json_t *j, sd_err *err)
{
    c->rope_theta = 10000.0;
    sd_status st = sd_json_opt_f64(j, "rope_theta", &c->rope_theta, config_what, err);
    if (st) return st;
    static const char *const objects[] = {"rope_parameters", "rope_scaling"};
    for (size_t i = 0; i < sizeof objects / sizeof *objects; i++) {
        const json_t *rope = json_object_get(j, objects[i]);
        if (!rope || json_is_null(rope)) continue;
        if (!json_is_object(rope)) return sd_fail(err, SD_E_FORMAT, "config.json: %s is no object", objects[i]);
        const char *type = "default";
        if ((st = sd_json_opt_str(rope, "type", &type, config_what, err))) return st;
        if ((st = sd_json_opt_str(rope, "rope_type", &type, config_what, err))) return st;
        if ((st = sd_json_opt_f64(rope, "rope_theta", &c->rope_theta, config_what, err))) return st;
        if ((st = refuse_partial(rope, err))) return st;
        if (strcmp(type, "default") != 0)
            return sd_fail(err, SD_E_UNSUPPORTED,
                           "config.json: %s has type \"%s\": scaled rotary embedding is not supported", objects[i],
                           type);
    }
    if ((st = refuse_partial(j, err))) return st;
    bool interleaved = false;
    if ((st = sd_json_opt_bool(j, "rope_interleaved", &interleaved, config_what, err))) return st;
    return interleaved ? sd_fail(err, SD_E_UNSUPPORTED, "config.json: rope_interleaved is not supported") : SD_OK;
}

static sd_status read_hf(raw_config *c, const sd_arch *arch, const json_t *j, sd_err *err)
{
    const sd_arch_keys *k = &arch->keys;
    sd_status st;
    if ((st = sd_json_get_i64(j, k->n_layer, &c->n_layer, config_what, err))) return st;
    if ((st = sd_json_get_i64(j, k->n_ctx, &c->n_ctx, config_what, err))) return st;
    if ((st = sd_json_get_i64(j, k->d_model, &c->d_model, config_what, err))) return st;
    if ((st = sd_json_get_i64(j, k->d_ffn, &c->d_ffn, config_what, err))) return st;
    if ((st = sd_json_get_i64(j, k->n_head, &c->n_head, config_what, err))) return st;
    if ((st = sd_json_get_f64(j, k->norm_eps, &c->norm_eps, config_what, err))) return st;
    c->n_head_kv = c->n_head;
    if ((st = sd_json_opt_i64(j, k->n_head_kv, &c->n_head_kv, config_what, err))) return st;
    c->d_head = c->n_head > 0 ? c->d_model / c->n_head : 0;
    if ((st = sd_json_opt_i64(j, k->d_head, &c->d_head, config_what, err))) return st;
    c->n_rot = c->d_head;
    const char *act = arch->hf_act;
    if ((st = sd_json_opt_str(j, k->act, &act, config_what, err))) return st;
    if (strcmp(act, arch->hf_act) != 0)
        return sd_fail(err, SD_E_UNSUPPORTED, "config.json: %s is \"%s\"; %s models with \"%s\" are supported", k->act,
                       act, arch->name, arch->hf_act);
    return read_rope(c, j, err);
}

/* ---- both ---- */

static sd_status in_range(const char *what, int64_t v, int64_t lo, int64_t hi, sd_err *err)
{
    if (v >= lo && v <= hi) return SD_OK;
    return sd_fail(err, SD_E_FORMAT, "%s is %lld, expected %lld to %lld", what, (long long)v, (long long)lo,
                   (long long)hi);
}

static sd_status settle(sd_config *out, const raw_config *c, sd_err *err)
{
    sd_status st;
    if ((st = in_range("the number of layers", c->n_layer, 1, MAX_LAYERS, err))) return st;
    if ((st = in_range("the width", c->d_model, 1, MAX_WIDTH, err))) return st;
    if ((st = in_range("the MLP's width", c->d_ffn, 1, MAX_WIDTH, err))) return st;
    if ((st = in_range("the number of heads", c->n_head, 1, MAX_HEADS, err))) return st;
    if ((st = in_range("the number of key-value heads", c->n_head_kv, 1, c->n_head, err))) return st;
    if ((st = in_range("the width of a head", c->d_head, 1, MAX_WIDTH / c->n_head, err))) return st;
    if ((st = in_range("the rotary part of a head", c->n_rot, 2, c->d_head, err))) return st;
    if ((st = in_range("the context length", c->n_ctx, 1, MAX_CTX, err))) return st;
    if (c->n_head % c->n_head_kv != 0)
        return sd_fail(err, SD_E_FORMAT, "%lld heads cannot share %lld key-value heads evenly", (long long)c->n_head,
                       (long long)c->n_head_kv);
    if (c->n_rot % 2 != 0)
        return sd_fail(err, SD_E_FORMAT, "the rotary part of a head is %lld, expected an even number",
                       (long long)c->n_rot);
    if (!(c->rope_theta > 0) || !isfinite(c->rope_theta))
        return sd_fail(err, SD_E_FORMAT, "the rotary base is %g, expected a positive number", c->rope_theta);
    if (!(c->norm_eps > 0) || !(c->norm_eps < 1))
        return sd_fail(err, SD_E_FORMAT, "the norm's epsilon is %g, expected a number between 0 and 1", c->norm_eps);
    out->n_layer = (int)c->n_layer, out->n_head = (int)c->n_head, out->n_head_kv = (int)c->n_head_kv,
    out->d_head = (int)c->d_head;
    out->n_rot = (int)c->n_rot;
    out->d_model = c->d_model, out->d_ffn = c->d_ffn, out->n_ctx = c->n_ctx;
    out->rope_theta = c->rope_theta;
    out->norm_eps = (float)c->norm_eps;
    out->attn_scale = (float)(1.0 / sqrt((double)c->d_head));
    out->embed_scale = 1.0f;
    return SD_OK;
}

static sd_status find_arch(const sd_arch **arch, const sd_weights *w, sd_err *err)
{
    sd_slice name = {0};
    sd_status st;
    sd_container c = sd_weights_container(w);
    if (c == SD_CONTAINER_GGUF) {
        if ((st = sd_weights_kv_str(w, "general.architecture", &name, err))) return st;
    } else {
        const char *type;
        if (!sd_weights_config(w)) {
            sd_fail(err, SD_E_NOTFOUND, "there is no config.json beside the weights");
            return sd_hint(err, "give the model's folder, not one of its files");
        }
        if ((st = sd_json_get_str(sd_weights_config(w), "model_type", &type, config_what, err))) return st;
        name = sd_slice_of(type);
    }
    *arch = sd_arch_find(c, name);
    if (*arch) return SD_OK;
    int shown = name.n < 64 ? (int)name.n : 64; /* a damaged file's name may be anything */
    sd_fail(err, SD_E_UNSUPPORTED, "the architecture is \"%.*s\", which is not supported", shown, name.p);
    return sd_hint(err, "supported: %s", sd_arch_list());
}

static void copy_name(sd_config *out, const sd_weights *w)
{
    sd_slice name = {0};
    if (sd_weights_container(w) != SD_CONTAINER_GGUF || sd_weights_kv_str(w, "general.name", &name, NULL) ||
        name.n == 0) {
        name = sd_slice_of(sd_weights_path(w));
        while (name.n > 1 && name.p[name.n - 1] == '/') name.n--;
        for (size_t i = name.n; i > 1; i--)
            if (name.p[i - 2] == '/') {
                name = (sd_slice){name.p + i - 1, name.n - i + 1};
                break;
            }
    }
    if (name.n >= sizeof out->name) name.n = sizeof out->name - 1;
    name.n = sd_utf8_valid_prefix(name);
    memcpy(out->name, name.p, name.n);
}

sd_status sd_config__read(sd_config *out, const sd_arch **arch, const sd_weights *w, sd_err *err)
{
    raw_config raw = {0};
    *out = (sd_config){0};
    sd_status st = find_arch(arch, w, err);
    if (st) return st;
    snprintf(out->arch, sizeof out->arch, "%s", (*arch)->name);
    copy_name(out, w);
    if (sd_weights_container(w) == SD_CONTAINER_GGUF)
        st = read_gguf(&raw, *arch, w, err);
    else
        st = read_hf(&raw, *arch, sd_weights_config(w), err);
    return st ? st : settle(out, &raw, err);
}
