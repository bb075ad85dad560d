/* Low-rank adapters: y += scale (x A^T) B^T beside a frozen matrix      Hu et al. 2021, LoRA, sec. 4.1
 * scale = alpha / r, rank-stabilised alpha / sqrt(r) (Kalajdzievski 2023). On disk as PEFT has them:
 * adapter_config.json and adapter_model.safetensors, keys base_model.model.<Hugging Face name>.lora_A.weight [r, in],
 * .lora_B.weight [out, r]. */
#ifndef SD_MODEL_LORA_H
#define SD_MODEL_LORA_H

#include "model/model.h"

typedef struct sd_lora_opt {
    int rank;       /* 0: no adapter */
    double alpha;   /* 0: 2 rank */
    double dropout; /* of the adapter's input while it learns */
    bool rslora;
    const char *targets; /* "q_proj,v_proj" by the last part of the Hugging Face name; NULL: every matrix of a block */
} sd_lora_opt;

/* One adapted matrix. A [r, in], B [out, r]; views into the adapter's memory. Parts of one fused tensor share A. */
typedef struct sd_lora_mat {
    float *a, *b;
    int rank; /* 0: not adapted */
    float scale;
} sd_lora_mat;

/* One tensor of Hugging Face's that is adapted: A, and B of all its outputs, our rows in order. */
typedef struct sd_lora_group {
    char name[128];  /* "model.layers.0.self_attn.q_proj" */
    char module[48]; /* "q_proj" */
    float *a, *b;
    int64_t in, out;
    int head; /* width of a head where the tensor's rows lie head by head (q, k, v in turn); else 0 */
} sd_lora_group;

typedef struct sd_lora {
    sd_lora_opt opt; /* targets: the modules below */
    char targets[512];
    float scale;
    int n_layer;
    sd_lora_mat (*mat)[SD_MAT_COUNT]; /* [n_layer]; owns */
    sd_lora_group *group;             /* [n_group]; owns */
    int64_t n_group;
    float *data; /* all A and B; owns */
    int64_t n_data;
} sd_lora;

/* A from a Kaiming-uniform draw of the seed (bound 1/sqrt(in)), B zero, as PEFT starts. SD_E_ARG: no matrix has a
 * target's name. */
sd_status sd_lora_new(sd_lora **out, const sd_model *m, const sd_lora_opt *opt, uint64_t seed, sd_err *err);
void sd_lora_free(sd_lora *l);
/* dir: a PEFT folder. Refused with the reason: another method than LoRA, shapes, layers or modules of another model,
 * numbers that are not finite, tensors that are no adapter's. */
sd_status sd_lora_read(sd_lora **out, const sd_model *m, const char *dir, sd_err *err);
/* base: what base_model_name_or_path says. */
sd_status sd_lora_write(const sd_lora *l, const sd_model *m, const char *dir, const char *base, sd_err *err);
/* Rows [r0, r0 + n) of w [.., in] += scale B A; row r of w is out of the matrix. */
void sd_lora_merge(float *w, int64_t in, const sd_lora_mat *m, int64_t r0, int64_t n);

/* sd_model_open with an adapter in memory joined on top of all that path names; lora (NULL: none) fits the model that path opens. It is borrowed during the call. */
sd_status sd_model_open_with(sd_model **out, const sd_exec *ex, const char *path, const sd_model_opt *opt, const sd_lora *lora, sd_err *err);

/* sd_model_open of the same architecture with random matrices (sd_weights_randomise): the control that shows which scores a model earns by what it
 * learnt. An adapter is refused. */
sd_status sd_model_open_random(sd_model **out, const sd_exec *ex, const char *path, const sd_model_opt *opt, uint64_t seed, sd_err *err);

/* "MODEL+ADAPTER": the two paths; adapter is empty when there is none. A path that exists as a whole is a model
 * whatever signs it has. SD_E_ARG: too long. */
typedef struct sd_model_spec {
    char model[1024], adapter[1024];
} sd_model_spec;
sd_status sd_model_spec_parse(sd_model_spec *out, const char *spec, sd_err *err);

#endif
