/* The tables of byte pair encoding: symbols of bytes and characters, ranked merges or ranks by score, pieces by their
 * text, and which characters stand side by side in a piece. */
#include "text/tok_bpe_int.h"

#include "base/hash.h"
#include "base/log.h"

#define MAX_MERGES (1 << 23) /* the largest vocabularies have 0.5 million */

typedef struct builder {
    sd_bpe *b;
    const sd_tok *t;
    const sd_tok_spec *spec;
    sd_table *by_text;   /* piece, or intermediate string -> symbol */
    char (*alphabet)[4]; /* [256] a byte's character, for keys of by_text */
    char *made;          /* intermediate strings that no piece holds */
    size_t n_made;
    int32_t n_sym;
} builder;

/* The symbol of a text, a fresh one when no piece has it. `key` must outlive the table. */
static sd_status symbol(builder *k, sd_slice key, int32_t *out, sd_err *err)
{
    int64_t id = sd_table_get(k->by_text, key);
    if (id < 0) {
        id = k->n_sym++;
        sd_status st = sd_table_set(k->by_text, key, id, NULL, err);
        if (st) return st;
    }
    *out = (int32_t)id;
    return SD_OK;
}

static sd_status index_pieces(builder *k, sd_err *err)
{
    const sd_tok_spec *s = k->spec;
    bool bytes = s->kind == SD_TOK_BPE;
    sd_status st = sd_table_new(&k->by_text, (int64_t)s->n_vocab + 256, err);
    /* Backwards: of two pieces with one text the first stays. */
    for (int32_t i = s->n_vocab - 1; i >= 0 && !st; i--)
        if (s->piece[i].n && (bytes || sd_tok__in_words(k->t, (size_t)i))) st = sd_table_set(k->by_text, s->piece[i], i, NULL, err);
    for (unsigned v = 0; v < 256 && !st && bytes; v++) {
        int n = sd_utf8_encode(sd_bpe__byte_to_cp(v), k->alphabet[v]);
        st = symbol(k, (sd_slice){k->alphabet[v], (size_t)n}, &k->b->byte_sym[v], err);
    }
    return st;
}

static void add_pair(sd_bpe *b, unsigned left, unsigned right)
{
    unsigned pair = left << 8 | right;
    b->joins[pair / 64] |= (uint64_t)1 << (pair % 64);
}

static void add_joins(sd_bpe *b, sd_slice piece)
{
    for (size_t i = 0, n = 0, before = 0; i < piece.n; i += n) {
        n = sd_tok__char(piece.p + i, piece.n - i);
        if (i) add_pair(b, sd_bpe__last_of(piece.p + i - before, before), sd_bpe__first_of(piece.p + i, n));
        before = n;
    }
}

/* Is the part of a merge one byte that has no token? Merges are learnt over tokens: such a vocabulary lost one. */
static bool lost(const builder *k, sd_slice part, int32_t sym)
{
    return k->b->kind == SD_TOK_BPE && k->t->unk < 0 && sym >= k->b->n_vocab && sd_tok__char(part.p, part.n) == part.n;
}

