#include "lab/eval_page.h"

#include "lab/look_page.h"
#include "lab/report_int.h"
#include <math.h>

enum { W = 640, H = 240, BINS = SD_DENSITY_BINS + 1 /* and those that never fired */ };

static double share_at(const sd_eval_col *c, int bin) /* 0: never fired */
{
    const int64_t n = bin ? c->e->recon.density_bin[bin - 1] : c->m - c->e->recon.n_fired;
    return (double)n / (double)c->m;
}

/* Steps of the share of features by how often they fire: the first column as bars, the others as lines over them. */
static void densities(sd_buf *b, const sd_eval_page *p)
{
    double top = 1e-9;
    for (int i = 0; i < p->n; i++)
        for (int k = 0; k < BINS; k++)
            if (share_at(&p->col[i], k) > top) top = share_at(&p->col[i], k);
    sd_buf_printf(b, "<svg viewBox='-46 -12 %d %d' role=img aria-label='share of features by how often they fire' width=100%%>", W + 60, H + 52);
    for (int i = 0; i <= 4; i++)
        sd_buf_printf(b, "<line x1=0 x2=%d y1=%d y2=%d stroke=currentColor stroke-opacity=.15 /><text x=-6 y=%d text-anchor=end font-size=11 fill=currentColor>%.1f %%</text>", W,
                      H - H * i / 4, H - H * i / 4, H - H * i / 4 + 4, 25 * i * top);
    for (int k = 0; k < BINS; k++) {
        const double h = H * share_at(p->col, k) / top;
        sd_buf_printf(b, "<rect x=%.1f y=%.1f width=%.1f height=%.1f fill=currentColor fill-opacity=.3><title>%lld features</title></rect>", W * (double)k / BINS + 1, H - h, W / (double)BINS - 2, h,
                      (long long)(k ? p->col->e->recon.density_bin[k - 1] : p->col->m - p->col->e->recon.n_fired));
        if (k % 2) sd_buf_printf(b, "<text x=%.1f y=%d text-anchor=middle font-size=11 fill=currentColor>10<tspan dy=-4 font-size=8>%d</tspan></text>", W * (double)k / BINS, H + 18, (k - 1) / 2 - SD_DENSITY_BINS / 2);
    }
    sd_buf_printf(b, "<text x=%.1f y=%d text-anchor=middle font-size=11 fill=currentColor>never</text><text x=%d y=%d text-anchor=end font-size=11 fill=currentColor>share of tokens on which a feature fires</text>",
                  W / (2.0 * BINS), H + 34, W, H + 36);
    for (int i = 1; i < p->n; i++) {
        sd_page_line_begin(b, i);
        for (int k = 0; k < BINS; k++) {
            const double y = H - H * share_at(&p->col[i], k) / top;
            sd_buf_printf(b, "%.1f,%.1f %.1f,%.1f ", W * (double)k / BINS, y, W * (double)(k + 1) / BINS, y);
        }
        sd_page_line_end(b, p->col[i].name);
    }
    sd_buf_puts(b, "</svg>");
    sd_page_lines_key_begin(b);
    for (int i = 1; i < p->n; i++) sd_page_lines_key(b, i, p->col[i].name);
    sd_page_lines_key_end(b);
}

static void metrics(sd_buf *b, const sd_eval_page *p)
{
    sd_buf_puts(b, "<div class=scroll><table class=bars><thead><tr><th class=n>metric</th>");
    for (int i = 0; i < p->n; i++) {
        sd_buf_puts(b, "<th class=v>");
        sd_report__str(b, p->col[i].name);
        sd_buf_puts(b, "</th>");
    }
    sd_buf_puts(b, "<th>meaning</th></tr></thead><tbody>");
    for (int k = 0; k < p->n_metric; k++) {
        sd_buf_printf(b, "<tr><td class=n>%s</td>", p->id[k]);
        for (int i = 0; i < p->n; i++) {
            if (isfinite(p->col[i].v[k])) sd_buf_printf(b, "<td class=v>%.5g</td>", p->col[i].v[k]);
            else sd_buf_puts(b, "<td class=v>&ndash;</td>");
        }
        sd_buf_puts(b, "<td>");
        sd_report__str(b, p->meaning[k]);
        sd_buf_puts(b, "</td></tr>");
    }
    sd_buf_puts(b, "</tbody></table></div>");
}

sd_status sd_page_eval(sd_buf *b, const sd_eval_page *p, sd_err *err)
{
    const sd_evaluation *e = p->col->e;
    sd_page_begin(b, &(sd_page){"what a dictionary keeps", p->model, "Each context is read plain, with the site replaced by the dictionary's reconstruction, and with the site set to zero. Special tokens and "
                                                                      "sinks keep their own activations and are left out of the reconstruction's metrics."});
    sd_page_fact(b, "site", "%s", p->site);
    sd_page_fact(b, "dictionary", "%s, %lld features", p->dict, (long long)p->col->m);
    sd_page_fact(b, "tokens", "%lld, of which %lld replaced", (long long)(e->n_replaced + e->n_kept), (long long)e->n_replaced);
    sd_page_fact(b, "predictions", "%lld", (long long)e->n_predictions);
    sd_page_body(b);
    sd_buf_puts(b, "<section>");
    sd_page_heading(b, "How often features fire", "Features by the share of tokens on which they are active, half a decade a bar; lines are what stands beside the dictionary.");
    densities(b, p);
    sd_buf_puts(b, "</section><section>");
    sd_page_heading(b, "Metrics", p->n > 1 ? "A score that a control reaches too says nothing about what the dictionary found." : "No control stands beside these: give some by --beside.");
    metrics(b, p);
    sd_buf_puts(b, "</section>");
    sd_page_end(b, p->prov);
    return sd_buf_check(b, "the page", err);
}
