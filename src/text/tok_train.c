/* Learning merges. The words of the corpus are counted first; then only different words count, each as a list of ids.
 *
 * A heap holds pairs by the count they had when they were put in, with the words they were then seen in. The pair on top
 * is put back with its true count when that has fallen; else it is merged in its words, and the pairs that come into
 * being there are put in with those words. So a pair can be in the heap twice, with different words (two merges that
 * make the same piece), and is then merged twice: tokenizers does the same, and of a pair's two ranks the later stays. */
#include "text/tok_train_int.h"

#include "base/hash.h"
#include "text/tok_int.h"

#define MAX_VOCAB       (1 << 20)         /* no limit of the method; a bound for the tables */
#define MAX_WORDS       (1 << 28)         /* word numbers are 32-bit and tables double */
#define MAX_WORD_BYTES  ((size_t)1 << 31) /* of all different words */
#define LONGEST_WORD    65536             /* each merge reads the words it is in from end to end */

typedef struct word {
    size_t at;      /* of its bytes, later of its ids */
    uint32_t n;
    uint32_t hash;
    int64_t count;
} word;

typedef struct pair {
    int32_t left, right;
    int64_t count;
    int64_t rank;   /* of its merge, -1: none */
    int32_t *in;    /* [n_in] words it came into being in during this merge */
    int32_t n_in, cap_in;
    bool touched;
} pair;

typedef struct entry {
    int64_t count;
    uint32_t pair;
    int32_t n;
    int32_t *in; /* [n] words; owns */
} entry;

struct sd_tok_trainer {
    sd_tok_trained *v;
    int32_t want;
    int64_t min_count;
    sd_pretok *pretok;
    sd_pretok_scratch scratch;
    sd_trie special;
    uint8_t *type;       /* [n_special] all control */
    sd_buf bytes;        /* of different words */
    word *words;
    uint32_t n_words, cap_words;
    uint32_t *slot;      /* [cap_slot] word number + 1; 0: empty */
    uint32_t cap_slot;
    int32_t *ids;        /* of all words */
    pair *pairs;
    uint32_t n_pairs, cap_pairs;
    uint32_t *pair_slot; /* [cap_pair_slot] pair number + 1; 0: empty */
    uint32_t cap_pair_slot;
    uint32_t *touched;
    uint32_t n_touched, cap_touched;
    entry *heap;
    size_t n_heap, cap_heap;
    sd_table *by_text;
};

/* Room for one more element of `size` bytes in *v. */
static sd_status grow(void *v, uint32_t n, uint32_t *cap, size_t size, sd_err *err)
{
    void **p = v;
    if (n < *cap) return SD_OK;
    if (n >= MAX_WORDS) return sd_fail(err, SD_E_UNSUPPORTED, "training a tokenizer: more than %d different words or pairs", MAX_WORDS);
    uint32_t more = *cap ? *cap * 2 : 1024;
    void *q = sd_realloc(*p, more * size);
    if (!q) return sd_fail(err, SD_E_NOMEM, "out of memory: %u words or pairs of a tokenizer's corpus", more);
    *p = q;
    *cap = more;
    return SD_OK;
}

/* ---- counting words ---- */

static sd_status rehash(sd_tok_trainer *t, sd_err *err)
{
    if (2 * (uint64_t)t->n_words < t->cap_slot) return SD_OK;
    uint32_t cap = t->cap_slot ? t->cap_slot * 2 : 4096;
    uint32_t *slot;
    sd_status st = sd_alloc_zero(&slot, cap * sizeof *slot, "the words of a corpus", err);
    if (st) return st;
    for (uint32_t w = 0; w < t->n_words; w++) {
        uint32_t i = t->words[w].hash & (cap - 1);
        while (slot[i]) i = (i + 1) & (cap - 1);
        slot[i] = w + 1;
    }
    sd_free(t->slot);
    t->slot = slot;
    t->cap_slot = cap;
    return SD_OK;
}

