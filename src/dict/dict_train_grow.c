/* Owns growth: a dictionary whose encoder costs less than a product with every feature, because features are found by way of parents.
 *
 *   until step `split`    only every c-th feature, c = m / parents, competes: a dictionary of parents
 *   then                  each parent's c features lie around it: 0.3 of its row + the random unit row that was drawn, scaled to unit norm (copies
 *                         without noise fail, and so does noise alone: both have no structure to be found by)
 *   until step `finish`   a row's k best are chosen among the features of its `near` best groups, by the dot with the groups' mean rows
 *   from there on         among all features, as ever
 * A row then costs parents + near c products instead of m. What this loses is counted: some rows are scored against all features (audited and
 * recall in events.jsonl; the chance of a lost winner is no longer small, it is the point). Products are f32 and go group by group, so that a
 * group's rows of W are read once a batch; the scores of a row's groups stand beside each other until its best are taken. */
#include "dict/dict_train_int.h"
#include "base/par.h"
#include "num/stats.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { TILE = 32, REFRESH = 8 /* steps that a group's mean row stays as it is: rows move by less than a learning rate each */ };
static const float PARENT_SHARE = 0.3f;

bool sd_train__grows(const sd_dict_train *t) { return t->opt.parents > 0 && t->step < t->grow.finish; }
static int64_t size_of(const sd_dict_train *t) { return t->opt.m / t->opt.parents; }

sd_status sd_train__grow_check(const sd_dict_train_opt *o, sd_err *err)
{
    if (!o->parents) return SD_OK;
    if (o->kind != SD_DICT_TOPK) return sd_fail(err, SD_E_ARG, "parents are for topk: a %s is not chosen among the best groups.", sd_dict_kind_name(o->kind));
    if (o->parents < 2 || o->m % o->parents || o->m == o->parents || o->m / o->parents > SD_SCAN_BLOCK) {
        (void)sd_fail(err, SD_E_ARG, "%" PRId64 " features are not divided among %" PRId64 " parents.", o->m, o->parents);
        return sd_hint(err, "take a divisor of the width that gives each 2 to %d features, such as its square root", SD_SCAN_BLOCK);
    }
    const int most = sd_step__most_k(o);
    if (o->near < 1 || o->near > o->parents || o->near * (o->m / o->parents) < most || o->parents < most || o->near < most) {
        (void)sd_fail(err, SD_E_ARG, "the features of %d of %" PRId64 " parents are too few to choose %d from.", o->near, o->parents, most);
        return sd_hint(err, "at least k parents have to be near");
    }
    return SD_OK;
}

size_t sd_train__grow_lay_out(sd_dict_train *t, uint8_t *base)
{
    size_t at = 0;
    sd_grow *g = &t->grow;
    if (!t->opt.parents) return 0;
    const int64_t P = t->opt.parents, d = t->opt.d, B = t->opt.batch, pairs = B * t->opt.near, c = size_of(t);
    SD_TAKE(base, at, g->W, P * d), SD_TAKE(base, at, g->b, P);
    SD_TAKE(base, at, g->idx, pairs), SD_TAKE(base, at, g->val, pairs), SD_TAKE(base, at, g->col, P + 1), SD_TAKE(base, at, g->row, pairs);
    SD_TAKE(base, at, g->score, pairs * c), SD_TAKE(base, at, g->look, SD_TRAIN_AUDIT_ROWS * t->opt.m);
    SD_TAKE(base, at, g->worker, t->n_workers);
    for (int i = 0; i < t->n_workers; i++) {
        sd_grow_worker none, *w = base ? &g->worker[i] : &none;
        SD_TAKE(base, at, w->x, TILE * d), SD_TAKE(base, at, w->out, TILE * c), SD_TAKE(base, at, w->packed, g->product ? (int64_t)sd_score_pack_bytes(g->product) : c * (d + 64) * 4);
        SD_TAKE(base, at, w->best, t->opt.near * c);
    }
    return at;
}

sd_status sd_train__grow_new(sd_dict_train *t, const sd_exec *ex, sd_err *err)
{
    sd_grow *g = &t->grow;
    if (!t->opt.parents) return SD_OK;
    g->split = (int64_t)(t->opt.parents_alone * (double)t->n_step) + 1;
    g->finish = (int64_t)(t->opt.exact_from * (double)t->n_step) + 1;
    sd_status st = sd_scan_new_int8(&g->scan, ex, t->opt.parents, t->opt.d, t->opt.near, err);
    if (!st) st = sd_score_new(&g->product, ex, &(sd_score_shape){TILE, size_of(t), t->opt.d, false, false}, err);
    return st;
}

