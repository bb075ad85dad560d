/* The table of inner loops of learning: panels made on the fly, optimiser steps, derivatives of gates; and of sums over a
 * vocabulary in double, which all share that measures a prediction. The loops are plain C (kern_train_plain.h) that every
 * ISA's file compiles with its own flags; where a slot does arithmetic, every element is a fixed chain of roundings, so the
 * bits are the same on every ISA. */
#ifndef SD_NUM_KERN_TRAIN_H
#define SD_NUM_KERN_TRAIN_H

#include "num/kern_ops.h" /* sd_nonlin */

#include <stdbool.h>
#include <stdint.h>

/* One step of AdamW (Loshchilov & Hutter 2019, algorithm 2, in PyTorch's order of operations). */
typedef struct sd_adamw_k {
    float beta1, beta2, rest1, rest2; /* rest = 1 - beta, subtracted in double */
    float step;                       /* lr / (1 - beta1^t) */
    float root_bc2;                   /* sqrt(1 - beta2^t) */
    float eps, keep;                  /* keep = 1 - lr * weight decay */
    float scale;                      /* of the gradient: clipping */
} sd_adamw_k;

typedef struct sd_kern_train {
    /* dst[i * ldd + j] = src[j][i], j < 32, i < n: 32 rows of 32-bit elements turned into columns. */
    void (*transpose)(uint32_t *dst, int64_t ldd, const void *const *src, int64_t n);
    /* dst_i = bf16(even_i) | bf16(odd_i) << 16, rounded to nearest even; a NaN stays one. Denormals become zeros where the CPU multiplies
     * bf16: its products read them so. */
    void (*pair_f32)(uint32_t *dst, const float *even, const float *odd, int64_t n);
    void (*pair_bf16)(uint32_t *dst, const uint16_t *even, const uint16_t *odd, int64_t n);
    void (*widen)(float *dst, const uint16_t *bf16, int64_t n);
    /* x_i = exp(x_i - max); returns the sum, in 16 lanes that are added in a fixed order. */
    float (*exp_sum)(float *x, float max, int64_t n);
    float (*max)(const float *x, int64_t n); /* -inf for n = 0; NaN never wins */
    /* sum of exp(x_i - max), of p_i (ln p_i - ln q_i) with ln p_i = p_i - lp, ln q_i = q_i - lq (q NULL: ln q_i = 0, minus the entropy), and
     * each exp(x_i - lse). Of exponents of at most 709, within an ulp, 0 below -708; sums in 16 lanes. NaN and, in kl, -inf in p give NaN;
     * -inf in q alone gives +inf. */
    double (*exp_total)(const float *x, double max, int64_t n);
    double (*kl)(const float *p, double lp, const float *q, double lq, int64_t n);
    void (*probs)(double *out, const float *x, double lse, int64_t n);
    /* sum x_i y_i and sum x_i in 16 lanes. */
    float (*dot)(const float *x, const float *y, int64_t n);
    float (*sum)(const float *x, int64_t n);
    void (*scale)(float *x, float s, int64_t n); /* x_i s */
    /* g_i = p_i (g_i - mean) s: the derivative of a softmax by its inputs, mean = sum p g. */
    void (*soft_bwd)(float *g, const float *p, float mean, float s, int64_t n);
    /* gg = gh u f'(g), gu = gh f(g); u NULL: gg = gh f'(g), gu is not written. Outputs may alias gh, g or u. */
    void (*gate_bwd)(float *gg, float *gu, const float *gh, const float *g, const float *u, sd_nonlin f, int64_t n);
    void (*adamw)(float *p, float *m, float *v, const float *g, const sd_adamw_k *k, int64_t n);
    /* Moments in 8 bits: shares of the largest |m| and of the largest sqrt(v), which are the scales, as small floats. What is not 0 in v
     * does not become 0: its inverse is a step. */
    void (*pack8)(int8_t *qm, uint8_t *qv, float scale[2], const float *m, const float *v, int64_t n);
    void (*unpack8)(float *m, float *v, const int8_t *qm, const uint8_t *qv, const float scale[2], int64_t n);
} sd_kern_train;

extern const sd_kern_train sd_kern_train_ref, sd_kern_train_avx2, sd_kern_train_avx512, sd_kern_train_avx512_bf16;
void sd_kern_train_transpose_avx2(uint32_t *dst, int64_t ldd, const void *const *src, int64_t n);
/* The best table for these flags (sd_cpu.flags). */
const sd_kern_train *sd_kern_train_select(uint32_t cpu_flags);

#endif
