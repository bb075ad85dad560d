/* Writing safetensors: the header is complete before the first byte of data, so tensors may be streamed behind it.
 * The format has no padding between tensors; alignment comes from the header (a multiple of 8) and from the order:
 * wider element types first, as the reference implementation lays them down (safetensors/src/tensor.rs, `prepare`). A
 * file that is not completed never takes the place of the old one (base/map.h, sd_wfile). */
#include "file/weights_int.h"

#define MAX_HEADER 100000000 /* readers refuse more (safetensors.c) */

struct sd_st_writer {
    sd_wfile *file;
    char *path;
    uint64_t total, done; /* bytes of data */
};

static sd_status check_names(const sd_st_tensor *t, int64_t n, const char *path, sd_err *err)
{
    sd_table *names = NULL;
    int64_t old = -1;
    sd_status st = sd_table_new(&names, n, err);
    for (int64_t i = 0; i < n && !st; i++) {
        sd_slice name = sd_slice_of(t[i].name);
        if (!sd_weights__name_ok(name) || sd_slice_eq_str(name, "__metadata__")) {
            st = sd_fail(err, SD_E_ARG, "%s: tensor %lld has no valid name", path, (long long)i);
            break;
        }
        st = sd_table_set(names, name, i, &old, err);
        if (!st && old >= 0) st = sd_fail(err, SD_E_ARG, "%s: two tensors would be called %s", path, t[i].name);
    }
    sd_table_free(names);
    return st;
}

static sd_status tensor_bytes(const sd_st_tensor *t, const char *path, size_t *elem, size_t *bytes, sd_err *err)
{
    const sd_dtype_info *info = t->dtype > SD_DTYPE_NONE && t->dtype < SD_DTYPE_COUNT ? sd_dtype_get(t->dtype) : NULL;
    if (!info || !info->name || !info->st_name)
        return sd_fail(err, SD_E_ARG, "%s: tensor %s has type %s, which safetensors cannot hold", path, t->name,
                       info && info->name ? info->name : "none");
    sd_tensor shape = {.rank = t->rank};
    if (t->rank < 0 || t->rank > SD_MAX_RANK)
        return sd_fail(err, SD_E_ARG, "%s: tensor %s has rank %d; at most %d is possible", path, t->name, t->rank,
                       SD_MAX_RANK);
    memcpy(shape.dim, t->dim, sizeof shape.dim);
    *elem = info->bytes;
    if (!sd_weights__size(&shape, 1, info->bytes, bytes))
        return sd_fail(err, SD_E_ARG, "%s: tensor %s has impossible dimensions", path, t->name);
    return SD_OK;
}

static void put_tensor(sd_jw *w, const sd_st_tensor *t, uint64_t begin, uint64_t end)
{
    sd_jw_key(w, t->name);
    sd_jw_obj(w);
    sd_jw_kstr(w, "dtype", sd_dtype_get(t->dtype)->st_name);
    sd_jw_key(w, "shape");
    sd_jw_arr(w);
    for (int k = 0; k < t->rank; k++) sd_jw_i64(w, t->dim[k]);
    sd_jw_end(w);
    sd_jw_key(w, "data_offsets");
    sd_jw_arr(w);
    sd_jw_u64(w, begin);
    sd_jw_u64(w, end);
    sd_jw_end(w);
    sd_jw_end(w);
}

/* The header with its length in front, padded by spaces to a multiple of 8. */
static sd_status make_header(sd_buf *b, uint64_t *total, const char *path, const sd_st_tensor *t, int64_t n,
                             const char *const *meta, sd_err *err)
{
    sd_jw w;
    uint8_t length[8] = {0};
    *total = 0;
    sd_buf_put(b, length, sizeof length);
    sd_jw_init(&w, b);
    sd_jw_obj(&w);
    if (meta && meta[0]) {
        sd_jw_key(&w, "__metadata__");
        sd_jw_obj(&w);
        for (; meta[0]; meta += 2) sd_jw_kstr(&w, meta[0], meta[1]);
        sd_jw_end(&w);
    }
    for (int64_t i = 0; i < n; i++) {
        size_t elem = 1, bytes = 0;
        sd_status st = tensor_bytes(&t[i], path, &elem, &bytes, err);
        if (st) return st;
        if (*total % elem)
            return sd_fail(err, SD_E_ARG,
                           "%s: tensor %s would begin at offset %llu, unaligned for %s; put wider types first", path,
                           t[i].name, (unsigned long long)*total, sd_dtype_get(t[i].dtype)->name);
        if (bytes > INT64_MAX - *total)
            return sd_fail(err, SD_E_ARG, "%s: the tensors are larger than a file can be", path);
        put_tensor(&w, &t[i], *total, *total + bytes);
        *total += bytes;
    }
    sd_jw_end(&w);
    while (b->n % 8 && !b->failed) sd_buf_putc(b, ' ');
    sd_status st = sd_buf_check(b, "a safetensors header", err);
    if (st) return st;
    uint64_t header = b->n - sizeof length;
    for (int k = 0; k < 8; k++) b->p[k] = (char)(uint8_t)(header >> (8 * k));
    return SD_OK;
}

