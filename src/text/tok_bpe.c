/* Byte-level BPE (Sennrich et al. 2016; on bytes: Radford et al. 2019): in each word of the pre-tokeniser the pair of
 * neighbours with the lowest rank is merged, the leftmost of equals, until no pair is in the list.
 *
 * Everything works on symbol numbers: a symbol is a vocabulary id, or a number from n_vocab on for a byte or an
 * intermediate string that the vocabulary does not hold (such a symbol is written out byte by byte at the end, as
 * llama.cpp does). A byte without a token becomes the unknown token, or nothing: SmolLM2 lacks 21, six of them control
 * characters. In llama.cpp it parts its neighbours, in tokenizers they meet and may merge.
 *
 * Three ways through a word, all with the same result:
 *   - a word that is one piece, and that the merges would make into that piece, is one look-up (settled when the
 *     tokenizer is made: merges need not lead to every piece, and for some words lead elsewhere);
 *   - a short word scans its pairs for the lowest rank again after each merge;
 *   - a long one keeps its pairs in a heap, so that 10 MB without a space take n log n. */
#include "text/tok_int.h"

#include "base/hash.h"
#include "base/log.h"

#define SHORT_WORD 64 /* bytes; on words of 20 to 100 random letters every value from 24 to 128 takes the same time */
#define MAX_MERGES (1 << 23) /* the largest vocabularies have 0.5 million */
#define MAX_WORD   ((size_t)INT32_MAX / 2)
#define NO_RANK    INT32_MAX

typedef struct merge {
    int32_t left, right, rank, made;
} merge; /* rank NO_RANK: an empty slot */
typedef struct word_slot {
    uint32_t tag;
    int32_t id;
} word_slot; /* id -1: empty */

struct sd_bpe {
    sd_pretok *pretok;
    int32_t n_vocab;
    int32_t byte_sym[256];
    bool skip_missing; /* a byte without a token is taken out before merging */
    merge *merges;     /* [merge_cap] open addressing */
    uint32_t merge_cap;
    word_slot *words; /* [word_cap] pieces that stand for themselves as a word */
    uint32_t word_cap;
};

/* ---- the alphabet: bytes as printable characters (Radford et al. 2019, encoder.py, bytes_to_unicode) ---- */

