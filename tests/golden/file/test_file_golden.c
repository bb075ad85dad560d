/* Files that others wrote: the same model from llama.cpp's converter and in the Hugging Face layout, every quantisation
 * type in one GGUF beside its decoded values (gguf-py), a real model. All from $SONDE_SHARED or the peers' folder. */
#include "t.h"
#include "base/log.h"
#include "file/weights_int.h"
#include <math.h>

/* The real model is where the scripts that measure the peers put it ($SONDE_PEERS, else their default); a machine
 * without it skips. */
static const char *peer_model(const char *name)
{
    static char path[512];
    const char *root = getenv("SONDE_PEERS"), *home = getenv("HOME");
    snprintf(path, sizeof path, "%s%s/models/%s",
             root   ? root
             : home ? home
                    : "",
             root ? "" : "/.cache/sonde-peers", name);
    return access(path, R_OK) == 0 ? path : NULL;
}

static sd_weights *open_shared(const char *rel)
{
    const char *path = t_shared(rel);
    sd_weights *w = NULL;
    sd_err err = {0};
    if (!path) return NULL;
    t_ok(sd_weights_open(&w, path, &err), err);
    return w;
}

/* llama.cpp's name of a tensor -> Hugging Face's, for the parts that both spell the same way; NULL: no plain pair. */
static const char *hf_name(const char *gguf)
{
    static const struct {
        const char *gguf, *hf;
    } part[] = {
        {"attn_norm", "input_layernorm"},    {"ffn_norm", "post_attention_layernorm"},
        {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
        {"ffn_down", "mlp.down_proj"},       {"attn_q", "self_attn.q_proj"},
        {"attn_k", "self_attn.k_proj"},      {"attn_v", "self_attn.v_proj"},
        {"attn_output", "self_attn.o_proj"},
    };
    static char out[128];
    int layer;
    char name[64];
    if (strcmp(gguf, "token_embd.weight") == 0) return "model.embed_tokens.weight";
    if (strcmp(gguf, "output_norm.weight") == 0) return "model.norm.weight";
    if (sscanf(gguf, "blk.%d.%63[a-z_].weight", &layer, name) != 2) return NULL;
    for (size_t i = 0; i < sizeof part / sizeof *part; i++)
        if (strcmp(part[i].gguf, name) == 0) {
            snprintf(out, sizeof out, "model.layers.%d.%s.weight", layer, part[i].hf);
            return out;
        }
    return NULL;
}

/* Every tensor of the GGUF is in the folder with the same dimensions; values too where the converter does not permute.
 */
static void same_model_in_both_containers(void **state)
{
    (void)state;
    sd_weights *g = open_shared("fixtures/models/llama/model.gguf");
    if (!g) t_skip("fixtures/models/llama is not there");
    sd_weights *h = open_shared("fixtures/models/llama");
    assert_non_null(h);
    assert_int_equal(sd_weights_count(g), sd_weights_count(h));
    assert_int_equal(sd_weights_bytes(g), sd_weights_bytes(h));
    for (int64_t i = 0; i < sd_weights_count(g); i++) {
        const sd_tensor *a = sd_weights_at(g, i);
        char name[80];
        snprintf(name, sizeof name, "%.*s", SD_SLICE(a->name));
        const char *other = hf_name(name);
        if (!other) fail_msg("no Hugging Face name for %s", name);
        const sd_tensor *b = sd_weights_find(h, other);
        if (!b) fail_msg("%s is not in the folder", other);
        assert_int_equal(a->dtype, SD_F32);
        assert_int_equal(b->dtype, SD_F32);
        assert_int_equal(a->rank, b->rank);
        for (int k = 0; k < a->rank; k++) assert_int_equal(a->dim[k], b->dim[k]);
        assert_int_equal(a->bytes, b->bytes);
        if (!strstr(name, "attn_q") && !strstr(name, "attn_k")) assert_memory_equal(a->data, b->data, a->bytes);
    }
    assert_null(sd_weights_unasked(h));
    uint64_t u;
    sd_err err = {0};
    t_ok(sd_weights_kv_u64(g, "llama.embedding_length", &u, &err), err);
    assert_int_equal(sd_weights_at(g, 0)->dim[1], u); /* token_embd: [vocabulary, width] */
    sd_weights_close(g);
    sd_weights_close(h);
}

static void every_model_opens(void **state)
{
    (void)state;
    static const char *const arch[] = {"llama", "qwen2",    "qwen3", "gemma2",  "gemma3_text",
                                       "gpt2",  "gpt_neox", "phi3",  "mistral", "olmo2"};
    int n = 0;
    for (size_t i = 0; i < sizeof arch / sizeof *arch; i++) {
        char rel[128];
        snprintf(rel, sizeof rel, "fixtures/models/%s", arch[i]);
        sd_weights *w = open_shared(rel);
        if (!w) continue;
        assert_true(sd_weights_count(w) > 10);
        assert_non_null(json_object_get(sd_weights_config(w), "model_type"));
        sd_weights_close(w);
        snprintf(rel, sizeof rel, "fixtures/models/%s/golden.safetensors", arch[i]);
        w = open_shared(rel);
        const sd_tensor *ids = sd_weights_find(w, "ids"), *logits = sd_weights_find(w, "logits");
        assert_int_equal(ids->dtype, SD_I32);
        assert_int_equal(ids->dim[1], 48);
        assert_int_equal(logits->rank, 3);
        assert_int_equal(logits->dim[2], 320);
        assert_int_equal(logits->bytes, 2 * 48 * 320 * 4);
        sd_weights_close(w);
        snprintf(rel, sizeof rel, "fixtures/models/%s/model.gguf", arch[i]);
        if ((w = open_shared(rel))) {
            sd_slice s;
            sd_err err = {0};
            t_ok(sd_weights_kv_str(w, "general.architecture", &s, &err), err);
            assert_true(s.n > 0);
            assert_true(sd_weights_count(w) > 10);
        }
        sd_weights_close(w);
        n++;
    }
    if (n == 0) t_skip("fixtures/models is not there");
}

/* Every type of the file decodes to the bits of gguf-py. */
static void quantised_blocks(void **state)
{
    (void)state;
    const char *path = t_shared("fixtures/quants/blocks.gguf");
    if (!path) t_skip("fixtures/quants is not there");
    sd_err err = {0};
    sd_weights *w = NULL, *d = open_shared("fixtures/quants/decoded.safetensors");
    t_ok(sd_weights_open(&w, path, &err), err);
    assert_int_equal(sd_weights_count(w), 25);
    int n = 0;
    for (int64_t i = 0; i < sd_weights_count(w); i++) {
        const sd_tensor *t = sd_weights_at(w, i);
        char name[80];
        snprintf(name, sizeof name, "%.*s", SD_SLICE(t->name));
        const sd_tensor *want = sd_weights_find(d, name);
        if (!want) fail_msg("%s is not in decoded.safetensors", name);
        assert_int_equal(t->rank, 2);
        assert_int_equal(want->dim[0], t->dim[0]);
        assert_int_equal(want->dim[1], t->dim[1]);
        if (t->dtype == SD_DTYPE_NONE) continue;
        float *row = sd_malloc((size_t)t->dim[1] * sizeof *row);
        sd_wmat m = {.data = t->data, .dtype = t->dtype, .rows = t->dim[0], .cols = t->dim[1]};
        for (int64_t r = 0; r < m.rows; r++) {
            sd_wmat_decode_row(row, &m, r);
            assert_memory_equal(row, (const float *)want->data + r * m.cols, (size_t)m.cols * 4);
        }
        sd_free(row);
        n++;
    }
    assert_int_equal(n, 25);
    sd_weights_close(w);
    sd_weights_close(d);
}

/* A vocabulary of 49,152 strings and as many merges is walked, not copied: opening stays under 15 ms. */
static void a_real_model_opens_fast(void **state)
{
    (void)state;
    const char *path = peer_model("SmolLM2-135M-Instruct.Q4_1.gguf");
    if (!path) t_skip("the peers' folder has no SmolLM2-135M-Instruct.Q4_1.gguf");
    sd_err err = {0};
    sd_kv_array tokens;
    sd_slice *list;
    double best = 1e9;
    for (int i = 0; i < 5; i++) { /* the first touches the pages; other work may hold the CPU */
        sd_weights *w;
        double t0 = sd_now();
        t_ok(sd_weights_open(&w, path, &err), err);
        double t = sd_now() - t0;
        if (t < best) best = t;
        assert_int_equal(sd_weights_count(w), 272);
        t_ok(sd_weights_kv_arr(w, "tokenizer.ggml.tokens", &tokens, &err), err);
        assert_int_equal(tokens.n, 49152);
        t_ok(sd_kv_array_strings(&tokens, &list, &err), err);
        assert_true(sd_slice_eq_str(list[1], "<|im_start|>"));
        sd_free(list);
        sd_weights_close(w);
    }
    print_message("opened in %.2f ms\n", best * 1e3);
#if !defined(__SANITIZE_ADDRESS__)
    assert_true(best < 0.015);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(same_model_in_both_containers),
        T(every_model_opens),
        T(quantised_blocks),
        T(a_real_model_opens_fast),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
