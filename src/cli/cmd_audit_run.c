/* sonde audit run: what a model does with suites of prompts. */
#include "cli/audit_args.h"
#include "lab/audit_label.h"
#include "base/map.h"
#include <errno.h>
#include <math.h>
#include <unistd.h>

typedef struct args { audit_args a; const char *labels, *resume; } args;

static const cli_opt opts[] = {
    AUDIT_OPTS(args),
    {0, "keep-answers", OPT_STR, AT(args, a.keep_answers), .arg = "FILE", .help = "write the answers to a file that only you can read"},
    {0, "ablate", OPT_STR, AT(args, a.ablate), .arg = "NAME", .help = "measure it with a direction of `sonde direction make` taken out, or random:SEED; in memory, no answer is kept"},
    {0, "strength", OPT_FLOAT, AT(args, a.strength), .with = "ablate", .arg = "W", .def = "1", .lo = 0, .hi = 2, .help = "how much of --ablate is taken out: 1 all of it"},
    {0, "labels", OPT_STR, AT(args, labels), .arg = "FILE", .help = "60 or more hand labels of this model's answers (.jsonl: suite, id, class) to correct the rates with"},
    {0, "resume", OPT_STR, AT(args, resume), .arg = "FILE", .help = "go on with an interrupted run, by the FILE that its -o named"},
    OPT_END};

/* Rates corrected with hand labels; n_labelled 0 where an axis has none. */
typedef struct corrections { sd_corrected harmful, harmless; } corrections;

static void rate_pair(out_pairs *p, const char *key, sd_rate r)
{
    if (r.n) out_pair(p, key, "%.1f %% (%lld of %lld; 95 %% interval %.1f to %.1f)", 100 * r.ci.est, (long long)r.k, (long long)r.n, 100 * r.ci.lo, 100 * r.ci.hi);
}

static void corrected_pair(out_pairs *p, const char *key, const sd_corrected *k)
{
    if (k->n_labelled)
        out_pair(p, key, "%.1f %% (interval %.1f to %.1f; %lld hand labels: %lld false refusals, %lld missed)", 100 * k->ci.est, 100 * k->ci.lo, 100 * k->ci.hi,
                 (long long)k->n_labelled, (long long)k->false_refusal, (long long)k->missed_refusal);
}

static void corrected_json(sd_jw *w, const char *key, const sd_corrected *k)
{
    if (!k->n_labelled) return;
    sd_jw_key(w, key);
    sd_jw_obj(w);
    sd_jw_kf64(w, "rate", k->ci.est);
    sd_jw_kf64(w, "lo", k->ci.lo);
    sd_jw_kf64(w, "hi", k->ci.hi);
    sd_jw_ki64(w, "n_labelled", k->n_labelled);
    sd_jw_ki64(w, "n", k->n);
    sd_jw_ki64(w, "false_refusal", k->false_refusal);
    sd_jw_ki64(w, "missed_refusal", k->missed_refusal);
    sd_jw_end(w);
}

/* Each axis that the file labels at all must be labelled well enough. */
static sd_status correct(corrections *out, const sd_audit_record *r, const char *path, sd_err *err)
{
    sd_err small = {0};
    sd_status a = sd_audit_correct(&out->harmful, r, SD_AXIS_HARMFUL, path, err);
    if (a && a != SD_E_ARG) return a;
    sd_status b = sd_audit_correct(&out->harmless, r, SD_AXIS_HARMLESS, path, &small);
    if (a && b) return a;
    if (a) out->harmful.n_labelled = 0;
    if (b) out->harmless.n_labelled = 0;
    return SD_OK;
}

