/* Owns the sums over tokens. Codes are merged row by row, so a feature costs what its entries cost. */
#include "lab/survive.h"

#include "base/mem.h"
#include "num/exec.h"
#include "num/stats.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct sd_survive_ref {
    const sd_dict *dict;
    int64_t n, cap, nnz, cap_nnz, d, m;
    double limit;        /* of sinks */
    int32_t *token_id;   /* [n] all rows read */
    uint8_t *keep;       /* [n] 0: a sink */
    float *x;            /* [n, d] */
    int64_t *ptr;        /* [n + 1] */
    int32_t *idx;
    float *val;
    sd_dict_metrics recon;
};

static sd_status grow(void *array, int64_t cap, size_t size, sd_err *err)
{
    void *old, *p;
    memcpy(&old, array, sizeof old);
    p = sd_realloc(old, (size_t)cap * size);
    if (!p) return sd_fail(err, SD_E_NOMEM, "out of memory: %" PRId64 " rows to compare", cap);
    memcpy(array, &p, sizeof p);
    return SD_OK;
}

static sd_status reserve_rows(sd_survive_ref *r, int64_t rows, sd_err *err)
{
    sd_status st = SD_OK;
    if (r->n + rows > r->cap) {
        r->cap = r->n + rows > 2 * r->cap ? r->n + rows : 2 * r->cap;
        st = grow(&r->token_id, r->cap, sizeof *r->token_id, err);
        if (!st) st = grow(&r->keep, r->cap, 1, err);
        if (!st) st = grow(&r->x, r->cap * r->d, sizeof *r->x, err);
        if (!st) st = grow(&r->ptr, r->cap + 1, sizeof *r->ptr, err);
    }
    return st;
}

static sd_status reserve_codes(sd_survive_ref *r, int64_t nnz, sd_err *err)
{
    sd_status st = SD_OK;
    if (r->nnz + nnz > r->cap_nnz) {
        r->cap_nnz = r->nnz + nnz > 2 * r->cap_nnz ? r->nnz + nnz : 2 * r->cap_nnz;
        st = grow(&r->idx, r->cap_nnz, sizeof *r->idx, err);
        if (!st) st = grow(&r->val, r->cap_nnz, sizeof *r->val, err);
    }
    return st;
}

/* Codes of the rows of a block that are kept, and metrics of what is decoded from them. z has no rows where none is. */
static sd_status read_kept(sd_codes *z, sd_dict_metrics *m, const sd_exec *ex, const sd_dict *dict, sd_mat x, const uint8_t *keep, sd_err *err)
{
    float *rows = NULL;
    int64_t n = 0;
    sd_status st = sd_alloc(&rows, (size_t)(2 * x.rows * x.cols) * sizeof *rows, "rows and reconstructions", err);
    if (st) return st;
    for (int64_t i = 0; i < x.rows; i++)
        if (keep[i]) memcpy(rows + n++ * x.cols, sd_mat_row(x, i), (size_t)x.cols * sizeof *rows);
    const sd_mat kept = sd_mat_of(rows, n, x.cols), back = sd_mat_of(rows + n * x.cols, n, x.cols);
    z->n = z->nnz = 0;
    if (n) st = sd_dict_encode(z, ex, dict, kept, err);
    if (!st && n) {
        sd_dict_reconstruct(back, ex, dict, z, kept);
        sd_dict_metrics_add(m, kept, back, z);
    }
    sd_free(rows);
    return st;
}

