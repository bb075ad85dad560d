/* Owns one step: the batch's entries, the residual, the gradients and Adam, all sparse but for the skip's two dense products.
 *   e = y' - y    dz_tf = (2/n) e_t.D_f    gD_f = (2/n) sum_t z_tf e_t    gW_f = sum_t dz_tf x_t    gb_f = sum_t dz_tf
 *   gb_dec = (2/n) sum_t e_t               gS = (2/n) sum_t e_t x_t^T
 * Sums are in order of chunks of fixed size, so the bits do not depend on the number of threads. Idle rows move on their momentum as
 * dense Adam's do (dict_train_update.c has the sum). */
#include "dict/dict_trans_int.h"
#include "base/par.h"
#include "num/gather.h"
#include "num/product.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

typedef struct job { sd_trans *t; sd_mat raw; int64_t n; sd_adam_k adam; } job;

static void normalise(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const job *j = arg;
    const sd_trans *t = j->t;
    const int64_t d = t->opt.d, o = t->opt.d_out;
    const float s = (float)t->scale, so = (float)t->scale_out;
    (void)chunk;
    for (int64_t r = begin; r < end; r++) {
        const float *from = sd_mat_row(j->raw, r);
        for (int64_t i = 0; i < d; i++) t->x[r * d + i] = (from[i] - t->mean[i]) * s;
        for (int64_t i = 0; i < o; i++) {
            t->y[r * o + i] = (from[d + i] - t->mean[d + i]) * so;
            t->e[r * o + i] = t->bd.p[i] - t->y[r * o + i];
        }
    }
}

static void residual(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const job *j = arg;
    sd_trans *t = j->t;
    const int64_t o = t->opt.d_out;
    const float two_over_n = (float)(2.0 / (double)j->n);
    double e2 = 0;
    for (int64_t r = begin; r < end; r++) {
        float *e = t->e + r * o;
        const int64_t i0 = t->ptr[r], n = t->ptr[r + 1] - i0;
        const sd_gather rows = {t->D.p, t->idx + i0, n, o};
        sd_gather_add(t->kern, e, &rows, t->val + i0);
        sd_gather_dot(t->kern, t->dz + i0, &rows, e);
        for (int64_t i = i0; i < i0 + n; i++) t->dz[i] *= two_over_n;
        e2 += (double)t->kern->dot(e, e, o);
    }
    t->sum_e2[chunk] = e2;
}

/* Entries by feature; rows ascend within one, which fixes the order of every sum. */
static void sort(sd_trans *t, int64_t n)
{
    const int64_t m = t->opt.m;
    int64_t *at = t->col;
    memset(at, 0, (size_t)(m + 1) * sizeof *at);
    for (int64_t i = 0; i < t->ptr[n]; i++) at[t->idx[i] + 1]++;
    for (int64_t f = 0; f < m; f++) at[f + 1] += at[f];
    for (int64_t r = 0; r < n; r++)
        for (int64_t i = t->ptr[r]; i < t->ptr[r + 1]; i++) {
            const int64_t to = at[t->idx[i]]++;
            t->ent_row[to] = (int32_t)r;
            t->ent_z[to] = t->val[i];
            t->ent_dz[to] = t->dz[i];
        }
    for (int64_t f = m; f > 0; f--) at[f] = at[f - 1];
    at[0] = 0;
}

