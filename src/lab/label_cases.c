/* Owns: which windows are asked about, and how they read. Nothing here knows who judges. */
#include "lab/label_int.h"

#include "base/rng.h"
#include "lab/feature_words.h"

#include <inttypes.h>
#include <stdlib.h>

enum { SIDE = 16 /* tokens on each side of a peak that are shown */, EXPLAIN = 8, TRIES = 400 };
static const char open_mark[] = "\xc2\xab", close_mark[] = "\xc2\xbb"; /* « » */

void sd_label__cases_init(label_cases *c)
{
    *c = (label_cases){.n = 0};
    sd_buf_init(&c->text, 1 << 22);
}

void sd_label__cases_release(label_cases *c) { sd_buf_release(&c->text); }

static sd_slice token_of(const void *self, int32_t id) { return sd_store_token((sd_store *)(uintptr_t)self, id); }

/* The text's own « and » from `at` on become plain quotes: what stands between marks is the feature's. */
static void plain_quotes(sd_buf *out, size_t at)
{
    size_t to = at;
    for (size_t i = at; i < out->n; i++) {
        const bool mark = i + 1 < out->n && (memcmp(out->p + i, open_mark, 2) == 0 || memcmp(out->p + i, close_mark, 2) == 0);
        out->p[to++] = mark ? '"' : out->p[i];
        i += mark;
    }
    out->n = to;
}

/* Tokens [a, b) of a window as text; those of `on` between marks, neighbours in one pair. */
static void passage(sd_buf *out, sd_store *s, const sd_example *e, int a, int b, const bool *on)
{
    const sd_vocab v = {token_of, s};
    for (int i = a; i < b;) {
        int k = i + 1;
        while (k < b && (on && on[k]) == (on && on[i])) k++;
        bool marked = on && on[i];
        sd_slice first = sd_store_token(s, e->tok[i] < 0 ? 0 : e->tok[i]);
        if (marked && first.n && first.p[0] == ' ') sd_buf_putc(out, ' ');
        if (marked) sd_buf_puts(out, open_mark);
        size_t at = out->n;
        sd_tokens_text(out, &v, e->tok, i, k);
        plain_quotes(out, at);
        if (marked && out->n > at && out->p[at] == ' ') {
            memmove(out->p + at, out->p + at + 1, out->n - at - 1);
            out->n--;
        }
        if (marked) sd_buf_puts(out, close_mark);
        i = k;
    }
}

static void range_of(const sd_example *e, int *a, int *b)
{
    int peak = e->pos - e->pos0;
    *a = peak > SIDE ? peak - SIDE : 0;
    *b = peak + SIDE + 1 < e->n ? peak + SIDE + 1 : e->n;
}

/* The tokens that are highly active. */
static int marks_of(bool *on, const sd_example *e, int a, int b)
{
    int n = 0;
    for (int i = a; i < b; i++) n += on[i] = e->val[i] >= 0.4f * e->act;
    return n;
}

/* What an explainer sees; returns how many. */
static int seen_of(sd_example out[EXPLAIN], const sd_feature *f)
{
    int n = 0;
    for (int i = 0; i < f->n_example && n < EXPLAIN; i++)
        if (f->example[i].group == 0 && f->example[i].rank % 2 == 0) out[n++] = f->example[i];
    return n;
}

sd_status sd_label__words(sd_buf *out, sd_store *s, const sd_feature *f, sd_err *err)
{
    sd_example seen[EXPLAIN];
    sd_feature part = {.example = seen, .n_example = seen_of(seen, f)};
    sd_feature_words w = {.n_words = 0};
    sd_feature_text text;
    sd_feature_words_init(&w);
    sd_status st = sd_feature_words_of(&w, &part, &(sd_vocab){token_of, s}, &text, err);
    if (!st) sd_buf_puts(out, part.words);
    sd_feature_words_release(&w);
    return st ? st : sd_buf_check(out, "the words of a feature", err);
}

