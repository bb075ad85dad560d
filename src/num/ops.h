/* The ops of a transformer, forward (backward: ops_grad.h). Row-major f32; rows are independent unless said, so the
 * bits of a row depend neither on the other rows nor on the number of threads. No op allocates. */
#ifndef SD_NUM_OPS_H
#define SD_NUM_OPS_H

#include "num/exec.h"
#include "num/kern_ops.h"

/* y_i = g_i x_i / sqrt(mean(x^2) + eps)           Zhang & Sennrich 2019, eq. 4. y may alias x. */
void sd_rmsnorm(const sd_exec *ex, sd_mat y, sd_mat x, const float *g, float eps);
/* y_i = g_i (x_i - mean(x)) / sqrt(var(x) + eps) + b_i      Ba et al. 2016, eq. 4; var without Bessel's correction. y may
 * alias x. */
void sd_layernorm(const sd_exec *ex, sd_mat y, sd_mat x, const float *g, const float *b, float eps);
/* The same rounded to bf16, rows ld apart, an odd row padded with one zero. */
typedef struct sd_norm_round {
    uint16_t *half;
    int64_t ld;
    float *row; /* [n_threads, x.cols] scratch */
    sd_mat x;
    const float *g, *b;
    bool layer;
    float eps;
} sd_norm_round;
void sd_norm_half(const sd_exec *ex, const sd_norm_round *n);
/* out = f(gate) * up, or f(gate) when up.data is NULL. out may alias either. */
void sd_nonlin_mul(const sd_exec *ex, sd_nonlin f, sd_mat out, sd_mat gate, sd_mat up);
/* x <- cap tanh(x / cap)                                    Gemma 2, Gemma Team 2024, sec. 2 */
void sd_softcap(const sd_exec *ex, sd_mat x, float cap);
/* out = silu(gate) * up; silu(v) = v / (1 + exp(-v)). out may alias either. */
void sd_silu_mul(const sd_exec *ex, sd_mat out, sd_mat gate, sd_mat up);
/* y += x, elementwise. */
void sd_add(const sd_exec *ex, sd_mat y, sd_mat x);
/* y = a + b; b.data NULL: a copy. Neither overlaps y. */
void sd_sum(const sd_exec *ex, sd_mat y, sd_mat a, sd_mat b);

/* Rotary embedding, Su et al. 2021, in the rotate-half layout of Hugging Face:
 *   (x_i, x_{i+half}) -> (x_i c - x_{i+half} s, x_{i+half} c + x_i s),  angle = pos * inv_freq[i],  inv_freq[i] =
 * theta^(-2i/n_rot). inv_freq and the angle are rounded to f32 as transformers does it (its f32 angles are the
 * reference); cos and sin of that angle are computed in double and rounded, then multiplied by scale (1 but for YaRN and LongRoPE). */
typedef struct sd_rope {
    float *inv_freq; /* [half] owns */
    int half;
    float scale;
} sd_rope;
sd_status sd_rope_init(sd_rope *r, int n_rot, double theta, sd_err *err);
void sd_rope_release(sd_rope *r);
/* cos, sin [n, half] of positions pos[n]: once a step, for all layers. */
void sd_rope_angles(float *cos, float *sin, const sd_rope *r, const int32_t *pos, int64_t n);
/* x [n, n_head * d_head] in place. Only the first 2*half of each head turn. */
void sd_rope_apply(const sd_exec *ex, sd_mat x, int n_head, int half, const float *cos, const float *sin);

/* Keys and values of one sequence at one layer; the memory is the caller's (sd_kv_bytes, zeroed once).
 *   k: each kv head holds panels of 16 positions, [cap/16][d_head][16], so that scores of 16 keys are one vector
 *   v: each kv head holds [cap][d_head]
 * q8: a position's numbers in blocks of 32, int8 times a bf16 scale; the product is exact in f32, so that attention has the bits of
 * an f32 cache which holds the decoded numbers.
 *   a panel of keys: int8 [d_head][16], then scales [ceil(d_head/32)][16]; a row of values: int8 [d_head], then scales [ceil(d_head/32)]
 * bf16: pairs of numbers as kern_half.h has them, where sd_kv_can says so.
 *   a panel of keys: pairs of neighbours of the width [ceil(d_head/2)][16]; values: pairs of neighbouring positions [cap/2][2 ceil(d_head/2)] */
