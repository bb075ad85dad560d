/* Worlds: a grammar from a file that writes texts and says, span by span, what each part of them is about. Format and
 * example: docs/ORGANISM.md. The same file, seed, rule and index give the same bytes on every machine. */
#ifndef SD_TEXT_WORLD_H
#define SD_TEXT_WORLD_H

#include "base/rng.h"
#include "base/str.h"
#include "text/tok.h"

#define SD_WORLD_CONCEPTS 64 /* a token's labels are one 64-bit mask */
#define SD_WORLD_TURNS 8
#define SD_WORLD_VARS 64

typedef struct sd_world sd_world; /* immutable */
/* what: names the file in errors ("w.world: line 3: ..", SD_E_FORMAT). Rules that are named but not written are errors
 * here, those whose name holds a variable when they are reached. Caps: 4 MB of file, 65536 nodes. */
sd_status sd_world_parse(sd_world **out, sd_slice text, const char *what, sd_err *err);
sd_status sd_world_open(sd_world **out, const char *path, sd_err *err);
void sd_world_free(sd_world *w);

typedef struct sd_world_concept { const char *name, *about; bool contextual; } sd_world_concept;
const char *sd_world_name(const sd_world *w);
int sd_world_n_concepts(const sd_world *w);
sd_world_concept sd_world_get_concept(const sd_world *w, int i); /* strings live as long as w */
int sd_world_find_concept(const sd_world *w, sd_slice name);     /* -1: none */
int32_t sd_world_find_rule(const sd_world *w, const char *name); /* -1: none */
/* A `set KEY VALUE` line; "" when there is none. */
const char *sd_world_setting(const sd_world *w, const char *key);
/* The same as a whole number in [lo, hi]; `otherwise` when the key is not set. SD_E_FORMAT when it is anything else. */
sd_status sd_world_number(int64_t *out, const sd_world *w, const char *key, int64_t otherwise, int64_t lo, int64_t hi,
                          sd_err *err);

typedef struct sd_world_span { int32_t concept; uint32_t begin, end; } sd_world_span; /* bytes of text */
typedef struct sd_world_turn { char role[16]; uint32_t begin, end; } sd_world_turn;
typedef struct sd_world_value { uint32_t begin, n; int64_t span0, n_span; bool set; } sd_world_value;
typedef struct sd_world_text {
    sd_buf text;
    sd_world_span *span; /* [n_span] by begin; outer ones first */
    int64_t n_span, cap_span;
    sd_world_turn turn[SD_WORLD_TURNS];
    int n_turn; /* 0: a plain document */
    /* what variables hold: bytes of `held`, spans relative to them */
    sd_buf held;
    sd_world_span *held_span;
    int64_t n_held_span, cap_held_span;
    sd_world_value var[SD_WORLD_VARS];
} sd_world_text;
void sd_world_text_init(sd_world_text *t);
void sd_world_text_release(sd_world_text *t);
/* Overwrites t with one text of the rule. At most 64 KiB, 65,536 labels, 64 rules deep, 100,000 steps: a grammar that goes beyond, and
 * a variable that is empty when it is used, are SD_E_FORMAT naming the rule. */
sd_status sd_world_expand(sd_world_text *t, const sd_world *w, int32_t rule, sd_rng *rng, sd_err *err);
/* A variable's value after an expansion; empty when it was not set. */
sd_slice sd_world_var(const sd_world_text *t, const sd_world *w, const char *name);

/* Labels of tokens: mask[i] bit c is set when more than half of token i's bytes lie in spans of concept c, white space
 * at its beginning left out (a token of nothing else is taken whole). mask [ids->n]; ids must decode to the bytes of `text`.
 * SD_E_FORMAT otherwise. */
sd_status sd_world_label(uint64_t *mask, const sd_tok *tok, const sd_ids *ids, sd_slice text,
                         const sd_world_span *span, int64_t n_span, sd_err *err);

#endif
