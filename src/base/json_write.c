/* The JSON writer: a stream of calls into an sd_buf. One bit a level says object or array; `comma` says that the
 * level has a member already; `after_key` that a value is due. Calls out of order are programming errors. */
#include "base/json.h"

#include <math.h>

#define MAX_WRITE_DEPTH 128 /* the bits of sd_jw.is_obj */

void sd_jw_init(sd_jw *w, sd_buf *b)
{
    *w = (sd_jw){.b = b};
}

static bool in_object(const sd_jw *w)
{
    int level = w->depth - 1;
    return w->depth > 0 && (w->is_obj[level / 64] >> (level % 64) & 1);
}

/* In front of every value. At depth 0 documents follow each other without a comma (JSON lines). */
static void before_value(sd_jw *w)
{
    SD_ASSERT(w->after_key == in_object(w));
    if (w->comma && !w->after_key && w->depth > 0) sd_buf_putc(w->b, ',');
    w->after_key = false;
    w->comma = true;
}

static void open_level(sd_jw *w, bool object)
{
    before_value(w);
    SD_ASSERT(w->depth < MAX_WRITE_DEPTH);
    uint64_t bit = (uint64_t)1 << (w->depth % 64), *word = &w->is_obj[w->depth / 64];
    *word = object ? *word | bit : *word & ~bit;
    w->depth++;
    w->comma = false;
    sd_buf_putc(w->b, object ? '{' : '[');
}

void sd_jw_obj(sd_jw *w)
{
    open_level(w, true);
}

void sd_jw_arr(sd_jw *w)
{
    open_level(w, false);
}

void sd_jw_end(sd_jw *w)
{
    SD_ASSERT(w->depth > 0 && !w->after_key);
    sd_buf_putc(w->b, in_object(w) ? '}' : ']');
    w->depth--;
    w->comma = true;
}

/* Runs of bytes that stand for themselves are put in one piece. */
static void put_string(sd_buf *b, sd_slice s)
{
    sd_buf_putc(b, '"');
    size_t from = 0, i = 0;
    while (i < s.n) {
        unsigned char c = (unsigned char)s.p[i];
        if (c >= 0x20 && c < 0x80 && c != '"' && c != '\\' && c != 0x7f) {
            i++;
            continue;
        }
        uint32_t cp;
        int len = c >= 0x80 ? sd_utf8_decode(s.p + i, s.n - i, &cp) : 0;
        if (len) {
            i += (size_t)len;
            continue;
        }
        sd_buf_put(b, s.p + from, i - from);
        if (c == '"')
            sd_buf_puts(b, "\\\"");
        else if (c == '\\')
            sd_buf_puts(b, "\\\\");
        else if (c == '\n')
            sd_buf_puts(b, "\\n");
        else if (c == '\t')
            sd_buf_puts(b, "\\t");
        else if (c == '\r')
            sd_buf_puts(b, "\\r");
        else if (c < 0x80)
            sd_buf_printf(b, "\\u%04x", c);
        else
            sd_buf_puts(b, "\xef\xbf\xbd"); /* U+FFFD for each byte that begins nothing valid */
        from = ++i;
    }
    sd_buf_put(b, s.p + from, i - from);
    sd_buf_putc(b, '"');
}

void sd_jw_key(sd_jw *w, const char *key)
{
    SD_ASSERT(in_object(w) && !w->after_key);
    if (w->comma) sd_buf_putc(w->b, ',');
    put_string(w->b, sd_slice_of(key));
    sd_buf_putc(w->b, ':');
    w->after_key = true;
}

void sd_jw_slice(sd_jw *w, sd_slice s)
{
    before_value(w);
    put_string(w->b, s);
}

void sd_jw_str(sd_jw *w, const char *s)
{
    if (s)
        sd_jw_slice(w, sd_slice_of(s));
    else
        sd_jw_null(w);
}

void sd_jw_i64(sd_jw *w, int64_t v)
{
    before_value(w);
    sd_buf_printf(w->b, "%lld", (long long)v);
}

void sd_jw_u64(sd_jw *w, uint64_t v)
{
    before_value(w);
    sd_buf_printf(w->b, "%llu", (unsigned long long)v);
}

void sd_jw_f64(sd_jw *w, double v)
{
    char text[SD_FMT_MAX];
    before_value(w);
    sd_buf_puts(w->b, isfinite(v) ? sd_fmt_f64(text, v) : "null");
}

void sd_jw_f32(sd_jw *w, float v)
{
    char text[SD_FMT_MAX];
    before_value(w);
    sd_buf_puts(w->b, isfinite(v) ? sd_fmt_f32(text, v) : "null");
}

void sd_jw_bool(sd_jw *w, bool v)
{
    before_value(w);
    sd_buf_puts(w->b, v ? "true" : "false");
}

void sd_jw_null(sd_jw *w)
{
    before_value(w);
    sd_buf_puts(w->b, "null");
}

/* A real stays a real for whoever reads it back: 8.0, not 8. */
static void put_real(sd_jw *w, double v)
{
    char text[SD_FMT_MAX];
    before_value(w);
    sd_buf_puts(w->b, sd_fmt_f64(text, v));
    if (!strpbrk(text, ".e")) sd_buf_puts(w->b, ".0");
}

/* Recursion is bounded by the writer's depth. Keys keep the order in which they were put in (jansson 2.8 on). */
void sd_jw_tree(sd_jw *w, const json_t *t)
{
    const char *key;
    json_t *v;
    size_t i;
    switch (json_typeof(t)) {
    case JSON_OBJECT:
        sd_jw_obj(w);
        json_object_foreach((json_t *)(uintptr_t)t, key, v)
        {
            sd_jw_key(w, key);
            sd_jw_tree(w, v);
        }
        sd_jw_end(w);
        return;
    case JSON_ARRAY:
        sd_jw_arr(w);
        json_array_foreach(t, i, v) sd_jw_tree(w, v);
        sd_jw_end(w);
        return;
    case JSON_STRING:
        sd_jw_slice(w, (sd_slice){json_string_value(t), json_string_length(t)});
        return;
    case JSON_INTEGER:
        sd_jw_i64(w, json_integer_value(t));
        return;
    case JSON_REAL:
        put_real(w, json_real_value(t));
        return;
    case JSON_TRUE:
        sd_jw_bool(w, true);
        return;
    case JSON_FALSE:
        sd_jw_bool(w, false);
        return;
    case JSON_NULL:
        sd_jw_null(w);
        return;
    }
}

void sd_jw_kstr(sd_jw *w, const char *key, const char *s)
{
    sd_jw_key(w, key);
    sd_jw_str(w, s);
}

void sd_jw_ki64(sd_jw *w, const char *key, int64_t v)
{
    sd_jw_key(w, key);
    sd_jw_i64(w, v);
}

void sd_jw_kf64(sd_jw *w, const char *key, double v)
{
    sd_jw_key(w, key);
    sd_jw_f64(w, v);
}

void sd_jw_kbool(sd_jw *w, const char *key, bool v)
{
    sd_jw_key(w, key);
    sd_jw_bool(w, v);
}
