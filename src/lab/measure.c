/* Owns: the two runs and a block of logits of each at a time. */
#include "lab/measure.h"

#include "base/par.h"
#include "lab/record.h"
#include "model/peek.h"
#include "num/ops.h"
#include <math.h>

enum { POSITIONS = 16 };

void sd_measure_release(sd_measure *x)
{
    sd_free(x->v);
    *x = (sd_measure){0};
}

typedef struct block {
    sd_measure_token *v; /* [n] of this block */
    const float *plain, *steered; /* [n, V] */
    const int32_t *said;          /* [n] */
    int64_t V;
    const sd_exec *ex;
} block;

static void rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const block *b = arg;
    (void)chunk;
    for (int64_t i = begin; i < end; i++) {
        const float *p = b->plain + i * b->V, *s = b->steered + i * b->V;
        double zp = sd_logsumexp(b->ex, p, b->V), zs = sd_logsumexp(b->ex, s, b->V), kl = sd_divergence(b->ex, s, zs, p, zp, b->V);
        b->v[i] = (sd_measure_token){(double)p[b->said[i]] - zp, (double)s[b->said[i]] - zs, kl};
    }
}

/* The last residual stream of a run of all but the last token. */
static sd_status run(sd_record *rec, const sd_exec *ex, const sd_model *m, const sd_ids *ids, int64_t n_prompt, const sd_steer_set *edits, sd_err *err)
{
    int64_t n = ids->n - 1;
    sd_session *s = NULL;
    sd_runner *r = NULL;
    sd_status st = sd_record_kind(rec, m, SD_SITE_RESID_POST, err);
    if (!st) st = sd_session_new(&s, m, &(sd_session_opt){.n_ctx = n}, err);
    for (int i = 0; edits && i < edits->n && !st; i++) st = sd_steer_attach(edits->steer[i], s, n_prompt, err);
    if (!st) st = sd_runner_new(&r, ex, m, &(sd_runner_opt){.max_rows = n, .n_ctx = n}, err);
    if (!st) st = sd_record_step(rec, r, &(sd_segment){.s = s, .tok = ids->v, .n = n}, -1, err);
    sd_runner_free(r);
    sd_session_free(s);
    return st;
}

static double repetition(const int32_t *v, int64_t n)
{
    int64_t again = 0;
    for (int64_t i = 1; i + 3 < n; i++)
        for (int64_t k = 0; k < i; k++)
            if (memcmp(v + i, v + k, 4 * sizeof *v) == 0) {
                again++;
                break;
            }
    return n > 3 ? (double)again / (double)(n - 3) : 0;
}

static void sum_up(sd_measure *x, const int32_t *said)
{
    double plain = 0, steered = 0;
    for (int64_t i = 0; i < x->n; i++) {
        plain -= x->v[i].lp_plain;
        steered -= x->v[i].lp_steered;
        x->kl_mean += x->v[i].kl / (double)x->n;
        if (i == 0 || x->v[i].kl > x->kl_max) x->kl_max = x->v[i].kl;
    }
    x->ppl_plain = exp(plain / (double)x->n);
    x->ppl_steered = exp(steered / (double)x->n);
    x->rep4 = repetition(said, x->n);
}

sd_status sd_lab_measure(sd_measure *out, const sd_exec *ex, const sd_model *m, const sd_ids *ids, int64_t n_prompt, const sd_steer_set *edits, sd_err *err)
{
    int64_t V = m->cfg.n_vocab;
    float *plain = NULL, *steered = NULL;
    sd_record a = {0}, b = {0};
    *out = (sd_measure){.n = ids->n - n_prompt};
    sd_status st = sd_record_check(m, ids, SD_MEASURE_MAX_TOKENS, err);
    if (!st && (n_prompt < 1 || out->n < 1)) st = sd_fail(err, SD_E_ARG, "there is no answer to measure: %lld tokens, of which %lld are the prompt", (long long)ids->n, (long long)n_prompt);
    if (!st) st = sd_alloc_zero(&out->v, (size_t)out->n * sizeof *out->v, "the measure of an answer", err);
    if (!st) st = sd_alloc(&plain, (size_t)(POSITIONS * V) * sizeof *plain, "a block of logits", err);
    if (!st) st = sd_alloc(&steered, (size_t)(POSITIONS * V) * sizeof *steered, "a block of logits", err);
    if (!st) st = run(&a, ex, m, ids, n_prompt, NULL, err);
    if (!st) st = run(&b, ex, m, ids, n_prompt, edits, err);
    const sd_site last = {SD_SITE_RESID_POST, m->cfg.n_layer - 1};
    for (int64_t p0 = 0; p0 < out->n && !st; p0 += POSITIONS) {
        int64_t n = out->n - p0 < POSITIONS ? out->n - p0 : POSITIONS, at = n_prompt - 1 + p0;
        st = sd_model_unembed(sd_mat_of(plain, n, V), ex, m, sd_mat_rows(sd_record_get(&a, last), at, n), err);
        if (!st) st = sd_model_unembed(sd_mat_of(steered, n, V), ex, m, sd_mat_rows(sd_record_get(&b, last), at, n), err);
        if (!st) sd_parallel_for(ex->n_threads, n, 1, rows, &(block){out->v + p0, plain, steered, ids->v + n_prompt + p0, V, ex});
    }
    if (!st) sum_up(out, ids->v + n_prompt);
    sd_record_release(&a);
    sd_record_release(&b);
    sd_free(plain);
    sd_free(steered);
    if (st) sd_measure_release(out);
    return st;
}
