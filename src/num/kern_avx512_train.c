/* sd_kern_train for AVX-512: the plain loops in vectors of sixteen; the transposition is AVX2's, which is bound by
 * stores. Where the CPU multiplies bf16 it also rounds: the same but for denormals, which its products take for zero. */
#include "num/kern_train_plain.h"

#include <immintrin.h>

static void pair_f32_bf16(uint32_t *restrict dst, const float *restrict even, const float *restrict odd, int64_t n)
{
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 m = (__mmask16)(n - i < 16 ? (1u << (n - i)) - 1 : 0xffffu);
        const __m512i lo = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(m, even + i)));
        const __m512i hi = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(m, odd + i)));
        _mm512_mask_storeu_epi32(dst + i, m, _mm512_or_si512(lo, _mm512_slli_epi32(hi, 16)));
    }
}

const sd_kern_train sd_kern_train_avx512 = SD_KERN_TRAIN_PLAIN(sd_kern_train_transpose_avx2, plain_pair_f32);
const sd_kern_train sd_kern_train_avx512_bf16 = SD_KERN_TRAIN_PLAIN(sd_kern_train_transpose_avx2, pair_f32_bf16);
