/* Owns: the posting lists: for every feature the tokens on which it fires, and what follows from two of them.
 *
 * A part is up to 65536 entries, one after the other as LEB128 of (gap << 4 | level - 1), gap from the token before (of the first entry: from
 * -1). At a density of 1/500 an entry takes two bytes. Tokens are counted over all documents in the order of their numbers. */
#include "store/store_int.h"

#include <math.h>
#include <stdlib.h>

enum { PART = 65536, LEVELS = 16 };
/* The most tokens that a store takes (lab/codelog.h). */
#define MAX_TOKENS INT64_C(4294967295)

static sd_status put_part(sd_store *s, int64_t id, int64_t n, sd_err *err)
{
    sqlite3_stmt *q;
    sd_status st = sd_buf_check(&s->blob, "postings", err);
    if (!st) st = sd_store__stmt(s, SQL_PUT_POSTING, &q, err);
    if (st) return st;
    sqlite3_bind_int64(q, 1, id);
    sqlite3_bind_int64(q, 2, n);
    sd_store__bind_blob(q, 3, s->blob.p, s->blob.n);
    return sd_store__run(s, q, "writing postings", err);
}

sd_status sd_store_put_postings(sd_store *s, int64_t index, const int64_t *at, const float *val, int64_t n, float max_act, sd_err *err)
{
    sd_status st = SD_OK;
    SD_ASSERT(s->kind == STORE_BUILD);
    for (int64_t i0 = 0; i0 < n && !st; i0 += PART) {
        int64_t i1 = n - i0 < PART ? n : i0 + PART, last = -1;
        sd_buf_reset(&s->blob);
        for (int64_t i = i0; i < i1; i++) {
            int level = (int)ceil((double)val[i] / (double)max_act * LEVELS);
            SD_ASSERT(at[i] > last && val[i] > 0);
            uint64_t v = (uint64_t)(at[i] - last) << 4 | (uint64_t)((level < 1 ? 1 : level < LEVELS ? level : LEVELS) - 1);
            for (; v >= 0x80; v >>= 7) sd_buf_putc(&s->blob, (char)(v | 0x80));
            sd_buf_putc(&s->blob, (char)v);
            last = at[i];
        }
        st = put_part(s, index * PART + i0 / PART, i1 - i0, err);
    }
    return st;
}

/* Reads the parts of features f0..f1-1 in order: entry(self, feature, at, level) for each; false when a part is damaged. */
typedef struct scan { void *self; void (*entry)(void *self, int64_t feature, int64_t at, int level); } scan;

static bool read_part(const scan *c, int64_t feature, int64_t n, sd_slice b, int64_t n_token)
{
    int64_t at = -1;
    size_t i = 0;
    for (int64_t k = 0; k < n; k++) {
        uint64_t v = 0;
        int shift = 0;
        do {
            if (i >= b.n || shift > 42) return false;
            v |= (uint64_t)((unsigned char)b.p[i] & 0x7f) << shift;
            shift += 7;
        } while ((unsigned char)b.p[i++] & 0x80);
        if (v >> 4 == 0 || (int64_t)(v >> 4) >= n_token - at) return false;
        at += (int64_t)(v >> 4);
        c->entry(c->self, feature, at, (int)(v & 15) + 1);
    }
    return i == b.n;
}

static sd_status read_parts(const scan *c, sd_store *s, int64_t f0, int64_t f1, sd_err *err)
{
    sqlite3_stmt *q = NULL;
    int rc = SQLITE_DONE;
    int64_t n_token = s->doc_at[s->n_doc];
    sd_status st = sd_store__stmt(s, SQL_POSTING, &q, err);
    if (st) return st;
    sqlite3_bind_int64(q, 1, f0 * PART);
    sqlite3_bind_int64(q, 2, f1 * PART - 1);
    while (!st && (rc = sqlite3_step(q)) == SQLITE_ROW) {
        int64_t f = sqlite3_column_int64(q, 0) / PART, n = sqlite3_column_int64(q, 1);
        if (f < f0 || f >= f1 || n < 1 || n > PART || !read_part(c, f, n, sd_store__blob(q, 2), n_token))
            st = sd_store__damaged(s, err, "the postings of feature %" PRId64 " are damaged", f);
    }
    if (!st && rc != SQLITE_DONE) st = sd_store__fail(s->db, s->path, "reading postings", err);
    sd_store__done(q);
    return st;
}

