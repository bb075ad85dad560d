/* Shared by the files of the direction study. */
#ifndef SD_LAB_DIRECTION_INT_H
#define SD_LAB_DIRECTION_INT_H

#include "lab/ablate.h"
#include "lab/direction.h"

typedef struct direction_study {
    const sd_model *m;
    const sd_direction_opt *opt;
    sd_direction *out;
    sd_rendered rendered;
    sd_batch *b;
    int64_t d, n_layer, n_vocab;
    int64_t *set[4], n_set[4]; /* indices of prompts by kind, after the filter; own */
    int64_t first[5];          /* kind k is prompts first[k] .. first[k + 1] */
    double *score;             /* [prompts] plain */
    double *edited;            /* [prompts] under an edit */
    float *p_plain;            /* [n_set[NEG_VAL], V] plain probabilities */
    float *unit;               /* [d] scratch */
} direction_study;

/* Mean score of prompts of a kind with `hook` on. */
sd_status sd_direction__mean_score(double *out, direction_study *s, int kind, const sd_hook *hook, sd_err *err);
/* Mean score on positive validation prompts with unit vector u ablated by w. */
sd_status sd_direction__bypass(double *out, direction_study *s, const float *u, double w, sd_err *err);
const float *sd_direction__diff(const direction_study *s, int64_t row, int64_t layer);
sd_status sd_direction__select(direction_study *s, sd_err *err);
sd_status sd_direction__beside(direction_study *s, sd_err *err);
void sd_direction__count(sd_direction_floor *f, double bypass, double chosen);
/* n directions that cost opt->text as much as the chosen one, mixed of rows x [n_x, d]. */
sd_status sd_direction__ce_floor(direction_study *s, const float *x, int64_t n_x, int n, sd_err *err);
/* x [n, d]: input of block `layer` of prompts which [n] at row `row` of mean_diff (0: the instruction's last token). */
sd_status sd_direction__rows(float *x, direction_study *s, const int64_t *which, int64_t n, int64_t row, int layer, sd_err *err);
/* AUROC of projections on v of rows a over rows b; *gap (may be NULL): distance of their means in pooled deviations. */
double sd_direction__auroc(const float *v, const float *a, int64_t n_a, const float *b, int64_t n_b, int64_t d, double *gap);

#endif
