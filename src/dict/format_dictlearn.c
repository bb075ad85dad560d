/* dictionary_learning (dictionary_learning/dictionary.py, trainers/): ae.pt, a state_dict, beside config.json. The class is told by
 * config.json where it is there, else by the names of the tensors:
 *   AutoEncoder           bias, encoder.weight [m, d], encoder.bias, decoder.weight [d, m]     relu, centred
 *   AutoEncoderNew        encoder.*, decoder.weight, decoder.bias                              relu, not centred
 *   GatedAutoEncoder      decoder_bias, encoder.weight, r_mag, gate_bias, mag_bias, decoder.weight
 *   AutoEncoderTopK       b_dec, encoder.*, decoder.weight, k, threshold                       the k best
 *   BatchTopKSAE          the same                                                             above one threshold
 *   MatryoshkaBatchTopKSAE W_enc [d, m], W_dec [m, d], b_enc, b_dec, k, threshold, group_sizes above one threshold
 *   JumpReluAutoEncoder   W_enc, b_enc, W_dec, b_dec, threshold [m]                            not centred */
#include "dict/dict_format_int.h"
#include "base/log.h"
#include "base/map.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MOST_CLASS = 64 };

/* What is read of layer `layer`: what the module gives or, where buffer.io is "in", takes (dictionary_learning/buffer.py). submodule_name is the trainer's own
 * word ("resid_post_layer_8", "mlp_out_layer_3"); where it contradicts io nothing is named. */
static void name_site(sd_dict_info *info, const char *path, const char *module, const char *io, int layer)
{
    const bool in = io && strcmp(io, "in") == 0;
    const char *site = NULL;
    char name[96];
    if (!module) return;
    if (strstr(module, "mlp")) site = in ? "mlp.hook_in" : "hook_mlp_out";
    else if (strstr(module, "attn")) site = in ? "attn.hook_in" : "hook_attn_out";
    else if (strstr(module, "resid_pre")) site = "hook_resid_pre";
    else if (strstr(module, "resid_mid")) site = "hook_resid_mid";
    else if (!in) site = "hook_resid_post";
    else if (!strstr(module, "resid_post")) site = "hook_resid_pre";
    if (!site) {
        sd_log(SD_LOG_WARN, "%s: io is \"in\" and the module \"%.60s\": whether a block's input or output was read is not known; give --site", path, module);
        return;
    }
    snprintf(name, sizeof name, "blocks.%d.%s", layer, site);
    sd_format__site(info, name);
}

static sd_status read_config(sd_dict_info *info, char class_name[MOST_CLASS], const char *dir, sd_err *err)
{
    char path[SD_FORMAT_PATH];
    json_t *j = NULL;
    const char *s = NULL, *model = NULL, *module = NULL, *io = NULL;
    int64_t layer = -1;
    sd_status st = sd_format__in(path, dir, "config.json", err);
    if (st || !sd_file_exists(path)) return st;
    if ((st = sd_json_load(&j, path, 1 << 20, err))) return st;
    const json_t *trainer = json_object_get(j, "trainer"), *buffer = json_object_get(j, "buffer");
    if (!json_is_object(trainer)) st = sd_fail(err, SD_E_FORMAT, "%s: there is no \"trainer\"", path);
    if (!st) st = sd_json_opt_str(trainer, "dict_class", &s, path, err);
    if (!st) st = sd_json_opt_str(trainer, "lm_name", &model, path, err);
    if (!st) st = sd_json_opt_str(trainer, "submodule_name", &module, path, err);
    if (!st) st = sd_json_opt_i64(trainer, "layer", &layer, path, err);
    if (!st && json_is_object(buffer)) st = sd_json_opt_str(buffer, "io", &io, path, err);
    if (!st && io && strcmp(io, "out") != 0 && strcmp(io, "in") != 0) st = sd_fail(err, SD_E_UNSUPPORTED, "%s: io \"%.20s\": it reads one place and writes another", path, io);
    if (!st) {
        snprintf(class_name, MOST_CLASS, "%s", s ? s : "");
        if (model) snprintf(info->model_name, sizeof info->model_name, "%s", model);
        if (layer >= 0 && layer < 10000) name_site(info, path, module, io, (int)layer);
    }
    json_decref(j);
    return st;
}

