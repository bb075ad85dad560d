/* Owns: which format lies at a path, the table of readers and writers, and what all readers share. */
#include "dict/dict_format_int.h"
#include "base/map.h"
#include "base/str.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct { const char *name; sd_status (*open)(sd_dict **, const char *, sd_err *), (*save)(const sd_dict *, const char *, sd_err *); } table[SD_FORMAT_COUNT] = {
    [SD_FORMAT_SAELENS] = {"saelens", sd_dict__open_saelens, sd_dict_save},
    [SD_FORMAT_SPARSIFY] = {"sparsify", sd_format__open_sparsify, sd_format__save_sparsify},
    [SD_FORMAT_GEMMA_SCOPE] = {"gemma-scope", sd_format__open_gemma, NULL},
    [SD_FORMAT_DICTIONARY_LEARNING] = {"dictionary_learning", sd_format__open_dictionary_learning, NULL},
    [SD_FORMAT_OPENAI] = {"openai", sd_format__open_openai, NULL},
    [SD_FORMAT_LLAMA_SCOPE] = {"llama-scope", sd_format__open_llama, NULL},
    [SD_FORMAT_CIRCUIT_TRACER] = {"circuit-tracer", sd_format__open_circuit, sd_format__save_circuit},
};

const char *sd_dict_format_name(sd_dict_format f) { return f < SD_FORMAT_COUNT ? table[f].name : "unknown"; }

sd_dict_format sd_dict_format_of_name(const char *name)
{
    sd_dict_format f = 0;
    while (f < SD_FORMAT_COUNT && strcmp(table[f].name, name) != 0) f++;
    return f;
}

static bool has(const char *dir, const char *name)
{
    char p[SD_FORMAT_PATH];
    return sd_path_join(p, sizeof p, dir, name) && sd_file_exists(p);
}

/* A file called layer_N.safetensors. */
static bool is_layer(const char *path)
{
    const char *base = strrchr(path, '/');
    base = base ? base + 1 : path;
    return strncmp(base, "layer_", 6) == 0 && sd_slice_ends(sd_slice_of(base), ".safetensors");
}

sd_dict_format sd_dict_format_at(const char *path)
{
    const sd_slice s = sd_slice_of(path);
    if (!sd_dir_exists(path)) {
        if (sd_slice_ends(s, ".npz")) return SD_FORMAT_GEMMA_SCOPE;
        if (sd_slice_ends(s, "ae.pt")) return SD_FORMAT_DICTIONARY_LEARNING;
        if (sd_slice_ends(s, ".pt")) return SD_FORMAT_OPENAI;
        return is_layer(path) ? SD_FORMAT_CIRCUIT_TRACER : SD_FORMAT_COUNT;
    }
    if (has(path, "cfg.json")) return has(path, "sae.safetensors") ? SD_FORMAT_SPARSIFY : SD_FORMAT_SAELENS;
    if (has(path, "params.npz") || has(path, "params.safetensors")) return SD_FORMAT_GEMMA_SCOPE;
    if (has(path, "ae.pt")) return SD_FORMAT_DICTIONARY_LEARNING;
    if (has(path, "hyperparams.json") || (has(path, "config.json") && has(path, "sae_weights.safetensors"))) return SD_FORMAT_LLAMA_SCOPE;
    return has(path, "config.yaml") ? SD_FORMAT_CIRCUIT_TRACER : SD_FORMAT_COUNT;
}

/* Why nothing that is known lies at a path. */
static sd_status no_dictionary(const char *path, sd_err *err)
{
    const bool dir = sd_dir_exists(path);
    if (dir && has(path, "checkpoint.json")) {
        (void)sd_fail(err, SD_E_NOTFOUND, "%s is the folder of a training that has not ended, and no dictionary yet", path);
        return sd_hint(err, "go on with it: sonde dict train --resume %s", path);
    }
    if (dir) (void)sd_fail(err, SD_E_NOTFOUND, "%s is a folder without a dictionary in it", path);
    else if (sd_file_exists(path)) (void)sd_fail(err, SD_E_FORMAT, "%s is a file, and of no format of dictionaries that is read", path);
    else (void)sd_fail(err, SD_E_NOTFOUND, "there is no dictionary %s: no such file or folder", path);
    return sd_hint(err, "a dictionary is a folder with cfg.json and sae_weights.safetensors, which `sonde dict train` makes; docs/FORMATS.md has the others");
}

