/* Owns packing, tiles and the loops of the scan (scan.h says why it is exact). Each tile is one thread's work and its result
 * does not depend on which thread or on other tiles. */
#include "dict/scan_int.h"
#include "base/par.h"
#include <float.h>
#include <math.h>
#include <string.h>

static int64_t cap_of(int k) { return SD_SCAN_BLOCK + 16 + (4 * (int64_t)k > 512 ? 4 * (int64_t)k : 512); }
static int64_t n_block_of(int64_t m) { return (m + SD_SCAN_BLOCK - 1) / SD_SCAN_BLOCK; }
static int64_t n_few_of(int64_t m) { return (m + SD_SCAN_FEW_CHUNK - 1) / SD_SCAN_FEW_CHUNK; }

/* The one list of what the arena holds; with s->arena.base NULL it only counts. */
static size_t lay_out(sd_scan *s)
{
    size_t at = 0;
    uint8_t *base = s->arena.base;
#define TAKE(p, n) SD_TAKE(base, at, p, n)
    const int64_t T = s->tile, B = SD_SCAN_BLOCK, mp = s->n_block * B, d = s->d;
    const int64_t cap = s->k ? s->cap : B + 16;
    TAKE(s->packed, s->k8 ? (size_t)(mp * s->dp) : s->pack_bytes * (size_t)s->n_block);
    if (s->k8) TAKE(s->scale, mp), TAKE(s->draw, 2 * (s->dp + SD_SCAN8_DRAWS));
    if (s->flat) TAKE(s->rows8, mp * s->dp);
    TAKE(s->norm, mp);
    TAKE(s->bias, mp);
    TAKE(s->block_rho, s->n_block);
    TAKE(s->block_bias, s->n_block);
    TAKE(s->few, n_few_of(s->m) * (s->k ? s->k : 1) * 2);
    TAKE(s->worker, s->n_workers);
    for (int i = 0; i < s->n_workers; i++) {
        sd_scan_worker none, *w = base ? &s->worker[i] : &none;
        TAKE(w->x, T * d);
        TAKE(w->score, T * B);
        if (s->flat) TAKE(w->some.w, B * s->dp), TAKE(w->some.scale, B), TAKE(w->some.b, B), TAKE(w->some.r, B);
        if (s->k8)
            TAKE(w->x8, T * s->dp), TAKE(w->q, s->dp), TAKE(w->turned, s->dp), TAKE(w->unit, T), TAKE(w->cut, T), TAKE(w->start, T), TAKE(w->lift, T * (s->dp / SD_SCAN8_ROTATE));
        else
            TAKE(w->xb, T * d), TAKE(w->rows, B * d * 4);
        TAKE(w->key, cap);
        TAKE(w->key2, cap);
        TAKE(w->feat, cap);
        TAKE(w->exact, cap);
        TAKE(w->group, B);
        TAKE(w->margin, T);
        for (int64_t t = 0; t < T; t++) {
            TAKE(w->cand[t].idx, cap);
            TAKE(w->cand[t].up, cap);
            TAKE(w->cand[t].low, cap);
        }
    }
#undef TAKE
    return at;
}

static void describe(sd_scan *s, const sd_exec *ex, int64_t m, int64_t d, int k, sd_scan_how how)
{
    *s = (sd_scan){.m = m, .d = d, .k = k, .n_block = n_block_of(m), .cap = cap_of(k), .n_workers = ex->n_threads, .kern = ex->kern,
                   .kd = sd_kern_dict_select(ex->kern->cpu_flags), .cpu_flags = ex->kern->cpu_flags, .dp = sd_scan8__width(d)};
    s->k8 = how == SD_SCAN_PROVEN ? NULL : sd_kern_scan8_select(s->cpu_flags);
    s->flat = s->k8 && how == SD_SCAN_LISTED;
    s->bf16 = !s->k8 && sd_score_can_bf16(ex);
    s->tile = s->k8 && (s->cpu_flags & SD_CPU_AMX) ? SD_SCAN_MOST : SD_SCAN_TILE;
}

