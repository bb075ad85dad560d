/* safetensors: u64 header length, a JSON header, then the tensors' bytes without any gap.
 *
 * Rules of the format (its README, and `validate` of the reference implementation, safetensors/src/tensor.rs): header
 * of at most 100 MB beginning with '{'; data_offsets relative to the end of the header; sorted by offset the tensors
 * cover the rest of the file exactly, with no hole, overlap or tail; names are unique; "__metadata__" maps strings to
 * strings. The format does not promise alignment. A tensor whose bytes are not aligned to its element is copied once,
 * with a log line; all others are views into the map. */
#include "file/weights_int.h"
#include "base/cursor.h"
#include "base/log.h"
#include <stdlib.h>

#define MAX_HEADER 100000000 /* MAX_HEADER_SIZE of the reference implementation */

/* Types that the format knows and num/dtype.h does not: name and bytes. A BOOL is a byte that is 0 or 1. */
static const struct {
    const char *name;
    sd_dtype as;
    size_t bytes;
} other_type[] = {
    {"BOOL", SD_U8, 1},
    {"U16", SD_DTYPE_NONE, 2},
    {"U32", SD_DTYPE_NONE, 4},
    {"U64", SD_DTYPE_NONE, 8},
    {"F8_E4M3", SD_DTYPE_NONE, 1},
    {"F8_E5M2", SD_DTYPE_NONE, 1},
    {"F8_E8M0", SD_DTYPE_NONE, 1},
    {"C64", SD_DTYPE_NONE, 8},
};

typedef struct item {
    sd_tensor t;
    uint64_t begin, end;
} item;

typedef struct st_file {
    const char *path;
    const uint8_t *data; /* behind the header */
    size_t data_at, data_bytes, size;
} st_file;

static sd_status bad_entry(const st_file *f, const char *name, const char *what, sd_err *err)
{
    return sd_fail(err, SD_E_FORMAT, "%s: tensor %s: %s", f->path, name, what);
}

static sd_status read_type(const st_file *f, sd_tensor *t, size_t *elem, const json_t *j, bool keep_unknown,
                           sd_err *err)
{
    const char *name = json_string_value(json_object_get(j, "dtype"));
    if (!name) return bad_entry(f, t->name.p, "no string \"dtype\"", err);
    t->dtype = sd_dtype_from_st(name, strlen(name));
    if (t->dtype != SD_DTYPE_NONE) {
        t->type_name = sd_dtype_get(t->dtype)->st_name;
        *elem = sd_dtype_get(t->dtype)->bytes;
        return SD_OK;
    }
    for (size_t i = 0; i < sizeof other_type / sizeof *other_type; i++) {
        if (strcmp(name, other_type[i].name) != 0 || (other_type[i].as == SD_DTYPE_NONE && !keep_unknown)) continue;
        t->dtype = other_type[i].as;
        t->type_name = other_type[i].name;
        *elem = other_type[i].bytes;
        return SD_OK;
    }
    bool printable = sd_weights__name_ok(sd_slice_of(name)) && strlen(name) <= 32;
    return sd_fail(err, SD_E_UNSUPPORTED, "%s: tensor %s has dtype %s, which cannot be read", f->path, t->name.p,
                   printable ? name : "of an odd name");
}

static sd_status read_shape(const st_file *f, sd_tensor *t, const json_t *j, sd_err *err)
{
    const json_t *shape = json_object_get(j, "shape");
    if (!json_is_array(shape)) return bad_entry(f, t->name.p, "no array \"shape\"", err);
    if (json_array_size(shape) > SD_MAX_RANK)
        return sd_fail(err, SD_E_UNSUPPORTED, "%s: tensor %s has rank %zu; at most %d is read", f->path, t->name.p,
                       json_array_size(shape), SD_MAX_RANK);
    t->rank = (int)json_array_size(shape);
    for (int i = 0; i < t->rank; i++) {
        const json_t *d = json_array_get(shape, (size_t)i);
        if (!json_is_integer(d) || json_integer_value(d) < 0)
            return bad_entry(f, t->name.p, "a dimension is not a whole number", err);
        t->dim[i] = json_integer_value(d);
    }
    return SD_OK;
}

static sd_status read_entry(const st_file *f, item *it, const char *name, const json_t *j, bool keep_unknown,
                            sd_err *err)
{
    size_t elem = 0;
    *it = (item){.t.name = sd_slice_of(name)};
    sd_tensor *t = &it->t;
    if (!sd_weights__name_ok(t->name))
        return sd_fail(err, SD_E_FORMAT, "%s: a tensor's name is not printable", f->path);
    if (!json_is_object(j)) return bad_entry(f, name, "its entry is not a JSON object", err);
    sd_status st = read_type(f, t, &elem, j, keep_unknown, err);
    if (!st) st = read_shape(f, t, j, err);
    if (st) return st;
    const json_t *offsets = json_object_get(j, "data_offsets");
    const json_t *b = json_array_get(offsets, 0), *e = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(b) || !json_is_integer(e) || json_integer_value(b) < 0 ||
        json_integer_value(e) < json_integer_value(b))
        return bad_entry(f, name, "\"data_offsets\" are not two rising whole numbers", err);
    it->begin = (uint64_t)json_integer_value(b);
    it->end = (uint64_t)json_integer_value(e);
    if (!sd_weights__size(t, 1, elem, &t->bytes))
        return bad_entry(f, name, "its shape has more elements than can be counted", err);
    if (it->end - it->begin != t->bytes)
        return sd_fail(err, SD_E_FORMAT, "%s: tensor %s of type %s takes %zu bytes by its shape, %llu by its offsets",
                       f->path, name, t->type_name, t->bytes, (unsigned long long)(it->end - it->begin));
    if (it->end > f->data_bytes) {
        st = sd_fail(err, SD_E_FORMAT, "%s: tensor %s ends at byte %llu of a file of %zu", f->path, name,
                     (unsigned long long)it->end + f->data_at, f->size);
        sd_weights__hint_cut(err);
        return st;
    }
    t->data = f->data + it->begin;
    return SD_OK;
}

