/* Attention over a key-value cache, and the cache's layout.
 *
 * A task is one kv head and a block of positions with all the query heads that share it: its scores [rows, keys] stay
 * in the second cache, keys and values are read once for all its rows. Scores are kept whole (no running maximum):
 * every row's arithmetic is then the plain definition, and the same however rows are grouped into blocks, which is what
 * makes the bits independent of the split of a prompt. */
#include "num/ops.h"

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
/* Numbers of a q8 cache that are decoded at a time: 16 KB, half of a first cache. */
enum { WIDE = 4096 };

/* ---- cache ---- */

int64_t sd_kv_cap(int64_t n_pos)
{
    return (n_pos + SD_KV_PANEL - 1) / SD_KV_PANEL * SD_KV_PANEL;
}

const char *sd_kv_type_name(sd_kv_type t)
{
    static const char *const names[] = {"default", "f32", "f16", "q8"};
    SD_ASSERT((unsigned)t < sizeof names / sizeof *names);
    return names[t];
}

size_t sd_kv_row_bytes(sd_kv_type type, int d_head)
{
    if (type == SD_KV_Q8) return (size_t)d_head + (size_t)sd_kv_blocks(d_head) * sizeof(uint16_t);
    return (size_t)d_head * (type == SD_KV_F16 ? 2 : 4);
}

bool sd_kv_bytes(size_t *out, int64_t cap, int n_head, int d_head, sd_kv_type type)
{
    return cap >= 0 && sd_mul_size((size_t)cap, (size_t)n_head, out) && sd_mul_size(*out, sd_kv_row_bytes(type, d_head), out);
}

/* The row of position pos, or, where pos begins a panel, the panel. */
static uint8_t *kv_at(const sd_kv *kv, void *base, int head, int64_t pos)
{
    return (uint8_t *)base + (size_t)(head * kv->cap + pos) * sd_kv_row_bytes(kv->type, kv->d_head);
}

typedef struct kv_job {
    const sd_kern_ops *kern;
    sd_kv kv;
    int64_t pos0;
    sd_mat k, v;
} kv_job;

/* Position pos of one head: its bytes and scales go to lane pos % 16 of their panel. */
static void write_key_q8(const kv_job *j, int head, int64_t pos)
{
    enum { COLS = 1024 };
    const int64_t d = j->kv.d_head, lane = pos % SD_KV_PANEL;
    uint8_t *to = kv_at(&j->kv, j->kv.k, head, pos - lane) + lane, *scale = to + d * SD_KV_PANEL + lane;
    const float *from = sd_mat_row(j->k, pos - j->pos0) + head * d;
    for (int64_t c0 = 0; c0 < d; c0 += COLS) { /* a multiple of SD_KV_BLOCK */
        const int64_t n = d - c0 < COLS ? d - c0 : COLS;
        int8_t q[COLS];
        uint16_t s[COLS / SD_KV_BLOCK];
        j->kern->to_q8(q, s, from + c0, n);
        for (int64_t c = 0; c < n; c++) to[(c0 + c) * SD_KV_PANEL] = (uint8_t)q[c];
        for (int64_t b = 0; b < sd_kv_blocks(n); b++) memcpy(scale + (c0 / SD_KV_BLOCK + b) * SD_KV_PANEL * 2, &s[b], 2);
    }
}

/* Positions [pos, pos + n) of one panel and one head. */
static void write_keys(const kv_job *j, int head, int64_t pos, int64_t n)
{
    enum { COLS = 64 };
    const bool half = j->kv.type == SD_KV_F16;
    int64_t d = j->kv.d_head, lane = pos % SD_KV_PANEL, width = half ? 2 : 4;
    uint8_t *panel = kv_at(&j->kv, j->kv.k, head, pos - lane);
    if (j->kv.type == SD_KV_Q8) {
        for (int64_t i = 0; i < n; i++) write_key_q8(j, head, pos + i);
        return;
    }
    for (int64_t c0 = 0; c0 < d; c0 += COLS) {
        int64_t nc = d - c0 < COLS ? d - c0 : COLS;
        float t[COLS * SD_KV_PANEL];
        uint16_t h[COLS * SD_KV_PANEL];
        for (int64_t c = 0; c < nc; c++)
            for (int64_t i = 0; i < n; i++) t[c * n + i] = sd_mat_row(j->k, pos - j->pos0 + i)[head * d + c0 + c];
        if (half) j->kern->to_f16(h, t, nc * n);
        for (int64_t c = 0; c < nc; c++) {
            void *to = panel + ((c0 + c) * SD_KV_PANEL + lane) * width;
            if (half)
                memcpy(to, h + c * n, (size_t)n * 2);
            else
                memcpy(to, t + c * n, (size_t)n * 4);
        }
    }
}

