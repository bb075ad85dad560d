/* A model with everything but what it learnt: the random-model control (Heap et al. 2025, arXiv 2501.17727, "re-randomized including
 * embeddings"). Norms and biases stay: they are few, and their scale is what keeps activations finite. */
#include "base/par.h"
#include "base/rng.h"
#include "file/weights_int.h"
#include <math.h>

enum { ROWS = 64 };
typedef struct job { const sd_tensor *t; float *to; double *sum, *sum2; double mean, spread; uint64_t seed; } job;

static void decode(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const job *j = arg;
    const int64_t cols = j->t->dim[1];
    const size_t row_bytes = j->t->bytes / (size_t)j->t->dim[0];
    double s = 0, s2 = 0;
    for (int64_t r = begin; r < end; r++) {
        float *row = j->to + r * cols;
        sd_dtype_get(j->t->dtype)->decode(row, (const uint8_t *)j->t->data + (size_t)r * row_bytes, cols);
        for (int64_t i = 0; i < cols; i++) {
            s += (double)row[i];
            s2 += (double)row[i] * (double)row[i];
        }
    }
    j->sum[chunk] = s;
    j->sum2[chunk] = s2;
}

static void draw(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const job *j = arg;
    const int64_t cols = j->t->dim[1];
    (void)chunk;
    for (int64_t r = begin; r < end; r++) {
        sd_rng g = sd_rng_make(j->seed, "random model", (uint64_t)r);
        for (int64_t i = 0; i < cols; i++) j->to[r * cols + i] = (float)(j->mean + j->spread * (double)sd_rng_normal(&g));
    }
}

static sd_status matrix(sd_weights *w, sd_tensor *t, uint64_t seed, int n_threads, sd_err *err)
{
    const int64_t rows = t->dim[0], cols = t->dim[1], n_chunk = (rows + ROWS - 1) / ROWS;
    job j = {.t = t, .seed = seed ^ sd_hash64(t->name.p, t->name.n)};
    sd_status st = sd_alloc(&j.sum, (size_t)(2 * n_chunk) * sizeof *j.sum, "sums of weights", err);
    if (!st) st = sd_alloc(&j.to, (size_t)(rows * cols) * sizeof *j.to, "random weights", err);
    if (!st) st = sd_weights__keep(w, j.to, err);
    if (!st) {
        double s = 0, s2 = 0;
        const double n = (double)rows * (double)cols;
        j.sum2 = j.sum + n_chunk;
        sd_parallel_for(n_threads, rows, ROWS, decode, &j);
        for (int64_t c = 0; c < n_chunk; c++) s += j.sum[c], s2 += j.sum2[c];
        j.mean = s / n;
        j.spread = sqrt(fmax(0, s2 / n - j.mean * j.mean));
        sd_parallel_for(n_threads, rows, ROWS, draw, &j);
        w->bytes += (uint64_t)(rows * cols) * sizeof *j.to - t->bytes;
        t->data = j.to, t->dtype = SD_F32, t->type_name = "F32", t->bytes = (size_t)(rows * cols) * sizeof *j.to;
    }
    sd_free(j.sum);
    return st;
}

sd_status sd_weights_randomise(sd_weights *w, uint64_t seed, int n_threads, sd_err *err)
{
    sd_status st = SD_OK;
    for (int64_t i = 0; i < w->n && !st; i++) {
        sd_tensor *t = &w->entry[i].t;
        if (t->rank == 2 && t->dim[0] > 0 && t->dim[1] > 0 && t->dtype != SD_DTYPE_NONE && sd_dtype_get(t->dtype)->decode) st = matrix(w, t, seed, n_threads, err);
    }
    return st;
}
