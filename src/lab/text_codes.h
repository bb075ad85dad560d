/* text_codes: what a dictionary says of texts: for each one the features that are active anywhere in it, with their highest activation. */
#ifndef SD_LAB_TEXT_CODES_H
#define SD_LAB_TEXT_CODES_H

#include "lab/batch.h"
#include "sonde/dict.h"

/* Features ascending; at: the position of the highest activation. */
typedef struct sd_text_code { int32_t *feature, *at; float *act; int64_t n; } sd_text_code;
typedef struct sd_text_codes { sd_text_code *v; int64_t n; } sd_text_codes;
/* What reads the texts; borrowed. only: a byte a token of all prompts, 0 where it does not count; NULL: all do. */
typedef struct sd_text_reader { const sd_exec *ex; const sd_model *m; const sd_dict *dict; sd_site site; const uint8_t *only; } sd_text_reader;
void sd_text_codes_release(sd_text_codes *c);
/* Runs all prompts of r up to the site and encodes their rows (exact membership of the dictionary's kind). Special tokens are left out, and sinks where the
 * dictionary states its site's mean token norm (SD_SINK_FACTOR times it), as in the study of features. */
sd_status sd_lab_text_codes(sd_text_codes *out, const sd_text_reader *by, const sd_rendered *r, const sd_progress *progress, sd_err *err);
/* Texts as prompts: the user's turn of the chat template, or as they are. SD_E_ARG names an empty text or one longer than the context. */
sd_status sd_lab_text_prompts(sd_rendered *out, const sd_model *m, const char *const *text, int64_t n, bool chat, sd_err *err);

/* Takes features out of a session: h <- h - sum over f in the set of z_f w_f, z the dictionary's code of h, so that the rest and the
 * reconstruction error stay. One encoding of the row each. */
typedef struct sd_feature_cut {
    const sd_exec *ex;
    const sd_dict *dict;
    sd_site site;
    uint8_t *cut;      /* [m] owns */
    sd_codes codes;
    int64_t n_cut;     /* activations taken out so far */
} sd_feature_cut;
sd_status sd_feature_cut_init(sd_feature_cut *c, const sd_exec *ex, const sd_dict *dict, sd_site site, sd_err *err);
void sd_feature_cut_release(sd_feature_cut *c);
sd_hook sd_feature_cut_hook(sd_feature_cut *c); /* borrows c */

#endif
