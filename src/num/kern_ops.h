/* The table of inner loops of norms, gates and attention, apart from sd_kern's loops of products. One constant table an
 * ISA: kern_ref_ops.c is the meaning of every slot, kern_avx2_ops.c and kern_avx512_ops.c compute the same faster.
 *
 * Elementwise results do not depend on where in a vector an element sits: tails are masked, never computed by other
 * code. */
#ifndef SD_NUM_KERN_OPS_H
#define SD_NUM_KERN_OPS_H

#include <stdbool.h>
#include <stdint.h>

/* Scores of m >= 1 rows of queries against panels of 16 keys. */
typedef struct sd_score_args {
    float *s;       /* [m, 16 n_panel], rows lds apart */
    const float *q; /* [m, d] */
    const void *k;  /* [n_panel][d][16] f32 or f16 */
    int64_t lds, m, n_panel, d;
    float scale;
    bool f16;
} sd_score_args;

/* Rows of one call of mix: with four vectors of values they fill the 32 AVX-512 registers (6 x 4 sums, 4 values, 1
 * weight). */
enum { SD_MIX_ROWS = 6 };

enum { SD_KV_BLOCK = 32 }; /* numbers that share a scale in a cache of type q8 */
static inline int64_t sd_kv_blocks(int64_t d)
{
    return (d + SD_KV_BLOCK - 1) / SD_KV_BLOCK;
}

/* Weighted sums of n rows of values. */
typedef struct sd_mix_args {
    float *o;       /* [m, d], 1 <= m <= SD_MIX_ROWS */
    const float *p; /* [m, n], rows ldp apart */
    const void *v;  /* [n, d] f32 or f16 */
    int64_t ldp, m, n, d;
    bool f16;
} sd_mix_args;

/* Functions of a neural network's middle layer. gelu_tanh: the approximation with tanh; gelu_quick: x sigmoid(1.702 x). */
typedef enum sd_nonlin {
    SD_NONLIN_SILU,
    SD_NONLIN_GELU_TANH,
    SD_NONLIN_GELU_ERF,
    SD_NONLIN_GELU_QUICK,
    SD_NONLIN_RELU
} sd_nonlin;

typedef struct sd_kern_ops {
    /* y_i = g_i (x_i r), r = 1/sqrt(sum(x^2)/n + eps). y may be x. The same bits on every ISA. */
    void (*rmsnorm)(float *y, const float *x, const float *g, float eps, int64_t n);
    /* out_i = g_i / (1 + exp(-g_i)) * u_i; exp within 2 ulp. out may alias g or u. */
    void (*silu_mul)(float *out, const float *g, const float *u, int64_t n);
    /* out_i = f(g_i) * u_i, or f(g_i) when u is NULL; within 4 ulp (erf: of the larger of the result and |x|). out may
     * be g or u. The same bits on every ISA. */
    void (*nonlin)(sd_nonlin f, float *out, const float *g, const float *u, int64_t n);
    /* x <- cap tanh(x / cap). The same bits on every ISA. */
    void (*softcap)(float *x, float cap, int64_t n);
    /* y_i = g_i (x_i - mean) r + b_i, r = 1/sqrt(mean((x - mean)^2) + eps). y may be x. The same bits on every ISA. */
    void (*layernorm)(float *y, const float *x, const float *g, const float *b, float eps, int64_t n);
    /* x <- exp(x - max) / sum, n >= 1; the sum in fixed lanes counted from x[0]. NaN anywhere gives NaN everywhere. */
    void (*softmax)(float *x, int64_t n);
    /* y += x */
    void (*add)(float *y, const float *x, int64_t n);
    /* dst_i = src_i rounded to the nearest f16, ties to even. */
    void (*to_f16)(uint16_t *dst, const float *src, int64_t n);
    /* d numbers as int8 q with a bf16 scale a block: scale = max|x| / 127 rounded up, q = round(x / scale) to nearest even. A block
     * with NaN or infinity has scale NaN, one that is all below 1e-30 is zero. The same bits on every ISA. */
    void (*to_q8)(int8_t *q, uint16_t *scale, const float *src, int64_t d);
    /* Decoded f32 [d][16] of a panel of keys, and [d] of a row of values (ops.h has the layouts; any alignment). */
    void (*keys_q8)(float *dst, const void *panel, int64_t d);
    void (*values_q8)(float *dst, const void *row, int64_t d);
    /* One head turned in place, see sd_rope_apply. cos, sin [half]. */
    void (*rope)(float *x, const float *cos, const float *sin, int64_t half);
    /* s[r, 16 p + j] = scale * sum_c q[r, c] k[p][c][j]: one chain of fused multiply-adds in order of c, from +0. The
     * same bits on every ISA. */
    void (*scores)(const sd_score_args *a);
    /* o[r, c] = chain over i of fma(p[r, i], v[i, c], .), starting from o[r, c]. The same bits on every ISA. */
    void (*mix)(const sd_mix_args *a);
} sd_kern_ops;

extern const sd_kern_ops sd_kern_ops_ref, sd_kern_ops_avx2, sd_kern_ops_avx512;
/* The best table for these flags (sd_cpu.flags). */
const sd_kern_ops *sd_kern_ops_select(uint32_t cpu_flags);

#endif
