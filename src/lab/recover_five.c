/* Five features joined by a logistic regression: logit P(concept) = b + sum_j w_j z_j, the sparse probe of Gurnee et al. 2023 (arXiv
 * 2305.01610). A union can say "or"; this can also say "and" (a surname within a passage). Features are added one after another: the score
 * test picks candidates, each is fitted by Newton's method on the choosing half, and the one with the highest F1 stays. Most tokens have none of
 * five features, and are alike: they are one row with a weight. */
#include "lab/recover_int.h"

#include "base/par.h"

#include <float.h>
#include <math.h>

enum {
    FIVE = SD_RECOVER_TOGETHER, P = FIVE + 1, /* weights and the bias, which comes last */
    CANDIDATES = 6,  /* fitted at every addition: 24 changed no count by more than one */
    NEWTON = 8,
    STEPS = RECOVER_STEPS,
};
static const double RIDGE = 0.1; /* on weights of features scaled to 1 where they are active: keeps separable ones finite */

/* The tokens of one half that have any of the features, and all others as `rest`. */
typedef struct rows {
    int32_t *slot; /* [n] of a token; -1 */
    int32_t *token;/* [n_row] */
    double *x;     /* [n_row, FIVE] */
    double *score; /* [n_row] */
    uint8_t *y;    /* [n_row] */
    int64_t n_row, rest, rest_there;
} rows;

typedef struct model5 {
    int64_t feature[FIVE];
    double w[P];
    int n;
} model5;

typedef struct five_search {
    const recover_set *s;
    sd_recovered *v;
    const recover_columns *half; /* [2] */
    const double *scale;         /* [m] root mean square of a feature where it is active, choosing half */
    int64_t m;
    rows *r;                     /* [n_threads] */
    double *rank;                /* [n_threads, m] */
    double *p;                   /* [n_threads, n] */
    bool turned;
} five_search;

static const uint64_t *mask_of(const five_search *k, int half) { return k->turned ? k->s->half[half].turned : k->s->half[half].mask; }

static int64_t count_of(const five_search *k, int half, int c)
{
    int64_t n = 0;
    const uint64_t *mask = mask_of(k, half);
    for (int64_t i = 0; i < k->s->half[half].n; i++) n += (int64_t)(mask[i] >> c & 1);
    return n;
}

static void fill(rows *r, const five_search *k, int half, int c, const model5 *q, int64_t there)
{
    const recover_columns *t = &k->half[half];
    const uint64_t *mask = mask_of(k, half);
    r->n_row = 0;
    int64_t hit = 0;
    for (int j = 0; j < q->n; j++) {
        int64_t f = q->feature[j];
        for (int64_t e = t->from[f]; e < t->from[f + 1]; e++) {
            int32_t i = t->row[e], at = r->slot[i];
            if (at < 0) {
                at = r->slot[i] = (int32_t)r->n_row++;
                r->token[at] = i;
                r->y[at] = (uint8_t)(mask[i] >> c & 1);
                hit += r->y[at];
                memset(r->x + at * FIVE, 0, FIVE * sizeof *r->x);
            }
            r->x[at * FIVE + j] = t->val[e] / k->scale[f];
        }
    }
    for (int64_t i = 0; i < r->n_row; i++) r->slot[r->token[i]] = -1; /* as it was found */
    r->rest = k->s->half[half].n - r->n_row;
    r->rest_there = there - hit;
}

static double logit(const model5 *q, const double *x)
{
    double z = q->w[q->n];
    for (int j = 0; j < q->n; j++) z += q->w[j] * x[j];
    return z;
}

static double log1pexp(double z) { return z > 30 ? z : z < -30 ? 0 : log1p(exp(z)); }

static double loss_of(const rows *r, const model5 *q)
{
    double l = 0;
    for (int64_t i = 0; i < r->n_row; i++) {
        double z = logit(q, r->x + i * FIVE);
        l += log1pexp(z) - r->y[i] * z;
    }
    l += (double)r->rest * log1pexp(q->w[q->n]) - (double)r->rest_there * q->w[q->n];
    for (int j = 0; j < q->n; j++) l += 0.5 * RIDGE * q->w[j] * q->w[j];
    return l;
}

/* h [n, n] positive definite, lower half; b becomes h^-1 b. False: it is not. */
static bool solve(double h[P][P], double *b, int n)
{
    for (int i = 0; i < n; i++) {
        for (int j = 0; j <= i; j++) {
            double s = h[i][j];
            for (int l = 0; l < j; l++) s -= h[i][l] * h[j][l];
            if (i == j && !(s > 0)) return false;
            h[i][j] = i == j ? sqrt(s) : s / h[j][j];
        }
    }
    for (int i = 0; i < n; i++) {
        for (int l = 0; l < i; l++) b[i] -= h[i][l] * b[l];
        b[i] /= h[i][i];
    }
    for (int i = n - 1; i >= 0; i--) {
        for (int l = i + 1; l < n; l++) b[i] -= h[l][i] * b[l];
        b[i] /= h[i][i];
    }
    return true;
}

