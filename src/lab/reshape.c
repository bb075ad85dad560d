/* Owns A, its inverse, the weights of tokens, and the room for rows that are given several times. How often row i is given depends on i alone, so that a source
 * put back gives the same rows. */
#include "lab/reshape.h"

#include "base/rng.h"
#include "dict/dict_reshape.h"
#include "num/eig.h"
#include "num/product.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { SAMPLE = 32768, MOST_TIMES = 16, JUDGED = 8192, PIECE = 4096, MAX_D = 1024 };
static const double LEAST = 1e-3; /* eigenvalues below this share of their mean count as it: directions that hold only noise are not blown up */

struct sd_reshape {
    const sd_exec *ex;
    sd_act_source src;
    sd_reshape_opt opt;
    int64_t n_rows, d, cap;
    float *weight;           /* [n_vocab] */
    double *a, *inv, *mean;  /* [d, d], [d, d], [d] */
    float *a32;              /* [d, d] */
    float *x, *y;            /* [cap, d] centred rows, reshaped rows */
    int32_t *token, *doc, *pos; /* [cap] */
    void *scratch;
};

static sd_status room(sd_reshape *r, int64_t n, sd_err *err)
{
    if (n <= r->cap) return SD_OK;
    void **const all[] = {(void **)&r->x, (void **)&r->y, (void **)&r->token, (void **)&r->doc, (void **)&r->pos};
    const size_t bytes[] = {(size_t)r->d * sizeof(float), (size_t)r->d * sizeof(float), sizeof(int32_t), sizeof(int32_t), sizeof(int32_t)};
    sd_status st = SD_OK;
    r->cap = 0;
    for (int i = 0; i < 5 && !st; i++) {
        sd_free(*all[i]);
        *all[i] = NULL;
        st = sd_alloc(all[i], (size_t)n * bytes[i], "reshaped rows", err);
    }
    if (!st) r->cap = n;
    return st;
}

static int times(const sd_reshape *r, int64_t row, int32_t token)
{
    const double w = token >= 0 && token < r->opt.n_vocab ? (double)r->weight[token] : 1;
    sd_rng rng = sd_rng_make(r->opt.seed, "reshape", (uint64_t)row);
    const int n = (int)floor(w + sd_rng_uniform(&rng));
    return n > MOST_TIMES ? MOST_TIMES : n;
}

static sd_status next(void *self, sd_act_block *out, sd_err *err)
{
    sd_reshape *r = self;
    for (;;) {
        sd_act_block b;
        const int64_t at = r->src.tell(r->src.self);
        int64_t n = 0;
        sd_status st = r->src.next(r->src.self, &b, err);
        if (st) return st;
        *out = b;
        if (b.x.rows == 0) return SD_OK;
        for (int64_t i = 0; i < b.x.rows; i++) n += times(r, at + i, b.token_id[i]);
        if (n == 0) continue; /* an empty block would be the end */
        if ((st = room(r, n, err))) return st;
        n = 0;
        for (int64_t i = 0; i < b.x.rows; i++) {
            for (int k = times(r, at + i, b.token_id[i]); k > 0; k--, n++) {
                const float *from = sd_mat_row(b.x, i);
                float *to = r->x + n * r->d;
                for (int64_t j = 0; j < r->d; j++) to[j] = from[j] - (float)r->mean[j];
                r->token[n] = b.token_id[i];
                r->doc[n] = b.doc[i];
                r->pos[n] = b.pos[i];
            }
        }
        const sd_mat y = sd_mat_of(r->y, n, r->d);
        for (int64_t i = 0; i < n; i += PIECE) {
            const int64_t m = n - i < PIECE ? n - i : PIECE;
            sd_prod_run(r->ex, &(sd_prod){.kind = SD_PROD_NT, .c = sd_mat_rows(y, i, m), .a = sd_mat_of(r->x + i * r->d, m, r->d), .b = sd_wmat_of(r->a32, r->d, r->d)}, r->scratch);
        }
        *out = (sd_act_block){.x = y, .token_id = r->token, .doc = r->doc, .pos = r->pos};
        return SD_OK;
    }
}