static sd_status count_word(void *self, sd_slice text, sd_err *err)
{
    sd_tok_trainer *t = self;
    if (text.n > LONGEST_WORD) return SD_OK;
    sd_status st = rehash(t, err);
    if (st) return st;
    uint32_t hash = (uint32_t)sd_hash64(text.p, text.n), i = hash & (t->cap_slot - 1);
    for (; t->slot[i]; i = (i + 1) & (t->cap_slot - 1)) {
        word *w = &t->words[t->slot[i] - 1];
        if (w->hash != hash || w->n != text.n || memcmp(t->bytes.p + w->at, text.p, text.n) != 0) continue;
        w->count++;
        return SD_OK;
    }
    st = grow(&t->words, t->n_words, &t->cap_words, sizeof *t->words, err);
    if (st) return st;
    t->words[t->n_words] = (word){t->bytes.n, (uint32_t)text.n, hash, 1};
    sd_buf_put(&t->bytes, text.p, text.n);
    st = sd_buf_check(&t->bytes, "the words of a corpus", err);
    if (!st) t->slot[i] = ++t->n_words;
    return st;
}

static sd_status add_stretch(sd_tok_trainer *t, sd_slice text, sd_err *err)
{
    sd_status st = SD_OK;
    while (text.n && !st) {
        size_t n = sd_utf8_valid_prefix(text);
        if (n)
            st = sd_pretok_split(t->pretok, &t->scratch, (sd_slice){text.p, n}, true, count_word, t, err);
        else
            n = 1; /* a word of one byte has no pair */
        text = (sd_slice){text.p + n, text.n - n};
    }
    return st;
}

sd_status sd_tok_trainer_add(sd_tok_trainer *t, sd_slice text, sd_err *err)
{
    sd_status st = SD_OK;
    size_t done = 0;
    for (size_t i = 0; i < text.n && !st;) {
        size_t len = 0;
        int32_t id = t->special.first[(unsigned char)text.p[i]]
                         ? sd_trie__match(&t->special, t->type, text.p + i, text.n - i, true, &len)
                         : -1;
        if (id < 0) {
            i++;
            continue;
        }
        st = add_stretch(t, (sd_slice){text.p + done, i - done}, err);
        done = i += len;
    }
    return st ? st : add_stretch(t, (sd_slice){text.p + done, text.n - done}, err);
}

/* ---- pairs ---- */

static sd_status rehash_pairs(sd_tok_trainer *t, sd_err *err)
{
    if (2 * (uint64_t)t->n_pairs < t->cap_pair_slot) return SD_OK;
    uint32_t cap = t->cap_pair_slot ? t->cap_pair_slot * 2 : 4096;
    uint32_t *slot;
    sd_status st = sd_alloc_zero(&slot, cap * sizeof *slot, "the pairs of a corpus", err);
    if (st) return st;
    for (uint32_t k = 0; k < t->n_pairs; k++) {
        int32_t key[2] = {t->pairs[k].left, t->pairs[k].right};
        uint32_t i = (uint32_t)sd_hash64(key, sizeof key) & (cap - 1);
        while (slot[i]) i = (i + 1) & (cap - 1);
        slot[i] = k + 1;
    }
    sd_free(t->pair_slot);
    t->pair_slot = slot;
    t->cap_pair_slot = cap;
    return SD_OK;
}

static sd_status find_pair(sd_tok_trainer *t, int32_t left, int32_t right, uint32_t *out, sd_err *err)
{
    sd_status st = rehash_pairs(t, err);
    if (st) return st;
    int32_t key[2] = {left, right};
    uint32_t i = (uint32_t)sd_hash64(key, sizeof key) & (t->cap_pair_slot - 1);
    for (; t->pair_slot[i]; i = (i + 1) & (t->cap_pair_slot - 1)) {
        *out = t->pair_slot[i] - 1;
        if (t->pairs[*out].left == left && t->pairs[*out].right == right) return SD_OK;
    }
    st = grow(&t->pairs, t->n_pairs, &t->cap_pairs, sizeof *t->pairs, err);
    if (st) return st;
    *out = t->n_pairs;
    t->pairs[t->n_pairs++] = (pair){.left = left, .right = right, .rank = -1};
    t->pair_slot[i] = t->n_pairs;
    return SD_OK;
}

