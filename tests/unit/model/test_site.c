/* Names of sites: our own, TransformerLens', transformers'; printing and reading back; sentences for what is unknown.
 */
#include "t.h"

#include "model/arch.h"

static sd_status parse(sd_site *s, const char *text, sd_err *err)
{
    return sd_site_parse(s, text, strlen(text), err);
}

static void test_round_trip(void **state)
{
    (void)state;
    sd_err err = {0};
    for (int k = 0; k < SD_SITE_KIND_COUNT; k++) {
        sd_site s = {(sd_site_kind)k, sd_site_is_layered((sd_site_kind)k) ? 12 : 0}, back;
        char name[48];
        t_ok(parse(&back, sd_site_print(name, sizeof name, s), &err), err);
        assert_true(back.kind == s.kind && back.layer == s.layer);
        sd_site_print_tl(name, sizeof name, s);
        if (!name[0]) continue; /* no alias there */
        t_ok(parse(&back, name, &err), err);
        assert_true(back.kind == s.kind && back.layer == s.layer);
    }
}

static void test_aliases(void **state)
{
    (void)state;
    static const struct {
        const char *text, *ours;
    } alias[] = {
        {"blocks.12.hook_resid_post", "resid_post.12"}, {"blocks.0.attn.hook_pattern", "attn_pattern.0"},
        {"blocks.3.mlp.hook_pre_linear", "mlp_up.3"},   {"hook_embed", "embed"},
        {"ln_final.hook_normalized", "final_norm"},     {"model.layers.7.output", "resid_post.7"},
        {"transformer.h.11.output", "resid_post.11"},   {"model.layers.7", "resid_post.7"},
        {"resid_post.99999", "resid_post.99999"},        {"gpt_neox.layers.3.output", "resid_post.3"},
        {"model.layers.2.input", "resid_pre.2"},        {"model.layers.2.self_attn.o_proj.input", "attn_z.2"},
        {"model.layers.5.mlp.gate_proj", "mlp_pre.5"},  {"model.layers.5.mlp.down_proj.input", "mlp_post.5"},
        {"transformer.h.1.mlp.c_fc.output", "mlp_pre.1"}, {"transformer.ln_f", "final_norm"},
    };
    for (size_t i = 0; i < sizeof alias / sizeof *alias; i++) {
        sd_site s;
        sd_err err = {0};
        t_ok(parse(&s, alias[i].text, &err), err);
        assert_string_equal(sd_site_print((char[48]){0}, 48, s), alias[i].ours);
    }
}

static void test_unknown(void **state)
{
    (void)state;
    static const struct {
        const char *text, *hint;
    } bad[] = {
        {"resid_pots.14", "did you mean resid_post.14?"},
        {"resid_post", "did you mean resid_post.L?"},
        {"logit", "did you mean logits?"},
        {"embed.0", "did you mean embed?"},
        {"resid_post.-1", "did you mean resid_post.L?"},
        {"resid_post.1x", "did you mean resid_post.L?"},
        {"resid_post.100000", "did you mean resid_post.L?"},
        {"", "resid_post.L, L counted from 0, is what leaves block L"},
        {"model.layers.1.mlp", "what it adds to the stream depends on where the norms are: mlp_out.1"},
        {"gpt_neox.layers.2.attention.output", "what it adds to the stream depends on where the norms are: attn_out.2"},
        {"bogus.1", "resid_post.L, L counted from 0, is what leaves block L"},
        {"blocks.1.hook_resid_posts", NULL},
        {"resid_post.1.2", NULL},
        {"blocks..hook_resid_post", NULL},
        {"a very long name that goes on and on beyond every bound that a name of a site could have.3", NULL},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        sd_site s;
        sd_err err = {0};
        assert_int_equal(parse(&s, bad[i].text, &err), SD_E_ARG);
        assert_non_null(strstr(err.msg, "unknown site"));
        assert_non_null(strstr(err.msg, "embed, resid_pre.L"));
        if (bad[i].hint) assert_string_equal(err.hint, bad[i].hint);
    }
    sd_site s;
    assert_int_equal(sd_site_parse(&s, "resid_post.3junk", 12, NULL), SD_OK); /* n counts, not the NUL */
    assert_int_equal(s.layer, 3);
}

/* Modules whose output is a site in one architecture and not in another. */
static void test_modules_by_architecture(void **state)
{
    (void)state;
    static const struct {
        const sd_arch *arch;
        const char *text, *ours;
    } name[] = {{&sd_arch_llama, "model.layers.3.mlp", "mlp_out.3"},
                {&sd_arch_llama, "model.layers.3.self_attn.output", "attn_out.3"},
                {&sd_arch_llama, "model.layers.0.self_attn.q_proj", "attn_q.0"},
                {&sd_arch_llama, "blocks.1.hook_mlp_out", "mlp_out.1"},
                {&sd_arch_qwen3, "model.layers.2.self_attn.k_norm", "attn_k.2"},
                {&sd_arch_qwen3, "model.layers.2.self_attn.k_proj", NULL},
                {&sd_arch_gemma2, "model.layers.4.post_feedforward_layernorm.output", "mlp_out.4"},
                {&sd_arch_gemma2, "model.layers.4.mlp", NULL},
                {&sd_arch_olmo2, "model.layers.1.post_attention_layernorm", "attn_out.1"},
                {&sd_arch_llama, "model.layers.1.post_attention_layernorm", NULL},
                {&sd_arch_gpt2, "transformer.h.5.attn", "attn_out.5"},
                {&sd_arch_gpt2, "transformer.h.5.attn.c_attn", NULL},
                {&sd_arch_gpt_neox, "gpt_neox.layers.5.mlp.output", "mlp_out.5"},
                {&sd_arch_phi3, "model.layers.5.self_attn", "attn_out.5"},
                {&sd_arch_phi3, "model.layers.5.self_attn.q_proj", NULL}};
    for (size_t i = 0; i < sizeof name / sizeof *name; i++) {
        sd_site s;
        sd_err err = {0};
        const sd_model m = {.arch = name[i].arch};
        const sd_status st = sd_model_site_parse(&m, &s, name[i].text, strlen(name[i].text), &err);
        assert_int_equal(st, name[i].ours ? SD_OK : SD_E_ARG);
        if (!st) assert_string_equal(sd_site_print((char[48]){0}, 48, s), name[i].ours);
    }
}

static const struct CMUnitTest tests[] = {T(test_round_trip), T(test_aliases), T(test_unknown), T(test_modules_by_architecture)};
T_MAIN(tests)
