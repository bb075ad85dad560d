/* The body of sd_dict_train, for the files dict_train*.c.
 *
 * Everything is in the trainer's units: x = (raw - mean) scale, rows of mean norm sqrt(d). Per step and row t, with xc = x - b_dec:
 *   p_f = xc.W_f + b_f,  z = relu of the k largest,  e = sum_f z_f D_f - xc = x' - x,  loss = mean_t |e_t|^2
 *   dz_tf = (2/B) e_t.D_f where z > 0
 *   gD_f = (2/B) sum_t z_tf e_t      gW_f = sum_t dz_tf xc_t      gb_f = sum_t dz_tf
 *   gb_dec = (2/B) sum_t e_t - sum_f gb_f W_f
 * The trainer owns all features [0, m); every loop over rows of W and D is over fixed chunks of features, so a rank that owns a
 * part would run the same loops over its part. */
#ifndef SD_DICT_TRAIN_INT_H
#define SD_DICT_TRAIN_INT_H

#include "dict/dict_int.h"
#include "dict/dict_train.h"
#include "dict/scan_int.h"
#include "num/kern_dict.h"
#include "num/gemm_tile.h"

enum {
    SD_TRAIN_ROWS = 32,       /* rows of x a chunk of the forward pass */
    SD_TRAIN_MIN_CHUNK = 64,  /* features a chunk of the update, at least; at most 512 chunks */
    SD_TRAIN_MAX_CHUNKS = 512,
    SD_TRAIN_MEMORY = 200     /* idle steps whose momentum still counts: (0.9 / sqrt(0.999))^200 = 8e-10 */
};

/* Sums of a chunk of rows. */
typedef struct sd_row_sums { double e2, x2; int64_t n_active; } sd_row_sums;

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

struct sd_dict_train {
    sd_dict_train_opt opt;
    int64_t n_step, n_chunk, chunk; /* steps planned; feature chunks */
    /* parameters and Adam's moments */
    float *W, *D, *b, *bd;
    float *mW, *vW, *mD, *vD, *mb, *vb, *mbd, *vbd;
    int32_t *last_step;        /* [m] step of the last update, 0: never */
    int64_t *last_fired;       /* [m] tokens seen when it fired last */
    float *top;                /* [m] top activation in the last part of the run */
    float *mean;               /* [d] */
    double scale, max_norm, site_rms;
    bool ready;                /* calibrated */
    int64_t step, n_tokens;
    /* a step's work */
    float *x, *e;              /* [B, d]: xc and e */
    int32_t *idx;              /* [B, k] */
    float *val, *dz;           /* [B, k] */
    int64_t *col;              /* [m + 1] entries by feature */
    int32_t *ent_row;          /* [B k] */
    float *ent_z, *ent_dz;
    sd_row_sums *sums;         /* [row chunks] */
    float *row_e, *row_x;      /* [row chunks, d] sums of e and xc */
    float *part_bd;            /* [n_chunk, d] sums of gb_f W_f */
    double *part_norm;         /* [n_chunk] */
    float *gb, *gbd;           /* [m], [d] */
    float **grad;              /* [workers] -> [2, d] gD, gW */
    double *rate;              /* [n_step + 2] lr sqrt(1 - beta2^t) / (1 - beta1^t) */
    sd_aux aux;
    sd_scan *scan;
    sd_arena arena;
    int n_workers;
    const sd_kern *kern;
    const sd_kern_dict *kd;
};

extern const double sd_train__beta1, sd_train__beta2, sd_train__eps;

int64_t sd_train__row_chunks(const sd_dict_train *t); /* of a full batch */
double sd_train__lr(const sd_dict_train *t, int64_t step); /* step from 1 */
static inline bool sd_train__is_dead(const sd_dict_train *t, int64_t f) { return t->last_fired[f] + t->opt.dead_after < t->n_tokens; }

/* dict_train_rows.c: xc from raw rows; then e, dz and the sums. */
void sd_train__centre(sd_dict_train *t, const sd_exec *ex, sd_mat raw);
sd_row_sums sd_train__residual(sd_dict_train *t, const sd_exec *ex, int64_t n);
double sd_train__variance(const sd_dict_train *t, int64_t n, const sd_row_sums *s); /* sum |x - mean x|^2 */

/* dict_train_update.c */
void sd_train__sort(sd_dict_train *t, int64_t n);
double sd_train__update(sd_dict_train *t, const sd_exec *ex, int64_t n); /* |gradient|^2 */
/* Moves a row's parameters and moments to what dense Adam has after idle steps last_step+1 .. now. */
void sd_train__drift(const sd_dict_train *t, int64_t f, int64_t now, float *p, float *m, float *v);

/* dict_train_aux.c: memory, then the loss and its gradients for up to n_feat dead features; 0 when there are none. */
sd_status sd_train__aux_new(sd_dict_train *t, const sd_exec *ex, sd_err *err);
void sd_train__aux_free(sd_dict_train *t);
size_t sd_train__aux_lay_out(sd_dict_train *t, uint8_t *base);
double sd_train__aux(sd_dict_train *t, const sd_exec *ex, int64_t n);

/* dict_train.c: everything but the values, from resolved options. */
sd_status sd_train__new(sd_dict_train **out, const sd_exec *ex, const sd_dict_train_opt *opt, sd_err *err);

#endif