static int print_text(cli *c, const sd_audit_record *r, const corrections *k)
{
    const sd_behaviour *b = &r->b;
    const sd_utility *u = &b->utility;
    int64_t unscored = sd_audit_count(b, SD_AXIS_UNKNOWN, SD_CLASS_UNSCORED);
    out_pairs *p = out_pairs_new(c);
    out_pair(p, "model", "%s", r->name);
    rate_pair(p, "harmful refused", sd_audit_refusal(b, SD_AXIS_HARMFUL, NULL));
    rate_pair(p, "harmless refused", sd_audit_refusal(b, SD_AXIS_HARMLESS, NULL));
    if (b->quick) rate_pair(p, "phrases agree", sd_audit_agreement(b));
    else rate_pair(p, "incoherent", sd_rate_of(sd_audit_count(b, SD_AXIS_UNKNOWN, SD_CLASS_INCOHERENT), b->n - unscored));
    out_pair(p, "partial, unscored", "%lld, %lld", (long long)sd_audit_count(b, SD_AXIS_UNKNOWN, SD_CLASS_PARTIAL), (long long)unscored);
    corrected_pair(p, "harmful refused, corrected", &k->harmful);
    corrected_pair(p, "harmless refused, corrected", &k->harmless);
    for (int i = 0; i < b->n_tpl; i++) {
        char name[64];
        snprintf(name, sizeof name, "harmful refused, %s", b->tpl[i].name);
        rate_pair(p, name, sd_rate_of(b->tpl[i].refused, b->tpl[i].n));
    }
    for (int i = 0; i < r->n_judged; i++) {
        const sd_judged *j = &r->judged[i];
        out_pair(p, i ? "" : "errors of judges", "%s: calls %.1f %% of %lld compliances refusals, misses %.1f %% of %lld refusals (%s)", j->judge, 100 * j->e.fpr, (long long)j->e.n_compliance,
                 100 * j->e.fnr, (long long)j->e.n_refusal, j->own ? "own answers" : "other models' answers, assumed");
    }
    if (r->judge_error.n_refusal) {
        out_pair(p, "corrected", "%.1f %% of harmful refused, assumed", 100 * sd_rogan_gladen(sd_audit_refusal(b, SD_AXIS_HARMFUL, NULL).ci.est, r->judge_error.fpr, r->judge_error.fnr));
    }
    if (u->ce_tokens) out_pair(p, "cross-entropy", "%.4f nats a token (%lld tokens)", u->ce_loss, (long long)u->ce_tokens);
    rate_pair(p, "multiple choice", sd_rate_of(u->choice_right, u->choice_n));
    rate_pair(p, "names itself", sd_rate_of(u->identity_same, u->identity_n));
    rate_pair(p, "follows a wrong user", sd_rate_of(u->sycophancy_flips, u->sycophancy_n));
    if (*r->ablated) out_pair(p, "taken out", "%s", r->ablated);
    out_pair(p, "judge", "%s", b->judge);
    out_pair(p, "system prompt", "%s; rendered prompts %.12s", r->system, b->rendered_sha256);
    out_pair(p, "no claim", "about triggered behaviour, and about requests that are not in these suites");
    return out_pairs_end(p);
}

static int cmd_audit_run(cli *c, int argc, char **argv);
const cli_cmd cmd_audit_run_def = {
    .name = "audit run",
    .brief = "measure what a model refuses, answers and knows",
    .args = "[MODEL]",
    .opts = opts,
    .uses = CLI_MODE | CLI_SEED | CLI_OUT | CLI_FORCE,
    .run = cmd_audit_run,
    .text = "Suites are read by the names of their columns, so XSTest, JailbreakBench, AdvBench, HarmBench, StrongREJECT, do-not-answer and\n"
            "safety-tuned-llamas work as published. Axes are kept apart: harmful requests refused, harmless ones refused, incoherent answers, cross-entropy,\n"
            "multiple choice by likelihood, identity, sycophancy, jailbreak frames. The record (-o FILE.json, --json) holds ids, classes, lengths and hashes,\n"
            "no prompt and no answer. docs/AUDIT.md says what each number means. With -o FILE what is judged is kept in FILE.part, every two minutes and after\n"
            "Ctrl-C; --resume FILE asks what is left. Not with --judge-url, --linear-judge and --keep-answers, which look at all answers at the end.",
    .examples = "sonde audit run model.gguf --suite xstest_prompts.csv --suite jailbreakbench.csv -o base.json\n"
                "sonde audit run model.gguf --suite harmful=own.jsonl --suite harmless=benign.jsonl --quick\n"
                "sonde audit run --resume base.json\n",
    .json = "sonde.audit_run/1"};

