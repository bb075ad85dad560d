/* Three edits a block and row: a dot product and an update each, under a thousandth of the block's products. */
#include "lab/ablate.h"

#include <math.h>

enum { LANES = 16 };

static sd_status places(sd_ablate *a, const sd_model *m, sd_err *err)
{
    static const sd_site_kind kind[] = {SD_SITE_RESID_PRE, SD_SITE_ATTN_OUT, SD_SITE_MLP_OUT};
    sd_status st = sd_alloc(&a->site, (size_t)m->n_layer_loaded * 3 * sizeof *a->site, "sites of an ablation", err);
    for (int l = 0; l < m->n_layer_loaded && !st; l++)
        for (int k = 0; k < 3; k++) a->site[a->n_site++] = (sd_site){kind[k], l};
    return st;
}

sd_status sd_ablate_init(sd_ablate *a, const sd_model *m, const float *unit, double w, sd_err *err)
{
    return sd_ablate_init_space(a, m, unit, 1, w, err);
}

sd_status sd_ablate_init_space(sd_ablate *a, const sd_model *m, const float *basis, int n, double w, sd_err *err)
{
    *a = (sd_ablate){.v = basis, .n_dir = n, .w = (float)w, .d = m->cfg.d_model, .layer = -1};
    return places(a, m, err);
}

sd_status sd_ablate_init_add(sd_ablate *a, const sd_model *m, const float *raw, int layer, double w, sd_err *err)
{
    *a = (sd_ablate){.v = raw, .n_dir = 1, .w = (float)w, .d = m->cfg.d_model, .layer = layer};
    sd_status st = sd_alloc(&a->site, sizeof *a->site, "the site of an addition", err);
    if (!st) a->site[a->n_site++] = (sd_site){SD_SITE_RESID_PRE, layer};
    return st;
}

void sd_ablate_release(sd_ablate *a)
{
    sd_free(a->site);
    *a = (sd_ablate){0};
}

/* In LANES interleaved sums, so that the compiler may use vectors; the order is fixed. */
static float dot(const float *u, const float *h, int64_t d)
{
    float s[LANES] = {0}, sum = 0;
    int64_t i = 0;
    for (; i + LANES <= d; i += LANES)
        for (int k = 0; k < LANES; k++) s[k] += u[i + k] * h[i + k];
    for (int k = 0; i < d; i++, k++) s[k] += u[i] * h[i];
    for (int k = 0; k < LANES; k++) sum += s[k];
    return sum;
}

static sd_status edit(void *self, sd_act *act, sd_err *err)
{
    sd_ablate *a = self;
    (void)err;
    for (int64_t i = 0; i < act->x.rows; i++) {
        float *h = sd_mat_row(act->x, i);
        for (const float *v = a->v; v < a->v + a->n_dir * a->d; v += a->d) { /* orthogonal: one after the other is the same */
            float c = a->layer >= 0 ? a->w : -a->w * dot(v, h, a->d);
            for (int64_t j = 0; j < a->d; j++) h[j] += c * v[j];
        }
    }
    a->n_rows += act->x.rows;
    return SD_OK;
}

sd_hook sd_ablate_hook(sd_ablate *a)
{
    return (sd_hook){.name = "ablate", .at = a->site, .n_at = a->n_site, .mode = SD_HOOK_EDIT, .fn = edit, .self = a};
}

double sd_dot(const float *a, const float *b, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += (double)a[i] * (double)b[i];
    return s;
}

double sd_cosine(const float *a, const float *b, int64_t n)
{
    double x = sd_dot(a, a, n), y = sd_dot(b, b, n);
    return x > 0 && y > 0 ? sd_dot(a, b, n) / sqrt(x * y) : NAN;
}

bool sd_unit(float *u, const float *v, int64_t d)
{
    double norm = sqrt(sd_dot(v, v, d));
    bool ok = isfinite(norm) && norm > 0;
    for (int64_t i = 0; i < d; i++) u[i] = ok ? (float)((double)v[i] / norm) : 0;
    return ok;
}
