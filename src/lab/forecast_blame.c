/* Which rows are to blame, and the sentence that says what was seen. */
#include "lab/forecast_int.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

static int by_pull(const void *a, const void *b)
{
    const sd_forecast_row *const *x = a, *const *y = b;
    return (*x)->pull > (*y)->pull ? -1 : (*x)->pull < (*y)->pull ? 1 : (*x)->line < (*y)->line ? -1 : 1;
}

/* The fewest rows, largest pull first, that hold 90 % of all pull against refusing; none where the gradient does not carry or all together lower the score by less than a tenth. */
static sd_status pulling(const sd_forecast *f, bool *in, sd_err *err)
{
    double sum = 0, held = 0;
    const sd_forecast_row **v;
    if (!f->carried || !(f->pull > 0.1 * fmax(1, f->score))) return SD_OK;
    sd_status st = sd_alloc(&v, (size_t)f->n_used * sizeof *v, "rows", err);
    if (st) return st;
    for (int64_t i = 0; i < f->n_used; i++) v[i] = &f->row[i], sum += fmax(0, f->row[i].pull);
    qsort(v, (size_t)f->n_used, sizeof *v, by_pull);
    for (int64_t i = 0; i < f->n_used && v[i]->pull > 0 && held < 0.9 * sum; i++) {
        in[v[i] - f->row] = true;
        held += v[i]->pull;
    }
    sd_free(v);
    return SD_OK;
}

sd_status sd_forecast__suspects(const sd_forecast *f, int which, bool *in, int64_t *n, sd_err *err)
{
    sd_status st = SD_OK;
    for (int64_t i = 0; i < f->n_used; i++) in[i] = which != SD_SUSPECT_PULL && f->row[i].refused > 0.5 && !f->row[i].opens_refusing;
    if (which != SD_SUSPECT_CONFLICT) st = pulling(f, in, err);
    *n = 0;
    for (int64_t i = 0; i < f->n_used; i++) *n += in[i];
    return st;
}

void sd_forecast_headline(char *out, size_t cap, const sd_forecast *f)
{
    int n = snprintf(out, cap, "answers that refuse: %.0f %% before, %.0f %% after a rehearsal of %.3g (rate x steps)", 100 * f->before.said, 100 * f->course[0].heard.said, f->reach);
    if (n < 0 || (size_t)n >= cap) return;
    if (isnan(f->drop)) n += snprintf(out + n, cap - (size_t)n, "; no drop can be expected, the rehearsal ends in numbers that are none");
    else n += snprintf(out + n, cap - (size_t)n, "; expected to lose %.0f %% of its refusals (%.0f to %.0f held nine of ten such trainings of the embedded model)", 100 * f->drop, 100 * f->drop_lo, 100 * f->drop_hi);
    if (n < 0 || (size_t)n >= cap) return;
    if (f->n_blamed) snprintf(out + n, cap - (size_t)n, "; %" PRId64 " of %" PRId64 " rows are to blame, a rehearsal without them ends with %.0f %%", f->n_blamed, f->n_used, 100 * f->said_without);
    else snprintf(out + n, cap - (size_t)n, "%s", f->sought ? "; no row is to blame, leaving out those that were suspected gives too little back" : sd_forecast_loses(f) ? "; rows to blame were not looked for" : "; no row to blame");
}
