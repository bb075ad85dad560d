/* Products of learning: matrices that change from step to step, or typed ones that stay as they lie on disk. Nothing is
 * kept packed: each task makes the panel of b that it multiplies, which costs one pass over b for every block of rows.
 *
 *   NT  c [m, n] = a [m, k] b [n, k]^T     y = x W^T
 *   NN  c [m, n] = a [m, k] b [k, n]       gx = gy W
 *   TN  c [m, n] = a [k, m]^T b [k, n]     gW = gy^T x
 * Every element of c is one chain of fused multiply-adds in order of k (bf16: of pairs), started from c when accumulate
 * is set: the bits depend neither on threads nor on how rows are grouped. */
#ifndef SD_NUM_PRODUCT_H
#define SD_NUM_PRODUCT_H

#include "num/dtype.h"
#include "num/exec.h"

typedef enum sd_prod_kind { SD_PROD_NT, SD_PROD_NN, SD_PROD_TN } sd_prod_kind;
typedef struct sd_prod {
    sd_prod_kind kind;
    bool accumulate; /* c += */
    bool bf16;       /* bf16 products where the CPU has them, else f32 */
    sd_mat c, a;     /* neither aliases the other or b */
    sd_wmat b;
} sd_prod;

/* Bytes of scratch for products with c of at most m rows and a chain of at most k. */
size_t sd_prod_scratch(const sd_exec *ex, int64_t m, int64_t k);
void sd_prod_run(const sd_exec *ex, const sd_prod *p, void *scratch);
/* A dense f32 matrix as the b of a product. */
static inline sd_wmat sd_wmat_of(const float *data, int64_t rows, int64_t cols)
{
    return (sd_wmat){.data = data, .dtype = SD_F32, .rows = rows, .cols = cols};
}

#endif
