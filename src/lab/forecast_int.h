/* Shared by the files of the forecast. */
#ifndef SD_LAB_FORECAST_INT_H
#define SD_LAB_FORECAST_INT_H

#include "lab/forecast.h"
#include "lab/judge.h"
#include "lab/tune_data.h"

/* A text whose next token is asked for. */
typedef struct sd_forecast_prompt { const int32_t *tok; int64_t n; } sd_forecast_prompt;

/* Documents through a learner, as many at a time as it takes. */
typedef struct sd_forecast_pass {
    sd_learner *l;
    int n_layer;
    int64_t d, max_rows;
    const sd_refusal_set *set;
    int32_t *target; /* [max_rows] */
    float *row;      /* [max_rows] */
    sd_site *site;   /* [n_layer] */
    float *act;      /* where the watcher puts, [.., n_layer, d]; NULL: nowhere */
    sd_doc doc[64];
} sd_forecast_pass;
sd_status sd_forecast__pass_init(sd_forecast_pass *p, sd_learner *l, const sd_model *m, const sd_refusal_set *set, int64_t max_rows, sd_err *err);
void sd_forecast__pass_release(sd_forecast_pass *p);
/* lp [n, set->n]: log-probability of every token of R behind every prompt; act [n, n_layer, d] of its last token at every block's input, NULL: not wanted. */
sd_status sd_forecast__first(sd_forecast_pass *p, const sd_forecast_prompt *v, int64_t n, float *lp, float *act, sd_err *err);
/* Adds the gradient of sum_ik weight[i, k] lp_ik to the learner's. */
sd_status sd_forecast__first_gradient(sd_forecast_pass *p, const sd_forecast_prompt *v, int64_t n, const float *weight, sd_err *err);
/* Sum of -lp over what is learnt of one row; its gradient over `share` is added to the learner's. */
sd_status sd_forecast__row(sd_forecast_pass *p, const sd_tune_set *set, int64_t sample, double share, double *loss, sd_err *err);
/* Adds the gradient of the rows' losses over `share` to the learner's, several rows a pass. */
sd_status sd_forecast__rows(sd_forecast_pass *p, const sd_tune_set *set, const int64_t *which, int64_t n, double share, sd_err *err);
/* Mean loss a token of rows which [n]. */
sd_status sd_forecast__loss(sd_forecast_pass *p, const sd_tune_set *set, const int64_t *which, int64_t n, double *loss, sd_err *err);
/* z of lp [k], and its derivative by each lp (NULL: not wanted). */
double sd_forecast__score(const float *lp, int k, float *slope);


/* A rehearsal of a training on rows [n] from where the weights are, which it moves. */
typedef struct sd_forecast_way {
    sd_forecast_pass *pass;
    const sd_tune_set *set;
    const int64_t *row;
    int64_t n, steps;
    const float *noise;  /* [params] variance of a batch's gradient at the start */
    double share, reach; /* mean tokens learnt of a row */
    sd_status (*on_place)(void *self, int k, sd_err *err); /* at reach / 2^k, the nearest first; NULL: nobody looks */
    void *self;
} sd_forecast_way;
sd_status sd_forecast__rehearse(const sd_forecast_way *w, sd_err *err);

/* Rows that may be to blame, in [n_used]: what would be refused and is answered; the fewest that hold 90 % of the pull; both. */
enum { SD_SUSPECT_CONFLICT, SD_SUSPECT_PULL, SD_SUSPECT_BOTH, SD_N_SUSPECTS };
sd_status sd_forecast__suspects(const sd_forecast *f, int which, bool *in, int64_t *n, sd_err *err);

/* Answers of prompts v [n] by the learner as it stands: greedy, at most SD_FORECAST_SAID tokens. m, v, phrases, lp are borrowed until release. */
typedef struct sd_forecast_said {
    const sd_model *m;
    const sd_forecast_prompt *v;
    int64_t n, ld;
    const sd_phrases *phrases;
    sd_buf text;
    int32_t *before; /* [n, 1 + SD_FORECAST_SAID] tokens of the answer before the training, behind their number */
    int32_t *tok;    /* [n, ld] prompts with what is answered so far */
    float *look;     /* of a forward: [counted, R] */
    float *lp;       /* [n, R] out: log-probabilities of R at the first token */
} sd_forecast_said;
/* s has m, v, n, phrases and lp; the rest is made. */
sd_status sd_forecast__said_init(sd_forecast_said *s, sd_err *err);
void sd_forecast__said_release(sd_forecast_said *s);
/* What the prompts are answered now; is_before: that is the answer before. Answers live here alone. */
sd_status sd_forecast__said(sd_forecast_said *s, sd_forecast_pass *p, bool is_before, sd_forecast_heard *out, sd_err *err);

#endif
