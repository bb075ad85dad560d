/* One pass over the decoder a part: m d multiply-adds, a second for 16 thousand features of width 576 and ten parts. */
#include "lab/direction_dict.h"

#include "lab/ablate.h"

#include <math.h>

sd_status sd_direction_parts(sd_direction_part *part, int n, int *n_out, const sd_dict *dict, const float *v, int64_t d, sd_err *err)
{
    const sd_dict_info *info = sd_dict_get_info(dict);
    float *left = NULL, *row = NULL;
    double whole = sd_dot(v, v, d), rest = whole;
    *n_out = 0;
    if (info->d_out != d) return sd_fail(err, SD_E_SHAPE, "the dictionary is of width %lld, the direction of %lld", (long long)info->d_out, (long long)d);
    sd_status st = sd_alloc(&left, (size_t)d * sizeof *left, "a direction", err);
    if (!st) st = sd_alloc(&row, (size_t)d * sizeof *row, "a direction", err);
    if (!st) memcpy(left, v, (size_t)d * sizeof *left);
    for (int i = 0; i < n && !st && rest > 0; i++) {
        double best = 0;
        int64_t at = -1;
        for (int64_t f = 0; f < info->m; f++) {
            const float *w = sd_dict_dec_row(dict, f);
            double norm2 = sd_dot(w, w, d), c = norm2 > 0 ? fabs(sd_dot(w, left, d)) / sqrt(norm2) : 0;
            if (c > best) best = c, at = f;
        }
        if (at < 0 || !sd_unit(row, sd_dict_dec_row(dict, at), d)) break;
        double c = sd_dot(row, left, d);
        for (int64_t j = 0; j < d; j++) left[j] -= (float)c * row[j];
        rest = sd_dot(left, left, d);
        part[(*n_out)++] = (sd_direction_part){at, sd_cosine(row, v, d), 1 - rest / whole};
    }
    sd_free(left);
    sd_free(row);
    return st;
}
