/* sonde direction sweep: an edit along a stored direction, in rising strength, for measurement. */
#include "cli/prompts.h"
#include "lab/direction_file.h"
#include "lab/suite.h"
#include "lab/sweep.h"

typedef struct args { const char *positive, *negative, *system, *text, *phrases; int64_t limit; } args;

static const cli_opt opts[] = {
    {0, "positive", OPT_STR, AT(args, positive), .arg = "FILE", .help = "prompts with the concept (harmful requests)"},
    {0, "negative", OPT_STR, AT(args, negative), .arg = "FILE", .help = "prompts without it (harmless requests)"},
    {0, "limit", OPT_INT, AT(args, limit), .arg = "N", .def = "64", .lo = 1, .hi = 1 << 20, .zero = "all", .help = "ask N prompts of each file, chosen by --seed"},
    {0, "system", OPT_STR, AT(args, system), .arg = "TEXT", .def = "default", .help = "system message: default (the template's own), none, or a text"},
    {0, "text", OPT_STR, AT(args, text), .arg = "FILE", .help = "text whose cross-entropy is taken at each strength; its first 4,096 tokens"},
    {0, "phrases", OPT_STR, AT(args, phrases), .arg = "FILE", .help = CLI_PHRASES_HELP},
    OPT_END};

enum { MAX_TOKENS = 4096 };

static int print(cli *c, const sd_sweep *s, const sd_direction_file *f, const sd_heard *h)
{
    char heard[400];
    static const out_col cols[] = {{"edit", OUT_LEFT}, {"w", OUT_RIGHT}, {"positive refused", OUT_RIGHT}, {"score", OUT_RIGHT}, {"negative refused", OUT_RIGHT},
                                   {"score", OUT_RIGHT}, {"KL", OUT_RIGHT}, {"cross-entropy", OUT_RIGHT}};
    if (c->json) {
        out_json j;
        sd_jw *w = out_json_begin(c, &j, "sonde.direction_sweep/1");
        sd_jw_kstr(w, "direction", f->name);
        sd_jw_ki64(w, "layer", f->layer);
        sd_jw_kstr(w, "prompts_sha256", s->prompts_sha256);
        sd_jw_kstr(w, "mode", sd_mode_name(c->mode));
        sd_jw_key(w, "rows");
        sd_jw_arr(w);
        for (int i = 0; i < SD_SWEEP_ROWS; i++) {
            const sd_sweep_row *r = &s->row[i];
            sd_jw_obj(w);
            sd_jw_kstr(w, "edit", r->add ? "add" : "ablate");
            sd_jw_kf64(w, "w", r->w);
            sd_jw_kf64(w, "refused_positive", r->refused_pos);
            sd_jw_kf64(w, "score_positive", r->score_pos);
            sd_jw_kf64(w, "refused_negative", r->refused_neg);
            sd_jw_kf64(w, "score_negative", r->score_neg);
            sd_jw_kf64(w, "kl", r->kl);
            sd_jw_kf64(w, "ce_loss", r->ce_loss);
            sd_jw_end(w);
        }
        sd_jw_end(w);
        cli_heard_json(w, h);
        return out_json_end(c, &j);
    }
    out_table *t = out_table_new(c, cols, 8);
    for (int i = 0; i < SD_SWEEP_ROWS; i++) {
        const sd_sweep_row *r = &s->row[i];
        out_str(t, i == 0 ? "none" : r->add ? "add" : "ablate");
        out_f64(t, r->w, 3);
        out_cell(t, "%.1f %%", 100 * r->refused_pos);
        out_f64(t, r->score_pos, 3);
        out_cell(t, "%.1f %%", 100 * r->refused_neg);
        out_f64(t, r->score_neg, 3);
        out_f64(t, r->kl, 3);
        out_f64(t, r->ce_loss, 5);
    }
    int rc = out_table_end(t);
    out_say(c, "%s", cli_heard_text(heard, sizeof heard, h));
    return rc;
}

