/* Reading a world's grammar. Owns: lines, names, escapes, the tree of each alternative. One copy of the file is the pool
 * that all names and texts are slices of; escapes only make text shorter, so they are resolved in place. What a node
 * does is world_make.c's. */
#include "text/world_int.h"

#include "base/map.h"

#include <inttypes.h>

typedef struct reader {
    sd_world *w;
    const char *what;
    char *p;        /* the line's rest, in the pool */
    size_t n;
    int32_t line;
    int depth;
    int32_t cap_node, cap_alt, cap_rule;
} reader;

static sd_status refuse(const reader *r, sd_err *err, const char *why)
{
    return sd_fail(err, SD_E_FORMAT, "%s: line %" PRId32 ": %s", r->what, r->line, why);
}

static sd_status refuse_name(const reader *r, sd_err *err, const char *why, sd_slice name)
{
    return sd_fail(err, SD_E_FORMAT, "%s: line %" PRId32 ": %s \"%.*s\"", r->what, r->line, why,
                   (int)(name.n > 80 ? 80 : name.n), name.p);
}

/* ---- tables that grow ---- */

static sd_status grow(void *ptr, int32_t *cap, int32_t n, int32_t max, size_t each, const char *what, sd_err *err)
{
    void **v = ptr;
    if (n < *cap) return SD_OK;
    if (n >= max) return sd_fail(err, SD_E_FORMAT, "more than %" PRId32 " %s", max, what);
    int32_t more = *cap ? *cap * 2 : 256;
    if (more > max) more = max;
    void *p = sd_realloc(*v, (size_t)more * each);
    if (!p) return sd_fail(err, SD_E_NOMEM, "out of memory: %" PRId32 " %s", more, what);
    *v = p;
    *cap = more;
    return SD_OK;
}

static sd_status add_node(reader *r, world_op op, int32_t *out, sd_err *err)
{
    sd_world *w = r->w;
    sd_status st = grow(&w->node, &r->cap_node, w->n_node, WORLD_MAX_NODES, sizeof *w->node, "parts in all rules", err);
    if (st) return sd_err_wrap(err, "%s: line %" PRId32, r->what, r->line);
    w->node[w->n_node] = (world_node){.op = (uint8_t)op, .var = -1, .concept = -1, .lo = 1, .hi = 1, .rule = -1,
                                      .body = -1, .next = -1};
    *out = w->n_node++;
    return SD_OK;
}

static sd_status find_or_add_rule(reader *r, sd_slice name, int32_t *out, sd_err *err)
{
    sd_world *w = r->w;
    int64_t at = sd_table_get(w->rules, name);
    if (at >= 0) {
        *out = (int32_t)at;
        return SD_OK;
    }
    sd_status st = grow(&w->rule, &r->cap_rule, w->n_rule, WORLD_MAX_RULES, sizeof *w->rule, "rules", err);
    if (st) return sd_err_wrap(err, "%s: line %" PRId32, r->what, r->line);
    if ((st = sd_table_set(w->rules, name, w->n_rule, NULL, err))) return st;
    w->rule[w->n_rule] = (world_rule){.name = name, .first = -1, .last = -1, .line = r->line};
    *out = w->n_rule++;
    return SD_OK;
}

int sd_world__find_var(const sd_world *w, sd_slice name)
{
    for (int i = 0; i < w->n_var; i++)
        if (sd_slice_eq(w->var[i], name)) return i;
    return -1;
}

static sd_status find_or_add_var(reader *r, sd_slice name, int16_t *out, sd_err *err)
{
    sd_world *w = r->w;
    int at = sd_world__find_var(w, name);
    if (at < 0) {
        if (w->n_var == SD_WORLD_VARS) return refuse_name(r, err, "one variable too many:", name);
        w->var[at = w->n_var++] = name;
    }
    *out = (int16_t)at;
    return SD_OK;
}

/* ---- names ---- */

static bool name_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-';
}

/* A name at the reader's place, '$' allowed where it may be composed. Empty when none stands there. */
static sd_slice take_name(reader *r, bool may_compose, bool *composed)
{
    size_t i = 0;
    while (i < r->n && (name_byte(r->p[i]) || (may_compose && r->p[i] == '$'))) {
        if (r->p[i] == '$') *composed = true;
        i++;
    }
    sd_slice s = {r->p, i};
    r->p += i;
    r->n -= i;
    return s;
}

