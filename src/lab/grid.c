/* Owns: the memory of a grid and its scale. */
#include "lab/grid.h"

#include <math.h>
#include <stdio.h>

sd_status sd_grid_init(sd_grid *g, int64_t rows, int64_t cols, bool with_cells, sd_err *err)
{
    size_t n = 0;
    g->rows = rows;
    g->cols = cols;
    if (!sd_mul_size((size_t)rows, (size_t)cols, &n) || n > SIZE_MAX / sizeof(double))
        return sd_fail(err, SD_E_NOMEM, "a grid of %lld x %lld does not fit in the address space", (long long)rows, (long long)cols);
    sd_status st = sd_alloc(&g->v, n * sizeof *g->v, "a heat map", err);
    if (!st) st = sd_alloc_zero(&g->row, (size_t)rows * sizeof *g->row, "a heat map", err);
    if (!st) st = sd_alloc_zero(&g->col, (size_t)cols * sizeof *g->col, "a heat map", err);
    if (!st && with_cells) st = sd_alloc_zero(&g->cell, n * sizeof *g->cell, "a heat map", err);
    if (st) {
        sd_grid_release(g);
        return st;
    }
    for (size_t i = 0; i < n; i++) g->v[i] = NAN;
    return SD_OK;
}

void sd_grid_release(sd_grid *g)
{
    for (int64_t i = 0; g->row && i < g->rows; i++) sd_free(g->row[i]);
    for (int64_t i = 0; g->col && i < g->cols; i++) sd_free(g->col[i]);
    for (int64_t i = 0; g->cell && i < g->rows * g->cols; i++) sd_free(g->cell[i]);
    sd_free(g->v);
    sd_free(g->row);
    sd_free(g->col);
    sd_free(g->cell);
    *g = (sd_grid){0};
}

sd_status sd_grid_name(char **name, sd_err *err, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    sd_free(*name);
    *name = sd_strndup(text, sd_utf8_valid_prefix(sd_slice_of(text)));
    return *name ? SD_OK : sd_fail(err, SD_E_NOMEM, "out of memory: a name in a heat map");
}

void sd_grid_fit(sd_grid *g)
{
    double lo = 0, hi = 0;
    for (int64_t i = 0; i < g->rows * g->cols; i++) {
        if (!isfinite(g->v[i])) continue;
        if (g->v[i] < lo) lo = g->v[i];
        if (g->v[i] > hi) hi = g->v[i];
    }
    if (g->diverging) hi = fmax(hi, -lo), lo = -hi;
    if (!(hi > lo)) hi = lo + 1;
    g->lo = lo;
    g->hi = hi;
}

double sd_grid_level(const sd_grid *g, double v)
{
    if (isnan(v)) return v;
    double t = g->diverging ? v / g->hi : (v - g->lo) / (g->hi - g->lo);
    return fmax(g->diverging ? -1 : 0, fmin(1, t));
}
