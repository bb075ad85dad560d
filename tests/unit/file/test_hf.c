/* Hugging Face folders: a whole file, shards with their index, and what is wrong with them. */
#include "t.h"
#include "base/map.h"
#include "file/weights_int.h"

static char scratch[512];

static const char *in(const char *dir, const char *name)
{
    assert_true(sd_path_join(scratch, sizeof scratch, dir, name));
    return scratch;
}

static void put(const char *dir, const char *name, const char *text)
{
    sd_err err = {0};
    t_ok(sd_file_write_atomic(in(dir, name), text, strlen(text), &err), err);
}

/* A file with one f32 [2] tensor a name, holding (v, v). */
static void shard(const char *dir, const char *name, const char *const *tensor, float v)
{
    float data[2] = {v, v};
    sd_st_tensor t[8];
    int n = 0;
    sd_err err = {0};
    for (; tensor[n]; n++) t[n] = (sd_st_tensor){tensor[n], SD_F32, 1, {2}, data};
    t_ok(sd_safetensors_write(in(dir, name), t, n, (const char *const[]){"format", "pt", NULL}, &err), err);
}
#define S(...) ((const char *const[]){__VA_ARGS__, NULL})

/* Opens the folder: status and words of the sentence. */
static void refused(const char *dir, sd_status want, const char *const *word)
{
    sd_err err = {0};
    sd_weights *w;
    int64_t live = sd_mem_live_blocks();
    sd_status st = sd_weights_open(&w, dir, &err);
    if (st != want) fail_msg("status %s, expected %s: %s", sd_status_name(st), sd_status_name(want), err.msg);
    assert_null(w);
    assert_int_equal(sd_mem_live_blocks(), live);
    if (!strstr(err.msg, dir)) fail_msg("the folder is not named: %s", err.msg);
    for (; *word; word++)
        if (!strstr(err.msg, *word)) fail_msg("\"%s\" is not said: %s", *word, err.msg);
}

static void whole_file(void **state)
{
    (void)state;
    const char *dir = t_tmpdir();
    sd_err err = {0};
    sd_weights *w;
    int64_t layers = 0;
    put(dir, "config.json", "{\"model_type\":\"llama\",\"num_hidden_layers\":3}");
    shard(dir, "model.safetensors", S("a.weight", "b.weight"), 1);
    t_ok(sd_weights_open(&w, dir, &err), err);
    assert_int_equal(sd_weights_container(w), SD_CONTAINER_HF);
    assert_int_equal(sd_weights_count(w), 2);
    assert_int_equal(sd_weights_bytes(w), 16);
    assert_string_equal(sd_weights_path(w), dir);
    assert_string_equal(sd_weights_meta(w, "format"), "pt");
    t_ok(sd_json_get_i64(sd_weights_config(w), "num_hidden_layers", &layers, "config.json", &err), err);
    assert_int_equal(layers, 3);
    assert_false(sd_weights_has_kv(w, "general.architecture"));
    uint64_t u;
    assert_int_equal(sd_weights_kv_u64(w, "general.architecture", &u, &err), SD_E_NOTFOUND);
    sd_weights_close(w);
    t_rmtree(dir);
}

static void metadata_only(void **state)
{
    (void)state;
    const char *dir = t_tmpdir();
    sd_err err = {0};
    sd_weights *w;
    put(dir, "config.json", "{\"model_type\":\"llama\"}");
    t_ok(sd_weights_open_opt(&w, dir, &(sd_weights_opt){.meta_only = true}, &err), err);
    assert_int_equal(sd_weights_count(w), 0);
    assert_non_null(sd_weights_config(w));
    sd_weights_close(w);
    t_rmtree(dir);
}

static void shards_by_index(void **state)
{
    (void)state;
    const char *dir = t_tmpdir();
    sd_err err = {0};
    sd_weights *w;
    put(dir, "config.json", "{}");
    shard(dir, "model-00001-of-00002.safetensors", S("a", "b"), 1);
    shard(dir, "model-00002-of-00002.safetensors", S("c", "left.out"), 2);
    put(dir, "model.safetensors.index.json",
        "{\"metadata\":{\"total_size\":32},\"weight_map\":{\"a\":\"model-00001-of-00002.safetensors\","
        "\"c\":\"model-00002-of-00002.safetensors\",\"b\":\"model-00001-of-00002.safetensors\"}}");
    t_ok(sd_weights_open(&w, dir, &err), err);
    assert_int_equal(sd_weights_count(w), 4);
    assert_true(((const float *)sd_weights_find(w, "b")->data)[1] == 1.0f);
    assert_true(((const float *)sd_weights_find(w, "c")->data)[1] == 2.0f);
    assert_non_null(sd_weights_find(w, "left.out"));
    sd_weights_close(w);
    t_rmtree(dir);
}

