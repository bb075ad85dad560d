/* The heap of one rendering, and values as Python orders, compares and counts them. */
#include "text/jinja_run.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

typedef struct jinja_heap {
    struct jinja_heap *next;
    size_t used, size;
} jinja_heap;

#define HEAP_BLOCK 65536

void sd_jinja__fail(jinja_run *r, const char *fmt, ...)
{
    char what[400];
    va_list ap;
    if (r->st) return;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    r->st = sd_fail(r->err, SD_E_ARG, "the chat template cannot render these messages: line %d: %s", r->line, what);
}

bool sd_jinja__work(jinja_run *r, int64_t steps)
{
    if (!r->st && (r->steps += steps) > SD_JINJA_MAX_STEPS) sd_jinja__fail(r, "it does not come to an end");
    return !r->st;
}

void sd_jinja__read(jinja_run *r, const jinja_value *v)
{
    /* A step takes some 50 ns: 64 bytes of a text, 8 items. */
    (void)sd_jinja__work(r, v->type == JT_STR ? (int64_t)(v->s.n / 64) : v->type == JT_LIST ? v->list->n / 8 : v->type == JT_DICT ? v->dict->n / 8 : 0);
}

bool sd_jinja__enter(jinja_run *r)
{
    if (++r->depth > SD_JINJA_MAX_DEPTH * 4) sd_jinja__fail(r, "values are nested too deeply");
    return !r->st;
}

void *sd_jinja__new(jinja_run *r, size_t n)
{
    const size_t head = (sizeof(jinja_heap) + 15) & ~(size_t)15;
    n = (n + 15) & ~(size_t)15;
    if (r->st) return NULL;
    if (!r->heap || r->heap->size - r->heap->used < n) {
        size_t size = n + head > HEAP_BLOCK ? n + head : HEAP_BLOCK;
        if (r->heap_bytes + size > SD_JINJA_MAX_HEAP) {
            sd_jinja__fail(r, "it makes more than %u MB of text", SD_JINJA_MAX_HEAP >> 20);
            return NULL;
        }
        jinja_heap *h = sd_malloc(size);
        if (!h) {
            r->st = sd_fail(r->err, SD_E_NOMEM, "out of memory: a chat template's values");
            return NULL;
        }
        *h = (jinja_heap){r->heap, head, size};
        r->heap = h;
        r->heap_bytes += size;
    }
    void *p = (char *)r->heap + r->heap->used;
    r->heap->used += n;
    memset(p, 0, n);
    return p;
}

void sd_jinja__free_heap(jinja_run *r)
{
    while (r->heap) {
        jinja_heap *next = r->heap->next;
        sd_free(r->heap);
        r->heap = next;
    }
}

jinja_value sd_jinja__copy(jinja_run *r, sd_slice s)
{
    char *p = sd_jinja__new(r, s.n + 1);
    if (!p) return JINJA_UNDEF;
    if (s.n) memcpy(p, s.p, s.n);
    return sd_jinja__str((sd_slice){p, s.n});
}

jinja_value sd_jinja__take(jinja_run *r, sd_buf *b)
{
    if (b->failed) sd_jinja__fail(r, "it makes more than %u MB of text", SD_JINJA_MAX_HEAP >> 20);
    jinja_value v = sd_jinja__copy(r, (sd_slice){b->p, b->n});
    sd_buf_release(b);
    return v;
}

/* Makes room for one more in `n` arrays of `size` bytes an entry. */
static bool grow(jinja_run *r, jinja_value **v, jinja_value **w, int64_t n, int64_t *cap)
{
    if (n < *cap) return true;
    int64_t more = *cap ? 2 * *cap : 8;
    for (int i = 0; i < 2; i++) {
        jinja_value **at = i ? w : v;
        if (!at) continue;
        jinja_value *p = sd_jinja__new(r, (size_t)more * sizeof *p);
        if (!p) return false;
        if (n) memcpy(p, *at, (size_t)n * sizeof *p);
        *at = p;
    }
    *cap = more;
    return true;
}

