/* A Hugging Face folder: config.json, and model.safetensors or the shards that model.safetensors.index.json names.
 * The index comes from outside: a shard is opened only when its name stays inside the folder, and every tensor must be
 * in the shard that the index gives. Shards may hold tensors that the index leaves out; they are listed like the
 * others. */
#include "file/weights_int.h"

#define MAX_CONFIG_BYTES (16u << 20) /* configs are some kilobytes; the largest with long label tables are under 2 MB */
#define MAX_INDEX_BYTES (64u << 20)  /* 100 bytes a tensor: more than half a million tensors */
#define MAX_SHARDS      4096         /* maps a process may hold: well under Linux's 65530 */

typedef struct folder {
    sd_weights *w;
    const char *dir;
    char path[4096]; /* scratch for one file's path (PATH_MAX) */
} folder;

static sd_status join(folder *f, const char *name, sd_err *err)
{
    if (sd_path_join(f->path, sizeof f->path, f->dir, name)) return SD_OK;
    return sd_fail(err, SD_E_ARG, "%s: the path of %s in it is too long", f->dir, name);
}

static sd_status read_config(folder *f, sd_err *err)
{
    sd_status st = join(f, "config.json", err);
    if (st) return st;
    if (!sd_file_exists(f->path)) {
        st = sd_fail(err, SD_E_NOTFOUND, "%s: the folder has no config.json", f->dir);
        sd_hint(err, "a model is a .gguf file or a folder with config.json and model.safetensors");
        return st;
    }
    st = sd_json_load(&f->w->config, f->path, MAX_CONFIG_BYTES, err);
    if (!st && !json_is_object(f->w->config))
        st = sd_fail(err, SD_E_FORMAT, "%s: the document is not a JSON object", f->path);
    return st;
}

/* Opens f->path as the next source. */
static sd_status open_shard(folder *f, sd_err *err)
{
    sd_map m;
    sd_status st = sd_map_open(&m, f->path, err);
    if (!st) st = sd_weights__source(f->w, &m, false, f->path, err);
    if (!st) st = sd_safetensors__read(f->w, f->w->n_source - 1, err);
    return st;
}

/* A relative path of plain components. */
static bool stays_inside(sd_slice name)
{
    sd_slice part;
    if (!sd_weights__name_ok(name) || name.n > 255 || !sd_slice_ends(name, ".safetensors")) return false;
    while (sd_slice_cut(&name, '/', &part))
        if (part.n == 0 || sd_slice_eq_str(part, ".") || sd_slice_eq_str(part, "..")) return false;
    return true;
}

static sd_status open_shards(folder *f, const json_t *map, sd_table *shards, const char *index, sd_err *err)
{
    const char *tensor;
    json_t *v;
    json_object_foreach((json_t *)map, tensor, v)
    {
        const char *name = json_string_value(v);
        int64_t old = -1;
        if (!sd_weights__name_ok(sd_slice_of(tensor)))
            return sd_fail(err, SD_E_FORMAT, "%s: a tensor's name is not printable", index);
        if (!name) return sd_fail(err, SD_E_FORMAT, "%s: the shard of tensor %s is not a string", index, tensor);
        if (!stays_inside(sd_slice_of(name)))
            return sd_fail(err, SD_E_FORMAT, "%s: the shard of tensor %s is no .safetensors file inside the folder",
                           index, tensor);
        if (sd_table_get(shards, sd_slice_of(name)) >= 0) continue;
        if (f->w->n_source >= MAX_SHARDS)
            return sd_fail(err, SD_E_UNSUPPORTED, "%s: more than %d shards", index, MAX_SHARDS);
        sd_status st = sd_table_set(shards, sd_slice_of(name), f->w->n_source, &old, err);
        if (!st) st = join(f, name, err);
        if (!st) st = open_shard(f, err);
        if (st) {
            if (st == SD_E_NOTFOUND)
                sd_hint(err, "%s lists this shard; the download of the folder is not complete", index);
            return st;
        }
    }
    return SD_OK;
}

static sd_status check_index(const folder *f, const json_t *map, const sd_table *shards, const char *index, sd_err *err)
{
    const char *tensor;
    json_t *v;
    json_object_foreach((json_t *)map, tensor, v)
    {
        int64_t i = f->w->by_name ? sd_table_get(f->w->by_name, sd_slice_of(tensor)) : -1;
        int64_t shard = sd_table_get(shards, sd_slice_of(json_string_value(v)));
        if (i < 0 || f->w->entry[i].source != shard)
            return sd_fail(err, SD_E_FORMAT, "%s: tensor %s is said to be in %s, which does not have it", index, tensor,
                           json_string_value(v));
    }
    return SD_OK;
}

static sd_status read_index(folder *f, sd_err *err)
{
    json_t *index = NULL;
    sd_table *shards = NULL;
    char *path = sd_strdup(f->path);
    sd_status st = path ? SD_OK : sd_fail(err, SD_E_NOMEM, "out of memory: the name of %s", f->path);
    if (st) goto done;
    st = sd_json_load(&index, path, MAX_INDEX_BYTES, err);
    if (st) goto done;
    const json_t *map = json_object_get(index, "weight_map");
    if (!json_is_object(map)) {
        st = sd_fail(err, SD_E_FORMAT, "%s: no object \"weight_map\"", path);
        goto done;
    }
    st = sd_table_new(&shards, 16, err);
    if (!st) st = open_shards(f, map, shards, path, err);
    if (!st) st = check_index(f, map, shards, path, err);
done:
    sd_table_free(shards);
    json_decref(index);
    sd_free(path);
    return st;
}

/* Neither a whole file nor an index: says what is there instead, if that is known. */
static sd_status no_weights(folder *f, sd_err *err)
{
    sd_status st = sd_fail(err, SD_E_NOTFOUND,
                           "%s: the folder has no model.safetensors and no model.safetensors.index.json", f->dir);
    if (!join(f, "pytorch_model.bin", NULL) && sd_file_exists(f->path))
        sd_hint(err,
                "it has pytorch_model.bin, a pickle that can run code; convert it to safetensors where you trust it");
    else
        sd_hint(err, "the download of the folder is not complete, or the weights are of another kind");
    return st;
}

sd_status sd_hf__open(sd_weights *w, const char *dir, sd_err *err)
{
    folder f = {.w = w, .dir = dir};
    sd_status st = read_config(&f, err);
    const json_t *whole = w->config;
    if (!st) st = sd_hf_text_config(&w->config, err);
    const bool wrapped = w->config != whole;
    if (st || w->opt.meta_only) return st;
    st = join(&f, "model.safetensors", err);
    if (st) return st;
    if (sd_file_exists(f.path)) st = open_shard(&f, err);
    else if (!(st = join(&f, "model.safetensors.index.json", err))) st = sd_file_exists(f.path) ? read_index(&f, err) : no_weights(&f, err);
    return st || !wrapped ? st : sd_hf__text_tensors(w, err);
}
