/* Owns: counting, the shuffled floor, the causal check. */
#include "lab/contrast.h"

#include "base/rng.h"
#include "num/stats.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <strings.h>

enum { SHUFFLES = 200 };

void sd_contrast_release(sd_contrast *c)
{
    sd_free(c->v);
    *c = (sd_contrast){0};
}

static int by_diff(const void *a, const void *b)
{
    const sd_contrast_row *x = a, *y = b;
    double p = fabs(x->diff), q = fabs(y->diff);
    if (p != q) return p > q ? -1 : 1;
    return x->feature < y->feature ? -1 : x->feature > y->feature;
}

static double difference(int64_t in_a, int64_t all, int64_t n_a, int64_t n_b) { return (double)in_a / (double)n_a - (double)(all - in_a) / (double)n_b; }

/* The first n_a of order are A: counts of each feature in them. */
static void count(int64_t *in_a, const sd_text_codes *z, const int64_t *order, int64_t n_a)
{
    for (int64_t i = 0; i < n_a; i++)
        for (int64_t e = 0; e < z->v[order[i]].n; e++) in_a[z->v[order[i]].feature[e]]++;
}

static sd_status rows(sd_contrast *out, const int64_t *in_a, const int64_t *all, int64_t m, sd_err *err)
{
    sd_status st = sd_alloc(&out->v, (size_t)(m + 1) * sizeof *out->v, "the contrast", err);
    for (int64_t f = 0; f < m && !st; f++) {
        if (!all[f]) continue;
        double d = difference(in_a[f], all[f], out->n_a, out->n_b);
        out->v[out->n++] = (sd_contrast_row){.feature = f, .n_a = in_a[f], .n_b = all[f] - in_a[f], .share_a = (double)in_a[f] / (double)out->n_a,
                                             .share_b = (double)(all[f] - in_a[f]) / (double)out->n_b, .diff = d};
    }
    if (!st && out->n) qsort(out->v, (size_t)out->n, sizeof *out->v, by_diff);
    return st;
}

sd_status sd_lab_contrast(sd_contrast *out, const sd_text_codes *z, int64_t n_a, int64_t m, const sd_contrast_opt *opt, sd_err *err)
{
    int n_shuffle = opt->n_shuffle ? opt->n_shuffle : SHUFFLES;
    int64_t *in_a = NULL, *all = NULL, *order = NULL;
    double *most = NULL;
    *out = (sd_contrast){.n_a = n_a, .n_b = z->n - n_a};
    if (n_a < 2 || out->n_b < 2) return sd_fail(err, SD_E_ARG, "sets of %" PRId64 " and %" PRId64 " texts; each needs two at least", n_a, out->n_b);
    sd_status st = sd_alloc_zero(&in_a, (size_t)m * sizeof *in_a, "the contrast", err);
    if (!st) st = sd_alloc_zero(&all, (size_t)m * sizeof *all, "the contrast", err);
    if (!st) st = sd_alloc(&order, (size_t)z->n * sizeof *order, "the contrast", err);
    if (!st) st = sd_alloc_zero(&most, (size_t)n_shuffle * sizeof *most, "the contrast", err);
    if (st) goto done;
    for (int64_t i = 0; i < z->n; i++) order[i] = i;
    count(all, z, order, z->n);
    count(in_a, z, order, n_a);
    if ((st = rows(out, in_a, all, m, err))) goto done;
    for (int s = 0; s < n_shuffle; s++) {
        sd_rng rng = sd_rng_make(opt->seed, "contrast", (uint64_t)s);
        if (sd_progress_cancelled(opt->progress)) {
            st = sd_fail(err, SD_E_CANCELLED, "interrupted while shuffling the sets");
            goto done;
        }
        sd_rng_shuffle_i64(&rng, order, z->n);
        memset(in_a, 0, (size_t)m * sizeof *in_a);
        count(in_a, z, order, n_a);
        for (int64_t i = 0; i < out->n; i++) {
            double d = fabs(difference(in_a[out->v[i].feature], all[out->v[i].feature], out->n_a, out->n_b));
            most[s] = d > most[s] ? d : most[s];
        }
    }
    sd_sort_f64(most, n_shuffle);
    out->floor = most[(int64_t)ceil(0.95 * n_shuffle) - 1];
    out->floor_median = most[n_shuffle / 2];
    for (int64_t i = 0; i < out->n; i++) {
        int reach = 0;
        for (int s = 0; s < n_shuffle; s++) reach += most[s] >= fabs(out->v[i].diff);
        out->v[i].p = (reach + 1.0) / (n_shuffle + 1.0); /* the sets as they are count as one of the shufflings */
        out->n_above += fabs(out->v[i].diff) > out->floor;
    }
done:
    sd_free(in_a);
    sd_free(all);
    sd_free(order);
    sd_free(most);
    if (st) sd_contrast_release(out);
    return st;
}

