/* A dictionary that was trained on rows A (x - mean), A symmetric and positive, as the dictionary of the rows x themselves:
 *
 *   codes  act(W A (x - mean - b) + b_enc)  with  b = A^-1 b_dec - and x' = sum z D A^-1 + mean + b
 * so codes stay bit for bit but for rounding, and decoder rows lose their unit norm. */
#ifndef SD_DICT_RESHAPE_H
#define SD_DICT_RESHAPE_H

#include "num/exec.h"
#include "sonde/dict.h"

/* a, a_inv [d, d], mean [d]. x: rows as they are, that were not trained on; FVU, L0, thresholds, densities, top activations and the mean norm are measured on
 * them. One site, no transcoder. */
sd_status sd_dict_reshape(sd_dict *dict, const sd_exec *ex, const double *a, const double *a_inv, const double *mean, sd_mat x, sd_err *err);

#endif