static int by_begin(const void *a, const void *b)
{
    const item *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end) return x->end < y->end ? -1 : 1;
    size_t n = x->t.name.n < y->t.name.n ? x->t.name.n : y->t.name.n;
    int order = memcmp(x->t.name.p, y->t.name.p, n);
    return order ? order : x->t.name.n < y->t.name.n ? -1 : 1;
}

static sd_status check_covered(const st_file *f, const item *it, int64_t n, sd_err *err)
{
    uint64_t at = 0;
    for (int64_t i = 0; i < n; i++) {
        if (it[i].begin != at)
            return sd_fail(err, SD_E_FORMAT, "%s: tensor %s begins at offset %llu, but the one before it ends at %llu",
                           f->path, it[i].t.name.p, (unsigned long long)it[i].begin, (unsigned long long)at);
        at = it[i].end;
    }
    if (at == f->data_bytes) return SD_OK;
    return sd_fail(err, SD_E_FORMAT, "%s: %llu bytes follow the last tensor, which ends at byte %llu of a file of %zu",
                   f->path, (unsigned long long)(f->data_bytes - at), (unsigned long long)at + f->data_at, f->size);
}

static sd_status check_metadata(const st_file *f, const json_t *meta, sd_err *err)
{
    const char *key;
    json_t *v;
    bool good = json_is_object(meta);
    json_object_foreach((json_t *)meta, key, v) good = good && json_is_string(v);
    if (good) return SD_OK;
    return sd_fail(err, SD_E_FORMAT, "%s: \"__metadata__\" is not an object of strings", f->path);
}

static sd_status read_header(st_file *f, json_t **header, const sd_map *m, sd_err *err)
{
    sd_cursor c;
    sd_cur_init(&c, m->p, m->n);
    uint64_t n = sd_cur_u64(&c);
    if (sd_cur_failed(&c)) {
        sd_status st = sd_cur_fail(&c, err, f->path, "header length");
        sd_weights__hint_cut(err);
        return st;
    }
    if (n > MAX_HEADER)
        return sd_fail(err, SD_E_FORMAT, "%s: the header claims %llu bytes; the format allows %d", f->path,
                       (unsigned long long)n, MAX_HEADER);
    const char *json = sd_cur_bytes(&c, n);
    if (sd_cur_failed(&c)) {
        sd_status st = sd_fail(err, SD_E_FORMAT, "%s: the header ends at byte %llu of a file of %zu", f->path,
                               (unsigned long long)n + 8, m->n);
        sd_weights__hint_cut(err);
        return st;
    }
    if (n == 0 || json[0] != '{') return sd_fail(err, SD_E_FORMAT, "%s: the header does not begin with '{'", f->path);
    f->data_at = c.off;
    f->data = m->p + c.off;
    f->data_bytes = m->n - c.off;
    f->size = m->n;
    return sd_json_parse(header, json, (size_t)n, f->path, err);
}

sd_status sd_safetensors__read(sd_weights *w, int64_t source, sd_err *err)
{
    sd_wsource *s = &w->source[source];
    st_file f = {.path = s->path};
    item *it = NULL;
    int64_t n = 0;
    uint64_t copied = 0;
    const char *name;
    json_t *j;
    sd_status st = read_header(&f, &s->header, &s->map, err);
    if (st || w->opt.meta_only) goto done;
    st = sd_alloc(&it, json_object_size(s->header) * sizeof *it, "the tensor table of a safetensors file", err);
    if (st) goto done;
    json_object_foreach(s->header, name, j)
    {
        if (strcmp(name, "__metadata__") == 0)
            st = check_metadata(&f, j, err);
        else
            st = read_entry(&f, &it[n++], name, j, w->opt.keep_unknown, err);
        if (st) goto done;
    }
    qsort(it, (size_t)n, sizeof *it, by_begin);
    st = check_covered(&f, it, n, err);
    for (int64_t i = 0; i < n && !st; i++) {
        const void *was = it[i].t.data;
        st = sd_weights__align(w, &it[i].t, err);
        if (it[i].t.data != was) copied += it[i].t.bytes;
        if (!st) st = sd_weights__add(w, source, &it[i].t, err);
    }
    if (copied) sd_log(SD_LOG_INFO, "%s: %llu bytes of unaligned tensors copied", f.path, (unsigned long long)copied);
done:
    sd_free(it);
    return st;
}
