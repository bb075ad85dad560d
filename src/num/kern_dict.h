/* The table of inner loops of dictionaries: rounding with its error, the scan of scores against a running cut, Adam on a row.
 * kern_ref_dict.c is the meaning of every slot; kern_avx2_dict.c and kern_avx512_dict.c compute the same faster. */
#ifndef SD_NUM_KERN_DICT_H
#define SD_NUM_KERN_DICT_H

#include <stdint.h>

/* u_i = fma(c, r_i, s_i + b_i): a score with its bias, moved by c times the row's share of the error. */
typedef struct sd_scan_in {
    const float *s, *b, *r; /* [n] */
    float c, cut;
    int64_t n;
} sd_scan_in;

/* One step of Adam on a row. m, v, g are of the row; see the slots. */
typedef struct sd_adam_k {
    float beta1, beta2, rest1, rest2; /* rest = 1 - beta, subtracted in double: in f32 1 - 0.999f is off by 5e-5 */
    float step;      /* lr / (1 - beta1^t) */
    float root_bc2;  /* 1 / sqrt(1 - beta2^t) */
    float eps;
} sd_adam_k;

typedef struct sd_kern_dict {
    /* y = x rounded to bf16, nearest even, subnormals to zero. Returns sum (x - y)^2, in fixed lanes of this ISA. Finite x only. */
    float (*to_bf16)(uint16_t *y, const float *x, int64_t n);
    /* Writes index and u of every i with not (u_i < cut), in order, and returns how many. NaN counts. idx and val hold n + 16. */
    int64_t (*scan)(int32_t *idx, float *val, const sd_scan_in *in);
    /* out_j = max of u_i over i = j mod g. g is a multiple of 16, n of g; NaN never wins. */
    void (*group_max)(float *out, int64_t g, const sd_scan_in *in);
    /* How many x_i >= v. */
    int64_t (*count_ge)(const float *x, float v, int64_t n);
    /* Least and most of x, n >= 1. Finite x only. */
    void (*span)(float out[2], const float *x, int64_t n);
    /* Closes the gaps of entries with val < cut in three lists at once; returns how many stay. NaN stays. Lists hold n + 16. */
    int64_t (*compact)(int32_t *idx, float *val, float *with, int64_t n, float cut);
    /* m = fma(beta1, m, rest1 g); v = fma(beta2, v, rest2 g g); p -= step m / fma(sqrt(v), root_bc2, eps).
     * Same bits on every ISA. */
    void (*adam)(float *p, float *m, float *v, const float *g, const sd_adam_k *k, int64_t n);
    /* What n idle steps do to a row: p -= drift m / (sqrt(v) + eps); m *= decay1; v *= decay2. Same bits on every ISA. */
    void (*idle)(float *p, float *m, float *v, const float *k, int64_t n); /* k: drift, eps, decay1, decay2 */
    /* f16 <-> f32; to f16 rounds to nearest even, beyond 65504 becomes infinite. */
    void (*f16_to_f32)(float *y, const uint16_t *x, int64_t n);
    void (*f32_to_f16)(uint16_t *y, const float *x, int64_t n);
} sd_kern_dict;

extern const sd_kern_dict sd_kern_dict_ref, sd_kern_dict_avx2, sd_kern_dict_avx512;
/* The best table for these flags (sd_cpu.flags). */
const sd_kern_dict *sd_kern_dict_select(uint32_t cpu_flags);

#endif
