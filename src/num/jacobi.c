#include "num/jacobi.h"

#include <math.h>

void sd_jacobi(double *a, double *v, int64_t d)
{
    enum { SWEEPS = 12 }; /* converges quadratically: 6 to 8 are enough for a few hundred columns */
    for (int64_t i = 0; i < d * d; i++) v[i] = i % (d + 1) == 0;
    for (int sweep = 0; sweep < SWEEPS; sweep++) {
        double off = 0, diagonal = 0;
        for (int64_t i = 0; i < d; i++) {
            diagonal += a[i * d + i] * a[i * d + i];
            for (int64_t j = i + 1; j < d; j++) off += a[i * d + j] * a[i * d + j];
        }
        if (off <= 1e-20 * diagonal) return;
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
