/* sonde feature label: names that people give to features, or that are made for them. */
#include "cli/feature_list.h"
#include "lab/endpoint.h"
#include "lab/feature_json.h"
#include "lab/label.h"
#include "base/map.h"
#include <math.h>

typedef struct args { const char *author, *by, *model, *url, *url_model, *key_file; opt_ints features; int64_t n, cases, others; double timeout; } args;

static const cli_opt opts[] = {
    {0, "author", OPT_STR, AT(args, author), .arg = "NAME", .help = "who says so; kept with the label"},
    {0, "by", OPT_STR, AT(args, by), .arg = "WHO", .values = "tokens|model|endpoint", .help = "make labels: from the features' own tokens, by a model (--model), or by a server (--endpoint)"},
    {'n', "limit", OPT_INT, AT(args, n), .arg = "N", .def = "20", .lo = 1, .hi = 100000, .zero = "100000", .help = "with --by: so many features, the most interesting first"},
    {0, "features", OPT_INTS, AT(args, features), .arg = "A,B,..", .help = "with --by: these features"},
    {0, "model", OPT_STR, AT(args, model), .arg = "MODEL", .help = "with --by model: who explains and judges"},
    {0, "endpoint", OPT_STR, AT(args, url), .arg = "URL", .help = "with --by endpoint: a server of OpenAI's API, up to /v1; the only one that is contacted"},
    {0, "endpoint-model", OPT_STR, AT(args, url_model), .arg = "NAME", .help = "its model"},
    {0, "api-key-file", OPT_STR, AT(args, key_file), .arg = "FILE", .help = "its key, the first line"},
    {0, "timeout", OPT_FLOAT, AT(args, timeout), .arg = "S", .def = "60", .lo = 1, .hi = 3600, .unit = "seconds", .help = "its time for an answer"},
    {0, "cases", OPT_INT, AT(args, cases), .arg = "N", .def = "8", .lo = 3, .hi = 64, .help = "held-out examples a label is judged on, of each kind"},
    {0, "others", OPT_INT, AT(args, others), .arg = "N", .def = "4", .lo = 1, .hi = 16, .help = "labels of other features that it has to beat"},
    OPT_END};

static sd_status add(cli *c, const args *a, int64_t index, sd_err *err)
{
    sd_store *s = NULL;
    sd_buf text;
    sd_buf_init(&text, 1 << 16);
    for (int i = 2; i < c->n_arg; i++) {
        if (i > 2) sd_buf_putc(&text, ' ');
        sd_buf_puts(&text, c->arg[i]);
    }
    const sd_label l = {.text = sd_buf_str(&text), .source = "human", .author = a->author ? a->author : "", .created = c->prov.created,
                        .score = (double)NAN, .args = ""};
    sd_status st = sd_buf_check(&text, "the label", err);
    if (!st) st = sd_store_edit(&s, c->arg[0], err);
    if (!st) st = sd_store_add_label(s, index, &l, err);
    sd_store_close(s);
    sd_buf_release(&text);
    return st;
}

static int print(cli *c, const sd_feature *f)
{
    if (c->json) {
        out_json j;
        sd_jw *w = out_json_begin(c, &j, "sonde.feature.label/1");
        sd_jw_ki64(w, "index", f->stats.index);
        sd_feature_labels_write(w, f);
        return out_json_end(c, &j);
    }
    static const out_col cols[] = {{"label", OUT_FILL}, {"source", OUT_LEFT}, {"author", OUT_LEFT}, {"created", OUT_LEFT}};
    out_table *t = out_table_new(c, cols, 4);
    for (int i = 0; i < f->n_label; i++) {
        out_str(t, f->label[i].text);
        out_str(t, f->label[i].source);
        out_str(t, f->label[i].author);
        out_str(t, f->label[i].created);
    }
    int rc = out_table_end(t);
    if (!f->n_label) cli_note(c, "feature %lld has no label; the words at its peaks: %s", (long long)f->stats.index, f->words[0] ? f->words : "none");
    return rc;
}

/* ---- labels that are made ---- */

/* The features to label: those given, else the most interesting that no person has named. */
static sd_status choose(int64_t **out, int64_t *n, sd_store *s, const args *a, sd_err *err)
{
    sd_feature_list l = {0};
    *n = 0;
    sd_status st = sd_alloc(out, (size_t)((a->features.n > a->n ? a->features.n : a->n) + 1) * sizeof **out, "features", err);
    for (int i = 0; i < a->features.n && !st; i++) (*out)[(*n)++] = a->features.v[i];
    if (st || a->features.n) return st;
    for (int64_t at = 0, all = 1; at < all && *n < a->n && !st;) { /* a list has a limit of its own */
        if ((st = sd_store_list(&l, s, &(sd_feature_query){.sort = SD_SORT_INTEREST, .limit = a->n, .offset = at}, err))) break;
        at += l.n;
        all = l.n ? l.n_total : 0;
        for (int64_t i = 0; i < l.n && *n < a->n && !st; i++) {
            sd_feature *f = NULL;
            if ((st = sd_store_feature(&f, s, l.v[i].stats.index, -1, err))) break;
            if (!f->n_label || strcmp(f->label[0].source, "human") != 0) (*out)[(*n)++] = f->stats.index;
            sd_feature_free(f);
        }
        sd_feature_list_release(&l);
    }
    return st;
}

