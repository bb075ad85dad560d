/* Jinja2 (3.1) as the templates of language models use it: a whole template is read into a tree when it is loaded, and
 * run over values. The settings are those of transformers' apply_chat_template: trim_blocks, lstrip_blocks, loop
 * controls, {% generation %}, an immutable sandbox, and a tojson that is Python's json.dumps.
 *
 * What this engine does not know is refused when the template is loaded, with its line. A template that loads renders
 * what Jinja2 renders or fails where Jinja2 fails; known differences stand in docs/FORMATS.md. */
#ifndef SD_TEXT_JINJA_H
#define SD_TEXT_JINJA_H

#include "base/json.h"

typedef struct sd_jinja sd_jinja;

#define SD_JINJA_MAX_BYTES (1u << 20) /* of a template; the longest in use have 30 KB */
#define SD_JINJA_MAX_DEPTH 64         /* nesting of blocks, brackets and calls */
#define SD_JINJA_MAX_STEPS 20000000   /* nodes visited in one rendering: about a second */
#define SD_JINJA_MAX_HEAP (64u << 20) /* bytes of values in one rendering */

/* Reads a template. SD_E_UNSUPPORTED with its line when it holds what Jinja2 or this engine does not take;
 * SD_E_FORMAT when it is not UTF-8. Free with sd_jinja_free. */
sd_status sd_jinja_new(sd_jinja **out, sd_slice source, sd_err *err);
void sd_jinja_free(sd_jinja *t);

/* What a rendering starts from: a JSON object of global names (borrowed) and the time that strftime_now tells, in
 * seconds since 1970 of the wanted zone's own wall clock; negative: no clock, strftime_now fails. */
typedef struct sd_jinja_input {
    const json_t *names;
    int64_t now;
} sd_jinja_input;

/* Appends the text. SD_E_ARG, and *out as it was, when the template raises or fails on these values; the sentence names
 * the line. Thread-safe on one template. */
sd_status sd_jinja_render(const sd_jinja *t, const sd_jinja_input *in, sd_buf *out, sd_err *err);

/* Python's str.isspace(), which Jinja's trimming and its "-" marks go by. */
bool sd_jinja__is_space(uint32_t cp);

#endif
