/* Slices, strict numbers in any locale, shortest digits that read back, bounded buffers, UTF-8 to the letter. */
#include "base/str.h"

#include "base/rng.h"
#include "t.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <sys/wait.h>

static void slices(void **state)
{
    (void)state;
    sd_slice s = sd_slice_of("hello");
    assert_true(sd_slice_eq(s, SD_LIT("hello")) && sd_slice_eq_str(s, "hello"));
    assert_false(sd_slice_eq_str(s, "hell") || sd_slice_eq_str(s, "hellO"));
    assert_true(sd_slice_eq((sd_slice){NULL, 0}, SD_LIT("")));
    assert_true(sd_slice_starts(s, "he") && sd_slice_starts(s, "") && !sd_slice_starts(s, "hello!"));
    assert_true(sd_slice_ends(s, "lo") && sd_slice_ends(s, "") && !sd_slice_ends(s, "ell"));
    assert_true(sd_slice_eq_str(sd_slice_trim(sd_slice_of(" \t a b\r\n")), "a b"));
    assert_int_equal(sd_slice_trim(sd_slice_of(" \n ")).n, 0);
    assert_int_equal(sd_slice_of(NULL).n, 0);
}

static void cuts(void **state)
{
    (void)state;
    static const struct {
        const char *text, *parts[4];
        int n;
    } cases[] = {
        {"a,,b", {"a", "", "b"}, 3}, {"a", {"a"}, 1}, {"", {""}, 1}, {",", {"", ""}, 2}, {"a,", {"a", ""}, 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sd_slice rest = sd_slice_of(cases[i].text), part;
        int n = 0;
        while (sd_slice_cut(&rest, ',', &part)) {
            assert_true(n < cases[i].n);
            assert_true(sd_slice_eq_str(part, cases[i].parts[n++]));
        }
        assert_int_equal(n, cases[i].n);
        assert_false(sd_slice_cut(&rest, ',', &part));
    }
}

static void integers(void **state)
{
    (void)state;
    int64_t i;
    uint64_t u;
    assert_true(sd_parse_i64(SD_LIT("9223372036854775807"), &i) && i == INT64_MAX);
    assert_true(sd_parse_i64(SD_LIT("-9223372036854775808"), &i) && i == INT64_MIN);
    assert_true(sd_parse_i64(SD_LIT("-0"), &i) && i == 0);
    assert_true(sd_parse_i64(SD_LIT("007"), &i) && i == 7);
    assert_true(sd_parse_u64(SD_LIT("18446744073709551615"), &u) && u == UINT64_MAX);
    static const char *const bad[] = {"",
                                      "-",
                                      "+1",
                                      " 1",
                                      "1 ",
                                      "1.0",
                                      "0x1",
                                      "1e3",
                                      "--1",
                                      "9223372036854775808",
                                      "-9223372036854775809",
                                      "99999999999999999999"};
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        i = 42;
        assert_false(sd_parse_i64(sd_slice_of(bad[k]), &i));
        assert_int_equal(i, 42);
    }
    assert_false(sd_parse_u64(SD_LIT("18446744073709551616"), &u) || sd_parse_u64(SD_LIT("-1"), &u));
}

static void reals(void **state)
{
    (void)state;
    double v;
    assert_true(sd_parse_f64(SD_LIT("-1.5e-3"), &v) && v == -1.5e-3);
    assert_true(sd_parse_f64(SD_LIT(".5"), &v) && v == 0.5);
    assert_true(sd_parse_f64(SD_LIT("5."), &v) && v == 5);
    assert_true(sd_parse_f64(SD_LIT("1E+2"), &v) && v == 100);
    assert_true(sd_parse_f64(SD_LIT("4.9406564584124654e-324"), &v) && v == 4.9406564584124654e-324);
    static const char *const bad[] = {"",    ".",   "-",         "e5",    "1e",    "1e+", "+1",   " 1",  "1 ",
                                      "nan", "inf", "-Infinity", "0x1p3", "1e999", "1,5", "1.5f", "1..2"};
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        v = 42;
        if (sd_parse_f64(sd_slice_of(bad[k]), &v)) fail_msg("\"%s\" was read as %g", bad[k], v);
        assert_true(v == 42);
    }
}

static void reads_back(double v)
{
    char text[SD_FMT_MAX];
    double back;
    sd_fmt_f64(text, v);
    if (!sd_parse_f64(sd_slice_of(text), &back) || memcmp(&back, &v, sizeof v) != 0) fail_msg("%a became %s", v, text);
    float f = (float)v;
    if (!isfinite(f)) return;
    sd_fmt_f32(text, f);
    if (!sd_parse_f64(sd_slice_of(text), &back) || (float)back != f) fail_msg("%a became %s", (double)f, text);
}

