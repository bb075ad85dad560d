/* Attention, backward, in bf16: ops_grad_attn.c with every factor of its five products rounded. A group of GROUP rows has its
 * scores and their derivatives in the first cache until they are rounded; TILE rows together are then turned, in pairs, for the
 * sums of gk and gv. Nothing beyond the panel of a row's last key is multiplied but by the rows of its group. */
#include "num/ops_grad_int.h"

#include "base/par.h"

#include <string.h>

enum { P = SD_PANEL, PAIRS = 32 /* rows that the transposition takes */, TILE = 2 * PAIRS, GROUP = 12 /* rows of a tile kernel */ };

/* One worker's memory; nk: keys rounded up to panels, dp: the head's width likewise. */
typedef struct desk {
    uint32_t *kt, *vt;   /* [nk/32][dp/2][32] keys and values with a panel's 32 keys beside each other, in pairs of columns */
    uint32_t *kp;        /* [dp/32][nk/2][32] keys in panels of columns, in pairs of rows */
    float *gk, *gv;      /* [nk, dp] */
    float *s, *gp, *cap; /* [GROUP, ld]; cap [ld]: the derivative of the soft cap of one row */
    uint16_t *p, *gs;    /* [TILE, nk] */
    uint32_t *pair;      /* [PAIRS, nk] a tile in pairs of rows */
    uint32_t *st;        /* [nk, PAIRS] it turned */
    uint16_t *q, *go;    /* [TILE, dp] */
    uint32_t *qp, *gop;  /* [dp/32][PAIRS][32] */
    float *gq;           /* [GROUP, dp] */
    uint16_t *zero;      /* [nk] */
} desk;

typedef struct task {
    const sd_exec *ex;
    const sd_kern_ops *ops;
    const sd_kern_train *kern;
    const sd_attn_grad *o;
    const sd_attn_doc *doc; /* all, or the task's */
    uint8_t *scratch;
    size_t worker_bytes;
    desk b;
    int64_t n, nk, ld, d, dp; /* ld: of scores, so that rows do not fall on the same cache sets */
    int head;                 /* of queries */
} task;

static int64_t even(int64_t n)
{
    return n + (n & 1);
}

static void *take(uint8_t *mem, size_t *at, int64_t n, size_t bytes)
{
    void *p = mem ? mem + *at : NULL;
    *at += sd_arena_need((size_t)n * bytes);
    return p;
}

static size_t lay(task *t, uint8_t *mem, int64_t n)
{
    size_t at = 0;
    desk *b = &t->b;
    t->n = n, t->nk = sd_attn_bwd__up(n), t->ld = t->nk + P / 2, t->d = t->o->d_head, t->dp = sd_attn_bwd__up(t->d);
    const int64_t nk = t->nk, dp = t->dp;
    b->kt = take(mem, &at, nk * dp / 2, 4), b->vt = take(mem, &at, nk * dp / 2, 4), b->kp = take(mem, &at, nk * dp / 2, 4);
    b->gk = take(mem, &at, nk * dp, 4), b->gv = take(mem, &at, nk * dp, 4);
    b->s = take(mem, &at, GROUP * t->ld, 4), b->gp = take(mem, &at, GROUP * t->ld, 4), b->cap = take(mem, &at, t->ld, 4);
    b->p = take(mem, &at, TILE * nk, 2), b->gs = take(mem, &at, TILE * nk, 2);
    b->pair = take(mem, &at, PAIRS * nk, 4), b->st = take(mem, &at, PAIRS * nk, 4);
    b->q = take(mem, &at, TILE * dp, 2), b->go = take(mem, &at, TILE * dp, 2);
    b->qp = take(mem, &at, PAIRS * dp, 4), b->gop = take(mem, &at, PAIRS * dp, 4);
    b->gq = take(mem, &at, GROUP * dp, 4);
    b->zero = take(mem, &at, nk, 2);
    return at;
}

size_t sd_attn_bwd_half__scratch(const sd_exec *ex, const sd_attn_grad *o, int64_t n_longest)
{
    return (size_t)ex->n_threads * lay(&(task){.o = o}, NULL, n_longest);
}

/* Row r of one head of x, d columns from col, rounded; zeros beyond the last row and column. */
static void round_row(const task *t, uint16_t *to, sd_mat x, int64_t r, int64_t col)
{
    memset(to, 0, (size_t)t->dp * sizeof *to);
    if (r < x.rows) t->ex->kern->to_bf16(to, sd_mat_row(x, r) + col, t->d);
}

