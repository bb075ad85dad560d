/* Expressions: Jinja2's grammar (parser.py, 3.1), level by level. */
#include "text/jinja_tree.h"

#include "text/jinja_run.h"

static sd_status postfix(jinja_reader *k, int32_t *out, sd_err *err);

/* ---- words and nodes ---- */

sd_status sd_jinja__refuse(const jinja_reader *k, const char *what, sd_err *err)
{
    return sd_fail(err, SD_E_UNSUPPORTED, "line %d: %s", (int)sd_jinja__peek(k)->line, what);
}

sd_status sd_jinja__refuse_name(const jinja_reader *k, const char *what, sd_slice text, sd_err *err)
{
    return sd_fail(err, SD_E_UNSUPPORTED, "line %d: %s \"%.*s\" is not supported", (int)sd_jinja__peek(k)->line, what,
                   (int)(text.n > 40 ? 40 : text.n), text.p ? text.p : "");
}

sd_slice sd_jinja__word_text(const jinja_reader *k, const jinja_word *w)
{
    return (sd_slice){k->t->text.p + w->str, w->len};
}

bool sd_jinja__is_op(const jinja_reader *k, const char *op)
{
    const jinja_word *w = sd_jinja__peek(k);
    return w->kind == JK_OP && strncmp(w->op, op, sizeof w->op) == 0;
}

bool sd_jinja__take_op(jinja_reader *k, const char *op)
{
    if (!sd_jinja__is_op(k, op)) return false;
    k->at++;
    return true;
}

bool sd_jinja__is_name(const jinja_reader *k, const char *name)
{
    const jinja_word *w = sd_jinja__peek(k);
    return w->kind == JK_NAME && sd_slice_eq_str(sd_jinja__word_text(k, w), name);
}

bool sd_jinja__take_name(jinja_reader *k, const char *name)
{
    if (!sd_jinja__is_name(k, name)) return false;
    k->at++;
    return true;
}

sd_status sd_jinja__expect_op(jinja_reader *k, const char *op, sd_err *err)
{
    if (sd_jinja__take_op(k, op)) return SD_OK;
    return sd_fail(err, SD_E_UNSUPPORTED, "line %d: \"%s\" is expected", (int)sd_jinja__peek(k)->line, op);
}

sd_status sd_jinja__deeper(jinja_reader *k, sd_err *err)
{
    return ++k->depth > SD_JINJA_MAX_DEPTH ? sd_jinja__refuse(k, "nested too deeply", err) : SD_OK;
}

sd_status sd_jinja__add3(jinja_reader *k, jinja_op op, const int32_t child[3], int32_t *out, sd_err *err)
{
    sd_jinja *t = k->t;
    int levels = 0;
    if (t->n_node == JINJA_MAX_NODES) return sd_jinja__refuse(k, "the template is too long", err);
    if (t->n_node == t->cap_node) {
        int32_t cap = t->cap_node ? 2 * t->cap_node : 256;
        jinja_node *v = sd_realloc(t->node, (size_t)cap * sizeof *v);
        if (!v) return sd_fail(err, SD_E_NOMEM, "out of memory: a chat template");
        t->node = v;
        t->cap_node = cap;
    }
    for (int i = 0; i < 3; i++)
        for (int32_t n = child[i]; n >= 0; n = t->node[n].next)
            if (t->node[n].levels >= levels) levels = t->node[n].levels + 1;
    if (levels > JINJA_MAX_LEVELS) return sd_jinja__refuse(k, "an expression is too long", err);
    t->node[t->n_node] = (jinja_node){.op = (uint8_t)op,
                                      .levels = (uint16_t)levels,
                                      .line = sd_jinja__peek(k)->line,
                                      .a = child[0],
                                      .b = child[1],
                                      .c = child[2],
                                      .next = -1};
    *out = t->n_node++;
    return SD_OK;
}

sd_status sd_jinja__add(jinja_reader *k, jinja_op op, int32_t a, int32_t b, int32_t *out, sd_err *err)
{
    return sd_jinja__add3(k, op, (const int32_t[3]){a, b, -1}, out, err);
}