static sd_status take_block(sd_survive_ref *r, const sd_exec *ex, sd_codes *z, const sd_act_block *b, sd_err *err)
{
    sd_status st = reserve_rows(r, b->x.rows, err);
    if (!st && !(r->limit > 0)) {
        st = sd_median_norm(&r->limit, b->x, err);
        r->limit *= SD_SINK_FACTOR;
    }
    if (st) return st;
    for (int64_t i = 0; i < b->x.rows; i++) {
        const float *row = sd_mat_row(b->x, i);
        r->token_id[r->n + i] = b->token_id[i];
        r->keep[r->n + i] = (double)ex->kern->dot(row, row, r->d) <= r->limit * r->limit;
        memcpy(r->x + (r->n + i) * r->d, row, (size_t)r->d * sizeof *row);
    }
    st = read_kept(z, &r->recon, ex, r->dict, b->x, r->keep + r->n, err);
    if (!st) st = reserve_codes(r, z->nnz, err);
    if (st) return st;
    for (int64_t i = 0, k = 0; i < b->x.rows; i++, r->n++) {
        r->ptr[r->n] = r->nnz;
        if (r->keep[r->n]) {
            for (int64_t e = z->row_ptr[k]; e < z->row_ptr[k + 1]; e++, r->nnz++) r->idx[r->nnz] = z->idx[e], r->val[r->nnz] = z->val[e];
            k++;
        }
        r->ptr[r->n + 1] = r->nnz;
    }
    return SD_OK;
}

sd_status sd_survive_ref_new(sd_survive_ref **out, const sd_exec *ex, const sd_dict *dict, sd_act_source src, int64_t max_rows, const sd_progress *progress, sd_err *err)
{
    const sd_dict_info *in = sd_dict_get_info(dict);
    sd_survive_ref *r = NULL;
    sd_codes z = {0};
    *out = NULL;
    if (src.d != in->d) return sd_fail(err, SD_E_SHAPE, "the dictionary is for rows of %" PRId64 ", the site has %" PRId64, in->d, src.d);
    if (sd_dict_kind_maps(in->kind)) return sd_fail(err, SD_E_UNSUPPORTED, "the features of a transcoder are not compared; give a dictionary of one site");
    sd_status st = sd_alloc_zero(&r, sizeof *r, "a reference", err);
    if (st) return st;
    *r = (sd_survive_ref){.dict = dict, .d = in->d, .m = in->m, .limit = SD_SINK_FACTOR * in->site_rms};
    st = sd_dict_metrics_init(&r->recon, r->d, r->m, err);
    while (!st && (!max_rows || r->n < max_rows)) {
        sd_act_block b;
        if ((st = src.next(src.self, &b, err)) || b.x.rows == 0) break;
        if (max_rows && b.x.rows > max_rows - r->n) b.x.rows = max_rows - r->n;
        st = take_block(r, ex, &z, &b, err);
        sd_progress_update(progress, "reference", (double)r->n, (double)max_rows, "rows");
        if (!st && sd_progress_cancelled(progress)) st = sd_fail(err, SD_E_CANCELLED, "stopped while the reference was read");
    }
    if (!st && r->n < 2) st = sd_fail(err, SD_E_FORMAT, "the text gave no row to compare");
    if (!st) sd_dict_metrics_finish(&r->recon);
    sd_codes_release(&z);
    if (st) sd_survive_ref_free(r);
    else *out = r;
    return st;
}

void sd_survive_ref_free(sd_survive_ref *r)
{
    if (!r) return;
    sd_dict_metrics_release(&r->recon);
    sd_free(r->token_id), sd_free(r->keep), sd_free(r->x), sd_free(r->ptr), sd_free(r->idx), sd_free(r->val);
    sd_free(r);
}

const sd_dict_metrics *sd_survive_ref_recon(const sd_survive_ref *r) { return &r->recon; }
int64_t sd_survive_ref_rows(const sd_survive_ref *r) { return r->n; }

/* Of one feature. */
typedef struct sums { double a, b, aa, bb, ab, peak; int64_t na, nb, both; } sums;

