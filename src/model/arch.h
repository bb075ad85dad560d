/* An architecture is a table of names and a few switches; it holds no arithmetic. Adding one: a file arch_x.c with its
 * table, a row in arch.c, a fixture (docs/ARCHITECTURES.md); only when it needs something that forward.c cannot do, a
 * switch here that forward.c and its mirror read.
 *
 * Two families of names: a GGUF's (tensors blk.N.*, metadata NAME.*, the same keys for every architecture) and those of
 * a Hugging Face folder (tensors and config.json keys differ between architectures). */
#ifndef SD_MODEL_ARCH_H
#define SD_MODEL_ARCH_H

#include "model/model.h"
#include "model/rope.h"

/* What a tensor is to the forward pass. Q..DOWN are in the order of sd_mat_role. */
typedef enum sd_role {
    SD_ROLE_EMBED,
    SD_ROLE_POS,
    SD_ROLE_FINAL_NORM,
    SD_ROLE_HEAD,
    SD_ROLE_ATTN_NORM,
    SD_ROLE_ATTN_POST,
    SD_ROLE_MLP_NORM,
    SD_ROLE_MLP_POST,
    SD_ROLE_Q_NORM,
    SD_ROLE_K_NORM,
    SD_ROLE_Q,
    SD_ROLE_K,
    SD_ROLE_V,
    SD_ROLE_O,
    SD_ROLE_GATE,
    SD_ROLE_UP,
    SD_ROLE_DOWN,
    SD_ROLE_QKV,     /* q, k and v in one tensor, where the container has no tensors of their own */
    SD_ROLE_GATE_UP, /* gate and up likewise */
    SD_ROLE_COUNT
} sd_role;

typedef enum sd_bias_rule { SD_BIAS_NONE, SD_BIAS_OPTIONAL, SD_BIAS_ALWAYS } sd_bias_rule;

/* gguf, hf: the name without ".weight" or ".bias"; "%d" stands for the layer; NULL: this container has no such tensor. */
typedef struct sd_arch_tensor {
    const char *gguf, *hf;
    sd_bias_rule bias; /* what the file must have; a key attn_bias or mlp_bias of config.json decides where it is */
} sd_arch_tensor;

/* Keys of config.json; NULL: there is no such key. */
typedef struct sd_arch_keys {
    const char *n_layer, *d_model, *d_ffn, *n_head, *n_head_kv, *d_head, *n_ctx, *norm_eps, *act;
    const char *attn_bias, *mlp_bias, *parallel;
    const char *rotary_part, *rotary_base; /* old names of partial_rotary_factor and rope_theta */
} sd_arch_keys;

/* Which layers look back only over the window. */
typedef enum sd_window_rule {
    SD_WINDOW_NONE,   /* transformers knows no window; a GGUF with one (mistral as llama) has it on every layer */
    SD_WINDOW_ALL,    /* every layer, when there is a window at all */
    SD_WINDOW_PERIOD, /* all but every window_period-th layer; layer_types of config.json goes first */
    SD_WINDOW_FROM    /* layers from max_window_layers on, when use_sliding_window says so; layer_types goes first */
} sd_window_rule;

/* What a config.json without the key means, and what is true of every GGUF of this architecture. 0: nothing. */
typedef struct sd_arch_defaults {
    int64_t window, n_head, n_head_kv, d_head, n_ctx;
    double norm_eps, attn_cap, logit_cap, query_scale, rotary_part, theta, theta_local;
    int64_t original_ctx;
    bool parallel, tied;
} sd_arch_defaults;

struct sd_arch {
    const char *name;      /* what `info` prints */
    const char *gguf;      /* general.architecture; NULL: llama.cpp writes it under another name */
    const char *hf_type;   /* model_type of config.json */
    const char *hf_prefix; /* start of the folder's names that some checkpoints leave out; NULL: always there */
    sd_arch_keys keys;
    sd_arch_tensor tensor[SD_ROLE_COUNT]; /* by role; no names: the architecture has no such tensor */
    const char *const *leftover; /* NULL-terminated: tensors that no computation needs; '*' at the front: anything */
    sd_arch_defaults def;

    sd_norm_form norm;
    sd_qk_norm qk_norm;
    sd_nonlin act; /* where the files do not say */
    sd_window_rule window_rule;
    int window_period;
    bool no_d_ffn;           /* the key d_ffn may be absent or null: 4 d */
    bool no_rope;            /* positions are learned: SD_ROLE_POS */
    bool partial_rope;       /* the rotary part of a head may be smaller than the head */
    bool yarn_is_longrope;   /* a folder's rope type "yarn" is another name of longrope */
    bool two_ropes;          /* layers with a window turn with a base of their own */
    bool norm_plus_one;      /* a folder's RMS norms are stored less one; GGUFs hold the sum */
    bool embed_sqrt_d;       /* embeddings are multiplied by sqrt(d) */
    bool hf_transposed;      /* matrices of blocks are stored [inputs, outputs] */
    bool hf_qkv_by_head;     /* rows of the fused tensor: for each head its q, its k, its v */
    bool gguf_permutes_qk;   /* llama.cpp's converter stores each head's rotary pairs side by side */
    int gguf_wide_scale_at;  /* a GGUF with this many layers scales scores by 1/sqrt(d/h), not by the head's width */
};

extern const sd_arch sd_arch_llama, sd_arch_mistral, sd_arch_qwen2, sd_arch_qwen3, sd_arch_gemma2, sd_arch_gemma3,
    sd_arch_gpt2, sd_arch_gpt_neox, sd_arch_phi3, sd_arch_olmo2;

/* By the name of either container; NULL when it is not supported. */
const sd_arch *sd_arch_find(sd_container c, sd_slice name);
/* The i-th, NULL behind the last. */
const sd_arch *sd_arch_at(int i);
/* "llama, mistral, .." for messages. */
const char *sd_arch_list(void);

enum { SD_MAX_LAYERS = 2000 }; /* ten times the largest published model */

/* All that opening reads from metadata. Vocabulary and ties are settled when tensors are bound. */
typedef struct sd_blueprint {
    const sd_arch *arch;
    sd_config cfg;
    sd_wiring wire;
    sd_rope_spec rope[2]; /* [1]: of layers with a window; only with arch->two_ropes */
    bool windowed[SD_MAX_LAYERS];
} sd_blueprint;

/* Reads and validates the blueprint (24 KB: not for the stack of a thread pool). */
sd_status sd_config__read(sd_blueprint *out, const sd_weights *w, sd_err *err);
/* Binds every tensor of m->weights; m has its configuration. */
typedef struct sd_binder {
    sd_model *m;
    const sd_arch *arch;
    const bool *windowed;
    bool keep_head, stream_head;
    bool views; /* no packing */
    size_t strip; /* bytes of hf_prefix that this folder leaves out */
    sd_err *err;
} sd_binder;
sd_status sd_model__bind(sd_binder *b);

#endif
