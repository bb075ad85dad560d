/* Running a template: values and the state of one rendering. Values live on the rendering's own heap and are freed with
 * it; they are Python's, as far as templates can tell. An error is sticky: the first one sets r->st, and whatever is
 * computed after it is thrown away. */
#ifndef SD_TEXT_JINJA_RUN_H
#define SD_TEXT_JINJA_RUN_H

#include "text/jinja_tree.h"

typedef enum jinja_type { JT_UNDEF, JT_NONE, JT_BOOL, JT_INT, JT_FLOAT, JT_STR, JT_LIST, JT_DICT, JT_NAMESPACE, JT_LOOP, JT_MACRO, JT_METHOD, JT_GLOBAL } jinja_type;

/* A view (dict.items(), range) and an iterator (what map and select give) are lists that cannot be printed; an iterator
 * has no length, is always true, and is used up by the first who walks it. */
typedef enum jinja_kind { JL_LIST, JL_TUPLE, JL_VIEW, JL_ITER } jinja_kind;

typedef struct jinja_value jinja_value;

typedef struct jinja_list {
    jinja_value *v;
    int64_t n, cap;
    uint8_t kind;
} jinja_list;

typedef struct jinja_dict {
    jinja_value *key, *value;
    int64_t n, cap;
} jinja_dict;

struct jinja_value {
    uint8_t type;
    bool safe; /* a string that the filter safe or escape made: "+" escapes what it meets */
    union {
        int64_t i; /* int, bool; global: index */
        double f;
        sd_slice s; /* string; undefined: its name, for the message */
        jinja_list *list;
        jinja_dict *dict; /* dictionary, namespace */
        struct jinja_loop *loop;
        struct jinja_macro *macro;
        struct jinja_method *method;
    };
};

typedef struct jinja_loop {
    const jinja_list *list;
    int64_t index; /* from 0 */
    int depth;     /* from 0 */
    jinja_value changed;
    bool has_changed;
} jinja_loop;

typedef struct jinja_scope {
    struct jinja_scope *up;
    sd_slice *name;
    jinja_value *value;
    int n, cap;
} jinja_scope;

typedef struct jinja_macro {
    sd_slice name;
    int32_t params, body;
    bool calls;         /* its body names its caller */
    jinja_scope *scope; /* where it was made */
} jinja_macro;

typedef struct jinja_method {
    jinja_value self;
    sd_slice name;
} jinja_method;

typedef struct jinja_args {
    jinja_value *v;
    sd_slice *key; /* empty: by position */
    int n;
} jinja_args;

typedef struct jinja_run {
    const sd_jinja *t;
    const sd_jinja_input *in;
    sd_buf *out;
    sd_err *err;
    sd_status st;
    jinja_scope *scope;
    jinja_value block_text; /* J_BLOCKTEXT */
    int64_t steps;
    int depth, line, levels; /* depth: of calls and of values that are read; levels: of expressions that are being evaluated */
    enum { JF_NONE, JF_BREAK, JF_CONTINUE } flow;
    struct jinja_heap *heap;
    size_t heap_bytes;
} jinja_run;

/* ---- jinja_value.c: heap and values ---- */

void *sd_jinja__new(jinja_run *r, size_t n); /* zeroed; NULL after an error */
void sd_jinja__free_heap(jinja_run *r);
/* Fails the rendering: "... line 3: WHAT". */
void sd_jinja__fail(jinja_run *r, const char *fmt, ...) SD_PRINTF(2, 3);
/* Counts steps, so many for work that is no node; false after an error. */
bool sd_jinja__work(jinja_run *r, int64_t steps);
void sd_jinja__read(jinja_run *r, const jinja_value *v); /* the steps of going through v once */
/* One level further down in a value; false after an error. The caller takes it back from r->depth. */
bool sd_jinja__enter(jinja_run *r);

static inline jinja_value sd_jinja__undef(sd_slice name)
{
    return (jinja_value){.type = JT_UNDEF, .s = name};
}
#define JINJA_UNDEF sd_jinja__undef(SD_LIT("a value"))
#define JINJA_NONE ((jinja_value){.type = JT_NONE})
static inline jinja_value sd_jinja__bool(bool b)
{
    return (jinja_value){.type = JT_BOOL, .i = b};
}
static inline jinja_value sd_jinja__int(int64_t i)
{
    return (jinja_value){.type = JT_INT, .i = i};
}
static inline jinja_value sd_jinja__float(double f)
{
    return (jinja_value){.type = JT_FLOAT, .f = f};
}
static inline jinja_value sd_jinja__str(sd_slice s)
{
    return (jinja_value){.type = JT_STR, .s = s};
}
jinja_value sd_jinja__copy(jinja_run *r, sd_slice s); /* a string with its own bytes */
jinja_value sd_jinja__take(jinja_run *r, sd_buf *b);  /* the same from a buffer, which is released */
jinja_value sd_jinja__list(jinja_run *r, jinja_kind kind);
void sd_jinja__push(jinja_run *r, jinja_list *l, jinja_value v);
jinja_value sd_jinja__dict(jinja_run *r);
bool sd_jinja__is_key(jinja_run *r, const jinja_value *key); /* else the run has failed: lists and dictionaries are no keys */
void sd_jinja__put(jinja_run *r, jinja_dict *d, jinja_value key, jinja_value v);
const jinja_value *sd_jinja__get(jinja_run *r, const jinja_dict *d, jinja_value key); /* NULL: not there */
jinja_value sd_jinja__from_json(jinja_run *r, const json_t *j);

