/* Byte pair encoding against its definition: a merge at a time, the lowest rank anywhere in the word, the leftmost of
 * equals. Random vocabularies and words of all lengths, so that look-up, scan and heap are all met; and the same words
 * in a text with others. */
#include "../../unit/text/vocab.h"

#include "base/rng.h"

enum { LONGEST = 600 };

/* The definition, quadratic and slower: symbols are strings, ranks are looked up in the list. */
static int by_definition(const vocab *v, const char *word, int n, int32_t *ids)
{
    static char sym[LONGEST][LONGEST + 1];
    char pair[2 * LONGEST + 4];
    int m = n;
    for (int i = 0; i < n; i++) snprintf(sym[i], sizeof sym[i], "%c", word[i]);
    for (;;) {
        int64_t best = v->spec.n_merge;
        int at = -1;
        for (int i = 0; i + 1 < m; i++) {
            int len = snprintf(pair, sizeof pair, "%s %s", sym[i], sym[i + 1]);
            for (int64_t r = 0; r < best; r++) {
                if (v->merge[r].n != (size_t)len || memcmp(v->merge[r].p, pair, (size_t)len) != 0) continue;
                best = r;
                at = i;
            }
        }
        if (at < 0) break;
        size_t left = strlen(sym[at]);
        memmove(sym[at] + left, sym[at + 1], strlen(sym[at + 1]) + 1);
        for (int i = at + 1; i + 1 < m; i++) memcpy(sym[i], sym[i + 1], sizeof sym[i]);
        m--;
    }
    for (int i = 0; i < m; i++)
        for (int32_t id = 0; id < v->spec.n_vocab; id++)
            if (sd_slice_eq_str(v->piece[id], sym[i])) {
                ids[i] = id;
                break;
            }
    return m;
}

/* Merges over the letters a-d, in an order that does not follow their lengths: products may rank before their parts. */
static void random_vocab(vocab *v, sd_rng *r, int n_merge)
{
    char part[64][32];
    int n = 4;
    vocab_init(v);
    for (int i = 0; i < 4; i++) snprintf(part[i], sizeof part[i], "%c", 'a' + i);
    while (v->spec.n_merge < n_merge && n < 64) {
        char line[80], joined[80];
        const char *a = part[sd_rng_below(r, (uint64_t)n)], *b = part[sd_rng_below(r, (uint64_t)n)];
        snprintf(line, sizeof line, "%s %s", a, b);
        snprintf(joined, sizeof joined, "%s%s", a, b);
        bool known = strlen(joined) > 12;
        for (int64_t i = 0; i < v->spec.n_merge; i++) known |= sd_slice_eq_str(v->merge[i], line);
        if (known) continue;
        bool piece = true;
        for (int32_t id = 0; id < v->spec.n_vocab; id++) piece &= !sd_slice_eq_str(v->piece[id], joined);
        vocab_merge(v, a, b, piece);
        if (piece) memcpy(part[n++], joined, strlen(joined) + 1);
    }
    for (int64_t i = v->spec.n_merge - 1; i > 0; i--) {
        int64_t k = (int64_t)sd_rng_below(r, (uint64_t)i + 1);
        sd_slice swap = v->merge[i];
        v->merge[i] = v->merge[k];
        v->merge[k] = swap;
    }
}

static void check_word(const vocab *v, const sd_tok *t, const char *word, int n)
{
    static int32_t want[LONGEST];
    sd_ids ids = {0};
    sd_err err = {0};
    int m = by_definition(v, word, n, want);
    t_ok(sd_tok_encode(t, (sd_slice){word, (size_t)n}, NULL, &ids, &err), err);
    if (ids.n != m || memcmp(ids.v, want, (size_t)m * sizeof *want) != 0)
        fail_msg("\"%.*s\": %s (%lld ids), by definition %d ids", n, word, vocab_ids(&ids), (long long)ids.n, m);
    sd_ids_release(&ids);
}

static void test_equals_definition(void **state)
{
    (void)state;
    static const int lengths[] = {1, 2, 3, 5, 9, 17, 40, 63, 64, 65, 66, 100, 257};
    for (uint64_t seed = 1; seed <= 12; seed++) {
        static vocab v;
        char word[LONGEST];
        sd_err err = {0};
        sd_tok *t;
        sd_rng r = sd_rng_make(seed, "bpe", 0);
        random_vocab(&v, &r, 4 + 3 * (int)seed);
        t_ok(sd_tok_new(&t, &v.spec, &err), err);
        for (size_t k = 0; k < sizeof lengths / sizeof lengths[0]; k++)
            for (int repeat = 0; repeat < 6; repeat++) {
                uint64_t letters = 1 + (uint64_t)repeat % 4; /* runs of one letter too */
                for (int i = 0; i < lengths[k]; i++) word[i] = (char)('a' + sd_rng_below(&r, letters));
                check_word(&v, t, word, lengths[k]);
            }
        /* Every piece as a word of its own: the look-up says what the merges say. */
        for (int32_t id = 256; id < v.spec.n_vocab; id++) check_word(&v, t, v.piece[id].p, (int)v.piece[id].n);
        sd_tok_free(t);
    }
}

/* Words do not depend on their neighbours, nor on scratch memory that a longer word has used before. */
static void test_words_are_independent(void **state)
{
    (void)state;
    static vocab v;
    sd_err err = {0};
    sd_tok *t;
    sd_rng r = sd_rng_make(7, "bpe", 1);
    sd_ids whole = {0}, parts = {0};
    sd_buf text;
    sd_buf_init(&text, 1 << 20);
    random_vocab(&v, &r, 30);
    v.spec.pre = SD_LIT("gpt-2");
    t_ok(sd_tok_new(&t, &v.spec, &err), err);
    for (int w = 0; w < 300; w++) {
        char word[512];
        int n = 1;
        word[0] = ' ';
        for (int len = 1 + (int)sd_rng_below(&r, w % 10 == 0 ? 400 : 12); n <= len; n++)
            word[n] = (char)('a' + sd_rng_below(&r, 4));
        sd_buf_put(&text, word, (size_t)n);
        t_ok(sd_tok_encode(t, (sd_slice){word, (size_t)n}, NULL, &parts, &err), err);
    }
    t_ok(sd_tok_encode(t, (sd_slice){text.p, text.n}, NULL, &whole, &err), err);
    assert_int_equal(whole.n, parts.n);
    assert_memory_equal(whole.v, parts.v, (size_t)whole.n * sizeof *whole.v);
    sd_ids_release(&whole);
    sd_ids_release(&parts);
    sd_buf_release(&text);
    sd_tok_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(test_equals_definition), T(test_words_are_independent)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
