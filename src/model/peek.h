/* What studies ask of a model's weights: its last steps on any rows, the linear reading of a logit, a block's attention by
 * heads, rows of its two vocabularies. One place that knows how an architecture wires them, so that no study does. */
#ifndef SD_MODEL_PEEK_H
#define SD_MODEL_PEEK_H

#include "model/model.h"

/* logits [n, V] of rows x [n, d] of the residual stream as the forward pass makes them: last norm, head, soft cap. In a
 * faithful model the bits of the forward pass. SD_E_ARG when the model was opened without its head. */
sd_status sd_model_unembed(sd_mat logits, const sd_exec *ex, const sd_model *m, sd_mat x, sd_err *err);
/* The soft cap of logits on a number, the number itself where the model has none. */
double sd_model_cap_logit(const sd_model *m, double logit);

/* The logit of `token` before any soft cap, as a linear function of the stream with the last norm's scale held at that of x
 * [d]: logit = sum_j dir[j] y_j + *constant for y = x exactly (in exact arithmetic), and additively for the parts of x.
 *   RMS norm:   dir_j = u_j g_j r, r = (mean(x^2) + eps)^(-1/2), u the token's row of the head      Zhang & Sennrich 2019, eq. 4
 *   layer norm: dir_j = r (u_j g_j - mean_k(u_k g_k)), r = (var(x) + eps)^(-1/2), constant = sum_j u_j b_j      Ba et al. 2016, eq. 4
 * "Frozen" layer norm: Elhage et al. 2021, A Mathematical Framework, "handling layer normalization". dir [d]. */
sd_status sd_model_readout(double *dir, double *constant, const sd_model *m, const float *x, int32_t token, sd_err *err);

/* out [H, d]: what each head puts into attn_out at one row, from its z [H*dh] (site attn_z): the output matrix on that head's
 * columns alone, behind a norm of the output (attn_post) with its scale frozen. The rows and the biases add up to attn_out but for
 * rounding. */
sd_status sd_model_split_heads(sd_mat out, const sd_exec *ex, const sd_model *m, int layer, const float *z, sd_err *err);

/* Rows [d] of the embedding (as at site `embed`) and of the head. */
void sd_model_embed_row(float *dst, const sd_model *m, int32_t token);
void sd_model_head_row(float *dst, const sd_model *m, int32_t token);

#endif