static void write_value_q8(const kv_job *j, uint8_t *to, const float *from)
{
    enum { COLS = 1024 };
    const int64_t d = j->kv.d_head;
    for (int64_t c0 = 0; c0 < d; c0 += COLS) {
        const int64_t n = d - c0 < COLS ? d - c0 : COLS;
        uint16_t s[COLS / SD_KV_BLOCK]; /* the row's own place may be odd */
        j->kern->to_q8((int8_t *)to + c0, s, from + c0, n);
        memcpy(to + d + c0 / SD_KV_BLOCK * 2, s, (size_t)sd_kv_blocks(n) * 2);
    }
}

static void write_values(const kv_job *j, int head, int64_t pos, int64_t n)
{
    int64_t d = j->kv.d_head;
    for (int64_t i = 0; i < n; i++) {
        const float *from = sd_mat_row(j->v, pos - j->pos0 + i) + head * d;
        void *to = kv_at(&j->kv, j->kv.v, head, pos + i);
        if (j->kv.type == SD_KV_Q8)
            write_value_q8(j, to, from);
        else if (j->kv.type == SD_KV_F16)
            j->kern->to_f16(to, from, d);
        else
            memcpy(to, from, (size_t)d * 4);
    }
}

static void kv_panels(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    (void)chunk;
    const kv_job *j = arg;
    int64_t panel0 = j->pos0 / SD_KV_PANEL, limit = j->pos0 + j->k.rows;
    for (int64_t p = panel0 + begin; p < panel0 + end; p++) {
        int64_t from = p * SD_KV_PANEL > j->pos0 ? p * SD_KV_PANEL : j->pos0;
        int64_t to = (p + 1) * SD_KV_PANEL < limit ? (p + 1) * SD_KV_PANEL : limit;
        for (int h = 0; h < j->kv.n_head; h++) {
            write_keys(j, h, from, to - from);
            write_values(j, h, from, to - from);
        }
    }
}

void sd_kv_write(const sd_exec *ex, sd_kv kv, int64_t pos0, sd_mat k, sd_mat v)
{
    SD_ASSERT(pos0 >= 0 && pos0 + k.rows <= kv.cap && k.rows == v.rows);
    SD_ASSERT(k.cols == (int64_t)kv.n_head * kv.d_head && v.cols == k.cols);
    if (k.rows == 0) return;
    kv_job j = {.kern = sd_kern_ops_select(ex->cpu.flags), .kv = kv, .pos0 = pos0, .k = k, .v = v};
    int64_t n_panel = (pos0 + k.rows - 1) / SD_KV_PANEL - pos0 / SD_KV_PANEL + 1;
    sd_parallel_for(ex->n_threads, n_panel, 4, kv_panels, &j);
}

/* ---- attention ---- */

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

static size_t worker_scratch(const sd_attn_opt *o, int64_t n_kv)
{
    size_t rows = (size_t)most_rows(o), group = (size_t)(o->n_head / o->n_head_kv);
    size_t whole = group * (size_t)n_kv * 4; /* one position's rows, where even they pass the limit */
    size_t scores = (whole > TASK_SCORE_BYTES ? whole : TASK_SCORE_BYTES) + rows * 2 * SD_KV_PANEL * 4;
    return sd_arena_need(scores) + 2 * sd_arena_need(rows * (size_t)o->d_head * 4) + sd_arena_need(wide_floats(o->d_head) * 4);
}

size_t sd_attn_scratch(const sd_exec *ex, const sd_attn_opt *o, int64_t n_kv)
{
    return (size_t)ex->n_threads * worker_scratch(o, n_kv);
}

typedef struct attn_job {
    const sd_kern_ops *kern;
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
    int head, group;
    int64_t i0, i1, d, ld, base; /* base: the key of column 0 of scores */
    float *scores, *q, *out;     /* [rows, ld], [rows, d], [rows, d] */
    float *wide;                 /* [wide_floats] decoded keys or values of a q8 cache */
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
    return sd_mat_row(m, t->i0 + r / t->group) + (t->head * t->group + r % t->group) * t->d;
}

