/* Writing a SAELens v6 directory. Every file is written beside its place first (NAME.new), so a full disk changes nothing; then
 * cfg.json goes, the new files take their names, and the new cfg.json comes last: a folder without it is no dictionary. */
#include "dict/saelens_int.h"
#include "base/json.h"
#include "base/map.h"
#include "file/weights.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The version whose layout is written and tested against (tests/interop/saelens.sh). */
static const char *const SAELENS_VERSION = "6.54.12";

enum { N_FILES = 4 };
static const char *const file_name[N_FILES] = {SD_SAE_WEIGHTS, SD_SAE_OWN, SD_SAE_SPARSITY, SD_SAE_CFG}; /* cfg.json last */

static const char *architecture(const sd_dict *d)
{
    if (!sd_dict_kind_maps(d->info.kind)) return d->topk ? "topk" : d->gate ? "jumprelu" : "standard";
    if (d->W_skip) return d->gate ? "jumprelu_skip_transcoder" : "skip_transcoder";
    return d->gate ? "jumprelu_transcoder" : "transcoder";
}

static void put_own(sd_jw *w, const sd_dict *d)
{
    const sd_dict_info *i = &d->info;
    char seed[24];
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)i->seed);
    sd_jw_key(w, "sonde");
    sd_jw_obj(w);
    sd_jw_kstr(w, "schema", "sonde.dict/1");
    sd_jw_kstr(w, "version", sd_version());
    sd_jw_kstr(w, "site", i->site);
    if (i->site_out[0]) sd_jw_kstr(w, "site_out", i->site_out);
    if (i->out_rms > 0) sd_jw_kf64(w, "out_rms", i->out_rms);
    sd_jw_kstr(w, "model_sha256", i->model_sha256);
    sd_jw_kf64(w, "site_rms", i->site_rms);
    sd_jw_kf64(w, "fvu", i->fvu);
    sd_jw_kf64(w, "l0", i->l0);
    sd_jw_ki64(w, "n_dead", i->n_dead);
    sd_jw_ki64(w, "n_tokens", i->n_tokens);
    if (i->control[0]) sd_jw_kstr(w, "control", i->control);
    if (i->without[0]) sd_jw_kstr(w, "without", i->without);
    sd_jw_kstr(w, "seed", seed); /* 64 bits do not fit JSON's integers everywhere */
    sd_jw_kbool(w, "calibrated", d->has_threshold && isfinite(d->density[0]));
    sd_jw_end(w);
}

static void put_cfg(sd_buf *b, const sd_dict *d)
{
    const sd_dict_info *i = &d->info;
    sd_jw w;
    sd_jw_init(&w, b);
    sd_jw_obj(&w);
    sd_jw_kstr(&w, "architecture", architecture(d));
    sd_jw_ki64(&w, "d_in", i->d);
    sd_jw_ki64(&w, "d_sae", i->m);
    if (sd_dict_kind_maps(i->kind)) sd_jw_ki64(&w, "d_out", i->d_out);
    if (d->topk) {
        sd_jw_ki64(&w, "k", i->k);
        sd_jw_kbool(&w, "rescale_acts_by_decoder_norm", false);
    }
    sd_jw_kstr(&w, "dtype", "float32");
    sd_jw_kstr(&w, "device", "cpu");
    sd_jw_kbool(&w, "apply_b_dec_to_input", d->input_centred);
    sd_jw_kstr(&w, "normalize_activations", d->row_norm == SD_ROW_LAYER ? "layer_norm" : d->row_norm == SD_ROW_CONSTANT ? "constant_norm_rescale" : "none");
    sd_jw_kstr(&w, "reshape_activations", "none");
    sd_jw_key(&w, "metadata");
    sd_jw_obj(&w);
    sd_jw_kstr(&w, "sae_lens_version", SAELENS_VERSION);
    sd_jw_kstr(&w, "sae_lens_training_version", SAELENS_VERSION);
    sd_jw_kstr(&w, "model_name", i->model_name);
    sd_jw_kstr(&w, "hook_name", i->hook_name);
    if (sd_dict_kind_maps(i->kind)) sd_jw_kstr(&w, "hook_name_out", i->hook_name_out);
    sd_jw_key(&w, "hook_head_index");
    sd_jw_null(&w);
    sd_jw_kstr(&w, "dataset_path", i->dataset);
    /* What is known of how it was trained: of dictionaries made here, which state their site's mean norm; another tool's file says neither. */
    const bool own = i->site_rms > 0;
    if (own) sd_jw_kbool(&w, "exclude_special_tokens", !strstr(i->without, "special-filter"));
    sd_jw_kstr(&w, "training_architecture", sd_dict_kind_name(i->kind));
    sd_jw_kf64(&w, "l0", i->l0);
    if (own) sd_jw_ki64(&w, "num_dead_features", i->n_dead);
    put_own(&w, d);
    sd_jw_end(&w);
    sd_jw_end(&w);
    sd_buf_putc(b, '\n');
}

/* [m, d] to [d, m], 16 of our rows at a time. */
static void transpose(float *out, const float *in, int64_t m, int64_t d)
{
    for (int64_t f = 0; f < m; f += 16)
        for (int64_t i = 0; i < d; i++)
            for (int64_t r = f; r < f + 16 && r < m; r++) out[i * m + r] = in[r * d + i];
}

