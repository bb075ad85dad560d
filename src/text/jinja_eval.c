/* Expressions of a template that runs: names, attributes, calls and operators as Jinja2 gives them meaning. */
#include "text/jinja_eval.h"

#include <math.h>

/* ---- names ---- */

jinja_value *sd_jinja__find(jinja_scope *s, sd_slice name)
{
    for (; s; s = s->up)
        for (int i = 0; i < s->n; i++)
            if (sd_slice_eq(s->name[i], name)) return &s->value[i];
    return NULL;
}

jinja_scope *sd_jinja__scope(jinja_run *r, jinja_scope *up)
{
    jinja_scope *s = sd_jinja__new(r, sizeof *s);
    if (s) s->up = up;
    return s;
}

void sd_jinja__set(jinja_run *r, jinja_scope *s, sd_slice name, jinja_value v)
{
    if (r->st) return;
    for (int i = 0; i < s->n; i++)
        if (sd_slice_eq(s->name[i], name)) {
            s->value[i] = v;
            return;
        }
    if (s->n == s->cap) {
        int cap = s->cap ? 2 * s->cap : 4;
        sd_slice *names = sd_jinja__new(r, (size_t)cap * sizeof *names);
        jinja_value *values = sd_jinja__new(r, (size_t)cap * sizeof *values);
        if (!names || !values) return;
        if (s->n) memcpy(names, s->name, (size_t)s->n * sizeof *names);
        if (s->n) memcpy(values, s->value, (size_t)s->n * sizeof *values);
        s->name = names;
        s->value = values;
        s->cap = cap;
    }
    s->name[s->n] = name;
    s->value[s->n++] = v;
}

static jinja_value name(jinja_run *r, sd_slice text)
{
    const jinja_value *v = sd_jinja__find(r->scope, text);
    if (v) return *v;
    int global = sd_jinja__find_global(text);
    return global >= 0 ? (jinja_value){.type = JT_GLOBAL, .i = global} : sd_jinja__undef(text);
}

/* ---- attributes and items ---- */

static bool not_there(jinja_run *r, const jinja_value *v)
{
    if (v->type == JT_UNDEF) sd_jinja__fail(r, "\"%.*s\" is not defined", SD_SLICE(v->s));
    return r->st != SD_OK;
}

static jinja_value loop_attr(const jinja_loop *l, sd_slice name)
{
    int64_t i = l->index, n = l->list->n;
    if (sd_slice_eq_str(name, "index")) return sd_jinja__int(i + 1);
    if (sd_slice_eq_str(name, "index0")) return sd_jinja__int(i);
    if (sd_slice_eq_str(name, "revindex")) return sd_jinja__int(n - i);
    if (sd_slice_eq_str(name, "revindex0")) return sd_jinja__int(n - i - 1);
    if (sd_slice_eq_str(name, "first")) return sd_jinja__bool(i == 0);
    if (sd_slice_eq_str(name, "last")) return sd_jinja__bool(i + 1 == n);
    if (sd_slice_eq_str(name, "length")) return sd_jinja__int(n);
    if (sd_slice_eq_str(name, "depth")) return sd_jinja__int(l->depth + 1);
    if (sd_slice_eq_str(name, "depth0")) return sd_jinja__int(l->depth);
    if (sd_slice_eq_str(name, "previtem") && i > 0) return l->list->v[i - 1];
    if (sd_slice_eq_str(name, "nextitem") && i + 1 < n) return l->list->v[i + 1];
    return sd_jinja__undef(name);
}

static jinja_value method(jinja_run *r, const jinja_value *v, sd_slice name)
{
    jinja_method *m = sd_jinja__new(r, sizeof *m);
    if (!m) return JINJA_UNDEF;
    *m = (jinja_method){*v, name};
    return (jinja_value){.type = JT_METHOD, .method = m};
}

