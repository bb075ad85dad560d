/* How tokens are named in the pictures and tables of lens, attn, patch, attribute and near. */
#ifndef SD_LAB_LOOK_TEXT_H
#define SD_LAB_LOOK_TEXT_H

#include "model/model.h"

/* Appends a token: leading spaces as "·", the rest as sd_token_show does; an empty one as "∅". */
void sd_look_token(sd_buf *out, const sd_tok *tok, int32_t id);
/* The same into a string that the caller frees. */
sd_status sd_look_name(char **name, const sd_tok *tok, int32_t id, sd_err *err);

/* The one token that a text stands for: "id:42", or a text that encodes to one token without special ones. A text of several is
 * SD_E_ARG with its pieces in the hint. `what` names the text in the sentence. */
sd_status sd_look_one_token(int32_t *out, const sd_model *m, const char *text, const char *what, sd_err *err);

#endif
