/* Tokenizers. `text` knows no container: whoever opens the model fills a spec by value. */
#ifndef SD_TEXT_TOK_H
#define SD_TEXT_TOK_H

#include "text/pretok.h"

/* How a word becomes pieces. */
typedef enum sd_tok_kind {
    SD_TOK_BPE,  /* merges of bytes, by rank; pieces in GPT-2's byte-to-unicode alphabet */
    SD_TOK_CHAR, /* merges of characters, by rank; bytes as "<0x0A>" where the vocabulary has no character */
    SD_TOK_SPM,  /* the same, by the score of what is made (SentencePiece's BPE) */
    SD_TOK_UGM,  /* the likeliest path through the pieces (SentencePiece's unigram model) */
    SD_TOK_WPM   /* the longest piece first (WordPiece) */
} sd_tok_kind;
typedef enum sd_piece_kind { SD_PIECE_NORMAL = 1, SD_PIECE_UNKNOWN, SD_PIECE_CONTROL, SD_PIECE_USER, SD_PIECE_UNUSED, SD_PIECE_BYTE } sd_piece_kind; /* GGUF's numbers */

/* What is done to a text before it is cut, in turn. Names as in tokenizers, except where said. */
typedef enum sd_norm_kind {
    SD_NORM_PREPEND,         /* `to` in front */
    SD_NORM_REPLACE,         /* every `from` becomes `to` */
    SD_NORM_REPLACE_PATTERN, /* the same, `from` being a pattern */
    SD_NORM_NFC, SD_NORM_NFD, SD_NORM_NFKC, SD_NORM_NFKD,
    SD_NORM_LOWER,
    SD_NORM_STRIP,           /* white space at the ends given by `left` and `right` */
    SD_NORM_STRIP_MARKS,     /* drops characters of category M; only Mn when `left` (BERT) */
    SD_NORM_BERT_CLEAN,      /* drops controls, makes every white space a space */
    SD_NORM_BERT_CJK,        /* spaces around Chinese characters */
    SD_NORM_CHARSMAP,        /* `from` is SentencePiece's precompiled map, applied grapheme by grapheme */
    SD_NORM_CHARSMAP_LONGEST,/* the same map, longest match first (SentencePiece itself, llama.cpp) */
    SD_NORM_SPM_SPACES       /* spaces become `to`; runs become one when `left`; one in front when `right` */
} sd_norm_kind;
typedef struct sd_norm_step { sd_norm_kind kind; sd_slice from, to; bool left, right; } sd_norm_step;

typedef struct sd_tok_spec {
    sd_tok_kind kind;
    int32_t n_vocab;
    const sd_slice *piece;        /* [n_vocab] as stored; borrowed during sd_tok_new, as all that follows */
    const float *score;           /* [n_vocab], of SD_TOK_SPM */
    const double *logprob;        /* [n_vocab], of SD_TOK_UGM */
    const uint8_t *type;          /* [n_vocab] sd_piece_kind, or NULL: all normal */
    const uint8_t *added;         /* [n_vocab] SD_ADDED_* of added tokens, or NULL */
    const sd_slice *merge;        /* [n_merge] "left right" in rank order */
    int64_t n_merge;
    const uint32_t *merge_left;   /* [n_merge] bytes of left, for pieces that hold spaces; NULL: up to the first space */
    sd_slice pre;                 /* tokenizer.ggml.pre: "smollm", "gpt-2", ..; used when there are no cuts */
    const sd_cut *cut;            /* [n_cut] */
    int n_cut;
    const sd_norm_step *norm;     /* [n_norm] */
    int n_norm;
    sd_slice continuing;          /* what a WordPiece piece that continues a word begins with: "##"; empty: a word's first piece begins with U+2581 */
    int32_t bos, eos, unk, pad;   /* -1: none */
    const int32_t *end;           /* [n_end] tokens that end a generated text, each a piece */
    int n_end;                    /* 0: eos alone */
    bool add_bos, add_eos;
    bool add_space_prefix;        /* SD_TOK_BPE: a stretch between special tokens begins with a space */
    bool ignore_merges;           /* a word that is a piece is that piece, whatever the merges say; some `pre` names imply it */
    bool merges_closed;           /* both parts and the result of every merge must be pieces (tokenizers refuses others; llama.cpp does not) */
    bool skip_missing;            /* a byte without a token (and without unk) lets its neighbours merge (tokenizers); else it parts them (llama.cpp) */
    bool byte_fallback;           /* a character without a piece is spelt in "<0x..>" pieces when all of them are there */
    bool fuse_unk;                /* neighbouring unknown tokens become one */
    bool escaped_spaces;          /* U+2581 in a piece is a space in the text */
    bool strip_space;             /* the space in front of a decoded text was put there by encoding */
    bool cleanup;                 /* SD_TOK_WPM: decoded pieces lose the space in front of punctuation and of "n't", "'s" .. (tokenizers' WordPiece decoder) */
    int64_t max_word_chars;       /* SD_TOK_WPM: longer words are unknown; 0: no limit */
} sd_tok_spec;
enum {
    SD_ADDED_LEFT = 1,            /* swallows white space on its left */
    SD_ADDED_RIGHT = 2,           /* .. on its right */
    SD_ADDED_SINGLE_WORD = 4,     /* not inside a word */
    SD_ADDED_NORMALIZED = 8,      /* looked for in normalised text, itself normalised */
    SD_ADDED_OUTSIDE = 16         /* no piece of the model: words never become it */
};

