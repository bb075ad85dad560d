/* Reading chat templates: Jinja2's lexer with trim_blocks and lstrip_blocks, and a recursive-descent parser that gives every
 * expression a type. The order of precedence is Jinja2's own (parser.py, 3.1): condition, or, and, not, comparison, +, ~, %,
 * then postfix ([..], .name, filters, tests). */
#include "text/chat_int.h"

typedef enum tag { TAG_NONE, TAG_STATEMENT, TAG_OUTPUT } tag;

typedef struct name { sd_slice text; chat_type type; } name; /* by slot */

typedef struct parser {
    sd_chat *c;
    const char *p;
    size_t n, at;
    int line, depth;
    bool in_for;
    bool line_start;   /* the text that follows begins a line: Jinja strips blanks before a tag there */
    tag open;          /* inside {% or {{ */
    name slot[CHAT_MAX_SLOTS];
    sd_slice loop_var; /* name of the running for's variable */
    int loop_slot;
} parser;

static sd_status refuse(const parser *k, const char *what, sd_err *err)
{
    return sd_fail(err, SD_E_UNSUPPORTED, "line %d: %s", k->line, what);
}

static sd_status refuse_name(const parser *k, const char *what, sd_slice text, sd_err *err)
{
    return sd_fail(err, SD_E_UNSUPPORTED, "line %d: %s \"%.*s\" is not supported", k->line, what,
                   (int)(text.n > 40 ? 40 : text.n), text.p ? text.p : "");
}

/* ---- nodes ---- */

static sd_status add(parser *k, chat_op op, chat_type type, int32_t *out, sd_err *err)
{
    sd_chat *c = k->c;
    if (c->n_node == CHAT_MAX_NODES) return refuse(k, "the template is too long", err);
    if (c->n_node == c->cap_node) {
        int32_t cap = c->cap_node ? 2 * c->cap_node : 64;
        chat_node *v = sd_realloc(c->node, (size_t)cap * sizeof *v);
        if (!v) return sd_fail(err, SD_E_NOMEM, "out of memory: a chat template");
        c->node = v;
        c->cap_node = cap;
    }
    c->node[c->n_node] = (chat_node){.op = (uint8_t)op, .type = (uint8_t)type, .a = -1, .b = -1, .c = -1, .next = -1, .line = k->line};
    *out = c->n_node++;
    return SD_OK;
}

static chat_type type_of(const parser *k, int32_t node) { return (chat_type)k->c->node[node].type; }

/* A node over up to three others. */
static sd_status add_over(parser *k, chat_op op, chat_type type, int32_t a, int32_t b, int32_t *out, sd_err *err)
{
    sd_status st = add(k, op, type, out, err);
    if (st) return st;
    k->c->node[*out].a = a;
    k->c->node[*out].b = b;
    return SD_OK;
}

static sd_status add_num(parser *k, chat_op op, chat_type type, int64_t num, int32_t *out, sd_err *err)
{
    sd_status st = add(k, op, type, out, err);
    if (!st) k->c->node[*out].num = num;
    return st;
}

/* ---- inside a tag: characters and words ---- */

static bool is_word(char ch)
{
    return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') || ch == '_';
}

static void skip_space(parser *k)
{
    uint32_t cp;
    int len;
    while (k->at < k->n && (len = sd_utf8_decode(k->p + k->at, k->n - k->at, &cp)) > 0 && sd_chat__is_space(cp)) {
        if (cp == '\n') k->line++;
        k->at += (size_t)len;
    }
}

static bool starts(const parser *k, const char *s)
{
    return sd_slice_starts((sd_slice){k->p + k->at, k->n - k->at}, s);
}

/* The end of the open tag comes before any operator: "a -%}" ends, and does not subtract. */
static bool at_end(parser *k)
{
    skip_space(k);
    if (k->open == TAG_STATEMENT) return starts(k, "-%}") || starts(k, "+%}") || starts(k, "%}");
    return starts(k, "-}}") || starts(k, "}}");
}

/* Takes an operator or bracket. */
static bool take(parser *k, const char *op)
{
    if (at_end(k) || !starts(k, op)) return false;
    k->at += strlen(op);
    return true;
}

