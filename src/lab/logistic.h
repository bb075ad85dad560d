/* L2 logistic regression of two kinds of rows on standardised columns, brought back to raw coordinates: the optimum of mean log-loss + lambda/2 |w|^2 with a free
 * bias, lambda = 1/n (scikit-learn's C = 1). On the standardised columns |w - w*| <= 1e-4 |w|, proven by the gradient that is left (logistic.c). */
#ifndef SD_LAB_LOGISTIC_H
#define SD_LAB_LOGISTIC_H

#include "base/err.h"

#include <stdint.h>

/* Rows x[k] [n[k], d] of kind k, borrowed. Log-odds of kind 0 of a row r: sum w_j r_j + *bias. w [d]. SD_E_ARG: a kind without rows; SD_E_FAIL: no optimum, as where a
 * number is not finite. One thread. */
sd_status sd_logistic_fit(float *w, double *bias, const float *const x[2], const int64_t n[2], int64_t d, sd_err *err);
/* The bias b at which the probabilities of z_i + b, i < rows, sum to n0 of them, 0 < n0 < rows, all finite: the optimum of log-loss for given z. b: a guess. */
double sd_logistic_bias(const double *z, int64_t rows, int64_t n0, double b);

#endif
