/* Tokenizers. `text` knows no container: whoever opens the model fills a spec by value. */
#ifndef SD_TEXT_TOK_H
#define SD_TEXT_TOK_H

#include "base/str.h"

typedef enum sd_tok_kind { SD_TOK_BPE, SD_TOK_SPM, SD_TOK_WPM } sd_tok_kind; /* byte-level BPE, SentencePiece, WordPiece */
typedef enum sd_piece_kind { SD_PIECE_NORMAL = 1, SD_PIECE_UNKNOWN, SD_PIECE_CONTROL, SD_PIECE_USER, SD_PIECE_UNUSED, SD_PIECE_BYTE } sd_piece_kind; /* GGUF's numbers */

typedef struct sd_tok_spec {
    sd_tok_kind kind;
    int32_t n_vocab;
    const sd_slice *piece;        /* [n_vocab] as stored (BPE: in the byte-to-unicode alphabet); borrowed during sd_tok_new */
    const float *score;           /* [n_vocab] or NULL */
    const uint8_t *type;          /* [n_vocab] sd_piece_kind, or NULL: all normal */
    const sd_slice *merge;        /* [n_merge] "left right" in rank order */
    int64_t n_merge;
    sd_slice pre;                 /* tokenizer.ggml.pre: "smollm", "gpt-2", ..; empty: pattern below */
    sd_slice pattern;             /* pre-tokeniser regex of a tokenizer.json, when pre is empty */
    int32_t bos, eos, unk, pad;   /* -1: none */
    bool add_bos, add_eos, add_space_prefix;
    const sd_slice *patterns;     /* [n_patterns] several regexes instead of one, each cutting the pieces of the one before */
    int n_patterns;
    const uint8_t *strip;         /* [n_vocab] SD_STRIP_* of added tokens, or NULL */
    bool ignore_merges;           /* a word that is a piece is that piece, whatever the merges say; some `pre` names imply it */
    bool skip_missing;            /* a byte without a token (and without unk) lets its neighbours merge (tokenizers); else it parts them (llama.cpp) */
    bool nfc;                     /* text between special tokens is brought to Unicode NFC first (not reversible) */
} sd_tok_spec;
enum { SD_STRIP_LEFT = 1, SD_STRIP_RIGHT = 2 }; /* the token swallows white space on that side */

/* What llama.cpp sets for a `pre` name unless the file says otherwise; false when the name is unknown. */
bool sd_tok_pre_defaults(sd_slice pre, bool *add_bos);

typedef struct sd_tok sd_tok; /* immutable; any number of threads may encode and decode at once */
sd_status sd_tok_new(sd_tok **out, const sd_tok_spec *spec, sd_err *err); /* copies what it keeps */
void sd_tok_free(sd_tok *t);
int32_t sd_tok_n_vocab(const sd_tok *t);
int32_t sd_tok_bos(const sd_tok *t);
int32_t sd_tok_eos(const sd_tok *t);
bool sd_tok_add_bos(const sd_tok *t);
bool sd_tok_is_special(const sd_tok *t, int32_t id); /* control tokens: BOS, EOS, <|im_start|>, .. */

typedef struct sd_ids { int32_t *v; int64_t n, cap; } sd_ids; /* zero-init; owns v */
void sd_ids_release(sd_ids *ids);
sd_status sd_ids_push(sd_ids *ids, int32_t id, sd_err *err);
typedef struct sd_encode_opt { bool no_special; } sd_encode_opt; /* neither adds BOS/EOS nor reads "<|im_start|>" in the text as a token */
/* Appends to ids. Any bytes are accepted; invalid UTF-8 goes byte by byte. A byte that the vocabulary has no token for becomes `unk`,
 * or is left out when there is none (what llama.cpp and tokenizers do); all 256 have one in most vocabularies, and then decoding gives
 * the bytes back. */
sd_status sd_tok_encode(const sd_tok *t, sd_slice text, const sd_encode_opt *opt, sd_ids *ids, sd_err *err);
/* Appends the bytes of ids; special tokens as their text when `special`, else left out. Bytes may cut a UTF-8 sequence at the ends. */
sd_status sd_tok_decode(const sd_tok *t, const int32_t *ids, int64_t n, bool special, sd_buf *out, sd_err *err);
/* The raw bytes of one token (special ones: their text), borrowed from t. Empty for an id out of range. */
sd_slice sd_tok_bytes(const sd_tok *t, int32_t id);
int32_t sd_tok_find(const sd_tok *t, sd_slice text); /* id of a special token by its text; -1 */

#endif
