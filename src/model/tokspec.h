/* From a model's files to its tokenizer and chat template: the metadata of a GGUF, or tokenizer.json and its companions
 * in a Hugging Face folder. `text` knows neither container; what is found here is handed to it by value. */
#ifndef SD_MODEL_TOKSPEC_H
#define SD_MODEL_TOKSPEC_H

#include "file/weights.h"
#include "text/chat.h"
#include "text/tok.h"

/* A model's chat template, and where there is none to be used why: "no template", or what of it is not rendered exactly. */
typedef struct sd_chat_found { sd_chat *chat; char why[200]; } sd_chat_found;

/* *out and chat->chat are owned by the caller. chat itself may be NULL. */
sd_status sd_model__tokenizer(sd_tok **out, sd_chat_found *chat, const sd_weights *w, sd_err *err);

/* The tokenizer alone, of any architecture: a .gguf file (with or without tensors), a folder with tokenizer.json, or a
 * tokenizer.json itself. No weights are read. */
sd_status sd_tokenizer_open(sd_tok **out, sd_chat_found *chat, const char *path, sd_err *err);

/* Internal: of a Hugging Face folder; config (may be NULL) is its config.json, json the path of tokenizer.json or NULL for
 * the one in dir. */
sd_status sd_model__tokenizer_hf(sd_tok **out, sd_chat_found *chat, const char *dir, const char *json, const json_t *config,
                                 sd_err *err);
/* Internal: makes chat->chat from a template, or says why not. Fails only when memory is out. */
sd_status sd_model__chat(sd_chat_found *chat, sd_slice text, sd_slice bos, sd_slice eos, const char *path, sd_err *err);

#endif
