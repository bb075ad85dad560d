/* Expressions of chat templates: a recursive-descent parser that gives every expression a type. The order of precedence
 * is Jinja2's own (parser.py, 3.1): condition, or, and, not, comparison, +, ~, %, then postfix ([..], .name, filters,
 * tests). */
#include "text/chat_read.h"

static sd_status parse_unary(sd_chat_reader *k, int32_t *out, sd_err *err);

int sd_chat__find_slot(const sd_chat_reader *k, sd_slice text)
{
    if (k->in_for && sd_slice_eq(text, k->loop_var)) return k->loop_slot;
    for (int i = 0; i < k->c->n_slot; i++)
        if (sd_slice_eq(k->slot[i].text, text)) return i;
    return -1;
}

/* Names that transformers or Jinja2 define and that are not rendered here; any other unknown name is undefined there
 * too. */
bool sd_chat__is_foreign(sd_slice w)
{
    static const char *const names[] = {"strftime_now",
                                        "range",
                                        "dict",
                                        "lipsum",
                                        "cycler",
                                        "joiner",
                                        "namespace",
                                        "unk_token",
                                        "pad_token",
                                        "sep_token",
                                        "cls_token",
                                        "mask_token",
                                        "additional_special_tokens",
                                        "self",
                                        "super",
                                        "caller",
                                        "varargs",
                                        "kwargs",
                                        "raise_exception",
                                        "loop"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (sd_slice_eq_str(w, names[i])) return true;
    return false;
}

static sd_status parse_loop(sd_chat_reader *k, int32_t *out, sd_err *err)
{
    static const char *const names[LOOP_COUNT] = {"first", "last", "index", "index0", "length"};
    sd_slice w = {NULL, 0};
    sd_status st = SD_OK;
    if (!k->in_for) return sd_chat__refuse(k, "\"loop\" outside a loop", err);
    st = sd_chat__expect(k, ".", err);
    if (!st) st = sd_chat__take_name(k, &w, err);
    if (st) return st;
    for (int i = 0; i < LOOP_COUNT; i++)
        if (sd_slice_eq_str(w, names[i]))
            return sd_chat__add_num(k, OP_LOOP, i <= LOOP_LAST ? CT_BOOL : CT_INT, i, out, err);
    return sd_chat__refuse_name(k, "the loop's", w, err);
}

static sd_status parse_raise(sd_chat_reader *k, int32_t *out, sd_err *err)
{
    int32_t text;
    sd_status st = sd_chat__expect(k, "(", err);
    if (!st) st = sd_chat__expr(k, &text, err);
    if (!st) st = sd_chat__expect(k, ")", err);
    if (!st && sd_chat__type_of(k, text) != CT_STR) st = sd_chat__refuse(k, "raise_exception takes one string", err);
    return st ? st : sd_chat__add_over(k, OP_RAISE, CT_NONE, text, -1, out, err);
}

static sd_status parse_word(sd_chat_reader *k, int32_t *out, sd_err *err)
{
    sd_slice w;
    sd_status st = sd_chat__take_name(k, &w, err);
    if (st) return st;
    if (sd_slice_eq_str(w, "true") || sd_slice_eq_str(w, "True"))
        return sd_chat__add_num(k, OP_BOOL, CT_BOOL, 1, out, err);
    if (sd_slice_eq_str(w, "false") || sd_slice_eq_str(w, "False"))
        return sd_chat__add_num(k, OP_BOOL, CT_BOOL, 0, out, err);
    if (sd_slice_eq_str(w, "none") || sd_slice_eq_str(w, "None")) return sd_chat__add(k, OP_NONE, CT_NONE, out, err);
    int slot = sd_chat__find_slot(k, w);
    if (slot >= 0) return sd_chat__add_num(k, OP_VAR, k->slot[slot].type, slot, out, err);
    if (sd_slice_eq_str(w, "loop")) return parse_loop(k, out, err);
    if (sd_slice_eq_str(w, "raise_exception")) return parse_raise(k, out, err);
    if (sd_chat__is_foreign(w)) return sd_chat__refuse_name(k, "the name", w, err);
    return sd_chat__add(k, OP_UNDEF, CT_UNDEF, out, err);
}

static sd_status parse_primary(sd_chat_reader *k, int32_t *out, sd_err *err)
{
    int64_t v;
    if (sd_chat__at_end(k)) return sd_chat__refuse(k, "an expression is expected", err);
    char ch = k->p[k->at];
    if (ch == '\'' || ch == '"') return sd_chat__string(k, out, err);
    if (sd_chat__take(k, "(")) {
        sd_status st = sd_chat__expr(k, out, err);
        return st ? st : sd_chat__expect(k, ")", err);
    }
    if (ch >= '0' && ch <= '9') {
        if (!sd_chat__take_integer(k, &v)) return sd_chat__refuse(k, "a number that is no plain integer", err);
        return sd_chat__add_num(k, OP_INT, CT_INT, v, out, err);
    }
    if (sd_chat__peek_word(k).n == 0) return sd_chat__refuse(k, "an expression of this kind is not supported", err);
    return parse_word(k, out, err);
}

/* value.key and value['key'] */
static sd_status field(sd_chat_reader *k, int32_t of, sd_slice key, int32_t *out, sd_err *err)
{
    if (sd_chat__type_of(k, of) != CT_MSG) return sd_chat__refuse_name(k, "the attribute", key, err);
    bool content = sd_slice_eq_str(key, "content");
    /* Messages here carry nothing else, so anything else is undefined; dictionaries' own methods are not. */
    static const char *const methods[] = {"get", "items",  "keys",  "values",    "copy",
                                          "pop", "update", "clear", "setdefault"};
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        if (sd_slice_eq_str(key, methods[i])) return sd_chat__refuse_name(k, "the method", key, err);
    if (!content && !sd_slice_eq_str(key, "role")) return sd_chat__add(k, OP_UNDEF, CT_UNDEF, out, err);
    sd_status st = sd_chat__add_over(k, OP_FIELD, CT_STR, of, -1, out, err);
    if (!st) k->c->node[*out].num = content;
    return st;
}

static sd_status parse_subscript(sd_chat_reader *k, int32_t of, int32_t *out, sd_err *err)
{
    int64_t from = 0;
    int32_t key;
    sd_status st = SD_OK;
    bool list = sd_chat__type_of(k, of) == CT_MSGS;
    if (list) {
        bool number = sd_chat__take_integer(k, &from);
        if (sd_chat__take(k, ":")) {
            if (!number) from = 0;
            st = sd_chat__add_over(k, OP_SLICE, CT_MSGS, of, -1, out, err);
        } else {
            if (!number) return sd_chat__refuse(k, "messages are taken by a plain number only", err);
            st = sd_chat__add_over(k, OP_AT, CT_MSG, of, -1, out, err);
        }
        if (!st) k->c->node[*out].num = from;
    } else {
        st = sd_chat__expr(k, &key, err);
        if (!st && k->c->node[key].op != OP_STR) st = sd_chat__refuse(k, "a subscript that is no plain string", err);
        if (!st) st = field(k, of, (sd_slice){k->c->text.p + k->c->node[key].str, k->c->node[key].len}, out, err);
    }
    return st ? st : sd_chat__expect(k, "]", err);
}

static sd_status trimmed(sd_chat_reader *k, int32_t of, int sides, bool filter, int32_t *out, sd_err *err)
{
    if (sd_chat__type_of(k, of) != CT_STR)
        return sd_chat__refuse(k, "trimming something that is not known to be a string", err);
    sd_status st = sd_chat__add_over(k, OP_TRIM, CT_STR, of, -1, out, err);
    if (st) return st;
    k->c->node[*out].num = sides;
    k->c->node[*out].c = filter ? 0 : -1;
    return SD_OK;
}

static sd_status parse_dot(sd_chat_reader *k, int32_t of, int32_t *out, sd_err *err)
{
    sd_slice w;
    sd_status st = sd_chat__take_name(k, &w, err);
    if (st) return st;
    if (sd_chat__type_of(k, of) != CT_STR) return field(k, of, w, out, err);
    int sides = sd_slice_eq_str(w, "strip")    ? 3
                : sd_slice_eq_str(w, "lstrip") ? 1
                : sd_slice_eq_str(w, "rstrip") ? 2
                                               : 0;
    if (!sides) return sd_chat__refuse_name(k, "the method", w, err);
    st = sd_chat__expect(k, "(", err);
    if (!st) st = sd_chat__expect(k, ")", err);
    return st ? st : trimmed(k, of, sides, false, out, err);
}

static sd_status parse_filter(sd_chat_reader *k, int32_t of, int32_t *out, sd_err *err)
{
    sd_slice w;
    sd_status st = sd_chat__take_name(k, &w, err);
    if (st) return st;
    if (sd_slice_eq_str(w, "trim")) {
        if (sd_chat__take(k, "(") && !sd_chat__take(k, ")")) return sd_chat__refuse(k, "trim with an argument", err);
        return trimmed(k, of, 3, true, out, err);
    }
    if ((sd_slice_eq_str(w, "length") || sd_slice_eq_str(w, "count")) && sd_chat__type_of(k, of) == CT_MSGS)
        return sd_chat__add_over(k, OP_LENGTH, CT_INT, of, -1, out, err);
    return sd_chat__refuse_name(k, "the filter", w, err);
}

static sd_status parse_test(sd_chat_reader *k, int32_t of, int32_t *out, sd_err *err)
{
    bool negate = sd_chat__take_word(k, "not");
    chat_type t = sd_chat__type_of(k, of);
    sd_slice w;
    sd_status st = sd_chat__take_name(k, &w, err);
    if (st) return st;
    if (sd_slice_eq_str(w, "defined")) {
        st = sd_chat__add_over(k, OP_DEFINED, CT_BOOL, of, -1, out, err);
    } else if (sd_slice_eq_str(w, "undefined")) {
        st = sd_chat__add_over(k, OP_DEFINED, CT_BOOL, of, -1, out, err);
        negate = !negate;
    } else if ((sd_slice_eq_str(w, "none") || sd_slice_eq_str(w, "None")) && t != CT_MIXED) {
        st = sd_chat__add_num(k, OP_BOOL, CT_BOOL, t == CT_NONE, out, err);
    } else if (sd_slice_eq_str(w, "string") && k->c->node[of].op == OP_FIELD) {
        st = sd_chat__add_num(k, OP_BOOL, CT_BOOL, 1, out, err);
    } else {
        return sd_chat__refuse_name(k, "the test", w, err);
    }
    if (st || !negate) return st;
    return sd_chat__add_over(k, OP_NOT, CT_BOOL, *out, -1, out, err);
}

static sd_status parse_unary(sd_chat_reader *k, int32_t *out, sd_err *err)
{
    int32_t of;
    sd_status st = parse_primary(k, &of, err);
    bool filtered = false; /* after the first filter or test Jinja takes no more subscripts */
    while (!st) {
        if (!filtered && sd_chat__take(k, "["))
            st = parse_subscript(k, of, &of, err);
        else if (!filtered && sd_chat__take(k, "."))
            st = parse_dot(k, of, &of, err);
        else if (sd_chat__take(k, "|"))
            st = parse_filter(k, of, &of, err), filtered = true;
        else if (sd_chat__take_word(k, "is"))
            st = parse_test(k, of, &of, err), filtered = true;
        else
            break;
    }
    *out = of;
    return st;
}

bool sd_chat__printable(chat_type t)
{
    return t <= CT_UNDEF;
}

static sd_status parse_mod(sd_chat_reader *k, int32_t *out, sd_err *err)
{
    int32_t b;
    sd_status st = parse_unary(k, out, err);
    while (!st && sd_chat__take(k, "%")) {
        st = parse_unary(k, &b, err);
        if (!st && (sd_chat__type_of(k, *out) != CT_INT || sd_chat__type_of(k, b) != CT_INT))
            st = sd_chat__refuse(k, "% of something that is no integer", err);
        if (!st) st = sd_chat__add_over(k, OP_MOD, CT_INT, *out, b, out, err);
    }
    return st;
}

static sd_status parse_cat(sd_chat_reader *k, int32_t *out, sd_err *err)
{
    int32_t b;
    sd_status st = parse_mod(k, out, err);
    while (!st && sd_chat__take(k, "~")) {
        st = parse_mod(k, &b, err);
        if (!st && (!sd_chat__printable(sd_chat__type_of(k, *out)) || !sd_chat__printable(sd_chat__type_of(k, b))))
            st = sd_chat__refuse(k, "~ of something that is no text", err);
        if (!st) st = sd_chat__add_over(k, OP_CAT, CT_STR, *out, b, out, err);
    }
    return st;
}

static sd_status parse_add(sd_chat_reader *k, int32_t *out, sd_err *err)
{
    int32_t b;
    sd_status st = parse_cat(k, out, err);
    while (!st && sd_chat__take(k, "+")) {
        st = parse_cat(k, &b, err);
        if (st) return st;
        chat_type t = sd_chat__type_of(k, *out);
        if (t != sd_chat__type_of(k, b) || (t != CT_STR && t != CT_INT))
            return sd_chat__refuse(k, "+ of values that are not both strings or both integers", err);
        st = sd_chat__add_over(k, OP_ADD, t, *out, b, out, err);
    }
    return st;
}

static sd_status parse_compare(sd_chat_reader *k, int32_t *out, sd_err *err)
{
    static const struct {
        const char *text;
        chat_op op;
        bool swap;
    } ops[] = {{"==", OP_EQ, false}, {"!=", OP_NE, false}, {"<=", OP_LE, false},
               {">=", OP_LE, true},  {"<", OP_LT, false},  {">", OP_LT, true}};
    int32_t b;
    int chain = 0;
    sd_status st = parse_add(k, out, err);
    for (size_t i = 0; !st && i < sizeof ops / sizeof ops[0]; i++) {
        if (!sd_chat__take(k, ops[i].text)) continue;
        if (chain++) return sd_chat__refuse(k, "a chain of comparisons", err);
        st = parse_add(k, &b, err);
        if (st) return st;
        chat_type x = sd_chat__type_of(k, *out), y = sd_chat__type_of(k, b);
        bool order = ops[i].op == OP_LT || ops[i].op == OP_LE;
        bool one_kind =
            x == y || !((x == CT_BOOL && y == CT_INT) || (x == CT_INT && y == CT_BOOL)); /* 1 == True in Python */
        if (!sd_chat__printable(x) || !sd_chat__printable(y) || !one_kind || (order && (x != CT_INT || y != CT_INT)))
            return sd_chat__refuse(k, "a comparison of values of these kinds", err);
        st = sd_chat__add_over(k, ops[i].op, CT_BOOL, ops[i].swap ? b : *out, ops[i].swap ? *out : b, out, err);
        i = (size_t)-1; /* look for another comparison, to refuse it */
    }
    return st;
}

sd_status sd_chat__deeper(sd_chat_reader *k, sd_err *err)
{
    return ++k->depth > CHAT_MAX_DEPTH ? sd_chat__refuse(k, "nested too deeply", err) : SD_OK;
}

static sd_status parse_not(sd_chat_reader *k, int32_t *out, sd_err *err)
{
    int n = 0;
    while (sd_chat__take_word(k, "not")) n++;
    sd_status st = parse_compare(k, out, err);
    sd_slice w = sd_chat__peek_word(k);
    if (!st && (sd_slice_eq_str(w, "in") || sd_slice_eq_str(w, "not")))
        return sd_chat__refuse_name(k, "the operator", w, err);
    if (n > 2) n -= (n - 1) / 2 * 2; /* not not not x = not x */
    while (n-- > 0 && !st) st = sd_chat__add_over(k, OP_NOT, CT_BOOL, *out, -1, out, err);
    return st;
}

sd_status sd_chat__logic(sd_chat_reader *k, bool is_or, int32_t *out, sd_err *err)
{
    int32_t b;
    sd_status st = is_or ? sd_chat__logic(k, false, out, err) : parse_not(k, out, err);
    while (!st && sd_chat__take_word(k, is_or ? "or" : "and")) {
        st = is_or ? sd_chat__logic(k, false, &b, err) : parse_not(k, &b, err);
        if (st) break;
        chat_type t = sd_chat__type_of(k, *out) == sd_chat__type_of(k, b) ? sd_chat__type_of(k, b) : CT_MIXED;
        st = sd_chat__add_over(k, is_or ? OP_OR : OP_AND, t, *out, b, out, err);
    }
    return st;
}

sd_status sd_chat__expr(sd_chat_reader *k, int32_t *out, sd_err *err)
{
    int32_t cond, other;
    sd_status st = sd_chat__deeper(k, err);
    if (!st) st = sd_chat__logic(k, true, out, err);
    if (!st && sd_chat__take_word(k, "if")) {
        st = sd_chat__logic(k, true, &cond, err);
        if (!st && !sd_chat__take_word(k, "else"))
            st = sd_chat__refuse(k, "an \"if\" without \"else\" in an expression", err);
        if (!st) st = sd_chat__expr(k, &other, err);
        if (st) return st;
        int32_t yes = *out;
        chat_type t = sd_chat__type_of(k, yes) == sd_chat__type_of(k, other) ? sd_chat__type_of(k, yes) : CT_MIXED;
        st = sd_chat__add_over(k, OP_COND, t, cond, yes, out, err);
        if (!st) st = sd_chat__add_third(k, *out, other, err);
    }
    k->depth--;
    return st;
}
