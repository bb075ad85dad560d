/* Norms, gates, sums and rotary embeddings: rows handed to the kernels of this CPU, in chunks of a fixed size. */
#include "num/ops.h"

#include "base/par.h"
#include "num/kern_ops.h"

#include <math.h>
#include <string.h>

/* Elements of a chunk: about 8 us of work, several times what waking a thread costs; a single row stays on its thread.
 */
enum { CHUNK_ELEMENTS = 32768 };

static int64_t chunk_rows(int64_t cols)
{
    int64_t r = CHUNK_ELEMENTS / (cols > 0 ? cols : 1);
    return r < 1 ? 1 : r;
}

typedef struct rows_job {
    const sd_kern_ops *kern;
    sd_mat y, a, b;
    const float *g, *bias, *cos, *sin;
    float eps, cap;
    sd_nonlin f;
    int n_head, half;
} rows_job;

static void rmsnorm_rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    (void)chunk;
    const rows_job *j = arg;
    for (int64_t i = begin; i < end; i++)
        j->kern->rmsnorm(sd_mat_row(j->y, i), sd_mat_row(j->a, i), j->g, j->eps, j->a.cols);
}

void sd_rmsnorm(const sd_exec *ex, sd_mat y, sd_mat x, const float *g, float eps)
{
    SD_ASSERT(y.rows == x.rows && y.cols == x.cols);
    rows_job j = {.kern = sd_kern_ops_select(ex->cpu.flags), .y = y, .a = x, .g = g, .eps = eps};
    sd_parallel_for(ex->n_threads, x.rows, chunk_rows(x.cols), rmsnorm_rows, &j);
}

static void layernorm_rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    (void)chunk;
    const rows_job *j = arg;
    for (int64_t i = begin; i < end; i++)
        j->kern->layernorm(sd_mat_row(j->y, i), sd_mat_row(j->a, i), j->g, j->bias, j->eps, j->a.cols);
}

void sd_layernorm(const sd_exec *ex, sd_mat y, sd_mat x, const float *g, const float *b, float eps)
{
    SD_ASSERT(y.rows == x.rows && y.cols == x.cols);
    rows_job j = {.kern = sd_kern_ops_select(ex->cpu.flags), .y = y, .a = x, .g = g, .bias = b, .eps = eps};
    sd_parallel_for(ex->n_threads, x.rows, chunk_rows(x.cols), layernorm_rows, &j);
}

typedef struct half_job {
    const sd_exec *ex;
    const sd_kern_ops *kern;
    const sd_norm_round *n;
} half_job;

static void norm_half_rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const half_job *j = arg;
    const sd_norm_round *n = j->n;
    const int64_t cols = n->x.cols;
    float *row = n->row + sd_par_worker() * cols;
    (void)chunk;
    for (int64_t i = begin; i < end; i++) {
        uint16_t *to = n->half + i * n->ld;
        if (n->layer)
            j->kern->layernorm(row, sd_mat_row(n->x, i), n->g, n->b, n->eps, cols);
        else
            j->kern->rmsnorm(row, sd_mat_row(n->x, i), n->g, n->eps, cols);
        j->ex->kern->to_bf16(to, row, cols);
        if (cols & 1) to[cols] = 0;
    }
}

void sd_norm_half(const sd_exec *ex, const sd_norm_round *n)
{
    half_job j = {ex, sd_kern_ops_select(ex->cpu.flags), n};
    sd_parallel_for(ex->n_threads, n->x.rows, chunk_rows(n->x.cols), norm_half_rows, &j);
}

static void nonlin_rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    (void)chunk;
    const rows_job *j = arg;
    for (int64_t i = begin; i < end; i++)
        j->kern->nonlin(j->f, sd_mat_row(j->y, i), sd_mat_row(j->a, i), j->b.data ? sd_mat_row(j->b, i) : NULL,
                        j->a.cols);
}

void sd_nonlin_mul(const sd_exec *ex, sd_nonlin f, sd_mat out, sd_mat gate, sd_mat up)
{
    SD_ASSERT(out.rows == gate.rows && out.cols == gate.cols);
    SD_ASSERT(!up.data || (up.rows == gate.rows && up.cols == gate.cols));
    if (f == SD_NONLIN_SILU && up.data) {
        sd_silu_mul(ex, out, gate, up);
        return;
    }
    rows_job j = {.kern = sd_kern_ops_select(ex->cpu.flags), .y = out, .a = gate, .b = up, .f = f};
    sd_parallel_for(ex->n_threads, gate.rows, chunk_rows(gate.cols), nonlin_rows, &j);
}

static void softcap_rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    (void)chunk;
    const rows_job *j = arg;
    for (int64_t i = begin; i < end; i++) j->kern->softcap(sd_mat_row(j->y, i), j->cap, j->y.cols);
}

