/* Owns the choice of a batch's entries.
 *   topk        the k best of every row
 *   batchtopk, matryoshka   the n k best of the whole batch of n rows (Bussmann et al. 2024, arXiv 2412.06410); their smallest value,
 *               averaged over steps (0.01 a step, sae-lens' topk_threshold_lr; over a twentieth of a short run), becomes the threshold of the finished dictionary
 *   with a gate everything above the gate's floor
 * By batch: the scan collects what exceeds a cut a little below the last batch's smallest value. As long as it finds n k entries
 * they contain the n k best, so the choice is exact whatever the cut; otherwise the cut moves and the scan runs again. */
#include "dict/dict_train_int.h"
#include "num/kern.h"
#include "num/stats.h"
#include <string.h>

static const double THETA_RATE = 0.01;
static const double THETA_SHARE = 20; /* of 47 steps the plain rate would remember the first: L0 3.8 for k 32 (d 576, m 16,384) */
static const double CUT_SHARE = 0.9; /* of the last value: batches of 2,048 differ by a few percent of it */
enum { MOST_SCANS = 40, FIRST_ROWS = 64 };

float sd_train__value_at(sd_dict_train *t, int64_t n, int64_t count, float *spare)
{
    const int64_t m = t->opt.m, d = t->opt.d;
    for (int64_t r = 0; r < n; r++)
        for (int64_t f = 0; f < m; f++) spare[r * m + f] = t->kern->dot(t->x + r * d, t->W + f * d, d) + t->b[f];
    return sd_select_f32(spare, n * m, count < n * m ? n * m - count : 0);
}

/* Where the first scan cuts: what k m' / m of a few rows' first m' features exceed, as many as the spare list holds. */
static double first_cut(sd_dict_train *t, int64_t n)
{
    const int64_t m = t->opt.m, d = t->opt.d, some = m < t->cap_ent ? m : t->cap_ent, fit = t->cap_ent / some;
    const int64_t rows = fit < n ? (fit < FIRST_ROWS ? fit : FIRST_ROWS) : n < FIRST_ROWS ? n : FIRST_ROWS;
    const int64_t count = rows * t->opt.k * some / m;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t f = 0; f < some; f++) t->spare[r * some + f] = t->kern->dot(t->x + r * d, t->W + f * d, d) + t->b[f];
    const float v = sd_select_f32(t->spare, rows * some, count < rows * some ? rows * some - (count > 0 ? count : 1) : 0);
    return v > 0 ? (double)v : 0;
}

/* The n k largest of the list, in place; ties at the last value go to the first of them. */
static void keep_best(sd_dict_train *t, int64_t n)
{
    const int64_t all = t->ptr[n], want = n * t->opt.k;
    float last = 0.0f;
    int64_t ties = 0, o = 0;
    if (all > want) {
        memcpy(t->spare, t->val, (size_t)all * sizeof *t->val);
        last = sd_select_f32(t->spare, all, all - want);
        ties = want;
        for (int64_t i = 0; i < all; i++) ties -= t->val[i] > last;
    }
    float least = 0.0f;
    for (int64_t r = 0, i = 0; r < n; r++) {
        const int64_t end = t->ptr[r + 1];
        for (t->ptr[r] = o; i < end; i++) {
            if (!(t->val[i] > last || (t->val[i] == last && ties-- > 0))) continue;
            t->idx[o] = t->idx[i];
            t->val[o] = t->val[i];
            if (least == 0.0f || t->val[o] < least) least = t->val[o];
            o++;
        }
    }
    t->ptr[n] = o;
    if (t->tap) return;
    const double of_run = THETA_SHARE / (double)t->n_step, rate = of_run > 1 ? 1 : of_run > THETA_RATE ? of_run : THETA_RATE;
    t->theta = t->step <= 1 || t->theta == 0 ? (double)least : t->theta + rate * ((double)least - t->theta);
    t->cut = CUT_SHARE * (double)least;
}

