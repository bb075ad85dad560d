/* A grid of numbers with names on its rows and columns: what a study shows as a heat map, whoever draws it (a terminal, a page). */
#ifndef SD_LAB_GRID_H
#define SD_LAB_GRID_H

#include "base/str.h"

typedef struct sd_grid {
    const char *title, *rows_are, *cols_are, *value; /* static: "layer", "position", "KL to the final layer (nats)" */
    int64_t rows, cols;
    double *v;        /* [rows, cols]; NaN: empty */
    char **row, **col;/* [rows], [cols] names, as text (sd_token_show was through them) */
    char **cell;      /* [rows, cols] a word a cell, or NULL; entries may be NULL */
    double lo, hi;    /* the colours' ends; diverging: -hi .. hi */
    bool diverging, up; /* up: the first row is drawn lowest */
} sd_grid;

/* Takes v, row, col zeroed; with_cells: cell too. */
sd_status sd_grid_init(sd_grid *g, int64_t rows, int64_t cols, bool with_cells, sd_err *err);
void sd_grid_release(sd_grid *g);
/* Sets *name to a copy. */
sd_status sd_grid_name(char **name, sd_err *err, const char *fmt, ...) SD_PRINTF(3, 4);
/* lo and hi from the numbers: diverging grids symmetric around 0, others from min(0, least). All equal: hi = lo + 1. */
void sd_grid_fit(sd_grid *g);
/* Where a value lies: 0..1, or -1..1 for a diverging grid, clipped; NaN stays NaN. */
double sd_grid_level(const sd_grid *g, double v);

#endif
