/* Values as text: Python's str(), repr() and json.dumps(), its string operations, strftime. */
#include "text/jinja_run.h"

#include <math.h>
#include <stdio.h>
#include <time.h>
#include <utf8proc.h>

/* ---- numbers ---- */

/* Python's repr of a float: the shortest digits that read back, 1e+16 and 1e-05 outside of 1e-4 <= |x| < 1e16. */
static void print_float(sd_buf *b, double f)
{
    char s[SD_FMT_MAX], digits[SD_FMT_MAX];
    int n = 0, point = 0, exponent = 0;
    bool seen = false;
    if (!isfinite(f)) {
        sd_buf_puts(b, isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
        return;
    }
    const char *p = sd_fmt_f64(s, f);
    if (*p == '-') {
        sd_buf_putc(b, '-');
        p++;
    }
    for (; *p && *p != 'e' && *p != 'E'; p++) {
        if (*p == '.') {
            seen = true;
        } else {
            if (n || *p != '0')
                digits[n++] = *p;
            else if (seen)
                point--;
            if (!seen && n) point++;
        }
    }
    if (*p) {
        int64_t e = 0;
        const char *q = p + 1 + (p[1] == '+');
        if (sd_parse_i64(sd_slice_of(q), &e)) exponent = (int)e;
    }
    point += exponent; /* value = 0.DIGITS * 10^point */
    while (n > 0 && digits[n - 1] == '0') n--;
    if (n == 0) {
        sd_buf_puts(b, "0.0");
        return;
    }
    if (point < -3 || point > 16) {
        sd_buf_putc(b, digits[0]);
        if (n > 1) sd_buf_printf(b, ".%.*s", n - 1, digits + 1);
        sd_buf_printf(b, "e%c%02d", point - 1 < 0 ? '-' : '+', point - 1 < 0 ? 1 - point : point - 1);
        return;
    }
    if (point <= 0) {
        sd_buf_puts(b, "0.");
        for (int i = point; i < 0; i++) sd_buf_putc(b, '0');
        sd_buf_put(b, digits, (size_t)n);
        return;
    }
    for (int i = 0; i < point; i++) sd_buf_putc(b, i < n ? digits[i] : '0');
    sd_buf_putc(b, '.');
    if (n > point)
        sd_buf_put(b, digits + point, (size_t)(n - point));
    else
        sd_buf_putc(b, '0');
}

/* ---- str() and repr() ---- */

/* Python's str.isprintable for one character. */
static bool printable(uint32_t cp)
{
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return false;
    case UTF8PROC_CATEGORY_ZS:
        return cp == ' ';
    default:
        return true;
    }
}

static void print_quoted(sd_buf *b, sd_slice s)
{
    bool single = s.n && memchr(s.p, '\'', s.n), twice = s.n && memchr(s.p, '"', s.n);
    char quote = single && !twice ? '"' : '\'';
    sd_buf_putc(b, quote);
    for (size_t i = 0; i < s.n;) {
        uint32_t cp = 0;
        int len = sd_utf8_decode(s.p + i, s.n - i, &cp);
        if (len <= 0) break;
        if (cp == (uint32_t)quote || cp == '\\')
            sd_buf_printf(b, "\\%c", (char)cp);
        else if (cp == '\n' || cp == '\r' || cp == '\t')
            sd_buf_puts(b, cp == '\n' ? "\\n" : cp == '\r' ? "\\r" : "\\t");
        else if (printable(cp))
            sd_buf_put(b, s.p + i, (size_t)len);
        else
            sd_buf_printf(b, cp < 256 ? "\\x%02x" : cp < 65536 ? "\\u%04x" : "\\U%08x", (unsigned)cp);
        i += (size_t)len;
    }
    sd_buf_putc(b, quote);
}

static void print_list(jinja_run *r, sd_buf *b, const jinja_list *l)
{
    bool tuple = l->kind == JL_TUPLE;
    sd_buf_putc(b, tuple ? '(' : '[');
    for (int64_t i = 0; i < l->n && !r->st; i++) {
        if (i) sd_buf_puts(b, ", ");
        sd_jinja__print(r, b, &l->v[i], true);
    }
    if (tuple && l->n == 1) sd_buf_putc(b, ',');
    sd_buf_putc(b, tuple ? ')' : ']');
}