void sd_jinja__name_node(const jinja_reader *k, int32_t node, const jinja_word *w)
{
    k->t->node[node].str = w->str;
    k->t->node[node].len = w->len;
}

void sd_jinja__append(const jinja_reader *k, jinja_chain *c, int32_t node)
{
    if (c->last < 0)
        c->first = node;
    else
        k->t->node[c->last].next = node;
    c->last = node;
}

/* ---- primaries ---- */

/* Strings side by side are one. They need not lie side by side in the text: a later one may come from a new place. */
static sd_status string(jinja_reader *k, int32_t *out, sd_err *err)
{
    const jinja_word *w = sd_jinja__peek(k);
    sd_status st = sd_jinja__add(k, J_STR, -1, -1, out, err);
    if (st) return st;
    sd_jinja__name_node(k, *out, w);
    k->at++;
    while (!st && sd_jinja__peek(k)->kind == JK_STR) {
        int32_t more, left = *out;
        st = sd_jinja__add(k, J_STR, -1, -1, &more, err);
        if (st) break;
        sd_jinja__name_node(k, more, sd_jinja__peek(k));
        k->at++;
        st = sd_jinja__add(k, J_CAT, left, more, out, err);
    }
    return st;
}

/* Items up to the closing bracket. */
static sd_status items(jinja_reader *k, const char *close, jinja_chain *c, sd_err *err)
{
    sd_status st = SD_OK;
    while (!st && !sd_jinja__is_op(k, close)) {
        int32_t v, item;
        if (c->first >= 0) {
            st = sd_jinja__expect_op(k, ",", err);
            if (st || sd_jinja__is_op(k, close)) break;
        }
        st = sd_jinja__expr(k, &v, err);
        if (!st) st = sd_jinja__add(k, J_ITEM, v, -1, &item, err);
        if (!st) sd_jinja__append(k, c, item);
    }
    return st ? st : sd_jinja__expect_op(k, close, err);
}

static sd_status list(jinja_reader *k, int32_t *out, sd_err *err)
{
    jinja_chain c = JINJA_CHAIN;
    sd_status st = items(k, "]", &c, err);
    return st ? st : sd_jinja__add(k, J_LIST, c.first, -1, out, err);
}

static sd_status dict(jinja_reader *k, int32_t *out, sd_err *err)
{
    jinja_chain c = JINJA_CHAIN;
    sd_status st = SD_OK;
    while (!st && !sd_jinja__is_op(k, "}")) {
        int32_t key, value, pair;
        if (c.first >= 0) {
            st = sd_jinja__expect_op(k, ",", err);
            if (st || sd_jinja__is_op(k, "}")) break;
        }
        st = sd_jinja__expr(k, &key, err);
        if (!st) st = sd_jinja__expect_op(k, ":", err);
        if (!st) st = sd_jinja__expr(k, &value, err);
        if (!st) st = sd_jinja__add(k, J_PAIR, key, value, &pair, err);
        if (!st) sd_jinja__append(k, &c, pair);
    }
    if (!st) st = sd_jinja__expect_op(k, "}", err);
    return st ? st : sd_jinja__add(k, J_DICT, c.first, -1, out, err);
}

/* After "(": one expression, or a tuple. */
static sd_status bracketed(jinja_reader *k, int32_t *out, sd_err *err)
{
    sd_status st;
    if (sd_jinja__take_op(k, ")")) return sd_jinja__add(k, J_TUPLE, -1, -1, out, err);
    st = sd_jinja__tuple(k, true, out, err);
    return st ? st : sd_jinja__expect_op(k, ")", err);
}

