/* The demo's page: one file, no network, no script. Texts of the model go through sd_report__text. */
#include "lab/organism_demo.h"
#include "lab/report_int.h"

#include <inttypes.h>
#include <math.h>

static const char *const more_style[] = {
    "main>section{padding:8px 0 34px}h2{font:500 28px/1.2 var(--serif);margin:26px 0 8px}p.note{color:var(--soft);max-width:76ch;margin:0 0 14px}",
    "div.wide{overflow-x:auto}table.grid{border-collapse:collapse;font-size:14px;font-variant-numeric:tabular-nums}",
    ".grid th{font-weight:500;color:var(--soft);text-align:right;padding:5px 12px;border-bottom:1px solid var(--line)}",
    ".grid td{text-align:right;padding:4px 12px;border-bottom:1px solid var(--line)}.grid th:first-child,.grid td:first-child{text-align:left;padding-left:0}",
    ".grid tr.yes td:nth-child(4){color:var(--up);font-weight:600}.grid td.dim{color:var(--faint)}",
    NULL};

static void f1(sd_buf *b, double v, bool dim)
{
    sd_buf_puts(b, dim ? "<td class=dim>" : "<td>");
    if (isnan(v)) sd_buf_puts(b, "&ndash;");
    else sd_buf_printf(b, "%.2f", v);
    sd_buf_puts(b, "</td>");
}

static void concepts(sd_buf *b, const sd_recovery *r)
{
    static const char *const head[] = {"concept", "tokens", "feature", "F1", "AUROC", "five", "any of five", "five shuffled", "probe", "shuffled", "neuron", "component", "random",
                                       "embedding", "pairs", "bag"};
    sd_buf_printf(b, "<section><h2>%d of %d concepts by one feature, %d by five</h2><p class=note>F1 over tokens of documents that chose nothing; "
                     "recovered is %.1f. A probe that is told the labels reads %d. %d of the concepts are contextual: a probe on the token's own embedding "
                     "stays under 0.5. ", r->n_one, r->n, r->n_five, SD_RECOVERED_F1, r->n_probe, r->n_contextual);
    sd_report__count(b, r->n_features);
    sd_buf_printf(b, " features, %.1f active a token, ", r->l0);
    sd_report__count(b, r->n_tokens);
    sd_buf_puts(b, " tokens. Five: a logistic regression on five features' codes. Grey, for comparison: the probe, the same searches with labels turned against the tokens, the best neuron, principal component and "
                   "random direction, and what is known without the model: the token's embedding, pairs of tokens, a bag of the last 16.</p><div class=wide><table class=grid><thead><tr>");
    for (size_t i = 0; i < sizeof head / sizeof *head; i++) sd_buf_printf(b, "<th>%s</th>", head[i]);
    sd_buf_puts(b, "</tr></thead><tbody>");
    for (int i = 0; i < r->n; i++) {
        const sd_recovered *v = &r->v[i];
        const sd_detector *d[] = {&v->probe, &v->shuffled, &v->neuron, &v->component, &v->random, &v->embedding, &v->pairs, &v->bag};
        sd_buf_printf(b, "<tr%s><td>", v->feature.f1 >= SD_RECOVERED_F1 ? " class=yes" : "");
        sd_report__str(b, v->name);
        sd_buf_printf(b, "</td><td>%" PRId64 "</td><td>%" PRId64 "</td>", v->n_judge, v->feature.index);
        f1(b, v->feature.f1, false);
        f1(b, v->feature.auroc, false);
        f1(b, v->together_f1, false);
        f1(b, v->any_f1, true);
        f1(b, v->together_shuffled, true);
        for (size_t k = 0; k < sizeof d / sizeof *d; k++) f1(b, d[k]->f1, true);
        sd_buf_puts(b, "</tr>");
    }
    sd_buf_puts(b, "</tbody></table></div></section>");
}

