/* Intervals and tests against published tables and values computed with scipy 1.17 and statsmodels 0.15. */
#include "num/infer.h"
#include "t.h"
#include <math.h>

#define close_to(a, b, tol) assert_true(fabs((a) - (b)) <= (tol))

static void normal_quantiles(void **state)
{
    (void)state;
    close_to(sd_norm_quantile(0.975), 1.959963984540054, 1e-14); /* scipy.stats.norm.ppf */
    close_to(sd_norm_quantile(0.995), 2.5758293035489004, 1e-14);
    close_to(sd_norm_quantile(1e-10), -6.361340902404056, 1e-12);
    close_to(sd_norm_quantile(0.5), 0, 1e-15);
    for (double p = 0.001; p < 1; p += 0.0173) close_to(sd_norm_cdf(sd_norm_quantile(p)), p, 1e-14);
    assert_true(isinf(sd_norm_quantile(0)) && isinf(sd_norm_quantile(1)) && isnan(sd_norm_quantile(2)));
}

/* Newcombe 1998 (Statistics in Medicine 17, 857-872), table I, method 3: four decimals are printed. */
static void wilson_equals_newcombes_table(void **state)
{
    static const struct { int64_t k, n; double lo, hi; } row[] = {
        {81, 263, 0.2553, 0.3662}, {15, 148, 0.0624, 0.1605}, {0, 20, 0, 0.1611}, {1, 29, 0.0061, 0.1718}};
    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        sd_ci c = sd_ci_wilson(row[i].k, row[i].n, 0.95);
        close_to(c.lo, row[i].lo, 5e-5);
        close_to(c.hi, row[i].hi, 5e-5);
    }
    /* statsmodels 0.15 proportion_confint(method="wilson") */
    static const struct { int64_t k, n; double level, lo, hi; } sm[] = {
        {0, 7, 0.95, 0, 0.35433043506668743}, {3, 7, 0.95, 0.15821985525146975, 0.7495416354723428},
        {61, 100, 0.9, 0.5278853206182291, 0.6863192808094726}, {97, 100, 0.99, 0.8891247228489051, 0.9923878306982216},
        {259, 260, 0.95, 0.9785392297268466, 0.9993207364558602}, {1, 1, 0.95, 0.20654931437723745, 1}};
    for (size_t i = 0; i < sizeof sm / sizeof *sm; i++) {
        sd_ci c = sd_ci_wilson(sm[i].k, sm[i].n, sm[i].level);
        close_to(c.lo, sm[i].lo, 1e-13);
        close_to(c.hi, sm[i].hi, 1e-13);
    }
    sd_ci all = sd_ci_wilson(10, 10, 0.95), none = sd_ci_wilson(0, 0, 0.95);
    assert_true(all.hi == 1 && all.est == 1 && all.lo > 0.7);
    assert_true(isnan(none.est) && none.lo == 0 && none.hi == 1);
}

/* Fagerland, Lydersen and Laake 2014 (Statistics in Medicine 33, 2850-2875): airway hyper-responsiveness before and after stem cell
 * transplantation, 1, 1, 7, 12: difference -0.286, Newcombe's interval -0.507 to -0.026, exact McNemar 0.0703. */
static void paired_equals_fagerlands_example(void **state)
{
    sd_paired t = {.both = 1, .first = 1, .second = 7, .neither = 12};
    sd_ci c = sd_ci_newcombe(t, 0.95);
    (void)state;
    close_to(c.est, -0.286, 5e-4);
    close_to(c.lo, -0.507, 5e-4);
    close_to(c.hi, -0.026, 5e-4);
    close_to(sd_mcnemar_exact(t), 18.0 / 256, 1e-12);
    sd_paired turned = {.both = 1, .first = 7, .second = 1, .neither = 12};
    sd_ci d = sd_ci_newcombe(turned, 0.95);
    close_to(d.lo, -c.hi, 1e-14);
    close_to(d.hi, -c.lo, 1e-14);
    /* statsmodels 0.15 mcnemar(exact=True) */
    close_to(sd_mcnemar_exact((sd_paired){.first = 0, .second = 5}), 0.0625, 1e-14);
    close_to(sd_mcnemar_exact((sd_paired){.first = 20, .second = 31}), 0.16077960181198847, 1e-13);
    close_to(sd_mcnemar_exact((sd_paired){.first = 100, .second = 60}), 0.001953728034064355, 1e-13);
    assert_true(sd_mcnemar_exact((sd_paired){5, 8, 8, 5}) == 1);
    assert_true(sd_mcnemar_exact((sd_paired){5, 0, 0, 5}) == 1);
    assert_true(isnan(sd_ci_newcombe((sd_paired){0}, 0.95).est));
}