/* Jinja2's environment.getattr: an attribute (here always a method), else an item. */
jinja_value sd_jinja__attr(jinja_run *r, const jinja_value *v, sd_slice name)
{
    if (r->st || not_there(r, v)) return JINJA_UNDEF;
    if (sd_jinja__has_method(v, name)) return method(r, v, name);
    if (v->type == JT_LOOP) return loop_attr(v->loop, name);
    if (v->type == JT_MACRO && sd_slice_eq_str(name, "name")) return sd_jinja__str(v->macro->name);
    if (v->type != JT_DICT && v->type != JT_NAMESPACE) return sd_jinja__undef(name);
    const jinja_value *hit = sd_jinja__get(r, v->dict, sd_jinja__str(name));
    return hit ? *hit : sd_jinja__undef(name);
}

static jinja_value char_of(sd_slice s, int64_t i)
{
    size_t at = sd_jinja__char_at(s, i), end = at + 1;
    while (end < s.n && ((unsigned char)s.p[end] & 0xc0) == 0x80) end++;
    return sd_jinja__str((sd_slice){s.p + at, end - at});
}

/* Jinja2's environment.getitem: an item, else (for a string) an attribute. */
jinja_value sd_jinja__item(jinja_run *r, const jinja_value *v, const jinja_value *key)
{
    if (r->st || not_there(r, v)) return JINJA_UNDEF;
    bool whole = key->type == JT_INT || key->type == JT_BOOL;
    if (v->type == JT_DICT) {
        const jinja_value *hit = sd_jinja__get(r, v->dict, *key);
        if (hit) return *hit;
    } else if (whole && (v->type == JT_STR || (v->type == JT_LIST && v->list->kind != JL_ITER))) {
        int64_t n = sd_jinja__length(r, v), i = key->i < 0 ? key->i + n : key->i;
        if (i < 0 || i >= n) return sd_jinja__undef(SD_LIT("an item past the end"));
        return v->type == JT_STR ? char_of(v->s, i) : v->list->v[i];
    }
    if (key->type == JT_STR) return sd_jinja__attr(r, v, key->s);
    return sd_jinja__undef(SD_LIT("an item"));
}

jinja_value sd_jinja__path(jinja_run *r, const jinja_value *v, sd_slice path)
{
    jinja_value at = *v;
    sd_slice part;
    while (!r->st && sd_slice_cut(&path, '.', &part)) {
        int64_t i;
        jinja_value key = sd_parse_i64(part, &i) ? sd_jinja__int(i) : sd_jinja__str(part);
        at = sd_jinja__item(r, &at, &key);
    }
    return at;
}

/* One end of a slice, in 0..n. */
static int64_t bound(jinja_run *r, int32_t node, int64_t n, int64_t otherwise)
{
    if (node < 0) return otherwise;
    jinja_value v = sd_jinja__eval(r, node);
    if (v.type == JT_NONE) return otherwise;
    if (v.type != JT_INT && v.type != JT_BOOL) sd_jinja__fail(r, "a slice by a %s", sd_jinja__type_name(&v));
    int64_t i = v.i < 0 ? v.i + n : v.i;
    return i < 0 ? 0 : i > n ? n : i;
}

static jinja_value slice(jinja_run *r, const jinja_node *node)
{
    jinja_value v = sd_jinja__eval(r, node->a);
    const jinja_node *b = &r->t->node[node->b];
    if (r->st || not_there(r, &v)) return JINJA_UNDEF;
    if (v.type != JT_STR && !(v.type == JT_LIST && v.list->kind != JL_ITER)) {
        sd_jinja__fail(r, "a slice of a %s", sd_jinja__type_name(&v));
        return JINJA_UNDEF;
    }
    int64_t n = sd_jinja__length(r, &v);
    jinja_value step = b->c < 0 ? sd_jinja__int(1) : sd_jinja__eval(r, b->c);
    bool back = step.type == JT_INT && step.i == -1;
    if (!back && !(step.type == JT_INT && step.i >= 1)) sd_jinja__fail(r, "a slice with this step is not supported");
    if (back && (b->a >= 0 || b->b >= 0)) sd_jinja__fail(r, "a backward slice of a part is not supported");
    int64_t from = bound(r, b->a, n, 0), to = bound(r, b->b, n, n);
    if (r->st) return JINJA_UNDEF;
    if (v.type == JT_STR && !back && step.i == 1) {
        size_t at = sd_jinja__char_at(v.s, from), end = sd_jinja__char_at(v.s, to);
        return sd_jinja__str((sd_slice){v.s.p + at, end > at ? end - at : 0});
    }
    const jinja_list *l = sd_jinja__walk(r, &v);
    jinja_value out = sd_jinja__list(r, v.type == JT_LIST ? (jinja_kind)v.list->kind : JL_LIST);
    for (int64_t i = back ? n - 1 : from; !r->st && (back ? i >= 0 : i < to);) {
        sd_jinja__push(r, out.list, l->v[i]);
        if (__builtin_add_overflow(i, step.i, &i)) break;
    }
    if (v.type != JT_STR || r->st) return out;
    sd_buf text;
    sd_buf_init(&text, SD_JINJA_MAX_HEAP);
    for (int64_t i = 0; i < out.list->n; i++) sd_buf_put(&text, out.list->v[i].s.p, out.list->v[i].s.n);
    return sd_jinja__take(r, &text);
}

