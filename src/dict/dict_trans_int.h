/* The body of sd_trans, for dict_trans*.c. */
#ifndef SD_DICT_TRANS_INT_H
#define SD_DICT_TRANS_INT_H

#include "dict/dict_int.h"
#include "dict/dict_step.h"
#include "dict/dict_trans.h"
#include "dict/scan_int.h"
#include "num/kern_dict.h"

enum { SD_TRANS_ROWS = 32, SD_TRANS_CHUNK = 64 };

/* A parameter and Adam's moments. */
typedef struct sd_trans_par { float *p, *m, *v; int64_t n; } sd_trans_par;

/* Where a test wants the gradients instead of an update; S only with a skip. */
typedef struct sd_trans_tap { float *W, *D, *S, *b, *bd; } sd_trans_tap;

struct sd_trans {
    sd_dict_train_opt opt;
    bool skip, ready;
    int64_t n_step, n_chunk, cap;      /* planned steps; chunks of features; entries of a batch at most */
    sd_trans_par W, D, S, b, bd;       /* [m, d], [m, d_out], [d_out, d], [m], [d_out] */
    int32_t *last_step;                /* [m] */
    int64_t *last_fired;               /* [m] */
    float *mean;                       /* [d + d_out] */
    double scale, scale_out, max_norm, rms, out_rms;
    sd_choice pick;                    /* works on ptr, idx, val, spare and floor, which are the ones here */
    int64_t step, n_tokens;
    float *x, *y, *e;                  /* [B, d], [B, d_out], y' - y [B, d_out] */
    int64_t *ptr, *col;                /* [B + 1], [m + 1] */
    int32_t *idx, *ent_row;            /* [cap] */
    float *val, *dz, *ent_z, *ent_dz, *spare; /* [cap] */
    float *floor, *gb;                 /* [m] */
    double *sum_e2, *norm;             /* [row chunks], [n_chunk] */
    float *gbd, *gS;                   /* [d_out], [d_out, d] */
    float **grad;                      /* [workers] -> [2, the larger width] */
    double *rate;                      /* [n_step + 2], sd_ramp__rates */
    uint8_t *prod;                      /* scratch of the skip's products */
    size_t prod_bytes;
    const sd_trans_tap *tap;
    sd_scan *scan;
    sd_arena arena;
    int n_workers;
    const sd_kern *kern;
    const sd_kern_dict *kd;
};

/* dict_trans.c */
sd_status sd_trans__new(sd_trans **out, const sd_exec *ex, const sd_dict_train_opt *opt, sd_err *err);
sd_ramp sd_trans__ramp(const sd_trans *t);
sd_idle sd_trans__idle(const sd_trans *t);

#endif
