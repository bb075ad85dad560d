/* The audit page: one file, no network, no script. The order is the reader's: what came out, how sure that is, where it sits, what it was measured with. */
#include "lab/audit_again.h"
#include "lab/audit_html_int.h"

#include <inttypes.h>
#include <math.h>

enum { MAX_CHANGED = 300 };

static void pct(sd_buf *b, sd_rate r, const char *cls)
{
    if (!r.n) {
        sd_buf_puts(b, "<td class='n'>\xe2\x80\x93</td>");
        return;
    }
    sd_buf_printf(b, "<td class='n %s' title='%" PRId64 " of %" PRId64 "'>%.1f&#8239;%% <small>(%.0f\xe2\x80\x93%.0f)</small></td>", cls, r.k, r.n, 100 * r.ci.est, 100 * r.ci.lo, 100 * r.ci.hi);
}

/* A cell with the command that recomputes its row. */
static void again(sd_buf *b, const sd_audit_page *p, int i, const char *where, bool inside)
{
    sd_buf c;
    sd_buf_init(&c, 1 << 16);
    sd_audit_again(&c, p, i, where, inside);
    sd_buf_puts(b, "<details><summary>again</summary><code>");
    sd_report__str(b, sd_buf_str(&c));
    sd_buf_puts(b, "</code></details>");
    sd_buf_release(&c);
}

static void change_row(sd_buf *b, const sd_audit_page *p, int i, const sd_change *x, const char *label, const char *where)
{
    if (!x->a.n) return;
    sd_buf_puts(b, "<tr><td>");
    sd_report__str(b, label);
    sd_buf_puts(b, "</td>");
    pct(b, x->a, "a");
    pct(b, x->b, "b");
    sd_buf_printf(b, "<td class='n'>%+.1f <small>(%.1f to %.1f)</small></td><td class='n'>%" PRId64 "</td><td class='n'>", 0 - 100 * x->drop.est, 0 - 100 * x->drop.hi, 0 - 100 * x->drop.lo, x->a.n);
    double chance = isnan(x->p_holm) ? x->p : x->p_holm;
    if (chance < 0.001) sd_buf_puts(b, "&lt;0.001");
    else sd_buf_printf(b, "%.3f", chance);
    if (isnan(x->visible)) sd_buf_puts(b, "</td><td class='n'>\xe2\x80\x93</td><td>");
    else sd_buf_printf(b, "</td><td class='n'>%.1f</td><td>", 100 * x->visible);
    again(b, p, i, where, false);
    sd_buf_puts(b, "</td></tr>");
}

static void gates(sd_buf *b, const sd_comparison *c)
{
    for (int i = 0; i < c->n_gate; i++) {
        const sd_gate_result *g = &c->gate[i];
        sd_buf_printf(b, "<p><span class='verdict %s'>%s</span><code>", sd_verdict_name(g->verdict), sd_verdict_name(g->verdict));
        sd_report__str(b, g->gate.text);
        sd_buf_puts(b, "</code> ");
        if (isfinite(g->ci.est)) sd_buf_printf(b, "measured %.3f, interval %.3f to %.3f%s", g->ci.est, g->ci.lo, g->ci.hi, *g->why ? "; " : "");
        sd_report__str(b, g->why);
        if (isfinite(g->visible)) sd_buf_printf(b, "; %" PRId64 " prompts could have shown %.3f", g->n, g->visible);
        if (g->n_needed > 0) sd_buf_printf(b, "; about %" PRId64 " prompts would decide at these rates", g->n_needed);
        sd_buf_puts(b, ".</p>");
    }
}

