/* Cross-entropy over tiles of the vocabulary: two products a tile forward (scores, weighted rows), two for the head's
 * own gradient. Rows are updated between them in parallel; every sum runs in the order of the vocabulary. */
#include "num/xent.h"

#include "base/par.h"
#include "num/kern_train.h"
#include "num/product.h"

#include <math.h>
#include <string.h>

enum { CHUNK_ROWS = 16 };

typedef struct job {
    const sd_exec *ex;
    const sd_kern_train *kern;
    const sd_xent *x;
    const float *row; /* weights of rows, backward of the head */
    float *tile;      /* [n, SD_XENT_TILE] */
    float *max, *sum; /* [n] running */
    float *lt, *ft;   /* [n] the target's logit and f */
    uint16_t *half;   /* [n, sd_prod_half_ld(SD_XENT_TILE)] the tile rounded, where the CPU multiplies bf16 */
    uint16_t *half_h; /* h rounded, once for all tiles */
    sd_half h;        /* which is there */
    int64_t v0, nv;   /* rows of W in the tile */
    void *product;    /* scratch */
} job;

static size_t lay(job *j, uint8_t *mem, int64_t n, int64_t d)
{
    size_t at = 0;
    float **const field[] = {&j->tile, &j->max, &j->sum, &j->lt, &j->ft};
    const int64_t cols[] = {SD_XENT_TILE, 1, 1, 1, 1};
    for (size_t i = 0; i < 5; i++) {
        if (mem) *field[i] = (float *)(void *)(mem + at);
        at += sd_arena_need((size_t)(n * cols[i]) * sizeof(float));
    }
    if (mem) j->half = (uint16_t *)(void *)(mem + at);
    at += sd_arena_need(sd_prod_half_bytes(n, SD_XENT_TILE));
    if (mem) j->half_h = (uint16_t *)(void *)(mem + at);
    at += sd_arena_need(sd_prod_half_bytes(n, d));
    if (mem) j->product = mem + at;
    return at;
}

static void round_h(job *j)
{
    if (j->x->bf16) j->h = sd_prod_round(j->ex, j->x->h, j->half_h);
    if (!j->x->bf16 || !sd_prod_multiplies_bf16(j->ex)) j->half = NULL;
}

/* Row i of the tile, once it is what will be multiplied. */
static void round_row(const job *j, int64_t i)
{
    if (!j->half) return;
    uint16_t *to = j->half + i * sd_prod_half_ld(SD_XENT_TILE);
    j->ex->kern->to_bf16(to, j->tile + i * SD_XENT_TILE, j->nv);
    if (j->nv & 1) to[j->nv] = 0;
}

static sd_half tile_half(const job *j)
{
    return (sd_half){j->half, sd_prod_half_ld(SD_XENT_TILE)};
}

size_t sd_xent_scratch(const sd_exec *ex, int64_t n, int64_t d)
{
    /* The three products: [n, tile] over d, [n, d] over a tile, [tile, d] over n. */
    const size_t a = sd_prod_scratch(ex, n, d > SD_XENT_TILE ? d : SD_XENT_TILE),
                 b = sd_prod_scratch(ex, SD_XENT_TILE, n);
    return lay(&(job){0}, NULL, n, d) + (a > b ? a : b);
}

sd_wmat sd_xent__tile(const sd_wmat *of, int64_t v0, int64_t n)
{
    sd_wmat w = *of;
    if (w.perm)
        w.perm += v0;
    else
        w.data = sd_wmat_row(of, v0);
    w.rows = n;
    return w;
}

static sd_mat tile_of(const job *j)
{
    return (sd_mat){j->tile, j->x->h.rows, j->nv, SD_XENT_TILE};
}

/* Caps a row of logits in place and leaves f in the row's target only; p f comes from the capped logits again. */
static void cap_row(float *l, int64_t n, float cap)
{
    for (int64_t i = 0; i < n; i++) l[i] = cap * tanhf(l[i] / cap);
}
static float slope(float capped, float cap)
{
    const float y = capped / cap;
    return 1.0f - y * y;
}

static void fwd_rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const job *j = arg;
    const sd_xent *x = j->x;
    (void)chunk;
    for (int64_t i = begin; i < end; i++) {
        float *l = j->tile + i * SD_XENT_TILE, f[SD_XENT_TILE];
        const int64_t t = x->target[i] - j->v0;
        if (x->softcap > 0.0f) {
            cap_row(l, j->nv, x->softcap);
            for (int64_t v = 0; v < j->nv; v++) f[v] = slope(l[v], x->softcap);
        }
        if (t >= 0 && t < j->nv) {
            j->lt[i] = l[t];
            j->ft[i] = x->softcap > 0.0f ? f[t] : 1.0f;
        }
        for (int k = 0; k < x->n_also; k++) {
            const int64_t a = x->also[k] - j->v0;
            if (a >= 0 && a < j->nv) x->lp_also[i * x->n_also + k] = l[a];
        }
        const float m = j->kern->max(l, j->nv), old = j->max[i], now = m > old ? m : old;
        if (x->top && m > old) {
            int32_t at = 0;
            while (at < j->nv && l[at] != m) at++;
            x->top[i] = (int32_t)j->v0 + at;
        }
        const float shrink = old == -INFINITY ? 0.0f : expf(old - now);
        j->max[i] = now;
        j->sum[i] = j->sum[i] * shrink + j->kern->exp_sum(l, now, j->nv);
        if (!x->gh.data) continue;
        if (x->softcap > 0.0f)
            for (int64_t v = 0; v < j->nv; v++) l[v] *= f[v];
        round_row(j, i);
        float *g = sd_mat_row(x->gh, i);
        if (shrink != 1.0f)
            for (int64_t c = 0; c < x->gh.cols; c++) g[c] *= shrink;
    }
}

