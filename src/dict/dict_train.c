/* Owns the trainer's life: options, the one plan of memory, calibration, the order of a step. A step allocates nothing and
 * changes no weight before the loss is known to be finite. */
#include "dict/dict_train_int.h"
#include "base/par.h"
#include "num/stats.h"
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

static const double BANDWIDTH = 0.5;          /* of JumpReLU's straight-through window; pre-activations of unit rows have a spread of about 1 */
static const double FIRST_WEIGHT = 0.1;       /* of a penalty, before it is steered */
static const double STEER = 10;               /* how far log weight can move in a run for log(L0 / k) = 1, at least 0.01 a step */
static const double STEER_MOVED = 1;          /* and with a change of log L0 */

int64_t sd_train__row_chunks(const sd_dict_train *t) { return (t->opt.batch + SD_TRAIN_ROWS - 1) / SD_TRAIN_ROWS; }

static sd_dict_train_opt resolve(const sd_dict_train_opt *in)
{
    sd_dict_train_opt o = *in;
    sd_step__defaults(&o);
    if (o.aux_alpha == 0) o.aux_alpha = 1.0 / 32;
    if (sd_gate__of(o.kind) || o.without & SD_WITHOUT_AUX_K) o.aux_alpha = -1; /* a penalty's definition has no auxiliary loss */
    if (o.bandwidth <= 0) o.bandwidth = BANDWIDTH;
    if (o.exact_until <= 0) o.exact_until = 0.05;
    if (o.exact_from <= 0) o.exact_from = 1;
    if (!o.in_turn) o.in_turn = 8;
    if (o.routes && !o.listed) {
        const int64_t least = 8 * (int64_t)sd_step__most_k(&o);
        o.listed = o.m / 64 > least ? o.m / 64 : least < o.m ? least : o.m;
    }
    if (!o.aux_k) o.aux_k = (int)(o.d / 2 > 0 ? o.d / 2 : 1);
    return o;
}

static sd_status check_options(const sd_dict_train_opt *o, sd_err *err)
{
    if (o->kind < 0 || o->kind >= SD_DICT_ENCODER_COUNT) return sd_fail(err, SD_E_ARG, "kind %d of dictionaries is unknown", (int)o->kind);
    if (o->k > o->m) {
        (void)sd_fail(err, SD_E_ARG, "k %d of %" PRId64 " features: there cannot be more active features than there are features", o->k, o->m);
        return sd_hint(err, "take a smaller k or a larger width");
    }
    if (o->d < 1 || o->m < 1 || o->d > 1 << 20 || o->m >= INT32_MAX || o->k < 0 || o->batch < 0 || o->batch > 1 << 24 || o->n_tokens < 1)
        return sd_fail(err, SD_E_ARG, "a dictionary of %" PRId64 " features of width %" PRId64 " with k %d, batches of %" PRId64 " and %" PRId64 " tokens is impossible",
                       o->m, o->d, o->k, o->batch, o->n_tokens);
    if (o->without & SD_WITHOUT_UNIT_DECODER && (o->kind == SD_DICT_STANDARD || o->kind == SD_DICT_GATED)) {
        (void)sd_fail(err, SD_E_ARG, "without unit decoder rows a %s dictionary escapes its penalty: activations shrink and the rows grow", sd_dict_kind_name(o->kind));
        return sd_hint(err, "the kinds that choose by rank can be trained so, and jumprelu");
    }
    return SD_OK;
}

sd_ramp sd_train__ramp(const sd_dict_train *t) { return (sd_ramp){t->opt.lr, t->opt.warmup, t->opt.decay, t->n_step}; }

double sd_train__lr(const sd_dict_train *t, int64_t step)
{
    const sd_ramp r = sd_train__ramp(t);
    return sd_ramp__at(&r, step);
}

