/* Methods of strings and dictionaries as Python has them, and the functions a template finds ready. Methods that change
 * a value are refused, as transformers' immutable sandbox refuses them. */
#include "text/jinja_run.h"

#include <utf8proc.h>

typedef jinja_value method_fn(jinja_run *r, const jinja_value *self, const jinja_args *a);

static const jinja_args no_args = {NULL, NULL, 0};

/* An argument that has to be a string; SD_LIT("") after an error. */
static sd_slice string_arg(jinja_run *r, const jinja_args *a, int index, const char *what)
{
    const jinja_value *v = sd_jinja__arg(a, index, "");
    if (v && v->type == JT_STR) return v->s;
    sd_jinja__fail(r, "%s needs a string", what);
    return SD_LIT("");
}

static jinja_value strip(jinja_run *r, const jinja_value *self, const jinja_args *a, int sides, const char *what)
{
    if (!sd_jinja__check_args(r, a, 0, 1, NULL, what)) return JINJA_UNDEF;
    bool given = a->n && a->v[0].type != JT_NONE;
    sd_slice chars = given ? string_arg(r, a, 0, what) : SD_LIT("");
    return sd_jinja__str(sd_jinja__strip(self->s, sides, given ? &chars : NULL));
}

static jinja_value m_strip(jinja_run *r, const jinja_value *self, const jinja_args *a)
{
    return strip(r, self, a, 3, "strip");
}

static jinja_value m_lstrip(jinja_run *r, const jinja_value *self, const jinja_args *a)
{
    return strip(r, self, a, 1, "lstrip");
}

static jinja_value m_rstrip(jinja_run *r, const jinja_value *self, const jinja_args *a)
{
    return strip(r, self, a, 2, "rstrip");
}

static jinja_value cased(jinja_run *r, const jinja_value *self, const jinja_args *a, jinja_case how)
{
    return sd_jinja__check_args(r, a, 0, 0, NULL, "a change of case") ? sd_jinja__case(r, self->s, how) : JINJA_UNDEF;
}

static jinja_value m_lower(jinja_run *r, const jinja_value *self, const jinja_args *a)
{
    return cased(r, self, a, JCASE_LOWER);
}

static jinja_value m_upper(jinja_run *r, const jinja_value *self, const jinja_args *a)
{
    return cased(r, self, a, JCASE_UPPER);
}

static jinja_value m_title(jinja_run *r, const jinja_value *self, const jinja_args *a)
{
    return cased(r, self, a, JCASE_TITLE);
}

static jinja_value m_capitalize(jinja_run *r, const jinja_value *self, const jinja_args *a)
{
    return cased(r, self, a, JCASE_CAPITALIZE);
}

static jinja_value m_swapcase(jinja_run *r, const jinja_value *self, const jinja_args *a)
{
    return cased(r, self, a, JCASE_SWAP);
}

/* startswith and endswith; the argument may be a tuple. */
static jinja_value at_edge(jinja_run *r, const jinja_value *self, const jinja_args *a, bool end)
{
    if (!sd_jinja__check_args(r, a, 1, 1, NULL, end ? "endswith" : "startswith")) return JINJA_UNDEF;
    const jinja_value *v = &a->v[0];
    bool tuple = v->type == JT_LIST && v->list->kind == JL_TUPLE;
    for (int64_t i = 0, n = tuple ? v->list->n : 1; i < n; i++) {
        const jinja_value *part = tuple ? &v->list->v[i] : v;
        if (part->type != JT_STR) {
            sd_jinja__fail(r, "%s needs a string", end ? "endswith" : "startswith");
            return JINJA_UNDEF;
        }
        if (part->s.n > self->s.n) continue;
        const char *at = end ? self->s.p + self->s.n - part->s.n : self->s.p;
        if (part->s.n == 0 || memcmp(at, part->s.p, part->s.n) == 0) return sd_jinja__bool(true);
    }
    return sd_jinja__bool(false);
}

static jinja_value m_startswith(jinja_run *r, const jinja_value *self, const jinja_args *a)
{
    return at_edge(r, self, a, false);
}

static jinja_value m_endswith(jinja_run *r, const jinja_value *self, const jinja_args *a)
{
    return at_edge(r, self, a, true);
}

