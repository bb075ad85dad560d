/* Owns the life of a dictionary, its accessors, sparse codes, encode and decode. The packed encoder is a cache behind a lock:
 * everything else is constant after the maker is done. */
#include "dict/dict_int.h"
#include "base/par.h"
#include "base/str.h"
#include <math.h>
#include <string.h>

const char *sd_dict_kind_name(sd_dict_kind k)
{
    static const char *const name[SD_DICT_KIND_COUNT] = {"standard", "gated", "jumprelu", "topk", "batchtopk", "matryoshka",
                                                              "transcoder", "skip_transcoder", "crosscoder", "identity"};
    return k < SD_DICT_KIND_COUNT ? name[k] : "unknown";
}

static size_t lay_out(sd_dict *d, bool with_gate)
{
    const size_t m = (size_t)d->info.m, w = (size_t)d->info.d, o = (size_t)d->info.d_out;
    size_t at = 0;
    struct { float **p; size_t n; } part[] = {
        {&d->W_enc, m * w}, {&d->W_dec, m * o}, {&d->b_enc, m},     {&d->b_dec, o},    {&d->b_in, w},
        {&d->threshold, m}, {&d->max_act, m},   {&d->density, m},   {&d->proj_std, m}, {&d->gate, with_gate ? m : 0},
        {&d->W_skip, d->info.kind == SD_DICT_SKIP_TRANSCODER ? o * w : 0},
    };
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        if (d->arena.base) *part[i].p = part[i].n ? (float *)(void *)(d->arena.base + at) : NULL;
        at += sd_arena_need(part[i].n * sizeof(float));
    }
    return at;
}

sd_status sd_dict__possible(const sd_dict_info *info, sd_err *err)
{
    size_t cells;
    const int64_t o = info->d_out ? info->d_out : info->d;
    if (info->d < 1 || o < 1 || info->m < 1 || info->m >= INT32_MAX || info->d > 1 << 24 || o > 1 << 24 ||
        !sd_mul_size((size_t)(info->d > o ? info->d : o), (size_t)info->m, &cells) || cells > SIZE_MAX / 64)
        return sd_fail(err, SD_E_SHAPE, "a dictionary of %lld features of width %lld is impossible", (long long)info->m, (long long)info->d);
    return SD_OK;
}

sd_status sd_dict__new(sd_dict **out, const sd_dict_info *info, bool topk, bool with_gate, sd_err *err)
{
    sd_dict *d = NULL;
    *out = NULL;
    sd_status st = sd_dict__possible(info, err);
    if (!st) st = sd_alloc_zero(&d, sizeof *d, "a dictionary", err);
    if (st) return st;
    (void)pthread_mutex_init(&d->lock, NULL);
    d->info = *info;
    if (!info->d_out) d->info.d_out = info->d;
    d->topk = topk;
    d->input_centred = true;
    st = sd_arena_init(&d->arena, lay_out(d, with_gate), "a dictionary's weights", err);
    if (st) {
        sd_dict_free(d);
        return st;
    }
    memset(d->arena.base, 0, d->arena.size);
    (void)lay_out(d, with_gate);
    for (int64_t f = 0; f < info->m; f++) d->threshold[f] = d->density[f] = NAN;
    *out = d;
    return SD_OK;
}

void sd_dict_free(sd_dict *d)
{
    if (!d) return;
    sd_scan_free(d->scan);
    sd_arena_release(&d->arena);
    (void)pthread_mutex_destroy(&d->lock);
    sd_free(d);
}

static sd_status check_finite(const float *x, int64_t n, int64_t cols, const char *where, const char *name, sd_err *err)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i])) {
            if (cols == 1) return sd_fail(err, SD_E_FORMAT, "%s: %s[%lld] is %f", where, name, (long long)i, (double)x[i]);
            return sd_fail(err, SD_E_FORMAT, "%s: %s of feature %lld, dimension %lld, is %f", where, name, (long long)(i / cols),
                           (long long)(i % cols), (double)x[i]);
        }
    return SD_OK;
}

sd_status sd_dict__check(const sd_dict *d, const char *where, sd_err *err)
{
    const int64_t m = d->info.m, w = d->info.d, o = d->info.d_out;
    sd_status st = check_finite(d->W_enc, m * w, w, where, "W_enc", err);
    if (!st) st = check_finite(d->W_dec, m * o, o, where, "W_dec", err);
    if (!st && d->W_skip) st = check_finite(d->W_skip, o * w, 1, where, "W_skip", err);
    if (!st) st = check_finite(d->b_enc, m, 1, where, "b_enc", err);
    if (!st) st = check_finite(d->b_dec, o, 1, where, "b_dec", err);
    if (!st && d->gate) st = check_finite(d->gate, m, 1, where, "threshold", err);
    if (!st && d->has_threshold) st = check_finite(d->threshold, m, 1, where, "threshold", err);
    return st;
}

