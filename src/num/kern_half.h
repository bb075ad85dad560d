/* The inner loops of attention over a bf16 cache: queries and probabilities rounded to bf16 as well and multiplied in pairs, sums in f32.
 * kern_ref_half.c is the meaning of every slot, kern_avx512_half.c computes the same with VDPBF16PS, kern_avx512_widen.c with multiply-adds of f32.
 *
 * A pair is a uint32: the even one of two numbers in the low half, the odd one in the high half, both rounded to nearest even. Subnormal
 * numbers count as zero, in and out. */
#ifndef SD_NUM_KERN_HALF_H
#define SD_NUM_KERN_HALF_H

#include "num/kern_slots.h"

/* Scores of m >= 1 rows of queries against panels of 16 keys. */
typedef struct sd_half_scores {
    float *s;          /* [m, 16 n_panel], rows lds apart */
    const uint32_t *q; /* [m, n_pair] */
    const uint32_t *k; /* [n_panel][n_pair][16] */
    int64_t lds, m, n_panel, n_pair;
    float scale;
} sd_half_scores;

/* Weighted sums of n pairs of rows of values. */
typedef struct sd_half_mix {
    float *o;          /* [m, d], 1 <= m <= SD_MIX_ROWS */
    const uint32_t *p; /* [m, n], rows ldp apart */
    const uint32_t *v; /* [n, d], rows ldv apart */
    int64_t ldp, ldv, m, n, d;
} sd_half_mix;

typedef struct sd_kern_half {
    /* n numbers of a row as ceil(n/2) pairs of neighbours, the last odd one zero where n is odd. dst may be src. */
    void (*row)(uint32_t *dst, const float *src, int64_t n);
    /* The same of the softmax of x, n >= 1, which is what sd_kern_ops.softmax of this ISA gives. x is overwritten; dst may be x or lie before
     * it. */
    void (*softmax)(uint32_t *dst, float *x, int64_t n);
    /* Two rows as pairs. */
    void (*pair)(uint32_t *dst, const float *even, const float *odd, int64_t n);
    /* s[r, 16 p + j] = scale * sum_c q[r, c] k[p][c][j]: one chain in order of c from +0, of each pair the odd one first, each a fused
     * multiply-add. The same bits on every ISA. */
    void (*scores)(const sd_half_scores *a);
    /* o[r, c] = the same chain over i of p[r, i] v[i, c], starting from o[r, c]. The same bits on every ISA. */
    void (*mix)(const sd_half_mix *a);
} sd_kern_half;

extern const sd_kern_half sd_kern_half_ref, sd_kern_half_avx512, sd_kern_half_widen;
/* NULL where the CPU does not multiply bf16 (sd_cpu.flags). */
const sd_kern_half *sd_kern_half_select(uint32_t cpu_flags);

/* Products of whole tiles, in place of sd_kern_half's two where the CPU has them. Sums are AMX's of sd_kern.tile_bf16: 32 inputs at a time. */
typedef struct sd_tiles_mix {
    float *o;                 /* [m, d] overwritten */
    const uint32_t *p;        /* [m, 16 n], rows ldp apart */
    const uint32_t *const *v; /* [n] blocks of 16 pairs [16, d], rows ldv apart */
    int64_t ldp, ldv, m, n, d;
} sd_tiles_mix;

typedef struct sd_kern_tiles {
    /* sd_kern.tile_bf16, while the second cache fetches n_ahead lines of 64 bytes: what is multiplied next. */
    void (*tile_bf16)(const sd_tile *t, const void *ahead, int64_t n_ahead);
    void (*scores)(const sd_half_scores *a);
    void (*mix)(const sd_tiles_mix *a);
    /* dst = src [n] with zero for every half that is NaN or infinite; true: there was none. */
    bool (*copy_finite)(uint32_t *dst, const uint32_t *src, int64_t n);
} sd_kern_tiles;

extern const sd_kern_tiles sd_kern_tiles_amx;
/* NULL where the CPU has no tiles. */
const sd_kern_tiles *sd_kern_tiles_select(uint32_t cpu_flags);

#endif
