/* The trainer against itself written plainly: dense gradients of the same loss in double, checked by central differences, and
 * dense Adam as torch has it; then schedules, calibration, dead features, refusals. */
#include "t.h"

#include "dict/dict_train_int.h"

#include <math.h>
#include <sys/wait.h>

static sd_exec *ex;

enum { D = 24, M = 60, K = 4, B = 40 };

static void rows_of(float *x, int64_t n, uint64_t seed)
{
    sd_rng r = sd_rng_make(seed, "train rows", 0);
    for (int64_t i = 0; i < n * D; i++) x[i] = 5.0f + 3.0f * sd_rng_normal(&r);
}

static sd_dict_train *fresh(sd_dict_train_opt o, const float *x, int64_t n)
{
    sd_err err = {0};
    sd_dict_train *t;
    sd_mat rows = sd_mat_of(sd_malloc((size_t)(n * D) * 4), n, D);
    memcpy(rows.data, x, (size_t)(n * D) * 4);
    t_ok(sd_dict_train_new(&t, ex, &o, &err), err);
    t_ok(sd_dict_train_calibrate(t, ex, rows, &err), err);
    sd_free(rows.data);
    return t;
}

static sd_dict_train_opt plain(int64_t steps)
{
    return (sd_dict_train_opt){.kind = SD_DICT_TOPK, .d = D, .m = M, .k = K, .batch = B, .n_tokens = B * steps, .lr = 1e-2, .seed = 3, .warmup = -1, .decay = -1, .aux_alpha = -1};
}

/* Parameters in double: W [M,D], Dm [M,D], b [M], bd [D] one after the other. */
enum { P_W = 0, P_D = M * D, P_B = 2 * M * D, P_BD = 2 * M * D + M, N_P = 2 * M * D + M + D };

/* The loss with the k best of this point fixed (sel [n, K], z > 0 only), so that differences do not cross a change of choice. */
static double loss_of(const double *p, const double *x, int64_t n, const int32_t *sel)
{
    double loss = 0;
    for (int64_t r = 0; r < n; r++) {
        double e[D];
        for (int c = 0; c < D; c++) e[c] = p[P_BD + c] - x[r * D + c];
        for (int i = 0; i < K; i++) {
            const int32_t f = sel[r * K + i];
            if (f < 0) continue;
            double z = p[P_B + f];
            for (int c = 0; c < D; c++) z += (x[r * D + c] - p[P_BD + c]) * p[P_W + f * D + c];
            for (int c = 0; c < D; c++) e[c] += z * p[P_D + f * D + c];
        }
        for (int c = 0; c < D; c++) loss += e[c] * e[c] / (double)n;
    }
    return loss;
}

static void select_rows(const double *p, const double *x, int64_t n, int32_t *sel)
{
    for (int64_t r = 0; r < n; r++) {
        double z[M];
        for (int f = 0; f < M; f++) {
            z[f] = p[P_B + f];
            for (int c = 0; c < D; c++) z[f] += (x[r * D + c] - p[P_BD + c]) * p[P_W + f * D + c];
        }
        for (int i = 0; i < K; i++) {
            int best = 0;
            for (int f = 1; f < M; f++)
                if (z[f] > z[best]) best = f;
            sel[r * K + i] = z[best] > 0 ? best : -1;
            z[best] = -1e30;
        }
    }
}

/* By hand, dense; the formulas at the head of dict_train_int.h. */
static void gradient(const double *p, const double *x, int64_t n, const int32_t *sel, double *g)
{
    for (int i = 0; i < N_P; i++) g[i] = 0;
    for (int64_t r = 0; r < n; r++) {
        double e[D], z[K];
        for (int c = 0; c < D; c++) e[c] = p[P_BD + c] - x[r * D + c];
        for (int i = 0; i < K; i++) {
            const int32_t f = sel[r * K + i];
            if (f < 0) continue;
            z[i] = p[P_B + f];
            for (int c = 0; c < D; c++) z[i] += (x[r * D + c] - p[P_BD + c]) * p[P_W + f * D + c];
            for (int c = 0; c < D; c++) e[c] += z[i] * p[P_D + f * D + c];
        }
        for (int c = 0; c < D; c++) g[P_BD + c] += 2 * e[c] / (double)n;
        for (int i = 0; i < K; i++) {
            const int32_t f = sel[r * K + i];
            double dz = 0;
            if (f < 0) continue;
            for (int c = 0; c < D; c++) dz += 2 * e[c] / (double)n * p[P_D + f * D + c];
            g[P_B + f] += dz;
            for (int c = 0; c < D; c++) {
                g[P_D + f * D + c] += 2 * e[c] / (double)n * z[i];
                g[P_W + f * D + c] += dz * (x[r * D + c] - p[P_BD + c]);
                g[P_BD + c] -= dz * p[P_W + f * D + c];
            }
        }
    }
}

