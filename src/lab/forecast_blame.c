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
    int n = snprintf(out, cap, "first tokens that refuse: %.0f %% before, %.0f %% after a rehearsal of %.3g (rate x steps)", 100 * f->refused_before, 100 * f->course[0].refused, f->reach);
    if (n < 0 || (size_t)n >= cap) return;
    if (isnan(f->drop)) n += snprintf(out + n, cap - (size_t)n, "; no drop can be expected, the rehearsal ends in numbers that are none");
    else n += snprintf(out + n, cap - (size_t)n, "; expected: %.0f points fewer refusals (%.0f to %.0f held nine of ten trainings of the embedded model%s)", 100 * f->drop, 100 * f->drop_lo, 100 * f->drop_hi,
                       f->seen_before ? "" : "; this one is unlike all of them");
    if (n < 0 || (size_t)n >= cap) return;
    if (f->n_blamed) snprintf(out + n, cap - (size_t)n, "; %" PRId64 " of %" PRId64 " rows hold nine tenths of what pulls there", f->n_blamed, f->n_used);
    else snprintf(out + n, cap - (size_t)n, f->carried ? "; no row to blame" : "; no row is blamed, the first gradient does not carry so far");
}
