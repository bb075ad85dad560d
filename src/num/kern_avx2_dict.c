/* AVX2 + FMA + F16C of the dictionary slots. Rounding to bf16 stays plain C: at this level scores are f32. */
#include "num/kern_dict.h"
#include "num/kern_avx2_vec.h"
#include <float.h>
#include <immintrin.h>

static float to_bf16_avx2(uint16_t *y, const float *x, int64_t n) { return sd_kern_dict_ref.to_bf16(y, x, n); }

static int64_t scan_avx2(int32_t *idx, float *val, const sd_scan_in *in)
{
    const __m256 c = _mm256_set1_ps(in->c), cut = _mm256_set1_ps(in->cut);
    int64_t k = 0;
    for (int64_t i = 0; i < in->n; i += 8) {
        const __m256i live = live8(in->n - i);
        const __m256 s = _mm256_add_ps(_mm256_maskload_ps(in->s + i, live), _mm256_maskload_ps(in->b + i, live));
        const __m256 u = _mm256_fmadd_ps(c, _mm256_maskload_ps(in->r + i, live), s);
        unsigned hit = (unsigned)_mm256_movemask_ps(_mm256_and_ps(_mm256_cmp_ps(u, cut, _CMP_NLT_UQ), _mm256_castsi256_ps(live)));
        if (!hit) continue;
        float t[8];
        _mm256_storeu_ps(t, u);
        for (; hit; hit &= hit - 1) {
            const int j = __builtin_ctz(hit);
            idx[k] = (int32_t)(i + j);
            val[k++] = t[j];
        }
    }
    return k;
}

static void group_max_avx2(float *out, int64_t g, const sd_scan_in *in)
{
    const __m256 c = _mm256_set1_ps(in->c);
    for (int64_t j = 0; j < g; j += 8) {
        __m256 best = _mm256_set1_ps(-FLT_MAX);
        for (int64_t i = j; i < in->n; i += g) {
            const __m256 s = _mm256_add_ps(_mm256_loadu_ps(in->s + i), _mm256_loadu_ps(in->b + i));
            best = _mm256_max_ps(_mm256_fmadd_ps(c, _mm256_loadu_ps(in->r + i), s), best); /* the second operand wins over NaN */
        }
        _mm256_storeu_ps(out + j, best);
    }
}

static int64_t count_ge_avx2(const float *x, float v, int64_t n)
{
    const __m256 w = _mm256_set1_ps(v);
    int64_t k = 0, i = 0;
    for (; i + 8 <= n; i += 8)
        k += __builtin_popcount((unsigned)_mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(x + i), w, _CMP_GE_OQ)));
    for (; i < n; i++) k += x[i] >= v;
    return k;
}

static void span_avx2(float out[2], const float *x, int64_t n)
{
    int64_t i = 0;
    out[0] = out[1] = x[0];
    if (n >= 8) {
        __m256 lo = _mm256_loadu_ps(x), hi = lo;
        float l[8], h[8];
        for (i = 8; i + 8 <= n; i += 8) lo = _mm256_min_ps(lo, _mm256_loadu_ps(x + i)), hi = _mm256_max_ps(hi, _mm256_loadu_ps(x + i));
        _mm256_storeu_ps(l, lo);
        _mm256_storeu_ps(h, hi);
        for (int j = 0; j < 8; j++) out[0] = l[j] < out[0] ? l[j] : out[0], out[1] = h[j] > out[1] ? h[j] : out[1];
    }
    for (; i < n; i++) out[0] = x[i] < out[0] ? x[i] : out[0], out[1] = x[i] > out[1] ? x[i] : out[1];
}

static int64_t compact_avx2(int32_t *idx, float *val, float *with, int64_t n, float cut)
{
    int64_t k = 0;
    for (int64_t i = 0; i < n; i++) { /* no branch: which entries stay is anybody's guess */
        const float v = val[i];
        idx[k] = idx[i];
        with[k] = with[i];
        val[k] = v;
        k += !(v < cut);
    }
    return k;
}

static void adam_avx2(float *p, float *m, float *v, const float *g, const sd_adam_k *k, int64_t n)
{
    const __m256 b1 = _mm256_set1_ps(k->beta1), b2 = _mm256_set1_ps(k->beta2), step = _mm256_set1_ps(k->step);
    const __m256 a1 = _mm256_set1_ps(k->rest1), a2 = _mm256_set1_ps(k->rest2);
    const __m256 root = _mm256_set1_ps(k->root_bc2), eps = _mm256_set1_ps(k->eps);
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256 gi = _mm256_loadu_ps(g + i);
        const __m256 mi = _mm256_fmadd_ps(b1, _mm256_loadu_ps(m + i), _mm256_mul_ps(a1, gi));
        const __m256 vi = _mm256_fmadd_ps(b2, _mm256_loadu_ps(v + i), _mm256_mul_ps(_mm256_mul_ps(a2, gi), gi));
        const __m256 den = _mm256_fmadd_ps(_mm256_sqrt_ps(vi), root, eps);
        _mm256_storeu_ps(m + i, mi);
        _mm256_storeu_ps(v + i, vi);
        _mm256_storeu_ps(p + i, _mm256_sub_ps(_mm256_loadu_ps(p + i), _mm256_div_ps(_mm256_mul_ps(step, mi), den)));
    }
    if (i < n) sd_kern_dict_ref.adam(p + i, m + i, v + i, g + i, k, n - i);
}

static void idle_avx2(float *p, float *m, float *v, const float *k, int64_t n)
{
    const __m256 drift = _mm256_set1_ps(k[0]), eps = _mm256_set1_ps(k[1]), d1 = _mm256_set1_ps(k[2]), d2 = _mm256_set1_ps(k[3]);
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256 mi = _mm256_loadu_ps(m + i), vi = _mm256_loadu_ps(v + i);
        const __m256 move = _mm256_div_ps(_mm256_mul_ps(drift, mi), _mm256_add_ps(_mm256_sqrt_ps(vi), eps));
        _mm256_storeu_ps(p + i, _mm256_sub_ps(_mm256_loadu_ps(p + i), move));
        _mm256_storeu_ps(m + i, _mm256_mul_ps(mi, d1));
        _mm256_storeu_ps(v + i, _mm256_mul_ps(vi, d2));
    }
    if (i < n) sd_kern_dict_ref.idle(p + i, m + i, v + i, k, n - i);
}

static void f16_to_f32_avx2(float *y, const uint16_t *x, int64_t n)
{
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) _mm256_storeu_ps(y + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(x + i))));
    for (; i < n; i++) y[i] = _cvtsh_ss(x[i]);
}

static void f32_to_f16_avx2(uint16_t *y, const float *x, int64_t n)
{
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128((__m128i *)(void *)(y + i), _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT));
    for (; i < n; i++) y[i] = _cvtss_sh(x[i], _MM_FROUND_TO_NEAREST_INT);
}

const sd_kern_dict sd_kern_dict_avx2 = {to_bf16_avx2, scan_avx2, group_max_avx2, count_ge_avx2, span_avx2, compact_avx2, adam_avx2, idle_avx2, f16_to_f32_avx2, f32_to_f16_avx2};