/* The pair occurs `change` times more or less in word w. */
static sd_status change_pair(sd_tok_trainer *t, int32_t left, int32_t right, int change, uint32_t w, sd_err *err)
{
    uint32_t k = 0;
    sd_status st = find_pair(t, left, right, &k, err);
    if (st) return st;
    pair *p = &t->pairs[k];
    p->count += change * t->words[w].count;
    if (change < 0 || (p->n_in && p->in[p->n_in - 1] == (int32_t)w)) return SD_OK;
    if (!p->touched) {
        st = grow(&t->touched, t->n_touched, &t->cap_touched, sizeof *t->touched, err);
        if (st) return st;
        t->touched[t->n_touched++] = k;
        p->touched = true;
    }
    if (p->n_in == p->cap_in) {
        int32_t cap = p->cap_in ? 2 * p->cap_in : 4;
        int32_t *in = sd_realloc(p->in, (size_t)cap * sizeof *in);
        if (!in) return sd_fail(err, SD_E_NOMEM, "out of memory: the words of a pair");
        p->in = in;
        p->cap_in = cap;
    }
    p->in[p->n_in++] = (int32_t)w;
    return SD_OK;
}

/* ---- the heap: most frequent first, then the smaller ids ---- */

static bool before(const sd_tok_trainer *t, const entry *a, const entry *b)
{
    const pair *p = &t->pairs[a->pair], *q = &t->pairs[b->pair];
    if (a->count != b->count) return a->count > b->count;
    if (p->left != q->left) return p->left < q->left;
    return p->right < q->right;
}

static sd_status push(sd_tok_trainer *t, entry e, sd_err *err)
{
    if (t->n_heap == t->cap_heap) {
        size_t cap = t->cap_heap ? 2 * t->cap_heap : 1024;
        entry *h = sd_realloc(t->heap, cap * sizeof *h);
        if (!h) return sd_fail(err, SD_E_NOMEM, "out of memory: %zu pairs", cap);
        t->heap = h;
        t->cap_heap = cap;
    }
    size_t i = t->n_heap++;
    for (; i > 0 && before(t, &e, &t->heap[(i - 1) / 2]); i = (i - 1) / 2) t->heap[i] = t->heap[(i - 1) / 2];
    t->heap[i] = e;
    return SD_OK;
}

static entry pop(sd_tok_trainer *t)
{
    entry top = t->heap[0], last = t->heap[--t->n_heap];
    size_t i = 0;
    for (size_t c; (c = 2 * i + 1) < t->n_heap; i = c) {
        if (c + 1 < t->n_heap && before(t, &t->heap[c + 1], &t->heap[c])) c++;
        if (!before(t, &t->heap[c], &last)) break;
        t->heap[i] = t->heap[c];
    }
    t->heap[i] = last;
    return top;
}

/* The pairs that came into being go into the heap with the words they are in. */
static sd_status push_touched(sd_tok_trainer *t, sd_err *err)
{
    sd_status st = SD_OK;
    for (uint32_t i = 0; i < t->n_touched && !st; i++) {
        pair *p = &t->pairs[t->touched[i]];
        p->touched = false;
        if (p->count > 0) {
            st = push(t, (entry){p->count, t->touched[i], p->n_in, p->in}, err);
            if (st) return st; /* in is still the pair's */
        } else {
            sd_free(p->in);
        }
        p->in = NULL;
        p->n_in = p->cap_in = 0;
    }
    t->n_touched = 0;
    return st;
}

/* ---- merging ---- */

static sd_status merge_in_word(sd_tok_trainer *t, uint32_t w, int32_t left, int32_t right, int32_t made, sd_err *err)
{
    int32_t *s = t->ids + t->words[w].at;
    uint32_t n = t->words[w].n, to = 0;
    sd_status st = SD_OK;
    for (uint32_t i = 0; i < n && !st; i++, to++) {
        if (s[i] != left || i + 1 >= n || s[i + 1] != right) {
            s[to] = s[i];
            continue;
        }
        if (to > 0) {
            st = change_pair(t, s[to - 1], left, -1, w, err);
            if (!st) st = change_pair(t, s[to - 1], made, 1, w, err);
        }
        if (!st && i + 2 < n) {
            st = change_pair(t, right, s[i + 2], -1, w, err);
            if (!st) st = change_pair(t, made, s[i + 2], 1, w, err);
        }
        s[to] = made;
        i++;
    }
    t->words[w].n = to;
    return st;
}

