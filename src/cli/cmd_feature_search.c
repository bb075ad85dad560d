/* sonde feature search: features by words, or the whole list by interest, density or activation. */
#include "cli/feature_list.h"
#include "lab/feature_json.h"
#include "lab/text_search.h"
#include "lab/token_text.h"

typedef struct args { int64_t limit; bool passages; const char *sort, *text, *on, *model, *dict; double min_density, max_density, min_score; } args;

static const cli_opt opts[] = {
    {'n', "limit", OPT_INT, AT(args, limit), .arg = "N", .def = "20", .lo = 1, .hi = 100000, .zero = "100000", .help = "features to list"},
    {0, "sort", OPT_STR, AT(args, sort), .arg = "BY", .def = "interest", .values = "interest|density|max|index", .help = "order of the list when there is no QUERY"},
    {0, "min-density", OPT_FLOAT, AT(args, min_density), .arg = "P", .lo = 0, .hi = 1, .help = "only features at least this dense (no QUERY)"},
    {0, "max-density", OPT_FLOAT, AT(args, max_density), .arg = "P", .def = "1", .lo = 0, .hi = 1, .help = "only features at most this dense (no QUERY)"},
    {0, "passages", OPT_BOOL, AT(args, passages), .help = "features that are on through the passages with QUERY, by F1"},
    {0, "min-score", OPT_FLOAT, AT(args, min_score), .arg = "S", .lo = 0, .hi = 1, .help = "only features with a label: by a person, or by a machine with at least this score (no QUERY)"},
    {0, "text", OPT_STR, AT(args, text), .arg = "TEXT", .help = "features that a running text makes active, rare ones first (with --model and --dict, instead of QUERY)"},
    {0, "on", OPT_STR, AT(args, on), .arg = "WORDS", .help = "with --text: only the tokens of these words count, wherever they stand in it"},
    {0, "model", OPT_STR, AT(args, model), .arg = "MODEL", .help = "the model of the store, for --text"},
    {0, "dict", OPT_STR, AT(args, dict), .arg = "DIR", .help = "the dictionary of the store, for --text"},
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
    if (!st) st = (a->passages ? sd_store_passages : sd_store_search)(l, s, sd_buf_str(&q), a->limit, err);
    sd_buf_release(&q);
    return st;
}

static sd_status by_order(sd_feature_list *l, sd_store *s, const args *a, bool labelled, sd_err *err)
{
    static const char *const name[] = {"index", "interest", "density", "max"};
    sd_feature_query q = {.sort = SD_SORT_INTEREST, .min_density = a->min_density, .max_density = a->max_density, .has_max = true, .limit = a->limit, .has_label = labelled, .min_label_score = a->min_score};
    for (int i = 0; i < SD_SORT_COUNT; i++)
        if (strcmp(a->sort, name[i]) == 0) q.sort = (sd_feature_sort)i;
    q.silent = q.sort == SD_SORT_INDEX;
    return sd_store_list(l, s, &q, err);
}

static int print_hits(cli *c, sd_store *s, const sd_text_hit *h, int64_t n, int64_t limit)
{
    static const out_col cols[] = {{"index", OUT_RIGHT}, {"score", OUT_RIGHT}, {"active", OUT_RIGHT}, {"at", OUT_RIGHT}, {"token", OUT_LEFT}, {"label", OUT_FILL}};
    sd_err err = {0};
    sd_status st = SD_OK;
    out_json j;
    sd_jw *w = c->json ? out_json_begin(c, &j, "sonde.feature.list/1") : NULL;
    out_table *t = c->json ? NULL : out_table_new(c, cols, 6);
    sd_buf b;
    sd_buf_init(&b, 1 << 16);
    if (w) {
        sd_jw_kstr(w, "score_is", "share of its highest activation x ln(1 / density)");
        sd_jw_ki64(w, "n_total", n);
        sd_jw_key(w, "features");
        sd_jw_arr(w);
    }
    for (int64_t i = 0; i < n && i < limit && !st; i++) {
        sd_feature_list l;
        if ((st = sd_store_one(&l, s, h[i].feature, &err))) break;
        l.v[0].score = h[i].score;
        sd_buf_reset(&b);
        if (w) {
            sd_jw_obj(w);
            sd_feature_brief_write(w, s, &l.v[0]);
            sd_jw_key(w, "act");
            sd_jw_f32(w, h[i].act);
            sd_jw_ki64(w, "pos", h[i].pos);
            sd_feature_token_text(&b, s, h[i].token);
            sd_jw_key(w, "token");
            sd_jw_slice(w, (sd_slice){b.p, b.n});
            sd_jw_end(w);
        } else {
            sd_token_name_id(&b, s, h[i].token);
            out_cell(t, "%lld", (long long)h[i].feature);
            out_f64(t, h[i].score, 3);
            out_f64(t, (double)h[i].act, 3);
            out_i64(t, h[i].pos);
            out_slice(t, (sd_slice){b.p, b.n});
            out_str(t, feature_label(l.v[0].label, l.v[0].words, l.v[0].stats.n_fire));
        }
        sd_feature_list_release(&l);
    }
    sd_buf_release(&b);
    if (w) sd_jw_end(w);
    int rc = w ? out_json_end(c, &j) : out_table_end(t);
    return st ? cli_fail(c, &err) : rc;
}