static bool take(reader *r, const char *s)
{
    size_t n = strlen(s);
    if (r->n < n || memcmp(r->p, s, n) != 0) return false;
    r->p += n;
    r->n -= n;
    return true;
}

static void skip_blank(reader *r)
{
    while (r->n && (*r->p == ' ' || *r->p == '\t')) r->p++, r->n--;
}

/* A whole number without sign, at most max; false when none stands here. */
static bool take_number(reader *r, int32_t max, int32_t *out)
{
    int64_t v = 0;
    size_t i = 0;
    for (; i < r->n && r->p[i] >= '0' && r->p[i] <= '9'; i++)
        if ((v = v * 10 + (r->p[i] - '0')) > max) return false;
    if (i == 0) return false;
    r->p += i;
    r->n -= i;
    *out = (int32_t)v;
    return true;
}

/* ---- the tree of an alternative ---- */

static sd_status read_parts(reader *r, const char *stop, int32_t *first, sd_err *err);

static sd_status text_part(reader *r, const char *stop, int32_t *out, sd_err *err)
{
    static const char from[] = "ntsr", to[] = "\n\t \r";
    char *begin = r->p, *put = r->p, *solid = r->p; /* solid: behind the last byte that is no blank as written */
    while (r->n && *r->p != '{' && *r->p != '[' && !strchr(stop, *r->p)) {
        char c = *r->p;
        if (c == '\\') {
            if (r->n < 2) return refuse(r, err, "a backslash with nothing behind it");
            r->p++, r->n--;
            const char *e = strchr(from, *r->p);
            c = e && *r->p ? to[e - from] : *r->p;
            if (!e && !strchr("\\{}[]|#:=*'", c)) return refuse_name(r, err, "unknown escape", (sd_slice){r->p, 1});
        }
        *put++ = c;
        if (*r->p != ' ') solid = put; /* of an escape this is its letter */
        r->p++, r->n--;
    }
    if (*stop == '|' && (!r->n || *r->p == '|')) put = solid; /* a list's item ends without the blanks before the bar */
    sd_status st = add_node(r, W_TEXT, out, err);
    if (st) return st;
    r->w->node[*out].str = (uint32_t)(begin - r->w->pool);
    r->w->node[*out].len = (uint32_t)(put - begin);
    return SD_OK;
}

static sd_status label_part(reader *r, int32_t *out, sd_err *err)
{
    bool composed = false;
    int32_t body;
    r->p++, r->n--;
    sd_slice name = take_name(r, true, &composed);
    if (name.n == 0 || !take(r, ":")) return refuse(r, err, "a label is [concept: ..]; a bracket as text is \\[");
    if (r->n && *r->p == ' ') r->p++, r->n--;
    int c = composed ? -1 : sd_world_find_concept(r->w, name);
    if (!composed && c < 0) return refuse_name(r, err, "a label of no concept:", name);
    if (++r->depth > WORLD_MAX_DEPTH) return refuse(r, err, "labels nested too deeply");
    sd_status st = read_parts(r, "]", &body, err);
    r->depth--;
    if (st) return st;
    if (!take(r, "]")) return refuse_name(r, err, "the line ends inside the label", name);
    if ((st = add_node(r, W_LABEL, out, err))) return st;
    world_node *d = &r->w->node[*out];
    d->composed = composed;
    d->concept = (int16_t)c;
    d->str = (uint32_t)(name.p - r->w->pool);
    d->len = (uint32_t)name.n;
    d->body = body;
    return SD_OK;
}

/* 'text' as the value of a variable: a rule's place is taken by a text node below. */
static sd_status quoted_value(reader *r, int32_t node, sd_err *err)
{
    int32_t body;
    r->p++, r->n--;
    sd_status st = text_part(r, "'", &body, err);
    if (st) return st;
    if (!take(r, "'")) return refuse(r, err, "a quoted value does not end");
    r->w->node[node].body = body;
    return SD_OK;
}

