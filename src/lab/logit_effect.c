/* Owns: one block of logits and its lists. n may pass the vocabulary: the rest of a list is SD_FEATURE_GAP. */
#include "lab/logit_effect.h"

#include "base/par.h"
#include <math.h>

enum { PEAK_TOKENS = 10, SPREAD_FEATURES = 64 };

struct sd_logit_effect {
    const sd_exec *ex;
    const sd_model *m;
    const sd_dict *dict;
    int n;
    float *x, *logits;   /* [BLOCK, d], [BLOCK, V] */
    float *inv_spread;   /* [V] */
    void *scratch;
};

/* Effects of n features f0, f0 + step, .. into e->logits. */
static void effects(sd_logit_effect *e, int64_t f0, int64_t step, int64_t n)
{
    int64_t d = e->m->cfg.d_model, V = e->m->cfg.n_vocab;
    for (int64_t i = 0; i < n; i++) {
        const float *w = sd_dict_dec_row(e->dict, f0 + i * step);
        double mean = 0; /* a layer norm takes the mean of a row away */
        for (int64_t k = 0; k < d && e->m->wire.norm == SD_NORM_LAYER; k++) mean += (double)w[k] / (double)d;
        for (int64_t k = 0; k < d; k++) e->x[i * d + k] = (float)((double)w[k] - mean) * e->m->final_norm.g[k];
    }
    sd_linear_fwd(e->ex, e->m->head, sd_mat_of(e->logits, n, V), sd_mat_of(e->x, n, d), false, e->scratch);
}

static void measure_spread(sd_logit_effect *e, int64_t m)
{
    int64_t n = m < SPREAD_FEATURES ? m : SPREAD_FEATURES, V = e->m->cfg.n_vocab;
    effects(e, 0, m / n, n);
    for (int64_t t = 0; t < V; t++) {
        double sq = 0;
        for (int64_t i = 0; i < n; i++) sq += (double)e->logits[i * V + t] * (double)e->logits[i * V + t];
        e->inv_spread[t] = sq > 0 ? (float)(1 / sqrt(sq / (double)n)) : 0;
    }
}

sd_status sd_logit_effect_new(sd_logit_effect **out, const sd_exec *ex, const sd_model *m, const sd_dict *dict, int n, sd_err *err)
{
    sd_logit_effect *e = NULL;
    const sd_dict_info *in = sd_dict_get_info(dict);
    *out = NULL;
    if (!m || !m->head || !m->final_norm.g || m->cfg.d_model != in->d_out || n == 0) return SD_OK;
    sd_status st = sd_alloc_zero(&e, sizeof *e, "effects on the logits", err);
    if (st) return st;
    *e = (sd_logit_effect){.ex = ex, .m = m, .dict = dict, .n = n};
    st = sd_alloc(&e->x, SD_LOGIT_BLOCK * (size_t)in->d_out * sizeof(float), "effects on the logits", err);
    if (!st) st = sd_alloc(&e->logits, SD_LOGIT_BLOCK * (size_t)m->cfg.n_vocab * sizeof(float), "effects on the logits", err);
    if (!st) st = sd_alloc(&e->inv_spread, (size_t)m->cfg.n_vocab * sizeof(float), "effects on the logits", err);
    if (!st) st = sd_alloc(&e->scratch, sd_linear_scratch(m->head, SD_LOGIT_BLOCK), "effects on the logits", err);
    if (st) {
        sd_logit_effect_free(e);
        return st;
    }
    measure_spread(e, in->m);
    *out = e;
    return SD_OK;
}

void sd_logit_effect_free(sd_logit_effect *e)
{
    if (!e) return;
    sd_free(e->x);
    sd_free(e->logits);
    sd_free(e->inv_spread);
    sd_free(e->scratch);
    sd_free(e);
}

/* The mean of the ten highest v_t scale_t. */
static double ten_highest(const float *v, const float *scale, int64_t count)
{
    float high[PEAK_TOKENS];
    int have = 0;
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        float s = v[i] * scale[i];
        if (have == PEAK_TOKENS && !(s > high[have - 1])) continue;
        int at = have < PEAK_TOKENS ? have++ : have - 1;
        for (; at > 0 && s > high[at - 1]; at--) high[at] = high[at - 1];
        high[at] = s;
    }
    for (int i = 0; i < have; i++) sum += (double)high[i];
    return have ? sum / have : 0;
}

/* Keeps the n best of v[0..count) by sign * v, best first, ties to the lower index. */
static void best(sd_token_logit *out, int n, const float *v, int64_t count, float sign)
{
    int have = 0;
    float worst = 0;
    for (int64_t i = 0; i < count; i++) {
        float s = sign * v[i];
        if (have == n && !(s > worst)) continue;
        int at = have < n ? have++ : n - 1;
        for (; at > 0 && s > sign * out[at - 1].value; at--) out[at] = out[at - 1];
        out[at] = (sd_token_logit){(int32_t)i, v[i]};
        worst = sign * out[have - 1].value;
    }
    for (; have < n; have++) out[have] = (sd_token_logit){SD_FEATURE_GAP, 0};
}

typedef struct job { sd_logit_lists *out; const sd_logit_effect *e; } job;

/* Eight lanes: a single chain of double additions would wait for itself. */
static void moments(const float *v, int64_t n, double *mean, double *std)
{
    double s[8] = {0}, q[8] = {0}, sum = 0, sq = 0;
    for (int64_t i = 0; i < n; i++) s[i & 7] += (double)v[i];
    for (int k = 0; k < 8; k++) sum += s[k];
    *mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++) q[i & 7] += ((double)v[i] - *mean) * ((double)v[i] - *mean);
    for (int k = 0; k < 8; k++) sq += q[k];
    *std = sqrt(sq / (double)n);
}

static void lists(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const job *j = arg;
    int64_t V = j->e->m->cfg.n_vocab;
    (void)chunk;
    for (int64_t i = begin; i < end; i++) {
        const float *v = j->e->logits + i * V;
        sd_logit_lists *o = &j->out[i];
        best(o->top, j->e->n, v, V, 1);
        best(o->bottom, j->e->n, v, V, -1);
        moments(v, V, &o->mean, &o->std);
        o->peak = ten_highest(v, j->e->inv_spread, V);
    }
}

void sd_logit_effect_run(sd_logit_lists *out, sd_logit_effect *e, int64_t f0, int64_t n_features)
{
    SD_ASSERT(n_features >= 1 && n_features <= SD_LOGIT_BLOCK);
    effects(e, f0, 1, n_features);
    job j = {out, e};
    sd_parallel_for(e->ex->n_threads, n_features, 4, lists, &j);
}
