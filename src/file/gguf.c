/* GGUF, versions 2 and 3, little-endian: metadata and tensor table, read in place.
 *
 * The file: magic "GGUF", version u32, tensor count u64, metadata count u64, metadata entries, tensor entries, padding
 * to general.alignment, data. Strings are a u64 length and bytes. Source: docs/gguf.md of ggml. Where that page and
 * ggml's reader differ (nested arrays, which the reader refuses; a name's limit), the stricter one holds. Every count
 * and length is a claim about bytes that may not be there: counts are compared with the bytes left before anything is
 * allocated, arrays are walked once and kept as (pointer, count), never as a list. GGUF writes the innermost dimension
 * first. It is turned round here, once; everyone above sees [rows, cols]. */
#include "file/weights_int.h"
#include "base/cursor.h"
#include <stdio.h>
#include <stdlib.h>

#define MAX_KEY           65535 /* gguf.md: keys are at most 2^16-1 bytes */
#define MAX_NAME          64    /* gguf.md: tensor names are at most 64 bytes (GGML_MAX_NAME) */
#define DEFAULT_ALIGNMENT 32    /* gguf.md, general.alignment */
#define MIN_KV_BYTES      13    /* empty key, type, one byte of value */
#define MIN_TENSOR_BYTES  24    /* empty name, rank 0, type, offset */