static void test_gradient_formulas(void **state)
{
    (void)state;
    double p[N_P], g[N_P], x[B * D];
    int32_t sel[B * K];
    sd_rng r = sd_rng_make(1, "grad", 0);
    for (int i = 0; i < N_P; i++) p[i] = 0.4 * (double)sd_rng_normal(&r);
    for (int i = 0; i < B * D; i++) x[i] = (double)sd_rng_normal(&r);
    select_rows(p, x, B, sel);
    gradient(p, x, B, sel, g);
    double top = 0;
    for (int i = 0; i < N_P; i++) top = fmax(top, fabs(g[i]));
    for (int i = 0; i < N_P; i += 7) {
        const double h = 1e-6, at = p[i];
        p[i] = at + h;
        const double up = loss_of(p, x, B, sel);
        p[i] = at - h;
        const double down = loss_of(p, x, B, sel);
        p[i] = at;
        /* Central differences: h^2 of the third derivative and 1e-16 / h of the loss. */
        assert_true(fabs((up - down) / (2 * h) - g[i]) < 1e-7 * top + 1e-8);
    }
}

typedef struct dense { double p[N_P], m[N_P], v[N_P]; int64_t t; } dense;

/* torch.optim.Adam on everything, after the decoder's gradient lost its part along the row; then unit rows. */
static void dense_step(dense *s, const double *x, int64_t n, const int32_t *sel, double lr)
{
    static double g[N_P];
    gradient(s->p, x, n, sel, g);
    for (int f = 0; f < M; f++) {
        double along = 0;
        for (int c = 0; c < D; c++) along += g[P_D + f * D + c] * s->p[P_D + f * D + c];
        for (int c = 0; c < D; c++) g[P_D + f * D + c] -= along * s->p[P_D + f * D + c];
    }
    s->t++;
    for (int i = 0; i < N_P; i++) {
        s->m[i] = 0.9 * s->m[i] + 0.1 * g[i];
        s->v[i] = 0.999 * s->v[i] + 0.001 * g[i] * g[i];
        s->p[i] -= lr * (s->m[i] / (1 - pow(0.9, (double)s->t))) / (sqrt(s->v[i] / (1 - pow(0.999, (double)s->t))) + 1e-8);
    }
    for (int f = 0; f < M; f++) {
        double n2 = 0;
        for (int c = 0; c < D; c++) n2 += s->p[P_D + f * D + c] * s->p[P_D + f * D + c];
        for (int c = 0; c < D; c++) s->p[P_D + f * D + c] /= sqrt(n2);
    }
}

static void read_weights(double *p, const sd_dict_train *t)
{
    for (int i = 0; i < M * D; i++) p[P_W + i] = (double)t->W[i], p[P_D + i] = (double)t->D[i];
    for (int i = 0; i < M; i++) p[P_B + i] = (double)t->b[i];
    for (int i = 0; i < D; i++) p[P_BD + i] = (double)t->bd[i];
}

/* Ours beside dense Adam for some steps, each of `batch` other rows: the worst of all steps. */
typedef struct walk { double far, off, loss; int64_t resting; } walk; /* share of elements off by more than 1 % of the steps taken; steps that one is off; error of the loss; features without a row */

static walk walk_beside_dense(const sd_dict_train_opt *o)
{
    sd_err err = {0};
    walk w = {0};
    const int64_t n = o->batch, steps = o->n_tokens / n;
    float *raw = sd_malloc((size_t)(o->n_tokens * D) * 4);
    static dense s;
    static double now[N_P];
    double *x = sd_malloc((size_t)(n * D) * sizeof *x);
    int32_t *sel = sd_malloc((size_t)(n * K) * 4);
    rows_of(raw, o->n_tokens, 1);
    sd_dict_train *t = fresh(*o, raw, o->n_tokens);
    memset(&s, 0, sizeof s);
    read_weights(s.p, t);
    for (int64_t step = 0; step < steps; step++) {
        sd_dict_stats st;
        float *own = raw + step * n * D;
        for (int64_t i = 0; i < n * D; i++) x[i] = ((double)own[i] - (double)t->mean[i % D]) * t->scale;
        select_rows(s.p, x, n, sel);
        const double want = loss_of(s.p, x, n, sel);
        t_ok(sd_dict_train_step(t, ex, sd_mat_of(own, n, D), &st, &err), err);
        w.loss = fmax(w.loss, fabs(st.loss - want) / want);
        assert_int_equal(st.step, step + 1);
        for (int f = 0; f < M; f++) w.resting += t->last_step[f] > 0 && t->col[f] == t->col[f + 1];
        dense_step(&s, x, n, sel, o->lr);
        t->step++;
        sd_train__move(t, ex); /* what the next step begins with */
        t->step--;
        read_weights(now, t);
        int64_t far = 0;
        for (int i = 0; i < N_P; i++) {
            const double off = fabs(now[i] - s.p[i]) / (o->lr * (double)(step + 1));
            w.off = fmax(w.off, off);
            far += off > 0.01;
        }
        w.far = fmax(w.far, (double)far / N_P);
    }
    sd_dict_train_free(t);
    sd_free(raw), sd_free(x), sd_free(sel);
    return w;
}

