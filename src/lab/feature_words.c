/* Owns: counting the words at the peaks. Text comes from the tokens of the examples, never from the corpus itself. */
#include "lab/feature_words.h"

/* Text on each side of a peak that search sees; words shown for a feature; distinct words counted; bytes of a shown word. */
enum { AROUND = 12, SHOWN = 5, DISTINCT = 64, WORD_MAX = 40 };

void sd_feature_words_init(sd_feature_words *w)
{
    sd_buf *b[4] = {&w->peak, &w->logits, &w->context, &w->words};
    for (int i = 0; i < 4; i++) sd_buf_init(b[i], (size_t)1 << 20);
}

void sd_feature_words_release(sd_feature_words *w)
{
    sd_buf_release(&w->peak);
    sd_buf_release(&w->logits);
    sd_buf_release(&w->context);
    sd_buf_release(&w->words);
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

sd_status sd_feature_words_of(sd_feature_words *w, sd_feature *f, const sd_vocab *vocab, sd_feature_text *text, sd_err *err)
{
    word v[DISTINCT];
    int n = 0;
    sd_buf *all[4] = {&w->peak, &w->logits, &w->context, &w->words};
    for (int i = 0; i < 4; i++) sd_buf_reset(all[i]);
    for (int e = 0; e < f->n_example; e++) {
        const sd_example *x = &f->example[e];
        if (x->group != 0) continue;
        int at = x->pos - x->pos0, a = at > AROUND ? at - AROUND : 0, b = at + AROUND + 1 < x->n ? at + AROUND + 1 : x->n;
        size_t from = w->peak.n;
        sd_word_at(&w->peak, vocab, x->tok, x->n, at);
        if (w->peak.failed) break;
        sd_slice s = {w->peak.p + from, w->peak.n - from};
        int i = 0;
        while (i < n && !sd_slice_eq(s, (sd_slice){w->peak.p + v[i].at, v[i].n})) i++;
        if (i < n) v[i].count++;
        else if (n < DISTINCT && s.n) v[n++] = (word){from, s.n, 1};
        sd_buf_putc(&w->peak, ' ');
        sd_tokens_text(&w->context, vocab, x->tok, a, b);
        sd_buf_putc(&w->context, '\n');
    }
    for (int i = 0; i < f->n_top; i++) {
        sd_tokens_text(&w->logits, vocab, &f->top[i].id, 0, 1);
        sd_buf_putc(&w->logits, ' ');
    }
    if (!w->peak.failed) shown_words(w, v, n);
    f->words = sd_buf_str(&w->words);
    *text = (sd_feature_text){{w->peak.p, w->peak.n}, {w->logits.p, w->logits.n}, {w->context.p, w->context.n}};
    sd_status st = SD_OK;
    for (int i = 0; i < 4 && !st; i++) st = sd_buf_check(all[i], "the words of a feature", err);
    return st;
}