/* The number of tokens before each document; SD_E_NOTFOUND when there are no postings. */
static sd_status load_docs(sd_store *s, sd_err *err)
{
    sqlite3_stmt *q = NULL;
    int64_t n = 0, has = 0;
    sd_status st = SD_OK;
    if (s->doc_at) return SD_OK;
    bool table = sqlite3_prepare_v2(s->db, "SELECT EXISTS (SELECT 1 FROM posting)", -1, &q, NULL) == SQLITE_OK && sqlite3_step(q) == SQLITE_ROW;
    if (table) has = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    q = NULL;
    if (!has) {
        sd_fail(err, SD_E_NOTFOUND, "%s holds no postings: it was built by an older sonde, or of a dictionary that never fired", s->path);
        return sd_hint(err, "build it again with `sonde feature build`");
    }
    if (sqlite3_prepare_v2(s->db, "SELECT count(*) FROM document", -1, &q, NULL) == SQLITE_OK && sqlite3_step(q) == SQLITE_ROW) n = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    q = NULL;
    if (n < 1 || n > INT32_MAX) return sd_store__damaged(s, err, "it has %" PRId64 " documents", n);
    st = sd_alloc_zero(&s->doc_at, (size_t)(n + 1) * sizeof *s->doc_at, "documents", err);
    if (!st) st = sd_alloc_zero(&s->doc_id, (size_t)n * sizeof *s->doc_id, "documents", err);
    if (!st && sqlite3_prepare_v2(s->db, "SELECT id, n_tokens FROM document ORDER BY id", -1, &q, NULL) != SQLITE_OK)
        st = sd_store__fail(s->db, s->path, "reading its documents", err);
    for (int64_t i = 0; i < n && !st; i++) {
        if (sqlite3_step(q) != SQLITE_ROW) {
            st = sd_store__fail(s->db, s->path, "reading its documents", err);
            break;
        }
        int64_t id = sqlite3_column_int64(q, 0), len = sqlite3_column_int64(q, 1);
        if (id < 0 || id > INT32_MAX || len < 0 || len > MAX_TOKENS - s->doc_at[i])
            st = sd_store__damaged(s, err, "document %" PRId64 " has %" PRId64 " tokens", id, len);
        s->doc_id[i] = (int32_t)id;
        s->doc_at[i + 1] = s->doc_at[i] + len;
    }
    sqlite3_finalize(q);
    if (st) {
        sd_free(s->doc_at);
        sd_free(s->doc_id);
        s->doc_at = NULL;
        s->doc_id = NULL;
        return st;
    }
    s->n_doc = n;
    return SD_OK;
}

/* ---- one feature ---- */

typedef struct places { sd_posting *v; int64_t n, cap, doc; const sd_store *s; } places;

static void place(void *self, int64_t feature, int64_t at, int level)
{
    places *p = self;
    (void)feature;
    while (at >= p->s->doc_at[p->doc + 1]) p->doc++;
    if (p->n < p->cap) p->v[p->n++] = (sd_posting){p->s->doc_id[p->doc], (int32_t)(at - p->s->doc_at[p->doc]), level};
}

/* Entries of a feature, from the counts of its parts. */
static int64_t count_of(sd_store *s, int64_t index)
{
    sqlite3_stmt *q = NULL;
    int64_t n = 0;
    if (sd_store__stmt(s, SQL_POSTING, &q, NULL)) return 0;
    sqlite3_bind_int64(q, 1, index * PART);
    sqlite3_bind_int64(q, 2, index * PART + PART - 1);
    while (sqlite3_step(q) == SQLITE_ROW) {
        int64_t k = sqlite3_column_int64(q, 1);
        n += k > 0 && k <= PART ? k : 0;
    }
    sd_store__done(q);
    return n;
}

