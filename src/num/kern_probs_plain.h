/* The loops of sd_kern_train over a row of logits, in double: 16 lanes, which AVX2 holds in four vectors and AVX-512 in two, and a tail that
 * goes on in the first of them. */
#ifndef SD_NUM_KERN_PROBS_PLAIN_H
#define SD_NUM_KERN_PROBS_PLAIN_H

#include "num/kern_act_scalar.h"

#include <stdint.h>

enum { PROB_LANES = 16 };

static inline double fold64(const double *s)
{
    double t[8], u[4];
    for (int i = 0; i < 8; i++) t[i] = s[i] + s[i + 8];
    for (int i = 0; i < 4; i++) u[i] = t[i] + t[i + 4];
    return u[0] + u[2] + (u[1] + u[3]);
}

static double plain_exp_total(const float *x, double max, int64_t n)
{
    double s[PROB_LANES] = {0};
    int64_t i = 0;
    for (; i + PROB_LANES <= n; i += PROB_LANES)
        for (int j = 0; j < PROB_LANES; j++) s[j] += act_exp64((double)x[i + j] - max);
    for (int j = 0; i < n; i++, j++) s[j] += act_exp64((double)x[i] - max);
    return fold64(s);
}

static inline __attribute__((always_inline)) double kl_one(double sum, double a, double b) { return fma(act_exp64(a), a - b, sum); }

static inline __attribute__((always_inline)) double kl_loop(const float *restrict p, double lp, const float *restrict q, double lq, int64_t n)
{
    double s[PROB_LANES] = {0};
    int64_t i = 0;
    for (; i + PROB_LANES <= n; i += PROB_LANES)
        for (int j = 0; j < PROB_LANES; j++) s[j] = kl_one(s[j], (double)p[i + j] - lp, q ? (double)q[i + j] - lq : 0);
    for (int j = 0; i < n; i++, j++) s[j] = kl_one(s[j], (double)p[i] - lp, q ? (double)q[i] - lq : 0);
    return fold64(s);
}

static double plain_kl(const float *p, double lp, const float *q, double lq, int64_t n)
{
    return q ? kl_loop(p, lp, q, lq, n) : kl_loop(p, lp, NULL, 0, n);
}

static void plain_probs(double *restrict out, const float *restrict x, double lse, int64_t n)
{
    for (int64_t i = 0; i < n; i++) out[i] = act_exp64((double)x[i] - lse);
}

#endif
