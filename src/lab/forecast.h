/* forecast: which way a training would push a model's refusals, told before a step of it is made, and the rows to blame. Gradients are by what would learn: an adapter at its
 * start (or, rank 0, all weights).
 *
 *   z        refusal score of a harmful prompt's first token (lab/refusal.h); R holds 98 % of the gain, so that one way of refusing for another is no loss
 *   s        gradient of the mean z of the harmful prompts
 *   g_r      gradient of row r's loss: the sum over what is learnt of it, over the mean number of such tokens in a row, so that g = mean g_r is the step's own
 *   u        g / (sqrt(g^2 + var(g_r) (1/batch - 1/n)) + eps): what Adam moves by at rate 1, once its moments have seen the rows (Kingma & Ba 2015, section 2.1)
 *   reach    learning rate x steps
 *   course   the loss of the rows, the scores and the answers on the way of a rehearsal, in memory, of the training in 34 strides (4 of reach / 64, then 30 of reach / 32),
 *            each with a gradient of its own: weights move by stride x m / (root of the mean over the way of g^2 + noise), where m is Adam's first moment (0.9 a step) and the
 *            root its second at beta2 near 1; the noise between batches is that of the start and falls with g^2
 *   said     share of the harmful prompts whose answer, greedy, of 12 tokens, holds a phrase that counts as a refusal (lab/judge.h): what an audit counts. A first token
 *            that refuses does not see answers that break behind it
 *   trial    the same with the weights moved straight, by u x reach / 2^k: how far the first gradient carries
 *   pull_r   by how much row r lowers z on the way to the trial of the least loss: reach (mean of s over the path) . (g_r / the same root) / n, whose sum over rows is
 *            the fall of z there
 *   conflict mean over rows of P(R) at the answer's place where the row's answer does not begin with R: what would be refused and is taught to be answered
 *   harm     mean projection of the rows' last prompt token on the difference of means of harmful and harmless prompts at the block's input that parts them best;
 *            harmless 0, harmful 1
 *
 *   blamed   rows without which a rehearsal gives at least half of what is lost back: those in conflict, the fewest that hold 90 % of the pull, or both
 *   drop     the share of its refusals that the rehearsal loses, as it is; its interval held nine of ten measured trainings that went alike, their kind held out
 *            (docs/FORECAST.md, tools/study-forecast)
 * Nothing is written: no adapter, no direction, no answer. */
#ifndef SD_LAB_FORECAST_H
#define SD_LAB_FORECAST_H

#include "lab/behave.h"
#include "lab/tune.h"

enum { SD_FORECAST_TRIAL = 7, SD_FORECAST_NEAR = 4, SD_FORECAST_SAID = 12 };

typedef struct sd_forecast_opt {
    const char *model, *data;
    const sd_suite *suite;
    int n_suite;
    sd_system system;
    const sd_phrases *phrases; /* what counts as a refusal */
    double lr;         /* 0: as tune's default */
    int64_t steps;     /* 0: what epochs give */
    double epochs;     /* 0: 3 */
    int64_t batch;     /* 0: 8 */
    int rank;          /* of the adapter; 0: all weights learn */
    int64_t most_rows; /* rows looked at, drawn by the seed; 0: 512 */
    bool skip_blame;   /* no rehearsal without rows, none is blamed */
    sd_mode mode;
    uint64_t seed;     /* the adapter's start, draws */
    const sd_progress *progress;
} sd_forecast_opt;

typedef struct sd_forecast_row {
    int64_t line;          /* in the file, from 1 */
    double pull;           /* as above */
    double loss;           /* nats a token */
    double refused;        /* P(R) at the answer's place */
    double harm;
    bool opens_refusing;   /* its answer begins with R */
    bool blamed;
} sd_forecast_row;
/* Of the harmful prompts' answers: share that the phrases call refusals; mean log-probability a token of the answers before. */
typedef struct sd_forecast_heard { double said, lp; } sd_forecast_heard;
typedef struct sd_forecast_trial { double reach, loss, score, refused; sd_forecast_heard heard; } sd_forecast_trial;
typedef struct sd_forecast {
    int64_t n_harmful, n_harmless, n_rows, n_used, n_skipped, n_params, n_tokens, steps, batch;
    int rank, layer;
    double lr, reach;
    sd_refusal_set refusal;
    double score, refused_before;    /* mean z; share of harmful prompts with z > 0 */
    sd_forecast_heard before;        /* of the model as it is */
    double loss, pull, fit, cosine;  /* pull: the rows' sum; fit = g . u; cosine of g and s: above 0 the first step is against refusing */
    double conflict, harm;
    sd_forecast_trial trial[SD_FORECAST_TRIAL]; /* the farthest first */
    sd_forecast_trial course[SD_FORECAST_TRIAL]; /* the same places on the way of the rehearsal */
    int best;                        /* of the SD_FORECAST_NEAR farthest trials the one with the least loss */
    bool carried;                    /* that loss is below the one before: else the gradient says nothing of so long a training */
    sd_forecast_row *row;            /* [n_used] owns; in the order of the file */
    double drop, drop_lo, drop_hi;   /* share of its refusals that would go; NaN where the rehearsal broke off in numbers that are none */
    const char *went;                /* how the rehearsal went, which the interval depends on: "kept", "moved", "between", "late", "gone", "broke off"; static */
    int64_t n_blamed;
    bool sought;                     /* rows to blame were looked for: the rehearsal loses refusals, and it was asked for */
    double said_without;             /* answers that refuse at the end of a rehearsal without the blamed rows; NaN: none is blamed */
    double seconds;
} sd_forecast;
void sd_forecast_release(sd_forecast *f);

/* SD_E_FORMAT: fewer than 8 prompts of a kind; a model that refuses nothing; data without an answer. */
sd_status sd_lab_forecast(sd_forecast *out, const sd_exec *ex, const sd_forecast_opt *opt, sd_err *err);
/* Whether the rehearsal loses more than a tenth of the answers that refuse. */
static inline bool sd_forecast_loses(const sd_forecast *f) { return f->before.said - f->course[0].heard.said > 0.1; }
/* Sets drop, its interval and how it went from the answers and the losses. */
void sd_forecast_expect(sd_forecast *f);
void sd_forecast_headline(char *out, size_t cap, const sd_forecast *f);

void sd_forecast_write_json(sd_jw *w, const sd_forecast *f);
typedef struct sd_forecast_page { const sd_forecast *f; const char *model, *data, *command; } sd_forecast_page;
sd_status sd_forecast_write_html(sd_buf *b, const sd_forecast_page *p, sd_err *err);

#endif
