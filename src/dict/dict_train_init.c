/* Owns: weights to start from that a file gives, in the layout of sae-lens. */
#include "dict/dict_format_int.h"
#include "dict/dict_train.h"

#include <math.h>

sd_status sd_dict_train_init(sd_dict_train *t, const char *path, sd_err *err)
{
    const sd_dict_train_opt *o = sd_dict_train_get_opt(t);
    const int64_t m = o->m, d = o->d;
    sd_weights *w = NULL;
    float *x = NULL;
    sd_status st = sd_weights_open(&w, path, err);
    if (!st) st = sd_alloc(&x, (size_t)(2 * m * d + m + d) * sizeof *x, "weights to start from", err);
    if (st) goto done;
    float *D = x + m * d, *b = D + m * d, *bd = b + m;
    st = sd_format__matrix(x, m, d, w, "W_enc", true, err);
    if (!st) st = sd_format__matrix(D, m, d, w, "W_dec", false, err);
    if (!st) st = sd_format__vector(b, m, w, "b_enc", err);
    if (!st) st = sd_format__vector(bd, d, w, "b_dec", err);
    for (int64_t i = 0; i < 2 * m * d + m + d && !st; i++)
        if (!isfinite(x[i])) st = sd_fail(err, SD_E_FORMAT, "%s: the weights to start from hold a number that is not finite", path);
    if (!st) sd_dict_train_set_weights(t, x, D, b, bd);
done:
    sd_free(x);
    sd_weights_close(w);
    return st;
}
