/* Owns: cyclic Jacobi and subspace iteration. Four vectors more than asked for are carried along: they take up the error of the last ones. */
#include "num/eig.h"

#include "base/err.h"
#include "base/rng.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

enum { MARGIN = 4, WIDE = SD_EIG_MOST + MARGIN };
/* The error of a vector falls by the ratio of its eigenvalue to the first one left out, a step: the ends that are looked for stand apart. */
enum { STEPS_LOW = 12, STEPS_HIGH = 20 };

size_t sd_eig_scratch(int64_t d)
{
    return (size_t)d * (2 * WIDE) * sizeof(double);
}

static double dot(const double *x, const double *y, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i] * y[i];
    return sum;
}

/* a = L L^T, L in the lower triangle. Pivots below `least` are lifted to it: directions that are not there at all. */
static void cholesky(double *a, int64_t d, double least)
{
    for (int64_t i = 0; i < d; i++) {
        for (int64_t j = 0; j <= i; j++) {
            double v = a[i * d + j] - dot(a + i * d, a + j * d, j);
            a[i * d + j] = i == j ? sqrt(v > least ? v : least) : v / a[j * d + j];
        }
    }
}

static void solve(const double *l, double *x, int64_t d)
{
    for (int64_t i = 0; i < d; i++) x[i] = (x[i] - dot(l + i * d, x, i)) / l[i * d + i];
    for (int64_t i = d - 1; i >= 0; i--) {
        x[i] /= l[i * d + i];
        for (int64_t j = 0; j < i; j++) x[j] -= l[i * d + j] * x[i];
    }
}

/* Gram-Schmidt, each row cleaned twice ("twice is enough", Giraud et al. 2005). */
static void orthonormal(double *v, int m, int64_t d)
{
    for (int i = 0; i < m; i++) {
        double *x = v + i * d;
        for (int pass = 0; pass < 2; pass++)
            for (int j = 0; j < i; j++) {
                double c = dot(x, v + j * d, d);
                for (int64_t t = 0; t < d; t++) x[t] -= c * v[j * d + t];
            }
        double norm = sqrt(dot(x, x, d));
        for (int64_t t = 0; t < d; t++) x[t] = norm > 0 ? x[t] / norm : 0;
    }
}

void sd_eig_all(double *a, double *v, int64_t d)
{
    enum { SWEEPS = 30 }; /* converges quadratically: 4 to 8 are enough for a few hundred columns */
    for (int64_t i = 0; i < d * d; i++) v[i] = i % (d + 1) == 0;
    for (int sweep = 0; sweep < SWEEPS; sweep++) {
        double off = 0, diagonal = 0;
        for (int64_t i = 0; i < d; i++) {
            diagonal += a[i * d + i] * a[i * d + i];
            for (int64_t j = i + 1; j < d; j++) off += a[i * d + j] * a[i * d + j];
        }
        if (off <= 1e-28 * diagonal) return; /* squares: rounding alone is left */
        for (int64_t p = 0; p < d; p++) {
            for (int64_t q = p + 1; q < d; q++) {
                double apq = a[p * d + q];
                if (apq == 0) continue;
                double theta = (a[q * d + q] - a[p * d + p]) / (2 * apq);
                double t = (theta >= 0 ? 1 : -1) / (fabs(theta) + sqrt(theta * theta + 1));
                double c = 1 / sqrt(t * t + 1), s = t * c;
                for (int64_t k = 0; k < d; k++) {
                    double x = a[k * d + p], y = a[k * d + q];
                    a[k * d + p] = c * x - s * y;
                    a[k * d + q] = s * x + c * y;
                }
                for (int64_t k = 0; k < d; k++) {
                    double x = a[p * d + k], y = a[q * d + k];
                    a[p * d + k] = c * x - s * y;
                    a[q * d + k] = s * x + c * y;
                    x = v[p * d + k], y = v[q * d + k];
                    v[p * d + k] = c * x - s * y;
                    v[q * d + k] = s * x + c * y;
                }
            }
        }
    }
}

/* The k largest of the operator that turns v into y: values descending, vectors as rows of vec. */
static void ritz(double *value, double *vec, const double *v, const double *y, int64_t d, int m, int k)
{
    double h[WIDE * WIDE], r[WIDE * WIDE];
    for (int i = 0; i < m; i++)
        for (int j = 0; j < m; j++) h[i * m + j] = (dot(v + i * d, y + j * d, d) + dot(v + j * d, y + i * d, d)) / 2;
    sd_eig_all(h, r, m);
    bool taken[WIDE] = {false};
    for (int i = 0; i < k; i++) {
        int best = -1;
        for (int j = 0; j < m; j++)
            if (!taken[j] && (best < 0 || h[j * m + j] > h[best * m + best])) best = j;
        taken[best] = true;
        value[i] = h[best * m + best];
        memset(vec + i * d, 0, (size_t)d * sizeof *vec);
        for (int j = 0; j < m; j++)
            for (int64_t t = 0; t < d; t++) vec[i * d + t] += r[best * m + j] * v[j * d + t];
    }
}

static int start(double *v, int64_t d, int k)
{
    SD_ASSERT(k >= 1 && k <= SD_EIG_MOST && k <= d);
    int m = k + MARGIN < d ? k + MARGIN : (int)d;
    sd_rng rng = sd_rng_make(0, "eig", 0);
    for (int64_t i = 0; i < m * d; i++) v[i] = (double)sd_rng_normal(&rng);
    orthonormal(v, m, d);
    return m;
}

void sd_eig_lowest(double *value, double *vec, double *a, int64_t d, int k, void *scratch)
{
    double *v = scratch, *y = v + d * WIDE, mean = 0;
    int m = start(v, d, k);
    for (int64_t i = 0; i < d; i++) mean += a[i * d + i] / (double)d;
    double shift = mean > 0 ? 1e-5 * mean : 1; /* above the rounding of a matrix that was summed in f32, which can make it indefinite */
    for (int64_t i = 0; i < d; i++) a[i * d + i] += shift;
    cholesky(a, d, 1e-6 * shift);
    for (int s = 0; s <= STEPS_LOW; s++) {
        memcpy(y, v, (size_t)(m * d) * sizeof *y);
        for (int i = 0; i < m; i++) solve(a, y + i * d, d);
        if (s == STEPS_LOW) break;
        memcpy(v, y, (size_t)(m * d) * sizeof *y);
        orthonormal(v, m, d);
    }
    ritz(value, vec, v, y, d, m, k);
    for (int i = 0; i < k; i++) value[i] = value[i] > 0 ? fmax(0, 1 / value[i] - shift) : INFINITY;
}

void sd_eig_highest(double *value, double *vec, const double *a, int64_t d, int k, void *scratch)
{
    double *v = scratch, *y = v + d * WIDE;
    int m = start(v, d, k);
    for (int s = 0; s <= STEPS_HIGH; s++) {
        for (int i = 0; i < m; i++)
            for (int64_t t = 0; t < d; t++) y[i * d + t] = dot(a + t * d, v + i * d, d);
        if (s == STEPS_HIGH) break;
        memcpy(v, y, (size_t)(m * d) * sizeof *y);
        orthonormal(v, m, d);
    }
    ritz(value, vec, v, y, d, m, k);
}
