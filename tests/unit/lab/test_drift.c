/* Drift of features between two models: planted ones are found with their kind, features that do not tell prompts apart are not, and the same codes twice move nothing. */
#include "lab/audit_drift.h"

#include "base/rng.h"
#include "t.h"

enum { HARMFUL = 40, ALL = 80, M = 60, GONE = 3, APPEARED = 5, STAYS = 7, ALWAYS = 9 };

/* Features from 20 on come and go by chance, the same chance in both models. */
static void fill(sd_text_codes *z, bool second)
{
    sd_err err = {0};
    *z = (sd_text_codes){.n = ALL};
    t_ok(sd_alloc_zero(&z->v, ALL * sizeof *z->v, "codes", &err), err);
    for (int64_t i = 0; i < ALL; i++) {
        sd_text_code *c = &z->v[i];
        sd_rng rng = sd_rng_make(7, "codes", (uint64_t)i);
        t_ok(sd_alloc_zero(&c->feature, M * sizeof *c->feature, "codes", &err), err);
        t_ok(sd_alloc_zero(&c->at, M * sizeof *c->at, "codes", &err), err);
        t_ok(sd_alloc_zero(&c->act, M * sizeof *c->act, "codes", &err), err);
        for (int32_t f = 0; f < M; f++) {
            bool chance = sd_rng_uniform(&rng) < 0.3, harmful = i < HARMFUL;
            if (!(f == GONE ? harmful && !second : f == APPEARED ? harmful && second : f == STAYS ? harmful : f == ALWAYS || (f >= 20 && chance))) continue;
            c->feature[c->n] = f;
            c->act[c->n++] = f == STAYS && second ? 4 : 2;
        }
    }
}

static const sd_drift_row *row_of(const sd_drift *d, int64_t f)
{
    for (int i = 0; i < d->n_row; i++)
        if (d->row[i].feature == f) return &d->row[i];
    return NULL;
}

static void planted(void **state)
{
    sd_text_codes a, b;
    sd_drift d;
    sd_err err = {0};
    (void)state;
    fill(&a, false);
    fill(&b, true);
    t_ok(sd_drift_of(&d, &(sd_drift_in){&a, &b, HARMFUL, M, 1}, &err), err);
    assert_true(d.n_tested == 44 && d.n_feature == M); /* four planted, forty by chance */
    assert_true(d.n_safety_a == 2 && d.n_safety_b == 2 && d.n_appeared == 1 && d.n_gone == 1 && d.n_moved == 2 && d.n_raised == 1 && d.n_lowered == 1);
    const sd_drift_row *gone = row_of(&d, GONE), *new = row_of(&d, APPEARED), *stays = row_of(&d, STAYS);
    assert_true(gone && gone->a[0] == 1 && gone->b[0] == 0 && gone->a[1] == 0 && gone->safety_a && !gone->safety_b && gone->act_a == 2 && gone->act_b == 0);
    assert_true(new && new->a[0] == 0 && new->b[0] == 1 && !new->safety_a && new->safety_b);
    assert_true(stays && stays->p_holm == 1 && stays->act_a == 2 && stays->act_b == 4);
    /* 40 prompts one way: 2 / 2^40, times the 44 that are tested */
    assert_true(gone->p_holm > 43.9 * 2 / (double)(1LL << 40) * 43 / 44 && gone->p_holm < 44.1 * 2 / (double)(1LL << 40));
    assert_null(row_of(&d, ALWAYS));
    t_ok(sd_drift_of(&d, &(sd_drift_in){&a, &a, HARMFUL, M, 1}, &err), err);
    assert_true(d.n_moved == 0 && d.n_appeared == 0 && d.n_gone == 0 && d.n_safety_a == 2);
    sd_text_codes_release(&a);
    sd_text_codes_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(planted)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
