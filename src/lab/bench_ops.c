/* Owns: the clocks around single ops of a model. All layers run in turn, so that one layer's weights have left the caches
 * before they are read again, as in a step; attention has caches of its own, filled with random rows. */
#include "lab/bench.h"

#include "base/rng.h"
#include "num/ops.h"

#include <string.h>

enum { PASSES = 3 /* the fastest counts: other processes only ever slow an op down */ };

/* Behind the matrices. The head stands in the decode phase alone. */
enum { OP_ATTENTION = SD_MAT_COUNT, OP_NORM, OP_ROPE, OP_GATE, OP_HEAD, N_OPS };
_Static_assert(SD_BENCH_OPS == 2 * N_OPS, "room for every op of both phases");
static const char *const names[N_OPS] = {"attn_q", "attn_k", "attn_v", "attn_o", "mlp_gate", "mlp_up", "mlp_down", "attention", "norm", "rope", "gate", "head"};

/* One phase: n rows a step, at `depth` positions. */
typedef struct bench_rows {
    const sd_exec *ex;
    const sd_model *m;
    int64_t n, depth;
    float *x, *y; /* [n, widest] */
    float *angle; /* cos and sin [n, n_rot / 2] each */
    void *scratch, *attn_scratch;
    uint8_t *kv;
    size_t kv_half; /* bytes of the keys of a layer */
} bench_rows;

static int64_t widest(const sd_model *m)
{
    int64_t most = (int64_t)m->cfg.n_head * m->cfg.d_head;
    for (int l = 0; l < m->n_layer_loaded; l++)
        for (int k = 0; k < SD_MAT_COUNT; k++) {
            const sd_wmat *w = &m->block[l].mat[k].w;
            if (!m->block[l].mat[k].l) continue;
            if (w->rows > most) most = w->rows;
            if (w->cols > most) most = w->cols;
        }
    return most;
}

static size_t most_scratch(const sd_model *m, int64_t n)
{
    size_t most = m->head ? sd_linear_scratch(m->head, 1) : 0;
    for (int l = 0; l < m->n_layer_loaded; l++)
        for (int k = 0; k < SD_MAT_COUNT; k++) {
            const sd_linear *w = m->block[l].mat[k].l;
            const size_t s = w ? sd_linear_scratch(w, n) : 0;
            if (s > most) most = s;
        }
    return most;
}

static sd_attn_opt attn_of(const sd_model *m, int layer)
{
    const sd_config *c = &m->cfg;
    return (sd_attn_opt){.n_head = c->n_head,
                         .n_head_kv = c->n_head_kv,
                         .d_head = c->d_head,
                         .scale = c->attn_scale,
                         .window = m->block[layer].window,
                         .cap = m->wire.attn_cap};
}

static sd_kv kv_of(const bench_rows *b, int layer)
{
    uint8_t *k = b->kv + 2 * b->kv_half * (size_t)layer;
    return (sd_kv){.k = k,
                   .v = k + b->kv_half,
                   .cap = sd_kv_cap(b->depth + b->n),
                   .n_head = b->m->cfg.n_head_kv,
                   .d_head = b->m->cfg.d_head,
                   .type = b->m->kv};
}

static sd_status take(bench_rows *b, sd_err *err)
{
    const sd_model *m = b->m;
    const sd_attn_opt o = attn_of(m, 0);
    const int64_t width = widest(m);
    size_t half = 0;
    sd_status st = SD_OK;
    if (!sd_kv_bytes(&half, sd_kv_cap(b->depth + b->n), m->cfg.n_head_kv, m->cfg.d_head, m->kv))
        return sd_fail(err, SD_E_NOMEM, "a cache of %lld positions does not fit in the address space", (long long)(b->depth + b->n));
    b->kv_half = sd_arena_need(half);
    st = sd_alloc(&b->x, (size_t)(b->n * width) * sizeof(float), "rows", err);
    if (!st) st = sd_alloc(&b->y, (size_t)(b->n * width) * sizeof(float), "rows", err);
    if (!st) st = sd_alloc(&b->angle, (size_t)(b->n * m->cfg.n_rot + 1) * sizeof(float), "angles", err);
    if (!st) st = sd_alloc(&b->scratch, most_scratch(m, b->n) + SD_ALIGN, "scratch", err);
    if (!st) st = sd_alloc(&b->attn_scratch, sd_attn_scratch(b->ex, &o, b->depth + b->n), "scratch", err);
    if (!st) st = sd_alloc_zero(&b->kv, 2 * b->kv_half * (size_t)m->n_layer_loaded, "a key-value cache", err);
    if (st) return st;
    sd_rng rng = sd_rng_make(0, "bench ops", (uint64_t)b->n);
    for (int64_t i = 0; i < b->n * width; i++) b->x[i] = sd_rng_normal(&rng);
    for (int64_t i = 0; i < b->n * m->cfg.n_rot / 2; i++) b->angle[i] = 0.8f, b->angle[b->n * m->cfg.n_rot / 2 + i] = 0.6f;
    const int64_t cols = (int64_t)m->cfg.n_head_kv * m->cfg.d_head;
    for (int l = 0; l < m->n_layer_loaded; l++)
        for (int64_t p = 0; p < b->depth + b->n; p++)
            sd_kv_write(b->ex, kv_of(b, l), p, sd_mat_of(b->x, 1, cols), sd_mat_of(b->x, 1, cols));
    return SD_OK;
}

