/* L2 logistic regression of two kinds of rows on standardised columns, brought back to raw coordinates: Nesterov's momentum on mean log-loss + lambda/2 |w|^2,
 * lambda = 1/n. */
#ifndef SD_LAB_LOGISTIC_H
#define SD_LAB_LOGISTIC_H

#include "base/err.h"

#include <stdint.h>

/* Rows x[k] [n[k], d] of kind k, borrowed. Log-odds of kind 0 of a row r: sum w_j r_j + *bias. w [d]; n[0] + n[1] of at least 2. */
sd_status sd_logistic_fit(float *w, double *bias, const float *const x[2], const int64_t n[2], int64_t d, sd_err *err);

#endif
