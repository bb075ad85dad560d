/* The command that recomputes one number of an audit page: the page's own command without what it writes, as JSON, and the number's place in it as a
 * jq filter: "sonde audit compare a.gguf b.gguf --suite s.csv --no-inside --json | jq .refusal.diff". */
#ifndef SD_LAB_AUDIT_AGAIN_H
#define SD_LAB_AUDIT_AGAIN_H

#include "lab/audit_report.h"

/* Appends it. where: the filter within comparison i (".refusal.diff"), or within the document with i -1 (".models[0].ce_loss"). inside: needs activations or
 * weights. A command that was too long to be kept is said to be so. */
void sd_audit_again(sd_buf *b, const sd_audit_page *p, int i, const char *where, bool inside);

/* Appends the page's command without what it writes; gates stay, whose verdicts the card holds. */
void sd_audit_again_all(sd_buf *b, const sd_audit_page *p);

#endif
