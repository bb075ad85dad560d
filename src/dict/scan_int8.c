/* Owns rounding to int8 for the scan and the margin that goes with it (scan.h). Vectors are rotated first: a block of 64 places shares its
 * outliers, so that the largest place, which sets the step of rounding, is 3.3 times the root mean square instead of 7 (SmolLM2 layer 14).
 *
 * Rounding is to floor(v / step + u), u uniform in [0, 1) drawn anew for every place: unbiased whatever the data. So with steps sx, sw
 *   s - x.w = sum_i x_i (w^_i - w_i) + sum_i (x^_i - x_i) w^_i
 * is a sum of independent terms of mean 0, ranges |x_i| sw and |w^_i| sx, and exceeds z sqrt(sw^2 |x|^2 + sx^2 |w^|^2) with a chance of at
 * most exp(-2 z^2) a side (Hoeffding 1963, theorem 2): 1.3e-14 a pair for z = 4. |w^| <= |w| + sw sqrt(d). As a product of a row's and a
 * feature's share, which it must be here:
 *   r_f = sqrt(sw^2 + (S |w^|)^2),  c_t = z max(|x|, sx / S),  S = sx / |x| of a typical row. */
#include "dict/scan_int.h"
#include "base/rng.h"
#include <math.h>
#include <string.h>

static const double Z = 4;
static const float SMALLEST_STEP = 1e-30f;
static const double HALF_ERROR = 5.6569; /* |rounded - v / step| of 32 places: each is off by less than 1 */

int64_t sd_scan8__width(int64_t d) { return (d + SD_SCAN8_ROTATE - 1) / SD_SCAN8_ROTATE * SD_SCAN8_ROTATE; }

/* sx / |x| where the largest of dp rotated places is 3.3 times their root mean square. */
static double typical(const sd_scan *s) { return 3.3 / ((double)s->k8->most * sqrt((double)s->dp)); }

void sd_scan8__draw(sd_scan *s)
{
    sd_rng r = sd_rng_make(0, "scan rounding", 0);
    for (int64_t i = 0; i < 2 * (s->dp + SD_SCAN8_DRAWS); i++) s->draw[i] = (float)(sd_rng_u32(&r) >> 16) * 0x1p-16f;
}

/* Rows take the draws from different places on; features from the other half. */
static const float *draws(const sd_scan *s, int64_t i, bool of_feature)
{
    return s->draw + (of_feature ? s->dp + SD_SCAN8_DRAWS : 0) + (int64_t)((uint64_t)i * 2654435761u % SD_SCAN8_DRAWS);
}

/* The longest half of a group of 64 places (kern_scan8.h, longest), with what its f32 sum may have lost. */
static float longest_half(const float *v, int64_t n)
{
    float top = 0.0f;
    for (int64_t i = 0; i < n; i += SD_SCAN8_ROTATE) {
        float s[4] = {0};
        for (int64_t j = i; j < i + SD_SCAN8_ROTATE; j += 4)
            for (int l = 0; l < 4; l++) s[l] += v[j + l] * v[j + l];
        const float a = s[0] + s[1], b = s[2] + s[3];
        if (a > top) top = a;
        if (b > top) top = b;
    }
    return sqrtf(top) * (1.0f + 0x1p-16f);
}

/* The step of rounding: the largest place becomes `most`, or a larger step where a table's sums ask for it. */
static float step_of(const sd_scan *s, const float *turned, float top)
{
    const float step = top / (float)s->k8->most;
    if (!s->k8->longest) return step;
    const float need = longest_half(turned, s->dp) / (float)((double)s->k8->longest - HALF_ERROR);
    return need > step ? need : step;
}

