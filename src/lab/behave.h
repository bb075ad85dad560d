/* behave: what a model does with suites of prompts, axis by axis; and its utility, which is measured without judging text. */
#ifndef SD_LAB_BEHAVE_H
#define SD_LAB_BEHAVE_H

#include "lab/batch.h"
#include "lab/judge_endpoint.h"
#include "lab/judge_linear.h"
#include "lab/refusal.h"
#include "lab/suite.h"

typedef struct sd_reply {
    char suite[64], id[40], category[48];
    uint64_t key, hash;  /* of the prompt's text; of the answer's bytes */
    sd_axis axis;
    sd_class cls, by_phrases; /* the judge's; the phrases' beside it */
    double score;        /* first-token log-odds; NaN without a refusal set */
    double linear;       /* log-odds of the linear judge; NaN without one */
    int32_t n_tokens;
} sd_reply;

/* One prompt template and how often harmful requests in it are refused. */
typedef struct sd_template_rate { char name[32]; int64_t refused, n; } sd_template_rate;
enum { SD_MAX_TEMPLATES = 8 };

/* Utility and character. n = 0: not measured. */
typedef struct sd_utility {
    double ce_loss;               /* nats a token of the text given; NaN */
    int64_t ce_tokens;
    char text_sha256[65];         /* of the ids that stood in its windows; empty: not known */
    int64_t choice_right, choice_n;   /* multiple choice: the likeliest answer by mean log-probability a token (TruthfulQA: by their sum) is the right one */
    int64_t identity_same, identity_n; /* questions of who it is, answered with the name given */
    int64_t sycophancy_flips, sycophancy_n; /* facts it prefers right, and then wrong once the user states the wrong one */
} sd_utility;

typedef struct sd_behaviour {
    sd_reply *v;
    int64_t n;
    sd_template_rate tpl[SD_MAX_TEMPLATES];
    int n_tpl;
    sd_utility utility;
    char rendered_sha256[65], judge[96];
    bool quick;
    int64_t n_gen, rows;
    int64_t n_silent;    /* prompts of v without an answer, or without a verdict of the judge: unscored */
    char silent_why[96]; /* of the first of them */
} sd_behaviour;
void sd_behaviour_release(sd_behaviour *b);

typedef struct sd_behave_opt {
    const sd_suite *suite;
    int n_suite;
    sd_system system;
    const sd_phrases *phrases;
    const sd_refusal_set *refusal;  /* NULL: no scores; needed when quick */
    bool quick;                     /* where it and the phrases agree (lab/judge.h; else unscored), judged by the first token's log-odds; answers of at most SD_BEHAVE_QUICK tokens, for the phrases' verdict beside it */
    int64_t n_gen;                  /* 0: 64 */
    int64_t n_template;             /* harmful prompts put into each template; 0: none */
    const sd_endpoint *judge;       /* says the class of each answer in place of the phrases; NULL: the phrases. Not with quick */
    const sd_linear_judge *linear;  /* says refusal or compliance by the activations over each answer; NULL: none. Not with quick or judge */
    const char *text;               /* file whose cross-entropy is taken; NULL: none */
    const char *identity;           /* name the model should give; NULL: not asked */
    bool sycophancy;
    const char *wrap;               /* around every prompt, "{}" standing for it; NULL: none */
    int64_t rows_beside, rows_perhaps; /* for the estimate alone: positions that the caller runs beside all this, and those that it may run */
    const sd_hook *edit;            /* on every answer and likelihood, a measurement in memory; borrowed; NULL: none */
    /* Each answer as text, judged, for a local file only (--keep-answers); may be NULL. */
    sd_status (*on_text)(void *self, const sd_reply *r, sd_slice answer, sd_err *err);
    void *self;
    /* What a run that was stopped had judged (lab/audit_part.h): only the other prompts and frames are asked. Borrowed; NULL: nothing. SD_E_FORMAT: it was asked other prompts, or
     * in another way. And where to keep what is judged so far: every two minutes and when the run is stopped or fails. Of v those with an answer count (by_phrases). NULL: it is lost.
     * Neither goes with a judge that looks after the last answer (judge, linear) or with on_text. */
    const sd_behaviour *before;
    sd_status (*on_part)(void *self, const sd_behaviour *so_far, sd_err *err);
    void *part_self;
    const sd_progress *progress;
} sd_behave_opt;
enum { SD_BEHAVE_GEN = 64, SD_BEHAVE_QUICK = 20 };
/* Answers' length, from n_gen and quick. */
int64_t sd_behave_length(const sd_behave_opt *opt);
/* The same of a model behind an endpoint: by answers alone, so without scores and without what takes likelihoods (cross-entropy, choice, sycophancy). */
sd_status sd_lab_behave_endpoint(sd_behaviour *out, const sd_endpoint *e, const sd_behave_opt *opt, sd_err *err);
sd_status sd_lab_behave(sd_behaviour *out, const sd_exec *ex, const sd_model *m, const sd_behave_opt *opt, sd_err *err);

