/* gemma3 (text): gemma2 without caps, with norms on every head of q and k, five layers with a window to one without,
 * and a rotary base for each kind (Gemma Team 2025). llama.cpp knows the 27B by its 62 layers. The 4B's text_config names no heads. */
#include "model/arch.h"

/* inv_freq: a buffer that old checkpoints carry. lm_head: a copy of a tied embedding. */
static const char *const leftover[] = {"*.rotary_emb.inv_freq", "lm_head.weight", NULL};

const sd_arch sd_arch_gemma3 = {
    .name = "gemma3",
    .gguf = "gemma3",
    .hf_type = "gemma3_text",
    .keys = {.n_layer = "num_hidden_layers",
             .d_model = "hidden_size",
             .d_ffn = "intermediate_size",
             .n_head = "num_attention_heads",
             .n_head_kv = "num_key_value_heads",
             .d_head = "head_dim",
             .n_ctx = "max_position_embeddings",
             .norm_eps = "rms_norm_eps",
             .act = "hidden_activation",
             .attn_bias = "attention_bias"},
    .tensor =
        {
            [SD_ROLE_EMBED] = {"token_embd", "model.embed_tokens", SD_BIAS_NONE},
            [SD_ROLE_FINAL_NORM] = {"output_norm", "model.norm", SD_BIAS_NONE},
            [SD_ROLE_HEAD] = {"output", "lm_head", SD_BIAS_NONE},
            [SD_ROLE_ATTN_NORM] = {"blk.%d.attn_norm", "model.layers.%d.input_layernorm", SD_BIAS_NONE},
            [SD_ROLE_ATTN_POST] = {"blk.%d.post_attention_norm", "model.layers.%d.post_attention_layernorm", SD_BIAS_NONE},
            [SD_ROLE_MLP_NORM] = {"blk.%d.ffn_norm", "model.layers.%d.pre_feedforward_layernorm", SD_BIAS_NONE},
            [SD_ROLE_MLP_POST] = {"blk.%d.post_ffw_norm", "model.layers.%d.post_feedforward_layernorm", SD_BIAS_NONE},
            [SD_ROLE_Q_NORM] = {"blk.%d.attn_q_norm", "model.layers.%d.self_attn.q_norm", SD_BIAS_NONE},
            [SD_ROLE_K_NORM] = {"blk.%d.attn_k_norm", "model.layers.%d.self_attn.k_norm", SD_BIAS_NONE},
            [SD_ROLE_Q] = {"blk.%d.attn_q", "model.layers.%d.self_attn.q_proj", SD_BIAS_OPTIONAL},
            [SD_ROLE_K] = {"blk.%d.attn_k", "model.layers.%d.self_attn.k_proj", SD_BIAS_OPTIONAL},
            [SD_ROLE_V] = {"blk.%d.attn_v", "model.layers.%d.self_attn.v_proj", SD_BIAS_OPTIONAL},
            [SD_ROLE_O] = {"blk.%d.attn_output", "model.layers.%d.self_attn.o_proj", SD_BIAS_OPTIONAL},
            [SD_ROLE_GATE] = {"blk.%d.ffn_gate", "model.layers.%d.mlp.gate_proj", SD_BIAS_NONE},
            [SD_ROLE_UP] = {"blk.%d.ffn_up", "model.layers.%d.mlp.up_proj", SD_BIAS_NONE},
            [SD_ROLE_DOWN] = {"blk.%d.ffn_down", "model.layers.%d.mlp.down_proj", SD_BIAS_NONE},
        },
    .def = {.window = 4096, .n_head = 8, .n_head_kv = 4, .n_ctx = 131072, .norm_eps = 1e-6, .d_head = 256, .query_scale = 256, .theta = 1e6, .theta_local = 1e4, .tied = true},
    .norm = SD_NORM_RMS,
    .qk_norm = SD_QK_NORM_HEAD,
    .act = SD_NONLIN_GELU_TANH,
    .window_rule = SD_WINDOW_PERIOD,
    .window_period = 6,
    .two_ropes = true,
    .norm_plus_one = true,
    .embed_sqrt_d = true,
    .gguf_wide_scale_at = 62,
    .leftover = leftover,
};
