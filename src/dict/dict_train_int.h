/* The body of sd_dict_train, for the files dict_train*.c.
 *
 * Everything is in the trainer's units: x = (raw - mean) scale, rows of mean norm sqrt(d). Per step and row t, with xc = x - b_dec:
 *   p_f = xc.W_f + b_f,  z = relu of the k largest,  e = sum_f z_f D_f - xc = x' - x,  loss = mean_t |e_t|^2
 *   dz_tf = (2/B) e_t.D_f where z > 0
 *   gD_f = (2/B) sum_t z_tf e_t      gW_f = sum_t dz_tf xc_t      gb_f = sum_t dz_tf
 *   gb_dec = (2/B) sum_t e_t - sum_f (sum_t dz_tf) W_f
 * Matryoshka (Bussmann et al. 2025, arXiv 2503.17547) sums the loss over prefixes of the dictionary, each with its own e: what stands for
 * e_t above is then the sum of those of the prefixes that hold f. Kinds with a gate: dict_kind.h.
 * The trainer owns all features [0, m); every loop over rows of W and D is over fixed chunks of features, so a rank that owns a
 * part would run the same loops over its part. */
#ifndef SD_DICT_TRAIN_INT_H
#define SD_DICT_TRAIN_INT_H

#include "dict/dict_int.h"
#include "dict/dict_kind.h"
#include "dict/dict_step.h"
#include "dict/scan_int.h"
#include "num/kern_dict.h"
#include "num/kern_train.h"
#include "num/gemm_tile.h"

enum {
    SD_TRAIN_LEVELS = 5,      /* prefixes of a Matryoshka dictionary */
    SD_TRAIN_ROWS = 32,       /* rows of x a chunk of the forward pass */
    SD_TRAIN_MIN_CHUNK = 64,  /* features a chunk of the update, at least; at most 512 chunks */
    SD_TRAIN_MAX_CHUNKS = 512
};

/* Sums of a chunk of rows: the whole dictionary's |e|^2, that of prefixes and the second reconstruction, penalties. */
typedef struct sd_row_sums { double e2, more2, penalty, x2; int64_t n_active; } sd_row_sums;

/* Where a test wants a step's gradients instead of an update; each as the parameter it is of. */
typedef struct sd_train_tap { float *W, *D, *b, *bd, *own[SD_GATE_OWN]; } sd_train_tap;

/* Adam's moments of a matrix [m, d]: as floats, or (opt.moments8) in 8 bits with two scales a row. */
typedef struct sd_moments { float *m, *v; int8_t *qm; uint8_t *qv; float *scale; } sd_moments;

typedef struct sd_dense sd_dense; /* dict_train_dense.c */

/* The auxiliary loss, see dict_train_aux.c. */
typedef struct sd_aux {
    int64_t n_feat, n_row;     /* dead features and rows a step takes at most (tile multiples) */
    int k;
    sd_score *to_feat, *to_dim, *to_grad; /* [rows] x [feat], [rows] x [d], [feat] x [d] */
    uint8_t *pack_w, *pack_d, *pack_dt, *pack_g, *pack_x;
    int32_t *feat, *slot;      /* [n_feat] chosen features; [m] place of a feature among them, -1 */
    int64_t n_used, next;      /* chosen this step; where the round of dead features goes on */
    float *W, *D, *b;          /* [n_feat, d], [n_feat] gathered */
    float *z, *gz, *zt;        /* [n_row, n_feat], the same, [n_feat, n_row] */
    float *a, *x;              /* [n_row, d] error of the error, (2 alpha / n) of it in place; rows of xc */
    float *gD, *gW, *gb;       /* [n_feat, d], [n_feat] */
    float **spare;             /* [workers] -> [n_feat] */
    double *loss;              /* [chunks] */
} sd_aux;

/* See dict_train_route.c. A worker's: [m], [RANKS^2]. */
typedef struct sd_route_worker { int32_t *count, *hist; } sd_route_worker;
typedef struct sd_route {
    int64_t until, finish;       /* steps */
    float *mean, *unit, *zero;   /* [routes, d] mean of the unit rows of a group; the same, unit; [routes] */
    int64_t *n_row;              /* [routes] rows that made the mean */
    int32_t *of; float *cosine;  /* [B] a row's group */
    int32_t *list;               /* [routes, listed] ascending */
    int32_t *won, *won_of, *won_turn; /* [MEMORY, k], [MEMORY] each: the last rows' winners, groups and what was in turn (-1: all), a ring */
    int64_t at, n_won;           /* next place, places filled */
    int64_t *col; int32_t *row;  /* [routes + 1]; [rows] rows by group */
    int32_t *all; uint8_t *rank; /* [m] wins in memory, and their logarithm */
    float *look;                 /* [audited rows, m] */
    sd_route_worker *worker;     /* [workers] */
    sd_scan *scan;
    bool packed;
} sd_route;

