/* Pre-tokenisers: the regular expressions that cut text into the words that BPE merges are made in.
 *
 * Patterns are written in the dialect of Hugging Face's tokenizers (Oniguruma, Ruby syntax) and brought to PCRE2 when they
 * are compiled; a construct whose meaning differs between the two is refused. Several patterns work in turn: each cuts
 * the pieces that the one before left, matches and gaps alike, and sees a piece as the whole text. */
#ifndef SD_TEXT_PRETOK_H
#define SD_TEXT_PRETOK_H

#include "base/str.h"

#define SD_PRETOK_MAX 8 /* patterns in turn; chameleon's six are the most in use */

typedef struct sd_pretok sd_pretok; /* immutable */
sd_status sd_pretok_new(sd_pretok **out, const sd_slice *pattern, int n, sd_err *err);
/* By a name of tokenizer.ggml.pre. SD_E_UNSUPPORTED for names that are unknown or need more than patterns. */
sd_status sd_pretok_named(sd_pretok **out, sd_slice name, sd_err *err);
void sd_pretok_free(sd_pretok *p);

/* What a name implies beside its patterns. */
typedef struct sd_pretok_traits { bool ignore_merges, add_bos; } sd_pretok_traits;
bool sd_pretok_known(sd_slice name, sd_pretok_traits *traits);

/* Match state of one thread; reused from text to text. */
typedef struct sd_pretok_scratch { void *match, *limits; } sd_pretok_scratch;
sd_status sd_pretok_scratch_init(sd_pretok_scratch *s, const sd_pretok *p, sd_err *err);
void sd_pretok_scratch_release(sd_pretok_scratch *s);

typedef sd_status (*sd_word_fn)(void *self, sd_slice word, sd_err *err);
/* Calls fn for the words of text, in order, without gaps. text must be valid UTF-8. */
sd_status sd_pretok_split(const sd_pretok *p, sd_pretok_scratch *s, sd_slice text, sd_word_fn fn, void *self,
                          sd_err *err);

/* Internal: n patterns of a name; NULL when unknown. n = 0: known, and why it cannot be used in *reason. */
const char *const *sd_pretok__table(sd_slice name, int *n, sd_pretok_traits *traits, const char **reason);

#endif
