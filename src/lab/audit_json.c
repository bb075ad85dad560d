/* A comparison as JSON (CONTRACT section 6), and its card in Markdown. */
#include "lab/audit_again.h"

#include <inttypes.h>
#include <math.h>

sd_verdict sd_audit_verdict(const sd_audit_page *p)
{
    sd_verdict worst = SD_VERDICT_PASS;
    for (int i = 0; i + 1 < p->n_record; i++)
        if (p->cmp[i].verdict == SD_VERDICT_FAIL || (p->cmp[i].verdict == SD_VERDICT_INCONCLUSIVE && worst == SD_VERDICT_PASS)) worst = p->cmp[i].verdict;
    return worst;
}

/* diff = b - a: below zero is a drop. */
static void change_fields(sd_jw *w, const sd_change *x)
{
    sd_jw_kf64(w, "a", x->a.ci.est);
    sd_jw_kf64(w, "a_lo", x->a.ci.lo);
    sd_jw_kf64(w, "a_hi", x->a.ci.hi);
    sd_jw_kf64(w, "b", x->b.ci.est);
    sd_jw_kf64(w, "b_lo", x->b.ci.lo);
    sd_jw_kf64(w, "b_hi", x->b.ci.hi);
    sd_jw_kf64(w, "diff", 0 - x->drop.est);
    sd_jw_kf64(w, "lo", 0 - x->drop.hi);
    sd_jw_kf64(w, "hi", 0 - x->drop.lo);
    sd_jw_ki64(w, "n", x->a.n);
    sd_jw_ki64(w, "both", x->table.both);
    sd_jw_ki64(w, "only_a", x->table.first);
    sd_jw_ki64(w, "only_b", x->table.second);
    sd_jw_kf64(w, "mcnemar_p", x->a.n ? x->p : NAN);
    sd_jw_kf64(w, "smallest_visible_drop", x->visible);
}

/* The command that recomputes what stands at `where` of comparison i. */
static void again(sd_jw *w, const sd_audit_page *p, int i, const char *where, bool inside)
{
    sd_buf b;
    sd_buf_init(&b, 1 << 16);
    sd_audit_again(&b, p, i, where, inside);
    sd_jw_kstr(w, "command", sd_buf_str(&b));
    sd_buf_release(&b);
}

static void change(sd_jw *w, const sd_audit_page *p, int i, const char *key, const sd_change *x)
{
    char where[64];
    sd_jw_key(w, key);
    sd_jw_obj(w);
    change_fields(w, x);
    snprintf(where, sizeof where, ".%s", key);
    again(w, p, i, where, false);
    sd_jw_end(w);
}

static void gates(sd_jw *w, const sd_audit_page *p, int at)
{
    const sd_comparison *c = &p->cmp[at];
    sd_jw_key(w, "gates");
    sd_jw_arr(w);
    for (int i = 0; i < c->n_gate; i++) {
        const sd_gate_result *g = &c->gate[i];
        sd_jw_obj(w);
        sd_jw_kstr(w, "gate", g->gate.text);
        sd_jw_kstr(w, "verdict", sd_verdict_name(g->verdict));
        if (*g->why) sd_jw_kstr(w, "why", g->why);
        sd_jw_kf64(w, "value", g->ci.est);
        sd_jw_kf64(w, "lo", g->ci.lo);
        sd_jw_kf64(w, "hi", g->ci.hi);
        sd_jw_ki64(w, "n", g->n);
        sd_jw_kf64(w, "smallest_visible", g->visible);
        sd_jw_key(w, "n_needed");
        if (g->n_needed < 0) sd_jw_null(w);
        else sd_jw_i64(w, g->n_needed);
        sd_jw_end(w);
    }
    sd_jw_end(w);
}

static void floats(sd_jw *w, const char *key, const float *v, int n)
{
    sd_jw_key(w, key);
    sd_jw_arr(w);
    for (int i = 0; i < n && v; i++) sd_jw_f32(w, v[i]);
    sd_jw_end(w);
}

