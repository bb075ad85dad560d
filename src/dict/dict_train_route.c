/* Owns routes: a wide dictionary's features are found by what rows of the same kind used before, instead of by a product with every feature.
 *
 * Rows are divided among P groups by the cosine with the groups' mean rows (spherical k-means in small batches: Sculley 2010, Web-scale k-means
 * clustering). Each group has a list of the L features that were among the exact winners of its rows most often; where there are fewer, of those that
 * win most often anywhere. Lists overlap: a feature stands wherever it is needed. A row costs P + L products instead of m.
 *
 *   until step `until`    all features compete; groups and lists are learned
 *   then                  a row's k best are chosen from its group's list, but in every `every`-th step, which is exact and renews the lists: what they
 *                         lack is found there, and lists of nothing but their own choices would never change
 *   from step `finish`    all features again
 * What this loses is counted: some rows are scored against all features (audited and recall in events.jsonl). Products are f32. */
#include "dict/dict_train_int.h"
#include "base/par.h"
#include "num/stats.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { TILE = 32, BLOCK = 256, MEMORY = 1 << 17 /* rows whose winners are remembered */, RANKS = 256 };

static int64_t memory_of(const sd_dict_train *t) { return t->opt.n_tokens < MEMORY ? t->opt.n_tokens : MEMORY; }
static int64_t block_of(const sd_dict_train *t) { return t->opt.listed < BLOCK ? t->opt.listed : BLOCK; }
bool sd_train__routed(const sd_dict_train *t) { return t->opt.routes > 0 && t->step < t->route.finish; }
bool sd_train__route_exact(const sd_dict_train *t) { return t->step <= t->route.until || t->step % t->opt.exact_every == 0; }

sd_status sd_train__route_check(const sd_dict_train_opt *o, sd_err *err)
{
    if (!o->routes) return SD_OK;
    if (o->kind != SD_DICT_TOPK) return sd_fail(err, SD_E_ARG, "routes are for topk: a %s is not chosen row by row", sd_dict_kind_name(o->kind));
    if (o->routes < 2 || o->routes > o->m || o->exact_every < 1)
        return sd_fail(err, SD_E_ARG, "%" PRId64 " groups of rows for %" PRId64 " features, exact in every step of %d, are impossible", o->routes, o->m, o->exact_every);
    if (!(o->exact_until <= 1) || !(o->exact_from <= 1))
        return sd_fail(err, SD_E_ARG, "exact until %g and from %g of the steps: a share is at most 1", o->exact_until, o->exact_from);
    if (o->listed < sd_step__most_k(o) || o->listed > o->m) {
        (void)sd_fail(err, SD_E_ARG, "lists of %" PRId64 " of %" PRId64 " features are none to choose %d from", o->listed, o->m, sd_step__most_k(o));
        return sd_hint(err, "a sixteenth of the width is the default");
    }
    return SD_OK;
}

size_t sd_train__route_lay_out(sd_dict_train *t, uint8_t *base)
{
    size_t at = 0;
    sd_route *g = &t->route;
    if (!t->opt.routes) return 0;
    const int64_t P = t->opt.routes, L = t->opt.listed, d = t->opt.d, B = t->opt.batch, m = t->opt.m, R = memory_of(t), many = R > B ? R : B;
    SD_TAKE(base, at, g->mean, P * d), SD_TAKE(base, at, g->unit, P * d), SD_TAKE(base, at, g->zero, P), SD_TAKE(base, at, g->n_row, P);
    SD_TAKE(base, at, g->of, B), SD_TAKE(base, at, g->cosine, B), SD_TAKE(base, at, g->list, P * L);
    SD_TAKE(base, at, g->won, R * sd_step__most_k(&t->opt)), SD_TAKE(base, at, g->won_of, R);
    SD_TAKE(base, at, g->col, P + 1), SD_TAKE(base, at, g->row, many), SD_TAKE(base, at, g->all, m), SD_TAKE(base, at, g->rank, m);
    SD_TAKE(base, at, g->look, SD_TRAIN_AUDIT_ROWS * m), SD_TAKE(base, at, g->worker, t->n_workers);
    for (int i = 0; i < t->n_workers; i++) {
        sd_route_worker none, *w = base ? &g->worker[i] : &none;
        SD_TAKE(base, at, w->x, TILE * d), SD_TAKE(base, at, w->W, block_of(t) * d), SD_TAKE(base, at, w->out, TILE * block_of(t)), SD_TAKE(base, at, w->score, TILE * L), SD_TAKE(base, at, w->best, L);
        SD_TAKE(base, at, w->packed, g->product ? (int64_t)sd_score_pack_bytes(g->product) : block_of(t) * (d + 64) * 4);
        SD_TAKE(base, at, w->count, m), SD_TAKE(base, at, w->hist, RANKS * RANKS);
    }
    return at;
}

