/* Small models of every architecture, of head sizes, windows, ties and rotary embeddings of many kinds, against transformers
 * in float32 (tools/gen-golden): from folders that the test writes, from the GGUFs that we write of them, and from GGUFs as
 * llama.cpp's converter writes them. Bound: 1e-5 relative (CONTRACT section 4), 1.5e-6 measured. */
#include "t.h"

#include "base/json.h"
#include "base/map.h"
#include "file/weights.h"
#include "model/gguf_save.h"
#include "model/session.h"
#include "num/stats.h"

#define DATA "tests/data/arch"
enum { MAX_IDS = 64, MAX_TENSORS = 128 };

static json_t *doc; /* cases.json */
static sd_weights *golden;
static sd_exec *ex;
static int32_t ids[MAX_IDS];
static int n_ids;

/* 256 steps around 0, around 1 for the weights of norms: numbers() of tools/gen-golden. */
static void fill(float *x, const char *name, int64_t n, bool matrix, bool gemma)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (const char *c = name; *c; c++) h = (h ^ (uint8_t)*c) * 0x100000001b3u;
    const size_t len = strlen(name);
    const bool weight = len > 7 && strcmp(name + len - 7, ".weight") == 0;
    for (int64_t i = 0; i < n; i++) {
        uint64_t z = h + (uint64_t)(i + 1) * 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        z ^= z >> 31;
        const float u = (float)(int)(z >> 56) - 128;
        x[i] = matrix ? u / 1024 : u / 512 + (weight && !gemma ? 1 : 0);
    }
}

static void write_json(const char *dir, const char *name, const json_t *j)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(json_dump_file(j, path, 0), 0);
}

/* How a folder holds its model: alone, or as the half of one that also sees pictures, as such checkpoints were published and as
 * transformers 5 saves them. */
typedef enum form { ALONE, PUBLISHED, SAVED } form;

static const char *wrapped_name(char out[128], const char *name, form f)
{
    const bool model = strncmp(name, "model.", 6) == 0;
    if (f == PUBLISHED) snprintf(out, 128, "language_model.%s", name);
    else snprintf(out, 128, "%s%s", model ? "model.language_model." : "", model ? name + 6 : name);
    return out;
}

static json_t *wrapped_config(const json_t *text)
{
    const bool gemma = strcmp(json_string_value(json_object_get(text, "model_type")), "gemma3_text") == 0;
    json_t *t = json_deep_copy(text), *w = json_pack("{s:s, s:{s:i}, s:i}", "model_type", gemma ? "gemma3" : "mistral3", "vision_config", "hidden_size", 8, "mm_tokens_per_image", 4);
    static const char *const outer[] = {"bos_token_id", "eos_token_id", "pad_token_id", "tie_word_embeddings"};
    for (size_t i = 0; i < sizeof outer / sizeof *outer; i++)
        if (json_object_get(t, outer[i])) {
            assert_int_equal(json_object_set(w, outer[i], json_object_get(t, outer[i])), 0);
            assert_int_equal(json_object_del(t, outer[i]), 0);
        }
    (void)json_object_del(t, "architectures");
    assert_int_equal(json_object_set_new(w, "text_config", t), 0);
    return w;
}

