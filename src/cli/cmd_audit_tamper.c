/* sonde audit tamper: was a direction cut out of a model's weights? */
#include "cli/cli.h"
#include "lab/tamper.h"
#include "base/map.h"
#include <math.h>

typedef struct args { const char *reference; opt_list gate; } args;

static const cli_opt opts[] = {
    {0, "reference", OPT_STR, AT(args, reference), .arg = "MODEL", .help = "what the model was made from: says which matrices changed, and how"},
    {0, "fail-on", OPT_MULTI, AT(args, gate), .arg = "WHAT", .values = "cut|low-rank|change", .help = "exit 3 when there is one; the last two need --reference"},
    OPT_END};

static int cmd_audit_tamper(cli *c, int argc, char **argv);
const cli_cmd cmd_audit_tamper_def = {
    .name = "audit tamper",
    .brief = "look for a direction that was cut out of the weights",
    .args = "MODEL",
    .opts = opts,
    .uses = CLI_SEED | CLI_OUT | CLI_FORCE,
    .run = cmd_audit_tamper,
    .text = "Refusals are removed from downloaded models by cutting one direction out of every matrix that writes into the residual stream. This reads weights\n"
            "only: no prompt is asked. Without a reference it looks for directions that half of the blocks lack and the other half lacks too; with one it says for each\n"
            "matrix how large the change is, of which rank, and whether it takes one shared direction away. Quantised files and MODEL+ADAPTER are fine on either side.\n"
            "\n"
            "The verdict is `consistent` or `inconsistent` with a cut, never `clean`: what cannot be seen is printed with it. -o writes one HTML page. docs/FIRMNESS.md\n"
            "says what was measured.",
    .examples = "sonde audit tamper downloaded.gguf --fail-on cut\n"
                "sonde audit tamper downloaded.gguf --reference original.gguf -o tamper.html\n",
    .json = "sonde.audit_tamper/1"};

static bool asked(const opt_list *l, const char *what)
{
    for (int i = 0; i < l->n; i++)
        if (strcmp(l->v[i], what) == 0) return true;
    return false;
}

static int print_text(cli *c, const sd_tamper *t)
{
    const sd_tamper_weak *k = &t->weak;
    const sd_tamper_ref *r = &t->ref;
    out_pairs *p = out_pairs_new(c);
    out_pair(p, "model", "%s", c->arg[0]);
    out_pair(p, "verdict", "%s with a direction cut out", t->consistent ? "consistent" : "inconsistent");
    if (r->measured) {
        out_pair(p, "changed", "%lld of %lld matrices, by %.3g of their norm; %lld changes of low rank", (long long)r->n_changed, (long long)r->n, r->relative, (long long)r->n_low_rank);
        out_pair(p, "cut", "one direction out of %lld of %lld writing matrices (mean squared cosine of their changes with it %.3f)", (long long)r->n_cut, (long long)r->n_writer, r->shared);
        if (r->template_differs) out_pair(p, "template", "renders a conversation otherwise than the reference");
    }
    if (k->measured) {
        out_pair(p, "weakest shared", "energy %.3g, %.3g, %.3g, %.3g of an average direction (random: %.2f to %.2f)", k->energy[0], k->energy[1], k->energy[2], k->energy[3], k->random_lo, k->random_hi);
        out_pair(p, "largest gap", "%.3g after %d direction%s, %s of blocks %d to %d; halves agree to %.2f", k->gap, k->n_direction, k->n_direction == 1 ? "" : "s", sd_tamper_kind_name(k->kind), k->layer0,
                 k->layer1 - 1, k->agreement);
        if (isfinite(k->embed)) out_pair(p, "embedding", "energy %.3g along it", k->embed);
    } else {
        out_pair(p, "without a reference", "not measured: fewer than 4 blocks, or narrower than 32");
    }
    for (int i = 0; sd_tamper_limits[i]; i++) out_pair(p, i ? "" : "cannot see", "%s", sd_tamper_limits[i]);
    return out_pairs_end(p);
}

static sd_status write_page(cli *c, const sd_tamper *t, const char *reference, sd_err *err)
{
    sd_buf b;
    sd_tamper_page p = {t, c->arg[0], reference, c->prov.args};
    sd_buf_init(&b, (size_t)1 << 26);
    sd_status st = sd_tamper_write_html(&b, &p, err);
    if (!st) st = sd_file_write_atomic(c->output, b.p, b.n, err);
    if (!st) cli_note(c, "wrote %s", c->output);
    sd_buf_release(&b);
    return st;
}

static int gate(cli *c, const sd_tamper *t, const opt_list *l, sd_err *err)
{
    const sd_tamper_ref *r = &t->ref;
    if (asked(l, "cut") && t->consistent) sd_fail(err, SD_E_GATE, "the weights are consistent with a direction cut out of them");
    else if (asked(l, "low-rank") && r->low_rank) sd_fail(err, SD_E_GATE, "%lld of %lld changed matrices differ from the reference by a low rank", (long long)r->n_low_rank, (long long)r->n_changed);
    else if (asked(l, "change") && r->n_changed) sd_fail(err, SD_E_GATE, "%lld matrices differ from the reference", (long long)r->n_changed);
    else return 0;
    sd_hint(err, "the rows above say where");
    return cli_fail(c, err);
}

static int cmd_audit_tamper(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    sd_tamper t = {0};
    sd_model *m = NULL, *ref = NULL;
    sd_status st;
    const sd_model_opt views = {.views = true};
    if (!cli_parse(c, &cmd_audit_tamper_def, &a, argc, argv, &rc)) return rc;
    if (!a.reference && (asked(&a.gate, "low-rank") || asked(&a.gate, "change"))) return cli_usage(c, "--fail-on low-rank and --fail-on change need --reference");
    const sd_exec *ex = cli_exec(c, &err);
    if (!ex) return cli_fail(c, &err);
    if (c->output && (st = cli_check_output(c, c->output, &err))) goto done;
    if ((st = sd_model_open(&m, ex, c->arg[0], &views, &err))) goto done;
    if (a.reference && (st = sd_model_open(&ref, ex, a.reference, &views, &err))) goto done;
    if ((st = cli_model_hash(c, c->arg[0], &err))) goto done;
    if ((st = sd_lab_tamper(&t, ex, m, ref, &(sd_tamper_opt){.seed = c->seed, .progress = &c->progress}, &err))) goto done;
    if (c->output) st = write_page(c, &t, a.reference, &err);
done:
    if (st) {
        rc = cli_fail(c, &err);
    } else if (c->json) {
        out_json j;
        sd_tamper_write_json(out_json_begin(c, &j, "sonde.audit_tamper/1"), &t);
        rc = out_json_end(c, &j);
    } else {
        rc = print_text(c, &t);
    }
    if (!st && !rc) rc = gate(c, &t, &a.gate, &err);
    sd_tamper_release(&t);
    sd_model_close(ref);
    sd_model_close(m);
    return rc;
}
