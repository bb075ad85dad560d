/* Llama Scope (OpenMOSS): encoder.weight [m, d], encoder.bias, decoder.weight [d, m], decoder.bias; JumpReLU, not centred.
 *   first series  hyperparams.json and checkpoints/final.safetensors. Trained on x s, s = sqrt(d) / mean |x|, and one threshold in the
 *                 units of x: as sae-lens reads it, W_enc s, W_dec / s, b_dec / s and the threshold times s
 *   R1-distill    config.json and sae_weights.safetensors, with log_jumprelu_threshold [m]; s as above where config.json says the norm */
#include "dict/dict_format_int.h"
#include "base/log.h"
#include "base/map.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct cfg { char hook[96]; double threshold, norm; int64_t d, m; } cfg; /* norm 0: unknown; m 0: not said */

static sd_status read_cfg(cfg *c, const char *path, bool first, sd_err *err)
{
    json_t *j = NULL;
    const char *hook = NULL;
    int64_t expansion = 0;
    *c = (cfg){0};
    sd_status st = sd_json_load(&j, path, 1 << 20, err);
    if (!st) st = sd_json_get_i64(j, "d_model", &c->d, path, err);
    if (!st) st = sd_json_opt_i64(j, "d_sae", &c->m, path, err);
    if (!st) st = sd_json_opt_i64(j, "expansion_factor", &expansion, path, err);
    if (!st) st = sd_json_opt_str(j, "hook_point_in", &hook, path, err);
    if (!st && first) st = sd_json_get_f64(j, "jump_relu_threshold", &c->threshold, path, err);
    const json_t *norm = json_object_get(j, "dataset_average_activation_norm");
    if (!st && json_is_object(norm)) st = sd_json_opt_f64(norm, "in", &c->norm, path, err);
    if (!st && first && !(c->norm > 0)) st = sd_fail(err, SD_E_FORMAT, "%s: dataset_average_activation_norm.in is missing: how rows were scaled is not known", path);
    if (!st && (c->norm < 0 || !isfinite(c->norm) || !isfinite(c->threshold))) st = sd_fail(err, SD_E_FORMAT, "%s: its norm or threshold makes no sense", path);
    if (hook) snprintf(c->hook, sizeof c->hook, "%s", hook);
    json_decref(j);
    return st;
}

static void fold(sd_dict *d, double s)
{
    for (int64_t i = 0; i < d->info.m * d->info.d; i++) {
        d->W_enc[i] = (float)((double)d->W_enc[i] * s);
        d->W_dec[i] = (float)((double)d->W_dec[i] / s);
    }
    for (int64_t i = 0; i < d->info.d; i++) d->b_dec[i] = (float)((double)d->b_dec[i] / s);
}

sd_status sd_format__open_llama(sd_dict **out, const char *dir, sd_err *err)
{
    char config[SD_FORMAT_PATH], weights[SD_FORMAT_PATH];
    cfg c;
    sd_weights *w = NULL;
    sd_dict *d = NULL;
    int64_t enc[2];
    *out = NULL;
    sd_status st = sd_format__in(config, dir, "hyperparams.json", err);
    const bool first = !st && sd_file_exists(config);
    if (!st && !first) st = sd_format__in(config, dir, "config.json", err);
    if (!st) st = sd_format__in(weights, dir, first ? "checkpoints/final.safetensors" : "sae_weights.safetensors", err);
    if (!st) st = read_cfg(&c, config, first, err);
    if (!st) st = sd_weights_open(&w, weights, err);
    if (!st) st = sd_format__dims(w, "encoder.weight", enc, err);
    if (!st && (enc[1] != c.d || (c.m && enc[0] != c.m)))
        st = sd_fail(err, SD_E_SHAPE, "%s: encoder.weight is [%lld, %lld]; %s says %lld features of width %lld", weights, (long long)enc[0], (long long)enc[1], config, (long long)c.m, (long long)c.d);
    if (st) goto done;
    sd_dict_info info = {.kind = SD_DICT_JUMPRELU, .d = enc[1], .m = enc[0], .fvu = NAN, .l0 = NAN};
    if (c.hook[0]) sd_format__site(&info, c.hook);
    if ((st = sd_dict__new(&d, &info, false, true, err))) goto done;
    st = sd_format__matrix(d->W_enc, info.m, info.d, w, "encoder.weight", false, err);
    if (!st) st = sd_format__vector(d->b_enc, info.m, w, "encoder.bias", err);
    if (!st) st = sd_format__matrix(d->W_dec, info.m, info.d, w, "decoder.weight", true, err);
    if (!st) st = sd_format__vector(d->b_dec, info.d, w, "decoder.bias", err);
    const double s = c.norm > 0 ? sqrt((double)info.d) / c.norm : 1;
    if (!st && !first) st = sd_format__vector(d->gate, info.m, w, "log_jumprelu_threshold", err);
    for (int64_t f = 0; f < info.m && !st; f++) d->gate[f] = first ? (float)(c.threshold * s) : (float)exp((double)d->gate[f]);
    if (!st && c.norm > 0) fold(d, s);
    else if (!st) sd_log(SD_LOG_WARN, "%s does not say the mean norm that rows were scaled by; the weights are used as they are, as sae-lens does", config);
    if (!st) st = sd_format__seal(d, w, false, err);
done:
    sd_weights_close(w);
    if (st) sd_dict_free(d);
    else *out = d;
    return st;
}