jinja_value sd_jinja__list(jinja_run *r, jinja_kind kind)
{
    jinja_list *l = sd_jinja__new(r, sizeof *l);
    if (!l) return JINJA_UNDEF;
    l->kind = (uint8_t)kind;
    return (jinja_value){.type = JT_LIST, .list = l};
}

void sd_jinja__push(jinja_run *r, jinja_list *l, jinja_value v)
{
    if (r->st || !grow(r, &l->v, NULL, l->n, &l->cap)) return;
    l->v[l->n++] = v;
}

jinja_value sd_jinja__dict(jinja_run *r)
{
    jinja_dict *d = sd_jinja__new(r, sizeof *d);
    return d ? (jinja_value){.type = JT_DICT, .dict = d} : JINJA_UNDEF;
}

const jinja_value *sd_jinja__get(jinja_run *r, const jinja_dict *d, jinja_value key)
{
    int64_t i = 0;
    while (i < d->n && !sd_jinja__equal(r, &d->key[i], &key)) i++;
    return sd_jinja__work(r, i / 8) && i < d->n ? &d->value[i] : NULL;
}

static void append(jinja_run *r, jinja_dict *d, jinja_value key, jinja_value v)
{
    if (r->st || !grow(r, &d->key, &d->value, d->n, &d->cap)) return;
    d->key[d->n] = key;
    d->value[d->n++] = v;
}

bool sd_jinja__is_key(jinja_run *r, const jinja_value *key)
{
    if (key->type != JT_DICT && (key->type != JT_LIST || key->list->kind == JL_TUPLE)) return true;
    sd_jinja__fail(r, "a %s cannot be a key", sd_jinja__type_name(key));
    return false;
}

void sd_jinja__put(jinja_run *r, jinja_dict *d, jinja_value key, jinja_value v)
{
    if (r->st || !sd_jinja__is_key(r, &key)) return;
    jinja_value *at = (jinja_value *)(uintptr_t)sd_jinja__get(r, d, key);
    if (at) *at = v;
    else append(r, d, key, v);
}

jinja_value sd_jinja__from_json(jinja_run *r, const json_t *j)
{
    switch (json_typeof(j)) {
    case JSON_OBJECT: {
        jinja_value d = sd_jinja__dict(r);
        const char *key;
        size_t len;
        json_t *v;
        json_object_keylen_foreach((json_t *)(uintptr_t)j, key, len, v)
        {
            if (r->st) break;
            append(r, d.dict, sd_jinja__str((sd_slice){key, len}), sd_jinja__from_json(r, v)); /* JSON's keys differ already */
        }
        return d;
    }
    case JSON_ARRAY: {
        jinja_value l = sd_jinja__list(r, JL_LIST);
        for (size_t i = 0; i < json_array_size(j) && !r->st; i++)
            sd_jinja__push(r, l.list, sd_jinja__from_json(r, json_array_get(j, i)));
        return l;
    }
    case JSON_STRING:
        return sd_jinja__str((sd_slice){json_string_value(j), json_string_length(j)});
    case JSON_INTEGER:
        return sd_jinja__int(json_integer_value(j));
    case JSON_REAL:
        return sd_jinja__float(json_real_value(j));
    case JSON_TRUE:
    case JSON_FALSE:
        return sd_jinja__bool(json_is_true(j));
    default:
        return JINJA_NONE;
    }
}

bool sd_jinja__truth(const jinja_value *v)
{
    switch (v->type) {
    case JT_UNDEF:
    case JT_NONE:
        return false;
    case JT_BOOL:
    case JT_INT:
        return v->i != 0;
    case JT_FLOAT:
        return v->f != 0;
    case JT_STR:
        return v->s.n > 0;
    case JT_LIST:
        return v->list->kind == JL_ITER || v->list->n > 0;
    case JT_DICT:
        return v->dict->n > 0;
    default:
        return true;
    }
}