static sd_slice peek_word(parser *k)
{
    if (at_end(k)) return (sd_slice){"", 0};
    size_t end = k->at;
    while (end < k->n && is_word(k->p[end])) end++;
    return (sd_slice){k->p + k->at, end - k->at};
}

static bool take_word(parser *k, const char *word)
{
    sd_slice w = peek_word(k);
    if (!sd_slice_eq_str(w, word)) return false;
    k->at += w.n;
    return true;
}

static sd_status take_name(parser *k, sd_slice *out, sd_err *err)
{
    *out = peek_word(k);
    if (out->n == 0 || (out->p[0] >= '0' && out->p[0] <= '9')) return refuse(k, "a name is expected", err);
    k->at += out->n;
    return SD_OK;
}

static sd_status expect(parser *k, const char *op, sd_err *err)
{
    if (take(k, op)) return SD_OK;
    return sd_fail(err, SD_E_UNSUPPORTED, "line %d: \"%s\" is expected", k->line, op);
}

static bool take_integer(parser *k, int64_t *out)
{
    if (at_end(k)) return false;
    size_t end = k->at;
    if (end < k->n && k->p[end] == '-') end++;
    while (end < k->n && is_word(k->p[end])) end++;
    if (!sd_parse_i64((sd_slice){k->p + k->at, end - k->at}, out) || *out > INT32_MAX || *out < INT32_MIN) return false;
    k->at = end;
    return true;
}

static int hex_digit(char ch)
{
    return ch >= '0' && ch <= '9' ? ch - '0' : ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : ch >= 'A' && ch <= 'F' ? ch - 'A' + 10 : -1;
}

/* After a backslash: Python's escapes, without octal and named ones. */
static sd_status take_escape(parser *k, sd_err *err)
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
    if (digits == 0 || k->n - k->at <= digits) return refuse(k, "an escape in a string is not supported", err);
    uint32_t cp = 0;
    for (size_t i = 1; i <= digits; i++) {
        int d = hex_digit(k->p[k->at + i]);
        if (d < 0) return refuse(k, "an escape in a string is not supported", err);
        cp = cp * 16 + (uint32_t)d;
    }
    char utf8[4];
    int len = sd_utf8_encode(cp, utf8);
    if (len == 0) return refuse(k, "an escape in a string is not supported", err);
    sd_buf_put(&k->c->text, utf8, (size_t)len);
    k->at += 1 + digits;
    return SD_OK;
}

static sd_status parse_string(parser *k, int32_t *out, sd_err *err)
{
    char quote = k->p[k->at++];
    size_t from = k->c->text.n;
    sd_status st = SD_OK;
    while (!st && k->at < k->n && k->p[k->at] != quote) {
        char ch = k->p[k->at++];
        if (ch == '\n') k->line++;
        if (ch == '\\') st = take_escape(k, err);
        else sd_buf_putc(&k->c->text, ch);
    }
    if (!st && k->at == k->n) st = refuse(k, "a string does not end", err);
    if (!st) st = add(k, OP_STR, CT_STR, out, err);
    if (st) return st;
    k->at++;
    k->c->node[*out].str = (uint32_t)from;
    k->c->node[*out].len = (uint32_t)(k->c->text.n - from);
    return SD_OK;
}

/* ---- expressions ---- */

static sd_status parse_expr(parser *k, int32_t *out, sd_err *err);
static sd_status parse_unary(parser *k, int32_t *out, sd_err *err);

static int find_slot(const parser *k, sd_slice text)
{
    if (k->in_for && sd_slice_eq(text, k->loop_var)) return k->loop_slot;
    for (int i = 0; i < k->c->n_slot; i++)
        if (sd_slice_eq(k->slot[i].text, text)) return i;
    return -1;
}

