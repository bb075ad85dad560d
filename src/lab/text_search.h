/* text_search: the features of a store by what a running text makes active.
 *   score = z / z_max  ln(1 / density)     z the highest activation in the text, z_max and density those of the store's study
 * so a feature that nearly always fires comes after one that is rare and fires as high here as it ever did. */
#ifndef SD_LAB_TEXT_SEARCH_H
#define SD_LAB_TEXT_SEARCH_H

#include "lab/text_codes.h"
#include "store/store.h"

/* pos, token: where it is highest, position in the text as the model reads it. */
typedef struct sd_text_hit { int64_t feature; double score; float act; int32_t pos, token; } sd_text_hit;
/* on: only the tokens of these words count, wherever they stand in the text; NULL: all. SD_E_ARG when they do not stand in it.
 * *hit [*n] highest score first, by sd_free. Features that were silent in the store's study are left out: nothing is known to compare with. */
sd_status sd_lab_text_search(sd_text_hit **hit, int64_t *n, const sd_text_reader *by, sd_store *s, const char *text, const char *on, sd_err *err);

#endif
