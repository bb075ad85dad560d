/* f32 products on weights that are bf16 in their file and stay it in memory: panels [(k + 1) / 2, SD_PANEL, 2] of bf16, the even input
 * in the low half. Widened they are the numbers of an f32 panel, so both give the bits of sd_kern.tile_f32. */
#ifndef SD_NUM_KERN_PAIRS_H
#define SD_NUM_KERN_PAIRS_H

#include "num/kern_slots.h"

#include <string.h>

enum { SD_PAIR_ROWS = 6 };

typedef struct sd_kern_pairs {
    /* sd_kern.tile_f32 with w in pairs, widened in registers: for the few rows of a decoding step, which wait for the memory.
     * m <= SD_PAIR_ROWS. */
    void (*few)(const sd_tile *t);
    /* NULL unless sd_kern.spreads. */
    void (*spread)(const sd_spread *t);
    /* Lines of SD_PANEL pairs to two lines each of f32. */
    void (*unpair)(float *dst, const uint32_t *src, int64_t lines);
} sd_kern_pairs;

const sd_kern_pairs *sd_kern_pairs_select(uint32_t cpu_flags);
extern const sd_kern_pairs sd_kern_pairs_avx2;

static inline float sd_pair_half(uint32_t pair, bool odd)
{
    const uint32_t u = odd ? pair & 0xffff0000u : pair << 16;
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* Compiled once an ISA. */
static inline void sd_pairs__widen(float *restrict dst, const uint32_t *restrict src, int64_t lines)
{
    for (int64_t l = 0; l < lines; l++, src += SD_PANEL, dst += 2 * SD_PANEL)
        for (int i = 0; i < SD_PANEL; i++) {
            dst[i] = sd_pair_half(src[i], false);
            dst[SD_PANEL + i] = sd_pair_half(src[i], true);
        }
}

#endif
