/* Files to documents. Owns: one pool that holds all text, so that a document is an offset and a length. What a file is
 * comes from its name: .jsonl a row a document, .csv a row a document, all else prose, cut at blank lines when it is
 * long. */
#include "text/corpus.h"

#include "base/json.h"

#include <inttypes.h>

enum {
    LONG_FILE = 64 << 10, /* bytes above which prose is cut */
    PART = 2 << 10,      /* a part ends at the first blank line after so many bytes: about two contexts of 256 tokens */
    MAX_LINE = 64 << 20, /* of a .jsonl */
    HEAD = 64 << 10,     /* of a folder's file that is looked at before the rest is read */
    CUT = 3,             /* bytes of a character that HEAD may end in */
};
#define MAX_TEXT ((size_t)1 << 36)

typedef struct doc {
    size_t at, n;
    int32_t file;
} doc;

struct sd_corpus {
    sd_buf pool;
    doc *v;
    int64_t n, cap;
    sd_paths files;
    int64_t file_cap, n_left_out;
    sd_err left_out; /* why the first of them was */
};

static sd_status push(sd_corpus *c, size_t at, size_t n, sd_err *err)
{
    sd_slice s = n ? sd_slice_trim((sd_slice){c->pool.p + at, n}) : (sd_slice){"", 0};
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

static sd_status check(const char *path, sd_slice text, sd_err *err)
{
    const sd_status st = sd_text_check(text, path, err);
    if (!st || text.n < 4 || memcmp(text.p, "PAR1", 4) != 0) return st;
    sd_fail(err, SD_E_UNSUPPORTED, "%s: parquet files are not read", path);
    return sd_hint(err, "convert it: python3 -c \"import pandas; pandas.read_parquet('%s').to_json('rows.jsonl', orient='records', lines=True)\"", path);
}

static bool blank_before(const char *p, size_t begin, size_t i)
{
    while (i > begin && (p[i - 1] == ' ' || p[i - 1] == '\t' || p[i - 1] == '\r')) i--;
    return i > begin && p[i - 1] == '\n';
}

/* Cut at the first blank line after PART bytes; where none comes before LONG_FILE bytes, at the end of a line. */
static sd_status add_prose(sd_corpus *c, size_t at, size_t n, sd_err *err)
{
    sd_status st = SD_OK;
    if (n <= LONG_FILE) return push(c, at, n, err);
    const char *p = c->pool.p + at;
    size_t begin = 0;
    for (size_t i = PART; i < n && !st; i++) {
        if (p[i] != '\n' || i - begin < PART) continue;
        if (i - begin < LONG_FILE && !blank_before(p, begin, i)) continue;
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
        no++;
        if (sd_slice_trim(line).n == 0) continue;
        if (line.n > MAX_LINE) return sd_fail(err, SD_E_FORMAT, "%s, line %" PRId64 ": longer than %d bytes", path, no, MAX_LINE);
        if ((st = sd_json_parse_line(&j, line, path, no, err))) return st;
        const json_t *v = json_object_get(j, "text");
        if (!v) v = json_object_get(j, "content");
        if (json_is_string(v)) {
            st = put(c, (sd_slice){json_string_value(v), json_string_length(v)}, err);
        } else {
            sd_fail(err, SD_E_FORMAT, "%s, line %" PRId64 ": no text field", path, no);
            st = sd_hint(err, "a row is {\"text\": \"..\"} or {\"content\": \"..\"}");
        }
        json_decref(j);
    }
    return st;
}

/* RFC 4180: fields in quotes hold commas, line ends and doubled quotes. */
typedef struct csv {
    const char *path;
    sd_slice rest;
    sd_buf field;
    int64_t line; /* where the rest begins */
    int64_t col;  /* fields of this row so far, the last read included */
    bool row_end; /* the last field was the last of its row */
} csv;

static sd_status csv_quoted(csv *r, size_t *used, sd_err *err)
{
    size_t i = 1;
    int64_t began = r->line;
    for (; i < r->rest.n; i++) {
        char ch = r->rest.p[i];
        if (ch == '"') {
            if (i + 1 == r->rest.n || r->rest.p[i + 1] != '"') break;
            i++;
        }
        if (ch == '\n') r->line++;
        sd_buf_putc(&r->field, ch);
    }
    if (i == r->rest.n)
        return sd_fail(err, SD_E_FORMAT, "%s: line %" PRId64 ": a quoted field does not end", r->path, began);
    *used = i + 1;
    return SD_OK;
}

/* The next field into r->field. The rest is not empty. */
static sd_status csv_field(csv *r, sd_err *err)
{
    size_t i = 0;
    sd_buf_reset(&r->field);
    if (r->row_end) r->col = 0;
    r->col++;
    if (r->rest.p[0] == '"') {
        sd_status st = csv_quoted(r, &i, err);
        if (st) return st;
        if (i < r->rest.n && !memchr(",\r\n", r->rest.p[i], 3)) {
            sd_fail(err, SD_E_FORMAT, "%s: line %" PRId64 ": text after the closing quote of a field", r->path,
                    r->line);
            return sd_hint(err, "a quote inside a quoted field is written twice");
        }
    }
    for (; i < r->rest.n && r->rest.p[i] != ',' && r->rest.p[i] != '\n'; i++)
        if (r->rest.p[i] != '\r' || (i + 1 < r->rest.n && r->rest.p[i + 1] != '\n'))
            sd_buf_putc(&r->field, r->rest.p[i]);
    r->row_end = i == r->rest.n || r->rest.p[i] == '\n';
    if (i < r->rest.n && r->rest.p[i] == '\n') r->line++;
    if (i < r->rest.n) i++;
    r->rest = (sd_slice){r->rest.p + i, r->rest.n - i};
    return sd_buf_check(&r->field, r->path, err);
}

static sd_status csv_header(csv *r, int64_t *want, int64_t *n_col, sd_err *err)
{
    sd_status st = SD_OK;
    *want = 0;
    while (!st && r->rest.n && !(r->row_end && r->col)) {
        st = csv_field(r, err);
        const char *name = sd_buf_str(&r->field);
        if (!st && *want == 0 && (strcmp(name, "text") == 0 || strcmp(name, "content") == 0)) *want = r->col;
    }
    *n_col = r->col;
    if (st || *want) return st;
    sd_fail(err, SD_E_FORMAT, "%s: line 1: no column named text", r->path);
    return sd_hint(err, "the first line names the columns; one of them is text or content");
}

static sd_status csv_ragged(const csv *r, int64_t line, int64_t n, int64_t n_col, sd_err *err)
{
    sd_fail(err, SD_E_FORMAT, "%s: line %" PRId64 ": %" PRId64 " fields, the first line has %" PRId64, r->path, line, n,
            n_col);
    return sd_hint(err, "a field with a comma or a line end stands in quotes");
}

static sd_status csv_rows(sd_corpus *c, csv *r, int64_t want, int64_t n_col, sd_err *err)
{
    sd_status st = SD_OK;
    while (!st && r->rest.n) {
        int64_t line = r->line;
        st = csv_field(r, err);
        if (!st && r->col == want) st = put(c, (sd_slice){r->field.p, r->field.n}, err);
        bool empty_line = r->col == 1 && r->field.n == 0;
        if (!st && r->row_end && r->col != n_col && !empty_line) st = csv_ragged(r, line, r->col, n_col, err);
    }
    /* A comma at the very end: one more field, and it is empty. */
    if (!st && !r->row_end && r->col + 1 != n_col) st = csv_ragged(r, r->line, r->col + 1, n_col, err);
    return st;
}

static sd_status add_csv(sd_corpus *c, const char *path, sd_slice text, sd_err *err)
{
    csv r = {.path = path, .rest = text, .line = 1};
    int64_t want, n_col;
    sd_buf_init(&r.field, MAX_LINE);
    sd_status st = csv_header(&r, &want, &n_col, err);
    if (!st) st = csv_rows(c, &r, want, n_col, err);
    sd_buf_release(&r.field);
    return st;
}

static sd_status add_name(sd_corpus *c, const char *path, sd_err *err)
{
    if (c->files.n == c->file_cap) {
        int64_t cap = c->file_cap ? c->file_cap * 2 : 64;
        char **v = sd_realloc(c->files.v, (size_t)cap * sizeof *v);
        if (!v) return sd_fail(err, SD_E_NOMEM, "out of memory: list of %" PRId64 " files", cap);
        c->files.v = v;
        c->file_cap = cap;
    }
    if (!(c->files.v[c->files.n] = sd_strdup(path))) return sd_fail(err, SD_E_NOMEM, "out of memory: a path");
    c->files.n++;
    return SD_OK;
}

static sd_status add_file(sd_corpus *c, const char *path, bool in_folder, sd_err *err)
{
    sd_buf text;
    sd_slice name = sd_slice_of(path);
    size_t at = c->pool.n;
    sd_status st = add_name(c, path, err);
    if (st) return st;
    /* A folder may hold a model's weights, too: of what is no text from the beginning on, no more is read. */
    sd_buf_init(&text, HEAD);
    if (in_folder) st = sd_file_head(&text, path, err);
    sd_slice s = {text.p, text.n};
    if (!st && (!in_folder || sd_utf8_valid_prefix(s) + (s.n == HEAD ? CUT : 0) >= s.n)) {
        sd_buf_release(&text);
        sd_buf_init(&text, MAX_TEXT);
        st = sd_file_read(&text, path, err);
        s = (sd_slice){text.p, text.n};
    }
    if (!st && (st = check(path, s, in_folder && !c->n_left_out ? &c->left_out : in_folder ? NULL : err))) {
        if (in_folder) {
            c->n_left_out++;
            sd_free(c->files.v[--c->files.n]);
            st = SD_OK;
            goto done;
        }
    }
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
            st = add_file(c, paths[i], false, err);
            continue;
        }
        sd_paths in = {0};
        st = sd_dir_list(&in, paths[i], err);
        for (int64_t k = 0; k < in.n && !st; k++) st = add_file(c, in.v[k], true, err);
        sd_paths_free(&in);
    }
    if (!st && c->n == 0 && c->n_left_out) {
        if (err) *err = c->left_out;
        st = c->left_out.code;
    } else if (!st && c->n == 0) {
        sd_fail(err, SD_E_FORMAT, "%s: no text in it", n_paths ? paths[0] : "the corpus");
        st = sd_hint(err, "give files or folders with .txt, .md, source code, .jsonl or .csv");
    }
    if (st)
        sd_corpus_close(c);
    else
        *out = c;
    return st;
}

