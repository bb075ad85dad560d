/* The table of inner loops of an int8 scan: rotation, rounding, and products of int8 that are compared with a cut while they are
 * still in registers. kern_ref_scan8.c is the meaning of every slot.
 *
 * Features come in panels of 32, rows in groups of `wide` (a number of each table), four consecutive places of a vector side by side:
 *   w [n_feat / 32][d / 4][32][4] unsigned: the rounded number + zero       x [n_row / wide][d / 4][wide][4] signed
 * so one product instruction sums four places of 16 features. What was added (`zero`) costs a number a row: start = -zero sum x. */
#ifndef SD_NUM_KERN_SCAN8_H
#define SD_NUM_KERN_SCAN8_H

#include <stdint.h>

enum { SD_SCAN8_PANEL = 32, SD_SCAN8_ROTATE = 64 };

typedef struct sd_scan8_in {
    const uint8_t *w;
    const int8_t *x;
    const float *scale, *b, *r;      /* [n_feat] what a unit is worth, bias, share of the error */
    const float *unit, *c, *cut;     /* [n_row] what a unit is worth, error, cut */
    const int32_t *start;            /* [n_row] */
    const int32_t *lift;             /* [n_row / wide][d / 64][wide], for tables with `longest`: of 64 places, -zero sum x of those whose bit 1 is 0 as the lower
                                      * 16 bits (mod 2^16), of the others as the upper */
    int64_t d, n_feat, n_row;        /* multiples of 64, 32 and the table's n_row */
    int64_t wide;                    /* of x; the table's */
} sd_scan8_in;

/* Hits of one row. */
typedef struct sd_scan8_out { int32_t *idx; float *up; int64_t n; } sd_scan8_out;

typedef struct sd_kern_scan8 {
    /* y [n] = x [d], zeros behind it, with every 64 places turned by the Hadamard matrix over 8 (orthonormal). n is a multiple of 64.
     * Returns max |y|. Same bits on every ISA. */
    float (*rotate)(float *y, const float *x, int64_t d, int64_t n);
    /* q = floor(fma(x, inverse, u)), which must lie in [-127, 127] (the caller sees to `most`); returns their sum. n is a multiple of 64. Same bits on every ISA. */
    int32_t (*round)(int8_t *q, const float *x, const float *u, float inverse, int64_t n);
    /* s [n_row, n_feat] = unit (scale (start + w.x)). Same bits on every ISA, and the same s in `scan`. */
    void (*score)(float *s, const sd_scan8_in *in);
    /* With up = fma(c, r, s + b): appends feature and up of every pair with not (up < cut) to out[row], features ascending. Both lists
     * have room for n_feat + 16 more. */
    void (*scan)(sd_scan8_out *out, const sd_scan8_in *in, int32_t first);
    int64_t wide, n_row; /* how rows lie side by side; of how many rows at a time (the plain one: 1 of each, but any `wide` is understood) */
    int32_t most, zero;  /* numbers of w and x lie in [-most, most]; what is added to those of w */
    int32_t longest;     /* 0: any norm. Else sums are taken in 16 bits: of every 64 places, those whose bit 1 is 0 and the others have at most
                          * this norm each, in w and in x */
} sd_kern_scan8;

extern const sd_kern_scan8 sd_kern_scan8_ref, sd_kern_scan8_avx2, sd_kern_scan8_avx512, sd_kern_scan8_amx;
const sd_kern_scan8 *sd_kern_scan8_select(uint32_t cpu_flags); /* NULL: this CPU has no fast products of int8 */

#endif
