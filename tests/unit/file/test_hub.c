/* Model ids in a Hugging Face cache made here, as huggingface_hub lays one out: refs, snapshots, links to blobs. */
#include "t.h"

#include "base/map.h"
#include "file/hub.h"

#include <unistd.h>

static void put(const char *dir, const char *name, const char *text)
{
    char path[1024];
    sd_err err = {0};
    t_ok(sd_dir_make(dir, &err), err);
    assert_true(sd_path_join(path, sizeof path, dir, name));
    t_ok(sd_file_write_atomic(path, text, strlen(text), &err), err);
}

static void found(const char *hub, const char *id, const char *end)
{
    char out[1024];
    sd_err err = {0};
    t_ok(sd_hub_find(out, sizeof out, hub, id, &err), err);
    if (!sd_slice_ends(sd_slice_of(out), end)) fail_msg("%s is %s", id, out);
}

typedef sd_status look(char *out, size_t cap, const char *hub, const char *text, sd_err *err);

/* What is not found by sd_hub_find or sd_hub_model, and what is said of it. */
static void missing(look *by, const char *hub, const char *text, sd_status want, const char *say)
{
    char out[2100];
    sd_err err = {0};
    assert_int_equal(by(out, sizeof out, hub, text, &err), want);
    if (!strstr(err.msg, say)) fail_msg("%s: %s", text, err.msg);
}

static void test_ids(void **state)
{
    (void)state;
    assert_true(sd_hub_is_id("org/name"));
    assert_true(sd_hub_is_id("org/name-1.5B@main:Q4_K_M"));
    const char *const not[] = {"name", "/abs/path", "a/b/c", "./a", "../a", "a/..", "a/b@", "a/b:", "a/b:x/y", "", "a b/c", "/", "a/"};
    for (size_t i = 0; i < sizeof not / sizeof not[0]; i++)
        if (sd_hub_is_id(not[i])) fail_msg("\"%s\" was taken as an id", not[i]);
}

static void test_find(void **state)
{
    (void)state;
    char hub[512], dir[768], link_path[900];
    snprintf(hub, sizeof hub, "%s/hub", t_tmpdir());
    snprintf(dir, sizeof dir, "%s/models--org--name/refs", hub);
    put(dir, "main", "abc123\n");
    put(dir, "evil", "../../..");
    put(dir, "gone", "fff");
    snprintf(dir, sizeof dir, "%s/models--org--name/snapshots/abc123", hub);
    put(dir, "config.json", "{}");
    found(hub, "org/name", "/snapshots/abc123");
    found(hub, "org/name@abc123", "/snapshots/abc123");
    missing(sd_hub_find, hub, "org/name@gone", SD_E_NOTFOUND, "no snapshot of the revision \"gone\"");
    missing(sd_hub_find, hub, "org/name@evil", SD_E_NOTFOUND, "no snapshot");
    missing(sd_hub_find, hub, "org/other", SD_E_NOTFOUND, "not in the Hugging Face cache");
    missing(sd_hub_find, hub, "org/name:q8", SD_E_NOTFOUND, "no GGUF file with \"q8\" in its name");
    missing(sd_hub_find, hub, "nothing", SD_E_ARG, "ORG/NAME");

    snprintf(dir, sizeof dir, "%s/models--org--quants/blobs", hub);
    put(dir, "blob", "x");
    snprintf(dir, sizeof dir, "%s/models--org--quants/refs", hub);
    put(dir, "main", "c0ffee");
    snprintf(dir, sizeof dir, "%s/models--org--quants/snapshots/c0ffee", hub);
    put(dir, "README.md", "x");
    snprintf(link_path, sizeof link_path, "%s/m.Q4_0.gguf", dir);
    assert_int_equal(symlink("../../blobs/blob", link_path), 0);
    found(hub, "org/quants", "/m.Q4_0.gguf");
    put(dir, "m.Q8_0.gguf", "x");
    missing(sd_hub_find, hub, "org/quants", SD_E_NOTFOUND, "2 GGUF files");
    found(hub, "org/quants:Q8", "/m.Q8_0.gguf");
    put(dir, "m.F16-00001-of-00002.gguf", "x");
    put(dir, "m.F16-00002-of-00002.gguf", "x");
    found(hub, "org/quants:F16", "/m.F16-00001-of-00002.gguf");
    char small[8];
    sd_err err = {0};
    assert_int_equal(sd_hub_find(small, sizeof small, hub, "org/name", &err), SD_E_ARG);
}

static void model(const char *hub, const char *text, const char *want)
{
    char out[2100];
    sd_err err = {0};
    t_ok(sd_hub_model(out, sizeof out, hub, text, &err), err);
    if (strcmp(out, want) != 0) fail_msg("%s is %s, not %s", text, out, want);
}

/* Ids and paths on both sides of the plus, and adapters that say whose they are. */
static void test_adapters(void **state)
{
    (void)state;
    char hub[512], dir[700], base[800], adapter[800], own[700], json[1000], want[1700], text[1700];
    snprintf(hub, sizeof hub, "%s/hub2", t_tmpdir());
    snprintf(dir, sizeof dir, "%s/models--org--base/refs", hub);
    put(dir, "main", "b0");
    snprintf(base, sizeof base, "%s/models--org--base/snapshots/b0", hub);
    put(base, "config.json", "{}");
    snprintf(dir, sizeof dir, "%s/models--me--lora/refs", hub);
    put(dir, "main", "a0");
    snprintf(adapter, sizeof adapter, "%s/models--me--lora/snapshots/a0", hub);
    put(adapter, "adapter_config.json", "{\"base_model_name_or_path\":\"org/base\",\"revision\":null}");
    snprintf(want, sizeof want, "%s+%s", base, adapter);
    model(hub, "org/base", base);
    model(hub, "org/base+me/lora", want);
    model(hub, "me/lora", want);

    snprintf(own, sizeof own, "%s/own", t_tmpdir());
    snprintf(json, sizeof json, "{\"base_model_name_or_path\":\"%s\"}", base);
    put(own, "adapter_config.json", json);
    snprintf(want, sizeof want, "%s+%s", base, own);
    model("", own, want); /* a path needs no cache */
    snprintf(text, sizeof text, "org/base+%s", own);
    model(hub, text, want);
    put(own, "adapter_config.json", "{\"base_model_name_or_path\":\"org/base\",\"revision\":\"b0\"}");
    model(hub, own, want);
    put(own, "adapter_config.json", "{\"base_model_name_or_path\":\"org/base\",\"revision\":\"other\"}");
    missing(sd_hub_model, hub, own, SD_E_NOTFOUND, "no snapshot of the revision \"other\"");
    put(own, "adapter_config.json", "{\"base_model_name_or_path\":\"/nothing/here\"}");
    missing(sd_hub_model, hub, own, SD_E_NOTFOUND, "is an adapter of \"/nothing/here\", which is no file or folder");
    put(own, "adapter_config.json", "{}");
    missing(sd_hub_model, hub, own, SD_E_NOTFOUND, "names no model");
    missing(sd_hub_model, hub, "org/base+me/other", SD_E_NOTFOUND, "not in the Hugging Face cache");
    /* A folder of weights that has an adapter beside them is the model, as it is opened. */
    put(own, "model.safetensors", "x");
    model(hub, own, own);
    model(hub, "nothing.gguf", "nothing.gguf");
}

int main(void)
{
    const struct CMUnitTest tests[] = {T(test_ids), T(test_find), T(test_adapters)};
    return cmocka_run_group_tests(tests, NULL, NULL) ? 1 : 0;
}
