/* Writing GGUF (docs/gguf.md of ggml): see gguf_write.h. Numbers are little-endian, as on every machine this runs on
 * (base/cursor.h); the innermost dimension is written first. */
#include "file/gguf_write.h"
#include "file/weights_int.h"

enum {
    ALIGN = 32,           /* gguf.md: general.alignment where the file says nothing */
    MAX_META = 512 << 20, /* gemma's tokenizer, the largest in use, takes 20 MB */
};

struct sd_gguf_writer {
    sd_wfile *file;
    char *path;
    size_t *bytes; /* [n] of each tensor; owns */
    int64_t n, at; /* tensors; the one that is being written */
    size_t done;   /* bytes of it */
};

static void put_u32(sd_buf *b, uint32_t v)
{
    sd_buf_put(b, &v, sizeof v);
}

static void put_u64(sd_buf *b, uint64_t v)
{
    sd_buf_put(b, &v, sizeof v);
}

static void put_text(sd_buf *b, sd_slice s)
{
    put_u64(b, s.n);
    sd_buf_put(b, s.p, s.n);
}

static void pad(sd_buf *b)
{
    while (b->n % ALIGN && !b->failed) sd_buf_putc(b, 0);
}

/* ---- metadata ---- */

void sd_gguf_meta_init(sd_gguf_meta *m)
{
    m->n = 0;
    sd_buf_init(&m->b, MAX_META);
}

void sd_gguf_meta_release(sd_gguf_meta *m)
{
    sd_buf_release(&m->b);
}

static void put_key(sd_gguf_meta *m, sd_slice key, uint32_t type)
{
    put_text(&m->b, key);
    put_u32(&m->b, type);
    m->n++;
}

static void put_array(sd_gguf_meta *m, const char *key, uint32_t elem, int64_t n)
{
    put_key(m, sd_slice_of(key), SD_V_ARR);
    put_u32(&m->b, elem);
    put_u64(&m->b, (uint64_t)n);
}

void sd_gguf_put_u32(sd_gguf_meta *m, const char *key, uint32_t v)
{
    put_key(m, sd_slice_of(key), SD_V_U32);
    put_u32(&m->b, v);
}

void sd_gguf_put_f32(sd_gguf_meta *m, const char *key, float v)
{
    put_key(m, sd_slice_of(key), SD_V_F32);
    sd_buf_put(&m->b, &v, sizeof v);
}

void sd_gguf_put_bool(sd_gguf_meta *m, const char *key, bool v)
{
    put_key(m, sd_slice_of(key), SD_V_BOOL);
    sd_buf_putc(&m->b, v);
}

void sd_gguf_put_str(sd_gguf_meta *m, const char *key, sd_slice v)
{
    put_key(m, sd_slice_of(key), SD_V_STR);
    put_text(&m->b, v);
}

void sd_gguf_put_strings(sd_gguf_meta *m, const char *key, const sd_slice *v, int64_t n)
{
    put_array(m, key, SD_V_STR, n);
    for (int64_t i = 0; i < n; i++) put_text(&m->b, v[i]);
}

void sd_gguf_put_i32s(sd_gguf_meta *m, const char *key, const int32_t *v, int64_t n)
{
    put_array(m, key, SD_V_I32, n);
    sd_buf_put(&m->b, v, (size_t)n * sizeof *v);
}

void sd_gguf_put_f32s(sd_gguf_meta *m, const char *key, const float *v, int64_t n)
{
    put_array(m, key, SD_V_F32, n);
    sd_buf_put(&m->b, v, (size_t)n * sizeof *v);
}

void sd_gguf_put_bools(sd_gguf_meta *m, const char *key, const bool *v, int64_t n)
{
    put_array(m, key, SD_V_BOOL, n);
    for (int64_t i = 0; i < n; i++) sd_buf_putc(&m->b, v[i]);
}

void sd_gguf_put_all(sd_gguf_meta *m, const sd_weights *from, const char *const *but)
{
    for (int64_t i = 0; i < from->n_kv; i++) {
        const sd_kv *kv = &from->kv[i];
        bool wanted = true;
        for (int k = 0; but[k] && wanted; k++) wanted = !sd_slice_starts(kv->key, but[k]);
        if (!wanted) continue;
        put_key(m, kv->key, kv->type);
        if (kv->type == SD_V_ARR) {
            put_u32(&m->b, kv->elem);
            put_u64(&m->b, (uint64_t)kv->n);
        } else if (kv->type == SD_V_STR)
            put_u64(&m->b, kv->bytes);
        sd_buf_put(&m->b, kv->p, kv->bytes);
    }
}

/* ---- header ---- */

static sd_status tensor_bytes(const sd_gguf_tensor *t, size_t *bytes, sd_err *err)
{
    const sd_dtype_info *info = t->dtype > SD_DTYPE_NONE && t->dtype < SD_DTYPE_COUNT ? sd_dtype_get(t->dtype) : NULL;
    if (!info || !info->name || info->ggml_id < 0)
        return sd_fail(err, SD_E_ARG, "tensor %s has type %s, which a GGUF cannot hold", t->name,
                       info && info->name ? info->name : "none");
    sd_tensor shape = {.rank = t->rank, .dim = {t->dim[0], t->dim[1]}};
    if (t->rank < 1 || t->rank > 2 || !sd_weights__size(&shape, info->block, info->bytes, bytes))
        return sd_fail(err, SD_E_ARG, "tensor %s of rank %d, [%lld, %lld], is no whole number of %s blocks", t->name,
                       t->rank, (long long)t->dim[0], (long long)t->dim[1], info->name);
    return SD_OK;
}