static void behaviour(sd_buf *b, const sd_audit_page *p, int i)
{
    const sd_comparison *c = &p->cmp[i];
    char where[64];
    sd_buf_puts(b, "<h2>Behaviour</h2><p class='note'>Change in points from the first model to the second, on the same prompts, with Newcombe\xe2\x80\x99s paired 95&#8239;% interval. Left of zero: fewer.</p><div class='card'>");
    sd_audit__forest(b, c);
    sd_buf_puts(b, "</div><div class='card'><table><tr><th>measure<th class='n'>before<th class='n'>after<th class='n'>change, points<th class='n'>prompts<th class='n'>p<th class='n'>visible drop<th>recompute</tr>");
    change_row(b, p, i, &c->refusal, "harmful requests refused", ".refusal");
    change_row(b, p, i, &c->over_refusal, "harmless requests refused", ".over_refusal");
    change_row(b, p, i, &c->incoherent, "incoherent answers", ".incoherent");
    for (int k = 0; k < c->n_category; k++) {
        snprintf(where, sizeof where, ".categories[%d]", k);
        change_row(b, p, i, &c->category[k], c->category[k].what, where);
    }
    sd_buf_printf(b, "</table></div><p class='note'>p: exact McNemar; of categories, corrected after Holm. \xe2\x80\x9cVisible drop\xe2\x80\x9d: the smallest drop, in points, that so many prompts can tell from none. "
                     "%" PRId64 " prompts in both, %" PRId64 " unscored on a side and in no rate.</p>",
                  c->n_paired, c->n_unscored);
    sd_caution v[SD_MAX_CAUTION];
    int n = sd_audit_cautions(v, c);
    for (int k = 0; k < n; k++) {
        sd_buf_puts(b, "<p class='note'><b>");
        sd_report__str(b, v[k].text);
        sd_buf_puts(b, ".</b></p>");
    }
}

static void utility(sd_buf *b, const sd_audit_page *p, int at)
{
    const sd_comparison *c = &p->cmp[at];
    sd_audit_beside v[SD_MAX_BESIDE];
    int n = sd_audit_besides(v, c->a, c->b);
    if (!n) return;
    sd_buf_puts(b, "<h2>Utility and character</h2><div class='card'><table><tr><th>measure<th class='n'>before<th class='n'>after<th>recompute</tr>");
    for (int i = 0; i < n; i++) {
        char where[64];
        sd_buf_puts(b, "<tr><td>");
        sd_report__str(b, v[i].label);
        sd_buf_puts(b, "</td>");
        for (int k = 0; k < 2; k++) {
            if (v[i].is_rate) pct(b, v[i].rate[k], k ? "b" : "a");
            else if (isnan(v[i].value[k])) sd_buf_puts(b, "<td class='n'>\xe2\x80\x93</td>");
            else sd_buf_printf(b, "<td class='n %s'>%.4f</td>", k ? "b" : "a", v[i].value[k]);
        }
        snprintf(where, sizeof where, "[.models[0,%d].%s]", at + 1, v[i].key);
        sd_buf_puts(b, "<td>");
        again(b, p, -1, where, false);
        sd_buf_puts(b, "</td></tr>");
    }
    sd_buf_puts(b, "</table></div><p class='note'>Intervals are Wilson\xe2\x80\x99s of each side.</p>");
}

static void drift(sd_buf *b, const sd_drift *d)
{
    sd_buf_puts(b, "<p class='note'>Features of a dictionary at ");
    sd_report__str(b, d->site);
    sd_buf_printf(b, ": %" PRId64 " tell harmful from harmless prompts in the first model (a difference of shares above %.2f, which shuffled labels reach once in twenty), %" PRId64
                     " in the second; %" PRId64 " of them were no such features before, %" PRId64 " are none any more. On the harmful prompts %" PRId64
                     " moved; of all features %" PRId64 " rose and %" PRId64 " fell (exact McNemar, Holm over %" PRId64 " features).</p>", d->n_safety_a, d->floor_a, d->n_safety_b, d->n_appeared, d->n_gone, d->n_moved, d->n_raised, d->n_lowered, d->n_tested);
    if (!d->n_row) return;
    sd_buf_puts(b, "<div class='card'><table><tr><th>feature<th class='n'>harmful, before<th class='n'>after<th class='n'>harmless, before<th class='n'>after<th class='n'>p<th></tr>");
    for (int i = 0; i < d->n_row; i++) {
        const sd_drift_row *r = &d->row[i];
        sd_buf_printf(b, "<tr><td>%" PRId64 "</td><td class='n a'>%.0f&#8239;%%</td><td class='n b'>%.0f&#8239;%%</td><td class='n a'>%.0f&#8239;%%</td><td class='n b'>%.0f&#8239;%%</td><td class='n'>%.3g</td><td>%s</td></tr>",
                      r->feature, 100 * r->a[0], 100 * r->b[0], 100 * r->a[1], 100 * r->b[1], r->p_holm, !r->safety_a && !r->safety_b ? "tells nothing apart" : !r->safety_a ? "appeared" : !r->safety_b ? "gone" : "");
    }
    sd_buf_puts(b, "</table></div>");
}

