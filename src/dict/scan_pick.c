/* Owns the choice among candidates: cuts, the exact k best, their order. All of it per row, by one thread. */
#include "dict/scan_int.h"
#include <float.h>
#include <math.h>
#include <string.h>

/* Some v with at least k of x >= v, close to the k-th largest: bisection, since counting 16 a cycle is cheaper than selecting.
 * lo must satisfy the condition. Any such v is a valid cut; a lower one only costs candidates. */
static float kth_bound(const sd_kern_dict *kd, const float *x, int64_t n, int k, float lo, float hi, int steps)
{
    for (int i = 0; i < steps && lo < hi; i++) {
        const float mid = lo + (hi - lo) * 0.5f;
        if (!(mid > lo)) break;
        const int64_t c = kd->count_ge(x, mid, n);
        if (c >= k) {
            lo = mid;
            if (c <= k + k / 8) break;
        } else {
            hi = mid;
        }
    }
    return lo;
}

static void move_cut(const sd_scan *s, sd_cand *c, int steps)
{
    float span[2];
    if (c->n < s->k) return;
    s->kd->span(span, c->low, c->n);
    if (c->cut > span[0] && s->kd->count_ge(c->low, c->cut, c->n) >= s->k) span[0] = c->cut;
    if (s->kd->count_ge(c->low, span[0], c->n) < s->k) return; /* scores that are not numbers */
    const float v = kth_bound(s->kd, c->low, c->n, s->k, span[0], span[1], steps) - 2.0f * c->eta;
    if (v > c->cut) c->cut = v;
}

void sd_scan__tighten(const sd_scan *s, sd_cand *c)
{
    move_cut(s, c, 12); /* 12 halvings: 1/4096 of the spread, far below the margin itself */
    c->n = c->mark = s->kd->compact(c->idx, c->up, c->low, c->n, c->cut);
}

/* Groups are disjoint, so k group maxima at or above v mean k features at or above v. */
void sd_scan__first_cut(const sd_scan *s, float *group, sd_cand *c, const sd_scan_in *in)
{
    sd_scan_in low = *in;
    int64_t g = 16;
    while (g < 2 * (int64_t)s->k) g *= 2;
    if (g > SD_SCAN_BLOCK / 2) return; /* groups of one would be the whole block */
    low.c = -in->c;
    s->kd->group_max(group, g, &low);
    float span[2];
    s->kd->span(span, group, g);
    if (!(span[0] > -FLT_MAX)) return; /* padding alone in a group */
    const float v = kth_bound(s->kd, group, g, s->k, span[0], span[1], 12) - 2.0f * c->eta;
    if (v > c->cut) c->cut = v;
}

/* Moves the k largest to the front (Hoare's selection, median of three). Keys are distinct. */
static void select_top(uint64_t *key, int64_t n, int64_t k)
{
    int64_t lo = 0, hi = n - 1;
    while (lo < hi) {
        const int64_t mid = lo + (hi - lo) / 2;
        const uint64_t a = key[lo], b = key[mid], c = key[hi];
        const uint64_t pivot = a > b ? (b > c ? b : a > c ? c : a) : (a > c ? a : b > c ? c : b);
        int64_t i = lo, j = hi;
        while (i <= j) {
            while (key[i] > pivot) i++;
            while (key[j] < pivot) j--;
            if (i > j) break;
            const uint64_t t = key[i];
            key[i++] = key[j];
            key[j--] = t;
        }
        if (k - 1 <= j)
            hi = j;
        else if (k - 1 >= i)
            lo = i;
        else
            return;
    }
}

/* Ascending features = the low words descending; k is small, or the keys come nearly in order. */
static void sort_by_feature(uint64_t *key, uint64_t *spare, int64_t n)
{
    if (n <= 48) {
        for (int64_t i = 1; i < n; i++) {
            const uint64_t t = key[i];
            int64_t j = i;
            for (; j > 0 && (uint32_t)key[j - 1] < (uint32_t)t; j--) key[j] = key[j - 1];
            key[j] = t;
        }
        return;
    }
    for (int64_t width = 1; width < n; width *= 2) { /* merge sort from the bottom */
        for (int64_t a = 0; a < n; a += 2 * width) {
            const int64_t mid = a + width < n ? a + width : n, end = a + 2 * width < n ? a + 2 * width : n;
            int64_t i = a, j = mid;
            for (int64_t o = a; o < end; o++)
                spare[o] = j >= end || (i < mid && (uint32_t)key[i] > (uint32_t)key[j]) ? key[i++] : key[j++];
        }
        memcpy(key, spare, (size_t)n * sizeof *key);
    }
}

void sd_scan__emit(uint64_t *key, uint64_t *spare, int64_t n, int k, int32_t *idx, float *val)
{
    select_top(key, n, k);
    sort_by_feature(key, spare, k);
    for (int i = 0; i < k; i++) {
        idx[i] = sd_scan__key_idx(key[i]);
        val[i] = sd_scan__key_val(key[i]);
    }
}

