/* /sonde/v1/steer says what sonde.compare says, /sonde/v1/patch what lab/patch.h says, layer by layer; nothing is answered while the model is loaded. */
#include "tiny_server.h"

#include "lab/patch.h"

static tiny_server t;

static int set_up(void **state)
{
    (void)state;
    tiny_server_open(&t, 4, 8);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tiny_server_close(&t);
    return 0;
}

static int ask(const char *path, const char *body, json_t **out) { return tiny_ask_json(&t, path, body, out); }

static const char *str(const json_t *j, const char *key) { return json_string_value(json_object_get(j, key)); }

static void make_steer(char out[1024], const char *tail)
{
    size_t n = (size_t)snprintf(out, 1024, "[{\"vector\":[");
    for (int i = 0; i < 64; i++) n += (size_t)snprintf(out + n, 1024 - n, i ? ",%d" : "%d", i % 3);
    snprintf(out + n, 1024 - n, "],\"site\":\"resid_post.1\",\"unit\":\"raw\",%s}]", tail);
}

static void test_steer(void **state)
{
    char steer[1024], body[2048];
    json_t *a, *b;
    (void)state;
    make_steer(steer, "\"value\":3");
    snprintf(body, sizeof body, "{\"prompt\":\"abc def\",\"max_tokens\":16,\"temperature\":1,\"seed\":5,\"steer\":%s}", steer);
    assert_int_equal(ask("/sonde/v1/steer", body, &a), 200);
    snprintf(body, sizeof body, "{\"prompt\":\"abc def\",\"max_tokens\":16,\"temperature\":1,\"seed\":5,\"sonde\":{\"compare\":true,\"steer\":%s}}", steer);
    assert_int_equal(ask("/v1/completions", body, &b), 200);
    static const char *const lane[] = {"plain", "steered"};
    for (int i = 0; i < 2; i++) {
        const json_t *mine = json_object_get(a, lane[i]), *choice = json_array_get(json_object_get(b, "choices"), (size_t)i);
        assert_string_equal(str(mine, "text"), str(choice, "text"));
        assert_string_equal(str(mine, "finish_reason"), str(choice, "finish_reason"));
    }
    assert_string_not_equal(str(json_object_get(a, "plain"), "text"), str(json_object_get(a, "steered"), "text"));
    assert_true(json_integer_value(json_object_get(json_array_get(json_object_get(a, "applied"), 0), "n_positions")) >= 7);
    json_decref(a);
    json_decref(b);
}

static void expect_problem(const char *path, const char *body, int http, const char *param)
{
    json_t *j;
    int got = ask(path, body, &j);
    const json_t *e = json_object_get(j, "error");
    if (got != http || strcmp(str(e, "param") ? str(e, "param") : "", param) != 0) fail_msg("%s %s: %d %s %s", path, body, got, str(e, "param"), str(e, "message"));
    json_decref(j);
}

static void test_problems(void **state)
{
    char steer[1024], body[2048];
    (void)state;
    make_steer(steer, "\"value\":1");
    expect_problem("/sonde/v1/steer", "{\"prompt\":\"a\"}", 400, "steer");
    expect_problem("/sonde/v1/steer", "{\"prompt\":\"a\",\"steer\":[]}", 400, "steer");
    expect_problem("/sonde/v1/steer", "{\"prompt\":\"a\",\"steer\":[{\"feature\":{\"dict\":\"x\",\"index\":1},\"op\":\"add\",\"value\":1}]}", 404, "steer[0]");
    snprintf(body, sizeof body, "{\"prompt\":\"a\",\"messages\":[],\"steer\":%s}", steer);
    expect_problem("/sonde/v1/steer", body, 400, "prompt");
    snprintf(body, sizeof body, "{\"prompt\":\"a\",\"prompt_baseline\":\"b\",\"steer\":%s}", steer);
    expect_problem("/sonde/v1/steer", body, 400, "prompt_baseline");
    make_steer(steer, "\"value\":1,\"positions\":[0,100000]"); /* no step reaches it: it would be left out in silence, and a list of such is as long as a body */
    snprintf(body, sizeof body, "{\"text\":\"a\",\"answer\":\"b\",\"steer\":%s}", steer);
    expect_problem("/sonde/v1/measure", body, 400, "steer[0]");
    expect_problem("/sonde/v1/patch", "{\"clean\":\"ab\"}", 400, "corrupt");
    expect_problem("/sonde/v1/patch", "{\"clean\":\"\",\"corrupt\":\"a\"}", 400, "clean");
    expect_problem("/sonde/v1/patch", "{\"clean\":[1,2],\"corrupt\":[1,3],\"metric\":\"speed\"}", 400, "metric");
    expect_problem("/sonde/v1/patch", "{\"clean\":[1,2],\"corrupt\":[1,3],\"metric\":\"prob\"}", 400, "answer");
    expect_problem("/sonde/v1/patch", "{\"clean\":[1,2],\"corrupt\":[1,3],\"layers\":[0,99]}", 400, "layers");
    expect_problem("/sonde/v1/patch", "{\"clean\":[1,2],\"corrupt\":[1,3],\"position\":-1}", 400, "position");
    expect_problem("/sonde/v1/patch", "{\"clean\":[1,2],\"corrupt\":[1,3],\"site\":\"nowhere\"}", 400, "site");
    expect_problem("/sonde/v1/patch", "{\"clean\":[1,2],\"corrupt\":[1,2]}", 400, "");
}

