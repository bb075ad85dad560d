/* reference: rows of a site on a fixed text, from which the units of plain vectors come: the mean token norm of the site (rms) and the standard
 * deviation of a projection (std). The text is built in unless one is given; special tokens and attention sinks do not count. */
#ifndef SD_LAB_REFERENCE_H
#define SD_LAB_REFERENCE_H

#include "lab/steer.h"

extern const char sd_reference_text[]; /* some 500 words of prose, talk, list, code and figures */

typedef struct sd_reference sd_reference;
/* text empty: the built-in one; at most 4096 tokens, and the model's context, of it are read. ex and m borrowed until free. Runs nothing yet. */
sd_status sd_reference_new(sd_reference **out, const sd_exec *ex, const sd_model *m, sd_slice text, sd_err *err);
void sd_reference_free(sd_reference *r);
/* self: a sd_reference. Runs the text up to the site at the first call for it, then answers from memory; valid until free. Any thread. The shape of
 * sd_steer_from.rows. SD_E_ARG for a site without a row a token. */
sd_status sd_reference_rows(void *self, sd_mat *out, sd_site site, sd_err *err);

#endif