void sd_jinja__print(jinja_run *r, sd_buf *b, const jinja_value *v, bool repr)
{
    if (!sd_jinja__enter(r)) return;
    switch (v->type) {
    case JT_UNDEF:
        if (repr) sd_buf_puts(b, "Undefined");
        break;
    case JT_NONE:
        sd_buf_puts(b, "None");
        break;
    case JT_BOOL:
        sd_buf_puts(b, v->i ? "True" : "False");
        break;
    case JT_INT:
        sd_buf_printf(b, "%lld", (long long)v->i);
        break;
    case JT_FLOAT:
        print_float(b, v->f);
        break;
    case JT_STR:
        if (repr)
            print_quoted(b, v->s);
        else
            sd_buf_put(b, v->s.p, v->s.n);
        break;
    case JT_DICT:
        sd_buf_putc(b, '{');
        for (int64_t i = 0; i < v->dict->n && !r->st; i++) {
            if (i) sd_buf_puts(b, ", ");
            sd_jinja__print(r, b, &v->dict->key[i], true);
            sd_buf_puts(b, ": ");
            sd_jinja__print(r, b, &v->dict->value[i], true);
        }
        sd_buf_putc(b, '}');
        break;
    case JT_LIST:
        if (v->list->kind <= JL_TUPLE) {
            print_list(r, b, v->list);
            break;
        } /* fall through */
    default:
        sd_jinja__fail(r, "a %s has no text", sd_jinja__type_name(v));
    }
    r->depth--;
}

sd_slice sd_jinja__text_of(jinja_run *r, const jinja_value *v)
{
    sd_buf b;
    if (v->type == JT_STR) return v->s;
    sd_buf_init(&b, SD_JINJA_MAX_HEAP);
    sd_jinja__print(r, &b, v, false);
    return sd_jinja__take(r, &b).s;
}

/* ---- JSON ---- */

typedef struct dump {
    jinja_run *r;
    sd_buf *b;
    sd_slice indent; /* of one level; p == NULL: all on one line */
    sd_slice item, key;
    bool ascii, sort;
} dump;

static void dump_string(const dump *d, sd_slice s)
{
    sd_buf_putc(d->b, '"');
    for (size_t i = 0; i < s.n;) {
        uint32_t cp = 0;
        int len = sd_utf8_decode(s.p + i, s.n - i, &cp);
        static const char named[] = "\"\"\\\\\nn\rr\tt\bb\ff";
        const char *hit = NULL;
        if (len <= 0) break;
        for (size_t k = 0; k + 1 < sizeof named; k += 2)
            if (cp == (unsigned char)named[k]) hit = named + k + 1;
        if (hit)
            sd_buf_printf(d->b, "\\%c", *hit);
        else if (cp < 0x20 || (d->ascii && cp > 0x7e && cp < 0x10000))
            sd_buf_printf(d->b, "\\u%04x", (unsigned)cp);
        else if (d->ascii && cp >= 0x10000)
            sd_buf_printf(d->b, "\\u%04x\\u%04x", 0xd800 + ((cp - 0x10000) >> 10), 0xdc00 + ((cp - 0x10000) & 0x3ff));
        else
            sd_buf_put(d->b, s.p + i, (size_t)len);
        i += (size_t)len;
    }
    sd_buf_putc(d->b, '"');
}

static void dump_scalar(const dump *d, const jinja_value *v)
{
    if (v->type == JT_STR) {
        dump_string(d, v->s);
    } else if (v->type == JT_NONE) {
        sd_buf_puts(d->b, "null");
    } else if (v->type == JT_BOOL) {
        sd_buf_puts(d->b, v->i ? "true" : "false");
    } else if (v->type == JT_FLOAT && !isfinite(v->f)) {
        sd_buf_puts(d->b, isnan(v->f) ? "NaN" : v->f < 0 ? "-Infinity" : "Infinity");
    } else if (v->type == JT_INT || v->type == JT_FLOAT) {
        sd_jinja__print(d->r, d->b, v, false);
    } else {
        sd_jinja__fail(d->r, "a %s is no JSON", sd_jinja__type_name(v));
    }
}

