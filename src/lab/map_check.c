/* How true the map is. Both figures are exact for the features they are taken on.
 *   kept   mean over features of |N_k(directions) and N_k(map)| / k
 *   trust  1 - 2 / (n k (2N - 3k - 1)) sum_i sum_{j in map's k, not in directions' k} (r(i, j) - k), r the rank of j by cosine from i;
 *          Venna & Kaski 2001; scikit-learn's manifold.trustworthiness. n features are looked at, N are placed. */
#include "lab/map_int.h"

#include "base/par.h"
#include "num/linear.h"
#include <math.h>

/* Pairs looked at: 16,384 features whole; of more an even sample. */
#define MAX_PAIRS ((int64_t)1 << 28)
#define BLOCK_FLOATS ((int64_t)1 << 22)

typedef struct job {
    const float *xy, *block;
    const int32_t *near;
    int64_t n, q0, n_query, n_total;
    int k;
    double *kept, *over;   /* [n_total] by query */
} job;

static int64_t query(const job *j, int64_t q) { return q * j->n / j->n_total; }

/* The k nearest on the map, ties to the lower index. */
static void nearest(const job *j, int64_t i, int32_t *id, float *d2)
{
    int have = 0;
    for (int64_t g = 0; g < j->n; g++) {
        float dx = j->xy[2 * g] - j->xy[2 * i], dy = j->xy[2 * g + 1] - j->xy[2 * i + 1], d = dx * dx + dy * dy;
        if (g == i || (have == j->k && !(d < d2[j->k - 1]))) continue;
        int at = have < j->k ? have++ : j->k - 1;
        for (; at > 0 && d < d2[at - 1]; at--) id[at] = id[at - 1], d2[at] = d2[at - 1];
        id[at] = (int32_t)g;
        d2[at] = d;
    }
}

static void check_chunk(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const job *j = arg;
    (void)chunk;
    for (int64_t q = begin; q < end; q++) {
        int64_t i = query(j, j->q0 + q), rank[SD_FEATURE_LIST_MAX] = {0};
        int32_t id[SD_FEATURE_LIST_MAX];
        float d2[SD_FEATURE_LIST_MAX];
        const float *c = j->block + q * j->n;
        nearest(j, i, id, d2);
        for (int t = 0; t < j->k; t++)
            for (int u = 0; u < j->k; u++) j->kept[j->q0 + q] += j->near[i * j->k + u] == id[t] ? 1.0 / j->k : 0;
        for (int64_t g = 0; g < j->n; g++)
            for (int t = 0; t < j->k; t++) rank[t] += g != i && (c[g] > c[id[t]] || (c[g] == c[id[t]] && g <= id[t]));
        for (int t = 0; t < j->k; t++) j->over[j->q0 + q] += rank[t] > j->k ? (double)(rank[t] - j->k) : 0;
    }
}

sd_status sd_map__check(sd_map_quality *out, const sd_exec *ex, sd_mat w, const float *xy, const int32_t *near, int k, sd_err *err)
{
    int64_t n = w.rows, total = n, at_once = BLOCK_FLOATS / (n ? n : 1);
    float *block = NULL, *rows = NULL;
    double *kept = NULL, *over = NULL, sum = 0, far = 0;
    *out = (sd_map_quality){.kept = NAN, .trust = NAN};
    SD_ASSERT(k > 0 && k <= SD_FEATURE_LIST_MAX);
    if (n < 2 * (int64_t)k + 2) return SD_OK; /* fewer: the measure is not defined */
    if (total > MAX_PAIRS / n) total = MAX_PAIRS / n;
    if (at_once < 1) at_once = 1;
    if (at_once > total) at_once = total;
    sd_status st = sd_alloc(&block, (size_t)(at_once * n) * sizeof *block, "the check of the map", err);
    if (!st) st = sd_alloc(&rows, (size_t)(at_once * w.cols) * sizeof *rows, "the check of the map", err);
    if (!st) st = sd_alloc_zero(&kept, (size_t)total * sizeof *kept, "the check of the map", err);
    if (!st) st = sd_alloc_zero(&over, (size_t)total * sizeof *over, "the check of the map", err);
    if (st) goto done;
    for (int64_t q0 = 0; q0 < total; q0 += at_once) {
        int64_t nq = total - q0 < at_once ? total - q0 : at_once;
        job j = {.xy = xy, .block = block, .near = near, .n = n, .q0 = q0, .n_query = nq, .n_total = total, .k = k, .kept = kept, .over = over};
        for (int64_t q = 0; q < nq; q++) memcpy(rows + q * w.cols, sd_mat_row(w, query(&j, q0 + q)), (size_t)w.cols * sizeof *rows);
        sd_gemm_nt(ex, sd_mat_of(block, nq, n), sd_mat_of(rows, nq, w.cols), w);
        sd_parallel_for(ex->n_threads, nq, 4, check_chunk, &j);
    }
    for (int64_t q = 0; q < total; q++) {
        sum += kept[q];
        far += over[q];
    }
    out->n = total;
    out->kept = sum / (double)total;
    out->trust = 1 - 2 * far / ((double)total * k * (2.0 * (double)n - 3.0 * k - 1));
done:
    sd_free(block);
    sd_free(rows);
    sd_free(kept);
    sd_free(over);
    return st;
}
