/* foresee: an objective beside the loss of language modelling. At one site a linear map, thrown away afterwards, says which tokens come
 * within the next n:
 *
 *   q_i = mean of the one-hots of t_i+1 .. t_i+n (to the end of the document),  p_i = softmax(A x_i)
 *   L = - weight sum_i q_i . log p_i / N,   dL/dx_i = weight A^T (p_i - q_i) / N,   dL/dA = weight sum_i (p_i - q_i) x_i^T / N
 * The next token alone asks for the context only where it decides the next word, and a state carries what is asked of it; what comes
 * within n tokens asks for it everywhere (Gloeckle et al. 2024 predict n tokens one by one; a bag needs one map). */
#ifndef SD_LAB_FORESEE_H
#define SD_LAB_FORESEE_H

#include "model/learner.h"
#include "num/optim.h"

typedef struct sd_foresee_opt {
    double weight;   /* 0: none */
    int64_t horizon; /* tokens; 0: 24 */
    int layer;       /* the site is resid_post.layer; negative: at half depth */
} sd_foresee_opt;

typedef struct sd_foresee sd_foresee;
/* max_rows: of a forward. m is read for its sizes. A begins at 0. */
sd_status sd_foresee_new(sd_foresee **out, const sd_exec *ex, const sd_model *m, const sd_foresee_opt *opt, int64_t max_rows, sd_err *err);
void sd_foresee_free(sd_foresee *f);
/* For sd_learner_watch; valid until free. */
const sd_grad_hook *sd_foresee_hook(const sd_foresee *f);
/* Before a step: N, and the loss is counted from 0. */
void sd_foresee_begin(sd_foresee *f, int64_t n_count);
double sd_foresee_loss(const sd_foresee *f); /* of the step, without the weight */
/* After it: A takes a step of AdamW. */
void sd_foresee_update(sd_foresee *f, const sd_adamw_opt *o);
/* A and its moments, for checkpoints: [n] each. */
int64_t sd_foresee_n(const sd_foresee *f);
float *sd_foresee_array(const sd_foresee *f, int which); /* 0: A, 1: m, 2: v */

#endif
