/* feature_words: the words of a feature: what stands at its peaks, what it promotes, what surrounds it. */
#ifndef SD_LAB_FEATURE_WORDS_H
#define SD_LAB_FEATURE_WORDS_H

#include "lab/token_text.h"

typedef struct sd_feature_words { sd_buf peak, logits, context, words; } sd_feature_words; /* reused from feature to feature */
void sd_feature_words_init(sd_feature_words *w);
void sd_feature_words_release(sd_feature_words *w);
/* Reads the top examples (with tok) and top logits of f; sets f->words and text, which borrow from w until its next call. */
sd_status sd_feature_words_of(sd_feature_words *w, sd_feature *f, const sd_vocab *vocab, sd_feature_text *text, sd_err *err);

#endif
