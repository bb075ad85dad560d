/* Which table serves which CPU. Every table is filled once, in order ref, avx2, avx512, amx, and never changes. */
#include "num/kern.h"
#include "base/err.h"
#include <pthread.h>
#include <string.h>

enum { N_COMBINATIONS = 64, N_SLOTS = (int)((sizeof(sd_kern) - offsetof(sd_kern, dot)) / sizeof(void (*)(void))) };

static sd_kern tables[N_COMBINATIONS];
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* A flag counts only when the level below it is there: AVX-512 kernels lean on AVX2, VNNI and BF16 on AVX-512, AMX on both of these. */
static uint32_t usable(uint32_t flags)
{
    flags &= N_COMBINATIONS - 1;
    if (!(flags & SD_CPU_AVX2)) return 0;
    if (!(flags & SD_CPU_AVX512)) return SD_CPU_AVX2;
    const uint32_t both = SD_CPU_AVX512_VNNI | SD_CPU_AVX512_BF16;
    if (!(flags & SD_CPU_AVX512_BF16)) flags &= ~(uint32_t)SD_CPU_BF16_SLOW;
    return (flags & both) == both ? flags : flags & ~(uint32_t)SD_CPU_AMX;
}

static void fill(sd_kern *k, uint32_t flags)
{
    sd_kern_fill_ref(k);
#if defined(__x86_64__) /* elsewhere there are the plain kernels only, and no flag is ever set */
    if (flags & SD_CPU_AVX2) sd_kern_fill_avx2(k, flags);
    if (flags & SD_CPU_AVX512) sd_kern_fill_avx512(k, flags);
    if (flags & SD_CPU_AMX) sd_kern_fill_amx(k);
#endif
    k->cpu_flags = flags;
    k->spreads = flags == SD_CPU_AVX2; /* measured on Zen 3 */
}

static void fill_all(void)
{
    for (uint32_t f = 0; f < N_COMBINATIONS; f++) fill(&tables[f], usable(f));
}

const sd_kern *sd_kern_select(uint32_t cpu_flags)
{
    (void)pthread_once(&once, fill_all);
    return &tables[usable(cpu_flags)];
}

static bool same_slot(const sd_kern *a, const sd_kern *b, int slot)
{
    const size_t off = offsetof(sd_kern, dot) + (size_t)slot * sizeof(void (*)(void));
    return memcmp((const char *)a + off, (const char *)b + off, sizeof(void (*)(void))) == 0;
}

const char *sd_kern_isa_of(const sd_kern *k, int slot)
{
    SD_ASSERT(slot >= 0 && slot < N_SLOTS);
    if (same_slot(k, sd_kern_select(0), slot)) return "ref";
    if (same_slot(k, sd_kern_select(SD_CPU_AVX2), slot)) return "avx2";
    return same_slot(k, sd_kern_select(k->cpu_flags & ~(uint32_t)SD_CPU_AMX), slot) ? "avx512" : "amx";
}
