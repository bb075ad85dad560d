/* Steers on a small model: every operation against its formula on the very rows, units, positions, special tokens, what is counted, and
 * what is refused when a steer is made. */
#include "tiny_open.h"

#include "dict/dict_int.h"
#include "lab/steer.h"
#include "model/model.h"

#include <math.h>

enum { N = 9, D = 64, M = 24, LAYER = 1 };
static sd_exec *ex;
static sd_model *model;
static sd_dict *dict;
static const int32_t text[N] = {5, 9, 200, 3, 77, 77, 0, 255, 31};
static float vec[D];

static int set_up(void **state)
{
    (void)state;
    sd_status st = tiny_open(&ex, &model, NULL);
    sd_dict_info info = {.kind = SD_DICT_TOPK, .d = D, .m = M, .k = 3, .site_rms = 2.5};
    snprintf(info.site, sizeof info.site, "resid_post.%d", LAYER);
    if (!st) st = sd_dict__new(&dict, &info, true, false, NULL);
    if (st) return st;
    sd_rng r = sd_rng_make(4, "steer", 0);
    for (int i = 0; i < M * D; i++) dict->W_enc[i] = dict->W_dec[i] = sd_rng_normal(&r) / 4;
    for (int i = 0; i < D; i++) dict->b_in[i] = dict->b_dec[i] = sd_rng_normal(&r) / 8;
    for (int i = 0; i < D; i++) vec[i] = sd_rng_normal(&r);
    for (int f = 0; f < M; f++) dict->threshold[f] = 0.05f, dict->max_act[f] = 3, dict->proj_std[f] = 1.5f;
    dict->has_threshold = true;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sd_dict_free(dict);
    sd_model_close(model);
    sd_exec_free(ex);
    return 0;
}

static sd_status look(void *self, sd_act *act, sd_err *err)
{
    (void)err;
    memcpy((float *)self + act->pos0 * D, act->x.data, sizeof(float) * (size_t)(act->x.rows * D));
    return SD_OK;
}

static void fill(sd_steer_spec *s) /* [0] stands for vec */
{
    sd_err err = {0};
    sd_free(s->vector);
    t_ok(sd_alloc(&s->vector, sizeof vec, "vector", &err), err);
    memcpy(s->vector, vec, sizeof vec);
    s->n_vector = D;
}

static void read_spec(sd_steer_spec *s, const char *text_of_spec)
{
    sd_err err = {0};
    t_ok(sd_steer_spec_parse(s, sd_slice_of(text_of_spec), &err), err);
    if (s->when && s->when->what.n_vector == 1 && s->when->gt != 1) fill(&s->when->what);
    if (s->feature >= 0 || s->n_vector != 1) return;
    fill(s);
}

/* Reference text for units: rows of known norm and spread. */
static float reference[4 * D];
static sd_status reference_rows(void *self, sd_mat *out, sd_site site, sd_err *err)
{
    (void)self;
    (void)err;
    assert_int_equal(site.kind, SD_SITE_RESID_POST);
    *out = sd_mat_of(reference, 4, D);
    return SD_OK;
}

static int64_t split = N; /* tokens of a step */

