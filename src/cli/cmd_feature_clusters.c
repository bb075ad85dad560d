/* sonde feature clusters: how many things a feature answers to. */
#include "cli/cli.h"
#include "lab/polysemy.h"
#include "store/store.h"

#include <stdlib.h>

typedef struct args { const char *sort; int64_t limit; } args;

static const cli_opt opts[] = {
    {0, "sort", OPT_STR, AT(args, sort), .arg = "BY", .def = "most", .values = "most|fewest|index", .help = "order of the list"},
    {'n', "limit", OPT_INT, AT(args, limit), .arg = "N", .def = "20", .lo = 1, .hi = 1 << 30, .zero = "all", .help = "features listed"},
    OPT_END};

static int more(const void *a, const void *b)
{
    const sd_polysemy_row *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}
static int fewer(const void *a, const void *b)
{
    const sd_polysemy_row *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static int print(cli *c, sd_store *s, const sd_polysemy *p, int64_t limit, sd_err *err)
{
    const int64_t n = limit < p->n ? limit : p->n;
    sd_status st = SD_OK;
    if (c->json) {
        out_json j;
        sd_jw *w = out_json_begin(c, &j, "sonde.feature.clusters/1");
        sd_jw_kstr(w, "kind", sd_store_get_info(s)->dict.kind);
        sd_jw_ki64(w, "n_counted", p->n);
        sd_jw_kf64(w, "mean_clusters", p->mean_clusters);
        sd_jw_kf64(w, "mean_score", p->mean_score);
        sd_jw_kf64(w, "median_score", p->median_score);
        sd_jw_kf64(w, "share_single", p->share_single);
        sd_jw_kf64(w, "floor_clusters", p->floor_clusters);
        sd_jw_kf64(w, "floor_score", p->floor_score);
        sd_jw_kf64(w, "link", p->link);
        sd_jw_key(w, "features");
        sd_jw_arr(w);
        for (int64_t i = 0; i < n; i++) {
            sd_jw_obj(w);
            sd_jw_ki64(w, "index", p->row[i].index);
            sd_jw_ki64(w, "clusters", p->row[i].clusters);
            sd_jw_ki64(w, "contexts", p->row[i].contexts);
            sd_jw_kf64(w, "score", p->row[i].score);
            sd_jw_end(w);
        }
        sd_jw_end(w);
        return out_json_end(c, &j);
    }
    static const out_col cols[] = {{"index", OUT_RIGHT}, {"clusters", OUT_RIGHT}, {"contexts", OUT_RIGHT}, {"words", OUT_FILL}};
    out_table *t = out_table_new(c, cols, 4);
    for (int64_t i = 0; i < n && !st; i++) {
        sd_feature_list l;
        if ((st = sd_store_one(&l, s, p->row[i].index, err))) break;
        out_i64(t, p->row[i].index);
        out_i64(t, p->row[i].clusters);
        out_i64(t, p->row[i].contexts);
        out_str(t, l.v[0].label ? l.v[0].label : l.v[0].words);
        sd_feature_list_release(&l);
    }
    const int rc = out_table_end(t);
    out_say(c, "%lld %s features: %.2f clusters on average (score %.3f, median %.3f), %.1f %% of one cluster; contexts of different features: %.2f (%.3f)", (long long)p->n,
             sd_store_get_info(s)->dict.kind, p->mean_clusters, p->mean_score, p->median_score, 100 * p->share_single, p->floor_clusters, p->floor_score);
    return st ? cli_fail(c, err) : rc;
}

static int cmd_feature_clusters(cli *c, int argc, char **argv);
const cli_cmd cmd_feature_clusters_def = {
    .name = "feature clusters",
    .brief = "how many things each feature answers to",
    .args = "STORE",
    .opts = opts,
    .uses = CLI_SEED,
    .run = cmd_feature_clusters,
    .text = "The contexts of a feature's top examples fall into clusters of common words; the score is 0 where all are one cluster and 1 where\n"
            "no two have anything in common. Two contexts are linked above the cosine that 99.9 % of pairs of different features' contexts\n"
            "stay below; the floor is the same number for contexts thrown together at random. Build a store of `dict train --kind identity`\n"
            "to see what the neurons themselves give. It sees words, not meanings.",
    .examples = "sonde feature clusters features.db\nsonde feature clusters neurons.db --sort fewest -n 50\n",
    .json = "sonde.feature.clusters/1"};

static int cmd_feature_clusters(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    sd_store *s = NULL;
    sd_polysemy p = {0};
    if (!cli_parse(c, &cmd_feature_clusters_def, &a, argc, argv, &rc)) return rc;
    sd_status st = sd_store_open(&s, c->arg[0], &err);
    if (!st) st = sd_lab_polysemy(&p, s, c->seed, &c->progress, &err);
    if (!st && strcmp(a.sort, "index") != 0) qsort(p.row, (size_t)p.n, sizeof *p.row, strcmp(a.sort, "most") == 0 ? more : fewer);
    rc = st ? cli_fail(c, &err) : print(c, s, &p, a.limit, &err);
    sd_polysemy_release(&p);
    sd_store_close(s);
    return rc;
}
