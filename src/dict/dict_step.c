#include "dict/dict_step.h"
#include "base/par.h"
#include "num/kern.h"
#include "num/stats.h"
#include <math.h>
#include <string.h>

enum { DEFAULT_K = 32, DEFAULT_BATCH = 2048, MIN_STEPS = 500, MIN_BATCH = 64, MOST_SCANS = 40, STEPS = 8, FIRST_ROWS = 64 };
static const int64_t DEAD_TOKENS = 10000000; /* Gao et al. 2024; dictionary_learning's default too */
static const double BASE_LR = 1.2e-3;        /* at BASE_WIDTH features; measured, see docs/DICT.md */
static const double BASE_WIDTH = 16384;
/* Transcoders: no norm is held and the best are of a batch, so a row may take hundreds of entries, whose steps add up: each moves its pre-activation by about
 * rate |x|_1, which grows with d. 6e-4 at d 576; what is higher overshoots on such rows, at any width up to 16,384 (docs/DICT.md). */
static const double TRANS_LR = 0.35;
static const double THETA_RATE = 0.01;       /* a step: sae-lens' topk_threshold_lr */
static const double THETA_SHARE = 20;        /* of 47 steps the plain rate would remember the first: L0 3.8 for k 32 (d 576, m 16,384) */
static const double CUT_SHARE = 0.9;         /* of the last value: batches of 2,048 differ by a few percent of it */

const double sd_train__beta1 = 0.9, sd_train__beta2 = 0.999, sd_train__eps = 1e-8;

void sd_step__defaults(sd_dict_train_opt *o)
{
    if (!o->k) o->k = DEFAULT_K;
    if (o->k > o->m) o->k = (int)o->m;
    if (!o->batch) {
        o->batch = DEFAULT_BATCH;
        while (o->batch > MIN_BATCH && o->n_tokens / o->batch < MIN_STEPS) o->batch /= 2;
    }
    if (o->lr <= 0 && sd_dict_kind_maps(o->kind)) o->lr = TRANS_LR / (double)(o->d < 64 ? 64 : o->d) * sqrt(BASE_WIDTH / ((double)o->m < BASE_WIDTH ? BASE_WIDTH : (double)o->m));
    if (o->lr <= 0) o->lr = BASE_LR * sqrt(BASE_WIDTH / (double)(o->m < 1024 ? 1024 : o->m)); /* lr ~ 1 / sqrt(m): Gao et al. 2024, and dictionary_learning's default */
    if (!o->dead_after) o->dead_after = o->n_tokens / 4 < DEAD_TOKENS ? o->n_tokens / 4 : DEAD_TOKENS;
    if (o->warmup == 0) o->warmup = 0.05;
    if (o->decay == 0) o->decay = 0.2;
}

const char *sd_rest_name(sd_rest r)
{
    static const char *const name[SD_REST_COUNT] = {"drift", "sparse", "dense"};
    return name[r];
}

const char *sd_without_name(int i)
{
    static const char *const name[SD_WITHOUT_COUNT] = {"centring", "scaling", "sink-filter", "special-filter", "shuffle", "tied-init", "unit-decoder", "parallel-grad", "aux-k"};
    return name[i];
}

int sd_step__k(const sd_dict_train_opt *o, int64_t step)
{
    if (o->k_anneal <= 0 || step >= o->k_anneal) return o->k;
    return o->k_start + (int)lround((double)(o->k - o->k_start) * (double)step / (double)o->k_anneal);
}

int64_t sd_step__silent(const int64_t *last_fired, int64_t m, int64_t n_tokens, int64_t n)
{
    int64_t silent = 0;
    for (int64_t f = 0; f < m; f++) silent += last_fired[f] == 0 || last_fired[f] + n < n_tokens;
    return silent;
}

sd_status sd_step__check(const sd_dict_train_opt *o, int64_t n_step, sd_err *err)
{
    enum { MOST_STEPS = 1 << 24 }; /* each has its rate in memory: a second and 128 MB */
    if (n_step > MOST_STEPS) {
        (void)sd_fail(err, SD_E_ARG, "a run of %lld steps is impossible, at most %d", (long long)n_step, MOST_STEPS);
        return sd_hint(err, "a larger batch makes fewer steps of as many tokens");
    }
    if (o->k_start < 0 || o->k_start > o->m || o->k_anneal < 0 || o->sparsity_warmup < 0)
        return sd_fail(err, SD_E_ARG, "a k of %d to begin with, of %lld features, is impossible", o->k_start, (long long)o->m);
    if (o->k_anneal > 0 && o->k_start == 0) return sd_fail(err, SD_E_ARG, "k anneals over %lld steps, but from which k is not said", (long long)o->k_anneal);
    if (o->k_start > 0 && o->k_anneal == 0) return sd_fail(err, SD_E_ARG, "k begins at %d, but in how many steps it becomes %d is not said", o->k_start, o->k);
    if (o->k_anneal >= n_step || o->sparsity_warmup >= n_step) {
        (void)sd_fail(err, SD_E_ARG, "the run has %lld steps, annealing would take %lld", (long long)n_step, (long long)(o->k_anneal >= n_step ? o->k_anneal : o->sparsity_warmup));
        return sd_hint(err, "anneal over a part of the run, so that the rest trains what is kept");
    }
    return SD_OK;
}

