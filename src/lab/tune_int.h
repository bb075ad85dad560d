/* What tune.c, tune_loss.c, tune_teach.c, tune_ckpt.c and tune_save.c share. */
#ifndef SD_LAB_TUNE_INT_H
#define SD_LAB_TUNE_INT_H

#include "base/map.h"
#include "lab/events.h"
#include "lab/tune_data.h"

typedef struct sd_teacher sd_teacher;

typedef struct sd_tune_run {
    const sd_exec *ex;
    const sd_tune_opt *opt;
    sd_tune_opt o; /* opt with its defaults filled in */
    const char *model_path;
    sd_model *m;
    sd_lora *lora;
    sd_learner *learner;
    sd_tune_set set;
    int64_t n_unit; /* samples, or pairs */
    int unit;       /* samples of a unit: 1 or 2 */
    int64_t *order; /* [n_unit] of epoch order_epoch */
    int64_t order_epoch;

    /* state of a step; all of it is in a checkpoint */
    int64_t step, total, position; /* position: units taken so far */
    int64_t n_tokens;
    float *mom, *var; /* [n] moments, or */
    sd_adam8 q;       /* their 8-bit form */
    sd_foresee *foresee; /* NULL: none */
    sd_planted *planted; /* NULL: none */
    sd_teacher *teacher; /* NULL: none */
    float *ref;       /* [set.n_tok] log-probabilities under the model as it was; NULL: not needed */
    double *loss;     /* [total] of each step */
    float *right;     /* [total] dpo: share of pairs in the right order */

    double *part;  /* scratch of the gradient's norm */
    int64_t *pick; /* [batch or more] units of this step */
    int64_t n_pick, cap_pick;
    sd_doc *doc; /* [max_docs] of a forward */
    float *row;  /* [micro_rows] */
    double grad_norm, lr_now;
    int64_t n_still; /* steps in a row whose gradient was 0, of this process */
    sd_events events;
    sd_buf line;
} sd_tune_run;

enum { SD_TUNE_MAX_DOCS = 256 };

/* One forward of the units pick[u0, u1): adds its share of the step's loss to *loss (n_count: targets of the whole
 * step) and, with grad, its gradient. */
typedef struct sd_tune_part {
    int64_t u0, u1;
    int64_t n_count; /* of the step */
} sd_tune_part;
sd_status sd_tune__part(sd_tune_run *r, const sd_tune_part *p, double *loss, int64_t *n_right, sd_err *err);
/* Fills r->ref for the units that the run will use. */
sd_status sd_tune__reference(sd_tune_run *r, const sd_progress *progress, sd_err *err);
/* tune_teach.c: r->opt's teacher, refused where its vocabulary is not the model's. */
sd_status sd_tune__teacher_open(sd_tune_run *r, sd_err *err);
void sd_tune__teacher_free(sd_teacher *t);
int64_t sd_tune__teacher_cols(const sd_teacher *t); /* 0 of NULL */
/* Runs r->doc [n_doc] through the teacher; *soft holds its last states of the targets that count, until the next call, with room for kl. */
sd_status sd_tune__teach(sd_tune_run *r, int n_doc, sd_learner_soft *soft, sd_err *err);
int64_t sd_tune__unit_tokens(const sd_tune_run *r, int64_t unit);
/* Unit at a position of the run; shuffles when an epoch begins. */
int64_t sd_tune__unit_at(sd_tune_run *r, int64_t position);

sd_status sd_tune__checkpoint(sd_tune_run *r, sd_err *err);
sd_status sd_tune__restore(sd_tune_run *r, sd_err *err);
void sd_tune__forget_checkpoint(const sd_tune_run *r);

/* Random weights of the configuration in model_path into dir, with the configuration and the tokenizer's files beside
 * them. */
sd_status sd_tune__begin_from_config(const char *model_path, const char *dir, uint64_t seed, sd_err *err);
/* The adapter, or the whole model. */
sd_status sd_tune__save(sd_tune_run *r, sd_err *err);

#endif
