/* y = x W^T (+ b): one weight matrix in the best form for a numeric mode, packed once, immutable afterwards.
 *
 *   faithful  weights decoded to f32, f32 products. Each output is one chain of fused multiply-adds in index order of the inputs, so
 *             the bits depend neither on the rows of a batch, nor on how a prompt is split, nor on threads, nor on --cpu.
 *   bf16      bf16 weights and activations, f32 accumulation; f32 products where the CPU has no bf16 (sd_linear_mode says so). Bits
 *             do not depend on rows, splits and threads.
 *   fast      activations in int8 blocks of 32 against quantised weights (but those of dtype_iq.h); the same sums for
 *             one row and for many, for any threads and any --cpu. Other weights are multiplied as in bf16 (or f32).
 * The inner loops are our own, at the same rate as oneDNN's (linear_f32.c has the figures). */
#ifndef SD_NUM_LINEAR_H
#define SD_NUM_LINEAR_H

#include "num/exec.h"
#include "num/dtype.h"
#include "num/kern_ops.h"

typedef struct sd_linear sd_linear;
/* w and bias [w.rows] are borrowed only during the call. mode DEFAULT: faithful. */
sd_status sd_linear_new(sd_linear **out, const sd_exec *ex, const sd_wmat *w, const float *bias, sd_mode mode, sd_err *err);
/* Packed weights of many matrices, one after another in large pages. Zero but for `left`; released after the matrices. */
typedef struct sd_linear_pool {
    size_t left;       /* bytes that may still be packed */
    void **block;      /* [n_block] owns */
    int n_block;
    size_t size, used; /* of the last block */
} sd_linear_pool;
void sd_linear_pool_release(sd_linear_pool *p);
/* The same with its packed bytes in a pool; w's data and perm are borrowed until free. Nothing is packed yet: the first product packs each
 * panel in scratch, the second one leaves its panels in the pool. When they are more than pool->left every product packs in scratch: slow for
 * one row, next to free for hundreds. The bits are the same. pool NULL: packed at once in memory of its own, no limit, nothing borrowed. */
sd_status sd_linear_new_within(sd_linear **out, const sd_exec *ex, const sd_wmat *w, const float *bias, sd_linear_pool *pool, sd_mode mode,
                               sd_err *err);
bool sd_linear_is_streamed(const sd_linear *l);
void sd_linear_free(sd_linear *l);
/* Packed bytes that a matrix would take (data is not looked at); SIZE_MAX when they overflow. */
size_t sd_linear_plan_bytes(const sd_wmat *w, sd_mode mode, uint32_t cpu_flags);
size_t sd_linear_bytes(const sd_linear *l);       /* packed bytes it holds */
size_t sd_linear_read_bytes(const sd_linear *l);  /* bytes read for one row (decode roofline) */
sd_mode sd_linear_mode(const sd_linear *l);       /* the mode that is really used */

/* Scratch an op of n_rows needs, in bytes, with no more threads than the matrix was made with; the caller pushes it once in its
 * plan. */
size_t sd_linear_scratch(const sd_linear *l, int64_t n_rows);
/* y [n, rows] overwritten (or added to when accumulate); x [n, cols]; scratch from above, 64-byte aligned. y must not alias x. */
void sd_linear_fwd(const sd_exec *ex, const sd_linear *l, sd_mat y, sd_mat x, bool accumulate, void *scratch);

/* Activations quantised once and used by several matrices with the same input (q,k,v; gate,up): in fast mode `prepare` fills scratch and
 * `run` uses it; in other modes prepare converts or does nothing. sd_linear_fwd = prepare + run. All of `l` must share cols and mode. */
void sd_linear_prepare(const sd_exec *ex, const sd_linear *l, sd_mat x, void *scratch);
void sd_linear_run(const sd_exec *ex, const sd_linear *l, sd_mat y, sd_mat x, bool accumulate, void *scratch);
/* y[i] = x l[i]^T of up to SD_LINEAR_MANY matrices at once after one `prepare`: for a single row starting a product costs as much as a
 * small one. */
enum { SD_LINEAR_MANY = 4 };
void sd_linear_run_many(const sd_exec *ex, const sd_linear *const *l, const sd_mat *y, int n, sd_mat x, void *scratch);

/* What stands between two layers of an MLP, done while its numbers are in the cache: z = f(x gate^T + b) [* (x up^T + b)], left for
 * sd_linear_run(next, ., z, ..) with next_scratch: rounded or quantised there, as sd_linear_prepare would, or in z where next takes f32
 * (else z is only its shape). `scratch` is prepared for gate. The same bits as sd_linear_run_many, sd_nonlin_mul and sd_linear_prepare. */
typedef struct sd_linear_glu {
    const sd_linear *gate, *up, *next; /* up NULL: an MLP without */
    sd_nonlin f;
} sd_linear_glu;
/* false: a few rows, weights that are not packed, or a next layer that prepares whole rows; then it is three steps. */
bool sd_linear_glu_fits(const sd_linear_glu *g, int64_t n_rows);
void sd_linear_run_glu(const sd_exec *ex, const sd_linear_glu *g, sd_mat z, sd_mat x, const void *scratch, void *next_scratch);

/* A plain product for matrices that change: c [m,n] = a [m,k] b[n,k]^T, f32 or bf16 products (bf16: converts b each call). Not chained: no bit promise across shapes. */
void sd_gemm_nt(const sd_exec *ex, sd_mat c, sd_mat a, sd_mat b);

#endif
