/* Owns what held-out rows tell about single features: density, top activation, spread along the decoder row, and for TopK the threshold by which a feature
 * looked at alone fires as often as it is among the k best.
 *
 * Feature f is in the top k of c_f rows. Its threshold is the middle between its c_f-th and next pre-activation over all rows:
 * then "above threshold" and "among the k best" have the same count (the idea of BatchTopK's one threshold, Bussmann et al.
 * 2024, arXiv 2412.06410, per feature). Features seen fewer than 5 times say too little for themselves and take the common threshold,
 * chosen the same way over all features, if it is not below their top activation outside the top k. Only pre-activations above
 * a floor are collected (the 20th percentile of the rows' k-th values); below it lies no threshold worth having. */
#include "dict/dict_int.h"
#include "base/par.h"
#include "num/kern.h"
#include "num/stats.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 1024, FEW = 5 };

typedef struct pair { int32_t f; float p; } pair;
typedef struct pairs { pair *v; int64_t n, cap; } pairs;

static sd_status push(pairs *a, int32_t f, float p, sd_err *err)
{
    if (a->n == a->cap) {
        const int64_t cap = a->cap ? a->cap * 2 : 65536;
        pair *v = sd_realloc(a->v, (size_t)cap * sizeof *v);
        if (!v) return sd_fail(err, SD_E_NOMEM, "out of memory: %lld activations to calibrate thresholds on", (long long)cap);
        a->v = v;
        a->cap = cap;
    }
    a->v[a->n++] = (pair){f, p};
    return SD_OK;
}

/* Encodes everything: counts, top activations, each row's smallest active value, and (TopK) the active entries. */
static sd_status encode_all(sd_dict *d, const sd_exec *ex, sd_mat x, int64_t *count, float *least, pairs *active, sd_err *err)
{
    sd_codes z = {0};
    sd_status st = SD_OK;
    memset(count, 0, (size_t)d->info.m * sizeof *count);
    memset(d->max_act, 0, (size_t)d->info.m * sizeof *d->max_act);
    for (int64_t r = 0; r < x.rows && !st; r += ROWS) {
        st = sd_dict_encode(&z, ex, d, sd_mat_rows(x, r, x.rows - r < ROWS ? x.rows - r : ROWS), err);
        for (int64_t i = 0; i < z.n && !st; i++) {
            least[r + i] = INFINITY;
            for (int64_t e = z.row_ptr[i]; e < z.row_ptr[i + 1] && !st; e++) {
                const int32_t f = z.idx[e];
                count[f]++;
                if (z.val[e] > d->max_act[f]) d->max_act[f] = z.val[e];
                if (z.val[e] < least[r + i]) least[r + i] = z.val[e];
                if (d->topk) st = push(active, f, z.val[e], err);
            }
            if (isinf(least[r + i])) least[r + i] = 0;
        }
    }
    sd_codes_release(&z);
    return st;
}

/* A packed encoder is half as large as the matrix or as large: what encoded is not needed beside what comes next. */
static void forget_scan(sd_dict *d)
{
    sd_scan_free(d->scan);
    d->scan = NULL;
}