/* The rows of the site before and after the steer. */
static sd_steer_applied steered(const char *spec_text, int64_t n_prompt, float *before, float *after)
{
    sd_err err = {0};
    sd_steer_spec spec;
    sd_steer *steer;
    sd_session *s;
    sd_runner *r;
    read_spec(&spec, spec_text);
    const sd_steer_from from = {.dict = spec.feature >= 0 ? dict : NULL, .when_dict = spec.when && spec.when->what.feature >= 0 ? dict : NULL, .rows = reference_rows};
    t_ok(sd_steer_make(&steer, &spec, model, &from, &err), err);
    t_ok(sd_session_new(&s, model, &(sd_session_opt){.n_ctx = 16}, &err), err);
    t_ok(sd_runner_new(&r, ex, model, &(sd_runner_opt){.max_rows = 16}, &err), err);
    const sd_site at = {.kind = SD_SITE_RESID_POST, .layer = LAYER};
    t_ok(sd_session_attach(s, &(sd_hook){"before", &at, 1, SD_HOOK_READ, look, before}, NULL, &err), err);
    t_ok(sd_steer_attach(steer, s, n_prompt, &err), err);
    t_ok(sd_session_attach(s, &(sd_hook){"after", &at, 1, SD_HOOK_READ, look, after}, NULL, &err), err);
    for (int64_t i = 0; i < N; i += split) {
        sd_segment seg = {.s = s, .tok = text + i, .n = N - i < split ? N - i : split};
        t_ok(sd_runner_step(r, &seg, 1, -1, &err), err);
    }
    sd_steer_applied a = sd_steer_get_applied(steer);
    sd_runner_free(r);
    sd_session_free(s);
    sd_steer_free(steer);
    sd_steer_spec_release(&spec);
    return a;
}

static double along(const float *h, const float *v)
{
    double p = 0, n2 = 0;
    for (int i = 0; i < D; i++) p += (double)h[i] * (double)v[i], n2 += (double)v[i] * (double)v[i];
    return p / sqrt(n2);
}

static double length(const float *v) { return along(v, v); }

/* Token 0 is special, and special tokens are not touched unless it is asked for. */
static bool touched(int i) { return text[i] != 0; }

/* Every row: after = before + c(row) v, with v as given. Rounding of one f32 multiply-add on entries below 16: 1e-6 each. */
static void check_rows(const float *before, const float *after, const float *v, const double c[N])
{
    for (int i = 0; i < N; i++)
        for (int j = 0; j < D; j++) {
            double want = (double)before[i * D + j] + (touched(i) ? c[i] : 0) * (double)v[j], got = (double)after[i * D + j];
            if (fabs(want - got) > 1e-5) fail_msg("row %d, %d: %.9g, expected %.9g", i, j, got, want);
        }
}

static float before[N * D], after[N * D];

static void vectors(void **state)
{
    (void)state;
    double c[N], len = length(vec);
    sd_steer_applied a = steered("{\"vector\":[0],\"site\":\"resid_post.1\",\"op\":\"add\",\"value\":0.75,\"unit\":\"raw\"}", N, before, after);
    for (int i = 0; i < N; i++) c[i] = 0.75; /* raw takes the vector as given */
    check_rows(before, after, vec, c);
    assert_int_equal(a.n_positions, N - 1);
    assert_true(a.value_raw == 0.75 && fabs(a.mean_abs_change - 0.75) < 1e-6);

    steered("{\"vector\":[0],\"site\":\"resid_post.1\",\"op\":\"scale\",\"value\":3}", N, before, after);
    for (int i = 0; i < N; i++) c[i] = 2 * along(before + i * D, vec) / len;
    check_rows(before, after, vec, c);

    steered("{\"vector\":[0],\"site\":\"resid_post.1\",\"op\":\"ablate\"}", N, before, after);
    for (int i = 0; i < N; i++) {
        c[i] = -along(before + i * D, vec) / len;
        assert_true(!touched(i) || fabs(along(after + i * D, vec)) < 1e-5);
    }
    check_rows(before, after, vec, c);

    steered("{\"vector\":[0],\"site\":\"resid_post.1\",\"op\":\"clamp\",\"value\":4,\"unit\":\"raw\"}", N, before, after);
    for (int i = 0; i < N; i++) assert_true(!touched(i) || fabs(along(after + i * D, vec) - 4) < 1e-5);

    steered("{\"vector\":[0],\"site\":\"resid_post.1\",\"op\":\"cap\",\"min\":-0.1,\"max\":0.2,\"unit\":\"raw\"}", N, before, after);
    int outside = 0;
    for (int i = 0; i < N; i++) {
        double p = along(before + i * D, vec), want = p < -0.1 ? -0.1 : p > 0.2 ? 0.2 : p;
        outside += touched(i) && want != p;
        assert_true(!touched(i) || fabs(along(after + i * D, vec) - want) < 1e-5);
    }
    assert_true(outside > 0); /* or nothing was tested */
}

