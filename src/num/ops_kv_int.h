/* What the cache and attention over it share. */
#ifndef SD_NUM_OPS_KV_INT_H
#define SD_NUM_OPS_KV_INT_H

#include "num/kern_half.h"
#include "num/ops.h"

/* The row of position pos, or, where pos begins a panel, the panel. */
static inline uint8_t *sd_kv__at(const sd_kv *kv, void *base, int head, int64_t pos)
{
    return (uint8_t *)base + (size_t)(head * kv->cap + pos) * sd_kv_row_bytes(kv->type, kv->d_head);
}

/* Pairs of a head's width. */
static inline int64_t sd_kv__pairs(int64_t d)
{
    return (d + 1) / 2;
}

/* The loops of a cache of this type; NULL: those of sd_kern_ops. */
static inline const sd_kern_half *sd_kv__half(const sd_exec *ex, sd_kv_type type)
{
    SD_ASSERT(sd_kv_can(ex, type));
    return type == SD_KV_BF16 ? sd_kern_half_select(ex->cpu.flags) : NULL;
}

#endif
