/* Distillation over tiles of the vocabulary: two products a tile for the softmaxes' sums, then two again and one for each
 * gradient. Rows are updated between them in parallel; every sum runs in the order of the vocabulary. */
#include "num/distill.h"

#include "base/par.h"
#include "num/kern_train.h"
#include "num/product.h"

#include <math.h>
#include <string.h>

enum { CHUNK_ROWS = 16 };

/* One softmax on its way. */
typedef struct side {
    float *tile; /* [n, SD_XENT_TILE] */
    float *max, *sum;
    float *lse; /* [n] of the logits over T; takes max's place */
} side;

typedef struct job {
    const sd_exec *ex;
    const sd_kern_train *kern;
    const sd_distill *x;
    side s, t;
    int64_t v0, nv; /* rows of both heads in the tile */
    void *product;  /* scratch */
} job;

static size_t lay(job *j, uint8_t *mem, int64_t n)
{
    size_t at = 0;
    float **const field[] = {&j->s.tile, &j->t.tile, &j->s.max, &j->s.sum, &j->t.max, &j->t.sum};
    const int64_t cols[] = {SD_XENT_TILE, SD_XENT_TILE, 1, 1, 1, 1};
    for (size_t i = 0; i < sizeof cols / sizeof *cols; i++) {
        if (mem) *field[i] = (float *)(void *)(mem + at);
        at += sd_arena_need((size_t)(n * cols[i]) * sizeof(float));
    }
    j->s.lse = j->s.max, j->t.lse = j->t.max;
    if (mem) j->product = mem + at;
    return at;
}

size_t sd_distill_scratch(const sd_exec *ex, int64_t n, int64_t d_student, int64_t d_teacher)
{
    int64_t k = d_student > d_teacher ? d_student : d_teacher;
    if (k < SD_XENT_TILE) k = SD_XENT_TILE;
    const size_t a = sd_prod_scratch(ex, n, k), b = sd_prod_scratch(ex, SD_XENT_TILE, n);
    return lay(&(job){0}, NULL, n) + (a > b ? a : b);
}

static void scores(const job *j, const sd_distill_side *of, float *tile)
{
    const sd_mat c = {tile, of->h.rows, j->nv, SD_XENT_TILE};
    sd_prod_run(j->ex, &(sd_prod){.kind = SD_PROD_NT, .bf16 = of->bf16, .c = c, .a = of->h, .b = sd_xent__tile(&of->w, j->v0, j->nv)},
                j->product);
}

/* Logits to capped logits over T. */
static void soften(float *l, int64_t n, float cap, float temperature)
{
    const float by = 1.0f / temperature;
    if (cap > 0.0f)
        for (int64_t v = 0; v < n; v++) l[v] = cap * tanhf(l[v] / cap);
    for (int64_t v = 0; v < n; v++) l[v] *= by;
}

/* A row of a side in the first pass: its running maximum and sum. */
static void gather(const job *j, const side *s, int64_t i, float cap)
{
    float *l = s->tile + i * SD_XENT_TILE;
    soften(l, j->nv, cap, j->x->temperature);
    const float m = j->kern->max(l, j->nv), old = s->max[i], now = m > old ? m : old;
    const float shrink = old == -INFINITY ? 0.0f : expf(old - now);
    s->max[i] = now;
    s->sum[i] = s->sum[i] * shrink + j->kern->exp_sum(l, now, j->nv);
}

static void sum_rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const job *j = arg;
    (void)chunk;
    for (int64_t i = begin; i < end; i++) {
        gather(j, &j->s, i, j->x->student.softcap);
        gather(j, &j->t, i, j->x->teacher.softcap);
    }
}