struct sd_dict_train {
    sd_dict_train_opt opt;
    int64_t n_step, n_chunk, chunk; /* steps planned; feature chunks */
    /* parameters and Adam's moments */
    float *W, *D, *b, *bd;
    sd_moments moW, moD;
    float *mb, *vb, *mbd, *vbd;
    int32_t *last_step;        /* [m] step of the last update, 0: never */
    int64_t *last_fired;       /* [m] tokens seen when it fired last */
    float *top;                /* [m] top activation in the last part of the run */
    float *mean;               /* [d] */
    double scale, max_norm, site_rms;
    bool ready;                /* calibrated */
    int64_t step, n_tokens;
    /* a step's work */
    float *x, *e;              /* [B, d]: xc and e */
    /* entries: row r has ptr[r] .. ptr[r + 1], features ascending */
    int64_t cap_ent, *ptr;     /* [B + 1] */
    int32_t *idx;              /* [cap_ent] */
    float *val, *dz;           /* [cap_ent] p, then z; dloss/dp */
    float *db, *down[SD_GATE_OWN]; /* [cap_ent] with a gate: the same by b and by own parameters */
    int64_t *col;              /* [m + 1] entries by feature */
    int32_t *ent_row, *ent_at; /* [cap_ent] row; with a gate: place in the lists above */
    float *ent_z, *ent_dz;
    float *spare;              /* [cap_ent] the choice of a batch's best; z of a gate's entries */
    sd_row_sums *sums;         /* [row chunks] */
    float *row_e, *row_x;      /* [row chunks, d] sums of e and xc */
    float *part_bd;            /* [n_chunk, d] sums of gb_f W_f */
    double *part_norm;         /* [n_chunk] */
    float *gb, *gs, *gbd;      /* [m] by b; [m] sum of dloss/dp; [d] */
    /* nested prefixes: level l holds features [0, level[l]); the last is everything */
    int n_level;
    int64_t level[SD_TRAIN_LEVELS];
    /* kinds with a gate */
    const sd_gate *gate;
    float *own[SD_GATE_OWN], *mown[SD_GATE_OWN], *vown[SD_GATE_OWN], *gown[SD_GATE_OWN]; /* [m] */
    float *floor;              /* [m] what the scan compares with */
    float *ea;                 /* [B, d] second reconstruction's error */
    double weight, off;        /* of the penalty, steered towards k active features; log(L0 / k) of the last step */
    bool sparse;               /* the next step looks only at what the scan finds */
    sd_dense *dense;
    sd_choice pick;            /* works on scan, ptr, idx, val, spare and floor, which are the ones here */
    const sd_train_tap *tap;
    float **grad;              /* [workers] -> [4, d] gD, gW; a row's moments */
    double *rate;              /* [n_step + 2] lr sqrt(1 - beta2^t) / (1 - beta1^t) */
    sd_aux aux;
    sd_route route;
    sd_scan *scan;
    sd_arena arena;
    int n_workers;
    const sd_kern *kern;
    const sd_kern_dict *kd;
    const sd_kern_train *kt;
};

int64_t sd_train__row_chunks(const sd_dict_train *t); /* of a full batch */
sd_ramp sd_train__ramp(const sd_dict_train *t);
double sd_train__lr(const sd_dict_train *t, int64_t step); /* step from 1 */
static inline bool sd_train__is_dead(const sd_dict_train *t, int64_t f) { return t->last_fired[f] + t->opt.dead_after < t->n_tokens; }

/* dict_train_rows.c: xc from raw rows; then e, dz and the sums. */
void sd_train__centre(sd_dict_train *t, const sd_exec *ex, sd_mat raw);
sd_row_sums sd_train__residual(sd_dict_train *t, const sd_exec *ex, int64_t n);
sd_row_sums sd_train__sum_rows(const sd_dict_train *t, int64_t n);
double sd_train__variance(const sd_dict_train *t, int64_t n, const sd_row_sums *s); /* sum |x - mean x|^2 */

/* dict_train_pick.c: a batch's entries by rank or by gate. *bad: a row that is not finite, or -1. SD_E_SHAPE: more entries than the lists
 * hold (gates only). */
sd_status sd_train__pick(sd_dict_train *t, const sd_exec *ex, int64_t n, int64_t *bad, sd_err *err);
/* The value that `count` pre-activations of the first n rows of xc exceed, by brute force. */
float sd_train__value_at(sd_dict_train *t, int64_t n, int64_t count, float *spare);
static inline bool sd_train__by_batch(sd_dict_kind k) { return k == SD_DICT_BATCHTOPK || k == SD_DICT_MATRYOSHKA; }
/* Level l's errors [B, d]; slot 0 is the last level's, so that t->e is the whole dictionary's. After the residual: sums over the levels
 * from l on. */
