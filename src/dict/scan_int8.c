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
static const float LARGEST = 127.0f, SMALLEST_STEP = 1e-30f;

int64_t sd_scan8__width(int64_t d) { return (d + SD_SCAN8_ROTATE - 1) / SD_SCAN8_ROTATE * SD_SCAN8_ROTATE; }

/* sx / |x| where the largest of dp rotated places is 3.3 times their root mean square. */
static double typical(const sd_scan *s) { return 3.3 / (127.0 * sqrt((double)s->dp)); }

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

/* Rounds v [d]; q [dp], sum of q. Returns the step, 0 where everything is too small to be told from zero. */
static float round_row(const sd_scan *s, int8_t *q, int32_t *sum, float *turned, const float *v, const float *u)
{
    const float step = s->k8->rotate(turned, v, s->d, s->dp) / LARGEST;
    if (!(step > SMALLEST_STEP)) {
        memset(q, 0, (size_t)s->dp);
        *sum = 0;
        return 0.0f;
    }
    *sum = s->k8->round(q, turned, u, 1.0f / step * (1.0f - 0x1p-20f), s->dp); /* never 128; 1e-6 of the step's range is in the 1.001 below */
    return step;
}

/* Every `wide`-th four bytes of `to` from the dense q. */
static void spread(void *to, const int8_t *q, int64_t n, int64_t wide, uint32_t flip)
{
    uint32_t *out = to, v;
    for (int64_t i = 0; i < n / 4; i++) {
        memcpy(&v, q + 4 * i, 4);
        out[i * wide] = v ^ flip;
    }
}

void sd_scan8__pack_row(sd_scan *s, sd_scan_worker *w, int64_t f, float norm)
{
    int32_t sum;
    const float *row = s->W + f * s->d, step = round_row(s, w->q, &sum, w->turned, row, draws(s, f, true));
    const double size = (double)norm + (double)step * sqrt((double)s->dp), S = typical(s);
    uint8_t *panel = s->packed + f / SD_SCAN8_PANEL * SD_SCAN8_PANEL * s->dp + f % SD_SCAN8_PANEL * 4;
    spread(panel, w->q, s->dp, SD_SCAN8_PANEL, 0x80808080u);
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
    w->start[t] = -128 * sum;
    w->margin[t] = c < 1e38 ? (float)c : 1e38f; /* finite, as in scan.c */
}

void sd_scan8__pad_rows(const sd_scan *s, sd_scan_worker *w, int64_t n)
{
    memset(w->q, 0, (size_t)s->dp);
    for (int64_t t = n; t % s->k8->n_row; t++) {
        spread(place_of(s, w, t), w->q, s->dp, s->k8->wide, 0);
        w->unit[t] = 0.0f;
        w->start[t] = 0;
        w->margin[t] = 0.0f;
        w->cut[t] = INFINITY;
    }
}

static sd_scan8_in in_of(const sd_scan *s, const sd_scan_worker *w, int64_t blk, int64_t n)
{
    const int64_t f0 = blk * SD_SCAN_BLOCK, g = s->k8->n_row;
    return (sd_scan8_in){s->packed + f0 * s->dp, w->x8,     s->scale + f0, s->bias + f0, s->norm + f0,  w->unit, w->margin,
                         w->cut,                 w->start, s->dp,         SD_SCAN_BLOCK, (n + g - 1) / g * g, s->k8->wide};
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
