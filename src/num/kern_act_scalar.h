/* exp, erf and tanh of one number in plain C: what every ISA's loops are made of. Fused multiply-adds are written as
 * fmaf, so that the bits are the same on every ISA. */
#ifndef SD_NUM_KERN_ACT_SCALAR_H
#define SD_NUM_KERN_ACT_SCALAR_H

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline __attribute__((always_inline)) float act_pow2(int32_t n)
{
    int32_t bits = (n + 127) * (1 << 23);
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* exp(x) = 2^n exp(r), n = round(x log2 e), |r| <= ln2/2: Cephes' expf (Moshier), within 2 ulp. Operands are clamped to
 * where f32 overflows or is zero; NaN passes through. 2^n is two factors, since n reaches below normal exponents. */
static inline __attribute__((always_inline)) float act_exp(float x)
{
    x = x > 100.0f ? 100.0f : x;
    x = x < -110.0f ? -110.0f : x;
    float n = rintf(x * 1.44269504088896341f), r = fmaf(n, -0.693359375f, x), p = 1.9875691500e-4f;
    r = fmaf(n, 2.12194440e-4f, r);
    p = fmaf(p, r, 1.3981999507e-3f);
    p = fmaf(p, r, 8.3334519073e-3f);
    p = fmaf(p, r, 4.1665795894e-2f);
    p = fmaf(p, r, 1.6666665459e-1f);
    p = fmaf(p, r, 5.0000001201e-1f);
    p = fmaf(p * r, r, r) + 1.0f;
    int32_t i = (int32_t)(x == x ? n : 0.0f), half = i / 2;
    return p * act_pow2(half) * act_pow2(i - half);
}

/* exp of a double of at most 709, within 1 ulp: 2^n exp(r) as above; ln 2 is cut as in fdlibm's e_exp.c (Sun 1993), exp(r) is Taylor's
 * polynomial of degree 13, whose rest is 6e-18. n is rounded, and turned into the exponent's bits, by adding what leaves no room for a
 * fraction: AVX2 has no conversion to 64-bit integers. 0 below -708, where 2^n would be denormal; NaN passes through. */
static inline __attribute__((always_inline)) double act_exp64(double x)
{
    const double shift = 0x1.8p52 + 1023, t = fma(x, 0x1.71547652b82fep+0, shift), n = t - shift;
    double r = fma(n, -0x1.62e42feep-1, x), p = 1.0 / 6227020800.0, pow2;
    r = fma(n, -0x1.a39ef35793c76p-33, r);
    p = fma(p, r, 1.0 / 479001600.0);
    p = fma(p, r, 1.0 / 39916800.0);
    p = fma(p, r, 1.0 / 3628800.0);
    p = fma(p, r, 1.0 / 362880.0);
    p = fma(p, r, 1.0 / 40320.0);
    p = fma(p, r, 1.0 / 5040.0);
    p = fma(p, r, 1.0 / 720.0);
    p = fma(p, r, 1.0 / 120.0);
    p = fma(p, r, 1.0 / 24.0);
    p = fma(p, r, 1.0 / 6.0);
    p = fma(p, r, 0.5);
    p = fma(p, r, 1.0);
    p = fma(p, r, 1.0);
    uint64_t bits;
    memcpy(&bits, &t, sizeof bits);
    bits <<= 52;
    memcpy(&pow2, &bits, sizeof pow2);
    return x < -708.0 ? 0.0 : p * pow2;
}

/* erf within 1 ulp: a polynomial below 0.9277, 1 - exp(polynomial) above (Juffa's erff; its constants). */
static inline __attribute__((always_inline)) float act_erf(float a)
{
    float t = fabsf(a), s = a * a, r = fmaf(-1.72853470e-5f, t, 3.83197126e-4f),
          u = fmaf(-3.88396438e-3f, t, 2.42546219e-2f);
    r = fmaf(r, s, u);
    r = fmaf(r, t, -1.06777877e-1f);
    r = fmaf(r, t, -6.34846687e-1f);
    r = fmaf(r, t, -1.28717512e-1f);
    r = fmaf(r, t, -t);
    float far = copysignf(1.0f - act_exp(r), a), p = -5.96761703e-4f;
    p = fmaf(p, s, 4.99119423e-3f);
    p = fmaf(p, s, -2.67681349e-2f);
    p = fmaf(p, s, 1.12819925e-1f);
    p = fmaf(p, s, -3.76125336e-1f);
    p = fmaf(p, s, 1.28379166e-1f);
    p = fmaf(p, a, a);
    return t > 0.927734375f ? far : p;
}

/* tanh: Cephes' tanhf, a polynomial below 0.625, 1 - 2 / (exp(2x) + 1) above; within 2 ulp. */
static inline __attribute__((always_inline)) float act_tanh(float a)
{
    float t = fabsf(a), z = a * a, p = -5.70498872745e-3f;
    float far = copysignf(1.0f - 2.0f / (act_exp(2.0f * t) + 1.0f), a);
    p = fmaf(p, z, 2.06390887954e-2f);
    p = fmaf(p, z, -5.37397155531e-2f);
    p = fmaf(p, z, 1.33314422036e-1f);
    p = fmaf(p, z, -3.33332819422e-1f);
    p = fmaf(p * z, a, a);
    return t > 0.625f ? far : p;
}

#endif
