/* The two plots of the audit page. Coordinates are of a fixed box that the page scales. */
#include "lab/audit_html_int.h"

#include <math.h>

enum { WIDTH = 960, LEFT = 250, RIGHT = 180, ROW = 30, TOP = 34 };

/* Points of change to x, over [-span, span]. */
static double at(double points, double span)
{
    double t = (points + span) / (2 * span);
    return LEFT + (WIDTH - LEFT - RIGHT) * fmin(1, fmax(0, t));
}

static void forest_row(sd_buf *b, const sd_change *x, const char *label, int row, double span)
{
    double y = TOP + ROW * row + ROW / 2.0, lo = 0 - 100 * x->drop.hi, hi = 0 - 100 * x->drop.lo, mid = 0 - 100 * x->drop.est;
    sd_buf_printf(b, "<text x='%d' y='%.1f' text-anchor='end'>", LEFT - 14, y + 4.5);
    sd_report__text(b, label, strlen(label) > 32 ? 32 : strlen(label));
    sd_buf_printf(b, "</text><line class='bar' x1='%.1f' x2='%.1f' y1='%.1f' y2='%.1f'/><circle class='dot' cx='%.1f' cy='%.1f' r='5'/>", at(lo, span), at(hi, span), y, y, at(mid, span), y);
    sd_buf_printf(b, "<text class='q' x='%d' y='%.1f'>%+.0f (%.0f to %.0f), n %lld</text>", WIDTH - RIGHT + 10, y + 4.5, mid, lo, hi, (long long)x->a.n);
}

void sd_audit__forest(sd_buf *b, const sd_comparison *c)
{
    const sd_change *own[] = {&c->refusal, &c->over_refusal, &c->incoherent};
    static const char *const label[] = {"harmful refused", "harmless refused", "incoherent"};
    double span = 10;
    int rows = 0;
    for (int i = 0; i < 3 + c->n_category; i++) {
        const sd_change *x = i < 3 ? own[i] : &c->category[i - 3];
        if (!x->a.n) continue;
        span = fmax(span, fmax(fabs(100 * x->drop.lo), fabs(100 * x->drop.hi)));
        rows++;
    }
    span = fmin(100, 10 * ceil(span / 10));
    sd_buf_printf(b, "<svg viewBox='0 0 %d %d' role='img' aria-label='changes in points with 95 percent intervals'>", WIDTH, TOP + ROW * rows + 12);
    for (int k = -2; k <= 2; k++) {
        double x = at(span * k / 2, span);
        sd_buf_printf(b, "<line class='%s' x1='%.1f' x2='%.1f' y1='%d' y2='%d'/><text class='q' x='%.1f' y='20' text-anchor='middle'>%+.0f</text>", k ? "grid" : "zero", x, x, TOP - 6,
                      TOP + ROW * rows, x, span * k / 2);
    }
    int row = 0;
    for (int i = 0; i < 3 + c->n_category; i++) {
        const sd_change *x = i < 3 ? own[i] : &c->category[i - 3];
        if (x->a.n) forest_row(b, x, i < 3 ? label[i] : x->what, row++, span);
    }
    sd_buf_puts(b, "</svg>");
}

enum { PLOT_H = 190, PLOT_X = 46, PLOT_W = 420, PLOT_GAP = 64 };

static void line(sd_buf *b, const char *cls, const float *v, int n, double x0, double top)
{
    bool open = false;
    sd_buf_printf(b, "<path class='%s' d='", cls);
    for (int i = 0; i < n; i++) {
        if (!isfinite(v[i])) {
            open = false;
            continue;
        }
        sd_buf_printf(b, "%c%.1f %.1f", open ? 'L' : 'M', x0 + (double)PLOT_W * i / (n > 1 ? n - 1 : 1), 24 + PLOT_H * (1 - (double)v[i] / top));
        open = true;
    }
    sd_buf_puts(b, "'/>");
}

static void frame(sd_buf *b, const char *title, double x0, double top, int n)
{
    sd_buf_printf(b, "<text x='%.0f' y='12'>%s</text>", x0, title);
    for (int k = 0; k <= 2; k++)
        sd_buf_printf(b, "<line class='grid' x1='%.0f' x2='%.0f' y1='%.0f' y2='%.0f'/><text class='q' x='%.0f' y='%.0f' text-anchor='end'>%.3g</text>", x0, x0 + PLOT_W,
                      24 + PLOT_H * (1 - k / 2.0), 24 + PLOT_H * (1 - k / 2.0), x0 - 6, 28 + PLOT_H * (1 - k / 2.0), top * k / 2);
    sd_buf_printf(b, "<text class='q' x='%.0f' y='%d'>block 0</text><text class='q' x='%.0f' y='%d' text-anchor='end'>block %d</text>", x0, 24 + PLOT_H + 18, x0 + PLOT_W, 24 + PLOT_H + 18,
                  n - 1);
}

