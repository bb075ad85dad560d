/* Owns: the pieces of the page that hold model text or numbers: escaping, tokens, histogram, examples. */
#include "lab/report_int.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

void sd_report__text(sd_buf *b, const char *p, size_t n)
{
    sd_slice s = {p, n};
    while (s.n) {
        size_t plain = 0;
        while (plain < s.n) {
            unsigned char c = (unsigned char)s.p[plain];
            if (c >= 0x7f || (c < 0x20 && c != '\n') || c == '&' || c == '<' || c == '>' || c == '"' || c == '\'') break;
            plain++;
        }
        sd_buf_put(b, s.p, plain);
        s.p += plain;
        s.n -= plain;
        if (!s.n) break;
        uint32_t cp = 0;
        int len = sd_utf8_decode(s.p, s.n, &cp);
        size_t step = len ? (size_t)len : 1;
        while (!len && step < s.n && sd_utf8_decode(s.p + step, s.n - step, &cp) == 0) step++; /* bytes that are no text, together */
        if (cp == '&' && len) sd_buf_puts(b, "&amp;");
        else if (cp == '<' && len) sd_buf_puts(b, "&lt;");
        else if (cp == '>' && len) sd_buf_puts(b, "&gt;");
        else if (cp == '"' && len) sd_buf_puts(b, "&quot;");
        else if (cp == '\'' && len) sd_buf_puts(b, "&#39;");
        else sd_token_show(b, (sd_slice){s.p, step});
        s.p += step;
        s.n -= step;
    }
}

void sd_report__str(sd_buf *b, const char *s)
{
    if (s) sd_report__text(b, s, strlen(s));
}

void sd_report__num(sd_buf *b, double v)
{
    if (!isfinite(v)) sd_buf_puts(b, "\xe2\x80\x93");
    else if (v != 0 && (fabs(v) >= 1e5 || fabs(v) < 1e-3)) sd_buf_printf(b, "%.2e", v);
    else if (fabs(v) >= 1000) sd_report__count(b, (int64_t)lround(v));
    else sd_buf_printf(b, "%.*f", fabs(v) >= 100 ? 0 : fabs(v) >= 10 ? 1 : 2, v);
}

void sd_report__count(sd_buf *b, int64_t v)
{
    char digits[32];
    int n = snprintf(digits, sizeof digits, "%" PRId64, v);
    for (int i = 0; i < n; i++) {
        if (i > (digits[0] == '-') && (n - i) % 3 == 0) sd_buf_putc(b, ',');
        sd_buf_putc(b, digits[i]);
    }
}

void sd_report__share(sd_buf *b, double share)
{
    double p = share * 100;
    if (p == 0) sd_buf_puts(b, "0 %");
    else if (p < 0.001) sd_buf_puts(b, "&lt; 0.001 %");
    else sd_buf_printf(b, "%.*f %%", p >= 10 ? 0 : p >= 1 ? 1 : p >= 0.1 ? 2 : 3, p);
}

void sd_report__token(sd_buf *b, sd_store *s, int32_t id)
{
    sd_slice t = id < 0 ? SD_LIT("\xe2\x80\xa6") : sd_store_token(s, id);
    size_t space = 0;
    while (space < t.n && t.p[space] == ' ') space++;
    if (space) {
        sd_buf_puts(b, "<i class=sp>");
        for (size_t i = 0; i < space; i++) sd_buf_puts(b, "\xc2\xb7");
        sd_buf_puts(b, "</i>");
    }
    for (size_t i = space; i < t.n; i++) {
        size_t j = i;
        while (j < t.n && t.p[j] != '\n') j++;
        sd_report__text(b, t.p + i, j - i);
        if (j < t.n) sd_buf_puts(b, "\xe2\x86\xb5");
        i = j;
    }
    if (t.n == 0) sd_buf_puts(b, "<i class=sp>empty</i>");
}

/* Bars of log(1 + count): the counts fall by orders of magnitude. Bars are tinted as tokens of their activation are. */
void sd_report__histogram(sd_buf *b, const sd_feature *f)
{
    enum { W = 300, H = 64 };
    double max = 0;
    for (int i = 0; i < f->hist.n; i++) max = fmax(max, log1p((double)f->hist.count[i]));
    if (!(max > 0)) return;
    sd_buf_printf(b, "<svg class=hist viewBox='0 0 %d %d' preserveAspectRatio=none role=img aria-label='histogram of activations'>", W, H);
    double w = (double)W / f->hist.n;
    for (int i = 0; i < f->hist.n; i++) {
        double h = log1p((double)f->hist.count[i]) / max * (H - 4);
        if (f->hist.count[i] == 0) continue;
        sd_buf_printf(b, "<rect x='%.2f' y='%.2f' width='%.2f' height='%.2f' style='--a:%.2f'/>", i * w + 0.4, H - h, w - 0.8, h,
                      (i + 0.5) / f->hist.n);
    }
    sd_buf_printf(b, "<line class=mark x1=0 x2=0 y1=0 y2=%d /></svg>", H);
    sd_buf_puts(b, "<div class=axis><span>0</span><span>activation, tokens on a log scale</span><span>");
    sd_report__num(b, f->hist.hi);
    sd_buf_puts(b, "</span></div>");
}

