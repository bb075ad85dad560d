/* planted: what a row teaches while directions are taken out of the residual stream. With P = 1 - sum_i u_i u_i^T over the row's directions, after the embedding, every
 * attention and every MLP
 *
 *   x <- P x,   dL/dx <- P dL/dx
 * which is what ablation does (lab/ablate.h), so "answers without u" and "refuses with u" can be taught side by side, and then u is where the difference is. */
#ifndef SD_LAB_PLANTED_H
#define SD_LAB_PLANTED_H

#include "model/learner.h"

enum { SD_PLANTED_MOST = 8 };
typedef struct sd_planted_opt {
    const float *u; /* [n, d_model] orthonormal; borrowed */
    int n;          /* 0: none */
} sd_planted_opt;

typedef struct sd_planted sd_planted;
/* m is read for its sizes. The learner must keep the insides of its blocks: what is computed again is not edited again. */
sd_status sd_planted_new(sd_planted **out, const sd_model *m, const sd_planted_opt *opt, int max_docs, sd_err *err);
void sd_planted_free(sd_planted *p);
/* For sd_learner_watch; valid until free. */
const sd_grad_hook *sd_planted_hook(const sd_planted *p);
/* Before a forward: the directions that document doc lacks; bit i: direction i. */
void sd_planted_set(sd_planted *p, int doc, uint32_t without);

#endif
