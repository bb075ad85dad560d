/* Shared by the files of the firmness study. */
#ifndef SD_LAB_FIRMNESS_INT_H
#define SD_LAB_FIRMNESS_INT_H

#include "lab/ablate.h"
#include "lab/ablate_cost.h"
#include "lab/firmness.h"
#include "lab/refusal.h"

/* Tokens of the model's own answer to a harmful prompt. */
typedef struct firm_answer { int32_t *ids; int64_t n; bool refusal; } firm_answer;

typedef struct firm_study {
    const sd_exec *ex;
    const sd_model *m;
    const sd_firm_opt *o;
    sd_firmness *out;
    const char **text;        /* [n] all prompts: harmful ones, then harmless */
    int64_t n, n_harmful, d;
    int64_t *fit[2], *test[2], n_fit[2], n_test[2]; /* [harmful, harmless] indices into text */
    sd_rendered r;
    sd_batch *b;
    sd_refusal_set set;
    float *p_plain, *p_fit;   /* [n_test[1], V], [n_near, V]: of harmless test prompts, of fitting ones */
    int64_t n_near;           /* harmless fitting prompts that a candidate may not move */
    const int64_t *near;      /* the prompts that p_near is of: test[1] or fit[1] */
    float *p_near;
    float *basis;             /* [SD_FIRM_DIRECTIONS][d] orthonormal */
    float *x;                 /* [n_test[0], d] activations that removed variance is measured on */
    double *score;            /* [n] */
    double *left;             /* [n_test[0]] sum over k of directions, of openings */
    double kl_sum, w;         /* w: the strength of what is taken out */
    double ce_plain;          /* of opt's text; NaN without one */
    int64_t n_tried;          /* candidates measured */
    firm_answer *answer;      /* [n_test[0]] */
} firm_study;

/* First-token scores of harmful test prompts, and the KL of harmless ones, with n_dir directions of basis out at strength w. */
sd_status sd_firm__measure(firm_study *s, const float *basis, int n_dir, double w, double share_kl[2], sd_err *err);
/* Row k of basis := the part of it that the k rows before it do not hold, at unit norm; false when less than a thousandth of its norm was left. */
bool sd_firm__orthonormal(float *basis, int k, int64_t d);
/* Mean square of x that k directions hold. */
double sd_firm__removed(const firm_study *s, const float *basis, int k);
/* Random subspaces beside the best k directions, into cut: of equal variance, and (with a text) of equal cost in cross-entropy. */
sd_status sd_firm__floors(firm_study *s, int c, int k, sd_err *err);
/* A statistic's values, of one resampling; rng NULL: of the sample as it is. */
typedef void sd_firm_stat(double *out, const void *self, sd_rng *rng);
/* Percentile bootstrap, 95 %, 2,000 draws, of n_stat values at once (at most 4), into out [n_stat]. */
sd_status sd_firm__bootstrap(sd_ci *out, int n_stat, sd_firm_stat *stat, const void *self, sd_rng rng, sd_err *err);
/* Per-token KL of the model to opt's base on its own refusals. */
sd_status sd_firm__depth(firm_study *s, sd_err *err);

#endif