sd_status sd_gguf_header(sd_buf *out, const sd_gguf_meta *m, const sd_gguf_tensor *t, int64_t n, sd_err *err)
{
    sd_table *names = NULL;
    uint64_t offset = 0;
    int64_t old = -1;
    sd_status st = sd_table_new(&names, n, err);
    if (!st) st = sd_buf_check(&m->b, "the metadata of a GGUF", err);
    if (st) goto done;
    sd_buf_put(out, "GGUF", 4);
    put_u32(out, 3);
    put_u64(out, (uint64_t)n);
    put_u64(out, m->n);
    sd_buf_put(out, m->b.p, m->b.n);
    for (int64_t i = 0; i < n && !st; i++) {
        size_t bytes = 0;
        if ((st = tensor_bytes(&t[i], &bytes, err))) break;
        if (!sd_weights__name_ok(sd_slice_of(t[i].name)))
            st = sd_fail(err, SD_E_ARG, "tensor %lld has no valid name", (long long)i);
        if (!st) st = sd_table_set(names, sd_slice_of(t[i].name), i, &old, err);
        if (!st && old >= 0) st = sd_fail(err, SD_E_ARG, "two tensors would be called %s", t[i].name);
        put_text(out, sd_slice_of(t[i].name));
        put_u32(out, (uint32_t)t[i].rank);
        for (int k = t[i].rank - 1; k >= 0; k--) put_u64(out, (uint64_t)t[i].dim[k]);
        put_u32(out, (uint32_t)sd_dtype_get(t[i].dtype)->ggml_id);
        put_u64(out, offset);
        offset += (bytes + ALIGN - 1) / ALIGN * ALIGN;
    }
    pad(out);
    if (!st) st = sd_buf_check(out, "the header of a GGUF", err);
done:
    sd_table_free(names);
    return st;
}

/* ---- file ---- */

sd_status sd_gguf_begin(sd_gguf_writer **out, const char *path, const sd_gguf_meta *m, const sd_gguf_tensor *t,
                        int64_t n, sd_err *err)
{
    sd_gguf_writer *w = NULL;
    sd_buf head;
    *out = NULL;
    sd_buf_init(&head, 2u * (size_t)MAX_META);
    sd_status st = sd_gguf_header(&head, m, t, n, err);
    if (st) {
        if (err) sd_err_wrap(err, "%s", path);
        goto done;
    }
    st = sd_alloc_zero(&w, sizeof *w, "a GGUF writer", err);
    if (st) goto done;
    w->n = n;
    st = sd_alloc_zero(&w->bytes, (size_t)(n ? n : 1) * sizeof *w->bytes, "a GGUF writer", err);
    for (int64_t i = 0; i < n && !st; i++) st = tensor_bytes(&t[i], &w->bytes[i], err);
    if (!st) {
        w->path = sd_strdup(path);
        if (!w->path) st = sd_fail(err, SD_E_NOMEM, "out of memory: the name of %s", path);
    }
    if (!st) st = sd_wfile_open(&w->file, path, err);
    if (!st) st = sd_wfile_write(w->file, head.p, head.n, err);
done:
    sd_buf_release(&head);
    if (st)
        sd_gguf_abort(w);
    else
        *out = w;
    return st;
}

sd_status sd_gguf_append(sd_gguf_writer *w, const void *p, size_t n, sd_err *err)
{
    static const char zero[ALIGN];
    if (n == 0) return SD_OK;
    if (w->at >= w->n || n > w->bytes[w->at] - w->done)
        return sd_fail(err, SD_E_ARG, "%s: %zu bytes more than tensor %lld of %lld has room for", w->path, n,
                       (long long)w->at + 1, (long long)w->n);
    sd_status st = sd_wfile_write(w->file, p, n, err);
    w->done += n;
    if (st || w->done < w->bytes[w->at]) return st;
    const size_t rest = (ALIGN - w->done % ALIGN) % ALIGN;
    w->at++;
    w->done = 0;
    return rest ? sd_wfile_write(w->file, zero, rest, err) : SD_OK;
}

sd_status sd_gguf_end(sd_gguf_writer *w, sd_err *err)
{
    sd_status st;
    while (w->at < w->n && w->bytes[w->at] == 0) w->at++;
    if (w->at < w->n) {
        st = sd_fail(err, SD_E_ARG, "%s: tensor %lld of %lld has %zu of its %zu bytes", w->path, (long long)w->at + 1,
                     (long long)w->n, w->done, w->bytes[w->at]);
    } else {
        st = sd_wfile_commit(w->file, err);
        w->file = NULL;
    }
    sd_gguf_abort(w);
    return st;
}

void sd_gguf_abort(sd_gguf_writer *w)
{
    if (!w) return;
    sd_wfile_abort(w->file);
    sd_free(w->bytes);
    sd_free(w->path);
    sd_free(w);
}