static bool byte_is_itself(unsigned b)
{
    return (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
}

/* Bytes that are not printable in Latin-1 take the code points from 256 on, in order. */
static uint32_t byte_to_cp(unsigned b)
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

/* ---- the table of merges ---- */

static uint32_t pair_slot(const sd_bpe *b, int32_t left, int32_t right)
{
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    return (uint32_t)((key * 0x9e3779b97f4a7c15u) >> 32) &
           (b->merge_cap - 1); /* Fibonacci hashing, Knuth vol. 3, 6.4 */
}

static const merge no_merge = {-1, -1, NO_RANK, -1};

static const merge *find_merge(const sd_bpe *b, int32_t left, int32_t right)
{
    for (uint32_t i = pair_slot(b, left, right);; i = (i + 1) & (b->merge_cap - 1)) {
        const merge *m = &b->merges[i];
        if (m->rank == NO_RANK) return &no_merge;
        if (m->left == left && m->right == right) return m;
    }
}

/* ---- words ---- */

typedef struct pair {
    int32_t rank, made;
} pair;

static pair pair_of(const sd_bpe *b, int32_t left, int32_t right)
{
    const merge *m = find_merge(b, left, right);
    return (pair){m->rank, m->made};
}

/* Merges sym[0..n) in place; start[i] is the first byte of symbol i. Returns the new n. */
static int merge_short(const sd_bpe *b, int32_t *sym, int32_t *start, int n)
{
    pair p[SHORT_WORD];
    for (int i = 0; i + 1 < n; i++) p[i] = pair_of(b, sym[i], sym[i + 1]);
    while (n > 1) {
        int best = 0;
        for (int i = 1; i + 1 < n; i++)
            if (p[i].rank < p[best].rank) best = i;
        if (p[best].rank == NO_RANK) break;
        sym[best] = p[best].made;
        n--;
        for (int i = best + 1; i < n; i++) {
            sym[i] = sym[i + 1];
            start[i] = start[i + 1];
        }
        for (int i = best; i + 1 < n; i++) p[i] = p[i + 1];
        if (best + 1 < n) p[best] = pair_of(b, sym[best], sym[best + 1]);
        if (best > 0) p[best - 1] = pair_of(b, sym[best - 1], sym[best]);
    }
    return n;
}

/* Eight children a node, their slots in one cache line: a word of 10 MB keeps its heap in memory, not in cache, and
 * each level costs a miss. Slot 0 is at v[7], so that the children of i begin at v[8 (i + 1)]. */
#define HEAP_PAD 7

sd_status sd_pair_heap__push(sd_pair_heap *h, uint64_t key, sd_err *err)
{
    if (h->n + HEAP_PAD >= h->cap) {
        size_t cap = h->cap ? h->cap * 2 : 256;
        uint64_t *v = sd_realloc(h->v, cap * sizeof *v);
        if (!v) return sd_fail(err, SD_E_NOMEM, "out of memory: %zu pairs of a long word", cap);
        h->v = v;
        h->cap = cap;
    }
    uint64_t *v = h->v + HEAP_PAD;
    size_t i = h->n++;
    for (; i > 0 && v[(i - 1) / 8] > key; i = (i - 1) / 8) v[i] = v[(i - 1) / 8];
    v[i] = key;
    return SD_OK;
}

uint64_t sd_pair_heap__pop(sd_pair_heap *h)
{
    uint64_t *v = h->v + HEAP_PAD;
    uint64_t top = v[0], last = v[--h->n];
    size_t i = 0;
    for (size_t c; (c = 8 * i + 1) < h->n;) {
        size_t end = c + 8 < h->n ? c + 8 : h->n, least = c;
        for (size_t k = c + 1; k < end; k++)
            if (v[k] < v[least]) least = k;
        if (v[least] >= last) break;
        v[i] = v[least];
        i = least;
    }
    v[i] = last;
    return top;
}

/* A long word as a list of symbols: symbol i begins at byte i; next and prev are -1 at the ends. rank[i] belongs to the
 * pair (i, next[i]) and is NO_RANK for symbols that were swallowed, so a heap entry is current exactly when its rank
 * is. */
typedef struct chain {
    int32_t *sym, *next, *prev, *rank;
    sd_pair_heap *heap;
} chain;

static sd_status chain_rank(const sd_bpe *b, chain *c, int32_t i, sd_err *err)
{
    int32_t right = c->next[i];
    c->rank[i] = right < 0 ? NO_RANK : find_merge(b, c->sym[i], c->sym[right])->rank;
    if (c->rank[i] == NO_RANK) return SD_OK;
    return sd_pair_heap__push(c->heap, (uint64_t)(uint32_t)c->rank[i] << 32 | (uint32_t)i, err);
}

static sd_status merge_chain(const sd_bpe *b, chain *c, int32_t n, sd_err *err)
{
    sd_status st = SD_OK;
    c->heap->n = 0;
    for (int32_t i = 0; i < n && !st; i++) st = chain_rank(b, c, i, err);
    while (!st && c->heap->n) {
        uint64_t key = sd_pair_heap__pop(c->heap);
        int32_t i = (int32_t)(uint32_t)key, rank = (int32_t)(key >> 32);
        if (c->rank[i] != rank) continue;
        int32_t right = c->next[i], after = c->next[right];
        c->sym[i] = find_merge(b, c->sym[i], c->sym[right])->made;
        c->next[i] = after;
        if (after >= 0) c->prev[after] = i;
        c->rank[right] = NO_RANK;
        st = chain_rank(b, c, i, err);
        if (!st && c->prev[i] >= 0) st = chain_rank(b, c, c->prev[i], err);
    }
    return st;
}

/* ---- encoding ---- */

typedef struct encoding {
    const sd_tok *t;
    const sd_bpe *b;
    sd_encode_scratch *s;
    sd_ids *ids;
} encoding;

static sd_status push_byte(encoding *e, unsigned char byte, sd_err *err)
{
    int32_t id = e->b->byte_sym[byte];
    if (id >= e->b->n_vocab) id = e->t->unk;
    return id < 0 ? SD_OK : sd_ids_push(e->ids, id, err);
}

/* A symbol that covers bytes [from, to) of word. */
static sd_status push_symbol(encoding *e, int32_t sym, sd_slice word, size_t from, size_t to, sd_err *err)
{
    if (sym < e->b->n_vocab) return sd_ids_push(e->ids, sym, err);
    sd_status st = SD_OK;
    for (size_t i = from; i < to && !st; i++) st = push_byte(e, (unsigned char)word.p[i], err);
    return st;
}

static int32_t find_word(const sd_bpe *b, const char *bytes, const uint32_t *off, sd_slice word)
{
    uint64_t h = sd_hash64(word.p, word.n);
    uint32_t tag = (uint32_t)(h >> 32);
    for (uint32_t i = (uint32_t)h & (b->word_cap - 1);; i = (i + 1) & (b->word_cap - 1)) {
        int32_t id = b->words[i].id;
        if (id < 0) return -1;
        if (b->words[i].tag == tag && off[id + 1] - off[id] == word.n && memcmp(bytes + off[id], word.p, word.n) == 0)
            return id;
    }
}

static sd_status encode_short(encoding *e, sd_slice word, sd_err *err)
{
    int32_t sym[SHORT_WORD], start[SHORT_WORD + 1];
    int n = (int)word.n;
    for (int i = 0; i < n; i++) {
        sym[i] = e->b->byte_sym[(unsigned char)word.p[i]];
        start[i] = i;
    }
    n = merge_short(e->b, sym, start, n);
    start[n] = (int32_t)word.n;
    sd_status st = SD_OK;
    for (int i = 0; i < n && !st; i++) st = push_symbol(e, sym[i], word, (size_t)start[i], (size_t)start[i + 1], err);
    return st;
}

static sd_status encode_long(encoding *e, sd_slice word, sd_err *err)
{
    sd_encode_scratch *s = e->s;
    if (word.n > MAX_WORD)
        return sd_fail(err, SD_E_UNSUPPORTED, "a word of %zu bytes, at most %zu are supported", word.n, MAX_WORD);
    int32_t n = (int32_t)word.n;
    if (s->cap_sym < word.n) {
        sd_free(s->sym);
        s->cap_sym = 0;
        sd_status st = sd_alloc(&s->sym, 4 * word.n * sizeof *s->sym, "the pieces of a long word", err);
        if (st) return st;
        s->cap_sym = word.n;
    }
    chain c = {s->sym, s->sym + s->cap_sym, s->sym + 2 * s->cap_sym, s->sym + 3 * s->cap_sym, &s->heap};
    for (int32_t i = 0; i < n; i++) {
        c.sym[i] = e->b->byte_sym[(unsigned char)word.p[i]];
        c.next[i] = i + 1 < n ? i + 1 : -1;
        c.prev[i] = i - 1;
    }
    sd_status st = merge_chain(e->b, &c, n, err);
    for (int32_t i = 0; i >= 0 && !st; i = c.next[i])
        st = push_symbol(e, c.sym[i], word, (size_t)i, (size_t)(c.next[i] < 0 ? n : c.next[i]), err);
    return st;
}

/* word without the bytes that have no token; itself when all have. */
static sd_status skip_missing(encoding *e, sd_slice *word, sd_err *err)
{
    size_t i = 0;
    while (i < word->n && e->b->byte_sym[(unsigned char)word->p[i]] < e->b->n_vocab) i++;
    if (i == word->n) return SD_OK;
    sd_buf_reset(&e->s->kept);
    for (i = 0; i < word->n; i++)
        if (e->b->byte_sym[(unsigned char)word->p[i]] < e->b->n_vocab) sd_buf_putc(&e->s->kept, word->p[i]);
    *word = (sd_slice){e->s->kept.p, e->s->kept.n};
    return sd_buf_check(&e->s->kept, "a word", err);
}

static sd_status encode_word(void *self, sd_slice word, sd_err *err)
{
    encoding *e = self;
    if (e->b->skip_missing) {
        sd_status st = skip_missing(e, &word, err);
        if (st || word.n == 0) return st;
    }
    int32_t id = find_word(e->b, e->t->bytes, e->t->off, word);
    if (id >= 0) return sd_ids_push(e->ids, id, err);
    return word.n <= SHORT_WORD ? encode_short(e, word, err) : encode_long(e, word, err);
}

sd_status sd_bpe__encode(const sd_tok *t, sd_encode_scratch *s, sd_slice text, sd_ids *ids, sd_err *err)
{
    encoding e = {t, t->bpe, s, ids};
    sd_status st = SD_OK;
    while (text.n && !st) {
        size_t n = sd_utf8_valid_prefix(text);
        if (n)
            st = sd_pretok_split(t->bpe->pretok, &s->pretok, (sd_slice){text.p, n}, encode_word, &e, err);
        else
            st = push_byte(&e, (unsigned char)text.p[n++], err);
        text = (sd_slice){text.p + n, text.n - n};
    }
    return st;
}

sd_status sd_bpe__scratch(const sd_bpe *b, sd_encode_scratch *s, sd_err *err)
{
    return sd_pretok_scratch_init(&s->pretok, b->pretok, err);
}

/* ---- making one ---- */

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
    sd_status st = sd_table_new(&k->by_text, (int64_t)s->n_vocab + 256, err);
    /* Backwards: of two pieces with one text the first stays. */
    for (int32_t i = s->n_vocab - 1; i >= 0 && !st; i--)
        if (s->piece[i].n) st = sd_table_set(k->by_text, s->piece[i], i, NULL, err);
    for (unsigned v = 0; v < 256 && !st; v++) {
        int n = sd_utf8_encode(byte_to_cp(v), k->alphabet[v]);
        st = symbol(k, (sd_slice){k->alphabet[v], (size_t)n}, &k->b->byte_sym[v], err);
    }
    return st;
}

