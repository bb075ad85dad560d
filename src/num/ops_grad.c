/* Backward of norms, gates, biases and embeddings. Gradients of rows are spread over rows, gradients of weights over
 * columns: each sum is then one thread's, in the order of rows. */
#include "num/ops_grad.h"

#include "base/par.h"

#include <math.h>
#include <string.h>

enum { CHUNK_ELEMENTS = 32768, CHUNK_COLS = 64, PART = 512 };

static int64_t chunk_rows(int64_t cols)
{
    int64_t r = CHUNK_ELEMENTS / (cols > 0 ? cols : 1);
    return r < 1 ? 1 : r;
}

typedef struct norm_job {
    const sd_kern_train *kern;
    const sd_norm_grad *a;
    bool layer;
} norm_job;

/* r and mean of a row: what both gradients need. Deviations are squared one by one: the mean of squares less the squared mean would cancel. */
static void stat_row(const norm_job *j, int64_t i)
{
    const sd_norm_grad *a = j->a;
    const int64_t n = a->x.cols;
    const float *x = sd_mat_row(a->x, i), mean = j->layer ? j->kern->sum(x, n) / (float)n : 0.0f;
    float t[PART], square = 0.0f;
    for (int64_t c = 0; c < n; c += PART) {
        const int64_t m = n - c < PART ? n - c : PART;
        for (int64_t k = 0; k < m; k++) t[k] = x[c + k] - mean;
        square += j->kern->dot(t, t, m);
    }
    a->stat[2 * i] = 1.0f / sqrtf(square / (float)n + a->eps);
    a->stat[2 * i + 1] = mean;
}

static void stat_rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    (void)chunk;
    for (int64_t i = begin; i < end; i++) stat_row(arg, i);
}

/* Before rows: gx may be gy. */
static void norm_cols(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const norm_job *j = arg;
    const sd_norm_grad *a = j->a;
    (void)chunk;
    for (int64_t c0 = begin; c0 < end; c0 += CHUNK_COLS) {
        const int64_t n = end - c0 < CHUNK_COLS ? end - c0 : CHUNK_COLS;
        for (int64_t i = 0; i < a->x.rows; i++) {
            const float *gy = sd_mat_row(a->gy, i) + c0, *x = sd_mat_row(a->x, i) + c0;
            const float r = a->stat[2 * i], mean = a->stat[2 * i + 1];
            for (int64_t c = 0; c < n; c++) a->gg[c0 + c] += gy[c] * (x[c] - mean) * r;
            if (a->gb)
                for (int64_t c = 0; c < n; c++) a->gb[c0 + c] += gy[c];
        }
    }
}

/* sum_j t_j (x_j - mean) of a row (and sum_j t_j), t = g gy, in pieces so that no row-sized scratch is needed. */
static void weighted_sums(const norm_job *j, int64_t i, float *dot, float *sum)
{
    const sd_norm_grad *a = j->a;
    const float *gy = sd_mat_row(a->gy, i), *x = sd_mat_row(a->x, i), mean = a->stat[2 * i + 1];
    float t[PART], apart[PART];
    *dot = *sum = 0.0f;
    for (int64_t c = 0; c < a->x.cols; c += PART) {
        const int64_t n = a->x.cols - c < PART ? a->x.cols - c : PART;
        for (int64_t k = 0; k < n; k++) t[k] = a->g[c + k] * gy[c + k], apart[k] = x[c + k] - mean;
        *dot += j->kern->dot(t, apart, n);
        if (j->layer) *sum += j->kern->sum(t, n);
    }
}

static void norm_rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const norm_job *j = arg;
    const sd_norm_grad *a = j->a;
    const int64_t n = a->x.cols;
    (void)chunk;
    for (int64_t i = begin; i < end; i++) {
        if (!a->gg) stat_row(j, i); /* else it was there for the columns */
        const float *x = sd_mat_row(a->x, i), *gy = sd_mat_row(a->gy, i), r = a->stat[2 * i], mean = a->stat[2 * i + 1];
        float *gx = sd_mat_row(a->gx, i), dot, sum;
        weighted_sums(j, i, &dot, &sum);
        const float m_t = sum / (float)n, m_tx = dot / (float)n * r * r;
        if (a->replace)
            for (int64_t c = 0; c < n; c++) gx[c] = r * (a->g[c] * gy[c] - m_t - (x[c] - mean) * m_tx);
        else
            for (int64_t c = 0; c < n; c++) gx[c] += r * (a->g[c] * gy[c] - m_t - (x[c] - mean) * m_tx);
    }
}

static void norm_bwd(const sd_exec *ex, const sd_norm_grad *a, bool layer)
{
    norm_job j = {sd_kern_train_select(ex->cpu.flags), a, layer};
    SD_ASSERT(a->gx.rows == a->x.rows && a->gy.rows == a->x.rows && a->gx.cols == a->x.cols && a->gy.cols == a->x.cols);
    if (a->x.rows == 0) return;
    if (a->gg) sd_parallel_for(ex->n_threads, a->x.rows, chunk_rows(a->x.cols), stat_rows, &j);
    if (a->gg) sd_parallel_for(ex->n_threads, a->x.cols, CHUNK_COLS, norm_cols, &j);
    sd_parallel_for(ex->n_threads, a->x.rows, chunk_rows(a->x.cols), norm_rows, &j);
}

