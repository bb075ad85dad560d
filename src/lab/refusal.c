/* Probabilities are taken in double from f32 logits, as the reference code does. */
#include "lab/refusal.h"

#include "base/par.h"
#include "num/ops.h"

#include <math.h>
#include <stdlib.h>

#define EPS 1e-8 /* of the reference code: keeps both logarithms finite */
#define COVER 0.8
#define LEAST_GAIN 0.01
#define LEAST_RATIO 2.0

double sd_refusal_score(const sd_refusal_set *r, const float *logits, const sd_model *m)
{
    double lse = sd_logsumexp(m->ex, logits, m->cfg.n_vocab), p = 0;
    for (int i = 0; i < r->n; i++) p += exp((double)logits[r->id[i]] - lse);
    return log(p + EPS) - log(1 - p + EPS);
}

enum { BLOCK = 512 };

typedef struct learner { double *sum; const sd_model *m; } learner;

static sd_status add_probs(void *self, int64_t prompt, const float *logits, sd_err *err)
{
    learner *l = self;
    const int64_t V = l->m->cfg.n_vocab;
    const double lse = sd_logsumexp(l->m->ex, logits, V);
    double p[BLOCK];
    (void)prompt;
    (void)err;
    for (int64_t i = 0; i < V; i += BLOCK) {
        const int64_t n = V - i < BLOCK ? V - i : BLOCK;
        sd_probs(p, l->m->ex, logits + i, lse, n);
        for (int64_t k = 0; k < n; k++) l->sum[i + k] += p[k];
    }
    return SD_OK;
}

/* Greedy choice of the largest gains; ties to the lower id. */
static void choose(sd_refusal_set *out, const double *harmful, const double *harmless, int64_t n_vocab, double cover)
{
    double total = 0, held = 0;
    *out = (sd_refusal_set){0};
    for (int64_t i = 0; i < n_vocab; i++) total += fmax(0, harmful[i] - harmless[i]);
    while (out->n < SD_REFUSAL_TOKENS && held < cover * total) {
        int64_t best = -1;
        for (int64_t i = 0; i < n_vocab; i++) {
            bool taken = harmful[i] < LEAST_GAIN || harmful[i] < LEAST_RATIO * harmless[i];
            for (int k = 0; k < out->n && !taken; k++) taken = out->id[k] == i;
            if (!taken && (best < 0 || harmful[i] - harmless[i] > harmful[best] - harmless[best])) best = i;
        }
        if (best < 0) break;
        out->id[out->n] = (int32_t)best;
        out->gain[out->n++] = harmful[best] - harmless[best];
        held += harmful[best] - harmless[best];
    }
    out->covered = total > 0 ? held / total : 0;
}

sd_status sd_refusal_learn(sd_refusal_set *out, sd_batch *b, const sd_model *m, const sd_sides *train, sd_err *err)
{
    return sd_refusal_learn_most(out, b, m, train, COVER, err);
}

sd_status sd_refusal_learn_most(sd_refusal_set *out, sd_batch *b, const sd_model *m, const sd_sides *train, double cover, sd_err *err)
{
    const int64_t n_vocab = m->cfg.n_vocab;
    learner l[2] = {{.m = m}, {.m = m}};
    const int64_t *which[2] = {train->pos, train->neg}, n[2] = {train->n_pos, train->n_neg};
    sd_status st = SD_OK;
    *out = (sd_refusal_set){0};
    for (int k = 0; k < 2 && !st; k++) {
        if ((st = sd_alloc_zero(&l[k].sum, (size_t)n_vocab * sizeof(double), "token probabilities", err))) break;
        st = sd_batch_run(b, &(sd_batch_want){.which = which[k], .n = n[k], .self = &l[k], .on_first = add_probs}, err);
        for (int64_t i = 0; i < n_vocab && n[k] > 0; i++) l[k].sum[i] /= (double)n[k];
    }
    if (!st) choose(out, l[0].sum, l[1].sum, n_vocab, cover);
    sd_free(l[0].sum);
    sd_free(l[1].sum);
    return st;
}

typedef struct scorer { const sd_refusal_set *r; double *score; const sd_model *m; } scorer;

static sd_status put_score(void *self, int64_t prompt, const float *logits, sd_err *err)
{
    scorer *s = self;
    (void)err;
    s->score[prompt] = sd_refusal_score(s->r, logits, s->m);
    return SD_OK;
}

sd_status sd_refusal_scores(double *score, sd_batch *b, const sd_refusal_set *r, const sd_model *m, const int64_t *which, int64_t n, sd_err *err)
{
    scorer s = {r, score, m};
    return sd_batch_run(b, &(sd_batch_want){.which = which, .n = n, .self = &s, .on_first = put_score}, err);
}

#define KL_EPS 1e-6 /* of the reference code */
enum { CHUNK = 8192, MAX_CHUNKS = 256 };

typedef struct divergence { const sd_exec *ex; const float *p, *logits; float *store; double lse, part[MAX_CHUNKS]; } divergence;

static void diverge(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    divergence *v = arg;
    double sum = 0, q[BLOCK];
    for (int64_t i = begin; i < end; i += BLOCK) {
        const int64_t n = end - i < BLOCK ? end - i : BLOCK;
        sd_probs(q, v->ex, v->logits + i, v->lse, n);
        for (int64_t k = 0; k < n; k++)
            if (v->store) v->store[i + k] = (float)q[k];
            else sum += (double)v->p[i + k] * (log((double)v->p[i + k] + KL_EPS) - log(q[k] + KL_EPS));
    }
    v->part[chunk] = sum;
}

static double run(divergence *v, int64_t n_vocab)
{
    int64_t chunk = n_vocab / (MAX_CHUNKS - 1) > CHUNK ? n_vocab / (MAX_CHUNKS - 1) : CHUNK;
    double sum = 0;
    v->lse = sd_logsumexp(v->ex, v->logits, n_vocab);
    sd_parallel_for(v->ex->n_threads, n_vocab, chunk, diverge, v);
    for (int64_t i = 0; i * chunk < n_vocab; i++) sum += v->part[i];
    return sum;
}

void sd_first_probs(float *p, const sd_exec *ex, const float *logits, int64_t n_vocab)
{
    run(&(divergence){.ex = ex, .logits = logits, .store = p}, n_vocab);
}

double sd_first_kl(const float *p, const sd_exec *ex, const float *logits, int64_t n_vocab)
{
    return run(&(divergence){.ex = ex, .p = p, .logits = logits}, n_vocab);
}