static jinja_value without_edge(jinja_run *r, const jinja_value *self, const jinja_args *a, bool end)
{
    const char *what = end ? "removesuffix" : "removeprefix";
    if (!sd_jinja__check_args(r, a, 1, 1, NULL, what)) return JINJA_UNDEF;
    sd_slice part = string_arg(r, a, 0, what), s = self->s;
    if (part.n == 0 || part.n > s.n) return *self;
    if (memcmp(end ? s.p + s.n - part.n : s.p, part.p, part.n) != 0) return *self;
    return sd_jinja__str((sd_slice){end ? s.p : s.p + part.n, s.n - part.n});
}

static jinja_value m_removeprefix(jinja_run *r, const jinja_value *self, const jinja_args *a)
{
    return without_edge(r, self, a, false);
}

static jinja_value m_removesuffix(jinja_run *r, const jinja_value *self, const jinja_args *a)
{
    return without_edge(r, self, a, true);
}

static jinja_value m_replace(jinja_run *r, const jinja_value *self, const jinja_args *a)
{
    if (!sd_jinja__check_args(r, a, 2, 3, NULL, "replace")) return JINJA_UNDEF;
    sd_slice from = string_arg(r, a, 0, "replace"), to = string_arg(r, a, 1, "replace");
    return sd_jinja__replace(r, self->s, from, to, sd_jinja__arg_int(r, a, 2, "count", -1));
}

/* Where `part` begins, from byte `from` on; (size_t)-1: nowhere. */
static size_t find(sd_slice s, sd_slice part, size_t from)
{
    const char *hit = part.n == 0 ? s.p + from : from >= s.n ? NULL : memmem(s.p + from, s.n - from, part.p, part.n);
    return hit ? (size_t)(hit - s.p) : (size_t)-1;
}

static size_t find_last(sd_slice s, sd_slice part)
{
    for (size_t at = part.n <= s.n ? s.n - part.n + 1 : 0; at > 0; at--)
        if (part.n == 0 || memcmp(s.p + at - 1, part.p, part.n) == 0) return at - 1;
    return (size_t)-1;
}

static jinja_value position(jinja_run *r, const jinja_value *self, const jinja_args *a, bool last, bool must)
{
    const char *what = last ? "rfind" : must ? "index" : "find";
    if (!sd_jinja__check_args(r, a, 1, 1, NULL, what)) return JINJA_UNDEF;
    sd_slice part = string_arg(r, a, 0, what);
    size_t at = last ? find_last(self->s, part) : find(self->s, part, 0);
    if (at == (size_t)-1 && must) sd_jinja__fail(r, "index of a string that is not there");
    return sd_jinja__int(at == (size_t)-1 ? -1 : sd_jinja__chars((sd_slice){self->s.p, at}));
}

static jinja_value m_find(jinja_run *r, const jinja_value *self, const jinja_args *a)
{
    return position(r, self, a, false, false);
}

static jinja_value m_rfind(jinja_run *r, const jinja_value *self, const jinja_args *a)
{
    return position(r, self, a, true, false);
}

static jinja_value list_count(jinja_run *r, const jinja_value *self, const jinja_args *a, bool index)
{
    int64_t n = 0;
    if (!sd_jinja__check_args(r, a, 1, 1, NULL, index ? "index" : "count")) return JINJA_UNDEF;
    for (int64_t i = 0; i < self->list->n && !r->st; i++) {
        if (!sd_jinja__equal(r, &self->list->v[i], &a->v[0])) continue;
        if (index) return sd_jinja__int(i);
        n++;
    }
    if (index) sd_jinja__fail(r, "index of something that is not in the list");
    return sd_jinja__int(n);
}

static jinja_value m_index(jinja_run *r, const jinja_value *self, const jinja_args *a)
{
    return self->type == JT_LIST ? list_count(r, self, a, true) : position(r, self, a, false, true);
}

static jinja_value m_count(jinja_run *r, const jinja_value *self, const jinja_args *a)
{
    if (self->type == JT_LIST) return list_count(r, self, a, false);
    if (!sd_jinja__check_args(r, a, 1, 1, NULL, "count")) return JINJA_UNDEF;
    sd_slice part = string_arg(r, a, 0, "count");
    int64_t n = part.n ? 0 : sd_jinja__chars(self->s) + 1;
    for (size_t at = 0; part.n && (at = find(self->s, part, at)) != (size_t)-1; at += part.n) n++;
    return sd_jinja__int(n);
}

