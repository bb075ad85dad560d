/* Small dense products that one thread does alone: out [n_tok, n_row] = x [n_tok, d] w^T, for a fixed shape. The caller
 * spreads tiles over threads, so no sum is ever split between threads and the bits do not depend on their number. */
#ifndef SD_NUM_GEMM_TILE_H
#define SD_NUM_GEMM_TILE_H

#include "num/exec.h"

typedef struct sd_score_shape {
    int64_t n_tok, n_row, d;
    bool bf16;    /* elements of x and w are bf16 (uint16_t), products summed in f32; only where sd_score_can_bf16 */
    bool d_major; /* w comes as [d, n_row] instead of [n_row, d] */
} sd_score_shape;

/* True where this CPU multiplies bf16 (else bf16 products would be emulated, slower than f32). */
bool sd_score_can_bf16(const sd_exec *ex);

typedef struct sd_score sd_score;
/* Makes the primitives and ex->n_threads sets of handles; run and pack allocate nothing of ours. */
sd_status sd_score_new(sd_score **out, const sd_exec *ex, const sd_score_shape *shape, sd_err *err);
void sd_score_free(sd_score *s);
size_t sd_score_pack_bytes(const sd_score *s); /* bytes of a packed w */
size_t sd_score_bytes(const sd_score *s);      /* bytes the object itself holds */
/* Inside sd_parallel_for, at most ex->n_threads workers: packs w, multiplies. All pointers 64-byte aligned, dense. */
void sd_score_pack(sd_score *s, void *packed, const void *w);
void sd_score_run(sd_score *s, float *out, const void *x, const void *packed);

#endif
