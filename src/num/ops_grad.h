/* The ops of a transformer, backward. g_ is the derivative of the loss by what follows. Where not said otherwise
 * gradients accumulate (+=), because a value may have several readers. No op allocates. Sums over rows run in the order
 * of rows in each column, so the bits do not depend on the number of threads. */
#ifndef SD_NUM_OPS_GRAD_H
#define SD_NUM_OPS_GRAD_H

#include "num/dtype.h"
#include "num/exec.h"
#include "num/kern_train.h"

/* y_i = g_i x_i r,  r = (mean(x^2) + eps)^(-1/2)                       Zhang & Sennrich 2019, eq. 4
 *   gx_i += r (g_i gy_i - x_i r^2 mean_j(g_j gy_j x_j))      gg_i += gy_i x_i r
 * gg NULL: not wanted. gx may be gy only when the two are the same matrix and `replace` is set: gx = . */
typedef struct sd_norm_grad {
    sd_mat gx, gy, x;
    const float *g; /* [cols] */
    float *gg, *gb; /* [cols] or NULL */
    float *stat;    /* [rows, 2] scratch: r and mean */
    float eps;
    bool replace; /* gx = instead of += */
} sd_norm_grad;
void sd_rmsnorm_bwd(const sd_exec *ex, const sd_norm_grad *a);
/* y_i = g_i (x_i - mean) r + b_i,  r = (var(x) + eps)^(-1/2)           Ba, Kiros & Hinton 2016
 *   gx_i += r (t_i - mean(t) - xh_i mean(t xh)),  t = g gy,  xh = (x - mean) r;   gg += gy xh,  gb += gy */
void sd_layernorm_bwd(const sd_exec *ex, const sd_norm_grad *a);

/* h = f(g) u  ->  gg = gh u f'(g), gu = gh f(g);   u empty (data NULL): h = f(g). Overwrites; outputs may alias inputs.
 */
void sd_gate_bwd(const sd_exec *ex, sd_mat gg, sd_mat gu, sd_mat gh, sd_mat g, sd_mat u, sd_nonlin f);
/* gb [cols] += sum over rows of gy. */
void sd_bias_bwd(const sd_exec *ex, float *gb, sd_mat gy);
/* y = W[tok] s  ->  gW[tok_i] += s gy_i. gw [V, d]. */
void sd_embed_bwd(const sd_exec *ex, sd_mat gw, const int32_t *tok, sd_mat gy, float scale);
/* y += b in every row; x = s x. */
void sd_add_bias(const sd_exec *ex, sd_mat y, const float *b);
void sd_scale(const sd_exec *ex, sd_mat x, float s);

/* n numbers rounded to bf16 (nearest even), and back. */
void sd_to_bf16(const sd_exec *ex, uint16_t *dst, const float *src, int64_t n);
void sd_from_bf16(const sd_exec *ex, float *dst, const uint16_t *src, int64_t n);

/* Causal attention of one document with itself, as sd_attn from position 0:
 *   s = scale q k^T (capped: c tanh(s / c)),  p = softmax(s) over keys j <= i, i - j < window,  o = p v
 *   gv += p^T go,  gp = go v^T,  gs = p (gp - sum_j p gp),  capped: gs (1 - (s/c)^2);  gq = scale gs k,  gk += scale
 * gs^T q Probabilities are computed again, a tile of rows at a time; nothing of size n x n is held. gq, gk, gv are
 * overwritten. bf16: where the CPU multiplies that, q, k, v, go, p and gs are rounded for the products; sums and the
 * softmax stay f32. */
typedef struct sd_attn_grad {
    int n_head, n_head_kv, d_head;
    float scale, softcap; /* softcap 0: none */
    int64_t window;       /* 0: none */
    bool bf16;
} sd_attn_grad;
typedef struct sd_attn_doc {
    sd_mat q, k, v, go; /* [n, n_head * d_head], [n, n_head_kv * d_head] twice, as q; q and k after rotation */
    sd_mat gq, gk, gv;
} sd_attn_doc;
size_t sd_attn_bwd_scratch(const sd_exec *ex, const sd_attn_grad *o, int64_t n_longest);
void sd_attn_bwd(const sd_exec *ex, const sd_attn_grad *o, const sd_attn_doc *doc, int n_doc, void *scratch);

#endif
