/* The words of a chat template: Jinja2's lexer (lexer.py, 3.1) with trim_blocks and lstrip_blocks. Text, comments and
 * the marks that take white space away are settled here; what stands inside a tag is handed out word by word. */
#include "text/chat_read.h"

sd_status sd_chat__refuse(const sd_chat_reader *k, const char *what, sd_err *err)
{
    return sd_fail(err, SD_E_UNSUPPORTED, "line %d: %s", k->line, what);
}

sd_status sd_chat__refuse_name(const sd_chat_reader *k, const char *what, sd_slice text, sd_err *err)
{
    return sd_fail(err, SD_E_UNSUPPORTED, "line %d: %s \"%.*s\" is not supported", k->line, what,
                   (int)(text.n > 40 ? 40 : text.n), text.p ? text.p : "");
}

/* ---- inside a tag: characters and words ---- */

static bool is_word(char ch)
{
    return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') || ch == '_';
}

static void skip_space(sd_chat_reader *k)
{
    uint32_t cp;
    int len;
    while (k->at < k->n && (len = sd_utf8_decode(k->p + k->at, k->n - k->at, &cp)) > 0 && sd_chat__is_space(cp)) {
        if (cp == '\n') k->line++;
        k->at += (size_t)len;
    }
}

static bool starts(const sd_chat_reader *k, const char *s)
{
    return sd_slice_starts((sd_slice){k->p + k->at, k->n - k->at}, s);
}

/* The end of the open tag comes before any operator: "a -%}" ends, and does not subtract. */
bool sd_chat__at_end(sd_chat_reader *k)
{
    skip_space(k);
    if (k->open == TAG_STATEMENT) return starts(k, "-%}") || starts(k, "+%}") || starts(k, "%}");
    return starts(k, "-}}") || starts(k, "}}");
}

/* Takes an operator or bracket. */
bool sd_chat__take(sd_chat_reader *k, const char *op)
{
    if (sd_chat__at_end(k) || !starts(k, op)) return false;
    k->at += strlen(op);
    return true;
}

sd_slice sd_chat__peek_word(sd_chat_reader *k)
{
    if (sd_chat__at_end(k)) return (sd_slice){"", 0};
    size_t end = k->at;
    while (end < k->n && is_word(k->p[end])) end++;
    return (sd_slice){k->p + k->at, end - k->at};
}

bool sd_chat__take_word(sd_chat_reader *k, const char *word)
{
    sd_slice w = sd_chat__peek_word(k);
    if (!sd_slice_eq_str(w, word)) return false;
    k->at += w.n;
    return true;
}

sd_status sd_chat__take_name(sd_chat_reader *k, sd_slice *out, sd_err *err)
{
    *out = sd_chat__peek_word(k);
    if (out->n == 0 || (out->p[0] >= '0' && out->p[0] <= '9')) return sd_chat__refuse(k, "a name is expected", err);
    k->at += out->n;
    return SD_OK;
}

sd_status sd_chat__expect(sd_chat_reader *k, const char *op, sd_err *err)
{
    if (sd_chat__take(k, op)) return SD_OK;
    return sd_fail(err, SD_E_UNSUPPORTED, "line %d: \"%s\" is expected", k->line, op);
}

bool sd_chat__take_integer(sd_chat_reader *k, int64_t *out)
{
    if (sd_chat__at_end(k)) return false;
    size_t end = k->at;
    if (end < k->n && k->p[end] == '-') end++;
    while (end < k->n && is_word(k->p[end])) end++;
    if (!sd_parse_i64((sd_slice){k->p + k->at, end - k->at}, out) || *out > INT32_MAX || *out < INT32_MIN) return false;
    k->at = end;
    return true;
}

static int hex_digit(char ch)
{
    return ch >= '0' && ch <= '9'   ? ch - '0'
           : ch >= 'a' && ch <= 'f' ? ch - 'a' + 10
           : ch >= 'A' && ch <= 'F' ? ch - 'A' + 10
                                    : -1;
}

/* After a backslash: Python's escapes, without octal and named ones. */
static sd_status take_escape(sd_chat_reader *k, sd_err *err)
{
    static const char plain[] = "n\nt\tr\r\\\\''\"\"a\ab\bf\fv\v";
    char ch = k->at < k->n ? k->p[k->at] : '\0';
    for (size_t i = 0; i + 1 < sizeof plain; i += 2) {
        if (plain[i] != ch) continue;
        sd_buf_putc(&k->c->text, plain[i + 1]);
        k->at++;
        return SD_OK;
    }
    size_t digits = ch == 'x' ? 2 : ch == 'u' ? 4 : 0;
    if (digits == 0 || k->n - k->at <= digits) return sd_chat__refuse(k, "an escape in a string is not supported", err);
    uint32_t cp = 0;
    for (size_t i = 1; i <= digits; i++) {
        int d = hex_digit(k->p[k->at + i]);
        if (d < 0) return sd_chat__refuse(k, "an escape in a string is not supported", err);
        cp = cp * 16 + (uint32_t)d;
    }
    char utf8[4];
    int len = sd_utf8_encode(cp, utf8);
    if (len == 0) return sd_chat__refuse(k, "an escape in a string is not supported", err);
    sd_buf_put(&k->c->text, utf8, (size_t)len);
    k->at += 1 + digits;
    return SD_OK;
}

