/* Owns: the document and the data in it. The data is JSON in a script block: no '<' may stand in it, else a word could end the block, so
 * every one becomes \u003c, which only strings can hold. */
#include "lab/map_html.h"

#include "lab/report_int.h"

#include <inttypes.h>
#include <math.h>

extern const char *const sd_map__style[], *const sd_map__script[];

/* Places as integers: 1/65535 of the map's width is under a tenth of a pixel at any zoom that makes sense. */
#define GRID 65535.0

void sd_feature_map_write(sd_jw *w, const sd_feature_map *m)
{
    sd_jw_ki64(w, "k", m->k);
    sd_jw_ki64(w, "epochs", m->epochs);
    sd_jw_kf64(w, "min_dist", m->min_dist);
    sd_jw_key(w, "seed");
    sd_jw_u64(w, m->seed);
    sd_jw_ki64(w, "n_points", m->n_point);
    sd_jw_ki64(w, "n_clusters", m->n_cluster);
    sd_jw_ki64(w, "n_checked", m->n_checked);
    sd_jw_kf64(w, "kept", m->kept);
    sd_jw_kf64(w, "kept_by_chance", m->kept_chance);
    sd_jw_kf64(w, "trustworthiness", m->trust);
    sd_jw_kf64(w, "modularity", m->modularity);
    sd_jw_key(w, "clusters");
    sd_jw_arr(w);
    for (int64_t c = 0; c < m->n_cluster; c++) {
        sd_jw_obj(w);
        sd_jw_ki64(w, "n", m->cluster[c].n);
        sd_jw_kstr(w, "words", m->cluster[c].words ? m->cluster[c].words : "");
        sd_jw_end(w);
    }
    sd_jw_end(w);
    sd_jw_key(w, "points");
    sd_jw_arr(w);
    for (int64_t i = 0; i < m->n_point; i++) {
        sd_jw_arr(w);
        sd_jw_i64(w, m->point[i].index);
        sd_jw_f32(w, m->point[i].x);
        sd_jw_f32(w, m->point[i].y);
        sd_jw_i64(w, m->point[i].cluster);
        sd_jw_end(w);
    }
    sd_jw_end(w);
}

static void put_lines(sd_buf *b, const char *const *line)
{
    for (; *line; line++) {
        sd_buf_puts(b, *line);
        sd_buf_putc(b, '\n');
    }
}

/* [index, x, y, cluster, size, label, promoted tokens] each; y turned, a screen's grows downwards. */
static sd_status put_points(sd_jw *w, sd_store *s, const sd_feature_map *m, sd_err *err)
{
    float lo[2] = {INFINITY, INFINITY}, hi[2] = {-INFINITY, -INFINITY};
    sd_buf tokens;
    sd_status st = SD_OK;
    sd_buf_init(&tokens, 1 << 16);
    for (int64_t i = 0; i < m->n_point; i++) {
        lo[0] = fminf(lo[0], m->point[i].x), hi[0] = fmaxf(hi[0], m->point[i].x);
        lo[1] = fminf(lo[1], m->point[i].y), hi[1] = fmaxf(hi[1], m->point[i].y);
    }
    double span = fmax(1e-6, fmax((double)(hi[0] - lo[0]), (double)(hi[1] - lo[1])));
    sd_jw_arr(w);
    for (int64_t i = 0; i < m->n_point && !st; i++) {
        const sd_feature_point *p = &m->point[i];
        sd_feature_list l;
        if ((st = sd_store_one(&l, s, p->index, err))) break;
        const sd_feature_brief *f = &l.v[0];
        sd_buf_reset(&tokens);
        for (int t = 0; t < f->n_top; t++) {
            if (t) sd_buf_putc(&tokens, ' ');
            sd_token_show_id(&tokens, s, f->top[t].id);
        }
        sd_jw_arr(w);
        sd_jw_i64(w, p->index);
        sd_jw_i64(w, (int64_t)((double)(p->x - lo[0]) / span * GRID));
        sd_jw_i64(w, (int64_t)((double)(hi[1] - p->y) / span * GRID));
        sd_jw_i64(w, p->cluster);
        /* Size by tokens it fires on, in doublings: 0 for a silent one. */
        sd_jw_i64(w, (int64_t)log2(1.0 + (double)f->stats.n_fire));
        sd_jw_str(w, f->label ? f->label : f->words);
        sd_jw_slice(w, (sd_slice){tokens.p, tokens.n});
        sd_jw_end(w);
        sd_feature_list_release(&l);
    }
    sd_jw_end(w);
    sd_buf_release(&tokens);
    return st;
}

