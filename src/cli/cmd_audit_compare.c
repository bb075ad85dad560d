/* sonde audit compare: two or more models on the same prompts, as a gate. */
#include "cli/audit_args.h"
#include "model/lora.h"
#include "base/map.h"
#include <math.h>

typedef struct args {
    audit_args a;
    opt_list gate;
    const char *card, *dict;
    bool allow, no_inside;
} args;

static const cli_opt opts[] = {
    AUDIT_OPTS(args),
    {0, "fail-on", OPT_MULTI, AT(args, gate), .arg = "GATE", .help = "refusal_drop, over_refusal_rise, incoherent_rise or ce_rise, >, a number; exit 3 when it is not passed"},
    {0, "allow-inconclusive", OPT_BOOL, AT(args, allow), .with = "fail-on", .help = "exit 0 when the prompts are too few to tell, though not when two ways of measuring forbid it"},
    {0, "card", OPT_STR, AT(args, card), .arg = "FILE", .help = "write a card in Markdown as well"},
    {0, "dict", OPT_STR, AT(args, dict), .arg = "DIR", .help = "a dictionary: which of its features that tell harmful from harmless moved"},
    {0, "no-inside", OPT_BOOL, AT(args, no_inside), .help = "compare behaviour only, not activations and weights"},
    OPT_END};

enum { MAX_MODELS = 8 };

/* Everything of one run of the command. */
typedef struct study {
    audit_setup setup;
    sd_audit_record record[MAX_MODELS];
    sd_comparison cmp[MAX_MODELS];
    sd_inside inside[MAX_MODELS];
    sd_gate gate[SD_MAX_GATES];
    sd_model *base;
    sd_dict *dict;
    sd_site site;
    int n, n_gate;
} study;

static void release(study *s)
{
    for (int i = 0; i < s->n; i++) {
        sd_audit_record_release(&s->record[i]);
        sd_comparison_release(&s->cmp[i]);
        sd_inside_release(&s->inside[i]);
    }
    sd_model_close(s->base);
    sd_dict_free(s->dict);
    audit_setup_release(&s->setup);
    sd_free(s);
}

static bool is_record(const char *path)
{
    return sd_slice_ends(sd_slice_of(path), ".json");
}

/* Records were asked before: with nothing to measure, what says how has nothing to act on. */
static sd_status check_line(cli *c, const args *a, sd_err *err)
{
    static const char *const asks[] = {"suite", "system", "predict", "limit", "quick", "phrases", "judge-labels", "linear-judge", "text", "identity", "endpoint-model",
                                       "judge-url", "judge-model", "api-key-file", "timeout", "templates", "dict", "site", "mode", "memory", "kv", "seed"};
    bool measured = false;
    for (int i = 0; i < c->n_arg; i++) measured = measured || !is_record(c->arg[i]);
    for (size_t i = 0; i < sizeof asks / sizeof *asks && !measured; i++)
        if (opt_given(c, asks[i])) return cli_refuse(c, err, "--%s says how a model is measured, and records alone are compared here", asks[i]);
    if (a->dict && a->no_inside) return cli_refuse(c, err, "--dict looks inside, which --no-inside leaves out");
    if (c->site && !a->dict) return cli_refuse(c, err, "--site is where --dict reads: give the dictionary too");
    return SD_OK;
}

/* Why nothing is seen inside the first model and model i. */
static void behaviour_only(sd_inside *x, const char *first, const char *other)
{
    const char *it = is_record(first) || sd_endpoint_is(first) ? first : other;
    *x = (sd_inside){0};
    snprintf(x->why, sizeof x->why, "%s: behaviour only", is_record(it) ? "a record holds no activations and no weights" : "an endpoint shows neither activations nor weights");
}

/* Records are read, and models looked for, before the first answer: a name that is wrong costs no hours. */
static sd_status find_all(cli *c, study *s, sd_err *err)
{
    sd_status st = SD_OK;
    for (int i = 0; i < c->n_arg && !st; i++) {
        s->n = i + 1;
        if (is_record(c->arg[i])) st = sd_audit_record_read(&s->record[i], c->arg[i], err);
        else if (!s->setup.n_suite) st = sd_fail(err, SD_E_ARG, "%.200s is to be measured, and no --suite says with what", c->arg[i]);
        else if (!sd_endpoint_is(c->arg[i])) st = cli_check_model(c->arg[i], err);
    }
    return st;
}

