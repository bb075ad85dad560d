/* Filters: Jinja2's (filters.py, 3.1), by one table. */
#include "text/jinja_run.h"

#include <math.h>
#include <stdio.h>

typedef jinja_value filter_fn(jinja_run *r, const jinja_value *v, const jinja_args *a);

/* ---- arguments ---- */

const jinja_value *sd_jinja__arg(const jinja_args *a, int index, const char *key)
{
    int seen = 0;
    for (int i = 0; i < a->n; i++) {
        if (a->key[i].n == 0 ? seen++ == index : sd_slice_eq_str(a->key[i], key)) return &a->v[i];
    }
    return NULL;
}

int64_t sd_jinja__arg_int(jinja_run *r, const jinja_args *a, int index, const char *key, int64_t otherwise)
{
    const jinja_value *v = sd_jinja__arg(a, index, key);
    if (!v) return otherwise;
    if (v->type != JT_INT && v->type != JT_BOOL) {
        sd_jinja__fail(r, "\"%s\" has to be an integer", key);
        return otherwise;
    }
    return v->i;
}

bool sd_jinja__arg_bool(const jinja_args *a, int index, const char *key, bool otherwise)
{
    const jinja_value *v = sd_jinja__arg(a, index, key);
    return v ? sd_jinja__truth(v) : otherwise;
}

bool sd_jinja__arg_flag(jinja_run *r, const jinja_args *a, int index, const char *key)
{
    return sd_jinja__arg_int(r, a, index, key, 0) != 0;
}

bool sd_jinja__check_args(jinja_run *r, const jinja_args *a, int min, int max, const char *const *keys,
                          const char *what)
{
    for (int i = 0; i < a->n; i++) {
        bool known = a->key[i].n == 0;
        for (int k = 0; keys && keys[k] && !known; k++) known = sd_slice_eq_str(a->key[i], keys[k]);
        if (!known) sd_jinja__fail(r, "%s has no argument \"%.*s\"", what, SD_SLICE(a->key[i]));
    }
    if (a->n < min || a->n > max) sd_jinja__fail(r, "%s is given %d arguments", what, a->n);
    return !r->st;
}

static const jinja_args no_args = {NULL, NULL, 0};

static jinja_value text_value(jinja_run *r, const jinja_value *v)
{
    return sd_jinja__str(sd_jinja__text_of(r, v));
}

static jinja_value lowered(jinja_run *r, const jinja_value *v)
{
    return v->type == JT_STR ? sd_jinja__case(r, v->s, JCASE_LOWER) : *v;
}

/* An item, or the part of it that attribute= names. */
static jinja_value part_of(jinja_run *r, const jinja_value *v, const jinja_value *attribute)
{
    if (!attribute || attribute->type == JT_NONE) return *v;
    if (attribute->type == JT_INT) return sd_jinja__item(r, v, attribute);
    return sd_jinja__path(r, v, sd_jinja__text_of(r, attribute));
}

/* ---- text ---- */

static jinja_value f_trim(jinja_run *r, const jinja_value *v, const jinja_args *a)
{
    static const char *const keys[] = {"chars", NULL};
    if (!sd_jinja__check_args(r, a, 0, 1, keys, "trim")) return JINJA_UNDEF;
    const jinja_value *chars = sd_jinja__arg(a, 0, "chars");
    if (chars && chars->type != JT_STR && chars->type != JT_NONE) sd_jinja__fail(r, "trim of a %s", sd_jinja__type_name(chars));
    if (r->st) return JINJA_UNDEF;
    return sd_jinja__str(sd_jinja__strip(sd_jinja__text_of(r, v), 3, chars && chars->type == JT_STR ? &chars->s : NULL));
}

static jinja_value f_lower(jinja_run *r, const jinja_value *v, const jinja_args *a)
{
    (void)a;
    return sd_jinja__case(r, sd_jinja__text_of(r, v), JCASE_LOWER);
}

