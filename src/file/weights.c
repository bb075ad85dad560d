/* Opening by content, the table of tensors, and closing. What the bytes of a container mean is in gguf.c,
 * safetensors.c and hf.c; nothing here looks into a file beyond its first bytes. */
#include "file/weights_int.h"

sd_status sd_weights__grow(void *array, int64_t n, int64_t *cap, size_t size, sd_err *err)
{
    if (n < *cap) return SD_OK;
    int64_t want = *cap ? *cap * 2 : 32;
    size_t bytes;
    void *old, *p = NULL;
    memcpy(&old, array, sizeof old);
    if (sd_mul_size((size_t)want, size, &bytes)) p = sd_realloc(old, bytes);
    if (!p)
        return sd_fail(err, SD_E_NOMEM, "out of memory: a table of %lld entries of a weights file", (long long)want);
    memcpy(array, &p, sizeof p);
    *cap = want;
    return SD_OK;
}

sd_status sd_weights__source(sd_weights *w, const sd_map *map, bool borrowed, const char *path, sd_err *err)
{
    sd_map m = *map;
    char *name = sd_strdup(path);
    sd_status st = name ? SD_OK : sd_fail(err, SD_E_NOMEM, "out of memory: the name of %s", path);
    if (!st) st = sd_weights__grow(&w->source, w->n_source, &w->cap_source, sizeof *w->source, err);
    if (st) {
        sd_free(name);
        if (!borrowed) sd_map_close(&m);
        return st;
    }
    w->source[w->n_source++] = (sd_wsource){.map = m, .borrowed = borrowed, .path = name};
    return SD_OK;
}

sd_status sd_weights__add(sd_weights *w, int64_t source, const sd_tensor *t, sd_err *err)
{
    int64_t old = -1;
    sd_status st = sd_weights__grow(&w->entry, w->n, &w->cap, sizeof *w->entry, err);
    if (!st && !w->by_name) st = sd_table_new(&w->by_name, 512, err);
    if (!st) st = sd_table_set(w->by_name, t->name, w->n, &old, err);
    if (st) return st;
    if (old >= 0) {
        int64_t first = w->entry[old].source;
        if (first == source)
            return sd_fail(err, SD_E_FORMAT, "%s: two tensors are called %.*s", w->source[source].path,
                           SD_SLICE(t->name));
        return sd_fail(err, SD_E_FORMAT, "%s: tensor %.*s is in %s already", w->source[source].path, SD_SLICE(t->name),
                       w->source[first].path);
    }
    w->entry[w->n++] = (sd_wentry){.t = *t, .source = source};
    w->bytes += t->bytes;
    return SD_OK;
}

bool sd_weights__name_ok(sd_slice name)
{
    if (name.n == 0 || sd_utf8_valid_prefix(name) != name.n) return false;
    for (size_t i = 0; i < name.n; i++)
        if ((unsigned char)name.p[i] < 0x20 || name.p[i] == 0x7f) return false;
    return true;
}

bool sd_weights__size(const sd_tensor *t, int block, size_t block_bytes, size_t *bytes)
{
    size_t n = 1;
    for (int i = 0; i < t->rank; i++)
        if (t->dim[i] < 0 || !sd_mul_size(n, (size_t)t->dim[i], &n)) return false;
    int64_t row = t->rank ? t->dim[t->rank - 1] : 1;
    /* Element counts are int64_t everywhere above this layer. */
    return n <= INT64_MAX && row % block == 0 && sd_mul_size(n / (size_t)block, block_bytes, bytes);
}

void sd_weights__hint_cut(sd_err *err)
{
    (void)sd_hint(err, "the download may be cut short; compare its size and SHA-256");
}

sd_status sd_weights__keep(sd_weights *w, void *p, sd_err *err)
{
    const sd_status st = sd_weights__grow(&w->copy, w->n_copy, &w->cap_copy, sizeof *w->copy, err);
    if (st) sd_free(p);
    else w->copy[w->n_copy++] = p;
    return st;
}

