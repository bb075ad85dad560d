/* What is foreseen: the gradients are those of the loss it states (central differences), documents end where they end, and the bits
 * do not depend on threads. */
#include "t.h"

#include "lab/foresee.h"
#include "model/model.h"
#include "num/exec.h"

#include <math.h>

enum { V = 11, D = 6, N = 9 };
static const int32_t tok[N] = {3, 1, 4, 1, 5, 9, 2, 6, 5};
static const int64_t row0[3] = {0, 5, N}; /* two documents; the last row of each has nothing ahead */

static sd_exec *new_exec(int threads)
{
    sd_exec *ex;
    sd_err err = {0};
    t_ok(sd_exec_new(&ex, &(sd_exec_opt){.n_threads = threads}, &err), err);
    return ex;
}

static sd_foresee *new_foresee(const sd_exec *ex, double weight)
{
    sd_foresee *f;
    sd_err err = {0};
    sd_model m = {.cfg = {.n_vocab = V, .d_model = D, .n_layer = 4}};
    t_ok(sd_foresee_new(&f, ex, &m, &(sd_foresee_opt){.weight = weight, .horizon = 3, .layer = -1}, N, &err), err);
    for (int i = 0; i < V * D; i++) sd_foresee_array(f, 0)[i] = 0.3f * sinf((float)(7 * i + 1));
    return f;
}

/* The loss at x, and what is added to its derivative. */
static double pass(sd_foresee *f, float *x, float *dx)
{
    sd_err err = {0};
    const sd_grad_hook *h = sd_foresee_hook(f);
    memset(dx, 0, N * D * sizeof *dx);
    sd_foresee_begin(f, N - 2);
    const sd_grad_act act = {h->at[0], sd_mat_of(x, N, D), sd_mat_of(dx, N, D), tok, 2, row0};
    t_ok(h->fn(h->self, &act, &err), err);
    return sd_foresee_loss(f);
}

static void fill(float *x)
{
    for (int i = 0; i < N * D; i++) x[i] = cosf((float)(3 * i));
}

static void test_gradients(void **state)
{
    (void)state;
    sd_exec *ex = new_exec(1);
    sd_foresee *f = new_foresee(ex, 0.5);
    float x[N * D], dx[N * D], g[V * D], other[N * D], before[V * D], *a = sd_foresee_array(f, 0);
    const float h = 1e-2f;
    fill(x);
    assert_int_equal(sd_foresee_hook(f)->at[0].layer, 1); /* of four blocks, at half depth */
    pass(f, x, dx);
    memcpy(before, a, sizeof before);
    sd_foresee_update(f, &(sd_adamw_opt){.lr = 0, .beta1 = 0, .beta2 = 0.5, .eps = 1e-8, .scale = 1, .step = 1});
    memcpy(g, sd_foresee_array(f, 1), sizeof g); /* the first moment with beta1 = 0 is the gradient */
    assert_memory_equal(before, a, sizeof before);
    for (int i = 0; i < N * D; i++) {
        const float keep = x[i];
        x[i] = keep + h;
        const double up = pass(f, x, other);
        x[i] = keep - h;
        const double down = pass(f, x, other);
        x[i] = keep;
        /* 2e-4: f32 scores, and h^2 times the third derivative */
        assert_true(fabs(0.5 * (up - down) / (2 * (double)h) - (double)dx[i]) < 2e-4);
    }
    for (int i = 0; i < V * D; i++) {
        const float keep = a[i];
        a[i] = keep + h;
        const double up = pass(f, x, other);
        a[i] = keep - h;
        const double down = pass(f, x, other);
        a[i] = keep;
        assert_true(fabs(0.5 * (up - down) / (2 * (double)h) - (double)g[i]) < 2e-4);
    }
    for (int c = 0; c < D; c++) { /* nothing lies ahead of a document's last token */
        assert_true(dx[4 * D + c] == 0.0f && dx[(N - 1) * D + c] == 0.0f);
        assert_true(dx[3 * D + c] != 0.0f);
    }
    sd_foresee_free(f);
    sd_exec_free(ex);
}

static void test_uniform_loss(void **state)
{
    (void)state;
    sd_exec *ex = new_exec(1);
    sd_foresee *f = new_foresee(ex, 1);
    float x[N * D], dx[N * D];
    fill(x);
    memset(sd_foresee_array(f, 0), 0, V * D * sizeof(float));
    assert_true(fabs(pass(f, x, dx) - log(V)) < 1e-6); /* 7 rows that foresee, N counts 7 */
    sd_foresee_free(f);
    sd_exec_free(ex);
}

static void test_threads(void **state)
{
    (void)state;
    float x[N * D], dx[2][N * D];
    double loss[2];
    fill(x);
    for (int i = 0; i < 2; i++) {
        sd_exec *ex = new_exec(1 + i);
        sd_foresee *f = new_foresee(ex, 1);
        loss[i] = pass(f, x, dx[i]);
        sd_foresee_free(f);
        sd_exec_free(ex);
    }
    assert_memory_equal(dx[0], dx[1], sizeof dx[0]);
    assert_true(loss[0] == loss[1]);
}

static void test_refused(void **state)
{
    (void)state;
    sd_exec *ex = new_exec(1);
    sd_foresee *f;
    sd_err err = {0};
    sd_model m = {.cfg = {.n_vocab = V, .d_model = D, .n_layer = 4}};
    assert_int_equal(sd_foresee_new(&f, ex, &m, &(sd_foresee_opt){.weight = 1, .layer = 4}, N, &err), SD_E_ARG);
    assert_int_equal(sd_foresee_new(&f, ex, &m, &(sd_foresee_opt){.weight = -1}, N, &err), SD_E_ARG);
    sd_exec_free(ex);
}

static const struct CMUnitTest tests[] = {T(test_gradients), T(test_uniform_loss), T(test_threads), T(test_refused)};
T_MAIN(tests)
