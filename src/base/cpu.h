/* What the CPU can do and what we are allowed to use of it. */
#ifndef SD_BASE_CPU_H
#define SD_BASE_CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SD_CPU_AVX2 = 1 << 0,   /* AVX2 + FMA + F16C */
    SD_CPU_AVX512 = 1 << 1, /* F, BW, DQ, VL */
    SD_CPU_AVX512_VNNI = 1 << 2,
    SD_CPU_AVX512_BF16 = 1 << 3,
    SD_CPU_AMX = 1 << 4, /* tiles, int8 and bf16; only with all of the above */
    SD_CPU_BF16_SLOW = 1 << 5, /* with AVX512_BF16, Intel: VDPBF16PS takes two cycles, in which there are four multiply-adds of f32 */
};
typedef struct sd_cpu {
    uint32_t flags; /* what the hardware and the kernel support, cut by the mask */
    char name[64];  /* brand string */
    size_t l1d_bytes, l2_bytes, l3_bytes;
} sd_cpu;

/* The level names of --cpu: "ref" (plain C), "avx2", "avx512" (all but AMX), "amx"; NULL or "auto" for all there is. False when the
 * name is unknown or the CPU lacks it. The first call that may use AMX asks Linux for its registers, for the whole process. */
bool sd_cpu_detect(sd_cpu *out, const char *level);
const char *sd_cpu_level(const sd_cpu *c); /* "ref", "avx2", "avx512", "amx" */

#endif