static float *pattern_row(const attn_task *t, int64_t r)
{
    int64_t n = t->s->q.rows, h = t->head * t->group + r % t->group;
    return t->s->pattern + (h * n + t->i0 + r / t->group) * (t->s->pos0 + n);
}

/* Scores of all keys from the base on; those of a q8 cache are decoded some panels at a time. */
static void score_keys(const attn_task *t, int64_t rows, int64_t n_panel)
{
    const sd_kv *kv = &t->s->kv;
    const size_t panel_bytes = SD_KV_PANEL * sd_kv_row_bytes(kv->type, kv->d_head);
    const uint8_t *k = kv_at(kv, kv->k, t->head, t->base);
    const int64_t step = kv->type == SD_KV_Q8 ? (int64_t)wide_floats(t->d) / (t->d * SD_KV_PANEL) : n_panel;
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

static void weigh(const attn_task *t, int64_t rows)
{
    int64_t n_kv = t->s->pos0 + t->s->q.rows,
            n_panel = (key_end(t, rows - 1) - t->base + SD_KV_PANEL - 1) / SD_KV_PANEL;
    for (int64_t r = 0; r < rows; r++) memcpy(t->q + r * t->d, row_of(t, t->s->q, r), (size_t)t->d * 4);
    score_keys(t, rows, n_panel);
    for (int64_t r = 0; r < rows; r++) {
        int64_t lo = key_begin(t, r), hi = key_end(t, r);
        float *p = t->scores + r * t->ld + lo - t->base;
        if (t->j->o->cap > 0) t->j->kern->softcap(p, t->j->o->cap, hi - lo);
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
    span s = {kv_at(kv, kv->v, t->head, from), from, to};
    if (kv->type != SD_KV_Q8) return s;
    for (int64_t i = from; i < to; i++) t->j->kern->values_q8(t->wide + (i - from) * t->d, kv_at(kv, kv->v, t->head, i), t->d);
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
    memset(t->out, 0, (size_t)(rows * t->d) * 4);
    for (int64_t from = t->base; from < end; from += step) {
        const span s = open_span(t, from, end - from < step ? end : from + step);
        mix_span(t, &s, rows);
    }
    for (int64_t r = 0; r < rows; r++) memcpy(row_of(t, t->s->out, r), t->out + r * t->d, (size_t)t->d * 4);
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
    int n_kv_head = j->o->n_head_kv;
    while (chunk >= blocks_of(j, s) * n_kv_head) chunk -= blocks_of(j, s++) * n_kv_head;
    /* The last block has the most keys: it goes first, so that the threads end together. */
    int64_t block = blocks_of(j, s) - 1 - chunk / n_kv_head, b = block_positions(j->o, s->pos0 + s->q.rows);
    attn_task t = {
        .j = j, .s = s, .head = (int)(chunk % n_kv_head), .group = j->o->n_head / n_kv_head, .d = j->o->d_head};
    t.i0 = block * b;
    t.i1 = t.i0 + b < s->q.rows ? t.i0 + b : s->q.rows;
    t.ld = score_ld(s->pos0 + s->q.rows);
    t.base = key_begin(&t, 0) / SD_KV_PANEL * SD_KV_PANEL;
    int64_t rows = (t.i1 - t.i0) * t.group;
    uint8_t *mem = j->scratch + (size_t)sd_par_worker() * j->worker_bytes;
    size_t row_bytes = sd_arena_need((size_t)(most_rows(j->o) * t.d) * 4);
    t.q = (float *)(void *)mem;
    t.out = (float *)(void *)(mem + row_bytes);
    t.wide = (float *)(void *)(mem + 2 * row_bytes);
    t.scores = t.wide + wide_floats(t.d);
    if (j->mix_only)
        for (int64_t r = 0; r < rows; r++) {
            int64_t lo = key_begin(&t, r);
            memcpy(t.scores + r * t.ld + lo - t.base, pattern_row(&t, r) + lo, (size_t)(key_end(&t, r) - lo) * 4);
        }
    else
        weigh(&t, rows);
    mix_rows(&t, rows);
}

static void run_attn(const sd_exec *ex, const sd_attn_opt *o, const sd_attn_seq *seq, int n_seq, bool mix_only,
                     void *scratch)
{
    attn_job j = {.kern = sd_kern_ops_select(ex->cpu.flags),
                  .o = o,
                  .seq = seq,
                  .n_seq = n_seq,
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
    j.worker_bytes = worker_scratch(o, most);
    sd_parallel_for(work < SERIAL_WORK ? 1 : ex->n_threads, n_task, 1, run_task, &j);
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