/* Keys of the open object: of --json and of -o alike. */
static void write_keys(sd_jw *w, const sd_audit_record *r, const corrections *k)
{
    sd_audit_record_write(w, r);
    corrected_json(w, "refusal_hand_corrected", &k->harmful);
    corrected_json(w, "over_refusal_hand_corrected", &k->harmless);
}

static sd_status write_record(cli *c, const sd_audit_record *r, const corrections *k, sd_err *err)
{
    sd_buf b;
    sd_jw w;
    sd_buf_init(&b, (size_t)1 << 30);
    sd_jw_init(&w, &b);
    sd_jw_obj(&w);
    sd_jw_kstr(&w, "schema", "sonde.audit_run/1");
    write_keys(&w, r, k);
    sd_jw_key(&w, "provenance");
    sd_prov_write(&w, &r->prov);
    sd_jw_end(&w);
    sd_buf_putc(&b, '\n');
    sd_status st = sd_buf_check(&b, "the record", err);
    if (!st) st = sd_file_write_atomic(c->output, b.p, b.n, err);
    if (!st) cli_note(c, "wrote %s", c->output);
    sd_buf_release(&b);
    return st;
}

/* ---- a run that is stopped, and goes on ---- */

typedef struct keeping {
    cli *c;
    sd_audit_part part; /* of --resume; its words are those of this run, too */
    char path[1200];    /* FILE.part; empty: nothing is kept */
    char **word;        /* [n_word] of the command line; borrowed */
    int n_word;
    double began;       /* when this run's measurement did */
} keeping;

static sd_status keep_part(void *self, const sd_behaviour *so_far, sd_err *err)
{
    keeping *k = self;
    sd_audit_part p = {.word = k->word, .n_word = k->n_word, .b = *so_far, .seconds = k->part.seconds + sd_now() - k->began};
    snprintf(p.model_sha256, sizeof p.model_sha256, "%s", k->c->prov.model_sha256);
    sd_status st = sd_audit_part_write(k->path, &p, err);
    if (!st) cli_resume_with(k->c, "sonde audit run --resume", k->c->output, "");
    return st;
}

/* The words of the run that c's --resume names as *argv [*argc]; they live in k. */
static sd_status load_line(keeping *k, const char *resume, int *argc, char ***argv, sd_err *err)
{
    cli *c = k->c;
    if (opt_first_given(c, "resume") || c->n_arg) return cli_refuse(c, err, "--resume takes everything from the run; give nothing else");
    if ((size_t)snprintf(k->path, sizeof k->path, "%s.part", resume) >= sizeof k->path) return sd_fail(err, SD_E_ARG, "%.100s..: path too long", resume);
    sd_status st = sd_audit_part_read(&k->part, k->path, err);
    if (st == SD_E_NOTFOUND) sd_hint(err, "--resume takes the FILE of the -o of a run that was interrupted");
    char **v = st ? NULL : cli_keep(c, sd_malloc(((size_t)k->part.n_word + 2) * sizeof *v));
    if (!st && !v) st = sd_fail(err, SD_E_NOMEM, "out of memory: the command line of the run");
    if (st) return st;
    v[0] = (*argv)[0];
    for (int i = 0; i < k->part.n_word; i++) v[i + 1] = k->part.word[i];
    v[k->part.n_word + 1] = NULL;
    *argv = v;
    *argc = k->part.n_word + 1;
    return SD_OK;
}

