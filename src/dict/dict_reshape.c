#include "dict/dict_reshape.h"

#include "dict/dict_int.h"

#include <math.h>
#include <string.h>

/* Row f of w [m, d] becomes row . a. */
static void times(float *w, int64_t m, int64_t d, const double *a, double *scratch)
{
    for (int64_t f = 0; f < m; f++) {
        float *row = w + f * d;
        memset(scratch, 0, (size_t)d * sizeof *scratch);
        for (int64_t i = 0; i < d; i++)
            for (int64_t j = 0; j < d; j++) scratch[j] += (double)row[i] * a[i * d + j];
        for (int64_t j = 0; j < d; j++) row[j] = (float)scratch[j];
    }
}

sd_status sd_dict_reshape(sd_dict *dict, const sd_exec *ex, const double *a, const double *a_inv, const double *mean, sd_mat x, sd_err *err)
{
    const int64_t d = dict->info.d, m = dict->info.m;
    double *scratch = NULL, norm = 0;
    SD_ASSERT(!sd_dict_kind_maps(dict->info.kind) && x.cols == d);
    sd_status st = sd_alloc(&scratch, (size_t)d * sizeof *scratch, "a reshaped dictionary", err);
    if (st) return st;
    times(dict->W_enc, m, d, a, scratch);
    times(dict->W_dec, m, d, a_inv, scratch);
    times(dict->b_dec, 1, d, a_inv, scratch);
    for (int64_t i = 0; i < d; i++) dict->b_in[i] = dict->b_dec[i] = (float)(mean[i] + (double)dict->b_dec[i]);
    for (int64_t r = 0; r < x.rows; r++) {
        double s = 0;
        for (int64_t i = 0; i < d; i++) s += (double)sd_mat_row(x, r)[i] * (double)sd_mat_row(x, r)[i];
        norm += sqrt(s);
    }
    dict->info.site_rms = norm / (double)x.rows;
    sd_scan_free(dict->scan); /* packed from the weights as they were */
    dict->scan = NULL;
    sd_free(scratch);
    st = sd_dict__check(dict, "the reshaped dictionary", err);
    if (!st) st = sd_dict__measure(dict, ex, x, x, err);
    return st ? st : sd_dict_calibrate(dict, ex, x, err);
}
