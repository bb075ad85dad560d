/* Owns the forward pass over rows: centring, decoding, the residual and its products with the decoder. Rows are independent;
 * sums are kept a chunk of 32 rows and added in order. */
#include "dict/dict_train_int.h"
#include "base/par.h"
#include <string.h>

typedef struct job { sd_dict_train *t; sd_mat raw; int64_t n; } job;

static void centre(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const job *j = arg;
    const sd_dict_train *t = j->t;
    const float scale = (float)t->scale;
    (void)chunk;
    for (int64_t r = begin; r < end; r++) {
        const float *from = sd_mat_row(j->raw, r);
        float *to = t->x + r * t->opt.d;
        for (int64_t i = 0; i < t->opt.d; i++) to[i] = (from[i] - t->mean[i]) * scale - t->bd[i];
    }
}

void sd_train__centre(sd_dict_train *t, const sd_exec *ex, sd_mat raw)
{
    job j = {t, raw, raw.rows};
    sd_parallel_for(ex->n_threads, raw.rows, SD_TRAIN_ROWS, centre, &j);
}

static void residual(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const job *j = arg;
    sd_dict_train *t = j->t;
    const int64_t d = t->opt.d;
    const int k = t->opt.k;
    const float two_over_n = (float)(2.0 / (double)j->n);
    float *sum_e = t->row_e + chunk * d, *sum_x = t->row_x + chunk * d;
    sd_row_sums s = {0};
    memset(sum_e, 0, (size_t)d * sizeof *sum_e);
    memset(sum_x, 0, (size_t)d * sizeof *sum_x);
    for (int64_t r = begin; r < end; r++) {
        const float *x = t->x + r * d;
        float *e = t->e + r * d;
        for (int64_t i = 0; i < d; i++) e[i] = -x[i];
        for (int64_t i = r * k; i < (r + 1) * k; i++) {
            if (t->val[i] > 0.0f)
                t->kern->axpy(e, t->val[i], t->D + (int64_t)t->idx[i] * d, d);
            else
                t->val[i] = 0.0f;
        }
        for (int64_t i = r * k; i < (r + 1) * k; i++) {
            const bool on = t->val[i] > 0.0f;
            t->dz[i] = on ? two_over_n * t->kern->dot(e, t->D + (int64_t)t->idx[i] * d, d) : 0.0f;
            s.n_active += on;
        }
        s.e2 += (double)t->kern->dot(e, e, d);
        s.x2 += (double)t->kern->dot(x, x, d);
        t->kern->axpy(sum_e, 1.0f, e, d);
        t->kern->axpy(sum_x, 1.0f, x, d);
    }
    t->sums[chunk] = s;
}

sd_row_sums sd_train__residual(sd_dict_train *t, const sd_exec *ex, int64_t n)
{
    job j = {.t = t, .n = n};
    sd_row_sums all = {0};
    sd_parallel_for(ex->n_threads, n, SD_TRAIN_ROWS, residual, &j);
    for (int64_t c = 0; c * SD_TRAIN_ROWS < n; c++) {
        all.e2 += t->sums[c].e2;
        all.x2 += t->sums[c].x2;
        all.n_active += t->sums[c].n_active;
    }
    return all;
}

/* sum |x|^2 - n |mean x|^2; the shift by b_dec drops out. Rows are centred, so there is little to cancel. */
double sd_train__variance(const sd_dict_train *t, int64_t n, const sd_row_sums *s)
{
    double mean2 = 0;
    for (int64_t i = 0; i < t->opt.d; i++) {
        double sum = 0;
        for (int64_t c = 0; c * SD_TRAIN_ROWS < n; c++) sum += (double)t->row_x[c * t->opt.d + i];
        mean2 += sum / (double)n * sum / (double)n;
    }
    return s->x2 - (double)n * mean2;
}
