/* Owns: the choice of examples. Everything is exact over all entries of the feature; chance enters only through the seeded
 * draw inside an interval. Entries of a feature are ascending by row, so a window's values are its neighbours in the list. */
#include "lab/feature_study.h"

#include "base/hash.h"
#include "base/rng.h"
#include <math.h>
#include <stdlib.h>

/* Candidates looked at for the top list before more are sorted; twenty distinct places are nearly always among them. */
enum { TOP_CANDIDATES = 256 };
/* Draws tried for an interval: enough to find five distinct ones in a feature that repeats itself. */
enum { DRAWS = 48 };
enum { CONTEXT_KEY_TOKENS = 8 };

typedef struct entry { uint32_t row; float val; } entry;
typedef struct taken { int32_t doc, pos; uint64_t key; } taken;
typedef struct token_sum { double sum; int64_t n; float max; } token_sum;

typedef struct scratch {
    uint32_t *member;     /* [max_count] entries by interval; candidates */
    entry *sorted;        /* [max_count] */
    token_sum *token;     /* [n_vocab], zero between features */
    int32_t *touched;     /* [n_vocab] */
    taken *taken;
    int n_taken;
} scratch;

struct sd_study {
    const sd_rows *rows;
    sd_study_opt opt;
    sd_study_size size;
    scratch *worker;
};

/* The entries of the feature at hand. */
typedef struct list { const uint32_t *row; const float *val; int64_t n; double lo, hi; } list;

static int max_examples(const sd_study_opt *o) { return o->n_top + o->n_intervals * o->per_interval; }

sd_status sd_study_new(sd_study **out, const sd_rows *rows, const sd_study_opt *opt, const sd_study_size *size, sd_err *err)
{
    sd_study *s = NULL;
    *out = NULL;
    SD_ASSERT(opt->before >= 0 && opt->after >= 0 && opt->before + opt->after < SD_FEATURE_WINDOW_MAX);
    sd_status st = sd_alloc_zero(&s, sizeof *s, "the study of features", err);
    if (st) return st;
    *s = (sd_study){.rows = rows, .opt = *opt, .size = *size};
    st = sd_alloc_zero(&s->worker, (size_t)size->n_threads * sizeof *s->worker, "the study of features", err);
    for (int w = 0; w < size->n_threads && !st; w++) {
        scratch *c = &s->worker[w];
        size_t n = (size_t)(size->max_count ? size->max_count : 1);
        if (!st) st = sd_alloc(&c->member, n * sizeof *c->member, "entries of a feature", err);
        if (!st) st = sd_alloc(&c->sorted, n * sizeof *c->sorted, "entries of a feature", err);
        if (!st) st = sd_alloc_zero(&c->token, (size_t)size->n_vocab * sizeof *c->token, "tokens of a feature", err);
        if (!st) st = sd_alloc(&c->touched, (size_t)size->n_vocab * sizeof *c->touched, "tokens of a feature", err);
        if (!st) st = sd_alloc(&c->taken, ((size_t)max_examples(opt) + 1) * sizeof *c->taken, "examples", err);
    }
    if (st) {
        sd_study_free(s);
        return st;
    }
    *out = s;
    return SD_OK;
}

void sd_study_free(sd_study *s)
{
    if (!s) return;
    for (int w = 0; s->worker && w < s->size.n_threads; w++) {
        scratch *c = &s->worker[w];
        sd_free(c->member);
        sd_free(c->sorted);
        sd_free(c->token);
        sd_free(c->touched);
        sd_free(c->taken);
    }
    sd_free(s->worker);
    sd_free(s);
}

/* The next n bytes of a block that is measured first (mem NULL) and handed out then. */
static void *piece(char *mem, size_t *at, size_t n)
{
    void *p = mem ? mem + *at : NULL;
    *at += (n + 63) & ~(size_t)63;
    return p;
}