/* The id of a piece's text, a new one when it has none. */
static sd_status piece_id(sd_tok_trainer *t, const char *left, const char *right, int32_t *id, sd_err *err)
{
    sd_tok_trained *v = t->v;
    size_t n_left = strlen(left), n = n_left + strlen(right);
    char *text;
    sd_status st = sd_alloc(&text, n + 1, "a piece", err);
    if (st) return st;
    memcpy(text, left, n_left);
    memcpy(text + n_left, right, n - n_left + 1);
    *id = (int32_t)sd_table_get(t->by_text, (sd_slice){text, n});
    if (*id >= 0) {
        sd_free(text);
        return SD_OK;
    }
    *id = v->n_vocab;
    v->piece[v->n_vocab++] = text;
    return sd_table_set(t->by_text, (sd_slice){text, n}, *id, NULL, err);
}

static sd_status merge_entry(sd_tok_trainer *t, const entry *e, sd_err *err)
{
    sd_tok_trained *v = t->v;
    pair *p = &t->pairs[e->pair];
    int32_t left = p->left, right = p->right, made = -1;
    sd_status st = piece_id(t, v->piece[left], v->piece[right], &made, err);
    if (st) return st;
    if (p->rank >= 0) v->merge[p->rank][0] = -1; /* merged again: the later rank stays */
    p->rank = v->n_merge;
    v->merge[v->n_merge][0] = left;
    v->merge[v->n_merge++][1] = right;
    for (int32_t i = 0; i < e->n && !st; i++) st = merge_in_word(t, (uint32_t)e->in[i], left, right, made, err);
    return st ? st : push_touched(t, err);
}

/* Room in v->merge: merges that make no new piece are rare, but may go on. */
static sd_status room_for_merge(sd_tok_trainer *t, int64_t *cap, sd_err *err)
{
    if (t->v->n_merge < *cap) return SD_OK;
    int64_t more = *cap ? 2 * *cap : 1024;
    void *m = sd_realloc(t->v->merge, (size_t)more * sizeof *t->v->merge);
    if (!m) return sd_fail(err, SD_E_NOMEM, "out of memory: %lld merges", (long long)more);
    t->v->merge = m;
    *cap = more;
    return SD_OK;
}

static sd_status learn(sd_tok_trainer *t, sd_err *err)
{
    int64_t cap = 0;
    sd_status st = SD_OK;
    while (!st && t->v->n_vocab < t->want && t->n_heap) {
        entry e = pop(t);
        int64_t count = t->pairs[e.pair].count;
        if (e.count != count) {
            e.count = count;
            st = push(t, e, err); /* there is room: one has just gone */
            continue;
        }
        bool enough = count >= 1 && count >= t->min_count;
        if (enough) st = room_for_merge(t, &cap, err);
        if (enough && !st) st = merge_entry(t, &e, err);
        sd_free(e.in);
        if (!enough) break;
    }
    return st;
}

/* ---- from words to a vocabulary ---- */

static sd_status count_pairs(sd_tok_trainer *t, sd_err *err)
{
    sd_status st = sd_alloc(&t->ids, (t->bytes.n + 1) * sizeof *t->ids, "the words of a corpus", err);
    int32_t of_byte[256];
    for (int b = 0; b < 256 && !st; b++) {
        char ch[8];
        int n = sd_utf8_encode(sd_bpe__byte_to_cp((unsigned)b), ch);
        of_byte[b] = (int32_t)sd_table_get(t->by_text, (sd_slice){ch, (size_t)n});
    }
    for (size_t i = 0; i < t->bytes.n && !st; i++) t->ids[i] = of_byte[(unsigned char)t->bytes.p[i]];
    for (uint32_t w = 0; w < t->n_words && !st; w++)
        for (uint32_t i = 0; i + 1 < t->words[w].n && !st; i++) {
            const int32_t *s = t->ids + t->words[w].at;
            st = change_pair(t, s[i], s[i + 1], 1, w, err);
        }
    return st ? st : push_touched(t, err);
}

