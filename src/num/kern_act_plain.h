/* Activation functions, soft caps and the layer norm: plain C that each ISA's file compiles with its own flags. Every
 * fused multiply-add is written as fmaf and sums run in a fixed number of lanes, so that the bits are the same on every
 * ISA; the compiler turns the loops into vectors. */
#ifndef SD_NUM_KERN_ACT_PLAIN_H
#define SD_NUM_KERN_ACT_PLAIN_H

#include "num/kern_act_scalar.h"
#include "num/kern_ops.h"

#include <math.h>
#include <string.h>

/* The tanh form of GELU (Hendrycks & Gimpel 2016) is x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3)), since
 * (1 + tanh y) / 2 = sigmoid(2 y): no difference of nearly equal numbers. */
static inline __attribute__((always_inline)) float act_one(sd_nonlin f, float x)
{
    if (f == SD_NONLIN_RELU) return x < 0.0f ? 0.0f : x;
    if (f == SD_NONLIN_GELU_ERF) return 0.5f * x * (1.0f + act_erf(x * 0.70710678118654752f));
    float e = x;
    if (f == SD_NONLIN_GELU_TANH) e = x * fmaf(x * x, 0.07135481282f, 1.59576912161f);
    if (f == SD_NONLIN_GELU_QUICK) e = 1.702f * x;
    return x / (1.0f + act_exp(-e));
}

static inline __attribute__((always_inline)) void act_loop(sd_nonlin f, float *out, const float *g, const float *u,
                                                           int64_t n)
{
    /* out may be g or u itself: each element is read before it is written. */
#pragma GCC ivdep
    for (int64_t i = 0; i < n; i++) out[i] = act_one(f, g[i]) * u[i];
}

static inline __attribute__((always_inline)) void act_loop_alone(sd_nonlin f, float *out, const float *g, int64_t n)
{
#pragma GCC ivdep
    for (int64_t i = 0; i < n; i++) out[i] = act_one(f, g[i]);
}

static void plain_nonlin(sd_nonlin f, float *out, const float *g, const float *u, int64_t n)
{
#define ACT_CASE(F)                          \
    case F:                                  \
        if (u) act_loop(F, out, g, u, n);    \
        else act_loop_alone(F, out, g, n);   \
        break;
    switch (f) {
        ACT_CASE(SD_NONLIN_SILU)
        ACT_CASE(SD_NONLIN_GELU_TANH)
        ACT_CASE(SD_NONLIN_GELU_ERF)
        ACT_CASE(SD_NONLIN_GELU_QUICK)
        ACT_CASE(SD_NONLIN_RELU)
    }
#undef ACT_CASE
}

static void plain_softcap(float *x, float cap, int64_t n)
{
    float inv = 1.0f / cap;
    for (int64_t i = 0; i < n; i++) x[i] = cap * act_tanh(x[i] * inv);
}

enum { ACT_LANES = 16 };

/* Adds the lanes in a fixed tree. */
static inline float act_sum(float s[ACT_LANES])
{
    for (int w = ACT_LANES / 2; w; w /= 2)
        for (int j = 0; j < w; j++) s[j] += s[j + w];
    return s[0];
}

/* Sum of squares as torch adds a row up (ATen/native/cpu/SumKernel.cpp, 8 lanes): squares rounded before they are added,
 * four chains of vectors, and above 16 steps a cascade of four levels, which keeps the error of long rows small too. The
 * order is torch's because models of random weights turn one ulp of a norm into 1e-5 of a hidden state. */
static float act_square_sum(const float *x, int64_t n)
{
    enum { SUM_LANES = 8, CHAINS = 4, LEVELS = 4, STEP = CHAINS * SUM_LANES };
    float level[LEVELS][STEP] = {{0}}, *s = level[0], sum = 0;
    int64_t n_vec = n / SUM_LANES, steps = n_vec / CHAINS, i = 0;
    int power = 4, bits = 0;
    while (((int64_t)1 << bits) < steps) bits++;
    if (bits / LEVELS > power) power = bits / LEVELS;
    const int64_t step = (int64_t)1 << power, mask = step - 1;
    while (i + step <= steps) {
        for (int64_t k = 0; k < step; k++, i++)
            for (int j = 0; j < STEP; j++) s[j] += x[i * STEP + j] * x[i * STEP + j];
        for (int l = 1; l < LEVELS; l++) {
            for (int j = 0; j < STEP; j++) level[l][j] += level[l - 1][j], level[l - 1][j] = 0;
            if (i & (mask << (l * power))) break;
        }
    }
    for (; i < steps; i++)
        for (int j = 0; j < STEP; j++) s[j] += x[i * STEP + j] * x[i * STEP + j];
    for (int l = 1; l < LEVELS; l++)
        for (int j = 0; j < STEP; j++) s[j] += level[l][j];
    for (int64_t v = steps * CHAINS; v < n_vec; v++)
        for (int j = 0; j < SUM_LANES; j++) s[j] += x[v * SUM_LANES + j] * x[v * SUM_LANES + j];
    for (int c = 1; c < CHAINS; c++)
        for (int j = 0; j < SUM_LANES; j++) s[j] += s[c * SUM_LANES + j];
    for (int64_t k = n_vec * SUM_LANES; k < n; k++) sum += x[k] * x[k];
    for (int j = 0; j < SUM_LANES; j++) sum += s[j];
    return sum;
}

static void plain_rmsnorm(float *y, const float *x, const float *g, float eps, int64_t n)
{
    float r = 1.0f / sqrtf(act_square_sum(x, n) / (float)n + eps);
#pragma GCC ivdep
    for (int64_t i = 0; i < n; i++) y[i] = g[i] * (x[i] * r);
}

static void plain_layernorm(float *y, const float *x, const float *g, const float *b, float eps, int64_t n)
{
    float s[ACT_LANES] = {0}, q[ACT_LANES] = {0};
    int64_t whole = n / ACT_LANES * ACT_LANES;
    for (int64_t i = 0; i < whole; i += ACT_LANES)
        for (int j = 0; j < ACT_LANES; j++) s[j] += x[i + j];
    for (int64_t i = whole; i < n; i++) s[i - whole] += x[i];
    float mean = act_sum(s) / (float)n;
    for (int64_t i = 0; i < whole; i += ACT_LANES)
        for (int j = 0; j < ACT_LANES; j++) q[j] = fmaf(x[i + j] - mean, x[i + j] - mean, q[j]);
    for (int64_t i = whole; i < n; i++) q[i - whole] = fmaf(x[i] - mean, x[i] - mean, q[i - whole]);
    float r = 1.0f / sqrtf(act_sum(q) / (float)n + eps);
#pragma GCC ivdep
    for (int64_t i = 0; i < n; i++) y[i] = fmaf((x[i] - mean) * r, g[i], b[i]);
}

#endif
