/* mistral: llama with a window over which every layer looks back (Jiang et al. 2023). llama.cpp writes it as llama and
 * leaves the window out, so a GGUF of it attends to everything (docs/NUMERICS.md). */
#include "model/arch.h"

/* inv_freq: a buffer that old checkpoints carry. lm_head: a copy of a tied embedding. */
static const char *const leftover[] = {"*.rotary_emb.inv_freq", "lm_head.weight", NULL};

const sd_arch sd_arch_mistral = {
    .name = "mistral",
    .gguf = NULL,
    .hf_type = "mistral",
    .keys = {.n_layer = "num_hidden_layers",
             .d_model = "hidden_size",
             .d_ffn = "intermediate_size",
             .n_head = "num_attention_heads",
             .n_head_kv = "num_key_value_heads",
             .d_head = "head_dim",
             .n_ctx = "max_position_embeddings",
             .norm_eps = "rms_norm_eps",
             .act = "hidden_act"},
    .tensor =
        {
            [SD_ROLE_EMBED] = {"token_embd", "model.embed_tokens", SD_BIAS_NONE},
            [SD_ROLE_FINAL_NORM] = {"output_norm", "model.norm", SD_BIAS_NONE},
            [SD_ROLE_HEAD] = {"output", "lm_head", SD_BIAS_NONE},
            [SD_ROLE_ATTN_NORM] = {"blk.%d.attn_norm", "model.layers.%d.input_layernorm", SD_BIAS_NONE},
            [SD_ROLE_MLP_NORM] = {"blk.%d.ffn_norm", "model.layers.%d.post_attention_layernorm", SD_BIAS_NONE},
            [SD_ROLE_Q] = {"blk.%d.attn_q", "model.layers.%d.self_attn.q_proj", SD_BIAS_NONE},
            [SD_ROLE_K] = {"blk.%d.attn_k", "model.layers.%d.self_attn.k_proj", SD_BIAS_NONE},
            [SD_ROLE_V] = {"blk.%d.attn_v", "model.layers.%d.self_attn.v_proj", SD_BIAS_NONE},
            [SD_ROLE_O] = {"blk.%d.attn_output", "model.layers.%d.self_attn.o_proj", SD_BIAS_NONE},
            [SD_ROLE_GATE] = {"blk.%d.ffn_gate", "model.layers.%d.mlp.gate_proj", SD_BIAS_NONE},
            [SD_ROLE_UP] = {"blk.%d.ffn_up", "model.layers.%d.mlp.up_proj", SD_BIAS_NONE},
            [SD_ROLE_DOWN] = {"blk.%d.ffn_down", "model.layers.%d.mlp.down_proj", SD_BIAS_NONE},
        },
    .def = {.window = 4096},
    .norm = SD_NORM_RMS,
    .act = SD_NONLIN_SILU,
    .window_rule = SD_WINDOW_ALL,
    .leftover = leftover,
};