sd_status sd_chat__string(sd_chat_reader *k, int32_t *out, sd_err *err)
{
    char quote = k->p[k->at++];
    size_t from = k->c->text.n;
    sd_status st = SD_OK;
    while (!st && k->at < k->n && k->p[k->at] != quote) {
        char ch = k->p[k->at++];
        if (ch == '\n') k->line++;
        if (ch == '\\')
            st = take_escape(k, err);
        else
            sd_buf_putc(&k->c->text, ch);
    }
    if (!st && k->at == k->n) st = sd_chat__refuse(k, "a string does not end", err);
    if (!st) st = sd_chat__add(k, OP_STR, CT_STR, out, err);
    if (st) return st;
    k->at++;
    k->c->node[*out].str = (uint32_t)from;
    k->c->node[*out].len = (uint32_t)(k->c->text.n - from);
    return SD_OK;
}

/* ---- text and tags ---- */

static sd_status add_text(sd_chat_reader *k, sd_slice s, sd_err *err)
{
    int32_t node;
    if (s.n == 0) return SD_OK;
    sd_status st = sd_chat__add(k, OP_TEXT, CT_STR, &node, err);
    if (st) return st;
    k->c->node[node].str = (uint32_t)k->c->text.n;
    k->c->node[node].len = (uint32_t)s.n;
    sd_buf_put(&k->c->text, s.p, s.n);
    return SD_OK;
}

static sd_slice strip_right(sd_slice s)
{
    while (s.n) {
        size_t at = s.n - 1;
        uint32_t cp;
        while (at > 0 && s.n - at < 4 && ((unsigned char)s.p[at] & 0xc0) == 0x80) at--;
        if (sd_utf8_decode(s.p + at, s.n - at, &cp) != (int)(s.n - at) || !sd_chat__is_space(cp)) break;
        s.n = at;
    }
    return s;
}

/* lstrip_blocks: blanks between the line's start and a tag go. */
static sd_slice strip_line(const sd_chat_reader *k, sd_slice s)
{
    size_t from = s.n;
    while (from > 0 && s.p[from - 1] != '\n') from--;
    if (from == 0 && !k->line_start) return s;
    sd_slice last = {s.p + from, s.n - from};
    return strip_right(last).n == 0 ? (sd_slice){s.p, from} : s;
}

/* After the closing mark: "-" takes all white space, trim_blocks one line end. */
static void after_tag(sd_chat_reader *k, bool minus, bool trim_line)
{
    size_t from = k->at;
    if (minus) {
        skip_space(k);
    } else if (trim_line && k->at < k->n && k->p[k->at] == '\n') {
        k->at++;
        k->line++;
    }
    k->line_start = k->at > from && k->p[k->at - 1] == '\n';
}

sd_status sd_chat__close_tag(sd_chat_reader *k, sd_err *err)
{
    bool statement = k->open == TAG_STATEMENT;
    if (!sd_chat__at_end(k)) return sd_chat__refuse(k, "something in this tag is not supported", err);
    bool minus = starts(k, "-"), plus = starts(k, "+");
    k->at += minus || plus ? 3 : 2;
    k->open = TAG_NONE;
    after_tag(k, minus, statement && !plus);
    return SD_OK;
}

static sd_status skip_comment(sd_chat_reader *k, sd_err *err)
{
    const char *end = memmem(k->p + k->at, k->n - k->at, "#}", 2);
    if (!end) return sd_chat__refuse(k, "a comment does not end", err);
    bool minus = end > k->p + k->at && end[-1] == '-', plus = end > k->p + k->at && end[-1] == '+';
    for (; k->p + k->at < end; k->at++)
        if (k->p[k->at] == '\n') k->line++;
    k->at += 2;
    after_tag(k, minus, !plus);
    return SD_OK;
}

static bool begins_tag(const sd_chat_reader *k, size_t i)
{
    return k->p[i] == '{' && i + 1 < k->n && (k->p[i + 1] == '%' || k->p[i + 1] == '{' || k->p[i + 1] == '#');
}

/* Adds the text up to the next tag and opens that; comments are text of no length. *more is false at the template's
 * end. */
sd_status sd_chat__next_tag(sd_chat_reader *k, bool *more, sd_err *err)
{
    for (;;) {
        size_t end = k->at;
        while (end < k->n && !begins_tag(k, end)) end++;
        sd_slice text = {k->p + k->at, end - k->at};
        char kind = end < k->n ? k->p[end + 1] : '\0';
        char mark = end + 2 < k->n ? k->p[end + 2] : '\0';
        for (; k->at < end; k->at++)
            if (k->p[k->at] == '\n') k->line++;
        if (kind && mark == '-')
            text = strip_right(text);
        else if (kind && kind != '{' && mark != '+')
            text = strip_line(k, text);
        sd_status st = add_text(k, text, err);
        *more = kind != '\0';
        if (st || !kind) return st;
        k->at += mark == '-' || mark == '+' ? 3 : 2;
        k->open = kind == '%' ? TAG_STATEMENT : kind == '{' ? TAG_OUTPUT : TAG_NONE;
        if (kind != '#') return SD_OK;
        st = skip_comment(k, err);
        if (st) return st;
    }
}
