/* JSON. Reading is jansson's (RFC 8259, strict UTF-8, no duplicate keys); what it lacks is checked in one scan in
 * front of it: nesting (its parser recurses) and integers beyond int64, which Python writes without a thought
 * (a tokenizer's "model_max_length": 1000000000000000019884624838656) and which become reals here.
 * Writing is a stream of calls; the writer keeps one bit a level. */
#include "base/json.h"

#include "base/log.h"
#include "base/map.h"
#include "base/mem_int.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#define MAX_DEPTH 64
#define TOO_DEEP "nested deeper than 64 levels"

typedef struct scan {
    const char *p;
    size_t n;
    int line;
    size_t line_start;
    bool wide;     /* an integer beyond int64 was seen */
    size_t memory; /* of the tree, about */
} scan;

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The end of the string that begins at i (its quote), or n. */
static size_t skip_string(const scan *s, size_t i)
{
    for (i++; i < s->n; i++) {
        if (s->p[i] == '\\')
            i++;
        else if (s->p[i] == '"')
            return i + 1;
    }
    return s->n;
}

/* The end of the number that begins at i; *wide when it is an integer that does not fit. */
static size_t skip_number(const scan *s, size_t i, bool *wide)
{
    size_t from = i;
    if (s->p[i] == '-') i++;
    while (i < s->n && is_digit(s->p[i])) i++;
    size_t end = i;
    while (i < s->n && (is_digit(s->p[i]) || s->p[i] == '.' || s->p[i] == 'e' || s->p[i] == 'E' || s->p[i] == '+' ||
                        s->p[i] == '-'))
        i++;
    int64_t v;
    *wide = i == end && end - from >= 19 && !sd_parse_i64((sd_slice){s->p + from, end - from}, &v);
    return i;
}

/* Which text is read: a document, or line `line` of a file of lines. */
typedef struct source { const char *what; int64_t line; } source;

static sd_status refuse(source of, int64_t line, size_t column, const char *why, sd_err *err)
{
    if (of.line) return sd_fail(err, SD_E_FORMAT, "%s, line %" PRId64 ", column %zu: %s", of.what, of.line, column, why);
    return sd_fail(err, SD_E_FORMAT, "%s: line %" PRId64 ", column %zu: %s", of.what, line, column, why);
}

/* What jansson 2.14 and glibc's malloc take, measured on bodies of 8 MB of one kind: an object 235 bytes, an array 139, a string 91, a number 44, a member of an
 * object 147 with its key and a number. */
enum { OBJECT_BYTES = 256, ARRAY_BYTES = 160, STRING_BYTES = 96, MEMBER_BYTES = 48, NUMBER_BYTES = 48 };

/* Checks the nesting, looks for wide integers and adds up what the tree will take. */
static sd_status scan_text(scan *s, source of, sd_err *err)
{
    int depth = 0;
    for (size_t i = 0; i < s->n;) {
        char c = s->p[i];
        if (c == '"') {
            i = skip_string(s, i);
            s->memory += STRING_BYTES;
            continue;
        }
        if (c == '-' || is_digit(c)) {
            bool wide;
            i = skip_number(s, i, &wide);
            s->wide |= wide;
            s->memory += NUMBER_BYTES;
            continue;
        }
        s->memory += c == '{' ? OBJECT_BYTES : c == '[' ? ARRAY_BYTES : c == ':' ? MEMBER_BYTES : 0;
        if (c == '\n') {
            s->line++;
            s->line_start = i + 1;
        }
        if (c == ']' || c == '}') depth--;
        if ((c == '[' || c == '{') && ++depth > MAX_DEPTH) return refuse(of, s->line, i - s->line_start + 1, TOO_DEEP, err);
        i++;
    }
    return SD_OK;
}

/* A copy in which every wide integer is followed by ".0", which makes it a real. */
static void widen(const scan *s, sd_buf *out)
{
    size_t from = 0;
    for (size_t i = 0; i < s->n;) {
        bool wide = false;
        char c = s->p[i];
        i = c == '"' ? skip_string(s, i) : c == '-' || is_digit(c) ? skip_number(s, i, &wide) : i + 1;
        if (!wide) continue;
        sd_buf_put(out, s->p + from, i - from);
        sd_buf_puts(out, ".0");
        from = i;
    }
    sd_buf_put(out, s->p + from, s->n - from);
}