sd_status sd_safetensors_begin(sd_st_writer **out, const char *path, const sd_st_tensor *t, int64_t n,
                               const char *const *meta, sd_err *err)
{
    sd_st_writer *w = NULL;
    sd_buf head;
    *out = NULL;
    sd_buf_init(&head, MAX_HEADER + 8);
    sd_status st = check_names(t, n, path, err);
    if (st) goto done;
    st = sd_alloc_zero(&w, sizeof *w, "a safetensors writer", err);
    if (st) goto done;
    st = make_header(&head, &w->total, path, t, n, meta, err);
    if (st) goto done;
    w->path = sd_strdup(path);
    if (!w->path) st = sd_fail(err, SD_E_NOMEM, "out of memory: the name of %s", path);
    if (!st) st = sd_wfile_open(&w->file, path, err);
    if (!st) st = sd_wfile_write(w->file, head.p, head.n, err);
done:
    sd_buf_release(&head);
    if (st)
        sd_safetensors_abort(w);
    else
        *out = w;
    return st;
}

sd_status sd_safetensors_append(sd_st_writer *w, const void *p, size_t n, sd_err *err)
{
    if (n > w->total - w->done)
        return sd_fail(err, SD_E_ARG, "%s: %zu bytes of data after %llu; the header says %llu in all", w->path, n,
                       (unsigned long long)w->done, (unsigned long long)w->total);
    sd_status st = n ? sd_wfile_write(w->file, p, n, err) : SD_OK;
    if (!st) w->done += n;
    return st;
}

sd_status sd_safetensors_end(sd_st_writer *w, sd_err *err)
{
    sd_status st;
    if (w->done != w->total) {
        st = sd_fail(err, SD_E_ARG, "%s: %llu bytes of data were written; the header says %llu", w->path,
                     (unsigned long long)w->done, (unsigned long long)w->total);
    } else {
        st = sd_wfile_commit(w->file, err);
        w->file = NULL;
    }
    sd_safetensors_abort(w);
    return st;
}

void sd_safetensors_abort(sd_st_writer *w)
{
    if (!w) return;
    sd_wfile_abort(w->file);
    sd_free(w->path);
    sd_free(w);
}

/* Stable order by falling element size. Types that cannot be written come last; sd_safetensors_begin refuses them by
 * name. */
static sd_status order_tensors(sd_st_tensor **out, const sd_st_tensor *t, int64_t n, sd_err *err)
{
    static const size_t width[] = {8, 4, 2, 1};
    int64_t k = 0;
    size_t bytes;
    if (n < 0 || !sd_mul_size((size_t)n, sizeof *t, &bytes))
        return sd_fail(err, SD_E_ARG, "%lld tensors", (long long)n);
    sd_status st = sd_alloc(out, bytes, "the order of tensors in a file", err);
    if (st) return st;
    for (size_t pass = 0; pass <= sizeof width / sizeof *width; pass++)
        for (int64_t i = 0; i < n; i++) {
            bool known = t[i].dtype > SD_DTYPE_NONE && t[i].dtype < SD_DTYPE_COUNT && sd_dtype_get(t[i].dtype)->st_name;
            size_t want = pass < sizeof width / sizeof *width ? width[pass] : 0;
            if ((known ? sd_dtype_get(t[i].dtype)->bytes : 0) == want) (*out)[k++] = t[i];
        }
    SD_ASSERT(k == n);
    return SD_OK;
}

sd_status sd_safetensors_write(const char *path, const sd_st_tensor *t, int64_t n, const char *const *meta, sd_err *err)
{
    sd_st_tensor *list = NULL;
    sd_st_writer *w = NULL;
    sd_status st = order_tensors(&list, t, n, err);
    if (!st) st = sd_safetensors_begin(&w, path, list, n, meta, err);
    for (int64_t i = 0; i < n && !st; i++) {
        size_t elem = 1, bytes = 0;
        st = tensor_bytes(&list[i], path, &elem, &bytes, err);
        if (!st) st = sd_safetensors_append(w, list[i].data, bytes, err);
    }
    if (st) {
        sd_safetensors_abort(w);
    } else {
        st = sd_safetensors_end(w, err);
    }
    sd_free(list);
    return st;
}
