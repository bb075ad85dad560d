/* Cutting text into words with PCRE2, after bringing patterns from Oniguruma's dialect to PCRE2's.
 *
 * The text is known to be valid UTF-8, so the matcher's own check (a pass over the whole text for every word) is off.
 * Speed on one core: 130 MB/s of English with the JIT for GPT-2's pattern. */
#include "text/pretok.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define MAX_PATTERN_BYTES 16384              /* the longest in the table is under 2 KB */
#define MAX_TEXT_BYTES    ((size_t)1 << 40) /* no limit of the method; a bound for a buffer that grows with a text */
/* \w by itself: Oniguruma's table of Latin-1 has the superscripts and fractions among the words, its classes do not. */
#define WORD              "[" SD_PRETOK_WORD "\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}]"
#define NO_WORD           "[^" SD_PRETOK_WORD "\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}]"

/* One cut; code is NULL for a metaspace. */
typedef struct stage {
    pcre2_code *code;
    bool jit, invert, split;
    sd_cut_how how;
    sd_prepend prepend;
    char space[8];
    size_t n_space;
} stage;

struct sd_pretok {
    int n;
    pcre2_general_context *memory;
    pcre2_compile_context *compile;
    stage stage[SD_PRETOK_MAX];
};

static void *take(size_t n, void *unused)
{
    (void)unused;
    return sd_malloc(n);
}

static void give(void *p, void *unused)
{
    (void)unused;
    sd_free(p);
}

/* The state of a translation; `trusted` patterns come from our own table and may use PCRE2's anchors. */
typedef struct translation {
    sd_slice in;
    size_t at;
    sd_buf *out;
    bool trusted;
    int class_depth;
} translation;

static sd_status refuse(const translation *t, const char *what, sd_err *err)
{
    return sd_fail(err, SD_E_UNSUPPORTED, "pre-tokeniser pattern: %s at byte %zu of \"%.*s\" is not supported", what,
                   t->at, (int)(t->in.n > 200 ? 200 : t->in.n), t->in.p);
}

/* After a backslash at t->at. Oniguruma and PCRE2 agree on the letters listed; \s is Unicode's White_Space in Oniguruma
 * while PCRE2's holds U+180E too; \w and \b go by its words (pretok.h); \v and \h mean classes in PCRE2 and other things in Oniguruma. */
static sd_status translate_escape(translation *t, sd_err *err)
{
    if (t->at + 1 >= t->in.n) return refuse(t, "a lone backslash", err);
    char c = t->in.p[t->at + 1];
    size_t take_bytes = 2;
    if (c == 's') {
        sd_buf_puts(t->out, "\\p{White_Space}");
    } else if (c == 'S') {
        sd_buf_puts(t->out, "\\P{White_Space}");
    } else if (c == 'w' || c == 'W') {
        if (c == 'W' && t->class_depth) return refuse(t, "\\W in a class", err);
        sd_buf_puts(t->out, t->class_depth ? SD_PRETOK_WORD : c == 'w' ? WORD : NO_WORD);
    } else if (c == 'b' && !t->class_depth) {
        sd_buf_puts(t->out, "(?:(?<=" WORD ")(?!" WORD ")|(?<!" WORD ")(?=" WORD "))");
    } else if (c == 'v') {
        sd_buf_puts(t->out, "\\x{0B}");
    } else if (c == 'u' && t->at + 6 <= t->in.n) {
        sd_buf_printf(t->out, "\\x{%.4s}", t->in.p + t->at + 2);
        take_bytes = 6;
    } else {
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        bool digit = c >= '0' && c <= '9';
        bool anchor = c == 'A' || c == 'z' || c == 'G';
        if (digit || (letter && !memchr("dDpPrntfxb", c, 10) && !(anchor && t->trusted)))
            return refuse(t, "an escape of another dialect", err);
        if (c == 'b' && t->class_depth) return refuse(t, "\\b in a class", err);
        if ((c == 'p' || c == 'P' || c == 'x') && t->at + 2 < t->in.n && t->in.p[t->at + 2] == '{') {
            const char *close = memchr(t->in.p + t->at, '}', t->in.n - t->at);
            if (!close) return refuse(t, "an open brace", err);
            take_bytes = (size_t)(close + 1 - (t->in.p + t->at));
        }
        sd_buf_put(t->out, t->in.p + t->at, take_bytes);
    }
    t->at += take_bytes;
    return SD_OK;
}