void sd_train__grow_free(sd_dict_train *t)
{
    sd_scan_free(t->grow.scan);
    sd_score_free(t->grow.product);
}

/* A group's mean row and bias; before the split its parent's own. */
static void mean_rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    sd_dict_train *t = arg;
    const int64_t d = t->opt.d, c = size_of(t), some = t->step <= t->grow.split ? 1 : c;
    (void)chunk;
    for (int64_t p = begin; p < end; p++) {
        float *to = t->grow.W + p * d, b = 0;
        memset(to, 0, (size_t)d * sizeof *to);
        for (int64_t f = p * c; f < p * c + some; f++) {
            t->kern->axpy(to, 1.0f / (float)some, t->W + f * d, d);
            b += t->b[f] / (float)some;
        }
        t->grow.b[p] = b;
    }
}

static void split_group(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    sd_dict_train *t = arg;
    const int64_t d = t->opt.d, c = size_of(t);
    (void)chunk;
    for (int64_t p = begin; p < end; p++)
        for (int64_t f = p * c + 1; f < (p + 1) * c; f++) {
            float *D = t->D + f * d;
            t->kern->axpy(D, PARENT_SHARE, t->D + p * c * d, d);
            const double n = sd_step__norm(D, NULL, d);
            for (int64_t i = 0; i < d; i++) D[i] = (float)((double)D[i] / n);
            memcpy(t->W + f * d, D, (size_t)d * sizeof *D);
            t->b[f] = t->b[p * c];
        }
}

/* The rows of each group, ascending: pair i of the lists is row i / near. */
static void group_rows(sd_grow *g, int64_t n, int near, int64_t P)
{
    memset(g->col, 0, (size_t)(P + 1) * sizeof *g->col);
    for (int64_t i = 0; i < n * near; i++) g->col[g->idx[i] + 1]++;
    for (int64_t p = 0; p < P; p++) g->col[p + 1] += g->col[p];
    for (int64_t i = 0; i < n * near; i++) g->row[g->col[g->idx[i]]++] = (int32_t)i;
    for (int64_t p = P; p > 0; p--) g->col[p] = g->col[p - 1];
    g->col[0] = 0;
}

static void score_groups(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    sd_dict_train *t = arg;
    sd_grow *g = &t->grow;
    const sd_grow_worker *w = &g->worker[sd_par_worker()];
    const int64_t d = t->opt.d, c = size_of(t);
    (void)chunk;
    for (int64_t p = begin; p < end; p++) {
        if (g->col[p] == g->col[p + 1]) continue;
        sd_score_pack(g->product, w->packed, t->W + p * c * d);
        for (int64_t i = g->col[p]; i < g->col[p + 1]; i += TILE) {
            const int64_t n = g->col[p + 1] - i < TILE ? g->col[p + 1] - i : TILE;
            for (int64_t r = 0; r < n; r++) memcpy(w->x + r * d, t->x + g->row[i + r] / t->opt.near * d, (size_t)d * sizeof *w->x);
            sd_score_run(g->product, w->out, w->x, w->packed);
            for (int64_t r = 0; r < n; r++) {
                float *to = g->score + g->row[i + r] * c;
                for (int64_t f = 0; f < c; f++) to[f] = w->out[r * c + f] + t->b[p * c + f];
            }
        }
    }
}

/* Of a row's scores the k largest, features ascending (its groups are), ties to the lower one. */
static void choose_rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    sd_dict_train *t = arg;
    sd_grow *g = &t->grow;
    float *best = g->worker[sd_par_worker()].best;
    const int64_t c = size_of(t), all = t->opt.near * c;
    const int k = t->pick.k;
    (void)chunk;
    for (int64_t r = begin; r < end; r++) {
        const float *s = g->score + r * all;
        int64_t ties = k, o = r * k;
        memcpy(best, s, (size_t)all * sizeof *best);
        const float last = sd_select_f32(best, all, all - k);
        for (int64_t i = 0; i < all; i++) ties -= s[i] > last;
        for (int64_t i = 0; i < all; i++) {
            if (!(s[i] > last || (s[i] == last && ties-- > 0))) continue;
            t->idx[o] = (int32_t)(g->idx[r * t->opt.near + i / c] * c + i % c);
            t->val[o++] = s[i];
        }
    }
}

