/* Optimiser steps over flat arrays, in chunks of a fixed size; elements are independent, so any number of threads gives
 * the same bits. */
#include "num/optim.h"

#include "base/par.h"
#include "num/kern_train.h"

#include <math.h>
#include <string.h>

enum { CHUNK = 1 << 15 };

double sd_schedule_at(sd_schedule s, int64_t step, int64_t total, int64_t warmup, double floor)
{
    if (warmup > 0 && step <= warmup) return (double)step / (double)warmup;
    if (s == SD_SCHEDULE_CONSTANT || total <= warmup) return 1.0;
    double t = (double)(step - 1 - warmup) / (double)(total - warmup);
    if (t > 1.0) t = 1.0;
    const double down = s == SD_SCHEDULE_LINEAR ? 1.0 - t : 0.5 * (1.0 + cos(3.14159265358979323846 * t));
    return floor + (1.0 - floor) * down;
}

typedef struct adam_job {
    const sd_kern_train *kern;
    float *p, *m, *v;
    const float *g;
    sd_adam8 s;
    sd_adamw_k k;
} adam_job;

static sd_adamw_k constants(const sd_adamw_opt *o)
{
    const double t = (double)o->step;
    return (sd_adamw_k){.beta1 = (float)o->beta1,
                        .beta2 = (float)o->beta2,
                        .rest1 = (float)(1.0 - o->beta1),
                        .rest2 = (float)(1.0 - o->beta2),
                        .step = (float)(o->lr / (1.0 - pow(o->beta1, t))),
                        .root_bc2 = (float)sqrt(1.0 - pow(o->beta2, t)),
                        .eps = (float)o->eps,
                        .keep = (float)(1.0 - o->lr * o->weight_decay),
                        .scale = (float)o->scale};
}

static void adam_chunk(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const adam_job *j = arg;
    (void)chunk;
    j->kern->adamw(j->p + begin, j->m + begin, j->v + begin, j->g + begin, &j->k, end - begin);
}

void sd_adamw(const sd_exec *ex, float *p, float *m, float *v, const float *g, int64_t n, const sd_adamw_opt *o)
{
    adam_job j = {.kern = sd_kern_train_select(ex->cpu.flags), .p = p, .m = m, .v = v, .g = g, .k = constants(o)};
    sd_parallel_for(ex->n_threads, n, CHUNK, adam_chunk, &j);
}

/* One block: decoded, stepped, encoded again. */
static void adam8_block(const adam_job *j, int64_t b, int64_t begin, int64_t n)
{
    float m[SD_ADAM8_BLOCK], v[SD_ADAM8_BLOCK];
    j->kern->unpack8(m, v, j->s.m + begin, j->s.v + begin, j->s.scale + 2 * b, n);
    j->kern->adamw(j->p + begin, m, v, j->g + begin, &j->k, n);
    j->kern->pack8(j->s.m + begin, j->s.v + begin, j->s.scale + 2 * b, m, v, n);
}

static void adam8_chunk(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const adam_job *j = arg;
    (void)chunk;
    for (int64_t i = begin; i < end; i += SD_ADAM8_BLOCK)
        adam8_block(j, i / SD_ADAM8_BLOCK, i, end - i < SD_ADAM8_BLOCK ? end - i : SD_ADAM8_BLOCK);
}

void sd_adamw8(const sd_exec *ex, float *p, sd_adam8 s, const float *g, int64_t n, const sd_adamw_opt *o)
{
    adam_job j = {.kern = sd_kern_train_select(ex->cpu.flags), .p = p, .g = g, .s = s, .k = constants(o)};
    sd_parallel_for(ex->n_threads, n, CHUNK, adam8_chunk, &j);
}

typedef struct square_job {
    const float *x;
    double *part;
} square_job;

static void square_chunk(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const square_job *j = arg;
    double s[8] = {0};
    int64_t i = begin;
    for (; i + 8 <= end; i += 8)
        for (int l = 0; l < 8; l++) s[l] += (double)j->x[i + l] * (double)j->x[i + l];
    for (; i < end; i++) s[0] += (double)j->x[i] * (double)j->x[i];
    j->part[chunk] = s[0] + s[1] + (s[2] + s[3]) + (s[4] + s[5] + (s[6] + s[7]));
}

int64_t sd_square_sum_parts(int64_t n)
{
    return (n + CHUNK - 1) / CHUNK;
}

double sd_square_sum(const sd_exec *ex, const float *x, int64_t n, double *part)
{
    double s = 0;
    sd_parallel_for(ex->n_threads, n, CHUNK, square_chunk, &(square_job){x, part});
    for (int64_t i = 0; i < sd_square_sum_parts(n); i++) s += part[i];
    return s;
}
