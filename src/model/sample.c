/* Sampling by thresholds: each filter is a smallest logit that stays, found by selection and not by sorting the
 * vocabulary. */
#include "model/sample.h"

#include "base/par.h"
#include "model/session_int.h"
#include "num/kern_train.h"

#include <math.h>

sd_status sd_sample_check(const sd_sample_opt *o, sd_err *err)
{
    if (!(o->temp >= 0) || isinf(o->temp)) return sd_fail(err, SD_E_ARG, "temperature %g: expected 0 or more", o->temp);
    if (o->top_k < 0) return sd_fail(err, SD_E_ARG, "top-k %d: expected 0 or more", o->top_k);
    if (!(o->top_p >= 0 && o->top_p <= 1)) return sd_fail(err, SD_E_ARG, "top-p %g: expected 0 to 1", o->top_p);
    if (!(o->min_p >= 0 && o->min_p <= 1)) return sd_fail(err, SD_E_ARG, "min-p %g: expected 0 to 1", o->min_p);
    return SD_OK;
}

/* Three-way partition of y[lo, hi) around a pivot: larger ones, then equals [*eq, *lt), then smaller ones. */
static void partition(float *y, int64_t lo, int64_t hi, float pivot, int64_t *eq, int64_t *lt)
{
    int64_t i = lo, a = lo, b = hi;
    while (i < b) {
        float v = y[i];
        if (v > pivot)
            y[i++] = y[a], y[a++] = v;
        else if (v < pivot)
            y[i] = y[--b], y[b] = v;
        else
            i++;
    }
    *eq = a;
    *lt = b;
}

static float median3(float a, float b, float c)
{
    return a > b ? (b > c ? b : a > c ? c : a) : (a > c ? a : b > c ? c : b);
}

/* The largest t so that the entries >= t weigh at least `need`: an entry weighs 1, or exp(y) where there is a kernel for it. y is
 * reordered so that its first *kept entries are those >= t. */
static float select_weight(const sd_kern_train *exps, float *y, int64_t n, double need, int64_t *kept)
{
    int64_t lo = 0, hi = n, eq, lt;
    while (lo < hi) {
        float pivot = median3(y[lo], y[lo + (hi - lo) / 2], y[hi - 1]);
        partition(y, lo, hi, pivot, &eq, &lt);
        double above = exps ? exps->exp_total(y + lo, 0, eq - lo) : (double)(eq - lo);
        double same = exps ? exps->exp_total(y + eq, 0, lt - eq) : (double)(lt - eq);
        if (above >= need) {
            hi = eq;
        } else if (above + same >= need) {
            *kept = lt;
            return pivot;
        } else {
            need -= above + same;
            lo = lt;
        }
    }
    /* Rounding of sums alone leads here: what is before hi is enough. */
    float t = y[0];
    for (int64_t i = 1; i < hi; i++) t = y[i] < t ? y[i] : t;
    *kept = hi;
    return t;
}

/* Puts the entries >= least in front, as they come; how many. */
static int64_t keep_from(float *y, int64_t n, float least)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++) {
        const float v = y[i];
        y[kept] = v;
        kept += v >= least;
    }
    return kept;
}

enum { GROUPS = 1024, BLOCK = 512 };

/* A number that at least k entries reach: the k-th largest of the largest of each group. */
static float reached_by(const sd_kern_train *kern, int64_t k, const float *y, int64_t n)
{
    float top[GROUPS];
    int64_t kept, each = n / GROUPS;
    if (each < 2 || k > GROUPS / 2) return -INFINITY;
    for (int64_t g = 0; g < GROUPS; g++) top[g] = kern->max(y + g * each, each);
    return select_weight(NULL, top, GROUPS, (double)k, &kept);
}

/* Smallest scaled logit that stays. top_k and top_p reorder y and lose part of it. */
static float threshold(const sd_kern_train *kern, const sd_sample_opt *o, float *y, int64_t n)
{
    float t = -INFINITY;
    int64_t kept = n;
    if (o->top_k > 0 && o->top_k < n) {
        kept = keep_from(y, n, reached_by(kern, o->top_k, y, n));
        t = select_weight(NULL, y, kept, (double)o->top_k, &kept);
    }
    if (o->top_p > 0 && o->top_p < 1) {
        const double total = kern->exp_total(y, 0, kept);
        /* The largest weighs 1, so what is below this weighs less than a third of the share that goes. */
        kept = keep_from(y, kept, (float)(log((1 - o->top_p) / (double)kept) - 1));
        t = fmaxf(t, select_weight(kern, y, kept, o->top_p * total, &kept));
    }
    if (o->min_p > 0) t = fmaxf(t, (float)log(o->min_p));
    return t;
}

/* y = (logit - max) / temp */
static void scale(float *y, const float *logits, int64_t n, float max, double temp)
{
    for (int64_t i = 0; i < n; i++) y[i] = (float)((double)(logits[i] - max) / temp);
}

