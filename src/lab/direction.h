/* direction: one direction of the residual stream that parts two sets of prompts, found by difference of means and chosen by what it does.
 *
 *   candidates  r[i,l] = mean over positive - mean over negative prompts of the input of block l at position -i, for every position behind
 *               the instruction and every block; means in double                                 Arditi et al. 2024, section 2.3
 *   bypass      mean refusal score on positive validation prompts with r ablated everywhere (lower: the direction carries more)
 *   induce      mean refusal score on negative validation prompts with r added at its own place
 *   kl          mean over negative validation prompts of KL(plain || ablated) at the last position, logarithms of p + 1e-6
 *   discarded   not finite; block at or above 0.8 L; kl > 0.1 (max_kl); induce < 0         chosen: the lowest bypass of those that are left
 *
 * (andyrdt/refusal_direction @9d852fae, select_direction.py.) Prompts are filtered first: positive with a score above 0, negative below. When
 * all candidates are discarded, the answer is that there is no single direction. Two things differ from that code: R is learned
 * (lab/refusal.h), and a candidate that is discarded is not scored further unless `full`. */
#ifndef SD_LAB_DIRECTION_H
#define SD_LAB_DIRECTION_H

#include "lab/refusal.h"
#include "lab/suite.h"

/* ARDITI: as above. BEST: the place where projections of validation prompts are parted best (AUROC, ties by distance in deviations). */
typedef enum sd_select { SD_SELECT_ARDITI, SD_SELECT_BEST } sd_select;

typedef struct sd_direction_opt {
    sd_select select;
    sd_system system;
    bool keep_all;      /* no filter by score */
    bool full;          /* score candidates to the end although they are discarded */
    double max_kl;      /* candidates above it are discarded; 0: 0.1 */
    const int32_t *text; /* [n_text] tokens for floors of equal cost; NULL: none */
    int64_t n_text;
    int n_floor;        /* random and shuffled directions to compare with; negative: none; 0: 20 */
    uint64_t seed;
    const sd_progress *progress;
} sd_direction_opt;

/* Borrowed texts: training and validation prompts of the concept and of its opposite. */
typedef struct sd_direction_data { const char *const *text[4]; int64_t n[4]; } sd_direction_data;
enum { SD_POS_TRAIN, SD_NEG_TRAIN, SD_POS_VAL, SD_NEG_VAL };

typedef enum sd_fate { SD_FATE_KEPT, SD_FATE_NOT_FINITE, SD_FATE_INDUCE, SD_FATE_KL } sd_fate;
typedef struct sd_candidate { int position, layer; sd_fate fate; double bypass, induce, kl, auroc, norm; } sd_candidate; /* NaN: not scored */

/* How a direction that was made otherwise at the same place compares: cosine with the chosen one, and what ablating it gives. */
typedef struct sd_direction_other { char name[24]; double cosine, auroc, bypass; } sd_direction_other;
typedef struct sd_direction_floor { int n; double mean, lowest; int n_not_above; int n_unmatched; } sd_direction_floor; /* of bypass; how many are as low as the chosen one */

typedef struct sd_direction {
    int64_t d, n_layer, n_after;
    int64_t n_used[4];             /* prompts after the filter, by SD_POS_TRAIN .. */
    int64_t n_given[4];
    sd_refusal_set refusal;
    double metric_auroc;           /* of the refusal score on validation prompts, before the filter */
    double base_positive, base_negative; /* mean score, plain, validation prompts that were kept */
    sd_candidate *cand;            /* [n_cand] owns; positions outer, blocks inner */
    int64_t n_cand;
    int best;                      /* index into cand; -1: no single direction */
    float *mean_diff;              /* [n_after + 1][n_layer][d] owns; row 0: the instruction's last token, row i: position -(n_after + 1) + i */
    float *vector;                 /* [d] raw, of cand[best]; owns; NULL when there is none */
    sd_direction_other other[4];   /* harmfulness (the difference at the instruction's last token), mass_mean, logistic, pca */
    int n_other;
    sd_direction_floor random, shuffled, equal_cost;
    double ce_plain, ce_chosen;    /* of the text, plain and with the chosen one taken out; 0 without text */
    int64_t table[2][2];           /* [harmful, harmless][score above 0, below]: validation prompts, before the filter */
    double projection[2][2];       /* their mean projection on the chosen direction, at its position and block */
    double harm_projection[2][2];  /* the same on the harmfulness direction, at the instruction's last token, input of the same block */
    float *layer_cosine;           /* [n_layer] cosine of harmfulness and of refusal (the chosen position) at each block's input; owns; NULL when none is chosen */
    int64_t rows;                  /* positions run through the model */
    char prompts_sha256[65];
} sd_direction;
void sd_direction_release(sd_direction *r);

/* ex, m, data are borrowed. SD_E_FORMAT: fewer than 4 prompts of a kind are left after the filter (with the numbers). */
sd_status sd_lab_direction(sd_direction *out, const sd_exec *ex, const sd_model *m, const sd_direction_data *data, const sd_direction_opt *opt,
                           sd_err *err);

/* Difference of means of every block's input at the last position, for an audit: out [n_layer, d].
 * n_tail: positions counted from the end, their rows one after another: out [n_tail][n_layer][d]. */
sd_status sd_lab_mean_diff(float *out, sd_batch *b, const sd_model *m, const sd_sides *s, int64_t n_tail, sd_err *err);

#endif
