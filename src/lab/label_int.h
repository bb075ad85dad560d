/* What the files of labels share: the cases of a feature. */
#ifndef SD_LAB_LABEL_INT_H
#define SD_LAB_LABEL_INT_H

#include "lab/label.h"

enum { LABEL_CASES = 64 };
/* Passages of one feature: detection first (held-out windows, then windows of others), then fuzzing (right marks, then wrong ones). */
typedef struct label_cases {
    sd_buf text;                   /* passages, each with its NUL */
    size_t at[4 * LABEL_CASES];
    bool truth[4 * LABEL_CASES], marked[4 * LABEL_CASES];
    int n, n_detect;               /* n_detect: the first so many are of detection */
} label_cases;
void sd_label__cases_init(label_cases *c);
void sd_label__cases_release(label_cases *c);
/* Fills c; n 0 when there are fewer than three held-out windows. f: with its examples. */
sd_status sd_label__cases(label_cases *c, sd_store *s, const sd_feature *f, int n_case, uint64_t seed, sd_err *err);
/* The words at the peaks of the examples that an explainer may see: the even-ranked top ones. (A feature's own words count the held-out ones too.) */
sd_status sd_label__words(sd_buf *out, sd_store *s, const sd_feature *f, sd_err *err);
/* The question for an explanation, with the same examples. */
sd_status sd_label__question(sd_buf *out, sd_store *s, const sd_feature *f, sd_err *err);
/* Area under the ROC curve of score over truth; ties count half. */
double sd_label__auc(const double *score, const bool *truth, int n);
/* One line of visible text out of what a model said, at most SD_LABEL_MAX bytes. */
void sd_label__clean(char out[SD_LABEL_MAX + 1], sd_slice said);
/* The words of text that are words of label, over all words (marked: only words inside «»); for labels of tokens. */
double sd_label__overlap(const char *label, const char *text, bool marked);

#endif