sd_status sd_label__question(sd_buf *out, sd_store *s, const sd_feature *f, sd_err *err)
{
    bool on[SD_FEATURE_WINDOW_MAX];
    sd_example seen[EXPLAIN];
    int a, b;
    const int n = seen_of(seen, f);
    sd_buf_puts(out, "A part of a language model is active on the words between \xc2\xab and \xc2\xbb in these texts:\n\n");
    for (int i = 0; i < n; i++) {
        const sd_example *e = &seen[i];
        range_of(e, &a, &b);
        marks_of(on, e, a, b);
        sd_buf_printf(out, "%d. ", i + 1);
        passage(out, s, e, a, b, on);
        sd_buf_putc(out, '\n');
    }
    if (f->n_top) {
        sd_buf_puts(out, "\nIt makes these words likelier next:");
        for (int i = 0; i < f->n_top && i < 8; i++) {
            sd_buf_putc(out, ' ');
            sd_token_show(out, sd_slice_trim(sd_store_token(s, f->top[i].id)));
        }
        sd_buf_putc(out, '\n');
    }
    sd_buf_puts(out, "\nWhat do the marked words have in common? Answer with a short phrase of at most eight words and nothing else.");
    return sd_buf_check(out, "a question", err);
}

static sd_status add(label_cases *c, sd_store *s, const sd_example *e, const bool *on, bool truth, sd_err *err)
{
    int a, b;
    range_of(e, &a, &b);
    c->at[c->n] = c->text.n;
    c->truth[c->n] = truth;
    c->marked[c->n++] = on != NULL;
    passage(&c->text, s, e, a, b, on);
    sd_buf_putc(&c->text, '\0');
    return sd_buf_check(&c->text, "passages", err);
}

/* Does the feature fire in the part of the window that is shown? v [n] in reading order. */
static bool fires_in(const sd_posting *v, int64_t n, const sd_example *e)
{
    int a, b;
    int64_t lo = 0, hi = n;
    range_of(e, &a, &b);
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        if (v[mid].doc < e->doc || (v[mid].doc == e->doc && v[mid].pos < e->pos0 + a)) lo = mid + 1;
        else hi = mid;
    }
    return lo < n && v[lo].doc == e->doc && v[lo].pos < e->pos0 + b;
}

/* Windows of other features, drawn by the seed, in which this one is silent. */
static sd_status add_others(label_cases *c, sd_store *s, const sd_feature *f, int want, sd_rng *rng, sd_err *err)
{
    sd_posting *v = NULL;
    int64_t n = 0, m = sd_store_get_info(s)->dict.m;
    sd_status st = sd_store_postings(&v, &n, s, f->stats.index, err);
    for (int t = 0, got = 0; t < TRIES && got < want && !st; t++) {
        sd_feature *o = NULL;
        if ((st = sd_store_feature(&o, s, (int64_t)sd_rng_below(rng, (uint64_t)m), 0, err))) break;
        const sd_example *e = o->n_example ? &o->example[sd_rng_below(rng, (uint64_t)o->n_example)] : NULL;
        if (e && o->stats.index != f->stats.index && !fires_in(v, n, e)) {
            st = add(c, s, e, NULL, false, err);
            got++;
        }
        sd_feature_free(o);
    }
    sd_free(v);
    return st;
}

/* As many other tokens of the window, on which it does not fire. False when there are too few. */
static bool wrong_marks(bool *on, const sd_example *e, int n_mark, sd_rng *rng)
{
    int a, b, at[SD_FEATURE_WINDOW_MAX], n = 0;
    range_of(e, &a, &b);
    for (int i = a; i < b; i++) {
        on[i] = false;
        if (e->val[i] == 0 && e->tok[i] >= 0) at[n++] = i;
    }
    if (n < n_mark) return false;
    for (int k = 0; k < n_mark; k++) {
        int o = k + (int)sd_rng_below(rng, (uint64_t)(n - k)), t = at[k];
        at[k] = at[o];
        at[o] = t;
        on[at[k]] = true;
    }
    return true;
}

static sd_status add_marked(label_cases *c, sd_store *s, const sd_example *const *held, int n, sd_rng *rng, sd_err *err)
{
    bool right[SD_FEATURE_WINDOW_MAX], wrong[SD_FEATURE_WINDOW_MAX];
    sd_status st = SD_OK;
    for (int i = 0; i < n && !st; i++) {
        int a, b;
        range_of(held[i], &a, &b);
        if (!wrong_marks(wrong, held[i], marks_of(right, held[i], a, b), rng)) continue;
        st = add(c, s, held[i], right, true, err);
        if (!st) st = add(c, s, held[i], wrong, false, err);
    }
    return st;
}

