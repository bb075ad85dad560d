/* Gemma Scope: JumpReLU without centring by b_dec.
 *   1  params.npz: W_enc [d, m], W_dec [m, d_out], b_enc, b_dec, threshold; site and model are in the path only. The embedding dictionaries
 *      were trained on rows times sqrt(d) (sae-lens' loader).
 *   2  config.json and params.safetensors: w_enc, w_dec, .. and for skip transcoders affine_skip_connection [d, d_out]. */
#include "dict/dict_format_int.h"
#include "base/map.h"
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct names { const char *enc, *dec, *skip; } names;

/* Where a Gemma Scope 1 folder lies tells what it is of: gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82. */
static void from_path(sd_dict_info *info, const char *path)
{
    char real[PATH_MAX], name[96];
    const char *at = realpath(path, real) ? strstr(real, "gemma-scope-") : NULL;
    const int layer = at ? sd_format__layer(at) : -1;
    if (!at) return;
    const char *rest = at + strlen("gemma-scope-");
    const size_t n = strcspn(rest, "-/");
    if (n && n < 8) snprintf(info->model_name, sizeof info->model_name, "gemma-2-%.*s%s", (int)n, rest, strncmp(rest + n, "-it", 3) == 0 ? "-it" : "");
    if (strstr(at, "embedding")) {
        sd_format__site(info, "hook_embed");
        return;
    }
    if (layer < 0) return;
    if (strstr(at, "-transcoders")) {
        snprintf(name, sizeof name, "blocks.%d.mlp.hook_in", layer); /* behind the norm and its weight (formats of sae-lens: ln2.hook_normalized) */
        sd_format__site(info, name);
        snprintf(name, sizeof name, "blocks.%d.hook_mlp_out", layer);
        sd_format__site_out(info, name);
        return;
    }
    snprintf(name, sizeof name, "blocks.%d.%s", layer, strstr(at, "-mlp") ? "hook_mlp_out" : strstr(at, "-att") ? "attn.hook_z" : "hook_resid_post");
    sd_format__site(info, name);
}

/* transformers' modules; what their names mean here. */
static void hf_name(char out[96], const char *hf)
{
    static const struct { const char *end, *site; } table[] = {
        {".post_feedforward_layernorm.output", "hook_mlp_out"}, {".self_attn.o_proj.input", "attn.hook_z"}, {".post_attention_layernorm.output", "hook_attn_out"}, {".output", "hook_resid_post"}};
    const int layer = sd_format__layer(hf);
    snprintf(out, 96, "%s", hf);
    if (sd_slice_ends(sd_slice_of(hf), ".pre_feedforward_layernorm.output")) snprintf(out, 96, "blocks.%d.mlp.hook_in", layer);
    else
        for (size_t i = 0; i < sizeof table / sizeof *table && layer >= 0; i++)
            if (sd_slice_ends(sd_slice_of(hf), table[i].end)) {
                snprintf(out, 96, "blocks.%d.%s", layer, table[i].site);
                return;
            }
}

static sd_status from_config(sd_dict_info *info, bool *maps, const char *path, sd_err *err)
{
    json_t *j = NULL;
    const char *arch = NULL, *in = NULL, *to = NULL, *model = NULL;
    bool affine = false;
    char name[96];
    sd_status st = sd_json_load(&j, path, 1 << 20, err);
    if (!st) st = sd_json_opt_str(j, "architecture", &arch, path, err);
    if (!st) st = sd_json_opt_str(j, "hf_hook_point_in", &in, path, err);
    if (!st) st = sd_json_opt_str(j, "hf_hook_point_out", &to, path, err);
    if (!st) st = sd_json_opt_str(j, "model_name", &model, path, err);
    if (!st) st = sd_json_opt_bool(j, "affine_connection", &affine, path, err);
    if (!st && (!arch || strcmp(arch, "jump_relu") != 0)) st = sd_fail(err, SD_E_UNSUPPORTED, "%s: architecture \"%.40s\": jump_relu is read", path, arch ? arch : "");
    if (!st) {
        if (model) snprintf(info->model_name, sizeof info->model_name, "%s", model);
        if (in) hf_name(name, in), sd_format__site(info, name);
        *maps = (to && (!in || strcmp(to, in) != 0)) || affine;
        if (*maps && to) hf_name(name, to), sd_format__site_out(info, name);
        /* The number of active features that training aimed at. */
        double l0 = NAN;
        (void)sd_json_opt_f64(j, "l0", &l0, path, NULL);
        info->l0 = l0;
    }
    json_decref(j);
    return st;
}