void sd_rmsnorm_bwd(const sd_exec *ex, const sd_norm_grad *a)
{
    norm_bwd(ex, a, false);
}

void sd_layernorm_bwd(const sd_exec *ex, const sd_norm_grad *a)
{
    norm_bwd(ex, a, true);
}

/* ---- elementwise, biases, embeddings ---- */

typedef struct rows_job {
    const sd_kern_train *kern;
    sd_mat gg, gu, gh, g, u;
    sd_nonlin f;
    float *gb, scale;
    const int32_t *tok;
} rows_job;

static void gate_rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const rows_job *j = arg;
    (void)chunk;
    for (int64_t i = begin; i < end; i++)
        j->kern->gate_bwd(sd_mat_row(j->gg, i), j->u.data ? sd_mat_row(j->gu, i) : NULL, sd_mat_row(j->gh, i),
                          sd_mat_row(j->g, i), j->u.data ? sd_mat_row(j->u, i) : NULL, j->f, j->g.cols);
}

void sd_gate_bwd(const sd_exec *ex, sd_mat gg, sd_mat gu, sd_mat gh, sd_mat g, sd_mat u, sd_nonlin f)
{
    rows_job j = {.kern = sd_kern_train_select(ex->cpu.flags), .gg = gg, .gu = gu, .gh = gh, .g = g, .u = u, .f = f};
    sd_parallel_for(ex->n_threads, g.rows, chunk_rows(g.cols), gate_rows, &j);
}

static void bias_cols(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const rows_job *j = arg;
    (void)chunk;
    for (int64_t i = 0; i < j->gh.rows; i++) {
        const float *g = sd_mat_row(j->gh, i);
        for (int64_t c = begin; c < end; c++) j->gb[c] += g[c];
    }
}

void sd_bias_bwd(const sd_exec *ex, float *gb, sd_mat gy)
{
    rows_job j = {.gh = gy, .gb = gb};
    sd_parallel_for(ex->n_threads, gy.cols, CHUNK_COLS, bias_cols, &j);
}

static void embed_cols(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const rows_job *j = arg;
    (void)chunk;
    for (int64_t i = 0; i < j->gh.rows; i++) {
        const float *g = sd_mat_row(j->gh, i);
        float *w = sd_mat_row(j->gg, j->tok[i]);
        for (int64_t c = begin; c < end; c++) w[c] += j->scale * g[c];
    }
}

void sd_embed_bwd(const sd_exec *ex, sd_mat gw, const int32_t *tok, sd_mat gy, float scale)
{
    rows_job j = {.gg = gw, .gh = gy, .tok = tok, .scale = scale};
    sd_parallel_for(ex->n_threads, gy.cols, CHUNK_COLS, embed_cols, &j);
}

static void scale_rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const rows_job *j = arg;
    (void)chunk;
    for (int64_t i = begin; i < end; i++) j->kern->scale(sd_mat_row(j->gg, i), j->scale, j->gg.cols);
}

void sd_scale(const sd_exec *ex, sd_mat x, float s)
{
    rows_job j = {.kern = sd_kern_train_select(ex->cpu.flags), .gg = x, .scale = s};
    sd_parallel_for(ex->n_threads, x.rows, chunk_rows(x.cols), scale_rows, &j);
}

static void add_bias_rows(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const rows_job *j = arg;
    (void)chunk;
    for (int64_t i = begin; i < end; i++) {
        float *y = sd_mat_row(j->gg, i);
        for (int64_t c = 0; c < j->gg.cols; c++) y[c] += j->gb[c];
    }
}

void sd_add_bias(const sd_exec *ex, sd_mat y, const float *b)
{
    union {
        const float *c;
        float *v;
    } bias = {b}; /* read only */
    rows_job j = {.gg = y, .gb = bias.v};
    sd_parallel_for(ex->n_threads, y.rows, chunk_rows(y.cols), add_bias_rows, &j);
}

typedef struct convert_job {
    const sd_exec *ex;
    uint16_t *half;
    const uint16_t *from_half;
    float *wide;
    const float *from_wide;
} convert_job;

static void narrow_chunk(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const convert_job *j = arg;
    (void)chunk;
    j->ex->kern->to_bf16(j->half + begin, j->from_wide + begin, end - begin);
}

static void widen_chunk(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    const convert_job *j = arg;
    (void)chunk;
    sd_kern_train_select(j->ex->cpu.flags)->widen(j->wide + begin, j->from_half + begin, end - begin);
}

void sd_to_bf16(const sd_exec *ex, uint16_t *dst, const float *src, int64_t n)
{
    sd_parallel_for(ex->n_threads, n, CHUNK_ELEMENTS, narrow_chunk,
                    &(convert_job){.ex = ex, .half = dst, .from_wide = src});
}

void sd_from_bf16(const sd_exec *ex, float *dst, const uint16_t *src, int64_t n)
{
    sd_parallel_for(ex->n_threads, n, CHUNK_ELEMENTS, widen_chunk,
                    &(convert_job){.ex = ex, .wide = dst, .from_half = src});
}
