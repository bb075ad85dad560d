/* Owns: the shape of problems and the check of bodies. */
#include "serve/request.h"

#include <math.h>
#include <stdio.h>

int sd_problem_set(sd_problem *p, int http, const char *param, const char *fmt, ...)
{
    va_list ap;
    p->http = http;
    p->code = NULL;
    snprintf(p->param, sizeof p->param, "%s", param ? param : "");
    p->e.hint[0] = 0;
    va_start(ap, fmt);
    vsnprintf(p->e.msg, sizeof p->e.msg, fmt, ap);
    va_end(ap);
    return http;
}

int sd_problem_of(sd_problem *p, const sd_err *e, const char *param)
{
    int http = 500;
    switch (e->code) {
    case SD_E_ARG: case SD_E_FORMAT: case SD_E_SHAPE: case SD_E_UNSUPPORTED: http = 400; break;
    case SD_E_NOTFOUND: http = 404; break;
    case SD_E_BUSY: case SD_E_CANCELLED: case SD_E_NOMEM: http = 503; break;
    default: break;
    }
    p->http = http;
    p->code = NULL;
    snprintf(p->param, sizeof p->param, "%s", param ? param : "");
    p->e = *e;
    return http;
}

static const char *problem_type(int http)
{
    switch (http) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 429: return "rate_limit_error";
    case 501: return "not_supported_error";
    case 503: return "unavailable_error";
    default: return http < 500 ? "invalid_request_error" : "server_error";
    }
}

static const char *problem_code(const sd_problem *p)
{
    if (p->code) return p->code;
    if (p->http == 401) return "invalid_api_key";
    if (p->http == 429) return "rate_limit_exceeded";
    return p->http == 404 && strcmp(p->param, "model") == 0 ? "model_not_found" : NULL;
}

void sd_problem_write(const sd_problem *p, sd_buf *out)
{
    sd_jw w;
    sd_buf text;
    sd_buf_init(&text, SD_ERR_MSG_MAX + SD_ERR_HINT_MAX + 16);
    sd_buf_puts(&text, p->e.msg);
    if (p->e.hint[0]) sd_buf_printf(&text, " (%s)", p->e.hint);
    sd_jw_init(&w, out);
    sd_jw_obj(&w);
    sd_jw_key(&w, "error");
    sd_jw_obj(&w);
    sd_jw_kstr(&w, "message", sd_buf_str(&text));
    sd_jw_kstr(&w, "type", problem_type(p->http));
    sd_jw_key(&w, "param");
    if (p->param[0]) sd_jw_str(&w, p->param);
    else sd_jw_null(&w);
    sd_jw_key(&w, "code");
    if (problem_code(p)) sd_jw_str(&w, problem_code(p));
    else sd_jw_null(&w);
    sd_jw_end(&w);
    sd_jw_end(&w);
    sd_buf_release(&text);
}

json_t *sd_field_get(const json_t *obj, const char *key)
{
    json_t *v = json_object_get(obj, key);
    return v && !json_is_null(v) ? v : NULL;
}

static const char *const type_words[] = {"", "true or false", "an integer", "a number", "a string", "an object", "an array", "a value"};

static bool has_type(const json_t *v, sd_field_type t)
{
    switch (t) {
    case SD_FIELD_BOOL: return json_is_boolean(v);
    case SD_FIELD_INT: return json_is_integer(v);
    case SD_FIELD_NUM: return json_is_number(v) && isfinite(json_number_value(v));
    case SD_FIELD_STR: return json_is_string(v);
    case SD_FIELD_OBJ: return json_is_object(v);
    case SD_FIELD_ARR: return json_is_array(v);
    default: return true;
    }
}

int sd_fields_check(const json_t *obj, const sd_field *table, const char *where, sd_buf *ignored, sd_problem *p)
{
    char param[96];
    const char *key;
    json_t *v;
    for (const sd_field *f = table; f->type != SD_FIELD_END; f++) {
        v = sd_field_get(obj, f->name);
        snprintf(param, sizeof param, "%s%s", where, f->name);
        if (!v && f->required) return sd_problem_set(p, 400, param, "%s is missing: expected %s", param, type_words[f->type]);
        if (!v) continue;
        if (!has_type(v, f->type)) return sd_problem_set(p, 400, param, "%s: expected %s", param, type_words[f->type]);
        if (!json_is_number(v) || (f->lo == 0 && f->hi == 0)) continue;
        double x = json_number_value(v);
        if (x < f->lo || x > f->hi) return sd_problem_set(p, 400, param, "%s is %.10g: expected %.10g to %.10g", param, x, f->lo, f->hi);
    }
    json_object_foreach((json_t *)(uintptr_t)obj, key, v) {
        const sd_field *f = table;
        while (f->type != SD_FIELD_END && strcmp(f->name, key) != 0) f++;
        if (f->type != SD_FIELD_END) continue;
        snprintf(param, sizeof param, "%s%.60s", where, key);
        if (!ignored) return sd_problem_set(p, 400, param, "%s is not a field that is known here", param);
        if (ignored->n) sd_buf_puts(ignored, ", ");
        for (const char *c = key; *c; c++) sd_buf_putc(ignored, *c > ' ' && *c < 127 ? *c : '?'); /* it becomes a header */
    }
    return 0;
}

double sd_field_num(const json_t *obj, const char *key, double def)
{
    const json_t *v = sd_field_get(obj, key);
    return v ? json_number_value(v) : def;
}

int64_t sd_field_int(const json_t *obj, const char *key, int64_t def)
{
    const json_t *v = sd_field_get(obj, key);
    return v ? json_integer_value(v) : def;
}

bool sd_field_bool(const json_t *obj, const char *key, bool def)
{
    const json_t *v = sd_field_get(obj, key);
    return v ? json_is_true(v) : def;
}

const char *sd_field_str(const json_t *obj, const char *key, const char *def)
{
    const json_t *v = sd_field_get(obj, key);
    return v ? json_string_value(v) : def;
}
