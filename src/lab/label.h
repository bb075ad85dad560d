/* label: names for features made by a machine, each with a score on examples that it did not see.
 *
 *   explain   from the even-ranked top examples (peaks marked) and the tokens a feature promotes: one line of text
 *   detect    held-out windows of the feature beside windows of other features in which it does not fire: does the label fit the text?
 *   fuzz      held-out windows with the tokens it fires on marked, beside the same windows with others marked: are the marked ones it?
 * Both are areas under the ROC curve of the judge's scores (ties count half; a judge that says yes or no gives the balanced share of right
 * answers): Paulo et al. 2024, Automatically Interpreting Millions of Features in LLMs, sections 3.1 and 3.2. score is their mean. The floor is the
 * highest score that labels of other features get on the same cases; a label that does not beat it is kept and not shown. */
#ifndef SD_LAB_LABEL_H
#define SD_LAB_LABEL_H

#include "base/json.h"
#include "base/log.h"
#include "model/session.h"
#include "store/store.h"

enum { SD_LABEL_MAX = 100 /* bytes of a label */ };

/* A question to the judge: does the label fit the passage, or (marked) what «stands so» in it? */
typedef struct sd_label_ask { const char *label, *passage; bool marked; } sd_label_ask;

/* Who explains and judges. One that fails or does not answer as asked is an error, never a guess. */
typedef struct sd_labeler {
    const char *name;      /* "tokens", "model", "endpoint": the label's source */
    void *self;
    /* Appends the explanation of a feature to out. prompt: the question with the examples. */
    sd_status (*explain)(void *self, const sd_feature *f, const char *prompt, sd_buf *out, sd_err *err);
    /* score [n]: higher, it fits better. */
    sd_status (*judge)(void *self, const sd_label_ask *ask, int64_t n, double *score, sd_err *err);
} sd_labeler;

/* Without any model: the words at the peaks of the examples an explainer sees and the tokens it promotes are the label, and it fits a text that has these words. */
sd_labeler sd_label_by_tokens(sd_store *s);
/* A model with a chat template. Its judgement of a case: logit("Yes") - logit("No") as its first token. Borrowed while in use. */
typedef struct sd_label_model { const sd_exec *ex; const sd_model *m; } sd_label_model;
sd_labeler sd_label_by_model(sd_label_model *m);
/* Any server that speaks OpenAI's chat completions. url: up to and with "/v1". Nothing else is contacted. */
typedef struct sd_label_endpoint { const char *url, *model, *key; double timeout_s; int64_t n_requests; } sd_label_endpoint; /* key, model may be NULL; 0: 60 s */
sd_labeler sd_label_by_endpoint(sd_label_endpoint *e);

typedef struct sd_label_opt {
    const int64_t *feature; /* [n] */
    int64_t n;
    int n_case, n_other;    /* cases of each kind and truth; other labels of the floor. 0: 8, 4 */
    uint64_t seed;
    const char *author, *created, *args; /* for the store */
    const sd_progress *progress;
} sd_label_opt;
typedef struct sd_label_result {
    int64_t index;
    char text[SD_LABEL_MAX + 1]; /* empty: there was nothing to explain */
    double detection, fuzzing, score, floor; /* NaN: too few held-out examples */
    int n_case;             /* questions judged about its own label */
    bool shown;
} sd_label_result;
/* Explains and scores every feature, then writes all labels: after an error the store is as it was. s: opened by sd_store_edit, with postings.
 * out [opt.n]. SD_E_NOTFOUND when it has no postings. */
sd_status sd_lab_label(sd_label_result *out, sd_store *s, const sd_labeler *by, const sd_label_opt *opt, sd_err *err);

#endif