/* ---- operators ---- */

static jinja_value joined(jinja_run *r, sd_slice a, sd_slice b)
{
    char *p = sd_jinja__new(r, a.n + b.n + 1);
    if (!p) return JINJA_UNDEF;
    if (a.n) memcpy(p, a.p, a.n);
    if (b.n) memcpy(p + a.n, b.p, b.n);
    return sd_jinja__str((sd_slice){p, a.n + b.n});
}

static jinja_value wrong_types(jinja_run *r, const jinja_value *a, const jinja_value *b, const char *op)
{
    if (!not_there(r, a) && !not_there(r, b))
        sd_jinja__fail(r, "%s of a %s and a %s", op, sd_jinja__type_name(a), sd_jinja__type_name(b));
    return JINJA_UNDEF;
}

static jinja_value add_strings(jinja_run *r, const jinja_value *a, const jinja_value *b)
{
    if (!a->safe && !b->safe) return joined(r, a->s, b->s);
    jinja_value x = sd_jinja__escape(r, a), y = sd_jinja__escape(r, b);
    jinja_value out = r->st ? JINJA_UNDEF : joined(r, x.s, y.s);
    out.safe = !r->st;
    return out;
}

jinja_value sd_jinja__add_values(jinja_run *r, const jinja_value *a, const jinja_value *b)
{
    if (a->type == JT_STR && b->type == JT_STR) return add_strings(r, a, b);
    if (a->type == JT_LIST && b->type == JT_LIST && a->list->kind == b->list->kind && a->list->kind <= JL_TUPLE) {
        jinja_value out = sd_jinja__list(r, (jinja_kind)a->list->kind);
        for (int64_t i = 0; i < a->list->n && !r->st; i++) sd_jinja__push(r, out.list, a->list->v[i]);
        for (int64_t i = 0; i < b->list->n && !r->st; i++) sd_jinja__push(r, out.list, b->list->v[i]);
        return out;
    }
    if (!sd_jinja__is_number(a) || !sd_jinja__is_number(b)) return wrong_types(r, a, b, "+");
    int64_t sum;
    if (a->type == JT_FLOAT || b->type == JT_FLOAT) return sd_jinja__float(sd_jinja__real(a) + sd_jinja__real(b));
    if (__builtin_add_overflow(a->i, b->i, &sum)) sd_jinja__fail(r, "a number past 64 bits");
    return sd_jinja__int(sum);
}

static jinja_value repeat(jinja_run *r, const jinja_value *what, int64_t n)
{
    jinja_value out;
    if (what->type == JT_LIST) {
        out = sd_jinja__list(r, (jinja_kind)what->list->kind);
        for (int64_t k = 0; k < n && what->list->n && !r->st; k++)
            for (int64_t i = 0; i < what->list->n && !r->st; i++) sd_jinja__push(r, out.list, what->list->v[i]);
        return out;
    }
    sd_buf b;
    sd_buf_init(&b, SD_JINJA_MAX_HEAP);
    for (int64_t k = 0; k < n && what->s.n && !b.failed; k++) sd_buf_put(&b, what->s.p, what->s.n);
    return sd_jinja__take(r, &b);
}

