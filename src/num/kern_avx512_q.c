/* AVX-512 VNNI and BF16. A tile of 6 rows x 32 outputs keeps 12 integer and 12 float sums in registers and loads each
 * activation word once for two lines of weights: half a load a product, so that the two load ports do not bind.
 * The packed form takes up to 4 rows and unpacks each line as it comes; with more rows the caller unpacks once. */
#include "num/kern.h"
#include "num/kern_avx512_widen.h"
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

UNROLLED __mmask64 bits_at(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return _cvtu64_mask64(v);
}

UNROLLED __m512 halves_at(const uint8_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

/* Counts are constants after inlining, but not yet where the compiler wants immediates. */
UNROLLED __m512i down(__m512i v, int n)
{
    return _mm512_srl_epi16(v, _mm_cvtsi32_si128(n));
}

/* Line l (0..7) of group g of a packed block: 64 unsigned bytes. */
UNROLLED __m512i line_at(const uint8_t *v, const sd_qform f, const int g, const int l)
{
    static const uint8_t book[64] __attribute__((aligned(64))) = {SD_QBOOK, SD_QBOOK, SD_QBOOK, SD_QBOOK};
    if (f.bits == 8) return _mm512_loadu_si512(v + 512 * g + 64 * l);
    if (f.bits < 4) {
        const __m512i p = _mm512_loadu_si512(v + 128 * g + 64 * (l & 1));
        const __m512i low = _mm512_and_si512(down(p, 2 * (l >> 1)), _mm512_set1_epi8(3));
        if (f.bits == 2) return low;
        return _mm512_mask_add_epi8(low, bits_at(v + 256 + 64 * g + 8 * l), low, _mm512_set1_epi8(4));
    }
    const __m512i p = _mm512_loadu_si512(v + 256 * g + 64 * (l & 3));
    const __m512i low = _mm512_and_si512(l < 4 ? p : _mm512_srli_epi16(p, 4), _mm512_set1_epi8(15));
    if (f.book) return _mm512_shuffle_epi8(_mm512_load_si512(book), low);
    if (f.bits == 5)
        return _mm512_mask_add_epi8(low, bits_at(v + 512 + 64 * g + 8 * l), low, _mm512_set1_epi8(16));
    if (f.bits == 6) {
        const __m512i t = _mm512_loadu_si512(v + 512 + 128 * g + 64 * (l & 1));
        const __m512i top = l < 4 ? _mm512_sll_epi16(t, _mm_cvtsi32_si128(4 - 2 * (l >> 1))) : down(t, 2 * (l >> 1) - 4);
        return _mm512_ternarylogic_epi32(low, top, _mm512_set1_epi8(0x30), 0xf8); /* low | (top & 0x30) */
    }
    return low;
}

/* Scales of 16 outputs (group j), half h, of block b of the super at p; of d or of dm (min). */
UNROLLED __m512 scale_at(const uint8_t *p, const sd_qform f, int b, const int h, const int j, const bool min)
{
    const __m512 d = halves_at(p + (min ? 2 * SD_PANEL : 0) + 32 * j);
    const uint8_t *sub = p + (f.min ? 4 : 2) * SD_PANEL + b * f.subs * SD_PANEL + 16 * j;
    if (f.subs == 0) return d;
    if (!f.min) {
        const __m128i c = _mm_loadu_si128((const __m128i *)(const void *)(sub + h * SD_PANEL));
        return _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(c)));
    }
    const int row = f.bits == 2 ? h : min ? 1 : 0;
    __m512i c = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(sub + row * SD_PANEL)));
    if (f.bits == 2) c = min ? _mm512_srli_epi32(c, 4) : _mm512_and_si512(c, _mm512_set1_epi32(15));
    return _mm512_mul_ps(d, _mm512_cvtepi32_ps(c));
}

/* -sum of the activations that a sum runs over. */
UNROLLED int32_t negated(const sd_qact *a, const bool halves, const int h)
{
    return !halves ? a->nsum : h == 0 ? a->nlow : a->nsum - a->nlow;
}

/* A form and which half of a block (0 where a block is one). */
typedef struct part {
    sd_qform f;
    int h;
} part;

