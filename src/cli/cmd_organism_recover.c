/* sonde organism recover: which labelled concepts a dictionary found, beside floors, a ceiling and baselines. */
#include "cli/cli.h"
#include "lab/recover.h"

typedef struct args { bool quick; } args;

static const cli_opt opts[] = {
    {0, "quick", OPT_BOOL, AT(args, quick), .help = "features and shuffled labels only: no probes, neurons, baselines"},
    OPT_END};

static void number(sd_jw *w, const char *key, const sd_detector *d)
{
    sd_jw_key(w, key);
    sd_jw_obj(w);
    sd_jw_kf64(w, "f1", d->f1);
    sd_jw_kf64(w, "auroc", d->auroc);
    sd_jw_ki64(w, "index", d->index);
    sd_jw_kbool(w, "negative", d->negative);
    sd_jw_kf64(w, "threshold", d->threshold);
    sd_jw_kf64(w, "f1_chosen", d->f1_chosen);
    sd_jw_end(w);
}

static int print_json(cli *c, const sd_recovery *r, bool quick)
{
    out_json j;
    sd_jw *w = out_json_begin(c, &j, "sonde.organism.recover/1");
    sd_jw_ki64(w, "n_concepts", r->n);
    sd_jw_ki64(w, "n_contextual", r->n_contextual);
    sd_jw_ki64(w, "recovered_one", r->n_one);
    sd_jw_ki64(w, "recovered_five", r->n_five);
    sd_jw_ki64(w, "recovered_any", r->n_any);
    sd_jw_ki64(w, "recovered_shuffled", r->n_shuffled);
    sd_jw_ki64(w, "recovered_five_shuffled", r->n_five_shuffled);
    sd_jw_ki64(w, "probe", r->n_probe);
    sd_jw_ki64(w, "n_tokens", r->n_tokens);
    sd_jw_ki64(w, "n_docs", r->n_docs);
    sd_jw_ki64(w, "n_features", r->n_features);
    sd_jw_kf64(w, "l0", r->l0);
    sd_jw_kf64(w, "seconds", r->seconds);
    sd_jw_key(w, "concepts");
    sd_jw_arr(w);
    for (int i = 0; i < r->n; i++) {
        const sd_recovered *v = &r->v[i];
        sd_jw_obj(w);
        sd_jw_kstr(w, "name", v->name);
        sd_jw_ki64(w, "n_choose", v->n_choose);
        sd_jw_ki64(w, "n_judge", v->n_judge);
        number(w, "feature", &v->feature);
        sd_jw_key(w, "together");
        sd_jw_obj(w);
        sd_jw_kf64(w, "f1", v->together_f1);
        sd_jw_kf64(w, "shuffled", v->together_shuffled);
        sd_jw_key(w, "features");
        sd_jw_arr(w);
        for (int k = 0; k < v->n_together; k++) sd_jw_i64(w, v->together[k]);
        sd_jw_end(w);
        sd_jw_key(w, "weights");
        sd_jw_arr(w);
        for (int k = 0; k < v->n_together; k++) sd_jw_f64(w, v->together_w[k]);
        sd_jw_end(w);
        sd_jw_end(w);
        sd_jw_key(w, "any");
        sd_jw_obj(w);
        sd_jw_kf64(w, "f1", v->any_f1);
        sd_jw_key(w, "features");
        sd_jw_arr(w);
        for (int k = 0; k < v->n_any; k++) sd_jw_i64(w, v->any[k]);
        sd_jw_end(w);
        sd_jw_end(w);
        number(w, "shuffled", &v->shuffled);
        if (!quick) {
            number(w, "random", &v->random);
            number(w, "neuron", &v->neuron);
            number(w, "component", &v->component);
            number(w, "probe", &v->probe);
            number(w, "embedding", &v->embedding);
            number(w, "pairs", &v->pairs);
            number(w, "bag", &v->bag);
        }
        sd_jw_end(w);
    }
    sd_jw_end(w);
    return out_json_end(c, &j);
}

