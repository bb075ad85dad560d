/* Edits of a whole model along one direction, for measurement only (DESIGN section 1): they are hooks, nothing is written.
 *
 *   ablation  h <- h - w u (u.h)   at every block's input and at what its attention and its MLP add: Arditi et al. 2024, section 2.4,
 *             equation 4, at the places of andyrdt/refusal_direction @9d852fae (hook_utils.py); w = 1 removes u, w = 2 reflects it
 *   addition  h <- h + w r         at one block's input, all positions (equation 3), r as it is, not normalised */
#ifndef SD_LAB_ABLATE_H
#define SD_LAB_ABLATE_H

#include "model/session.h"

typedef struct sd_ablate {
    const float *v;   /* [n_dir][d] borrowed: orthonormal for ablation; one, raw, for addition */
    int n_dir;
    float w;
    int64_t d;
    int layer;        /* addition: the block; ablation: -1 */
    sd_site *site;    /* [n_site] owns */
    int n_site;
    int64_t n_rows;   /* rows edited so far */
} sd_ablate;
sd_status sd_ablate_init(sd_ablate *a, const sd_model *m, const float *unit, double w, sd_err *err);
/* A subspace: n orthonormal directions, in one edit. */
sd_status sd_ablate_init_space(sd_ablate *a, const sd_model *m, const float *basis, int n, double w, sd_err *err);
sd_status sd_ablate_init_add(sd_ablate *a, const sd_model *m, const float *raw, int layer, double w, sd_err *err);
void sd_ablate_release(sd_ablate *a);
/* The hook; it borrows a. */
sd_hook sd_ablate_hook(sd_ablate *a);
/* u = v / ||v||; false (and zeros) when v is zero or not finite. u may alias v. */
bool sd_unit(float *u, const float *v, int64_t d);
double sd_dot(const float *a, const float *b, int64_t n); /* summed in double, index order */
double sd_cosine(const float *a, const float *b, int64_t n); /* NaN when either is zero */

#endif
