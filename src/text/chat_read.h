/* Reading a chat template: what chat_lex.c (words), chat_expr.c (expressions) and chat_parse.c (statements) share. */
#ifndef SD_TEXT_CHAT_READ_H
#define SD_TEXT_CHAT_READ_H

#include "text/chat_int.h"

typedef enum chat_tag { TAG_NONE, TAG_STATEMENT, TAG_OUTPUT } chat_tag;

typedef struct chat_name { sd_slice text; chat_type type; } chat_name;

typedef struct sd_chat_reader {
    sd_chat *c;
    const char *p;
    size_t n, at;
    int line, depth;
    bool in_for;
    bool line_start;   /* the text that follows begins a line: Jinja strips blanks before a tag there */
    chat_tag open;          /* inside {% or {{ */
    chat_name slot[CHAT_MAX_SLOTS];
    sd_slice loop_var; /* name of the running for's variable */
    int loop_slot;
} sd_chat_reader;

/* SD_E_UNSUPPORTED "line 3: WHAT", "line 3: WHAT "TEXT" is not supported". */
sd_status sd_chat__refuse(const sd_chat_reader *k, const char *what, sd_err *err);
sd_status sd_chat__refuse_name(const sd_chat_reader *k, const char *what, sd_slice text, sd_err *err);
/* One level further down; the caller takes it back from k->depth. */
sd_status sd_chat__deeper(sd_chat_reader *k, sd_err *err);

/* Nodes: bare, over one or two others (-1: none), with a number. */
sd_status sd_chat__add(sd_chat_reader *k, chat_op op, chat_type type, int32_t *out, sd_err *err);
sd_status sd_chat__add_over(sd_chat_reader *k, chat_op op, chat_type type, int32_t a, int32_t b, int32_t *out, sd_err *err);
sd_status sd_chat__add_third(sd_chat_reader *k, int32_t node, int32_t c, sd_err *err); /* a condition's else */
sd_status sd_chat__add_num(sd_chat_reader *k, chat_op op, chat_type type, int64_t num, int32_t *out, sd_err *err);
chat_type sd_chat__type_of(const sd_chat_reader *k, int32_t node);

/* Adds the text up to the next tag and opens that; *more is false at the template's end. */
sd_status sd_chat__next_tag(sd_chat_reader *k, bool *more, sd_err *err);
/* The open tag must end here. */
sd_status sd_chat__close_tag(sd_chat_reader *k, sd_err *err);
/* Inside a tag; each skips white space first. take: an operator or bracket, when it stands here. */
bool sd_chat__at_end(sd_chat_reader *k);
bool sd_chat__take(sd_chat_reader *k, const char *op);
sd_status sd_chat__expect(sd_chat_reader *k, const char *op, sd_err *err);
sd_slice sd_chat__peek_word(sd_chat_reader *k); /* empty when no word stands here */
bool sd_chat__take_word(sd_chat_reader *k, const char *word);
sd_status sd_chat__take_name(sd_chat_reader *k, sd_slice *out, sd_err *err);
bool sd_chat__take_integer(sd_chat_reader *k, int64_t *out);
sd_status sd_chat__string(sd_chat_reader *k, int32_t *out, sd_err *err); /* a literal whose quote stands here */

/* A whole expression; one without a condition ("a if b else c") at its top. */
sd_status sd_chat__expr(sd_chat_reader *k, int32_t *out, sd_err *err);
sd_status sd_chat__logic(sd_chat_reader *k, bool is_or, int32_t *out, sd_err *err);
int sd_chat__find_slot(const sd_chat_reader *k, sd_slice text); /* -1: not known */
bool sd_chat__is_foreign(sd_slice w); /* defined by transformers or Jinja2, not here */
bool sd_chat__printable(chat_type t);

#endif
