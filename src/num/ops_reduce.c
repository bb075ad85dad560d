/* Reductions over one row of logits: log-sum-exp, argmax. */
#include "num/kern_train.h"
#include "num/ops.h"

#include <math.h>
#include <string.h>

double sd_logsumexp(const sd_exec *ex, const float *x, int64_t n)
{
    const sd_kern_train *k = sd_kern_train_select(ex->cpu.flags);
    const double max = (double)k->max(x, n);
    if (isinf(max)) { /* all -inf (or NaN), or a +inf: max - max is no number */
        for (int64_t i = 0; i < n; i++)
            if (isnan(x[i])) return (double)NAN;
        return max;
    }
    return max + log(k->exp_total(x, max, n));
}

double sd_divergence(const sd_exec *ex, const float *p, double lp, const float *q, double lq, int64_t n)
{
    return sd_kern_train_select(ex->cpu.flags)->kl(p, lp, q, lq, n);
}

void sd_probs(double *p, const sd_exec *ex, const float *x, double lse, int64_t n)
{
    sd_kern_train_select(ex->cpu.flags)->probs(p, x, lse, n);
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