static bool has(const sd_weights *w, const char *name) { return sd_weights_find(w, name) != NULL; }

/* The class by its tensors; BatchTopKSAE and AutoEncoderTopK have the same ones and are only told apart by config.json. */
static sd_status guess(char class_name[MOST_CLASS], const sd_weights *w, sd_err *err)
{
    const char *c = NULL;
    if (has(w, "gate_bias")) c = "GatedAutoEncoder";
    else if (has(w, "group_sizes")) c = "MatryoshkaBatchTopKSAE";
    else if (has(w, "W_enc") && has(w, "threshold")) c = "JumpReluAutoEncoder";
    else if (has(w, "bias")) c = "AutoEncoder";
    else if (has(w, "decoder.bias")) c = "AutoEncoderNew";
    if (!c) {
        (void)sd_fail(err, SD_E_FORMAT, "%s: the class of the dictionary cannot be told from its tensors, and config.json is not beside it", sd_weights_path(w));
        return sd_hint(err, "keep config.json with ae.pt: it says trainer.dict_class");
    }
    snprintf(class_name, MOST_CLASS, "%s", c);
    return SD_OK;
}

static sd_status one_threshold(sd_dict *d, const sd_weights *w, sd_err *err)
{
    double v = -1;
    const sd_status st = sd_format__scalar(&v, w, "threshold", err);
    if (st) return st;
    if (!(v >= 0)) {
        (void)sd_fail(err, SD_E_FORMAT, "%s: its threshold is %g: it was never set, so which features are active is not known", sd_weights_path(w), v);
        return sd_hint(err, "take a checkpoint from after threshold_start_step");
    }
    for (int64_t f = 0; f < d->info.m; f++) d->gate[f] = (float)v;
    return SD_OK;
}

static sd_status gated(sd_dict *d, const sd_weights *w, sd_err *err)
{
    const int64_t m = d->info.m, n = d->info.d;
    float *r = d->max_act, *gate = d->density; /* free until there are statistics */
    sd_status st = sd_format__vector(d->b_enc, m, w, "mag_bias", err);
    if (!st) st = sd_format__vector(r, m, w, "r_mag", err);
    if (!st) st = sd_format__vector(gate, m, w, "gate_bias", err);
    for (int64_t f = 0; f < m; f++) {
        const double e = exp((double)r[f]); /* the JumpReLU it equals: saelens.c has the formula */
        if (!st) d->gate[f] = (float)((double)d->b_enc[f] - e * (double)gate[f]);
        for (int64_t i = 0; i < n && !st; i++) d->W_enc[f * n + i] = (float)(e * (double)d->W_enc[f * n + i]);
        d->max_act[f] = 0;
        d->density[f] = NAN;
    }
    return st;
}

typedef struct shape { const char *name; sd_dict_kind kind; const char *b_dec; bool matrices, subtract; } shape; /* matrices: W_enc and W_dec, else encoder and decoder */

