/* Quantisers. The plain types follow ggml-quants.c (quantize_row_*_ref) operation by operation, so that the bytes are the same.
 *
 * K types choose, for a super-block of 256, two f16 numbers d and dmin and for each sub-block two integers s and m such that
 * x ~ d s q - dmin m with small integers q (Q6_K: x ~ d s q, q signed). First each sub-block alone finds the real scale and
 * minimum of least error: for ranges a little wider and narrower than its own the q are rounded and the best line through
 * (q, x) is taken, as llama.cpp does (make_qkx2_quants). Then d and dmin come from the largest of them, and each sub-block
 * tries the integers around its own with q rounded for exactly these: the error that the file will have. Errors are squared
 * and weighted by |x| + rms(x), llama.cpp's weight where no importance is known; Q6_K: x^2. */
#include "num/quantize.h"
#include "num/dtype_blocks.h"
#include "base/par.h"
#include <float.h>
#include <math.h>
#include <stdatomic.h>
#include <string.h>

static void put_half(uint8_t to[2], float v)
{
    const uint16_t h = sd_f32_to_f16(v);
    to[0] = (uint8_t)h, to[1] = (uint8_t)(h >> 8);
}
static float get_half(const uint8_t p[2])
{
    return sd_f16_to_f32((uint16_t)(p[0] | p[1] << 8));
}

/* ---- plain types ---- */

/* The element of largest magnitude, the first of equals. */
static float extreme(const float *x, int n)
{
    float top = 0.0f, at = 0.0f;
    for (int i = 0; i < n; i++)
        if (fabsf(x[i]) > top) top = fabsf(x[i]), at = x[i];
    return at;
}

static void range(const float *x, int n, float *low, float *high)
{
    *low = FLT_MAX, *high = -FLT_MAX;
    for (int i = 0; i < n; i++) {
        if (x[i] < *low) *low = x[i];
        if (x[i] > *high) *high = x[i];
    }
}

/* 1 / d; 0 where that is no number: such blocks decode to zeros, their d being 0 in f16. */
static float inverse(float d)
{
    const float id = 1.0f / d;
    return isfinite(id) ? id : 0.0f;
}

static uint8_t at_most(int v, int top)
{
    return (uint8_t)(v < top ? v : top);
}

static void block_q8_0(void *dst, const float *x)
{
    sd_block_q8_0 *b = dst;
    const float d = fabsf(extreme(x, SD_QK)) / 127.0f, id = inverse(d);
    put_half(b->d, d);
    for (int i = 0; i < SD_QK; i++) b->qs[i] = (int8_t)roundf(x[i] * id);
}

static void block_q4_0(void *dst, const float *x)
{
    sd_block_q4_0 *b = dst;
    const float d = extreme(x, SD_QK) / -8, id = inverse(d);
    put_half(b->d, d);
    for (int i = 0; i < 16; i++)
        b->qs[i] = (uint8_t)(at_most((int)(x[i] * id + 8.5f), 15) | at_most((int)(x[16 + i] * id + 8.5f), 15) << 4);
}

static void block_q4_1(void *dst, const float *x)
{
    sd_block_q4_1 *b = dst;
    float low, high;
    range(x, SD_QK, &low, &high);
    const float d = (high - low) / 15, id = inverse(d);
    put_half(b->d, d);
    put_half(b->m, low);
    for (int i = 0; i < 16; i++)
        b->qs[i] = (uint8_t)(at_most((int)((x[i] - low) * id + 0.5f), 15) |
                             at_most((int)((x[16 + i] - low) * id + 0.5f), 15) << 4);
}

/* Five bits: nibbles into qs, the fifth bits into qh. */
static void put_fives(uint8_t qs[16], uint8_t qh[4], const uint8_t q[SD_QK])
{
    memset(qh, 0, 4);
    for (int i = 0; i < SD_QK; i++) qh[i >> 3] |= (uint8_t)((q[i] >> 4) << (i & 7));
    for (int i = 0; i < 16; i++) qs[i] = (uint8_t)((q[i] & 15) | (q[16 + i] & 15) << 4);
}

static void block_q5_0(void *dst, const float *x)
{
    sd_block_q5_0 *b = dst;
    uint8_t q[SD_QK];
    const float d = extreme(x, SD_QK) / -16, id = inverse(d);
    put_half(b->d, d);
    for (int i = 0; i < SD_QK; i++) q[i] = at_most((int)(x[i] * id + 16.5f), 31);
    put_fives(b->qs, b->qh, q);
}

