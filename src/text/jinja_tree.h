/* A template as a tree, and its reading: jinja_lex.c (words), jinja_expr.c (expressions), jinja_parse.c (statements). */
#ifndef SD_TEXT_JINJA_TREE_H
#define SD_TEXT_JINJA_TREE_H

#include "text/jinja.h"

typedef enum jinja_op {
    /* Statements; `next` links a block. */
    J_TEXT,      /* str */
    J_OUT,       /* a */
    J_IF,        /* a: condition, b: block, c: else block */
    J_FOR,       /* a: target, b: list, c: J_FORPARTS */
    J_FORPARTS,  /* a: condition or -1, b: body, c: else block */
    J_SET,       /* a: target, b: value */
    J_SETBLOCK,  /* a: target, b: block, c: filter over J_BLOCKTEXT or -1 */
    J_MACRO,     /* str: name, a: J_PARAM list, b: body, num: its body names "caller" */
    J_CALLBLOCK, /* a: J_CALL, b: body, c: J_PARAM list of the caller */
    J_FILTERBLOCK, /* a: filter over J_BLOCKTEXT, b: block */
    J_WITH,      /* a: J_PAIR list of target and value, b: block */
    J_BREAK,
    J_CONTINUE,
    J_PARAM, /* str: name, a: default or -1 */
    /* Expressions. */
    J_STR,       /* str */
    J_INT,       /* num */
    J_FLOAT,     /* real */
    J_BOOL,      /* num */
    J_NONE,
    J_NAME,      /* str */
    J_LIST,      /* a: J_ITEM list */
    J_TUPLE,     /* a: J_ITEM list */
    J_ITEM,      /* a */
    J_DICT,      /* a: J_PAIR list */
    J_PAIR,      /* a, b */
    J_ATTR,      /* a, str */
    J_INDEX,     /* a, b */
    J_SLICE,     /* a: J_INDEX's object, b: J_BOUNDS */
    J_BOUNDS,    /* a: from, b: to, c: step; -1: none */
    J_CALL,      /* a: callee, b: J_ARG list */
    J_ARG,       /* a, str: keyword or empty */
    J_FILTER,    /* a, num: index in the table of filters, b: J_ARG list */
    J_TEST,      /* a, num: index in the table of tests, b: J_ARG list */
    J_BLOCKTEXT, /* what the block of a {% filter %} or {% set %} rendered */
    J_NOT,       /* a */
    J_NEG,
    J_POS,
    J_AND,  /* a, b */
    J_OR,
    J_COND, /* a: condition, b: then, c: else or -1 */
    J_COMPARE, /* a: first, b: J_THAN list */
    J_THAN,    /* num: jinja_cmp, a */
    J_CAT,     /* a, b */
    J_ADD,
    J_SUB,
    J_MUL,
    J_DIV,
    J_FLOORDIV,
    J_MOD,
    J_POW,
} jinja_op;

typedef enum jinja_cmp { JC_EQ, JC_NE, JC_LT, JC_LE, JC_GT, JC_GE, JC_IN, JC_NOT_IN } jinja_cmp;

#define JINJA_MAX_NODES 262144
#define JINJA_MAX_LEVELS 1000 /* of an expression's tree: "a + b + c" has two; running recurses over them */
#define JINJA_MAX_RUNNING 4096 /* levels of all expressions that are being evaluated, one inside the other through calls: about a megabyte of stack */

typedef struct jinja_node {
    uint8_t op;
    uint16_t levels; /* of the expression below and with this node */
    int32_t line;
    int32_t a, b, c, next; /* nodes; -1: none */
    uint32_t str, len;     /* in sd_jinja.text */
    union {
        int64_t num;
        double real;
    };
} jinja_node;

struct sd_jinja {
    sd_buf text; /* literals, names and text, one after another */
    jinja_node *node;
    int32_t n_node, cap_node;
    int32_t program; /* first statement; -1: empty */
};

