/* Eigenvectors of symmetric matrices, all of a small one or the ends of the spectrum of a positive semidefinite one, such as W W^T: cyclic Jacobi, rotations
 * that zero one pair at a time; subspace iteration with the matrix or with its inverse, then Rayleigh-Ritz (Golub & Van Loan, Matrix Computations, 8.5.3,
 * 8.2.4 and 8.5). In double; start vectors are fixed, so the same matrix gives the same bits. */
#ifndef SD_NUM_EIG_H
#define SD_NUM_EIG_H

#include <stddef.h>
#include <stdint.h>

enum { SD_EIG_MOST = 12 }; /* vectors that can be asked for */

/* a [d, d] is destroyed, its diagonal gets the eigenvalues; v [d, d] the unit eigenvectors as rows, in the same order. Costs 6 d^3 a sweep, some 6 sweeps: half a
 * second at d = 256. */
void sd_eig_all(double *a, double *v, int64_t d);

size_t sd_eig_scratch(int64_t d);
/* The k smallest eigenvalues, ascending, and their unit vectors as rows of vec [k, d]; 1 <= k <= min(d, SD_EIG_MOST). a [d, d] is destroyed.
 * Vectors whose values are below 1e-5 of the mean eigenvalue span the right space but are not told apart. Costs d^3 / 3. */
void sd_eig_lowest(double *value, double *vec, double *a, int64_t d, int k, void *scratch);
/* The k largest, descending; a stays. Costs 40 (k + 4) d^2. */
void sd_eig_highest(double *value, double *vec, const double *a, int64_t d, int k, void *scratch);

#endif