sd_status sd_dict_open(sd_dict **out, const char *path, sd_err *err)
{
    const sd_dict_format f = sd_dict_format_at(path);
    *out = NULL;
    return f == SD_FORMAT_COUNT ? no_dictionary(path, err) : sd_dict_open_as(out, path, f, err);
}

sd_status sd_dict_open_as(sd_dict **out, const char *path, sd_dict_format f, sd_err *err)
{
    *out = NULL;
    SD_ASSERT(f < SD_FORMAT_COUNT);
    return table[f].open(out, path, err);
}

sd_status sd_dict_save_as(const sd_dict *d, const char *dir, sd_dict_format f, sd_err *err)
{
    SD_ASSERT(f < SD_FORMAT_COUNT);
    if (table[f].save) return table[f].save(d, dir, err);
    (void)sd_fail(err, SD_E_UNSUPPORTED, "%s is read, not written", table[f].name);
    return sd_hint(err, "saelens, sparsify and circuit-tracer are written");
}

sd_status sd_format__in(char out[SD_FORMAT_PATH], const char *dir, const char *name, sd_err *err)
{
    return sd_path_join(out, SD_FORMAT_PATH, dir, name) ? SD_OK : sd_fail(err, SD_E_ARG, "%s: the path is too long", dir);
}

void sd_dict_set_site(sd_dict *d, bool out, const char *site, const char *hook_name)
{
    snprintf(out ? d->info.site_out : d->info.site, sizeof d->info.site, "%s", site);
    snprintf(out ? d->info.hook_name_out : d->info.hook_name, sizeof d->info.hook_name, "%s", hook_name);
}

static sd_status find(const sd_tensor **out, const sd_weights *w, const char *name, int rank, sd_err *err)
{
    const sd_tensor *t = *out = sd_weights_find(w, name);
    if (!t) return sd_fail(err, SD_E_FORMAT, "%s: the tensor %s is missing", sd_weights_path(w), name);
    if (!sd_dtype_get(t->dtype)->decode || sd_dtype_get(t->dtype)->block != 1)
        return sd_fail(err, SD_E_UNSUPPORTED, "%s: %s is %s; F32, F16, BF16 and F64 are read", sd_weights_path(w), name, t->type_name ? t->type_name : "of an unknown type");
    if (t->rank != rank) return sd_fail(err, SD_E_SHAPE, "%s: %s has %d dimensions, not %d", sd_weights_path(w), name, t->rank, rank);
    return SD_OK;
}

sd_status sd_format__dims(const sd_weights *w, const char *name, int64_t dim[2], sd_err *err)
{
    const sd_tensor *t;
    const sd_status st = find(&t, w, name, 2, err);
    if (!st) dim[0] = t->dim[0], dim[1] = t->dim[1];
    return st;
}

sd_status sd_format__expect(const sd_weights *w, const char *name, int64_t rows, int64_t cols, sd_err *err)
{
    const sd_tensor *t;
    const sd_status st = find(&t, w, name, 2, err);
    if (st || (t->dim[0] == rows && t->dim[1] == cols)) return st;
    return sd_fail(err, SD_E_SHAPE, "%s: %s is [%lld, %lld], not [%lld, %lld]", sd_weights_path(w), name, (long long)t->dim[0], (long long)t->dim[1], (long long)rows, (long long)cols);
}