/* y += what the integer sums s of a part are worth; sc: scales of the two groups of outputs, then their minima. */
UNROLLED void add_block(__m512 y[][2], __m512i s[][2], const sd_qact *act, int64_t ld_act, const part p, const int mr,
                        const __m512 sc[4])
{
    for (int i = 0; i < mr; i++) {
        const sd_qact *a = &act[i * ld_act];
        const __m512 d = _mm512_set1_ps(a->d);
        const __m512 ds = p.f.min ? _mm512_set1_ps(p.f.halves ? a->d * (float)-negated(a, true, p.h) : a->ds) : d;
        for (int j = 0; j < 2; j++) {
            y[i][j] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(s[i][j]), _mm512_mul_ps(sc[j], d), y[i][j]);
            if (p.f.min) y[i][j] = _mm512_fmadd_ps(sc[2 + j], ds, y[i][j]);
        }
    }
}

UNROLLED void start_sums(__m512i s[][2], const sd_qact *act, int64_t ld_act, const sd_qform f, const int h,
                         const int mr, const __m128i log2_zero)
{
    for (int i = 0; i < mr; i++)
        s[i][0] = s[i][1] =
            f.min ? _mm512_setzero_si512()
                  : _mm512_sll_epi32(_mm512_set1_epi32(negated(&act[i * ld_act], f.halves, h)), log2_zero);
}

UNROLLED void load_y(__m512 f[][2], const sd_qtile *t, int64_t row, const int mr)
{
    const float *y = t->y + row * t->ldy;
    for (int i = 0; i < mr; i++)
        for (int j = 0; j < 2; j++) f[i][j] = t->carry ? _mm512_loadu_ps(y + i * t->ldy + 16 * j) : _mm512_setzero_ps();
}

UNROLLED void store_y(const sd_qtile *t, int64_t row, __m512 f[][2], const int mr)
{
    float *y = t->y + row * t->ldy;
    for (int i = 0; i < mr; i++)
        for (int j = 0; j < 2; j++) _mm512_storeu_ps(y + i * t->ldy + 16 * j, f[i][j]);
}

/* Zeros are powers of two. */
static inline __m128i log2_of(int zero)
{
    return _mm_cvtsi32_si128(zero ? __builtin_ctz((unsigned)zero) : 0);
}

/* mr rows of bytes. Only f.halves and f.min are constants here. */
UNROLLED void byte_rows(const sd_qtile *t, int64_t row, const int mr, const bool halves, const bool min,
                        const __m128i log2_zero)
{
    const sd_qform f = {.halves = halves, .min = min};
    const int8_t *q = t->q + row * t->ldq;
    const sd_qact *act = t->act + row * t->ld_act;
    const uint8_t *v = t->values;
    const float *sc = t->scales;
    const int n_half = halves ? 2 : 1, lines = 8 / n_half;
    __m512 y[6][2];
    load_y(y, t, row, mr);
    for (int64_t b = 0; b < t->n_block; b++, q += SD_QBLOCK, act++, v += t->value_step, sc += sd_qscale_floats(f))
        for (int h = 0; h < n_half; h++) {
            __m512i s[6][2];
            start_sums(s, act, t->ld_act, f, h, mr, log2_zero);
            for (int l = h * lines; l < (h + 1) * lines; l++) {
                const __m512i w0 = _mm512_loadu_si512(v + 64 * l), w1 = _mm512_loadu_si512(v + 512 + 64 * l);
                for (int i = 0; i < mr; i++) {
                    const __m512i a = word_at(q + i * t->ldq + 4 * l);
                    s[i][0] = _mm512_dpbusd_epi32(s[i][0], w0, a);
                    s[i][1] = _mm512_dpbusd_epi32(s[i][1], w1, a);
                }
            }
            __m512 scale[4];
            for (int j = 0; j < 2; j++) {
                scale[j] = _mm512_loadu_ps(sc + h * SD_PANEL + 16 * j);
                scale[2 + j] = min ? _mm512_loadu_ps(sc + (n_half + h) * SD_PANEL + 16 * j) : scale[j];
            }
            add_block(y, s, act, t->ld_act, (part){f, h}, mr, scale);
        }
    store_y(t, row, y, mr);
}

