/* Normalisation: the steps of a tokenizer's normaliser in turn, from one buffer into the other. Bytes that are not UTF-8
 * pass unchanged through every step.
 *
 * Case, categories and normal forms are utf8proc's; where tokenizers' tables are of another version of Unicode a new
 * character may differ. Not reversible: decoding gives the normalised text. */
#include "text/tok_int.h"

#include <utf8proc.h>

#define MAX_STEPS 32

typedef struct step {
    sd_norm_kind kind;
    bool left, right;
    char *from, *to;
    size_t n_from, n_to;
    sd_pretok *pattern;
} step;

struct sd_norm {
    int n;
    step step[MAX_STEPS];
};

/* ---- one step: s into b ---- */

static sd_status to_form(sd_buf *b, sd_buf *wide, sd_slice s, int options, sd_err *err)
{
    const utf8proc_uint8_t *p = (const utf8proc_uint8_t *)s.p;
    utf8proc_option_t opt = (utf8proc_option_t)(options | UTF8PROC_STABLE);
    utf8proc_ssize_t n = utf8proc_decompose(p, (utf8proc_ssize_t)s.n, NULL, 0, opt);
    if (n < 0) return sd_fail(err, SD_E_FAIL, "cannot normalise a text of %zu bytes: %s", s.n, utf8proc_errmsg(n));
    sd_buf_reset(wide);
    for (size_t need = ((size_t)n + 1) * sizeof(utf8proc_int32_t); wide->n < need && !wide->failed;)
        sd_buf_put(wide, "\0\0\0\0\0\0\0\0", 8); /* reencode wants room for one more */
    sd_status st = sd_buf_check(wide, "normalised text", err);
    if (st) return st;
    utf8proc_int32_t *cp = (utf8proc_int32_t *)(void *)wide->p;
    n = utf8proc_decompose(p, (utf8proc_ssize_t)s.n, cp, n, opt);
    if (n >= 0) n = utf8proc_reencode(cp, n, opt);
    if (n < 0) return sd_fail(err, SD_E_FAIL, "cannot normalise a text of %zu bytes: %s", s.n, utf8proc_errmsg(n));
    sd_buf_put(b, cp, (size_t)n);
    return SD_OK;
}

static bool is_mark(uint32_t cp, bool only_nonspacing)
{
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return c == UTF8PROC_CATEGORY_MN || (!only_nonspacing && (c == UTF8PROC_CATEGORY_MC || c == UTF8PROC_CATEGORY_ME));
}

static bool is_control(uint32_t cp)
{
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    if (cp == '\t' || cp == '\n' || cp == '\r') return false;
    return c == UTF8PROC_CATEGORY_CC || c == UTF8PROC_CATEGORY_CF || c == UTF8PROC_CATEGORY_CO;
}

