/* The loops of sd_kern_train in plain C, compiled once an ISA: without contraction, with explicit multiply-adds, in 16
 * lanes where something is summed, so that wider vectors change no bit. Include it in one file an ISA. */
#ifndef SD_NUM_KERN_TRAIN_PLAIN_H
#define SD_NUM_KERN_TRAIN_PLAIN_H

#include "num/kern_act_scalar.h"
#include "num/kern_probs_plain.h"
#include "num/kern_train.h"

#include <math.h>
#include <string.h>

enum { LANES = 16 };

static inline uint32_t bits_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}
static inline float float_of(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static inline uint32_t round_bf16(float x)
{
    const uint32_t u = bits_of(x), r = (u + 0x7fffu + (u >> 16 & 1u)) >> 16;
    return x != x ? 0x7fc0u : r;
}

static void plain_pair_f32(uint32_t *restrict dst, const float *restrict even, const float *restrict odd, int64_t n)
{
    for (int64_t i = 0; i < n; i++) dst[i] = round_bf16(even[i]) | round_bf16(odd[i]) << 16;
}

static void plain_pair_bf16(uint32_t *restrict dst, const uint16_t *restrict even, const uint16_t *restrict odd,
                            int64_t n)
{
    for (int64_t i = 0; i < n; i++) dst[i] = (uint32_t)even[i] | (uint32_t)odd[i] << 16;
}

static void plain_widen(float *restrict dst, const uint16_t *restrict src, int64_t n)
{
    for (int64_t i = 0; i < n; i++) dst[i] = float_of((uint32_t)src[i] << 16);
}

static inline float fold(const float *s)
{
    float t[8], u[4];
    for (int i = 0; i < 8; i++) t[i] = s[i] + s[i + 8];
    for (int i = 0; i < 4; i++) u[i] = t[i] + t[i + 4];
    return u[0] + u[2] + (u[1] + u[3]);
}

static float plain_exp_sum(float *x, float max, int64_t n)
{
    float s[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) {
            const float e = act_exp(x[i + j] - max);
            x[i + j] = e;
            s[j] += e;
        }
    for (int j = 0; i < n; i++, j++) s[j] += x[i] = act_exp(x[i] - max);
    return fold(s);
}

static float plain_max(const float *x, int64_t n)
{
    float s[LANES], m = -INFINITY;
    int64_t i = 0;
    for (int j = 0; j < LANES; j++) s[j] = -INFINITY;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) s[j] = x[i + j] > s[j] ? x[i + j] : s[j];
    for (int j = 0; i < n; i++, j++) s[j] = x[i] > s[j] ? x[i] : s[j];
    for (int j = 0; j < LANES; j++) m = s[j] > m ? s[j] : m;
    return m;
}

static float plain_dot(const float *x, const float *y, int64_t n)
{
    float s[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) s[j] = __builtin_fmaf(x[i + j], y[i + j], s[j]);
    for (int j = 0; i < n; i++, j++) s[j] = __builtin_fmaf(x[i], y[i], s[j]);
    return fold(s);
}

static float plain_sum(const float *x, int64_t n)
{
    float s[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) s[j] += x[i + j];
    for (int j = 0; i < n; i++, j++) s[j] += x[i];
    return fold(s);
}

static void plain_scale(float *x, float s, int64_t n)
{
    for (int64_t i = 0; i < n; i++) x[i] *= s;
}

static void plain_soft_bwd(float *restrict g, const float *restrict p, float mean, float s, int64_t n)
{
    for (int64_t i = 0; i < n; i++) g[i] = p[i] * (g[i] - mean) * s;
}

/* f(x) and f'(x), s the logistic function: silu x s(x); quick x s(1.702 x); tanh form x s(2y), y = k (x + c x^3); erf
 * form x Phi(x). Hendrycks & Gimpel 2016. */
static inline __attribute__((always_inline)) void gate_one(sd_nonlin kind, float x, float *f, float *df)
{
    if (kind == SD_NONLIN_RELU) {
        *f = x > 0.0f ? x : 0.0f;
        *df = x > 0.0f ? 1.0f : 0.0f;
    } else if (kind == SD_NONLIN_GELU_ERF) {
        const float cdf = 0.5f * (1.0f + act_erf(x * 0.70710678118654752f));
        *f = x * cdf;
        *df = __builtin_fmaf(x * 0.39894228040143268f, act_exp(-0.5f * x * x), cdf);
    } else {
        float e = x, de = 1.0f;
        if (kind == SD_NONLIN_GELU_TANH) {
            e = x * __builtin_fmaf(x * x, 0.07135481282f, 1.59576912161f);
            de = __builtin_fmaf(x * x, 3.0f * 0.07135481282f, 1.59576912161f);
        }
        if (kind == SD_NONLIN_GELU_QUICK) e = 1.702f * x, de = 1.702f;
        const float s = 1.0f / (1.0f + act_exp(-e));
        *f = x * s;
        *df = s * __builtin_fmaf(x * de, 1.0f - s, 1.0f);
    }
}

static inline __attribute__((always_inline)) void gate_loop(sd_nonlin kind, float *gg, float *gu, const float *gh,
                                                            const float *g, const float *u, int64_t n)
{
    /* Outputs may be inputs: each element is read before it is written. */
#pragma GCC ivdep
    for (int64_t i = 0; i < n; i++) {
        float f, df;
        const float h = gh[i], v = u[i];
        gate_one(kind, g[i], &f, &df);
        gg[i] = h * v * df;
        gu[i] = h * f;
    }
}