/* Merges that were done again are left out; lines are what sd_tok_spec wants. */
static sd_status settle_merges(sd_tok_trained *v, sd_err *err)
{
    int64_t n = 0;
    sd_status st = sd_alloc(&v->line, ((size_t)v->n_merge + 1) * sizeof *v->line, "the merges", err);
    for (int64_t i = 0; i < v->n_merge && !st; i++) {
        if (v->merge[i][0] < 0) continue;
        v->merge[n][0] = v->merge[i][0];
        v->merge[n][1] = v->merge[i][1];
        v->line[n] = v->lines.n;
        sd_buf_puts(&v->lines, v->piece[v->merge[n][0]]);
        sd_buf_putc(&v->lines, ' ');
        sd_buf_puts(&v->lines, v->piece[v->merge[n][1]]);
        n++;
    }
    if (st) return st;
    v->n_merge = n;
    v->line[n] = v->lines.n;
    return sd_buf_check(&v->lines, "the merges", err);
}

sd_status sd_tok_trainer_finish(sd_tok_trained **out, sd_tok_trainer *t, sd_err *err)
{
    *out = NULL;
    if (!t->v) return sd_fail(err, SD_E_ARG, "training a tokenizer: the trainer has given its vocabulary already");
    sd_status st = count_pairs(t, err);
    if (!st) st = learn(t, err);
    if (!st) st = settle_merges(t->v, err);
    if (st) return st;
    *out = t->v;
    t->v = NULL;
    return SD_OK;
}

/* ---- making a trainer ---- */

static sd_status check_options(const sd_tok_train_opt *o, sd_err *err)
{
    if (o->n_special < 0 || o->n_special > 4096)
        return sd_fail(err, SD_E_ARG, "training a tokenizer: %d special tokens, at most 4096", o->n_special);
    if (o->n_vocab < o->n_special + 256 || o->n_vocab > MAX_VOCAB)
        return sd_fail(err, SD_E_ARG, "training a tokenizer: a vocabulary of %d, expected %d (256 bytes and %d special tokens) to %d",
                       (int)o->n_vocab, o->n_special + 256, o->n_special, MAX_VOCAB);
    for (int i = 0; i < o->n_special; i++) {
        sd_slice s = o->special[i];
        if (s.n == 0 || memchr(s.p, '\0', s.n) || sd_utf8_valid_prefix(s) != s.n)
            return sd_fail(err, SD_E_ARG, "training a tokenizer: special token %d is empty or no UTF-8", i);
        for (int k = 0; k < i; k++)
            if (sd_slice_eq(s, o->special[k]))
                return sd_fail(err, SD_E_ARG, "training a tokenizer: the special token \"%.*s\" is given twice", SD_SLICE(s));
    }
    return SD_OK;
}

static sd_status find_special(const sd_tok_train_opt *o, const char *what, sd_slice name, int32_t *id, sd_err *err)
{
    *id = -1;
    if (name.n == 0) return SD_OK;
    for (int i = 0; i < o->n_special; i++)
        if (sd_slice_eq(name, o->special[i])) *id = i;
    if (*id >= 0) return SD_OK;
    return sd_fail(err, SD_E_ARG, "training a tokenizer: %s is \"%.*s\", which is no special token", what, SD_SLICE(name));
}