const sd_dict_info *sd_dict_get_info(const sd_dict *d) { return &d->info; }

const char *sd_dict_site_out_name(const sd_dict *d)
{
    if (!sd_dict_kind_maps(d->info.kind)) return sd_dict_site_name(d);
    return d->info.site_out[0] ? d->info.site_out : d->info.hook_name_out;
}

const char *sd_dict_site_name(const sd_dict *d) { return d->info.site[0] ? d->info.site : d->info.hook_name; }

static int64_t in_range(const sd_dict *d, int64_t f)
{
    SD_ASSERT(f >= 0 && f < d->info.m);
    return f;
}
const float *sd_dict_enc_row(const sd_dict *d, int64_t f) { return d->W_enc + in_range(d, f) * d->info.d; }
const float *sd_dict_dec_row(const sd_dict *d, int64_t f) { return d->W_dec + in_range(d, f) * d->info.d_out; }
const float *sd_dict_b_enc(const sd_dict *d) { return d->b_enc; }
const float *sd_dict_b_dec(const sd_dict *d) { return d->b_dec; }
const float *sd_dict_skip(const sd_dict *d) { return d->W_skip; }
float sd_dict_threshold(const sd_dict *d, int64_t f) { return d->threshold[in_range(d, f)]; }
bool sd_dict_has_threshold(const sd_dict *d) { return d->has_threshold; }
float sd_dict_max_act(const sd_dict *d, int64_t f) { return d->max_act[in_range(d, f)]; }
float sd_dict_density(const sd_dict *d, int64_t f) { return d->density[in_range(d, f)]; }
float sd_dict_proj_std(const sd_dict *d, int64_t f) { return d->proj_std[in_range(d, f)]; }

static float scaled_preact(const sd_dict *d, int64_t f, const float *x)
{
    enum { SOME = 4096 };
    float place[SOME], *row = d->info.d <= SOME ? place : sd_malloc((size_t)d->info.d * sizeof *row);
    double s = 0;
    if (!row) return NAN;
    sd_dict__scale_in(row, d, x);
    for (int64_t i = 0; i < d->info.d; i++) s += (double)(row[i] - d->b_in[i]) * (double)d->W_enc[f * d->info.d + i];
    if (row != place) sd_free(row);
    return (float)(s + (double)d->b_enc[f]);
}

float sd_dict_preact(const sd_dict *d, int64_t f, const float *x)
{
    const float *w = sd_dict_enc_row(d, f);
    double s = 0;
    if (d->row_norm) return scaled_preact(d, f, x);
    for (int64_t i = 0; i < d->info.d; i++) s += (double)(x[i] - d->b_in[i]) * (double)w[i];
    return (float)(s + (double)d->b_enc[f]);
}

void sd_codes_release(sd_codes *c)
{
    sd_free(c->row_ptr);
    sd_free(c->idx);
    sd_free(c->val);
    *c = (sd_codes){0};
}

/* row_ptr for n rows, idx and val for nnz entries. */
static sd_status reserve(sd_codes *c, int64_t n, int64_t nnz, sd_err *err)
{
    sd_status st = SD_OK;
    if (!c->row_ptr || n > c->cap_n) {
        sd_free(c->row_ptr);
        c->row_ptr = NULL;
        c->cap_n = 0;
        st = sd_alloc(&c->row_ptr, (size_t)(n + 1) * sizeof *c->row_ptr, "sparse codes", err);
        if (st) return st;
        c->cap_n = n;
    }
    if (nnz <= c->cap_nnz) return SD_OK;
    sd_free(c->idx);
    sd_free(c->val);
    c->idx = NULL;
    c->val = NULL;
    c->cap_nnz = 0;
    st = sd_alloc(&c->idx, (size_t)nnz * sizeof *c->idx, "sparse codes", err);
    if (!st) st = sd_alloc(&c->val, (size_t)nnz * sizeof *c->val, "sparse codes", err);
    if (!st) c->cap_nnz = nnz;
    return st;
}

/* Closes ranks: of k entries a row, the positive ones. */
static void keep_positive(sd_codes *c, int64_t n, int k)
{
    int64_t o = 0;
    for (int64_t i = 0; i < n; i++) {
        c->row_ptr[i] = o;
        for (int64_t j = i * k; j < (i + 1) * k; j++) {
            if (!(c->val[j] > 0.0f)) continue;
            c->idx[o] = c->idx[j];
            c->val[o++] = c->val[j];
        }
    }
    c->row_ptr[n] = c->nnz = o;
    c->n = n;
}

