/* The meaning of sd_kern_pairs, in plain C, and the choice of table. */
#include "num/kern_pairs.h"
#include "base/cpu.h"
#include "num/kern_ref.h"

#include <math.h>

SD_REF_CLONES static void few_ref(const sd_tile *t)
{
    for (int64_t i = 0; i < t->m; i++) {
        const float *x = (const float *)t->x + i * t->ldx;
        const uint32_t *w = t->w;
        float *restrict y = t->y + i * t->ldy;
        if (!t->carry) memset(y, 0, SD_PANEL * sizeof *y);
        for (int64_t p = 0; p < t->k; p++)
            for (int j = 0; j < SD_PANEL; j++) y[j] = fmaf(x[p], sd_pair_half(w[p / 2 * SD_PANEL + j], p & 1), y[j]);
    }
}

static const sd_kern_pairs plain = {few_ref, NULL, sd_pairs__widen};

const sd_kern_pairs *sd_kern_pairs_select(uint32_t cpu_flags)
{
#if defined(__x86_64__)
    if (cpu_flags & SD_CPU_AVX2) return &sd_kern_pairs_avx2;
#endif
    (void)cpu_flags;
    return &plain;
}
