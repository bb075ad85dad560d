/* gpt2: layer norms, learned positions, an MLP without gate, matrices stored as [inputs, outputs] (Radford et al. 2019,
 * transformers' Conv1D). */
#include "model/arch.h"

/* Causal masks kept as buffers; lm_head: a copy of the tied embedding. */
static const char *const leftover[] = {"*.attn.bias", "*.attn.masked_bias", "lm_head.weight", NULL};

const sd_arch sd_arch_gpt2 = {
    .name = "gpt2",
    .gguf = "gpt2",
    .hf_type = "gpt2",
    .hf_prefix = "transformer.",
    .keys = {.n_layer = "n_layer",
             .d_model = "n_embd",
             .d_ffn = "n_inner",
             .n_head = "n_head",
             .n_ctx = "n_positions",
             .norm_eps = "layer_norm_epsilon",
             .act = "activation_function"},
    .tensor =
        {
            [SD_ROLE_EMBED] = {"token_embd", "transformer.wte", SD_BIAS_NONE},
            [SD_ROLE_POS] = {"position_embd", "transformer.wpe", SD_BIAS_NONE},
            [SD_ROLE_FINAL_NORM] = {"output_norm", "transformer.ln_f", SD_BIAS_ALWAYS},
            [SD_ROLE_HEAD] = {"output", "lm_head", SD_BIAS_NONE},
            [SD_ROLE_ATTN_NORM] = {"blk.%d.attn_norm", "transformer.h.%d.ln_1", SD_BIAS_ALWAYS},
            [SD_ROLE_MLP_NORM] = {"blk.%d.ffn_norm", "transformer.h.%d.ln_2", SD_BIAS_ALWAYS},
            [SD_ROLE_O] = {"blk.%d.attn_output", "transformer.h.%d.attn.c_proj", SD_BIAS_ALWAYS},
            [SD_ROLE_GATE] = {"blk.%d.ffn_up", "transformer.h.%d.mlp.c_fc", SD_BIAS_ALWAYS},
            [SD_ROLE_DOWN] = {"blk.%d.ffn_down", "transformer.h.%d.mlp.c_proj", SD_BIAS_ALWAYS},
            [SD_ROLE_QKV] = {"blk.%d.attn_qkv", "transformer.h.%d.attn.c_attn", SD_BIAS_ALWAYS},
        },
    .def = {.tied = true},
    .norm = SD_NORM_LAYER,
    .act = SD_NONLIN_GELU_TANH,
    .no_d_ffn = true,
    .no_rope = true,
    .hf_transposed = true,
    .leftover = leftover,
};