static sd_status name(jinja_reader *k, int32_t *out, sd_err *err)
{
    static const struct {
        const char *word;
        jinja_op op;
        int64_t num;
    } constants[] = {{"true", J_BOOL, 1},  {"True", J_BOOL, 1}, {"false", J_BOOL, 0},
                     {"False", J_BOOL, 0}, {"none", J_NONE, 0}, {"None", J_NONE, 0}};
    const jinja_word *w = sd_jinja__peek(k);
    sd_slice text = sd_jinja__word_text(k, w);
    sd_status st;
    for (size_t i = 0; i < sizeof constants / sizeof constants[0]; i++) {
        if (!sd_slice_eq_str(text, constants[i].word)) continue;
        st = sd_jinja__add(k, constants[i].op, -1, -1, out, err);
        if (!st) sd_jinja__node(k, *out)->num = constants[i].num;
        k->at++;
        return st;
    }
    if (sd_jinja__is_foreign(text)) return sd_jinja__refuse_name(k, "the name", text, err);
    st = sd_jinja__add(k, J_NAME, -1, -1, out, err);
    if (!st) sd_jinja__name_node(k, *out, w);
    k->at++;
    return st;
}

static sd_status primary(jinja_reader *k, int32_t *out, sd_err *err)
{
    const jinja_word *w = sd_jinja__peek(k);
    sd_status st = sd_jinja__deeper(k, err);
    if (st) return st;
    if (w->kind == JK_NAME) {
        st = name(k, out, err);
    } else if (w->kind == JK_STR) {
        st = string(k, out, err);
    } else if (w->kind == JK_INT || w->kind == JK_FLOAT) {
        st = sd_jinja__add(k, w->kind == JK_INT ? J_INT : J_FLOAT, -1, -1, out, err);
        if (!st && w->kind == JK_INT) sd_jinja__node(k, *out)->num = w->num;
        if (!st && w->kind == JK_FLOAT) sd_jinja__node(k, *out)->real = w->real;
        k->at++;
    } else if (sd_jinja__take_op(k, "(")) {
        st = bracketed(k, out, err);
    } else if (sd_jinja__take_op(k, "[")) {
        st = list(k, out, err);
    } else if (sd_jinja__take_op(k, "{")) {
        st = dict(k, out, err);
    } else {
        st = sd_jinja__refuse(k, "an expression is expected", err);
    }
    k->depth--;
    return st;
}

/* ---- what follows a primary ---- */

/* Arguments up to ")"; each a J_ARG with its keyword, if any. */
static sd_status arguments(jinja_reader *k, int32_t *first, sd_err *err)
{
    jinja_chain c = JINJA_CHAIN;
    sd_status st = SD_OK;
    bool keywords = false;
    while (!st && !sd_jinja__is_op(k, ")")) {
        int32_t v, arg;
        if (c.first >= 0) {
            st = sd_jinja__expect_op(k, ",", err);
            if (st || sd_jinja__is_op(k, ")")) break;
        }
        if (sd_jinja__is_op(k, "*") || sd_jinja__is_op(k, "**"))
            return sd_jinja__refuse(k, "arguments taken out of a list are not supported", err);
        const jinja_word *w = sd_jinja__peek(k);
        bool keyword = w->kind == JK_NAME && w[1].kind == JK_OP && strncmp(w[1].op, "=", sizeof w->op) == 0;
        if (keyword) k->at += 2;
        if (keywords && !keyword) return sd_jinja__refuse(k, "an argument without its name after one with it", err);
        keywords = keyword;
        st = sd_jinja__expr(k, &v, err);
        if (!st) st = sd_jinja__add(k, J_ARG, v, -1, &arg, err);
        if (st) break;
        if (keyword) sd_jinja__name_node(k, arg, w);
        sd_jinja__append(k, &c, arg);
    }
    *first = c.first;
    return st ? st : sd_jinja__expect_op(k, ")", err);
}

static sd_status call(jinja_reader *k, int32_t of, int32_t *out, sd_err *err)
{
    int32_t args;
    const jinja_node *callee = sd_jinja__node(k, of);
    sd_slice text = sd_jinja__text(k->t, callee);
    if (callee->op == J_ATTR && !sd_jinja__is_method(text)) return sd_jinja__refuse_name(k, "the method", text, err);
    sd_status st = arguments(k, &args, err);
    return st ? st : sd_jinja__add(k, J_CALL, of, args, out, err);
}

