/* feature_words: the words of a feature: what stands at the peaks of its top examples, what it promotes, what surrounds it. */
#ifndef SD_LAB_FEATURE_WORDS_H
#define SD_LAB_FEATURE_WORDS_H

#include "lab/token_text.h"

typedef struct sd_feature_words {
    sd_buf peak, logits, context, words, folded; /* reused from feature to feature */
    double n_words;  /* effective number of different words at the peaks: exp of the entropy of their counts; case, a final 's and all but
                        the first six letters folded */
    double letters;  /* share of the peaks that hold a letter */
} sd_feature_words;
void sd_feature_words_init(sd_feature_words *w);
void sd_feature_words_release(sd_feature_words *w);
/* Reads the top examples (with tok) and top logits of f; sets f->words and text, which borrow from w until its next call, and
 * the two numbers. */
sd_status sd_feature_words_of(sd_feature_words *w, sd_feature *f, const sd_vocab *vocab, sd_feature_text *text, sd_err *err);

#endif
