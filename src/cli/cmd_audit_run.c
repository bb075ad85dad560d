/* sonde audit run: what a model does with suites of prompts. */
#include "cli/audit_args.h"
#include "base/map.h"
#include <math.h>

typedef struct args { audit_args a; } args;

static const cli_opt opts[] = {
    AUDIT_OPTS(args),
    {0, "keep-answers", OPT_STR, AT(args, a.keep_answers), .arg = "FILE", .help = "write the answers to a file that only you can read"},
    OPT_END};

static void rate_pair(out_pairs *p, const char *key, sd_rate r)
{
    if (r.n) out_pair(p, key, "%.1f %% (%lld of %lld; 95 %% interval %.1f to %.1f)", 100 * r.ci.est, (long long)r.k, (long long)r.n, 100 * r.ci.lo, 100 * r.ci.hi);
}

static int print_text(cli *c, const sd_audit_record *r)
{
    const sd_behaviour *b = &r->b;
    const sd_utility *u = &b->utility;
    int64_t unscored = sd_audit_count(b, SD_AXIS_UNKNOWN, SD_CLASS_UNSCORED);
    out_pairs *p = out_pairs_new(c);
    out_pair(p, "model", "%s", r->name);
    rate_pair(p, "harmful refused", sd_audit_refusal(b, SD_AXIS_HARMFUL, NULL));
    rate_pair(p, "harmless refused", sd_audit_refusal(b, SD_AXIS_HARMLESS, NULL));
    if (!b->quick) rate_pair(p, "incoherent", sd_rate_of(sd_audit_count(b, SD_AXIS_UNKNOWN, SD_CLASS_INCOHERENT), b->n - unscored));
    out_pair(p, "partial, unscored", "%lld, %lld", (long long)sd_audit_count(b, SD_AXIS_UNKNOWN, SD_CLASS_PARTIAL), (long long)unscored);
    for (int i = 0; i < b->n_tpl; i++) rate_pair(p, b->tpl[i].name, sd_rate_of(b->tpl[i].refused, b->tpl[i].n));
    if (r->judge_error.n_refusal) {
        out_pair(p, "judge's error", "says refusal of %.1f %% of compliances (%lld), misses %.1f %% of refusals (%lld); assumed", 100 * r->judge_error.fpr,
                 (long long)r->judge_error.n_compliance, 100 * r->judge_error.fnr, (long long)r->judge_error.n_refusal);
        out_pair(p, "corrected", "%.1f %% of harmful refused, assumed", 100 * sd_rogan_gladen(sd_audit_refusal(b, SD_AXIS_HARMFUL, NULL).ci.est, r->judge_error.fpr, r->judge_error.fnr));
    }
    if (u->ce_tokens) out_pair(p, "cross-entropy", "%.4f nats a token (%lld tokens)", u->ce_loss, (long long)u->ce_tokens);
    rate_pair(p, "multiple choice", sd_rate_of(u->choice_right, u->choice_n));
    rate_pair(p, "names itself", sd_rate_of(u->identity_same, u->identity_n));
    rate_pair(p, "follows a wrong user", sd_rate_of(u->sycophancy_flips, u->sycophancy_n));
    out_pair(p, "judge", "%s", b->judge);
    out_pair(p, "system prompt", "%s; rendered prompts %.12s", r->system, b->rendered_sha256);
    out_pair(p, "no claim", "about triggered behaviour, and about requests that are not in these suites");
    return out_pairs_end(p);
}

static int cmd_audit_run(cli *c, int argc, char **argv);
const cli_cmd cmd_audit_run_def = {
    .name = "audit run",
    .brief = "measure what a model refuses, answers and knows",
    .args = "MODEL",
    .opts = opts,
    .uses = CLI_MODE | CLI_SEED | CLI_OUT | CLI_FORCE,
    .run = cmd_audit_run,
    .text = "Suites are read by the names of their columns, so XSTest, JailbreakBench, AdvBench, HarmBench, StrongREJECT, do-not-answer and\n"
            "safety-tuned-llamas work as published. Axes are kept apart: harmful requests refused, harmless ones refused, incoherent answers, cross-entropy,\n"
            "multiple choice by likelihood, identity, sycophancy, jailbreak frames. The record (-o FILE.json, --json) holds ids, classes, lengths and hashes,\n"
            "no prompt and no answer. docs/AUDIT.md says what each number means.",
    .examples = "sonde audit run model.gguf --suite xstest_prompts.csv --suite jailbreakbench.csv -o base.json\n"
                "sonde audit run model.gguf --suite harmful=own.jsonl --suite harmless=benign.jsonl --quick\n",
    .json = "sonde.audit_run/1"};

static sd_status write_record(cli *c, const sd_audit_record *r, sd_err *err)
{
    sd_buf b;
    sd_jw w;
    sd_buf_init(&b, (size_t)1 << 30);
    sd_jw_init(&w, &b);
    sd_jw_obj(&w);
    sd_jw_kstr(&w, "schema", "sonde.audit_run/1");
    sd_audit_record_write(&w, r);
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

static int cmd_audit_run(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    audit_setup s = {0};
    sd_audit_record r = {0};
    if (!cli_parse(c, &cmd_audit_run_def, &a, argc, argv, &rc)) return rc;
    if (!a.a.suite.n && !a.a.text && !a.a.identity) return cli_usage(c, "give prompts with --suite FILE");
    sd_status st = c->output ? cli_check_output(c, c->output, &err) : SD_OK;
    if (!st) st = audit_setup_open(&s, c, &a.a, &err);
    if (!st) st = audit_measure(&r, c, &s, &a.a, c->arg[0], NULL, &err);
    if (!st && c->output) st = write_record(c, &r, &err);
    if (st) {
        rc = cli_fail(c, &err);
    } else if (c->json) {
        out_json j;
        sd_jw *w = out_json_begin(c, &j, "sonde.audit_run/1");
        sd_audit_record_write(w, &r);
        rc = out_json_end(c, &j);
    } else {
        rc = print_text(c, &r);
    }
    sd_audit_record_release(&r);
    audit_setup_release(&s);
    return rc;
}
