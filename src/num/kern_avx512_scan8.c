/* AVX-512 VNNI of the int8 scan. 8 rows x 32 features are summed in 16 registers: a step of four places is 2 loads, 8 broadcasts and
 * 16 products, which keeps the dot product unit busy on cores that do one and on those that do two of 512 bits a cycle. Sums never
 * leave the registers unless a pair passes the cut. */
#include "num/kern_avx512_scan8.h"
#include <string.h>

enum { G = 8, P = SD_SCAN8_PANEL };

/* One stage inside a register: y = swapped + x where the bit h is 0, swapped - x where it is 1. */
static inline __m512 butterfly(__m512 x, __m512 swapped, __mmask16 high) { return _mm512_mask_sub_ps(_mm512_add_ps(x, swapped), high, swapped, x); }

static inline __m512 within(__m512 x)
{
    x = butterfly(x, _mm512_shuffle_f32x4(x, x, 0x4e), 0xff00);
    x = butterfly(x, _mm512_shuffle_f32x4(x, x, 0xb1), 0xf0f0);
    x = butterfly(x, _mm512_permute_ps(x, 0x4e), 0xcccc);
    return butterfly(x, _mm512_permute_ps(x, 0xb1), 0xaaaa);
}

static inline __m512 load_at(const float *x, int64_t left)
{
    const __mmask16 live = (__mmask16)(left >= 16 ? 0xffffu : left > 0 ? (1u << left) - 1 : 0);
    return _mm512_maskz_loadu_ps(live, x);
}

float sd_scan8_rotate_avx512(float *y, const float *x, int64_t d, int64_t n)
{
    const __m512 eighth = _mm512_set1_ps(0.125f);
    __m512 top = _mm512_setzero_ps();
    for (int64_t i = 0; i < n; i += 64) {
        const __m512 a = load_at(x + i, d - i), b = load_at(x + i + 16, d - i - 16), c = load_at(x + i + 32, d - i - 32), e = load_at(x + i + 48, d - i - 48);
        const __m512 ac = _mm512_add_ps(a, c), be = _mm512_add_ps(b, e), sac = _mm512_sub_ps(a, c), sbe = _mm512_sub_ps(b, e);
        const __m512 o[4] = {_mm512_add_ps(ac, be), _mm512_sub_ps(ac, be), _mm512_add_ps(sac, sbe), _mm512_sub_ps(sac, sbe)};
        for (int j = 0; j < 4; j++) {
            const __m512 v = _mm512_mul_ps(within(o[j]), eighth);
            top = _mm512_max_ps(top, _mm512_abs_ps(v));
            _mm512_storeu_ps(y + i + 16 * j, v);
        }
    }
    return _mm512_reduce_max_ps(top);
}

int32_t sd_scan8_round_avx512(int8_t *q, const float *x, const float *u, float inverse, int64_t n)
{
    const __m512 k = _mm512_set1_ps(inverse);
    __m512i sum = _mm512_setzero_si512();
    for (int64_t i = 0; i < n; i += 16) {
        const __m512 v = _mm512_fmadd_ps(_mm512_loadu_ps(x + i), k, _mm512_loadu_ps(u + i));
        const __m512i z = _mm512_cvt_roundps_epi32(v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
        sum = _mm512_add_epi32(sum, z);
        _mm_storeu_si128((__m128i *)(void *)(q + i), _mm512_cvtepi32_epi8(z));
    }
    return _mm512_reduce_add_epi32(sum);
}

static inline __m512i four(const int8_t *x)
{
    int32_t v;
    memcpy(&v, x, sizeof v);
    return _mm512_set1_epi32(v);
}

/* sum[2 j + h] = start_j + w.x of row j with 16 features h of the panel. Named variables: an array here is spilled by gcc 12. */
#define EACH(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7)
#define BEGIN(j) __m512i a##j = _mm512_set1_epi32(start[j]), b##j = a##j;
#define STEP(j) { const __m512i v = four(x + 4 * j); a##j = _mm512_dpbusd_epi32(a##j, w0, v); b##j = _mm512_dpbusd_epi32(b##j, w1, v); }
#define END(j) sum[2 * j] = a##j, sum[2 * j + 1] = b##j;
static inline void dot_panel(__m512i sum[2 * G], const uint8_t *w, const int8_t *x, const int32_t *start, int64_t d)
{
    EACH(BEGIN)
    for (int64_t i = 0; i < d; i += 4, w += P * 4, x += G * 4) {
        const __m512i w0 = _mm512_loadu_si512(w), w1 = _mm512_loadu_si512(w + 64);
        EACH(STEP)
    }
    EACH(END)
}

/* A part of the next panel on its way to L2 while this one is multiplied. */
static inline void fetch(const uint8_t *next, int64_t part, int64_t n_part, int64_t bytes)
{
    for (int64_t i = part * 64; i < bytes; i += n_part * 64) _mm_prefetch((const char *)next + i, _MM_HINT_T0);
}

static void score_avx512(float *s, const sd_scan8_in *in)
{
    for (int64_t f = 0; f < in->n_feat; f += P) {
        const sd_scan8_panel p = sd_scan8__panel(in, f);
        for (int64_t t = 0; t < in->n_row; t += G) {
            __m512i a[2 * G];
            dot_panel(a, in->w + f * in->d, in->x + t * in->d, in->start + t, in->d);
            for (int j = 0; j < G; j++) sd_scan8__store(s + f, in, &p, t + j, a[2 * j], a[2 * j + 1]);
        }
    }
}

static void scan_avx512(sd_scan8_out *out, const sd_scan8_in *in, int32_t first)
{
    for (int64_t f = 0; f < in->n_feat; f += P)
        for (int64_t t = 0; t < in->n_row; t += G) {
            __m512i a[2 * G];
            if (f + P < in->n_feat) fetch(in->w + (f + P) * in->d, t / G, in->n_row / G, P * in->d);
            dot_panel(a, in->w + f * in->d, in->x + t * in->d, in->start + t, in->d);
            const sd_scan8_panel p = sd_scan8__panel(in, f);
            for (int j = 0; j < G; j++) sd_scan8__compare(out, in, &p, t + j, a[2 * j], a[2 * j + 1], first + (int32_t)f);
        }
}

const sd_kern_scan8 sd_kern_scan8_avx512 = {sd_scan8_rotate_avx512, sd_scan8_round_avx512, score_avx512, scan_avx512, G, G, 127, 128, 0};