static jinja_value divide(jinja_run *r, jinja_op op, const jinja_value *a, const jinja_value *b)
{
    bool real = a->type == JT_FLOAT || b->type == JT_FLOAT;
    double x = sd_jinja__real(a), y = sd_jinja__real(b);
    if (y == 0 || (!real && a->i == INT64_MIN && b->i == -1)) {
        sd_jinja__fail(r, y == 0 ? "it divides by 0" : "a number past 64 bits");
        return JINJA_UNDEF;
    }
    if (op == J_DIV) return sd_jinja__float(x / y);
    if (real) {
        double m = fmod(x, y);
        if (m != 0 && (m < 0) != (y < 0)) m += y; /* Python's sign is the divisor's */
        double q = (x - m) / y, whole = floor(q); /* as float_floor_div: nearly whole, and not always from above */
        return sd_jinja__float(op == J_MOD ? m : q - whole > 0.5 ? whole + 1 : whole);
    }
    int64_t q = a->i / b->i, m = a->i % b->i;
    if (m != 0 && (m < 0) != (b->i < 0)) {
        m += b->i;
        q--;
    }
    return sd_jinja__int(op == J_MOD ? m : q);
}

static jinja_value power(jinja_run *r, const jinja_value *a, const jinja_value *b)
{
    if (a->type == JT_FLOAT || b->type == JT_FLOAT || b->i < 0) {
        double f = pow(sd_jinja__real(a), sd_jinja__real(b));
        if (!isfinite(f)) sd_jinja__fail(r, "a power without a value");
        return sd_jinja__float(f);
    }
    int64_t out = 1;
    if (b->i > 64 && (a->i > 1 || a->i < -1)) sd_jinja__fail(r, "a number past 64 bits");
    for (int64_t i = 0; i < (b->i > 64 ? b->i % 2 : b->i) && !r->st; i++)
        if (__builtin_mul_overflow(out, a->i, &out)) sd_jinja__fail(r, "a number past 64 bits");
    if (b->i > 64 && a->i == 0) out = 0;
    return sd_jinja__int(out);
}

static jinja_value percent(jinja_run *r, const jinja_value *a, const jinja_value *b)
{
    jinja_value l = *b;
    if (b->type != JT_LIST || b->list->kind != JL_TUPLE) {
        l = sd_jinja__list(r, JL_LIST);
        if (!r->st) sd_jinja__push(r, l.list, *b);
    }
    return r->st ? JINJA_UNDEF : sd_jinja__percent(r, a->s, l.list);
}

static jinja_value arithmetic(jinja_run *r, const jinja_node *n)
{
    static const char *const sign[] = {
        [J_SUB] = "-", [J_MUL] = "*", [J_DIV] = "/", [J_FLOORDIV] = "//", [J_MOD] = "%", [J_POW] = "**"};
    jinja_op op = (jinja_op)n->op;
    jinja_value a = sd_jinja__eval(r, n->a), b = sd_jinja__eval(r, n->b);
    int64_t v;
    if (r->st) return JINJA_UNDEF;
    r->line = n->line;
    if (op == J_CAT) return joined(r, sd_jinja__text_of(r, &a), sd_jinja__text_of(r, &b));
    if (op == J_ADD) return sd_jinja__add_values(r, &a, &b);
    if (op == J_MOD && a.type == JT_STR) return percent(r, &a, &b);
    if (op == J_MUL) {
        bool text_a = a.type == JT_STR || (a.type == JT_LIST && a.list->kind <= JL_TUPLE);
        bool text_b = b.type == JT_STR || (b.type == JT_LIST && b.list->kind <= JL_TUPLE);
        if (text_a && (b.type == JT_INT || b.type == JT_BOOL)) return repeat(r, &a, b.i);
        if (text_b && (a.type == JT_INT || a.type == JT_BOOL)) return repeat(r, &b, a.i);
    }
    if (!sd_jinja__is_number(&a) || !sd_jinja__is_number(&b)) return wrong_types(r, &a, &b, sign[op]);
    if (op == J_POW) return power(r, &a, &b);
    if (op == J_DIV || op == J_FLOORDIV || op == J_MOD) return divide(r, op, &a, &b);
    if (a.type == JT_FLOAT || b.type == JT_FLOAT) {
        double x = sd_jinja__real(&a), y = sd_jinja__real(&b);
        return sd_jinja__float(op == J_SUB ? x - y : x * y);
    }
    if (op == J_SUB ? __builtin_sub_overflow(a.i, b.i, &v) : __builtin_mul_overflow(a.i, b.i, &v))
        sd_jinja__fail(r, "a number past 64 bits");
    return sd_jinja__int(v);
}

