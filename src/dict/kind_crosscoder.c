/* crosscoder (Lindsey et al. 2024, Sparse Crosscoders; by the best of a batch: Minder et al. 2025, arXiv 2504.02922). A sum of encoders
 * over parts and a decoder a part are one encoder and one decoder of the parts side by side, so it is trained as batchtopk on such
 * rows. With factors a_c of the columns: z = gate(W (a x - b')) = gate((W a)(x - b'/a)), x' = (z D + b') / a. */
#include "dict/dict_int.h"
#include "dict/dict_kinds.h"
#include <string.h>

void sd_dict_crosscoder(sd_dict *d, const sd_cross_part *part, int n_part, double rms)
{
    const int64_t w = d->info.d;
    int64_t at = 0;
    for (int p = 0; p < n_part; p++) {
        const double a = part[p].factor;
        SD_ASSERT(a > 0 && at + part[p].width <= w);
        for (int64_t f = 0; f < d->info.m; f++)
            for (int64_t i = f * w + at; i < f * w + at + part[p].width; i++) {
                d->W_enc[i] = (float)((double)d->W_enc[i] * a);
                d->W_dec[i] = (float)((double)d->W_dec[i] / a);
            }
        for (int64_t i = at; i < at + part[p].width; i++) {
            d->b_dec[i] = (float)((double)d->b_dec[i] / a);
            d->b_in[i] = (float)((double)d->b_in[i] / a);
        }
        at += part[p].width;
    }
    SD_ASSERT(at == w);
    memset(d->proj_std, 0, (size_t)d->info.m * sizeof *d->proj_std); /* a projection over sites of different size has no meaning */
    sd_scan_free(d->scan);
    d->scan = NULL;
    d->info.kind = SD_DICT_CROSSCODER;
    d->info.site_rms = rms;
}
