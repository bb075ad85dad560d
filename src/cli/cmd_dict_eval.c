/* sonde dict eval: what a dictionary keeps of a model, by definition id. */
#include "cli/cli.h"
#include "base/map.h"
#include "cli/dict_eval_cross.h"
#include "cli/dict_eval_print.h"
#include "cli/look_args.h"
#include "dict/dict_format.h"
#include "lab/fit.h"
#include "model/lora.h"

typedef struct args { const char *with, *probe, *html; int64_t tokens, ctx; opt_list beside; bool absorption; } args;

static const cli_opt opts[] = {
    {0, "with", OPT_STR, AT(args, with), .arg = "MODEL2", .help = "the other checkpoint of a crosscoder"},
    {0, "beside", OPT_MULTI, AT(args, beside), .arg = "CONTROL", .help = "measure this dictionary too and print it beside"},
    {0, "probe", OPT_STR, AT(args, probe), .arg = "FILE", .help = "sparse probing on labelled texts"},
    {0, "absorption", OPT_BOOL, AT(args, absorption), .help = "absorption of first letters, on the vocabulary's own words"},
    {0, "html", OPT_STR, AT(args, html), .arg = "FILE", .help = "also as a page of its own, with the histogram of densities"},
    {0, "tokens", OPT_INT, AT(args, tokens), .arg = "N", .def = "16384", .lo = 256, .hi = 1e12, .help = "tokens to measure on, rounded up to whole contexts"},
    {0, "ctx", OPT_INT, AT(args, ctx), .arg = "N", .def = "256", .lo = 16, .hi = 1 << 20, .unit = "tokens", .help = "length of a context"},
    OPT_END};

static int cmd_dict_eval(cli *c, int argc, char **argv);
const cli_cmd cmd_dict_eval_def = {
    .name = "dict eval",
    .brief = "measure a dictionary on a model and a text",
    .args = "DIR MODEL CORPUS..",
    .opts = opts,
    .uses = CLI_MODE | CLI_SEED | CLI_SITE | CLI_FORCE,
    .run = cmd_dict_eval,
    .text = "Each context runs plain, with the site replaced by the dictionary's reconstruction, and with the site set to zero:\n"
            "ce_recovered = (ce_zero_ablated - ce_spliced) / (ce_zero_ablated - ce_plain). Special tokens and sinks keep their own\n"
            "activations and are left out of the reconstruction's metrics. The definitions stand in docs/DICT.md.\n\n"
            "--beside measures others in the same way: controls of `dict train --control`, or dictionaries of the same site. A random-model\n"
            "control is measured on the model that it was trained on: MODEL with random matrices, made again from its seed. A score that a\n"
            "control reaches too says nothing about what the dictionary found.\n\n"
            "--probe asks which classes of texts few features tell apart (rows {\"text\", \"label\"} or {\"text\", \"labels\": [..]}, as SAEBench\n"
            "does it: 1, 2 and 5 features by difference of means, logistic regression, accuracy on every fifth text).\n\n"
            "--absorption asks of 26 letters whether the feature that stands for a word's first letter stays silent where a more special one\n"
            "took its part (Chanin 2024; SAEBench's scores).\n\n"
            "A transcoder is read at its site and spliced in at the other. A crosscoder's metrics are of each site and of all; its cross-entropy\n"
            "is of each site alone: one site's rows replaced by what the crosscoder makes of all sites' plain rows.",
    .examples = "sonde dict eval dict/ model.gguf corpus/ --tokens 32768 --json\n"
                "sonde dict eval dict/ model.gguf corpus/ --beside random/ --beside frozen/ --probe labelled.jsonl\n",
    .json = "sonde.dict.eval/1"};

typedef struct work { cli *c; const sd_exec *ex; const args *a; const sd_model *plain; const sd_corpus *corpus; sd_site site; } work;

/* One dictionary on the model that it belongs to. */
static sd_status measure(const work *x, dict_column *v, sd_err *err)
{
    cli *c = x->c;
    const sd_dict_info *info = sd_dict_get_info(v->dict);
    const sd_model_opt mo = {.mode = c->mode, .kv = c->kv, .memory_bytes = cli_memory(c)};
    sd_model *random = NULL;
    sd_harvest *h = NULL;
    sd_status st = SD_OK;
    if (strcmp(info->control, "random-model") == 0) {
        cli_note(c, "%s is a control: measured on the model with random weights that it was trained on", v->dir);
        st = sd_model_open_random(&random, x->ex, c->arg[1], &mo, info->seed, err);
    }
    const sd_model *m = random ? random : x->plain;
    if (!st) st = sd_harvest_open(&h, x->ex, m, x->corpus, &(sd_harvest_opt){.site = x->site, .max_rows = x->a->tokens, .n_ctx = x->a->ctx, .seed = c->seed}, err);
    if (!st) st = sd_lab_evaluate(&v->e, x->ex, m, v->dict, h, &(sd_evaluate_opt){.progress = &c->progress}, err);
    if (!st && x->a->probe) st = sd_lab_sparse_probe(&v->probe, x->ex, m, v->dict, x->a->probe, &(sd_sparse_probe_opt){x->site, c->seed, &c->progress}, err);
    if (!st) st = sd_dict_rows_geometry(&v->rows, x->ex, v->dict, err);
    v->absorbed = x->a->absorption;
    if (!st && v->absorbed) st = sd_lab_absorption(&v->absorption, x->ex, m, v->dict, &(sd_absorption_opt){x->site, c->seed, &c->progress}, err);
    if (!st) {
        sd_fit fit = {.is = v->e};
        sd_fit_judge(&fit, v->dict);
        for (int i = 0; i < fit.n_reason && !info->control[0]; i++) cli_note(c, "warning: does %s belong to this model and site? %s", v->dir, fit.reason[i]);
    }
    sd_harvest_close(h);
    sd_model_close(random);
    return st;
}

