/* The sparse codes of a whole pass, kept on disk and given back feature by feature.
 *
 * A pass gives codes token by token; a study of features wants, for one feature, all tokens it fires on. The log appends the
 * codes to a nameless file beside the artefact being made (8 bytes a code: the page cache holds what fits, so memory does not
 * grow with the corpus) and turns them round for a range of features at a time. */
#ifndef SD_LAB_CODELOG_H
#define SD_LAB_CODELOG_H

#include "sonde/dict.h"
#include "base/err.h"
#include <stddef.h>

typedef struct sd_codelog sd_codelog;
/* beside: the path of a file whose folder takes the log. m: features. */
sd_status sd_codelog_new(sd_codelog **out, const char *beside, int64_t m, sd_err *err);
void sd_codelog_free(sd_codelog *l);
/* Appends the codes of z->n rows; rows are numbered as they come. keep [z->n]: a row with 0 has its number but no codes (NULL: all
 * are kept). */
sd_status sd_codelog_put(sd_codelog *l, const sd_codes *z, const uint8_t *keep, sd_err *err);
int64_t sd_codelog_rows(const sd_codelog *l);
int64_t sd_codelog_nnz(const sd_codelog *l);
const int64_t *sd_codelog_counts(const sd_codelog *l); /* [m] rows each feature is active on */

/* Features f0..f1-1: feature f has entries start[f-f0] .. start[f-f0+1], rows ascending. */
typedef struct sd_postings {
    int64_t f0, f1;
    int64_t *start;    /* [f1-f0+1] */
    uint32_t *row;
    float *val;
    int64_t cap_start, cap;
} sd_postings; /* zero-initialise; memory is reused */
void sd_postings_release(sd_postings *p);
/* The end of the longest range from f0 whose entries take at most budget_bytes; at least one feature. */
int64_t sd_codelog_range(const sd_codelog *l, int64_t f0, size_t budget_bytes);
/* Reads the whole log once. */
sd_status sd_codelog_postings(sd_postings *out, sd_codelog *l, int64_t f0, int64_t f1, sd_err *err);

#endif
