/* The dtype table, half and bfloat16 conversions, rows of typed matrices.
 * Owns the plain types; the quantised blocks are decoded in dtype_quant.c and dtype_iq.c. A type without a row here (name NULL)
 * does not exist for the rest of the program: containers refuse it by its number. */
#include "num/dtype.h"
#include "num/dtype_blocks.h"
#include "num/dtype_iq.h"
#include "base/err.h"
#include <string.h>

/* IEEE 754 binary16 -> binary32: exact, subnormals included; NaN payloads shift up. */
float sd_f16_to_f32(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16, mag = h & 0x7fffu;
    union {
        uint32_t u;
        float f;
    } v;
    if (mag >= 0x7c00u) {
        v.u = sign | 0x7f800000u | (mag & 0x3ffu) << 13;
    } else if (mag >= 0x400u) {
        v.u = sign | ((mag << 13) + (112u << 23)); /* 112 = 127 - 15, the difference of the exponents' biases */
    } else {
        v.f = (float)mag * 0x1p-24f; /* subnormal: mag units of 2^-24, exact in f32 */
        v.u |= sign;
    }
    return v.f;
}

uint16_t sd_f32_to_f16(float f)
{
    union {
        uint32_t u;
        float f;
    } v = {.f = f};
    const uint32_t sign = v.u >> 16 & 0x8000u, mag = v.u & 0x7fffffffu;
    if (mag > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | (mag >> 13 & 0x3ffu));
    if (mag >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* 65520 and above round to infinity */
    if (mag < 0x38800000u) { /* below 2^-14: a multiple of 2^-24, rounded to even by the addition of 0.5 */
        v.u = mag;
        v.f += 0.5f; /* ulp(0.5) = 2^-24 */
        return (uint16_t)(sign | (v.u - 0x3f000000u));
    }
    const uint32_t odd = mag >> 13 & 1u;
    return (uint16_t)(sign | ((mag - (112u << 23) + 0xfffu + odd) >> 13));
}

uint16_t sd_f32_to_bf16(float f)
{
    union {
        uint32_t u;
        float f;
    } v = {.f = f};
    if ((v.u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(v.u >> 16 | 0x40u); /* quiet, so that it stays a NaN */
    return (uint16_t)((v.u + 0x7fffu + (v.u >> 16 & 1u)) >> 16);
}

static void decode_f32(float *dst, const void *src, int64_t n)
{
    memcpy(dst, src, (size_t)n * sizeof *dst);
}
static void decode_f16(float *dst, const void *src, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, (const uint8_t *)src + 2 * i, 2);
        dst[i] = sd_f16_to_f32(h);
    }
}
static void decode_bf16(float *dst, const void *src, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, (const uint8_t *)src + 2 * i, 2);
        dst[i] = sd_bf16_to_f32(h);
    }
}
static void decode_f64(float *dst, const void *src, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        double d;
        memcpy(&d, (const uint8_t *)src + 8 * i, 8);
        dst[i] = (float)d;
    }
}