/* The first model stays open, to be looked into beside each of the others. */
static sd_status measure(cli *c, study *s, const args *a, sd_err *err)
{
    sd_status st = SD_OK;
    for (int i = 0; i < c->n_arg && !st; i++) {
        sd_model *m = NULL;
        s->setup.first = i > 0 ? &s->record[0] : NULL;
        if (i > 0) behaviour_only(&s->inside[i - 1], c->arg[0], c->arg[i]);
        if (is_record(c->arg[i])) continue;
        char shown[256];
        sd_url_bare(shown, sizeof shown, c->arg[i]);
        cli_note(c, "%s", shown);
        sd_model_spec pa, pb;
        sd_inside_opt o = {.suite = s->setup.suite, .n_suite = s->setup.n_suite, .system = sd_system_of(a->a.system), .adapter_a = pa.adapter, .adapter_b = pb.adapter, .dict = s->dict, .site = s->site, .phrases = &s->setup.phrases, .n_gen = a->a.n_gen, .seed = c->seed, .progress = &c->progress};
        if (s->base) s->setup.rows_beside = sd_inside_rows(&s->setup.rows_perhaps, &o);
        st = audit_measure(&s->record[i], c, &s->setup, &a->a, c->arg[i], &m, err);
        if (!st && i > 0 && s->base && m && !a->no_inside) {
            st = sd_model_spec_parse(&pa, c->arg[0], err);
            if (!st) st = sd_model_spec_parse(&pb, c->arg[i], err);
            if (!st) st = sd_lab_inside(&s->inside[i - 1], c->exec, s->base, m, &o, err);
        }
        if (!st && i == 0 && !a->no_inside) s->base = m;
        else sd_model_close(m);
    }
    return st;
}

static void change_row(out_table *t, const char *with, const sd_change *x, const char *what)
{
    if (!x->a.n) return;
    out_str(t, with);
    out_str(t, what);
    out_cell(t, "%.1f %%", 100 * x->a.ci.est);
    out_cell(t, "%.1f %%", 100 * x->b.ci.est);
    out_cell(t, "%+.1f", 0 - 100 * x->drop.est);
    out_cell(t, "%.1f to %.1f", 0 - 100 * x->drop.hi, 0 - 100 * x->drop.lo);
    out_i64(t, x->a.n);
    out_f64(t, x->p, 2);
}

/* What took the refusals, of the features that rose. */
static void note_raised(cli *c, const sd_raised *r)
{
    if (*r->why) out_say(c, "no feature was put back: %s", r->why);
    if (!r->n) return;
    out_say(c, "features that rose, put back one at a time: %lld of %lld requests refused before, %lld now, at most %lld with as much taken out along random directions", (long long)r->refused_a,
             (long long)r->n_harmful, (long long)r->refused_b, (long long)r->floor);
    for (int i = 0; i < r->n; i++)
        if (r->row[i].found)
            out_say(c, "  feature %lld put back from %.3g to %.3g: %lld (p %.2g)", (long long)r->row[i].feature, r->row[i].act_b, r->row[i].act_a, (long long)r->row[i].refused, r->row[i].p_holm);
    if (!r->n_found) out_say(c, "  none of %d brings refusals back: what took them is no single one of these", r->n);
}

/* What is not paired has no interval of the change; the sides' own are on the page. */
static void beside_rows(out_table *t, const sd_comparison *k)
{
    sd_audit_beside v[SD_MAX_BESIDE];
    int n = sd_audit_besides(v, k->a, k->b);
    for (int i = 0; i < n; i++) {
        double by = v[i].value[1] - v[i].value[0];
        out_str(t, k->b->name);
        out_str(t, v[i].label);
        for (int j = 0; j < 2; j++) out_cell(t, isnan(v[i].value[j]) ? "" : v[i].is_rate ? "%.1f %%" : "%.4f", v[i].is_rate ? 100 * v[i].value[j] : v[i].value[j]);
        out_cell(t, isnan(by) ? "" : v[i].is_rate ? "%+.1f" : "%+.4f", v[i].is_rate ? 100 * by : by);
        out_str(t, "");
        if (v[i].is_rate && !isnan(by)) out_i64(t, v[i].rate[1].n);
        else out_str(t, "");
        out_str(t, "");
    }
}

/* A verdict is a result, which --quiet does not silence; the sentences below say by how much it was missed, and what would decide. */
static void gate_rows(out_table *t, const sd_comparison *k)
{
    for (int g = 0; g < k->n_gate; g++) {
        const sd_gate_result *r = &k->gate[g];
        out_str(t, k->b->name);
        out_cell(t, "gate %s", r->gate.text);
        out_str(t, "");
        out_str(t, sd_verdict_name(r->verdict));
        out_str(t, "");
        out_str(t, "");
        if (r->n) out_i64(t, r->n);
        else out_str(t, "");
        out_str(t, "");
    }
}

