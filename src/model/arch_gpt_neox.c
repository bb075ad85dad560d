/* gpt_neox (pythia): layer norms, attention and MLP beside each other, a quarter of each head rotary, an MLP without
 * gate (Black et al. 2022). The fused q, k, v lie head by head in a folder and one after another in a GGUF. */
#include "model/arch.h"

/* Causal masks and frequencies kept as buffers. */
static const char *const leftover[] = {"*.attention.bias", "*.attention.masked_bias", "*.rotary_emb.inv_freq", "embed_out.weight", NULL};

const sd_arch sd_arch_gpt_neox = {
    .name = "gpt_neox",
    .gguf = "gptneox",
    .hf_type = "gpt_neox",
    .keys = {.n_layer = "num_hidden_layers",
             .d_model = "hidden_size",
             .d_ffn = "intermediate_size",
             .n_head = "num_attention_heads",
             .n_ctx = "max_position_embeddings",
             .norm_eps = "layer_norm_eps",
             .act = "hidden_act",
             .attn_bias = "attention_bias",
             .parallel = "use_parallel_residual",
             .rotary_part = "rotary_pct",
             .rotary_base = "rotary_emb_base"},
    .tensor =
        {
            [SD_ROLE_EMBED] = {"token_embd", "gpt_neox.embed_in", SD_BIAS_NONE},
            [SD_ROLE_FINAL_NORM] = {"output_norm", "gpt_neox.final_layer_norm", SD_BIAS_ALWAYS},
            [SD_ROLE_HEAD] = {"output", "embed_out", SD_BIAS_NONE},
            [SD_ROLE_ATTN_NORM] = {"blk.%d.attn_norm", "gpt_neox.layers.%d.input_layernorm", SD_BIAS_ALWAYS},
            [SD_ROLE_MLP_NORM] = {"blk.%d.ffn_norm", "gpt_neox.layers.%d.post_attention_layernorm", SD_BIAS_ALWAYS},
            [SD_ROLE_O] = {"blk.%d.attn_output", "gpt_neox.layers.%d.attention.dense", SD_BIAS_ALWAYS},
            [SD_ROLE_GATE] = {"blk.%d.ffn_up", "gpt_neox.layers.%d.mlp.dense_h_to_4h", SD_BIAS_ALWAYS},
            [SD_ROLE_DOWN] = {"blk.%d.ffn_down", "gpt_neox.layers.%d.mlp.dense_4h_to_h", SD_BIAS_ALWAYS},
            [SD_ROLE_QKV] = {"blk.%d.attn_qkv", "gpt_neox.layers.%d.attention.query_key_value", SD_BIAS_ALWAYS},
        },
    .def = {.rotary_part = 0.25, .parallel = true},
    .norm = SD_NORM_LAYER,
    .act = SD_NONLIN_GELU_ERF,
    .partial_rope = true,
    .hf_qkv_by_head = true,
    .leftover = leftover,
};