sd_status sd_store_postings(sd_posting **out, int64_t *n, sd_store *s, int64_t index, sd_err *err)
{
    places p = {.s = s};
    *out = NULL;
    *n = 0;
    if (index < 0 || index >= s->info.dict.m) return sd_store__no_feature(s, index, err);
    sd_status st = load_docs(s, err);
    if (st) return st;
    p.cap = count_of(s, index);
    if ((st = sd_alloc(&p.v, (size_t)(p.cap + 1) * sizeof *p.v, "postings", err))) return st;
    st = read_parts(&(scan){&p, place}, s, index, index + 1, err);
    for (int64_t i = 1; i < p.n && !st; i++)
        if (p.v[i].doc < p.v[i - 1].doc || (p.v[i].doc == p.v[i - 1].doc && p.v[i].pos <= p.v[i - 1].pos))
            st = sd_store__damaged(s, err, "the postings of feature %" PRId64 " are out of order", index);
    if (st) {
        sd_free(p.v);
        return st;
    }
    *out = p.v;
    *n = p.n;
    return SD_OK;
}

/* ---- co-activation ---- */

typedef struct both { uint8_t *on; int64_t *n_fire, *n_both; } both; /* on: a bit a token */

static void mark(void *self, int64_t feature, int64_t at, int level)
{
    both *b = self;
    (void)feature;
    (void)level;
    b->on[at >> 3] |= (uint8_t)(1 << (at & 7));
}

static void meet(void *self, int64_t feature, int64_t at, int level)
{
    both *b = self;
    (void)level;
    b->n_fire[feature]++;
    b->n_both[feature] += b->on[at >> 3] >> (at & 7) & 1;
}

typedef struct mate { int64_t index, n; double r; } mate;

static int by_correlation(const void *x, const void *y)
{
    const mate *a = x, *b = y;
    if (a->r != b->r) return a->r > b->r ? -1 : 1;
    return a->index < b->index ? -1 : 1;
}

/* Pearson's correlation of two indicators over n tokens, a and b of them 1, c both. */
static double correlation(double n, double a, double b, double c)
{
    double v = a * (n - a) * b * (n - b);
    return v > 0 ? (n * c - a * b) / sqrt(v) : 0;
}

static sd_status fill(sd_feature_list *out, sd_store *s, const mate *v, int64_t n, int64_t limit, sd_err *err)
{
    sd_status st = sd_store__list_init(out, limit, err);
    if (st) return st;
    out->n_total = n;
    for (int64_t i = 0; i < n && i < limit && !st; i++) {
        st = sd_store__list_add(out, s, v[i].index, v[i].r, err);
        if (!st) out->v[out->n - 1].n_both = v[i].n;
    }
    return st;
}

sd_status sd_store_coactive(sd_feature_list *out, sd_store *s, int64_t index, int64_t limit, sd_err *err)
{
    both b = {0};
    mate *v = NULL;
    int64_t m = s->info.dict.m, n = 0;
    *out = (sd_feature_list){0};
    if (index < 0 || index >= m) return sd_store__no_feature(s, index, err);
    limit = limit <= 0 ? 20 : limit < 1000 ? limit : 1000;
    sd_status st = load_docs(s, err);
    if (!st) st = sd_alloc_zero(&b.on, (size_t)(s->doc_at[s->n_doc] / 8 + 1), "co-activation", err);
    if (!st) st = sd_alloc_zero(&b.n_fire, (size_t)m * sizeof *b.n_fire, "co-activation", err);
    if (!st) st = sd_alloc_zero(&b.n_both, (size_t)m * sizeof *b.n_both, "co-activation", err);
    if (!st) st = read_parts(&(scan){&b, mark}, s, index, index + 1, err);
    if (!st) st = read_parts(&(scan){&b, meet}, s, 0, m, err);
    for (int64_t f = 0; f < m && !st; f++) n += f != index && b.n_both[f] > 0;
    if (!st) st = sd_alloc(&v, (size_t)(n + 1) * sizeof *v, "co-activation", err);
    n = 0;
    for (int64_t f = 0; f < m && !st; f++)
        if (f != index && b.n_both[f] > 0)
            v[n++] = (mate){f, b.n_both[f], correlation((double)s->info.run.n_tokens, (double)b.n_fire[index], (double)b.n_fire[f], (double)b.n_both[f])};
    if (!st && n > 1) qsort(v, (size_t)n, sizeof *v, by_correlation);
    if (!st) st = fill(out, s, v, n, limit, err);
    if (st) sd_feature_list_release(out);
    sd_free(b.on);
    sd_free(b.n_fire);
    sd_free(b.n_both);
    sd_free(v);
    return st;
}

