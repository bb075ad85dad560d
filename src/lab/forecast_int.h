/* Shared by the files of the forecast. */
#ifndef SD_LAB_FORECAST_INT_H
#define SD_LAB_FORECAST_INT_H

#include "lab/forecast.h"
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

#endif
