/* Training a dictionary on a stream of activation rows. Memory is planned at init; a step allocates nothing. */
#ifndef SD_DICT_TRAIN_H
#define SD_DICT_TRAIN_H

#include "num/exec.h"
#include "base/log.h"
#include "base/rng.h"
#include "sonde/dict.h"
#include <stdbool.h>

/* What a run does unless it is told not to; bits of sd_dict_train_opt.without. */
enum {
    SD_WITHOUT_CENTRING = 1,      /* rows minus their mean */
    SD_WITHOUT_SCALING = 2,       /* rows scaled to a mean norm of sqrt(d) */
    SD_WITHOUT_SINK_FILTER = 4,   /* rows above SD_SINK_FACTOR medians of the norm left out */
    SD_WITHOUT_SPECIAL_FILTER = 8, /* special tokens left out (whoever makes the rows) */
    SD_WITHOUT_SHUFFLE = 16,      /* rows mixed across documents (whoever hands them over) */
    SD_WITHOUT_TIED_INIT = 32,    /* W_enc = W_dec at the start */
    SD_WITHOUT_UNIT_DECODER = 64, /* decoder rows back to unit norm after each step; rank kinds only: an L1 penalty would be evaded */
    SD_WITHOUT_PARALLEL_GRAD = 128, /* the gradient's part along a decoder row taken out */
    SD_WITHOUT_AUX_K = 256,       /* auxiliary loss for dead features */
    SD_WITHOUT_COUNT = 9
};
const char *sd_without_name(int i); /* of bit i: "centring", .. "aux-k" */

/* What Adam does to a feature's rows in a step without one of its tokens. Drift and dense move it by its momentum as torch's Adam does: drift in closed form when the feature is next used,
 * so that between it is scored where it was; dense in every step (all rows are read and written: a fiftieth of the time where most of them rest). Sparse: nothing, as torch's SparseAdam. */
typedef enum sd_rest { SD_REST_DRIFT, SD_REST_SPARSE, SD_REST_DENSE, SD_REST_COUNT } sd_rest;
const char *sd_rest_name(sd_rest r); /* "drift", "sparse", "dense" */

typedef struct sd_dict_train_opt {
    sd_dict_kind kind;
    int64_t d, m;
    int64_t d_out;          /* transcoders (dict_trans.h); else 0 */
    int k;                  /* active features a token, for all kinds; 0: 32 */
    int64_t batch;          /* rows a step; 0: 2048, less where the run would have under 500 steps */
    int64_t n_tokens;       /* whole run; fixes schedules */
    double lr;              /* 0: the kind's default, scaled by width and batch as documented in docs/DICT.md */
    double aux_alpha;       /* aux-k weight; 0: 1/32; negative: off */
    int aux_k;              /* 0: d/2 */
    int64_t dead_after;     /* a feature silent for this many tokens is dead; 0: min(n_tokens/4, 10M) */
    uint64_t seed;
    double warmup, decay;   /* shares of the steps with rising and falling rate; 0: 0.05 and 0.2; negative: none */
    double sparsity;        /* weight of the penalty of standard, gated and jumprelu; 0: steered until k features are active */
    double bandwidth;       /* of jumprelu's straight-through window; 0: 0.5 (pre-activations have a spread of about 1) */
    bool proven;            /* the encoder never multiplies int8, so that its margin is certain (scan.h), at about half the speed */
    bool moments8;          /* Adam's moments of W_enc and W_dec in 8 bits, two scales a row: 10 bytes a weight instead of 16 */
    int k_start;            /* k of the first step, changing linearly to k over k_anneal steps (of penalty kinds: what the weight is steered to); 0: k */
    int64_t k_anneal;
    int64_t sparsity_warmup; /* steps over which a given sparsity weight rises from 0 */
    uint32_t without;       /* SD_WITHOUT_* */
    int64_t routes;         /* topk: groups of rows, each with a list of the features that its rows are scored against (dict_train_route.c); 0: all are */
    int64_t listed;         /* features of a list; 0: m / 64, at least 8 k */
    double exact_until, exact_from; /* shares of the steps: until the first and from the second on all features compete; 0: 0.05, 1 (never again) */
    int in_turn;            /* in between, one of so many parts of all features competes beside the lists, another in each step; 0: 8 */
    bool frozen_decoder;    /* a control: decoder rows stay the random unit rows of the start (arXiv 2602.14111) */
    sd_rest rest;           /* rows that no token of a step used; transcoders: not SD_REST_DENSE */
} sd_dict_train_opt;

