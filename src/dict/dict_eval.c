/* Owns: the running sums. A block's own mean is needed only by the legacy definition. */
#include "dict/dict_eval.h"

#include "base/mem.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

struct sd_dict_sums {
    int64_t d, m, n, n_legacy, n_norm;
    double e2, x2, y2, xy, cos, ratio, legacy, norm, len, l0, l1;
    double *sum_x, *sum_e, *block_x; /* [d] */
    int64_t *fired;                  /* [m] rows */
};

sd_status sd_dict_metrics_init(sd_dict_metrics *m, int64_t d, int64_t n_features, sd_err *err)
{
    struct sd_dict_sums *s = NULL;
    *m = (sd_dict_metrics){0};
    sd_status st = sd_alloc_zero(&s, sizeof *s, "metrics", err);
    if (st) return st;
    m->sums = s;
    s->d = d;
    s->m = n_features;
    st = sd_alloc_zero(&s->sum_x, (size_t)d * sizeof(double), "metrics", err);
    if (!st) st = sd_alloc_zero(&s->sum_e, (size_t)d * sizeof(double), "metrics", err);
    if (!st) st = sd_alloc_zero(&s->block_x, (size_t)d * sizeof(double), "metrics", err);
    if (!st) st = sd_alloc_zero(&s->fired, (size_t)n_features * sizeof *s->fired, "metrics", err);
    if (st) sd_dict_metrics_release(m);
    return st;
}

void sd_dict_metrics_release(sd_dict_metrics *m)
{
    if (!m->sums) return;
    sd_free(m->sums->sum_x);
    sd_free(m->sums->sum_e);
    sd_free(m->sums->block_x);
    sd_free(m->sums->fired);
    sd_free(m->sums);
    m->sums = NULL;
}

static void add_row(struct sd_dict_sums *s, const float *x, const float *y)
{
    double e2 = 0, x2 = 0, y2 = 0, xy = 0, c2 = 0;
    for (int64_t j = 0; j < s->d; j++) {
        double a = (double)x[j], b = (double)y[j], c = a - s->block_x[j];
        e2 += (a - b) * (a - b);
        x2 += a * a;
        y2 += b * b;
        xy += a * b;
        c2 += c * c;
        s->sum_x[j] += a;
        s->sum_e[j] += a - b;
    }
    s->e2 += e2;
    s->x2 += x2;
    s->y2 += y2;
    s->xy += xy;
    s->cos += x2 > 0 && y2 > 0 ? xy / sqrt(x2 * y2) : 0;
    s->ratio += x2 > 0 ? sqrt(y2 / x2) : 0;
    s->len += sqrt(e2);
    if (x2 > 0) {
        s->norm += e2 / x2;
        s->n_norm++;
    }
    if (c2 > 0) {
        s->legacy += 1 - e2 / c2;
        s->n_legacy++;
    }
    s->n++;
}

void sd_dict_metrics_add(sd_dict_metrics *m, sd_mat x, sd_mat y, const sd_codes *z)
{
    struct sd_dict_sums *s = m->sums;
    SD_ASSERT(s && x.cols == s->d && y.cols == s->d && x.rows == y.rows && z->n == x.rows);
    memset(s->block_x, 0, (size_t)s->d * sizeof(double));
    for (int64_t i = 0; i < x.rows; i++)
        for (int64_t j = 0; j < s->d; j++) s->block_x[j] += (double)sd_mat_row(x, i)[j];
    for (int64_t j = 0; j < s->d; j++) s->block_x[j] /= (double)x.rows;
    for (int64_t i = 0; i < x.rows; i++) add_row(s, sd_mat_row(x, i), sd_mat_row(y, i));
    for (int64_t e = 0; e < z->nnz; e++) {
        s->l0 += z->val[e] != 0;
        s->l1 += fabs((double)z->val[e]);
        s->fired[z->idx[e]] += z->val[e] != 0;
    }
}

void sd_dict_metrics_finish(sd_dict_metrics *m)
{
    const struct sd_dict_sums *s = m->sums;
    double n = (double)s->n, mean2 = 0, mean_e2 = 0, square = s->x2 / n / (double)s->d;
    int64_t often = 0, very_often = 0;
    for (int64_t j = 0; j < s->d; j++) {
        mean2 += (s->sum_x[j] / n) * (s->sum_x[j] / n);
        mean_e2 += (s->sum_e[j] / n) * (s->sum_e[j] / n);
    }
    m->n_rows = s->n;
    m->fvu = s->e2 / (s->x2 - n * mean2);
    m->explained_variance = 1 - m->fvu;
    m->explained_variance_legacy = s->legacy / (double)s->n_legacy;
    m->explained_variance_vs0 = 1 - s->e2 / s->x2;
    m->mse = s->e2 / n;
    m->l0 = s->l0 / n;
    m->l1 = s->l1 / n;
    m->cossim = s->cos / n;
    m->l2_ratio = s->ratio / n;
    m->relative_reconstruction_bias = s->y2 / s->xy;
    for (int64_t f = 0; f < s->m; f++) {
        m->n_fired += s->fired[f] > 0;
        often += (double)s->fired[f] > 0.01 * n;
        very_often += (double)s->fired[f] > 0.1 * n;
        if (!s->fired[f]) continue;
        const int bin = (int)floor(2 * log10((double)s->fired[f] / n)) + SD_DENSITY_BINS;
        m->density_bin[bin < 0 ? 0 : bin < SD_DENSITY_BINS ? bin : SD_DENSITY_BINS - 1]++;
    }
    m->silent_share = 1 - (double)m->n_fired / (double)s->m;
    m->explained_variance_saebench060 = 1 - m->mse / (s->x2 / n - square * square);
    m->frac_variance_explained = 1 - (s->e2 - n * mean_e2) / (s->x2 - n * mean2); /* both unbiased: n - 1 divides out */
    m->l2_loss = s->len / n;
    m->normalized_mse_openai = s->norm / (double)s->n_norm;
    m->frac_alive = (double)m->n_fired / (double)s->m;
    m->freq_over_1_percent = (double)often / (double)s->m;
    m->freq_over_10_percent = (double)very_often / (double)s->m;
    sd_dict_metrics_release(m);
}

bool sd_dict_metric_at(const sd_dict_metrics *m, int i, const char **id, double *value)
{
#define METRIC(name) {#name, offsetof(sd_dict_metrics, name)}
    static const struct { const char *id; size_t at; } table[] = {
        METRIC(fvu), METRIC(explained_variance), METRIC(explained_variance_legacy), METRIC(explained_variance_vs0), METRIC(mse), METRIC(l0),
        METRIC(l1), METRIC(cossim), METRIC(l2_ratio), METRIC(relative_reconstruction_bias), METRIC(silent_share),
        METRIC(explained_variance_saebench060), METRIC(frac_variance_explained), METRIC(l2_loss), METRIC(normalized_mse_openai), METRIC(frac_alive),
        METRIC(freq_over_1_percent), METRIC(freq_over_10_percent)};
#undef METRIC
    if (i < 0 || i >= (int)(sizeof table / sizeof *table)) return false;
    *id = table[i].id;
    memcpy(value, (const char *)m + table[i].at, sizeof *value);
    return true;
}