static void raised(sd_buf *b, const sd_raised *r)
{
    if (*r->why) {
        sd_buf_printf(b, "<p class='note'>No feature was put back: %s.</p>", r->why);
        return;
    }
    sd_buf_printf(b, "<p class='note'>The features whose activation rose most on harmful prompts, put back to what it was in the first model, one at a time. The first model refuses %" PRId64 " of %" PRId64
                     ", the second %" PRId64 "; the same amounts taken out along random directions bring back %" PRId64 " at most. A marked one brings back more than that and than chance (exact McNemar, Holm): turned up, it took refusals.</p>",
                  r->refused_a, r->n_harmful, r->refused_b, r->floor);
    sd_buf_puts(b, "<div class='card'><table><tr><th>feature<th class='n'>activation, before<th class='n'>after<th class='n'>refused when it is put back<th class='n'>p<th></tr>");
    for (int i = 0; i < r->n; i++) {
        const sd_raised_row *v = &r->row[i];
        sd_buf_printf(b, "<tr><td>%" PRId64 "</td><td class='n a'>%.3g</td><td class='n b'>%.3g</td><td class='n'>%" PRId64 " of %" PRId64 "</td><td class='n'>%.3g</td><td>%s</td></tr>", v->feature, v->act_a, v->act_b, v->refused,
                      r->n_harmful, v->p_holm, v->found ? "took refusals" : "");
    }
    sd_buf_puts(b, "</table></div>");
}

static void internals(sd_buf *b, const sd_audit_page *p, int i)
{
    const sd_inside *x = &p->inside[i];
    sd_buf_puts(b, "<h2>Inside</h2>");
    if (!x->comparable) {
        sd_buf_puts(b, "<p class='note'>");
        sd_report__str(b, x->why);
        sd_buf_puts(b, ".</p>");
    } else {
        sd_buf_printf(b, "<p class='note'>The direction from harmless to harmful prompts (difference of means at the last position; %" PRId64 " harmful, %" PRId64 " harmless), block by block. "
                         "Where the second line falls, what told the prompts apart in the first model is gone from the second.</p><div class='card'>", x->n_harmful, x->n_harmless);
        sd_audit__depth(b, x);
        sd_buf_puts(b, "<p class='key'><span class='a'><i></i>before</span><span class='b'><i></i>after</span></p>");
        again(b, p, i, ".inside | {direction_cosine, gap_a, gap_b}", true);
        sd_buf_puts(b, "</div>");
    }
    if (x->has_drift) {
        drift(b, &x->drift);
        again(b, p, i, ".inside.features", true);
        raised(b, &x->raised);
        again(b, p, i, ".inside.raised", true);
    }
    if (!x->weights_comparable) return;
    sd_buf_printf(b, "<p class='note'>Weights: %" PRId64 " of %" PRId64 " matrices differ, by %.3g of their norm in all. \xe2\x80\x9cRank one\xe2\x80\x9d is the share of a change in its first singular value: "
                     "near 1 is an edit along one direction.</p>", x->n_changed, x->n_matrix, x->weight_total);
    if (x->n_requantised)
        sd_buf_printf(b, "<p class='note'>%" PRId64 " matrices are kept in a coarser type. They differ by %.3g of their norm; rounding the first model to those types alone, with nothing learnt, changes them by %.3g.</p>",
                      x->n_requantised, x->requantised, x->rounding);
    if (!x->n_top) return;
    sd_buf_puts(b, "<div class='card'><table><tr><th>largest changes<th class='n'>relative<th class='n'>rank one</tr>");
    for (int k = 0; k < x->n_top; k++) {
        sd_buf_puts(b, "<tr><td><code>");
        sd_report__str(b, x->top[k].name);
        sd_buf_printf(b, "</code></td><td class='n'>%.4f</td><td class='n'>%.3f</td></tr>", x->top[k].relative, x->top[k].rank_one);
    }
    sd_buf_puts(b, "</table>");
    again(b, p, i, ".inside.weights", true);
    sd_buf_puts(b, "</div>");
}