/* value[a], value[a:b:c], after "[". */
static sd_status subscript(jinja_reader *k, int32_t of, int32_t *out, sd_err *err)
{
    int32_t part[3] = {-1, -1, -1}, bounds;
    int colons = 0;
    sd_status st = SD_OK;
    while (!st && !sd_jinja__is_op(k, "]")) {
        if (sd_jinja__take_op(k, ":")) {
            if (++colons > 2) return sd_jinja__refuse(k, "a slice has three parts at most", err);
        } else if (part[colons] >= 0) {
            return sd_jinja__refuse(k, "a subscript of several parts is not supported", err);
        } else {
            st = sd_jinja__expr(k, &part[colons], err);
        }
    }
    if (!st) st = sd_jinja__expect_op(k, "]", err);
    if (st) return st;
    if (!colons) {
        if (part[0] < 0) return sd_jinja__refuse(k, "an empty subscript", err);
        return sd_jinja__add(k, J_INDEX, of, part[0], out, err);
    }
    st = sd_jinja__add3(k, J_BOUNDS, part, &bounds, err);
    return st ? st : sd_jinja__add(k, J_SLICE, of, bounds, out, err);
}

static sd_status attribute(jinja_reader *k, int32_t of, int32_t *out, sd_err *err)
{
    const jinja_word *w = sd_jinja__peek(k);
    int32_t index;
    sd_status st;
    if (w->kind == JK_INT) { /* value.0 */
        st = sd_jinja__add(k, J_INT, -1, -1, &index, err);
        if (!st) sd_jinja__node(k, index)->num = w->num;
        k->at++;
        return st ? st : sd_jinja__add(k, J_INDEX, of, index, out, err);
    }
    if (w->kind != JK_NAME) return sd_jinja__refuse(k, "a name is expected after \".\"", err);
    sd_slice text = sd_jinja__word_text(k, w);
    if (sd_slice_starts(text, "__")) return sd_jinja__refuse_name(k, "the attribute", text, err);
    st = sd_jinja__add(k, J_ATTR, of, -1, out, err);
    if (!st) sd_jinja__name_node(k, *out, w);
    k->at++;
    return st;
}

static sd_status postfix(jinja_reader *k, int32_t *out, sd_err *err)
{
    sd_status st = SD_OK;
    while (!st) {
        if (sd_jinja__take_op(k, "."))
            st = attribute(k, *out, out, err);
        else if (sd_jinja__take_op(k, "["))
            st = subscript(k, *out, out, err);
        else if (sd_jinja__take_op(k, "("))
            st = call(k, *out, out, err);
        else
            break;
    }
    return st;
}

sd_status sd_jinja__filters(jinja_reader *k, bool first, int32_t of, int32_t *out, sd_err *err)
{
    sd_status st = SD_OK;
    *out = of;
    for (; !st && (first || sd_jinja__take_op(k, "|")); first = false) {
        int32_t args = -1, left = *out;
        const jinja_word *w = sd_jinja__peek(k);
        if (w->kind != JK_NAME) return sd_jinja__refuse(k, "a filter's name is expected", err);
        int index = sd_jinja__find_filter(sd_jinja__word_text(k, w));
        if (index < 0) return sd_jinja__refuse_name(k, "the filter", sd_jinja__word_text(k, w), err);
        k->at++;
        if (sd_jinja__take_op(k, "(")) st = arguments(k, &args, err);
        if (!st) st = sd_jinja__add(k, J_FILTER, left, args, out, err);
        if (!st) sd_jinja__node(k, *out)->num = index;
    }
    return st;
}

/* A test's only argument may stand without brackets. */
static sd_status bare_argument(jinja_reader *k, int32_t *args, sd_err *err)
{
    const jinja_word *w = sd_jinja__peek(k);
    bool opens = sd_jinja__is_op(k, "[") || sd_jinja__is_op(k, "{");
    bool stops = sd_jinja__is_name(k, "else") || sd_jinja__is_name(k, "or") || sd_jinja__is_name(k, "and") ||
                 sd_jinja__is_name(k, "is") || sd_jinja__is_name(k, "if") || sd_jinja__is_name(k, "in") ||
                 sd_jinja__is_name(k, "not");
    int32_t v;
    if (stops || !(opens || w->kind == JK_NAME || w->kind == JK_STR || w->kind == JK_INT || w->kind == JK_FLOAT))
        return SD_OK;
    sd_status st = primary(k, &v, err);
    if (!st) st = postfix(k, &v, err);
    return st ? st : sd_jinja__add(k, J_ARG, v, -1, args, err);
}

