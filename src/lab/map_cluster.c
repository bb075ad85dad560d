/* Louvain: nodes move to the neighbouring cluster that raises modularity most, clusters become nodes, until nothing moves.
 *   gain of i to c = w(i, c) - k_i K_c / 2m      (Blondel et al. 2008, equation 2, without what does not depend on c)
 * Nodes in order, ties to the lower cluster: no chance in it. */
#include "lab/map_int.h"

#include <stdlib.h>

enum { MAX_LEVELS = 20, MAX_SWEEPS = 50 };

typedef struct level {
    int64_t n;
    int64_t *start;
    int32_t *to;
    double *w;
    double *k, *total;   /* [n] strength of a node; of a cluster */
    int32_t *of;         /* [n] its cluster */
    double *towards;     /* [n] weight from the node at hand to each cluster; zero between nodes */
    int32_t *touched;
} level;

static void release(level *l)
{
    sd_free(l->start);
    sd_free(l->to);
    sd_free(l->w);
    sd_free(l->k);
    sd_free(l->total);
    sd_free(l->of);
    sd_free(l->towards);
    sd_free(l->touched);
    *l = (level){0};
}

static sd_status reserve(level *l, int64_t n, int64_t n_edge, sd_err *err)
{
    static const char what[] = "clusters of the map";
    size_t a = (size_t)n + 1, e = (size_t)n_edge + 1;
    *l = (level){.n = n};
    sd_status st = sd_alloc_zero(&l->start, (a + 1) * sizeof *l->start, what, err);
    if (!st) st = sd_alloc(&l->to, e * sizeof *l->to, what, err);
    if (!st) st = sd_alloc(&l->w, e * sizeof *l->w, what, err);
    if (!st) st = sd_alloc_zero(&l->k, a * sizeof *l->k, what, err);
    if (!st) st = sd_alloc(&l->total, a * sizeof *l->total, what, err);
    if (!st) st = sd_alloc(&l->of, a * sizeof *l->of, what, err);
    if (!st) st = sd_alloc_zero(&l->towards, a * sizeof *l->towards, what, err);
    if (!st) st = sd_alloc(&l->touched, a * sizeof *l->touched, what, err);
    return st;
}

static void begin(level *l)
{
    for (int64_t i = 0; i < l->n; i++) {
        l->k[i] = 0;
        for (int64_t e = l->start[i]; e < l->start[i + 1]; e++) l->k[i] += l->w[e];
        l->total[i] = l->k[i];
        l->of[i] = (int32_t)i;
    }
}

static bool move(level *l, int64_t i, double two_m)
{
    int32_t home = l->of[i], best = home;
    int64_t n = 0;
    l->touched[n++] = home;
    for (int64_t e = l->start[i]; e < l->start[i + 1]; e++) {
        int32_t c = l->of[l->to[e]];
        if (l->to[e] == i) continue;
        if (l->towards[c] == 0 && c != home) l->touched[n++] = c;
        l->towards[c] += l->w[e];
    }
    l->total[home] -= l->k[i];
    double top = l->towards[home] - l->k[i] * l->total[home] / two_m;
    for (int64_t t = 1; t < n; t++) {
        int32_t c = l->touched[t];
        double gain = l->towards[c] - l->k[i] * l->total[c] / two_m;
        /* More than rounding, so that no node goes to and fro. */
        if (gain > top + 1e-12 * l->k[i]) top = gain, best = c;
    }
    l->total[best] += l->k[i];
    l->of[i] = best;
    for (int64_t t = 0; t < n; t++) l->towards[l->touched[t]] = 0;
    return best != home;
}

/* Numbers the clusters 0.. in order of their first node; returns how many. */
static int64_t renumber(level *l)
{
    int64_t n = 0;
    for (int64_t i = 0; i < l->n; i++) l->touched[i] = -1;
    for (int64_t i = 0; i < l->n; i++) {
        int32_t c = l->of[i];
        if (l->touched[c] < 0) l->touched[c] = (int32_t)n++;
        l->of[i] = l->touched[c];
    }
    return n;
}

