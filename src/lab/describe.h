/* What a model's files say about it, without loading it: any architecture, also ones that cannot be run. */
#ifndef SD_LAB_DESCRIBE_H
#define SD_LAB_DESCRIBE_H

#include "base/err.h"
#include "num/linear.h"
#include <stdbool.h>
#include <stdint.h>

enum { SD_DESCRIBE_TYPES = 40, /* more than GGUF and safetensors have types */
       SD_DESCRIBE_KV = 4 };     /* sd_kv_type from SD_KV_F32 on */
typedef struct sd_describe_type {
    const char *name;
    int64_t n_tensors, n_elements;
    uint64_t bytes;
    bool readable, quantised; /* has a decoder; several elements share a scale */
} sd_describe_type;

/* Bytes of memory for one numeric mode. */
typedef struct sd_describe_memory {
    sd_mode mode;
    uint64_t packed;      /* weights in the form that products want */
    uint64_t kv;          /* keys and values of n_ctx positions */
    uint64_t scratch;     /* a step of 512 rows and one row of logits */
    uint64_t total;       /* with the embedding's share of the file */
} sd_describe_memory;

/* 0 or an empty string: the files do not say. */
typedef struct sd_describe {
    const char *container;  /* "gguf", "hf" */
    char arch[64], name[128];
    bool runnable;          /* architecture and every tensor's type are known, and where it was tried, it opens */
    char why_not[400];      /* when not runnable */
    int64_t n_params, n_tensors;
    uint64_t file_bytes, tensor_bytes;
    int64_t n_layer, n_head, n_head_kv, d_head, d_model, d_ffn, n_vocab, n_ctx_model;
    bool tied;              /* one matrix is embedding and head */
    sd_describe_type type[SD_DESCRIBE_TYPES]; /* by bytes, largest first */
    int n_types;
    char tokenizer[128];    /* "gpt2, pre smollm", "BPE" */
    char chat[64];          /* "chatml", .. */
    char no_chat[200];      /* when chat is empty: "no template", or why it is not rendered */
    int32_t bos, eos;       /* -1: none */
    int64_t n_ctx;          /* positions that kv is for */
    uint64_t kv_per_1k;     /* of 1,000 tokens at 4 bytes a number; half of it in fast mode, and in bf16 mode where the CPU multiplies bf16 */
    uint64_t kv_types[SD_DESCRIBE_KV]; /* n_ctx positions as f32, f16, q8, bf16 */
    sd_describe_memory memory[3]; /* faithful, bf16, fast */
} sd_describe;

typedef struct sd_describe_opt {
    int64_t n_ctx;      /* positions to plan for; 0: the model's own limit, at most 4096 */
    uint32_t cpu_flags; /* sd_cpu.flags: decide what bf16 mode multiplies, what fast falls back to, and bf16 mode's cache */
    const sd_exec *ex;  /* also try to open it, with nothing packed: tensors that contradict the configuration, a tokenizer that is not whole; NULL: don't */
    bool no_tokenizer;  /* leave tokenizer and chat template out: a folder's tokenizer.json takes longer to read than all else */
} sd_describe_opt;
sd_status sd_lab_describe(sd_describe *out, const char *path, const sd_describe_opt *opt, sd_err *err);
/* Bytes of weights in block-quantised types are more than half of all. */
bool sd_describe_is_quantised(const sd_describe *d);

#endif
