/* sonde dict survive: which features of a dictionary a quantised model still has. */
#include "cli/cli.h"
#include "cli/look_args.h"
#include "lab/harvest.h"
#include "lab/survive_page.h"

#include <math.h>
#include <sys/stat.h>

typedef struct args { opt_list against; int64_t tokens, ctx; const char *html; } args;

static const cli_opt opts[] = {
    {0, "against", OPT_MULTI, AT(args, against), .arg = "MODEL2", .help = "a quantisation of MODEL; repeat it"},
    {0, "tokens", OPT_INT, AT(args, tokens), .arg = "N", .def = "16384", .lo = 256, .hi = 1e9, .help = "tokens to compare on"},
    {0, "ctx", OPT_INT, AT(args, ctx), .arg = "N", .def = "256", .lo = 16, .hi = 1 << 20, .unit = "tokens", .help = "length of a context"},
    {0, "html", OPT_STR, AT(args, html), .arg = "FILE", .help = "also as a page of its own"},
    OPT_END};

enum { MOST = 12 };
typedef struct work { const args *a; const sd_dict *dict; const sd_corpus *corpus; sd_site site; sd_survive_row row[MOST]; int n; } work;

static const char *base_of(const char *path)
{
    const char *p = strrchr(path, '/');
    return p && p[1] ? p + 1 : path;
}

typedef struct reading { sd_model *m; sd_harvest *h; } reading;

static sd_status open_reading(reading *r, cli *c, const sd_exec *ex, const work *w, const char *path, sd_err *err)
{
    const sd_model_opt o = {.no_head = true, .max_layer = sd_site_is_layered(w->site.kind) ? w->site.layer + 1 : 1};
    sd_status st = cli_model_open(c, ex, CLI_EXACT, path, o, &r->m, err);
    if (!st) st = sd_harvest_open(&r->h, ex, r->m, w->corpus, &(sd_harvest_opt){.site = w->site, .max_rows = w->a->tokens, .n_ctx = w->a->ctx, .seed = c->seed}, err);
    return st;
}

static void close_reading(reading *r)
{
    sd_harvest_close(r->h);
    sd_model_close(r->m);
    *r = (reading){0};
}

static int print(cli *c, const work *w, const sd_survive_ref *ref)
{
    const sd_dict_metrics *m = sd_survive_ref_recon(ref);
    if (c->json) {
        out_json j;
        sd_jw *o = out_json_begin(c, &j, "sonde.dict.survive/1");
        sd_jw_kstr(o, "site", c->site);
        sd_jw_ki64(o, "n_tokens", sd_survive_ref_rows(ref));
        sd_jw_kf64(o, "corr_threshold", SD_SURVIVE);
        sd_jw_ki64(o, "least_fires", SD_SURVIVE_FIRES);
        sd_jw_kf64(o, "fvu", m->fvu);
        sd_jw_kf64(o, "l0", m->l0);
        sd_jw_kstr(o, "mode", sd_mode_name(c->mode));
        sd_jw_key(o, "models");
        sd_jw_arr(o);
        for (int i = 0; i < w->n; i++) {
            const sd_survival *s = &w->row[i].s;
            sd_jw_obj(o);
            sd_jw_kstr(o, "model", w->row[i].name);
            sd_jw_ki64(o, "bytes", (int64_t)w->row[i].bytes);
            sd_jw_kf64(o, "survived", s->share);
            sd_jw_ki64(o, "n_counted", s->n_counted);
            sd_jw_ki64(o, "n_survived", s->n_survived);
            sd_jw_ki64(o, "n_silent", s->n_silent);
            sd_jw_kf64(o, "median_corr", s->median_corr);
            sd_jw_kf64(o, "mean_f1", s->mean_f1);
            sd_jw_kf64(o, "peak_auc", s->peak_auc);
            sd_jw_kf64(o, "row_error", s->row_error);
            sd_jw_kf64(o, "fvu", s->recon.fvu);
            sd_jw_kf64(o, "l0", s->recon.l0);
            sd_jw_key(o, "by_peak");
            sd_jw_arr(o);
            for (int k = 0; k < SD_SURVIVE_BINS; k++) sd_jw_f64(o, s->by_peak[k]);
            sd_jw_end(o);
            sd_jw_key(o, "corr");
            sd_jw_arr(o);
            for (int64_t f = 0; f < sd_dict_get_info(w->dict)->m; f++) sd_jw_f64(o, (double)s->corr[f]);
            sd_jw_end(o);
            sd_jw_end(o);
        }
        sd_jw_end(o);
        return out_json_end(c, &j);
    }
    static const out_col cols[] = {{"model", OUT_LEFT}, {"survived", OUT_RIGHT}, {"of", OUT_RIGHT}, {"silent", OUT_RIGHT}, {"median corr", OUT_RIGHT}, {"mean F1", OUT_RIGHT}, {"rows moved", OUT_RIGHT}, {"FVU", OUT_RIGHT}, {"AUC of peak", OUT_RIGHT}};
    out_table *t = out_table_new(c, cols, 9);
    for (int i = 0; i < w->n; i++) {
        const sd_survival *s = &w->row[i].s;
        out_str(t, w->row[i].name);
        out_f64(t, s->share, 4);
        out_i64(t, s->n_counted);
        out_i64(t, s->n_silent);
        out_f64(t, s->median_corr, 4);
        out_f64(t, s->mean_f1, 4);
        out_f64(t, s->row_error, 4);
        out_f64(t, s->recon.fvu, 4);
        out_f64(t, s->peak_auc, 3);
    }
    const int rc = out_table_end(t);
    out_say(c, "%lld tokens at %s, %s; reference FVU %.4f, L0 %.1f; survived: correlation of %.1f or more among features that fire on %d tokens", (long long)sd_survive_ref_rows(ref), c->site,
             sd_mode_name(c->mode), m->fvu, m->l0, SD_SURVIVE, SD_SURVIVE_FIRES);
    return rc;
}

