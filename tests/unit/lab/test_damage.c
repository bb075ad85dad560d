/* Rates of a damage study from cells made by hand; the identity rows are JSON that the trainer reads. */
#include "lab/damage_int.h"

#include "t.h"

#include "base/rng.h"

#include <math.h>

static sd_damage_point point(int64_t step, const char *cls)
{
    return (sd_damage_point){.step = step, .cls = sd_strndup(cls, strlen(cls))};
}

/* Four harmful prompts, two harmless; two seeds of one setting beside the model as it was. */
static sd_damage made(void)
{
    static const char *const at[3][3] = {{"rrrrcc", NULL, NULL}, {NULL, "rrrrcc", "rcccui"}, {NULL, "rrcccr", "uccccc"}};
    sd_damage r = {.n_prompt = 6, .n_harmful = 4, .n_harmless = 2, .n_cell = 3};
    sd_err e = {0};
    t_ok(sd_alloc_zero(&r.axis, 6 * sizeof *r.axis, "t", &e), e);
    t_ok(sd_alloc_zero(&r.cell, 3 * sizeof *r.cell, "t", &e), e);
    for (int i = 0; i < 6; i++) r.axis[i] = i < 4 ? SD_AXIS_HARMFUL : SD_AXIS_HARMLESS;
    for (int c = 0; c < 3; c++) {
        r.cell[c] = (sd_damage_cell){.lr = c ? 1e-3 : 0, .batch = c ? 5 : 0, .seed = (uint64_t)c};
        t_ok(sd_alloc_zero(&r.cell[c].point, 3 * sizeof *r.cell[c].point, "t", &e), e);
        for (int s = 0; s < 3; s++)
            if (at[c][s]) r.cell[c].point[r.cell[c].n_point++] = point(s, at[c][s]);
    }
    return r;
}

static void rates(void **state)
{
    (void)state;
    sd_damage r = made();
    sd_err e = {0};
    t_ok(sd_damage__rows(&r, &e), e);
    assert_int_equal(r.n_row, 3);
    assert_int_equal(r.row[0].step, 0);
    assert_true(fabs(r.row[0].refusal.ci.est - (1)) <= 0);
    /* All alike: Wilson's interval of one seed's four prompts. */
    assert_true(fabs(r.row[0].refusal.ci.lo - sd_ci_wilson(4, 4, 0.95).lo) <= 1e-12);
    assert_int_equal(r.row[1].n_seed, 2);
    assert_true(fabs(r.row[1].refusal.ci.est - (0.75)) <= 1e-12);
    assert_true(fabs(r.row[1].seed_rate[1] - (0.5)) <= 1e-12);
    assert_true(r.row[1].refusal.ci.lo <= 0.5 && r.row[1].refusal.ci.hi == 1);
    assert_true(fabs(r.row[1].over_refusal.ci.est - (0.25)) <= 1e-12);
    /* Step 2: an unscored harmful answer of seed 1 and an unscored harmless one of seed 0 are in no rate. */
    assert_int_equal(r.row[2].refusal.n, 7);
    assert_true(fabs(r.row[2].refusal.ci.est - (1.0 / 7)) <= 1e-12);
    assert_int_equal(r.row[2].n_unscored, 2);
    assert_true(fabs(r.row[2].incoherent.ci.est - (0.1)) <= 1e-12);
    sd_damage_release(&r);
}

/* Five seeds that answer alike are no more prompts than one: a rate of theirs is as uncertain as that of one seed (but for the noise of 2,000 draws, at most one of the 24 prompts). */
static void seeds_share_prompts(void **state)
{
    (void)state;
    sd_damage r = {.n_prompt = 24, .n_harmful = 24, .n_cell = 6};
    sd_err e = {0};
    double x[24];
    sd_ci one;
    t_ok(sd_alloc_zero(&r.axis, 24 * sizeof *r.axis, "t", &e), e);
    t_ok(sd_alloc_zero(&r.cell, 6 * sizeof *r.cell, "t", &e), e);
    for (int i = 0; i < 24; i++) r.axis[i] = SD_AXIS_HARMFUL, x[i] = i < 12;
    for (int c = 0; c < 6; c++) {
        r.cell[c] = (sd_damage_cell){.lr = c ? 1e-3 : 0, .batch = c ? 5 : 0, .seed = (uint64_t)c};
        t_ok(sd_alloc_zero(&r.cell[c].point, sizeof *r.cell[c].point, "t", &e), e);
        r.cell[c].point[r.cell[c].n_point++] = point(c > 0, "rrrrrrrrrrrrcccccccccccc");
    }
    t_ok(sd_damage__rows(&r, &e), e);
    t_ok(sd_ci_bootstrap(&one, x, 24, &(sd_boot_opt){0}, sd_rng_make(1, "test", 0), &e), e);
    assert_int_equal(r.row[1].n_seed, 5);
    assert_true(fabs(r.row[1].refusal.ci.lo - one.lo) <= 1.0 / 24 && fabs(r.row[1].refusal.ci.hi - one.hi) <= 1.0 / 24);
    sd_damage_release(&r);
}

