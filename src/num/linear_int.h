/* The inside of sd_linear: one struct, one form a numeric mode. linear.c owns it and packs; each linear_<form>.c knows its layout. */
#ifndef SD_NUM_LINEAR_INT_H
#define SD_NUM_LINEAR_INT_H

#include "num/linear.h"

struct sd_linear {
    sd_mode mode;
    int64_t rows, cols;
    int64_t n_panel;      /* of SD_PANEL outputs; the last one is padded with zeros */
    size_t panel_bytes;
    uint8_t *packed;      /* n_panel panels; owned */
    float *bias;          /* [n_panel * SD_PANEL], owned; NULL: none */
};

/* One product y (+)= x W^T + b, cut in tasks of (row tile x panel). */
typedef struct sd_linear_run_arg {
    const sd_exec *ex;
    const sd_linear *l;
    sd_mat y, x;
    bool accumulate;
    const void *scratch;
    int64_t row_tiles;
} sd_linear_run_arg;

void sd_linear__run_f32(const sd_linear_run_arg *a);

/* The end of a task: tile [m, SD_PANEL] (rows ld apart; may be y itself) of panel p goes to rows [r0, r0 + m) of y. */
void sd_linear__store(const sd_linear_run_arg *a, int64_t p, int64_t r0, int64_t m, const float *tile, int64_t ld);

#endif
