/* Sites: the named places of a forward pass. `sonde trace -h` lists them, model/forward.c visits them. */
#ifndef SONDE_SITE_H
#define SONDE_SITE_H

#include "sonde/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* enum, name, per layer?, TransformerLens alias ("" when there is none; %d is the layer) */
#define SD_SITE_MAP(XX)                                                    \
    XX(EMBED, "embed", 0, "hook_embed")                                    \
    XX(RESID_PRE, "resid_pre", 1, "blocks.%d.hook_resid_pre")              \
    XX(ATTN_Q, "attn_q", 1, "blocks.%d.attn.hook_q")                       \
    XX(ATTN_K, "attn_k", 1, "blocks.%d.attn.hook_k")                       \
    XX(ATTN_V, "attn_v", 1, "blocks.%d.attn.hook_v")                       \
    XX(ROT_Q, "rot_q", 1, "blocks.%d.attn.hook_rot_q")                     \
    XX(ROT_K, "rot_k", 1, "blocks.%d.attn.hook_rot_k")                     \
    XX(ATTN_PATTERN, "attn_pattern", 1, "blocks.%d.attn.hook_pattern")     \
    XX(ATTN_Z, "attn_z", 1, "blocks.%d.attn.hook_z")                       \
    XX(ATTN_OUT, "attn_out", 1, "blocks.%d.hook_attn_out")                 \
    XX(RESID_MID, "resid_mid", 1, "blocks.%d.hook_resid_mid")              \
    XX(MLP_IN, "mlp_in", 1, "blocks.%d.mlp.hook_in")                       \
    XX(MLP_PRE, "mlp_pre", 1, "blocks.%d.mlp.hook_pre")                    \
    XX(MLP_UP, "mlp_up", 1, "blocks.%d.mlp.hook_pre_linear")               \
    XX(MLP_POST, "mlp_post", 1, "blocks.%d.mlp.hook_post")                 \
    XX(MLP_OUT, "mlp_out", 1, "blocks.%d.hook_mlp_out")                    \
    XX(RESID_POST, "resid_post", 1, "blocks.%d.hook_resid_post")           \
    XX(FINAL_NORM, "final_norm", 0, "ln_final.hook_normalized")            \
    XX(LOGITS, "logits", 0, "hook_logits")

typedef enum sd_site_kind {
#define XX(id, name, layered, tl) SD_SITE_##id,
    SD_SITE_MAP(XX)
#undef XX
    SD_SITE_KIND_COUNT
} sd_site_kind;

typedef struct sd_site { sd_site_kind kind; int layer; } sd_site; /* layer 0 for unlayered kinds */

/* Reads "resid_post.12", "blocks.12.hook_resid_post" or "model.layers.12.output" (also "transformer.h.12.output").
 * SD_E_ARG with the known names in the sentence and the nearest one in the hint. Does not check the layer against a model. */
sd_status sd_site_parse(sd_site *out, const char *text, size_t n, sd_err *err);
/* "resid_post.12" / the TransformerLens name; returns out. cap 48 is enough. */
const char *sd_site_print(char *out, size_t cap, sd_site s);
const char *sd_site_print_tl(char *out, size_t cap, sd_site s);
bool sd_site_is_layered(sd_site_kind k);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