static void update_rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const job *j = arg;
    sd_trans *t = j->t;
    const int64_t d = t->opt.d, o = t->opt.d_out;
    const float two_over_n = (float)(2.0 / (double)j->n);
    const sd_idle idle = sd_trans__idle(t);
    float *gW = t->grad[sd_par_worker()], *gD = gW + d; /* one after the other: cleared in one go */
    double norm = 0;
    for (int64_t f = begin; f < end; f++) {
        const int64_t w = f * d, q = f * o;
        float gb = 0.0f;
        t->gb[f] = 0.0f;
        if (t->col[f] == t->col[f + 1]) continue;
        memset(gW, 0, (size_t)(d + o) * sizeof *gW);
        const int64_t i0 = t->col[f], n = t->col[f + 1] - i0;
        for (int64_t i = i0; i < i0 + n; i++) {
            t->ent_z[i] *= two_over_n;
            gb += t->ent_dz[i];
        }
        sd_gather_add(t->kern, gD, &(sd_gather){t->e, t->ent_row + i0, n, o}, t->ent_z + i0);
        sd_gather_add(t->kern, gW, &(sd_gather){t->x, t->ent_row + i0, n, d}, t->ent_dz + i0);
        t->gb[f] = gb;
        norm += (double)t->kern->dot(gD, gD, o) + (double)t->kern->dot(gW, gW, d);
        t->last_fired[f] = t->n_tokens;
        if (t->tap) {
            memcpy(t->tap->W + w, gW, (size_t)d * sizeof *gW);
            memcpy(t->tap->D + q, gD, (size_t)o * sizeof *gD);
            continue;
        }
        sd_step__catch_up(&idle, t->last_step[f], t->step - 1, t->W.p + w, t->W.m + w, t->W.v + w, d);
        t->kd->adam(t->W.p + w, t->W.m + w, t->W.v + w, gW, &j->adam, d);
        sd_scan_pack_row(t->scan, t->W.p, f);
        if (!t->opt.frozen_decoder) {
            sd_step__catch_up(&idle, t->last_step[f], t->step - 1, t->D.p + q, t->D.m + q, t->D.v + q, o);
            t->kd->adam(t->D.p + q, t->D.m + q, t->D.v + q, gD, &j->adam, o);
        }
        t->last_step[f] = (int32_t)t->step;
    }
    t->norm[chunk] = norm;
}

static void update_skip(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const job *j = arg;
    sd_trans *t = j->t;
    const int64_t d = t->opt.d;
    (void)chunk;
    for (int64_t i = begin * d; i < end * d; i++) t->gS[i] *= (float)(2.0 / (double)j->n);
    if (!t->tap) t->kd->adam(t->S.p + begin * d, t->S.m + begin * d, t->S.v + begin * d, t->gS + begin * d, &j->adam, (end - begin) * d);
}

static double update(sd_trans *t, const sd_exec *ex, int64_t n)
{
    const int64_t d = t->opt.d, o = t->opt.d_out;
    const sd_ramp ramp = sd_trans__ramp(t);
    job j = {.t = t, .n = n, .adam = sd_ramp__adam(&ramp, t->step)};
    double norm = 0;
    sort(t, n);
    sd_parallel_for(ex->n_threads, t->opt.m, SD_TRANS_CHUNK, update_rows, &j);
    if (t->skip) {
        sd_prod_run(ex, &(sd_prod){.kind = SD_PROD_TN, .c = sd_mat_of(t->gS, o, d), .a = sd_mat_of(t->e, n, o), .b = sd_wmat_of(t->x, n, d)}, t->prod);
        sd_parallel_for(ex->n_threads, o, 16, update_skip, &j);
    }
    memset(t->gbd, 0, (size_t)o * sizeof *t->gbd);
    for (int64_t r = 0; r < n; r++) t->kern->axpy(t->gbd, (float)(2.0 / (double)n), t->e + r * o, o);
    for (int64_t c = 0; c < t->n_chunk; c++) norm += t->norm[c];
    if (t->tap) {
        memcpy(t->tap->b, t->gb, (size_t)t->opt.m * sizeof *t->gb);
        memcpy(t->tap->bd, t->gbd, (size_t)o * sizeof *t->gbd);
        if (t->skip) memcpy(t->tap->S, t->gS, (size_t)(o * d) * sizeof *t->gS);
        return norm;
    }
    t->kd->adam(t->b.p, t->b.m, t->b.v, t->gb, &j.adam, t->opt.m);
    t->kd->adam(t->bd.p, t->bd.m, t->bd.v, t->gbd, &j.adam, o);
    return norm;
}