typedef struct counting { const sd_contrast_cause_opt *opt; const sd_model *m; int64_t n_a, hit_a, hit_b; } counting;

static bool holds(const char *text, const char *phrase)
{
    size_t n = strlen(phrase);
    for (; *text; text++)
        if (strncasecmp(text, phrase, n) == 0) return true;
    return false;
}

static sd_status on_answer(void *self, int64_t prompt, const int32_t *ids, int64_t n, bool ended, sd_err *err)
{
    counting *c = self;
    sd_buf b;
    bool hit = false;
    (void)ended;
    sd_buf_init(&b, 1 << 24);
    sd_status st = sd_tok_decode(c->m->tok, ids, n, false, &b, err);
    for (int i = 0; i < c->opt->n_phrase && !st; i++) hit |= holds(sd_buf_str(&b), c->opt->phrase[i]);
    if (prompt < c->n_a) c->hit_a += hit;
    else c->hit_b += hit;
    sd_buf_release(&b);
    return st;
}

void sd_contrast_others(int64_t *other, const sd_contrast *c, int n_cut)
{
    for (int k = 0; k < n_cut; k++) {
        int64_t best = -1, want = c->v[k].n_a + c->v[k].n_b, far = INT64_MAX;
        for (int64_t i = c->n - 1; i >= c->n_above; i--) {
            int64_t off = llabs(c->v[i].n_a + c->v[i].n_b - want);
            bool used = fabs(c->v[i].diff) > c->floor_median;
            for (int j = 0; j < k; j++) used |= other[j] == c->v[i].feature;
            if (!used && off < far) best = c->v[i].feature, far = off;
        }
        other[k] = best;
    }
}

sd_status sd_lab_contrast_cause(sd_contrast_cause *out, const sd_model *m, sd_feature_cut *cut, const sd_rendered *r,
                                const sd_contrast *c, const sd_contrast_cause_opt *opt, sd_err *err)
{
    static const char *const what[3] = {"plain", "features out", "others out"};
    sd_batch *b = NULL;
    *out = (sd_contrast_cause){0};
    SD_ASSERT(opt->n_cut > 0 && opt->n_cut <= SD_CONTRAST_CUTS);
    if (c->n_above == 0) return sd_fail(err, SD_E_NOTFOUND, "no feature tells the sets apart beyond chance (floor %.3f): nothing to take out", c->floor);
    out->n_cut = opt->n_cut < c->n_above ? opt->n_cut : (int)c->n_above;
    for (int k = 0; k < out->n_cut; k++) out->cut[k] = c->v[k].feature;
    sd_contrast_others(out->other, c, out->n_cut);
    sd_status st = sd_batch_open(&b, cut->ex, m, r, &(sd_batch_opt){.n_gen = opt->n_gen}, err);
    for (int run = 0; run < 3 && !st; run++) {
        counting n = {.opt = opt, .m = m, .n_a = c->n_a};
        sd_hook hook = sd_feature_cut_hook(cut);
        memset(cut->cut, 0, (size_t)sd_dict_get_info(cut->dict)->m);
        for (int k = 0; k < out->n_cut && run; k++) {
            int64_t f = run == 1 ? out->cut[k] : out->other[k];
            if (f >= 0) cut->cut[f] = 1;
        }
        if ((st = sd_batch_edit(b, &hook, run ? 1 : 0, err))) break;
        st = sd_batch_run(b, &(sd_batch_want){.n_gen = opt->n_gen, .self = &n, .on_answer = on_answer, .progress = opt->progress, .what = what[run]}, err);
        out->hit_a[run] = n.hit_a;
        out->hit_b[run] = n.hit_b;
    }
    sd_batch_close(b);
    return st;
}