static inline sd_slice sd_jinja__text(const sd_jinja *t, const jinja_node *n)
{
    return (sd_slice){t->text.p + n->str, n->len};
}

/* ---- reading ---- */

typedef enum jinja_tok { JK_EOF, JK_TEXT, JK_BLOCK, JK_BLOCK_END, JK_VAR, JK_VAR_END, JK_NAME, JK_STR, JK_INT, JK_FLOAT, JK_OP } jinja_tok;

/* One word. Texts, names and strings lie in sd_jinja.text from str on; an operator in `op`, padded with zeros. */
typedef struct jinja_word {
    uint8_t kind;
    char op[3];
    int32_t line;
    uint32_t str, len;
    union {
        int64_t num;
        double real;
    };
} jinja_word;

typedef struct jinja_reader {
    sd_jinja *t;
    jinja_word *word;
    size_t n_word, cap_word, at;
    int depth, loops; /* of what is open at this place */
} jinja_reader;

/* Fills k->word from the source, which is valid UTF-8. */
sd_status sd_jinja__lex(jinja_reader *k, sd_slice source, sd_err *err);

static inline const jinja_word *sd_jinja__peek(const jinja_reader *k)
{
    return &k->word[k->at];
}
sd_slice sd_jinja__word_text(const jinja_reader *k, const jinja_word *w);
/* "line 3: WHAT", "line 3: WHAT "TEXT" is not supported": SD_E_UNSUPPORTED. */
sd_status sd_jinja__refuse(const jinja_reader *k, const char *what, sd_err *err);
sd_status sd_jinja__refuse_name(const jinja_reader *k, const char *what, sd_slice text, sd_err *err);
bool sd_jinja__is_op(const jinja_reader *k, const char *op);
bool sd_jinja__take_op(jinja_reader *k, const char *op);
bool sd_jinja__is_name(const jinja_reader *k, const char *name);
bool sd_jinja__take_name(jinja_reader *k, const char *name);
sd_status sd_jinja__expect_op(jinja_reader *k, const char *op, sd_err *err);
/* One level further down; the caller takes it back from k->depth. */
sd_status sd_jinja__deeper(jinja_reader *k, sd_err *err);

/* Adds a node over up to three others (-1: none), counting levels. */
sd_status sd_jinja__add(jinja_reader *k, jinja_op op, int32_t a, int32_t b, int32_t *out, sd_err *err);
sd_status sd_jinja__add3(jinja_reader *k, jinja_op op, const int32_t child[3], int32_t *out, sd_err *err);
static inline jinja_node *sd_jinja__node(const jinja_reader *k, int32_t i)
{
    return &k->t->node[i];
}
void sd_jinja__name_node(const jinja_reader *k, int32_t node, const jinja_word *w);
/* A list of nodes linked by `next`. */
typedef struct jinja_chain {
    int32_t first, last;
} jinja_chain;
#define JINJA_CHAIN ((jinja_chain){-1, -1})
void sd_jinja__append(const jinja_reader *k, jinja_chain *c, int32_t node);

/* A whole expression; the same without "a if b else c"; with commas (a tuple); one target or several of for and set;
 * the filters that follow `of` in {% filter %} and {% set %}; the arguments between brackets, the open one taken. */
sd_status sd_jinja__expr(jinja_reader *k, int32_t *out, sd_err *err);
sd_status sd_jinja__or(jinja_reader *k, int32_t *out, sd_err *err);
sd_status sd_jinja__tuple(jinja_reader *k, bool conditions, int32_t *out, sd_err *err);
sd_status sd_jinja__target(jinja_reader *k, bool fields, int32_t *out, sd_err *err);
sd_status sd_jinja__filters(jinja_reader *k, bool first, int32_t of, int32_t *out, sd_err *err);
sd_status sd_jinja__unary(jinja_reader *k, bool filters, int32_t *out, sd_err *err);
sd_status sd_jinja__parse(jinja_reader *k, sd_err *err);

#endif
