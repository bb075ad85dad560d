/* A sweep reads the concept where its dictionary reads: a transcoder's feature at the site it is made of, not at the one it writes. */
#include "tiny_open.h"

#include "dict/dict_int.h"
#include "lab/generate.h"
#include "lab/steer_sweep.h"

enum { D = 64, M = 8, N_GEN = 12, CTX = 64 };
static sd_exec *ex;
static sd_model *model;

static int set_up(void **state)
{
    (void)state;
    return tiny_open(&ex, &model, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    sd_model_close(model);
    sd_exec_free(ex);
    return 0;
}

/* Random rows, threshold 0, as a folder. */
static void write_dict(const char *dir, sd_dict_kind kind, const char *site, const char *site_out, int64_t d)
{
    sd_err err = {0};
    sd_dict *t;
    sd_rng r = sd_rng_make(3, "sweep", 0);
    sd_dict_info info = {.kind = kind, .d = d, .d_out = d, .m = M, .site_rms = 8, .out_rms = 8};
    snprintf(info.site, sizeof info.site, "%s", site);
    snprintf(info.site_out, sizeof info.site_out, "%s", site_out);
    snprintf(info.hook_name, sizeof info.hook_name, "%s", site);
    snprintf(info.hook_name_out, sizeof info.hook_name_out, "%s", site_out);
    t_ok(sd_dict__new(&t, &info, false, true, &err), err);
    for (int64_t i = 0; i < M * d; i++) t->W_enc[i] = sd_rng_normal(&r), t->W_dec[i] = sd_rng_normal(&r) / 8;
    for (int f = 0; f < M; f++) t->threshold[f] = t->gate[f] = 0;
    t->has_threshold = true;
    t->input_centred = kind == SD_DICT_CROSSCODER;
    t_ok(sd_dict_save(t, dir, &err), err);
    sd_dict_free(t);
}

static float seen[CTX * D];
static sd_status keep(void *self, sd_act *act, sd_err *err)
{
    (void)self;
    (void)err;
    memcpy(seen + act->pos0 * D, act->x.data, sizeof(float) * (size_t)(act->x.rows * D));
    return SD_OK;
}

/* The share of tokens n_prompt .. of ids at whose rows of a site each feature is above 0. */
static void shares(double out[M], const sd_dict *d, sd_site at, const sd_ids *ids, int64_t n_prompt)
{
    sd_err err = {0};
    sd_session *s;
    sd_runner *by;
    t_ok(sd_session_new(&s, model, &(sd_session_opt){.n_ctx = CTX}, &err), err);
    t_ok(sd_runner_new(&by, ex, model, &(sd_runner_opt){.max_rows = CTX, .n_ctx = CTX}, &err), err);
    t_ok(sd_session_attach(s, &(sd_hook){.name = "keep", .at = &at, .n_at = 1, .mode = SD_HOOK_READ, .fn = keep}, NULL, &err), err);
    t_ok(sd_runner_step(by, &(sd_segment){.s = s, .tok = ids->v, .n = ids->n}, 1, at.layer, &err), err);
    for (int f = 0; f < M; f++) {
        out[f] = 0;
        for (int64_t i = n_prompt; i < ids->n; i++) out[f] += (sd_dict_preact(d, f, seen + i * D) > 0) / (double)(ids->n - n_prompt);
    }
    sd_runner_free(by);
    sd_session_free(s);
}

static sd_status sweep(sd_steer_sweep *out, const char *dir, int feature, const char *site, sd_err *err)
{
    char spec[512];
    const double value = 0.5;
    const char *prompt = "the cat and";
    snprintf(spec, sizeof spec, "{\"feature\":{\"dict\":\"%s\",\"index\":%d}%s,\"value\":0}", dir, feature, site);
    const sd_steer_env env = {.ex = ex, .m = model, .data_dir = dir, .model_sha256 = ""};
    return sd_lab_steer_sweep(out, &env, &(sd_steer_sweep_opt){.spec = sd_slice_of(spec), .value = &value, .n_value = 1, .prompt = &prompt, .n_prompt = 1, .n_gen = N_GEN}, err);
}

static void a_transcoder_is_read_where_it_reads(void **state)
{
    (void)state;
    sd_err err = {0};
    const char *dir = t_tmpdir();
    const sd_site reads = {SD_SITE_RESID_MID, 1}, writes = {SD_SITE_MLP_OUT, 1};
    double want[M], there[M];
    bool differs = false;
    sd_dict *d;
    sd_ids ids = {0};
    sd_generate_result g;
    write_dict(dir, SD_DICT_TRANSCODER, "resid_mid.1", "mlp_out.1", D);
    t_ok(sd_dict_open(&d, dir, &err), err);
    t_ok(sd_lab_prompt_ids(&ids, model, sd_slice_of("the cat and"), SD_LIT(""), SD_PROMPT_TEXT, &err), err);
    const int64_t n_prompt = ids.n;
    t_ok(sd_lab_generate(&g, ex, model, ids.v, ids.n, &(sd_generate_opt){.n_gen = N_GEN}, &err), err);
    for (int64_t i = 0; i < g.lane[0].ids.n; i++) t_ok(sd_ids_push(&ids, g.lane[0].ids.v[i], &err), err);
    shares(want, d, reads, &ids, n_prompt);
    shares(there, d, writes, &ids, n_prompt);
    for (int f = 0; f < M; f++) {
        sd_steer_sweep s;
        t_ok(sweep(&s, dir, f, "", &err), err);
        if (!(fabs(s.point[0].active - want[f]) < 1e-9)) fail_msg("feature %d is active on %g of the answer, not on %g", f, want[f], s.point[0].active);
        differs = differs || fabs(want[f] - there[f]) > 1e-9;
        sd_steer_sweep_release(&s);
    }
    assert_true(differs); /* else this test could not tell the sites apart */
    sd_generate_release(&g);
    sd_ids_release(&ids);
    sd_dict_free(d);
    t_rmtree(dir);
}

/* Its rows are wider than the site's: reading it there would run past them. */
static void a_crosscoder_is_refused(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_steer_sweep s;
    const char *dir = t_tmpdir();
    write_dict(dir, SD_DICT_CROSSCODER, "resid_post.0+resid_post.1", "", 2 * D);
    assert_int_equal(sweep(&s, dir, 0, ",\"site\":\"resid_post.1\",\"unit\":\"raw\"", &err), SD_E_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "resid_post.0+resid_post.1 together"));
    t_rmtree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_transcoder_is_read_where_it_reads), cmocka_unit_test(a_crosscoder_is_refused)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