sd_status sd_format__matrix(float *out, int64_t rows, int64_t cols, const sd_weights *w, const char *name, bool transposed, sd_err *err)
{
    enum { STRIP = 16 };
    const sd_tensor *t = sd_weights_find(w, name);
    float *strip = NULL;
    const int64_t n = transposed ? cols : rows, m = transposed ? rows : cols; /* as it lies */
    sd_status st = sd_format__expect(w, name, n, m, err);
    if (st) return st;
    if (!transposed) {
        sd_dtype_get(t->dtype)->decode(out, t->data, rows * cols);
        return SD_OK;
    }
    if ((st = sd_alloc(&strip, (size_t)(STRIP * m) * sizeof *strip, "a strip of a matrix", err))) return st;
    for (int64_t i = 0; i < n; i += STRIP) { /* so that our rows are written in runs */
        const int64_t some = n - i < STRIP ? n - i : STRIP;
        for (int64_t r = 0; r < some; r++)
            sd_dtype_get(t->dtype)->decode(strip + r * m, (const uint8_t *)t->data + (size_t)(i + r) * sd_dtype_row_bytes(t->dtype, m), m);
        for (int64_t f = 0; f < m; f++)
            for (int64_t r = 0; r < some; r++) out[f * cols + i + r] = strip[r * m + f];
    }
    sd_free(strip);
    return SD_OK;
}

sd_status sd_format__vector(float *out, int64_t n, const sd_weights *w, const char *name, sd_err *err)
{
    const sd_tensor *t;
    const sd_status st = find(&t, w, name, 1, err);
    if (st) return st;
    if (t->dim[0] != n) return sd_fail(err, SD_E_SHAPE, "%s: %s has %lld numbers, not %lld", sd_weights_path(w), name, (long long)t->dim[0], (long long)n);
    sd_dtype_get(t->dtype)->decode(out, t->data, n);
    return SD_OK;
}

sd_status sd_format__scalar(double *out, const sd_weights *w, const char *name, sd_err *err)
{
    const sd_tensor *t = sd_weights_find(w, name);
    float f;
    int64_t i64;
    int32_t i32;
    if (!t) return sd_fail(err, SD_E_FORMAT, "%s: the tensor %s is missing", sd_weights_path(w), name);
    if (t->rank > 1 || (t->rank == 1 && t->dim[0] != 1)) return sd_fail(err, SD_E_SHAPE, "%s: %s is not a single number", sd_weights_path(w), name);
    if (t->dtype == SD_I64) {
        memcpy(&i64, t->data, sizeof i64);
        *out = (double)i64;
    } else if (t->dtype == SD_I32) {
        memcpy(&i32, t->data, sizeof i32);
        *out = (double)i32;
    } else if (sd_dtype_get(t->dtype)->decode && sd_dtype_get(t->dtype)->block == 1) {
        sd_dtype_get(t->dtype)->decode(&f, t->data, 1);
        *out = (double)f;
    } else {
        return sd_fail(err, SD_E_UNSUPPORTED, "%s: %s is %s, which is no number that is read", sd_weights_path(w), name, t->type_name);
    }
    return SD_OK;
}

sd_status sd_format__seal(sd_dict *d, const sd_weights *w, bool subtract, sd_err *err)
{
    const sd_tensor *left = sd_weights_unasked(w);
    if (left) return sd_fail(err, SD_E_UNSUPPORTED, "%s: the tensor %.*s has no place in a %s dictionary", sd_weights_path(w), SD_SLICE(left->name), sd_dict_kind_name(d->info.kind));
    d->input_centred = subtract;
    if (subtract) memcpy(d->b_in, d->b_dec, (size_t)d->info.d * sizeof(float));
    d->has_threshold = !d->topk;
    for (int64_t f = 0; f < d->info.m && !d->topk; f++) d->threshold[f] = d->gate && d->gate[f] > 0 ? d->gate[f] : 0.0f;
    return sd_dict__check(d, sd_weights_path(w), err);
}

int sd_format__layer(const char *text)
{
    static const char *const before[] = {"layer_", "layers.", "blocks.", "layer."};
    for (size_t i = 0; i < sizeof before / sizeof *before; i++) {
        const char *p = text, *at = NULL;
        while ((p = strstr(p, before[i]))) at = p += strlen(before[i]); /* the last one: the nearest to the file */
        if (!at) continue;
        size_t n = strspn(at, "0123456789");
        int64_t v;
        if (n && n < 5 && sd_parse_i64((sd_slice){at, n}, &v)) return (int)v;
    }
    return -1;
}

void sd_format__site(sd_dict_info *info, const char *name) { snprintf(info->hook_name, sizeof info->hook_name, "%s", name); }
void sd_format__site_out(sd_dict_info *info, const char *name) { snprintf(info->hook_name_out, sizeof info->hook_name_out, "%s", name); }