/* split at white space: runs of it count as one, none at the edges. */
static void split_space(jinja_run *r, sd_slice s, int64_t max, jinja_list *out)
{
    for (;;) {
        s = sd_jinja__strip(s, 1, NULL);
        if (!s.n || r->st) return;
        if (max >= 0 && out->n == max) {
            sd_jinja__push(r, out, sd_jinja__str(s));
            return;
        }
        size_t end = 0;
        while (end < s.n) {
            uint32_t cp = 0;
            int len = sd_utf8_decode(s.p + end, s.n - end, &cp);
            if (len <= 0 || sd_jinja__is_space(cp)) break;
            end += (size_t)len;
        }
        if (!end) return;
        sd_jinja__push(r, out, sd_jinja__str((sd_slice){s.p, end}));
        s = (sd_slice){s.p + end, s.n - end};
    }
}

static void backwards(jinja_list *l)
{
    for (int64_t i = 0, k = l->n - 1; i < k; i++, k--) {
        jinja_value v = l->v[i];
        l->v[i] = l->v[k];
        l->v[k] = v;
    }
}

static jinja_value split(jinja_run *r, const jinja_value *self, const jinja_args *a, bool right)
{
    static const char *const keys[] = {"sep", "maxsplit", NULL};
    if (!sd_jinja__check_args(r, a, 0, 2, keys, "split")) return JINJA_UNDEF;
    const jinja_value *sep = sd_jinja__arg(a, 0, "sep");
    int64_t max = sd_jinja__arg_int(r, a, 1, "maxsplit", -1);
    jinja_value out = sd_jinja__list(r, JL_LIST);
    sd_slice s = self->s;
    if (r->st) return out;
    if (!sep || sep->type == JT_NONE) {
        if (right && max >= 0) sd_jinja__fail(r, "rsplit at white space with a limit is not supported");
        split_space(r, s, max, out.list);
        return out;
    }
    if (sep->type != JT_STR || !sep->s.n) {
        sd_jinja__fail(r, "split needs a string that is not empty");
        return out;
    }
    for (size_t at; (max < 0 || out.list->n < max) && !r->st;) {
        at = right ? find_last(s, sep->s) : find(s, sep->s, 0);
        if (at == (size_t)-1) break;
        size_t end = at + sep->s.n;
        sd_jinja__push(r, out.list, sd_jinja__str(right ? (sd_slice){s.p + end, s.n - end} : (sd_slice){s.p, at}));
        s = right ? (sd_slice){s.p, at} : (sd_slice){s.p + end, s.n - end};
    }
    sd_jinja__push(r, out.list, sd_jinja__str(s));
    if (right) backwards(out.list);
    return out;
}

static jinja_value m_split(jinja_run *r, const jinja_value *self, const jinja_args *a)
{
    return split(r, self, a, false);
}

static jinja_value m_rsplit(jinja_run *r, const jinja_value *self, const jinja_args *a)
{
    return split(r, self, a, true);
}

static jinja_value part_in_three(jinja_run *r, const jinja_value *self, const jinja_args *a, bool right)
{
    if (!sd_jinja__check_args(r, a, 1, 1, NULL, "partition")) return JINJA_UNDEF;
    sd_slice sep = string_arg(r, a, 0, "partition"), s = self->s, none = SD_LIT("");
    jinja_value out = sd_jinja__list(r, JL_TUPLE);
    if (!sep.n) sd_jinja__fail(r, "partition needs a string that is not empty");
    if (r->st) return out;
    size_t at = right ? find_last(s, sep) : find(s, sep, 0);
    bool hit = at != (size_t)-1;
    sd_slice left = hit ? (sd_slice){s.p, at} : right ? none : s;
    sd_slice rest = hit ? (sd_slice){s.p + at + sep.n, s.n - at - sep.n} : right ? s : none;
    sd_jinja__push(r, out.list, sd_jinja__str(left));
    sd_jinja__push(r, out.list, sd_jinja__str(hit ? sep : none));
    sd_jinja__push(r, out.list, sd_jinja__str(rest));
    return out;
}

static jinja_value m_partition(jinja_run *r, const jinja_value *self, const jinja_args *a)
{
    return part_in_three(r, self, a, false);
}

static jinja_value m_rpartition(jinja_run *r, const jinja_value *self, const jinja_args *a)
{
    return part_in_three(r, self, a, true);
}

