/* Owns: one block of logits and its lists. n may pass the vocabulary: the rest of a list is SD_FEATURE_GAP. */
#include "lab/logit_effect.h"

#include "base/par.h"
#include <math.h>

struct sd_logit_effect {
    const sd_exec *ex;
    const sd_model *m;
    const sd_dict *dict;
    int n;
    float *x, *logits; /* [BLOCK, d], [BLOCK, V] */
    void *scratch;
};

sd_status sd_logit_effect_new(sd_logit_effect **out, const sd_exec *ex, const sd_model *m, const sd_dict *dict, int n, sd_err *err)
{
    sd_logit_effect *e = NULL;
    const sd_dict_info *in = sd_dict_get_info(dict);
    *out = NULL;
    if (!m || !m->head || !m->final_norm || m->cfg.d_model != in->d || n == 0) return SD_OK;
    sd_status st = sd_alloc_zero(&e, sizeof *e, "effects on the logits", err);
    if (st) return st;
    *e = (sd_logit_effect){.ex = ex, .m = m, .dict = dict, .n = n};
    st = sd_alloc(&e->x, SD_LOGIT_BLOCK * (size_t)in->d * sizeof(float), "effects on the logits", err);
    if (!st) st = sd_alloc(&e->logits, SD_LOGIT_BLOCK * (size_t)m->cfg.n_vocab * sizeof(float), "effects on the logits", err);
    if (!st) st = sd_alloc(&e->scratch, sd_linear_scratch(m->head, SD_LOGIT_BLOCK), "effects on the logits", err);
    if (st) {
        sd_logit_effect_free(e);
        return st;
    }
    *out = e;
    return SD_OK;
}

void sd_logit_effect_free(sd_logit_effect *e)
{
    if (!e) return;
    sd_free(e->x);
    sd_free(e->logits);
    sd_free(e->scratch);
    sd_free(e);
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
enum { PEAK_TOKENS = 10 };

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
        sd_token_logit high[PEAK_TOKENS];
        const sd_token_logit *ten = o->top;
        double top = 0;
        int n_high = V < PEAK_TOKENS ? (int)V : PEAK_TOKENS;
        best(o->top, j->e->n, v, V, 1);
        best(o->bottom, j->e->n, v, V, -1);
        if (j->e->n < n_high) best(high, n_high, v, V, 1), ten = high;
        moments(v, V, &o->mean, &o->std);
        for (int t = 0; t < n_high; t++) top += (double)ten[t].value / n_high;
        o->peak = o->std > 0 ? (top - o->mean) / o->std : 0;
    }
}

void sd_logit_effect_run(sd_logit_lists *out, sd_logit_effect *e, int64_t f0, int64_t n_features)
{
    int64_t d = e->m->cfg.d_model, V = e->m->cfg.n_vocab;
    SD_ASSERT(n_features >= 1 && n_features <= SD_LOGIT_BLOCK);
    for (int64_t i = 0; i < n_features; i++) {
        const float *w = sd_dict_dec_row(e->dict, f0 + i);
        for (int64_t k = 0; k < d; k++) e->x[i * d + k] = w[k] * e->m->final_norm[k];
    }
    sd_linear_fwd(e->ex, e->m->head, sd_mat_of(e->logits, n_features, V), sd_mat_of(e->x, n_features, d), false, e->scratch);
    job j = {out, e};
    sd_parallel_for(e->ex->n_threads, n_features, 4, lists, &j);
}
