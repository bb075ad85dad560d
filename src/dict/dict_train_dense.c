/* Owns the dense step of kinds with a gate, for the part of a run when many features are active. Two passes, neither of which holds
 * batch x width: over rows, block after block of features, for z and the reconstruction; then over blocks, tile after tile of rows, which
 * computes p again, the gradients of the block's rows and their update. 14 d F products a row, all of them f32 tiles of one thread, so
 * the bits do not depend on the number of threads. */
#include "dict/dict_train_int.h"
#include "base/par.h"
#include <string.h>

enum { T = SD_SCAN_TILE, B = SD_SCAN_BLOCK };

typedef struct dense_worker {
    float *p, *z, *za, *g, *ga;    /* [T, B] */
    float *out[1 + SD_GATE_OWN];   /* [B] a row's gradients by b and own parameters */
    float *turned;                 /* [B, T] */
    float *part;                   /* [B or T, d] one product, to be added */
    float *gD, *gW;                /* [B, d] */
    float *rows;                   /* [B, d] a last, padded block; a tile of x or e */
} dense_worker;

struct sd_dense {
    sd_score *to_feat, *to_dim, *to_grad; /* [T] x [B], [T] x [d], [B] x [d] */
    size_t n_feat, n_dim, n_grad;         /* bytes of their packed weights */
    uint8_t *W, *D, *Dt;                  /* [blocks] packed */
    uint8_t *x, *e;                       /* [tiles] packed */
    dense_worker *worker;
};

typedef struct job { sd_dict_train *t; int64_t n; sd_update u; } job;

static int64_t tiles(int64_t n) { return (n + T - 1) / T; }

sd_status sd_train__dense_new(sd_dict_train *t, const sd_exec *ex, sd_err *err)
{
    const int64_t d = t->opt.d;
    sd_status st = sd_alloc_zero(&t->dense, sizeof *t->dense, "dense products", err);
    if (st) return st;
    sd_dense *s = t->dense;
    st = sd_score_new(&s->to_feat, ex, &(sd_score_shape){T, B, d, false, false}, err);
    if (!st) st = sd_score_new(&s->to_dim, ex, &(sd_score_shape){T, d, B, false, true}, err);
    if (!st) st = sd_score_new(&s->to_grad, ex, &(sd_score_shape){B, d, T, false, true}, err);
    if (st) return st;
    s->n_feat = sd_arena_need(sd_score_pack_bytes(s->to_feat));
    s->n_dim = sd_arena_need(sd_score_pack_bytes(s->to_dim));
    s->n_grad = sd_arena_need(sd_score_pack_bytes(s->to_grad));
    return SD_OK;
}

void sd_train__dense_free(sd_dict_train *t)
{
    if (!t->dense) return;
    sd_score_free(t->dense->to_feat);
    sd_score_free(t->dense->to_dim);
    sd_score_free(t->dense->to_grad);
    sd_free(t->dense);
}

size_t sd_train__dense_lay_out(sd_dict_train *t, uint8_t *base)
{
    sd_dense *s = t->dense;
    const int64_t d = t->opt.d, n = tiles(t->opt.batch), wide = d * (B > T ? B : T);
    size_t at = 0;
    if (!s) return 0;
#define TAKE(p, n) SD_TAKE(base, at, p, n)
    TAKE(s->W, s->n_feat * (size_t)t->n_chunk), TAKE(s->D, s->n_feat * (size_t)t->n_chunk), TAKE(s->Dt, s->n_dim * (size_t)t->n_chunk);
    TAKE(s->x, s->n_grad * (size_t)n), TAKE(s->e, s->n_grad * (size_t)n), TAKE(s->worker, t->n_workers);
    for (int i = 0; i < t->n_workers; i++) {
        dense_worker none = {0}, *w = base ? &s->worker[i] : &none;
        TAKE(w->p, T * B), TAKE(w->z, T * B), TAKE(w->za, T * B), TAKE(w->g, T * B), TAKE(w->ga, T * B), TAKE(w->turned, T * B);
        for (int k = 0; k <= SD_GATE_OWN; k++) TAKE(w->out[k], B);
        TAKE(w->part, wide), TAKE(w->gD, wide), TAKE(w->gW, wide), TAKE(w->rows, wide);
    }
#undef TAKE
    return at;
}

/* `rows` rows of `from`, or a copy padded with zeros when there are fewer than `full`. */
static const float *padded(float *spare, const float *from, int64_t rows, int64_t full, int64_t d)
{
    if (rows >= full) return from;
    memcpy(spare, from, (size_t)(rows * d) * sizeof *spare);
    memset(spare + rows * d, 0, (size_t)((full - rows) * d) * sizeof *spare);
    return spare;
}

static void pack_blocks(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    sd_dict_train *t = ((job *)arg)->t;
    sd_dense *s = t->dense;
    float *spare = s->worker[sd_par_worker()].rows;
    const int64_t d = t->opt.d;
    sd_score_pack(s->to_feat, s->W + (size_t)chunk * s->n_feat, padded(spare, t->W + begin * d, end - begin, B, d));
    const float *D = padded(spare, t->D + begin * d, end - begin, B, d);
    sd_score_pack(s->to_feat, s->D + (size_t)chunk * s->n_feat, D);
    sd_score_pack(s->to_dim, s->Dt + (size_t)chunk * s->n_dim, D);
}