double sd_ramp__at(const sd_ramp *r, int64_t step)
{
    const double n = (double)r->n_step, s = (double)step;
    double f = 1;
    if (r->warmup > 0 && s < r->warmup * n) f = s / (r->warmup * n);
    if (r->decay > 0 && n - s + 1 < r->decay * n) f = fmin(f, (n - s + 1) / (r->decay * n));
    return r->lr * (f > 0 ? f : 0);
}

void sd_ramp__rates(const sd_ramp *r, double *rate)
{
    for (int64_t s = 1; s <= r->n_step + 1; s++)
        rate[s] = sd_ramp__at(r, s) * sqrt(1 - pow(sd_train__beta2, (double)s)) / (1 - pow(sd_train__beta1, (double)s));
}

sd_adam_k sd_ramp__adam(const sd_ramp *r, int64_t step)
{
    const double b1 = sd_train__beta1, b2 = sd_train__beta2, n = (double)step;
    return (sd_adam_k){(float)b1, (float)b2, (float)(1 - b1), (float)(1 - b2), (float)(sd_ramp__at(r, step) / (1 - pow(b1, n))),
                       (float)(1 / sqrt(1 - pow(b2, n))), (float)sd_train__eps};
}

double sd_step__norm(const float *x, const double *mean, int64_t d)
{
    double s = 0;
    for (int64_t i = 0; i < d; i++) {
        const double v = (double)x[i] - (mean ? mean[i] : 0);
        s += v * v;
    }
    return sqrt(s);
}

static void unit_rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const sd_rows_draw *j = arg;
    (void)chunk;
    for (int64_t f = begin; f < end; f++) {
        sd_rng r = sd_rng_make(j->seed, j->stream, (uint64_t)f);
        float *row = j->W + f * j->d;
        for (int64_t i = 0; i < j->d; i++) row[i] = sd_rng_normal(&r);
        const double norm = sd_step__norm(row, NULL, j->d);
        for (int64_t i = 0; i < j->d; i++) row[i] = (float)((double)row[i] / norm);
    }
}

void sd_step__unit_rows(const sd_exec *ex, const sd_rows_draw *r)
{
    sd_rows_draw j = *r;
    sd_parallel_for(ex->n_threads, r->m, r->chunk, unit_rows, &j);
}

void sd_step__catch_up(const sd_idle *i, int64_t last, int64_t now, float *p, float *m, float *v, int64_t n)
{
    const int64_t idle = now - last;
    const double r = sd_train__beta1 / sqrt(sd_train__beta2);
    double sum = 0, power = 1;
    if (last == 0 || idle <= 0 || i->rest == SD_REST_SPARSE) return;
    for (int64_t j = 1; j <= idle && j <= SD_TRAIN_MEMORY; j++) {
        power *= r;
        sum += i->rate[last + j < i->n_step ? last + j : i->n_step] * power;
    }
    const double eps = sd_train__eps * sqrt((1 - pow(sd_train__beta2, (double)(last + 1))) / sd_train__beta2); /* against sqrt(v) as it was: that of the first step, which moves most */
    const float k[4] = {(float)sum, (float)eps, (float)pow(sd_train__beta1, (double)idle), (float)pow(sd_train__beta2, (double)idle)};
    i->kd->idle(p, m, v, k, n);
}

void sd_choice__audit(sd_choice *c, const sd_exec *ex, sd_mat x, const int64_t *ptr, int64_t step)
{
    if (!sd_scan_is_int8(c->scan) || c->frozen || step % SD_TRAIN_AUDIT_STEPS != 1) return;
    const int64_t n = x.rows, rows = n < SD_TRAIN_AUDIT_ROWS ? n : SD_TRAIN_AUDIT_ROWS, r0 = (int64_t)((uint64_t)step * 2654435761u % (uint64_t)(n - rows + 1));
    const sd_scan_audit a = sd_scan_check(c->scan, ex, x, c->idx, ptr, r0, rows);
    c->n_audited += a.n_right;
    c->n_missed += a.n_missed;
}

/* Where the first scan cuts: what k m' / m of a few rows' first m' features exceed, as many as the spare list holds. */
static double first_cut(const sd_choice *c, sd_mat x)
{
    const int64_t d = x.cols, some = c->m < c->cap ? c->m : c->cap, fit = c->cap / some < FIRST_ROWS ? c->cap / some : FIRST_ROWS;
    const int64_t rows = fit < x.rows ? fit : x.rows, share = rows * c->k * some / c->m, count = share > 0 ? share : 1;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t f = 0; f < some; f++) c->spare[r * some + f] = c->kern->dot(sd_mat_row(x, r), c->W + f * d, d) + c->b[f];
    const float v = sd_select_f32(c->spare, rows * some, count < rows * some ? rows * some - count : 0);
    return v > 0 ? (double)v : 0;
}

