/* A comparison, or a record alone, as a JSON object, one page of HTML and a card in Markdown. Nothing that was asked or answered is in any of them:
 * requests are shown by suite and id, which the page blurs for harmful ones. */
#ifndef SD_LAB_AUDIT_REPORT_H
#define SD_LAB_AUDIT_REPORT_H

#include "lab/audit.h"
#include "lab/audit_inside.h"

typedef struct sd_audit_page {
    const sd_audit_record *record; /* [n_record] the first one is what the others are compared with */
    int n_record;
    const sd_comparison *cmp;      /* [n_record - 1] */
    const sd_inside *inside;       /* [n_record - 1] or NULL */
    const char *command;           /* that recomputes the page */
} sd_audit_page;

/* What is beside the paired rates: cross-entropy (value alone), and rates of each side: multiple choice, its name, sycophancy, frames. NaN, n 0: not measured on that side. */
typedef struct sd_audit_beside { char label[80], key[24]; bool is_rate; double value[2]; sd_rate rate[2]; } sd_audit_beside;
enum { SD_MAX_BESIDE = 4 + SD_MAX_TEMPLATES };
int sd_audit_besides(sd_audit_beside out[SD_MAX_BESIDE], const sd_audit_record *a, const sd_audit_record *b);

/* Keys of the open object: refusal, over_refusal, incoherent, verdict, .. of the first comparison, then all under "comparisons". */
void sd_audit_write_json(sd_jw *w, const sd_audit_page *p);
sd_status sd_audit_write_html(sd_buf *out, const sd_audit_page *p, sd_err *err);
sd_status sd_audit_write_card(sd_buf *out, const sd_audit_page *p, sd_err *err);
/* The worst of the verdicts. */
sd_verdict sd_audit_verdict(const sd_audit_page *p);

#endif
