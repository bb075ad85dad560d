/* Which rows are to blame, and the sentence that says what was seen. */
#include "lab/forecast.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

static int by_pull(const void *a, const void *b)
{
    const sd_forecast_row *const *x = a, *const *y = b;
    return (*x)->pull > (*y)->pull ? -1 : (*x)->pull < (*y)->pull ? 1 : (*x)->line < (*y)->line ? -1 : 1;
}

sd_status sd_forecast_blame(sd_forecast *f, sd_err *err)
{
    double sum = 0, held = 0;
    const sd_forecast_row **v;
    f->n_blamed = 0;
    for (int64_t i = 0; i < f->n_used; i++) f->row[i].blamed = false;
    if (!f->carried || !(f->pull > 0.1 * fmax(1, f->score))) return SD_OK;
    sd_status st = sd_alloc(&v, (size_t)f->n_used * sizeof *v, "rows", err);
    if (st) return st;
    for (int64_t i = 0; i < f->n_used; i++) v[i] = &f->row[i], sum += fmax(0, f->row[i].pull);
    qsort(v, (size_t)f->n_used, sizeof *v, by_pull);
    for (int64_t i = 0; i < f->n_used && v[i]->pull > 0 && held < 0.9 * sum; i++) {
        f->row[v[i] - f->row].blamed = true;
        held += v[i]->pull;
        f->n_blamed++;
    }
    sd_free(v);
    return SD_OK;
}

void sd_forecast_headline(char *out, size_t cap, const sd_forecast *f)
{
    const sd_forecast_trial *t = &f->trial[f->best];
    int n = snprintf(out, cap, "first tokens that refuse: %.0f %% before", 100 * f->refused_before);
    if (n < 0 || (size_t)n >= cap) return;
    if (!f->carried) {
        snprintf(out + n, cap - (size_t)n, "; the rows' gradient does not carry as far as rate x steps of %.3g: nothing can be said of so long a training", f->reach);
        return;
    }
    n += snprintf(out + n, cap - (size_t)n, "; along the rows' gradient %.0f %% where their loss is least (rate x steps %.3g), %.0f %% at all of %.3g", 100 * t->refused, t->reach, 100 * f->trial[0].refused, f->reach);
    if (n < 0 || (size_t)n >= cap) return;
    if (f->n_blamed) snprintf(out + n, cap - (size_t)n, "; %" PRId64 " of %" PRId64 " rows hold nine tenths of what pulls there", f->n_blamed, f->n_used);
    else snprintf(out + n, cap - (size_t)n, "; no row to blame");
}