/* Rounds v [d]; q [dp], sum of q. Returns the step, 0 where everything is too small to be told from zero. */
static float round_row(const sd_scan *s, int8_t *q, int32_t *sum, float *turned, const float *v, const float *u)
{
    const float step = step_of(s, turned, s->k8->rotate(turned, v, s->d, s->dp));
    if (!(step > SMALLEST_STEP)) {
        memset(q, 0, (size_t)s->dp);
        *sum = 0;
        return 0.0f;
    }
    *sum = s->k8->round(q, turned, u, 1.0f / step * (1.0f - 0x1p-20f), s->dp); /* never most + 1; 1e-6 of the step's range is in the 1.001 below */
    return step;
}

/* Every `wide`-th four bytes of `to` from the dense q, with `add` added to each byte (no carry goes from one to the next). */
static void spread(void *to, const int8_t *q, int64_t n, int64_t wide, uint32_t add)
{
    const uint32_t low = 0x7f7f7f7fu, every = add * 0x01010101u;
    uint32_t *out = to, v;
    for (int64_t i = 0; i < n / 4; i++) {
        memcpy(&v, q + 4 * i, 4);
        out[i * wide] = ((v & low) + (every & low)) ^ ((v ^ every) & ~low);
    }
}

/* What the 16-bit sums of row t's groups begin with (kern_scan8.h, lift). */
static void lift_row(const sd_scan *s, sd_scan_worker *w, int64_t t)
{
    const int64_t n = s->dp / SD_SCAN8_ROTATE, wide = s->k8->wide;
    int32_t *lift = w->lift + t / wide * wide * n + t % wide;
    for (int64_t g = 0; g < n; g++) {
        const int8_t *q = w->q + g * SD_SCAN8_ROTATE;
        int32_t a = 0, b = 0;
        for (int64_t i = 0; i < SD_SCAN8_ROTATE; i += 4) a += q[i] + q[i + 1], b += q[i + 2] + q[i + 3];
        const uint32_t lower = (uint32_t)(-s->k8->zero * a) & 0xffffu, upper = (uint32_t)(-s->k8->zero * b) << 16;
        lift[g * wide] = (int32_t)(upper | lower);
    }
}

void sd_scan8__pack_row(sd_scan *s, sd_scan_worker *w, int64_t f, float norm)
{
    int32_t sum;
    const float *row = s->W + f * s->d, step = round_row(s, w->q, &sum, w->turned, row, draws(s, f, true));
    const double size = (double)norm + (double)step * sqrt((double)s->dp), S = typical(s);
    uint8_t *panel = s->packed + f / SD_SCAN8_PANEL * SD_SCAN8_PANEL * s->dp + f % SD_SCAN8_PANEL * 4;
    spread(panel, w->q, s->dp, SD_SCAN8_PANEL, (uint32_t)s->k8->zero);
    if (s->flat) memcpy(s->rows8 + f * s->dp, w->q, (size_t)s->dp);
    s->scale[f] = step;
    s->norm[f] = (float)(sqrt((double)step * (double)step + S * size * S * size) * 1.001);
    if (step == 0.0f) s->norm[f] = norm; /* c is at least 4 |x| */
}

static int8_t *place_of(const sd_scan *s, const sd_scan_worker *w, int64_t t)
{
    const int64_t wide = s->k8->wide;
    return w->x8 + t / wide * wide * s->dp + t % wide * 4;
}

void sd_scan8__load_row(const sd_scan *s, sd_scan_worker *w, int64_t t, int64_t row, float norm)
{
    const float gamma = (float)(2 * (s->d + 64)) * 0x1p-24f; /* f32 roundings of the rotations and of the exact dot, relative to |x| |w| */
    const double S = typical(s);
    int32_t sum;
    const float step = round_row(s, w->q, &sum, w->turned, w->x + t * s->d, draws(s, row, false));
    spread(place_of(s, w, t), w->q, s->dp, s->k8->wide, 0);
    const double over = (double)step / S, c = (Z * ((double)norm > over ? (double)norm : over) + (double)gamma * (double)norm / S) * 1.001;
    w->unit[t] = step;
    w->start[t] = -s->k8->zero * sum;
    if (s->k8->longest) lift_row(s, w, t);
    w->margin[t] = c < 1e38 ? (float)c : 1e38f; /* finite, as in scan.c */
}

