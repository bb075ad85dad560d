/* circuit-tracer's transcoder sets (circuit_tracer/transcoder/single_layer_transcoder.py): layer_N.safetensors a layer, with config.yaml
 * beside them that names the model and the two hooks.
 *   W_enc [m, d], b_enc, W_dec [m, d], b_dec, activation_function.threshold [m] where it is a JumpReLU, W_skip [d, d] (x W_skip^T)
 * Older files hold W_dec as [d, m]; where m = d the newer order is taken. path: a layer's file, or a folder that holds a single one. */
#include "dict/dict_format_int.h"
#include "base/log.h"
#include "base/map.h"
#include "file/yaml.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* The one layer_N.safetensors of a folder. */
static sd_status only_layer(char out[SD_FORMAT_PATH], const char *dir, sd_err *err)
{
    sd_paths files = {0};
    int64_t found = 0;
    sd_status st = sd_dir_list(&files, dir, err);
    for (int64_t i = 0; i < files.n && !st; i++) {
        const char *base = strrchr(files.v[i], '/');
        base = base ? base + 1 : files.v[i];
        if (strncmp(base, "layer_", 6) != 0 || !sd_slice_ends(sd_slice_of(base), ".safetensors")) continue;
        found++;
        if (snprintf(out, SD_FORMAT_PATH, "%s", files.v[i]) >= SD_FORMAT_PATH) st = sd_fail(err, SD_E_ARG, "%s: the path is too long", dir);
    }
    if (!st && found != 1) {
        (void)sd_fail(err, SD_E_FORMAT, "%s holds %lld layers; a dictionary is of one", dir, (long long)found);
        st = sd_hint(err, "give the file: %s/layer_N.safetensors", dir);
    }
    sd_paths_free(&files);
    return st;
}

static const char *text(const json_t *j, const char *key) { return json_string_value(json_object_get(j, key)); }

/* Model, hooks and k of config.yaml; a file without one has no site. */
static sd_status read_config(sd_dict_info *info, int64_t *k, const char *file, sd_err *err)
{
    char path[SD_FORMAT_PATH], name[128];
    json_t *j = NULL;
    const int layer = sd_format__layer(file);
    const char *end = strrchr(file, '/');
    *k = 0;
    if (snprintf(path, sizeof path, "%.*sconfig.yaml", end ? (int)(end - file + 1) : 0, file) >= (int)sizeof path) return sd_fail(err, SD_E_ARG, "%s: the path is too long", file);
    if (!sd_file_exists(path)) return SD_OK;
    sd_status st = sd_yaml_load(&j, path, 1 << 20, err);
    if (st) return st;
    const char *kind = text(j, "model_kind"), *model = text(j, "model_name"), *in = text(j, "feature_input_hook"), *to = text(j, "feature_output_hook");
    const char *act = text(j, "activation"), *count = text(j, "k");
    if (!json_is_object(j)) st = sd_fail(err, SD_E_FORMAT, "%s: this is no mapping", path);
    else if (kind && strcmp(kind, "transcoder_set") != 0) st = sd_fail(err, SD_E_UNSUPPORTED, "%s: model_kind %.40s: a layer of it writes many sites; transcoder_set is read", path, kind);
    else if (act && strcmp(act, "topk") == 0 && (!count || !sd_parse_i64(sd_slice_of(count), k) || *k < 1)) st = sd_fail(err, SD_E_FORMAT, "%s: activation topk needs k", path);
    else if (act && strcmp(act, "topk") != 0 && strcmp(act, "relu") != 0 && strcmp(act, "jump_relu") != 0 && strcmp(act, "jumprelu") != 0)
        st = sd_fail(err, SD_E_UNSUPPORTED, "%s: activation %.40s is unknown", path, act);
    if (!st && model) snprintf(info->model_name, sizeof info->model_name, "%s", model);
    if (!st && in && layer >= 0) {
        snprintf(name, sizeof name, "blocks.%d.%.80s", layer, in);
        sd_format__site(info, name);
    }
    if (!st && to && layer >= 0) {
        snprintf(name, sizeof name, "blocks.%d.%.80s", layer, to);
        sd_format__site_out(info, name);
    }
    json_decref(j);
    return st;
}

