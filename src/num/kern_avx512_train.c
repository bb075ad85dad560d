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

/* Two rows of 32 at a time: one permutation a vector of pairs. */
static void pair_bf16(uint32_t *restrict dst, const uint16_t *restrict even, const uint16_t *restrict odd, int64_t n)
{
    uint16_t at[32];
    for (int i = 0; i < 32; i++) at[i] = (uint16_t)(i / 2 + i % 2 * 32);
    const __m512i low = _mm512_loadu_si512(at), high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
    int64_t i = 0;
    for (; i + 32 <= n; i += 32) {
        const __m512i a = _mm512_loadu_si512(even + i), b = _mm512_loadu_si512(odd + i);
        _mm512_storeu_si512(dst + i, _mm512_permutex2var_epi16(a, low, b));
        _mm512_storeu_si512(dst + i + 16, _mm512_permutex2var_epi16(a, high, b));
    }
    plain_pair_bf16(dst + i, even + i, odd + i, n - i);
}

const sd_kern_train sd_kern_train_avx512 = SD_KERN_TRAIN_PLAIN(sd_kern_train_transpose_avx2, plain_pair_f32, pair_bf16);
const sd_kern_train sd_kern_train_avx512_bf16 = SD_KERN_TRAIN_PLAIN(sd_kern_train_transpose_avx2, pair_f32_bf16, pair_bf16);