/* "left right" -> their symbols and the symbol of both together. A space never stands inside a piece of this alphabet.
 */
static sd_status add_merge(builder *k, int32_t rank, sd_err *err)
{
    sd_slice line = k->spec->merge[rank];
    const char *gap = line.n > 1 ? memchr(line.p + 1, ' ', line.n - 1) : NULL;
    size_t n_left = gap ? (size_t)(gap - line.p) : 0;
    if (!gap || n_left + 1 == line.n)
        return sd_fail(err, SD_E_FORMAT,
                       "tokenizer: merge %d is \"%.*s\", expected two pieces and a space between them", (int)rank,
                       (int)(line.n > 64 ? 64 : line.n), line.n ? line.p : "");
    sd_slice left = {line.p, n_left}, right = {gap + 1, line.n - n_left - 1};
    char *joined = k->made + k->n_made;
    memcpy(joined, left.p, left.n);
    memcpy(joined + left.n, right.p, right.n);
    merge m = {.rank = rank};
    sd_status st = symbol(k, left, &m.left, err);
    if (!st) st = symbol(k, right, &m.right, err);
    int32_t parts = k->n_sym;
    if (!st) st = symbol(k, (sd_slice){joined, line.n - 1}, &m.made, err);
    if (st) return st;
    if (k->n_sym > parts) k->n_made += line.n - 1; /* a new string keeps its bytes */
    uint32_t i = pair_slot(k->b, m.left, m.right);
    for (; k->b->merges[i].rank != NO_RANK; i = (i + 1) & (k->b->merge_cap - 1))
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
    for (uint32_t i = 0; i < b->merge_cap; i++) b->merges[i] = no_merge;
    for (int32_t i = 0; i < (int32_t)n && !st; i++) st = add_merge(k, i, err);
    return st;
}

