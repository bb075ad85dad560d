/* The tokens a study saw: which token, of which document, at which position; in reading order. */
#ifndef SD_LAB_ROWS_H
#define SD_LAB_ROWS_H

#include "base/err.h"
#include "store/store.h"

typedef struct sd_rows {
    int64_t n, cap;
    int32_t *token, *doc, *pos; /* [n] */
    uint32_t *place;            /* [n] after finish: row as it came -> row in order; NULL when they came in order */
    int64_t n_docs;
} sd_rows; /* zero-initialise */

void sd_rows_release(sd_rows *r);
/* Negative numbers are SD_E_FORMAT. */
sd_status sd_rows_put(sd_rows *r, const int32_t *token, const int32_t *doc, const int32_t *pos, int64_t n, sd_err *err);
/* Puts the rows in order: a document's rows together, by position; documents as they first came when they came whole, else by
 * number. The same (document, position) twice is SD_E_FORMAT. */
sd_status sd_rows_finish(sd_rows *r, sd_err *err);
/* Rows [*r0, *r1) of the window around row r: the same document, positions at most `before` before and `after` behind. */
void sd_rows_window(const sd_rows *r, int64_t row, int before, int after, int64_t *r0, int64_t *r1);
/* Every document as its token ids from position 0 to its last row; positions without a row are gaps. name(self, doc) may be NULL. */
sd_status sd_rows_store(const sd_rows *r, sd_store *s, const char *(*name)(const void *self, int32_t doc), const void *self, sd_err *err);

#endif