bool sd_jinja__is_number(const jinja_value *v)
{
    return v->type == JT_INT || v->type == JT_FLOAT || v->type == JT_BOOL;
}

double sd_jinja__real(const jinja_value *v)
{
    return v->type == JT_FLOAT ? v->f : (double)v->i;
}

static bool equal_lists(jinja_run *r, const jinja_list *a, const jinja_list *b)
{
    bool same = true;
    if (a == b) return true;
    if (a->kind != b->kind || a->kind == JL_ITER || a->n != b->n) return false;
    for (int64_t i = 0; i < a->n && same; i++) same = sd_jinja__equal(r, &a->v[i], &b->v[i]);
    return same;
}

static bool equal_dicts(jinja_run *r, const jinja_dict *a, const jinja_dict *b)
{
    bool same = a->n == b->n;
    for (int64_t i = 0; i < a->n && same; i++) {
        const jinja_value *v = sd_jinja__get(r, b, a->key[i]);
        same = v && sd_jinja__equal(r, &a->value[i], v);
    }
    return same;
}

bool sd_jinja__equal(jinja_run *r, const jinja_value *a, const jinja_value *b)
{
    if (sd_jinja__is_number(a) && sd_jinja__is_number(b)) {
        bool whole = a->type != JT_FLOAT && b->type != JT_FLOAT;
        return whole ? a->i == b->i : sd_jinja__real(a) == sd_jinja__real(b);
    }
    if (a->type != b->type || r->st) return false;
    switch (a->type) {
    case JT_UNDEF:
    case JT_NONE:
        return true;
    case JT_STR:
        return sd_slice_eq(a->s, b->s);
    case JT_LIST:
    case JT_DICT: {
        if (!sd_jinja__enter(r)) return false;
        sd_jinja__read(r, a);
        bool same = a->type == JT_LIST ? equal_lists(r, a->list, b->list) : equal_dicts(r, a->dict, b->dict);
        r->depth--;
        return same;
    }
    default:
        return a->dict == b->dict; /* the same object */
    }
}

int sd_jinja__order(jinja_run *r, const jinja_value *a, const jinja_value *b)
{
    if (sd_jinja__is_number(a) && sd_jinja__is_number(b)) {
        if (a->type != JT_FLOAT && b->type != JT_FLOAT) return (a->i > b->i) - (a->i < b->i);
        double x = sd_jinja__real(a), y = sd_jinja__real(b);
        return (x > y) - (x < y);
    }
    if (a->type == JT_STR && b->type == JT_STR) { /* UTF-8 orders as its code points do */
        size_t n = a->s.n < b->s.n ? a->s.n : b->s.n;
        int c = n ? memcmp(a->s.p, b->s.p, n) : 0;
        return c ? (c > 0) - (c < 0) : (a->s.n > b->s.n) - (a->s.n < b->s.n);
    }
    if (a->type == JT_LIST && b->type == JT_LIST && a->list->kind == b->list->kind && a->list->kind <= JL_TUPLE) {
        int64_t i = 0, n = a->list->n < b->list->n ? a->list->n : b->list->n;
        while (i < n && sd_jinja__equal(r, &a->list->v[i], &b->list->v[i])) i++;
        if (i == n || !sd_jinja__enter(r)) return (a->list->n > b->list->n) - (a->list->n < b->list->n);
        int c = sd_jinja__order(r, &a->list->v[i], &b->list->v[i]);
        r->depth--;
        return c;
    }
    if (a->type == JT_UNDEF || b->type == JT_UNDEF)
        sd_jinja__fail(r, "%.*s is not defined", SD_SLICE(a->type == JT_UNDEF ? a->s : b->s));
    else
        sd_jinja__fail(r, "a %s and a %s have no order", sd_jinja__type_name(a), sd_jinja__type_name(b));
    return 0;
}