static jinja_value f_upper(jinja_run *r, const jinja_value *v, const jinja_args *a)
{
    (void)a;
    return sd_jinja__case(r, sd_jinja__text_of(r, v), JCASE_UPPER);
}

static jinja_value f_capitalize(jinja_run *r, const jinja_value *v, const jinja_args *a)
{
    (void)a;
    return sd_jinja__case(r, sd_jinja__text_of(r, v), JCASE_CAPITALIZE);
}

static jinja_value f_title(jinja_run *r, const jinja_value *v, const jinja_args *a)
{
    (void)a;
    return sd_jinja__case(r, sd_jinja__text_of(r, v), JCASE_TITLE_FILTER);
}

static jinja_value f_string(jinja_run *r, const jinja_value *v, const jinja_args *a)
{
    (void)a;
    return text_value(r, v);
}

static jinja_value f_safe(jinja_run *r, const jinja_value *v, const jinja_args *a)
{
    jinja_value out = text_value(r, v);
    (void)a;
    out.safe = true;
    return out;
}

static jinja_value f_escape(jinja_run *r, const jinja_value *v, const jinja_args *a)
{
    (void)a;
    return sd_jinja__escape(r, v);
}

static jinja_value f_replace(jinja_run *r, const jinja_value *v, const jinja_args *a)
{
    static const char *const keys[] = {"old", "new", "count", NULL};
    if (!sd_jinja__check_args(r, a, 2, 3, keys, "replace")) return JINJA_UNDEF;
    const jinja_value *from = sd_jinja__arg(a, 0, "old"), *to = sd_jinja__arg(a, 1, "new");
    if (!from || !to) {
        sd_jinja__fail(r, "replace needs what to replace and by what");
        return JINJA_UNDEF;
    }
    const jinja_value *count = sd_jinja__arg(a, 2, "count");
    return sd_jinja__replace(r, sd_jinja__text_of(r, v), sd_jinja__text_of(r, from), sd_jinja__text_of(r, to),
                             count && count->type == JT_NONE ? -1 : sd_jinja__arg_int(r, a, 2, "count", -1));
}

static jinja_value f_indent(jinja_run *r, const jinja_value *v, const jinja_args *a)
{
    static const char *const keys[] = {"width", "first", "blank", NULL};
    if (!sd_jinja__check_args(r, a, 0, 3, keys, "indent")) return JINJA_UNDEF;
    if (v->type != JT_STR) {
        sd_jinja__fail(r, "indent of a %s", sd_jinja__type_name(v));
        return JINJA_UNDEF;
    }
    const jinja_value *width = sd_jinja__arg(a, 0, "width");
    bool first = sd_jinja__arg_bool(a, 1, "first", false), blank = sd_jinja__arg_bool(a, 2, "blank", false);
    sd_buf by, out;
    sd_buf_init(&by, 65536);
    sd_buf_init(&out, SD_JINJA_MAX_HEAP);
    if (width && width->type == JT_STR) {
        sd_buf_put(&by, width->s.p, width->s.n);
    } else {
        int64_t n = sd_jinja__arg_int(r, a, 0, "width", 4);
        for (int64_t i = 0; i < n && !by.failed; i++) sd_buf_putc(&by, ' ');
    }
    /* filters.py adds a line end before it splits, so that a last one makes an empty last line. */
    sd_slice s = v->s;
    jinja_value lines = sd_jinja__list(r, JL_LIST);
    if (!r->st) sd_jinja__split_lines(r, s, false, lines.list);
    sd_slice end = sd_jinja__strip(s, 2, &SD_LIT("\n"));
    if (!r->st && (s.n == 0 || end.n < s.n)) sd_jinja__push(r, lines.list, sd_jinja__str(SD_LIT("")));
    for (int64_t i = 0; !r->st && i < lines.list->n; i++) {
        sd_slice line = lines.list->v[i].s;
        if (i) sd_buf_putc(&out, '\n');
        if (i == 0 ? first : (blank || line.n)) sd_buf_put(&out, by.p, by.n);
        sd_buf_put(&out, line.p, line.n);
    }
    if (by.failed) sd_jinja__fail(r, "indent is asked for too much");
    sd_buf_release(&by);
    return sd_jinja__take(r, &out);
}