/* Internal: prompts that are asked, as texts and empty replies; classes of v by the judge, from answers kept [n] to text [n]; scored and refused ones of v, added to r. */
sd_status sd_behave__gather(const sd_behave_opt *o, const char ***text, sd_reply **v, int64_t *n, sd_err *err);
typedef struct sd_to_judge { sd_reply *v; int64_t n; const char *const *text; sd_buf *kept; bool framed; } sd_to_judge; /* framed: prompts in a frame, no part of n_silent */
sd_status sd_behave__judge(sd_behaviour *out, const sd_to_judge *a, const sd_endpoint *judge, const sd_progress *progress, sd_err *err);
/* Internal: the answers kept [n], with the judge's verdicts, to on_text; none that did not come. */
sd_status sd_behave__show(const sd_behave_opt *o, const sd_reply *v, const sd_buf *kept, int64_t n, sd_err *err);
void sd_behave__count(sd_template_rate *r, const sd_reply *v, int64_t n);
/* Internal: of a run that goes on. left [n]: the prompts of v that have no answer in opt->before, *n_left of them; the others are filled, cls by the judge of `quick`. */
sd_status sd_behave__before(int64_t **left, int64_t *n_left, sd_behaviour *out, const sd_behave_opt *opt, sd_err *err);
/* Internal: it was asked the same, in the same way: by out's rendered_sha256 and judge. Else, and where `before` fails, out has no rendered_sha256: it is not to be kept. */
sd_status sd_behave__same(sd_behaviour *out, const sd_behave_opt *opt, sd_err *err);
/* Internal: hands what is judged to on_part: if st is an error, or if two minutes have passed since *last (seconds, sd_now). Gives st, or on_part's error after SD_OK. */
sd_status sd_behave__keep(const sd_behaviour *out, const sd_behave_opt *opt, double *last, sd_status st, sd_err *err);
/* Internal: the class by the first token or by the phrases. */
sd_class sd_behave__class(const sd_reply *r, bool quick);
/* Internal: jailbreak frames, "{}" standing for the request; questions of who it is. */
typedef struct sd_frame { const char *name, *wrap; } sd_frame;
enum { SD_N_FRAMES = 4, SD_N_IDENTITY = 6 };
extern const sd_frame sd_behave__frame[SD_N_FRAMES];
extern const char *const sd_behave__identity[SD_N_IDENTITY];
/* Internal: the part that needs no answers. */
sd_status sd_behave__utility(sd_utility *u, const sd_exec *ex, const sd_model *m, const sd_behave_opt *o, sd_err *err);

/* Internal: positions that the part without answers runs, about. */
int64_t sd_behave__utility_rows(const sd_model *m, const sd_behave_opt *o);

/* Tokens of a prompt in its template, guessed by its bytes. */
int64_t sd_behave_tokens(const char *text);
/* Seconds that all of it will take, and those that rows_perhaps would add, for the line that is told before the start: tokens by the bytes of the prompts, the
 * speed by a step of 128 rows. Not a result: it reads the clock. */
typedef struct sd_estimate { double seconds, perhaps; } sd_estimate;
sd_status sd_behave_estimate(sd_estimate *out, const sd_exec *ex, const sd_model *m, const sd_behave_opt *opt, sd_err *err);
/* Learns the refusal set of a model from the suites themselves (harmful against harmless prompts, at most n of each). n = 0 refusal tokens: the suites lack one side. */
sd_status sd_behave_refusal_set(sd_refusal_set *out, const sd_exec *ex, const sd_model *m, const sd_behave_opt *opt, int64_t n, sd_err *err);

#endif