bool sd_jinja__contains(jinja_run *r, const jinja_value *where, const jinja_value *what)
{
    sd_jinja__read(r, where);
    if (where->type == JT_STR) {
        if (what->type != JT_STR) {
            sd_jinja__fail(r, "a %s is looked for in a string", sd_jinja__type_name(what));
            return false;
        }
        return what->s.n == 0 || (where->s.n && memmem(where->s.p, where->s.n, what->s.p, what->s.n));
    }
    if (where->type == JT_DICT) return sd_jinja__is_key(r, what) && sd_jinja__get(r, where->dict, *what) != NULL;
    const jinja_list *l = sd_jinja__walk(r, where);
    for (int64_t i = 0; l && i < l->n && !r->st; i++)
        if (sd_jinja__equal(r, &l->v[i], what)) return true;
    return false;
}

/* A chain: "a < b <= c" is "a < b and b <= c". */
static jinja_value compare(jinja_run *r, const jinja_node *n)
{
    jinja_value left = sd_jinja__eval(r, n->a);
    bool yes = true;
    for (int32_t at = n->b; at >= 0 && yes && !r->st; at = r->t->node[at].next) {
        const jinja_node *then = &r->t->node[at];
        jinja_value right = sd_jinja__eval(r, then->a);
        if (r->st) break;
        r->line = then->line;
        sd_jinja__read(r, &right);
        switch ((jinja_cmp)then->num) {
        case JC_EQ:
            yes = sd_jinja__equal(r, &left, &right);
            break;
        case JC_NE:
            yes = !sd_jinja__equal(r, &left, &right);
            break;
        case JC_LT:
            yes = sd_jinja__order(r, &left, &right) < 0;
            break;
        case JC_LE:
            yes = sd_jinja__at_most(r, &left, &right);
            break;
        case JC_GT:
            yes = sd_jinja__order(r, &left, &right) > 0;
            break;
        case JC_GE:
            yes = sd_jinja__at_least(r, &left, &right);
            break;
        default:
            yes = sd_jinja__contains(r, &right, &left) == (then->num == JC_IN);
        }
        left = right;
    }
    return sd_jinja__bool(yes);
}

/* ---- calls ---- */

static jinja_args arguments(jinja_run *r, int32_t first)
{
    jinja_args a = {NULL, NULL, 0};
    int n = 0;
    for (int32_t at = first; at >= 0; at = r->t->node[at].next) n++;
    if (!n) return a;
    a.v = sd_jinja__new(r, (size_t)n * sizeof *a.v);
    a.key = sd_jinja__new(r, (size_t)n * sizeof *a.key);
    if (!a.v || !a.key) return (jinja_args){NULL, NULL, 0};
    for (int32_t at = first; at >= 0 && !r->st; at = r->t->node[at].next) {
        const jinja_node *arg = &r->t->node[at];
        a.v[a.n] = sd_jinja__eval(r, arg->a);
        a.key[a.n++] = sd_jinja__text(r->t, arg);
    }
    return a;
}

/* Positions go to the first parameters, keywords to those behind them: any other keyword is an error. */
static void check_keywords(jinja_run *r, const jinja_macro *m, const jinja_args *a)
{
    int by_position = 0;
    for (int i = 0; i < a->n; i++) by_position += a->key[i].n == 0;
    for (int i = 0; i < a->n && !r->st; i++) {
        int32_t p = m->params;
        for (int at = 0; p >= 0 && (at < by_position || !sd_slice_eq(a->key[i], sd_jinja__text(r->t, &r->t->node[p]))); at++) p = r->t->node[p].next;
        if (a->key[i].n && p < 0) sd_jinja__fail(r, "macro %.*s takes no keyword argument %.*s", SD_SLICE(m->name), SD_SLICE(a->key[i]));
    }
}