static void release(bench_rows *b)
{
    sd_free(b->x), sd_free(b->y), sd_free(b->angle), sd_free(b->scratch), sd_free(b->attn_scratch), sd_free(b->kv);
}

/* The norms of a layer that are as wide as the stream. */
static int norms_of(const sd_block *k)
{
    return (k->attn_norm.g != NULL) + (k->attn_post.g != NULL) + (k->mlp_norm.g != NULL) + (k->mlp_post.g != NULL);
}

/* Seconds of what a layer does besides products and attention. */
static void small_ops(const bench_rows *b, int layer, double t[N_OPS])
{
    const sd_model *m = b->m;
    const sd_config *c = &m->cfg;
    const sd_block *k = &m->block[layer];
    const sd_norm *own = k->attn_norm.g ? &k->attn_norm : &k->attn_post;
    const sd_mat x = sd_mat_of(b->x, b->n, c->d_model), y = sd_mat_of(b->y, b->n, c->d_model);
    const sd_mat gate = sd_mat_of(b->y, b->n, c->d_ffn), up = c->gated ? sd_mat_of(b->x, b->n, c->d_ffn) : (sd_mat){0};
    double t0 = sd_now();
    for (int i = 0; i < norms_of(k); i++)
        if (m->wire.norm == SD_NORM_LAYER)
            sd_layernorm(b->ex, y, x, own->g, own->b, c->norm_eps);
        else
            sd_rmsnorm(b->ex, y, x, own->g, c->norm_eps);
    t[OP_NORM] += sd_now() - t0;
    t0 = sd_now();
    if (m->wire.n_rope) {
        const int half = c->n_rot / 2;
        const float *sin = b->angle + b->n * half;
        sd_rope_apply(b->ex, sd_mat_of(b->y, b->n, (int64_t)c->n_head * c->d_head), c->n_head, half, b->angle, sin);
        sd_rope_apply(b->ex, sd_mat_of(b->y, b->n, (int64_t)c->n_head_kv * c->d_head), c->n_head_kv, half, b->angle, sin);
    }
    t[OP_ROPE] += sd_now() - t0;
    memcpy(b->y, b->x, (size_t)(b->n * c->d_ffn) * sizeof(float)); /* as after a product: written lately, no denormals */
    t0 = sd_now();
    sd_nonlin_mul(b->ex, m->wire.act, gate, gate, up);
    t[OP_GATE] += sd_now() - t0;
}

/* Operations and bytes of a layer's small op k: what it reads and writes once, 4 bytes a number. */
static void small_work(const bench_rows *b, int layer, int k, double *ops, double *bytes)
{
    const sd_config *c = &b->m->cfg;
    const double n = (double)b->n, heads = (double)(c->n_head + c->n_head_kv);
    const double normed = n * (double)c->d_model * norms_of(&b->m->block[layer]);
    double done = 0, moved = 0;
    if (k == OP_NORM) /* a square and its sum, two products a number; a mean, a difference and a bias more in a layer norm */
        done = normed * (b->m->wire.norm == SD_NORM_LAYER ? 7 : 4), moved = 2 * normed;
    if (k == OP_ROPE && b->m->wire.n_rope) /* four products and two sums a pair */
        done = 3 * n * heads * c->n_rot, moved = 2 * n * heads * c->n_rot;
    if (k == OP_GATE) /* counted as one function and one product */
        done = 2 * n * (double)c->d_ffn, moved = (c->gated ? 3 : 2) * n * (double)c->d_ffn;
    *ops += done;
    *bytes += 4 * moved;
}

