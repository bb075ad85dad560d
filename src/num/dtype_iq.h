/* Blocks that are decoded only: those with code books (IQ1, IQ2, IQ3), ternary ones (TQ) and four-bit floats (MXFP4, NVFP4). No product
 * multiplies them as they lie. Bytes as in dtype_blocks.h, layouts: ggml-common.h. */
#ifndef SD_NUM_DTYPE_IQ_H
#define SD_NUM_DTYPE_IQ_H

#include "num/dtype_blocks.h"

typedef struct sd_block_iq2_xxs {
    uint8_t d[2], qs[64];
} sd_block_iq2_xxs;
typedef struct sd_block_iq2_xs {
    uint8_t d[2], qs[64], scales[8];
} sd_block_iq2_xs;
typedef struct sd_block_iq2_s {
    uint8_t d[2], qs[32], signs[32], qh[8], scales[8];
} sd_block_iq2_s;
typedef struct sd_block_iq3_xxs {
    uint8_t d[2], qs[64], scales[32];
} sd_block_iq3_xxs;
typedef struct sd_block_iq3_s {
    uint8_t d[2], qs[64], qh[8], signs[32], scales[4];
} sd_block_iq3_s;
typedef struct sd_block_iq1_s {
    uint8_t d[2], qs[32], qh[16];
} sd_block_iq1_s;
typedef struct sd_block_iq1_m {
    uint8_t qs[32], qh[16], scales[8];
} sd_block_iq1_m;
typedef struct sd_block_tq1_0 {
    uint8_t qs[48], qh[4], d[2];
} sd_block_tq1_0;
typedef struct sd_block_tq2_0 {
    uint8_t qs[64], d[2];
} sd_block_tq2_0;
typedef struct sd_block_mxfp4 {
    uint8_t e, qs[16];
} sd_block_mxfp4;
enum { SD_QNV = 64 }; /* elements of a block of NVFP4 */
typedef struct sd_block_nvfp4 {
    uint8_t d[4], qs[32];
} sd_block_nvfp4;

_Static_assert(sizeof(sd_block_iq2_xxs) == 66, "iq2_xxs: f16 scale, 8 x (4 indices, 4 x 7 bits of signs, 4 bits of scale)");
_Static_assert(sizeof(sd_block_iq2_xs) == 74, "iq2_xs: f16 scale, 32 x (9 bits of index, 7 of signs), 16 x 4 bits of scale");
_Static_assert(sizeof(sd_block_iq2_s) == 82, "iq2_s: f16 scale, 32 x 10 bits of index, 32 bytes of signs, 16 x 4 bits of scale");
_Static_assert(sizeof(sd_block_iq3_xxs) == 98, "iq3_xxs: f16 scale, 64 indices, 8 x (4 x 7 bits of signs, 4 bits of scale)");
_Static_assert(sizeof(sd_block_iq3_s) == 110, "iq3_s: f16 scale, 64 x 9 bits of index, 32 bytes of signs, 8 x 4 bits of scale");
_Static_assert(sizeof(sd_block_iq1_s) == 50, "iq1_s: f16 scale, 32 x 11 bits of index, 8 x (3 bits of scale, 1 of shift)");
_Static_assert(sizeof(sd_block_iq1_m) == 56, "iq1_m: 32 x (11 bits of index, 1 of shift), 16 x 3 bits of scale, f16 scale in four nibbles");
_Static_assert(sizeof(sd_block_tq1_0) == 54, "tq1_0: 240 numbers, five a byte, 16, four a byte, f16 scale");
_Static_assert(sizeof(sd_block_tq2_0) == 66, "tq2_0: 256 x 2 bits, f16 scale");
_Static_assert(sizeof(sd_block_mxfp4) == 17, "mxfp4: an exponent, 32 nibbles");
_Static_assert(sizeof(sd_block_nvfp4) == 36, "nvfp4: 4 scales of 4 bits of exponent and 3 of mantissa, 64 nibbles");

extern const uint16_t sd_book_iq2_xxs[256], sd_book_iq2_xs[512], sd_book_iq2_s[1024], sd_book_iq3_xxs[256], sd_book_iq3_s[512], sd_book_iq1_s[2048];

void sd_decode_iq2_xxs(float *dst, const void *src, int64_t n);
void sd_decode_iq2_xs(float *dst, const void *src, int64_t n);
void sd_decode_iq2_s(float *dst, const void *src, int64_t n);
void sd_decode_iq3_xxs(float *dst, const void *src, int64_t n);
void sd_decode_iq3_s(float *dst, const void *src, int64_t n);
void sd_decode_iq1_s(float *dst, const void *src, int64_t n);
void sd_decode_iq1_m(float *dst, const void *src, int64_t n);
void sd_decode_tq1_0(float *dst, const void *src, int64_t n);
void sd_decode_tq2_0(float *dst, const void *src, int64_t n);
void sd_decode_mxfp4(float *dst, const void *src, int64_t n);
void sd_decode_nvfp4(float *dst, const void *src, int64_t n);

#endif
