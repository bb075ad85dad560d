/* neighbours: for every feature the features whose decoder rows point the same way. Exact: all pairs, no index. */
#ifndef SD_LAB_NEIGHBOURS_H
#define SD_LAB_NEIGHBOURS_H

#include "base/log.h"
#include "num/exec.h"
#include "sonde/dict.h"

/* cos(f, g) = w_f . w_g / (|w_f| |w_g|) over decoder rows. For each f the n highest g != f, highest first, ties to the lower
 * index: index and cosine [m, n]. A dictionary of fewer than n + 1 features, and a row of zeros (which has no direction and
 * is nobody's neighbour), give shorter lists: the rest of the row has index -1. Memory: m floats and blocks of 2 MB a thread. */
sd_status sd_lab_neighbours(int32_t *index, float *cosine, int n, const sd_exec *ex, const sd_dict *dict,
                            const sd_progress *progress, sd_err *err);

/* The same over the rows of any matrix (w [m, d], rows one after the other or ld apart). */
sd_status sd_lab_neighbours_of(int32_t *index, float *cosine, int n, const sd_exec *ex, sd_mat w, const sd_progress *progress, sd_err *err);
/* For each row of a the row of b with the highest cosine, ties to the lower index; -1 and 0 for a row of zeros: index and cosine [a.rows]. */
sd_status sd_lab_nearest_in(int32_t *index, float *cosine, const sd_exec *ex, sd_mat a, sd_mat b, sd_err *err);

#endif
