/* CPU features from CPUID, gated by what the kernel saves on a context switch (XGETBV), since an instruction set
 * whose registers are not saved may not be used (Intel SDM vol. 1, 13.2 and 15.3). On other families than x86-64
 * only "ref" exists. */
#include "base/cpu.h"

#include <string.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>

static uint64_t xgetbv0(void)
{
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

/* Tile registers are 8 KB a thread that Linux saves only for a process that asked (Documentation/arch/x86/xstate.rst). */
static bool may_use_tiles(void)
{
    enum { REQ_XCOMP_PERM = 0x1023, XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, REQ_XCOMP_PERM, XTILEDATA) == 0;
}

static bool is_intel(void)
{
    uint32_t a, b, c, d;
    return __get_cpuid(0, &a, &b, &c, &d) && b == signature_INTEL_ebx && c == signature_INTEL_ecx && d == signature_INTEL_edx;
}

static uint32_t detect_flags(void)
{
    enum { AMX = 1 << 22 | 1 << 24 | 1 << 25, /* bf16, tile, int8 */ AVX512_BF16 = 1 << 5 };
    uint32_t a, b, c, d, flags = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return 0;
    bool fma_f16c = (c & bit_FMA) && (c & bit_F16C) && (c & bit_AVX);
    uint64_t saved = xgetbv0();
    if ((saved & 0x6) != 0x6) return 0; /* XMM and YMM state */
    uint32_t a1, b7, c7, d7, d1;
    if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d7)) return 0;
    if (!(b7 & bit_AVX2) || !fma_f16c) return 0;
    flags |= SD_CPU_AVX2;
    uint32_t need = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    if ((saved & 0xe6) != 0xe6 || (b7 & need) != need) return flags; /* and opmask and ZMM state */
    flags |= SD_CPU_AVX512;
    if (c7 & bit_AVX512VNNI) flags |= SD_CPU_AVX512_VNNI;
    if (a >= 1 && __get_cpuid_count(7, 1, &a1, &b, &c, &d1) && (a1 & AVX512_BF16)) flags |= SD_CPU_AVX512_BF16 | (is_intel() ? SD_CPU_BF16_SLOW : 0);
    const uint32_t below = SD_CPU_AVX512_VNNI | SD_CPU_AVX512_BF16;
    if ((flags & below) == below && (d7 & AMX) == AMX && (saved & 0x60000) == 0x60000) flags |= SD_CPU_AMX; /* TILECFG, TILEDATA */
    return flags;
}

static void detect_name(char name[64])
{
    uint32_t r[12];
    memset(name, 0, 64);
    for (uint32_t i = 0; i < 3; i++)
        if (!__get_cpuid(0x80000002u + i, &r[4 * i], &r[4 * i + 1], &r[4 * i + 2], &r[4 * i + 3])) return;
    char raw[sizeof r + 1];
    memcpy(raw, r, sizeof r);
    raw[sizeof r] = '\0';
    /* The brand is padded with blanks on either side. */
    size_t from = strspn(raw, " "), n = strlen(raw);
    while (n > from && raw[n - 1] == ' ') n--;
    memcpy(name, raw + from, n - from);
}
#else
static bool may_use_tiles(void)
{
    return false;
}

static uint32_t detect_flags(void)
{
    return 0;
}

static void detect_name(char name[64])
{
    memset(name, 0, 64);
}
#endif

static size_t cache_bytes(int sysconf_name)
{
    long n = sysconf(sysconf_name);
    return n > 0 ? (size_t)n : 0;
}

bool sd_cpu_detect(sd_cpu *out, const char *level)
{
    *out = (sd_cpu){0};
    uint32_t have = detect_flags(), need = 0, mask = UINT32_MAX;
    if (!level || strcmp(level, "auto") == 0)
        need = 0;
    else if (strcmp(level, "ref") == 0)
        mask = 0;
    else if (strcmp(level, "avx2") == 0)
        need = mask = SD_CPU_AVX2;
    else if (strcmp(level, "avx512") == 0)
        need = SD_CPU_AVX512, mask = ~(uint32_t)SD_CPU_AMX;
    else if (strcmp(level, "amx") == 0)
        need = SD_CPU_AMX;
    else
        return false;
    if ((have & mask & SD_CPU_AMX) && !may_use_tiles()) have &= ~(uint32_t)SD_CPU_AMX;
    if ((have & need) != need) return false;
    out->flags = have & mask;
    detect_name(out->name);
    out->l1d_bytes = cache_bytes(_SC_LEVEL1_DCACHE_SIZE);
    out->l2_bytes = cache_bytes(_SC_LEVEL2_CACHE_SIZE);
    out->l3_bytes = cache_bytes(_SC_LEVEL3_CACHE_SIZE);
    return true;
}

const char *sd_cpu_level(const sd_cpu *c)
{
    return c->flags & SD_CPU_AMX ? "amx" : c->flags & SD_CPU_AVX512 ? "avx512" : c->flags & SD_CPU_AVX2 ? "avx2" : "ref";
}