static void test_patch(void **state)
{
    static const int32_t clean[] = {5, 9, 200, 3, 77}, corrupt[] = {5, 9, 201, 3, 77};
    sd_err err = {0};
    sd_patch want;
    json_t *j;
    sd_ids a = {0}, b = {0};
    (void)state;
    for (int i = 0; i < 5; i++) {
        t_ok(sd_ids_push(&a, clean[i], &err), err);
        t_ok(sd_ids_push(&b, corrupt[i], &err), err);
    }
    for (int heads = 0; heads < 2; heads++) {
        sd_patch_opt o = {.metric = SD_PATCH_LOGIT_DIFF, .answer = 8, .wrong = 11, .heads = heads};
        char body[256];
        t_ok(sd_patch_site(&o, NULL, &err), err);
        t_ok(sd_lab_patch(&want, t.ex, t.m, &a, &b, &o, &err), err);
        snprintf(body, sizeof body, "{\"clean\":[5,9,200,3,77],\"corrupt\":[5,9,201,3,77],\"answer\":\"id:8\",\"wrong\":\"id:11\",\"heads\":%s}", heads ? "true" : "false");
        assert_int_equal(ask("/sonde/v1/patch", body, &j), 200);
        const json_t *layers = json_object_get(j, "layers");
        assert_int_equal(json_array_size(layers), want.n_layer);
        assert_true(json_number_value(json_object_get(j, "clean")) == want.clean);
        assert_int_equal(json_array_size(json_object_get(j, "tokens")), heads ? 0 : want.n_col);
        for (int l = 0; l < want.n_layer; l++) {
            const json_t *row = json_array_get(layers, (size_t)l), *effect = json_object_get(row, "effect");
            assert_int_equal(json_integer_value(json_object_get(row, "layer")), l);
            assert_int_equal(json_array_size(effect), want.n_col);
            for (int64_t i = 0; i < want.n_col; i++) assert_true(json_number_value(json_array_get(effect, (size_t)i)) == want.effect[l * want.n_col + i]);
        }
        json_decref(j);
        sd_patch_release(&want);
    }
    sd_ids_release(&a);
    sd_ids_release(&b);
}

static void test_loading(void **state)
{
    (void)state;
    atomic_store(&t.s.loading, true);
    for (int i = 0; sd_route__at(i); i++) {
        sd_buf b;
        sd_buf_init(&b, 1 << 16);
        const char *path = sd_route__at(i)->path;
        bool page = strcmp(path, "/") == 0 || strncmp(path, "/page/", 6) == 0; /* its files need nothing: it says that the model is being loaded, and waits */
        assert_int_equal(tiny_ask(&t, sd_route__at(i)->method, page && path[1] ? "/page/app.js" : path, (sd_slice){"{}", 2}, &b), page ? 200 : 503);
        sd_buf_release(&b);
    }
    atomic_store(&t.s.loading, false);
    json_t *j;
    assert_int_equal(ask("/health", NULL, &j), 200);
    json_decref(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_steer), cmocka_unit_test(test_problems), cmocka_unit_test(test_patch), cmocka_unit_test(test_loading)};
    return cmocka_run_group_tests(tests, set_up, tear_down) ? 1 : 0;
}