/* KL's share of a tile, and the student's logits become weight T (p - q) f. */
static void weigh_rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const job *j = arg;
    const sd_distill *x = j->x;
    const float T = x->temperature, cap = x->student.softcap, by = x->weight * T;
    (void)chunk;
    for (int64_t i = begin; i < end; i++) {
        float *b = j->s.tile + i * SD_XENT_TILE, *a = j->t.tile + i * SD_XENT_TILE, apart[SD_XENT_TILE], f[SD_XENT_TILE];
        soften(b, j->nv, cap, T);
        soften(a, j->nv, x->teacher.softcap, T);
        for (int64_t v = 0; v < j->nv; v++) {
            const float y = cap > 0.0f ? b[v] * T / cap : 0.0f;
            f[v] = 1.0f - y * y;
            apart[v] = (a[v] - j->t.lse[i]) - (b[v] - j->s.lse[i]);
        }
        (void)j->kern->exp_sum(b, j->s.lse[i], j->nv);
        (void)j->kern->exp_sum(a, j->t.lse[i], j->nv);
        x->kl[i] += T * T * j->kern->dot(a, apart, j->nv);
        for (int64_t v = 0; v < j->nv; v++) b[v] = by * (b[v] - a[v]) * f[v];
    }
}

static void tile(job *j, int64_t v0, void (*rows)(void *, int64_t, int64_t, int64_t))
{
    const sd_distill *x = j->x;
    const int64_t left = x->student.w.rows - v0;
    j->v0 = v0;
    j->nv = left < SD_XENT_TILE ? left : SD_XENT_TILE;
    scores(j, &x->student, j->s.tile);
    scores(j, &x->teacher, j->t.tile);
    sd_parallel_for(j->ex->n_threads, x->student.h.rows, CHUNK_ROWS, rows, j);
}

static void gradients(const job *j)
{
    const sd_distill *x = j->x;
    const sd_distill_side *s = &x->student;
    const sd_mat g = {j->s.tile, s->h.rows, j->nv, SD_XENT_TILE};
    if (x->gh.data)
        sd_prod_run(j->ex, &(sd_prod){.kind = SD_PROD_NN, .accumulate = true, .bf16 = s->bf16, .c = x->gh, .a = g, .b = sd_xent__tile(&s->w, j->v0, j->nv)},
                    j->product);
    if (x->gw.data)
        sd_prod_run(j->ex, &(sd_prod){.kind = SD_PROD_TN, .accumulate = true, .bf16 = s->bf16, .c = sd_mat_rows(x->gw, j->v0, j->nv), .a = g,
                                      .b = sd_wmat_of(s->h.data, s->h.rows, s->h.cols)},
                    j->product);
}

void sd_distill_run(const sd_exec *ex, const sd_distill *x, void *scratch)
{
    job j = {.ex = ex, .kern = sd_kern_train_select(ex->cpu.flags), .x = x};
    const int64_t n = x->student.h.rows, V = x->student.w.rows;
    SD_ASSERT(x->teacher.h.rows == n && x->teacher.w.rows == V && x->temperature > 0.0f);
    SD_ASSERT(x->student.w.cols == x->student.h.cols && x->teacher.w.cols == x->teacher.h.cols);
    SD_ASSERT(!x->gw.data || x->student.h.ld == x->student.h.cols);
    if (n == 0) return;
    lay(&j, scratch, n);
    for (int64_t i = 0; i < n; i++) {
        j.s.max[i] = j.t.max[i] = -INFINITY;
        j.s.sum[i] = j.t.sum[i] = x->kl[i] = 0.0f;
    }
    for (int64_t v0 = 0; v0 < V; v0 += SD_XENT_TILE) tile(&j, v0, sum_rows);
    for (int64_t i = 0; i < n; i++) {
        j.s.lse[i] = (float)((double)j.s.max[i] + log((double)j.s.sum[i]));
        j.t.lse[i] = (float)((double)j.t.max[i] + log((double)j.t.sum[i]));
    }
    for (int64_t v0 = 0; v0 < V; v0 += SD_XENT_TILE) {
        tile(&j, v0, weigh_rows);
        gradients(&j);
    }
}