static void block_q5_1(void *dst, const float *x)
{
    sd_block_q5_1 *b = dst;
    uint8_t q[SD_QK];
    float low, high;
    range(x, SD_QK, &low, &high);
    const float d = (high - low) / 31, id = inverse(d);
    put_half(b->d, d);
    put_half(b->m, low);
    for (int i = 0; i < SD_QK; i++) q[i] = at_most((int)((x[i] - low) * id + 0.5f), 31);
    put_fives(b->qs, b->qh, q);
}

/* ---- K types ---- */

enum { STEPS = 20, NEAR = 2 /* integers tried on both sides */ };

/* To the nearest integer, ties to even, |v| < 2^22: 1.5 x 2^23 has no bits below one. */
static inline float nearest(float v)
{
    const float big = 12582912.0f;
    return (v + big) - big;
}
static inline float clamp(float v, float low, float high)
{
    return v < low ? low : v > high ? high : v;
}

/* A sub-block to quantise: n numbers, their weights, and the range of q. */
typedef struct sub {
    const float *x, *w;
    int n;
    float low, high;
} sub;

typedef struct line {
    float scale, min, error; /* x ~ scale q - min */
} line;

/* sum w (scale q - min - x)^2 with the best q of the range; q may be NULL. */
static float error_of(float *q, const sub *b, float scale, float min)
{
    const float *x = b->x, *w = b->w, low = b->low, high = b->high;
    const int n = b->n;
    const float inv = scale != 0.0f ? 1.0f / scale : 0.0f;
    float sum = 0.0f;
    for (int i = 0; i < n; i++) {
        const float l = clamp(nearest(clamp((x[i] + min) * inv, -1e6f, 1e6f)), low, high), e = scale * l - min - x[i];
        sum += w[i] * e * e;
        if (q) q[i] = l;
    }
    return sum;
}

/* The line of least squares through (q, x) with its minimum at or above 0; false when q is constant. */
static bool fit(line *out, const float *q, const sub *b)
{
    double sw = 0, sx = 0, sl = 0, sll = 0, sxl = 0;
    for (int i = 0; i < b->n; i++) {
        const double a = b->w[i], l = q[i], x = b->x[i];
        sw += a, sx += a * x, sl += a * l, sll += a * l * l, sxl += a * l * x;
    }
    const double det = sw * sll - sl * sl;
    if (!(det > 0)) return false;
    double scale = (sw * sxl - sx * sl) / det, min = (sl * sxl - sll * sx) / det;
    if (min < 0) min = 0, scale = sxl / sll;
    out->scale = (float)scale, out->min = (float)min;
    return true;
}

/* For q from 0. */
static line best_line(const sub *b)
{
    float q[SD_QK], low, high;
    range(b->x, b->n, &low, &high);
    if (low > 0) low = 0;
    if (high <= low) return (line){0, -low, 0};
    line best = {(high - low) / b->high, -low, 0};
    best.error = error_of(NULL, b, best.scale, best.min);
    for (int s = 0; s <= STEPS; s++) {
        const float scale = (high - low) / (b->high - 1.0f + 0.1f * (float)s);
        line now;
        (void)error_of(q, b, scale, -low);
        if (!fit(&now, q, b)) continue;
        now.error = error_of(NULL, b, now.scale, now.min);
        if (now.error < best.error) best = now;
    }
    return best;
}

/* The integers of a sub-block around its own scale and minimum, given d and dmin. */
static void best_pair(int *s, int *m, const sub *x, const line *own, float d, float dmin)
{
    const int s0 = d > 0 ? (int)nearest(own->scale / d) : 0, m0 = dmin > 0 ? (int)nearest(own->min / dmin) : 0;
    float least = INFINITY;
    *s = *m = 0;
    for (int a = s0 - NEAR; a <= s0 + NEAR; a++)
        for (int b = m0 - NEAR; b <= m0 + NEAR; b++) {
            if (a < 0 || a > 63 || b < 0 || b > 63) continue;
            const float e = error_of(NULL, x, d * (float)a, dmin * (float)b);
            if (e < least) least = e, *s = a, *m = b;
        }
}

static void weights_of(float *w, const float *x, int n)
{
    float sum = 0.0f;
    for (int i = 0; i < n; i++) sum += x[i] * x[i];
    const float rms = sqrtf(sum / (float)n);
    for (int i = 0; i < n; i++) w[i] = rms + fabsf(x[i]);
}

/* Scales and minima of 8 sub-blocks in 12 bytes; see dtype_quant.c. */
static void put_scales(uint8_t to[12], const int s[8], const int m[8])
{
    for (int g = 0; g < 4; g++) {
        to[g] = (uint8_t)(s[g] | (s[g + 4] >> 4) << 6);
        to[g + 4] = (uint8_t)(m[g] | (m[g + 4] >> 4) << 6);
        to[g + 8] = (uint8_t)((s[g + 4] & 15) | (m[g + 4] & 15) << 4);
    }
}

