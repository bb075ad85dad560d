/* AVX2 of the int8 scan. VPMADDUBSW multiplies 32 places an instruction and adds neighbours in 16 bits, with saturation; adding up to 32
 * bits at once would cost as much again. So sums of 64 places stay in 16 bits, and that they are right is a matter of what the numbers
 * may be (`most`, `longest`):
 *   a pair         (w + 90) x + (w' + 90) x' <= 2 * 180 * 90 = 32,400: VPMADDUBSW never saturates
 *   64 places      are two sums of 32, and |sum w x| <= |w| |x| <= 181^2 = 32,761 (Cauchy-Schwarz): what wraps around on the way, the 90
 *                  among it, has come back at the end
 * 4 rows x 16 features are summed in 8 registers. 52 multiply-adds a cycle are what Zen 3 does from registers (16 with f32): two
 * instructions for 32 of them, and the adds take turns from the multiplier's ports. */
#include "num/kern_scan8.h"
#include "num/kern_avx2_vec.h"
#include <immintrin.h>
#include <string.h>

enum { G = 4, P = SD_SCAN8_PANEL, HALF = P / 2, MOST = 90, ROTATE = SD_SCAN8_ROTATE };

/* Stages 4, 2, 1 of the rotation: y = swapped + x where the bit is 0, swapped - x where it is 1. */
static inline __m256 within(__m256 x)
{
    __m256 o = _mm256_permute2f128_ps(x, x, 1);
    x = _mm256_blend_ps(_mm256_add_ps(x, o), _mm256_sub_ps(o, x), 0xf0);
    o = _mm256_permute_ps(x, 0x4e);
    x = _mm256_blend_ps(_mm256_add_ps(x, o), _mm256_sub_ps(o, x), 0xcc);
    o = _mm256_permute_ps(x, 0xb1);
    return _mm256_blend_ps(_mm256_add_ps(x, o), _mm256_sub_ps(o, x), 0xaa);
}

static float rotate_avx2(float *y, const float *x, int64_t d, int64_t n)
{
    const __m256 eighth = _mm256_set1_ps(0.125f), sign = _mm256_set1_ps(-0.0f);
    __m256 top = _mm256_setzero_ps();
    for (int64_t i = 0; i < n; i += ROTATE) {
        __m256 v[8];
        for (int j = 0; j < 8; j++) v[j] = d - i >= ROTATE ? _mm256_loadu_ps(x + i + 8 * j) : _mm256_maskload_ps(x + i + 8 * j, live8(d - i - 8 * j));
        for (int h = 4; h > 0; h /= 2)
            for (int j = 0; j < 8; j++) {
                if (j & h) continue;
                const __m256 a = v[j], b = v[j + h];
                v[j] = _mm256_add_ps(a, b);
                v[j + h] = _mm256_sub_ps(a, b);
            }
        for (int j = 0; j < 8; j++) {
            v[j] = _mm256_mul_ps(within(v[j]), eighth);
            top = _mm256_max_ps(top, _mm256_andnot_ps(sign, v[j]));
            _mm256_storeu_ps(y + i + 8 * j, v[j]);
        }
    }
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(top), _mm256_extractf128_ps(top, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

static inline __m256i rounded(const float *x, const float *u, __m256 inverse)
{
    return _mm256_cvtps_epi32(_mm256_floor_ps(_mm256_fmadd_ps(_mm256_loadu_ps(x), inverse, _mm256_loadu_ps(u))));
}

static inline int32_t total(__m256i s)
{
    __m128i t = _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
    t = _mm_add_epi32(t, _mm_shuffle_epi32(t, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(t, _mm_shuffle_epi32(t, 0xb1)));
}

static int32_t round_avx2(int8_t *q, const float *x, const float *u, float inverse, int64_t n)
{
    const __m256 k = _mm256_set1_ps(inverse);
    const __m256i in_order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7); /* what two packs within halves leave */
    __m256i sum = _mm256_setzero_si256();
    for (int64_t i = 0; i < n; i += 32) {
        const __m256i a = rounded(x + i, u + i, k), b = rounded(x + i + 8, u + i + 8, k), c = rounded(x + i + 16, u + i + 16, k), e = rounded(x + i + 24, u + i + 24, k);
        const __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, e));
        sum = _mm256_add_epi32(sum, _mm256_add_epi32(_mm256_add_epi32(a, b), _mm256_add_epi32(c, e)));
        _mm256_storeu_si256((__m256i *)(void *)(q + i), _mm256_permutevar8x32_epi32(bytes, in_order));
    }
    return total(sum);
}

static inline __m256i four(const int8_t *x)
{
    int32_t v;
    memcpy(&v, x, sizeof v);
    return _mm256_set1_epi32(v);
}

/* Rows j and k in one step: four products, then four sums. Without the barriers gcc moves all products of the 16 steps to the front and spills
 * them, which costs half the speed. */
