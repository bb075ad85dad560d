/* Sentences: cut at a character, free of control bytes, wrapped, quoted into their successor; codes from errno. */
#include "base/err.h"

#include "t.h"

#include <errno.h>

static void fills_and_returns(void **state)
{
    (void)state;
    sd_err err = {0};
    assert_int_equal(sd_fail(&err, SD_E_SHAPE, "%s: expected [%d], file has [%d]", "a.b", 3, 4), SD_E_SHAPE);
    assert_int_equal(err.code, SD_E_SHAPE);
    assert_string_equal(err.msg, "a.b: expected [3], file has [4]");
    assert_int_equal(sd_hint(&err, "try %d", 1), SD_E_SHAPE);
    assert_string_equal(err.hint, "try 1");
    sd_fail(&err, SD_E_IO, "again");
    assert_string_equal(err.hint, "");
    assert_int_equal(sd_fail(NULL, SD_E_IO, "nobody listens"), SD_E_IO);
    assert_int_equal(sd_hint(NULL, "nor here"), SD_E_FAIL);
    assert_int_equal(sd_err_wrap(NULL, "nor here"), SD_E_FAIL);
}

static void wraps_and_keeps_the_hint(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_fail(&err, SD_E_FORMAT, "bad");
    sd_hint(&err, "mend it");
    assert_int_equal(sd_err_wrap(&err, "loading %s", "x"), SD_E_FORMAT);
    assert_string_equal(err.msg, "loading x: bad");
    assert_string_equal(err.hint, "mend it");
    sd_fail(&err, SD_E_IO, "%s (was: %s)", "other", err.msg); /* quotes the sentence it replaces */
    assert_string_equal(err.msg, "other (was: loading x: bad)");
}

static void long_sentences_end_at_a_character(void **state)
{
    (void)state;
    for (size_t lead = 0; lead < 4; lead++) {
        char text[2 * SD_ERR_MSG_MAX];
        size_t n = lead;
        memset(text, 'a', lead);
        while (n + 3 < sizeof text) { /* U+20AC, three bytes */
            memcpy(text + n, "\xe2\x82\xac", 3);
            n += 3;
        }
        text[n] = '\0';
        sd_err err = {0};
        sd_fail(&err, SD_E_FAIL, "%s", text);
        size_t len = strlen(err.msg);
        assert_true(len >= SD_ERR_MSG_MAX - 4 && len < SD_ERR_MSG_MAX);
        assert_int_equal((len - lead) % 3, 0);
    }
}

static void control_bytes_are_shown(void **state)
{
    (void)state;
    sd_err err = {0};
    sd_fail(&err, SD_E_FAIL, "tensor %s", "a\x1b[2J\n\x7f\xc3\xa9");
    assert_string_equal(err.msg, "tensor a?[2J??\xc3\xa9");
}

static void errno_gives_the_code(void **state)
{
    (void)state;
    static const struct {
        int e;
        sd_status st;
    } map[] = {
        {ENOSPC, SD_E_NOSPACE},  {EDQUOT, SD_E_NOSPACE}, {ENOMEM, SD_E_NOMEM},
        {ENOENT, SD_E_NOTFOUND}, {EACCES, SD_E_IO},      {EIO, SD_E_IO},
    };
    for (size_t i = 0; i < sizeof map / sizeof *map; i++) {
        sd_err err = {0};
        assert_int_equal(sd_fail_errno(&err, map[i].e, "cannot open %s", "f"), map[i].st);
        assert_int_equal(err.code, map[i].st);
        assert_int_equal(sd_fail_errno(NULL, map[i].e, "x"), map[i].st);
    }
    sd_err err = {0};
    sd_fail_errno(&err, ENOENT, "cannot open %s", "f");
    assert_string_equal(err.msg, "cannot open f: No such file or directory");
}

static void names_and_exit_codes(void **state)
{
    (void)state;
    assert_string_equal(sd_status_name(SD_OK), "OK");
    assert_string_equal(sd_status_name(SD_E_CANCELLED), "E_CANCELLED");
    assert_string_equal(sd_status_name((sd_status)999), "E_UNKNOWN");
    assert_int_equal(sd_status_exit_code(SD_OK), 0);
    assert_int_equal(sd_status_exit_code(SD_E_ARG), 2);
    assert_int_equal(sd_status_exit_code(SD_E_GATE), 3);
    assert_int_equal(sd_status_exit_code(SD_E_FORMAT), 4);
    assert_int_equal(sd_status_exit_code(SD_E_NOMEM), 5);
    assert_int_equal(sd_status_exit_code(SD_E_NOSPACE), 5);
    assert_int_equal(sd_status_exit_code(SD_E_CANCELLED), 130);
    assert_int_equal(sd_status_exit_code((sd_status)999), 1);
    assert_true(strlen(sd_version()) >= 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(fills_and_returns),       T(wraps_and_keeps_the_hint), T(long_sentences_end_at_a_character),
        T(control_bytes_are_shown), T(errno_gives_the_code),     T(names_and_exit_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