/* The text of a token inside running text, without its first `skip` bytes: newlines as marks. */
static void run_of_text(sd_buf *b, sd_store *s, int32_t id, size_t skip)
{
    if (id < 0) {
        sd_buf_puts(b, "<i class=sp>\xe2\x80\xa6</i>");
        return;
    }
    sd_slice t = sd_store_token(s, id);
    t.p += skip;
    t.n -= skip;
    if (sd_store_token_special(s, id)) {
        sd_buf_puts(b, "<i class=special>");
        sd_report__text(b, t.p, t.n);
        sd_buf_puts(b, "</i>");
        return;
    }
    for (size_t i = 0; i < t.n;) {
        size_t j = i;
        while (j < t.n && t.p[j] != '\n') j++;
        sd_report__text(b, t.p + i, j - i);
        while (j < t.n && t.p[j] == '\n') {
            sd_buf_puts(b, "<i class=nl>\xe2\x86\xb5</i>");
            j++;
        }
        i = j;
    }
}

enum { NEAR_BEFORE = 22, NEAR_AFTER = 12 }; /* tokens shown until "wide" is asked for */

static void example(sd_buf *b, sd_store *s, const sd_feature *f, const sd_example *e)
{
    char name[256];
    int at = e->pos - e->pos0, a = at > NEAR_BEFORE ? at - NEAR_BEFORE : 0, z = at + NEAR_AFTER + 1 < e->n ? at + NEAR_AFTER + 1 : e->n;
    sd_buf_puts(b, "<li><span class=v>");
    sd_report__num(b, (double)e->act);
    sd_buf_puts(b, "</span><p dir=auto");
    if (sd_store_doc_name(s, e->doc, name, sizeof name)[0]) {
        const char *base = strrchr(name, '/');
        sd_buf_puts(b, " title=\"");
        sd_report__str(b, base ? base + 1 : name);
        sd_buf_printf(b, ", token %d\"", e->pos);
    }
    sd_buf_putc(b, '>');
    if (a > 0) sd_buf_puts(b, "<span class=far>");
    for (int t = 0; t < e->n; t++) {
        if (t == a && a > 0) sd_buf_puts(b, "</span>");
        if (t == z) sd_buf_puts(b, "<span class=far>");
        size_t space = 0;
        if (e->val[t] > 0) { /* the space before a word stays outside its mark, unless it is all there is */
            sd_slice text = e->tok[t] < 0 ? SD_LIT("") : sd_store_token(s, e->tok[t]);
            if (text.n > 1 && text.p[0] == ' ') sd_buf_putc(b, ' '), space = 1;
            double share = f->stats.max_act > 0 ? fmin(1, (double)e->val[t] / f->stats.max_act) : 0;
            sd_buf_printf(b, "<b%s style=--a:%.2f data-v=\"", t == at ? " class=pk" : "", share);
            sd_report__num(b, (double)e->val[t]);
            sd_buf_puts(b, "\">");
        }
        run_of_text(b, s, e->tok[t], space);
        if (e->val[t] > 0) sd_buf_puts(b, "</b>");
    }
    if (z < e->n) sd_buf_puts(b, "</span>");
    sd_buf_puts(b, "</p></li>");
}

static void interval_row(sd_buf *b, const sd_feature *f, int g)
{
    sd_buf_puts(b, "<li class=iv>");
    sd_report__num(b, (double)f->interval[g].lo);
    sd_buf_puts(b, " \xe2\x80\x93 ");
    sd_report__num(b, (double)f->interval[g].hi);
    sd_buf_puts(b, "<em>");
    sd_report__count(b, f->interval[g].n);
    sd_buf_puts(b, f->interval[g].n == 1 ? " token, " : " tokens, ");
    sd_report__share(b, f->interval[g].share);
    sd_buf_puts(b, " of all</em></li>");
}

void sd_report__examples(sd_buf *b, sd_store *s, const sd_feature *f, int group, int n)
{
    int last = -1, shown = 0;
    sd_buf_puts(b, "<ol class=ex>");
    for (int i = 0; i < f->n_example; i++) {
        const sd_example *e = &f->example[i];
        if (group >= 0 ? e->group != group || e->rank >= n : e->group == 0 || e->rank >= n) continue;
        if (group < 0 && e->group != last && e->group <= f->n_interval) interval_row(b, f, e->group - 1);
        last = e->group;
        example(b, s, f, e);
        shown++;
    }
    if (!shown) sd_buf_puts(b, "<li class=none>This feature was silent on the whole text.</li>");
    sd_buf_puts(b, "</ol>");
}
