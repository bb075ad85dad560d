/* EleutherAI's sparsify (sparsify/sparse_coder.py): cfg.json and sae.safetensors in a folder named after the module that it hooks
 * ("layers.10", "layers.10.mlp"). z = the k best of relu((x - b_dec) W^T + b), without b_dec for a transcoder; x' = z W_dec + b_dec, with
 * a skip + x W_skip^T. sae-lens' reader turns W_dec round and guesses the centring; the code that trained it is followed here. */
#include "dict/dict_format_int.h"
#include "base/log.h"
#include "base/map.h"
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct cfg { int64_t k, d, latents, expansion; bool skip, transcode; } cfg;

static sd_status read_cfg(cfg *c, const char *path, sd_err *err)
{
    json_t *j = NULL;
    const char *activation = "topk";
    bool sign = false;
    *c = (cfg){0};
    sd_status st = sd_json_load(&j, path, 1 << 20, err);
    if (!st) st = sd_json_get_i64(j, "k", &c->k, path, err);
    if (!st) st = sd_json_get_i64(j, "d_in", &c->d, path, err);
    if (!st) st = sd_json_opt_i64(j, "num_latents", &c->latents, path, err);
    if (!st) st = sd_json_opt_i64(j, "expansion_factor", &c->expansion, path, err);
    if (!st) st = sd_json_opt_bool(j, "skip_connection", &c->skip, path, err);
    if (!st) st = sd_json_opt_bool(j, "transcode", &c->transcode, path, err);
    if (!st) st = sd_json_opt_bool(j, "signed", &sign, path, err);
    if (!st) st = sd_json_opt_str(j, "activation", &activation, path, err);
    if (!st && strcmp(activation, "topk") != 0) st = sd_fail(err, SD_E_UNSUPPORTED, "%s: activation \"%.40s\": topk is read", path, activation);
    if (!st && sign) st = sd_fail(err, SD_E_UNSUPPORTED, "%s: signed: it keeps negative activations", path);
    if (!st && !c->latents && c->expansion && (c->d < 1 || c->expansion < 1 || c->expansion > INT32_MAX / c->d))
        st = sd_fail(err, SD_E_SHAPE, "%s: a width of %lld times %lld is impossible", path, (long long)c->d, (long long)c->expansion);
    if (!st && c->skip && !c->transcode) st = sd_fail(err, SD_E_UNSUPPORTED, "%s: a skip connection without transcode: it reads and writes one site past its own features", path);
    json_decref(j);
    return st;
}

/* "layers.10" is what the block gives, "layers.10.mlp" what its MLP gives; a transcoder reads what the module takes and writes what it gives.
 * Of other modules of a block ("layers.10.input_layernorm") nothing is named. */
static void name_sites(sd_dict_info *info, const char *dir, bool transcode)
{
    char real[PATH_MAX], name[96];
    const char *base = realpath(dir, real) ? strrchr(real, '/') : NULL;
    const int layer = base ? sd_format__layer(base) : -1;
    if (layer < 0) return;
    const char *module = strstr(base, "layers.");
    if (!module) return;
    module += strlen("layers.") + strspn(module + strlen("layers."), "0123456789");
    const bool mlp = strcmp(module, ".mlp") == 0, attn = strcmp(module, ".self_attn") == 0 || strcmp(module, ".attention") == 0 || strcmp(module, ".attn") == 0;
    if (!mlp && !attn && *module) return;
    const char *in = mlp ? "mlp.hook_in" : attn ? "attn.hook_in" : "hook_resid_pre", *out = mlp ? "hook_mlp_out" : attn ? "hook_attn_out" : "hook_resid_post";
    snprintf(name, sizeof name, "blocks.%d.%s", layer, transcode ? in : out);
    sd_format__site(info, name);
    if (!transcode) return;
    snprintf(name, sizeof name, "blocks.%d.%s", layer, out);
    sd_format__site_out(info, name);
}