/* The packed encoder for this exec; the caller holds the lock. */
static sd_status ready_scan(sd_dict *d, const sd_exec *ex, sd_err *err)
{
    if (d->scan && sd_scan_fits(d->scan, ex)) return SD_OK;
    sd_scan_free(d->scan);
    d->scan = NULL;
    sd_status st = sd_scan_new(&d->scan, ex, d->info.m, d->info.d, d->topk ? d->info.k : 0, SD_SCAN_PROVEN, err);
    if (!st) sd_scan_pack(d->scan, ex, d->W_enc, d->b_enc, d->gate);
    return st;
}

static sd_status encode_locked(sd_codes *out, const sd_exec *ex, sd_dict *d, sd_mat x, sd_err *err)
{
    const int64_t n = x.rows;
    int64_t bad = -1;
    sd_status st = ready_scan(d, ex, err);
    if (st) return st;
    if (d->topk) {
        const int k = d->info.k;
        st = reserve(out, n, n * k, err);
        if (st) return st;
        bad = sd_scan_topk(d->scan, ex, out->idx, out->val, x, d->b_in);
        keep_positive(out, n, k);
    } else {
        st = reserve(out, n, 0, err);
        if (st) return st;
        sd_scan_list list = {out->idx, out->val, out->row_ptr, out->cap_nnz};
        st = sd_scan_above(d->scan, ex, &list, x, d->b_in, &bad, err);
        out->idx = list.idx;
        out->val = list.val;
        out->cap_nnz = list.cap;
        out->n = n;
        if (!st) out->nnz = out->row_ptr[n];
    }
    if (!st && bad >= 0) st = sd_fail(err, SD_E_FORMAT, "row %lld of the activations holds a number that is not finite or too large", (long long)bad);
    return st;
}

sd_status sd_dict_encode(sd_codes *out, const sd_exec *ex, const sd_dict *d, sd_mat x, sd_err *err)
{
    union { const sd_dict *c; sd_dict *v; } self = {d}; /* only the cache behind the lock changes */
    if (x.cols != d->info.d)
        return sd_fail(err, SD_E_SHAPE, "the dictionary is for rows of %lld numbers, these have %lld", (long long)d->info.d, (long long)x.cols);
    sd_mat scaled = x;
    sd_status st = d->row_norm ? sd_dict__scaled(&scaled, ex, d, x, err) : SD_OK;
    (void)pthread_mutex_lock(&self.v->lock);
    if (!st) st = encode_locked(out, ex, self.v, scaled, err);
    (void)pthread_mutex_unlock(&self.v->lock);
    if (d->row_norm) sd_free(scaled.data);
    if (st) out->n = out->nnz = 0;
    return st;
}

typedef struct decode_job { sd_mat y, x; const sd_exec *ex; const sd_dict *d; const sd_codes *z; } decode_job; /* x: for the skip */

static void decode_rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const decode_job *j = arg;
    const int64_t w = j->d->info.d_out;
    (void)chunk;
    for (int64_t i = begin; i < end; i++) {
        float *y = sd_mat_row(j->y, i);
        memcpy(y, j->d->b_dec, (size_t)w * sizeof *y);
        for (int64_t e = j->z->row_ptr[i]; e < j->z->row_ptr[i + 1]; e++)
            j->ex->kern->axpy(y, j->z->val[e], j->d->W_dec + (int64_t)j->z->idx[e] * w, w);
        for (int64_t o = 0; o < w && j->x.data; o++) y[o] += j->ex->kern->dot(j->d->W_skip + o * j->x.cols, sd_mat_row(j->x, i), j->x.cols);
    }
}

void sd_dict_decode(sd_mat y, const sd_exec *ex, const sd_dict *d, const sd_codes *z)
{
    SD_ASSERT(y.rows == z->n && y.cols == d->info.d_out);
    decode_job j = {.y = y, .ex = ex, .d = d, .z = z};
    sd_parallel_for(ex->n_threads, y.rows, 16, decode_rows, &j);
}

void sd_dict_reconstruct(sd_mat y, const sd_exec *ex, const sd_dict *d, const sd_codes *z, sd_mat x)
{
    SD_ASSERT(y.rows == z->n && y.cols == d->info.d_out && x.rows == z->n && x.cols == d->info.d);
    decode_job j = {.y = y, .x = d->W_skip ? x : (sd_mat){0}, .ex = ex, .d = d, .z = z};
    sd_parallel_for(ex->n_threads, y.rows, 16, decode_rows, &j);
    if (d->row_norm) sd_dict__scale_out(y, d, x);
}