/* The one list of what the arena holds; with base NULL it only counts. */
static size_t lay_out(sd_dict_train *t, uint8_t *base)
{
    const int64_t m = t->opt.m, d = t->opt.d, B = t->opt.batch, E = t->cap_ent, md = m * d, rc = sd_train__row_chunks(t);
    size_t at = 0;
#define TAKE(p, n) SD_TAKE(base, at, p, n)
    TAKE(t->W, md), TAKE(t->D, md), TAKE(t->b, m), TAKE(t->bd, d);
    for (int i = 0; i < 2; i++) {
        sd_moments *mo = i ? &t->moD : &t->moW;
        if (t->opt.moments8)
            TAKE(mo->qm, md), TAKE(mo->qv, md), TAKE(mo->scale, 2 * m);
        else
            TAKE(mo->m, md), TAKE(mo->v, md);
    }
    TAKE(t->mb, m), TAKE(t->vb, m), TAKE(t->mbd, d), TAKE(t->vbd, d);
    TAKE(t->last_step, m), TAKE(t->last_fired, m), TAKE(t->top, m), TAKE(t->mean, d);
    TAKE(t->x, B * d), TAKE(t->e, t->n_level * B * d), TAKE(t->ptr, B + 1), TAKE(t->idx, E), TAKE(t->val, E), TAKE(t->dz, E);
    TAKE(t->col, m + 1), TAKE(t->ent_row, E), TAKE(t->ent_z, E), TAKE(t->ent_dz, E);
    if (t->opt.kind != SD_DICT_TOPK || t->opt.k_anneal > 0) TAKE(t->spare, E), TAKE(t->floor, m);
    if (t->gate) TAKE(t->ent_at, E), TAKE(t->db, E);
    if (t->gate && t->gate->second) TAKE(t->ea, B * d);
    for (int i = 0; i < SD_GATE_OWN; i++)
        if (t->gate && t->gate->own[i]) TAKE(t->own[i], m), TAKE(t->mown[i], m), TAKE(t->vown[i], m), TAKE(t->gown[i], m), TAKE(t->down[i], E);
    TAKE(t->sums, rc), TAKE(t->row_e, rc * d), TAKE(t->row_x, rc * d);
    TAKE(t->part_bd, t->n_chunk * d), TAKE(t->part_norm, t->n_chunk), TAKE(t->gb, m), TAKE(t->gs, m), TAKE(t->gbd, d);
    TAKE(t->rate, t->n_step + 2);
    TAKE(t->grad, t->n_workers);
    for (int i = 0; i < t->n_workers; i++) {
        float *none, **g = base ? &t->grad[i] : &none;
        TAKE(*g, 4 * d);
    }
#undef TAKE
    at += sd_train__aux_lay_out(t, base ? base + at : NULL);
    at += sd_train__route_lay_out(t, base ? base + at : NULL);
    return at + sd_train__dense_lay_out(t, base ? base + at : NULL);
}

/* Groups that double: prefixes of 1, 3, 7, 15 parts in 32 and all (the 65,536-feature dictionaries of arXiv 2503.17547). */
static void set_levels(sd_dict_train *t)
{
    static const int part[SD_TRAIN_LEVELS] = {1, 3, 7, 15, 32};
    t->n_level = 0;
    for (int i = 0; i < SD_TRAIN_LEVELS; i++) {
        const int64_t at = t->opt.m * part[i] / 32;
        if (at > (t->n_level ? t->level[t->n_level - 1] : 0)) t->level[t->n_level++] = at;
    }
}

static void describe(sd_dict_train *t, const sd_exec *ex, const sd_dict_train_opt *opt)
{
    *t = (sd_dict_train){.opt = resolve(opt), .n_workers = ex->n_threads, .kern = ex->kern, .kd = sd_kern_dict_select(ex->kern->cpu_flags), .kt = sd_kern_train_select(ex->kern->cpu_flags)};
    const int64_t m = t->opt.m, even = (m + SD_TRAIN_MAX_CHUNKS - 1) / SD_TRAIN_MAX_CHUNKS;
    t->n_step = t->opt.n_tokens / t->opt.batch > 0 ? t->opt.n_tokens / t->opt.batch : 1;
    t->chunk = even > SD_TRAIN_MIN_CHUNK ? even : SD_TRAIN_MIN_CHUNK;
    t->gate = sd_gate__of(t->opt.kind);
    if (t->gate) t->chunk = SD_SCAN_BLOCK; /* the dense products' blocks */
    /* By batch: room for a cut that lets four times too many pass. Gates: below d/4 active features sparse products are the cheaper ones. */
    t->cap_ent = t->opt.batch * (t->gate ? (t->opt.d / 4 > 1 ? t->opt.d / 4 : 1) : (sd_train__by_batch(t->opt.kind) ? 4 : 1) * (int64_t)sd_step__most_k(&t->opt));
    t->weight = t->gate ? (t->opt.sparsity > 0 ? t->opt.sparsity : FIRST_WEIGHT) : 0;
    t->n_level = 1;
    t->level[0] = m;
    if (t->opt.kind == SD_DICT_MATRYOSHKA) set_levels(t);
    t->n_chunk = (m + t->chunk - 1) / t->chunk;
}

static int most_chosen(const sd_dict_train_opt *o) { return o->kind == SD_DICT_TOPK ? sd_step__most_k(o) : 0; }
static sd_scan_how how_to_scan(const sd_dict_train_opt *o) { return o->proven ? SD_SCAN_PROVEN : o->routes ? SD_SCAN_LISTED : SD_SCAN_INT8; }