bool sd_jinja__truth(const jinja_value *v);
bool sd_jinja__equal(jinja_run *r, const jinja_value *a, const jinja_value *b);
/* Python's order, -1 0 1; 0 with a NaN, too, which is neither below nor above; fails where Python has none. */
int sd_jinja__order(jinja_run *r, const jinja_value *a, const jinja_value *b);
bool sd_jinja__at_most(jinja_run *r, const jinja_value *a, const jinja_value *b);  /* a <= b; false with a NaN */
bool sd_jinja__at_least(jinja_run *r, const jinja_value *a, const jinja_value *b); /* a >= b; false with a NaN */
bool sd_jinja__is_number(const jinja_value *v); /* int, float, bool */
double sd_jinja__real(const jinja_value *v);
const char *sd_jinja__type_name(const jinja_value *v); /* Python's */
int64_t sd_jinja__chars(sd_slice s);                   /* code points */
size_t sd_jinja__char_at(sd_slice s, int64_t i);       /* byte where code point i begins; s.n past the end */
/* What a for walks: the list itself, a string's characters, a dictionary's keys; NULL after an error. */
jinja_list *sd_jinja__walk(jinja_run *r, const jinja_value *v);
int64_t sd_jinja__length(jinja_run *r, const jinja_value *v);

/* ---- jinja_text.c: values as text ---- */

void sd_jinja__print(jinja_run *r, sd_buf *b, const jinja_value *v, bool repr); /* str() or repr() */
sd_slice sd_jinja__text_of(jinja_run *r, const jinja_value *v);                 /* str() */
jinja_value sd_jinja__tojson(jinja_run *r, const jinja_value *v, const jinja_args *a);
jinja_value sd_jinja__escape(jinja_run *r, const jinja_value *v);               /* a safe string */
jinja_value sd_jinja__percent(jinja_run *r, sd_slice format, const jinja_list *values); /* '%s' % values */
jinja_value sd_jinja__strftime(jinja_run *r, sd_slice format);
sd_slice sd_jinja__strip(sd_slice s, int sides, const sd_slice *chars); /* sides: 1 left, 2 right; NULL: white space */
typedef enum jinja_case { JCASE_LOWER, JCASE_UPPER, JCASE_CAPITALIZE, JCASE_TITLE, JCASE_TITLE_FILTER, JCASE_SWAP } jinja_case;
jinja_value sd_jinja__case(jinja_run *r, sd_slice s, jinja_case how);
jinja_value sd_jinja__replace(jinja_run *r, sd_slice s, sd_slice from, sd_slice to, int64_t count);
void sd_jinja__split_lines(jinja_run *r, sd_slice s, bool keep_ends, jinja_list *out);

/* ---- jinja_filter.c, jinja_test.c, jinja_method.c: names of the language ---- */

/* Argument `index`, or the one called `key`; NULL: not given. */
const jinja_value *sd_jinja__arg(const jinja_args *a, int index, const char *key);
int64_t sd_jinja__arg_int(jinja_run *r, const jinja_args *a, int index, const char *key, int64_t otherwise);
bool sd_jinja__arg_flag(jinja_run *r, const jinja_args *a, int index, const char *key); /* false; fails on what is no integer, as Python where it wants one */
bool sd_jinja__arg_bool(const jinja_args *a, int index, const char *key, bool otherwise);
/* Fails unless there are min to max arguments, whose keywords (if any) are among the NULL-terminated keys. */
bool sd_jinja__check_args(jinja_run *r, const jinja_args *a, int min, int max, const char *const *keys, const char *what);

int sd_jinja__find_filter(sd_slice name); /* -1: not known */
jinja_value sd_jinja__filter(jinja_run *r, int index, const jinja_value *v, const jinja_args *a);
int sd_jinja__find_test(sd_slice name);
bool sd_jinja__test(jinja_run *r, int index, const jinja_value *v, const jinja_args *a);

bool sd_jinja__is_method(sd_slice name);
bool sd_jinja__has_method(const jinja_value *v, sd_slice name);
jinja_value sd_jinja__method(jinja_run *r, const jinja_method *m, const jinja_args *a);

bool sd_jinja__is_foreign(sd_slice name); /* a global of Jinja2 that this engine has not */
int sd_jinja__find_global(sd_slice name);
jinja_value sd_jinja__global(jinja_run *r, int index, const jinja_args *a);

/* ---- jinja_eval.c ---- */

jinja_value sd_jinja__attr(jinja_run *r, const jinja_value *v, sd_slice name);      /* v.name */
jinja_value sd_jinja__item(jinja_run *r, const jinja_value *v, const jinja_value *key); /* v[key] */
/* A dotted path as map(attribute=..) takes it. */
jinja_value sd_jinja__path(jinja_run *r, const jinja_value *v, sd_slice path);
jinja_value sd_jinja__add_values(jinja_run *r, const jinja_value *a, const jinja_value *b);
bool sd_jinja__contains(jinja_run *r, const jinja_value *where, const jinja_value *what);

#endif
