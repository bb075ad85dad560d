/* Rows of f32 into the block types that we write. Plain types of 32 give the bytes that llama-quantize gives; K types
 * are searched a little wider than there and err less (tests/interop/quantize.sh). */
#ifndef SD_NUM_QUANTIZE_H
#define SD_NUM_QUANTIZE_H

#include "num/exec.h"
#include "num/dtype.h"
#include "sonde/mat.h"

/* F32 F16 BF16, Q8_0 Q4_0 Q4_1 Q5_0 Q5_1, Q4_K Q5_K Q6_K. */
bool sd_quantize_can(sd_dtype t);
/* What rows of n elements get where t was asked for, as llama.cpp falls back (llama-quant.cpp, tensor_type_fallback): rows that
 * are no multiple of 256 Q4_K -> Q5_0, Q5_K -> Q5_1, Q6_K -> Q8_0; rows that are no multiple of 32 -> F16. */
sd_dtype sd_quantize_fallback(sd_dtype t, int64_t n);
/* x [n], n a multiple of t's block, into sd_dtype_row_bytes(t, n) bytes. Returns how many elements were not finite or,
 * but for F32 and BF16, beyond f16; in blocks they count as 0. */
int64_t sd_quantize_row(void *dst, sd_dtype t, const float *x, int64_t n);
/* Rows of x one after another; the same bytes for any number of threads. n_nonfinite may be NULL. */
void sd_quantize_rows(const sd_exec *ex, void *dst, sd_dtype t, sd_mat x, int64_t *n_nonfinite);

#endif
