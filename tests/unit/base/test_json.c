/* Reading JSON: what is refused and with which place in the sentence, the typed getters, integers too wide for int64.
 */
#include "base/json.h"

#include "base/map.h"
#include "t.h"

static json_t *parse(const char *text)
{
    json_t *v;
    sd_err err = {0};
    t_ok(sd_json_parse(&v, text, strlen(text), "text", &err), err);
    return v;
}

static void refuses(const char *text, const char *place)
{
    json_t *v = (json_t *)(uintptr_t)1;
    sd_err err = {0};
    int64_t blocks = sd_mem_live_blocks();
    if (sd_json_parse(&v, text, strlen(text), "cfg.json", &err) != SD_E_FORMAT) fail_msg("accepted: %s", text);
    assert_null(v);
    if (!strstr(err.msg, place) || strncmp(err.msg, "cfg.json: ", 10) != 0)
        fail_msg("%s: \"%s\" has no \"%s\"", text, err.msg, place);
    assert_int_equal(sd_mem_live_blocks(), blocks);
}

static void refuses_with_a_place(void **state)
{
    (void)state;
    refuses("", "line 1");
    refuses("{\"a\": 1,\n \"a\": 2}", "line 2");
    refuses("{\"a\": 1,\n\n \"b\": }", "line 3, column");
    refuses("[1, 2", "line 1");
    refuses("[1] 2", "line 1, column");
    refuses("{'a': 1}", "line 1");
    refuses("[1,]", "line 1");
    refuses("[01]", "line 1");
    refuses("[NaN]", "line 1");
    refuses("[1e999]", "line 1");
    refuses("\"\xc3(\"", "line 1");
    refuses("\"\\ud800\"", "line 1");
    refuses("[\"a\\u0000b\"]", "line 1");
    refuses("{\"a\\u0000\": 1}", "line 1");
    refuses("[\"tab\there\"]", "line 1");
    refuses("// no comments\n{}", "line 1");
}

static void nesting_has_an_end(void **state)
{
    (void)state;
    char text[200001];
    for (int depth = 63; depth <= 65; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        text[2 * depth] = '\0';
        if (depth <= 64)
            json_decref(parse(text));
        else
            refuses(text, "line 1, column 65: nested deeper than 64");
    }
    memset(text, '[', sizeof text - 1); /* would overflow the stack of a parser that recurses */
    text[sizeof text - 1] = '\0';
    refuses(text, "nested deeper");
    /* Brackets in strings do not nest. */
    char quoted[300] = "[\"\\\"";
    memset(quoted + 4, '[', 200);
    memcpy(quoted + 204, "\"]", 3);
    json_decref(parse(quoted));
}

static void wide_integers_become_reals(void **state)
{
    (void)state;
    /* As transformers writes a tokenizer_config.json without a limit: int(1e30). */
    json_t *v =
        parse("{\"model_max_length\": 1000000000000000019884624838656, \"s\": "
              "\"12345678901234567890\\\"99999999999999999999\",\n"
              "\"a\": [-9223372036854775808, 9223372036854775807, -9223372036854775809, 18446744073709551615]}");
    sd_err err = {0};
    double d = 0;
    int64_t i = 0;
    t_ok(sd_json_get_f64(v, "model_max_length", &d, "c", &err), err);
    assert_true(d == 1e30);
    assert_int_equal(sd_json_get_i64(v, "model_max_length", &i, "c", &err), SD_E_FORMAT);
    assert_string_equal(json_string_value(json_object_get(v, "s")), "12345678901234567890\"99999999999999999999");
    const json_t *a = json_object_get(v, "a");
    assert_true(json_is_integer(json_array_get(a, 0)) && json_integer_value(json_array_get(a, 0)) == INT64_MIN);
    assert_true(json_integer_value(json_array_get(a, 1)) == INT64_MAX);
    assert_true(json_is_real(json_array_get(a, 2)) && json_is_real(json_array_get(a, 3)));
    json_decref(v);
    refuses("[99999999999999999999,\n}", "line 2");
}

/* What a tree takes is added up by kind, and what stands in a string is none of it. */
static void memory_has_an_end(void **state)
{
    static const struct { const char *text; size_t bytes; } row[] = {
        {"{\"a\": [1, \"x\"]}", 256 + 96 + 48 + 160 + 48 + 96}, {"[\"{{{[[[:\\\"{1\"]", 160 + 96}, {"[-1.5e3, 12345678901234567890, true]", 160 + 2 * 48}};
    sd_err err = {0};
    json_t *v;
    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        t_ok(sd_json_parse_within(&v, row[i].text, strlen(row[i].text), row[i].bytes, "text", &err), err);
        json_decref(v);
        assert_int_equal(sd_json_parse_within(&v, row[i].text, strlen(row[i].text), row[i].bytes - 1, "text", &err), SD_E_FORMAT);
        assert_null(v);
        assert_non_null(strstr(err.msg, "would take"));
    }
}

static void any_document(void **state)
{
    (void)state;
    json_t *v = parse(" 3 ");
    assert_true(json_is_integer(v));
    json_decref(v);
    v = parse("\xef\xbb\xbf{\"a\": \"\\u00e9\\ud83d\\ude00\"}"); /* a byte order mark; a pair of surrogates */
    assert_string_equal(json_string_value(json_object_get(v, "a")), "\xc3\xa9\xf0\x9f\x98\x80");
    json_decref(v);
}

