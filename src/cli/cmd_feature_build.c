/* sonde feature build: every feature of a dictionary over a text, as a store. */
#include "cli/dict_rows.h"
#include "lab/dashboard.h"
#include "lab/harvest.h"
#include "num/exec.h"

typedef struct args { const char *acts, *with; int64_t tokens, ctx, batch, top, intervals, per_interval, logits, near, before, after; } args;

static const cli_opt opts[] = {
    {0, "acts", OPT_STR, AT(args, acts), .arg = "DIR", .help = "activations written by `sonde capture`; the model then does not run, CORPUS gives the names of the documents"},
    {0, "with", OPT_STR, AT(args, with), .arg = "MODEL2", .help = "the other checkpoint of a crosscoder"},
    {0, "tokens", OPT_INT, AT(args, tokens), .arg = "N", .lo = 1, .hi = 1e12, .help = "tokens to read, rounded up to whole contexts", .def_words = "all of the corpus"},
    {0, "ctx", OPT_INT, AT(args, ctx), .arg = "N", .def = "256", .lo = 16, .hi = 1 << 20, .unit = "tokens", .help = "length of a context"},
    {0, "batch", OPT_INT, AT(args, batch), .arg = "N", .def = "8", .lo = 1, .hi = 1024, .help = "contexts a step at most; 576 tokens fill one"},
    {0, "top", OPT_INT, AT(args, top), .arg = "N", .def = "20", .lo = 1, .hi = 200, .help = "top examples a feature"},
    {0, "intervals", OPT_INT, AT(args, intervals), .arg = "N", .def = "10", .lo = 1, .hi = 64, .help = "intervals of activation"},
    {0, "per-interval", OPT_INT, AT(args, per_interval), .arg = "N", .def = "5", .lo = 1, .hi = 40, .help = "examples an interval"},
    {0, "logits", OPT_INT, AT(args, logits), .arg = "N", .def = "15", .lo = 1, .hi = 100, .help = "tokens made likelier, and as many made unlikelier"},
    {0, "near", OPT_INT, AT(args, near), .arg = "N", .def = "10", .lo = 1, .hi = 100, .help = "neighbours a feature"},
    {0, "before", OPT_INT, AT(args, before), .arg = "N", .def = "48", .lo = 1, .hi = 250, .unit = "tokens", .help = "window before an example's token"},
    {0, "after", OPT_INT, AT(args, after), .arg = "N", .def = "16", .lo = 1, .hi = 250, .unit = "tokens", .help = "window after it"},
    OPT_END};

/* What is open while the store is built. */
typedef struct inputs {
    sd_dict *dict;
    sd_model *model;
    sd_corpus *corpus;
    dict_rows rows;
    sd_act_reader *reader;
    sd_cross_sites sites;
    sd_features_in in;
} inputs;

static void close_inputs(inputs *x)
{
    sd_act_reader_close(x->reader);
    dict_rows_close(&x->rows);
    sd_corpus_close(x->corpus);
    sd_model_close(x->model);
    sd_dict_free(x->dict);
}

/* Shards say themselves of which site and text they are; what does not fit is refused before the long part. */
static sd_status open_shards(inputs *x, const args *a, cli *c, sd_err *err)
{
    sd_status st = sd_act_reader_open(&x->reader, a->acts, err);
    if (st) return st;
    const sd_act_manifest *m = sd_act_reader_manifest(x->reader);
    char site[SD_CROSS_NAME];
    if (m->site[0] && *sd_cross_site_of(site, x->dict) && strcmp(m->site, site) != 0) {
        sd_fail(err, SD_E_SHAPE, "%s holds activations of %s, the dictionary %s is of %s", a->acts, m->site, c->arg[0], site);
        return sd_hint(err, "capture that site: sonde capture %s CORPUS --site %s -o DIR", c->arg[1], site);
    }
    if (m->model_sha256[0] && strcmp(m->model_sha256, c->prov.model_sha256) != 0) {
        sd_fail(err, SD_E_SHAPE, "%s holds activations of another model file (%.12s.., %s is %.12s..)", a->acts, m->model_sha256, c->arg[1],
                c->prov.model_sha256);
        return sd_hint(err, "give the model that they were captured from");
    }
    if (x->corpus && m->data_sha256[0] && strcmp(m->data_sha256, c->prov.data_sha256) != 0) {
        sd_fail(err, SD_E_FORMAT, "%s was captured from another text (%.12s.., the corpus given is %.12s..)", a->acts, m->data_sha256,
                c->prov.data_sha256);
        return sd_hint(err, "leave CORPUS out, or capture it again");
    }
    memcpy(c->prov.data_sha256, m->data_sha256, sizeof m->data_sha256);
    snprintf(c->prov.mode, sizeof c->prov.mode, "%s", m->mode);
    x->in.source = sd_act_reader_source(x->reader);
    x->in.n_rows = m->n_rows;
    return SD_OK;
}

