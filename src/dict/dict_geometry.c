/* Owns the products of rows with rows: tiles of f32, never all of [m, m]. */
#include "dict/dict_geometry.h"
#include "dict/dict_int.h"
#include "base/par.h"
#include "num/gemm_tile.h"
#include <math.h>
#include <string.h>

enum { TILE = 128, BLOCK = 512, ALL = 16384, SOME = 8192 };

typedef struct scratch { float *x, *w, *out; uint8_t *packed; } scratch;
typedef struct job { sd_score *score; const float *W; int64_t m, d, n; float *best; scratch *of; } job;

/* The i-th of n rows spread over m. */
static int64_t row_of(const job *j, int64_t i) { return i * j->m / j->n; }

static double norm_of(const float *w, int64_t d)
{
    double s = 0;
    for (int64_t i = 0; i < d; i++) s += (double)w[i] * (double)w[i];
    return sqrt(s);
}

static void unit(float *to, const float *w, int64_t d)
{
    const double n = norm_of(w, d);
    for (int64_t i = 0; i < d; i++) to[i] = n > 0 ? (float)((double)w[i] / n) : 0.0f;
}

static void tile(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const job *j = arg;
    const scratch *s = &j->of[sd_par_worker()];
    const int64_t d = j->d, n = end - begin;
    (void)chunk;
    for (int64_t t = 0; t < n; t++) unit(s->x + t * d, j->W + row_of(j, begin + t) * d, d), j->best[begin + t] = -1.0f;
    for (int64_t b = 0; b < j->m; b += BLOCK) {
        const int64_t rows = j->m - b < BLOCK ? j->m - b : BLOCK;
        for (int64_t r = 0; r < rows; r++) unit(s->w + r * d, j->W + (b + r) * d, d);
        sd_score_pack(j->score, s->packed, s->w);
        sd_score_run(j->score, s->out, s->x, s->packed);
        for (int64_t t = 0; t < n; t++) {
            const int64_t self = row_of(j, begin + t) - b;
            float best = j->best[begin + t];
            for (int64_t r = 0; r < rows; r++)
                if (r != self && s->out[t * BLOCK + r] > best) best = s->out[t * BLOCK + r];
            j->best[begin + t] = best;
        }
    }
}

static sd_status mean_best(double *out, const sd_exec *ex, const float *W, int64_t m, int64_t d, sd_err *err)
{
    job j = {.W = W, .m = m, .d = d, .n = m > ALL ? SOME : m};
    sd_arena a = {0};
    sd_status st = sd_score_new(&j.score, ex, &(sd_score_shape){TILE, BLOCK, d, false, false}, err);
    if (st) return st;
    const size_t pack = sd_arena_need(sd_score_pack_bytes(j.score)), part[] = {sd_arena_need((size_t)(TILE * d) * 4), sd_arena_need((size_t)(BLOCK * d) * 4), sd_arena_need(TILE * BLOCK * 4)};
    const size_t each = part[0] + part[1] + part[2] + pack, best = sd_arena_need((size_t)j.n * 4), list = sd_arena_need((size_t)ex->n_threads * sizeof *j.of);
    if ((st = sd_arena_init(&a, best + list + each * (size_t)ex->n_threads, "tiles of rows", err))) goto done;
    memset(a.base, 0, a.size);
    j.best = (float *)(void *)a.base;
    j.of = (scratch *)(void *)(a.base + best);
    for (int i = 0; i < ex->n_threads; i++) {
        uint8_t *p = a.base + best + list + each * (size_t)i;
        j.of[i] = (scratch){(float *)(void *)p, (float *)(void *)(p + part[0]), (float *)(void *)(p + part[0] + part[1]), p + part[0] + part[1] + part[2]};
    }
    sd_parallel_for(ex->n_threads, j.n, TILE, tile, &j);
    *out = 0;
    for (int64_t i = 0; i < j.n; i++) *out += (double)j.best[i] / (double)j.n;
done:
    sd_arena_release(&a);
    sd_score_free(j.score);
    return st;
}

sd_status sd_dict_rows_geometry(sd_dict_geometry *out, const sd_exec *ex, const sd_dict *d, sd_err *err)
{
    const int64_t m = d->info.m, n = d->info.d, o = d->info.d_out;
    const bool maps = sd_dict_kind_maps(d->info.kind);
    *out = (sd_dict_geometry){.n_rows = m > ALL ? SOME : m, .max_decoder = NAN, .max_encoder = NAN, .both = maps ? NAN : 0};
    for (int64_t f = 0; f < m; f++) {
        const float *w = d->W_enc + f * n, *D = d->W_dec + f * o;
        const double nw = norm_of(w, n), nd = maps ? 0 : norm_of(D, o);
        double s = 0;
        for (int64_t i = 0; i < n && !maps; i++) s += (double)w[i] * (double)D[i];
        if (!maps && nw > 0 && nd > 0) out->both += s / nw / nd / (double)m;
        out->encoder_norm += nw / (double)m;
        out->encoder_bias += (double)d->b_enc[f] / (double)m;
    }
    if (m < 2) return SD_OK; /* there is no other row */
    const sd_status st = mean_best(&out->max_decoder, ex, d->W_dec, m, o, err);
    return st ? st : mean_best(&out->max_encoder, ex, d->W_enc, m, n, err);
}
