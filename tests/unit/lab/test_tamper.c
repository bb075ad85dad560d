/* Tampered weights against benign ones: tiny random models from which one or two random directions were taken (they stand for nothing), whole,
 * in part, in o_proj alone, through quantisation; beside low-rank, shrunk, unrelated and quantised ones that must not alarm. */
#include "lab/tamper.h"

#include "lab/ablate.h"
#include "lab/audit_inside.h"
#include "tiny_gguf.h"

#include <math.h>

enum { D = 64, LAYERS = 12 };

typedef enum edit_kind { CUT, CUT_O, ADD_SHARED, ADD_OWN, SHRINK, BREAK } edit_kind;
typedef struct edit { edit_kind kind; float w; int n; } edit;

static bool ends(const char *s, const char *tail)
{
    size_t a = strlen(s), b = strlen(tail);
    return a >= b && strcmp(s + a - b, tail) == 0;
}

static void random_unit(float *r, const char *purpose, uint64_t i)
{
    sd_rng rng = sd_rng_make(11, purpose, i);
    for (int t = 0; t < D; t++) r[t] = sd_rng_normal(&rng);
    sd_unit(r, r, D);
}

/* data += scale r x^T */
static void outer(float *data, int64_t cols, const float *r, const float *x, float scale)
{
    for (int t = 0; t < D; t++)
        for (int64_t j = 0; j < cols; j++) data[t * cols + j] += scale * r[t] * x[j];
}

static void apply(const char *hf, float *data, int64_t rows, int64_t cols, const void *arg)
{
    const edit *e = arg;
    float r[D], x[256];
    bool o = ends(hf, "o_proj.weight"), down = ends(hf, "down_proj.weight");
    (void)rows;
    if (e->kind == BREAK && o && strstr(hf, "layers.2.")) data[3 * cols + 1] = NAN;
    if (!(o || (down && e->kind != CUT_O)) || e->kind == BREAK) return;
    for (int i = 0; i < e->n; i++) {
        random_unit(r, "direction", (uint64_t)i);
        if (i) { /* at a right angle to the first: cutting it must not bring the first back */
            float first[D];
            random_unit(first, "direction", 0);
            float c = (float)sd_dot(r, first, D);
            for (int t = 0; t < D; t++) r[t] -= c * first[t];
            sd_unit(r, r, D);
        }
        if (e->kind == ADD_OWN) random_unit(r, hf, 0);
        sd_rng rng = sd_rng_make(5, hf, 1);
        for (int64_t j = 0; j < cols; j++) {
            x[j] = e->kind == ADD_SHARED || e->kind == ADD_OWN ? 0.1f * sd_rng_normal(&rng) : 0;
            if (e->kind <= CUT_O)
                for (int t = 0; t < D; t++) x[j] -= r[t] * data[t * cols + j];
        }
        outer(data, cols, r, x, e->w);
    }
    for (int64_t j = 0; e->kind == SHRINK && j < D * cols; j++) data[j] *= e->w;
}

static sd_exec *ex;

static sd_model *open_tiny(const edit *e, sd_dtype dtype, uint64_t seed, int layers)
{
    const char *dir = t_tmpdir();
    char path[300];
    tiny_spec spec = tiny_default;
    sd_model *m = NULL;
    sd_err err = {0};
    spec.n_layer = layers, spec.seed = seed, spec.dtype = dtype;
    if (e) spec.edit = apply, spec.edit_arg = e;
    snprintf(path, sizeof path, "%s/m.gguf", dir);
    tiny_write_gguf(path, &spec);
    t_ok(sd_model_open(&m, ex, path, &(sd_model_opt){.views = true}, &err), err);
    t_rmtree(dir); /* the weights stay mapped */
    return m;
}

/* The evidence on a model, beside the untouched f32 one when asked. */
static sd_tamper look(const edit *e, sd_dtype dtype, uint64_t seed, bool beside)
{
    sd_tamper t;
    sd_err err = {0};
    sd_model *m = open_tiny(e, dtype, seed, LAYERS), *ref = beside ? open_tiny(NULL, SD_F32, 1, LAYERS) : NULL;
    t_ok(sd_lab_tamper(&t, ex, m, ref, &(sd_tamper_opt){.seed = 0}, &err), err);
    sd_model_close(m);
    sd_model_close(ref);
    return t;
}

