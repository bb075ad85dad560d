/* Baselines that see tokens and never the model: what a table of pairs and a bag of the last tokens know of a concept. */
#include "lab/recover_int.h"

#include "base/par.h"

#include <math.h>
#include <stdlib.h>

enum { C = SD_RECOVER_CONCEPTS, BAG_WINDOW = 16 };

/* The pair (token before, token); -1 before a document's first. */
static uint64_t pair_at(const recover_half *h, int64_t i)
{
    bool begins = i == 0 || h->doc[i] != h->doc[i - 1];
    uint32_t before = begins ? UINT32_MAX : (uint32_t)h->token[i - 1];
    return (uint64_t)before << 32 | (uint32_t)h->token[i];
}

static int by_key(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int64_t find(const uint64_t *key, int64_t n, uint64_t k)
{
    int64_t lo = 0, hi = n;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        if (key[mid] < k) lo = mid + 1;
        else hi = mid;
    }
    return lo < n && key[lo] == k ? lo : -1;
}

/* How often each key was seen, and with which labels. */
typedef struct tally {
    uint64_t *key;
    int64_t n;
    int32_t *all;       /* [n] */
    int32_t (*hit)[C];  /* [n] */
} tally;

static void tally_release(tally *t)
{
    sd_free(t->key);
    sd_free(t->all);
    sd_free(t->hit);
}

static sd_status tally_keys(tally *t, const recover_half *h, const uint64_t *key, sd_err *err)
{
    sd_status st = sd_alloc(&t->key, (size_t)h->n * sizeof *t->key, "pairs of tokens", err);
    if (st) return st;
    memcpy(t->key, key, (size_t)h->n * sizeof *key);
    qsort(t->key, (size_t)h->n, sizeof *t->key, by_key);
    for (int64_t i = 0; i < h->n; i++)
        if (i == 0 || t->key[i] != t->key[i - 1]) t->key[t->n++] = t->key[i];
    st = sd_alloc_zero(&t->all, (size_t)t->n * sizeof *t->all, "pairs of tokens", err);
    if (!st) st = sd_alloc_zero(&t->hit, (size_t)t->n * sizeof *t->hit, "pairs of tokens", err);
    for (int64_t i = 0; i < h->n && !st; i++) {
        int64_t at = find(t->key, t->n, key[i]);
        t->all[at]++;
        for (uint64_t m = h->mask[i]; m; m &= m - 1) t->hit[at][__builtin_ctzll(m)]++;
    }
    return st;
}

/* P(c | pair) with the token's own share as one pseudo-count, and that with the concept's: a token of the choosing half does
 * not count itself. */
static float share(const tally *pairs, const tally *ones, const int64_t at[2], int c, double prior, int own, int minus)
{
    double token = prior, all, hit;
    if (at[1] >= 0) {
        all = ones->all[at[1]] - minus;
        hit = ones->hit[at[1]][c] - own;
        token = (hit + prior) / (all + 1);
    }
    if (at[0] < 0) return (float)token;
    all = pairs->all[at[0]] - minus;
    hit = pairs->hit[at[0]][c] - own;
    return (float)((hit + token) / (all + 1));
}

sd_status sd_recover__pairs(sd_recovered *v, const recover_set *s, sd_err *err)
{
    tally t[2] = {{0}, {0}};
    uint64_t *key[2] = {NULL, NULL};
    int64_t (*at[2])[2] = {NULL, NULL};
    float *score[2] = {NULL, NULL};
    recover_table *room = NULL;
    sd_status st = sd_alloc(&room, sizeof *room, "pairs of tokens", err);
    if (st) return st;
    for (int h = 0; h < 2; h++) {
        const recover_half *p = &s->half[h];
        if ((st = sd_alloc(&key[h], (size_t)(2 * p->n) * sizeof *key[h], "pairs of tokens", err))) goto done;
        if ((st = sd_alloc(&at[h], (size_t)p->n * sizeof *at[h], "pairs of tokens", err))) goto done;
        if ((st = sd_alloc(&score[h], (size_t)p->n * sizeof *score[h], "pairs of tokens", err))) goto done;
        for (int64_t i = 0; i < p->n; i++) {
            key[h][i] = pair_at(p, i);
            key[h][p->n + i] = (uint64_t)(uint32_t)p->token[i];
        }
    }
    if ((st = tally_keys(&t[0], &s->half[0], key[0], err))) goto done;
    if ((st = tally_keys(&t[1], &s->half[0], key[0] + s->half[0].n, err))) goto done;
    for (int h = 0; h < 2; h++)
        for (int64_t i = 0; i < s->half[h].n; i++)
            for (int j = 0; j < 2; j++) at[h][i][j] = find(t[j].key, t[j].n, key[h][j * s->half[h].n + i]);
    for (int c = 0; c < s->n_concept; c++) {
        double prior = (double)s->half[0].count[c] / (double)s->half[0].n;
        for (int h = 0; h < 2; h++)
            for (int64_t i = 0; i < s->half[h].n; i++)
                score[h][i] = share(&t[0], &t[1], at[h][i], c, prior, h == 0 ? (int)(s->half[h].mask[i] >> c & 1) : 0, h == 0);
        sd_recover__judge(&v[c].pairs, room, s, c, score[0], score[1]);
    }
done:
    sd_free(room);
    for (int h = 0; h < 2; h++) {
        tally_release(&t[h]);
        sd_free(key[h]);
        sd_free(at[h]);
        sd_free(score[h]);
    }
    return st;
}

