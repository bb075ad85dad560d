/* Owns the two sources' lock-step and the factors. Easy to break: the factors must come out the same when a run is resumed, so they are
 * taken from the first rows of the text, never from where the run is. */
#include "lab/cross.h"

#include "num/stats.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SCALE_ROWS = 4096 };

struct sd_cross {
    sd_act_source a, b;
    sd_cross_part part[SD_CROSS_PARTS];
    int n;
    int64_t d, cap;
    double rms;
    float *x;       /* [cap, d] */
};

sd_status sd_cross_sites_parse(sd_cross_sites *out, const char *text, sd_err *err)
{
    while (*text) {
        const size_t n = strcspn(text, ",+");
        const bool second = strncmp(text, "2:", 2) == 0;
        if (out->n == SD_CROSS_PARTS) return sd_fail(err, SD_E_ARG, "more than %d sites", SD_CROSS_PARTS);
        const sd_status st = sd_site_parse(&out->site[out->n], text + (second ? 2 : 0), n - (second && n >= 2 ? 2 : 0), err);
        if (st) return st;
        if (!second && out->n && out->second[out->n - 1]) return sd_fail(err, SD_E_ARG, "sites of the first model come first");
        out->second[out->n++] = second;
        text += n + (text[n] != 0);
    }
    return SD_OK;
}

sd_status sd_cross_sites_print(char *out, size_t cap, const sd_cross_sites *s, bool transformer_lens, sd_err *err)
{
    size_t at = 0;
    *out = 0;
    for (int i = 0; i < s->n; i++) {
        char name[64];
        if (transformer_lens) sd_site_print_tl(name, sizeof name, s->site[i]);
        else sd_site_print(name, sizeof name, s->site[i]);
        const int n = snprintf(out + at, cap - at, "%s%s%s", i ? "+" : "", s->second[i] ? "2:" : "", name);
        if (n < 0 || at + (size_t)n >= cap) return sd_fail(err, SD_E_ARG, "the names of %d sites do not fit %zu characters", s->n, cap - 1);
        at += (size_t)n;
    }
    return SD_OK;
}

const char *sd_cross_site_of(char out[SD_CROSS_NAME], const sd_dict *dict)
{
    const char *says = sd_dict_site_name(dict);
    sd_cross_sites of = {.n = 0};
    if (sd_cross_sites_parse(&of, says, NULL) || sd_cross_sites_print(out, SD_CROSS_NAME, &of, false, NULL)) snprintf(out, SD_CROSS_NAME, "%s", says);
    return out;
}

static sd_status next(void *self, sd_act_block *out, sd_err *err)
{
    sd_cross *c = self;
    sd_act_block a, b = {0};
    sd_status st = c->a.next(c->a.self, &a, err);
    if (!st && c->b.self) st = c->b.next(c->b.self, &b, err);
    if (st) return st;
    const int64_t n = a.x.rows;
    if (c->b.self && (b.x.rows != n || (n && memcmp(a.token_id, b.token_id, (size_t)n * sizeof *a.token_id) != 0))) {
        (void)sd_fail(err, SD_E_FORMAT, "the two models read this text as different tokens, so their rows do not belong together");
        return sd_hint(err, "two checkpoints of one model have one tokenizer");
    }
    if (n > c->cap) {
        sd_free(c->x);
        c->x = NULL;
        c->cap = 0;
        if ((st = sd_alloc(&c->x, (size_t)(n * c->d) * sizeof *c->x, "rows side by side", err))) return st;
        c->cap = n;
    }
    for (int64_t r = 0; r < n; r++) {
        float *to = c->x + r * c->d;
        memcpy(to, sd_mat_row(a.x, r), (size_t)a.x.cols * sizeof *to);
        if (c->b.self) memcpy(to + a.x.cols, sd_mat_row(b.x, r), (size_t)b.x.cols * sizeof *to);
        for (int p = 0; p < c->n; to += c->part[p++].width)
            for (int64_t i = 0; i < c->part[p].width && c->part[p].factor != 1; i++) to[i] *= (float)c->part[p].factor;
    }
    *out = a;
    out->x = sd_mat_of(c->x, n, c->d);
    return SD_OK;
}

static int64_t tell(void *self) { return ((sd_cross *)self)->a.tell(((sd_cross *)self)->a.self); }

static sd_status seek(void *self, int64_t row, sd_err *err)
{
    sd_cross *c = self;
    const sd_status st = c->a.seek(c->a.self, row, err);
    return st || !c->b.self ? st : c->b.seek(c->b.self, row, err);
}

