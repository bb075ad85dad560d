/* Shared by the files of the tamper study. */
#ifndef SD_LAB_TAMPER_INT_H
#define SD_LAB_TAMPER_INT_H

#include "lab/tamper.h"
#include "num/product.h"

extern const char *const sd_tamper__role_name[SD_MAT_COUNT]; /* "o_proj" */
/* n unit vectors of a seed as rows of v [n, d]. */
void sd_tamper__random(float *v, int64_t n, int64_t d, uint64_t seed);
/* w as numbers into to [rows, cols]; gives ||w||_F^2. */
double sd_tamper__decode(float *to, const sd_wmat *w);
/* Most elements of a matrix, and the longest side, among all matrices of the blocks. */
void sd_tamper__sizes(const sd_model *m, int64_t *elements, int64_t *side);

sd_status sd_tamper__weak(sd_tamper *out, const sd_exec *ex, const sd_model *m, const sd_tamper_opt *opt, sd_err *err);
sd_status sd_tamper__ref(sd_tamper *out, const sd_exec *ex, const sd_model *m, const sd_model *ref, const sd_tamper_opt *opt, sd_err *err);

#endif
