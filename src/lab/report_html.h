/* report_html: features, and what turning one up does, as one page that stands alone: no network, no scripts or fonts from
 * elsewhere, readable on paper, on a phone, in light and dark. All text of models and corpora is text: escaped, never markup. */
#ifndef SD_LAB_REPORT_HTML_H
#define SD_LAB_REPORT_HTML_H

#include "store/store.h"

/* One prompt answered twice. Texts are the model's, borrowed. */
typedef struct sd_report_pair { const char *prompt, *plain, *steered; } sd_report_pair;
/* A section "plain | steered". */
typedef struct sd_report_steer {
    const char *title;     /* what is turned up, in words */
    int64_t feature;       /* of the store; -1: a vector */
    const char *applied;   /* what was done: "add 0.5 rms at resid_post.14, 143 positions" */
    const char *chosen;    /* how it was chosen; may be NULL */
    const sd_report_pair *pair;
    int n_pair;
} sd_report_steer;

typedef struct sd_report_page {
    const int64_t *feature; /* [n_feature] the cards, in this order */
    int64_t n_feature;
    int n_example;          /* examples a card; 0: 8 */
    const sd_report_steer *steer;
    int n_steer;
    const char *ranking;    /* how the features were chosen, a sentence; NULL: the formula of interest */
} sd_report_page;

/* Appends the whole document to out. */
sd_status sd_report_html_features(sd_buf *out, sd_store *s, const sd_report_page *page, sd_err *err);

#endif