/* Do the merges make the bytes of piece id into id? */
static sd_status makes_itself(builder *k, int32_t id, sd_slice word, sd_encode_scratch *s, sd_ids *ids, bool *yes,
                              sd_err *err)
{
    encoding e = {k->t, k->b, s, ids};
    ids->n = 0;
    sd_status st = word.n <= SHORT_WORD ? encode_short(&e, word, err) : encode_long(&e, word, err);
    *yes = ids->n == 1 && ids->v[0] == id;
    return st;
}

static void settle_missing_bytes(sd_bpe *b, int32_t unk, bool skip)
{
    int n = 0;
    for (int i = 0; i < 256; i++) n += b->byte_sym[i] >= b->n_vocab;
    b->skip_missing = n && unk < 0 && skip;
    if (n && unk < 0)
        sd_log(SD_LOG_DEBUG, "%d of 256 byte values have no token; text with them is encoded without them", n);
}

static sd_status add_words(builder *k, bool ignore_merges, sd_err *err)
{
    sd_bpe *b = k->b;
    sd_encode_scratch s = {0};
    sd_ids ids = {0};
    b->word_cap = 64;
    while (b->word_cap < 2 * (uint32_t)b->n_vocab) b->word_cap *= 2;
    sd_status st = sd_alloc(&b->words, b->word_cap * sizeof *b->words, "the vocabulary's index", err);
    for (uint32_t i = 0; i < b->word_cap && !st; i++) b->words[i] = (word_slot){0, -1};
    for (int32_t id = 0; id < b->n_vocab && !st; id++) {
        uint8_t type = k->t->type[id];
        sd_slice word = {k->t->bytes + k->t->off[id], k->t->off[id + 1] - k->t->off[id]};
        /* Control and user tokens are written as text, not in the alphabet: only plain ASCII reads the same in both. */
        if (word.n == 0 || type == SD_PIECE_CONTROL || type == SD_PIECE_USER || type == SD_PIECE_UNKNOWN) continue;
        bool yes = ignore_merges;
        if (!yes) st = makes_itself(k, id, word, &s, &ids, &yes, err);
        if (st || !yes || find_word(b, k->t->bytes, k->t->off, word) >= 0) continue;
        uint64_t h = sd_hash64(word.p, word.n);
        uint32_t i = (uint32_t)h & (b->word_cap - 1);
        while (b->words[i].id >= 0) i = (i + 1) & (b->word_cap - 1);
        b->words[i] = (word_slot){(uint32_t)(h >> 32), id};
    }
    sd_free(s.heap.v);
    sd_free(s.sym);
    sd_ids_release(&ids);
    return st;
}

