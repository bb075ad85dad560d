/* Opening: the blueprint, strict binding with sentences that name the tensor, what is refused, what is left over on
 * purpose. */
#include "tiny_gguf.h"

#include "base/log.h"
#include "file/gguf_write.h"
#include "model/config_int.h"
#include "model/session.h"

static sd_exec *ex;

static int set_up(void **state)
{
    (void)state;
    return sd_exec_new(&ex, &(sd_exec_opt){.n_threads = 2}, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    sd_exec_free(ex);
    return 0;
}

/* The 4B of Gemma 3 as it is published: what text_config leaves out is transformers' default. */
static void test_pictures_config(void **state)
{
    (void)state;
    static const char gemma[] =
        "{\"architectures\":[\"Gemma3ForConditionalGeneration\"],\"eos_token_id\":[1,106],\"mm_tokens_per_image\":256,\"model_type\":\"gemma3\","
        "\"text_config\":{\"hidden_size\":2560,\"intermediate_size\":10240,\"model_type\":\"gemma3_text\",\"num_hidden_layers\":34,"
        "\"rope_scaling\":{\"factor\":8.0,\"rope_type\":\"linear\"},\"sliding_window\":1024},\"vision_config\":{\"hidden_size\":1152}}";
    const char *dir = t_tmpdir();
    char path[300];
    sd_err err = {0};
    sd_weights *w;
    static sd_blueprint bp;
    snprintf(path, sizeof path, "%s/config.json", dir);
    t_ok(sd_file_write_atomic(path, gemma, sizeof gemma - 1, &err), err);
    t_ok(sd_weights_open_opt(&w, dir, &(sd_weights_opt){.meta_only = true}, &err), err);
    t_ok(sd_config__read(&bp, w, &err), err);
    const sd_config *c = &bp.cfg;
    assert_string_equal(c->arch, "gemma3");
    assert_true(c->n_layer == 34 && c->n_head == 8 && c->n_head_kv == 4 && c->d_head == 256 && c->d_model == 2560 && c->d_ffn == 10240);
    assert_true(c->n_ctx == 131072 && c->window == 1024 && c->n_windowed == 29 && c->rope_theta == 1e6);
    assert_true(bp.rope[0].factor == 8 && bp.rope[1].theta == 1e4 && bp.rope[1].type == SD_ROPE_DEFAULT);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(sd_weights_config(w), "eos_token_id"), 1)), 106);
    sd_weights_close(w);
    t_rmtree(dir);
}

static char last_log[512];
static void keep_log(void *self, sd_log_level level, const char *line)
{
    (void)self, (void)level;
    snprintf(last_log, sizeof last_log, "%s", line);
}

/* Writes the model as a folder (or as a GGUF) and opens it. */
static sd_status open_tiny(sd_model **m, const tiny_spec *s, bool gguf, const sd_model_opt *opt, sd_err *err)
{
    const char *dir = t_tmpdir();
    char path[300];
    snprintf(path, sizeof path, gguf ? "%s/tiny.gguf" : "%s", dir);
    if (gguf)
        tiny_write_gguf(path, s);
    else
        tiny_write_hf(dir, s);
    sd_status st = sd_model_open(m, ex, path, opt, err);
    if (st && !strstr(err->msg, dir)) fail_msg("no path in: %s", err->msg);
    t_rmtree(dir);
    return st;
}

static void refused(const tiny_spec *s, bool gguf, sd_status want, const char *sentence)
{
    sd_model *m = (sd_model *)8;
    sd_err err = {0};
    int64_t live = sd_mem_live_blocks();
    sd_status st = open_tiny(&m, s, gguf, NULL, &err);
    if (st != want || !strstr(err.msg, sentence))
        fail_msg("status %d, \"%s\", expected \"%s\"", (int)st, err.msg, sentence);
    assert_null(m);
    assert_int_equal(sd_mem_live_blocks(), live);
}

