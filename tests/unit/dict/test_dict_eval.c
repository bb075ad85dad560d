/* Every metric against its definition, summed plainly over all rows at once, with blocks of different sizes. */
#include "t.h"

#include "base/mem.h"
#include "base/rng.h"
#include "dict/dict_eval.h"

#include <math.h>

enum { N = 90, D = 7, M = 30 };

static double metric(const sd_dict_metrics *m, const char *want)
{
    const char *id;
    double v;
    for (int i = 0; sd_dict_metric_at(m, i, &id, &v); i++)
        if (strcmp(id, want) == 0) return v;
    fail_msg("there is no metric %s", want);
    return 0;
}

static void close_to(const sd_dict_metrics *m, const char *id, double want)
{
    const double got = metric(m, id);
    if (!(fabs(got - want) <= 1e-12 * (1 + fabs(want)))) fail_msg("%s: %.15g, expected %.15g", id, got, want);
}

static void test_definitions(void **state)
{
    (void)state;
    sd_err err = {0};
    float x[N * D], y[N * D], val[N * 4];
    int32_t idx[N * 4];
    int64_t ptr[N + 1];
    sd_rng r = sd_rng_make(1, "eval", 0);
    for (int i = 0; i < N * D; i++) x[i] = 3 + sd_rng_normal(&r), y[i] = 0.9f * x[i] + 0.2f * sd_rng_normal(&r);
    int fired[M] = {0};
    double l0 = 0, l1 = 0;
    for (int i = 0, e = 0; i < N; i++) {
        ptr[i] = e;
        for (int j = 0; j < i % 4; j++, e++) {
            idx[e] = j == 1 ? i % 2 : (i * 7 + j) % (M - 5), val[e] = 0.5f + (float)j;
            fired[idx[e]]++;
            l0++, l1 += (double)val[e];
        }
        ptr[i + 1] = e;
    }
    double mean[D] = {0}, e2 = 0, x2 = 0, y2 = 0, xy = 0, var = 0, cosine = 0, ratio = 0, legacy = 0, alive = 0, mean_e[D] = {0}, var_e = 0, len = 0, norm = 0, often = 0, very = 0;
    for (int i = 0; i < N * D; i++) mean[i % D] += (double)x[i] / N, mean_e[i % D] += ((double)x[i] - (double)y[i]) / N;
    for (int i = 0; i < N * D; i++) var_e += pow((double)x[i] - (double)y[i] - mean_e[i % D], 2);
    static const int cut[] = {0, 1, 40, 90};
    for (int b = 0; b < 3; b++) {
        double bm[D] = {0};
        for (int i = cut[b]; i < cut[b + 1]; i++)
            for (int c = 0; c < D; c++) bm[c] += (double)x[i * D + c] / (cut[b + 1] - cut[b]);
        for (int i = cut[b]; i < cut[b + 1]; i++) {
            double re = 0, rx = 0, ry = 0, rxy = 0, rb = 0;
            for (int c = 0; c < D; c++) {
                const double a = (double)x[i * D + c], o = (double)y[i * D + c];
                re += (a - o) * (a - o), rx += a * a, ry += o * o, rxy += a * o, rb += (a - bm[c]) * (a - bm[c]), var += (a - mean[c]) * (a - mean[c]);
            }
            len += sqrt(re) / N, norm += re / rx / N;
            e2 += re, x2 += rx, y2 += ry, xy += rxy;
            cosine += rxy / sqrt(rx * ry) / N, ratio += sqrt(ry / rx) / N;
            if (b > 0) legacy += (1 - re / rb) / (N - 1); /* a block of one row has no spread of its own */
        }
    }
    for (int f = 0; f < M; f++) alive += fired[f] > 0, often += fired[f] > N / 100, very += fired[f] > N / 10;
    sd_dict_metrics m;
    t_ok(sd_dict_metrics_init(&m, D, M, &err), err);
    for (int b = 0; b < 3; b++) {
        int64_t part[N + 1];
        const int64_t n = cut[b + 1] - cut[b], base = ptr[cut[b]];
        for (int64_t i = 0; i <= n; i++) part[i] = ptr[cut[b] + i] - base;
        const sd_codes z = {.n = n, .nnz = part[n], .row_ptr = part, .idx = idx + base, .val = val + base};
        sd_dict_metrics_add(&m, sd_mat_of(x + cut[b] * D, n, D), sd_mat_of(y + cut[b] * D, n, D), &z);
    }
    sd_dict_metrics_finish(&m);
    assert_int_equal(m.n_rows, N);
    assert_true(very > 0 && often > very); /* the shares have something to tell apart */
    close_to(&m, "explained_variance_saebench060", 1 - e2 / N / (x2 / N - pow(x2 / N / D, 2)));
    close_to(&m, "frac_variance_explained", 1 - var_e / var);
    close_to(&m, "l2_loss", len);
    close_to(&m, "normalized_mse_openai", norm);
    close_to(&m, "frac_alive", alive / M);
    close_to(&m, "freq_over_1_percent", often / M);
    close_to(&m, "freq_over_10_percent", very / M);
    close_to(&m, "fvu", e2 / var);
    close_to(&m, "explained_variance", 1 - e2 / var);
    close_to(&m, "explained_variance_legacy", legacy);
    close_to(&m, "explained_variance_vs0", 1 - e2 / x2);
    close_to(&m, "mse", e2 / N);
    close_to(&m, "l0", l0 / N);
    close_to(&m, "l1", l1 / N);
    close_to(&m, "cossim", cosine);
    close_to(&m, "l2_ratio", ratio);
    close_to(&m, "relative_reconstruction_bias", y2 / xy);
    close_to(&m, "silent_share", 1 - alive / M);
    int64_t bin[SD_DENSITY_BINS] = {0};
    for (int f = 0; f < M; f++)
        for (int b = 0; b < SD_DENSITY_BINS && fired[f]; b++) /* the last bin holds 0 too */
            bin[b] += log10((double)fired[f] / N) >= -8 + 0.5 * b && (b == SD_DENSITY_BINS - 1 || log10((double)fired[f] / N) < -7.5 + 0.5 * b);
    assert_memory_equal(bin, m.density_bin, sizeof bin);
    sd_dict_metrics_release(&m);
}

static void test_perfect_and_none(void **state)
{
    (void)state;
    sd_err err = {0};
    float x[4 * D];
    int64_t ptr[5] = {0};
    for (int i = 0; i < 4 * D; i++) x[i] = (float)(i * i % 13);
    const sd_codes z = {.n = 4, .row_ptr = ptr};
    sd_dict_metrics m;
    t_ok(sd_dict_metrics_init(&m, D, M, &err), err);
    sd_dict_metrics_add(&m, sd_mat_of(x, 4, D), sd_mat_of(x, 4, D), &z);
    sd_dict_metrics_finish(&m);
    assert_true(m.fvu == 0 && m.mse == 0 && m.l0 == 0 && m.silent_share == 1 && fabs(m.cossim - 1) < 1e-12 && fabs(m.l2_ratio - 1) < 1e-12);
    t_ok(sd_dict_metrics_init(&m, D, M, &err), err);
    sd_dict_metrics_finish(&m); /* no rows: not a number, never a quiet zero */
    assert_true(isnan(m.fvu) && isnan(m.mse) && isnan(m.l0) && isnan(m.cossim));
    assert_int_equal(sd_mem_live_blocks(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(test_definitions), T(test_perfect_and_none)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