size_t sd_dict_train_plan(const sd_exec *ex, const sd_dict_train_opt *opt)
{
    sd_dict_train t;
    describe(&t, ex, opt);
    /* What packs weights lays itself out once its products exist. Where they cannot be made the trainer will say so. */
    if (!sd_train__aux_new(&t, ex, NULL) && t.gate) (void)sd_train__dense_new(&t, ex, NULL);
    size_t bytes = lay_out(&t, NULL) + sd_scan_plan(ex, t.opt.m, t.opt.d, most_chosen(&t.opt), how_to_scan(&t.opt));
    if (t.opt.kind != SD_DICT_TOPK) bytes += sd_scan_reserve_plan(ex, how_to_scan(&t.opt), t.opt.batch, t.cap_ent);
    if (t.opt.routes) bytes += sd_scan_plan(ex, t.opt.routes, t.opt.d, 1, SD_SCAN_INT8);
    sd_train__aux_free(&t);
    sd_train__dense_free(&t);
    return bytes;
}

sd_status sd_train__new(sd_dict_train **out, const sd_exec *ex, const sd_dict_train_opt *opt, sd_err *err)
{
    sd_dict_train *t = NULL;
    *out = NULL;
    sd_status st = check_options(opt, err);
    if (!st) st = sd_alloc_zero(&t, sizeof *t, "a trainer", err);
    if (st) return st;
    describe(t, ex, opt);
    st = sd_step__check(&t->opt, t->n_step, err);
    if (!st) st = sd_train__route_check(&t->opt, err);
    if (!st) st = sd_train__route_new(t, ex, err);
    if (!st) st = sd_train__aux_new(t, ex, err);
    if (!st && t->gate) st = sd_train__dense_new(t, ex, err);
    if (!st) st = sd_scan_new(&t->scan, ex, t->opt.m, t->opt.d, most_chosen(&t->opt), how_to_scan(&t->opt), err);
    if (!st && t->opt.kind != SD_DICT_TOPK) st = sd_scan_reserve(t->scan, t->opt.batch, t->cap_ent, err);
    if (!st) st = sd_arena_init(&t->arena, lay_out(t, NULL), "a dictionary in training", err);
    if (st) {
        sd_dict_train_free(t);
        return st;
    }
    memset(t->arena.base, 0, t->arena.size);
    (void)lay_out(t, t->arena.base);
    t->pick = (sd_choice){.scan = t->scan, .kern = t->kern, .W = t->W, .b = t->b, .m = t->opt.m, .cap = t->cap_ent, .n_step = t->n_step, .k = t->opt.k,
                          .ptr = t->ptr, .idx = t->idx, .val = t->val, .spare = t->spare, .floor = t->floor};
    const sd_ramp ramp = sd_train__ramp(t);
    sd_ramp__rates(&ramp, t->rate);
    for (int64_t f = 0; f < t->opt.m && t->aux.slot; f++) t->aux.slot[f] = -1;
    *out = t;
    return SD_OK;
}

sd_status sd_dict_train_new(sd_dict_train **out, const sd_exec *ex, const sd_dict_train_opt *opt, sd_err *err) { return sd_train__new(out, ex, opt, err); }

void sd_dict_train_free(sd_dict_train *t)
{
    if (!t) return;
    sd_train__aux_free(t);
    sd_train__route_free(t);
    sd_train__dense_free(t);
    sd_scan_free(t->scan);
    sd_arena_release(&t->arena);
    sd_free(t);
}

const sd_dict_train_opt *sd_dict_train_get_opt(const sd_dict_train *t) { return &t->opt; }
int64_t sd_dict_train_tokens(const sd_dict_train *t) { return t->n_tokens; }
int64_t sd_dict_train_silent(const sd_dict_train *t, int64_t n) { return sd_step__silent(t->last_fired, t->opt.m, t->n_tokens, n); }
double sd_dict_train_max_norm(const sd_dict_train *t) { return t->max_norm; }