sd_status sd_corpus_of_text(sd_corpus **out, sd_slice text, const char *name, sd_err *err)
{
    sd_corpus *c = NULL;
    *out = NULL;
    sd_status st = sd_alloc_zero(&c, sizeof *c, "corpus", err);
    if (st) return st;
    sd_buf_init(&c->pool, MAX_TEXT);
    if (!(st = add_name(c, name, err))) st = put(c, text, err);
    if (!st && c->n == 0) st = sd_fail(err, SD_E_FORMAT, "%s: no text in it", name);
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

int64_t sd_corpus_left_out(const sd_corpus *c, const char **first)
{
    *first = c->n_left_out ? c->left_out.msg : NULL;
    return c->n_left_out;
}

int64_t sd_corpus_files(const sd_corpus *c)
{
    return c->files.n;
}

int64_t sd_corpus_count(const sd_corpus *c)
{
    return c->n;
}

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

/* The hash of the list of documents' hashes: a document moved across a boundary changes it, and no copy of all text is
 * needed. */
void sd_corpus_sha256(const sd_corpus *c, sd_sha256 *out)
{
    sd_sha256 link[2] = {{{0}}};
    for (int64_t i = 0; i < c->n; i++) {
        sd_sha256_of(&link[1], c->pool.p + c->v[i].at, c->v[i].n);
        sd_sha256_of(&link[0], link, sizeof link);
    }
    *out = link[0];
}
