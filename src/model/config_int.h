/* What the two readers of configurations fill in, in wide types, before config.c checks ranges. */
#ifndef SD_MODEL_CONFIG_INT_H
#define SD_MODEL_CONFIG_INT_H

#include "model/arch.h"

typedef struct sd_raw_config {
    int64_t n_layer, n_head, n_head_kv, d_head, d_model, d_ffn, n_ctx;
    int64_t window;    /* 0: none */
    double norm_eps, attn_cap, logit_cap;
    double score_dim;  /* scores are divided by the root of this; 0: d_head */
    bool scores_plain; /* scores are not divided at all */
    bool parallel;
    sd_nonlin act;
    int64_t n_rot;
    sd_rope_spec rope[2];
    bool windowed[SD_MAX_LAYERS];
} sd_raw_config;

sd_status sd_config__gguf(sd_raw_config *c, const sd_arch *arch, const sd_weights *w, sd_err *err);
sd_status sd_config__hf(sd_raw_config *c, const sd_arch *arch, const json_t *j, sd_err *err);

/* The blueprint of a configuration: config.json's when config is there, else the GGUF's metadata in w. out is zeroed. */
sd_status sd_config__of(sd_blueprint *out, const sd_arch *arch, const sd_weights *w, const json_t *config, sd_err *err);

/* SD_E_FORMAT with the sentence "WHAT is V, expected LO to HI". */
sd_status sd_config__range(const char *what, int64_t v, int64_t lo, int64_t hi, sd_err *err);
/* A scaled rope reaches so many positions: the context is no shorter. */
static inline void sd_config__reach(sd_raw_config *c, double reach)
{
    if (reach > (double)c->n_ctx && reach < 1e9) c->n_ctx = (int64_t)reach;
}
/* Marks all layers, or all but every period-th; n_layer is in range. */
void sd_config__windows(sd_raw_config *c, int64_t period);

#endif
