/* The inside of attention: a task, and which rows see which keys. ops_attn.c owns the cache, tasks and f32 products, ops_attn_bf16.c the
 * products in bf16. */
#ifndef SD_NUM_OPS_ATTN_INT_H
#define SD_NUM_OPS_ATTN_INT_H

#include "num/kern.h"
#include "num/ops.h"

/* The row of position pos, or, where pos begins a panel, the panel. */
static inline uint8_t *sd_attn__kv_at(const sd_kv *kv, void *base, int head, int64_t pos)
{
    return (uint8_t *)base + (size_t)(head * kv->cap + pos) * sd_kv_row_bytes(kv->type, kv->d_head);
}

typedef struct attn_job {
    const sd_kern_ops *kern;
    const sd_kern *base;
    void (*widen)(float *y, const uint16_t *x, int64_t n); /* f16 to f32, exact */
    const sd_attn_opt *o;
    const sd_attn_seq *seq;
    int n_seq;
    bool mix_only; /* probabilities come from the pattern */
    uint8_t *scratch;
    size_t worker_bytes;
} attn_job;

/* One task: rows [i0, i1) of a sequence, one kv head; row r of it is position i0 + r / group, head r % group of the
 * group. */
typedef struct attn_task {
    const attn_job *j;
    const sd_attn_seq *s;
    const sd_kern *bf16; /* its tiles multiply; NULL: products are f32 */
    int head, group;
    int64_t i0, i1, d, ld, base; /* base: the key of column 0 of scores */
    float *scores, *q, *out;     /* [rows, ld], [rows, d], [rows, d] ([rows, sd_attn__even(d)] in bf16) */
    bool decodes;                /* a q8 cache, an f16 one where many rows read it: into wide, a piece at a time */
    float *wide;                 /* [wide_floats] */
    uint16_t *q16, *pack;        /* bf16: [rows, sd_attn__even(d)]; SD_ATTN_PACK bytes, or one panel, of keys or values */
} attn_task;

static inline int64_t key_end(const attn_task *t, int64_t r)
{
    return t->s->pos0 + t->i0 + r / t->group + 1;
}

static inline int64_t key_begin(const attn_task *t, int64_t r)
{
    int64_t end = key_end(t, r), w = t->j->o->window;
    return w > 0 && end > w ? end - w : 0;
}

/* Row r of the task in a [n, n_head * d_head] matrix. */
static inline float *row_of(const attn_task *t, sd_mat m, int64_t r)
{
    return sd_mat_row(m, t->i0 + r / t->group) + (t->head * t->group + r % t->group) * t->d;
}

static inline float *pattern_row(const attn_task *t, int64_t r)
{
    int64_t n = t->s->q.rows, h = t->head * t->group + r % t->group;
    return t->s->pattern + (h * n + t->i0 + r / t->group) * (t->s->pos0 + n);
}

/* ---- bf16 ---- */

enum { SD_ATTN_PACK = 64 * 1024 };

/* The width of a head in whole panels of the tile. */
static inline int64_t sd_attn__even(int64_t d)
{
    return (d + SD_PANEL - 1) / SD_PANEL * SD_PANEL;
}
static inline size_t sd_attn__pack_bytes(int64_t d)
{
    const size_t panel = (size_t)sd_attn__even(d) * SD_PANEL * 2;
    return panel > SD_ATTN_PACK ? panel : SD_ATTN_PACK;
}
/* Scores of the task's rows, before the cap. */
void sd_attn__scores_bf16(const attn_task *t, int64_t rows);
/* The row's probabilities in f32 become bf16 in their place, zeros where its neighbours see more. */
void sd_attn__mix_bf16(const attn_task *t, int64_t rows);

#endif
