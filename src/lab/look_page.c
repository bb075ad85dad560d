/* Owns: the frame and the style of the pages. Colours are classes (s0..s20, p1..p20, n1..n20), for the policy allows no style attribute.
 * Easy to break: the bytes between <style> and </style> are hashed; both come from one buffer. */
#include "lab/look_page.h"

#include "base/hash.h"
#include "lab/report_int.h"
#include <math.h>
#include <stdio.h>

enum { LEVELS = 20, TEXT_COLS = 20 }; /* steps of a colour; wider maps have no numbers in their cells */

static const char *const style[] = {
    ":root{--bg:#faf8f4;--card:#fffdf9;--ink:#23211d;--soft:#5f5a51;--line:#e6e0d5;--hi:28 95% 55%;--lo:205 85% 58%;--accent:#a84d08;"
    "--serif:ui-serif,'Iowan Old Style',Palatino,'Source Serif 4',Georgia,serif;--sans:ui-sans-serif,system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',sans-serif;"
    "--mono:ui-monospace,'SF Mono','Cascadia Mono','DejaVu Sans Mono',Menlo,monospace}",
    "@media(prefers-color-scheme:dark){:root{--bg:#171614;--card:#1f1d1a;--ink:#e9e4da;--soft:#aaa395;--line:#35312b;--accent:#f0a35e}}",
    "*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.55 var(--sans);font-variant-numeric:tabular-nums}",
    "header,main,footer{max-width:1180px;margin:0 auto;padding:0 24px}header{padding-top:48px;padding-bottom:20px}",
    ".kicker{margin:0 0 8px;font-size:13px;letter-spacing:.12em;text-transform:uppercase;color:var(--accent);font-weight:600}",
    "h1{font:500 clamp(25px,4.4vw,42px)/1.15 var(--serif);letter-spacing:-.012em;margin:0 0 14px;overflow-wrap:anywhere;text-wrap:balance}",
    ".lead{font:400 18px/1.55 var(--serif);color:var(--soft);max-width:68ch;margin:0 0 22px}",
    ".facts{display:flex;flex-wrap:wrap;gap:12px 32px;margin:0;padding-top:16px;border-top:1px solid var(--line)}.facts div{min-width:0}",
    "dt{font-size:11.5px;letter-spacing:.05em;color:var(--soft);text-transform:uppercase}dd{margin:1px 0 0;font-size:15px;overflow-wrap:anywhere}",
    "section{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:22px 24px;margin:0 0 22px;min-width:0}",
    "h2{font:500 23px/1.25 var(--serif);margin:0 0 6px}section p{margin:0 0 14px;color:var(--soft);max-width:76ch;font-size:14.5px}",
    ".many{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,330px),1fr));gap:22px;margin-bottom:22px}.many section{margin:0}",
    ".scroll{overflow-x:auto;scrollbar-width:thin;padding-bottom:6px}table{border-collapse:separate;border-spacing:1px}",
    ".heat td{min-width:17px;height:19px;padding:0 3px;border-radius:2px;text-align:center;font:11.5px/18px var(--mono);white-space:nowrap;max-width:9ch;overflow:hidden;text-overflow:ellipsis}",
    ".heat th{font:500 11.5px/1.2 var(--mono);color:var(--soft);white-space:nowrap}.heat tbody th{text-align:right;padding:0 7px 0 0;position:sticky;left:0;background:var(--card);max-width:14ch;overflow:hidden;text-overflow:ellipsis}",
    ".heat thead th{vertical-align:bottom;padding:4px 0}.heat thead span{writing-mode:vertical-rl;transform:rotate(180deg);max-height:11ch;overflow:hidden;text-overflow:ellipsis;display:inline-block;unicode-bidi:isolate}",
    ".flat thead span{writing-mode:horizontal-tb;transform:none}.heat td{min-width:23px}.words td{max-width:11ch;min-width:5ch;text-align:left}.words thead span{writing-mode:horizontal-tb;transform:none;max-width:11ch}.words thead th{text-align:left;padding:4px 3px}",
    ".e{background:none}.key{display:flex;align-items:center;gap:8px;font-size:12.5px;color:var(--soft);margin-top:10px;flex-wrap:wrap}.key i{display:inline-block;width:11px;height:13px}.key span+span{white-space:nowrap}",
    ".bars{width:100%;border-spacing:0 2px}.bars td,.bars th{padding:1px 8px 1px 0;text-align:left;font-size:14px;vertical-align:middle}.bars th{font-size:11.5px;color:var(--soft);font-weight:600}",
    ".bars .n{font-family:var(--mono);font-size:13px;overflow-wrap:anywhere}.bars .v{text-align:right;white-space:nowrap;padding-left:14px}.bars td.v{font-family:var(--mono);font-size:13px}.bars .n{width:24%}.bars .m{width:22%}.bars .b{width:50%}.bars .m{color:var(--soft);font-size:12.5px}",
    ".bars svg{display:block;width:100%;height:13px}.bars .up{fill:hsl(var(--hi))}.bars .dn{fill:hsl(var(--lo))}.bars line{stroke:var(--line)}.one .b{overflow:hidden}.one svg{width:200%;margin-left:-100%}",
    "footer{padding-top:6px;padding-bottom:48px;color:var(--soft);font-size:13.5px;overflow-wrap:anywhere}",
    "@media(max-width:620px){header,main,footer{padding-left:14px;padding-right:14px}header{padding-top:26px}section{padding:16px 14px;border-radius:11px}.lead{font-size:16.5px}.facts{gap:9px 22px}.bars .m{display:none}.bars .b{width:34%}}",
    "@media print{section{break-inside:avoid;border:0}body{background:#fff}}",
    NULL};