/* jansson 2.14 loses bytes of a token without a word when its buffer cannot grow, calls other shortages syntax errors, and
 * after a lost closing quote reads past the token into an assertion. So its requests come by here, a refused one is
 * remembered and served nevertheless, and the parse ends as out of memory. A program that gave jansson functions of its
 * own before this library was loaded keeps them. */
static _Thread_local bool json_memory_out;

static void *json_malloc(size_t n)
{
    void *p = sd_mem__foreign_malloc(n);
    if (p) return p;
    json_memory_out = true;
    return sd_mem__foreign_malloc_anyway(n);
}

__attribute__((constructor)) static void watch_json_memory(void)
{
    json_malloc_t has_malloc;
    json_free_t has_free;
    json_get_alloc_funcs(&has_malloc, &has_free);
    if (has_malloc == malloc && has_free == free) json_set_alloc_funcs(json_malloc, sd_mem__foreign_free);
}

static sd_status too_many(const scan *s, size_t max, source of, sd_err *err)
{
    char a[32], b[32];
    return sd_fail(err, SD_E_FORMAT, "%s: its values would take %s of memory, more than %s", of.what, sd_fmt_bytes(a, sizeof a, (double)s->memory), sd_fmt_bytes(b, sizeof b, (double)max));
}

static sd_status parse(json_t **out, const char *p, size_t n, size_t max_memory, source of, sd_err *err)
{
    *out = NULL;
    if (n >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0) p += 3, n -= 3; /* a byte order mark, RFC 8259 section 8.1 */
    if (sd_utf16_name((sd_slice){p, n})) return sd_text_check((sd_slice){p, n}, of.what, err);
    scan s = {.p = p, .n = n, .line = 1};
    sd_status st = scan_text(&s, of, err);
    if (!st && s.memory > max_memory) st = too_many(&s, max_memory, of, err);
    if (st) return st;
    sd_buf copy;
    sd_buf_init(&copy, n < SIZE_MAX / 4 ? 2 * n : n);
    if (s.wide) {
        widen(&s, &copy);
        st = sd_buf_check(&copy, of.what, err);
        p = copy.p;
        n = copy.n;
    }
    if (!st) {
        json_error_t e;
        json_memory_out = false;
        *out = json_loadb(n ? p : "", n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
        if (json_memory_out || (!*out && !e.text[0])) {
            json_decref(*out);
            *out = NULL;
            st = sd_fail(err, SD_E_NOMEM, "out of memory: parsing %s", of.what);
        } else if (!*out) {
            st = refuse(of, e.line, (size_t)e.column, e.text, err);
        }
    }
    sd_buf_release(&copy);
    return st;
}

sd_status sd_json_parse(json_t **out, const char *p, size_t n, const char *what, sd_err *err)
{
    return parse(out, p, n, SIZE_MAX, (source){what, 0}, err);
}

sd_status sd_json_parse_within(json_t **out, const char *p, size_t n, size_t max_memory, const char *what, sd_err *err)
{
    return parse(out, p, n, max_memory, (source){what, 0}, err);
}

sd_status sd_json_parse_line(json_t **out, sd_slice line, const char *path, int64_t number, sd_err *err)
{
    const sd_status st = parse(out, line.p, line.n, SIZE_MAX, (source){path, number}, err);
    if (st == SD_E_FORMAT) sd_hint(err, "every line is one JSON value: is it the right file, and all of it?");
    return st;
}

sd_status sd_json_load(json_t **out, const char *path, size_t max_bytes, sd_err *err)
{
    *out = NULL;
    sd_buf b;
    sd_buf_init(&b, max_bytes);
    sd_status st = sd_file_read(&b, path, err);
    if (!st && (st = sd_json_parse(out, b.p, b.n, path, err)) == SD_E_FORMAT) sd_hint(err, "it has to be one JSON document: is it the right file, and all of it?");
    sd_buf_release(&b);
    return st;
}

sd_status sd_json_lines(const char *path, size_t max_bytes, sd_json_line_fn *fn, void *self, sd_err *err)
{
    sd_buf b;
    sd_slice rest, line;
    int64_t number = 0;
    sd_buf_init(&b, max_bytes);
    sd_status st = sd_file_read(&b, path, err);
    rest = (sd_slice){b.p, b.n};
    while (!st && sd_slice_cut(&rest, '\n', &line)) {
        char what[1100];
        json_t *row = NULL;
        number++;
        if (sd_slice_trim(line).n == 0) continue;
        snprintf(what, sizeof what, "%s, line %" PRId64, path, number);
        st = sd_json_parse_line(&row, line, path, number, err);
        if (!st) st = fn(self, row, what, err);
        json_decref(row);
    }
    sd_buf_release(&b);
    return st;
}

static const char *type_words(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    case JSON_NULL:
        break;
    }
    return "null";
}