static sd_status make_pretok(sd_bpe *b, const sd_tok_spec *s, bool *ignore_merges, sd_err *err)
{
    sd_pretok_traits traits = {0};
    if (s->pre.n && s->n_patterns == 0 && s->pattern.n == 0) {
        sd_status st = sd_pretok_named(&b->pretok, s->pre, err);
        if (!st) sd_pretok_known(s->pre, &traits);
        *ignore_merges = s->ignore_merges || traits.ignore_merges;
        return st;
    }
    *ignore_merges = s->ignore_merges;
    if (s->n_patterns > 0) return sd_pretok_new(&b->pretok, s->patterns, s->n_patterns, err);
    return sd_pretok_new(&b->pretok, &s->pattern, s->pattern.n ? 1 : 0, err);
}

sd_status sd_bpe__new(sd_bpe **out, const sd_tok *t, const sd_tok_spec *spec, sd_err *err)
{
    sd_bpe *b = NULL;
    builder k = {.t = t, .spec = spec, .n_sym = spec->n_vocab};
    bool ignore_merges = false;
    sd_status st = sd_alloc_zero(&b, sizeof *b, "a tokenizer", err);
    if (!st) st = sd_alloc(&k.alphabet, 256 * sizeof *k.alphabet, "a tokenizer", err);
    if (st) goto done;
    k.b = b;
    b->n_vocab = spec->n_vocab;
    st = make_pretok(b, spec, &ignore_merges, err);
    if (!st) st = index_pieces(&k, err);
    if (!st) st = add_merges(&k, err);
    if (!st) st = add_words(&k, ignore_merges, err);
    if (!st) settle_missing_bytes(b, t->unk, spec->skip_missing);
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
    sd_pretok_free(b->pretok);
    sd_free(b->merges);
    sd_free(b->words);
    sd_free(b);
}