static void put_style(sd_buf *b)
{
    for (const char *const *s = style; *s; s++) sd_buf_printf(b, "%s\n", *s);
    for (int k = 0; k <= LEVELS; k++) {
        const char *ink = k > LEVELS / 2 ? ";color:#171614" : ""; /* on a strong colour dark text reads best in both schemes */
        double alpha = 0.04 + 0.96 * k / LEVELS;
        sd_buf_printf(b, ".s%d,.p%d{background:hsl(var(--hi)/%.2f)%s}.n%d{background:hsl(var(--lo)/%.2f)%s}\n", k, k, alpha, ink, k, alpha, ink);
    }
}

/* RFC 4648, section 4, of a hash of 32 bytes. */
static void base64(char out[48], const uint8_t *p)
{
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    int o = 0;
    for (int i = 0; i < 32; i += 3) {
        uint32_t v = (uint32_t)p[i] << 16 | (i + 1 < 32 ? (uint32_t)p[i + 1] << 8 : 0) | (i + 2 < 32 ? (uint32_t)p[i + 2] : 0);
        for (int k = 0; k < 4; k++) out[o++] = i + k > 32 ? '=' : digit[v >> (18 - 6 * k) & 63];
    }
    out[o] = '\0';
}

void sd_page_begin(sd_buf *b, const sd_page *p)
{
    sd_buf css;
    sd_sha256 h;
    char hash[48];
    sd_buf_init(&css, 1 << 16);
    put_style(&css);
    sd_sha256_of(&h, css.p, css.n);
    base64(hash, h.b);
    sd_buf_printf(b, "<!doctype html>\n<html lang=en><head><meta charset=utf-8><meta name=viewport content='width=device-width,initial-scale=1'>"
                     "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'sha256-%s'; base-uri 'none'; form-action 'none'\">"
                     "<meta name=color-scheme content='light dark'><title>", hash);
    sd_report__str(b, p->title);
    sd_buf_puts(b, "</title><style>");
    sd_buf_put(b, css.p, css.n);
    sd_buf_printf(b, "</style></head><body><header><p class=kicker>sonde \xc2\xb7 %s</p><h1 dir=auto>", p->kicker);
    sd_report__str(b, p->title);
    sd_buf_puts(b, "</h1><p class=lead>");
    sd_report__str(b, p->lead);
    sd_buf_puts(b, "</p><dl class=facts>");
    if (css.failed) b->failed = true;
    sd_buf_release(&css);
}