/* The `want` largest of n rows' lists, in place; ties at the last value go to the first of them. Returns the smallest that stayed. */
static float keep_best(const sd_choice *c, int64_t n, int64_t want)
{
    const int64_t all = c->ptr[n];
    float last = 0.0f, least = 0.0f;
    int64_t ties = 0, o = 0;
    if (all > want) {
        memcpy(c->spare, c->val, (size_t)all * sizeof *c->val);
        last = sd_select_f32(c->spare, all, all - want);
        ties = want;
        for (int64_t i = 0; i < all; i++) ties -= c->val[i] > last;
    }
    for (int64_t r = 0, i = 0; r < n; r++) {
        const int64_t end = c->ptr[r + 1];
        for (c->ptr[r] = o; i < end; i++) {
            if (!(c->val[i] > last || (c->val[i] == last && ties-- > 0))) continue;
            c->idx[o] = c->idx[i];
            c->val[o] = c->val[i];
            if (least == 0.0f || c->val[o] < least) least = c->val[o];
            o++;
        }
    }
    c->ptr[n] = o;
    return least;
}

static void follow(sd_choice *c, float least, int64_t step)
{
    const double of_run = THETA_SHARE / (double)c->n_step, rate = of_run > 1 ? 1 : of_run > THETA_RATE ? of_run : THETA_RATE;
    if (c->frozen) return;
    c->theta = step <= 1 || c->theta == 0 ? (double)least : c->theta + rate * ((double)least - c->theta);
    c->cut = CUT_SHARE * (double)least;
}

sd_status sd_choice__best(sd_choice *c, const sd_exec *ex, sd_mat x, int64_t step, int64_t *bad, sd_err *err)
{
    const int64_t n = x.rows, want = n * c->k;
    double low = -1, high = -1, cut = c->cut > 0 ? c->cut : CUT_SHARE * first_cut(c, x);
    for (int i = 0; i < MOST_SCANS; i++) {
        sd_scan_list list = {c->idx, c->val, c->ptr, c->cap};
        for (int64_t f = 0; f < c->m; f++) c->floor[f] = (float)cut;
        sd_scan_repack(c->scan, ex, c->W, c->b, c->floor);
        const bool fits = sd_scan_above_into(c->scan, ex, &list, x, NULL, bad);
        if (*bad >= 0) return SD_OK;
        if (fits && (c->ptr[n] >= want || cut <= 0)) {
            sd_choice__audit(c, ex, x, c->ptr, step);
            follow(c, keep_best(c, n, want), step);
            return SD_OK;
        }
        if (fits) high = cut;
        else low = cut;
        /* Away from the last cut in steps, then in strides: a batch may have fewer values above 0 than are wanted, and then all of them are taken. */
        cut = low >= 0 && high >= 0 ? 0.5 * (low + high) : low >= 0 ? (i < STEPS ? 1.25 : 4) * low + 1e-3 : i < STEPS ? 0.8 * high : 0;
    }
    return sd_fail(err, SD_E_FAIL, "step %lld: no value separates the best %lld activations of the batch from four times as many: its rows are too much alike",
                   (long long)step, (long long)want);
}

sd_status sd_parts__write(const char *path, const sd_part *p, int n, sd_err *err)
{
    sd_st_tensor t[SD_PARTS];
    SD_ASSERT(n <= SD_PARTS);
    for (int i = 0; i < n; i++) t[i] = (sd_st_tensor){p[i].name, p[i].dtype, p[i].cols ? 2 : 1, {p[i].rows, p[i].cols}, p[i].data};
    return sd_safetensors_write(path, t, n, NULL, err);
}

sd_status sd_parts__read(const sd_weights *w, const sd_part *p, int n, sd_err *err)
{
    for (int i = 0; i < n; i++) {
        const sd_tensor *t = sd_weights_find(w, p[i].name);
        if (!t || t->dtype != p[i].dtype || t->rank != (p[i].cols ? 2 : 1) || t->dim[0] != p[i].rows || (p[i].cols && t->dim[1] != p[i].cols))
            return sd_fail(err, SD_E_FORMAT, "%s: the tensor %s is missing or has another shape: this is no checkpoint of this kind", sd_weights_path(w), p[i].name);
        if (p[i].data) memcpy(p[i].data, t->data, t->bytes);
    }
    return SD_OK;
}

sd_status sd_parts__check_rows(const char *path, const sd_kern *k, const float *W, const int32_t *last_step, int64_t step, const sd_dict_train_opt *o, sd_err *err)
{
    for (int64_t f = 0; f < o->m; f++)
        if (last_step[f] < 0 || last_step[f] > step || !isfinite(k->dot(W + f * o->d, W + f * o->d, o->d)))
            return sd_fail(err, SD_E_FORMAT, "%s: feature %lld of the checkpoint makes no sense", path, (long long)f);
    return SD_OK;
}
