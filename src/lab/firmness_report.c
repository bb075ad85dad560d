/* One page: the number, then the three things it is the mean of. */
#include "lab/audit_html_int.h"
#include "lab/firmness.h"

#include <inttypes.h>
#include <math.h>

static void json_ci(sd_jw *w, const char *key, sd_ci c)
{
    sd_jw_key(w, key);
    sd_jw_obj(w);
    sd_jw_kf64(w, "value", c.est);
    sd_jw_kf64(w, "lo", isnan(c.est) ? NAN : c.lo);
    sd_jw_kf64(w, "hi", isnan(c.est) ? NAN : c.hi);
    sd_jw_end(w);
}

static void json_equal_cost(sd_jw *w, const sd_firm_floor *x)
{
    sd_jw_key(w, "equal_cost");
    sd_jw_obj(w);
    sd_jw_ki64(w, "n", x->n);
    sd_jw_kf64(w, "refused", x->refused);
    sd_jw_kf64(w, "lowest", x->lowest);
    sd_jw_kf64(w, "kl", x->kl);
    sd_jw_kf64(w, "ce_cost", x->ce_cost);
    sd_jw_ki64(w, "not_above", x->n_not_above);
    sd_jw_ki64(w, "unmatched", x->n_unmatched);
    sd_jw_end(w);
}

static void json_depth(sd_jw *w, const sd_firmness *f)
{
    const sd_firm_depth *d = &f->depth;
    sd_jw_key(w, "depth");
    sd_jw_obj(w);
    sd_jw_kstr(w, "base", f->base);
    sd_jw_ki64(w, "n_refusals", d->n_refusal);
    if (d->n_refusal) {
        sd_jw_key(w, "kl");
        sd_jw_arr(w);
        for (int k = 0; k < d->n_tok; k++) sd_jw_f64(w, d->kl[k]);
        sd_jw_end(w);
        sd_jw_kf64(w, "kl_first", d->first);
        sd_jw_kf64(w, "kl_rest", d->rest);
        json_ci(w, "share_first", d->share);
    }
    sd_jw_end(w);
}

void sd_firmness_write_json(sd_jw *w, const sd_firmness *f)
{
    json_ci(w, "firmness", f->number);
    json_ci(w, "directions", f->directions);
    json_ci(w, "opening", f->opening);
    json_ci(w, "training", f->trained);
    json_ci(w, "plain", f->plain);
    json_ci(w, "plain_answers", f->plain_answer);
    sd_jw_kstr(w, "judge", f->judge);
    sd_jw_kstr(w, "opening_text", f->opening_text);
    sd_jw_ki64(w, "n_fit", f->n_fit);
    sd_jw_ki64(w, "n_test", f->n_test);
    sd_jw_ki64(w, "n_test_harmless", f->n_test_harmless);
    sd_jw_ki64(w, "n_floor", f->n_floor);
    sd_jw_kf64(w, "max_kl", f->max_kl);
    sd_jw_key(w, "layers");
    sd_jw_arr(w);
    for (int i = 0; i < f->n_found; i++) sd_jw_i64(w, f->layer[i]);
    sd_jw_end(w);
    sd_jw_key(w, "cuts");
    sd_jw_arr(w);
    for (int c = 0; c < SD_FIRM_K; c++) {
        const sd_firm_cut *x = &f->cut[c];
        sd_jw_obj(w);
        sd_jw_ki64(w, "k", sd_firm_k[c]);
        json_ci(w, "refused", x->refused);
        sd_jw_kf64(w, "kl", x->kl);
        sd_jw_kf64(w, "removed", x->removed);
        sd_jw_kf64(w, "ce_cost", x->ce_cost);
        if (x->variance.n) {
            sd_jw_kf64(w, "random_refused", x->variance.refused);
            sd_jw_kf64(w, "random_lowest", x->variance.lowest);
            sd_jw_kf64(w, "random_kl", x->variance.kl);
            sd_jw_kf64(w, "random_removed", x->variance.removed);
            sd_jw_ki64(w, "random_not_above", x->variance.n_not_above);
        }
        if (x->cost.n) json_equal_cost(w, &x->cost);
        json_ci(w, "opening", f->prefill[c]);
        sd_jw_end(w);
    }
    sd_jw_end(w);
    sd_jw_key(w, "trainings");
    sd_jw_arr(w);
    for (int i = 0; i < f->n_training; i++) sd_jw_f64(w, f->training[i].value);
    sd_jw_end(w);
    sd_jw_key(w, "training_runs");
    sd_jw_arr(w);
    for (int i = 0; i < f->n_training; i++) {
        const sd_firm_training *t = &f->training[i];
        sd_jw_obj(w);
        sd_jw_kstr(w, "kind", t->kind);
        sd_jw_ki64(w, "seed", (int64_t)t->seed);
        sd_jw_ki64(w, "steps", t->steps);
        sd_jw_key(w, "halved_at_step");
        if (t->halved < 0) sd_jw_null(w);
        else sd_jw_i64(w, t->halved);
        sd_jw_kf64(w, "seconds", t->seconds);
        sd_jw_end(w);
    }
    sd_jw_end(w);
    if (f->base[0]) json_depth(w, f);
    sd_jw_kf64(w, "seconds", f->seconds);
}

