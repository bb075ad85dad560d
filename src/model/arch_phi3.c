/* phi3: llama with q, k, v in one tensor and gate and up in another, the rotary part of a head possibly smaller than
 * it, LongRoPE (Abdin et al. 2024). The GGUF keeps the fused tensors. */
#include "model/arch.h"

/* inv_freq: a buffer that old checkpoints carry. lm_head: a copy of a tied embedding. */
static const char *const leftover[] = {"*.rotary_emb.inv_freq", "lm_head.weight", NULL};

const sd_arch sd_arch_phi3 = {
    .name = "phi3",
    .gguf = "phi3",
    .hf_type = "phi3",
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
            [SD_ROLE_O] = {"blk.%d.attn_output", "model.layers.%d.self_attn.o_proj", SD_BIAS_NONE},
            [SD_ROLE_DOWN] = {"blk.%d.ffn_down", "model.layers.%d.mlp.down_proj", SD_BIAS_NONE},
            [SD_ROLE_QKV] = {"blk.%d.attn_qkv", "model.layers.%d.self_attn.qkv_proj", SD_BIAS_NONE},
            [SD_ROLE_GATE_UP] = {"blk.%d.ffn_up", "model.layers.%d.mlp.gate_up_proj", SD_BIAS_NONE},
        },
    .def = {.original_ctx = 4096},
    .norm = SD_NORM_RMS,
    .act = SD_NONLIN_SILU,
    .window_rule = SD_WINDOW_ALL,
    .partial_rope = true,
    .yarn_is_longrope = true,
    .leftover = leftover,
};
