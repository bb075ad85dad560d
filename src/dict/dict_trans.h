/* Training a transcoder: rows of one site in, rows of another out (Dunefsky et al. 2024, arXiv 2406.11944; with a skip Paulo et al. 2025,
 * arXiv 2501.18823). The n k best activations of a batch of n rows are kept (BatchTopK), so the finished dictionary is a JumpReLU with one
 * threshold before its norms are folded: what sae-lens calls jumprelu_transcoder.
 *
 *   p = W x + b,  z = relu of the n k largest of the batch,  y' = sum_f z_f D_f + b_dec (+ S x),  loss = mean |y' - y|^2
 * in the trainer's units: x and y each minus their mean and scaled to a mean norm of sqrt(width). W starts as unit rows, D, S and biases
 * at 0 (sparsify's start). Decoder rows are not held to unit norm, so there is no gradient to project. Rows are given as [x | y]. */
#ifndef SD_DICT_TRANS_H
#define SD_DICT_TRANS_H

#include "dict/dict_train.h"

typedef struct sd_trans sd_trans;
/* opt->kind one of the two transcoders; opt->d and opt->d_out the widths. Of the options aux_alpha, sparsity, bandwidth and moments8 have no
 * meaning, and of without what a transcoder does not have: a tied start, unit decoder rows, an auxiliary loss. A frozen decoder is unit
 * rows instead of 0. */
sd_status sd_trans_new(sd_trans **out, const sd_exec *ex, const sd_dict_train_opt *opt, sd_err *err);
void sd_trans_free(sd_trans *t);
/* The same contracts as the functions of dict_train.h; rows are [n, d + d_out]. */
sd_status sd_trans_calibrate(sd_trans *t, const sd_exec *ex, sd_mat xy, sd_err *err);
double sd_trans_max_norm(const sd_trans *t); /* of the whole row [x | y] */
sd_status sd_trans_step(sd_trans *t, const sd_exec *ex, sd_mat xy, sd_dict_stats *stats, sd_err *err);
sd_status sd_trans_finish(sd_trans *t, const sd_exec *ex, sd_mat heldout, const sd_dict_info *meta, sd_dict **out, sd_err *err);
sd_status sd_trans_save(const sd_trans *t, const char *path, sd_err *err);
sd_status sd_trans_load(sd_trans **out, const sd_exec *ex, const char *path, sd_err *err);
const sd_dict_train_opt *sd_trans_get_opt(const sd_trans *t);
int64_t sd_trans_tokens(const sd_trans *t); /* rows of all steps so far */
int64_t sd_trans_silent(const sd_trans *t, int64_t n);
size_t sd_trans_plan(const sd_exec *ex, const sd_dict_train_opt *opt); /* bytes it will hold, before it is made */

#endif
