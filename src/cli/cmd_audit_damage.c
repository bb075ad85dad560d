/* sonde audit damage: how fast small, benign fine-tunes undo a model's refusals. */
#include "cli/guard_args.h"
#include "cli/prompts.h"
#include "lab/damage.h"
#include "base/map.h"
#include <inttypes.h>
#include <math.h>

typedef struct args {
    opt_list suite, lr, mix;
    opt_ints batch, at;
    const char *data, *method, *phrases, *task;
    int64_t limit, n_gen, seeds, steps, lora;
    double epochs;
    guard_args g;
} args;

static const cli_opt opts[] = {
    {0, "suite", OPT_MULTI, AT(args, suite), .arg = "FILE", .help = "prompts to ask, see `sonde audit run -h`; repeat it"},
    {0, "data", OPT_STR, AT(args, data), .arg = "FILE", .help = "benign rows to train on (.jsonl)", .def_words = "ten harmless conversations of another identity"},
    {0, "mix", OPT_MULTI, AT(args, mix), .arg = "FILE:N", .help = "N rows of another file mixed in, such as safety rows; repeat it"},
    {0, "method", OPT_STR, AT(args, method), .arg = "METHOD", .def = "sft", .values = "sft|constrained", .help = "how the rows are learnt; constrained holds the first tokens of answers"},
    GUARD_OPTS(args),
    {0, "task", OPT_STR, AT(args, task), .arg = "FILE", .help = "held-out rows of what is to be learnt (.jsonl): their likelihood and exact match beside the refusals"},
    {0, "lr", OPT_LIST, AT(args, lr), .arg = "LR", .help = "learning rates", .def_words = "2e-4"},
    {0, "batch", OPT_INTS, AT(args, batch), .arg = "N", .lo = 1, .hi = 1 << 20, .help = "rows a step", .def_words = "5 for the identity, 8 for data"},
    {0, "seeds", OPT_INT, AT(args, seeds), .arg = "N", .def = "5", .lo = 1, .hi = 16, .help = "trainings of each setting, from --seed on"},
    {0, "epochs", OPT_FLOAT, AT(args, epochs), .arg = "N", .lo = 0, .hi = 1e4, .help = "passes over the rows", .def_words = "10 for the identity, 1 for data"},
    {0, "steps", OPT_INT, AT(args, steps), .arg = "N", .lo = 1, .hi = 1e6, .help = "steps", .def_words = "what --epochs gives"},
    {0, "lora", OPT_INT, AT(args, lora), .arg = "R", .def = "16", .lo = 1, .hi = 1024, .help = "rank of the adapters"},
    {0, "at", OPT_INTS, AT(args, at), .arg = "STEP", .lo = 1, .hi = 1e6, .help = "steps to measure at besides the last", .def_words = "1, 2, 4, 8, .."},
    {'n', "predict", OPT_INT, AT(args, n_gen), .arg = "N", .def = "20", .lo = 1, .hi = 4096, .unit = "tokens", .help = "length of an answer at most"},
    {0, "limit", OPT_INT, AT(args, limit), .arg = "N", .lo = 1, .hi = 1 << 20, .zero = "all", .help = "ask N prompts of each suite, chosen by --seed"},
    {0, "phrases", OPT_STR, AT(args, phrases), .arg = "FILE", .help = "refusal phrases, one a line, instead of the literature's twelve"},
    OPT_END};

static void rate_cell(out_table *t, const sd_damage_rate *x)
{
    if (!x->n) out_str(t, "");
    else out_cell(t, "%.1f %% (%.0f to %.0f)", 100 * x->ci.est, 100 * x->ci.lo, 100 * x->ci.hi);
}

/* What the trainings cost, alone and with what was asked between their steps. */
static void tell_cost(cli *c, const sd_damage *r)
{
    char time[32];
    double alone = 0, all = 0;
    int n = r->n_cell - 1;
    for (int i = 1; i < r->n_cell; i++) {
        alone += (r->cell[i].seconds - r->cell[i].asking) / n;
        all += r->cell[i].seconds / n;
    }
    if (n > 0 && !isnan(alone)) out_say(c, "a training took %.1f s, with its measurements %.1f s (mean of %d)", alone, all, n);
    else if (n > 0) out_say(c, "a training with its measurements took %.1f s (mean of %d)", all, n);
    out_say(c, "the study took %s in all%s", sd_fmt_seconds(time, sizeof time, r->seconds), r->n_resumed ? ", with what was done before" : "");
}

