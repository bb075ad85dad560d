/* WordPiece (Schuster & Nakajima 2012, as BERT uses it): from the left the longest piece that fits, pieces that continue a
 * word marked as such; a word with a part that no piece fits is the unknown token as a whole. */
#include "text/tok_int.h"

struct sd_wpm {
    sd_trie first, rest; /* a word's first piece; what continues it */
    int64_t max_chars;
};

sd_status sd_wpm__new(sd_wpm **out, const sd_tok *t, const sd_tok_spec *spec, sd_err *err)
{
    sd_wpm *w = NULL;
    sd_slice *first = NULL, *rest = NULL, mark = spec->continuing;
    size_t n = (size_t)spec->n_vocab;
    if (spec->unk < 0) return sd_fail(err, SD_E_FORMAT, "tokenizer: a WordPiece vocabulary needs an unknown token and names none");
    sd_status st = sd_alloc_zero(&w, sizeof *w, "a tokenizer", err);
    if (!st) st = sd_alloc_zero(&first, n * sizeof *first, "the vocabulary", err);
    if (!st) st = sd_alloc_zero(&rest, n * sizeof *rest, "the vocabulary", err);
    for (size_t i = 0; i < n && !st; i++) {
        sd_slice p = spec->piece[i];
        if (!sd_tok__in_words(t, i)) continue;
        if (mark.n == 0) { /* GGUF: U+2581 begins a word */
            if (p.n > 3 && memcmp(p.p, "\xe2\x96\x81", 3) == 0)
                first[i] = (sd_slice){p.p + 3, p.n - 3};
            else
                rest[i] = p;
        } else if (p.n > mark.n && memcmp(p.p, mark.p, mark.n) == 0) {
            rest[i] = (sd_slice){p.p + mark.n, p.n - mark.n};
            first[i] = p; /* as text of its own, "##" begins a word like any other */
        } else {
            first[i] = p;
        }
    }
    if (!st) st = sd_trie__build(&w->first, first, spec->n_vocab, err);
    if (!st) st = sd_trie__build(&w->rest, rest, spec->n_vocab, err);
    if (!st) w->max_chars = spec->max_word_chars;
    sd_free(first);
    sd_free(rest);
    if (st)
        sd_wpm__free(w);
    else
        *out = w;
    return st;
}

void sd_wpm__free(sd_wpm *w)
{
    if (!w) return;
    sd_trie__release(&w->first);
    sd_trie__release(&w->rest);
    sd_free(w);
}

static bool too_long(const sd_wpm *w, sd_slice word)
{
    int64_t chars = 0;
    if (w->max_chars == 0) return false;
    for (size_t i = 0; i < word.n; i++) chars += ((unsigned char)word.p[i] & 0xc0) != 0x80;
    return chars > w->max_chars;
}

/* A piece ends where a character ends: the pieces are UTF-8, and the word is. */
sd_status sd_wpm__word(const sd_tok *t, sd_encode_scratch *s, sd_slice word, sd_ids *ids, sd_err *err)
{
    const sd_wpm *w = t->wpm;
    (void)s; /* words keep nothing for each other */
    int64_t n0 = ids->n;
    sd_status st = SD_OK;
    bool fits = !too_long(w, word);
    for (size_t i = 0; i < word.n && fits && !st;) {
        const sd_trie *trie = i ? &w->rest : &w->first;
        int32_t id = -1;
        size_t end = 0;
        uint32_t node = 0;
        for (size_t k = i; k < word.n && (node = sd_trie__step(trie, node, (unsigned char)word.p[k])) != 0; k++)
            if (trie->id[node] >= 0) id = trie->id[node], end = k + 1;
        fits = id >= 0;
        if (fits) st = sd_ids_push(ids, id, err);
        i = end;
    }
    if (st || fits) return st;
    ids->n = n0;
    return sd_ids_push(ids, t->unk, err);
}
