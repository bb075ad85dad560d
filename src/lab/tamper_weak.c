/* Owns: the evidence without a reference. Two walks over the writers: the first sums their Gram matrices by band of blocks and by half, the
 * second measures every candidate on every matrix; in between each run of bands gives its weakest directions. */
#include "lab/tamper_int.h"

#include "lab/ablate.h"
#include "num/eig.h"

#include "base/par.h"

#include <math.h>

/* Bands of at least 8 blocks, so that a half of a band has 4 matrices of a kind to be found in and 4 to be looked for in. */
enum { MOST_BANDS = 4, BAND = 8, MOST_RUNS = 3 * MOST_BANDS * (MOST_BANDS + 1) / 2, K = SD_TAMPER_WEAK, LEAST_LAYERS = 4, LEAST_WIDTH = 32 };
/* Energies below this are rounding: f32 sums of a direction that is not there. */
#define FLOOR 1e-9
/* A direction counts as cut when it is this much weaker than the next and at most this strong in the half it was not found in. Untouched SmolLM2-135M in 13
 * types of weights, its aligned fine-tune and gemma-3-270m have gaps up to 2.3; 80 % of a direction taken, then Q4_0, has 8 (docs/FIRMNESS.md). */
#define GAP 5.0
#define STRENGTH 0.1
#define AGREEMENT 0.8
enum { MOST_CUT = 4 }; /* edits of more directions than this are not looked for */

typedef struct run_of { int layer0, layer1; sd_tamper_kind kind; } run_of;
typedef struct work {
    const sd_exec *ex;
    const sd_model *m;
    int64_t d, n_vec;
    int L, n_band, n_run;
    run_of run[MOST_RUNS];
    float *acc;      /* [2 kinds][n_band][2 halves][d, d] */
    float *vec;      /* [n_run][2 halves][K][d], then random ones */
    double *energy;  /* [2 L matrices][n_vec] */
    float *W, *G, *P; /* a matrix, its Gram matrix, its products with the candidates */
    void *scratch;
    double *solve;   /* [threads] of solve_size doubles */
    size_t solve_size;
} work;

static const sd_wmat *writer(const work *k, int l, int kind)
{
    return &k->m->block[l].mat[kind == SD_TAMPER_ATTN ? SD_MAT_O : SD_MAT_DOWN].w;
}

static int band_of(const work *k, int l) { return l * k->n_band / k->L; }
static float *acc_of(const work *k, int kind, int band, int half) { return k->acc + ((int64_t)(kind * k->n_band + band) * 2 + half) * k->d * k->d; }
static float *vec_of(const work *k, int run, int half) { return k->vec + (int64_t)(run * 2 + half) * K * k->d; }

static void plan_runs(work *k)
{
    int first[MOST_BANDS + 1] = {0};
    k->n_band = k->L / BAND < 1 ? 1 : k->L / BAND > MOST_BANDS ? MOST_BANDS : k->L / BAND;
    for (int b = 1; b <= k->n_band; b++) {
        first[b] = first[b - 1];
        while (first[b] < k->L && band_of(k, first[b]) < b) first[b]++;
    }
    for (int kind = 0; kind < 3; kind++)
        for (int a = 0; a < k->n_band; a++)
            for (int b = a; b < k->n_band; b++) k->run[k->n_run++] = (run_of){first[a], first[b + 1], (sd_tamper_kind)kind};
}

static sd_status take_memory(work *k, const sd_tamper_opt *opt, sd_err *err)
{
    int64_t elements, side;
    size_t dd = (size_t)k->d * (size_t)k->d;
    sd_tamper__sizes(k->m, &elements, &side);
    k->n_vec = (int64_t)k->n_run * 2 * K + SD_TAMPER_RANDOM;
    k->solve_size = dd + (size_t)K * (size_t)k->d + sd_eig_scratch(k->d) / sizeof(double);
    sd_status st = sd_alloc_zero(&k->acc, 4 * (size_t)k->n_band * dd * sizeof(float), "Gram matrices", err);
    if (!st) st = sd_alloc(&k->vec, (size_t)k->n_vec * (size_t)k->d * sizeof(float), "directions", err);
    if (!st) st = sd_alloc(&k->energy, 2 * (size_t)k->L * (size_t)k->n_vec * sizeof(double), "energies", err);
    if (!st) st = sd_alloc(&k->W, (size_t)elements * sizeof(float), "a matrix", err);
    if (!st) st = sd_alloc(&k->G, dd * sizeof(float), "a Gram matrix", err);
    if (!st) st = sd_alloc(&k->P, (size_t)k->n_vec * (size_t)side * sizeof(float), "products", err);
    if (!st) st = sd_alloc(&k->scratch, sd_prod_scratch(k->ex, k->n_vec > k->d ? k->n_vec : k->d, side), "products", err);
    if (!st) st = sd_alloc(&k->solve, (size_t)k->ex->n_threads * k->solve_size * sizeof(double), "eigenvectors", err);
    if (!st) sd_tamper__random(k->vec + (k->n_vec - SD_TAMPER_RANDOM) * k->d, SD_TAMPER_RANDOM, k->d, opt->seed);
    return st;
}

