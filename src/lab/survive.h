/* survive: which features of a dictionary a quantised model still has. Both models read the same tokens; each feature's activations in the one
 * are compared with those in the other, token by token.
 *
 *   corr       Pearson correlation of a feature's activations (zeros counted) over all tokens; a feature survives from SD_SURVIVE on
 *   f1         of the tokens it fires on: 2 both / (n_ref + n_other)
 *   counted    features that fire on at least SD_SURVIVE_FIRES tokens in the reference; fewer say too little for a correlation
 *   peak_auc   how well a feature's peak activation in the reference tells survivors from the others (0.5: not at all)
 *   row_error  sum |x' - x|^2 / sum |x - mean x|^2 of the site's rows: what the quantisation did before any feature is looked at
 * arXiv 2606.03002 found that perplexity can stay while features go; these are our definitions, not that paper's. */
#ifndef SD_LAB_SURVIVE_H
#define SD_LAB_SURVIVE_H

#include "dict/act.h"
#include "dict/dict_eval.h"

#define SD_SURVIVE 0.9
enum { SD_SURVIVE_FIRES = 10, SD_SURVIVE_BINS = 10 };

/* The reference: its rows and codes, kept to be compared with several models. */
typedef struct sd_survive_ref sd_survive_ref;
/* Reads max_rows rows of src (0: all). Sinks (evaluate.h) of the reference are left out of every figure, of both models. */
sd_status sd_survive_ref_new(sd_survive_ref **out, const sd_exec *ex, const sd_dict *dict, sd_act_source src, int64_t max_rows, const sd_progress *progress, sd_err *err);
void sd_survive_ref_free(sd_survive_ref *r);
const sd_dict_metrics *sd_survive_ref_recon(const sd_survive_ref *r);
int64_t sd_survive_ref_rows(const sd_survive_ref *r);

typedef struct sd_survival {
    double share, median_corr, mean_f1, peak_auc, row_error; /* share: of the counted features */
    int64_t n_counted, n_survived, n_silent;                 /* silent: counted, but never active in the other model */
    sd_dict_metrics recon;                                   /* of the other model's rows */
    double by_peak[SD_SURVIVE_BINS];                         /* share that survives by tenth of the peak activation, weakest first */
    float *corr, *f1;                                        /* [m]; NaN: not counted. Owned */
} sd_survival;
/* src: the other model's rows of the same tokens; SD_E_FORMAT when they are not. */
sd_status sd_lab_survive(sd_survival *out, const sd_exec *ex, const sd_survive_ref *ref, sd_act_source src, const sd_progress *progress, sd_err *err);
void sd_survival_release(sd_survival *s);

#endif
