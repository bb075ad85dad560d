/* A view of a row-major f32 matrix; passed by value, owns nothing. */
#ifndef SONDE_MAT_H
#define SONDE_MAT_H

#include <stdint.h>

typedef struct sd_mat {
    float *data;
    int64_t rows, cols;
    int64_t ld; /* floats from one row to the next, >= cols */
} sd_mat;

static inline sd_mat sd_mat_of(float *data, int64_t rows, int64_t cols)
{
    return (sd_mat){data, rows, cols, cols};
}
static inline float *sd_mat_row(sd_mat m, int64_t r) { return m.data + r * m.ld; }
static inline sd_mat sd_mat_rows(sd_mat m, int64_t r0, int64_t n)
{
    return (sd_mat){m.data + r0 * m.ld, n, m.cols, m.ld};
}

#endif