static size_t lay_out(sd_feature *f, char *mem, const sd_study_opt *o, int n_logits, int n_near)
{
    size_t at = 0, w = (size_t)(o->before + 1 + o->after), e = (size_t)max_examples(o);
    f->hist.count = piece(mem, &at, (size_t)o->hist_bins * sizeof(int64_t));
    f->top = piece(mem, &at, (size_t)n_logits * sizeof *f->top);
    f->bottom = piece(mem, &at, (size_t)n_logits * sizeof *f->bottom);
    f->near = piece(mem, &at, (size_t)n_near * sizeof *f->near);
    f->token = piece(mem, &at, (size_t)o->n_fires * sizeof *f->token);
    f->interval = piece(mem, &at, (size_t)o->n_intervals * sizeof *f->interval);
    sd_example *ex = piece(mem, &at, e * sizeof *ex);
    int32_t *tok = piece(mem, &at, e * w * sizeof *tok);
    float *val = piece(mem, &at, e * w * sizeof *val);
    f->example = ex;
    for (size_t i = 0; mem && i < e; i++) {
        ex[i].tok = tok + i * w;
        ex[i].val = val + i * w;
    }
    return at;
}

sd_status sd_study_slot_init(sd_study_slot *slot, const sd_study_opt *opt, int n_logits, int n_near, sd_err *err)
{
    *slot = (sd_study_slot){0};
    sd_status st = sd_alloc_zero(&slot->mem, lay_out(&slot->f, NULL, opt, n_logits, n_near), "a feature", err);
    if (!st) lay_out(&slot->f, slot->mem, opt, n_logits, n_near);
    return st;
}

void sd_study_slot_release(sd_study_slot *slot)
{
    sd_free(slot->mem);
    *slot = (sd_study_slot){0};
}

static int by_row(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    return x->row < y->row ? -1 : x->row > y->row;
}

static int by_value(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->val != y->val) return x->val > y->val ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

/* Rows as they came -> rows in reading order. */
static void put_in_order(sd_postings *p, int64_t a, int64_t n, const uint32_t *place, entry *tmp)
{
    for (int64_t i = 0; i < n; i++) tmp[i] = (entry){place[p->row[a + i]], p->val[a + i]};
    qsort(tmp, (size_t)n, sizeof *tmp, by_row);
    for (int64_t i = 0; i < n; i++) {
        p->row[a + i] = tmp[i].row;
        p->val[a + i] = tmp[i].val;
    }
}

static void statistics(sd_feature *f, list *l, const sd_study *s)
{
    double sum = 0;
    int64_t *hist = (int64_t *)(uintptr_t)f->hist.count;
    int bins = s->opt.hist_bins;
    l->lo = l->n ? (double)l->val[0] : 0;
    l->hi = 0;
    for (int64_t i = 0; i < l->n; i++) {
        double v = (double)l->val[i];
        sum += v;
        l->lo = v < l->lo ? v : l->lo;
        l->hi = v > l->hi ? v : l->hi;
    }
    for (int b = 0; b < bins; b++) hist[b] = 0;
    for (int64_t i = 0; i < l->n; i++) {
        int b = (int)ceil((double)l->val[i] / l->hi * bins) - 1; /* bin b holds (b, b + 1] / bins */
        hist[b < 0 ? 0 : b < bins ? b : bins - 1]++;
    }
    f->hist.lo = 0;
    f->hist.hi = l->hi;
    f->hist.n = l->n ? bins : 0;
    f->stats.n_fire = l->n;
    f->stats.density = (double)l->n / (double)s->size.n_tokens;
    f->stats.max_act = l->hi;
    f->stats.mean_act = l->n ? sum / (double)l->n : 0;
}

/* The last tokens up to the one at row, as a key: the same words before a peak are the same example. */
static uint64_t context_key(const sd_rows *r, int64_t row)
{
    int64_t a, b;
    sd_rows_window(r, row, CONTEXT_KEY_TOKENS - 1, 0, &a, &b);
    return sd_hash64(r->token + a, (size_t)(b - a) * sizeof *r->token);
}

static bool is_new(const scratch *c, const sd_study *s, int64_t row, uint64_t key)
{
    const sd_rows *r = s->rows;
    for (int i = 0; i < c->n_taken; i++) {
        if (c->taken[i].key == key) return false;
        if (c->taken[i].doc == r->doc[row] && abs(c->taken[i].pos - r->pos[row]) <= s->opt.after) return false;
    }
    return true;
}

