/* What the files of a tokenizer share: tok.c owns the vocabulary and the special tokens, one file a kind encodes the text
 * between them. */
#ifndef SD_TEXT_TOK_INT_H
#define SD_TEXT_TOK_INT_H

#include "text/tok.h"

/* Longest match over the texts of special tokens: a trie whose edges live in one hash table. */
typedef struct sd_trie {
    uint64_t *edge;     /* [cap] (child << 32 | parent << 8 | byte) + 1; 0: empty. Node 0 is the root */
    int32_t *id;        /* [n_node] the token that ends here, or -1 */
    uint32_t cap, n_node;
    bool first[256];    /* bytes that begin a token */
} sd_trie;

/* Pieces by their text: open addressing over (tag, id). */
typedef struct sd_piece_slot { uint32_t tag; int32_t id; } sd_piece_slot; /* id -1: empty */
typedef struct sd_piece_index { sd_piece_slot *slot; uint32_t cap; const char *bytes; const uint32_t *off; } sd_piece_index;
sd_status sd_pieces__init(sd_piece_index *x, int64_t n_max, const char *bytes, const uint32_t *off, sd_err *err);
void sd_pieces__add(sd_piece_index *x, int32_t id); /* of two with one text the first stays */
int32_t sd_pieces__find(const sd_piece_index *x, sd_slice text); /* -1: none */

typedef struct sd_bpe sd_bpe; /* BPE, CHAR, SPM */
typedef struct sd_ugm sd_ugm;
typedef struct sd_wpm sd_wpm;
typedef struct sd_norm sd_norm;

struct sd_tok {
    sd_tok_kind kind;
    int32_t n_vocab, bos, eos, unk;
    int32_t *end;       /* [n_end] */
    int n_end;
    bool add_bos, add_eos, add_space_prefix, strip_space, byte_fallback, fuse_unk;
    char *bytes;        /* what each token adds to a text, one after another */
    uint32_t *off;      /* [n_vocab + 1] */
    char *key;          /* pieces as stored, what words are compared with; NULL for SD_TOK_BPE: bytes */
    uint32_t *key_off;  /* [n_vocab + 1] */
    uint8_t *type;      /* [n_vocab] sd_piece_kind */
    uint8_t *added;     /* [n_vocab] or NULL */
    int32_t byte_id[256]; /* "<0x0A>" pieces, -1: none; not of SD_TOK_BPE */
    bool all_bytes;     /* every byte has one */
    sd_pretok *pretok;
    sd_norm *norm;      /* NULL: text is taken as it is */
    sd_trie special;    /* looked for in the text as given */
    sd_trie normalized; /* looked for in the normalised text; n_node 1 when there is none */
    sd_bpe *bpe;        /* by kind, one of these */
    sd_ugm *ugm;
    sd_wpm *wpm;
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
    sd_buf norm[2];     /* steps of normalisation write from one into the other */
    sd_buf wide, prefixed, kept, path;
    bool unk_last;      /* the last id pushed of this word is the unknown token */
} sd_encode_scratch;

/* Everything a kind makes of the words of a text goes through these two. */
sd_status sd_tok__push_unk(const sd_tok *t, sd_encode_scratch *s, sd_ids *ids, sd_err *err);
/* A character (or an invalid byte) that no piece holds: its bytes' tokens, or the unknown token, or nothing. */
sd_status sd_tok__push_missing(const sd_tok *t, sd_encode_scratch *s, sd_slice ch, sd_ids *ids, sd_err *err);
static inline sd_status sd_tok__push(sd_encode_scratch *s, sd_ids *ids, int32_t id, sd_err *err)
{
    s->unk_last = false;
    return sd_ids_push(ids, id, err);
}
/* May a word become this piece? */
static inline bool sd_tok__in_words(const sd_tok *t, size_t id)
{
    uint8_t type = t->type[id];
    return type != SD_PIECE_CONTROL && type != SD_PIECE_UNKNOWN && type != SD_PIECE_BYTE &&
           !(t->added && (t->added[id] & SD_ADDED_OUTSIDE));
}
/* Bytes of the character at p[0..n), 1 for an invalid byte. */
static inline size_t sd_tok__char(const char *p, size_t n)
{
    uint32_t cp;
    int len = (unsigned char)*p < 0x80 ? 1 : sd_utf8_decode(p, n, &cp);
    return len > 0 ? (size_t)len : 1;
}

/* Each kind: made when t is filled but for it; `word` gives the ids of one word of the pre-tokeniser, any bytes. */
sd_status sd_bpe__new(sd_bpe **out, const sd_tok *t, const sd_tok_spec *spec, sd_err *err);
void sd_bpe__free(sd_bpe *b);
sd_status sd_bpe__word(const sd_tok *t, sd_encode_scratch *s, sd_slice word, sd_ids *ids, sd_err *err);
sd_status sd_ugm__new(sd_ugm **out, const sd_tok *t, const sd_tok_spec *spec, sd_err *err);
void sd_ugm__free(sd_ugm *u);
sd_status sd_ugm__word(const sd_tok *t, sd_encode_scratch *s, sd_slice word, sd_ids *ids, sd_err *err);
sd_status sd_wpm__new(sd_wpm **out, const sd_tok *t, const sd_tok_spec *spec, sd_err *err);
void sd_wpm__free(sd_wpm *w);
sd_status sd_wpm__word(const sd_tok *t, sd_encode_scratch *s, sd_slice word, sd_ids *ids, sd_err *err);

/* Bytes that a piece in the byte-to-unicode alphabet stands for, into out [>= piece.n]; -1 when a character is outside it. */
int64_t sd_bpe__piece_bytes(char *out, sd_slice piece);
uint32_t sd_bpe__byte_to_cp(unsigned byte);

/* Normalisation. *text (any bytes) becomes the normalised text, borrowed from s until the next call. */
sd_status sd_norm__new(sd_norm **out, const sd_norm_step *step, int n, sd_err *err);
void sd_norm__free(sd_norm *n);
sd_status sd_norm__apply(const sd_norm *n, sd_encode_scratch *s, sd_slice *text, sd_err *err);
/* SentencePiece's precompiled map: checks its form; finds what the characters at p[0..n) become. */
sd_status sd_charsmap__check(sd_slice map, sd_err *err);
bool sd_charsmap__find(sd_slice map, const char *p, size_t n, bool longest, sd_slice *to, size_t *used);
bool sd_tok__is_space(uint32_t cp); /* Unicode's White_Space */

/* Texts of special tokens; `text` [n_vocab] has an empty slice for every id that is not to be found. */
sd_status sd_trie__build(sd_trie *t, const sd_slice *text, int32_t n_vocab, sd_err *err);
void sd_trie__release(sd_trie *t);
uint32_t sd_trie__step(const sd_trie *t, uint32_t node, unsigned char byte); /* the child of a node (root: 0), 0 when none */
/* The longest token at p[0..n) among those allowed: control and unknown ones only when `control`. -1: none. */
int32_t sd_trie__match(const sd_trie *t, const uint8_t *type, const char *p, size_t n, bool control, size_t *len);

#endif