static sd_gate_in gate_in(const sd_dict_train *t, const float *p, int64_t f0, int64_t n)
{
    return (sd_gate_in){p, t->b + f0, {t->own[0] ? t->own[0] + f0 : NULL, t->own[1] ? t->own[1] + f0 : NULL}, (float)t->opt.bandwidth, n};
}

/* p of a tile of rows and a block of features, the bias added. */
static void preacts(const sd_dict_train *t, dense_worker *w, const float *x, int64_t rows, int64_t block, int64_t n_feat)
{
    sd_score_run(t->dense->to_feat, w->p, x, t->dense->W + (size_t)block * t->dense->n_feat);
    for (int64_t r = 0; r < rows; r++) t->kern->axpy(w->p + r * B, 1.0f, t->b + block * B, n_feat);
}

/* Rows and features outside are zero, so that products may run over whole tiles. */
static void activate(const sd_dict_train *t, dense_worker *w, int64_t rows, int64_t f0, int64_t n_feat, sd_row_sums *s)
{
    memset(w->z, 0, sizeof *w->z * T * B);
    memset(w->za, 0, sizeof *w->za * T * B);
    for (int64_t r = 0; r < rows; r++) {
        const sd_gate_in in = gate_in(t, w->p + r * B, f0, n_feat);
        s->penalty += t->gate->forward(w->z + r * B, w->za + r * B, &in);
        for (int64_t i = 0; i < n_feat; i++) s->n_active += w->z[r * B + i] > 0.0f;
    }
}

static void decode(const sd_dict_train *t, dense_worker *w, float *e, const float *z, int64_t rows, int64_t block)
{
    const int64_t d = t->opt.d;
    sd_score_run(t->dense->to_dim, w->part, z, t->dense->Dt + (size_t)block * t->dense->n_dim);
    for (int64_t r = 0; r < rows; r++) t->kern->axpy(e + r * d, 1.0f, w->part + r * d, d);
}

static void rows_pass(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const job *j = arg;
    sd_dict_train *t = j->t;
    dense_worker *w = &t->dense->worker[sd_par_worker()];
    const int64_t d = t->opt.d, n = end - begin;
    const float *x = padded(w->rows, t->x + begin * d, n, T, d);
    sd_row_sums s = {0};
    (void)chunk;
    for (int64_t i = begin * d; i < end * d; i++) t->e[i] = -t->x[i];
    if (t->gate->second) memcpy(t->ea + begin * d, t->e + begin * d, (size_t)(n * d) * sizeof *t->ea);
    for (int64_t blk = 0; blk < t->n_chunk; blk++) {
        const int64_t f0 = blk * B, n_feat = t->opt.m - f0 < B ? t->opt.m - f0 : B;
        preacts(t, w, x, n, blk, n_feat);
        activate(t, w, n, f0, n_feat, &s);
        decode(t, w, t->e + begin * d, w->z, n, blk);
        if (t->gate->second) decode(t, w, t->ea + begin * d, w->za, n, blk);
    }
    for (int64_t r = begin; r < end; r += SD_TRAIN_ROWS) { /* the same chunks of sums as the sparse pass */
        const int64_t c = r / SD_TRAIN_ROWS;
        sd_row_sums *to = &t->sums[c];
        *to = r == begin ? s : (sd_row_sums){0};
        memset(t->row_e + c * d, 0, (size_t)d * sizeof *t->row_e);
        memset(t->row_x + c * d, 0, (size_t)d * sizeof *t->row_x);
        for (int64_t i = r; i < r + SD_TRAIN_ROWS && i < end; i++) {
            const float *e = t->e + i * d, *xi = t->x + i * d;
            to->e2 += (double)t->kern->dot(e, e, d);
            to->x2 += (double)t->kern->dot(xi, xi, d);
            if (t->gate->second) to->more2 += (double)t->kern->dot(t->ea + i * d, t->ea + i * d, d);
            t->kern->axpy(t->row_e + c * d, 1.0f, e, d);
            t->kern->axpy(t->row_x + c * d, 1.0f, xi, d);
        }
    }
}

sd_row_sums sd_train__dense_residual(sd_dict_train *t, const sd_exec *ex, int64_t n)
{
    job j = {.t = t, .n = n};
    sd_parallel_for(ex->n_threads, t->opt.m, B, pack_blocks, &j);
    sd_parallel_for(ex->n_threads, n, T, rows_pass, &j);
    return sd_train__sum_rows(t, n);
}

static void pack_tiles(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    sd_dict_train *t = ((job *)arg)->t;
    sd_dense *s = t->dense;
    float *spare = s->worker[sd_par_worker()].rows;
    const int64_t d = t->opt.d;
    sd_score_pack(s->to_grad, s->x + (size_t)chunk * s->n_grad, padded(spare, t->x + begin * d, end - begin, T, d));
    sd_score_pack(s->to_grad, s->e + (size_t)chunk * s->n_grad, padded(spare, t->e + begin * d, end - begin, T, d));
}

