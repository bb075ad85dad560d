/* sonde feature contrast: the features that tell two sets of texts apart, beside chance, and what taking them out does. */
#include "cli/feature_list.h"
#include "base/map.h"
#include "lab/contrast.h"
#include "lab/direction_file.h"
#include "lab/feature_json.h"

typedef struct args { const char *model, *dict; bool chat; int64_t limit, shuffles, cut, gen; opt_list phrase; } args;

static const cli_opt opts[] = {
    {0, "model", OPT_STR, AT(args, model), .arg = "MODEL", .help = "the model of the store; needed"},
    {0, "dict", OPT_STR, AT(args, dict), .arg = "DIR", .help = "the dictionary of the store; needed"},
    {0, "chat", OPT_BOOL, AT(args, chat), .help = "each line is a user's turn of the model's chat template"},
    {'n', "limit", OPT_INT, AT(args, limit), .arg = "N", .def = "20", .lo = 1, .hi = 1 << 30, .zero = "all", .help = "features to list"},
    {0, "shuffles", OPT_INT, AT(args, shuffles), .arg = "N", .def = "200", .lo = 20, .hi = 100000, .help = "shufflings of the sets for the floor"},
    {0, "count", OPT_MULTI, AT(args, phrase), .arg = "TEXT", .help = "answer all texts and count the answers that hold TEXT, with and without the features"},
    {0, "cut", OPT_INT, AT(args, cut), .with = "count", .arg = "N", .def = "5", .lo = 1, .hi = SD_CONTRAST_CUTS, .help = "features taken out for --count"},
    {0, "predict", OPT_INT, AT(args, gen), .with = "count", .arg = "N", .def = "32", .lo = 1, .hi = 4096, .unit = "tokens", .help = "length of an answer for --count"},
    OPT_END};

/* The lines of both files that are not empty; borrowed from text. */
typedef struct lines { sd_buf text[2]; const char **v; int64_t n, n_a; } lines;

static sd_status read_lines(lines *l, int which, const char *path, sd_err *err)
{
    sd_buf_init(&l->text[which], (size_t)1 << 28);
    sd_status st = cli_read_text(&l->text[which], path, err);
    int64_t before = l->n;
    if (!st) sd_buf_putc(&l->text[which], '\0');
    if (!st && (st = sd_buf_check(&l->text[which], path, err))) return st;
    for (char *p = l->text[which].p, *end = p + (st ? 0 : l->text[which].n); p < end && !st;) {
        char *stop = p + strcspn(p, "\n");
        bool last = stop >= end - 1;
        *stop = '\0';
        sd_slice s = sd_slice_trim(sd_slice_of(p));
        if (s.n) {
            const char **v = (l->n & (l->n - 1)) ? l->v : sd_realloc(l->v, (size_t)(l->n ? 2 * l->n : 1) * sizeof *v);
            if (!v) return sd_fail(err, SD_E_NOMEM, "out of memory: the texts of %s", path);
            l->v = v;
            l->v[l->n++] = p;
        }
        p = last ? end : stop + 1;
    }
    if (!st && l->n - before < 2) st = sd_fail(err, SD_E_ARG, "%s holds %lld texts, one a line; a set needs two", path, (long long)(l->n - before));
    return st;
}

static void release_lines(lines *l)
{
    sd_buf_release(&l->text[0]);
    sd_buf_release(&l->text[1]);
    sd_free(l->v);
}

/* What is open; every part may be NULL. */
typedef struct inputs { sd_store *store; sd_dict *dict; sd_model *model; sd_site site; } inputs;

static sd_status open_inputs(inputs *x, const args *a, cli *c, const sd_exec *ex, sd_err *err)
{
    sd_status st = sd_store_open(&x->store, c->arg[0], err);
    if (!st) st = sd_dict_open(&x->dict, a->dict, err);
    if (st) return st;
    const sd_store_info *in = sd_store_get_info(x->store);
    const sd_dict_info *d = sd_dict_get_info(x->dict);
    if (d->m != in->dict.m || d->d != in->dict.d) {
        sd_fail(err, SD_E_SHAPE, "%s has %lld features of %lld numbers, the store was built from %lld of %lld", a->dict, (long long)d->m, (long long)d->d,
                (long long)in->dict.m, (long long)in->dict.d);
        return sd_hint(err, "give the dictionary that the store was built from");
    }
    if ((st = cli_model_hash(c, a->model, err)) || (st = cli_dict_site(c, x->dict, &x->site, err))) return st;
    if (in->model.sha256[0] && strcmp(in->model.sha256, c->prov.model_sha256) != 0)
        cli_note(c, "note: the store is of another file of a model (%.12s.., this is %.12s..)", in->model.sha256, c->prov.model_sha256);
    sd_model_opt mo = {0};
    /* Answers need all blocks; so does block 0 alone, which a batch cannot be told to stop at. */
    if (!a->phrase.n && sd_site_is_layered(x->site.kind) && x->site.layer > 0) mo.max_layer = x->site.layer + 1;
    return cli_model_open(c, ex, CLI_EXACT, a->model, mo, &x->model, err);
}

