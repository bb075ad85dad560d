/* What an audit had judged when it was stopped, so that it can go on: FILE.part beside the record FILE that was to be written.
 *
 * It holds the words of the command line, the hash of the model, and of each answer what a record holds: ids, classes, scores, lengths and hashes, no request and no answer. Mode 0600,
 * since a word may be an address with a password. A run that goes on asks the other prompts alone; in faithful mode its record is that of a run that was never stopped. */
#ifndef SD_LAB_AUDIT_PART_H
#define SD_LAB_AUDIT_PART_H

#include "lab/audit.h"

typedef struct sd_audit_part {
    char **word; /* [n_word] after `sonde audit run`; owns */
    int n_word;
    char model_sha256[65]; /* empty: behind an endpoint */
    double seconds;        /* that it took, all runs together */
    sd_behaviour b;        /* v: what has an answer, in the order of the run; tpl: frames that are finished; rendered_sha256 and judge */
} sd_audit_part;
void sd_audit_part_release(sd_audit_part *p);
/* Of p->b only replies with an answer are written. */
sd_status sd_audit_part_write(const char *path, const sd_audit_part *p, sd_err *err);
/* Untrusted: sizes and ranges are checked. */
sd_status sd_audit_part_read(sd_audit_part *out, const char *path, sd_err *err);

#endif
