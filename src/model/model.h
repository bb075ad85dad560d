/* A model: weights (mapped), tokenizer, chat template. Immutable after open; shared by any number of sessions. */
#ifndef SD_MODEL_MODEL_H
#define SD_MODEL_MODEL_H

#include "sonde/model.h"
#include "num/linear.h"
#include "num/ops.h"
#include "file/weights.h"
#include "text/tok.h"
#include "text/chat.h"

/* Per-layer weights. */
typedef struct sd_block {
    sd_linear *wq, *wk, *wv, *wo, *w_gate, *w_up, *w_down;
    float *attn_norm, *mlp_norm; /* [d] */
} sd_block;

struct sd_model {
    sd_config cfg;
    sd_mode mode;
    const sd_exec *ex;   /* borrowed */
    sd_weights *weights; /* owns; stays mapped for the embedding rows */
    sd_wmat embed;       /* [V, d] view */
    sd_block *block;     /* [L]; packed up to n_layer_loaded, empty after it */
    float *final_norm;   /* [d] */
    sd_linear *head;     /* [V, d]; NULL when it was left out */
    sd_rope rope;
    int32_t *perm_q, *perm_k; /* stored row of each q and k row; NULL when the container keeps Hugging Face's order */
    sd_tok *tok;              /* owns */
    sd_chat *chat;            /* owns; NULL when the model has no template that we know */
    char path[1024];
    int64_t max_ctx;    /* longest session */
    int n_layer_loaded; /* layers bound; fewer than cfg.n_layer when opened with max_layer */
};

#endif