static void newton(const rows *r, model5 *q)
{
    const int n = q->n;
    double loss = loss_of(r, q);
    for (int it = 0; it < NEWTON; it++) {
        double g[P] = {0}, h[P][P] = {{0}};
        for (int64_t i = -1; i < r->n_row; i++) { /* -1: the rest */
            static const double nothing[FIVE];
            const double *x = i < 0 ? nothing : r->x + i * FIVE;
            double p = 1 / (1 + exp(-logit(q, x))), of = i < 0 ? (double)r->rest : 1;
            double e = i < 0 ? p * of - (double)r->rest_there : p - r->y[i], v = p * (1 - p) * of;
            for (int a = 0; a < n; a++) {
                if (x[a] == 0) continue;
                g[a] += e * x[a];
                for (int b = 0; b <= a; b++) h[a][b] += v * x[a] * x[b];
                h[n][a] += v * x[a];
            }
            g[n] += e;
            h[n][n] += v;
        }
        for (int a = 0; a < n; a++) {
            g[a] += RIDGE * q->w[a];
            h[a][a] += RIDGE;
        }
        h[n][n] += 1e-9;
        if (!solve(h, g, n + 1)) return;
        model5 to = *q;
        double step = 1, after = INFINITY;
        for (int half = 0; half < 6 && !(after < loss); half++, step /= 2) {
            for (int a = 0; a <= n; a++) to.w[a] = q->w[a] - step * g[a];
            after = loss_of(r, &to);
        }
        if (!(after < loss)) return;
        bool done = loss - after < 1e-6 * loss;
        *q = to;
        loss = after;
        if (done) return;
    }
}

static double f1_of(int64_t hit, int64_t said, int64_t there) { return said + there > 0 ? 2.0 * (double)hit / (double)(said + there) : 0; }

/* The best threshold on the score, in equal steps between its extremes as everywhere. */
static double best_cut(const rows *r, const model5 *q, int64_t there, double *cut)
{
    double lo = q->w[q->n], hi = lo, best = 0;
    int32_t hit[STEPS] = {0}, all[STEPS] = {0};
    *cut = INFINITY;
    for (int64_t i = 0; i < r->n_row; i++) {
        double z = r->score[i] = logit(q, r->x + i * FIVE);
        if (z < lo) lo = z;
        if (z > hi) hi = z;
    }
    if (!(hi > lo)) return 0;
    for (int64_t i = -1; i < r->n_row; i++) {
        int b = (int)(((i < 0 ? q->w[q->n] : r->score[i]) - lo) / (hi - lo) * STEPS);
        if (b >= STEPS) b = STEPS - 1;
        all[b] += i < 0 ? (int32_t)r->rest : 1;
        hit[b] += i < 0 ? (int32_t)r->rest_there : r->y[i];
    }
    int64_t hits = 0, said = 0;
    for (int b = STEPS - 1; b >= 0; b--) {
        hits += hit[b];
        said += all[b];
        double f1 = f1_of(hits, said, there);
        if (f1 > best) {
            best = f1;
            *cut = lo + (hi - lo) * b / STEPS;
        }
    }
    return best;
}

static double judge(rows *r, const five_search *k, int c, const model5 *q, double cut)
{
    int64_t there = count_of(k, 1, c), hit = 0, said = 0;
    fill(r, k, 1, c, q, there);
    for (int64_t i = 0; i < r->n_row; i++) {
        bool in = logit(q, r->x + i * FIVE) >= cut;
        said += in;
        hit += in && r->y[i];
    }
    if (q->w[q->n] >= cut) {
        said += r->rest;
        hit += r->rest_there;
    }
    return f1_of(hit, said, there);
}

/* The features with the largest score statistic g^2 / h for joining q; out [CANDIDATES]. r: this thread's. */
static int candidates(int64_t *out, rows *r, const five_search *k, int c, const model5 *q, int64_t there)
{
    double *p = k->p + sd_par_worker() * k->s->half[0].n, *rank = k->rank + sd_par_worker() * k->m;
    const recover_columns *t = &k->half[0];
    const uint64_t *mask = mask_of(k, 0);
    const int64_t n = k->s->half[0].n;
    double rest = 1 / (1 + exp(-q->w[q->n])), all = 0;
    int found = 0;
    fill(r, k, 0, c, q, there);
    for (int64_t i = 0; i < n; i++) p[i] = rest;
    for (int64_t i = 0; i < r->n_row; i++) p[r->token[i]] = 1 / (1 + exp(-logit(q, r->x + i * FIVE)));
    for (int64_t i = 0; i < n; i++) all += p[i] * (1 - p[i]);
    for (int64_t f = 0; f < k->m; f++) {
        double g = 0, h = 0, a = 0;
        for (int64_t e = t->from[f]; e < t->from[f + 1]; e++) {
            double z = t->val[e] / k->scale[f], pi = p[t->row[e]], v = pi * (1 - pi);
            g += z * ((double)(mask[t->row[e]] >> c & 1) - pi);
            h += z * z * v;
            a += z * v;
        }
        h -= a * a / all;
        rank[f] = h > 1e-9 ? g * g / (h + RIDGE) : 0;
        for (int j = 0; j < q->n; j++)
            if (q->feature[j] == f) rank[f] = 0;
    }
    while (found < CANDIDATES) {
        int64_t best = 0;
        for (int64_t f = 1; f < k->m; f++)
            if (rank[f] > rank[best]) best = f;
        if (!(rank[best] > 0)) break;
        out[found++] = best;
        rank[best] = 0;
    }
    return found;
}

