/* From a model's files to its tokenizer and chat template: the metadata of a GGUF, or tokenizer.json and its companions
 * in a Hugging Face folder. `text` knows neither container; what is found here is handed to it by value. */
#ifndef SD_MODEL_TOKSPEC_H
#define SD_MODEL_TOKSPEC_H

#include "file/weights.h"
#include "text/chat.h"
#include "text/tok.h"

/* Both owned by the caller. *chat is NULL when there is no template, or none that can be rendered exactly (a log line says
 * why). chat itself may be NULL. */
sd_status sd_model__tokenizer(sd_tok **out, sd_chat **chat, const sd_weights *w, sd_err *err);

/* The tokenizer alone, of any architecture: a .gguf file (with or without tensors), a folder with tokenizer.json, or a
 * tokenizer.json itself. No weights are read. */
sd_status sd_tokenizer_open(sd_tok **out, sd_chat **chat, const char *path, sd_err *err);

/* Internal: of a Hugging Face folder; config (may be NULL) is its config.json, json the path of tokenizer.json or NULL for
 * the one in dir. */
sd_status sd_model__tokenizer_hf(sd_tok **out, sd_chat **chat, const char *dir, const char *json, const json_t *config,
                                 sd_err *err);
/* Internal: makes *chat from a template, or logs why not. Fails only when memory is out. */
sd_status sd_model__chat(sd_chat **chat, sd_slice text, sd_slice bos, sd_slice eos, const char *path, sd_err *err);

#endif
