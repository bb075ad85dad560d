/* Statements of templates: Jinja2's grammar (parser.py, 3.1), with loop controls and {% generation %}. */
#include "text/jinja_tree.h"

#include "text/jinja_run.h"

static sd_status block(jinja_reader *k, const char *const *stop, int32_t *first, sd_err *err);

static sd_status close_tag(jinja_reader *k, sd_err *err)
{
    if (sd_jinja__peek(k)->kind != JK_BLOCK_END)
        return sd_jinja__refuse(k, "something in this tag is not supported", err);
    k->at++;
    return SD_OK;
}

/* The word after "{%", which block() has left at. */
static sd_status end_tag(jinja_reader *k, const char *word, sd_err *err)
{
    if (!sd_jinja__take_name(k, word))
        return sd_fail(err, SD_E_UNSUPPORTED, "line %d: \"%s\" is expected", (int)sd_jinja__peek(k)->line, word);
    return close_tag(k, err);
}

/* A block that ends with one word, and its end. */
static sd_status body(jinja_reader *k, const char *end, int32_t *first, sd_err *err)
{
    sd_status st = close_tag(k, err);
    if (!st) st = block(k, (const char *const[]){end, NULL}, first, err);
    return st ? st : end_tag(k, end, err);
}

/* A body whose text is captured. Loops outside do not reach into it: break and continue stay inside. */
static sd_status captured(jinja_reader *k, const char *end, int32_t *first, sd_err *err)
{
    int loops = k->loops;
    k->loops = 0;
    sd_status st = body(k, end, first, err);
    k->loops = loops;
    return st;
}

static sd_status if_rest(jinja_reader *k, int32_t *out, sd_err *err)
{
    static const char *const stop[] = {"elif", "else", "endif", NULL};
    int32_t part[3] = {-1, -1, -1};
    sd_status st = sd_jinja__deeper(k, err);
    if (!st) st = sd_jinja__tuple(k, false, &part[0], err);
    if (!st) st = close_tag(k, err);
    if (!st) st = block(k, stop, &part[1], err);
    if (st) return st;
    if (sd_jinja__take_name(k, "elif")) {
        st = if_rest(k, &part[2], err);
    } else if (sd_jinja__take_name(k, "else")) {
        st = close_tag(k, err);
        if (!st) st = block(k, stop + 2, &part[2], err);
        if (!st) st = end_tag(k, "endif", err);
    } else {
        st = end_tag(k, "endif", err);
    }
    k->depth--;
    return st ? st : sd_jinja__add3(k, J_IF, part, out, err);
}

sd_status sd_jinja__target(jinja_reader *k, bool fields, int32_t *out, sd_err *err)
{
    jinja_chain c = JINJA_CHAIN;
    bool comma = false, bracket = sd_jinja__take_op(k, "(");
    sd_status st = SD_OK;
    for (;;) {
        const jinja_word *w = sd_jinja__peek(k);
        int32_t v, item;
        if (w->kind != JK_NAME) return sd_jinja__refuse(k, "a name is expected", err);
        sd_slice text = sd_jinja__word_text(k, w);
        bool loop =
            sd_slice_eq_str(text, "loop") && (k->loops || !fields); /* outside a loop it is a name like others */
        if (loop || sd_jinja__is_foreign(text) || sd_slice_eq_str(text, "true") || sd_slice_eq_str(text, "false") ||
            sd_slice_eq_str(text, "none"))
            return sd_jinja__refuse_name(k, "setting the name", text, err);
        st = sd_jinja__add(k, J_NAME, -1, -1, &v, err);
        if (st) return st;
        sd_jinja__name_node(k, v, w);
        k->at++;
        if (fields && !comma && sd_jinja__take_op(k, ".")) {
            int32_t of = v;
            w = sd_jinja__peek(k);
            if (w->kind != JK_NAME) return sd_jinja__refuse(k, "a name is expected", err);
            st = sd_jinja__add(k, J_ATTR, of, -1, out, err);
            if (!st) sd_jinja__name_node(k, *out, w);
            k->at++;
            return st;
        }
        st = sd_jinja__add(k, J_ITEM, v, -1, &item, err);
        if (st) return st;
        sd_jinja__append(k, &c, item);
        if (!sd_jinja__take_op(k, ",")) break;
        comma = true;
    }
    if (bracket) st = sd_jinja__expect_op(k, ")", err);
    if (st) return st;
    if (!comma) {
        *out = sd_jinja__node(k, c.first)->a;
        return SD_OK;
    }
    return sd_jinja__add(k, J_TUPLE, c.first, -1, out, err);
}