typedef struct sd_tok sd_tok; /* immutable; any number of threads may encode and decode at once */
sd_status sd_tok_new(sd_tok **out, const sd_tok_spec *spec, sd_err *err); /* copies what it keeps */
void sd_tok_free(sd_tok *t);
int32_t sd_tok_n_vocab(const sd_tok *t);
int32_t sd_tok_bos(const sd_tok *t);
int32_t sd_tok_eos(const sd_tok *t);
bool sd_tok_add_bos(const sd_tok *t);
bool sd_tok_is_special(const sd_tok *t, int32_t id); /* control tokens: BOS, EOS, <|im_start|>, .. */
bool sd_tok_ends(const sd_tok *t, int32_t id);       /* does generation end at it? Other control tokens are gone on from and left out of the text */

typedef struct sd_ids { int32_t *v; int64_t n, cap; } sd_ids; /* zero-init; owns v */
void sd_ids_release(sd_ids *ids);
sd_status sd_ids_push(sd_ids *ids, int32_t id, sd_err *err);
sd_status sd_ids_add(sd_ids *ids, const int32_t *id, int64_t n, sd_err *err); /* id [n], no part of ids */
typedef struct sd_byte_span { size_t from, to; } sd_byte_span; /* bytes [from, to) of a text */
typedef struct sd_encode_opt {
    const sd_byte_span *plain; /* [n_plain] rising, apart: a control token's text that begins there is text; borrowed */
    int64_t n_plain;
    bool no_special; /* neither adds BOS/EOS nor reads "<|im_start|>" in the text as a token */
    bool no_bos;     /* reads them, adds none: for a rendered chat, whose template wrote its own */
} sd_encode_opt;
/* Appends to ids. Any bytes are accepted; invalid UTF-8 goes byte by byte. A byte that the vocabulary has no token for becomes `unk`,
 * or is left out when there is none (what llama.cpp and tokenizers do); all 256 have one in most vocabularies, and then decoding gives
 * the bytes back. */
sd_status sd_tok_encode(const sd_tok *t, sd_slice text, const sd_encode_opt *opt, sd_ids *ids, sd_err *err);
/* Appends the bytes of ids; special tokens as their text when `special`, else left out. Bytes may cut a UTF-8 sequence at the ends. */
sd_status sd_tok_decode(const sd_tok *t, const int32_t *ids, int64_t n, bool special, sd_buf *out, sd_err *err);
/* The same for a text from its beginning: without the space that encoding puts in front (SentencePiece, WordPiece). */
sd_status sd_tok_decode_text(const sd_tok *t, const int32_t *ids, int64_t n, bool special, sd_buf *out, sd_err *err);
/* The raw bytes of one token (special ones: their text), borrowed from t. Empty for an id out of range. */
sd_slice sd_tok_bytes(const sd_tok *t, int32_t id);
int32_t sd_tok_find(const sd_tok *t, sd_slice text); /* id of a special token by its text; -1 */
/* The control token ("<|im_end|>") that encoding would read at the front of text, and its bytes; -1: none. */
int32_t sd_tok_control_at(const sd_tok *t, sd_slice text, size_t *len);

#endif
