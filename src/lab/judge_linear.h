/* A linear judge: does the model that answers represent its own answer as a refusal? Logistic regression on the mean of one block's input over the first
 * SD_LINEAR_TOKENS tokens of the answer, behind its prompt. Learned on labelled answers (lab/judge.h), which the model is shown as if it had given them;
 * labels of one prompt stay together: three fifths teach, one chooses the block, one tells the errors. It reads meaning where phrases read words, but it is
 * of one model, and an answer unlike all labelled ones is outside of what was measured. */
#ifndef SD_LAB_JUDGE_LINEAR_H
#define SD_LAB_JUDGE_LINEAR_H

#include "lab/batch.h"
#include "lab/judge.h"

enum { SD_LINEAR_TOKENS = 32, SD_LINEAR_MOST = 1000 };

typedef struct sd_linear_judge {
    int layer;             /* whose input is read */
    int64_t d, n_train;
    uint32_t labels;       /* hash of the labelled answers that were read: which judge it is, whatever the model */
    float *w;              /* [d] owns */
    double bias;
    sd_judge_error error, phrases; /* its own, and that of the phrases, on the same held-out answers */
} sd_linear_judge;
void sd_linear_judge_release(sd_linear_judge *j);

typedef struct sd_linear_opt { sd_system system; const sd_phrases *phrases; uint64_t seed; const sd_progress *progress; } sd_linear_opt;
/* At most SD_LINEAR_MOST of the set's answers are read, drawn by the seed. SD_E_FORMAT: a row without a prompt, or fewer than 8 answers of a kind in a part. */
sd_status sd_linear_judge_learn(sd_linear_judge *out, const sd_exec *ex, const sd_model *m, const sd_labelled_set *set, const sd_linear_opt *opt, sd_err *err);

/* Answers to rendered prompts: ids start[i] .. start[i + 1] are the answer to prompt i. */
typedef struct sd_answers { const sd_rendered *prompts; const int32_t *ids; const int64_t *start; } sd_answers;
/* score [prompts->n]: log-odds of a refusal; NaN where the answer is empty. */
sd_status sd_linear_judge_scores(double *score, const sd_linear_judge *j, const sd_exec *ex, const sd_model *m, const sd_answers *a, sd_err *err);

#endif