/* What lies inside, in a line each: the direction, the weights, what rounding alone did. */
static void note_inside(cli *c, const sd_inside *x)
{
    int least = -1;
    for (int l = 0; l < x->n_layer && x->comparable; l++)
        if (isfinite(x->cosine[l]) && (least < 0 || x->cosine[l] < x->cosine[least])) least = l;
    if (least >= 0)
        out_say(c, "what parts harmful from harmless requests: least alike at block %d of %d (cosine %.2f), where %.0f %% of its length is left", least, x->n_layer, x->cosine[least],
                 100 * x->gap_b[least] / x->gap_a[least]);
    if (!x->comparable) out_say(c, "%s", x->why);
    if (!x->weights_comparable) return;
    if (x->n_top)
        out_say(c, "weights: %lld of %lld matrices differ, by %.3g of their norm in all; most in %s (%.3g, %.0f %% of it of rank one)", (long long)x->n_changed, (long long)x->n_matrix, x->weight_total,
                 x->top[0].name, x->top[0].relative, 100 * x->top[0].rank_one);
    else out_say(c, "weights: none of %lld matrices differs", (long long)x->n_matrix);
    if (x->n_requantised)
        out_say(c, "%lld of them are kept in a coarser type: they differ by %.3g, and rounding the first model to it, with nothing learnt, changes them by %.3g", (long long)x->n_requantised, x->requantised, x->rounding);
}

static int print_text(cli *c, const sd_audit_page *p)
{
    static const out_col cols[] = {{"with", OUT_LEFT}, {"measure", OUT_FILL}, {"before", OUT_RIGHT}, {"after", OUT_RIGHT}, {"change", OUT_RIGHT},
                                   {"95 % interval", OUT_RIGHT}, {"n", OUT_RIGHT}, {"p", OUT_RIGHT}};
    out_table *t = out_table_new(c, cols, 8);
    for (int i = 0; i + 1 < p->n_record; i++) {
        const sd_comparison *k = &p->cmp[i];
        change_row(t, k->b->name, &k->refusal, "harmful refused");
        change_row(t, k->b->name, &k->over_refusal, "harmless refused");
        change_row(t, k->b->name, &k->incoherent, "incoherent");
        beside_rows(t, k);
        gate_rows(t, k);
    }
    int rc = out_table_end(t);
    for (int i = 0; i + 1 < p->n_record; i++) {
        const sd_comparison *k = &p->cmp[i];
        out_say(c, "%s", k->headline);
        if (k->n_unscored) out_say(c, "%lld prompts are unscored on one side and in no rate", (long long)k->n_unscored);
        sd_caution caution[SD_MAX_CAUTION];
        int n_caution = sd_audit_cautions(caution, k);
        for (int j = 0; j < n_caution; j++) out_say(c, "%s", caution[j].text);
        if (p->inside) note_inside(c, &p->inside[i]);
        if (p->inside && p->inside[i].has_drift) {
            const sd_drift *d = &p->inside[i].drift;
            out_say(c, "features at %s: %lld told harmful from harmless, %lld do now; %lld appeared, %lld are gone, %lld moved on harmful prompts", d->site, (long long)d->n_safety_a,
                     (long long)d->n_safety_b, (long long)d->n_appeared, (long long)d->n_gone, (long long)d->n_moved);
            note_raised(c, &p->inside[i].raised);
        }
        for (int g = 0; g < k->n_gate; g++) {
            const sd_gate_result *r = &k->gate[g];
            if (isfinite(r->ci.est)) out_say(c, "gate %s: %s (%.3f, interval %.3f to %.3f)", r->gate.text, sd_verdict_name(r->verdict), r->ci.est, r->ci.lo, r->ci.hi);
            else out_say(c, "gate %s: %s", r->gate.text, sd_verdict_name(r->verdict));
            if (*r->why) out_say(c, "  %s", r->why);
            else if (isfinite(r->visible)) out_say(c, "  %lld prompts could have shown %.3f or more", (long long)r->n, r->visible);
            if (r->verdict == SD_VERDICT_INCONCLUSIVE && !*r->why && r->n && !isfinite(r->visible)) out_say(c, "  no change of these %lld prompts could have failed it", (long long)r->n);
            else if (r->verdict == SD_VERDICT_INCONCLUSIVE && r->n_needed > 0) out_say(c, "  about %lld prompts would decide at these rates", (long long)r->n_needed);
        }
    }
    return rc;
}

