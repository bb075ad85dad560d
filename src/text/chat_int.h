/* A chat template as a tree: what chat_parse.c makes and chat.c walks.
 *
 * The language is the part of Jinja2 that plain templates use: text, output, if, for over messages, set outside loops, and
 * expressions whose types are known when the template is read. Whatever lies outside is refused then, so a template that
 * loads renders as Jinja2 (with transformers' settings trim_blocks and lstrip_blocks) renders it, or fails as it fails. */
#ifndef SD_TEXT_CHAT_INT_H
#define SD_TEXT_CHAT_INT_H

#include "text/chat.h"

typedef enum chat_type { CT_STR, CT_INT, CT_BOOL, CT_NONE, CT_UNDEF, CT_MSG, CT_MSGS, CT_MIXED } chat_type;

typedef enum chat_op {
    /* statements; `next` links a block */
    OP_TEXT, /* str */
    OP_OUT,  /* a */
    OP_IF,   /* a: condition, b: block, c: else block */
    OP_FOR,  /* a: list, b: block, num: slot of the variable */
    OP_SET,  /* a: value, num: slot */
    /* expressions */
    OP_STR,     /* str */
    OP_INT,     /* num */
    OP_BOOL,    /* num */
    OP_NONE,
    OP_UNDEF,
    OP_VAR,     /* num: slot */
    OP_LOOP,    /* num: chat_loop */
    OP_AT,      /* a: messages, num: index */
    OP_SLICE,   /* a: messages, num: from */
    OP_FIELD,   /* a: message, num: 0 role, 1 content */
    OP_ADD,     /* a, b */
    OP_CAT,
    OP_MOD,
    OP_EQ,
    OP_NE,
    OP_LT,
    OP_LE,
    OP_AND,
    OP_OR,
    OP_NOT,     /* a */
    OP_DEFINED, /* a */
    OP_TRIM,    /* a; num: 1 left, 2 right, 3 both */
    OP_LENGTH,  /* a: messages */
    OP_COND,    /* a: condition, b, c */
    OP_RAISE,   /* a: text */
} chat_op;

typedef enum chat_loop { LOOP_FIRST, LOOP_LAST, LOOP_INDEX, LOOP_INDEX0, LOOP_LENGTH, LOOP_COUNT } chat_loop;

/* Slots that exist before the template runs. */
enum { SLOT_MESSAGES, SLOT_GENERATE, SLOT_BOS, SLOT_EOS, SLOT_TOOLS, SLOT_DOCUMENTS, SLOT_FIRST_FREE };
#define CHAT_MAX_SLOTS 64
#define CHAT_MAX_DEPTH 64         /* nesting of blocks and of expressions */
#define CHAT_MAX_TREE 1000        /* levels of an expression's tree: "a + b + c" has two. Rendering recurses over them */
#define CHAT_MAX_NODES 65536
#define CHAT_MAX_BYTES (1u << 20) /* the longest templates in use have 30 KB */

typedef struct chat_node {
    uint8_t op, type; /* chat_op, chat_type */
    uint16_t levels;  /* of the expression below and with this node */
    int32_t a, b, c, next; /* nodes; -1: none */
    int64_t num;
    uint32_t str, len;     /* in sd_chat.text */
    int32_t line;
} chat_node;

struct sd_chat {
    sd_buf text;     /* literals and text, one after another */
    chat_node *node;
    int32_t n_node, cap_node;
    int32_t program; /* first statement, -1: empty */
    int n_slot;
    sd_buf bos, eos;
    char name[16];
};

/* Fills c->node, c->text, c->program, c->n_slot. */
sd_status sd_chat__parse(sd_chat *c, sd_slice source, sd_err *err);

/* Python's str.isspace(), which Jinja's trimming and its "-" marks go by. */
bool sd_chat__is_space(uint32_t cp);

#endif