/* Names that transformers or Jinja2 define and that are not rendered here; any other unknown name is undefined there too. */
static bool is_foreign(sd_slice w)
{
    static const char *const names[] = {"strftime_now", "range", "dict", "lipsum", "cycler", "joiner", "namespace", "unk_token",
                                        "pad_token", "sep_token", "cls_token", "mask_token", "additional_special_tokens", "self",
                                        "super", "caller", "varargs", "kwargs", "raise_exception", "loop"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (sd_slice_eq_str(w, names[i])) return true;
    return false;
}

static sd_status parse_loop(parser *k, int32_t *out, sd_err *err)
{
    static const char *const names[LOOP_COUNT] = {"first", "last", "index", "index0", "length"};
    sd_slice w = {NULL, 0};
    sd_status st = SD_OK;
    if (!k->in_for) return refuse(k, "\"loop\" outside a loop", err);
    st = expect(k, ".", err);
    if (!st) st = take_name(k, &w, err);
    if (st) return st;
    for (int i = 0; i < LOOP_COUNT; i++)
        if (sd_slice_eq_str(w, names[i])) return add_num(k, OP_LOOP, i <= LOOP_LAST ? CT_BOOL : CT_INT, i, out, err);
    return refuse_name(k, "the loop's", w, err);
}

static sd_status parse_raise(parser *k, int32_t *out, sd_err *err)
{
    int32_t text;
    sd_status st = expect(k, "(", err);
    if (!st) st = parse_expr(k, &text, err);
    if (!st) st = expect(k, ")", err);
    if (!st && type_of(k, text) != CT_STR) st = refuse(k, "raise_exception takes one string", err);
    return st ? st : add_over(k, OP_RAISE, CT_NONE, text, -1, out, err);
}

static sd_status parse_word(parser *k, int32_t *out, sd_err *err)
{
    sd_slice w;
    sd_status st = take_name(k, &w, err);
    if (st) return st;
    if (sd_slice_eq_str(w, "true") || sd_slice_eq_str(w, "True")) return add_num(k, OP_BOOL, CT_BOOL, 1, out, err);
    if (sd_slice_eq_str(w, "false") || sd_slice_eq_str(w, "False")) return add_num(k, OP_BOOL, CT_BOOL, 0, out, err);
    if (sd_slice_eq_str(w, "none") || sd_slice_eq_str(w, "None")) return add(k, OP_NONE, CT_NONE, out, err);
    int slot = find_slot(k, w);
    if (slot >= 0) return add_num(k, OP_VAR, k->slot[slot].type, slot, out, err);
    if (sd_slice_eq_str(w, "loop")) return parse_loop(k, out, err);
    if (sd_slice_eq_str(w, "raise_exception")) return parse_raise(k, out, err);
    if (is_foreign(w)) return refuse_name(k, "the name", w, err);
    return add(k, OP_UNDEF, CT_UNDEF, out, err);
}

static sd_status parse_primary(parser *k, int32_t *out, sd_err *err)
{
    int64_t v;
    if (at_end(k)) return refuse(k, "an expression is expected", err);
    char ch = k->p[k->at];
    if (ch == '\'' || ch == '"') return parse_string(k, out, err);
    if (take(k, "(")) {
        sd_status st = parse_expr(k, out, err);
        return st ? st : expect(k, ")", err);
    }
    if (ch >= '0' && ch <= '9') {
        if (!take_integer(k, &v)) return refuse(k, "a number that is no plain integer", err);
        return add_num(k, OP_INT, CT_INT, v, out, err);
    }
    if (!is_word(ch)) return refuse(k, "an expression of this kind is not supported", err);
    return parse_word(k, out, err);
}

/* value.key and value['key'] */
static sd_status field(parser *k, int32_t of, sd_slice key, int32_t *out, sd_err *err)
{
    if (type_of(k, of) != CT_MSG) return refuse_name(k, "the attribute", key, err);
    bool content = sd_slice_eq_str(key, "content");
    /* Messages here carry nothing else, so anything else is undefined; dictionaries' own methods are not. */
    static const char *const methods[] = {"get", "items", "keys", "values", "copy", "pop", "update", "clear", "setdefault"};
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        if (sd_slice_eq_str(key, methods[i])) return refuse_name(k, "the method", key, err);
    if (!content && !sd_slice_eq_str(key, "role")) return add(k, OP_UNDEF, CT_UNDEF, out, err);
    sd_status st = add_over(k, OP_FIELD, CT_STR, of, -1, out, err);
    if (!st) k->c->node[*out].num = content;
    return st;
}

static sd_status parse_subscript(parser *k, int32_t of, int32_t *out, sd_err *err)
{
    int64_t from = 0;
    int32_t key;
    sd_status st = SD_OK;
    bool list = type_of(k, of) == CT_MSGS;
    if (list) {
        bool number = take_integer(k, &from);
        if (take(k, ":")) {
            if (!number) from = 0;
            st = add_over(k, OP_SLICE, CT_MSGS, of, -1, out, err);
        } else {
            if (!number) return refuse(k, "messages are taken by a plain number only", err);
            st = add_over(k, OP_AT, CT_MSG, of, -1, out, err);
        }
        if (!st) k->c->node[*out].num = from;
    } else {
        st = parse_expr(k, &key, err);
        if (!st && k->c->node[key].op != OP_STR) st = refuse(k, "a subscript that is no plain string", err);
        if (!st) st = field(k, of, (sd_slice){k->c->text.p + k->c->node[key].str, k->c->node[key].len}, out, err);
    }
    return st ? st : expect(k, "]", err);
}

static sd_status trimmed(parser *k, int32_t of, int sides, bool filter, int32_t *out, sd_err *err)
{
    if (type_of(k, of) != CT_STR) return refuse(k, "trimming something that is not known to be a string", err);
    sd_status st = add_over(k, OP_TRIM, CT_STR, of, -1, out, err);
    if (st) return st;
    k->c->node[*out].num = sides;
    k->c->node[*out].c = filter ? 0 : -1;
    return SD_OK;
}

static sd_status parse_dot(parser *k, int32_t of, int32_t *out, sd_err *err)
{
    sd_slice w;
    sd_status st = take_name(k, &w, err);
    if (st) return st;
    if (type_of(k, of) != CT_STR) return field(k, of, w, out, err);
    int sides = sd_slice_eq_str(w, "strip") ? 3 : sd_slice_eq_str(w, "lstrip") ? 1 : sd_slice_eq_str(w, "rstrip") ? 2 : 0;
    if (!sides) return refuse_name(k, "the method", w, err);
    st = expect(k, "(", err);
    if (!st) st = expect(k, ")", err);
    return st ? st : trimmed(k, of, sides, false, out, err);
}

static sd_status parse_filter(parser *k, int32_t of, int32_t *out, sd_err *err)
{
    sd_slice w;
    sd_status st = take_name(k, &w, err);
    if (st) return st;
    if (sd_slice_eq_str(w, "trim")) {
        if (take(k, "(") && !take(k, ")")) return refuse(k, "trim with an argument", err);
        return trimmed(k, of, 3, true, out, err);
    }
    if ((sd_slice_eq_str(w, "length") || sd_slice_eq_str(w, "count")) && type_of(k, of) == CT_MSGS)
        return add_over(k, OP_LENGTH, CT_INT, of, -1, out, err);
    return refuse_name(k, "the filter", w, err);
}

static sd_status parse_test(parser *k, int32_t of, int32_t *out, sd_err *err)
{
    bool negate = take_word(k, "not");
    chat_type t = type_of(k, of);
    sd_slice w;
    sd_status st = take_name(k, &w, err);
    if (st) return st;
    if (sd_slice_eq_str(w, "defined")) {
        st = add_over(k, OP_DEFINED, CT_BOOL, of, -1, out, err);
    } else if (sd_slice_eq_str(w, "undefined")) {
        st = add_over(k, OP_DEFINED, CT_BOOL, of, -1, out, err);
        negate = !negate;
    } else if ((sd_slice_eq_str(w, "none") || sd_slice_eq_str(w, "None")) && t != CT_MIXED) {
        st = add_num(k, OP_BOOL, CT_BOOL, t == CT_NONE, out, err);
    } else if (sd_slice_eq_str(w, "string") && k->c->node[of].op == OP_FIELD) {
        st = add_num(k, OP_BOOL, CT_BOOL, 1, out, err);
    } else {
        return refuse_name(k, "the test", w, err);
    }
    if (st || !negate) return st;
    return add_over(k, OP_NOT, CT_BOOL, *out, -1, out, err);
}

static sd_status parse_unary(parser *k, int32_t *out, sd_err *err)
{
    int32_t of;
    sd_status st = parse_primary(k, &of, err);
    bool filtered = false; /* after the first filter or test Jinja takes no more subscripts */
    while (!st) {
        if (!filtered && take(k, "[")) st = parse_subscript(k, of, &of, err);
        else if (!filtered && take(k, ".")) st = parse_dot(k, of, &of, err);
        else if (take(k, "|")) st = parse_filter(k, of, &of, err), filtered = true;
        else if (take_word(k, "is")) st = parse_test(k, of, &of, err), filtered = true;
        else break;
    }
    *out = of;
    return st;
}

static bool printable(chat_type t) { return t <= CT_UNDEF; }

static sd_status parse_mod(parser *k, int32_t *out, sd_err *err)
{
    int32_t b;
    sd_status st = parse_unary(k, out, err);
    while (!st && take(k, "%")) {
        st = parse_unary(k, &b, err);
        if (!st && (type_of(k, *out) != CT_INT || type_of(k, b) != CT_INT)) st = refuse(k, "% of something that is no integer", err);
        if (!st) st = add_over(k, OP_MOD, CT_INT, *out, b, out, err);
    }
    return st;
}

static sd_status parse_cat(parser *k, int32_t *out, sd_err *err)
{
    int32_t b;
    sd_status st = parse_mod(k, out, err);
    while (!st && take(k, "~")) {
        st = parse_mod(k, &b, err);
        if (!st && (!printable(type_of(k, *out)) || !printable(type_of(k, b)))) st = refuse(k, "~ of something that is no text", err);
        if (!st) st = add_over(k, OP_CAT, CT_STR, *out, b, out, err);
    }
    return st;
}

static sd_status parse_add(parser *k, int32_t *out, sd_err *err)
{
    int32_t b;
    sd_status st = parse_cat(k, out, err);
    while (!st && take(k, "+")) {
        st = parse_cat(k, &b, err);
        if (st) return st;
        chat_type t = type_of(k, *out);
        if (t != type_of(k, b) || (t != CT_STR && t != CT_INT)) return refuse(k, "+ of values that are not both strings or both integers", err);
        st = add_over(k, OP_ADD, t, *out, b, out, err);
    }
    return st;
}

static sd_status parse_compare(parser *k, int32_t *out, sd_err *err)
{
    static const struct { const char *text; chat_op op; bool swap; } ops[] = {
        {"==", OP_EQ, false}, {"!=", OP_NE, false}, {"<=", OP_LE, false}, {">=", OP_LE, true}, {"<", OP_LT, false}, {">", OP_LT, true}};
    int32_t b;
    int chain = 0;
    sd_status st = parse_add(k, out, err);
    for (size_t i = 0; !st && i < sizeof ops / sizeof ops[0]; i++) {
        if (!take(k, ops[i].text)) continue;
        if (chain++) return refuse(k, "a chain of comparisons", err);
        st = parse_add(k, &b, err);
        if (st) return st;
        chat_type x = type_of(k, *out), y = type_of(k, b);
        bool order = ops[i].op == OP_LT || ops[i].op == OP_LE;
        bool one_kind = x == y || !((x == CT_BOOL && y == CT_INT) || (x == CT_INT && y == CT_BOOL)); /* 1 == True in Python */
        if (!printable(x) || !printable(y) || !one_kind || (order && (x != CT_INT || y != CT_INT)))
            return refuse(k, "a comparison of values of these kinds", err);
        st = add_over(k, ops[i].op, CT_BOOL, ops[i].swap ? b : *out, ops[i].swap ? *out : b, out, err);
        i = (size_t)-1; /* look for another comparison, to refuse it */
    }
    return st;
}

static sd_status deeper(parser *k, sd_err *err)
{
    return ++k->depth > CHAT_MAX_DEPTH ? refuse(k, "nested too deeply", err) : SD_OK;
}

static sd_status parse_not(parser *k, int32_t *out, sd_err *err)
{
    int n = 0;
    while (take_word(k, "not")) n++;
    sd_status st = parse_compare(k, out, err);
    sd_slice w = peek_word(k);
    if (!st && (sd_slice_eq_str(w, "in") || sd_slice_eq_str(w, "not"))) return refuse_name(k, "the operator", w, err);
    if (n > 2) n -= (n - 1) / 2 * 2; /* not not not x = not x */
    while (n-- > 0 && !st) st = add_over(k, OP_NOT, CT_BOOL, *out, -1, out, err);
    return st;
}

static sd_status parse_logic(parser *k, bool is_or, int32_t *out, sd_err *err)
{
    int32_t b;
    sd_status st = is_or ? parse_logic(k, false, out, err) : parse_not(k, out, err);
    while (!st && take_word(k, is_or ? "or" : "and")) {
        st = is_or ? parse_logic(k, false, &b, err) : parse_not(k, &b, err);
        if (st) break;
        chat_type t = type_of(k, *out) == type_of(k, b) ? type_of(k, b) : CT_MIXED;
        st = add_over(k, is_or ? OP_OR : OP_AND, t, *out, b, out, err);
    }
    return st;
}

static sd_status parse_expr(parser *k, int32_t *out, sd_err *err)
{
    int32_t cond, other;
    sd_status st = deeper(k, err);
    if (!st) st = parse_logic(k, true, out, err);
    if (!st && take_word(k, "if")) {
        st = parse_logic(k, true, &cond, err);
        if (!st && !take_word(k, "else")) st = refuse(k, "an \"if\" without \"else\" in an expression", err);
        if (!st) st = parse_expr(k, &other, err);
        if (st) return st;
        int32_t yes = *out;
        chat_type t = type_of(k, yes) == type_of(k, other) ? type_of(k, yes) : CT_MIXED;
        st = add_over(k, OP_COND, t, cond, yes, out, err);
        if (!st) k->c->node[*out].c = other;
    }
    k->depth--;
    return st;
}

/* ---- text and tags ---- */

static sd_status add_text(parser *k, sd_slice s, sd_err *err)
{
    int32_t node;
    if (s.n == 0) return SD_OK;
    sd_status st = add(k, OP_TEXT, CT_STR, &node, err);
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
static sd_slice strip_line(const parser *k, sd_slice s)
{
    size_t from = s.n;
    while (from > 0 && s.p[from - 1] != '\n') from--;
    if (from == 0 && !k->line_start) return s;
    sd_slice last = {s.p + from, s.n - from};
    return strip_right(last).n == 0 ? (sd_slice){s.p, from} : s;
}

/* After the closing mark: "-" takes all white space, trim_blocks one line end. */
static void after_tag(parser *k, bool minus, bool trim_line)
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

static sd_status close_tag(parser *k, sd_err *err)
{
    bool statement = k->open == TAG_STATEMENT;
    if (!at_end(k)) return refuse(k, "something in this tag is not supported", err);
    bool minus = starts(k, "-"), plus = starts(k, "+");
    k->at += minus || plus ? 3 : 2;
    k->open = TAG_NONE;
    after_tag(k, minus, statement && !plus);
    return SD_OK;
}

static sd_status skip_comment(parser *k, sd_err *err)
{
    const char *end = memmem(k->p + k->at, k->n - k->at, "#}", 2);
    if (!end) return refuse(k, "a comment does not end", err);
    bool minus = end > k->p + k->at && end[-1] == '-', plus = end > k->p + k->at && end[-1] == '+';
    for (; k->p + k->at < end; k->at++)
        if (k->p[k->at] == '\n') k->line++;
    k->at += 2;
    after_tag(k, minus, !plus);
    return SD_OK;
}

static bool begins_tag(const parser *k, size_t i)
{
    return k->p[i] == '{' && i + 1 < k->n && (k->p[i + 1] == '%' || k->p[i + 1] == '{' || k->p[i + 1] == '#');
}

/* Adds the text up to the next tag and opens that; comments are text of no length. *more is false at the template's end. */
static sd_status next_tag(parser *k, bool *more, sd_err *err)
{
    for (;;) {
        size_t end = k->at;
        while (end < k->n && !begins_tag(k, end)) end++;
        sd_slice text = {k->p + k->at, end - k->at};
        char kind = end < k->n ? k->p[end + 1] : '\0';
        char mark = end + 2 < k->n ? k->p[end + 2] : '\0';
        for (; k->at < end; k->at++)
            if (k->p[k->at] == '\n') k->line++;
        if (kind && mark == '-') text = strip_right(text);
        else if (kind && kind != '{' && mark != '+') text = strip_line(k, text);
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

static sd_status parse_block(parser *k, int32_t *first, sd_slice *stop, sd_err *err);

/* A list of statements: node indices, because the array moves when it grows. */
typedef struct chain { int32_t first, last; } chain;

static void append(parser *k, chain *c, int32_t node)
{
    if (c->last < 0) c->first = node;
    else k->c->node[c->last].next = node;
    c->last = node;
}

static sd_status parse_if(parser *k, int32_t *out, sd_err *err)
{
    int32_t cond, then, other = -1;
    sd_slice stop = {NULL, 0};
    sd_status st = parse_expr(k, &cond, err);
    if (!st) st = close_tag(k, err);
    if (!st) st = add_over(k, OP_IF, CT_NONE, cond, -1, out, err);
    int32_t node = st ? -1 : *out;
    if (!st) st = parse_block(k, &then, &stop, err);
    if (st) return st;
    k->c->node[node].b = then;
    if (sd_slice_eq_str(stop, "elif")) {
        st = deeper(k, err);
        if (!st) st = parse_if(k, &other, err);
        k->depth--;
        k->c->node[node].c = other;
        *out = node;
        return st;
    }
    if (sd_slice_eq_str(stop, "else")) {
        st = close_tag(k, err);
        if (!st) st = parse_block(k, &other, &stop, err);
        if (!st) k->c->node[node].c = other;
    }
    if (!st && !sd_slice_eq_str(stop, "endif")) st = refuse(k, "\"endif\" is expected", err);
    *out = node;
    return st ? st : close_tag(k, err);
}

static int new_slot(parser *k, sd_slice text, chat_type type)
{
    if (k->c->n_slot == CHAT_MAX_SLOTS) return -1;
    k->slot[k->c->n_slot] = (name){text, type};
    return k->c->n_slot++;
}

static sd_status parse_for(parser *k, int32_t *out, sd_err *err)
{
    int32_t list, body;
    sd_slice var, stop = {NULL, 0};
    if (k->in_for) return refuse(k, "a loop inside a loop", err);
    sd_status st = take_name(k, &var, err);
    if (!st && !take_word(k, "in")) st = refuse(k, "\"in\" is expected", err);
    if (!st) st = parse_logic(k, true, &list, err);
    if (!st && type_of(k, list) != CT_MSGS) st = refuse(k, "a loop over something else than messages", err);
    if (!st) st = close_tag(k, err);
    if (!st) st = add_over(k, OP_FOR, CT_NONE, list, -1, out, err);
    if (st) return st;
    int32_t node = *out;
    k->loop_slot = new_slot(k, (sd_slice){NULL, 0}, CT_MSG);
    if (k->loop_slot < 0) return refuse(k, "too many names", err);
    k->loop_var = var;
    k->in_for = true;
    st = parse_block(k, &body, &stop, err);
    k->in_for = false;
    if (!st && !sd_slice_eq_str(stop, "endfor")) st = refuse(k, "\"endfor\" is expected", err);
    if (st) return st;
    k->c->node[node].b = body;
    k->c->node[node].num = k->loop_slot;
    *out = node;
    return close_tag(k, err);
}

static sd_status parse_set(parser *k, int32_t *out, sd_err *err)
{
    sd_slice w;
    int32_t v;
    if (k->in_for) return refuse(k, "\"set\" inside a loop", err);
    sd_status st = take_name(k, &w, err);
    if (!st) st = expect(k, "=", err);
    if (!st) st = parse_expr(k, &v, err);
    if (st) return st;
    if (sd_slice_eq_str(w, "loop") || is_foreign(w)) return refuse_name(k, "setting the name", w, err);
    chat_type t = type_of(k, v);
    int slot = find_slot(k, w);
    if (t == CT_MIXED || (slot >= 0 && k->slot[slot].type != t)) return refuse_name(k, "a type that changes, of", w, err);
    if (slot < 0) slot = new_slot(k, w, t);
    if (slot < 0) return refuse(k, "too many names", err);
    st = add_over(k, OP_SET, CT_NONE, v, -1, out, err);
    if (!st) k->c->node[*out].num = slot;
    return st ? st : close_tag(k, err);
}

static sd_status parse_output(parser *k, int32_t *out, sd_err *err)
{
    int32_t v;
    sd_status st = parse_expr(k, &v, err);
    if (!st && !printable(type_of(k, v))) st = refuse(k, "the output of something that is no text", err);
    if (!st) st = add_over(k, OP_OUT, CT_NONE, v, -1, out, err);
    return st ? st : close_tag(k, err);
}

/* Statements up to a word that ends a block, which goes to *stop with its tag still open; an empty word at the end. */
static sd_status parse_block(parser *k, int32_t *first, sd_slice *stop, sd_err *err)
{
    static const char *const ends[] = {"elif", "else", "endif", "endfor"};
    chain list = {-1, -1};
    sd_status st = deeper(k, err);
    for (bool more = true; !st;) {
        int32_t node = k->c->n_node;
        st = next_tag(k, &more, err);
        for (; node < k->c->n_node && !st; node++) append(k, &list, node);
        if (st || !more) break;
        if (k->open == TAG_OUTPUT) {
            st = parse_output(k, &node, err);
        } else {
            sd_slice w = {NULL, 0};
            bool end = false;
            st = take_name(k, &w, err);
            if (st) break;
            for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) end |= sd_slice_eq_str(w, ends[i]);
            *stop = w;
            if (end) break;
            if (sd_slice_eq_str(w, "if")) st = parse_if(k, &node, err);
            else if (sd_slice_eq_str(w, "for")) st = parse_for(k, &node, err);
            else if (sd_slice_eq_str(w, "set")) st = parse_set(k, &node, err);
            else st = refuse_name(k, "the statement", w, err);
        }
        *stop = (sd_slice){"", 0};
        if (!st) append(k, &list, node);
    }
    k->depth--;
    *first = list.first;
    return st;
}

/* Jinja2 reads every line end as \n and drops the one at the end of the file. */
static void normalise(sd_buf *out, sd_slice in)
{
    for (size_t i = 0; i < in.n; i++) {
        char ch = in.p[i];
        if (ch == '\r') {
            ch = '\n';
            if (i + 1 < in.n && in.p[i + 1] == '\n') i++;
        }
        sd_buf_putc(out, ch);
    }
    if (out->n && out->p[out->n - 1] == '\n') out->n--;
}

static void add_given(parser *k)
{
    static const struct { const char *text; chat_type type; } given[SLOT_FIRST_FREE] = {
        [SLOT_MESSAGES] = {"messages", CT_MSGS}, [SLOT_GENERATE] = {"add_generation_prompt", CT_BOOL},
        [SLOT_BOS] = {"bos_token", CT_STR},      [SLOT_EOS] = {"eos_token", CT_STR},
        [SLOT_TOOLS] = {"tools", CT_NONE},       [SLOT_DOCUMENTS] = {"documents", CT_NONE}};
    for (int i = 0; i < SLOT_FIRST_FREE; i++) new_slot(k, sd_slice_of(given[i].text), given[i].type);
}

sd_status sd_chat__parse(sd_chat *c, sd_slice source, sd_err *err)
{
    sd_buf text;
    sd_slice stop = {"", 0};
    sd_buf_init(&text, CHAT_MAX_BYTES);
    sd_buf_putc(&c->text, '\n'); /* literals of no length point somewhere */
    sd_status st = SD_OK;
    size_t valid = sd_utf8_valid_prefix(source);
    if (source.n > CHAT_MAX_BYTES)
        st = sd_fail(err, SD_E_UNSUPPORTED, "%zu bytes, at most %u are supported", source.n, CHAT_MAX_BYTES);
    else if (valid < source.n)
        st = sd_fail(err, SD_E_FORMAT, "byte %zu is not UTF-8", valid);
    if (st) goto done;
    normalise(&text, source);
    st = sd_buf_check(&text, "a chat template", err);
    if (st) goto done;
    parser k = {.c = c, .p = text.n ? text.p : "", .n = text.n, .line = 1, .line_start = true};
    add_given(&k);
    st = parse_block(&k, &c->program, &stop, err);
    if (!st && stop.n) st = refuse_name(&k, "the statement", stop, err);
    if (!st) st = sd_buf_check(&c->text, "a chat template", err);
done:
    if (st) sd_err_wrap(err, "chat template");
    sd_buf_release(&text);
    return st;
}