static bool is_cross(const inputs *x) { return sd_dict_get_info(x->dict)->kind == SD_DICT_CROSSCODER; }

static sd_status open_harvest(inputs *x, const args *a, cli *c, const sd_exec *ex, sd_err *err)
{
    dict_rows_in in = {.model = x->model, .corpus = x->corpus, .with = a->with, .mode = c->mode, .sites = x->sites, .cross = is_cross(x),
                       .base = {.max_rows = a->tokens, .n_ctx = a->ctx, .batch = a->batch, .seed = c->seed}};
    const sd_status st = dict_rows_open(&x->rows, ex, &in, err);
    if (st) return st;
    x->in.source = x->rows.src;
    x->in.n_rows = x->rows.n_rows;
    if (x->in.n_rows < a->tokens) cli_note(c, "note: the corpus gives %lld tokens, %lld were asked for", (long long)x->in.n_rows, (long long)a->tokens);
    snprintf(c->prov.mode, sizeof c->prov.mode, "%s", sd_mode_name(c->mode));
    return SD_OK;
}

static sd_status open_inputs(inputs *x, const args *a, cli *c, const sd_exec *ex, sd_err *err)
{
    sd_status st = sd_dict_open(&x->dict, c->arg[0], err);
    if (st) return st;
    if (c->n_arg > 2) {
        if ((st = cli_corpus_open(c, &x->corpus, c->arg + 2, c->n_arg - 2, err))) return st;
        cli_corpus_hash(c, x->corpus);
    }
    if ((st = cli_model_hash(c, c->arg[1], err))) return st;
    if (a->acts && (st = open_shards(x, a, c, err))) return st;
    const char *of = sd_dict_get_info(x->dict)->model_sha256;
    if (*of && strcmp(of, c->prov.model_sha256) != 0)
        cli_note(c, "note: the dictionary was trained on another file of a model (%.12s.., this is %.12s..)", of, c->prov.model_sha256);
    /* Rows from shards need no block of the model, rows of the model those up to the site; the effects on the logits need the head. */
    sd_model_opt mo = {.max_layer = 1, .keep_head = true};
    if (!a->acts) {
        if (is_cross(x)) st = dict_rows_sites(&x->sites, x->dict, a->with, err);
        else if (a->with) st = cli_refuse(c, err, "--with is for crosscoders");
        else if (!(st = cli_dict_site(c, x->dict, &x->sites.site[0], err))) x->sites.n = 1;
        if (st) return st;
        mo.max_layer = dict_rows_layers(&x->sites);
    }
    if ((st = cli_model_open(c, ex, a->acts ? CLI_EXACT : CLI_BULK, c->arg[1], mo, &x->model, err))) return st;
    if (!a->acts && (st = open_harvest(x, a, c, ex, err))) return st;
    x->in.dict = x->dict;
    x->in.model = x->model;
    x->in.tok = x->model->tok;
    x->in.model_name = x->model->cfg.name;
    x->in.model_sha256 = c->prov.model_sha256;
    x->in.n_layer = x->model->cfg.n_layer;
    x->in.corpus = x->corpus;
    x->in.prov = &c->prov;
    return SD_OK;
}

/* A dictionary that is far from what its card says belongs elsewhere; fit.c has the reason for the factor. */
static void doubt(cli *c, const sd_dict *d, double l0)
{
    const sd_dict_info *i = sd_dict_get_info(d);
    const double card = i->l0 > 0 ? i->l0 : (double)i->k;
    if (card > 0 && (l0 > 3 * card || 3 * l0 < card))
        cli_note(c, "warning: does this dictionary belong to this model and site? %.1f features are active on a token, its card says %.1f", l0, card);
}

