/* Tables, pairs and JSON on stdout (out.h says how they look). A table keeps its cells until the end only for a terminal, where
 * widths must be known first; piped rows leave at once. Errors of stdout are looked at in one place, out_flush: ENOSPC becomes
 * exit code 5, a closed pipe is the reader's right and no error. */
#include "cli/cli.h"
#include <errno.h>
#include <math.h>

/* More text than this in one table or document on a terminal is not for reading. */
#define OUT_MAX ((size_t)1 << 30)
enum {
    MIN_FILL = 12,  /* a filling column is not cut below this */
    MIN_VALUE = 20, /* where less is left beside the keys, a value stands below its key */
};

const char *out_sgr(const cli *c, out_style s)
{
    static const char *const code[] = {"\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[34m"};
    return c->out_color ? code[s] : "";
}

int out_flush(cli *c)
{
    errno = 0;
    if (c->out_rc || (fflush(c->out) == 0 && !ferror(c->out))) return c->out_rc;
    int e = c->out_errno ? c->out_errno : errno ? errno : EIO;
    if (e == EPIPE) return 0;
    sd_err err = {0};
    sd_fail_errno(&err, e, "cannot write the result to standard output");
    c->out_rc = cli_fail(c, &err);
    return c->out_rc;
}

static int result_no_memory(cli *c)
{
    sd_err err = {0};
    sd_fail(&err, SD_E_NOMEM, "out of memory while the result was printed");
    return cli_fail(c, &err);
}

void out_raw(cli *c, const sd_buf *b)
{
    if (b->n) fwrite(b->p, 1, b->n, c->out); /* an empty buffer has no address */
}

struct out_table {
    cli *c;
    const out_col *cols;
    int n_cols, col; /* the next cell's column */
    sd_buf text;     /* the cells one after another, each ended by a NUL */
    int64_t n_rows;
    int width[16];   /* widest cell of each column */
    bool failed;
};

out_table *out_table_new(cli *c, const out_col *cols, int n)
{
    static out_table none = {.failed = true};
    out_table *t = sd_calloc(sizeof *t);
    if (!t) {
        result_no_memory(c);
        return &none;
    }
    SD_ASSERT(n > 0 && n <= (int)(sizeof t->width / sizeof t->width[0]));
    *t = (out_table){.c = c, .cols = cols, .n_cols = n};
    sd_buf_init(&t->text, OUT_MAX);
    if (!c->out_tty)
        for (int i = 0; i < n; i++) fprintf(c->out, "%s%c", cols[i].name, i + 1 < n ? '\t' : '\n');
    for (int i = 0; i < n; i++) t->width[i] = out_width(sd_slice_of(cols[i].name));
    return t;
}

/* A piped cell: tab, newline, return and backslash written as two characters, so that a row is a line. */
static void put_tsv(FILE *f, sd_slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        const char *two = s.p[i] == '\t' ? "\\t" : s.p[i] == '\n' ? "\\n" : s.p[i] == '\r' ? "\\r" : s.p[i] == '\\' ? "\\\\" : NULL;
        if (two) fputs(two, f);
        else fputc(s.p[i], f);
    }
}

void out_slice(out_table *t, sd_slice s)
{
    if (t->failed) return;
    if (t->c->out_tty) {
        size_t at = t->text.n;
        out_clean(&t->text, s);
        int w = out_width((sd_slice){t->text.p + at, t->text.n - at});
        if (w > t->width[t->col]) t->width[t->col] = w;
        sd_buf_putc(&t->text, 0);
    } else {
        put_tsv(t->c->out, s);
        fputc(t->col + 1 < t->n_cols ? '\t' : '\n', t->c->out);
    }
    t->col = (t->col + 1) % t->n_cols;
    t->n_rows += t->col == 0;
}

void out_str(out_table *t, const char *s) { out_slice(t, sd_slice_of(s ? s : "")); }

void out_cell(out_table *t, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    out_str(t, text);
}