static sd_status first_pieces(sd_tok_trainer *t, const sd_tok_train_opt *o, sd_err *err)
{
    sd_tok_trained *v = t->v;
    sd_status st = SD_OK;
    for (int i = 0; i < o->n_special && !st; i++) {
        char *text = sd_strndup(o->special[i].p, o->special[i].n);
        if (!text) return sd_fail(err, SD_E_NOMEM, "out of memory: a special token");
        v->piece[v->n_vocab] = text;
        st = sd_table_set(t->by_text, (sd_slice){text, o->special[i].n}, v->n_vocab++, NULL, err);
    }
    /* The alphabet in the order of its code points: printable Latin-1, then what stands for the rest. */
    for (int order = 0; order < 2; order++)
        for (unsigned b = 0; b < 256 && !st; b++) {
            uint32_t cp = sd_bpe__byte_to_cp(b);
            char ch[8] = {0};
            int32_t id;
            if ((cp >= 256) != (order == 1)) continue;
            (void)sd_utf8_encode(cp, ch);
            st = piece_id(t, "", ch, &id, err);
        }
    v->n_special = o->n_special;
    return st;
}

sd_status sd_tok_trainer_new(sd_tok_trainer **out, const sd_tok_train_opt *o, sd_err *err)
{
    sd_tok_trainer *t = NULL;
    *out = NULL;
    sd_status st = check_options(o, err);
    if (!st) st = sd_alloc_zero(&t, sizeof *t, "a tokenizer's trainer", err);
    if (st) return st;
    sd_buf_init(&t->bytes, MAX_WORD_BYTES);
    t->want = o->n_vocab;
    t->min_count = o->min_count;
    st = sd_alloc_zero(&t->v, sizeof *t->v, "a vocabulary", err);
    if (st) goto done;
    sd_buf_init(&t->v->lines, MAX_WORD_BYTES);
    t->v->add_bos = o->add_bos;
    st = find_special(o, "BOS", o->bos, &t->v->bos, err);
    if (!st) st = find_special(o, "EOS", o->eos, &t->v->eos, err);
    if (!st) st = find_special(o, "the padding token", o->pad, &t->v->pad, err);
    if (!st) st = find_special(o, "the unknown token", o->unk, &t->v->unk, err);
    if (!st && o->add_bos && t->v->bos < 0) st = sd_fail(err, SD_E_ARG, "training a tokenizer: adds a BOS token but names none");
    if (!st) st = sd_alloc_zero(&t->v->piece, (size_t)o->n_vocab * sizeof *t->v->piece, "a vocabulary", err);
    if (!st) st = sd_table_new(&t->by_text, o->n_vocab, err);
    if (!st) st = first_pieces(t, o, err);
    if (!st) st = sd_alloc(&t->type, (size_t)o->n_special, "special tokens", err);
    for (int i = 0; i < o->n_special && !st; i++) t->type[i] = SD_PIECE_CONTROL;
    if (!st) st = sd_trie__build(&t->special, o->special, o->n_special, err);
    if (!st) st = sd_pretok_named(&t->pretok, SD_LIT("gpt-2"), err);
    if (!st) st = sd_pretok_scratch_init(&t->scratch, t->pretok, err);
done:
    if (st)
        sd_tok_trainer_free(t);
    else
        *out = t;
    return st;
}

void sd_tok_trainer_free(sd_tok_trainer *t)
{
    if (!t) return;
    for (uint32_t i = 0; i < t->n_pairs; i++) sd_free(t->pairs[i].in);
    for (size_t i = 0; i < t->n_heap; i++) sd_free(t->heap[i].in);
    sd_free(t->pairs);
    sd_free(t->pair_slot);
    sd_free(t->touched);
    sd_free(t->heap);
    sd_free(t->ids);
    sd_free(t->words);
    sd_free(t->slot);
    sd_free(t->type);
    sd_table_free(t->by_text);
    sd_trie__release(&t->special);
    if (t->scratch.match) sd_pretok_scratch_release(&t->scratch);
    sd_pretok_free(t->pretok);
    sd_buf_release(&t->bytes);
    sd_tok_trained_free(t->v);
    sd_free(t);
}

void sd_tok_trained_free(sd_tok_trained *v)
{
    if (!v) return;
    for (int32_t i = 0; i < v->n_vocab; i++) sd_free(v->piece[i]);
    sd_free(v->piece);
    sd_free(v->merge);
    sd_free(v->line);
    sd_buf_release(&v->lines);
    sd_free(v);
}