static sd_status expected(const char *key, const json_t *v, const char *type, const char *what, sd_err *err)
{
    return sd_fail(err, SD_E_FORMAT, "%s: \"%s\" is %s where %s is expected", what, key, type_words(v), type);
}

/* The value at key, NULL when it is absent or null and need is false. */
static sd_status lookup(const json_t **v, const json_t *obj, const char *key, bool need, const char *what, sd_err *err)
{
    *v = NULL;
    if (!json_is_object(obj))
        return sd_fail(err, SD_E_FORMAT, "%s: %s where an object with \"%s\" is expected", what,
                       obj ? type_words(obj) : "nothing", key);
    const json_t *got = json_object_get(obj, key);
    if (got && !json_is_null(got))
        *v = got;
    else if (need)
        return sd_fail(err, SD_E_FORMAT, "%s: \"%s\" is %s", what, key, got ? "null" : "missing");
    return SD_OK;
}

static sd_status get_i64(const json_t *obj, const char *key, int64_t *out, bool need, const char *what, sd_err *err)
{
    const json_t *v;
    sd_status st = lookup(&v, obj, key, need, what, err);
    if (st || !v) return st;
    if (json_is_integer(v)) {
        *out = json_integer_value(v);
        return SD_OK;
    }
    /* Some writers put counts as 8.0; beyond 2^53 a real no longer says which integer it was. */
    double d = json_is_real(v) ? json_real_value(v) : 0.5;
    if (d != floor(d) || fabs(d) > 0x1p53) return expected(key, v, "an integer", what, err);
    *out = (int64_t)d;
    return SD_OK;
}

static sd_status get_f64(const json_t *obj, const char *key, double *out, bool need, const char *what, sd_err *err)
{
    const json_t *v;
    sd_status st = lookup(&v, obj, key, need, what, err);
    if (st || !v) return st;
    if (!json_is_number(v)) return expected(key, v, "a number", what, err);
    *out = json_number_value(v);
    return SD_OK;
}

static sd_status get_str(const json_t *obj, const char *key, const char **out, bool need, const char *what, sd_err *err)
{
    const json_t *v;
    sd_status st = lookup(&v, obj, key, need, what, err);
    if (st || !v) return st;
    if (!json_is_string(v)) return expected(key, v, "a string", what, err);
    *out = json_string_value(v);
    return SD_OK;
}

static sd_status get_bool(const json_t *obj, const char *key, bool *out, bool need, const char *what, sd_err *err)
{
    const json_t *v;
    sd_status st = lookup(&v, obj, key, need, what, err);
    if (st || !v) return st;
    if (!json_is_boolean(v)) return expected(key, v, "true or false", what, err);
    *out = json_is_true(v);
    return SD_OK;
}

sd_status sd_json_get_i64(const json_t *obj, const char *key, int64_t *out, const char *what, sd_err *err)
{
    return get_i64(obj, key, out, true, what, err);
}

sd_status sd_json_get_f64(const json_t *obj, const char *key, double *out, const char *what, sd_err *err)
{
    return get_f64(obj, key, out, true, what, err);
}

sd_status sd_json_get_str(const json_t *obj, const char *key, const char **out, const char *what, sd_err *err)
{
    return get_str(obj, key, out, true, what, err);
}

sd_status sd_json_get_bool(const json_t *obj, const char *key, bool *out, const char *what, sd_err *err)
{
    return get_bool(obj, key, out, true, what, err);
}

sd_status sd_json_opt_i64(const json_t *obj, const char *key, int64_t *out, const char *what, sd_err *err)
{
    return get_i64(obj, key, out, false, what, err);
}

sd_status sd_json_opt_f64(const json_t *obj, const char *key, double *out, const char *what, sd_err *err)
{
    return get_f64(obj, key, out, false, what, err);
}

sd_status sd_json_opt_str(const json_t *obj, const char *key, const char **out, const char *what, sd_err *err)
{
    return get_str(obj, key, out, false, what, err);
}

sd_status sd_json_opt_bool(const json_t *obj, const char *key, bool *out, const char *what, sd_err *err)
{
    return get_bool(obj, key, out, false, what, err);
}
