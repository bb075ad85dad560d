/* Owns: one pass over a store's directions, a block at a time; the best so far in order. */
#include "lab/feature_near.h"

#include "lab/feature_map.h"
#include "num/kern_dict.h"

#include <inttypes.h>
#include <math.h>

enum { BLOCK = 1024, MAX_LIMIT = 1000 };

typedef struct best { int64_t *index; double *cosine; int64_t n, cap; } best;

static void keep(best *b, int64_t index, double c)
{
    int64_t at = b->n < b->cap ? b->n++ : b->n;
    for (; at > 0 && b->cosine[at - 1] < c; at--)
        if (at < b->cap) b->index[at] = b->index[at - 1], b->cosine[at] = b->cosine[at - 1];
    if (at < b->cap) b->index[at] = index, b->cosine[at] = c;
}

static sd_status scan(best *b, const sd_exec *ex, const float *v, sd_store *in, int64_t skip, sd_err *err)
{
    int64_t d = sd_store_get_info(in)->dict.d, m = sd_store_get_info(in)->dict.m;
    const sd_kern_dict *kern = sd_kern_dict_select(ex->cpu.flags);
    uint16_t *half = NULL;
    float *row = NULL;
    double length = sqrt((double)ex->kern->dot(v, v, d));
    sd_status st = sd_alloc(&half, (size_t)(BLOCK * d) * sizeof *half, "directions", err);
    if (!st) st = sd_alloc(&row, (size_t)d * sizeof *row, "directions", err);
    for (int64_t f0 = 0; f0 < m && !st; f0 += BLOCK) {
        int64_t n = m - f0 < BLOCK ? m - f0 : BLOCK;
        st = sd_store_directions(half, in, f0, n, err);
        for (int64_t i = 0; i < n && !st; i++) {
            kern->f16_to_f32(row, half + i * d, d);
            double norm = sqrt((double)ex->kern->dot(row, row, d)); /* halves: off from 1 by up to 2^-11 */
            if (f0 + i != skip && norm > 0) keep(b, f0 + i, (double)ex->kern->dot(v, row, d) / (norm * length));
        }
    }
    sd_free(half);
    sd_free(row);
    return st;
}

sd_status sd_lab_feature_near(sd_feature_list *out, const sd_exec *ex, sd_store *of, int64_t index, sd_store *in, int64_t limit, sd_err *err)
{
    int64_t d = sd_store_get_info(of)->dict.d, m = sd_store_get_info(of)->dict.m;
    best b = {.cap = limit <= 0 ? 20 : limit < MAX_LIMIT ? limit : MAX_LIMIT};
    uint16_t *half = NULL;
    float *v = NULL;
    *out = (sd_feature_list){0};
    if (index < 0 || index >= m) return sd_fail(err, SD_E_NOTFOUND, "feature %" PRId64 " of a store with %" PRId64, index, m);
    if (sd_lab_has_directions(of, err) || sd_lab_has_directions(in, err)) return SD_E_NOTFOUND;
    if (sd_store_get_info(in)->dict.d != d) {
        sd_fail(err, SD_E_SHAPE, "the first store has directions of %" PRId64 " numbers, the second of %" PRId64, d, sd_store_get_info(in)->dict.d);
        return sd_hint(err, "give two stores of one model and site, or of models of one family");
    }
    sd_status st = sd_alloc(&half, (size_t)d * sizeof *half, "a direction", err);
    if (!st) st = sd_alloc(&v, (size_t)d * sizeof *v, "a direction", err);
    if (!st) st = sd_alloc(&b.index, (size_t)b.cap * sizeof *b.index, "neighbours", err);
    if (!st) st = sd_alloc(&b.cosine, (size_t)b.cap * sizeof *b.cosine, "neighbours", err);
    if (!st) st = sd_store_directions(half, of, index, 1, err);
    if (st) goto done;
    sd_kern_dict_select(ex->cpu.flags)->f16_to_f32(v, half, d);
    if (ex->kern->dot(v, v, d) == 0) {
        st = sd_fail(err, SD_E_NOTFOUND, "feature %" PRId64 " has no direction: its decoder row is all zero", index);
        goto done;
    }
    st = scan(&b, ex, v, in, of == in ? index : -1, err);
    if (!st) st = sd_store_some(out, in, b.index, b.cosine, b.n, err);
done:
    sd_free(half);
    sd_free(v);
    sd_free(b.index);
    sd_free(b.cosine);
    return st;
}
