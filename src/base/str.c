/* Slices, buffers, numbers and UTF-8. Numbers are read and written in the C locale whatever the program has
 * set: uselocale() changes the calling thread only, and glibc's C locale costs no memory. */
#include "base/str.h"

#include "base/log.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

bool sd_slice_eq(sd_slice a, sd_slice b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool sd_slice_eq_str(sd_slice a, const char *s)
{
    return sd_slice_eq(a, sd_slice_of(s));
}

bool sd_slice_starts(sd_slice s, const char *prefix)
{
    size_t n = strlen(prefix);
    return s.n >= n && (n == 0 || memcmp(s.p, prefix, n) == 0);
}

bool sd_slice_ends(sd_slice s, const char *suffix)
{
    size_t n = strlen(suffix);
    return s.n >= n && (n == 0 || memcmp(s.p + s.n - n, suffix, n) == 0);
}

/* A rest that is used up has p == NULL: "a," still has an empty part to give after "a". */
bool sd_slice_cut(sd_slice *rest, char sep, sd_slice *part)
{
    if (!rest->p) return false;
    const char *at = rest->n ? memchr(rest->p, sep, rest->n) : NULL;
    if (!at) {
        *part = *rest;
        *rest = (sd_slice){NULL, 0};
        return true;
    }
    size_t n = (size_t)(at - rest->p);
    *part = (sd_slice){rest->p, n};
    *rest = (sd_slice){at + 1, rest->n - n - 1};
    return true;
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

sd_slice sd_slice_trim(sd_slice s)
{
    while (s.n && is_space(s.p[0])) s.p++, s.n--;
    while (s.n && is_space(s.p[s.n - 1])) s.n--;
    return s;
}

bool sd_parse_u64(sd_slice s, uint64_t *out)
{
    if (s.n == 0) return false;
    uint64_t v = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') return false;
        if (__builtin_mul_overflow(v, (uint64_t)10, &v)) return false;
        if (__builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v)) return false;
    }
    *out = v;
    return true;
}

bool sd_parse_i64(sd_slice s, int64_t *out)
{
    bool minus = s.n > 0 && s.p[0] == '-';
    if (minus) s.p++, s.n--;
    uint64_t v;
    if (!sd_parse_u64(s, &v)) return false;
    uint64_t limit = (uint64_t)INT64_MAX + (minus ? 1u : 0u);
    if (v > limit) return false;
    *out = !minus ? (int64_t)v : v == limit ? INT64_MIN : -(int64_t)v;
    return true;
}

/* -?digits[.digits][(e|E)[+-]digits], with digits on at least one side of the point. */
static bool is_decimal(sd_slice s)
{
    size_t i = 0, whole = 0, part = 0, exponent = 0;
    if (i < s.n && s.p[i] == '-') i++;
    for (; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++) whole++;
    if (i < s.n && s.p[i] == '.')
        for (i++; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++) part++;
    if (whole + part == 0) return false;
    if (i == s.n) return true;
    if (s.p[i] != 'e' && s.p[i] != 'E') return false;
    i++;
    if (i < s.n && (s.p[i] == '-' || s.p[i] == '+')) i++;
    for (; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++) exponent++;
    return exponent > 0 && i == s.n;
}

static locale_t enter_c_locale(void)
{
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    return uselocale(c);
}

bool sd_parse_f64(sd_slice s, double *out)
{
    /* A double has at most 767 significant digits; anything longer is no number that a person or a program wrote. */
    char text[1024];
    if (s.n >= sizeof text || !is_decimal(s)) return false;
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    locale_t old = enter_c_locale();
    double v = strtod(text, NULL);
    uselocale(old);
    if (!isfinite(v)) return false;
    *out = v;
    return true;
}

/* A decimal of DBL_DIG (15) or FLT_DIG (6) digits survives the way through a normal double or float, so the
 * fewest digits are found from there on; 17 and 9 always suffice (C11 5.2.4.2.2). Subnormals hold fewer digits
 * and are searched from one. */
static const char *format_real(char out[SD_FMT_MAX], double v, bool single)
{
    if (!isfinite(v)) {
        snprintf(out, SD_FMT_MAX, "%s", isnan(v) ? "nan" : v > 0 ? "inf" : "-inf");
        return out;
    }
    if (v == 0) {
        snprintf(out, SD_FMT_MAX, "%s", signbit(v) ? "-0.0" : "0");
        return out;
    }
    bool tiny = fabs(v) < (single ? (double)FLT_MIN : DBL_MIN);
    int digits = tiny ? 1 : single ? FLT_DIG : DBL_DIG;
    locale_t old = enter_c_locale();
    for (;; digits++) {
        snprintf(out, SD_FMT_MAX, "%.*g", digits, v);
        if (single ? strtof(out, NULL) == (float)v : strtod(out, NULL) == v) break;
        SD_ASSERT(digits < (single ? FLT_DECIMAL_DIG : DBL_DECIMAL_DIG));
    }
    uselocale(old);
    return out;
}

const char *sd_fmt_f64(char out[SD_FMT_MAX], double v)
{
    return format_real(out, v, false);
}

const char *sd_fmt_f32(char out[SD_FMT_MAX], float v)
{
    return format_real(out, (double)v, true);
}

void sd_buf_init(sd_buf *b, size_t max_bytes)
{
    *b = (sd_buf){.max = max_bytes};
}

void sd_buf_release(sd_buf *b)
{
    if (!b) return;
    sd_free(b->p);
    *b = (sd_buf){.max = b->max};
}

void sd_buf_reset(sd_buf *b)
{
    b->n = 0;
    b->failed = false;
}

