/* The unigram model (Kudo 2018): of all ways through a word's pieces the one whose log-probabilities sum highest; of equal
 * ones the one found first, from the left, as SentencePiece, tokenizers and llama.cpp have it. A character that is no
 * piece costs the lowest score less ten (SentencePiece, unigram_model.cc, kUnkPenalty). */
#include "text/tok_int.h"

#include <math.h>

#define UNK_PENALTY 10.0

struct sd_ugm {
    sd_trie pieces;
    double *score; /* [n_vocab] */
    double unk_score;
};

typedef struct best {
    double score;
    int32_t id;     /* -1: a character without a piece */
    uint32_t from;  /* UINT32_MAX: not reached */
} best;

sd_status sd_ugm__new(sd_ugm **out, const sd_tok *t, const sd_tok_spec *spec, sd_err *err)
{
    sd_ugm *u = NULL;
    sd_slice *text = NULL;
    size_t n = (size_t)spec->n_vocab;
    if (!spec->logprob) return sd_fail(err, SD_E_FORMAT, "tokenizer: the pieces of a unigram vocabulary have no scores");
    sd_status st = sd_alloc_zero(&u, sizeof *u, "a tokenizer", err);
    if (!st) st = sd_alloc(&u->score, n * sizeof *u->score, "the scores", err);
    if (!st) st = sd_alloc_zero(&text, n * sizeof *text, "the vocabulary", err);
    double least = INFINITY;
    for (size_t i = 0; i < n && !st; i++) {
        double v = spec->logprob[i];
        if (!(v - v == 0)) {
            st = sd_fail(err, SD_E_FORMAT, "tokenizer: the score of piece %zu is not a number", i);
            break;
        }
        u->score[i] = v;
        if (!sd_tok__in_words(t, i)) continue;
        if (t->type[i] == SD_PIECE_NORMAL && v < least) least = v;
        text[i] = spec->piece[i];
    }
    if (!st) u->unk_score = (least < INFINITY ? least : 0) - UNK_PENALTY;
    if (!st) st = sd_trie__build(&u->pieces, text, spec->n_vocab, err);
    sd_free(text);
    if (st)
        sd_ugm__free(u);
    else
        *out = u;
    return st;
}

void sd_ugm__free(sd_ugm *u)
{
    if (!u) return;
    sd_trie__release(&u->pieces);
    sd_free(u->score);
    sd_free(u);
}

static void offer(best *b, size_t from, int32_t id, double score)
{
    if (b->from != UINT32_MAX && score <= b->score) return;
    *b = (best){score, id, (uint32_t)from};
}

static void walk(const sd_ugm *u, best *b, sd_slice word)
{
    for (size_t i = 0, n; i < word.n; i += n) {
        n = sd_tok__char(word.p + i, word.n - i);
        bool single = false;
        uint32_t node = 0;
        for (size_t k = i; k < word.n; k++) {
            node = sd_trie__step(&u->pieces, node, (unsigned char)word.p[k]);
            if (node == 0) break;
            int32_t id = u->pieces.id[node];
            if (id < 0) continue;
            offer(&b[k + 1], i, id, b[i].score + u->score[id]);
            single |= k + 1 - i == n;
        }
        if (!single) offer(&b[i + n], i, -1, b[i].score + u->unk_score);
    }
}

sd_status sd_ugm__word(const sd_tok *t, sd_encode_scratch *s, sd_slice word, sd_ids *ids, sd_err *err)
{
    static const best none = {0, -1, UINT32_MAX};
    if (word.n >= INT32_MAX) return sd_fail(err, SD_E_UNSUPPORTED, "a word of %zu bytes, at most %d are supported", word.n, INT32_MAX - 1);
    sd_buf_reset(&s->path);
    for (size_t i = 0; i <= word.n && !s->path.failed; i++) sd_buf_put(&s->path, &none, sizeof none);
    sd_status st = sd_buf_check(&s->path, "the paths through a word", err);
    if (st) return st;
    best *b = (best *)(void *)s->path.p;
    b[0].from = 0;
    walk(t->ugm, b, word);
    /* Turn the links round: from each place on the best path to where its piece ends. */
    for (uint32_t at = (uint32_t)word.n, end = UINT32_MAX; ; ) {
        uint32_t from = b[at].from;
        int32_t id = b[at].id;
        b[at].from = end;
        end = at;
        if (at == 0) break;
        b[at].score = id; /* an id is exact in a double */
        at = from;
    }
    for (uint32_t at = 0; at < word.n && !st;) {
        uint32_t end = b[at].from;
        int32_t id = (int32_t)b[end].score;
        sd_slice ch = {word.p + at, end - at};
        st = id >= 0 ? sd_tok__push(s, ids, id, err) : sd_tok__push_missing(t, s, ch, ids, err);
        at = end;
    }
    return st;
}