static const uint8_t value_bytes[SD_V_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

/* Names and blocks of the types a file may hold, by ggml's number (ggml.h, gguf-py GGML_QUANT_SIZES). Empty rows are
 * numbers that ggml has withdrawn. What can be computed with is decided by num/dtype.h alone. */
static const struct {
    const char *name;
    int block;
    size_t bytes;
} ggml_type[] = {
    [0] = {"F32", 1, 4},         [1] = {"F16", 1, 2},         [2] = {"Q4_0", 32, 18},      [3] = {"Q4_1", 32, 20},
    [6] = {"Q5_0", 32, 22},      [7] = {"Q5_1", 32, 24},      [8] = {"Q8_0", 32, 34},      [9] = {"Q8_1", 32, 40},
    [10] = {"Q2_K", 256, 84},    [11] = {"Q3_K", 256, 110},   [12] = {"Q4_K", 256, 144},   [13] = {"Q5_K", 256, 176},
    [14] = {"Q6_K", 256, 210},   [15] = {"Q8_K", 256, 292},   [16] = {"IQ2_XXS", 256, 66}, [17] = {"IQ2_XS", 256, 74},
    [18] = {"IQ3_XXS", 256, 98}, [19] = {"IQ1_S", 256, 50},   [20] = {"IQ4_NL", 32, 18},   [21] = {"IQ3_S", 256, 110},
    [22] = {"IQ2_S", 256, 82},   [23] = {"IQ4_XS", 256, 136}, [24] = {"I8", 1, 1},         [25] = {"I16", 1, 2},
    [26] = {"I32", 1, 4},        [27] = {"I64", 1, 8},        [28] = {"F64", 1, 8},        [29] = {"IQ1_M", 256, 56},
    [30] = {"BF16", 1, 2},       [34] = {"TQ1_0", 256, 54},   [35] = {"TQ2_0", 256, 66},   [39] = {"MXFP4", 32, 17},
    [40] = {"NVFP4", 64, 36},    [41] = {"Q1_0", 128, 18},
};
#define N_GGML_TYPE (sizeof ggml_type / sizeof *ggml_type)

/* A tensor's bytes, relative to the data section. */
typedef struct span {
    uint64_t begin, bytes;
    int64_t tensor;
} span;

typedef struct gguf {
    sd_weights *w;    /* gets the tensors */
    sd_weights *meta; /* gets the metadata: w, but for the parts behind the first */
    int64_t source;
    const char *path;
    sd_cursor c;
    uint64_t n_kv, n_tensor;
    sd_tensor *tensor; /* owns; data not set until the table is read */
    span *place;       /* owns */
    int64_t cap_tensor, cap_place;
} gguf;

/* n = 0: there is only one `what`. */
static sd_status ends_early(const gguf *g, const char *what, uint64_t i, uint64_t n, sd_err *err)
{
    char place[96];
    if (n)
        snprintf(place, sizeof place, "%s %llu of %llu", what, (unsigned long long)i + 1, (unsigned long long)n);
    else
        snprintf(place, sizeof place, "%s", what);
    sd_status st = sd_cur_fail(&g->c, err, g->path, place);
    sd_weights__hint_cut(err);
    return st;
}

static sd_status read_header(gguf *g, sd_err *err)
{
    sd_status st = SD_OK;
    sd_cur_skip(&g->c, 4); /* the magic, looked at by the caller */
    uint32_t version = sd_cur_u32(&g->c);
    if (!sd_cur_failed(&g->c) && version != 2 && version != 3) {
        if (version != 0 && (version & 0xffff) == 0)
            return sd_fail(err, SD_E_UNSUPPORTED, "%s: a big-endian GGUF; only little-endian files are read", g->path);
        st = sd_fail(err, SD_E_UNSUPPORTED, "%s: GGUF version %u; versions 2 and 3 are read", g->path, version);
        if (version == 1) sd_hint(err, "version 1 was in use for some weeks of 2023; convert the model again");
        return st;
    }
    g->n_tensor = sd_cur_u64(&g->c);
    g->n_kv = sd_cur_u64(&g->c);
    if (sd_cur_failed(&g->c)) return ends_early(g, "header", 0, 0, err);
    size_t left = sd_cur_left(&g->c);
    if (g->n_kv > left / MIN_KV_BYTES || g->n_tensor > left / MIN_TENSOR_BYTES) {
        st = sd_fail(err, SD_E_FORMAT,
                     "%s: the header claims %llu metadata entries and %llu tensors, too many for a file of %zu bytes",
                     g->path, (unsigned long long)g->n_kv, (unsigned long long)g->n_tensor, g->c.size);
        sd_weights__hint_cut(err);
    }
    return st;
}

/* An array's elements: fixed size is one product, strings are walked. */
static sd_status skip_array(gguf *g, sd_kv *kv, sd_err *err)
{
    kv->elem = sd_cur_u32(&g->c);
    uint64_t n = sd_cur_u64(&g->c);
    if (sd_cur_failed(&g->c)) return SD_OK; /* reported by the caller with the entry's number */
    if (kv->elem == SD_V_ARR)
        return sd_fail(err, SD_E_UNSUPPORTED, "%s: metadata key %.*s is an array of arrays", g->path,
                       SD_SLICE(kv->key));
    if (kv->elem >= SD_V_COUNT)
        return sd_fail(err, SD_E_FORMAT, "%s: metadata key %.*s is an array of value type %u, which GGUF does not have",
                       g->path, SD_SLICE(kv->key), kv->elem);
    size_t each = kv->elem == SD_V_STR ? 8 : value_bytes[kv->elem];
    if (n > sd_cur_left(&g->c) / each) {
        sd_status st =
            sd_fail(err, SD_E_FORMAT, "%s: metadata key %.*s claims %llu array elements at byte %zu of a file of %zu",
                    g->path, SD_SLICE(kv->key), (unsigned long long)n, g->c.off, g->c.size);
        sd_weights__hint_cut(err);
        return st;
    }
    kv->n = (int64_t)n;
    kv->p = g->c.base + g->c.off;
    size_t begin = g->c.off;
    if (kv->elem == SD_V_STR)
        for (uint64_t i = 0; i < n && !sd_cur_failed(&g->c); i++) (void)sd_cur_str64(&g->c, g->c.size);
    else
        sd_cur_skip(&g->c, n * each);
    kv->bytes = g->c.off - begin;
    return SD_OK;
}

static sd_status read_entry(gguf *g, uint64_t i, sd_err *err)
{
    sd_weights *w = g->meta;
    sd_kv kv = {0};
    int64_t old = -1;
    size_t at = g->c.off;
    kv.key = sd_cur_str64(&g->c, MAX_KEY);
    kv.type = sd_cur_u32(&g->c);
    if (sd_cur_failed(&g->c)) return ends_early(g, "metadata entry", i, g->n_kv, err);
    if (!sd_weights__name_ok(kv.key))
        return sd_fail(err, SD_E_FORMAT, "%s: the key of metadata entry %llu at byte %zu is not printable UTF-8",
                       g->path, (unsigned long long)i + 1, at);
    if (kv.type >= SD_V_COUNT)
        return sd_fail(err, SD_E_FORMAT,
                       "%s: metadata key %.*s at byte %zu has value type %u, which GGUF does not have", g->path,
                       SD_SLICE(kv.key), at, kv.type);
    sd_status st = SD_OK;
    if (kv.type == SD_V_ARR) {
        st = skip_array(g, &kv, err);
    } else if (kv.type == SD_V_STR) {
        sd_slice s = sd_cur_str64(&g->c, g->c.size);
        kv.p = (const uint8_t *)s.p;
        kv.bytes = s.n;
    } else {
        kv.bytes = value_bytes[kv.type];
        kv.p = sd_cur_bytes(&g->c, kv.bytes);
    }
    if (st) return st;
    if (sd_cur_failed(&g->c)) return ends_early(g, "metadata entry", i, g->n_kv, err);
    st = sd_weights__grow(&w->kv, w->n_kv, &w->cap_kv, sizeof *w->kv, err);
    if (!st) st = sd_table_set(w->by_key, kv.key, w->n_kv, &old, err);
    if (st) return st;
    if (old >= 0) return sd_fail(err, SD_E_FORMAT, "%s: metadata key %.*s appears twice", g->path, SD_SLICE(kv.key));
    w->kv[w->n_kv++] = kv;
    return SD_OK;
}

/* Rank, dimensions and type of a tensor, and from them its bytes. */
static sd_status read_tensor(gguf *g, uint64_t i, sd_tensor *t, uint64_t *offset, sd_err *err)
{
    size_t at = g->c.off;
    *t = (sd_tensor){.name = sd_cur_str64(&g->c, MAX_NAME)};
    uint32_t rank = sd_cur_u32(&g->c);
    if (sd_cur_failed(&g->c)) return ends_early(g, "tensor entry", i, g->n_tensor, err);
    if (!sd_weights__name_ok(t->name))
        return sd_fail(err, SD_E_FORMAT, "%s: the name of tensor entry %llu at byte %zu is not printable UTF-8",
                       g->path, (unsigned long long)i + 1, at);
    if (rank > SD_MAX_RANK)
        return sd_fail(err, SD_E_FORMAT, "%s: tensor %.*s has rank %u; at most %d is possible", g->path,
                       SD_SLICE(t->name), rank, SD_MAX_RANK);
    t->rank = (int)rank;
    for (uint32_t k = 0; k < rank; k++) {
        uint64_t dim = sd_cur_u64(&g->c);
        t->dim[rank - 1 - k] = dim <= INT64_MAX ? (int64_t)dim : -1;
    }
    uint32_t type = sd_cur_u32(&g->c);
    *offset = sd_cur_u64(&g->c);
    if (sd_cur_failed(&g->c)) return ends_early(g, "tensor entry", i, g->n_tensor, err);
    const char *type_name = type < N_GGML_TYPE ? ggml_type[type].name : NULL;
    t->dtype = sd_dtype_from_ggml(type);
    t->type_name = type_name;
    if (!type_name || (t->dtype == SD_DTYPE_NONE && !g->w->opt.keep_unknown)) {
        sd_status st =
            sd_fail(err, SD_E_UNSUPPORTED, "%s: tensor %.*s has type %u%s%s%s, which cannot be read", g->path,
                    SD_SLICE(t->name), type, type_name ? " (" : "", type_name ? type_name : "", type_name ? ")" : "");
        sd_hint(err, "quantise the model to a common type, such as Q8_0 or Q4_K_M, with llama-quantize");
        return st;
    }
    if (!sd_weights__size(t, ggml_type[type].block, ggml_type[type].bytes, &t->bytes))
        return sd_fail(err, SD_E_FORMAT,
                       "%s: tensor %.*s of type %s has impossible dimensions (rows of %lld in blocks of %d)", g->path,
                       SD_SLICE(t->name), type_name, rank ? (long long)t->dim[rank - 1] : 1LL, ggml_type[type].block);
    return SD_OK;
}

static int by_begin(const void *a, const void *b)
{
    const span *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1; /* empty tensors overlap nobody */
    return x->tensor < y->tensor ? -1 : x->tensor > y->tensor;
}

/* Every tensor inside the file, aligned, and no byte in two of them. */
static sd_status place_tensors(gguf *g, size_t alignment, sd_err *err)
{
    int64_t n = (int64_t)g->n_tensor;
    size_t data = g->c.off, size = g->c.size;
    for (int64_t i = 0; i < n; i++) {
        sd_tensor *t = &g->tensor[i];
        const span *s = &g->place[i];
        if (s->begin % alignment)
            return sd_fail(err, SD_E_FORMAT, "%s: tensor %.*s begins at offset %llu, which is no multiple of %zu",
                           g->path, SD_SLICE(t->name), (unsigned long long)s->begin, alignment);
        size_t begin, end;
        if (s->begin > SIZE_MAX || !sd_add_size(data, (size_t)s->begin, &begin) || !sd_add_size(begin, t->bytes, &end))
            return sd_fail(err, SD_E_FORMAT, "%s: tensor %.*s at offset %llu of %zu bytes ends beyond any file",
                           g->path, SD_SLICE(t->name), (unsigned long long)s->begin, t->bytes);
        if (end > size) {
            sd_status st = sd_fail(err, SD_E_FORMAT, "%s: tensor %.*s ends at byte %zu of a file of %zu", g->path,
                                   SD_SLICE(t->name), end, size);
            sd_weights__hint_cut(err);
            return st;
        }
        t->data = g->c.base + begin;
    }
    qsort(g->place, (size_t)n, sizeof *g->place, by_begin);
    for (int64_t i = 1; i < n; i++) {
        const span *a = &g->place[i - 1], *b = &g->place[i];
        if (b->begin < a->begin + a->bytes)
            return sd_fail(err, SD_E_FORMAT, "%s: tensors %.*s and %.*s overlap at byte %llu", g->path,
                           SD_SLICE(g->tensor[a->tensor].name), SD_SLICE(g->tensor[b->tensor].name),
                           (unsigned long long)(data + b->begin));
    }
    return SD_OK;
}

static sd_status read_tensors(gguf *g, size_t alignment, sd_err *err)
{
    sd_status st = SD_OK;
    for (uint64_t i = 0; i < g->n_tensor; i++) {
        int64_t k = (int64_t)i;
        st = sd_weights__grow(&g->tensor, k, &g->cap_tensor, sizeof *g->tensor, err);
        if (!st) st = sd_weights__grow(&g->place, k, &g->cap_place, sizeof *g->place, err);
        if (!st) st = read_tensor(g, i, &g->tensor[k], &g->place[k].begin, err);
        if (st) return st;
        g->place[k].bytes = g->tensor[k].bytes;
        g->place[k].tensor = k;
    }
    if (g->n_tensor == 0) return SD_OK;
    sd_cur_align(&g->c, alignment);
    if (sd_cur_failed(&g->c)) return ends_early(g, "padding before the data", 0, 0, err);
    st = place_tensors(g, alignment, err);
    for (uint64_t i = 0; i < g->n_tensor && !st; i++) st = sd_weights__add(g->w, g->source, &g->tensor[i], err);
    return st;
}

static sd_status read_alignment(const gguf *g, size_t *alignment, sd_err *err)
{
    uint64_t a = DEFAULT_ALIGNMENT;
    if (sd_weights_has_kv(g->meta, "general.alignment")) {
        sd_status st = sd_weights_kv_u64(g->meta, "general.alignment", &a, err);
        if (st) return st;
    }
    /* gguf.md asks for a multiple of 8, ggml's reader for a power of two. */
    if (a < 8 || a > INT32_MAX || (a & (a - 1)))
        return sd_fail(err, SD_E_FORMAT, "%s: general.alignment is %llu; it must be a power of two of at least 8",
                       g->path, (unsigned long long)a);
    *alignment = (size_t)a;
    return SD_OK;
}

sd_status sd_gguf__read_file(sd_weights *w, sd_weights *meta, int64_t source, sd_err *err)
{
    const sd_wsource *s = &w->source[source];
    gguf g = {.w = w, .meta = meta, .source = source, .path = s->path};
    size_t alignment = DEFAULT_ALIGNMENT;
    sd_cur_init(&g.c, s->map.p, s->map.n);
    sd_status st = read_header(&g, err);
    if (!st) st = sd_table_new(&meta->by_key, 64, err);
    for (uint64_t i = 0; i < g.n_kv && !st; i++) st = read_entry(&g, i, err);
    if (st || w->opt.meta_only) goto done;
    st = read_alignment(&g, &alignment, err);
    if (!st) st = read_tensors(&g, alignment, err);
done:
    sd_free(g.tensor);
    sd_free(g.place);
    return st;
}
