/* map: all features of a store in the plane, near each other where their directions are, in clusters with words.
 *
 *   graph    exact k nearest neighbours by cosine of directions; distances 1 - cosine become weights as in UMAP (McInnes, Healy, Melville
 *            2018, section 3.1; umap-learn 0.5, smooth_knn_dist and fuzzy_simplicial_set), k others instead of k with itself
 *   layout   two slow eigenvectors of the graph, by rank, as a start; then UMAP's sampled gradient steps (section 3.2; layouts.py),
 *            one thread, one random stream: the same seed gives the same map on the same machine
 *   clusters Louvain (Blondel et al. 2008) on the same graph, features in order of index
 *   quality  share of the k nearest kept, and trustworthiness (Venna & Kaski 2001), both exact, on all features or an even sample */
#ifndef SD_LAB_FEATURE_MAP_H
#define SD_LAB_FEATURE_MAP_H

#include "base/log.h"
#include "num/exec.h"
#include "store/store.h"

typedef struct sd_map_opt {
    int k;              /* neighbours; 0: 15 */
    int epochs;         /* 0: 500 up to 10,000 features, else 200, as umap-learn */
    uint64_t seed;
    const sd_progress *progress; /* may be NULL */
} sd_map_opt;

/* Rows of unit length, zeros for a feature without a direction; sd_free. SD_E_NOTFOUND: the store has none. */
sd_status sd_lab_directions(sd_mat *out, sd_store *s, sd_err *err);
/* SD_E_NOTFOUND with what to do, for a store whose features have no directions at all. */
sd_status sd_lab_has_directions(const sd_store *s, sd_err *err);
/* out = w / |w|, zeros for zeros; [d]; out may be w. */
void sd_lab_unit_row(float *out, const float *w, int64_t d);
/* w [m, d] of unit rows or zeros. Features of zeros and features without any neighbour are left out of out->point. Memory: about
 * 200 bytes a feature and neighbours; 16,384 features of width 576 take some 10 s on two cores. tool and created are left empty, words are NULL. */
sd_status sd_lab_map(sd_feature_map *out, const sd_exec *ex, sd_mat w, const sd_map_opt *opt, sd_err *err);
/* Of a map made here (one read from a store goes with sd_feature_map_release). */
void sd_lab_map_release(sd_feature_map *m);
/* The words of the clusters from what the store says of their features; out->cluster[].words. */
sd_status sd_lab_map_words(sd_feature_map *m, sd_store *s, sd_err *err);

#endif
