/* What the two forms of attention's backward share. */
#ifndef SD_NUM_OPS_GRAD_INT_H
#define SD_NUM_OPS_GRAD_INT_H

#include "num/ops_grad.h"
#include "num/product.h"

static inline bool sd_attn_bwd__in_half(const sd_exec *ex, const sd_attn_grad *o)
{
    return o->bf16 && sd_prod_multiplies_bf16(ex);
}
/* ops_grad_attn_half.c */
size_t sd_attn_bwd_half__scratch(const sd_exec *ex, const sd_attn_grad *o, int64_t n_longest);
void sd_attn_bwd_half(const sd_exec *ex, const sd_attn_grad *o, const sd_attn_doc *doc, int n_doc, void *scratch);

#endif