/* A step is at most about lr an element; where a gradient is tiny its sign, hence the step, may come from rounding: 99 % of the elements within 1 % of a step, none further than
 * the steps taken. */
static void check_walk(const walk *w)
{
    assert_true(w->loss < 2e-5);
    assert_true(w->off < 2.5);
    assert_true(w->far < 0.01);
}

static void test_steps_equal_dense_adam(void **state)
{
    (void)state;
    sd_dict_train_opt o = plain(1);
    o.lr = 2e-3, o.batch = 400, o.n_tokens = 6 * o.batch;
    const walk all = walk_beside_dense(&o);
    assert_int_equal(all.resting, 0);
    check_walk(&all);
    /* Batches in which a third of the features have no row: moved in every step they stay with dense Adam; moved when next used they are not where it has them, and not moved at all further off. */
    o.batch = 10, o.n_tokens = 12 * o.batch, o.rest = SD_REST_DENSE;
    const walk rest = walk_beside_dense(&o);
    assert_true(rest.resting > 100);
    check_walk(&rest);
    o.rest = SD_REST_DRIFT;
    const walk drift = walk_beside_dense(&o);
    assert_true(drift.far > 0.1);
    o.rest = SD_REST_SPARSE;
    const walk sparse = walk_beside_dense(&o);
    assert_true(sparse.far > 0.1);
}

/* Rows that rest: after `idle` steps the catch-up has moved them as dense Adam does with a gradient of zero. */
static void test_drift_is_dense_adam(void **state)
{
    (void)state;
    sd_dict_train_opt o = plain(300);
    float raw[B * D];
    rows_of(raw, B, 2);
    o.warmup = 0.3, o.decay = 0.4; /* the rate changes meanwhile */
    sd_dict_train *t = fresh(o, raw, B);
    for (int idle = 1; idle <= 250; idle = idle * 3 + 1) {
        float p[D], m[D], v[D];
        double dp[D], dm[D], dv[D];
        const int64_t from = 20;
        sd_rng r = sd_rng_make(9, "drift", (uint64_t)idle);
        for (int i = 0; i < D; i++) {
            dp[i] = (double)(p[i] = sd_rng_normal(&r));
            dm[i] = (double)(m[i] = 1e-3f * sd_rng_normal(&r));
            dv[i] = (double)(v[i] = 1e-6f * (0.1f + (float)sd_rng_uniform(&r)));
        }
        t->last_step[7] = (int32_t)from;
        sd_train__drift(t, 7, from + idle, p, m, v);
        for (int64_t s = from + 1; s <= from + idle; s++)
            for (int i = 0; i < D; i++) {
                dm[i] *= 0.9, dv[i] *= 0.999;
                dp[i] -= sd_train__lr(t, s) * (dm[i] / (1 - pow(0.9, (double)s))) / (sqrt(dv[i] / (1 - pow(0.999, (double)s))) + 1e-8);
            }
        for (int i = 0; i < D; i++) {
            /* eps is left out of the closed sum: 1e-8 against sqrt(v) of 3e-4 is 3e-5 of the movement; the rest is f32. */
            assert_true(fabs((double)p[i] - dp[i]) < 1e-4 * fabs(dp[i] - (double)p[i]) + 2e-6 * (1 + fabs(dp[i])));
            assert_true(fabs((double)m[i] - dm[i]) < 1e-5 * fabs(dm[i]) + 1e-30);
            assert_true(fabs((double)v[i] - dv[i]) < 1e-5 * fabs(dv[i]));
        }
    }
    sd_dict_train_free(t);
}