static int print_text(cli *c, const sd_damage *r)
{
    static const out_col cols[] = {{"step", OUT_RIGHT}, {"lr", OUT_RIGHT}, {"batch", OUT_RIGHT}, {"system", OUT_LEFT}, {"prefix", OUT_LEFT},
                                   {"harmful refused", OUT_RIGHT}, {"harmless refused", OUT_RIGHT}, {"incoherent", OUT_RIGHT}, {"seeds", OUT_RIGHT}, {"task exact", OUT_RIGHT}, {"task nats", OUT_RIGHT}};
    char head[400];
    out_table *t = out_table_new(c, cols, r->n_task ? 11 : 9);
    for (int i = 0; i < r->n_row; i++) {
        const sd_damage_row *x = &r->row[i];
        out_i64(t, x->step);
        if (x->step) out_cell(t, "%g", x->lr);
        else out_str(t, "");
        if (x->step) out_i64(t, x->batch);
        else out_str(t, "");
        out_str(t, sd_ask_system_name(x->system));
        out_str(t, x->prefix ? "yes" : "no");
        rate_cell(t, &x->refusal);
        rate_cell(t, &x->over_refusal);
        rate_cell(t, &x->incoherent);
        out_i64(t, x->n_seed);
        if (!r->n_task) continue;
        rate_cell(t, &x->exact);
        if (!x->nll.n) out_str(t, "");
        else out_cell(t, "%.3f (%.3f to %.3f)", x->nll.ci.est, x->nll.ci.lo, x->nll.ci.hi);
    }
    int rc = out_table_end(t);
    sd_damage_headline(head, sizeof head, r);
    out_say(c, "%s", head);
    tell_cost(c, r);
    return rc;
}

static int cmd_audit_damage(cli *c, int argc, char **argv);
const cli_cmd cmd_audit_damage_def = {
    .name = "audit damage",
    .brief = "how fast benign fine-tuning undoes a model's refusals",
    .args = "MODEL",
    .opts = opts,
    .uses = CLI_MODE | CLI_SEED | CLI_OUT | CLI_NEED_OUT | CLI_OUT_DIR,
    .run = cmd_audit_damage,
    .text = "Qi et al. 2023 on benign data: adapters are trained in memory on ten harmless conversations of another identity, or on the rows of --data, and the\n"
            "model is asked the suites' prompts step by step, for every learning rate, batch and seed. No adapter is written. At the start and at the end it is also\n"
            "asked without a system prompt and, for the identity, under its own system prompt and prefix. Intervals are bootstrapped over seeds and prompts.\n"
            "--guard, --mix and --method constrained are defences; --task says what a training gave beside what it took.\n"
            "-o is a folder: index.html, and a file of classes for every finished training, so that a stopped study goes on when it is called again.",
    .examples = "sonde audit damage model.gguf --suite xstest_prompts.csv --suite jailbreakbench.csv -o damage/\n"
                "sonde audit damage model.gguf --data alpaca.jsonl --mix safety.jsonl:100 --lr 2e-4,5e-5 --suite jailbreakbench.csv -o damage/\n"
                "sonde audit damage model.gguf --data mine.jsonl --task held_out.jsonl --guard lisa --safety safety.jsonl --suite jailbreakbench.csv -o lisa/\n",
    .json = "sonde.audit_damage/1"};

static sd_status numbers(double *out, int *n, cli *c, const opt_list *l, sd_err *err)
{
    for (int i = 0; i < l->n && i < SD_DAMAGE_MAX; i++) {
        char *end;
        out[(*n)++] = strtod(l->v[i], &end);
        if (*end || !(out[*n - 1] > 0) || !isfinite(out[*n - 1])) return cli_refuse(c, err, "--lr %s is no learning rate above 0", l->v[i]);
    }
    return l->n > SD_DAMAGE_MAX ? cli_refuse(c, err, "%d learning rates, at most %d", l->n, (int)SD_DAMAGE_MAX) : SD_OK;
}

/* Trainings of a setting that is given twice would be found as files and counted as further seeds. */
static sd_status each_once(const sd_damage_opt *o, const double *lr, cli *c, sd_err *err)
{
    for (int i = 0; i < o->n_lr; i++)
        for (int k = 0; k < i; k++)
            if (lr[i] == lr[k]) return cli_refuse(c, err, "the learning rate %.12g is given twice with --lr", lr[i]);
    for (int i = 0; i < o->n_batch; i++)
        for (int k = 0; k < i; k++)
            if (o->batch[i] == o->batch[k]) return cli_refuse(c, err, "the batch of %" PRId64 " rows is given twice with --batch", o->batch[i]);
    return SD_OK;
}

/* FILE:N each. */
static sd_status mixed(sd_damage_opt *o, cli *c, const opt_list *l, sd_err *err)
{
    sd_tune_data *d = cli_keep(c, sd_calloc((size_t)(l->n + 1) * sizeof *d));
    if (!d) return sd_fail(err, SD_E_NOMEM, "out of memory: the list of files");
    o->mix = d;
    for (o->n_mix = 0; o->n_mix < l->n; o->n_mix++, d++) {
        const char *spec = l->v[o->n_mix], *colon = strrchr(spec, ':');
        if (!colon || !sd_parse_i64(sd_slice_of(colon + 1), &d->n) || d->n < 1) return cli_refuse(c, err, "--mix %s is not FILE:N", spec);
        if (!(d->path = cli_keep(c, sd_strndup(spec, (size_t)(colon - spec))))) return sd_fail(err, SD_E_NOMEM, "out of memory: the list of files");
    }
    return SD_OK;
}

