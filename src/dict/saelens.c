/* Reading a SAELens directory (reference: sae_lens 6.54, folders saes and loading). SAELens drops keys it
 * does not know and ignores some it does; here every setting that changes the numbers is either done or refused.
 *
 * gated    f = 1[p > 0] relu(q),  p = xc.w + b_gate,  q = e^r (xc.w) + b_mag     (Rajamanoharan et al. 2024, arXiv 2404.16014)
 *          p > 0  <=>  q > b_mag - e^r b_gate: the JumpReLU with rows e^r w, bias b_mag and that threshold (shown there).
 * topk with rescale_acts_by_decoder_norm: selects and reports g = |D_f| pre, decodes (g / |D_f|) D_f: the plain TopK with rows
 *          |D_f| w, biases |D_f| b and unit decoder rows. */
#include "dict/dict_format_int.h"
#include "dict/saelens_int.h"
#include "base/json.h"
#include "base/log.h"
#include "base/map.h"
#include "file/weights.h"
#include <limits.h>
#include <math.h>
#include <stdio.h>

typedef struct cfg {
    const json_t *j, *meta, *own; /* document, metadata, metadata.sonde (may be NULL) */
    const char *what;             /* path of cfg.json */
    bool legacy;                  /* written before 6.0.0 */
    sd_dict_kind kind;
    int64_t d, out, m, k;
    bool subtract, rescale, gated_by_threshold;
    sd_row_norm row_norm;
} cfg;

static sd_status refuse(const cfg *c, sd_err *err, const char *key, const char *value, const char *why)
{
    return sd_fail(err, SD_E_UNSUPPORTED, "%s: %s \"%s\": %s", c->what, key, value, why);
}

static const json_t *get(const cfg *c, const char *key) { return json_object_get(c->j, key); }

/* A string, or `def` when absent or null; legacy spellings of dtype begin with "torch.". */
static sd_status text(const cfg *c, const char *key, const char *def, const char **out, sd_err *err)
{
    *out = def;
    return sd_json_opt_str(c->j, key, out, c->what, err);
}

static sd_status read_architecture(cfg *c, sd_err *err)
{
    static const struct { const char *name, *why; } never[] = {
        {"batchtopk", "this is a training checkpoint; sae-lens saves the dictionary for use as jumprelu"},
        {"matryoshka_batchtopk", "this is a training checkpoint; sae-lens saves the dictionary for use as jumprelu"},
        {"abstopk", "it selects by absolute value and keeps negative activations"},
        {"matching_pursuit", "it has no encoder: features are found by pursuit"},
        {"temporal", "it attends to earlier tokens"},
    };
    static const struct { const char *name; sd_dict_kind kind; bool threshold; } maps[] = {
        {"transcoder", SD_DICT_TRANSCODER, false}, {"skip_transcoder", SD_DICT_SKIP_TRANSCODER, false},
        {"jumprelu_transcoder", SD_DICT_TRANSCODER, true}, {"jumprelu_skip_transcoder", SD_DICT_SKIP_TRANSCODER, true},
    };
    const char *a, *fn;
    sd_status st = text(c, "architecture", c->legacy ? "standard" : NULL, &a, err);
    if (st) return st;
    if (!a) return sd_fail(err, SD_E_FORMAT, "%s: there is no \"architecture\"", c->what);
    st = text(c, get(c, "activation_fn") ? "activation_fn" : "activation_fn_str", "relu", &fn, err);
    if (st) return st;
    if (c->legacy && strcmp(fn, "topk") == 0) a = "topk";
    else if (strcmp(fn, "relu") != 0 && strcmp(fn, "topk") != 0) return refuse(c, err, "activation_fn", fn, "only relu and topk are known");
    for (sd_dict_kind k = SD_DICT_STANDARD; k <= SD_DICT_TOPK; k++)
        if (strcmp(a, sd_dict_kind_name(k)) == 0) {
            c->kind = k;
            c->gated_by_threshold = k == SD_DICT_JUMPRELU;
            return SD_OK;
        }
    for (size_t i = 0; i < sizeof maps / sizeof *maps; i++)
        if (strcmp(a, maps[i].name) == 0) {
            c->kind = maps[i].kind;
            c->gated_by_threshold = maps[i].threshold;
            return SD_OK;
        }
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        if (strcmp(a, never[i].name) == 0) {
            (void)refuse(c, err, "architecture", a, never[i].why);
            return i < 2 ? sd_hint(err, "in Python: sae.save_inference_model(DIR)") : SD_E_UNSUPPORTED;
        }
    return refuse(c, err, "architecture", a, "unknown; known are standard, gated, jumprelu, topk and the transcoders");
}

