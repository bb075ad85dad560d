/* AVX-512 of the dictionary slots. Hits are compressed in a register and stored whole (idx and val have 16 to spare): the
 * compressing store to memory is microcode on Zen 4 and 5. Rounding to bf16 is integer work, so it needs no AVX512_BF16. */
#include "num/kern_dict.h"
#include <float.h>
#include <immintrin.h>

static inline __mmask16 tail(int64_t n) { return (__mmask16)(n >= 16 ? 0xffffu : (1u << n) - 1); }

static float to_bf16_avx512(uint16_t *y, const float *x, int64_t n)
{
    const __m512i one = _mm512_set1_epi32(1), half = _mm512_set1_epi32(0x7fff), high = _mm512_set1_epi32((int)0xffff0000u);
    const __m512i exponent = _mm512_set1_epi32(0x7f800000), sign = _mm512_set1_epi32((int)0x80000000u);
    __m512 e2 = _mm512_setzero_ps();
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 live = tail(n - i);
        const __m512 v = _mm512_maskz_loadu_ps(live, x + i);
        __m512i b = _mm512_castps_si512(v);
        const __mmask16 tiny = _mm512_testn_epi32_mask(b, exponent);
        b = _mm512_add_epi32(b, _mm512_add_epi32(half, _mm512_and_epi32(_mm512_srli_epi32(b, 16), one)));
        b = _mm512_and_epi32(b, high);
        b = _mm512_mask_and_epi32(b, tiny, _mm512_castps_si512(v), sign);
        const __m512 e = _mm512_sub_ps(v, _mm512_castsi512_ps(b));
        e2 = _mm512_fmadd_ps(e, e, e2);
        _mm256_mask_storeu_epi16(y + i, live, _mm512_cvtepi32_epi16(_mm512_srli_epi32(b, 16)));
    }
    return _mm512_reduce_add_ps(e2);
}

static int64_t scan_avx512(int32_t *idx, float *val, const sd_scan_in *in)
{
    const __m512 c = _mm512_set1_ps(in->c), cut = _mm512_set1_ps(in->cut);
    __m512i at = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    int64_t k = 0;
    for (int64_t i = 0; i < in->n; i += 16, at = _mm512_add_epi32(at, _mm512_set1_epi32(16))) {
        const __mmask16 live = tail(in->n - i);
        const __m512 s = _mm512_add_ps(_mm512_maskz_loadu_ps(live, in->s + i), _mm512_maskz_loadu_ps(live, in->b + i));
        const __m512 u = _mm512_fmadd_ps(c, _mm512_maskz_loadu_ps(live, in->r + i), s);
        const __mmask16 hit = _mm512_mask_cmp_ps_mask(live, u, cut, _CMP_NLT_UQ);
        if (!hit) continue;
        _mm512_storeu_ps(val + k, _mm512_maskz_compress_ps(hit, u));
        _mm512_storeu_si512(idx + k, _mm512_maskz_compress_epi32(hit, at));
        k += __builtin_popcount(hit);
    }
    return k;
}

static void group_max_avx512(float *out, int64_t g, const sd_scan_in *in)
{
    const __m512 c = _mm512_set1_ps(in->c);
    for (int64_t j = 0; j < g; j += 16) {
        __m512 best = _mm512_set1_ps(-FLT_MAX);
        for (int64_t i = j; i < in->n; i += g) {
            const __m512 s = _mm512_add_ps(_mm512_loadu_ps(in->s + i), _mm512_loadu_ps(in->b + i));
            best = _mm512_max_ps(_mm512_fmadd_ps(c, _mm512_loadu_ps(in->r + i), s), best); /* the second operand wins over NaN */
        }
        _mm512_storeu_ps(out + j, best);
    }
}

static int64_t count_ge_avx512(const float *x, float v, int64_t n)
{
    const __m512 w = _mm512_set1_ps(v);
    int64_t k = 0;
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 live = tail(n - i);
        k += __builtin_popcount(_mm512_mask_cmp_ps_mask(live, _mm512_maskz_loadu_ps(live, x + i), w, _CMP_GE_OQ));
    }
    return k;
}

static void span_avx512(float out[2], const float *x, int64_t n)
{
    __m512 lo = _mm512_set1_ps(x[0]), hi = lo;
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 live = tail(n - i);
        const __m512 v = _mm512_maskz_loadu_ps(live, x + i);
        lo = _mm512_mask_min_ps(lo, live, lo, v);
        hi = _mm512_mask_max_ps(hi, live, hi, v);
    }
    out[0] = _mm512_reduce_min_ps(lo);
    out[1] = _mm512_reduce_max_ps(hi);
}