static jinja_value f_format(jinja_run *r, const jinja_value *v, const jinja_args *a)
{
    jinja_value l = sd_jinja__list(r, JL_TUPLE);
    if (!sd_jinja__check_args(r, a, 0, INT32_MAX, NULL, "format")) return JINJA_UNDEF;
    for (int i = 0; i < a->n; i++) sd_jinja__push(r, l.list, a->v[i]);
    return r->st ? JINJA_UNDEF : sd_jinja__percent(r, sd_jinja__text_of(r, v), l.list);
}

static jinja_value f_tojson(jinja_run *r, const jinja_value *v, const jinja_args *a)
{
    return sd_jinja__tojson(r, v, a);
}

/* ---- numbers ---- */

static jinja_value f_int(jinja_run *r, const jinja_value *v, const jinja_args *a)
{
    static const char *const keys[] = {"default", NULL};
    const jinja_value *otherwise = sd_jinja__arg(a, 0, "default");
    double f;
    int64_t i;
    if (!sd_jinja__check_args(r, a, 0, 1, keys, "int")) return JINJA_UNDEF;
    if (v->type == JT_UNDEF) sd_jinja__fail(r, "%.*s is not defined", SD_SLICE(v->s));
    if (v->type == JT_INT || v->type == JT_BOOL) return sd_jinja__int(v->i);
    sd_slice s = v->type == JT_STR ? sd_jinja__strip(v->s, 3, NULL) : SD_LIT("");
    if (s.n > 1 && s.p[0] == '+') s = (sd_slice){s.p + 1, s.n - 1};
    if (v->type == JT_STR && sd_parse_i64(s, &i)) return sd_jinja__int(i);
    bool real = v->type == JT_FLOAT || (v->type == JT_STR && sd_parse_f64(s, &f));
    if (v->type == JT_FLOAT) f = v->f;
    if (real && fabs(f) < 9e18) return sd_jinja__int((int64_t)f);
    return otherwise ? *otherwise : sd_jinja__int(0);
}

/* Python's words for what is no finite number, in either case and with a sign. */
static bool parse_special(sd_slice s, double *f)
{
    static const struct { const char *name; double f; } word[] = {{"nan", NAN}, {"inf", INFINITY}, {"infinity", INFINITY}};
    const bool minus = s.n && s.p[0] == '-';
    if (minus || (s.n && s.p[0] == '+')) s = (sd_slice){s.p + 1, s.n - 1};
    for (size_t k = 0; k < sizeof word / sizeof *word; k++) {
        size_t i = 0;
        while (i < s.n && word[k].name[i] && (s.p[i] | 0x20) == word[k].name[i]) i++;
        if (i == s.n && !word[k].name[i]) return *f = minus ? -word[k].f : word[k].f, true;
    }
    return false;
}

static jinja_value f_float(jinja_run *r, const jinja_value *v, const jinja_args *a)
{
    static const char *const keys[] = {"default", NULL};
    const jinja_value *otherwise = sd_jinja__arg(a, 0, "default");
    double f;
    if (!sd_jinja__check_args(r, a, 0, 1, keys, "float")) return JINJA_UNDEF;
    if (v->type == JT_UNDEF) sd_jinja__fail(r, "%.*s is not defined", SD_SLICE(v->s));
    if (sd_jinja__is_number(v)) return sd_jinja__float(sd_jinja__real(v));
    sd_slice s = v->type == JT_STR ? sd_jinja__strip(v->s, 3, NULL) : SD_LIT("");
    if (parse_special(s, &f)) return sd_jinja__float(f);
    if (s.n > 1 && s.p[0] == '+') s = (sd_slice){s.p + 1, s.n - 1};
    if (sd_parse_f64(s, &f)) return sd_jinja__float(f);
    return otherwise ? *otherwise : sd_jinja__float(0);
}

