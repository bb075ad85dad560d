/* Sums over rows that lie anywhere in a matrix: the inner loops of a sparse decoder and of its backward pass. The next rows are asked
 * for while one is added, and sums stay in registers. */
#ifndef SD_NUM_GATHER_H
#define SD_NUM_GATHER_H

#include "num/kern.h"

/* Rows idx[i] of base [., d], i < n. */
typedef struct sd_gather { const float *base; const int32_t *idx; int64_t n, d; } sd_gather;

/* y += sum_i c_i row_i, in order: the bits of n calls of k->axpy. */
void sd_gather_add(const sd_kern *k, float *y, const sd_gather *g, const float *c);
/* out_i = row_i.x, the bits of k->dot. */
void sd_gather_dot(const sd_kern *k, float *out, const sd_gather *g, const float *x);

void sd_gather_add_avx2(float *y, const sd_gather *g, const float *c);
void sd_gather_dot_avx2(float *out, const sd_gather *g, const float *x);
void sd_gather_add_avx512(float *y, const sd_gather *g, const float *c);
void sd_gather_dot_avx512(float *out, const sd_gather *g, const float *x);

#endif