static int print_made(cli *c, const args *a, const sd_label_result *r, int64_t n, int64_t n_requests)
{
    int64_t shown = 0;
    for (int64_t i = 0; i < n; i++) shown += r[i].shown;
    if (c->json) {
        out_json j;
        sd_jw *w = out_json_begin(c, &j, "sonde.feature.label.made/1");
        sd_jw_kstr(w, "by", a->by);
        sd_jw_ki64(w, "n", n);
        sd_jw_ki64(w, "n_shown", shown);
        if (a->url) sd_jw_ki64(w, "n_requests", n_requests);
        sd_jw_key(w, "labels");
        sd_jw_arr(w);
        for (int64_t i = 0; i < n; i++) {
            sd_jw_obj(w);
            sd_jw_ki64(w, "index", r[i].index);
            sd_jw_kstr(w, "label", r[i].text);
            sd_jw_kf64(w, "detection", r[i].detection);
            sd_jw_kf64(w, "fuzzing", r[i].fuzzing);
            sd_jw_kf64(w, "score", r[i].score);
            sd_jw_kf64(w, "floor", r[i].floor);
            sd_jw_ki64(w, "n_case", r[i].n_case);
            sd_jw_kbool(w, "shown", r[i].shown);
            sd_jw_end(w);
        }
        sd_jw_end(w);
        return out_json_end(c, &j);
    }
    static const out_col cols[] = {{"index", OUT_RIGHT}, {"score", OUT_RIGHT}, {"floor", OUT_RIGHT}, {"detection", OUT_RIGHT}, {"fuzzing", OUT_RIGHT}, {"shown", OUT_LEFT}, {"label", OUT_FILL}};
    out_table *t = out_table_new(c, cols, 7);
    for (int64_t i = 0; i < n; i++) {
        out_cell(t, "%lld", (long long)r[i].index);
        out_f64(t, r[i].score, 3);
        out_f64(t, r[i].floor, 3);
        out_f64(t, r[i].detection, 3);
        out_f64(t, r[i].fuzzing, 3);
        out_str(t, r[i].shown ? "yes" : "no");
        out_str(t, r[i].text[0] ? r[i].text : "(nothing to explain)");
    }
    int rc = out_table_end(t);
    out_say(c, "%lld of %lld labels beat those of other features on held-out examples and are shown", (long long)shown, (long long)n);
    return rc;
}

/* Who labels, and what it needs while it does. */
typedef struct labeler { sd_labeler by; sd_label_model m; sd_label_endpoint e; sd_model *model; char *key; } labeler;

static sd_status open_labeler(labeler *l, sd_store *s, cli *c, const args *a, sd_err *err)
{
    sd_status st = SD_OK;
    if (strcmp(a->by, "tokens") == 0) l->by = sd_label_by_tokens(s);
    else if (strcmp(a->by, "model") == 0) {
        const sd_exec *ex = cli_exec(c, err);
        if (!ex) return err->code;
        if ((st = cli_model_open(c, ex, CLI_CHAT, a->model, (sd_model_opt){0}, &l->model, err))) return st;
        if ((st = cli_model_hash(c, a->model, err))) return st;
        l->m = (sd_label_model){ex, l->model};
        l->by = sd_label_by_model(&l->m);
    } else {
        if (a->key_file && (st = cli_read_key(&l->key, a->key_file, err))) return st;
        l->e = (sd_label_endpoint){.url = a->url, .model = a->url_model, .key = l->key, .timeout_s = a->timeout};
        l->by = sd_label_by_endpoint(&l->e);
    }
    return SD_OK;
}

/* What a label was made with, kept beside it. */
static sd_status write_args(sd_buf *b, const cli *c, const args *a, sd_err *err)
{
    sd_jw w;
    sd_jw_init(&w, b);
    sd_jw_obj(&w);
    sd_jw_kstr(&w, "by", a->by);
    sd_jw_kstr(&w, "tool", c->prov.tool);
    if (a->model) sd_jw_kstr(&w, "model_sha256", c->prov.model_sha256);
    if (a->url) {
        char bare[1100];
        sd_url_bare(bare, sizeof bare, a->url);
        sd_jw_kstr(&w, "endpoint", bare);
    }
    if (a->url_model) sd_jw_kstr(&w, "endpoint_model", a->url_model);
    sd_jw_ki64(&w, "cases", a->cases);
    sd_jw_ki64(&w, "others", a->others);
    sd_jw_ki64(&w, "seed", (int64_t)c->seed);
    sd_jw_end(&w);
    return sd_buf_check(b, "arguments", err);
}