typedef struct look { sd_dict_train *t; int64_t r0; } look;
static void look_at(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const look *l = arg;
    const sd_dict_train *t = l->t;
    const int64_t d = t->opt.d, m = t->opt.m;
    (void)chunk;
    for (int64_t f = begin; f < end; f++)
        for (int64_t i = 0; i < SD_TRAIN_AUDIT_ROWS; i++) t->grow.look[i * m + f] = t->kern->dot(t->x + (l->r0 + i) * d, t->W + f * d, d) + t->b[f];
}

/* Some rows of some batches against every feature: what the groups lost. */
static void audit(sd_dict_train *t, const sd_exec *ex, int64_t n)
{
    const int64_t m = t->opt.m, k = t->pick.k;
    if (t->pick.frozen || t->step % SD_TRAIN_AUDIT_STEPS != 1 || n < SD_TRAIN_AUDIT_ROWS) return;
    look l = {t, (int64_t)((uint64_t)t->step * 2654435761u % (uint64_t)(n - SD_TRAIN_AUDIT_ROWS + 1))};
    sd_parallel_for(ex->n_threads, m, t->chunk, look_at, &l);
    for (int64_t i = 0; i < SD_TRAIN_AUDIT_ROWS; i++) {
        float *s = t->grow.look + i * m;
        int64_t found = 0;
        const int32_t *idx = t->idx + (l.r0 + i) * k;
        float mine[SD_SCAN_BLOCK];
        const int64_t some = k < SD_SCAN_BLOCK ? k : SD_SCAN_BLOCK;
        for (int64_t j = 0; j < some; j++) mine[j] = s[idx[j]];
        const float last = sd_select_f32(s, m, m - k);
        for (int64_t j = 0; j < some; j++) found += mine[j] >= last;
        t->pick.n_audited += some;
        t->pick.n_missed += some - found;
    }
}

sd_status sd_train__grow_pick(sd_dict_train *t, const sd_exec *ex, int64_t n, int64_t *bad)
{
    sd_grow *g = &t->grow;
    const int64_t P = t->opt.parents, c = size_of(t);
    const int k = t->pick.k, near = t->opt.near;
    const sd_mat x = sd_mat_of(t->x, n, t->opt.d);
    const bool parents_alone = t->step <= g->split;
    if (t->step == g->split + 1 && !g->was_split) {
        sd_parallel_for(ex->n_threads, P, 16, split_group, t);
        for (int64_t f = 0; f < t->opt.m; f++) t->last_fired[f] = t->n_tokens; /* nobody was silent who was not there */
        g->was_split = true;
    }
    if (parents_alone || t->step == g->split + 1 || t->step % REFRESH == 0) {
        sd_parallel_for(ex->n_threads, P, 64, mean_rows, t);
        sd_scan_pack(g->scan, ex, g->W, g->b, NULL);
        g->packed = true;
    }
    if (!g->packed) sd_scan_pack(g->scan, ex, g->W, g->b, NULL), g->packed = true; /* resumed: the means are the checkpoint's */
    *bad = sd_scan_topk(g->scan, ex, g->idx, g->val, x, NULL);
    if (*bad >= 0) return SD_OK;
    for (int64_t r = 0; r <= n; r++) t->ptr[r] = r * k;
    if (parents_alone) {
        for (int64_t f = 0; f < t->opt.m; f++)
            if (f % c) t->last_fired[f] = t->n_tokens;
        for (int64_t r = 0; r < n; r++) { /* the k best of the near ones, which are ascending */
            const float *v = g->val + r * near;
            int64_t o = r * k, ties = k;
            float *best = g->worker[0].best;
            memcpy(best, v, (size_t)near * sizeof *best);
            const float last = sd_select_f32(best, near, near - k);
            for (int i = 0; i < near; i++) ties -= v[i] > last;
            for (int i = 0; i < near; i++) {
                if (!(v[i] > last || (v[i] == last && ties-- > 0))) continue;
                t->idx[o] = (int32_t)(g->idx[r * near + i] * c);
                t->val[o++] = v[i];
            }
        }
        return SD_OK;
    }
    group_rows(g, n, near, P);
    sd_parallel_for(ex->n_threads, P, 1, score_groups, t);
    sd_parallel_for(ex->n_threads, n, SD_TRAIN_ROWS, choose_rows, t);
    audit(t, ex, n);
    return SD_OK;
}