static double block_sum(const float *w, int64_t n)
{
    enum { LANES = 8 };
    double s[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) s[j] += (double)w[i + j];
    for (int j = 0; i < n; i++, j++) s[j] += (double)w[i];
    return s[0] + s[4] + (s[2] + s[6]) + (s[1] + s[5] + (s[3] + s[7]));
}

/* w = exp(y) where y >= t, else 0, in place; their sum. */
static double weigh(const sd_kern_train *kern, float *y, int64_t n, float t)
{
    double total = 0, e[BLOCK];
    for (int64_t i = 0; i < n; i += BLOCK) {
        const int64_t b = n - i < BLOCK ? n - i : BLOCK;
        kern->probs(e, y + i, 0, b);
        for (int64_t k = 0; k < b; k++) y[i + k] = y[i + k] >= t ? (float)e[k] : 0.0f;
        total += block_sum(y + i, b);
    }
    return total;
}

/* The first token at which the cumulated weight passes that of u; rounding alone can pass the end of a block, or of all. */
static int32_t pick(const float *w, int64_t n, double u, int64_t best)
{
    int64_t last = best;
    double sum = 0;
    for (int64_t i = 0; i < n; i += BLOCK) {
        const int64_t b = n - i < BLOCK ? n - i : BLOCK;
        const double next = sum + block_sum(w + i, b);
        for (int64_t k = 0; k < b && next > u; k++) {
            if (w[i + k] == 0.0f) continue;
            sum += (double)w[i + k];
            last = i + k;
            if (sum > u) break;
        }
        if (next > u) break;
        sum = next;
    }
    return (int32_t)last;
}

int32_t sd_sample(const sd_exec *ex, const sd_sample_opt *o, const float *logits, int64_t n, sd_rng *rng, float *scratch)
{
    const sd_kern_train *kern = sd_kern_train_select(ex->cpu.flags);
    int64_t best = sd_argmax(logits, n);
    for (int64_t i = 0; i < n; i++)
        if (isnan(logits[i])) return -1;
    if (best < 0 || isinf(logits[best])) return -1;
    if (o->temp == 0) return (int32_t)best;
    const float max = logits[best];
    scale(scratch, logits, n, max, o->temp);
    const float t = threshold(kern, o, scratch, n);
    if (o->top_k > 0 || o->top_p > 0) scale(scratch, logits, n, max, o->temp);
    const double total = weigh(kern, scratch, n, t);
    return pick(scratch, n, sd_rng_uniform(rng) * total, best);
}

double sd_logprob(const sd_exec *ex, const float *logits, int64_t n, int32_t id)
{
    return (double)logits[id] - sd_logsumexp(ex, logits, n);
}

typedef struct lp_job {
    const sd_exec *ex;
    double *lp;
    sd_mat logits;
    const int32_t *next;
} lp_job;

static void lp_rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    (void)chunk;
    const lp_job *j = arg;
    for (int64_t i = begin; i < end; i++) j->lp[i] = sd_logprob(j->ex, sd_mat_row(j->logits, i), j->logits.cols, j->next[i]);
}

void sd_logprob_rows(double *lp, const sd_exec *ex, sd_mat logits, const int32_t *next, int64_t n)
{
    lp_job j = {ex, lp, logits, next};
    sd_parallel_for(ex->n_threads, n, 1, lp_rows, &j);
}

double sd_kl(const sd_exec *ex, const float *p, const float *q, int64_t n)
{
    return sd_divergence(ex, p, sd_logsumexp(ex, p, n), q, sd_logsumexp(ex, q, n), n);
}

typedef struct kl_job {
    const sd_exec *ex;
    double *kl;
    sd_mat p, q;
} kl_job;

static void kl_rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    (void)chunk;
    const kl_job *j = arg;
    for (int64_t i = begin; i < end; i++) j->kl[i] = sd_kl(j->ex, sd_mat_row(j->p, i), sd_mat_row(j->q, i), j->p.cols);
}

void sd_kl_rows(double *kl, const sd_exec *ex, sd_mat p, sd_mat q, int64_t n)
{
    kl_job j = {ex, kl, p, q};
    sd_parallel_for(ex->n_threads, n, 1, kl_rows, &j);
}

sd_status sd_logprob_ids(double *lp, sd_runner *r, sd_session *s, const int32_t *ids, int64_t n, sd_err *err)
{
    int64_t part = r->max_logit_rows < r->max_rows ? r->max_logit_rows : r->max_rows;
    if (n > 0) lp[0] = (double)NAN;
    for (int64_t i = 0; i < n; i += part) {
        int64_t rows = n - i < part ? n - i : part;
        sd_segment seg = {.s = s, .tok = ids + i, .n = rows, .want = SD_LOGITS_ALL};
        sd_status st = sd_runner_step(r, &seg, 1, -1, err);
        if (st) return st;
        int64_t scored = i + rows < n ? rows : rows - 1; /* the last row predicts what is not given */
        sd_logprob_rows(lp + i + 1, r->ex, seg.logits, ids + i + 1, scored);
    }
    return SD_OK;
}