static int print(cli *c, const sd_recovery *r, bool quick)
{
    if (c->json) return print_json(c, r, quick);
    out_say(c, "%d of %d concepts by one feature, %d by five (F1 >= %.1f); a probe reads %d; %lld features, %.1f a token, %lld tokens", r->n_one,
             r->n, r->n_five, SD_RECOVERED_F1, r->n_probe, (long long)r->n_features, r->l0, (long long)r->n_tokens);
    enum { SHORT = 9, LONG = 16 };
    static const out_col cols[LONG] = {{"concept", OUT_LEFT}, {"tokens", OUT_RIGHT}, {"feature", OUT_RIGHT}, {"f1", OUT_RIGHT},
                                       {"auroc", OUT_RIGHT}, {"five", OUT_RIGHT}, {"any", OUT_RIGHT}, {"shuffled", OUT_RIGHT}, {"five shuffled", OUT_RIGHT}, {"probe", OUT_RIGHT},
                                       {"neuron", OUT_RIGHT}, {"component", OUT_RIGHT}, {"random", OUT_RIGHT},
                                       {"embedding", OUT_RIGHT}, {"pairs", OUT_RIGHT}, {"bag", OUT_RIGHT}};
    out_table *t = out_table_new(c, cols, quick ? SHORT : LONG);
    for (int i = 0; i < r->n; i++) {
        const sd_recovered *v = &r->v[i];
        const sd_detector *d[] = {&v->probe, &v->neuron, &v->component, &v->random, &v->embedding, &v->pairs, &v->bag};
        out_str(t, v->name);
        out_i64(t, v->n_judge);
        out_cell(t, "%lld", (long long)v->feature.index);
        out_cell(t, "%.2f", v->feature.f1);
        out_cell(t, "%.3f", v->feature.auroc);
        out_cell(t, "%.2f", v->together_f1);
        out_cell(t, "%.2f", v->any_f1);
        out_cell(t, "%.2f", v->shuffled.f1);
        out_cell(t, "%.2f", v->together_shuffled);
        for (int k = 0; k < LONG - SHORT && !quick; k++) out_cell(t, "%.2f", d[k]->f1);
    }
    return out_table_end(t);
}

static int cmd_organism_recover(cli *c, int argc, char **argv);
const cli_cmd cmd_organism_recover_def = {
    .name = "organism recover",
    .brief = "which labelled concepts a dictionary found",
    .args = "DICT MODEL LABELS",
    .opts = opts,
    .uses = CLI_MODE | CLI_SEED,
    .run = cmd_organism_recover,
    .text = "LABELS is a file of rows {\"text\", \"labels\": [[name, begin, end], ..]} (heldout.jsonl). For every concept: the best feature's F1 and\n"
            "AUROC, five features joined by a logistic regression and by a union, one and five again with labels turned against the tokens,\n"
            "a logistic probe, the best neuron, principal component and random direction, a probe on embeddings, token pairs and a bag of 16\n"
            "tokens. Features, signs, weights and thresholds are chosen on half of the documents and judged on the other.",
    .examples = "sonde organism recover dict/ organism/aligned organism/heldout.jsonl\n",
    .json = "sonde.organism.recover/1"};

static int cmd_organism_recover(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    sd_model *m = NULL;
    sd_dict *dict = NULL;
    sd_recovery r = {0};
    if (!cli_parse(c, &cmd_organism_recover_def, &a, argc, argv, &rc)) return rc;
    const sd_exec *ex = cli_exec(c, &err);
    if (!ex) return cli_fail(c, &err);
    sd_status st = sd_dict_open(&dict, c->arg[0], &err);
    if (!st) st = cli_mode(c, ex, CLI_EXACT, c->arg[1], &c->mode, &err);
    if (!st) st = sd_model_open(&m, ex, c->arg[1], &(sd_model_opt){.mode = c->mode, .kv = c->kv, .no_head = true}, &err);
    if (!st) st = cli_model_hash(c, c->arg[1], &err);
    sd_recover_opt o = {.seed = c->seed, .quick = a.quick, .progress = &c->progress};
    if (!st) st = sd_lab_recover(&r, ex, m, dict, c->arg[2], &o, &err);
    rc = st ? cli_fail(c, &err) : print(c, &r, a.quick);
    sd_recovery_release(&r);
    sd_dict_free(dict);
    sd_model_close(m);
    return rc;
}
