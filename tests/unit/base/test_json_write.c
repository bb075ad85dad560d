/* Writing JSON: commas, escapes, bytes that are no UTF-8, numbers that read back; misuse aborts. */
#include "base/json.h"
#include "base/prov.h"

#include "t.h"

#include <math.h>
#include <signal.h>
#include <sys/wait.h>

static void structure(void **state)
{
    (void)state;
    sd_buf b;
    sd_jw w;
    sd_buf_init(&b, 10000);
    sd_jw_init(&w, &b);
    sd_jw_obj(&w);
    sd_jw_kstr(&w, "s", "x");
    sd_jw_key(&w, "a");
    sd_jw_arr(&w);
    sd_jw_i64(&w, INT64_MIN);
    sd_jw_u64(&w, UINT64_MAX);
    sd_jw_obj(&w);
    sd_jw_end(&w);
    sd_jw_arr(&w);
    sd_jw_end(&w);
    sd_jw_null(&w);
    sd_jw_end(&w);
    sd_jw_kbool(&w, "t", true);
    sd_jw_kf64(&w, "f", 0.1);
    sd_jw_ki64(&w, "i", -3);
    sd_jw_key(&w, "q");
    sd_jw_f32(&w, 0.1f);
    sd_jw_kstr(&w, "none", NULL);
    sd_jw_end(&w);
    assert_string_equal(sd_buf_str(&b), "{\"s\":\"x\",\"a\":[-9223372036854775808,18446744073709551615,{},[],null],"
                                        "\"t\":true,\"f\":0.1,\"i\":-3,\"q\":0.1,\"none\":null}");
    /* Lines of documents: no comma between them. */
    sd_buf_putc(&b, '\n');
    size_t at = b.n;
    sd_jw_arr(&w);
    sd_jw_f64(&w, (double)NAN);
    sd_jw_f64(&w, (double)INFINITY);
    sd_jw_f32(&w, -INFINITY);
    sd_jw_f64(&w, -0.0);
    sd_jw_end(&w);
    assert_string_equal(sd_buf_str(&b) + at, "[null,null,null,-0.0]");
    sd_buf_release(&b);
}

static const char *written(sd_buf *b, sd_slice s)
{
    sd_jw w;
    sd_buf_reset(b);
    sd_jw_init(&w, b);
    sd_jw_slice(&w, s);
    return sd_buf_str(b);
}