/* Tokens and values of the window around entry i. */
static void take(sd_feature *f, scratch *c, const sd_study *s, const list *l, int64_t i, int group, int rank)
{
    const sd_rows *r = s->rows;
    int64_t row = l->row[i], a, b;
    sd_example *e = (sd_example *)(uintptr_t)&f->example[f->n_example++];
    int32_t *tok = (int32_t *)(uintptr_t)e->tok;
    float *val = (float *)(uintptr_t)e->val;
    sd_rows_window(r, row, s->opt.before, s->opt.after, &a, &b);
    e->group = group;
    e->rank = rank;
    e->doc = r->doc[row];
    e->pos = r->pos[row];
    e->pos0 = r->pos[a];
    e->n = r->pos[b - 1] - e->pos0 + 1;
    e->act = l->val[i];
    for (int t = 0; t < e->n; t++) {
        tok[t] = SD_FEATURE_GAP;
        val[t] = 0;
    }
    for (int64_t k = a; k < b; k++) tok[r->pos[k] - e->pos0] = r->token[k];
    for (int64_t k = i; k >= 0 && l->row[k] >= a; k--) val[r->pos[l->row[k]] - e->pos0] = l->val[k];
    for (int64_t k = i + 1; k < l->n && l->row[k] < b; k++) val[r->pos[l->row[k]] - e->pos0] = l->val[k];
    c->taken[c->n_taken++] = (taken){e->doc, e->pos, context_key(r, row)};
}