static int by_text(cli *c, const args *a)
{
    sd_err err = {0};
    sd_store *s = NULL;
    sd_dict *d = NULL;
    sd_model *m = NULL;
    sd_text_hit *h = NULL;
    sd_site site;
    int64_t n = 0;
    int rc = cli_check_text(c, "text", a->text);
    if (!rc) rc = cli_check_text(c, "on", a->on);
    const sd_exec *ex = rc ? NULL : cli_exec(c, &err);
    if (!ex) return rc ? rc : cli_fail(c, &err);
    sd_status st = sd_store_open(&s, c->arg[0], &err);
    if (!st) st = sd_dict_open(&d, a->dict, &err);
    if (!st && sd_dict_get_info(d)->m != sd_store_get_info(s)->dict.m)
        st = sd_fail(&err, SD_E_SHAPE, "%s has %lld features, the store was built from %lld", a->dict, (long long)sd_dict_get_info(d)->m,
                     (long long)sd_store_get_info(s)->dict.m);
    if (!st) st = cli_dict_site(c, d, &site, &err);
    /* A batch cannot be told to stop after block 0: then all blocks are needed. */
    if (!st) st = cli_model_open(c, ex, CLI_EXACT, a->model, (sd_model_opt){.max_layer = sd_site_is_layered(site.kind) && site.layer > 0 ? site.layer + 1 : 0}, &m, &err);
    if (!st) st = sd_lab_text_search(&h, &n, &(sd_text_reader){.ex = ex, .m = m, .dict = d, .site = site}, s, a->text, a->on, &err);
    rc = st ? cli_fail(c, &err) : print_hits(c, s, h, n, a->limit);
    sd_free(h);
    sd_model_close(m);
    sd_dict_free(d);
    sd_store_close(s);
    return rc;
}

static int cmd_feature_search(cli *c, int argc, char **argv);
const cli_cmd cmd_feature_search_def = {
    .name = "feature search",
    .brief = "find features by words, or list the most interesting",
    .args = "STORE [QUERY..]",
    .opts = opts,
    .run = cmd_feature_search,
    .text = "Looks in labels, in the words at the peaks of the top examples, in the promoted tokens and in the text around the peaks.\n"
            "Features with all the words come first, then those with any; \"quoted words\" must stand together. The score is by the share\n"
            "of the examples that have the words; a label that matches adds 1000. --passages asks another question: which features are\n"
            "on where the words stood among the last 32 tokens, and not elsewhere (F1 over all tokens of the study), so that a feature\n"
            "of a subject is found whose examples do not name it. Without QUERY: all features by --sort. --text runs a text through the\n"
            "model and lists what it makes active, with the token where each is highest: its share of the feature's highest activation\n"
            "times ln(1 / density); --on chooses words of it. To find features by labels of a concept, see `sonde organism recover -h`.",
    .examples = "sonde feature search features.db golden gate bridge\nsonde feature search features.db '\"prime number\"' --json\n"
                "sonde feature search features.db bridge --passages\nsonde feature search features.db -n 10\n"
                "sonde feature search features.db --text 'Over the Golden Gate to Marin' --on 'Golden Gate' --model model.gguf --dict dict/\n",
    .json = "sonde.feature.list/1"};

static int cmd_feature_search(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    sd_store *s = NULL;
    sd_feature_list l = {0};
    if (!cli_parse(c, &cmd_feature_search_def, &a, argc, argv, &rc)) return rc;
    static const char *const of_list[] = {"sort", "min-density", "max-density", "min-score"};
    for (size_t i = 0; i < 4 && c->n_arg > 1; i++)
        if (opt_given(c, of_list[i])) return cli_usage(c, "--%s is about the list without QUERY; with words the best match comes first", of_list[i]);
    if (a.passages && c->n_arg < 2) return cli_usage(c, "--passages is about QUERY: give the words of the passages");
    if (a.text && c->n_arg > 1) return cli_usage(c, "give QUERY or --text, not both");
    if (!a.text != !a.model || !a.text != !a.dict) return cli_usage(c, "--text, --model and --dict go together");
    if (a.on && !a.text) return cli_usage(c, "--on chooses tokens of --text");
    if (a.text) return by_text(c, &a);
    if (a.min_density > a.max_density) return cli_usage(c, "--min-density %g is above --max-density %g", a.min_density, a.max_density);
    sd_status st = sd_store_open(&s, c->arg[0], &err);
    if (!st) st = c->n_arg > 1 ? by_words(&l, s, c, &a, &err) : by_order(&l, s, &a, opt_given(c, "min-score"), &err);
    rc = st ? cli_fail(c, &err) : feature_list_print(c, s, &l, c->n_arg > 1 ? "score" : strcmp(a.sort, "index") == 0 ? "interest" : a.sort, "sonde.feature.list/1");
    if (!st && l.n == 0) cli_note(c, "no feature matches");
    sd_feature_list_release(&l);
    sd_store_close(s);
    return rc;
}