/* BERT's Chinese characters; 2B920 is tokenizers' (and llama.cpp's) for 2B820. */
static bool is_cjk(uint32_t c)
{
    return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x20000 && c <= 0x2a6df) ||
           (c >= 0x2a700 && c <= 0x2b73f) || (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) ||
           (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

static void put_cp(sd_buf *b, uint32_t cp)
{
    char out[4];
    sd_buf_put(b, out, (size_t)sd_utf8_encode(cp, out));
}

static void put_lower(sd_buf *b, uint32_t cp)
{
    put_cp(b, (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp));
    if (cp == 0x130) put_cp(b, 0x307); /* the one character whose lower case is two: SpecialCasing.txt */
}

/* Steps that look at one character at a time. */
static void map_chars(const step *g, sd_buf *b, sd_slice s)
{
    for (size_t i = 0; i < s.n;) {
        uint32_t cp = 0;
        int len = sd_utf8_decode(s.p + i, s.n - i, &cp);
        if (len <= 0) {
            sd_buf_putc(b, s.p[i++]);
            continue;
        }
        sd_slice ch = {s.p + i, (size_t)len};
        i += (size_t)len;
        switch (g->kind) {
        case SD_NORM_LOWER: put_lower(b, cp); break;
        case SD_NORM_STRIP_MARKS:
            if (!is_mark(cp, g->left)) sd_buf_put(b, ch.p, ch.n);
            break;
        case SD_NORM_BERT_CLEAN:
            if (cp == 0 || cp == 0xfffd || is_control(cp)) break;
            if (sd_tok__is_space(cp))
                sd_buf_putc(b, ' ');
            else
                sd_buf_put(b, ch.p, ch.n);
            break;
        default: /* SD_NORM_BERT_CJK */
            if (is_cjk(cp)) sd_buf_putc(b, ' ');
            sd_buf_put(b, ch.p, ch.n);
            if (is_cjk(cp)) sd_buf_putc(b, ' ');
        }
    }
}

static void replace(const step *g, sd_buf *b, sd_slice s)
{
    for (size_t i = 0; i < s.n;) {
        const char *hit = g->n_from == 1 ? memchr(s.p + i, g->from[0], s.n - i) : memmem(s.p + i, s.n - i, g->from, g->n_from);
        size_t end = hit ? (size_t)(hit - s.p) : s.n;
        sd_buf_put(b, s.p + i, end - i);
        if (hit) sd_buf_put(b, g->to, g->n_to);
        i = hit ? end + g->n_from : s.n;
    }
}

static sd_status replace_pattern(const step *g, sd_buf *b, sd_slice s, sd_err *err)
{
    sd_pretok_scratch scratch = {0};
    sd_status st = sd_pretok_scratch_init(&scratch, g->pattern, err);
    size_t done = 0;
    sd_match m = {.found = true};
    for (size_t from = 0; !st && m.found && from <= s.n;) {
        st = sd_pretok_find(g->pattern, &scratch, s, from, &m, err);
        if (st || !m.found) break;
        sd_buf_put(b, s.p + done, m.begin - done);
        sd_buf_put(b, g->to, g->n_to);
        done = m.end;
        from = m.end > m.begin ? m.end : m.end + (m.end < s.n ? sd_tok__char(s.p + m.end, s.n - m.end) : 1);
    }
    if (!st) sd_buf_put(b, s.p + done, s.n - done);
    sd_pretok_scratch_release(&scratch);
    return st;
}

static void strip(const step *g, sd_buf *b, sd_slice s)
{
    size_t begin = 0, end = 0; /* end: after the last character that stays */
    uint32_t cp;
    bool head = g->left;
    for (size_t i = 0, n; i < s.n; i += n) {
        n = sd_tok__char(s.p + i, s.n - i);
        bool space = sd_utf8_decode(s.p + i, s.n - i, &cp) > 0 && sd_tok__is_space(cp);
        if (head && space)
            begin = i + n;
        else
            head = false;
        if (!space || !g->right) end = i + n;
    }
    if (end > begin) sd_buf_put(b, s.p + begin, end - begin);
}

/* SentencePiece's map over text that is UTF-8: a grapheme of under 6 bytes as a whole, else character by character
 * (tokenizers, spm_precompiled), or the longest match at each place (SentencePiece, llama.cpp). */
static void charsmap(const step *g, sd_buf *b, sd_slice s)
{
    sd_slice map = {g->from, g->n_from}, to;
    size_t used;
    for (size_t i = 0, n; i < s.n; i += n) {
        n = sd_tok__char(s.p + i, s.n - i);
        if (g->kind == SD_NORM_CHARSMAP_LONGEST) {
            bool hit = sd_charsmap__find(map, s.p + i, s.n - i, true, &to, &used);
            if (hit) n = used;
            sd_buf_put(b, hit ? to.p : s.p + i, hit ? to.n : n);
            continue;
        }
        uint32_t cp = 0, next = 0;
        utf8proc_int32_t state = 0;
        if (sd_utf8_decode(s.p + i, s.n - i, &cp) <= 0) cp = 0;
        for (int len; i + n < s.n && (len = sd_utf8_decode(s.p + i + n, s.n - i - n, &next)) > 0; n += (size_t)len, cp = next)
            if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)cp, (utf8proc_int32_t)next, &state)) break;
        if (n < 6 && sd_charsmap__find(map, s.p + i, n, false, &to, &used)) {
            sd_buf_put(b, to.p, to.n);
            continue;
        }
        for (size_t k = i, len; k < i + n; k += len) {
            len = sd_tok__char(s.p + k, i + n - k);
            bool hit = sd_charsmap__find(map, s.p + k, len, false, &to, &used);
            sd_buf_put(b, hit ? to.p : s.p + k, hit ? to.n : len);
        }
    }
}

/* SentencePiece's spaces as llama.cpp's unigram model writes them: `to` for each, one for a run when `left`, and one in
 * front of the text when `right`. */
static void spm_spaces(const step *g, sd_buf *b, sd_slice s)
{
    bool in_word = false, put_first = false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == ' ') {
            in_word = false;
            if (!g->left) sd_buf_put(b, g->to, g->n_to);
            continue;
        }
        if (!in_word && (g->left || (g->right && !put_first))) {
            sd_buf_put(b, g->to, g->n_to);
            put_first = true;
        }
        in_word = true;
        sd_buf_putc(b, s.p[i]);
    }
}

static sd_status in_runs(const step *g, sd_buf *b, sd_buf *wide, sd_slice s, sd_err *err)
{
    int options = 0;
    sd_status st = SD_OK;
    switch (g->kind) {
    case SD_NORM_NFC: options = UTF8PROC_COMPOSE; break;
    case SD_NORM_NFD: options = UTF8PROC_DECOMPOSE; break;
    case SD_NORM_NFKC: options = UTF8PROC_COMPOSE | UTF8PROC_COMPAT; break;
    default: options = UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT;
    }
    while (s.n && !st) {
        size_t n = sd_utf8_valid_prefix(s);
        if (n == 0)
            sd_buf_put(b, s.p, n = 1);
        else if (g->kind == SD_NORM_REPLACE_PATTERN)
            st = replace_pattern(g, b, (sd_slice){s.p, n}, err);
        else
            st = to_form(b, wide, (sd_slice){s.p, n}, options, err);
        s = (sd_slice){s.p + n, s.n - n};
    }
    return st;
}