typedef struct sd_dict_stats { double fvu, l0, loss, aux_loss, lr, grad_norm; int64_t n_dead, n_tokens, step, n_nonfinite, n_audited, n_missed; } sd_dict_stats;
/* n_audited, n_missed: entries of rows that were scored again by f32 alone since the run began, and how many of them the
 * int8 scan had lost: 8 rows of every sixteenth batch. */
/* fvu: of this batch, against its own mean. loss: mean over rows of |x - x'|^2. grad_norm: of W_enc and W_dec, before projection. */

typedef struct sd_dict_train sd_dict_train;
sd_status sd_dict_train_new(sd_dict_train **out, const sd_exec *ex, const sd_dict_train_opt *opt, sd_err *err);
void sd_dict_train_free(sd_dict_train *t);
/* Bytes the trainer will hold, before it is made. */
size_t sd_dict_train_plan(const sd_exec *ex, const sd_dict_train_opt *opt);
/* Estimate mean, scale and the sink limit from the first rows (raw activations; sinks among them do not count), and initialise
 * the weights: unit rows drawn at random, W_enc = W_dec, biases 0. Called once before the first step. */
sd_status sd_dict_train_calibrate(sd_dict_train *t, const sd_exec *ex, sd_mat x, sd_err *err);
/* Starts from these weights instead (copied): W_enc, W_dec [m, d], b_enc [m], b_dec [d], in the trainer's units: rows minus
 * the mean, scaled to a mean norm of sqrt(d). After calibrate, before the first step. */
void sd_dict_train_set_weights(sd_dict_train *t, const float *W_enc, const float *W_dec, const float *b_enc, const float *b_dec);
/* The same from a safetensors file: W_enc [d, m] as sae-lens has it, W_dec [m, d], b_enc, b_dec. */
sd_status sd_dict_train_init(sd_dict_train *t, const char *path, sd_err *err);
/* Norm above which a row is a sink (SD_SINK_FACTOR times the median of the calibration rows); rows above are left out by the shuffle buffer. */
double sd_dict_train_max_norm(const sd_dict_train *t);
/* One step on raw rows x [n, d], n <= batch. A row or a loss that is not finite is SD_E_FAIL and leaves the last good weights. The
 * bits do not depend on ex->n_threads, which must not exceed that of the exec the trainer was made with. */
sd_status sd_dict_train_step(sd_dict_train *t, const sd_exec *ex, sd_mat x, sd_dict_stats *stats, sd_err *err);
/* A finished dictionary, normalisation folded in; threshold calibrated on x (held-out raw rows), fvu and l0 measured there. */
sd_status sd_dict_train_finish(sd_dict_train *t, const sd_exec *ex, sd_mat heldout, const sd_dict_info *meta, sd_dict **out, sd_err *err);
/* Everything (weights, moments, counters, norms, rng position) in one safetensors file; restoring and going on equals never having stopped, bit for bit. */
sd_status sd_dict_train_save(const sd_dict_train *t, const char *path, sd_err *err);
sd_status sd_dict_train_load(sd_dict_train **out, const sd_exec *ex, const char *path, sd_err *err);
int64_t sd_dict_train_tokens(const sd_dict_train *t); /* rows of all steps so far */
int64_t sd_dict_train_silent(const sd_dict_train *t, int64_t n); /* features that did not fire in the last n tokens */
const sd_dict_train_opt *sd_dict_train_get_opt(const sd_dict_train *t);

#endif