static sd_status open_side(sd_suite *s, const char ***text, const char *kind, const char *path, const cli *c, int64_t limit, sd_err *err)
{
    char spec[1100];
    snprintf(spec, sizeof spec, "%s=%s", kind, path);
    sd_status st = sd_suite_open(s, strchr(path, '=') ? path : spec, err);
    if (st) return st;
    sd_suite_sample(s, limit, c->seed);
    st = sd_alloc(text, (size_t)s->n * sizeof **text, "prompts", err);
    for (int64_t i = 0; i < s->n && !st; i++) (*text)[i] = s->v[i].text;
    return st;
}

static int cmd_direction_sweep(cli *c, int argc, char **argv);
const cli_cmd cmd_direction_sweep_def = {
    .name = "direction sweep",
    .brief = "measure a model while a direction is taken out or added",
    .args = "MODEL NAME",
    .opts = opts,
    .uses = CLI_MODE | CLI_SEED,
    .run = cmd_direction_sweep,
    .text = "Partial ablation from 0 to 1.5 and addition from 0.25 to 1.5 of a direction that `sonde direction make` kept, against the share of first tokens\n"
            "that open a refusal, the KL of the first token on negative prompts, and the cross-entropy of a text. How single a point of failure is it?",
    .examples = "sonde direction sweep model.gguf refusal --positive harmful.json --negative harmless.json --text wiki.txt\n",
    .json = "sonde.direction_sweep/1"};

static int cmd_direction_sweep(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    sd_model *m = NULL;
    sd_suite side[2] = {{.n = 0}, {.n = 0}};
    const char **text[2] = {NULL, NULL};
    sd_direction_file f = {0};
    sd_ids ids = {0};
    sd_sweep s;
    sd_heard heard = {0};
    if (!cli_parse(c, &cmd_direction_sweep_def, &a, argc, argv, &rc)) return rc;
    if (!a.positive || !a.negative) return cli_usage(c, "give prompts with --positive FILE and --negative FILE");
    const sd_exec *ex = cli_exec(c, &err);
    sd_status st = ex ? open_side(&side[0], &text[0], "harmful", a.positive, c, a.limit, &err) : err.code;
    if (!st) st = open_side(&side[1], &text[1], "harmless", a.negative, c, a.limit, &err);
    if (!st) st = cli_model_hash(c, c->arg[0], &err);
    if (!st) st = sd_direction_load(&f, c->data_dir, c->prov.model_sha256, c->arg[1], 0, &err);
    if (!st) st = cli_check_input(a.text, &err);
    if (!st) st = cli_check_input(a.phrases, &err);
    if (!st) st = cli_model_open(c, ex, CLI_EXACT, c->arg[0], (sd_model_opt){0}, &m, &err);
    if (!st && f.d != m->cfg.d_model) st = sd_fail(&err, SD_E_SHAPE, "the direction '%s' has %lld numbers, the model's width is %lld", f.name, (long long)f.d, (long long)m->cfg.d_model);
    if (!st && a.text) st = cli_text_ids(&ids, m, a.text, &err);
    if (!st) {
        sd_sweep_opt o = {.pos = text[0], .neg = text[1], .n_pos = side[0].n, .n_neg = side[1].n, .vector = f.vector, .layer = f.layer, .text = ids.v,
                          .n_text = ids.n < MAX_TOKENS ? ids.n : MAX_TOKENS, .progress = &c->progress};
        o.system = sd_system_of(a.system);
        st = sd_lab_sweep(&s, ex, m, &o, &err);
        if (!st) st = cli_heard(&heard, c, m, &s.refusal, (sd_heard_ask){.text = text[0], .n = side[0].n, .system = o.system}, a.phrases, &err);
    }
    rc = st ? cli_fail(c, &err) : print(c, &s, &f, &heard);
    for (int k = 0; k < 2; k++) {
        sd_suite_release(&side[k]);
        sd_free(text[k]);
    }
    sd_direction_file_release(&f);
    sd_ids_release(&ids);
    sd_model_close(m);
    return rc;
}
