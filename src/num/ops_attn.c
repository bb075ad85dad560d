/* Attention over a key-value cache.
 *
 * A task is one kv head and a block of positions with the query heads that share it (a part of them, where there would be
 * less than a task a thread): its scores [rows, keys] stay in the second cache, keys and values are read once for all its rows. Scores are kept whole (no running maximum):
 * every row's arithmetic is then the plain definition, and the same however rows are grouped into blocks, which is what
 * makes the bits independent of the split of a prompt. */
#include "num/ops_kv_int.h"

#include "base/par.h"
#include "num/kern_ops.h"

#include <string.h>

/* Rows of a task: a multiple of SD_MIX_ROWS, enough to pay for reading the keys from the second cache. */
enum { TASK_ROWS = 48 };
/* Scores of a task in bytes, where one position's rows leave the choice: half of a second cache of 1 MB, less keys and
 * values. */
enum { TASK_SCORE_BYTES = 384 * 1024 };
/* Multiply-adds below which waking a second thread costs more than it saves (about 4 us of work). */
enum { SERIAL_WORK = 128 * 1024 };
/* Positions of a block of values that tiles take at once; blocks lie at multiples of that, so that no sum knows where a task begins. */
enum { BLOCK = 32, BLOCK_PAIRS = BLOCK / 2 };
/* Blocks that not all rows of a task see whole, at most: TASK_ROWS positions at either end. */
enum { MOST_IN_PART = 6 };
/* Numbers of a q8 cache that are decoded at a time: 16 KB, half of a first cache. */
enum { WIDE = 4096 };

static int64_t block_positions(const sd_attn_opt *o, int64_t n_kv)
{
    int64_t group = o->n_head / o->n_head_kv, b = TASK_ROWS / group, fit = TASK_SCORE_BYTES / (group * n_kv * 4);
    if (b > fit) b = fit;
    return b < 1 ? 1 : b;
}

static int64_t most_rows(const sd_attn_opt *o)
{
    int64_t group = o->n_head / o->n_head_kv;
    return group > TASK_ROWS ? group : TASK_ROWS;
}

/* Floats from one row of scores to the next: one panel over, so that rows do not fall on the same cache sets. */
static int64_t score_ld(int64_t n_kv)
{
    return sd_kv_cap(n_kv) + SD_KV_PANEL;
}

/* At least one panel of keys. */
static size_t wide_floats(int64_t d)
{
    return d * SD_KV_PANEL > WIDE ? (size_t)(d * SD_KV_PANEL) : WIDE;
}

/* Words of a block of values. */
static int64_t block_words(int64_t d)
{
    return BLOCK_PAIRS * 2 * sd_kv__pairs(d);
}

/* Where the blocks of n_kv values lie, and the copies of some; nothing where the CPU has no tiles. */
static size_t tiles_bytes(const sd_exec *ex, const sd_attn_opt *o, int64_t n_kv)
{
    if (!sd_kern_tiles_select(ex->cpu.flags)) return 0;
    return sd_arena_need((size_t)(n_kv / BLOCK + 2) * sizeof(uint32_t *)) + sd_arena_need(MOST_IN_PART * (size_t)block_words(o->d_head) * 4);
}

static size_t worker_scratch(const sd_exec *ex, const sd_attn_opt *o, int64_t n_kv)
{
    size_t rows = (size_t)most_rows(o), group = (size_t)(o->n_head / o->n_head_kv);
    size_t whole = group * (size_t)n_kv * 4; /* one position's rows, where even they pass the limit */
    size_t scores = (whole > TASK_SCORE_BYTES ? whole : TASK_SCORE_BYTES) + rows * 2 * SD_KV_PANEL * 4;
    return sd_arena_need(scores) + 2 * sd_arena_need(rows * (size_t)o->d_head * 4) + sd_arena_need(wide_floats(o->d_head) * 4) + tiles_bytes(ex, o, n_kv);
}

size_t sd_attn_scratch(const sd_exec *ex, const sd_attn_opt *o, int64_t n_kv)
{
    return (size_t)ex->n_threads * worker_scratch(ex, o, n_kv);
}

typedef struct attn_job {
    const sd_kern_ops *kern;
    const sd_exec *ex;
    const sd_attn_opt *o;
    const sd_attn_seq *seq;
    int n_seq;
    int n_part;    /* tasks that share a block of positions of a kv head */
    bool mix_only; /* probabilities come from the pattern */
    uint8_t *scratch;
    int64_t n_kv;  /* the most keys of a sequence */
    size_t worker_bytes;
} attn_job;

