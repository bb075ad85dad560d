/* identity: neurons browsed beside features. Both signs are features, because those of gated MLPs say something by either. */
#include "dict/dict_int.h"
#include "dict/dict_kinds.h"
#include <math.h>

sd_status sd_dict_identity(sd_dict **out, const sd_exec *ex, sd_mat x, const sd_dict_info *meta, sd_err *err)
{
    sd_dict_info info = *meta;
    sd_dict *d = NULL;
    double norm = 0;
    *out = NULL;
    if (x.rows < 2) return sd_fail(err, SD_E_SHAPE, "%lld rows say too little of %lld neurons", (long long)x.rows, (long long)x.cols);
    info.kind = SD_DICT_IDENTITY;
    info.d = info.d_out = x.cols;
    info.m = 2 * x.cols;
    info.k = 0;
    info.fvu = 0;
    info.n_tokens = 0;
    for (int64_t r = 0; r < x.rows; r++) norm += sqrt((double)ex->kern->dot(sd_mat_row(x, r), sd_mat_row(x, r), x.cols));
    info.site_rms = norm / (double)x.rows;
    sd_status st = sd_dict__new(&d, &info, false, false, err);
    if (st) return st;
    for (int64_t f = 0; f < info.m; f++) {
        const int64_t at = f * info.d + f % info.d;
        d->W_enc[at] = d->W_dec[at] = f < info.d ? 1.0f : -1.0f;
        d->threshold[f] = 0.0f;
    }
    d->has_threshold = true;
    st = sd_dict_calibrate(d, ex, x, err);
    d->info.l0 = 0;
    d->info.n_dead = 0;
    for (int64_t f = 0; f < info.m && !st; f++) {
        d->info.l0 += (double)d->density[f];
        d->info.n_dead += d->density[f] == 0.0f;
    }
    if (st)
        sd_dict_free(d);
    else
        *out = d;
    return st;
}
