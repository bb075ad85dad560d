/* polysemy: how many clusters of contexts light a feature up, from its top examples in a store.
 *
 * A context is the bag of tokens from 8 before an example's peak to 4 after it, each weighted by ln(E / how many of all E contexts hold it), the
 * peak twice. Two contexts belong together when their cosine is above what 99.9 % of pairs of contexts of different features reach; the clusters
 * are the connected components. A feature of one thing has 1, a neuron that answers to unrelated things as many as it has examples.
 *   score = (clusters - 1) / (contexts - 1), 0: one thing, 1: nothing in common
 * The floor is the same number for sets of contexts drawn from different features. It sees words, not meanings: synonyms are apart. */
#ifndef SD_LAB_POLYSEMY_H
#define SD_LAB_POLYSEMY_H

#include "base/log.h"
#include "store/store.h"

enum { SD_POLYSEMY_LEAST = 5 }; /* contexts a feature must have to be counted */

typedef struct sd_polysemy_row { int64_t index; int clusters, contexts; double score; } sd_polysemy_row;
typedef struct sd_polysemy {
    sd_polysemy_row *row;       /* [n] counted features, by index */
    int64_t n;
    double mean_clusters, median_score, mean_score, share_single; /* share_single: features of one cluster */
    double floor_clusters, floor_score;
    double link;                /* cosine from which two contexts belong together */
} sd_polysemy;
sd_status sd_lab_polysemy(sd_polysemy *out, sd_store *s, uint64_t seed, const sd_progress *progress, sd_err *err);
void sd_polysemy_release(sd_polysemy *p);

#endif