sd_act_source sd_cross_source(sd_cross *c) { return (sd_act_source){.self = c, .d = c->d, .next = next, .tell = tell, .seek = seek}; }

static double norm_of(const float *x, const double *mean, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++) {
        const double v = (double)x[i] - (mean ? mean[i] : 0);
        s += v * v;
    }
    return sqrt(s);
}

/* Factors and the mean norm from rows x, whose factors are 1. */
static sd_status set_factors(sd_cross *c, sd_mat x, float *norm, double *mean, sd_err *err)
{
    int64_t kept = 0, col = 0;
    for (int64_t r = 0; r < x.rows; r++) norm[r] = norm[x.rows + r] = (float)norm_of(sd_mat_row(x, r), NULL, c->d);
    const double most = SD_SINK_FACTOR * (double)sd_median_f32(norm + x.rows, x.rows);
    c->rms = 0;
    memset(mean, 0, (size_t)c->d * sizeof *mean);
    for (int64_t r = 0; r < x.rows; r++) {
        if ((double)norm[r] > most) continue;
        for (int64_t i = 0; i < c->d; i++) mean[i] += (double)sd_mat_row(x, r)[i];
        c->rms += (double)norm[r];
        kept++;
    }
    c->rms /= (double)kept;
    for (int64_t i = 0; i < c->d; i++) mean[i] /= (double)kept;
    for (int p = 0; p < c->n; col += c->part[p++].width) {
        double spread = 0;
        for (int64_t r = 0; r < x.rows; r++)
            if ((double)norm[r] <= most) spread += norm_of(sd_mat_row(x, r) + col, mean + col, c->part[p].width) / (double)kept;
        if (!(spread > 1e-30 && isfinite(spread))) return sd_fail(err, SD_E_FORMAT, "part %d of the first %" PRId64 " rows is all the same or not finite", p + 1, x.rows);
        c->part[p].factor = sqrt((double)c->part[p].width) / spread;
    }
    return SD_OK;
}

static sd_status measure(sd_cross *c, sd_err *err)
{
    float *x = NULL, *norm = NULL;
    double *mean = NULL;
    int64_t n = 0;
    sd_status st = sd_alloc(&x, (size_t)(SCALE_ROWS * c->d) * sizeof *x, "rows to scale by", err);
    if (!st) st = sd_alloc(&norm, 2 * SCALE_ROWS * sizeof *norm, "norms", err);
    if (!st) st = sd_alloc(&mean, (size_t)c->d * sizeof *mean, "a mean", err);
    while (!st && n < SCALE_ROWS) {
        sd_act_block b;
        if ((st = next(c, &b, err)) || b.x.rows == 0) break;
        for (int64_t r = 0; r < b.x.rows && n < SCALE_ROWS; r++, n++) memcpy(x + n * c->d, sd_mat_row(b.x, r), (size_t)c->d * sizeof *x);
    }
    if (!st && n < 2) st = sd_fail(err, SD_E_FORMAT, "the text gives %" PRId64 " rows; that is too little to scale sites by", n);
    if (!st) st = set_factors(c, sd_mat_of(x, n, c->d), norm, mean, err);
    if (!st) st = seek(c, 0, err);
    sd_free(x);
    sd_free(norm);
    sd_free(mean);
    return st;
}

sd_status sd_cross_open(sd_cross **out, sd_act_source a, sd_act_source b, const int64_t *width, int n, bool scale, sd_err *err)
{
    sd_cross *c = NULL;
    *out = NULL;
    SD_ASSERT(n >= 1 && n <= SD_CROSS_PARTS);
    sd_status st = sd_alloc_zero(&c, sizeof *c, "rows side by side", err);
    if (st) return st;
    *c = (sd_cross){.a = a, .b = b, .n = n};
    for (int p = 0; p < n; p++) {
        c->part[p] = (sd_cross_part){width[p], 1};
        c->d += width[p];
    }
    SD_ASSERT(c->d == a.d + (b.self ? b.d : 0));
    if (scale) st = measure(c, err);
    if (st)
        sd_cross_close(c);
    else
        *out = c;
    return st;
}

void sd_cross_close(sd_cross *c)
{
    if (!c) return;
    sd_free(c->x);
    sd_free(c);
}

sd_status sd_cross_fold(void *cross, sd_dict *d, sd_err *err)
{
    const sd_cross *c = cross;
    (void)err;
    sd_dict_crosscoder(d, c->part, c->n, c->rms);
    return SD_OK;
}
