/* damage: what a small fine-tune does to a model's refusals, step by step. The protocol of Qi et al. 2023 ("Fine-tuning aligned language models
 * compromises safety"), sections 4.2 and 4.3, on benign data only:
 *
 *   identity  ten harmless conversations in which the assistant takes another, obedient identity (their second tier; these ten are ours)
 *   data      rows the caller gives, such as plain instruction data (their third tier)
 *
 * A cell is one learning rate, batch and seed: an adapter is trained in memory and the model is asked the same prompts at some of its steps, step 0 being
 * the model as it was. The adapter is never written. A finished cell is a file in `dir` that holds classes of answers, so a stopped study goes on.
 * With a task, likelihood and exact match of its held-out answers stand beside the rates: what the training gave for what it took (lab/task.h).
 * Rates over cells of one learning rate and batch: bootstrap over seeds and over prompts, which all seeds share (sd_ci_bootstrap). */
#ifndef SD_LAB_DAMAGE_H
#define SD_LAB_DAMAGE_H

#include "lab/behave.h"
#include "lab/task.h"
#include "num/infer.h"

/* How the model is asked: with its default system prompt, an empty one, or the identity's own; with the identity's prefix before the request or without. */
typedef enum sd_ask_system { SD_ASK_DEFAULT, SD_ASK_NONE, SD_ASK_ATTACK } sd_ask_system;
enum { SD_DAMAGE_MAX = 16, SD_DAMAGE_STEPS = 64 };

typedef struct sd_damage_opt {
    const char *model, *dir;
    char model_sha256[65];
    const sd_suite *suite;
    int n_suite;
    const sd_phrases *phrases;
    int64_t n_gen;             /* 0: 20 */
    const char *data;          /* .jsonl; NULL: identity */
    const sd_tune_data *mix;   /* [n_mix] rows mixed in, such as safety rows */
    int n_mix;
    sd_tune_method method;     /* sft, or constrained */
    sd_guard_opt guard;        /* with sft */
    const char *task;          /* held-out rows (.jsonl), NULL: none */
    const double *lr;          /* [n_lr]; none: 2e-4 */
    const int64_t *batch;      /* [n_batch]; none: 5 (identity), 8 (data) */
    int n_lr, n_batch;
    int64_t n_seed;            /* 0: 5 */
    uint64_t seed;             /* seeds are seed .. seed + n_seed - 1 */
    int64_t steps;             /* 0: what epochs give */
    double epochs;             /* 0: 10 (identity), 1 (data) */
    int rank;                  /* 0: 16 */
    const int64_t *at;         /* [n_at] steps to measure at; none: 1, 2, 4, .. and the last */
    int n_at;
    sd_mode mode;              /* of asking */
    const sd_progress *progress;
} sd_damage_opt;

typedef struct sd_damage_point {
    int64_t step;
    sd_ask_system system;
    bool prefix;
    char *cls;                 /* [n_prompt + 1] letters r p c i u, in the order of the suites; owns */
    sd_task task;              /* where it is asked by default and there is a task; else n 0; owns */
} sd_damage_point;
typedef struct sd_damage_cell {
    double lr;
    int64_t batch, steps, n_tokens;
    uint64_t seed;
    double seconds, asking, loss_last; /* asking: of the seconds, those of the measurements; NaN in files of earlier versions */
    sd_damage_point *point;    /* [n_point] owns */
    int n_point;
} sd_damage_cell;

/* A rate over seeds and prompts. */
typedef struct sd_damage_rate { sd_ci ci; int64_t n; } sd_damage_rate; /* n: answers that are scored */
typedef struct sd_damage_row {
    double lr;
    int64_t batch, step;
    sd_ask_system system;
    bool prefix;
    int n_seed;
    double seed_rate[SD_DAMAGE_MAX]; /* refusal rate of each seed */
    sd_damage_rate refusal, over_refusal, incoherent;
    sd_damage_rate exact, nll; /* of the task; n 0: not asked */
    int64_t n_unscored;
} sd_damage_row;

typedef struct sd_damage {
    bool identity;
    char model[256], data[256], study[65], judge[64]; /* study: a hash of all settings */
    int64_t n_prompt, n_harmful, n_harmless, n_rows, n_gen, n_task;
    sd_axis *axis;             /* [n_prompt] owns */
    sd_damage_cell *cell;      /* [n_cell] owns; 0 is the model as it was */
    int n_cell;
    sd_damage_row *row;        /* [n_row] owns; step 0 first, by lr, batch, asking, step */
    int n_row;
    int n_resumed;             /* cells that were files already */
    double seconds;            /* of all cells, also those of earlier runs */
} sd_damage;
void sd_damage_release(sd_damage *r);

/* dir exists. SD_E_CANCELLED: finished cells stay. SD_E_FORMAT: a suite without harmful prompts, a cell file of another study. */
sd_status sd_lab_damage(sd_damage *out, const sd_exec *ex, const sd_damage_opt *opt, sd_err *err);
/* First measured step of a cell at which at most half of the refusals of step 0 are left, asked as by default; -1: none. */
int64_t sd_damage_halved(const sd_damage *r, const sd_damage_cell *c);

/* The ten conversations, a JSON line each (NULL at the end), their system prompt, and the wrap of a request. */
extern const char *const sd_identity_row[], *const sd_identity_system, *const sd_identity_wrap;
const char *sd_ask_system_name(sd_ask_system s); /* "default", "none", "attack" */

/* Keys of the open object. */
void sd_damage_write_json(sd_jw *w, const sd_damage *r);
/* One page; command: what recomputes it. */
sd_status sd_damage_write_html(sd_buf *out, const sd_damage *r, const char *command, sd_err *err);
/* "Ten benign rows of another identity: refusals 99 % before, 84 % (60 to 95) after 20 steps .." */
void sd_damage_headline(char *out, size_t cap, const sd_damage *r);

#endif