/* The numbers are ggml's (ggml.h, enum ggml_type). */
static const sd_dtype_info dtype_info[SD_DTYPE_COUNT] = {
    [SD_DTYPE_NONE] = {NULL, -1, NULL, 1, 0, NULL},
    [SD_F32] = {"F32", 0, "F32", 1, 4, decode_f32},
    [SD_F16] = {"F16", 1, "F16", 1, 2, decode_f16},
    [SD_BF16] = {"BF16", 30, "BF16", 1, 2, decode_bf16},
    [SD_F64] = {"F64", 28, "F64", 1, 8, decode_f64},
    [SD_I8] = {"I8", 24, "I8", 1, 1, NULL},
    [SD_I16] = {"I16", 25, "I16", 1, 2, NULL},
    [SD_I32] = {"I32", 26, "I32", 1, 4, NULL},
    [SD_I64] = {"I64", 27, "I64", 1, 8, NULL},
    [SD_U8] = {"U8", -1, "U8", 1, 1, NULL},
    [SD_Q4_0] = {"Q4_0", 2, NULL, SD_QK, sizeof(sd_block_q4_0), sd_decode_q4_0},
    [SD_Q4_1] = {"Q4_1", 3, NULL, SD_QK, sizeof(sd_block_q4_1), sd_decode_q4_1},
    [SD_Q5_0] = {"Q5_0", 6, NULL, SD_QK, sizeof(sd_block_q5_0), sd_decode_q5_0},
    [SD_Q5_1] = {"Q5_1", 7, NULL, SD_QK, sizeof(sd_block_q5_1), sd_decode_q5_1},
    [SD_Q8_0] = {"Q8_0", 8, NULL, SD_QK, sizeof(sd_block_q8_0), sd_decode_q8_0},
    [SD_Q2_K] = {"Q2_K", 10, NULL, SD_QKK, sizeof(sd_block_q2_k), sd_decode_q2_k},
    [SD_Q3_K] = {"Q3_K", 11, NULL, SD_QKK, sizeof(sd_block_q3_k), sd_decode_q3_k},
    [SD_Q4_K] = {"Q4_K", 12, NULL, SD_QKK, sizeof(sd_block_q4_k), sd_decode_q4_k},
    [SD_Q5_K] = {"Q5_K", 13, NULL, SD_QKK, sizeof(sd_block_q5_k), sd_decode_q5_k},
    [SD_Q6_K] = {"Q6_K", 14, NULL, SD_QKK, sizeof(sd_block_q6_k), sd_decode_q6_k},
    [SD_IQ4_NL] = {"IQ4_NL", 20, NULL, SD_QK, sizeof(sd_block_iq4_nl), sd_decode_iq4_nl},
    [SD_IQ4_XS] = {"IQ4_XS", 23, NULL, SD_QKK, sizeof(sd_block_iq4_xs), sd_decode_iq4_xs},
    [SD_IQ1_S] = {"IQ1_S", 19, NULL, SD_QKK, sizeof(sd_block_iq1_s), sd_decode_iq1_s},
    [SD_IQ1_M] = {"IQ1_M", 29, NULL, SD_QKK, sizeof(sd_block_iq1_m), sd_decode_iq1_m},
    [SD_IQ2_XXS] = {"IQ2_XXS", 16, NULL, SD_QKK, sizeof(sd_block_iq2_xxs), sd_decode_iq2_xxs},
    [SD_IQ2_XS] = {"IQ2_XS", 17, NULL, SD_QKK, sizeof(sd_block_iq2_xs), sd_decode_iq2_xs},
    [SD_IQ2_S] = {"IQ2_S", 22, NULL, SD_QKK, sizeof(sd_block_iq2_s), sd_decode_iq2_s},
    [SD_IQ3_XXS] = {"IQ3_XXS", 18, NULL, SD_QKK, sizeof(sd_block_iq3_xxs), sd_decode_iq3_xxs},
    [SD_IQ3_S] = {"IQ3_S", 21, NULL, SD_QKK, sizeof(sd_block_iq3_s), sd_decode_iq3_s},
    [SD_TQ1_0] = {"TQ1_0", 34, NULL, SD_QKK, sizeof(sd_block_tq1_0), sd_decode_tq1_0},
    [SD_TQ2_0] = {"TQ2_0", 35, NULL, SD_QKK, sizeof(sd_block_tq2_0), sd_decode_tq2_0},
    [SD_MXFP4] = {"MXFP4", 39, NULL, SD_QK, sizeof(sd_block_mxfp4), sd_decode_mxfp4},
    [SD_NVFP4] = {"NVFP4", 40, NULL, SD_QNV, sizeof(sd_block_nvfp4), sd_decode_nvfp4},
};

const sd_dtype_info *sd_dtype_get(sd_dtype t)
{
    SD_ASSERT((unsigned)t < SD_DTYPE_COUNT);
    return &dtype_info[t];
}

sd_dtype sd_dtype_from_ggml(uint32_t ggml_id)
{
    for (int t = 1; t < SD_DTYPE_COUNT; t++)
        if (dtype_info[t].ggml_id >= 0 && (uint32_t)dtype_info[t].ggml_id == ggml_id) return (sd_dtype)t;
    return SD_DTYPE_NONE;
}

sd_dtype sd_dtype_from_st(const char *name, size_t n)
{
    for (int t = 1; t < SD_DTYPE_COUNT; t++) {
        const char *s = dtype_info[t].st_name;
        if (s && strlen(s) == n && memcmp(s, name, n) == 0) return (sd_dtype)t;
    }
    return SD_DTYPE_NONE;
}

size_t sd_dtype_row_bytes(sd_dtype t, int64_t n)
{
    const sd_dtype_info *info = sd_dtype_get(t);
    if (n < 0 || n % info->block != 0) return 0;
    return (size_t)(n / info->block) * info->bytes;
}

void sd_wmat_decode_row(float *dst, const sd_wmat *w, int64_t r)
{
    const sd_dtype_info *info = sd_dtype_get(w->dtype);
    SD_ASSERT(info->decode && r >= 0 && r < w->rows && w->cols % info->block == 0);
    if (w->stored_cols) {
        SD_ASSERT(info->block == 1);
        const uint8_t *from = (const uint8_t *)w->data + (size_t)(w->perm ? w->perm[r] : r) * info->bytes;
        for (int64_t i = 0; i < w->cols; i++, from += (size_t)w->stored_cols * info->bytes) info->decode(dst + i, from, 1);
    } else
        info->decode(dst, sd_wmat_row(w, r), w->cols);
}
