#include "cli/dict_eval_cross.h"
#include "lab/evaluate_cross.h"
#include "lab/evaluate_rows.h"
#include <math.h>

typedef struct result { sd_cross_ce ce[SD_CROSS_PARTS]; sd_rows_eval e; char name[SD_CROSS_PARTS][64]; } result;

enum { N_CE = 5 };
static const char *const ce_id[N_CE] = {"ce_plain", "ce_spliced", "ce_zero_ablated", "ce_recovered", "kl_plain_spliced"};
static double ce_at(const sd_cross_ce *c, int i) { return (const double[N_CE]){c->ce_plain, c->ce_spliced, c->ce_zero, c->ce_recovered, c->kl}[i]; }

static void put_metrics(sd_jw *w, const sd_dict_metrics *m, const sd_cross_ce *ce)
{
    const char *id;
    double v;
    sd_jw_obj(w);
    for (int i = 0; sd_dict_metric_at(m, i, &id, &v); i++) sd_jw_kf64(w, id, v);
    for (int i = 0; i < N_CE && ce; i++) sd_jw_kf64(w, ce_id[i], ce_at(ce, i));
    sd_jw_end(w);
}

static int print(cli *c, const char *site, const result *r)
{
    const char *id;
    double v;
    if (c->json) {
        out_json j;
        sd_jw *w = out_json_begin(c, &j, "sonde.dict.eval/1");
        sd_jw_key(w, "metrics");
        put_metrics(w, &r->e.whole, NULL);
        sd_jw_key(w, "sites");
        sd_jw_obj(w);
        for (int p = 0; p < r->e.n_part; p++) {
            sd_jw_key(w, r->name[p]);
            put_metrics(w, &r->e.part[p], &r->ce[p]);
        }
        sd_jw_end(w);
        sd_jw_kstr(w, "site", site);
        sd_jw_ki64(w, "n_tokens", r->e.whole.n_rows + r->e.n_kept);
        sd_jw_ki64(w, "n_replaced", r->e.whole.n_rows);
        sd_jw_ki64(w, "n_kept", r->e.n_kept);
        sd_jw_kstr(w, "mode", sd_mode_name(c->mode));
        return out_json_end(c, &j);
    }
    out_col cols[2 + SD_CROSS_PARTS] = {{"metric", OUT_LEFT}, {"all", OUT_RIGHT}};
    for (int p = 0; p < r->e.n_part; p++) cols[2 + p] = (out_col){r->name[p], OUT_RIGHT};
    out_table *t = out_table_new(c, cols, 2 + r->e.n_part);
    for (int i = 0; sd_dict_metric_at(&r->e.whole, i, &id, &v); i++) {
        out_str(t, id);
        out_f64(t, v, 5);
        for (int p = 0; p < r->e.n_part; p++) {
            (void)sd_dict_metric_at(&r->e.part[p], i, &id, &v);
            out_f64(t, v, 5);
        }
    }
    for (int i = 0; i < N_CE; i++) {
        out_str(t, ce_id[i]);
        out_f64(t, NAN, 5);
        for (int p = 0; p < r->e.n_part; p++) out_f64(t, ce_at(&r->ce[p], i), 5);
    }
    return out_table_end(t);
}

int dict_eval_cross_run(cli *c, const sd_exec *ex, const dict_eval_cross *in, sd_err *err)
{
    result r = {0};
    dict_rows rows = {0};
    int rc = 0;
    dict_rows_in ri = {.model = in->model, .corpus = in->corpus, .with = in->with, .mode = c->mode, .cross = true, .predicts = true, .base = in->base};
    sd_status st = dict_rows_sites(&ri.sites, in->dict, in->with, err);
    if (!st) st = dict_rows_open(&rows, ex, &ri, err);
    for (int p = 0; p < ri.sites.n && !st; p++) {
        const sd_cross_sites one = {.site = {ri.sites.site[p]}, .second = {ri.sites.second[p]}, .n = 1};
        st = sd_cross_sites_print(r.name[p], sizeof r.name[p], &one, false, err);
        r.e.width[r.e.n_part++] = rows.width[p];
    }
    if (!st) st = sd_lab_evaluate_rows(&r.e, ex, in->dict, rows.src, err);
    const sd_cross_eval ce = {.m = {in->model, rows.with}, .dict = in->dict, .sites = &ri.sites, .width = rows.width, .contexts = rows.first, .progress = &c->progress};
    if (!st) st = sd_lab_evaluate_cross(r.ce, ex, &ce, err);
    if (!st) rc = print(c, sd_dict_site_name(in->dict), &r);
    sd_rows_eval_release(&r.e);
    dict_rows_close(&rows);
    return rc;
}