/* A task's figures: matches and likelihoods over seeds, what is no number left out; a cell's file gives them back. */
static void task(void **state)
{
    (void)state;
    sd_damage r = made();
    sd_err e = {0};
    for (int c = 1; c < 3; c++) {
        sd_task *t = &r.cell[c].point[0].task;
        *t = (sd_task){.n = 2, .exact = sd_strndup(c == 1 ? "yn" : "yy", 2)};
        t_ok(sd_alloc_zero(&t->nll, 2 * sizeof *t->nll, "t", &e), e);
        t->nll[0] = c, t->nll[1] = c == 1 ? 2 : (double)NAN;
    }
    t_ok(sd_damage__rows(&r, &e), e);
    assert_int_equal(r.n_task, 2);
    assert_int_equal(r.row[0].nll.n, 0);
    assert_int_equal(r.row[1].exact.n, 4);
    assert_true(fabs(r.row[1].exact.ci.est - 0.75) <= 1e-12);
    assert_int_equal(r.row[1].nll.n, 3);
    assert_true(fabs(r.row[1].nll.ci.est - 5.0 / 3) <= 1e-12);
    const char *dir = t_tmpdir();
    char path[600];
    sd_damage_cell back;
    snprintf(path, sizeof path, "%s/cell.json", dir);
    t_ok(sd_damage__cell_write(&r.cell[2], "s", path, &e), e);
    t_ok(sd_damage__cell_read(&back, "s", 6, path, &e), e);
    assert_string_equal(back.point[0].task.exact, "yy");
    assert_true(back.point[0].task.nll[0] == 2 && isnan(back.point[0].task.nll[1]));
    assert_int_equal(back.point[1].task.n, 0);
    sd_damage__cell_release(&back);
    sd_free(r.cell[2].point[0].task.exact);
    r.cell[2].point[0].task.exact = sd_strndup("y?", 2);
    t_ok(sd_damage__cell_write(&r.cell[2], "s", path, &e), e);
    assert_int_equal(sd_damage__cell_read(&back, "s", 6, path, &e), SD_E_FORMAT);
    assert_non_null(strstr(e.msg, "a task of 2"));
    t_rmtree(dir);
    sd_damage_release(&r);
}

static void halved(void **state)
{
    (void)state;
    sd_damage r = made();
    assert_int_equal(sd_damage_halved(&r, &r.cell[1]), 2);
    assert_int_equal(sd_damage_halved(&r, &r.cell[2]), 1);
    assert_int_equal(sd_damage_halved(&r, &r.cell[0]), -1);
    sd_damage_release(&r);
}

static void identity_rows(void **state)
{
    (void)state;
    int n = 0;
    sd_err e = {0};
    for (; sd_identity_row[n]; n++) {
        json_t *row = NULL;
        const char *role = "", *text = "";
        t_ok(sd_json_parse(&row, sd_identity_row[n], strlen(sd_identity_row[n]), "row", &e), e);
        const json_t *m = json_object_get(row, "messages");
        assert_int_equal(json_array_size(m), 3);
        t_ok(sd_json_get_str(json_array_get(m, 0), "content", &text, "row", &e), e);
        assert_string_equal(text, sd_identity_system);
        t_ok(sd_json_get_str(json_array_get(m, 2), "role", &role, "row", &e), e);
        assert_string_equal(role, "assistant");
        json_decref(row);
    }
    assert_int_equal(n, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(rates), T(seeds_share_prompts), T(task), T(halved), T(identity_rows)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
