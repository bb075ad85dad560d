/* The meaning of every slot of sd_kern_ops, in plain C. Chains use fmaf, which C defines as one rounding: the vector
 * files give the same bits where the slot's contract says so. */
#include "num/kern_ops.h"

#include "base/cpu.h"
#include "num/dtype.h"
#include "num/kern_act_plain.h"
#include "num/kern_ops_plain.h"
#include "num/ops.h"

#include <math.h>

static void silu_mul(float *out, const float *g, const float *u, int64_t n)
{
    for (int64_t i = 0; i < n; i++) out[i] = g[i] / (1.0f + expf(-g[i])) * u[i];
}

static void softmax(float *x, int64_t n)
{
    float max = x[0], sum = 0;
    for (int64_t i = 1; i < n; i++)
        if (x[i] > max || x[i] != x[i]) max = x[i];
    for (int64_t i = 0; i < n; i++) sum += x[i] = expf(x[i] - max);
    float r = 1.0f / sum;
    for (int64_t i = 0; i < n; i++) x[i] *= r;
}

static void to_f16(uint16_t *dst, const float *src, int64_t n)
{
    for (int64_t i = 0; i < n; i++) dst[i] = sd_f32_to_f16(src[i]);
}

static float load(const void *p, bool f16, int64_t i)
{
    return f16 ? sd_f16_to_f32(((const uint16_t *)p)[i]) : ((const float *)p)[i];
}

static void scores(const sd_score_args *a)
{
    for (int64_t r = 0; r < a->m; r++)
        for (int64_t p = 0; p < a->n_panel; p++)
            for (int64_t j = 0; j < SD_KV_PANEL; j++) {
                float sum = 0;
                for (int64_t c = 0; c < a->d; c++)
                    sum = fmaf(a->q[r * a->d + c], load(a->k, a->f16, (p * a->d + c) * SD_KV_PANEL + j), sum);
                a->s[r * a->lds + p * SD_KV_PANEL + j] = a->scale * sum;
            }
}

static void mix(const sd_mix_args *a)
{
    for (int64_t r = 0; r < a->m; r++)
        for (int64_t c = 0; c < a->d; c++) {
            float sum = a->o[r * a->d + c];
            for (int64_t i = 0; i < a->n; i++) sum = fmaf(a->p[r * a->ldp + i], load(a->v, a->f16, i * a->d + c), sum);
            a->o[r * a->d + c] = sum;
        }
}

const sd_kern_ops sd_kern_ops_ref = {
    .rmsnorm = plain_rmsnorm,
    .silu_mul = silu_mul,
    .nonlin = plain_nonlin,
    .softcap = plain_softcap,
    .layernorm = plain_layernorm,
    .softmax = softmax,
    .add = plain_add,
    .to_f16 = to_f16,
    .to_q8 = plain_to_q8,
    .keys_q8 = plain_keys_q8,
    .values_q8 = plain_values_q8,
    .rope = plain_rope,
    .scores = scores,
    .mix = mix,
};

const sd_kern_ops *sd_kern_ops_select(uint32_t cpu_flags)
{
#if defined(__x86_64__)
    if (cpu_flags & SD_CPU_AVX512) return &sd_kern_ops_avx512;
    if (cpu_flags & SD_CPU_AVX2) return &sd_kern_ops_avx2;
#endif
    (void)cpu_flags;
    return &sd_kern_ops_ref;
}