/* Binds parameters and renders the body to a string. */
static jinja_value run_macro(jinja_run *r, const jinja_macro *m, const jinja_args *a, const jinja_value *caller)
{
    jinja_scope *outer = r->scope, *inner = sd_jinja__scope(r, m->scope);
    int position = 0, given = 0;
    if (!inner) return JINJA_UNDEF;
    check_keywords(r, m, a);
    for (int32_t at = m->params; at >= 0 && !r->st; at = r->t->node[at].next, position++) {
        const jinja_node *p = &r->t->node[at];
        sd_slice key = sd_jinja__text(r->t, p);
        int i = 0;
        for (int seen = 0; i < a->n; i++)
            if (a->key[i].n ? sd_slice_eq(a->key[i], key) : seen++ == position) break;
        jinja_value v = i < a->n ? a->v[i] : sd_jinja__undef(key);
        given += i < a->n;
        r->scope = inner; /* a default sees the parameters before it */
        if (i == a->n && p->a >= 0) v = sd_jinja__eval(r, p->a);
        sd_jinja__set(r, inner, key, v);
    }
    r->scope = outer;
    if (!r->st && given < a->n) sd_jinja__fail(r, "macro %.*s is given more arguments than it takes", SD_SLICE(m->name));
    if (caller && !m->calls) sd_jinja__fail(r, "macro %.*s is called with a block and has no use for its caller", SD_SLICE(m->name));
    if (caller) sd_jinja__set(r, inner, SD_LIT("caller"), *caller);
    return sd_jinja__rendered(r, m->body, inner);
}

static jinja_value call_value(jinja_run *r, const jinja_value *f, const jinja_args *a, const jinja_value *caller)
{
    if (r->st || not_there(r, f)) return JINJA_UNDEF;
    if (f->type == JT_MACRO) return run_macro(r, f->macro, a, caller);
    if (caller) {
        sd_jinja__fail(r, "only a macro can be called with a block");
    } else if (f->type == JT_METHOD) {
        return sd_jinja__method(r, f->method, a);
    } else if (f->type == JT_GLOBAL) {
        return sd_jinja__global(r, (int)f->i, a);
    } else {
        sd_jinja__fail(r, "a %s is called", sd_jinja__type_name(f));
    }
    return JINJA_UNDEF;
}

jinja_value sd_jinja__call(jinja_run *r, const jinja_node *n, const jinja_value *caller)
{
    jinja_value f = sd_jinja__eval(r, n->a);
    jinja_args a = arguments(r, n->b);
    r->line = n->line;
    return call_value(r, &f, &a, caller);
}

/* ---- nodes ---- */

static jinja_value list_of(jinja_run *r, const jinja_node *n)
{
    jinja_value l = sd_jinja__list(r, n->op == J_TUPLE ? JL_TUPLE : JL_LIST);
    for (int32_t at = n->a; at >= 0 && !r->st; at = r->t->node[at].next)
        sd_jinja__push(r, l.list, sd_jinja__eval(r, r->t->node[at].a));
    return l;
}

static jinja_value dict_of(jinja_run *r, const jinja_node *n)
{
    jinja_value d = sd_jinja__dict(r);
    for (int32_t at = n->a; at >= 0 && !r->st; at = r->t->node[at].next) {
        jinja_value key = sd_jinja__eval(r, r->t->node[at].a), v = sd_jinja__eval(r, r->t->node[at].b);
        if (!r->st) sd_jinja__put(r, d.dict, key, v);
    }
    return d;
}

static jinja_value signed_value(jinja_run *r, const jinja_node *n)
{
    jinja_value v = sd_jinja__eval(r, n->a);
    if (r->st || not_there(r, &v)) return JINJA_UNDEF;
    if (v.type == JT_FLOAT) return sd_jinja__float(n->op == J_NEG ? -v.f : v.f);
    if (!sd_jinja__is_number(&v) || (n->op == J_NEG && v.i == INT64_MIN)) {
        if (v.type == JT_INT) sd_jinja__fail(r, "a number past 64 bits");
        else sd_jinja__fail(r, "the sign of a %s", sd_jinja__type_name(&v));
        return JINJA_UNDEF;
    }
    return sd_jinja__int(n->op == J_NEG ? -v.i : v.i);
}

