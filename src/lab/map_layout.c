/* Owns: the start and the gradient steps. One thread on purpose: UMAP's steps read what earlier ones wrote, and a race would make each
 * map another. Easy to break: the order of random draws is part of the map. */
#include "lab/map_int.h"

#include "base/rng.h"
#include <math.h>
#include <stdlib.h>

/* 1 / (1 + a d^(2b)) fitted to min_dist 0.1, spread 1 (umap-learn, find_ab_params). */
#define CURVE_A 1.576943460405378f
#define CURVE_B 0.8950608781227859f
#define CLIP 4.0f
#define HALF_WIDTH 10.0f     /* of the start: umap-learn's 10 */
enum { NEGATIVES = 5, SLOW_STEPS = 100 };

/* splitmix64 (Steele, Lea, Flood 2014): a draw a negative sample, 10^8 a map; the project's counter-based generator seeds it. */
static uint64_t draw(uint64_t *s)
{
    uint64_t z = *s += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static void orthogonal_to(double *v, const double *u, int64_t n)
{
    double c = 0;
    for (int64_t i = 0; i < n; i++) c += u[i] * v[i];
    for (int64_t i = 0; i < n; i++) v[i] -= c * u[i];
}

static void unit(double *v, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += v[i] * v[i];
    for (int64_t i = 0; i < n && s > 0; i++) v[i] /= sqrt(s);
}

/* y = (x + D^-1/2 W D^-1/2 x) / 2: its largest eigenvectors are the slowest of the graph. */
static void smooth(double *y, const double *x, const sd_map_graph *g, const double *inv)
{
    for (int64_t i = 0; i < g->n; i++) {
        double s = 0;
        for (int64_t e = g->start[i]; e < g->start[i + 1]; e++) s += (double)g->w[e] * inv[g->to[e]] * x[g->to[e]];
        y[i] = (x[i] + inv[i] * s) / 2;
    }
}

typedef struct place { double v; int64_t i; } place;
static int by_place(const void *a, const void *b)
{
    const place *x = a, *y = b;
    if (x->v != y->v) return x->v < y->v ? -1 : 1;
    return x->i < y->i ? -1 : x->i > y->i;
}

/* Power iteration of two vectors beside the constant one, not run to convergence: a mix of the slow ones serves as well. By rank, because a small
 * component apart from the rest would press all others into one point. */
static sd_status start(float *xy, const sd_map_graph *g, uint64_t seed, sd_err *err)
{
    int64_t n = g->n;
    double *inv = NULL, *mem = NULL, *v[2], *u, *next;
    place *order = NULL;
    sd_rng rng = sd_rng_make(seed, "map", 0);
    sd_status st = sd_alloc(&inv, (size_t)n * sizeof *inv, "the map", err);
    if (!st) st = sd_alloc(&mem, (size_t)n * 4 * sizeof *mem, "the map", err);
    if (!st) st = sd_alloc(&order, (size_t)n * sizeof *order, "the map", err);
    if (st) goto done;
    v[0] = mem, v[1] = mem + n, u = mem + 2 * n, next = mem + 3 * n;
    for (int64_t i = 0; i < n; i++) {
        double s = 0;
        for (int64_t e = g->start[i]; e < g->start[i + 1]; e++) s += (double)g->w[e];
        inv[i] = s > 0 ? 1 / sqrt(s) : 0;
        u[i] = sqrt(s);
        v[0][i] = (double)sd_rng_normal(&rng);
        v[1][i] = (double)sd_rng_normal(&rng);
    }
    unit(u, n);
    for (int step = 0; step < SLOW_STEPS; step++)
        for (int k = 0; k < 2; k++) {
            smooth(next, v[k], g, inv);
            orthogonal_to(next, u, n);
            if (k) orthogonal_to(next, v[0], n);
            unit(next, n);
            double *t = v[k];
            v[k] = next;
            next = t;
        }
    for (int k = 0; k < 2; k++) {
        for (int64_t i = 0; i < n; i++) order[i] = (place){v[k][i] * inv[i], i};
        qsort(order, (size_t)n, sizeof *order, by_place);
        for (int64_t r = 0; r < n; r++) xy[order[r].i * 2 + k] = HALF_WIDTH * (2 * ((float)r + 0.5f) / (float)n - 1);
    }
done:
    sd_free(inv);
    sd_free(mem);
    sd_free(order);
    return st;
}

static float clip(float v) { return v > CLIP ? CLIP : v < -CLIP ? -CLIP : v; }

static void attract(float *p, float *q, float rate)
{
    float dx = p[0] - q[0], dy = p[1] - q[1], d2 = dx * dx + dy * dy;
    if (!(d2 > 0)) return;
    float pw = powf(d2, CURVE_B), c = -2 * CURVE_A * CURVE_B * pw / d2 / (CURVE_A * pw + 1);
    float gx = clip(c * dx) * rate, gy = clip(c * dy) * rate;
    p[0] += gx, p[1] += gy;
    q[0] -= gx, q[1] -= gy;
}

static void repel(float *p, const float *q, float rate)
{
    float dx = p[0] - q[0], dy = p[1] - q[1], d2 = dx * dx + dy * dy;
    if (!(d2 > 0)) return;
    float c = 2 * CURVE_B / ((0.001f + d2) * (CURVE_A * powf(d2, CURVE_B) + 1));
    p[0] += clip(c * dx) * rate;
    p[1] += clip(c * dy) * rate;
}

/* An edge of weight w is due every w_max / w epochs. */
sd_status sd_map__layout(float *xy, const sd_map_graph *g, int epochs, uint64_t seed, const sd_progress *progress, sd_err *err)
{
    float *due = NULL, most = 0;
    int64_t n_edge = g->start[g->n];
    sd_rng rng = sd_rng_make(seed, "map", 1);
    uint64_t stream = sd_rng_u64(&rng);
    sd_status st = start(xy, g, seed, err);
    if (!st) st = sd_alloc(&due, (size_t)(n_edge + 1) * sizeof *due, "the map", err);
    if (st) goto done;
    for (int64_t e = 0; e < n_edge; e++) most = g->w[e] > most ? g->w[e] : most;
    for (int64_t e = 0; e < n_edge; e++) due[e] = most / g->w[e];
    for (int t = 0; t < epochs; t++) {
        float rate = 1 - (float)t / (float)epochs;
        sd_progress_update(progress, "map", t, epochs, "passes");
        if (sd_progress_cancelled(progress)) {
            st = sd_fail(err, SD_E_CANCELLED, "interrupted while drawing the map");
            goto done;
        }
        for (int64_t i = 0; i < g->n; i++)
            for (int64_t e = g->start[i]; e < g->start[i + 1]; e++) {
                if (due[e] > (float)(t + 1) || g->w[e] * (float)epochs < most) continue;
                due[e] += most / g->w[e];
                attract(xy + 2 * i, xy + 2 * g->to[e], rate);
                for (int k = 0; k < NEGATIVES; k++) {
                    int64_t j = (int64_t)((draw(&stream) >> 32) * (uint64_t)g->n >> 32);
                    if (j != i) repel(xy + 2 * i, xy + 2 * j, rate);
                }
            }
    }
done:
    sd_free(due);
    return st;
}
