/* The search over detectors. A detector's numbers become steps between its extremes on the choosing half; one pass over the
 * tokens counts labelled ones a step for all concepts at once (a token has one or two labels, so this costs little more
 * than the pass), and a walk over the steps gives every threshold's F1 and the AUROC. */
#include "lab/recover_int.h"

#include "base/par.h"

#include <math.h>

enum { CHUNK = 8, C = SD_RECOVER_CONCEPTS };

typedef struct range { float lo, hi; } range;

static range range_of(const float *v, int64_t n)
{
    range r = {INFINITY, -INFINITY};
    for (int64_t i = 0; i < n; i++) {
        if (v[i] < r.lo) r.lo = v[i];
        if (v[i] > r.hi) r.hi = v[i];
    }
    return r;
}

/* Not a number and what lies below: step 0; above: the last. */
static int step_of(range r, float v)
{
    double at = ((double)v - r.lo) / ((double)r.hi - r.lo) * RECOVER_STEPS;
    return at >= RECOVER_STEPS ? RECOVER_STEPS - 1 : at > 0 ? (int)at : 0;
}

static float threshold_of(range r, int step) { return (float)(r.lo + ((double)r.hi - r.lo) * step / RECOVER_STEPS); }

static void count(recover_table *t, range r, const float *v, const uint64_t *mask, int64_t n)
{
    memset(t, 0, sizeof *t);
    for (int64_t i = 0; i < n; i++) {
        int b = step_of(r, v[i]);
        t->all[b]++;
        for (uint64_t m = mask[i]; m; m &= m - 1) t->hit[b][__builtin_ctzll(m)]++;
    }
}

static double f1_of(int64_t hit, int64_t said, int64_t there)
{
    return said + there > 0 ? 2.0 * (double)hit / (double)(said + there) : 0;
}

/* The best threshold of concept c: at step b and above (or, negative, below b). Returns its F1. */
static double best_step(const recover_table *t, int c, int64_t there, bool negative, int *step)
{
    double best = 0;
    int64_t hit = 0, said = 0;
    *step = 0;
    for (int k = 0; k < RECOVER_STEPS; k++) {
        int b = negative ? k : RECOVER_STEPS - 1 - k;
        hit += t->hit[b][c];
        said += t->all[b];
        double f1 = f1_of(hit, said, there);
        if (f1 > best) {
            best = f1;
            *step = negative ? b + 1 : b;
        }
    }
    return best;
}

static double auroc(const recover_table *t, int c, int64_t there, int64_t n)
{
    double below = 0, area = 0;
    for (int b = 0; b < RECOVER_STEPS; b++) {
        double other = t->all[b] - t->hit[b][c];
        area += t->hit[b][c] * (below + other / 2);
        below += other;
    }
    return there > 0 && n > there ? area / ((double)there * (double)(n - there)) : NAN;
}

/* What was chosen for concept c: the range of the steps and the first (or, negative, the first beyond). */
typedef struct cut { range r; int step, c; } cut;

/* On the judging half. */
static void judge(sd_detector *d, recover_table *t, cut k, const uint64_t *mask, const float *v, int64_t n)
{
    int64_t hit = 0, said = 0, there = 0;
    count(t, k.r, v, mask, n);
    for (int b = 0; b < RECOVER_STEPS; b++) {
        bool in = d->negative ? b < k.step : b >= k.step;
        there += t->hit[b][k.c];
        hit += in ? t->hit[b][k.c] : 0;
        said += in ? t->all[b] : 0;
    }
    d->f1 = f1_of(hit, said, there);
    d->auroc = auroc(t, k.c, there, n);
    if (d->negative) d->auroc = 1 - d->auroc;
    d->threshold = threshold_of(k.r, k.step);
}

void sd_recover__judge(sd_detector *out, recover_table *t, const recover_set *s, int c, const float *a, const float *b)
{
    const recover_half *A = &s->half[0], *B = &s->half[1];
    int step;
    *out = (sd_detector){.index = -1, .f1 = NAN, .auroc = NAN};
    range r = range_of(a, A->n);
    if (r.hi > r.lo) {
        count(t, r, a, A->mask, A->n);
        out->f1_chosen = best_step(t, c, A->count[c], false, &step);
        out->index = 0;
        judge(out, t, (cut){r, step, c}, B->mask, b, B->n);
    }
}

