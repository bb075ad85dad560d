/* A model: weights (mapped), tokenizer, chat template. Immutable after open; shared by any number of sessions. */
#ifndef SD_MODEL_MODEL_H
#define SD_MODEL_MODEL_H

#include "sonde/model.h"
#include "num/linear.h"
#include "num/ops.h"
#include "model/rope.h"
#include "file/weights.h"
#include "text/tok.h"
#include "text/chat.h"

/* How a block reads; forward.c and its mirror backward.c are written from this page.
 *
 *   n = norm(x, attn_norm)                        no attn_norm: n = x
 *   q, k, v = W_q n, W_k n, W_v n (+ biases)      q, k normed by q_norm, k_norm: each head alone (HEAD) or the whole row (ROW)
 *   q, k turned by rope[block.rope]               n_rope 0: not turned; the position's row of `pos` was added to x before block 0
 *   s_ij = scale q_i.k_j                          attn_cap > 0: cap tanh(s / cap); i - j < window where the block has one
 *   a = norm(W_o softmax(s) v, attn_post)         no attn_post: as it is
 *   x += a; m = norm(x, mlp_norm)                 parallel: m = norm(x, mlp_norm) of the x before a was added
 *   h = f(W_gate m) * (W_up m)                    not gated: h = f(W_gate m), and there is no W_up
 *   x += norm(W_down h, mlp_post)
 * Before block 0: x = embed_scale embed(tok). After the last: logits = W_head norm(x, final_norm); logit_cap > 0: cap
 * tanh(logits / cap). */
typedef enum sd_norm_form { SD_NORM_RMS, SD_NORM_LAYER } sd_norm_form;
typedef enum sd_qk_norm { SD_QK_NORM_NONE, SD_QK_NORM_HEAD, SD_QK_NORM_ROW } sd_qk_norm;

/* The switches of all blocks. */
typedef struct sd_wiring {
    sd_norm_form norm;
    sd_qk_norm qk_norm;
    sd_nonlin act;
    bool gated, parallel;
    float attn_cap, logit_cap; /* 0: none */
    int n_rope;                /* 0, 1 or 2 rotary embeddings */
    bool norm_plus_one;        /* g of the norms is 1 + Hugging Face's parameter */
} sd_wiring;

/* g NULL: there is no such norm; b [d] only of layer norms. owns */
typedef struct sd_norm {
    float *g, *b;
} sd_norm;

typedef enum sd_mat_role { SD_MAT_Q, SD_MAT_K, SD_MAT_V, SD_MAT_O, SD_MAT_GATE, SD_MAT_UP, SD_MAT_DOWN, SD_MAT_COUNT } sd_mat_role;

/* A matrix of a block: as the file holds it (a view in Hugging Face's order; parts of fused and transposed tensors are
 * views as well), its bias, and as products want it. */
typedef struct sd_matrix {
    sd_wmat w;    /* [outputs, inputs]; borrows the map */
    float *bias;  /* [outputs] owns; NULL: none. Also inside l */
    sd_linear *l; /* owns; NULL: no such matrix in this architecture, or a block that was left out, or a model of views */
    float *own;   /* of a model of views: w with its adapter, which w then shows; owns */
} sd_matrix;

typedef struct sd_block {
    sd_matrix mat[SD_MAT_COUNT];
    sd_norm attn_norm, attn_post, mlp_norm, mlp_post; /* [d] */
    sd_norm q_norm, k_norm;                           /* [d_head] each head, or [H*dh] and [Hkv*dh] */
    int64_t window;                                   /* 0: attention reaches back to the start */
    int rope;                                         /* which of the rotary embeddings */
} sd_block;

typedef struct sd_arch sd_arch;

struct sd_model {
    sd_config cfg;
    sd_wiring wire;
    const sd_arch *arch; /* names of tensors in both containers */
    sd_mode mode;
    sd_kv_type kv;       /* of sessions that do not say */
    sd_linear_pool pool; /* packed weights; a matrix beyond its limit is streamed; owns */
    const sd_exec *ex;   /* borrowed */
    sd_weights *weights; /* owns; stays mapped for the embedding rows */
    sd_wmat embed;       /* [V, d] view */
    sd_wmat pos;         /* [n_ctx, d] view of learned positions; no data: there are none */
    sd_block *block;     /* [L]; packed up to n_layer_loaded, empty after it */
    sd_norm final_norm;  /* [d] */
    sd_wmat head_w;      /* [V, d] view: embed when tied */
    sd_linear *head;     /* [V, d]; NULL when it was left out */
    sd_rope_spec rope[2]; /* [wire.n_rope]; a session makes its frequencies of them (sd_rope_make) */
    int32_t *perm[SD_MAT_V + 1]; /* stored row of each q, k and v row; NULL: as stored; owns */
    sd_tok *tok;              /* owns */
    sd_chat *chat;            /* owns; NULL when the model has no template that we know */
    char no_chat[200];        /* then why */
    char path[1024];
    int64_t max_ctx;    /* longest session */
    int n_layer_loaded; /* layers bound; fewer than cfg.n_layer when opened with max_layer */
};

#endif
