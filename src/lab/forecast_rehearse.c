/* The training, in memory, in strides: Adam with what its moments would be after as many steps as a stride is long. The first moment decays by 0.9 a step (a stride of many
 * steps has none; without it the long strides of a short training swing about the valley that its steps follow); the second is the mean over the way (0.999 a step, so for
 * the thousand steps in which a mean and a decay differ little), with the noise between batches of the start, which falls with the gradient. */
#include "lab/forecast_int.h"

#include <math.h>

#define BETA1 0.9
#define ADAM_EPS 1e-8

typedef struct moments { float *m, *v; double m_sum, first; } moments; /* [n] each; of the weights in m; the first gradient's square */

static sd_status stride(const sd_forecast_way *w, moments *a, double at, double len, sd_err *err)
{
    const int64_t P = sd_learner_n(w->pass->l);
    float *g = sd_learner_g(w->pass->l), *p = sd_learner_w(w->pass->l);
    const double keep = pow(BETA1, len * (double)w->steps / w->reach);
    double gg = 0;
    memset(g, 0, (size_t)P * sizeof *g);
    sd_status st = sd_forecast__rows(w->pass, w->set, w->row, w->n, w->share * (double)w->n, err);
    if (st) return st;
    for (int64_t j = 0; j < P; j++) gg += (double)g[j] * (double)g[j];
    if (!a->first) a->first = fmax(gg, 1e-30);
    a->m_sum = keep * a->m_sum + 1 - keep;
    for (int64_t j = 0; j < P; j++) {
        a->m[j] = (float)(keep * (double)a->m[j] + (1 - keep) * (double)g[j]);
        a->v[j] += (float)(len * ((double)g[j] * (double)g[j] + (double)w->noise[j] * gg / a->first));
        p[j] -= (float)(len * (double)a->m[j] / a->m_sum / (sqrt((double)a->v[j] / (at + len)) + ADAM_EPS));
    }
    return SD_OK;
}

sd_status sd_forecast__rehearse(const sd_forecast_way *w, sd_err *err)
{
    const size_t bytes = (size_t)sd_learner_n(w->pass->l) * sizeof(float);
    moments a = {0};
    sd_status st = sd_alloc_zero(&a.m, bytes, "moments", err);
    if (!st) st = sd_alloc_zero(&a.v, bytes, "moments", err);
    for (int at = 0, k = SD_FORECAST_TRIAL - 1; k >= 0 && !st; k--) { /* in 64ths of the reach; places at 1, 2, 4, .. 64 */
        for (int len; at < 64 >> k && !st; at += len) {
            len = at < 4 ? 1 : 2;
            st = stride(w, &a, w->reach * at / 64, w->reach * len / 64, err);
        }
        if (!st && w->on_place) st = w->on_place(w->self, k, err);
    }
    sd_free(a.m);
    sd_free(a.v);
    return st;
}