static void dump_break(const dump *d, int level)
{
    if (!d->indent.p) return;
    sd_buf_putc(d->b, '\n');
    for (int i = 0; i < level; i++) sd_buf_put(d->b, d->indent.p, d->indent.n);
}

static void dump_key(const dump *d, const jinja_value *key)
{
    if (key->type == JT_STR) {
        dump_string(d, key->s);
    } else {
        sd_buf_putc(d->b, '"');
        dump_scalar(d, key);
        sd_buf_putc(d->b, '"');
    }
    sd_buf_put(d->b, d->key.p, d->key.n);
}

/* The keys' order: as they came, or sorted by Python's order. */
static int64_t *key_order(const dump *d, const jinja_dict *v)
{
    int64_t *at = sd_jinja__new(d->r, (size_t)(v->n + 1) * sizeof *at);
    for (int64_t i = 0; at && i < v->n; i++) {
        int64_t k = i;
        for (; d->sort && k > 0 && sd_jinja__work(d->r, 1) && sd_jinja__order(d->r, &v->key[at[k - 1]], &v->key[i]) > 0; k--) at[k] = at[k - 1];
        at[k] = i;
    }
    return at;
}

static void dump_value(const dump *d, const jinja_value *v, int level)
{
    jinja_run *r = d->r;
    bool list = v->type == JT_LIST && v->list->kind <= JL_TUPLE, dict = v->type == JT_DICT;
    if (!list && !dict) {
        dump_scalar(d, v);
        return;
    }
    if (!sd_jinja__enter(r)) return;
    int64_t n = list ? v->list->n : v->dict->n, *at = dict ? key_order(d, v->dict) : NULL;
    sd_buf_putc(d->b, list ? '[' : '{');
    for (int64_t i = 0; i < n && !r->st; i++) {
        if (i) sd_buf_put(d->b, d->item.p, d->item.n);
        dump_break(d, level + 1);
        if (dict) dump_key(d, &v->dict->key[at[i]]);
        dump_value(d, list ? &v->list->v[i] : &v->dict->value[at[i]], level + 1);
    }
    if (n) dump_break(d, level);
    sd_buf_putc(d->b, list ? ']' : '}');
    r->depth--;
}

/* transformers' tojson: json.dumps(x, ensure_ascii=False, indent=, separators=, sort_keys=). */
jinja_value sd_jinja__tojson(jinja_run *r, const jinja_value *v, const jinja_args *a)
{
    static const char *const keys[] = {"ensure_ascii", "indent", "separators", "sort_keys", NULL};
    if (!sd_jinja__check_args(r, a, 0, 4, keys, "tojson")) return JINJA_UNDEF;
    sd_buf b;
    sd_buf_init(&b, SD_JINJA_MAX_HEAP);
    dump d = {.r = r, .b = &b, .key = SD_LIT(": ")};
    d.ascii = sd_jinja__arg_bool(a, 0, "ensure_ascii", false);
    d.sort = sd_jinja__arg_bool(a, 3, "sort_keys", false);
    const jinja_value *indent = sd_jinja__arg(a, 1, "indent"), *sep = sd_jinja__arg(a, 2, "separators");
    static const char blanks[] = "                                                                ";
    if (indent && (indent->type == JT_INT || indent->type == JT_BOOL)) {
        if (indent->i >= (int64_t)sizeof blanks) sd_jinja__fail(r, "an indent of more than %zu blanks is not supported", sizeof blanks - 1);
        else d.indent = (sd_slice){blanks, indent->i < 0 ? 0 : (size_t)indent->i};
    } else if (indent && indent->type == JT_STR) {
        d.indent = indent->s.p ? indent->s : SD_LIT("");
    } else if (indent && indent->type != JT_NONE && v->type != JT_STR) { /* json.dumps looks at no option for a string alone */
        sd_jinja__fail(r, "an indent by a %s", sd_jinja__type_name(indent));
    }
    d.item = d.indent.p ? SD_LIT(",") : SD_LIT(", ");
    if (sep && sep->type == JT_LIST && sep->list->n == 2 && sep->list->v[0].type == JT_STR &&
        sep->list->v[1].type == JT_STR) {
        d.item = sep->list->v[0].s;
        d.key = sep->list->v[1].s;
    } else if (sep && sep->type != JT_NONE) {
        sd_jinja__fail(r, "separators are a pair of strings");
    }
    if (!r->st) dump_value(&d, v, 0);
    return sd_jinja__take(r, &b);
}