/* Room for extra bytes and the NUL behind them; false (and failed) when that passes the maximum or memory is out. */
static bool make_room(sd_buf *b, size_t extra)
{
    if (b->failed) return false;
    if (extra > b->max || b->n > b->max - extra) {
        b->failed = true;
        return false;
    }
    size_t need = b->n + extra + 1;
    if (need <= b->cap) return true;
    size_t cap = b->cap < 32 ? 64 : b->cap;
    while (cap < need) cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    if (b->max < SIZE_MAX && cap > b->max + 1) cap = b->max + 1;
    char *p = sd_realloc(b->p, cap);
    if (!p) {
        b->failed = true;
        return false;
    }
    b->p = p;
    b->cap = cap;
    return true;
}

void sd_buf_put(sd_buf *b, const void *p, size_t n)
{
    if (n == 0 || !make_room(b, n)) return;
    memcpy(b->p + b->n, p, n);
    b->n += n;
}

void sd_buf_putc(sd_buf *b, char c)
{
    sd_buf_put(b, &c, 1);
}

void sd_buf_puts(sd_buf *b, const char *s)
{
    sd_buf_put(b, s, strlen(s));
}

void sd_buf_printf(sd_buf *b, const char *fmt, ...)
{
    if (b->failed) return;
    char small[256];
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    locale_t old = enter_c_locale();
    int n = vsnprintf(small, sizeof small, fmt, ap);
    if (n >= 0 && (size_t)n < sizeof small) {
        sd_buf_put(b, small, (size_t)n);
    } else if (n >= 0 && make_room(b, (size_t)n)) {
        vsnprintf(b->p + b->n, (size_t)n + 1, fmt, again);
        b->n += (size_t)n;
    } else {
        b->failed = true;
    }
    uselocale(old);
    va_end(again);
    va_end(ap);
}

const char *sd_buf_str(sd_buf *b)
{
    if (!b->p) return "";
    b->p[b->n] = '\0';
    return b->p;
}

sd_status sd_buf_check(const sd_buf *b, const char *what, sd_err *err)
{
    if (!b->failed) return SD_OK;
    char max[32];
    return sd_fail(err, SD_E_NOMEM, "%s: passes the maximum of %s, or memory is out", what,
                   sd_fmt_bytes(max, sizeof max, (double)b->max));
}

/* RFC 3629 section 4, as ranges of the second byte by the first. */
int sd_utf8_decode(const char *p, size_t n, uint32_t *cp)
{
    if (n == 0) return 0;
    const uint8_t *s = (const uint8_t *)p;
    uint8_t b0 = s[0];
    if (b0 < 0x80) {
        *cp = b0;
        return 1;
    }
    int len = b0 >= 0xc2 && b0 <= 0xdf ? 2 : (b0 & 0xf0) == 0xe0 ? 3 : b0 >= 0xf0 && b0 <= 0xf4 ? 4 : 0;
    if (len == 0 || n < (size_t)len) return 0;
    uint8_t lo = b0 == 0xe0 ? 0xa0 : b0 == 0xf0 ? 0x90 : 0x80;
    uint8_t hi = b0 == 0xed ? 0x9f : b0 == 0xf4 ? 0x8f : 0xbf;
    if (s[1] < lo || s[1] > hi) return 0;
    uint32_t v = b0 & (0x7fu >> len);
    for (int i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80) return 0;
        v = v << 6 | (s[i] & 0x3fu);
    }
    *cp = v;
    return len;
}

size_t sd_utf8_valid_prefix(sd_slice s)
{
    size_t i = 0;
    while (i < s.n) {
        uint64_t word;
        if (s.n - i >= sizeof word) {
            memcpy(&word, s.p + i, sizeof word);
            if ((word & 0x8080808080808080u) == 0) {
                i += sizeof word;
                continue;
            }
        }
        uint32_t cp;
        int len = sd_utf8_decode(s.p + i, s.n - i, &cp);
        if (len == 0) break;
        i += (size_t)len;
    }
    return i;
}

const char *sd_utf16_name(sd_slice s)
{
    if (s.n >= 2 && (memcmp(s.p, "\xff\xfe", 2) == 0 || memcmp(s.p, "\xfe\xff", 2) == 0)) return "UTF-16";
    if (s.n < 4 || !s.p[0] == !s.p[1] || !s.p[0] != !s.p[2] || !s.p[1] != !s.p[3]) return NULL;
    return s.p[0] ? "UTF-16LE" : "UTF-16BE";
}

sd_status sd_text_check(sd_slice s, const char *what, sd_err *err)
{
    const char *wide = sd_utf16_name(s);
    const size_t ok = wide ? 0 : sd_utf8_valid_prefix(s);
    size_t line = 1;
    if (ok == s.n) return SD_OK;
    if (wide) {
        sd_fail(err, SD_E_UNSUPPORTED, "%s is UTF-16; text is read as UTF-8", what);
        return sd_hint(err, "convert it: iconv -f %s -t UTF-8 FILE > NEW", wide);
    }
    for (size_t i = 0; i < ok; i++) line += s.p[i] == '\n';
    sd_fail(err, SD_E_FORMAT, "%s: line %zu, byte %zu (0x%02x) of it is not UTF-8", what, line, ok, (unsigned)(uint8_t)s.p[ok]);
    return sd_hint(err, "convert it, for example: iconv -f LATIN1 -t UTF-8 FILE > NEW");
}

int sd_utf8_encode(uint32_t cp, char out[4])
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xc0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp < 0x10000) {
        if (cp >= 0xd800 && cp <= 0xdfff) return 0;
        out[0] = (char)(0xe0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3f));
        out[2] = (char)(0x80 | (cp & 0x3f));
        return 3;
    }
    if (cp > 0x10ffff) return 0;
    out[0] = (char)(0xf0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3f));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3f));
    out[3] = (char)(0x80 | (cp & 0x3f));
    return 4;
}
