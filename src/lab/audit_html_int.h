/* Shared by the pages of the audits. */
#ifndef SD_LAB_AUDIT_HTML_INT_H
#define SD_LAB_AUDIT_HTML_INT_H

#include "lab/audit_report.h"
#include "lab/report_int.h"

extern const char *const sd_audit__style[]; /* CSS, NULL at the end */
/* A page up to its <h1>: the window's title is "WHAT: OF"; of is escaped. What follows closes the <h1> and opens a <main>, then a <footer>. */
void sd_audit__begin(sd_buf *b, const char *what, const char *of, const char *kicker);
/* Inside the <footer>: the command that makes the page's numbers, and the page's end. */
sd_status sd_audit__end(sd_buf *b, const char *command, sd_err *err);

/* The forest plot of a comparison: one line a measure and category. */
void sd_audit__forest(sd_buf *b, const sd_comparison *c);
/* Refusals of harmful and of harmless prompts over three models or more, in the order they were given. */
void sd_audit__timeline(sd_buf *b, const sd_audit_page *p);
/* Cosines and gaps by block as inline SVG. */
void sd_audit__depth(sd_buf *b, const sd_inside *x);

#endif