void sd_softcap(const sd_exec *ex, sd_mat x, float cap)
{
    rows_job j = {.kern = sd_kern_ops_select(ex->cpu.flags), .y = x, .cap = cap};
    sd_parallel_for(ex->n_threads, x.rows, chunk_rows(x.cols), softcap_rows, &j);
}

static void silu_rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    (void)chunk;
    const rows_job *j = arg;
    for (int64_t i = begin; i < end; i++)
        j->kern->silu_mul(sd_mat_row(j->y, i), sd_mat_row(j->a, i), sd_mat_row(j->b, i), j->a.cols);
}

void sd_silu_mul(const sd_exec *ex, sd_mat out, sd_mat gate, sd_mat up)
{
    SD_ASSERT(out.rows == gate.rows && out.cols == gate.cols && up.rows == gate.rows && up.cols == gate.cols);
    rows_job j = {.kern = sd_kern_ops_select(ex->cpu.flags), .y = out, .a = gate, .b = up};
    sd_parallel_for(ex->n_threads, gate.rows, chunk_rows(gate.cols), silu_rows, &j);
}

static void add_rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    (void)chunk;
    const rows_job *j = arg;
    for (int64_t i = begin; i < end; i++) j->kern->add(sd_mat_row(j->y, i), sd_mat_row(j->a, i), j->a.cols);
}

void sd_add(const sd_exec *ex, sd_mat y, sd_mat x)
{
    SD_ASSERT(y.rows == x.rows && y.cols == x.cols);
    rows_job j = {.kern = sd_kern_ops_select(ex->cpu.flags), .y = y, .a = x};
    sd_parallel_for(ex->n_threads, x.rows, chunk_rows(x.cols), add_rows, &j);
}

static void sum_rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    (void)chunk;
    const rows_job *j = arg;
    for (int64_t i = begin; i < end; i++) {
        float *y = sd_mat_row(j->y, i);
        const float *a = sd_mat_row(j->a, i), *b = j->b.data ? sd_mat_row(j->b, i) : NULL;
        if (!b)
            memcpy(y, a, (size_t)j->a.cols * sizeof *y);
        else
            for (int64_t c = 0; c < j->a.cols; c++) y[c] = a[c] + b[c];
    }
}

void sd_sum(const sd_exec *ex, sd_mat y, sd_mat a, sd_mat b)
{
    SD_ASSERT(y.rows == a.rows && y.cols == a.cols && (!b.data || (b.rows == a.rows && b.cols == a.cols)));
    rows_job j = {.y = y, .a = a, .b = b};
    sd_parallel_for(ex->n_threads, a.rows, chunk_rows(a.cols), sum_rows, &j);
}

sd_status sd_rope_init(sd_rope *r, int n_rot, double theta, sd_err *err)
{
    SD_ASSERT(n_rot > 0 && n_rot % 2 == 0 && theta > 0);
    *r = (sd_rope){.half = n_rot / 2, .scale = 1.0f};
    sd_status st = sd_alloc(&r->inv_freq, (size_t)r->half * sizeof *r->inv_freq, "rotary frequencies", err);
    if (st) return st;
    /* 1.0 / base ** (arange(0, n_rot, 2) / n_rot) with an f32 power, as transformers' compute_default_rope_parameters.
     */
    for (int i = 0; i < r->half; i++)
        r->inv_freq[i] = 1.0f / (float)pow(theta, (double)((float)(2 * i) / (float)n_rot));
    return SD_OK;
}

void sd_rope_release(sd_rope *r)
{
    sd_free(r->inv_freq);
    *r = (sd_rope){0};
}

void sd_rope_angles(float *cos_out, float *sin_out, const sd_rope *r, const int32_t *pos, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        for (int h = 0; h < r->half; h++) {
            double angle = (double)((float)pos[i] * r->inv_freq[h]);
            cos_out[i * r->half + h] = (float)cos(angle) * r->scale;
            sin_out[i * r->half + h] = (float)sin(angle) * r->scale;
        }
}

static void rope_rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    (void)chunk;
    const rows_job *j = arg;
    int64_t d = j->y.cols / j->n_head;
    for (int64_t i = begin; i < end; i++)
        for (int h = 0; h < j->n_head; h++)
            j->kern->rope(sd_mat_row(j->y, i) + h * d, j->cos + i * j->half, j->sin + i * j->half, j->half);
}

void sd_rope_apply(const sd_exec *ex, sd_mat x, int n_head, int half, const float *cos, const float *sin)
{
    SD_ASSERT(x.cols % n_head == 0 && 2 * half <= x.cols / n_head);
    rows_job j = {
        .kern = sd_kern_ops_select(ex->cpu.flags), .y = x, .cos = cos, .sin = sin, .n_head = n_head, .half = half};
    sd_parallel_for(ex->n_threads, x.rows, chunk_rows(x.cols), rope_rows, &j);
}