/* Two models that say the same still leave doubt, less with more prompts. */
static void no_difference_has_an_interval(void **state)
{
    (void)state;
    sd_ci small = sd_ci_newcombe((sd_paired){19, 0, 0, 1}, 0.95), large = sd_ci_newcombe((sd_paired){190, 0, 0, 10}, 0.95);
    assert_true(small.est == 0 && small.lo < 0 && small.hi > 0 && large.hi < small.hi && large.lo > small.lo);
}

static void holm_equals_statsmodels(void **state)
{
    static const double p[5] = {0.01, 0.04, NAN, 0.03, 0.005}, want[5] = {0.03, 0.06, NAN, 0.06, 0.02};
    double a[5];
    sd_err err = {0};
    (void)state;
    t_ok(sd_holm(a, p, 5, &err), err);
    for (int i = 0; i < 5; i++)
        if (isnan(want[i])) assert_true(isnan(a[i]));
        else close_to(a[i], want[i], 1e-15);
}

static void what_could_be_seen(void **state)
{
    (void)state;
    double d = sd_drop_visible(100, 0.97, 0.05, 0.95);
    int64_t lost = llround(d * 100);
    assert_true(lost > 5 && lost < 25);
    assert_true(sd_ci_newcombe((sd_paired){97 - lost, lost, 0, 3}, 0.95).lo > 0.05);
    assert_false(sd_ci_newcombe((sd_paired){97 - lost + 1, lost - 1, 0, 3}, 0.95).lo > 0.05);
    assert_true(isnan(sd_drop_visible(3, 1, 0.05, 0.95)) || sd_drop_visible(3, 1, 0.05, 0.95) > 0.5);
    assert_true(isnan(sd_drop_visible(50, 0.02, 0.05, 0.95))); /* nothing to lose */
    sd_paired t = {.both = 95, .first = 1, .second = 1, .neither = 3};
    int64_t n = sd_drop_prompts(t, 0.05, 0.95, 1 << 20);
    assert_true(n > 20 && n < 200);
    sd_paired bad = {.both = 50, .first = 45, .second = 0, .neither = 5};
    assert_in_range(sd_drop_prompts(bad, 0.05, 0.95, 1 << 20), 8, 40);
    assert_int_equal(sd_drop_prompts((sd_paired){90, 5, 0, 5}, 0.05, 0.95, 1 << 16), -1); /* on the limit for ever */
}

/* The normal interval of a mean is the limit of the percentile one; 2,000 draws place a bound to some 6 % of the half width. */
static void near_normal(sd_ci c, const double *x, int64_t n, double se)
{
    double mean = 0;
    for (int64_t i = 0; i < n; i++) mean += x[i] / (double)n;
    close_to(c.est, mean, 1e-12);
    close_to(c.lo, mean - 1.96 * se, 0.2 * 1.96 * se);
    close_to(c.hi, mean + 1.96 * se, 0.2 * 1.96 * se);
}

static double variance(const double *x, int64_t n)
{
    double mean = 0, var = 0;
    for (int64_t i = 0; i < n; i++) mean += x[i] / (double)n;
    for (int64_t i = 0; i < n; i++) var += (x[i] - mean) * (x[i] - mean) / (double)n;
    return var;
}

