/* Loops whose every element is one or two roundings: written once in plain C and compiled by each ISA's file with its
 * own flags. -ffp-contract=off keeps the roundings, so the bits are the same on every ISA. */
#ifndef SD_NUM_KERN_OPS_PLAIN_H
#define SD_NUM_KERN_OPS_PLAIN_H

#include <stdint.h>

static void plain_add(float *restrict y, const float *restrict x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] += x[i];
}

static void plain_rope(float *restrict x, const float *restrict cos, const float *restrict sin, int64_t half)
{
    float *restrict hi = x + half;
    for (int64_t i = 0; i < half; i++) {
        float a = x[i], b = hi[i];
        x[i] = a * cos[i] - b * sin[i];
        hi[i] = b * cos[i] + a * sin[i];
    }
}

#endif