static jinja_value m_splitlines(jinja_run *r, const jinja_value *self, const jinja_args *a)
{
    static const char *const keys[] = {"keepends", NULL};
    jinja_value out = sd_jinja__list(r, JL_LIST);
    if (!sd_jinja__check_args(r, a, 0, 1, keys, "splitlines")) return out;
    sd_jinja__split_lines(r, self->s, sd_jinja__arg_flag(r, a, 0, "keepends"), out.list);
    return out;
}

static jinja_value m_join(jinja_run *r, const jinja_value *self, const jinja_args *a)
{
    if (!sd_jinja__check_args(r, a, 1, 1, NULL, "join")) return JINJA_UNDEF;
    const jinja_list *l = sd_jinja__walk(r, &a->v[0]);
    sd_buf b;
    sd_buf_init(&b, SD_JINJA_MAX_HEAP);
    for (int64_t i = 0; !r->st && i < l->n; i++) {
        if (l->v[i].type != JT_STR) sd_jinja__fail(r, "join of something that is no string");
        if (i) sd_buf_put(&b, self->s.p, self->s.n);
        if (!r->st) sd_buf_put(&b, l->v[i].s.p, l->v[i].s.n);
    }
    return sd_jinja__take(r, &b);
}

/* Whether all characters (and at least one) are of a kind. */
static jinja_value all_chars(jinja_run *r, const jinja_value *self, const jinja_args *a, bool digit, bool alpha,
                             bool space)
{
    bool all = self->s.n > 0;
    if (!sd_jinja__check_args(r, a, 0, 0, NULL, "a test of characters")) return JINJA_UNDEF;
    for (size_t i = 0; i < self->s.n && all;) {
        uint32_t cp = 0;
        int len = sd_utf8_decode(self->s.p + i, self->s.n - i, &cp);
        if (len <= 0) break;
        utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
        all = (digit && c == UTF8PROC_CATEGORY_ND) ||
              (alpha && c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO) || (space && sd_jinja__is_space(cp));
        i += (size_t)len;
    }
    return sd_jinja__bool(all);
}

static jinja_value m_isdigit(jinja_run *r, const jinja_value *self, const jinja_args *a)
{
    return all_chars(r, self, a, true, false, false);
}

static jinja_value m_isalpha(jinja_run *r, const jinja_value *self, const jinja_args *a)
{
    return all_chars(r, self, a, false, true, false);
}

static jinja_value m_isalnum(jinja_run *r, const jinja_value *self, const jinja_args *a)
{
    return all_chars(r, self, a, true, true, false);
}

static jinja_value m_isspace(jinja_run *r, const jinja_value *self, const jinja_args *a)
{
    return all_chars(r, self, a, false, false, true);
}

static jinja_value m_islower(jinja_run *r, const jinja_value *self, const jinja_args *a)
{
    (void)a;
    return sd_jinja__bool(sd_jinja__test(r, sd_jinja__find_test(SD_LIT("lower")), self, &no_args));
}

static jinja_value m_isupper(jinja_run *r, const jinja_value *self, const jinja_args *a)
{
    (void)a;
    return sd_jinja__bool(sd_jinja__test(r, sd_jinja__find_test(SD_LIT("upper")), self, &no_args));
}

/* ---- dictionaries ---- */

static jinja_value m_get(jinja_run *r, const jinja_value *self, const jinja_args *a)
{
    if (!sd_jinja__check_args(r, a, 1, 2, NULL, "get")) return JINJA_UNDEF;
    if (!sd_jinja__is_key(r, &a->v[0])) return JINJA_UNDEF;
    const jinja_value *hit = sd_jinja__get(r, self->dict, a->v[0]);
    return hit ? *hit : a->n > 1 ? a->v[1] : JINJA_NONE;
}

/* Keys, values or both. */
static jinja_value view(jinja_run *r, const jinja_value *self, const jinja_args *a, bool keys, bool values)
{
    jinja_value out = sd_jinja__list(r, JL_VIEW);
    if (!sd_jinja__check_args(r, a, 0, 0, NULL, "a view of a dict")) return out;
    for (int64_t i = 0; i < self->dict->n && !r->st; i++) {
        jinja_value item = keys ? self->dict->key[i] : self->dict->value[i];
        if (keys && values) {
            item = sd_jinja__list(r, JL_TUPLE);
            if (!r->st) sd_jinja__push(r, item.list, self->dict->key[i]);
            if (!r->st) sd_jinja__push(r, item.list, self->dict->value[i]);
        }
        sd_jinja__push(r, out.list, item);
    }
    return out;
}

