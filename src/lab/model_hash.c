/* The hash of a model, from its file or its folder. */
#include "lab/model_hash.h"

#include "base/map.h"
#include "file/weights.h"
#include "model/lora.h"

/* The folder's weights as the text "NAME SHA256\n" a shard, by name; a single file gives its own hash. */
static sd_status hash_folder(sd_sha256 *out, const char *dir, const char *cache, sd_err *err)
{
    sd_paths p = {0};
    sd_buf list;
    sd_buf_init(&list, 1 << 20); /* some thousand shards */
    int64_t n = 0;
    sd_status st = sd_dir_list(&p, dir, err);
    for (int64_t i = 0; i < p.n && !st; i++) {
        char hex[65];
        if (!sd_slice_ends(sd_slice_of(p.v[i]), ".safetensors")) continue;
        if ((st = sd_sha256_file(out, p.v[i], cache, err))) break;
        sd_sha256_hex(out, hex);
        sd_buf_printf(&list, "%s %s\n", strrchr(p.v[i], '/') ? strrchr(p.v[i], '/') + 1 : p.v[i], hex);
        n++;
    }
    if (!st && n == 0) st = sd_fail(err, SD_E_NOTFOUND, "%s holds no .safetensors file", dir);
    if (!st) st = sd_buf_check(&list, "list of shards", err);
    if (!st && n > 1) sd_sha256_of(out, list.p, list.n);
    sd_buf_release(&list);
    sd_paths_free(&p);
    return st;
}

/* A GGUF in parts likewise. */
static sd_status hash_parts(sd_sha256 *out, const char *first, int64_t n, const char *cache, sd_err *err)
{
    char path[1100], hex[65];
    sd_buf list;
    sd_buf_init(&list, 1 << 20);
    sd_status st = SD_OK;
    for (int64_t i = 1; i <= n && !st; i++) {
        if (!sd_gguf_part(path, sizeof path, first, i)) st = sd_fail(err, SD_E_ARG, "%s: path too long", first);
        else st = sd_sha256_file(out, path, cache, err);
        if (st) break;
        sd_sha256_hex(out, hex);
        sd_buf_printf(&list, "%s %s\n", strrchr(path, '/') ? strrchr(path, '/') + 1 : path, hex);
    }
    if (!st) st = sd_buf_check(&list, "list of parts", err);
    if (!st) sd_sha256_of(out, list.p, list.n);
    sd_buf_release(&list);
    return st;
}

static sd_status add_adapter(sd_sha256 *h, const char *dir, const char *cache, sd_err *err)
{
    sd_sha256 both[2] = {*h};
    char p[1200];
    if (!sd_path_join(p, sizeof p, dir, "adapter_model.safetensors")) return sd_fail(err, SD_E_ARG, "%s: path too long", dir);
    sd_status st = sd_sha256_file(&both[1], p, cache, err);
    if (!st) sd_sha256_of(h, both, sizeof both);
    return st;
}

sd_status sd_lab_model_hash(char out[65], const char *path, const char *cache_dir, sd_err *err)
{
    sd_sha256 h;
    sd_model_spec spec;
    sd_status st = sd_model_spec_parse(&spec, path, err);
    path = spec.model;
    const int64_t parts = st || sd_dir_exists(path) ? 1 : sd_gguf_parts(path);
    if (!st && parts > 1) st = hash_parts(&h, path, parts, cache_dir, err);
    else if (!st) st = sd_dir_exists(path) ? hash_folder(&h, path, cache_dir, err) : sd_sha256_file(&h, path, cache_dir, err);
    if (!st && spec.adapter[0]) st = add_adapter(&h, spec.adapter, cache_dir, err);
    if (!st) sd_sha256_hex(&h, out);
    return st;
}
