/* What the AVX-512 files of attention share: tails of vectors, the exponential, and the softmax but for its last product. */
#ifndef SD_NUM_KERN_AVX512_SOFT_H
#define SD_NUM_KERN_AVX512_SOFT_H

#include <immintrin.h>
#include <stdint.h>

enum { W = 16 }; /* floats a vector */

static inline __mmask16 tail_mask(int64_t n)
{
    return _cvtu32_mask16(n >= W ? 0xffffu : (1u << n) - 1u);
}

/* exp(x) = 2^n exp(r), n = round(x log2 e), |r| <= ln2/2; the polynomial and the split of ln 2 are Cephes' expf
 * (Moshier). Operands are clamped to where f32 overflows or is zero; NaN passes through (max and min return their
 * second operand). */
static inline __m512 exp_ps(__m512 x)
{
    x = _mm512_min_ps(_mm512_set1_ps(100.0f), _mm512_max_ps(_mm512_set1_ps(-110.0f), x));
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504088896341f)),
                                    _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
    __m512 p = _mm512_set1_ps(1.9875691500e-4f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3981999507e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3334519073e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.1665795894e-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.6666665459e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.0000001201e-1f));
    p = _mm512_fmadd_ps(_mm512_mul_ps(p, r), r, r);
    return _mm512_scalef_ps(_mm512_add_ps(p, _mm512_set1_ps(1.0f)), n);
}

/* x <- exp(x - max); the inverse of their sum, in fixed lanes counted from x[0]. NaN anywhere gives NaN everywhere. */
static inline float soft_exp(float *x, int64_t n)
{
    const __m512 low = _mm512_set1_ps(-__builtin_inff());
    __m512 m = low;
    __mmask16 nan = 0;
    for (int64_t i = 0; i < n; i += W) {
        __m512 a = _mm512_mask_loadu_ps(low, tail_mask(n - i), x + i);
        nan |= _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
        m = _mm512_max_ps(m, a);
    }
    __m512 max = _mm512_set1_ps(nan ? __builtin_nanf("") : _mm512_reduce_max_ps(m)), sum = _mm512_setzero_ps();
    for (int64_t i = 0; i < n; i += W) {
        __mmask16 k = tail_mask(n - i);
        __m512 e = exp_ps(_mm512_sub_ps(_mm512_maskz_loadu_ps(k, x + i), max));
        _mm512_mask_storeu_ps(x + i, k, e);
        sum = _mm512_mask_add_ps(sum, k, sum, e);
    }
    return 1.0f / _mm512_reduce_add_ps(sum);
}

#endif