static int cmd_audit_compare(cli *c, int argc, char **argv);
const cli_cmd cmd_audit_compare_def = {
    .name = "audit compare",
    .brief = "compare what models refuse, before and after a change",
    .args = "MODEL|RECORD MODEL|RECORD..",
    .opts = opts,
    .uses = CLI_MODE | CLI_SEED | CLI_OUT | CLI_FORCE | CLI_SITE,
    .run = cmd_audit_compare,
    .text = "Every argument is a model, MODEL+ADAPTER, or a record that `sonde audit run` wrote (.json); the first is what the others are compared with, on the same\n"
            "prompts, pair by pair. --suite, --limit and --system say what models are asked; records were asked already, so beside records alone they are refused.\n"
            "-o writes one HTML page. A gate such as --fail-on 'refusal_drop>0.05' looks at the 95 % interval: fail when all of it is above the limit, a share\n"
            "(five points are 0.05), pass when none of it is, else inconclusive, which fails too unless it is allowed. What was measured in two ways (judge, length\n"
            "of answers, system prompt, --ablate, text) is inconclusive as well, and that is never allowed. Exit 3 says that a gate was not passed.",
    .examples = "sonde audit compare base.gguf tuned.gguf --suite xstest_prompts.csv --suite jailbreakbench.csv -o audit.html\n"
                "sonde audit compare base.json tuned.json --fail-on 'refusal_drop>0.05' --fail-on 'over_refusal_rise>0.1'\n",
    .json = "sonde.audit_compare/1"};

/* Is there a gate that no number of prompts would decide, since the two were measured in two ways? */
static bool untestable(const sd_audit_page *p)
{
    bool unlike = false;
    for (int i = 0; i + 1 < p->n_record; i++)
        for (int g = 0; g < p->cmp[i].n_gate; g++) unlike = unlike || *p->cmp[i].gate[g].why;
    return unlike;
}

/* What stopped a verdict that is no pass. */
static sd_err *gate_error(sd_err *err, sd_verdict v, bool unlike)
{
    sd_fail(err, SD_E_GATE, "%s", v == SD_VERDICT_FAIL ? "a gate was not passed" : unlike ? "a gate cannot be tested on what was not measured, or measured in two ways" : "the prompts are too few to pass a gate");
    sd_hint(err, v == SD_VERDICT_FAIL ? "the rows above say by how much" : unlike ? "measure both with the same options" : "ask more prompts, or allow it with --allow-inconclusive");
    return err;
}

static int finish(cli *c, study *s, const args *a, sd_err *err)
{
    sd_audit_page p = {s->record, s->n, s->cmp, a->no_inside ? NULL : s->inside, c->prov.args};
    sd_status st = c->output ? audit_write(c, c->output, &p, sd_audit_write_html, err) : SD_OK;
    if (!st && a->card) st = audit_write(c, a->card, &p, sd_audit_write_card, err);
    if (st) return cli_fail(c, err);
    int rc;
    if (c->json) {
        out_json j;
        sd_jw *w = out_json_begin(c, &j, "sonde.audit_compare/1");
        sd_audit_write_json(w, &p);
        rc = out_json_end(c, &j);
    } else {
        rc = print_text(c, &p);
    }
    sd_verdict v = sd_audit_verdict(&p);
    bool unlike = untestable(&p);
    if (rc || v == SD_VERDICT_PASS || (v == SD_VERDICT_INCONCLUSIVE && a->allow && !unlike)) return rc;
    return cli_fail(c, gate_error(err, v, unlike));
}

static int cmd_audit_compare(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    study *s = NULL;
    if (!cli_parse(c, &cmd_audit_compare_def, &a, argc, argv, &rc)) return rc;
    if (c->n_arg > MAX_MODELS) return cli_usage(c, "%d models, at most %d are compared", c->n_arg, MAX_MODELS);
    if (a.gate.n > SD_MAX_GATES) return cli_usage(c, "%d gates, at most %d are tested", a.gate.n, SD_MAX_GATES);
    sd_status st = sd_alloc_zero(&s, sizeof *s, "a comparison", &err);
    if (st) return cli_fail(c, &err);
    for (int i = 0; i < a.gate.n && !st; i++)
        if (sd_gate_parse(&s->gate[s->n_gate++], a.gate.v[i], &err)) c->refused = true, st = err.code; /* a command line of the wrong form */
    if (!st) st = check_line(c, &a, &err);
    if (!st && c->output) st = cli_check_output(c, c->output, &err);
    if (!st && a.card) st = cli_check_output(c, a.card, &err);
    if (!st) st = audit_setup_open(&s->setup, c, &a.a, &err);
    if (!st && a.dict) st = sd_dict_open(&s->dict, a.dict, &err);
    if (!st && a.dict) st = cli_dict_site(c, s->dict, &s->site, &err);
    if (!st) st = find_all(c, s, &err);
    if (!st) st = measure(c, s, &a, &err);
    for (int i = 1; i < s->n && !st; i++) st = sd_audit_compare(&s->cmp[i - 1], &s->record[0], &s->record[i], s->gate, s->n_gate, &err);
    rc = st ? cli_fail(c, &err) : finish(c, s, &a, &err);
    release(s);
    return rc;
}