/* Behind "{": [^ or +] [LO[-HI] ] [x= or x:=] name | $x | @role */
static sd_status brace_part(reader *r, int32_t *out, sd_err *err)
{
    bool composed = false, repeats = false;
    r->p++, r->n--;
    sd_status st = add_node(r, W_RULE, out, err);
    if (st) return st;
    world_node d = r->w->node[*out];
    if (take(r, "@")) {
        d.op = W_ROLE;
        sd_slice role = take_name(r, false, &composed);
        if (role.n == 0 || role.n > 15) return refuse(r, err, "{@role} needs a role of 1 to 15 letters");
        d.str = (uint32_t)(role.p - r->w->pool);
        d.len = (uint32_t)role.n;
        goto close;
    }
    if (r->n && (*r->p == '^' || *r->p == '+')) d.letters = *r->p++, r->n--;
    if (r->n && *r->p >= '0' && *r->p <= '9') {
        if (!take_number(r, WORLD_MAX_REPEAT, &d.lo)) return refuse(r, err, "a repeat is 0 to 64");
        d.hi = d.lo;
        if (take(r, "-") && !take_number(r, WORLD_MAX_REPEAT, &d.hi)) return refuse(r, err, "a repeat is 0 to 64");
        if (d.hi < d.lo || !take(r, " ")) return refuse(r, err, "a repeat is {3 rule} or {2-4 rule}");
        repeats = true;
    }
    sd_slice name = take_name(r, true, &composed);
    bool only = take(r, ":=");
    if (only || take(r, "=")) {
        if (name.n == 0 || composed || memchr(name.p, '.', name.n)) return refuse(r, err, "a variable's name is letters, digits, '_' and '-'");
        d.bind = only ? W_BIND_ONLY : W_BIND;
        if ((st = find_or_add_var(r, name, &d.var, err))) return st;
        if (r->n && *r->p == '\'') {
            if ((st = quoted_value(r, *out, err))) return st;
            d.body = r->w->node[*out].body;
            goto close;
        }
        name = take_name(r, true, &composed);
    }
    if (name.n == 0) return refuse(r, err, "{..} without a name");
    d.str = (uint32_t)(name.p - r->w->pool);
    d.len = (uint32_t)name.n;
    d.composed = composed;
    if (composed && name.p[0] == '$' && !memchr(name.p + 1, '$', name.n - 1) && !memchr(name.p, '.', name.n) && d.bind == W_PLAIN) {
        d.op = W_VAR;
        if ((st = find_or_add_var(r, (sd_slice){name.p + 1, name.n - 1}, &d.var, err))) return st;
    } else if (!composed && (st = find_or_add_rule(r, name, &d.rule, err))) {
        return st;
    }
close:
    if (repeats && (d.op != W_RULE || d.body >= 0)) return refuse(r, err, "a rule is repeated, not what a variable holds nor a quoted value");
    if (!take(r, "}")) return refuse(r, err, "{..} does not end in }");
    r->w->node[*out] = d;
    return SD_OK;
}

static sd_status read_parts(reader *r, const char *stop, int32_t *first, sd_err *err)
{
    int32_t last = -1;
    *first = -1;
    while (r->n && !strchr(stop, *r->p)) {
        int32_t at;
        sd_status st = *r->p == '{'   ? brace_part(r, &at, err)
                       : *r->p == '[' ? label_part(r, &at, err)
                                      : text_part(r, stop, &at, err);
        if (st) return st;
        if (last < 0) *first = at;
        else r->w->node[last].next = at;
        last = at;
    }
    return SD_OK;
}

static void trim_line(reader *r)
{
    while (r->n && strchr(" \t\r", r->p[r->n - 1]) && !(r->n > 1 && r->p[r->n - 2] == '\\')) r->n--;
}

/* One alternative, "WEIGHT* " before it, up to a stop byte or the line's end. */
static sd_status alternative(reader *r, int32_t rule, const char *stop, sd_err *err)
{
    sd_world *w = r->w;
    int32_t weight = 1, first;
    skip_blank(r);
    size_t digits = 0;
    while (digits < r->n && r->p[digits] >= '0' && r->p[digits] <= '9') digits++;
    if (digits && digits < r->n && r->p[digits] == '*') {
        if (!take_number(r, WORLD_MAX_WEIGHT, &weight) || weight == 0) return refuse(r, err, "a weight is 1 to 10000; a star as text is \\*");
        (void)take(r, "*");
        skip_blank(r);
    }
    sd_status st = read_parts(r, stop, &first, err);
    if (st) return st;
    st = grow(&w->alt, &r->cap_alt, w->n_alt, WORLD_MAX_ALTS, sizeof *w->alt, "alternatives", err);
    if (st) return sd_err_wrap(err, "%s: line %" PRId32, r->what, r->line);
    w->alt[w->n_alt] = (world_alt){.weight = weight, .first = first, .next = -1};
    world_rule *u = &w->rule[rule];
    if (u->last < 0) u->first = w->n_alt;
    else w->alt[u->last].next = w->n_alt;
    u->last = w->n_alt++;
    u->weight += weight;
    return SD_OK;
}