/* 16384 -> "16,384" */
static const char *group_digits(char *out, size_t cap, int64_t v)
{
    char plain[32];
    int n = snprintf(plain, sizeof plain, "%lld", (long long)v), sign = plain[0] == '-';
    size_t o = 0;
    for (int i = 0; i < n && o + 2 < cap; i++) {
        out[o++] = plain[i];
        int left = n - 1 - i;
        if (i >= sign && left > 0 && left % 3 == 0) out[o++] = ',';
    }
    out[o] = 0;
    return out;
}

void out_i64(out_table *t, int64_t v)
{
    char text[48];
    if (t->failed || !t->c->out_tty) out_cell(t, "%lld", (long long)v);
    else out_str(t, group_digits(text, sizeof text, v));
}

void out_f64(out_table *t, double v, int digits)
{
    if (isnan(v)) out_str(t, "-");
    else out_cell(t, "%.*g", digits, v);
}

void out_bytes(out_table *t, double bytes)
{
    char text[48];
    if (t->failed || !t->c->out_tty) out_cell(t, "%.0f", bytes);
    else out_str(t, sd_fmt_bytes(text, sizeof text, bytes));
}

/* Takes what is too wide from the filling columns, the widest first. */
static void fit(out_table *t)
{
    int total = 2 * (t->n_cols - 1);
    for (int i = 0; i < t->n_cols; i++) total += t->width[i];
    while (total > t->c->width) {
        int widest = -1;
        for (int i = 0; i < t->n_cols; i++)
            if (t->cols[i].align == OUT_FILL && t->width[i] > MIN_FILL && (widest < 0 || t->width[i] > t->width[widest])) widest = i;
        if (widest < 0) return;
        t->width[widest]--;
        total--;
    }
}

/* s cut to w columns, the last one an ellipsis when something is missing; returns the columns written. */
static int put_cut(FILE *f, sd_slice s, int w)
{
    if (out_width(s) <= w) {
        if (s.n) fwrite(s.p, 1, s.n, f);
        return out_width(s);
    }
    int used = 0;
    for (size_t i = 0; i < s.n;) {
        uint32_t cp;
        int k = sd_utf8_decode(s.p + i, s.n - i, &cp);
        sd_slice ch = {s.p + i, k ? (size_t)k : 1};
        int cw = out_width(ch);
        if (used + cw > w - 1) break;
        fwrite(ch.p, 1, ch.n, f);
        used += cw;
        i += ch.n;
    }
    fputs("\xe2\x80\xa6", f); /* U+2026 */
    return used + 1;
}

static void put_row(const out_table *t, const char **cell, const char *end)
{
    FILE *f = t->c->out;
    for (int i = 0; i < t->n_cols; i++) {
        sd_slice s = sd_slice_of(*cell);
        *cell += s.n + 1;
        int pad = t->width[i] - out_width(s);
        if (t->cols[i].align == OUT_RIGHT && pad > 0) fprintf(f, "%*s", pad, "");
        pad = t->width[i] - put_cut(f, s, t->width[i]);
        bool last = i + 1 == t->n_cols;
        if (t->cols[i].align != OUT_RIGHT && pad > 0 && !last) fprintf(f, "%*s", pad, "");
        fputs(last ? end : "  ", f);
    }
}

static void put_head(const out_table *t)
{
    sd_buf names;
    sd_buf_init(&names, 4096);
    for (int i = 0; i < t->n_cols; i++) sd_buf_put(&names, t->cols[i].name, strlen(t->cols[i].name) + 1);
    const char *cell = names.p;
    fputs(out_sgr(t->c, OUT_BOLD), t->c->out);
    if (cell && !names.failed) put_row(t, &cell, out_sgr(t->c, OUT_PLAIN));
    fputc('\n', t->c->out);
    sd_buf_release(&names);
}