static inline __attribute__((always_inline)) void gate_loop_alone(sd_nonlin kind, float *gg, const float *gh,
                                                                  const float *g, int64_t n)
{
#pragma GCC ivdep
    for (int64_t i = 0; i < n; i++) {
        float f, df;
        gate_one(kind, g[i], &f, &df);
        gg[i] = gh[i] * df;
    }
}

static void plain_gate_bwd(float *gg, float *gu, const float *gh, const float *g, const float *u, sd_nonlin kind,
                           int64_t n)
{
#define GATE_CASE(K)                                                                                                   \
    case K:                                                                                                            \
        if (u)                                                                                                         \
            gate_loop(K, gg, gu, gh, g, u, n);                                                                         \
        else                                                                                                           \
            gate_loop_alone(K, gg, gh, g, n);                                                                          \
        break;
    switch (kind) {
        GATE_CASE(SD_NONLIN_SILU)
        GATE_CASE(SD_NONLIN_GELU_TANH)
        GATE_CASE(SD_NONLIN_GELU_ERF)
        GATE_CASE(SD_NONLIN_GELU_QUICK)
        GATE_CASE(SD_NONLIN_RELU)
    }
#undef GATE_CASE
}

static void plain_adamw(float *restrict p, float *restrict m, float *restrict v, const float *restrict g,
                        const sd_adamw_k *k, int64_t n)
{
    const sd_adamw_k c = *k;
    for (int64_t i = 0; i < n; i++) {
        const float d = g[i] * c.scale;
        m[i] = __builtin_fmaf(c.beta1, m[i], c.rest1 * d);
        v[i] = __builtin_fmaf(c.beta2, v[i], c.rest2 * d * d);
        p[i] = p[i] * c.keep - c.step * m[i] / (sqrtf(v[i]) / c.root_bc2 + c.eps);
    }
}

/* A share x of the largest in 8 or 7 bits: the upper bits of the float itself, four of them (three, for the signed one) of
 * mantissa, so that sixteen powers of two below the largest keep 3 (6) per cent. 0 stays 0; what is smaller than the range becomes
 * `least`. */
enum { SHARE_ONE = 0x3f800000, SHIFT_V = 19, SHIFT_M = 20, TOP_V = 255, TOP_M = 127 };

static inline int32_t share_code(float x, int shift, int32_t top, int32_t least)
{
    const int32_t q = (int32_t)((bits_of(x) + (1u << (shift - 1))) >> shift) - ((SHARE_ONE >> shift) - top);
    const int32_t in = q < 1 ? least : q > top ? top : q;
    return x == 0.0f ? 0 : in;
}

static inline float share_of(int32_t q, int shift, int32_t top) { return q ? float_of((uint32_t)(q + (SHARE_ONE >> shift) - top) << shift) : 0.0f; }

/* Bits of floats that are not negative grow as the floats do, and the largest of integers needs no order. */
static inline uint32_t larger(uint32_t a, uint32_t b) { return a > b ? a : b; }

static void plain_pack8(int8_t *restrict qm, uint8_t *restrict qv, float scale[2], const float *restrict m, const float *restrict v, int64_t n)
{
    uint32_t top_m = 0, top_v = 0;
    for (int64_t i = 0; i < n; i++) {
        top_m = larger(top_m, bits_of(m[i]) & 0x7fffffffu);
        top_v = larger(top_v, bits_of(v[i]));
    }
    const float sm = float_of(top_m), sv = sqrtf(float_of(top_v));
    const float by_m = sm > 0.0f ? sm : 1.0f, by_v = sv > 0.0f ? sv : 1.0f;
    for (int64_t i = 0; i < n; i++) {
        const int32_t a = share_code(fabsf(m[i]) / by_m, SHIFT_M, TOP_M, 0);
        qm[i] = (int8_t)(m[i] < 0.0f ? -a : a);
        qv[i] = (uint8_t)share_code(sqrtf(v[i]) / by_v, SHIFT_V, TOP_V, 1);
    }
    scale[0] = sm;
    scale[1] = sv;
}

static void plain_unpack8(float *restrict m, float *restrict v, const int8_t *restrict qm, const uint8_t *restrict qv, const float scale[2], int64_t n)
{
    const float sm = scale[0], sv = scale[1];
    for (int64_t i = 0; i < n; i++) {
        const int32_t q = qm[i];
        const float a = share_of(q < 0 ? -q : q, SHIFT_M, TOP_M) * sm, root = share_of(qv[i], SHIFT_V, TOP_V) * sv;
        m[i] = q < 0 ? -a : a;
        v[i] = root * root;
    }
}

/* The table of this file; only the transposition and what makes pairs differ. */
#define SD_KERN_TRAIN_PLAIN(TRANSPOSE, PAIR, HALVES)                                                                         \
    {                                                                                                                  \
        .transpose = TRANSPOSE, .pair_f32 = PAIR,           .pair_bf16 = HALVES, .widen = plain_widen,                 \
        .exp_sum = plain_exp_sum, .max = plain_max, .dot = plain_dot, .sum = plain_sum, .scale = plain_scale,          \
        .exp_total = plain_exp_total, .kl = plain_kl, .probs = plain_probs,                                            \
        .soft_bwd = plain_soft_bwd, .gate_bwd = plain_gate_bwd, .adamw = plain_adamw, .pack8 = plain_pack8, .unpack8 = plain_unpack8, \
    }

#endif
