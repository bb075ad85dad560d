/* A model: weights (mapped), tokenizer, chat template. Immutable after open; shared by any number of sessions. */
#ifndef SD_MODEL_MODEL_H
#define SD_MODEL_MODEL_H

#include "num/linear.h"
#include "num/ops.h"
#include "file/weights.h"
#include "text/tok.h"
#include "text/chat.h"
#include "sonde/site.h"

/* The blueprint, read from metadata and validated. Symbols as in docs/STYLE: d, h, L, V. */
typedef struct sd_config {
    char arch[24];             /* "llama" */
    char name[128];            /* general.name or the folder's name */
    int n_layer, n_head, n_head_kv, d_head;
    int64_t d_model, d_ffn, n_vocab, n_ctx;
    double rope_theta;
    int n_rot;                 /* rotary part of a head */
    float norm_eps;
    bool tied;                 /* the head is the embedding matrix */
    float embed_scale;         /* 1, or sqrt(d) */
} sd_config;

/* Per-layer weights. */
typedef struct sd_block {
    sd_linear *wq, *wk, *wv, *wo, *w_gate, *w_up, *w_down;
    float *attn_norm, *mlp_norm; /* [d] */
} sd_block;

typedef struct sd_model {
    sd_config cfg;
    sd_mode mode;
    sd_weights *weights;       /* owns; stays mapped for the embedding rows */
    sd_wmat embed;             /* [V, d] view */
    sd_block *block;           /* [L] */
    float *final_norm;         /* [d] */
    sd_linear *head;           /* [V, d] */
    sd_rope rope;
    sd_tok *tok;               /* owns */
    sd_chat *chat;             /* owns; NULL when the model has no template that we know */
    char path[1024];
    int n_layer_loaded;        /* layers bound; fewer than cfg.n_layer when opened with max_layer */
} sd_model;

typedef struct sd_model_opt {
    sd_mode mode;     /* DEFAULT: faithful */
    int max_layer;    /* 0: all; else bind only the first max_layer blocks (early exit needs no more) */
    bool no_head;     /* leave the head out (capture of a middle layer) */
    int64_t n_ctx;    /* length of the rope tables; 0: the model's own limit */
} sd_model_opt;

/* path: a .gguf file, or a Hugging Face folder. */
sd_status sd_model_open(sd_model **out, const sd_exec *ex, const char *path, const sd_model_opt *opt, sd_err *err);
void sd_model_close(sd_model *m);
/* Columns of a site ([n, cols]); 0 for attn_pattern. SD_E_ARG when the layer is out of range ("layer 40 of a model with 30"). */
sd_status sd_model_site_cols(const sd_model *m, sd_site s, int64_t *cols, sd_err *err);
/* Packed bytes, bytes read a decoded token (weights only). */
size_t sd_model_packed_bytes(const sd_model *m);
size_t sd_model_read_bytes(const sd_model *m);

#endif
