/* What the reader of SAELens directories accepts and refuses: every setting that changes the numbers, every wrong shape, types of
 * weights, layouts of older versions. */
#include "t.h"

#include "base/log.h"
#include "base/map.h"
#include "base/rng.h"
#include "dict/dict_int.h"
#include "file/weights.h"

#include <math.h>

enum { D = 6, M = 10 };

static char warned[2048];
static void hear(void *self, sd_log_level level, const char *line)
{
    (void)self;
    if (level == SD_LOG_WARN) snprintf(warned, sizeof warned, "%s", line);
}

static float W_enc[D * M], W_dec[M * D], b_enc[M], b_dec[D], extra[M], extra2[M];

static void fill(void)
{
    for (int i = 0; i < D * M; i++) W_enc[i] = 0.25f * (float)(i % 7) - 0.5f, W_dec[i] = 0.125f * (float)(i % 5) + 0.25f;
    for (int i = 0; i < M; i++) b_enc[i] = 0.0625f * (float)i, extra[i] = 0.5f, extra2[i] = -0.25f;
    for (int i = 0; i < D; i++) b_dec[i] = 0.5f;
}

static void write_dir(const char *dir, const char *cfg, const sd_st_tensor *more, int n_more)
{
    char path[512];
    sd_err err = {0};
    sd_st_tensor t[8] = {{"W_enc", SD_F32, 2, {D, M}, W_enc}, {"W_dec", SD_F32, 2, {M, D}, W_dec}, {"b_enc", SD_F32, 1, {M}, b_enc}, {"b_dec", SD_F32, 1, {D}, b_dec}};
    int n = 4;
    for (int i = 0; i < n_more; i++) {
        int at = n;
        for (int k = 0; k < n; k++)
            if (strcmp(t[k].name, more[i].name) == 0) at = k; /* replaces */
        t[at] = more[i];
        n += at == n;
    }
    snprintf(path, sizeof path, "%s/sae_weights.safetensors", dir);
    t_ok(sd_safetensors_write(path, t, n, NULL, &err), err);
    snprintf(path, sizeof path, "%s/cfg.json", dir);
    t_ok(sd_file_write_atomic(path, cfg, strlen(cfg), &err), err);
}

#define V6(rest) "{\"d_in\":6,\"d_sae\":10," rest ",\"metadata\":{\"sae_lens_version\":\"6.54.12\",\"model_name\":\"m\",\"hook_name\":\"blocks.2.hook_resid_post\"}}"
#define META(arch, rest) "{\"d_in\":6,\"d_sae\":10,\"architecture\":\"" arch "\",\"metadata\":{\"sae_lens_version\":\"6.54.12\"," rest "}}"

