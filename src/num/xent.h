/* The log-probability of a target under a head of V rows, and its gradients, tile by tile of the vocabulary: no more
 * than [n, SD_XENT_TILE] logits exist at a time (the idea of Cut Cross-Entropy, Wijmans et al. 2024).
 *
 *   l_v = h.W_v (capped: c tanh(l / c)),  lp = l_t - log sum_v exp(l_v)
 *   d lp / d h = f_t W_t - sum_v p_v f_v W_v,   f = 1, capped: 1 - (l/c)^2
 *   d lp / d W_v = (1[v = t] - p_v) f_v h
 * The sum over the vocabulary is built as attention's is: running maximum and rescaled sums, so that one pass over W
 * gives both lp and its gradient. Any loss of the lp (language modelling, DPO, token-weighted) multiplies rows
 * afterwards. */
#ifndef SD_NUM_XENT_H
#define SD_NUM_XENT_H

#include "num/dtype.h"
#include "num/exec.h"

enum { SD_XENT_TILE = 1024 };

typedef struct sd_xent {
    sd_mat h;              /* [n, d] */
    sd_wmat w;             /* [V, d] */
    const int32_t *target; /* [n], each in 0..V-1 */
    float softcap;         /* 0: none */
    bool bf16;             /* as in sd_prod */
    float *lp;             /* [n] out */
    float *lse;            /* [n] out; in for sd_xent_bwd_w */
    int32_t *top;          /* [n] out: the likeliest token, the first of equals; -1 where no logit is a number; NULL: not wanted */
    const int32_t *also;   /* [n_also] tokens whose log-probability is wanted in every row */
    int n_also;            /* 0: none */
    float *lp_also;        /* [n, n_also] out */
    sd_mat gh;             /* [n, d] out: d lp_i / d h_i; no data: not wanted. Must not alias h */
} sd_xent;
size_t sd_xent_scratch(const sd_exec *ex, int64_t n, int64_t d);
void sd_xent_fwd(const sd_exec *ex, const sd_xent *x, void *scratch);
/* gw [V, d] += sum_i row[i] d lp_i / d W. lse as sd_xent_fwd left it. */
void sd_xent_bwd_w(const sd_exec *ex, const sd_xent *x, sd_mat gw, const float *row, void *scratch);

/* Rows [v0, v0 + n) of a head. */
sd_wmat sd_xent__tile(const sd_wmat *of, int64_t v0, int64_t n);

#endif