static int64_t tell(void *self) { return ((sd_reshape *)self)->src.tell(((sd_reshape *)self)->src.self); }
static sd_status seek(void *self, int64_t row, sd_err *err) { return ((sd_reshape *)self)->src.seek(((sd_reshape *)self)->src.self, row, err); }
sd_act_source sd_reshape_source(sd_reshape *r) { return (sd_act_source){.self = r, .d = r->d, .next = next, .tell = tell, .seek = seek}; }
int64_t sd_reshape_rows(const sd_reshape *r) { return r->n_rows - r->n_rows / 64; }

/* Reads up to n rows from where the source is; *got of them. token may be NULL. */
static sd_status read_rows(sd_reshape *r, float *x, int32_t *token, int64_t n, int64_t *got, sd_err *err)
{
    *got = 0;
    while (*got < n) {
        sd_act_block b;
        sd_status st = r->src.next(r->src.self, &b, err);
        if (st) return st;
        if (b.x.rows == 0) break;
        for (int64_t i = 0; i < b.x.rows && *got < n; i++, ++*got) {
            memcpy(x + *got * r->d, sd_mat_row(b.x, i), (size_t)r->d * sizeof *x);
            if (token) token[*got] = b.token_id[i];
        }
    }
    return SD_OK;
}

/* A token that the sample has not counts as half a one. */
static void weigh(sd_reshape *r, const int32_t *token, int64_t n)
{
    double total = 0;
    memset(r->weight, 0, (size_t)r->opt.n_vocab * sizeof *r->weight);
    for (int64_t i = 0; i < n; i++)
        if (token[i] >= 0 && token[i] < r->opt.n_vocab) r->weight[token[i]]++;
    for (int64_t t = 0; t < r->opt.n_vocab; t++) {
        const double count = (double)r->weight[t], f = (count > 0 ? count : 0.5) / (double)n, w = pow(f, -r->opt.balance);
        r->weight[t] = (float)w;
        total += count * w;
    }
    for (int64_t t = 0; t < r->opt.n_vocab; t++) r->weight[t] = (float)((double)r->weight[t] * (double)n / total);
}

/* Mean and covariance as the training sees them, tokens weighed. */
static sd_status shape(sd_reshape *r, float *x, const int32_t *token, int64_t n, sd_err *err)
{
    const int64_t d = r->d;
    double *cov = NULL, *vec = NULL, mean_value = 0, sum = 0;
    float *c = NULL;
    sd_status st = sd_alloc(&cov, (size_t)(d * d) * sizeof *cov, "a covariance", err);
    if (!st) st = sd_alloc(&vec, (size_t)(d * d) * sizeof *vec, "a covariance", err);
    if (!st) st = sd_alloc(&c, (size_t)(d * d) * sizeof *c, "a covariance", err);
    if (st) goto done;
    for (int64_t i = 0; i < n; i++) {
        const double w = (double)r->weight[token[i]];
        for (int64_t j = 0; j < d; j++) r->mean[j] += w * (double)x[i * d + j];
        sum += w;
    }
    for (int64_t j = 0; j < d; j++) r->mean[j] /= sum;
    for (int64_t i = 0; i < n; i++) {
        const double w = sqrt((double)r->weight[token[i]] / sum);
        for (int64_t j = 0; j < d; j++) x[i * d + j] = (float)(w * ((double)x[i * d + j] - r->mean[j]));
    }
    sd_prod_run(r->ex, &(sd_prod){.kind = SD_PROD_TN, .c = sd_mat_of(c, d, d), .a = sd_mat_of(x, n, d), .b = sd_wmat_of(x, n, d)}, r->scratch);
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j < d; j++) cov[i * d + j] = 0.5 * ((double)c[i * d + j] + (double)c[j * d + i]);
    sd_eig_all(cov, vec, d);
    for (int64_t i = 0; i < d; i++) mean_value += cov[i * d + i] / (double)d;
    memset(r->a, 0, (size_t)(d * d) * sizeof *r->a);
    memset(r->inv, 0, (size_t)(d * d) * sizeof *r->inv);
    for (int64_t e = 0; e < d; e++) {
        const double g = pow(fmax(cov[e * d + e] / mean_value, LEAST), -r->opt.whiten / 2), *v = vec + e * d;
        for (int64_t i = 0; i < d; i++)
            for (int64_t j = 0; j < d; j++) {
                r->a[i * d + j] += g * v[i] * v[j];
                r->inv[i * d + j] += v[i] * v[j] / g;
            }
    }
    for (int64_t i = 0; i < d * d; i++) r->a32[i] = (float)r->a[i];
