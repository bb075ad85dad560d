/* Owns: dictionaries whose rows are scaled by themselves before they are encoded (their reconstruction is scaled back):
 *   layer norm      in (x - mu) / (sd + 1e-5), out y sd + mu; mu and sd over the row's own numbers, sd with n - 1: SAELens' layer_norm, and what
 *                   openai/sparse_autoencoder does where its activation is TopK
 *   constant norm   in x sqrt(d) / |x|, out y |x| / sqrt(d): SAELens' constant_norm_rescale; a row of zeros stays one */
#include "dict/dict_int.h"
#include "base/par.h"
#include <math.h>

typedef struct scaling { double shift, in, out; } scaling; /* (x - shift) in, y out + shift */

static scaling of_row(const sd_dict *d, const float *x)
{
    const int64_t n = d->info.d;
    double mean = 0, sum = 0;
    for (int64_t i = 0; i < n && d->row_norm == SD_ROW_LAYER; i++) mean += (double)x[i] / (double)n;
    for (int64_t i = 0; i < n; i++) sum += ((double)x[i] - mean) * ((double)x[i] - mean);
    if (d->row_norm == SD_ROW_LAYER) {
        const double sd = sqrt(sum / (double)(n > 1 ? n - 1 : 1));
        return (scaling){mean, 1 / (sd + 1e-5), sd};
    }
    const double norm = sqrt(sum), root = sqrt((double)n);
    return (scaling){0, norm > 0 ? root / norm : 0, norm / root};
}

double sd_dict_row_scale(const sd_dict *d, const float *x) { return d->row_norm ? of_row(d, x).out : 1; }
bool sd_dict_scales_rows(const sd_dict *d) { return d->row_norm != SD_ROW_AS_IS; }

void sd_dict__scale_in(float *to, const sd_dict *d, const float *x)
{
    const scaling s = of_row(d, x);
    for (int64_t i = 0; i < d->info.d; i++) to[i] = (float)(((double)x[i] - s.shift) * s.in);
}

typedef struct job { float *to; const sd_dict *d; sd_mat x; } job;
static void scale_rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const job *j = arg;
    (void)chunk;
    for (int64_t r = begin; r < end; r++) sd_dict__scale_in(j->to + r * j->x.cols, j->d, sd_mat_row(j->x, r));
}

sd_status sd_dict__scaled(sd_mat *out, const sd_exec *ex, const sd_dict *d, sd_mat x, sd_err *err)
{
    *out = sd_mat_of(NULL, x.rows, x.cols);
    const sd_status st = sd_alloc(&out->data, (size_t)(x.rows * x.cols + 1) * sizeof(float), "scaled rows", err);
    if (st) return st;
    job j = {out->data, d, x};
    sd_parallel_for(ex->n_threads, x.rows, 16, scale_rows, &j);
    return SD_OK;
}

void sd_dict__scale_out(sd_mat y, const sd_dict *d, sd_mat x)
{
    for (int64_t r = 0; r < y.rows; r++) {
        const scaling s = of_row(d, sd_mat_row(x, r));
        for (int64_t i = 0; i < y.cols; i++) sd_mat_row(y, r)[i] = (float)((double)sd_mat_row(y, r)[i] * s.out + s.shift);
    }
}