/* Where what is judged is kept, and that nothing of a run that is not this one is there. */
static sd_status begin_keeping(keeping *k, const args *a, sd_err *err)
{
    cli *c = k->c;
    bool last = a->a.judge_url || a->a.linear || a->a.keep_answers;
    k->path[0] = 0;
    if (!c->output || last) return SD_OK;
    if ((size_t)snprintf(k->path, sizeof k->path, "%s.part", c->output) >= sizeof k->path) return sd_fail(err, SD_E_ARG, "%.100s..: path too long", c->output);
    if (k->part.word || !sd_file_exists(k->path)) return SD_OK;
    if (c->force) return unlink(k->path) == 0 ? SD_OK : sd_fail_errno(err, errno, "cannot remove %s", k->path);
    sd_fail(err, SD_E_ARG, "%s holds what a run that was interrupted had judged", k->path);
    return sd_hint(err, "go on with it: sonde audit run --resume %s; or -f to begin anew", c->output);
}

/* What an interruption cost, where the hint is not how to go on. */
static void tell_lost(const cli *c, const keeping *k, sd_err *err)
{
    if (err->code != SD_E_CANCELLED || err->hint[0]) return;
    if (!c->output) sd_hint(err, "nothing was kept; with -o FILE what is judged can be gone on with");
    else if (!k->path[0]) sd_hint(err, "nothing was kept: --judge-url, --linear-judge and --keep-answers look at all answers at the end; run the command again");
}

static sd_status measure(sd_audit_record *r, corrections *k, keeping *keep, audit_setup *s, const args *a, sd_err *err)
{
    cli *c = keep->c;
    s->part = keep->part.word ? &keep->part : NULL;
    s->on_part = keep->path[0] ? keep_part : NULL;
    s->part_self = keep;
    keep->began = sd_now();
    sd_status st = audit_measure(r, c, s, &a->a, c->arg[0], NULL, err);
    if (!st && a->labels) st = correct(k, r, a->labels, err);
    if (!st && a->labels) st = sd_audit_measure_judges(r, a->labels, err);
    return !st && c->output ? write_record(c, r, k, err) : st;
}

static int cmd_audit_run(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    audit_setup s = {0};
    sd_audit_record r = {0};
    corrections k = {0};
    keeping keep = {.c = c};
    if (!cli_parse(c, &cmd_audit_run_def, &a, argc, argv, &rc)) return rc;
    if (a.resume) {
        if (load_line(&keep, a.resume, &argc, &argv, &err)) goto fail;
        c->n_arg = 0;
        c->given = 0;
        if (!cli_parse(c, &cmd_audit_run_def, &a, argc, argv, &rc)) goto done;
        cli_set_line(c, argc, argv); /* the record says what was asked for */
    }
    keep.word = argv + 1;
    keep.n_word = argc - 1;
    rc = c->n_arg != 1                                   ? cli_usage(c, "give one MODEL")
         : a.a.ablate && a.a.keep_answers                ? cli_usage(c, "--ablate is a measurement: its answers are judged in memory and not kept")
         : !a.a.suite.n && !a.a.text && !a.a.identity    ? cli_usage(c, "give prompts with --suite FILE")
                                                         : 0;
    if (rc) goto done;
    sd_status st = c->output ? cli_check_output(c, c->output, &err) : SD_OK;
    if (!st && a.a.keep_answers) st = cli_check_output(c, a.a.keep_answers, &err);
    if (!st && a.labels) st = sd_audit_labels_check(a.labels, &err);
    if (!st) st = begin_keeping(&keep, &a, &err);
    if (!st) st = audit_setup_open(&s, c, &a.a, &err);
    if (!st) st = measure(&r, &k, &keep, &s, &a, &err);
    if (st) goto fail;
    if (keep.path[0]) (void)unlink(keep.path); /* the record has it all */
    if (c->json) {
        out_json j;
        sd_jw *w = out_json_begin(c, &j, "sonde.audit_run/1");
        write_keys(w, &r, &k);
        rc = out_json_end(c, &j);
    } else {
        rc = print_text(c, &r, &k);
    }
    goto done;
fail:
    tell_lost(c, &keep, &err);
    rc = cli_fail(c, &err);
done:
    sd_audit_record_release(&r);
    sd_audit_part_release(&keep.part);
    audit_setup_release(&s);
    return rc;
}