/* One task: positions [i0, i1) of a sequence, one kv head; row r of it is position i0 + r / group, query head
 * first + r % group. */
typedef struct attn_task {
    const attn_job *j;
    const sd_attn_seq *s;
    int head, first, group; /* kv head; query heads */
    int64_t i0, i1, d, ld, base; /* base: the key of column 0 of scores */
    float *scores, *q, *out;     /* [rows, ld], [rows, d], [rows, d] */
    float *wide;                 /* [wide_floats] decoded keys or values of a q8 cache; of a bf16 one, [d] pairs of which a row sees a half */
    const sd_kern_half *half;    /* of a bf16 cache: then q, and scores once they are probabilities, hold pairs */
    const sd_kern_tiles *tiles;  /* of a bf16 cache, where the CPU has them */
    const uint32_t **block;      /* [n_kv / BLOCK + 2] of values */
    uint32_t *copy;              /* [MOST_IN_PART][block_words] */
} attn_task;

static int64_t key_end(const attn_task *t, int64_t r)
{
    return t->s->pos0 + t->i0 + r / t->group + 1;
}

static int64_t key_begin(const attn_task *t, int64_t r)
{
    int64_t end = key_end(t, r), w = t->j->o->window;
    return w > 0 && end > w ? end - w : 0;
}

/* Row r of the task in a [n, n_head * d_head] matrix. */
static float *row_of(const attn_task *t, sd_mat m, int64_t r)
{
    return sd_mat_row(m, t->i0 + r / t->group) + (t->first + r % t->group) * t->d;
}

static float *pattern_row(const attn_task *t, int64_t r)
{
    int64_t n = t->s->q.rows, h = t->first + r % t->group;
    return t->s->pattern + (h * n + t->i0 + r / t->group) * (t->s->pos0 + n);
}

/* Scores of all keys from the base on; those of a q8 cache are decoded some panels at a time. */
static void score_keys(const attn_task *t, int64_t rows, int64_t n_panel)
{
    const sd_kv *kv = &t->s->kv;
    const size_t panel_bytes = SD_KV_PANEL * sd_kv_row_bytes(kv->type, kv->d_head);
    const uint8_t *k = sd_kv__at(kv, kv->k, t->head, t->base);
    const int64_t step = kv->type == SD_KV_Q8 ? (int64_t)wide_floats(t->d) / (t->d * SD_KV_PANEL) : n_panel;
    for (int64_t r = 0; r < rows; r++) memcpy(t->q + r * t->d, row_of(t, t->s->q, r), (size_t)t->d * 4);
    for (int64_t p0 = 0; p0 < n_panel; p0 += step) {
        const int64_t n = n_panel - p0 < step ? n_panel - p0 : step;
        const void *keys = k + (size_t)p0 * panel_bytes;
        if (kv->type == SD_KV_Q8) {
            for (int64_t p = 0; p < n; p++)
                t->j->kern->keys_q8(t->wide + p * t->d * SD_KV_PANEL, k + (size_t)(p0 + p) * panel_bytes, t->d);
            keys = t->wide;
        }
        t->j->kern->scores(&(sd_score_args){.s = t->scores + p0 * SD_KV_PANEL,
                                            .q = t->q,
                                            .k = keys,
                                            .lds = t->ld,
                                            .m = rows,
                                            .n_panel = n,
                                            .d = t->d,
                                            .scale = t->j->o->scale,
                                            .f16 = kv->type == SD_KV_F16});
    }
}

static void score_keys_half(const attn_task *t, int64_t rows, int64_t n_panel)
{
    const int64_t n_pair = sd_kv__pairs(t->d);
    uint32_t *q = (uint32_t *)(void *)t->q;
    for (int64_t r = 0; r < rows; r++) t->half->row(q + r * n_pair, row_of(t, t->s->q, r), t->d);
    (t->tiles ? t->tiles->scores : t->half->scores)(
        &(sd_half_scores){.s = t->scores,
                          .q = q,
                          .k = (const uint32_t *)(const void *)sd_kv__at(&t->s->kv, t->s->kv.k, t->head, t->base),
                          .lds = t->ld,
                          .m = rows,
                          .n_panel = n_panel,
                          .n_pair = n_pair,
                          .scale = t->j->o->scale});
}

