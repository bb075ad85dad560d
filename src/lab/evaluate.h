/* evaluate: what a dictionary keeps of a model. Each context runs three times: plain, with the site replaced by the dictionary's
 * reconstruction, and with the site set to zero; next-token cross-entropy over the same positions each time.
 *
 *   ce_recovered = (CE_zero - CE_spliced) / (CE_zero - CE_plain)        SAELens evals.py, `ce_loss_score`
 *   kl           = mean over positions of KL(plain || spliced), kl_zero of KL(plain || zero)
 *   kl_recovered = (kl_zero - kl) / kl_zero                             SAELens evals.py, `kl_div_score`
 * Special tokens and sinks (norm above SD_SINK_FACTOR times the dictionary's mean token norm, or
 * the median of the first context where it states none) keep their own activations in the spliced run, since
 * no dictionary is trained on them; all next-token positions count, but
 * for those whose cross-entropy is not finite: they are left out of the means and counted in n_nonfinite (over the three runs). */
#ifndef SD_LAB_EVALUATE_H
#define SD_LAB_EVALUATE_H

#include "dict/dict_eval.h"
#include "lab/harvest.h"

typedef struct sd_evaluate_opt {
    int64_t max_contexts; /* 0: all */
    int64_t last_rows;    /* only the harvest's last contexts, those of which every row is among its last so many (held out of a run); where none
                           * is, the last one. 0: all */
    const sd_progress *progress; /* may be NULL */
    const sd_site *site;  /* where the dictionary reads; NULL: the harvest's first */
} sd_evaluate_opt;

typedef struct sd_evaluation {
    sd_dict_metrics recon;  /* of the rows that were replaced */
    double ce_plain, ce_spliced, ce_zero, ce_recovered, kl, kl_zero, kl_recovered;
    int64_t n_contexts, n_predictions; /* a context's last token predicts nothing that is there */
    int64_t n_replaced, n_kept;        /* rows of the site: replaced, and special tokens and sinks; together the tokens read */
    int64_t n_nonfinite;
} sd_evaluation;

/* m: the whole model with its head; h gives contexts and site; the dictionary's width must be the site's. */
sd_status sd_lab_evaluate(sd_evaluation *out, const sd_exec *ex, const sd_model *m, const sd_dict *dict, const sd_harvest *h,
                          const sd_evaluate_opt *opt, sd_err *err);

#endif