static void test_settings(void **state)
{
    (void)state;
    static const struct { const char *cfg; sd_status want; const char *says; } table[] = {
        {V6("\"architecture\":\"standard\""), SD_OK, ""},
        {V6("\"architecture\":\"topk\",\"k\":3"), SD_OK, ""},
        {V6("\"architecture\":\"standard\",\"dtype\":\"bfloat16\",\"device\":\"cuda\""), SD_OK, ""},
        {V6("\"architecture\":\"standard\",\"reshape_activations\":\"hook_z\""), SD_OK, ""},
        {V6("\"architecture\":\"standard\",\"normalize_activations\":\"none\""), SD_OK, ""},
        {V6("\"architecture\":\"standard\",\"normalize_activations\":\"expected_average_only_in\""), SD_OK, "factor is not in the folder"},
        {V6("\"architecture\":\"standard\",\"surprise\":1"), SD_OK, "surprise"},
        {V6("\"architecture\":\"standard\",\"normalize_activations\":\"layer_norm\""), SD_OK, ""},
        {V6("\"architecture\":\"standard\",\"normalize_activations\":\"constant_norm_rescale\""), SD_OK, ""},
        {V6("\"architecture\":\"standard\",\"normalize_activations\":\"covariance_whitening\""), SD_E_UNSUPPORTED, "whitening"},
        {V6("\"architecture\":\"standard\",\"normalize_activations\":\"new_thing\""), SD_E_UNSUPPORTED, "unknown"},
        {V6("\"architecture\":\"standard\",\"normalize_activations\":7"), SD_E_FORMAT, "no text"},
        {V6("\"architecture\":\"standard\",\"reshape_activations\":\"other\""), SD_E_UNSUPPORTED, "reshape"},
        {V6("\"architecture\":\"standard\",\"dtype\":\"float64\""), SD_E_UNSUPPORTED, "float64"},
        {V6("\"architecture\":\"standard\",\"finetuning_scaling_factor\":true"), SD_E_UNSUPPORTED, "scaled"},
        {V6("\"architecture\":\"batchtopk\",\"k\":3"), SD_E_UNSUPPORTED, "training checkpoint"},
        {V6("\"architecture\":\"matryoshka_batchtopk\",\"k\":3"), SD_E_UNSUPPORTED, "training checkpoint"},
        {V6("\"architecture\":\"abstopk\",\"k\":3"), SD_E_UNSUPPORTED, "absolute"},
        {V6("\"architecture\":\"matching_pursuit\""), SD_E_UNSUPPORTED, "pursuit"},
        {V6("\"architecture\":\"transcoder\",\"d_out\":6"), SD_OK, ""},
        {V6("\"architecture\":\"transcoder\",\"d_out\":7"), SD_E_SHAPE, "W_dec"},
        {V6("\"architecture\":\"transcoder\",\"d_out\":-1"), SD_E_FORMAT, "d_out"},
        {V6("\"architecture\":\"transcoder\""), SD_E_FORMAT, "d_out"},
        {V6("\"architecture\":\"transcoder\",\"d_out\":6,\"apply_b_dec_to_input\":true"), SD_E_UNSUPPORTED, "other site"},
        {V6("\"architecture\":\"skip_transcoder\",\"d_out\":6"), SD_E_FORMAT, "W_skip is missing"},
        {V6("\"architecture\":\"jumprelu_transcoder\",\"d_out\":6"), SD_E_FORMAT, "threshold is missing"},
        {V6("\"architecture\":\"temporal\""), SD_E_UNSUPPORTED, "earlier tokens"},
        {V6("\"architecture\":\"from_the_future\""), SD_E_UNSUPPORTED, "unknown"},
        {V6("\"dtype\":\"float32\""), SD_E_FORMAT, "architecture"},
        {V6("\"architecture\":\"topk\""), SD_E_FORMAT, "k"},
        {V6("\"architecture\":\"topk\",\"k\":0"), SD_E_FORMAT, "k is 0"},
        {V6("\"architecture\":\"topk\",\"k\":11"), SD_E_FORMAT, "k is 11"},
        {V6("\"architecture\":\"topk\",\"k\":\"3\""), SD_E_FORMAT, "k"},
        {V6("\"architecture\":\"jumprelu\""), SD_E_FORMAT, "threshold is missing"},
        {V6("\"architecture\":\"gated\""), SD_E_FORMAT, "b_mag is missing"},
        {META("standard", "\"hook_head_index\":3"), SD_E_UNSUPPORTED, "head"},
        {META("standard", "\"hook_name\":\"a\",\"hook_name_out\":\"b\""), SD_E_UNSUPPORTED, "another"},
        {META("standard", "\"hook_name\":null,\"hook_head_index\":null,\"anything\":[1]"), SD_OK, ""},
        {"{\"d_in\":6,\"d_sae\":11,\"architecture\":\"standard\",\"metadata\":{\"sae_lens_version\":\"6.0.0\"}}", SD_E_SHAPE, "W_enc"},
        {"{\"d_in\":7,\"d_sae\":10,\"architecture\":\"standard\",\"metadata\":{\"sae_lens_version\":\"6.0.0\"}}", SD_E_SHAPE, "W_enc"},
        {"{\"d_in\":6,\"d_sae\":2000000000,\"architecture\":\"standard\",\"metadata\":{\"sae_lens_version\":\"6.0.0\"}}", SD_E_SHAPE, "W_enc"}, /* not 96 GB first */
        {"{\"d_in\":-6,\"d_sae\":10,\"architecture\":\"standard\",\"metadata\":{\"sae_lens_version\":\"6.0.0\"}}", SD_E_SHAPE, "impossible"},
        {"{\"d_in\":4611686018427387904,\"d_sae\":10,\"architecture\":\"standard\",\"metadata\":{\"sae_lens_version\":\"6.0.0\"}}", SD_E_SHAPE, "impossible"},
        {"[1,2]", SD_E_FORMAT, "object"},
        /* Before 6.0: flat, activation_fn_str, normalisation as a boolean. */
        {"{\"d_in\":6,\"d_sae\":10,\"hook_point\":\"blocks.2.hook_resid_post\",\"model_name\":\"m\",\"activation_fn_str\":\"relu\",\"normalize_activations\":false}", SD_OK, ""},
        {"{\"d_in\":6,\"d_sae\":10,\"hook_name\":\"blocks.2.hook_resid_post\",\"model_name\":\"m\",\"activation_fn\":\"topk\",\"activation_fn_kwargs\":{\"k\":4},\"dtype\":\"torch.float32\"}", SD_OK, ""},
        {"{\"d_in\":6,\"d_sae\":10,\"activation_fn_str\":\"tanh-relu\"}", SD_E_UNSUPPORTED, "tanh-relu"},
    };
    const char *dir = t_tmpdir();
    sd_log_set(hear, NULL);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        sd_err err = {0};
        sd_dict *d;
        warned[0] = 0;
        write_dir(dir, table[i].cfg, NULL, 0);
        const sd_status st = sd_dict_open(&d, dir, &err);
        if (st != table[i].want) fail_msg("%s: status %d (%s), wanted %d", table[i].cfg, st, err.msg, table[i].want);
        if (!strstr(st ? err.msg : warned, table[i].says)) fail_msg("%s: says \"%s\"", table[i].cfg, st ? err.msg : warned);
        if (st) assert_null(d);
        else {
            if (!table[i].says[0]) assert_string_equal(warned, "");
            if (strstr(table[i].cfg, "resid_post")) {
                assert_string_equal(sd_dict_get_info(d)->hook_name, "blocks.2.hook_resid_post");
                assert_string_equal(sd_dict_get_info(d)->model_name, "m");
            }
            assert_int_equal(sd_dict_get_info(d)->k, strstr(table[i].cfg, "kwargs") ? 4 : strstr(table[i].cfg, "topk") ? 3 : 0);
        }
        sd_dict_free(d);
    }
    sd_log_set(NULL, NULL);
    t_rmtree(dir);
}

