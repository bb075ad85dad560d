/* The contrast on codes made by hand: a feature that tells the sets apart is found, none is where there is none. */
#include "t.h"
#include "base/rng.h"
#include "lab/contrast.h"

#include <math.h>

enum { M = 50, TEXTS = 80, N_A = 30 };

/* Features 0..M-1 at random in a third of the texts; feature 7 in the first `in_a` texts of A besides, and in no text of B. */
static sd_text_codes codes(int in_a)
{
    sd_text_codes z = {.n = TEXTS};
    sd_err err = {0};
    t_ok(sd_alloc_zero(&z.v, TEXTS * sizeof *z.v, "test", &err), err);
    for (int i = 0; i < TEXTS; i++) {
        sd_rng rng = sd_rng_make(4, "test", (uint64_t)i);
        sd_text_code *c = &z.v[i];
        t_ok(sd_alloc(&c->feature, M * sizeof *c->feature, "test", &err), err);
        for (int f = 0; f < M; f++) {
            bool on = sd_rng_below(&rng, 3) == 0;
            if (f == 7) on = i < in_a;
            if (on) c->feature[c->n++] = f;
        }
    }
    return z;
}

static void finds_the_one_that_differs(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_contrast a, b;
    sd_text_codes z = codes(N_A - 3);
    t_ok(sd_lab_contrast(&a, &z, N_A, M, &(sd_contrast_opt){.seed = 2}, &err), err);
    t_ok(sd_lab_contrast(&b, &z, N_A, M, &(sd_contrast_opt){.seed = 2}, &err), err);
    assert_int_equal(a.v[0].feature, 7);
    assert_true(fabs(a.v[0].diff - (N_A - 3.0) / N_A) < 1e-12);
    assert_int_equal(a.v[0].n_a, N_A - 3);
    assert_int_equal(a.v[0].n_b, 0);
    assert_true(a.v[0].p < 0.01 && a.v[0].diff > a.floor && a.floor > a.floor_median && a.floor_median > 0);
    for (int64_t i = 1; i < a.n; i++) {
        int64_t in_a = 0, in_b = 0;
        for (int t = 0; t < TEXTS; t++)
            for (int64_t e = 0; e < z.v[t].n; e++)
                if (z.v[t].feature[e] == a.v[i].feature) (t < N_A ? in_a++ : in_b++);
        assert_true(a.v[i].n_a == in_a && a.v[i].n_b == in_b && fabs(a.v[i].diff) <= fabs(a.v[i - 1].diff));
    }
    assert_true(a.floor == b.floor && a.n_above == b.n_above);
    sd_contrast_release(&a);
    sd_contrast_release(&b);
    sd_text_codes_release(&z);
}

static void finds_nothing_in_nothing(void **state)
{
    (void)state;
    sd_err err = {0};
    int found = 0;
    /* Ten seeds of sets that differ by chance alone: at 5 % each, four or more of ten come once in a thousand. */
    for (uint64_t seed = 0; seed < 10; seed++) {
        sd_text_codes z = codes(0);
        sd_contrast c;
        sd_rng rng = sd_rng_make(seed, "sets", 0);
        for (int i = TEXTS - 1; i > 0; i--) {
            int j = (int)sd_rng_below(&rng, (uint64_t)i + 1);
            sd_text_code t = z.v[i];
            z.v[i] = z.v[j];
            z.v[j] = t;
        }
        t_ok(sd_lab_contrast(&c, &z, N_A, M, &(sd_contrast_opt){.seed = seed}, &err), err);
        found += c.n_above > 0;
        sd_contrast_release(&c);
        sd_text_codes_release(&z);
    }
    assert_true(found < 4);
}

static void sets_of_one_are_refused(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_contrast c;
    sd_text_codes z = codes(0);
    assert_int_equal(sd_lab_contrast(&c, &z, 1, M, &(sd_contrast_opt){0}, &err), SD_E_ARG);
    assert_int_equal(sd_lab_contrast(&c, &z, TEXTS - 1, M, &(sd_contrast_opt){0}, &err), SD_E_ARG);
    sd_text_codes_release(&z);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(finds_the_one_that_differs), T(finds_nothing_in_nothing), T(sets_of_one_are_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