/* markupsafe.escape */
jinja_value sd_jinja__escape(jinja_run *r, const jinja_value *v)
{
    sd_slice s = sd_jinja__text_of(r, v);
    if (v->type == JT_STR && v->safe) return *v;
    sd_buf b;
    sd_buf_init(&b, SD_JINJA_MAX_HEAP);
    for (size_t i = 0; i < s.n; i++) {
        const char *to = s.p[i] == '&'    ? "&amp;"
                         : s.p[i] == '<'  ? "&lt;"
                         : s.p[i] == '>'  ? "&gt;"
                         : s.p[i] == '\'' ? "&#39;"
                         : s.p[i] == '"'  ? "&#34;"
                                          : NULL;
        if (to)
            sd_buf_puts(&b, to);
        else
            sd_buf_putc(&b, s.p[i]);
    }
    jinja_value out = sd_jinja__take(r, &b);
    out.safe = true;
    return out;
}

/* '%s' % values: s, d, i, r and %%, without widths. values: a tuple, or a list of the one value that stood there. */
jinja_value sd_jinja__percent(jinja_run *r, sd_slice format, const jinja_list *values)
{
    sd_buf b;
    int64_t used = 0;
    sd_buf_init(&b, SD_JINJA_MAX_HEAP);
    for (size_t i = 0; i < format.n && !r->st; i++) {
        char ch = i + 1 < format.n && format.p[i] == '%' ? format.p[i + 1] : '\0';
        if (format.p[i] != '%') {
            sd_buf_putc(&b, format.p[i]);
            continue;
        }
        i++;
        if (ch == '%') {
            sd_buf_putc(&b, '%');
        } else if (!strchr("sdir", ch) || !ch) {
            sd_jinja__fail(r, "formatting with %%%c is not supported", ch ? ch : ' ');
        } else if (used == values->n) {
            sd_jinja__fail(r, "not enough values for a format");
        } else {
            const jinja_value *v = &values->v[used++];
            bool number = ch == 'd' || ch == 'i';
            if (number && !sd_jinja__is_number(v)) sd_jinja__fail(r, "a number is needed for %%%c", ch);
            if (number && v->type == JT_FLOAT && !(fabs(v->f) < 0x1p63)) sd_jinja__fail(r, "a number past 64 bits");
            if (r->st) break;
            jinja_value whole = sd_jinja__int(number && v->type == JT_FLOAT ? (int64_t)v->f : v->i);
            sd_jinja__print(r, &b, number ? &whole : v, ch == 'r');
        }
    }
    /* Python lets one value alone be left over where it is no tuple and can be indexed: it might be asked by name. */
    bool may_stay = values->kind == JL_LIST && (values->v[0].type == JT_LIST || values->v[0].type == JT_DICT || values->v[0].type == JT_UNDEF);
    if (used < values->n && !may_stay) sd_jinja__fail(r, "too many values for a format");
    return sd_jinja__take(r, &b);
}

/* ---- time ---- */

/* Gregorian date of a count of seconds since 1970, up to the year 9999. Days are counted from 1 March 0000, so that the
 * leap day ends a year, and a year's months of 31, 30, 31, 30, 31 days follow from (5 day + 2) / 153. */
static bool civil_time(struct tm *t, int64_t seconds)
{
    if (seconds >= 253402300800) return false;
    int64_t day = seconds / 86400 + 719468, s = seconds % 86400;
    int64_t era = day / 146097, of_era = day % 146097;
    int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year + year / 4 - year / 100), month = (5 * of_year + 2) / 153;
    int64_t y = year + era * 400 + (month >= 10);
    bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    t->tm_year = (int)(y - 1900);
    t->tm_mon = (int)(month < 10 ? month + 2 : month - 10);
    t->tm_mday = (int)(of_year - (153 * month + 2) / 5 + 1);
    t->tm_yday = (int)(month < 10 ? of_year + 59 + leap : of_year - 306);
    t->tm_wday = (int)((day + 3) % 7);
    t->tm_hour = (int)(s / 3600);
    t->tm_min = (int)(s / 60 % 60);
    t->tm_sec = (int)(s % 60);
    return true;
}