/* Probabilities of row r become pairs as they are made: nobody looks at them, and its first key begins a pair. */
static bool rounds_at_once(const attn_task *t, int64_t r)
{
    return t->half && !t->s->pattern && (key_begin(t, r) - t->base) % 2 == 0;
}

static void weigh(const attn_task *t, int64_t rows)
{
    int64_t n_kv = t->s->pos0 + t->s->q.rows,
            n_panel = (key_end(t, rows - 1) - t->base + SD_KV_PANEL - 1) / SD_KV_PANEL;
    if (t->half)
        score_keys_half(t, rows, n_panel);
    else
        score_keys(t, rows, n_panel);
    for (int64_t r = 0; r < rows; r++) {
        int64_t lo = key_begin(t, r), hi = key_end(t, r);
        float *p = t->scores + r * t->ld + lo - t->base;
        if (t->j->o->cap > 0) t->j->kern->softcap(p, t->j->o->cap, hi - lo);
        if (rounds_at_once(t, r)) {
            t->half->softmax((uint32_t *)(void *)(t->scores + r * t->ld) + (lo - t->base) / 2, p, hi - lo);
            continue;
        }
        t->j->kern->softmax(p, hi - lo);
        if (!t->s->pattern) continue;
        float *to = pattern_row(t, r);
        memset(to, 0, (size_t)lo * 4);
        memcpy(to + lo, p, (size_t)(hi - lo) * 4);
        memset(to + hi, 0, (size_t)(n_kv - hi) * 4);
    }
}

/* Values of positions [from, to): of a q8 cache decoded, the others as they lie. */
typedef struct span {
    const void *v;
    int64_t from, to;
} span;

static span open_span(const attn_task *t, int64_t from, int64_t to)
{
    const sd_kv *kv = &t->s->kv;
    span s = {sd_kv__at(kv, kv->v, t->head, from), from, to};
    if (kv->type != SD_KV_Q8) return s;
    for (int64_t i = from; i < to; i++) t->j->kern->values_q8(t->wide + (i - from) * t->d, sd_kv__at(kv, kv->v, t->head, i), t->d);
    s.v = t->wide;
    return s;
}

/* Rows [r0, r0 + n) over those of keys [from, to) that lie in the span. */
static void mix_keys(const attn_task *t, const span *s, int64_t r0, int64_t n, int64_t from, int64_t to)
{
    const bool half = t->s->kv.type == SD_KV_F16;
    if (from < s->from) from = s->from;
    if (to > s->to) to = s->to;
    if (to <= from) return;
    t->j->kern->mix(&(sd_mix_args){.o = t->out + r0 * t->d,
                                   .p = t->scores + r0 * t->ld + from - t->base,
                                   .v = (const uint8_t *)s->v + (from - s->from) * t->d * (half ? 2 : 4),
                                   .ldp = t->ld,
                                   .m = n,
                                   .n = to - from,
                                   .d = t->d,
                                   .f16 = half});
}

/* Keys that all rows of a tile see go through the tile at once, what is a row's own before and after it alone: in each
 * row's order of keys, and never touching the values of a position that the row may not see. */
static void mix_span(const attn_task *t, const span *s, int64_t rows)
{
    for (int64_t r0 = 0; r0 < rows; r0 += SD_MIX_ROWS) {
        int64_t n = rows - r0 < SD_MIX_ROWS ? rows - r0 : SD_MIX_ROWS;
        int64_t lo = key_begin(t, r0 + n - 1), hi = key_end(t, r0);
        if (lo > hi) lo = hi;
        for (int64_t r = r0; r < r0 + n; r++) mix_keys(t, s, r, 1, key_begin(t, r), lo);
        mix_keys(t, s, r0, n, lo, hi);
        for (int64_t r = r0; r < r0 + n; r++)
            mix_keys(t, s, r, 1, key_begin(t, r) > hi ? key_begin(t, r) : hi, key_end(t, r));
    }
}

static void mix_rows(const attn_task *t, int64_t rows)
{
    const int64_t end = key_end(t, rows - 1);
    const int64_t step = t->s->kv.type == SD_KV_Q8 ? (int64_t)wide_floats(t->d) / t->d : end - t->base;
    for (int64_t from = t->base; from < end; from += step) {
        const span s = open_span(t, from, end - from < step ? end : from + step);
        mix_span(t, &s, rows);
    }
}