/* "left right" -> their symbols and the symbol of both together. */
static sd_status add_merge(builder *k, int32_t rank, sd_err *err)
{
    sd_slice line = k->spec->merge[rank];
    const char *gap = line.n > 1 ? memchr(line.p + 1, ' ', line.n - 1) : NULL;
    size_t n_left = k->spec->merge_left ? k->spec->merge_left[rank] : gap ? (size_t)(gap - line.p) : 0;
    if (n_left == 0 || n_left + 1 >= line.n)
        return sd_fail(err, SD_E_FORMAT,
                       "tokenizer: merge %d is \"%.*s\", expected two pieces and a space between them", (int)rank,
                       (int)(line.n > 64 ? 64 : line.n), line.n ? line.p : "");
    sd_slice left = {line.p, n_left}, right = {line.p + n_left + 1, line.n - n_left - 1};
    char *joined = k->made + k->n_made;
    memcpy(joined, left.p, left.n);
    memcpy(joined + left.n, right.p, right.n);
    if (k->b->joins) add_joins(k->b, (sd_slice){joined, line.n - 1});
    sd_merge m = {.rank = (uint32_t)rank};
    sd_status st = symbol(k, left, &m.left, err);
    if (!st) st = symbol(k, right, &m.right, err);
    int32_t parts = k->n_sym;
    if (!st) st = symbol(k, (sd_slice){joined, line.n - 1}, &m.made, err);
    if (st) return st;
    if (k->spec->merges_closed && (m.left >= k->b->n_vocab || m.right >= k->b->n_vocab || m.made >= k->b->n_vocab))
        return sd_fail(err, SD_E_FORMAT, "tokenizer: merge %d, \"%.*s\", is of pieces that the vocabulary does not have", (int)rank,
                       (int)(line.n > 64 ? 64 : line.n), line.p);
    if (lost(k, left, m.left) || lost(k, right, m.right)) {
        sd_fail(err, SD_E_FORMAT, "tokenizer: merge %d, \"%.*s\", is of a byte that has no token, and there is no unknown token", (int)rank,
                (int)(line.n > 64 ? 64 : line.n), line.p);
        return sd_hint(err, "take the tokenizer again from where the model was published: this one was cut short, or its converter dropped tokens");
    }
    if (k->n_sym > parts) k->n_made += line.n - 1; /* a new string keeps its bytes */
    uint32_t i = sd_bpe__pair_slot(k->b, m.left, m.right);
    for (; k->b->merges[i].rank != SD_NO_RANK; i = (i + 1) & (k->b->merge_cap - 1))
        if (k->b->merges[i].left == m.left && k->b->merges[i].right == m.right)
            return SD_OK; /* a repeated line: the first counts */
    k->b->merges[i] = m;
    return SD_OK;
}

static sd_status add_merges(builder *k, sd_err *err)
{
    sd_bpe *b = k->b;
    int64_t n = k->spec->n_merge;
    if (n < 0 || n > MAX_MERGES)
        return sd_fail(err, SD_E_FORMAT, "tokenizer: %lld merges, at most %d are supported", (long long)n, MAX_MERGES);
    size_t total = 1;
    for (int64_t i = 0; i < n; i++)
        if (!sd_add_size(total, k->spec->merge[i].n, &total))
            return sd_fail(err, SD_E_FORMAT, "tokenizer: merges too long");
    b->merge_cap = 64;
    while (b->merge_cap < 2 * n) b->merge_cap *= 2;
    sd_status st = sd_alloc(&b->merges, b->merge_cap * sizeof *b->merges, "the merges", err);
    if (!st) st = sd_alloc(&k->made, total, "the merges", err);
    if (st) return st;
    for (uint32_t i = 0; i < b->merge_cap; i++) b->merges[i] = (sd_merge){-1, -1, -1, SD_NO_RANK};
    for (int32_t i = 0; i < (int32_t)n && !st; i++) st = add_merge(k, i, err);
    return st;
}

/* Ranks in the order of falling score, equal ones for equal scores: the bits of a float, turned so that they count. */
static sd_status add_ranks(builder *k, sd_err *err)
{
    const sd_tok_spec *s = k->spec;
    if (!s->score) return sd_fail(err, SD_E_FORMAT, "tokenizer: the pieces have no scores, and SentencePiece's merges follow them");
    sd_status st = sd_alloc(&k->b->rank, (size_t)s->n_vocab * sizeof *k->b->rank, "the scores", err);
    for (int32_t i = 0; i < s->n_vocab && !st; i++) {
        float v = s->score[i] + 0.0f; /* -0 and 0 are equal */
        uint32_t bits;
        if (!(v == v)) return sd_fail(err, SD_E_FORMAT, "tokenizer: the score of piece %d is not a number", (int)i);
        memcpy(&bits, &v, sizeof bits);
        k->b->rank[i] = bits >> 31 ? bits & 0x7fffffffu : 0x7fffffffu - bits;
        if (bits >> 31) k->b->rank[i] |= 0x80000000u;
        if (k->b->rank[i] == SD_NO_RANK) k->b->rank[i]--;
    }
    return st;
}

