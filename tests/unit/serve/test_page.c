/* What the page is made of and asks for: its files are in the program, the lens and the measure agree with each other and with nothing done,
 * runs are found by name only. */
#include "tiny_server.h"

#include "base/map.h"
#include "lab/measure.h"
#include "lab/page_asset.h"
#include <math.h>

static tiny_server t;
static char runs[256];
static const char *run_dirs[2];

static int set_up(void **state)
{
    (void)state;
    tiny_server_open(&t, 2, 4);
    snprintf(runs, sizeof runs, "%s", t_tmpdir());
    run_dirs[0] = runs;
    t.s.opt.run = run_dirs;
    t.s.opt.n_run = 1;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    t_rmtree(runs);
    tiny_server_close(&t);
    return 0;
}

static int ask(const char *path, const char *body, json_t **out) { return tiny_ask_json(&t, path, body, out); }

static double num(const json_t *j, const char *key) { return json_number_value(json_object_get(j, key)); }

static void test_assets(void **state)
{
    sd_page_asset a;
    (void)state;
    for (int i = 0; sd_page_asset_at(i, &a); i++) assert_true(a.bytes.n > 100);
    assert_true(sd_page_asset_find("index.html", &a));
    assert_memory_equal(a.bytes.p, "<!doctype html>", 15);
    assert_true(sd_page_asset_find("app.js", &a));
    assert_false(sd_page_asset_find("../app.js", &a));
    /* Nothing may be run that is not in a file of the page. */
    assert_null(strstr(sd_page_policy, "unsafe"));
}

/* The loss of a token is that of the lens's last row, and the measure's plain log-probability is its negative. */
static void test_lens_and_measure(void **state)
{
    json_t *lens, *m;
    (void)state;
    assert_int_equal(ask("/sonde/v1/lens", "{\"ids\":[5,9,200,3,77],\"top\":2}", &lens), 200);
    const json_t *rows = json_object_get(lens, "rows"), *last = json_array_get(rows, json_array_size(rows) - 1);
    assert_int_equal(json_array_size(json_object_get(lens, "tokens")), 5);
    assert_int_equal(json_array_size(rows), (size_t)t.m->cfg.n_layer + 1);
    for (size_t i = 1; i < 5; i++) {
        double loss = num(json_array_get(json_object_get(lens, "tokens"), i), "loss");
        double p = num(json_array_get(json_object_get(last, "cells"), i - 1), "p_next");
        assert_true(fabs(exp(-loss) - p) < 1e-6); /* p is written as a float */
        assert_true(num(json_array_get(json_object_get(last, "cells"), i), "kl") == 0);
    }
    json_decref(lens);
    assert_int_equal(ask("/sonde/v1/measure", "{\"text\":\"ab\",\"answer\":\"abcabcabc\",\"steer\":[]}", &m), 200);
    assert_true(num(m, "kl_mean") == 0 && num(m, "kl_max") == 0 && num(m, "ppl_plain") == num(m, "ppl_steered"));
    assert_true(num(m, "ppl_plain") > 1);
    json_decref(m);
    char body[2048] = "{\"text\":\"ab\",\"answer\":\"abcabcabc\",\"steer\":[{\"vector\":[";
    for (int64_t i = 0; i < t.m->cfg.d_model; i++) snprintf(body + strlen(body), sizeof body - strlen(body), "%s%d", i ? "," : "", i % 3 == 0);
    snprintf(body + strlen(body), sizeof body - strlen(body), "%s", "],\"site\":\"resid_post.0\",\"op\":\"add\",\"value\":3,\"unit\":\"raw\"}]}");
    assert_int_equal(ask("/sonde/v1/measure", body, &m), 200);
    assert_true(num(m, "kl_mean") > 0 && num(m, "kl_max") >= num(m, "kl_mean") && num(m, "ppl_plain") != num(m, "ppl_steered"));
    assert_int_equal(json_array_size(json_object_get(m, "tokens")), (size_t)num(m, "n"));
    json_decref(m);
    assert_int_equal(ask("/sonde/v1/measure", "{\"text\":\"ab\",\"answer\":\"\",\"steer\":[]}", &m), 400);
    json_decref(m);
    assert_int_equal(ask("/sonde/v1/lens", "{}", &m), 400);
    json_decref(m);
}

/* Runs of four tokens: in 1 2 3 4 1 2 3 4 five of them, of which the last is the first again. */
static void test_repetition(void **state)
{
    static const int32_t v[] = {9, 11, 12, 13, 14, 11, 12, 13, 14};
    sd_ids ids = {0};
    sd_measure x;
    sd_err err = {0};
    (void)state;
    for (int i = 0; i < 9; i++) t_ok(sd_ids_push(&ids, v[i], &err), err);
    t_ok(sd_lab_measure(&x, t.ex, t.m, &ids, 1, NULL, &err), err);
    assert_int_equal(x.n, 8);
    assert_true(x.rep4 == 0.2);
    sd_measure_release(&x);
    assert_int_equal(sd_lab_measure(&x, t.ex, t.m, &ids, 9, NULL, &err), SD_E_ARG);
    sd_ids_release(&ids);
}