static void test_schedule_and_defaults(void **state)
{
    (void)state;
    float raw[B * D];
    rows_of(raw, B, 2);
    sd_dict_train *t = fresh((sd_dict_train_opt){.d = D, .m = M, .k = K, .kind = SD_DICT_TOPK, .batch = B, .n_tokens = B * 1000, .lr = 1}, raw, B);
    assert_true(fabs(sd_train__lr(t, 1) - 0.02) < 1e-12);    /* 5 % of 1,000 steps up */
    assert_true(fabs(sd_train__lr(t, 50) - 1) < 1e-12 && sd_train__lr(t, 400) == 1 && sd_train__lr(t, 800) == 1);
    assert_true(fabs(sd_train__lr(t, 901) - 0.5) < 1e-12);   /* the last 20 % down */
    assert_true(sd_train__lr(t, 1000) > 0 && sd_train__lr(t, 1000) < 0.006);
    assert_int_equal(sd_dict_train_get_opt(t)->dead_after, B * 250);
    assert_int_equal(sd_dict_train_get_opt(t)->aux_k, D / 2);
    sd_dict_train_free(t);
    t = fresh((sd_dict_train_opt){.d = D, .m = M, .k = K, .kind = SD_DICT_TOPK, .batch = B, .n_tokens = B * 1000, .lr = 1, .warmup = 0.5, .decay = 1}, raw, B);
    assert_true(fabs(sd_train__lr(t, 1) - 0.002) < 1e-12 && fabs(sd_train__lr(t, 250) - 0.5) < 1e-12); /* ramps that meet: the lower of them */
    assert_true(fabs(sd_train__lr(t, 601) - 0.4) < 1e-12);
    sd_dict_train_free(t);
    t = fresh((sd_dict_train_opt){.d = D, .m = M, .kind = SD_DICT_TOPK, .n_tokens = 300000}, raw, B);
    const sd_dict_train_opt *o = sd_dict_train_get_opt(t);
    assert_int_equal(o->k, 32);
    assert_true(o->n_tokens / o->batch >= 500 && o->batch == 512);
    sd_dict_train_free(t);
}

/* k moves linearly, upwards or downwards, and what a row keeps are its best by brute force. */
static void test_k_anneals(void **state)
{
    (void)state;
    sd_err err = {0};
    float raw[B * D];
    sd_dict_stats st;
    rows_of(raw, B, 2);
    for (int down = 0; down < 2; down++) {
        sd_dict_train_opt o = plain(40);
        o.k_start = down ? 3 * K : 1, o.k_anneal = 10;
        sd_dict_train *t = fresh(o, raw, B);
        for (int s = 1; s <= 12; s++) {
            t_ok(sd_dict_train_step(t, ex, sd_mat_of(raw, B, D), &st, &err), err);
            const int64_t k = s >= 10 ? K : o.k_start + (int64_t)lround((K - o.k_start) * s / 10.0);
            assert_int_equal(t->ptr[B], B * k);
            /* The lists are those of the weights before the step; a fresh choice of the weights now is compared with brute force. */
            int64_t bad = -1;
            sd_train__centre(t, ex, sd_mat_of(raw, B, D));
            t_ok(sd_train__pick(t, ex, B, &bad, &err), err);
            for (int64_t r = 0; r < B; r++) {
                assert_int_equal(t->ptr[r + 1] - t->ptr[r], k);
                float p[M], least = INFINITY;
                for (int f = 0; f < M; f++) p[f] = t->kern->dot(t->x + r * D, t->W + f * D, D) + t->b[f];
                for (int64_t i = t->ptr[r]; i < t->ptr[r + 1]; i++) {
                    assert_true(t->val[i] == p[t->idx[i]]);
                    if (t->val[i] < least) least = t->val[i];
                }
                int64_t above = 0;
                for (int f = 0; f < M; f++) above += p[f] > least;
                assert_int_equal(above, k - 1);
            }
        }
        sd_dict_train_free(t);
    }
}

