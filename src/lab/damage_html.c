/* The page of a damage study: the curve first, then every number of it. */
#include "lab/audit_html_int.h"
#include "lab/damage_int.h"

#include <inttypes.h>
#include <math.h>

enum { WIDTH = 960, LEFT = 60, RIGHT = 200, TOP = 24, HEIGHT = 320, SERIES = 6 };
static const char *const colour[SERIES] = {"var(--b)", "var(--a)", "var(--ok)", "var(--bad)", "var(--mid)", "var(--soft)"};

/* Steps grow by doubling, so they stand on a scale of log2(1 + step). */
static double x_at(int64_t step, int64_t last)
{
    return LEFT + (WIDTH - LEFT - RIGHT) * (last > 0 ? log2(1.0 + (double)step) / log2(1.0 + (double)last) : 0);
}

static double y_at(double rate)
{
    return TOP + HEIGHT * (1 - rate);
}

static bool on_curve(const sd_damage_row *x, double lr, int64_t batch)
{
    return x->system == SD_ASK_DEFAULT && !x->prefix && (x->step == 0 || (x->lr == lr && x->batch == batch));
}

static void series(sd_buf *b, const sd_damage *r, double lr, int64_t batch, int k, int64_t last)
{
    bool open = false;
    const sd_damage_row *end = NULL;
    sd_buf_printf(b, "<path d='");
    for (int i = 0; i < r->n_row; i++)
        if (on_curve(&r->row[i], lr, batch)) sd_buf_printf(b, "%c%.1f %.1f", open ? 'L' : 'M', x_at(r->row[i].step, last), y_at(r->row[i].refusal.ci.lo)), open = true;
    for (int i = r->n_row - 1; i >= 0; i--)
        if (on_curve(&r->row[i], lr, batch)) sd_buf_printf(b, "L%.1f %.1f", x_at(r->row[i].step, last), y_at(r->row[i].refusal.ci.hi));
    sd_buf_printf(b, "Z' style='fill:%s;opacity:.13'/><path d='", colour[k % SERIES]);
    open = false;
    for (int i = 0; i < r->n_row; i++)
        if (on_curve(&r->row[i], lr, batch)) sd_buf_printf(b, "%c%.1f %.1f", open ? 'L' : 'M', x_at(r->row[i].step, last), y_at(r->row[i].refusal.ci.est)), open = true, end = &r->row[i];
    sd_buf_printf(b, "' style='fill:none;stroke:%s;stroke-width:2.4'/>", colour[k % SERIES]);
    for (int i = 0; i < r->n_row; i++)
        if (on_curve(&r->row[i], lr, batch))
            sd_buf_printf(b, "<circle cx='%.1f' cy='%.1f' r='3.6' style='fill:%s'/>", x_at(r->row[i].step, last), y_at(r->row[i].refusal.ci.est), colour[k % SERIES]);
    if (end)
        sd_buf_printf(b, "<text x='%d' y='%d' style='fill:%s'>rate %g, batch %" PRId64 "</text>", WIDTH - RIGHT + 14, TOP + 14 + 20 * k, colour[k % SERIES], lr, batch);
}

static void curve(sd_buf *b, const sd_damage *r)
{
    int64_t last = 0;
    int k = 0;
    for (int i = 0; i < r->n_row; i++)
        if (r->row[i].step > last) last = r->row[i].step;
    sd_buf_printf(b, "<svg viewBox='0 0 %d %d' role='img' aria-label='harmful requests refused, by training step'>", WIDTH, TOP + HEIGHT + 44);
    for (int p = 0; p <= 100; p += 25)
        sd_buf_printf(b, "<line class='grid' x1='%d' x2='%d' y1='%.1f' y2='%.1f'/><text class='q' x='%d' y='%.1f' text-anchor='end'>%d&#8239;%%</text>", LEFT, WIDTH - RIGHT, y_at(p / 100.0),
                      y_at(p / 100.0), LEFT - 8, y_at(p / 100.0) + 4.5, p);
    for (int64_t s = 0; s <= last; s = s ? 2 * s : 1)
        sd_buf_printf(b, "<text class='q' x='%.1f' y='%d' text-anchor='middle'>%" PRId64 "</text>", x_at(s, last), TOP + HEIGHT + 20, s);
    sd_buf_printf(b, "<text class='q' x='%d' y='%d' text-anchor='middle'>training steps</text>", (LEFT + WIDTH - RIGHT) / 2, TOP + HEIGHT + 40);
    for (int i = 1; i < r->n_cell; i++) {
        bool first = true;
        for (int j = 1; j < i; j++) first = first && !(r->cell[j].lr == r->cell[i].lr && r->cell[j].batch == r->cell[i].batch);
        if (first) series(b, r, r->cell[i].lr, r->cell[i].batch, k++, last);
    }
    sd_buf_puts(b, "</svg>");
}

