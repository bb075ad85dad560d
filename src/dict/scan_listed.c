/* Owns the scan of lists: rows by group, each group scored against its own list of features (scan.h). What a group reads of the encoder are its features'
 * rounded rows, 576 bytes each at d = 576, laid side by side in blocks of 512 that stay in L2 while the group's rows pass; so a group should have some
 * dozens of rows. Features in turn are scanned where they lie. Everything behind the scores is as in the scan of all features. */
#include "dict/scan_int.h"
#include "base/par.h"
#include <math.h>

/* The scores of the list's first block give each row a first cut; hits are places in the list until here. */
static void collect_first(const sd_scan *s, sd_scan_worker *w, const int32_t *list, int64_t n)
{
    sd_scan8__score_some(s, w, n);
    for (int64_t t = 0; t < n; t++) {
        sd_cand *c = &w->cand[t];
        sd_scan_in in = {w->score + t * SD_SCAN_BLOCK, w->some.b, w->some.r, w->margin[t], c->cut, SD_SCAN_BLOCK};
        sd_scan__first_cut(s, w->group, c, &in);
        in.cut = c->cut;
        const int64_t got = s->kd->scan(c->idx, c->up, &in);
        for (int64_t i = 0; i < got; i++) c->idx[i] = list[c->idx[i]];
        sd_scan__take_hits(s, w, t, got);
    }
}

/* Where the hits of a block go. */
static void open_lists(const sd_scan *s, sd_scan_worker *w, int64_t n)
{
    for (int64_t t = 0; t < n; t++) {
        const sd_cand *c = &w->cand[t];
        w->cut[t] = c->overflow ? INFINITY : c->cut;
        w->hit[t] = c->overflow ? sd_scan__nowhere(w) : (sd_scan8_out){c->idx + c->n, c->up + c->n, 0};
    }
    for (int64_t t = n; t % s->k8->n_row; t++) w->hit[t] = sd_scan__nowhere(w);
}

/* list NULL: hits are features already. */
static void close_lists(const sd_scan *s, sd_scan_worker *w, const int32_t *list, int64_t n)
{
    for (int64_t t = 0; t < n; t++) {
        const sd_scan8_out *o = &w->hit[t];
        if (!o->n || w->cand[t].overflow) continue;
        for (int64_t i = 0; i < o->n && list; i++) o->idx[i] = list[o->idx[i]];
        sd_scan__take_hits(s, w, t, o->n);
    }
}

static void scan_list(const sd_scan *s, sd_scan_worker *w, const int32_t *list, int64_t n_list, int64_t n, bool first)
{
    for (int64_t f0 = 0; f0 < n_list; f0 += SD_SCAN_BLOCK, first = false) {
        sd_scan8__take_some(s, w, list + f0, n_list - f0 < SD_SCAN_BLOCK ? n_list - f0 : SD_SCAN_BLOCK);
        if (first) {
            collect_first(s, w, list + f0, n);
            continue;
        }
        open_lists(s, w, n);
        sd_scan8__scan_some(s, w, n);
        close_lists(s, w, list + f0, n);
    }
}

static void scan_turn(const sd_scan *s, sd_scan_worker *w, const int64_t range[2], int64_t n)
{
    for (int64_t f0 = range[0]; f0 < range[1]; f0 += SD_SCAN_BLOCK) {
        open_lists(s, w, n);
        sd_scan8__scan(s, w, f0 / SD_SCAN_BLOCK, n);
        close_lists(s, w, NULL, n);
    }
}

static int64_t first_at_least(const int32_t *list, int64_t n, int64_t f)
{
    int64_t lo = 0;
    while (n > 0) {
        const int64_t half = n / 2;
        if (list[lo + half] < f) lo += half + 1, n -= half + 1;
        else n = half;
    }
    return lo;
}

/* Rows row [n] of one group, at most a tile of them. Listed features that are in turn are left to their turn, so that none is met twice. */
static void listed_tile(const sd_scan_job *j, sd_scan_worker *w, const int32_t *row, int64_t n, const int32_t *list)
{
    const sd_scan *s = j->s;
    const int64_t *turn = j->lists->in_turn, L = j->lists->n_listed;
    const int64_t i0 = first_at_least(list, L, turn[0]), i1 = first_at_least(list, L, turn[1]);
    for (int64_t t = 0; t < n; t++) {
        sd_scan__load_row(j, w, t, row[t]);
        sd_scan__begin_row(s, &w->cand[t]);
        w->cand[t].overflow = !s->flat;
    }
    if (s->flat) {
        sd_scan8__pad_rows(s, w, n);
        scan_list(s, w, list, i0, n, true);
        scan_list(s, w, list + i1, L - i1, n, i0 == 0);
        scan_turn(s, w, turn, n);
    }
    for (int64_t t = 0; t < n; t++) {
        const float *x = w->x + t * s->d;
        int32_t *idx = j->idx + (int64_t)row[t] * s->k;
        float *val = j->val + (int64_t)row[t] * s->k;
        if (!w->cand[t].overflow) {
            sd_scan__pick(s, w, &w->cand[t], x, idx, val);
            continue;
        }
        int64_t o = sd_scan__best_of(s, w->key, x, list, 0, i0);
        o += sd_scan__best_of(s, w->key + o, x, list, i1, L);
        o += sd_scan__best_of(s, w->key + o, x, NULL, turn[0], turn[1]);
        sd_scan__emit(w->key, w->key2, o, s->k, idx, val);
        w->n_exact += L - (i1 - i0) + turn[1] - turn[0];
    }
}

static void listed_group(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const sd_scan_job *j = arg;
    const sd_scan_lists *l = j->lists;
    sd_scan_worker *w = sd_scan__me(j->s);
    (void)chunk;
    for (int64_t p = begin; p < end; p++)
        for (int64_t i = l->col[p]; i < l->col[p + 1]; i += j->s->tile)
            listed_tile(j, w, l->row + i, l->col[p + 1] - i < j->s->tile ? l->col[p + 1] - i : j->s->tile, l->list + p * l->n_listed);
}

void sd_scan_turn(const sd_scan *s, int64_t turn, int64_t n_turns, int64_t range[2])
{
    for (int i = 0; i < 2; i++) {
        range[i] = s->n_block * (turn + i) / n_turns * SD_SCAN_BLOCK;
        if (range[i] > s->m) range[i] = s->m;
    }
}

int64_t sd_scan_topk_listed(sd_scan *s, const sd_exec *ex, int32_t *idx, float *val, sd_mat x, const sd_scan_lists *lists)
{
    SD_ASSERT(s->k > 0 && lists->n_listed >= s->k && x.cols == s->d && s->W && sd_scan_fits(s, ex));
    sd_scan_job j = {.s = s, .x = x, .idx = idx, .val = val, .lists = lists};
    sd_scan__begin(s);
    sd_parallel_for(ex->n_threads, lists->n_group, 1, listed_group, &j);
    return sd_scan__first_bad(s);
}
