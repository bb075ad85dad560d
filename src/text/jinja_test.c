/* Tests ("x is defined"): Jinja2's (tests.py, 3.1), by one table. */
#include "text/jinja_run.h"

#include <math.h>
#include <utf8proc.h>

typedef bool test_fn(jinja_run *r, const jinja_value *v, const jinja_value *other);

static bool t_defined(jinja_run *r, const jinja_value *v, const jinja_value *other)
{
    (void)r, (void)other;
    return v->type != JT_UNDEF;
}

static bool t_undefined(jinja_run *r, const jinja_value *v, const jinja_value *other)
{
    (void)r, (void)other;
    return v->type == JT_UNDEF;
}

static bool t_none(jinja_run *r, const jinja_value *v, const jinja_value *other)
{
    (void)r, (void)other;
    return v->type == JT_NONE;
}

static bool t_boolean(jinja_run *r, const jinja_value *v, const jinja_value *other)
{
    (void)r, (void)other;
    return v->type == JT_BOOL;
}

static bool t_true(jinja_run *r, const jinja_value *v, const jinja_value *other)
{
    (void)r, (void)other;
    return v->type == JT_BOOL && v->i;
}

static bool t_false(jinja_run *r, const jinja_value *v, const jinja_value *other)
{
    (void)r, (void)other;
    return v->type == JT_BOOL && !v->i;
}

static bool t_integer(jinja_run *r, const jinja_value *v, const jinja_value *other)
{
    (void)r, (void)other;
    return v->type == JT_INT;
}

static bool t_float(jinja_run *r, const jinja_value *v, const jinja_value *other)
{
    (void)r, (void)other;
    return v->type == JT_FLOAT;
}

static bool t_number(jinja_run *r, const jinja_value *v, const jinja_value *other)
{
    (void)r, (void)other;
    return sd_jinja__is_number(v);
}

static bool t_string(jinja_run *r, const jinja_value *v, const jinja_value *other)
{
    (void)r, (void)other;
    return v->type == JT_STR;
}

static bool t_mapping(jinja_run *r, const jinja_value *v, const jinja_value *other)
{
    (void)r, (void)other;
    return v->type == JT_DICT;
}

/* An undefined value can be walked, and is empty. */
static bool t_iterable(jinja_run *r, const jinja_value *v, const jinja_value *other)
{
    (void)r, (void)other;
    return v->type == JT_STR || v->type == JT_LIST || v->type == JT_DICT || v->type == JT_UNDEF || v->type == JT_LOOP;
}

static bool t_sequence(jinja_run *r, const jinja_value *v, const jinja_value *other)
{
    (void)r, (void)other;
    return v->type == JT_STR || v->type == JT_DICT || v->type == JT_UNDEF ||
           (v->type == JT_LIST && v->list->kind <= JL_TUPLE);
}

static bool t_callable(jinja_run *r, const jinja_value *v, const jinja_value *other)
{
    (void)r, (void)other;
    return v->type == JT_MACRO || v->type == JT_METHOD || v->type == JT_GLOBAL || v->type == JT_UNDEF;
}

static bool is_whole(jinja_run *r, const jinja_value *v)
{
    if (v->type != JT_INT && v->type != JT_BOOL) sd_jinja__fail(r, "a %s is no integer", sd_jinja__type_name(v));
    return !r->st;
}

static bool has_rest(jinja_run *r, const jinja_value *v, int rest)
{
    if (v->type == JT_FLOAT) return fabs(fmod(v->f, 2)) == rest;
    return is_whole(r, v) && (v->i % 2 != 0) == rest;
}

static bool t_odd(jinja_run *r, const jinja_value *v, const jinja_value *other)
{
    (void)other;
    return has_rest(r, v, 1);
}

static bool t_even(jinja_run *r, const jinja_value *v, const jinja_value *other)
{
    (void)other;
    return has_rest(r, v, 0);
}

static bool t_divisibleby(jinja_run *r, const jinja_value *v, const jinja_value *other)
{
    if (v->type == JT_FLOAT && is_whole(r, other) && other->i != 0) return fmod(v->f, (double)other->i) == 0;
    if (!is_whole(r, v) || !is_whole(r, other)) return false;
    if (other->i == 0) sd_jinja__fail(r, "it divides by 0");
    return !r->st && other->i != -1 ? v->i % other->i == 0 : !r->st;
}