/* ---- the mix over a bf16 cache: pair i of a task is positions base + 2 i and the next, wherever a row begins and ends ---- */

static const uint32_t *probabilities(const attn_task *t, int64_t r)
{
    return (const uint32_t *)(const void *)(t->scores + r * t->ld);
}

static const uint32_t *values_of(const attn_task *t, int64_t i)
{
    return (const uint32_t *)(const void *)sd_kv__at(&t->s->kv, t->s->kv.v, t->head, t->base + 2 * i);
}

/* Rows [r, r + m) over pair i, of which they see the half that the mask keeps: what they do not see is not touched. */
static void mix_one(const attn_task *t, int64_t r, int64_t m, int64_t i, uint32_t mask)
{
    const uint32_t *v = values_of(t, i);
    uint32_t p[SD_MIX_ROWS], *seen = (uint32_t *)(void *)t->wide;
    for (int64_t k = 0; k < m; k++) p[k] = probabilities(t, r + k)[i] & mask;
    for (int64_t c = 0; c < t->d; c++) seen[c] = v[c] & mask;
    t->half->mix(&(sd_half_mix){.o = t->out + r * t->d, .p = p, .v = seen, .ldp = 1, .ldv = t->d, .m = m, .n = 1, .d = t->d});
}

/* Rows [r, r + m) over pairs [from, to); where row r begins or ends in one of them all are of one position. */
static void mix_pairs(const attn_task *t, int64_t r, int64_t m, int64_t from, int64_t to)
{
    const int64_t begin = key_begin(t, r) - t->base, end = key_end(t, r) - t->base;
    if (from < to && 2 * from < begin) mix_one(t, r, m, from++, 0xffff0000u);
    const bool one = from < to && 2 * to > end;
    to -= one;
    if (from < to)
        t->half->mix(&(sd_half_mix){.o = t->out + r * t->d,
                                    .p = probabilities(t, r) + from,
                                    .v = values_of(t, from),
                                    .ldp = t->ld,
                                    .ldv = 2 * sd_kv__pairs(t->d),
                                    .m = m,
                                    .n = to - from,
                                    .d = t->d});
    if (one) mix_one(t, r, m, to, 0xffffu);
}

/* How many rows from r on, before `end`, are of its position. */
static int64_t alike(const attn_task *t, int64_t r, int64_t end)
{
    const int64_t n = t->group - r % t->group;
    return n < end - r ? n : end - r;
}

/* Pairs that all rows of a tile see whole go through the tile at once, as in mix_span. */
static void mix_rows_half(const attn_task *t, int64_t rows)
{
    for (int64_t r = 0; r < rows; r++)
        if (!rounds_at_once(t, r)) t->half->row((uint32_t *)(void *)(t->scores + r * t->ld), t->scores + r * t->ld, key_end(t, r) - t->base);
    for (int64_t r0 = 0; r0 < rows; r0 += SD_MIX_ROWS) {
        const int64_t end = rows - r0 < SD_MIX_ROWS ? rows : r0 + SD_MIX_ROWS;
        int64_t lo = (key_begin(t, end - 1) - t->base + 1) / 2, hi = (key_end(t, r0) - t->base) / 2, n;
        if (lo > hi) lo = hi;
        for (int64_t r = r0; r < end; r += n) mix_pairs(t, r, n = alike(t, r, end), (key_begin(t, r) - t->base) / 2, lo);
        mix_pairs(t, r0, end - r0, lo, hi);
        for (int64_t r = r0; r < end; r += n) {
            const int64_t from = (key_begin(t, r) - t->base) / 2;
            mix_pairs(t, r, n = alike(t, r, end), from > hi ? from : hi, (key_end(t, r) - t->base + 1) / 2);
        }
    }
}

/* ---- the mix over a bf16 cache in tiles: a row takes whole blocks, with a probability of zero for what it does not see ---- */