static void getters(void **state)
{
    (void)state;
    json_t *v = parse("{\"i\": 7, \"f\": 8.0, \"g\": 8.5, \"s\": \"x\", \"t\": true, \"n\": null, \"big\": 1e300}");
    sd_err err = {0};
    int64_t i = 1;
    double d = 1;
    const char *s = "old";
    bool b = false;
    t_ok(sd_json_get_i64(v, "i", &i, "c", &err), err);
    assert_int_equal(i, 7);
    t_ok(sd_json_get_i64(v, "f", &i, "c", &err), err);
    assert_int_equal(i, 8);
    t_ok(sd_json_get_f64(v, "i", &d, "c", &err), err);
    assert_true(d == 7);
    t_ok(sd_json_get_str(v, "s", &s, "c", &err), err);
    assert_string_equal(s, "x");
    t_ok(sd_json_get_bool(v, "t", &b, "c", &err), err);
    assert_true(b);

    assert_int_equal(sd_json_get_i64(v, "g", &i, "cfg.json", &err), SD_E_FORMAT);
    assert_string_equal(err.msg, "cfg.json: \"g\" is a number where an integer is expected");
    assert_int_equal(sd_json_get_i64(v, "big", &i, "cfg.json", &err), SD_E_FORMAT);
    assert_int_equal(sd_json_get_f64(v, "s", &d, "cfg.json", &err), SD_E_FORMAT);
    assert_string_equal(err.msg, "cfg.json: \"s\" is a string where a number is expected");
    assert_int_equal(sd_json_get_str(v, "i", &s, "cfg.json", &err), SD_E_FORMAT);
    assert_int_equal(sd_json_get_bool(v, "i", &b, "cfg.json", &err), SD_E_FORMAT);
    assert_int_equal(sd_json_get_str(v, "none", &s, "cfg.json", &err), SD_E_FORMAT);
    assert_string_equal(err.msg, "cfg.json: \"none\" is missing");
    assert_int_equal(sd_json_get_str(v, "n", &s, "cfg.json", &err), SD_E_FORMAT);
    assert_string_equal(err.msg, "cfg.json: \"n\" is null");

    i = 5;
    t_ok(sd_json_opt_i64(v, "none", &i, "c", &err), err);
    t_ok(sd_json_opt_i64(v, "n", &i, "c", &err), err);
    assert_int_equal(i, 5);
    t_ok(sd_json_opt_f64(v, "g", &d, "c", &err), err);
    assert_true(d == 8.5);
    t_ok(sd_json_opt_str(v, "none", &s, "c", &err), err);
    assert_string_equal(s, "x");
    t_ok(sd_json_opt_bool(v, "none", &b, "c", &err), err);
    assert_int_equal(sd_json_opt_bool(v, "s", &b, "c", &err), SD_E_FORMAT);
    assert_int_equal(sd_json_opt_i64(json_object_get(v, "s"), "i", &i, "c", &err), SD_E_FORMAT);
    assert_string_equal(err.msg, "c: a string where an object with \"i\" is expected");
    assert_int_equal(sd_json_get_i64(NULL, "i", &i, "c", &err), SD_E_FORMAT);
    json_decref(v);
}

static void loads_files(void **state)
{
    (void)state;
    const char *dir = t_tmpdir();
    char path[512];
    sd_err err = {0};
    json_t *v;
    sd_path_join(path, sizeof path, dir, "c.json");
    t_ok(sd_file_write_atomic(path, "{\"a\": 1}", 8, &err), err);
    t_ok(sd_json_load(&v, path, 8, &err), err);
    json_decref(v);
    assert_int_equal(sd_json_load(&v, path, 7, &err), SD_E_FORMAT);
    assert_non_null(strstr(err.msg, "larger than the 7 bytes"));
    t_ok(sd_file_write_atomic(path, "", 0, &err), err);
    assert_int_equal(sd_json_load(&v, path, 100, &err), SD_E_FORMAT);
    assert_int_equal(sd_json_load(&v, dir, 100, &err), SD_E_IO);
    sd_path_join(path, sizeof path, dir, "none.json");
    assert_int_equal(sd_json_load(&v, path, 100, &err), SD_E_NOTFOUND);
    assert_null(v);
    t_rmtree(dir);
}

static sd_status count_row(void *n, json_t *row, const char *what, sd_err *err)
{
    (void)what;
    ++*(int *)n;
    return json_is_object(row) ? SD_OK : sd_fail(err, SD_E_FORMAT, "no object");
}

/* The place is the file's: a row has no line 1 of its own. */
static void lines_of_a_file(void **state)
{
    (void)state;
    const char *dir = t_tmpdir(), *text = "{\"a\": 1}\r\n\n  {\"a\": 2}\n  {\"a\": }\n";
    char path[512], want[600];
    sd_err err = {0};
    int n = 0;
    sd_path_join(path, sizeof path, dir, "c.jsonl");
    t_ok(sd_file_write_atomic(path, text, strlen(text), &err), err);
    assert_int_equal(sd_json_lines(path, 1000, count_row, &n, &err), SD_E_FORMAT);
    assert_int_equal(n, 2);
    snprintf(want, sizeof want, "%s, line 4, column 9: ", path);
    if (strncmp(err.msg, want, strlen(want)) != 0) fail_msg("\"%s\" does not begin with \"%s\"", err.msg, want);
    char deep[201];
    json_t *v;
    memset(deep, '[', sizeof deep);
    assert_int_equal(sd_json_parse_line(&v, (sd_slice){deep, sizeof deep}, "d.jsonl", 7, &err), SD_E_FORMAT);
    assert_string_equal(err.msg, "d.jsonl, line 7, column 65: nested deeper than 64 levels");
    t_rmtree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(refuses_with_a_place), T(nesting_has_an_end), T(wide_integers_become_reals), T(memory_has_an_end), T(any_document), T(getters),
        T(loads_files), T(lines_of_a_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
