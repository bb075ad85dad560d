/* gated (Rajamanoharan et al. 2024, arXiv 2404.16014, equations 6 to 8). One matrix for both paths: p = xc.W + b_gate,
 *   q = e^r (p - b_gate) + b_mag,   z = H(p) relu(q),   penalty relu(p),
 *   second reconstruction za = relu(p) through the decoder and b_dec held constant, so ga reaches only W and b_gate.
 * H passes no gradient. Own parameters: r_mag, b_mag; b is b_gate. */
#include "dict/dict_kind.h"
#include <math.h>

static double forward(float *z, float *za, const sd_gate_in *in)
{
    double sum = 0;
    for (int64_t i = 0; i < in->n; i++) {
        za[i] = in->p[i] > 0.0f ? in->p[i] : 0.0f;
        sum += (double)za[i];
        const float q = za[i] > 0.0f ? expf(in->own[0][i]) * (in->p[i] - in->b[i]) + in->own[1][i] : 0.0f;
        z[i] = q > 0.0f ? q : 0.0f;
    }
    return sum;
}

static void backward(const sd_gate_out *out, const float *g, const float *ga, float weight, const sd_gate_in *in)
{
    for (int64_t i = 0; i < in->n; i++) {
        out->dp[i] = out->db[i] = out->own[0][i] = out->own[1][i] = 0.0f;
        if (!(in->p[i] > 0.0f)) continue;
        const float e = expf(in->own[0][i]), w = e * (in->p[i] - in->b[i]), gq = w + in->own[1][i] > 0.0f ? g[i] : 0.0f;
        out->db[i] = ga[i] + weight;
        out->dp[i] = out->db[i] + e * gq;
        out->own[0][i] = gq * w;
        out->own[1][i] = gq;
    }
}

static float floor_of(float own0, float bandwidth)
{
    (void)own0, (void)bandwidth;
    return 0.0f;
}

const sd_gate sd_gate__gated = {{"r_mag", "b_mag"}, true, forward, backward, floor_of};
