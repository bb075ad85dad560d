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
    int64_t rows;        /* of a task: a multiple of 32 or of the form's, at most SD_MOST_TILE */
    int64_t row_tiles;   /* so many of them */
    int64_t block_tiles; /* that run over all panels before the next ones */
} sd_linear_job;

/* Rows [r0, r0 + m) of panel p's columns of a matrix that a layer will read; m <= SD_MOST_TILE, r0 a multiple of SD_QGROUP_ROWS. */
typedef struct sd_linear_part {
    sd_mat x;      /* the whole matrix */
    void *scratch; /* of the layer that reads it */
    int64_t p, r0, m;
    const float *tile; /* [m, SD_PANEL] */
} sd_linear_part;

typedef struct sd_linear_form {
    sd_mode mode;
    int64_t row_tile; /* rows of a task but where blocks are a thread's own: a multiple of SD_ROW_TILE that divides SD_ROW_BLOCK */
    /* Bytes of a panel; false when they overflow. */
    bool (*panel_bytes)(const sd_linear *l, size_t *bytes);
    /* Panel p from w into dst; rows [SD_PANEL, cols] is scratch. */
    void (*pack)(const sd_linear *l, uint8_t *dst, const sd_wmat *w, int64_t p, float *rows);
    size_t (*scratch)(const sd_linear *l, int64_t n_rows);
    void (*prepare)(const sd_exec *ex, const sd_linear *l, sd_mat x, void *scratch);
    /* What prepare would make of a part; NULL: it needs the whole row. */
    void (*prepare_part)(const sd_exec *ex, const sd_linear *l, const sd_linear_part *part);
    /* Rows [r0, r0 + m) of the packed panel w, m <= j->rows: sums into tile, rows ld apart. */
    void (*tile)(const sd_linear_job *j, const uint8_t *w, int64_t r0, int64_t m, float *tile, int64_t ld);
    /* n panels w[i] of products job[i] with the same single row, into y[i] [SD_PANEL] (sd_kern.spreads); NULL: one after another. */
    void (*spread)(const sd_linear_job *const *job, const uint8_t *const *w, float *const *y, int n);
} sd_linear_form;

extern const sd_linear_form sd_linear__f32, sd_linear__bf16, sd_linear__i16, sd_linear__q8;

enum {
    SD_ROW_TILE = 96,  /* a multiple of all the tile kernels' 12, 6 and 4 rows, and of SD_QGROUP_ROWS */
    SD_MOST_TILE = 192, /* a form's row_tile at most */
    SD_ROW_BLOCK = 384, /* rows that run over all panels before the next ones: their x stays in the level-2 cache */
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
    const sd_kern *kern;
};

static inline bool sd_linear__is_packed(const sd_linear *l)
{
    return atomic_load_explicit(&l->state, memory_order_acquire) == SD_LINEAR_PACKED;
}
/* Columns of panel p of a matrix of `cols`. */
static inline int64_t sd_linear__panel_cols(int64_t cols, int64_t p)
{
    return cols - p * SD_PANEL < SD_PANEL ? cols - p * SD_PANEL : SD_PANEL;
}
/* Task i of products with the same rows and n_panel panels together: a panel and a tile of rows. */
typedef struct sd_linear_place { int64_t p, r0; } sd_linear_place;
static inline sd_linear_place sd_linear__place(const sd_linear_job *j, int64_t n_panel, int64_t i)
{
    const int64_t most = j->block_tiles, first = i / (most * n_panel) * most, left = j->row_tiles - first, here = left < most ? left : most;
    const int64_t at = i - first * n_panel;
    return (sd_linear_place){at / here, (first + at % here) * j->rows};
}
/* A job with its rows cut in tasks; y as it is. */
sd_linear_job sd_linear__job(const sd_exec *ex, const sd_linear *l, sd_mat x, const void *scratch);
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