/* Adds the pre-activations above floor that are not among the k best; entries of `active` below the floor stay as they are. */
static sd_status collect_rest(sd_dict *d, const sd_exec *ex, sd_mat x, float floor_, pairs *all, sd_err *err)
{
    const int64_t m = d->info.m;
    sd_scan *s = NULL;
    float *gate = NULL;
    sd_scan_list list = {0};
    int64_t bad, kept = 0;
    forget_scan(d);
    sd_status st = sd_alloc(&gate, (size_t)m * sizeof *gate, "gates", err);
    if (!st) st = sd_alloc(&list.row_ptr, (ROWS + 1) * sizeof *list.row_ptr, "rows", err);
    if (!st) st = sd_scan_new(&s, ex, m, d->info.d, 0, SD_SCAN_PROVEN, err);
    if (st) goto done;
    for (int64_t f = 0; f < m; f++) gate[f] = floor_;
    sd_scan_pack(s, ex, d->W_enc, d->b_enc, gate);
    for (int64_t i = 0; i < all->n; i++) /* those above the floor come again from the scan */
        if (!(all->v[i].p > floor_)) all->v[kept++] = all->v[i];
    all->n = kept;
    for (int64_t r = 0; r < x.rows && !st; r += ROWS) {
        const sd_mat part = sd_mat_rows(x, r, x.rows - r < ROWS ? x.rows - r : ROWS);
        st = sd_scan_above(s, ex, &list, part, d->b_in, &bad, err);
        for (int64_t e = 0; !st && e < list.row_ptr[part.rows]; e++) st = push(all, list.idx[e], list.val[e], err);
    }
done:
    sd_scan_free(s);
    sd_free(gate);
    sd_free(list.row_ptr), sd_free(list.idx), sd_free(list.val);
    return st;
}

static int falling(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return x > y ? -1 : x < y;
}

/* The middle between the c-th and the next of n falling values; half an ulp-like step below the last when there is no next. */
static float between(const float *v, int64_t n, int64_t c)
{
    const float at = v[c < n ? c - 1 : n - 1];
    return c < n ? 0.5f * (at + v[c]) : at * 0.999f;
}

static sd_status set_thresholds(sd_dict *d, const int64_t *count, const pairs *all, int64_t n_active, sd_err *err)
{
    const int64_t m = d->info.m;
    int64_t *at = NULL;
    float *v = NULL;
    sd_status st = sd_alloc_zero(&at, (size_t)(m + 1) * sizeof *at, "counts", err);
    if (!st) st = sd_alloc(&v, (size_t)(all->n + 1) * sizeof *v, "sorted activations", err);
    if (st) goto done;
    for (int64_t i = 0; i < all->n; i++) v[i] = all->v[i].p;
    const float common = all->n > 0 ? sd_select_f32(v, all->n, all->n - n_active) : 0.0f;
    for (int64_t i = 0; i < all->n; i++) at[all->v[i].f + 1]++;
    for (int64_t f = 0; f < m; f++) at[f + 1] += at[f];
    for (int64_t i = 0; i < all->n; i++) v[at[all->v[i].f]++] = all->v[i].p;
    for (int64_t f = m; f > 0; f--) at[f] = at[f - 1];
    at[0] = 0;
    for (int64_t f = 0; f < m; f++) {
        const int64_t n = at[f + 1] - at[f];
        float *p = v + at[f];
        qsort(p, (size_t)n, sizeof *p, falling);
        if (count[f] >= FEW) {
            d->threshold[f] = between(p, n, count[f]);
        } else {
            const float rest = n > count[f] ? p[count[f]] : 0.0f; /* its best outside the top k */
            d->threshold[f] = fmaxf(common, rest);
        }
    }
done:
    sd_free(at);
    sd_free(v);
    return st;
}

typedef struct spread {
    sd_dict *d;
    const sd_kern *kern;
    const float *x; /* [rows, d] centred */
    int64_t rows, n;
    float *cov;     /* [d, d] sum of x_i x_j */
} spread;

static void add_cov(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const spread *s = arg;
    const int64_t d = s->d->info.d;
    (void)chunk;
    for (int64_t r = 0; r < s->rows; r++)
        for (int64_t i = begin; i < end; i++) s->kern->axpy(s->cov + i * d, s->x[r * d + i], s->x + r * d, d);
}

enum { SPREAD_FEATURES = 16 }; /* decoder rows that stay in the first cache while a row of the covariance is used */