/* Clusters as nodes; weights inside one become its edge to itself. */
static sd_status shrink(level *out, level *l, int64_t n, sd_err *err)
{
    int64_t *first = NULL, *order = NULL, n_edge = 0;
    sd_status st = reserve(out, n, l->start[l->n], err);
    if (!st) st = sd_alloc_zero(&first, (size_t)(n + 2) * sizeof *first, "clusters of the map", err);
    if (!st) st = sd_alloc(&order, (size_t)(l->n + 1) * sizeof *order, "clusters of the map", err);
    if (st) goto done;
    for (int64_t i = 0; i < l->n; i++) first[l->of[i] + 2]++;
    for (int64_t c = 0; c < n; c++) first[c + 2] += first[c + 1];
    for (int64_t i = 0; i < l->n; i++) order[first[l->of[i] + 1]++] = i;
    for (int64_t c = 0; c < n; c++) {
        int64_t begins = n_edge;
        out->start[c] = n_edge;
        for (int64_t t = first[c]; t < first[c + 1]; t++)
            for (int64_t e = l->start[order[t]]; e < l->start[order[t] + 1]; e++) {
                int32_t d = l->of[l->to[e]];
                if (out->towards[d] == 0) out->to[n_edge++] = d;
                out->towards[d] += l->w[e];
            }
        for (int64_t e = begins; e < n_edge; e++) {
            out->w[e] = out->towards[out->to[e]];
            out->towards[out->to[e]] = 0;
        }
    }
    out->start[n] = n_edge;
done:
    sd_free(first);
    sd_free(order);
    return st;
}

/* Q = sum_c (inside_c / 2m - (total_c / 2m)^2) over a level whose nodes are the clusters. */
static double modularity(const level *l, double two_m)
{
    double q = 0;
    for (int64_t i = 0; i < l->n; i++) {
        double inside = 0, k = 0;
        for (int64_t e = l->start[i]; e < l->start[i + 1]; e++) {
            k += l->w[e];
            if (l->to[e] == i) inside += l->w[e];
        }
        q += inside / two_m - k / two_m * (k / two_m);
    }
    return q;
}

typedef struct sized { int64_t n; int32_t id; } sized;
static int by_size(const void *a, const void *b)
{
    const sized *x = a, *y = b;
    if (x->n != y->n) return x->n > y->n ? -1 : 1;
    return x->id - y->id;
}

static sd_status order_by_size(int32_t *of, int64_t n, int64_t n_cluster, sd_err *err)
{
    sized *v = NULL;
    int32_t *rank = NULL;
    sd_status st = sd_alloc_zero(&v, (size_t)(n_cluster + 1) * sizeof *v, "clusters of the map", err);
    if (!st) st = sd_alloc(&rank, (size_t)(n_cluster + 1) * sizeof *rank, "clusters of the map", err);
    if (st) goto done;
    for (int64_t c = 0; c < n_cluster; c++) v[c].id = (int32_t)c;
    for (int64_t i = 0; i < n; i++) v[of[i]].n++;
    qsort(v, (size_t)n_cluster, sizeof *v, by_size);
    for (int64_t c = 0; c < n_cluster; c++) rank[v[c].id] = (int32_t)c;
    for (int64_t i = 0; i < n; i++) of[i] = rank[of[i]];
done:
    sd_free(v);
    sd_free(rank);
    return st;
}

sd_status sd_map__clusters(int32_t *of, int64_t *n_cluster, double *q, const sd_map_graph *g, sd_err *err)
{
    level l, next = {0};
    double two_m = 0;
    sd_status st = reserve(&l, g->n, g->start[g->n], err);
    if (st) goto done;
    for (int64_t i = 0; i <= g->n; i++) l.start[i] = g->start[i];
    for (int64_t e = 0; e < g->start[g->n]; e++) {
        l.to[e] = g->to[e];
        l.w[e] = (double)g->w[e];
        two_m += l.w[e];
    }
    for (int64_t i = 0; i < g->n; i++) of[i] = (int32_t)i;
    if (!(two_m > 0)) two_m = 1;
    for (int depth = 0; depth < MAX_LEVELS; depth++) {
        bool moved = false;
        begin(&l);
        for (int sweep = 0; sweep < MAX_SWEEPS; sweep++) {
            bool any = false;
            for (int64_t i = 0; i < l.n; i++) any |= move(&l, i, two_m);
            moved |= any;
            if (!any) break;
        }
        int64_t n = renumber(&l);
        if (!moved || n == l.n) break;
        for (int64_t i = 0; i < g->n; i++) of[i] = l.of[of[i]];
        if ((st = shrink(&next, &l, n, err))) goto done;
        release(&l);
        l = next;
        next = (level){0};
    }
    *n_cluster = l.n;
    *q = modularity(&l, two_m);
    st = order_by_size(of, g->n, l.n, err);
done:
    release(&l);
    release(&next);
    return st;
}