void sd_scan8__pad_rows(const sd_scan *s, sd_scan_worker *w, int64_t n)
{
    memset(w->q, 0, (size_t)s->dp);
    for (int64_t t = n; t % s->k8->n_row; t++) {
        spread(place_of(s, w, t), w->q, s->dp, s->k8->wide, 0);
        w->unit[t] = 0.0f;
        w->start[t] = 0;
        if (s->k8->longest) lift_row(s, w, t);
        w->margin[t] = 0.0f;
        w->cut[t] = INFINITY;
    }
}

static sd_scan8_in rows_of(const sd_scan *s, const sd_scan_worker *w, int64_t n)
{
    const int64_t g = s->k8->n_row;
    return (sd_scan8_in){.x = w->x8, .unit = w->unit, .c = w->margin, .cut = w->cut, .start = w->start, .lift = w->lift, .d = s->dp, .n_feat = SD_SCAN_BLOCK, .n_row = (n + g - 1) / g * g, .wide = s->k8->wide};
}

static sd_scan8_in in_of(const sd_scan *s, const sd_scan_worker *w, int64_t blk, int64_t n)
{
    const int64_t f0 = blk * SD_SCAN_BLOCK;
    sd_scan8_in in = rows_of(s, w, n);
    in.w = s->packed + f0 * s->dp, in.scale = s->scale + f0, in.b = s->bias + f0, in.r = s->norm + f0;
    return in;
}

static sd_scan8_in some_of(const sd_scan *s, const sd_scan_worker *w, int64_t n)
{
    sd_scan8_in in = rows_of(s, w, n);
    in.w = w->some.w, in.scale = w->some.scale, in.b = w->some.b, in.r = w->some.r;
    return in;
}

void sd_scan8__take_some(const sd_scan *s, sd_scan_worker *w, const int32_t *list, int64_t n_list)
{
    enum { AHEAD = 8 }; /* features whose rows are asked for in advance: they lie anywhere in memory */
    for (int64_t i = 0; i < n_list; i++) {
        const int64_t f = list[i];
        for (int64_t at = 0; at < s->dp && i + AHEAD < n_list; at += 64) __builtin_prefetch(s->rows8 + list[i + AHEAD] * s->dp + at);
        spread(w->some.w + i / SD_SCAN8_PANEL * SD_SCAN8_PANEL * s->dp + i % SD_SCAN8_PANEL * 4, s->rows8 + f * s->dp, s->dp, SD_SCAN8_PANEL, (uint32_t)s->k8->zero);
        w->some.scale[i] = s->scale[f], w->some.b[i] = s->bias[f], w->some.r[i] = s->norm[f];
    }
    for (int64_t i = n_list; i < SD_SCAN_BLOCK; i++) w->some.scale[i] = w->some.r[i] = 0.0f, w->some.b[i] = -INFINITY; /* the panels keep some finite rows there */
}

void sd_scan8__score_some(const sd_scan *s, sd_scan_worker *w, int64_t n)
{
    const sd_scan8_in in = some_of(s, w, n);
    s->k8->score(w->score, &in);
}

void sd_scan8__scan_some(const sd_scan *s, sd_scan_worker *w, int64_t n)
{
    const sd_scan8_in in = some_of(s, w, n);
    s->k8->scan(w->hit, &in, 0);
}

void sd_scan8__score(const sd_scan *s, sd_scan_worker *w, int64_t blk, int64_t n)
{
    const sd_scan8_in in = in_of(s, w, blk, n);
    s->k8->score(w->score, &in);
}

void sd_scan8__scan(const sd_scan *s, sd_scan_worker *w, int64_t blk, int64_t n)
{
    const sd_scan8_in in = in_of(s, w, blk, n);
    s->k8->scan(w->hit, &in, (int32_t)(blk * SD_SCAN_BLOCK));
}
