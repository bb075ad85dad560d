/* A parsed world: what world_read.c fills and world_make.c walks. */
#ifndef SD_TEXT_WORLD_INT_H
#define SD_TEXT_WORLD_INT_H

#include "base/hash.h"
#include "text/world.h"

enum {
    WORLD_MAX_NODES = 65536,
    WORLD_MAX_RULES = 4096,
    WORLD_MAX_ALTS = 65536,
    WORLD_MAX_SETTINGS = 64,
    WORLD_MAX_NAME = 96, /* bytes of a rule's name, variables put in */
    WORLD_MAX_DEPTH = 64,
    WORLD_MAX_STEPS = 100000,
    WORLD_MAX_SPANS = 65536, /* of a text, and of what variables hold */
    WORLD_MAX_WEIGHT = 10000,
    WORLD_MAX_REPEAT = 64,
};
#define WORLD_MAX_FILE ((size_t)4 << 20)
#define WORLD_MAX_TEXT ((size_t)64 << 10)

typedef enum world_op { W_TEXT, W_RULE, W_VAR, W_LABEL, W_ROLE } world_op;
typedef enum world_bind { W_PLAIN, W_BIND, W_BIND_ONLY } world_bind;

typedef struct world_node {
    uint8_t op, bind;
    char letters;      /* '^': upper case, '+': a capital first, 0: as it is. ASCII only */
    bool composed;     /* the name holds $variables, put in when it is reached */
    int16_t var;       /* bound or read; -1 */
    int16_t concept;   /* W_LABEL; -1: composed */
    int32_t lo, hi;    /* W_RULE: so many times */
    int32_t rule;      /* W_RULE, not composed */
    uint32_t str, len; /* in pool: text, or a name */
    int32_t body, next; /* -1: none */
} world_node;

typedef struct world_alt { int32_t weight, first, next; } world_alt;          /* first node, next alternative; -1 */
typedef struct world_rule { sd_slice name; int32_t first, last, line; int64_t weight; } world_rule; /* name in pool */
typedef struct world_pair { sd_slice key, value; } world_pair;

struct sd_world {
    char *pool; /* the file's bytes, names and texts are slices of it; then texts with escapes resolved */
    size_t n_pool;
    char *name;
    world_node *node;
    world_alt *alt;
    world_rule *rule;
    sd_table *rules;
    int32_t n_node, n_alt, n_rule;
    world_pair setting[WORLD_MAX_SETTINGS];
    int n_setting;
    sd_world_concept concept[SD_WORLD_CONCEPTS];
    int n_concept;
    sd_slice var[SD_WORLD_VARS];
    int n_var;
};

/* The variable of that name; -1. */
int sd_world__find_var(const sd_world *w, sd_slice name);

#endif