/* Index of the entry at a row (entries are ascending by row). */
static int64_t find_row(const list *l, uint32_t row)
{
    int64_t lo = 0, hi = l->n;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        if (l->row[mid] < row) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

/* The value that at least `want` entries reach, found by halving the histogram's bin it must lie in; entries above it are few. */
static float floor_of_top(const sd_feature *f, int64_t want)
{
    int64_t n = 0;
    for (int b = f->hist.n - 1; b >= 0; b--) {
        n += f->hist.count[b];
        if (n >= want) return (float)(f->hist.hi * b / f->hist.n);
    }
    return 0;
}

static void pick_top(sd_feature *f, scratch *c, const sd_study *s, const list *l)
{
    for (int64_t want = TOP_CANDIDATES;; want *= 8) {
        float floor = want < l->n ? floor_of_top(f, want) : 0;
        int64_t n = 0;
        for (int64_t i = 0; i < l->n; i++)
            if (l->val[i] >= floor) c->sorted[n++] = (entry){l->row[i], l->val[i]};
        qsort(c->sorted, (size_t)n, sizeof *c->sorted, by_value);
        f->n_example = c->n_taken = 0;
        for (int64_t k = 0; k < n && f->n_example < s->opt.n_top; k++)
            if (is_new(c, s, c->sorted[k].row, context_key(s->rows, c->sorted[k].row)))
                take(f, c, s, l, find_row(l, c->sorted[k].row), 0, f->n_example);
        if (f->n_example == s->opt.n_top || n == l->n) return;
    }
}

/* Is entry i the highest of its window? */
static bool is_peak(const sd_study *s, const list *l, int64_t i)
{
    const sd_rows *r = s->rows;
    int64_t row = l->row[i], a, b;
    sd_rows_window(r, row, s->opt.before, s->opt.after, &a, &b);
    for (int64_t k = i - 1; k >= 0 && l->row[k] >= a; k--)
        if (l->val[k] > l->val[i]) return false;
    for (int64_t k = i + 1; k < l->n && l->row[k] < b; k++)
        if (l->val[k] > l->val[i]) return false;
    return true;
}

/* The last n examples, strongest first. */
static void order_examples(sd_feature *f, int n)
{
    sd_example *e = (sd_example *)(uintptr_t)f->example + f->n_example - n;
    for (int i = 1; i < n; i++)
        for (int k = i; k > 0 && e[k].act > e[k - 1].act; k--) {
            sd_example t = e[k];
            e[k] = e[k - 1];
            e[k - 1] = t;
        }
    for (int i = 0; i < n; i++) e[i].rank = i;
}

static void draw(sd_feature *f, scratch *c, const sd_study *s, const list *l, uint32_t *member, int64_t n, int group)
{
    sd_rng rng = sd_rng_make(s->opt.seed, "interval", (uint64_t)f->stats.index * 64 + (uint64_t)group);
    int64_t tries = n < DRAWS ? n : DRAWS;
    int rank = 0;
    for (int64_t k = 0; k < tries; k++) {
        int64_t other = k + (int64_t)sd_rng_below(&rng, (uint64_t)(n - k));
        uint32_t t = member[k];
        member[k] = member[other];
        member[other] = t;
    }
    for (int peaks = 1; peaks >= 0; peaks--)
        for (int64_t k = 0; k < tries && rank < s->opt.per_interval; k++) {
            int64_t i = member[k];
            if (!is_new(c, s, l->row[i], context_key(s->rows, l->row[i])) || (peaks && !is_peak(s, l, i))) continue;
            take(f, c, s, l, i, group, rank++);
        }
    order_examples(f, rank);
}

static int interval_of(const list *l, float v, int n)
{
    double w = (l->hi - l->lo) / n;
    int g = w > 0 ? (int)((l->hi - (double)v) / w) : 0;
    return g < 0 ? 0 : g < n ? g : n - 1;
}

static void pick_intervals(sd_feature *f, scratch *c, const sd_study *s, const list *l)
{
    int n = s->opt.n_intervals;
    int64_t start[65] = {0}, at[64];
    sd_interval *v = (sd_interval *)(uintptr_t)f->interval;
    f->n_interval = l->n && n ? n : 0;
    if (!f->n_interval) return;
    for (int64_t i = 0; i < l->n; i++) start[interval_of(l, l->val[i], n) + 1]++;
    for (int g = 0; g < n; g++) {
        double w = (l->hi - l->lo) / n;
        v[g] = (sd_interval){(float)(l->hi - (g + 1) * w), (float)(l->hi - g * w), start[g + 1], (double)start[g + 1] / (double)s->size.n_tokens};
        start[g + 1] += start[g];
        at[g] = start[g];
    }
    v[n - 1].lo = (float)l->lo;
    for (int64_t i = 0; i < l->n; i++) c->member[at[interval_of(l, l->val[i], n)]++] = (uint32_t)i;
    for (int g = 0; g < n; g++)
        if (start[g + 1] > start[g]) draw(f, c, s, l, c->member + start[g], start[g + 1] - start[g], g + 1);
}

static void sum_tokens(sd_feature *f, scratch *c, const sd_study *s, const list *l)
{
    int64_t n = 0;
    double total = 0;
    sd_token_fire *out = (sd_token_fire *)(uintptr_t)f->token;
    for (int64_t i = 0; i < l->n; i++) {
        int32_t id = s->rows->token[l->row[i]];
        token_sum *t = &c->token[id];
        if (t->n++ == 0) c->touched[n++] = id;
        t->sum += (double)l->val[i];
        t->max = l->val[i] > t->max ? l->val[i] : t->max;
        total += (double)l->val[i];
    }
    f->n_token = 0;
    for (int64_t k = 0; k < n; k++) {
        int32_t id = c->touched[k];
        token_sum *t = &c->token[id];
        float share = (float)(t->sum / total);
        int at = f->n_token < s->opt.n_fires ? f->n_token++ : s->opt.n_fires;
        for (; at > 0 && (share > out[at - 1].share || (share == out[at - 1].share && id < out[at - 1].id)); at--)
            if (at < s->opt.n_fires) out[at] = out[at - 1];
        if (at < s->opt.n_fires) out[at] = (sd_token_fire){id, t->n, t->max, share};
        *t = (token_sum){0};
    }
}

void sd_study_run(sd_study_slot *slot, sd_study *s, sd_postings *p, int64_t f, int worker)
{
    scratch *c = &s->worker[worker];
    sd_feature *o = &slot->f;
    int64_t a = p->start[f - p->f0], n = p->start[f - p->f0 + 1] - a;
    if (s->rows->place) put_in_order(p, a, n, s->rows->place, c->sorted);
    list l = {.row = p->row + a, .val = p->val + a, .n = n};
    o->stats = (sd_feature_stats){.index = f};
    o->n_example = c->n_taken = 0;
    statistics(o, &l, s);
    pick_top(o, c, s, &l);
    pick_intervals(o, c, s, &l);
    sum_tokens(o, c, s, &l);
}
