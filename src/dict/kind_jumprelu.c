/* jumprelu (Rajamanoharan et al. 2024, arXiv 2407.14435): z = p H(p - theta), penalty H(p - theta), with the straight-through
 * gradients of equations 11 and 12 there, K the rectangle of width 1, u = (p - theta) / eps:
 *   dz/dtheta = -(theta / eps) K(u)        dH/dtheta = -(1 / eps) K(u)        dz/dp = H(p - theta)
 * theta itself is the parameter, not its logarithm. The trainer keeps it at eps/2 or above, so that K never reaches a negative p. */
#include "dict/dict_kind.h"

static double forward(float *z, float *za, const sd_gate_in *in)
{
    int64_t n = 0;
    (void)za;
    for (int64_t i = 0; i < in->n; i++) {
        const bool on = in->p[i] > in->own[0][i];
        z[i] = on ? in->p[i] : 0.0f;
        n += on;
    }
    return (double)n;
}

static void backward(const sd_gate_out *out, const float *g, const float *ga, float weight, const sd_gate_in *in)
{
    const float eps = in->bandwidth;
    (void)ga;
    for (int64_t i = 0; i < in->n; i++) {
        const float over = in->p[i] - in->own[0][i];
        const bool near = over > -0.5f * eps && over < 0.5f * eps;
        out->db[i] = out->dp[i] = over > 0.0f ? g[i] : 0.0f;
        out->own[0][i] = near ? -(in->own[0][i] * g[i] + weight) / eps : 0.0f;
    }
}

static float floor_of(float own0, float bandwidth) { return own0 - 0.5f * bandwidth; }

const sd_gate sd_gate__jumprelu = {{"threshold", NULL}, false, forward, backward, floor_of};
