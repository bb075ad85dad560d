/* Owns the choice of a batch's entries.
 *   topk        the k best of every row, with routes from its group's list (dict_train_route.c)
 *   batchtopk, matryoshka   the n k best of the whole batch of n rows (sd_choice__best); their smallest value, averaged over steps, becomes
 *               the threshold of the finished dictionary
 *   with a gate everything above the gate's floor */
#include "dict/dict_train_int.h"
#include "num/kern.h"
#include "num/stats.h"
#include <math.h>
#include <string.h>

float sd_train__value_at(sd_dict_train *t, int64_t n, int64_t count, float *spare)
{
    const int64_t m = t->opt.m, d = t->opt.d;
    for (int64_t r = 0; r < n; r++)
        for (int64_t f = 0; f < m; f++) spare[r * m + f] = t->kern->dot(t->x + r * d, t->W + f * d, d) + t->b[f];
    return sd_select_f32(spare, n * m, count < n * m ? n * m - count : 0);
}

/* Of the `found` best of every row those that k leaves while it anneals, ties to the lower index; in place. */
static void keep_k(sd_dict_train *t, int64_t n, int found, int k)
{
    int64_t o = 0;
    for (int64_t r = 0; r < n; r++) {
        const int64_t i0 = r * found;
        float last = -INFINITY;
        int ties = found;
        if (k < found) {
            memcpy(t->spare, t->val + i0, (size_t)found * sizeof *t->val);
            last = sd_select_f32(t->spare, found, found - k);
            ties = k;
            for (int64_t i = i0; i < i0 + found; i++) ties -= t->val[i] > last;
        }
        t->ptr[r] = o;
        for (int64_t i = i0; i < i0 + found; i++) {
            if (!(t->val[i] > last || (t->val[i] == last && ties-- > 0))) continue;
            t->idx[o] = t->idx[i];
            t->val[o++] = t->val[i];
        }
    }
    t->ptr[n] = o;
}

sd_status sd_train__pick(sd_dict_train *t, const sd_exec *ex, int64_t n, int64_t *bad, sd_err *err)
{
    const sd_mat x = sd_mat_of(t->x, n, t->opt.d);
    const int k = sd_step__k(&t->opt, t->step), found = sd_step__most_k(&t->opt);
    t->pick.frozen = t->tap != NULL;
    t->pick.k = k;
    if (sd_train__by_batch(t->opt.kind)) {
        const sd_status st = sd_choice__best(&t->pick, ex, x, t->step, bad, err);
        return st ? sd_hint(err, "--kind topk chooses in every row alone") : SD_OK;
    }
    if (t->gate) {
        sd_scan_list list = {t->idx, t->val, t->ptr, t->cap_ent};
        for (int64_t f = 0; f < t->opt.m; f++) t->floor[f] = t->gate->floor(t->own[0] ? t->own[0][f] : 0.0f, (float)t->opt.bandwidth);
        sd_scan_repack(t->scan, ex, t->W, t->b, t->floor);
        if (sd_scan_above_into(t->scan, ex, &list, x, NULL, bad) || *bad >= 0) {
            if (*bad < 0) sd_choice__audit(&t->pick, ex, x, t->ptr, t->step);
            return SD_OK;
        }
        return sd_fail(err, SD_E_SHAPE, "step %lld: more active features than %lld", (long long)t->step, (long long)t->cap_ent);
    }
    const bool routed = sd_train__routed(t), listed = routed && !sd_train__route_exact(t);
    if (routed && (*bad = sd_train__route_rows(t, ex, n)) >= 0) return SD_OK;
    sd_scan_repack(t->scan, ex, t->W, t->b, NULL);
    if (listed)
        sd_train__route_pick(t, ex, n);
    else
        *bad = sd_scan_topk(t->scan, ex, t->idx, t->val, x, NULL);
    if (*bad >= 0) return SD_OK;
    for (int64_t r = 0; r <= n; r++) t->ptr[r] = r * found;
    if (!listed) sd_choice__audit(&t->pick, ex, x, NULL, t->step);
    if (k < found) keep_k(t, n, found, k);
    if (listed) sd_train__route_audit(t, ex, n);
    if (routed) sd_train__route_learn(t, ex, n);
    return SD_OK;
}
