/* The plain table of learning's inner loops, and the choice of table. */
#include "num/kern_train_plain.h"

#include "base/cpu.h"

static void transpose_ref(uint32_t *dst, int64_t ldd, const void *const *src, int64_t n)
{
    for (int j = 0; j < 32; j++)
        for (int64_t i = 0; i < n; i++) memcpy(dst + i * ldd + j, (const uint8_t *)src[j] + 4 * i, 4);
}

const sd_kern_train sd_kern_train_ref = SD_KERN_TRAIN_PLAIN(transpose_ref, plain_pair_f32, plain_pair_bf16);

const sd_kern_train *sd_kern_train_select(uint32_t cpu_flags)
{
#if defined(__x86_64__)
    if (cpu_flags & SD_CPU_AVX512_BF16) return &sd_kern_train_avx512_bf16;
    if (cpu_flags & SD_CPU_AVX512) return &sd_kern_train_avx512;
    if (cpu_flags & SD_CPU_AVX2) return &sd_kern_train_avx2;
#endif
    (void)cpu_flags;
    return &sd_kern_train_ref;
}
