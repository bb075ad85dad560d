/* All eigenvectors of a small symmetric matrix: cyclic Jacobi (Golub & Van Loan, Matrix Computations, 8.5.3), rotations that zero one pair at a time.
 * a [d, d] is destroyed, its diagonal gets the eigenvalues; v [d, d] the unit eigenvectors as rows, in the same order. Costs 6 d^3 a sweep, some 8 sweeps: a second
 * at d = 256. eig.h has the few smallest of a large one. */
#ifndef SD_NUM_JACOBI_H
#define SD_NUM_JACOBI_H

#include <stdint.h>

void sd_jacobi(double *a, double *v, int64_t d);

#endif