static sd_status read_normalisation(cfg *c, sd_err *err)
{
    const json_t *v = get(c, "normalize_activations");
    if (!v || json_is_null(v) || json_is_false(v)) return SD_OK;
    const char *s = json_is_true(v) ? "expected_average_only_in" : json_string_value(v);
    if (!s) return sd_fail(err, SD_E_FORMAT, "%s: \"normalize_activations\" is no text", c->what);
    if (strcmp(s, "none") == 0) return SD_OK;
    if (strcmp(s, "expected_average_only_in") == 0) {
        sd_log(SD_LOG_WARN, "%s: normalize_activations is expected_average_only_in, but its factor is not in the folder; the weights are used as they are, as sae-lens does", c->what);
        return SD_OK;
    }
    if (strcmp(s, "layer_norm") == 0 || strcmp(s, "constant_norm_rescale") == 0) {
        if (sd_dict_kind_maps(c->kind)) return refuse(c, err, "normalize_activations", s, "a transcoder's rows are of two sites, and which one's scale goes back is not said");
        c->row_norm = s[0] == 'l' ? SD_ROW_LAYER : SD_ROW_CONSTANT;
        return SD_OK;
    }
    if (strcmp(s, "covariance_whitening") == 0)
        return refuse(c, err, "normalize_activations", s, "the whitening was not folded into the weights and is not in the folder");
    return refuse(c, err, "normalize_activations", s, "unknown");
}

static sd_status read_settings(cfg *c, sd_err *err)
{
    const char *dtype, *reshape;
    bool scaled = false;
    sd_status st = sd_json_get_i64(c->j, "d_in", &c->d, c->what, err);
    if (!st) st = sd_json_get_i64(c->j, "d_sae", &c->m, c->what, err);
    if (!st) st = text(c, "dtype", "float32", &dtype, err);
    if (!st) st = text(c, "reshape_activations", "none", &reshape, err);
    if (!st) st = sd_json_opt_bool(c->j, "finetuning_scaling_factor", &scaled, c->what, err);
    c->out = c->d;
    if (!st && sd_dict_kind_maps(c->kind)) st = sd_json_get_i64(c->j, "d_out", &c->out, c->what, err);
    if (!st && sd_dict_kind_maps(c->kind) && c->out < 1) st = sd_fail(err, SD_E_FORMAT, "%s: d_out is %lld", c->what, (long long)c->out);
    c->subtract = !sd_dict_kind_maps(c->kind);
    if (!st) st = sd_json_opt_bool(c->j, "apply_b_dec_to_input", &c->subtract, c->what, err);
    if (!st && c->subtract && sd_dict_kind_maps(c->kind)) return refuse(c, err, "apply_b_dec_to_input", "true", "b_dec of a transcoder belongs to the other site");
    if (!st) st = sd_json_opt_bool(c->j, "rescale_acts_by_decoder_norm", &c->rescale, c->what, err);
    if (!st) st = read_normalisation(c, err);
    if (st) return st;
    if (strncmp(dtype, "torch.", 6) == 0) dtype += 6;
    if (strcmp(dtype, "float32") != 0 && strcmp(dtype, "bfloat16") != 0 && strcmp(dtype, "float16") != 0)
        return refuse(c, err, "dtype", dtype, "only float32, float16 and bfloat16 are read");
    /* hook_z only flattens [heads, d_head], which our rows are already. */
    if (strcmp(reshape, "none") != 0 && strcmp(reshape, "hook_z") != 0) return refuse(c, err, "reshape_activations", reshape, "unknown");
    if (scaled) return refuse(c, err, "finetuning_scaling_factor", "true", "features are scaled after the encoder; fold the factors in first");
    c->rescale = c->rescale && c->kind == SD_DICT_TOPK;
    if (c->kind != SD_DICT_TOPK) return SD_OK;
    const json_t *kw = get(c, "activation_fn_kwargs");
    st = sd_json_get_i64(c->legacy && json_is_object(kw) ? kw : c->j, "k", &c->k, c->what, err);
    if (!st && (c->k < 1 || c->k > c->m)) st = sd_fail(err, SD_E_FORMAT, "%s: k is %lld; 1 to %lld features are possible", c->what, (long long)c->k, (long long)c->m);
    return st;
}

