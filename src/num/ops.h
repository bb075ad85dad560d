/* The ops of a transformer, forward only so far. Row-major f32; rows are independent unless said. No op allocates. */
#ifndef SD_NUM_OPS_H
#define SD_NUM_OPS_H

#include "num/exec.h"

/* y_i = g_i x_i / sqrt(mean(x^2) + eps)           Zhang & Sennrich 2019, eq. 4. y may alias x. */
void sd_rmsnorm(const sd_exec *ex, sd_mat y, sd_mat x, const float *g, float eps);
/* out = silu(gate) * up; silu(v) = v / (1 + exp(-v)). out may alias either. */
void sd_silu_mul(const sd_exec *ex, sd_mat out, sd_mat gate, sd_mat up);
/* y += x, elementwise. */
void sd_add(const sd_exec *ex, sd_mat y, sd_mat x);

/* Rotary embedding, Su et al. 2021, in the rotate-half layout of Hugging Face:
 *   (x_i, x_{i+h/2}) -> (x_i c - x_{i+h/2} s, x_{i+h/2} c + x_i s), angle = pos * inv_freq[i].
 * cos/sin tables [n_ctx, dh/2] are built once in double and rounded. */
typedef struct sd_rope { float *cos, *sin; int64_t n_ctx; int half; } sd_rope;
sd_status sd_rope_init(sd_rope *r, int64_t n_ctx, int n_rot, double theta, sd_err *err);
void sd_rope_release(sd_rope *r);
/* x [n, H*dh] in place; pos[n]. Only the first n_rot = 2*half of each head turn. */
void sd_rope_apply(const sd_exec *ex, const sd_rope *r, sd_mat x, int n_head, const int32_t *pos);

/* Causal attention of one sequence with grouped queries: for row i (position pos0+i) over keys 0..pos0+i.
 *   q [n, H*dh], out [n, H*dh]; k, v: cached rows of all positions, [n_kv, Hkv*dh], f32 or f16.
 * p = softmax(scale q k^T); out = p v. Each row's sums run over keys in order, so bits do not depend on the split of a prompt.
 * pattern (may be NULL): [H, n, n_kv], written when asked. window 0: none; else keys j with i - j < window. */
typedef struct sd_kv { const void *k, *v; int64_t ld; bool f16; } sd_kv; /* ld in elements */
typedef struct sd_attn_opt { int n_head, n_head_kv, d_head; float scale; int64_t window; } sd_attn_opt;
size_t sd_attn_scratch(const sd_exec *ex, const sd_attn_opt *o, int64_t n_rows, int64_t n_kv);
void sd_attn(const sd_exec *ex, const sd_attn_opt *o, sd_mat out, sd_mat q, sd_kv kv, int64_t pos0, float *pattern, void *scratch);

/* In place; returns nothing; max subtracted. n may be up to a vocabulary. */
void sd_softmax(float *x, int64_t n);
/* log(sum(exp(x))) in double over f32 input. */
double sd_logsumexp(const float *x, int64_t n);
int64_t sd_argmax(const float *x, int64_t n); /* first of equals; NaN never wins; -1 when all are NaN */

#endif