enum { SD_KV_PANEL = 16 };
typedef struct sd_kv {
    void *k, *v;
    int64_t cap; /* positions, a multiple of SD_KV_PANEL */
    int n_head, d_head;
    sd_kv_type type; /* not DEFAULT */
} sd_kv;
int64_t sd_kv_cap(int64_t n_pos); /* n_pos rounded up to panels */
bool sd_kv_can(const sd_exec *ex, sd_kv_type type); /* false: bf16 on a CPU that does not multiply it */
/* Bytes of k (the same again for v); false when it does not fit in a size_t. */
bool sd_kv_bytes(size_t *out, int64_t cap, int n_head, int d_head, sd_kv_type type);
size_t sd_kv_row_bytes(sd_kv_type type, int d_head); /* of one position's keys, or values, of one head; of bf16 half of a pair's */
/* Stores rows k, v [n, n_head * d_head] at positions pos0.. (rounded to nearest even). */
void sd_kv_write(const sd_exec *ex, sd_kv kv, int64_t pos0, sd_mat k, sd_mat v);

/* Causal attention with grouped queries, a batch of sequences: row i of a sequence (position pos0+i) over keys
 * 0..pos0+i. p = softmax(scale q k^T), out = p v. A score is one chain of fused multiply-adds over the head's width, an
 * output one chain over the keys in order, and the normaliser is summed in lanes counted from the row's first key: a
 * row's bits depend neither on the split of a prompt nor on the batch nor on threads. window 0: none; else only keys j
 * with i - j < window. Over a bf16 cache q and p are rounded to bf16 as well, and the chains are of pairs, or of 32 keys in tiles (kern_half.h); the softmax is f32. */
typedef struct sd_attn_opt {
    int n_head, n_head_kv, d_head;
    float scale;
    int64_t window;
    float cap; /* scores are cap tanh(score / cap) before the softmax; 0: as they are */
} sd_attn_opt;
typedef struct sd_attn_seq {
    sd_mat out, q; /* [n, n_head * d_head] */
    sd_kv kv;      /* holds positions 0..pos0+n-1 already */
    int64_t pos0;
    float *pattern; /* NULL, or [n_head * n, pos0 + n] contiguous: p, zero outside of a row's keys */
} sd_attn_seq;
/* Scratch for sequences of at most n_kv keys, of calls with this ex; independent of rows and of the number of sequences. */
size_t sd_attn_scratch(const sd_exec *ex, const sd_attn_opt *o, int64_t n_kv);
void sd_attn(const sd_exec *ex, const sd_attn_opt *o, const sd_attn_seq *seq, int n_seq, void *scratch);
/* out = pattern v again for a pattern that was edited: the same chains as sd_attn, so an unedited pattern gives the
 * same bits. Entries outside of a row's keys are not read. */
void sd_attn_mix(const sd_exec *ex, const sd_attn_opt *o, const sd_attn_seq *seq, void *scratch);

/* Over a row of f32 logits, in double; kern_train.h has the sums. */
double sd_logsumexp(const sd_exec *ex, const float *x, int64_t n); /* log(sum(exp(x))) */
/* sum p_i (ln p_i - ln q_i) of two rows, lp and lq their sd_logsumexp; q NULL: minus the entropy of p. NaN when a logit is not finite, but
 * +inf where -inf in q is all there is. */
double sd_divergence(const sd_exec *ex, const float *p, double lp, const float *q, double lq, int64_t n);
void sd_probs(double *p, const sd_exec *ex, const float *x, double lse, int64_t n); /* p_i = exp(x_i - lse) */
int64_t sd_count_nonfinite(const float *x, int64_t n); /* NaN and infinities */
int64_t sd_argmax(const float *x, int64_t n); /* first of equals; NaN never wins; -1 when all are NaN */

#endif