/* SAELens filters unknown keys silently; a person should hear of them. */
static void warn_unknown(const cfg *c)
{
    static const char *const known[] = {
        "architecture", "d_in", "d_out", "d_sae", "dtype", "device", "apply_b_dec_to_input", "normalize_activations", "reshape_activations",
        "metadata", "k", "rescale_acts_by_decoder_norm", "decoder_init_norm", "l1_coefficient", "lp_norm", "l1_warm_up_steps",
        "l0_coefficient", "l0_warm_up_steps", "pre_act_loss_coefficient", "jumprelu_init_threshold", "jumprelu_bandwidth",
        "jumprelu_sparsity_loss_mode", "jumprelu_tanh_scale", "jumprelu_ste_to_input", "target_l0", "use_sparse_activations",
        "aux_loss_coefficient", "topk_threshold_lr"};
    const char *key;
    json_t *v;
    union { const json_t *c; json_t *v; } doc = {c->j};
    if (c->legacy) return; /* metadata lies flat among them */
    json_object_foreach(doc.v, key, v) {
        bool found = false;
        for (size_t i = 0; i < sizeof known / sizeof *known && !found; i++) found = strcmp(key, known[i]) == 0;
        if (!found) sd_log(SD_LOG_WARN, "%s: the key \"%s\" is unknown and was not used", c->what, key);
    }
}

static void copy(char *out, size_t cap, const char *s) { snprintf(out, cap, "%s", s ? s : ""); }

static sd_status read_own(const cfg *c, sd_dict_info *info, sd_err *err)
{
    const char *site = NULL, *site_out = NULL, *sha = NULL, *seed = NULL, *control = NULL, *without = NULL, *what = "metadata.sonde";
    sd_status st = sd_json_opt_str(c->own, "site", &site, what, err);
    if (!st) st = sd_json_opt_str(c->own, "site_out", &site_out, what, err);
    if (!st) st = sd_json_opt_f64(c->own, "out_rms", &info->out_rms, what, err);
    if (!st) st = sd_json_opt_str(c->own, "model_sha256", &sha, what, err);
    if (!st) st = sd_json_opt_str(c->own, "seed", &seed, what, err);
    if (!st) st = sd_json_opt_str(c->own, "control", &control, what, err);
    if (!st) st = sd_json_opt_str(c->own, "without", &without, what, err);
    if (!st) st = sd_json_opt_f64(c->own, "site_rms", &info->site_rms, what, err);
    if (!st) st = sd_json_opt_f64(c->own, "fvu", &info->fvu, what, err);
    if (!st) st = sd_json_opt_f64(c->own, "l0", &info->l0, what, err);
    if (!st) st = sd_json_opt_i64(c->own, "n_dead", &info->n_dead, what, err);
    if (!st) st = sd_json_opt_i64(c->own, "n_tokens", &info->n_tokens, what, err);
    if (st) return st;
    copy(info->site, sizeof info->site, site);
    copy(info->site_out, sizeof info->site_out, site_out);
    copy(info->model_sha256, sizeof info->model_sha256, sha);
    copy(info->control, sizeof info->control, control);
    copy(info->without, sizeof info->without, without);
    if (seed && !sd_parse_u64(sd_slice_of(seed), &info->seed)) return sd_fail(err, SD_E_FORMAT, "%s: seed \"%s\" is no number", c->what, seed);
    return SD_OK;
}

static sd_status read_metadata(cfg *c, sd_dict_info *info, sd_err *err)
{
    const char *model = NULL, *hook = NULL, *data = NULL, *out = NULL;
    const json_t *head = json_object_get(c->meta, "hook_head_index");
    const char *hook_key = json_object_get(c->meta, "hook_name") ? "hook_name" : "hook_point";
    if (!head) head = json_object_get(c->meta, "hook_point_head_index");
    *info = (sd_dict_info){.kind = c->kind, .d = c->d, .d_out = c->out, .m = c->m, .k = (int)c->k, .fvu = NAN, .l0 = NAN};
    sd_status st = sd_json_opt_str(c->meta, "model_name", &model, "metadata", err);
    if (!st) st = sd_json_opt_str(c->meta, hook_key, &hook, "metadata", err);
    if (!st) st = sd_json_opt_str(c->meta, "dataset_path", &data, "metadata", err);
    if (!st) st = sd_json_opt_str(c->meta, "hook_name_out", &out, "metadata", err);
    if (st) return st;
    if (out && !sd_dict_kind_maps(c->kind) && strcmp(out, hook ? hook : "") != 0) return refuse(c, err, "hook_name_out", out, "it maps one site to another");
    if (json_is_integer(head)) return refuse(c, err, "hook_name", hook ? hook : "", "it is of a single attention head, not of the whole site");
    copy(info->model_name, sizeof info->model_name, model);
    copy(info->hook_name, sizeof info->hook_name, hook);
    copy(info->hook_name_out, sizeof info->hook_name_out, sd_dict_kind_maps(c->kind) ? out : NULL);
    copy(info->dataset, sizeof info->dataset, data);
    c->own = json_object_get(c->meta, "sonde");
    if (!json_is_object(c->own)) return SD_OK;
    const char *trained = NULL; /* what we trained; sae-lens' own files say it there too, but of them `architecture` is reported */
    st = sd_json_opt_str(c->meta, "training_architecture", &trained, "metadata", err);
    for (sd_dict_kind k = SD_DICT_STANDARD; k < SD_DICT_KIND_COUNT && trained; k++)
        if (strcmp(trained, sd_dict_kind_name(k)) == 0 && !sd_dict_kind_maps(k) && !sd_dict_kind_maps(c->kind)) info->kind = k;
    return st ? st : read_own(c, info, err);
}

