/* Owns the auxiliary loss for dead features (Gao et al. 2024, "Scaling and evaluating sparse autoencoders", section 2.4 and
 * the appendix on the auxiliary loss): dead features alone reconstruct what the live ones leave, r = x - x' = -e,
 *   L_aux = alpha mean_t |r_t - r'_t|^2,   r' = sum of the k_aux best dead features' relu(p_f) D_f,   alpha = 1/32, k_aux = d/2.
 * Gradients go to the dead features' rows and biases only; r is a constant.
 *
 * Ours is bounded in cost: a step takes a quarter of the batch's rows, at most 512, and 2 k_aux dead features, in turn when there
 * are more, so the work is a few dense products of fixed tiles: 8 % of a step at d = 576 with batches of 2,048 and 16,384
 * features, nothing when no feature is dead. Adam divides the scale of these gradients out, so fewer rows change their noise,
 * not their size. */
#include "dict/dict_train_int.h"
#include "base/par.h"
#include <math.h>
#include <string.h>

enum { TILE = 64, MOST_ROWS = 512 };

static int64_t up(int64_t n) { return (n + TILE - 1) / TILE * TILE; }

sd_status sd_train__aux_new(sd_dict_train *t, const sd_exec *ex, sd_err *err)
{
    sd_aux *a = &t->aux;
    const int64_t d = t->opt.d, most = up(2 * (int64_t)t->opt.aux_k), rows = up(t->opt.batch / 4 + 1);
    if (t->opt.aux_alpha <= 0) return SD_OK;
    a->k = t->opt.aux_k;
    a->n_feat = most < up(t->opt.m) ? most : up(t->opt.m);
    a->n_row = rows < MOST_ROWS ? rows : MOST_ROWS;
    sd_status st = sd_score_new(&a->to_feat, ex, &(sd_score_shape){TILE, a->n_feat, d, false, false}, err);
    if (!st) st = sd_score_new(&a->to_dim, ex, &(sd_score_shape){TILE, d, a->n_feat, false, true}, err);
    if (!st) st = sd_score_new(&a->to_grad, ex, &(sd_score_shape){TILE, d, a->n_row, false, true}, err);
    return st;
}

void sd_train__aux_free(sd_dict_train *t)
{
    sd_score_free(t->aux.to_feat);
    sd_score_free(t->aux.to_dim);
    sd_score_free(t->aux.to_grad);
}

size_t sd_train__aux_lay_out(sd_dict_train *t, uint8_t *base)
{
    sd_aux *a = &t->aux;
    const int64_t d = t->opt.d, F = a->n_feat, R = a->n_row;
    size_t at = 0;
    if (!a->to_feat) return 0;
#define TAKE(p, n) SD_TAKE(base, at, p, n)
    TAKE(a->pack_w, sd_score_pack_bytes(a->to_feat)), TAKE(a->pack_dt, sd_score_pack_bytes(a->to_feat));
    TAKE(a->pack_d, sd_score_pack_bytes(a->to_dim));
    TAKE(a->pack_g, sd_score_pack_bytes(a->to_grad)), TAKE(a->pack_x, sd_score_pack_bytes(a->to_grad));
    TAKE(a->feat, F), TAKE(a->slot, t->opt.m), TAKE(a->W, F * d), TAKE(a->D, F * d), TAKE(a->b, F);
    TAKE(a->z, R * F), TAKE(a->gz, R * F), TAKE(a->zt, F * R), TAKE(a->a, R * d), TAKE(a->x, R * d);
    TAKE(a->gD, F * d), TAKE(a->gW, F * d), TAKE(a->gb, F), TAKE(a->loss, R / TILE), TAKE(a->spare, t->n_workers);
    for (int i = 0; i < t->n_workers; i++) {
        float *none, **s = base ? &a->spare[i] : &none;
        TAKE(*s, F);
    }
#undef TAKE
    return at;
}

/* The next dead features in turn; their rows side by side, zeros behind them. */
static void choose(sd_dict_train *t)
{
    sd_aux *a = &t->aux;
    const int64_t m = t->opt.m, d = t->opt.d;
    for (int64_t i = 0; i < a->n_used; i++) a->slot[a->feat[i]] = -1;
    a->n_used = 0;
    int64_t f = a->next < m ? a->next : 0;
    for (int64_t i = 0; i < m && a->n_used < a->n_feat; i++, f = f + 1 < m ? f + 1 : 0) {
        if (!sd_train__is_dead(t, f)) continue;
        const int64_t o = a->n_used++;
        a->feat[o] = (int32_t)f;
        a->slot[f] = (int32_t)o;
        memcpy(a->W + o * d, t->W + f * d, (size_t)d * sizeof *a->W);
        memcpy(a->D + o * d, t->D + f * d, (size_t)d * sizeof *a->D);
        a->b[o] = t->b[f];
    }
    if (a->n_used == 0) return;
    a->next = f;
    const size_t rest = (size_t)((a->n_feat - a->n_used) * d) * sizeof *a->W;
    memset(a->W + a->n_used * d, 0, rest);
    memset(a->D + a->n_used * d, 0, rest);
}

typedef struct job { sd_dict_train *t; int64_t n; } job;

