/* What stands beside a chosen direction: other ways to fit one at the same place, and floors that any direction must beat.
 *
 *   harmfulness  the difference of means at the instruction's last token (arXiv 2507.11878: harmfulness is read there, refusal behind it)
 *   mass_mean    Sigma^-1 (mu+ - mu-), Sigma the covariance within classes (Marks and Tegmark 2023, section 5), with a ridge of 1 % of its mean
 *   logistic     L2 logistic regression (lab/logistic.h)
 *   pca          first principal component of the pooled rows, turned to the positive side
 *   random       unit vectors with as much mean square on the positive validation rows as the chosen one, so that their ablation takes as much away
 *   equal cost   random mixtures taken out with the strength that costs a text as much: direction_ce.c
 *   shuffled     differences of means of randomly divided training prompts */
#include "lab/direction_int.h"

#include "base/rng.h"
#include "lab/logistic.h"

#include <math.h>

enum { DEFAULT_FLOOR = 20, CG_STEPS = 200, PCA_STEPS = 100, BISECT = 30 };

typedef struct place {
    float *train[2], *val[2]; /* rows of positive and negative prompts; own */
    int64_t n_train[2], n_val[2], d;
    float *mu[2];             /* [d] means of the training rows; own */
    double *w, *g, *p, *q;    /* [d] scratch; own */
} place;

static void place_release(place *x)
{
    for (int k = 0; k < 2; k++) {
        sd_free(x->train[k]);
        sd_free(x->val[k]);
        sd_free(x->mu[k]);
    }
    sd_free(x->w);
    sd_free(x->g);
    sd_free(x->p);
    sd_free(x->q);
}

static void mean_of(float *mu, const float *x, int64_t n, int64_t d)
{
    for (int64_t j = 0; j < d; j++) {
        double s = 0;
        for (int64_t i = 0; i < n; i++) s += (double)x[i * d + j];
        mu[j] = (float)(s / (double)n);
    }
}

static sd_status place_open(place *x, direction_study *s, int64_t row, int layer, sd_err *err)
{
    size_t d = (size_t)s->d;
    sd_status st = SD_OK;
    *x = (place){.d = s->d};
    for (int k = 0; k < 2 && !st; k++) {
        x->n_train[k] = s->n_set[SD_POS_TRAIN + k];
        x->n_val[k] = s->n_set[SD_POS_VAL + k];
        st = sd_alloc(&x->train[k], (size_t)x->n_train[k] * d * sizeof(float), "activations", err);
        if (!st) st = sd_alloc(&x->val[k], (size_t)x->n_val[k] * d * sizeof(float), "activations", err);
        if (!st) st = sd_alloc(&x->mu[k], d * sizeof(float), "a mean", err);
        if (!st) st = sd_direction__rows(x->train[k], s, s->set[SD_POS_TRAIN + k], x->n_train[k], row, layer, err);
        if (!st) st = sd_direction__rows(x->val[k], s, s->set[SD_POS_VAL + k], x->n_val[k], row, layer, err);
        if (!st) mean_of(x->mu[k], x->train[k], x->n_train[k], x->d);
    }
    if (!st) st = sd_alloc(&x->w, d * sizeof(double), "a fit", err);
    if (!st) st = sd_alloc(&x->g, d * sizeof(double), "a fit", err);
    if (!st) st = sd_alloc(&x->p, d * sizeof(double), "a fit", err);
    if (!st) st = sd_alloc(&x->q, d * sizeof(double), "a fit", err);
    return st;
}

/* q = Sigma p (+ ridge p) with Sigma = sum over classes of (x - mu)(x - mu)^T / n; mu [2] may both be the pooled mean. */
static void times_covariance(const place *x, double *q, const double *p, const float *const *mu, double ridge)
{
    int64_t n = x->n_train[0] + x->n_train[1];
    for (int64_t j = 0; j < x->d; j++) q[j] = ridge * p[j];
    for (int k = 0; k < 2; k++)
        for (int64_t i = 0; i < x->n_train[k]; i++) {
            const float *r = x->train[k] + i * x->d;
            double c = 0;
            for (int64_t j = 0; j < x->d; j++) c += (double)(r[j] - mu[k][j]) * p[j];
            for (int64_t j = 0; j < x->d; j++) q[j] += c / (double)n * (double)(r[j] - mu[k][j]);
        }
}

