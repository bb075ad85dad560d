/* The guards' formulas: the pull is the gradient of its loss, the projection takes what it must and no more, safelora is its own definition written out. */
#include "t.h"

#include "base/rng.h"
#include "lab/guard.h"

#include <math.h>

enum { N = 64 };

static void draw(float *v, int64_t n, uint64_t seed)
{
    sd_rng g = sd_rng_make(seed, "test guard", 0);
    for (int64_t i = 0; i < n; i++) v[i] = (float)(2 * sd_rng_uniform(&g) - 1);
}

static double dot(const float *a, const float *b, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += (double)a[i] * (double)b[i];
    return s;
}

/* Central differences: the loss is quadratic, so they are exact but for the rounding of w to f32. */
static void test_proximal(void **state)
{
    float w[N], turn[N], g[N] = {0}, trash[N] = {0};
    (void)state;
    draw(w, N, 1), draw(turn, N, 2);
    sd_guard_proximal(g, w, turn, N, 0.7);
    for (int i = 0; i < N; i++) {
        const float keep = w[i], step = 1.0f / 64;
        w[i] = keep + step;
        const double up = sd_guard_proximal(trash, w, turn, N, 0.7);
        w[i] = keep - step;
        const double down = sd_guard_proximal(trash, w, turn, N, 0.7);
        w[i] = keep;
        assert_true(fabs((up - down) / (2 * (double)step) - (double)g[i]) < 1e-5);
    }
    assert_true(sd_guard_proximal(trash, w, w, N, 0.7) <= 0);
}

static void test_project(void **state)
{
    float w[N], before[N], s[N], was[N];
    int n_bent = 0;
    (void)state;
    for (uint64_t seed = 0; seed < 40; seed++) {
        draw(before, N, 3 * seed), draw(s, N, 3 * seed + 1), draw(w, N, 3 * seed + 2);
        for (int i = 0; i < N; i++) w[i] = before[i] + 0.01f * w[i], was[i] = w[i];
        double up = 0, left = 0;
        for (int i = 0; i < N; i++) up += ((double)w[i] - (double)before[i]) * (double)s[i];
        const bool bent = sd_guard_project(w, before, s, N);
        assert_int_equal(bent, up > 0);
        if (!bent) assert_memory_equal(w, was, sizeof w);
        if (!bent) continue;
        n_bent++;
        const double c = up / dot(s, s, N);
        for (int i = 0; i < N; i++) left += ((double)w[i] - (double)before[i]) * (double)s[i];
        assert_true(fabs(left) < 1e-6); /* rounding of w to f32 */
        for (int i = 0; i < N; i++) assert_true(fabs((double)was[i] - c * (double)s[i] - (double)w[i]) < 1e-7);
        assert_true(fabs(dot(s, s, N)) > 0);
    }
    assert_true(n_bent > 5 && n_bent < 35);
    float none[N] = {0};
    assert_false(sd_guard_project(w, before, none, N));
}

/* No weight moves along its part of s, the others as they did. */
static void test_mask(void **state)
{
    float w[N], before[N], s[N], was[N];
    int n_back = 0;
    (void)state;
    draw(before, N, 1), draw(s, N, 2), draw(w, N, 3);
    s[0] = 0;
    memcpy(was, w, sizeof w);
    assert_true(sd_guard_mask(w, before, s, N));
    for (int i = 0; i < N; i++) {
        const bool up = (double)(was[i] - before[i]) * (double)s[i] > 0;
        assert_true(up ? w[i] == before[i] : w[i] == was[i]);
        n_back += up;
    }
    assert_true(n_back > N / 4 && n_back < 3 * N / 4);
    assert_false(sd_guard_mask(w, before, s, N));
}

/* C = V V^T / ||V||_F formed, C B A and B A formed, their cosine. */
static void test_safelora(void **state)
{
    enum { OUT = 7, IN = 5, R = 2 };
    float v[OUT * IN], b[OUT * R], a[R * IN], cb[OUT * R], s[IN * R];
    double c[OUT][OUT] = {{0}}, want[OUT][R] = {{0}}, xx = 0, yy = 0, xy = 0, norm = 0;
    (void)state;
    draw(v, OUT * IN, 7), draw(b, OUT * R, 8), draw(a, R * IN, 9);
    for (int i = 0; i < OUT * IN; i++) norm += (double)v[i] * (double)v[i];
    for (int i = 0; i < OUT; i++)
        for (int j = 0; j < OUT; j++)
            for (int k = 0; k < IN; k++) c[i][j] += (double)v[i * IN + k] * (double)v[j * IN + k] / sqrt(norm);
    for (int i = 0; i < OUT; i++)
        for (int k = 0; k < R; k++)
            for (int j = 0; j < OUT; j++) want[i][k] += c[i][j] * (double)b[j * R + k];
    for (int i = 0; i < OUT; i++)
        for (int j = 0; j < IN; j++) {
            double x = 0, y = 0;
            for (int k = 0; k < R; k++) x += want[i][k] * (double)a[k * IN + j], y += (double)b[i * R + k] * (double)a[k * IN + j];
            xx += x * x, yy += y * y, xy += x * y;
        }
    const sd_mat vm = sd_mat_of(v, OUT, IN), bm = sd_mat_of(b, OUT, R), am = sd_mat_of(a, R, IN), cm = sd_mat_of(cb, OUT, R), sm = sd_mat_of(s, IN, R);
    const double cosine = sd_guard_safelora(cm, vm, bm, am, sm);
    assert_true(fabs(cosine - xy / sqrt(xx * yy)) < 1e-5);
    for (int i = 0; i < OUT * R; i++) assert_true(fabs((double)cb[i] - want[i / R][i % R]) < 1e-5);
    float none[OUT * IN] = {0};
    assert_true(isnan(sd_guard_safelora(cm, sd_mat_of(none, OUT, IN), bm, am, sm)));
    assert_true(isnan(sd_guard_safelora(cm, vm, sd_mat_of(none, OUT, R), am, sm)));
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(sd_guard_name(SD_GUARD_NONE), "none");
    assert_string_equal(sd_guard_name(SD_GUARD_DEEP), "deep");
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(test_proximal), T(test_project), T(test_mask), T(test_safelora), T(test_names)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