/* d in f16 with which `steps` of it reach `most`, which its nearest may miss by far where f16 is coarse or 0 (below 2^-14): then the next one from 0. */
static float put_step(uint8_t to[2], float most, float steps)
{
    put_half(to, most / steps);
    if (fabsf(get_half(to)) * (steps + 1) < fabsf(most)) {
        const uint16_t h = (uint16_t)((to[0] | to[1] << 8) + 1); /* magnitudes are in the order of their bits */
        to[0] = (uint8_t)h, to[1] = (uint8_t)(h >> 8);
    }
    return get_half(to);
}

/* What Q4_K (top 15) and Q5_K (top 31) share: head [d, dmin, scales] and q [256]. */
static void super_with_min(uint8_t head[16], float q[SD_QKK], const float *x, int top)
{
    float w[SD_QKK], scale = 0, min = 0;
    line own[8];
    sub b[8];
    int s[8], m[8];
    for (int g = 0; g < 8; g++) {
        weights_of(w + 32 * g, x + 32 * g, SD_QK);
        b[g] = (sub){x + 32 * g, w + 32 * g, SD_QK, 0, (float)top};
        own[g] = best_line(&b[g]);
        scale = own[g].scale > scale ? own[g].scale : scale;
        min = own[g].min > min ? own[g].min : min;
    }
    const float d = put_step(head, scale, 63), dmin = put_step(head + 2, min, 63);
    for (int g = 0; g < 8; g++) {
        best_pair(&s[g], &m[g], &b[g], &own[g], d, dmin);
        (void)error_of(q + 32 * g, &b[g], d * (float)s[g], dmin * (float)m[g]);
    }
    put_scales(head + 4, s, m);
}

static void put_nibbles(uint8_t qs[128], const float q[SD_QKK])
{
    for (int k = 0; k < 4; k++)
        for (int i = 0; i < 32; i++)
            qs[32 * k + i] = (uint8_t)(((int)q[64 * k + i] & 15) | ((int)q[64 * k + 32 + i] & 15) << 4);
}

static void block_q4_k(void *dst, const float *x)
{
    sd_block_q4_k *b = dst;
    float q[SD_QKK];
    super_with_min(dst, q, x, 15);
    put_nibbles(b->qs, q);
}

static void block_q5_k(void *dst, const float *x)
{
    sd_block_q5_k *b = dst;
    float q[SD_QKK];
    super_with_min(dst, q, x, 31);
    put_nibbles(b->qs, q);
    memset(b->qh, 0, sizeof b->qh);
    for (int i = 0; i < SD_QKK; i++) b->qh[i & 31] |= (uint8_t)(((int)q[i] >> 4) << (i >> 5));
}

/* The scale of least error without a minimum, q from both sides of 0. */
static float best_scale(const sub *b)
{
    const float at = extreme(b->x, b->n);
    float q[16], best = at / b->low, least;
    if (at == 0.0f) return 0.0f;
    least = error_of(NULL, b, best, 0);
    for (int s = -STEPS / 2; s <= STEPS / 2; s++)
        for (int sign = -1; sign <= 1; sign += 2) {
            const float range_q = (sign < 0 ? -b->low : b->high) + 0.1f * (float)s;
            double ll = 0, xl = 0;
            (void)error_of(q, b, (float)sign * at / range_q, 0);
            for (int i = 0; i < b->n; i++) ll += (double)b->w[i] * q[i] * q[i], xl += (double)b->w[i] * q[i] * b->x[i];
            const float scale = ll > 0 ? (float)(xl / ll) : 0.0f, e = error_of(NULL, b, scale, 0);
            if (e < least) least = e, best = scale;
        }
    return best;
}

