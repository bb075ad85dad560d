/* Chat templates: messages to the text a model was tuned on. */
#ifndef SD_TEXT_CHAT_H
#define SD_TEXT_CHAT_H

#include "base/str.h"

typedef struct sd_message { sd_slice role, content; } sd_message; /* borrowed */
typedef struct sd_chat sd_chat;
/* template: the Jinja text of tokenizer.chat_template. SD_E_UNSUPPORTED (with the reason) when it is none we can render exactly. */
sd_status sd_chat_new(sd_chat **out, sd_slice template_text, sd_err *err);
/* The text of bos_token and eos_token (copied); undefined in the template until given, and when empty. */
sd_status sd_chat_set_tokens(sd_chat *c, sd_slice bos, sd_slice eos, sd_err *err);
void sd_chat_free(sd_chat *c);
const char *sd_chat_name(const sd_chat *c); /* "chatml", "llama3", "template" */
/* Appends the rendered text; add_generation_prompt opens the assistant's turn. SD_E_ARG with the template's own sentence when
 * it refuses the messages. */
sd_status sd_chat_render(const sd_chat *c, const sd_message *msg, int n_msg, bool add_generation_prompt, sd_buf *out, sd_err *err);

#endif
