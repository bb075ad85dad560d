/* Plain C of the dictionary slots, and the choice of table. Compiled without contraction; fmaf says where one is meant. */
#include "num/kern_dict.h"
#include "base/cpu.h"
#include "num/dtype.h"
#include <float.h>
#include <math.h>

static float to_bf16_ref(uint16_t *y, const float *x, int64_t n)
{
    float e2 = 0.0f;
    for (int64_t i = 0; i < n; i++) {
        y[i] = sd_f32_to_bf16(fabsf(x[i]) < FLT_MIN ? copysignf(0.0f, x[i]) : x[i]);
        const float e = x[i] - sd_bf16_to_f32(y[i]);
        e2 = fmaf(e, e, e2);
    }
    return e2;
}

static inline float moved(const sd_scan_in *in, int64_t i) { return fmaf(in->c, in->r[i], in->s[i] + in->b[i]); }

static int64_t scan_ref(int32_t *idx, float *val, const sd_scan_in *in)
{
    int64_t k = 0;
    for (int64_t i = 0; i < in->n; i++) {
        const float u = moved(in, i);
        if (u < in->cut) continue;
        idx[k] = (int32_t)i;
        val[k++] = u;
    }
    return k;
}

static void group_max_ref(float *out, int64_t g, const sd_scan_in *in)
{
    for (int64_t j = 0; j < g; j++) out[j] = -FLT_MAX;
    for (int64_t i = 0; i < in->n; i++) {
        const float u = moved(in, i);
        if (u > out[i % g]) out[i % g] = u;
    }
}

static int64_t count_ge_ref(const float *x, float v, int64_t n)
{
    int64_t k = 0;
    for (int64_t i = 0; i < n; i++) k += x[i] >= v;
    return k;
}

static void span_ref(float out[2], const float *x, int64_t n)
{
    out[0] = out[1] = x[0];
    for (int64_t i = 1; i < n; i++) {
        out[0] = x[i] < out[0] ? x[i] : out[0];
        out[1] = x[i] > out[1] ? x[i] : out[1];
    }
}

static int64_t compact_ref(int32_t *idx, float *val, float *with, int64_t n, float cut)
{
    int64_t k = 0;
    for (int64_t i = 0; i < n; i++) {
        if (val[i] < cut) continue;
        idx[k] = idx[i];
        with[k] = with[i];
        val[k++] = val[i];
    }
    return k;
}

static void adam_ref(float *p, float *m, float *v, const float *g, const sd_adam_k *k, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        m[i] = fmaf(k->beta1, m[i], k->rest1 * g[i]);
        v[i] = fmaf(k->beta2, v[i], k->rest2 * g[i] * g[i]);
        p[i] -= k->step * m[i] / fmaf(sqrtf(v[i]), k->root_bc2, k->eps);
    }
}

static void idle_ref(float *p, float *m, float *v, const float *k, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        p[i] -= k[0] * m[i] / (sqrtf(v[i]) + k[1]);
        m[i] *= k[2];
        v[i] *= k[3];
    }
}

static void f16_to_f32_ref(float *y, const uint16_t *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] = sd_f16_to_f32(x[i]);
}

static void f32_to_f16_ref(uint16_t *y, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] = sd_f32_to_f16(x[i]);
}

const sd_kern_dict sd_kern_dict_ref = {to_bf16_ref, scan_ref, group_max_ref, count_ge_ref, span_ref, compact_ref, adam_ref, idle_ref, f16_to_f32_ref, f32_to_f16_ref};

const sd_kern_dict *sd_kern_dict_select(uint32_t cpu_flags)
{
#if defined(__x86_64__)
    if (cpu_flags & SD_CPU_AVX512) return &sd_kern_dict_avx512;
    if (cpu_flags & SD_CPU_AVX2) return &sd_kern_dict_avx2;
#endif
    (void)cpu_flags;
    return &sd_kern_dict_ref;
}