/* Shuffles cases [a, b): their order must not tell which are which. */
static void mix(label_cases *c, int a, int b, sd_rng *rng)
{
    for (int i = b - 1; i > a; i--) {
        int k = a + (int)sd_rng_below(rng, (uint64_t)(i - a + 1));
        size_t at = c->at[i];
        bool truth = c->truth[i];
        c->at[i] = c->at[k], c->truth[i] = c->truth[k];
        c->at[k] = at, c->truth[k] = truth;
    }
}

sd_status sd_label__cases(label_cases *c, sd_store *s, const sd_feature *f, int n_case, uint64_t seed, sd_err *err)
{
    const sd_example *held[LABEL_CASES];
    sd_rng rng = sd_rng_make(seed, "label cases", (uint64_t)f->stats.index);
    int n = 0;
    sd_status st = SD_OK;
    SD_ASSERT(n_case <= LABEL_CASES);
    sd_buf_reset(&c->text);
    c->n = c->n_detect = 0;
    /* Odd ranks were not shown to the explainer: of the top, then of the intervals, strongest first. */
    for (int i = 0; i < f->n_example && n < n_case; i++)
        if (f->example[i].rank % 2 && f->example[i].act > 0) held[n++] = &f->example[i];
    if (n < 3) return SD_OK;
    for (int i = 0; i < n && !st; i++) st = add(c, s, held[i], NULL, true, err);
    if (!st) st = add_others(c, s, f, n, &rng, err);
    c->n_detect = c->n;
    if (!st) st = add_marked(c, s, held, n, &rng, err);
    mix(c, 0, c->n_detect, &rng);
    mix(c, c->n_detect, c->n, &rng);
    return st;
}

double sd_label__auc(const double *score, const bool *truth, int n)
{
    double sum = 0, pairs = 0;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < n && truth[i]; k++) {
            if (truth[k]) continue;
            sum += score[i] > score[k] ? 1 : score[i] == score[k] ? 0.5 : 0;
            pairs++;
        }
    return pairs > 0 ? sum / pairs : 0.5;
}

void sd_label__clean(char out[SD_LABEL_MAX + 1], sd_slice said)
{
    size_t n = 0;
    said = sd_slice_trim(said);
    for (size_t i = 0; i < said.n && said.p[i] == '\n';) said.p++, said.n--;
    for (size_t i = 0; i < said.n && said.p[i] != '\n' && n < SD_LABEL_MAX; i++) {
        unsigned char ch = (unsigned char)said.p[i];
        if (ch >= 0x20 && ch != 0x7f && ch != '"' && ch != '*') out[n++] = (char)ch;
    }
    n = sd_utf8_valid_prefix((sd_slice){out, n});
    while (n > 0 && (out[n - 1] == ' ' || out[n - 1] == '.')) n--;
    out[n] = '\0';
}

static bool is_word(char ch)
{
    unsigned char u = (unsigned char)ch;
    return u >= 0x80 || (u >= '0' && u <= '9') || ((u | 0x20) >= 'a' && (u | 0x20) <= 'z');
}

static bool same_word(sd_slice a, sd_slice b)
{
    if (a.n != b.n) return false;
    for (size_t i = 0; i < a.n; i++) {
        char x = a.p[i], y = b.p[i];
        if ((x >= 'A' && x <= 'Z' ? x | 32 : x) != (y >= 'A' && y <= 'Z' ? y | 32 : y)) return false;
    }
    return true;
}

/* The next word of text from *at, empty at the end; *inside follows the marks, which are no part of words. */
static sd_slice next_word(const char *text, size_t *at, bool *inside)
{
    size_t i = *at;
    for (;;) {
        if (!strncmp(text + i, open_mark, 2) || !strncmp(text + i, close_mark, 2)) *inside = !strncmp(text + i, open_mark, 2), i += 2;
        else if (text[i] && !is_word(text[i])) i++;
        else break;
    }
    size_t begin = i;
    while (text[i] && is_word(text[i]) && strncmp(text + i, open_mark, 2) && strncmp(text + i, close_mark, 2)) i++;
    *at = i;
    return (sd_slice){text + begin, i - begin};
}

double sd_label__overlap(const char *label, const char *text, bool marked)
{
    int n = 0, hit = 0;
    bool inside = false, ignored = false;
    sd_slice w, l;
    for (size_t at = 0; (w = next_word(text, &at, &inside)).n;) {
        if (marked && !inside) continue;
        bool found = false;
        for (size_t k = 0; !found && (l = next_word(label, &k, &ignored)).n;) found = same_word(w, l);
        hit += found;
        n++;
    }
    return n ? (double)hit / (double)n : 0;
}