/* Mean of the kept rows, then the mean norm around it, both in double and in order. */
static sd_status estimate(sd_dict_train *t, sd_mat x, const float *norm, double *mean, sd_err *err)
{
    const int64_t d = t->opt.d;
    double spread = 0, raw = 0;
    int64_t n = 0;
    for (int64_t r = 0; r < x.rows; r++) {
        if ((double)norm[r] > t->max_norm) continue;
        for (int64_t i = 0; i < d; i++) mean[i] += (double)sd_mat_row(x, r)[i];
        raw += (double)norm[r];
        n++;
    }
    for (int64_t i = 0; i < d; i++) mean[i] = t->opt.without & SD_WITHOUT_CENTRING ? 0 : mean[i] / (double)n;
    for (int64_t r = 0; r < x.rows; r++)
        if ((double)norm[r] <= t->max_norm) spread += sd_step__norm(sd_mat_row(x, r), mean, d);
    if (!(spread / (double)n > 1e-30 && isfinite(spread)))
        return sd_fail(err, SD_E_FORMAT, "the %" PRId64 " activations to calibrate on are all the same or not finite", x.rows);
    t->scale = t->opt.without & SD_WITHOUT_SCALING ? 1 : sqrt((double)d) / (spread / (double)n);
    t->site_rms = raw / (double)n;
    for (int64_t i = 0; i < d; i++) t->mean[i] = (float)mean[i];
    return SD_OK;
}

/* JumpReLU begins where 4 k features of a row are active, so that its straight-through window has rows in it. A sink's pre-activations are tens of
 * times as large: half of its m features would be all that is above the threshold. */
static sd_status first_threshold(sd_dict_train *t, const sd_exec *ex, sd_mat x, const float *norm, sd_err *err)
{
    enum { ROWS = 64 };
    const int64_t d = t->opt.d, most = ROWS < t->opt.batch ? ROWS : t->opt.batch, each = 4 * (int64_t)t->opt.k;
    float *raw = NULL, *spare = NULL;
    int64_t rows = 0;
    sd_status st = sd_alloc(&raw, (size_t)(most * d) * sizeof *raw, "rows to begin with", err);
    if (!st) st = sd_alloc(&spare, (size_t)(most * t->opt.m) * sizeof *spare, "pre-activations to begin with", err);
    if (st) goto done;
    for (int64_t r = 0; r < x.rows && rows < most; r++)
        if ((double)norm[r] <= t->max_norm) memcpy(raw + rows++ * d, sd_mat_row(x, r), (size_t)d * sizeof *raw);
    sd_train__centre(t, ex, sd_mat_of(raw, rows, d));
    float at = sd_train__value_at(t, rows, rows * (each < t->opt.m / 2 ? each : t->opt.m / 2), spare);
    if (at < 0.5f * (float)t->opt.bandwidth) at = 0.5f * (float)t->opt.bandwidth;
    for (int64_t f = 0; f < t->opt.m; f++) t->own[0][f] = at;
done:
    sd_free(raw);
    sd_free(spare);
    return st;
}

sd_status sd_dict_train_calibrate(sd_dict_train *t, const sd_exec *ex, sd_mat x, sd_err *err)
{
    const int64_t d = t->opt.d, n = x.rows;
    float *norm = NULL, *sorted = NULL;
    double *mean = NULL;
    if (x.cols != d || n < 2) return sd_fail(err, SD_E_SHAPE, "%" PRId64 " rows of width %" PRId64 " cannot calibrate a dictionary of width %" PRId64 "", n, x.cols, d);
    sd_status st = sd_alloc(&norm, (size_t)n * sizeof *norm, "norms", err);
    if (!st) st = sd_alloc(&sorted, (size_t)n * sizeof *sorted, "norms", err);
    if (!st) st = sd_alloc_zero(&mean, (size_t)d * sizeof *mean, "a mean", err);
    if (st) goto done;
    for (int64_t r = 0; r < n; r++) sorted[r] = norm[r] = (float)sd_step__norm(sd_mat_row(x, r), NULL, d);
    t->max_norm = t->opt.without & SD_WITHOUT_SINK_FILTER ? DBL_MAX : SD_SINK_FACTOR * sd_median_f32(sorted, n);
    st = estimate(t, x, norm, mean, err);
    if (st) goto done;
    sd_step__unit_rows(ex, &(sd_rows_draw){t->D, t->opt.m, d, t->chunk, t->opt.seed, "dict init"});
    if (t->opt.without & SD_WITHOUT_TIED_INIT) sd_step__unit_rows(ex, &(sd_rows_draw){t->W, t->opt.m, d, t->chunk, t->opt.seed, "dict init encoder"});
    else memcpy(t->W, t->D, (size_t)(t->opt.m * d) * sizeof *t->W);
    if (t->opt.kind == SD_DICT_JUMPRELU) st = first_threshold(t, ex, x, norm, err);
    if (!st) st = sd_train__route_seed(t, x, err);
    t->ready = !st;
done:
    sd_free(norm);
    sd_free(sorted);
    sd_free(mean);
    return st;
}

