/* Over libyaml's events; the one file that includes its header. */
#include "file/yaml.h"
#include "base/map.h"
#include <yaml.h>

enum { MOST_DEPTH = 16, MOST_NODES = 1 << 16 };

typedef struct reader { yaml_parser_t p; const char *path; sd_err *err; int nodes; } reader;

static sd_status bad(const reader *r, const yaml_event_t *e, const char *what)
{
    return sd_fail(r->err, SD_E_FORMAT, "%s, line %zu: %s", r->path, e->start_mark.line + 1, what);
}

static sd_status next(reader *r, yaml_event_t *e)
{
    if (yaml_parser_parse(&r->p, e)) return SD_OK;
    return sd_fail(r->err, SD_E_FORMAT, "%s, line %zu: this is no YAML: %s", r->path, r->p.problem_mark.line + 1, r->p.problem ? r->p.problem : "it cannot be read");
}

static sd_status value(reader *r, const yaml_event_t *e, json_t **out, int depth);

static sd_status mapping(reader *r, json_t *to, int depth)
{
    for (;;) {
        yaml_event_t e;
        json_t *v = NULL;
        sd_status st = next(r, &e);
        if (st) return st;
        const yaml_event_type_t type = e.type;
        char *key = NULL;
        if (type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&e);
            return SD_OK;
        }
        if (type != YAML_SCALAR_EVENT || memchr(e.data.scalar.value, 0, e.data.scalar.length)) st = bad(r, &e, "a key is no text");
        else if (!(key = sd_strdup((const char *)e.data.scalar.value))) st = sd_fail(r->err, SD_E_NOMEM, "out of memory: %s", r->path);
        if (!st && json_object_get(to, key)) st = bad(r, &e, "a key comes twice");
        yaml_event_delete(&e);
        if (!st && !(st = next(r, &e))) {
            st = value(r, &e, &v, depth);
            yaml_event_delete(&e);
        }
        if (!st && json_object_set_new(to, key, v)) st = sd_fail(r->err, SD_E_FORMAT, "%s: the key %.40s is no text", r->path, key);
        sd_free(key);
        if (st) return st;
    }
}

static sd_status sequence(reader *r, json_t *to, int depth)
{
    for (;;) {
        yaml_event_t e;
        json_t *v = NULL;
        sd_status st = next(r, &e);
        if (st) return st;
        const bool end = e.type == YAML_SEQUENCE_END_EVENT;
        if (!end) st = value(r, &e, &v, depth);
        yaml_event_delete(&e);
        if (!st && !end && json_array_append_new(to, v)) st = sd_fail(r->err, SD_E_NOMEM, "out of memory: %s", r->path);
        if (st || end) return st;
    }
}

static sd_status scalar(reader *r, const yaml_event_t *e, json_t **out)
{
    const char *s = (const char *)e->data.scalar.value;
    const bool plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    *out = plain && (!*s || strcmp(s, "~") == 0 || strcmp(s, "null") == 0) ? json_null() : json_stringn(s, e->data.scalar.length);
    return *out ? SD_OK : bad(r, e, "a value is no text");
}

static sd_status value(reader *r, const yaml_event_t *e, json_t **out, int depth)
{
    sd_status st;
    *out = NULL;
    if (depth > MOST_DEPTH || ++r->nodes > MOST_NODES) return bad(r, e, "it nests too deep or holds too much");
    switch (e->type) {
    case YAML_SCALAR_EVENT:
        if (e->data.scalar.anchor) return bad(r, e, "anchors are not read");
        return scalar(r, e, out);
    case YAML_MAPPING_START_EVENT:
        if (e->data.mapping_start.anchor) return bad(r, e, "anchors are not read");
        *out = json_object();
        st = *out ? mapping(r, *out, depth + 1) : sd_fail(r->err, SD_E_NOMEM, "out of memory: %s", r->path);
        break;
    case YAML_SEQUENCE_START_EVENT:
        if (e->data.sequence_start.anchor) return bad(r, e, "anchors are not read");
        *out = json_array();
        st = *out ? sequence(r, *out, depth + 1) : sd_fail(r->err, SD_E_NOMEM, "out of memory: %s", r->path);
        break;
    case YAML_ALIAS_EVENT: return bad(r, e, "aliases are not read");
    default: return bad(r, e, "a value is missing");
    }
    if (st) {
        json_decref(*out);
        *out = NULL;
    }
    return st;
}

sd_status sd_yaml_parse(json_t **out, const char *text, size_t n, const char *path, sd_err *err)
{
    reader r = {.path = path, .err = err};
    yaml_event_t e;
    *out = NULL;
    if (!yaml_parser_initialize(&r.p)) return sd_fail(err, SD_E_NOMEM, "out of memory: %s", path);
    yaml_parser_set_input_string(&r.p, (const unsigned char *)text, n);
    sd_status st = SD_OK;
    for (int i = 0; i < 2 && !st; i++) { /* the stream's and the document's beginning */
        if ((st = next(&r, &e))) break;
        const yaml_event_type_t want = i ? YAML_DOCUMENT_START_EVENT : YAML_STREAM_START_EVENT;
        if (e.type != want) st = bad(&r, &e, "there is no document");
        yaml_event_delete(&e);
    }
    if (!st && !(st = next(&r, &e))) {
        st = value(&r, &e, out, 0);
        yaml_event_delete(&e);
    }
    yaml_parser_delete(&r.p);
    return st;
}

sd_status sd_yaml_load(json_t **out, const char *path, size_t max_bytes, sd_err *err)
{
    sd_buf b;
    *out = NULL;
    sd_buf_init(&b, max_bytes);
    sd_status st = sd_file_read(&b, path, err);
    if (!st) st = sd_yaml_parse(out, b.p, b.n, path, err);
    sd_buf_release(&b);
    return st;
}
