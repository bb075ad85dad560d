/* feature_near: the features of one store nearest to a feature of another (or the same), by cosine of directions, exact over all of them. For two
 * dictionaries of one model and site, of two checkpoints, or of two widths. */
#ifndef SD_LAB_FEATURE_NEAR_H
#define SD_LAB_FEATURE_NEAR_H

#include "num/exec.h"
#include "store/store.h"

/* Features of `in`, score = cosine, highest first, ties to the lower index; in may be `of`: the feature itself is left out then. limit 0: 20. SD_E_SHAPE when the
 * directions are of different width, SD_E_NOTFOUND when a store was built without them or the feature has none. */
sd_status sd_lab_feature_near(sd_feature_list *out, const sd_exec *ex, sd_store *of, int64_t index, sd_store *in, int64_t limit, sd_err *err);

#endif
