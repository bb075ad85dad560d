/* Comparing and summarising numbers. */
#ifndef SD_NUM_STATS_H
#define SD_NUM_STATS_H

#include "base/err.h"
#include "sonde/mat.h"
#include <stddef.h>

/* How far two arrays are apart, and where (the idea of libxsmm's matdiff). "relative" in this project = max_abs / max|b|. */
typedef struct sd_diff {
    double max_abs, max_ref, rel, l2_rel; /* max|a-b|, max|b|, their ratio, ||a-b|| / ||b|| */
    int64_t worst;                        /* index of the largest |a-b| */
    double a_worst, b_worst;
    int64_t n, n_nonfinite;               /* elements where either side is not finite (a NaN pair counts too) */
} sd_diff;
sd_diff sd_diff_f32(const float *a, const float *b, int64_t n);

/* k-th smallest by selection; x is reordered. */
float sd_select_f32(float *x, int64_t n, int64_t k);
double sd_median_f32(float *x, int64_t n); /* reorders x */
void sd_sort_f64(double *x, int64_t n);    /* ascending, NaN last */

/* Rows whose norm is above this many times that of usual rows are attention sinks, on which no dictionary is trained or judged
 * (dictionary_learning's max_activation_norm_multiple). Usual: the median, or a mean that was taken without sinks. */
#define SD_SINK_FACTOR 10.0
/* Median of the rows' norms; x has a row at least. */
sd_status sd_median_norm(double *out, sd_mat x, sd_err *err);

#endif