static void test_tensors(void **state)
{
    (void)state;
    uint16_t half[D * M], brain[D * M];
    double wide[D * M];
    float bad[D * M], ones[M], two[M], logt[M];
    for (int i = 0; i < D * M; i++) half[i] = sd_f32_to_f16(W_enc[i]), brain[i] = sd_f32_to_bf16(W_dec[i]), wide[i] = (double)W_enc[i], bad[i] = W_dec[i];
    for (int i = 0; i < M; i++) ones[i] = 1.0f, two[i] = i == 3 ? 2.0f : 1.0f, logt[i] = -0.69314718f;
    bad[3 * D + 4] = INFINITY;
    const sd_st_tensor f16 = {"W_enc", SD_F16, 2, {D, M}, half}, bf16 = {"W_dec", SD_BF16, 2, {M, D}, brain}, f64 = {"W_enc", SD_F64, 2, {D, M}, wide};
    const sd_st_tensor infinite = {"W_dec", SD_F32, 2, {M, D}, bad}, turned = {"W_enc", SD_F32, 2, {M, D}, W_enc}, left = {"W_skip", SD_F32, 1, {M}, ones};
    const sd_st_tensor one = {"scaling_factor", SD_F32, 1, {M}, ones}, scale = {"scaling_factor", SD_F32, 1, {M}, two}, log_threshold = {"log_threshold", SD_F32, 1, {M}, logt};
    const sd_st_tensor threshold = {"threshold", SD_F32, 1, {M}, extra}, few = {"threshold", SD_F32, 1, {M - 1}, extra};
    const struct { sd_st_tensor t; const char *arch; sd_status want; const char *says; } table[] = {
        {f16, "standard", SD_OK, ""}, {bf16, "standard", SD_OK, ""}, {f64, "standard", SD_E_UNSUPPORTED, "F64"}, {infinite, "standard", SD_E_FORMAT, "feature 3, dimension 4"},
        {turned, "standard", SD_E_SHAPE, "W_enc is [10, 6]"}, {left, "standard", SD_E_UNSUPPORTED, "W_skip"}, {one, "standard", SD_OK, ""},
        {scale, "standard", SD_E_UNSUPPORTED, "feature 3"}, {log_threshold, "jumprelu", SD_OK, ""}, {threshold, "jumprelu", SD_OK, ""},
        {few, "jumprelu", SD_E_SHAPE, "threshold has 9"}, {threshold, "standard", SD_E_UNSUPPORTED, "threshold"}};
    const char *dir = t_tmpdir();
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char cfg[256];
        sd_err err = {0};
        sd_dict *d;
        snprintf(cfg, sizeof cfg, "{\"d_in\":6,\"d_sae\":10,\"architecture\":\"%s\",\"metadata\":{\"sae_lens_version\":\"6.54.12\"}}", table[i].arch);
        write_dir(dir, cfg, &table[i].t, 1);
        const sd_status st = sd_dict_open(&d, dir, &err);
        if (st != table[i].want || (st && !strstr(err.msg, table[i].says))) fail_msg("%s in %s: status %d: %s", table[i].t.name, table[i].arch, st, err.msg);
        for (int f = 0; f < M && !st; f++) {
            assert_true(sd_dict_threshold(d, f) == (strcmp(table[i].arch, "jumprelu") ? 0.0f : 0.5f));
            for (int c = 0; c < D; c++) { /* all exact in f16 and bf16 */
                assert_true(sd_dict_enc_row(d, f)[c] == W_enc[c * M + f]);
                assert_true(sd_dict_dec_row(d, f)[c] == W_dec[f * D + c]);
            }
        }
        sd_dict_free(d);
    }
    t_rmtree(dir);
}