static sd_status for_loop(jinja_reader *k, int32_t *out, sd_err *err)
{
    static const char *const stop[] = {"else", "endfor", NULL};
    int32_t part[3] = {-1, -1, -1}, target, list, rest;
    sd_status st = sd_jinja__target(k, false, &target, err);
    if (!st && !sd_jinja__take_name(k, "in")) st = sd_jinja__refuse(k, "\"in\" is expected", err);
    if (!st) st = sd_jinja__tuple(k, false, &list, err);
    if (!st && sd_jinja__take_name(k, "if")) st = sd_jinja__expr(k, &part[0], err);
    if (!st && sd_jinja__is_name(k, "recursive")) st = sd_jinja__refuse(k, "a recursive loop is not supported", err);
    if (!st) st = close_tag(k, err);
    if (st) return st;
    k->loops++;
    st = block(k, stop, &part[1], err);
    k->loops--;
    if (!st && sd_jinja__take_name(k, "else")) {
        st = close_tag(k, err);
        if (!st) st = block(k, stop + 1, &part[2], err);
    }
    if (!st) st = end_tag(k, "endfor", err);
    if (!st) st = sd_jinja__add3(k, J_FORPARTS, part, &rest, err);
    return st ? st : sd_jinja__add3(k, J_FOR, (const int32_t[3]){target, list, rest}, out, err);
}

/* A node that stands for the rendered block, through the filters that follow. */
static sd_status filtered_block(jinja_reader *k, bool first, int32_t *out, sd_err *err)
{
    int32_t text;
    sd_status st = sd_jinja__add(k, J_BLOCKTEXT, -1, -1, &text, err);
    return st ? st : sd_jinja__filters(k, first, text, out, err);
}

static sd_status set(jinja_reader *k, int32_t *out, sd_err *err)
{
    int32_t part[3] = {-1, -1, -1};
    sd_status st = sd_jinja__target(k, true, &part[0], err);
    if (st) return st;
    if (sd_jinja__take_op(k, "=")) {
        st = sd_jinja__tuple(k, true, &part[1], err);
        if (!st) st = close_tag(k, err);
        return st ? st : sd_jinja__add3(k, J_SET, part, out, err);
    }
    if (sd_jinja__is_op(k, "|")) st = filtered_block(k, false, &part[2], err);
    if (!st) st = captured(k, "endset", &part[1], err);
    return st ? st : sd_jinja__add3(k, J_SETBLOCK, part, out, err);
}

/* Parameters of a macro or a call block, after "(". */
static sd_status parameters(jinja_reader *k, int32_t *first, sd_err *err)
{
    jinja_chain c = JINJA_CHAIN;
    sd_status st = SD_OK;
    while (!st && !sd_jinja__is_op(k, ")")) {
        int32_t value = -1, param;
        if (c.first >= 0 && (st = sd_jinja__expect_op(k, ",", err))) break;
        const jinja_word *w = sd_jinja__peek(k);
        if (w->kind != JK_NAME) return sd_jinja__refuse(k, "a parameter's name is expected", err);
        k->at++;
        if (sd_jinja__take_op(k, "=")) st = sd_jinja__expr(k, &value, err);
        if (!st) st = sd_jinja__add(k, J_PARAM, value, -1, &param, err);
        if (st) break;
        sd_jinja__name_node(k, param, w);
        sd_jinja__append(k, &c, param);
    }
    *first = c.first;
    return st ? st : sd_jinja__expect_op(k, ")", err);
}

static sd_status macro(jinja_reader *k, int32_t *out, sd_err *err)
{
    const jinja_word *w = sd_jinja__peek(k);
    int32_t params, content;
    if (w->kind != JK_NAME) return sd_jinja__refuse(k, "a macro's name is expected", err);
    k->at++;
    const int32_t first = k->t->n_node;
    bool calls = false;
    sd_status st = sd_jinja__expect_op(k, "(", err);
    if (!st) st = parameters(k, &params, err);
    if (!st) st = captured(k, "endmacro", &content, err);
    for (int32_t i = first; i < k->t->n_node && !st; i++) {
        const jinja_node *n = sd_jinja__node(k, i);
        calls = calls || (n->op == J_NAME && sd_slice_eq_str(sd_jinja__text(k->t, n), "caller"));
    }
    if (!st) st = sd_jinja__add(k, J_MACRO, params, content, out, err);
    if (st) return st;
    sd_jinja__name_node(k, *out, w);
    sd_jinja__node(k, *out)->num = calls;
    return SD_OK;
}

static sd_status call_block(jinja_reader *k, int32_t *out, sd_err *err)
{
    int32_t part[3] = {-1, -1, -1};
    sd_status st = SD_OK;
    if (sd_jinja__take_op(k, "(")) st = parameters(k, &part[2], err);
    if (!st) st = sd_jinja__unary(k, false, &part[0], err);
    if (!st && sd_jinja__node(k, part[0])->op != J_CALL) st = sd_jinja__refuse(k, "a call is expected", err);
    if (!st) st = captured(k, "endcall", &part[1], err);
    return st ? st : sd_jinja__add3(k, J_CALLBLOCK, part, out, err);
}

