/* A model written as transformers reads it: configuration, tokenizer, model.safetensors. */
#ifndef SD_LAB_MODEL_SAVE_H
#define SD_LAB_MODEL_SAVE_H

#include "model/learner.h"

/* The type that a model is written in where none is asked for: its own, bf16 for one that is quantised. */
sd_dtype sd_lab_model_type(const sd_model *m);
/* l: of all parameters. A weight that f16 cannot hold is an error. from: the folder whose configuration and tokenizer go along (may be dir). type: SD_F32, SD_BF16
 * or SD_F16. */
sd_status sd_lab_model_save(const sd_learner *l, const char *from, const char *dir, sd_dtype type, sd_err *err);
/* config.json with `dtype`, and the tokenizer's files. */
sd_status sd_lab_model_companions(const char *from, const char *dir, const char *dtype, sd_err *err);
/* MODEL+ADAPTER (or MODEL) as one model. out: a folder, made when it is not there, or a path that ends in .gguf. type: f32, bf16 or
 * f16; of a GGUF also a block type (model/gguf_save.h); 0: sd_lab_model_type. The base may be
 * quantised: it is decoded. A folder is written from a folder only. */
sd_status sd_lab_merge(const sd_exec *ex, const char *spec, const char *out, sd_dtype type, sd_err *err);
bool sd_lab_is_gguf_path(const char *path);

#endif