/* ---- a family ---- */

typedef struct pick { double f1; int64_t index; int step; range r; bool negative; } pick;

typedef struct search {
    const recover_set *s;
    const recover_family *f;
    bool turned;
    pick *best;   /* [n_chunk, C] */
    float *value; /* [n_threads, max n] */
    recover_table *t; /* [n_threads] */
    int64_t stride;
} search;

static void search_chunk(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    search *k = arg;
    const recover_half *A = &k->s->half[0];
    int w = sd_par_worker();
    float *v = k->value + w * k->stride;
    recover_table *t = &k->t[w];
    pick *best = k->best + chunk * C;
    for (int64_t i = begin; i < end; i++) {
        k->f->value(k->f->self, 0, i, v);
        range r = range_of(v, A->n);
        if (!(r.hi > r.lo)) continue;
        count(t, r, v, k->turned ? A->turned : A->mask, A->n);
        for (int c = 0; c < k->s->n_concept; c++) {
            for (int sign = 0; sign <= (k->f->both_signs ? 1 : 0); sign++) {
                int step;
                double f1 = best_step(t, c, A->count[c], sign == 1, &step);
                if (f1 > best[c].f1) best[c] = (pick){f1, i, step, r, sign == 1};
            }
        }
    }
}

sd_status sd_recover__best(sd_detector *out, const recover_set *s, const recover_family *f, bool turned, sd_err *err)
{
    int64_t n_chunk = (f->n + CHUNK - 1) / CHUNK;
    int64_t most = s->half[0].n > s->half[1].n ? s->half[0].n : s->half[1].n;
    int threads = s->ex->n_threads;
    search k = {.s = s, .f = f, .turned = turned, .stride = most};
    sd_status st = sd_alloc_zero(&k.best, (size_t)(n_chunk * C) * sizeof *k.best, "a search", err);
    if (!st) st = sd_alloc(&k.value, (size_t)(most * threads) * sizeof *k.value, "a search", err);
    if (!st) st = sd_alloc(&k.t, (size_t)threads * sizeof *k.t, "a search", err);
    if (!st) sd_parallel_for(threads, f->n, CHUNK, search_chunk, &k);
    for (int c = 0; c < s->n_concept && !st; c++) {
        pick p = {.f1 = 0, .index = -1};
        for (int64_t i = 0; i < n_chunk; i++)
            if (k.best[i * C + c].f1 > p.f1) p = k.best[i * C + c];
        out[c] = (sd_detector){.index = p.index, .negative = p.negative, .f1_chosen = p.f1, .auroc = 0.5};
        if (p.index < 0) continue;
        const recover_half *B = &s->half[1];
        f->value(f->self, 1, p.index, k.value);
        judge(&out[c], k.t, (cut){p.r, p.step, c}, turned ? B->turned : B->mask, k.value, B->n);
    }
    sd_free(k.best);
    sd_free(k.value);
    sd_free(k.t);
    return st;
}

/* ---- several features together ---- */

sd_status sd_recover__transpose(recover_columns *t, const sd_codes *z, int64_t m, sd_err *err)
{
    sd_status st = sd_alloc_zero(&t->from, (size_t)(m + 2) * sizeof *t->from, "codes by feature", err);
    if (!st) st = sd_alloc(&t->row, (size_t)z->nnz * sizeof *t->row, "codes by feature", err);
    if (!st) st = sd_alloc(&t->val, (size_t)z->nnz * sizeof *t->val, "codes by feature", err);
    if (st) return st;
    for (int64_t i = 0; i < z->nnz; i++) t->from[z->idx[i] + 2]++;
    for (int64_t f = 0; f < m; f++) t->from[f + 2] += t->from[f + 1];
    for (int64_t i = 0; i < z->n; i++) {
        for (int64_t e = z->row_ptr[i]; e < z->row_ptr[i + 1]; e++) {
            int64_t at = t->from[z->idx[e] + 1]++; /* the slot behind f's is where f ends in the end */
            t->row[at] = (int32_t)i;
            t->val[at] = z->val[e];
        }
    }
    return SD_OK;
}

