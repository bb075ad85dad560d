/* Attention, backward. A task is one document and one kv head with all the query heads that share it, so that the sums
 * of gk and gv over rows and heads are one thread's. Rows go through in tiles of TILE: their scores against all their
 * keys are computed again, and five small products follow, on the tile kernels of sd_linear: s = q k^T and gp = go v^T
 * over panels of 32 keys; gq = gs k; gk += gs^T q and gv += p^T go. */
#include "num/ops_grad_int.h"

#include "base/par.h"

#include <string.h>

enum { TILE = 48, P = SD_PANEL };

typedef struct attn_job {
    const sd_exec *ex;
    const sd_kern_ops *ops;
    const sd_kern_train *kern;
    const sd_attn_grad *o;
    const sd_attn_doc *doc;
    uint8_t *scratch;
    size_t worker_bytes;
} attn_job;

/* One worker's memory; nk: keys rounded up to panels, dp: the head's width likewise. */
typedef struct bench {
    float *kt, *vt;      /* [nk/32][d][32] keys and values with a panel's 32 keys beside each other */
    float *kp;           /* [dp/32][nk][32] keys in panels of columns */
    float *gk, *gv;      /* [nk, dp] */
    float *s, *gp, *cap; /* [TILE, nk]; cap [nk]: the derivative of the soft cap of one row */
    float *st;           /* [nk, TILE] a tile turned */
    float *q, *go, *gq;  /* [TILE, dp] */
    float *qp, *gop;     /* [dp/32][TILE][32] */
} bench;

static size_t take(size_t *at, int64_t a, int64_t b)
{
    const size_t p = *at;
    *at += sd_arena_need((size_t)a * (size_t)b * sizeof(float));
    return p;
}

static size_t lay(bench *b, uint8_t *mem, int64_t n, int64_t d)
{
    const int64_t nk = sd_attn_bwd__up(n), dp = sd_attn_bwd__up(d);
    size_t at = 0;
    float **const field[] = {&b->kt,  &b->vt, &b->kp, &b->gk, &b->gv, &b->s,  &b->gp,
                             &b->cap, &b->st, &b->q,  &b->go, &b->gq, &b->qp, &b->gop};
    const int64_t shape[][2] = {{nk, d},    {nk, d},    {nk, dp},   {nk, dp},   {nk, dp},   {TILE, nk}, {TILE, nk},
                                {1, nk},    {nk, TILE}, {TILE, dp}, {TILE, dp}, {TILE, dp}, {TILE, dp}, {TILE, dp}};
    for (size_t i = 0; i < sizeof shape / sizeof *shape; i++) {
        const size_t p = take(&at, shape[i][0], shape[i][1]);
        if (mem) *field[i] = (float *)(void *)(mem + p);
    }
    return at;
}

size_t sd_attn_bwd_scratch(const sd_exec *ex, const sd_attn_grad *o, int64_t n_longest)
{
    if (sd_attn_bwd__in_half(ex, o)) return sd_attn_bwd_half__scratch(ex, o, n_longest);
    return (size_t)ex->n_threads * lay(&(bench){0}, NULL, n_longest, o->d_head);
}

/* Rows [r0, r0 + n) of one head of x: to [d][32] panels of rows, zeros beyond n. */
static void panel_rows(float *dst, sd_mat x, int64_t r0, int64_t col, int64_t d)
{
    for (int64_t i = 0; i < P; i++) {
        const float *row = r0 + i < x.rows ? sd_mat_row(x, r0 + i) + col : NULL;
        for (int64_t c = 0; c < d; c++) dst[c * P + i] = row ? row[c] : 0.0f;
    }
}

