/* evaluate_cross: what a crosscoder keeps of its models' predictions, site by site.
 *
 * A context is read plain by each model, which gives the rows of all sites; the crosscoder reconstructs them together. Then, for every site on its own,
 * the model runs with that site's rows replaced, and with them set to zero. Replaced are only rows that the plain run gave, so that no site's
 * reconstruction is judged on rows that another replacement has changed. Scores, ablation and mask as in evaluate.h. */
#ifndef SD_LAB_EVALUATE_CROSS_H
#define SD_LAB_EVALUATE_CROSS_H

#include "lab/cross.h"
#include "lab/evaluate.h"

typedef struct sd_cross_ce { double ce_plain, ce_spliced, ce_zero, ce_recovered, kl; } sd_cross_ce;
typedef struct sd_cross_eval {
    const sd_model *m[2];          /* whole, with their heads; m[1] NULL: one model */
    const sd_dict *dict;
    const sd_cross_sites *sites;
    const int64_t *width;          /* [sites->n] */
    const sd_harvest *contexts;    /* of the first model; both read the same tokens */
    const sd_progress *progress;   /* may be NULL */
} sd_cross_eval;
/* out [sites->n] */
sd_status sd_lab_evaluate_cross(sd_cross_ce *out, const sd_exec *ex, const sd_cross_eval *in, sd_err *err);

#endif
