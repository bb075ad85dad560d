/* From lists of neighbours to UMAP's fuzzy graph. */
#include "lab/map_int.h"

#include <math.h>

/* umap_.py: SMOOTH_K_TOLERANCE, MIN_K_DIST_SCALE, 64 halvings. */
#define TOLERANCE 1e-5
#define MIN_SCALE 1e-3
enum { HALVINGS = 64 };

void sd_map__graph_release(sd_map_graph *g)
{
    sd_free(g->start);
    sd_free(g->to);
    sd_free(g->w);
    *g = (sd_map_graph){0};
}

static double distance(float cosine) { return cosine < 1 ? 1 - (double)cosine : 0; }

/* sigma such that sum_j exp(-max(0, d_j - rho) / sigma) = log2(k + 1): with itself, k + 1 points are near. */
static double bandwidth(const float *cosine, int n, int k, double rho)
{
    double lo = 0, hi = INFINITY, mid = 1, target = log2(k + 1.0), mean = 0;
    for (int i = 0; i < HALVINGS; i++) {
        double sum = 0;
        for (int j = 0; j < n; j++) {
            double over = distance(cosine[j]) - rho;
            sum += over > 0 ? exp(-over / mid) : 1;
        }
        if (fabs(sum - target) < TOLERANCE) break;
        if (sum > target) {
            hi = mid;
            mid = (lo + hi) / 2;
        } else {
            lo = mid;
            mid = isinf(hi) ? mid * 2 : (lo + hi) / 2;
        }
    }
    for (int j = 0; j < n; j++) mean += distance(cosine[j]) / n;
    return mid < MIN_SCALE * mean ? MIN_SCALE * mean : mid;
}

/* Weights of a row towards its neighbours; returns how many there are. */
static int row_weights(float *w, const int32_t *index, const float *cosine, int k)
{
    int n = 0;
    double rho = 0;
    while (n < k && index[n] >= 0) n++;
    for (int j = 0; j < n && rho == 0; j++) rho = distance(cosine[j]);
    double sigma = n ? bandwidth(cosine, n, k, rho) : 1;
    for (int j = 0; j < n; j++) {
        double over = distance(cosine[j]) - rho;
        w[j] = over <= 0 || !(sigma > 0) ? 1 : (float)exp(-over / sigma);
    }
    return n;
}

typedef struct half { int32_t to; float w; } half;

static void sort_row(half *v, int n)
{
    for (int i = 1; i < n; i++)
        for (int j = i; j > 0 && v[j].to < v[j - 1].to; j--) {
            half t = v[j];
            v[j] = v[j - 1];
            v[j - 1] = t;
        }
}

/* Row i of the graph from its own list a (ascending) and the lists it stands in b (ascending): w = p + q - p q. A far neighbour of a feature with
 * near copies has exp(-2500) = 0; such an edge is none. */
static int64_t merge(int32_t *to, float *w, const half *a, int64_t na, const half *b, int64_t nb)
{
    int64_t n = 0, i = 0, j = 0;
    while (i < na || j < nb) {
        bool left = j >= nb || (i < na && a[i].to <= b[j].to), right = i >= na || (j < nb && b[j].to <= a[i].to);
        float p = left ? a[i].w : 0, q = right ? b[j].w : 0;
        to[n] = left ? a[i].to : b[j].to;
        w[n] = p + q - p * q;
        n += w[n] > 0;
        i += left;
        j += right;
    }
    return n;
}

sd_status sd_map__graph(sd_map_graph *out, const int32_t *index, const float *cosine, int64_t n, int k, sd_err *err)
{
    half *own = NULL, *back = NULL;
    int64_t *at = NULL, *count = NULL, total = 0;
    *out = (sd_map_graph){.n = n};
    sd_status st = sd_alloc(&own, (size_t)(n * k + 1) * sizeof *own, "the graph of neighbours", err);
    if (!st) st = sd_alloc(&back, (size_t)(n * k + 1) * sizeof *back, "the graph of neighbours", err);
    if (!st) st = sd_alloc_zero(&at, (size_t)(n + 2) * sizeof *at, "the graph of neighbours", err);
    if (!st) st = sd_alloc_zero(&count, (size_t)(n + 1) * sizeof *count, "the graph of neighbours", err);
    if (!st) st = sd_alloc(&out->start, (size_t)(n + 1) * sizeof *out->start, "the graph of neighbours", err);
    if (!st) st = sd_alloc(&out->to, (size_t)(2 * n * k + 1) * sizeof *out->to, "the graph of neighbours", err);
    if (!st) st = sd_alloc(&out->w, (size_t)(2 * n * k + 1) * sizeof *out->w, "the graph of neighbours", err);
    if (st) goto done;
    for (int64_t i = 0; i < n; i++) {
        float w[SD_FEATURE_LIST_MAX];
        count[i] = row_weights(w, index + i * k, cosine + i * k, k);
        for (int64_t j = 0; j < count[i]; j++) {
            own[i * k + j] = (half){index[i * k + j], w[j]};
            at[index[i * k + j] + 2]++;
        }
        sort_row(own + i * k, (int)count[i]);
    }
    for (int64_t i = 0; i < n; i++) at[i + 2] += at[i + 1];
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < count[i]; j++) back[at[own[i * k + j].to + 1]++] = (half){(int32_t)i, own[i * k + j].w};
    for (int64_t i = 0; i < n; i++) {
        out->start[i] = total;
        total += merge(out->to + total, out->w + total, own + i * k, count[i], back + at[i], at[i + 1] - at[i]);
    }
    out->start[n] = total;
done:
    sd_free(own);
    sd_free(back);
    sd_free(at);
    sd_free(count);
    if (st) sd_map__graph_release(out);
    return st;
}
