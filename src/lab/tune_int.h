/* What tune.c, tune_loss.c, tune_teach.c, tune_guard.c, tune_ckpt.c and tune_save.c share. */
#ifndef SD_LAB_TUNE_INT_H
#define SD_LAB_TUNE_INT_H

#include "base/map.h"
#include "lab/events.h"
#include "lab/tune_data.h"

typedef struct sd_teacher sd_teacher;

/* Units that steps take in an order of their own. */
typedef struct sd_tune_pool {
    const char *draw; /* names the order's draw */
    int64_t first, n; /* samples, or pairs */
    int64_t *order;   /* [n] of epoch `epoch` */
    int64_t epoch;
    int64_t position; /* units taken so far; in a checkpoint */
} sd_tune_pool;
enum { SD_POOL_DATA, SD_POOL_SAFETY, SD_N_POOLS };

/* A guard at work. */
typedef struct sd_guard_run {
    float *keep;         /* [n] lisa: the weights at the last turn (in a checkpoint); project, mask: before the step; safelora: the adapter while its projection is shown */
    float *safe;         /* [n] project, mask: the safety rows' gradient */
    sd_model *unaligned; /* safelora */
    int64_t align, user; /* lisa */
    int64_t n_guarded, n_projected;
} sd_guard_run;

typedef struct sd_tune_run {
    const sd_exec *ex;
    const sd_tune_opt *opt;
    sd_tune_opt o; /* opt with its defaults filled in */
    const char *model_path;
    sd_model *m;
    sd_lora *lora;
    sd_learner *learner;
    sd_tune_set set;
    int unit; /* samples of a unit: 1 or 2 */
    sd_tune_pool pool[SD_N_POOLS];
    sd_guard_run guard;

    /* state of a step; all of it is in a checkpoint */
    int64_t step, total;
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
    bool on_safety; /* the last step was of safety rows */
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
/* The gradient of the next batch of a pool; *loss, *n_right: its own. */
sd_status sd_tune__gather(sd_tune_run *r, int pool, double *loss, int64_t *n_right, sd_err *err);

/* tune_guard.c: whether the options go together. */
sd_status sd_tune__guard_check(const sd_tune_opt *o, sd_err *err);
/* After the rows are read and the learner is made. */
sd_status sd_tune__guard_open(sd_tune_run *r, sd_err *err);
void sd_tune__guard_close(sd_tune_run *r);
/* Before a step: lisa turns, project and mask look at the safety rows. *pool: whose rows the step learns. */
sd_status sd_tune__guard_before(sd_tune_run *r, int *pool, sd_err *err);
double sd_tune__guard_pull(sd_tune_run *r); /* lisa: the pull's loss, its gradient added */
void sd_tune__guard_after(sd_tune_run *r);  /* project and mask, once the weights have moved */
/* safelora: the adapter as it would be written, until it is put back. */
sd_status sd_tune__guard_show(sd_tune_run *r, sd_err *err);
void sd_tune__guard_hide(sd_tune_run *r);

sd_status sd_tune__checkpoint(sd_tune_run *r, sd_err *err);
/* r->o.keep_bytes of the run that is resumed: in bf16 mode what is kept is rounded, so another number gives other bits. 0 in older ones. */
sd_status sd_tune__kept(sd_tune_run *r, sd_err *err);
sd_status sd_tune__restore(sd_tune_run *r, sd_err *err);

/* Random weights of the configuration in model_path into dir, with the configuration and the tokenizer's files beside
 * them. */
sd_status sd_tune__begin_from_config(const char *model_path, const char *dir, uint64_t seed, sd_err *err);
/* The adapter, or the whole model. */
sd_status sd_tune__save(sd_tune_run *r, sd_err *err);

#endif