static bool put_time(sd_buf *b, const struct tm *t, char code)
{
    static const char *const days[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
    static const char *const months[] = {"January", "February", "March",     "April",   "May",      "June",
                                         "July",    "August",   "September", "October", "November", "December"};
    int hour12 = t->tm_hour % 12 ? t->tm_hour % 12 : 12;
    switch (code) {
    case 'a':
        return sd_buf_printf(b, "%.3s", days[t->tm_wday]), true;
    case 'A':
        return sd_buf_puts(b, days[t->tm_wday]), true;
    case 'b':
        return sd_buf_printf(b, "%.3s", months[t->tm_mon]), true;
    case 'B':
        return sd_buf_puts(b, months[t->tm_mon]), true;
    case 'd':
        return sd_buf_printf(b, "%02d", t->tm_mday), true;
    case 'H':
        return sd_buf_printf(b, "%02d", t->tm_hour), true;
    case 'I':
        return sd_buf_printf(b, "%02d", hour12), true;
    case 'j':
        return sd_buf_printf(b, "%03d", t->tm_yday + 1), true;
    case 'm':
        return sd_buf_printf(b, "%02d", t->tm_mon + 1), true;
    case 'M':
        return sd_buf_printf(b, "%02d", t->tm_min), true;
    case 'p':
        return sd_buf_puts(b, t->tm_hour < 12 ? "AM" : "PM"), true;
    case 'S':
        return sd_buf_printf(b, "%02d", t->tm_sec), true;
    case 'y':
        return sd_buf_printf(b, "%02d", t->tm_year % 100), true;
    case 'Y':
        return sd_buf_printf(b, "%d", t->tm_year + 1900), true;
    case '%':
        return sd_buf_putc(b, '%'), true;
    default:
        return false;
    }
}

jinja_value sd_jinja__strftime(jinja_run *r, sd_slice format)
{
    struct tm t = {0};
    sd_buf b;
    if (r->in->now < 0 || !civil_time(&t, r->in->now)) {
        sd_jinja__fail(r, "it asks for the date, and no clock was given");
        return JINJA_UNDEF;
    }
    sd_buf_init(&b, 65536);
    for (size_t i = 0; i < format.n && !r->st; i++) {
        if (format.p[i] != '%') {
            sd_buf_putc(&b, format.p[i]);
            continue;
        }
        bool bare = i + 2 < format.n && format.p[i + 1] == '-'; /* "%-d": without leading zeros */
        char code = i + 1 + bare < format.n ? format.p[i + 1 + bare] : '\0';
        size_t from = b.n;
        i += 1 + (size_t)bare;
        if (!code || !put_time(&b, &t, code)) {
            sd_jinja__fail(r, "strftime_now with %%%c is not supported", code ? code : ' ');
        } else if (bare && !b.failed) {
            while (b.n - from > 1 && b.p[from] == '0') {
                memmove(b.p + from, b.p + from + 1, b.n - from - 1);
                b.n--;
            }
        }
    }
    return sd_jinja__take(r, &b);
}

/* ---- strings ---- */

static bool in_set(uint32_t cp, const sd_slice *chars)
{
    if (!chars) return sd_jinja__is_space(cp);
    for (size_t i = 0; i < chars->n;) {
        uint32_t c = 0;
        int len = sd_utf8_decode(chars->p + i, chars->n - i, &c);
        if (len <= 0) return false;
        if (c == cp) return true;
        i += (size_t)len;
    }
    return false;
}

sd_slice sd_jinja__strip(sd_slice s, int sides, const sd_slice *chars)
{
    uint32_t cp;
    int len;
    while (sides & 1 && s.n && (len = sd_utf8_decode(s.p, s.n, &cp)) > 0 && in_set(cp, chars))
        s = (sd_slice){s.p + len, s.n - (size_t)len};
    while (sides & 2 && s.n) {
        size_t at = s.n - 1;
        while (at > 0 && s.n - at < 4 && ((unsigned char)s.p[at] & 0xc0) == 0x80) at--;
        len = sd_utf8_decode(s.p + at, s.n - at, &cp);
        if (len <= 0 || (size_t)len != s.n - at || !in_set(cp, chars)) break;
        s.n = at;
    }
    return s;
}

static bool is_letter(uint32_t cp)
{
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LT;
}

/* Where a word begins for the filter title: after "-", white space and opening brackets. */
static bool before_word(uint32_t cp)
{
    return sd_jinja__is_space(cp) || cp == '-' || cp == '(' || cp == '{' || cp == '[' || cp == '<';
}

/* One code point stays one, but for the German sharp s, whose capital is two letters as in Python. */
jinja_value sd_jinja__case(jinja_run *r, sd_slice s, jinja_case how)
{
    sd_buf b;
    bool first = true;
    sd_buf_init(&b, SD_JINJA_MAX_HEAP);
    for (size_t i = 0; i < s.n;) {
        uint32_t cp = 0;
        int len = sd_utf8_decode(s.p + i, s.n - i, &cp);
        if (len <= 0) break;
        i += (size_t)len;
        bool upper = how == JCASE_UPPER || (how != JCASE_LOWER && how != JCASE_SWAP && first);
        if (how == JCASE_SWAP) upper = utf8proc_tolower((utf8proc_int32_t)cp) == (utf8proc_int32_t)cp;
        if (upper && cp == 0xdf) {
            sd_buf_puts(&b, how == JCASE_UPPER || how == JCASE_SWAP ? "SS" : "Ss");
        } else {
            char utf8[4];
            utf8proc_int32_t to = upper ? (how == JCASE_UPPER || how == JCASE_SWAP || how == JCASE_TITLE_FILTER
                                               ? utf8proc_toupper((utf8proc_int32_t)cp)
                                               : utf8proc_totitle((utf8proc_int32_t)cp))
                                        : utf8proc_tolower((utf8proc_int32_t)cp);
            sd_buf_put(&b, utf8, (size_t)sd_utf8_encode((uint32_t)to, utf8));
        }
        first = how == JCASE_TITLE ? !is_letter(cp) : how == JCASE_TITLE_FILTER ? before_word(cp) : false;
    }
    return sd_jinja__take(r, &b);
}

/* Python's str.replace: an empty `from` stands between all characters. */
jinja_value sd_jinja__replace(jinja_run *r, sd_slice s, sd_slice from, sd_slice to, int64_t count)
{
    sd_buf b;
    size_t i = 0;
    sd_buf_init(&b, SD_JINJA_MAX_HEAP);
    if (count < 0) count = INT64_MAX;
    while (i <= s.n && count > 0) {
        bool hit = s.n - i >= from.n && (from.n == 0 || memcmp(s.p + i, from.p, from.n) == 0);
        if (hit) {
            sd_buf_put(&b, to.p, to.n);
            count--;
        }
        if (hit && from.n) {
            i += from.n;
            continue;
        }
        if (i == s.n) {
            i++;
            break;
        }
        size_t end = i + 1;
        while (end < s.n && ((unsigned char)s.p[end] & 0xc0) == 0x80) end++;
        sd_buf_put(&b, s.p + i, end - i);
        i = end;
    }
    if (i < s.n) sd_buf_put(&b, s.p + i, s.n - i);
    return sd_jinja__take(r, &b);
}

/* Python's str.splitlines. */
void sd_jinja__split_lines(jinja_run *r, sd_slice s, bool keep_ends, jinja_list *out)
{
    size_t from = 0;
    for (size_t i = 0; i < s.n;) {
        uint32_t cp = 0;
        int len = sd_utf8_decode(s.p + i, s.n - i, &cp);
        if (len <= 0) break;
        size_t end = i + (size_t)len;
        bool stop = (cp >= 10 && cp <= 13) || (cp >= 0x1c && cp <= 0x1e) || cp == 0x85 || cp == 0x2028 || cp == 0x2029;
        if (cp == '\r' && end < s.n && s.p[end] == '\n') end++;
        if (stop) {
            sd_jinja__push(r, out, sd_jinja__str((sd_slice){s.p + from, (keep_ends ? end : i) - from}));
            from = end;
        }
        i = end;
    }
    if (from < s.n) sd_jinja__push(r, out, sd_jinja__str((sd_slice){s.p + from, s.n - from}));
}