/* ---- lines ---- */

static sd_status world_line(reader *r, sd_err *err)
{
    if (!take(r, "world 1 ") || r->n == 0) {
        refuse(r, err, "the first line must be \"world 1 NAME\"");
        return sd_hint(err, "docs/ORGANISM.md describes the format");
    }
    r->w->name = sd_strndup(r->p, r->n);
    return r->w->name ? SD_OK : sd_fail(err, SD_E_NOMEM, "out of memory: a name");
}

static sd_status setting_line(reader *r, sd_err *err)
{
    bool composed;
    sd_world *w = r->w;
    sd_slice key = take_name(r, false, &composed);
    skip_blank(r);
    if (key.n == 0 || r->n == 0) return refuse(r, err, "a setting is \"set KEY VALUE\"");
    if (w->n_setting == WORLD_MAX_SETTINGS) return refuse(r, err, "more than 64 settings");
    for (int i = 0; i < w->n_setting; i++)
        if (sd_slice_eq(w->setting[i].key, key)) return refuse_name(r, err, "set twice:", key);
    /* The byte behind a value is its line's end, so a value can be a string of its own. */
    r->p[r->n] = 0;
    w->setting[w->n_setting++] = (world_pair){key, {r->p, r->n}};
    return SD_OK;
}

static sd_status concept_line(reader *r, sd_err *err)
{
    bool composed;
    sd_world *w = r->w;
    sd_slice name = take_name(r, false, &composed);
    skip_blank(r);
    sd_slice kind = take_name(r, false, &composed);
    skip_blank(r);
    bool context = sd_slice_eq_str(kind, "context");
    if (name.n == 0 || (!context && !sd_slice_eq_str(kind, "token")) || r->n == 0)
        return refuse(r, err, "a concept is \"concept NAME token|context WHAT IT IS\"");
    if (w->n_concept == SD_WORLD_CONCEPTS) return refuse(r, err, "more than 64 concepts");
    if (sd_world_find_concept(w, name) >= 0) return refuse_name(r, err, "a concept twice:", name);
    char *id = sd_strndup(name.p, name.n), *about = sd_strndup(r->p, r->n);
    w->concept[w->n_concept++] = (sd_world_concept){id, about, context};
    return id && about ? SD_OK : sd_fail(err, SD_E_NOMEM, "out of memory: a concept");
}

static sd_status rule_line(reader *r, int32_t *rule, sd_err *err)
{
    bool composed;
    sd_slice name = take_name(r, false, &composed);
    skip_blank(r);
    bool list = r->n && *r->p == '=';
    if (name.n == 0 || !r->n || (!list && *r->p != ':')) {
        refuse(r, err, "a line is \"rule: text\", \"rule = item | item\", \"set ..\", \"concept ..\" or a comment");
        return sd_hint(err, "a further alternative of a rule begins with a blank");
    }
    if (name.n >= WORLD_MAX_NAME) return refuse_name(r, err, "a name longer than 95 bytes:", name);
    sd_status st = find_or_add_rule(r, name, rule, err);
    if (st) return st;
    r->p++, r->n--;
    skip_blank(r);
    if (!list) return r->n ? alternative(r, *rule, "", err) : SD_OK;
    for (;;) {
        if ((st = alternative(r, *rule, "|", err))) return st;
        if (!take(r, "|")) return SD_OK;
    }
}

static sd_status read_lines(reader *r, sd_slice rest, sd_err *err)
{
    sd_slice line;
    int32_t rule = -1;
    while (sd_slice_cut(&rest, '\n', &line)) {
        sd_status st;
        r->line++;
        r->p = r->w->pool + (line.p - r->w->pool);
        r->n = line.n;
        trim_line(r);
        if (r->n == 0 || *r->p == '#') continue;
        if (!r->w->name) st = world_line(r, err);
        else if (*r->p == ' ' || *r->p == '\t')
            st = rule < 0 ? refuse(r, err, "an alternative without a rule above it") : alternative(r, rule, "", err);
        else if (take(r, "set ")) st = setting_line(r, err);
        else if (take(r, "concept ")) st = concept_line(r, err);
        else st = rule_line(r, &rule, err);
        if (st) return st;
    }
    return r->w->name ? SD_OK : refuse(r, err, "an empty file");
}

