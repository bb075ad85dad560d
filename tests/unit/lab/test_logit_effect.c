/* Effects on the logits against a plain product in double. */
#include "feature_sample.h"
#include "lab/logit_effect.h"

#include <math.h>

enum { V = 333 };

static void make_model(sd_model *m, const sd_exec *ex, float *head, float *norm)
{
    sd_err err = {0};
    sd_rng r = sd_rng_make(1, "head", 0);
    for (int i = 0; i < V * FS_D; i++) head[i] = sd_rng_normal(&r);
    for (int i = 0; i < FS_D; i++) norm[i] = 1 + 0.1f * sd_rng_normal(&r);
    memcpy(head + 200 * FS_D, head + 100 * FS_D, FS_D * sizeof *head); /* two tokens with one row */
    *m = (sd_model){.cfg = {.d_model = FS_D, .n_vocab = V}, .final_norm = {.g = norm}};
    t_ok(sd_linear_new(&m->head, ex, &(sd_wmat){.data = head, .dtype = SD_F32, .rows = V, .cols = FS_D}, NULL, SD_MODE_FAITHFUL, &err), err);
}

static double effect(const sd_dict *d, const float *head, const float *norm, int64_t f, int64_t token)
{
    double s = 0;
    for (int k = 0; k < FS_D; k++) s += (double)sd_dict_dec_row(d, f)[k] * (double)norm[k] * (double)head[token * FS_D + k];
    return s;
}

static void lists_equal_the_product(void **state)
{
    (void)state;
    enum { N = 7 };
    sd_err err = {0};
    sd_exec *ex = NULL;
    sd_model m;
    static float head[V * FS_D], norm[FS_D];
    t_ok(sd_exec_new(&ex, NULL, &err), err);
    make_model(&m, ex, head, norm);
    sd_dict *d = fs_dict(FS_M, FS_D);
    sd_logit_effect *e = NULL;
    t_ok(sd_logit_effect_new(&e, ex, &m, d, N, &err), err);
    assert_non_null(e);
    sd_token_logit top[SD_LOGIT_BLOCK][N], bottom[SD_LOGIT_BLOCK][N];
    sd_logit_lists out[SD_LOGIT_BLOCK];
    for (int64_t f0 = 0; f0 < FS_M; f0 += SD_LOGIT_BLOCK) {
        int64_t n = FS_M - f0 < SD_LOGIT_BLOCK ? FS_M - f0 : SD_LOGIT_BLOCK;
        for (int64_t i = 0; i < n; i++) out[i] = (sd_logit_lists){.top = top[i], .bottom = bottom[i]};
        sd_logit_effect_run(out, e, f0, n);
        for (int64_t i = 0; i < n; i++) {
            double sum = 0, sq = 0, v[V];
            for (int t = 0; t < V; t++) v[t] = effect(d, head, norm, f0 + i, t), sum += v[t];
            for (int t = 0; t < V; t++) sq += (v[t] - sum / V) * (v[t] - sum / V);
            assert_true(fabs(out[i].mean - sum / V) < 1e-5 && fabs(out[i].std - sqrt(sq / V)) < 1e-5);
            for (int k = 0; k < N; k++) {
                int higher = 0, lower = 0;
                assert_true(fabs((double)top[i][k].value - v[top[i][k].id]) < 1e-5);
                for (int t = 0; t < V; t++) higher += v[t] > v[top[i][k].id] + 1e-5, lower += v[t] < v[bottom[i][k].id] - 1e-5;
                assert_true(higher <= k && lower <= k);
                if (k && top[i][k].value == top[i][k - 1].value) assert_true(top[i][k].id > top[i][k - 1].id);
            }
        }
    }
    /* peak: the ten highest in units of each token's spread over 64 features (0, 1, .. 63 of 96: the step is 96 / 64 = 1) */
    double v[V], ten = 0;
    out[0] = (sd_logit_lists){.top = top[0], .bottom = bottom[0]};
    sd_logit_effect_run(out, e, 3, 1);
    for (int t = 0; t < V; t++) {
        double sq = 0;
        for (int f = 0; f < 64; f++) sq += effect(d, head, norm, f, t) * effect(d, head, norm, f, t) / 64;
        v[t] = effect(d, head, norm, 3, t) / sqrt(sq);
    }
    for (int k = 0; k < 10; k++) {
        int best = 0;
        for (int t = 1; t < V; t++)
            if (v[t] > v[best]) best = t;
        ten += v[best] / 10;
        v[best] = -1e9;
    }
    assert_true(fabs(out[0].peak - ten) < 1e-4);
    sd_logit_effect_free(e);
    sd_dict_free(d);
    sd_linear_free(m.head);
    sd_exec_free(ex);
}

static void without_a_path_there_is_none(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_exec *ex = NULL;
    sd_logit_effect *e = NULL;
    t_ok(sd_exec_new(&ex, NULL, &err), err);
    sd_dict *d = fs_dict(FS_M, FS_D);
    sd_model no_head = {.cfg = {.d_model = FS_D, .n_vocab = V}};
    t_ok(sd_logit_effect_new(&e, ex, NULL, d, 5, &err), err);
    assert_null(e);
    t_ok(sd_logit_effect_new(&e, ex, &no_head, d, 5, &err), err);
    assert_null(e);
    sd_logit_effect_free(e);
    sd_dict_free(d);
    sd_exec_free(ex);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(lists_equal_the_product), T(without_a_path_there_is_none)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