done:
    sd_free(cov);
    sd_free(vec);
    sd_free(c);
    return st;
}

sd_status sd_reshape_open(sd_reshape **out, const sd_exec *ex, sd_act_source src, int64_t n_rows, const sd_reshape_opt *opt, sd_err *err)
{
    sd_reshape *r = NULL;
    float *x = NULL;
    int32_t *token = NULL;
    const int64_t d = src.d, most = n_rows < SAMPLE ? n_rows : SAMPLE;
    int64_t got = 0;
    *out = NULL;
    if (!(opt->balance >= 0 && opt->balance <= 1 && opt->whiten >= 0 && opt->whiten <= 1))
        return sd_fail(err, SD_E_ARG, "balance %g and whiten %g must be between 0 and 1", opt->balance, opt->whiten);
    if (d > MAX_D) return sd_fail(err, SD_E_UNSUPPORTED, "rows of width %" PRId64 " are not whitened: at most %d", d, MAX_D);
    sd_status st = sd_alloc_zero(&r, sizeof *r, "reshaped rows", err);
    if (st) return st;
    *r = (sd_reshape){.ex = ex, .src = src, .opt = *opt, .n_rows = n_rows, .d = d};
    if (!st) st = sd_alloc(&r->weight, (size_t)opt->n_vocab * sizeof *r->weight, "weights of tokens", err);
    if (!st) st = sd_alloc(&r->a, (size_t)(d * d) * sizeof *r->a, "reshaped rows", err);
    if (!st) st = sd_alloc(&r->inv, (size_t)(d * d) * sizeof *r->inv, "reshaped rows", err);
    if (!st) st = sd_alloc_zero(&r->mean, (size_t)d * sizeof *r->mean, "reshaped rows", err);
    if (!st) st = sd_alloc(&r->a32, (size_t)(d * d) * sizeof *r->a32, "reshaped rows", err);
    if (!st) st = sd_alloc(&r->scratch, sd_prod_scratch(ex, PIECE, most > d ? most : d), "reshaped rows", err);
    if (!st) st = sd_alloc(&x, (size_t)(most * d) * sizeof *x, "rows to shape by", err);
    if (!st) st = sd_alloc(&token, (size_t)most * sizeof *token, "rows to shape by", err);
    if (!st) st = src.seek(src.self, 0, err);
    if (!st) st = read_rows(r, x, token, most, &got, err);
    for (int64_t i = 0; i < got && !st; i++)
        if (token[i] < 0 || token[i] >= opt->n_vocab) st = sd_fail(err, SD_E_FORMAT, "row %" PRId64 " is of token %" PRId32 " of %" PRId64, i, token[i], opt->n_vocab);
    if (!st && got < 2 * d) {
        (void)sd_fail(err, SD_E_FORMAT, "%" PRId64 " rows are too few to tell the spread of %" PRId64 " columns", got, d);
        st = sd_hint(err, "give more text");
    }
    if (!st) weigh(r, token, got);
    if (!st) st = shape(r, x, token, got, err);
    if (!st) st = src.seek(src.self, 0, err);
    sd_free(x);
    sd_free(token);
    if (st) sd_reshape_close(r);
    else *out = r;
    return st;
}

void sd_reshape_close(sd_reshape *r)
{
    if (!r) return;
    void *const all[] = {r->weight, r->a, r->inv, r->mean, r->a32, r->x, r->y, r->token, r->doc, r->pos, r->scratch};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) sd_free(all[i]);
    sd_free(r);
}

sd_status sd_reshape_fold(void *reshape, sd_dict *dict, sd_err *err)
{
    sd_reshape *r = reshape;
    float *x = NULL;
    const int64_t held = r->n_rows / 50; /* the end of the source, which nothing learnt from */
    const int64_t n = held < JUDGED ? (held < 256 ? 256 : held) : JUDGED;
    int64_t got = 0;
    sd_status st = sd_alloc(&x, (size_t)(n * r->d) * sizeof *x, "rows to judge by", err);
    if (!st) st = r->src.seek(r->src.self, n < r->n_rows ? r->n_rows - n : 0, err);
    if (!st) st = read_rows(r, x, NULL, n, &got, err);
    if (!st) st = sd_dict_reshape(dict, r->ex, r->a, r->inv, r->mean, sd_mat_of(x, got, r->d), err);
    sd_free(x);
    return st;
}