static sd_status write_page(cli *c, const work *w, const sd_survive_ref *ref, const char *model, sd_err *err)
{
    sd_buf b;
    sd_buf_init(&b, LOOK_PAGE_MAX);
    const sd_survive_page p = {model, c->site, base_of(c->arg[0]), sd_dict_get_info(w->dict)->m, sd_survive_ref_rows(ref), sd_survive_ref_recon(ref), w->row, w->n, &c->prov};
    sd_status st = sd_page_survive(&b, &p, err);
    if (!st) st = look_html_write(c, w->a->html, &b, err);
    sd_buf_release(&b);
    return st;
}

static int cmd_dict_survive(cli *c, int argc, char **argv);
const cli_cmd cmd_dict_survive_def = {
    .name = "dict survive",
    .brief = "which features a quantised model still has",
    .args = "DIR MODEL CORPUS..",
    .usage = "DIR MODEL CORPUS.. --against MODEL2",
    .opts = opts,
    .uses = CLI_MODE | CLI_SEED | CLI_SITE | CLI_FORCE,
    .run = cmd_dict_survive,
    .text = "MODEL and each --against read the same tokens; a feature's activations are compared token by token. It survives where they\n"
            "correlate by 0.9 or more. Features that fire on fewer than 10 tokens are not counted. `rows moved` is what quantisation did to\n"
            "the site's rows, as a share of their variance; `AUC of peak` how well the peak activation tells who survives (0.5: not at all).\n"
            "Give MODEL itself as an --against to see the noise of the measurement: none in faithful mode. --json has every feature.",
    .examples = "sonde dict survive dict/ model.BF16.gguf corpus/ --against model.Q8_0.gguf --against model.Q4_K_M.gguf --html survive.html\n",
    .json = "sonde.dict.survive/1"};

static int cmd_dict_survive(cli *c, int argc, char **argv)
{
    args a;
    int rc;
    sd_err err = {0};
    sd_dict *d = NULL;
    sd_corpus *corpus = NULL;
    sd_survive_ref *ref = NULL;
    reading r = {0};
    char model[128] = "";
    struct stat sb;
    if (!cli_parse(c, &cmd_dict_survive_def, &a, argc, argv, &rc)) return rc;
    if (a.against.n < 1 || a.against.n > MOST) return cli_usage(c, "give 1 to %d models to compare with: --against MODEL2", MOST);
    work w = {.a = &a};
    sd_status st = look_html_check(c, a.html, &err);
    const sd_exec *ex = st ? NULL : cli_exec(c, &err);
    if (!ex) return cli_fail(c, &err);
    if ((st = sd_dict_open(&d, c->arg[0], &err)) || (st = cli_dict_site(c, d, &w.site, &err))) goto done;
    if ((st = cli_corpus_open(c, &corpus, c->arg + 2, c->n_arg - 2, &err))) goto done;
    w.dict = d, w.corpus = corpus;
    if ((st = open_reading(&r, c, ex, &w, c->arg[1], &err))) goto done;
    snprintf(model, sizeof model, "%s", r.m->cfg.name);
    if ((st = sd_survive_ref_new(&ref, ex, d, sd_harvest_source(r.h), a.tokens, &c->progress, &err))) goto done;
    for (int i = 0; i < a.against.n; i++) {
        close_reading(&r);
        if ((st = open_reading(&r, c, ex, &w, a.against.v[i], &err))) goto done;
        w.row[i].name = base_of(a.against.v[i]);
        w.row[i].bytes = stat(a.against.v[i], &sb) == 0 && S_ISREG(sb.st_mode) ? (uint64_t)sb.st_size : 0;
        if ((st = sd_lab_survive(&w.row[i].s, ex, ref, sd_harvest_source(r.h), &c->progress, &err))) goto done;
        w.n++;
    }
    if ((st = cli_model_hash(c, c->arg[1], &err))) goto done;
    cli_corpus_hash(c, corpus);
    if (a.html && (st = write_page(c, &w, ref, model, &err))) goto done;
    rc = print(c, &w, ref);
done:
    if (st) rc = cli_fail(c, &err);
    for (int i = 0; i < w.n; i++) sd_survival_release(&w.row[i].s);
    close_reading(&r);
    sd_survive_ref_free(ref);
    sd_corpus_close(corpus);
    sd_dict_free(d);
    return rc;
}
