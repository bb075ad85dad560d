/* Survival on rows made by hand: sinks are in no figure. */
#include "t.h"

#include "base/rng.h"
#include "dict/dict_kinds.h"
#include "lab/survive.h"

#include <math.h>

enum { D = 8, N = 300, EVERY = 50, BLOCK = 64 }; /* row EVERY - 1 and every EVERY-th from there on is a sink */

typedef struct rows { float x[N * D]; int32_t token[N], doc[N], pos[N]; int64_t at; } rows;

static sd_status next(void *self, sd_act_block *out, sd_err *err)
{
    rows *r = self;
    const int64_t n = N - r->at < BLOCK ? N - r->at : BLOCK;
    (void)err;
    *out = (sd_act_block){sd_mat_of(r->x + r->at * D, n, D), r->token + r->at, r->doc + r->at, r->pos + r->at};
    r->at += n;
    return SD_OK;
}

static sd_act_source source(rows *r)
{
    r->at = 0;
    return (sd_act_source){.self = r, .d = D, .next = next};
}

static bool is_sink(int i) { return i % EVERY == EVERY - 1; }

static void sinks_are_in_no_figure(void **state)
{
    (void)state;
    static rows r, other;
    static float plain[N * D];
    sd_err err = {0};
    sd_exec *ex;
    sd_dict *d;
    sd_survive_ref *ref;
    sd_survival s;
    int64_t kept = 0;
    double l1 = 0;
    sd_rng rng = sd_rng_make(1, "rows", 0);
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < D; j++) r.x[i * D + j] = sd_rng_normal(&rng) * (is_sink(i) ? 1000.0f : 1.0f);
        r.token[i] = i, r.pos[i] = i;
        if (is_sink(i)) continue;
        for (int j = 0; j < D; j++) l1 += fabs((double)r.x[i * D + j]);
        memcpy(plain + kept++ * D, r.x + i * D, D * sizeof *plain);
    }
    other = r;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < D; j++) other.x[i * D + j] *= is_sink(i) ? -3.0f : 1.0f; /* sinks that a quantisation moved far */
    t_ok(sd_exec_new(&ex, &(sd_exec_opt){.n_threads = 2}, &err), err);
    t_ok(sd_dict_identity(&d, ex, sd_mat_of(plain, kept, D), &(sd_dict_info){.site = "resid_post.0"}, &err), err);
    t_ok(sd_survive_ref_new(&ref, ex, d, source(&r), 0, NULL, &err), err);
    t_ok(sd_lab_survive(&s, ex, ref, source(&other), NULL, &err), err);
    const sd_dict_metrics *both[] = {sd_survive_ref_recon(ref), &s.recon};
    for (int k = 0; k < 2; k++) {
        assert_int_equal(both[k]->n_rows, kept);
        assert_true(fabs(both[k]->l1 - l1 / (double)kept) < 1e-5 * both[k]->l1);
    }
    assert_true(s.n_counted == 2 * D && s.n_survived == 2 * D && s.row_error == 0 && s.mean_f1 == 1);
    sd_survival_release(&s);
    sd_survive_ref_free(ref);
    sd_dict_free(d);
    sd_exec_free(ex);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sinks_are_in_no_figure)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
