/* What the two trainers (dict_train*.c, dict_trans*.c) do alike: defaults, the learning rate, the choice of a batch's best entries, idle
 * rows, and the parts of a checkpoint. */
#ifndef SD_DICT_STEP_H
#define SD_DICT_STEP_H

#include "dict/dict_train.h"
#include "dict/scan.h"
#include "file/weights.h"
#include "num/kern_dict.h"

enum {
    SD_TRAIN_AUDIT_STEPS = 16, SD_TRAIN_AUDIT_ROWS = 8,
    SD_TRAIN_MEMORY = 200 /* idle steps whose momentum still counts: (0.9 / sqrt(0.999))^200 = 8e-10 */
};
extern const double sd_train__beta1, sd_train__beta2, sd_train__eps; /* torch.optim.Adam's defaults */

/* Options that both trainers resolve alike: k, batch, lr, dead_after, warmup, decay. */
void sd_step__defaults(sd_dict_train_opt *o);

/* Linear warm-up over the first share of the steps, linear decay over the last, the lower of them where they meet; step from 1. */
typedef struct sd_ramp { double lr, warmup, decay; int64_t n_step; } sd_ramp;
double sd_ramp__at(const sd_ramp *r, int64_t step);
/* rate [n_step + 2]: lr sqrt(1 - beta2^t) / (1 - beta1^t), Adam's step where m / sqrt(v) is 1. */
void sd_ramp__rates(const sd_ramp *r, double *rate);
sd_adam_k sd_ramp__adam(const sd_ramp *r, int64_t step);

/* k of a step (from 1), while it anneals and after; the largest of a run. */
int sd_step__k(const sd_dict_train_opt *o, int64_t step);
static inline int sd_step__most_k(const sd_dict_train_opt *o) { return o->k_anneal > 0 && o->k_start > o->k ? o->k_start : o->k; }
/* Of m features those that did not fire in the last n tokens; last_fired: tokens seen when each did, 0: never. */
int64_t sd_step__silent(const int64_t *last_fired, int64_t m, int64_t n_tokens, int64_t n);
/* What both refuse of the resolved options. */
sd_status sd_step__check(const sd_dict_train_opt *o, int64_t n_step, sd_err *err);

/* Unit rows [m, d] drawn from seed and stream, `chunk` rows a piece of work. */
typedef struct sd_rows_draw { float *W; int64_t m, d, chunk; uint64_t seed; const char *stream; } sd_rows_draw;
void sd_step__unit_rows(const sd_exec *ex, const sd_rows_draw *r);
double sd_step__norm(const float *x, const double *mean, int64_t d); /* |x - mean|; mean NULL: 0 */

/* Parameters p and moments m, v [n] of a row that was last updated at step `last` as dense Adam has them after step `now`
 * (dict_train_update.c has the sum). last 0: never, nothing moves. */
typedef struct sd_idle { const sd_kern_dict *kd; const double *rate; int64_t n_step; sd_rest rest; } sd_idle;
void sd_step__catch_up(const sd_idle *i, int64_t last, int64_t now, float *p, float *m, float *v, int64_t n);

/* The n k best of n rows' pre-activations above 0, all of the batch together (BatchTopK: Bussmann et al. 2024, arXiv 2412.06410). The scan
 * collects what exceeds a cut a little below the last batch's smallest value. As long as it finds n k entries they contain the n k best,
 * so the choice is exact whatever the cut; otherwise the cut moves and the scan runs again. */
typedef struct sd_choice {
    sd_scan *scan;
    const sd_kern *kern;
    const float *W, *b;          /* [m, d], [m]; the update packs the rows of W that it changes (sd_scan_pack_row) */
    int64_t m, cap, n_step;      /* cap: entries of the lists */
    int k;
    int64_t *ptr;                /* [batch + 1] */
    int32_t *idx;                /* [cap] ascending within a row */
    float *val, *spare, *floor;  /* [cap], [cap], [m] */
    double theta, cut;           /* smallest chosen value, running mean over the steps; where the next scan cuts */
    int64_t n_audited, n_missed;
    bool frozen;                 /* a test's step: theta, cut and audit stay */
} sd_choice;
/* x: rows the scan reads; *bad a row that is not finite, or -1. */
sd_status sd_choice__best(sd_choice *c, const sd_exec *ex, sd_mat x, int64_t step, int64_t *bad, sd_err *err);
/* Some rows of some batches are scored again without int8, so that a run says what it lost. ptr NULL: k a row. */
void sd_choice__audit(sd_choice *c, const sd_exec *ex, sd_mat x, const int64_t *ptr, int64_t step);

/* A checkpoint's tensor; cols 0: a vector. */
typedef struct sd_part { char name[24]; sd_dtype dtype; int64_t rows, cols; void *data; } sd_part;
enum { SD_PARTS = 32 };
sd_status sd_parts__write(const char *path, const sd_part *p, int n, sd_err *err);
/* data NULL: only looks whether the tensor is there. */
sd_status sd_parts__read(const sd_weights *w, const sd_part *p, int n, sd_err *err);
/* Every row's stamp is a step that was, and its weights are finite. */
sd_status sd_parts__check_rows(const char *path, const sd_kern *k, const float *W, const int32_t *last_step, int64_t step, const sd_dict_train_opt *o, sd_err *err);

#endif