static void features(void **state)
{
    (void)state;
    static const struct { const char *unit; double size; } unit[] = {{"rms", 2.5}, {"max_act", 3}, {"std", 1.5}};
    const float *w = sd_dict_dec_row(dict, 7);
    double c[N], len = length(w);
    char spec[256];
    for (int u = 0; u < 3; u++) {
        snprintf(spec, sizeof spec, "{\"feature\":{\"dict\":\"d\",\"index\":7},\"op\":\"add\",\"value\":-0.5,\"unit\":\"%s\"}", unit[u].unit);
        sd_steer_applied a = steered(spec, N, before, after);
        for (int i = 0; i < N; i++) c[i] = -0.5 * unit[u].size / len; /* along the unit vector of the decoder row */
        check_rows(before, after, w, c);
        assert_true(fabs(a.value_raw + 0.5 * unit[u].size) < 1e-12);
    }
    /* Clamp sets z and keeps what the feature does not explain: active rows lose their own z, silent ones gain the whole value. */
    steered("{\"feature\":{\"dict\":\"d\",\"index\":7},\"op\":\"clamp\",\"value\":1.25,\"unit\":\"raw\"}", N, before, after);
    int active = 0;
    for (int i = 0; i < N; i++) {
        double z = (double)sd_dict_preact(dict, 7, before + i * D);
        if (z <= 0.05f) z = 0;
        active += touched(i) && z > 0;
        c[i] = 1.25 - z;
    }
    assert_true(active > 0 && active < N - 1);
    check_rows(before, after, w, c);
}

static void nothing_is_nothing(void **state)
{
    (void)state;
    static const char *const spec[] = {"{\"vector\":[0],\"site\":\"resid_post.1\",\"op\":\"add\",\"value\":0}",
                                       "{\"vector\":[0],\"site\":\"resid_post.1\",\"op\":\"scale\",\"value\":1}",
                                       "{\"feature\":{\"dict\":\"d\",\"index\":7},\"op\":\"add\",\"value\":0,\"unit\":\"std\"}"};
    for (int i = 0; i < 3; i++) {
        sd_steer_applied a = steered(spec[i], N, before, after);
        assert_memory_equal(before, after, sizeof before);
        assert_int_equal(a.n_positions, 0);
    }
}

static void positions(void **state)
{
    (void)state;
    static const struct { const char *where; bool at[N]; } table[] = {
        {"\"all\"", {1, 1, 1, 1, 1, 1, 1, 1, 1}}, {"\"prompt\"", {1, 1, 1, 1, 1, 1, 0, 0, 0}}, {"\"generated\"", {0, 0, 0, 0, 0, 0, 1, 1, 1}},
        {"\"last\"", {0, 0, 0, 0, 0, 1, 0, 0, 0}}, {"[0,4,8,40]", {1, 0, 0, 0, 1, 0, 0, 0, 1}},
    };
    char spec[256];
    for (size_t t = 0; t < sizeof table / sizeof *table; t++) {
        snprintf(spec, sizeof spec, "{\"vector\":[0],\"site\":\"resid_post.1\",\"value\":1,\"unit\":\"raw\",\"special\":true,\"positions\":%s}", table[t].where);
        sd_steer_applied a = steered(spec, 6, before, after);
        int64_t n = 0;
        for (int i = 0; i < N; i++) {
            assert_int_equal(memcmp(before + i * D, after + i * D, D * sizeof(float)) != 0, table[t].at[i]);
            n += table[t].at[i];
        }
        assert_int_equal(a.n_positions, n);
    }
}

