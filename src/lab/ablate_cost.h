/* What an ablation costs: the cross-entropy of a text with a subspace taken out (lab/ablate.h), and the strength at which it costs a given amount. */
#ifndef SD_LAB_ABLATE_COST_H
#define SD_LAB_ABLATE_COST_H

#include "lab/ablate.h"

/* A text as tokens, at least one window of it (256 tokens, or the model's context). Borrowed. */
typedef struct sd_cost_text { const sd_model *m; const int32_t *ids; int64_t n; } sd_cost_text;

#define SD_COST_MOST 2.0     /* strength: a reflection */
#define SD_COST_LEAST 0.0005 /* nats: a cost below it is nothing that could be matched */

/* Nats a token with basis [n_dir][d] (orthonormal) taken out with strength w; n_dir 0: of the model as it is. */
sd_status sd_ablate_cross_entropy(double *out, const sd_cost_text *t, const float *basis, int n_dir, double w, sd_err *err);
/* The strength up to SD_COST_MOST at which taking basis out costs `cost` above `plain`; *matched: within 5 % of it. Cost grows with strength near enough that halving finds
 * a crossing; at most 9 passes over the text. */
sd_status sd_ablate_strength(double *w, bool *matched, const sd_cost_text *t, const float *basis, int n_dir, const double plain_cost[2], sd_err *err);

#endif
