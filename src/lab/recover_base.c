/* What a dictionary's features are held against: directions that nobody trained (random, principal components, neurons), a probe that
 * was told the labels, and baselines that never look inside the model (token pairs, a bag of recent tokens). */
#include "lab/recover_int.h"

#include "base/par.h"
#include "base/rng.h"
#include "num/eig.h"

#include <math.h>

/* ---- directions ---- */

typedef struct directions { const recover_set *s; const float *u; } directions; /* u [n, d] */

static void along(const void *self, int half, int64_t i, float *out)
{
    const directions *k = self;
    sd_mat x = k->s->half[half].x;
    for (int64_t r = 0; r < x.rows; r++) out[r] = k->s->ex->kern->dot(sd_mat_row(x, r), k->u + i * x.cols, x.cols);
}

static void column(const void *self, int half, int64_t i, float *out)
{
    const recover_set *s = self;
    sd_mat x = s->half[half].x;
    for (int64_t r = 0; r < x.rows; r++) out[r] = sd_mat_row(x, r)[i];
}

/* As many random directions as the site has columns. */
sd_status sd_recover__random(sd_recovered *v, const recover_set *s, uint64_t seed, sd_err *err)
{
    int64_t d = s->half[0].x.cols;
    float *u;
    sd_detector best[SD_RECOVER_CONCEPTS];
    sd_status st = sd_alloc(&u, (size_t)(d * d) * sizeof *u, "random directions", err);
    if (st) return st;
    for (int64_t i = 0; i < d; i++) {
        sd_rng rng = sd_rng_make(seed, "direction", (uint64_t)i);
        for (int64_t j = 0; j < d; j++) u[i * d + j] = sd_rng_normal(&rng);
    }
    directions k = {s, u};
    st = sd_recover__best(best, s, &(recover_family){.n = d, .value = along, .self = &k, .both_signs = true}, false, err);
    for (int c = 0; c < s->n_concept && !st; c++) v[c].random = best[c];
    sd_free(u);
    return st;
}

sd_status sd_recover__neurons(sd_recovered *v, const recover_set *s, sd_err *err)
{
    sd_detector best[SD_RECOVER_CONCEPTS];
    recover_family f = {.n = s->half[0].x.cols, .value = column, .self = s, .both_signs = true};
    sd_status st = sd_recover__best(best, s, &f, false, err);
    for (int c = 0; c < s->n_concept && !st; c++) v[c].neuron = best[c];
    return st;
}

/* Mean and covariance (upper half) of the choosing half, in double. */
typedef struct moments { const recover_set *s; const double *mean; double *cov; } moments;

static void covariance_rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    moments *k = arg;
    sd_mat x = k->s->half[0].x;
    (void)chunk;
    for (int64_t r = 0; r < x.rows; r++) {
        const float *p = sd_mat_row(x, r);
        for (int64_t i = begin; i < end; i++) {
            double a = p[i] - k->mean[i], *row = k->cov + i * x.cols;
            for (int64_t j = i; j < x.cols; j++) row[j] += a * (p[j] - k->mean[j]);
        }
    }
}

/* All principal components of the choosing half, up to 512 columns; above that the detector stays empty. */
sd_status sd_recover__components(sd_recovered *v, const recover_set *s, sd_err *err)
{
    enum { MOST = 512 }; /* Jacobi costs d^3 a sweep: seconds at 512 */
    sd_mat x = s->half[0].x;
    int64_t d = x.cols;
    double *mean = NULL, *cov = NULL, *vec = NULL;
    float *u = NULL;
    sd_detector best[SD_RECOVER_CONCEPTS];
    sd_status st = SD_OK;
    for (int c = 0; c < s->n_concept; c++) v[c].component = (sd_detector){.index = -1, .f1 = NAN, .auroc = NAN};
    if (d > MOST) return SD_OK;
    if ((st = sd_alloc_zero(&mean, (size_t)d * sizeof *mean, "components", err))) goto done;
    if ((st = sd_alloc_zero(&cov, (size_t)(d * d) * sizeof *cov, "components", err))) goto done;
    if ((st = sd_alloc(&vec, (size_t)(d * d) * sizeof *vec, "components", err))) goto done;
    if ((st = sd_alloc(&u, (size_t)(d * d) * sizeof *u, "components", err))) goto done;
    for (int64_t r = 0; r < x.rows; r++)
        for (int64_t j = 0; j < d; j++) mean[j] += sd_mat_row(x, r)[j];
    for (int64_t j = 0; j < d; j++) mean[j] /= (double)x.rows;
    moments k = {s, mean, cov};
    sd_parallel_for(s->ex->n_threads, d, 32, covariance_rows, &k);
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j < i; j++) cov[i * d + j] = cov[j * d + i];
    sd_eig_all(cov, vec, d);
    for (int64_t i = 0; i < d * d; i++) u[i] = (float)vec[i];
    directions dirs = {s, u};
    st = sd_recover__best(best, s, &(recover_family){.n = d, .value = along, .self = &dirs, .both_signs = true}, false, err);
    for (int c = 0; c < s->n_concept && !st; c++) v[c].component = best[c];
done:
    sd_free(mean);
    sd_free(cov);
    sd_free(vec);
    sd_free(u);
    return st;
}

/* ---- probes ---- */

enum {
    PROBE_ROWS = 24000, /* tokens a probe learns from, evenly spaced: more changed F1 by less than 0.01 */
    PROBE_STEPS = 120,
};
static const double PROBE_LR = 0.05;