sd_status sd_format__open_circuit(sd_dict **out, const char *path, sd_err *err)
{
    char file[SD_FORMAT_PATH];
    sd_weights *w = NULL;
    sd_dict *d = NULL;
    sd_dict_info info = {.fvu = NAN, .l0 = NAN};
    int64_t enc[2], dec[2], k = 0;
    *out = NULL;
    sd_status st = SD_OK;
    if (sd_dir_exists(path)) st = only_layer(file, path, err);
    else if (snprintf(file, sizeof file, "%s", path) >= (int)sizeof file) st = sd_fail(err, SD_E_ARG, "%s: the path is too long", path);
    if (!st) st = read_config(&info, &k, file, err);
    if (!st) st = sd_weights_open(&w, file, err);
    if (!st) st = sd_format__dims(w, "W_enc", enc, err);
    if (!st) st = sd_format__dims(w, "W_dec", dec, err);
    if (st) goto done;
    const bool skip = sd_weights_find(w, "W_skip") != NULL, gate = sd_weights_find(w, "activation_function.threshold") != NULL;
    const bool turned = dec[0] != enc[0] && dec[1] == enc[0];
    info.kind = skip ? SD_DICT_SKIP_TRANSCODER : SD_DICT_TRANSCODER;
    info.m = enc[0], info.d = enc[1], info.d_out = turned ? dec[0] : dec[1];
    info.k = gate ? 0 : (int)k;
    if (k > info.m) {
        st = sd_fail(err, SD_E_FORMAT, "%s: k is %lld of %lld features", file, (long long)k, (long long)info.m);
        goto done;
    }
    if (skip) st = sd_format__expect(w, "W_skip", info.d_out, info.d, err);
    if (!st) st = sd_dict__new(&d, &info, info.k > 0, gate, err);
    if (st) goto done;
    st = sd_format__matrix(d->W_enc, info.m, info.d, w, "W_enc", false, err);
    if (!st) st = sd_format__matrix(d->W_dec, info.m, info.d_out, w, "W_dec", turned, err);
    if (!st) st = sd_format__vector(d->b_enc, info.m, w, "b_enc", err);
    if (!st) st = sd_format__vector(d->b_dec, info.d_out, w, "b_dec", err);
    if (!st && gate) st = sd_format__vector(d->gate, info.m, w, "activation_function.threshold", err);
    if (!st && skip) st = sd_format__matrix(d->W_skip, info.d_out, info.d, w, "W_skip", false, err);
    if (!st) st = sd_format__seal(d, w, false, err);
done:
    sd_weights_close(w);
    if (st) sd_dict_free(d);
    else *out = d;
    return st;
}

/* A hook's name without its layer: "hook_resid_mid". */
static const char *hook_of(const char *tl)
{
    const char *p = strstr(tl, "blocks.");
    p = p ? strchr(p + 7, '.') : NULL;
    return p ? p + 1 : tl;
}

static void put_config(sd_buf *b, const sd_dict_info *i, int layer, bool topk)
{
    const char *model = strrchr(i->model_name, '/');
    sd_buf_printf(b, "# One layer of a set; circuit-tracer wants every layer from 0 on: put the others beside it and list them.\n");
    sd_buf_printf(b, "model_kind: transcoder_set\nmodel_name: \"%s\"\nfeature_input_hook: \"%s\"\nfeature_output_hook: \"%s\"\n", i->model_name, hook_of(i->hook_name), hook_of(i->hook_name_out));
    if (topk) sd_buf_printf(b, "activation: topk\nk: %d\n", i->k);
    sd_buf_printf(b, "scan: \"%s-sonde\"\ntranscoders:\n  - id: \"layer_%d\"\n    layer: %d\n    filepath: \"layer_%d.safetensors\"\n", model ? model + 1 : i->model_name, layer, layer, layer);
}

sd_status sd_format__save_circuit(const sd_dict *d, const char *dir, sd_err *err)
{
    const sd_dict_info *i = &d->info;
    const int layer = sd_format__layer(i->hook_name_out[0] ? i->hook_name_out : i->hook_name);
    char path[SD_FORMAT_PATH], config[SD_FORMAT_PATH], name[64];
    if (!sd_dict_kind_maps(i->kind)) {
        (void)sd_fail(err, SD_E_UNSUPPORTED, "circuit-tracer replaces MLPs: it takes transcoders, this is a %s of one site", sd_dict_kind_name(i->kind));
        return sd_hint(err, "sonde dict train --kind transcoder --site resid_mid.L --to mlp_out.L");
    }
    if (layer < 0 || i->d_out != i->d) return sd_fail(err, SD_E_UNSUPPORTED, "circuit-tracer takes transcoders of one layer whose two sites are equally wide; this is from %s (%lld) to %s (%lld)",
                                                      i->hook_name, (long long)i->d, i->hook_name_out, (long long)i->d_out);
    if (strpbrk(i->model_name, "\"\\") || strpbrk(i->hook_name, "\"\\") || strpbrk(i->hook_name_out, "\"\\")) return sd_fail(err, SD_E_FORMAT, "the dictionary's names hold quotes");
    snprintf(name, sizeof name, "layer_%d.safetensors", layer);
    sd_status st = sd_dir_make(dir, err);
    if (!st) st = sd_format__in(path, dir, name, err);
    if (!st) st = sd_format__in(config, dir, "config.yaml", err);
    if (st) return st;
    sd_st_tensor list[6] = {{"W_enc", SD_F32, 2, {i->m, i->d}, d->W_enc}, {"W_dec", SD_F32, 2, {i->m, i->d_out}, d->W_dec}, {"b_enc", SD_F32, 1, {i->m}, d->b_enc},
                            {"b_dec", SD_F32, 1, {i->d_out}, d->b_dec}};
    int n = 4;
    if (d->gate) list[n++] = (sd_st_tensor){"activation_function.threshold", SD_F32, 1, {i->m}, d->gate};
    if (d->W_skip) list[n++] = (sd_st_tensor){"W_skip", SD_F32, 2, {i->d_out, i->d}, d->W_skip};
    if ((st = sd_safetensors_write(path, list, n, NULL, err))) return st;
    sd_buf b;
    sd_buf_init(&b, 1 << 16);
    put_config(&b, i, layer, d->topk);
    st = sd_buf_check(&b, "config.yaml", err);
    if (!st) st = sd_file_write_atomic(config, b.p, b.n, err);
    sd_buf_release(&b);
    return st;
}