static double mean_variance(const place *x, const float *const *mu)
{
    double s = 0;
    for (int k = 0; k < 2; k++)
        for (int64_t i = 0; i < x->n_train[k] * x->d; i++) {
            double e = (double)(x->train[k][i] - mu[k][i % x->d]);
            s += e * e;
        }
    return s / ((double)(x->n_train[0] + x->n_train[1]) * (double)x->d);
}

static double ddot(const double *a, const double *b, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += a[i] * b[i];
    return s;
}

/* Conjugate gradients on (Sigma + ridge I) w = mu+ - mu-. */
static void fit_mass_mean(float *v, place *x)
{
    const float *const mu[2] = {x->mu[0], x->mu[1]};
    double ridge = 0.01 * mean_variance(x, mu), rr, before;
    for (int64_t j = 0; j < x->d; j++) x->w[j] = 0, x->p[j] = x->g[j] = (double)mu[0][j] - (double)mu[1][j];
    rr = ddot(x->g, x->g, x->d);
    double stop = rr * 1e-16;
    for (int i = 0; i < CG_STEPS && rr > stop; i++) {
        times_covariance(x, x->q, x->p, mu, ridge);
        double a = rr / ddot(x->p, x->q, x->d);
        for (int64_t j = 0; j < x->d; j++) x->w[j] += a * x->p[j], x->g[j] -= a * x->q[j];
        before = rr;
        rr = ddot(x->g, x->g, x->d);
        for (int64_t j = 0; j < x->d; j++) x->p[j] = x->g[j] + rr / before * x->p[j];
    }
    for (int64_t j = 0; j < x->d; j++) v[j] = (float)x->w[j];
}

/* Power iteration on the pooled covariance. */
static void fit_pca(float *v, place *x, uint64_t seed)
{
    float *pooled = x->mu[0];
    int64_t n = x->n_train[0] + x->n_train[1];
    sd_rng rng = sd_rng_make(seed, "pca", 0);
    double up = 0;
    for (int64_t j = 0; j < x->d; j++) {
        double a = (double)x->mu[0][j], b = (double)x->mu[1][j];
        x->g[j] = a - b;
        pooled[j] = (float)((a * (double)x->n_train[0] + b * (double)x->n_train[1]) / (double)n);
        x->p[j] = (double)sd_rng_normal(&rng);
    }
    const float *const mu[2] = {pooled, pooled};
    for (int i = 0; i < PCA_STEPS; i++) {
        times_covariance(x, x->q, x->p, mu, 0);
        double norm = sqrt(ddot(x->q, x->q, x->d));
        for (int64_t j = 0; j < x->d; j++) x->p[j] = norm > 0 ? x->q[j] / norm : 0;
    }
    up = ddot(x->p, x->g, x->d) < 0 ? -1 : 1;
    for (int64_t j = 0; j < x->d; j++) v[j] = (float)(up * x->p[j]);
}

/* ---- floors ---- */

static double mean_square(const float *u, const float *x, int64_t n, int64_t d)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += pow(sd_dot(u, x + i * d, d), 2) / (double)n;
    return s;
}

static void blend(float *u, const float *a, const float *b, double t, int64_t d)
{
    for (int64_t j = 0; j < d; j++) u[j] = (float)((1 - t) * (double)a[j] + t * (double)b[j]);
    sd_unit(u, u, d);
}

/* A unit vector between an isotropic one (little mean square) and a random mixture of activations (much), where the mean square is `target`. */
static bool matched(float *u, float *a, float *b, const place *x, double target, sd_rng *rng)
{
    for (int64_t j = 0; j < x->d; j++) a[j] = sd_rng_normal(rng), b[j] = 0;
    for (int64_t i = 0; i < x->n_val[0]; i++) {
        float g = sd_rng_normal(rng);
        for (int64_t j = 0; j < x->d; j++) b[j] += g * x->val[0][i * x->d + j];
    }
    sd_unit(a, a, x->d);
    sd_unit(b, b, x->d);
    double lo = 0, hi = 1;
    for (int i = 0; i < BISECT; i++) {
        double t = (lo + hi) / 2;
        blend(u, a, b, t, x->d);
        if (mean_square(u, x->val[0], x->n_val[0], x->d) < target) lo = t;
        else hi = t;
    }
    double got = mean_square(u, x->val[0], x->n_val[0], x->d);
    return fabs(got - target) <= 0.05 * target; /* a twentieth of the removed variance */
}