/* ---- a bag of recent tokens ---- */

typedef struct bag {
    const recover_set *s;
    sd_recovered *v;
    int64_t n_vocab, stride;
    double *count; /* [n_threads, 2 n_vocab] */
    float *score;  /* [n_threads, 2 stride] */
    recover_table *t; /* [n_threads] */
} bag;

static int64_t window_begin(const recover_half *h, int64_t i)
{
    int64_t b = i;
    while (b > 0 && i - b < BAG_WINDOW - 1 && h->doc[b - 1] == h->doc[i]) b--;
    return b;
}

/* A token's weight is log P(token | c) - log P(token | not c) over the windows of the choosing half, each token counted once
 * more; a place's score is the mean weight of its window. */
static void bag_concept(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    bag *k = arg;
    double *no = k->count + 2 * k->n_vocab * sd_par_worker(), *yes = no + k->n_vocab, total[2];
    float *score[2];
    score[0] = k->score + 2 * k->stride * sd_par_worker();
    score[1] = score[0] + k->stride;
    (void)chunk;
    for (int64_t c = begin; c < end; c++) {
        const recover_half *A = &k->s->half[0];
        for (int64_t t = 0; t < 2 * k->n_vocab; t++) no[t] = 1;
        total[0] = total[1] = (double)k->n_vocab;
        for (int64_t i = 0; i < A->n; i++) {
            int is = (int)(A->mask[i] >> c & 1);
            for (int64_t b = window_begin(A, i); b <= i; b++) {
                (is ? yes : no)[A->token[b]]++;
                total[is]++;
            }
        }
        for (int64_t t = 0; t < k->n_vocab; t++) yes[t] = log(yes[t] / total[1]) - log(no[t] / total[0]);
        for (int h = 0; h < 2; h++) {
            const recover_half *p = &k->s->half[h];
            for (int64_t i = 0; i < p->n; i++) {
                double sum = 0;
                int64_t from = window_begin(p, i);
                for (int64_t b = from; b <= i; b++) sum += yes[p->token[b]];
                score[h][i] = (float)(sum / (double)(i + 1 - from));
            }
        }
        sd_recover__judge(&k->v[c].bag, &k->t[sd_par_worker()], k->s, (int)c, score[0], score[1]);
    }
}

sd_status sd_recover__bag(sd_recovered *v, const recover_set *s, int64_t n_vocab, sd_err *err)
{
    bag k = {.s = s, .v = v, .n_vocab = n_vocab};
    k.stride = s->half[0].n > s->half[1].n ? s->half[0].n : s->half[1].n;
    sd_status st = sd_alloc(&k.count, (size_t)(2 * n_vocab * s->ex->n_threads) * sizeof *k.count, "a bag of tokens", err);
    if (!st) st = sd_alloc(&k.score, (size_t)(2 * k.stride * s->ex->n_threads) * sizeof *k.score, "a bag of tokens", err);
    if (!st) st = sd_alloc(&k.t, (size_t)s->ex->n_threads * sizeof *k.t, "a bag of tokens", err);
    if (!st) sd_parallel_for(s->ex->n_threads, s->n_concept, 1, bag_concept, &k);
    sd_free(k.count);
    sd_free(k.score);
    sd_free(k.t);
    return st;
}
