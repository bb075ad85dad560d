/* feature_places: where features fire, as the store counts tokens: from the rows of a study to places in its documents. */
#ifndef SD_LAB_FEATURE_PLACES_H
#define SD_LAB_FEATURE_PLACES_H

#include "lab/rows.h"

typedef struct sd_feature_places {
    const sd_rows *rows;
    int64_t *start;      /* [max_doc + 1] tokens before each document, by number; owns */
    bool ascending;      /* documents stand in the order of their numbers */
    struct place *v;     /* scratch of one feature */
    int64_t *at, cap;
    float *val;
} sd_feature_places;     /* zero-initialise */
sd_status sd_feature_places_init(sd_feature_places *p, const sd_rows *rows, sd_err *err);
void sd_feature_places_release(sd_feature_places *p);
/* Puts the postings of a feature: row [n] ascending in reading order, val [n] > 0. */
sd_status sd_feature_places_put(sd_feature_places *p, sd_store *s, int64_t index, const uint32_t *row, const float *val, int64_t n, sd_err *err);

#endif
