/* Owns: the formula of interest.h. Works on tokens, not words: a word of several tokens counts by its parts. */
#include "lab/interest.h"

#include "base/hash.h"
#include <math.h>
#include <stdlib.h>

/* Tokens on each side of a peak that count as its context, and how many of a window's are looked at. */
enum { REACH = 16, MAX_PAIRS = 4096, STRONGEST = 5, MAX_PEAKS = 64 };

struct sd_interest {
    int32_t n_vocab;
    int32_t *fold;   /* [n_vocab] the token that stands for its word; -1: no letter or digit in it */
    int64_t *count;  /* [n_vocab] of the folded word in the study, at the token that stands for it */
    int64_t total;
    char *text;      /* folded texts, keys of the table while it is filled */
};

/* Lower case (ASCII) without what is no letter, digit or byte above ASCII at the start. */
static size_t fold_text(char *out, sd_slice s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool word = c >= 0x80 || (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
        if (n == 0 && !word) continue;
        out[n++] = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
    }
    return n;
}

static sd_status fold_vocabulary(sd_interest *s, const sd_tok *tok, sd_err *err)
{
    sd_table *table = NULL;
    size_t bytes = 0, at = 0;
    for (int32_t id = 0; id < s->n_vocab; id++) bytes += sd_tok_bytes(tok, id).n;
    sd_status st = sd_alloc(&s->text, bytes + 1, "folded words", err);
    if (!st) st = sd_table_new(&table, s->n_vocab, err);
    for (int32_t id = 0; id < s->n_vocab && !st; id++) {
        sd_slice key = {s->text + at, fold_text(s->text + at, sd_tok_bytes(tok, id))};
        s->fold[id] = -1;
        if (key.n == 0 || sd_tok_is_special(tok, id)) continue;
        int64_t first = sd_table_get(table, key);
        s->fold[id] = first < 0 ? id : (int32_t)first;
        if (first >= 0) continue;
        st = sd_table_set(table, key, id, NULL, err);
        at += key.n;
    }
    sd_table_free(table);
    return st;
}

sd_status sd_interest_new(sd_interest **out, const sd_rows *rows, const sd_tok *tok, sd_err *err)
{
    sd_interest *s = NULL;
    *out = NULL;
    sd_status st = sd_alloc_zero(&s, sizeof *s, "word counts", err);
    if (st) return st;
    s->n_vocab = sd_tok_n_vocab(tok);
    st = sd_alloc(&s->fold, (size_t)s->n_vocab * sizeof *s->fold, "word counts", err);
    if (!st) st = sd_alloc_zero(&s->count, (size_t)s->n_vocab * sizeof *s->count, "word counts", err);
    if (!st) st = fold_vocabulary(s, tok, err);
    if (st) {
        sd_interest_free(s);
        return st;
    }
    s->total = rows->n;
    for (int64_t i = 0; i < rows->n; i++)
        if (rows->token[i] < s->n_vocab && s->fold[rows->token[i]] >= 0) s->count[s->fold[rows->token[i]]]++;
    *out = s;
    return SD_OK;
}

void sd_interest_free(sd_interest *s)
{
    if (!s) return;
    sd_free(s->fold);
    sd_free(s->count);
    sd_free(s->text);
    sd_free(s);
}

/* The folded word of a token; the token itself where nothing is left of it (punctuation counts as itself at a peak). */
static int32_t peak_word(const sd_interest *s, int32_t id)
{
    if (id < 0 || id >= s->n_vocab) return -1;
    return s->fold[id] >= 0 ? s->fold[id] : id;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* exp(entropy) of the words at the peaks. */
static double effective_words(const uint64_t *sorted, int n)
{
    double h = 0;
    for (int i = 0, j; i < n; i = j) {
        for (j = i + 1; j < n && sorted[j] == sorted[i];) j++;
        double p = (double)(j - i) / n;
        h -= p * log(p);
    }
    return n ? exp(h) : 0;
}

/* Pairs (word, example), each once, of the tokens within REACH of the peaks. *reach: tokens looked at. */
static int context_pairs(const sd_interest *s, const sd_feature *f, const uint64_t *peak, int n_peak, uint64_t *pair, double *reach)
{
    int n = 0, looked = 0;
    for (int e = 0, ex = 0; e < f->n_example && ex < n_peak; e++) {
        const sd_example *x = &f->example[e];
        if (x->group != 0) continue;
        int at = x->pos - x->pos0, a = at > REACH ? at - REACH : 0, b = at + REACH + 1 < x->n ? at + REACH + 1 : x->n;
        for (int t = a; t < b && n < MAX_PAIRS; t++) {
            int32_t id = x->tok[t];
            looked++;
            if (id < 0 || id >= s->n_vocab || s->fold[id] < 0) continue;
            uint64_t w = (uint64_t)s->fold[id];
            if (!bsearch(&w, peak, (size_t)n_peak, sizeof *peak, by_number)) pair[n++] = w << 16 | (uint64_t)ex;
        }
        ex++;
    }
    qsort(pair, (size_t)n, sizeof *pair, by_number);
    int m = 0;
    for (int i = 0; i < n; i++)
        if (i == 0 || pair[i] != pair[i - 1]) pair[m++] = pair[i];
    *reach = n_peak ? (double)looked / n_peak : 0;
    return m;
}

static double context_strength(const sd_interest *s, const uint64_t *pair, int n, int n_peak, double reach)
{
    double strongest[STRONGEST] = {0}, sum = 0;
    for (int i = 0, j; i < n; i = j) {
        for (j = i + 1; j < n && pair[j] >> 16 == pair[i] >> 16;) j++;
        if (j - i < 2) continue; /* a word of one example is shared with none */
        double c = (double)s->count[pair[i] >> 16], T = (double)s->total;
        double chance = 1 - pow(1 - c / T, reach), share = (double)(j - i) / n_peak;
        double excess = share - chance - 2 * sqrt(chance * (1 - chance) / n_peak);
        double v = excess > 0 ? excess * log(T / c) / log(T) : 0;
        for (int k = 0; k < STRONGEST; k++)
            if (v > strongest[k]) {
                double t = strongest[k];
                strongest[k] = v;
                v = t;
            }
    }
    for (int k = 0; k < STRONGEST; k++) sum += fmin(1, 4 * strongest[k]) / STRONGEST;
    return sum;
}

sd_interest_parts sd_interest_of(const sd_interest *s, const sd_feature *f, double logit_peak)
{
    sd_interest_parts p = {0};
    uint64_t peak[MAX_PEAKS], pair[MAX_PAIRS];
    int n = 0;
    double reach = 0;
    for (int e = 0; e < f->n_example && n < MAX_PEAKS; e++) {
        const sd_example *x = &f->example[e];
        if (x->group == 0) peak[n++] = (uint64_t)(uint32_t)peak_word(s, x->tok[x->pos - x->pos0]);
    }
    if (n < 2 || s->total < 2) return p;
    qsort(peak, (size_t)n, sizeof *peak, by_number);
    p.density = fmin(1, fmin(f->stats.density / 1e-4, 1e-2 / f->stats.density));
    p.variety = fmin(1, (effective_words(peak, n) - 1) / 3);
    int n_pair = context_pairs(s, f, peak, n, pair, &reach);
    p.context = context_strength(s, pair, n_pair, n, reach);
    p.logits = fmin(1, fmax(0, (logit_peak - 4) / 4));
    p.score = p.density * p.variety * (0.2 + 0.4 * p.context + 0.4 * p.logits);
    return p;
}