size_t sd_scan_plan(const sd_exec *ex, int64_t m, int64_t d, int k, sd_scan_how how)
{
    sd_scan s;
    describe(&s, ex, m, d, k, how);
    s.pack_bytes = (size_t)(SD_SCAN_BLOCK * (d + 31)) * (s.bf16 ? 2 : 4); /* oneDNN pads d to its own block, at most 32 */
    return lay_out(&s);
}

sd_status sd_scan_new(sd_scan **out, const sd_exec *ex, int64_t m, int64_t d, int k, sd_scan_how how, sd_err *err)
{
    sd_scan *s = NULL;
    *out = NULL;
    SD_ASSERT(m > 0 && d > 0 && k >= 0 && k <= m && m < INT32_MAX);
    sd_status st = sd_alloc_zero(&s, sizeof *s, "a dictionary's scan", err);
    if (st) goto done;
    describe(s, ex, m, d, k, how);
    if (!s->k8) {
        st = sd_score_new(&s->score, ex, &(sd_score_shape){SD_SCAN_TILE, SD_SCAN_BLOCK, d, s->bf16, false}, err);
        if (st) goto done;
        s->pack_bytes = sd_arena_need(sd_score_pack_bytes(s->score));
    }
    st = sd_arena_init(&s->arena, lay_out(s), "a dictionary's packed encoder", err);
    if (st) goto done;
    memset(s->arena.base, 0, s->arena.size); /* padding rows stay zero for ever */
    (void)lay_out(s);
    if (s->k8) sd_scan8__draw(s);
done:
    if (st)
        sd_scan_free(s);
    else
        *out = s;
    return st;
}

void sd_scan_free(sd_scan *s)
{
    if (!s) return;
    sd_score_free(s->score);
    sd_free(s->kept);
    sd_arena_release(&s->arena);
    sd_free(s);
}

bool sd_scan_fits(const sd_scan *s, const sd_exec *ex) { return s->cpu_flags == ex->kern->cpu_flags && ex->n_threads <= s->n_workers; }
bool sd_scan_is_bf16(const sd_scan *s) { return s->bf16; }
bool sd_scan_is_int8(const sd_scan *s) { return s->k8 != NULL; }

sd_scan_worker *sd_scan__me(const sd_scan *s)
{
    const int i = sd_par_worker();
    SD_ASSERT(i < s->n_workers);
    return &s->worker[i];
}

/* An upper bound of |x| from the computed sum of squares: d roundings, the root's and a product's; and where squares of a tiny
 * vector underflow (components below 1e-19), 1e-18 is above its norm. */
static float norm_above(float sum_sq, int64_t d)
{
    const float n = sqrtf(sum_sq) * (1.0f + (float)(d + 16) * 0x1p-24f);
    return n > 1e-18f ? n : 1e-18f;
}

static void pack_blocks(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    sd_scan *s = arg;
    sd_scan_worker *w = sd_scan__me(s);
    const int64_t d = s->d, B = SD_SCAN_BLOCK;
    (void)chunk;
    for (int64_t blk = begin; blk < end; blk++) {
        const int64_t f0 = blk * B, n = s->m - f0 < B ? s->m - f0 : B;
        float rho = 0, top = 0;
        for (int64_t i = 0; i < B; i++) {
            const int64_t f = f0 + i;
            s->bias[f] = i < n ? s->b[f] - (s->gate && s->gate[f] > 0 ? s->gate[f] : 0.0f) : -INFINITY;
            if (i >= n) continue;
            const float *row = s->W + f * d;
            const float size = fabsf(s->b[f]) + (s->gate ? fabsf(s->gate[f]) : 0.0f);
            s->norm[f] = norm_above(s->kern->dot(row, row, d), d);
            if (size > top) top = size;
            if (!s->bf16) continue;
            const float e = norm_above(s->kd->to_bf16((uint16_t *)(void *)w->rows + i * d, row, d), d) / s->norm[f];
            if (e > rho) rho = e;
        }
        if (s->bf16) {
            memset((uint16_t *)(void *)w->rows + n * d, 0, (size_t)((B - n) * d) * 2);
        } else if (n < B) {
            memcpy(w->rows, s->W + f0 * d, (size_t)(n * d) * 4);
            memset((float *)(void *)w->rows + n * d, 0, (size_t)((B - n) * d) * 4);
        }
        sd_score_pack(s->score, s->packed + (size_t)blk * s->pack_bytes, s->bf16 || n < B ? (const void *)w->rows : s->W + f0 * d);
        s->block_rho[blk] = rho;
        s->block_bias[blk] = top;
    }
}

