/* standard: z = relu(p), penalty z (L1 of activations on unit decoder rows; Bricken et al. 2023, Towards Monosemanticity). */
#include "dict/dict_kind.h"

static double forward(float *z, float *za, const sd_gate_in *in)
{
    double sum = 0;
    (void)za;
    for (int64_t i = 0; i < in->n; i++) {
        z[i] = in->p[i] > 0.0f ? in->p[i] : 0.0f;
        sum += (double)z[i];
    }
    return sum;
}

static void backward(const sd_gate_out *out, const float *g, const float *ga, float weight, const sd_gate_in *in)
{
    (void)ga;
    for (int64_t i = 0; i < in->n; i++) out->db[i] = out->dp[i] = in->p[i] > 0.0f ? g[i] + weight : 0.0f;
}

static float floor_of(float own0, float bandwidth)
{
    (void)own0, (void)bandwidth;
    return 0.0f;
}

const sd_gate sd_gate__standard = {{NULL, NULL}, false, forward, backward, floor_of};

const sd_gate *sd_gate__of(sd_dict_kind kind)
{
    return kind == SD_DICT_STANDARD ? &sd_gate__standard : kind == SD_DICT_GATED ? &sd_gate__gated : kind == SD_DICT_JUMPRELU ? &sd_gate__jumprelu : (const sd_gate *)0;
}
