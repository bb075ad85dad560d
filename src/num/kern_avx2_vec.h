/* What the AVX2 kernels share of vectors of 8 floats: lanes of a rest, and one order of summing lanes, on which the equal bits of a dot product and of
 * gather.h's stand. */
#ifndef SD_NUM_KERN_AVX2_VEC_H
#define SD_NUM_KERN_AVX2_VEC_H

#include <immintrin.h>
#include <stdint.h>

/* Lanes below n are all ones; none where n <= 0, all where n >= 8. */
static inline __m256i live8(int64_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)(n > 8 ? 8 : n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static inline float hsum8(__m256 v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

#endif
