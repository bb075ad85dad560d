/* From messages to the ids that a model is given: the template's marks are tokens, what somebody wrote is text. */
#ifndef SD_TEXT_CHAT_IDS_H
#define SD_TEXT_CHAT_IDS_H

#include "text/chat.h"
#include "text/tok.h"

typedef struct sd_chat_ids_opt {
    sd_slice tail;      /* appended to what was rendered: the assistant's words that are gone on with; empty: none */
    bool parse_special; /* read "<|im_end|>" in a message as the token, as transformers and llama-server do */
} sd_chat_ids_opt;
/* Renders in->messages and appends the ids; opt may be NULL. No BOS is added: a template writes its own. Unless parse_special is set, the text of a control token in any string
 * of the messages (role, content, tool calls, ..), tools or documents is encoded as characters, so no message can end its own turn or begin another's. Where no message has such a text,
 * the ids are those of transformers' apply_chat_template(tokenize=True). SD_E_ARG: messages with more than 65,534 different such texts. */
sd_status sd_chat_ids(const sd_chat *c, const sd_tok *t, const sd_chat_input *in, const sd_chat_ids_opt *opt, sd_ids *ids, sd_err *err);

#endif