static jinja_value f_abs(jinja_run *r, const jinja_value *v, const jinja_args *a)
{
    (void)a;
    if (v->type == JT_FLOAT) return sd_jinja__float(fabs(v->f));
    if (!sd_jinja__is_number(v) || v->i == INT64_MIN) {
        sd_jinja__fail(r, "abs of a %s", sd_jinja__type_name(v));
        return JINJA_UNDEF;
    }
    return sd_jinja__int(v->i < 0 ? -v->i : v->i);
}

static jinja_value f_round(jinja_run *r, const jinja_value *v, const jinja_args *a)
{
    static const char *const keys[] = {"precision", "method", NULL};
    char s[400];
    double f = 0;
    if (!sd_jinja__check_args(r, a, 0, 2, keys, "round")) return JINJA_UNDEF;
    const jinja_value *method = sd_jinja__arg(a, 1, "method");
    const jinja_value *precision = sd_jinja__arg(a, 0, "precision");
    const bool whole = precision && precision->type == JT_NONE && !method; /* Python's round then gives an integer */
    int64_t n = whole ? 0 : sd_jinja__arg_int(r, a, 0, "precision", 0);
    bool ceiling = method && method->type == JT_STR && sd_slice_eq_str(method->s, "ceil");
    bool floored = method && method->type == JT_STR && sd_slice_eq_str(method->s, "floor");
    if (method && !ceiling && !floored && !(method->type == JT_STR && sd_slice_eq_str(method->s, "common")))
        sd_jinja__fail(r, "the method of round has to be common, ceil or floor");
    if (!sd_jinja__is_number(v)) sd_jinja__fail(r, "round of a %s", sd_jinja__type_name(v));
    if (n < 0 || n > 15) sd_jinja__fail(r, "round to %lld places is not supported", (long long)n);
    if (r->st) return JINJA_UNDEF;
    f = sd_jinja__real(v);
    if (ceiling || floored) {
        double p = pow(10, (double)n);
        return sd_jinja__float((ceiling ? ceil(f * p) : floor(f * p)) / p);
    }
    if (v->type != JT_FLOAT) return sd_jinja__int(v->i); /* Python's round leaves whole numbers whole */
    /* Like Python's: the decimal nearest to the exact binary value. "%.*f" is that, in any locale but for its point. */
    snprintf(s, sizeof s, "%.*f", (int)n, f);
    for (char *p = s; *p; p++)
        if (*p == ',') *p = '.';
    sd_parse_f64(sd_slice_of(s), &f);
    return whole && fabs(f) < 9e18 ? sd_jinja__int((int64_t)f) : sd_jinja__float(f);
}

/* ---- lists ---- */

static jinja_value f_length(jinja_run *r, const jinja_value *v, const jinja_args *a)
{
    (void)a;
    return sd_jinja__int(sd_jinja__length(r, v));
}

static jinja_value f_list(jinja_run *r, const jinja_value *v, const jinja_args *a)
{
    const jinja_list *from = sd_jinja__walk(r, v);
    jinja_value out = sd_jinja__list(r, JL_LIST);
    (void)a;
    for (int64_t i = 0; !r->st && i < from->n; i++) sd_jinja__push(r, out.list, from->v[i]);
    return out;
}

static jinja_value f_first(jinja_run *r, const jinja_value *v, const jinja_args *a)
{
    const jinja_list *l = sd_jinja__walk(r, v);
    (void)a;
    return l && l->n ? l->v[0] : sd_jinja__undef(SD_LIT("the first of nothing"));
}

