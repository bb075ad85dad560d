/* Tokens, chats and whole generations of an opened model, with plain C types: what other languages bind to. */
#ifndef SONDE_TEXT_H
#define SONDE_TEXT_H

#include "sonde/model.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* Frees what a function of this header gave. NULL is fine. */
void sd_release(void *p);

/* UTF-8 text to ids. special: add the model's BOS (if it wants one) and read special tokens in the text. *ids [*n_ids] is
 * the caller's, to be freed with sd_release. SD_E_FORMAT when the text is not UTF-8. */
sd_status sd_text_encode(const sd_model *m, const char *text, size_t n, bool special, int32_t **ids, int64_t *n_ids,
                         sd_err *err);
/* Ids to text, NUL-terminated, *n bytes without it; bytes that are not UTF-8 stay as they are. special: show special
 * tokens as their text. Freed with sd_release. SD_E_ARG when an id is outside the vocabulary. */
sd_status sd_text_decode(const sd_model *m, const int32_t *ids, int64_t n_ids, bool special, char **text, size_t *n,
                         sd_err *err);
/* A JSON array of messages ({"role", "content", ..}) rendered by the model's chat template. Freed with sd_release.
 * SD_E_UNSUPPORTED when the model has no template. */
sd_status sd_text_chat(const sd_model *m, const char *messages, size_t n, bool add_generation_prompt, char **text,
                       size_t *n_text, sd_err *err);

/* The blueprint as a JSON object: arch, name, n_layer, n_head, n_head_kv, d_head, d_model, d_ffn, n_vocab, n_ctx, tied,
 * mode, chat (whether there is a chat template), bos and eos (ids or null). Freed with sd_release. */
sd_status sd_model_json(const sd_model *m, char **json, size_t *n, sd_err *err);

/* lane: 0 plain, 1 steered. */
typedef void sd_token_fn(void *self, int lane, int32_t id);
/* Generates as `sonde run --json` does. request: one JSON object with one of "prompt" (text), "messages" (array) or "ids",
 * and optionally "n" (128), "temp" (0: greedy), "top_k", "top_p", "min_p", "seed", "steer" (array of steer objects),
 * "compare" (plain and steered side by side), "parse_special" (of messages: read the text of control tokens as tokens). Unknown keys are SD_E_ARG. *result: the JSON of schema sonde.run/1, freed
 * with sd_release. env->data_dir is needed when there are steers. */
typedef struct sd_generate_env {
    const char *data_dir;  /* $XDG_DATA_HOME/sonde: directions by name, and the refusal directions that may not be pushed down */
    const char *cache_dir; /* $XDG_CACHE_HOME/sonde: the model's hash; NULL: computed each time */
    sd_token_fn *on_token; /* may be NULL */
    void *self;            /* handed to on_token */
} sd_generate_env;
sd_status sd_generate(const sd_exec *ex, const sd_model *m, const char *request, const sd_generate_env *env, char **result,
                      size_t *n_result, sd_err *err);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
