/* Owns a transcoder trainer's life: options, the one plan of memory, calibration. The step is in dict_trans_step.c, the end and
 * checkpoints in dict_trans_file.c. */
#include "dict/dict_trans_int.h"
#include "num/product.h"
#include "num/stats.h"
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

static sd_status check_options(const sd_dict_train_opt *o, sd_err *err)
{
    SD_ASSERT(sd_dict_kind_maps(o->kind) && o->rest != SD_REST_DENSE);
    if (o->k > o->m) return sd_fail(err, SD_E_ARG, "k %d of %" PRId64 " features: there cannot be more active features than there are features", o->k, o->m);
    if (o->d < 1 || o->d_out < 1 || o->m < 1 || o->d > 1 << 20 || o->d_out > 1 << 20 || o->m >= INT32_MAX || o->k < 0 || o->batch < 0 || o->batch > 1 << 24 || o->n_tokens < 1)
        return sd_fail(err, SD_E_ARG, "a transcoder of %" PRId64 " features from width %" PRId64 " to %" PRId64 " with k %d, batches of %" PRId64 " and %" PRId64 " tokens is impossible",
                       o->m, o->d, o->d_out, o->k, o->batch, o->n_tokens);
    return SD_OK;
}

sd_ramp sd_trans__ramp(const sd_trans *t) { return (sd_ramp){t->opt.lr, t->opt.warmup, t->opt.decay, t->n_step}; }
sd_idle sd_trans__idle(const sd_trans *t) { return (sd_idle){t->kd, t->rate, t->n_step, t->opt.rest}; }

/* The one list of what the arena holds; with base NULL it only counts. */
static size_t lay_out(sd_trans *t, uint8_t *base)
{
    const int64_t m = t->opt.m, d = t->opt.d, o = t->opt.d_out, B = t->opt.batch, E = t->cap;
    size_t at = 0;
    sd_trans_par *par[] = {&t->W, &t->D, &t->b, &t->bd, &t->S};
    const int64_t n[] = {m * d, m * o, m, o, t->skip ? o * d : 0};
#define TAKE(p, n) SD_TAKE(base, at, p, n)
    for (int i = 0; i < 5; i++) {
        par[i]->n = n[i];
        if (n[i]) TAKE(par[i]->p, n[i]), TAKE(par[i]->m, n[i]), TAKE(par[i]->v, n[i]);
    }
    TAKE(t->last_step, m), TAKE(t->last_fired, m), TAKE(t->mean, d + o);
    TAKE(t->x, B * d), TAKE(t->y, B * o), TAKE(t->e, B * o);
    TAKE(t->ptr, B + 1), TAKE(t->col, m + 1), TAKE(t->idx, E), TAKE(t->ent_row, E);
    TAKE(t->val, E), TAKE(t->dz, E), TAKE(t->ent_z, E), TAKE(t->ent_dz, E), TAKE(t->spare, E);
    TAKE(t->floor, m), TAKE(t->gb, m), TAKE(t->sum_e2, (B + SD_TRANS_ROWS - 1) / SD_TRANS_ROWS), TAKE(t->norm, t->n_chunk);
    TAKE(t->gbd, o), TAKE(t->rate, t->n_step + 2), TAKE(t->grad, t->n_workers);
    if (t->skip) TAKE(t->gS, o * d), TAKE(t->prod, t->prod_bytes);
    for (int i = 0; i < t->n_workers; i++) {
        float *none, **g = base ? &t->grad[i] : &none;
        TAKE(*g, 2 * (d > o ? d : o)); /* gW and gD; the fold's copies of two moments */
    }
#undef TAKE
    return at;
}

static void describe(sd_trans *t, const sd_exec *ex, const sd_dict_train_opt *opt)
{
    *t = (sd_trans){.opt = *opt, .skip = opt->kind == SD_DICT_SKIP_TRANSCODER, .n_workers = ex->n_threads, .kern = ex->kern,
                    .kd = sd_kern_dict_select(ex->kern->cpu_flags)};
    sd_step__defaults(&t->opt);
    const int64_t o = t->opt.d_out, B = t->opt.batch;
    t->n_step = t->opt.n_tokens / B > 0 ? t->opt.n_tokens / B : 1;
    t->n_chunk = (t->opt.m + SD_TRANS_CHUNK - 1) / SD_TRANS_CHUNK;
    t->cap = 4 * (int64_t)sd_step__most_k(&t->opt) * B; /* room for a cut that lets four times too many pass */
    t->prod_bytes = t->skip ? sd_prod_scratch(ex, B > o ? B : o, B > t->opt.d ? B : t->opt.d) : 0;
}

size_t sd_trans_plan(const sd_exec *ex, const sd_dict_train_opt *opt)
{
    sd_trans t;
    const sd_scan_how how = opt->proven ? SD_SCAN_PROVEN : SD_SCAN_INT8;
    describe(&t, ex, opt);
    return lay_out(&t, NULL) + sd_scan_plan(ex, t.opt.m, t.opt.d, 0, how) + sd_scan_reserve_plan(ex, how, t.opt.batch, t.cap);
}

