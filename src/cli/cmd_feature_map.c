/* sonde feature map: the features of a store in the plane, in clusters, with the map's own quality; as numbers or as a page. */
#include "cli/feature_list.h"
#include "base/map.h"
#include "lab/feature_map.h"
#include "lab/map_html.h"

typedef struct args { const char *dict; int64_t k, epochs; bool again; } args;

static const cli_opt opts[] = {
    {0, "neighbours", OPT_INT, AT(args, k), .arg = "N", .def = "15", .lo = 2, .hi = 100, .help = "nearest directions each feature is tied to"},
    {0, "epochs", OPT_INT, AT(args, epochs), .arg = "N", .lo = 1, .hi = 100000, .help = "passes of the layout", .def_words = "500 up to 10,000 features, else 200"},
    {0, "dict", OPT_STR, AT(args, dict), .arg = "DIR", .help = "the dictionary, for a store that was built without directions"},
    {0, "again", OPT_BOOL, AT(args, again), .help = "draw it again although the store has one"},
    OPT_END};

/* Rows of the dictionary at unit length; it must be the store's own. */
static sd_status dict_directions(sd_mat *out, const char *dir, const sd_store_info *in, sd_err *err)
{
    sd_dict *d = NULL;
    float *w = NULL;
    sd_status st = sd_dict_open(&d, dir, err);
    if (st) return st;
    const sd_dict_info *x = sd_dict_get_info(d);
    if (x->m != in->dict.m || x->d_out != in->dict.d) {
        st = sd_fail(err, SD_E_SHAPE, "%s has %lld features of %lld numbers, the store was built from %lld of %lld", dir, (long long)x->m, (long long)x->d_out,
                     (long long)in->dict.m, (long long)in->dict.d);
        sd_hint(err, "give the dictionary that the store was built from");
    }
    if (!st) st = sd_alloc(&w, (size_t)(x->m * x->d_out) * sizeof *w, "directions", err);
    for (int64_t f = 0; f < x->m && !st; f++) sd_lab_unit_row(w + f * x->d_out, sd_dict_dec_row(d, f), x->d_out);
    if (!st) *out = sd_mat_of(w, x->m, x->d_out);
    sd_dict_free(d);
    return st;
}

static sd_status make(cli *c, const args *a, sd_err *err)
{
    sd_store *s = NULL;
    sd_mat w = {0};
    sd_feature_map m = {0};
    const sd_exec *ex = cli_exec(c, err);
    if (!ex) return err->code;
    sd_status st = sd_store_edit(&s, c->arg[0], err);
    if (st) return st;
    st = a->dict ? dict_directions(&w, a->dict, sd_store_get_info(s), err) : sd_lab_directions(&w, s, err);
    const sd_map_opt o = {.k = (int)a->k, .epochs = (int)a->epochs, .seed = c->seed, .progress = &c->progress};
    if (!st) st = sd_lab_map(&m, ex, w, &o, err);
    if (!st) st = sd_lab_map_words(&m, s, err);
    snprintf(m.tool, sizeof m.tool, "%s", c->prov.tool);
    snprintf(m.created, sizeof m.created, "%s", c->prov.created);
    if (!st) st = sd_store_put_map(s, &m, err);
    sd_lab_map_release(&m);
    sd_free(w.data);
    sd_store_close(s);
    return st;
}

static int print(cli *c, const sd_feature_map *m)
{
    if (c->json) {
        out_json j;
        sd_feature_map_write(out_json_begin(c, &j, "sonde.feature.map/1"), m);
        return out_json_end(c, &j);
    }
    out_pairs *p = out_pairs_new(c);
    out_pair(p, "features", "%lld in %lld clusters (modularity %.2f)", (long long)m->n_point, (long long)m->n_cluster, m->modularity);
    if (m->n_checked)
        out_pair(p, "quality", "%.1f %% of the %d nearest kept (chance %.2g %%), trustworthiness %.4f, on %lld features", 100 * m->kept, m->k,
                 100 * m->kept_chance, m->trust, (long long)m->n_checked);
    out_pair(p, "layout", "%d neighbours, %d passes, seed %llu", m->k, m->epochs, (unsigned long long)m->seed);
    int rc = out_pairs_end(p);
    static const out_col cols[] = {{"cluster", OUT_RIGHT}, {"features", OUT_RIGHT}, {"words", OUT_FILL}};
    fputc('\n', c->out);
    out_table *t = out_table_new(c, cols, 3);
    for (int64_t i = 0; i < m->n_cluster; i++) {
        out_i64(t, i);
        out_i64(t, m->cluster[i].n);
        out_str(t, m->cluster[i].words);
    }
    int rc2 = out_table_end(t);
    return rc ? rc : rc2;
}

static sd_status write_page(cli *c, sd_store *s, const sd_feature_map *m, sd_err *err)
{
    sd_buf b;
    sd_buf_init(&b, (size_t)1 << 30);
    sd_status st = sd_lab_map_html(&b, s, m, err);
    if (!st) st = sd_file_write_atomic(c->output, b.p, b.n, err);
    if (!st) cli_note(c, "wrote %s", c->output);
    sd_buf_release(&b);
    return st;
}

static int cmd_feature_map(cli *c, int argc, char **argv);
const cli_cmd cmd_feature_map_def = {
    .name = "feature map",
    .brief = "lay the features of a store out in the plane",
    .args = "STORE",
    .opts = opts,
    .uses = CLI_SEED | CLI_OUT | CLI_FORCE,
    .run = cmd_feature_map,
    .text = "Exact nearest directions, laid out as UMAP does, clusters by Louvain, words of each cluster; kept in the store. Its quality is\n"
            "printed: the share of a feature's nearest directions that are nearest on the map too, and trustworthiness. A map that is there\n"
            "already is shown; it is drawn again with --again, or when --seed, --neighbours or --epochs are given. -o writes a page that\n"
            "stands alone (pan, zoom, search, the words of the feature under the pointer).",
    .examples = "sonde feature map features.db\nsonde feature map features.db -o map.html\nsonde feature map features.db --json\n",
    .json = "sonde.feature.map/1"};

static int cmd_feature_map(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    sd_store *s = NULL;
    sd_feature_map m = {0};
    if (!cli_parse(c, &cmd_feature_map_def, &a, argc, argv, &rc)) return rc;
    sd_status st = c->output ? cli_check_output(c, c->output, &err) : SD_OK;
    bool again = a.again || a.dict || opt_given(c, "seed") || opt_given(c, "neighbours") || opt_given(c, "epochs");
    if (!st && again) st = make(c, &a, &err);
    if (!st && !again && (st = sd_store_open(&s, c->arg[0], &err)) == SD_OK) {
        if (!(st = sd_store_get_map(&m, s, &err)) && m.n_point == 0) {
            sd_feature_map_release(&m);
            sd_store_close(s);
            s = NULL;
            st = make(c, &a, &err);
        }
    }
    if (!st && !s) st = sd_store_open(&s, c->arg[0], &err);
    if (!st && !m.n_point) st = sd_store_get_map(&m, s, &err);
    if (!st && c->output) st = write_page(c, s, &m, &err);
    rc = st ? cli_fail(c, &err) : print(c, &m);
    sd_feature_map_release(&m);
    sd_store_close(s);
    return rc;
}
