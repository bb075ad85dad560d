/* Merging: in a word the pair of neighbours with the lowest rank becomes one symbol, the leftmost of equals, until no
 * pair has a rank. A short word scans its pairs again after each merge; a long one keeps them in a heap, so that 10 MB
 * without a space take n log n. Both give the same symbols.
 *
 * A rank comes from the list of merges by the two symbols, or, in SentencePiece's way, from the score of the piece that
 * both texts make together. */
#include "text/tok_bpe_int.h"

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

uint32_t sd_bpe__pair_slot(const sd_bpe *b, int32_t left, int32_t right)
{
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    return (uint32_t)((key * 0x9e3779b97f4a7c15u) >> 32) & (b->merge_cap - 1); /* Fibonacci hashing, Knuth vol. 3, 6.4 */
}

typedef struct pair {
    uint32_t rank;
    int32_t made;
} pair;

/* text holds the bytes of both. */
static pair pair_of(const sd_bpe *b, int32_t left, int32_t right, sd_slice text)
{
    if (!b->merges) {
        int32_t id = sd_pieces__find(&b->words, text);
        return id < 0 ? (pair){SD_NO_RANK, -1} : (pair){b->rank[id], id};
    }
    for (uint32_t i = sd_bpe__pair_slot(b, left, right);; i = (i + 1) & (b->merge_cap - 1)) {
        const sd_merge *m = &b->merges[i];
        if (m->rank == SD_NO_RANK || (m->left == left && m->right == right)) return (pair){m->rank, m->made};
    }
}

int sd_bpe__merge_short(const sd_bpe *b, sd_slice word, int32_t *sym, int32_t *start, int n)
{
    pair p[SD_SHORT_WORD];
#define BOTH(i) ((sd_slice){word.p + start[i], (size_t)(start[(i) + 2] - start[i])})
    for (int i = 0; i + 1 < n; i++) p[i] = pair_of(b, sym[i], sym[i + 1], BOTH(i));
    while (n > 1) {
        int best = 0;
        for (int i = 1; i + 1 < n; i++)
            if (p[i].rank < p[best].rank) best = i;
        if (p[best].rank == SD_NO_RANK) break;
        sym[best] = p[best].made;
        n--;
        for (int i = best + 1; i < n; i++) sym[i] = sym[i + 1];
        for (int i = best + 1; i <= n; i++) start[i] = start[i + 1];
        for (int i = best; i + 1 < n; i++) p[i] = p[i + 1];
        if (best + 1 < n) p[best] = pair_of(b, sym[best], sym[best + 1], BOTH(best));
        if (best > 0) p[best - 1] = pair_of(b, sym[best - 1], sym[best], BOTH(best - 1));
    }
#undef BOTH
    return n;
}

static sd_status chain_rank(const sd_bpe *b, sd_slice word, sd_chain *c, int32_t i, sd_err *err)
{
    int32_t right = c->next[i];
    c->rank[i] = SD_NO_RANK;
    if (right < 0) return SD_OK;
    size_t end = c->next[right] < 0 ? word.n : (size_t)c->next[right];
    c->rank[i] = pair_of(b, c->sym[i], c->sym[right], (sd_slice){word.p + i, end - (size_t)i}).rank;
    if (c->rank[i] == SD_NO_RANK) return SD_OK;
    return sd_pair_heap__push(c->heap, (uint64_t)c->rank[i] << 32 | (uint32_t)i, err);
}

/* An entry of the heap is current exactly when its rank is the pair's. */
sd_status sd_bpe__merge_chain(const sd_bpe *b, sd_slice word, sd_chain *c, sd_err *err)
{
    sd_status st = SD_OK;
    c->heap->n = 0;
    for (int32_t i = 0; i >= 0 && !st; i = c->next[i]) st = chain_rank(b, word, c, i, err);
    while (!st && c->heap->n) {
        uint64_t key = sd_pair_heap__pop(c->heap);
        int32_t i = (int32_t)(uint32_t)key;
        if (c->rank[i] != (uint32_t)(key >> 32)) continue;
        int32_t right = c->next[i], after = c->next[right];
        size_t end = after < 0 ? word.n : (size_t)after;
        c->sym[i] = pair_of(b, c->sym[i], c->sym[right], (sd_slice){word.p + i, end - (size_t)i}).made;
        c->next[i] = after;
        if (after >= 0) c->prev[after] = i;
        c->rank[right] = SD_NO_RANK;
        st = chain_rank(b, word, c, i, err);
        if (!st && c->prev[i] >= 0) st = chain_rank(b, word, c, c->prev[i], err);
    }
    return st;
}