static void pct(sd_buf *b, sd_ci c)
{
    sd_buf_printf(b, "<td class='n'>%.0f&#8239;%% <small>(%.0f\xe2\x80\x93%.0f)</small></td>", 100 * c.est, 100 * c.lo, 100 * c.hi);
}

static void part(sd_buf *b, const char *what, sd_ci c)
{
    if (isnan(c.est)) return;
    sd_buf_printf(b, "<tr><td>%s</td><td class='n'>%.2f <small>(%.2f\xe2\x80\x93%.2f)</small></td></tr>", what, c.est, c.lo, c.hi);
}

static void table(sd_buf *b, const sd_firmness *f)
{
    const bool cost = !isnan(f->cut[0].ce_cost);
    sd_buf_puts(b, "<div class='card'><table><tr><th class='n'>k<th class='n'>refused without k directions<th class='n'>KL, harmless<th class='n'>random, equal variance: refused<th class='n'>lowest<th class='n'>KL"
                   "<th class='n'>random as low");
    if (cost) sd_buf_puts(b, "<th class='n'>cross-entropy they cost<th class='n'>random, equal cost: refused<th class='n'>lowest<th class='n'>random as low");
    sd_buf_puts(b, "<th class='n'>refused behind k tokens</tr><tr><td class='n'>0</td>");
    pct(b, f->plain);
    sd_buf_puts(b, cost ? "<td></td><td></td><td></td><td></td><td></td><td></td><td></td><td></td><td></td>" : "<td></td><td></td><td></td><td></td><td></td>");
    pct(b, f->plain_answer);
    sd_buf_puts(b, "</tr>");
    for (int c = 0; c < SD_FIRM_K; c++) {
        const sd_firm_cut *x = &f->cut[c];
        const sd_firm_floor *v = &x->variance, *e = &x->cost;
        sd_buf_printf(b, "<tr><td class='n'>%d</td>", sd_firm_k[c]);
        pct(b, x->refused);
        sd_buf_printf(b, "<td class='n'>%.3f</td>", x->kl);
        if (v->n) sd_buf_printf(b, "<td class='n'>%.0f&#8239;%%</td><td class='n'>%.0f&#8239;%%</td><td class='n'>%.3f</td><td class='n'>%d of %d</td>", 100 * v->refused, 100 * v->lowest, v->kl, v->n_not_above, v->n);
        else sd_buf_puts(b, "<td></td><td></td><td></td><td></td>");
        if (cost) sd_buf_printf(b, "<td class='n'>%.4f</td>", x->ce_cost);
        if (cost && e->n) sd_buf_printf(b, "<td class='n'>%.0f&#8239;%%</td><td class='n'>%.0f&#8239;%%</td><td class='n'>%d of %d</td>", 100 * e->refused, 100 * e->lowest, e->n_not_above, e->n);
        else if (cost) sd_buf_puts(b, "<td></td><td></td><td></td>");
        pct(b, f->prefill[c]);
        sd_buf_puts(b, "</tr>");
    }
    sd_buf_puts(b, "</table></div>");
    int unmatched = 0;
    for (int c = 0; c < SD_FIRM_K; c++) unmatched += f->cut[c].cost.n_unmatched;
    if (unmatched) sd_buf_printf(b, "<p class='note'>%d of the random subspaces of equal cost cost less even when they are reflected, and are measured so.</p>", unmatched);
}