sd_status sd_format__open_sparsify(sd_dict **out, const char *dir, sd_err *err)
{
    char path[SD_FORMAT_PATH], weights[SD_FORMAT_PATH];
    cfg c;
    sd_weights *w = NULL;
    sd_dict *d = NULL;
    int64_t enc[2], dec[2];
    *out = NULL;
    sd_status st = sd_format__in(path, dir, "cfg.json", err);
    if (!st) st = sd_format__in(weights, dir, "sae.safetensors", err);
    if (!st) st = read_cfg(&c, path, err);
    if (!st) st = sd_weights_open(&w, weights, err);
    if (!st) st = sd_format__dims(w, "encoder.weight", enc, err);
    if (!st) st = sd_format__dims(w, "W_dec", dec, err);
    if (st) goto done;
    const int64_t m = c.latents ? c.latents : c.expansion ? c.d * c.expansion : enc[0];
    if (enc[0] != m || enc[1] != c.d || c.k < 1 || c.k > m) {
        st = sd_fail(err, SD_E_SHAPE, "%s: encoder.weight is [%lld, %lld]; cfg.json says %lld features of width %lld, %lld active", weights, (long long)enc[0], (long long)enc[1],
                     (long long)m, (long long)c.d, (long long)c.k);
        goto done;
    }
    /* Native files hold [features, width]; some were saved the other way round. */
    const bool turned = dec[0] != m && dec[1] == m;
    sd_dict_info info = {.kind = !c.transcode ? SD_DICT_TOPK : c.skip ? SD_DICT_SKIP_TRANSCODER : SD_DICT_TRANSCODER, .d = c.d, .d_out = turned ? dec[0] : dec[1], .m = m,
                         .k = (int)c.k, .fvu = NAN, .l0 = NAN};
    name_sites(&info, dir, c.transcode);
    if (c.skip) st = sd_format__expect(w, "W_skip", info.d_out, c.d, err);
    if (!st) st = sd_dict__new(&d, &info, true, false, err);
    if (st) goto done;
    st = sd_format__matrix(d->W_enc, m, c.d, w, "encoder.weight", false, err);
    if (!st) st = sd_format__vector(d->b_enc, m, w, "encoder.bias", err);
    if (!st) st = sd_format__matrix(d->W_dec, m, info.d_out, w, "W_dec", turned, err);
    if (!st) st = sd_format__vector(d->b_dec, info.d_out, w, "b_dec", err);
    if (!st && d->W_skip) st = sd_format__matrix(d->W_skip, info.d_out, c.d, w, "W_skip", false, err);
    if (!st) st = sd_format__seal(d, w, !c.transcode, err);
done:
    sd_weights_close(w);
    if (st) sd_dict_free(d);
    else *out = d;
    return st;
}

sd_status sd_format__save_sparsify(const sd_dict *d, const char *dir, sd_err *err)
{
    const sd_dict_info *i = &d->info;
    char path[SD_FORMAT_PATH], cfg_path[SD_FORMAT_PATH];
    if (!d->topk) {
        (void)sd_fail(err, SD_E_UNSUPPORTED, "sparsify takes the k best features of a token; this is a %s, which has another gate", sd_dict_kind_name(i->kind));
        return sd_hint(err, "saelens holds it");
    }
    if (!sd_dict_kind_maps(i->kind) && !d->input_centred)
        return sd_fail(err, SD_E_UNSUPPORTED, "sparsify subtracts b_dec before it encodes; this dictionary does not");
    if (d->row_norm) return sd_fail(err, SD_E_UNSUPPORTED, "sparsify has no place for rows that are scaled by themselves");
    if (i->d_out != i->d) return sd_fail(err, SD_E_UNSUPPORTED, "sparsify maps a site to one of the same width; this is from %lld to %lld", (long long)i->d, (long long)i->d_out);
    sd_status st = sd_dir_make(dir, err);
    if (!st) st = sd_format__in(path, dir, "sae.safetensors", err);
    if (!st) st = sd_format__in(cfg_path, dir, "cfg.json", err);
    if (st) return st;
    const sd_st_tensor list[] = {{"encoder.weight", SD_F32, 2, {i->m, i->d}, d->W_enc}, {"encoder.bias", SD_F32, 1, {i->m}, d->b_enc},
                                 {"W_dec", SD_F32, 2, {i->m, i->d_out}, d->W_dec}, {"b_dec", SD_F32, 1, {i->d_out}, d->b_dec}, {"W_skip", SD_F32, 2, {i->d_out, i->d}, d->W_skip}};
    if ((st = sd_safetensors_write(path, list, d->W_skip ? 5 : 4, NULL, err))) return st;
    sd_buf b;
    sd_jw w;
    sd_buf_init(&b, 1 << 16);
    sd_jw_init(&w, &b);
    sd_jw_obj(&w);
    sd_jw_kstr(&w, "activation", "topk");
    sd_jw_ki64(&w, "expansion_factor", i->m / i->d > 0 ? i->m / i->d : 1);
    sd_jw_kbool(&w, "normalize_decoder", !sd_dict_kind_maps(i->kind));
    sd_jw_ki64(&w, "num_latents", i->m);
    sd_jw_ki64(&w, "k", i->k);
    sd_jw_kbool(&w, "multi_topk", false);
    sd_jw_kbool(&w, "skip_connection", d->W_skip != NULL);
    sd_jw_kbool(&w, "transcode", sd_dict_kind_maps(i->kind));
    sd_jw_ki64(&w, "d_in", i->d);
    sd_jw_end(&w);
    st = sd_buf_check(&b, "cfg.json", err);
    if (!st) st = sd_file_write_atomic(cfg_path, b.p, b.n, err); /* last: a folder without it is none */
    sd_buf_release(&b);
    return st;
}