static void test_blueprint(void **state)
{
    (void)state;
    for (int gguf = 0; gguf < 2; gguf++)
        for (int tied = 0; tied < 2; tied++) {
            sd_model *m;
            sd_err err = {0};
            tiny_spec s = tiny_default;
            s.tied = tied;
            t_ok(open_tiny(&m, &s, gguf, NULL, &err), err);
            const sd_config *c = sd_model_get_config(m);
            assert_string_equal(c->arch, "llama");
            assert_true(gguf ? strcmp(c->name, "tiny") == 0 : strncmp(c->name, "sonde-test-", 11) == 0);
            assert_true(c->n_layer == 3 && c->n_head == 4 && c->n_head_kv == 2 && c->d_head == 16 && c->n_rot == 16);
            assert_true(c->d_model == 64 && c->d_ffn == 96 && c->n_vocab == TINY_VOCAB && c->n_ctx == 512);
            assert_true(c->rope_theta == 10000.0 && c->norm_eps == 1e-5f && c->attn_scale == 0.25f && c->tied == tied);
            assert_int_equal(sd_model_get_mode(m), SD_MODE_FAITHFUL);
            assert_int_equal(sd_tok_n_vocab(m->tok), TINY_VOCAB);
            size_t weights = 3 * (64 * 64 * 2 + 32 * 64 * 2 + 3 * 64 * 96) + TINY_VOCAB * 64;
            assert_true(sd_model_packed_bytes(m) >= weights * 4 && sd_model_read_bytes(m) >= weights * 4);
            sd_model_close(m);
        }
}

static void test_biases_bind(void **state)
{
    (void)state;
    tiny_spec s = tiny_default;
    s.bias = true;
    for (int gguf = 0; gguf < 2; gguf++) {
        sd_model *m;
        sd_err err = {0};
        t_ok(open_tiny(&m, &s, gguf, NULL, &err), err);
        sd_model_close(m);
    }
}

static void test_tensors_are_strict(void **state)
{
    (void)state;
    tiny_spec s = tiny_default;
    s.drop = "model.layers.2.mlp.up_proj.weight";
    refused(&s, false, SD_E_NOTFOUND, "tensor model.layers.2.mlp.up_proj.weight is missing");
    refused(&s, true, SD_E_NOTFOUND, "tensor blk.2.ffn_up.weight is missing");
    s.drop = "model.layers.2"; /* all of a layer: then the count is what is wrong */
    refused(&s, false, SD_E_SHAPE, "there is no tensor of layer 2 (model.layers.2.input_layernorm.weight), but num_hidden_layers is 3");
    refused(&s, true, SD_E_SHAPE, "there is no tensor of layer 2 (blk.2.attn_norm.weight), but the metadata's block_count is 3");
    s.drop = "lm_head.weight";
    refused(&s, false, SD_E_NOTFOUND, "tensor lm_head.weight is missing");
    s.drop = "model.embed_tokens.weight";
    refused(&s, true, SD_E_NOTFOUND, "tensor token_embd.weight is missing");
    s = tiny_default;
    s.stretch = "model.layers.1.self_attn.q_proj.weight";
    refused(&s, false, SD_E_SHAPE, "model.layers.1.self_attn.q_proj.weight: expected [64, 64], file has [65, 64]");
    s.stretch = "model.layers.1.input_layernorm.weight";
    refused(&s, true, SD_E_SHAPE, "blk.1.attn_norm.weight: expected [64], file has [65]");
    s.stretch = "model.embed_tokens.weight";
    refused(&s, false, SD_E_SHAPE, "config.json: vocab_size is 260, but model.embed_tokens.weight has 261 rows");
    s = tiny_default;
    s.extra = "model.layers.0.self_attn.q_norm.weight";
    refused(&s, false, SD_E_FORMAT, "tensor model.layers.0.self_attn.q_norm.weight is not part of a llama model");
}

