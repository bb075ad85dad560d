/* Pre-tokenisers: the regular expressions that cut text into the words that BPE merges are made in.
 *
 * Patterns are written in the dialect of Hugging Face's tokenizers (Oniguruma, Ruby syntax) and brought to PCRE2 when they
 * are compiled; a construct whose meaning differs between the two is refused. Several cuts work in turn: each cuts the
 * pieces that the one before left and sees a piece as the whole text. */
#ifndef SD_TEXT_PRETOK_H
#define SD_TEXT_PRETOK_H

#include "base/str.h"

#define SD_PRETOK_MAX 8 /* patterns in turn; chameleon's six are the most in use */
/* \w of Oniguruma inside of a class: Alphabetic, marks, decimal digits, connecting punctuation. PCRE2's differs by version. */
#define SD_PRETOK_WORD "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24B6}-\\x{24E9}\\x{1F130}-\\x{1F149}\\x{1F150}-\\x{1F169}\\x{1F170}-\\x{1F189}"

/* What becomes of the matches of a pattern; names and meaning of tokenizers' SplitDelimiterBehavior. */
typedef enum sd_cut_how {
    SD_CUT_ISOLATED,      /* matches and gaps are pieces of their own */
    SD_CUT_REMOVED,       /* matches are dropped */
    SD_CUT_WITH_PREVIOUS, /* the first match of a run joins the gap before it */
    SD_CUT_WITH_NEXT,     /* the last match of a run joins the gap after it */
    SD_CUT_CONTIGUOUS,    /* a run of matches is one piece */
    SD_CUT_METASPACE,     /* no pattern: spaces become `space`, and the text is cut in front of each when `split` */
} sd_cut_how;
typedef enum sd_prepend { SD_PREPEND_NEVER, SD_PREPEND_FIRST, SD_PREPEND_ALWAYS } sd_prepend;
typedef struct sd_cut {
    sd_slice pattern;
    sd_cut_how how;
    bool invert;        /* matches and gaps change places */
    bool split;         /* of SD_CUT_METASPACE, as the two below */
    sd_prepend prepend; /* `space` in front of a piece that does not begin with it: never, at the text's start, always */
    sd_slice space;
} sd_cut;

typedef struct sd_pretok sd_pretok; /* immutable */
/* n cuts in turn; copies what it keeps. At most one of them is a metaspace. */
sd_status sd_pretok_new(sd_pretok **out, const sd_cut *cut, int n, sd_err *err);
/* By a name of tokenizer.ggml.pre. SD_E_UNSUPPORTED for unknown names. */
sd_status sd_pretok_named(sd_pretok **out, sd_slice name, sd_err *err);
void sd_pretok_free(sd_pretok *p);

/* What a name implies beside its patterns. */
typedef struct sd_pretok_traits {
    bool ignore_merges, add_bos;
    bool characters;    /* merges are made of characters, a byte is "<0x0A>" */
    bool escape_spaces; /* a space is written U+2581 */
    bool whole_lines;   /* a word of line ends that is a piece is that piece */
} sd_pretok_traits;
bool sd_pretok_known(sd_slice name, sd_pretok_traits *traits);

/* Match state of one thread; reused from text to text. */
typedef struct sd_pretok_scratch {
    void *match, *limits;
    sd_buf spaced;      /* a piece with its spaces replaced */
} sd_pretok_scratch;
sd_status sd_pretok_scratch_init(sd_pretok_scratch *s, const sd_pretok *p, sd_err *err);
void sd_pretok_scratch_release(sd_pretok_scratch *s);

typedef sd_status (*sd_word_fn)(void *self, sd_slice word, sd_err *err);
/* Calls fn for the words of text, in order; without gaps unless a cut drops something. text must be valid UTF-8. at_start:
 * nothing stands before it in the whole input (SD_PREPEND_FIRST). A word is valid during its call. */
sd_status sd_pretok_split(const sd_pretok *p, sd_pretok_scratch *s, sd_slice text, bool at_start, sd_word_fn fn,
                          void *self, sd_err *err);
typedef struct sd_match { bool found; size_t begin, end; } sd_match;
/* The first match of the one pattern of p at or after byte `from`. */
sd_status sd_pretok_find(const sd_pretok *p, sd_pretok_scratch *s, sd_slice text, size_t from, sd_match *out, sd_err *err);

/* Internal: n patterns of a name; NULL when unknown. */
const char *const *sd_pretok__table(sd_slice name, int *n, sd_pretok_traits *traits);

#endif
