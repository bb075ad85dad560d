/* sonde feature diff: what two stores have in common, what vanished, what appeared. */
#include "cli/feature_list.h"
#include "lab/feature_diff.h"
#include "lab/feature_json.h"
#include <stdlib.h>

typedef struct args { double same; int64_t limit; } args;

static const cli_opt opts[] = {
    {0, "same", OPT_FLOAT, AT(args, same), .arg = "COS", .def = "0.7", .lo = 0, .hi = 1, .help = "cosine from which two features count as one"},
    {'n', "limit", OPT_INT, AT(args, limit), .arg = "N", .def = "10", .lo = 1, .hi = 1 << 30, .zero = "all", .help = "features listed of each side"},
    OPT_END};

/* Features of one side that are gone, those that fired most first. */
typedef struct row { int64_t index; double density; } row;
static int by_density(const void *a, const void *b)
{
    const row *x = a, *y = b;
    if (x->density != y->density) return x->density > y->density ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static sd_status gone(row **out, int64_t *n, sd_store *s, const sd_diff_feature *v, int64_t m, sd_err *err)
{
    sd_status st = sd_alloc(out, (size_t)(m + 1) * sizeof **out, "a list of features", err);
    *n = 0;
    for (int64_t i = 0; i < m && !st; i++) {
        sd_feature_list l;
        if (v[i].kind != SD_DIFF_GONE || (st = sd_store_one(&l, s, i, err))) continue;
        (*out)[(*n)++] = (row){i, l.v[0].stats.density};
        sd_feature_list_release(&l);
    }
    if (!st && *n) qsort(*out, (size_t)*n, sizeof **out, by_density);
    return st;
}

static sd_status write_side(sd_jw *w, sd_store *s, const sd_diff_feature *v, const row *r, int64_t n, sd_err *err)
{
    sd_status st = SD_OK;
    sd_jw_arr(w);
    for (int64_t i = 0; i < n && !st; i++) {
        sd_feature_list l;
        if ((st = sd_store_one(&l, s, r[i].index, err))) break;
        l.v[0].score = (double)v[r[i].index].cosine;
        sd_jw_obj(w);
        sd_feature_brief_write(w, s, &l.v[0]);
        sd_jw_ki64(w, "nearest", v[r[i].index].other);
        sd_jw_end(w);
        sd_feature_list_release(&l);
    }
    sd_jw_end(w);
    return st;
}

static int print_json(cli *c, sd_store *const s[2], const sd_feature_diff *d, row *const r[2], const int64_t n[2], sd_err *err)
{
    static const char *const key[2] = {"vanished", "appeared"};
    out_json j;
    sd_jw *w = out_json_begin(c, &j, "sonde.feature.diff/1");
    sd_status st = SD_OK;
    sd_jw_kf64(w, "same", d->same);
    sd_jw_ki64(w, "n_first", d->n[0]);
    sd_jw_ki64(w, "n_second", d->n[1]);
    sd_jw_ki64(w, "n_matched", d->n_matched);
    sd_jw_ki64(w, "n_vanished", d->n_gone[0]);
    sd_jw_ki64(w, "n_appeared", d->n_gone[1]);
    sd_jw_ki64(w, "n_merged", d->n_shared[0]);
    sd_jw_ki64(w, "n_split", d->n_shared[1]);
    sd_jw_kf64(w, "mean_cosine", d->mean_cosine[0]);
    sd_jw_kf64(w, "floor_mean", d->floor_mean);
    sd_jw_kf64(w, "floor_max", d->floor_max);
    for (int i = 0; i < 2 && !st; i++) {
        sd_jw_key(w, key[i]);
        st = write_side(w, s[i], d->side[i], r[i], n[i], err);
    }
    sd_jw_key(w, "matches"); /* [first, second, cosine] */
    sd_jw_arr(w);
    for (int64_t i = 0; i < d->n[0]; i++) {
        if (d->side[0][i].kind != SD_DIFF_MATCHED) continue;
        sd_jw_arr(w);
        sd_jw_i64(w, i);
        sd_jw_i64(w, d->side[0][i].other);
        sd_jw_f32(w, d->side[0][i].cosine);
        sd_jw_end(w);
    }
    sd_jw_end(w);
    int rc = out_json_end(c, &j);
    return st ? cli_fail(c, err) : rc;
}

static int print_text(cli *c, sd_store *const s[2], const sd_feature_diff *d, row *const r[2], const int64_t n[2], sd_err *err)
{
    static const char *const word[2] = {"vanished", "appeared"};
    static const out_col cols[] = {{"", OUT_LEFT}, {"index", OUT_RIGHT}, {"nearest", OUT_RIGHT}, {"cosine", OUT_RIGHT}, {"density", OUT_RIGHT}, {"label", OUT_FILL}};
    sd_status st = SD_OK;
    out_pairs *p = out_pairs_new(c);
    out_pair(p, "matched", "%lld of %lld and %lld, cosine at least %.2f", (long long)d->n_matched, (long long)d->n[0], (long long)d->n[1], d->same);
    out_pair(p, "vanished", "%lld", (long long)d->n_gone[0]);
    out_pair(p, "appeared", "%lld", (long long)d->n_gone[1]);
    out_pair(p, "merged, split", "%lld, %lld", (long long)d->n_shared[0], (long long)d->n_shared[1]);
    out_pair(p, "nearest", "mean cosine %.3f; by chance %.3f, at most %.3f", d->mean_cosine[0], d->floor_mean, d->floor_max);
    int rc = out_pairs_end(p);
    if (n[0] + n[1] == 0) return rc;
    fputc('\n', c->out);
    out_table *t = out_table_new(c, cols, 6);
    for (int k = 0; k < 2; k++)
        for (int64_t i = 0; i < n[k] && !st; i++) {
            sd_feature_list l;
            const sd_diff_feature *f = &d->side[k][r[k][i].index];
            if ((st = sd_store_one(&l, s[k], f->index, err))) break;
            out_str(t, word[k]);
            out_cell(t, "%lld", (long long)f->index);
            out_cell(t, "%lld", (long long)f->other);
            out_f64(t, (double)f->cosine, 3);
            out_f64(t, l.v[0].stats.density, 2);
            out_str(t, feature_label(l.v[0].label, l.v[0].words, l.v[0].stats.n_fire));
            sd_feature_list_release(&l);
        }
    int rc2 = out_table_end(t);
    return st ? cli_fail(c, err) : rc ? rc : rc2;
}

static int cmd_feature_diff(cli *c, int argc, char **argv);
const cli_cmd cmd_feature_diff_def = {
    .name = "feature diff",
    .brief = "compare the features of two stores",
    .args = "STORE1 STORE2",
    .opts = opts,
    .uses = CLI_SEED,
    .run = cmd_feature_diff,
    .text = "Every feature's nearest in the other store by cosine of decoder directions, over all pairs. Two that are each other's nearest at --same\n"
            "or above are matched; one of STORE1 whose nearest is below it has vanished, one of STORE2 has appeared; merged and split are near\n"
            "one that is nearer to a third. \"By chance\" is the same search against shuffled coordinates.",
    .examples = "sonde feature diff before.db after.db\nsonde feature diff a.db b.db --same 0.9 --json\n",
    .json = "sonde.feature.diff/1"};

static int cmd_feature_diff(cli *c, int argc, char **argv)
{
    args a;
    int rc = 0;
    sd_err err = {0};
    sd_store *s[2] = {NULL, NULL};
    sd_feature_diff d = {0};
    row *r[2] = {NULL, NULL};
    int64_t n[2] = {0, 0};
    if (!cli_parse(c, &cmd_feature_diff_def, &a, argc, argv, &rc)) return rc;
    const sd_exec *ex = cli_exec(c, &err);
    if (!ex) return cli_fail(c, &err);
    sd_status st = sd_store_open(&s[0], c->arg[0], &err);
    if (!st) st = sd_store_open(&s[1], c->arg[1], &err);
    if (!st) st = sd_lab_feature_diff(&d, ex, s[0], s[1], a.same, c->seed, &err);
    for (int i = 0; i < 2 && !st; i++) {
        st = gone(&r[i], &n[i], s[i], d.side[i], d.n[i], &err);
        if (n[i] > a.limit) n[i] = a.limit;
    }
    rc = st ? cli_fail(c, &err) : c->json ? print_json(c, s, &d, r, n, &err) : print_text(c, s, &d, r, n, &err);
    for (int i = 0; i < 2; i++) {
        sd_free(r[i]);
        sd_store_close(s[i]);
    }
    sd_feature_diff_release(&d);
    return rc;
}