static void test_named_leftovers(void **state)
{
    (void)state;
    static const char *const fine[] = {"model.layers.0.self_attn.rotary_emb.inv_freq", "h.0.attn.bias"};
    sd_log_set(keep_log, NULL);
    for (int i = 0; i < 2; i++) {
        sd_model *m;
        sd_err err = {0};
        tiny_spec s = tiny_default;
        s.tied = true;
        s.extra = fine[i];
        t_ok(open_tiny(&m, &s, false, NULL, &err), err);
        assert_non_null(strstr(last_log, fine[i]));
        sd_model_close(m);
    }
    sd_log_set(NULL, NULL);
    tiny_spec s = tiny_default;
    s.extra = "rope_freqs.weight"; /* three numbers for heads of 16 */
    refused(&s, true, SD_E_SHAPE, "rope_freqs.weight: expected 8 F32 divisors of the rotary frequencies, file has 3 F32");
}

/* The same numbers in the embedding and in the head. */
static void alike(const char *hf, float *data, int64_t rows, int64_t cols, const void *arg)
{
    (void)arg;
    if (strcmp(hf, "model.embed_tokens.weight") != 0 && strcmp(hf, "lm_head.weight") != 0) return;
    for (int64_t i = 0; i < rows * cols; i++) data[i] = (float)(i % 17) / 16;
}

/* config.json ties the head, and the file has one: a copy is left alone, another matrix is used, as transformers does. */
static void test_head_beside_a_tie(void **state)
{
    (void)state;
    for (int copy = 0; copy < 2; copy++) {
        sd_model *m;
        sd_err err = {0};
        tiny_spec s = tiny_default;
        s.tied = s.own_head = true;
        s.edit = copy ? alike : NULL;
        sd_log_set(keep_log, NULL);
        t_ok(open_tiny(&m, &s, false, NULL, &err), err);
        sd_log_set(NULL, NULL);
        assert_int_equal(sd_model_get_config(m)->tied, copy);
        assert_int_equal(m->head_w.data == m->embed.data, copy);
        assert_non_null(strstr(last_log, copy ? "lm_head.weight is a copy of the embedding" : "(tie_word_embeddings), but lm_head.weight is another matrix"));
        sd_model_close(m);
        /* Without the last layer no head is asked about. */
        last_log[0] = '\0';
        sd_log_set(keep_log, NULL);
        t_ok(open_tiny(&m, &s, false, &(sd_model_opt){.max_layer = 1, .no_head = true}, &err), err);
        sd_log_set(NULL, NULL);
        assert_true(sd_model_get_config(m)->n_layer > 1 && sd_model_get_config(m)->tied);
        assert_null(strstr(last_log, "lm_head.weight"));
        sd_model_close(m);
    }
}

