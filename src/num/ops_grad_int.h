/* What the two forms of attention's backward share. */
#ifndef SD_NUM_OPS_GRAD_INT_H
#define SD_NUM_OPS_GRAD_INT_H

#include "num/kern_ops.h"
#include "num/kern_train.h"
#include "num/ops_grad.h"
#include "num/product.h"

#include <math.h>

static inline bool sd_attn_bwd__in_half(const sd_exec *ex, const sd_attn_grad *o)
{
    return o->bf16 && sd_prod_multiplies_bf16(ex);
}
/* n rounded up to panels. */
static inline int64_t sd_attn_bwd__up(int64_t n)
{
    return (n + SD_PANEL - 1) / SD_PANEL * SD_PANEL;
}
/* One row over the n keys it sees: scores s become probabilities, gp in g becomes gs. cap [n]: room for the derivative of the soft cap. */
static inline void sd_attn_bwd__row(const sd_attn_grad *o, const sd_kern_ops *ops, const sd_kern_train *kern, float *s, float *g, float *cap, int64_t n)
{
    kern->scale(s, o->scale, n);
    for (int64_t c = 0; o->softcap > 0.0f && c < n; c++) {
        const float y = tanhf(s[c] / o->softcap);
        s[c] = o->softcap * y;
        cap[c] = 1.0f - y * y;
    }
    ops->softmax(s, n);
    kern->soft_bwd(g, s, kern->dot(s, g, n), o->scale, n);
    for (int64_t c = 0; o->softcap > 0.0f && c < n; c++) g[c] *= cap[c];
}
/* ops_grad_attn_half.c; n_longest: of the documents */
size_t sd_attn_bwd_half__scratch(const sd_exec *ex, const sd_attn_grad *o, int64_t n_longest);
void sd_attn_bwd_half__run(const sd_exec *ex, const sd_attn_grad *o, const sd_attn_doc *doc, int n_doc, int64_t n_longest, void *scratch);

#endif