static void digits_read_back(void **state)
{
    (void)state;
    char t[SD_FMT_MAX];
    assert_string_equal(sd_fmt_f64(t, 0.1), "0.1");
    assert_string_equal(sd_fmt_f64(t, 1.0 / 3), "0.3333333333333333");
    assert_string_equal(sd_fmt_f64(t, 0.1 + 0.2), "0.30000000000000004");
    assert_string_equal(sd_fmt_f64(t, 5e-324), "5e-324");
    assert_string_equal(sd_fmt_f64(t, DBL_MAX), "1.7976931348623157e+308");
    assert_string_equal(sd_fmt_f64(t, 3), "3");
    assert_string_equal(sd_fmt_f64(t, 0.0), "0");
    assert_string_equal(sd_fmt_f64(t, -0.0), "-0.0");
    assert_string_equal(sd_fmt_f64(t, (double)NAN), "nan");
    assert_string_equal(sd_fmt_f64(t, -(double)INFINITY), "-inf");
    assert_string_equal(sd_fmt_f32(t, 0.1f), "0.1");
    assert_string_equal(sd_fmt_f32(t, 16777216.0f), "16777216");
    assert_string_equal(sd_fmt_f32(t, 1e-45f), "1e-45");
    sd_rng r = sd_rng_make(1, "digits", 0);
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = sd_rng_u64(&r);
        double v;
        memcpy(&v, &bits, sizeof v);
        if (isfinite(v)) reads_back(v);
        reads_back(ldexp((double)(int64_t)(bits >> 40), -20 + i % 40));
        uint32_t low = (uint32_t)bits;
        float f;
        memcpy(&f, &low, sizeof f);
        if (isfinite(f)) reads_back((double)f);
    }
}

static bool runs_localedef(const char *out)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        if (freopen("/dev/null", "w", stdout) && freopen("/dev/null", "w", stderr))
            execlp("localedef", "localedef", "-i", "de_DE", "-f", "UTF-8", out, (char *)NULL);
        _exit(127);
    }
    int status;
    return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void the_locale_changes_nothing(void **state)
{
    (void)state;
    static const char *const names[] = {"de_DE.UTF-8", "de_DE", "fr_FR.UTF-8", "ru_RU.UTF-8", "pt_BR.UTF-8"};
    const char *got = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names && !got; i++) got = setlocale(LC_NUMERIC, names[i]);
    const char *dir = t_tmpdir();
    if (!got) { /* none is installed: compile one where Debian's package "locales" is */
        char out[512];
        snprintf(out, sizeof out, "%s/de_DE.UTF-8", dir);
        setenv("LOCPATH", dir, 1);
        if (runs_localedef(out)) got = setlocale(LC_NUMERIC, "de_DE.UTF-8");
    }
    t_rmtree(dir);
    if (!got) t_skip("no locale with a decimal comma can be had here");
    char t[SD_FMT_MAX];
    double v;
    assert_string_equal(localeconv()->decimal_point, ",");
    assert_string_equal(sd_fmt_f64(t, 0.25), "0.25");
    assert_true(sd_parse_f64(SD_LIT("0.25"), &v) && v == 0.25);
    sd_buf b;
    sd_buf_init(&b, 100);
    sd_buf_printf(&b, "%.2f", 0.25);
    assert_string_equal(sd_buf_str(&b), "0.25");
    sd_buf_release(&b);
    setlocale(LC_NUMERIC, "C");
}