UNROLLED void byte_all(const sd_qtile *t, const bool halves, const bool min)
{
    const __m128i zero = log2_of(sd_qform_of(t->kind).zero);
    int64_t r = 0;
    for (; r + 6 <= t->m; r += 6) byte_rows(t, r, 6, halves, min, zero);
    switch (t->m - r) {
    case 5:
        byte_rows(t, r, 5, halves, min, zero);
        break;
    case 4:
        byte_rows(t, r, 4, halves, min, zero);
        break;
    case 3:
        byte_rows(t, r, 3, halves, min, zero);
        break;
    case 2:
        byte_rows(t, r, 2, halves, min, zero);
        break;
    case 1:
        byte_rows(t, r, 1, halves, min, zero);
        break;
    default:
        break;
    }
}

static void byte_plain(const sd_qtile *t)
{
    byte_all(t, false, false);
}
static void byte_min(const sd_qtile *t)
{
    byte_all(t, false, true);
}
static void byte_halves(const sd_qtile *t)
{
    byte_all(t, true, false);
}
static void byte_halves_min(const sd_qtile *t)
{
    byte_all(t, true, true);
}

static void tile_q8_avx512(const sd_qtile *t)
{
    const sd_qform f = sd_qform_of(t->kind);
    if (f.halves)
        f.min ? byte_halves_min(t) : byte_halves(t);
    else
        f.min ? byte_min(t) : byte_plain(t);
}

/* Asks for what comes 16 KB later, past the end of a panel too, where the next one lies. Weights of a token come from memory, and where
 * a block is long, or its rows several, the CPU's own prefetching falls behind. Two Zen 4 cores over 90 MB, GB/s without and with: Q4_K
 * 28 and 75, Q6_K 25 and 79, Q8_0 39 and 55 (four rows 21 and 87), Q5_0 74 and 84; a single row of short blocks of 4 bits does
 * better without (79 and 62). */
UNROLLED void fetch_ahead(const uint8_t *super, const sd_qform f, int b, const int mr)
{
    const int64_t share = sd_qsuper_bytes(f) / f.blocks;
    if (f.blocks == 1 && f.bits == 4 && mr == 1) return;
#pragma GCC unroll 20
    for (int64_t i = 0; i < share; i += 64) _mm_prefetch((const char *)super + b * share + 16384 + i, _MM_HINT_T1);
}

/* mr rows of packed blocks; the kind is a constant. */
UNROLLED void packed_rows(const sd_qtile *t, int64_t row, const int mr, const sd_qkind kind)
{
    const sd_qform f = sd_qform_of(kind);
    const int8_t *q = t->q + row * t->ldq;
    const sd_qact *act = t->act + row * t->ld_act;
    const int n_half = f.halves ? 2 : 1, lines = 8 / n_half;
    const uint8_t *p = t->values;
    const __m128i zero = log2_of(f.zero);
    __m512 y[SD_QPACK_ROWS][2];
    load_y(y, t, row, mr);
    for (int64_t k = 0; k < t->n_block; k += f.blocks, p += sd_qsuper_bytes(f))
        for (int b = 0; b < f.blocks; b++, q += SD_QBLOCK, act++) {
            const uint8_t *v = p + sd_qhead_bytes(f) + b * sd_qvalue_bytes(f);
            fetch_ahead(p, f, b, mr);
            for (int h = 0; h < n_half; h++) {
                __m512i s[SD_QPACK_ROWS][2];
                start_sums(s, act, t->ld_act, f, h, mr, zero);
#pragma GCC unroll 8
                for (int l = h * lines; l < (h + 1) * lines; l++) {
                    const __m512i w0 = line_at(v, f, 0, l), w1 = line_at(v, f, 1, l);
                    for (int i = 0; i < mr; i++) {
                        const __m512i a = word_at(q + i * t->ldq + 4 * l);
                        s[i][0] = _mm512_dpbusd_epi32(s[i][0], w0, a);
                        s[i][1] = _mm512_dpbusd_epi32(s[i][1], w1, a);
                    }
                }
                __m512 scale[4];
                for (int j = 0; j < 2; j++) {
                    scale[j] = scale_at(p, f, b, h, j, false);
                    scale[2 + j] = f.min ? scale_at(p, f, b, h, j, true) : scale[j];
                }
                add_block(y, s, act, t->ld_act, (part){f, h}, mr, scale);
            }
        }
    store_y(t, row, y, mr);
}

UNROLLED void packed_all(const sd_qtile *t, const sd_qkind kind)
{
    int64_t r = 0;
    for (; r + 4 <= t->m; r += 4) packed_rows(t, r, 4, kind);
    switch (t->m - r) {
    case 3:
        packed_rows(t, r, 3, kind);
        break;
    case 2:
        packed_rows(t, r, 2, kind);
        break;
    case 1:
        packed_rows(t, r, 1, kind);
        break;
    default:
        break;
    }
}