/* Rows that changed since the last time: packing comes before a step's update, which stamps them. */
static void pack(sd_dict_train *t, const sd_exec *ex, const float *floor)
{
    sd_scan_pack_since(t->scan, ex, t->W, t->b, floor, t->last_step, (int32_t)t->packed);
    t->packed = t->step;
}

/* Some rows of some batches are scored again without the filter, so that a run says what it lost. */
static void audit(sd_dict_train *t, const sd_exec *ex, int64_t n, bool listed)
{
    if (!sd_scan_is_int8(t->scan) || t->tap || t->step % SD_TRAIN_AUDIT_STEPS != 1) return;
    const int64_t rows = n < SD_TRAIN_AUDIT_ROWS ? n : SD_TRAIN_AUDIT_ROWS, r0 = (int64_t)((uint64_t)t->step * 2654435761u % (uint64_t)(n - rows + 1));
    const sd_scan_audit a = sd_scan_check(t->scan, ex, sd_mat_of(t->x, n, t->opt.d), t->idx, listed ? t->ptr : NULL, r0, rows);
    t->n_audited += a.n_right;
    t->n_missed += a.n_missed;
}

static sd_status by_batch(sd_dict_train *t, const sd_exec *ex, int64_t n, int64_t *bad, sd_err *err)
{
    double low = -1, high = -1, cut = t->cut > 0 ? t->cut : CUT_SHARE * first_cut(t, n);
    for (int i = 0; i < MOST_SCANS; i++) {
        sd_scan_list list = {t->idx, t->val, t->ptr, t->cap_ent};
        for (int64_t f = 0; f < t->opt.m; f++) t->floor[f] = (float)cut;
        pack(t, ex, t->floor);
        const bool fits = sd_scan_above_into(t->scan, ex, &list, sd_mat_of(t->x, n, t->opt.d), NULL, bad);
        if (*bad >= 0) return SD_OK;
        if (fits && (t->ptr[n] >= n * t->opt.k || cut <= 0)) {
            audit(t, ex, n, true);
            keep_best(t, n);
            return SD_OK;
        }
        if (fits) high = cut;
        else low = cut;
        cut = low >= 0 && high >= 0 ? 0.5 * (low + high) : low >= 0 ? 1.25 * low + 1e-3 : high > 1e-4 ? 0.8 * high : 0;
    }
    (void)sd_fail(err, SD_E_FAIL, "step %lld: no value separates the best %lld activations of the batch from four times as many: its rows are too much alike.",
                  (long long)t->step, (long long)(n * t->opt.k));
    return sd_hint(err, "--kind topk chooses in every row alone");
}

sd_status sd_train__pick(sd_dict_train *t, const sd_exec *ex, int64_t n, int64_t *bad, sd_err *err)
{
    const sd_mat x = sd_mat_of(t->x, n, t->opt.d);
    if (sd_train__by_batch(t->opt.kind)) return by_batch(t, ex, n, bad, err);
    if (t->gate) {
        sd_scan_list list = {t->idx, t->val, t->ptr, t->cap_ent};
        for (int64_t f = 0; f < t->opt.m; f++) t->floor[f] = t->gate->floor(t->own[0] ? t->own[0][f] : 0.0f, (float)t->opt.bandwidth);
        pack(t, ex, t->floor);
        if (sd_scan_above_into(t->scan, ex, &list, x, NULL, bad) || *bad >= 0) {
            if (*bad < 0) audit(t, ex, n, true);
            return SD_OK;
        }
        return sd_fail(err, SD_E_SHAPE, "step %lld: more active features than %lld.", (long long)t->step, (long long)t->cap_ent);
    }
    pack(t, ex, NULL);
    *bad = sd_scan_topk(t->scan, ex, t->idx, t->val, x, NULL);
    for (int64_t r = 0; r <= n; r++) t->ptr[r] = r * t->opt.k;
    if (*bad < 0) audit(t, ex, n, false);
    return SD_OK;
}
