/* guard: fine-tuning that tries to keep a model's refusals. Five of the field's, beside constrained training (lab/tune_loss.c) and plain mixing.
 *
 *   lisa      Huang et al. 2024 (arXiv 2405.18641), alg. 1: steps on safety rows and steps on the data take turns; after the first tenth of the steps the loss of either
 *             has rho/2 ||w - w_turn||^2 more, w_turn being the weights at the last turn (the tenth is their code's)
 *   project   after every step on the data  w <- w - max(0, <w - w', s>) / <s, s> s,  w' the weights before it, s the gradient of a batch of safety rows at w': to first order
 *             no step raises the loss of the safety rows. The projection of A-GEM (Chaudhry et al. 2019, eq. 11), of the step that AdamW makes and not of the gradient that
 *             it is made from; SPF (arXiv 2601.10141) takes a low-rank subspace of such gradients out of the gradient
 *   mask      the same with every weight by itself: w_i <- w'_i  where  (w_i - w'_i) s_i > 0, the AND-mask of two environments (Parascandolo et al. 2021, arXiv 2009.00329,
 *             sec. 3) of the step and the safety rows
 *   safelora  Hsu et al. 2024 (arXiv 2405.16833), sec. 3: once trained, of every adapted matrix with V = W - W_unaligned and C = V V^T / ||V||_F
 *             B <- C B  where  cos(C B A, B A) <= tau, element by element; no safety rows. C is no projection: it scales by about ||V|| as well. q, k, v of a fused tensor each
 *             have their own V
 *   deep      Qi et al. 2024 (arXiv 2406.05946), sec. 3: safety rows among the data, half of them answered behind the first k tokens of an opening that complies, k uniform
 *             from 1 to its length; the opening itself is not learnt. A row's "prefill" is its opening, else sd_guard_opening
 *
 * Rows of safety are drawn by the seed. lisa: a step costs what a step costs; project and mask: two passes a step. */
#ifndef SD_LAB_GUARD_H
#define SD_LAB_GUARD_H

#include "sonde/mat.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum sd_guard { SD_GUARD_NONE, SD_GUARD_LISA, SD_GUARD_PROJECT, SD_GUARD_MASK, SD_GUARD_SAFELORA, SD_GUARD_DEEP, SD_N_GUARDS } sd_guard;
const char *sd_guard_name(sd_guard g); /* "none", "lisa" */

typedef struct sd_guard_opt {
    sd_guard kind;
    const char *safety;    /* .jsonl, of all but safelora */
    int64_t n_safety;      /* rows drawn from it; 0: all */
    int64_t align, user;   /* lisa: steps of a turn on safety rows and on the data; 0: a 200th and nine 200ths of all steps, at least one */
    double rho;            /* lisa; 0: 1; negative: none */
    const char *unaligned; /* safelora: the model before its alignment, of the same shapes */
    double threshold;      /* safelora: tau; 0: 0.5 */
} sd_guard_opt;

/* "Sure, I can help with that. Here is an overview:" */
extern const char *const sd_guard_opening;

/* g += rho (w - turn); gives rho/2 ||w - turn||^2. All [n]. */
double sd_guard_proximal(float *g, const float *w, const float *turn, int64_t n, double rho);
/* Takes from w what of w - before goes up along s; true where something did. All [n]. Sums in double, in order. */
bool sd_guard_project(float *w, const float *before, const float *s, int64_t n);
/* Puts back every weight whose step and s have the same sign; true where there was one. */
bool sd_guard_mask(float *w, const float *before, const float *s, int64_t n);
/* cb = V V^T b / ||V||_F; gives cos(cb a, b a), NaN where v or b a is 0. cb, b [out, r], v [out, in], a [r, in]; scratch [in, r]. */
double sd_guard_safelora(sd_mat cb, sd_mat v, sd_mat b, sd_mat a, sd_mat scratch);

#endif