void sd_audit__depth(sd_buf *b, const sd_inside *x)
{
    double top = 1e-6, right = PLOT_X + PLOT_W + PLOT_GAP;
    for (int l = 0; l < x->n_layer; l++)
        for (int k = 0; k < 2; k++) {
            double v = (double)(k ? x->gap_b : x->gap_a)[l];
            if (isfinite(v)) top = fmax(top, v);
        }
    sd_buf_printf(b, "<svg viewBox='0 0 %d %d' role='img' aria-label='direction between harmful and harmless prompts, by block'>", WIDTH, PLOT_H + 52);
    frame(b, "cosine of the two directions", PLOT_X, 1, x->n_layer);
    line(b, "lb", x->cosine, x->n_layer, PLOT_X, 1);
    frame(b, "distance of harmful and harmless along the first model\xe2\x80\x99s direction", right, top, x->n_layer);
    line(b, "la", x->gap_a, x->n_layer, right, top);
    line(b, "lb", x->gap_b, x->n_layer, right, top);
    sd_buf_puts(b, "</svg>");
}

static double height_of(double rate)
{
    return 24 + PLOT_H * (1 - rate);
}

/* One axis over the models: a line through the rates, Wilson's interval at each. Shift keeps the two axes' intervals apart. */
static void rates_over(sd_buf *b, const sd_audit_page *p, sd_axis axis, const char *cls, double shift)
{
    double step = (double)(WIDTH - LEFT) / p->n_record;
    bool open = false;
    sd_buf_printf(b, "<path class='%s' d='", cls);
    for (int i = 0; i < p->n_record; i++) {
        sd_rate r = sd_audit_refusal(&p->record[i].b, axis, NULL);
        if (r.n) sd_buf_printf(b, "%c%.1f %.1f", open ? 'L' : 'M', PLOT_X + step * (i + 0.5) + shift, height_of(r.ci.est)), open = true;
    }
    sd_buf_puts(b, "'/>");
    for (int i = 0; i < p->n_record; i++) {
        sd_rate r = sd_audit_refusal(&p->record[i].b, axis, NULL);
        double x = PLOT_X + step * (i + 0.5) + shift;
        if (!r.n) continue;
        sd_buf_printf(b, "<line class='%s' x1='%.1f' x2='%.1f' y1='%.1f' y2='%.1f'/><circle class='%s' cx='%.1f' cy='%.1f' r='4'/>", cls, x, x, height_of(r.ci.lo), height_of(r.ci.hi), cls, x,
                      height_of(r.ci.est));
        sd_buf_printf(b, "<text x='%.1f' y='%.1f' text-anchor='%s'>%.0f&#8239;%%</text>", x + 2.5 * shift, height_of(r.ci.est) - 5, shift < 0 ? "end" : "start", 100 * r.ci.est);
    }
}

void sd_audit__timeline(sd_buf *b, const sd_audit_page *p)
{
    double step = (double)(WIDTH - LEFT) / p->n_record;
    sd_buf_printf(b, "<svg viewBox='0 0 %d %d' role='img' aria-label='refusals of harmful and of harmless prompts, model by model'>", WIDTH, PLOT_H + 60);
    for (int k = 0; k <= 4; k++)
        sd_buf_printf(b, "<line class='grid' x1='%d' x2='%d' y1='%.1f' y2='%.1f'/><text class='q' x='%d' y='%.1f' text-anchor='end'>%d&#8239;%%</text>", PLOT_X, WIDTH - LEFT + PLOT_X, height_of(k / 4.0),
                      height_of(k / 4.0), PLOT_X - 6, height_of(k / 4.0) + 4, 25 * k);
    for (int i = 0; i < p->n_record; i++) {
        const char *name = p->record[i].name;
        size_t n = strlen(name);
        sd_buf_printf(b, "<text class='q' x='%.1f' y='%d' text-anchor='middle'>", PLOT_X + step * (i + 0.5), PLOT_H + 46);
        sd_report__text(b, name, n > 24 ? 24 : n);
        sd_buf_puts(b, "</text>");
    }
    rates_over(b, p, SD_AXIS_HARMFUL, "la", -4);
    rates_over(b, p, SD_AXIS_HARMLESS, "lb", 4);
    sd_buf_printf(b, "<text class='a' x='%d' y='%d' style='fill:var(--a)'>harmful refused</text><text x='%d' y='%d' style='fill:var(--b)'>harmless refused</text></svg>", WIDTH - LEFT + PLOT_X + 14, 40,
                  WIDTH - LEFT + PLOT_X + 14, 62);
}
