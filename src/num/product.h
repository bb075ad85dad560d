/* Products of learning: matrices that change from step to step, or typed ones that stay as they lie on disk. Nothing is
 * kept packed: each task makes the panel of b that it multiplies, which costs one pass over b for every block of rows.
 *
 *   NT  c [m, n] = a [m, k] b [n, k]^T     y = x W^T
 *   NN  c [m, n] = a [m, k] b [k, n]       gx = gy W
 *   TN  c [m, n] = a [k, m]^T b [k, n]     gW = gy^T x
 * Every element of c is one chain of fused multiply-adds in order of k (bf16: of pairs; whole numbers of kern_i16.h: of blocks),
 * started from c when accumulate is set: the bits depend neither on threads nor on how rows are grouped. */
#ifndef SD_NUM_PRODUCT_H
#define SD_NUM_PRODUCT_H

#include "num/dtype.h"
#include "num/exec.h"
#include "num/kern_i16.h"

/* A matrix rounded once for several products that read it; data NULL: none. */
typedef struct sd_half {
    const uint16_t *data; /* borrowed; bf16, or whole numbers of kern_i16.h, whose scales follow the last row */
    int64_t ld;           /* elements from one row to the next */
} sd_half;
/* Rows [row, row + m) and columns [col, col + n) of a product, n <= SD_PANEL, when all their sums are made; twin: the second product's. */
typedef struct sd_prod_part {
    float *y, *twin; /* [m, n], rows SD_PANEL apart; may be overwritten */
    int64_t row, col, m, n;
} sd_prod_part;
typedef enum sd_prod_kind { SD_PROD_NT, SD_PROD_NN, SD_PROD_TN } sd_prod_kind;
typedef struct sd_prod {
    sd_prod_kind kind;
    bool accumulate; /* c +=; never with end, whose parts are not added to anything */
    bool bf16;       /* bf16 products where the CPU has them; else NT and NN of kern_i16.h where it has those; else f32 */
    sd_mat c, a;     /* neither aliases the other or b */
    sd_wmat b;
    sd_mat a2;  /* a second term of the same kind, NT or NN: c += a2 b2 while c is at hand; data NULL: none */
    sd_wmat b2;
    void (*end)(void *arg, const sd_prod_part *part); /* takes the parts, on any thread: c has a shape and no data. NULL: they are stored in c. Only where sd_prod_can_end */
    void *end_arg;
    const struct sd_prod *twin; /* with end: of the same kind and a, and the same shapes but for a second term, multiplied beside this one; NULL: none */
    sd_half a_half, b_half; /* a, and the f32 b of NN and TN, as sd_prod_round left them; else each product rounds for itself. The bits are the same. */
} sd_prod;

/* Bytes of scratch for products with c of at most m rows and a chain of at most k; what a second term with a chain of at most k2 takes beside them. */
size_t sd_prod_scratch(const sd_exec *ex, int64_t m, int64_t k);
size_t sd_prod_second_scratch(int64_t m, int64_t k2);
/* Elements from one rounded row to the next: an odd number of cache lines, so that the rows of a tile do not meet in the same
 * sets (AMX, 96 x 32 x 576 and 1024: 1,497 and 1,548 GFLOP/s with rows end to end, 1,636 and 1,710 so). */
static inline int64_t sd_prod_half_ld(int64_t cols)
{
    return ((cols + 31) / 32 | 1) * 32;
}
/* Bytes of a rounded matrix, with room for scales. */
static inline size_t sd_prod_half_bytes(int64_t rows, int64_t cols)
{
    return (size_t)rows * ((size_t)sd_prod_half_ld(cols) * sizeof(uint16_t) + (size_t)sd_i16_blocks(cols) * sizeof(float));
}
/* True where all panels of a task can lie side by side; p: with all but pointers to data. */
bool sd_prod_can_end(const sd_exec *ex, const sd_prod *p);
bool sd_prod_multiplies_bf16(const sd_exec *ex);
/* True where the CPU multiplies bf16, or whole numbers in its place. */
bool sd_prod_can_half(const sd_exec *ex);
/* x rounded into to [x.rows, sd_prod_half_ld(x.cols)] of sd_prod_half_bytes, an odd row padded with one zero; none where the CPU multiplies
 * neither. */
sd_half sd_prod_round(const sd_exec *ex, sd_mat x, uint16_t *to);
void sd_prod_run(const sd_exec *ex, const sd_prod *p, void *scratch);
/* A dense f32 matrix as the b of a product. */
static inline sd_wmat sd_wmat_of(const float *data, int64_t rows, int64_t cols)
{
    return (sd_wmat){.data = data, .dtype = SD_F32, .rows = rows, .cols = cols};
}

#endif
