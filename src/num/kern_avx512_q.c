/* AVX-512 VNNI and BF16. A tile of 6 rows x 32 outputs keeps 12 integer and 12 float sums in registers and loads each
 * activation word once for two lines of weights: half a load a product, so that the two load ports do not bind.
 * The nibble form takes up to 4 rows and splits each line in two as it comes; with more rows the caller unpacks once.
 */
#include "num/kern.h"
#include <float.h>
#include <immintrin.h>
#include <math.h>
#include <string.h>

#define UNROLLED static inline __attribute__((always_inline)) /* sizes are constants at every call */

UNROLLED __m512i word_at(const int8_t *q)
{
    int32_t v;
    memcpy(&v, q, 4);
    return _mm512_set1_epi32(v);
}

UNROLLED __m512 halves_at(const uint8_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

/* One block's integer sums s[mr][2], from bytes or from nibbles. */
UNROLLED void block_bytes(__m512i s[][2], const uint8_t *v, const int8_t *q, int64_t ldq, const int mr)
{
    for (int l = 0; l < 8; l++) {
        const __m512i w0 = _mm512_loadu_si512(v + 64 * l), w1 = _mm512_loadu_si512(v + 512 + 64 * l);
        for (int i = 0; i < mr; i++) {
            const __m512i a = word_at(q + i * ldq + 4 * l);
            s[i][0] = _mm512_dpbusd_epi32(s[i][0], w0, a);
            s[i][1] = _mm512_dpbusd_epi32(s[i][1], w1, a);
        }
    }
}

UNROLLED void block_nibbles(__m512i s[][2], const uint8_t *v, const int8_t *q, int64_t ldq, const int mr)
{
    const __m512i low = _mm512_set1_epi8(15);
    for (int l = 0; l < 4; l++) {
        const __m512i p0 = _mm512_loadu_si512(v + 64 * l), p1 = _mm512_loadu_si512(v + 256 + 64 * l);
        const __m512i l0 = _mm512_and_si512(p0, low), h0 = _mm512_and_si512(_mm512_srli_epi16(p0, 4), low);
        const __m512i l1 = _mm512_and_si512(p1, low), h1 = _mm512_and_si512(_mm512_srli_epi16(p1, 4), low);
        for (int i = 0; i < mr; i++) {
            const __m512i a = word_at(q + i * ldq + 4 * l), b = word_at(q + i * ldq + 16 + 4 * l);
            s[i][0] = _mm512_dpbusd_epi32(s[i][0], l0, a);
            s[i][1] = _mm512_dpbusd_epi32(s[i][1], l1, a);
            s[i][0] = _mm512_dpbusd_epi32(s[i][0], h0, b);
            s[i][1] = _mm512_dpbusd_epi32(s[i][1], h1, b);
        }
    }
}

UNROLLED void q8_rows(const sd_qtile *t, int64_t row, const int mr, const sd_qkind kind, const bool nibbles)
{
    float *y = t->y + row * t->ldy;
    const int8_t *q = t->q + row * t->ldq;
    const sd_qact *act = t->act + row * t->ld_act;
    const uint8_t *v = t->values, *sc = t->scales;
    __m512 f[6][2];
    for (int i = 0; i < mr; i++)
        for (int j = 0; j < 2; j++) f[i][j] = t->carry ? _mm512_loadu_ps(y + i * t->ldy + 16 * j) : _mm512_setzero_ps();
    for (int64_t b = 0; b < t->n_block; b++, q += SD_QBLOCK, act++, v += t->value_step, sc += t->scale_step) {
        __m512i s[6][2];
        for (int i = 0; i < mr; i++) {
            const __m512i n = _mm512_set1_epi32(act[i * t->ld_act].nsum);
            s[i][0] = s[i][1] = kind == SD_QKIND_4_0   ? _mm512_slli_epi32(n, 3)
                                : kind == SD_QKIND_8_0 ? _mm512_slli_epi32(n, 7)
                                                       : _mm512_setzero_si512();
        }
        if (nibbles)
            block_nibbles(s, v, q, t->ldq, mr);
        else
            block_bytes(s, v, q, t->ldq, mr);
        for (int j = 0; j < 2; j++) {
            const __m512 dw = halves_at(sc + 32 * j);
            for (int i = 0; i < mr; i++) {
                const sd_qact *a = &act[i * t->ld_act];
                f[i][j] =
                    _mm512_fmadd_ps(_mm512_cvtepi32_ps(s[i][j]), _mm512_mul_ps(dw, _mm512_set1_ps(a->d)), f[i][j]);
            }
            if (kind != SD_QKIND_4_1) continue;
            const __m512 mw = halves_at(sc + SD_QSCALE_BYTES + 32 * j);
            for (int i = 0; i < mr; i++) f[i][j] = _mm512_fmadd_ps(mw, _mm512_set1_ps(act[i * t->ld_act].ds), f[i][j]);
        }
    }
    for (int i = 0; i < mr; i++)
        for (int j = 0; j < 2; j++) _mm512_storeu_ps(y + i * t->ldy + 16 * j, f[i][j]);
}

UNROLLED void q8_all(const sd_qtile *t, const sd_qkind kind, const bool nibbles)
{
    int64_t r = 0;
    if (!nibbles)
        for (; r + 6 <= t->m; r += 6) q8_rows(t, r, 6, kind, false);
    for (; r + 4 <= t->m; r += 4) q8_rows(t, r, 4, kind, nibbles);
    switch (t->m - r) {
    case 3:
        q8_rows(t, r, 3, kind, nibbles);
        break;
    case 2:
        q8_rows(t, r, 2, kind, nibbles);
        break;
    case 1:
        q8_rows(t, r, 1, kind, nibbles);
        break;
    default:
        break;
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

static void tile_q8_avx512(const sd_qtile *t)
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

static void unpack_q4_avx512(uint8_t *dst, const uint8_t *values, int64_t value_step, int64_t n_block)
{
    const __m512i low = _mm512_set1_epi8(15);
    for (int64_t b = 0; b < n_block; b++, values += value_step, dst += SD_QBYTE_BYTES)
        for (int g = 0; g < 2; g++)
            for (int l = 0; l < 4; l++) {
                const __m512i p = _mm512_loadu_si512(values + 256 * g + 64 * l);
                _mm512_storeu_si512(dst + 512 * g + 64 * l, _mm512_and_si512(p, low));
                _mm512_storeu_si512(dst + 512 * g + 256 + 64 * l, _mm512_and_si512(_mm512_srli_epi16(p, 4), low));
            }
}

static void quantise_avx512(int8_t *q, sd_qact *act, const float *x, int64_t n_block)
{
    const __m512i mag = _mm512_set1_epi32(0x7fffffff);
    for (int64_t b = 0; b < n_block; b++, q += SD_QBLOCK, x += SD_QBLOCK) {
        const __m512 x0 = _mm512_loadu_ps(x), x1 = _mm512_loadu_ps(x + 16);
        const __m512i a0 = _mm512_and_si512(_mm512_castps_si512(x0), mag),
                      a1 = _mm512_and_si512(_mm512_castps_si512(x1), mag);
        /* As integers magnitudes are in order, and NaN and infinity stand above all numbers. */
        union {
            uint32_t u;
            float f;
        } top = {_mm512_reduce_max_epu32(_mm512_max_epu32(a0, a1))};
        const bool finite = top.u < 0x7f800000u;
        const float d = finite ? top.f / 127.0f : 0.0f;
        const bool live = d >= FLT_MIN; /* below, 1/d overflows */
        const __m512 inv = _mm512_set1_ps(live ? 1.0f / d : 0.0f);
        __m512i i0 = _mm512_setzero_si512(), i1 = i0;
        if (live) {
            i0 = _mm512_cvtps_epi32(_mm512_mul_ps(x0, inv));
            i1 = _mm512_cvtps_epi32(_mm512_mul_ps(x1, inv));
        }
        const int sum = _mm512_reduce_add_epi32(_mm512_add_epi32(i0, i1));
        _mm_storeu_si128((__m128i *)(void *)q, _mm512_cvtepi32_epi8(i0));
        _mm_storeu_si128((__m128i *)(void *)(q + 16), _mm512_cvtepi32_epi8(i1));
        act[b].d = live ? d : finite ? 0.0f : NAN;
        act[b].ds = act[b].d * (float)sum;
        act[b].nsum = -sum;
    }
}

UNROLLED __m512bh pair_at(const uint16_t *x)
{
    int32_t v;
    memcpy(&v, x, 4);
    return (__m512bh)_mm512_set1_epi32(v);
}

UNROLLED void bf16_rows(const sd_tile *t, int64_t row, const int mr)
{
    float *y = t->y + row * t->ldy;
    const uint16_t *x = (const uint16_t *)t->x + row * t->ldx, *w = t->w;
    __m512 s[12][2];
    for (int i = 0; i < mr; i++)
        for (int j = 0; j < 2; j++) s[i][j] = t->carry ? _mm512_loadu_ps(y + i * t->ldy + 16 * j) : _mm512_setzero_ps();
    for (int64_t p = 0; p < t->k; p += 2, w += 2 * SD_PANEL) {
        const __m512bh w0 = (__m512bh)_mm512_loadu_si512(w), w1 = (__m512bh)_mm512_loadu_si512(w + SD_PANEL);
        for (int i = 0; i < mr; i++) {
            const __m512bh a = pair_at(x + i * t->ldx + p);
            s[i][0] = _mm512_dpbf16_ps(s[i][0], w0, a);
            s[i][1] = _mm512_dpbf16_ps(s[i][1], w1, a);
        }
    }
    for (int i = 0; i < mr; i++)
        for (int j = 0; j < 2; j++) _mm512_storeu_ps(y + i * t->ldy + 16 * j, s[i][j]);
}

static void tile_bf16_avx512(const sd_tile *t)
{
    int64_t r = 0;
    for (; r + 12 <= t->m; r += 12) bf16_rows(t, r, 12);
    for (; r + 6 <= t->m; r += 6) bf16_rows(t, r, 6);
    switch (t->m - r) {
    case 5:
        bf16_rows(t, r, 5);
        break;
    case 4:
        bf16_rows(t, r, 4);
        break;
    case 3:
        bf16_rows(t, r, 3);
        break;
    case 2:
        bf16_rows(t, r, 2);
        break;
    case 1:
        bf16_rows(t, r, 1);
        break;
    default:
        break;
    }
}

static void to_bf16_avx512(uint16_t *dst, const float *src, int64_t n)
{
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 m = (__mmask16)(n - i < 16 ? (1u << (n - i)) - 1 : 0xffffu);
        const __m256i h = (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(m, src + i));
        _mm256_mask_storeu_epi16(dst + i, m, h);
    }
}

void sd_kern_fill_avx512_q(sd_kern *k, uint32_t cpu_flags)
{
    k->quantise = quantise_avx512;
    k->unpack_q4 = unpack_q4_avx512;
    if (cpu_flags & SD_CPU_AVX512_VNNI) k->tile_q8 = tile_q8_avx512;
    if (cpu_flags & SD_CPU_AVX512_BF16) {
        k->tile_bf16 = tile_bf16_avx512;
        k->to_bf16 = to_bf16_avx512;
    }
}