/* What is left out is left out: each switch changes its own thing alone. */
static void test_without(void **state)
{
    (void)state;
    sd_err err = {0};
    static float raw[400 * D];
    rows_of(raw, 400, 2);
    for (int c = 0; c < D; c++) raw[7 * D + c] *= 200; /* a sink */
    for (int bit = -1; bit < SD_WITHOUT_COUNT; bit++) {
        sd_dict_train_opt o = plain(40);
        o.without = bit < 0 ? 0 : 1u << bit;
        o.aux_alpha = 0;
        sd_dict_train *t = fresh(o, raw, 400);
        bool centred = false;
        for (int c = 0; c < D; c++) centred = centred || t->mean[c] != 0.0f;
        assert_true(centred == !(o.without & SD_WITHOUT_CENTRING));
        assert_true((t->scale == 1) == ((o.without & SD_WITHOUT_SCALING) != 0));
        assert_true((t->max_norm > 1e100) == ((o.without & SD_WITHOUT_SINK_FILTER) != 0));
        assert_true((memcmp(t->W, t->D, sizeof(float) * M * D) == 0) == !(o.without & SD_WITHOUT_TIED_INIT));
        assert_true((t->opt.aux_alpha > 0) == !(o.without & SD_WITHOUT_AUX_K));
        for (int s = 0; s < 5; s++) t_ok(sd_dict_train_step(t, ex, sd_mat_of(raw + 40 * D, B, D), NULL, &err), err);
        double off = 0;
        for (int f = 0; f < M; f++) off = fmax(off, fabs(sqrt((double)t->kern->dot(t->D + f * D, t->D + f * D, D)) - 1));
        assert_true((off > 1e-3) == ((o.without & SD_WITHOUT_UNIT_DECODER) != 0));
        sd_dict *d;
        t_ok(sd_dict_train_finish(t, ex, sd_mat_of(raw + 40 * D, 300, D), &(sd_dict_info){.model_name = "m"}, &d, &err), err);
        assert_true(isfinite(sd_dict_get_info(d)->fvu));
        sd_dict_free(d);
        sd_dict_train_free(t);
    }
}

/* The control's decoder is what was drawn, to the last bit, and its encoder is not. */
static void test_frozen_decoder(void **state)
{
    (void)state;
    sd_err err = {0};
    float raw[B * D], first[M * D];
    rows_of(raw, B, 2);
    sd_dict_train_opt o = plain(40);
    o.frozen_decoder = true;
    sd_dict_train *t = fresh(o, raw, B);
    memcpy(first, t->D, sizeof first);
    for (int s = 0; s < 20; s++) t_ok(sd_dict_train_step(t, ex, sd_mat_of(raw, B, D), NULL, &err), err);
    assert_memory_equal(first, t->D, sizeof first);
    assert_true(memcmp(first, t->W, sizeof first) != 0);
    sd_dict_train_free(t);
}

/* A given weight rises from 0 over its warm-up and stays. */
static void test_sparsity_warmup(void **state)
{
    (void)state;
    sd_err err = {0};
    float raw[B * D];
    rows_of(raw, B, 2);
    sd_dict_train_opt o = plain(40);
    o.kind = SD_DICT_STANDARD, o.sparsity = 0.3, o.sparsity_warmup = 8;
    sd_dict_train *t = fresh(o, raw, B);
    for (int s = 1; s <= 12; s++) {
        t_ok(sd_dict_train_step(t, ex, sd_mat_of(raw, B, D), NULL, &err), err);
        assert_true(fabs(t->weight - (s < 8 ? 0.3 * s / 8 : 0.3)) < 1e-12);
    }
    sd_dict_train_free(t);
}

/* The plan is what a trainer takes, whatever it is of, and at its end the dictionary alone stands beside it. */
static void test_plan(void **state)
{
    (void)state;
    sd_err err = {0};
    enum { WIDE = 1024, PLAN_B = 256, N = 600 };
    static float raw[N * D];
    rows_of(raw, N, 2);
    for (int i = 0; i < SD_DICT_ENCODER_COUNT + 3; i++) {
        sd_dict_train_opt o = plain(40);
        o.m = WIDE, o.batch = PLAN_B, o.n_tokens = PLAN_B * 40, o.aux_alpha = 0, o.kind = i < SD_DICT_ENCODER_COUNT ? (sd_dict_kind)i : SD_DICT_TOPK;
        o.moments8 = i == SD_DICT_ENCODER_COUNT, o.proven = i == SD_DICT_ENCODER_COUNT + 1, o.routes = i == SD_DICT_ENCODER_COUNT + 2 ? 8 : 0;
        sd_dict_train *t;
        int64_t before = sd_mem_live_bytes();
        t_ok(sd_dict_train_new(&t, ex, &o, &err), err);
        const double is = (double)(sd_mem_live_bytes() - before), said = (double)sd_dict_train_plan(ex, &o);
        /* The trainer's own struct; above it what oneDNN may pad d = 24 to (scan.c). */
        if (!(is < said + 65536 && said < 1.3 * is + 65536)) fail_msg("%d, %s: %.0f bytes, %.0f were planned", i, sd_dict_kind_name(o.kind), is, said);
        t_ok(sd_dict_train_calibrate(t, ex, sd_mat_of(raw, N, D), &err), err);
        t_ok(sd_dict_train_step(t, ex, sd_mat_of(raw, PLAN_B, D), NULL, &err), err);
        before = sd_mem_live_bytes();
        sd_dict *d;
        t_ok(sd_dict_train_finish(t, ex, sd_mat_of(raw, N, D), &(sd_dict_info){.model_name = "m"}, &d, &err), err);
        const int64_t own = sd_mem_live_bytes() - before, rows = 2 * WIDE * D * 4, most = rows + 8 * WIDE * 4 + 65536; /* two matrices, what is kept a feature, the struct */
        if (own > most) fail_msg("%d, %s: the finished dictionary holds %lld bytes, %lld are its rows", i, sd_dict_kind_name(o.kind), (long long)own, (long long)rows);
        sd_dict_free(d);
        sd_dict_train_free(t);
    }
}

