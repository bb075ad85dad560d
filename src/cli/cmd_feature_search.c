/* sonde feature search: features by words, or the whole list by interest, density or activation. */
#include "cli/feature_list.h"

typedef struct args { int64_t limit; const char *sort; double min_density, max_density; } args;

static const cli_opt opts[] = {
    {'n', "limit", OPT_INT, AT(args, limit), .arg = "N", .def = "20", .lo = 1, .hi = 100000, .help = "features to list"},
    {0, "sort", OPT_STR, AT(args, sort), .arg = "BY", .def = "interest", .values = "interest|density|max|index", .help = "order of the list when there is no QUERY"},
    {0, "min-density", OPT_FLOAT, AT(args, min_density), .arg = "P", .lo = 0, .hi = 1, .help = "only features at least this dense (no QUERY)"},
    {0, "max-density", OPT_FLOAT, AT(args, max_density), .arg = "P", .def = "1", .lo = 0, .hi = 1, .help = "only features at most this dense (no QUERY)"},
    OPT_END};

static sd_status by_words(sd_feature_list *l, sd_store *s, cli *c, const args *a, sd_err *err)
{
    sd_buf q;
    sd_buf_init(&q, 1 << 20);
    for (int i = 1; i < c->n_arg; i++) {
        if (i > 1) sd_buf_putc(&q, ' ');
        sd_buf_puts(&q, c->arg[i]);
    }
    sd_status st = sd_buf_check(&q, "the query", err);
    if (!st) st = sd_store_search(l, s, sd_buf_str(&q), a->limit, err);
    sd_buf_release(&q);
    return st;
}

static sd_status by_order(sd_feature_list *l, sd_store *s, const args *a, sd_err *err)
{
    static const char *const name[] = {"index", "interest", "density", "max"};
    sd_feature_query q = {.sort = SD_SORT_INTEREST, .min_density = a->min_density, .max_density = a->max_density, .has_max = true, .limit = a->limit};
    for (int i = 0; i < SD_SORT_COUNT; i++)
        if (strcmp(a->sort, name[i]) == 0) q.sort = (sd_feature_sort)i;
    q.silent = q.sort == SD_SORT_INDEX;
    return sd_store_list(l, s, &q, err);
}

static int cmd_feature_search(cli *c, int argc, char **argv);
const cli_cmd cmd_feature_search_def = {
    .name = "feature search",
    .brief = "find features by words, or list the most interesting",
    .args = "STORE [QUERY..]",
    .opts = opts,
    .run = cmd_feature_search,
    .text = "Looks in labels, in the words at the peaks of the top examples, in the promoted tokens and in the text around the peaks.\n"
            "Features with all the words come first, then those with any; \"quoted words\" must stand together. The score is BM25; a\n"
            "label that matches adds 1000. Without QUERY: all features by --sort.",
    .examples = "sonde feature search features.db golden gate bridge\nsonde feature search features.db '\"prime number\"' --json\n"
                "sonde feature search features.db -n 10\n",
    .json = "sonde.feature.list/1"};

static int cmd_feature_search(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    sd_store *s = NULL;
    sd_feature_list l = {0};
    if (!cli_parse(c, &cmd_feature_search_def, &a, argc, argv, &rc)) return rc;
    static const char *const of_list[] = {"sort", "min-density", "max-density"};
    for (size_t i = 0; i < 3 && c->n_arg > 1; i++)
        if (opt_given(c, of_list[i])) return cli_usage(c, "--%s is about the list without QUERY; with words the best match comes first", of_list[i]);
    if (a.min_density > a.max_density) return cli_usage(c, "--min-density %g is above --max-density %g", a.min_density, a.max_density);
    sd_status st = sd_store_open(&s, c->arg[0], &err);
    if (!st) st = c->n_arg > 1 ? by_words(&l, s, c, &a, &err) : by_order(&l, s, &a, &err);
    rc = st ? cli_fail(c, &err) : feature_list_print(c, s, &l, c->n_arg > 1 ? "score" : strcmp(a.sort, "index") == 0 ? "interest" : a.sort, "sonde.feature.list/1");
    if (!st && l.n == 0) cli_note(c, "no feature matches");
    sd_feature_list_release(&l);
    sd_store_close(s);
    return rc;
}