static sd_status write_weights(const sd_dict *d, const char *path, sd_err *err)
{
    const int64_t m = d->info.m, n = d->info.d, o = d->info.d_out;
    float *t = NULL;
    sd_status st = sd_alloc(&t, (size_t)(m * n) * sizeof *t, "W_enc turned round", err);
    if (st) return st;
    transpose(t, d->W_enc, m, n);
    sd_st_tensor list[6] = {
        {"W_dec", SD_F32, 2, {m, o}, d->W_dec}, {"W_enc", SD_F32, 2, {n, m}, t}, {"b_dec", SD_F32, 1, {o}, d->b_dec}, {"b_enc", SD_F32, 1, {m}, d->b_enc},
    };
    int n_tensor = 4;
    if (d->gate) list[n_tensor++] = (sd_st_tensor){"threshold", SD_F32, 1, {m}, d->gate};
    if (d->W_skip) list[n_tensor++] = (sd_st_tensor){"W_skip", SD_F32, 2, {o, n}, d->W_skip};
    st = sd_safetensors_write(path, list, n_tensor, NULL, err);
    sd_free(t);
    return st;
}

static sd_status write_own(const sd_dict *d, const char *path, sd_err *err)
{
    const int64_t m = d->info.m;
    const sd_st_tensor list[] = {{"density", SD_F32, 1, {m}, d->density}, {"max_act", SD_F32, 1, {m}, d->max_act},
                                 {"proj_std", SD_F32, 1, {m}, d->proj_std}, {"threshold", SD_F32, 1, {m}, d->threshold}};
    return sd_safetensors_write(path, list, 4, NULL, err);
}

static sd_status write_sparsity(const sd_dict *d, const char *path, sd_err *err)
{
    const int64_t m = d->info.m;
    float *s = NULL;
    sd_status st = sd_alloc(&s, (size_t)m * sizeof *s, "sparsities", err);
    if (st) return st;
    for (int64_t f = 0; f < m; f++) s[f] = (float)log10((double)d->density[f] + 1e-10);
    st = sd_safetensors_write(path, &(sd_st_tensor){"sparsity", SD_F32, 1, {m}, s}, 1, NULL, err);
    sd_free(s);
    return st;
}

static sd_status write_cfg(const sd_dict *d, const char *path, sd_err *err)
{
    sd_buf b;
    sd_buf_init(&b, 1 << 20);
    put_cfg(&b, d);
    sd_status st = sd_buf_check(&b, SD_SAE_CFG, err);
    if (!st) st = sd_file_write_atomic(path, b.p, b.n, err);
    sd_buf_release(&b);
    return st;
}

typedef struct names { char final[N_FILES][PATH_MAX], fresh[N_FILES][PATH_MAX]; bool present[N_FILES]; } names;

static sd_status write_all(const sd_dict *d, names *n, sd_err *err)
{
    static sd_status (*const write[N_FILES])(const sd_dict *, const char *, sd_err *) = {write_weights, write_own, write_sparsity, write_cfg};
    const bool known = isfinite(d->density[0]);
    sd_status st = SD_OK;
    for (int i = 0; i < N_FILES && !st; i++) {
        n->present[i] = i == 0 || i == N_FILES - 1 || (known && (i == 2 || d->has_threshold));
        if (n->present[i]) st = write[i](d, n->fresh[i], err);
    }
    return st;
}

static sd_status swap(const names *n, const char *dir, sd_err *err)
{
    sd_status st = SD_OK;
    if (unlink(n->final[N_FILES - 1]) != 0 && errno != ENOENT) return sd_fail_errno(err, errno, "cannot replace %s", n->final[N_FILES - 1]);
    for (int i = 0; i < N_FILES; i++) {
        if (!n->present[i])
            (void)unlink(n->final[i]); /* an older dictionary's */
        else if (rename(n->fresh[i], n->final[i]) != 0)
            return sd_fail_errno(err, errno, "cannot write %s", n->final[i]);
    }
    const int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return sd_fail_errno(err, errno, "cannot open the folder %s", dir);
    if (fsync(fd) != 0 && errno != EINVAL) st = sd_fail_errno(err, errno, "cannot write %s", dir);
    (void)close(fd);
    return st;
}

sd_status sd_dict_save(const sd_dict *d, const char *dir, sd_err *err)
{
    names *n = NULL;
    if (d->topk && sd_dict_kind_maps(d->info.kind)) {
        (void)sd_fail(err, SD_E_UNSUPPORTED, "sae-lens has no transcoder that takes the k best features of a token, so it cannot be written as its directory");
        return sd_hint(err, "write it as sparsify or circuit-tracer; commands open those folders too");
    }
    sd_status st = sd_dir_make(dir, err);
    if (!st) st = sd_alloc_zero(&n, sizeof *n, "file names", err);
    if (st) return st;
    for (int i = 0; i < N_FILES && !st; i++) {
        char fresh[64];
        snprintf(fresh, sizeof fresh, "%s.new", file_name[i]);
        if (!sd_path_join(n->final[i], PATH_MAX, dir, file_name[i]) || !sd_path_join(n->fresh[i], PATH_MAX, dir, fresh))
            st = sd_fail(err, SD_E_ARG, "%s: the path is too long", dir);
    }
    if (!st) st = write_all(d, n, err);
    if (!st) st = swap(n, dir, err);
    for (int i = 0; i < N_FILES && st; i++)
        if (n->fresh[i][0]) (void)unlink(n->fresh[i]);
    sd_free(n);
    return st;
}
