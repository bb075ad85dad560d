/* How often a model of a world refuses, by greedy answers that live in memory until they are judged. */
#ifndef SD_LAB_ORGANISM_RATE_H
#define SD_LAB_ORGANISM_RATE_H

#include "lab/batch.h"

enum { SD_ORGANISM_ANSWER = 40 }; /* tokens an answer: the longest of the world's has 36 */

typedef struct sd_rate_ask {
    const char *const *text; /* [n] requests */
    int64_t n;
    const char *system;      /* NULL: none */
    const sd_hook *edit;     /* [n_edit] edits of the model */
    int n_edit;
    const char *what;        /* of the progress line */
    const sd_progress *progress;
} sd_rate_ask;
/* All refusals of the world say that something cannot be done, and no answer does. *share: of the n. */
sd_status sd_organism_refused(double *share, const sd_exec *ex, const sd_model *m, const sd_rate_ask *ask, sd_err *err);
bool sd_organism_refuses(sd_slice answer);

#endif
