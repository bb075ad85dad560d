/* Attention with products in bf16: keys and values of the cache are packed a piece at a time as panels of the tile that linear layers
 * use, for all rows of a task. Scores and the softmax are f32. A sum runs over groups of 32 keys that begin at multiples of 32, the keys
 * of a group that a row does not see have probability zero: its bits are the same whichever rows stand beside it. */
#include "num/ops_attn_int.h"

#include <math.h>
#include <string.h>

enum { TILE_ROWS = 32 }; /* rows that share their range of keys in a mix */

static int64_t down(int64_t key)
{
    return key / SD_PANEL * SD_PANEL;
}
static int64_t up(int64_t key)
{
    return down(key + SD_PANEL - 1);
}

/* Keys of a piece. */
static int64_t piece(const attn_task *t)
{
    return down((int64_t)sd_attn__pack_bytes(t->d) / (2 * sd_attn__even(t->d)));
}

static void queries(const attn_task *t, int64_t rows)
{
    const int64_t d = t->d, width = sd_attn__even(d);
    for (int64_t r = 0; r < rows; r++) {
        const float *q = row_of(t, t->s->q, r);
        float *to = t->q + r * width;
        for (int64_t c = 0; c < d; c++) to[c] = q[c] * t->j->o->scale;
        memset(to + d, 0, (size_t)(width - d) * sizeof *to);
        t->bf16->to_bf16(t->q16 + r * width, to, width);
    }
}

/* Keys [key, key + 32) as a panel; what lies behind `end` is zero. */
static void pack_keys(const attn_task *t, uint16_t *to, int64_t key, int64_t end)
{
    const sd_kv *kv = &t->s->kv;
    if (t->d % SD_PANEL || end - key < SD_PANEL) memset(to, 0, (size_t)(sd_attn__even(t->d) * SD_PANEL) * 2);
    for (int64_t k = key; k < key + SD_PANEL && k < end; k += SD_KV_PANEL) {
        const void *panel = sd_attn__kv_at(kv, kv->k, t->head, k);
        if (kv->type == SD_KV_Q8) {
            t->j->kern->keys_q8(t->wide, panel, t->d);
            panel = t->wide;
        }
        t->j->kern->keys_bf16(to + 2 * (k - key), panel, t->d, kv->type == SD_KV_F16);
    }
}

void sd_attn__scores_bf16(const attn_task *t, int64_t rows)
{
    const int64_t width = sd_attn__even(t->d), end = key_end(t, rows - 1), first = t->s->pos0 + t->i0, w = t->j->o->window;
    queries(t, rows);
    for (int64_t key = t->base; key < end; key += SD_PANEL) {
        /* rows that see one of these keys */
        const int64_t r0 = (key > first ? key - first : 0) * t->group, last = (key + SD_PANEL - 1 + w - first) * t->group;
        const int64_t r1 = w > 0 && last < rows ? last : rows;
        if (r1 <= r0) continue;
        pack_keys(t, t->pack, key, end);
        t->bf16->tile_bf16(&(sd_tile){.y = t->scores + r0 * t->ld + key - t->base,
                                         .x = t->q16 + r0 * width,
                                         .w = t->pack,
                                         .ldy = t->ld,
                                         .ldx = width,
                                         .m = r1 - r0,
                                         .k = width});
    }
}

/* Probabilities of rows [r0, r1) as bf16 where they stood, zeros for the keys of [lo, hi) that a row does not see. */
static void round_rows(const attn_task *t, int64_t r0, int64_t r1, int64_t lo, int64_t hi)
{
    for (int64_t r = r0; r < r1; r++) {
        const int64_t from = key_begin(t, r), to = key_end(t, r);
        float *p = t->scores + r * t->ld;
        uint16_t *h = (uint16_t *)(void *)p;
        t->bf16->to_bf16(h + from - t->base, p + from - t->base, to - from); /* never ahead of what is read */
        memset(h + lo - t->base, 0, (size_t)(from - lo) * 2);
        memset(h + to - t->base, 0, (size_t)(hi - to) * 2);
    }
}

/* Values of keys [key, key + n) as panels of 32 columns; what lies behind `end` is zero. The first key that is not finite, or end. */
static int64_t pack_values(const attn_task *t, int64_t key, int64_t n, int64_t end)
{
    const sd_kv *kv = &t->s->kv;
    const int64_t d = t->d, step = n * SD_PANEL, some = key + n < end ? n : end - key;
    int64_t bad = some;
    if (d % SD_PANEL || some < n) memset(t->pack, 0, (size_t)(n * sd_attn__even(d)) * 2);
    if (kv->type != SD_KV_Q8) {
        bad = t->j->kern->values_bf16(t->pack, step, sd_attn__kv_at(kv, kv->v, t->head, key), some, d, kv->type == SD_KV_F16);
    } else {
        for (int64_t i = 0; i < some; i += 2) {
            const int64_t two = i + 1 < some ? 2 : 1;
            for (int64_t k = 0; k < two; k++) t->j->kern->values_q8(t->wide + k * d, sd_attn__kv_at(kv, kv->v, t->head, key + i + k), d);
            const int64_t at = t->j->kern->values_bf16(t->pack + SD_PANEL * i, step, t->wide, two, d, false);
            if (at < two && bad == some) bad = i + at;
        }
    }
    return bad < some ? key + bad : end;
}

void sd_attn__mix_bf16(const attn_task *t, int64_t rows)
{
    const int64_t width = sd_attn__even(t->d), end = key_end(t, rows - 1), most = piece(t);
    int64_t bad = end;
    for (int64_t r = 0; r < rows; r += TILE_ROWS) {
        const int64_t r1 = r + TILE_ROWS < rows ? r + TILE_ROWS : rows;
        round_rows(t, r, r1, down(key_begin(t, r)), up(key_end(t, r1 - 1)));
    }
    for (int64_t key = t->base; key < end; key += most) {
        const int64_t n = up(end) - key < most ? up(end) - key : most, at = pack_values(t, key, n, end);
        if (at < bad) bad = at;
        for (int64_t r = 0; r < rows; r += TILE_ROWS) {
            const int64_t m = rows - r < TILE_ROWS ? rows - r : TILE_ROWS, begin = down(key_begin(t, r)), stop = up(key_end(t, r + m - 1));
            const int64_t lo = begin > key ? begin : key, hi = stop < key + n ? stop : key + n;
            if (hi <= lo) continue;
            for (int64_t c = 0; c < width; c += SD_PANEL)
                t->bf16->tile_bf16(&(sd_tile){.y = t->out + r * width + c,
                                                 .x = (const uint16_t *)(const void *)(t->scores + r * t->ld) + lo - t->base,
                                                 .w = t->pack + c * n + (lo - key) * SD_PANEL,
                                                 .ldy = width,
                                                 .ldx = 2 * t->ld,
                                                 .m = m,
                                                 .k = hi - lo,
                                                 .carry = lo > begin});
        }
    }
    for (int64_t r = 0; r < rows; r++) {
        float *to = row_of(t, t->s->out, r);
        memcpy(to, t->out + r * width, (size_t)t->d * sizeof *to);
        for (int64_t c = 0; key_end(t, r) > bad && c < t->d; c++) to[c] = NAN;
    }
}
