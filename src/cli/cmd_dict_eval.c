/* sonde dict eval: what a dictionary keeps of a model, by definition id. */
#include "cli/cli.h"
#include "base/map.h"
#include "cli/dict_eval_cross.h"
#include "dict/dict_format.h"
#include "lab/fit.h"

typedef struct args { const char *with; int64_t tokens, ctx; } args;

static const cli_opt opts[] = {
    {0, "with", OPT_STR, AT(args, with), .arg = "MODEL2", .help = "the other checkpoint of a crosscoder"},
    {0, "tokens", OPT_INT, AT(args, tokens), .arg = "N", .def = "16384", .lo = 256, .hi = 1e12, .help = "tokens to measure on, rounded up to whole contexts"},
    {0, "ctx", OPT_INT, AT(args, ctx), .arg = "N", .def = "256", .lo = 16, .hi = 1 << 20, .unit = "tokens", .help = "length of a context"},
    OPT_END};

/* dict_eval.h and evaluate.h have the formulas. */
static const char *meaning_of(const char *id)
{
    static const struct { const char *id, *meaning; } table[] = {
        {"fvu", "share of the variance left unexplained; 0 is perfect"},
        {"explained_variance", "1 - fvu, as SAELens counts since 6.45"},
        {"explained_variance_legacy", "mean over rows, as SAELens counted before"},
        {"explained_variance_vs0", "relative to zero, not to the mean: flatters"},
        {"mse", "squared error of a row"},
        {"l0", "features active on a token"},
        {"l1", "sum of activations on a token"},
        {"cossim", "cosine of row and reconstruction"},
        {"l2_ratio", "length of the reconstruction over the row's"},
        {"relative_reconstruction_bias", "1 is no shrinkage"},
        {"silent_share", "features that never fired on these tokens (not: dead)"},
        {"explained_variance_saebench060", "SAEBench 0.6.0's, its mean taken wrongly"},
        {"frac_variance_explained", "dictionary_learning's, a constant offset forgiven"},
        {"l2_loss", "length of the error (dictionary_learning)"},
        {"normalized_mse_openai", "squared error over the row's square (OpenAI)"},
        {"frac_alive", "features that fired on these tokens"},
        {"freq_over_1_percent", "features that fire on more than 1 % of tokens"},
        {"freq_over_10_percent", "features that fire on more than 10 % of tokens"},
        {"ce_plain", "nats a token, the model as it is"},
        {"ce_spliced", "nats a token, rows replaced by reconstructions"},
        {"ce_zero_ablated", "nats a token, rows set to zero"},
        {"ce_recovered", "share of the damage of zero undone; 1 is perfect"},
        {"kl_plain_spliced", "nats a token between plain and spliced"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].id, id) == 0) return table[i].meaning;
    return "";
}

static int print(cli *c, const sd_evaluation *e)
{
    const char *id;
    double v;
    const struct { const char *id; double v; } ce[] = {{"ce_plain", e->ce_plain}, {"ce_spliced", e->ce_spliced}, {"ce_zero_ablated", e->ce_zero},
                                                       {"ce_recovered", e->ce_recovered}, {"kl_plain_spliced", e->kl}};
    if (c->json) {
        out_json j;
        sd_jw *w = out_json_begin(c, &j, "sonde.dict.eval/1");
        sd_jw_key(w, "metrics");
        sd_jw_obj(w);
        for (int i = 0; sd_dict_metric_at(&e->recon, i, &id, &v); i++) sd_jw_kf64(w, id, v);
        for (size_t i = 0; i < sizeof ce / sizeof *ce; i++) sd_jw_kf64(w, ce[i].id, ce[i].v);
        sd_jw_end(w);
        sd_jw_kstr(w, "site", c->site);
        sd_jw_ki64(w, "n_tokens", e->n_replaced + e->n_kept);
        sd_jw_ki64(w, "n_contexts", e->n_contexts);
        sd_jw_ki64(w, "n_predictions", e->n_predictions);
        sd_jw_ki64(w, "n_replaced", e->n_replaced);
        sd_jw_ki64(w, "n_kept", e->n_kept);
        sd_jw_ki64(w, "n_nonfinite", e->n_nonfinite);
        sd_jw_kstr(w, "mode", sd_mode_name(c->mode));
        return out_json_end(c, &j);
    }
    static const out_col cols[] = {{"metric", OUT_LEFT}, {"value", OUT_RIGHT}, {"meaning", OUT_FILL}};
    out_table *t = out_table_new(c, cols, 3);
    for (int i = 0; sd_dict_metric_at(&e->recon, i, &id, &v); i++) {
        out_str(t, id);
        out_f64(t, v, 5);
        out_str(t, meaning_of(id));
    }
    for (size_t i = 0; i < sizeof ce / sizeof *ce; i++) {
        out_str(t, ce[i].id);
        out_f64(t, ce[i].v, 5);
        out_str(t, meaning_of(ce[i].id));
    }
    int rc = out_table_end(t);
    cli_note(c, "%lld tokens in %lld contexts at %s, %s: %lld rows replaced, %lld special tokens and sinks kept; %lld next tokens predicted",
             (long long)(e->n_replaced + e->n_kept), (long long)e->n_contexts, c->site, sd_mode_name(c->mode), (long long)e->n_replaced, (long long)e->n_kept,
             (long long)e->n_predictions);
    return rc;
}

