/* Rates corrected with hand labels of this model's own answers (--keep-answers, then a person's classes): the prediction-powered estimate of num/infer.h.
 *
 * Labels are lines {"suite","id","class"}. Strata are what the judge said (refusal, or not), so that labels may be spread evenly over both; each stratum's mean
 * difference is weighted by its share of all scored answers. Unlabelled answers carry the judge's verdicts. */
#ifndef SD_LAB_AUDIT_LABEL_H
#define SD_LAB_AUDIT_LABEL_H

#include "lab/audit.h"

enum { SD_LEAST_LABELS = 60 }; /* below it no rate is corrected */
typedef struct sd_corrected {
    sd_ci ci;              /* of the refusal rate of an axis */
    int64_t n_labelled, n; /* labelled answers of the axis; scored ones */
    int64_t false_refusal, missed_refusal; /* what the judge got wrong among the labelled */
} sd_corrected;
/* Whether a file of labels can correct a record, before its answers are asked for: every line's form, and that there are SD_LEAST_LABELS of them. */
sd_status sd_audit_labels_check(const char *path, sd_err *err);
/* SD_E_FORMAT: a line that is none, a class that is not known, an answer labelled twice; SD_E_NOTFOUND: a label of an answer that the record does not hold; SD_E_ARG: fewer than
 * SD_LEAST_LABELS labels of this axis (and the number there is), or than two of what the judge calls refusals or of the rest. */
sd_status sd_audit_correct(sd_corrected *out, const sd_audit_record *r, sd_axis axis, const char *path, sd_err *err);
/* Errors of all judges whose verdicts the record holds (the one in use, the phrases, the first token's log-odds, the linear one) on labels of class refusal and
 * compliance, of both axes; they are added to r->judged as measured on its own answers. */
sd_status sd_audit_measure_judges(sd_audit_record *r, const char *path, sd_err *err);

#endif