typedef struct probe {
    const recover_set *s;
    const float *z;        /* [n, d] standardised rows of the choosing half */
    const uint64_t *mask;  /* [n] */
    int64_t n, d;
    float *w;              /* [n_concept, d] */
    float *room;           /* [n_threads, 3 d] gradient and its moments */
} probe;

/* Logistic regression by Adam on all rows at once: loss mean log(1 + exp(-+ (w z + b))). One concept is one chunk. */
static void fit_concept(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const probe *k = arg;
    const sd_kern *kern = k->s->ex->kern;
    float *g = k->room + 3 * k->d * sd_par_worker(), *m = g + k->d, *v = m + k->d;
    (void)chunk;
    for (int64_t c = begin; c < end; c++) {
        float *w = k->w + c * k->d;
        double share = (double)k->s->half[0].count[c] / (double)k->s->half[0].n;
        double b = log(share / (1 - share)), gb, mb = 0, vb = 0;
        memset(m, 0, (size_t)k->d * sizeof *m);
        memset(v, 0, (size_t)k->d * sizeof *v);
        for (int t = 1; t <= PROBE_STEPS; t++) {
            double fix1 = 1 - pow(0.9, t), fix2 = 1 - pow(0.999, t);
            memset(g, 0, (size_t)k->d * sizeof *g);
            gb = 0;
            for (int64_t r = 0; r < k->n; r++) {
                const float *z = k->z + r * k->d;
                double p = 1 / (1 + exp(-(kern->dot(w, z, k->d) + b)));
                double e = p - (double)(k->mask[r] >> c & 1);
                if (fabs(e) < 1e-4) continue; /* a row that is right adds nothing */
                gb += e;
                kern->axpy(g, (float)e, z, k->d);
            }
            /* Adam is blind to the scale of the loss, so the sum stands for the mean. */
            for (int64_t j = 0; j < k->d; j++) {
                m[j] = 0.9f * m[j] + 0.1f * g[j];
                v[j] = 0.999f * v[j] + 0.001f * g[j] * g[j];
                w[j] -= (float)(PROBE_LR * (m[j] / fix1) / (sqrt(v[j] / fix2) + 1e-8));
            }
            mb = 0.9 * mb + 0.1 * gb;
            vb = 0.999 * vb + 0.001 * gb * gb;
            b -= PROBE_LR * (mb / fix1) / (sqrt(vb / fix2) + 1e-8);
        }
    }
}

sd_status sd_recover__probe(sd_recovered *v, const recover_set *s, bool embedding, sd_err *err)
{
    const recover_half *A = &s->half[0], *B = &s->half[1];
    int64_t d = A->x.cols, n = A->n < PROBE_ROWS ? A->n : PROBE_ROWS, most = A->n > B->n ? A->n : B->n;
    float *z = NULL, *w = NULL, *room = NULL, *sa = NULL, *sb = NULL;
    recover_table *t = NULL;
    double *mean = NULL;
    uint64_t *mask = NULL;
    sd_status st;
    if ((st = sd_alloc(&z, (size_t)(n * d) * sizeof *z, "a probe", err))) goto done;
    if ((st = sd_alloc_zero(&w, (size_t)(s->n_concept * d) * sizeof *w, "a probe", err))) goto done;
    if ((st = sd_alloc(&mask, (size_t)n * sizeof *mask, "a probe", err))) goto done;
    if ((st = sd_alloc_zero(&mean, (size_t)(2 * d) * sizeof *mean, "a probe", err))) goto done;
    if ((st = sd_alloc(&room, (size_t)(3 * d * s->ex->n_threads) * sizeof *room, "a probe", err))) goto done;
    if ((st = sd_alloc(&t, sizeof *t, "a probe", err))) goto done;
    if ((st = sd_alloc(&sa, (size_t)most * sizeof *sa, "a probe", err))) goto done;
    if ((st = sd_alloc(&sb, (size_t)most * sizeof *sb, "a probe", err))) goto done;
    for (int64_t r = 0; r < n; r++) {
        int64_t from = r * A->n / n;
        memcpy(z + r * d, sd_mat_row(A->x, from), (size_t)d * sizeof *z);
        mask[r] = A->mask[from];
        for (int64_t j = 0; j < d; j++) mean[j] += z[r * d + j], mean[d + j] += (double)z[r * d + j] * z[r * d + j];
    }
    for (int64_t j = 0; j < d; j++) {
        mean[j] /= (double)n;
        mean[d + j] = 1 / sqrt(fmax(mean[d + j] / (double)n - mean[j] * mean[j], 1e-12));
    }
    for (int64_t r = 0; r < n; r++)
        for (int64_t j = 0; j < d; j++) z[r * d + j] = (float)((z[r * d + j] - mean[j]) * mean[d + j]);
    probe k = {.s = s, .z = z, .mask = mask, .n = n, .d = d, .w = w, .room = room};
    sd_parallel_for(s->ex->n_threads, s->n_concept, 1, fit_concept, &k);
    for (int c = 0; c < s->n_concept; c++) {
        for (int64_t j = 0; j < d; j++) w[c * d + j] = (float)(w[c * d + j] * mean[d + j]);
        directions dir = {s, w + c * d};
        along(&dir, 0, 0, sa);
        along(&dir, 1, 0, sb);
        sd_recover__judge(embedding ? &v[c].embedding : &v[c].probe, t, s, c, sa, sb);
    }
done:
    sd_free(z);
    sd_free(w);
    sd_free(room);
    sd_free(t);
    sd_free(mask);
    sd_free(mean);
    sd_free(sa);
    sd_free(sb);
    return st;
}
