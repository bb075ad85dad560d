/* Owns the audit of the scan: rows scored again without any filter. */
#include "dict/scan_int.h"
#include "base/par.h"
#include <string.h>

enum { MOST_ROWS = 64 };
typedef struct job { sd_scan *s; sd_mat x; const int32_t *idx; const int64_t *row_ptr; int64_t r0, right[MOST_ROWS], missed[MOST_ROWS]; } job;

/* Is feature f in an ascending list? */
static bool has(const int32_t *list, int64_t n, int32_t f)
{
    int64_t lo = 0, hi = n;
    while (lo < hi) {
        const int64_t mid = lo + (hi - lo) / 2;
        if (list[mid] < f) lo = mid + 1;
        else hi = mid;
    }
    return lo < n && list[lo] == f;
}

static void check_row(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    job *j = arg;
    sd_scan *s = j->s;
    uint64_t *key = s->worker[sd_par_worker()].key;
    (void)chunk;
    for (int64_t i = begin; i < end; i++) {
        const int64_t r = j->r0 + i, from = j->row_ptr ? j->row_ptr[r] : r * s->k, to = j->row_ptr ? j->row_ptr[r + 1] : from + s->k;
        const float *x = sd_mat_row(j->x, r);
        if (s->k > 0) {
            const int64_t n = sd_scan__best_of(s, key, x, NULL, 0, s->m);
            for (int64_t a = 0; a < n; a++) j->missed[i] += !has(j->idx + from, to - from, sd_scan__key_idx(key[a]));
            j->right[i] = n;
            continue;
        }
        for (int64_t f = 0; f < s->m; f++) {
            const float p = sd_scan__exact(s, x, f);
            if (!(p > 0.0f) || (s->gate && !(p > s->gate[f]))) continue;
            j->right[i]++;
            j->missed[i] += !has(j->idx + from, to - from, (int32_t)f);
        }
    }
}

sd_scan_audit sd_scan_check(sd_scan *s, const sd_exec *ex, sd_mat x, const int32_t *idx, const int64_t *row_ptr, int64_t r0, int64_t n)
{
    job j = {.s = s, .x = x, .idx = idx, .row_ptr = row_ptr, .r0 = r0};
    sd_scan_audit out = {n < MOST_ROWS ? n : MOST_ROWS, 0, 0};
    SD_ASSERT(x.cols == s->d && s->W && sd_scan_fits(s, ex));
    sd_parallel_for(ex->n_threads, out.n_rows, 1, check_row, &j);
    for (int64_t i = 0; i < out.n_rows; i++) {
        out.n_right += j.right[i];
        out.n_missed += j.missed[i];
    }
    return out;
}
