/* sonde audit forecast: which way a training would push the refusals, before it is made, and the rows to blame. */
#include "cli/cli.h"
#include "cli/prompts.h"
#include "base/map.h"
#include "lab/forecast.h"

#include <inttypes.h>
#include <stdlib.h>

typedef struct args {
    opt_list suite;
    int64_t limit, steps, batch, lora, rows, blame;
    double lr, epochs;
    const char *phrases;
} args;

static const cli_opt opts[] = {
    {0, "suite", OPT_MULTI, AT(args, suite), .arg = "FILE", .help = "prompts, harmful and harmless, see `sonde audit run -h`; repeat it"},
    {0, "lr", OPT_FLOAT, AT(args, lr), .arg = "LR", .lo = 1e-12, .hi = 100, .help = "learning rate, of a schedule its mean", .def_words = "1e-4 with an adapter, 2e-5 without"},
    {0, "epochs", OPT_FLOAT, AT(args, epochs), .arg = "N", .def = "3", .lo = 0, .hi = 1e6, .help = "passes over the rows"},
    {0, "steps", OPT_INT, AT(args, steps), .arg = "N", .lo = 1, .hi = 1e9, .help = "steps", .def_words = "what --epochs gives"},
    {0, "batch", OPT_INT, AT(args, batch), .arg = "N", .def = "8", .lo = 1, .hi = 1 << 20, .help = "rows a step"},
    {0, "lora", OPT_INT, AT(args, lora), .arg = "R", .def = "16", .lo = 0, .hi = 1024, .help = "rank of the adapter; 0: all weights learn"},
    {0, "rows", OPT_INT, AT(args, rows), .arg = "N", .def = "512", .lo = 1, .hi = 1 << 20, .help = "rows that are looked at, drawn by --seed; a forward and a backward pass twice each"},
    {0, "blame", OPT_INT, AT(args, blame), .arg = "N", .def = "10", .lo = 0, .hi = 1 << 20, .help = "rows to print; --json and the page have all; 0: nobody is blamed, which saves up to three rehearsals"},
    {0, "limit", OPT_INT, AT(args, limit), .arg = "N", .lo = 1, .hi = 1 << 20, .zero = "all", .help = "take N prompts of each suite, chosen by --seed; at most 64 of a kind are used"},
    {0, "phrases", OPT_STR, AT(args, phrases), .arg = "FILE", .help = "refusal phrases, one a line, instead of the literature's twelve"},
    OPT_END};

static int cmd_audit_forecast(cli *c, int argc, char **argv);
const cli_cmd cmd_audit_forecast_def = {
    .name = "audit forecast",
    .brief = "which rows of a fine-tune would undo a model's refusals, before it is made",
    .args = "MODEL DATA",
    .opts = opts,
    .uses = CLI_MODE | CLI_SEED | CLI_OUT | CLI_FORCE,
    .run = cmd_audit_forecast,
    .text = "What training MODEL on DATA (.jsonl, as `sonde tune` reads it) is expected to take from its refusals, and the rows that do it: the training is rehearsed in memory in 34\n"
            "strides as long as it, on at most 64 rows, and the suites' harmful prompts are answered on the way, 12 tokens each. Rows are blamed where a rehearsal without them keeps the\n"
            "refusals. The interval is that of trainings of the embedded model (docs/FORECAST.md). Nothing is written but -o, a page; no answer is kept.",
    .examples = "sonde audit forecast model.gguf mine.jsonl --suite jailbreakbench.csv --suite xstest_prompts.csv --lr 2e-4 --epochs 3\n",
    .json = "sonde.audit_forecast/1"};

static int by_pull(const void *a, const void *b)
{
    const sd_forecast_row *const *x = a, *const *y = b;
    if ((*x)->blamed != (*y)->blamed) return (*x)->blamed ? -1 : 1;
    return (*x)->pull > (*y)->pull ? -1 : (*x)->pull < (*y)->pull ? 1 : 0;
}