static void add_gram(work *k, int l, int kind)
{
    const sd_wmat *w = writer(k, l, kind);
    double norm = sd_tamper__decode(k->W, w);
    if (!(norm > 0)) return;
    sd_prod p = {.kind = SD_PROD_NT, .c = sd_mat_of(k->G, k->d, k->d), .a = sd_mat_of(k->W, k->d, w->cols), .b = sd_wmat_of(k->W, k->d, w->cols)};
    sd_prod_run(k->ex, &p, k->scratch);
    float *acc = acc_of(k, kind, band_of(k, l), l & 1), scale = (float)((double)k->d / norm);
    for (int64_t i = 0; i < k->d * k->d; i++) acc[i] += scale * k->G[i];
}

static void measure(work *k, int l, int kind)
{
    const sd_wmat *w = writer(k, l, kind);
    double norm = sd_tamper__decode(k->W, w), *e = k->energy + (int64_t)(kind * k->L + l) * k->n_vec;
    sd_prod p = {.kind = SD_PROD_NN, .c = sd_mat_of(k->P, k->n_vec, w->cols), .a = sd_mat_of(k->vec, k->n_vec, k->d), .b = sd_wmat_of(k->W, k->d, w->cols)};
    sd_prod_run(k->ex, &p, k->scratch);
    for (int64_t v = 0; v < k->n_vec; v++) e[v] = norm > 0 ? sd_dot(k->P + v * w->cols, k->P + v * w->cols, w->cols) * (double)k->d / norm : 1;
}

static sd_status walk(work *k, void (*fn)(work *, int, int), const char *what, const sd_progress *progress, sd_err *err)
{
    for (int l = 0; l < k->L; l++) {
        fn(k, l, SD_TAMPER_ATTN);
        fn(k, l, SD_TAMPER_MLP);
        sd_progress_update(progress, what, l + 1, k->L, "blocks");
        if (sd_progress_cancelled(progress)) return sd_fail(err, SD_E_CANCELLED, "stopped after %d of %d blocks", l + 1, k->L);
    }
    return SD_OK;
}

/* The weakest directions of one half of one run; task = run * 2 + half. */
static void solve(void *arg, int64_t task, int64_t begin, int64_t end)
{
    work *k = arg;
    const run_of *r = &k->run[task / 2];
    int half = (int)(task & 1);
    double *a = k->solve + (size_t)sd_par_worker() * k->solve_size, *vec = a + k->d * k->d, value[K];
    float *to = vec_of(k, (int)(task / 2), half);
    (void)begin, (void)end;
    memset(a, 0, (size_t)(k->d * k->d) * sizeof *a);
    for (int kind = 0; kind < 2; kind++)
        for (int b = band_of(k, r->layer0); b <= band_of(k, r->layer1 - 1); b++) {
            const float *from = acc_of(k, kind, b, half);
            if (r->kind != SD_TAMPER_BOTH && (int)r->kind != kind) continue;
            for (int64_t i = 0; i < k->d * k->d; i++) a[i] += (double)from[i];
        }
    sd_eig_lowest(value, vec, a, k->d, K, vec + K * k->d);
    for (int64_t i = 0; i < K * k->d; i++) to[i] = (float)vec[i];
}

/* Smallest cosine of the principal angles between the first n of both halves: the least singular value of their products. */
static double agreement(const work *k, int run, int n)
{
    double g[MOST_CUT * MOST_CUT], vec[MOST_CUT * MOST_CUT], c[MOST_CUT][MOST_CUT], value[MOST_CUT], scratch[MOST_CUT * 64];
    const float *x = vec_of(k, run, 0), *y = vec_of(k, run, 1);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) c[i][j] = sd_dot(x + i * k->d, y + j * k->d, k->d);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            g[i * n + j] = 0;
            for (int t = 0; t < n; t++) g[i * n + j] += c[i][t] * c[j][t];
        }
    SD_ASSERT(sd_eig_scratch(n) <= sizeof scratch);
    sd_eig_lowest(value, vec, g, n, 1, scratch);
    return sqrt(fmin(1, value[0]));
}

/* Geometric means, over a run's matrices, of candidates that were found in the other half. */
static void held_out(const work *k, int run, double *energy)
{
    const run_of *r = &k->run[run];
    int64_t n = 0;
    for (int j = 0; j < K; j++) energy[j] = 0;
    for (int kind = 0; kind < 2; kind++)
        for (int l = r->layer0; l < r->layer1; l++) {
            if (r->kind != SD_TAMPER_BOTH && (int)r->kind != kind) continue;
            const double *e = k->energy + (int64_t)(kind * k->L + l) * k->n_vec + (run * 2 + !(l & 1)) * K;
            for (int j = 0; j < K; j++) energy[j] += log(fmax(e[j], FLOOR));
            n++;
        }
    for (int j = 0; j < K; j++) energy[j] = exp(energy[j] / (double)n);
}