/* rows of x [n, d] (ld) to panels of columns [dp/32][n_alloc][32]. */
static void panel_cols(float *dst, int64_t n_alloc, const float *x, int64_t ld, int64_t n, int64_t d)
{
    for (int64_t p = 0; p * P < d; p++)
        for (int64_t i = 0; i < n; i++) {
            const int64_t m = d - p * P < P ? d - p * P : P;
            float *to = dst + (p * n_alloc + i) * P;
            memcpy(to, x + i * ld + p * P, (size_t)m * sizeof *to);
            memset(to + m, 0, (size_t)(P - m) * sizeof *to);
        }
}

typedef struct task {
    const attn_job *j;
    const sd_attn_doc *s;
    bench b;
    int64_t n, nk, d, dp;
    int head; /* of queries */
} task;

static void tile_product(const task *t, sd_tile a)
{
    t->j->ex->kern->tile_f32(&a);
}

/* dst [n, rows of TILE] = src [m, n] turned. */
static void turn(float *dst, const float *src, int64_t ld, int64_t m, int64_t n)
{
    enum { BLOCK = 16 };
    for (int64_t c0 = 0; c0 < n; c0 += BLOCK)
        for (int64_t i = 0; i < m; i++)
            for (int64_t c = c0; c < n && c < c0 + BLOCK; c++) dst[c * TILE + i] = src[i * ld + c];
}

/* p (in s) and its derivatives of rows [i0, i0 + m) over keys [base, end): leaves gs * scale in gp. */
static void scores_bwd(const task *t, int64_t i0, int64_t m, int64_t base, int64_t end)
{
    const sd_attn_grad *o = t->j->o;
    const bench *b = &t->b;
    for (int64_t p = base / P; p * P < end; p++) {
        tile_product(t, (sd_tile){.y = b->s + p * P,
                                  .ldy = t->nk,
                                  .x = b->q,
                                  .ldx = t->dp,
                                  .w = b->kt + p * P * t->d,
                                  .m = m,
                                  .k = t->d,
                                  .carry = false});
        tile_product(t, (sd_tile){.y = b->gp + p * P,
                                  .ldy = t->nk,
                                  .x = b->go,
                                  .ldx = t->dp,
                                  .w = b->vt + p * P * t->d,
                                  .m = m,
                                  .k = t->d,
                                  .carry = false});
    }
    for (int64_t r = 0; r < m; r++) {
        const int64_t hi = i0 + r + 1, lo = o->window > 0 && hi > o->window ? hi - o->window : 0, n = hi - lo;
        float *s = b->s + r * t->nk, *g = b->gp + r * t->nk;
        sd_attn_bwd__row(o, t->j->ops, t->j->kern, s + lo, g + lo, b->cap, n);
        for (int64_t c = base; c < lo; c++) s[c] = g[c] = 0.0f;
        for (int64_t c = hi; c < sd_attn_bwd__up(end); c++) s[c] = g[c] = 0.0f;
    }
}

static void rows_bwd(const task *t, int64_t i0, int64_t m)
{
    const bench *b = &t->b;
    const int64_t col = t->head * t->d, w = t->j->o->window, end = i0 + m;
    const int64_t base = w > 0 && i0 + 1 > w ? (i0 + 1 - w) / P * P : 0;
    for (int64_t r = 0; r < m; r++) {
        memcpy(b->q + r * t->dp, sd_mat_row(t->s->q, i0 + r) + col, (size_t)t->d * sizeof(float));
        memcpy(b->go + r * t->dp, sd_mat_row(t->s->go, i0 + r) + col, (size_t)t->d * sizeof(float));
    }
    panel_cols(b->qp, TILE, b->q, t->dp, m, t->d);
    panel_cols(b->gop, TILE, b->go, t->dp, m, t->d);
    scores_bwd(t, i0, m, base, end);
    for (int64_t p = 0; p * P < t->d; p++)
        tile_product(t, (sd_tile){.y = b->gq + p * P,
                                  .ldy = t->dp,
                                  .x = b->gp + base,
                                  .ldx = t->nk,
                                  .w = b->kp + (p * t->nk + base) * P,
                                  .m = m,
                                  .k = end - base,
                                  .carry = false});
    for (int64_t r = 0; r < m; r++)
        memcpy(sd_mat_row(t->s->gq, i0 + r) + col, b->gq + r * t->dp, (size_t)t->d * sizeof(float));
    turn(b->st, b->gp + base, t->nk, m, end - base);
    for (int64_t p = 0; p * P < t->d; p++)
        tile_product(t, (sd_tile){.y = b->gk + base * t->dp + p * P,
                                  .ldy = t->dp,
                                  .x = b->st,
                                  .ldx = TILE,
                                  .w = b->qp + p * TILE * P,
                                  .m = end - base,
                                  .k = m,
                                  .carry = true});
    turn(b->st, b->s + base, t->nk, m, end - base);
    for (int64_t p = 0; p * P < t->d; p++)
        tile_product(t, (sd_tile){.y = b->gv + base * t->dp + p * P,
                                  .ldy = t->dp,
                                  .x = b->st,
                                  .ldx = TILE,
                                  .w = b->gop + p * TILE * P,
                                  .m = end - base,
                                  .k = m,
                                  .carry = true});
}