/* Taking features out only counts answers; still no refusal direction is pushed down here, not as one of the others either: that is `direction`'s and
 * `audit`'s to measure. */
static sd_status guard(const inputs *x, const sd_contrast *k, int n, cli *c, sd_err *err)
{
    const sd_steer_spec spec = {.feature = 0, .op = SD_STEER_ABLATE};
    int64_t other[SD_CONTRAST_CUTS];
    const int n_cut = n < k->n_above ? n : (int)k->n_above;
    sd_status st = SD_OK;
    sd_contrast_others(other, k, n_cut);
    for (int i = 0; i < 2 * n_cut && !st; i++) {
        const int64_t f = i < n_cut ? k->v[i].feature : other[i - n_cut];
        if (f >= 0) st = sd_direction_guard(&spec, sd_dict_dec_row(x->dict, f), sd_dict_get_info(x->dict)->d_out, c->data_dir, c->prov.model_sha256, err);
    }
    return st;
}

static void write_cause(sd_jw *w, const sd_contrast *k, const sd_contrast_cause *e)
{
    static const char *const name[3] = {"plain", "cut", "others_cut"};
    sd_jw_key(w, "cause");
    sd_jw_obj(w);
    for (int r = 0; r < 3; r++) {
        sd_jw_key(w, name[r]);
        sd_jw_obj(w);
        sd_jw_kf64(w, "share_a", (double)e->hit_a[r] / (double)k->n_a);
        sd_jw_kf64(w, "share_b", (double)e->hit_b[r] / (double)k->n_b);
        sd_jw_ki64(w, "n_a", e->hit_a[r]);
        sd_jw_ki64(w, "n_b", e->hit_b[r]);
        sd_jw_key(w, "features");
        sd_jw_arr(w);
        for (int i = 0; i < e->n_cut && r; i++)
            if (r == 1 || e->other[i] >= 0) sd_jw_i64(w, r == 1 ? e->cut[i] : e->other[i]);
        sd_jw_end(w);
        sd_jw_end(w);
    }
    sd_jw_end(w);
}

static int print_json(cli *c, sd_store *s, const sd_contrast *k, const sd_contrast_cause *e, int64_t limit, sd_err *err)
{
    out_json j;
    sd_status st = SD_OK;
    sd_jw *w = out_json_begin(c, &j, "sonde.feature.contrast/1");
    sd_jw_ki64(w, "n_a", k->n_a);
    sd_jw_ki64(w, "n_b", k->n_b);
    sd_jw_kf64(w, "floor", k->floor);
    sd_jw_kf64(w, "floor_median", k->floor_median);
    sd_jw_ki64(w, "n_above", k->n_above);
    sd_jw_ki64(w, "n_active", k->n);
    if (e) write_cause(w, k, e);
    sd_jw_key(w, "features");
    sd_jw_arr(w);
    for (int64_t i = 0; i < k->n && i < limit && !st; i++) {
        sd_feature_list l;
        const sd_contrast_row *r = &k->v[i];
        if ((st = sd_store_one(&l, s, r->feature, err))) break;
        l.v[0].score = r->diff;
        sd_jw_obj(w);
        sd_feature_brief_write(w, s, &l.v[0]);
        sd_jw_kf64(w, "share_a", r->share_a);
        sd_jw_kf64(w, "share_b", r->share_b);
        sd_jw_kf64(w, "p", r->p);
        sd_jw_kbool(w, "above_floor", i < k->n_above);
        sd_jw_end(w);
        sd_feature_list_release(&l);
    }
    sd_jw_end(w);
    int rc = out_json_end(c, &j);
    return st ? cli_fail(c, err) : rc;
}