static int cmd_dict_eval(cli *c, int argc, char **argv);
const cli_cmd cmd_dict_eval_def = {
    .name = "dict eval",
    .brief = "measure a dictionary on a model and a text",
    .args = "DIR MODEL CORPUS..",
    .opts = opts,
    .uses = CLI_MODE | CLI_SEED | CLI_SITE,
    .run = cmd_dict_eval,
    .text = "Each context runs plain, with the site replaced by the dictionary's reconstruction, and with the site set to zero:\n"
            "ce_recovered = (ce_zero_ablated - ce_spliced) / (ce_zero_ablated - ce_plain). Special tokens and sinks keep their own\n"
            "activations and are left out of the reconstruction's metrics. The definitions stand in docs/DICT.md.\n"
            "A transcoder is read at its site and spliced in at the other. A crosscoder's metrics are of each site and of all; there is\n"
            "no cross-entropy, as rows replaced at one site would change the next.",
    .examples = "sonde dict eval dict/ model.gguf corpus/ --tokens 32768 --json\n",
    .json = "sonde.dict.eval/1"};

static int cmd_dict_eval(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    sd_dict *d = NULL;
    sd_model *m = NULL;
    sd_corpus *corpus = NULL;
    sd_harvest *h = NULL;
    sd_evaluation e;
    sd_site site;
    if (!cli_parse(c, &cmd_dict_eval_def, &a, argc, argv, &rc)) return rc;
    if (!sd_dir_exists(c->arg[0]) && sd_file_exists(c->arg[0]) && sd_dict_format_at(c->arg[0]) == SD_FORMAT_COUNT) return cli_usage(c, "%s is a file: the dictionary's folder comes first, then MODEL", c->arg[0]);
    const sd_exec *ex = cli_exec(c, &err);
    if (!ex) return cli_fail(c, &err);
    sd_status st = sd_dict_open(&d, c->arg[0], &err);
    if (st) goto done;
    const bool cross = sd_dict_get_info(d)->kind == SD_DICT_CROSSCODER;
    if (a.with && !cross) st = cli_refuse(c, &err, "--with is for crosscoders, %s is a %s", c->arg[0], sd_dict_kind_name(sd_dict_get_info(d)->kind));
    else if (cross && c->site) st = cli_refuse(c, &err, "a crosscoder is of the sites that it says, --site cannot change them");
    if (st) goto done;
    if (!cross && (st = cli_dict_site(c, d, &site, &err))) goto done;
    if ((st = sd_corpus_open(&corpus, c->arg + 2, c->n_arg - 2, &err))) goto done;
    if ((st = cli_model_open(c, ex, CLI_EXACT, c->arg[1], (sd_model_opt){0}, &m, &err))) goto done;
    if (cross) {
        rc = dict_eval_cross_run(c, ex, &(dict_eval_cross){d, m, corpus, a.with, {.max_rows = a.tokens, .n_ctx = a.ctx, .seed = c->seed}}, &err);
        st = err.code;
        goto done;
    }
    if ((st = sd_harvest_open(&h, ex, m, corpus, &(sd_harvest_opt){.site = site, .max_rows = a.tokens, .n_ctx = a.ctx, .seed = c->seed}, &err))) goto done;
    if ((st = sd_lab_evaluate(&e, ex, m, d, h, &(sd_evaluate_opt){.progress = &c->progress}, &err))) goto done;
    if ((st = cli_model_hash(c, c->arg[1], &err))) goto done;
    cli_corpus_hash(c, corpus);
    sd_fit fit = {.is = e};
    sd_fit_judge(&fit, d);
    for (int i = 0; i < fit.n_reason; i++) cli_note(c, "warning: does this dictionary belong to this model and site? %s", fit.reason[i]);
    rc = print(c, &e);
done:
    if (st) rc = cli_fail(c, &err);
    sd_harvest_close(h);
    sd_model_close(m);
    sd_corpus_close(corpus);
    sd_dict_free(d);
    return rc;
}