static void buffers_grow_to_their_maximum(void **state)
{
    (void)state;
    sd_buf b;
    sd_err err = {0};
    int64_t blocks = sd_mem_live_blocks();
    sd_buf_init(&b, 1000);
    assert_string_equal(sd_buf_str(&b), "");
    for (int i = 0; i < 100; i++) sd_buf_puts(&b, "0123456789");
    assert_int_equal(b.n, 1000);
    t_ok(sd_buf_check(&b, "it", &err), err);
    assert_int_equal(strlen(sd_buf_str(&b)), 1000);
    sd_buf_put(&b, "x", 0);
    assert_false(b.failed);
    sd_buf_putc(&b, 'x');
    assert_true(b.failed && b.n == 1000);
    assert_int_equal(sd_buf_check(&b, "it", &err), SD_E_NOMEM);
    assert_non_null(strstr(err.msg, "1.0 kB"));
    sd_buf_reset(&b);
    sd_buf_printf(&b, "%d %s", 7, "ok");
    assert_string_equal(sd_buf_str(&b), "7 ok");
    sd_buf_printf(&b, "%0500d", 1); /* longer than what printf tries first */
    assert_int_equal(b.n, 504);
    assert_int_equal(b.p[503], '1');
    sd_buf_printf(&b, "%0500d", 1);
    assert_true(b.failed && b.n == 504);
    sd_buf_puts(&b, "nothing");
    assert_int_equal(b.n, 504);
    sd_buf_release(&b);
    sd_buf_release(&b);
    sd_buf_release(NULL);
    sd_buf_init(&b, SIZE_MAX);
    sd_buf_puts(&b, "unbounded");
    assert_string_equal(sd_buf_str(&b), "unbounded");
    sd_buf_release(&b);
    assert_int_equal(sd_mem_live_blocks(), blocks);
}

static void utf8_every_code_point(void **state)
{
    (void)state;
    for (uint32_t cp = 0; cp <= 0x110000; cp++) {
        char text[5] = {0};
        uint32_t back = 0xffffffff;
        int n = sd_utf8_encode(cp, text);
        if ((cp >= 0xd800 && cp <= 0xdfff) || cp > 0x10ffff) {
            assert_int_equal(n, 0);
            continue;
        }
        assert_int_equal(n, cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4);
        assert_int_equal(sd_utf8_decode(text, (size_t)n, &back), n);
        assert_int_equal(back, cp);
        assert_int_equal(sd_utf8_decode(text, (size_t)n - 1, &back), 0); /* cut */
        assert_int_equal(sd_utf8_valid_prefix((sd_slice){text, (size_t)n}), n);
    }
}

static void utf8_what_is_not(void **state)
{
    (void)state;
    static const char *const bad[] = {"\x80",
                                      "\xbf",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xe0\x9f\xbf",
                                      "\xed\xa0\x80",
                                      "\xed\xbf\xbf",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xff",
                                      "\xfe",
                                      "\xc3(",
                                      "\xe2\x82(",
                                      "\xf0\x9f\x98("};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint32_t cp;
        assert_int_equal(sd_utf8_decode(bad[i], strlen(bad[i]), &cp), 0);
        char text[64];
        int n = snprintf(text, sizeof text, "0123456789 \xc3\xa9%s and more", bad[i]);
        assert_int_equal(sd_utf8_valid_prefix((sd_slice){text, (size_t)n}), 13);
    }
    assert_int_equal(sd_utf8_valid_prefix(SD_LIT("all of this is valid \xf0\x9f\x98\x80")), 25);
    assert_int_equal(sd_utf8_valid_prefix((sd_slice){"", 0}), 0);
}

static void text_is_utf8(void **state)
{
    (void)state;
    static const struct { const char *p; size_t n; const char *name; } wide[] = {
        {"\xff\xfe" "a\0", 4, "UTF-16"}, {"\xfe\xff", 2, "UTF-16"}, {"a\0b\0", 4, "UTF-16LE"}, {"\0{\0\"", 4, "UTF-16BE"}, {"{\0\n\0\xe9\0", 6, "UTF-16LE"},
        {"ab\0c", 4, NULL}, {"a\0\0c", 4, NULL}, {"\0\0\0\0", 4, NULL}, {"a\0b", 3, NULL}, {"abcd", 4, NULL}, {"", 0, NULL}, {"\xc3\xa9", 2, NULL}};
    sd_err err = {0};
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++) {
        const sd_slice s = {wide[i].p, wide[i].n};
        const char *name = sd_utf16_name(s);
        if (wide[i].name ? !name || strcmp(name, wide[i].name) != 0 : name != NULL) fail_msg("text %zu is called %s", i, name ? name : "nothing");
        assert_int_equal(sd_text_check(s, "t", &err), wide[i].name ? SD_E_UNSUPPORTED : SD_OK);
    }
    assert_int_equal(sd_text_check(SD_LIT("one\ntwo \xff"), "a.txt", &err), SD_E_FORMAT);
    assert_string_equal(err.msg, "a.txt: line 2, byte 8 (0xff) of it is not UTF-8");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(slices),
        T(cuts),
        T(integers),
        T(reals),
        T(digits_read_back),
        T(the_locale_changes_nothing),
        T(buffers_grow_to_their_maximum),
        T(utf8_every_code_point),
        T(utf8_what_is_not),
        T(text_is_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
