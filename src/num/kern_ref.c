/* The meaning of every slot, in plain C. Compiled without contraction; fmaf is one instruction in the copy for CPUs with
 * FMA (SD_REF_CLONES), and libm's where there is none: correctly rounded in software, which is slow and still exact. */
#include "num/kern.h"
#include "num/kern_ref.h"
#include <math.h>
#include <string.h>

SD_REF_CLONES static float dot_ref(const float *a, const float *b, int64_t n)
{
    float s = 0.0f;
    for (int64_t i = 0; i < n; i++) s = fmaf(a[i], b[i], s);
    return s;
}

SD_REF_CLONES static void axpy_ref(float *restrict y, float s, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] = fmaf(s, x[i], y[i]);
}

SD_REF_CLONES static void tile_f32_ref(const sd_tile *t)
{
    for (int64_t i = 0; i < t->m; i++) {
        const float *x = (const float *)t->x + i * t->ldx, *w = t->w;
        float *restrict y = t->y + i * t->ldy;
        if (!t->carry) memset(y, 0, SD_PANEL * sizeof *y);
        for (int64_t p = 0; p < t->k; p++, w += SD_PANEL)
            for (int j = 0; j < SD_PANEL; j++) y[j] = fmaf(x[p], w[j], y[j]);
    }
}

static void spread_f32_ref(const sd_spread *t)
{
    for (int i = 0; i < t->n; i++) tile_f32_ref(&(sd_tile){.y = t->y[i], .x = t->x, .w = t->w[i], .ldy = SD_PANEL, .m = 1, .k = t->k});
}

void sd_kern_fill_ref(sd_kern *k)
{
    k->cpu_flags = 0;
    k->dot = dot_ref;
    k->axpy = axpy_ref;
    k->tile_f32 = tile_f32_ref;
    k->spread_f32 = spread_f32_ref;
    sd_kern_fill_ref_q(k);
}
