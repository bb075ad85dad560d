/* Files to documents. Owns: one pool that holds all text, so that a document is an offset and a length. What a file is comes from
 * its name: .jsonl a row a document, .csv a row a document, all else prose, cut at blank lines when it is long. */
#include "text/corpus.h"

#include "base/json.h"

#include <inttypes.h>

enum {
    LONG_FILE = 64 << 10,  /* bytes above which prose is cut */
    PART = 2 << 10,        /* a part ends at the first blank line after so many bytes: about two contexts of 256 tokens */
    MAX_LINE = 64 << 20,   /* of a .jsonl */
};
#define MAX_TEXT ((size_t)1 << 36)

typedef struct doc { size_t at, n; int32_t file; } doc;

struct sd_corpus {
    sd_buf pool;
    doc *v;
    int64_t n, cap;
    sd_paths files;
    int64_t file_cap;
};

static sd_status push(sd_corpus *c, size_t at, size_t n, sd_err *err)
{
    sd_slice s = sd_slice_trim((sd_slice){c->pool.p + at, n});
    if (s.n == 0) return SD_OK;
    if (c->n == c->cap) {
        int64_t cap = c->cap ? c->cap * 2 : 1024;
        doc *v = sd_realloc(c->v, (size_t)cap * sizeof *v);
        if (!v) return sd_fail(err, SD_E_NOMEM, "out of memory: list of %" PRId64 " documents", cap);
        c->v = v;
        c->cap = cap;
    }
    c->v[c->n++] = (doc){.at = (size_t)(s.p - c->pool.p), .n = s.n, .file = (int32_t)(c->files.n - 1)};
    return SD_OK;
}

/* Puts text into the pool as one document. */
static sd_status put(sd_corpus *c, sd_slice text, sd_err *err)
{
    size_t at = c->pool.n;
    sd_buf_put(&c->pool, text.p, text.n);
    sd_status st = sd_buf_check(&c->pool, "the corpus", err);
    return st ? st : push(c, at, text.n, err);
}

static sd_status not_utf8(const char *path, const char *p, size_t at, sd_err *err)
{
    int64_t line = 1;
    for (size_t i = 0; i < at; i++) line += p[i] == '\n';
    sd_fail(err, SD_E_FORMAT, "%s: line %" PRId64 ", byte %zu of the file is not UTF-8", path, line, at);
    return sd_hint(err, "convert it, for example: iconv -f LATIN1 -t UTF-8 %s", path);
}

static sd_status add_prose(sd_corpus *c, size_t at, size_t n, sd_err *err)
{
    sd_status st = SD_OK;
    if (n <= LONG_FILE) return push(c, at, n, err);
    size_t begin = 0;
    for (size_t i = 1; i < n && !st; i++) {
        const char *p = c->pool.p + at;
        if (i - begin < PART || p[i] != '\n') continue;
        size_t back = i;
        while (back > begin && (p[back - 1] == ' ' || p[back - 1] == '\t' || p[back - 1] == '\r')) back--;
        if (p[back - 1] != '\n') continue;
        st = push(c, at + begin, i - begin, err);
        begin = i + 1;
    }
    return st ? st : push(c, at + begin, n - begin, err);
}

static sd_status add_jsonl(sd_corpus *c, const char *path, sd_slice text, sd_err *err)
{
    sd_slice line;
    int64_t no = 0;
    sd_status st = SD_OK;
    while (!st && sd_slice_cut(&text, '\n', &line)) {
        json_t *j = NULL;
        char what[1100];
        no++;
        line = sd_slice_trim(line);
        if (line.n == 0) continue;
        snprintf(what, sizeof what, "%s: line %" PRId64, path, no);
        if (line.n > MAX_LINE) return sd_fail(err, SD_E_FORMAT, "%s: longer than %d bytes", what, MAX_LINE);
        if ((st = sd_json_parse(&j, line.p, line.n, what, err))) return st;
        const json_t *v = json_object_get(j, "text");
        if (!v) v = json_object_get(j, "content");
        if (json_is_string(v)) {
            st = put(c, (sd_slice){json_string_value(v), json_string_length(v)}, err);
        } else {
            sd_fail(err, SD_E_FORMAT, "%s: no text field", what);
            st = sd_hint(err, "a row is {\"text\": \"..\"} or {\"content\": \"..\"}");
        }
        json_decref(j);
    }
    return st;
}

/* One field of RFC 4180 into b (emptied first); returns false at the end of the text. *row_end: the field was the last of its row. */
static bool csv_field(sd_slice *text, sd_buf *b, bool *row_end)
{
    sd_buf_reset(b);
    *row_end = true;
    if (text->n == 0) return false;
    size_t i = 0;
    if (text->p[0] == '"') {
        for (i = 1; i < text->n; i++) {
            if (text->p[i] == '"' && !(i + 1 < text->n && text->p[i + 1] == '"')) break;
            if (text->p[i] == '"') i++;
            sd_buf_putc(b, text->p[i]);
        }
        if (i < text->n) i++;
    }
    for (; i < text->n && text->p[i] != ',' && text->p[i] != '\n'; i++)
        if (text->p[i] != '\r') sd_buf_putc(b, text->p[i]);
    *row_end = i >= text->n || text->p[i] == '\n';
    if (i < text->n) i++;
    text->p += i;
    text->n -= i;
    return true;
}

