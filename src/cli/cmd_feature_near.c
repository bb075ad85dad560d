/* sonde feature near: the features whose decoder directions are closest to one. */
#include "cli/feature_list.h"

typedef struct args { int64_t limit; } args;

static const cli_opt opts[] = {
    {'n', "limit", OPT_INT, AT(args, limit), .arg = "N", .lo = 1, .hi = 1000, .help = "neighbours to list", .def_words = "all that are stored"},
    OPT_END};

static int cmd_feature_near(cli *c, int argc, char **argv);
const cli_cmd cmd_feature_near_def = {
    .name = "feature near",
    .brief = "list the features closest to one",
    .args = "STORE INDEX",
    .opts = opts,
    .run = cmd_feature_near,
    .text = "By cosine of decoder rows, over all features; as many as the store was built with (--near of feature build).",
    .examples = "sonde feature near features.db 4021\n",
    .json = "sonde.feature.near/1"};

static int cmd_feature_near(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    int64_t index;
    sd_err err = {0};
    sd_store *s = NULL;
    sd_feature_list l = {0};
    if (!cli_parse(c, &cmd_feature_near_def, &a, argc, argv, &rc)) return rc;
    if (!sd_parse_i64(sd_slice_of(c->arg[1]), &index)) return cli_usage(c, "'%s' is no feature's number", c->arg[1]);
    sd_status st = sd_store_open(&s, c->arg[0], &err);
    if (!st) st = sd_store_near(&l, s, index, a.limit, &err);
    rc = st ? cli_fail(c, &err) : feature_list_print(c, s, &l, "cosine", "sonde.feature.near/1");
    sd_feature_list_release(&l);
    sd_store_close(s);
    return rc;
}
