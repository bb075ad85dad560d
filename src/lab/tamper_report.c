/* The evidence as JSON and as one page in the style of the audit page. */
#include "lab/audit_html_int.h"
#include "lab/tamper_int.h"

#include <math.h>

static const char *word(bool consistent) { return consistent ? "consistent" : "inconsistent"; }

static void floats(sd_jw *w, const char *key, const float *v, int n)
{
    sd_jw_key(w, key);
    sd_jw_arr(w);
    for (int i = 0; i < n && v; i++) sd_jw_f32(w, v[i]);
    sd_jw_end(w);
}

static void weak_json(sd_jw *w, const sd_tamper *t)
{
    const sd_tamper_weak *k = &t->weak;
    sd_jw_key(w, "without_reference");
    sd_jw_obj(w);
    sd_jw_kbool(w, "measured", k->measured);
    if (k->measured) {
        sd_jw_kstr(w, "verdict", word(k->consistent));
        sd_jw_kf64(w, "gap", k->gap);
        sd_jw_ki64(w, "n_direction", k->n_direction);
        sd_jw_kf64(w, "agreement", k->agreement);
        sd_jw_ki64(w, "layer_from", k->layer0);
        sd_jw_ki64(w, "layer_to", k->layer1 - 1);
        sd_jw_kstr(w, "matrices", sd_tamper_kind_name(k->kind));
        sd_jw_key(w, "weakest");
        sd_jw_arr(w);
        for (int j = 0; j < SD_TAMPER_WEAK; j++) sd_jw_f64(w, k->energy[j]);
        sd_jw_end(w);
        sd_jw_kf64(w, "random_lo", k->random_lo);
        sd_jw_kf64(w, "random_hi", k->random_hi);
        sd_jw_kf64(w, "embedding", k->embed);
        floats(w, "o_proj", t->attn, t->n_layer);
        floats(w, "down_proj", t->mlp, t->n_layer);
    }
    sd_jw_end(w);
}

static void ref_json(sd_jw *w, const sd_tamper_ref *r)
{
    sd_jw_key(w, "with_reference");
    sd_jw_obj(w);
    sd_jw_kstr(w, "verdict", word(r->consistent));
    sd_jw_kf64(w, "relative_change", r->relative);
    sd_jw_ki64(w, "n_matrix", r->n);
    sd_jw_ki64(w, "n_changed", r->n_changed);
    sd_jw_ki64(w, "n_low_rank", r->n_low_rank);
    sd_jw_kbool(w, "low_rank", r->low_rank);
    sd_jw_ki64(w, "n_writer", r->n_writer);
    sd_jw_ki64(w, "n_cut", r->n_cut);
    sd_jw_kf64(w, "shared", r->shared);
    sd_jw_kbool(w, "template_differs", r->template_differs);
    sd_jw_key(w, "changes");
    sd_jw_arr(w);
    for (int64_t i = 0; i < r->n; i++) {
        const sd_tamper_matrix *x = &r->v[i];
        if (isnan(x->relative)) continue;
        sd_jw_obj(w);
        sd_jw_ki64(w, "layer", x->layer);
        sd_jw_kstr(w, "matrix", sd_tamper__role_name[x->role]);
        sd_jw_kf64(w, "relative", x->relative);
        sd_jw_kf64(w, "rank_one", x->rank_one);
        sd_jw_kf64(w, "rank", x->rank);
        if (!isnan(x->removed)) {
            sd_jw_kf64(w, "removed", x->removed);
            sd_jw_kf64(w, "against", x->against);
            sd_jw_kf64(w, "removed_random", x->removed_random);
            sd_jw_kbool(w, "cut", x->cut);
        }
        sd_jw_end(w);
    }
    sd_jw_end(w);
    sd_jw_end(w);
}