static jinja_value f_last(jinja_run *r, const jinja_value *v, const jinja_args *a)
{
    const jinja_list *l = sd_jinja__walk(r, v);
    (void)a;
    return l && l->n ? l->v[l->n - 1] : sd_jinja__undef(SD_LIT("the last of nothing"));
}

static jinja_value f_reverse(jinja_run *r, const jinja_value *v, const jinja_args *a)
{
    const jinja_list *l = sd_jinja__walk(r, v);
    jinja_value out = sd_jinja__list(r, JL_ITER);
    (void)a;
    for (int64_t i = l ? l->n : 0; !r->st && i > 0; i--) sd_jinja__push(r, out.list, l->v[i - 1]);
    if (r->st || v->type != JT_STR) return out;
    sd_buf b;
    sd_buf_init(&b, SD_JINJA_MAX_HEAP);
    for (int64_t i = 0; i < out.list->n; i++) sd_buf_put(&b, out.list->v[i].s.p, out.list->v[i].s.n);
    return sd_jinja__take(r, &b);
}

static jinja_value f_join(jinja_run *r, const jinja_value *v, const jinja_args *a)
{
    static const char *const keys[] = {"d", "attribute", NULL};
    if (!sd_jinja__check_args(r, a, 0, 2, keys, "join")) return JINJA_UNDEF;
    const jinja_value *by = sd_jinja__arg(a, 0, "d"), *attribute = sd_jinja__arg(a, 1, "attribute");
    const jinja_list *l = sd_jinja__walk(r, v);
    sd_buf b;
    sd_buf_init(&b, SD_JINJA_MAX_HEAP);
    for (int64_t i = 0; !r->st && i < l->n; i++) {
        jinja_value item = part_of(r, &l->v[i], attribute);
        if (i && by && !r->st) sd_jinja__print(r, &b, by, false);
        if (!r->st) sd_jinja__print(r, &b, &item, false);
    }
    return sd_jinja__take(r, &b);
}

/* Stable; `less` compares what part_of and the case rule give. Insertion: lists of a template are short, and every
 * comparison counts as a step. */
static void sort_list(jinja_run *r, jinja_list *l, const jinja_value *attribute, bool exact_case, bool backwards)
{
    jinja_value keys = sd_jinja__list(r, JL_LIST);
    for (int64_t i = 0; !r->st && i < l->n; i++) {
        jinja_value key = part_of(r, &l->v[i], attribute);
        sd_jinja__push(r, keys.list, exact_case ? key : lowered(r, &key));
    }
    for (int64_t i = 1; !r->st && i < l->n; i++) {
        jinja_value item = l->v[i], key = keys.list->v[i];
        int64_t k = i;
        for (; k > 0 && !r->st; k--) {
            int c = sd_jinja__work(r, 1) ? sd_jinja__order(r, &keys.list->v[k - 1], &key) : 0;
            if (backwards ? c >= 0 : c <= 0) break;
            l->v[k] = l->v[k - 1];
            keys.list->v[k] = keys.list->v[k - 1];
        }
        l->v[k] = item;
        keys.list->v[k] = key;
    }
}

static jinja_value f_sort(jinja_run *r, const jinja_value *v, const jinja_args *a)
{
    static const char *const keys[] = {"reverse", "case_sensitive", "attribute", NULL};
    if (!sd_jinja__check_args(r, a, 0, 3, keys, "sort")) return JINJA_UNDEF;
    jinja_value out = f_list(r, v, &no_args);
    if (!r->st)
        sort_list(r, out.list, sd_jinja__arg(a, 2, "attribute"), sd_jinja__arg_bool(a, 1, "case_sensitive", false),
                  sd_jinja__arg_flag(r, a, 0, "reverse"));
    return out;
}

