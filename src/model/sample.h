/* From a row of logits to a token, and the probability of a text that is given. */
#ifndef SD_MODEL_SAMPLE_H
#define SD_MODEL_SAMPLE_H

#include "base/rng.h"
#include "model/session.h"

#include <float.h>

/* Zero is greedy. The filters are applied in transformers' order: temperature, top-k, top-p, min-p, each on what the
 * one before left, renormalised. Equals at a filter's edge stay in together. */
typedef struct sd_sample_opt {
    double temp;  /* 0: the likeliest token */
    int top_k;    /* 0: all */
    double top_p; /* smallest set of likeliest tokens that holds this share; 0 or 1: all */
    double min_p; /* tokens at least this times as likely as the likeliest; 0: all */
} sd_sample_opt;

/* The top_p of a share that someone asked for: of nothing the likeliest token alone, as in transformers and at OpenAI. */
static inline double sd_sample_share(double asked) { return asked == 0 ? DBL_MIN : asked; }

/* SD_E_ARG: a negative or not finite number, a share above 1. */
sd_status sd_sample_check(const sd_sample_opt *opt, sd_err *err);
/* logits [n], scratch [n]. One uniform number is drawn from rng (none when greedy); make it as ("sample", position), so
 * that a token depends on the seed, its position and its logits alone. -1 when a logit is NaN or +inf, or all are -inf.
 */
int32_t sd_sample(const sd_exec *ex, const sd_sample_opt *opt, const float *logits, int64_t n, sd_rng *rng, float *scratch);

/* Log-probability of token id under logits [n]. */
double sd_logprob(const sd_exec *ex, const float *logits, int64_t n, int32_t id);
/* lp[i] = log-probability of next[i] under row i of the logits, for the first n rows. */
void sd_logprob_rows(double *lp, const sd_exec *ex, sd_mat logits, const int32_t *next, int64_t n);
/* KL(softmax p || softmax q) in nats, logits [n]. See sd_divergence. */
double sd_kl(const sd_exec *ex, const float *p, const float *q, int64_t n);
/* kl[i] = sd_kl of rows i of p and q, for the first n rows. */
void sd_kl_rows(double *kl, const sd_exec *ex, sd_mat p, sd_mat q, int64_t n);
/* Runs ids [n] through session s from its position and gives lp[i], the log-probability of ids[i] after all before it;
 * lp[0] is NaN at position 0 and otherwise needs the last row of the step before, which is gone: NaN as well. In parts
 * of the runner's max_logit_rows. On error the session may have moved. */
sd_status sd_logprob_ids(double *lp, sd_runner *r, sd_session *s, const int32_t *ids, int64_t n, sd_err *err);

#endif