void sd_page_fact(sd_buf *b, const char *name, const char *fmt, ...)
{
    char v[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(v, sizeof v, fmt, ap);
    va_end(ap);
    if (!v[0]) return;
    sd_buf_printf(b, "<div><dt>%s</dt><dd dir=auto>", name);
    sd_report__str(b, v);
    sd_buf_puts(b, "</dd></div>");
}

void sd_page_body(sd_buf *b) { sd_buf_puts(b, "</dl></header>\n<main>"); }

void sd_page_heading(sd_buf *b, const char *title, const char *text)
{
    sd_buf_puts(b, "<h2>");
    sd_report__str(b, title);
    sd_buf_puts(b, "</h2>");
    if (!text) return;
    sd_buf_puts(b, "<p>");
    sd_report__str(b, text);
    sd_buf_puts(b, "</p>");
}

static void put_class(sd_buf *b, const sd_grid *g, double v)
{
    double t = sd_grid_level(g, v);
    if (isnan(t)) sd_buf_puts(b, "e");
    else if (!g->diverging) sd_buf_printf(b, "s%d", (int)lround(t * LEVELS));
    else sd_buf_printf(b, "%c%d", t < 0 ? 'n' : 'p', (int)lround(fabs(t) * LEVELS));
}

/* Two or three digits, no zero in front of the point; what rounds to zero is left out. */
static void put_number(sd_buf *b, double v, double hi)
{
    char t[32];
    int digits = hi < 2 ? 2 : hi < 10 ? 1 : 0;
    snprintf(t, sizeof t, "%.*f", digits, fabs(v));
    if (strspn(t, "0.") == strlen(t) || strlen(t) > 5) return;
    sd_buf_printf(b, "%s%s", v < 0 ? "\xe2\x88\x92" : "", t[0] == '0' ? t + 1 : t);
}

static void put_cell(sd_buf *b, const sd_grid *g, int64_t r, int64_t c)
{
    double v = g->v[r * g->cols + c];
    const char *word = g->cell ? g->cell[r * g->cols + c] : NULL;
    sd_buf_puts(b, "<td class=");
    put_class(b, g, v);
    if (!isnan(v) || word) {
        sd_buf_printf(b, " title=\"%s ", g->rows_are);
        sd_report__str(b, g->row[r]);
        sd_buf_puts(b, ", ");
        sd_report__str(b, g->col[c]);
        sd_buf_puts(b, ": ");
        if (word) sd_report__str(b, word), sd_buf_putc(b, ' ');
        sd_buf_printf(b, "%.4g\"", v);
    }
    sd_buf_putc(b, '>');
    if (word) sd_report__str(b, word);
    else if (!isnan(v) && g->cols <= TEXT_COLS) put_number(b, v, g->hi);
    sd_buf_puts(b, "</td>");
}

static void put_key(sd_buf *b, const sd_grid *g)
{
    sd_buf_puts(b, "<div class=key><span>");
    sd_report__str(b, g->value);
    sd_buf_printf(b, "</span><span>%.3g&nbsp;", g->lo);
    for (int k = g->diverging ? -10 : 0; k <= 10; k++) {
        sd_buf_puts(b, "<i class=");
        put_class(b, g, g->diverging ? g->hi * k / 10 : g->lo + (g->hi - g->lo) * k / 10);
        sd_buf_puts(b, "></i>");
    }
    sd_buf_printf(b, "&nbsp;%.3g</span></div>", g->hi);
}

void sd_page_grid(sd_buf *b, const sd_grid *g, const char *note)
{
    bool flat = true; /* short names need not be turned */
    for (int64_t c = 0; c < g->cols; c++) flat &= strlen(g->col[c]) <= 3;
    sd_buf_printf(b, "<div class=scroll tabindex=0 role=region aria-label='%s'><table class='heat%s'><thead><tr><th scope=col>%s</th>", g->title,
                  g->cell ? " words" : flat ? " flat" : "", g->rows_are);
    for (int64_t c = 0; c < g->cols; c++) {
        sd_buf_puts(b, "<th scope=col><span>");
        sd_report__str(b, g->col[c]);
        sd_buf_puts(b, "</span></th>");
    }
    sd_buf_puts(b, "</tr></thead><tbody>");
    for (int64_t i = 0; i < g->rows; i++) {
        int64_t r = g->up ? g->rows - 1 - i : i;
        sd_buf_puts(b, "<tr><th scope=row>");
        sd_report__str(b, g->row[r]);
        sd_buf_puts(b, "</th>");
        for (int64_t c = 0; c < g->cols; c++) put_cell(b, g, r, c);
        sd_buf_puts(b, "</tr>\n");
    }
    sd_buf_puts(b, "</tbody></table></div>");
    put_key(b, g);
    if (!note) return;
    sd_buf_puts(b, "<p>");
    sd_report__str(b, note);
    sd_buf_puts(b, "</p>");
}

void sd_page_bars_begin(sd_buf *b, const char *what, const char *value, bool one_sided)
{
    sd_buf_printf(b, "<table class='bars%s'><thead><tr><th scope=col>%s</th><th scope=col class=v>%s</th><th></th><th></th></tr></thead><tbody>", one_sided ? " one" : "", what, value);
}

void sd_page_bar(sd_buf *b, const char *name, double value, double share, const char *more)
{
    double w = fmin(1, fabs(share)) * 100;
    sd_buf_puts(b, "<tr><td class=n dir=auto>");
    sd_report__str(b, name);
    sd_buf_printf(b, "</td><td class=v>%+.4f</td><td class=b><svg viewBox='-100 0 200 10' preserveAspectRatio=none aria-hidden=true><rect class=%s x='%.1f' y=1 width='%.1f' height=8 />"
                     "<line x1=0 x2=0 y1=0 y2=10 /></svg></td><td class=m>", value, share < 0 ? "dn" : "up", share < 0 ? -w : 0, w);
    sd_report__str(b, more ? more : "");
    sd_buf_puts(b, "</td></tr>\n");
}

void sd_page_bars_end(sd_buf *b) { sd_buf_puts(b, "</tbody></table>"); }

/* The attributes of line i. */
static void put_stroke(sd_buf *b, int i)
{
    static const char *const dash[] = {"none", "7 3", "2 3", "10 3 2 3", "1 5", "14 4"};
    sd_buf_printf(b, "stroke=currentColor stroke-width=1.7 stroke-dasharray='%s'", dash[i % (int)(sizeof dash / sizeof *dash)]);
}

void sd_page_line_begin(sd_buf *b, int i)
{
    sd_buf_puts(b, "<polyline fill=none ");
    put_stroke(b, i);
    sd_buf_puts(b, " points='");
}

void sd_page_line_end(sd_buf *b, const char *name)
{
    sd_buf_puts(b, "'><title>");
    sd_report__str(b, name);
    sd_buf_puts(b, "</title></polyline>");
}

void sd_page_lines_key_begin(sd_buf *b) { sd_buf_puts(b, "<div class=key>"); }
void sd_page_lines_key(sd_buf *b, int i, const char *name)
{
    sd_buf_puts(b, "<span><svg width=34 height=8><line x1=0 x2=34 y1=4 y2=4 ");
    put_stroke(b, i);
    sd_buf_puts(b, " /></svg> ");
    sd_report__str(b, name);
    sd_buf_puts(b, "</span>");
}
void sd_page_lines_key_end(sd_buf *b) { sd_buf_puts(b, "</div>"); }

void sd_page_end(sd_buf *b, const sd_prov *prov)
{
    sd_buf_puts(b, "</main><footer>");
    if (prov) {
        sd_buf_puts(b, "<p>Made by ");
        sd_report__str(b, prov->tool);
        sd_buf_puts(b, prov->created[0] ? ", " : "");
        sd_report__str(b, prov->created);
        sd_buf_puts(b, ". <code>");
        sd_report__str(b, prov->args);
        sd_buf_puts(b, "</code>. Numeric mode ");
        sd_report__str(b, prov->mode);
        sd_buf_puts(b, prov->model_sha256[0] ? "; model SHA-256 " : "");
        sd_report__str(b, prov->model_sha256);
        sd_buf_puts(b, ".</p>");
    }
    sd_buf_puts(b, "</footer></body></html>\n");
}