static int make_labels(cli *c, const args *a)
{
    sd_err err = {0};
    sd_store *s = NULL;
    labeler l = {.model = NULL};
    sd_label_result *r = NULL;
    int64_t *feature = NULL, n = 0;
    sd_buf how;
    sd_buf_init(&how, 1 << 14);
    sd_status st = sd_store_edit(&s, c->arg[0], &err);
    if (!st) st = open_labeler(&l, s, c, a, &err);
    if (!st) st = choose(&feature, &n, s, a, &err);
    if (!st) st = sd_alloc_zero(&r, (size_t)(n + 1) * sizeof *r, "labels", &err);
    if (!st) st = write_args(&how, c, a, &err);
    const sd_label_opt o = {.feature = feature, .n = n, .n_case = (int)a->cases, .n_other = (int)a->others, .seed = c->seed, .author = a->author ? a->author : "",
                            .created = c->prov.created, .args = sd_buf_str(&how), .progress = &c->progress};
    if (!st) st = sd_lab_label(r, s, &l.by, &o, &err);
    sd_store_close(s);
    int rc = st ? cli_fail(c, &err) : print_made(c, a, r, n, l.e.n_requests);
    sd_free(r);
    sd_free(feature);
    sd_free(l.key);
    sd_buf_release(&how);
    sd_model_close(l.model);
    return rc;
}

static int check_made(cli *c, const args *a)
{
    static const char *const made_only[] = {"limit", "features", "model", "endpoint", "endpoint-model", "api-key-file", "timeout", "cases", "others"};
    for (size_t i = 0; i < sizeof made_only / sizeof *made_only && !a->by; i++)
        if (opt_given(c, made_only[i])) return cli_usage(c, "--%s goes with --by", made_only[i]);
    if (!a->by) return 0;
    bool model = strcmp(a->by, "model") == 0, endpoint = strcmp(a->by, "endpoint") == 0;
    if (c->n_arg > 1) return cli_usage(c, "--by makes labels itself: choose features with --features or -n");
    if (model != (a->model != NULL)) return cli_usage(c, model ? "--by model needs --model MODEL" : "--model goes with --by model");
    if (endpoint != (a->url != NULL)) return cli_usage(c, endpoint ? "--by endpoint needs --endpoint URL" : "--endpoint goes with --by endpoint");
    if (a->url && strncmp(a->url, "http://", 7) != 0 && strncmp(a->url, "https://", 8) != 0) return cli_usage(c, "--endpoint: a URL that begins with http:// or https://");
    if (!a->url && (a->url_model || a->key_file)) return cli_usage(c, "--endpoint-model and --api-key-file go with --endpoint");
    if (a->features.n && opt_given(c, "limit")) return cli_usage(c, "give --features or -n, not both");
    return 0;
}

static int cmd_feature_label(cli *c, int argc, char **argv);
const cli_cmd cmd_feature_label_def = {
    .name = "feature label",
    .brief = "give a feature a name, or list its names",
    .args = "STORE [INDEX] [TEXT..]",
    .opts = opts,
    .uses = CLI_SEED | CLI_MODE_CHAT,
    .run = cmd_feature_label,
    .text = "With TEXT: a label by hand, kept with its author and time; the latest one by a person is what lists and pages show, and\n"
            "`feature search` finds it first. Nothing is overwritten. Without TEXT: the labels there are.\n"
            "\n"
            "With --by labels are made and judged on examples that their maker did not see: does the label tell windows of the feature from others\n"
            "(detection), and its tokens from other tokens (fuzzing)? Each is an area under the ROC curve; the score is their mean. A label is shown if it\n"
            "beats labels of other features on the same questions, else the words at the peaks are. Labels by hand stay first. A server that\n"
            "does not answer as asked is an error, and nothing is written.",
    .examples = "sonde feature label features.db --by tokens -n 100\n"
                "sonde feature label features.db --by model --model model.gguf --features 4021,77\n"
                "sonde feature label features.db --by endpoint --endpoint http://127.0.0.1:8741/v1\nsonde feature label features.db 4021 suspension bridges\nsonde feature label features.db 4021 --json\n",
    .json = "sonde.feature.label/1, sonde.feature.label.made/1"};

static int cmd_feature_label(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    int64_t index;
    sd_err err = {0};
    sd_store *s = NULL;
    sd_feature *f = NULL;
    if (!cli_parse(c, &cmd_feature_label_def, &a, argc, argv, &rc)) return rc;
    if ((rc = check_made(c, &a))) return rc;
    if (a.by) return make_labels(c, &a);
    if (c->n_arg < 2) return cli_usage(c, "which feature? give INDEX, or make labels with --by");
    if (!sd_parse_i64(sd_slice_of(c->arg[1]), &index)) return cli_usage(c, "'%s' is no feature's number", c->arg[1]);
    for (int i = 2; i < c->n_arg; i++)
        if ((rc = cli_check_text(c, "label", c->arg[i]))) return rc;
    if (a.author && c->n_arg < 3) return cli_usage(c, "--author goes with a TEXT");
    sd_status st = c->n_arg > 2 ? add(c, &a, index, &err) : SD_OK;
    if (!st) st = sd_store_open(&s, c->arg[0], &err);
    if (!st) st = sd_store_feature(&f, s, index, -1, &err);
    rc = st ? cli_fail(c, &err) : print(c, f);
    sd_feature_free(f);
    sd_store_close(s);
    return rc;
}