/* x' and z by the formulas of the reference, for what the fixtures do not have: apply_b_dec_to_input false, negative thresholds. */
static void test_untied_bias_and_negative_threshold(void **state)
{
    (void)state;
    const char *dir = t_tmpdir();
    sd_err err = {0};
    sd_exec *ex;
    t_ok(sd_exec_new(&ex, &(sd_exec_opt){"ref", 1}, &err), err);
    for (int subtract = 0; subtract < 2; subtract++)
        for (int negative = 0; negative < 2; negative++) {
            char cfg[256];
            sd_dict *d;
            sd_codes z = {0};
            float x[9 * D], y[9 * D];
            const sd_st_tensor t = {"threshold", SD_F32, 1, {M}, negative ? extra2 : extra};
            snprintf(cfg, sizeof cfg, "{\"d_in\":6,\"d_sae\":10,\"architecture\":\"jumprelu\",\"apply_b_dec_to_input\":%s,\"metadata\":{\"sae_lens_version\":\"6.54.12\"}}", subtract ? "true" : "false");
            write_dir(dir, cfg, &t, 1);
            t_ok(sd_dict_open(&d, dir, &err), err);
            sd_rng r = sd_rng_make(1, "rows", 0);
            for (int i = 0; i < 9 * D; i++) x[i] = sd_rng_normal(&r);
            t_ok(sd_dict_encode(&z, ex, d, sd_mat_of(x, 9, D), &err), err);
            sd_dict_decode(sd_mat_of(y, 9, D), ex, d, &z);
            for (int i = 0; i < 9; i++) {
                int64_t e = z.row_ptr[i];
                double out[D];
                for (int c = 0; c < D; c++) out[c] = (double)b_dec[c];
                for (int f = 0; f < M; f++) {
                    double p = (double)b_enc[f];
                    for (int c = 0; c < D; c++) p += ((double)x[i * D + c] - (subtract ? (double)b_dec[c] : 0)) * (double)W_enc[c * M + f];
                    assert_true(fabs((double)sd_dict_preact(d, f, x + i * D) - p) < 1e-6);
                    if (!(p > 0) || !(p > (negative ? -0.25 : 0.5))) continue;
                    assert_true(e < z.row_ptr[i + 1] && z.idx[e] == f && fabs((double)z.val[e] - p) < 1e-5);
                    e++;
                    for (int c = 0; c < D; c++) out[c] += p * (double)W_dec[f * D + c];
                }
                assert_int_equal(e, z.row_ptr[i + 1]);
                for (int c = 0; c < D; c++) assert_true(fabs((double)y[i * D + c] - out[c]) < 1e-5);
            }
            assert_true(sd_dict_threshold(d, 2) == (negative ? 0.0f : 0.5f));
            sd_codes_release(&z);
            sd_dict_free(d);
        }
    sd_exec_free(ex);
    t_rmtree(dir);
}

/* The spread of a projection, by its definition: every row projected, in double. */
static double spread_of(const float *x, int n, const float *u)
{
    double sum = 0, squares = 0, norm2 = 0;
    for (int i = 0; i < D; i++) norm2 += (double)u[i] * (double)u[i];
    for (int r = 0; r < n; r++) {
        double p = 0;
        for (int i = 0; i < D; i++) p += (double)x[r * D + i] * (double)u[i] / sqrt(norm2);
        sum += p;
        squares += p * p;
    }
    return sqrt(squares / n - sum / n * (sum / n));
}

