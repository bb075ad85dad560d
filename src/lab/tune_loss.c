/* Losses over log-probabilities of targets: each gives row_i = d loss / d lp_i, and the learner does the rest.
 *
 *   lm, sft       - sum lp / N
 *   distill       a T^2 sum KL(teacher || model) / N - (1 - a) sum lp / N, both softmaxes at T, a = kd_ratio
 *   dpo           - log sigma(b (lp_c - ref_c - lp_r + ref_r)) / pairs
 *   constrained   - sum_t (2 / b_t) log sigma(b_t (lp_t - ref_t)) / N, b_1 = 0.5, b_2..5 = 2, b_t = beta after, t in each turn of the assistant;
 *                 its slope is CE's times 2 sigma(b_t (ref_t - lp_t))
 *
 * N counts the targets of a whole step, whatever its parts. Hinton et al. 2015; Rafailov et al. 2023, eq. 7; Qi et al. 2024, eq. 3. */
#include "lab/tune_int.h"

#include <math.h>

static double sigmoid(double x)
{
    return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
}

/* log sigma(x) without overflow. */
static double log_sigmoid(double x)
{
    return x >= 0 ? -log1p(exp(-x)) : x - log1p(exp(x));
}

static sd_doc doc_of(const sd_tune_run *r, int64_t sample)
{
    const sd_tune_sample *s = &r->set.sample[sample];
    return (sd_doc){r->set.tok + s->at, r->set.target + s->at, s->n};
}

static double token_beta(const sd_tune_run *r, int64_t t)
{
    return t == 0 ? 0.5 : t < 5 ? 2.0 : r->o.beta;
}

/* Rows of one sample whose lp begins at lp; gives their loss. */
static double sample_rows(const sd_tune_run *r, int64_t sample, const float *lp, float *row, int64_t n_count)
{
    const sd_tune_sample *s = &r->set.sample[sample];
    const double share = r->teacher ? 1 - r->o.kd_ratio : 1;
    double loss = 0;
    int64_t k = 0, said = 0; /* of the turn's tokens */
    for (int64_t i = 0; i < s->n; i++) {
        if (r->set.target[s->at + i] < 0) {
            said = 0;
            continue;
        }
        if (r->o.method == SD_TUNE_CONSTRAINED) {
            const double b = token_beta(r, said++), d = (double)lp[k] - (double)r->ref[s->at + i];
            loss -= 2 / b * log_sigmoid(b * d) / (double)n_count;
            row[k] = (float)(-2 * sigmoid(-b * d) / (double)n_count);
        } else {
            loss -= share * (double)lp[k] / (double)n_count;
            row[k] = (float)-share / (float)n_count;
        }
        k++;
    }
    return loss;
}

static double sum_lp(const float *lp, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += (double)lp[i];
    return s;
}

static double sum_ref(const sd_tune_run *r, const sd_tune_sample *s)
{
    double sum = 0;
    for (int64_t i = 0; i < s->n; i++)
        if (r->set.target[s->at + i] >= 0) sum += (double)r->ref[s->at + i];
    return sum;
}

static double pair_rows(const sd_tune_run *r, int64_t unit, const float *lp, float *row, int64_t *n_right)
{
    const sd_tune_sample *c = &r->set.sample[2 * unit], *x = c + 1;
    const double margin =
        r->o.beta * (sum_lp(lp, c->n_count) - sum_ref(r, c) - sum_lp(lp + c->n_count, x->n_count) + sum_ref(r, x));
    const double slope = -r->o.beta * sigmoid(-margin) / (double)r->n_pick;
    for (int64_t i = 0; i < c->n_count; i++) row[i] = (float)slope;
    for (int64_t i = 0; i < x->n_count; i++) row[c->n_count + i] = (float)-slope;
    *n_right += margin > 0;
    return -log_sigmoid(margin) / (double)r->n_pick;
}

/* The rows of cross-entropy are in r->row. */
static sd_status distill(sd_tune_run *r, int n_doc, int64_t n_lp, int64_t n_count, double *loss, sd_err *err)
{
    sd_learner_soft soft;
    sd_status st = sd_tune__teach(r, n_doc, &soft, err);
    soft.weight = r->o.kd_ratio / (double)n_count;
    if (!st) st = sd_learner_backward_soft(r->learner, r->row, &soft, err);
    for (int64_t i = 0; !st && i < n_lp; i++) *loss += soft.weight * (double)soft.kl[i];
    return st;
}

sd_status sd_tune__part(sd_tune_run *r, const sd_tune_part *p, double *loss, int64_t *n_right, sd_err *err)
{
    int n_doc = 0;
    const float *lp;
    int64_t n_lp, at = 0;
    for (int64_t u = p->u0; u < p->u1; u++)
        for (int k = 0; k < r->unit; k++) {
            const int64_t sample = r->pick[u] * r->unit + k;
            if (r->planted) sd_planted_set(r->planted, n_doc, r->set.sample[sample].without);
            r->doc[n_doc++] = doc_of(r, sample);
        }
    sd_status st = sd_learner_forward(r->learner, &(sd_learner_batch){.doc = r->doc, .n_doc = n_doc, .grad = true, .step = r->step * 4096 + p->u0}, &lp,
                                      &n_lp, err);
    if (st) return st;
    for (int64_t u = p->u0; u < p->u1; u++) {
        const int64_t unit = r->pick[u];
        if (r->o.method == SD_TUNE_DPO) {
            *loss += pair_rows(r, unit, lp + at, r->row + at, n_right);
            at += r->set.sample[2 * unit].n_count + r->set.sample[2 * unit + 1].n_count;
        } else {
            *loss += sample_rows(r, unit, lp + at, r->row + at, p->n_count);
            at += r->set.sample[unit].n_count;
        }
    }
    SD_ASSERT(at == n_lp);
    if (!r->teacher) return sd_learner_backward(r->learner, r->row, err);
    return distill(r, n_doc, n_lp, p->n_count, loss, err);
}

/* Samples go through as they fit; nothing is remembered between forwards. */
sd_status sd_tune__reference(sd_tune_run *r, const sd_progress *progress, sd_err *err)
{
    sd_status st = sd_alloc_zero(&r->ref, (size_t)r->set.n_tok * sizeof *r->ref, "reference log-probabilities", err);
    for (int64_t s = 0; !st && s < r->set.n;) {
        const int64_t first = s;
        int64_t rows = 0, n_lp, at = 0;
        int n_doc = 0;
        const float *lp;
        while (s < r->set.n && n_doc < SD_TUNE_MAX_DOCS && rows + r->set.sample[s].n <= r->o.micro_rows) {
            rows += r->set.sample[s].n;
            r->doc[n_doc++] = doc_of(r, s++);
        }
        st = sd_learner_forward(r->learner, &(sd_learner_batch){.doc = r->doc, .n_doc = n_doc}, &lp, &n_lp, err);
        for (int64_t k = first; !st && k < s; k++)
            for (int64_t i = 0; i < r->set.sample[k].n; i++)
                if (r->set.target[r->set.sample[k].at + i] >= 0) r->ref[r->set.sample[k].at + i] = lp[at++];
        sd_progress_update(progress, "reference", (double)s, (double)r->set.n, "rows");
        if (!st && sd_progress_cancelled(progress)) st = sd_fail(err, SD_E_CANCELLED, "stopped before the first step");
    }
    return st;
}
