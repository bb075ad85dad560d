/* Two passes over the store: how common tokens are and a context of every feature; then each feature's own contexts. */
#include "lab/polysemy.h"

#include "base/mem.h"
#include "base/rng.h"
#include "num/stats.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BEFORE = 8, AFTER = 4, MOST_TOKENS = BEFORE + 1 + AFTER, MOST_CONTEXTS = 32, PAIRS = 50000, FLOOR_SETS = 2000 };
static const double LINK_QUANTILE = 0.999; /* of 190 pairs of a feature's 20 contexts 0.2 are then linked by chance */

typedef struct context { int32_t tok[MOST_TOKENS]; float w[MOST_TOKENS]; int n; } context; /* distinct tokens, ascending; w at unit length */

typedef struct work {
    sd_store *s;
    int64_t m, n_vocab, n_context;
    int64_t *df;       /* [n_vocab] contexts that hold a token */
    context *pool;     /* [n_pool] the first context of every feature that has one */
    int32_t *contexts; /* [n_pool] how many its feature has */
    int64_t n_pool;
    double link;
} work;

static int by_id(const void *a, const void *b)
{
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return x < y ? -1 : x > y;
}

/* The distinct tokens around an example's peak; *peak gets the peak's id. */
static void cut(context *c, int32_t *peak, const sd_example *e, int64_t n_vocab)
{
    int32_t t[MOST_TOKENS];
    int n = 0;
    const int at = e->pos - e->pos0;
    *peak = at >= 0 && at < e->n ? e->tok[at] : SD_FEATURE_GAP;
    for (int i = at - BEFORE; i <= at + AFTER; i++)
        if (i >= 0 && i < e->n && e->tok[i] >= 0 && e->tok[i] < n_vocab) t[n++] = e->tok[i];
    qsort(t, (size_t)n, sizeof *t, by_id);
    c->n = 0;
    for (int i = 0; i < n; i++)
        if (i == 0 || t[i] != t[i - 1]) c->tok[c->n++] = t[i];
}

static void weigh(context *c, int32_t peak, const work *w)
{
    double norm = 0;
    for (int i = 0; i < c->n; i++) {
        const double v = log((double)(w->n_context + 1) / (double)(w->df[c->tok[i]] > 0 ? w->df[c->tok[i]] : 1)) * (c->tok[i] == peak ? 2 : 1);
        c->w[i] = (float)v;
        norm += v * v;
    }
    for (int i = 0; i < c->n; i++) c->w[i] = norm > 0 ? (float)((double)c->w[i] / sqrt(norm)) : 0.0f;
}

static double cosine(const context *a, const context *b)
{
    double s = 0;
    for (int i = 0, j = 0; i < a->n && j < b->n;) {
        if (a->tok[i] == b->tok[j]) s += (double)a->w[i++] * (double)b->w[j++];
        else if (a->tok[i] < b->tok[j]) i++;
        else j++;
    }
    return s;
}

static int root(int *up, int i)
{
    while (up[i] != i) i = up[i] = up[up[i]];
    return i;
}

static int clusters(const context *const *c, int n, double link)
{
    int up[MOST_CONTEXTS], k = n;
    for (int i = 0; i < n; i++) up[i] = i;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < i; j++)
            if (cosine(c[i], c[j]) > link && root(up, i) != root(up, j)) {
                up[root(up, i)] = root(up, j);
                k--;
            }
    return k;
}

/* Runs fn over the features that fire. */
static sd_status each(work *w, const char *what, const sd_progress *progress, sd_status (*fn)(work *, const sd_feature *, void *, sd_err *), void *self, sd_err *err)
{
    sd_status st = SD_OK;
    for (int64_t f = 0; f < w->m && !st; f++) {
        sd_feature *x;
        if ((st = sd_store_feature(&x, w->s, f, MOST_CONTEXTS, err))) break;
        if (x->stats.n_fire) st = fn(w, x, self, err);
        sd_feature_free(x);
        if (f % 64 == 0) sd_progress_update(progress, what, (double)f, (double)w->m, "features");
        if (!st && f % 64 == 0 && sd_progress_cancelled(progress)) st = sd_fail(err, SD_E_CANCELLED, "stopped after %" PRId64 " of %" PRId64 " features", f, w->m);
    }
    return st;
}

static int top_examples(const sd_feature *f, const sd_example *out[MOST_CONTEXTS])
{
    int n = 0;
    for (int i = 0; i < f->n_example && n < MOST_CONTEXTS; i++)
        if (f->example[i].group == 0) out[n++] = &f->example[i];
    return n;
}

static sd_status count(work *w, const sd_feature *f, void *self, sd_err *err)
{
    const sd_example *e[MOST_CONTEXTS];
    const int n = top_examples(f, e);
    int32_t peak;
    (void)self, (void)err;
    for (int i = 0; i < n; i++) {
        context c;
        cut(&c, &peak, e[i], w->n_vocab);
        for (int k = 0; k < c.n; k++) w->df[c.tok[k]]++;
        w->n_context++;
        if (i) continue;
        c.w[0] = 0;
        w->pool[w->n_pool] = c;
        w->pool[w->n_pool].w[0] = (float)peak; /* until it is weighed: exact below 2^24 */
        w->contexts[w->n_pool++] = n;
    }
    return SD_OK;
}

