/* Blocks of 256 rows against blocks of 2,048: the product of two such blocks (2 MB) stays in the cache while the lists are
 * brought up to date, and the shapes do not depend on the number of threads. */
#include "lab/neighbours.h"

#include "base/par.h"
#include "num/linear.h"
#include <math.h>

enum { ROWS = 256, COLS = 2048 };

typedef struct job {
    int32_t *index;
    float *cosine;
    int n;
    const float *inv_norm; /* [m] 0 for a row of zeros */
    const float *block;    /* [rows, COLS] */
    int64_t f0, g0, n_g;
} job;

/* Row f's list is sorted; a candidate enters behind its equals, so ties stay with the lower index. */
static void update(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const job *j = arg;
    (void)chunk;
    for (int64_t i = begin; i < end; i++) {
        int64_t f = j->f0 + i;
        int32_t *index = j->index + f * j->n;
        float *cosine = j->cosine + f * j->n;
        const float *dot = j->block + i * COLS;
        float nf = j->inv_norm[f];
        for (int64_t k = 0; k < j->n_g && nf > 0; k++) {
            int64_t g = j->g0 + k;
            float c = dot[k] * nf * j->inv_norm[g];
            if (index[j->n - 1] >= 0 && !(c > cosine[j->n - 1])) continue;
            if (g == f || !(j->inv_norm[g] > 0)) continue;
            int at = j->n - 1;
            for (; at > 0 && (index[at - 1] < 0 || c > cosine[at - 1]); at--) {
                index[at] = index[at - 1];
                cosine[at] = cosine[at - 1];
            }
            index[at] = (int32_t)g;
            cosine[at] = c;
        }
    }
}

/* The decoder as a matrix; its rows lie one after the other. */
static sd_mat decoder(const sd_dict *dict)
{
    const sd_dict_info *in = sd_dict_get_info(dict);
    const float *w = sd_dict_dec_row(dict, 0);
    SD_ASSERT(in->m < 2 || sd_dict_dec_row(dict, 1) == w + in->d_out);
    return sd_mat_of((float *)(uintptr_t)w, in->m, in->d_out);
}

sd_status sd_lab_neighbours(int32_t *index, float *cosine, int n, const sd_exec *ex, const sd_dict *dict,
                            const sd_progress *progress, sd_err *err)
{
    return sd_lab_neighbours_of(index, cosine, n, ex, decoder(dict), progress, err);
}

static void inverse_norms(float *out, sd_mat w)
{
    for (int64_t f = 0; f < w.rows; f++) {
        double sq = 0;
        for (int64_t k = 0; k < w.cols; k++) sq += (double)sd_mat_row(w, f)[k] * (double)sd_mat_row(w, f)[k];
        out[f] = sq > 0 ? (float)(1 / sqrt(sq)) : 0;
    }
}

sd_status sd_lab_nearest_in(int32_t *index, float *cosine, const sd_exec *ex, sd_mat a, sd_mat b, sd_err *err)
{
    float *na = NULL, *nb = NULL, *block = NULL;
    sd_status st = sd_alloc(&na, (size_t)a.rows * sizeof *na, "norms of directions", err);
    if (!st) st = sd_alloc(&nb, (size_t)b.rows * sizeof *nb, "norms of directions", err);
    if (!st) st = sd_alloc(&block, (size_t)ROWS * COLS * sizeof *block, "cosines", err);
    if (st) goto done;
    inverse_norms(na, a);
    inverse_norms(nb, b);
    for (int64_t f0 = 0; f0 < a.rows; f0 += ROWS) {
        int64_t rows = a.rows - f0 < ROWS ? a.rows - f0 : ROWS;
        for (int64_t f = f0; f < f0 + rows; f++) index[f] = -1, cosine[f] = 0;
        for (int64_t g0 = 0; g0 < b.rows; g0 += COLS) {
            int64_t cols = b.rows - g0 < COLS ? b.rows - g0 : COLS;
            sd_gemm_nt(ex, (sd_mat){block, rows, cols, COLS}, sd_mat_rows(a, f0, rows), sd_mat_rows(b, g0, cols));
            for (int64_t f = f0; f < f0 + rows; f++)
                for (int64_t k = 0; k < cols && na[f] > 0; k++) {
                    float c = block[(f - f0) * COLS + k] * na[f] * nb[g0 + k];
                    if (nb[g0 + k] > 0 && (index[f] < 0 || c > cosine[f])) index[f] = (int32_t)(g0 + k), cosine[f] = c;
                }
        }
    }
done:
    sd_free(na);
    sd_free(nb);
    sd_free(block);
    return st;
}

sd_status sd_lab_neighbours_of(int32_t *index, float *cosine, int n, const sd_exec *ex, sd_mat w, const sd_progress *progress, sd_err *err)
{
    int64_t m = w.rows;
    float *inv_norm = NULL, *block = NULL;
    sd_status st = sd_alloc(&inv_norm, (size_t)m * sizeof *inv_norm, "norms of the decoder", err);
    if (!st) st = sd_alloc(&block, (size_t)ROWS * COLS * sizeof *block, "cosines", err);
    if (st) goto done;
    inverse_norms(inv_norm, w);
    for (int64_t i = 0; i < m * n; i++) {
        index[i] = -1;
        cosine[i] = 0;
    }
    for (int64_t f0 = 0; f0 < m; f0 += ROWS) {
        int64_t rows = m - f0 < ROWS ? m - f0 : ROWS;
        sd_progress_update(progress, "neighbours", (double)f0, (double)m, NULL);
        if (sd_progress_cancelled(progress)) {
            st = sd_fail(err, SD_E_CANCELLED, "interrupted while looking for neighbours");
            goto done;
        }
        for (int64_t g0 = 0; g0 < m; g0 += COLS) {
            int64_t cols = m - g0 < COLS ? m - g0 : COLS;
            job j = {index, cosine, n, inv_norm, block, f0, g0, cols};
            sd_gemm_nt(ex, (sd_mat){block, rows, cols, COLS}, sd_mat_rows(w, f0, rows), sd_mat_rows(w, g0, cols));
            sd_parallel_for(ex->n_threads, rows, 16, update, &j);
        }
    }
done:
    sd_free(inv_norm);
    sd_free(block);
    return st;
}
