#include "lab/survive_page.h"

#include "lab/look_page.h"
#include "lab/report_int.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { POINTS = 240, W = 640, H = 260 };

static int falling(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return x > y ? -1 : x < y;
}

/* Every counted feature's correlation, highest first, as a line; a model each, told apart by its dashes. */
static sd_status curves(sd_buf *b, const sd_survive_page *p, sd_err *err)
{
    float *v = NULL;
    const sd_status st = sd_alloc(&v, (size_t)(p->m + 1) * sizeof *v, "a curve", err);
    if (st) return st;
    sd_buf_printf(b, "<svg viewBox='-40 -10 %d %d' role=img aria-label='correlation of features, highest first' width=100%%>", W + 50, H + 45);
    for (int i = 0; i <= 4; i++)
        sd_buf_printf(b, "<line x1=0 x2=%d y1=%d y2=%d stroke=currentColor stroke-opacity=.15 /><text x=-6 y=%d text-anchor=end font-size=11 fill=currentColor>%.2f</text>", W,
                      H * i / 4, H * i / 4, H * i / 4 + 4, 1 - 0.25 * i);
    sd_buf_printf(b, "<line x1=0 x2=%d y1=%.1f y2=%.1f stroke=currentColor stroke-opacity=.5 stroke-dasharray='3 3' /><text x=0 y=%d font-size=11 fill=currentColor>0 %%</text>"
                     "<text x=%d y=%d text-anchor=end font-size=11 fill=currentColor>100 %% of the counted features</text>",
                  W, H * (1 - SD_SURVIVE), H * (1 - SD_SURVIVE), H + 16, W, H + 16);
    for (int r = 0; r < p->n; r++) {
        int64_t k = 0;
        for (int64_t f = 0; f < p->m; f++)
            if (isfinite(p->row[r].s.corr[f])) v[k++] = p->row[r].s.corr[f];
        qsort(v, (size_t)k, sizeof *v, falling);
        sd_page_line_begin(b, r);
        for (int i = 0; i < POINTS && k; i++) {
            const double c = (double)v[(k - 1) * i / (POINTS - 1)];
            sd_buf_printf(b, "%.1f,%.1f ", (double)W * i / (POINTS - 1), H * (1 - (c > 0 ? c : 0)));
        }
        sd_page_line_end(b, p->row[r].name);
    }
    sd_buf_puts(b, "</svg>");
    sd_page_lines_key_begin(b);
    for (int r = 0; r < p->n; r++) sd_page_lines_key(b, r, p->row[r].name);
    sd_page_lines_key_end(b);
    sd_free(v);
    return SD_OK;
}

static sd_status by_strength(sd_buf *b, const sd_survive_page *p, sd_err *err)
{
    sd_grid g = {0};
    sd_status st = sd_grid_init(&g, p->n, SD_SURVIVE_BINS, false, err);
    if (st) return st;
    g.title = "survival by peak activation", g.rows_are = "model", g.cols_are = "tenth of the peak activation", g.value = "share that survives";
    for (int r = 0; r < p->n && !st; r++) {
        st = sd_grid_name(&g.row[r], err, "%s", p->row[r].name);
        for (int i = 0; i < SD_SURVIVE_BINS; i++) g.v[r * SD_SURVIVE_BINS + i] = p->row[r].s.by_peak[i];
    }
    for (int i = 0; i < SD_SURVIVE_BINS && !st; i++) st = sd_grid_name(&g.col[i], err, "%d", i + 1);
    g.lo = 0, g.hi = 1;
    if (!st) sd_page_grid(b, &g, NULL);
    sd_grid_release(&g);
    return st;
}

sd_status sd_page_survive(sd_buf *b, const sd_survive_page *p, sd_err *err)
{
    sd_page_begin(b, &(sd_page){"what quantisation leaves", p->model, "The same text through the model and through its quantisations. A feature survives where its activations, token by token, correlate with those "
                                                                     "in the reference by 0.9 or more. Only features that fire on ten tokens or more are counted."});
    sd_page_fact(b, "site", "%s", p->site);
    sd_page_fact(b, "dictionary", "%s, %lld features", p->dict, (long long)p->m);
    sd_page_fact(b, "tokens", "%lld", (long long)p->n_rows);
    sd_page_fact(b, "reference", "FVU %.4f, L0 %.1f", p->ref->fvu, p->ref->l0);
    sd_page_body(b);
    sd_buf_puts(b, "<section>");
    sd_page_heading(b, "Features that survive", "Of the counted ones. Behind the bar: how far the rows moved (of their variance), FVU of the dictionary on them, features that went silent, and how well the peak activation "
                                                "in the reference tells who survives (0.5 is chance).");
    sd_page_bars_begin(b, "model", "share", true);
    for (int r = 0; r < p->n; r++) {
        const sd_survival *s = &p->row[r].s;
        char more[200];
        snprintf(more, sizeof more, "%lld of %lld; rows moved %.4f, FVU %.4f, silent %lld, AUC of the peak %.2f", (long long)s->n_survived, (long long)s->n_counted, s->row_error, s->recon.fvu,
                 (long long)s->n_silent, s->peak_auc);
        sd_page_bar(b, p->row[r].name, s->share, s->share, more);
    }
    sd_page_bars_end(b);
    sd_buf_puts(b, "</section><section>");
    sd_page_heading(b, "Correlation, feature by feature", "All counted features, the most faithful on the left; the dotted line is 0.9.");
    sd_status st = curves(b, p, err);
    sd_buf_puts(b, "</section><section>");
    sd_page_heading(b, "Who survives", "Features in tenths of their peak activation, weakest first.");
    if (!st) st = by_strength(b, p, err);
    sd_buf_puts(b, "</section>");
    sd_page_end(b, p->prov);
    return st ? st : sd_buf_check(b, "the page", err);
}
