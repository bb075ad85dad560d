/* Byte pair encoding (Sennrich et al. 2016), in three dresses: of bytes (Radford et al. 2019), of characters with ranked
 * merges (what tokenizers makes of Llama 2's and gemma's files), and of characters by the pieces' scores (SentencePiece).
 *
 * Everything works on symbol numbers: a symbol is a vocabulary id, or a number from n_vocab on for a byte or an
 * intermediate string that the vocabulary does not hold (such a symbol is written out byte by byte at the end, as
 * llama.cpp does), or -1 for a character without a piece. A byte without a token becomes the unknown token, or nothing:
 * SmolLM2 lacks 21, six of them control characters. In llama.cpp it parts its neighbours, in tokenizers they meet and may
 * merge.
 *
 * Two short cuts, neither of which changes an id:
 *   - a word that is a piece, and that the merges would make into that piece, is one look-up (merges need not lead to
 *     every piece, and for some words lead elsewhere: found out the first time a word is met);
 *   - SentencePiece's word is the whole text. It is cut wherever no piece holds the two characters side by side: no merge
 *     can cross there. */
#include "text/tok_bpe_int.h"

/* ---- the alphabet: bytes as printable characters (Radford et al. 2019, encoder.py, bytes_to_unicode) ---- */

static bool byte_is_itself(unsigned b)
{
    return (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
}

/* Bytes that are not printable in Latin-1 take the code points from 256 on, in order. */
uint32_t sd_bpe__byte_to_cp(unsigned b)
{
    if (byte_is_itself(b)) return b;
    if (b <= 0x20) return 256 + b;
    if (b <= 0xa0) return 256 + 0x21 + (b - 0x7f);
    return 256 + 0x21 + 0x22; /* 0xad */
}

static int cp_to_byte(uint32_t cp)
{
    if (cp < 256) return byte_is_itself(cp) ? (int)cp : -1;
    cp -= 256;
    if (cp <= 0x20) return (int)cp;
    if (cp < 0x21 + 0x22) return (int)(0x7f + cp - 0x21);
    return cp == 0x21 + 0x22 ? 0xad : -1;
}

int64_t sd_bpe__piece_bytes(char *out, sd_slice piece)
{
    int64_t n = 0;
    for (size_t i = 0; i < piece.n;) {
        uint32_t cp;
        int len = sd_utf8_decode(piece.p + i, piece.n - i, &cp);
        int byte = len > 0 ? cp_to_byte(cp) : -1;
        if (byte < 0) return -1;
        out[n++] = (char)byte;
        i += (size_t)len;
    }
    return n;
}

/* ---- boundaries that no piece crosses ---- */

/* 0xfe and 0xff never occur in UTF-8. */
#define MARK_CODE 0xfeu
static bool is_mark(const char *p, size_t n)
{
    return n == 3 && memcmp(p, "\xe2\x96\x81", 3) == 0;
}
unsigned sd_bpe__last_of(const char *p, size_t n)
{
    return is_mark(p, n) ? MARK_CODE : (unsigned char)p[n - 1];
}
unsigned sd_bpe__first_of(const char *p, size_t n)
{
    return is_mark(p, n) ? MARK_CODE : (unsigned char)p[0];
}

/* Bytes up to the first boundary that no piece crosses. */
static size_t uncrossed(const sd_bpe *b, sd_slice text)
{
    if (!b->joins) return text.n;
    size_t n = sd_tok__char(text.p, text.n), i = 0;
    for (;;) {
        unsigned last = sd_bpe__last_of(text.p + i, n);
        i += n;
        if (i == text.n) return i;
        n = sd_tok__char(text.p + i, text.n - i);
        unsigned pair = last << 8 | sd_bpe__first_of(text.p + i, n);
        if (!(b->joins[pair / 64] >> (pair % 64) & 1)) return i;
    }
}

/* ---- symbols ---- */

typedef struct encoding {
    const sd_tok *t;
    const sd_bpe *b;
    sd_encode_scratch *s;
    sd_ids *ids;
} encoding;

static size_t unit(const sd_bpe *b, const char *p, size_t n)
{
    return b->kind == SD_TOK_BPE ? 1 : sd_tok__char(p, n);
}

static int32_t symbol_of(const sd_bpe *b, const char *p, size_t n)
{
    if (b->kind == SD_TOK_BPE || (unsigned char)*p < 0x80) return b->byte_sym[(unsigned char)*p];
    return sd_pieces__find(&b->words, (sd_slice){p, n});
}

/* A symbol that covers bytes [from, to) of word. */
static sd_status push_symbol(encoding *e, int32_t sym, sd_slice word, size_t from, size_t to, sd_err *err)
{
    if (sym >= 0 && sym < e->b->n_vocab) return sd_tok__push(e->s, e->ids, sym, err);
    sd_status st = SD_OK;
    for (size_t i = from, n; i < to && !st; i += n) {
        n = unit(e->b, word.p + i, to - i);
        int32_t id = symbol_of(e->b, word.p + i, n);
        st = id >= 0 && id < e->b->n_vocab ? sd_tok__push(e->s, e->ids, id, err)
                                           : sd_tok__push_missing(e->t, e->s, (sd_slice){word.p + i, n}, e->ids, err);
    }
    return st;
}

static sd_status encode_short(encoding *e, sd_slice word, sd_err *err)
{
    int32_t sym[SD_SHORT_WORD], start[SD_SHORT_WORD + 1];
    int n = 0;
    for (size_t i = 0, len; i < word.n; i += len, n++) {
        len = unit(e->b, word.p + i, word.n - i);
        sym[n] = symbol_of(e->b, word.p + i, len);
        start[n] = (int32_t)i;
    }
    start[n] = (int32_t)word.n;
    n = sd_bpe__merge_short(e->b, word, sym, start, n);
    sd_status st = SD_OK;
    for (int i = 0; i < n && !st; i++) st = push_symbol(e, sym[i], word, (size_t)start[i], (size_t)start[i + 1], err);
    return st;
}

static sd_status encode_long(encoding *e, sd_slice word, sd_err *err)
{
    sd_encode_scratch *s = e->s;
    if (word.n > SD_MAX_WORD)
        return sd_fail(err, SD_E_UNSUPPORTED, "a word of %zu bytes, at most %zu are supported", word.n, SD_MAX_WORD);
    int32_t n = (int32_t)word.n;
    if (s->cap_sym < word.n) {
        sd_free(s->sym);
        s->cap_sym = 0;
        sd_status st = sd_alloc(&s->sym, 4 * word.n * sizeof *s->sym, "the pieces of a long word", err);
        if (st) return st;
        s->cap_sym = word.n;
    }
    sd_chain c = {s->sym, s->sym + s->cap_sym, s->sym + 2 * s->cap_sym, (uint32_t *)s->sym + 3 * s->cap_sym, &s->heap};
    for (int32_t i = 0, len, before = -1; i < n; before = i, i += len) {
        len = (int32_t)unit(e->b, word.p + i, word.n - (size_t)i);
        c.sym[i] = symbol_of(e->b, word.p + i, (size_t)len);
        c.next[i] = i + len < n ? i + len : -1;
        c.prev[i] = before;
    }
    sd_status st = sd_bpe__merge_chain(e->b, word, &c, err);
    for (int32_t i = 0; i >= 0 && !st; i = c.next[i])
        st = push_symbol(e, c.sym[i], word, (size_t)i, (size_t)(c.next[i] < 0 ? n : c.next[i]), err);
    return st;
}

/* word without what has no token; itself when all of it has. */
static sd_status skip_missing(encoding *e, sd_slice *word, sd_err *err)
{
    const sd_bpe *b = e->b;
    sd_buf *kept = &e->s->kept;
    bool all = true;
    sd_buf_reset(kept);
    for (size_t i = 0, n; i < word->n; i += n) {
        n = unit(b, word->p + i, word->n - i);
        int32_t sym = symbol_of(b, word->p + i, n);
        if (sym >= 0 && sym < b->n_vocab)
            sd_buf_put(kept, word->p + i, n);
        else
            all = false;
    }
    sd_status st = sd_buf_check(kept, "a word", err);
    if (!st && !all) *word = (sd_slice){kept->p, kept->n};
    return st;
}

/* Other threads may settle the same piece at the same time, with the same answer. */
static sd_status encode_part(encoding *e, sd_slice word, sd_err *err)
{
    const sd_bpe *b = e->b;
    int32_t id = sd_pieces__find(&b->words, word);
    int whole = id < 0 ? SD_WHOLE_NO : __atomic_load_n(&b->whole[id], __ATOMIC_RELAXED);
    if (whole == SD_WHOLE_YES) return sd_tok__push(e->s, e->ids, id, err);
    int64_t n0 = e->ids->n;
    sd_status st = word.n <= SD_SHORT_WORD ? encode_short(e, word, err) : encode_long(e, word, err);
    if (!st && whole == SD_WHOLE_UNKNOWN) {
        bool yes = e->ids->n == n0 + 1 && e->ids->v[n0] == id;
        __atomic_store_n(&b->whole[id], yes ? SD_WHOLE_YES : SD_WHOLE_NO, __ATOMIC_RELAXED);
    }
    return st;
}

sd_status sd_bpe__word(const sd_tok *t, sd_encode_scratch *s, sd_slice word, sd_ids *ids, sd_err *err)
{
    encoding e = {t, t->bpe, s, ids};
    sd_status st = SD_OK;
    if (t->bpe->skip_missing) st = skip_missing(&e, &word, err);
    while (word.n && !st) {
        size_t n = uncrossed(t->bpe, word);
        st = encode_part(&e, (sd_slice){word.p, n}, err);
        word = (sd_slice){word.p + n, word.n - n};
    }
    return st;
}
