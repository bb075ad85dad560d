/* The words of a template: Jinja2's lexer (lexer.py, 3.1) with trim_blocks and lstrip_blocks. Text, comments, raw
 * blocks and the marks that take white space away are settled here; what stands inside a tag becomes words. */
#include "text/jinja_tree.h"

typedef struct lexer {
    jinja_reader *k;
    const char *p;
    size_t n, at;
    int line;
    bool line_start; /* the text that follows begins a line: blanks before a tag there go (lstrip_blocks) */
} lexer;

bool sd_jinja__is_space(uint32_t cp)
{
    return (cp >= 9 && cp <= 13) || (cp >= 0x1c && cp <= 0x20) || cp == 0x85 || cp == 0xa0 || cp == 0x1680 ||
           (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 || cp == 0x2029 || cp == 0x202f || cp == 0x205f ||
           cp == 0x3000;
}

static sd_status refuse(const lexer *x, const char *what, sd_err *err)
{
    return sd_fail(err, SD_E_UNSUPPORTED, "line %d: %s", x->line, what);
}

static sd_status push(lexer *x, jinja_word w, sd_err *err)
{
    jinja_reader *k = x->k;
    if (k->n_word == k->cap_word) {
        size_t cap = k->cap_word ? 2 * k->cap_word : 256;
        jinja_word *v = sd_realloc(k->word, cap * sizeof *v);
        if (!v) return sd_fail(err, SD_E_NOMEM, "out of memory: a chat template");
        k->word = v;
        k->cap_word = cap;
    }
    k->word[k->n_word++] = w;
    return SD_OK;
}

/* A word whose text is `s`. */
static sd_status push_text(lexer *x, jinja_tok kind, sd_slice s, sd_err *err)
{
    jinja_word w = {.kind = (uint8_t)kind, .line = x->line, .str = (uint32_t)x->k->t->text.n, .len = (uint32_t)s.n};
    sd_buf_put(&x->k->t->text, s.p, s.n);
    return push(x, w, err);
}

static bool starts(const lexer *x, const char *s)
{
    return sd_slice_starts((sd_slice){x->p + x->at, x->n - x->at}, s);
}

static void advance(lexer *x, size_t to)
{
    for (; x->at < to; x->at++)
        if (x->p[x->at] == '\n') x->line++;
}

static void skip_space(lexer *x)
{
    uint32_t cp;
    int len;
    while (x->at < x->n && (len = sd_utf8_decode(x->p + x->at, x->n - x->at, &cp)) > 0 && sd_jinja__is_space(cp))
        advance(x, x->at + (size_t)len);
}

static bool is_digit(char ch)
{
    return ch >= '0' && ch <= '9';
}

static bool is_word(char ch)
{
    return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || is_digit(ch) || ch == '_';
}

/* ---- inside a tag ---- */

static int hex_digit(char ch)
{
    return is_digit(ch)             ? ch - '0'
           : ch >= 'a' && ch <= 'f' ? ch - 'a' + 10
           : ch >= 'A' && ch <= 'F' ? ch - 'A' + 10
                                    : -1;
}

/* After a backslash: Python's escapes, without octal and named ones. Like Python, an unknown escape stays as it is. */
static sd_status take_escape(lexer *x, sd_err *err)
{
    static const char plain[] = "n\nt\tr\r\\\\''\"\"a\ab\bf\fv\v";
    sd_buf *text = &x->k->t->text;
    char ch = x->at < x->n ? x->p[x->at] : '\0';
    for (size_t i = 0; i + 1 < sizeof plain; i += 2) {
        if (plain[i] != ch) continue;
        sd_buf_putc(text, plain[i + 1]);
        x->at++;
        return SD_OK;
    }
    if (ch == '\n') { /* the line goes on */
        advance(x, x->at + 1);
        return SD_OK;
    }
    size_t digits = ch == 'x' ? 2 : ch == 'u' ? 4 : ch == 'U' ? 8 : 0;
    if (digits == 0) {
        if (is_digit(ch) || ch == 'N') return refuse(x, "an escape in a string is not supported", err);
        sd_buf_putc(text, '\\');
        return SD_OK;
    }
    uint32_t cp = 0;
    for (size_t i = 1; i <= digits; i++) {
        int d = x->at + i < x->n ? hex_digit(x->p[x->at + i]) : -1;
        if (d < 0 || cp > 0x10ffff) return refuse(x, "an escape in a string is not supported", err);
        cp = cp * 16 + (uint32_t)d;
    }
    char utf8[4];
    int len = sd_utf8_encode(cp, utf8);
    if (len == 0) return refuse(x, "an escape in a string is not supported", err);
    sd_buf_put(text, utf8, (size_t)len);
    x->at += 1 + digits;
    return SD_OK;
}

static sd_status take_string(lexer *x, sd_err *err)
{
    sd_buf *text = &x->k->t->text;
    jinja_word w = {.kind = JK_STR, .line = x->line, .str = (uint32_t)text->n};
    char quote = x->p[x->at++];
    sd_status st = SD_OK;
    while (!st && x->at < x->n && x->p[x->at] != quote) {
        char ch = x->p[x->at++];
        if (ch == '\n') x->line++;
        if (ch == '\\')
            st = take_escape(x, err);
        else
            sd_buf_putc(text, ch);
    }
    if (!st && x->at == x->n) st = refuse(x, "a string does not end", err);
    if (st) return st;
    x->at++;
    w.len = (uint32_t)(text->n - w.str);
    return push(x, w, err);
}

/* Copies the digits from i on, without the "_" between them; where they end. */
static size_t copy_digits(const lexer *x, size_t i, char *out, size_t *n, size_t max)
{
    for (; i < x->n; i++) {
        bool joins = x->p[i] == '_' && *n && is_digit(out[*n - 1]) && i + 1 < x->n && is_digit(x->p[i + 1]);
        if (joins) continue;
        if (!is_digit(x->p[i]) || *n == max) break;
        out[(*n)++] = x->p[i];
    }
    return i;
}

/* 12, 1_000, 1.5, 2e10. Other bases and numbers past 64 bits are refused. */
static sd_status take_number(lexer *x, sd_err *err)
{
    enum { MAX = 60 };
    char s[MAX + 4];
    size_t n = 0, i = copy_digits(x, x->at, s, &n, MAX);
    bool real = false;
    if (i + 1 < x->n && x->p[i] == '.' && is_digit(x->p[i + 1])) {
        real = true;
        s[n++] = '.';
        i = copy_digits(x, i + 1, s, &n, MAX + 1);
    }
    if (i + 1 < x->n && (x->p[i] == 'e' || x->p[i] == 'E')) {
        size_t sign = x->p[i + 1] == '-' || x->p[i + 1] == '+';
        if (i + 1 + sign < x->n && is_digit(x->p[i + 1 + sign])) {
            real = true;
            s[n++] = 'e';
            if (x->p[i + 1] == '-') s[n++] = '-';
            i = copy_digits(x, i + 1 + sign, s, &n, MAX + 3);
        }
    }
    jinja_word w = {.kind = (uint8_t)(real ? JK_FLOAT : JK_INT), .line = x->line};
    bool ok = real ? sd_parse_f64((sd_slice){s, n}, &w.real) : sd_parse_i64((sd_slice){s, n}, &w.num);
    if (!ok || (i < x->n && is_word(x->p[i]))) return refuse(x, "a number of this kind is not supported", err);
    x->at = i;
    return push(x, w, err);
}

static sd_status take_operator(lexer *x, sd_err *err)
{
    static const char *const ops[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
                                      "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        if (!starts(x, ops[i])) continue;
        jinja_word w = {.kind = JK_OP, .line = x->line};
        memcpy(w.op, ops[i], strlen(ops[i]));
        x->at += strlen(ops[i]);
        return push(x, w, err);
    }
    return refuse(x, "a character here belongs to no expression", err);
}

/* After a closing mark: "-" takes all white space, trim_blocks one line end. */
static void after_tag(lexer *x, bool minus, bool trim_line)
{
    size_t from = x->at;
    if (minus)
        skip_space(x);
    else if (trim_line && x->at < x->n && x->p[x->at] == '\n')
        advance(x, x->at + 1);
    x->line_start = x->at > from && x->p[x->at - 1] == '\n';
}

/* The words up to the end of the tag that was opened, and that end. Inside brackets "}}" closes a dictionary. */
static sd_status take_tag(lexer *x, bool block, sd_err *err)
{
    int open = 0;
    for (;;) {
        skip_space(x);
        if (x->at == x->n) return refuse(x, "a tag does not end", err);
        const char *end = block ? "%}" : "}}";
        bool sign = x->p[x->at] == '-' || (block && x->p[x->at] == '+');
        bool ends = open == 0 &&
                    (starts(x, end) || (sign && sd_slice_starts((sd_slice){x->p + x->at + 1, x->n - x->at - 1}, end)));
        if (ends) {
            bool minus = x->p[x->at] == '-', plus = x->p[x->at] == '+';
            jinja_word w = {.kind = block ? JK_BLOCK_END : JK_VAR_END, .line = x->line};
            x->at += sign ? 3 : 2;
            after_tag(x, minus, block && !plus);
            return push(x, w, err);
        }
        char ch = x->p[x->at];
        sd_status st;
        if (ch == '\'' || ch == '"') {
            st = take_string(x, err);
        } else if (is_digit(ch)) {
            st = take_number(x, err);
        } else if (is_word(ch)) {
            size_t e = x->at;
            while (e < x->n && is_word(x->p[e])) e++;
            st = push_text(x, JK_NAME, (sd_slice){x->p + x->at, e - x->at}, err);
            x->at = e;
        } else {
            open += (ch == '(' || ch == '[' || ch == '{') - (ch == ')' || ch == ']' || ch == '}');
            st = open < 0 ? refuse(x, "a bracket closes that was not open", err) : take_operator(x, err);
        }
        if (st) return st;
    }
}

/* ---- text ---- */

static sd_slice strip_right(sd_slice s)
{
    while (s.n) {
        size_t at = s.n - 1;
        uint32_t cp;
        while (at > 0 && s.n - at < 4 && ((unsigned char)s.p[at] & 0xc0) == 0x80) at--;
        if (sd_utf8_decode(s.p + at, s.n - at, &cp) != (int)(s.n - at) || !sd_jinja__is_space(cp)) break;
        s.n = at;
    }
    return s;
}

/* lstrip_blocks: blanks between the line's start and a tag go. */
static sd_slice strip_line(const lexer *x, sd_slice s)
{
    size_t from = s.n;
    while (from > 0 && s.p[from - 1] != '\n') from--;
    if (from == 0 && !x->line_start) return s;
    sd_slice last = {s.p + from, s.n - from};
    return strip_right(last).n == 0 ? (sd_slice){s.p, from} : s;
}

/* The text before a tag whose opening mark is followed by `mark`. */
static sd_slice before_tag(const lexer *x, sd_slice s, char kind, char mark)
{
    if (kind && mark == '-') return strip_right(s);
    if (kind && kind != '{' && mark != '+') return strip_line(x, s);
    return s;
}

static sd_status skip_comment(lexer *x, sd_err *err)
{
    const char *end = memmem(x->p + x->at, x->n - x->at, "#}", 2);
    if (!end) return refuse(x, "a comment does not end", err);
    bool minus = end > x->p + x->at && end[-1] == '-', plus = end > x->p + x->at && end[-1] == '+';
    advance(x, (size_t)(end - x->p) + 2);
    after_tag(x, minus, !plus);
    return SD_OK;
}

/* At "{%", its mark and blanks: a block that is only the word `word`; its length, 0 when it is something else. */
static size_t bare_block(const lexer *x, size_t at, const char *word, bool *minus, bool *plus)
{
    size_t i = at, n = strlen(word);
    if (i + 2 > x->n || memcmp(x->p + i, "{%", 2) != 0) return 0;
    i += 2;
    if (i < x->n && (x->p[i] == '-' || x->p[i] == '+')) i++;
    while (i < x->n && strchr(" \t\n\r", x->p[i])) i++;
    if (x->n - i < n || memcmp(x->p + i, word, n) != 0) return 0;
    i += n;
    while (i < x->n && strchr(" \t\n\r", x->p[i])) i++;
    *minus = i < x->n && x->p[i] == '-';
    *plus = i < x->n && x->p[i] == '+';
    i += *minus || *plus;
    return x->n - i >= 2 && memcmp(x->p + i, "%}", 2) == 0 ? i + 2 - at : 0;
}

/* {% raw %} text {% endraw %}: *done tells that one stood here. The line end behind {% raw %} stays, and "+%}" ends no such tag (Jinja2, lexer.py). */
static sd_status take_raw(lexer *x, bool *done, sd_err *err)
{
    bool minus, plus;
    size_t len = bare_block(x, x->at, "raw", &minus, &plus);
    *done = len > 0 && !plus;
    if (!*done) return SD_OK;
    advance(x, x->at + len);
    after_tag(x, minus, false);
    for (size_t end = x->at; end < x->n; end++) {
        len = bare_block(x, end, "endraw", &minus, &plus);
        if (!len) continue;
        char mark = x->p[end + 2];
        sd_slice s = before_tag(x, (sd_slice){x->p + x->at, end - x->at}, '%', mark);
        sd_status st = s.n ? push_text(x, JK_TEXT, s, err) : SD_OK;
        advance(x, end + len);
        after_tag(x, minus, !plus);
        return st;
    }
    return refuse(x, "\"endraw\" is expected", err);
}

static bool begins_tag(const lexer *x, size_t i)
{
    return x->p[i] == '{' && i + 1 < x->n && (x->p[i + 1] == '%' || x->p[i + 1] == '{' || x->p[i + 1] == '#');
}

sd_status sd_jinja__lex(jinja_reader *k, sd_slice source, sd_err *err)
{
    lexer x = {.k = k, .p = source.n ? source.p : "", .n = source.n, .line = 1, .line_start = true};
    sd_status st = SD_OK;
    while (!st && x.at < x.n) {
        size_t end = x.at;
        while (end < x.n && !begins_tag(&x, end)) end++;
        char kind = end < x.n ? x.p[end + 1] : '\0', mark = end + 2 < x.n ? x.p[end + 2] : '\0';
        sd_slice s = before_tag(&x, (sd_slice){x.p + x.at, end - x.at}, kind, mark);
        if (s.n) st = push_text(&x, JK_TEXT, s, err);
        advance(&x, end);
        bool raw = false;
        if (!st && kind == '%') st = take_raw(&x, &raw, err);
        if (st || !kind || raw) continue;
        x.at += mark == '-' || mark == '+' ? 3 : 2;
        if (kind == '#') {
            st = skip_comment(&x, err);
            continue;
        }
        st = push(&x, (jinja_word){.kind = kind == '%' ? JK_BLOCK : JK_VAR, .line = x.line}, err);
        if (!st) st = take_tag(&x, kind == '%', err);
    }
    if (!st) st = push(&x, (jinja_word){.kind = JK_EOF, .line = x.line}, err);
    return st ? st : sd_buf_check(&k->t->text, "a chat template", err);
}
