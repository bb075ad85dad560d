/* The slots of sd_kern. Each slot's contract stands here; kern_ref.c is its meaning. */
#ifndef SD_NUM_KERN_SLOTS_H
#define SD_NUM_KERN_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SD_PANEL = 32 }; /* outputs a packed weight panel holds */

/* One tile of y = x W^T: m rows of x against one panel of SD_PANEL outputs. Nothing aliases y. */
typedef struct sd_tile {
    float *y;       /* [m, SD_PANEL], rows ldy apart */
    const void *x;  /* [m, k], rows ldx elements apart */
    const void *w;  /* the panel, packed as the slot says */
    int64_t ldy, ldx, m, k;
    bool carry;     /* start the sums from y instead of 0 */
} sd_tile;

/* Activations of one row in int8, in blocks of SD_QBLOCK inputs, as llama.cpp's Q8_1 (its d is f16, ours f32):
 *   d = max|x| / 127, q = round(x / d), ds = d sum(q), nsum = -sum(q).
 * A block with NaN or infinity has d = NaN, so that the product shows it; one below FLT_MIN * 127 is zero. */
enum { SD_QBLOCK = 32 };
typedef struct sd_qact { float d, ds; int32_t nsum; } sd_qact;

/* Packed weights of the fast form. A block of SD_QBLOCK inputs of a panel is
 *   scales  SD_PANEL f16; Q4_1: SD_PANEL f16 minima after them
 *   values  two groups of 16 outputs; a group is lines of 64 bytes = 16 outputs x 4 inputs.
 * As bytes a group is 8 lines, line s has inputs 4s..4s+3; Q8_0 keeps its values + 128. As nibbles (Q4_0, Q4_1) a group is
 * 4 lines: line s has line s of the bytes in the low and line s + 4 in the high halves. */
typedef enum sd_qkind { SD_QKIND_4_0, SD_QKIND_4_1, SD_QKIND_8_0 } sd_qkind;
enum { SD_QSCALE_BYTES = SD_PANEL * 2, SD_QNIBBLE_BYTES = SD_PANEL * SD_QBLOCK / 2, SD_QBYTE_BYTES = SD_PANEL * SD_QBLOCK };

/* One tile of a quantised product: for every block, with dw, mw the scale and minimum of the output,
 *   i = sum_t w_t q_t (w counted without Q4_0's 8 and Q8_0's 128), s = fma(i, dw d, s); Q4_1 also s = fma(mw, ds, s). */
typedef struct sd_qtile {
    float *y;                      /* [m, SD_PANEL], rows ldy apart */
    int64_t ldy;
    const int8_t *q;               /* [m, 32 n_block], rows ldq bytes apart */
    int64_t ldq;
    const sd_qact *act;            /* [m, n_block], rows ld_act apart */
    int64_t ld_act;
    const uint8_t *values, *scales; /* of the first block */
    int64_t value_step, scale_step; /* bytes from block to block */
    int64_t m, n_block;
    sd_qkind kind;
    bool nibbles; /* values are nibbles; else bytes */
    bool carry;   /* start the sums from y instead of 0 */
} sd_qtile;

typedef struct sd_kern {
    uint32_t cpu_flags;

    /* sum_i a_i b_i, fixed lanes of this ISA (not index order). n >= 0, any alignment. */
    float (*dot)(const float *a, const float *b, int64_t n);
    /* y += s x, one fused multiply-add an element. */
    void (*axpy)(float *y, float s, const float *x, int64_t n);

    /* f32 tile; w [k, SD_PANEL]. Each output is the chain fma(x_0, w_0, s), fma(x_1, w_1, .), .. in index order, so its
     * bits depend neither on m nor on the ISA, and a long k may be cut in pieces with carry. m >= 0, k >= 0. */
    void (*tile_f32)(const sd_tile *t);

    /* bf16 tile; x bf16, w [k/2, SD_PANEL, 2] bf16, k even. A pair of inputs at a time: the odd one first, then the even one, each
     * a fused multiply-add into f32 (Intel SDM, VDPBF16PS, which also takes subnormals as zero). Same bits for any m. */
    void (*tile_bf16)(const sd_tile *t);
    /* Rounds to nearest even; the AVX-512 form makes subnormals zero. */
    void (*to_bf16)(uint16_t *dst, const float *src, int64_t n);

    /* Quantised tile: same bits for any m, any cut with carry, nibbles or bytes, and every ISA. */
    void (*tile_q8)(const sd_qtile *t);
    /* Values of n_block blocks, value_step apart, from nibbles to bytes; dst [n_block][SD_QBYTE_BYTES]. */
    void (*unpack_q4)(uint8_t *dst, const uint8_t *values, int64_t value_step, int64_t n_block);
    void (*quantise)(int8_t *q, sd_qact *act, const float *x, int64_t n_block);
} sd_kern;

#endif