/* A block of int8: biases always. */
static void pack_blocks8(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    sd_scan *s = arg;
    sd_scan_worker *w = sd_scan__me(s);
    const int64_t d = s->d;
    (void)chunk;
    for (int64_t blk = begin; blk < end; blk++) {
        const int64_t f0 = blk * SD_SCAN_BLOCK;
        s->block_bias[blk] = s->block_rho[blk] = 0;
        for (int64_t f = f0; f < f0 + SD_SCAN_BLOCK; f++) {
            s->bias[f] = f < s->m ? s->b[f] - (s->gate && s->gate[f] > 0 ? s->gate[f] : 0.0f) : -INFINITY;
            if (f >= s->m) continue;
            const float *row = s->W + f * d, size = fabsf(s->b[f]) + (s->gate ? fabsf(s->gate[f]) : 0.0f);
            if (size > s->block_bias[blk]) s->block_bias[blk] = size;
            if (!s->rows_are_packed) sd_scan8__pack_row(s, w, f, norm_above(s->kern->dot(row, row, d), d));
        }
    }
}

static void pack(sd_scan *s, const sd_exec *ex, bool rows_are_packed, const float *W, const float *b, const float *gate)
{
    SD_ASSERT(sd_scan_fits(s, ex));
    s->rows_are_packed = rows_are_packed;
    s->W = W;
    s->b = b;
    s->gate = gate;
    sd_parallel_for(ex->n_threads, s->n_block, 1, s->k8 ? pack_blocks8 : pack_blocks, s);
    s->rho = s->max_bias = 0;
    for (int64_t i = 0; i < s->n_block; i++) {
        if (s->block_rho[i] > s->rho) s->rho = s->block_rho[i];
        if (s->block_bias[i] > s->max_bias) s->max_bias = s->block_bias[i];
    }
}

void sd_scan_pack(sd_scan *s, const sd_exec *ex, const float *W, const float *b, const float *gate) { pack(s, ex, false, W, b, gate); }
void sd_scan_repack(sd_scan *s, const sd_exec *ex, const float *W, const float *b, const float *gate) { pack(s, ex, s->W == W, W, b, gate); }

void sd_scan_pack_row(sd_scan *s, const float *W, int64_t f)
{
    const float *row = W + f * s->d;
    if (s->k8 && s->W == W) sd_scan8__pack_row(s, sd_scan__me(s), f, norm_above(s->kern->dot(row, row, s->d), s->d));
}

typedef sd_scan_job job;

void sd_scan__load_row(const job *j, sd_scan_worker *w, int64_t t, int64_t row)
{
    const sd_scan *s = j->s;
    const int64_t d = s->d;
    /* Two evaluations of d products (the score and the exact dot) and a few roundings of u and the bias. */
    const float gamma = (float)(2 * (d + 16)) * 0x1p-24f;
    const float *from = sd_mat_row(j->x, row);
    float *to = w->x + t * d;
    if (!isfinite(s->kern->dot(from, from, d))) {
        if (w->bad < 0 || row < w->bad) w->bad = row;
        memset(to, 0, (size_t)d * 4);
    } else if (j->sub) {
        for (int64_t i = 0; i < d; i++) to[i] = from[i] - j->sub[i];
    } else {
        memcpy(to, from, (size_t)d * 4);
    }
    const float x = norm_above(s->kern->dot(to, to, d), d);
    if (s->k8) {
        sd_scan8__load_row(s, w, t, row, x);
        return;
    }
    const float e = s->bf16 ? norm_above(s->kd->to_bf16(w->xb + t * d, to, d), d) : 0.0f;
    float c = (e + s->rho * (x + e) + gamma * (x + e) * (1.0f + s->rho)) * 1.001f; /* 1.001: the roundings of this line and of u */
    if (!(c < 1e38f)) c = 1e38f; /* finite, so that padding (norm 0, bias -inf) never passes; everything else then does */
    w->margin[t] = c;
}

