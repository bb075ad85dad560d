/* The quick look at a machine. Rates are the best of repetitions within a time slice: other processes only ever slow a loop
 * down, so the best is the closest to what the machine can do. */
#include "lab/machine.h"
#include "base/mem.h"
#include "base/par.h"
#include "base/rng.h"
#include <math.h>
#include <string.h>

/* Seconds a measurement repeats. Four of them stay under two seconds. */
#define SLICE 0.3
/* The buffer to read: beyond every cache of today's laptops, small enough for a machine with 1 GB. */
#define READ_BYTES ((size_t)192 << 20)
/* A product of a prefill: 256 tokens through a square layer of 1024. CHECK_ROWS of them are compared. */
enum { ROWS = 256, DIM = 1024, CHECK_ROWS = 4 };

/* Chunks are 1 MiB: thousands of times the cost of handing one out. */
enum { READ_CHUNK = 1 << 18 };
typedef struct read_arg { const sd_exec *ex; const float *p; float *partial; } read_arg;

static void read_chunk(void *arg, int64_t chunk, int64_t begin, int64_t end)
{
    read_arg *a = arg;
    int64_t half = (end - begin) / 2;
    a->partial[chunk] = a->ex->kern->dot(a->p + begin, a->p + begin + half, half);
}

static sd_status measure_read(sd_machine *out, const sd_exec *ex, sd_err *err)
{
    int64_t n = (int64_t)(READ_BYTES / sizeof(float)), n_chunk = n / READ_CHUNK;
    read_arg a = {.ex = ex};
    float *p = NULL;
    sd_status st = sd_alloc_wide(&p, READ_BYTES, "a buffer to measure the memory", err);
    if (!st) st = sd_alloc(&a.partial, (size_t)n_chunk * sizeof(float), "sums", err);
    if (st) goto done;
    a.p = p;
    for (int64_t i = 0; i < n; i++) p[i] = 1;
    for (double t0 = sd_now(), t = t0; t - t0 < SLICE;) {
        sd_parallel_for(ex->n_threads, n, READ_CHUNK, read_chunk, &a);
        double now = sd_now();
        out->read_gb_s = fmax(out->read_gb_s, (double)READ_BYTES / (now - t) / 1e9);
        t = now;
    }
done:
    sd_free(a.partial);
    sd_free(p);
    return st;
}

/* The same random weights in another type. Q8_0: blocks of 32 with an f16 scale in front (ggml-common.h, block_q8_0). */
static sd_status make_weights(void **out, sd_dtype type, sd_err *err)
{
    size_t row = sd_dtype_row_bytes(type, DIM);
    sd_rng rng = sd_rng_make(0, "machine", (uint64_t)type);
    sd_status st = sd_alloc(out, row * DIM, "weights", err);
    if (st) return st;
    if (type == SD_Q8_0) {
        uint8_t *b = *out;
        uint16_t scale = sd_f32_to_f16(1.0f / (64 * 127));
        for (int64_t i = 0; i < DIM * (DIM / 32); i++, b += 34) {
            memcpy(b, &scale, 2);
            for (int k = 0; k < 32; k++) b[2 + k] = (uint8_t)(int8_t)((int)sd_rng_below(&rng, 255) - 127);
        }
        return SD_OK;
    }
    for (int64_t i = 0; i < (int64_t)DIM * DIM; i++) {
        float v = (float)(sd_rng_uniform(&rng) - 0.5) / 32;
        if (type == SD_F32) ((float *)*out)[i] = v;
        else ((uint16_t *)*out)[i] = sd_f32_to_bf16(v);
    }
    return SD_OK;
}

/* max|y - x w^T| / max|x w^T| over the first rows, the products in double. */
static double check_rows(sd_mat y, sd_mat x, const sd_wmat *w, float *w_row)
{
    double worst = 0, largest = 0;
    for (int64_t j = 0; j < DIM; j++) {
        sd_wmat_decode_row(w_row, w, j);
        for (int64_t i = 0; i < CHECK_ROWS; i++) {
            double s = 0;
            for (int64_t k = 0; k < DIM; k++) s += (double)sd_mat_row(x, i)[k] * (double)w_row[k];
            worst = fmax(worst, fabs(s - (double)sd_mat_row(y, i)[j]));
            largest = fmax(largest, fabs(s));
        }
    }
    return isfinite(worst) ? worst / largest : INFINITY;
}

static sd_status measure_product(sd_machine_product *p, const sd_exec *ex, sd_dtype type, sd_err *err)
{
    void *weights = NULL, *scratch = NULL;
    float *x = NULL, *y = NULL, *w_row = NULL;
    sd_linear *l = NULL;
    sd_rng rng = sd_rng_make(0, "machine x", 0);
    sd_status st = make_weights(&weights, type, err);
    sd_wmat w = {.data = weights, .dtype = type, .rows = DIM, .cols = DIM};
    if (!st) st = sd_alloc(&x, sizeof(float) * ROWS * DIM, "rows", err);
    if (!st) st = sd_alloc(&y, sizeof(float) * ROWS * DIM, "rows", err);
    if (!st) st = sd_alloc(&w_row, sizeof(float) * DIM, "a row", err);
    if (!st) st = sd_linear_new(&l, ex, &w, NULL, p->mode, err);
    if (!st) st = sd_alloc(&scratch, sd_linear_scratch(l, ROWS) + SD_ALIGN, "scratch", err);
    if (st) goto done;
    for (int64_t i = 0; i < ROWS * DIM; i++) x[i] = sd_rng_normal(&rng);
    sd_mat mx = sd_mat_of(x, ROWS, DIM), my = sd_mat_of(y, ROWS, DIM);
    p->used = sd_linear_mode(l);
    p->weights = sd_dtype_get(type)->name;
    for (double t0 = sd_now(), t = t0; t - t0 < SLICE;) {
        sd_linear_fwd(ex, l, my, mx, false, scratch);
        double now = sd_now();
        p->gops = fmax(p->gops, 2.0 * ROWS * DIM * DIM / (now - t) / 1e9);
        t = now;
    }
    p->rel_error = check_rows(my, mx, &w, w_row);
    /* f32: 1024 fused additions in one chain, each off by half an ulp of the sum, 1024 * 2^-24 = 6e-5 at worst. bf16: both factors
     * rounded to 8 bits, 2^-8 at worst each, averaging over the sum. int8: rows rounded to 1/127 of a block's largest, averaging too. */
    p->bound = p->used == SD_MODE_FAITHFUL ? 6e-5 : 2e-2;
done:
    sd_free(scratch);
    sd_linear_free(l);
    sd_free(w_row);
    sd_free(y);
    sd_free(x);
    sd_free(weights);
    return st;
}

sd_status sd_lab_machine(sd_machine *out, const sd_exec *ex, const sd_progress *progress, sd_err *err)
{
    static const struct { sd_mode mode; sd_dtype type; } what[3] = {{SD_MODE_FAITHFUL, SD_F32}, {SD_MODE_BF16, SD_BF16}, {SD_MODE_FAST, SD_Q8_0}};
    *out = (sd_machine){.right = true};
    sd_status st = measure_read(out, ex, err);
    for (int i = 0; i < 3 && !st; i++) {
        sd_progress_update(progress, "measuring", i + 1, 4, NULL);
        if (sd_progress_cancelled(progress)) return sd_fail(err, SD_E_CANCELLED, "interrupted while measuring");
        out->product[i].mode = what[i].mode;
        st = measure_product(&out->product[i], ex, what[i].type, err);
        if (!st && !(out->product[i].rel_error <= out->product[i].bound)) out->right = false;
    }
    return st;
}
