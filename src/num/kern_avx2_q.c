/* AVX2 for the quantised tile: 8 outputs a register, 4 rows a pass, one group of 8 outputs after the other.
 * Values below 16: maddubs gives pairs of at most 2 x 15 x 127 = 3810, and eight of those stay below 32,768, so a block
 * is summed in 16 bits. Bytes of Q8_0: maddubs(|w|, sign(a, w)) is at most 2 x 128 x 127 = 32,512: no saturation;
 * widened at once. */
#include "num/kern.h"
#include <float.h>
#include <immintrin.h>
#include <math.h>
#include <string.h>

#define UNROLLED static inline __attribute__((always_inline)) /* sizes are constants at every call */

UNROLLED __m256i word_at(const int8_t *q)
{
    int32_t v;
    memcpy(&v, q, 4);
    return _mm256_set1_epi32(v);
}

UNROLLED __m256i load(const uint8_t *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}
UNROLLED __m256 halves_at(const uint8_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}

/* Integer sums of one block for mr rows and the 8 outputs whose lines begin at v. Lines are 64 bytes apart. */
UNROLLED void block_small(__m256i s[], const uint8_t *v, const int8_t *q, int64_t ldq, const int mr, const bool nibbles)
{
    const __m256i low = _mm256_set1_epi8(15), one = _mm256_set1_epi16(1);
    for (int i = 0; i < mr; i++) s[i] = _mm256_setzero_si256();
    for (int l = 0; l < 4; l++) {
        const __m256i p = load(v + 64 * l);
        const __m256i lo = nibbles ? _mm256_and_si256(p, low) : p;
        const __m256i hi = nibbles ? _mm256_and_si256(_mm256_srli_epi16(p, 4), low) : load(v + 256 + 64 * l);
        for (int i = 0; i < mr; i++) {
            const __m256i a = word_at(q + i * ldq + 4 * l), b = word_at(q + i * ldq + 16 + 4 * l);
            s[i] = _mm256_add_epi16(s[i], _mm256_add_epi16(_mm256_maddubs_epi16(lo, a), _mm256_maddubs_epi16(hi, b)));
        }
    }
    for (int i = 0; i < mr; i++) s[i] = _mm256_madd_epi16(s[i], one);
}

UNROLLED void block_signed(__m256i s[], const uint8_t *v, const int8_t *q, int64_t ldq, const int mr)
{
    const __m256i flip = _mm256_set1_epi8((char)0x80), one = _mm256_set1_epi16(1);
    for (int i = 0; i < mr; i++) s[i] = _mm256_setzero_si256();
    for (int l = 0; l < 8; l++) {
        const __m256i w = _mm256_xor_si256(load(v + 64 * l), flip), mag = _mm256_abs_epi8(w);
        for (int i = 0; i < mr; i++) {
            const __m256i a = _mm256_sign_epi8(word_at(q + i * ldq + 4 * l), w);
            s[i] = _mm256_add_epi32(s[i], _mm256_madd_epi16(_mm256_maddubs_epi16(mag, a), one));
        }
    }
}

/* Outputs 8g..8g+7 of the panel. */
UNROLLED void q8_rows(const sd_qtile *t, int64_t row, int g, const int mr, const sd_qkind kind, const bool nibbles)
{
    float *y = t->y + row * t->ldy + 8 * g;
    const int8_t *q = t->q + row * t->ldq;
    const sd_qact *act = t->act + row * t->ld_act;
    const uint8_t *v = t->values + (nibbles ? 256 : 512) * (g >> 1) + 32 * (g & 1), *sc = t->scales + 16 * g;
    __m256 f[4];
    for (int i = 0; i < mr; i++) f[i] = t->carry ? _mm256_loadu_ps(y + i * t->ldy) : _mm256_setzero_ps();
    for (int64_t b = 0; b < t->n_block; b++, q += SD_QBLOCK, act++, v += t->value_step, sc += t->scale_step) {
        __m256i s[4];
        const __m256 dw = halves_at(sc), mw = kind == SD_QKIND_4_1 ? halves_at(sc + SD_QSCALE_BYTES) : dw;
        if (kind == SD_QKIND_8_0)
            block_signed(s, v, q, t->ldq, mr);
        else
            block_small(s, v, q, t->ldq, mr, nibbles);
        for (int i = 0; i < mr; i++) {
            const sd_qact *a = &act[i * t->ld_act];
            if (kind == SD_QKIND_4_0) s[i] = _mm256_add_epi32(s[i], _mm256_set1_epi32(8 * a->nsum));
            f[i] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(s[i]), _mm256_mul_ps(dw, _mm256_set1_ps(a->d)), f[i]);
            if (kind == SD_QKIND_4_1) f[i] = _mm256_fmadd_ps(mw, _mm256_set1_ps(a->ds), f[i]);
        }
    }
    for (int i = 0; i < mr; i++) _mm256_storeu_ps(y + i * t->ldy, f[i]);
}