/* lp, and gh from sums to gradients. */
static void end_rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const job *j = arg;
    const sd_xent *x = j->x;
    (void)chunk;
    for (int64_t i = begin; i < end; i++) {
        const double lse = (double)j->max[i] + log((double)j->sum[i]);
        x->lse[i] = (float)lse;
        x->lp[i] = (float)((double)j->lt[i] - lse);
        for (int k = 0; k < x->n_also; k++) {
            float *a = &x->lp_also[i * x->n_also + k];
            *a = (float)((double)*a - lse);
        }
        if (!x->gh.data) continue;
        float *g = sd_mat_row(x->gh, i), w[SD_XENT_TILE];
        const sd_dtype_info *info = sd_dtype_get(x->w.dtype);
        const uint8_t *row = sd_wmat_row(&x->w, x->target[i]);
        for (int64_t c0 = 0; c0 < x->gh.cols; c0 += SD_XENT_TILE) { /* a tile is a multiple of every block */
            const int64_t n = x->gh.cols - c0 < SD_XENT_TILE ? x->gh.cols - c0 : SD_XENT_TILE;
            info->decode(w, row + (size_t)(c0 / info->block) * info->bytes, n);
            for (int64_t c = 0; c < n; c++) g[c0 + c] = w[c] * j->ft[i] - g[c0 + c] / j->sum[i];
        }
    }
}

static void scores(const job *j)
{
    sd_prod_run(
        j->ex,
        &(sd_prod){
            .kind = SD_PROD_NT, .bf16 = j->x->bf16, .c = tile_of(j), .a = j->x->h, .b = sd_xent__tile(&j->x->w, j->v0, j->nv), .a_half = j->h},
        j->product);
}

void sd_xent_fwd(const sd_exec *ex, const sd_xent *x, void *scratch)
{
    job j = {.ex = ex, .kern = sd_kern_train_select(ex->cpu.flags), .x = x};
    const int64_t n = x->h.rows, V = x->w.rows;
    SD_ASSERT(x->w.cols == x->h.cols);
    if (n == 0) return;
    lay(&j, scratch, n, x->h.cols);
    round_h(&j);
    for (int64_t i = 0; i < n; i++) {
        SD_ASSERT(x->target[i] >= 0 && x->target[i] < V);
        j.max[i] = -INFINITY;
        if (x->top) x->top[i] = -1;
        j.sum[i] = 0.0f;
        if (x->gh.data) memset(sd_mat_row(x->gh, i), 0, (size_t)x->gh.cols * sizeof(float));
    }
    for (j.v0 = 0; j.v0 < V; j.v0 += SD_XENT_TILE) {
        j.nv = V - j.v0 < SD_XENT_TILE ? V - j.v0 : SD_XENT_TILE;
        scores(&j);
        sd_parallel_for(ex->n_threads, n, CHUNK_ROWS, fwd_rows, &j);
        if (x->gh.data)
            sd_prod_run(ex,
                        &(sd_prod){.kind = SD_PROD_NN,
                                   .accumulate = true,
                                   .bf16 = x->bf16,
                                   .c = x->gh,
                                   .a = tile_of(&j),
                                   .b = sd_xent__tile(&x->w, j.v0, j.nv),
                                   .a_half = tile_half(&j)},
                        j.product);
    }
    sd_parallel_for(ex->n_threads, n, CHUNK_ROWS, end_rows, &j);
}

/* The tile's logits become row_i (1[v = t] - p_v) f_v. */
static void weight_rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const job *j = arg;
    const sd_xent *x = j->x;
    (void)chunk;
    for (int64_t i = begin; i < end; i++) {
        float *l = j->tile + i * SD_XENT_TILE, f[SD_XENT_TILE];
        const int64_t t = x->target[i] - j->v0;
        if (x->softcap > 0.0f) {
            cap_row(l, j->nv, x->softcap);
            for (int64_t v = 0; v < j->nv; v++) f[v] = slope(l[v], x->softcap);
        }
        (void)j->kern->exp_sum(l, x->lse[i], j->nv);
        j->kern->scale(l, -j->row[i], j->nv);
        if (t >= 0 && t < j->nv) l[t] += j->row[i];
        if (x->softcap > 0.0f)
            for (int64_t v = 0; v < j->nv; v++) l[v] *= f[v];
        round_row(j, i);
    }
}

void sd_xent_bwd_w(const sd_exec *ex, const sd_xent *x, sd_mat gw, const float *row, void *scratch)
{
    job j = {.ex = ex, .kern = sd_kern_train_select(ex->cpu.flags), .x = x, .row = row};
    const int64_t V = x->w.rows;
    SD_ASSERT(gw.rows == V && gw.cols == x->h.cols && x->h.ld == x->h.cols);
    if (x->h.rows == 0) return;
    lay(&j, scratch, x->h.rows, x->h.cols);
    round_h(&j);
    for (j.v0 = 0; j.v0 < V; j.v0 += SD_XENT_TILE) {
        j.nv = V - j.v0 < SD_XENT_TILE ? V - j.v0 : SD_XENT_TILE;
        scores(&j);
        sd_parallel_for(ex->n_threads, x->h.rows, CHUNK_ROWS, weight_rows, &j);
        sd_prod_run(ex,
                    &(sd_prod){.kind = SD_PROD_TN,
                               .accumulate = true,
                               .bf16 = x->bf16,
                               .c = sd_mat_rows(gw, j.v0, j.nv),
                               .a = tile_of(&j),
                               .b = sd_wmat_of(x->h.data, x->h.rows, x->h.cols),
                               .a_half = tile_half(&j),
                               .b_half = j.h},
                    j.product);
    }
}