/* Units of a vector are measured on reference text: rows 2, 4, 6, 8 times vec have the mean norm 5 |vec| and the spread sqrt(5) |vec|. */
static void units_of_vectors(void **state)
{
    (void)state;
    double len = length(vec);
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < D; j++) reference[i * D + j] = (float)(2 * i + 2) * vec[j];
    sd_steer_applied a = steered("{\"vector\":[0],\"site\":\"resid_post.1\",\"value\":0.5}", N, before, after);
    assert_true(fabs(a.value_raw - 0.5 * 5 * len) < 1e-5 * len);
    a = steered("{\"vector\":[0],\"site\":\"resid_post.1\",\"value\":2,\"unit\":\"std\"}", N, before, after);
    assert_true(fabs(a.value_raw - 2 * sqrt(5) * len) < 1e-5 * len);
    /* What a dictionary states comes first; what it does not is measured. */
    a = steered("{\"feature\":{\"dict\":\"d\",\"index\":7},\"value\":1}", N, before, after);
    assert_true(a.value_raw == 2.5);
    dict->proj_std[5] = 0;
    a = steered("{\"feature\":{\"dict\":\"d\",\"index\":5},\"value\":1,\"unit\":\"std\"}", N, before, after);
    assert_true(fabs(a.value_raw - sqrt(5) * fabs(along(vec, sd_dict_dec_row(dict, 5)))) < 1e-5 * len);
    dict->proj_std[5] = 1.5f;
}

/* Edits only where the condition holds, on the unsteered row; the same however the prompt is split. */
static void conditions(void **state)
{
    (void)state;
    double p[N], z[N];
    char spec[512];
    steered("{\"vector\":[0],\"site\":\"resid_post.1\",\"value\":0}", N, before, after);
    for (int i = 0; i < N; i++) p[i] = along(before + i * D, vec), z[i] = (double)sd_dict_preact(dict, 7, before + i * D);
    double sorted[N], cut = 0;
    memcpy(sorted, p, sizeof p);
    for (int i = 0; i < N; i++)
        for (int k = i + 1; k < N; k++)
            if (sorted[k] < sorted[i]) cut = sorted[i], sorted[i] = sorted[k], sorted[k] = cut;
    cut = (sorted[N / 2] + sorted[N / 2 - 1]) / 2;
    for (int hold = 0; hold < 2; hold++)
        for (split = N; split > 0; split -= 4) {
            snprintf(spec, sizeof spec, "{\"vector\":[0],\"site\":\"resid_post.1\",\"value\":1,\"unit\":\"raw\",\"special\":true,"
                     "\"when\":{\"vector\":[%s],\"site\":\"resid_post.1\",\"gt\":%.9g,\"hold\":%s}}", "0", cut, hold ? "true" : "false");
            sd_steer_applied a = steered(spec, N, before, after);
            int64_t n = 0, held = 0;
            for (int i = 0; i < N; i++) {
                held += p[i] > cut;
                bool edits = hold ? held > 0 : p[i] > cut;
                assert_int_equal(memcmp(before + i * D, after + i * D, D * sizeof(float)) != 0, edits);
                n += edits;
            }
            assert_int_equal(a.n_positions, n);
            assert_int_equal(a.n_looked, N);
            assert_int_equal(a.n_held, held);
            assert_true(held > 0 && held < N);
        }
    split = N;
    steered("{\"vector\":[0],\"site\":\"resid_post.1\",\"value\":1,\"unit\":\"raw\",\"special\":true,\"when\":{\"feature\":{\"dict\":\"d\",\"index\":7},\"lt\":0.1,\"unit\":\"max_act\"}}",
            N, before, after);
    int active = 0;
    for (int i = 0; i < N; i++) {
        double v = z[i] > 0.05f && z[i] > 0 ? z[i] : 0;
        active += v >= 0.3;
        assert_int_equal(memcmp(before + i * D, after + i * D, D * sizeof(float)) != 0, v < 0.3); /* 0.1 of max_act 3 */
    }
    assert_true(active > 0 && active < N);
}