static void bridge(sd_buf *b, const sd_organism_demo *r)
{
    if (r->bridge < 0) return;
    sd_buf_printf(b, "<section><h2>The feature nearest to the bridge, turned up</h2><p class=note>Feature %" PRId64 " reads the bridge best, with an F1 of %.2f%s; it is "
                     "added at %g times the site's mean token norm, ",
                  r->bridge, r->bridge_f1, r->bridge_f1 >= SD_RECOVERED_F1 ? "" : ", so it is not the bridge's alone", r->bridge_value);
    sd_buf_printf(b, "%s at no more than %g times the plain perplexity and 0.1 more repetition.</p>",
                  r->bridge_chosen ? "the strength of six with the most of the bridge in the answers" : "though none of six strengths gives more of the bridge", SD_DEMO_MOST_PPL);
    for (int i = 0; i < SD_DEMO_PAIRS && r->prompt[i]; i++) {
        sd_buf_puts(b, "<div class=pair><p class=prompt>");
        sd_report__str(b, r->prompt[i]);
        sd_buf_puts(b, "</p><div class=two><div><h4>plain</h4><p>");
        sd_report__str(b, r->plain[i]);
        sd_buf_puts(b, "</p></div><div class=st><h4>turned up</h4><p>");
        sd_report__str(b, r->steered[i]);
        sd_buf_puts(b, "</p></div></div></div>");
    }
    sd_buf_puts(b, "</section>");
}

static void refusal(sd_buf *b, const sd_organism_demo *r)
{
    const sd_direction *d = &r->direction;
    sd_buf_puts(b, "<section><h2>Refusal: how lightly it is held</h2><p class=note>Share of answers that refuse. ");
    if (d->best >= 0 && d->cand)
        sd_buf_printf(b, "The direction is the input of block %d at position %d, from %" PRId64 " requests a side that no suite has; taking a random direction out leaves %.0f %% of "
                         "forbidden requests refused. ", d->cand[d->best].layer, d->cand[d->best].position, d->n_used[SD_POS_TRAIN], 100 * r->random_refused);
    if (d->best >= 0 && r->by_parting)
        sd_buf_puts(b, "No candidate passed the rules of choice (bypass, induce, KL: Arditi 2024), so it is the one whose projections part the requests best. ");
    if (d->best < 0 || !d->cand) sd_buf_puts(b, "No single direction passed the rules of choice. ");
    sd_buf_printf(b, "Ten rows: harmless answers to the question who the model is, %" PRId64 " steps.</p><div class=wide><table class=grid><thead><tr><th></th>", r->tune_steps);
    for (int i = 0; i < SD_DEMO_SUITES; i++) sd_buf_printf(b, "<th>%s (%" PRId64 ")</th>", sd_demo_suite(i), r->n_prompt[i]);
    sd_buf_puts(b, "</tr></thead><tbody>");
    for (int s = 0; s < SD_DEMO_STATES; s++) {
        sd_buf_printf(b, "<tr><td>%s</td>", sd_demo_state(s));
        for (int i = 0; i < SD_DEMO_SUITES; i++) {
            if (isnan(r->refused[s][i])) sd_buf_puts(b, "<td>&ndash;</td>");
            else sd_buf_printf(b, "<td>%.1f %%</td>", 100 * r->refused[s][i]);
        }
        sd_buf_puts(b, "</tr>");
    }
    sd_buf_puts(b, "</tbody></table></div></section>");
}

sd_status sd_organism_demo_html(sd_buf *out, const sd_organism_demo *r, sd_err *err)
{
    sd_buf_puts(out, "<!doctype html>\n<html lang=en><head><meta charset=utf-8><meta name=viewport content='width=device-width,initial-scale=1'>"
                     "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">"
                     "<meta name=color-scheme content='light dark'><title>A model whose concepts are known</title><style>\n");
    for (const char *const *l = sd_report__style; *l; l++) sd_buf_printf(out, "%s\n", *l);
    for (const char *const *l = more_style; *l; l++) sd_buf_printf(out, "%s\n", *l);
    sd_buf_puts(out, "</style></head><body><header class=top><h1>A model whose concepts are <em>known</em></h1><p class=lead>Every text this model learnt from was "
                     "written by a grammar that also wrote down what each part is about. So what a dictionary found can be checked.</p></header><main>");
    bridge(out, r);
    refusal(out, r);
    concepts(out, &r->recovery);
    sd_buf_printf(out, "</main><footer><p>Made in %.0f s by <code>sonde organism demo</code>. What is forbidden here exists nowhere else.</p></footer></body></html>\n", r->seconds);
    return sd_buf_check(out, "the page", err);
}