static sd_status test(jinja_reader *k, int32_t of, int32_t *out, sd_err *err)
{
    bool negate = sd_jinja__take_name(k, "not");
    int32_t args = -1;
    const jinja_word *w = sd_jinja__peek(k);
    if (w->kind != JK_NAME) return sd_jinja__refuse(k, "a test's name is expected", err);
    int index = sd_jinja__find_test(sd_jinja__word_text(k, w));
    if (index < 0) return sd_jinja__refuse_name(k, "the test", sd_jinja__word_text(k, w), err);
    k->at++;
    sd_status st = sd_jinja__take_op(k, "(") ? arguments(k, &args, err) : bare_argument(k, &args, err);
    if (!st) st = sd_jinja__add(k, J_TEST, of, args, out, err);
    if (!st) sd_jinja__node(k, *out)->num = index;
    int32_t positive = *out;
    return st || !negate ? st : sd_jinja__add(k, J_NOT, positive, -1, out, err);
}

/* ---- operators ---- */

sd_status sd_jinja__unary(jinja_reader *k, bool filters, int32_t *out, sd_err *err)
{
    bool minus = sd_jinja__is_op(k, "-"), plus = sd_jinja__is_op(k, "+");
    sd_status st = sd_jinja__deeper(k, err);
    if (st) return st;
    if (minus || plus) {
        int32_t of;
        k->at++;
        st = sd_jinja__unary(k, false, &of, err);
        if (!st) st = sd_jinja__add(k, minus ? J_NEG : J_POS, of, -1, out, err);
    } else {
        st = primary(k, out, err);
        if (!st) st = postfix(k, out, err);
    }
    while (!st && filters) {
        if (sd_jinja__is_op(k, "|"))
            st = sd_jinja__filters(k, false, *out, out, err);
        else if (sd_jinja__take_name(k, "is"))
            st = test(k, *out, out, err);
        else if (sd_jinja__take_op(k, "("))
            st = call(k, *out, out, err);
        else
            break;
    }
    k->depth--;
    return st;
}

/* Left-associative levels, from the tightest on; `level` names the one whose operators are taken. */
static const struct {
    const char *op;
    jinja_op node;
    int level;
} binary[] = {{"**", J_POW, 0}, {"*", J_MUL, 1}, {"/", J_DIV, 1}, {"//", J_FLOORDIV, 1},
              {"%", J_MOD, 1},  {"~", J_CAT, 2}, {"+", J_ADD, 3}, {"-", J_SUB, 3}};

static sd_status operators(jinja_reader *k, int level, int32_t *out, sd_err *err)
{
    sd_status st = level == 0 ? sd_jinja__unary(k, true, out, err) : operators(k, level - 1, out, err);
    while (!st) {
        size_t i = 0, n = sizeof binary / sizeof binary[0];
        while (i < n && !(binary[i].level == level && sd_jinja__is_op(k, binary[i].op))) i++;
        if (i == n) break;
        int32_t right, left = *out;
        k->at++;
        st = level == 0 ? sd_jinja__unary(k, true, &right, err) : operators(k, level - 1, &right, err);
        if (!st) st = sd_jinja__add(k, binary[i].node, left, right, out, err);
    }
    return st;
}