static void load_tile(const job *j, sd_scan_worker *w, int64_t row0, int64_t n)
{
    const sd_scan *s = j->s;
    for (int64_t t = 0; t < n; t++) sd_scan__load_row(j, w, t, row0 + t);
    if (s->k8) {
        sd_scan8__pad_rows(s, w, n);
        return;
    }
    memset(w->x + n * s->d, 0, (size_t)((s->tile - n) * s->d) * 4);
    if (s->bf16) memset(w->xb + n * s->d, 0, (size_t)((s->tile - n) * s->d) * 2);
}

void sd_scan__take_hits(const sd_scan *s, sd_scan_worker *w, int64_t t, int64_t got)
{
    sd_cand *c = &w->cand[t];
    for (int64_t i = c->n; i < c->n + got; i++) c->low[i] = c->up[i] - 2.0f * w->margin[t] * s->norm[c->idx[i]];
    c->n += got;
    if (c->n - c->mark >= (s->k / 2 > 16 ? s->k / 2 : 16)) sd_scan__tighten(s, c);
    if (c->n > s->cap - SD_SCAN_BLOCK - 16) sd_scan__settle(s, w, c, w->x + t * s->d);
    if (c->n > s->cap - SD_SCAN_BLOCK - 16) c->overflow = true;
}

static void collect(const sd_scan *s, sd_scan_worker *w, int64_t t, int64_t blk)
{
    sd_cand *c = &w->cand[t];
    const int64_t f0 = blk * SD_SCAN_BLOCK;
    if (c->overflow) return;
    sd_scan_in in = {w->score + t * SD_SCAN_BLOCK, s->bias + f0, s->norm + f0, w->margin[t], c->cut, SD_SCAN_BLOCK};
    if (blk == 0) {
        sd_scan__first_cut(s, w->group, c, &in);
        in.cut = c->cut;
    }
    const int64_t got = s->kd->scan(c->idx + c->n, c->up + c->n, &in);
    for (int64_t i = c->n; i < c->n + got; i++) c->idx[i] += (int32_t)f0;
    sd_scan__take_hits(s, w, t, got);
}

static void scan8(const sd_scan *s, sd_scan_worker *w, int64_t blk, int64_t n)
{
    for (int64_t t = n; t % s->k8->n_row; t++) w->hit[t] = sd_scan__nowhere(w);
    sd_scan8__scan(s, w, blk, n);
}

static void collect8(const sd_scan *s, sd_scan_worker *w, int64_t blk, int64_t n)
{
    for (int64_t t = 0; t < n; t++) {
        const sd_cand *c = &w->cand[t];
        w->cut[t] = c->overflow ? INFINITY : c->cut;
        w->hit[t] = c->overflow ? sd_scan__nowhere(w) : (sd_scan8_out){c->idx + c->n, c->up + c->n, 0};
    }
    scan8(s, w, blk, n);
    for (int64_t t = 0; t < n; t++)
        if (w->hit[t].n && !w->cand[t].overflow) sd_scan__take_hits(s, w, t, w->hit[t].n);
}

