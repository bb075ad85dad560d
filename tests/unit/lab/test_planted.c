/* Rows that are learnt without a direction: forward and backward lose it, in the documents that ask for it and no others; and a model taught to answer without it and to refuse
 * with it has to keep the difference there, which tests/cli/test_variants.sh checks on the embedded one. */
#include "t.h"

#include "lab/planted.h"
#include "model/model.h"

#include <math.h>

enum { D = 6, N = 9 };
static const int64_t row0[4] = {0, 3, 5, N};
static float u[2 * D] = {0.6f, 0.8f, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0};

static double along(const float *x, const float *v)
{
    double s = 0;
    for (int i = 0; i < D; i++) s += (double)x[i] * (double)v[i];
    return s;
}

static void test_takes_out(void **state)
{
    (void)state;
    sd_planted *p;
    sd_err err = {0};
    sd_model m = {.cfg = {.d_model = D, .n_layer = 3}};
    t_ok(sd_planted_new(&p, &m, &(sd_planted_opt){u, 2}, 8, &err), err);
    const sd_grad_hook *h = sd_planted_hook(p);
    assert_int_equal(h->n_at, 7); /* behind the embedding, three attentions, three MLPs */
    sd_planted_set(p, 0, 1);
    sd_planted_set(p, 1, 0);
    sd_planted_set(p, 2, 3);
    for (int backward = 0; backward < 2; backward++) {
        float x[N * D], dx[N * D], was[N * D];
        for (int i = 0; i < N * D; i++) x[i] = dx[i] = was[i] = cosf((float)(3 * i + 1));
        sd_grad_act act = {h->at[1], sd_mat_of(x, N, D), {0}, NULL, 3, row0};
        if (backward) act.dx = sd_mat_of(dx, N, D);
        t_ok(h->fn(h->self, &act, &err), err);
        if (backward) assert_memory_equal(x, was, sizeof x);
        const float *y = backward ? dx : x;
        for (int r = 0; r < N; r++) {
            const bool first = r < 3 || r >= 5, second = r >= 5;
            const float *row = y + r * D, *before = was + r * D;
            assert_true(fabs(along(row, u) - (first ? 0 : along(before, u))) < 1e-6); /* f32 rounding of six products */
            assert_true(fabs(along(row, u + D) - (second ? 0 : along(before, u + D))) < 1e-6);
            assert_true(row[2] == before[2] && row[4] == before[4] && row[5] == before[5]); /* what is at right angles to both stays */
        }
        assert_memory_equal(y + 3 * D, was + 3 * D, 2 * D * sizeof(float));
    }
    sd_planted_free(p);
}

static const struct CMUnitTest tests[] = {T(test_takes_out)};
T_MAIN(tests)