static jinja_value m_items(jinja_run *r, const jinja_value *self, const jinja_args *a)
{
    return view(r, self, a, true, true);
}

static jinja_value m_keys(jinja_run *r, const jinja_value *self, const jinja_args *a)
{
    return view(r, self, a, true, false);
}

static jinja_value m_values(jinja_run *r, const jinja_value *self, const jinja_args *a)
{
    return view(r, self, a, false, true);
}

static jinja_value m_copy(jinja_run *r, const jinja_value *self, const jinja_args *a)
{
    (void)a;
    (void)r;
    return *self; /* nothing can change it */
}

/* ---- loops ---- */

static jinja_value m_cycle(jinja_run *r, const jinja_value *self, const jinja_args *a)
{
    if (!sd_jinja__check_args(r, a, 1, INT32_MAX, NULL, "cycle")) return JINJA_UNDEF;
    return a->v[self->loop->index % a->n];
}

static jinja_value m_changed(jinja_run *r, const jinja_value *self, const jinja_args *a)
{
    jinja_loop *l = self->loop;
    jinja_value now = sd_jinja__list(r, JL_TUPLE);
    for (int i = 0; i < a->n && !r->st; i++) sd_jinja__push(r, now.list, a->v[i]);
    bool changed = !r->st && (!l->has_changed || !sd_jinja__equal(r, &l->changed, &now));
    l->changed = now;
    l->has_changed = true;
    return sd_jinja__bool(changed);
}

#define ON(type) (1u << (type))

static const struct {
    const char *name;
    method_fn *run;
    unsigned on; /* types that have it */
} methods[] = {{"capitalize", m_capitalize, ON(JT_STR)},
               {"changed", m_changed, ON(JT_LOOP)},
               {"copy", m_copy, ON(JT_DICT) | ON(JT_LIST)},
               {"count", m_count, ON(JT_STR) | ON(JT_LIST)},
               {"cycle", m_cycle, ON(JT_LOOP)},
               {"endswith", m_endswith, ON(JT_STR)},
               {"find", m_find, ON(JT_STR)},
               {"get", m_get, ON(JT_DICT)},
               {"index", m_index, ON(JT_STR) | ON(JT_LIST)},
               {"isalnum", m_isalnum, ON(JT_STR)},
               {"isalpha", m_isalpha, ON(JT_STR)},
               {"isdigit", m_isdigit, ON(JT_STR)},
               {"islower", m_islower, ON(JT_STR)},
               {"isspace", m_isspace, ON(JT_STR)},
               {"isupper", m_isupper, ON(JT_STR)},
               {"items", m_items, ON(JT_DICT)},
               {"join", m_join, ON(JT_STR)},
               {"keys", m_keys, ON(JT_DICT)},
               {"lower", m_lower, ON(JT_STR)},
               {"lstrip", m_lstrip, ON(JT_STR)},
               {"partition", m_partition, ON(JT_STR)},
               {"removeprefix", m_removeprefix, ON(JT_STR)},
               {"removesuffix", m_removesuffix, ON(JT_STR)},
               {"replace", m_replace, ON(JT_STR)},
               {"rfind", m_rfind, ON(JT_STR)},
               {"rpartition", m_rpartition, ON(JT_STR)},
               {"rsplit", m_rsplit, ON(JT_STR)},
               {"rstrip", m_rstrip, ON(JT_STR)},
               {"split", m_split, ON(JT_STR)},
               {"splitlines", m_splitlines, ON(JT_STR)},
               {"startswith", m_startswith, ON(JT_STR)},
               {"strip", m_strip, ON(JT_STR)},
               {"swapcase", m_swapcase, ON(JT_STR)},
               {"title", m_title, ON(JT_STR)},
               {"upper", m_upper, ON(JT_STR)},
               {"values", m_values, ON(JT_DICT)}};

static int find_method(sd_slice name)
{
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        if (sd_slice_eq_str(name, methods[i].name)) return (int)i;
    return -1;
}

bool sd_jinja__is_method(sd_slice name)
{
    return find_method(name) >= 0;
}

bool sd_jinja__has_method(const jinja_value *v, sd_slice name)
{
    int i = find_method(name);
    return i >= 0 && (methods[i].on & ON(v->type)) && !(v->type == JT_LIST && v->list->kind > JL_TUPLE);
}

