#include "lab/bench_steer.h"

#include "base/rng.h"
#include "lab/steer.h"
#include "num/stats.h"

#include <math.h>

enum { TURNS = 1000, SPREAD = 64 /* positions over which the turns go */, PIECE = 256 };

static const char *const way_name[SD_BENCH_WAYS] = {"plain", "plain again", "add", "ablate", "cap", "add, under a condition", "plain and steered"};
const char *sd_bench_way_name(int way) { return way_name[way]; }

typedef struct bench {
    sd_runner *r;
    sd_session *s[SD_BENCH_TOGETHER];
    sd_steer *steer[SD_BENCH_TOGETHER];
    double *t[SD_BENCH_WAYS]; /* [turns] */
    float *v;                 /* [d] */
    int32_t tok[PIECE];
} bench;

static sd_status steer_one(bench *b, int way, const sd_model *m, sd_err *err)
{
    const int mid = m->cfg.n_layer / 2;
    sd_steer_spec sp = {.feature = -1, .vector = b->v, .n_vector = m->cfg.d_model, .has_site = true, .site = {SD_SITE_RESID_POST, mid}, .min = -INFINITY, .max = INFINITY,
                        .unit = SD_UNIT_RAW, .special = true, .op = SD_STEER_ADD, .value = 0.01};
    sd_steer_when when = {.what = {.feature = -1, .vector = b->v, .n_vector = m->cfg.d_model, .has_site = true, .site = {SD_SITE_RESID_POST, mid > 0 ? mid - 1 : 0}, .unit = SD_UNIT_RAW},
                          .gt = -1e9, .lt = INFINITY};
    if (way == SD_BENCH_ABLATE) sp.op = SD_STEER_ABLATE, sp.value = 0;
    if (way == SD_BENCH_CAP) sp.op = SD_STEER_CAP, sp.value = 0, sp.max = 1e3;
    if (way == SD_BENCH_WHEN) sp.when = &when;
    sd_status st = sd_steer_new(&b->steer[way], &sp, m, NULL, err);
    return st ? st : sd_steer_attach(b->steer[way], b->s[way], 0, err);
}

static sd_status make(bench *b, const sd_exec *ex, const sd_model *m, const sd_bench_steer_opt *o, sd_err *err)
{
    const int64_t ctx = o->depth + SPREAD;
    sd_rng rng = sd_rng_make(0, "bench steer", 0);
    sd_status st = sd_runner_new(&b->r, ex, m, &(sd_runner_opt){.max_rows = PIECE, .max_logit_rows = 2, .n_ctx = ctx}, err);
    if (!st) st = sd_alloc(&b->v, (size_t)m->cfg.d_model * sizeof *b->v, "a vector", err);
    for (int64_t i = 0; i < m->cfg.d_model && !st; i++) b->v[i] = (float)sd_rng_normal(&rng);
    for (int i = 0; i < PIECE; i++) b->tok[i] = (int32_t)sd_rng_below(&rng, (uint64_t)m->cfg.n_vocab);
    for (int w = 0; w < SD_BENCH_WAYS && !st; w++) st = sd_alloc(&b->t[w], (size_t)o->turns * sizeof(double), "times", err);
    for (int w = 0; w < SD_BENCH_TOGETHER && !st; w++) {
        st = sd_session_new(&b->s[w], m, &(sd_session_opt){.n_ctx = ctx}, err);
        for (int64_t at = 0; at < o->depth && !st; at = sd_session_pos(b->s[w])) {
            sd_segment seg = {.s = b->s[w], .tok = b->tok, .n = o->depth - at < PIECE ? o->depth - at : PIECE, .want = SD_LOGITS_NONE};
            st = sd_runner_step(b->r, &seg, 1, -1, err);
        }
        if (!st && w >= SD_BENCH_ADD) st = steer_one(b, w, m, err);
    }
    return st;
}

/* One step of a way from position `at`. */
static sd_status step(double *seconds, bench *b, int way, int64_t at, const int32_t *tok, sd_err *err)
{
    const int first = way == SD_BENCH_TOGETHER ? SD_BENCH_PLAIN : way, n = way == SD_BENCH_TOGETHER ? 2 : 1;
    sd_segment seg[2] = {{.s = b->s[first], .tok = tok, .n = 1, .want = SD_LOGITS_LAST}, {.s = b->s[SD_BENCH_ADD], .tok = tok, .n = 1, .want = SD_LOGITS_LAST}};
    for (int i = 0; i < n; i++) sd_session_rewind(seg[i].s, at);
    const double t0 = sd_now();
    sd_status st = sd_runner_step(b->r, seg, n, -1, err);
    *seconds = sd_now() - t0;
    return st;
}

sd_status sd_lab_bench_steer(sd_bench_steer *out, const sd_exec *ex, const sd_model *m, const sd_bench_steer_opt *opt, const sd_progress *progress, sd_err *err)
{
    sd_bench_steer_opt o = *opt;
    bench b = {0};
    if (!o.turns) o.turns = TURNS;
    if (o.depth + SPREAD > m->max_ctx) return sd_fail(err, SD_E_ARG, "%lld positions and %d more do not fit the context of %lld", (long long)o.depth, SPREAD, (long long)m->max_ctx);
    sd_status st = make(&b, ex, m, &o, err);
    /* All positions of all caches once, uncounted. */
    for (int64_t k = 0; k < SPREAD && !st; k++)
        for (int w = 0; w < SD_BENCH_TOGETHER && !st; w++) st = step(&b.t[w][0], &b, w, o.depth + k, &b.tok[k], err);
    for (int64_t k = 0; k < o.turns && !st; k++) {
        for (int w = 0; w < SD_BENCH_WAYS && !st; w++) {
            const int way = (int)((w + k) % SD_BENCH_WAYS);
            st = step(&b.t[way][k], &b, way, o.depth + k % SPREAD, &b.tok[k % PIECE], err);
        }
        sd_progress_update(progress, "turns", (double)(k + 1), (double)o.turns, "turns");
        if (!st && sd_progress_cancelled(progress)) st = sd_fail(err, SD_E_CANCELLED, "interrupted while measuring");
    }
    for (int w = 0; w < SD_BENCH_WAYS && !st; w++) {
        sd_sort_f64(b.t[w], o.turns);
        out->row[w].ms = 1e3 * b.t[w][o.turns / 10];
        out->row[w].cost_median = b.t[w][o.turns / 2];
    }
    for (int w = SD_BENCH_WAYS - 1; w >= 0 && !st; w--) {
        out->row[w].cost = out->row[w].ms / out->row[SD_BENCH_PLAIN].ms;
        out->row[w].cost_median /= out->row[SD_BENCH_PLAIN].cost_median;
    }
    for (int w = 0; w < SD_BENCH_WAYS; w++) sd_free(b.t[w]);
    for (int w = 0; w < SD_BENCH_TOGETHER; w++) sd_session_free(b.s[w]), sd_steer_free(b.steer[w]);
    sd_runner_free(b.r);
    sd_free(b.v);
    return st;
}