void sd_dict_train_set_weights(sd_dict_train *t, const float *W_enc, const float *W_dec, const float *b_enc, const float *b_dec)
{
    const size_t m = (size_t)t->opt.m, d = (size_t)t->opt.d;
    SD_ASSERT(t->ready && t->step == 0);
    memcpy(t->W, W_enc, m * d * sizeof(float));
    memcpy(t->D, W_dec, m * d * sizeof(float));
    memcpy(t->b, b_enc, m * sizeof(float));
    memcpy(t->bd, b_dec, d * sizeof(float));
}

/* Steers the penalty's weight towards k active features. The count follows the weight slowly, so its movement counts too: without the
 * second term standard and gated swing between 3 and 180 active features for k 32. */
static void steer_weight(sd_dict_train *t, double l0)
{
    const double off = log((l0 > 1e-3 ? l0 : 1e-3) / (double)sd_step__k(&t->opt, t->step)), rate = STEER / (double)t->n_step;
    if (!t->gate || t->opt.sparsity > 0 || t->tap) return;
    const double moved = t->step > 1 ? off - t->off : 0;
    t->weight *= exp((rate > 0.01 ? rate : 0.01) * (off > 1 ? 1 : off < -1 ? -1 : off) + STEER_MOVED * (moved > 1 ? 1 : moved < -1 ? -1 : moved));
    t->off = off;
}

/* Forward, auxiliary loss, backward, in this order; t->step and t->n_tokens are already this step's. */
static sd_status run_step(sd_dict_train *t, const sd_exec *ex, sd_mat x, sd_dict_stats *out, sd_err *err)
{
    const int64_t n = x.rows;
    int64_t bad = -1;
    bool dense = t->gate && !t->sparse;
    if (t->opt.sparsity > 0 && t->opt.sparsity_warmup > 0)
        t->weight = t->opt.sparsity * (t->step < t->opt.sparsity_warmup ? (double)t->step / (double)t->opt.sparsity_warmup : 1);
    sd_train__centre(t, ex, x);
    sd_train__move(t, ex);
    sd_status st = dense ? SD_OK : sd_train__pick(t, ex, n, &bad, t->gate ? NULL : err);
    if (st == SD_E_SHAPE && t->gate) { /* more active features than the lists hold */
        dense = true;
        st = SD_OK;
    }
    if (st) return st;
    if (bad >= 0) {
        out->n_nonfinite++;
        return sd_fail(err, SD_E_FAIL, "step %" PRId64 ": row %" PRId64 " of the batch holds a number that is not finite or too large", t->step, bad);
    }
    const sd_row_sums s = dense ? sd_train__dense_residual(t, ex, n) : sd_train__residual(t, ex, n);
    out->loss = (s.e2 + s.more2 + t->weight * s.penalty) / (double)n;
    if (!isfinite(out->loss)) {
        out->n_nonfinite++;
        (void)sd_fail(err, SD_E_FAIL, "step %" PRId64 ": the loss is not finite; the weights are those before the step", t->step);
        return sd_hint(err, "lower the learning rate (it was %g)", sd_train__lr(t, t->step));
    }
    out->fvu = s.e2 / sd_train__variance(t, n, &s);
    out->l0 = (double)s.n_active / (double)n;
    out->aux_loss = t->opt.aux_alpha > 0 ? sd_train__aux(t, ex, n) : 0;
    if (dense) {
        out->grad_norm = sqrt(sd_train__dense_update(t, ex, n));
    } else {
        sd_train__sort(t, n);
        out->grad_norm = sqrt(sd_train__update(t, ex, n));
    }
    t->sparse = out->l0 < 0.25 * (double)t->opt.d;
    steer_weight(t, out->l0);
    return SD_OK;
}

sd_status sd_dict_train_step(sd_dict_train *t, const sd_exec *ex, sd_mat x, sd_dict_stats *stats, sd_err *err)
{
    sd_dict_stats out = {0};
    SD_ASSERT(t->ready && x.cols == t->opt.d && x.rows >= 1 && x.rows <= t->opt.batch && ex->n_threads <= t->n_workers);
    sd_alloc_guard_begin("a training step");
    t->step++;
    t->n_tokens += x.rows;
    const sd_status st = run_step(t, ex, x, &out, err);
    if (st) {
        t->step--;
        t->n_tokens -= x.rows;
    }
    for (int64_t f = 0; f < t->opt.m; f++) out.n_dead += sd_train__is_dead(t, f);
    out.lr = sd_train__lr(t, t->step);
    out.step = t->step;
    out.n_tokens = t->n_tokens;
    out.n_audited = t->pick.n_audited;
    out.n_missed = t->pick.n_missed;
    if (stats) *stats = out;
    sd_alloc_guard_end();
    return st;
}