/* The run and number of directions whose gap stands out most; one that looks like a cut goes first. The logarithm of a gap is a mean over matrices:
 * times the square root of their number it prefers the whole of an edit to a part of it, and the edit to what lies around it. */
static void choose(const work *k, sd_tamper *out, int *best_run)
{
    double best = -INFINITY;
    for (int run = 0; run < k->n_run; run++) {
        double e[K];
        held_out(k, run, e);
        for (int j = 1; j <= MOST_CUT; j++) {
            sd_tamper_weak w = {.measured = true, .layer0 = k->run[run].layer0, .layer1 = k->run[run].layer1, .kind = k->run[run].kind, .n_direction = j, .gap = e[j] / e[j - 1]};
            w.agreement = agreement(k, run, j);
            double count = (double)(w.layer1 - w.layer0) * (w.kind == SD_TAMPER_BOTH ? 2 : 1), score = log(w.gap) * sqrt(count);
            w.consistent = w.gap >= GAP && e[j - 1] <= STRENGTH && w.agreement >= AGREEMENT;
            if (out->weak.measured && (w.consistent != out->weak.consistent ? !w.consistent : !(score > best))) continue;
            best = score;
            memcpy(w.energy, e, sizeof e);
            out->weak = w;
            *best_run = run;
        }
    }
}

/* Energies of every block along the chosen directions, and of random ones. */
static void profile(const work *k, sd_tamper *out, int run)
{
    sd_tamper_weak *w = &out->weak;
    w->random_lo = INFINITY;
    for (int l = 0; l < k->L; l++)
        for (int kind = 0; kind < 2; kind++) {
            const double *e = k->energy + (int64_t)(kind * k->L + l) * k->n_vec, *own = e + (run * 2 + !(l & 1)) * K, *random = e + k->n_vec - SD_TAMPER_RANDOM;
            double sum = 0;
            for (int j = 0; j < w->n_direction; j++) sum += log(fmax(own[j], FLOOR));
            (kind == SD_TAMPER_ATTN ? out->attn : out->mlp)[l] = (float)exp(sum / w->n_direction);
            for (int j = 0; j < SD_TAMPER_RANDOM; j++) {
                w->random_lo = fmin(w->random_lo, random[j]);
                w->random_hi = fmax(w->random_hi, random[j]);
            }
        }
}

/* Tables that write into the stream too. Along the weakest direction of both halves. */
static double embedding(const work *k, int run, int n)
{
    const sd_wmat *w = &k->m->embed;
    double along = 0, all = 0;
    for (int64_t r = 0; r < w->rows; r++) {
        sd_wmat_decode_row(k->P, w, r);
        all += sd_dot(k->P, k->P, k->d);
        for (int half = 0; half < 2; half++)
            for (int j = 0; j < n; j++) {
                double p = sd_dot(k->P, vec_of(k, run, half) + j * k->d, k->d);
                along += p * p / (2 * n);
            }
    }
    return all > 0 ? along * (double)k->d / all : NAN;
}

sd_status sd_tamper__weak(sd_tamper *out, const sd_exec *ex, const sd_model *m, const sd_tamper_opt *opt, sd_err *err)
{
    work k = {.ex = ex, .m = m, .d = m->cfg.d_model, .L = m->n_layer_loaded};
    int run = 0;
    if (k.L < LEAST_LAYERS || k.d < LEAST_WIDTH) return SD_OK;
    plan_runs(&k);
    sd_status st = take_memory(&k, opt, err);
    if (!st) st = sd_alloc(&out->attn, (size_t)k.L * sizeof(float), "a profile", err);
    if (!st) st = sd_alloc(&out->mlp, (size_t)k.L * sizeof(float), "a profile", err);
    if (!st) st = walk(&k, add_gram, "directions", opt->progress, err);
    if (!st) {
        sd_parallel_for(ex->n_threads, 2 * k.n_run, 1, solve, &k);
        st = walk(&k, measure, "energies", opt->progress, err);
    }
    if (!st) {
        choose(&k, out, &run);
        profile(&k, out, run);
        out->weak.embed = out->weak.consistent ? embedding(&k, run, out->weak.n_direction) : NAN;
    }
    sd_free(k.acc);
    sd_free(k.vec);
    sd_free(k.energy);
    sd_free(k.W);
    sd_free(k.G);
    sd_free(k.P);
    sd_free(k.scratch);
    sd_free(k.solve);
    return st;
}
