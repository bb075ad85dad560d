/* Texts to tokens, by prefix: special tokens in a text, pieces in a word. One walk from each byte that can begin a token, so the cost is at most the length
 * of the longest token times the text, however many tokens there are (gemma has 6,000, all beginning with "<"). */
#include "text/tok_int.h"

#define MAX_SPECIAL_BYTES (1u << 23) /* node numbers have 24 bits in an edge; the largest vocabularies have 0.1 MB */

static uint32_t edge_slot(const sd_trie *t, uint32_t parent, unsigned char byte)
{
    uint64_t key = (uint64_t)parent << 8 | byte;
    return (uint32_t)((key * 0x9e3779b97f4a7c15u) >> 32) & (t->cap - 1); /* Fibonacci hashing, Knuth vol. 3, 6.4 */
}

static uint32_t child(const sd_trie *t, uint32_t parent, unsigned char byte)
{
    uint32_t want = parent << 8 | byte;
    for (uint32_t i = edge_slot(t, parent, byte);; i = (i + 1) & (t->cap - 1)) {
        if (t->edge[i] == 0) return 0;
        if ((uint32_t)(t->edge[i] - 1) == want) return (uint32_t)((t->edge[i] - 1) >> 32);
    }
}

static void insert(sd_trie *t, sd_slice text, int32_t id)
{
    uint32_t node = 0;
    t->first[(unsigned char)text.p[0]] = true;
    for (size_t k = 0; k < text.n; k++) {
        unsigned char byte = (unsigned char)text.p[k];
        uint32_t next = child(t, node, byte);
        if (next == 0) {
            next = t->n_node++;
            t->id[next] = -1;
            uint32_t i = edge_slot(t, node, byte);
            while (t->edge[i]) i = (i + 1) & (t->cap - 1);
            t->edge[i] = ((uint64_t)next << 32 | node << 8 | byte) + 1;
        }
        node = next;
    }
    if (t->id[node] < 0) t->id[node] = id; /* of two tokens with one text the first */
}

sd_status sd_trie__build(sd_trie *t, const sd_slice *text, int32_t n_vocab, sd_err *err)
{
    size_t total = 0;
    for (int32_t i = 0; i < n_vocab; i++) total += text[i].n;
    if (total > MAX_SPECIAL_BYTES)
        return sd_fail(err, SD_E_FORMAT, "tokenizer: special tokens of %zu bytes in all, at most %u are supported",
                       total, MAX_SPECIAL_BYTES);
    t->cap = 64;
    while (t->cap < 2 * total) t->cap *= 2;
    sd_status st = sd_alloc_zero(&t->edge, t->cap * sizeof *t->edge, "special tokens", err);
    if (!st) st = sd_alloc(&t->id, (total + 1) * sizeof *t->id, "special tokens", err);
    if (st) return st;
    t->id[0] = -1;
    t->n_node = 1;
    for (int32_t i = 0; i < n_vocab; i++)
        if (text[i].n) insert(t, text[i], i);
    return SD_OK;
}

uint32_t sd_trie__step(const sd_trie *t, uint32_t node, unsigned char byte)
{
    return child(t, node, byte);
}

void sd_trie__release(sd_trie *t)
{
    sd_free(t->edge);
    sd_free(t->id);
}

int32_t sd_trie__match(const sd_trie *t, const uint8_t *type, const char *p, size_t n, bool control, size_t *len)
{
    uint32_t node = 0;
    int32_t best = -1;
    for (size_t k = 0; k < n; k++) {
        node = child(t, node, (unsigned char)p[k]);
        if (node == 0) break;
        int32_t id = t->id[node];
        if (id < 0 || (!control && type[id] != SD_PIECE_USER)) continue;
        best = id;
        *len = k + 1;
    }
    return best;
}
