#include "lab/evaluate_rows.h"
#include "base/mem.h"
#include "lab/harvest.h"
#include "num/exec.h"
#include "num/stats.h"
#include <math.h>
#include <string.h>

static sd_mat columns(sd_mat m, int64_t at, int64_t n) { return (sd_mat){m.data + at, m.rows, n, m.ld}; }

/* Rows of a block that are no sinks, closed up. */
static int64_t keep(float *to, const sd_exec *ex, sd_mat x, double limit)
{
    int64_t n = 0;
    for (int64_t r = 0; r < x.rows; r++) {
        const float *row = sd_mat_row(x, r);
        if ((double)ex->kern->dot(row, row, x.cols) > limit * limit) continue;
        memcpy(to + n++ * x.cols, row, (size_t)x.cols * sizeof *to);
    }
    return n;
}

sd_status sd_lab_evaluate_rows(sd_rows_eval *e, const sd_exec *ex, const sd_dict *dict, sd_act_source src, sd_err *err)
{
    const sd_dict_info *in = sd_dict_get_info(dict);
    double limit = SD_SINK_FACTOR * in->site_rms;
    int64_t cap = 0, seen = 0;
    float *x = NULL;
    sd_codes z = {0};
    e->n_kept = 0;
    if (src.d != in->d) return sd_fail(err, SD_E_SHAPE, "the dictionary is for rows of %lld, the sites together have %lld", (long long)in->d, (long long)src.d);
    sd_status st = sd_dict_metrics_init(&e->whole, in->d, in->m, err);
    for (int p = 0; p < e->n_part && !st; p++) st = sd_dict_metrics_init(&e->part[p], e->width[p], in->m, err);
    while (!st) {
        sd_act_block b;
        if ((st = sd_harvest_block(&b, &limit, &src, err)) || b.x.rows == 0) break;
        if (b.x.rows > cap) { /* rows and reconstructions */
            sd_free(x);
            x = NULL;
            if ((st = sd_alloc(&x, (size_t)(2 * b.x.rows * src.d) * sizeof *x, "rows", err))) break;
            cap = b.x.rows;
        }
        const int64_t n = keep(x, ex, b.x, limit);
        e->n_kept += b.x.rows - n;
        if (n == 0) continue;
        const sd_mat rows = sd_mat_of(x, n, src.d), back = sd_mat_of(x + cap * src.d, n, src.d);
        if ((st = sd_dict_encode(&z, ex, dict, rows, err))) break;
        sd_dict_decode(back, ex, dict, &z);
        sd_dict_metrics_add(&e->whole, rows, back, &z);
        for (int64_t p = 0, at = 0; p < e->n_part; at += e->width[p++])
            sd_dict_metrics_add(&e->part[p], columns(rows, at, e->width[p]), columns(back, at, e->width[p]), &z);
        seen += n;
    }
    if (!st && seen == 0) st = sd_fail(err, SD_E_FORMAT, "the text gave no row to measure on");
    if (!st) sd_dict_metrics_finish(&e->whole);
    for (int p = 0; p < e->n_part && !st; p++) sd_dict_metrics_finish(&e->part[p]);
    sd_codes_release(&z);
    sd_free(x);
    return st;
}

void sd_rows_eval_release(sd_rows_eval *e)
{
    sd_dict_metrics_release(&e->whole);
    for (int p = 0; p < e->n_part; p++) sd_dict_metrics_release(&e->part[p]);
}