/* Rows of probabilities as pairs, zero before the first key and from the last one to the end of its block. */
static void pad_rows(const attn_task *t, int64_t rows, int64_t n_block)
{
    for (int64_t r = 0; r < rows; r++) {
        const int64_t lo = key_begin(t, r) - t->base, hi = key_end(t, r) - t->base, end = (hi + 1) / 2;
        float *s = t->scores + r * t->ld;
        uint32_t *p = (uint32_t *)(void *)s;
        memset(s, 0, (size_t)(rounds_at_once(t, r) ? lo / 2 : lo) * 4);
        if (!rounds_at_once(t, r)) t->half->row(p, s, hi);
        memset(p + end, 0, (size_t)(n_block * BLOCK_PAIRS - end) * 4);
    }
}

/* Block i, of which not all rows see all: a copy as far as the cache goes, without what is not finite, as zero times that would reach rows
 * that do not see it. false: there was such a number. */
static bool copy_block(const attn_task *t, int64_t i, uint32_t *to)
{
    const int64_t ldv = 2 * sd_kv__pairs(t->d), left = (t->s->kv.cap - t->base) / 2 - i * BLOCK_PAIRS, n = left < BLOCK_PAIRS ? left : BLOCK_PAIRS;
    memset(to + n * ldv, 0, (size_t)((BLOCK_PAIRS - n) * ldv) * 4);
    t->block[i] = to;
    return t->tiles->copy_finite(to, values_of(t, i * BLOCK_PAIRS), n * ldv);
}

/* What copy_block left out of block i, for the rows that see it. */
static void add_not_finite(const attn_task *t, int64_t rows, int64_t i)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t k = i * BLOCK; k < (i + 1) * BLOCK; k++) {
            if (k < key_begin(t, r) - t->base || k >= key_end(t, r) - t->base) continue;
            const uint32_t *v = values_of(t, k / 2), shift = k % 2 ? 0 : 16, p = probabilities(t, r)[k / 2] << shift & 0xffff0000u;
            for (int64_t c = 0; c < t->d; c++) {
                const uint32_t u = v[c] << shift & 0xffff0000u;
                float x, y;
                if ((u & 0x7f800000u) != 0x7f800000u) continue;
                memcpy(&x, &u, sizeof x), memcpy(&y, &p, sizeof y);
                t->out[r * t->d + c] += y * x;
            }
        }
}

static void mix_rows_tiles(const attn_task *t, int64_t rows)
{
    const int64_t first = key_begin(t, rows - 1) - t->base, last = key_end(t, 0) - t->base; /* what all rows see */
    const int64_t n = (key_end(t, rows - 1) - t->base + BLOCK - 1) / BLOCK, words = block_words(t->d);
    int64_t n_copy = 0, odd[MOST_IN_PART], n_odd = 0;
    pad_rows(t, rows, n);
    for (int64_t i = 0; i < n; i++) {
        t->block[i] = values_of(t, i * BLOCK_PAIRS);
        if (i * BLOCK >= first && (i + 1) * BLOCK <= last) continue;
        SD_ASSERT(n_copy < MOST_IN_PART);
        if (!copy_block(t, i, t->copy + n_copy++ * words)) odd[n_odd++] = i;
    }
    t->tiles->mix(&(sd_tiles_mix){.o = t->out,
                                  .p = probabilities(t, 0),
                                  .v = t->block,
                                  .ldp = t->ld,
                                  .ldv = 2 * sd_kv__pairs(t->d),
                                  .m = rows,
                                  .n = n,
                                  .d = t->d});
    for (int64_t i = 0; i < n_odd; i++) add_not_finite(t, rows, odd[i]);
}

static int64_t blocks_of(const attn_job *j, const sd_attn_seq *s)
{
    int64_t b = block_positions(j->o, s->pos0 + s->q.rows);
    return (s->q.rows + b - 1) / b;
}

