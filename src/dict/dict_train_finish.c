/* Owns the end of a run: rows that rested catch up, the normalisation is folded in, thresholds and figures come from held-out
 * rows.
 *
 * With x = (raw - mean) s and x' = sum z D + b_dec:  raw' = mean + x' / s = sum (z/s) D + (mean + b_dec/s), and
 *   z/s = (raw - (mean + b_dec/s)).W + b/s,
 * so W and the unit rows D stay, b_enc = b / s, b_dec = mean + b_dec / s, and activations are in raw units. */
#include "dict/dict_eval.h"
#include "dict/dict_train_int.h"
#include "base/par.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct job { const sd_dict_train *t; sd_dict *d; } job;

static void copy_rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const job *j = arg;
    const sd_dict_train *t = j->t;
    const int64_t d = t->opt.d;
    const size_t bytes = (size_t)d * sizeof(float);
    float *spare = t->grad[sd_par_worker()];
    const bool gated = t->opt.kind == SD_DICT_GATED;
    (void)chunk;
    for (int64_t f = begin; f < end; f++) {
        float *W = j->d->W_enc + f * d, *D = j->d->W_dec + f * d;
        memcpy(W, t->W + f * d, bytes);
        memcpy(D, t->D + f * d, bytes);
        for (int i = 0; i < 2; i++) {
            const sd_moment_row mo = sd_train__moments(t, i ? &t->moD : &t->moW, f, spare);
            memmove(spare, mo.m, bytes);
            memmove(spare + d, mo.v, bytes);
            sd_train__drift(t, f, t->step, i ? D : W, spare, spare + d);
        }
        double n2 = 0;
        for (int64_t i = 0; i < d; i++) n2 += (double)D[i] * (double)D[i];
        for (int64_t i = 0; i < d && n2 > 0 && !(t->opt.without & SD_WITHOUT_UNIT_DECODER); i++) D[i] = (float)((double)D[i] / sqrt(n2));
        j->d->b_enc[f] = (float)((double)(gated ? t->own[1][f] : t->b[f]) / t->scale);
        if (gated) { /* the JumpReLU it equals, as saelens.c reads it */
            const double e = exp((double)t->own[0][f]);
            for (int64_t i = 0; i < d; i++) W[i] = (float)(e * (double)W[i]);
            j->d->gate[f] = (float)(((double)t->own[1][f] - e * (double)t->b[f]) / t->scale);
        } else if (j->d->gate) {
            j->d->gate[f] = (float)((t->gate ? (double)t->own[0][f] : t->pick.theta) / t->scale);
        }
        if (!j->d->topk) j->d->threshold[f] = j->d->gate && j->d->gate[f] > 0 ? j->d->gate[f] : 0.0f;
    }
}

sd_status sd_dict__measure(sd_dict *d, const sd_exec *ex, sd_mat x, sd_mat y, sd_err *err)
{
    enum { ROWS = 1024 };
    sd_dict_metrics m = {0};
    sd_codes z = {0};
    float *back = NULL;
    sd_status st = sd_dict_metrics_init(&m, d->info.d_out, d->info.m, err);
    if (!st) st = sd_alloc(&back, (size_t)(ROWS * d->info.d_out) * sizeof *back, "reconstructions", err);
    for (int64_t r = 0; r < x.rows && !st; r += ROWS) {
        const int64_t n = x.rows - r < ROWS ? x.rows - r : ROWS;
        const sd_mat to = sd_mat_of(back, n, d->info.d_out);
        if ((st = sd_dict_encode(&z, ex, d, sd_mat_rows(x, r, n), err))) break;
        sd_dict_reconstruct(to, ex, d, &z, sd_mat_rows(x, r, n));
        sd_dict_metrics_add(&m, sd_mat_rows(y, r, n), to, &z);
    }
    if (!st) {
        sd_dict_metrics_finish(&m);
        d->info.fvu = m.fvu;
        d->info.l0 = m.l0;
    }
    sd_dict_metrics_release(&m);
    sd_codes_release(&z);
    sd_free(back);
    return st;
}

sd_status sd_dict_train_finish(sd_dict_train *t, const sd_exec *ex, sd_mat heldout, const sd_dict_info *meta, sd_dict **out, sd_err *err)
{
    sd_dict_info info = *meta;
    sd_dict *d = NULL;
    *out = NULL;
    SD_ASSERT(t->ready && ex->n_threads <= t->n_workers);
    if (heldout.cols != t->opt.d || heldout.rows < 2)
        return sd_fail(err, SD_E_SHAPE, "%lld held-out rows of width %lld cannot judge a dictionary of width %lld", (long long)heldout.rows, (long long)heldout.cols, (long long)t->opt.d);
    info.kind = t->opt.kind;
    info.d = t->opt.d;
    info.m = t->opt.m;
    info.k = t->gate ? 0 : t->opt.k;
    info.site_rms = t->site_rms;
    info.n_tokens = t->n_tokens;
    info.seed = t->opt.seed;
    info.n_dead = 0;
    for (int64_t f = 0; f < info.m; f++) info.n_dead += sd_train__is_dead(t, f);
    sd_status st = sd_dict__new(&d, &info, t->opt.kind == SD_DICT_TOPK, t->opt.kind != SD_DICT_TOPK && t->opt.kind != SD_DICT_STANDARD, err);
    if (st) return st;
    d->has_threshold = !d->topk;
    job j = {t, d};
    sd_parallel_for(ex->n_threads, info.m, t->chunk, copy_rows, &j);
    for (int64_t i = 0; i < info.d; i++) d->b_in[i] = d->b_dec[i] = (float)((double)t->mean[i] + (double)t->bd[i] / t->scale);
    st = sd_dict__check(d, "the trained dictionary", err);
    if (!st) st = sd_dict__measure(d, ex, heldout, heldout, err);
    if (!st) st = sd_dict_calibrate(d, ex, heldout, err);
    for (int64_t f = 0; f < info.m && !st; f++) {
        const float top = (float)((double)t->top[f] / t->scale);
        if (top > d->max_act[f]) d->max_act[f] = top;
    }
    if (st)
        sd_dict_free(d);
    else
        *out = d;
    return st;
}
