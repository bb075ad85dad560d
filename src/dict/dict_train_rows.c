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

/* e of every prefix from the entries of row r, which ascend by feature; values become z. Sums from each level on take their place. */
static void decode_levels(sd_dict_train *t, int64_t r, sd_row_sums *s)
{
    const int64_t d = t->opt.d;
    const size_t bytes = (size_t)d * sizeof(float);
    int64_t i = t->ptr[r];
    for (int l = 0; l < t->n_level; l++) {
        float *e = sd_train__level_e(t, l) + r * d;
        if (l > 0) memcpy(e, sd_train__level_e(t, l - 1) + r * d, bytes);
        for (int64_t c = 0; c < d && l == 0; c++) e[c] = -t->x[r * d + c];
        const int64_t from = i;
        for (; i < t->ptr[r + 1] && t->idx[i] < t->level[l]; i++)
            if (!(t->val[i] > 0.0f)) t->val[i] = 0.0f;
        const sd_gather g = {t->D, t->idx + from, i - from, d};
        sd_gather_add(t->kern, e, &g, t->val + from);
    }
    s->e2 += (double)t->kern->dot(t->e + r * d, t->e + r * d, d);
    for (int l = t->n_level - 2; l >= 0; l--) {
        float *e = sd_train__level_e(t, l) + r * d;
        s->more2 += (double)t->kern->dot(e, e, d);
        t->kern->axpy(e, 1.0f, sd_train__level_e(t, l + 1) + r * d, d);
    }
}

static void backward_levels(sd_dict_train *t, int64_t r, float two_over_n, sd_row_sums *s)
{
    const int64_t d = t->opt.d;
    int64_t i = t->ptr[r];
    for (int l = 0; l < t->n_level; l++) {
        const int64_t from = i;
        while (i < t->ptr[r + 1] && t->idx[i] < t->level[l]) i++;
        const sd_gather g = {t->D, t->idx + from, i - from, d};
        sd_gather_dot(t->kern, t->dz + from, &g, sd_train__level_e(t, l) + r * d);
        for (int64_t j = from; j < i; j++) {
            const bool on = t->val[j] > 0.0f;
            t->dz[j] = on ? two_over_n * t->dz[j] : 0.0f;
            s->n_active += on;
        }
    }
}

/* Row r of a kind with a gate: entries hold p; they leave holding z and the gradients. */
static void gated_row(sd_dict_train *t, int64_t r, float two_over_n, float weight, sd_row_sums *s)
{
    const int64_t d = t->opt.d;
    float *e = t->e + r * d, *ea = t->gate->second ? t->ea + r * d : NULL;
    for (int64_t c = 0; c < d; c++) e[c] = -t->x[r * d + c];
    if (ea) memcpy(ea, e, (size_t)d * sizeof *ea);
    for (int64_t i = t->ptr[r]; i < t->ptr[r + 1]; i++) {
        const int64_t f = t->idx[i];
        const sd_gate_in in = {&t->val[i], t->b + f, {t->own[0] ? t->own[0] + f : NULL, t->own[1] ? t->own[1] + f : NULL}, (float)t->opt.bandwidth, 1};
        float z, za = 0.0f;
        s->penalty += t->gate->forward(&z, &za, &in);
        s->n_active += z > 0.0f;
        if (z > 0.0f) t->kern->axpy(e, z, t->D + f * d, d);
        if (ea) t->kern->axpy(ea, za, t->D + f * d, d);
        t->spare[i] = z;
    }
    for (int64_t i = t->ptr[r]; i < t->ptr[r + 1]; i++) {
        const int64_t f = t->idx[i];
        const sd_gate_in in = {&t->val[i], t->b + f, {t->own[0] ? t->own[0] + f : NULL, t->own[1] ? t->own[1] + f : NULL}, (float)t->opt.bandwidth, 1};
        const sd_gate_out out = {&t->dz[i], &t->db[i], {t->down[0] ? t->down[0] + i : NULL, t->down[1] ? t->down[1] + i : NULL}};
        const float g = two_over_n * t->kern->dot(e, t->D + f * d, d), ga = ea ? two_over_n * t->kern->dot(ea, t->D + f * d, d) : 0.0f;
        t->gate->backward(&out, &g, &ga, weight, &in);
        t->val[i] = t->spare[i];
    }
    s->e2 += (double)t->kern->dot(e, e, d);
    if (ea) s->more2 += (double)t->kern->dot(ea, ea, d);
}

static void residual(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const job *j = arg;
    sd_dict_train *t = j->t;
    const int64_t d = t->opt.d;
    const float two_over_n = (float)(2.0 / (double)j->n), weight = (float)(t->weight / (double)j->n);
    float *sum_e = t->row_e + chunk * d, *sum_x = t->row_x + chunk * d;
    sd_row_sums s = {0};
    memset(sum_e, 0, (size_t)d * sizeof *sum_e);
    memset(sum_x, 0, (size_t)d * sizeof *sum_x);
    for (int64_t r = begin; r < end; r++) {
        const float *x = t->x + r * d;
        if (t->gate) {
            gated_row(t, r, two_over_n, weight, &s);
        } else {
            decode_levels(t, r, &s);
            backward_levels(t, r, two_over_n, &s);
        }
        s.x2 += (double)t->kern->dot(x, x, d);
        t->kern->axpy(sum_e, 1.0f, sd_train__level_e(t, 0) + r * d, d);
        t->kern->axpy(sum_x, 1.0f, x, d);
    }
    t->sums[chunk] = s;
}

sd_row_sums sd_train__sum_rows(const sd_dict_train *t, int64_t n)
{
    sd_row_sums all = {0};
    for (int64_t c = 0; c * SD_TRAIN_ROWS < n; c++) {
        all.e2 += t->sums[c].e2;
        all.more2 += t->sums[c].more2;
        all.penalty += t->sums[c].penalty;
        all.x2 += t->sums[c].x2;
        all.n_active += t->sums[c].n_active;
    }
    return all;
}

sd_row_sums sd_train__residual(sd_dict_train *t, const sd_exec *ex, int64_t n)
{
    job j = {.t = t, .n = n};
    sd_parallel_for(ex->n_threads, n, SD_TRAIN_ROWS, residual, &j);
    return sd_train__sum_rows(t, n);
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
