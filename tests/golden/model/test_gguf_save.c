/* A model written as a GGUF and read again is the model: every fixture, every tensor, bit for bit in f32; a quantised
 * one is what its own rows decode to; what a GGUF cannot say is refused. */
#include "t.h"

#include "base/map.h"
#include "model/gguf_save.h"
#include "num/quantize.h"

static const char *const names[] = {"llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "olmo2", "phi3", "gpt2", "gpt_neox"};

static sd_exec *ex;

static sd_model *open_views(const char *path)
{
    sd_err err = {0};
    sd_model *m = NULL;
    t_ok(sd_model_open(&m, ex, path, &(sd_model_opt){.views = true}, &err), err);
    return m;
}

/* Largest difference of two matrices of one shape. */
static float differ(const sd_wmat *a, const sd_wmat *b)
{
    float worst = 0;
    assert_int_equal(a->data != NULL, b->data != NULL);
    if (!a->data) return 0;
    assert_int_equal(a->rows, b->rows);
    assert_int_equal(a->cols, b->cols);
    float *x = sd_malloc((size_t)a->cols * sizeof *x), *y = sd_malloc((size_t)a->cols * sizeof *y);
    for (int64_t r = 0; r < a->rows; r++) {
        sd_wmat_decode_row(x, a, r);
        sd_wmat_decode_row(y, b, r);
        for (int64_t c = 0; c < a->cols; c++) {
            const float d = x[c] > y[c] ? x[c] - y[c] : y[c] - x[c];
            worst = d > worst ? d : worst;
        }
    }
    sd_free(x);
    sd_free(y);
    return worst;
}

static void same_vector(const float *a, const float *b, int64_t n)
{
    assert_int_equal(a != NULL, b != NULL);
    if (a) assert_memory_equal(a, b, (size_t)n * sizeof *a);
}

/* Returns the largest difference of a matrix of a block. */
static float compare(const sd_model *a, const sd_model *b)
{
    float worst = 0;
    assert_int_equal(a->cfg.n_vocab, b->cfg.n_vocab);
    assert_int_equal(a->cfg.tied, b->cfg.tied);
    for (int l = 0; l < a->cfg.n_layer; l++) {
        const sd_block *x = &a->block[l], *y = &b->block[l];
        const sd_norm *const p[] = {&x->attn_norm, &x->attn_post, &x->mlp_norm, &x->mlp_post};
        const sd_norm *const q[] = {&y->attn_norm, &y->attn_post, &y->mlp_norm, &y->mlp_post};
        for (int i = 0; i < 4; i++) {
            same_vector(p[i]->g, q[i]->g, a->cfg.d_model);
            same_vector(p[i]->b, q[i]->b, a->cfg.d_model);
        }
        same_vector(x->q_norm.g, y->q_norm.g, a->cfg.d_head);
        same_vector(x->k_norm.g, y->k_norm.g, a->cfg.d_head);
        assert_int_equal(x->window, y->window);
        for (int i = 0; i < SD_MAT_COUNT; i++) {
            const float d = differ(&x->mat[i].w, &y->mat[i].w);
            worst = d > worst ? d : worst;
            same_vector(x->mat[i].bias, y->mat[i].bias, x->mat[i].w.rows);
        }
    }
    same_vector(a->final_norm.g, b->final_norm.g, a->cfg.d_model);
    return worst;
}

static void test_round_trip(void **state)
{
    (void)state;
    if (!t_shared("fixtures/models/llama/config.json")) t_skip("no fixtures under SONDE_SHARED");
    const char *dir = t_tmpdir();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[512], rel[128];
        sd_err err = {0};
        snprintf(rel, sizeof rel, "fixtures/models/%s", names[i]);
        snprintf(path, sizeof path, "%s/%s.gguf", dir, names[i]);
        sd_model *a = open_views(t_shared(rel));
        t_ok(sd_model_save_gguf(a, path, SD_F32, &err), err);
        sd_model *b = open_views(path);
        assert_true(compare(a, b) == 0);
        assert_true(differ(&a->embed, &b->embed) == 0);
        assert_true(differ(&a->head_w, &b->head_w) == 0);
        assert_true(differ(&a->pos, &b->pos) == 0);
        /* tokens of a text, by the folder's tokenizer and by the GGUF's */
        sd_ids x = {0}, y = {0};
        t_ok(sd_tok_encode(a->tok, SD_LIT("It's 1234 o'clock.\n\n  And so on"), NULL, &x, &err), err);
        t_ok(sd_tok_encode(b->tok, SD_LIT("It's 1234 o'clock.\n\n  And so on"), NULL, &y, &err), err);
        assert_int_equal(x.n, y.n);
        assert_memory_equal(x.v, y.v, (size_t)x.n * sizeof *x.v);
        sd_ids_release(&x);
        sd_ids_release(&y);
        sd_model_close(a);
        /* a GGUF from a GGUF: the same bytes */
        char again[512];
        sd_buf p, q;
        snprintf(again, sizeof again, "%s/again.gguf", dir);
        t_ok(sd_model_save_gguf(b, again, SD_F32, &err), err);
        sd_model_close(b);
        sd_buf_init(&p, 1 << 24);
        sd_buf_init(&q, 1 << 24);
        t_ok(sd_file_read(&p, path, &err), err);
        t_ok(sd_file_read(&q, again, &err), err);
        assert_int_equal(p.n, q.n);
        assert_memory_equal(p.p, q.p, p.n);
        sd_buf_release(&p);
        sd_buf_release(&q);
    }
    t_rmtree(dir);
}