static sd_status measure(work *w, const sd_feature *f, void *self, sd_err *err)
{
    sd_polysemy *out = self;
    const sd_example *e[MOST_CONTEXTS];
    context c[MOST_CONTEXTS];
    const context *at[MOST_CONTEXTS];
    int32_t peak;
    const int n = top_examples(f, e);
    (void)err;
    if (n < SD_POLYSEMY_LEAST) return SD_OK;
    for (int i = 0; i < n; i++) {
        cut(&c[i], &peak, e[i], w->n_vocab);
        weigh(&c[i], peak, w);
        at[i] = &c[i];
    }
    const int k = clusters(at, n, w->link);
    out->row[out->n++] = (sd_polysemy_row){f->stats.index, k, n, (double)(k - 1) / (double)(n - 1)};
    return SD_OK;
}

/* The cosine that LINK_QUANTILE of the pairs of different features' contexts do not pass, and the floor. */
static sd_status chance(work *w, sd_polysemy *out, uint64_t seed, sd_err *err)
{
    float *v = NULL;
    sd_rng r = sd_rng_make(seed, "polysemy", 0);
    sd_status st = sd_alloc(&v, PAIRS * sizeof *v, "cosines", err);
    if (st) return st;
    for (int64_t i = 0; i < w->n_pool; i++) weigh(&w->pool[i], (int32_t)w->pool[i].w[0], w);
    int64_t n = 0;
    for (int i = 0; i < PAIRS; i++) {
        const int64_t a = (int64_t)sd_rng_below(&r, (uint64_t)w->n_pool), b = (int64_t)sd_rng_below(&r, (uint64_t)w->n_pool);
        if (a != b) v[n++] = (float)cosine(&w->pool[a], &w->pool[b]);
    }
    w->link = out->link = n ? (double)sd_select_f32(v, n, (int64_t)(LINK_QUANTILE * (double)n)) : 1;
    double sum = 0, score = 0;
    int sets = 0;
    for (int i = 0; i < FLOOR_SETS; i++) {
        const context *c[MOST_CONTEXTS];
        const int k = w->contexts[sd_rng_below(&r, (uint64_t)w->n_pool)]; /* sets as large as a feature's */
        if (k < SD_POLYSEMY_LEAST) continue;
        for (int j = 0; j < k; j++) c[j] = &w->pool[sd_rng_below(&r, (uint64_t)w->n_pool)];
        const int got = clusters(c, k, w->link);
        sum += got;
        score += (double)(got - 1) / (double)(k - 1);
        sets++;
    }
    out->floor_clusters = sets ? sum / sets : NAN;
    out->floor_score = sets ? score / sets : NAN;
    sd_free(v);
    return SD_OK;
}

static sd_status conclude(sd_polysemy *out, sd_err *err)
{
    float *v = NULL;
    sd_status st = sd_alloc(&v, (size_t)(out->n + 1) * sizeof *v, "scores", err);
    if (st) return st;
    for (int64_t i = 0; i < out->n; i++) {
        v[i] = (float)out->row[i].score;
        out->mean_score += out->row[i].score / (double)out->n;
        out->mean_clusters += (double)out->row[i].clusters / (double)out->n;
        out->share_single += out->row[i].clusters == 1 ? 1 / (double)out->n : 0;
    }
    if (out->n) out->median_score = (double)sd_median_f32(v, out->n);
    else st = sd_fail(err, SD_E_FORMAT, "no feature of the store has %d top examples", SD_POLYSEMY_LEAST);
    sd_free(v);
    return st;
}

sd_status sd_lab_polysemy(sd_polysemy *out, sd_store *s, uint64_t seed, const sd_progress *progress, sd_err *err)
{
    const sd_store_info *in = sd_store_get_info(s);
    work w = {.s = s, .m = in->n_features, .n_vocab = in->model.n_vocab};
    *out = (sd_polysemy){0};
    if (w.n_vocab < 1 || w.n_vocab > 1 << 24) return sd_fail(err, SD_E_STORE, "the store claims a vocabulary of %" PRId64, w.n_vocab);
    sd_status st = sd_alloc_zero(&w.df, (size_t)w.n_vocab * sizeof *w.df, "counts of tokens", err);
    if (!st) st = sd_alloc(&w.pool, (size_t)(w.m + 1) * sizeof *w.pool, "contexts", err);
    if (!st) st = sd_alloc(&w.contexts, (size_t)(w.m + 1) * sizeof *w.contexts, "contexts", err);
    if (!st) st = sd_alloc(&out->row, (size_t)(w.m + 1) * sizeof *out->row, "features", err);
    if (!st) st = each(&w, "contexts", progress, count, NULL, err);
    if (!st && w.n_pool < 2) st = sd_fail(err, SD_E_FORMAT, "the store has %" PRId64 " features with examples; two are needed to know what chance gives", w.n_pool);
    if (!st) st = chance(&w, out, seed, err);
    if (!st) st = each(&w, "clusters", progress, measure, out, err);
    if (!st) st = conclude(out, err);
    sd_free(w.df);
    sd_free(w.pool);
    sd_free(w.contexts);
    if (st) sd_polysemy_release(out);
    return st;
}

void sd_polysemy_release(sd_polysemy *p)
{
    sd_free(p->row);
    p->row = NULL;
    p->n = 0;
}
