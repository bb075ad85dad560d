#include "lab/learn_identity.h"
#include "dict/dict_kinds.h"
#include "num/stats.h"
#include <string.h>

enum { DEFAULT_ROWS = 16384 };

sd_status sd_lab_learn_identity(sd_learn_result *out, const sd_exec *ex, sd_act_source src, int64_t n_rows, const sd_identity_opt *opt,
                                const sd_progress *progress, sd_err *err)
{
    const double t0 = opt->t0 > 0 ? opt->t0 : sd_now();
    const int64_t asked = opt->n_rows ? opt->n_rows : DEFAULT_ROWS, want = asked < n_rows ? asked : n_rows;
    float *x = NULL;
    double limit = 0;
    int64_t n = 0;
    sd_dict *d = NULL;
    *out = (sd_learn_result){.ce_recovered = 1, .dead_by = {-1, -1, -1, -1}};
    sd_status st = sd_alloc(&x, (size_t)(want * src.d) * sizeof *x, "rows", err);
    while (!st && n < want) {
        sd_act_block b;
        if ((st = src.next(src.self, &b, err)) || b.x.rows == 0) break;
        if (limit == 0) {
            if ((st = sd_median_norm(&limit, b.x, err))) break;
            limit *= SD_SINK_FACTOR;
        }
        for (int64_t r = 0; r < b.x.rows && n < want; r++) {
            const float *row = sd_mat_row(b.x, r);
            if ((double)ex->kern->dot(row, row, src.d) > limit * limit) {
                out->n_dropped++;
                continue;
            }
            memcpy(x + n++ * src.d, row, (size_t)src.d * sizeof *x);
        }
        sd_progress_update(progress, "read", (double)n, (double)want, "rows");
        if (sd_progress_cancelled(progress)) st = sd_fail(err, SD_E_CANCELLED, "stopped before anything was written");
    }
    out->source_seconds = out->train_seconds = sd_now() - t0; /* nothing is trained */
    if (!st) st = sd_dict_identity(&d, ex, sd_mat_of(x, n, src.d), &opt->meta, err);
    if (!st) st = sd_dict_save(d, opt->dir, err);
    if (!st) {
        const sd_dict_info *i = sd_dict_get_info(d);
        out->l0 = i->l0, out->dead = i->n_dead, out->n_tokens = out->n_heldout = n;
        out->dead_after = n;
        out->seconds = sd_now() - t0;
        out->finish_seconds = out->seconds - out->train_seconds;
        out->tok_s = (double)n / out->seconds;
    }
    sd_dict_free(d);
    sd_free(x);
    return st;
}
