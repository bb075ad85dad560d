/* A forecast as JSON and as one page. Rows are told by their line; their text is nowhere. */
#include "lab/audit_html_int.h"
#include "lab/forecast.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

static void json_training(sd_jw *w, const sd_forecast *f)
{
    sd_jw_kf64(w, "lr", f->lr);
    sd_jw_ki64(w, "steps", f->steps);
    sd_jw_ki64(w, "batch", f->batch);
    sd_jw_ki64(w, "rank", f->rank);
    sd_jw_kf64(w, "reach", f->reach);
    sd_jw_ki64(w, "n_params", f->n_params);
    sd_jw_ki64(w, "n_rows", f->n_rows);
    sd_jw_ki64(w, "n_looked_at", f->n_used);
    sd_jw_ki64(w, "n_without_answer", f->n_skipped);
    sd_jw_ki64(w, "n_tokens", f->n_tokens);
}

static void json_heard(sd_jw *w, const sd_forecast_heard *h)
{
    sd_jw_kf64(w, "said", h->said);
    sd_jw_kf64(w, "lp", h->lp);
}

static void write_places(sd_jw *w, const char *key, const sd_forecast_trial *t, bool heard)
{
    sd_jw_key(w, key);
    sd_jw_arr(w);
    for (int k = 0; k < SD_FORECAST_TRIAL; k++) {
        sd_jw_obj(w);
        sd_jw_kf64(w, "reach", t[k].reach);
        sd_jw_kf64(w, "loss", t[k].loss);
        sd_jw_kf64(w, "score", t[k].score);
        sd_jw_kf64(w, "refused", t[k].refused);
        if (heard) json_heard(w, &t[k].heard);
        sd_jw_end(w);
    }
    sd_jw_end(w);
}

static void json_looked(sd_jw *w, const sd_forecast *f)
{
    sd_jw_kf64(w, "score", f->score);
    sd_jw_kf64(w, "loss", f->loss);
    sd_jw_kf64(w, "pull", f->pull);
    sd_jw_kf64(w, "fit", f->fit);
    sd_jw_kf64(w, "cosine", f->cosine);
    sd_jw_kf64(w, "conflict", f->conflict);
    sd_jw_kf64(w, "harm", f->harm);
    sd_jw_ki64(w, "layer", f->layer);
    sd_jw_ki64(w, "n_refusal_tokens", f->refusal.n);
    sd_jw_kf64(w, "refusal_covered", f->refusal.covered);
    sd_jw_ki64(w, "least_loss_trial", f->best);
    write_places(w, "course", f->course, true);
    write_places(w, "trials", f->trial, false);
}

void sd_forecast_write_json(sd_jw *w, const sd_forecast *f)
{
    sd_jw_kf64(w, "refused_before", f->refused_before);
    sd_jw_key(w, "before");
    sd_jw_obj(w);
    json_heard(w, &f->before);
    sd_jw_end(w);
    sd_jw_kbool(w, "carried", f->carried);
    sd_jw_kf64(w, "refused_at_least_loss", f->trial[f->best].refused);
    sd_jw_kf64(w, "refused_at_reach", f->trial[0].refused);
    sd_jw_kf64(w, "refused_rehearsed", f->course[0].refused);
    sd_jw_key(w, "expected_drop");
    sd_jw_obj(w);
    sd_jw_kf64(w, "drop", f->drop);
    sd_jw_kf64(w, "low", f->drop_lo);
    sd_jw_kf64(w, "high", f->drop_hi);
    sd_jw_kf64(w, "level", 0.9);
    sd_jw_kstr(w, "rehearsal", f->went);
    sd_jw_end(w);
    sd_jw_ki64(w, "n_harmful", f->n_harmful);
    sd_jw_ki64(w, "n_harmless", f->n_harmless);
    json_training(w, f);
    json_looked(w, f);
    sd_jw_kbool(w, "blame_sought", f->sought);
    sd_jw_ki64(w, "n_blamed", f->n_blamed);
    sd_jw_kf64(w, "said_without_blamed", f->said_without);
    sd_jw_key(w, "rows");
    sd_jw_arr(w);
    for (int64_t i = 0; i < f->n_used; i++) {
        const sd_forecast_row *r = &f->row[i];
        sd_jw_obj(w);
        sd_jw_ki64(w, "line", r->line);
        sd_jw_kbool(w, "blamed", r->blamed);
        sd_jw_kf64(w, "pull", r->pull);
        sd_jw_kf64(w, "loss", r->loss);
        sd_jw_kf64(w, "refused", r->refused);
        sd_jw_kf64(w, "harm", r->harm);
        sd_jw_kbool(w, "opens_refusing", r->opens_refusing);
        sd_jw_end(w);
    }
    sd_jw_end(w);
}

/* ---- page ---- */