static inline float *sd_train__level_e(const sd_dict_train *t, int l) { return t->e + (t->n_level - 1 - l) * t->opt.batch * t->opt.d; }
static inline int sd_train__level_of(const sd_dict_train *t, int64_t f)
{
    int l = 0;
    while (f >= t->level[l]) l++;
    return l;
}

/* dict_train_dense.c: loss and update by dense products, a block of features at a time; for kinds with a gate while many features
 * are active. */
sd_status sd_train__dense_new(sd_dict_train *t, const sd_exec *ex, sd_err *err);
void sd_train__dense_free(sd_dict_train *t);
size_t sd_train__dense_lay_out(sd_dict_train *t, uint8_t *base);
sd_row_sums sd_train__dense_residual(sd_dict_train *t, const sd_exec *ex, int64_t n);
double sd_train__dense_update(sd_dict_train *t, const sd_exec *ex, int64_t n);

/* dict_train_update.c */
typedef struct sd_update { sd_dict_train *t; int64_t n; sd_adam_k adam; bool keep_top; } sd_update;
sd_update sd_train__update_begin(sd_dict_train *t, int64_t n);
/* Feature f's rows and moments, from gradients that are used up; adds gs_f W_f to part. Returns |gradient|^2. */
double sd_train__apply(const sd_update *u, int64_t f, float *gD, float *gW, float *part);
double sd_train__update_end(const sd_update *u); /* biases and own parameters; sum of part_norm */
void sd_train__sort(sd_dict_train *t, int64_t n);
double sd_train__update(sd_dict_train *t, const sd_exec *ex, int64_t n); /* |gradient|^2 */
/* Row f's moments as floats: in place, or decoded into spare [2, d], from where put writes them back. */
typedef struct sd_moment_row { float *m, *v; } sd_moment_row;
sd_moment_row sd_train__moments(const sd_dict_train *t, const sd_moments *of, int64_t f, float *spare);
void sd_train__moments_put(const sd_dict_train *t, const sd_moments *of, int64_t f, sd_moment_row row);
void sd_train__move(sd_dict_train *t, const sd_exec *ex); /* rows that rest, to where the last step left them: SD_REST_DENSE alone */
/* Moves a row's parameters and moments to what dense Adam has after idle steps last_step+1 .. now. */
void sd_train__drift(const sd_dict_train *t, int64_t f, int64_t now, float *p, float *m, float *v);

/* dict_train_route.c */
bool sd_train__routed(const sd_dict_train *t);      /* this step's rows have groups */
bool sd_train__route_exact(const sd_dict_train *t); /* but all features compete in it */
sd_status sd_train__route_check(const sd_dict_train_opt *o, sd_err *err);
sd_status sd_train__route_new(sd_dict_train *t, const sd_exec *ex, sd_err *err);
void sd_train__route_free(sd_dict_train *t);
size_t sd_train__route_lay_out(sd_dict_train *t, uint8_t *base);
sd_status sd_train__route_seed(sd_dict_train *t, sd_mat x, sd_err *err);         /* x: the raw rows of the calibration, whose mean is known */
int64_t sd_train__route_rows(sd_dict_train *t, const sd_exec *ex, int64_t n);    /* their groups; a row that is not finite, or -1 */
void sd_train__route_learn(sd_dict_train *t, const sd_exec *ex, int64_t n);      /* from a step's entries */
int sd_train__route_parts(const sd_dict_train *t, sd_part *out);                 /* of a checkpoint; how many */
sd_status sd_train__route_restore(sd_dict_train *t, const char *path, int64_t at, int64_t n_won, sd_err *err); /* after they were read: numbers that lead nowhere are SD_E_FORMAT */
void sd_train__route_pick(sd_dict_train *t, const sd_exec *ex, int64_t n);       /* the entries of a step that is not exact: as sd_scan_topk's */
void sd_train__route_audit(sd_dict_train *t, const sd_exec *ex, int64_t n);      /* what they lost, in some steps */

/* dict_train_aux.c: memory, then the loss and its gradients for up to n_feat dead features; 0 when there are none. */
sd_status sd_train__aux_new(sd_dict_train *t, const sd_exec *ex, sd_err *err);
void sd_train__aux_free(sd_dict_train *t);
size_t sd_train__aux_lay_out(sd_dict_train *t, uint8_t *base);
double sd_train__aux(sd_dict_train *t, const sd_exec *ex, int64_t n);

/* dict_train.c: everything but the values, from resolved options. */
sd_status sd_train__new(sd_dict_train **out, const sd_exec *ex, const sd_dict_train_opt *opt, sd_err *err);

#endif