/* Lists are a step old in one turn and renewed behind the last, and another part of the features competes in each: what is lost is looked at in all of them. */
static void test_audits_of_every_turn(void **state)
{
    (void)state;
    sd_err err = {0};
    enum { TURNS = 4, N = 16 };
    float raw[N * D];
    int64_t seen[TURNS] = {0}, before = 0;
    rows_of(raw, N, 2);
    sd_dict_train_opt o = plain(300);
    o.m = 1024, o.batch = N, o.n_tokens = N * 300, o.routes = 2, o.in_turn = TURNS, o.exact_until = 1e-6;
    sd_dict_train *t = fresh(o, raw, N);
    for (int s = 1; s <= 17 * TURNS; s++) {
        sd_dict_stats st;
        t_ok(sd_dict_train_step(t, ex, sd_mat_of(raw, N, D), &st, &err), err);
        if (s > 1) seen[s % TURNS] += st.n_audited - before;
        before = st.n_audited;
    }
    for (int i = 0; i < TURNS; i++)
        if (seen[i] != 8 * K) fail_msg("turn %d: %lld winners were looked at", i, (long long)seen[i]);
    sd_dict_train_free(t);
}

/* Mean, scale and sink limit are those of the rows that are no sinks. */
static void test_calibrate(void **state)
{
    (void)state;
    enum { N = 500 };
    static float raw[N * D];
    rows_of(raw, N, 4);
    for (int i = 0; i < D; i++) raw[77 * D + i] = 20000.0f;
    sd_dict_train *t = fresh(plain(10), raw, N);
    double mean[D] = {0}, norm = 0;
    for (int r = 0; r < N; r++)
        for (int i = 0; i < D && r != 77; i++) mean[i] += (double)raw[r * D + i] / (N - 1);
    for (int r = 0; r < N; r++) {
        double s = 0;
        for (int i = 0; i < D; i++) s += pow((double)raw[r * D + i] - mean[i], 2);
        if (r != 77) norm += sqrt(s) / (N - 1);
    }
    for (int i = 0; i < D; i++) assert_true(fabs((double)t->mean[i] - mean[i]) < 1e-5);
    assert_true(fabs(t->scale - sqrt(D) / norm) < 1e-6 * t->scale);
    assert_true(sd_dict_train_max_norm(t) > 200 && sd_dict_train_max_norm(t) < 400); /* 10 x sqrt(24 (25 + 9)) = 286 */
    for (int f = 0; f < M; f++) {
        double n2 = 0;
        for (int i = 0; i < D; i++) n2 += (double)t->D[f * D + i] * (double)t->D[f * D + i];
        assert_true(fabs(n2 - 1) < 1e-6);
    }
    assert_memory_equal(t->W, t->D, sizeof(float) * M * D);
    sd_dict_train_free(t);
}

/* JumpReLU begins at the value that 4 k features of a row exceed, whatever sinks stand among the rows. */
static void test_first_threshold(void **state)
{
    (void)state;
    enum { N = 500 };
    static float raw[N * D];
    float at[2];
    sd_dict_train_opt o = plain(10);
    o.kind = SD_DICT_JUMPRELU;
    o.k = 2;
    o.bandwidth = 1e-3;
    for (int sinks = 0; sinks < 2; sinks++) {
        sd_rng r = sd_rng_make(5, "first threshold", 0);
        rows_of(raw, N, 4);
        for (int i = 0; i < 32 * D && sinks; i++) raw[2 * (i / D) * D + i % D] = 5000.0f * sd_rng_normal(&r); /* every other of the first rows */
        sd_dict_train *t = fresh(o, raw, N);
        at[sinks] = t->own[0][0];
        sd_dict_train_free(t);
    }
    if (!(at[0] > 0.5f && fabsf(at[1] - at[0]) < 0.15f * at[0])) fail_msg("the threshold is %g, with sinks %g", (double)at[0], (double)at[1]);
}