static void write_folder_as(const char *dir, const json_t *c, form f)
{
    const json_t *config = json_object_get(c, "config");
    char names[MAX_TENSORS][128];
    const bool gemma = strncmp(json_string_value(json_object_get(config, "model_type")), "gemma", 5) == 0;
    sd_st_tensor t[MAX_TENSORS];
    int64_t n = 0;
    const char *name;
    json_t *shape;
    char path[512];
    sd_err err = {0};
    json_object_foreach (json_object_get(c, "tensors"), name, shape) {
        assert_true(n < MAX_TENSORS);
        t[n] = (sd_st_tensor){.name = f == ALONE ? name : wrapped_name(names[n], name, f), .dtype = SD_F32, .rank = (int)json_array_size(shape) - 1};
        int64_t count = 1;
        for (int i = 0; i < t[n].rank; i++) count *= t[n].dim[i] = json_integer_value(json_array_get(shape, (size_t)i + 1));
        float *x = malloc((size_t)count * sizeof *x);
        if (!x) abort();
        fill(x, json_string_value(json_array_get(shape, 0)), count, t[n].rank == 2, gemma);
        t[n++].data = x;
    }
    assert_true(n > 0 && n + 2 <= MAX_TENSORS);
    static const float picture[4] = {1, 2, 3, 4};
    const int64_t n_text = n;
    if (f != ALONE) {
        const char *const of_pictures[] = {"vision_tower.patch.weight", "multi_modal_projector.weight", "model.vision_tower.patch.weight", "model.multi_modal_projector.weight"};
        for (int i = 0; i < 2; i++) t[n++] = (sd_st_tensor){.name = of_pictures[2 * (f == SAVED) + i], .dtype = SD_F32, .rank = 2, .dim = {2, 2}, .data = picture};
    }
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    t_ok(sd_safetensors_write(path, t, n, NULL, &err), err);
    for (int64_t i = 0; i < n_text; i++) free((void *)t[i].data);
    json_t *outer = f == ALONE ? json_deep_copy(config) : wrapped_config(config);
    write_json(dir, "config.json", outer);
    json_decref(outer);
    write_json(dir, "tokenizer.json", json_object_get(doc, "tokenizer"));
}

static void write_folder(const char *dir, const json_t *c)
{
    write_folder_as(dir, c, ALONE);
}

static double worst;

static void check(const char *name, const char *part, const float *got, int64_t rows, int64_t cols)
{
    char key[96];
    snprintf(key, sizeof key, "%s/%s", name, part);
    const sd_tensor *want = sd_weights_find(golden, key);
    assert_non_null(want);
    assert_true(want->rank == 2 && want->dim[1] == cols && want->dim[0] <= rows);
    /* of logits the last rows */
    sd_diff d = sd_diff_f32(got + (rows - want->dim[0]) * cols, (const float *)want->data, want->dim[0] * cols);
    if (d.n_nonfinite || !(d.rel <= 1e-5)) fail_msg("%s: rel %g at %lld: %g, expected %g", key, d.rel, (long long)d.worst, d.a_worst, d.b_worst);
    if (d.rel > worst) worst = d.rel;
}

typedef struct keep { float *block0, *final_norm; } keep;

static sd_status copy(void *self, sd_act *act, sd_err *err)
{
    keep *k = self;
    float *to = act->site.kind == SD_SITE_FINAL_NORM ? k->final_norm : k->block0;
    (void)err;
    for (int64_t i = 0; i < act->x.rows; i++) memcpy(to + i * act->x.cols, sd_mat_row(act->x, i), (size_t)act->x.cols * sizeof *to);
    return SD_OK;
}

static void compare(const char *name, const char *path)
{
    sd_err err = {0};
    sd_model *m;
    sd_session *s;
    sd_runner *run;
    t_ok(sd_model_open(&m, ex, path, NULL, &err), err);
    const sd_config *c = sd_model_get_config(m);
    keep k = {malloc((size_t)(n_ids * c->d_model) * sizeof(float)), malloc((size_t)(n_ids * c->d_model) * sizeof(float))};
    const sd_site at[] = {{SD_SITE_RESID_POST, 0}, {SD_SITE_FINAL_NORM, 0}};
    t_ok(sd_session_new(&s, m, &(sd_session_opt){.n_ctx = n_ids}, &err), err); /* dynamic scalings know the length */
    t_ok(sd_session_attach(s, &(sd_hook){"golden", at, 2, SD_HOOK_READ, copy, &k}, NULL, &err), err);
    t_ok(sd_runner_new(&run, ex, m, &(sd_runner_opt){.max_logit_rows = n_ids}, &err), err);
    sd_segment seg = {.s = s, .tok = ids, .n = n_ids, .want = SD_LOGITS_ALL};
    t_ok(sd_runner_step(run, &seg, 1, -1, &err), err);
    check(name, "block0", k.block0, n_ids, c->d_model);
    check(name, "final_norm", k.final_norm, n_ids, c->d_model);
    check(name, "logits", seg.logits.data, n_ids, c->n_vocab);
    free(k.block0), free(k.final_norm);
    sd_runner_free(run);
    sd_session_free(s);
    sd_model_close(m);
}