static sd_status add_csv(sd_corpus *c, const char *path, sd_slice text, sd_err *err)
{
    sd_buf field;
    int64_t want = -1, col = 0;
    bool end = false;
    sd_status st = SD_OK;
    sd_buf_init(&field, MAX_LINE);
    for (; !end && csv_field(&text, &field, &end); col++)
        if (want < 0 && (strcmp(sd_buf_str(&field), "text") == 0 || strcmp(sd_buf_str(&field), "content") == 0)) want = col;
    if (want < 0) {
        sd_fail(err, SD_E_FORMAT, "%s: line 1: no column named text", path);
        st = sd_hint(err, "the first line names the columns; one of them is text or content");
    }
    for (col = 0; !st && csv_field(&text, &field, &end); col = end ? 0 : col + 1) {
        if (col == want) st = put(c, (sd_slice){field.p, field.n}, err);
        if (!st && field.failed) st = sd_buf_check(&field, path, err);
    }
    sd_buf_release(&field);
    return st;
}

static sd_status add_file(sd_corpus *c, const char *path, sd_err *err)
{
    sd_buf text;
    sd_slice name = sd_slice_of(path);
    size_t at = c->pool.n;
    if (c->files.n == c->file_cap) {
        int64_t cap = c->file_cap ? c->file_cap * 2 : 64;
        char **v = sd_realloc(c->files.v, (size_t)cap * sizeof *v);
        if (!v) return sd_fail(err, SD_E_NOMEM, "out of memory: list of %" PRId64 " files", cap);
        c->files.v = v;
        c->file_cap = cap;
    }
    if (!(c->files.v[c->files.n] = sd_strdup(path))) return sd_fail(err, SD_E_NOMEM, "out of memory: a path");
    c->files.n++;
    sd_buf_init(&text, MAX_TEXT);
    sd_status st = sd_file_read(&text, path, err);
    sd_slice s = {text.p, text.n};
    size_t ok = st ? 0 : sd_utf8_valid_prefix(s);
    if (!st && ok != s.n) st = not_utf8(path, s.p, ok, err);
    if (st) goto done;
    if (s.n >= 3 && memcmp(s.p, "\xef\xbb\xbf", 3) == 0) s = (sd_slice){s.p + 3, s.n - 3};
    if (sd_slice_ends(name, ".jsonl")) {
        st = add_jsonl(c, path, s, err);
    } else if (sd_slice_ends(name, ".csv")) {
        st = add_csv(c, path, s, err);
    } else {
        sd_buf_put(&c->pool, s.p, s.n);
        st = sd_buf_check(&c->pool, "the corpus", err);
        if (!st) st = add_prose(c, at, s.n, err);
    }
done:
    sd_buf_release(&text);
    return st;
}

sd_status sd_corpus_open(sd_corpus **out, const char *const *paths, int n_paths, sd_err *err)
{
    sd_corpus *c = NULL;
    *out = NULL;
    sd_status st = sd_alloc_zero(&c, sizeof *c, "corpus", err);
    if (st) return st;
    sd_buf_init(&c->pool, MAX_TEXT);
    for (int i = 0; i < n_paths && !st; i++) {
        if (!sd_dir_exists(paths[i])) {
            st = add_file(c, paths[i], err);
            continue;
        }
        sd_paths in = {0};
        st = sd_dir_list(&in, paths[i], err);
        for (int64_t k = 0; k < in.n && !st; k++) st = add_file(c, in.v[k], err);
        sd_paths_free(&in);
    }
    if (!st && c->n == 0) {
        sd_fail(err, SD_E_FORMAT, "%s: no text in it", n_paths ? paths[0] : "the corpus");
        st = sd_hint(err, "give files or folders with .txt, .md, source code, .jsonl or .csv");
    }
    if (st) sd_corpus_close(c);
    else *out = c;
    return st;
}

void sd_corpus_close(sd_corpus *c)
{
    if (!c) return;
    sd_paths_free(&c->files);
    sd_buf_release(&c->pool);
    sd_free(c->v);
    sd_free(c);
}

int64_t sd_corpus_count(const sd_corpus *c) { return c->n; }

uint64_t sd_corpus_bytes(const sd_corpus *c)
{
    uint64_t n = 0;
    for (int64_t i = 0; i < c->n; i++) n += c->v[i].n;
    return n;
}

sd_slice sd_corpus_text(const sd_corpus *c, int64_t i)
{
    SD_ASSERT(i >= 0 && i < c->n);
    return (sd_slice){c->pool.p + c->v[i].at, c->v[i].n};
}

const char *sd_corpus_name(const sd_corpus *c, int64_t i)
{
    SD_ASSERT(i >= 0 && i < c->n);
    return c->files.v[c->v[i].file];
}

/* The hash of the list of documents' hashes: a document moved across a boundary changes it, and no copy of all text is needed. */
void sd_corpus_sha256(const sd_corpus *c, sd_sha256 *out)
{
    sd_sha256 link[2] = {{{0}}};
    for (int64_t i = 0; i < c->n; i++) {
        sd_sha256_of(&link[1], c->pool.p + c->v[i].at, c->v[i].n);
        sd_sha256_of(&link[0], link, sizeof link);
    }
    *out = link[0];
}
