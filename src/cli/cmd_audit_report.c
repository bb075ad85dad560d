/* sonde audit report: the page of records that are there already; nothing is measured. */
#include "cli/audit_args.h"
#include "base/map.h"

typedef struct args { const char *card; } args;

static const cli_opt opts[] = {{0, "card", OPT_STR, AT(args, card), .arg = "FILE", .help = "write a card in Markdown as well"}, OPT_END};

enum { MAX_RECORDS = 8 };
typedef struct study { sd_audit_record record[MAX_RECORDS]; sd_comparison cmp[MAX_RECORDS]; } study;

static int cmd_audit_report(cli *c, int argc, char **argv);
const cli_cmd cmd_audit_report_def = {
    .name = "audit report",
    .brief = "a page of records that audit run wrote",
    .args = "RECORD RECORD..",
    .opts = opts,
    .uses = CLI_OUT | CLI_NEED_OUT | CLI_FORCE,
    .run = cmd_audit_report,
    .text = "The first record is what the others are compared with. The page is that of `sonde audit compare`, without what lies inside the models.",
    .examples = "sonde audit report base.json week1.json week2.json -o audit.html\n",
    .json = "sonde.audit_compare/1"};

static int cmd_audit_report(cli *c, int argc, char **argv)
{
    args a;
    int rc, n = 0;
    sd_err err = {0};
    study *s = NULL;
    if (!cli_parse(c, &cmd_audit_report_def, &a, argc, argv, &rc)) return rc;
    if (c->n_arg > MAX_RECORDS) return cli_usage(c, "%d records, at most %d fit on a page", c->n_arg, MAX_RECORDS);
    sd_status st = cli_check_output(c, c->output, &err);
    if (!st && a.card) st = cli_check_output(c, a.card, &err);
    if (!st) st = sd_alloc_zero(&s, sizeof *s, "records", &err);
    for (; n < c->n_arg && !st; n++) st = sd_audit_record_read(&s->record[n], c->arg[n], &err);
    for (int i = 1; i < n && !st; i++) st = sd_audit_compare(&s->cmp[i - 1], &s->record[0], &s->record[i], NULL, 0, &err);
    if (!st) {
        sd_audit_page p = {s->record, n, s->cmp, NULL, c->prov.args};
        st = audit_write(c, c->output, &p, sd_audit_write_html, &err);
        if (!st && a.card) st = audit_write(c, a.card, &p, sd_audit_write_card, &err);
        if (!st && c->json) {
            out_json j;
            sd_jw *w = out_json_begin(c, &j, "sonde.audit_compare/1");
            sd_audit_write_json(w, &p);
            rc = out_json_end(c, &j);
        } else {
            rc = 0;
        }
    }
    if (st) rc = cli_fail(c, &err);
    for (int i = 0; s && i < MAX_RECORDS; i++) {
        sd_audit_record_release(&s->record[i]);
        sd_comparison_release(&s->cmp[i]);
    }
    sd_free(s);
    return rc;
}
