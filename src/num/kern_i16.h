/* Products in whole numbers of 13 bits, for CPUs whose only wide unit is AVX2: VPMADDWD multiplies two pairs of 16 bits where a fused
 * multiply-add takes one of f32. They serve bf16 mode there, whose numbers have 8 bits.
 *
 * A row of x, and an output's weights, are cut in blocks of SD_I16_BLOCK inputs; a block is its largest magnitude over SD_I16_TOP,
 * as f32, times whole numbers of at most SD_I16_TOP. A block's sum of products is exact (128 * 4095^2 < 2^31) and is added to the
 * output by one fused multiply-add, y = fma(sum, sx sw, y), in the order of the blocks: the bits depend neither on the rows of a
 * tile nor on how it is cut. A block with NaN or infinity has the scale NaN, one whose largest is below SD_I16_LEAST is zero. */
#ifndef SD_NUM_KERN_I16_H
#define SD_NUM_KERN_I16_H

#include "num/kern_quant.h" /* SD_PANEL */

enum { SD_I16_BLOCK = 128, SD_I16_TOP = 4095 };
#define SD_I16_LEAST 0x1p-100f

typedef struct sd_itile {
    float *y;           /* [m, SD_PANEL], rows ldy apart */
    const int16_t *x;   /* [m, k], rows ldx apart, a multiple of 2 */
    const float *sx;    /* [m, blocks], rows ldsx apart */
    const uint32_t *w;  /* [k/2, SD_PANEL] pairs, the even input in the low half */
    const float *sw;    /* [blocks, SD_PANEL] */
    int64_t ldy, ldx, ldsx, m, k; /* k even; cut between tiles at multiples of SD_I16_BLOCK */
    bool carry;         /* start from y instead of 0 */
    bool narrow;        /* only the first half of the columns is wanted */
} sd_itile;

typedef struct sd_kern_i16 {
    /* A row of n numbers; an odd n gets one zero more. */
    void (*row)(int16_t *q, float *scale, const float *x, int64_t n);
    /* SD_PANEL columns of k inputs [k, SD_PANEL] to pairs [(k + 1) / 2, SD_PANEL] and scales [blocks, SD_PANEL]. */
    void (*panel)(uint32_t *w, float *scale, const float *from, int64_t k);
    void (*tile)(const sd_itile *t);
    void (*spread)(const sd_spread *t); /* w: pairs and their scales behind them */
} sd_kern_i16;

static inline int64_t sd_i16_blocks(int64_t k) { return (k + SD_I16_BLOCK - 1) / SD_I16_BLOCK; }
/* NULL where other products serve: with AVX-512, and without AVX2. */
const sd_kern_i16 *sd_kern_i16_select(uint32_t cpu_flags);
extern const sd_kern_i16 sd_kern_i16_avx2;

#endif