sd_status sd_train__route_new(sd_dict_train *t, const sd_exec *ex, sd_err *err)
{
    sd_route *g = &t->route;
    if (!t->opt.routes) return SD_OK;
    g->until = (int64_t)(t->opt.exact_until * (double)t->n_step) + 1;
    g->finish = (int64_t)(t->opt.exact_from * (double)t->n_step) + 1;
    sd_status st = sd_scan_new_int8(&g->scan, ex, t->opt.routes, t->opt.d, 1, err);
    if (!st) st = sd_score_new(&g->product, ex, &(sd_score_shape){TILE, block_of(t), t->opt.d, false, false}, err);
    return st;
}

void sd_train__route_free(sd_dict_train *t)
{
    sd_scan_free(t->route.scan);
    sd_score_free(t->route.product);
}

/* The first mean rows: rows of the calibration, evenly apart. */
sd_status sd_train__route_seed(sd_dict_train *t, sd_mat x, sd_err *err)
{
    const int64_t P = t->opt.routes, d = t->opt.d;
    if (!P) return SD_OK;
    if (x.rows < P) {
        (void)sd_fail(err, SD_E_ARG, "%" PRId64 " groups of rows cannot begin from %" PRId64 " rows", P, x.rows);
        return sd_hint(err, "take fewer groups, or give more text");
    }
    for (int64_t p = 0; p < P; p++) {
        const float *from = sd_mat_row(x, p * x.rows / P);
        float *to = t->route.mean + p * d;
        for (int64_t i = 0; i < d; i++) to[i] = from[i] - t->mean[i];
        const double n = sd_step__norm(to, NULL, d);
        for (int64_t i = 0; i < d; i++) to[i] = n > 0 ? (float)((double)to[i] / n) : 0.0f;
        t->route.n_row[p] = 1;
    }
    return SD_OK;
}

/* The group of every row of the batch. */
int64_t sd_train__route_rows(sd_dict_train *t, const sd_exec *ex, int64_t n)
{
    sd_route *g = &t->route;
    const int64_t P = t->opt.routes, d = t->opt.d;
    if (!g->packed) {
        for (int64_t p = 0; p < P; p++) {
            const double norm = sd_step__norm(g->mean + p * d, NULL, d);
            for (int64_t i = 0; i < d; i++) g->unit[p * d + i] = norm > 0 ? (float)((double)g->mean[p * d + i] / norm) : 0.0f;
        }
        sd_scan_pack(g->scan, ex, g->unit, g->zero, NULL);
        g->packed = true;
    }
    return sd_scan_topk(g->scan, ex, g->of, g->cosine, sd_mat_of(t->x, n, d), NULL);
}

/* Rows by group: those of group p are row[col[p]] .. row[col[p + 1]], ascending. */
static void sort_rows(sd_route *g, const int32_t *of, int64_t n, int64_t P)
{
    memset(g->col, 0, (size_t)(P + 1) * sizeof *g->col);
    for (int64_t i = 0; i < n; i++) g->col[of[i] + 1]++;
    for (int64_t p = 0; p < P; p++) g->col[p + 1] += g->col[p];
    for (int64_t i = 0; i < n; i++) g->row[g->col[of[i]]++] = (int32_t)i;
    for (int64_t p = P; p > 0; p--) g->col[p] = g->col[p - 1];
    g->col[0] = 0;
}

/* ---- learning ---- */

static void move_means(sd_dict_train *t, int64_t n)
{
    sd_route *g = &t->route;
    const int64_t d = t->opt.d;
    for (int64_t r = 0; r < n; r++) {
        const float *x = t->x + r * d;
        float *c = g->mean + g->of[r] * d;
        const double norm = sd_step__norm(x, NULL, d), by = 1.0 / (double)++g->n_row[g->of[r]];
        for (int64_t i = 0; i < d && norm > 0; i++) c[i] += (float)(((double)x[i] / norm - (double)c[i]) * by);
    }
    g->packed = false;
}