/* After "(?": groups that mean the same in both dialects. "(?i)" does at the start alone: further on, Ruby ends it at
 * the next "|" of another group than PCRE2. */
static bool group_ok(sd_slice rest, bool at_start)
{
    static const char *const same[] = {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!", "(?i:", "(?-i:"};
    if (at_start && sd_slice_starts(rest, "(?i)")) return true;
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++)
        if (sd_slice_starts(rest, same[i])) return true;
    return false;
}

/* A class inside a class is a union in Ruby, and PCRE2 has none: the inner brackets go. */
static sd_status translate_inner(translation *t, char c, sd_err *err)
{
    char before = t->in.p[t->at - 1], after = t->at + 1 < t->in.n ? t->in.p[t->at + 1] : '\0';
    bool plain = c == '[' ? t->class_depth == 1 && before != '-' && after != '^' && after != ':' && after != ']'
                          : before != '-' && after != '-';
    if (!plain) return refuse(t, "this class inside a class", err);
    t->class_depth = c == '[' ? 2 : 1;
    t->at++;
    return SD_OK;
}

static sd_status translate_one(translation *t, sd_err *err)
{
    const char *p = t->in.p + t->at;
    size_t left = t->in.n - t->at;
    char c = *p;
    if (c == '\\') return translate_escape(t, err);
    if (t->class_depth) {
        if (c == '&' && left > 1 && p[1] == '&') return refuse(t, "an intersection of classes", err);
        if (c == '[' || (c == ']' && t->class_depth == 2)) return translate_inner(t, c, err);
        if (c == ']') t->class_depth = 0;
    } else if (c == '[') {
        t->class_depth = 1;
        /* "[]" and "[^]" begin a class with a bracket in one dialect and close it in the other. */
        size_t first = left > 1 && p[1] == '^' ? 2 : 1;
        if (left > first && p[first] == ']') return refuse(t, "a class that begins with ]", err);
        sd_buf_put(t->out, p, first);
        t->at += first;
        return SD_OK;
    } else if (c == '(' && left > 1 && p[1] == '?' && !group_ok((sd_slice){p, left}, t->at == 0)) {
        return refuse(t, "this kind of group", err);
    } else if (c == '(' && left > 1 && p[1] == '*') {
        return refuse(t, "(*", err);
    } else if (c == '}' && left > 1 && (p[1] == '+' || p[1] == '?')) {
        return refuse(t, "a count with a further quantifier",
                      err); /* Ruby repeats what PCRE2 makes possessive or lazy */
    } else if (c == '^') {
        return refuse(t, "the anchor ^", err);
    }
    sd_buf_putc(t->out, c);
    t->at++;
    return SD_OK;
}

static sd_status translate(sd_buf *out, sd_slice pattern, bool trusted, sd_err *err)
{
    if (pattern.n == 0 || pattern.n > MAX_PATTERN_BYTES)
        return sd_fail(err, SD_E_UNSUPPORTED, "pre-tokeniser pattern: %zu bytes, expected 1 to %d", pattern.n,
                       MAX_PATTERN_BYTES);
    /* A search for \s+$ starts again at each space of a long run: the run's start alone can succeed. */
    if (sd_slice_eq_str(pattern, "\\s+$")) pattern = SD_LIT("(?<!\\s)\\s++$");
    translation t = {.in = pattern, .out = out, .trusted = trusted};
    sd_status st = SD_OK;
    while (!st && t.at < t.in.n) st = translate_one(&t, err);
    if (!st) st = sd_buf_check(out, "pre-tokeniser pattern", err);
    return st;
}

static sd_status compile(sd_pretok *p, stage *to, sd_slice pattern, bool trusted, sd_err *err)
{
    sd_buf text;
    sd_buf_init(&text, 16 * MAX_PATTERN_BYTES);
    sd_status st = translate(&text, pattern, trusted, err);
    if (st) goto done;
    int code;
    size_t at;
    /* $ is before every line end in Ruby's syntax, hence MULTILINE. */
    pcre2_code *re =
        pcre2_compile((PCRE2_SPTR)text.p, text.n, PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &code, &at, p->compile);
    if (!re) {
        char why[128] = "";
        if (code == PCRE2_ERROR_HEAP_FAILED) {
            st = sd_fail(err, SD_E_NOMEM, "out of memory while a pre-tokeniser pattern was compiled");
            goto done;
        }
        pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
        st = sd_fail(err, SD_E_UNSUPPORTED, "pre-tokeniser pattern \"%.*s\": %s",
                     (int)(pattern.n > 200 ? 200 : pattern.n), pattern.p, why);
        goto done;
    }
    to->code = re;
    to->jit = pcre2_jit_compile(re, PCRE2_JIT_COMPLETE) == 0;
done:
    sd_buf_release(&text);
    return st;
}

static sd_status add_stage(sd_pretok *p, const sd_cut *cut, bool trusted, sd_err *err)
{
    stage *to = &p->stage[p->n++];
    *to = (stage){.invert = cut->invert, .split = cut->split, .how = cut->how, .prepend = cut->prepend};
    if (cut->how != SD_CUT_METASPACE) return compile(p, to, cut->pattern, trusted, err);
    uint32_t cp;
    if (cut->space.n == 0 || (size_t)sd_utf8_decode(cut->space.p, cut->space.n, &cp) != cut->space.n)
        return sd_fail(err, SD_E_FORMAT, "pre-tokeniser: Metaspace replaces spaces by %zu bytes, expected one character",
                       cut->space.n);
    for (int i = 0; i + 1 < p->n; i++)
        if (p->stage[i].how == SD_CUT_METASPACE)
            return sd_fail(err, SD_E_UNSUPPORTED, "pre-tokeniser: a second Metaspace is not supported");
    memcpy(to->space, cut->space.p, cut->space.n);
    to->n_space = cut->space.n;
    return SD_OK;
}

static sd_status pretok_new(sd_pretok **out, const sd_cut *cut, int n, bool trusted, sd_err *err)
{
    *out = NULL;
    if (n < 0 || n > SD_PRETOK_MAX)
        return sd_fail(err, SD_E_UNSUPPORTED, "pre-tokeniser: %d patterns, at most %d are supported", n, SD_PRETOK_MAX);
    sd_pretok *p;
    sd_status st = sd_alloc_zero(&p, sizeof *p, "a pre-tokeniser", err);
    if (st) return st;
    p->memory = pcre2_general_context_create(take, give, NULL);
    if (p->memory) p->compile = pcre2_compile_context_create(p->memory);
    if (!p->compile) {
        st = sd_fail(err, SD_E_NOMEM, "out of memory: a pre-tokeniser");
        goto done;
    }
    pcre2_set_newline(p->compile, PCRE2_NEWLINE_LF);
    for (int i = 0; i < n && !st; i++) st = add_stage(p, &cut[i], trusted, err);
done:
    if (st)
        sd_pretok_free(p);
    else
        *out = p;
    return st;
}

sd_status sd_pretok_new(sd_pretok **out, const sd_cut *cut, int n, sd_err *err)
{
    return pretok_new(out, cut, n, false, err);
}

bool sd_pretok_known(sd_slice name, sd_pretok_traits *traits)
{
    int n;
    return sd_pretok__table(name, &n, traits) != NULL;
}

sd_status sd_pretok_named(sd_pretok **out, sd_slice name, sd_err *err)
{
    sd_cut cut[SD_PRETOK_MAX] = {{.how = SD_CUT_ISOLATED}};
    sd_pretok_traits traits;
    int n = 0;
    const char *const *text = sd_pretok__table(name, &n, &traits);
    *out = NULL;
    if (!text) {
        sd_fail(err, SD_E_UNSUPPORTED, "the pre-tokeniser \"%.*s\" is not known", (int)(name.n > 64 ? 64 : name.n),
                name.p ? name.p : "");
        sd_hint(err, "convert the model again with a current converter, or use its Hugging Face folder");
        return SD_E_UNSUPPORTED;
    }
    for (int i = 0; i < n; i++) cut[i].pattern = sd_slice_of(text[i]);
    return pretok_new(out, cut, n, true, err);
}

void sd_pretok_free(sd_pretok *p)
{
    if (!p) return;
    for (int i = 0; i < p->n; i++) pcre2_code_free(p->stage[i].code);
    pcre2_compile_context_free(p->compile);
    pcre2_general_context_free(p->memory);
    sd_free(p);
}

sd_status sd_pretok_scratch_init(sd_pretok_scratch *s, const sd_pretok *p, sd_err *err)
{
    sd_buf_init(&s->spaced, MAX_TEXT_BYTES);
    s->match = pcre2_match_data_create(1, p->memory);
    s->limits = pcre2_match_context_create(p->memory);
    return s->match && s->limits ? SD_OK : sd_fail(err, SD_E_NOMEM, "out of memory: match data of the pre-tokeniser");
}

void sd_pretok_scratch_release(sd_pretok_scratch *s)
{
    pcre2_match_data_free(s->match);
    pcre2_match_context_free(s->limits);
    s->match = s->limits = NULL;
    sd_buf_release(&s->spaced);
}

typedef struct cutting {
    const sd_pretok *p;
    sd_pretok_scratch *s;
    const char *start; /* where the whole input begins; NULL when something stands before it */
    sd_word_fn fn;
    void *self;
} cutting;

/* >= 0: a match; PCRE2_ERROR_NOMATCH; or another error. Patterns that outgrow the JIT's stack run interpreted on the
 * heap. */
static int find(const stage *g, const sd_pretok_scratch *scratch, sd_slice s, size_t from)
{
    if (g->jit) {
        int rc = pcre2_jit_match(g->code, (PCRE2_SPTR)s.p, s.n, from, 0, scratch->match, scratch->limits);
        if (rc != PCRE2_ERROR_JIT_STACKLIMIT) return rc;
    }
    return pcre2_match(g->code, (PCRE2_SPTR)s.p, s.n, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, scratch->match,
                       scratch->limits);
}

static sd_status gives_up(int rc, size_t at, sd_slice s, sd_err *err)
{
    char why[128] = "";
    pcre2_get_error_message(rc, (PCRE2_UCHAR *)why, sizeof why);
    return sd_fail(err, SD_E_UNSUPPORTED,
                   "the pre-tokeniser gives up on this text at byte %zu of a piece of %zu: %s", at, s.n, why);
}

/* Steps of one match. The patterns in use take a few a byte of their longest match; one that explodes stops here. */
static void limit_steps(sd_pretok_scratch *s, size_t n)
{
    uint64_t steps = 10000000u + 16 * (uint64_t)n;
    pcre2_set_match_limit(s->limits, steps > UINT32_MAX ? UINT32_MAX : (uint32_t)steps);
}

static size_t char_bytes(const char *p)
{
    unsigned char b = (unsigned char)*p;
    return b < 0x80 ? 1 : b < 0xe0 ? 2 : b < 0xf0 ? 3 : 4;
}

static sd_status cut_level(const cutting *c, int level, sd_slice s, sd_err *err);

/* The piece that is waiting for what comes after it: pieces of s[begin, end) join by the rule of the stage. */
typedef struct pending {
    size_t begin, end;
    bool some, match;
} pending;

static sd_status flush(const cutting *c, int level, sd_slice s, pending *w, sd_err *err)
{
    if (!w->some) return SD_OK;
    w->some = false;
    return cut_level(c, level + 1, (sd_slice){s.p + w->begin, w->end - w->begin}, err);
}

/* The next stretch of s, a match or a gap (tokenizers, NormalizedString::split). */
static sd_status stretch(const cutting *c, int level, sd_slice s, pending *w, pending next, sd_err *err)
{
    const stage *g = &c->p->stage[level];
    sd_status st = SD_OK;
    size_t begin = next.begin, end = next.end;
    if (begin == end) return SD_OK;
    bool match = next.match ^ g->invert;
    switch (g->how) {
    case SD_CUT_REMOVED: return match ? SD_OK : cut_level(c, level + 1, (sd_slice){s.p + begin, end - begin}, err);
    case SD_CUT_WITH_PREVIOUS:
        if (w->some && match && !w->match) {
            w->end = end;
            w->match = true;
            return SD_OK;
        }
        break;
    case SD_CUT_WITH_NEXT:
        if (w->some && w->match && !match) {
            w->end = end;
            w->match = false;
            return flush(c, level, s, w, err);
        }
        break;
    case SD_CUT_CONTIGUOUS:
        if (w->some && w->match == match) {
            w->end = end;
            return SD_OK;
        }
        break;
    case SD_CUT_ISOLATED:
    case SD_CUT_METASPACE: return cut_level(c, level + 1, (sd_slice){s.p + begin, end - begin}, err);
    }
    st = flush(c, level, s, w, err);
    *w = (pending){begin, end, true, match};
    return st;
}

/* Spaces replaced, one put in front, and a cut before each (tokenizers, Metaspace). */
static sd_status cut_metaspace(const cutting *c, int level, sd_slice s, sd_err *err)
{
    const stage *g = &c->p->stage[level];
    sd_buf *b = &c->s->spaced;
    sd_slice mark = {g->space, g->n_space};
    bool wanted = g->prepend == SD_PREPEND_ALWAYS || (g->prepend == SD_PREPEND_FIRST && s.p == c->start);
    bool there = s.p[0] == ' ' || (s.n >= mark.n && memcmp(s.p, mark.p, mark.n) == 0);
    sd_buf_reset(b);
    if (wanted && !there) sd_buf_put(b, mark.p, mark.n);
    for (size_t i = 0; i < s.n;) {
        const char *space = memchr(s.p + i, ' ', s.n - i);
        size_t end = space ? (size_t)(space - s.p) : s.n;
        sd_buf_put(b, s.p + i, end - i);
        if (space) sd_buf_put(b, mark.p, mark.n);
        i = end + 1;
    }
    sd_status st = sd_buf_check(b, "text with its spaces replaced", err);
    if (st || !g->split) return st ? st : cut_level(c, level + 1, (sd_slice){b->p, b->n}, err);
    size_t done = 0;
    for (size_t i = mark.n; i + mark.n <= b->n && !st; i++) {
        if (memcmp(b->p + i, mark.p, mark.n) != 0) continue;
        st = cut_level(c, level + 1, (sd_slice){b->p + done, i - done}, err);
        done = i;
        i += mark.n - 1;
    }
    return st ? st : cut_level(c, level + 1, (sd_slice){b->p + done, b->n - done}, err);
}

/* Depth of recursion: the number of cuts. */
static sd_status cut_level(const cutting *c, int level, sd_slice s, sd_err *err)
{
    if (s.n == 0) return SD_OK;
    if (level == c->p->n) return c->fn(c->self, s, err);
    const stage *g = &c->p->stage[level];
    if (g->how == SD_CUT_METASPACE) return cut_metaspace(c, level, s, err);
    sd_status st = SD_OK;
    pending wait = {0};
    size_t done = 0, from = 0; /* everything before `done` has been given on */
    while (!st && from < s.n) {
        int rc = find(g, c->s, s, from);
        if (rc == PCRE2_ERROR_NOMATCH) break;
        if (rc < 0) return gives_up(rc, from, s, err);
        const size_t *span = pcre2_get_ovector_pointer(c->s->match);
        size_t begin = span[0], end = span[1];
        if (begin >= s.n || end < begin || begin < done) break;
        st = stretch(c, level, s, &wait, (pending){done, begin, true, false}, err);
        if (!st) st = stretch(c, level, s, &wait, (pending){begin, end, true, true}, err);
        done = end;
        from = end > begin ? end : end + char_bytes(s.p + end); /* an empty match is a boundary and no more */
    }
    if (!st) st = stretch(c, level, s, &wait, (pending){done, s.n, true, false}, err);
    return st ? st : flush(c, level, s, &wait, err);
}

sd_status sd_pretok_split(const sd_pretok *p, sd_pretok_scratch *s, sd_slice text, bool at_start, sd_word_fn fn,
                          void *self, sd_err *err)
{
    cutting c = {.p = p, .s = s, .start = at_start ? text.p : NULL, .fn = fn, .self = self};
    limit_steps(s, text.n);
    return cut_level(&c, 0, text, err);
}

sd_status sd_pretok_find(const sd_pretok *p, sd_pretok_scratch *s, sd_slice text, size_t from, sd_match *out, sd_err *err)
{
    limit_steps(s, text.n);
    int rc = from > text.n ? PCRE2_ERROR_NOMATCH : find(&p->stage[0], s, text, from);
    *out = (sd_match){.found = rc >= 0};
    if (rc == PCRE2_ERROR_NOMATCH) return SD_OK;
    if (rc < 0) return gives_up(rc, from, text, err);
    const size_t *span = pcre2_get_ovector_pointer(s->match);
    out->begin = span[0];
    out->end = span[1] < span[0] ? span[0] : span[1];
    return SD_OK;
}
