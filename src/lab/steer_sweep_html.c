/* The page of a sweep: four curves over the strength, the table, the answers. One file, no network, no script. */
#include "lab/report_int.h"
#include "lab/steer_sweep.h"

#include <math.h>

enum { W = 420, H = 200, LEFT = 48, RIGHT = 14, TOP = 16, BOTTOM = 28 };

typedef double pick(const sd_steer_point *p);
static double kl_of(const sd_steer_point *p) { return p->kl; }
static double ppl_of(const sd_steer_point *p) { return p->ppl; }
static double rep_of(const sd_steer_point *p) { return p->rep4; }
static double concept_of(const sd_steer_point *p) { return p->active; }
static double words_of(const sd_steer_point *p) { return p->words; }

static void number(sd_buf *b, double v)
{
    if (isfinite(v)) sd_report__num(b, v);
    else sd_buf_puts(b, "&ndash;");
}

typedef struct box { double x0, x1, y0, y1; } box;
static double px(const box *k, double x) { return LEFT + (W - LEFT - RIGHT) * (k->x1 > k->x0 ? (x - k->x0) / (k->x1 - k->x0) : 0.5); }
static double py(const box *k, double y) { return TOP + (H - TOP - BOTTOM) * (1 - (k->y1 > k->y0 ? (y - k->y0) / (k->y1 - k->y0) : 0.5)); }

static box bounds(const sd_steer_sweep *s, pick *of)
{
    box k = {INFINITY, -INFINITY, 0, -INFINITY};
    for (int i = 0; i < s->n; i++) {
        const sd_steer_point *p = &s->point[i];
        if (isfinite(p->value)) k.x0 = fmin(k.x0, p->value), k.x1 = fmax(k.x1, p->value);
        if (isfinite(of(p))) k.y0 = fmin(k.y0, of(p)), k.y1 = fmax(k.y1, of(p));
    }
    return k;
}

/* The steered points joined; the plain model dashed, the prompt-only one dotted, across. */
static void plot(sd_buf *b, const sd_steer_sweep *s, const char *title, pick *of)
{
    box k = bounds(s, of);
    bool open = false;
    if (!isfinite(k.y1)) return;
    sd_buf_printf(b, "<figure><figcaption>%s</figcaption><svg viewBox='0 0 %d %d' role='img' aria-label='%s by strength'>", title, W, H, title);
    for (int i = 0; i < 2; i++) {
        double y = i ? k.y1 : k.y0;
        sd_buf_printf(b, "<line class=ax x1='%d' x2='%d' y1='%.1f' y2='%.1f'/><text x='%d' y='%.1f' text-anchor=end>%.3g</text><text x='%.1f' y='%d' text-anchor=middle>%.3g</text>", LEFT, W - RIGHT,
                      py(&k, y), py(&k, y), LEFT - 6, py(&k, y) + 4, y, px(&k, i ? k.x1 : k.x0), H - 8, i ? k.x1 : k.x0);
    }
    for (int i = 0; i < s->n; i++) {
        const sd_steer_point *p = &s->point[i];
        if (isfinite(p->value) || !isfinite(of(p))) continue;
        sd_buf_printf(b, "<line class='%s' x1='%d' x2='%d' y1='%.1f' y2='%.1f'/>", p->prompt_only ? "prompt" : "plain", LEFT, W - RIGHT, py(&k, of(p)), py(&k, of(p)));
    }
    sd_buf_puts(b, "<path class=st d='");
    for (int i = 0; i < s->n; i++) {
        const sd_steer_point *p = &s->point[i];
        if (!isfinite(p->value) || !isfinite(of(p))) continue;
        sd_buf_printf(b, "%s%.1f %.1f", open ? "L" : "M", px(&k, p->value), py(&k, of(p)));
        open = true;
    }
    sd_buf_puts(b, "'/>");
    for (int i = 0; i < s->n; i++) {
        const sd_steer_point *p = &s->point[i];
        if (isfinite(p->value) && isfinite(of(p))) sd_buf_printf(b, "<circle class='%s' cx='%.1f' cy='%.1f' r='4'/>", i == s->suggested ? "best" : "dot", px(&k, p->value), py(&k, of(p)));
    }
    sd_buf_puts(b, "</svg></figure>");
}

static void name(sd_buf *b, const sd_steer_point *p)
{
    if (p->prompt_only) sd_buf_puts(b, "told by a system message");
    else if (isfinite(p->value)) sd_buf_printf(b, "steered, %.4g", p->value);
    else sd_buf_puts(b, "plain");
}