static void topk_tile(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    job *j = arg;
    sd_scan *s = j->s;
    sd_scan_worker *w = sd_scan__me(s);
    const int64_t n = end - begin;
    (void)chunk;
    load_tile(j, w, begin, n);
    for (int64_t t = 0; t < n; t++) sd_scan__begin_row(s, &w->cand[t]);
    for (int64_t blk = 0; blk < s->n_block; blk++) {
        if (s->k8 && blk > 0) {
            collect8(s, w, blk, n);
            continue;
        }
        if (s->k8)
            sd_scan8__score(s, w, blk, n);
        else
            sd_score_run(s->score, w->score, s->bf16 ? (const void *)w->xb : w->x, s->packed + (size_t)blk * s->pack_bytes);
        for (int64_t t = 0; t < n; t++) collect(s, w, t, blk);
    }
    for (int64_t t = 0; t < n; t++)
        sd_scan__pick(s, w, &w->cand[t], w->x + t * s->d, j->idx + (begin + t) * s->k, j->val + (begin + t) * s->k);
}

static void few_chunk(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    job *j = arg;
    uint64_t *key = j->s->few + chunk * j->s->k;
    const int64_t n = sd_scan__best_of(j->s, key, j->s->worker[0].x, NULL, begin, end);
    for (int64_t i = n; i < j->s->k; i++) key[i] = 0; /* below every key of a finite number */
}

static void topk_few(job *j, const sd_exec *ex)
{
    sd_scan *s = j->s;
    const int64_t n_chunk = n_few_of(s->m);
    sd_scan_worker *w = &s->worker[0];
    for (int64_t r = 0; r < j->x.rows; r++) {
        sd_scan__load_row(j, w, 0, r);
        sd_parallel_for(ex->n_threads, s->m, SD_SCAN_FEW_CHUNK, few_chunk, j);
        sd_scan__emit(s->few, s->few + n_chunk * s->k, n_chunk * s->k, s->k, j->idx + r * s->k, j->val + r * s->k);
        w->n_exact += s->m;
    }
}

void sd_scan__begin(sd_scan *s)
{
    for (int i = 0; i < s->n_workers; i++) s->worker[i].bad = -1;
}
int64_t sd_scan__first_bad(const sd_scan *s)
{
    int64_t bad = -1;
    for (int i = 0; i < s->n_workers; i++)
        if (s->worker[i].bad >= 0 && (bad < 0 || s->worker[i].bad < bad)) bad = s->worker[i].bad;
    return bad;
}

int64_t sd_scan_topk(sd_scan *s, const sd_exec *ex, int32_t *idx, float *val, sd_mat x, const float *sub)
{
    SD_ASSERT(s->k > 0 && x.cols == s->d && s->W && sd_scan_fits(s, ex));
    job j = {.s = s, .x = x, .sub = sub, .idx = idx, .val = val};
    sd_scan__begin(s);
    if (x.rows <= SD_SCAN_FEW)
        topk_few(&j, ex);
    else
        sd_parallel_for(ex->n_threads, x.rows, s->tile, topk_tile, &j);
    return sd_scan__first_bad(s);
}

static bool grow_hits(sd_hits *h, int64_t more)
{
    if (h->n + more <= h->cap) return true;
    if (h->fixed) {
        h->failed = true;
        return false;
    }
    const int64_t cap = (h->n + more) * 2;
    int32_t *row = sd_realloc(h->row, (size_t)cap * 4);
    if (row) h->row = row;
    int32_t *idx = row ? sd_realloc(h->idx, (size_t)cap * 4) : NULL;
    if (idx) h->idx = idx;
    float *val = idx ? sd_realloc(h->val, (size_t)cap * 4) : NULL;
    if (val) h->val = val;
    h->failed = !val;
    if (val) h->cap = cap;
    return val != NULL;
}

/* The exact value of feature f for row t; it is kept where it passes. */
static void keep_above(const sd_scan *s, const sd_scan_worker *w, sd_hits *h, int64_t t, int64_t f)
{
    const float p = sd_scan__exact(s, w->x + t * s->d, f);
    if (!(p > 0.0f) || (s->gate && !(p > s->gate[f]))) return;
    h->row[h->n] = (int32_t)t;
    h->idx[h->n] = (int32_t)f;
    h->val[h->n++] = p;
}