/* A group's list: the L features with the most wins among its rows, then the most anywhere (by powers of 2^(1/8)), then the lower index. */
static void make_list(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    sd_dict_train *t = arg;
    sd_route *g = &t->route;
    const sd_route_worker *w = &g->worker[sd_par_worker()];
    const int64_t m = t->opt.m, L = t->opt.listed, K = sd_step__most_k(&t->opt);
    (void)chunk;
    for (int64_t p = begin; p < end; p++) {
        int32_t *list = g->list + p * L;
        int64_t above = 0, cut = RANKS * RANKS, o = 0;
        memset(w->count, 0, (size_t)m * sizeof *w->count);
        memset(w->hist, 0, (size_t)RANKS * RANKS * sizeof *w->hist);
        for (int64_t i = g->col[p]; i < g->col[p + 1]; i++)
            for (int64_t j = 0; j < K; j++) {
                const int32_t f = g->won[g->row[i] * K + j];
                if (f >= 0 && w->count[f] < RANKS - 1) w->count[f]++;
            }
        for (int64_t f = 0; f < m; f++) w->hist[w->count[f] * RANKS + g->rank[f]]++;
        while (above + w->hist[cut - 1] < L) above += w->hist[--cut];
        int64_t ties = L - above;
        for (int64_t f = 0; f < m && o < L; f++) {
            const int64_t v = w->count[f] * RANKS + g->rank[f];
            if (v >= cut || (v == cut - 1 && ties-- > 0)) list[o++] = (int32_t)f;
        }
        SD_ASSERT(o == L);
    }
}

static void make_lists(sd_dict_train *t, const sd_exec *ex)
{
    sd_route *g = &t->route;
    const int64_t m = t->opt.m, K = sd_step__most_k(&t->opt);
    memset(g->all, 0, (size_t)m * sizeof *g->all);
    for (int64_t i = 0; i < g->n_won * K; i++)
        if (g->won[i] >= 0) g->all[g->won[i]]++;
    for (int64_t f = 0; f < m; f++) g->rank[f] = (uint8_t)fmin(RANKS - 1, 8 * log2(1.0 + (double)g->all[f]));
    sort_rows(g, g->won_of, g->n_won, t->opt.routes);
    sd_parallel_for(ex->n_threads, t->opt.routes, 1, make_list, t);
}

void sd_train__route_learn(sd_dict_train *t, const sd_exec *ex, int64_t n)
{
    sd_route *g = &t->route;
    const int64_t R = memory_of(t), K = sd_step__most_k(&t->opt);
    if (t->pick.frozen) return;
    for (int64_t r = 0; r < n; r++) {
        const int64_t have = t->ptr[r + 1] - t->ptr[r];
        int32_t *to = g->won + g->at * K;
        for (int64_t j = 0; j < K; j++) to[j] = j < have ? t->idx[t->ptr[r] + j] : -1;
        g->won_of[g->at] = g->of[r];
        g->at = (g->at + 1) % R;
        if (g->n_won < R) g->n_won++;
    }
    if (t->step <= g->until) move_means(t, n);
    if (t->step >= g->until) make_lists(t, ex);
}

/* ---- checkpoints ---- */

int sd_train__route_parts(const sd_dict_train *t, sd_part *out)
{
    const sd_route *g = &t->route;
    const int64_t P = t->opt.routes, R = P ? memory_of(t) : 0;
    const sd_part all[] = {{"routes", SD_F32, P, t->opt.d, g->mean}, {"n_routes", SD_I64, P, 0, g->n_row}, {"listed", SD_I32, P, t->opt.listed, g->list},
                           {"won", SD_I32, R, sd_step__most_k(&t->opt), g->won}, {"won_of", SD_I32, R, 0, g->won_of}};
    if (!P) return 0;
    memcpy(out, all, sizeof all);
    return (int)(sizeof all / sizeof *all);
}

static bool within(const int32_t *v, int64_t n, int64_t least, int64_t end)
{
    for (int64_t i = 0; i < n; i++)
        if (v[i] < least || v[i] >= end) return false;
    return true;
}

sd_status sd_train__route_restore(sd_dict_train *t, const char *path, int64_t at, int64_t n_won, sd_err *err)
{
    sd_route *g = &t->route;
    const int64_t P = t->opt.routes, R = P ? memory_of(t) : 0;
    if (!P) return SD_OK;
    if (at < 0 || at >= R || n_won < 0 || n_won > R || !within(g->list, P * t->opt.listed, 0, t->opt.m) || !within(g->won, R * sd_step__most_k(&t->opt), -1, t->opt.m) || !within(g->won_of, R, 0, P) ||
        !isfinite(t->kern->dot(g->mean, g->mean, P * t->opt.d)))
        return sd_fail(err, SD_E_FORMAT, "%s: the groups of rows of the checkpoint make no sense", path);
    g->at = at, g->n_won = n_won;
    return SD_OK;
}

