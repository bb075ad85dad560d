/* AdamW over flat arrays, the norm of a gradient, learning-rate schedules.
 *
 *   m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2
 *   p = p (1 - lr wd) - lr / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + eps)      Loshchilov & Hutter 2019, in
 * PyTorch's order */
#ifndef SD_NUM_OPTIM_H
#define SD_NUM_OPTIM_H

#include "num/exec.h"

typedef enum sd_schedule { SD_SCHEDULE_COSINE, SD_SCHEDULE_LINEAR, SD_SCHEDULE_CONSTANT } sd_schedule;
/* Factor of the learning rate at step 1..total: linear over the first `warmup` steps (the first step is 1/warmup), then
 * from 1 down along half a cosine or a line that would reach `floor` one step after the last, or constant. */
double sd_schedule_at(sd_schedule s, int64_t step, int64_t total, int64_t warmup, double floor);

typedef struct sd_adamw_opt {
    double lr, beta1, beta2, eps, weight_decay;
    double scale; /* of the gradient (clipping, 1 / rows) */
    int64_t step; /* counts from 1 */
} sd_adamw_opt;
void sd_adamw(const sd_exec *ex, float *p, float *m, float *v, const float *g, int64_t n, const sd_adamw_opt *o);

/* The same with moments of 8 bits, in blocks of SD_ADAM8_BLOCK numbers that share two scales: m as a sign and seven
 * bits, sqrt(v) as eight, both small floats beside their block's largest (3 and 4 bits of mantissa). */
enum { SD_ADAM8_BLOCK = 256 };
typedef struct sd_adam8 {
    int8_t *m;    /* [n] */
    uint8_t *v;   /* [n] */
    float *scale; /* [2 n_block]: of m, of sqrt(v) */
} sd_adam8;
void sd_adamw8(const sd_exec *ex, float *p, sd_adam8 s, const float *g, int64_t n, const sd_adamw_opt *o);

/* Sum of squares in double, in chunks added in order; NaN and infinity show in it. part [sd_square_sum_parts(n)] is
 * scratch. */
int64_t sd_square_sum_parts(int64_t n);
double sd_square_sum(const sd_exec *ex, const float *x, int64_t n, double *part);

#endif
