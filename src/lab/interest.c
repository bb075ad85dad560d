/* Owns: the formula of interest.h. Contexts are counted by tokens: a word of several tokens counts by its parts. */
#include "lab/interest.h"

#include "base/hash.h"
#include <math.h>
#include <stdlib.h>

/* Tokens on each side of a peak that count as its context; words that count; examples looked at. */
enum { REACH = 16, STRONGEST = 5, MAX_PEAKS = 64 };

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

/* exp(entropy) of the tokens at the peaks. */
static double effective_number(const uint64_t *sorted, int n)
{
    double h = 0;
    for (int i = 0, j; i < n; i = j) {
        for (j = i + 1; j < n && sorted[j] == sorted[i];) j++;
        double p = (double)(j - i) / n;
        h -= p * log(p);
    }
    return exp(h);
}

/* The words of one example within REACH of its peak: sorted, each once. *looked: tokens that were there. */
static int words_around(const sd_interest *s, const sd_example *x, uint64_t *word, int *looked)
{
    int n = 0, m = 0, at = x->pos - x->pos0, a = at > REACH ? at - REACH : 0, b = at + REACH + 1 < x->n ? at + REACH + 1 : x->n;
    for (int t = a; t < b; t++)
        if (x->tok[t] >= 0 && x->tok[t] < s->n_vocab && s->fold[x->tok[t]] >= 0) word[n++] = (uint64_t)s->fold[x->tok[t]];
    qsort(word, (size_t)n, sizeof *word, by_number);
    for (int i = 0; i < n; i++)
        if (i == 0 || word[i] != word[i - 1]) word[m++] = word[i];
    *looked = b - a;
    return m;
}

static int in_common(const uint64_t *a, int n_a, const uint64_t *b, int n_b)
{
    int n = 0;
    for (int i = 0, j = 0; i < n_a && j < n_b;) {
        if (a[i] == b[j]) n++, i++, j++;
        else if (a[i] < b[j]) i++;
        else j++;
    }
    return n;
}

typedef struct contexts {
    uint64_t word[MAX_PEAKS][2 * REACH + 1];
    int n_word[MAX_PEAKS];
    int n;
    double reach; /* tokens looked at, a context */
} contexts;

static void gather(const sd_interest *s, const sd_feature *f, contexts *c)
{
    int looked = 0, sum = 0;
    c->n = 0;
    for (int e = 0; e < f->n_example && c->n < MAX_PEAKS; e++) {
        if (f->example[e].group != 0) continue;
        c->n_word[c->n] = words_around(s, &f->example[e], c->word[c->n], &looked);
        c->n++;
        sum += looked;
    }
    c->reach = c->n ? (double)sum / c->n : 0;
}

/* Share of the contexts that are no near copy of an earlier one. */
static double freshness(const contexts *c)
{
    int fresh = 0;
    for (int i = 0; i < c->n; i++) {
        bool copy = false;
        for (int j = 0; j < i && !copy; j++) {
            int less = c->n_word[i] < c->n_word[j] ? c->n_word[i] : c->n_word[j];
            copy = less > 0 && 2 * in_common(c->word[i], c->n_word[i], c->word[j], c->n_word[j]) > less;
        }
        fresh += !copy;
    }
    return (double)fresh / c->n;
}

/* Pairs (word, context), each once, sorted; words that stand at a peak are left out. */
static int context_pairs(const contexts *c, const uint64_t *peak, uint64_t *pair)
{
    int n = 0;
    for (int i = 0; i < c->n; i++)
        for (int k = 0; k < c->n_word[i]; k++)
            if (!bsearch(&c->word[i][k], peak, (size_t)c->n, sizeof *peak, by_number)) pair[n++] = c->word[i][k] << 16 | (uint64_t)i;
    qsort(pair, (size_t)n, sizeof *pair, by_number);
    return n;
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
    contexts c;
    uint64_t peak[MAX_PEAKS], pair[MAX_PEAKS * (2 * REACH + 1)];
    int n = 0;
    for (int e = 0; e < f->n_example && n < MAX_PEAKS; e++) {
        const sd_example *x = &f->example[e];
        if (x->group == 0) peak[n++] = (uint64_t)(uint32_t)peak_word(s, x->tok[x->pos - x->pos0]);
    }
    if (n < 2 || s->total < 2) return p;
    qsort(peak, (size_t)n, sizeof *peak, by_number);
    gather(s, f, &c);
    p.density = fmin(1, fmin(f->stats.density / 1e-4, 1e-2 / f->stats.density));
    p.n_tokens = effective_number(peak, n);
    p.fresh = freshness(&c);
    p.context = context_strength(s, pair, context_pairs(&c, peak, pair), n, c.reach);
    p.logits = fmin(1, fmax(0, (logit_peak - 4) / 4));
    return p;
}

double sd_interest_score(const sd_interest_parts *p, double n_words, double letters)
{
    double variety = fmin(1, fmax(0, fmin(n_words, p->n_tokens) - 1) / 3);
    return p->density * variety * p->fresh * (0.25 + 0.75 * letters) * (0.2 + 0.5 * p->context + 0.3 * p->logits);
}