static void block_q6_k(void *dst, const float *x)
{
    sd_block_q6_k *b = dst;
    float w[SD_QKK], own[16], q[SD_QKK];
    sub part[16];
    for (int i = 0; i < SD_QKK; i++) w[i] = x[i] * x[i];
    for (int g = 0; g < 16; g++) {
        part[g] = (sub){x + 16 * g, w + 16 * g, 16, -32, 31};
        own[g] = best_scale(&part[g]);
    }
    const float d = put_step(b->d, -extreme(own, 16), 128); /* the largest scale is -128 d: that side has one integer more */
    for (int g = 0; g < 16; g++) {
        const int s0 = d != 0 ? (int)nearest(clamp(own[g] / d, -128, 127)) : 0;
        float least = INFINITY;
        int best = 0;
        for (int s = s0 - NEAR; s <= s0 + NEAR; s++) {
            if (s < -128 || s > 127) continue;
            const float e = error_of(NULL, &part[g], d * (float)s, 0);
            if (e < least) least = e, best = s;
        }
        b->scales[g] = (int8_t)best;
        (void)error_of(q + 16 * g, &part[g], d * (float)best, 0);
    }
    memset(b->ql, 0, sizeof b->ql);
    memset(b->qh, 0, sizeof b->qh);
    for (int r = 0; r < 8; r++)
        for (int i = 0; i < 32; i++) {
            const int u = (int)q[32 * r + i] + 32;
            b->ql[64 * (r >> 2) + 32 * (r & 1) + i] |= (uint8_t)((u & 15) << 4 * (r >> 1 & 1));
            b->qh[32 * (r >> 2) + i] |= (uint8_t)((u >> 4) << 2 * (r & 3));
        }
}

/* ---- rows ---- */

static void block_f32(void *dst, const float *x)
{
    memcpy(dst, x, 4);
}
static void block_f16(void *dst, const float *x)
{
    put_half(dst, *x);
}
static void block_bf16(void *dst, const float *x)
{
    const uint16_t h = sd_f32_to_bf16(*x);
    memcpy(dst, &h, 2);
}

typedef void block_fn(void *dst, const float *x);
static block_fn *encoder_of(sd_dtype t)
{
    switch (t) {
    case SD_F32: return block_f32;
    case SD_F16: return block_f16;
    case SD_BF16: return block_bf16;
    case SD_Q8_0: return block_q8_0;
    case SD_Q4_0: return block_q4_0;
    case SD_Q4_1: return block_q4_1;
    case SD_Q5_0: return block_q5_0;
    case SD_Q5_1: return block_q5_1;
    case SD_Q4_K: return block_q4_k;
    case SD_Q5_K: return block_q5_k;
    case SD_Q6_K: return block_q6_k;
    default: return NULL;
    }
}

bool sd_quantize_can(sd_dtype t)
{
    return encoder_of(t) != NULL;
}

sd_dtype sd_quantize_fallback(sd_dtype t, int64_t n)
{
    if (sd_dtype_get(t)->block == SD_QKK && n % SD_QKK != 0) t = t == SD_Q6_K ? SD_Q8_0 : t == SD_Q5_K ? SD_Q5_1 : SD_Q5_0;
    return n % sd_dtype_get(t)->block == 0 ? t : SD_F16;
}

/* Scales and minima are f16 in every block type: what is beyond f16 would come back infinite. */
static bool fits(float x, sd_dtype t)
{
    return t == SD_F32 || t == SD_BF16 ? isfinite(x) : fabsf(x) < 65520.0f; /* rounds to at most 65504 */
}

int64_t sd_quantize_row(void *dst, sd_dtype t, const float *x, int64_t n)
{
    const sd_dtype_info *info = sd_dtype_get(t);
    block_fn *encode = encoder_of(t);
    uint8_t *to = dst;
    int64_t bad = 0;
    SD_ASSERT(encode && n % info->block == 0);
    for (int64_t i = 0; i < n; i += info->block, to += info->bytes) {
        float clean[SD_QKK];
        const float *from = x + i;
        int64_t here = 0;
        for (int j = 0; j < info->block; j++) here += !fits(from[j], t);
        if (here > 0 && info->block > 1) {
            for (int j = 0; j < info->block; j++) clean[j] = fits(from[j], t) ? from[j] : 0.0f;
            from = clean;
        }
        bad += here;
        encode(to, from);
    }
    return bad;
}

typedef struct rows_arg {
    uint8_t *dst;
    sd_dtype t;
    sd_mat x;
    _Atomic int64_t bad; /* a count: the order of additions does not matter */
} rows_arg;

static void quantize_some(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    rows_arg *a = arg;
    const size_t step = sd_dtype_row_bytes(a->t, a->x.cols);
    (void)chunk;
    for (int64_t r = begin; r < end; r++)
        atomic_fetch_add(&a->bad, sd_quantize_row(a->dst + (size_t)r * step, a->t, sd_mat_row(a->x, r), a->x.cols));
}

void sd_quantize_rows(const sd_exec *ex, void *dst, sd_dtype t, sd_mat x, int64_t *n_nonfinite)
{
    rows_arg a = {.dst = dst, .t = t, .x = x};
    sd_parallel_for(ex->n_threads, x.rows, 1, quantize_some, &a);
    if (n_nonfinite) *n_nonfinite = atomic_load(&a.bad);
}