/* ---- passages ---- */

/* Read once a search: 30 ms at 120,000 tokens and 768 features, so not at every key that is pressed. */
enum { MAX_QUERY = 8 };
typedef struct query { sd_slice word[MAX_QUERY]; int n; } query;

/* The words of a query, "quoted ones" together; of more than MAX_QUERY the first. */
static query words_of(const char *text)
{
    query q = {.n = 0};
    for (const char *p = text; *p && q.n < MAX_QUERY;) {
        bool phrase = *p == '"';
        if (phrase) p++;
        size_t len = strcspn(p, phrase ? "\"" : " \t\r\n\"");
        if (len) q.word[q.n++] = (sd_slice){p, len};
        p += len;
        if (*p && (phrase || *p != '"')) p++;
    }
    return q;
}

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c; }
static bool in_word(char c) { return (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9') || (unsigned char)c >= 0x80; }

/* Does a word of the text that begins at i begin with w? */
static bool begins(sd_slice text, size_t i, sd_slice w)
{
    if (w.n > text.n - i || (i && in_word(text.p[i - 1]) && in_word(w.p[0]))) return false;
    for (size_t k = 0; k < w.n; k++)
        if (lower(text.p[i + k]) != lower(w.p[k])) return false;
    return true;
}

/* Marks the tokens of one document: text of token t is text[at[t] .. at[t + 1]); its first token is the store's token first. */
static int64_t mark_passages(uint8_t *on, int64_t first, const query *q, sd_slice text, const size_t *at, int64_t n)
{
    int64_t since[MAX_QUERY], marked = 0;
    for (int w = 0; w < q->n; w++) since[w] = SD_PASSAGE;
    for (int64_t t = 0; t < n; t++) {
        bool all = true;
        for (int w = 0; w < q->n; w++) {
            since[w]++;
            for (size_t i = at[t]; i < at[t + 1] && since[w]; i++)
                if (begins(text, i, q->word[w])) since[w] = 0;
            all &= since[w] < SD_PASSAGE;
        }
        if (!all) continue;
        on[(first + t) >> 3] |= (uint8_t)(1 << ((first + t) & 7));
        marked++;
    }
    return marked;
}

/* Reads the documents in the order of doc_at and marks what is in a passage. */
static sd_status mark_corpus(uint8_t *on, int64_t *marked, sd_store *s, const query *q, sd_err *err)
{
    sqlite3_stmt *all = NULL;
    sd_buf text;
    size_t *at = NULL;
    int rc = SQLITE_DONE;
    int64_t doc = -1, n = 0, longest = 0;
    sd_status st = SD_OK;
    sd_buf_init(&text, (size_t)1 << 31);
    for (int64_t i = 0; i < s->n_doc; i++) longest = s->doc_at[i + 1] - s->doc_at[i] > longest ? s->doc_at[i + 1] - s->doc_at[i] : longest;
    if ((st = sd_alloc(&at, (size_t)(longest + 1) * sizeof *at, "passages", err))) goto done;
    if (sqlite3_prepare_v2(s->db, "SELECT doc, pos0, tokens FROM corpus ORDER BY doc, pos0", -1, &all, NULL) != SQLITE_OK) goto failed;
    for (;;) {
        rc = sqlite3_step(all);
        if (rc != SQLITE_ROW && rc != SQLITE_DONE) goto failed;
        int64_t id = rc == SQLITE_ROW ? sqlite3_column_int64(all, 0) : -1;
        if (doc >= 0 && (rc == SQLITE_DONE || id != s->doc_id[doc])) {
            at[n] = text.n;
            if ((st = sd_buf_check(&text, "passages", err))) goto done;
            *marked += mark_passages(on, s->doc_at[doc], q, (sd_slice){text.p, text.n}, at, n);
            sd_buf_reset(&text);
            n = 0;
        }
        if (rc == SQLITE_DONE) break;
        while (doc < 0 || (doc < s->n_doc && s->doc_id[doc] < id)) doc++;
        sd_slice b = sd_store__blob(all, 2);
        int64_t k = (int64_t)(b.n / 4);
        if (doc == s->n_doc || s->doc_id[doc] != id || sqlite3_column_int64(all, 1) != n || k > s->doc_at[doc + 1] - s->doc_at[doc] - n) {
            st = sd_store__damaged(s, err, "the text of document %" PRId64 " is damaged", id);
            goto done;
        }
        for (int64_t i = 0; i < k; i++, n++) {
            at[n] = text.n;
            const uint8_t *w = (const uint8_t *)b.p + 4 * i;
            int32_t tok = (int32_t)((uint32_t)w[0] | (uint32_t)w[1] << 8 | (uint32_t)w[2] << 16 | (uint32_t)w[3] << 24);
            sd_slice v = tok < 0 || sd_store_token_special(s, tok) ? SD_LIT("\n") : sd_store_token(s, tok);
            sd_buf_put(&text, v.p, v.n);
        }
    }
    goto done;
failed:
    st = sd_store__fail(s->db, s->path, "reading its text", err);
done:
    sqlite3_finalize(all);
    sd_buf_release(&text);
    sd_free(at);
    return st;
}

sd_status sd_store_passages(sd_feature_list *out, sd_store *s, const char *words, int64_t limit, sd_err *err)
{
    both b = {0};
    mate *v = NULL;
    query q = words_of(words);
    int64_t m = s->info.dict.m, n = 0, marked = 0;
    limit = limit <= 0 ? 20 : limit < 1000 ? limit : 1000;
    *out = (sd_feature_list){0};
    sd_status st = load_docs(s, err);
    if (!st) st = sd_alloc_zero(&b.on, (size_t)(s->doc_at[s->n_doc] / 8 + 1), "passages", err);
    if (!st) st = sd_alloc_zero(&b.n_fire, (size_t)m * sizeof *b.n_fire, "passages", err);
    if (!st) st = sd_alloc_zero(&b.n_both, (size_t)m * sizeof *b.n_both, "passages", err);
    if (!st && q.n) st = mark_corpus(b.on, &marked, s, &q, err);
    if (!st && marked) st = read_parts(&(scan){&b, meet}, s, 0, m, err);
    for (int64_t f = 0; f < m && !st; f++) n += b.n_both[f] > 0;
    if (!st) st = sd_alloc(&v, (size_t)(n + 1) * sizeof *v, "passages", err);
    n = 0;
    for (int64_t f = 0; f < m && !st; f++)
        if (b.n_both[f] > 0) v[n++] = (mate){f, b.n_both[f], 2.0 * (double)b.n_both[f] / (double)(b.n_fire[f] + marked)};
    if (!st && n > 1) qsort(v, (size_t)n, sizeof *v, by_correlation);
    if (!st) st = fill(out, s, v, n, limit, err);
    if (st) sd_feature_list_release(out);
    sd_free(b.on);
    sd_free(b.n_fire);
    sd_free(b.n_both);
    sd_free(v);
    return st;
}