static void test_spread(void **state)
{
    (void)state;
    enum { ROWS = 1500 }; /* more than one block */
    const char *dir = t_tmpdir();
    sd_err err = {0};
    sd_dict *d;
    sd_exec *ex;
    sd_rng r = sd_rng_make(5, "spread", 0);
    float *x = malloc(sizeof(float) * ROWS * D);
    for (int i = 0; i < ROWS * D; i++) x[i] = sd_rng_normal(&r) * (float)(1 + i % D) + (i % D == 2 ? 300 : 0); /* a large mean */
    write_dir(dir, V6("\"architecture\":\"topk\",\"k\":3"), NULL, 0);
    t_ok(sd_dict_open(&d, dir, &err), err);
    assert_true(sd_dict_proj_std(d, 0) == 0); /* unknown */
    static const char *const isa[] = {"ref", NULL};
    for (int c = 0; c < 2; c++) {
        t_ok(sd_exec_new(&ex, &(sd_exec_opt){isa[c], 2}, &err), err);
        t_ok(sd_dict_calibrate(d, ex, sd_mat_of(x, ROWS, D), &err), err);
        for (int f = 0; f < M; f++) {
            double want = spread_of(x, ROWS, sd_dict_dec_row(d, f)), got = (double)sd_dict_proj_std(d, f);
            /* 1,500 f32 sums, each rounded to 6e-8 of itself, at random: 1e-6 of the variance; centring rounds less. */
            if (fabs(got / want - 1) > 1e-5) fail_msg("feature %d: %.9g, expected %.9g", f, got, want);
        }
        sd_exec_free(ex);
    }
    sd_dict_free(d);
    free(x);
    t_rmtree(dir);
}

static void test_missing_and_mismatched(void **state)
{
    (void)state;
    const char *dir = t_tmpdir();
    char path[512];
    sd_err err = {0};
    sd_dict *d;
    assert_int_equal(sd_dict_open(&d, "/nonexistent/dict", &err), SD_E_NOTFOUND);
    assert_true(err.hint[0] != 0);
    write_dir(dir, V6("\"architecture\":\"topk\",\"k\":3"), NULL, 0);
    t_ok(sd_dict_open(&d, dir, &err), err);
    assert_false(sd_dict_has_threshold(d)); /* nobody calibrated it */
    assert_true(isnan(sd_dict_threshold(d, 0)) && isnan(sd_dict_density(d, 0)) && sd_dict_max_act(d, 0) == 0);
    sd_exec *ex;
    float x[32 * D];
    sd_codes z = {0};
    t_ok(sd_exec_new(&ex, &(sd_exec_opt){"ref", 1}, &err), err);
    for (int i = 0; i < 32 * D; i++) x[i] = (float)(i * 37 % 11) - 5;
    assert_int_equal(sd_dict_encode(&z, ex, d, sd_mat_of(x, 8, D + 1), &err), SD_E_SHAPE);
    x[20 * D + 1] = NAN;
    assert_int_equal(sd_dict_encode(&z, ex, d, sd_mat_of(x, 32, D), &err), SD_E_FORMAT);
    assert_non_null(strstr(err.msg, "row 20"));
    x[20 * D + 1] = 1;
    t_ok(sd_dict_calibrate(d, ex, sd_mat_of(x, 32, D), &err), err);
    assert_true(sd_dict_has_threshold(d) && isfinite(sd_dict_threshold(d, 0)));
    /* Saved now, it keeps what it learned; without the extra file it still opens, and says what is unknown. */
    t_ok(sd_dict_save(d, dir, &err), err);
    const float kept = sd_dict_threshold(d, 4), spread = sd_dict_proj_std(d, 4);
    sd_dict_free(d);
    t_ok(sd_dict_open(&d, dir, &err), err);
    assert_true(sd_dict_threshold(d, 4) == kept && sd_dict_proj_std(d, 4) == spread);
    sd_dict_free(d);
    snprintf(path, sizeof path, "%s/sonde.safetensors", dir);
    assert_int_equal(unlink(path), 0);
    sd_log_set(hear, NULL);
    t_ok(sd_dict_open(&d, dir, &err), err);
    sd_log_set(NULL, NULL);
    assert_non_null(strstr(warned, "sonde.safetensors is missing"));
    assert_false(sd_dict_has_threshold(d));
    sd_dict_free(d);
    snprintf(path, sizeof path, "%s/sae_weights.safetensors", dir);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(sd_dict_open(&d, dir, &err), SD_E_NOTFOUND);
    sd_codes_release(&z);
    sd_exec_free(ex);
    t_rmtree(dir);
}

int main(void)
{
    fill();
    const struct CMUnitTest tests[] = {T(test_settings), T(test_tensors), T(test_untied_bias_and_negative_threshold), T(test_spread), T(test_missing_and_mismatched)};
    const int rc = cmocka_run_group_tests(tests, NULL, NULL);
    if (sd_mem_live_blocks() != 0) return printf("%lld blocks left\n", (long long)sd_mem_live_blocks()), 1;
    return rc ? 1 : 0;
}
