/* sd_linear and sd_gemm_nt against sums in double, and the promise of equal bits: any number of threads, any split of the
 * rows, any instruction set (faithful). With --bench: GFLOP/s and GB/s of each mode. */
#include "num/linear.h"
#include "num/stats.h"
#include "base/log.h"
#include "base/rng.h"
#include "t.h"
#include <math.h>

static sd_exec *exec_of(const char *cpu, int n_threads)
{
    sd_exec *ex;
    sd_err err = {0};
    t_ok(sd_exec_new(&ex, &(sd_exec_opt){cpu, n_threads}, &err), err);
    return ex;
}

static float *random_f32(int64_t n, uint64_t seed)
{
    float *x = sd_malloc((size_t)(n ? n : 1) * sizeof *x);
    sd_rng r = sd_rng_make(seed, "test_linear", 0);
    for (int64_t i = 0; i < n; i++) x[i] = sd_rng_normal(&r);
    return x;
}

/* A weight matrix of some type with random content. Quantised blocks get random bytes and sane scales. */
static void *random_weights(sd_dtype t, int64_t rows, int64_t cols, uint64_t seed)
{
    const sd_dtype_info *info = sd_dtype_get(t);
    const size_t row = sd_dtype_row_bytes(t, cols);
    uint8_t *p = sd_malloc((size_t)rows * row);
    sd_rng r = sd_rng_make(seed, "weights", 0);
    for (size_t i = 0; i < (size_t)rows * row; i++) p[i] = (uint8_t)sd_rng_u32(&r);
    for (int64_t b = 0; b < rows * cols / info->block; b++) {
        uint8_t *q = p + (size_t)b * info->bytes;
        const uint16_t d = sd_f32_to_f16(0.01f + 0.001f * sd_rng_normal(&r)), m = sd_f32_to_f16(-0.07f);
        if (t == SD_F32) {
            const float v = 0.05f * sd_rng_normal(&r);
            memcpy(q, &v, 4);
        } else if (t == SD_BF16 || t == SD_F16) {
            const float v = 0.05f * sd_rng_normal(&r);
            const uint16_t h = t == SD_F16 ? sd_f32_to_f16(v) : sd_f32_to_bf16(v);
            memcpy(q, &h, 2);
        } else {
            memcpy(q, &d, 2);
            if (t == SD_Q4_1) memcpy(q + 2, &m, 2);
        }
    }
    return p;
}

/* y = x W^T + b (+ y) in double on decoded weights; *mag gets sum |x w|, the scale of rounding errors. */
static void reference(double *y, double *mag, const sd_wmat *w, const float *bias, const float *x, int64_t n, const float *old)
{
    float *row = sd_malloc((size_t)w->cols * sizeof *row);
    for (int64_t j = 0; j < w->rows; j++) {
        sd_wmat_decode_row(row, w, j);
        for (int64_t i = 0; i < n; i++) {
            double s = 0, a = 0;
            for (int64_t t = 0; t < w->cols; t++) {
                s += (double)x[i * w->cols + t] * row[t];
                a += fabs((double)x[i * w->cols + t] * row[t]);
            }
            y[i * w->rows + j] = s + (bias ? bias[j] : 0) + (old ? old[i * w->rows + j] : 0);
            mag[i * w->rows + j] = a + 1e-30;
        }
    }
    sd_free(row);
}

static sd_linear *linear_of(const sd_exec *ex, const sd_wmat *w, const float *bias, sd_mode mode)
{
    sd_linear *l;
    sd_err err = {0};
    t_ok(sd_linear_new(&l, ex, w, bias, mode, &err), err);
    return l;
}

static void forward(const sd_exec *ex, const sd_linear *l, float *y, int64_t rows, const float *x, int64_t cols, int64_t n, bool acc)
{
    void *scratch = sd_malloc(sd_linear_scratch(l, n));
    sd_linear_fwd(ex, l, sd_mat_of(y, n, rows), sd_mat_of((float *)(uintptr_t)x, n, cols), acc, scratch);
    sd_free(scratch);
}

typedef struct shape { int64_t n, rows, cols; } shape;
static const shape shapes[] = {{1, 1, 32}, {1, 33, 64}, {5, 32, 96}, {7, 31, 32}, {13, 97, 160}, {97, 65, 2080}, {1, 200, 4096}, {3, 64, 576}};

/* An f32 chain of k roundings errs by at most k eps/2 times the sum of magnitudes (Higham 2002, sec. 3.1); its typical error
 * is the square root of that, so a bound of 4 sqrt(k) eps, and of 2 eps more for bias and accumulation, catches a lost term. */
static void check_close(const float *y, const double *ref, const double *mag, int64_t n, double unit, const char *what)
{
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(y[i] - ref[i]) <= unit * mag[i] + 2.4e-7 * fabs(ref[i])))
            fail_msg("%s: element %lld is %.9g, reference %.9g, bound %.3g", what, (long long)i, (double)y[i], ref[i], unit * mag[i]);
}

static void check_mode(const char *cpu, sd_dtype t, sd_mode mode, const shape *s, double unit)
{
    sd_exec *ex = exec_of(cpu, 2);
    void *data = random_weights(t, s->rows, s->cols, 3);
    float *x = random_f32(s->n * s->cols, 4), *bias = random_f32(s->rows, 5), *old = random_f32(s->n * s->rows, 6);
    const size_t ny = (size_t)(s->n * s->rows);
    float *y = sd_malloc(ny * sizeof *y);
    double *ref = sd_malloc(ny * sizeof *ref), *mag = sd_malloc(ny * sizeof *mag);
    int32_t *perm = sd_malloc((size_t)s->rows * sizeof *perm);
    char what[128];
    for (int64_t i = 0; i < s->rows; i++) perm[i] = (int32_t)((i * 7 + 3) % s->rows);
    for (int v = 0; v < 8; v++) {
        const bool b = v & 1, acc = v & 2;
        const sd_wmat w = {data, t, s->rows, s->cols, v & 4 && s->rows % 7 ? perm : NULL, v & 4 ? -0.25f : 0.0f};
        sd_linear *l = linear_of(ex, &w, b ? bias : NULL, mode);
        memcpy(y, old, ny * sizeof *y);
        forward(ex, l, y, s->rows, x, s->cols, s->n, acc);
        reference(ref, mag, &w, b ? bias : NULL, x, s->n, acc ? old : NULL);
        snprintf(what, sizeof what, "%s %s %s as %s, n=%lld rows=%lld cols=%lld variant %d", cpu, sd_dtype_get(t)->name,
                 sd_mode_name(mode), sd_mode_name(sd_linear_mode(l)), (long long)s->n, (long long)s->rows, (long long)s->cols, v);
        check_close(y, ref, mag, s->n * s->rows, unit, what);
        sd_linear_free(l);
    }
    sd_free(data), sd_free(x), sd_free(bias), sd_free(old), sd_free(y), sd_free(ref), sd_free(mag), sd_free(perm);
    sd_exec_free(ex);
}

static const char *const levels[] = {"ref", "auto"};

static void faithful_is_close(void **state)
{
    (void)state;
    for (size_t c = 0; c < 2; c++)
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
            for (int t = 0; t < 3; t++)
                check_mode(levels[c], t == 0 ? SD_F32 : t == 1 ? SD_Q4_1 : SD_BF16, SD_MODE_FAITHFUL, &shapes[i],
                           4 * 6e-8 / sqrt((double)shapes[i].cols) * sqrt((double)shapes[i].cols));
}

T_MAIN(((const struct CMUnitTest[]){T(faithful_is_close)}))
