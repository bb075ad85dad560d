#include "lab/audit_drift.h"

#include "lab/contrast.h"
#include "num/infer.h"

#include <math.h>
#include <stdlib.h>

/* Counts of one feature: prompts by kind in which it is active in each model, pairs of harmful ones, summed activations. */
typedef struct tally { int64_t a[2], b[2], both; double act_a, act_b; } tally;

static void count_side(tally *t, const sd_text_codes *z, int64_t n_harmful, bool second)
{
    for (int64_t i = 0; i < z->n; i++)
        for (int64_t e = 0; e < z->v[i].n; e++) {
            tally *x = &t[z->v[i].feature[e]];
            (second ? x->b : x->a)[i >= n_harmful]++;
            if (i < n_harmful) *(second ? &x->act_b : &x->act_a) += (double)z->v[i].act[e];
        }
}

/* Harmful prompts in which a feature is active in both models; features ascend in a code. */
static void count_both(tally *t, const sd_text_codes *za, const sd_text_codes *zb, int64_t n_harmful)
{
    for (int64_t i = 0; i < n_harmful; i++) {
        const sd_text_code *a = &za->v[i], *b = &zb->v[i];
        for (int64_t x = 0, y = 0; x < a->n && y < b->n;) {
            if (a->feature[x] == b->feature[y]) t[a->feature[x]].both++, x++, y++;
            else if (a->feature[x] < b->feature[y]) x++;
            else y++;
        }
    }
}

/* Features above the floor of one side get its bit. */
static sd_status mark(uint8_t *flag, uint8_t bit, double *floor, const sd_text_codes *z, const sd_drift_in *in, sd_err *err)
{
    sd_contrast c = {0};
    sd_status st = sd_lab_contrast(&c, z, in->n_harmful, in->m, &(sd_contrast_opt){.seed = in->seed}, err);
    for (int64_t i = 0; i < c.n && !st; i++)
        if (fabs(c.v[i].diff) > c.floor) flag[c.v[i].feature] |= bit;
    *floor = c.floor;
    sd_contrast_release(&c);
    return st;
}

static double change_of(const sd_drift_row *r)
{
    return fabs(r->b[0] - r->a[0]);
}

static int by_change(const void *a, const void *b)
{
    const sd_drift_row *x = a, *y = b;
    double p = change_of(x), q = change_of(y);
    if (p != q) return p > q ? -1 : 1;
    return x->feature < y->feature ? -1 : x->feature > y->feature;
}

static sd_drift_row row_of(const tally *t, int64_t feature, double p_holm, uint8_t flag, int64_t n_harmful, int64_t n_harmless)
{
    sd_drift_row r = {.feature = feature, .act_a = t->act_a / (double)n_harmful, .act_b = t->act_b / (double)n_harmful, .p_holm = p_holm, .safety_a = flag & 1, .safety_b = flag & 2};
    for (int k = 0; k < 2; k++) {
        double n = (double)(k ? n_harmless : n_harmful);
        r.a[k] = (double)t->a[k] / n;
        r.b[k] = (double)t->b[k] / n;
    }
    return r;
}

sd_status sd_drift_of(sd_drift *out, const sd_drift_in *in, sd_err *err)
{
    int64_t m = in->m, n_harmless = in->a->n - in->n_harmful, k = 0, n_row = 0;
    tally *t = NULL;
    uint8_t *flag = NULL;
    double *p = NULL;
    sd_drift_row *row = NULL;
    *out = (sd_drift){.n_feature = m};
    SD_ASSERT(in->a->n == in->b->n);
    sd_status st = sd_alloc_zero(&t, (size_t)(m + 1) * sizeof *t, "drift of features", err);
    if (!st) st = sd_alloc_zero(&flag, (size_t)(m + 1), "drift of features", err);
    if (!st) st = sd_alloc(&p, (size_t)(2 * m + 2) * sizeof *p, "drift of features", err);
    if (!st) st = sd_alloc(&row, (size_t)(m + 1) * sizeof *row, "drift of features", err);
    if (!st) st = mark(flag, 1, &out->floor_a, in->a, in, err);
    if (!st) st = mark(flag, 2, &out->floor_b, in->b, in, err);
    if (st) goto done;
    count_side(t, in->a, in->n_harmful, false);
    count_side(t, in->b, in->n_harmful, true);
    count_both(t, in->a, in->b, in->n_harmful);
    for (int64_t f = 0; f < m; f++)
        if (t[f].a[0] + t[f].a[1] + t[f].b[0] + t[f].b[1] > 0)
            p[m + 1 + out->n_tested++] = sd_mcnemar_exact((sd_paired){.both = t[f].both, .first = t[f].a[0] - t[f].both, .second = t[f].b[0] - t[f].both,
                                                                      .neither = in->n_harmful - t[f].a[0] - t[f].b[0] + t[f].both});
    if ((st = sd_holm(p, p + m + 1, out->n_tested, err))) goto done;
    for (int64_t f = 0; f < m; f++) {
        if (t[f].a[0] + t[f].a[1] + t[f].b[0] + t[f].b[1] == 0) continue;
        double holm = p[k++];
        out->n_raised += holm < 0.05 && t[f].b[0] > t[f].a[0];
        out->n_lowered += holm < 0.05 && t[f].b[0] < t[f].a[0];
        if (!flag[f] && !(holm < 0.05)) continue;
        out->n_safety_a += (flag[f] & 1) != 0;
        out->n_safety_b += (flag[f] & 2) != 0;
        out->n_appeared += flag[f] == 2;
        out->n_gone += flag[f] == 1;
        out->n_moved += flag[f] && holm < 0.05;
        row[n_row++] = row_of(&t[f], f, holm, flag[f], in->n_harmful, n_harmless);
    }
    qsort(row, (size_t)n_row, sizeof *row, by_change);
    out->n_row = n_row < SD_DRIFT_ROWS ? (int)n_row : SD_DRIFT_ROWS;
    memcpy(out->row, row, (size_t)out->n_row * sizeof *row);
done:
    sd_free(t);
    sd_free(flag);
    sd_free(p);
    sd_free(row);
    return st;
}