static void add_row(sums *s, const sd_survive_ref *r, int64_t at, const sd_codes *z, int64_t i)
{
    int64_t e = r->ptr[at], g = z->row_ptr[i];
    const int64_t e1 = r->ptr[at + 1], g1 = z->row_ptr[i + 1];
    while (e < e1 || g < g1) {
        const int32_t f = e < e1 && (g >= g1 || r->idx[e] <= z->idx[g]) ? r->idx[e] : z->idx[g];
        const double a = e < e1 && r->idx[e] == f ? (double)r->val[e++] : 0, b = g < g1 && z->idx[g] == f ? (double)z->val[g++] : 0;
        sums *q = &s[f];
        q->a += a, q->b += b, q->aa += a * a, q->bb += b * b, q->ab += a * b;
        q->na += a > 0, q->nb += b > 0, q->both += a > 0 && b > 0;
        if (a > q->peak) q->peak = a;
    }
}

typedef struct ranked { double peak; float corr; } ranked;
static int by_peak(const void *a, const void *b)
{
    const double x = ((const ranked *)a)->peak, y = ((const ranked *)b)->peak;
    return x < y ? -1 : x > y;
}

/* Mann-Whitney: the chance that a survivor's peak is above another's; equal peaks count half. v is sorted by peak. */
static double auc(const ranked *v, int64_t n)
{
    double below = 0, sum = 0;
    int64_t pos = 0, neg = 0;
    for (int64_t i = 0; i < n;) {
        int64_t j = i, p = 0, q = 0;
        for (; j < n && v[j].peak == v[i].peak; j++) {
            const bool lives = v[j].corr >= (float)SD_SURVIVE;
            p += lives;
            q += !lives;
        }
        sum += (double)p * (below + 0.5 * (double)q);
        below += (double)q;
        pos += p, neg += q;
        i = j;
    }
    return pos && neg ? sum / ((double)pos * (double)neg) : NAN;
}

static sd_status conclude(sd_survival *out, const sums *s, int64_t m, int64_t n, sd_err *err)
{
    ranked *v = NULL;
    float *sorted = NULL;
    int64_t k = 0;
    sd_status st = sd_alloc(&v, (size_t)(m + 1) * sizeof *v, "ranks", err);
    if (!st) st = sd_alloc(&sorted, (size_t)(m + 1) * sizeof *sorted, "ranks", err);
    for (int64_t f = 0; f < m && !st; f++) {
        const double N = (double)n, va = s[f].aa - s[f].a * s[f].a / N, vb = s[f].bb - s[f].b * s[f].b / N, c = s[f].ab - s[f].a * s[f].b / N;
        out->corr[f] = out->f1[f] = NAN;
        if (s[f].na < SD_SURVIVE_FIRES) continue;
        out->corr[f] = va > 0 && vb > 0 ? (float)(c / sqrt(va * vb)) : 0.0f;
        out->f1[f] = (float)(2.0 * (double)s[f].both / (double)(s[f].na + s[f].nb));
        out->mean_f1 += (double)out->f1[f];
        out->n_silent += s[f].nb == 0;
        out->n_survived += out->corr[f] >= (float)SD_SURVIVE;
        sorted[k] = out->corr[f];
        v[k++] = (ranked){s[f].peak, out->corr[f]};
    }
    out->n_counted = k;
    if (!st && k) {
        qsort(v, (size_t)k, sizeof *v, by_peak);
        out->share = (double)out->n_survived / (double)k;
        out->mean_f1 /= (double)k;
        out->median_corr = (double)sd_median_f32(sorted, k);
        out->peak_auc = auc(v, k);
        for (int b = 0; b < SD_SURVIVE_BINS; b++) {
            const int64_t i0 = k * b / SD_SURVIVE_BINS, i1 = k * (b + 1) / SD_SURVIVE_BINS;
            int64_t live = 0;
            for (int64_t i = i0; i < i1; i++) live += v[i].corr >= (float)SD_SURVIVE;
            out->by_peak[b] = i1 > i0 ? (double)live / (double)(i1 - i0) : NAN;
        }
    } else if (!st) {
        st = sd_fail(err, SD_E_FORMAT, "no feature fires on %d tokens of this text", SD_SURVIVE_FIRES);
        (void)sd_hint(err, "give more text, or more --tokens");
    }
    sd_free(v);
    sd_free(sorted);
    return st;
}

