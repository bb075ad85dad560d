/* The slots of sd_kern. Each slot's contract stands here; kern_ref.c is its meaning. */
#ifndef SD_NUM_KERN_SLOTS_H
#define SD_NUM_KERN_SLOTS_H

#include <stddef.h>
#include <stdint.h>

typedef struct sd_kern {
    uint32_t cpu_flags;

    /* sum_i a_i b_i, fixed lanes of this ISA (not index order). n >= 0, any alignment. */
    float (*dot)(const float *a, const float *b, int64_t n);
    /* y += s x */
    void (*axpy)(float *y, float s, const float *x, int64_t n);
} sd_kern;

#endif
