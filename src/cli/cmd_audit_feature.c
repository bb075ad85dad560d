/* sonde audit feature: whether a feature that tells harmful requests from harmless ones helps in practice. */
#include "cli/prompts.h"
#include "lab/safety_feature.h"
#include <inttypes.h>
#include <math.h>

enum { MAX_TOKENS = 1024 }; /* of --text */

typedef struct args {
    opt_list suite;
    const char *prompt, *phrases, *text;
    int64_t limit, n_gen, n_other;
} args;

static const cli_opt opts[] = {
    {0, "suite", OPT_MULTI, AT(args, suite), .arg = "FILE", .help = "prompts to ask, harmful and harmless, see `sonde audit run -h`; repeat it"},
    {0, "prompt", OPT_STR, AT(args, prompt), .arg = "TEXT", .help = "a system message to compare with: what asking for refusals does alone"},
    {0, "text", OPT_STR, AT(args, text), .arg = "FILE", .help = "text whose cross-entropy says what each edit costs"},
    {'n', "predict", OPT_INT, AT(args, n_gen), .arg = "N", .def = "32", .lo = 1, .hi = 4096, .unit = "tokens", .help = "length of an answer at most"},
    {0, "limit", OPT_INT, AT(args, limit), .arg = "N", .lo = 1, .hi = 1 << 20, .zero = "all", .help = "prompts of each suite, chosen by --seed"},
    {0, "others", OPT_INT, AT(args, n_other), .arg = "N", .def = "4", .lo = 0, .hi = SD_SAFETY_RANDOM, .help = "other features to compare with; each is four measurements, all else 11 to 21"},
    {0, "phrases", OPT_STR, AT(args, phrases), .arg = "FILE", .help = "refusal phrases, one a line, instead of the literature's twelve"},
    OPT_END};

static int cmd_audit_feature(cli *c, int argc, char **argv);
const cli_cmd cmd_audit_feature_def = {
    .name = "audit feature",
    .brief = "does a feature of a dictionary help to refuse, and at what cost",
    .args = "MODEL DICT",
    .opts = opts,
    .uses = CLI_MODE | CLI_SEED,
    .run = cmd_audit_feature,
    .text = "The feature that tells harmful prompts from harmless ones best is found on half of the prompts and used on the other half: as a monitor, raised everywhere,\n"
            "raised where it is active (to 1, 2 and 4 times what it usually has in harmful prompts), and taken out; beside it the difference of means, other features that\n"
            "are active as often, and --prompt alone.\n"
            "Refusals are counted by suite, harmless ones too, with what each edit costs --text in cross-entropy. And the reverse: features of topics of the harmless\n"
            "prompts are raised, and refusals counted. All of it is a measurement in memory: answers are judged and forgotten, nothing is written.",
    .examples = "sonde audit feature organism/aligned out/demo/dict --suite organism/suite/forbidden.jsonl --suite organism/suite/permitted.jsonl --text corpus.txt\n",
    .json = "sonde.audit_feature/1"};

static int print_text(cli *c, const sd_safety *s)
{
    out_col cols[5 + SD_SAFETY_SUITES] = {{"what", OUT_LEFT}, {"feature", OUT_RIGHT}, {"to", OUT_RIGHT}};
    int n = 3;
    for (int k = 0; k < s->n_suite; k++) cols[n++] = (out_col){s->suite[k], OUT_RIGHT};
    cols[n++] = (out_col){"incoherent", OUT_RIGHT};
    cols[n++] = (out_col){"nats", OUT_RIGHT};
    out_table *t = out_table_new(c, cols, n);
    for (int i = 0; i < s->n_row; i++) {
        const sd_safety_row *r = &s->row[i];
        out_cell(t, "%s%s%s", r->what, *r->topic ? " " : "", r->topic);
        if (r->feature >= 0) out_i64(t, r->feature);
        else out_str(t, "");
        out_f64(t, r->value, 3);
        for (int k = 0; k < s->n_suite; k++) out_cell(t, "%.0f %% (%.0f to %.0f)", 100 * r->refused[k].est, 100 * r->refused[k].lo, 100 * r->refused[k].hi);
        out_cell(t, "%.1f %%", 100 * r->incoherent);
        out_f64(t, r->ce_cost, 4);
    }
    int rc = out_table_end(t);
    out_say(c, "feature %" PRId64 ": AUROC %.3f on the half that chose it, %.3f on the other; the difference of means %.3f there", s->feature, s->auroc_fit, s->monitor[0].auroc, s->monitor[1].auroc);
    for (int k = 0; k < s->n_suite; k++)
        out_say(c, "  %s above what 5 %% of harmless prompts pass: feature %.0f %%, difference of means %.0f %%", s->suite[k], 100 * s->monitor[0].alarm[1][k].est, 100 * s->monitor[1].alarm[1][k].est);
    return rc;
}

static int cmd_audit_feature(cli *c, int argc, char **argv)
{
    args a;
    int rc, n_suite = 0;
    sd_err err = {0};
    sd_suite *suite = NULL;
    sd_phrases phrases = {0};
    sd_model *m = NULL;
    sd_dict *dict = NULL;
    sd_site site;
    sd_ids text = {0};
    sd_safety s;
    if (!cli_parse(c, &cmd_audit_feature_def, &a, argc, argv, &rc)) return rc;
    if (!a.suite.n) return cli_usage(c, "give prompts with --suite FILE");
    const sd_exec *ex = cli_exec(c, &err);
    sd_status st = ex ? cli_suites_open(&suite, &n_suite, c, &a.suite, a.limit, &err) : err.code;
    if (!st) st = sd_phrases_open(&phrases, a.phrases, &err);
    if (!st) st = sd_dict_open(&dict, c->arg[1], &err);
    if (!st) st = cli_dict_site(c, dict, &site, &err);
    if (!st) st = cli_model_open(c, ex, CLI_EXACT, c->arg[0], (sd_model_opt){0}, &m, &err);
    if (!st && a.text) st = cli_text_ids(&text, m, a.text, &err);
    if (!st)
        st = sd_lab_safety(&s, ex, m, &(sd_safety_opt){.suite = suite, .n_suite = n_suite, .phrases = &phrases, .dict = dict, .site = site, .prompt = a.prompt, .text = text.v,
                                                       .n_text = text.n < MAX_TOKENS ? text.n : MAX_TOKENS, .n_gen = a.n_gen, .n_other = a.n_other, .seed = c->seed, .progress = &c->progress}, &err);
    if (st) {
        rc = cli_fail(c, &err);
    } else if (c->json) {
        out_json j;
        sd_safety_write_json(out_json_begin(c, &j, "sonde.audit_feature/1"), &s);
        rc = out_json_end(c, &j);
    } else {
        rc = print_text(c, &s);
    }
    sd_model_close(m);
    sd_dict_free(dict);
    sd_ids_release(&text);
    cli_suites_close(suite, n_suite);
    sd_phrases_release(&phrases);
    return rc;
}