UNROLLED void unpack_all(const sd_qunpack *u, const sd_qkind kind)
{
    const sd_qform f = sd_qform_of(kind);
    const uint8_t *p = u->packed;
    uint8_t *to = u->bytes;
    float *s = u->scales;
    for (int64_t k = 0; k < u->n_block; k += f.blocks, p += sd_qsuper_bytes(f))
        for (int b = 0; b < f.blocks; b++) {
            const uint8_t *v = p + sd_qhead_bytes(f) + b * sd_qvalue_bytes(f);
            for (int min = 0; min <= f.min; min++)
                for (int h = 0; h <= f.halves; h++)
                    for (int j = 0; j < 2; j++, s += 16) _mm512_storeu_ps(s, scale_at(p, f, b, h, j, min));
            if (!u->bytes) continue;
            for (int g = 0; g < 2; g++)
#pragma GCC unroll 8
                for (int l = 0; l < 8; l++, to += 64) _mm512_storeu_si512(to, line_at(v, f, g, l));
        }
}

/* One function a kind, so that everything a kind decides is a constant. */
#define KINDS(X) X(4_0) X(4_1) X(5_0) X(5_1) X(8_0) X(4_NL) X(2_K) X(3_K) X(4_K) X(5_K) X(6_K) X(4_XS)
#define DEFINE(K)                                                                                                      \
    static void packed_##K(const sd_qtile *t)                                                                          \
    {                                                                                                                  \
        packed_all(t, SD_QKIND_##K);                                                                                   \
    }                                                                                                                  \
    static void unpack_##K(const sd_qunpack *u)                                                                        \
    {                                                                                                                  \
        unpack_all(u, SD_QKIND_##K);                                                                                   \
    }
KINDS(DEFINE)
#define PACKED_ROW(K) [SD_QKIND_##K] = packed_##K,
#define UNPACK_ROW(K) [SD_QKIND_##K] = unpack_##K,
static void (*const packed_table[SD_QKIND_COUNT])(const sd_qtile *) = {KINDS(PACKED_ROW)};
static void (*const unpack_table[SD_QKIND_COUNT])(const sd_qunpack *) = {KINDS(UNPACK_ROW)};

static void tile_qpack_avx512(const sd_qtile *t)
{
    packed_table[t->kind](t);
}

static void unpack_q_avx512(const sd_qunpack *u)
{
    unpack_table[u->kind](u);
}

/* 16 blocks at a time, so that their scales are two divisions and nothing is decided block by block. As integers magnitudes are in order, and
 * NaN and infinity stand above all numbers; with a scale of 0 they turn into bytes of 0, as everything does. */
static void quantise_some(int8_t *q, sd_qact *act, const float *x, int64_t n)
{
    uint32_t top[16] __attribute__((aligned(64))) = {0};
    float inv[16] __attribute__((aligned(64))), d[16] __attribute__((aligned(64)));
    const __m512i mag = _mm512_set1_epi32(0x7fffffff);
    for (int64_t b = 0; b < n; b++) {
        const __m512i a0 = _mm512_and_si512(_mm512_loadu_si512(x + b * SD_QBLOCK), mag), a1 = _mm512_and_si512(_mm512_loadu_si512(x + b * SD_QBLOCK + 16), mag);
        top[b] = _mm512_reduce_max_epu32(_mm512_max_epu32(a0, a1));
    }
    const __m512i t = _mm512_load_si512(top);
    const __mmask16 finite = _mm512_cmplt_epu32_mask(t, _mm512_set1_epi32(0x7f800000));
    const __m512 v = _mm512_maskz_div_ps(finite, _mm512_castsi512_ps(t), _mm512_set1_ps(127.0f));
    const __mmask16 live = _mm512_cmp_ps_mask(v, _mm512_set1_ps(FLT_MIN), _CMP_GE_OQ); /* below, 1/d overflows */
    _mm512_store_ps(inv, _mm512_maskz_div_ps(live, _mm512_set1_ps(1.0f), v));
    _mm512_store_ps(d, _mm512_mask_mov_ps(_mm512_set1_ps(NAN), finite, _mm512_maskz_mov_ps(live, v)));
    for (int64_t b = 0; b < n; b++) {
        const __m512 s = _mm512_set1_ps(inv[b]);
        const __m512i i0 = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + b * SD_QBLOCK), s)), i1 = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + b * SD_QBLOCK + 16), s));
        const __m256i bytes = _mm256_set_m128i(_mm512_cvtepi32_epi8(i1), _mm512_cvtepi32_epi8(i0));
        /* Sums of eight bytes each with 128 added, in one instruction. */
        const __m256i sad = _mm256_sad_epu8(_mm256_xor_si256(bytes, _mm256_set1_epi8(-128)), _mm256_setzero_si256());
        const __m256i halves = _mm256_add_epi64(sad, _mm256_unpackhi_epi64(sad, sad));
        const int low = _mm256_extract_epi32(halves, 0) - 16 * 128, sum = low + _mm256_extract_epi32(halves, 4) - 16 * 128;
        _mm256_storeu_si256((__m256i *)(void *)(q + b * SD_QBLOCK), bytes);
        act[b] = (sd_qact){d[b], d[b] * (float)sum, -sum, -low};
    }
}