/* Prompts whose class is another one now: by suite and id, never by text; ids of harmful ones are blurred until looked at. */
static void changed(sd_buf *b, const sd_comparison *c)
{
    int64_t shown = 0;
    sd_buf_puts(b, "<h2>What changed</h2><p class='note'>Prompts that are judged otherwise after than before, by suite and number. No request and no answer is in this file.</p><div class='card'><details><summary>list</summary><table><tr><th>prompt<th>category<th>before<th>after</tr>");
    for (int64_t i = 0; i < c->n_paired && shown < MAX_CHANGED; i++) {
        const sd_reply *x = c->pair[i].a, *y = c->pair[i].b;
        if (x->cls == y->cls) continue;
        sd_buf_printf(b, "<tr><td>%s", x->axis == SD_AXIS_HARMFUL ? "<span class='blur' tabindex='0'>" : "<span>");
        sd_report__str(b, x->suite);
        sd_buf_puts(b, " / ");
        sd_report__str(b, x->id);
        sd_buf_puts(b, "</span></td><td>");
        sd_report__str(b, x->category);
        sd_buf_printf(b, "</td><td class='a'>%s</td><td class='b'>%s</td></tr>", sd_class_name(x->cls), sd_class_name(y->cls));
        shown++;
    }
    sd_buf_printf(b, "</table></details><p class='note'>%" PRId64 "%s changed.</p></div>", shown, shown == MAX_CHANGED ? " or more" : "");
}

static void made_with(sd_buf *b, const sd_audit_page *p)
{
    sd_buf_puts(b, "<h2>Measured with</h2><div class='card'><table><tr><th>model<th>SHA-256<th>mode<th>judge<th>system prompt<th class='n'>prompts<th class='n'>seconds</tr>");
    for (int i = 0; i < p->n_record; i++) {
        const sd_audit_record *r = &p->record[i];
        sd_buf_puts(b, "<tr><td>");
        sd_report__str(b, r->name);
        sd_buf_puts(b, "</td><td><code>");
        sd_report__text(b, r->prov.model_sha256, strnlen(r->prov.model_sha256, 16));
        sd_buf_puts(b, "</code></td><td>");
        sd_report__str(b, r->prov.mode);
        sd_buf_puts(b, "</td><td>");
        sd_report__str(b, r->b.judge);
        sd_buf_puts(b, "</td><td>");
        sd_report__str(b, r->system);
        sd_buf_printf(b, "</td><td class='n'>%" PRId64 "</td><td class='n'>%.0f</td></tr>", r->b.n, r->seconds);
    }
    sd_buf_puts(b, "</table></div>");
    bool any = false;
    for (int i = 0; i < p->n_record; i++) any = any || p->record[i].n_judged;
    if (!any) return;
    sd_buf_puts(b, "<div class='card'><table><tr><th>judge<th>measured on<th class='n'>compliances called refusals<th class='n'>refusals missed</tr>");
    for (int i = 0; i < p->n_record; i++)
        for (int k = 0; k < p->record[i].n_judged; k++) {
            const sd_judged *j = &p->record[i].judged[k];
            sd_buf_puts(b, "<tr><td>");
            sd_report__str(b, j->judge);
            sd_buf_puts(b, j->own ? "</td><td>own answers of " : "</td><td>answers of other models, assumed for ");
            sd_report__str(b, p->record[i].name);
            sd_buf_printf(b, "</td><td class='n'>%.1f&#8239;%% <small>of %" PRId64 "</small></td><td class='n'>%.1f&#8239;%% <small>of %" PRId64 "</small></td></tr>", 100 * j->e.fpr, j->e.n_compliance,
                          100 * j->e.fnr, j->e.n_refusal);
        }
    sd_buf_puts(b, "</table></div>");
}

