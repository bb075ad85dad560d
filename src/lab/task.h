/* task: how well a model does what rows teach, without a judge: likelihood and exact match of given answers. */
#ifndef SD_LAB_TASK_H
#define SD_LAB_TASK_H

#include "lab/tune.h"

typedef struct sd_task {
    int64_t n;     /* rows with an answer */
    double *nll;   /* [n] nats a token of the answer, the mark that ends it among them; owns */
    char *exact;   /* [n + 1] 'y' where the greedy answer is the row's, token by token to its end, else 'n'; owns */
} sd_task;
void sd_task_release(sd_task *t);

/* path: .jsonl rows as sft reads them (lab/tune_data.h). One forward a row: a greedy answer is the given one exactly when every one of its tokens is the likeliest after
 * those before it; of equal ones the first counts. SD_E_FORMAT: no row has an answer. */
sd_status sd_lab_task(sd_task *out, const sd_exec *ex, const sd_model *m, const char *path, sd_err *err);

#endif
