/* A model as a GGUF that llama.cpp and this program read: names, order of rows and metadata as llama.cpp's converter
 * writes them (convert_hf_to_gguf.py, gguf-py/gguf/constants.py). */
#ifndef SD_MODEL_GGUF_SAVE_H
#define SD_MODEL_GGUF_SAVE_H

#include "file/gguf_write.h"
#include "model/arch.h"

/* m: opened as views. type: F32, F16, BF16 or a block type of sd_quantize_can; norms, biases and learned positions stay
 * F32, rows that are no whole number of blocks fall back as llama.cpp's do, and the matrix that gives the logits gets
 * Q6_K where type has fewer bits. Metadata come from the GGUF that m was opened from, or are made from config.json and
 * the tokenizer's files. SD_E_UNSUPPORTED: what m computes cannot be said in a GGUF (the sentence says what). */
sd_status sd_model_save_gguf(const sd_model *m, const char *path, sd_dtype type, sd_err *err);

/* Internal: tensors of rotary divisors, beside the weights. */
typedef struct sd_gguf_divisors {
    const char *name; /* NULL: none */
    int64_t n;
    float v[SD_MAX_FREQS];
} sd_gguf_divisors;
/* The architecture under whose name a GGUF holds this model. */
const sd_arch *sd_gguf__arch(const sd_model *m);
/* All metadata but the type of the weights. */
sd_status sd_gguf__metadata(sd_gguf_meta *out, sd_gguf_divisors div[2], const sd_model *m, sd_err *err);
sd_status sd_gguf__tokenizer(sd_gguf_meta *out, const sd_model *m, sd_err *err);

#endif