static int print(cli *c, const sd_features_result *r)
{
    if (c->json) {
        out_json j;
        sd_jw *w = out_json_begin(c, &j, "sonde.feature.build/1");
        sd_jw_kstr(w, "store", c->output);
        sd_jw_ki64(w, "n_features", r->n_features);
        sd_jw_ki64(w, "n_alive", r->n_alive);
        sd_jw_ki64(w, "n_tokens", r->n_tokens);
        sd_jw_ki64(w, "n_docs", r->n_docs);
        sd_jw_ki64(w, "n_sinks", r->n_sinks);
        sd_jw_ki64(w, "n_examples", r->n_examples);
        sd_jw_kf64(w, "l0", r->l0);
        sd_jw_ki64(w, "bytes", (int64_t)r->store_bytes);
        sd_jw_key(w, "seconds");
        sd_jw_obj(w);
        sd_jw_kf64(w, "source", r->source_s);
        sd_jw_kf64(w, "encode", r->encode_s);
        sd_jw_kf64(w, "neighbours", r->near_s);
        sd_jw_kf64(w, "logits", r->logits_s);
        sd_jw_kf64(w, "study", r->study_s);
        sd_jw_kf64(w, "write", r->write_s);
        sd_jw_kf64(w, "total", r->total_s);
        sd_jw_end(w);
        return out_json_end(c, &j);
    }
    char b[32], t[32];
    out_pairs *p = out_pairs_new(c);
    out_pair(p, "features", "%lld, %lld of them fired", (long long)r->n_features, (long long)r->n_alive);
    out_pair(p, "tokens", "%lld in %lld documents, %lld sinks left out", (long long)r->n_tokens, (long long)r->n_docs, (long long)r->n_sinks);
    out_pair(p, "L0", "%.1f", r->l0);
    out_pair(p, "examples", "%lld", (long long)r->n_examples);
    out_pair(p, "store", "%s, %s", c->output, sd_fmt_bytes(b, sizeof b, (double)r->store_bytes));
    out_pair(p, "time", "%s: rows %.1f s, encoding %.1f s, neighbours %.1f s, logits %.1f s, examples %.1f s, writing %.1f s",
             sd_fmt_seconds(t, sizeof t, r->total_s), r->source_s, r->encode_s, r->near_s, r->logits_s, r->study_s, r->write_s);
    int rc = out_pairs_end(p);
    cli_note(c, "next: sonde feature search %s WORDS", c->output);
    return rc;
}

static int cmd_feature_build(cli *c, int argc, char **argv);
const cli_cmd cmd_feature_build_def = {
    .name = "feature build",
    .brief = "study every feature of a dictionary over a text",
    .args = "DICT MODEL [CORPUS..]",
    .opts = opts,
    .uses = CLI_MODE_BULK | CLI_SEED | CLI_SITE | CLI_OUT | CLI_NEED_OUT | CLI_FORCE,
    .run = cmd_feature_build,
    .text = "One pass over the text: density, histogram, top examples, examples by interval, the tokens each feature makes likelier and\n"
            "unlikelier, nearest neighbours by decoder cosine, and full-text search, in one SQLite file (docs/STORE.md). With --acts the\n"
            "rows come from captured shards. What was at the path stays there until the new store is whole.",
    .examples = "sonde feature build dict/ model.gguf corpus/ --tokens 500000 -o features.db\n"
                "sonde feature build dict/ model.gguf --acts acts/ -o features.db\n",
    .json = "sonde.feature.build/1"};

static int cmd_feature_build(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    inputs x = {0};
    sd_features_result r;
    if (!cli_parse(c, &cmd_feature_build_def, &a, argc, argv, &rc)) return rc;
    if (c->n_arg < 3 && !a.acts) return cli_usage(c, "no text: give CORPUS, or --acts with captured activations");
    sd_status st = cli_check_output(c, c->output, &err);
    const sd_exec *ex = st ? NULL : cli_exec(c, &err);
    if (!ex) return cli_fail(c, &err);
    if ((st = open_inputs(&x, &a, c, ex, &err))) goto done;
    const sd_features_opt o = {.path = c->output, .force = c->force, .n_top = (int)a.top, .n_intervals = (int)a.intervals,
                               .per_interval = (int)a.per_interval, .n_logits = (int)a.logits, .n_near = (int)a.near, .before = (int)a.before,
                               .after = (int)a.after, .max_rows = a.tokens, .seed = c->seed};
    if ((st = sd_lab_features_build(&r, ex, &x.in, &o, &c->progress, &err))) goto done;
    doubt(c, x.dict, r.l0);
    rc = print(c, &r);
done:
    if (st) rc = cli_fail(c, &err);
    close_inputs(&x);
    return rc;
}
