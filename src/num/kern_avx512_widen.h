/* Products of bf16 by multiply-adds of f32: same bits as VDPBF16PS's (kern_avx512_widen.c). */
#ifndef SD_NUM_KERN_AVX512_WIDEN_H
#define SD_NUM_KERN_AVX512_WIDEN_H

#include "num/kern_half.h"

void sd_widen_tile_bf16(const sd_tile *t);          /* sd_kern.tile_bf16 */
void sd_widen_scores(const sd_half_scores *a);      /* sd_kern_half.scores */
void sd_widen_mix(const sd_half_mix *a);            /* sd_kern_half.mix */

#endif