jinja_value sd_jinja__method(jinja_run *r, const jinja_method *m, const jinja_args *a)
{
    sd_jinja__read(r, &m->self);
    return r->st ? JINJA_UNDEF : methods[find_method(m->name)].run(r, &m->self, a);
}

/* ---- functions ---- */

static jinja_value g_range(jinja_run *r, const jinja_args *a)
{
    int64_t from = 0, to = 0, step = 1;
    jinja_value out = sd_jinja__list(r, JL_VIEW);
    if (!sd_jinja__check_args(r, a, 1, 3, NULL, "range")) return out;
    if (a->n == 1) {
        to = sd_jinja__arg_int(r, a, 0, "stop", 0);
    } else {
        from = sd_jinja__arg_int(r, a, 0, "start", 0);
        to = sd_jinja__arg_int(r, a, 1, "stop", 0);
        step = sd_jinja__arg_int(r, a, 2, "step", 1);
    }
    /* The sandbox's bound is 100,000 numbers. */
    double n = step ? ((double)to - (double)from) / (double)step : 0;
    if (step == 0 || n > 100000)
        sd_jinja__fail(r, step ? "a range of more than 100000 numbers" : "a range with step 0");
    for (int64_t v = from; !r->st && (step > 0 ? v < to : v > to);) {
        sd_jinja__push(r, out.list, sd_jinja__int(v));
        if (__builtin_add_overflow(v, step, &v)) break;
    }
    return out;
}

static jinja_value keywords_into(jinja_run *r, const jinja_args *a, uint8_t type)
{
    jinja_value d = sd_jinja__dict(r);
    for (int i = 0; i < a->n && !r->st; i++) {
        if (a->key[i].n) {
            sd_jinja__put(r, d.dict, sd_jinja__str(a->key[i]), a->v[i]);
        } else if (a->v[i].type == JT_DICT) {
            const jinja_dict *from = a->v[i].dict;
            for (int64_t k = 0; k < from->n; k++) sd_jinja__put(r, d.dict, from->key[k], from->value[k]);
        } else {
            sd_jinja__fail(r, "%s is made of names and values", type == JT_DICT ? "dict" : "namespace");
        }
    }
    d.type = r->st ? JT_UNDEF : type;
    return d;
}

static jinja_value g_dict(jinja_run *r, const jinja_args *a)
{
    return keywords_into(r, a, JT_DICT);
}

static jinja_value g_namespace(jinja_run *r, const jinja_args *a)
{
    return keywords_into(r, a, JT_NAMESPACE);
}

static jinja_value g_raise(jinja_run *r, const jinja_args *a)
{
    if (!sd_jinja__check_args(r, a, 1, 1, NULL, "raise_exception")) return JINJA_UNDEF;
    sd_slice s = sd_jinja__text_of(r, &a->v[0]);
    if (!r->st)
        r->st = sd_fail(r->err, SD_E_ARG, "the chat template refuses these messages: %.*s",
                        (int)(s.n > 400 ? 400 : s.n), s.p ? s.p : "");
    return JINJA_UNDEF;
}

static jinja_value g_strftime(jinja_run *r, const jinja_args *a)
{
    if (!sd_jinja__check_args(r, a, 1, 1, NULL, "strftime_now")) return JINJA_UNDEF;
    return sd_jinja__strftime(r, string_arg(r, a, 0, "strftime_now"));
}

static const struct {
    const char *name;
    jinja_value (*run)(jinja_run *r, const jinja_args *a);
} globals[] = {{"range", g_range},
               {"dict", g_dict},
               {"namespace", g_namespace},
               {"raise_exception", g_raise},
               {"strftime_now", g_strftime}};

bool sd_jinja__is_foreign(sd_slice name)
{
    static const char *const names[] = {"lipsum", "cycler", "joiner", "self", "super", "varargs", "kwargs"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (sd_slice_eq_str(name, names[i])) return true;
    return false;
}

int sd_jinja__find_global(sd_slice name)
{
    for (size_t i = 0; i < sizeof globals / sizeof globals[0]; i++)
        if (sd_slice_eq_str(name, globals[i].name)) return (int)i;
    return -1;
}

jinja_value sd_jinja__global(jinja_run *r, int index, const jinja_args *a)
{
    return globals[index].run(r, a);
}