static void halves(float *u, int64_t *order, const place *x, sd_rng *rng)
{
    int64_t n = x->n_train[0] + x->n_train[1];
    for (int64_t i = 0; i < n; i++) order[i] = i;
    sd_rng_shuffle_i64(rng, order, n);
    for (int64_t j = 0; j < x->d; j++) {
        double s[2] = {0};
        for (int64_t i = 0; i < n; i++) {
            int64_t at = order[i], k = at >= x->n_train[0];
            s[i >= x->n_train[0]] += (double)x->train[k][(at - (k ? x->n_train[0] : 0)) * x->d + j];
        }
        u[j] = (float)(s[0] / (double)x->n_train[0] - s[1] / (double)x->n_train[1]);
    }
    sd_unit(u, u, x->d);
}

void sd_direction__count(sd_direction_floor *f, double bypass, double chosen)
{
    f->mean = (f->mean * f->n + bypass) / (f->n + 1);
    if (f->n == 0 || bypass < f->lowest) f->lowest = bypass;
    f->n_not_above += bypass <= chosen;
    f->n++;
}

static sd_status floors(direction_study *s, const place *x, double chosen, sd_err *err)
{
    sd_direction *o = s->out;
    int n = s->opt->n_floor < 0 ? 0 : s->opt->n_floor == 0 ? DEFAULT_FLOOR : s->opt->n_floor;
    float *u = NULL, *a = NULL, *b = NULL;
    int64_t *order = NULL;
    double bypass, target;
    size_t bytes = (size_t)s->d * sizeof(float);
    sd_status st = sd_alloc(&u, bytes, "a floor", err);
    if (!st) st = sd_alloc(&a, bytes, "a floor", err);
    if (!st) st = sd_alloc(&b, bytes, "a floor", err);
    if (!st) st = sd_alloc(&order, (size_t)(x->n_train[0] + x->n_train[1]) * sizeof *order, "a floor", err);
    if (st) goto done;
    sd_unit(s->unit, o->vector, s->d);
    target = mean_square(s->unit, x->val[0], x->n_val[0], s->d);
    for (int i = 0; i < 2 * n && !st; i++) {
        sd_rng rng = sd_rng_make(s->opt->seed, i < n ? "random direction" : "shuffled labels", (uint64_t)(i % n));
        if (i >= n) halves(u, order, x, &rng);
        else if (!matched(u, a, b, x, target, &rng)) o->random.n_unmatched++;
        if ((st = sd_direction__bypass(&bypass, s, u, 1, err))) break;
        sd_direction__count(i < n ? &o->random : &o->shuffled, bypass, chosen);
        sd_progress_update(s->opt->progress, "floors", i + 1, 2 * n, "directions");
        if (sd_progress_cancelled(s->opt->progress)) st = sd_fail(err, SD_E_CANCELLED, "stopped after %d of %d floors", i + 1, 2 * n);
    }
done:
    sd_free(u);
    sd_free(a);
    sd_free(b);
    sd_free(order);
    return st;
}

/* ---- all of it ---- */

static sd_status note_other(direction_study *s, const place *x, const char *name, const float *v, sd_err *err)
{
    sd_direction_other *o = &s->out->other[s->out->n_other++];
    *o = (sd_direction_other){.cosine = sd_cosine(v, s->out->vector, s->d), .bypass = NAN,
                              .auroc = sd_direction__auroc(v, x->val[0], x->n_val[0], x->val[1], x->n_val[1], s->d, NULL)};
    snprintf(o->name, sizeof o->name, "%s", name);
    if (s->opt->select != SD_SELECT_ARDITI || !sd_unit(s->unit, v, s->d)) return SD_OK;
    return sd_direction__bypass(&o->bypass, s, s->unit, 1, err);
}

