/* Owns: one measured step of learning. */
#include "lab/bench_tune.h"

#include "base/log.h"
#include "base/rng.h"
#include "num/optim.h"

#include <string.h>

typedef struct bench {
    const sd_exec *ex;
    sd_learner *t;
    sd_bench_tune_opt o;
    sd_doc *doc;
    int32_t *tok, *target;
    float *row, *mom, *var;
    sd_adam8 q;
    double *part;
    double loss;
} bench;

static sd_status take_memory(bench *b, const sd_model *m, sd_err *err)
{
    const size_t n = (size_t)sd_learner_n(b->t), rows = (size_t)(b->o.batch * b->o.ctx);
    sd_status st = sd_alloc(&b->doc, (size_t)b->o.batch * sizeof *b->doc, "rows", err);
    if (!st) st = sd_alloc(&b->tok, rows * sizeof *b->tok, "rows", err);
    if (!st) st = sd_alloc(&b->target, rows * sizeof *b->target, "rows", err);
    if (!st) st = sd_alloc(&b->row, rows * sizeof *b->row, "rows", err);
    if (!st) st = sd_alloc(&b->part, (size_t)sd_square_sum_parts((int64_t)n) * sizeof *b->part, "a norm", err);
    if (!st && b->o.adam8) {
        st = sd_alloc_wide_zero(&b->q.m, n, "moments", err);
        if (!st) st = sd_alloc_wide_zero(&b->q.v, n, "moments", err);
        if (!st) st = sd_alloc_zero(&b->q.scale, (n / SD_ADAM8_BLOCK + 1) * 2 * sizeof(float), "moments", err);
    } else if (!st) {
        st = sd_alloc_wide_zero(&b->mom, n * sizeof(float), "moments", err);
        if (!st) st = sd_alloc_wide_zero(&b->var, n * sizeof(float), "moments", err);
    }
    if (st) return st;
    sd_rng r = sd_rng_make(b->o.seed, "bench tune", 0);
    for (size_t i = 0; i < rows; i++) b->tok[i] = (int32_t)sd_rng_below(&r, (uint64_t)m->cfg.n_vocab);
    for (size_t i = 0; i < rows; i++) b->target[i] = (int64_t)(i + 1) % b->o.ctx ? b->tok[i + 1] : -1;
    for (int64_t i = 0; i < b->o.batch; i++)
        b->doc[i] = (sd_doc){b->tok + i * b->o.ctx, b->target + i * b->o.ctx, b->o.ctx};
    return SD_OK;
}

static sd_status step(bench *b, int64_t t, sd_err *err)
{
    const float *lp;
    int64_t n_lp, n = sd_learner_n(b->t);
    const sd_learner_batch in = {.doc = b->doc, .n_doc = (int)b->o.batch, .grad = true, .step = t};
    sd_status st = sd_learner_forward(b->t, &in, &lp, &n_lp, err);
    b->loss = 0;
    for (int64_t i = 0; !st && i < n_lp; i++) {
        b->loss -= (double)lp[i] / (double)n_lp;
        b->row[i] = -1.0f / (float)n_lp;
    }
    if (!st) st = sd_learner_backward(b->t, b->row, err);
    if (st) return st;
    float *g = sd_learner_g(b->t);
    (void)sd_square_sum(b->ex, g, n, b->part);
    const sd_adamw_opt a = {.lr = 1e-4, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .scale = 1, .step = t};
    if (b->o.adam8)
        sd_adamw8(b->ex, sd_learner_w(b->t), b->q, g, n, &a);
    else
        sd_adamw(b->ex, sd_learner_w(b->t), b->mom, b->var, g, n, &a);
    memset(g, 0, (size_t)n * sizeof *g);
    return SD_OK;
}

static double matrix_weights(const sd_model *m)
{
    double n = (double)m->head_w.rows * (double)m->head_w.cols;
    for (int l = 0; l < m->cfg.n_layer; l++)
        for (int i = 0; i < SD_MAT_COUNT; i++)
            n += (double)m->block[l].mat[i].w.rows * (double)m->block[l].mat[i].w.cols;
    return n;
}

sd_status sd_lab_bench_tune(sd_bench_tune *out, const sd_exec *ex, const sd_model *m, const sd_bench_tune_opt *opt,
                            sd_err *err)
{
    bench b = {.ex = ex, .o = *opt};
    sd_lora *lora = NULL;
    double best = 0;
    if (!b.o.batch) b.o.batch = 4;
    if (!b.o.ctx) b.o.ctx = 256;
    if (!b.o.reps) b.o.reps = 3;
    *out = (sd_bench_tune){0};
    sd_status st = SD_OK;
    if (b.o.lora) st = sd_lora_new(&lora, m, &(sd_lora_opt){.rank = b.o.lora}, b.o.seed, err);
    if (!st)
        st = sd_learner_new(&b.t, ex, m,
                            &(sd_learner_opt){.mode = b.o.mode,
                                              .full = !lora,
                                              .lora = lora,
                                              .max_rows = b.o.batch * b.o.ctx,
                                              .max_docs = (int)b.o.batch,
                                              .keep_bytes = b.o.keep_bytes},
                            err);
    if (!st) st = take_memory(&b, m, err);
    for (int i = 0; !st && i <= b.o.reps; i++) {
        const double t0 = sd_now();
        st = step(&b, i + 1, err);
        const double s = sd_now() - t0;
        if (i > 0 && (best == 0 || s < best)) best = s;
    }
    if (!st) {
        out->tok_s = (double)(b.o.batch * b.o.ctx) / best;
        out->gops = out->tok_s * matrix_weights(m) * (b.o.lora ? 4 : 6) * 1e-9;
        out->rss_peak = sd_mem_query().rss_peak;
        out->kept_bytes = sd_learner_bytes(b.t);
        out->loss = b.loss;
    }
    sd_learner_free(b.t);
    sd_lora_free(lora);
    void *const all[] = {b.doc, b.tok, b.target, b.row, b.mom, b.var, b.q.m, b.q.v, b.q.scale, b.part};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) sd_free(all[i]);
    return st;
}