static jinja_value f_unique(jinja_run *r, const jinja_value *v, const jinja_args *a)
{
    static const char *const keys[] = {"case_sensitive", "attribute", NULL};
    if (!sd_jinja__check_args(r, a, 0, 2, keys, "unique")) return JINJA_UNDEF;
    bool exact = sd_jinja__arg_bool(a, 0, "case_sensitive", false);
    const jinja_list *l = sd_jinja__walk(r, v);
    jinja_value out = sd_jinja__list(r, JL_ITER), seen = sd_jinja__dict(r);
    for (int64_t i = 0; !r->st && i < l->n; i++) {
        jinja_value key = part_of(r, &l->v[i], sd_jinja__arg(a, 1, "attribute"));
        if (!exact) key = lowered(r, &key);
        if (r->st || sd_jinja__get(r, seen.dict, key)) continue;
        sd_jinja__put(r, seen.dict, key, JINJA_NONE);
        sd_jinja__push(r, out.list, l->v[i]);
    }
    return out;
}

static jinja_value extreme(jinja_run *r, const jinja_value *v, const jinja_args *a, int sign)
{
    static const char *const keys[] = {"case_sensitive", "attribute", NULL};
    if (!sd_jinja__check_args(r, a, 0, 2, keys, sign > 0 ? "max" : "min")) return JINJA_UNDEF;
    bool exact = sd_jinja__arg_bool(a, 0, "case_sensitive", false);
    const jinja_list *l = sd_jinja__walk(r, v);
    jinja_value best = JINJA_UNDEF, best_key = JINJA_UNDEF;
    for (int64_t i = 0; !r->st && i < l->n; i++) {
        jinja_value key = part_of(r, &l->v[i], sd_jinja__arg(a, 1, "attribute"));
        if (!exact) key = lowered(r, &key);
        if (i && sd_jinja__order(r, &key, &best_key) * sign <= 0) continue;
        best = l->v[i];
        best_key = key;
    }
    return best;
}

static jinja_value f_max(jinja_run *r, const jinja_value *v, const jinja_args *a)
{
    return extreme(r, v, a, 1);
}

static jinja_value f_min(jinja_run *r, const jinja_value *v, const jinja_args *a)
{
    return extreme(r, v, a, -1);
}

static jinja_value f_sum(jinja_run *r, const jinja_value *v, const jinja_args *a)
{
    static const char *const keys[] = {"attribute", "start", NULL};
    if (!sd_jinja__check_args(r, a, 0, 2, keys, "sum")) return JINJA_UNDEF;
    const jinja_value *start = sd_jinja__arg(a, 1, "start");
    const jinja_list *l = sd_jinja__walk(r, v);
    if (start && start->type == JT_STR) sd_jinja__fail(r, "sum does not join strings");
    jinja_value sum = start ? *start : sd_jinja__int(0);
    for (int64_t i = 0; !r->st && i < l->n; i++) {
        jinja_value item = part_of(r, &l->v[i], sd_jinja__arg(a, 0, "attribute"));
        sum = sd_jinja__add_values(r, &sum, &item);
    }
    return sum;
}

static jinja_value f_default(jinja_run *r, const jinja_value *v, const jinja_args *a)
{
    static const char *const keys[] = {"default_value", "boolean", NULL};
    if (!sd_jinja__check_args(r, a, 0, 2, keys, "default")) return JINJA_UNDEF;
    bool take = v->type == JT_UNDEF || (sd_jinja__arg_bool(a, 1, "boolean", false) && !sd_jinja__truth(v));
    const jinja_value *otherwise = sd_jinja__arg(a, 0, "default_value");
    return !take ? *v : otherwise ? *otherwise : sd_jinja__str(SD_LIT(""));
}

static jinja_value pair(jinja_run *r, jinja_value a, jinja_value b)
{
    jinja_value t = sd_jinja__list(r, JL_TUPLE);
    if (!r->st) sd_jinja__push(r, t.list, a);
    if (!r->st) sd_jinja__push(r, t.list, b);
    return t;
}

