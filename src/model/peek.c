/* Owns: the arithmetic of peek.h. What forward.c does with a batch is done here for rows that someone brings. */
#include "model/peek.h"

#include <math.h>

static sd_status need_head(const sd_model *m, sd_err *err)
{
    return m->head ? SD_OK : sd_fail(err, SD_E_ARG, "logits are wanted of a model that was opened without its head");
}

sd_status sd_model_unembed(sd_mat logits, const sd_exec *ex, const sd_model *m, sd_mat x, sd_err *err)
{
    float *normed = NULL;
    void *scratch = NULL;
    int64_t d = m->cfg.d_model;
    sd_status st = need_head(m, err);
    if (!st) st = sd_alloc(&normed, (size_t)(x.rows * d) * sizeof(float), "rows for the head", err);
    if (!st) st = sd_alloc(&scratch, sd_linear_scratch(m->head, x.rows), "scratch of the head", err);
    if (st) goto done;
    sd_mat y = sd_mat_of(normed, x.rows, d);
    if (m->wire.norm == SD_NORM_LAYER) sd_layernorm(ex, y, x, m->final_norm.g, m->final_norm.b, m->cfg.norm_eps);
    else sd_rmsnorm(ex, y, x, m->final_norm.g, m->cfg.norm_eps);
    sd_linear_fwd(ex, m->head, logits, y, false, scratch);
    if (m->wire.logit_cap > 0) sd_softcap(ex, logits, m->wire.logit_cap);
done:
    sd_free(normed);
    sd_free(scratch);
    return st;
}

double sd_model_cap_logit(const sd_model *m, double logit)
{
    double cap = (double)m->wire.logit_cap;
    return cap > 0 ? cap * tanh(logit / cap) : logit;
}

void sd_model_embed_row(float *dst, const sd_model *m, int32_t token)
{
    sd_wmat_decode_row(dst, &m->embed, token);
    if (m->cfg.embed_scale != 1.0f)
        for (int64_t j = 0; j < m->cfg.d_model; j++) dst[j] *= m->cfg.embed_scale;
}

void sd_model_head_row(float *dst, const sd_model *m, int32_t token)
{
    sd_wmat_decode_row(dst, &m->head_w, token);
}

/* What a norm does to x [d] when its scale is frozen: y = r (x - mean) g + b, mean 0 for RMS norms. */
static void freeze(const sd_model *m, const float *x, double *mean, double *r)
{
    int64_t d = m->cfg.d_model;
    double sum = 0, sq = 0;
    for (int64_t j = 0; j < d && m->wire.norm == SD_NORM_LAYER; j++) sum += (double)x[j];
    *mean = sum / (double)d;
    for (int64_t j = 0; j < d; j++) sq += ((double)x[j] - *mean) * ((double)x[j] - *mean);
    *r = 1 / sqrt(sq / (double)d + (double)m->cfg.norm_eps);
}

sd_status sd_model_readout(double *dir, double *constant, const sd_model *m, const float *x, int32_t token, sd_err *err)
{
    int64_t d = m->cfg.d_model;
    const sd_norm *n = &m->final_norm;
    float *u = NULL;
    double mean, r, sum = 0;
    if (token < 0 || token >= m->cfg.n_vocab)
        return sd_fail(err, SD_E_ARG, "token %d is outside of the vocabulary of %lld", (int)token, (long long)m->cfg.n_vocab);
    sd_status st = sd_alloc(&u, (size_t)d * sizeof *u, "a row of the head", err);
    if (st) return st;
    sd_model_head_row(u, m, token);
    freeze(m, x, &mean, &r);
    *constant = 0;
    for (int64_t j = 0; j < d; j++) {
        dir[j] = (double)u[j] * (double)n->g[j] * r;
        sum += dir[j];
        if (n->b) *constant += (double)u[j] * (double)n->b[j];
    }
    for (int64_t j = 0; j < d && m->wire.norm == SD_NORM_LAYER; j++) dir[j] -= sum / (double)d;
    sd_free(u);
    return SD_OK;
}

/* Rows of `out`, parts of `whole`, through the norm behind the output matrix with the scale that `whole` gives it. */
static void through_post(const sd_model *m, const sd_norm *post, sd_mat out, const float *whole)
{
    int64_t d = m->cfg.d_model;
    double unused, r;
    freeze(m, whole, &unused, &r);
    for (int64_t h = 0; h < out.rows; h++) {
        float *y = sd_mat_row(out, h);
        double mean = 0;
        for (int64_t j = 0; j < d && m->wire.norm == SD_NORM_LAYER; j++) mean += (double)y[j] / (double)d;
        for (int64_t j = 0; j < d; j++) y[j] = (float)(((double)y[j] - mean) * r * (double)post->g[j]);
    }
}

sd_status sd_model_split_heads(sd_mat out, const sd_exec *ex, const sd_model *m, int layer, const float *z, sd_err *err)
{
    const sd_block *b = &m->block[layer];
    const sd_linear *wo = b->mat[SD_MAT_O].l;
    const float *bias = b->mat[SD_MAT_O].bias;
    int64_t H = m->cfg.n_head, dh = m->cfg.d_head, d = m->cfg.d_model;
    float *in = NULL, *all = NULL;
    void *scratch = NULL;
    sd_status st = sd_alloc_zero(&in, (size_t)((H + 1) * H * dh) * sizeof *in, "heads one by one", err);
    if (!st) st = sd_alloc(&all, (size_t)((H + 1) * d) * sizeof *all, "heads one by one", err);
    if (!st) st = sd_alloc(&scratch, sd_linear_scratch(wo, H + 1), "scratch of the output matrix", err);
    if (st) goto done;
    for (int64_t h = 0; h < H; h++) memcpy(in + h * (H * dh + dh), z + h * dh, (size_t)dh * sizeof *in);
    memcpy(in + H * H * dh, z, (size_t)(H * dh) * sizeof *in);
    sd_linear_fwd(ex, wo, sd_mat_of(all, H + 1, d), sd_mat_of(in, H + 1, H * dh), false, scratch);
    for (int64_t h = 0; h < H; h++)
        for (int64_t j = 0; j < d; j++) sd_mat_row(out, h)[j] = all[h * d + j] - (bias ? bias[j] : 0);
    if (b->attn_post.g) through_post(m, &b->attn_post, out, all + H * d);
done:
    sd_free(in);
    sd_free(all);
    sd_free(scratch);
    return st;
}
