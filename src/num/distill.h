/* Distillation to a teacher's logits (Hinton, Vinyals & Dean 2015), tile by tile of the vocabulary as num/xent.h: no more
 * than [n, SD_XENT_TILE] logits of each of the two exist at a time.
 *
 *   a = ht.Wt_v / T,  q = softmax(a)   of the teacher        b = h.W_v / T,  p = softmax(b)   of the student (both capped
 *   KL = sum_v q_v (log q_v - log p_v)                       first where their head is)
 *   d (T^2 KL) / d h = T sum_v (p_v - q_v) f_v W_v,   d (T^2 KL) / d W_v = T (p_v - q_v) f_v h,   f as in num/xent.h
 * T^2 holds the size of the gradient where T is changed (their section 2). Two passes over both heads: the sums of the
 * softmaxes, then KL and gradients. Equal logits give KL and gradients of exactly 0. */
#ifndef SD_NUM_DISTILL_H
#define SD_NUM_DISTILL_H

#include "num/xent.h"

/* The rows and the head that make logits. */
typedef struct sd_distill_side {
    sd_mat h;      /* [n, d] */
    sd_wmat w;     /* [V, d] */
    float softcap; /* 0: none */
    bool bf16;     /* as in sd_prod */
} sd_distill_side;

typedef struct sd_distill {
    sd_distill_side student, teacher; /* of one n and one V */
    float temperature;                /* above 0 */
    float weight;                     /* of every row in the gradients */
    float *kl;                        /* [n] out: T^2 KL, without the weight */
    sd_mat gh;                        /* [n, d] += weight d (T^2 KL) / d h; no data: not wanted */
    sd_mat gw;                        /* [V, d] += the same by W; no data: not wanted; then student.h is dense */
} sd_distill;
/* d: columns of the student and the teacher. */
size_t sd_distill_scratch(const sd_exec *ex, int64_t n, int64_t d_student, int64_t d_teacher);
void sd_distill_run(const sd_exec *ex, const sd_distill *x, void *scratch);

#endif
