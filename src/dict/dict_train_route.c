/* Owns routes: a wide dictionary's features are found by what rows of the same kind used before, instead of by a product with every feature.
 *
 * Rows are divided among P groups by the cosine with the groups' mean rows (spherical k-means in small batches: Sculley 2010, Web-scale k-means
 * clustering). Each group has a list of the L features that were among the exact winners of its rows most often; where there are fewer, of those that
 * win most often anywhere. Lists overlap: a feature stands wherever it is needed. A row costs P + L + m / in_turn products instead of m.
 *
 *   until step `until`    all features compete; groups and lists are learned
 *   then                  a row's k best are chosen from its group's list and from one of `in_turn` parts of all features, another one in each step: there
 *                         lists find what they lack, and a feature that fires where it should not is taught not to. Lists are renewed every `in_turn` steps
 *   from step `finish`    all features again
 * What this loses is counted: some rows are scored against all features (audited and recall in events.jsonl). */
#include "dict/dict_train_int.h"
#include "base/par.h"
#include "num/stats.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { MEMORY = 1 << 17 /* rows whose winners are remembered */, RANKS = 256 };

static int64_t memory_of(const sd_dict_train *t) { return t->opt.n_tokens < MEMORY ? t->opt.n_tokens : MEMORY; }
bool sd_train__routed(const sd_dict_train *t) { return t->opt.routes > 0 && t->step < t->route.finish; }
bool sd_train__route_exact(const sd_dict_train *t) { return t->step <= t->route.until; }
static int64_t turn_of(const sd_dict_train *t) { return t->step % t->opt.in_turn; }