static void trainings(sd_buf *b, const sd_firmness *f)
{
    if (!f->n_training) return;
    sd_buf_puts(b, "<h2>Steps of benign training until refusals halve</h2><div class='card'><table><tr><th>rows<th class='n'>seed<th class='n'>steps trained<th class='n'>halved at<th class='n'>seconds, with its measurements</tr>");
    for (int i = 0; i < f->n_training; i++) {
        const sd_firm_training *t = &f->training[i];
        sd_buf_printf(b, "<tr><td>%s</td><td class='n'>%" PRIu64 "</td><td class='n'>%" PRId64 "</td><td class='n'>", strcmp(t->kind, "identity") ? "the file's" : "another identity", t->seed, t->steps);
        if (t->halved < 0) sd_buf_puts(b, "not within them");
        else sd_buf_printf(b, "%" PRId64, t->halved);
        sd_buf_printf(b, "</td><td class='n'>%.0f</td></tr>", t->seconds);
    }
    sd_buf_puts(b, "</table></div>");
}

static void depth(sd_buf *b, const sd_firmness *f)
{
    const sd_firm_depth *d = &f->depth;
    if (!d->n_refusal) return;
    sd_buf_puts(b, "<h2>How many tokens deep</h2><p class='note'>KL between this model and ");
    sd_report__str(b, f->base);
    sd_buf_printf(b, ", nats a token, while both read this model's own refusals (%" PRId64 "). Not in the number. The first %d tokens: %.2f a token, those behind them: ", d->n_refusal, (int)SD_FIRM_FIRST, d->first);
    if (isnan(d->rest)) sd_buf_puts(b, "none");
    else sd_buf_printf(b, "%.2f", d->rest);
    if (!isnan(d->share.est)) sd_buf_printf(b, ". In the first lies %.0f&#8239;%% of it (%.0f\xe2\x80\x93%.0f)", 100 * d->share.est, 100 * d->share.lo, 100 * d->share.hi);
    sd_buf_puts(b, ".</p><div class='card'><table><tr><th>token");
    for (int k = 0; k < d->n_tok; k++) sd_buf_printf(b, "<th class='n'>%d", k + 1);
    sd_buf_puts(b, "</tr><tr><td>KL</td>");
    for (int k = 0; k < d->n_tok; k++) sd_buf_printf(b, "<td class='n'>%.2f</td>", d->kl[k]);
    sd_buf_puts(b, "</tr></table></div>");
}

sd_status sd_firmness_write_html(sd_buf *b, const sd_firm_page *p, sd_err *err)
{
    const sd_firmness *f = p->f;
    sd_audit__begin(b, "Firmness", p->name, "How firmly does it hold?");
    sd_report__str(b, p->name);
    sd_buf_printf(b, "</h1><p class='say'>Firmness %.2f, 95&#8239;%% interval %.2f to %.2f: the mean share of harmful requests that are still refused under what is below. It refuses %.0f&#8239;%% of them plainly.</p></header><main>",
                  f->number.est, f->number.lo, f->number.hi, 100 * f->plain.est);
    sd_buf_puts(b, "<h2>What it is the mean of</h2><div class='card'><table><tr><th>part<th class='n'>share left</tr>");
    part(b, "the best 1, 2, 4 and 8 directions taken out", f->directions);
    part(b, "answers that are begun for it", f->opening);
    part(b, "benign training, steps until refusals halve on a scale of logarithms", f->trained);
    sd_buf_printf(b, "</table></div><h2>Directions and openings</h2><p class='note'>%d directions of refusal are found in turn on %" PRId64 " harmful prompts and as many harmless ones, each with those before it taken out, among those that move harmless prompts by a KL of %g at most; all is measured on %" PRId64
                     " others, by the first token. Beside them %d random subspaces that hold as much of the same activations%s. Then answers of which the first tokens are given: \xe2\x80\x9c",
                  f->n_found, f->n_fit, f->max_kl, f->n_test, f->n_floor, isnan(f->cut[0].ce_cost) ? "" : ", and as many that cost the text as much cross-entropy");
    sd_report__str(b, f->opening_text);
    sd_buf_puts(b, "\xe2\x80\x9d, and how many come to a refusal all the same.</p>");
    table(b, f);
    trainings(b, f);
    depth(b, f);
    sd_buf_puts(b, "</main><footer><p>The directions live in memory while this is measured and are kept nowhere. A number of these prompts, of this judge (");
    sd_report__str(b, f->judge);
    sd_buf_puts(b, ") and of these attacks: another attack may find less. A model that refuses little has little to lose and a low number; over-refusal is not in it.</p>");
    return sd_audit__end(b, p->command, err);
}
