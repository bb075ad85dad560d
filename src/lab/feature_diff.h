/* feature_diff: two stores (or one store before and after more training): which features are the same, which vanished, which appeared.
 *
 * Each feature's nearest in the other store by cosine of directions, over all pairs. A pair that is each other's nearest at `same` or above
 * is matched; a feature of the first store whose nearest is below `same` has vanished, one of the second has appeared; what is
 * left (near another that prefers a third) is split or merged. The floor is what chance gives: the same search against the other store's
 * directions with their coordinates shuffled by the seed, which keeps lengths and the spread of numbers and loses every direction. */
#ifndef SD_LAB_FEATURE_DIFF_H
#define SD_LAB_FEATURE_DIFF_H

#include "num/exec.h"
#include "store/store.h"

typedef enum sd_diff_kind { SD_DIFF_MATCHED, SD_DIFF_GONE, SD_DIFF_SHARED, SD_DIFF_NONE } sd_diff_kind; /* NONE: no direction */
/* A feature of one side: its nearest on the other, -1 without a direction. */
typedef struct sd_diff_feature { int64_t index; int32_t other; float cosine; sd_diff_kind kind; } sd_diff_feature;
typedef struct sd_feature_diff {
    sd_diff_feature *side[2];   /* [n[i]] by index: features of the first store, of the second */
    int64_t n[2];
    int64_t n_matched, n_gone[2], n_shared[2]; /* gone[0]: vanished, gone[1]: appeared */
    double mean_cosine[2];      /* of the nearest */
    double floor_mean, floor_max; /* of the nearest with shuffled coordinates, from the first store's side */
    double same;
} sd_feature_diff;
void sd_feature_diff_release(sd_feature_diff *d);
/* SD_E_SHAPE when the directions are of different width. */
sd_status sd_lab_feature_diff(sd_feature_diff *out, const sd_exec *ex, sd_store *a, sd_store *b, double same, uint64_t seed, sd_err *err);

#endif
