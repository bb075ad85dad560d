/* The blueprint of a model: which architecture, and the ranges and relations that hold for all of them. What each
 * container says is read in config_gguf.c and config_hf.c.
 *
 * What would change the numbers and is not computed here (experts, another activation, interleaved rotary pairs) is
 * refused by name: a model that runs gives its own numbers, never nearly its own. */
#include "model/config_int.h"

#include "file/hub.h"

#include <math.h>
#include <stdio.h>

/* Sizes above these are no model but a damaged file: each is ten times the largest published one. */
enum { MAX_HEADS = 4096, MAX_WIDTH = 1 << 20, MAX_CTX = 1 << 28 };

sd_status sd_config__range(const char *what, int64_t v, int64_t lo, int64_t hi, sd_err *err)
{
    if (v >= lo && v <= hi) return SD_OK;
    return sd_fail(err, SD_E_FORMAT, "%s is %lld, expected %lld to %lld", what, (long long)v, (long long)lo,
                   (long long)hi);
}

void sd_config__windows(sd_raw_config *c, int64_t period)
{
    for (int64_t l = 0; l < c->n_layer; l++) c->windowed[l] = period == 0 || (l + 1) % period != 0;
}

static sd_status check_sizes(const sd_raw_config *c, const sd_arch *arch, sd_err *err)
{
    sd_status st;
    if ((st = sd_config__range("the number of layers", c->n_layer, 1, SD_MAX_LAYERS, err))) return st;
    if ((st = sd_config__range("the width", c->d_model, 1, MAX_WIDTH, err))) return st;
    if ((st = sd_config__range("the MLP's width", c->d_ffn, 1, MAX_WIDTH, err))) return st;
    if ((st = sd_config__range("the number of heads", c->n_head, 1, MAX_HEADS, err))) return st;
    if ((st = sd_config__range("the number of key-value heads", c->n_head_kv, 1, c->n_head, err))) return st;
    if ((st = sd_config__range("the width of a head", c->d_head, 1, MAX_WIDTH / c->n_head, err))) return st;
    if ((st = sd_config__range("the context length", c->n_ctx, 1, MAX_CTX, err))) return st;
    if ((st = sd_config__range("the attention window", c->window, 0, MAX_CTX, err))) return st;
    if (c->n_head % c->n_head_kv != 0)
        return sd_fail(err, SD_E_FORMAT, "%lld heads cannot share %lld key-value heads evenly", (long long)c->n_head,
                       (long long)c->n_head_kv);
    if (arch->hf_qkv_by_head && c->n_head_kv != c->n_head)
        return sd_fail(err, SD_E_FORMAT, "%s models have as many key-value heads as heads, this one %lld of %lld",
                       arch->name, (long long)c->n_head_kv, (long long)c->n_head);
    if (arch->no_rope) return SD_OK;
    if ((st = sd_config__range("the rotary part of a head", c->n_rot, 2, c->d_head, err))) return st;
    if (c->n_rot % 2 != 0)
        return sd_fail(err, SD_E_FORMAT, "the rotary part of a head is %lld, expected an even number",
                       (long long)c->n_rot);
    if (c->n_rot != c->d_head && !arch->partial_rope)
        return sd_fail(err, SD_E_UNSUPPORTED, "a rotary part of %lld of %lld columns a head is not supported for %s",
                       (long long)c->n_rot, (long long)c->d_head, arch->name);
    return SD_OK;
}

static sd_status check_numbers(const sd_raw_config *c, const sd_arch *arch, sd_err *err)
{
    sd_status st;
    for (int i = 0; !arch->no_rope && i <= arch->two_ropes; i++)
        if ((st = sd_rope_check(&c->rope[i], err))) return st;
    if (!(c->norm_eps > 0) || !(c->norm_eps < 1))
        return sd_fail(err, SD_E_FORMAT, "the norm's epsilon is %g, expected a number between 0 and 1", c->norm_eps);
    if (!(c->attn_cap >= 0) || !(c->logit_cap >= 0) || !isfinite(c->attn_cap) || !isfinite(c->logit_cap))
        return sd_fail(err, SD_E_FORMAT, "the soft caps of scores and logits are %g and %g, expected positive numbers",
                       c->attn_cap, c->logit_cap);
    if (!(c->score_dim >= 0) || !isfinite(c->score_dim))
        return sd_fail(err, SD_E_FORMAT, "scores are divided by the root of %g, expected a positive number",
                       c->score_dim);
    return SD_OK;
}