static sd_status read_cfg(cfg *c, sd_dict_info *info, sd_err *err)
{
    const char *version = NULL;
    if (!json_is_object(c->j)) return sd_fail(err, SD_E_FORMAT, "%s: this is no JSON object", c->what);
    c->meta = json_object_get(c->j, "metadata");
    sd_status st = sd_json_opt_str(c->j, "sae_lens_version", &version, c->what, err);
    if (!st && !version && json_is_object(c->meta)) st = sd_json_opt_str(c->meta, "sae_lens_version", &version, "metadata", err);
    if (st) return st;
    c->legacy = !version || (version[0] >= '0' && version[0] < '6' && version[1] == '.');
    if (!json_is_object(c->meta)) c->meta = c->j;
    st = read_architecture(c, err);
    if (!st) st = read_settings(c, err);
    if (!st) st = read_metadata(c, info, err);
    if (!st) warn_unknown(c);
    return st;
}

/* Finds `name` [rows, cols] (cols 0: a vector of `rows`), in a type that decodes. */
static sd_status find(const sd_weights *w, const char *name, int64_t rows, int64_t cols, const sd_tensor **out, sd_err *err)
{
    const sd_tensor *t = *out = sd_weights_find(w, name);
    const char *path = sd_weights_path(w);
    if (!t) return sd_fail(err, SD_E_FORMAT, "%s: the tensor %s is missing", path, name);
    if (t->dtype != SD_F32 && t->dtype != SD_F16 && t->dtype != SD_BF16)
        return sd_fail(err, SD_E_UNSUPPORTED, "%s: %s is %s; F32, F16 and BF16 are read", path, name, t->type_name ? t->type_name : "of an unknown type");
    if (t->rank != (cols ? 2 : 1) || t->dim[0] != rows || (cols && t->dim[1] != cols)) {
        if (cols) return sd_fail(err, SD_E_SHAPE, "%s: %s is [%lld, %lld] (rank %d), cfg.json wants [%lld, %lld]", path, name, (long long)t->dim[0],
                                 (long long)(t->rank > 1 ? t->dim[1] : 0), t->rank, (long long)rows, (long long)cols);
        return sd_fail(err, SD_E_SHAPE, "%s: %s has %lld numbers (rank %d), cfg.json wants %lld", path, name, (long long)t->dim[0], t->rank, (long long)rows);
    }
    return SD_OK;
}

static sd_status vector(const sd_weights *w, const char *name, int64_t n, float *out, sd_err *err)
{
    const sd_tensor *t;
    const sd_status st = find(w, name, n, 0, &t, err);
    if (!st) sd_dtype_get(t->dtype)->decode(out, t->data, n);
    return st;
}

/* W_enc comes as [d, m]: 16 rows at a time, so that our rows are written in runs of 64 bytes. */
static sd_status encoder(const sd_weights *w, sd_dict *d, sd_err *err)
{
    enum { STRIP = 16 };
    const int64_t m = d->info.m, n = d->info.d;
    const sd_tensor *t;
    float *strip = NULL;
    sd_status st = find(w, "W_enc", n, m, &t, err);
    if (!st) st = sd_alloc(&strip, (size_t)(STRIP * m) * sizeof *strip, "a strip of W_enc", err);
    for (int64_t i = 0; i < n && !st; i += STRIP) {
        const int64_t rows = n - i < STRIP ? n - i : STRIP;
        for (int64_t r = 0; r < rows; r++)
            sd_dtype_get(t->dtype)->decode(strip + r * m, (const uint8_t *)t->data + (size_t)(i + r) * sd_dtype_row_bytes(t->dtype, m), m);
        for (int64_t f = 0; f < m; f++)
            for (int64_t r = 0; r < rows; r++) d->W_enc[f * n + i + r] = strip[r * m + f];
    }
    sd_free(strip);
    return st;
}

