/* Owns: what a run will take, before it starts. */
#include "dict/scan.h"
#include "lab/bench.h"
#include "lab/learn_int.h"

sd_learn_memory sd_learn_plan(const sd_exec *ex, const sd_dict_train_opt *t, const sd_learn_opt *o, int64_t n_rows, int64_t width)
{
    const int64_t held = o->n_heldout ? o->n_heldout : sd_learn_heldout(n_rows), wide = t->d_out ? t->d_out : t->d;
    const double rows = (double)width * (2.0 * (double)sd_learn__buffer(o, n_rows - held, t->without) + 4.0 * (double)held);
    const double all = (double)sd_learn__plan(ex, t) + rows, dict = 4.0 * (double)t->m * (double)(t->d + wide);
    return (sd_learn_memory){all, all + dict + (double)sd_scan_plan(ex, t->m, t->d, 0, SD_SCAN_PROVEN)};
}

sd_status sd_learn_forecast(double *seconds, const sd_exec *ex, const sd_dict_train_opt *t, sd_err *err)
{
    enum { NARROW = 4096, WIDE = 16384, STEPS = 2 };
    double us[2] = {0};
    const int64_t width[2] = {t->m < NARROW ? t->m : NARROW, t->m < WIDE ? t->m : WIDE};
    for (int i = 0; i < 2; i++) {
        sd_bench_dict b;
        const int k = t->k && t->k < width[i] ? t->k : (int)(width[i] < 32 ? width[i] : 32);
        const sd_status st = sd_lab_bench_dict(&b, ex, &(sd_bench_dict_opt){.d = t->d, .width = width[i], .batch = 2048, .steps = STEPS, .k = k, .seed = t->seed}, err);
        if (st) return st;
        us[i] = 1 / b.tok_s;
    }
    const double slope = width[1] > width[0] ? (us[1] - us[0]) / (double)(width[1] - width[0]) : 0;
    *seconds = (double)t->n_tokens * (us[1] + (slope > 0 ? slope : 0) * (double)(t->m - width[1]));
    return SD_OK;
}
