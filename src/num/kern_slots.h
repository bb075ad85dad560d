/* The slots of sd_kern. Each slot's contract stands here; kern_ref.c is its meaning. */
#ifndef SD_NUM_KERN_SLOTS_H
#define SD_NUM_KERN_SLOTS_H

#include "num/kern_quant.h"

/* One tile of y = x W^T: m rows of x against one panel of SD_PANEL outputs. Nothing aliases y. */
typedef struct sd_tile {
    float *y;       /* [m, SD_PANEL], rows ldy apart */
    const void *x;  /* [m, k], rows ldx elements apart */
    const void *w;  /* the panel, packed as the slot says */
    int64_t ldy, ldx, m, k;
    bool carry;     /* start the sums from y instead of 0 */
    bool narrow;    /* only the first half of the columns is wanted: the others may be left as they are */
} sd_tile;

enum { SD_QPACK_ROWS = 4 };

typedef struct sd_kern {
    uint32_t cpu_flags;
    bool takes_groups; /* tile_q8 is faster with sd_qtile.group */
    bool spreads;      /* one row is faster over several stretches of the weights at a time (sd_spread) */

    /* sum_i a_i b_i, fixed lanes of this ISA (not index order). n >= 0, any alignment. */
    float (*dot)(const float *a, const float *b, int64_t n);
    /* y += s x, one fused multiply-add an element. */
    void (*axpy)(float *y, float s, const float *x, int64_t n);

    /* f32 tile; w [k, SD_PANEL]. Each output is the chain fma(x_0, w_0, s), fma(x_1, w_1, .), .. in index order, so its
     * bits depend neither on m nor on the ISA, and a long k may be cut in pieces with carry. m >= 0, k >= 0. */
    void (*tile_f32)(const sd_tile *t);
    void (*spread_f32)(const sd_spread *t);

    /* bf16 tile; x bf16, w [k/2, SD_PANEL, 2] bf16, k even. Same bits for any m, and for any cut of k with carry at multiples of 32;
     * the order of the sums is the ISA's, subnormals count as zero:
     *   AVX-512  a pair of inputs at a time: the odd one first, then the even one, each a fused multiply-add into f32 (VDPBF16PS,
     *           or as many of halves widened to f32 where that instruction is slow)
     *   AMX      32 inputs at a time: one chain of fused multiply-adds over the even ones and one over the odd ones, both from zero;
     *            then their sum is added to y (Intel SDM, TDPBF16PS) */
    void (*tile_bf16)(const sd_tile *t);
    /* Rounds to nearest even; dst may be src. The AVX-512 form makes subnormals zero. */
    void (*to_bf16)(uint16_t *dst, const float *src, int64_t n);

    /* Quantised tiles of values as bytes and of packed blocks: same bits, also for any m, any cut with carry and on every ISA. The
     * packed form unpacks in registers what it multiplies: made for up to SD_QPACK_ROWS rows. */
    void (*tile_q8)(const sd_qtile *t);
    void (*tile_qpack)(const sd_qtile *t);
    void (*spread_q)(const sd_spread *t);
    void (*unpack_q)(const sd_qunpack *u);
    void (*quantise)(int8_t *q, sd_qact *act, const float *x, int64_t n_block);
} sd_kern;

#endif