static sd_status fold_gated(const sd_weights *w, sd_dict *d, sd_err *err)
{
    const int64_t m = d->info.m, n = d->info.d;
    float *r = d->max_act, *b_gate = d->density; /* free until the statistics are read */
    sd_status st = vector(w, "b_mag", m, d->b_enc, err);
    if (!st) st = vector(w, "r_mag", m, r, err);
    if (!st) st = vector(w, "b_gate", m, b_gate, err);
    for (int64_t f = 0; f < m && !st; f++) {
        const double e = exp((double)r[f]);
        d->gate[f] = (float)((double)d->b_enc[f] - e * (double)b_gate[f]);
        for (int64_t i = 0; i < n; i++) d->W_enc[f * n + i] = (float)(e * (double)d->W_enc[f * n + i]);
    }
    for (int64_t f = 0; f < m; f++) d->max_act[f] = 0, d->density[f] = NAN;
    return st;
}

static void fold_norms(sd_dict *d)
{
    const int64_t n = d->info.d;
    for (int64_t f = 0; f < d->info.m; f++) {
        double s = 0;
        for (int64_t i = 0; i < n; i++) s += (double)d->W_dec[f * n + i] * (double)d->W_dec[f * n + i];
        s = sqrt(s);
        d->b_enc[f] = (float)(s * (double)d->b_enc[f]);
        for (int64_t i = 0; i < n; i++) {
            d->W_enc[f * n + i] = (float)(s * (double)d->W_enc[f * n + i]);
            if (s > 0) d->W_dec[f * n + i] = (float)((double)d->W_dec[f * n + i] / s);
        }
    }
}

static sd_status read_threshold(const sd_weights *w, sd_dict *d, sd_err *err)
{
    const int64_t m = d->info.m;
    if (sd_weights_find(w, "threshold") || !sd_weights_find(w, "log_threshold")) return vector(w, "threshold", m, d->gate, err);
    const sd_status st = vector(w, "log_threshold", m, d->gate, err); /* checkpoints of early versions */
    for (int64_t f = 0; f < m && !st; f++) d->gate[f] = (float)exp((double)d->gate[f]);
    return st;
}

/* Early versions wrote a factor a feature even where it was 1; then it means nothing. */
static sd_status check_scaling(const sd_weights *w, int64_t m, float *spare, sd_err *err)
{
    static const char *const names[] = {"scaling_factor", "finetuning_scaling_factor"};
    sd_status st = SD_OK;
    for (int i = 0; i < 2 && !st; i++) {
        if (!sd_weights_find(w, names[i])) continue;
        st = vector(w, names[i], m, spare, err);
        for (int64_t f = 0; f < m && !st; f++)
            if (fabsf(spare[f] - 1.0f) > 1e-5f) /* torch.allclose's default */
                st = sd_fail(err, SD_E_UNSUPPORTED, "%s: %s of feature %lld is %g: features are scaled after the encoder; fold the factors in first",
                             sd_weights_path(w), names[i], (long long)f, (double)spare[f]);
    }
    return st;
}

/* What cfg.json claims is what the matrices have: asked before memory is taken for it. */
static sd_status check_claims(const cfg *c, const sd_weights *w, sd_err *err)
{
    const sd_tensor *t;
    sd_status st = find(w, "W_enc", c->d, c->m, &t, err);
    if (!st) st = find(w, "W_dec", c->m, c->out, &t, err);
    if (!st && c->kind == SD_DICT_SKIP_TRANSCODER) st = find(w, "W_skip", c->out, c->d, &t, err);
    return st;
}