static jinja_value f_items(jinja_run *r, const jinja_value *v, const jinja_args *a)
{
    jinja_value out = sd_jinja__list(r, JL_ITER);
    (void)a;
    if (v->type != JT_DICT && v->type != JT_UNDEF) sd_jinja__fail(r, "items of a %s", sd_jinja__type_name(v));
    for (int64_t i = 0; !r->st && v->type == JT_DICT && i < v->dict->n; i++)
        sd_jinja__push(r, out.list, pair(r, v->dict->key[i], v->dict->value[i]));
    return out;
}

static jinja_value f_dictsort(jinja_run *r, const jinja_value *v, const jinja_args *a)
{
    static const char *const keys[] = {"case_sensitive", "by", "reverse", NULL};
    if (!sd_jinja__check_args(r, a, 0, 3, keys, "dictsort")) return JINJA_UNDEF;
    if (v->type == JT_UNDEF) sd_jinja__fail(r, "%.*s is not defined", SD_SLICE(v->s));
    const jinja_value *by = sd_jinja__arg(a, 1, "by");
    const bool by_value = by && by->type == JT_STR && sd_slice_eq_str(by->s, "value");
    if (by && !by_value && !(by->type == JT_STR && sd_slice_eq_str(by->s, "key"))) sd_jinja__fail(r, "dictsort is by \"key\" or \"value\"");
    jinja_value at = sd_jinja__int(by_value);
    jinja_value pairs = f_items(r, v, &no_args);
    jinja_value out = r->st ? pairs : f_list(r, &pairs, &no_args);
    if (!r->st)
        sort_list(r, out.list, &at, sd_jinja__arg_bool(a, 0, "case_sensitive", false),
                  sd_jinja__arg_flag(r, a, 2, "reverse"));
    return out;
}

/* The arguments from `from` on. */
static jinja_args later(const jinja_args *a, int from)
{
    return a->n > from ? (jinja_args){a->v + from, a->key + from, a->n - from} : (jinja_args){0};
}

static jinja_value f_map(jinja_run *r, const jinja_value *v, const jinja_args *a)
{
    const jinja_value *attribute = sd_jinja__arg(a, INT32_MAX, "attribute");
    const jinja_value *otherwise = sd_jinja__arg(a, INT32_MAX, "default");
    int filter = -1;
    if (!attribute) {
        bool named = a->n > 0 && a->key[0].n == 0 && a->v[0].type == JT_STR;
        if (named) filter = sd_jinja__find_filter(a->v[0].s);
        if (filter < 0) sd_jinja__fail(r, "map needs attribute= or the name of a filter");
    }
    jinja_value out = sd_jinja__list(r, JL_ITER);
    if (r->st || !sd_jinja__truth(v)) return out; /* whatever is false has no items, None too */
    const jinja_list *l = sd_jinja__walk(r, v);
    const jinja_args rest = filter >= 0 ? later(a, 1) : no_args;
    for (int64_t i = 0; !r->st && i < l->n; i++) {
        jinja_value item;
        if (attribute) {
            item = part_of(r, &l->v[i], attribute);
            if (item.type == JT_UNDEF && otherwise) item = *otherwise;
        } else {
            item = sd_jinja__filter(r, filter, &l->v[i], &rest);
        }
        sd_jinja__push(r, out.list, item);
    }
    return out;
}

/* select, reject, selectattr, rejectattr: those whose value (or attribute) passes a test, or is true without one. */
static jinja_value choose(jinja_run *r, const jinja_value *v, const jinja_args *a, bool by_attribute, bool keep)
{
    const jinja_value *attribute = by_attribute && a->n ? &a->v[0] : NULL;
    jinja_args rest = later(a, by_attribute ? 1 : 0);
    int test = -1;
    if (by_attribute && !attribute) sd_jinja__fail(r, "the name of an attribute is missing");
    if (rest.n) {
        if (rest.v[0].type == JT_STR) test = sd_jinja__find_test(rest.v[0].s);
        if (test < 0) sd_jinja__fail(r, "there is no such test");
        rest = later(&rest, 1);
    }
    jinja_value out = sd_jinja__list(r, JL_ITER);
    if (r->st || !sd_jinja__truth(v)) return out; /* whatever is false has no items, None too */
    const jinja_list *l = sd_jinja__walk(r, v);
    for (int64_t i = 0; !r->st && i < l->n; i++) {
        jinja_value item = part_of(r, &l->v[i], attribute);
        bool yes = !r->st && (test >= 0 ? sd_jinja__test(r, test, &item, &rest) : sd_jinja__truth(&item));
        if (yes == keep) sd_jinja__push(r, out.list, l->v[i]);
    }
    return out;
}