int out_table_end(out_table *t)
{
    cli *c = t->c;
    if (t->failed) return sd_status_exit_code(SD_E_NOMEM);
    SD_ASSERT(t->col == 0);
    progress_end(c);
    int rc = t->text.failed ? result_no_memory(c) : 0;
    if (!rc && c->out_tty && t->n_rows) {
        const char *cell = t->text.p;
        fit(t);
        put_head(t);
        for (int64_t i = 0; i < t->n_rows; i++) put_row(t, &cell, "\n");
    }
    sd_buf_release(&t->text);
    sd_free(t);
    return rc ? rc : out_flush(c);
}

/* Pairs are a table without a header; keys in bold. They are few, so both forms keep them until the end. */
struct out_pairs { cli *c; sd_buf text; int n, width; };

out_pairs *out_pairs_new(cli *c)
{
    out_pairs *p = sd_calloc(sizeof *p);
    if (!p) {
        result_no_memory(c);
        return NULL;
    }
    p->c = c;
    sd_buf_init(&p->text, OUT_MAX);
    return p;
}

void out_pair_slice(out_pairs *p, const char *key, sd_slice value)
{
    if (!p) return;
    sd_buf_put(&p->text, key, strlen(key) + 1);
    if (p->c->out_tty) out_clean(&p->text, value);
    else
        for (size_t i = 0; i < value.n; i++)
            if (value.p[i]) sd_buf_putc(&p->text, value.p[i]);
    sd_buf_putc(&p->text, 0);
    int w = out_width(sd_slice_of(key));
    if (w > p->width) p->width = w;
    p->n++;
}

void out_pair(out_pairs *p, const char *key, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    out_pair_slice(p, key, sd_slice_of(text));
}

int out_pairs_end(out_pairs *p)
{
    if (!p) return sd_status_exit_code(SD_E_NOMEM);
    cli *c = p->c;
    progress_end(c);
    int rc = p->text.failed ? result_no_memory(c) : 0;
    const char *s = p->text.p;
    for (int i = 0; i < p->n && !rc; i++) {
        const char *value = s + strlen(s) + 1;
        if (c->out_tty) {
            bool below = c->width < p->width + 2 + MIN_VALUE;
            int indent = below ? 2 : p->width + 2;
            fprintf(c->out, "%s%s%s%s%*s", out_sgr(c, OUT_BOLD), s, out_sgr(c, OUT_PLAIN), below ? "\n" : "", below ? indent : indent - out_width(sd_slice_of(s)), "");
            out_wrapped(c, sd_slice_of(value), indent, indent);
            fputc('\n', c->out);
        } else {
            fprintf(c->out, "%s\t", s);
            put_tsv(c->out, sd_slice_of(value));
            fputc('\n', c->out);
        }
        s = value + strlen(value) + 1;
    }
    sd_buf_release(&p->text);
    sd_free(p);
    return rc ? rc : out_flush(c);
}

sd_jw *out_json_begin(cli *c, out_json *j, const char *schema)
{
    (void)c;
    sd_buf_init(&j->buf, OUT_MAX);
    sd_jw_init(&j->w, &j->buf);
    sd_jw_obj(&j->w);
    sd_jw_kstr(&j->w, "schema", schema);
    return &j->w;
}

int out_json_end_plain(cli *c, out_json *j)
{
    sd_jw_end(&j->w);
    sd_buf_putc(&j->buf, '\n');
    progress_end(c);
    int rc = j->buf.failed ? result_no_memory(c) : 0;
    if (!rc) out_raw(c, &j->buf);
    sd_buf_release(&j->buf);
    return rc ? rc : out_flush(c);
}

int out_json_end(cli *c, out_json *j)
{
    if (c->mode != SD_MODE_DEFAULT) snprintf(c->prov.mode, sizeof c->prov.mode, "%s", sd_mode_name(c->mode));
    sd_jw_key(&j->w, "provenance");
    sd_prov_write(&j->w, &c->prov);
    return out_json_end_plain(c, j);
}