static int print_text(cli *c, sd_store *s, const sd_contrast *k, const sd_contrast_cause *e, int64_t limit, sd_err *err)
{
    static const out_col cols[] = {{"index", OUT_RIGHT}, {"A", OUT_RIGHT}, {"B", OUT_RIGHT}, {"difference", OUT_RIGHT}, {"p", OUT_RIGHT}, {"label", OUT_FILL}};
    static const char *const name[3] = {"plain", "without them", "without others"};
    sd_status st = SD_OK;
    out_table *t = out_table_new(c, cols, 6);
    for (int64_t i = 0; i < k->n_above && i < limit && !st; i++) {
        sd_feature_list l;
        const sd_contrast_row *r = &k->v[i];
        if ((st = sd_store_one(&l, s, r->feature, err))) break;
        out_cell(t, "%lld", (long long)r->feature);
        out_f64(t, r->share_a, 3);
        out_f64(t, r->share_b, 3);
        out_f64(t, r->diff, 3);
        out_f64(t, r->p, 2);
        out_str(t, feature_label(l.v[0].label, l.v[0].words, l.v[0].stats.n_fire));
        sd_feature_list_release(&l);
    }
    int rc = out_table_end(t);
    if (st) return cli_fail(c, err);
    out_say(c, "%lld of %lld features differ by more than %.3f, which 95 %% of %s stay below", (long long)k->n_above, (long long)k->n, k->floor,
             "shuffled sets");
    if (!e) return rc;
    out_pairs *p = out_pairs_new(c);
    fputc('\n', c->out);
    for (int r = 0; r < 3; r++)
        out_pair(p, name[r], "%lld of %lld answers to A, %lld of %lld to B", (long long)e->hit_a[r], (long long)k->n_a, (long long)e->hit_b[r], (long long)k->n_b);
    int rc2 = out_pairs_end(p);
    return rc ? rc : rc2;
}

static int cmd_feature_contrast(cli *c, int argc, char **argv);
const cli_cmd cmd_feature_contrast_def = {
    .name = "feature contrast",
    .brief = "find the features that tell two sets of texts apart",
    .args = "STORE A B",
    .opts = opts,
    .uses = CLI_MODE | CLI_SEED | CLI_SITE,
    .run = cmd_feature_contrast,
    .text = "A and B: files with one text a line. For every feature the share of texts of each set in which it is active anywhere; listed are those\n"
            "whose difference is above the floor: what 95 of 100 shufflings of the sets do not reach with any feature. --count is the causal\n"
            "check: all texts are answered, and the answers that hold the phrase are counted plain, with the first --cut features taken out of\n"
            "the stream, and with others as frequent that tell nothing apart. Answers are not shown.",
    .examples = "sonde feature contrast features.db a.txt b.txt --model model.gguf --dict dict/\n"
                "sonde feature contrast features.db a.txt b.txt --model model.gguf --dict dict/ --chat --count Paris --cut 3\n",
    .json = "sonde.feature.contrast/1"};

static int cmd_feature_contrast(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    lines l = {0};
    inputs x = {0};
    sd_rendered r = {0};
    sd_text_codes z = {0};
    sd_contrast k = {0};
    sd_contrast_cause e;
    sd_feature_cut cut = {0};
    if (!cli_parse(c, &cmd_feature_contrast_def, &a, argc, argv, &rc)) return rc;
    if (!a.model || !a.dict) return cli_usage(c, "give --model and --dict: the texts are run through them");
    const sd_exec *ex = cli_exec(c, &err);
    if (!ex) return cli_fail(c, &err);
    sd_status st = read_lines(&l, 0, c->arg[1], &err);
    l.n_a = l.n;
    if (!st) st = read_lines(&l, 1, c->arg[2], &err);
    if (!st) st = open_inputs(&x, &a, c, ex, &err);
    if (!st) st = sd_lab_text_prompts(&r, x.model, l.v, l.n, a.chat, &err);
    if (!st) st = sd_lab_text_codes(&z, &(sd_text_reader){.ex = ex, .m = x.model, .dict = x.dict, .site = x.site}, &r, &c->progress, &err);
    if (!st) st = sd_lab_contrast(&k, &z, l.n_a, sd_dict_get_info(x.dict)->m, &(sd_contrast_opt){.n_shuffle = (int)a.shuffles, .seed = c->seed, .progress = &c->progress}, &err);
    if (!st && a.phrase.n) {
        const sd_contrast_cause_opt o = {.phrase = a.phrase.v, .n_phrase = a.phrase.n, .n_cut = (int)a.cut, .n_gen = a.gen, .progress = &c->progress};
        st = guard(&x, &k, (int)a.cut, c, &err);
        if (!st) st = sd_feature_cut_init(&cut, ex, x.dict, x.site, &err);
        if (!st) st = sd_lab_contrast_cause(&e, x.model, &cut, &r, &k, &o, &err);
    }
    const sd_contrast_cause *cause = a.phrase.n ? &e : NULL;
    rc = st ? cli_fail(c, &err) : c->json ? print_json(c, x.store, &k, cause, a.limit, &err) : print_text(c, x.store, &k, cause, a.limit, &err);
    sd_feature_cut_release(&cut);
    sd_contrast_release(&k);
    sd_text_codes_release(&z);
    sd_rendered_release(&r);
    sd_model_close(x.model);
    sd_dict_free(x.dict);
    sd_store_close(x.store);
    release_lines(&l);
    return rc;
}
