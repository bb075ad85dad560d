/* What the two int8 scans of CPUs with AVX-512 share: sums of 16 features become scores and are compared with a row's cut. */
#ifndef SD_NUM_KERN_AVX512_SCAN8_H
#define SD_NUM_KERN_AVX512_SCAN8_H

#include "num/kern_scan8.h"
#include <immintrin.h>

float sd_scan8_rotate_avx512(float *y, const float *x, int64_t d, int64_t n);
int32_t sd_scan8_round_avx512(int8_t *q, const float *x, const float *u, float inverse, int64_t n);

/* Of a panel's 32 features. */
typedef struct sd_scan8_panel { __m512 scale[2], b[2], r[2]; } sd_scan8_panel;

static inline sd_scan8_panel sd_scan8__panel(const sd_scan8_in *in, int64_t f)
{
    return (sd_scan8_panel){{_mm512_loadu_ps(in->scale + f), _mm512_loadu_ps(in->scale + f + 16)},
                            {_mm512_loadu_ps(in->b + f), _mm512_loadu_ps(in->b + f + 16)},
                            {_mm512_loadu_ps(in->r + f), _mm512_loadu_ps(in->r + f + 16)}};
}

static inline __m512 sd_scan8__scored(__m512i sum, __m512 scale, float unit) { return _mm512_mul_ps(_mm512_set1_ps(unit), _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale)); }

static inline void sd_scan8__keep(sd_scan8_out *o, __m512 up, __mmask16 hit, int32_t first)
{
    const __m512i at = _mm512_add_epi32(_mm512_set1_epi32(first), _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    _mm512_storeu_ps(o->up + o->n, _mm512_maskz_compress_ps(hit, up)); /* whole: the compressing store is microcode on Zen 4 and 5 */
    _mm512_storeu_si512(o->idx + o->n, _mm512_maskz_compress_epi32(hit, at));
    o->n += __builtin_popcount(hit);
}

/* Sums lo, hi of row t with the panel whose first feature is `first`. */
static inline void sd_scan8__compare(sd_scan8_out *out, const sd_scan8_in *in, const sd_scan8_panel *p, int64_t t, __m512i lo, __m512i hi, int32_t first)
{
    const __m512 c = _mm512_set1_ps(in->c[t]), cut = _mm512_set1_ps(in->cut[t]);
    const __m512 u0 = _mm512_fmadd_ps(c, p->r[0], _mm512_add_ps(sd_scan8__scored(lo, p->scale[0], in->unit[t]), p->b[0]));
    const __m512 u1 = _mm512_fmadd_ps(c, p->r[1], _mm512_add_ps(sd_scan8__scored(hi, p->scale[1], in->unit[t]), p->b[1]));
    const __mmask16 h0 = _mm512_cmp_ps_mask(u0, cut, _CMP_NLT_UQ), h1 = _mm512_cmp_ps_mask(u1, cut, _CMP_NLT_UQ);
    if (__builtin_expect(_mm512_kortestz(h0, h1), 1)) return;
    if (h0) sd_scan8__keep(&out[t], u0, h0, first);
    if (h1) sd_scan8__keep(&out[t], u1, h1, first + 16);
}

static inline void sd_scan8__store(float *s, const sd_scan8_in *in, const sd_scan8_panel *p, int64_t t, __m512i lo, __m512i hi)
{
    _mm512_storeu_ps(s + t * in->n_feat, sd_scan8__scored(lo, p->scale[0], in->unit[t]));
    _mm512_storeu_ps(s + t * in->n_feat + 16, sd_scan8__scored(hi, p->scale[1], in->unit[t]));
}

#endif