sd_status sd_trans__new(sd_trans **out, const sd_exec *ex, const sd_dict_train_opt *opt, sd_err *err)
{
    sd_trans *t = NULL;
    *out = NULL;
    sd_status st = check_options(opt, err);
    if (!st) st = sd_alloc_zero(&t, sizeof *t, "a trainer", err);
    if (st) return st;
    describe(t, ex, opt);
    st = sd_step__check(&t->opt, t->n_step, err);
    if (!st) st = sd_scan_new(&t->scan, ex, t->opt.m, t->opt.d, 0, t->opt.proven ? SD_SCAN_PROVEN : SD_SCAN_INT8, err);
    if (!st) st = sd_scan_reserve(t->scan, t->opt.batch, t->cap, err);
    if (!st) st = sd_arena_init(&t->arena, lay_out(t, NULL), "a transcoder in training", err);
    if (st) {
        sd_trans_free(t);
        return st;
    }
    memset(t->arena.base, 0, t->arena.size);
    (void)lay_out(t, t->arena.base);
    t->pick = (sd_choice){.scan = t->scan, .kern = t->kern, .W = t->W.p, .b = t->b.p, .m = t->opt.m, .cap = t->cap, .n_step = t->n_step, .k = t->opt.k,
                          .ptr = t->ptr, .idx = t->idx, .val = t->val, .spare = t->spare, .floor = t->floor};
    const sd_ramp ramp = sd_trans__ramp(t);
    sd_ramp__rates(&ramp, t->rate);
    *out = t;
    return SD_OK;
}

sd_status sd_trans_new(sd_trans **out, const sd_exec *ex, const sd_dict_train_opt *opt, sd_err *err) { return sd_trans__new(out, ex, opt, err); }

void sd_trans_free(sd_trans *t)
{
    if (!t) return;
    sd_scan_free(t->scan);
    sd_arena_release(&t->arena);
    sd_free(t);
}

const sd_dict_train_opt *sd_trans_get_opt(const sd_trans *t) { return &t->opt; }
int64_t sd_trans_tokens(const sd_trans *t) { return t->n_tokens; }
int64_t sd_trans_silent(const sd_trans *t, int64_t n) { return sd_step__silent(t->last_fired, t->opt.m, t->n_tokens, n); }
double sd_trans_max_norm(const sd_trans *t) { return t->max_norm; }

/* Mean, scale and mean raw norm of one site's columns over the rows whose norm is at most t->max_norm. */
static sd_status estimate(double *mean, double *scale, double *rms, const sd_trans *t, sd_mat x, const float *norm, sd_err *err)
{
    const int64_t w = x.cols;
    double spread = 0, raw = 0;
    int64_t n = 0;
    memset(mean, 0, (size_t)w * sizeof *mean);
    for (int64_t r = 0; r < x.rows; r++) {
        if ((double)norm[r] > t->max_norm) continue;
        for (int64_t i = 0; i < w; i++) mean[i] += (double)sd_mat_row(x, r)[i];
        raw += sd_step__norm(sd_mat_row(x, r), NULL, w);
        n++;
    }
    for (int64_t i = 0; i < w; i++) mean[i] = t->opt.without & SD_WITHOUT_CENTRING ? 0 : mean[i] / (double)n;
    for (int64_t r = 0; r < x.rows; r++)
        if ((double)norm[r] <= t->max_norm) spread += sd_step__norm(sd_mat_row(x, r), mean, w);
    spread /= (double)n;
    if (!(spread > 1e-30 && isfinite(spread)))
        return sd_fail(err, SD_E_FORMAT, "the %" PRId64 " activations to calibrate on are all the same or not finite", x.rows);
    *scale = t->opt.without & SD_WITHOUT_SCALING ? 1 : sqrt((double)w) / spread;
    *rms = raw / (double)n;
    return SD_OK;
}

sd_status sd_trans_calibrate(sd_trans *t, const sd_exec *ex, sd_mat xy, sd_err *err)
{
    const int64_t d = t->opt.d, o = t->opt.d_out, n = xy.rows;
    float *norm = NULL;
    double *mean = NULL;
    if (xy.cols != d + o || n < 2) return sd_fail(err, SD_E_SHAPE, "%" PRId64 " rows of width %" PRId64 " cannot calibrate a transcoder from width %" PRId64 " to %" PRId64 "", n, xy.cols, d, o);
    sd_status st = sd_alloc(&norm, (size_t)n * 2 * sizeof *norm, "norms", err);
    if (!st) st = sd_alloc_zero(&mean, (size_t)(d + o) * sizeof *mean, "a mean", err);
    if (st) goto done;
    for (int64_t r = 0; r < n; r++) norm[r] = norm[n + r] = (float)sd_step__norm(sd_mat_row(xy, r), NULL, d + o);
    t->max_norm = t->opt.without & SD_WITHOUT_SINK_FILTER ? DBL_MAX : SD_SINK_FACTOR * sd_median_f32(norm + n, n);
    st = estimate(mean, &t->scale, &t->rms, t, (sd_mat){xy.data, n, d, xy.ld}, norm, err);
    if (!st) st = estimate(mean + d, &t->scale_out, &t->out_rms, t, (sd_mat){xy.data + d, n, o, xy.ld}, norm, err);
    if (st) goto done;
    for (int64_t i = 0; i < d + o; i++) t->mean[i] = (float)mean[i];
    sd_step__unit_rows(ex, &(sd_rows_draw){t->W.p, t->opt.m, d, SD_TRANS_CHUNK, t->opt.seed, "dict init"});
    if (t->opt.frozen_decoder) sd_step__unit_rows(ex, &(sd_rows_draw){t->D.p, t->opt.m, o, SD_TRANS_CHUNK, t->opt.seed, "dict init decoder"});
    t->ready = true;
done:
    sd_free(norm);
    sd_free(mean);
    return st;
}