static void test_quantised(void **state)
{
    (void)state;
    if (!t_shared("fixtures/models/llama/config.json")) t_skip("no fixtures under SONDE_SHARED");
    const char *dir = t_tmpdir();
    char path[512];
    sd_err err = {0};
    snprintf(path, sizeof path, "%s/q.gguf", dir);
    sd_model *a = open_views(t_shared("fixtures/models/llama"));
    t_ok(sd_model_save_gguf(a, path, SD_Q4_K, &err), err); /* rows of 64 and 160: the fallback, Q5_0 */
    sd_model *b = open_views(path);
    assert_int_equal(b->block[0].mat[SD_MAT_Q].w.dtype, SD_Q5_0);
    assert_int_equal(b->embed.dtype, SD_Q8_0); /* tied: Q6_K, fallen back */
    float row[64], back[64];
    uint8_t coded[64];
    for (int64_t r = 0; r < a->cfg.d_model; r++) { /* the quantiser's own bytes, in the reader's order of rows */
        sd_wmat_decode_row(row, &a->block[1].mat[SD_MAT_Q].w, r);
        assert_int_equal(sd_quantize_row(coded, SD_Q5_0, row, 64), 0);
        sd_dtype_get(SD_Q5_0)->decode(back, coded, 64);
        sd_wmat_decode_row(row, &b->block[1].mat[SD_MAT_Q].w, r);
        assert_memory_equal(row, back, sizeof row);
    }
    sd_model_close(b);
    assert_int_equal(sd_model_save_gguf(a, path, SD_Q2_K, &err), SD_E_ARG);
    assert_non_null(strstr(err.msg, "Q2_K"));
    a->cfg.attn_scale *= 2; /* a variant that the format has no key for */
    assert_int_equal(sd_model_save_gguf(a, path, SD_F32, &err), SD_E_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "the scale of attention scores"));
    sd_model_close(a);
    t_rmtree(dir);
}

/* yarn's factor of cos and sin, given or from mscale: saving reads back what it wrote and compares; so does this. */
static void test_yarn(void **state)
{
    (void)state;
    if (!t_shared("fixtures/models/llama/config.json")) t_skip("no fixtures under SONDE_SHARED");
    const char *dir = t_tmpdir();
    char path[512];
    sd_err err = {0};
    snprintf(path, sizeof path, "%s/yarn.gguf", dir);
    const sd_rope_spec specs[] = {{.attn_factor = 0.6}, {.mscale = 1, .mscale_all = 0.5}, {0}};
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        sd_model *a = open_views(t_shared("fixtures/models/llama"));
        sd_rope_spec *s = &a->rope[0];
        s->type = SD_ROPE_YARN, s->factor = 4, s->original_ctx = 64, s->beta_fast = 16, s->beta_slow = 2;
        s->attn_factor = specs[i].attn_factor, s->mscale = specs[i].mscale, s->mscale_all = specs[i].mscale_all;
        t_ok(sd_model_save_gguf(a, path, SD_F32, &err), err);
        sd_model *b = open_views(path);
        assert_int_equal(b->rope[0].type, SD_ROPE_YARN);
        const double want = sd_rope_factor(s), got = sd_rope_factor(&b->rope[0]);
        assert_true(got > want * (1 - 1e-6) && got < want * (1 + 1e-6)); /* two f32 roundings */
        if (i == 0) assert_true(want == 0.6);
        s->no_truncate = true; /* what the format has no key for */
        assert_int_equal(sd_model_save_gguf(a, path, SD_F32, &err), SD_E_UNSUPPORTED);
        sd_model_close(a);
        sd_model_close(b);
    }
    t_rmtree(dir);
}

/* A disk that fills up leaves no file and what was there. */
static void test_full_disk(void **state)
{
    (void)state;
    if (!t_shared("fixtures/models/llama/config.json")) t_skip("no fixtures under SONDE_SHARED");
    const char *dir = t_tmpdir();
    char path[512];
    sd_err err = {0};
    snprintf(path, sizeof path, "%s/x.gguf", dir);
    sd_model *a = open_views(t_shared("fixtures/models/llama"));
    t_ok(sd_file_write_atomic(path, "old", 3, &err), err);
    sd_file_fail_nth(1);
    assert_int_equal(sd_model_save_gguf(a, path, SD_F32, &err), SD_E_NOSPACE);
    sd_file_fail_nth(0);
    sd_buf b;
    sd_buf_init(&b, 16);
    t_ok(sd_file_read(&b, path, &err), err);
    assert_int_equal(b.n, 3);
    sd_buf_release(&b);
    sd_model_close(a);
    t_rmtree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(test_round_trip), T(test_quantised), T(test_yarn), T(test_full_disk)};
    sd_err err = {0};
    if (sd_exec_new(&ex, &(sd_exec_opt){.n_threads = 2}, &err)) return 1;
    const int bad = cmocka_run_group_tests(tests, NULL, NULL);
    sd_exec_free(ex);
    return bad ? 1 : 0;
}
