/* Chat templates: messages to the text a model was tuned on, and which characters of it the model is to say. */
#ifndef SD_TEXT_CHAT_H
#define SD_TEXT_CHAT_H

#include "base/json.h"

typedef struct sd_message { sd_slice role, content; } sd_message; /* borrowed */
typedef struct sd_chat sd_chat;
/* template: the Jinja text of tokenizer.chat_template. SD_E_UNSUPPORTED (with the reason and its line) when it is none
 * we can render exactly. */
sd_status sd_chat_new(sd_chat **out, sd_slice template_text, sd_err *err);
/* The text of bos_token and eos_token (copied); undefined in the template until given, and when empty. */
sd_status sd_chat_set_tokens(sd_chat *c, sd_slice bos, sd_slice eos, sd_err *err);
/* What strftime_now tells, in seconds since 1970 of the wall clock that is meant. Without a clock (at first, or when
 * negative) a template that asks for the date fails. */
void sd_chat_set_clock(sd_chat *c, int64_t seconds);
void sd_chat_free(sd_chat *c);
const char *sd_chat_name(const sd_chat *c); /* "chatml", "llama3", "template" */

/* Appends the rendered text; add_generation_prompt opens the assistant's turn. SD_E_ARG with the template's own sentence when
 * it refuses the messages; *out is then as it was. Thread-safe on one sd_chat. */
sd_status sd_chat_render(const sd_chat *c, const sd_message *msg, int n_msg, bool add_generation_prompt, sd_buf *out, sd_err *err);

/* The same from JSON: an array of messages with whatever keys the template reads (content, tool_calls, ..). tools,
 * documents: arrays or NULL. more: an object of further names ("enable_thinking", "date_string", ..) or NULL. All
 * borrowed. SD_E_FORMAT when messages is no array of objects with a string "role". */
typedef struct sd_chat_input {
    const json_t *messages, *tools, *documents, *more;
    bool add_generation_prompt;
} sd_chat_input;
sd_status sd_chat_render_json(const sd_chat *c, const sd_chat_input *in, sd_buf *out, sd_err *err);

/* One of the assistant's turns in a rendered conversation: bytes [from, to) of the text, its content and the mark that
 * ends the turn, without white space after that mark. */
typedef struct sd_chat_span { size_t from, to; int msg; } sd_chat_span;
/* Renders the whole conversation (no generation prompt) and finds the assistant's turns by rendering it up to each of
 * them with the prompt open and up to its end: what the second has more is the turn. span: room for the assistant's
 * messages, filled in order. SD_E_UNSUPPORTED when the template rewrites earlier turns, so that a turn is not found in
 * the whole text. Cost: three renderings a turn. */
sd_status sd_chat_spans(const sd_chat *c, const sd_chat_input *in, sd_buf *out, sd_chat_span *span, int *n_span, sd_err *err);

#endif