static void pack_weights(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    sd_aux *a = &((job *)arg)->t->aux;
    (void)begin, (void)end;
    if (chunk == 0) sd_score_pack(a->to_feat, a->pack_w, a->W);
    if (chunk == 1) sd_score_pack(a->to_feat, a->pack_dt, a->D);
    if (chunk == 2) sd_score_pack(a->to_dim, a->pack_d, a->D);
}

static void pack_rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    sd_aux *a = &((job *)arg)->t->aux;
    (void)begin, (void)end;
    sd_score_pack(a->to_grad, chunk == 0 ? a->pack_g : a->pack_x, chunk == 0 ? a->a : a->x);
}

static float kth_largest(float *v, int64_t n, int64_t k) /* reorders v */
{
    int64_t lo = 0, hi = n - 1;
    while (lo < hi) {
        const float pivot = v[lo + (hi - lo) / 2];
        int64_t i = lo, j = hi;
        while (i <= j) {
            while (v[i] > pivot) i++;
            while (v[j] < pivot) j--;
            if (i > j) break;
            const float s = v[i];
            v[i++] = v[j];
            v[j--] = s;
        }
        if (k - 1 <= j) hi = j;
        else if (k - 1 >= i) lo = i;
        else break;
    }
    return v[k - 1];
}

/* relu of the k_aux best; ties at the last place all stay. */
static void activate(const sd_aux *a, float *z, float *spare)
{
    float cut = 0.0f;
    for (int64_t i = 0; i < a->n_used; i++) z[i] += a->b[i];
    if (a->n_used > a->k) {
        memcpy(spare, z, (size_t)a->n_used * sizeof *z);
        cut = kth_largest(spare, a->n_used, a->k);
    }
    for (int64_t i = 0; i < a->n_feat; i++)
        if (i >= a->n_used || !(z[i] > 0.0f) || z[i] < cut) z[i] = 0.0f;
}

/* z, then a = (2 alpha / n)(r' - r), then gz = a D^T where z > 0, for a tile of rows. */
static void rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const job *j = arg;
    sd_dict_train *t = j->t;
    sd_aux *a = &t->aux;
    const int64_t d = t->opt.d, F = a->n_feat;
    const float weight = (float)(2.0 * t->opt.aux_alpha / (double)j->n);
    double loss = 0;
    sd_score_run(a->to_feat, a->z + begin * F, a->x + begin * d, a->pack_w);
    for (int64_t r = begin; r < end; r++) {
        if (r < j->n) activate(a, a->z + r * F, a->spare[sd_par_worker()]);
        else memset(a->z + r * F, 0, (size_t)F * sizeof *a->z);
    }
    sd_score_run(a->to_dim, a->a + begin * d, a->z + begin * F, a->pack_d);
    for (int64_t r = begin; r < end; r++) {
        float *e = a->a + r * d;
        if (r < j->n) t->kern->axpy(e, 1.0f, t->e + r * d, d);
        loss += (double)t->kern->dot(e, e, d);
        for (int64_t i = 0; i < d; i++) e[i] *= weight;
    }
    sd_score_run(a->to_feat, a->gz + begin * F, a->a + begin * d, a->pack_dt);
    for (int64_t i = begin * F; i < end * F; i++)
        if (!(a->z[i] > 0.0f)) a->gz[i] = 0.0f;
    a->loss[chunk] = loss;
}

static void turn(const sd_aux *a, const float *from, int64_t f0, int64_t f1)
{
    for (int64_t f = f0; f < f1; f++)
        for (int64_t r = 0; r < a->n_row; r++) a->zt[f * a->n_row + r] = from[r * a->n_feat + f];
}

/* gD = z^T a, gW = gz^T x, gb = column sums of gz, for a tile of features. */
static void features(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    sd_dict_train *t = ((job *)arg)->t;
    sd_aux *a = &t->aux;
    const int64_t d = t->opt.d;
    (void)chunk;
    turn(a, a->z, begin, end);
    sd_score_run(a->to_grad, a->gD + begin * d, a->zt + begin * a->n_row, a->pack_g);
    turn(a, a->gz, begin, end);
    sd_score_run(a->to_grad, a->gW + begin * d, a->zt + begin * a->n_row, a->pack_x);
    for (int64_t f = begin; f < end; f++) {
        float s = 0.0f;
        for (int64_t r = 0; r < a->n_row; r++) s += a->zt[f * a->n_row + r];
        a->gb[f] = s;
    }
}

double sd_train__aux(sd_dict_train *t, const sd_exec *ex, int64_t n)
{
    sd_aux *a = &t->aux;
    const int64_t d = t->opt.d;
    double loss = 0;
    job j = {t, n < a->n_row ? n : a->n_row};
    choose(t);
    if (a->n_used == 0) return 0;
    memcpy(a->x, t->x, (size_t)(j.n * d) * sizeof *a->x);
    memset(a->x + j.n * d, 0, (size_t)((a->n_row - j.n) * d) * sizeof *a->x);
    sd_parallel_for(ex->n_threads, 3, 1, pack_weights, &j);
    sd_parallel_for(ex->n_threads, a->n_row, TILE, rows, &j);
    sd_parallel_for(ex->n_threads, 2, 1, pack_rows, &j);
    sd_parallel_for(ex->n_threads, a->n_feat, TILE, features, &j);
    for (int64_t c = 0; c < a->n_row / TILE; c++) loss += a->loss[c];
    return t->opt.aux_alpha * loss / (double)j.n;
}