static sd_status read_weights(const cfg *c, const sd_weights *w, sd_dict *d, sd_err *err)
{
    const int64_t m = c->m, n = c->d, out = c->out;
    const sd_tensor *t;
    sd_status st = check_scaling(w, m, d->density, err);
    for (int64_t f = 0; f < m; f++) d->density[f] = NAN;
    if (!st) st = encoder(w, d, err);
    if (!st) st = find(w, "W_dec", m, out, &t, err);
    if (st) return st;
    sd_dtype_get(t->dtype)->decode(d->W_dec, t->data, m * out);
    if (d->W_skip) {
        if ((st = find(w, "W_skip", out, n, &t, err))) return st;
        sd_dtype_get(t->dtype)->decode(d->W_skip, t->data, out * n);
    }
    st = vector(w, "b_dec", out, d->b_dec, err);
    if (!st) st = c->kind == SD_DICT_GATED ? fold_gated(w, d, err) : vector(w, "b_enc", m, d->b_enc, err);
    if (!st && c->gated_by_threshold) st = read_threshold(w, d, err);
    if (st) return st;
    if (c->rescale) fold_norms(d);
    d->input_centred = c->subtract;
    d->row_norm = c->row_norm;
    if (c->subtract) memcpy(d->b_in, d->b_dec, (size_t)n * sizeof(float));
    d->has_threshold = !d->topk;
    for (int64_t f = 0; f < m && !d->topk; f++) d->threshold[f] = d->gate && d->gate[f] > 0 ? d->gate[f] : 0.0f;
    const sd_tensor *left = sd_weights_unasked(w);
    if (left) return sd_fail(err, SD_E_UNSUPPORTED, "%s: the tensor %.*s is not part of a %s dictionary", sd_weights_path(w), SD_SLICE(left->name), sd_dict_kind_name(c->kind));
    return sd_dict__check(d, sd_weights_path(w), err);
}

/* Statistics that our own save put beside the weights. Another program may have copied the rest without them. */
static sd_status read_statistics(const cfg *c, const char *dir, sd_dict *d, sd_err *err)
{
    char path[PATH_MAX];
    bool calibrated = false;
    sd_weights *w = NULL;
    if (!json_is_object(c->own)) return SD_OK;
    sd_status st = sd_json_opt_bool(c->own, "calibrated", &calibrated, "metadata.sonde", err);
    if (st || !calibrated) return st;
    if (!sd_path_join(path, sizeof path, dir, SD_SAE_OWN)) return sd_fail(err, SD_E_ARG, "%s: the path is too long", dir);
    if (!sd_file_exists(path)) {
        sd_log(SD_LOG_WARN, "%s is missing: thresholds and statistics are unknown until they are calibrated again", path);
        return SD_OK;
    }
    st = sd_weights_open(&w, path, err);
    if (!st) st = vector(w, "threshold", c->m, d->threshold, err);
    if (!st) st = vector(w, "max_act", c->m, d->max_act, err);
    if (!st) st = vector(w, "density", c->m, d->density, err);
    if (!st && sd_weights_find(w, "proj_std")) st = vector(w, "proj_std", c->m, d->proj_std, err); /* absent: unknown */
    if (!st) d->has_threshold = true;
    if (!st) st = sd_dict__check(d, path, err);
    sd_weights_close(w);
    return st;
}

sd_status sd_dict__open_saelens(sd_dict **out, const char *dir, sd_err *err)
{
    char path[PATH_MAX], weights[PATH_MAX];
    cfg c = {.what = path};
    json_t *doc = NULL;
    sd_weights *w = NULL;
    sd_dict *d = NULL;
    sd_dict_info info;
    *out = NULL;
    if (!sd_path_join(path, sizeof path, dir, SD_SAE_CFG) || !sd_path_join(weights, sizeof weights, dir, SD_SAE_WEIGHTS))
        return sd_fail(err, SD_E_ARG, "%s: the path is too long", dir);
    sd_status st = sd_json_load(&doc, path, 4 << 20, err);
    if (st) {
        if (st == SD_E_NOTFOUND) (void)sd_hint(err, "a dictionary is a folder with cfg.json and sae_weights.safetensors; one that was never finished has no cfg.json");
        goto done;
    }
    c.j = doc;
    st = read_cfg(&c, &info, err);
    if (!st) st = sd_dict__possible(&info, err);
    if (!st) st = sd_weights_open(&w, weights, err);
    if (!st) st = check_claims(&c, w, err);
    if (!st) st = sd_dict__new(&d, &info, c.kind == SD_DICT_TOPK, c.gated_by_threshold || c.kind == SD_DICT_GATED, err);
    if (!st) st = read_weights(&c, w, d, err);
    if (!st) st = read_statistics(&c, dir, d, err);
done:
    json_decref(doc);
    sd_weights_close(w);
    if (st)
        sd_dict_free(d);
    else
        *out = d;
    return st;
}
