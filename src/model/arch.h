/* An architecture is a table of names and a few switches; it holds no arithmetic. Adding one: a file arch_x.c with its
 * table, a row in arch.c, and (when it needs something that forward.c cannot do) a switch here that forward.c reads.
 *
 * Two families of names: a GGUF's (tensors blk.N.*, metadata NAME.*, the same keys for every architecture) and those of
 * a Hugging Face folder (tensors and config.json keys differ between architectures). */
#ifndef SD_MODEL_ARCH_H
#define SD_MODEL_ARCH_H

#include "model/model.h"

/* What a tensor is to the forward pass. */
typedef enum sd_role {
    SD_ROLE_EMBED,
    SD_ROLE_FINAL_NORM,
    SD_ROLE_HEAD,
    SD_ROLE_ATTN_NORM,
    SD_ROLE_MLP_NORM,
    SD_ROLE_Q,
    SD_ROLE_K,
    SD_ROLE_V,
    SD_ROLE_O,
    SD_ROLE_GATE,
    SD_ROLE_UP,
    SD_ROLE_DOWN,
    SD_ROLE_COUNT
} sd_role;

/* gguf, hf: the name without ".weight" or ".bias"; "%d" stands for the layer. A matrix takes an optional bias when
 * `bias` says so. */
typedef struct sd_arch_tensor {
    const char *gguf, *hf;
    bool bias;
} sd_arch_tensor;

/* Keys of config.json. */
typedef struct sd_arch_keys {
    const char *n_layer, *d_model, *d_ffn, *n_head, *n_head_kv, *d_head, *n_ctx, *norm_eps, *act;
} sd_arch_keys;

typedef struct sd_arch {
    const char *name;    /* general.architecture */
    const char *hf_type; /* model_type of config.json */
    const char *hf_act;  /* the only activation this architecture is run with: "silu" */
    sd_arch_keys keys;
    sd_arch_tensor tensor[SD_ROLE_COUNT]; /* by role; no name: the architecture has no such tensor */
    const char *const
        *leftover; /* NULL-terminated: tensors that no computation needs; '*' at the front stands for anything */
    bool gguf_permutes_qk; /* llama.cpp's converter stores each head's rotary pairs side by side */
    bool tied_by_default;  /* what a config.json without tie_word_embeddings means */
} sd_arch;

extern const sd_arch sd_arch_llama;

/* By the name of either container; NULL when it is not supported. */
const sd_arch *sd_arch_find(sd_container c, sd_slice name);
/* "llama" and the like, comma separated, for messages. */
const char *sd_arch_list(void);

/* Reads and validates the blueprint. Vocabulary and ties are settled when tensors are bound. */
sd_status sd_config__read(sd_config *out, const sd_arch **arch, const sd_weights *w, sd_err *err);

#endif