void sd_tamper_write_json(sd_jw *w, const sd_tamper *t)
{
    sd_jw_kstr(w, "verdict", word(t->consistent));
    sd_jw_ki64(w, "n_layer", t->n_layer);
    sd_jw_ki64(w, "d_model", t->d);
    weak_json(w, t);
    if (t->ref.measured) ref_json(w, &t->ref);
    sd_jw_key(w, "cannot_see");
    sd_jw_arr(w);
    for (int i = 0; sd_tamper_limits[i]; i++) sd_jw_str(w, sd_tamper_limits[i]);
    sd_jw_end(w);
}

/* ---- the page ---- */

enum { W = 960, H = 210, X0 = 64, TOP = 26, DECADES = 9 };

/* Energies on a logarithmic axis from 1e-9 to 10. */
static double at(double e) { return TOP + H * (1 - (log10(fmax(e, 1e-9)) + DECADES) / (DECADES + 1)); }

static void line(sd_buf *b, const char *cls, const float *v, int n)
{
    sd_buf_printf(b, "<path class='%s' d='", cls);
    for (int i = 0; i < n; i++) sd_buf_printf(b, "%c%.1f %.1f", i ? 'L' : 'M', X0 + (double)(W - X0 - 20) * i / (n > 1 ? n - 1 : 1), at((double)v[i]));
    sd_buf_puts(b, "'/>");
}

static void profile(sd_buf *b, const sd_tamper *t)
{
    const sd_tamper_weak *k = &t->weak;
    sd_buf_printf(b, "<svg viewBox='0 0 %d %d' role='img' aria-label='energy along the weakest direction, by block'><text x='%d' y='12'>energy along the weakest shared direction, by block</text>", W, TOP + H + 30, X0);
    for (int e = 0; e >= -DECADES; e -= 3)
        sd_buf_printf(b, "<line class='grid' x1='%d' x2='%d' y1='%.1f' y2='%.1f'/><text class='q' x='%d' y='%.1f' text-anchor='end'>%g</text>", X0, W - 20, at(pow(10, e)), at(pow(10, e)), X0 - 8,
                      at(pow(10, e)) + 4, pow(10, e));
    for (int side = 0; side < 2; side++) {
        double y = at(side ? k->random_hi : k->random_lo);
        sd_buf_printf(b, "<line class='zero' x1='%d' x2='%d' y1='%.1f' y2='%.1f'/>", X0, W - 20, y, y);
    }
    line(b, "la", t->attn, t->n_layer);
    line(b, "lb", t->mlp, t->n_layer);
    sd_buf_printf(b, "<text class='q' x='%d' y='%d'>block 0</text><text class='q' x='%d' y='%d' text-anchor='end'>block %d</text></svg>", X0, TOP + H + 20, W - 20, TOP + H + 20, t->n_layer - 1);
}

static void weak_html(sd_buf *b, const sd_tamper *t)
{
    const sd_tamper_weak *k = &t->weak;
    sd_buf_puts(b, "<h2>Without a reference</h2>");
    if (!k->measured) {
        sd_buf_puts(b, "<p class='note'>Not measured: fewer than 4 blocks, or narrower than 32.</p>");
        return;
    }
    sd_buf_printf(b, "<p class='note'>The weakest directions of every second block, looked for in the others. Energy 1 is an average direction; random ones lie between the dashed lines (%.2f to %.2f). "
                     "Largest gap between neighbours: %.3g, after %d direction%s, in %s of blocks %d to %d; both halves agree to a cosine of %.2f.</p><div class='card'>",
                  k->random_lo, k->random_hi, k->gap, k->n_direction, k->n_direction == 1 ? "" : "s", sd_tamper_kind_name(k->kind), k->layer0, k->layer1 - 1, k->agreement);
    profile(b, t);
    sd_buf_puts(b, "<p class='key'><span class='a'><i></i>o_proj</span><span class='b'><i></i>down_proj</span></p></div><div class='card'><table><tr><th>weakest directions");
    for (int j = 0; j < SD_TAMPER_WEAK; j++) sd_buf_printf(b, "<th class='n'>%d", j + 1);
    sd_buf_puts(b, "</tr><tr><td>energy in the other half</td>");
    for (int j = 0; j < SD_TAMPER_WEAK; j++) {
        sd_buf_puts(b, "<td class='n'>");
        sd_report__num(b, k->energy[j]);
        sd_buf_puts(b, "</td>");
    }
    sd_buf_puts(b, "</tr></table></div>");
    if (isfinite(k->embed)) sd_buf_printf(b, "<p class='note'>The embedding has energy %.3g along the same direction%s.</p>", k->embed, k->n_direction == 1 ? "" : "s");
}

