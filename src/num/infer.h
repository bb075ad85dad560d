/* Inference for rates and means of small samples: intervals that an audit prints and a gate tests. Everything in double. */
#ifndef SD_NUM_INFER_H
#define SD_NUM_INFER_H

#include "base/mem.h"
#include "base/rng.h"

/* An estimate with its interval. n = 0 gives est NaN and the widest interval there is. */
typedef struct sd_ci { double est, lo, hi; } sd_ci;

double sd_norm_cdf(double z);
double sd_norm_quantile(double p); /* inverse of sd_norm_cdf; 0 gives -inf, 1 inf */

/* k of n: Wilson 1927's score interval. level: 0.95. */
sd_ci sd_ci_wilson(int64_t k, int64_t n, double level);

/* The same n prompts put to two models, yes or no: yes to both, to the first only, to the second only, to neither. */
typedef struct sd_paired { int64_t both, first, second, neither; } sd_paired;
static inline int64_t sd_paired_n(sd_paired t) { return t.both + t.first + t.second + t.neither; }
/* p_first - p_second = (first - second)/n: Newcombe 1998 (Statistics in Medicine 17, 2635-2650), method 10: Wilson intervals of the
 * two rates, joined with their correlation phi, phi's numerator corrected for continuity where it is positive. */
sd_ci sd_ci_newcombe(sd_paired t, double level);
/* Exact two-sided McNemar test: the binomial tail of the smaller discordant count at 1/2, doubled, at most 1. */
double sd_mcnemar_exact(sd_paired t);
/* adjusted[i] of p[i], Holm 1979: family-wise, monotone, at most 1. May alias. NaN entries stay NaN and are not counted. */
sd_status sd_holm(double *adjusted, const double *p, int64_t n, sd_err *err);

/* The smallest drop first/n that n prompts could show to be above `limit` (lower bound of the interval above it) when the first
 * model says yes at rate p_first and nothing moves the other way; NaN when no drop could. */
double sd_drop_visible(int64_t n, double p_first, double limit, double level);
/* Prompts at which the interval would lie on one side of `limit` if the table's shares stayed as they are; -1 when more than
 * max_n, or never (the drop equals the limit). */
int64_t sd_drop_prompts(sd_paired t, double limit, double level, int64_t max_n);

/* Percentile bootstrap of a mean: n_draws resamples. With group [n] (0..n_groups-1) and member [n] (0..n_members-1) x is a table of groups and members, some cells of which may be missing: seeds that were all asked
 * the same prompts. Groups are drawn and members are drawn, a member being the same one in every group (the pigeonhole bootstrap; Owen 2007, Annals of Applied Statistics 1, 386-411): members drawn anew in each group would
 * count the same prompts as often as there are seeds. Same bits for the same rng. */
typedef struct sd_boot_opt { const int32_t *group, *member; int64_t n_groups, n_members; int n_draws; double level; } sd_boot_opt; /* group NULL: rows alone; 0: 2000 draws, 0.95 */
sd_status sd_ci_bootstrap(sd_ci *out, const double *x, int64_t n, const sd_boot_opt *opt, sd_rng rng, sd_err *err);

/* Prediction-powered mean (Angelopoulos et al. 2023, Science 382, 669, section "mean estimation"), stratified (Fisch et al. 2024):
 *   est = mean of f over the unlabelled + sum_s w_s mean_s(y - f),   var = var(f)/N + sum_s w_s^2 var_s(y - f)/n_s
 * f: the judge's verdict, y: the hand label, w_s: share of stratum s among all rows. Variances are those of the sample (divisor n). */
typedef struct sd_ppi_stratum { double weight, mean_diff, var_diff; int64_t n; } sd_ppi_stratum;
sd_ci sd_ci_ppi(double mean_f, double var_f, int64_t n_unlabelled, const sd_ppi_stratum *s, int n_strata, double level);

/* True rate behind an observed one, given a judge's error rates (Rogan and Gladen 1978), clipped to [0,1]; NaN when the judge tells
 * nothing (fpr + fnr >= 1). */
double sd_rogan_gladen(double observed, double fpr, double fnr);
/* Share of (a, b) pairs with a > b, ties half: area under the ROC curve. Sorts a and b in place. NaN when either is empty. */
double sd_auroc(double *a, int64_t n_a, double *b, int64_t n_b);

#endif
