/* sonde feature export and import: features in the field's JSON. */
#include "base/map.h"
#include "cli/cli.h"
#include "lab/np_json.h"

typedef struct args { const char *format, *model, *layer; int64_t examples, limit; } args;

static const cli_opt export_opts[] = {
    {0, "format", OPT_STR, AT(args, format), .arg = "NAME", .def = "neuronpedia", .values = "neuronpedia|saedashboard", .help = "neuronpedia: a list of what GET /api/feature answers; saedashboard: a batch"},
    {0, "model-id", OPT_STR, AT(args, model), .arg = "NAME", .help = "what the other tool calls the model", .def_words = "the store's"},
    {0, "layer", OPT_STR, AT(args, layer), .arg = "NAME", .help = "what it calls the source", .def_words = "the site"},
    {0, "limit", OPT_INT, AT(args, limit), .arg = "N", .def = "0", .lo = 1, .hi = 1 << 30, .zero = "all", .help = "only the first N features"},
    {0, "examples", OPT_INT, AT(args, examples), .arg = "N", .def = "0", .lo = 1, .hi = 1000, .zero = "all", .help = "examples of each group"},
    OPT_END};

static int cmd_feature_export(cli *c, int argc, char **argv);
const cli_cmd cmd_feature_export_def = {
    .name = "feature export",
    .brief = "write the features of a store as Neuronpedia's or SAEDashboard's JSON",
    .args = "STORE",
    .opts = export_opts,
    .uses = CLI_OUT | CLI_NEED_OUT | CLI_FORCE,
    .run = cmd_feature_export,
    .text = "Examples, logits, histogram, neighbours and labels of every feature, under the names that other tools read.",
    .examples = "sonde feature export features.db -o features.json\nsonde feature export features.db --format saedashboard -o batch-0.json\n",
    .json = "sonde.feature.export/1"};

static sd_status write_features(sd_buf *b, sd_store *s, const args *a, int64_t *n, sd_err *err)
{
    const sd_store_info *in = sd_store_get_info(s);
    sd_np_form form = strcmp(a->format, "saedashboard") == 0 ? SD_NP_DASHBOARD : SD_NP_NEURONPEDIA;
    const char *model = a->model ? a->model : in->model.name, *layer = a->layer ? a->layer : in->dict.site;
    sd_status st = SD_OK;
    sd_jw w;
    sd_jw_init(&w, b);
    if (form == SD_NP_DASHBOARD) {
        sd_jw_obj(&w);
        sd_jw_kstr(&w, "model_id", model);
        sd_jw_kstr(&w, "layer", layer);
        sd_jw_kstr(&w, "sae_set", "");
        sd_jw_key(&w, "features");
    }
    sd_jw_arr(&w);
    for (*n = 0; *n < in->n_features && *n < a->limit && !st; ++*n) {
        sd_feature *f;
        if ((st = sd_store_feature(&f, s, *n, (int)a->examples, err))) break;
        sd_jw_obj(&w);
        sd_np_feature_write(&w, s, f, form, model, layer);
        sd_jw_end(&w);
        sd_feature_free(f);
    }
    sd_jw_end(&w);
    if (form == SD_NP_DASHBOARD) sd_jw_end(&w);
    sd_buf_putc(b, '\n');
    return st ? st : sd_buf_check(b, "the features", err);
}

static int cmd_feature_export(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    int64_t n = 0;
    sd_buf b;
    sd_err err = {0};
    sd_store *s = NULL;
    if (!cli_parse(c, &cmd_feature_export_def, &a, argc, argv, &rc)) return rc;
    sd_buf_init(&b, (size_t)1 << 31);
    sd_status st = cli_check_output(c, c->output, &err);
    if (!st) st = sd_store_open(&s, c->arg[0], &err);
    if (!st) st = write_features(&b, s, &a, &n, &err);
    if (!st) st = sd_file_write_atomic(c->output, b.p, b.n, &err);
    sd_store_close(s);
    rc = st ? cli_fail(c, &err) : 0;
    if (!st && c->json) {
        out_json j;
        sd_jw *w = out_json_begin(c, &j, "sonde.feature.export/1");
        sd_jw_kstr(w, "file", c->output);
        sd_jw_kstr(w, "format", a.format);
        sd_jw_ki64(w, "n_features", n);
        sd_jw_ki64(w, "n_bytes", (int64_t)b.n);
        rc = out_json_end(c, &j);
    } else if (!st)
        cli_note(c, "wrote %lld features to %s (%.1f MB)", (long long)n, c->output, (double)b.n / 1e6);
    sd_buf_release(&b);
    return rc;
}

/* ---- import ---- */

static const cli_opt import_opts[] = {OPT_END};

static int cmd_feature_import(cli *c, int argc, char **argv);
const cli_cmd cmd_feature_import_def = {
    .name = "feature import",
    .brief = "make a store of Neuronpedia's or SAEDashboard's JSON",
    .args = "FILE..",
    .opts = import_opts,
    .uses = CLI_OUT | CLI_NEED_OUT | CLI_FORCE,
    .run = cmd_feature_import,
    .text = "Features of any number of files, in either shape, become a store that search, show, report and the page read. Such files hold no directions, so the\n"
            "store has no map. Explanations become labels.",
    .examples = "sonde feature import batch-*.json -o features.db\nsonde serve --store features.db\n",
    .json = "sonde.feature.import/1"};

enum { MAX_FILE = 1 << 30 };

static int cmd_feature_import(cli *c, int argc, char **argv)
{
    int rc, n = 0;
    struct { int none; } a;
    sd_err err = {0};
    json_t **doc = NULL;
    sd_np_import r = {0};
    if (!cli_parse(c, &cmd_feature_import_def, &a, argc, argv, &rc)) return rc;
    sd_status st = cli_check_output(c, c->output, &err);
    if (!st) st = sd_alloc_zero(&doc, (size_t)c->n_arg * sizeof(json_t *), "documents", &err);
    for (; n < c->n_arg && !st; n++) st = sd_json_load(&doc[n], c->arg[n], MAX_FILE, &err);
    const sd_np_import_opt o = {.force = c->force, .tool = c->prov.tool, .created = c->prov.created};
    if (!st) st = sd_lab_np_import(&r, c->output, doc, c->n_arg, &o, &err);
    for (int i = 0; doc && i < c->n_arg; i++) json_decref(doc[i]);
    sd_free(doc);
    if (st) return cli_fail(c, &err);
    if (c->json) {
        out_json j;
        sd_jw *w = out_json_begin(c, &j, "sonde.feature.import/1");
        sd_jw_kstr(w, "store", c->output);
        sd_jw_ki64(w, "n_features", r.n_features);
        sd_jw_ki64(w, "n_examples", r.n_examples);
        sd_jw_ki64(w, "n_labels", r.n_labels);
        sd_jw_ki64(w, "n_tokens", r.n_tokens);
        sd_jw_ki64(w, "width", r.m);
        return out_json_end(c, &j);
    }
    out_pairs *p = out_pairs_new(c);
    out_pair(p, "store", "%s", c->output);
    out_pair(p, "features", "%lld of %lld", (long long)r.n_features, (long long)r.m);
    out_pair(p, "examples", "%lld", (long long)r.n_examples);
    out_pair(p, "labels", "%lld", (long long)r.n_labels);
    return out_pairs_end(p);
}
