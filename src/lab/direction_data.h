/* From files of prompts to what a direction is fitted and chosen on. */
#ifndef SD_LAB_DIRECTION_DATA_H
#define SD_LAB_DIRECTION_DATA_H

#include "lab/direction.h"

typedef struct sd_direction_files {
    const char *positive, *negative;          /* files, read as suites whatever axis they say */
    const char *positive_val, *negative_val;  /* NULL: a part of the first ones */
    int64_t n_train, n_val;                   /* of each side; 0: 128, 32 (Arditi et al. 2024); a small file is divided four to one */
    uint64_t seed;
} sd_direction_files;

typedef struct sd_direction_sets {
    sd_suite suite[4];
    const char **text[4]; /* own the arrays, borrow the texts from suite */
    sd_direction_data data;
    bool harmful;         /* the positive file holds harmful requests */
} sd_direction_sets;
sd_status sd_direction_sets_open(sd_direction_sets *out, const sd_direction_files *f, sd_err *err);
void sd_direction_sets_release(sd_direction_sets *s);

#endif
