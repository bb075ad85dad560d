/* sd_kern_train for AVX2: the plain loops in vectors of eight, and a transposition of 8 x 8 tiles in registers. */
#include "num/kern_train_plain.h"

#include <immintrin.h>

static inline __m256 row(const void *const *src, int j, int64_t i)
{
    return _mm256_loadu_ps((const float *)src[j] + i);
}

/* Rows j..j+7, columns i..i+7. */
static inline void tile8(float *dst, int64_t ldd, const void *const *src, int j, int64_t i)
{
    const __m256 a0 = row(src, j, i), a1 = row(src, j + 1, i), a2 = row(src, j + 2, i), a3 = row(src, j + 3, i),
                 a4 = row(src, j + 4, i), a5 = row(src, j + 5, i), a6 = row(src, j + 6, i), a7 = row(src, j + 7, i);
    const __m256 b0 = _mm256_unpacklo_ps(a0, a1), b1 = _mm256_unpackhi_ps(a0, a1), b2 = _mm256_unpacklo_ps(a2, a3),
                 b3 = _mm256_unpackhi_ps(a2, a3), b4 = _mm256_unpacklo_ps(a4, a5), b5 = _mm256_unpackhi_ps(a4, a5),
                 b6 = _mm256_unpacklo_ps(a6, a7), b7 = _mm256_unpackhi_ps(a6, a7);
    const __m256 c0 = _mm256_shuffle_ps(b0, b2, 0x44), c1 = _mm256_shuffle_ps(b0, b2, 0xee),
                 c2 = _mm256_shuffle_ps(b1, b3, 0x44), c3 = _mm256_shuffle_ps(b1, b3, 0xee),
                 c4 = _mm256_shuffle_ps(b4, b6, 0x44), c5 = _mm256_shuffle_ps(b4, b6, 0xee),
                 c6 = _mm256_shuffle_ps(b5, b7, 0x44), c7 = _mm256_shuffle_ps(b5, b7, 0xee);
    float *d = dst + i * ldd + j;
    _mm256_storeu_ps(d, _mm256_permute2f128_ps(c0, c4, 0x20));
    _mm256_storeu_ps(d + ldd, _mm256_permute2f128_ps(c1, c5, 0x20));
    _mm256_storeu_ps(d + 2 * ldd, _mm256_permute2f128_ps(c2, c6, 0x20));
    _mm256_storeu_ps(d + 3 * ldd, _mm256_permute2f128_ps(c3, c7, 0x20));
    _mm256_storeu_ps(d + 4 * ldd, _mm256_permute2f128_ps(c0, c4, 0x31));
    _mm256_storeu_ps(d + 5 * ldd, _mm256_permute2f128_ps(c1, c5, 0x31));
    _mm256_storeu_ps(d + 6 * ldd, _mm256_permute2f128_ps(c2, c6, 0x31));
    _mm256_storeu_ps(d + 7 * ldd, _mm256_permute2f128_ps(c3, c7, 0x31));
}

void sd_kern_train_transpose_avx2(uint32_t *dst, int64_t ldd, const void *const *src, int64_t n)
{
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int j = 0; j < 32; j += 8) tile8((float *)(void *)dst, ldd, src, j, i);
    for (; i < n; i++)
        for (int j = 0; j < 32; j++) memcpy(dst + i * ldd + j, (const uint8_t *)src[j] + 4 * i, 4);
}

const sd_kern_train sd_kern_train_avx2 = SD_KERN_TRAIN_PLAIN(sd_kern_train_transpose_avx2, plain_pair_f32, plain_pair_bf16);