/* sum |y - mean y|^2 of the batch. */
static double variance(const sd_trans *t, int64_t n)
{
    const int64_t o = t->opt.d_out;
    double all = 0;
    for (int64_t i = 0; i < o; i++) {
        double s = 0, s2 = 0;
        for (int64_t r = 0; r < n; r++) {
            const double v = (double)t->y[r * o + i];
            s += v;
            s2 += v * v;
        }
        all += s2 - s * s / (double)n;
    }
    return all;
}

static sd_status run_step(sd_trans *t, const sd_exec *ex, sd_mat xy, sd_dict_stats *out, sd_err *err)
{
    const int64_t n = xy.rows, d = t->opt.d, o = t->opt.d_out;
    const sd_ramp ramp = sd_trans__ramp(t);
    int64_t bad = -1;
    job j = {.t = t, .raw = xy, .n = n};
    double e2 = 0;
    sd_parallel_for(ex->n_threads, n, SD_TRANS_ROWS, normalise, &j);
    t->pick.frozen = t->tap != NULL;
    t->pick.k = sd_step__k(&t->opt, t->step);
    const sd_status st = sd_choice__best(&t->pick, ex, sd_mat_of(t->x, n, d), t->step, &bad, err);
    if (st) return st;
    if (bad >= 0) {
        out->n_nonfinite++;
        return sd_fail(err, SD_E_FAIL, "step %" PRId64 ": row %" PRId64 " of the batch holds a number that is not finite or too large", t->step, bad);
    }
    if (t->skip) sd_prod_run(ex, &(sd_prod){.kind = SD_PROD_NT, .accumulate = true, .c = sd_mat_of(t->e, n, o), .a = sd_mat_of(t->x, n, d), .b = sd_wmat_of(t->S.p, o, d)}, t->prod);
    sd_parallel_for(ex->n_threads, n, SD_TRANS_ROWS, residual, &j);
    for (int64_t c = 0; c * SD_TRANS_ROWS < n; c++) e2 += t->sum_e2[c];
    out->loss = e2 / (double)n;
    if (!isfinite(out->loss)) {
        out->n_nonfinite++;
        (void)sd_fail(err, SD_E_FAIL, "step %" PRId64 ": the loss is not finite; the weights are those before the step", t->step);
        return sd_hint(err, "lower the learning rate (it was %g)", sd_ramp__at(&ramp, t->step));
    }
    out->fvu = e2 / variance(t, n);
    out->l0 = (double)t->ptr[n] / (double)n;
    out->grad_norm = sqrt(update(t, ex, n));
    return SD_OK;
}

sd_status sd_trans_step(sd_trans *t, const sd_exec *ex, sd_mat xy, sd_dict_stats *stats, sd_err *err)
{
    sd_dict_stats out = {0};
    SD_ASSERT(t->ready && xy.cols == t->opt.d + t->opt.d_out && xy.rows >= 1 && xy.rows <= t->opt.batch && ex->n_threads <= t->n_workers);
    sd_alloc_guard_begin("a training step");
    t->step++;
    t->n_tokens += xy.rows;
    const sd_status st = run_step(t, ex, xy, &out, err);
    if (st) {
        t->step--;
        t->n_tokens -= xy.rows;
    }
    for (int64_t f = 0; f < t->opt.m; f++) out.n_dead += t->last_fired[f] + t->opt.dead_after < t->n_tokens;
    const sd_ramp ramp = sd_trans__ramp(t);
    out.lr = sd_ramp__at(&ramp, t->step);
    out.step = t->step;
    out.n_tokens = t->n_tokens;
    out.n_audited = t->pick.n_audited;
    out.n_missed = t->pick.n_missed;
    if (stats) *stats = out;
    sd_alloc_guard_end();
    return st;
}