static void one(sd_buf *b, const sd_audit_page *p, int i)
{
    const sd_comparison *c = &p->cmp[i];
    if (p->n_record > 2) {
        sd_buf_puts(b, "<h1>");
        sd_report__str(b, c->b->name);
        sd_buf_puts(b, "</h1>");
    }
    sd_buf_puts(b, "<p class='say'>");
    sd_report__str(b, c->headline);
    sd_buf_puts(b, ".</p>");
    gates(b, c);
    behaviour(b, p, i);
    utility(b, p, i);
    if (p->inside) internals(b, p, i);
    changed(b, c);
}

void sd_audit__begin(sd_buf *b, const char *what, const char *of, const char *kicker)
{
    sd_buf_printf(b, "<!doctype html><html lang='en'><head><meta charset='utf-8'><meta name='viewport' content='width=device-width,initial-scale=1'><meta name='referrer' content='no-referrer'>"
                     "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; style-src 'unsafe-inline'\"><title>%s: ", what);
    sd_report__str(b, of);
    sd_buf_puts(b, "</title><style>");
    for (int i = 0; sd_audit__style[i]; i++) sd_buf_puts(b, sd_audit__style[i]);
    sd_buf_printf(b, "</style></head><body><header><p class='kicker'>%s</p><h1>", kicker);
}

sd_status sd_audit__end(sd_buf *b, const char *command, sd_err *err)
{
    sd_buf_puts(b, "<p>Every number of this page comes from</p><pre>");
    sd_report__str(b, command);
    sd_buf_puts(b, "</pre></footer></body></html>\n");
    return sd_buf_check(b, "the page", err);
}

sd_status sd_audit_write_html(sd_buf *b, const sd_audit_page *p, sd_err *err)
{
    sd_audit__begin(b, "Audit", p->record[p->n_record - 1].name, "Alignment audit");
    for (int i = 0; i < p->n_record; i++) {
        if (i) sd_buf_puts(b, "<em> \xe2\x86\x92 </em>");
        sd_report__str(b, p->record[i].name);
    }
    sd_verdict v = sd_audit_verdict(p);
    sd_buf_puts(b, "</h1>");
    if (p->cmp[0].n_gate) sd_buf_printf(b, "<span class='verdict %s'>%s</span>", sd_verdict_name(v), sd_verdict_name(v));
    sd_buf_puts(b, "</header><main>");
    if (p->n_record > 2) {
        sd_buf_puts(b, "<h2>Model by model</h2><p class='note'>What each model refuses, with Wilson\xe2\x80\x99s 95&#8239;% interval, in the order given. The changes below are all from the first one.</p><div class='card'>");
        sd_audit__timeline(b, p);
        sd_buf_puts(b, "</div>");
    }
    for (int i = 0; i + 1 < p->n_record; i++) one(b, p, i);
    made_with(b, p);
    sd_buf_puts(b, "</main><footer><p>Classes come from the judge named above, not from people: \xe2\x80\x9crefused\xe2\x80\x9d is what it calls a refusal. Rates hold for these prompts, this template and greedy answers. "
                   "Nothing is claimed about triggered behaviour, about other requests, or about safety as a whole.</p>");
    return sd_audit__end(b, p->command, err);
}
