/* GGUFs in parts, as llama-gguf-split writes large models: NAME-00001-of-00003.gguf has the metadata, every part some of the tensors, and each
 * says which part of how many it is (split.no from 0, split.count; llama.cpp's llama-model-loader.cpp). The first part is opened and the others
 * are looked for beside it. */
#include "file/weights_int.h"

#include <stdio.h>

enum { TAIL = sizeof "-00001-of-00003.gguf" - 1, MAX_PARTS = 4096 }; /* maps a process may hold: well under Linux's 65530 */

static bool five(const char *p, int64_t *v)
{
    return sd_parse_i64((sd_slice){p, 5}, v) && *p != '-' && *p != '+';
}

bool sd_gguf_part_of(const char *path, int64_t *no, int64_t *count)
{
    const size_t n = strlen(path);
    if (n < TAIL) return false;
    const char *p = path + n - TAIL;
    return p[0] == '-' && five(p + 1, no) && memcmp(p + 6, "-of-", 4) == 0 && five(p + 10, count) && strcmp(p + 15, ".gguf") == 0 && *no >= 1 && *no <= *count;
}

int64_t sd_gguf_parts(const char *path)
{
    int64_t no, count;
    return sd_gguf_part_of(path, &no, &count) && no == 1 ? count : 1;
}

bool sd_gguf_part(char *out, size_t cap, const char *path, int64_t i)
{
    int64_t no, count;
    if (!sd_gguf_part_of(path, &no, &count)) return i == 1 && snprintf(out, cap, "%s", path) < (int)cap;
    const int n = snprintf(out, cap, "%.*s-%05lld-of-%05lld.gguf", (int)(strlen(path) - TAIL), path, (long long)i, (long long)count);
    return n > 0 && (size_t)n < cap;
}

/* Which part of how many a file says it is; part 0 of 1 when it says nothing. */
static sd_status said(const sd_weights *meta, uint64_t *no, uint64_t *count, sd_err *err)
{
    sd_status st = SD_OK;
    *no = 0, *count = 1;
    if (sd_weights_has_kv(meta, "split.count")) st = sd_weights_kv_u64(meta, "split.count", count, err);
    if (!st && sd_weights_has_kv(meta, "split.no")) st = sd_weights_kv_u64(meta, "split.no", no, err);
    return st;
}

static sd_status read_part(sd_weights *w, const char *path, uint64_t i, uint64_t count, sd_err *err)
{
    sd_map m = {0};
    sd_weights meta = {.path = (char *)path, .opt = w->opt};
    uint64_t no = 0, of = 0;
    sd_status st = sd_map_open(&m, path, err);
    if (st) {
        if (st == SD_E_NOTFOUND) sd_hint(err, "it is part %llu of %llu of the model; the download is not complete", (unsigned long long)i + 1, (unsigned long long)count);
        return st;
    }
    if ((st = sd_weights__source(w, &m, false, path, err))) return st;
    if (m.n < 4 || memcmp(m.p, "GGUF", 4) != 0) return sd_fail(err, SD_E_FORMAT, "%s: no GGUF file, but part %llu of a split model", path, (unsigned long long)i + 1);
    st = sd_gguf__read_file(w, &meta, w->n_source - 1, err);
    if (!st) st = said(&meta, &no, &of, err);
    if (!st && (no != i || of != count))
        st = sd_fail(err, SD_E_FORMAT, "%s: says that it is part %llu of %llu, its name says %llu of %llu", path, (unsigned long long)no + 1, (unsigned long long)of,
                     (unsigned long long)i + 1, (unsigned long long)count);
    sd_table_free(meta.by_key);
    sd_free(meta.kv);
    return st;
}

static sd_status read_others(sd_weights *w, int64_t source, uint64_t count, sd_err *err)
{
    const char *first = w->source[source].path; /* its own memory: sources move, this does not */
    char path[4096];
    if (w->source[source].borrowed) return sd_fail(err, SD_E_UNSUPPORTED, "%s: one of %llu parts of a split model", first, (unsigned long long)count);
    if (count > MAX_PARTS) return sd_fail(err, SD_E_FORMAT, "%s: the first of %llu parts; at most %d are read", first, (unsigned long long)count, MAX_PARTS);
    if (sd_gguf_parts(first) != (int64_t)count) {
        sd_fail(err, SD_E_FORMAT, "%s: the first of %llu parts, but its name does not end in -00001-of-%05llu.gguf", first, (unsigned long long)count, (unsigned long long)count);
        return sd_hint(err, "give the parts the names that llama-gguf-split gave them, or join them with `llama-gguf-split --merge`");
    }
    for (uint64_t i = 1; i < count; i++) {
        if (!sd_gguf_part(path, sizeof path, first, (int64_t)i + 1)) return sd_fail(err, SD_E_ARG, "%s: the path is too long", first);
        sd_status st = read_part(w, path, i, count, err);
        if (st) return st;
    }
    uint64_t tensors = (uint64_t)w->n;
    sd_status st = sd_weights_has_kv(w, "split.tensors.count") ? sd_weights_kv_u64(w, "split.tensors.count", &tensors, err) : SD_OK;
    if (!st && tensors != (uint64_t)w->n)
        st = sd_fail(err, SD_E_FORMAT, "%s: the parts hold %lld tensors, split.tensors.count says %llu", first, (long long)w->n, (unsigned long long)tensors);
    return st;
}

sd_status sd_gguf__read(sd_weights *w, int64_t source, sd_err *err)
{
    uint64_t no, count;
    sd_status st = sd_gguf__read_file(w, w, source, err);
    if (st || w->opt.meta_only) return st;
    if ((st = said(w, &no, &count, err)) || count <= 1) return st;
    if (no == 0) return read_others(w, source, count, err);
    char first[4096];
    sd_fail(err, SD_E_ARG, "%s: part %llu of %llu of a split model", w->path, (unsigned long long)no + 1, (unsigned long long)count);
    return sd_gguf_part(first, sizeof first, w->path, 1) ? sd_hint(err, "open its first part: %.200s", first) : sd_hint(err, "open its first part");
}
