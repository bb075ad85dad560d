/* Our quantisers against files that llama-quantize wrote from the same weights: the same bytes for the plain types, no larger
 * an error for the K types. The files are $SONDE_PEERS/models/smollm2.TYPE.gguf beside smollm2.F32.gguf. */
#include "file/weights.h"
#include "num/quantize.h"
#include "base/mem.h"
#include "t.h"
#include <math.h>

enum { ROWS = 96 }; /* of each tensor: a second of K quantising in all */

static sd_weights *open_model(const char *type)
{
    char path[1024];
    sd_err err = {0};
    sd_weights *w;
    const char *peers = getenv("SONDE_PEERS"), *home = getenv("HOME");
    if (peers)
        snprintf(path, sizeof path, "%s/models/smollm2.%s.gguf", peers, type);
    else
        snprintf(path, sizeof path, "%s/.cache/sonde-peers/models/smollm2.%s.gguf", home ? home : "", type);
    if (access(path, R_OK) != 0) return NULL;
    t_ok(sd_weights_open(&w, path, &err), err);
    return w;
}

/* Squared errors of rows decoded from `data`, plain and with llama.cpp's weight rms + |x|. */
static void add_errors(double sum[2], const void *data, sd_dtype t, const float *x, int64_t cols)
{
    float *got = sd_malloc((size_t)cols * sizeof *got);
    double all = 0;
    sd_dtype_get(t)->decode(got, data, cols);
    for (int64_t i = 0; i < cols; i++) all += (double)x[i] * x[i];
    for (int64_t i = 0; i < cols; i++) {
        const double e = (double)got[i] - x[i];
        sum[0] += e * e;
        sum[1] += e * e * (sqrt(all / (double)cols) + fabs((double)x[i]));
    }
    sd_free(got);
}

typedef struct tally {
    int64_t tensors, bytes, other;
    double ours[2], theirs[2];
} tally;

static void compare_tensor(tally *c, const sd_tensor *plain, const sd_tensor *quant)
{
    const int64_t cols = plain->dim[1];
    const size_t step = sd_dtype_row_bytes(quant->dtype, cols);
    uint8_t *row = sd_malloc(step);
    for (int64_t r = 0; r < ROWS && r < plain->dim[0]; r++) {
        const float *x = (const float *)plain->data + r * cols;
        const uint8_t *theirs = (const uint8_t *)quant->data + (size_t)r * step;
        assert_int_equal(sd_quantize_row(row, quant->dtype, x, cols), 0);
        for (size_t i = 0; i < step; i++) c->other += row[i] != theirs[i];
        c->bytes += (int64_t)step;
        add_errors(c->ours, row, quant->dtype, x, cols);
        add_errors(c->theirs, theirs, quant->dtype, x, cols);
    }
    c->tensors++;
    sd_free(row);
}

static void compare_type(const char *file, sd_dtype t, bool same)
{
    sd_weights *plain = open_model("F32"), *quant = plain ? open_model(file) : NULL;
    tally c = {0};
    if (!quant) {
        sd_weights_close(plain);
        t_skip("no smollm2.F32.gguf and smollm2.%s.gguf in SONDE_PEERS", file);
    }
    for (int64_t i = 0; i < sd_weights_count(quant) && c.tensors < 8; i++) {
        const sd_tensor *q = sd_weights_at(quant, i);
        char name[128];
        if (q->dtype != t || q->rank != 2) continue;
        snprintf(name, sizeof name, "%.*s", SD_SLICE(q->name));
        compare_tensor(&c, sd_weights_find(plain, name), q);
    }
    printf("%s: %lld of %lld bytes differ; squared error %.5f of theirs, weighted %.5f\n", sd_dtype_get(t)->name, (long long)c.other,
           (long long)c.bytes, c.ours[0] / c.theirs[0], c.ours[1] / c.theirs[1]);
    assert_true(c.tensors > 0);
    if (same)
        assert_int_equal(c.other, 0);
    else
        assert_true(c.ours[0] <= c.theirs[0] && c.ours[1] <= c.theirs[1]);
    sd_weights_close(plain), sd_weights_close(quant);
}

static void q8_0(void **state) { (void)state, compare_type("Q8_0", SD_Q8_0, true); }
static void q4_0(void **state) { (void)state, compare_type("Q4_0", SD_Q4_0, true); }
static void q5_0(void **state) { (void)state, compare_type("Q5_0", SD_Q5_0, true); }
static void q5_1(void **state) { (void)state, compare_type("Q5_1", SD_Q5_1, true); }
static void q4_k(void **state) { (void)state, compare_type("Q4_K_M", SD_Q4_K, false); }
static void q5_k(void **state) { (void)state, compare_type("Q5_K_M", SD_Q5_K, false); }
static void q6_k(void **state) { (void)state, compare_type("Q6_K", SD_Q6_K, false); }

T_MAIN(((const struct CMUnitTest[]){T(q8_0), T(q4_0), T(q5_0), T(q5_1), T(q4_k), T(q5_k), T(q6_k)}))
