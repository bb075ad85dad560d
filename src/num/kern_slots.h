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

typedef struct sd_kern {
    uint32_t cpu_flags;

    /* sum_i a_i b_i, fixed lanes of this ISA (not index order). n >= 0, any alignment. */
    float (*dot)(const float *a, const float *b, int64_t n);
    /* y += s x, one fused multiply-add an element. */
    void (*axpy)(float *y, float s, const float *x, int64_t n);

    /* f32 tile; w [k, SD_PANEL]. Each output is the chain fma(x_0, w_0, s), fma(x_1, w_1, .), .. in index order, so its
     * bits depend neither on m nor on the ISA, and a long k may be cut in pieces with carry. m >= 0, k >= 0. */
    void (*tile_f32)(const sd_tile *t);
} sd_kern;

#endif