/* Seconds of one pass over all layers, by op. */
static void pass(const bench_rows *b, double t[N_OPS])
{
    const sd_model *m = b->m;
    for (int k = 0; k < N_OPS; k++) t[k] = 0;
    for (int l = 0; l < m->n_layer_loaded; l++) {
        for (int k = 0; k < SD_MAT_COUNT; k++) {
            const sd_matrix *a = &m->block[l].mat[k];
            if (!a->l) continue;
            const double t0 = sd_now();
            sd_linear_fwd(b->ex, a->l, sd_mat_of(b->y, b->n, a->w.rows), sd_mat_of(b->x, b->n, a->w.cols), false, b->scratch);
            t[k] += sd_now() - t0;
        }
        const int64_t cols = (int64_t)m->cfg.n_head * m->cfg.d_head;
        const sd_attn_opt o = attn_of(m, l);
        const sd_attn_seq s = {.out = sd_mat_of(b->y, b->n, cols), .q = sd_mat_of(b->x, b->n, cols), .kv = kv_of(b, l), .pos0 = b->depth};
        const double t0 = sd_now();
        sd_attn(b->ex, &o, &s, 1, b->attn_scratch);
        t[OP_ATTENTION] += sd_now() - t0;
        small_ops(b, l, t);
    }
}

static double head_seconds(const bench_rows *b, float *logits)
{
    const sd_model *m = b->m;
    const double t0 = sd_now();
    sd_linear_fwd(b->ex, m->head, sd_mat_of(logits, 1, m->cfg.n_vocab), sd_mat_of(b->x, 1, m->cfg.d_model), false, b->scratch);
    return sd_now() - t0;
}

/* Operations and bytes of op k in one step of this phase. */
static void add_op(sd_bench_model *out, const bench_rows *b, const char *phase, int k, double seconds)
{
    const sd_model *m = b->m;
    const sd_config *c = &m->cfg;
    sd_bench_op *op = &out->op[out->n_ops];
    double ops = 0, bytes = 0;
    for (int l = 0; l < m->n_layer_loaded; l++) {
        if (k < SD_MAT_COUNT && m->block[l].mat[k].l) {
            const sd_matrix *a = &m->block[l].mat[k];
            ops += 2.0 * (double)b->n * (double)a->w.rows * (double)a->w.cols;
            bytes += (double)sd_linear_read_bytes(a->l);
        }
        if (k == OP_ATTENTION) { /* causal: a row sees half of the new keys on average */
            const double keys = (double)b->depth + 0.5 * (double)(b->n + 1);
            ops += 4.0 * (double)b->n * keys * c->n_head * c->d_head;
            bytes += sd_bench_cache_bytes(m, (double)(b->depth + b->n)) / c->n_layer;
        }
        small_work(b, l, k, &ops, &bytes);
    }
    if (k == OP_HEAD) ops = 2.0 * (double)c->n_vocab * (double)c->d_model, bytes = (double)sd_linear_read_bytes(m->head);
    if (ops <= 0 || seconds <= 0) return; /* a matrix that this architecture has not */
    *op = (sd_bench_op){.phase = phase,
                        .name = names[k],
                        .ms = 1e3 * seconds,
                        .gops = ops / seconds / 1e9,
                        .gb_s = bytes / seconds / 1e9,
                        .product = k < SD_MAT_COUNT || k == OP_HEAD || (k == OP_ATTENTION && m->mode == SD_MODE_BF16 && m->kv == SD_KV_BF16),
                        .moves = k == OP_NORM || k == OP_ROPE || k == OP_GATE};
    out->n_ops++;
}

static sd_status phase(sd_bench_model *out, const sd_exec *ex, const sd_model *m, int64_t n, int64_t depth, const char *name, sd_err *err)
{
    bench_rows b = {.ex = ex, .m = m, .n = n, .depth = depth};
    double best[N_OPS] = {0}, now[N_OPS];
    float *logits = NULL;
    sd_status st = take(&b, err);
    if (!st) st = sd_alloc(&logits, (size_t)m->cfg.n_vocab * sizeof *logits, "logits", err);
    if (st) goto done;
    for (int i = 0; i < PASSES; i++) {
        pass(&b, now);
        if (n == 1 && m->head) now[OP_HEAD] = head_seconds(&b, logits);
        for (int k = 0; k < N_OPS; k++)
            if (i == 0 || now[k] < best[k]) best[k] = now[k];
    }
    for (int k = 0; k < N_OPS; k++) add_op(out, &b, name, k, best[k]);
done:
    release(&b);
    sd_free(logits);
    return st;
}

sd_status sd_lab_bench_ops(sd_bench_model *out, const sd_exec *ex, const sd_model *m, int64_t n_prompt, int64_t depth, sd_err *err)
{
    sd_status st = phase(out, ex, m, n_prompt, 0, "prefill", err);
    if (!st) st = phase(out, ex, m, 1, depth, "decode", err);
    return st;
}
