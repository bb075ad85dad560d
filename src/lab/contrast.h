/* contrast: the features that tell two sets of texts apart, beside what shuffled sets give, and whether they cause anything.
 *
 *   share_f(S)  share of the texts of S in which feature f is active anywhere; difference = share(A) - share(B)
 *   floor       95th percentile, over `n_shuffle` shufflings of which text is of which set, of the largest |difference| of any feature: a feature
 *               above it is told apart at 5 % for all features together (Westfall & Young 1993, the max statistic)
 *   causal      answers to all texts that hold one of the phrases, counted plain, with the first n_cut features above the floor taken out, and
 *               with as many others taken out that are as frequent and tell nothing apart */
#ifndef SD_LAB_CONTRAST_H
#define SD_LAB_CONTRAST_H

#include "lab/text_codes.h"

typedef struct sd_contrast_opt {
    int n_shuffle;           /* 0: 200 */
    uint64_t seed;
    const sd_progress *progress;
} sd_contrast_opt;
typedef struct sd_contrast_row { int64_t feature, n_a, n_b; double share_a, share_b, diff, p; } sd_contrast_row; /* p: share of shufflings whose largest is at least |diff| */
typedef struct sd_contrast {
    sd_contrast_row *v;      /* [n] features active in any text, largest |difference| first, ties by index */
    int64_t n, n_a, n_b, n_above;
    double floor, floor_median;
} sd_contrast;
void sd_contrast_release(sd_contrast *c);
/* z: codes of n_a texts of A, then n_b of B, of a dictionary of m features. */
sd_status sd_lab_contrast(sd_contrast *out, const sd_text_codes *z, int64_t n_a, int64_t m, const sd_contrast_opt *opt, sd_err *err);

/* other [n_cut]: for each of the first n_cut another, active in the most similar number of texts, whose difference is below the median of what shuffling
 * gives; -1 where there is none. */
void sd_contrast_others(int64_t *other, const sd_contrast *c, int n_cut);

typedef struct sd_contrast_cause_opt {
    const char *const *phrase; /* [n_phrase] ASCII case is ignored */
    int n_phrase;
    int n_cut;
    int64_t n_gen;
    const sd_progress *progress;
} sd_contrast_cause_opt;
/* How many answers to A and to B hold a phrase: [0] plain, [1] the features taken out, [2] the others taken out. */
typedef struct sd_contrast_cause { int64_t hit_a[3], hit_b[3]; int n_cut; int64_t cut[64], other[64]; } sd_contrast_cause;
enum { SD_CONTRAST_CUTS = 64 };
/* r: the prompts of A, then of B. SD_E_NOTFOUND when no feature is above the floor. Answers are counted and forgotten. */
sd_status sd_lab_contrast_cause(sd_contrast_cause *out, const sd_model *m, sd_feature_cut *cut, const sd_rendered *r,
                                const sd_contrast *c, const sd_contrast_cause_opt *opt, sd_err *err);

#endif