static void run_task(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    (void)begin, (void)end; /* chunks of one task */
    const attn_job *j = arg;
    const sd_attn_seq *s = j->seq;
    const int n_across = j->o->n_head_kv * j->n_part, across = (int)(chunk % n_across), group = j->o->n_head / n_across;
    while (chunk >= blocks_of(j, s) * n_across) chunk -= blocks_of(j, s++) * n_across;
    /* The last block has the most keys: it goes first, so that the threads end together. */
    int64_t block = blocks_of(j, s) - 1 - chunk / n_across, b = block_positions(j->o, s->pos0 + s->q.rows);
    attn_task t = {.j = j, .s = s, .head = across / j->n_part, .first = across * group, .group = group, .d = j->o->d_head};
    t.half = sd_kv__half(j->ex, s->kv.type);
    t.i0 = block * b;
    t.i1 = t.i0 + b < s->q.rows ? t.i0 + b : s->q.rows;
    t.ld = score_ld(s->pos0 + s->q.rows);
    t.tiles = t.half ? sd_kern_tiles_select(j->ex->cpu.flags) : NULL;
    t.base = t.tiles ? key_begin(&t, 0) / BLOCK * BLOCK : key_begin(&t, 0) / SD_KV_PANEL * SD_KV_PANEL;
    int64_t rows = (t.i1 - t.i0) * t.group;
    uint8_t *mem = j->scratch + (size_t)sd_par_worker() * j->worker_bytes;
    size_t row_bytes = sd_arena_need((size_t)(most_rows(j->o) * t.d) * 4);
    t.q = (float *)(void *)mem;
    t.out = (float *)(void *)(mem + row_bytes);
    t.wide = (float *)(void *)(mem + 2 * row_bytes);
    t.block = (const uint32_t **)(void *)(mem + 2 * row_bytes + sd_arena_need(wide_floats(t.d) * 4));
    t.copy = (uint32_t *)(void *)((uint8_t *)t.block + sd_arena_need((size_t)(j->n_kv / BLOCK + 2) * sizeof *t.block));
    t.scores = (float *)(void *)((uint8_t *)t.block + tiles_bytes(j->ex, j->o, j->n_kv));
    if (j->mix_only)
        for (int64_t r = 0; r < rows; r++) {
            int64_t lo = key_begin(&t, r);
            memcpy(t.scores + r * t.ld + lo - t.base, pattern_row(&t, r) + lo, (size_t)(key_end(&t, r) - lo) * 4);
        }
    else
        weigh(&t, rows);
    if (t.tiles) {
        mix_rows_tiles(&t, rows);
    } else {
        memset(t.out, 0, (size_t)(rows * t.d) * 4);
        if (t.half)
            mix_rows_half(&t, rows);
        else
            mix_rows(&t, rows);
    }
    for (int64_t r = 0; r < rows; r++) memcpy(row_of(&t, s->out, r), t.out + r * t.d, (size_t)t.d * 4);
}

/* In how many parts a group of query heads is cut so that n_task tasks reach the threads: the least divisor that does, else all. */
static int parts_of(int group, int64_t n_task, int n_threads)
{
    int n = 1;
    while (n < group && (group % n || n_task * n < n_threads)) n++;
    return n;
}

static void run_attn(const sd_exec *ex, const sd_attn_opt *o, const sd_attn_seq *seq, int n_seq, bool mix_only,
                     void *scratch)
{
    attn_job j = {.kern = sd_kern_ops_select(ex->cpu.flags),
                  .ex = ex,
                  .o = o,
                  .seq = seq,
                  .n_seq = n_seq,
                  .n_part = 1,
                  .mix_only = mix_only,
                  .scratch = scratch};
    int64_t most = 1, n_task = 0, work = 0;
    for (int i = 0; i < n_seq; i++) {
        int64_t n = seq[i].q.rows, n_kv = seq[i].pos0 + n;
        SD_ASSERT(n >= 1 && n_kv <= seq[i].kv.cap && seq[i].out.rows == n && seq[i].kv.n_head == o->n_head_kv &&
                  seq[i].kv.d_head == o->d_head);
        if (n_kv > most) most = n_kv;
        n_task += blocks_of(&j, &seq[i]) * o->n_head_kv;
        work += n * n_kv * o->n_head * o->d_head;
    }
    j.n_kv = most;
    j.worker_bytes = worker_scratch(ex, o, most);
    const int n_threads = work < SERIAL_WORK ? 1 : ex->n_threads;
    j.n_part = parts_of(o->n_head / o->n_head_kv, n_task, n_threads);
    sd_parallel_for(n_threads, n_task * j.n_part, 1, run_task, &j);
}

void sd_attn(const sd_exec *ex, const sd_attn_opt *o, const sd_attn_seq *seq, int n_seq, void *scratch)
{
    run_attn(ex, o, seq, n_seq, false, scratch);
}

void sd_attn_mix(const sd_exec *ex, const sd_attn_opt *o, const sd_attn_seq *seq, void *scratch)
{
    SD_ASSERT(seq->pattern);
    run_attn(ex, o, seq, 1, true, scratch);
}