/* Features of block blk that row t's cheap score lets pass, into its list. */
static void above_block(const sd_scan *s, sd_scan_worker *w, int64_t blk, int64_t n)
{
    const float slack = s->max_bias * 0x1p-20f;
    const int64_t f0 = blk * SD_SCAN_BLOCK;
    for (int64_t t = 0; t < n; t++) {
        w->hit[t] = (sd_scan8_out){w->cand[t].idx, w->cand[t].up, 0};
        if (s->k8) w->cut[t] = -slack;
    }
    if (s->k8) {
        scan8(s, w, blk, n);
        return;
    }
    sd_score_run(s->score, w->score, s->bf16 ? (const void *)w->xb : w->x, s->packed + (size_t)blk * s->pack_bytes);
    for (int64_t t = 0; t < n; t++) {
        const sd_scan_in in = {w->score + t * SD_SCAN_BLOCK, s->bias + f0, s->norm + f0, w->margin[t], -slack, SD_SCAN_BLOCK};
        w->hit[t].n = s->kd->scan(w->hit[t].idx, w->hit[t].up, &in);
        for (int64_t i = 0; i < w->hit[t].n; i++) w->hit[t].idx[i] += (int32_t)f0;
    }
}

static void above_tile(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    job *j = arg;
    sd_scan *s = j->s;
    sd_scan_worker *w = sd_scan__me(s);
    sd_hits *h = &j->hits[chunk];
    load_tile(j, w, begin, end - begin);
    for (int64_t blk = 0; blk < s->n_block && !h->failed; blk++) {
        above_block(s, w, blk, end - begin);
        for (int64_t t = 0; t < end - begin; t++) {
            const sd_scan8_out *o = &w->hit[t];
            if (!grow_hits(h, o->n)) return;
            for (int64_t i = 0; i < o->n; i++) keep_above(s, w, h, t, o->idx[i]);
            w->n_exact += o->n;
        }
    }
}

/* Rows of all tiles one after the other; within a row the blocks came in order, so features ascend. */
static void gather_hits(const job *j, sd_scan_list *out)
{
    const int64_t n = j->x.rows, T = j->s->tile;
    int64_t *at = out->row_ptr + 1;
    memset(out->row_ptr, 0, (size_t)(n + 1) * sizeof *out->row_ptr);
    for (int64_t t = 0; t * T < n; t++)
        for (int64_t i = 0; i < j->hits[t].n; i++)
            if (t * T + j->hits[t].row[i] + 1 < n) at[t * T + j->hits[t].row[i] + 1]++;
    for (int64_t r = 1; r < n; r++) at[r] += at[r - 1]; /* at[r] = where row r begins; it moves to where it ends */
    for (int64_t t = 0; t * T < n; t++)
        for (int64_t i = 0; i < j->hits[t].n; i++) {
            const int64_t o = at[t * T + j->hits[t].row[i]]++;
            out->idx[o] = j->hits[t].idx[i];
            out->val[o] = j->hits[t].val[i];
        }
}

sd_status sd_scan_above(sd_scan *s, const sd_exec *ex, sd_scan_list *out, sd_mat x, const float *sub, int64_t *bad, sd_err *err)
{
    SD_ASSERT(s->k == 0 && x.cols == s->d && s->W && sd_scan_fits(s, ex));
    job j = {.s = s, .x = x, .sub = sub};
    const int64_t n_tile = (x.rows + s->tile - 1) / s->tile;
    int64_t total = 0;
    sd_status st = sd_alloc_zero(&j.hits, (size_t)n_tile * sizeof *j.hits, "lists of active features", err);
    if (st) return st;
    sd_scan__begin(s);
    sd_parallel_for(ex->n_threads, x.rows, s->tile, above_tile, &j);
    *bad = sd_scan__first_bad(s);
    for (int64_t t = 0; t < n_tile; t++) {
        total += j.hits[t].n;
        if (j.hits[t].failed) st = sd_fail(err, SD_E_NOMEM, "out of memory: the active features of %lld rows", (long long)x.rows);
    }
    if (!st && total > out->cap) {
        int32_t *idx = sd_realloc(out->idx, (size_t)total * 4);
        if (idx) out->idx = idx;
        float *val = idx ? sd_realloc(out->val, (size_t)total * 4) : NULL;
        if (val) out->val = val;
        if (val) out->cap = total;
        if (!val) st = sd_fail(err, SD_E_NOMEM, "out of memory: %lld active features", (long long)total);
    }
    if (!st) gather_hits(&j, out);
    for (int64_t t = 0; t < n_tile; t++) sd_free(j.hits[t].row), sd_free(j.hits[t].idx), sd_free(j.hits[t].val);
    sd_free(j.hits);
    return st;
}