static void test_runs(void **state)
{
    static const char lines[] = "{\"step\":1,\"loss\":2.5}\nnull\n7\n{\"step\":2,\"loss\":2.25}\n{\"step\":3,\"lo";
    char dir[300], path[400];
    json_t *j;
    sd_err err = {0};
    (void)state;
    snprintf(dir, sizeof dir, "%s/first", runs);
    t_ok(sd_dir_make(dir, &err), err);
    snprintf(path, sizeof path, "%s/events.jsonl", dir);
    t_ok(sd_file_write_atomic(path, lines, sizeof lines - 1, &err), err);
    assert_int_equal(ask("/sonde/v1/runs", NULL, &j), 200);
    assert_string_equal(json_string_value(json_object_get(json_array_get(json_object_get(j, "runs"), 0), "name")), "first");
    json_decref(j);
    assert_int_equal(ask("/sonde/v1/runs/first", NULL, &j), 200);
    assert_int_equal(json_array_size(json_object_get(j, "events")), 2); /* the third is being written, and what is no object is no event */
    assert_true(num(j, "next") == 52);
    json_decref(j);
    assert_int_equal(ask("/sonde/v1/runs/..", NULL, &j), 404);
    json_decref(j);
    /* Another folder of that name is another run; what lies deeper is none, and is not looked for. */
    const char *const more[] = {"first/first", "deep/er/last"};
    for (int i = 0; i < 2; i++) {
        snprintf(dir, sizeof dir, "%s/%s", runs, more[i]);
        t_ok(sd_dir_make(dir, &err), err);
        snprintf(path, sizeof path, "%s/events.jsonl", dir);
        t_ok(sd_file_write_atomic(path, "{\"step\":7}\n", 11, &err), err);
    }
    snprintf(dir, sizeof dir, "%s/first", runs);
    run_dirs[1] = dir;
    t.s.opt.n_run = 2;
    assert_int_equal(ask("/sonde/v1/runs", NULL, &j), 200);
    const json_t *v = json_object_get(j, "runs");
    assert_int_equal(json_array_size(v), 2); /* the first is in both folders, and is one */
    for (size_t i = 0; i < 2; i++) assert_string_equal(json_string_value(json_object_get(json_array_get(v, i), "name")), i ? "first-2" : "first");
    json_decref(j);
    assert_int_equal(ask("/sonde/v1/runs/first-2", NULL, &j), 200);
    assert_true(num(json_array_get(json_object_get(j, "events"), 0), "step") == 7);
    json_decref(j);
    /* A folder that is gone takes its own runs along, not the others. */
    char gone[300];
    snprintf(gone, sizeof gone, "%s/gone", runs);
    run_dirs[1] = gone;
    assert_int_equal(ask("/sonde/v1/runs", NULL, &j), 200);
    assert_int_equal(json_array_size(json_object_get(j, "runs")), 1);
    json_decref(j);
    t.s.opt.n_run = 1;
}

/* A training of days writes more than one answer holds: it comes in parts, every event once. */
static void test_long_run(void **state)
{
    enum { LINES = 60000 };
    char dir[300], path[400];
    json_t *j;
    sd_err err = {0};
    sd_buf b;
    int64_t n = 0, parts = 0, at = 0, before = -1;
    (void)state;
    sd_buf_init(&b, 1 << 26);
    for (int i = 0; i < LINES; i++) sd_buf_printf(&b, "{\"step\":%d,\"train/loss\":2.5,\"note\":\"%0200d\"}\n", i, 0);
    assert_true(b.n > 12 << 20);
    snprintf(dir, sizeof dir, "%s/long", runs);
    t_ok(sd_dir_make(dir, &err), err);
    snprintf(path, sizeof path, "%s/events.jsonl", dir);
    t_ok(sd_file_write_atomic(path, b.p, b.n, &err), err);
    while (at != before) {
        char url[64];
        const json_t *v;
        before = at;
        snprintf(url, sizeof url, "/sonde/v1/runs/long?from=%lld", (long long)at);
        assert_int_equal(ask(url, NULL, &j), 200);
        v = json_object_get(j, "events");
        assert_true((size_t)num(j, "bytes") == b.n);
        if (json_array_size(v)) assert_true(num(json_array_get(v, 0), "step") == (double)n);
        n += (int64_t)json_array_size(v);
        at = (int64_t)num(j, "next");
        parts++;
        json_decref(j);
    }
    assert_int_equal(n, LINES);
    assert_true(parts > 2);
    sd_buf_release(&b);
}

static void test_audits(void **state)
{
    json_t *j;
    (void)state;
    assert_int_equal(ask("/sonde/v1/audits/none", NULL, &j), 404);
    json_decref(j);
    static const char *const audits[] = {"a/change.json", "b/other.json", "b/change.json"};
    sd_err err = {0};
    t.s.opt.audit = audits;
    t.s.opt.n_audit = 2;
    t_ok(sd_audits__check(&t.s, &err), err);
    t.s.opt.n_audit = 3;
    assert_int_equal(sd_audits__check(&t.s, &err), SD_E_ARG); /* the third could not be asked for */
    t.s.opt.n_audit = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_assets), cmocka_unit_test(test_lens_and_measure), cmocka_unit_test(test_repetition), cmocka_unit_test(test_runs),
                                       cmocka_unit_test(test_long_run), cmocka_unit_test(test_audits)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