static void without_a_reference(void **state)
{
    static const struct { edit e; sd_dtype dtype; int n; double strength; } cut[] = {
        {{CUT, 1, 1}, SD_F32, 1, 1e-8},     /* rounding of f32 */
        {{CUT, 1, 2}, SD_F32, 2, 1e-8},
        {{CUT_O, 1, 1}, SD_F32, 1, 1e-8},
        {{CUT, 0.8f, 1}, SD_F32, 1, 0.05},  /* (1 - 0.8)^2 = 0.04 */
        {{CUT, 1, 1}, SD_Q8_0, 1, 1e-4},    /* a step of 1/127 of a block's largest value: (step^2 / 12) / variance = 4e-5 */
        {{CUT, 1, 1}, SD_Q4_0, 1, 0.03},    /* a step of 1/7: 0.012 */
    };
    (void)state;
    for (size_t i = 0; i < sizeof cut / sizeof *cut; i++) {
        sd_tamper t = look(&cut[i].e, cut[i].dtype, 1, false);
        if (!t.consistent || t.weak.n_direction != cut[i].n || t.weak.energy[cut[i].n - 1] > cut[i].strength)
            fail_msg("cut %zu: gap %g after %d, energy %g", i, t.weak.gap, t.weak.n_direction, t.weak.energy[cut[i].n - 1]);
        assert_true(t.weak.layer0 == 0 && t.weak.layer1 == LAYERS && t.weak.agreement > 0.95);
        assert_int_equal(t.weak.kind == SD_TAMPER_ATTN, cut[i].e.kind == CUT_O);
        assert_true((t.mlp[3] > 0.3f) == (cut[i].e.kind == CUT_O) && t.attn[3] < 0.06f && !t.ref.measured);
        assert_true(t.weak.random_lo > 0.2 && t.weak.random_hi < 3); /* chi-square with 64 degrees: 0.4 to 1.8 in practice */
        sd_tamper_release(&t);
    }
}

static void untouched_ones_do_not_alarm(void **state)
{
    static const sd_dtype dtype[] = {SD_F32, SD_Q8_0, SD_Q4_0, SD_Q4_1};
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++)
        for (int i = 0; i < 4; i++) {
            sd_tamper t = look(NULL, dtype[i], seed, false);
            assert_true(t.weak.measured && !t.consistent);
            if (t.weak.gap > 2.5) fail_msg("seed %d: gap %g", (int)seed, t.weak.gap); /* half of what alarms */
            sd_tamper_release(&t);
        }
}

/* Every comparison with NaN is false: a cut model with one in it would pass for untouched. */
static void numbers_that_are_none(void **state)
{
    const edit e = {.kind = BREAK};
    (void)state;
    for (int side = 0; side < 2; side++) {
        sd_tamper t;
        sd_err err = {0};
        sd_model *m = open_tiny(side ? NULL : &e, SD_F32, 1, LAYERS), *ref = open_tiny(side ? &e : NULL, SD_F32, 1, LAYERS);
        assert_int_equal(sd_lab_tamper(&t, ex, m, ref, &(sd_tamper_opt){.seed = 0}, &err), SD_E_FORMAT);
        assert_non_null(strstr(err.msg, side ? "the reference: o_proj of block 2" : "the model: o_proj of block 2"));
        sd_inside in; /* without prompts: weights alone. NaN is no change of 0. */
        assert_int_equal(sd_lab_inside(&in, ex, m, ref, &(sd_inside_opt){.n_suite = 0}, &err), SD_E_FORMAT);
        assert_non_null(strstr(err.msg, "block 2, o of one of the models"));
        sd_model_close(m);
        sd_model_close(ref);
    }
}

