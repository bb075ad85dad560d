/* Shared by the files of recover: the two halves of the labelled tokens and the search over detectors. */
#ifndef SD_LAB_RECOVER_INT_H
#define SD_LAB_RECOVER_INT_H

#include "lab/recover.h"
#include "text/world.h"

enum { RECOVER_STEPS = 1024 }; /* thresholds a detector can have */

/* Labelled and all tokens a step: what a thread counts a detector in. */
typedef struct recover_table {
    int32_t hit[RECOVER_STEPS][SD_RECOVER_CONCEPTS];
    int32_t all[RECOVER_STEPS];
} recover_table;

/* One half. Arrays are owned. */
typedef struct recover_half {
    int64_t n, cap;
    int32_t *token, *doc, *pos;
    uint64_t *mask;     /* labels; bit c: concept c */
    uint64_t *turned;   /* the same, turned round against the tokens */
    int64_t count[SD_RECOVER_CONCEPTS];
    sd_mat x;           /* [n, cols] the matrix at hand */
} recover_half;

typedef struct recover_set {
    recover_half half[2]; /* choose, judge */
    int n_concept;
    const sd_exec *ex;
    const sd_progress *progress;
} recover_set;

/* A family of detectors: value(self, half, i, out) writes detector i's numbers for a half's tokens, out [n]. Called from several
 * threads. */
typedef struct recover_family {
    int64_t n;
    void (*value)(const void *self, int half, int64_t i, float *out);
    const void *self;
    bool both_signs;
} recover_family;

/* Codes by feature: feature f is active in rows row[from[f] .. from[f + 1]). */
typedef struct recover_columns {
    int64_t *from;
    int32_t *row;
    float *val;
} recover_columns;
sd_status sd_recover__transpose(recover_columns *t, const sd_codes *z, int64_t m, sd_err *err); /* release also on failure */
void sd_recover__columns_release(recover_columns *t);

/* For every concept the detector with the highest F1 on the choosing half (the lowest index among equals), judged on the other.
 * turned: against the turned labels. out [n_concept]. */
sd_status sd_recover__best(sd_detector *out, const recover_set *s, const recover_family *f, bool turned, sd_err *err);
/* One given detector of concept c: threshold from a, judged on b (numbers of the two halves). t: room. */
void sd_recover__judge(sd_detector *out, recover_table *t, const recover_set *s, int c, const float *a, const float *b);
/* The features chosen one after another so that their union has the highest F1; stops when none adds. half: both halves. */
sd_status sd_recover__any(sd_recovered *v, const recover_set *s, const recover_columns half[2], int64_t n_features,
                               sd_err *err);
/* As many joined by a logistic regression, and the same once more on turned labels: fills together*. Threads share concepts;
 * seconds of one thread at 65,000 tokens a half. */
sd_status sd_recover__together(sd_recovered *v, const recover_set *s, const recover_columns half[2], int64_t n_features, sd_err *err);

/* Floors, ceiling and baselines: fill their part of v[c]. half[].x holds the activations they look at. */
sd_status sd_recover__random(sd_recovered *v, const recover_set *s, uint64_t seed, sd_err *err);
sd_status sd_recover__components(sd_recovered *v, const recover_set *s, sd_err *err);
sd_status sd_recover__neurons(sd_recovered *v, const recover_set *s, sd_err *err);
sd_status sd_recover__probe(sd_recovered *v, const recover_set *s, bool embedding, sd_err *err);
sd_status sd_recover__pairs(sd_recovered *v, const recover_set *s, sd_err *err);
sd_status sd_recover__bag(sd_recovered *v, const recover_set *s, int64_t n_vocab, sd_err *err);

#endif
