/* Metrics of a reconstruction, streamed: add blocks of rows, then finish. All sums in double. e = x - x', n rows, mean over them.
 *
 *   fvu                sum|e|^2 / sum|x - mean x|^2                      global over all rows added
 *   explained_variance 1 - E|e|^2 / (E|x|^2 - |E x|^2)                   SAELens evals.py since 6.45.1; = 1 - fvu
 *   explained_variance_legacy  E[1 - |e|^2 / |x - mean_batch x|^2]       SAELens before; a batch is one call of add
 *   explained_variance_vs0     1 - sum|e|^2 / sum|x|^2                   relative to zero: flatters, because the mean is large
 *   mse                E|e|^2 (per row, summed over columns)
 *   l0, l1             E #(z != 0), E sum|z|
 *   cossim, l2_ratio   E cos(x, x'), E |x'|/|x|
 *   relative_reconstruction_bias   E|x'|^2 / E[x.x']                     arXiv 2404.16014, eq. 10; 1 = no shrinkage
 *   silent_share       share of features that never fired in these rows
 * Under the names of other tools, for comparing with their tables:
 *   explained_variance_saebench060  1 - E|e|^2 / (E|x|^2 - q^2), q the mean of x^2 over rows and columns: what SAEBench 0.6.0 computes,
 *                      in place of the column means it intends
 *   frac_variance_explained  1 - sum_c Var(e_c) / sum_c Var(x_c): dictionary_learning; the mean of the error is taken out, so a constant
 *                      offset is forgiven. There a batch, here all rows
 *   l2_loss            E|e|, not squared: dictionary_learning
 *   normalized_mse_openai    E[|e|^2 / |x|^2], rows of zeros left out: OpenAI's sparse_autoencoder
 *   frac_alive         share of features that fired in these rows: SAEBench, dictionary_learning; 1 - silent_share
 *   density histogram  features by log10 of the share of rows where they fire, a half a decade a bin; those that never fire apart (SAELens
 *                      has them at log10(0 + 1e-10) = -10)
 *   freq_over_1_percent, freq_over_10_percent   share of features that fire in more than that share of rows: SAEBench */
#ifndef SD_DICT_EVAL_H
#define SD_DICT_EVAL_H

#include "sonde/dict.h"

enum { SD_DENSITY_BINS = 16 }; /* bin i: log10 of the density in [-8 + i/2, -7.5 + i/2); the last one to 0 */
typedef struct sd_dict_metrics {
    double fvu, explained_variance, explained_variance_legacy, explained_variance_vs0, mse, l0, l1, cossim, l2_ratio, relative_reconstruction_bias, silent_share;
    double explained_variance_saebench060, frac_variance_explained, l2_loss, normalized_mse_openai, frac_alive, freq_over_1_percent, freq_over_10_percent;
    int64_t n_rows, n_fired;
    int64_t density_bin[SD_DENSITY_BINS]; /* features, n_fired of them together */
    struct sd_dict_sums *sums; /* owned; NULL after finish */
} sd_dict_metrics;

sd_status sd_dict_metrics_init(sd_dict_metrics *m, int64_t d, int64_t n_features, sd_err *err);
void sd_dict_metrics_add(sd_dict_metrics *m, sd_mat x, sd_mat y, const sd_codes *z);
void sd_dict_metrics_finish(sd_dict_metrics *m);  /* NaN where there were no rows */
void sd_dict_metrics_release(sd_dict_metrics *m); /* also after finish */

/* The metrics by definition id, in a fixed order, for tables and JSON: i from 0; false after the last. */
bool sd_dict_metric_at(const sd_dict_metrics *m, int i, const char **id, double *value);

#endif
