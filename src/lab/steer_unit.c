/* Owns: how much a unit is. What the dictionary states comes first; what it does not, and what a plain vector cannot bring, is measured on
 * reference text where the caller has some. */
#include "lab/steer_int.h"

#include <math.h>

bool sd_steer__unit_row(float *out, const float *v, int64_t d)
{
    double norm2 = 0;
    for (int64_t i = 0; i < d; i++) norm2 += (double)v[i] * (double)v[i];
    for (int64_t i = 0; i < d && norm2 > 0; i++) out[i] = (float)((double)v[i] / sqrt(norm2));
    return norm2 > 0;
}

static double mean_norm(sd_mat x)
{
    double sum = 0;
    for (int64_t i = 0; i < x.rows; i++) {
        double n2 = 0;
        const float *h = sd_mat_row(x, i);
        for (int64_t j = 0; j < x.cols; j++) n2 += (double)h[j] * (double)h[j];
        sum += sqrt(n2);
    }
    return sum / (double)x.rows;
}

/* Standard deviation (divisor n) of the projections of rows on the unit vector along v. */
static double spread(sd_mat x, const float *v)
{
    double norm2 = 0, sum = 0, sum2 = 0;
    for (int64_t j = 0; j < x.cols; j++) norm2 += (double)v[j] * (double)v[j];
    if (norm2 == 0) return 0;
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < x.rows; i++) {
            double p = 0;
            const float *h = sd_mat_row(x, i);
            for (int64_t j = 0; j < x.cols; j++) p += (double)h[j] * (double)v[j];
            p /= sqrt(norm2);
            if (pass == 0) sum += p / (double)x.rows;
            else sum2 += (p - sum) * (p - sum);
        }
    return sqrt(sum2 / (double)x.rows);
}

static sd_status no_figure(const char *unit, const char *figure, bool dict, sd_err *err)
{
    sd_fail(err, SD_E_ARG, "steer: unit %s needs %s, which %s", unit, figure, dict ? "this dictionary does not state" : "a vector does not bring");
    return sd_hint(err, "use \"unit\":\"raw\", or a dictionary trained by sonde, which stores these figures");
}

sd_status sd_steer__unit(double *out, const sd_steer_spec *s, sd_site site, const sd_dict *dict, const sd_steer_from *from, int64_t col, sd_err *err)
{
    const sd_dict_info *info = dict ? sd_dict_get_info(dict) : NULL;
    sd_mat rows = {0};
    *out = 1;
    switch (s->unit) {
    case SD_UNIT_RAW: return SD_OK;
    case SD_UNIT_MAX_ACT:
        *out = info ? (double)sd_dict_max_act(dict, s->feature) : 0;
        return *out > 0 ? SD_OK : no_figure("max_act", "the feature's top activation", info != NULL, err);
    case SD_UNIT_RMS: *out = !info || info->kind == SD_DICT_CROSSCODER ? 0 : /* a crosscoder states those of all its sites together */ sd_dict_kind_maps(info->kind) ? info->out_rms : info->site_rms; break;
    case SD_UNIT_STD: *out = info && info->kind != SD_DICT_CROSSCODER ? (double)sd_dict_proj_std(dict, s->feature) : 0; break;
    }
    if (*out > 0) return SD_OK;
    if (!from->rows)
        return s->unit == SD_UNIT_RMS ? no_figure("rms", "the site's mean token norm", info != NULL, err)
                                      : no_figure("std", "the spread of the projection on reference text", info != NULL, err);
    sd_status st = from->rows(from->self, &rows, site, err);
    if (st) return st;
    const float *part = dict ? sd_dict_dec_row(dict, s->feature) + col : s->vector;
    *out = s->unit == SD_UNIT_RMS ? mean_norm(rows) : spread(rows, part);
    if (*out > 0 && isfinite(*out)) return SD_OK;
    return sd_fail(err, SD_E_ARG, "steer: on the reference text the %s of %s is %g, which is no unit", s->unit == SD_UNIT_RMS ? "mean token norm" : "spread of the projection",
                   sd_site_print((char[64]){0}, 64, site), *out);
}
