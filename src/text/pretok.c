/* Cutting text into words with PCRE2, after bringing patterns from Oniguruma's dialect to PCRE2's.
 *
 * The text is known to be valid UTF-8, so the matcher's own check (a pass over the whole text for every word) is off.
 * Speed on one core: 130 MB/s of English with the JIT for GPT-2's pattern. */
#include "text/pretok.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define MAX_PATTERN_BYTES 16384 /* the longest in the table is under 2 KB */

struct sd_pretok {
    int n;
    pcre2_general_context *memory;
    pcre2_compile_context *compile;
    pcre2_code *code[SD_PRETOK_MAX];
    bool jit[SD_PRETOK_MAX];
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
 * while PCRE2's holds U+180E too; \v and \h mean classes in PCRE2 and other things in Oniguruma. */
static sd_status translate_escape(translation *t, sd_err *err)
{
    if (t->at + 1 >= t->in.n) return refuse(t, "a lone backslash", err);
    char c = t->in.p[t->at + 1];
    size_t take_bytes = 2;
    if (c == 's') {
        sd_buf_puts(t->out, "\\p{White_Space}");
    } else if (c == 'S') {
        sd_buf_puts(t->out, "\\P{White_Space}");
    } else if (c == 'v') {
        sd_buf_puts(t->out, "\\x{0B}");
    } else if (c == 'u' && t->at + 6 <= t->in.n) {
        sd_buf_printf(t->out, "\\x{%.4s}", t->in.p + t->at + 2);
        take_bytes = 6;
    } else {
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        bool digit = c >= '0' && c <= '9';
        bool anchor = c == 'A' || c == 'z' || c == 'G';
        if (digit || (letter && !memchr("dDwWpPrntfxb", c, 12) && !(anchor && t->trusted)))
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

static sd_status compile(sd_pretok *p, sd_slice pattern, bool trusted, sd_err *err)
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
    p->code[p->n] = re;
    p->jit[p->n] = pcre2_jit_compile(re, PCRE2_JIT_COMPLETE) == 0;
    p->n++;
done:
    sd_buf_release(&text);
    return st;
}

static sd_status pretok_new(sd_pretok **out, const sd_slice *pattern, int n, bool trusted, sd_err *err)
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
    for (int i = 0; i < n && !st; i++) st = compile(p, pattern[i], trusted, err);
done:
    if (st)
        sd_pretok_free(p);
    else
        *out = p;
    return st;
}

sd_status sd_pretok_new(sd_pretok **out, const sd_slice *pattern, int n, sd_err *err)
{
    return pretok_new(out, pattern, n, false, err);
}

bool sd_pretok_known(sd_slice name, sd_pretok_traits *traits)
{
    int n;
    const char *reason;
    return sd_pretok__table(name, &n, traits, &reason) != NULL;
}

sd_status sd_pretok_named(sd_pretok **out, sd_slice name, sd_err *err)
{
    sd_slice pattern[SD_PRETOK_MAX];
    sd_pretok_traits traits;
    int n = 0;
    const char *reason = NULL;
    const char *const *text = sd_pretok__table(name, &n, &traits, &reason);
    *out = NULL;
    if (!text) {
        sd_fail(err, SD_E_UNSUPPORTED, "the pre-tokeniser \"%.*s\" is not known", (int)(name.n > 64 ? 64 : name.n),
                name.p ? name.p : "");
        sd_hint(err, "convert the model again with a current converter, or use its Hugging Face folder");
        return SD_E_UNSUPPORTED;
    }
    if (n == 0)
        return sd_fail(err, SD_E_UNSUPPORTED, "the pre-tokeniser \"%.*s\" is not supported: %s", SD_SLICE(name),
                       reason);
    for (int i = 0; i < n; i++) pattern[i] = sd_slice_of(text[i]);
    return pretok_new(out, pattern, n, true, err);
}

void sd_pretok_free(sd_pretok *p)
{
    if (!p) return;
    for (int i = 0; i < p->n; i++) pcre2_code_free(p->code[i]);
    pcre2_compile_context_free(p->compile);
    pcre2_general_context_free(p->memory);
    sd_free(p);
}

sd_status sd_pretok_scratch_init(sd_pretok_scratch *s, const sd_pretok *p, sd_err *err)
{
    s->match = pcre2_match_data_create(1, p->memory);
    s->limits = pcre2_match_context_create(p->memory);
    return s->match && s->limits ? SD_OK : sd_fail(err, SD_E_NOMEM, "out of memory: match data of the pre-tokeniser");
}

void sd_pretok_scratch_release(sd_pretok_scratch *s)
{
    pcre2_match_data_free(s->match);
    pcre2_match_context_free(s->limits);
    s->match = s->limits = NULL;
}

typedef struct cut {
    const sd_pretok *p;
    pcre2_match_data *match;
    pcre2_match_context *limits;
    sd_word_fn fn;
    void *self;
} cut;

/* >= 0: a match; PCRE2_ERROR_NOMATCH; or another error. Patterns that outgrow the JIT's stack run interpreted on the
 * heap. */
static int find(const cut *c, int level, sd_slice s, size_t from)
{
    if (c->p->jit[level]) {
        int rc = pcre2_jit_match(c->p->code[level], (PCRE2_SPTR)s.p, s.n, from, 0, c->match, c->limits);
        if (rc != PCRE2_ERROR_JIT_STACKLIMIT) return rc;
    }
    return pcre2_match(c->p->code[level], (PCRE2_SPTR)s.p, s.n, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, c->match,
                       c->limits);
}

static size_t char_bytes(const char *p)
{
    unsigned char b = (unsigned char)*p;
    return b < 0x80 ? 1 : b < 0xe0 ? 2 : b < 0xf0 ? 3 : 4;
}

/* Depth of recursion: the number of patterns. */
static sd_status cut_level(const cut *c, int level, sd_slice s, sd_err *err)
{
    if (s.n == 0) return SD_OK;
    if (level == c->p->n) return c->fn(c->self, s, err);
    sd_status st = SD_OK;
    size_t done = 0, from = 0; /* everything before `done` has been given on */
    while (!st && from < s.n) {
        int rc = find(c, level, s, from);
        if (rc == PCRE2_ERROR_NOMATCH) break;
        if (rc < 0) {
            char why[128] = "";
            pcre2_get_error_message(rc, (PCRE2_UCHAR *)why, sizeof why);
            return sd_fail(err, SD_E_UNSUPPORTED,
                           "the pre-tokeniser gives up on this text at byte %zu of a piece of %zu: %s", from, s.n, why);
        }
        const size_t *span = pcre2_get_ovector_pointer(c->match);
        size_t begin = span[0], end = span[1];
        if (begin >= s.n || end < begin || begin < done) break;
        if (begin > done) st = cut_level(c, level + 1, (sd_slice){s.p + done, begin - done}, err);
        if (!st && end > begin) st = cut_level(c, level + 1, (sd_slice){s.p + begin, end - begin}, err);
        done = end;
        from = end > begin ? end : end + char_bytes(s.p + end); /* an empty match is a boundary and no more */
    }
    if (!st && done < s.n) st = cut_level(c, level + 1, (sd_slice){s.p + done, s.n - done}, err);
    return st;
}

sd_status sd_pretok_split(const sd_pretok *p, sd_pretok_scratch *s, sd_slice text, sd_word_fn fn, void *self,
                          sd_err *err)
{
    cut c = {.p = p, .match = s->match, .limits = s->limits, .fn = fn, .self = self};
    /* Steps of one match. The patterns in use take a few a byte of their longest match; one that explodes stops here.
     */
    uint64_t steps = 10000000u + 16 * (uint64_t)text.n;
    pcre2_set_match_limit(s->limits, steps > UINT32_MAX ? UINT32_MAX : (uint32_t)steps);
    return cut_level(&c, 0, text, err);
}