/* Panels of a head's keys or values, and where kp is given of their columns. */
static void panels(const task *t, uint32_t *kt, uint32_t *kp, sd_mat x, int64_t col)
{
    const desk *b = &t->b;
    const int64_t half = t->dp / 2;
    uint16_t *rows = b->q; /* not in use yet */
    for (int64_t p = 0; p * P < t->n; p++) {
        const void *src[P];
        for (int64_t i = 0; i < P; i++) round_row(t, rows + i * t->dp, x, p * P + i, col), src[i] = rows + i * t->dp;
        t->kern->transpose(kt + p * half * P, P, src, half);
        for (int64_t i = 0; kp && i < P; i += 2)
            for (int64_t c = 0; c < t->dp; c += P)
                t->kern->pair_bf16(kp + (c / P * (t->nk / 2) + (p * P + i) / 2) * P, rows + i * t->dp + c, rows + (i + 1) * t->dp + c, P);
    }
}

/* Row r of a group, at position i0 + r: p and gs over keys [base, end), zeros where it does not look. */
static void row_bwd(const task *t, int64_t i0, int64_t r, int64_t base, int64_t end, uint16_t *p, uint16_t *gs)
{
    const sd_attn_grad *o = t->o;
    const int64_t hi = i0 + r + 1, lo = o->window > 0 && hi > o->window ? hi - o->window : 0, n = hi - lo;
    float *s = t->b.s + r * t->ld + lo, *g = t->b.gp + r * t->ld + lo;
    sd_attn_bwd__row(o, t->ops, t->kern, s, g, t->b.cap, n);
    t->ex->kern->to_bf16(p + lo, s, n);
    t->ex->kern->to_bf16(gs + lo, g, n);
    for (int64_t c = base; c < lo; c++) p[c] = gs[c] = 0;
    for (int64_t c = hi; c < sd_attn_bwd__up(end); c++) p[c] = gs[c] = 0;
}

/* Rows [g0, g0 + m) of the tile that begins at i0, over keys from base on: p, gs and gq. */
static void group_bwd(const task *t, int64_t i0, int64_t g0, int64_t m, int64_t base)
{
    const desk *b = &t->b;
    const int64_t end = i0 + g0 + m;
    for (int64_t c = base; c < end; c += P) {
        const int64_t at = c * (t->dp / 2);
        sd_tile s = {.y = b->s + c, .ldy = t->ld, .x = b->q + g0 * t->dp, .ldx = t->dp, .w = b->kt + at, .m = m, .k = even(t->d)}, gp = s;
        gp.y = b->gp + c, gp.x = b->go + g0 * t->dp, gp.w = b->vt + at;
        t->ex->kern->tile_bf16(&s);
        t->ex->kern->tile_bf16(&gp);
    }
    for (int64_t r = 0; r < m; r++) row_bwd(t, i0 + g0, r, base, end, b->p + (g0 + r) * t->nk, b->gs + (g0 + r) * t->nk);
    for (int64_t c = 0; c < t->d; c += P)
        t->ex->kern->tile_bf16(&(sd_tile){.y = b->gq + c,
                                          .ldy = t->dp,
                                          .x = b->gs + g0 * t->nk + base,
                                          .ldx = t->nk,
                                          .w = b->kp + (c / P * (t->nk / 2) + base / 2) * P,
                                          .m = m,
                                          .k = even(end) - base});
    for (int64_t r = 0; r < m; r++) memcpy(sd_mat_row(t->doc->gq, i0 + g0 + r) + t->head * t->d, b->gq + r * t->dp, (size_t)t->d * sizeof(float));
}

