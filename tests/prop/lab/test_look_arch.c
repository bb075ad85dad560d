/* The studies on every architecture: the lens ends in the model's own logits, shares add up to the logit within their bound (layer norms, norms
 * behind blocks, soft caps, parallel blocks, biases), pattern rows sum to 1, the last row of the stream is the whole other run. */
#include "t.h"

#include "lab/attn_study.h"
#include "lab/attribute.h"
#include "lab/lens.h"
#include "lab/patch.h"

#include <float.h>
#include <math.h>

enum { N = 13 };
static const char *const arch[] = {"llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "gpt2", "gpt_neox", "phi3", "olmo2"};
static sd_exec *ex;

static void attribution_adds_up(const sd_model *m, const sd_ids *ids)
{
    for (int minus = 0; minus < 2; minus++) {
        sd_attribution a;
        sd_err err = {0};
        const sd_attribute_opt o = {.position = -2, .has_answer = true, .answer = 7, .has_wrong = minus, .wrong = 11};
        t_ok(sd_lab_attribute(&a, ex, m, ids, &o, &err), err);
        assert_int_equal(a.n_part, 1 + m->cfg.n_layer * (m->cfg.n_head + 2));
        assert_true(fabs(a.error) <= a.error_bound);
        assert_true(fabs(a.capped - a.model) <= a.model_bound);
        /* The rest of a block is its output bias; without one it is rounding: f32 chains of some hundred terms (measured 3e-7). */
        for (int64_t i = 0; i < a.n_part; i++)
            if (a.part[i].kind == SD_PART_REST && !m->block[a.part[i].layer].mat[SD_MAT_O].bias) assert_true(fabs(a.part[i].share) < 1e-5);
        printf("%-12s error %.1e of %.1e, logit off by %.1e of %.1e, logit %.3f\n", m->cfg.arch, fabs(a.error), a.error_bound, fabs(a.capped - a.model), a.model_bound, a.model);
        sd_attribution_release(&a);
    }
}

static void lens_ends_as_the_model(const sd_model *m, const sd_ids *ids)
{
    sd_lens l;
    sd_session *s = NULL;
    sd_runner *r = NULL;
    sd_err err = {0};
    t_ok(sd_lab_lens(&l, ex, m, ids, &(sd_lens_opt){0}, &err), err);
    t_ok(sd_session_new(&s, m, &(sd_session_opt){.n_ctx = N}, &err), err);
    t_ok(sd_runner_new(&r, ex, m, &(sd_runner_opt){.max_rows = N, .max_logit_rows = N}, &err), err);
    sd_segment seg = {.s = s, .tok = ids->v, .n = N, .want = SD_LOGITS_ALL};
    t_ok(sd_runner_step(r, &seg, 1, -1, &err), err);
    for (int64_t i = 0; i + 1 < N; i++) {
        const float *x = sd_mat_row(seg.logits, i);
        const sd_lens_cell *c = &l.cell[m->cfg.n_layer * N + i];
        assert_true(c->p_next == exp((double)x[ids->v[i + 1]] - sd_logsumexp(m->ex, x, m->cfg.n_vocab)) && c->kl == 0);
    }
    sd_runner_free(r);
    sd_session_free(s);
    sd_lens_release(&l);
}

static void patterns_and_patches(const sd_model *m, const sd_ids *ids)
{
    sd_attn_study a;
    sd_patch p;
    int32_t other[N];
    sd_err err = {0};
    t_ok(sd_lab_attn(&a, ex, m, ids, &(sd_attn_study_opt){.layer = -1, .no_induction = true}, &err), err);
    for (int64_t row = 0; row < a.n_layer * a.n_head * N; row++) {
        double sum = 0;
        for (int64_t k = 0; k < N; k++) sum += (double)a.pattern[row * N + k];
        assert_true(fabs(sum - 1) <= (N + 2) * (double)FLT_EPSILON); /* a normaliser of N additions, a division each */
    }
    sd_attn_study_release(&a);
    memcpy(other, ids->v, sizeof other);
    other[5] = 90;
    const sd_ids corrupt = {.v = other, .n = N};
    static const sd_site_kind kind[] = {SD_SITE_RESID_PRE, SD_SITE_RESID_POST, SD_SITE_ATTN_Z, SD_SITE_MLP_OUT};
    for (size_t k = 0; k < sizeof kind / sizeof *kind; k++) {
        const sd_patch_opt o = {.kind = kind[k], .metric = SD_PATCH_LOGIT_DIFF, .answer = 7, .wrong = 11, .every = true};
        t_ok(sd_lab_patch(&p, ex, m, ids, &corrupt, &o, &err), err);
        for (int64_t i = 0; i < p.n_layer * N; i++)
            if (i % N < 5) assert_true(p.effect[i] == 0);
        if (kind[k] == SD_SITE_RESID_PRE) assert_true(p.effect[5] == 1);
        if (kind[k] == SD_SITE_RESID_POST) assert_true(p.effect[p.n_layer * N - 1] == 1);
        sd_patch_release(&p);
    }
}

static void every_architecture(void **state)
{
    (void)state;
    int32_t tok[N];
    sd_err err = {0};
    int seen = 0;
    for (int i = 0; i < N; i++) tok[i] = 3 + (i * 37) % 120;
    const sd_ids ids = {.v = tok, .n = N};
    t_ok(sd_exec_new(&ex, &(sd_exec_opt){.n_threads = 2}, &err), err);
    for (size_t k = 0; k < sizeof arch / sizeof *arch; k++) {
        char rel[96];
        sd_model *m = NULL;
        snprintf(rel, sizeof rel, "fixtures/models/%s", arch[k]);
        const char *path = t_shared(rel);
        if (!path) continue;
        t_ok(sd_model_open(&m, ex, path, NULL, &err), err);
        attribution_adds_up(m, &ids);
        lens_ends_as_the_model(m, &ids);
        patterns_and_patches(m, &ids);
        sd_model_close(m);
        seen++;
    }
    sd_exec_free(ex);
    if (!seen) t_skip("no fixtures/models");
    assert_int_equal(seen, sizeof arch / sizeof *arch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(every_architecture)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