static sd_status read(sd_dict **out, sd_dict_info *info, bool maps, const names *n, const sd_weights *w, sd_err *err)
{
    int64_t enc[2], dec[2];
    sd_dict *d = NULL;
    sd_status st = sd_format__dims(w, n->enc, enc, err);
    if (!st) st = sd_format__dims(w, n->dec, dec, err);
    if (st) return st;
    const bool skip = n->skip && sd_weights_find(w, n->skip);
    if (!maps && dec[1] != enc[0]) maps = true;
    info->kind = skip ? SD_DICT_SKIP_TRANSCODER : maps ? SD_DICT_TRANSCODER : SD_DICT_JUMPRELU;
    info->d = enc[0], info->m = enc[1], info->d_out = dec[1];
    if (skip) st = sd_format__expect(w, n->skip, info->d, info->d_out, err);
    if (!st) st = sd_dict__new(&d, info, false, true, err);
    if (st) return st;
    st = sd_format__matrix(d->W_enc, info->m, info->d, w, n->enc, true, err);
    if (!st) st = sd_format__matrix(d->W_dec, info->m, info->d_out, w, n->dec, false, err);
    if (!st) st = sd_format__vector(d->b_enc, info->m, w, "b_enc", err);
    if (!st) st = sd_format__vector(d->b_dec, info->d_out, w, "b_dec", err);
    if (!st) st = sd_format__vector(d->gate, info->m, w, "threshold", err);
    if (!st && skip) st = sd_format__matrix(d->W_skip, info->d_out, info->d, w, n->skip, true, err);
    if (st) sd_dict_free(d);
    else *out = d;
    return st;
}

sd_status sd_format__open_gemma(sd_dict **out, const char *path, sd_err *err)
{
    static const names one = {"W_enc", "W_dec", NULL}, one_small = {"w_enc", "w_dec", NULL}, two = {"w_enc", "w_dec", "affine_skip_connection"};
    char weights[SD_FORMAT_PATH], config[SD_FORMAT_PATH];
    sd_weights *w = NULL;
    sd_dict *d = NULL;
    sd_dict_info info = {.fvu = NAN, .l0 = NAN};
    bool maps = false;
    *out = NULL;
    const bool dir = sd_dir_exists(path);
    sd_status st = dir ? sd_format__in(weights, path, "params.npz", err) : SD_OK;
    if (!dir) snprintf(weights, sizeof weights, "%s", path);
    const bool second = dir && !sd_file_exists(weights);
    if (!st && second) st = sd_format__in(weights, path, "params.safetensors", err);
    if (!st && second) st = sd_format__in(config, path, "config.json", err);
    if (!st && second) st = from_config(&info, &maps, config, err);
    if (!st && !second) {
        from_path(&info, path);
        maps = info.hook_name_out[0] != 0;
    }
    if (!st) st = sd_weights_open_opt(&w, weights, &(sd_weights_opt){.arrays = true}, err);
    if (!st) st = read(&d, &info, maps, second ? &two : sd_weights_find(w, "W_enc") ? &one : &one_small, w, err);
    if (!st && !second && info.kind == SD_DICT_JUMPRELU && strcmp(info.hook_name, "hook_embed") == 0) {
        const float s = sqrtf((float)info.d);
        for (int64_t i = 0; i < info.m * info.d; i++) d->W_enc[i] /= s, d->W_dec[i] *= s;
    }
    if (!st) st = sd_format__seal(d, w, false, err);
    sd_weights_close(w);
    if (st) sd_dict_free(d);
    else *out = d;
    return st;
}
