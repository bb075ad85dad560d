/* Gradients of every parameter of the ten fixtures against transformers' (float32, eager): names, shapes and values,
 * from the folder and from the GGUF, with every block's inside computed again and with all of it kept. Bounds: CONTRACT
 * section 4, 1e-3 of a parameter's largest entry; the loss 1e-5. */
#include "t.h"

#include "file/weights.h"
#include "model/learner.h"
#include "num/stats.h"

#include <math.h>

enum { ROWS = 2, N = 48 };

static void compare(sd_learner *t, const sd_weights *golden)
{
    sd_err err = {0};
    sd_hf_tensor *list;
    int64_t n, seen = 0;
    t_ok(sd_learner_hf_list(t, &list, &n, &err), err);
    for (int64_t i = 0; i < n; i++) {
        char name[200];
        snprintf(name, sizeof name, "grad.%s", list[i].name);
        const sd_tensor *want = sd_weights_find(golden, name);
        if (!want) fail_msg("transformers has no %s", name);
        assert_int_equal(want->rank, list[i].rank);
        int64_t size = 1;
        for (int k = 0; k < list[i].rank; k++) {
            assert_int_equal(want->dim[k], list[i].dim[k]);
            size *= want->dim[k];
        }
        float *got = malloc((size_t)size * sizeof *got);
        sd_learner_hf_fill(t, &list[i], true, got);
        sd_diff d = sd_diff_f32(got, want->data, size);
        if (d.n_nonfinite || !(d.rel <= 1e-3))
            fail_msg("%s: rel %g at %lld: %g, expected %g", name, d.rel, (long long)d.worst, d.a_worst, d.b_worst);
        free(got);
    }
    for (int64_t i = 0; i < sd_weights_count(golden); i++)
        seen += sd_slice_starts(sd_weights_at(golden, i)->name, "grad.");
    assert_int_equal(seen, n);
    sd_free(list);
}

static void run(const char *arch, const char *file, size_t keep_bytes)
{
    char rel[200], rel_golden[200];
    snprintf(rel, sizeof rel, "fixtures/models/%s%s", arch, file);
    snprintf(rel_golden, sizeof rel_golden, "fixtures/models/%s/golden.safetensors", arch);
    const char *path = t_shared(rel), *golden_path = t_shared(rel_golden);
    if (!path || !golden_path) t_skip("no %s under SONDE_SHARED", rel);
    sd_err err = {0};
    sd_exec *ex;
    sd_model *m;
    sd_weights *golden;
    sd_learner *t;
    t_ok(sd_exec_new(&ex, NULL, &err), err);
    t_ok(sd_model_open(&m, ex, path, &(sd_model_opt){.views = true}, &err), err);
    t_ok(sd_weights_open(&golden, golden_path, &err), err);
    t_ok(sd_learner_new(
             &t, ex, m,
             &(sd_learner_opt){.mode = SD_MODE_FAITHFUL, .full = true, .max_rows = ROWS * N, .keep_bytes = keep_bytes},
             &err),
         err);
    const int32_t *ids = sd_weights_find(golden, "ids")->data;
    int32_t target[ROWS][N];
    sd_doc doc[ROWS];
    for (int r = 0; r < ROWS; r++) {
        for (int i = 0; i < N; i++) target[r][i] = i + 1 < N ? ids[r * N + i + 1] : -1;
        doc[r] = (sd_doc){ids + r * N, target[r], N};
    }
    const float *lp;
    int64_t n_lp;
    t_ok(sd_learner_forward(t, &(sd_learner_batch){.doc = doc, .n_doc = ROWS, .grad = true, .step = 1}, &lp, &n_lp, &err), err);
    assert_int_equal(n_lp, ROWS * (N - 1));
    double loss = 0;
    float row[ROWS * N];
    for (int64_t i = 0; i < n_lp; i++) {
        loss -= (double)lp[i] / (double)n_lp;
        row[i] = -1.0f / (float)n_lp;
    }
    const double want = (double)*(const float *)sd_weights_find(golden, "loss")->data;
    if (!(fabs(loss - want) <= 1e-5 * want)) fail_msg("%s: loss %.9g, expected %.9g", rel, loss, want);
    t_ok(sd_learner_backward(t, row, &err), err);
    compare(t, golden);
    sd_learner_free(t);
    sd_weights_close(golden);
    sd_model_close(m);
    sd_exec_free(ex);
}

#define KEEP_ALL ((size_t)1 << 30)
#define FOLDER(A)                                                                                                      \
    static void test_##A(void **state)                                                                                 \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        run(#A, "", 0);                                                                                                \
    }                                                                                                                  \
    static void test_kept_##A(void **state)                                                                            \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        run(#A, "", KEEP_ALL);                                                                                         \
    }
#define GGUF(A)                                                                                                        \
    static void test_gguf_##A(void **state)                                                                            \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        run(#A, "/model.gguf", 0);                                                                                     \
    }
FOLDER(llama)
FOLDER(mistral)
FOLDER(qwen2)
FOLDER(qwen3)
FOLDER(gemma2)
FOLDER(gemma3_text)
FOLDER(phi3)
FOLDER(olmo2)
FOLDER(gpt2)
FOLDER(gpt_neox)
GGUF(llama)
/* Mistral's GGUF says nothing of its window: it is another model. */
GGUF(qwen2)
GGUF(qwen3)
GGUF(gemma3_text)
GGUF(olmo2)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_llama),      T(test_mistral),     T(test_qwen2),       T(test_qwen3),
        T(test_gemma2),     T(test_gemma3_text), T(test_phi3),        T(test_olmo2),
        T(test_gpt2),       T(test_gpt_neox),    T(test_kept_llama),  T(test_kept_mistral),
        T(test_kept_qwen2), T(test_kept_qwen3),  T(test_kept_gemma2), T(test_kept_gemma3_text),
        T(test_kept_phi3),  T(test_kept_olmo2),  T(test_kept_gpt2),   T(test_kept_gpt_neox),
        T(test_gguf_llama), T(test_gguf_qwen2),  T(test_gguf_qwen3),  T(test_gguf_gemma3_text),
        T(test_gguf_olmo2)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