/* Mean projection of validation prompts, before the filter, by kind and by the sign of their score: on v, at row `row` of mean_diff, input of `layer`. */
static sd_status project(double table[2][2], direction_study *s, const float *v, int64_t row, int layer, sd_err *err)
{
    int64_t from = s->first[SD_POS_VAL], n = s->first[4] - from, *which = NULL, n_of[2][2] = {{0}};
    float *x = NULL;
    sd_status st = sd_alloc(&which, (size_t)n * sizeof *which, "prompts", err);
    if (!st) st = sd_alloc(&x, (size_t)(n * s->d) * sizeof(float), "activations", err);
    for (int64_t i = 0; i < n && !st; i++) which[i] = from + i;
    if (!st) st = sd_direction__rows(x, s, which, n, row, layer, err);
    if (!st) sd_unit(s->unit, v, s->d);
    memset(table, 0, 4 * sizeof(double));
    for (int64_t i = 0; i < n && !st; i++) {
        int kind = from + i >= s->first[SD_NEG_VAL], answered = !(s->score[from + i] > 0);
        table[kind][answered] += sd_dot(s->unit, x + i * s->d, s->d);
        n_of[kind][answered]++;
    }
    for (int k = 0; k < 4 && !st; k++) table[k / 2][k % 2] = n_of[k / 2][k % 2] ? table[k / 2][k % 2] / (double)n_of[k / 2][k % 2] : NAN;
    sd_free(which);
    sd_free(x);
    return st;
}

/* Harmfulness is read at the instruction's last token, refusal behind it (arXiv 2507.11878): both directions on all four kinds of prompts, and their cosine by block. */
static sd_status two_directions(direction_study *s, const sd_candidate *c, sd_err *err)
{
    sd_direction *o = s->out;
    int64_t row = s->rendered.n_after + 1 + c->position;
    sd_status st = project(o->projection, s, o->vector, row, c->layer, err);
    if (!st) st = project(o->harm_projection, s, sd_direction__diff(s, 0, c->layer), 0, c->layer, err);
    if (!st) st = sd_alloc(&o->layer_cosine, (size_t)s->n_layer * sizeof(float), "cosines", err);
    for (int64_t l = 0; l < s->n_layer && !st; l++) o->layer_cosine[l] = (float)sd_cosine(sd_direction__diff(s, 0, l), sd_direction__diff(s, row, l), s->d);
    return st;
}

sd_status sd_direction__beside(direction_study *s, sd_err *err)
{
    sd_direction *o = s->out;
    sd_candidate *c = &o->cand[o->best];
    place x = {0};
    float *v = NULL;
    double bias;
    sd_status st = sd_alloc(&v, (size_t)s->d * sizeof *v, "a direction", err);
    if (!st) st = place_open(&x, s, s->rendered.n_after + 1 + c->position, c->layer, err);
    if (st) goto done;
    c->auroc = sd_direction__auroc(o->vector, x.val[0], x.n_val[0], x.val[1], x.n_val[1], s->d, NULL);
    if ((st = note_other(s, &x, "harmfulness", sd_direction__diff(s, 0, c->layer), err))) goto done;
    fit_mass_mean(v, &x);
    if ((st = note_other(s, &x, "mass_mean", v, err))) goto done;
    if ((st = sd_logistic_fit(v, &bias, (const float *const[]){x.train[0], x.train[1]}, x.n_train, x.d, err))) goto done;
    if ((st = note_other(s, &x, "logistic", v, err))) goto done;
    fit_pca(v, &x, s->opt->seed);
    if ((st = note_other(s, &x, "pca", v, err))) goto done;
    if (s->opt->select == SD_SELECT_ARDITI) {
        if ((st = two_directions(s, c, err))) goto done;
        st = floors(s, &x, c->bypass, err);
        if (!st && s->opt->text) st = sd_direction__ce_floor(s, x.val[0], x.n_val[0], s->opt->n_floor < 0 ? 0 : s->opt->n_floor ? s->opt->n_floor : DEFAULT_FLOOR, err);
    }
done:
    place_release(&x);
    sd_free(v);
    return st;
}