/* A binary heap of the k best keys, the worst on top. */
static void sift_down(uint64_t *key, int64_t n, int64_t i)
{
    const uint64_t t = key[i];
    for (int64_t c; (c = 2 * i + 1) < n; i = c) {
        if (c + 1 < n && key[c + 1] < key[c]) c++;
        if (key[c] >= t) break;
        key[i] = key[c];
    }
    key[i] = t;
}

int64_t sd_scan__best_of(const sd_scan *s, uint64_t *key, const float *x, const int32_t *list, int64_t begin, int64_t end)
{
    int64_t n = 0;
    for (int64_t i = begin; i < end; i++) {
        const int64_t f = list ? list[i] : i;
        const uint64_t t = sd_scan__key(sd_scan__exact(s, x, f), f);
        if (n < s->k) {
            key[n++] = t;
            if (n == s->k)
                for (int64_t h = n / 2; h-- > 0;) sift_down(key, n, h);
        } else if (t > key[0]) {
            key[0] = t;
            sift_down(key, n, 0);
        }
    }
    return n;
}

/* Exact pre-activations of n features, as keys. */
static void look_at(const sd_scan *s, sd_scan_worker *w, const float *x, const int32_t *feat, int64_t n, uint64_t *key)
{
    const sd_gather g = {s->W, feat, n, s->d};
    sd_gather_dot(s->kern, w->exact, &g, x);
    for (int64_t i = 0; i < n; i++) key[i] = sd_scan__key(w->exact[i] + s->b[feat[i]] + 0.0f, feat[i]); /* as sd_scan__exact */
    w->n_exact += n;
}

/* Candidates whose upper bound reaches `floor` and whose value is not known are multiplied out: both bounds become the exact value. */
static void make_exact(const sd_scan *s, sd_scan_worker *w, sd_cand *c, const float *x, float floor)
{
    int64_t n = 0;
    for (int64_t i = 0; i < c->n; i++)
        if (c->up[i] >= floor && !(c->low[i] >= c->up[i])) w->key2[n] = (uint64_t)i, w->feat[n++] = c->idx[i];
    const sd_gather g = {s->W, w->feat, n, s->d};
    sd_gather_dot(s->kern, w->exact, &g, x);
    for (int64_t i = 0; i < n; i++) c->up[w->key2[i]] = c->low[w->key2[i]] = w->exact[i] + s->b[w->feat[i]] + 0.0f; /* as sd_scan__exact */
    w->n_exact += n;
    move_cut(s, c, 20);
    c->n = c->mark = s->kd->compact(c->idx, c->up, c->low, c->n, c->cut);
}

void sd_scan__settle(const sd_scan *s, sd_scan_worker *w, sd_cand *c, const float *x)
{
    float span[2];
    const int64_t n = c->n;
    s->kd->span(span, c->up, n);
    make_exact(s, w, c, x, kth_bound(s->kd, c->up, n, s->k, span[0], span[1], 20));
    if (2 * c->n > n) make_exact(s, w, c, x, -INFINITY);
}

/* The k candidates with the best upper bounds first: their worst exact value is a cut without a margin below it, and of the others only
 * those whose upper bound reaches it are looked at. */
static int64_t pick_among(const sd_scan *s, sd_scan_worker *w, sd_cand *c, const float *x)
{
    int64_t n = 0, m = 0;
    move_cut(s, c, 20);
    for (int64_t i = 0; i < c->n; i++)
        if (!(c->up[i] < c->cut)) w->key2[n++] = sd_scan__key(c->up[i], i);
    SD_ASSERT(n >= s->k);
    select_top(w->key2, n, s->k);
    for (int64_t i = 0; i < s->k; i++) w->feat[i] = c->idx[sd_scan__key_idx(w->key2[i])];
    look_at(s, w, x, w->feat, s->k, w->key);
    uint64_t least = w->key[0];
    for (int64_t i = 1; i < s->k; i++)
        if (w->key[i] < least) least = w->key[i];
    const float cut = sd_scan__key_val(least) - 2.0f * c->eta;
    for (int64_t i = s->k; i < n; i++) {
        const int32_t at = sd_scan__key_idx(w->key2[i]);
        if (!(c->up[at] < cut)) w->feat[m++] = c->idx[at];
    }
    look_at(s, w, x, w->feat, m, w->key + s->k);
    return s->k + m;
}

void sd_scan__pick(const sd_scan *s, sd_scan_worker *w, sd_cand *c, const float *x, int32_t *idx, float *val)
{
    int64_t n;
    if (!c->overflow) {
        n = pick_among(s, w, c, x);
    } else {
        n = sd_scan__best_of(s, w->key, x, NULL, 0, s->m);
        w->n_exact += s->m;
        w->n_overflow++;
    }
    SD_ASSERT(n >= s->k);
    sd_scan__emit(w->key, w->key2, n, s->k, idx, val);
}
