/* Containers of suites: bytes to rows of named values. Untrusted input: every length comes from the file itself, a file is at most
 * 256 MB, and what is not UTF-8 or not closed is refused with its line. */
#include "lab/suite.h"

#include "base/map.h"

#include <inttypes.h>
#include <strings.h>

#define MAX_FILE ((size_t)1 << 28)
enum { MAX_COLUMNS = 64 };

/* One CSV cell at *p: quoted (doubled quotes stand for one) or up to a comma or line end. Appends to b; false: a quote is open at the end. */
static bool csv_cell(const char **p, const char *end, sd_buf *b)
{
    const char *c = *p;
    bool open = c < end && *c == '"';
    if (open) {
        for (c++; c < end; c++) {
            if (*c != '"') {
                sd_buf_putc(b, *c);
            } else if (c + 1 < end && c[1] == '"') {
                sd_buf_putc(b, '"');
                c++;
            } else {
                c++;
                open = false;
                break;
            }
        }
    }
    while (!open && c < end && *c != ',' && *c != '\n') {
        if (*c != '\r') sd_buf_putc(b, *c);
        c++;
    }
    *p = c;
    return !open;
}

/* The cells of a record; *p ends behind its line end. */
static sd_status csv_record(const sd_suite *s, const char **p, const char *end, json_t *cells, int64_t line, sd_err *err)
{
    sd_buf b;
    sd_status st = SD_OK;
    sd_buf_init(&b, MAX_FILE);
    for (bool more = true; more && !st;) {
        sd_buf_reset(&b);
        if (!csv_cell(p, end, &b)) {
            st = sd_fail(err, SD_E_FORMAT, "%s: the quote that opens in the record at line %" PRId64 " is never closed", s->path, line);
        } else if ((st = sd_buf_check(&b, "a cell", err)) == SD_OK && json_array_append_new(cells, json_stringn(b.n ? b.p : "", b.n))) {
            st = sd_fail(err, SD_E_FORMAT, "%s: the record at line %" PRId64 " is not UTF-8", s->path, line);
        }
        more = *p < end && **p == ',';
        if (*p < end) (*p)++;
    }
    sd_buf_release(&b);
    return st;
}

static sd_status read_csv(sd_suite *s, sd_slice text, sd_axis forced, sd_err *err)
{
    const char *p = text.p, *end = text.p + text.n, *from;
    json_t *head = NULL, *cells = NULL, *row = NULL;
    sd_status st = SD_OK;
    int64_t line = 1, number = 0;
    if (sd_slice_starts(text, "\xef\xbb\xbf")) p += 3;
    head = json_array();
    if (!head) return sd_fail(err, SD_E_NOMEM, "out of memory: columns of %s", s->path);
    if ((st = csv_record(s, &p, end, head, line, err))) goto done;
    if (json_array_size(head) > MAX_COLUMNS) {
        st = sd_fail(err, SD_E_FORMAT, "%s has %zu columns, at most %d are read", s->path, json_array_size(head), MAX_COLUMNS);
        goto done;
    }
    for (from = text.p; p < end && !st; from = p) {
        while (from < p) line += *from++ == '\n';
        if (*p == '\n' || (*p == '\r' && p + 1 < end && p[1] == '\n')) {
            p += *p == '\r' ? 2 : 1;
            continue;
        }
        cells = json_array();
        row = json_object();
        st = cells && row ? csv_record(s, &p, end, cells, line, err) : sd_fail(err, SD_E_NOMEM, "out of memory: a row of %s", s->path);
        if (!st && json_array_size(cells) != json_array_size(head))
            st = sd_fail(err, SD_E_FORMAT, "%s: the record at line %" PRId64 " has %zu cells, the header %zu", s->path, line, json_array_size(cells),
                         json_array_size(head));
        for (size_t i = 0; i < json_array_size(head) && !st; i++)
            json_object_set(row, json_string_value(json_array_get(head, i)), json_array_get(cells, i));
        if (!st) st = sd_suite__row(s, row, ++number, forced, err);
        json_decref(cells);
        json_decref(row);
        cells = row = NULL;
    }
done:
    json_decref(cells);
    json_decref(row);
    json_decref(head);
    return st;
}

static sd_status put_row(sd_suite *s, json_t *row, int64_t number, sd_axis forced, sd_err *err)
{
    if (json_is_object(row)) return sd_suite__row(s, row, number, forced, err);
    if (!json_is_string(row)) return sd_fail(err, SD_E_FORMAT, "%s: row %" PRId64 " is neither an object nor a text", s->path, number);
    json_t *wrapped = json_pack("{sO}", "prompt", row);
    if (!wrapped) return sd_fail(err, SD_E_NOMEM, "out of memory: a row of %s", s->path);
    sd_status st = sd_suite__row(s, wrapped, number, forced, err);
    json_decref(wrapped);
    return st;
}