static void test_refused_configs(void **state)
{
    (void)state;
    static const struct {
        const char *member;
        sd_status st;
        const char *sentence;
    } bad[] = {
        {", \"rope_scaling\": {\"type\": \"axial\", \"factor\": 2.0}", SD_E_UNSUPPORTED,
         "rope_scaling has type \"axial\""},
        {", \"rope_scaling\": {\"type\": \"linear\"}", SD_E_FORMAT, "the factor of the rotary embedding is 0"},
        {", \"rope_parameters\": {\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 4, \"high_freq_factor\": 1}",
         SD_E_FORMAT, "low_freq_factor 4 and high_freq_factor 1"},
        {", \"rope_parameters\": {\"rope_type\": \"longrope\", \"short_factor\": [1, 2]}", SD_E_FORMAT,
         "short_factor: expected 8 numbers"},
        {", \"partial_rotary_factor\": 0.5", SD_E_UNSUPPORTED, "partial_rotary_factor"},
        {", \"rope_interleaved\": true", SD_E_UNSUPPORTED, "rope_interleaved"},
        {", \"rope_theta\": -1", SD_E_FORMAT, "rotary base"},
        {", \"rope_theta\": \"big\"", SD_E_FORMAT, "rope_theta"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        tiny_spec s = tiny_default;
        s.config_extra = bad[i].member;
        refused(&s, false, bad[i].st, bad[i].sentence);
    }
    tiny_spec s = tiny_default;
    s.model_type = "mamba";
    for (int gguf = 0; gguf < 2; gguf++) {
        sd_model *m;
        sd_err err = {0};
        assert_int_equal(open_tiny(&m, &s, gguf, NULL, &err), SD_E_UNSUPPORTED);
        assert_non_null(strstr(err.msg, "\"mamba\", which is not supported"));
        assert_string_equal(err.hint, "supported: llama, mistral, qwen2, qwen3, gemma2, gemma3, gpt2, gpt_neox, phi3, olmo2");
    }
    s = tiny_default;
    s.n_head = 3; /* 3 heads over 2 */
    refused(&s, true, SD_E_FORMAT, "3 heads cannot share 2 key-value heads evenly");
    s = tiny_default;
    s.n_layer = 0;
    refused(&s, false, SD_E_FORMAT, "number of layers is 0");
    s = tiny_default;
    s.n_ctx = 0;
    refused(&s, true, SD_E_FORMAT, "context length is 0");
    sd_model *m;
    sd_err err = {0};
    s = tiny_default;
    s.config_extra = ", \"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 5e5}, \"rope_scaling\": null";
    t_ok(open_tiny(&m, &s, false, NULL, &err), err);
    assert_true(sd_model_get_config(m)->rope_theta == 5e5);
    sd_model_close(m);
}

/* transformers' Phi3Config reads "su" and "yarn" as "longrope"; in other models yarn is YaRN. */
static void test_rope_names_of_phi3(void **state)
{
    static const char *const name[] = {"su", "yarn", "longrope"};
    static sd_blueprint b;
    (void)state;
    for (int i = 0; i < 3; i++) {
        sd_err err = {0};
        json_t *j = json_pack("{s:f, s:i, s:i, s:i, s:i, s:i, s:i, s:{s:s, s:[f,f], s:[f,f]}}", "rms_norm_eps", 1e-5, "hidden_size", 8, "intermediate_size", 8, "num_hidden_layers", 1, "num_attention_heads", 2,
                              "max_position_embeddings", 64, "original_max_position_embeddings", 32, "rope_scaling", "type", name[i], "short_factor", 1.0, 1.5, "long_factor", 2.0, 3.0);
        t_ok(sd_config__of(&b, &sd_arch_phi3, NULL, j, &err), err);
        assert_int_equal(b.rope[0].type, SD_ROPE_LONGROPE);
        assert_true(b.rope[0].shorter[1] == 1.5f && b.rope[0].longer[1] == 3.0f);
        t_ok(sd_config__of(&b, &sd_arch_llama, NULL, j, &err), err);
        assert_int_equal(b.rope[0].type, i == 1 ? SD_ROPE_YARN : SD_ROPE_LONGROPE);
        json_decref(j);
    }
}

/* A GGUF with YaRN reaches as far as the folder it was made of, whatever its context_length. */
static void test_yarn_reach_of_gguf(void **state)
{
    static sd_blueprint b;
    (void)state;
    for (int stated = 0; stated < 2; stated++) {
        sd_gguf_meta m;
        sd_weights *w;
        sd_buf file;
        sd_err err = {0};
        static const char *const key[] = {"llama.block_count", "llama.context_length", "llama.embedding_length", "llama.feed_forward_length", "llama.attention.head_count"};
        static const uint32_t value[] = {1, 80, 8, 8, 2};
        sd_gguf_meta_init(&m);
        sd_gguf_put_str(&m, "general.architecture", SD_LIT("llama"));
        for (int i = 0; i < 5; i++) sd_gguf_put_u32(&m, key[i], value[i]);
        sd_gguf_put_f32(&m, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
        sd_gguf_put_str(&m, "llama.rope.scaling.type", SD_LIT("yarn"));
        sd_gguf_put_f32(&m, "llama.rope.scaling.factor", 4);
        if (stated) sd_gguf_put_u32(&m, "llama.rope.scaling.original_context_length", 64);
        sd_buf_init(&file, 1 << 16);
        t_ok(sd_gguf_header(&file, &m, NULL, 0, &err), err);
        t_ok(sd_weights_open_bytes(&w, file.p, file.n, "yarn", &(sd_weights_opt){.meta_only = true}, &err), err);
        t_ok(sd_config__of(&b, &sd_arch_llama, w, NULL, &err), err);
        assert_int_equal(b.rope[0].type, SD_ROPE_YARN);
        assert_int_equal(b.cfg.n_ctx, stated ? 256 : 80);
        sd_weights_close(w);
        sd_buf_release(&file);
        sd_gguf_meta_release(&m);
    }
}

static void test_config_against_tensors(void **state)
{
    (void)state;
    tiny_spec s = tiny_default;
    s.config_extra = ", \"attention_bias\": true";
    refused(&s, false, SD_E_NOTFOUND,
            "tensor model.layers.0.self_attn.q_proj.bias is missing, but config.json: attention_bias is true");
    s.bias = true;
    s.config_extra = ", \"mlp_bias\": false";
    refused(&s, false, SD_E_FORMAT,
            "there is a tensor model.layers.0.mlp.gate_proj.bias, but config.json: mlp_bias is false");
    s = tiny_default;
    s.extra = "model.layers.3.mlp.up_proj.weight";
    refused(&s, false, SD_E_FORMAT, "there is a tensor model.layers.3.mlp.up_proj.weight, but num_hidden_layers is 3");
    s.extra = "blk.3.ffn_up.weight";
    refused(&s, true, SD_E_FORMAT, "there is a tensor blk.3.ffn_up.weight, but the metadata's block_count is 3");
    s = tiny_default;
    s.drop = "model.layers.2"; /* all of a layer: then the count is what is wrong */
    refused(&s, false, SD_E_SHAPE, "there is no tensor of layer 2 (model.layers.2.input_layernorm.weight), but num_hidden_layers is 3");
    refused(&s, true, SD_E_SHAPE, "there is no tensor of layer 2 (blk.2.attn_norm.weight), but the metadata's block_count is 3");
    s.drop = "lm_head.weight";
    refused(&s, false, SD_E_NOTFOUND, "config.json does not tie the head to the embedding (tie_word_embeddings)");
    s = tiny_default;
    s.stretch = "model.layers.0.mlp.down_proj.weight";
    refused(&s, false, SD_E_SHAPE,
            "expected [64, 96], file has [65, 96]; config.json: hidden_size is 64, intermediate_size is 96");
    refused(&s, true, SD_E_SHAPE, "the metadata: embedding_length is 64, feed_forward_length is 96");
    sd_err err = {0};
    sd_model *m;
    assert_int_equal(open_tiny(&m, &s, false, NULL, &err), SD_E_SHAPE);
    assert_string_equal(err.hint, "config.json and the weights are not of one model: take both from the same download");
    s = tiny_default;
    s.config_extra = ", \"quantization_config\": {\"quant_method\": \"gptq\", \"bits\": 4}";
    assert_int_equal(open_tiny(&m, &s, false, NULL, &err), SD_E_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "quantization_config: weights quantised by \"gptq\" are not supported"));
    assert_string_equal(err.hint, "supported in a folder: F32, F16, BF16; quantised weights are read from GGUF files");
    s.config_extra = ", \"quantization_config\": null";
    t_ok(open_tiny(&m, &s, false, NULL, &err), err);
    sd_model_close(m);
}

static void test_options(void **state)
{
    (void)state;
    sd_model *m;
    sd_err err = {0};
    tiny_spec s = tiny_default;
    assert_int_equal(open_tiny(&m, &s, false, &(sd_model_opt){.max_layer = 4}, &err), SD_E_ARG);
    assert_int_equal(open_tiny(&m, &s, false, &(sd_model_opt){.n_ctx = 513}, &err), SD_E_ARG);
    /* Blocks that are not packed are still checked. */
    s.drop = "model.layers.2.mlp.up_proj.weight";
    assert_int_equal(open_tiny(&m, &s, false, &(sd_model_opt){.max_layer = 1}, &err), SD_E_NOTFOUND);
    s = tiny_default;
    t_ok(open_tiny(&m, &s, true, &(sd_model_opt){.max_layer = 1, .mode = SD_MODE_FAST}, &err), err);
    assert_int_equal(sd_model_get_mode(m), SD_MODE_FAST);
    size_t one = sd_model_packed_bytes(m);
    sd_model_close(m);
    t_ok(open_tiny(&m, &s, true, &(sd_model_opt){.no_head = true, .mode = SD_MODE_FAST}, &err), err);
    assert_int_equal(sd_model_packed_bytes(m), 3 * one);
    int64_t cols;
    t_ok(sd_model_site_cols(m, (sd_site){SD_SITE_MLP_PRE, 2}, &cols, &err), err);
    assert_int_equal(cols, 96);
    t_ok(sd_model_site_cols(m, (sd_site){SD_SITE_ROT_K, 0}, &cols, &err), err);
    assert_int_equal(cols, 32);
    t_ok(sd_model_site_cols(m, (sd_site){SD_SITE_ATTN_PATTERN, 0}, &cols, &err), err);
    assert_int_equal(cols, 0);
    assert_int_equal(sd_model_site_cols(m, (sd_site){SD_SITE_RESID_POST, 40}, &cols, &err), SD_E_ARG);
    assert_string_equal(err.msg, "resid_post.40: layer 40 of a model with 3");
    sd_model_close(m);
}

static void test_missing_files(void **state)
{
    (void)state;
    sd_model *m;
    sd_err err = {0};
    assert_int_equal(sd_model_open(&m, ex, "/nowhere/model.gguf", NULL, &err), SD_E_NOTFOUND);
    assert_non_null(strstr(err.msg, "/nowhere/model.gguf"));
    char longer[1200];
    memset(longer, 'x', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    assert_int_equal(sd_model_open(&m, ex, longer, NULL, &err), SD_E_ARG);
}

/* Requests for memory fail one after another (of a folder's 1,400, most of them for tokenizer.json, every 13th): an
 * error each time, nothing left behind, then the model opens. */
static void test_every_request_fails_once(void **state)
{
    (void)state;
    for (int gguf = 0; gguf < 2; gguf++) {
        const char *dir = t_tmpdir();
        char path[300];
        tiny_spec s = tiny_default;
        s.n_layer = 1;
        s.bias = true;
        snprintf(path, sizeof path, gguf ? "%s/tiny.gguf" : "%s", dir);
        if (gguf)
            tiny_write_gguf(path, &s);
        else
            tiny_write_hf(dir, &s);
        int64_t live = sd_mem_live_blocks(), n = 0;
        for (sd_status st = SD_E_NOMEM; st; n += gguf ? 1 : 13) {
            sd_model *m;
            sd_err err = {0};
            sd_mem_fail_nth(n + 1);
            st = sd_model_open(&m, ex, path, NULL, &err);
            sd_mem_fail_nth(0);
            if (st && st != SD_E_NOMEM) fail_msg("request %d: status %d, %s", (int)n, (int)st, err.msg);
            if (!st) sd_model_close(m);
            assert_int_equal(sd_mem_live_blocks(), live);
            assert_true(n < 20000);
        }
        assert_true(n > 20);
        t_rmtree(dir);
    }
}

static const struct CMUnitTest tests[] = {
    T(test_pictures_config), T(test_blueprint),       T(test_biases_bind), T(test_tensors_are_strict), T(test_named_leftovers),
    T(test_head_beside_a_tie), T(test_refused_configs), T(test_rope_names_of_phi3), T(test_yarn_reach_of_gguf), T(test_config_against_tensors), T(test_options),     T(test_missing_files),      T(test_every_request_fails_once),
};
int main(void)
{
    return cmocka_run_group_tests(tests, set_up, tear_down) ? 1 : 0;
}
