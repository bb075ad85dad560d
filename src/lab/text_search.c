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

sd_status sd_lab_text_search(sd_text_hit **hit, int64_t *n, const sd_text_reader *by, sd_store *s, const char *text, sd_err *err)
{
    sd_rendered r = {0};
    sd_text_codes z = {0};
    *hit = NULL;
    *n = 0;
    sd_status st = sd_lab_text_prompts(&r, by->m, &text, 1, false, err);
    if (!st) st = sd_lab_text_codes(&z, by, &r, NULL, err);
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
    sd_rendered_release(&r);
    sd_text_codes_release(&z);
    if (st) {
        sd_free(*hit);
        *hit = NULL;
    }
    return st;
}
