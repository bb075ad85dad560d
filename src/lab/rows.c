/* Owns: row numbers of tokens and their order. A source may interleave documents (packed batches); what comes in order,
 * the usual case, is not sorted and needs no table of places. */
#include "lab/rows.h"

#include <inttypes.h>
#include <stdlib.h>

/* A document's last position: beyond it a source is wrong, and its gaps would fill memory. */
enum { MAX_POSITION = 1 << 26 };

void sd_rows_release(sd_rows *r)
{
    sd_free(r->token);
    sd_free(r->doc);
    sd_free(r->pos);
    sd_free(r->place);
    *r = (sd_rows){0};
}

static sd_status grow(sd_rows *r, int64_t n, sd_err *err)
{
    if (r->n + n <= r->cap) return SD_OK;
    int64_t cap = r->cap * 2 > r->n + n ? r->cap * 2 : r->n + n;
    int32_t **v[3] = {&r->token, &r->doc, &r->pos};
    for (int i = 0; i < 3; i++) {
        int32_t *p = sd_realloc(*v[i], (size_t)cap * sizeof *p);
        if (!p) return sd_fail(err, SD_E_NOMEM, "out of memory: numbers of %" PRId64 " tokens", cap);
        *v[i] = p;
    }
    r->cap = cap;
    return SD_OK;
}

sd_status sd_rows_put(sd_rows *r, const int32_t *token, const int32_t *doc, const int32_t *pos, int64_t n, sd_err *err)
{
    sd_status st = grow(r, n, err);
    for (int64_t i = 0; i < n && !st; i++) {
        if (token[i] < 0 || doc[i] < 0 || pos[i] < 0 || pos[i] > MAX_POSITION)
            return sd_fail(err, SD_E_FORMAT, "row %" PRId64 " of the activations: token %d, document %d, position %d", r->n, token[i],
                           doc[i], pos[i]);
        r->token[r->n] = token[i];
        r->doc[r->n] = doc[i];
        r->pos[r->n++] = pos[i];
    }
    return st;
}

typedef struct key { int32_t doc, pos; uint32_t row; } key;

static int by_place(const void *a, const void *b)
{
    const key *x = a, *y = b;
    if (x->doc != y->doc) return x->doc < y->doc ? -1 : 1;
    return x->pos < y->pos ? -1 : x->pos > y->pos;
}

/* Is every document one run of rising positions? seen: [max document + 1] zeroed. */
static bool in_order(sd_rows *r, uint8_t *seen)
{
    for (int64_t i = 0; i < r->n; i++) {
        bool same = i > 0 && r->doc[i] == r->doc[i - 1];
        if (same ? r->pos[i] <= r->pos[i - 1] : seen[r->doc[i]]) return false;
        seen[r->doc[i]] = 1;
    }
    return true;
}

static sd_status sort_rows(sd_rows *r, sd_err *err)
{
    key *k = NULL;
    int32_t *token = NULL;
    sd_status st = sd_alloc(&k, (size_t)r->n * sizeof *k, "order of the tokens", err);
    if (!st) st = sd_alloc(&token, (size_t)r->n * sizeof *token, "order of the tokens", err);
    if (!st) st = sd_alloc(&r->place, (size_t)r->n * sizeof *r->place, "order of the tokens", err);
    if (st) goto done;
    for (int64_t i = 0; i < r->n; i++) k[i] = (key){r->doc[i], r->pos[i], (uint32_t)i};
    qsort(k, (size_t)r->n, sizeof *k, by_place);
    for (int64_t i = 0; i < r->n; i++) {
        if (i && by_place(&k[i - 1], &k[i]) == 0) {
            st = sd_fail(err, SD_E_FORMAT, "the activations have document %d, position %d twice", k[i].doc, k[i].pos);
            goto done;
        }
        token[i] = r->token[k[i].row];
        r->place[k[i].row] = (uint32_t)i;
    }
    for (int64_t i = 0; i < r->n; i++) {
        r->token[i] = token[i];
        r->doc[i] = k[i].doc;
        r->pos[i] = k[i].pos;
    }
done:
    sd_free(k);
    sd_free(token);
    return st;
}

sd_status sd_rows_finish(sd_rows *r, sd_err *err)
{
    uint8_t *seen = NULL;
    int32_t max_doc = 0;
    for (int64_t i = 0; i < r->n; i++) max_doc = r->doc[i] > max_doc ? r->doc[i] : max_doc;
    sd_status st = sd_alloc_zero(&seen, (size_t)max_doc + 1, "documents", err);
    if (st) return st;
    if (!in_order(r, seen)) st = sort_rows(r, err);
    r->n_docs = 0;
    for (int64_t i = 0; i < r->n; i++) r->n_docs += i == 0 || r->doc[i] != r->doc[i - 1];
    sd_free(seen);
    return st;
}

void sd_rows_window(const sd_rows *r, int64_t row, int before, int after, int64_t *r0, int64_t *r1)
{
    int64_t a = row, b = row + 1;
    while (a > 0 && r->doc[a - 1] == r->doc[row] && r->pos[row] - r->pos[a - 1] <= before) a--;
    while (b < r->n && r->doc[b] == r->doc[row] && r->pos[b] - r->pos[row] <= after) b++;
    *r0 = a;
    *r1 = b;
}

sd_status sd_rows_store(const sd_rows *r, sd_store *s, const char *(*name)(const void *self, int32_t doc), const void *self, sd_err *err)
{
    int32_t *tok = NULL;
    int64_t cap = 0;
    sd_status st = SD_OK;
    for (int64_t a = 0, b; a < r->n && !st; a = b) {
        for (b = a + 1; b < r->n && r->doc[b] == r->doc[a];) b++;
        int64_t n = (int64_t)r->pos[b - 1] + 1;
        if (n > cap) {
            sd_free(tok);
            tok = NULL;
            cap = n * 2;
            if ((st = sd_alloc(&tok, (size_t)cap * sizeof *tok, "a document", err))) break;
        }
        for (int64_t i = 0; i < n; i++) tok[i] = SD_FEATURE_GAP;
        for (int64_t i = a; i < b; i++) tok[r->pos[i]] = r->token[i];
        st = sd_store_put_doc(s, r->doc[a], name ? name(self, r->doc[a]) : NULL, tok, n, err);
    }
    sd_free(tok);
    return st;
}