/* Every rule that is named is written. */
static sd_status check_rules(const sd_world *w, const char *what, sd_err *err)
{
    for (int32_t i = 0; i < w->n_rule; i++)
        if (w->rule[i].first < 0)
            return sd_fail(err, SD_E_FORMAT, "%s: line %" PRId32 ": no rule \"%.*s\"", what, w->rule[i].line,
                           SD_SLICE(w->rule[i].name));
    return SD_OK;
}

sd_status sd_world_parse(sd_world **out, sd_slice text, const char *what, sd_err *err)
{
    sd_world *w = NULL;
    reader r = {.what = what};
    *out = NULL;
    if (text.n > WORLD_MAX_FILE) return sd_fail(err, SD_E_FORMAT, "%s: longer than 4 MB", what);
    size_t good = sd_utf8_valid_prefix(text);
    if (good < text.n) return sd_fail(err, SD_E_FORMAT, "%s: not UTF-8 text (byte %zu)", what, good);
    const char *nul = text.n ? memchr(text.p, 0, text.n) : NULL;
    if (nul) return sd_fail(err, SD_E_FORMAT, "%s: no text: byte %zu is 0", what, (size_t)(nul - text.p));
    sd_status st = sd_alloc_zero(&w, sizeof *w, "a world", err);
    if (!st) st = sd_alloc(&w->pool, text.n + 1, "a world", err);
    if (st) goto done;
    if (text.n) memcpy(w->pool, text.p, text.n);
    w->pool[text.n] = 0;
    w->n_pool = text.n;
    if ((st = sd_table_new(&w->rules, 256, err))) goto done;
    r.w = w;
    if ((st = read_lines(&r, (sd_slice){w->pool, text.n}, err))) goto done;
    if ((st = check_rules(w, what, err))) goto done;
    *out = w;
    w = NULL;
done:
    sd_world_free(w);
    return st;
}

sd_status sd_world_open(sd_world **out, const char *path, sd_err *err)
{
    sd_buf b;
    *out = NULL;
    sd_buf_init(&b, WORLD_MAX_FILE + 1);
    sd_status st = sd_file_read(&b, path, err);
    if (st == SD_E_NOTFOUND) sd_hint(err, "the embedded world is organism/merrow.world of the source tree: work there, or name a grammar with --world");
    if (!st) st = sd_world_parse(out, (sd_slice){sd_buf_str(&b), b.n}, path, err);
    sd_buf_release(&b);
    return st;
}

void sd_world_free(sd_world *w)
{
    if (!w) return;
    for (int i = 0; i < w->n_concept; i++) {
        sd_free((char *)(uintptr_t)w->concept[i].name);
        sd_free((char *)(uintptr_t)w->concept[i].about);
    }
    sd_table_free(w->rules);
    sd_free(w->node);
    sd_free(w->alt);
    sd_free(w->rule);
    sd_free(w->name);
    sd_free(w->pool);
    sd_free(w);
}

/* ---- what others ask ---- */

const char *sd_world_name(const sd_world *w) { return w->name; }
int sd_world_n_concepts(const sd_world *w) { return w->n_concept; }
sd_world_concept sd_world_get_concept(const sd_world *w, int i) { return w->concept[i]; }

int sd_world_find_concept(const sd_world *w, sd_slice name)
{
    for (int i = 0; i < w->n_concept; i++)
        if (sd_slice_eq_str(name, w->concept[i].name)) return i;
    return -1;
}

int32_t sd_world_find_rule(const sd_world *w, const char *name)
{
    return (int32_t)sd_table_get(w->rules, sd_slice_of(name));
}

const char *sd_world_setting(const sd_world *w, const char *key)
{
    for (int i = 0; i < w->n_setting; i++)
        if (sd_slice_eq_str(w->setting[i].key, key)) return w->setting[i].value.p;
    return "";
}

sd_status sd_world_number(int64_t *out, const sd_world *w, const char *key, int64_t otherwise, int64_t lo, int64_t hi,
                          sd_err *err)
{
    const char *v = sd_world_setting(w, key);
    *out = otherwise;
    if (*v && (!sd_parse_i64(sd_slice_of(v), out) || *out < lo || *out > hi))
        return sd_fail(err, SD_E_FORMAT, "%s: %s is \"%s\", expected a whole number from %" PRId64 " to %" PRId64,
                       w->name, key, v, lo, hi);
    return SD_OK;
}
