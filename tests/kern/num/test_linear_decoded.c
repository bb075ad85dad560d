/* Types that are decoded only: a matrix of one gives the bits of the f32 matrix that its rows decode to, in every mode. */
#include "num/dtype.h"
#include "num/linear.h"
#include "base/rng.h"
#include "t.h"
#include <math.h>

enum { ROWS = 40, COLS = 512, N = 3 };

/* Random blocks that decode to ordinary numbers. */
static uint8_t *random_blocks(sd_dtype t)
{
    const sd_dtype_info *info = sd_dtype_get(t);
    const int64_t n_block = ROWS * COLS / info->block;
    uint8_t *p = sd_malloc((size_t)n_block * info->bytes);
    sd_rng r = sd_rng_make(3, "test_linear_decoded", (uint64_t)t);
    for (int64_t b = 0; b < n_block; b++)
        for (bool fine = false; !fine;) {
            float x[256];
            uint8_t *q = p + (size_t)b * info->bytes;
            for (size_t i = 0; i < info->bytes; i++) q[i] = (uint8_t)sd_rng_u32(&r);
            info->decode(x, q, info->block);
            fine = true;
            for (int i = 0; i < info->block; i++) fine &= fabsf(x[i]) < 1e3f; /* not NaN either */
        }
    return p;
}

static void run(float *y, const sd_exec *ex, const sd_wmat *w, float *x, sd_mode mode)
{
    sd_err err = {0};
    sd_linear *l;
    t_ok(sd_linear_new(&l, ex, w, NULL, mode, &err), err);
    assert_true(sd_linear_mode(l) != SD_MODE_FAST);
    void *scratch = sd_malloc(sd_linear_scratch(l, N));
    sd_linear_fwd(ex, l, sd_mat_of(y, N, ROWS), sd_mat_of(x, N, COLS), false, scratch);
    sd_free(scratch);
    sd_linear_free(l);
}

static void multiplies_what_it_decodes(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_exec *ex;
    static float x[N * COLS], y[N * ROWS], want[N * ROWS], wide[ROWS * COLS];
    sd_rng r = sd_rng_make(4, "test_linear_decoded", 0);
    for (int i = 0; i < N * COLS; i++) x[i] = sd_rng_normal(&r);
    t_ok(sd_exec_new(&ex, NULL, &err), err);
    for (sd_dtype t = SD_IQ1_S; t < SD_DTYPE_COUNT; t++) {
        const sd_wmat f = {.data = wide, .dtype = SD_F32, .rows = ROWS, .cols = COLS};
        const sd_wmat w = {.data = random_blocks(t), .dtype = t, .rows = ROWS, .cols = COLS};
        for (int i = 0; i < ROWS; i++) sd_wmat_decode_row(wide + i * COLS, &w, i);
        for (sd_mode m = SD_MODE_FAITHFUL; m <= SD_MODE_FAST; m++) {
            run(y, ex, &w, x, m), run(want, ex, &f, x, m);
            if (memcmp(y, want, sizeof y) != 0) fail_msg("%s in mode %s: %g, expected %g", sd_dtype_get(t)->name, sd_mode_name(m), (double)y[0], (double)want[0]);
        }
        sd_free((void *)(uintptr_t)w.data);
    }
    sd_exec_free(ex);
}

static const struct CMUnitTest tests[] = {T(multiplies_what_it_decodes)};
T_MAIN(tests)