sd_status sd_weights__align(sd_weights *w, sd_tensor *t, sd_err *err)
{
    const size_t elem = t->dtype == SD_DTYPE_NONE ? 1 : sd_dtype_get(t->dtype)->bytes;
    void *p;
    if ((uintptr_t)t->data % elem == 0) return SD_OK;
    sd_status st = sd_alloc(&p, t->bytes + 1, "an aligned copy of a tensor", err);
    if (!st) st = sd_weights__keep(w, p, err);
    if (!st) t->data = memcpy(p, t->data, t->bytes);
    return st;
}

sd_status sd_weights__put_kv(sd_weights *w, const sd_kv *kv, sd_err *err)
{
    int64_t old = -1;
    sd_status st = sd_weights__grow(&w->kv, w->n_kv, &w->cap_kv, sizeof *w->kv, err);
    if (!st && !w->by_key) st = sd_table_new(&w->by_key, 64, err);
    if (!st) st = sd_table_set(w->by_key, kv->key, w->n_kv, &old, err);
    if (!st && old >= 0) st = sd_fail(err, SD_E_FORMAT, "%s: two settings are called %.*s", w->path, SD_SLICE(kv->key));
    if (!st) w->kv[w->n_kv++] = *kv;
    return st;
}

/* numpy's and torch's archives. */
static sd_status read_archive(sd_weights *w, sd_err *err)
{
    const sd_wsource *s = &w->source[0];
    sd_zip_member *pickle = NULL;
    sd_zip z;
    sd_status st = sd_zip_open(&z, s->map.p, s->map.n, s->path, err);
    if (st) return st;
    w->container = SD_CONTAINER_HF;
    for (int64_t i = 0; i < z.n && !pickle; i++)
        if (sd_slice_eq_str(z.v[i].name, "data.pkl") || sd_slice_ends(z.v[i].name, "/data.pkl")) pickle = &z.v[i];
    st = pickle ? sd_torch__read(w, 0, &z, pickle, err) : sd_npz__read(w, 0, &z, err);
    sd_zip_release(&z);
    return st;
}

/* A hint about a file that is no weights file, from its first bytes; NULL when they say nothing. */
static const char *other_kind(const sd_map *m)
{
    sd_slice head = {(const char *)m->p, m->n < 64 ? m->n : 64};
    if (sd_slice_starts(head, "version https://git-lfs"))
        return "this is a Git LFS pointer, not the file it stands for; run `git lfs pull`";
    if (sd_slice_starts(head, "PK\x03\x04") || sd_slice_starts(head, "\x80\x02"))
        return "this looks like a PyTorch pickle, which can run code; convert it to safetensors where you trust it";
    if (sd_slice_starts(head, "<"))
        return "this looks like a web page; the download has probably saved an error or log-in page";
    return NULL;
}

static sd_status read_file(sd_weights *w, sd_err *err)
{
    const sd_wsource *s = &w->source[0];
    sd_slice head = {(const char *)s->map.p, s->map.n}, path = sd_slice_of(s->path);
    if (sd_slice_starts(head, "GGUF")) {
        w->container = SD_CONTAINER_GGUF;
        return sd_gguf__read(w, 0, err);
    }
    if (w->opt.arrays && sd_slice_starts(head, "PK\x03\x04")) return read_archive(w, err);
    const char *kind = other_kind(&s->map);
    if ((head.n > 8 && head.p[8] == '{') || (!kind && sd_slice_ends(path, ".safetensors"))) {
        w->container = SD_CONTAINER_HF;
        return sd_safetensors__read(w, 0, err);
    }
    sd_status st =
        sd_fail(err, SD_E_FORMAT, "%s: neither GGUF nor safetensors: it begins with bytes %02x %02x %02x %02x", s->path,
                s->map.p[0], head.n > 1 ? s->map.p[1] : 0, head.n > 2 ? s->map.p[2] : 0, head.n > 3 ? s->map.p[3] : 0);
    (void)sd_hint(err, "%s", kind ? kind : "a model is a .gguf file, a .safetensors file or a Hugging Face folder");
    return st;
}