/* The comparison that stands here, taken; -1: none. */
static int comparison(jinja_reader *k)
{
    static const struct {
        const char *op;
        jinja_cmp cmp;
    } ops[] = {{"==", JC_EQ}, {"!=", JC_NE}, {"<=", JC_LE}, {">=", JC_GE}, {"<", JC_LT}, {">", JC_GT}};
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
        if (sd_jinja__take_op(k, ops[i].op)) return (int)ops[i].cmp;
    if (sd_jinja__take_name(k, "in")) return JC_IN;
    if (!sd_jinja__is_name(k, "not")) return -1;
    const jinja_word *w = sd_jinja__peek(k) + 1;
    if (w->kind != JK_NAME || !sd_slice_eq_str(sd_jinja__word_text(k, w), "in")) return -1;
    k->at += 2;
    return JC_NOT_IN;
}

static sd_status compare(jinja_reader *k, int32_t *out, sd_err *err)
{
    jinja_chain c = JINJA_CHAIN;
    int cmp;
    sd_status st = operators(k, 3, out, err);
    while (!st && (cmp = comparison(k)) >= 0) {
        int32_t v, then;
        st = operators(k, 3, &v, err);
        if (!st) st = sd_jinja__add(k, J_THAN, v, -1, &then, err);
        if (st) return st;
        sd_jinja__node(k, then)->num = cmp;
        sd_jinja__append(k, &c, then);
    }
    int32_t left = *out;
    return st || c.first < 0 ? st : sd_jinja__add(k, J_COMPARE, left, c.first, out, err);
}

static sd_status not_level(jinja_reader *k, int32_t *out, sd_err *err)
{
    if (!sd_jinja__take_name(k, "not")) return compare(k, out, err);
    int32_t of;
    sd_status st = sd_jinja__deeper(k, err);
    if (!st) st = not_level(k, &of, err);
    k->depth--;
    return st ? st : sd_jinja__add(k, J_NOT, of, -1, out, err);
}

static sd_status and_level(jinja_reader *k, int32_t *out, sd_err *err)
{
    sd_status st = not_level(k, out, err);
    while (!st && sd_jinja__take_name(k, "and")) {
        int32_t right, left = *out;
        st = not_level(k, &right, err);
        if (!st) st = sd_jinja__add(k, J_AND, left, right, out, err);
    }
    return st;
}

sd_status sd_jinja__or(jinja_reader *k, int32_t *out, sd_err *err)
{
    sd_status st = and_level(k, out, err);
    while (!st && sd_jinja__take_name(k, "or")) {
        int32_t right, left = *out;
        st = and_level(k, &right, err);
        if (!st) st = sd_jinja__add(k, J_OR, left, right, out, err);
    }
    return st;
}

sd_status sd_jinja__expr(jinja_reader *k, int32_t *out, sd_err *err)
{
    sd_status st = sd_jinja__deeper(k, err);
    if (!st) st = sd_jinja__or(k, out, err);
    while (!st && sd_jinja__take_name(k, "if")) {
        int32_t part[3] = {-1, *out, -1};
        st = sd_jinja__or(k, &part[0], err);
        if (!st && sd_jinja__take_name(k, "else")) st = sd_jinja__expr(k, &part[2], err);
        if (!st) st = sd_jinja__add3(k, J_COND, part, out, err);
    }
    k->depth--;
    return st;
}

sd_status sd_jinja__tuple(jinja_reader *k, bool conditions, int32_t *out, sd_err *err)
{
    jinja_chain c = JINJA_CHAIN;
    bool comma = false;
    sd_status st = SD_OK;
    for (;;) {
        int32_t v, item;
        const jinja_word *w = sd_jinja__peek(k);
        bool ends = w->kind == JK_BLOCK_END || w->kind == JK_VAR_END || sd_jinja__is_op(k, ")");
        if (comma && ends) break;
        st = conditions ? sd_jinja__expr(k, &v, err) : sd_jinja__or(k, &v, err);
        if (!st) st = sd_jinja__add(k, J_ITEM, v, -1, &item, err);
        if (st) return st;
        sd_jinja__append(k, &c, item);
        if (!sd_jinja__take_op(k, ",")) break;
        comma = true;
    }
    if (!comma) {
        *out = sd_jinja__node(k, c.first)->a;
        return SD_OK;
    }
    return sd_jinja__add(k, J_TUPLE, c.first, -1, out, err);
}