bool sd_jinja__at_most(jinja_run *r, const jinja_value *a, const jinja_value *b)
{
    const int c = sd_jinja__order(r, a, b);
    return c < 0 || (c == 0 && sd_jinja__equal(r, a, b));
}

bool sd_jinja__at_least(jinja_run *r, const jinja_value *a, const jinja_value *b)
{
    const int c = sd_jinja__order(r, a, b);
    return c > 0 || (c == 0 && sd_jinja__equal(r, a, b));
}

const char *sd_jinja__type_name(const jinja_value *v)
{
    static const char *const names[] = {
        [JT_UNDEF] = "Undefined",     [JT_NONE] = "NoneType",    [JT_BOOL] = "bool",   [JT_INT] = "int",
        [JT_FLOAT] = "float",         [JT_STR] = "str",          [JT_LIST] = "list",   [JT_DICT] = "dict",
        [JT_NAMESPACE] = "Namespace", [JT_LOOP] = "LoopContext", [JT_MACRO] = "Macro", [JT_METHOD] = "method",
        [JT_GLOBAL] = "function"};
    static const char *const lists[] = {"list", "tuple", "view", "generator"};
    return v->type == JT_LIST ? lists[v->list->kind] : names[v->type];
}

int64_t sd_jinja__chars(sd_slice s)
{
    int64_t n = 0;
    for (size_t i = 0; i < s.n; i++) n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
    return n;
}

size_t sd_jinja__char_at(sd_slice s, int64_t i)
{
    for (size_t at = 0; at < s.n; at++)
        if (((unsigned char)s.p[at] & 0xc0) != 0x80 && i-- == 0) return at;
    return s.n;
}

static jinja_list *characters(jinja_run *r, sd_slice s)
{
    jinja_value l = sd_jinja__list(r, JL_LIST);
    for (size_t at = 0; at < s.n && !r->st;) {
        size_t end = at + 1;
        while (end < s.n && ((unsigned char)s.p[end] & 0xc0) == 0x80) end++;
        sd_jinja__push(r, l.list, sd_jinja__str((sd_slice){s.p + at, end - at}));
        at = end;
    }
    return r->st ? NULL : l.list;
}

jinja_list *sd_jinja__walk(jinja_run *r, const jinja_value *v)
{
    jinja_value l;
    if (r->st) return NULL;
    switch (v->type) {
    case JT_UNDEF:
        l = sd_jinja__list(r, JL_LIST);
        return r->st ? NULL : l.list;
    case JT_STR:
        return characters(r, v->s);
    case JT_LIST:
        if (v->list->kind != JL_ITER) return v->list;
        l = sd_jinja__list(r, JL_LIST);
        if (r->st) return NULL;
        l.list->v = v->list->v;
        l.list->n = l.list->cap = v->list->n;
        v->list->n = 0;
        return l.list;
    case JT_DICT:
        l = sd_jinja__list(r, JL_LIST);
        for (int64_t i = 0; i < v->dict->n && !r->st; i++) sd_jinja__push(r, l.list, v->dict->key[i]);
        return r->st ? NULL : l.list;
    default:
        sd_jinja__fail(r, "a %s cannot be walked through", sd_jinja__type_name(v));
        return NULL;
    }
}

int64_t sd_jinja__length(jinja_run *r, const jinja_value *v)
{
    if (v->type == JT_STR) sd_jinja__read(r, v);
    if (v->type == JT_UNDEF) return 0;
    if (v->type == JT_STR) return sd_jinja__chars(v->s);
    if (v->type == JT_LIST && v->list->kind != JL_ITER) return v->list->n;
    if (v->type == JT_DICT) return v->dict->n;
    sd_jinja__fail(r, "a %s has no length", sd_jinja__type_name(v));
    return 0;
}
