/* What is expected of a training, by a fit on measured ones (tools/study-forecast fit prints the tables below; docs/FORECAST.md has how good they are, each kind of rows held out). */
#include "lab/forecast.h"

#include <math.h>

/* A term, standardised by its mean and deviation over the trainings of the fit; least and most that were seen there. */
static const struct { double mean, sd, weight, least, most; } term[] = {
    {0.7694, 0.9070, 2.6620, -0.2851, 3.0000}, /* fall of the score in the rehearsal, in units of what it is before: mean of its last three places */
    {0.8444, 1.2870, 0.8226, -6.0762, 4.1440}, /* fall of the rows' loss, straight along the first gradient to where it is least */
    {-0.4966, 1.5039, -0.4550, -4.0000, 3.0000}, /* log of the share of the loss that the rehearsal leaves */
};
#define BIAS -0.3862
/* Forecasts below, between and above the edges have widths of their own: distances within which nine of ten trainings lay (split conformal, Lei et al. 2018). */
static const double edge[] = {0.05, 0.2, 0.8};
static const double below[] = {0.0481, 0.1859, 0.6403, 0.8067}, above[] = {0.0000, 0.6851, 0.7146, 0.1614};

static double clip(double x, double lo, double hi) { return fmin(hi, fmax(lo, x)); }

void sd_forecast_expect(sd_forecast *f)
{
    double fall = 0, z = BIAS;
    for (int k = 0; k < 3; k++) fall += (f->score - f->course[k].score) / fmax(1, f->score) / 3;
    const double x[] = {
        clip(fall, -1, 3),
        f->loss - f->trial[f->best].loss,
        clip(log(f->course[0].loss / fmax(1e-3, f->loss)), -4, 3),
    };
    f->seen_before = true;
    for (size_t i = 0; i < sizeof x / sizeof *x; i++) {
        z += term[i].weight * (x[i] - term[i].mean) / term[i].sd;
        f->seen_before = f->seen_before && x[i] >= term[i].least && x[i] <= term[i].most;
    }
    f->drop = f->drop_lo = f->drop_hi = NAN;
    if (!isfinite(fall) || !isfinite(f->course[0].loss) || !isfinite(z)) return; /* clip takes NaN for its least */
    size_t bin = 0;
    f->drop = 1 / (1 + exp(-z));
    while (bin < sizeof edge / sizeof *edge && f->drop >= edge[bin]) bin++;
    f->drop_lo = fmax(0, f->drop - below[bin]);
    f->drop_hi = fmin(1, f->drop + above[bin]);
}
