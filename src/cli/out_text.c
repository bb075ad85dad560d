/* Text of models and corpora on its way to a person: widths on a terminal, cleaning of what could steer the terminal, streams
 * of tokens whose bytes may end inside a character. */
#include "cli/cli.h"
#include <utf8proc.h>

int out_width(sd_slice s)
{
    int w = 0;
    for (size_t i = 0; i < s.n;) {
        uint32_t cp;
        int k = sd_utf8_decode(s.p + i, s.n - i, &cp);
        w += k ? utf8proc_charwidth((utf8proc_int32_t)cp) : 1;
        i += k ? (size_t)k : 1;
    }
    return w;
}

/* C0, DEL, C1, and the characters that reorder what follows (Unicode bidirectional controls). */
static bool is_control(uint32_t cp)
{
    return cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || (cp >= 0x202a && cp <= 0x202e) || (cp >= 0x2066 && cp <= 0x2069);
}

static void clean(sd_buf *b, sd_slice s, bool cell)
{
    for (size_t i = 0; i < s.n;) {
        uint32_t cp;
        int k = sd_utf8_decode(s.p + i, s.n - i, &cp);
        if (!k) {
            sd_buf_printf(b, "\\x%02x", (unsigned)(uint8_t)s.p[i]);
            i++;
            continue;
        }
        if (cp == '\n') sd_buf_puts(b, cell ? "\xe2\x86\xb5" : "\n"); /* U+21B5 */
        else if (cp == '\t') sd_buf_puts(b, cell ? "\xe2\x87\xa5" : "\t"); /* U+21E5 */
        else if (is_control(cp)) sd_buf_printf(b, cp < 0x100 ? "\\x%02x" : "\\u%04x", (unsigned)cp);
        else sd_buf_put(b, s.p + i, (size_t)k);
        i += (size_t)k;
    }
}

void out_clean(sd_buf *b, sd_slice s) { clean(b, s, true); }

/* How many bytes at the end of s are the start of a character whose rest may still come: 0..3. */
static size_t cut_tail(sd_slice s)
{
    for (size_t k = 1; k <= 3 && k <= s.n; k++) {
        uint8_t ch = (uint8_t)s.p[s.n - k];
        size_t need = ch >= 0xf0 ? 4 : ch >= 0xe0 ? 3 : ch >= 0xc2 ? 2 : 1;
        if (ch >= 0xc0) return need > k ? k : 0;
        if (ch < 0x80) return 0;
    }
    return 0;
}

static void put_clean(cli *c, sd_slice s)
{
    sd_buf b;
    sd_buf_init(&b, 16 * s.n + 64); /* an escape takes at most six bytes a byte */
    clean(&b, s, false);
    out_raw(c, &b);
    sd_buf_release(&b);
}

/* Columns of s, where an escape sequence of out_sgr takes none. */
static int shown_width(sd_slice s)
{
    int w = 0;
    while (s.n) {
        const char *esc = memchr(s.p, '\x1b', s.n);
        size_t n = esc ? (size_t)(esc - s.p) : s.n;
        w += out_width((sd_slice){s.p, n});
        while (n < s.n && s.p[n] != 'm') n++;
        n += n < s.n;
        s = (sd_slice){s.p + n, s.n - n};
    }
    return w;
}

void out_wrapped(cli *c, sd_slice s, int col, int indent)
{
    sd_slice word;
    for (bool first = true; c->out_tty && sd_slice_cut(&s, ' ', &word); first = false) {
        int w = shown_width(word);
        if (!first && col + 1 + w > c->width && col > indent) {
            fprintf(c->out, "\n%*s", indent, "");
            col = indent;
        } else if (!first) {
            fputc(' ', c->out);
            col++;
        }
        if (word.n) fwrite(word.p, 1, word.n, c->out);
        col += w;
    }
    if (!c->out_tty && s.n) fwrite(s.p, 1, s.n, c->out);
}

void out_text_put(cli *c, out_text *t, sd_slice s)
{
    if (!c->out_tty) {
        if (s.n) fwrite(s.p, 1, s.n, c->out);
        return;
    }
    sd_buf b;
    sd_buf_init(&b, s.n + 64);
    sd_buf_put(&b, t->held, (size_t)t->n_held);
    sd_buf_put(&b, s.p, s.n);
    size_t tail = cut_tail((sd_slice){b.p, b.n});
    put_clean(c, (sd_slice){b.p, b.n - tail});
    if (tail) memcpy(t->held, b.p + b.n - tail, tail);
    t->n_held = (int)tail;
    sd_buf_release(&b);
    fflush(c->out);
}

void out_text_end(cli *c, out_text *t)
{
    put_clean(c, (sd_slice){t->held, (size_t)t->n_held});
    t->n_held = 0;
}

void out_say(cli *c, const char *fmt, ...)
{
    char text[4096];
    sd_buf shown;
    va_list ap;
    sd_err err = {0};
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    sd_buf_init(&shown, 16 * sizeof text);
    out_clean(&shown, sd_slice_of(text));
    progress_end(c);
    if (sd_buf_check(&shown, "a sentence of the result", &err)) {
        (void)cli_fail(c, &err);
    } else {
        if (!c->out_tty) fputs("# ", c->out);
        out_wrapped(c, (sd_slice){shown.p ? shown.p : "", shown.n}, 0, 2);
        fputc('\n', c->out);
    }
    sd_buf_release(&shown);
}