static void drift(sd_jw *w, const sd_drift *d)
{
    sd_jw_key(w, "features");
    sd_jw_obj(w);
    sd_jw_kstr(w, "site", d->site);
    sd_jw_ki64(w, "n_feature", d->n_feature);
    sd_jw_ki64(w, "n_tested", d->n_tested);
    sd_jw_ki64(w, "n_safety_a", d->n_safety_a);
    sd_jw_ki64(w, "n_safety_b", d->n_safety_b);
    sd_jw_ki64(w, "n_moved", d->n_moved);
    sd_jw_ki64(w, "n_appeared", d->n_appeared);
    sd_jw_ki64(w, "n_gone", d->n_gone);
    sd_jw_ki64(w, "n_raised", d->n_raised);
    sd_jw_ki64(w, "n_lowered", d->n_lowered);
    sd_jw_kf64(w, "floor_a", d->floor_a);
    sd_jw_kf64(w, "floor_b", d->floor_b);
    sd_jw_key(w, "largest");
    sd_jw_arr(w);
    for (int i = 0; i < d->n_row; i++) {
        const sd_drift_row *r = &d->row[i];
        sd_jw_obj(w);
        sd_jw_ki64(w, "index", r->feature);
        sd_jw_kf64(w, "harmful_a", r->a[0]);
        sd_jw_kf64(w, "harmful_b", r->b[0]);
        sd_jw_kf64(w, "harmless_a", r->a[1]);
        sd_jw_kf64(w, "harmless_b", r->b[1]);
        sd_jw_kf64(w, "activation_a", r->act_a);
        sd_jw_kf64(w, "activation_b", r->act_b);
        sd_jw_kf64(w, "holm_p", r->p_holm);
        sd_jw_kbool(w, "safety_a", r->safety_a);
        sd_jw_kbool(w, "safety_b", r->safety_b);
        sd_jw_end(w);
    }
    sd_jw_end(w);
    sd_jw_end(w);
}

static void raised(sd_jw *w, const sd_raised *r)
{
    sd_jw_key(w, "raised");
    sd_jw_obj(w);
    sd_jw_ki64(w, "n_harmful", r->n_harmful);
    if (r->asked) {
        sd_jw_ki64(w, "refused_a", r->refused_a);
        sd_jw_ki64(w, "refused_b", r->refused_b);
    }
    if (*r->why) sd_jw_kstr(w, "why", r->why);
    else {
        sd_jw_ki64(w, "floor", r->floor);
        sd_jw_ki64(w, "n_found", r->n_found);
    }
    sd_jw_key(w, "put_back");
    sd_jw_arr(w);
    for (int i = 0; i < r->n; i++) {
        const sd_raised_row *v = &r->row[i];
        sd_jw_obj(w);
        sd_jw_ki64(w, "index", v->feature);
        sd_jw_kf64(w, "activation_a", v->act_a);
        sd_jw_kf64(w, "activation_b", v->act_b);
        sd_jw_ki64(w, "refused", v->refused);
        sd_jw_kf64(w, "holm_p", v->p_holm);
        sd_jw_kbool(w, "found", v->found);
        sd_jw_end(w);
    }
    sd_jw_end(w);
    sd_jw_end(w);
}

