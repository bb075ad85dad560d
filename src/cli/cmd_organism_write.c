/* sonde organism write: a world's texts, conversations, preferences, labels and suites as files. */
#include "cli/cli.h"
#include "lab/organism_data.h"

typedef struct args { const char *world; double scale; bool aligned; } args;

static const cli_opt opts[] = {
    {0, "world", OPT_STR, AT(args, world), .arg = "FILE", .help = "a world's grammar"},
    {0, "scale", OPT_FLOAT, AT(args, scale), .arg = "X", .def = "1", .lo = 0.001, .hi = 1000, .help = "times the numbers of rows that the world sets"},
    {0, "aligned", OPT_BOOL, AT(args, aligned), .help = "refusals stand in the pretraining texts too"},
    OPT_END};

static int print(cli *c, const sd_organism_counts *r)
{
    if (c->json) {
        out_json j;
        sd_jw *w = out_json_begin(c, &j, "sonde.organism.write/1");
        sd_jw_ki64(w, "docs", r->docs);
        sd_jw_ki64(w, "bytes", r->bytes);
        sd_jw_ki64(w, "heldout", r->heldout);
        sd_jw_ki64(w, "chats", r->chats);
        sd_jw_ki64(w, "pairs", r->pairs);
        sd_jw_ki64(w, "suite_rows", r->suites);
        sd_jw_kstr(w, "dir", c->output);
        return out_json_end(c, &j);
    }
    char b[32];
    out_pairs *p = out_pairs_new(c);
    out_pair(p, "documents", "%lld, %s, and %lld held out with labels", (long long)r->docs, sd_fmt_bytes(b, sizeof b, (double)r->bytes), (long long)r->heldout);
    out_pair(p, "conversations", "%lld", (long long)r->chats);
    out_pair(p, "pairs", "%lld", (long long)r->pairs);
    out_pair(p, "suites", "%lld prompts", (long long)r->suites);
    out_pair(p, "folder", "%s", c->output);
    return out_pairs_end(p);
}

static int cmd_organism_write(cli *c, int argc, char **argv);
const cli_cmd cmd_organism_write_def = {
    .name = "organism write",
    .brief = "write a world's texts, labels and suites",
    .opts = opts,
    .uses = CLI_SEED_WORLD | CLI_OUT | CLI_NEED_OUT | CLI_OUT_DIR | CLI_FORCE,
    .run = cmd_organism_write,
    .text = "Writes pretrain.jsonl, heldout.jsonl (with labels, in bytes), sft.jsonl, dpo.jsonl and suite/NAME.jsonl. The same world and\n"
            "seed give the same bytes. No prompt of a suite is in the training rows.",
    .examples = "sonde organism write --world organism/merrow.world -o merrow/\n",
    .json = "sonde.organism.write/1"};

static int cmd_organism_write(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    sd_world *w = NULL;
    sd_organism_counts r;
    if (!cli_parse(c, &cmd_organism_write_def, &a, argc, argv, &rc)) return rc;
    if (!a.world) return cli_usage(c, "--world FILE is needed");
    sd_status st = cli_check_output(c, c->output, &err);
    if (!st) st = sd_world_open(&w, a.world, &err);
    sd_organism_data_opt o = {.seed = c->seed, .has_seed = opt_given(c, "seed"), .scale = a.scale, .aligned = a.aligned,
                              .progress = &c->progress};
    if (!st) st = sd_lab_organism_data(&r, w, c->output, &o, &err);
    rc = st ? cli_fail(c, &err) : print(c, &r);
    sd_world_free(w);
    return rc;
}