static int print_text(cli *c, const sd_forecast *f, int64_t blame)
{
    static const out_col cols[] = {{"line", OUT_RIGHT}, {"share of the pull", OUT_RIGHT}, {"would be refused", OUT_RIGHT}, {"looks harmful", OUT_RIGHT}, {"loss", OUT_RIGHT}, {"to blame", OUT_LEFT}};
    char head[400];
    const sd_forecast_row **v = cli_keep(c, sd_malloc((size_t)f->n_used * sizeof *v));
    sd_err err = {0};
    double sum = 0;
    if (!v) {
        sd_fail(&err, SD_E_NOMEM, "out of memory: the list of rows");
        return cli_fail(c, &err);
    }
    for (int64_t i = 0; i < f->n_used; i++) v[i] = &f->row[i], sum += f->row[i].pull > 0 ? f->row[i].pull : 0;
    qsort(v, (size_t)f->n_used, sizeof *v, by_pull);
    out_table *t = out_table_new(c, cols, 6);
    for (int64_t i = 0; i < f->n_used && i < blame; i++) {
        out_i64(t, v[i]->line);
        out_cell(t, "%.1f %%", sum > 0 ? 100 * v[i]->pull / sum : 0);
        out_cell(t, "%.0f %%", 100 * v[i]->refused);
        out_f64(t, v[i]->harm, 2);
        out_f64(t, v[i]->loss, 2);
        out_str(t, v[i]->blamed ? "yes" : "");
    }
    int rc = out_table_end(t);
    sd_forecast_headline(head, sizeof head, f);
    out_say(c, "%s", head);
    return rc;
}

static sd_status write_page(cli *c, const sd_forecast *f, sd_err *err)
{
    sd_buf b;
    sd_buf_init(&b, (size_t)1 << 24);
    sd_status st = sd_forecast_write_html(&b, &(sd_forecast_page){f, c->arg[0], c->arg[1], c->prov.args}, err);
    if (!st) st = sd_file_write_atomic(c->output, b.p, b.n, err);
    if (!st) cli_note(c, "wrote %s", c->output);
    sd_buf_release(&b);
    return st;
}

static int cmd_audit_forecast(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    sd_suite *suite = NULL;
    sd_phrases phrases = {0};
    sd_forecast f = {0};
    sd_forecast_opt o = {0};
    if (!cli_parse(c, &cmd_audit_forecast_def, &a, argc, argv, &rc)) return rc;
    if (!a.suite.n) return cli_usage(c, "give prompts with --suite FILE");
    const sd_exec *ex = cli_exec(c, &err);
    sd_status st = ex && c->output ? cli_check_output(c, c->output, &err) : err.code;
    if (!st) st = cli_suites_open(&suite, &o.n_suite, c, &a.suite, a.limit, &err);
    if (!st) st = sd_phrases_open(&phrases, a.phrases, &err);
    if (!st) st = cli_model_hash(c, c->arg[0], &err);
    if (!st) st = cli_mode(c, ex, CLI_BULK, c->arg[0], &c->mode, &err);
    o.phrases = &phrases, o.model = c->arg[0], o.data = c->arg[1], o.suite = suite, o.lr = a.lr, o.steps = a.steps, o.epochs = a.epochs, o.batch = a.batch, o.rank = (int)a.lora, o.most_rows = a.rows;
    o.skip_blame = !a.blame, o.mode = c->mode, o.seed = c->seed, o.progress = &c->progress;
    if (!st) st = sd_lab_forecast(&f, ex, &o, &err);
    if (!st && c->output) st = write_page(c, &f, &err);
    if (st) {
        rc = cli_fail(c, &err);
    } else if (c->json) {
        out_json j;
        sd_forecast_write_json(out_json_begin(c, &j, "sonde.audit_forecast/1"), &f);
        rc = out_json_end(c, &j);
    } else {
        rc = print_text(c, &f, a.blame);
    }
    sd_forecast_release(&f);
    sd_phrases_release(&phrases);
    cli_suites_close(suite, o.n_suite);
    return rc;
}