static sd_status read(sd_dict **out, sd_dict_info *info, const char *class_name, const sd_weights *w, bool *subtract, sd_err *err)
{
    static const shape table[] = {
        {"AutoEncoder", SD_DICT_STANDARD, "bias", false, true},
        {"AutoEncoderNew", SD_DICT_STANDARD, "decoder.bias", false, false},
        {"GatedAutoEncoder", SD_DICT_GATED, "decoder_bias", false, true},
        {"AutoEncoderTopK", SD_DICT_TOPK, "b_dec", false, true},
        {"BatchTopKSAE", SD_DICT_BATCHTOPK, "b_dec", false, true},
        {"MatryoshkaBatchTopKSAE", SD_DICT_MATRYOSHKA, "b_dec", true, true},
        {"JumpReluAutoEncoder", SD_DICT_JUMPRELU, "b_dec", true, false},
    };
    const shape *s = NULL;
    sd_dict *d = NULL;
    int64_t enc[2];
    double k = 0;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].name, class_name) == 0) s = &table[i];
    if (!s) return sd_fail(err, SD_E_UNSUPPORTED, "%s: the class \"%.60s\" of dictionaries is unknown", sd_weights_path(w), class_name);
    sd_status st = sd_format__dims(w, s->matrices ? "W_enc" : "encoder.weight", enc, err);
    if (!st && has(w, "k")) st = sd_format__scalar(&k, w, "k", err);
    if (st) return st;
    info->kind = s->kind;
    info->d = enc[s->matrices ? 0 : 1], info->m = enc[s->matrices ? 1 : 0];
    if (s->kind == SD_DICT_TOPK && !(k >= 1 && k <= (double)info->m)) return sd_fail(err, SD_E_FORMAT, "%s: k is %g; 1 to %lld features are possible", sd_weights_path(w), k, (long long)info->m);
    info->k = (int)(k >= 1 && k <= (double)info->m ? k : 0);
    const bool gate = s->kind != SD_DICT_STANDARD && s->kind != SD_DICT_TOPK;
    if ((st = sd_dict__new(&d, info, s->kind == SD_DICT_TOPK, gate, err))) return st;
    st = sd_format__matrix(d->W_enc, info->m, info->d, w, s->matrices ? "W_enc" : "encoder.weight", s->matrices, err);
    if (!st) st = sd_format__matrix(d->W_dec, info->m, info->d, w, s->matrices ? "W_dec" : "decoder.weight", !s->matrices, err);
    if (!st) st = sd_format__vector(d->b_dec, info->d, w, s->b_dec, err);
    if (!st && s->kind != SD_DICT_GATED) st = sd_format__vector(d->b_enc, info->m, w, s->matrices ? "b_enc" : "encoder.bias", err);
    if (!st && s->kind == SD_DICT_GATED) st = gated(d, w, err);
    if (!st && (s->kind == SD_DICT_BATCHTOPK || s->kind == SD_DICT_MATRYOSHKA)) st = one_threshold(d, w, err);
    if (!st && s->kind == SD_DICT_JUMPRELU) st = sd_format__vector(d->gate, info->m, w, "threshold", err);
    if (s->kind == SD_DICT_TOPK) (void)sd_weights_find(w, "threshold"); /* it may replace the choice by rank, but does not by default */
    (void)sd_weights_find(w, "group_sizes");
    *subtract = s->subtract;
    if (st) sd_dict_free(d);
    else *out = d;
    return st;
}

sd_status sd_format__open_dictionary_learning(sd_dict **out, const char *path, sd_err *err)
{
    char weights[SD_FORMAT_PATH], dir[SD_FORMAT_PATH], class_name[MOST_CLASS] = "";
    sd_weights *w = NULL;
    sd_dict *d = NULL;
    sd_dict_info info = {.fvu = NAN, .l0 = NAN};
    bool subtract = true;
    *out = NULL;
    const bool is_dir = sd_dir_exists(path);
    if (snprintf(dir, sizeof dir, "%s", path) >= (int)sizeof dir) return sd_fail(err, SD_E_ARG, "%s: the path is too long", path);
    if (!is_dir) {
        char *end = strrchr(dir, '/');
        snprintf(weights, sizeof weights, "%s", path);
        if (end) *end = 0;
        else snprintf(dir, sizeof dir, ".");
    }
    sd_status st = is_dir ? sd_format__in(weights, path, "ae.pt", err) : SD_OK;
    if (!st) st = read_config(&info, class_name, dir, err);
    if (!st) st = sd_weights_open_opt(&w, weights, &(sd_weights_opt){.arrays = true}, err);
    if (!st && !class_name[0]) st = guess(class_name, w, err);
    if (!st) st = read(&d, &info, class_name, w, &subtract, err);
    if (!st) st = sd_format__seal(d, w, subtract, err);
    sd_weights_close(w);
    if (st) sd_dict_free(d);
    else *out = d;
    return st;
}
