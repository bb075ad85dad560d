/* The plan that `info` prints against what a loaded model, session and runner really hold. */
#include "tiny_model.h"
#include "lab/describe.h"
#include "base/mem.h"
#include "num/exec.h"
#include "sonde/model.h"

static sd_err err;

/* Panels are padded to whole tiles and each layer has a struct: on a model of 100 thousand weights that is a few percent. */
#define PACKED_SLACK 0.10
/* The runner also keeps positions, rotary tables of its rows and each op's own scratch. */
#define SCRATCH_FACTOR 2.0

static void compare(const char *path, sd_mode mode)
{
    sd_exec *ex = NULL;
    sd_model *m = NULL;
    sd_session *s = NULL;
    sd_runner *r = NULL;
    sd_describe d;
    enum { CTX = 256 };
    t_ok(sd_exec_new(&ex, NULL, &err), err);
    t_ok(sd_lab_describe(&d, path, &(sd_describe_opt){.n_ctx = CTX, .cpu_flags = ex->cpu.flags}, &err), err);
    assert_true(d.runnable);
    t_ok(sd_model_open(&m, ex, path, &(sd_model_opt){.mode = mode, .n_ctx = CTX}, &err), err);
    t_ok(sd_session_new(&s, m, &(sd_session_opt){.n_ctx = CTX}, &err), err);
    t_ok(sd_runner_new(&r, ex, m, &(sd_runner_opt){.max_rows = 512, .max_logit_rows = 1, .n_ctx = CTX}, &err), err);
    const sd_config *cfg = sd_model_get_config(m);
    const sd_describe_memory *plan = &d.memory[mode - SD_MODE_FAITHFUL];
    double packed = (double)sd_model_packed_bytes(m), kv = (double)sd_session_bytes(s), scratch = (double)sd_runner_bytes(r);
    print_message("%s %s: packed %.0f of %.0f, kv %.0f of %.0f, scratch %.0f of %.0f\n", path, sd_mode_name(mode), (double)plan->packed, packed,
                  (double)plan->kv, kv, (double)plan->scratch, scratch);
    assert_int_equal(d.n_layer, cfg->n_layer);
    assert_int_equal(d.n_head, cfg->n_head);
    assert_int_equal(d.n_head_kv, cfg->n_head_kv);
    assert_int_equal(d.d_head, cfg->d_head);
    assert_int_equal(d.d_model, cfg->d_model);
    assert_int_equal(d.d_ffn, cfg->d_ffn);
    assert_int_equal(d.n_vocab, cfg->n_vocab);
    assert_int_equal(d.tied, cfg->tied);
    assert_true((double)plan->packed > packed * (1 - PACKED_SLACK) && (double)plan->packed < packed * (1 + PACKED_SLACK));
    assert_true((double)plan->kv > kv * 0.9 && (double)plan->kv < kv * 1.1);
    assert_true((double)plan->scratch * SCRATCH_FACTOR > scratch && (double)plan->scratch < scratch * SCRATCH_FACTOR);
    sd_runner_free(r);
    sd_session_free(s);
    sd_model_close(m);
    sd_exec_free(ex);
}

static void the_plan_is_close(void **state)
{
    (void)state;
    const char *path[] = {t_shared("fixtures/models/llama/model.gguf"), t_shared("fixtures/models/llama")};
    for (int i = 0; i < 2; i++) {
        if (!path[i]) t_skip("no fixtures/models/llama");
        for (sd_mode mode = SD_MODE_FAITHFUL; mode <= SD_MODE_FAST; mode++) compare(path[i], mode);
    }
    assert_int_equal(sd_mem_live_blocks(), 0);
}

static void both_containers_say_the_same(void **state)
{
    (void)state;
    const char *gguf = t_shared("fixtures/models/llama/model.gguf"), *hf = t_shared("fixtures/models/llama");
    sd_describe a, b;
    if (!gguf || !hf) t_skip("no fixtures/models/llama");
    t_ok(sd_lab_describe(&a, gguf, &(sd_describe_opt){0}, &err), err);
    t_ok(sd_lab_describe(&b, hf, &(sd_describe_opt){0}, &err), err);
    assert_string_equal(a.arch, b.arch);
    assert_int_equal(a.n_params, b.n_params);
    assert_int_equal(a.n_vocab, b.n_vocab);
    assert_int_equal(a.kv_per_1k, b.kv_per_1k);
    assert_int_equal(a.tied, b.tied);
    assert_int_equal(sd_mem_live_blocks(), 0);
}

static void memory_may_run_out_anywhere(void **state)
{
    (void)state;
    const char *path = t_shared("fixtures/models/llama");
    if (!path) t_skip("no fixtures/models/llama");
    for (int64_t n = 1;; n++) {
        sd_describe d;
        sd_mem_fail_nth(n);
        sd_status st = sd_lab_describe(&d, path, &(sd_describe_opt){0}, &err);
        int64_t asked = sd_mem_fail_nth(0);
        assert_int_equal(sd_mem_live_blocks(), 0);
        if (st) assert_int_equal(st, SD_E_NOMEM);
        if (asked < n) break;
    }
}

/* Sizes whose products leave 64 bits: a plan that says "more than there is", not what is left of the product. */
static void sizes_are_claims(void **state)
{
    (void)state;
    const char *dir = t_tmpdir();
    sd_describe d;
    sd_buf b;
    tiny_write_hf(dir, &tiny_default);
    sd_buf_init(&b, 1 << 12);
    sd_buf_puts(&b, "{\"model_type\": \"llama\", \"hidden_size\": 64, \"intermediate_size\": 9223372036854775807, \"num_hidden_layers\": 3, \"num_attention_heads\": 4294967296,"
                    " \"num_key_value_heads\": 4294967296, \"head_dim\": 4294967296, \"max_position_embeddings\": 512, \"vocab_size\": 260}");
    tiny_save(dir, "config.json", &b);
    sd_buf_release(&b);
    t_ok(sd_lab_describe(&d, dir, &(sd_describe_opt){0}, &err), err);
    assert_true(d.kv_per_1k == (uint64_t)1 << 61);
    for (int k = 0; k < SD_DESCRIBE_KV; k++) assert_true(d.kv_types[k] > (uint64_t)1 << 50);
    for (int k = 0; k < 3; k++) assert_true(d.memory[k].scratch == (uint64_t)1 << 61 && d.memory[k].total > (uint64_t)1 << 61 && d.memory[k].total <= INT64_MAX);
    t_rmtree(dir);
    assert_int_equal(sd_mem_live_blocks(), 0);
}

static void yarn_reaches_beyond_the_context(void **state)
{
    const char *dir = t_tmpdir();
    sd_exec *ex;
    sd_describe d;
    tiny_spec s = tiny_default;
    (void)state;
    s.config_extra = ", \"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4.0, \"original_max_position_embeddings\": 512}";
    tiny_write_hf(dir, &s);
    t_ok(sd_exec_new(&ex, NULL, &err), err);
    t_ok(sd_lab_describe(&d, dir, &(sd_describe_opt){.ex = ex, .cpu_flags = ex->cpu.flags}, &err), err);
    assert_true(d.runnable);
    assert_int_equal(d.n_ctx_model, 2048);
    assert_int_equal(d.n_ctx, 2048);
    sd_exec_free(ex);
    t_rmtree(dir);
}

static const struct CMUnitTest tests[] = {T(yarn_reaches_beyond_the_context), T(sizes_are_claims), T(the_plan_is_close), T(both_containers_say_the_same), T(memory_may_run_out_anywhere)};
T_MAIN(tests)
