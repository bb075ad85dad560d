/* Owns: the numbers of tokens. A document has the tokens from position 0 to its last row, as sd_rows_store writes it. */
#include "lab/feature_places.h"

#include <stdlib.h>

struct place { int64_t at; float val; };

void sd_feature_places_release(sd_feature_places *p)
{
    sd_free(p->start);
    sd_free(p->v);
    sd_free(p->at);
    sd_free(p->val);
    *p = (sd_feature_places){0};
}

sd_status sd_feature_places_init(sd_feature_places *p, const sd_rows *rows, sd_err *err)
{
    int32_t max_doc = 0;
    *p = (sd_feature_places){.rows = rows, .ascending = true};
    for (int64_t i = 0; i < rows->n; i++) max_doc = rows->doc[i] > max_doc ? rows->doc[i] : max_doc;
    sd_status st = sd_alloc_zero(&p->start, ((size_t)max_doc + 2) * sizeof *p->start, "documents", err);
    if (st) return st;
    for (int64_t i = 0; i < rows->n; i++) {
        int64_t *len = &p->start[rows->doc[i] + 1];
        if (rows->pos[i] + 1 > *len) *len = (int64_t)rows->pos[i] + 1;
        if (i > 0 && rows->doc[i] < rows->doc[i - 1]) p->ascending = false;
    }
    for (int32_t d = 0; d <= max_doc; d++) p->start[d + 1] += p->start[d];
    return SD_OK;
}

static int by_place(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    return x->at < y->at ? -1 : x->at > y->at;
}

static sd_status reserve(sd_feature_places *p, int64_t n, sd_err *err)
{
    if (n <= p->cap) return SD_OK;
    sd_free(p->v);
    sd_free(p->at);
    sd_free(p->val);
    p->v = NULL;
    p->at = NULL;
    p->val = NULL;
    p->cap = 0;
    sd_status st = sd_alloc(&p->v, (size_t)n * sizeof *p->v, "postings", err);
    if (!st) st = sd_alloc(&p->at, (size_t)n * sizeof *p->at, "postings", err);
    if (!st) st = sd_alloc(&p->val, (size_t)n * sizeof *p->val, "postings", err);
    if (!st) p->cap = n;
    return st;
}

sd_status sd_feature_places_put(sd_feature_places *p, sd_store *s, int64_t index, const uint32_t *row, const float *val, int64_t n, sd_err *err)
{
    const sd_rows *r = p->rows;
    sd_status st = reserve(p, n, err);
    if (st || n == 0) return st;
    for (int64_t i = 0; i < n; i++) p->v[i] = (struct place){p->start[r->doc[row[i]]] + r->pos[row[i]], val[i]};
    if (!p->ascending) qsort(p->v, (size_t)n, sizeof *p->v, by_place);
    float max_act = 0;
    for (int64_t i = 0; i < n; i++) {
        p->at[i] = p->v[i].at;
        p->val[i] = p->v[i].val;
        max_act = val[i] > max_act ? val[i] : max_act;
    }
    return sd_store_put_postings(s, index, p->at, p->val, n, max_act, err);
}