/* Features that never fire are dead after their time; the auxiliary loss gives them gradients and brings some back. */
static void test_dead_and_aux(void **state)
{
    (void)state;
    sd_err err = {0};
    int64_t dead[2] = {0};
    for (int aux = 0; aux < 2; aux++) {
        static float raw[B * D];
        sd_dict_train_opt o = plain(400);
        o.aux_alpha = aux ? 1.0 / 32 : -1;
        o.dead_after = 10 * B;
        o.aux_k = 8;
        rows_of(raw, B, 5);
        sd_dict_train *t = fresh(o, raw, B);
        for (int f = M / 2; f < M; f++) t->b[f] = -2.5f; /* half of them: sometimes above 0, hardly ever among the best */
        sd_dict_stats st = {0};
        for (int s = 0; s < 400; s++) {
            rows_of(raw, B, (uint64_t)(1000 + s));
            t_ok(sd_dict_train_step(t, ex, sd_mat_of(raw, B, D), &st, &err), err);
            if (s < 10) assert_int_equal(st.n_dead, 0);
            if (s == 12) assert_true(st.n_dead > M / 4);
            assert_true(aux ? (st.aux_loss > 0) == (t->aux.n_used > 0) : st.aux_loss == 0);
        }
        dead[aux] = st.n_dead;
        sd_dict_train_free(t);
    }
    if (!(dead[0] >= 12 && dead[1] <= dead[0] / 3)) fail_msg("%d dead without, %d with the auxiliary loss", (int)dead[0], (int)dead[1]);
}

/* The auxiliary gradients against the dense formula in double. */
static void test_aux_gradient(void **state)
{
    (void)state;
    static float raw[B * D];
    sd_dict_train_opt o = plain(50);
    o.aux_alpha = 1.0 / 32;
    o.aux_k = 5;
    o.dead_after = 1;
    rows_of(raw, B, 6);
    sd_dict_train *t = fresh(o, raw, B);
    for (int f = 0; f < M; f++) t->last_fired[f] = f % 5 == 0 ? -100 : 1000; /* 12 dead ones, 5 of them a row */
    t->n_tokens = 10;
    sd_train__centre(t, ex, sd_mat_of(raw, B, D));
    sd_rng r = sd_rng_make(8, "aux", 0);
    for (int i = 0; i < B * D; i++) t->e[i] = sd_rng_normal(&r);
    for (int f = 0; f < M; f++) t->b[f] = 0.05f * sd_rng_normal(&r);
    const double loss = sd_train__aux(t, ex, B);
    assert_int_equal(t->aux.n_used, 12);
    double gD[M * D] = {0}, gW[M * D] = {0}, gb[M] = {0}, want = 0;
    for (int row = 0; row < B; row++) {
        double z[M], e[D];
        bool on[M] = {false};
        for (int f = 0; f < M; f += 5) {
            z[f] = (double)t->b[f];
            for (int c = 0; c < D; c++) z[f] += (double)t->x[row * D + c] * (double)t->W[f * D + c];
        }
        for (int i = 0; i < 5; i++) {
            int best = -1;
            for (int f = 0; f < M; f += 5)
                if (!on[f] && (best < 0 || z[f] > z[best])) best = f;
            on[best] = true;
        }
        for (int c = 0; c < D; c++) e[c] = (double)t->e[row * D + c];
        for (int f = 0; f < M; f += 5)
            for (int c = 0; c < D && on[f] && z[f] > 0; c++) e[c] += z[f] * (double)t->D[f * D + c];
        for (int c = 0; c < D; c++) want += e[c] * e[c] / (32 * B);
        for (int f = 0; f < M; f += 5) {
            double dz = 0;
            if (!on[f] || !(z[f] > 0)) continue;
            for (int c = 0; c < D; c++) dz += e[c] * 2 / (32 * B) * (double)t->D[f * D + c];
            gb[f] += dz;
            for (int c = 0; c < D; c++) gD[f * D + c] += z[f] * e[c] * 2 / (32 * B), gW[f * D + c] += dz * (double)t->x[row * D + c];
        }
    }
    assert_true(fabs(loss - want) < 1e-5 * want);
    for (int f = 0; f < M; f++) {
        const int32_t s = t->aux.slot[f];
        assert_int_equal(s >= 0, f % 5 == 0);
        if (s < 0) continue;
        /* f32 sums of 40 rows against double: 1e-6 of the largest element, 5e-4 here. */
        for (int c = 0; c < D; c++) {
            assert_true(fabs((double)t->aux.gD[s * D + c] - gD[f * D + c]) < 1e-7);
            assert_true(fabs((double)t->aux.gW[s * D + c] - gW[f * D + c]) < 1e-7);
        }
        assert_true(fabs((double)t->aux.gb[s] - gb[f]) < 1e-7);
    }
    sd_dict_train_free(t);
}