static void ref_html(sd_buf *b, const sd_tamper_ref *r)
{
    sd_buf_printf(b, "<h2>Beside the reference</h2><p class='note'>%lld of %lld matrices differ, by %.3g of their norm in all; %lld of the changes are of low rank. One direction is cut out of %lld of the %lld matrices "
                     "that write into the residual stream.%s</p>",
                  (long long)r->n_changed, (long long)r->n, r->relative, (long long)r->n_low_rank, (long long)r->n_cut, (long long)r->n_writer,
                  r->template_differs ? " <b>The two render a conversation differently.</b>" : "");
    if (!r->n_changed) return;
    sd_buf_puts(b, "<div class='card'><details open><summary>changes, by block</summary><table><tr><th>matrix<th class='n'>relative<th class='n'>rank one<th class='n'>rank<th class='n'>removed<th class='n'>against<th class='n'>random removed</tr>");
    for (int64_t i = 0; i < r->n; i++) {
        const sd_tamper_matrix *x = &r->v[i];
        if (isnan(x->relative)) continue;
        sd_buf_printf(b, "<tr><td>block %d, %s%s</td>", x->layer, sd_tamper__role_name[x->role], x->cut ? " <span class='fail'>cut</span>" : "");
        const double v[] = {x->relative, x->rank_one, x->rank, x->removed, x->against, x->removed_random};
        for (int j = 0; j < 6; j++) {
            sd_buf_puts(b, "<td class='n'>");
            sd_report__num(b, v[j]);
            sd_buf_puts(b, "</td>");
        }
        sd_buf_puts(b, "</tr>");
    }
    sd_buf_puts(b, "</table></details><p class='note'>Rank one: share of the change in its first singular value. Rank: participation rank. Removed, against: along the one direction that most matrices share; "
                   "a cut has 1 and 1.</p></div>");
}

sd_status sd_tamper_write_html(sd_buf *b, const sd_tamper_page *p, sd_err *err)
{
    const sd_tamper *t = p->t;
    sd_audit__begin(b, "Weights", p->name, "Was a direction cut out?");
    sd_report__str(b, p->name);
    sd_buf_printf(b, "</h1><span class='verdict %s'>%s with a cut</span></header><main><p class='say'>These weights are %s with one to four directions having been cut out of many blocks, as is done to remove refusals. ",
                  t->consistent ? "fail" : "inconclusive", word(t->consistent), word(t->consistent));
    sd_buf_puts(b, "What the direction stood for, weights alone do not say.</p>");
    if (t->ref.measured) {
        sd_buf_puts(b, "<p class='note'>Reference: ");
        sd_report__str(b, p->reference);
        sd_buf_puts(b, "</p>");
        ref_html(b, &t->ref);
    }
    weak_html(b, t);
    sd_buf_puts(b, "<h2>What this cannot see</h2><div class='card'><ul>");
    for (int i = 0; sd_tamper_limits[i]; i++) {
        sd_buf_puts(b, "<li>");
        sd_report__str(b, sd_tamper_limits[i]);
        sd_buf_puts(b, "</li>");
    }
    sd_buf_puts(b, "</ul></div></main><footer>");
    return sd_audit__end(b, p->command, err);
}