/* |x' - x|^2 over the spread of the reference's kept rows. */
static double row_error(const sd_survive_ref *r, const double *mean, double e2, int64_t kept)
{
    double x2 = 0, mean2 = 0;
    for (int64_t i = 0; i < r->n; i++)
        for (int64_t c = 0; c < r->d && r->keep[i]; c++) x2 += (double)r->x[i * r->d + c] * (double)r->x[i * r->d + c];
    for (int64_t c = 0; c < r->d; c++) mean2 += mean[c] / (double)kept * (mean[c] / (double)kept);
    return e2 / (x2 - (double)kept * mean2);
}

sd_status sd_lab_survive(sd_survival *out, const sd_exec *ex, const sd_survive_ref *r, sd_act_source src, const sd_progress *progress, sd_err *err)
{
    sums *s = NULL;
    double *mean = NULL, e2 = 0;
    sd_codes z = {0};
    int64_t at = 0, kept = 0;
    *out = (sd_survival){0};
    if (src.d != r->d) return sd_fail(err, SD_E_SHAPE, "the reference's rows have %" PRId64 " numbers, this model's %" PRId64, r->d, src.d);
    sd_status st = sd_alloc_zero(&s, (size_t)r->m * sizeof *s, "sums of features", err);
    if (!st) st = sd_alloc_zero(&mean, (size_t)r->d * sizeof *mean, "a mean", err);
    if (!st) st = sd_alloc(&out->corr, (size_t)r->m * sizeof *out->corr, "correlations", err);
    if (!st) st = sd_alloc(&out->f1, (size_t)r->m * sizeof *out->f1, "correlations", err);
    if (!st) st = sd_dict_metrics_init(&out->recon, r->d, r->m, err);
    while (!st && at < r->n) {
        sd_act_block b;
        if ((st = src.next(src.self, &b, err))) break;
        if (b.x.rows > r->n - at) b.x.rows = r->n - at;
        if (b.x.rows == 0 || memcmp(b.token_id, r->token_id + at, (size_t)b.x.rows * sizeof *b.token_id) != 0) {
            (void)sd_fail(err, SD_E_FORMAT, "the two models read this text as different tokens, so their features cannot be compared");
            st = sd_hint(err, "give quantisations of one model");
            break;
        }
        if ((st = read_kept(&z, &out->recon, ex, r->dict, b.x, r->keep + at, err))) break;
        for (int64_t i = 0, k = 0; i < b.x.rows; i++, at++) {
            if (!r->keep[at]) continue;
            add_row(s, r, at, &z, k++);
            kept++;
            for (int64_t c = 0; c < r->d; c++) {
                const double v = (double)r->x[at * r->d + c], e = (double)sd_mat_row(b.x, i)[c] - v;
                mean[c] += v;
                e2 += e * e;
            }
        }
        sd_progress_update(progress, "compare", (double)at, (double)r->n, "rows");
        if (sd_progress_cancelled(progress)) st = sd_fail(err, SD_E_CANCELLED, "stopped while a model was compared");
    }
    if (!st) st = conclude(out, s, r->m, kept, err);
    if (!st) {
        sd_dict_metrics_finish(&out->recon);
        out->row_error = row_error(r, mean, e2, kept);
    } else {
        sd_survival_release(out);
    }
    sd_free(s);
    sd_free(mean);
    sd_codes_release(&z);
    return st;
}

void sd_survival_release(sd_survival *s)
{
    sd_dict_metrics_release(&s->recon);
    sd_free(s->corr);
    sd_free(s->f1);
    s->corr = s->f1 = NULL;
}