/* A dictionary beside the first must be of its site, or their scores say nothing of each other. */
static sd_status open_beside(cli *c, dict_column *v, const dict_column *first, sd_err *err)
{
    sd_status st = sd_dict_open(&v->dict, v->dir, err);
    if (st) return st;
    const char *a = sd_dict_site_name(first->dict), *b = sd_dict_site_name(v->dict);
    if (sd_dict_get_info(v->dict)->kind == SD_DICT_CROSSCODER) return cli_refuse(c, err, "%s is a crosscoder; its metrics are of several sites", v->dir);
    if (*a && *b && strcmp(a, b) != 0) return cli_refuse(c, err, "%s is of %s, %s of %s: they cannot stand beside each other", first->dir, a, v->dir, b);
    return SD_OK;
}

static int cmd_dict_eval(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    sd_model *m = NULL;
    sd_corpus *corpus = NULL;
    if (!cli_parse(c, &cmd_dict_eval_def, &a, argc, argv, &rc)) return rc;
    if (!sd_dir_exists(c->arg[0]) && sd_file_exists(c->arg[0]) && sd_dict_format_at(c->arg[0]) == SD_FORMAT_COUNT) return cli_usage(c, "%s is a file: the dictionary's folder comes first, then MODEL", c->arg[0]);
    const sd_exec *ex = cli_exec(c, &err);
    if (!ex) return cli_fail(c, &err);
    const int n = 1 + a.beside.n;
    dict_column *col;
    sd_status st = sd_alloc_zero(&col, (size_t)n * sizeof *col, "columns", &err);
    if (st) return cli_fail(c, &err);
    col->dir = c->arg[0];
    if ((st = look_html_check(c, a.html, &err)) || (st = sd_dict_open(&col->dict, col->dir, &err))) goto done;
    const bool cross = sd_dict_get_info(col->dict)->kind == SD_DICT_CROSSCODER;
    if (a.with && !cross) st = cli_refuse(c, &err, "--with is for crosscoders, %s is a %s", col->dir, sd_dict_kind_name(sd_dict_get_info(col->dict)->kind));
    else if (cross && c->site) st = cli_refuse(c, &err, "a crosscoder is of the sites that it says, --site cannot change them");
    else if (cross && (n > 1 || a.probe || a.absorption || a.html))
        st = cli_refuse(c, &err, "--%s is of one site, %s is a crosscoder", n > 1 ? "beside" : a.probe ? "probe" : a.html ? "html" : "absorption", col->dir);
    work x = {c, ex, &a, NULL, NULL, {0}};
    if (!st && !cross) st = cli_dict_site(c, col->dict, &x.site, &err);
    for (int i = 1; i < n && !st; i++) {
        col[i].dir = a.beside.v[i - 1];
        st = open_beside(c, &col[i], col, &err);
    }
    if (st || (st = cli_corpus_open(c, &corpus, c->arg + 2, c->n_arg - 2, &err))) goto done;
    if ((st = cli_model_open(c, ex, CLI_EXACT, c->arg[1], (sd_model_opt){0}, &m, &err))) goto done;
    if (cross) {
        rc = dict_eval_cross_run(c, ex, &(dict_eval_cross){col->dict, m, corpus, a.with, {.max_rows = a.tokens, .n_ctx = a.ctx, .seed = c->seed}}, &err);
        st = err.code;
        goto done;
    }
    x.plain = m, x.corpus = corpus;
    for (int i = 0; i < n; i++)
        if ((st = measure(&x, &col[i], &err))) goto done;
    if ((st = cli_model_hash(c, c->arg[1], &err))) goto done;
    cli_corpus_hash(c, corpus);
    if (a.html && (st = dict_eval_page(c, col, n, m->cfg.name, a.html, &err))) goto done;
    rc = dict_eval_print(c, col, n);
done:
    if (st) rc = cli_fail(c, &err);
    for (int i = 0; i < n; i++) dict_column_release(&col[i]);
    sd_free(col);
    sd_model_close(m);
    sd_corpus_close(corpus);
    return rc;
}