static void beside_a_reference(void **state)
{
    static const struct { edit e; sd_dtype dtype; int n_cut; bool low_rank; } row[] = {
        {{CUT, 1, 1}, SD_F32, 2 * LAYERS, true},
        {{CUT, 0.5f, 1}, SD_F32, 2 * LAYERS, true},
        {{CUT, 2, 1}, SD_F32, 2 * LAYERS, true},         /* turned round: as much energy as before */
        {{CUT_O, 1, 1}, SD_F32, LAYERS, true},
        {{CUT, 1, 1}, SD_Q8_0, 2 * LAYERS, false},       /* rounding spreads the change over all ranks */
        {{ADD_SHARED, 1, 1}, SD_F32, 0, true},           /* an adapter that writes one direction in every block */
        {{ADD_OWN, 1, 1}, SD_F32, 0, true},
        {{SHRINK, 0.5f, 1}, SD_F32, 0, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        sd_tamper t = look(&row[i].e, row[i].dtype, 1, true);
        if (t.ref.n_cut != row[i].n_cut || t.ref.low_rank != row[i].low_rank || t.ref.consistent != (row[i].n_cut > 0))
            fail_msg("row %zu: %d cut, %d of %d of low rank", i, (int)t.ref.n_cut, (int)t.ref.n_low_rank, (int)t.ref.n_changed);
        assert_int_equal(t.ref.n_writer, 2 * LAYERS);
        assert_false(t.ref.template_differs);
        for (int64_t k = 0; k < t.ref.n; k++) {
            const sd_tamper_matrix *x = &t.ref.v[k];
            if (!x->cut || row[i].dtype != SD_F32) continue;
            /* A change of exactly one rank, as large as was taken; 1e-4: f32 rounding of W, squared and summed. */
            assert_true(x->rank_one > 0.9999 && x->rank < 1.001 && x->against > 0.9999);
            assert_true(x->removed > (double)row[i].e.w - 1e-3 && x->removed < (double)row[i].e.w + 1e-3 && x->removed_random < 0.2);
        }
        sd_tamper_release(&t);
    }
    sd_tamper same = look(NULL, SD_F32, 1, true), other = look(NULL, SD_F32, 2, true), q4 = look(NULL, SD_Q4_0, 1, true);
    assert_true(same.ref.n_changed == 0 && !same.consistent && same.ref.relative == 0);
    assert_true(other.ref.n_changed == 7 * LAYERS && !other.consistent && other.ref.n_cut == 0 && other.ref.relative > 1);
    assert_true(q4.ref.n_changed == 7 * LAYERS && !q4.consistent && q4.ref.n_cut == 0 && !q4.ref.low_rank);
    sd_tamper_release(&same);
    sd_tamper_release(&other);
    sd_tamper_release(&q4);
}

static void sizes_and_threads(void **state)
{
    static const edit cut = {CUT, 1, 1};
    sd_err err = {0};
    sd_tamper t, one;
    sd_exec *single = NULL;
    sd_model *m = open_tiny(&cut, SD_F32, 1, LAYERS), *less = open_tiny(NULL, SD_F32, 1, 3);
    (void)state;
    assert_int_equal(sd_lab_tamper(&t, ex, m, less, &(sd_tamper_opt){0}, &err), SD_E_SHAPE);
    assert_int_equal(sd_lab_tamper(&t, ex, less, NULL, &(sd_tamper_opt){0}, &err), SD_E_UNSUPPORTED); /* nothing is measured, so nothing is said */
    t_ok(sd_lab_tamper(&t, ex, less, less, &(sd_tamper_opt){0}, &err), err);
    assert_true(!t.weak.measured && t.ref.measured && !t.consistent);
    sd_tamper_release(&t);
    t_ok(sd_exec_new(&single, &(sd_exec_opt){.n_threads = 1}, &err), err);
    t_ok(sd_lab_tamper(&t, ex, m, NULL, &(sd_tamper_opt){0}, &err), err);
    t_ok(sd_lab_tamper(&one, single, m, NULL, &(sd_tamper_opt){0}, &err), err);
    assert_memory_equal(t.weak.energy, one.weak.energy, sizeof one.weak.energy);
    assert_memory_equal(t.mlp, one.mlp, LAYERS * sizeof *one.mlp);
    sd_tamper_release(&t);
    sd_tamper_release(&one);
    sd_exec_free(single);
    sd_model_close(m);
    sd_model_close(less);
}

static void page_and_json(void **state)
{
    static const edit cut = {CUT, 1, 1};
    sd_buf b;
    sd_jw w;
    sd_err err = {0};
    sd_tamper t = look(&cut, SD_F32, 1, true);
    json_t *doc = NULL;
    (void)state;
    sd_buf_init(&b, 1 << 22);
    sd_jw_init(&w, &b);
    sd_jw_obj(&w);
    sd_tamper_write_json(&w, &t);
    sd_jw_end(&w);
    t_ok(sd_json_parse(&doc, b.p, b.n, "the evidence", &err), err);
    assert_string_equal(json_string_value(json_object_get(doc, "verdict")), "consistent");
    json_decref(doc);
    sd_buf_reset(&b);
    t_ok(sd_tamper_write_html(&b, &(sd_tamper_page){&t, "<b>name", "ref", "sonde audit tamper"}, &err), err);
    assert_non_null(strstr(sd_buf_str(&b), "&lt;b&gt;name"));
    assert_null(strstr(sd_buf_str(&b), "<b>name"));
    assert_null(strstr(sd_buf_str(&b), "nan"));
    sd_buf_release(&b);
    sd_tamper_release(&t);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {T(without_a_reference), T(untouched_ones_do_not_alarm), T(beside_a_reference), T(numbers_that_are_none), T(sizes_and_threads), T(page_and_json)};
    sd_err err = {0};
    if (sd_exec_new(&ex, &(sd_exec_opt){.n_threads = 2}, &err)) return 1;
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    sd_exec_free(ex);
    return rc ? 1 : 0;
}