static void std_of_features(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const spread *s = arg;
    const int64_t d = s->d->info.d;
    double var[SPREAD_FEATURES] = {0}, norm2[SPREAD_FEATURES] = {0};
    (void)chunk;
    for (int64_t i = 0; i < d; i++)
        for (int64_t f = begin; f < end; f++) {
            const float *u = s->d->W_dec + f * d;
            var[f - begin] += (double)u[i] * (double)s->kern->dot(s->cov + i * d, u, d);
            norm2[f - begin] += (double)u[i] * (double)u[i];
        }
    for (int64_t f = begin; f < end; f++) {
        const double v = norm2[f - begin] > 0 ? var[f - begin] / norm2[f - begin] / (double)s->n : 0;
        s->d->proj_std[f] = v > 0 ? (float)sqrt(v) : 0;
    }
}

/* std(u.x)^2 = u'Cu with C the covariance of the rows: n d^2 + m d^2 products where projecting every row takes n m d. Sums of C are
 * f32 in row order: some 1e-5 of a standard deviation for 16,384 rows. */
static sd_status set_spread(sd_dict *d, const sd_exec *ex, sd_mat x, sd_err *err)
{
    const int64_t w = d->info.d;
    double *mean = NULL;
    float *centred = NULL;
    spread s = {.d = d, .kern = ex->kern, .n = x.rows};
    sd_status st = sd_alloc_zero(&mean, (size_t)w * sizeof *mean, "a mean", err);
    if (!st) st = sd_alloc(&centred, (size_t)(ROWS * w) * sizeof *centred, "centred rows", err);
    if (!st) st = sd_alloc_zero(&s.cov, (size_t)w * (size_t)w * sizeof *s.cov, "a covariance", err);
    if (st) goto done;
    for (int64_t r = 0; r < x.rows; r++)
        for (int64_t i = 0; i < w; i++) mean[i] += (double)sd_mat_row(x, r)[i] / (double)x.rows;
    s.x = centred;
    for (int64_t r = 0; r < x.rows; r += s.rows) {
        s.rows = x.rows - r < ROWS ? x.rows - r : ROWS;
        for (int64_t k = 0; k < s.rows; k++)
            for (int64_t i = 0; i < w; i++) centred[k * w + i] = (float)((double)sd_mat_row(x, r + k)[i] - mean[i]);
        sd_parallel_for(ex->n_threads, w, 16, add_cov, &s);
    }
    sd_parallel_for(ex->n_threads, d->info.m, SPREAD_FEATURES, std_of_features, &s);
done:
    sd_free(mean);
    sd_free(centred);
    sd_free(s.cov);
    return st;
}

sd_status sd_dict_calibrate(sd_dict *d, const sd_exec *ex, sd_mat x, sd_err *err)
{
    const int64_t m = d->info.m;
    int64_t *count = NULL;
    float *least = NULL;
    pairs all = {0};
    if (x.cols != d->info.d || x.rows < 2)
        return sd_fail(err, SD_E_SHAPE, "%lld rows of width %lld cannot calibrate a dictionary of width %lld", (long long)x.rows, (long long)x.cols, (long long)d->info.d);
    sd_status st = sd_alloc(&count, (size_t)m * sizeof *count, "counts", err);
    if (!st) st = sd_alloc(&least, (size_t)x.rows * sizeof *least, "smallest activations", err);
    if (!st) st = encode_all(d, ex, x, count, least, &all, err);
    if (!st && !sd_dict_kind_maps(d->info.kind)) st = set_spread(d, ex, x, err); /* a transcoder's rows lie at the other site */
    if (st) goto done;
    for (int64_t f = 0; f < m; f++) d->density[f] = (float)((double)count[f] / (double)x.rows);
    if (!d->topk) goto done;
    const int64_t n_active = all.n;
    sd_mat scaled = x; /* what the scan itself reads */
    if (d->row_norm) st = sd_dict__scaled(&scaled, ex, d, x, err);
    if (!st) st = collect_rest(d, ex, scaled, sd_select_f32(least, x.rows, x.rows / 5), &all, err);
    if (d->row_norm) sd_free(scaled.data);
    if (!st) st = set_thresholds(d, count, &all, n_active, err);
    d->has_threshold = !st;
done:
    forget_scan(d);
    sd_free(count);
    sd_free(least);
    sd_free(all.v);
    return st;
}
