/* Where a generation ends: at what the model's files say, and at no other control token. */
#include "tiny_model.h"

#include "lab/generate.h"
#include "model/model.h"

enum { N = 12 };

static const int32_t prompt[] = {5, 9, 200, 3, 77};
static sd_exec *ex;
static char dir[256];

static int set_up(void **state)
{
    sd_err err = {0};
    (void)state;
    snprintf(dir, sizeof dir, "%s", t_tmpdir());
    t_ok(sd_exec_new(&ex, &(sd_exec_opt){.n_threads = 1}, &err), err);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    t_rmtree(dir);
    sd_exec_free(ex);
    return 0;
}

/* The greedy answer of the model at path; true when it ended before its length. */
static bool answer(const char *path, int32_t id[N], int64_t *n)
{
    sd_err err = {0};
    sd_model *m;
    sd_generate_result r;
    t_ok(sd_model_open(&m, ex, path, NULL, &err), err);
    t_ok(sd_lab_generate(&r, ex, m, prompt, 5, &(sd_generate_opt){.n_gen = N}, &err), err);
    *n = r.lane[0].ids.n;
    memcpy(id, r.lane[0].ids.v, (size_t)*n * sizeof *id);
    const bool stopped = r.lane[0].stopped;
    sd_generate_release(&r);
    sd_model_close(m);
    return stopped;
}

static void save(const char *name, const char *text)
{
    char path[512];
    sd_err err = {0};
    snprintf(path, sizeof path, "%s/%s", dir, name);
    t_ok(sd_file_write_atomic(path, text, strlen(text), &err), err);
}

/* In tokenizer.json the token id becomes an added one. */
static void make_special(int32_t id)
{
    char path[512], piece[32];
    json_t *j;
    sd_err err = {0};
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    t_ok(sd_json_load(&j, path, 1 << 20, &err), err);
    tiny_piece(id, piece);
    json_array_append_new(json_object_get(j, "added_tokens"), json_pack("{s:i, s:s, s:b}", "id", (int)id, "content", piece, "special", 1));
    assert_int_equal(json_dump_file(j, path, 0), 0);
    json_decref(j);
}

static void test_folder(void **state)
{
    int32_t plain[N], got[N];
    int64_t n;
    char text[128];
    (void)state;
    tiny_write_hf(dir, &tiny_default);
    assert_false(answer(dir, plain, &n));
    assert_int_equal(n, N);
    int at = 1; /* the first token that is not one of those before it */
    while (plain[at] == plain[0]) at++;
    make_special(plain[at]);
    assert_false(answer(dir, got, &n)); /* a control token that ends nothing: as transformers */
    assert_int_equal(n, N);
    assert_memory_equal(got, plain, sizeof plain);
    snprintf(text, sizeof text, "{\"eos_token_id\": %d}", (int)plain[at]);
    save("generation_config.json", text);
    assert_true(answer(dir, got, &n));
    assert_int_equal(n, at);
    snprintf(text, sizeof text, "{\"eos_token_id\": [9999, 0, %d]}", (int)plain[at]);
    save("generation_config.json", text);
    assert_true(answer(dir, got, &n));
    assert_int_equal(n, at);
    save("generation_config.json", "{\"eos_token_id\": 0}");
    assert_false(answer(dir, got, &n));
    save("generation_config.json", "{");
    sd_err err = {0};
    sd_model *m;
    assert_int_equal(sd_model_open(&m, ex, dir, NULL, &err), SD_E_FORMAT);
    assert_non_null(strstr(err.msg, "generation_config.json"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_folder)};
    return cmocka_run_group_tests(tests, set_up, tear_down) ? 1 : 0;
}
