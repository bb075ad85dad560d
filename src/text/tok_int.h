/* What the files of a tokenizer share: tok.c owns the vocabulary and the special tokens, one file a kind encodes the text
 * between them. */
#ifndef SD_TEXT_TOK_INT_H
#define SD_TEXT_TOK_INT_H

#include "text/pretok.h"
#include "text/tok.h"

/* Longest match over the texts of special tokens: a trie whose edges live in one hash table. */
typedef struct sd_trie {
    uint64_t *edge;     /* [cap] (child << 32 | parent << 8 | byte) + 1; 0: empty. Node 0 is the root */
    int32_t *id;        /* [n_node] the token that ends here, or -1 */
    uint32_t cap, n_node;
    bool first[256];    /* bytes that begin a token */
} sd_trie;

typedef struct sd_bpe sd_bpe;
typedef struct sd_spm sd_spm;

struct sd_tok {
    sd_tok_kind kind;
    int32_t n_vocab, bos, eos, unk;
    bool add_bos, add_eos, add_space_prefix, nfc;
    char *bytes;        /* raw bytes of all tokens, one after another */
    uint32_t *off;      /* [n_vocab + 1] */
    uint8_t *type;      /* [n_vocab] sd_piece_kind */
    uint8_t *strip;     /* [n_vocab] or NULL */
    sd_trie special;
    sd_bpe *bpe;        /* by kind, one of these */
    sd_spm *spm;
};

/* Pairs of neighbours waiting to be merged: a heap of (priority << 32 | position), smallest first. */
typedef struct sd_pair_heap { uint64_t *v; size_t n, cap; } sd_pair_heap;
sd_status sd_pair_heap__push(sd_pair_heap *h, uint64_t key, sd_err *err);
uint64_t sd_pair_heap__pop(sd_pair_heap *h); /* n > 0 */

/* A thread's memory while it encodes one text. */
typedef struct sd_encode_scratch {
    sd_pretok_scratch pretok;
    int32_t *sym;       /* [4 * cap_sym] symbol, next, previous, priority of a long word's pieces */
    size_t cap_sym;
    sd_pair_heap heap;
    sd_buf nfc, prefixed, kept;
} sd_encode_scratch;

/* Byte-level BPE. t is filled except for the kind's own part. */
sd_status sd_bpe__new(sd_bpe **out, const sd_tok *t, const sd_tok_spec *spec, sd_err *err);
void sd_bpe__free(sd_bpe *b);
sd_status sd_bpe__scratch(const sd_bpe *b, sd_encode_scratch *s, sd_err *err);
/* text is a stretch without special tokens; any bytes. */
sd_status sd_bpe__encode(const sd_tok *t, sd_encode_scratch *s, sd_slice text, sd_ids *ids, sd_err *err);
/* Bytes that a piece in the byte-to-unicode alphabet stands for, into out [>= piece.n]; -1 when a character is outside it. */
int64_t sd_bpe__piece_bytes(char *out, sd_slice piece);

sd_status sd_trie__build(sd_trie *t, const sd_tok *tok, const sd_tok_spec *spec, sd_err *err);
void sd_trie__release(sd_trie *t);
/* The longest token at p[0..n) among those allowed: control and unknown ones only when `control`. -1: none. */
int32_t sd_trie__match(const sd_trie *t, const uint8_t *type, const char *p, size_t n, bool control, size_t *len);

#endif