static void run_task(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const attn_job *j = arg;
    (void)chunk;
    for (int64_t i = begin; i < end; i++) {
        const int n_kv = j->o->n_head_kv, group = j->o->n_head / n_kv, kv = (int)(i % n_kv);
        task t = {.j = j, .s = &j->doc[i / n_kv], .d = j->o->d_head};
        t.n = t.s->q.rows;
        t.nk = sd_attn_bwd__up(t.n);
        t.dp = sd_attn_bwd__up(t.d);
        lay(&t.b, j->scratch + (size_t)sd_par_worker() * j->worker_bytes, t.n, t.d);
        for (int64_t p = 0; p * P < t.n; p++) {
            panel_rows(t.b.kt + p * P * t.d, t.s->k, p * P, kv * t.d, t.d);
            panel_rows(t.b.vt + p * P * t.d, t.s->v, p * P, kv * t.d, t.d);
        }
        panel_cols(t.b.kp, t.nk, t.s->k.data + kv * t.d, t.s->k.ld, t.n, t.d);
        memset(t.b.gk, 0, (size_t)(t.nk * t.dp) * sizeof(float));
        memset(t.b.gv, 0, (size_t)(t.nk * t.dp) * sizeof(float));
        for (t.head = kv * group; t.head < (kv + 1) * group; t.head++)
            for (int64_t i0 = 0; i0 < t.n; i0 += TILE) rows_bwd(&t, i0, t.n - i0 < TILE ? t.n - i0 : TILE);
        for (int64_t r = 0; r < t.n; r++) {
            memcpy(sd_mat_row(t.s->gk, r) + kv * t.d, t.b.gk + r * t.dp, (size_t)t.d * sizeof(float));
            memcpy(sd_mat_row(t.s->gv, r) + kv * t.d, t.b.gv + r * t.dp, (size_t)t.d * sizeof(float));
        }
    }
}

void sd_attn_bwd(const sd_exec *ex, const sd_attn_grad *o, const sd_attn_doc *doc, int n_doc, void *scratch)
{
    int64_t longest = 0;
    for (int i = 0; i < n_doc; i++)
        if (doc[i].q.rows > longest) longest = doc[i].q.rows;
    if (sd_attn_bwd__in_half(ex, o)) {
        sd_attn_bwd_half__run(ex, o, doc, n_doc, longest, scratch);
        return;
    }
    attn_job j = {.ex = ex,
                  .ops = sd_kern_ops_select(ex->cpu.flags),
                  .kern = sd_kern_train_select(ex->cpu.flags),
                  .o = o,
                  .doc = doc,
                  .scratch = scratch};
    j.worker_bytes = lay(&(bench){0}, NULL, longest, o->d_head);
    sd_parallel_for(ex->n_threads, (int64_t)n_doc * o->n_head_kv, 1, run_task, &j);
}
