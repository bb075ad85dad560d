/* Element types and quantised blocks: one table row a type, its layout asserted at compile time.
 * Layouts: ggml-common.h and the `gguf` Python package (decoded values equal it bit for bit). */
#ifndef SD_NUM_DTYPE_H
#define SD_NUM_DTYPE_H

#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum sd_dtype {
    SD_DTYPE_NONE = 0,
    SD_F32, SD_F16, SD_BF16, SD_F64, SD_I8, SD_I16, SD_I32, SD_I64, SD_U8,
    SD_Q4_0, SD_Q4_1, SD_Q5_0, SD_Q5_1, SD_Q8_0,
    SD_Q2_K, SD_Q3_K, SD_Q4_K, SD_Q5_K, SD_Q6_K, SD_IQ4_NL, SD_IQ4_XS,
    SD_IQ1_S, SD_IQ1_M, SD_IQ2_XXS, SD_IQ2_XS, SD_IQ2_S, SD_IQ3_XXS, SD_IQ3_S, SD_TQ1_0, SD_TQ2_0, SD_MXFP4, SD_NVFP4, /* decoded only */
    SD_DTYPE_COUNT
} sd_dtype;

typedef struct sd_dtype_info {
    const char *name;    /* "Q4_1"; NULL: no such type */
    int ggml_id;         /* number in a GGUF; -1: not there */
    const char *st_name; /* name in safetensors ("F32", "BF16"); NULL: not there */
    int block;           /* elements a block */
    size_t bytes;        /* bytes a block */
    /* n elements (a multiple of block) from src to dst. NULL: cannot be decoded to f32 (integers). */
    void (*decode)(float *dst, const void *src, int64_t n);
} sd_dtype_info;

const sd_dtype_info *sd_dtype_get(sd_dtype t); /* never NULL for a valid enum value; .name is NULL for unsupported ones */
sd_dtype sd_dtype_from_ggml(uint32_t ggml_id); /* SD_DTYPE_NONE when unknown or unsupported */
sd_dtype sd_dtype_from_st(const char *name, size_t n);
/* Bytes of a row of n elements; 0 when n is no multiple of the block. */
size_t sd_dtype_row_bytes(sd_dtype t, int64_t n);

float sd_f16_to_f32(uint16_t h);
uint16_t sd_f32_to_f16(float f); /* round to nearest even */
static inline float sd_bf16_to_f32(uint16_t h)
{
    union { uint32_t u; float f; } v = {(uint32_t)h << 16};
    return v.f;
}
uint16_t sd_f32_to_bf16(float f); /* round to nearest even; NaN stays NaN */

/* A view of typed weights, row-major [rows = outputs, cols = inputs]; borrows. */
typedef struct sd_wmat {
    const void *data;
    sd_dtype dtype;
    int64_t rows, cols;
    const int32_t *perm; /* row i of the matrix is stored row perm[i]; NULL: i. Restores Hugging Face's row order of q and k. Borrowed as data is. */
    int64_t stored_cols; /* 0; else the file holds the transpose, rows of this many elements (F32, F16, BF16): row i of the matrix is
                            column perm[i] (or i) of the stored one. GPT-2's Conv1D. */
} sd_wmat;
/* Stored bytes of row r; not of a transposed view. */
static inline const void *sd_wmat_row(const sd_wmat *w, int64_t r)
{
    return (const uint8_t *)w->data + (size_t)(w->perm ? w->perm[r] : r) * sd_dtype_row_bytes(w->dtype, w->cols);
}
/* Row r as f32 into dst [cols]. */
void sd_wmat_decode_row(float *dst, const sd_wmat *w, int64_t r);

#endif