static sd_status put_data(sd_buf *b, sd_store *s, const sd_feature_map *m, sd_err *err)
{
    sd_buf json;
    sd_jw w;
    sd_buf_init(&json, (size_t)1 << 30);
    sd_jw_init(&w, &json);
    sd_jw_obj(&w);
    sd_jw_key(&w, "clusters");
    sd_jw_arr(&w);
    for (int64_t c = 0; c < m->n_cluster; c++) sd_jw_str(&w, m->cluster[c].words ? m->cluster[c].words : "");
    sd_jw_end(&w);
    sd_jw_key(&w, "points");
    sd_status st = put_points(&w, s, m, err);
    sd_jw_end(&w);
    if (!st) st = sd_buf_check(&json, "the map's page", err);
    for (size_t i = 0, run = 0; i <= json.n && !st; i++) {
        if (i < json.n && json.p[i] != '<') continue;
        sd_buf_put(b, json.p + run, i - run);
        if (i < json.n) sd_buf_puts(b, "\\u003c");
        run = i + 1;
    }
    sd_buf_release(&json);
    return st;
}

sd_status sd_lab_map_html(sd_buf *b, sd_store *s, const sd_feature_map *m, sd_err *err)
{
    const sd_store_info *in = sd_store_get_info(s);
    sd_buf_puts(b, "<!doctype html>\n<html lang=en><head><meta charset=utf-8><meta name=viewport content='width=device-width,initial-scale=1'>"
                   "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'; "
                   "script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">"
                   "<meta name=color-scheme content='light dark'><title>Map of the features of ");
    sd_report__str(b, in->model.name);
    sd_buf_puts(b, "</title><style>\n");
    put_lines(b, sd_map__style);
    sd_buf_puts(b, "</style></head><body><canvas id=map tabindex=0 role=img aria-label='map of features'></canvas>\n<header><h1>");
    sd_report__str(b, in->model.name);
    sd_buf_puts(b, "</h1><p>");
    sd_report__count(b, m->n_point);
    sd_buf_puts(b, " features of <code>");
    sd_report__str(b, in->dict.site);
    sd_buf_puts(b, "</code> in ");
    sd_report__count(b, m->n_cluster);
    sd_buf_puts(b, " clusters. Near on the map is near in direction.</p><label for=q>Find</label><input id=q type=search placeholder='a word' autocomplete=off>"
                   "<p id=n role=status></p></header>\n<aside id=tip hidden><b id=tl></b><span id=ti></span><span id=tt></span><span id=tc></span></aside>\n<footer>");
    if (isfinite(m->kept)) {
        sd_buf_printf(b, "%.0f %% of the %d nearest directions are among the %d nearest here (%.2g %% by chance), trustworthiness %.3f, on ",
                      100 * m->kept, m->k, m->k, 100 * m->kept_chance, m->trust);
        sd_report__count(b, m->n_checked);
        sd_buf_puts(b, " features. ");
    }
    sd_buf_printf(b, "Distances between clusters say little. Seed %" PRIu64 ", ", m->seed);
    sd_report__str(b, m->tool);
    sd_buf_puts(b, ".</footer>\n<script type=application/json id=data>");
    sd_status st = put_data(b, s, m, err);
    if (st) return st;
    sd_buf_puts(b, "</script>\n<script>\n");
    put_lines(b, sd_map__script);
    sd_buf_puts(b, "</script></body></html>\n");
    return sd_buf_check(b, "the map's page", err);
}
