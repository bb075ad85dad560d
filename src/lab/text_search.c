/* One text through text_codes, each active feature beside what the store says of it. */
#include "lab/text_search.h"

#include <math.h>
#include <stdlib.h>

static int by_score(const void *a, const void *b)
{
    const sd_text_hit *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->feature < y->feature ? -1 : x->feature > y->feature;
}

/* only [r->n tokens]: 1 where a token has a byte of the words. A token's bytes are what it adds to the decoded text. */
static sd_status mark(uint8_t *only, const sd_tok *tok, const sd_rendered *r, const char *on, sd_err *err)
{
    const size_t n_on = strlen(on);
    int64_t n = r->start[1], n_found = 0;
    sd_buf whole, part;
    sd_buf_init(&whole, 1 << 26);
    sd_buf_init(&part, 1 << 26);
    sd_status st = n_on ? sd_tok_decode(tok, r->ids, n, false, &whole, err) : SD_OK;
    size_t end = 0;
    for (int64_t i = 0; i < n && n_on && !st; i++) {
        const size_t begin = end;
        sd_buf_reset(&part);
        st = sd_tok_decode(tok, r->ids, i + 1, false, &part, err);
        end = part.n;
        /* The words that begin at b have a byte of [begin, end) when b is in (begin - n_on, end). */
        for (size_t b = begin < n_on ? 0 : begin - n_on + 1; b < end && b + n_on <= whole.n && !only[i]; b++) only[i] = memcmp(whole.p + b, on, n_on) == 0;
        n_found += only[i];
    }
    sd_buf_release(&whole);
    sd_buf_release(&part);
    if (!st && !n_found) st = sd_fail(err, SD_E_ARG, "the text does not have \"%.80s\" in it", on);
    return st;
}

sd_status sd_lab_text_search(sd_text_hit **hit, int64_t *n, const sd_text_reader *by, sd_store *s, const char *text, const char *on, sd_err *err)
{
    uint8_t *only = NULL;
    sd_text_reader reader = *by;
    sd_rendered r = {0};
    sd_text_codes z = {0};
    *hit = NULL;
    *n = 0;
    sd_status st = sd_lab_text_prompts(&r, by->m, &text, 1, false, err);
    if (!st && on) st = sd_alloc_zero(&only, (size_t)r.start[1] + 1, "chosen tokens", err);
    if (!st && on) st = mark(only, by->m->tok, &r, on, err);
    reader.only = only;
    if (!st) st = sd_lab_text_codes(&z, &reader, &r, NULL, err);
    if (!st) st = sd_alloc(hit, (size_t)(z.v[0].n + 1) * sizeof **hit, "features of a text", err);
    for (int64_t i = 0; !st && i < z.v[0].n; i++) {
        sd_feature_list l;
        const sd_text_code *c = &z.v[0];
        if ((st = sd_store_one(&l, s, c->feature[i], err))) break;
        const sd_feature_stats *f = &l.v[0].stats;
        if (f->n_fire && f->max_act > 0)
            (*hit)[(*n)++] = (sd_text_hit){c->feature[i], (double)c->act[i] / f->max_act * -log(f->density), c->act[i], c->at[i], r.ids[c->at[i]]};
        sd_feature_list_release(&l);
    }
    if (!st && *n) qsort(*hit, (size_t)*n, sizeof **hit, by_score);
    sd_free(only);
    sd_rendered_release(&r);
    sd_text_codes_release(&z);
    if (st) {
        sd_free(*hit);
        *hit = NULL;
    }
    return st;
}
