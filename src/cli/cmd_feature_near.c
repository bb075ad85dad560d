/* sonde feature near: the features closest to one: by direction, in its own store or another's, or by the tokens they fire on. */
#include "cli/feature_list.h"
#include "lab/feature_near.h"

typedef struct args { int64_t limit; const char *by, *in; } args;

static const cli_opt opts[] = {
    {'n', "limit", OPT_INT, AT(args, limit), .arg = "N", .lo = 1, .hi = 1000, .zero = "1000", .help = "neighbours to list", .def_words = "all that are stored; else 20"},
    {0, "by", OPT_STR, AT(args, by), .arg = "WHAT", .def = "cosine", .values = "cosine|coactivation", .help = "closeness: of decoder directions, or firing on the same tokens"},
    {0, "in", OPT_STR, AT(args, in), .arg = "STORE2", .help = "look among the features of another store (by cosine)"},
    OPT_END};

static int cmd_feature_near(cli *c, int argc, char **argv);
const cli_cmd cmd_feature_near_def = {
    .name = "feature near",
    .brief = "list the features closest to one",
    .args = "STORE INDEX",
    .opts = opts,
    .run = cmd_feature_near,
    .text = "By cosine of decoder rows, over all features; as many as the store was built with (--near of feature build). With --in, over all features of\n"
            "another store: the same concept in another dictionary, width or checkpoint. By coactivation: the correlation of firing on the same tokens,\n"
            "exact over the text of the store.",
    .examples = "sonde feature near features.db 4021\nsonde feature near features.db 4021 --in tuned.db\nsonde feature near features.db 4021 --by coactivation -n 10\n",
    .json = "sonde.feature.near/1"};

static int cmd_feature_near(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    int64_t index;
    sd_err err = {0};
    sd_store *s = NULL, *in = NULL;
    sd_feature_list l = {0};
    if (!cli_parse(c, &cmd_feature_near_def, &a, argc, argv, &rc)) return rc;
    if (!sd_parse_i64(sd_slice_of(c->arg[1]), &index)) return cli_usage(c, "'%s' is no feature's number", c->arg[1]);
    bool together = strcmp(a.by, "coactivation") == 0;
    if (together && a.in) return cli_usage(c, "--in goes with --by cosine: features of two stores fire on two texts");
    const sd_exec *ex = a.in ? cli_exec(c, &err) : NULL;
    if (a.in && !ex) return cli_fail(c, &err);
    sd_status st = sd_store_open(&s, c->arg[0], &err);
    if (!st && a.in) st = sd_store_open(&in, a.in, &err);
    if (!st) st = a.in ? sd_lab_feature_near(&l, ex, s, index, in, a.limit, &err) : together ? sd_store_coactive(&l, s, index, a.limit, &err) : sd_store_near(&l, s, index, a.limit, &err);
    rc = st ? cli_fail(c, &err) : feature_list_print(c, a.in ? in : s, &l, together ? "correlation" : "cosine", "sonde.feature.near/1");
    if (!st && l.n == 0) cli_note(c, together ? "no feature fires on the same tokens" : "no neighbours: the store holds none of this feature; `feature import` keeps only what its files name");
    sd_feature_list_release(&l);
    sd_store_close(in);
    sd_store_close(s);
    return rc;
}
