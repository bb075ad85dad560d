/* A prompt behind a copied prefix gives the bits of the prompt run whole, in every mode and for any place of the cut. */
#include "tiny_model.h"

#include "model/session.h"

enum { N = 41 };

static void logits_of(float *out, const sd_exec *ex, const sd_model *m, sd_session *s, const int32_t *tok, int64_t n)
{
    sd_runner *r = NULL;
    sd_err err = {0};
    sd_segment seg = {.s = s, .tok = tok, .n = n, .want = SD_LOGITS_LAST};
    t_ok(sd_runner_new(&r, ex, m, &(sd_runner_opt){.max_rows = 64}, &err), err);
    t_ok(sd_runner_step(r, &seg, 1, -1, &err), err);
    memcpy(out, seg.logits.data, TINY_VOCAB * sizeof(float));
    sd_runner_free(r);
}

static void copied_prefix_keeps_the_bits(void **state)
{
    (void)state;
    static const sd_mode mode[] = {SD_MODE_FAITHFUL, SD_MODE_BF16, SD_MODE_FAST, SD_MODE_FAITHFUL, SD_MODE_FAST};
    static const sd_kv_type kv[] = {SD_KV_DEFAULT, SD_KV_DEFAULT, SD_KV_DEFAULT, SD_KV_F16, SD_KV_Q8}, used[] = {SD_KV_F32, SD_KV_BF16, SD_KV_F16, SD_KV_F16, SD_KV_Q8};
    static const int64_t cut[] = {1, 15, 16, 17, 32, 40};
    const char *dir = t_tmpdir();
    int32_t tok[N];
    float whole[TINY_VOCAB], tail[TINY_VOCAB];
    sd_exec *ex = NULL;
    sd_err err = {0};
    for (int i = 0; i < N; i++) tok[i] = 1 + (i * 37) % 250;
    tiny_write_hf(dir, &tiny_default);
    t_ok(sd_exec_new(&ex, NULL, &err), err);
    for (size_t k = 0; k < sizeof mode / sizeof *mode; k++) {
        sd_model *m = NULL;
        sd_session *a = NULL, *b = NULL, *other = NULL;
        t_ok(sd_model_open(&m, ex, dir, &(sd_model_opt){.mode = mode[k], .kv = kv[k]}, &err), err);
        t_ok(sd_session_new(&a, m, &(sd_session_opt){.n_ctx = 64}, &err), err);
        t_ok(sd_session_new(&b, m, &(sd_session_opt){.n_ctx = 100}, &err), err);
        t_ok(sd_session_new(&other, m, &(sd_session_opt){.n_ctx = 64, .kv = used[k] == SD_KV_Q8 ? SD_KV_F32 : SD_KV_Q8}, &err), err);
        assert_int_equal(sd_session_get_kv(a), used[k] == SD_KV_BF16 && !sd_kv_can(ex, SD_KV_BF16) ? SD_KV_F32 : used[k]);
        logits_of(whole, ex, m, a, tok, N);
        for (size_t i = 0; i < sizeof cut / sizeof *cut; i++) {
            t_ok(sd_session_copy_prefix(b, a, cut[i], &err), err);
            assert_int_equal(sd_session_pos(b), cut[i]);
            logits_of(tail, ex, m, b, tok + cut[i], N - cut[i]);
            assert_memory_equal(whole, tail, sizeof whole);
        }
        assert_int_equal(sd_session_copy_prefix(b, a, N + 1, &err), SD_E_ARG);
        assert_int_equal(sd_session_copy_prefix(a, a, 1, &err), SD_E_ARG);
        assert_int_equal(sd_session_copy_prefix(other, a, 1, &err), SD_E_ARG);
        t_ok(sd_session_copy_prefix(b, a, 0, &err), err);
        assert_int_equal(sd_session_pos(b), 0);
        sd_session_free(a);
        sd_session_free(b);
        sd_session_free(other);
        sd_model_close(m);
    }
    sd_exec_free(ex);
    t_rmtree(dir);
}

/* Dynamic scaling turns keys by the length of the session: those of a short one mean something else in a long one. */
static void keys_of_another_rope_are_refused(void **state)
{
    (void)state;
    const char *dir = t_tmpdir();
    static const int32_t tok[] = {1, 2, 3, 4};
    float logits[TINY_VOCAB];
    sd_exec *ex = NULL;
    sd_model *m = NULL;
    sd_session *s[3] = {NULL};
    sd_err err = {0};
    tiny_spec spec = tiny_default;
    spec.config_extra = ", \"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 4.0}";
    tiny_write_hf(dir, &spec);
    t_ok(sd_exec_new(&ex, NULL, &err), err);
    t_ok(sd_model_open(&m, ex, dir, NULL, &err), err);
    for (int i = 0; i < 3; i++) t_ok(sd_session_new(&s[i], m, &(sd_session_opt){.n_ctx = i == 2 ? 2 * spec.n_ctx : 64 * (i + 1)}, &err), err);
    logits_of(logits, ex, m, s[0], tok, 4);
    t_ok(sd_session_copy_prefix(s[1], s[0], 3, &err), err); /* both are within the length of pretraining */
    assert_int_equal(sd_session_copy_prefix(s[2], s[0], 3, &err), SD_E_ARG);
    assert_non_null(strstr(err.msg, "rotary embedding depends"));
    for (int i = 0; i < 3; i++) sd_session_free(s[i]);
    sd_model_close(m);
    sd_exec_free(ex);
    t_rmtree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(copied_prefix_keeps_the_bits), T(keys_of_another_rope_are_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
