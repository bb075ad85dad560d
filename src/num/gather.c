/* Owns the choice between AVX-512, AVX2 and the kernel table's own loops. */
#include "num/gather.h"

void sd_gather_add(const sd_kern *k, float *y, const sd_gather *g, const float *c)
{
#if defined(__x86_64__)
    if (k->cpu_flags & SD_CPU_AVX512) {
        sd_gather_add_avx512(y, g, c);
        return;
    }
    if (k->cpu_flags & SD_CPU_AVX2) {
        sd_gather_add_avx2(y, g, c);
        return;
    }
#endif
    for (int64_t i = 0; i < g->n; i++) k->axpy(y, c[i], g->base + g->idx[i] * g->d, g->d);
}

void sd_gather_dot(const sd_kern *k, float *out, const sd_gather *g, const float *x)
{
#if defined(__x86_64__)
    if (k->cpu_flags & SD_CPU_AVX512) {
        sd_gather_dot_avx512(out, g, x);
        return;
    }
    if (k->cpu_flags & SD_CPU_AVX2) {
        sd_gather_dot_avx2(out, g, x);
        return;
    }
#endif
    for (int64_t i = 0; i < g->n; i++) out[i] = k->dot(x, g->base + g->idx[i] * g->d, g->d);
}
