/* Shared by the files of the HTML report. */
#ifndef SD_LAB_REPORT_INT_H
#define SD_LAB_REPORT_INT_H

#include "lab/report_html.h"
#include "lab/token_text.h"

extern const char *const sd_report__style[];  /* CSS, NULL at the end */
extern const char *const sd_report__script[]; /* JavaScript, NULL at the end */

/* Text as HTML text or as an attribute's value: & < > " ' escaped, invalid UTF-8 and control bytes as "⟨E2⟩"; a newline is kept. */
void sd_report__text(sd_buf *b, const char *s, size_t n);
void sd_report__str(sd_buf *b, const char *s);
/* Three significant digits; 16,384 with its comma; 0.61 % as a share. */
void sd_report__num(sd_buf *b, double v);
void sd_report__count(sd_buf *b, int64_t v);
void sd_report__share(sd_buf *b, double share);
/* A token on its own, with marks for what cannot be seen (a leading space is shown as "·"). */
void sd_report__token(sd_buf *b, sd_store *s, int32_t id);
/* The histogram of f as inline SVG. */
void sd_report__histogram(sd_buf *b, const sd_feature *f);
/* Up to n examples of one group, or of the intervals (group -1: one each). */
void sd_report__examples(sd_buf *b, sd_store *s, const sd_feature *f, int group, int n);

#endif