/* g [nk, dp] += x^T y over the m rows of the tile; x [m, nk] p or gs, y [dp/32][PAIRS][32]. */
static void add_turned(const task *t, float *g, const uint16_t *x, const uint32_t *y, int64_t i0, int64_t m, int64_t base)
{
    const desk *b = &t->b;
    const int64_t end = i0 + m, n = sd_attn_bwd__up(end) - base;
    const void *src[PAIRS];
    for (int64_t i = 0; i < PAIRS; i++) {
        src[i] = b->pair; /* what is not of the tile is turned, and not multiplied */
        if (2 * i >= m) continue;
        const uint16_t *row = x + 2 * i * t->nk + base;
        uint32_t *pair = b->pair + i * t->nk;
        t->kern->pair_bf16(pair, row, 2 * i + 1 < m ? row + t->nk : b->zero, n);
        src[i] = pair;
    }
    t->kern->transpose(b->st, PAIRS, src, n);
    for (int64_t c = base, next; c < end; c = next) {
        const int64_t r0 = c > i0 ? c - i0 : 0; /* the first row that sees key c */
        next = c > i0 ? c + P : i0 + P;
        for (int64_t k = 0; k < t->d; k += P)
            t->ex->kern->tile_bf16(&(sd_tile){.y = g + c * t->dp + k,
                                              .ldy = t->dp,
                                              .x = (const uint16_t *)(const void *)(b->st + (c - base) * PAIRS) + r0,
                                              .ldx = TILE,
                                              .w = y + (k / P * PAIRS + r0 / 2) * P,
                                              .m = (next < end ? next : end) - c,
                                              .k = even(m) - r0,
                                              .carry = true});
    }
}

static void rows_bwd(const task *t, int64_t i0, int64_t m)
{
    const desk *b = &t->b;
    const int64_t col = t->head * t->d, w = t->o->window, base = w > 0 && i0 + 1 > w ? (i0 + 1 - w) / P * P : 0;
    for (int64_t r = 0; r < even(m); r++) {
        round_row(t, b->q + r * t->dp, t->doc->q, i0 + r, col);
        round_row(t, b->go + r * t->dp, t->doc->go, i0 + r, col);
    }
    for (int64_t r = 0; r < m; r += 2)
        for (int64_t c = 0; c < t->dp; c += P) {
            const int64_t to = (c / P * PAIRS + r / 2) * P, at = r * t->dp + c;
            t->kern->pair_bf16(b->qp + to, b->q + at, b->q + at + t->dp, P);
            t->kern->pair_bf16(b->gop + to, b->go + at, b->go + at + t->dp, P);
        }
    for (int64_t g = 0; g < m; g += GROUP) group_bwd(t, i0, g, m - g < GROUP ? m - g : GROUP, base);
    add_turned(t, b->gk, b->gs, b->qp, i0, m, base);
    add_turned(t, b->gv, b->p, b->gop, i0, m, base);
}

static void run_task(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const task *all = arg;
    (void)chunk;
    for (int64_t i = begin; i < end; i++) {
        const int n_kv = all->o->n_head_kv, group = all->o->n_head / n_kv, kv = (int)(i % n_kv);
        task t = *all;
        t.doc = &all->doc[i / n_kv];
        (void)lay(&t, all->scratch + (size_t)sd_par_worker() * all->worker_bytes, t.doc->q.rows);
        const int64_t col = kv * t.d;
        memset(t.b.zero, 0, (size_t)t.nk * sizeof *t.b.zero);
        panels(&t, t.b.kt, t.b.kp, t.doc->k, col);
        panels(&t, t.b.vt, NULL, t.doc->v, col);
        memset(t.b.gk, 0, (size_t)(t.nk * t.dp) * sizeof(float));
        memset(t.b.gv, 0, (size_t)(t.nk * t.dp) * sizeof(float));
        for (t.head = kv * group; t.head < (kv + 1) * group; t.head++)
            for (int64_t i0 = 0; i0 < t.n; i0 += TILE) rows_bwd(&t, i0, t.n - i0 < TILE ? t.n - i0 : TILE);
        for (int64_t r = 0; r < t.n; r++) {
            memcpy(sd_mat_row(t.doc->gk, r) + col, t.b.gk + r * t.dp, (size_t)t.d * sizeof(float));
            memcpy(sd_mat_row(t.doc->gv, r) + col, t.b.gv + r * t.dp, (size_t)t.d * sizeof(float));
        }
    }
}

void sd_attn_bwd_half__run(const sd_exec *ex, const sd_attn_grad *o, const sd_attn_doc *doc, int n_doc, int64_t n_longest, void *scratch)
{
    task t = {.ex = ex, .ops = sd_kern_ops_select(ex->cpu.flags), .kern = sd_kern_train_select(ex->cpu.flags), .o = o, .doc = doc, .scratch = scratch};
    t.worker_bytes = lay(&t, NULL, n_longest);
    sd_parallel_for(ex->n_threads, (int64_t)n_doc * o->n_head_kv, 1, run_task, &t);
}