static sd_status apply(const step *g, sd_buf *b, sd_buf *wide, sd_slice s, sd_err *err)
{
    switch (g->kind) {
    case SD_NORM_PREPEND:
        if (s.n) sd_buf_put(b, g->to, g->n_to);
        sd_buf_put(b, s.p, s.n);
        return SD_OK;
    case SD_NORM_REPLACE: replace(g, b, s); return SD_OK;
    case SD_NORM_STRIP: strip(g, b, s); return SD_OK;
    case SD_NORM_SPM_SPACES: spm_spaces(g, b, s); return SD_OK;
    case SD_NORM_CHARSMAP:
    case SD_NORM_CHARSMAP_LONGEST: charsmap(g, b, s); return SD_OK;
    case SD_NORM_LOWER:
    case SD_NORM_STRIP_MARKS:
    case SD_NORM_BERT_CLEAN:
    case SD_NORM_BERT_CJK: map_chars(g, b, s); return SD_OK;
    case SD_NORM_REPLACE_PATTERN:
    case SD_NORM_NFC:
    case SD_NORM_NFD:
    case SD_NORM_NFKC:
    case SD_NORM_NFKD: break;
    }
    return in_runs(g, b, wide, s, err);
}

static bool is_ascii(sd_slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] >= 0x80) return false;
    return true;
}

/* Steps that leave ASCII as it is. */
static bool spares_ascii(sd_norm_kind k)
{
    return k == SD_NORM_NFC || k == SD_NORM_NFD || k == SD_NORM_NFKC || k == SD_NORM_NFKD || k == SD_NORM_STRIP_MARKS ||
           k == SD_NORM_BERT_CJK;
}

sd_status sd_norm__apply(const sd_norm *n, sd_encode_scratch *s, sd_slice *text, sd_err *err)
{
    for (int i = 0, to = 0; i < n->n; i++) {
        if (spares_ascii(n->step[i].kind) && is_ascii(*text)) continue;
        sd_buf *b = &s->norm[to];
        sd_buf_reset(b);
        sd_status st = apply(&n->step[i], b, &s->wide, *text, err);
        if (!st) st = sd_buf_check(b, "normalised text", err);
        if (st) return st;
        *text = (sd_slice){b->p ? b->p : "", b->n};
        to = 1 - to;
    }
    return SD_OK;
}

/* ---- making one ---- */

static sd_status keep(char **out, size_t *n, sd_slice s, sd_err *err)
{
    sd_status st = sd_alloc(out, s.n + 1, "a normaliser", err);
    if (st) return st;
    if (s.n) memcpy(*out, s.p, s.n);
    *n = s.n;
    return SD_OK;
}

sd_status sd_norm__new(sd_norm **out, const sd_norm_step *from, int n, sd_err *err)
{
    sd_norm *norm = NULL;
    if (n > MAX_STEPS)
        return sd_fail(err, SD_E_UNSUPPORTED, "normaliser: %d steps, at most %d are supported", n, MAX_STEPS);
    sd_status st = sd_alloc_zero(&norm, sizeof *norm, "a normaliser", err);
    for (int i = 0; i < n && !st; i++) {
        step *g = &norm->step[norm->n++];
        *g = (step){.kind = from[i].kind, .left = from[i].left, .right = from[i].right};
        st = keep(&g->from, &g->n_from, from[i].from, err);
        if (!st) st = keep(&g->to, &g->n_to, from[i].to, err);
        if (st) break;
        if (g->kind == SD_NORM_REPLACE && g->n_from == 0)
            st = sd_fail(err, SD_E_FORMAT, "normaliser: step %d replaces an empty text", i);
        if (g->kind == SD_NORM_REPLACE_PATTERN)
            st = sd_pretok_new(&g->pattern, &(sd_cut){.pattern = from[i].from}, 1, err);
        if (g->kind == SD_NORM_CHARSMAP || g->kind == SD_NORM_CHARSMAP_LONGEST) st = sd_charsmap__check(from[i].from, err);
    }
    if (st)
        sd_norm__free(norm);
    else
        *out = norm;
    return st;
}

void sd_norm__free(sd_norm *n)
{
    if (!n) return;
    for (int i = 0; i < n->n; i++) {
        sd_free(n->step[i].from);
        sd_free(n->step[i].to);
        sd_pretok_free(n->step[i].pattern);
    }
    sd_free(n);
}
