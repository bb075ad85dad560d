/* Files of labelled texts, a JSON row a line. */
#ifndef SD_LAB_LABEL_ROWS_H
#define SD_LAB_LABEL_ROWS_H

#include "base/json.h"

enum { SD_LABEL_NAME = 48 }; /* bytes of a label's name with its end */

/* A row that has text; text is without white space at its ends, full as it stands. what names file and line. */
typedef sd_status sd_label_row_fn(void *self, const json_t *row, sd_slice full, sd_slice text, const char *what, sd_err *err);

/* Calls fn for every row whose text is not empty, in order, until it fails: those are the documents of a corpus of the same file. */
sd_status sd_label_rows(const char *path, sd_label_row_fn *fn, void *self, sd_err *err);

/* The place of a name among *n names, put at their end when it is new; -1 when that would be more than `most` or the name is too long. */
int sd_label_place(char (*names)[SD_LABEL_NAME], int *n, int most, const char *name);

#endif
