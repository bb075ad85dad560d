/* openai/sparse_autoencoder (sparse_autoencoder/model.py), and Goodfire's files of the same idea: one .pt file.
 *   pre_bias [d], encoder.weight [m, d], latent_bias [m], decoder.weight [d, m], activation (a class name), activation_state_dict.k
 *   z = act((x - pre_bias) W^T + latent_bias), x' = z W_dec + pre_bias
 * Their TopK dictionaries (the published v5 ones) scale each row to its own mean and spread first, `normalize = activation_class_name == "TopK"`,
 * and take the relu of the k largest. */
#include "dict/dict_format_int.h"
#include <math.h>
#include <string.h>

static sd_status goodfire(sd_dict **out, const sd_weights *w, sd_err *err)
{
    int64_t enc[2];
    sd_dict *d = NULL;
    sd_status st = sd_format__dims(w, "encoder_linear.weight", enc, err);
    if (st) return st;
    const sd_dict_info info = {.kind = SD_DICT_STANDARD, .d = enc[1], .m = enc[0], .fvu = NAN, .l0 = NAN};
    if ((st = sd_dict__new(&d, &info, false, false, err))) return st;
    st = sd_format__matrix(d->W_enc, info.m, info.d, w, "encoder_linear.weight", false, err);
    if (!st) st = sd_format__vector(d->b_enc, info.m, w, "encoder_linear.bias", err);
    if (!st) st = sd_format__matrix(d->W_dec, info.m, info.d, w, "decoder_linear.weight", true, err);
    if (!st) st = sd_format__vector(d->b_dec, info.d, w, "decoder_linear.bias", err);
    if (!st) st = sd_format__seal(d, w, false, err);
    if (st) sd_dict_free(d);
    else *out = d;
    return st;
}

static sd_status openai(sd_dict **out, const sd_weights *w, sd_err *err)
{
    static const char *const statistics[] = {"stats_last_nonzero", "latents_activation_frequency", "latents_mean_square"};
    int64_t enc[2];
    sd_dict *d = NULL;
    sd_slice act = SD_LIT("ReLU"), post = SD_LIT("ReLU");
    uint64_t k = 0;
    sd_status st = sd_format__dims(w, "encoder.weight", enc, err);
    if (!st && sd_weights_has_kv(w, "activation")) st = sd_weights_kv_str(w, "activation", &act, err);
    if (st) return st;
    const bool topk = sd_slice_eq_str(act, "TopK");
    if (!topk && !sd_slice_eq_str(act, "ReLU")) return sd_fail(err, SD_E_UNSUPPORTED, "%s: the activation \"%.*s\" is unknown; ReLU and TopK are read", sd_weights_path(w), SD_SLICE(act));
    if (topk && (st = sd_weights_kv_u64(w, "activation_state_dict.k", &k, err))) return st;
    if (topk && sd_weights_has_kv(w, "activation_state_dict.postact_fn") && (st = sd_weights_kv_str(w, "activation_state_dict.postact_fn", &post, err))) return st;
    if (!sd_slice_eq_str(post, "ReLU")) return sd_fail(err, SD_E_UNSUPPORTED, "%s: %.*s follows the choice of the k largest; ReLU is read", sd_weights_path(w), SD_SLICE(post));
    if (topk && (k < 1 || k > (uint64_t)enc[0] || k > 1 << 20)) return sd_fail(err, SD_E_FORMAT, "%s: k %llu of %lld features", sd_weights_path(w), (unsigned long long)k, (long long)enc[0]);
    const sd_dict_info info = {.kind = topk ? SD_DICT_TOPK : SD_DICT_STANDARD, .d = enc[1], .m = enc[0], .k = (int)k, .fvu = NAN, .l0 = NAN};
    if ((st = sd_dict__new(&d, &info, topk, false, err))) return st;
    d->row_norm = topk ? SD_ROW_LAYER : SD_ROW_AS_IS;
    for (int i = 0; i < 3; i++) (void)sd_weights_find(w, statistics[i]);
    st = sd_format__matrix(d->W_enc, info.m, info.d, w, "encoder.weight", false, err);
    if (!st) st = sd_format__vector(d->b_enc, info.m, w, "latent_bias", err);
    if (!st) st = sd_format__matrix(d->W_dec, info.m, info.d, w, "decoder.weight", true, err);
    if (!st) st = sd_format__vector(d->b_dec, info.d, w, "pre_bias", err);
    if (!st) st = sd_format__seal(d, w, true, err);
    if (st) sd_dict_free(d);
    else *out = d;
    return st;
}

sd_status sd_format__open_openai(sd_dict **out, const char *path, sd_err *err)
{
    sd_weights *w = NULL;
    *out = NULL;
    sd_status st = sd_weights_open_opt(&w, path, &(sd_weights_opt){.arrays = true}, err);
    if (!st) st = sd_weights_find(w, "encoder_linear.weight") ? goodfire(out, w, err) : openai(out, w, err);
    sd_weights_close(w);
    return st;
}