static void folders(void **state)
{
    (void)state;
    size_t i;
    json_t *c;
    worst = 0;
    json_array_foreach (json_object_get(doc, "cases"), i, c) {
        const char *dir = t_tmpdir();
        write_folder(dir, c);
        compare(json_string_value(json_object_get(c, "name")), dir);
        t_rmtree(dir);
    }
    assert_true(i >= 30);
    printf("%zu folders: worst relative difference %.2e\n", i, worst);
}

/* The same numbers from a folder whose model also sees pictures. */
static void wrapped_folders(void **state)
{
    (void)state;
    size_t i;
    json_t *c;
    int n = 0;
    worst = 0;
    json_array_foreach (json_object_get(doc, "cases"), i, c) {
        const char *type = json_string_value(json_object_get(json_object_get(c, "config"), "model_type"));
        if (strcmp(type, "gemma3_text") != 0 && strcmp(type, "mistral") != 0) continue;
        for (form f = PUBLISHED; f <= SAVED; f++, n++) {
            const char *dir = t_tmpdir();
            write_folder_as(dir, c, f);
            compare(json_string_value(json_object_get(c, "name")), dir);
            t_rmtree(dir);
        }
    }
    assert_true(n >= 8);
    printf("%d folders with pictures: worst relative difference %.2e\n", n, worst);
}

/* Variants that a GGUF has keys for; the others are refused when written (test_gguf_save). */
static void ggufs_of_ours(void **state)
{
    (void)state;
    size_t i;
    json_t *c;
    int n = 0;
    worst = 0;
    json_array_foreach (json_object_get(doc, "cases"), i, c) {
        char path[512];
        sd_err err = {0};
        sd_model *m;
        if (!json_is_true(json_object_get(c, "gguf"))) continue;
        const char *dir = t_tmpdir();
        write_folder(dir, c);
        snprintf(path, sizeof path, "%s/model.gguf", dir);
        t_ok(sd_model_open(&m, ex, dir, &(sd_model_opt){.views = true}, &err), err);
        t_ok(sd_model_save_gguf(m, path, SD_F32, &err), err);
        sd_model_close(m);
        compare(json_string_value(json_object_get(c, "name")), path);
        t_rmtree(dir);
        n++;
    }
    assert_true(n >= 25);
    printf("%d GGUFs that we wrote: worst relative difference %.2e\n", n, worst);
}

static void ggufs_as_converted(void **state)
{
    static const char *const names[] = {"gemma2",       "gpt2",       "gpt_neox",     "phi3",     "llama-linear",
                                        "llama-llama3", "llama-yarn", "phi3-partial", "phi3-long"};
    (void)state;
    worst = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[128], name[64];
        snprintf(path, sizeof path, DATA "/%s.gguf", names[i]);
        snprintf(name, sizeof name, "%s.gguf", names[i]);
        compare(name, path);
    }
    printf("GGUFs as converted: worst relative difference %.2e\n", worst);
}

static int setup(void **state)
{
    (void)state;
    sd_err err = {0};
    size_t i;
    json_t *v;
    doc = json_load_file(DATA "/cases.json", 0, NULL);
    if (!doc || sd_weights_open(&golden, DATA "/golden.safetensors", &err) || sd_exec_new(&ex, NULL, &err)) return -1;
    json_array_foreach (json_object_get(doc, "ids"), i, v)
        if (i < MAX_IDS) ids[n_ids++] = (int32_t)json_integer_value(v);
    return n_ids == 40 ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    sd_weights_close(golden);
    sd_exec_free(ex);
    json_decref(doc);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(folders), T(wrapped_folders), T(ggufs_of_ours), T(ggufs_as_converted)};
    return cmocka_run_group_tests(tests, setup, teardown) ? 1 : 0;
}
