/* Owns: the walk over the features beside the points. */
#include "lab/map_page.h"

#include <math.h>

enum { MAX_POINTS = 100000, PAGE = 4096 };

/* [index, x, y, cluster, log2(1 + tokens it fires on), label] each; an even sample of a map with more than MAX_POINTS. */
static sd_status put_points(sd_jw *w, sd_store *s, const sd_feature_map *m, sd_err *err)
{
    int64_t step = (m->n_point + MAX_POINTS - 1) / MAX_POINTS;
    sd_status st = SD_OK;
    sd_feature_list l = {0};
    int64_t at = 0, k = 0; /* l holds features from index at on; the k-th is looked at */
    sd_jw_key(w, "points");
    sd_jw_arr(w);
    for (int64_t i = 0; i < m->n_point && !st; i += step) {
        const sd_feature_point *p = &m->point[i];
        while (!st && (k >= l.n || l.v[k].stats.index < p->index)) {
            if (k < l.n) {
                k++;
                continue;
            }
            if (l.mem && !l.n) break;
            at += l.n;
            sd_feature_list_release(&l);
            st = sd_store_list(&l, s, &(sd_feature_query){.sort = SD_SORT_INDEX, .silent = true, .limit = PAGE, .offset = at}, err);
            k = 0;
            if (!st && !l.n) break;
        }
        if (st || k >= l.n) break;
        const sd_feature_brief *f = &l.v[k];
        sd_jw_arr(w);
        sd_jw_i64(w, p->index);
        sd_jw_f32(w, p->x);
        sd_jw_f32(w, p->y);
        sd_jw_i64(w, p->cluster);
        sd_jw_f32(w, (float)(round(8 * log2(1.0 + (double)f->stats.n_fire)) / 8));
        sd_jw_str(w, f->label ? f->label : f->words);
        sd_jw_end(w);
    }
    sd_jw_end(w);
    sd_feature_list_release(&l);
    return st;
}

sd_status sd_map_page_write(sd_jw *w, sd_store *s, sd_err *err)
{
    sd_feature_map m;
    sd_status st = sd_store_get_map(&m, s, err);
    if (st) return st;
    if (!m.n_point) {
        sd_feature_map_release(&m);
        sd_fail(err, SD_E_NOTFOUND, "the store has no map");
        return sd_hint(err, "lay one out with `sonde feature map`, then start the server again");
    }
    sd_jw_ki64(w, "n_points", m.n_point);
    sd_jw_ki64(w, "k", m.k);
    sd_jw_kf64(w, "kept", m.kept);
    sd_jw_kf64(w, "kept_by_chance", m.kept_chance);
    sd_jw_kf64(w, "trustworthiness", m.trust);
    sd_jw_key(w, "clusters");
    sd_jw_arr(w);
    for (int64_t c = 0; c < m.n_cluster; c++) {
        sd_jw_obj(w);
        sd_jw_ki64(w, "n", m.cluster[c].n);
        sd_jw_kstr(w, "words", m.cluster[c].words ? m.cluster[c].words : "");
        sd_jw_end(w);
    }
    sd_jw_end(w);
    st = put_points(w, s, &m, err);
    sd_feature_map_release(&m);
    return st;
}