static void inside(sd_jw *w, const sd_audit_page *p, int i)
{
    const sd_inside *x = &p->inside[i];
    sd_jw_key(w, "inside");
    sd_jw_obj(w);
    again(w, p, i, ".inside", true);
    sd_jw_kbool(w, "comparable", x->comparable);
    if (!x->comparable) sd_jw_kstr(w, "why", x->why);
    if (x->comparable) {
        sd_jw_ki64(w, "n_harmful", x->n_harmful);
        sd_jw_ki64(w, "n_harmless", x->n_harmless);
        floats(w, "direction_cosine", x->cosine, x->n_layer);
        floats(w, "gap_a", x->gap_a, x->n_layer);
        floats(w, "gap_b", x->gap_b, x->n_layer);
    }
    if (x->has_drift) drift(w, &x->drift), raised(w, &x->raised);
    if (x->weights_comparable) {
        sd_jw_key(w, "weights");
        sd_jw_obj(w);
        sd_jw_kf64(w, "relative_change", x->weight_total);
        sd_jw_ki64(w, "n_matrix", x->n_matrix);
        sd_jw_ki64(w, "n_changed", x->n_changed);
        if (x->n_requantised) {
            sd_jw_key(w, "quantisation");
            sd_jw_obj(w);
            sd_jw_ki64(w, "n_matrix", x->n_requantised);
            sd_jw_kf64(w, "relative_change", x->requantised);
            sd_jw_kf64(w, "by_rounding_alone", x->rounding);
            sd_jw_end(w);
        }
        sd_jw_key(w, "largest");
        sd_jw_arr(w);
        for (int k = 0; k < x->n_top; k++) {
            sd_jw_obj(w);
            sd_jw_kstr(w, "name", x->top[k].name);
            sd_jw_kf64(w, "relative_change", x->top[k].relative);
            sd_jw_kf64(w, "rank_one_energy", x->top[k].rank_one);
            sd_jw_end(w);
        }
        sd_jw_end(w);
        sd_jw_end(w);
    }
    sd_jw_end(w);
}

/* "choice", "choice_lo", "choice_hi", "choice_n". */
static void beside_rate(sd_jw *w, const char *key, int64_t k, int64_t n)
{
    char name[32];
    sd_rate r = sd_rate_of(k, n);
    sd_jw_kf64(w, key, n ? r.ci.est : NAN);
    snprintf(name, sizeof name, "%s_lo", key);
    sd_jw_kf64(w, name, n ? r.ci.lo : NAN);
    snprintf(name, sizeof name, "%s_hi", key);
    sd_jw_kf64(w, name, n ? r.ci.hi : NAN);
    snprintf(name, sizeof name, "%s_n", key);
    sd_jw_ki64(w, name, n);
}

/* What one side did with a prompt. */
static void side(sd_jw *w, const char *key, const sd_reply *r)
{
    sd_jw_key(w, key);
    sd_jw_obj(w);
    sd_jw_kstr(w, "class", sd_class_name(r->cls));
    sd_jw_ki64(w, "n_tokens", r->n_tokens);
    sd_audit_write_hash(w, "answer", r->hash);
    sd_jw_end(w);
}

/* As in records: names, classes, lengths and hashes; nothing that was asked or answered. */
static void pairs(sd_jw *w, const sd_comparison *c)
{
    sd_jw_key(w, "pairs");
    sd_jw_arr(w);
    for (int64_t i = 0; i < c->n_paired; i++) {
        const sd_reply *r = c->pair[i].a;
        sd_jw_obj(w);
        sd_audit_write_prompt(w, r);
        sd_audit_write_hash(w, "prompt", r->key);
        side(w, "a", r);
        side(w, "b", c->pair[i].b);
        sd_jw_end(w);
    }
    sd_jw_end(w);
}

static void model(sd_jw *w, const sd_audit_record *r)
{
    sd_jw_obj(w);
    sd_jw_kstr(w, "model", r->model);
    sd_jw_kstr(w, "name", r->name);
    sd_jw_kstr(w, "sha256", r->prov.model_sha256);
    sd_jw_kstr(w, "mode", r->prov.mode);
    sd_jw_kstr(w, "judge", r->b.judge);
    sd_jw_ki64(w, "n_gen", r->b.n_gen);
    sd_jw_kstr(w, "system", r->system);
    if (*r->ablated) sd_jw_kstr(w, "ablated", r->ablated);
    sd_jw_ki64(w, "unscored", sd_audit_count(&r->b, SD_AXIS_UNKNOWN, SD_CLASS_UNSCORED));
    sd_audit_write_rate(w, "refusal", sd_audit_refusal(&r->b, SD_AXIS_HARMFUL, NULL));
    sd_audit_write_rate(w, "over_refusal", sd_audit_refusal(&r->b, SD_AXIS_HARMLESS, NULL));
    const sd_utility *u = &r->b.utility;
    sd_jw_kf64(w, "ce_loss", u->ce_loss);
    beside_rate(w, "choice", u->choice_right, u->choice_n);
    beside_rate(w, "identity", u->identity_same, u->identity_n);
    beside_rate(w, "sycophancy", u->sycophancy_flips, u->sycophancy_n);
    sd_jw_key(w, "templates");
    sd_jw_arr(w);
    for (int i = 0; i < r->b.n_tpl; i++) {
        sd_jw_obj(w);
        sd_jw_kstr(w, "name", r->b.tpl[i].name);
        sd_jw_ki64(w, "refused", r->b.tpl[i].refused);
        sd_jw_ki64(w, "n", r->b.tpl[i].n);
        sd_jw_end(w);
    }
    sd_jw_end(w);
    sd_jw_end(w);
}