/* Rows by themselves; then a table of 10 groups and 40 members, x = a_group + b_member: its mean has the variance of the mean of ten a and that of the mean of forty b, however many cells there are. */
static void bootstrap_of_a_mean(void **state)
{
    enum { G = 10, M = 40, N = G * M };
    double x[N], a[G], b[M];
    int32_t group[N], member[N];
    sd_ci flat, again, table;
    sd_err err = {0};
    sd_rng r = sd_rng_make(3, "normal", 0);
    const sd_boot_opt of_table = {.group = group, .member = member, .n_groups = G + 2, .n_members = M + 5};
    (void)state;
    for (int i = 0; i < G; i++) a[i] = 0.3 * (double)sd_rng_normal(&r);
    for (int i = 0; i < M; i++) b[i] = (double)sd_rng_normal(&r);
    for (int i = 0; i < N; i++) {
        group[i] = i / M, member[i] = i % M;
        x[i] = a[i / M] + b[i % M];
    }
    t_ok(sd_ci_bootstrap(&flat, x, N, &(sd_boot_opt){0}, sd_rng_make(1, "bootstrap", 0), &err), err);
    t_ok(sd_ci_bootstrap(&again, x, N, &(sd_boot_opt){0}, sd_rng_make(1, "bootstrap", 0), &err), err);
    t_ok(sd_ci_bootstrap(&table, x, N, &of_table, sd_rng_make(1, "bootstrap", 0), &err), err);
    assert_true(flat.lo == again.lo && flat.hi == again.hi && flat.est == table.est);
    near_normal(flat, x, N, sqrt(variance(x, N) / N));
    near_normal(table, x, N, sqrt(variance(a, G) / G + variance(b, M) / M));
    /* Cells may be missing: of two that do not share a side a draw may hold neither. */
    t_ok(sd_ci_bootstrap(&table, (double[]){0, 1}, 2, &(sd_boot_opt){.group = (int32_t[]){0, 1}, .member = (int32_t[]){1, 0}, .n_groups = 2, .n_members = 2}, r, &err), err);
    assert_true(table.lo == 0 && table.hi == 1);
    assert_int_equal(sd_ci_bootstrap(&flat, x, N, &(sd_boot_opt){.group = group, .member = member, .n_groups = 3, .n_members = M}, r, &err), SD_E_ARG);
    assert_non_null(strstr(err.msg, "of group 3"));
    assert_int_equal(sd_ci_bootstrap(&flat, x, N, &(sd_boot_opt){.group = group, .member = member, .n_groups = G, .n_members = 7}, r, &err), SD_E_ARG);
    assert_non_null(strstr(err.msg, "of member 7"));
    t_ok(sd_ci_bootstrap(&flat, x, 0, &(sd_boot_opt){0}, r, &err), err);
    assert_true(isnan(flat.est));
}

/* The formula of ppi_py's ppi_mean_ci (lam = 1) by hand: Y = 1,1,0,1,0,1,1,1,0,1  Yhat = 1,1,1,1,0,0,1,1,0,1  unlabelled: 60 ones of 100. */
static void prediction_powered_mean(void **state)
{
    static const int y[10] = {1, 1, 0, 1, 0, 1, 1, 1, 0, 1}, f[10] = {1, 1, 1, 1, 0, 0, 1, 1, 0, 1};
    double mean = 0, var = 0;
    (void)state;
    for (int i = 0; i < 10; i++) mean += (y[i] - f[i]) / 10.0;
    for (int i = 0; i < 10; i++) var += (y[i] - f[i] - mean) * (y[i] - f[i] - mean) / 10;
    sd_ci c = sd_ci_ppi(0.6, 0.24, 100, &(sd_ppi_stratum){1, mean, var, 10}, 1, 0.95);
    close_to(c.est, 0.6, 1e-15);
    close_to(c.hi - c.est, 1.959963984540054 * sqrt(0.24 / 100 + 0.2 / 10), 1e-12);
}

static void judges_and_ranks(void **state)
{
    (void)state;
    close_to(sd_rogan_gladen(0.5, 0.1, 0.2), 0.4 / 0.7, 1e-15);
    assert_true(sd_rogan_gladen(0.05, 0.1, 0.2) == 0 && isnan(sd_rogan_gladen(0.5, 0.6, 0.4)));
    double a[4] = {3, 1, 2, 2}, b[3] = {0, 2, 1};
    close_to(sd_auroc(a, 4, b, 3), 9.5 / 12, 1e-15); /* 8 of 12 pairs won, 3 ties */
    assert_true(isnan(sd_auroc(a, 0, b, 3)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(normal_quantiles), T(wilson_equals_newcombes_table), T(paired_equals_fagerlands_example),
                                       T(no_difference_has_an_interval), T(holm_equals_statsmodels), T(what_could_be_seen),
                                       T(bootstrap_of_a_mean), T(prediction_powered_mean), T(judges_and_ranks)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