static void index_lies(void **state)
{
    (void)state;
    static const struct {
        const char *index;
        sd_status st;
        const char *word[2];
    } rows[] = {
        {"{\"weight_map\":{\"t\":\"../out.safetensors\"}}", SD_E_FORMAT, {"tensor t", "inside the folder"}},
        {"{\"weight_map\":{\"t\":\"/etc/x.safetensors\"}}", SD_E_FORMAT, {"tensor t", "inside the folder"}},
        {"{\"weight_map\":{\"t\":\"sub/../../x.safetensors\"}}", SD_E_FORMAT, {"tensor t", "inside the folder"}},
        {"{\"weight_map\":{\"t\":\"./x.safetensors\"}}", SD_E_FORMAT, {"tensor t", "inside the folder"}},
        {"{\"weight_map\":{\"t\":\"\"}}", SD_E_FORMAT, {"tensor t", "inside the folder"}},
        {"{\"weight_map\":{\"t\":\"config.json\"}}", SD_E_FORMAT, {"tensor t", "inside the folder"}},
        {"{\"weight_map\":{\"t\":7}}", SD_E_FORMAT, {"tensor t", "not a string"}},
        {"{\"weight_map\":{\"\\u001b[0m\":\"s.safetensors\"}}", SD_E_FORMAT, {"printable", "index.json"}},
        {"{\"weight_map\":[]}", SD_E_FORMAT, {"weight_map", "index.json"}},
        {"{}", SD_E_FORMAT, {"weight_map", "index.json"}},
        {"[]", SD_E_FORMAT, {"weight_map", "index.json"}},
        {"{\"weight_map\":", SD_E_FORMAT, {"index.json", ""}},
        {"{\"weight_map\":{\"t\":\"gone.safetensors\"}}", SD_E_NOTFOUND, {"gone.safetensors", ""}},
        {"{\"weight_map\":{\"t\":\"s.safetensors\",\"u\":\"s.safetensors\"}}",
         SD_E_FORMAT,
         {"tensor u", "s.safetensors"}},
        {"{\"weight_map\":{\"t\":\"s.safetensors\",\"v\":\"s.safetensors\",\"w\":\"r.safetensors\"}}",
         SD_E_FORMAT,
         {"tensor v", "s.safetensors"}},
        {"{\"weight_map\":{\"t\":\"s.safetensors\",\"w\":\"same.safetensors\"}}",
         SD_E_FORMAT,
         {"same.safetensors: tensor t", "s.safetensors already"}},
    };
    const char *dir = t_tmpdir();
    put(dir, "config.json", "{}");
    shard(dir, "s.safetensors", S("t"), 1);
    shard(dir, "r.safetensors", S("v", "w"), 1);
    shard(dir, "same.safetensors", S("w", "t"), 1);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        put(dir, "model.safetensors.index.json", rows[i].index);
        refused(dir, rows[i].st, S(rows[i].word[0], rows[i].word[1]));
    }
    t_rmtree(dir);
}

static void folders_that_are_no_model(void **state)
{
    (void)state;
    const char *dir = t_tmpdir();
    sd_err err = {0};
    sd_weights *w;
    refused(dir, SD_E_NOTFOUND, S("no config.json"));
    put(dir, "config.json", "[1]");
    refused(dir, SD_E_FORMAT, S("config.json", "object"));
    put(dir, "config.json", "{\"a\":");
    refused(dir, SD_E_FORMAT, S("config.json"));
    put(dir, "config.json", "{}");
    refused(dir, SD_E_NOTFOUND, S("no model.safetensors"));
    put(dir, "pytorch_model.bin", "x");
    assert_int_equal(sd_weights_open(&w, dir, &err), SD_E_NOTFOUND);
    assert_non_null(strstr(err.hint, "pickle"));
    put(dir, "model.safetensors", "short");
    refused(dir, SD_E_FORMAT, S("model.safetensors"));
    assert_int_equal(sd_weights_open(&w, in(dir, "nothing.gguf"), &err), SD_E_NOTFOUND);
    assert_non_null(strstr(err.msg, "nothing.gguf"));
    put(dir, "empty.gguf", "");
    assert_int_equal(sd_weights_open(&w, in(dir, "empty.gguf"), &err), SD_E_FORMAT);
    assert_non_null(strstr(err.msg, "empty.gguf"));
    t_rmtree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(whole_file), T(metadata_only), T(shards_by_index), T(index_lies), T(folders_that_are_no_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