UNROLLED void q8_all(const sd_qtile *t, const sd_qkind kind, const bool nibbles)
{
    for (int g = 0; g < SD_PANEL / 8; g++) {
        int64_t r = 0;
        for (; r + 4 <= t->m; r += 4) q8_rows(t, r, g, 4, kind, nibbles);
        switch (t->m - r) {
        case 3:
            q8_rows(t, r, g, 3, kind, nibbles);
            break;
        case 2:
            q8_rows(t, r, g, 2, kind, nibbles);
            break;
        case 1:
            q8_rows(t, r, g, 1, kind, nibbles);
            break;
        default:
            break;
        }
    }
}

static void q4_0_nibbles(const sd_qtile *t)
{
    q8_all(t, SD_QKIND_4_0, true);
}
static void q4_1_nibbles(const sd_qtile *t)
{
    q8_all(t, SD_QKIND_4_1, true);
}
static void q4_0_bytes(const sd_qtile *t)
{
    q8_all(t, SD_QKIND_4_0, false);
}
static void q4_1_bytes(const sd_qtile *t)
{
    q8_all(t, SD_QKIND_4_1, false);
}
static void q8_0_bytes(const sd_qtile *t)
{
    q8_all(t, SD_QKIND_8_0, false);
}

static void tile_q8_avx2(const sd_qtile *t)
{
    switch (t->kind) {
    case SD_QKIND_4_0:
        t->nibbles ? q4_0_nibbles(t) : q4_0_bytes(t);
        break;
    case SD_QKIND_4_1:
        t->nibbles ? q4_1_nibbles(t) : q4_1_bytes(t);
        break;
    case SD_QKIND_8_0:
        q8_0_bytes(t);
        break;
    }
}

static void unpack_q4_avx2(uint8_t *dst, const uint8_t *values, int64_t value_step, int64_t n_block)
{
    const __m256i low = _mm256_set1_epi8(15);
    for (int64_t b = 0; b < n_block; b++, values += value_step, dst += SD_QBYTE_BYTES)
        for (int i = 0; i < 512; i += 32) {
            uint8_t *d = dst + (i & 256) + i; /* a group of 256 bytes becomes 512 */
            const __m256i p = load(values + i);
            _mm256_storeu_si256((__m256i *)(void *)d, _mm256_and_si256(p, low));
            _mm256_storeu_si256((__m256i *)(void *)(d + 256), _mm256_and_si256(_mm256_srli_epi16(p, 4), low));
        }
}

static uint32_t top_of(__m256i a)
{
    __m128i m = _mm_max_epu32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0x4e));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(m);
}

static void quantise_avx2(int8_t *q, sd_qact *act, const float *x, int64_t n_block)
{
    const __m256i mag = _mm256_set1_epi32(0x7fffffff), order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    for (int64_t b = 0; b < n_block; b++, q += SD_QBLOCK, x += SD_QBLOCK) {
        __m256i v[4], m = _mm256_setzero_si256();
        /* As integers magnitudes are in order, and NaN and infinity stand above all numbers. */
        for (int i = 0; i < 4; i++)
            m = _mm256_max_epu32(m, _mm256_and_si256(_mm256_castps_si256(_mm256_loadu_ps(x + 8 * i)), mag));
        const union {
            uint32_t u;
            float f;
        } top = {top_of(m)};
        const bool finite = top.u < 0x7f800000u;
        const float d = finite ? top.f / 127.0f : 0.0f;
        const bool live = d >= FLT_MIN; /* below, 1/d overflows */
        const __m256 inv = _mm256_set1_ps(live ? 1.0f / d : 0.0f);
        for (int i = 0; i < 4; i++)
            v[i] = live ? _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), inv)) : _mm256_setzero_si256();
        /* The packs work within 128-bit halves; `order` puts the words back in sequence. */
        const __m256i p = _mm256_packs_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3]));
        _mm256_storeu_si256((__m256i *)(void *)q, _mm256_permutevar8x32_epi32(p, order));
        int sum = 0;
        for (int i = 0; i < SD_QBLOCK; i++) sum += q[i];
        act[b].d = live ? d : finite ? 0.0f : NAN;
        act[b].ds = act[b].d * (float)sum;
        act[b].nsum = -sum;
    }
}

void sd_kern_fill_avx2_q(sd_kern *k)
{
    k->tile_q8 = tile_q8_avx2;
    k->unpack_q4 = unpack_q4_avx2;
    k->quantise = quantise_avx2;
}
