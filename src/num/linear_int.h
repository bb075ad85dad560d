/* The inside of sd_linear: one struct, and one form a numeric mode as a row of functions. linear.c owns the struct, the
 * choice of the form and the edges of tiles; each linear_<form>.c knows its layout. */
#ifndef SD_NUM_LINEAR_INT_H
#define SD_NUM_LINEAR_INT_H

#include "num/kern_train.h"
#include "num/linear.h"

#include <stdatomic.h>

/* One product y (+)= x W^T + b, cut in tasks of (row tile x panel). */
typedef struct sd_linear_job {
    const sd_exec *ex;
    const sd_linear *l;
    sd_mat y, x;
    bool accumulate;
    const void *scratch; /* as prepare left it */
    uint8_t *stream;     /* where workers pack panels; NULL: they are packed */
    uint8_t *keep;       /* where the panels packed stay: l->packed; NULL: in stream, until they are multiplied */
    int64_t row_tiles;
} sd_linear_job;

typedef struct sd_linear_form {
    sd_mode mode;
    /* Bytes of a panel; false when they overflow. */
    bool (*panel_bytes)(const sd_linear *l, size_t *bytes);
    /* Panel p from w into dst; rows [SD_PANEL, cols] is scratch. */
    void (*pack)(const sd_linear *l, uint8_t *dst, const sd_wmat *w, int64_t p, float *rows);
    size_t (*scratch)(const sd_linear *l, int64_t n_rows);
    void (*prepare)(const sd_exec *ex, const sd_linear *l, sd_mat x, void *scratch);
    /* Rows [r0, r0 + m) of the packed panel w, m <= SD_ROW_TILE: sums into tile, rows ld apart. */
    void (*tile)(const sd_linear_job *j, const uint8_t *w, int64_t r0, int64_t m, float *tile, int64_t ld);
} sd_linear_form;

extern const sd_linear_form sd_linear__f32, sd_linear__bf16, sd_linear__q8;

enum {
    SD_ROW_TILE = 96,  /* a multiple of all the tile kernels' 12, 6 and 4 rows */
};

/* Of `packed`: not yet used, used once, being filled by one product while others pack for themselves, there. */
typedef enum sd_linear_state { SD_LINEAR_FRESH, SD_LINEAR_USED, SD_LINEAR_FILLING, SD_LINEAR_PACKED } sd_linear_state;

struct sd_linear {
    const sd_linear_form *form;
    int64_t rows, cols;
    int64_t n_panel; /* of SD_PANEL outputs; the last one is padded with zeros */
    size_t panel_bytes;
    uint8_t *packed; /* n_panel panels; NULL: packed from w when they are used */
    bool owns;       /* packed; else it is a pool's, and w is borrowed */
    atomic_int state; /* sd_linear_state; all that changes after sd_linear_new */
    sd_wmat w;
    int n_threads;   /* that may pack at once */
    float *bias;     /* [n_panel * SD_PANEL], owned; NULL: none */
    const sd_kern_train *turn; /* its transpose packs */
    sd_qkind qkind;  /* of the quantised form */
    bool grouped;    /* the CPU takes quantised rows in groups */
};

static inline const uint8_t *sd_linear__panel(const sd_linear *l, int64_t p)
{
    return l->packed + (size_t)p * l->panel_bytes;
}
/* Decodes rows [p*SD_PANEL ..) of w into rows [SD_PANEL, cols], zeros below the last. */
void sd_linear__decode_panel(float *rows, const sd_wmat *w, int64_t p);
/* The fast form's kind of a quantised matrix; false when it has none. */
bool sd_linear__qkind(const sd_wmat *w, sd_qkind *kind);
/* Panel p in the layout of kern_quant.h. */
void sd_linear__pack_q(uint8_t *dst, const sd_wmat *w, int64_t p, sd_qkind kind);

#endif