static void escapes(void **state)
{
    (void)state;
    sd_buf b;
    sd_buf_init(&b, 10000);
    assert_string_equal(written(&b, SD_LIT("a\"b\\c/\n\t\r\b\f\x01\x7f")),
                        "\"a\\\"b\\\\c/\\n\\t\\r\\u0008\\u000c\\u0001\\u007f\"");
    assert_string_equal(written(&b, SD_LIT("nul\0in")), "\"nul\\u0000in\"");
    assert_string_equal(written(&b, SD_LIT("\xc3\xa9\xf0\x9f\x98\x80")), "\"\xc3\xa9\xf0\x9f\x98\x80\"");
    assert_string_equal(written(&b, SD_LIT("a\xff"
                                           "b")),
                        "\"a\xef\xbf\xbd"
                        "b\"");
    assert_string_equal(written(&b, SD_LIT("\xed\xa0\x80")), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
    assert_string_equal(written(&b, SD_LIT("cut \xe2\x82")), "\"cut \xef\xbf\xbd\xef\xbf\xbd\"");
    /* A slice ends where it ends: the rest of the character behind it is not looked at. */
    assert_string_equal(written(&b, (sd_slice){"\xe2\x82\xac", 2}), "\"\xef\xbf\xbd\xef\xbf\xbd\"");
    assert_string_equal(written(&b, (sd_slice){NULL, 0}), "\"\"");
    sd_buf_release(&b);
}

static void every_byte_reads_back(void **state)
{
    (void)state;
    sd_buf b;
    sd_err err = {0};
    sd_buf_init(&b, 10000);
    for (int c = 1; c < 0x80; c++) {
        char text[3] = {'<', (char)c, '\0'};
        json_t *v;
        written(&b, sd_slice_of(text));
        t_ok(sd_json_parse(&v, b.p, b.n, "text", &err), err);
        assert_string_equal(json_string_value(v), text);
        json_decref(v);
    }
    sd_buf_release(&b);
}

static void trees_are_the_same(void **state)
{
    (void)state;
    static const char text[] = "{\"z\":[1,2.5,8.0,-0.0,1e+300,true,false,null,\"\\\"\"],\"a\":{\"\":{}},\"m\":[]}";
    json_t *v, *back;
    sd_err err = {0};
    sd_buf b;
    sd_jw w;
    sd_buf_init(&b, 10000);
    t_ok(sd_json_parse(&v, text, sizeof text - 1, "text", &err), err);
    sd_jw_init(&w, &b);
    sd_jw_tree(&w, v);
    assert_string_equal(sd_buf_str(&b), text);
    t_ok(sd_json_parse(&back, b.p, b.n, "text", &err), err);
    assert_true(json_equal(v, back));
    json_decref(v);
    json_decref(back);
    /* The deepest tree that is read fits into the writer, with as many levels around it. */
    char deep[129] = {0};
    memset(deep, '[', 64);
    memset(deep + 64, ']', 64);
    t_ok(sd_json_parse(&v, deep, 128, "text", &err), err);
    sd_buf_reset(&b);
    sd_jw_init(&w, &b);
    for (int i = 0; i < 64; i++) {
        if (i % 2)
            sd_jw_arr(&w);
        else
            sd_jw_obj(&w), sd_jw_key(&w, "k");
    }
    sd_jw_tree(&w, v);
    for (int i = 0; i < 64; i++) sd_jw_end(&w);
    assert_int_equal(w.depth, 0);
    assert_int_equal(b.n, 64 * 2 + 32 * 4 + 128);
    json_decref(v);
    sd_buf_release(&b);
}

static sd_buf scrap;

static void value_without_key(sd_jw *w)
{
    sd_jw_obj(w);
    sd_jw_i64(w, 1);
}
static void key_in_array(sd_jw *w)
{
    sd_jw_arr(w);
    sd_jw_key(w, "a");
}
static void key_after_key(sd_jw *w)
{
    sd_jw_obj(w);
    sd_jw_key(w, "a");
    sd_jw_key(w, "b");
}
static void end_after_key(sd_jw *w)
{
    sd_jw_obj(w);
    sd_jw_key(w, "a");
    sd_jw_end(w);
}
static void end_of_nothing(sd_jw *w)
{
    sd_jw_end(w);
}
static void too_deep(sd_jw *w)
{
    for (int i = 0; i < 129; i++) sd_jw_arr(w);
}

static void misuse_aborts(void **state)
{
    (void)state;
    static void (*const wrong[])(sd_jw *) = {value_without_key, key_in_array,   key_after_key,
                                             end_after_key,     end_of_nothing, too_deep};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        fflush(NULL);
        pid_t pid = fork();
        if (pid == 0) {
            if (!freopen("/dev/null", "w", stderr)) _exit(1);
            signal(SIGABRT, SIG_DFL);
            sd_jw w;
            sd_buf_init(&scrap, 10000);
            sd_jw_init(&w, &scrap);
            wrong[i](&w);
            _exit(0);
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    }
}

static void a_full_buffer_is_noticed_at_the_end(void **state)
{
    (void)state;
    sd_buf b;
    sd_jw w;
    sd_err err = {0};
    sd_buf_init(&b, 20);
    sd_jw_init(&w, &b);
    sd_jw_arr(&w);
    for (int i = 0; i < 100; i++) sd_jw_str(&w, "long");
    sd_jw_end(&w);
    assert_int_equal(sd_buf_check(&b, "an answer", &err), SD_E_NOMEM);
    sd_buf_release(&b);
}

static void provenance(void **state)
{
    (void)state;
    sd_buf b;
    sd_jw w;
    sd_buf_init(&b, 10000);
    sd_jw_init(&w, &b);
    sd_prov p = {.tool = "sonde 0.1.0", .isa = "avx2", .n_threads = 2, .args = "run \"x\""};
    sd_prov_write(&w, &p);
    assert_string_equal(
        sd_buf_str(&b),
        "{\"tool\":\"sonde 0.1.0\",\"args\":\"run \\\"x\\\"\",\"isa\":\"avx2\",\"n_threads\":2,\"seed\":0}");
    sd_buf_reset(&b);
    sd_jw_init(&w, &b);
    p = (sd_prov){.seed = UINT64_MAX,
                  .created = "2026-01-01T00:00:00Z",
                  .cpu = "c",
                  .mode = "fast",
                  .model_sha256 = "m",
                  .data_sha256 = "d",
                  .dict_sha256 = "s"};
    sd_prov_write(&w, &p);
    assert_string_equal(
        sd_buf_str(&b),
        "{\"created\":\"2026-01-01T00:00:00Z\",\"cpu\":\"c\",\"mode\":\"fast\",\"seed\":18446744073709551615,"
        "\"model_sha256\":\"m\",\"data_sha256\":\"d\",\"dict_sha256\":\"s\"}");
    sd_buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(structure),          T(escapes),       T(every_byte_reads_back),
        T(trees_are_the_same), T(misuse_aborts), T(a_full_buffer_is_noticed_at_the_end),
        T(provenance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
