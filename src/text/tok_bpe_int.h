/* What the files of byte pair encoding share: tok_bpe.c cuts words into symbols and writes ids, tok_merge.c merges them,
 * tok_bpe_new.c makes the tables. */
#ifndef SD_TEXT_TOK_BPE_INT_H
#define SD_TEXT_TOK_BPE_INT_H

#include "text/tok_int.h"

#define SD_SHORT_WORD 64 /* bytes; on words of 20 to 100 random letters every value from 24 to 128 takes the same time */
#define SD_MAX_WORD   ((size_t)INT32_MAX / 2)
#define SD_NO_RANK    UINT32_MAX

typedef struct sd_merge {
    int32_t left, right, made;
    uint32_t rank; /* SD_NO_RANK: an empty slot */
} sd_merge;

enum { SD_WHOLE_UNKNOWN, SD_WHOLE_YES, SD_WHOLE_NO };

struct sd_bpe {
    sd_tok_kind kind;
    int32_t n_vocab;
    int32_t byte_sym[256]; /* BPE: a byte's symbol. Others: an ASCII character's piece, -1: none */
    bool skip_missing;     /* what has no token is taken out before merging */
    sd_merge *merges;      /* [merge_cap] open addressing; NULL for SPM */
    uint32_t merge_cap;
    uint32_t *rank;        /* SPM: [n_vocab], by falling score */
    sd_piece_index words;
    uint8_t *whole;        /* [n_vocab] SD_WHOLE_*: do the merges make this piece of its own text? Filled in as words are met */
    uint64_t *joins;       /* not of BPE: bit (last of a character << 8 | first of the next) is set when a piece holds the pair */
};

/* Lowest rank first, the leftmost of equals. sym[0..n) and start[0..n], start[n] = word.n, are merged in place; the new n. */
int sd_bpe__merge_short(const sd_bpe *b, sd_slice word, int32_t *sym, int32_t *start, int n);

/* A long word as a list of symbols: symbol i begins at byte i; next and prev are -1 at the ends, rank is SD_NO_RANK for
 * symbols that were swallowed and where the pair (i, next[i]) does not merge. */
typedef struct sd_chain {
    int32_t *sym, *next, *prev;
    uint32_t *rank;
    sd_pair_heap *heap;
} sd_chain;
sd_status sd_bpe__merge_chain(const sd_bpe *b, sd_slice word, sd_chain *c, sd_err *err);

/* The slot of a pair, empty or not. */
uint32_t sd_bpe__pair_slot(const sd_bpe *b, int32_t left, int32_t right);

/* What stands on either side of a boundary between characters; U+2581 apart from others that begin or end as it does. */
unsigned sd_bpe__last_of(const char *p, size_t n);
unsigned sd_bpe__first_of(const char *p, size_t n);

#endif
