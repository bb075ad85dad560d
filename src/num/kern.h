/* The table of inner loops. sd_kern_fill_ref makes it whole (its C is the meaning of every slot), then each ISA overrides
 * what it is better at, in the order avx2, avx512, amx. The table is const after sd_kern_select. */
#ifndef SD_NUM_KERN_H
#define SD_NUM_KERN_H

#include "base/cpu.h"
#include "num/kern_slots.h"

const sd_kern *sd_kern_select(uint32_t cpu_flags);       /* one static table a combination; thread-safe */
const char *sd_kern_isa_of(const sd_kern *k, int slot);  /* "ref", "avx2", "avx512", "amx" */
void sd_kern_fill_ref(sd_kern *k);
void sd_kern_fill_avx2(sd_kern *k, uint32_t cpu_flags);
void sd_kern_fill_avx512(sd_kern *k, uint32_t cpu_flags);
void sd_kern_fill_amx(sd_kern *k);
/* The quantised and bf16 tiles of an ISA; called by its fill. */
void sd_kern_fill_ref_q(sd_kern *k);
void sd_kern_fill_avx2_q(sd_kern *k);
void sd_kern_fill_avx512_q(sd_kern *k, uint32_t cpu_flags);
void sd_kern_fill_amx_q(sd_kern *k);

#endif