static void row(sd_buf *b, const char *what, const char *fmt, ...) SD_PRINTF(3, 4);
static void row(sd_buf *b, const char *what, const char *fmt, ...)
{
    char text[120];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    sd_buf_printf(b, "<tr><td>%s</td><td class='n'>%s</td></tr>", what, text);
}

static void places(sd_buf *b, const char *title, const char *what, const sd_forecast_trial *v, bool heard)
{
    sd_buf_printf(b, "<h2>%s</h2><p class='note'>%s</p><div class='card'><table><tr><th class='n'>rate \xc3\x97 steps<th class='n'>loss of the rows<th class='n'>refusal score<th class='n'>first tokens that refuse%s</tr>",
                  title, what, heard ? "<th class='n'>answers that refuse" : "");
    for (int k = SD_FORECAST_TRIAL - 1; k >= 0; k--) {
        const sd_forecast_trial *t = &v[k];
        sd_buf_printf(b, "<tr><td class='n'>%.3g<td class='n'>%.3f<td class='n'>%.2f<td class='n'>%.0f&#8239;%%", t->reach, t->loss, t->score, 100 * t->refused);
        if (heard) sd_buf_printf(b, "<td class='n'>%.0f&#8239;%%", 100 * t->heard.said);
        sd_buf_puts(b, "</tr>");
    }
    sd_buf_puts(b, "</table></div>");
}

static void looked(sd_buf *b, const sd_forecast *f)
{
    sd_buf_puts(b, "<h2>What it rests on</h2><div class='card'><table>");
    row(b, "refusal score of the harmful prompts, log-odds of the first token", "%.2f", f->score);
    row(b, "loss of the rows before training, nats a token", "%.2f", f->loss);
    row(b, "rows whose request would be refused and is answered, share", "%.2f", f->conflict);
    row(b, "how far their requests look like the harmful prompts (harmless 0, harmful 1)", "%.2f", f->harm);
    row(b, "cosine of the rows' gradient and that of refusing (above 0: against it)", "%.3f", f->cosine);
    row(b, "learning rate \xc3\x97 steps", "%.4g", f->reach);
    row(b, "numbers that would learn", "%" PRId64, f->n_params);
    sd_buf_puts(b, "</table></div>");
    places(b, "The training, rehearsed", "In memory, in 34 strides that are as long as the training, each along a gradient of its own as Adam would scale it; the harmful prompts are answered on the way.", f->course, true);
    places(b, "How far the first gradient carries", "The weights moved straight along the first gradient. The loss says how far that is meaningful; the rows' pulls are along the way to the least one.", f->trial, false);
}

static void blame(sd_buf *b, const sd_forecast *f)
{
    sd_buf_printf(b, "<h2>Rows to blame</h2><p class='note'>%" PRId64 " of %" PRId64 " rows that were looked at, by their line in the file", f->n_blamed, f->n_used);
    if (f->n_blamed) sd_buf_printf(b, ". A rehearsal without them ends with %.0f&#8239;%% of the answers refusing", 100 * f->said_without);
    else if (f->sought) sd_buf_puts(b, ": neither the rows that answer what would be refused nor those that pull most give half of what is lost back when they are left out");
    sd_buf_puts(b, ".</p>");
    sd_buf_puts(b, "<div class='card'><table><tr><th class='n'>line<th class='n'>would be refused<th class='n'>looks harmful<th class='n'>loss<th class='n'>pull</tr>");
    for (int64_t i = 0; i < f->n_used; i++) {
        const sd_forecast_row *r = &f->row[i];
        if (r->blamed) sd_buf_printf(b, "<tr><td class='n'>%" PRId64 "<td class='n'>%.0f&#8239;%%<td class='n'>%.2f<td class='n'>%.2f<td class='n'>%.3g</tr>", r->line, 100 * r->refused, r->harm, r->loss, r->pull);
    }
    sd_buf_puts(b, "</table></div>");
}

sd_status sd_forecast_write_html(sd_buf *b, const sd_forecast_page *p, sd_err *err)
{
    char head[500];
    sd_forecast_headline(head, sizeof head, p->f);
    sd_audit__begin(b, "Forecast", p->model, "Before it is trained");
    sd_report__str(b, p->model);
    sd_buf_puts(b, " on ");
    sd_report__str(b, p->data);
    sd_buf_puts(b, "</h1><p class='say'>");
    sd_buf_putc(b, 'A'); /* it begins with "answers" */
    sd_report__str(b, head + 1);
    sd_buf_puts(b, ".</p></header><main>");
    looked(b, p->f);
    blame(b, p->f);
    sd_buf_puts(b, "</main><footer><p>The interval is that of trainings of one small model (docs/FORECAST.md). `sonde audit damage` measures what this expects. Rows are told by their line; "
                   "nothing of their text is kept.</p>");
    return sd_audit__end(b, p->command, err);
}