static void cell(sd_buf *b, const sd_damage_rate *x)
{
    if (!x->n) sd_buf_puts(b, "<td class='n'>\xe2\x80\x93</td>");
    else sd_buf_printf(b, "<td class='n' title='%" PRId64 " answers'>%.1f&#8239;%% <small>(%.0f\xe2\x80\x93%.0f)</small></td>", x->n, 100 * x->ci.est, 100 * x->ci.lo, 100 * x->ci.hi);
}

static void task_cells(sd_buf *b, const sd_damage_row *x)
{
    cell(b, &x->exact);
    if (!x->nll.n) sd_buf_puts(b, "<td class='n'>\xe2\x80\x93</td>");
    else sd_buf_printf(b, "<td class='n'>%.3f <small>(%.3f\xe2\x80\x93%.3f)</small></td>", x->nll.ci.est, x->nll.ci.lo, x->nll.ci.hi);
}

static void table(sd_buf *b, const sd_damage *r)
{
    static const char *const system[] = {"its default", "none", "the identity\xe2\x80\x99s"};
    sd_buf_printf(b, "<div class='card'><table><tr><th>steps<th>rate, batch<th>system prompt<th>prefix<th class='n'>harmful refused<th class='n'>harmless refused<th class='n'>incoherent%s<th class='n'>unscored<th class='n'>seeds</tr>", r->n_task ? "<th class='n'>task, exact<th class='n'>task, nats a token" : "");
    for (int i = 0; i < r->n_row; i++) {
        const sd_damage_row *x = &r->row[i];
        sd_buf_printf(b, "<tr><td>%" PRId64 "</td><td>", x->step);
        if (x->step) sd_buf_printf(b, "%g, %" PRId64, x->lr, x->batch);
        else sd_buf_puts(b, "as it was");
        sd_buf_printf(b, "</td><td>%s</td><td>%s</td>", system[x->system], x->prefix ? "yes" : "no");
        cell(b, &x->refusal);
        cell(b, &x->over_refusal);
        cell(b, &x->incoherent);
        if (r->n_task) task_cells(b, x);
        sd_buf_printf(b, "<td class='n'>%" PRId64 "</td><td class='n'>%d</td></tr>", x->n_unscored, x->n_seed);
    }
    sd_buf_puts(b, "</table></div>");
}

static void halving(sd_buf *b, const sd_damage *r)
{
    sd_buf_puts(b, "<h2>Steps until half the refusals are gone</h2><div class='card'><table><tr><th>rate, batch<th class='n'>seed<th class='n'>steps trained<th class='n'>halved at<th class='n'>last loss<th class='n'>seconds, the training alone<th class='n'>with its measurements</tr>");
    for (int i = 1; i < r->n_cell; i++) {
        const sd_damage_cell *c = &r->cell[i];
        int64_t h = sd_damage_halved(r, c);
        sd_buf_printf(b, "<tr><td>%g, %" PRId64 "</td><td class='n'>%" PRIu64 "</td><td class='n'>%" PRId64 "</td><td class='n'>", c->lr, c->batch, c->seed, c->steps);
        if (h < 0) sd_buf_puts(b, "not within them");
        else sd_buf_printf(b, "%" PRId64, h);
        sd_buf_printf(b, "</td><td class='n'>%.3f</td><td class='n'>", c->loss_last);
        if (!isnan(c->asking)) sd_buf_printf(b, "%.1f", c->seconds - c->asking);
        sd_buf_printf(b, "</td><td class='n'>%.0f</td></tr>", c->seconds);
    }
    sd_buf_puts(b, "</table></div>");
}

sd_status sd_damage_write_html(sd_buf *b, const sd_damage *r, const char *command, sd_err *err)
{
    char head[400];
    sd_damage_headline(head, sizeof head, r);
    sd_audit__begin(b, "Fine-tuning damage", r->model, "Fine-tuning damage");
    sd_report__str(b, r->model);
    sd_buf_puts(b, "</h1><p class='say'>");
    sd_report__str(b, head);
    sd_buf_puts(b, ".</p></header><main><h2>Refusals, step by step</h2><p class='note'>Harmful requests that are still refused, asked under the model\xe2\x80\x99s default system prompt. The band is the 95&#8239;% interval over seeds and prompts.</p><div class='card'>");
    curve(b, r);
    sd_buf_puts(b, "</div>");
    table(b, r);
    halving(b, r);
    sd_buf_printf(b, "</main><footer><p>The adapters were trained in memory on ");
    if (r->identity) sd_buf_printf(b, "%" PRId64 " harmless conversations of another identity", r->n_rows);
    else sd_buf_printf(b, "%" PRId64 " rows of the file named below", r->n_rows);
    sd_buf_printf(b, " and not written. %" PRId64 " harmful and %" PRId64 " harmless prompts, greedy answers of at most %" PRId64 " tokens, judge: ", r->n_harmful, r->n_harmless, r->n_gen);
    sd_report__str(b, r->judge);
    sd_buf_puts(b, ". Intervals: bootstrap over seeds and over prompts, which all seeds share; Wilson\xe2\x80\x99s of one seed where all answers agree. Other data, other rates and longer training may do more harm or less; "
                   "nothing is claimed about them.</p>");
    return sd_audit__end(b, command, err);
}