/* out += from^T packed, from [T, B]. */
static void add_turned(const sd_dict_train *t, dense_worker *w, float *out, const float *from, const uint8_t *packed)
{
    const int64_t d = t->opt.d;
    for (int64_t f = 0; f < B; f++)
        for (int64_t r = 0; r < T; r++) w->turned[f * T + r] = from[r * B + f];
    sd_score_run(t->dense->to_grad, w->part, w->turned, packed);
    t->kern->axpy(out, 1.0f, w->part, B * d);
}

/* Gradients of p (into w->za), of b and of own parameters (added up), for one tile of rows. */
static void gate_grads(const job *j, dense_worker *w, int64_t rows, int64_t f0, int64_t n_feat)
{
    sd_dict_train *t = j->t;
    const float two_over_n = (float)(2.0 / (double)j->n), weight = (float)(t->weight / (double)j->n);
    for (int64_t r = 0; r < rows; r++) {
        float *p = w->p + r * B, *g = w->g + r * B, *ga = w->ga + r * B, *z = w->z + r * B;
        const sd_gate_in in = gate_in(t, p, f0, n_feat);
        const sd_gate_out out = {w->za + r * B, w->out[0], {w->out[1], w->out[2]}};
        for (int64_t i = 0; i < n_feat; i++) {
            g[i] *= two_over_n;
            ga[i] *= two_over_n;
            if (z[i] > 0.0f) t->last_fired[f0 + i] = t->n_tokens;
            if (j->u.keep_top && z[i] > t->top[f0 + i]) t->top[f0 + i] = z[i];
        }
        t->gate->backward(&out, g, ga, weight, &in);
        t->kern->axpy(t->gb + f0, 1.0f, w->out[0], n_feat);
        t->kern->axpy(t->gs + f0, 1.0f, w->za + r * B, n_feat);
        for (int k = 0; k < SD_GATE_OWN && t->own[k]; k++) t->kern->axpy(t->gown[k] + f0, 1.0f, w->out[1 + k], n_feat);
    }
}

static void block_pass(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const job *j = arg;
    sd_dict_train *t = j->t;
    const sd_dense *s = t->dense;
    dense_worker *w = &s->worker[sd_par_worker()];
    const int64_t d = t->opt.d, n_feat = end - begin;
    float *part = t->part_bd + chunk * d;
    const size_t bytes = (size_t)n_feat * sizeof(float);
    sd_row_sums unused = {0};
    double norm = 0;
    memset(w->gD, 0, (size_t)(B * d) * sizeof *w->gD);
    memset(w->gW, 0, (size_t)(B * d) * sizeof *w->gW);
    memset(w->ga, 0, sizeof *w->ga * T * B);
    memset(part, 0, (size_t)d * sizeof *part);
    memset(t->gb + begin, 0, bytes), memset(t->gs + begin, 0, bytes);
    for (int k = 0; k < SD_GATE_OWN && t->own[k]; k++) memset(t->gown[k] + begin, 0, bytes);
    for (int64_t i = 0; i < tiles(j->n); i++) {
        const int64_t r0 = i * T, rows = j->n - r0 < T ? j->n - r0 : T;
        preacts(t, w, padded(w->rows, t->x + r0 * d, rows, T, d), rows, chunk, n_feat);
        activate(t, w, rows, begin, n_feat, &unused);
        sd_score_run(s->to_feat, w->g, padded(w->rows, t->e + r0 * d, rows, T, d), s->D + (size_t)chunk * s->n_feat);
        if (t->gate->second) sd_score_run(s->to_feat, w->ga, padded(w->rows, t->ea + r0 * d, rows, T, d), s->D + (size_t)chunk * s->n_feat);
        add_turned(t, w, w->gD, w->z, s->e + (size_t)i * s->n_grad);
        memset(w->za, 0, sizeof *w->za * T * B); /* holds dp from here on */
        gate_grads(j, w, rows, begin, n_feat);
        add_turned(t, w, w->gW, w->za, s->x + (size_t)i * s->n_grad);
    }
    const float two_over_n = (float)(2.0 / (double)j->n);
    for (int64_t i = 0; i < n_feat * d; i++) w->gD[i] *= two_over_n;
    for (int64_t f = begin; f < end; f++) norm += sd_train__apply(&j->u, f, w->gD + (f - begin) * d, w->gW + (f - begin) * d, part);
    t->part_norm[chunk] = norm;
}

double sd_train__dense_update(sd_dict_train *t, const sd_exec *ex, int64_t n)
{
    job j = {.t = t, .n = n, .u = sd_train__update_begin(t, n)};
    sd_parallel_for(ex->n_threads, n, T, pack_tiles, &j);
    sd_parallel_for(ex->n_threads, t->opt.m, B, block_pass, &j);
    return sd_train__update_end(&j.u);
}
