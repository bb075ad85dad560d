/* Reductions over one row of logits: softmax, log-sum-exp, argmax. */
#include "num/ops.h"

#include <math.h>
#include <string.h>

static float row_max(const float *x, int64_t n)
{
    float max = -INFINITY;
    for (int64_t i = 0; i < n; i++)
        if (x[i] > max) max = x[i];
    return max;
}

void sd_softmax(float *x, int64_t n)
{
    float max = row_max(x, n);
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        x[i] = expf(x[i] - max);
        sum += (double)x[i];
    }
    for (int64_t i = 0; i < n; i++) x[i] = (float)((double)x[i] / sum);
}

double sd_logsumexp(const float *x, int64_t n)
{
    double max = (double)row_max(x, n), sum = 0;
    if (isinf(max)) { /* all -inf (or NaN), or a +inf: max - max is no number */
        for (int64_t i = 0; i < n; i++)
            if (isnan(x[i])) return (double)NAN;
        return max;
    }
    for (int64_t i = 0; i < n; i++) sum += exp((double)x[i] - max);
    return max + log(sum);
}

int64_t sd_count_nonfinite(const float *x, int64_t n)
{
    enum { BLOCK = 1 << 20 }; /* fits the 32-bit counts of a vector loop */
    int64_t sum = 0;
    for (int64_t i = 0; i < n; i += BLOCK) {
        int32_t bad = 0;
        int64_t end = n - i < BLOCK ? n : i + BLOCK;
        for (int64_t j = i; j < end; j++) {
            uint32_t u;
            memcpy(&u, x + j, sizeof u);
            bad += (u & 0x7f800000u) == 0x7f800000u; /* an exponent of all ones */
        }
        sum += bad;
    }
    return sum;
}

int64_t sd_argmax(const float *x, int64_t n)
{
    int64_t best = -1;
    for (int64_t i = 0; i < n; i++)
        if (!isnan(x[i]) && (best < 0 || x[i] > x[best])) best = i;
    return best;
}