static void test_refusals(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_dict_train *t;
    static float raw[B * D];
    rows_of(raw, B, 7);
    sd_dict_train_opt o = plain(10);
    o.kind = SD_DICT_KIND_COUNT;
    assert_int_equal(sd_dict_train_new(&t, ex, &o, &err), SD_E_ARG);
    o = plain(10);
    o.k = M + 1;
    assert_int_equal(sd_dict_train_new(&t, ex, &o, &err), SD_E_ARG);
    o = plain(10);
    o.k_start = 8; /* in how many steps? */
    assert_int_equal(sd_dict_train_new(&t, ex, &o, &err), SD_E_ARG);
    o.k_anneal = 10;
    assert_int_equal(sd_dict_train_new(&t, ex, &o, &err), SD_E_ARG);
    assert_non_null(strstr(err.msg, "has 10 steps, annealing would take 10"));
    o = plain((1 << 24) + 1); /* each step has a number in memory: a checkpoint may not claim them */
    assert_int_equal(sd_dict_train_new(&t, ex, &o, &err), SD_E_ARG);
    assert_non_null(strstr(err.msg, "a run of 16777217 steps is impossible"));
    o = plain(10);
    o.routes = 4, o.listed = 16, o.in_turn = 2, o.exact_until = 1e175;
    assert_int_equal(sd_dict_train_new(&t, ex, &o, &err), SD_E_ARG);
    assert_non_null(strstr(err.msg, "a share is at most 1"));
    o = plain(10);
    o.kind = SD_DICT_STANDARD, o.without = SD_WITHOUT_UNIT_DECODER;
    assert_int_equal(sd_dict_train_new(&t, ex, &o, &err), SD_E_ARG);
    t = fresh(plain(10), raw, B);
    float *before = sd_malloc(M * D * 4);
    sd_dict_stats st;
    t_ok(sd_dict_train_step(t, ex, sd_mat_of(raw, B, D), &st, &err), err);
    memcpy(before, t->W, M * D * 4);
    raw[5 * D + 1] = NAN;
    assert_int_equal(sd_dict_train_step(t, ex, sd_mat_of(raw, B, D), &st, &err), SD_E_FAIL);
    assert_non_null(strstr(err.msg, "row 5"));
    assert_int_equal(st.n_nonfinite, 1);
    assert_int_equal(st.step, 1);
    assert_memory_equal(before, t->W, M * D * 4);
    raw[5 * D + 1] = 0;
    t_ok(sd_dict_train_step(t, ex, sd_mat_of(raw, B, D), &st, &err), err);
    assert_int_equal(st.step, 2);
    sd_free(before);
    sd_dict_train_free(t);
    /* Rows that are all the same say nothing about scale. */
    for (int i = 0; i < B * D; i++) raw[i] = 2.0f;
    o = plain(10);
    t_ok(sd_dict_train_new(&t, ex, &o, &err), err);
    assert_int_equal(sd_dict_train_calibrate(t, ex, sd_mat_of(raw, B, D), &err), SD_E_FORMAT);
    sd_dict_train_free(t);
}

static int run_level(const char *level)
{
    sd_err err = {0};
    sd_cpu cpu;
    char name[64];
    if (!sd_cpu_detect(&cpu, level)) return printf("skip: this CPU has no %s\n[  SKIPPED ] train at %s\n", level, level), 0;
    if (sd_exec_new(&ex, &(sd_exec_opt){level, 2}, &err)) return printf("%s\n", err.msg), 1;
    const struct CMUnitTest tests[] = {T(test_gradient_formulas), T(test_steps_equal_dense_adam), T(test_drift_is_dense_adam), T(test_schedule_and_defaults), T(test_plan), T(test_audits_of_every_turn),
                                       T(test_calibrate), T(test_first_threshold), T(test_dead_and_aux), T(test_aux_gradient), T(test_refusals), T(test_k_anneals), T(test_without), T(test_frozen_decoder), T(test_sparsity_warmup)};
    snprintf(name, sizeof name, "train at %s", level);
    const int rc = cmocka_run_group_tests_name(name, tests, NULL, NULL);
    sd_exec_free(ex);
    if (sd_mem_live_blocks() != 0) return printf("%lld blocks left\n", (long long)sd_mem_live_blocks()), 1;
    return rc ? 1 : 0;
}

int main(void)
{
    static const char *const level[] = {"ref", "avx2", "auto"};
    int bad = 0, st;
    for (int i = 0; i < 3; i++) {
        fflush(stdout);
        const pid_t p = fork();
        if (p == 0) {
            st = run_level(level[i]);
            fflush(stdout);
            exit(st);
        }
        if (p < 0 || waitpid(p, &st, 0) != p || st != 0) bad = 1;
    }
    return bad;
}