static void table(sd_buf *b, const sd_steer_sweep *s)
{
    sd_buf_printf(b, "<table><thead><tr><th>answers</th><th>KL</th><th>perplexity</th><th>repetition</th><th>%s</th><th>words</th><th>tokens</th></tr></thead><tbody>",
                  s->of_feature ? "feature active" : "projection");
    for (int i = 0; i < s->n; i++) {
        const sd_steer_point *p = &s->point[i];
        const double v[] = {p->kl, p->ppl, p->rep4, p->active, p->words, (double)p->n_tokens};
        sd_buf_printf(b, "<tr%s><td>", i == s->suggested ? " class=best" : "");
        name(b, p);
        for (int k = 0; k < 6; k++) {
            sd_buf_puts(b, "</td><td>");
            number(b, v[k]);
        }
        sd_buf_puts(b, "</td></tr>");
    }
    sd_buf_puts(b, "</tbody></table>");
}

static void answers(sd_buf *b, const sd_steer_sweep *s, const sd_steer_sweep_opt *o)
{
    for (int p = 0; p < s->n_prompt; p++) {
        sd_buf_puts(b, "<section><h2>");
        sd_report__str(b, o->prompt[p]);
        sd_buf_puts(b, "</h2>");
        for (int i = 0; i < s->n; i++) {
            sd_buf_puts(b, "<h3>");
            name(b, &s->point[i]);
            sd_buf_puts(b, "</h3><p class=said>");
            sd_report__text(b, s->point[i].answer[p].p ? s->point[i].answer[p].p : "", s->point[i].answer[p].n);
            sd_buf_puts(b, "</p>");
        }
        sd_buf_puts(b, "</section>");
    }
}

sd_status sd_steer_sweep_page(sd_buf *out, const sd_steer_sweep *s, const sd_steer_sweep_opt *opt, const char *model_name, sd_err *err)
{
    sd_buf_puts(out, "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content='width=device-width,initial-scale=1'>"
                     "<meta http-equiv=Content-Security-Policy content=\"default-src 'none';style-src 'unsafe-inline'\"><title>A steer in rising strength</title><style>\n"
                     ":root{color-scheme:light dark;--ink:#1d1d1b;--soft:#5c5c58;--line:#d9d8d2;--up:#0b62a4;--paper:#fbfaf7}"
                     "@media(prefers-color-scheme:dark){:root{--ink:#ecebe6;--soft:#a9a8a2;--line:#3a3a37;--up:#6cb3ec;--paper:#191917}}\n"
                     "body{margin:0 auto;padding:24px 18px 60px;max-width:960px;font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper)}"
                     "h1{font-size:26px;margin:0 0 4px}h2{font-size:18px;margin:30px 0 6px}h3{font-size:13px;margin:12px 0 2px;color:var(--soft);font-weight:600}p{margin:0 0 10px}"
                     ".note{color:var(--soft);max-width:76ch}.said{white-space:pre-wrap;overflow-wrap:anywhere;border-left:3px solid var(--line);padding-left:10px}\n"
                     ".plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(300px,1fr));gap:14px}figure{margin:0}figcaption{font-weight:600;font-size:14px}svg{width:100%;height:auto}"
                     "svg text{font:12px system-ui,sans-serif;fill:var(--soft)}.ax{stroke:var(--line)}.plain{stroke:var(--soft);stroke-dasharray:6 4}.prompt{stroke:var(--up);stroke-dasharray:1 4}"
                     ".st{fill:none;stroke:var(--up);stroke-width:2}.dot{fill:var(--up)}.best{fill:var(--paper);stroke:var(--up);stroke-width:3}\n"
                     "table{border-collapse:collapse;font-variant-numeric:tabular-nums;display:block;overflow-x:auto}th,td{padding:4px 12px 4px 0;text-align:right;border-bottom:1px solid var(--line)}"
                     "th:first-child,td:first-child{text-align:left}tr.best{font-weight:600}code{overflow-wrap:anywhere}\n</style></head><body><h1>A steer in rising strength</h1><p class=note><code>");
    sd_report__text(out, opt->spec.p, opt->spec.n < 400 ? opt->spec.n : 400);
    sd_buf_puts(out, "</code> on ");
    sd_report__str(out, model_name);
    sd_buf_printf(out, ", %d prompts, up to %lld tokens each. Dashed: the plain model. Dotted: the plain model told by a system message. Ring: the suggested strength, the most of the "
                       "concept at a perplexity of at most %g times the plain one's and a repetition of at most 0.1 above it. The plain model reads the answers.</p><div class=plots>",
                  s->n_prompt, (long long)opt->n_gen, opt->most_ppl > 0 ? opt->most_ppl : SD_SWEEP_MOST_PPL);
    plot(out, s, s->of_feature ? "share of tokens on which the feature is active" : "projection on the vector", concept_of);
    plot(out, s, "share of answers with the words", words_of);
    plot(out, s, "perplexity under the plain model", ppl_of);
    plot(out, s, "KL to the plain model, nats a token", kl_of);
    plot(out, s, "repetition: runs of four tokens seen before", rep_of);
    sd_buf_puts(out, "</div><h2>Figures</h2>");
    table(out, s);
    answers(out, s, opt);
    sd_buf_puts(out, "</body></html>\n");
    return sd_buf_check(out, "the page", err);
}
