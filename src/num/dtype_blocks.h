/* The quantised blocks as they lie in a GGUF file: bytes only, so any alignment will do.
 * Layouts: ggml-common.h (llama.cpp). Half-precision fields are two little-endian bytes. */
#ifndef SD_NUM_DTYPE_BLOCKS_H
#define SD_NUM_DTYPE_BLOCKS_H

#include <stdint.h>

#define SD_QK  32  /* elements of a plain block */
#define SD_QKK 256 /* elements of a super-block of the K and IQ types */

typedef struct sd_block_q4_0 {
    uint8_t d[2], qs[16];
} sd_block_q4_0;
typedef struct sd_block_q4_1 {
    uint8_t d[2], m[2], qs[16];
} sd_block_q4_1;
typedef struct sd_block_q5_0 {
    uint8_t d[2], qh[4], qs[16];
} sd_block_q5_0;
typedef struct sd_block_q5_1 {
    uint8_t d[2], m[2], qh[4], qs[16];
} sd_block_q5_1;
typedef struct sd_block_q8_0 {
    uint8_t d[2];
    int8_t qs[32];
} sd_block_q8_0;
typedef struct sd_block_q2_k {
    uint8_t scales[16], qs[64], d[2], dmin[2];
} sd_block_q2_k;
typedef struct sd_block_q3_k {
    uint8_t hmask[32], qs[64], scales[12], d[2];
} sd_block_q3_k;
typedef struct sd_block_q4_k {
    uint8_t d[2], dmin[2], scales[12], qs[128];
} sd_block_q4_k;
typedef struct sd_block_q5_k {
    uint8_t d[2], dmin[2], scales[12], qh[32], qs[128];
} sd_block_q5_k;
typedef struct sd_block_q6_k {
    uint8_t ql[128], qh[64];
    int8_t scales[16];
    uint8_t d[2];
} sd_block_q6_k;
typedef struct sd_block_iq4_nl {
    uint8_t d[2], qs[16];
} sd_block_iq4_nl;
typedef struct sd_block_iq4_xs {
    uint8_t d[2], scales_h[2], scales_l[4], qs[128];
} sd_block_iq4_xs;

_Static_assert(sizeof(sd_block_q4_0) == 18, "q4_0: f16 scale, 32 nibbles");
_Static_assert(sizeof(sd_block_q4_1) == 20, "q4_1: f16 scale, f16 minimum, 32 nibbles");
_Static_assert(sizeof(sd_block_q5_0) == 22, "q5_0: f16 scale, 32 high bits, 32 nibbles");
_Static_assert(sizeof(sd_block_q5_1) == 24, "q5_1: f16 scale, f16 minimum, 32 high bits, 32 nibbles");
_Static_assert(sizeof(sd_block_q8_0) == 34, "q8_0: f16 scale, 32 bytes");
_Static_assert(sizeof(sd_block_q2_k) == 84, "q2_K: 16 nibble pairs, 256 x 2 bits, two f16");
_Static_assert(sizeof(sd_block_q3_k) == 110, "q3_K: 256 high bits, 256 x 2 bits, 16 x 6 bits, f16");
_Static_assert(sizeof(sd_block_q4_k) == 144, "q4_K: two f16, 16 x 6 bits, 256 nibbles");
_Static_assert(sizeof(sd_block_q5_k) == 176, "q5_K: q4_K and 256 high bits");
_Static_assert(sizeof(sd_block_q6_k) == 210, "q6_K: 256 nibbles, 256 x 2 bits, 16 bytes, f16");
_Static_assert(sizeof(sd_block_iq4_nl) == 18, "iq4_nl: f16 scale, 32 nibbles");
_Static_assert(sizeof(sd_block_iq4_xs) == 136, "iq4_xs: f16, 8 x 6 bits, 256 nibbles");

/* One decoder a type (dtype_quant.c); dst [n], n a multiple of the block. */
void sd_decode_q4_0(float *dst, const void *src, int64_t n);
void sd_decode_q4_1(float *dst, const void *src, int64_t n);
void sd_decode_q5_0(float *dst, const void *src, int64_t n);
void sd_decode_q5_1(float *dst, const void *src, int64_t n);
void sd_decode_q8_0(float *dst, const void *src, int64_t n);
void sd_decode_q2_k(float *dst, const void *src, int64_t n);
void sd_decode_q3_k(float *dst, const void *src, int64_t n);
void sd_decode_q4_k(float *dst, const void *src, int64_t n);
void sd_decode_q5_k(float *dst, const void *src, int64_t n);
void sd_decode_q6_k(float *dst, const void *src, int64_t n);
void sd_decode_iq4_nl(float *dst, const void *src, int64_t n);
void sd_decode_iq4_xs(float *dst, const void *src, int64_t n);

#endif