/* ---- choosing ---- */

/* Of a row's scores the k largest, features ascending (its list is), ties to the lower one. */
static void choose(sd_dict_train *t, const sd_route_worker *w, const float *s, const int32_t *list, int64_t row)
{
    const int64_t L = t->opt.listed;
    const int k = t->pick.k;
    int64_t ties = k, o = row * k;
    memcpy(w->best, s, (size_t)L * sizeof *s);
    const float last = sd_select_f32(w->best, L, L - k);
    for (int64_t i = 0; i < L; i++) ties -= s[i] > last;
    for (int64_t i = 0; i < L; i++) {
        if (!(s[i] > last || (s[i] == last && ties-- > 0))) continue;
        t->idx[o] = list[i];
        t->val[o++] = s[i];
    }
}

static void choose_group(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    sd_dict_train *t = arg;
    sd_route *g = &t->route;
    const sd_route_worker *w = &g->worker[sd_par_worker()];
    const int64_t d = t->opt.d, L = t->opt.listed, F = block_of(t);
    (void)chunk;
    for (int64_t p = begin; p < end; p++)
        for (int64_t i = g->col[p]; i < g->col[p + 1]; i += TILE) {
            const int64_t n = g->col[p + 1] - i < TILE ? g->col[p + 1] - i : TILE;
            const int32_t *list = g->list + p * L;
            for (int64_t r = 0; r < n; r++) memcpy(w->x + r * d, t->x + g->row[i + r] * d, (size_t)d * sizeof *w->x);
            for (int64_t f0 = 0; f0 < L; f0 += F) {
                const int64_t some = L - f0 < F ? L - f0 : F; /* behind them stand rows of the block before: their products are not used */
                for (int64_t f = 0; f < some; f++) memcpy(w->W + f * d, t->W + list[f0 + f] * d, (size_t)d * sizeof *w->W);
                sd_score_pack(g->product, w->packed, w->W);
                sd_score_run(g->product, w->out, w->x, w->packed);
                for (int64_t r = 0; r < n; r++)
                    for (int64_t f = 0; f < some; f++) w->score[r * L + f0 + f] = w->out[r * F + f] + t->b[list[f0 + f]];
            }
            for (int64_t r = 0; r < n; r++) choose(t, w, w->score + r * L, list, g->row[i + r]);
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
        for (int64_t i = 0; i < SD_TRAIN_AUDIT_ROWS; i++) t->route.look[i * m + f] = t->kern->dot(t->x + (l->r0 + i) * d, t->W + f * d, d) + t->b[f];
}

/* Some rows of some batches against every feature: what the lists lost. */
static void audit(sd_dict_train *t, const sd_exec *ex, int64_t n)
{
    const int64_t m = t->opt.m, k = t->pick.k;
    if (t->pick.frozen || t->step % SD_TRAIN_AUDIT_STEPS != 1 || n < SD_TRAIN_AUDIT_ROWS) return;
    look l = {t, (int64_t)((uint64_t)t->step * 2654435761u % (uint64_t)(n - SD_TRAIN_AUDIT_ROWS + 1))};
    sd_parallel_for(ex->n_threads, m, t->chunk, look_at, &l);
    for (int64_t i = 0; i < SD_TRAIN_AUDIT_ROWS; i++) {
        float *s = t->route.look + i * m, mine[SD_SCAN_BLOCK];
        int64_t found = 0;
        const int32_t *idx = t->idx + (l.r0 + i) * k;
        const int64_t some = k < SD_SCAN_BLOCK ? k : SD_SCAN_BLOCK;
        for (int64_t j = 0; j < some; j++) mine[j] = s[idx[j]];
        const float last = sd_select_f32(s, m, m - k);
        for (int64_t j = 0; j < some; j++) found += mine[j] >= last;
        t->pick.n_audited += some;
        t->pick.n_missed += some - found;
    }
}

void sd_train__route_pick(sd_dict_train *t, const sd_exec *ex, int64_t n)
{
    for (int64_t r = 0; r <= n; r++) t->ptr[r] = r * t->pick.k;
    sort_rows(&t->route, t->route.of, n, t->opt.routes);
    sd_parallel_for(ex->n_threads, t->opt.routes, 1, choose_group, t);
    audit(t, ex, n);
}
