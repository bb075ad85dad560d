/* Ours and sae-lens' metrics of the same rows, features and reconstructions (tests/interop/dict_metrics.py ran sae-lens 6.54's evals.py). */
#include "t.h"

#include "base/mem.h"
#include "dict/dict_eval.h"
#include "file/weights.h"

#include <math.h>

static const void *get(const sd_weights *w, const char *name, int64_t dim[2])
{
    const sd_tensor *t = sd_weights_find(w, name);
    if (!t) fail_msg("there is no %s", name);
    dim[0] = t->dim[0], dim[1] = t->rank > 1 ? t->dim[1] : 1;
    return t->data;
}

static void test_saelens(void **state)
{
    (void)state;
    static const char *const names[] = {"explained_variance", "explained_variance_legacy", "mse", "l0", "l1", "cossim", "l2_ratio"};
    const char *path = getenv("SONDE_DICT_METRICS");
    sd_err err = {0};
    sd_weights *w;
    int64_t dx[2], dz[2], one[2];
    t_ok(sd_weights_open(&w, path ? path : "tests/data/dict_metrics.safetensors", &err), err);
    const float *x = get(w, "x", dx), *y = get(w, "y", dx), *z = get(w, "z", dz);
    const double *want = get(w, "values", one);
    const int64_t batch = *(const int64_t *)get(w, "batch", one), n = dx[0], d = dx[1], m = dz[1];
    sd_dict_metrics got;
    t_ok(sd_dict_metrics_init(&got, d, m, &err), err);
    float *copy = sd_malloc((size_t)(2 * n * d) * 4), *val = sd_malloc((size_t)(batch * m) * 4);
    int32_t *idx = sd_malloc((size_t)(batch * m) * 4);
    int64_t *ptr = sd_malloc((size_t)(batch + 1) * 8);
    memcpy(copy, x, (size_t)(n * d) * 4), memcpy(copy + n * d, y, (size_t)(n * d) * 4);
    for (int64_t r = 0; r < n; r += batch) { /* sae-lens' batches: the legacy definition depends on them */
        int64_t e = 0;
        for (int64_t i = 0; i < batch; i++) {
            ptr[i] = e;
            for (int64_t f = 0; f < m; f++)
                if (z[(r + i) * m + f] != 0.0f) idx[e] = (int32_t)f, val[e++] = z[(r + i) * m + f];
        }
        ptr[batch] = e;
        sd_dict_metrics_add(&got, sd_mat_of(copy + r * d, batch, d), sd_mat_of(copy + (n + r) * d, batch, d), &(sd_codes){.n = batch, .nnz = e, .row_ptr = ptr, .idx = idx, .val = val});
    }
    sd_dict_metrics_finish(&got);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *id;
        double v;
        int k = 0;
        while (sd_dict_metric_at(&got, k, &id, &v) && strcmp(id, names[i]) != 0) k++;
        /* sae-lens sums in f32: 1e-6 of a value; the definitions apart from each other by far more. */
        if (!(fabs(v - want[i]) <= 1e-5 * (1 + fabs(want[i])))) fail_msg("%s: ours %.9g, sae-lens' %.9g", names[i], v, want[i]);
    }
    sd_free(copy), sd_free(val), sd_free(idx), sd_free(ptr);
    sd_weights_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_saelens)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