static sd_status settle(sd_blueprint *out, sd_raw_config *c, sd_err *err)
{
    const sd_arch *arch = out->arch;
    sd_config *cfg = &out->cfg;
    sd_status st = check_sizes(c, arch, err);
    for (int i = 0; i < 2; i++) c->rope[i].n_rot = (int)c->n_rot;
    if (!st) st = check_numbers(c, arch, err);
    if (st) return st;
    cfg->n_layer = (int)c->n_layer, cfg->n_head = (int)c->n_head, cfg->n_head_kv = (int)c->n_head_kv,
    cfg->d_head = (int)c->d_head;
    cfg->n_rot = arch->no_rope ? 0 : (int)c->n_rot;
    cfg->d_model = c->d_model, cfg->d_ffn = c->d_ffn, cfg->n_ctx = c->n_ctx;
    cfg->rope_theta = arch->no_rope ? 0 : c->rope[0].theta;
    cfg->norm_eps = (float)c->norm_eps;
    cfg->attn_scale = c->scores_plain ? 1.0f : (float)(1.0 / sqrt(c->score_dim > 0 ? c->score_dim : (double)c->d_head));
    cfg->embed_scale = arch->embed_sqrt_d ? sqrtf((float)c->d_model) : 1.0f;
    cfg->gated = arch->tensor[SD_ROLE_UP].hf || arch->tensor[SD_ROLE_GATE_UP].hf;
    cfg->parallel = c->parallel;
    for (int l = 0; l < cfg->n_layer; l++) {
        out->windowed[l] = c->window > 0 && c->windowed[l];
        cfg->n_windowed += out->windowed[l];
    }
    cfg->window = cfg->n_windowed ? c->window : 0;
    out->wire = (sd_wiring){.norm = arch->norm,
                            .qk_norm = arch->qk_norm,
                            .act = c->act,
                            .gated = cfg->gated,
                            .parallel = cfg->parallel,
                            .attn_cap = (float)c->attn_cap,
                            .logit_cap = (float)c->logit_cap,
                            .n_rope = arch->no_rope ? 0 : 1 + arch->two_ropes,
                            .norm_plus_one = arch->norm_plus_one};
    for (int i = 0; i < 2; i++) out->rope[i] = c->rope[i];
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
        if ((st = sd_json_get_str(sd_weights_config(w), "model_type", &type, "config.json", err))) return st;
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
        if (sd_hub_name(out->name, sizeof out->name, sd_weights_path(w))) return;
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

sd_status sd_config__of(sd_blueprint *out, const sd_arch *arch, const sd_weights *w, const json_t *config, sd_err *err)
{
    sd_raw_config *raw = NULL;
    sd_status st = sd_alloc_zero(&raw, sizeof *raw, "a configuration", err);
    if (st) return st;
    out->arch = arch;
    snprintf(out->cfg.arch, sizeof out->cfg.arch, "%s", arch->name);
    raw->act = arch->act;
    raw->parallel = arch->def.parallel;
    st = config ? sd_config__hf(raw, arch, config, err) : sd_config__gguf(raw, arch, w, err);
    if (!st) st = settle(out, raw, err);
    sd_free(raw);
    return st;
}

sd_status sd_config__read(sd_blueprint *out, const sd_weights *w, sd_err *err)
{
    const sd_arch *arch;
    *out = (sd_blueprint){0};
    sd_status st = find_arch(&arch, w, err);
    if (st) return st;
    copy_name(&out->cfg, w);
    return sd_config__of(out, arch, w, sd_weights_container(w) == SD_CONTAINER_GGUF ? NULL : sd_weights_config(w), err);
}