static sd_status read_jsonl(sd_suite *s, sd_slice text, sd_axis forced, sd_err *err)
{
    sd_slice line;
    int64_t number = 0;
    sd_status st = SD_OK;
    while (!st && sd_slice_cut(&text, '\n', &line)) {
        json_t *row = NULL;
        number++;
        if (sd_slice_trim(line).n == 0) continue;
        st = sd_json_parse_line(&row, line, s->path, number, err);
        if (!st) st = put_row(s, row, number, forced, err);
        json_decref(row);
    }
    return st;
}

static sd_status read_json(sd_suite *s, sd_slice text, sd_axis forced, sd_err *err)
{
    json_t *root = NULL;
    sd_status st = sd_json_parse(&root, text.p, text.n, s->path, err);
    if (st == SD_E_FORMAT) sd_hint(err, "it has to be one JSON document: is it the right file, and all of it?");
    if (st) return st;
    const json_t *list = root, *tags = NULL;
    if (json_is_object(root)) {
        list = json_object_get(root, "instructions");
        tags = json_object_get(root, "tags");
    }
    if (!json_is_array(list)) {
        st = sd_fail(err, SD_E_FORMAT, "%s is neither a list of prompts nor an object with \"instructions\"", s->path);
        goto done;
    }
    for (size_t i = 0; i < json_array_size(list) && !st; i++) {
        json_t *row = json_array_get(list, i), *tag = json_array_get(tags, i);
        if (!tag || !json_is_string(row)) {
            st = put_row(s, row, (int64_t)i + 1, forced, err);
            continue;
        }
        json_t *wrapped = json_pack("{sOsO}", "prompt", row, "category", tag);
        st = wrapped ? sd_suite__row(s, wrapped, (int64_t)i + 1, forced, err) : sd_fail(err, SD_E_NOMEM, "out of memory: a row of %s", s->path);
        json_decref(wrapped);
    }
done:
    json_decref(root);
    return st;
}

/* "harmful=FILE" -> the axis and FILE. */
static sd_axis split_spec(const char **path, const char *spec)
{
    for (int a = SD_AXIS_HARMFUL; a <= SD_AXIS_CHOICE; a++) {
        size_t n = strlen(sd_axis_name((sd_axis)a));
        if (strncmp(spec, sd_axis_name((sd_axis)a), n) == 0 && spec[n] == '=') {
            *path = spec + n + 1;
            return (sd_axis)a;
        }
    }
    *path = spec;
    return SD_AXIS_UNKNOWN;
}

sd_status sd_suite_open(sd_suite *s, const char *spec, sd_err *err)
{
    const char *path, *base, *dot;
    sd_axis forced = split_spec(&path, spec);
    sd_buf b;
    sd_sha256 h;
    *s = (sd_suite){0};
    if (strlen(path) >= sizeof s->path) return sd_fail(err, SD_E_ARG, "the path of a suite has %zu bytes, at most %zu fit", strlen(path), sizeof s->path - 1);
    snprintf(s->path, sizeof s->path, "%s", path);
    base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    dot = strrchr(base, '.') ? strrchr(base, '.') : base + strlen(base);
    snprintf(s->name, sizeof s->name, "%.*s", (int)(dot - base), base);
    sd_buf_init(&b, MAX_FILE);
    sd_status st = sd_file_read(&b, path, err);
    if (st) goto done;
    sd_slice text = {b.p, b.n};
    sd_sha256_of(&h, b.p, b.n);
    sd_sha256_hex(&h, s->sha256);
    if (sd_utf16_name(text)) st = sd_text_check(text, path, err);
    else if (strcasecmp(dot, ".csv") == 0) st = read_csv(s, text, forced, err);
    else if (strcasecmp(dot, ".jsonl") == 0) st = read_jsonl(s, text, forced, err);
    else if (strcasecmp(dot, ".json") == 0) st = read_json(s, text, forced, err);
    else {
        st = sd_fail(err, SD_E_UNSUPPORTED, "%s: a suite is a .csv, .jsonl or .json file", path);
        sd_hint(err, "rename it, or convert it");
    }
    if (!st && s->n == 0) {
        if (s->n_skipped) st = sd_fail(err, SD_E_FORMAT, "%s holds no prompt that can be asked (%" PRId64 " rows need a context)", path, s->n_skipped);
        else st = sd_fail(err, SD_E_FORMAT, "%s holds no prompt", path);
        sd_hint(err, "a suite has a row for each prompt: docs/AUDIT.md");
    }
done:
    sd_buf_release(&b);
    if (st) sd_suite_release(s);
    return st;
}