/* As in Python, the operand that decided is the value. */
static jinja_value logic(jinja_run *r, const jinja_node *n)
{
    jinja_value v = sd_jinja__eval(r, n->a);
    if (r->st) return v;
    if (n->op == J_NOT) return sd_jinja__bool(!sd_jinja__truth(&v));
    if (n->op == J_COND) {
        if (sd_jinja__truth(&v)) return sd_jinja__eval(r, n->b);
        return n->c >= 0 ? sd_jinja__eval(r, n->c) : sd_jinja__undef(SD_LIT("an \"if\" without \"else\""));
    }
    return sd_jinja__truth(&v) == (n->op == J_AND) ? sd_jinja__eval(r, n->b) : v;
}

static jinja_value applied(jinja_run *r, const jinja_node *n)
{
    jinja_value v = sd_jinja__eval(r, n->a);
    jinja_args a = arguments(r, n->b);
    sd_jinja__read(r, &v);
    if (r->st) return JINJA_UNDEF;
    r->line = n->line;
    if (n->op == J_FILTER) return sd_jinja__filter(r, (int)n->num, &v, &a);
    return sd_jinja__bool(sd_jinja__test(r, (int)n->num, &v, &a));
}

static jinja_value part_of(jinja_run *r, const jinja_node *n)
{
    jinja_value v = sd_jinja__eval(r, n->a), key = JINJA_NONE;
    if (n->op == J_INDEX) key = sd_jinja__eval(r, n->b);
    r->line = n->line;
    return n->op == J_INDEX ? sd_jinja__item(r, &v, &key) : sd_jinja__attr(r, &v, sd_jinja__text(r->t, n));
}

static jinja_value leaf(jinja_run *r, const jinja_node *n)
{
    switch ((jinja_op)n->op) {
    case J_STR:
        return sd_jinja__str(sd_jinja__text(r->t, n));
    case J_INT:
        return sd_jinja__int(n->num);
    case J_FLOAT:
        return sd_jinja__float(n->real);
    case J_BOOL:
        return sd_jinja__bool(n->num);
    case J_NAME:
        return name(r, sd_jinja__text(r->t, n));
    case J_BLOCKTEXT:
        return r->block_text;
    default: /* J_NONE */
        return JINJA_NONE;
    }
}

bool sd_jinja__step(jinja_run *r, int line)
{
    r->line = line;
    return sd_jinja__work(r, 1);
}

static jinja_value value_of(jinja_run *r, const jinja_node *n)
{
    switch ((jinja_op)n->op) {
    case J_LIST:
    case J_TUPLE:
        return list_of(r, n);
    case J_DICT:
        return dict_of(r, n);
    case J_ATTR:
    case J_INDEX:
        return part_of(r, n);
    case J_SLICE:
        return slice(r, n);
    case J_CALL:
        return sd_jinja__call(r, n, NULL);
    case J_FILTER:
    case J_TEST:
        return applied(r, n);
    case J_NOT:
    case J_AND:
    case J_OR:
    case J_COND:
        return logic(r, n);
    case J_NEG:
    case J_POS:
        return signed_value(r, n);
    case J_COMPARE:
        return compare(r, n);
    case J_CAT:
    case J_ADD:
    case J_SUB:
    case J_MUL:
    case J_DIV:
    case J_FLOORDIV:
    case J_MOD:
    case J_POW:
        return arithmetic(r, n);
    default:
        return leaf(r, n);
    }
}

jinja_value sd_jinja__eval(jinja_run *r, int32_t at)
{
    const jinja_node *n = &r->t->node[at];
    if (!sd_jinja__step(r, n->line)) return JINJA_UNDEF;
    if (++r->levels > JINJA_MAX_RUNNING) sd_jinja__fail(r, "calls inside expressions are nested too deeply");
    jinja_value v = r->st ? JINJA_UNDEF : value_of(r, n);
    r->levels--;
    return v;
}