void sd_recover__columns_release(recover_columns *t)
{
    sd_free(t->from);
    sd_free(t->row);
    sd_free(t->val);
    *t = (recover_columns){0};
}

typedef struct union_search {
    const recover_set *s;
    sd_recovered *v;
    const recover_columns *half; /* [2] */
    int64_t m, stride;
    uint8_t *said; /* [n_threads, 2 stride] which tokens the union has, of both halves */
} union_search;

enum { UNION_STEPS = 64 }; /* thresholds tried a feature: the union needs no finer ones */

typedef struct addition { double f1; int64_t feature, hit, said; float threshold; } addition;

/* The best threshold of feature f for the tokens that the union has not. */
static void try_feature(addition *best, const union_search *k, int c, int64_t f, const uint8_t *have, int64_t hit, int64_t said)
{
    const recover_columns *t = &k->half[0];
    const recover_half *A = &k->s->half[0];
    int32_t hits[UNION_STEPS] = {0}, all[UNION_STEPS] = {0};
    float top = 0;
    for (int64_t e = t->from[f]; e < t->from[f + 1]; e++) top = t->val[e] > top ? t->val[e] : top;
    if (!(top > 0)) return;
    for (int64_t e = t->from[f]; e < t->from[f + 1]; e++) {
        int b = (int)(t->val[e] / top * UNION_STEPS);
        if (have[t->row[e]]) continue;
        if (b >= UNION_STEPS) b = UNION_STEPS - 1;
        all[b]++;
        hits[b] += (int)(A->mask[t->row[e]] >> c & 1);
    }
    for (int b = UNION_STEPS - 1; b >= 0; b--) {
        hit += hits[b];
        said += all[b];
        double f1 = f1_of(hit, said, A->count[c]);
        if (f1 > best->f1) *best = (addition){f1, f, hit, said, top * (float)b / UNION_STEPS};
    }
}

static void add_to_union(const recover_columns *t, uint8_t *have, int64_t f, float threshold)
{
    for (int64_t e = t->from[f]; e < t->from[f + 1]; e++)
        if (t->val[e] >= threshold) have[t->row[e]] = 1;
}

static void union_concept(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    union_search *k = arg;
    (void)chunk;
    for (int64_t c = begin; c < end; c++) {
        sd_recovered *v = &k->v[c];
        uint8_t *have = k->said + 2 * k->stride * sd_par_worker(), *judged = have + k->stride;
        int64_t hit = 0, said = 0;
        memset(have, 0, (size_t)(2 * k->stride));
        v->n_any = 0;
        addition best = {0};
        while (v->n_any < SD_RECOVER_TOGETHER) {
            double before = best.f1;
            for (int64_t f = 0; f < k->m; f++) try_feature(&best, k, (int)c, f, have, hit, said);
            if (!(best.f1 > before)) break;
            hit = best.hit;
            said = best.said;
            add_to_union(&k->half[0], have, best.feature, best.threshold);
            add_to_union(&k->half[1], judged, best.feature, best.threshold);
            v->any[v->n_any++] = best.feature;
        }
        const recover_half *B = &k->s->half[1];
        hit = said = 0;
        for (int64_t i = 0; i < B->n; i++) {
            said += judged[i];
            hit += judged[i] && (B->mask[i] >> c & 1);
        }
        v->any_f1 = f1_of(hit, said, B->count[c]);
    }
}

sd_status sd_recover__any(sd_recovered *v, const recover_set *s, const recover_columns half[2], int64_t n_features,
                               sd_err *err)
{
    union_search k = {.s = s, .v = v, .half = half, .m = n_features};
    k.stride = s->half[0].n > s->half[1].n ? s->half[0].n : s->half[1].n;
    sd_status st = sd_alloc(&k.said, (size_t)(2 * k.stride * s->ex->n_threads), "a search", err);
    if (!st) sd_parallel_for(s->ex->n_threads, s->n_concept, 1, union_concept, &k);
    sd_free(k.said);
    return st;
}
