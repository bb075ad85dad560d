/* A transcoder in small batches at its own rate: the rows that take many of a batch's entries must not overshoot, which shows in what was not trained
 * on. The mean is that of rows which lie a little beside the others, as the end of one document does; at the rates of TopK (3.4e-3 here) these
 * rows then have 400 active features instead of 16 and an FVU above 2. */
#include "t.h"

#include "dict/dict_trans_int.h"

#include <math.h>

enum { D = 512, M = 2048, K = 16, B = 64, STEPS = 300, PLANTED = 1500, FIRES = 12, BESIDE = 512, HELD = 512 };

typedef struct world { float *x, *y, *share, u[D]; } world; /* [PLANTED, D] each; running sum of how often each fires */

static void world_of(world *w)
{
    sd_rng r = sd_rng_make(11, "planted", 0);
    w->x = sd_malloc(PLANTED * D * 4), w->y = sd_malloc(PLANTED * D * 4), w->share = sd_malloc(PLANTED * 4);
    for (int i = 0; i < PLANTED * D; i++) w->x[i] = sd_rng_normal(&r), w->y[i] = sd_rng_normal(&r);
    for (int i = 0; i < D; i++) w->u[i] = sd_rng_normal(&r);
    for (int i = 0; i < PLANTED; i++) w->share[i] = (i ? w->share[i - 1] : 0) + powf((float)(i + 1), -0.7f);
}

/* A row [x | y]: x a sum of planted rows and noise, scaled as RMSNorm does; y the same sum of other rows, of a strength that varies a lot. */
static void row_of(float *to, const world *w, sd_rng *r, float beside)
{
    double n2 = 0;
    const float by = expf(0.8f * sd_rng_normal(r));
    for (int c = 0; c < D; c++) to[c] = 0.3f * sd_rng_normal(r), to[D + c] = 0;
    for (int j = 0; j < FIRES; j++) {
        const float at = (float)sd_rng_uniform(r) * w->share[PLANTED - 1], a = 1.0f + (float)sd_rng_uniform(r);
        int f = 0;
        while (f < PLANTED - 1 && w->share[f] < at) f++;
        for (int c = 0; c < D; c++) to[c] += a * w->x[f * D + c], to[D + c] += by * a * w->y[f * D + c];
    }
    for (int c = 0; c < D; c++) n2 += (double)to[c] * (double)to[c];
    for (int c = 0; c < D; c++) to[c] = to[c] / (float)sqrt(n2 / D) + beside * w->u[c];
}

static void test_small_batches(void **state)
{
    enum { W = 2 * D };
    sd_err err = {0};
    sd_exec *ex;
    world w;
    sd_trans *t;
    sd_dict *d;
    sd_dict_stats st;
    sd_rng r = sd_rng_make(12, "rows", 0);
    float *held = sd_malloc((BESIDE + HELD) * W * 4), *batch = sd_malloc(B * W * 4);
    (void)state;
    world_of(&w);
    for (int i = 0; i < BESIDE + HELD; i++) row_of(held + i * W, &w, &r, i < BESIDE ? 0.25f : 0);
    t_ok(sd_exec_new(&ex, &(sd_exec_opt){NULL, 2}, &err), err);
    t_ok(sd_trans_new(&t, ex, &(sd_dict_train_opt){.kind = SD_DICT_SKIP_TRANSCODER, .d = D, .d_out = D, .m = M, .k = K, .batch = B, .n_tokens = B * STEPS}, &err), err);
    t_ok(sd_trans_calibrate(t, ex, sd_mat_of(held, BESIDE, W), &err), err);
    for (int s = 0; s < STEPS; s++) {
        for (int i = 0; i < B; i++) row_of(batch + i * W, &w, &r, 0);
        t_ok(sd_trans_step(t, ex, sd_mat_of(batch, B, W), &st, &err), err);
        assert_true(st.fvu < 1.5);
    }
    t_ok(sd_trans_finish(t, ex, sd_mat_of(held, BESIDE + HELD, W), &(sd_dict_info){0}, &d, &err), err);
    const sd_dict_info *i = sd_dict_get_info(d);
    if (!(i->fvu < 1 && i->l0 > 0.5 * K && i->l0 < 2 * K)) fail_msg("held out: FVU %g, %g active features for k %d", i->fvu, i->l0, K);
    sd_dict_free(d), sd_trans_free(t), sd_exec_free(ex);
    sd_free(held), sd_free(batch), sd_free(w.x), sd_free(w.y), sd_free(w.share);
}

/* The plan is what a trainer takes. */
static void test_plan(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_exec *ex;
    t_ok(sd_exec_new(&ex, &(sd_exec_opt){NULL, 2}, &err), err);
    for (int skip = 0; skip < 2; skip++) {
        const sd_dict_train_opt o = {.kind = skip ? SD_DICT_SKIP_TRANSCODER : SD_DICT_TRANSCODER, .d = D, .d_out = 3 * D, .m = M, .k = K, .batch = 8 * B, .n_tokens = 80 * B};
        const int64_t before = sd_mem_live_bytes();
        sd_trans *t;
        t_ok(sd_trans_new(&t, ex, &o, &err), err);
        const double is = (double)(sd_mem_live_bytes() - before), said = (double)sd_trans_plan(ex, &o);
        if (!(is < said + 65536 && said < 1.3 * is + 65536)) fail_msg("%.0f bytes, %.0f were planned", is, said); /* as in test_dict_train.c */
        sd_trans_free(t);
    }
    sd_exec_free(ex);
}

static const struct CMUnitTest tests[] = {T(test_small_batches), T(test_plan)};
T_MAIN(tests)