/* Python's islower and isupper: some letter with case, none of the other case. */
static bool one_case(jinja_run *r, const jinja_value *v, bool upper)
{
    sd_slice s = sd_jinja__text_of(r, v);
    bool some = false;
    for (size_t i = 0; i < s.n;) {
        uint32_t cp = 0;
        int len = sd_utf8_decode(s.p + i, s.n - i, &cp);
        if (len <= 0) break;
        utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
        if (c == UTF8PROC_CATEGORY_LT || c == (upper ? UTF8PROC_CATEGORY_LL : UTF8PROC_CATEGORY_LU)) return false;
        some |= c == (upper ? UTF8PROC_CATEGORY_LU : UTF8PROC_CATEGORY_LL);
        i += (size_t)len;
    }
    return some;
}

static bool t_lower(jinja_run *r, const jinja_value *v, const jinja_value *other)
{
    (void)other;
    return one_case(r, v, false);
}

static bool t_upper(jinja_run *r, const jinja_value *v, const jinja_value *other)
{
    (void)other;
    return one_case(r, v, true);
}

static bool t_in(jinja_run *r, const jinja_value *v, const jinja_value *other)
{
    return sd_jinja__contains(r, other, v);
}

static bool t_eq(jinja_run *r, const jinja_value *v, const jinja_value *other)
{
    return sd_jinja__equal(r, v, other);
}

static bool t_ne(jinja_run *r, const jinja_value *v, const jinja_value *other)
{
    return !sd_jinja__equal(r, v, other);
}

static bool t_lt(jinja_run *r, const jinja_value *v, const jinja_value *other)
{
    return sd_jinja__order(r, v, other) < 0;
}

static bool t_le(jinja_run *r, const jinja_value *v, const jinja_value *other)
{
    return sd_jinja__at_most(r, v, other);
}

static bool t_gt(jinja_run *r, const jinja_value *v, const jinja_value *other)
{
    return sd_jinja__order(r, v, other) > 0;
}

static bool t_ge(jinja_run *r, const jinja_value *v, const jinja_value *other)
{
    return sd_jinja__at_least(r, v, other);
}

static const struct {
    const char *name;
    test_fn *run;
    bool other; /* takes one argument */
} tests[] = {{"boolean", t_boolean, false},
             {"callable", t_callable, false},
             {"defined", t_defined, false},
             {"divisibleby", t_divisibleby, true},
             {"eq", t_eq, true},
             {"equalto", t_eq, true},
             {"==", t_eq, true},
             {"!=", t_ne, true},
             {"<", t_lt, true},
             {"<=", t_le, true},
             {">", t_gt, true},
             {">=", t_ge, true},
             {"even", t_even, false},
             {"false", t_false, false},
             {"float", t_float, false},
             {"ge", t_ge, true},
             {"greaterthan", t_gt, true},
             {"gt", t_gt, true},
             {"in", t_in, true},
             {"integer", t_integer, false},
             {"iterable", t_iterable, false},
             {"le", t_le, true},
             {"lessthan", t_lt, true},
             {"lower", t_lower, false},
             {"lt", t_lt, true},
             {"mapping", t_mapping, false},
             {"ne", t_ne, true},
             {"none", t_none, false},
             {"number", t_number, false},
             {"odd", t_odd, false},
             {"sequence", t_sequence, false},
             {"string", t_string, false},
             {"true", t_true, false},
             {"undefined", t_undefined, false},
             {"upper", t_upper, false}};

int sd_jinja__find_test(sd_slice name)
{
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++)
        if (sd_slice_eq_str(name, tests[i].name)) return (int)i;
    return -1;
}

bool sd_jinja__test(jinja_run *r, int index, const jinja_value *v, const jinja_args *a)
{
    if (r->st || !sd_jinja__check_args(r, a, tests[index].other, tests[index].other, NULL, tests[index].name))
        return false;
    bool yes = tests[index].run(r, v, a->v);
    return !r->st && yes;
}
