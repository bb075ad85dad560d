/* Owns: what a step costs when it does more than decode one sequence: several at once, or one that is watched at every layer. Both
 * sides of a comparison alternate within one run, so that a busy machine disturbs them alike. */
#include "lab/bench.h"

#include "base/rng.h"

enum { GEN = 64, REPS = 5, MAX_REPS = 64, PIECE = 512 /* rows of a step that fills the caches */ };

typedef struct batch {
    sd_runner *r;
    sd_session *s[SD_BENCH_BATCH_MAX];
    sd_segment seg[SD_BENCH_BATCH_MAX];
    int32_t tok[PIECE];
    int hook[SD_BENCH_BATCH_MAX];
} batch;

/* Reads one number a row, so that the rows are really looked at. */
static sd_status look(void *self, sd_act *act, sd_err *err)
{
    (void)err;
    double *sum = self;
    for (int64_t i = 0; i < act->x.rows; i++) *sum += (double)sd_mat_row(act->x, i)[0];
    return SD_OK;
}

static sd_status fill(batch *b, const sd_bench_batch_opt *o, sd_err *err)
{
    sd_status st = SD_OK;
    for (int i = 0; i < o->n_seq && !st; i++)
        for (int64_t at = 0; at < o->depth && !st; at = sd_session_pos(b->s[i])) {
            sd_segment seg = {.s = b->s[i], .tok = b->tok, .n = o->depth - at < PIECE ? o->depth - at : PIECE, .want = SD_LOGITS_NONE};
            st = sd_runner_step(b->r, &seg, 1, -1, err);
        }
    return st;
}

/* Seconds of n_gen steps of the first n sessions from the depth on. */
static sd_status decode(double *seconds, batch *b, int n, const sd_bench_batch_opt *o, sd_err *err)
{
    sd_status st = SD_OK;
    for (int i = 0; i < n; i++) sd_session_rewind(b->s[i], o->depth);
    const double t0 = sd_now();
    for (int64_t t = 0; t < o->n_gen && !st; t++) {
        for (int i = 0; i < n; i++) b->seg[i] = (sd_segment){.s = b->s[i], .tok = &b->tok[(t + 7 * i) % PIECE], .n = 1, .want = SD_LOGITS_LAST};
        st = sd_runner_step(b->r, b->seg, n, -1, err);
    }
    *seconds = sd_now() - t0;
    return st;
}

static sd_status watch(batch *b, const sd_model *m, double *sum, sd_err *err)
{
    sd_site *at = NULL;
    const int n = m->n_layer_loaded;
    sd_status st = sd_alloc(&at, (size_t)n * sizeof *at, "the sites of a hook", err);
    for (int l = 0; l < n && !st; l++) at[l] = (sd_site){SD_SITE_RESID_POST, l};
    if (!st) st = sd_session_attach(b->s[0], &(sd_hook){.name = "bench", .at = at, .n_at = n, .mode = SD_HOOK_READ, .fn = look, .self = sum}, &b->hook[0], err);
    sd_free(at);
    return st;
}

static sd_status one_rep(double t[2], batch *b, const sd_model *m, const sd_bench_batch_opt *o, sd_err *err)
{
    double sum = 0;
    sd_status st = decode(&t[0], b, 1, o, err);
    if (!st && o->watched) st = watch(b, m, &sum, err);
    if (st) return st;
    st = decode(&t[1], b, o->n_seq, o, err);
    if (o->watched) sd_session_detach(b->s[0], b->hook[0]);
    return st;
}

sd_status sd_lab_bench_batch(sd_bench_batch *out, const sd_exec *ex, const sd_model *m, const sd_bench_batch_opt *opt, sd_err *err)
{
    sd_bench_batch_opt o = *opt;
    batch *b = NULL;
    double t[2][MAX_REPS], now[2];
    if (!o.n_gen) o.n_gen = GEN;
    if (!o.reps) o.reps = REPS;
    if (!o.n_seq) o.n_seq = 1;
    *out = (sd_bench_batch){.n_seq = o.n_seq, .depth = o.depth};
    if (o.reps < 1 || o.reps > MAX_REPS) return sd_fail(err, SD_E_ARG, "%d repetitions: 1 to %d are wanted", o.reps, MAX_REPS);
    if (o.n_seq < 1 || o.n_seq > SD_BENCH_BATCH_MAX) return sd_fail(err, SD_E_ARG, "%d sequences at once: 1 to %d are wanted", o.n_seq, SD_BENCH_BATCH_MAX);
    const int64_t ctx = o.depth + o.n_gen;
    sd_status st = sd_alloc_zero(&b, sizeof *b, "a batch", err);
    if (st) return st;
    st = sd_runner_new(&b->r, ex, m, &(sd_runner_opt){.max_rows = PIECE, .max_logit_rows = o.n_seq, .n_ctx = ctx}, err);
    for (int i = 0; i < o.n_seq && !st; i++) st = sd_session_new(&b->s[i], m, &(sd_session_opt){.n_ctx = ctx}, err);
    if (st) goto done;
    sd_rng rng = sd_rng_make(0, "bench batch", 0);
    for (int i = 0; i < PIECE; i++) b->tok[i] = (int32_t)sd_rng_below(&rng, (uint64_t)m->cfg.n_vocab);
    if ((st = fill(b, &o, err))) goto done;
    for (int i = -1; i < o.reps; i++) { /* the first is not counted */
        if ((st = one_rep(now, b, m, &o, err))) goto done;
        for (int k = 0; k < 2 && i >= 0; k++) t[k][i] = now[k];
    }
    const double alone = sd_bench_median(t[0], o.reps), more = sd_bench_median(t[1], o.reps);
    out->tok_s = (double)(o.n_gen * o.n_seq) / more;
    out->cost = more / alone;
done:
    for (int i = 0; i < o.n_seq; i++) sd_session_free(b->s[i]);
    sd_runner_free(b->r);
    sd_free(b);
    return st;
}