static int64_t compact_avx512(int32_t *idx, float *val, float *with, int64_t n, float cut)
{
    const __m512 c = _mm512_set1_ps(cut);
    int64_t k = 0;
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 live = tail(n - i);
        const __m512 v = _mm512_maskz_loadu_ps(live, val + i), w = _mm512_maskz_loadu_ps(live, with + i);
        const __m512i at = _mm512_maskz_loadu_epi32(live, idx + i);
        const __mmask16 stay = _mm512_mask_cmp_ps_mask(live, v, c, _CMP_NLT_UQ);
        _mm512_storeu_ps(val + k, _mm512_maskz_compress_ps(stay, v)); /* k <= i, and i's sixteen are read */
        _mm512_storeu_ps(with + k, _mm512_maskz_compress_ps(stay, w));
        _mm512_storeu_si512(idx + k, _mm512_maskz_compress_epi32(stay, at));
        k += __builtin_popcount(stay);
    }
    return k;
}

static void adam_avx512(float *p, float *m, float *v, const float *g, const sd_adam_k *k, int64_t n)
{
    const __m512 b1 = _mm512_set1_ps(k->beta1), b2 = _mm512_set1_ps(k->beta2), step = _mm512_set1_ps(k->step);
    const __m512 a1 = _mm512_set1_ps(k->rest1), a2 = _mm512_set1_ps(k->rest2);
    const __m512 root = _mm512_set1_ps(k->root_bc2), eps = _mm512_set1_ps(k->eps);
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 live = tail(n - i);
        const __m512 gi = _mm512_maskz_loadu_ps(live, g + i);
        const __m512 mi = _mm512_fmadd_ps(b1, _mm512_maskz_loadu_ps(live, m + i), _mm512_mul_ps(a1, gi));
        const __m512 vi = _mm512_fmadd_ps(b2, _mm512_maskz_loadu_ps(live, v + i), _mm512_mul_ps(_mm512_mul_ps(a2, gi), gi));
        const __m512 den = _mm512_fmadd_ps(_mm512_sqrt_ps(vi), root, eps);
        _mm512_mask_storeu_ps(m + i, live, mi);
        _mm512_mask_storeu_ps(v + i, live, vi);
        _mm512_mask_storeu_ps(p + i, live, _mm512_sub_ps(_mm512_maskz_loadu_ps(live, p + i), _mm512_div_ps(_mm512_mul_ps(step, mi), den)));
    }
}

static void idle_avx512(float *p, float *m, float *v, const float *k, int64_t n)
{
    const __m512 drift = _mm512_set1_ps(k[0]), eps = _mm512_set1_ps(k[1]), d1 = _mm512_set1_ps(k[2]), d2 = _mm512_set1_ps(k[3]);
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 live = tail(n - i);
        const __m512 mi = _mm512_maskz_loadu_ps(live, m + i), vi = _mm512_maskz_loadu_ps(live, v + i);
        const __m512 move = _mm512_div_ps(_mm512_mul_ps(drift, mi), _mm512_add_ps(_mm512_sqrt_ps(vi), eps));
        _mm512_mask_storeu_ps(p + i, live, _mm512_sub_ps(_mm512_maskz_loadu_ps(live, p + i), move));
        _mm512_mask_storeu_ps(m + i, live, _mm512_mul_ps(mi, d1));
        _mm512_mask_storeu_ps(v + i, live, _mm512_mul_ps(vi, d2));
    }
}

static void f16_to_f32_avx512(float *y, const uint16_t *x, int64_t n)
{
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) _mm512_storeu_ps(y + i, _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)(x + i))));
    for (; i < n; i++) y[i] = _cvtsh_ss(x[i]);
}

static void f32_to_f16_avx512(uint16_t *y, const float *x, int64_t n)
{
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        _mm256_storeu_si256((__m256i *)(void *)(y + i), _mm512_cvtps_ph(_mm512_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT));
    for (; i < n; i++) y[i] = _cvtss_sh(x[i], _MM_FROUND_TO_NEAREST_INT);
}

const sd_kern_dict sd_kern_dict_avx512 = {to_bf16_avx512, scan_avx512, group_max_avx512, count_ge_avx512, span_avx512, compact_avx512, adam_avx512, idle_avx512, f16_to_f32_avx512, f32_to_f16_avx512};