static jinja_value f_select(jinja_run *r, const jinja_value *v, const jinja_args *a)
{
    return choose(r, v, a, false, true);
}

static jinja_value f_reject(jinja_run *r, const jinja_value *v, const jinja_args *a)
{
    return choose(r, v, a, false, false);
}

static jinja_value f_selectattr(jinja_run *r, const jinja_value *v, const jinja_args *a)
{
    return choose(r, v, a, true, true);
}

static jinja_value f_rejectattr(jinja_run *r, const jinja_value *v, const jinja_args *a)
{
    return choose(r, v, a, true, false);
}

static jinja_value f_attr(jinja_run *r, const jinja_value *v, const jinja_args *a)
{
    if (!sd_jinja__check_args(r, a, 1, 1, NULL, "attr")) return JINJA_UNDEF;
    if (a->v[0].type != JT_STR) {
        sd_jinja__fail(r, "attr by a %s", sd_jinja__type_name(&a->v[0]));
        return JINJA_UNDEF;
    }
    /* Only attributes, not items: of a dictionary those are its methods. */
    sd_slice name = a->v[0].s;
    return v->type == JT_DICT && !sd_jinja__has_method(v, name) ? sd_jinja__undef(name) : sd_jinja__attr(r, v, name);
}

static const struct {
    const char *name;
    filter_fn *run;
    bool alone; /* takes no arguments */
} filters[] = {{"abs", f_abs, true},
               {"attr", f_attr, false},
               {"capitalize", f_capitalize, true},
               {"count", f_length, true},
               {"d", f_default, false},
               {"default", f_default, false},
               {"dictsort", f_dictsort, false},
               {"e", f_escape, true},
               {"escape", f_escape, true},
               {"first", f_first, true},
               {"float", f_float, false},
               {"format", f_format, false},
               {"indent", f_indent, false},
               {"int", f_int, false},
               {"items", f_items, true},
               {"join", f_join, false},
               {"last", f_last, true},
               {"length", f_length, true},
               {"list", f_list, true},
               {"lower", f_lower, true},
               {"map", f_map, false},
               {"max", f_max, false},
               {"min", f_min, false},
               {"reject", f_reject, false},
               {"rejectattr", f_rejectattr, false},
               {"replace", f_replace, false},
               {"reverse", f_reverse, true},
               {"round", f_round, false},
               {"safe", f_safe, true},
               {"select", f_select, false},
               {"selectattr", f_selectattr, false},
               {"sort", f_sort, false},
               {"string", f_string, true},
               {"sum", f_sum, false},
               {"title", f_title, true},
               {"tojson", f_tojson, false},
               {"trim", f_trim, false},
               {"unique", f_unique, false},
               {"upper", f_upper, true}};

int sd_jinja__find_filter(sd_slice name)
{
    for (size_t i = 0; i < sizeof filters / sizeof filters[0]; i++)
        if (sd_slice_eq_str(name, filters[i].name)) return (int)i;
    return -1;
}

jinja_value sd_jinja__filter(jinja_run *r, int index, const jinja_value *v, const jinja_args *a)
{
    if (filters[index].alone && a->n) sd_jinja__fail(r, "%s takes no arguments", filters[index].name);
    return r->st ? JINJA_UNDEF : filters[index].run(r, v, a);
}