#define BEGIN(j) __m256i a##j = _mm256_set1_epi32(lift[j]), b##j = a##j;
#define STEP(j, k) { \
    const __m256i v = four(x + 4 * j), u = four(x + 4 * k); \
    __m256i p = _mm256_maddubs_epi16(w0, v), q = _mm256_maddubs_epi16(w1, v), r = _mm256_maddubs_epi16(w0, u), s = _mm256_maddubs_epi16(w1, u); \
    __asm__ volatile("" : "+x"(p), "+x"(q), "+x"(r), "+x"(s)); \
    a##j = _mm256_add_epi16(a##j, p), b##j = _mm256_add_epi16(b##j, q), a##k = _mm256_add_epi16(a##k, r), b##k = _mm256_add_epi16(b##k, s); \
    __asm__ volatile("" : "+x"(a##j), "+x"(b##j), "+x"(a##k), "+x"(b##k)); \
}
#define END(j) \
    sum[2 * j] = _mm256_add_epi32(sum[2 * j], _mm256_madd_epi16(a##j, one)); \
    sum[2 * j + 1] = _mm256_add_epi32(sum[2 * j + 1], _mm256_madd_epi16(b##j, one));

/* sum[2 j + h] = w.x of row j with 8 features h of the half of a panel that begins at w. */
static inline void dot_half(__m256i sum[2 * G], const uint8_t *w, const int8_t *x, const int32_t *lift, int64_t d)
{
    const __m256i one = _mm256_set1_epi16(1);
    for (int j = 0; j < 2 * G; j++) sum[j] = _mm256_setzero_si256();
    for (int64_t i = 0; i < d; i += ROTATE, lift += G) {
        BEGIN(0) BEGIN(1) BEGIN(2) BEGIN(3)
#pragma GCC unroll 16
        for (int n = 0; n < ROTATE / 4; n++, w += P * 4, x += G * 4) {
            const __m256i w0 = _mm256_loadu_si256((const __m256i *)(const void *)w), w1 = _mm256_loadu_si256((const __m256i *)(const void *)(w + 32));
            STEP(0, 1)
            STEP(2, 3)
        }
        END(0) END(1) END(2) END(3)
    }
}

/* Of eight features. */
typedef struct eight { __m256 scale, b, r; } eight;

static inline eight eight_of(const sd_scan8_in *in, int64_t f) { return (eight){_mm256_loadu_ps(in->scale + f), _mm256_loadu_ps(in->b + f), _mm256_loadu_ps(in->r + f)}; }

static inline __m256 scored(__m256i sum, __m256 scale, float unit) { return _mm256_mul_ps(_mm256_set1_ps(unit), _mm256_mul_ps(_mm256_cvtepi32_ps(sum), scale)); }

static inline __m256 upper(const sd_scan8_in *in, const eight *e, int64_t t, __m256i sum)
{
    return _mm256_fmadd_ps(_mm256_set1_ps(in->c[t]), e->r, _mm256_add_ps(scored(sum, e->scale, in->unit[t]), e->b));
}

static void keep(sd_scan8_out *o, const __m256 up[2], unsigned hit, int32_t first)
{
    float u[16];
    _mm256_storeu_ps(u, up[0]);
    _mm256_storeu_ps(u + 8, up[1]);
    for (; hit; hit &= hit - 1) {
        const int j = __builtin_ctz(hit);
        o->idx[o->n] = first + j;
        o->up[o->n++] = u[j];
    }
}

static inline void compare(sd_scan8_out *out, const sd_scan8_in *in, const eight e[2], int64_t t, const __m256i sum[2], int32_t first)
{
    const __m256 cut = _mm256_set1_ps(in->cut[t]), up[2] = {upper(in, &e[0], t, sum[0]), upper(in, &e[1], t, sum[1])};
    const __m256 lo = _mm256_cmp_ps(up[0], cut, _CMP_NLT_UQ), hi = _mm256_cmp_ps(up[1], cut, _CMP_NLT_UQ);
    if (__builtin_expect(_mm256_testz_ps(_mm256_or_ps(lo, hi), _mm256_or_ps(lo, hi)), 1)) return;
    keep(&out[t], up, (unsigned)_mm256_movemask_ps(lo) | (unsigned)_mm256_movemask_ps(hi) << 8, first);
}

/* A part of the next panel on its way while this one is multiplied. */
static inline void fetch(const uint8_t *next, int64_t part, int64_t n_part, int64_t bytes)
{
    for (int64_t i = part * 64; i < bytes; i += n_part * 64) _mm_prefetch((const char *)next + i, _MM_HINT_T0);
}

static void score_avx2(float *s, const sd_scan8_in *in)
{
    for (int64_t f = 0; f < in->n_feat; f += HALF) {
        const eight e[2] = {eight_of(in, f), eight_of(in, f + 8)};
        const uint8_t *w = in->w + f / P * P * in->d + f % P * 4;
        for (int64_t t = 0; t < in->n_row; t += G) {
            __m256i a[2 * G];
            dot_half(a, w, in->x + t * in->d, in->lift + t * (in->d / ROTATE), in->d);
            for (int j = 0; j < 2 * G; j++) _mm256_storeu_ps(s + (t + j / 2) * in->n_feat + f + 8 * (j & 1), scored(a[j], e[j & 1].scale, in->unit[t + j / 2]));
        }
    }
}

static void scan_avx2(sd_scan8_out *out, const sd_scan8_in *in, int32_t first)
{
    for (int64_t f = 0; f < in->n_feat; f += P)
        for (int64_t t = 0; t < in->n_row; t += G) {
            const uint8_t *w = in->w + f * in->d;
            if (f + P < in->n_feat) fetch(w + P * in->d, t / G, in->n_row / G, P * in->d);
            for (int h = 0; h < P; h += HALF) {
                __m256i a[2 * G];
                dot_half(a, w + 4 * h, in->x + t * in->d, in->lift + t * (in->d / ROTATE), in->d);
                const eight e[2] = {eight_of(in, f + h), eight_of(in, f + h + 8)};
                for (int j = 0; j < G; j++) compare(out, in, e, t + j, a + 2 * j, first + (int32_t)(f + h));
            }
        }
}

const sd_kern_scan8 sd_kern_scan8_avx2 = {rotate_avx2, round_avx2, score_avx2, scan_avx2, G, G, MOST, MOST, 181};