static sd_status open_new(sd_weights **w, const char *path, const sd_weights_opt *opt, sd_err *err)
{
    *w = NULL;
    sd_status st = sd_alloc_zero(w, sizeof **w, "a weights handle", err);
    if (st) return st;
    if (opt) (*w)->opt = *opt;
    (*w)->path = sd_strdup(path);
    return (*w)->path ? SD_OK : sd_fail(err, SD_E_NOMEM, "out of memory: the name of %s", path);
}

sd_status sd_weights_open_opt(sd_weights **out, const char *path, const sd_weights_opt *opt, sd_err *err)
{
    sd_weights *w;
    sd_map m = {0};
    *out = NULL;
    sd_status st = open_new(&w, path, opt, err);
    if (st) goto done;
    if (sd_dir_exists(path)) {
        w->container = SD_CONTAINER_HF;
        st = sd_hf__open(w, path, err);
        goto done;
    }
    st = sd_map_open(&m, path, err);
    if (!st) st = sd_weights__source(w, &m, false, path, err);
    if (!st) st = read_file(w, err);
done:
    if (st)
        sd_weights_close(w);
    else
        *out = w;
    return st;
}

sd_status sd_weights_open(sd_weights **out, const char *path, sd_err *err)
{
    return sd_weights_open_opt(out, path, NULL, err);
}

sd_status sd_weights_open_bytes(sd_weights **out, const void *p, size_t n, const char *name, const sd_weights_opt *opt,
                                 sd_err *err)
{
    sd_weights *w;
    *out = NULL;
    if (n == 0) return sd_fail(err, SD_E_FORMAT, "%s: the file is empty", name);
    sd_status st = open_new(&w, name, opt, err);
    if (!st) st = sd_weights__source(w, &(sd_map){p, n}, true, name, err);
    if (!st) st = read_file(w, err);
    if (st)
        sd_weights_close(w);
    else
        *out = w;
    return st;
}

void sd_weights_close(sd_weights *w)
{
    if (!w) return;
    sd_table_free(w->by_name);
    sd_table_free(w->by_key);
    sd_free(w->entry);
    sd_free(w->kv);
    for (int64_t i = 0; i < w->n_copy; i++) sd_free(w->copy[i]);
    sd_free(w->copy);
    for (int64_t i = 0; i < w->n_source; i++) {
        json_decref(w->source[i].header);
        if (!w->source[i].borrowed) sd_map_close(&w->source[i].map);
        sd_free(w->source[i].path);
    }
    sd_free(w->source);
    json_decref(w->config);
    sd_free(w->path);
    sd_free(w);
}

void sd_weights_forget(const sd_weights *w)
{
    for (int64_t i = 0; i < w->n_source; i++)
        if (!w->source[i].borrowed) sd_map_forget(&w->source[i].map);
}

sd_container sd_weights_container(const sd_weights *w)
{
    return w->container;
}
int64_t sd_weights_count(const sd_weights *w)
{
    return w->n;
}
const char *sd_weights_path(const sd_weights *w)
{
    return w->path;
}
uint64_t sd_weights_bytes(const sd_weights *w)
{
    return w->bytes;
}
const json_t *sd_weights_config(const sd_weights *w)
{
    return w->config;
}

const sd_tensor *sd_weights_at(const sd_weights *w, int64_t i)
{
    return i >= 0 && i < w->n ? &w->entry[i].t : NULL;
}

const sd_tensor *sd_weights_find(const sd_weights *w, const char *name)
{
    int64_t i = w->by_name ? sd_table_get(w->by_name, sd_slice_of(name)) : -1;
    if (i < 0) return NULL;
    w->entry[i].asked = true;
    return &w->entry[i].t;
}

const sd_tensor *sd_weights_unasked(const sd_weights *w)
{
    for (int64_t i = 0; i < w->n; i++)
        if (!w->entry[i].asked) return &w->entry[i].t;
    return NULL;
}

const char *sd_weights_meta(const sd_weights *w, const char *key)
{
    const json_t *h = w->n_source ? w->source[0].header : NULL;
    return json_string_value(json_object_get(json_object_get(h, "__metadata__"), key));
}