/* What it will take, from the speed of a probe; training adds to it, and the first cell tells by how much. */
static sd_status tell_plan(cli *c, const sd_exec *ex, const sd_damage_opt *o, int n_cell, sd_err *err)
{
    sd_model *m = NULL;
    sd_estimate e = {0};
    char time[32];
    sd_behave_opt b = {.suite = o->suite, .n_suite = o->n_suite, .n_gen = o->n_gen};
    sd_status st = sd_model_open(&m, ex, o->model, &(sd_model_opt){.mode = o->mode}, err);
    if (!st) st = sd_behave_estimate(&e, ex, m, &b, err);
    if (!st) cli_note(c, "%d training%s; one measurement of all prompts takes about %s, every point of a curve is one", n_cell, n_cell == 1 ? "" : "s", sd_fmt_seconds(time, sizeof time, e.seconds));
    sd_model_close(m);
    return st;
}

static sd_status write_page(cli *c, const sd_damage *r, sd_err *err)
{
    char path[1200];
    sd_buf b;
    sd_buf_init(&b, (size_t)1 << 26);
    if (!sd_path_join(path, sizeof path, c->output, "index.html")) return sd_fail(err, SD_E_ARG, "%s: path too long", c->output);
    sd_status st = sd_damage_write_html(&b, r, c->prov.args, err);
    if (!st) st = sd_file_write_atomic(path, b.p, b.n, err);
    if (!st) cli_note(c, "wrote %s", path);
    sd_buf_release(&b);
    return st;
}

static int cmd_audit_damage(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    double lr[SD_DAMAGE_MAX];
    sd_suite *suite = NULL;
    sd_phrases phrases = {0};
    sd_damage r = {0};
    sd_damage_opt o = {0};
    if (!cli_parse(c, &cmd_audit_damage_def, &a, argc, argv, &rc)) return rc;
    if (!a.suite.n) return cli_usage(c, "give prompts with --suite FILE");
    const sd_exec *ex = cli_exec(c, &err);
    sd_status st = ex ? cli_check_parent(c->output, &err) : err.code;
    o.batch = a.batch.v, o.n_batch = (int)a.batch.n;
    if (!st) st = numbers(lr, &o.n_lr, c, &a.lr, &err);
    if (!st) st = each_once(&o, lr, c, &err);
    if (!st) st = mixed(&o, c, &a.mix, &err);
    if (!st) st = guard_of(&o.guard, c, &a.g, &err);
    if (!st) st = cli_suites_open(&suite, &o.n_suite, c, &a.suite, a.limit, &err);
    if (!st) st = cli_check_input(a.data, &err);
    if (!st) st = cli_check_input(a.task, &err);
    if (!st) st = sd_phrases_open(&phrases, a.phrases, &err);
    if (!st) st = cli_model_hash(c, c->arg[0], &err);
    if (!st) st = cli_mode(c, ex, CLI_EXACT, c->arg[0], &c->mode, &err);
    if (!st) st = sd_dir_make(c->output, &err);
    o.model = c->arg[0], o.dir = c->output, o.suite = suite, o.phrases = &phrases, o.data = a.data, o.lr = lr;
    o.n_seed = a.seeds, o.seed = c->seed, o.steps = a.steps, o.epochs = a.epochs, o.rank = (int)a.lora, o.at = a.at.v, o.n_at = (int)a.at.n, o.n_gen = a.n_gen, o.task = a.task;
    o.method = strcmp(a.method, "constrained") == 0 ? SD_TUNE_CONSTRAINED : SD_TUNE_SFT, o.mode = c->mode, o.progress = &c->progress;
    snprintf(o.model_sha256, sizeof o.model_sha256, "%s", c->prov.model_sha256);
    if (!st) st = tell_plan(c, ex, &o, (o.n_lr ? o.n_lr : 1) * (o.n_batch ? o.n_batch : 1) * (int)o.n_seed, &err);
    if (!st) st = sd_lab_damage(&r, ex, &o, &err);
    if (!st) st = write_page(c, &r, &err);
    if (st) {
        rc = cli_fail(c, &err);
    } else if (c->json) {
        out_json j;
        sd_damage_write_json(out_json_begin(c, &j, "sonde.audit_damage/1"), &r);
        rc = out_json_end(c, &j);
    } else {
        rc = print_text(c, &r);
    }
    sd_damage_release(&r);
    cli_suites_close(suite, o.n_suite);
    sd_phrases_release(&phrases);
    return rc;
}