static void refused(const char *spec_text, sd_dict *d, sd_status want, const char *says)
{
    sd_err err = {0};
    sd_steer_spec spec;
    sd_steer *steer;
    read_spec(&spec, spec_text);
    sd_status st = sd_steer_make(&steer, &spec, model, &(sd_steer_from){.dict = d, .when_dict = spec.when && spec.when->what.feature >= 0 ? dict : NULL}, &err);
    if (st != want || !strstr(err.msg, says)) fail_msg("%s: status %d, \"%s\"", spec_text, st, err.msg);
    assert_null(steer);
    sd_steer_spec_release(&spec);
}

static void what_cannot_be_done(void **state)
{
    (void)state;
    int64_t blocks = sd_mem_live_blocks();
    refused("{\"feature\":{\"dict\":\"d\",\"index\":24},\"value\":1}", dict, SD_E_NOTFOUND, "feature 24 of a dictionary with 24");
    refused("{\"feature\":{\"dict\":\"d\",\"index\":1},\"value\":1e17}", dict, SD_E_ARG, "more than the model's norms can hold");
    refused("{\"feature\":{\"dict\":\"d\",\"index\":1},\"op\":\"cap\",\"max\":1e308}", dict, SD_E_ARG, "more than the model's norms can hold");
    refused("{\"vector\":[0],\"site\":\"resid_post.1\",\"value\":5e15,\"unit\":\"raw\"}", NULL, SD_E_ARG, "more than the model's norms can hold");
    refused("{\"feature\":{\"dict\":\"d\",\"index\":1},\"value\":1,\"site\":\"mlp_post.0\"}", dict, SD_E_SHAPE, "mlp_post.0 has 96 columns");
    refused("{\"feature\":{\"dict\":\"d\",\"index\":1},\"value\":1,\"site\":\"resid_post.3\"}", dict, SD_E_ARG, "layer 3");
    refused("{\"vector\":[1,2],\"site\":\"resid_post.1\",\"value\":1}", NULL, SD_E_SHAPE, "the vector 2");
    refused("{\"vector\":[0],\"site\":\"resid_post.1\",\"value\":1,\"unit\":\"std\"}", NULL, SD_E_ARG, "a vector does not bring");
    refused("{\"vector\":[0],\"site\":\"resid_post.1\",\"value\":1}", NULL, SD_E_ARG, "unit rms");
    dict->proj_std[3] = 0;
    refused("{\"feature\":{\"dict\":\"d\",\"index\":3},\"value\":1,\"unit\":\"std\"}", dict, SD_E_ARG, "this dictionary does not state");
    refused("{\"vector\":[0],\"site\":\"resid_post.0\",\"value\":1,\"unit\":\"raw\",\"when\":{\"vector\":[0],\"site\":\"resid_post.1\",\"gt\":1}}", NULL, SD_E_SHAPE, "the vector 1");
    refused("{\"vector\":[0],\"site\":\"resid_post.0\",\"value\":1,\"unit\":\"raw\",\"when\":{\"feature\":{\"dict\":\"d\",\"index\":1},\"gt\":1}}", NULL, SD_E_ARG, "comes after resid_post.0");
    refused("{\"vector\":[0],\"site\":\"resid_post.1\",\"value\":1,\"unit\":\"raw\",\"when\":{\"feature\":{\"dict\":\"d\",\"index\":24},\"gt\":1}}", NULL, SD_E_NOTFOUND, "feature 24");
    /* A TopK dictionary from elsewhere: without a threshold it is not known which rows the feature is active in. */
    dict->has_threshold = false;
    refused("{\"feature\":{\"dict\":\"d\",\"index\":1},\"op\":\"clamp\",\"value\":1}", dict, SD_E_ARG, "not calibrated");
    dict->has_threshold = true;
    memset(vec, 0, sizeof vec);
    refused("{\"vector\":[0],\"site\":\"resid_post.1\",\"value\":1,\"unit\":\"raw\"}", NULL, SD_E_ARG, "all zero");
    assert_int_equal(sd_mem_live_blocks(), blocks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(vectors), T(features), T(nothing_is_nothing), T(positions), T(units_of_vectors), T(conditions), T(what_cannot_be_done)};
    return cmocka_run_group_tests(tests, set_up, tear_down) ? 1 : 0;
}