static sd_status filter_block(jinja_reader *k, int32_t *out, sd_err *err)
{
    int32_t filter, content;
    sd_status st = filtered_block(k, true, &filter, err);
    if (!st) st = captured(k, "endfilter", &content, err);
    return st ? st : sd_jinja__add(k, J_FILTERBLOCK, filter, content, out, err);
}

static sd_status with(jinja_reader *k, int32_t *out, sd_err *err)
{
    jinja_chain c = JINJA_CHAIN;
    int32_t content;
    sd_status st = SD_OK;
    while (!st && sd_jinja__peek(k)->kind != JK_BLOCK_END) {
        int32_t target, value, pair;
        if (c.first >= 0 && (st = sd_jinja__expect_op(k, ",", err))) break;
        const jinja_word *w = sd_jinja__peek(k);
        if (w->kind != JK_NAME) return sd_jinja__refuse(k, "a name is expected", err);
        st = sd_jinja__add(k, J_NAME, -1, -1, &target, err);
        if (st) break;
        sd_jinja__name_node(k, target, w);
        k->at++;
        st = sd_jinja__expect_op(k, "=", err);
        if (!st) st = sd_jinja__expr(k, &value, err);
        if (!st) st = sd_jinja__add(k, J_PAIR, target, value, &pair, err);
        if (!st) sd_jinja__append(k, &c, pair);
    }
    if (!st) st = body(k, "endwith", &content, err);
    return st ? st : sd_jinja__add(k, J_WITH, c.first, content, out, err);
}

static sd_status loop_control(jinja_reader *k, jinja_op op, int32_t *out, sd_err *err)
{
    if (!k->loops) return sd_jinja__refuse(k, "\"break\" or \"continue\" outside a loop", err);
    sd_status st = close_tag(k, err);
    return st ? st : sd_jinja__add(k, op, -1, -1, out, err);
}

/* The statement whose word stands here; *out may be a list of several, or -1. */
static sd_status statement(jinja_reader *k, int32_t *out, sd_err *err)
{
    static const struct {
        const char *word;
        sd_status (*read)(jinja_reader *k, int32_t *out, sd_err *err);
    } kinds[] = {{"if", if_rest},      {"for", for_loop},        {"set", set},  {"macro", macro},
                 {"call", call_block}, {"filter", filter_block}, {"with", with}};
    const jinja_word *w = sd_jinja__peek(k);
    if (w->kind != JK_NAME) return sd_jinja__refuse(k, "a statement's name is expected", err);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (sd_jinja__take_name(k, kinds[i].word)) return kinds[i].read(k, out, err);
    if (sd_jinja__take_name(k, "break")) return loop_control(k, J_BREAK, out, err);
    if (sd_jinja__take_name(k, "continue")) return loop_control(k, J_CONTINUE, out, err);
    if (sd_jinja__take_name(k, "generation")) return body(k, "endgeneration", out, err);
    return sd_jinja__refuse_name(k, "the statement", sd_jinja__word_text(k, w), err);
}

static bool stops_here(const jinja_reader *k, const char *const *stop)
{
    for (; stop && *stop; stop++)
        if (sd_jinja__is_name(k, *stop)) return true;
    return false;
}

/* Statements up to one of the words of `stop`, which is left standing, or the template's end where stop is NULL. */
static sd_status block(jinja_reader *k, const char *const *stop, int32_t *first, sd_err *err)
{
    jinja_chain c = JINJA_CHAIN;
    const int opened = k->at ? (int)k->word[k->at - 1].line : 1;
    sd_status st = sd_jinja__deeper(k, err);
    while (!st) {
        const jinja_word *w = sd_jinja__peek(k);
        int32_t node = -1;
        if (w->kind == JK_EOF) {
            while (stop && stop[1]) stop++; /* the last word is the one that has to come */
            if (stop) st = sd_fail(err, SD_E_UNSUPPORTED, "line %d: the template ends, \"%s\" is expected for the tag in line %d", (int)w->line, *stop, opened);
            break;
        }
        k->at++;
        if (w->kind == JK_TEXT) {
            st = sd_jinja__add(k, J_TEXT, -1, -1, &node, err);
            if (!st) sd_jinja__name_node(k, node, w);
        } else if (w->kind == JK_VAR) {
            int32_t v;
            st = sd_jinja__tuple(k, true, &v, err);
            if (!st && sd_jinja__peek(k)->kind != JK_VAR_END)
                st = sd_jinja__refuse(k, "something in this tag is not supported", err);
            if (!st) k->at++;
            if (!st) st = sd_jinja__add(k, J_OUT, v, -1, &node, err);
        } else if (stops_here(k, stop)) {
            break;
        } else {
            st = statement(k, &node, err);
        }
        while (!st && node >= 0) { /* a generation block gives its statements */
            int32_t next = sd_jinja__node(k, node)->next;
            sd_jinja__append(k, &c, node);
            node = next;
        }
    }
    k->depth--;
    *first = c.first;
    return st;
}

sd_status sd_jinja__parse(jinja_reader *k, sd_err *err)
{
    return block(k, NULL, &k->t->program, err);
}