/* Pieces by their text, and the pairs of characters that they hold. */
static sd_status add_words(builder *k, bool ignore, bool whole_lines, sd_err *err)
{
    sd_bpe *b = k->b;
    const sd_tok_spec *s = k->spec;
    bool bytes = s->kind == SD_TOK_BPE;
    sd_status st = sd_pieces__init(&b->words, s->n_vocab, bytes ? k->t->bytes : k->t->key,
                                   bytes ? k->t->off : k->t->key_off, err);
    if (!st) st = sd_alloc_zero(&b->whole, (size_t)s->n_vocab, "the vocabulary's index", err);
    for (int32_t id = 0; id < s->n_vocab && !st; id++) {
        uint8_t type = k->t->type[id];
        /* Control and user tokens are written as text, not in the alphabet: only plain ASCII reads the same in both. */
        if (s->piece[id].n == 0 || !sd_tok__in_words(k->t, (size_t)id) || (bytes && type == SD_PIECE_USER)) continue;
        sd_pieces__add(&b->words, id);
        bool lines = whole_lines;
        for (size_t i = 0; i < s->piece[id].n; i++) lines &= s->piece[id].p[i] == '\n';
        if (ignore || lines) b->whole[id] = SD_WHOLE_YES;
        if (b->joins) add_joins(b, s->piece[id]);
    }
    for (unsigned c = 0; c < 0x80 && !st && !bytes; c++) {
        char one = (char)c;
        b->byte_sym[c] = sd_pieces__find(&b->words, (sd_slice){&one, 1});
    }
    return st;
}

/* Does byte v stand in the UTF-8 of an assigned character that is no control? 0xC0, 0xC1 and 0xF5 on stand in none, 0xF1 and 0xF2
 * begin planes 4 to 11, which are empty. Vocabularies that were learnt from a text alone lack such bytes (SmolLM2 21 of them). */
static bool in_text(int v)
{
    return v == '\t' || v == '\n' || v == '\r' || (v >= ' ' && v < 0x7f) || (v >= 0x80 && v < 0xc0) || (v >= 0xc2 && v <= 0xf0) || v == 0xf3 || v == 0xf4;
}

static void settle_missing(const builder *k)
{
    sd_bpe *b = k->b;
    int n = 0, wanted = 0;
    if (b->kind == SD_TOK_BPE)
        for (int i = 0; i < 256; i++) {
            const bool none = b->byte_sym[i] >= b->n_vocab;
            n += none;
            wanted += none && in_text(i);
        }
    else
        n = !(k->t->byte_fallback && k->t->all_bytes);
    b->skip_missing = n && k->t->unk < 0 && k->spec->skip_missing;
    if (n && k->t->unk < 0 && b->kind == SD_TOK_BPE)
        sd_log(wanted ? SD_LOG_WARN : SD_LOG_DEBUG, "%d of 256 byte values have no token; text with them is encoded without them", n);
}

sd_status sd_bpe__new(sd_bpe **out, const sd_tok *t, const sd_tok_spec *spec, sd_err *err)
{
    sd_bpe *b = NULL;
    builder k = {.t = t, .spec = spec, .n_sym = spec->n_vocab};
    sd_pretok_traits traits = {0};
    if (spec->n_cut == 0 && spec->pre.n) sd_pretok_known(spec->pre, &traits);
    sd_status st = sd_alloc_zero(&b, sizeof *b, "a tokenizer", err);
    if (!st) st = sd_alloc(&k.alphabet, 256 * sizeof *k.alphabet, "a tokenizer", err);
    if (st) goto done;
    k.b = b;
    b->kind = spec->kind;
    b->n_vocab = spec->n_vocab;
    for (int i = 0; i < 256; i++) b->byte_sym[i] = -1;
    bool ignore = spec->ignore_merges || traits.ignore_merges; /* a word looked up whole must not be cut */
    if (spec->kind != SD_TOK_BPE && !ignore) st = sd_alloc_zero(&b->joins, (1 << 16) / 8, "a tokenizer", err);
    if (st) goto done;
    if (spec->kind == SD_TOK_SPM) {
        st = add_ranks(&k, err);
    } else {
        st = index_pieces(&k, err);
        if (!st) st = add_merges(&k, err);
    }
    if (!st) st = add_words(&k, ignore, traits.whole_lines, err);
    if (!st) settle_missing(&k);
done:
    sd_table_free(k.by_text);
    sd_free(k.alphabet);
    sd_free(k.made);
    if (st)
        sd_bpe__free(b);
    else
        *out = b;
    return st;
}

void sd_bpe__free(sd_bpe *b)
{
    if (!b) return;
    sd_free(b->merges);
    sd_free(b->rank);
    sd_free(b->words.slot);
    sd_free(b->whole);
    sd_free(b->joins);
    sd_free(b);
}