sd_status sd_train__route_check(const sd_dict_train_opt *o, sd_err *err)
{
    if (!o->routes) return SD_OK;
    if (o->kind != SD_DICT_TOPK) return sd_fail(err, SD_E_ARG, "routes are for topk: a %s is not chosen row by row", sd_dict_kind_name(o->kind));
    if (o->routes < 2 || o->routes > o->m || o->in_turn < 1)
        return sd_fail(err, SD_E_ARG, "%" PRId64 " groups of rows for %" PRId64 " features, in turn in %d parts, are impossible", o->routes, o->m, o->in_turn);
    if (!(o->exact_until <= 1) || !(o->exact_from <= 1))
        return sd_fail(err, SD_E_ARG, "exact until %g and from %g of the steps: a share is at most 1", o->exact_until, o->exact_from);
    if (o->exact_from <= o->exact_until) return sd_fail(err, SD_E_ARG, "exact until %g and again from %g of the steps leave none for the lists", o->exact_until, o->exact_from);
    if (o->listed < sd_step__most_k(o) || o->listed > o->m) {
        (void)sd_fail(err, SD_E_ARG, "lists of %" PRId64 " of %" PRId64 " features are none to choose %d from", o->listed, o->m, sd_step__most_k(o));
        return sd_hint(err, "a sixty-fourth of the width, at least eight times k, is the default");
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
    SD_TAKE(base, at, g->won, R * sd_step__most_k(&t->opt)), SD_TAKE(base, at, g->won_of, R), SD_TAKE(base, at, g->won_turn, R);
    SD_TAKE(base, at, g->col, P + 1), SD_TAKE(base, at, g->row, many), SD_TAKE(base, at, g->all, m), SD_TAKE(base, at, g->rank, m);
    SD_TAKE(base, at, g->look, SD_TRAIN_AUDIT_ROWS * m), SD_TAKE(base, at, g->worker, t->n_workers);
    for (int i = 0; i < t->n_workers; i++) {
        sd_route_worker none, *w = base ? &g->worker[i] : &none;
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
    return sd_scan_new(&g->scan, ex, t->opt.routes, t->opt.d, 1, SD_SCAN_INT8, err);
}

void sd_train__route_free(sd_dict_train *t) { sd_scan_free(t->route.scan); }

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

/* Adds the winners of the i-th remembered row, counting up to `most`: a feature that was there in turn stands for the steps in which it was not. */
static void count_wins(const sd_dict_train *t, int32_t *count, int64_t i, int32_t most)
{
    const sd_route *g = &t->route;
    const int64_t K = sd_step__most_k(&t->opt);
    int64_t range[2] = {0, 0};
    if (g->won_turn[i] >= 0) sd_scan_turn(t->scan, g->won_turn[i], t->opt.in_turn, range);
    for (int64_t j = 0; j < K; j++) {
        const int32_t f = g->won[i * K + j];
        if (f < 0) continue;
        const int32_t by = f >= range[0] && f < range[1] ? t->opt.in_turn : 1;
        count[f] = count[f] < most - by ? count[f] + by : most;
    }
}

/* A group's list: the L features with the most wins among its rows, then the most anywhere (by powers of 2^(1/8)), then the lower index. */
static void make_list(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    sd_dict_train *t = arg;
    sd_route *g = &t->route;
    const sd_route_worker *w = &g->worker[sd_par_worker()];
    const int64_t m = t->opt.m, L = t->opt.listed;
    (void)chunk;
    for (int64_t p = begin; p < end; p++) {
        int32_t *list = g->list + p * L;
        int64_t above = 0, cut = RANKS * RANKS, o = 0;
        memset(w->count, 0, (size_t)m * sizeof *w->count);
        memset(w->hist, 0, (size_t)RANKS * RANKS * sizeof *w->hist);
        for (int64_t i = g->col[p]; i < g->col[p + 1]; i++) count_wins(t, w->count, g->row[i], RANKS - 1);
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
    const int64_t m = t->opt.m;
    memset(g->all, 0, (size_t)m * sizeof *g->all);
    for (int64_t i = 0; i < g->n_won; i++) count_wins(t, g->all, i, INT32_MAX);
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
        g->won_turn[g->at] = sd_train__route_exact(t) ? -1 : (int32_t)turn_of(t);
        g->won_of[g->at] = g->of[r];
        g->at = (g->at + 1) % R;
        if (g->n_won < R) g->n_won++;
    }
    if (t->step <= g->until) move_means(t, n);
    if (t->step == g->until || (t->step > g->until && turn_of(t) == 0)) make_lists(t, ex);
}

/* ---- checkpoints ---- */

int sd_train__route_parts(const sd_dict_train *t, sd_part *out)
{
    const sd_route *g = &t->route;
    const int64_t P = t->opt.routes, R = P ? memory_of(t) : 0;
    const sd_part all[] = {{"routes", SD_F32, P, t->opt.d, g->mean}, {"n_routes", SD_I64, P, 0, g->n_row}, {"listed", SD_I32, P, t->opt.listed, g->list},
                           {"won", SD_I32, R, sd_step__most_k(&t->opt), g->won}, {"won_of", SD_I32, R, 0, g->won_of}, {"won_turn", SD_I32, R, 0, g->won_turn}};
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
    if (at < 0 || at >= R || n_won < 0 || n_won > R || !within(g->list, P * t->opt.listed, 0, t->opt.m) || !within(g->won, R * sd_step__most_k(&t->opt), -1, t->opt.m) || !within(g->won_of, R, 0, P) || !within(g->won_turn, R, -1, t->opt.in_turn) ||
        !isfinite(t->kern->dot(g->mean, g->mean, P * t->opt.d)))
        return sd_fail(err, SD_E_FORMAT, "%s: the groups of rows of the checkpoint make no sense", path);
    g->at = at, g->n_won = n_won;
    return SD_OK;
}

/* ---- choosing ---- */

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

/* Some rows of some batches against every feature: what the lists lost. One step of every sixteen, a place further in each sixteen, so that all turns are met. */
void sd_train__route_audit(sd_dict_train *t, const sd_exec *ex, int64_t n)
{
    const int64_t m = t->opt.m, k = t->pick.k;
    if (t->pick.frozen || t->step % SD_TRAIN_AUDIT_STEPS != t->step / SD_TRAIN_AUDIT_STEPS % SD_TRAIN_AUDIT_STEPS || n < SD_TRAIN_AUDIT_ROWS) return;
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
    sd_route *g = &t->route;
    sd_scan_lists lists = {g->col, g->row, g->list, t->opt.routes, t->opt.listed, {0, 0}};
    sd_scan_turn(t->scan, turn_of(t), t->opt.in_turn, lists.in_turn);
    sort_rows(g, g->of, n, t->opt.routes);
    (void)sd_scan_topk_listed(t->scan, ex, t->idx, t->val, sd_mat_of(t->x, n, t->opt.d), &lists);
}
