/* Shared by the files of the audit page. */
#ifndef SD_LAB_AUDIT_HTML_INT_H
#define SD_LAB_AUDIT_HTML_INT_H

#include "lab/audit_report.h"
#include "lab/report_int.h"

extern const char *const sd_audit__style[]; /* CSS, NULL at the end */

/* The forest plot of a comparison: one line a measure and category. */
void sd_audit__forest(sd_buf *b, const sd_comparison *c);
/* Refusals of harmful and of harmless prompts over three models or more, in the order they were given. */
void sd_audit__timeline(sd_buf *b, const sd_audit_page *p);
/* Cosines and gaps by block as inline SVG. */
void sd_audit__depth(sd_buf *b, const sd_inside *x);

#endif