static void join(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    five_search *k = arg;
    int w = sd_par_worker();
    rows *r = &k->r[w];
    (void)chunk;
    for (int64_t c = begin; c < end; c++) {
        sd_recovered *v = &k->v[c];
        int64_t there = count_of(k, 0, (int)c), n = k->s->half[0].n;
        double share = (double)there / (double)n, best = 0, cut = INFINITY;
        model5 q = {.w = {log(share / (1 - share))}};
        while (q.n < FIVE) {
            int64_t list[CANDIDATES];
            model5 with = q;
            double before = best;
            int found = candidates(list, r, k, (int)c, &q, there);
            for (int i = 0; i < found; i++) {
                model5 to = q;
                double at;
                to.feature[to.n++] = list[i];
                to.w[to.n] = q.w[q.n];
                to.w[to.n - 1] = 0;
                fill(r, k, 0, (int)c, &to, there);
                newton(r, &to);
                double f1 = best_cut(r, &to, there, &at);
                if (f1 > best) {
                    best = f1;
                    with = to;
                    cut = at;
                }
            }
            if (!(best > before)) break;
            q = with;
        }
        double f1 = q.n ? judge(r, k, (int)c, &q, cut) : 0;
        if (k->turned) {
            v->together_shuffled = f1;
            continue;
        }
        v->together_f1 = f1;
        v->n_together = q.n;
        for (int j = 0; j < q.n; j++) {
            v->together[j] = q.feature[j];
            v->together_w[j] = q.w[j] / k->scale[q.feature[j]];
        }
    }
}

static void rows_release(rows *r)
{
    sd_free(r->slot);
    sd_free(r->token);
    sd_free(r->x);
    sd_free(r->score);
    sd_free(r->y);
}

static sd_status rows_room(rows *r, int64_t n, sd_err *err)
{
    sd_status st = sd_alloc(&r->slot, (size_t)n * sizeof *r->slot, "a search", err);
    if (!st) st = sd_alloc(&r->token, (size_t)n * sizeof *r->token, "a search", err);
    if (!st) st = sd_alloc(&r->x, (size_t)(n * FIVE) * sizeof *r->x, "a search", err);
    if (!st) st = sd_alloc(&r->score, (size_t)n * sizeof *r->score, "a search", err);
    if (!st) st = sd_alloc(&r->y, (size_t)n, "a search", err);
    for (int64_t i = 0; i < n && !st; i++) r->slot[i] = -1;
    return st;
}

sd_status sd_recover__together(sd_recovered *v, const recover_set *s, const recover_columns half[2], int64_t n_features, sd_err *err)
{
    const int threads = s->ex->n_threads;
    const int64_t n = s->half[0].n > s->half[1].n ? s->half[0].n : s->half[1].n;
    five_search k = {.s = s, .v = v, .half = half, .m = n_features};
    double *scale = NULL;
    sd_status st = sd_alloc_zero(&scale, (size_t)n_features * sizeof *scale, "a search", err);
    if (!st) st = sd_alloc_zero(&k.r, (size_t)threads * sizeof *k.r, "a search", err);
    for (int i = 0; i < threads && !st; i++) st = rows_room(&k.r[i], n, err);
    if (!st) st = sd_alloc(&k.p, (size_t)(threads * n) * sizeof *k.p, "a search", err);
    if (!st) st = sd_alloc(&k.rank, (size_t)(threads * n_features) * sizeof *k.rank, "a search", err);
    for (int64_t f = 0; f < n_features && !st; f++) {
        int64_t from = half[0].from[f], to = half[0].from[f + 1];
        for (int64_t e = from; e < to; e++) scale[f] += (double)half[0].val[e] * half[0].val[e];
        scale[f] = scale[f] > 0 ? sqrt(scale[f] / (double)(to - from)) : 1;
    }
    k.scale = scale;
    for (int turned = 0; turned < 2 && !st; turned++) {
        k.turned = turned == 1;
        sd_parallel_for(threads, s->n_concept, 1, join, &k);
    }
    for (int i = 0; i < threads && k.r; i++) rows_release(&k.r[i]);
    sd_free(k.r);
    sd_free(k.p);
    sd_free(k.rank);
    sd_free(scale);
    return st;
}