sd_scan_count sd_scan_take_count(sd_scan *s)
{
    sd_scan_count c = {0};
    for (int i = 0; i < s->n_workers; i++) {
        c.n_exact += s->worker[i].n_exact;
        c.n_overflow += s->worker[i].n_overflow;
        s->worker[i].n_exact = s->worker[i].n_overflow = 0;
    }
    return c;
}

/* Tiles of n_rows rows, entries that each may hold, bytes of all of them. */
static int64_t share_of(const sd_scan *s, int64_t n_rows, int64_t cap, int64_t *n, size_t *head, size_t *bytes)
{
    *n = (n_rows + s->tile - 1) / s->tile;
    const int64_t share = *n > 1 ? 2 * (cap / *n) + SD_SCAN_BLOCK : cap + SD_SCAN_BLOCK;
    *head = sd_arena_need((size_t)*n * sizeof *s->kept);
    *bytes = *head + (size_t)(*n * share) * 12;
    return share;
}

size_t sd_scan_reserve_plan(const sd_exec *ex, sd_scan_how how, int64_t n_rows, int64_t cap)
{
    sd_scan s;
    int64_t n;
    size_t head, bytes;
    describe(&s, ex, 1, 1, 0, how);
    (void)share_of(&s, n_rows, cap, &n, &head, &bytes);
    return bytes;
}

sd_status sd_scan_reserve(sd_scan *s, int64_t n_rows, int64_t cap, sd_err *err)
{
    int64_t n;
    size_t head, bytes;
    const int64_t share = share_of(s, n_rows, cap, &n, &head, &bytes);
    uint8_t *at = NULL;
    SD_ASSERT(s->k == 0 && !s->kept);
    const sd_status st = sd_alloc_zero(&s->kept, bytes, "lists of active features", err);
    if (st) return st;
    s->n_kept = n;
    at = (uint8_t *)(void *)s->kept + head;
    for (int64_t i = 0; i < n; i++, at += share * 12)
        s->kept[i] = (sd_hits){(int32_t *)(void *)at, (int32_t *)(void *)(at + share * 4), (float *)(void *)(at + share * 8), 0, share, true, false};
    return SD_OK;
}

bool sd_scan_above_into(sd_scan *s, const sd_exec *ex, sd_scan_list *out, sd_mat x, const float *sub, int64_t *bad)
{
    job j = {.s = s, .x = x, .sub = sub, .hits = s->kept};
    const int64_t n_tile = (x.rows + s->tile - 1) / s->tile;
    int64_t total = 0;
    bool failed = false;
    SD_ASSERT(s->k == 0 && x.cols == s->d && s->W && sd_scan_fits(s, ex) && n_tile <= s->n_kept);
    for (int64_t i = 0; i < n_tile; i++) s->kept[i].n = 0, s->kept[i].failed = false;
    sd_scan__begin(s);
    sd_parallel_for(ex->n_threads, x.rows, s->tile, above_tile, &j);
    *bad = sd_scan__first_bad(s);
    for (int64_t i = 0; i < n_tile; i++) {
        total += s->kept[i].n;
        failed = failed || s->kept[i].failed;
    }
    if (failed || total > out->cap) return false;
    gather_hits(&j, out);
    return true;
}