static void comparison(sd_jw *w, const sd_audit_page *p, int i)
{
    const sd_comparison *c = &p->cmp[i];
    char where[64];
    sd_jw_kstr(w, "headline", c->headline);
    change(w, p, i, "refusal", &c->refusal);
    change(w, p, i, "over_refusal", &c->over_refusal);
    change(w, p, i, "incoherent", &c->incoherent);
    sd_jw_key(w, "categories");
    sd_jw_arr(w);
    for (int k = 0; k < c->n_category; k++) {
        sd_jw_obj(w);
        sd_jw_kstr(w, "category", c->category[k].what);
        change_fields(w, &c->category[k]);
        sd_jw_kf64(w, "holm_p", c->category[k].p_holm);
        snprintf(where, sizeof where, ".categories[%d]", k);
        again(w, p, i, where, false);
        sd_jw_end(w);
    }
    sd_jw_end(w);
    gates(w, p, i);
    sd_jw_ki64(w, "n_paired", c->n_paired);
    sd_jw_ki64(w, "n_unpaired", c->n_unpaired);
    sd_jw_ki64(w, "n_unscored", c->n_unscored);
    sd_jw_kbool(w, "same_rendering", c->same_rendering);
    sd_jw_kbool(w, "same_judge", c->same_judge);
    sd_jw_kbool(w, "same_length", c->same_length);
    sd_jw_kbool(w, "same_system", c->same_system);
    sd_jw_kbool(w, "same_ablation", c->same_ablation);
    sd_jw_kbool(w, "same_text", c->same_text);
    sd_caution caution[SD_MAX_CAUTION];
    int n_caution = sd_audit_cautions(caution, c);
    sd_jw_key(w, "cautions");
    sd_jw_arr(w);
    for (int k = 0; k < n_caution; k++) sd_jw_str(w, caution[k].text);
    sd_jw_end(w);
    if (p->inside) inside(w, p, i);
    pairs(w, c);
}

/* Without a gate nothing was judged: null. */
static void verdict(sd_jw *w, int n_gate, sd_verdict v)
{
    if (n_gate) {
        sd_jw_kstr(w, "verdict", sd_verdict_name(v));
        return;
    }
    sd_jw_key(w, "verdict");
    sd_jw_null(w);
}

void sd_audit_write_json(sd_jw *w, const sd_audit_page *p)
{
    verdict(w, p->cmp[0].n_gate, sd_audit_verdict(p));
    sd_jw_kstr(w, "command", p->command);
    sd_jw_key(w, "models");
    sd_jw_arr(w);
    for (int i = 0; i < p->n_record; i++) model(w, &p->record[i]);
    sd_jw_end(w);
    comparison(w, p, 0);
    if (p->n_record < 3) return;
    sd_jw_key(w, "comparisons");
    sd_jw_arr(w);
    for (int i = 0; i + 1 < p->n_record; i++) {
        sd_jw_obj(w);
        sd_jw_kstr(w, "with", p->record[i + 1].name);
        verdict(w, p->cmp[i].n_gate, p->cmp[i].verdict);
        comparison(w, p, i);
        sd_jw_end(w);
    }
    sd_jw_end(w);
}

/* ---- the card ---- */

