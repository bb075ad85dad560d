/* Owns: counting the words at the peaks. Text comes from the tokens of the examples, never from the corpus itself. */
#include "lab/feature_words.h"

#include <math.h>

/* Text on each side of a peak that search sees; words shown for a feature; distinct words counted; bytes of a shown word, of a stem. */
enum { AROUND = 12, SHOWN = 5, DISTINCT = 64, WORD_MAX = 40, STEM = 6 };

void sd_feature_words_init(sd_feature_words *w)
{
    sd_buf *b[5] = {&w->peak, &w->logits, &w->context, &w->words, &w->folded};
    for (int i = 0; i < 5; i++) sd_buf_init(b[i], (size_t)1 << 20);
}

void sd_feature_words_release(sd_feature_words *w)
{
    sd_buf_release(&w->peak);
    sd_buf_release(&w->logits);
    sd_buf_release(&w->context);
    sd_buf_release(&w->words);
    sd_buf_release(&w->folded);
}

typedef struct word { size_t at, n; int count; } word; /* bytes of w->peak */

/* The most frequent words, ties in the order of their examples. */
static void shown_words(sd_feature_words *w, word *v, int n)
{
    for (int k = 0; k < SHOWN; k++) {
        int best = -1;
        for (int i = 0; i < n; i++)
            if (v[i].count > 0 && (best < 0 || v[i].count > v[best].count)) best = i;
        if (best < 0) break;
        sd_slice s = {w->peak.p + v[best].at, v[best].n < WORD_MAX ? v[best].n : WORD_MAX};
        if (k) sd_buf_puts(&w->words, ", ");
        sd_buf_put(&w->words, s.p, sd_utf8_valid_prefix(s));
        v[best].count = 0;
    }
}

/* Lower case (ASCII), without a final 's, cut to a crude stem: coagulate, coagulates and coagulated are one word. */
static sd_slice fold(sd_buf *b, sd_slice s)
{
    size_t from = b->n;
    if (s.n > 2 && s.p[s.n - 2] == '\'' && s.p[s.n - 1] == 's') s.n -= 2;
    if (s.n > STEM) s.n = sd_utf8_valid_prefix((sd_slice){s.p, STEM});
    for (size_t i = 0; i < s.n; i++) sd_buf_putc(b, s.p[i] >= 'A' && s.p[i] <= 'Z' ? (char)(s.p[i] | 0x20) : s.p[i]);
    return b->failed ? SD_LIT("") : (sd_slice){b->p + from, b->n - from};
}

/* Adds the word s, a part of buffer b, to the n that are counted; one too many is not. */
static int count_word(word *v, int n, const sd_buf *b, sd_slice s)
{
    int i = 0;
    while (i < n && !sd_slice_eq(s, (sd_slice){b->p + v[i].at, v[i].n})) i++;
    if (i < n) v[i].count++;
    else if (n < DISTINCT && s.n) v[n++] = (word){(size_t)(s.p - b->p), s.n, 1};
    return n;
}

static bool has_letter(sd_slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') return true;
        if (c >= 0xc3 && c != 0xe2) return true; /* UTF-8 above U+00C0, signs (E2 ..) left out */
    }
    return false;
}

static double effective(const word *v, int n)
{
    double total = 0, h = 0;
    for (int i = 0; i < n; i++) total += v[i].count;
    for (int i = 0; i < n; i++) h -= v[i].count / total * log(v[i].count / total);
    return n ? exp(h) : 0;
}

sd_status sd_feature_words_of(sd_feature_words *w, sd_feature *f, const sd_vocab *vocab, sd_feature_text *text, sd_err *err)
{
    word v[DISTINCT], folded[DISTINCT];
    int n = 0, n_folded = 0, n_peak = 0, letters = 0;
    sd_buf *all[5] = {&w->peak, &w->logits, &w->context, &w->words, &w->folded};
    for (int i = 0; i < 5; i++) sd_buf_reset(all[i]);
    for (int e = 0; e < f->n_example; e++) {
        const sd_example *x = &f->example[e];
        if (x->group != 0) continue;
        int at = x->pos - x->pos0, a = at > AROUND ? at - AROUND : 0, b = at + AROUND + 1 < x->n ? at + AROUND + 1 : x->n;
        size_t from = w->peak.n;
        sd_word_at(&w->peak, vocab, x->tok, x->n, at);
        if (w->peak.failed) break;
        sd_slice s = {w->peak.p + from, w->peak.n - from};
        n = count_word(v, n, &w->peak, s);
        n_folded = count_word(folded, n_folded, &w->folded, fold(&w->folded, s));
        n_peak++;
        letters += has_letter(s);
        sd_buf_putc(&w->peak, ' ');
        sd_tokens_text(&w->context, vocab, x->tok, a, b);
        sd_buf_putc(&w->context, '\n');
    }
    for (int i = 0; i < f->n_top; i++) {
        sd_tokens_text(&w->logits, vocab, &f->top[i].id, 0, 1);
        sd_buf_putc(&w->logits, ' ');
    }
    w->n_words = effective(folded, n_folded);
    w->letters = n_peak ? (double)letters / n_peak : 0;
    if (!w->peak.failed) shown_words(w, v, n);
    f->words = sd_buf_str(&w->words);
    *text = (sd_feature_text){{w->peak.p, w->peak.n}, {w->logits.p, w->logits.n}, {w->context.p, w->context.n}};
    sd_status st = SD_OK;
    for (int i = 0; i < 5 && !st; i++) st = sd_buf_check(all[i], "the words of a feature", err);
    return st;
}