static void quantise_avx512(int8_t *q, sd_qact *act, const float *x, int64_t n_block)
{
    for (int64_t b = 0; b < n_block; b += 16)
        quantise_some(q + b * SD_QBLOCK, act + b, x + b * SD_QBLOCK, n_block - b < 16 ? n_block - b : 16);
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

/* The first 16 columns alone, of mr rows. */
static inline __attribute__((always_inline)) void bf16_narrow(const sd_tile *t, int64_t row, const int mr)
{
    float *y = t->y + row * t->ldy;
    const uint16_t *x = (const uint16_t *)t->x + row * t->ldx, *w = t->w;
    __m512 s[24];
#pragma GCC unroll 24
    for (int i = 0; i < mr; i++) s[i] = t->carry ? _mm512_loadu_ps(y + i * t->ldy) : _mm512_setzero_ps();
    for (int64_t p = 0; p < t->k; p += 2, w += 2 * SD_PANEL) {
        const __m512bh w0 = (__m512bh)_mm512_loadu_si512(w);
#pragma GCC unroll 24
        for (int i = 0; i < mr; i++) s[i] = _mm512_dpbf16_ps(s[i], w0, pair_at(x + i * t->ldx + p));
    }
#pragma GCC unroll 24
    for (int i = 0; i < mr; i++) _mm512_storeu_ps(y + i * t->ldy, s[i]);
}

static void tile_bf16_avx512(const sd_tile *t)
{
    int64_t r = 0;
    for (; t->narrow && r + 24 <= t->m; r += 24) bf16_narrow(t, r, 24);
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

/* Of SD_CPU_BF16_SLOW. One and two rows wait for their sums, and VDPBF16PS takes one step where widened halves take two. Emerald Rapids, a panel of
 * 576 inputs in L2: one row 0.86 us and 1.11, two 0.98 and 1.22, three 1.41 and 1.28. */
static void tile_bf16_either(const sd_tile *t)
{
    (t->m < 3 ? tile_bf16_avx512 : sd_widen_tile_bf16)(t);
}

static void to_bf16_avx512(uint16_t *dst, const float *src, int64_t n)
{
    int64_t i = 0;
    for (; i + 32 <= n; i += 32)
        _mm512_storeu_si512(dst + i, (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(src + i + 16), _mm512_loadu_ps(src + i)));
    for (; i < n; i += 16) {
        const __mmask16 m = (__mmask16)(n - i < 16 ? (1u << (n - i)) - 1 : 0xffffu);
        const __m256i h = (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(m, src + i));
        _mm256_mask_storeu_epi16(dst + i, m, h);
    }
}

void sd_kern_fill_avx512_q(sd_kern *k, uint32_t cpu_flags)
{
    k->quantise = quantise_avx512;
    k->unpack_q = unpack_q_avx512;
    if (cpu_flags & SD_CPU_AVX512_VNNI) {
        k->tile_q8 = tile_q8_avx512;
        k->tile_qpack = tile_qpack_avx512;
    }
    if (cpu_flags & SD_CPU_AVX512_BF16) {
        k->tile_bf16 = cpu_flags & SD_CPU_BF16_SLOW ? tile_bf16_either : tile_bf16_avx512;
        k->to_bf16 = to_bf16_avx512;
    }
}