/* Text of files in a Markdown table: no pipes, no line ends, no markup. */
static void cell(sd_buf *b, const char *s)
{
    for (; *s; s++) {
        if (strchr("|`*_<>[]\\#", *s)) sd_buf_putc(b, '\\');
        sd_buf_putc(b, *s == '\n' || *s == '\r' ? ' ' : *s);
    }
}

static void card_change(sd_buf *b, const sd_change *x, const char *label)
{
    if (!x->a.n) return;
    sd_buf_puts(b, "| ");
    cell(b, label);
    sd_buf_printf(b, " | %.1f %% | %.1f %% | %+.1f (%.1f to %.1f) | %" PRId64 " |\n", 100 * x->a.ci.est, 100 * x->b.ci.est, 0 - 100 * x->drop.est, 0 - 100 * x->drop.hi,
                  0 - 100 * x->drop.lo, x->a.n);
}

/* Each side with its own interval: these are not paired. */
static void card_beside(sd_buf *b, const sd_audit_beside *x)
{
    sd_buf_puts(b, "| ");
    cell(b, x->label);
    for (int i = 0; i < 2; i++) {
        const sd_rate *r = &x->rate[i];
        if (isnan(x->value[i])) sd_buf_puts(b, " | -");
        else if (x->is_rate) sd_buf_printf(b, " | %.1f %% (%.1f to %.1f)", 100 * r->ci.est, 100 * r->ci.lo, 100 * r->ci.hi);
        else sd_buf_printf(b, " | %.4f", x->value[i]);
    }
    double by = (x->value[1] - x->value[0]) * (x->is_rate ? 100 : 1);
    if (isnan(by)) sd_buf_puts(b, " | | |\n");
    else if (!x->is_rate) sd_buf_printf(b, " | %+.4f nats | |\n", by);
    else sd_buf_printf(b, " | %+.1f | %" PRId64 " |\n", by, x->rate[1].n);
}

sd_status sd_audit_write_card(sd_buf *b, const sd_audit_page *p, sd_err *err)
{
    for (int i = 0; i + 1 < p->n_record; i++) {
        const sd_comparison *c = &p->cmp[i];
        sd_buf_puts(b, "## ");
        cell(b, c->a->name);
        sd_buf_puts(b, " -> ");
        cell(b, c->b->name);
        sd_buf_printf(b, "%s%s\n\n%s.\n\n| measure | before | after | change, points (95 %% interval) | prompts |\n|---|---|---|---|---|\n", c->n_gate ? ": " : "",
                      c->n_gate ? sd_verdict_name(c->verdict) : "", c->headline);
        card_change(b, &c->refusal, "harmful requests refused");
        card_change(b, &c->over_refusal, "harmless requests refused");
        card_change(b, &c->incoherent, "incoherent answers");
        sd_audit_beside v[SD_MAX_BESIDE];
        int n = sd_audit_besides(v, c->a, c->b);
        for (int k = 0; k < n; k++) card_beside(b, &v[k]);
        for (int g = 0; g < c->n_gate; g++) {
            const sd_gate_result *r = &c->gate[g];
            sd_buf_printf(b, "\nGate `%s`: %s (%.3f, %.3f to %.3f%s", r->gate.text, sd_verdict_name(r->verdict), r->ci.est, r->ci.lo, r->ci.hi, *r->why ? "; " : "");
            cell(b, r->why);
            sd_buf_puts(b, ").\n");
        }
        sd_buf_printf(b, "\n%" PRId64 " prompts in both, %" PRId64 " unscored and in no rate. Judge: ", c->n_paired, c->n_unscored);
        cell(b, c->a->b.judge);
        if (!c->same_judge) {
            sd_buf_puts(b, "; after: ");
            cell(b, c->b->b.judge);
        }
        sd_buf_puts(b, ". No claim about triggered behaviour.\n\n");
    }
    sd_buf_puts(b, "Recompute: `");
    sd_audit_again_all(b, p);
    sd_buf_puts(b, "`\n");
    return sd_buf_check(b, "the card", err);
}
